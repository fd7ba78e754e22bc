/* expr: being built. */
#include "engine/expr.h"
