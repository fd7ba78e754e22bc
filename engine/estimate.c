/* engine/estimate.c: see estimate.h. A graph is walked in its topological order once for each way through it; a
 * container's body is a graph of its own, multiplied. */
#include "engine/estimate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/graph.h"

#define ITEM_TOKENS   50 /* of a map's item, when nobody knows */
#define GUESSED_ITEMS ((struct sl_spread){1, 5, 20})
#define TWICE_DEPTH   2 /* bodies nested deeper are not walked again for what a round sees of the one before */

struct walk {
	const struct sl_workflow *workflow;
	struct json_object *inputs;
	double input_tokens;
	sl_estimate_fn *fn;
	void *ctx;
	struct sl_estimate *out;
	struct sl_error *err;
	size_t cap;
};

/* A graph, once through. */
struct total {
	struct sl_spread tokens, cost, ms;
	double executions, out_tokens;
};

/* A node of the graph in work. */
struct cell {
	struct sl_estimate_one one;
	double executions;     /* with a body: of its nodes, too */
	double seen;           /* tokens others see of it */
	double context;        /* tokens of what it reads */
	size_t entry, entries; /* its line in the list, and those of its body behind it */
	double hits;           /* ways that lead through it */
	bool runs;             /* on the present way */
	double done[3];        /* ms on the present way: min, expected, max */
};

static struct sl_spread add(struct sl_spread a, struct sl_spread b)
{
	return (struct sl_spread){a.min + b.min, a.expected + b.expected, a.max + b.max};
}
static struct sl_spread times(struct sl_spread a, struct sl_spread n)
{
	return (struct sl_spread){a.min * n.min, a.expected * n.expected, a.max * n.max};
}

static enum sl_code no_memory(struct walk *k)
{
	return sl_fail(k->err, SL_NO_MEMORY, "no memory for an estimate");
}

static enum sl_code add_entry(struct walk *k, const char *prefix, const struct sl_node_def *d, size_t *at)
{
	struct sl_estimate *e = k->out;
	if (e->n == k->cap) {
		size_t cap = k->cap ? 2 * k->cap : 32;
		struct sl_estimate_node *more = realloc(e->nodes, cap * sizeof(*more));
		if (!more)
			return no_memory(k);
		e->nodes = more;
		k->cap = cap;
	}
	size_t n = strlen(prefix) + strlen(d->id) + 2;
	char *path = malloc(n);
	if (!path)
		return no_memory(k);
	(void)snprintf(path, n, "%s%s%s", prefix, *prefix ? "/" : "", d->id); /* it fits: n was counted */
	*at = e->n++;
	e->nodes[*at] = (struct sl_estimate_node){.path = path, .def = d, .runs = {1, 1, 1}};
	return SL_OK;
}

static void drop_entries(struct sl_estimate *e, size_t from)
{
	while (e->n > from)
		free(e->nodes[--e->n].path);
}

/* ---- how often a body is gone through ---- */

static struct json_object *only_input(void *ctx, const struct sl_ref *ref)
{
	return ref->root == SL_REF_INPUT ? ctx : NULL;
}

/* The items that the inputs give; below 0: not known. */
static double items_of_inputs(const struct walk *k, struct json_object *written)
{
	struct sl_template *t = NULL;
	SL_AUTO_JSON value = NULL;
	double n = -1;
	if (!k->inputs)
		return -1;
	enum sl_code rc = sl_template_compile(written, &t, NULL);
	if (rc == SL_NO_MEMORY)
		sl_json_lost();
	if (rc != SL_OK)
		return -1;
	const struct sl_env env = {only_input, k->inputs};
	size_t refs = 0;
	const struct sl_ref *ref = sl_template_refs(t, &refs);
	bool known = true;
	for (size_t i = 0; i < refs; i++)
		known &= ref[i].root == SL_REF_INPUT;
	if (known)
		rc = sl_template_eval(t, &env, &value, NULL);
	if (rc == SL_NO_MEMORY)
		sl_json_lost();
	if (known && rc == SL_OK && json_object_is_type(value, json_type_array))
		n = (double)json_object_array_length(value);
	sl_template_free(t);
	return n;
}

