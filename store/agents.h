/* store/agents.h: personas by name, as JSON documents. Thread [any], callbacks [store].
 *
 * A change and its line in the audit trail are one statement: neither is there without the other. */
#pragma once

#include "store/audit.h"

struct sl_stored_agent {
	const char *name;
	struct sl_str body; /* JSON object */
	int64_t updated_ms;
};

/* Creates or replaces. */
SL_MUST_USE enum sl_code sl_store_agent_put(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
					    struct sl_bytes *body, sl_store_fn *fn, void *arg);
SL_MUST_USE enum sl_code sl_store_agent_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
					       sl_store_fn *fn, void *arg); /* SL_NOT_FOUND */
/* All, by name: there are few. Borrowed for the time of the call. */
typedef void sl_store_agents_fn(void *arg, enum sl_code rc, const struct sl_stored_agent *items, size_t n);
SL_MUST_USE enum sl_code sl_store_agent_list(struct sl_store *s, sl_store_agents_fn *fn, void *arg);
