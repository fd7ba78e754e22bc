/* api/router.h: which handler, and who may. The table in routes.c is the only list of routes: OpenAPI is checked
 * against it. Thread    [const] table, lookups [any].
 */
#pragma once

#include "api/request.h"

struct sl_api;
typedef void sl_handler_fn(struct sl_api *api, struct sl_request *r);

enum sl_route_flags {
	SL_ROUTE_LOOPBACK = 1, /* also without a token, for clients on loopback */
	SL_ROUTE_HIDDEN = 2,   /* the UI's files: not part of the contract, so not in OpenAPI */
	SL_ROUTE_BEARER = 4,   /* only a token in the header counts, no cookie: signing in */
	SL_ROUTE_STARTS = 8,   /* starts a run: counts for that limit, too */
	SL_ROUTE_LONG = 16, /* waits for a model: bounded by SL_LIMIT_HTTP_ANSWER_MS, not by the operator's setting */
};

struct sl_route {
	enum sl_method method;
	const char *pattern; /* "/api/v1/runs/{id}/events"; a last segment {…+} takes the rest, slashes and all */
	enum sl_role role;   /* the least that may; SL_ROLE_NONE: everyone, without a token */
	unsigned flags;
	sl_handler_fn *handler;
	const char *query; /* names its query may have, by spaces; see sl_router_stranger() */
};
extern const struct sl_route sl_routes[];
extern const size_t sl_n_routes;

/* SL_OK fills r->route and r->params. SL_NOT_FOUND. SL_METHOD: `allow` gets "GET, HEAD, POST". SL_BAD_REQUEST: a broken
 * escape in the path. HEAD finds the route of GET. */
#define SL_ROUTER_ALLOW_BYTES 64
enum sl_code sl_router_find(const struct sl_route *routes, size_t n, struct sl_request *r,
			    char allow[SL_ROUTER_ALLOW_BYTES]);

/* The first name in the query of r that its route does not know: below /api/ such a request is refused. Those of paging
 * are known to every GET; lists that are short by nature come whole. False: it knows all of them. */
bool sl_router_stranger(const struct sl_request *r, struct sl_str *name);

const char *sl_role_name(enum sl_role role); /* "viewer"; "none" */
bool sl_role_parse(struct sl_str name, enum sl_role *out);
