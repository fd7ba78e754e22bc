/* middleware/run_breaker.c: stops a run that runs away, before it costs much more than was expected: too many tokens,
 * the same again and again, faster than any model thinks, too deep, too long (see llm/runaway.h; `limits.breaker` of a
 * definition sets or turns it off). A trip cuts the call, locks the run and says why; a person decides what happens
 * next.
 *
 * What an unlock allows is allowed: the time and the depth that tripped count from there, and outputs are compared
 * anew.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/runaway.h"
#include "llm/services.h"

#define NODES 8 /* of one run, whose outputs are compared at the same time */

extern const struct sl_middleware sl_middleware_run_breaker;

struct run_state {
	uint64_t time_ms; /* active time that has been allowed by an unlock, or is about to be */
	uint32_t depth;   /* likewise */
	uint32_t next;
	struct {
		uint32_t path; /* hash, without the number of the round */
		struct sl_runaway_outputs outputs;
	} nodes[NODES];
};

/* Sees one attempt's stream; shared with the execution, which wants to know if the time ran out in it. */
struct seeing {
	struct sl_watch watch;
	_Atomic uint32_t refs;
	_Atomic bool late;
	const struct sl_clock *clock;
	uint64_t until_ms; /* monotonic; 0: no end */
	uint32_t run_s;
	struct sl_runaway_stream stream;
};

struct exec_state {
	struct seeing *seeing;
};

static void seeing_unref(struct sl_watch *w)
{
	struct seeing *s = SL_CONTAINER_OF(w, struct seeing, watch);
	if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		free(s);
}

static struct sl_trip too_long(uint64_t active_ms, uint64_t limit_ms)
{
	struct sl_trip t = {
		.reason = "TIMEOUT", .measured = (double)active_ms / 1000, .limit = (double)limit_ms / 1000};
	(void)snprintf(t.message, sizeof(t.message), "the run has been at work for %.0f s, more than %.0f s",
		       t.measured, t.limit);
	return t;
}

static enum sl_code seeing_see(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip)
{
	struct seeing *s = SL_CONTAINER_OF(w, struct seeing, watch);
	struct sl_runaway_verdict v;
	uint64_t now = sl_clock_mono(s->clock);
	if (sl_runaway_feed(&s->stream, kind == SL_STREAM_THINKING, piece, now, &v)) {
		*trip = (struct sl_trip){.reason = v.reason, .measured = v.measured, .limit = v.limit};
		(void)snprintf(trip->message, sizeof(trip->message), "%s", v.message);
		return SL_TRIPPED;
	}
	if (s->until_ms && now > s->until_ms) {
		atomic_store_explicit(&s->late, true, memory_order_relaxed);
		*trip = too_long(s->run_s * 1000ull + (now - s->until_ms), s->run_s * 1000ull);
		return SL_TRIPPED;
	}
	return SL_OK;
}

static uint64_t active_ms(const struct sl_exec *x, const struct sl_run_totals *t)
{
	int64_t ms = t->started_ms ? sl_clock_wall(sl_exec_clock(x)) - t->started_ms - t->idle_ms : 0;
	return ms > 0 ? (uint64_t)ms : 0;
}

static enum sl_verdict run_breaker_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_breaker_limits *l = &sl_exec_workflow(x)->breaker;
	struct sl_run_totals t;
	struct sl_trip trip;
	if (l->off)
		return SL_PASS;
	sl_exec_run_totals(x, &t);
	uint64_t active = active_ms(x, &t), limit = l->run_s * 1000ull;
	bool late = limit && active > limit, deep = l->depth && t.depth > l->depth;
	if (!late && !deep)
		return SL_PASS;
	/* most runs never come here, so most have no state */
	struct run_state *run = sl_exec_run_state(x, &sl_middleware_run_breaker, sizeof(*run));
	if (!run)
		return SL_PASS;
	if (late && active > run->time_ms + limit) {
		trip = too_long(active, run->time_ms + limit);
		run->time_ms = active;
		sl_exec_trip(x, &trip);
		return SL_DELAY;
	}
	if (deep && t.depth > run->depth) {
		trip = (struct sl_trip){.reason = "DEPTH", .measured = t.depth, .limit = l->depth};
		(void)snprintf(trip.message, sizeof(trip.message),
			       "bodies and child runs are %u deep inside each other, more than %u", t.depth, l->depth);
		run->depth = t.depth;
		sl_exec_trip(x, &trip);
		return SL_DELAY;
	}
	return SL_PASS;
}

