/* middleware/provider_breaker.c: chooses the key an attempt goes with, and does not let it go to a model that fails
 * (see llm/breaker.h, llm/keys.h). A refusal is a failed attempt: the next candidate is asked at once.
 *
 * A fallback that nobody has called lately is not stormed either: until it has answered once, only as many go there as
 * its retry budget has; the others wait for that answer. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/breaker.h"
#include "llm/governor.h"
#include "llm/keys.h"
#include "llm/profile.h"
#include "llm/retry_budget.h"
#include "llm/route.h"
#include "llm/services.h"

#define UNPROVEN_LOOK_MS  250
#define UNPROVEN_MOST_MS  30000 /* then the fallback counts as not available */
#define REST_LOOK_MOST_MS 30000

extern const struct sl_middleware sl_middleware_provider_breaker;

/* When the first token came: written where the stream is, read when the attempt is over. */
struct first_token {
	struct sl_watch watch;
	_Atomic uint32_t refs;
	_Atomic uint64_t at_ms; /* 0: not yet */
	const struct sl_clock *clock;
};

struct breaker_state {
	bool called, trial;
	char name[SL_GOVERNOR_NAME_BYTES];
	struct sl_profile *profile;
	uint32_t lane;
	uint64_t began_ms, waits_since_ms;
	struct first_token *first;
};

static void first_unref(struct sl_watch *w)
{
	struct first_token *f = SL_CONTAINER_OF(w, struct first_token, watch);
	if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
		free(f);
}

static enum sl_code first_see(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip)
{
	struct first_token *f = SL_CONTAINER_OF(w, struct first_token, watch);
	if (!atomic_load_explicit(&f->at_ms, memory_order_relaxed))
		atomic_store_explicit(&f->at_ms, sl_clock_mono(f->clock), memory_order_relaxed);
	return SL_OK;
}

static bool breaker_applies(const struct sl_node_def *def)
{
	return sl_node_def_is_call(def);
}

static enum sl_verdict breaker_wait(struct sl_exec *x, uint64_t ms, const char *reason)
{
	sl_exec_reason(x, reason);
	sl_exec_recheck_ms(x, ms);
	return SL_DELAY;
}

static enum sl_verdict breaker_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	struct sl_node_route *way = sl_exec_route(x);
	struct breaker_state *state = sl_exec_state(x, &sl_middleware_provider_breaker, sizeof(*state));
	uint64_t now = sl_clock_mono(sl_exec_clock(x));
	SL_ROUTE_AUTO route = {0};
	char reason[SL_ERROR_TEXT_BYTES + 32];
	if (!state || !sl_route_of(s, sl_exec_params(x), &route))
		return SL_PASS;
	if (way->candidate >= route.n) /* the profile was changed meanwhile */
		way->candidate = 0;
	struct sl_profile *p = route.profiles[way->candidate];
	const char *model = sl_route_model(&route, way->candidate);
	enum sl_code rc = sl_governor_choose(s->governor, p, model, 0, now, &way->lane, err);
	if (rc == SL_RATE_LIMITED && way->candidate + 1 >= route.n && err->retry_after_ms <= REST_LOOK_MOST_MS) {
		/* nobody else to ask, and it does not take long */
		(void)snprintf(reason, sizeof(reason), "waits: %s", err->text);
		return breaker_wait(x, err->retry_after_ms, reason);
	}
	if (rc != SL_OK)
		return SL_REFUSE;
	sl_governor_breaker(p, model, way->lane, state->name);
	if (way->candidate > 0 && !sl_breaker_proven(s->governor->breakers, sl_str(state->name), now) &&
	    !sl_retry_budget_take(s->governor->retries, sl_str(p->name), now)) {
		if (!state->waits_since_ms)
			state->waits_since_ms = now;
		if (now < state->waits_since_ms + UNPROVEN_MOST_MS) {
			(void)snprintf(reason, sizeof(reason),
				       "waits: the fallback '%s' has not answered yet, and enough calls are trying it",
				       p->name);
			return breaker_wait(x, UNPROVEN_LOOK_MS + sl_exec_random(x) % UNPROVEN_LOOK_MS, reason);
		}
		(void)sl_fail(err, SL_OVERLOADED, "the fallback '%s' did not answer anybody in %d s", p->name,
			      UNPROVEN_MOST_MS / 1000);
		return SL_REFUSE;
	}
	struct sl_breaker_answer a = sl_breaker_ask(s->governor->breakers, sl_str(state->name), now);
	if (!a.go) { /* another call took the trial in this very moment */
		(void)sl_fail(err, SL_BREAKER_OPEN, "the breaker of '%s' (%s) is open: it failed too often", p->name,
			      model);
		err->retry_after_ms = (uint32_t)a.wait_ms;
		return SL_REFUSE;
	}
	state->called = true;
	state->trial = a.trial;
	state->profile = sl_profile_ref(p);
	state->lane = way->lane;
	state->began_ms = now;
	sl_keys_begin(s->governor->keys, p, way->lane);
	if (a.trial) {
		(void)snprintf(reason, sizeof(reason), "tries if '%s' (%s) is back", p->name, model);
		sl_exec_reason(x, reason);
	}
	return SL_PASS;
}

static struct sl_watch *breaker_watch(struct sl_exec *x)
{
	struct breaker_state *state = sl_exec_state(x, &sl_middleware_provider_breaker, sizeof(*state));
	if (!state || !state->called || state->first || !(state->first = calloc(1, sizeof(*state->first))))
		return NULL;
	state->first->watch = (struct sl_watch){first_see, first_unref};
	state->first->clock = sl_exec_clock(x);
	atomic_init(&state->first->refs, 2);
	return &state->first->watch;
}

static void breaker_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	struct breaker_state *state = sl_exec_state(x, &sl_middleware_provider_breaker, sizeof(*state));
	uint64_t now = sl_clock_mono(sl_exec_clock(x));
	if (!state)
		return;
	if (state->called) {
		/* an attempt that was not made says nothing, of the provider or of the key */
		enum sl_code code = outcome->attempt ? outcome->code : SL_CANCELLED;
		uint64_t first = state->first ? atomic_load_explicit(&state->first->at_ms, memory_order_relaxed) : 0;
		(void)sl_breaker_report(s->governor->breakers, sl_str(state->name), state->trial,
					sl_breaker_word_of(code), first ? first - state->began_ms : 0, now);
		sl_keys_end(s->governor->keys, state->profile, state->lane, code,
			    outcome->err ? outcome->err->retry_after_ms : 0, now);
		sl_profile_unref(state->profile);
		state->called = false;
	}
	if (state->first)
		first_unref(&state->first->watch);
	state->first = NULL;
}

const struct sl_middleware sl_middleware_provider_breaker = {
	.name = "provider_breaker",
	.slot = SL_SLOT_PROVIDER_BREAKER,
	.applies = breaker_applies,
	.enter = breaker_enter,
	.leave = breaker_leave,
	.watch = breaker_watch,
};