/* A model that is asked again and again, with what its tools said. */
static bool asks_in_rounds(const struct sl_node_def *d)
{
	return d->body && d->type->effects == SL_EFFECTS_MODEL;
}

static struct sl_spread rounds_of(struct walk *k, const struct sl_node_def *d, struct sl_spread *in_a_row)
{
	struct json_object *rounds = sl_json_get(d->params_json, "max_rounds"),
			   *items = sl_json_get(d->params_json, "items");
	struct sl_spread n = {1, 1, 1};
	if (asks_in_rounds(d)) { /* it may answer at once, or use every round of tools and then answer */
		double most = 1 + (double)sl_json_get_i64(d->params_json, "max_iterations", 5);
		n = (struct sl_spread){1, (1 + most) / 2, most};
		*in_a_row = n;
		return n;
	}
	if (rounds) {
		double most = json_object_is_type(rounds, json_type_int) ? (double)json_object_get_int64(rounds) : 3;
		bool early = sl_json_get(d->params_json, "until") || sl_json_get(d->params_json, "exit_on_score");
		n = early ? (struct sl_spread){1, (1 + most) / 2, most} : (struct sl_spread){most, most, most};
		*in_a_row = n;
		return n;
	}
	if (sl_json_get(d->params_json, "summarise_with")) /* when there is something older to sum up */
		n.min = 0;
	if (sl_json_get(d->params_json, "max_queries") && d->type->expand) { /* what is claimed, then each claim */
		double most = (double)sl_json_get_i64(d->params_json, "max_queries", 3);
		n = (struct sl_spread){1, 1 + (1 + most) / 2, 1 + most};
	}
	if (items) {
		double count = json_object_is_type(items, json_type_array) ? (double)json_object_array_length(items)
									   : items_of_inputs(k, items);
		n = count < 0 ? GUESSED_ITEMS : (struct sl_spread){count, count, count};
		k->out->guessed |= count < 0;
		double at_once = (double)sl_json_get_i64(d->params_json, "concurrency", 1);
		at_once = at_once < 1 ? 1 : at_once;
		*in_a_row =
			(struct sl_spread){ceil(n.min / at_once), ceil(n.expected / at_once), ceil(n.max / at_once)};
		return n;
	}
	*in_a_row = n;
	return n;
}

/* ---- one node ---- */

struct place { /* where a graph stands */
	const char *prefix;
	double loop_tokens; /* what `loop` shows */
	double item_tokens; /* what `item` does */
	const struct place *outer;
	const struct sl_graph *graph;
	const struct cell *cells;
};

static enum sl_code walk_graph(struct walk *k, const struct sl_graph *g, const struct place *at, struct total *out);

static double seen_by_id(const struct place *at, const char *id)
{
	for (; at; at = at->outer) {
		uint32_t i = sl_graph_find(at->graph, sl_str(id));
		if (i != UINT32_MAX)
			return at->cells[i].seen;
	}
	return 0;
}

static double tokens_of_refs(const struct walk *k, const struct place *at, const struct sl_ref *refs, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		switch (refs[i].root) {
		case SL_REF_INPUT:
			sum += k->input_tokens;
			break;
		case SL_REF_NODE:
			sum += seen_by_id(at, refs[i].node);
			break;
		case SL_REF_LOOP:
			sum += at->loop_tokens;
			break;
		case SL_REF_ITEM:
			sum += at->item_tokens;
			break;
		case SL_REF_INDEX:
		case SL_REF_RUN:
			break;
		}
	return sum;
}

