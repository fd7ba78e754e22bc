/* engine/graph_refs.c: what expressions mention must have a value when they run: a node's output only after that node,
 * so only ancestors may be named; loop, item and index only inside the containers that set them. */
#include <stdlib.h>

#include "engine/graph_priv.h"

/* From where somebody looks. */
struct view {
	const struct sl_graph *g;
	uint32_t node;               /* may read what is above it; UINT32_MAX: everything in g (outputs) */
	bool itself;                 /* also its own output: edges that leave it */
	uint32_t provides;           /* besides those of g */
	const struct sl_graph *body; /* whose nodes may be read, too; NULL: none */
};

enum sight { SIGHT_CLEAR, SIGHT_NOWHERE, SIGHT_OTHER, SIGHT_ITSELF, SIGHT_AROUND };

static enum sight look(const struct view *v, struct sl_str id, const struct sl_graph **where, uint32_t *who)
{
	if (v->body && sl_graph_find(v->body, id) != UINT32_MAX)
		return SIGHT_CLEAR;
	const struct sl_graph *g = v->g;
	uint32_t me = v->node;
	for (; g; me = g->parent_node, g = g->parent) {
		uint32_t i = sl_graph_find(g, id);
		if (i == UINT32_MAX)
			continue;
		*where = g;
		*who = me;
		if (me == UINT32_MAX)
			return SIGHT_CLEAR;
		if (i == me)
			return g != v->g ? SIGHT_AROUND : v->itself ? SIGHT_CLEAR : SIGHT_ITSELF;
		/* in a graph with cycles nobody's ancestors are known, and the cycle is reported */
		return !g->ancestors || sl_graph_is_ancestor(g, i, me) ? SIGHT_CLEAR : SIGHT_OTHER;
	}
	return SIGHT_NOWHERE;
}

static bool clear(const struct view *v, const struct sl_ref *ref)
{
	const struct sl_graph *where;
	uint32_t who, provides = v->g->provides | v->provides;
	switch (ref->root) {
	case SL_REF_NODE:
		return look(v, sl_str(ref->node), &where, &who) == SIGHT_CLEAR;
	case SL_REF_LOOP:
		return provides & SL_PROVIDES_LOOP;
	case SL_REF_ITEM:
		return provides & SL_PROVIDES_ITEM;
	case SL_REF_INDEX:
		return provides & SL_PROVIDES_INDEX;
	case SL_REF_INPUT:
	case SL_REF_RUN:
		break;
	}
	return true;
}

/* The container in g, or below it, whose body has the node. */
static const struct sl_node_def *container_of(struct sl_reading *rd, const struct sl_graph *g, struct sl_str id)
{
	for (uint32_t i = 0; i < g->n_nodes && rd->distances < SL_READING_DISTANCES; i++) {
		const struct sl_node_def *d = &g->nodes[i];
		rd->distances++;
		if (d->body && (sl_graph_find(d->body, id) != UINT32_MAX || container_of(rd, d->body, id)))
			return d;
	}
	return NULL;
}

static void report_node(struct sl_reading *rd, const struct view *v, const char *node)
{
	const struct sl_graph *where = NULL;
	uint32_t who = UINT32_MAX;
	struct sl_str id = sl_str(node), name = sl_brief(id);
	enum sight sight = look(v, id, &where, &who);
	if (sight == SIGHT_ITSELF) {
		sl_bad(rd, "'%.*s' cannot read its own output", SL_STR_ARG(name));
	} else if (sight == SIGHT_AROUND) {
		sl_bad(rd, "'%.*s' is still running while its body does, so it has no output yet", SL_STR_ARG(name));
	} else if (sight == SIGHT_OTHER) {
		const char *me = where->nodes[who].id;
		if (sl_graph_is_ancestor(where, who, sl_graph_find(where, id)))
			sl_bad(rd, "'%.*s' comes after '%s', so its output does not exist yet", SL_STR_ARG(name), me);
		else
			sl_bad(rd,
			       "'%.*s' is no ancestor of '%s', so its output need not exist yet; add an edge from "
			       "'%.*s' to '%s'",
			       SL_STR_ARG(name), me, SL_STR_ARG(name), me);
	} else {
		unsigned best = 0;
		const char *near = NULL;
		struct view mine = *v;
		const struct sl_node_def *container = NULL;
		for (const struct sl_graph *g = v->body ? v->body : v->g; g; g = g == v->body ? v->g : g->parent) {
			for (uint32_t i = 0; i < g->n_nodes; i++)
				if (*g->nodes[i].id && look(&mine, sl_str(g->nodes[i].id), &where, &who) == SIGHT_CLEAR)
					sl_nearer(rd, id, g->nodes[i].id, &best, &near);
			if (!container && g != v->body)
				container = container_of(rd, g, id);
		}
		if (container)
			sl_bad(rd, "'%.*s' is inside of '%s', which shows only its own output: start from nodes.%s",
			       SL_STR_ARG(name), container->id, container->id);
		else if (near)
			sl_bad(rd, "there is no node '%.*s'; did you mean '%s'?", SL_STR_ARG(name), near);
		else
			sl_bad(rd, "there is no node '%.*s' above this one", SL_STR_ARG(name));
	}
}

