/* middleware/budget.c: what the run (`limits` of its definition) and its project (an operator's) may spend. The worst
 * case of a call is reserved before it is made, what it took is booked afterwards (see llm/budget.h). A call that says
 * nothing of the length of its answer gets what is left, and the model is told; one that cannot fit fails with
 * budget_exhausted. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/list.h"
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

struct run_state { /* what calls of this run hold right now */
	uint64_t tokens;
	int64_t cost_microusd;
	uint64_t calls;
	struct sl_list waiting; /* of struct budget_state */
	bool ready;
};

struct budget_state {
	struct sl_budget_need need;
	struct sl_budget_claim project;
	struct sl_waker *waker;
	struct sl_list link; /* waits for the run's budget */
	bool ready, waits, held;
	uint64_t tokens, output_tokens;
	int64_t cost_microusd;
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

static enum sl_verdict budget_wait(struct sl_exec *x, const char *whose, const char *name)
{
	char reason[200];
	(void)snprintf(reason, sizeof(reason), "waits: the rest of the budget of %s%s is reserved by calls under way",
		       whose, name);
	sl_exec_reason(x, reason);
	sl_exec_recheck_ms(x, LOOK_MS);
	return SL_DELAY;
}

static int64_t budget_minus(uint64_t a, uint64_t b)
{
	return a >= b ? (int64_t)(a - b) : -(int64_t)(b - a);
}

static void budget_unwait(struct budget_state *state)
{
	if (state->waits)
		sl_list_drop(&state->link);
	state->waits = false;
}

/* SL_PASS: held, or nothing is limited. */
static enum sl_verdict budget_of_run(struct sl_exec *x, struct budget_state *state, struct sl_error *err)
{
	const struct sl_workflow *w = sl_exec_workflow(x);
	const struct sl_budget_need *need = &state->need;
	struct sl_run_totals t;
	if (state->held || (!w->max_tokens && !w->max_cost_microusd))
		return SL_PASS;
	struct run_state *run = sl_exec_run_state(x, &sl_middleware_budget, sizeof(*run));
	if (!run) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for the budget of the run");
		return SL_REFUSE;
	}
	if (!run->ready) {
		sl_list_init(&run->waiting);
		run->ready = true;
	}
	sl_exec_run_totals(x, &t);
	int64_t ever = sl_budget_fit(need, w->max_tokens ? budget_minus(w->max_tokens, t.tokens) : INT64_MAX,
				     w->max_cost_microusd ? w->max_cost_microusd - t.cost_microusd : INT64_MAX);
	int64_t now = sl_budget_fit(
		need, w->max_tokens ? budget_minus(w->max_tokens, t.tokens + run->tokens) : INT64_MAX,
		w->max_cost_microusd ? w->max_cost_microusd - t.cost_microusd - run->cost_microusd : INT64_MAX);
	switch (sl_budget_decide(need, now, ever, &state->output_tokens)) {
	case SL_BUDGET_FITS:
		budget_unwait(state);
		state->held = true;
		state->tokens = need->prompt_tokens + state->output_tokens;
		state->cost_microusd = sl_budget_cost(need, state->output_tokens);
		run->tokens += state->tokens;
		run->cost_microusd += state->cost_microusd;
		run->calls++;
		return SL_PASS;
	case SL_BUDGET_WAITS:
		if (run->calls) { /* else there is nobody whose end could make it fit */
			if (!state->waits)
				sl_list_append(&run->waiting, &state->link);
			state->waits = true;
			return budget_wait(x, "the run", "");
		}
		__attribute__((fallthrough));
	case SL_BUDGET_NEVER:
		break;
	}
	uint64_t least = need->prompt_tokens + (need->flexible ? SL_BUDGET_LEAST : need->output_tokens);
	if (w->max_tokens && t.tokens + least > w->max_tokens)
		(void)sl_fail(err, SL_BUDGET, "the run has taken %llu of its %llu tokens, and this call may take %llu",
			      (unsigned long long)t.tokens, (unsigned long long)w->max_tokens,
			      (unsigned long long)least);
	else
		(void)sl_fail(err, SL_BUDGET, "the run has cost %.4f of its %.2f USD, and this call may cost %.4f",
			      (double)t.cost_microusd / 1e6, (double)w->max_cost_microusd / 1e6,
			      (double)sl_budget_cost(need, need->flexible ? SL_BUDGET_LEAST : need->output_tokens) /
				      1e6);
	return SL_REFUSE;
}

static void budget_let_go(struct sl_exec *x, struct budget_state *state)
{
	budget_unwait(state);
	if (state->held) {
		struct run_state *run = sl_exec_run_state(x, &sl_middleware_budget, sizeof(*run));
		run->tokens -= state->tokens;
		run->cost_microusd -= state->cost_microusd;
		run->calls--;
		state->held = false;
		sl_list_each (it, &run->waiting) {
			struct budget_state *other = sl_list_entry(it, struct budget_state, link);
			if (other->waker)
				sl_waker_wake(other->waker);
		}
	}
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
	enum sl_verdict v = budget_of_run(x, state, err);
	if (v == SL_REFUSE)
		budget_let_go(x, state);
	if (v != SL_PASS)
		return v;
	struct sl_budget_need need = state->need; /* what the run allows is all the project is asked for */
	need.output_tokens = state->output_tokens;
	enum sl_code rc = sl_budget_reserve(s->governor->budgets, sl_str(project), &need, &state->project,
					    state->waker ? &budget_wakes : NULL, state->waker,
					    sl_clock_wall(sl_exec_clock(x)), &wait, err);
	if (rc != SL_OK) {
		budget_let_go(x, state);
		return SL_REFUSE;
	}
	if (wait)
		return budget_wait(x, "project ", project);
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
