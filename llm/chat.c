/* llm/chat.c: see chat.h. A call is an HTTP call and a protocol that reads its answer.
 *
 * The user's `done` comes at the terminal marker already, inside the last body callback; the connection then finishes
 * on its own, which lets it be used again. So `told` and the end of the transfer are two things. */
#include "llm/chat.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "llm/governor.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "llm/protocol.h"
#include "llm/provider.h"
#include "llm/refusal.h"
#include "llm/seal.h"
#include "llm/stats.h"
#include "llm/tokens.h"

#define CHAT_REFUSAL_BYTES (64u << 10) /* of an error's body; the rest is not read */
#define CHAT_REQUEST_BYTES (16u << 20)
#define CHAT_HEADERS       32

struct sl_llm {
	struct sl_profiles *profiles;
	struct sl_prices *prices; /* NULL: only the table's */
	struct sl_stats *stats;
	struct sl_governor *governor;  /* NULL: nobody cares about limits */
	struct sl_call_ledger *ledger; /* NULL: nobody keeps one */
	struct sl_http *http;
	uint32_t total_ms; /* 0: no bound beside the profile's */
};

struct sl_chat {
	_Atomic uint32_t refs; /* the caller, the transfer */
	struct sl_llm *llm;    /* [io] it ends all calls before it goes */
	struct sl_http_call *call;
	const struct sl_protocol *protocol;
	struct sl_profile *profile; /* pinned */
	uint32_t lane;
	char *model; /* as asked */
	struct sl_chat_callbacks cb;
	void *ctx;
	struct sl_call_of of;  /* its path is ours */
	uint64_t input_tokens; /* estimate */
	_Atomic bool cancelled;
	_Atomic(const char *) off_reason; /* NULL: nobody has called it off */
	/* What has come so far, for whoever asks: written [io], read [any]. */
	_Atomic uint64_t said_input, said_output, guessed_output;
	_Atomic bool is_simulated, over; /* over: spent is what it took, and changes no more */
	struct sl_chat_spent spent;
	/* [io] */
	struct sl_token_count tokens; /* of what was delivered */
	struct sl_answer answer;
	void *reader; /* the protocol's; NULL until a 2xx head */
	const struct sl_http_head *head;
	struct sl_buf refusal; /* body of an answer outside 2xx */
	struct sl_buf text, thinking;
	bool told;
	uint64_t started_us, first_token_us, received, text_bytes, thinking_bytes, pieces;
};

enum sl_code sl_llm_new(const struct sl_llm_config *config, struct sl_llm **out, struct sl_error *err)
{
	struct sl_llm *l = calloc(1, sizeof(*l));
	if (!l)
		return sl_fail(err, SL_NO_MEMORY, "llm");
	l->profiles = config->profiles;
	l->prices = config->prices;
	l->governor = config->governor;
	l->ledger = config->ledger;
	l->total_ms = config->total_ms;
	enum sl_code rc = sl_stats_new(&l->stats);
	rc = rc == SL_OK ? sl_http_new(&config->http, &l->http, err) : sl_fail(err, rc, "llm");
	if (rc != SL_OK) {
		sl_stats_free(l->stats);
		free(l);
		return rc;
	}
	*out = l;
	return SL_OK;
}

void sl_llm_stop(struct sl_llm *l)
{
	sl_http_stop(l->http);
}

void sl_llm_free(struct sl_llm *l)
{
	if (!l)
		return;
	sl_http_free(l->http);
	sl_stats_free(l->stats);
	free(l);
}

struct sl_http *sl_llm_http(struct sl_llm *l)
{
	return l->http;
}

struct sl_profiles *sl_llm_profiles(struct sl_llm *l)
{
	return l->profiles;
}

struct sl_prices *sl_llm_prices(struct sl_llm *l)
{
	return l->prices;
}

struct sl_stats *sl_llm_stats(struct sl_llm *l)
{
	return l->stats;
}

struct sl_call_ledger *sl_llm_ledger(struct sl_llm *l)
{
	return l->ledger;
}

