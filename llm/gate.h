/* llm/gate.h: lets so many calls of one name (a profile) run at once; everyone else queues, first come first served.
 *
 * Owns      the gates. Never the passes: they are embedded in whatever waits.
 * Thread    everything [any]; one lock, O(1) held.
 * Not for   a rate a minute (llm/limiter.h).
 */
#pragma once

#include "base/list.h"
#include "base/str.h"
#include "llm/wake.h"

#define SL_GATE_WAITERS 20000 /* at one gate; more get SL_BUSY */

struct sl_gates;
struct sl_gate;
struct sl_buf;

/* One place in the queue, then one place inside. Zeroed at first; private; must not move until sl_gate_leave(). */
struct sl_pass {
	struct sl_list link;
	struct sl_gate *gate;
	const struct sl_wake *wake;
	void *handle;
	enum { SL_PASS_NONE, SL_PASS_WAITING, SL_PASS_INSIDE } state;
};

SL_MUST_USE enum sl_code sl_gates_new(struct sl_gates **out);
void sl_gates_free(struct sl_gates *g); /* NULL is fine; no pass may be out */
SL_DEFINE_AUTO(sl_gates)

/* *ahead 0: through. Else it is the place in the queue, from 1: ask again with the same pass when woken. The most that
 * may be inside can be another each time. SL_BUSY, SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_gate_enter(struct sl_gates *g, struct sl_str name, uint32_t most, struct sl_pass *p,
				       const struct sl_wake *wake, void *handle, uint64_t *ahead);
void sl_gate_leave(struct sl_gates *g, struct sl_pass *p); /* from inside or out of the queue; idempotent */

uint32_t sl_gate_inside(struct sl_gates *g, struct sl_str name);
void sl_gates_json(struct sl_gates *g, struct sl_buf *out); /* members: {"name","most","inside","waiting"} */
