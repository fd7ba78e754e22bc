/* engine/graph_params.c: the parameters of a node, as its type's schema and x- keywords want them, and everything else
 * that is compiled: expressions and templates. */
#include <stdlib.h>
#include <string.h>

#include "engine/graph_priv.h"

struct found { /* named expressions, gathered while the marks are walked */
	struct sl_named_expr *items;
	uint32_t n, cap;
	size_t params_at; /* the pointer's length at params */
	struct sl_graph *g;
	struct sl_node_def *d;
	bool open; /* a template where a fixed value must be */
};

struct sl_expr *sl_read_expr(struct sl_reading *rd, struct sl_str source, enum sl_expr_kind kind)
{
	struct sl_expr *e = NULL;
	struct sl_error err;
	struct sl_str bare = sl_str_trim(source);
	if (bare.len == 0) {
		sl_bad(rd, "an expression is missing, such as nodes.judge.json.score >= 90");
		return NULL;
	}
	/* to Lua this is a table in a table, and so always true */
	if (kind == SL_EXPR_VALUE && bare.len >= 4 && memcmp(bare.p, "{{", 2) == 0 &&
	    memcmp(bare.p + bare.len - 2, "}}", 2) == 0) {
		struct sl_str inner = sl_brief(sl_str_trim(sl_str_n(bare.p + 2, bare.len - 4)));
		sl_bad(rd, "this is an expression already: write it without the braces, %.*s", SL_STR_ARG(inner));
		return NULL;
	}
	if (++rd->n_exprs > SL_LIMIT_DEFINITION_EXPRS) {
		sl_bad(rd,
		       "with this one the definition has more than %d expressions; compute once what is needed often, "
		       "in a node of its own",
		       SL_LIMIT_DEFINITION_EXPRS);
		return NULL;
	}
	enum sl_code rc = sl_expr_compile(source, kind, &e, &err);
	if (rc == SL_NO_MEMORY)
		rd->no_memory = true;
	else if (rc != SL_OK)
		sl_bad(rd, "%s", err.text);
	return rc == SL_OK ? e : NULL;
}

/* Which of the strings is it? */
static void find_bad_template(struct sl_reading *rd, struct json_object *value)
{
	if (!value || rd->problems->n >= SL_LIMIT_DEFINITION_ERRORS)
		return;
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach (value, key, member) {
			size_t at = sl_enter(rd, key);
			find_bad_template(rd, member);
			sl_leave(rd, at);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			size_t at = sl_enter_index(rd, i);
			find_bad_template(rd, json_object_array_get_idx(value, i));
			sl_leave(rd, at);
		}
	} else if (json_object_is_type(value, json_type_string) && sl_template_in(sl_json_str(value))) {
		SL_AUTO(sl_template) t = NULL;
		struct sl_error err;
		enum sl_code rc = sl_template_compile(value, &t, &err);
		if (rc == SL_NO_MEMORY)
			rd->no_memory = true;
		else if (rc != SL_OK)
			sl_bad(rd, "%s", err.text);
	}
}

struct sl_template *sl_read_template(struct sl_reading *rd, struct json_object *value)
{
	struct sl_template *t = NULL;
	struct sl_error err;
	enum sl_code rc = sl_template_compile(value, &t, &err);
	if (rc == SL_OK)
		return t;
	if (rc == SL_NO_MEMORY) {
		rd->no_memory = true;
		return NULL;
	}
	size_t before = rd->problems->errors;
	find_bad_template(rd, value);
	if (rd->problems->errors == before) /* every string for itself is fine: whatever it is, it must not pass */
		sl_bad(rd, "%s", err.text);
	return NULL;
}

static void no_braces_below(struct sl_reading *rd, struct found *f, struct json_object *value)
{
	if (!value)
		return;
	if (json_object_is_type(value, json_type_string)) {
		if (sl_template_in(sl_json_str(value))) {
			sl_bad(rd, "this must be a fixed value without {{ }}: it is needed before the node starts");
			f->open = true;
		}
	} else if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach (value, key, member) {
			size_t at = sl_enter(rd, key);
			no_braces_below(rd, f, member);
			sl_leave(rd, at);
		}
	} else if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			size_t at = sl_enter_index(rd, i);
			no_braces_below(rd, f, json_object_array_get_idx(value, i));
			sl_leave(rd, at);
		}
	}
}