struct sl_chat *sl_chat_ref(struct sl_chat *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void sl_chat_unref(struct sl_chat *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	sl_http_call_unref(c->call);
	sl_profile_unref(c->profile);
	sl_buf_fini(&c->answer.tool_calls);
	sl_buf_fini(&c->answer.refusal);
	sl_buf_fini(&c->refusal);
	sl_buf_fini(&c->text);
	sl_buf_fini(&c->thinking);
	free(c->model);
	free((void *)(uintptr_t)c->of.path.p);
	free(c);
}

/* ---- [io] ---- */

static enum sl_code chat_deliver(struct sl_chat *c, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	if (!c->first_token_us)
		c->first_token_us = sl_clock_mono_us();
	c->pieces++;
	sl_tokens_add(&c->tokens, piece);
	*(kind == SL_CHAT_TEXT ? &c->text_bytes : &c->thinking_bytes) += piece.len;
	if (c->cb.delta) {
		enum sl_code rc = c->cb.delta(c->ctx, kind, piece);
		return rc == SL_OK ? rc : sl_fail(err, rc, "the text could not be taken");
	}
	struct sl_buf *b = kind == SL_CHAT_TEXT ? &c->text : &c->thinking;
	sl_buf_add(b, piece.p, piece.len);
	return b->failed ? sl_fail(err, SL_TOO_LARGE, "an answer of more than %u bytes", SL_LIMIT_STREAM_BYTES) : SL_OK;
}

/* PostgreSQL stores no NUL in text: it becomes U+FFFD before anyone sees it. */
static enum sl_code chat_delta(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	struct sl_chat *c = SL_CONTAINER_OF(a, struct sl_chat, answer);
	enum sl_code rc = SL_OK;
	while (rc == SL_OK && piece.len) {
		const char *nul = memchr(piece.p, 0, piece.len);
		size_t n = nul ? (size_t)(nul - piece.p) : piece.len;
		if (n)
			rc = chat_deliver(c, kind, sl_str_n(piece.p, n), err);
		if (nul && rc == SL_OK)
			rc = chat_deliver(c, kind, SL_STR("\xef\xbf\xbd"), err);
		n += nul != NULL;
		piece.p += n, piece.len -= n;
	}
	return rc;
}

/* The provider's word is the last one when it came with the reason why the model stopped. */
static bool chat_usage_is_final(const struct sl_chat *c)
{
	return c->answer.usage.known && c->answer.finish_reason[0];
}

/* After each piece of the answer. */
static void chat_publish(struct sl_chat *c)
{
	uint64_t guessed = sl_tokens_sum(&c->tokens) + sl_tokens_of_text(sl_buf_str(&c->answer.tool_calls));
	atomic_store_explicit(&c->guessed_output, guessed, memory_order_relaxed);
	atomic_store_explicit(&c->said_input, c->answer.usage.input_tokens, memory_order_relaxed);
	atomic_store_explicit(&c->said_output, c->answer.usage.output_tokens, memory_order_relaxed);
}

/* What a cut call has taken: providers report late, and what was sent and received is billed all the same. */
static void chat_estimate(struct sl_chat *c, struct sl_chat_usage *u)
{
	uint64_t said = atomic_load_explicit(&c->said_output, memory_order_relaxed),
		 guessed = atomic_load_explicit(&c->guessed_output, memory_order_relaxed);
	u->input_tokens = atomic_load_explicit(&c->said_input, memory_order_relaxed);
	if (!u->input_tokens)
		u->input_tokens = c->input_tokens;
	u->output_tokens = said > guessed ? said : guessed;
	u->known = false;
	u->estimated = true;
}

static bool chat_price(struct sl_chat *c, const char *model, const struct sl_chat_usage *u, int64_t *cost)
{
	/* the provider may answer under a name of its own */
	return sl_price(c->llm->prices, c->profile, model, u, cost) ||
	       (strcmp(model, c->model) != 0 && sl_price(c->llm->prices, c->profile, c->model, u, cost));
}

/* A call that ended before its answer did: was there something a provider bills? What we ended it would have answered;
 * what broke by itself counts when something had come. */
static bool chat_was_cut(const struct sl_chat *c, enum sl_code rc)
{
	int status = c->head ? c->head->status : 0;
	bool ours = rc == SL_CANCELLED || rc == SL_TIMEOUT || rc == SL_TRIPPED || rc == SL_TOO_LARGE;
	return rc != SL_OK && sl_http_call_sent(c->call) && (status / 100 == 2 || (!status && ours)) &&
	       (ours || c->pieces || c->answer.usage.output_tokens);
}

static const char *chat_off_reason(struct sl_chat *c, enum sl_code rc)
{
	const char *why = atomic_load_explicit(&c->off_reason, memory_order_acquire);
	switch (rc) {
	case SL_CANCELLED:
		return why ? why : SL_CALL_STOPPING;
	case SL_TRIPPED:
		return SL_CALL_LOCKED;
	case SL_TIMEOUT:
		return SL_CALL_TIMEOUT;
	case SL_TOO_LARGE:
		return SL_CALL_TOO_LARGE;
	default:
		return NULL; /* it was not we who ended it */
	}
}

/* The row of a call that was called off. */
static void chat_enter(struct sl_chat *c, enum sl_code rc, const struct sl_chat_result *out,
		       const struct sl_http_result *r)
{
	const char *why = r ? chat_off_reason(c, rc) : NULL;
	if (!why || !c->of.path.len || !r->ordered_at_us)
		return;
	int64_t wall = sl_clock_wall_ms();
	uint64_t now = sl_clock_mono_us();
	struct sl_call_row row = {
		.id = sl_uuid_new(),
		.run = c->of.run,
		.path = sl_str_dup(c->of.path),
		.attempt = c->of.attempt,
		.kind = "llm",
		.reason = why,
		.provider = sl_str_dup(sl_str(c->profile->provider)),
		.profile = sl_str_dup(sl_str(c->profile->name)),
		.model = sl_str_dup(sl_str(c->model)),
		.ordered_ms = wall - (int64_t)((now - r->ordered_at_us) / 1000),
		.closed_ms = r->closed_at_us ? wall - (int64_t)((now - r->closed_at_us) / 1000) : 0,
		.close_us = r->closed_us,
		.multiplexed = r->multiplexed,
		.bytes = c->received,
		.chunks = c->pieces,
		.input_tokens = out->usage.input_tokens,
		.output_tokens = out->usage.output_tokens,
		.estimated = !out->usage.known,
		.cost_microusd = out->cost_microusd,
		.http_status = out->http_status,
	};
	sl_call_ledger_add(c->llm->ledger, &row);
}

static void chat_tell(struct sl_chat *c, enum sl_code rc, const struct sl_error *err, const struct sl_http_result *r)
{
	uint64_t now = sl_clock_mono_us();
	const char *model = c->answer.model[0] ? c->answer.model : c->model;
	struct sl_chat_result out = {
		.profile = c->profile->name,
		.model = model,
		.finish_reason = c->answer.finish_reason,
		.tool_calls = sl_buf_str(&c->answer.tool_calls),
		.refusal = sl_buf_str(&c->answer.refusal),
		.text = sl_buf_str(&c->text),
		.thinking = sl_buf_str(&c->thinking),
		.usage = c->answer.usage,
		.simulated = atomic_load_explicit(&c->is_simulated, memory_order_relaxed),
		.http_status = c->head ? c->head->status : 0,
		.text_bytes = c->text_bytes,
		.thinking_bytes = c->thinking_bytes,
		.received_bytes = c->received,
		.first_token_ms = c->first_token_us ? (c->first_token_us - c->started_us) / 1000 + 1 : 0,
		.total_ms = (now - c->started_us) / 1000,
		.closed_us = r ? r->closed_us : 0,
	};
	if (chat_was_cut(c, rc) && !chat_usage_is_final(c)) {
		chat_publish(c);
		chat_estimate(c, &out.usage);
	}
	out.cost_known = chat_price(c, model, &out.usage, &out.cost_microusd);
	c->spent = (struct sl_chat_spent){out.usage, out.cost_microusd, model, out.simulated};
	atomic_store_explicit(&c->over, true, memory_order_release);
	chat_enter(c, rc, &out, r);
	const struct sl_stats_call note = {
		.profile = c->profile->name,
		.provider = c->profile->provider,
		.model = c->model,
		.rc = rc,
		.total_ms = out.total_ms,
		.first_ms = out.first_token_ms,
		.pieces = c->pieces,
		.input_tokens = out.usage.input_tokens,
		.output_tokens = out.usage.output_tokens,
		.cost_microusd = out.cost_microusd,
	};
	sl_stats_call(c->llm->stats, sl_clock_wall_ms(), &note);
	c->told = true;
	c->cb.done(c->ctx, rc, err, &out);
}

static void chat_on_head(void *ctx, const struct sl_http_head *head)
{
	struct sl_chat *c = ctx;
	c->head = head;
	if (sl_http_find(head, "x-sluice-simulator").len) /* whatever the profile calls itself */
		atomic_store_explicit(&c->is_simulated, true, memory_order_relaxed);
	if (c->llm->governor)
		sl_governor_learn(c->llm->governor, c->profile, c->lane, head, sl_clock_mono_ms());
}

static enum sl_code chat_on_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct sl_chat *c = ctx;
	enum sl_code rc = SL_OK;
	if (c->told)
		return SL_OK;
	if (atomic_load_explicit(&c->cancelled, memory_order_relaxed)) /* no token after a cancel */
		return sl_fail(err, SL_CANCELLED, "cancelled");
	c->received += piece.len;
	if (c->head->status / 100 != 2) {
		size_t room = CHAT_REFUSAL_BYTES - c->refusal.len;
		sl_buf_add(&c->refusal, piece.p, piece.len < room ? piece.len : room);
		return c->refusal.len < CHAT_REFUSAL_BYTES
			       ? SL_OK
			       : sl_refusal_of_answer(c->head, sl_buf_str(&c->refusal), err);
	}
	if (!c->reader)
		rc = c->protocol->open(&c->answer, c->head, &c->reader, err);
	if (rc == SL_OK)
		rc = c->protocol->feed(c->reader, piece, err);
	chat_publish(c);
	if (rc == SL_OK && c->answer.complete)
		chat_tell(c, SL_OK, &(struct sl_error){.code = SL_OK}, NULL);
	return rc;
}

