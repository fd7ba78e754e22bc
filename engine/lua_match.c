/* lua_match: being built. */
#include "engine/expr.h"
