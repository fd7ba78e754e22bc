/* What a stranger writes into a request besides its body: the query, the path, cookies, names of hosts. The first byte
 * chooses the route's query. Properties: whatever a known name gives was in the query, decoded once; a query that is
 * refused has the name it is refused for, and one without it is not; no cookie is a session that was not given out,
 * and the name of a foreign page is no host of ours. */
#include <stdint.h>
#include <stdlib.h>

#include "api/auth.h"
#include "api/router.h"
#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static void encode(struct sl_str s, struct sl_buf *out)
{
	for (size_t i = 0; i < s.len; i++)
		if (unreserved((unsigned char)s.p[i]))
			sl_buf_addc(out, s.p[i]);
		else
			sl_buf_addf(out, "%%%02x", (unsigned char)s.p[i]);
}

/* A value that was read, written anew, is read as the same. */
static void ask(struct sl_request *r, const char *name)
{
	struct sl_request again = {.head = r->head};
	struct sl_str value, same;
	uint64_t number;
	if (!sl_request_query(r, name, &value))
		return;
	SL_BUG_ON(value.len > r->head.query.len || memchr(value.p, 0, value.len));
	SL_BUF(query, SIZE_MAX);
	sl_buf_adds(&query, name);
	sl_buf_addc(&query, '=');
	encode(value, &query);
	again.head.query = sl_buf_str(&query);
	sl_arena_init(&again.arena, SIZE_MAX);
	SL_BUG_ON(!sl_request_query(&again, name, &same) || !sl_str_eq(same, value));
	bool whole = sl_request_query_u64(r, name, 5, 200, 7, &number);
	SL_BUG_ON(whole && (number < 5 || number > 200));
	sl_arena_fini(&again.arena);
}

static void query(struct sl_request *r, const struct sl_route *route)
{
	struct sl_str stranger;
	r->route = route;
	if (sl_router_stranger(r, &stranger)) {
		SL_BUG_ON(stranger.len > r->head.query.len || sl_str_is(stranger, "limit"));
	} else { /* then there are none but these */
		SL_BUF(longer, SIZE_MAX);
		struct sl_request more = {.head = r->head, .route = route};
		sl_buf_add(&longer, r->head.query.p, r->head.query.len);
		sl_buf_adds(&longer, "&statsu=failed");
		more.head.query = sl_buf_str(&longer);
		SL_BUG_ON(!sl_router_stranger(&more, &stranger) || !sl_str_is(stranger, "statsu"));
	}
	ask(r, "status");
	ask(r, "limit");
	ask(r, "cursor");
}

static void cookies(const struct sl_request *r)
{
	static struct sl_auth *auth;
	static const uint8_t secret[SL_AUTH_SECRET_BYTES] = {7};
	struct sl_identity who;
	struct sl_str value;
	if (!auth)
		SL_BUG_ON(sl_auth_new("an-admin-token-of-some-length", secret, &sl_clock_real, &auth) != SL_OK);
	if (sl_request_cookie(r, "sluice_session", &value))
		SL_BUG_ON(value.len > r->head.headers[0].value.len ||
			  sl_auth_session_check(auth, value, &who) == SL_OK);
	SL_BUG_ON(sl_auth_bearer(auth, r->head.query, "192.0.2.1", &who) == SL_OK);
}

/* Only numbers, localhost and what is listed: so a name with a letter beyond f in it is none of ours. */
static void host(struct sl_str text)
{
	size_t name = 0;
	bool letter = false;
	while (name < text.len && text.p[name] != ':' && text.p[name] != ']')
		letter = letter || ((text.p[name] | 32) > 'f' && (text.p[name] | 32) <= 'z'), name++;
	struct sl_str given = sl_str_n(text.p, name);
	if (letter && sl_auth_host_allowed(text, "sluice.example, other.example:8080"))
		SL_BUG_ON(!sl_str_is_nocase(given, "localhost") && !sl_str_is_nocase(given, "sluice.example") &&
			  !sl_str_is_nocase(given, "other.example"));
	SL_BUG_ON(sl_auth_origin_allowed(text, SL_STR("sluice.example"), true, "") &&
		  !sl_str_is_nocase(text, "https://sluice.example"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct sl_route routes[] = {
		{SL_GET, "/api/v1/runs", SL_ROLE_VIEWER, 0, NULL, "status cursor"},
		{SL_GET, "/api/v1/runs/{id}", SL_ROLE_VIEWER, 0, NULL, NULL},
		{SL_DELETE, "/api/v1/runs/{id}/{what}", SL_ROLE_VIEWER, 0, NULL, "limit"},
		{SL_GET, "/{file+}", SL_ROLE_NONE, 0, NULL, NULL},
	};
	struct sl_request r = {0};
	char allow[SL_ROUTER_ALLOW_BYTES];
	if (size == 0 || size > 1 << 14)
		return 0;
	struct sl_str text = sl_str_n((const char *)data + 1, size - 1), path = text, rest = {0};
	sl_arena_init(&r.arena, SIZE_MAX);
	if (!sl_str_cut(text, '?', &path, &rest))
		rest = text;
	r.head.method = (enum sl_method)(data[0] / 4 % SL_METHOD_OTHER);
	r.head.path = path;
	r.head.query = rest;
	r.head.headers[0] = (struct sl_http1_header){SL_STR("Cookie"), rest};
	r.head.n_headers = 1;
	enum sl_code rc = sl_router_find(routes, SL_COUNT_OF(routes), &r, allow);
	SL_BUG_ON(rc == SL_METHOD && !allow[0]);
	for (size_t i = 0; rc == SL_OK && i < r.n_params; i++)
		SL_BUG_ON(r.params[i].len == 0 || r.params[i].len > path.len ||
			  memchr(r.params[i].p, 0, r.params[i].len));
	query(&r, &routes[data[0] % 3]);
	cookies(&r);
	host(text);
	sl_arena_fini(&r.arena);
	return 0;
}
