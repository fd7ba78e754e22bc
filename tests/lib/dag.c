/* tests/lib/dag.c: see dag.h. */
#include "tests/lib/dag.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* ---- drawing ---- */

unsigned dag_random(uint64_t *s, unsigned below)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	uint64_t x = *s ^ *s >> 29;
	return (unsigned)((x * 0x9e3779b97f4a7c15u) >> 33) % below;
}

static bool one_in(uint64_t *s, unsigned n)
{
	return dag_random(s, n) == 0;
}

void dag_redraw(struct dag *d, uint64_t *s, unsigned what)
{
	for (unsigned i = 0; i < d->n_nodes; i++) {
		struct dag_node *n = &d->nodes[i];
		n->when = n->has_when && one_in(s, 2);
		if (n->kind == DAG_BRANCH)
			n->chosen = (int)dag_random(s, n->cases + 1) - 1;
		if (n->kind != DAG_STEP)
			continue;
		n->fails = what & DAG_WITH_FAILURES && one_in(s, 5);
		n->stumbles = one_in(s, 4) ? dag_random(s, n->retries + 1) : 0;
		n->hold = one_in(s, 3);
	}
	for (unsigned i = 0; i < d->n_edges; i++)
		d->edges[i].when = d->edges[i].has_when && one_in(s, 2);
}

static unsigned sources_of(const struct dag *d, unsigned node)
{
	unsigned n = 0;
	for (unsigned f = 0; f < d->n_nodes; f++)
		for (unsigned e = 0; e < d->n_edges; e++)
			if (!d->edges[e].gone && d->edges[e].to == node && d->edges[e].from == f) {
				n++;
				break;
			}
	return n;
}

static void draw_node(struct dag_node *n, uint64_t *s, bool first, unsigned what)
{
	static const enum dag_kind kinds[] = {DAG_STEP, DAG_STEP, DAG_STEP, DAG_STEP,    DAG_BRANCH,
					      DAG_JOIN, DAG_JOIN, DAG_JOIN, DAG_PARALLEL};
	*n = (struct dag_node){.kind = kinds[dag_random(s, SL_COUNT_OF(kinds))], .chosen = DAG_NONE, .other = DAG_NONE};
	if (first && n->kind == DAG_JOIN)
		n->kind = DAG_STEP;
	if (one_in(s, 12))
		n->kind = DAG_NAP;
	n->has_when = one_in(s, 6);
	n->nap_ms = 1 + dag_random(s, 3000);
	n->retries = one_in(s, 3) ? 1 + dag_random(s, 2) : 0;
	n->on_error = what & DAG_WITH_FAILURES && one_in(s, 3) ? (enum sl_on_error)dag_random(s, 3) : SL_ON_ERROR_FAIL;
	n->cases = 2 + dag_random(s, DAG_CASES - 1);
	n->other = one_in(s, 2) ? (int)dag_random(s, n->cases) : DAG_NONE;
	n->wait = (enum dag_wait)dag_random(s, 3);
	n->timeout_ms = what & DAG_WITH_DEADLINES && one_in(s, 3) ? 1 + dag_random(s, 3000) : 0;
	n->cancel_rest = what & DAG_WITH_DEADLINES && one_in(s, 3);
	n->wait_all = one_in(s, 2);
	n->limit = one_in(s, 3) ? 1 + dag_random(s, 2) : 0;
}

