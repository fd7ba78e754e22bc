/* llm/ledger.h: the proof of a cancel: one row for each call that was called off before its end, on its way to the
 * store.
 *
 * Owns      rows until they are written. A burst goes in batches, one at a time; when nothing can be written they wait,
 *           at most SL_LIMIT_LEDGER_ROWS of them: then the oldest is lost, which is counted and logged.
 * Thread    everything [any]; one lock, never held across the port.
 * Not for   what calls cost (that is the run's journal and llm/budget.h), nor calls that came to their end.
 */
#pragma once

#include "llm/stats.h"
#include "store/ledger.h"

struct sl_call_ledger;

/* On whose behalf a call is made. */
struct sl_call_of {
	struct sl_run_id run;
	struct sl_str path; /* of the node; empty: nobody's, and no row is made */
	uint32_t attempt;
};

/* Why, as rows say it. Who calls off may say other constants, too. */
#define SL_CALL_CANCELLED "cancelled"
#define SL_CALL_LOCKED    "locked"  /* the run breaker tripped */
#define SL_CALL_TIMEOUT   "timeout" /* a deadline of the profile, the node or the run */
#define SL_CALL_TOO_LARGE "too_large"
#define SL_CALL_STOPPING  "stopping" /* the server goes down; the call is made again by whoever takes the run */

/* Where rows are written. write [any, without a lock]: asynchronous, tries again for as long as that may help; rows are
 * lent until `done`, which comes once, later or at once, from any thread. */
struct sl_call_ledger_port {
	void (*write)(void *ctx, const struct sl_call_row *rows, size_t n, void (*done)(void *arg, enum sl_code rc),
		      void *arg);
	void *ctx;
};

SL_MUST_USE enum sl_code sl_call_ledger_new(const struct sl_call_ledger_port *port, struct sl_call_ledger **out);
void sl_call_ledger_free(struct sl_call_ledger *l); /* no write may be under way. NULL is fine */
SL_DEFINE_AUTO(sl_call_ledger)

/* Takes the row's strings. `l` NULL: they are freed. Never blocks. */
void sl_call_ledger_add(struct sl_call_ledger *l, struct sl_call_row *row);
/* [not a loop] Waits until all is written, at most so long. false: it is not. */
bool sl_call_ledger_drain(struct sl_call_ledger *l, uint64_t most_ms);

extern const struct sl_bounds sl_bounds_close; /* seconds from an order to the closed socket */
struct sl_call_ledger_stats {
	uint64_t rows, written, lost;
	uint32_t waiting;
	struct sl_stats_spread close; /* of sockets and streams that were closed */
};
void sl_call_ledger_stats(struct sl_call_ledger *l, struct sl_call_ledger_stats *out);
