/* lua_json: being built. */
#include "engine/expr.h"
