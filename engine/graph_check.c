/* engine/graph_check.c: what the shape of a graph says: its order, who stands above whom, which failures
 * need not end the run, which nodes belong to one branch of a parallel. Linear in edges but for the
 * ancestor rows (edges × nodes / 64) and the branches (edges × parallels that need them). */
#include "engine/graph_priv.h"

#define NOBODY UINT32_MAX

/* One cycle for each group of nodes that wait for each other, named with its way. left: not in the order. */
static void report_cycles(struct sl_reading *rd, const struct sl_graph *g, const bool *left)
{
	uint32_t *walk = sl_reading_alloc(rd, g->n_nodes, sizeof(*walk));     /* which walk has been here */
	uint32_t *closes = sl_reading_alloc(rd, g->n_nodes, sizeof(*closes)); /* the edge by which it went on */
	if (!walk || !closes)
		return;
	for (uint32_t start = 0; start < g->n_nodes; start++) {
		uint32_t v = start;
		if (!left[start] || walk[start])
			continue;
		while (!walk[v]) { /* upwards: whoever is left has somebody above who is left, too */
			walk[v] = start + 1;
			for (uint32_t k = 0; k < g->nodes[v].n_in; k++) {
				uint32_t e = g->nodes[v].in[k];
				if (left[g->edges[e].from]) {
					closes[v] = e;
					v = g->edges[e].from;
					break;
				}
			}
		}
		if (walk[v] != start + 1)
			continue; /* led into a cycle that is reported already */
		/* v is on the cycle; closes[] leads against the edges, so collect and print backwards */
		uint32_t on[12], n = 0, length = 0, u = v;
		do {
			u = g->edges[closes[u]].from;
			if (n < SL_COUNT_OF(on))
				on[n++] = u;
			length++;
		} while (u != v);
		SL_BUF(way, 2000);
		sl_buf_adds(&way, g->nodes[v].id);
		if (length > n + 1)
			sl_buf_addf(&way, " → … %u more …", length - 1 - n);
		/* v's predecessor is the first in on[], v itself the last, when all fit */
		for (uint32_t k = length > n ? n : n - 1; k-- > 0;)
			sl_buf_addf(&way, " → %s", g->nodes[on[k]].id);
		sl_buf_addf(&way, " → %s", g->nodes[v].id);
		size_t at = sl_enter_edge(rd, g, closes[v]);
		sl_bad(rd,
		       "these nodes wait for each other: %s; take one edge out, or repeat them as the body of a "
		       "container node",
		       way.data ? way.data : "");
		sl_leave(rd, at);
	}
}

static void order(struct sl_reading *rd, struct sl_graph *g)
{
	uint32_t *waits = sl_reading_alloc(rd, g->n_nodes, sizeof(*waits)), n = 0;
	bool *left = sl_reading_alloc(rd, g->n_nodes, sizeof(*left));
	g->order = sl_reading_alloc(rd, g->n_nodes, sizeof(*g->order));
	if (!waits || !left || !g->order)
		return;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		waits[i] = g->nodes[i].n_in;
		left[i] = true;
		if (waits[i] == 0)
			g->order[n++] = i;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		left[d->index] = false;
		for (uint32_t k = 0; k < d->n_out; k++) {
			uint32_t to = g->edges[d->out[k]].to;
			if (--waits[to] == 0)
				g->order[n++] = to;
		}
	}
	if (n < g->n_nodes) {
		report_cycles(rd, g, left);
		return;
	}
	uint32_t words = (g->n_nodes + 63) / 64;
	uint64_t *rows = sl_reading_alloc(rd, (size_t)g->n_nodes * words, sizeof(*rows));
	if (!rows)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		uint64_t *row = rows + (size_t)d->index * words;
		for (uint32_t k = 0; k < d->n_in; k++) {
			uint32_t from = g->edges[d->in[k]].from;
			const uint64_t *above = rows + (size_t)from * words;
			for (uint32_t j = 0; j < words; j++)
				row[j] |= above[j];
			row[from / 64] |= UINT64_C(1) << (from % 64);
		}
	}
	g->ancestors = rows;
	g->n_words = words;
}

void sl_graph_order(struct sl_reading *rd, struct sl_graph *g)
{
	order(rd, g);
	for (uint32_t i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].body)
			sl_graph_order(rd, g->nodes[i].body);
}