static enum sl_code walk_body(struct walk *k, const struct place *outer, const struct sl_node_def *d, struct cell *c)
{
	char prefix[1024];
	struct total body;
	struct sl_spread in_a_row, n = rounds_of(k, d, &in_a_row);
	size_t from = k->out->n;
	(void)snprintf(prefix, sizeof(prefix), "%s", k->out->nodes[c->entry].path); /* cut names are shown cut */
	bool asks = asks_in_rounds(d), loops = asks || sl_json_get(d->params_json, "max_rounds") != NULL;
	double first = asks ? c->one.out_tokens : 0; /* what the first round sees: the question */
	struct place at = {.prefix = prefix, .outer = outer, .loop_tokens = loops ? first : outer->loop_tokens};
	at.item_tokens = asks                                   ? 0          /* the question has all of it */
			 : d->type->expand                      ? c->context /* handed on to what is made of it */
			 : sl_json_get(d->params_json, "items") ? ITEM_TOKENS
								: outer->item_tokens;
	enum sl_code rc = walk_graph(k, d->body, &at, &body);
	if (rc == SL_OK && n.expected > 1 && loops && d->body->depth <= TWICE_DEPTH) {
		drop_entries(k->out, from);
		if (asks) /* a conversation grows: the last round sees all that were before */
			at.loop_tokens = first + body.out_tokens * (n.expected - 1) / 2;
		else
			at.loop_tokens =
				body.out_tokens * (n.expected - 1) / n.expected; /* the first round sees none */
		rc = walk_graph(k, d->body, &at, &body);
	}
	if (rc != SL_OK)
		return rc;
	for (size_t i = from; i < k->out->n; i++) {
		struct sl_estimate_node *e = &k->out->nodes[i];
		e->runs = times(e->runs, n);
		e->tokens = times(e->tokens, n);
		e->cost_microusd = times(e->cost_microusd, n);
	}
	c->one.tokens = add(c->one.tokens, times(body.tokens, n));
	c->one.cost_microusd = add(c->one.cost_microusd, times(body.cost, n));
	c->one.ms = add(c->one.ms, times(body.ms, in_a_row));
	c->executions += body.executions * n.expected;
	if (c->one.out_tokens < 0 || asks) /* else it is known what comes of them */
		c->seen = body.out_tokens * (sl_json_get(d->params_json, "items") ? n.expected : 1);
	return SL_OK;
}

static enum sl_code walk_node(struct walk *k, const struct sl_graph *g, const struct place *at, uint32_t index,
			      struct cell *cells)
{
	const struct sl_node_def *d = &g->nodes[index];
	struct cell *c = &cells[index];
	struct sl_estimate_ask ask = {.graph = g, .def = d};
	size_t n = 0;
	const struct sl_ref *refs = d->params ? sl_template_refs(d->params, &n) : NULL;
	ask.context_tokens = tokens_of_refs(k, at, refs, n);
	for (uint32_t i = 0; i < d->n_exprs; i++) {
		refs = sl_expr_refs(d->exprs[i].expr, &n);
		ask.context_tokens += tokens_of_refs(k, at, refs, n);
	}
	c->context = ask.context_tokens;
	enum sl_code rc = add_entry(k, at->prefix, d, &c->entry);
	if (rc == SL_OK)
		rc = k->fn(k->ctx, &ask, &c->one, k->err);
	if (rc != SL_OK)
		return rc;
	c->executions = 1;
	c->seen = c->one.out_tokens;
	if (c->seen < 0) {
		c->seen = 0;
		for (uint32_t i = 0; i < d->n_in; i++)
			c->seen += cells[g->edges[d->in[i]].from].seen;
	}
	k->out->nodes[c->entry].tokens = c->one.tokens; /* its own; a body's are lines of their own */
	k->out->nodes[c->entry].cost_microusd = c->one.cost_microusd;
	if (d->body)
		rc = walk_body(k, at, d, c);
	c->entries = k->out->n - c->entry;
	return rc;
}

/* ---- the ways through a graph ---- */

/* What is decided on the way: the case of a branch, or whether a condition holds. */
struct choice {
	const struct sl_node_def *node; /* of the cases, or with a `when` */
	const struct sl_edge *edge;     /* with a `when`; NULL: the node's */
	uint32_t n;
	const char *cases[32];
	uint32_t now;
};

