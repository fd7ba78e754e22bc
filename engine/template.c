/* template: being built. */
#include "engine/expr.h"