void dag_draw(struct dag *d, uint64_t *s, unsigned what)
{
	memset(d, 0, sizeof(*d));
	d->n_nodes = 3 + dag_random(s, DAG_NODES - 3);
	for (unsigned i = 0; i < d->n_nodes; i++) {
		struct dag_node *n = &d->nodes[i];
		draw_node(n, s, i == 0, what);
		unsigned edges = i == 0 ? 0 : n->kind == DAG_JOIN ? 2 + dag_random(s, 3) : dag_random(s, 8) ? 1 : 2;
		if (i && n->kind != DAG_JOIN && one_in(s, 10))
			edges = 0;
		for (unsigned k = 0; k < edges && d->n_edges < DAG_EDGES; k++) {
			struct dag_edge e = {.to = i, .kase = DAG_NONE};
			bool twice = false;
			/* near ones are likelier, so that graphs are deep as well as wide */
			e.from = one_in(s, 2) ? dag_random(s, i) : i - 1 - dag_random(s, i < 4 ? i : 4);
			if (d->nodes[e.from].kind == DAG_BRANCH && !one_in(s, 6))
				e.kase = (int)dag_random(s, d->nodes[e.from].cases);
			else
				e.has_when = one_in(s, 5);
			for (unsigned o = 0; o < d->n_edges && !twice; o++)
				twice = d->edges[o].from == e.from && d->edges[o].to == i && d->edges[o].kase == e.kase;
			if (!twice)
				d->edges[d->n_edges++] = e;
		}
		unsigned sources = sources_of(d, i);
		n->quorum = sources ? 1 + dag_random(s, sources) : 1;
	}
	dag_redraw(d, s, what);
}

/* ---- as a definition ---- */

static void put_step(const struct dag *d, unsigned i, struct sl_buf *b)
{
	const struct dag_node *n = &d->nodes[i];
	bool failing = n->fails || n->stumbles;
	sl_buf_addf(b, "\"type\":\"fake\",\"params\":{\"answer\":\"{{ (%u", i + 1);
	for (unsigned e = 0; e < d->n_edges; e++)
		if (!d->edges[e].gone && d->edges[e].to == i)
			sl_buf_addf(b, " + 3 * (nodes.n%u and nodes.n%u.value or 0)", d->edges[e].from,
				    d->edges[e].from);
	sl_buf_addf(b, ") %% 1000003 }}\"");
	if (failing)
		sl_buf_addf(b, ",\"fail\":\"timeout\",\"fail_times\":%u", n->fails ? 1000000 : n->stumbles);
	if (n->hold)
		sl_buf_adds(b, ",\"hold\":true");
	sl_buf_addf(b, "},\"retry\":{\"max\":%u,\"backoff_ms\":100,\"jitter\":false}", n->retries);
	if (n->on_error == SL_ON_ERROR_CONTINUE)
		sl_buf_adds(b, ",\"on_error\":\"continue\"");
	if (n->on_error == SL_ON_ERROR_FALLBACK)
		sl_buf_adds(b, ",\"on_error\":\"fallback\",\"fallback\":{\"value\":1000}");
}

static void put_node(const struct dag *d, unsigned i, struct sl_buf *b)
{
	const struct dag_node *n = &d->nodes[i];
	sl_buf_addf(b, "{\"id\":\"n%u\",", i);
	if (n->has_when)
		sl_buf_addf(b, "\"when\":\"input.n%u\",", i);
	switch (n->kind) {
	case DAG_STEP:
		put_step(d, i, b);
		break;
	case DAG_NAP:
		sl_buf_addf(b, "\"type\":\"delay\",\"params\":{\"seconds\":%u.%03u}", n->nap_ms / 1000,
			    n->nap_ms % 1000);
		break;
	case DAG_BRANCH:
		sl_buf_adds(b, "\"type\":\"branch\",\"params\":{\"cases\":[");
		for (unsigned c = 0; c < n->cases; c++)
			sl_buf_addf(b, "%s{\"case\":\"c%u\",\"when\":\"input.b%u == 'c%u'\"}", c ? "," : "", c, i, c);
		sl_buf_adds(b, "]");
		if (n->other != DAG_NONE)
			sl_buf_addf(b, ",\"default\":\"c%d\"", n->other);
		sl_buf_adds(b, "}");
		break;
	case DAG_JOIN:
		sl_buf_adds(b, "\"type\":\"join\",\"params\":{\"merge\":\"list\",\"wait\":");
		if (n->wait == DAG_QUORUM)
			sl_buf_addf(b, "{\"quorum\":%u}", n->quorum);
		else
			sl_buf_adds(b, n->wait == DAG_ANY ? "\"any\"" : "\"all\"");
		if (n->timeout_ms)
			sl_buf_addf(b, ",\"timeout_s\":%u.%03u", n->timeout_ms / 1000, n->timeout_ms % 1000);
		if (n->cancel_rest)
			sl_buf_adds(b, ",\"cancel_rest\":true");
		sl_buf_adds(b, "}");
		break;
	case DAG_PARALLEL:
		sl_buf_adds(b, "\"type\":\"parallel\",\"params\":{");
		if (n->limit)
			sl_buf_addf(b, "\"max_concurrency\":%u%s", n->limit, n->wait_all ? "," : "");
		if (n->wait_all)
			sl_buf_adds(b, "\"on_branch_error\":\"wait_all\"");
		sl_buf_adds(b, "}");
		break;
	}
	sl_buf_adds(b, "}");
}

