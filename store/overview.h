/* store/overview.h: what an operator looks at across runs: instances, open reviews, today's sums, whose runs are in
 * which state. Thread [any], callbacks [store]. */
#pragma once

#include "store/store.h"

/* { "items": [{ "id", "host", "pid", "version", "started_at", "expires_at", "self", "alive", "runs" }], "next_cursor":
 * null }. runs: unfinished ones it owns. */
SL_MUST_USE enum sl_code sl_store_instances(struct sl_store *s, sl_store_json_fn *fn, void *arg);

/* Reviews that were requested and neither decided nor called off, in unfinished runs, the longest waiting first:
 * { "items": [{ "run_id", "node", "workflow", "project", "draft", "instructions", "fields", "allow_skip",
 * "requested_at", "deadline_at" }], "next_cursor" }. project empty: any. SL_BAD_REQUEST at once: the cursor. */
SL_MUST_USE enum sl_code sl_store_reviews(struct sl_store *s, struct sl_str project, struct sl_str cursor,
					  uint32_t limit, sl_store_json_fn *fn, void *arg);

/* Of all runs created today (UTC), on every instance. */
struct sl_store_today {
	int64_t cost_microusd, input_tokens, output_tokens;
	uint64_t runs;
};
typedef void sl_store_today_fn(void *arg, enum sl_code rc, const struct sl_store_today *today);
SL_MUST_USE enum sl_code sl_store_today(struct sl_store *s, sl_store_today_fn *fn, void *arg);
