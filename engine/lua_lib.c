/* lua_lib: being built. */
#include "engine/expr.h"