/* For every node the branch of `top` it belongs to and to no other, or NOBODY: all its edges come from that branch. */
static void branches_of(const struct sl_graph *g, uint32_t top, uint32_t *member)
{
	for (uint32_t i = 0; i < g->n_nodes; i++)
		member[i] = NOBODY;
	const struct sl_node_def *p = &g->nodes[top];
	uint32_t branch = 0; /* numbered like sl_node_edges_out() lists successors: each once */
	for (uint32_t k = 0; k < p->n_out; k++) {
		uint32_t to = g->edges[p->out[k]].to;
		if (member[to] == NOBODY)
			member[to] = branch++;
	}
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		uint32_t v = g->order[i];
		const struct sl_node_def *d = &g->nodes[v];
		if (!sl_graph_is_ancestor(g, top, v))
			continue;
		uint32_t mine = NOBODY;
		bool alone = true;
		for (uint32_t k = 0; k < d->n_in; k++) {
			uint32_t from = g->edges[d->in[k]].from, theirs = from == top ? member[v] : member[from];
			if (theirs == NOBODY || (mine != NOBODY && theirs != mine))
				alone = false;
			mine = theirs;
		}
		member[v] = alone ? mine : NOBODY;
	}
}

static bool add_branch(struct sl_reading *rd, struct sl_node_def *d, uint32_t parallel, uint32_t branch, uint32_t most)
{
	if (!d->branch_of) /* never more than there are parallels with a limit above it */
		d->branch_of = sl_reading_alloc(rd, most, sizeof(*d->branch_of));
	if (!d->branch_of)
		return false;
	d->branch_of[d->n_branch_of].parallel = parallel;
	d->branch_of[d->n_branch_of++].branch = branch;
	return true;
}

/* Limits, and joins that go on without a failed branch because the parallel above says so. */
static void examine_branches(struct sl_reading *rd, struct sl_graph *g)
{
	uint32_t limited = 0, *member = NULL;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct sl_node_def *d = &g->nodes[i];
		bool wait_all = false;
		if (d->type && d->type->branches && d->params_fit)
			d->type->branches(d->params_json, &d->branch_limit, &wait_all);
		limited += d->branch_limit > 0;
	}
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct sl_node_def *p = &g->nodes[i];
		bool wait_all = false;
		uint32_t max_open;
		if (!p->type || !p->type->branches || !p->params_fit)
			continue;
		p->type->branches(p->params_json, &max_open, &wait_all);
		if (!wait_all && p->branch_limit == 0)
			continue;
		if (!member && !(member = sl_reading_alloc(rd, g->n_nodes, sizeof(*member))))
			return;
		branches_of(g, i, member);
		for (uint32_t v = 0; v < g->n_nodes; v++) {
			struct sl_node_def *d = &g->nodes[v];
			if (member[v] != NOBODY && p->branch_limit && !add_branch(rd, d, i, member[v], limited))
				return;
			bool all = wait_all && d->has_policy && d->n_in > 0;
			for (uint32_t k = 0; k < d->n_in && all; k++) {
				uint32_t from = g->edges[d->in[k]].from;
				all = from == i || member[from] != NOBODY;
			}
			if (all)
				d->policy.tolerates = true;
		}
	}
}

static void examine_absorbed(struct sl_graph *g)
{
	for (uint32_t i = g->n_nodes; i-- > 0;) {
		struct sl_node_def *d = &g->nodes[g->order[i]];
		d->absorbed = d->n_out > 0;
		for (uint32_t k = 0; k < d->n_out && d->absorbed; k++) {
			const struct sl_node_def *to = &g->nodes[g->edges[d->out[k]].to];
			d->absorbed = (to->has_policy && to->policy.tolerates) || to->absorbed;
		}
	}
}

static uint32_t sources(const struct sl_graph *g, const struct sl_node_def *d)
{
	uint32_t n = 0;
	for (uint32_t k = 0; k < d->n_in; k++) {
		uint32_t j = 0, from = g->edges[d->in[k]].from;
		while (j < k && j < 100 &&
		       g->edges[d->in[j]].from != from) /* twice the same only with cases: rare, so a glance */
			j++;
		n += j == k || j == 100;
	}
	return n;
}