static void chat_on_done(void *ctx, enum sl_code rc, const struct sl_error *why, const struct sl_http_result *r)
{
	struct sl_chat *c = ctx;
	struct sl_error err = *why;
	if (!c->told) {
		c->head = r->head->status ? r->head : NULL;
		if (rc == SL_OK && c->head->status / 100 != 2)
			rc = sl_refusal_of_answer(c->head, sl_buf_str(&c->refusal), &err);
		else if (rc == SL_TRUNCATED && c->head && c->head->status >= 400) /* enough came to know what it is */
			rc = sl_refusal_of_answer(c->head, sl_buf_str(&c->refusal), &err);
		else if (rc == SL_OK && !c->reader)
			rc = sl_fail(&err, SL_TRUNCATED, "an empty answer");
		else if (rc == SL_OK || (rc == SL_TRUNCATED && c->reader && r->head->status == 200)) {
			/* what was read may hold an error that explains the cut */
			struct sl_error cut = err;
			enum sl_code end = c->protocol->finish(c->reader, &err);
			if (rc == SL_TRUNCATED && !c->answer.complete &&
			    (end == SL_OK || end == SL_TRUNCATED || end == SL_MALFORMED))
				err = cut;
			else
				rc = end;
			if (rc == SL_OK && cut.code == SL_TRUNCATED && c->protocol->ends_by_closing) {
				rc = SL_TRUNCATED;
				err = cut;
			}
		}
		chat_tell(c, rc, &err, r);
	}
	c->head = NULL;
	if (c->reader)
		c->protocol->close(c->reader);
	c->reader = NULL;
	sl_chat_unref(c);
}

