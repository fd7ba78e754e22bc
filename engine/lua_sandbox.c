/* lua_sandbox: being built. */
#include "engine/expr.h"