static void report(struct sl_reading *rd, const struct view *v, const struct sl_ref *ref)
{
	static const uint32_t bits[] = {
		[SL_REF_LOOP] = SL_PROVIDES_LOOP, [SL_REF_ITEM] = SL_PROVIDES_ITEM, [SL_REF_INDEX] = SL_PROVIDES_INDEX};
	if (rd->problems->n >= SL_LIMIT_DEFINITION_ERRORS) {
		sl_bad(rd, "reference"); /* only counted */
	} else if (ref->root == SL_REF_NODE) {
		report_node(rd, v, ref->node);
	} else {
		SL_BUF(types, 1000);
		sl_registry_names(rd->registry, SL_TYPES_PROVIDING, bits[ref->root], &types);
		sl_bad(rd, "`%s` has a value only inside the body of %s", sl_ref_root_names[ref->root],
		       types.data ? types.data : "");
	}
}

static void check(struct sl_reading *rd, const struct view *v, const struct sl_ref *refs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!clear(v, &refs[i]))
			report(rd, v, &refs[i]);
}

static bool all_clear(const struct view *v, const struct sl_template *t)
{
	size_t n;
	const struct sl_ref *refs = sl_template_refs(t, &n);
	for (size_t i = 0; i < n; i++)
		if (!clear(v, &refs[i]))
			return false;
	return true;
}

static void check_expr(struct sl_reading *rd, const struct view *v, const struct sl_expr *e)
{
	size_t n;
	const struct sl_ref *refs = sl_expr_refs(e, &n);
	check(rd, v, refs, n);
}

/* Something in it is wrong: compile string by string, to say where. Expressions of the type's own are checked
 * elsewhere. */
static void find_bad(struct sl_reading *rd, const struct view *v, const struct sl_mark *m, struct json_object *value)
{
	if (!value || (m && (m->expr || m->graph)))
		return;
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach (value, key, member) {
			const struct sl_mark *sub = NULL;
			for (uint32_t i = 0; m && i < m->n_sub && !sub; i++)
				if (strcmp(m->sub[i].key, key) == 0)
					sub = &m->sub[i];
			size_t at = sl_enter(rd, key);
			find_bad(rd, v, sub, member);
			sl_leave(rd, at);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			size_t at = sl_enter_index(rd, i);
			find_bad(rd, v, m ? m->items : NULL, json_object_array_get_idx(value, i));
			sl_leave(rd, at);
		}
	} else if (json_object_is_type(value, json_type_string) && sl_template_in(sl_json_str(value))) {
		SL_AUTO(sl_template) t = NULL;
		size_t n;
		if (sl_template_compile(value, &t, NULL) != SL_OK) {
			rd->no_memory = true; /* it was compiled before */
			return;
		}
		const struct sl_ref *refs = sl_template_refs(t, &n);
		check(rd, v, refs, n);
	}
}

static void check_template(struct sl_reading *rd, const struct view *v, const struct sl_mark *m,
			   const struct sl_template *t, struct json_object *json, const char *key)
{
	if (!t || all_clear(v, t))
		return;
	size_t at = sl_enter(rd, key);
	find_bad(rd, v, m, sl_json_get(json, key));
	sl_leave(rd, at);
}