static void examine_policies(struct sl_reading *rd, struct sl_graph *g)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct sl_node_def *d = &g->nodes[i];
		if (!d->type || !d->type->policy || !d->params_fit)
			continue;
		d->has_policy = true;
		d->type->policy(d->params_json, d->n_in, &d->policy);
		if (rd->stored)
			continue;
		size_t at = sl_enter_node(rd, g, i);
		uint32_t n = sources(g, d), need = d->policy.need;
		if (d->n_in == 0)
			sl_note(rd, "no edge leads to '%s', so it has nothing to wait for; is an edge missing?", d->id);
		else if (need > d->n_in || (need > n && need < d->n_in))
			sl_bad(rd,
			       "'%s' can never go on: it waits for %u and only %u node%s lead%s to it; ask for at most "
			       "%u, or add the edges",
			       d->id, need, n, n == 1 ? "" : "s", n == 1 ? "s" : "", n);
		else if (n == 1)
			sl_note(rd, "only '%s' leads to '%s', so there is nothing to join",
				g->nodes[g->edges[d->in[0]].from].id, d->id);
		sl_leave(rd, at);
	}
}

static void examine_choice(struct sl_reading *rd, struct sl_graph *g, const struct sl_node_def *d)
{
	enum { MOST = 256 };
	const char *cases[MOST];
	bool used[MOST] = {false};
	uint32_t carried = 0, n = d->type->cases(d->params_json, cases, MOST);
	for (uint32_t k = 0; k < d->n_out; k++) {
		const struct sl_edge *e = &g->edges[d->out[k]];
		unsigned best = 0;
		const char *near = NULL;
		uint32_t c = 0;
		if (!e->kase)
			continue;
		carried++;
		while (c < n && strcmp(cases[c], e->kase) != 0)
			c++;
		if (c < n) {
			used[c] = true;
			continue;
		}
		for (c = 0; c < n; c++)
			sl_nearer(rd, sl_str(e->kase), cases[c], &best, &near);
		size_t at = sl_enter_edge(rd, g, d->out[k]), in = sl_enter(rd, "case");
		struct sl_str name = sl_brief(sl_str(e->kase));
		if (near)
			sl_bad(rd, "'%s' has no case '%.*s'; did you mean '%s'?", d->id, SL_STR_ARG(name), near);
		else
			sl_bad(rd, "'%s' has no case '%.*s'; list it there, or name one of its cases", d->id,
			       SL_STR_ARG(name));
		sl_leave(rd, in);
		sl_leave(rd, at);
	}
	size_t at = sl_enter_node(rd, g, d->index);
	if (carried == 0)
		sl_note(rd, "no edge that leaves '%s' names a 'case', so what it chooses changes nothing", d->id);
	for (uint32_t c = 0; carried && c < n; c++)
		if (!used[c])
			sl_note(rd, "no edge carries the case '%.*s' of '%s'; when it is chosen nothing follows",
				SL_STR_ARG(sl_brief(sl_str(cases[c]))), d->id);
	sl_leave(rd, at);
}

static void examine_cases(struct sl_reading *rd, struct sl_graph *g)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sl_node_def *d = &g->nodes[i];
		if (!d->type)
			continue;
		if (d->type->cases) {
			if (d->params_fit)
				examine_choice(rd, g, d);
			continue;
		}
		for (uint32_t k = 0; k < d->n_out; k++) {
			if (!g->edges[d->out[k]].kase)
				continue;
			size_t at = sl_enter_edge(rd, g, d->out[k]), in = sl_enter(rd, "case");
			SL_BUF(names, 1000);
			sl_registry_names(rd->registry, SL_TYPES_CASES, 0, &names);
			sl_bad(rd,
			       "'%s' is of type `%s`, which chooses no case; only edges leaving %s carry 'case', use "
			       "'when' here",
			       d->id, d->type->name, names.data ? names.data : "");
			sl_leave(rd, in);
			sl_leave(rd, at);
		}
	}
}

void sl_graph_examine(struct sl_reading *rd, struct sl_graph *g)
{
	if (g->ancestors) { /* no order, no policies: what they say would be wrong anyway */
		examine_policies(rd, g);
		examine_branches(rd, g);
		examine_absorbed(g);
		if (!rd->stored)
			sl_graph_liveness(rd, g);
	}
	if (!rd->stored)
		examine_cases(rd, g);
	for (uint32_t i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].body)
			sl_graph_examine(rd, g->nodes[i].body);
}
