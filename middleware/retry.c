/* middleware/retry.c: another attempt after a failure that may pass. The error says if it may (base/error.h) and when
 * the other side wants to be asked again; a node's `retry` says how often and how patiently. A profile's fallbacks come
 * first (middleware/failover.c); a retry begins again with the profile itself. All retries to one profile share a
 * budget, so that an outage is not answered with a storm. */
#include <stdio.h>

#include "base/clock.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/governor.h"
#include "llm/profile.h"
#include "llm/retry_budget.h"
#include "llm/route.h"
#include "llm/services.h"

/* Whoever asks for more patience than this will hardly be better then: the failure goes out, a fallback may take over.
 */
#define RETRY_LONGEST_HINT_MS 120000

extern const struct sl_middleware sl_middleware_retry;

struct retry_state {
	uint32_t rounds; /* retries so far; attempts by way of a fallback are none */
	bool malformed;  /* one of them was for an answer that was none */
	bool counted;    /* those before a restart are in `rounds` */
};

/* Model calls fail in passing often enough to be tried again unasked, as the providers' own clients do. */
static const struct sl_retry retry_models = {
	.max = 2, .backoff_ms = 500, .max_backoff_ms = 8000, .factor = 2, .jitter = true};

static const struct sl_retry *retry_of(const struct sl_node_def *def)
{
	if (def->has_retry)
		return def->retry.max ? &def->retry : NULL;
	return sl_node_def_is_call(def) ? &retry_models : NULL;
}

static bool retry_applies(const struct sl_node_def *def)
{
	return retry_of(def) != NULL || sl_node_def_is_call(def);
}

/* A fraction of 1 of v, at most v. */
static double retry_random(struct sl_exec *x, double v)
{
	return v * (double)(sl_exec_random(x) >> 11) / 9007199254740992.0; /* 2^53 */
}

static enum sl_verdict retry_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	SL_ROUTE_AUTO route = {0};
	if (sl_node_def_is_call(sl_exec_def(x)) && sl_route_of(s, sl_exec_params(x), &route))
		sl_retry_budget_first(s->governor->retries, sl_str(route.profiles[0]->name),
				      sl_clock_mono(sl_exec_clock(x)));
	return SL_PASS;
}

/* May the profile be asked once more? A call that was refused here cost nobody anything. */
static bool retry_afford(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	SL_ROUTE_AUTO route = {0};
	char reason[160];
	if (!sl_node_def_is_call(sl_exec_def(x)) || !outcome->attempt || !sl_route_of(s, sl_exec_params(x), &route))
		return true;
	if (sl_retry_budget_take(s->governor->retries, sl_str(route.profiles[0]->name),
				 sl_clock_mono(sl_exec_clock(x))))
		return true;
	(void)snprintf(reason, sizeof(reason),
		       "not tried again: the retries of profile '%s' are used up (%d %% of its calls and %d a second)",
		       route.profiles[0]->name, SL_RETRY_BUDGET_PERCENT, SL_RETRY_BUDGET_PER_SECOND);
	sl_exec_reason(x, reason);
	return false;
}

/* Rounds of an earlier life of the server. A round asks the profile and each of its fallbacks once. */
static uint32_t retry_earlier(struct sl_exec *x)
{
	const struct sl_services *s = sl_exec_services(x);
	SL_ROUTE_AUTO route = {0};
	uint32_t tries = sl_exec_earlier_tries(x), each = 1;
	if (tries && sl_exec_def(x)->type->effects == SL_EFFECTS_MODEL && sl_route_of(s, sl_exec_params(x), &route))
		each = route.n;
	return tries / each;
}

static enum sl_again retry_failed(struct sl_exec *x, const struct sl_outcome *outcome, uint64_t *delay_ms)
{
	const struct sl_retry *r = retry_of(sl_exec_def(x));
	struct retry_state *state = sl_exec_state(x, &sl_middleware_retry, sizeof(*state));
	uint32_t hint_ms = outcome->err ? outcome->err->retry_after_ms : 0;
	char reason[96];
	/* a proxy's page, half a chunk: once it may be chance, twice it is what is there */
	if (state && !state->counted) {
		state->counted = true;
		state->rounds = retry_earlier(x);
	}
	bool again = outcome->code == SL_MALFORMED && state && state->malformed;
	if (!r || !state || again || state->rounds >= r->max || sl_code_retry(outcome->code) == SL_RETRY_NEVER ||
	    hint_ms > RETRY_LONGEST_HINT_MS || !retry_afford(x, outcome))
		return SL_AGAIN_NO;
	double ms = r->backoff_ms;
	for (uint32_t i = 0; i < state->rounds && ms < r->max_backoff_ms; i++)
		ms *= r->factor;
	if (ms > r->max_backoff_ms)
		ms = r->max_backoff_ms;
	if (r->jitter)
		ms -= retry_random(x, ms / 2);
	if (ms <
	    hint_ms) /* never earlier than asked; a little later, so that many do not come back at the same instant */
		ms = hint_ms + (r->jitter ? retry_random(x, hint_ms / 20.0) : 0);
	*delay_ms = (uint64_t)ms;
	state->rounds++;
	state->malformed = state->malformed || outcome->code == SL_MALFORMED;
	(void)snprintf(reason, sizeof(reason), "%s, trying again in %.1f s (%u of %u)", sl_code_wire(outcome->code),
		       ms / 1000, state->rounds, r->max);
	sl_exec_reason(x, reason);
	return SL_AGAIN_AFTER;
}

const struct sl_middleware sl_middleware_retry = {
	.name = "retry",
	.slot = SL_SLOT_RETRY,
	.applies = retry_applies,
	.enter = retry_enter,
	.failed = retry_failed,
};
