/* llm/embed.c: see embed.h. */
#include "llm/embed.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/protocol.h"
#include "llm/provider.h"
#include "llm/refusal.h"
#include "llm/seal.h"

#define EMBED_REQUEST_BYTES (4u << 20)
#define EMBED_ANSWER_BYTES  (16u << 20)

struct sl_embed {
	_Atomic uint32_t refs; /* the caller, the transfer */
	struct sl_http_call *call;
	sl_embed_fn *fn;
	void *ctx;
	struct sl_buf body; /* [io] */
};

void sl_embed_unref(struct sl_embed *e)
{
	if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
		return;
	sl_http_call_unref(e->call);
	sl_buf_fini(&e->body);
	free(e);
}

void sl_embed_cancel(struct sl_embed *e)
{
	sl_http_cancel(e->call);
}

static enum sl_code embed_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct sl_embed *e = ctx;
	sl_buf_add(&e->body, piece.p, piece.len);
	return e->body.failed ? sl_fail(err, SL_TOO_LARGE, "an answer of more than %u bytes", EMBED_ANSWER_BYTES)
			      : SL_OK;
}

static void embed_done(void *ctx, enum sl_code rc, const struct sl_error *why, const struct sl_http_result *r)
{
	struct sl_embed *e = ctx;
	struct sl_error err = *why;
	SL_AUTO(sl_bytes) body = NULL;
	if (rc == SL_OK && r->head->status / 100 != 2)
		rc = sl_refusal_of_answer(r->head, sl_buf_str(&e->body), &err);
	if (rc == SL_OK && !(body = sl_buf_bytes(&e->body)))
		rc = sl_fail(&err, SL_NO_MEMORY, "vectors");
	e->fn(e->ctx, rc, &err, body);
	sl_embed_unref(e);
}

static void embed_request(struct sl_buf *b, const struct sl_profile *p, const struct sl_str *texts, size_t n)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "model", p->model);
	sl_buf_json_key(b, "input");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < n; i++) {
		sl_buf_json_comma(b);
		sl_buf_json_str(b, texts[i]);
	}
	sl_buf_addc(b, ']');
	sl_buf_json_kz(b, "encoding_format", "float");
	sl_buf_addc(b, '}');
}

enum sl_code sl_embed_start(struct sl_llm *l, const struct sl_profile *p, const struct sl_str *texts, size_t n,
			    uint32_t total_ms, sl_embed_fn *fn, void *ctx, struct sl_embed **out, struct sl_error *err)
{
	const struct sl_provider *provider = sl_provider_find(sl_str(p->provider));
	struct sl_http_header headers[3] = {{SL_STR("Content-Type"), SL_STR("application/json")},
					    {SL_STR("Accept"), SL_STR("application/json")}};
	size_t n_headers = 2;
	char *key = NULL;
	SL_BUF(url, 4096);
	SL_BUF(auth, 8192);
	SL_BUF(text, EMBED_REQUEST_BYTES);

	SL_BUG_ON(n == 0 || n > SL_EMBED_TEXTS);
	if (p->kind != SL_PROFILE_EMBEDDING)
		return sl_fail(err, SL_INVALID, "the profile '%s' is not for embeddings", p->name);
	const struct sl_protocol *protocol = provider ? provider->protocol : NULL;
	if (!protocol || !sl_protocol_url(protocol, p, p->model, SL_URL_EMBEDDINGS, &url))
		return sl_fail(err, SL_INVALID, "no embeddings from the provider '%s' yet", p->provider);
	enum sl_code rc = sl_profile_open_key(sl_llm_profiles(l), p, 0, &key);
	if (rc != SL_OK && !(rc == SL_NOT_FOUND && provider->quirks & SL_QUIRK_KEYLESS))
		return sl_fail(err, SL_PROVIDER_AUTH, "the profile '%s' has no usable key", p->name);
	if (key) {
		sl_buf_adds(&auth, protocol->key_prefix);
		sl_buf_adds(&auth, key);
		headers[n_headers++] = (struct sl_http_header){sl_str(protocol->key_header), sl_buf_str(&auth)};
	}
	embed_request(&text, p, texts, n);
	SL_AUTO(sl_bytes) body = sl_buf_bytes(&text);
	struct sl_embed *e = body && !url.failed && !auth.failed ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		rc = sl_fail(err, SL_NO_MEMORY, "embedding");
		goto out;
	}
	atomic_init(&e->refs, 2);
	e->fn = fn;
	e->ctx = ctx;
	sl_buf_init(&e->body, EMBED_ANSWER_BYTES);
	const struct sl_http_request http = {
		.method = "POST",
		.url = url.data,
		.headers = headers,
		.n_headers = n_headers,
		.body = body,
		.timeouts = {.connect_ms = p->timeouts.connect_ms,
			     .first_byte_ms = p->timeouts.first_byte_ms,
			     .idle_ms = p->timeouts.idle_ms,
			     .total_ms = total_ms ? total_ms : p->timeouts.total_ms},
		.max_body_bytes = EMBED_ANSWER_BYTES,
		.body_fn = embed_body,
		.done = embed_done,
		.ctx = e,
	};
	*out = e; /* before the first callback can come */
	rc = sl_http_start(sl_llm_http(l), &http, &e->call, err);
	if (rc != SL_OK) {
		*out = NULL;
		sl_embed_unref(e);
		sl_embed_unref(e);
	}
