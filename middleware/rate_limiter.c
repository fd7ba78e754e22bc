/* middleware/rate_limiter.c: an attempt goes out when its project and its key have requests and tokens left for it (see
 * llm/limiter.h). What it is thought to take is reserved; what it took is settled, to the token. */
#include <stdio.h>

#include "base/clock.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/governor.h"
#include "llm/limiter.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/services.h"
#include "llm/tokens.h"

#define WAIT_MOST_MS 30000 /* where a fallback stands by: whoever has to wait longer goes there */

extern const struct sl_middleware sl_middleware_rate_limiter;

struct limiter_state {
	struct sl_ticket project, way;
	struct sl_waker *waker;
	uint64_t prompt_tokens, output_tokens; /* as estimated */
	bool ready;
};

static void limiter_wake(void *handle)
{
	sl_waker_wake(handle);
}
static void *limiter_ref(void *handle)
{
	return sl_waker_ref(handle);
}
static void limiter_unref(void *handle)
{
	sl_waker_unref(handle);
}
static const struct sl_wake limiter_wakes = {limiter_wake, limiter_ref, limiter_unref};

static bool limiter_applies(const struct sl_node_def *def)
{
	return sl_node_def_is_call(def);
}

static enum sl_verdict limiter_wait(struct sl_exec *x, const struct sl_limiter_view *v, const char *who)
{
	char reason[200];
	if (v->what[0] == 'p')
		(void)snprintf(reason, sizeof(reason), "waits %.1f s: the provider of %s asked for it",
			       (double)v->wait_ms / 1000, who);
	else
		(void)snprintf(reason, sizeof(reason), "waits %.1f s: %s has %lld of %llu %s a minute left",
			       (double)v->wait_ms / 1000, who, (long long)v->left, (unsigned long long)v->limit,
			       v->what);
	sl_exec_reason(x, reason);
	sl_exec_recheck_ms(x, v->wait_ms);
	return SL_DELAY;
}

static enum sl_verdict limiter_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	const struct sl_node_route *way = sl_exec_route(x);
	struct limiter_state *state = sl_exec_state(x, &sl_middleware_rate_limiter, sizeof(*state));
	struct sl_limiter_view view;
	uint64_t now = sl_clock_mono(sl_exec_clock(x));
	SL_ROUTE_AUTO route = {0};
	char name[SL_GOVERNOR_NAME_BYTES], who[200];
	if (!state || !sl_route_of(s, sl_exec_params(x), &route) || way->candidate >= route.n)
		return SL_PASS;
	const struct sl_profile *p = route.profiles[way->candidate];
	const char *model = sl_route_model(&route, way->candidate), *project = sl_exec_project(x);
	const struct sl_rate rate = sl_governor_rate(p),
			     shared = sl_governor_project_rate(s->governor, sl_str(project));
	if (!state->ready) {
		int64_t most = sl_route_max_tokens(&route, way->candidate);
		uint64_t expected = sl_governor_expected(s->governor, p, model);
		state->ready = true;
		state->prompt_tokens = sl_tokens_of_request(sl_exec_params(x), SL_STR("")) + route.system_tokens;
		/* as long as it may be when somebody said so, else as long as they usually are */
		state->output_tokens = most ? (uint64_t)most : expected;
		if (way->max_output && way->max_output < state->output_tokens)
			state->output_tokens = way->max_output;
		state->waker = sl_exec_waker(x); /* NULL, no memory: the time to look again is set all the same */
	}
	uint64_t tokens = state->prompt_tokens + state->output_tokens;
	const struct sl_wake *wake = state->waker ? &limiter_wakes : NULL;
	if ((shared.rpm || shared.tpm) && state->project.state != SL_TICKET_GRANTED) {
		(void)snprintf(name, sizeof(name), "project:%.200s", project);
		enum sl_code rc = sl_limiter_take(s->governor->limiter, sl_str(name), &shared, tokens, &state->project,
						  wake, state->waker, now, &view);
		if (rc != SL_OK) {
			(void)sl_fail(err, rc, "too many calls wait for the limit of the project '%s'", project);
			return SL_REFUSE;
		}
		if (view.wait_ms) {
			(void)snprintf(who, sizeof(who), "the project '%s'", project);
			return limiter_wait(x, &view, who);
		}
	}
	if (state->way.state == SL_TICKET_GRANTED)
		return SL_PASS;
	sl_governor_way(p, way->lane, name);
	enum sl_code rc = sl_limiter_take(s->governor->limiter, sl_str(name), &rate, tokens, &state->way, wake,
					  state->waker, now, &view);
	if (rc != SL_OK) {
		(void)sl_fail(err, rc, "too many calls wait for the limit of profile '%s'", p->name);
		return SL_REFUSE;
	}
	if (!view.wait_ms)
		return SL_PASS;
	if (view.wait_ms > WAIT_MOST_MS && way->candidate + 1 < route.n) {
		(void)sl_fail(err, SL_RATE_LIMITED, "profile '%s' has no room for another %.0f s", p->name,
			      (double)view.wait_ms / 1000);
		err->retry_after_ms = view.wait_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)view.wait_ms;
		sl_limiter_settle(s->governor->limiter, &state->way, 0, now);
		sl_limiter_return(s->governor->limiter, &state->project, now);
		sl_waker_unref(state->waker);
		state->waker = NULL;
		return SL_REFUSE;
	}
	(void)snprintf(who, sizeof(who), "profile '%s'", p->name);
	return limiter_wait(x, &view, who);
}

