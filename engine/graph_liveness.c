/* engine/graph_liveness.c: can every join get what it waits for? Proved from conditions, cases and policies before the
 * first run, against exactly what sl_node_ready() does.
 *
 * What can starve is a join that needs several of its branches but not all: `all` and `any` go on with whatever was
 * chosen, and are skipped when nothing was. So for each such join everything above it is played through: a branch node
 * chooses one of its cases (or none, where none may fit), every condition is true or false as it likes. What is kept
 * between two nodes is only which edges into nodes still to come are taken, so that thousands of combinations become a
 * few. A join that can never have enough is an error: no values help. One that has too few with some values is a
 * warning that names the choice and the way that is then not taken. Above a size (STATES, WORDS, STEPS) nothing is
 * proved any more, and the warning only says which ways depend on a condition.
 *
 * Failures are left out: they take arrivals away and never add one, so what cannot fire without them cannot with them.
 * Deadlines let a join go on with less; then nothing is certain, and what would be an error is a warning. */
#include <stdlib.h>

#include "engine/graph_priv.h"

#define NOBODY UINT32_MAX
#define WORDS  4            /* of a state: at most 256 edges above a join */
#define STATES 2048         /* at one node */
#define TRAIL  (16u * 1024) /* choices remembered for one join */
#define STEPS  200000       /* for a whole definition: some 20 ms */
#define CASES  256
#define WHENS  6 /* conditions on the edges of one node */

enum outcome { NOT_BEGUN = -3, UNCHOSEN = -2, NO_CASE = -1 }; /* of a node; from 0: the case. Above 0xff: conditions */

struct state {
	uint64_t taken[WORDS];
	uint32_t came;  /* at the join that is asked about: only how many matters */
	bool doomed;    /* a join above has failed, and the run with it, now or a little later */
	uint32_t trail; /* 1 + how it came to this; 0: nothing was chosen yet */
};

/* One choice: what a node did, and which of its conditional edges were taken. */
struct choice {
	uint32_t before, node;
	int16_t kase;    /* enum outcome, or the number of the case */
	uint16_t falses; /* bit k: its k-th conditional edge is not taken */
};

struct liveness {
	struct sl_reading *rd;
	struct sl_graph *g;
	uint32_t join;
	uint32_t steps;           /* left for the definition */
	uint32_t *bit;            /* by edge: 1 + its place in a state; 0: it does not matter */
	struct state *now, *then; /* STATES each */
	uint32_t n_now, n_then;
	uint64_t *slots, round; /* slots: of `then`, by hash: round << 32 | index */
	struct choice *trail;   /* TRAIL */
	uint32_t n_trail;
	/* by edge, of one outcome that is explained */
	bool *taken;
	int16_t *did; /* by node */
	uint32_t *falses;
};

static bool needs_several(const struct sl_node_def *d)
{
	return d->has_policy && d->policy.need > 1 && d->policy.need < d->n_in;
}

static bool is_taken(const struct liveness *l, const struct state *s, uint32_t edge)
{
	uint32_t b = l->bit[edge] - 1;
	return s->taken[b / 64] >> b % 64 & 1;
}

static uint32_t arrivals(const struct liveness *l, const struct state *s, const struct sl_node_def *d)
{
	uint32_t n = 0;
	for (uint32_t k = 0; k < d->n_in; k++)
		n += is_taken(l, s, d->in[k]);
	return n;
}

#define SLOTS (4u * STATES)