void dag_definition(const struct dag *d, struct sl_buf *b)
{
	const char *sep = "";
	sl_buf_adds(b, "{\"sluice\":1,\"name\":\"dag\",\"nodes\":[");
	for (unsigned i = 0; i < d->n_nodes; i++)
		if (!d->nodes[i].gone) {
			sl_buf_adds(b, sep);
			put_node(d, i, b);
			sep = ",";
		}
	sl_buf_adds(b, "],\"edges\":[");
	sep = "";
	for (unsigned e = 0; e < d->n_edges; e++) {
		const struct dag_edge *x = &d->edges[e];
		if (x->gone)
			continue;
		sl_buf_addf(b, "%s{\"from\":\"n%u\",\"to\":\"n%u\"", sep, x->from, x->to);
		if (x->kase != DAG_NONE)
			sl_buf_addf(b, ",\"case\":\"c%d\"", x->kase);
		if (x->has_when)
			sl_buf_addf(b, ",\"when\":\"input.e%u\"", e);
		sl_buf_adds(b, "}");
		sep = ",";
	}
	sl_buf_adds(b, "]}");
}

void dag_inputs(const struct dag *d, struct sl_buf *b)
{
	sl_buf_adds(b, "{\"x\":0");
	for (unsigned i = 0; i < d->n_nodes; i++) {
		if (d->nodes[i].has_when)
			sl_buf_addf(b, ",\"n%u\":%s", i, d->nodes[i].when ? "true" : "false");
		if (d->nodes[i].kind == DAG_BRANCH)
			sl_buf_addf(b, ",\"b%u\":\"c%d\"", i, d->nodes[i].chosen);
	}
	for (unsigned e = 0; e < d->n_edges; e++)
		if (d->edges[e].has_when)
			sl_buf_addf(b, ",\"e%u\":%s", e, d->edges[e].when ? "true" : "false");
	sl_buf_adds(b, "}");
}

/* ---- the rules ---- */

enum way { OPEN, TAKEN, DEAD, LOST }; /* LOST: a failure upstream took it away */

static bool is_edge(const struct dag *d, unsigned e, unsigned to)
{
	return !d->edges[e].gone && d->edges[e].to == to;
}

static unsigned edges_in(const struct dag *d, unsigned node)
{
	unsigned n = 0;
	for (unsigned e = 0; e < d->n_edges; e++)
		n += is_edge(d, e, node);
	return n;
}

/* The one branch of parallel `p` that node `v` belongs to (the successor's number + 1); 0: to none, or to several. */
static unsigned branch_of(const struct dag *d, unsigned p, unsigned v)
{
	unsigned mine = 0;
	for (unsigned e = 0; e < d->n_edges; e++) {
		if (!is_edge(d, e, v))
			continue;
		unsigned f = d->edges[e].from, theirs = f == p ? v + 1 : f < p ? 0 : branch_of(d, p, f);
		if (!theirs || (mine && mine != theirs))
			return 0;
		mine = theirs;
	}
	return mine;
}