static struct sl_watch *run_breaker_watch(struct sl_exec *x)
{
	const struct sl_breaker_limits *l = &sl_exec_workflow(x)->breaker;
	struct sl_run_totals t;
	SL_ROUTE_AUTO route = {0};
	if (l->off || !sl_node_def_is_call(sl_exec_def(x)))
		return NULL;
	struct exec_state *state = sl_exec_state(x, &sl_middleware_run_breaker, sizeof(*state));
	struct seeing *s = state ? calloc(1, sizeof(*s)) : NULL;
	if (!s)
		return NULL;
	const struct sl_runaway_limits limits = {.token_surge = l->token_surge,
						 .velocity_tps = l->velocity_tps,
						 .window_s = (uint32_t)(l->window_s + 0.5),
						 .similarity = l->similarity,
						 .entropy = l->entropy,
						 .repeats = l->repeats};
	uint32_t candidate = sl_exec_route(x)->candidate;
	int64_t most = sl_route_of(sl_exec_services(x), sl_exec_params(x), &route) && candidate < route.n
			       ? sl_route_max_tokens(&route, candidate)
			       : 0;
	uint64_t expected = most ? (uint64_t)most : SL_TOKENS_OUTPUT;
	uint64_t now = sl_clock_mono(sl_exec_clock(x)), limit = l->run_s * 1000ull;
	sl_exec_run_totals(x, &t);
	uint64_t active = active_ms(x, &t);
	if (limit && active > limit) { /* it was unlocked after that: counted from there */
		struct run_state *run = sl_exec_run_state(x, &sl_middleware_run_breaker, sizeof(*run));
		limit += run ? run->time_ms : active;
	}
	s->watch = (struct sl_watch){seeing_see, seeing_unref};
	s->clock = sl_exec_clock(x);
	s->run_s = (uint32_t)(limit / 1000);
	s->until_ms = limit ? now + (limit > active ? limit - active : 0) : 0;
	atomic_init(&s->refs, 2);
	sl_runaway_stream_init(&s->stream, &limits, expected, now);
	if (state->seeing)
		seeing_unref(&state->seeing->watch);
	state->seeing = s;
	return &s->watch;
}

/* Is the nearest body around the node that of a loop? A map's items may well be alike. */
static bool in_loop(const struct sl_exec *x, uint32_t *hash)
{
	const char *path = sl_exec_path(x), *mark = strrchr(path, '#'), *rest;
	const struct sl_graph *g = sl_exec_workflow(x)->root;
	const struct sl_node_def *around = NULL;
	if (!mark)
		return false;
	for (const char *at = path; g && (rest = strchr(at, '#')) != NULL;) {
		uint32_t i = sl_graph_find(g, sl_str_n(at, (size_t)(rest - at)));
		around = i == UINT32_MAX ? NULL : &g->nodes[i];
		g = around ? around->body : NULL;
		at = strchr(rest, '/');
		if (!at)
			return false;
		at++;
	}
	if (!around || strcmp(around->type->name, "loop") != 0)
		return false;
	*hash = 2166136261u; /* FNV-1a of the path, without the number of the round */
	for (const char *c = path; *c; c++)
		if (c < mark || !(*c >= '0' && *c <= '9') || strchr(mark, '/') < c)
			*hash = (*hash ^ (unsigned char)*c) * 16777619u;
	return true;
}

static void look_at_output(struct sl_exec *x, const struct sl_breaker_limits *l, struct json_object *output)
{
	const struct sl_runaway_limits limits = {
		.similarity = l->similarity, .entropy = l->entropy, .repeats = l->repeats};
	struct sl_runaway_verdict v;
	uint32_t path;
	struct sl_str text = sl_json_get_str(output, "text");
	if (!text.len || !l->repeats || !in_loop(x, &path))
		return;
	struct run_state *run = sl_exec_run_state(x, &sl_middleware_run_breaker, sizeof(*run));
	if (!run)
		return;
	uint32_t i = 0;
	while (i < NODES && run->nodes[i].path != path)
		i++;
	if (i == NODES) { /* the oldest makes way */
		i = run->next++ % NODES;
		run->nodes[i].path = path;
		run->nodes[i].outputs = (struct sl_runaway_outputs){0};
	}
	if (!sl_runaway_output(&run->nodes[i].outputs, &limits, text, &v))
		return;
	struct sl_trip trip = {.reason = v.reason, .measured = v.measured, .limit = v.limit};
	(void)snprintf(trip.message, sizeof(trip.message), "%s", v.message);
	run->nodes[i].outputs = (struct sl_runaway_outputs){0};
	sl_exec_trip(x, &trip);
}

static void run_breaker_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_breaker_limits *l = &sl_exec_workflow(x)->breaker;
	if (l->off || !sl_node_def_is_call(sl_exec_def(x)))
		return;
	struct exec_state *state = sl_exec_state(x, &sl_middleware_run_breaker, sizeof(*state));
	if (state && state->seeing) {
		if (atomic_load_explicit(&state->seeing->late, memory_order_relaxed)) {
			struct run_state *run = sl_exec_run_state(x, &sl_middleware_run_breaker, sizeof(*run));
			struct sl_run_totals t;
			sl_exec_run_totals(x, &t);
			if (run)
				run->time_ms = active_ms(x, &t);
		}
		seeing_unref(&state->seeing->watch);
		state->seeing = NULL;
	}
	if (outcome->code == SL_OK)
		look_at_output(x, l, outcome->output);
}

const struct sl_middleware sl_middleware_run_breaker = {
	.name = "run_breaker",
	.slot = SL_SLOT_RUN_BREAKER,
	.enter = run_breaker_enter,
	.leave = run_breaker_leave,
	.watch = run_breaker_watch,
};
