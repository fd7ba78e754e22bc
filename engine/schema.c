/* schema: being built. */
#include "engine/expr.h"