static unsigned needed(const struct dag *d, unsigned j)
{
	const struct dag_node *n = &d->nodes[j];
	return n->wait == DAG_ANY ? 1 : n->wait == DAG_QUORUM ? n->quorum : edges_in(d, j);
}

/* Does the join go on without a branch that failed? */
static bool tolerates(const struct dag *d, unsigned j)
{
	if (d->nodes[j].kind != DAG_JOIN || !edges_in(d, j))
		return false;
	if (needed(d, j) < edges_in(d, j))
		return true;
	for (unsigned p = 0; p < j; p++) {
		bool all = d->nodes[p].kind == DAG_PARALLEL && d->nodes[p].wait_all && !d->nodes[p].gone;
		for (unsigned e = 0; e < d->n_edges && all; e++)
			if (is_edge(d, e, j))
				all = d->edges[e].from == p ||
				      (d->edges[e].from > p && branch_of(d, p, d->edges[e].from));
		if (all)
			return true;
	}
	return false;
}

static bool is_absorbed(const struct dag *d, unsigned v)
{
	bool any = false;
	for (unsigned e = 0; e < d->n_edges; e++) {
		if (d->edges[e].gone || d->edges[e].from != v)
			continue;
		any = true;
		if (!tolerates(d, d->edges[e].to) && !is_absorbed(d, d->edges[e].to))
			return false;
	}
	return any;
}

enum verdict { WAITS, FIRES, SKIPS, STARVES };

/* What node v does, its edges being as they are. */
static enum verdict verdict_of(const struct dag *d, const enum way *ways, unsigned v, bool late)
{
	unsigned all = edges_in(d, v), taken = 0, open = 0, lost = 0;
	for (unsigned e = 0; e < d->n_edges; e++) {
		taken += is_edge(d, e, v) && ways[e] == TAKEN;
		open += is_edge(d, e, v) && ways[e] == OPEN;
		lost += is_edge(d, e, v) && ways[e] == LOST;
	}
	if (!all)
		return FIRES;
	if (d->nodes[v].kind != DAG_JOIN)
		return open ? WAITS : taken && !lost ? FIRES : SKIPS;
	unsigned need = needed(d, v);
	if (need < all) {
		if (taken >= need || (late && taken))
			return FIRES;
		if (taken + open >= need)
			return WAITS;
		return taken || lost ? STARVES : open ? WAITS : SKIPS;
	}
	if (open)
		return late && taken ? FIRES : WAITS;
	if (lost && !(taken && tolerates(d, v)))
		return STARVES;
	return taken ? FIRES : SKIPS;
}

/* Node v has ended: where do its edges lead? */
static void settle(const struct dag *d, enum way *ways, unsigned v, enum sl_node_status status, bool erred)
{
	const struct dag_node *n = &d->nodes[v];
	int kase = n->chosen != DAG_NONE ? n->chosen : n->other;
	bool lost = status == SL_NODE_FAILED;
	if (status == SL_NODE_SKIPPED && n->kind != DAG_JOIN)
		for (unsigned e = 0; e < d->n_edges; e++)
			lost |= is_edge(d, e, v) && ways[e] == LOST;
	for (unsigned e = 0; e < d->n_edges; e++) {
		const struct dag_edge *x = &d->edges[e];
		if (x->gone || x->from != v)
			continue;
		bool goes = status == SL_NODE_COMPLETED && (!x->has_when || x->when) &&
			    (x->kase == DAG_NONE || (!erred && x->kase == kase));
		ways[e] = goes ? TAKEN : lost ? LOST : DEAD;
	}
}