/* Adds a state to `then` unless it is there. False: too many. */
static bool add(struct liveness *l, const struct state *s)
{
	uint64_t h = s->came * 2 + s->doomed;
	if (!l->steps)
		return false;
	l->steps--;
	for (int i = 0; i < WORDS; i++)
		h = (h ^ s->taken[i]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
	uint32_t at = (uint32_t)h % SLOTS;
	for (; l->slots[at] >> 32 == l->round; at = (at + 1) % SLOTS) {
		const struct state *o = &l->then[(uint32_t)l->slots[at]];
		if (memcmp(o->taken, s->taken, sizeof(s->taken)) == 0 && o->came == s->came && o->doomed == s->doomed)
			return true;
	}
	if (l->n_then == STATES)
		return false;
	l->slots[at] = l->round << 32 | l->n_then;
	l->then[l->n_then++] = *s;
	return true;
}

/* Is its k-th edge taken when it ends so? *conditions counts those that matter to the join. */
static bool goes(const struct liveness *l, const struct sl_node_def *d, uint32_t k, int kase, const char *const *cases,
		 uint32_t falses, uint32_t *conditions)
{
	const struct sl_edge *e = &l->g->edges[d->out[k]];
	if (kase <= UNCHOSEN)
		return false;
	if (e->kase)
		return kase >= 0 && strcmp(cases[kase], e->kase) == 0;
	return !e->when || !l->bit[d->out[k]] || !(falses >> (*conditions)++ & 1);
}

static bool end_as(struct liveness *l, const struct state *from, const struct sl_node_def *d, int kase,
		   const char *const *cases, uint32_t falses, bool chosen)
{
	struct state s = *from;
	uint32_t conditions = 0;
	for (uint32_t k = 0; k < d->n_in; k++) { /* nobody asks for these any more */
		uint32_t b = l->bit[d->in[k]] - 1;
		s.taken[b / 64] &= ~(UINT64_C(1) << b % 64);
	}
	for (uint32_t k = 0; k < d->n_out; k++) {
		bool yes = goes(l, d, k, kase, cases, falses, &conditions);
		uint32_t b = l->bit[d->out[k]];
		if (yes && l->g->edges[d->out[k]].to == l->join)
			s.came++;
		else if (yes && b)
			s.taken[(b - 1) / 64] |= UINT64_C(1) << (b - 1) % 64;
	}
	if (chosen) {
		if (l->n_trail == TRAIL)
			return false;
		l->trail[l->n_trail] = (struct choice){from->trail, d->index, (int16_t)kase, (uint16_t)falses};
		s.trail = ++l->n_trail;
	}
	return add(l, &s);
}

/* All that node d can do in one state. False: too much. */
static bool play(struct liveness *l, const struct state *s, const struct sl_node_def *d)
{
	const char *cases[CASES];
	uint32_t n_cases = 0, conditions = 0, came = arrivals(l, s, d);
	if (d->n_in && !came)
		return end_as(l, s, d, UNCHOSEN, NULL, 0, false);
	if (needs_several(d) && came < d->policy.need) { /* it fails, unless its deadline is earlier */
		struct state failed = *s;
		failed.doomed |= !d->absorbed;
		if (!end_as(l, &failed, d, NOT_BEGUN, NULL, 0, true))
			return false;
		if (!d->policy.timeout_ms)
			return true;
	}
	for (uint32_t k = 0; k < d->n_out; k++)
		conditions += !l->g->edges[d->out[k]].kase && l->g->edges[d->out[k]].when && l->bit[d->out[k]];
	if (conditions > WHENS)
		return false;
	bool picks = d->type && d->type->cases;
	if (picks && d->params_fit)
		n_cases = d->type->cases(d->params_json, cases, CASES);
	if (n_cases == CASES)
		return false;
	/* an error that something stands in for chooses nothing */
	bool none = !n_cases || d->on_error != SL_ON_ERROR_FAIL || !d->type->always || !d->type->always(d->params_json);
	bool chosen = d->when || conditions || n_cases;
	if (d->when && !end_as(l, s, d, UNCHOSEN, NULL, 0, true))
		return false;
	for (int kase = none ? NO_CASE : 0; kase < (int)n_cases; kase++)
		for (uint32_t falses = 0; falses < 1u << conditions; falses++)
			if (!end_as(l, s, d, kase, cases, falses, chosen))
				return false;
	return true;
}

/* Everything above join j, to all that can arrive at it: the states in `now`. False: too much to say. */
static bool explore(struct liveness *l, uint32_t j)
{
	const struct sl_graph *g = l->g;
	uint32_t bits = 0;
	for (uint32_t e = 0; e < g->n_edges; e++) {
		uint32_t to = g->edges[e].to;
		bool matters = to == j || sl_graph_is_ancestor(g, to, j);
		l->bit[e] = matters ? ++bits : 0;
	}
	if (bits > 64 * WORDS)
		return false;
	l->n_trail = 0;
	l->join = j;
	l->now[0] = (struct state){0};
	l->n_now = 1;
	for (uint32_t i = 0; i < g->n_nodes && l->n_now; i++) {
		uint32_t v = g->order[i];
		if (!sl_graph_is_ancestor(g, v, j))
			continue;
		l->round++;
		l->n_then = 0;
		for (uint32_t k = 0; k < l->n_now; k++)
			if (!play(l, &l->now[k], &g->nodes[v]))
				return false;
		struct state *t = l->now;
		l->now = l->then;
		l->then = t;
		l->n_now = l->n_then;
	}
	return true;
}

/* ---- in words ---- */

/* Plays the one history that led to s again, for every edge of the graph. */
static void retrace(struct liveness *l, const struct state *s, uint32_t j)
{
	const struct sl_graph *g = l->g;
	for (uint32_t i = 0; i < g->n_nodes; i++)
		l->did[i] = NO_CASE, l->falses[i] = 0;
	for (uint32_t t = s->trail; t; t = l->trail[t - 1].before) {
		const struct choice *c = &l->trail[t - 1];
		l->did[c->node] = c->kase;
		l->falses[c->node] = c->falses;
	}
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		const char *cases[CASES];
		uint32_t came = 0, conditions = 0, n = 0;
		for (uint32_t k = 0; k < d->n_in; k++)
			came += l->taken[d->in[k]];
		if (d->n_in && !came)
			l->did[d->index] = NOT_BEGUN;
		if (d->type && d->type->cases && d->params_fit)
			n = d->type->cases(d->params_json, cases, CASES);
		for (uint32_t k = 0; k < d->n_out; k++)
			l->taken[d->out[k]] = goes(l, d, k, l->did[d->index] < (int)n ? l->did[d->index] : NO_CASE,
						   cases, l->falses[d->index], &conditions);
	}
}

