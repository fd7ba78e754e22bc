/* store/spend.h: what projects with a budget have spent, by day. Thread [any], callbacks [store]. */
#pragma once

#include "store/store.h"

/* Totals of this server's life for a project and day (days since 1970). Writing one twice does no harm. */
SL_MUST_USE enum sl_code sl_store_spend_put(struct sl_store *s, struct sl_str project, int64_t day, uint64_t tokens,
					    int64_t cost_microusd, sl_store_fn *fn, void *arg);

/* All of it, of all servers together; borrowed for the time of the call. Days older than forty come as one sum. */
struct sl_stored_spend {
	const char *project;
	int64_t day;
	uint64_t tokens;
	int64_t cost_microusd;
};
typedef void sl_store_spend_fn(void *arg, enum sl_code rc, const struct sl_stored_spend *items, size_t n);
SL_MUST_USE enum sl_code sl_store_spend_list(struct sl_store *s, sl_store_spend_fn *fn, void *arg);