void dag_fate(const struct dag *d, struct dag_fate *f)
{
	enum way ways[DAG_EDGES] = {OPEN};
	memset(f, 0, sizeof(*f));
	for (unsigned v = 0; v < d->n_nodes; v++) { /* edges lead upwards, so this order will do */
		const struct dag_node *n = &d->nodes[v];
		if (n->gone)
			continue;
		f->absorbed[v] = is_absorbed(d, v);
		f->timed |= n->kind == DAG_JOIN && (n->timeout_ms || n->cancel_rest);
		bool lost = false;
		for (unsigned e = 0; e < d->n_edges; e++)
			lost |= is_edge(d, e, v) && ways[e] == LOST;
		enum verdict what = verdict_of(d, ways, v, false);
		f->fired[v] = what == FIRES && n->kind == DAG_JOIN;
		f->starved[v] = what == STARVES && !lost;
		if (what == STARVES)
			f->nodes[v] = SL_NODE_FAILED;
		else if (what == SKIPS || (n->has_when && !n->when))
			f->nodes[v] = SL_NODE_SKIPPED;
		else if (n->kind == DAG_STEP && n->fails && n->on_error == SL_ON_ERROR_FAIL)
			f->nodes[v] = SL_NODE_FAILED;
		else
			f->nodes[v] = SL_NODE_COMPLETED;
		settle(d, ways, v, f->nodes[v], false);
		f->fails |= f->nodes[v] == SL_NODE_FAILED && !f->absorbed[v];
	}
}

/* ---- following a journal ---- */

struct follow {
	const struct dag *d;
	enum way ways[DAG_EDGES];
	enum sl_node_status status[DAG_NODES];
	unsigned ends[DAG_NODES], retries[DAG_NODES];
	long long value[DAG_NODES];
	int64_t due_ms[DAG_NODES]; /* of a join with a deadline */
	bool cancelled;            /* nodes were, without a join that wanted it: the run must fail */
	char *why;
};

#define WHY        200
#define NO(f, ...) (snprintf((f)->why, WHY, __VA_ARGS__), false)

static unsigned node_of(const char *path)
{
	unsigned v = DAG_NODES;
	return path && sscanf(path, "n%u", &v) == 1 && v < DAG_NODES ? v : DAG_NODES;
}

static bool leads_to(const struct dag *d, unsigned from, unsigned to)
{
	for (unsigned e = 0; e < d->n_edges; e++)
		if (!d->edges[e].gone && d->edges[e].from == from &&
		    (d->edges[e].to == to || leads_to(d, d->edges[e].to, to)))
			return true;
	return false;
}

/* Is there a join that has what it needs and calls off what leads to it? */
static bool wanted_off(const struct follow *f, unsigned v, int64_t now_ms)
{
	for (unsigned j = v + 1; j < f->d->n_nodes; j++) {
		const struct dag_node *n = &f->d->nodes[j];
		bool late = f->due_ms[j] && now_ms >= f->due_ms[j];
		if (n->gone || n->kind != DAG_JOIN || !n->cancel_rest || f->ends[j] || !leads_to(f->d, v, j))
			continue;
		if (verdict_of(f->d, f->ways, j, late) == FIRES)
			return true;
	}
	return false;
}

static long long expected_value(const struct follow *f, unsigned v)
{
	long long sum = v + 1;
	for (unsigned e = 0; e < f->d->n_edges; e++)
		if (is_edge(f->d, e, v))
			sum += 3 * f->value[f->d->edges[e].from];
	return sum % 1000003;
}