/* ---- [any] ---- */

static enum sl_code chat_choose(struct sl_llm *l, const struct sl_chat_request *req, struct sl_profile **out,
				const struct sl_provider **provider, struct sl_error *err)
{
	struct sl_profile *p = req->via ? sl_profile_ref(req->via)
					: sl_profiles_choose(l->profiles, req->profile, req->provider, req->model);
	if (!p && req->profile.len)
		return sl_fail(err, SL_NOT_FOUND, "there is no profile '" SL_STR_FMT "'", SL_STR_ARG(req->profile));
	if (!p && req->provider.len)
		return sl_fail(err, SL_NOT_FOUND, "there is no profile of the provider '" SL_STR_FMT "'",
			       SL_STR_ARG(req->provider));
	if (!p)
		return sl_fail(err, SL_NOT_FOUND, "no model is configured");
	*out = p;
	*provider = sl_provider_find(sl_str(p->provider));
	if (p->kind != SL_PROFILE_CHAT)
		return sl_fail(err, SL_INVALID, "the profile '%s' is for embeddings", p->name);
	if (!*provider || !(*provider)->protocol)
		return sl_fail(err, SL_INVALID, "the provider '%s' is not supported yet", p->provider);
	return SL_OK;
}

static uint32_t first_of(uint32_t a, uint32_t b)
{
	return a ? a : b;
}

