/* problems: being built. */
#include "engine/expr.h"
