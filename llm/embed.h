/* llm/embed.h: texts become vectors: one POST /embeddings, whatever the provider.
 *
 * Owns      a call until its `done` has run.
 * Thread    start, cancel, unref [any]; done [io], never from inside start or cancel. sl_embed_read() [any]: an answer
 * may be megabytes of numbers, so it is read by whoever has time, not by the I/O thread. Not for   caching, retries and
 * batches of batches: the caller's (memory/).
 */
#pragma once

#include "base/bytes.h"
#include "llm/http.h"

struct sl_embed; /* a call; atomically counted */
struct sl_llm;
struct sl_profile;

#define SL_EMBED_TEXTS 64 /* in one call */
#define SL_EMBED_DIMS  4096

/* body: the answer as it came, NULL unless SL_OK; borrowed. */
typedef void sl_embed_fn(void *ctx, enum sl_code rc, const struct sl_error *err, struct sl_bytes *body);

/* 1 … SL_EMBED_TEXTS texts, read during the call only. *out: the caller's reference. total_ms 0: the profile's
 * timeouts. SL_INVALID: the profile is not for embeddings, or its provider has none. SL_PROVIDER_AUTH: no usable key.
 */
SL_MUST_USE enum sl_code sl_embed_start(struct sl_llm *l, const struct sl_profile *p, const struct sl_str *texts,
					size_t n, uint32_t total_ms, sl_embed_fn *fn, void *ctx, struct sl_embed **out,
					struct sl_error *err);
void sl_embed_cancel(struct sl_embed *call);
void sl_embed_unref(struct sl_embed *call); /* NULL is fine */

/* The vectors of an answer to n texts, in their order: n * *dims floats, the caller's (free). SL_MALFORMED: it is not
 * that; or the refusal it holds instead. */
SL_MUST_USE enum sl_code sl_embed_read(struct sl_str body, size_t n, uint32_t *dims, float **vectors, uint64_t *tokens,
				       struct sl_error *err);