static bool check_join_output(struct follow *f, unsigned v, struct json_object *output)
{
	struct json_object *arrived = sl_json_get(output, "arrived"), *merged = sl_json_get(output, "merged");
	size_t n = 0;
	if (!arrived || !merged || json_object_array_length(merged) != json_object_array_length(arrived))
		return NO(f, "n%u: an output without what arrived", v);
	for (unsigned e = 0; e < f->d->n_edges; e++) { /* from one branch node only one edge is taken: with its case */
		bool before = false, here = false;
		unsigned from = f->d->edges[e].from;
		if (!is_edge(f->d, e, v) || f->ways[e] != TAKEN)
			continue;
		for (unsigned o = 0; o < e; o++)
			before |= is_edge(f->d, o, v) && f->ways[o] == TAKEN && f->d->edges[o].from == from;
		if (before)
			continue;
		n++;
		for (size_t k = 0; k < json_object_array_length(arrived); k++)
			here |= node_of(json_object_get_string(json_object_array_get_idx(arrived, k))) == from;
		if (!here)
			return NO(f, "n%u: n%u had arrived and is not in its output", v, from);
	}
	if (json_object_array_length(arrived) != n)
		return NO(f, "n%u: %zu arrived by its output, %zu by its edges", v, json_object_array_length(arrived),
			  n);
	return true;
}

static bool ended_node(struct follow *f, unsigned v, struct sl_event *e, enum verdict what)
{
	const struct dag_node *n = &f->d->nodes[v];
	bool erred = false;
	switch (e->status) {
	case SL_NODE_COMPLETED:
		if (n->kind == DAG_JOIN && !check_join_output(f, v, e->output))
			return false;
		if (n->kind == DAG_STEP) {
			struct json_object *value = sl_json_get(e->output, "value");
			bool stood_in = n->fails && n->on_error == SL_ON_ERROR_FALLBACK;
			erred = n->fails && n->on_error == SL_ON_ERROR_CONTINUE;
			long long want = stood_in ? 1000 : erred ? 0 : expected_value(f, v);
			f->value[v] = value ? json_object_get_int64(value) : 0;
			if (n->fails && n->on_error == SL_ON_ERROR_FAIL)
				return NO(f, "n%u: completed, and it always fails", v);
			if (f->value[v] != want)
				return NO(f, "n%u: its value is %lld instead of %lld", v, f->value[v], want);
		}
		break;
	case SL_NODE_FAILED:
		if (n->kind == DAG_JOIN ? what != STARVES : !(n->fails && n->on_error == SL_ON_ERROR_FAIL))
			return NO(f, "n%u: failed without a reason", v);
		break;
	case SL_NODE_SKIPPED:
		if (what != SKIPS && !(what == FIRES && n->has_when && !n->when))
			return NO(f, "n%u: skipped without a reason", v);
		break;
	case SL_NODE_CANCELLED:
		f->cancelled |= !wanted_off(f, v, e->wall_ms);
		break;
	default:
		break;
	}
	if (f->ends[v]++)
		return NO(f, "n%u: ended twice", v);
	settle(f->d, f->ways, v, e->status, erred);
	return true;
}

static bool follow_node(struct follow *f, struct sl_event *e)
{
	unsigned v = node_of(e->path);
	if (v >= f->d->n_nodes || f->d->nodes[v].gone)
		return NO(f, "an event of a node that is not there: %.50s", e->path);
	const struct dag_node *n = &f->d->nodes[v];
	bool join_waits = n->kind == DAG_JOIN && e->expected && !sl_node_status_final(e->status);
	bool late = f->due_ms[v] && e->wall_ms >= f->due_ms[v];
	enum verdict what = verdict_of(f->d, f->ways, v, late);
	if (join_waits) {
		if (e->status == SL_NODE_WAITING && !f->due_ms[v])
			f->due_ms[v] = e->due_ms;
		if (verdict_of(f->d, f->ways, v, false) != WAITS) /* a deadline may be noticed a little later */
			return NO(f, "n%u: waits and need not", v);
	} else if (e->status == SL_NODE_RUNNING || e->status == SL_NODE_WAITING || e->status == SL_NODE_RETRYING ||
		   e->status == SL_NODE_COMPLETED || (e->status == SL_NODE_FAILED && n->kind != DAG_JOIN)) {
		if (what != FIRES)
			return NO(f, "n%u: %s, but what is above it has not settled so", v,
				  sl_node_states[e->status].wire);
		if (n->has_when && !n->when)
			return NO(f, "n%u: %s, but its condition is false", v, sl_node_states[e->status].wire);
	}
	if (e->status == SL_NODE_RETRYING && ++f->retries[v] > n->retries)
		return NO(f, "n%u: tried again %u times, %u are allowed", v, f->retries[v], n->retries);
	if (sl_node_status_final(e->status) && !ended_node(f, v, e, what))
		return false;
	f->status[v] = e->status;
	return true;
}

