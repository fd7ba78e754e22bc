/* middleware/concurrency.c: no more calls of one profile at once than its limits.max_concurrency; the others queue,
 * first come first served (see llm/gate.h). */
#include <stdio.h>

#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/gate.h"
#include "llm/governor.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/services.h"

#define LOOK_MS 5000 /* it is woken; this is for the case that there was no memory for that */

extern const struct sl_middleware sl_middleware_concurrency;

struct gate_state {
	struct sl_pass pass;
	struct sl_waker *waker;
};

static void gate_wake(void *handle)
{
	sl_waker_wake(handle);
}
static void *gate_ref(void *handle)
{
	return sl_waker_ref(handle);
}
static void gate_unref(void *handle)
{
	sl_waker_unref(handle);
}
static const struct sl_wake gate_wakes = {gate_wake, gate_ref, gate_unref};

static bool gate_applies(const struct sl_node_def *def)
{
	return sl_node_def_is_call(def);
}

static enum sl_verdict gate_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	const struct sl_node_route *way = sl_exec_route(x);
	SL_ROUTE_AUTO route = {0};
	char reason[200];
	uint64_t ahead;
	if (!sl_route_of(s, sl_exec_params(x), &route) || way->candidate >= route.n)
		return SL_PASS;
	const struct sl_profile *p = route.profiles[way->candidate];
	if (!p->limit_concurrency)
		return SL_PASS;
	struct gate_state *state = sl_exec_state(x, &sl_middleware_concurrency, sizeof(*state));
	if (!state) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory to wait for profile '%s'", p->name);
		return SL_REFUSE;
	}
	if (!state->waker)
		state->waker = sl_exec_waker(x);
	enum sl_code rc = sl_gate_enter(s->governor->gates, sl_str(p->name), p->limit_concurrency, &state->pass,
					state->waker ? &gate_wakes : NULL, state->waker, &ahead);
	if (rc != SL_OK) {
		(void)sl_fail(err, rc, "too many calls wait for profile '%s'", p->name);
		sl_waker_unref(state->waker);
		state->waker = NULL;
		return SL_REFUSE;
	}
	if (!ahead)
		return SL_PASS;
	(void)snprintf(reason, sizeof(reason), "waits: profile '%s' makes %u calls at once", p->name,
		       p->limit_concurrency);
	sl_exec_reason(x, reason);
	sl_exec_look_again_ms(x, LOOK_MS);
	return SL_DELAY;
}

static void gate_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	struct gate_state *state = sl_exec_state(x, &sl_middleware_concurrency, sizeof(*state));
	if (!state || !state->waker)
		return;
	sl_gate_leave(s->governor->gates, &state->pass);
	sl_waker_unref(state->waker);
	state->waker = NULL;
}

const struct sl_middleware sl_middleware_concurrency = {
	.name = "concurrency",
	.slot = SL_SLOT_CONCURRENCY,
	.applies = gate_applies,
	.enter = gate_enter,
	.leave = gate_leave,
};