static uint32_t find_choices(const struct sl_graph *g, struct choice *out, uint32_t most)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < g->n_nodes && n < most; i++) {
		const struct sl_node_def *d = &g->nodes[i];
		if (d->type->cases) {
			struct choice *c = &out[n];
			*c = (struct choice){.node = d};
			c->n = d->type->cases(d->params_json, c->cases, SL_COUNT_OF(c->cases));
			c->n = c->n > SL_COUNT_OF(c->cases) ? SL_COUNT_OF(c->cases) : c->n;
			n += c->n > 1;
		}
		if (d->when && n < most) {
			out[n] = (struct choice){.node = d, .n = 2};
			n++;
		}
	}
	for (uint32_t i = 0; i < g->n_edges && n < most; i++)
		if (g->edges[i].when) {
			out[n] = (struct choice){.edge = &g->edges[i], .n = 2};
			n++;
		}
	return n;
}

static bool is_taken(const struct sl_graph *g, const struct sl_edge *e, const struct choice *choices, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct choice *c = &choices[i];
		if (c->edge == e && c->edge && c->now == 1)
			return false;
		if (c->node == &g->nodes[e->from] && c->cases[0] && e->kase && strcmp(c->cases[c->now], e->kase) != 0)
			return false;
	}
	return true;
}

static bool is_left_out(const struct sl_node_def *d, const struct choice *choices, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (choices[i].node == d && !choices[i].edge && !choices[i].cases[0] && choices[i].now == 1)
			return true;
	return false;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* When a node can begin: when the last of its taken edges has come, or as many as its policy wants. */
static double begins(const struct sl_graph *g, const struct sl_node_def *d, const struct cell *cells, const bool *taken,
		     int which, double *scratch)
{
	uint32_t n = 0;
	double last = 0;
	for (uint32_t i = 0; i < d->n_in; i++) {
		double t = cells[g->edges[d->in[i]].from].done[which];
		if (!taken[d->in[i]])
			continue;
		scratch[n++] = t;
		last = t > last ? t : last;
	}
	if (!d->has_policy || d->policy.need >= n || d->policy.need == 0)
		return last;
	qsort(scratch, n, sizeof(*scratch), by_size);
	return scratch[d->policy.need - 1];
}

struct sum {
	struct sl_spread tokens, cost;
	double ms[3];
};

static void go_way(const struct sl_graph *g, struct cell *cells, bool *taken, double *scratch,
		   const struct choice *choices, uint32_t n, struct sum *out)
{
	*out = (struct sum){0};
	memset(taken, 0, g->n_edges * sizeof(*taken));
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		uint32_t at = g->order[i];
		const struct sl_node_def *d = &g->nodes[at];
		struct cell *c = &cells[at];
		c->runs = d->n_in == 0;
		for (uint32_t e = 0; e < d->n_in; e++)
			c->runs |= taken[d->in[e]];
		c->runs = c->runs && !is_left_out(d, choices, n);
		if (!c->runs)
			continue;
		const double ms[3] = {c->one.ms.min, c->one.ms.expected, c->one.ms.max};
		for (int which = 0; which < 3; which++) {
			c->done[which] = begins(g, d, cells, taken, which, scratch) + ms[which];
			out->ms[which] = c->done[which] > out->ms[which] ? c->done[which] : out->ms[which];
		}
		for (uint32_t e = 0; e < d->n_out; e++)
			taken[d->out[e]] = is_taken(g, &g->edges[d->out[e]], choices, n);
		out->tokens = add(out->tokens, c->one.tokens);
		out->cost = add(out->cost, c->one.cost_microusd);
	}
}

static void fold(struct sl_spread *into, double min, double expected, double max, bool first)
{
	into->min = first || min < into->min ? min : into->min;
	into->expected += expected; /* divided at the end */
	into->max = first || max > into->max ? max : into->max;
}