/* What an attempt took that did not say so. */
static uint64_t limiter_guess(struct sl_exec *x, const struct limiter_state *state, const struct sl_outcome *outcome)
{
	struct sl_node *n = sl_exec_node(x);
	switch (outcome->code) {
	case SL_OK:
		return state->prompt_tokens + state->output_tokens;
	case SL_CANCELLED:
	case SL_TRIPPED:
	case SL_TIMEOUT:
	case SL_TRUNCATED:
	case SL_OUTPUT_INVALID: { /* the model was at work */
		struct sl_stream *stream = n ? sl_node_stream(n) : NULL;
		return state->prompt_tokens + (stream ? sl_stream_length(stream) / 4 : 0);
	}
	default: /* it was turned away */
		return 0;
	}
}

static void limiter_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	const struct sl_node_route *way = sl_exec_route(x);
	struct limiter_state *state = sl_exec_state(x, &sl_middleware_rate_limiter, sizeof(*state));
	uint64_t now = sl_clock_mono(sl_exec_clock(x));
	if (!state || !state->ready)
		return;
	if (!outcome->attempt) {
		sl_limiter_return(s->governor->limiter, &state->way, now);
		sl_limiter_return(s->governor->limiter, &state->project, now);
	} else {
		const struct sl_usage *u = sl_exec_usage(x);
		uint64_t took = u ? u->input_tokens + u->output_tokens : limiter_guess(x, state, outcome);
		SL_ROUTE_AUTO route = {0};
		sl_limiter_settle(s->governor->limiter, &state->way, took, now);
		sl_limiter_settle(s->governor->limiter, &state->project, took, now);
		if (u && outcome->code == SL_OK && sl_route_of(s, sl_exec_params(x), &route) &&
		    way->candidate < route.n)
			sl_governor_answered(s->governor, route.profiles[way->candidate],
					     sl_route_model(&route, way->candidate), u->output_tokens);
	}
	sl_waker_unref(state->waker);
	state->waker = NULL;
}

const struct sl_middleware sl_middleware_rate_limiter = {
	.name = "rate_limiter",
	.slot = SL_SLOT_RATE_LIMITER,
	.applies = limiter_applies,
	.enter = limiter_enter,
	.leave = limiter_leave,
};
