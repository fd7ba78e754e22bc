/* cmd/keep.h: what the room llm has kept for it in the store: the ledger of budgets, the cache, and the ledger of calls
 * that were called off.
 *
 * Thread    [any]. After sl_keep_close() nothing is asked of the store any more; what is under way ends with it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/loop.h"

struct sl_cache_back;
struct sl_call_ledger_port;
struct sl_call_row;
struct sl_ledger;
struct sl_store;

struct sl_keep {
	struct sl_store *store;
	_Atomic bool closed;
	/* Rows of calls that could not be written wait here for another try: one batch at most is under way. */
	struct sl_loop *loop; /* lent: carries the timer */
	struct sl_post calls_post;
	uv_timer_t calls_timer; /* [loop] */
	const struct sl_call_row *calls;
	size_t n_calls;
	void (*calls_done)(void *arg, enum sl_code rc);
	void *calls_arg;
	enum sl_code calls_rc;
};

void sl_keep_ledger(struct sl_keep *k, struct sl_ledger *out); /* k must outlive what is made with these */
void sl_keep_cache(struct sl_keep *k, struct sl_cache_back *out);
/* `loop` has to turn until sl_keep_calls_end(). */
SL_MUST_USE enum sl_code sl_keep_calls(struct sl_keep *k, struct sl_loop *loop, struct sl_call_ledger_port *out);
void sl_keep_calls_end(struct sl_keep *k); /* [loop] nothing is tried again any more; idempotent */
void sl_keep_close(struct sl_keep *k);     /* before the store is closed */
