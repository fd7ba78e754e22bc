/* middleware/budget.c: what the run and the runs above it (`limits` of their definitions, see engine/account.h) and its
 * project (an operator's) may spend. The worst case of a call is reserved before it is made, what it took is booked
 * afterwards (see llm/budget.h). A call that says nothing of the length of its answer gets what is left, and the model
 * is told; one that cannot fit fails with budget_exhausted. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "engine/account.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/budget.h"
#include "llm/chat.h"
#include "llm/governor.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/services.h"
#include "llm/tokens.h"

#define LOOK_MS 5000 /* it is woken; this is for the case that there was no memory for that */

extern const struct sl_middleware sl_middleware_budget;

struct budget_state {
	struct sl_budget_need need;
	struct sl_hold hold;
	struct sl_budget_claim project;
	struct sl_waker *waker;
	bool ready, held;
	uint64_t output_tokens;
	uint64_t booked_tokens; /* at the project, of attempts that failed */
	int64_t booked_microusd;
};

static void budget_wake(void *handle)
{
	sl_waker_wake(handle);
}
static void *budget_ref(void *handle)
{
	return sl_waker_ref(handle);
}
static void budget_unref(void *handle)
{
	sl_waker_unref(handle);
}
static const struct sl_wake budget_wakes = {budget_wake, budget_ref, budget_unref};

static bool budget_applies(const struct sl_node_def *def)
{
	return sl_node_def_is_call(def);
}

/* The worst of all candidates: which one it will be is not known yet. */
static struct sl_budget_need budget_need(struct sl_exec *x, const struct sl_route *route)
{
	const struct sl_services *s = sl_exec_services(x);
	uint64_t prompt = sl_tokens_of_request(sl_exec_params(x), SL_STR("")) + route->system_tokens;
	struct sl_budget_need need = {.prompt_tokens = prompt + prompt / 4}; /* an estimate may be short */
	for (uint32_t i = 0; i < route->n; i++) {
		double in = 0, out = 0;
		int64_t most = sl_route_max_tokens(route, i);
		need.flexible = need.flexible || !most;
		uint64_t output = most ? (uint64_t)most : SL_TOKENS_OUTPUT;
		need.output_tokens = output > need.output_tokens ? output : need.output_tokens;
		/* USD per million tokens is micro-USD per token; without a price nothing is known to be spent */
		if (sl_price_per_1m(sl_llm_prices(s->llm), route->profiles[i], sl_route_model(route, i), &in, &out)) {
			need.input_microusd = fmax(need.input_microusd, in);
			need.output_microusd = fmax(need.output_microusd, out);
		}
	}
	return need;
}

static enum sl_verdict budget_delay(struct sl_exec *x, const char *reason)
{
	sl_exec_reason(x, reason);
	sl_exec_look_again_ms(x, LOOK_MS);
	return SL_DELAY;
}

static int64_t budget_minus(uint64_t a, uint64_t b)
{
	return a >= b ? (int64_t)(a - b) : -(int64_t)(b - a);
}

/* A call, asked of one run after the other on the way up: what one of them allows is all the next is asked for. */
struct budget_asked {
	struct sl_asked asked;
	struct sl_budget_need need;
};

static int64_t budget_left_tokens(const struct sl_standing *l, uint64_t held)
{
	return l->max_tokens ? budget_minus(l->max_tokens, l->tokens + held) : INT64_MAX;
}

static int64_t budget_left_microusd(const struct sl_standing *l, int64_t held)
{
	return l->max_microusd ? l->max_microusd - l->microusd - held : INT64_MAX;
}

static enum sl_fits budget_fits(struct sl_asked *asked, const struct sl_standing *l)
{
	struct budget_asked *a = SL_CONTAINER_OF(asked, struct budget_asked, asked);
	int64_t ever = sl_budget_fit(&a->need, budget_left_tokens(l, 0), budget_left_microusd(l, 0));
	int64_t now = sl_budget_fit(&a->need, budget_left_tokens(l, l->held_tokens),
				    budget_left_microusd(l, l->held_microusd));
	switch (sl_budget_decide(&a->need, now, ever, &a->need.output_tokens)) {
	case SL_BUDGET_FITS:
		asked->tokens = a->need.prompt_tokens + a->need.output_tokens;
		asked->microusd = sl_budget_cost(&a->need, a->need.output_tokens);
		return SL_FITS;
	case SL_BUDGET_WAITS:
		return SL_FITS_LATER;
	case SL_BUDGET_NEVER:
		break;
	}
	return SL_FITS_NEVER;
}

/* "the run", or which other one it is. */
static const char *budget_whose(const struct sl_standing *l, char out[160])
{
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(l->run.u, id);
	if (l->own)
		(void)snprintf(out, 160, "the run");
	else
		(void)snprintf(out, 160, "the run %s%s%s%s, with the runs it has started,", id,
			       l->workflow[0] ? " ('" : "", l->workflow, l->workflow[0] ? "')" : "");
	return out;
}