static void add_expr(struct sl_reading *rd, struct found *f, const struct sl_mark *m, struct json_object *value)
{
	struct sl_expr *e = sl_read_expr(rd, sl_json_str(value), m->code ? SL_EXPR_BLOCK : SL_EXPR_VALUE);
	if (!e)
		return;
	if (f->n == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 4;
		struct sl_named_expr *items = realloc(f->items, cap * sizeof(*items));
		if (!items) {
			rd->no_memory = true;
			sl_expr_free(e);
			return;
		}
		f->items = items;
		f->cap = cap;
	}
	struct sl_str all = sl_buf_str(&rd->pointer);
	const char *pointer = sl_reading_str(rd, sl_str_n(all.p + f->params_at, all.len - f->params_at));
	f->items[f->n++] = (struct sl_named_expr){.pointer = pointer, .expr = e, .provides = m->provides};
}

static void walk_marks(struct sl_reading *rd, struct found *f, const struct sl_mark *m, struct json_object *value)
{
	if (!value)
		return;
	if (m->constant)
		no_braces_below(rd, f, value);
	if (m->schema && !rd->stored && json_object_is_type(value, json_type_object)) {
		SL_AUTO(sl_schema) s = NULL;
		if (sl_schema_compile(value, sl_buf_str(&rd->pointer), &s, rd->problems) != SL_OK)
			rd->no_memory = true;
	}
	if (m->expr && json_object_is_type(value, json_type_string))
		add_expr(rd, f, m, value);
	if (m->graph && json_object_is_type(value, json_type_object)) {
		f->d->body = sl_read_graph(rd, value, f->g, f->d->index, f->g->provides | m->provides);
		return;
	}
	if (m->n_sub && json_object_is_type(value, json_type_object))
		for (uint32_t i = 0; i < m->n_sub; i++) {
			struct json_object *member = sl_json_get(value, m->sub[i].key);
			if (!member)
				continue;
			size_t at = sl_enter(rd, m->sub[i].key);
			walk_marks(rd, f, &m->sub[i], member);
			sl_leave(rd, at);
		}
	if (m->items && json_object_is_type(value, json_type_array))
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			size_t at = sl_enter_index(rd, i);
			walk_marks(rd, f, m->items, json_object_array_get_idx(value, i));
			sl_leave(rd, at);
		}
}

/* Lua text may hold {{ by itself; in a template it is written as {{{{. */
static struct json_object *literal(struct json_object *text)
{
	struct sl_str s = sl_json_str(text);
	if (!sl_template_in(s))
		return json_object_get(text);
	SL_BUF(b, 2 * SL_LIMIT_BODY_BYTES + 16);
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] == '{' && i + 1 < s.len && s.p[i + 1] == '{') {
			sl_buf_adds(&b, "{{{{");
			i++;
		} else {
			sl_buf_addc(&b, s.p[i]);
		}
	return b.failed ? NULL : json_object_new_string_len(sl_buf_str(&b).p, (int)b.len);
}

/* A copy for the template: bodies emptied, expressions as plain text; what is not concerned is shared. */
static struct json_object *for_template(struct sl_reading *rd, const struct sl_mark *m, struct json_object *value)
{
	if (!value)
		return NULL;
	struct json_object *copy = NULL;
	if (m->expr && json_object_is_type(value, json_type_string)) {
		copy = literal(value);
	} else if (!m->rewrites) {
		copy = json_object_get(value);
	} else if (json_object_is_type(value, json_type_object)) {
		copy = json_object_new_object();
		json_object_object_foreach (value, key, member) {
			const struct sl_mark *sub = NULL;
			for (uint32_t i = 0; i < m->n_sub && !sub; i++)
				if (strcmp(m->sub[i].key, key) == 0)
					sub = &m->sub[i];
			if (copy && sub && sub->graph && json_object_is_type(member, json_type_object))
				sl_json_set(copy, key, json_object_new_object()); /* it is there, says the schema */
			else if (copy)
				sl_json_set(copy, key, sub ? for_template(rd, sub, member) : json_object_get(member));
		}
	} else if (m->items && json_object_is_type(value, json_type_array)) {
		copy = json_object_new_array();
		for (size_t i = 0; copy && i < json_object_array_length(value); i++)
			sl_json_append(copy, for_template(rd, m->items, json_object_array_get_idx(value, i)));
	} else {
		copy = json_object_get(value);
	}
	rd->no_memory |= !copy;
	return copy;
}

