/* store/orders.h: what servers on one database tell and ask each other at once: LISTEN and NOTIFY on a connection of
 * its own, never in a transaction of the journal, and a table of orders to runs that another server has.
 *
 * A store that is exclusive does none of it: it has no such connection, and sends nobody anything.
 *
 * Thread    [any], callbacks [store]. */
#pragma once

#include "store/store.h"

/* What somebody asks of a run; the texts are the caller's own words, this room does not read them. Lent. */
struct sl_store_order {
	int64_t id; /* of one that came in */
	struct sl_run_id run;
	struct sl_str kind, by, reason, node, payload;
};

/* What the owner said: rc, the run's status and, when rc is no SL_OK, why. SL_UNAVAILABLE: no live server has the run
 * now, or the one that has did not answer within wait_ms; whether it was done is not known, ask again. Lent. */
typedef void sl_store_order_fn(void *arg, enum sl_code rc, struct sl_str status, struct sl_str message);
SL_MUST_USE enum sl_code sl_store_order(struct sl_store *s, const struct sl_store_order *o, uint32_t wait_ms,
					sl_store_order_fn *fn, void *arg);

/* The answer to one that came in through sl_store_config.on_order. */
void sl_store_order_answer(struct sl_store *s, int64_t id, enum sl_code rc, const char *status, const char *message);