static bool nothing_came(const struct liveness *l, const struct sl_node_def *d)
{
	for (uint32_t k = 0; k < d->n_in; k++)
		if (l->taken[d->in[k]])
			return false;
	return d->n_in > 0;
}

/* Why an edge is not taken: "'pick' chooses 'no'", and the way from there: "'a' → 'b' → 'j'". */
static void explain(const struct liveness *l, uint32_t edge, struct sl_buf *why, struct sl_buf *way)
{
	const struct sl_graph *g = l->g;
	uint32_t ids[8], n = 0, more = 0;
	uint32_t to = g->edges[edge].to;
	for (;;) { /* upwards, as long as a node did nothing because nothing came */
		const struct sl_edge *e = &g->edges[edge];
		const struct sl_node_def *d = &g->nodes[e->from];
		if (n < SL_COUNT_OF(ids))
			ids[n++] = e->from;
		else
			more++;
		if (nothing_came(l, d)) {
			edge = d->in[0];
			continue;
		}
		if (l->did[e->from] == UNCHOSEN) {
			sl_buf_addf(why, "the condition of '%s' is false", d->id);
		} else if (l->did[e->from] == NOT_BEGUN) {
			sl_buf_addf(why, "too few come to '%s'", d->id);
		} else if (e->when) {
			sl_buf_addf(why, "the condition of the edge from '%s' to '%s' is false", d->id,
				    g->nodes[e->to].id);
		} else {
			const char *cases[CASES];
			uint32_t n_cases = d->type->cases(d->params_json, cases, CASES);
			if (l->did[e->from] >= 0 && l->did[e->from] < (int)n_cases)
				sl_buf_addf(why, "'%s' chooses '%.*s'", d->id,
					    SL_STR_ARG(sl_brief(sl_str(cases[l->did[e->from]]))));
			else
				sl_buf_addf(why, "'%s' chooses none of its cases", d->id);
		}
		break;
	}
	if (more)
		sl_buf_addf(way, "'%s' → … %u more … → ", g->nodes[g->edges[edge].from].id, more);
	while (n-- > 0)
		sl_buf_addf(way, "'%s' → ", g->nodes[ids[n]].id);
	sl_buf_addf(way, "'%s'", g->nodes[to].id);
}