enum sl_code sl_chat_start(struct sl_llm *l, const struct sl_chat_request *req, const struct sl_chat_callbacks *cb,
			   void *ctx, struct sl_chat **out, struct sl_error *err)
{
	const struct sl_provider *provider = NULL;
	struct sl_http_header headers[CHAT_HEADERS];
	size_t n = 0;
	char *key = NULL;
	SL_BUF(body, CHAT_REQUEST_BYTES);
	SL_BUF(auth, 8192);
	SL_BUF(url, 4096);
	struct sl_bytes *bytes = NULL;
	struct sl_chat *c = calloc(1, sizeof(*c));
	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "call");
	atomic_init(&c->refs, 1);
	c->llm = l;
	c->started_us = sl_clock_mono_us();
	c->cb = *cb;
	c->ctx = ctx;
	c->of = req->of;
	c->of.path = sl_str_n(req->of.path.len ? sl_str_dup(req->of.path) : NULL, req->of.path.len);
	sl_buf_init(&c->refusal, CHAT_REFUSAL_BYTES);
	sl_buf_init(&c->text, SL_LIMIT_STREAM_BYTES);
	sl_buf_init(&c->thinking, SL_LIMIT_STREAM_BYTES);
	sl_buf_init(&c->answer.tool_calls, 2 * SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_init(&c->answer.refusal, SL_LIMIT_ERROR_BYTES);
	c->answer.mode = req->mode;
	c->answer.delta = chat_delta;
	enum sl_code rc = chat_choose(l, req, &c->profile, &provider, err);
	if (rc != SL_OK)
		goto failed;
	struct sl_profile *p = c->profile;
	c->lane = req->lane;
	c->protocol = provider->protocol;
	c->model = sl_str_dup(req->model.len ? req->model : sl_str(p->model));
	atomic_init(&c->is_simulated, p->simulated);
	if (!c->model || (c->of.path.len && !c->of.path.p)) {
		rc = sl_fail(err, SL_NO_MEMORY, "call");
		goto failed;
	}
	rc = c->protocol->build(req, p, c->model, &body, err);
	if (rc != SL_OK)
		goto failed;
	c->input_tokens = req->input_tokens ? req->input_tokens : sl_tokens_of_text(sl_buf_str(&body));
	rc = sl_profile_open_key(l->profiles, p, req->lane, &key);
	if (rc == SL_NOT_FOUND && provider->quirks & SL_QUIRK_KEYLESS) {
		rc = SL_OK;
	} else if (rc != SL_OK) {
		rc = sl_fail(err, SL_PROVIDER_AUTH, "the profile '%s' has no usable key", p->name);
		goto failed;
	}
	headers[n++] = (struct sl_http_header){SL_STR("Content-Type"), SL_STR("application/json")};
	headers[n++] = (struct sl_http_header){SL_STR("Accept"), req->mode == SL_CHAT_STREAM
									 ? sl_str(c->protocol->stream_accept)
									 : SL_STR("application/json")};
	for (size_t i = 0; i < c->protocol->n_headers; i++)
		headers[n++] = c->protocol->headers[i];
	if (key) {
		sl_buf_adds(&auth, c->protocol->key_prefix);
		sl_buf_adds(&auth, key);
		headers[n++] = (struct sl_http_header){sl_str(c->protocol->key_header), sl_buf_str(&auth)};
	}
	if (req->idempotency_key.len)
		headers[n++] = (struct sl_http_header){SL_STR("Idempotency-Key"), req->idempotency_key};
	if (req->n_headers > CHAT_HEADERS - n) {
		rc = sl_fail(err, SL_INVALID, "more than %zu further headers", (size_t)CHAT_HEADERS - n);
		goto failed;
	}
	for (size_t i = 0; i < req->n_headers; i++)
		headers[n++] = req->headers[i];
	(void)sl_protocol_url(c->protocol, p, c->model, req->mode == SL_CHAT_STREAM ? SL_URL_STREAM : SL_URL_WHOLE,
			      &url);
	bytes = sl_buf_bytes(&body);
	if (!bytes || url.failed || auth.failed) {
		rc = sl_fail(err, SL_NO_MEMORY, "call");
		goto failed;
	}
	struct sl_http_request http = {
		.method = "POST",
		.url = url.data,
		.headers = headers,
		.n_headers = n,
		.body = bytes,
		.timeouts =
			{
				.connect_ms = first_of(req->timeouts.connect_ms, p->timeouts.connect_ms),
				.first_byte_ms = first_of(req->timeouts.first_byte_ms, p->timeouts.first_byte_ms),
				.idle_ms = first_of(req->timeouts.idle_ms, p->timeouts.idle_ms),
				.total_ms = first_of(req->timeouts.total_ms, p->timeouts.total_ms),
			},
		.max_body_bytes = 16 * (size_t)SL_LIMIT_HTTP_BODY_BYTES, /* a token's envelope is 50 times its text */
		.head = chat_on_head,
		.body_fn = chat_on_body,
		.done = chat_on_done,
		.ctx = c,
	};
	if (l->total_ms && (!http.timeouts.total_ms || http.timeouts.total_ms > l->total_ms))
		http.timeouts.total_ms = l->total_ms;
	*out = sl_chat_ref(c); /* before the first callback can come */
	rc = sl_http_start(l->http, &http, &c->call, err);
	if (rc != SL_OK) {
		*out = NULL;
		sl_chat_unref(c);
	}
failed:
	if (rc != SL_OK)
		sl_chat_unref(c);
	if (auth.data)
		memset(auth.data, 0, auth.cap);
	sl_seal_wipe(key);
	sl_bytes_unref(bytes);
	return rc;
}

void sl_chat_cancel(struct sl_chat *c)
{
	sl_chat_call_off(c, SL_CALL_CANCELLED, 0);
}

void sl_chat_call_off(struct sl_chat *c, const char *reason, uint64_t ordered_at_us)
{
	const char *none = NULL;
	(void)atomic_compare_exchange_strong(&c->off_reason, &none, reason); /* the first one counts */
	sl_http_call_off(c->call, ordered_at_us); /* first, so that its clock runs when a token meets the flag */
	atomic_store_explicit(&c->cancelled, true, memory_order_relaxed);
}

bool sl_chat_spent(struct sl_chat *c, struct sl_chat_spent *out)
{
	if (atomic_load_explicit(&c->over, memory_order_acquire)) {
		*out = c->spent;
		return out->usage.known || out->usage.estimated;
	}
	*out = (struct sl_chat_spent){.model = c->model,
				      .simulated = atomic_load_explicit(&c->is_simulated, memory_order_relaxed)};
	if (!sl_http_call_sent(c->call))
		return false;
	chat_estimate(c, &out->usage);
	SL_IGNORE(chat_price(c, c->model, &out->usage, &out->cost_microusd)); /* without a price: 0 */
	return true;
}