/* Whoever reads the definition sees no nodes but his own: what was told since, stands at the parameters. */
static void place_at(struct sl_reading *rd, size_t told)
{
	for (size_t i = told; i < rd->problems->n; i++) {
		char *at = strndup(sl_buf_str(&rd->pointer).p, rd->pointer.len);
		rd->no_memory |= !at;
		if (!at)
			continue;
		free(rd->problems->items[i].pointer);
		rd->problems->items[i].pointer = at;
	}
}

/* A body that the type makes from the parameters. What is wrong in it is told where they stand. */
static void expand(struct sl_reading *rd, struct sl_graph *g, struct sl_node_def *d, struct json_object *params)
{
	struct json_object *graph = NULL;
	struct sl_error err;
	size_t told = rd->problems->n;
	enum sl_code rc = d->type->expand(params, &graph, &err);
	if (rc == SL_OK && !graph)
		return; /* with these parameters it has none */
	if (!rd->w->expanded)
		rd->w->expanded = json_object_new_array();
	if (rc == SL_OK && (!rd->w->expanded || json_object_array_add(rd->w->expanded, graph) != 0)) {
		json_object_put(graph);
		rc = SL_NO_MEMORY;
	}
	if (rc == SL_OK)
		d->body = sl_read_graph(rd, graph, g, d->index,
					g->provides | SL_PROVIDES_ITEM |
						sl_registry_marks(rd->registry, d->type)->provides);
	if (rc == SL_OK)
		place_at(rd, told);
	else if (rc == SL_NO_MEMORY)
		rd->no_memory = true;
	else
		sl_bad(rd, "%s", err.text);
}

void sl_read_params(struct sl_reading *rd, struct sl_graph *g, struct sl_node_def *d, struct json_object *params)
{
	const struct sl_schema *schema = sl_registry_schema(rd->registry, d->type);
	const struct sl_mark *marks = sl_registry_marks(rd->registry, d->type);
	struct sl_error err;
	size_t at = sl_enter(rd, "params");
	rd->no_memory |= !sl_schema_defaults(schema, params);
	d->params_json = params;
	bool fits = sl_schema_check(schema, params, SL_SCHEMA_TEMPLATES, sl_buf_str(&rd->pointer), rd->problems);

	struct found f = {.params_at = rd->pointer.len, .g = g, .d = d};
	walk_marks(rd, &f, marks, params);
	fits &= !f.open; /* such a one need not have the type that the schema promises */
	d->params_fit = fits;
	d->exprs = sl_reading_alloc(rd, f.n, sizeof(*d->exprs));
	for (uint32_t i = 0; i < f.n; i++)
		if (d->exprs)
			d->exprs[d->n_exprs++] = f.items[i];
		else
			sl_expr_free(f.items[i].expr);
	free(f.items);

	if (marks->rewrites) {
		SL_AUTO_JSON copy = for_template(rd, marks, params);
		if (copy)
			d->params = sl_read_template(rd, copy);
	} else {
		d->params = sl_read_template(rd, params);
	}
	if (fits && d->type->check && d->type->check(params, &err) != SL_OK) {
		sl_bad(rd, "%s", err.text);
		fits = false; /* and makes no body */
	}
	if (fits && d->type->expand)
		expand(rd, g, d, params);
	sl_leave(rd, at);
	for (uint32_t i = 0; d->body && d->type->expand && d->has_retry && i < d->body->n_nodes; i++)
		if (d->body->nodes[i].type == d->type) { /* it is that one which is tried again */
			d->body->nodes[i].has_retry = true;
			d->body->nodes[i].retry = d->retry;
			d->has_retry = false;
		}
	if (d->body && d->has_retry) {
		at = sl_enter(rd, "retry");
		sl_bad(rd, "what has a body is not begun again as a whole; give the nodes in it a `retry`");
		sl_leave(rd, at);
	}
}
