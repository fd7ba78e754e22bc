/* api/request.c: see request.h. What handlers read of a request. */
#include <stdlib.h>

#include "api/server_priv.h"

struct sl_request *sl_request_ref(struct sl_request *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void sl_request_unref(struct sl_request *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	sl_buf_fini(&r->body);
	sl_buf_fini(&r->extra);
	sl_arena_fini(&r->arena);
	free(r->head_text);
	free(r);
}

struct sl_loop *sl_request_loop(const struct sl_request *r)
{
	return r->server->config.loop;
}

struct sl_str sl_request_header(const struct sl_request *r, const char *name)
{
	return sl_http1_find(&r->head, name);
}

bool sl_request_query(struct sl_request *r, const char *name, struct sl_str *out)
{
	struct sl_str rest = r->head.query;
	while (rest.len) {
		struct sl_str pair, key, value;
		if (!sl_str_cut(rest, '&', &pair, &rest)) {
			pair = rest;
			rest = SL_STR("");
		}
		if (!sl_str_cut(pair, '=', &key, &value)) {
			key = pair;
			value = SL_STR("");
		}
		if (!sl_str_is(key, name)) /* our names need no escapes */
			continue;
		char *text = sl_arena_alloc(&r->arena, value.len + 1);
		size_t len;
		if (!text || !sl_percent_decode(value, SL_PLUS_IS_SPACE, text, &len))
			return false;
		*out = sl_str_n(text, len);
		return true;
	}
	return false;
}

bool sl_request_query_u64(struct sl_request *r, const char *name, uint64_t least, uint64_t most, uint64_t otherwise,
			  uint64_t *out)
{
	struct sl_str text;
	*out = otherwise;
	if (!sl_request_query(r, name, &text))
		return true;
	return sl_str_u64(text, out) && *out >= least && *out <= most;
}

bool sl_request_cookie(const struct sl_request *r, const char *name, struct sl_str *out)
{
	for (size_t i = 0; i < r->head.n_headers; i++) {
		struct sl_str rest = r->head.headers[i].value;
		if (!sl_str_is_nocase(r->head.headers[i].name, "cookie"))
			continue;
		while (rest.len) {
			struct sl_str pair, key, value;
			if (!sl_str_cut(rest, ';', &pair, &rest)) {
				pair = rest;
				rest = SL_STR("");
			}
			if (sl_str_cut(sl_str_trim(pair), '=', &key, &value) && sl_str_is(key, name)) {
				*out = value;
				return true;
			}
		}
	}
	return false;
}
