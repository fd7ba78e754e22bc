/* store/audit.h: who did what, append-only. Thread [any], callbacks [store].
 *
 * Each line's hash covers the one before it (migrations/0006_audit_chain.sql), so what is changed or removed shows. */
#pragma once

#include "store/store.h"

/* Who does it, for calls that write their line of the trail together with the change itself. */
struct sl_audit_by {
	struct sl_str actor, action, target;
};

/* detail: a JSON object or NULL. target: a run id, a name; may be empty. fn may be NULL. */
SL_MUST_USE enum sl_code sl_store_audit(struct sl_store *s, struct sl_str actor, struct sl_str action,
					struct sl_str target, struct sl_bytes *detail, sl_store_fn *fn, void *arg);

/* Empty: any. An action that ends in '.' stands for all that begin so: "agent." */
struct sl_audit_filter {
	struct sl_str actor, action, cursor;
	uint32_t limit; /* 1 … 200, clamped; 0: 50 */
};
/* { "items": [{ "id", "at", "actor", "action", "target", "detail" }], "next_cursor" }, newest first. SL_BAD_REQUEST at
 * once: the cursor is not one of ours. */
SL_MUST_USE enum sl_code sl_store_audit_list(struct sl_store *s, const struct sl_audit_filter *filter,
					     sl_store_json_fn *fn, void *arg);

/* Goes over the whole chain: { "ok", "lines", "broken"?, "head", "head_hash" }. broken: the id of the first line that
 * was changed, or that follows one that is missing. */
SL_MUST_USE enum sl_code sl_store_audit_verify(struct sl_store *s, sl_store_json_fn *fn, void *arg);
