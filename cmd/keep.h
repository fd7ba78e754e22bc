/* cmd/keep.h: what the room llm has kept for it in the store: the ledger of budgets, and the cache.
 *
 * Thread    [any]. After sl_keep_close() nothing is asked of the store any more; what is under way ends with it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

struct sl_cache_back;
struct sl_ledger;
struct sl_store;

struct sl_keep {
	struct sl_store *store;
	_Atomic bool closed;
};

void sl_keep_ledger(struct sl_keep *k, struct sl_ledger *out); /* k must outlive what is made with these */
void sl_keep_cache(struct sl_keep *k, struct sl_cache_back *out);
void sl_keep_close(struct sl_keep *k); /* before the store is closed */