static uint32_t a_missing(const struct liveness *l, const struct sl_node_def *d)
{
	for (uint32_t k = 0; k < d->n_in; k++)
		if (!l->taken[d->in[k]])
			return d->in[k];
	return d->in[0];
}

static void report(struct liveness *l, const struct sl_node_def *d)
{
	const struct state *best = NULL, *worst = NULL;
	uint32_t most = 0, least = NOBODY, need = d->policy.need;
	for (uint32_t k = 0; k < l->n_now; k++) {
		uint32_t n = l->now[k].came;
		if (n > most || !best)
			best = &l->now[k], most = n;
		/* none at all: it is skipped, like everything that was not chosen */
		if (n && n < least && !l->now[k].doomed)
			worst = &l->now[k], least = n;
	}
	if (!most || (most >= need && least >= need))
		return; /* it always has enough; or nothing ever comes, because of a join above that has been told of */
	retrace(l, most < need ? best : worst, d->index);
	SL_BUF(why, SL_LIMIT_ERROR_BYTES);
	SL_BUF(way, SL_LIMIT_ERROR_BYTES);
	explain(l, a_missing(l, d), &why, &way);
	if (why.failed || way.failed) {
		sl_buf_reset(&way);
		sl_buf_addf(&way, "the way to '%s'", d->id);
	}
	const char *w = sl_buf_str(&why).len ? why.data : "too few are chosen", *p = way.data ? way.data : "";
	if (most < need && !d->policy.timeout_ms)
		sl_bad(l->rd,
		       "'%s' can never go on: it waits for %u, and never more than %u of its %u ways are taken at "
		       "once: "
		       "when %s, %s is not; ask for at most %u, or for \"all\", which does not wait for what was not "
		       "chosen",
		       d->id, need, most, d->n_in, w, p, most);
	else if (most < need)
		sl_note(l->rd,
			"'%s' waits for %u, and never more than %u of its %u ways are taken at once: when %s, %s is "
			"not; the run then fails unless the deadline passes before that is known; ask for at most %u",
			d->id, need, most, d->n_in, w, p, most);
	else
		sl_note(l->rd,
			"'%s' waits for %u, and only %u come%s when %s: %s is then not taken, and the run fails; ask "
			"for at most %u, or for \"all\", which does not wait for what was not chosen",
			d->id, need, least, least == 1 ? "s" : "", w, p, least);
}

/* Too large to be played through: what is sure to come, whatever is chosen. */
static void report_unsure(struct liveness *l, const struct sl_node_def *d, const bool *sure)
{
	const struct sl_graph *g = l->g;
	uint32_t certain = 0, unsure = NOBODY;
	for (uint32_t k = 0; k < d->n_in; k++) {
		const struct sl_edge *e = &g->edges[d->in[k]];
		bool comes = sure[e->from] && !e->kase && !e->when;
		certain += comes;
		if (!comes && unsure == NOBODY)
			unsure = e->from;
	}
	if (certain < d->policy.need && unsure != NOBODY)
		sl_note(l->rd,
			"'%s' waits for %u, and only %u are sure to come: the way from '%s' depends on a condition; if "
			"it does not come the run may fail",
			d->id, d->policy.need, certain, g->nodes[unsure].id);
}