static void go_all_ways(struct walk *k, const struct sl_graph *g, struct cell *cells, bool *taken, double *scratch,
			struct choice *choices, uint32_t n, struct total *out)
{
	double ways = 1;
	for (uint32_t i = 0; i < n; i++)
		ways *= choices[i].n;
	bool all = ways <= SL_ESTIMATE_WAYS;
	uint32_t walked = all ? (uint32_t)ways : SL_ESTIMATE_WAYS;
	uint64_t dice = 1;
	for (uint32_t way = 0; way < walked; way++) {
		struct sum sum;
		uint32_t rest = way;
		for (uint32_t i = 0; i < n; i++) {
			dice = dice * 6364136223846793005u + 1442695040888963407u; /* the same ones every time */
			choices[i].now = all ? rest % choices[i].n : (uint32_t)(dice >> 33) % choices[i].n;
			rest /= choices[i].n;
		}
		go_way(g, cells, taken, scratch, choices, n, &sum);
		fold(&out->tokens, sum.tokens.min, sum.tokens.expected, sum.tokens.max, way == 0);
		fold(&out->cost, sum.cost.min, sum.cost.expected, sum.cost.max, way == 0);
		fold(&out->ms, sum.ms[0], sum.ms[1], sum.ms[2], way == 0);
		for (uint32_t i = 0; i < g->n_nodes; i++)
			cells[i].hits += cells[i].runs;
	}
	out->tokens.expected /= walked;
	out->cost.expected /= walked;
	out->ms.expected /= walked;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct cell *c = &cells[i];
		double share = c->hits / walked;
		const struct sl_spread runs = {all && share == 1, share, all ? share > 0 : 1};
		out->executions += c->executions * share;
		for (size_t e = c->entry; e < c->entry + c->entries; e++) {
			struct sl_estimate_node *line = &k->out->nodes[e];
			line->runs = times(line->runs, runs);
			line->tokens = times(line->tokens, runs);
			line->cost_microusd = times(line->cost_microusd, runs);
		}
		if (g->nodes[i].n_out == 0)
			out->out_tokens += c->seen * share;
		if (!all) { /* not every way was walked, so the most is the sum of all */
			out->tokens.max = (i ? out->tokens.max : 0) + c->one.tokens.max;
			out->cost.max = (i ? out->cost.max : 0) + c->one.cost_microusd.max;
		}
	}
}

static enum sl_code walk_graph(struct walk *k, const struct sl_graph *g, const struct place *at, struct total *out)
{
	enum { MOST_CHOICES = 64 };
	*out = (struct total){0};
	struct cell *cells = calloc(g->n_nodes + 1, sizeof(*cells));
	bool *taken = calloc(g->n_edges + 1, sizeof(*taken));
	double *scratch = calloc(g->n_edges + 1, sizeof(*scratch));
	struct choice *choices = calloc(MOST_CHOICES, sizeof(*choices));
	struct place here = *at;
	here.graph = g;
	here.cells = cells;
	enum sl_code rc = cells && taken && scratch && choices ? SL_OK : no_memory(k);
	for (uint32_t i = 0; rc == SL_OK && i < g->n_nodes; i++)
		rc = walk_node(k, g, &here, g->order[i], cells);
	if (rc == SL_OK)
		go_all_ways(k, g, cells, taken, scratch, choices, find_choices(g, choices, MOST_CHOICES), out);
	free(cells);
	free(taken);
	free(scratch);
	free(choices);
	return rc;
}

enum sl_code sl_estimate_workflow(const struct sl_workflow *w, struct json_object *inputs, double input_tokens,
				  sl_estimate_fn *fn, void *ctx, struct sl_estimate *out, struct sl_error *err)
{
	*out = (struct sl_estimate){0};
	struct walk k = {.workflow = w,
			 .inputs = inputs,
			 .input_tokens = input_tokens,
			 .fn = fn,
			 .ctx = ctx,
			 .out = out,
			 .err = err};
	const struct place root = {.prefix = "", .item_tokens = ITEM_TOKENS};
	struct total total;
	enum sl_code rc = walk_graph(&k, w->root, &root, &total);
	out->tokens = total.tokens;
	out->cost_microusd = total.cost;
	out->ms = total.ms;
	out->executions = total.executions;
	return rc;
}

void sl_estimate_fini(struct sl_estimate *e)
{
	drop_entries(e, 0);
	free(e->nodes);
	e->nodes = NULL;
}