static bool follow_end(struct follow *f, struct sl_event *e)
{
	const struct dag *d = f->d;
	struct dag_fate fate;
	dag_fate(d, &fate);
	bool failed = false;
	for (unsigned v = 0; v < d->n_nodes; v++)
		failed |= f->status[v] == SL_NODE_FAILED && !fate.absorbed[v];
	if ((e->kind == SL_EV_FAILED) != failed)
		return NO(f, "the run has %s, and it had to %s", e->kind == SL_EV_FAILED ? "failed" : "succeeded",
			  failed ? "fail" : "succeed");
	if (!fate.timed && failed != fate.fails)
		return NO(f, "the run has %s; the oracle says otherwise", failed ? "failed" : "succeeded");
	if (f->cancelled && !failed)
		return NO(f, "nodes were cancelled that nobody wanted off");
	if (failed) {
		unsigned v = node_of(e->path);
		if (v >= d->n_nodes || f->status[v] != SL_NODE_FAILED || fate.absorbed[v])
			return NO(f, "the run failed because of '%.50s', which is not true", e->path ? e->path : "");
	}
	for (unsigned v = 0; v < d->n_nodes; v++) {
		if (d->nodes[v].gone)
			continue;
		bool over = sl_node_status_final(f->status[v]);
		if (!failed && !over)
			return NO(f, "the run succeeded, but n%u is %s", v, sl_node_states[f->status[v]].wire);
		if (failed && f->status[v] != SL_NODE_PENDING && !over)
			return NO(f, "the run failed, but n%u is %s", v, sl_node_states[f->status[v]].wire);
		bool cut = failed && (f->status[v] == SL_NODE_PENDING || f->status[v] == SL_NODE_CANCELLED);
		if (!fate.timed && !cut && f->status[v] != fate.nodes[v])
			return NO(f, "n%u is %s; the oracle says %s", v, sl_node_states[f->status[v]].wire,
				  sl_node_states[fate.nodes[v]].wire);
	}
	return true;
}

bool dag_follow(const struct dag *d, const struct sl_record *records, size_t n, bool ended, char *why)
{
	struct follow f = {.d = d, .why = why};
	bool ok = true, over = false;
	for (size_t i = 0; i < n && ok; i++) {
		struct sl_event e;
		struct sl_error err;
		if (records[i].seq != i + 1)
			return NO(&f, "the journal has a gap at %zu", i + 1);
		if (over)
			return NO(&f, "something happened after the end");
		if (sl_event_decode(&records[i], &e, &err) != SL_OK)
			return NO(&f, "event %zu cannot be read: %.100s", i + 1, err.text);
		if (e.kind == SL_EV_NODE)
			ok = follow_node(&f, &e);
		over = e.kind == SL_EV_COMPLETED || e.kind == SL_EV_FAILED;
		if (over && ok)
			ok = follow_end(&f, &e);
		if (e.kind == SL_EV_CANCELLED)
			ok = NO(&f, "nobody cancelled it");
		if (!ok) {
			size_t at = strlen(why);
			(void)snprintf(why + at, WHY - at, " (event %zu)", i + 1);
		}
		sl_event_fini(&e);
	}
	if (ok && ended && !over)
		return NO(&f, "the run is stuck");
	return ok;
}