static void budget_refuse(const struct sl_budget_need *need, const struct sl_standing *l, struct sl_error *err)
{
	char whose[160];
	uint64_t output = need->flexible ? SL_BUDGET_LEAST : need->output_tokens, least = need->prompt_tokens + output;
	budget_whose(l, whose);
	if (l->max_tokens && l->tokens + least > l->max_tokens)
		(void)sl_fail(err, SL_BUDGET, "%s has taken %llu of its %llu tokens, and this call may take %llu",
			      whose, (unsigned long long)l->tokens, (unsigned long long)l->max_tokens,
			      (unsigned long long)least);
	else
		(void)sl_fail(err, SL_BUDGET, "%s has cost %.4f of its %.2f USD, and this call may cost %.4f", whose,
			      (double)l->microusd / 1e6, (double)l->max_microusd / 1e6,
			      (double)sl_budget_cost(need, output) / 1e6);
}

/* SL_PASS: held, or nothing is limited. */
static enum sl_verdict budget_of_runs(struct sl_exec *x, struct budget_state *state, struct sl_error *err)
{
	struct budget_asked a = {.asked.fits = budget_fits, .need = state->need};
	struct sl_standing at;
	char reason[320], whose[160];
	if (state->held)
		return SL_PASS;
	switch (sl_exec_hold(x, &state->hold, state->waker, &a.asked, &at)) {
	case SL_HELD:
		state->held = true;
		state->output_tokens = a.need.output_tokens;
		return SL_PASS;
	case SL_HELD_NOTHING:
		return SL_PASS;
	case SL_HELD_LATER:
		(void)snprintf(reason, sizeof(reason),
			       "waits: the rest of the budget of %s is reserved by calls under way",
			       budget_whose(&at, whose));
		return budget_delay(x, reason);
	case SL_HELD_UNKNOWN:
		return budget_delay(
			x, "waits: what has been spent by runs that count together with this one is looked up");
	case SL_HELD_NEVER:
		break;
	}
	budget_refuse(&state->need, &at, err);
	return SL_REFUSE;
}

static void budget_let_go(struct sl_exec *x, struct budget_state *state)
{
	sl_exec_let_go(x, &state->hold);
	state->held = false;
	sl_waker_unref(state->waker);
	state->waker = NULL;
}

static enum sl_verdict budget_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	struct budget_state *state = sl_exec_state(x, &sl_middleware_budget, sizeof(*state));
	const char *project = sl_exec_project(x);
	bool wait = false;
	if (!state) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a budget");
		return SL_REFUSE;
	}
	if (!state->ready) {
		SL_ROUTE_AUTO route = {0};
		if (!sl_route_of(s, sl_exec_params(x), &route))
			return SL_PASS;
		state->need = budget_need(x, &route);
		state->output_tokens = state->need.output_tokens;
		state->ready = true;
	}
	if (!state->waker)
		state->waker = sl_exec_waker(x);
	enum sl_verdict v = budget_of_runs(x, state, err);
	if (v == SL_REFUSE)
		budget_let_go(x, state);
	if (v != SL_PASS)
		return v;
	struct sl_budget_need need = state->need; /* what the runs allow is all the project is asked for */
	need.output_tokens = state->output_tokens;
	enum sl_code rc = sl_budget_reserve(s->governor->budgets, sl_str(project), &need, &state->project,
					    state->waker ? &budget_wakes : NULL, state->waker,
					    sl_clock_wall(sl_exec_clock(x)), &wait, err);
	if (rc != SL_OK) {
		budget_let_go(x, state);
		return SL_REFUSE;
	}
	if (wait) {
		char reason[200];
		(void)snprintf(reason, sizeof(reason),
			       "waits: the rest of the budget of project %s is reserved by calls under way", project);
		return budget_delay(x, reason);
	}
	if (state->project.state == SL_CLAIM_HELD)
		state->output_tokens = state->project.output_tokens;
	/* only where a budget speaks: nobody else's answers are cut */
	if (state->held || state->project.state == SL_CLAIM_HELD)
		sl_exec_route(x)->max_output = state->output_tokens;
	return SL_PASS;
}

/* Another attempt begins: what the ones before took is spent, beside what is held for this one. (The run's journal has
 * it already.) */
static struct sl_watch *budget_watch(struct sl_exec *x)
{
	struct budget_state *state = sl_exec_state(x, &sl_middleware_budget, sizeof(*state));
	uint64_t tokens;
	int64_t cost;
	if (!state || state->project.state != SL_CLAIM_HELD)
		return NULL;
	sl_exec_spent(x, &tokens, &cost);
	sl_budget_book(sl_exec_services(x)->governor->budgets, &state->project, tokens - state->booked_tokens,
		       cost - state->booked_microusd, sl_clock_wall(sl_exec_clock(x)));
	state->booked_tokens = tokens;
	state->booked_microusd = cost;
	return NULL;
}

static void budget_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	struct budget_state *state = sl_exec_state(x, &sl_middleware_budget, sizeof(*state));
	uint64_t tokens;
	int64_t cost;
	if (!state || !state->ready)
		return;
	sl_exec_spent(x, &tokens, &cost);
	sl_budget_settle(s->governor->budgets, &state->project, tokens - state->booked_tokens,
			 cost - state->booked_microusd, sl_clock_wall(sl_exec_clock(x)));
	budget_let_go(x, state);
}

const struct sl_middleware sl_middleware_budget = {
	.name = "budget",
	.slot = SL_SLOT_BUDGET,
	.applies = budget_applies,
	.enter = budget_enter,
	.leave = budget_leave,
	.watch = budget_watch,
};