static void check_node(struct sl_reading *rd, const struct sl_graph *g, const struct sl_node_def *d,
		       struct json_object *json)
{
	struct view v = {.g = g, .node = d->index};
	check_template(rd, &v, d->type ? sl_registry_marks(rd->registry, d->type) : NULL, d->params, json, "params");
	for (uint32_t i = 0; i < d->n_exprs; i++) {
		struct view from_expr = v;
		from_expr.provides = d->exprs[i].provides;
		from_expr.body = d->exprs[i].provides & SL_PROVIDES_BODY ? d->body : NULL;
		size_t at = sl_enter(rd, "params");
		sl_buf_adds(&rd->pointer, d->exprs[i].pointer);
		check_expr(rd, &from_expr, d->exprs[i].expr);
		sl_leave(rd, at);
	}
	if (d->when) {
		size_t at = sl_enter(rd, "when");
		check_expr(rd, &v, d->when);
		sl_leave(rd, at);
	}
	bool bad_fallback = d->fallback && !all_clear(&v, d->fallback);
	for (uint32_t i = 0; i < d->n_fallback_by_class && !bad_fallback; i++)
		bad_fallback = d->fallback_by_class[i].value && !all_clear(&v, d->fallback_by_class[i].value);
	if (bad_fallback) {
		size_t at = sl_enter(rd, "fallback");
		find_bad(rd, &v, NULL, sl_json_get(json, "fallback"));
		sl_leave(rd, at);
	}
	if (d->cache_key) {
		size_t at = sl_enter(rd, "cache");
		check_template(rd, &v, NULL, d->cache_key, sl_json_get(json, "cache"), "key");
		sl_leave(rd, at);
	}
	/* an id outside would be hidden by one of the same name in here */
	for (const struct sl_graph *outer = *d->id ? g->parent : NULL; outer; outer = outer->parent)
		if (sl_graph_find(outer, sl_str(d->id)) != UINT32_MAX) {
			size_t at = sl_enter(rd, "id");
			sl_bad(rd,
			       "a node around this body is called '%s', too; rename one, or nodes.%s could mean either",
			       d->id, d->id);
			sl_leave(rd, at);
			break;
		}
}

void sl_graph_refs(struct sl_reading *rd, struct sl_graph *g)
{
	struct json_object *nodes = sl_json_get(g->json, "nodes");
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		size_t at = sl_enter_node(rd, g, i);
		check_node(rd, g, &g->nodes[i], json_object_array_get_idx(nodes, i));
		sl_leave(rd, at);
		if (g->nodes[i].body)
			sl_graph_refs(rd, g->nodes[i].body);
	}
	for (uint32_t i = 0; i < g->n_edges; i++) {
		const struct sl_edge *e = &g->edges[i];
		if (!e->when || e->from == UINT32_MAX)
			continue;
		struct view v = {.g = g, .node = e->from, .itself = true};
		size_t at = sl_enter_edge(rd, g, i), in = sl_enter(rd, "when");
		check_expr(rd, &v, e->when);
		sl_leave(rd, in);
		sl_leave(rd, at);
	}
}

/* Nodes that nothing leads to or from and nobody reads: more likely a forgotten edge than an intention. */
static void note_lonely(struct sl_reading *rd, const struct sl_graph *g)
{
	size_t n;
	if (rd->problems->errors) /* first things first: an edge may be missing because it could not be read */
		return;
	const struct sl_ref *refs = rd->w->outputs ? sl_template_refs(rd->w->outputs, &n) : NULL;
	for (uint32_t i = 0; i < g->n_nodes && g->n_edges; i++) {
		const struct sl_node_def *d = &g->nodes[i];
		bool read = false;
		if (d->n_in || d->n_out || !*d->id)
			continue;
		for (size_t k = 0; refs && k < n && !read; k++)
			read = refs[k].root == SL_REF_NODE && strcmp(refs[k].node, d->id) == 0;
		if (read)
			continue;
		size_t at = sl_enter_node(rd, g, i);
		sl_note(rd, "no edge leads to or from '%s', and no output reads it; is an edge missing?", d->id);
		sl_leave(rd, at);
	}
}

void sl_outputs_refs(struct sl_reading *rd)
{
	struct view v = {.g = rd->w->root, .node = UINT32_MAX};
	check_template(rd, &v, NULL, rd->w->outputs, rd->w->doc, "outputs");
	note_lonely(rd, rd->w->root);
}
