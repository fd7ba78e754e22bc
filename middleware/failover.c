/* middleware/failover.c: when a provider fails, the next one is asked at once: another key of the same profile when the
 * key was the trouble, else the profile's next fallback. After the last one the failure goes to retry.c, and the next
 * round begins with the profile itself. The stream of the attempt that failed is void; the engine says so. */
#include <stdio.h>

#include "base/clock.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/governor.h"
#include "llm/profile.h"
#include "llm/retry_budget.h"
#include "llm/route.h"
#include "llm/services.h"

extern const struct sl_middleware sl_middleware_failover;

struct failover_state {
	uint32_t keys; /* of the candidate that failed, in this round */
};

static bool failover_applies(const struct sl_node_def *def)
{
	return sl_node_def_is_call(def);
}

/* Would another provider do better? Not when the request is wrong, or what the model said. */
static bool failover_helps(enum sl_code code)
{
	switch (code) {
	case SL_TIMEOUT:
	case SL_RATE_LIMITED:
	case SL_BUSY:
	case SL_UNAVAILABLE:
	case SL_PROVIDER_AUTH:
	case SL_PROVIDER_MODEL:
	case SL_CONTEXT_TOO_LONG: /* the other one's may be longer */
	case SL_QUOTA_EXHAUSTED:
	case SL_PROVIDER_ERROR:
	case SL_OVERLOADED:
	case SL_CONNECT:
	case SL_TRUNCATED:
	case SL_MALFORMED:
	case SL_CERTIFICATE:
	case SL_BREAKER_OPEN:
		return true;
	default:
		return false;
	}
}

static bool failover_is_about_the_key(enum sl_code code)
{
	return code == SL_PROVIDER_AUTH || code == SL_RATE_LIMITED || code == SL_QUOTA_EXHAUSTED;
}

static enum sl_again failover_failed(struct sl_exec *x, const struct sl_outcome *outcome, uint64_t *delay_ms)
{
	const struct sl_services *s = sl_exec_services(x);
	struct sl_node_route *way = sl_exec_route(x);
	struct failover_state *state = sl_exec_state(x, &sl_middleware_failover, sizeof(*state));
	uint64_t now = sl_clock_mono(sl_exec_clock(x));
	SL_ROUTE_AUTO route = {0};
	char reason[200];
	if (!state || !failover_helps(outcome->code) || !sl_route_of(s, sl_exec_params(x), &route) ||
	    way->candidate >= route.n)
		return SL_AGAIN_NO;
	const struct sl_profile *p = route.profiles[way->candidate];
	*delay_ms = 0;
	/* an attempt was made and the key was the trouble: another key may be fit (provider_breaker.c chooses it) */
	if (outcome->attempt && failover_is_about_the_key(outcome->code) && state->keys + 1 < p->n_keys) {
		uint32_t lane;
		struct sl_error err;
		if (sl_governor_choose(s->governor, p, sl_route_model(&route, way->candidate), 0, now, &lane, &err) ==
			    SL_OK &&
		    sl_retry_budget_take(s->governor->retries, sl_str(p->name), now)) {
			state->keys++;
			(void)snprintf(reason, sizeof(reason), "%s with one key of '%s', going on with another",
				       sl_code_wire(outcome->code), p->name);
			sl_exec_reason(x, reason);
			return SL_AGAIN_AFTER;
		}
	}
	state->keys = 0;
	if (way->candidate + 1 < route.n) {
		way->candidate++;
		(void)snprintf(reason, sizeof(reason), "%s at '%s', going on with '%s'", sl_code_wire(outcome->code),
			       p->name, route.profiles[way->candidate]->name);
		sl_exec_reason(x, reason);
		return SL_AGAIN_AFTER;
	}
	way->candidate = 0;
	return SL_AGAIN_NO;
}

const struct sl_middleware sl_middleware_failover = {
	.name = "failover",
	.slot = SL_SLOT_FAILOVER,
	.applies = failover_applies,
	.failed = failover_failed,
};