/* Runs whatever is chosen. */
static void find_sure(const struct sl_graph *g, bool *sure)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		uint32_t certain = 0, need = needs_several(d) ? d->policy.need : 1;
		for (uint32_t k = 0; k < d->n_in; k++) {
			const struct sl_edge *e = &g->edges[d->in[k]];
			certain += sure[e->from] && !e->kase && !e->when;
		}
		sure[d->index] = !d->when && (d->n_in == 0 || certain >= need);
	}
}

/* A join could do without one of its branches, but that one's failure ends the run because of another way from it. */
static void report_failures(struct sl_reading *rd, const struct sl_graph *g, const struct sl_node_def *join)
{
	for (uint32_t k = 0; k < join->n_in; k++) {
		const struct sl_node_def *d = &g->nodes[g->edges[join->in[k]].from];
		uint32_t v = d->index, steps = 0;
		if (d->absorbed || d->on_error != SL_ON_ERROR_FAIL || !d->type || d->type->effects == SL_EFFECTS_NONE)
			continue;
		SL_BUF(way, SL_LIMIT_ERROR_BYTES);
		sl_buf_addf(&way, "'%s'", d->id);
		for (bool on = true; on && steps < 8; steps++) { /* down where nothing puts up with it */
			on = false;
			for (uint32_t o = 0; o < g->nodes[v].n_out && !on; o++) {
				const struct sl_node_def *to = &g->nodes[g->edges[g->nodes[v].out[o]].to];
				on = !(to->has_policy && to->policy.tolerates) && !to->absorbed;
				if (on) {
					v = to->index;
					sl_buf_addf(&way, " → '%s'", to->id);
				}
			}
		}
		sl_note(rd,
			"'%s' could do without '%s', but when that fails the run ends: nothing on the way %s puts up "
			"with a failure; give '%s' \"on_error\": \"continue\", or lead that way through '%s', too",
			join->id, d->id, way.data && !way.failed ? way.data : "", d->id, join->id);
		return; /* one tells what to do about the others */
	}
}

static bool prepare(struct liveness *l)
{
	const struct sl_graph *g = l->g;
	if (l->now)
		return true;
	l->bit = sl_reading_alloc(l->rd, g->n_edges, sizeof(*l->bit));
	l->taken = sl_reading_alloc(l->rd, g->n_edges, sizeof(*l->taken));
	l->did = sl_reading_alloc(l->rd, g->n_nodes, sizeof(*l->did));
	l->falses = sl_reading_alloc(l->rd, g->n_nodes, sizeof(*l->falses));
	l->now = malloc(STATES * sizeof(*l->now));
	l->then = malloc(STATES * sizeof(*l->then));
	l->slots = calloc(SLOTS, sizeof(*l->slots));
	l->trail = malloc(TRAIL * sizeof(*l->trail));
	if (l->bit && l->taken && l->did && l->falses && l->now && l->then && l->slots && l->trail)
		return true;
	l->rd->no_memory = true;
	return false;
}

void sl_graph_liveness(struct sl_reading *rd, struct sl_graph *g)
{
	struct liveness l = {.rd = rd, .g = g, .steps = rd->liveness_steps ? rd->liveness_steps - 1 : STEPS};
	bool *sure = NULL;
	for (uint32_t i = 0; i < g->n_nodes && !rd->no_memory; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		size_t at = sl_enter_node(rd, g, d->index);
		if (needs_several(d) && rd->problems->n < SL_LIMIT_DEFINITION_ERRORS && prepare(&l)) {
			if (explore(&l, d->index)) {
				report(&l, d);
			} else {
				if (!sure && (sure = sl_reading_alloc(rd, g->n_nodes, sizeof(*sure))))
					find_sure(g, sure);
				if (sure)
					report_unsure(&l, d, sure);
			}
		}
		if (d->has_policy && d->policy.tolerates)
			report_failures(rd, g, d);
		sl_leave(rd, at);
	}
	rd->liveness_steps = l.steps + 1;
	free(l.now);
	free(l.then);
	free(l.slots);
	free(l.trail);
}