out:
	if (auth.data)
		explicit_bzero(auth.data, auth.cap);
	sl_seal_wipe(key);
	return rc;
}

/* ---- the answer ---- */

static bool numbers(struct json_object *array, uint32_t dims, float *out)
{
	bool some = false;
	for (uint32_t i = 0; i < dims; i++) {
		struct json_object *v = json_object_array_get_idx(array, i);
		if (!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int))
			return false;
		double d = json_object_get_double(v);
		if (!isfinite(d) || fabs(d) > 1e15)
			return false;
		out[i] = (float)d;
		some |= out[i] != 0;
	}
	return some; /* a vector of nothing has no direction */
}

enum sl_code sl_embed_read(struct sl_str body, size_t n, uint32_t *dims, float **vectors, uint64_t *tokens,
			   struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	SL_AUTO_MEM float *all = NULL;
	bool seen[SL_EMBED_TEXTS] = {false};
	enum sl_code rc = sl_json_parse(body, &doc, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc == SL_INVALID ? SL_MALFORMED : rc, "embeddings");
	if (sl_json_get(doc, "error"))
		return sl_refusal_of_object(sl_json_get(doc, "error"), NULL, err);
	struct json_object *data = sl_json_get(doc, "data");
	if (!json_object_is_type(data, json_type_array) || json_object_array_length(data) != n || n > SL_EMBED_TEXTS)
		return sl_fail(err, SL_MALFORMED, "embeddings: not one vector for each of %zu texts", n);
	*dims = 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *one = json_object_array_get_idx(data, i), *vector = sl_json_get(one, "embedding");
		int64_t at = sl_json_get_i64(one, "index", (int64_t)i);
		size_t len = json_object_is_type(vector, json_type_array) ? json_object_array_length(vector) : 0;
		if (len == 0 || len > SL_EMBED_DIMS || (*dims && *dims != len))
			return sl_fail(err, SL_MALFORMED, "embeddings: a vector of %zu numbers", len);
		if (!all) {
			*dims = (uint32_t)len;
			all = calloc(n * len, sizeof(*all));
			if (!all)
				return sl_fail(err, SL_NO_MEMORY, "vectors");
		}
		if (at < 0 || (size_t)at >= n || seen[at])
			return sl_fail(err, SL_MALFORMED, "embeddings: the index %lld", (long long)at);
		seen[at] = true;
		if (!numbers(vector, *dims, all + (size_t)at * len))
			return sl_fail(err, SL_MALFORMED, "embeddings: a vector that is none");
	}
	int64_t used = sl_json_get_i64(sl_json_get(doc, "usage"), "prompt_tokens", 0);
	*tokens = used > 0 ? (uint64_t)used : 0;
	*vectors = SL_TAKE(all);
	return SL_OK;
}
