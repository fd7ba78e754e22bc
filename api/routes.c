/* api/routes.c: the table of all routes: method, path, the least role that may, handler. */
#include "api/api_priv.h"

#define V1 "/api/v1"

const struct sl_route sl_routes[] = {
	{ SL_GET, "/livez", SL_ROLE_NONE, 0, sl_route_livez },
	{ SL_GET, "/readyz", SL_ROLE_NONE, 0, sl_route_readyz },
	{ SL_GET, "/", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_ui },
	{ SL_GET, "/{file+}", SL_ROLE_NONE, SL_ROUTE_HIDDEN, sl_route_ui },
};
const size_t sl_n_routes = SL_COUNT_OF(sl_routes);
