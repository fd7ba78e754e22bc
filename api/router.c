/* api/router.c: see router.h. Segments are compared as sent and decoded one by one, so %2F in a name stays part of it.
 */
#include "api/router.h"

#include <stdio.h>

static const char *const role_names[] = {"none", "viewer", "runner", "editor", "admin"};

const char *sl_role_name(enum sl_role role)
{
	return role_names[role];
}

bool sl_role_parse(struct sl_str name, enum sl_role *out)
{
	for (int i = SL_ROLE_VIEWER; i <= SL_ROLE_ADMIN; i++)
		if (sl_str_is(name, role_names[i])) {
			*out = (enum sl_role)i;
			return true;
		}
	return false;
}

/* Takes "/segment" off the front. */
static bool next_segment(struct sl_str *path, struct sl_str *segment)
{
	if (path->len == 0 || path->p[0] != '/')
		return false;
	struct sl_str rest = sl_str_n(path->p + 1, path->len - 1);
	const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
	*segment = sl_str_n(rest.p, slash ? (size_t)(slash - rest.p) : rest.len);
	*path = slash ? sl_str_n(slash, rest.len - segment->len) : SL_STR("");
	return true;
}

static bool matches(const char *pattern, struct sl_str path, struct sl_str *params, size_t *n)
{
	struct sl_str want = sl_str(pattern), w, have;
	*n = 0;
	while (next_segment(&want, &w)) {
		bool placeholder = w.len > 2 && w.p[0] == '{';
		if (placeholder && w.p[w.len - 2] == '+') {
			if (path.len < 2 || path.p[0] != '/')
				return false;
			params[(*n)++] = sl_str_n(path.p + 1, path.len - 1);
			return true;
		}
		if (!next_segment(&path, &have))
			return false;
		if (!placeholder && !sl_str_eq(w, have))
			return false;
		if (placeholder) {
			if (have.len == 0 || *n == SL_REQUEST_PARAMS)
				return false;
			params[(*n)++] = have;
		}
	}
	return path.len == 0;
}

static void add_method(char *allow, enum sl_method m)
{
	size_t len = strlen(allow);
	snprintf(allow + len, SL_ROUTER_ALLOW_BYTES - len, "%s%s%s", len ? ", " : "", sl_method_name(m),
		 m == SL_GET ? ", HEAD" : "");
}

enum sl_code sl_router_find(const struct sl_route *routes, size_t n, struct sl_request *r,
			    char allow[SL_ROUTER_ALLOW_BYTES])
{
	enum sl_method method = r->head.method == SL_HEAD ? SL_GET : r->head.method;
	struct sl_str params[SL_REQUEST_PARAMS];
	size_t n_params = 0;
	allow[0] = '\0';
	const char *exact = NULL; /* "/{file+}" would match everything: it only counts when nothing else does */
	for (size_t i = 0; i < n; i++) {
		if (!matches(routes[i].pattern, r->head.path, params, &n_params))
			continue;
		bool rest = strchr(routes[i].pattern, '+') != NULL;
		if (rest && exact)
			continue;
		if (!rest)
			exact = routes[i].pattern;
		if (routes[i].method != method) {
			add_method(allow, routes[i].method);
			continue;
		}
		r->route = &routes[i];
		for (size_t k = 0; k < n_params; k++) {
			char *text = sl_arena_alloc(&r->arena, params[k].len + 1);
			size_t len;
			if (!text)
				return SL_NO_MEMORY;
			if (!sl_percent_decode(params[k], SL_PLUS_KEPT, text, &len))
				return SL_BAD_REQUEST;
			r->params[k] = sl_str_n(text, len);
		}
		r->n_params = n_params;
		return SL_OK;
	}
	return allow[0] ? SL_METHOD : SL_NOT_FOUND;
}

static bool is_listed(const char *list, struct sl_str name)
{
	struct sl_str rest = sl_str(list ? list : ""), one;
	while (sl_str_cut(rest, ' ', &one, &rest))
		if (sl_str_eq(one, name))
			return true;
	return rest.len && sl_str_eq(rest, name);
}

bool sl_router_stranger(const struct sl_request *r, struct sl_str *name)
{
	struct sl_str rest = r->head.query, pair, value;
	if (strncmp(r->route->pattern, "/api/", strlen("/api/")) != 0) /* others' protocols, and the UI's files */
		return false;
	while (rest.len) {
		if (!sl_str_cut(rest, '&', &pair, &rest)) {
			pair = rest;
			rest = SL_STR("");
		}
		if (!sl_str_cut(pair, '=', name, &value))
			*name = pair;
		bool page = r->route->method == SL_GET && is_listed("limit cursor", *name);
		if (pair.len && !page && !is_listed(r->route->query, *name))
			return true;
	}
	return false;
}
