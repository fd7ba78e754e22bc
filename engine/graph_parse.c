/* engine/graph_parse.c: reads a definition: the document, its nodes and edges, and the graphs inside containers. Says
 * of everything that is wrong where it is and what to write instead, and goes on. */
#include <math.h>

#include "engine/graph_priv.h"

static const char *const document_keys[] = {"sluice",     "name",  "description", "inputs",  "limits",
					    "durability", "nodes", "edges",       "outputs", NULL};
static const char *const limits_keys[] = {"timeout_s", "max_tokens", "max_cost_usd", "breaker", NULL};
static const char *const breaker_keys[] = {"token_surge", "velocity_tps", "window_s", "similarity", "entropy",
					   "repeats",     "depth",        "run_s",    NULL};
static const char *const body_keys[] = {"nodes", "edges", NULL};
static const char *const node_keys[] = {"id",    "type",     "name",     "params", "when",     "timeout_s",
					"retry", "on_error", "fallback", "cache",  "position", NULL};
static const char *const retry_keys[] = {"max", "backoff_ms", "factor", "max_backoff_ms", "jitter", NULL};
static const char *const cache_keys[] = {"ttl_s", "key", NULL};
static const char *const position_keys[] = {"x", "y", NULL};
static const char *const edge_keys[] = {"from", "to", "when", "case", NULL};

/* Borrowed; NULL when absent, null counts as wrong. */
static bool has(struct json_object *o, const char *key, struct json_object **out)
{
	*out = NULL;
	return json_object_object_get_ex(o, key, out);
}

static bool read_number(struct sl_reading *rd, struct json_object *o, const char *key, double min, double max,
			bool whole, double *out)
{
	struct json_object *v;
	if (!has(o, key, &v))
		return false;
	bool number = json_object_is_type(v, json_type_int) || (json_object_is_type(v, json_type_double));
	double d = number ? json_object_get_double(v) : 0;
	if (number && d >= min && d <= max && (!whole || d == floor(d))) {
		*out = d;
		return true;
	}
	size_t at = sl_enter(rd, key);
	sl_bad(rd, "'%s' must be a %snumber from %.15g to %.15g", key, whole ? "whole " : "", min, max);
	sl_leave(rd, at);
	return false;
}

/* The string's index in the NULL-terminated list; -1: absent or wrong. */
static int read_choice(struct sl_reading *rd, struct json_object *o, const char *key, const char *const *list)
{
	struct json_object *v;
	if (!has(o, key, &v))
		return -1;
	for (int i = 0; list[i]; i++)
		if (v && json_object_is_type(v, json_type_string) && sl_str_is(sl_json_str(v), list[i]))
			return i;
	size_t at = sl_enter(rd, key);
	SL_BUF(text, 1000);
	for (int i = 0; list[i]; i++)
		sl_buf_addf(&text, "%s\"%s\"", i ? ", " : "", list[i]);
	sl_bad(rd, "'%s' must be one of %s", key, text.data ? text.data : "");
	sl_leave(rd, at);
	return -1;
}

/* An object member with known keys; NULL: absent or wrong. On an object the pointer has moved into it. */
static struct json_object *enter_object(struct sl_reading *rd, struct json_object *o, const char *key,
					const char *const *known, const char *example, size_t *at)
{
	struct json_object *v;
	if (!has(o, key, &v))
		return NULL;
	*at = sl_enter(rd, key);
	if (!v || !json_object_is_type(v, json_type_object)) {
		sl_bad(rd, "'%s' must be an object such as %s", key, example);
		sl_leave(rd, *at);
		return NULL;
	}
	if (known)
		sl_read_keys(rd, v, known, key);
	return v;
}

static struct sl_expr *read_when(struct sl_reading *rd, struct json_object *o)
{
	struct json_object *v;
	struct sl_expr *e = NULL;
	if (!has(o, "when", &v))
		return NULL;
	size_t at = sl_enter(rd, "when");
	if (v && json_object_is_type(v, json_type_string))
		e = sl_read_expr(rd, sl_json_str(v), SL_EXPR_VALUE);
	else
		sl_bad(rd, "'when' must be a string with an expression, such as \"nodes.judge.json.score >= 90\"");
	sl_leave(rd, at);
	return e;
}

static bool good_id(struct sl_str id)
{
	if (id.len == 0 || id.len > 64 || (id.p[0] >= '0' && id.p[0] <= '9') || id.p[0] == '-')
		return false;
	for (size_t i = 0; i < id.len; i++) {
		char c = id.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		      c == '-'))
			return false;
	}
	return true;
}

static void read_id(struct sl_reading *rd, struct sl_graph *g, struct sl_node_def *d, struct json_object *o)
{
	struct sl_str id = sl_json_get_str(o, "id");
	size_t at = sl_enter(rd, "id");
	d->id = "";
	if (!good_id(id)) {
		if (sl_json_get(o, "id"))
			sl_bad(rd,
			       "an id has letters, digits, _ and -, begins with a letter or _ and is at most 64 long");
		else
			sl_bad(rd,
			       "the node has no 'id'; give it a name that is unique in this graph, such as \"step_%u\"",
			       d->index);
	} else {
		uint32_t other = sl_graph_find(g, id);
		if (other != UINT32_MAX) {
			sl_bad(rd, "the id '%.*s' is taken by node %u of this graph; ids are unique", SL_STR_ARG(id),
			       other);
		} else {
			uint32_t slot = sl_id_hash(id) & (g->n_slots - 1);
			while (g->slots[slot])
				slot = (slot + 1) & (g->n_slots - 1);
			d->id = json_object_get_string(sl_json_get(o, "id"));
			g->slots[slot] = d->index + 1;
		}
	}
	sl_leave(rd, at);
}

static void read_type(struct sl_reading *rd, struct sl_node_def *d, struct json_object *o)
{
	struct sl_str name = sl_json_get_str(o, "type");
	const char *z = sl_json_get_z(o, "type");
	size_t at = sl_enter(rd, "type");
	d->type = z && strlen(z) == name.len ? sl_registry_find(rd->registry, z) : NULL;
	if (!d->type && rd->problems->n < SL_LIMIT_DEFINITION_ERRORS) {
		unsigned best = 0;
		const char *near = NULL, *known;
		SL_BUF(all, 4000);
		for (uint32_t i = 0; (known = sl_registry_name_at(rd->registry, i)); i++)
			sl_nearer(rd, name, known, &best, &near);
		sl_registry_names(rd->registry, SL_TYPES_ALL, 0, &all);
		if (!z)
			sl_bad(rd, "the node has no 'type'; it is one of %s", all.data ? all.data : "");
		else if (near)
			sl_bad(rd, "there is no node type '%.*s'; did you mean '%s'?", SL_STR_ARG(sl_brief(name)),
			       near);
		else
			sl_bad(rd, "there is no node type '%.*s'; there are %s", SL_STR_ARG(sl_brief(name)),
			       all.data ? all.data : "");
	} else if (!d->type) {
		sl_bad(rd, "unknown node type");
	}
	sl_leave(rd, at);
}

static void read_retry(struct sl_reading *rd, struct sl_node_def *d, struct json_object *o)
{
	size_t at;
	double v;
	d->retry = (struct sl_retry){.max = 3, .backoff_ms = 500, .factor = 2, .max_backoff_ms = 30000, .jitter = true};
	struct json_object *r = enter_object(rd, o, "retry", retry_keys, "{ \"max\": 3, \"backoff_ms\": 500 }", &at),
			   *jitter;
	if (!r)
		return;
	d->has_retry = true;
	if (read_number(rd, r, "max", 0, 20, true, &v))
		d->retry.max = (uint32_t)v;
	if (read_number(rd, r, "backoff_ms", 0, 3600000, true, &v))
		d->retry.backoff_ms = (uint32_t)v;
	if (read_number(rd, r, "factor", 1, 10, false, &v))
		d->retry.factor = v;
	if (read_number(rd, r, "max_backoff_ms", 0, 3600000, true, &v))
		d->retry.max_backoff_ms = (uint32_t)v;
	if (has(r, "jitter", &jitter) && !json_object_is_type(jitter, json_type_boolean)) {
		size_t in = sl_enter(rd, "jitter");
		sl_bad(rd, "'jitter' must be true or false");
		sl_leave(rd, in);
	}
	d->retry.jitter = sl_json_get_bool(r, "jitter", true);
	sl_leave(rd, at);
}

static bool is_class(const char *key, enum sl_code *code)
{
	*code = SL_OK;
	return strcmp(key, "default") == 0 || (sl_code_from_wire(key, strlen(key), code) && *code != SL_OK);
}

static void read_fallback_by_class(struct sl_reading *rd, struct sl_node_def *d, struct json_object *v)
{
	d->fallback_by_class =
		sl_reading_alloc(rd, (size_t)json_object_object_length(v), sizeof(*d->fallback_by_class));
	if (!d->fallback_by_class)
		return;
	json_object_object_foreach (v, key, value) {
		enum sl_code code;
		size_t at = sl_enter(rd, key);
		(void)is_class(key, &code);
		struct sl_template *t = sl_read_template(rd, value);
		if (code == SL_OK) {
			d->fallback = t;
		} else {
			d->fallback_by_class[d->n_fallback_by_class].code = code;
			d->fallback_by_class[d->n_fallback_by_class++].value = t;
		}
		sl_leave(rd, at);
	}
}

static void read_fallback(struct sl_reading *rd, struct sl_node_def *d, struct json_object *o)
{
	static const char *const choices[] = {"fail", "continue", "fallback", NULL};
	int on_error = read_choice(rd, o, "on_error", choices);
	struct json_object *v;
	bool given = has(o, "fallback", &v);
	d->on_error = on_error >= 0 ? (enum sl_on_error)on_error : given ? SL_ON_ERROR_FALLBACK : SL_ON_ERROR_FAIL;
	size_t at = sl_enter(rd, given ? "fallback" : "on_error");
	if (!given && d->on_error == SL_ON_ERROR_FALLBACK)
		sl_bad(rd, "on_error \"fallback\" needs a 'fallback': a value, or one for each class of error");
	if (given && d->on_error != SL_ON_ERROR_FALLBACK)
		sl_note(rd, "this is never used, because on_error is \"%s\"; write \"fallback\" there",
			choices[d->on_error]);
	if (given && v && json_object_is_type(v, json_type_object) && json_object_object_length(v) > 0) {
		int classes = 0;
		const char *stranger = NULL;
		enum sl_code code;
		json_object_object_foreach (v, key, value) {
			if (is_class(key, &code))
				classes++;
			else
				stranger = key;
		}
		if (!stranger) {
			read_fallback_by_class(rd, d, v);
			sl_leave(rd, at);
			return;
		}
		if (classes)
			sl_note(rd, "'%.*s' is no class of error, so the whole object is taken as the value",
				SL_STR_ARG(sl_brief(sl_str(stranger))));
	}
	if (given)
		d->fallback = sl_read_template(rd, v);
	sl_leave(rd, at);
}

static void read_cache(struct sl_reading *rd, struct sl_node_def *d, struct json_object *o)
{
	size_t at;
	double v;
	struct json_object *c = enter_object(rd, o, "cache", cache_keys, "{ \"ttl_s\": 1800 }", &at), *key;
	if (!c)
		return;
	if (read_number(rd, c, "ttl_s", 1, 31622400, true, &v))
		d->cache_ttl_s = (uint32_t)v;
	else if (!sl_json_get(c, "ttl_s"))
		sl_bad(rd, "'cache' needs 'ttl_s', the seconds an answer stays good");
	if (has(c, "key", &key)) {
		size_t in = sl_enter(rd, "key");
		if (key && json_object_is_type(key, json_type_string))
			d->cache_key = sl_read_template(rd, key);
		else
			sl_bad(rd, "'key' must be a string, such as \"{{ input.topic }}\"");
		sl_leave(rd, in);
	}
	sl_leave(rd, at);
}

static void read_node(struct sl_reading *rd, struct sl_graph *g, uint32_t index, struct json_object *o)
{
	struct sl_node_def *d = &g->nodes[index];
	struct json_object *v;
	double number;
	size_t at;
	d->index = index;
	d->id = "";
	if (!o || !json_object_is_type(o, json_type_object)) {
		sl_bad(rd,
		       "a node is an object such as { \"id\": \"greet\", \"type\": \"template\", \"params\": { … } }");
		return;
	}
	sl_read_keys(rd, o, node_keys, "a node");
	read_id(rd, g, d, o);
	read_type(rd, d, o);
	if (has(o, "name", &v)) {
		struct sl_str name = sl_json_str(v);
		if (v && json_object_is_type(v, json_type_string) && name.len <= 200 && !memchr(name.p, 0, name.len)) {
			d->name = json_object_get_string(v);
		} else {
			at = sl_enter(rd, "name");
			sl_bad(rd, "'name' must be a text of at most 200 bytes");
			sl_leave(rd, at);
		}
	}
	d->when = read_when(rd, o);
	if (read_number(rd, o, "timeout_s", 0.001, 4000000, false, &number))
		d->timeout_ms = (uint32_t)(number * 1000 + 0.5);
	read_retry(rd, d, o);
	read_fallback(rd, d, o);
	read_cache(rd, d, o);
	if (enter_object(rd, o, "position", position_keys, "{ \"x\": 0, \"y\": 0 }", &at)) {
		struct json_object *position = sl_json_get(o, "position");
		(void)read_number(rd, position, "x", -1e7, 1e7, false, &number);
		(void)read_number(rd, position, "y", -1e7, 1e7, false, &number);
		sl_leave(rd, at);
	}
	if (!has(o, "params", &v)) {
		v = json_object_new_object();
		if (!v ||
		    json_object_object_add(o, "params", v) != 0) { /* the document owns it, like the written ones */
			json_object_put(v);
			rd->no_memory = true;
			return;
		}
	}
	if (!v || !json_object_is_type(v, json_type_object)) {
		at = sl_enter(rd, "params");
		sl_bad(rd, "'params' must be an object");
		sl_leave(rd, at);
	} else if (d->type) {
		sl_read_params(rd, g, d, v);
	}
}

/* UINT32_MAX: there is none, which is said. */
static uint32_t read_end(struct sl_reading *rd, const struct sl_graph *g, struct json_object *o, const char *key)
{
	struct sl_str id = sl_json_get_str(o, key);
	uint32_t node = sl_graph_find(g, id);
	if (node != UINT32_MAX)
		return node;
	size_t at = sl_enter(rd, key);
	if (!sl_json_get(o, key) || !json_object_is_type(sl_json_get(o, key), json_type_string)) {
		sl_bad(rd, "the edge needs '%s', the id of a node of this graph", key);
	} else if (rd->problems->n >= SL_LIMIT_DEFINITION_ERRORS) {
		sl_bad(rd, "unknown node"); /* only counted */
	} else {
		unsigned best = 0;
		const char *near = NULL;
		for (uint32_t i = 0; i < g->n_nodes; i++)
			if (*g->nodes[i].id)
				sl_nearer(rd, id, g->nodes[i].id, &best, &near);
		const struct sl_graph *outer = g->parent;
		while (outer && sl_graph_find(outer, id) == UINT32_MAX)
			outer = outer->parent;
		struct sl_str name = sl_brief(id);
		if (outer)
			sl_bad(rd,
			       "'%.*s' is outside of this graph; edges join nodes of one graph, its output can be read "
			       "without one",
			       SL_STR_ARG(name));
		else if (near)
			sl_bad(rd, "there is no node '%.*s' in this graph; did you mean '%s'?", SL_STR_ARG(name), near);
		else
			sl_bad(rd, "there is no node '%.*s' in this graph", SL_STR_ARG(name));
	}
	sl_leave(rd, at);
	return UINT32_MAX;
}

static void read_edge(struct sl_reading *rd, struct sl_graph *g, uint32_t index, struct json_object *o)
{
	struct sl_edge *e = &g->edges[index];
	struct json_object *v;
	e->from = e->to = UINT32_MAX;
	if (!o || !json_object_is_type(o, json_type_object)) {
		sl_bad(rd, "an edge is an object such as { \"from\": \"draft\", \"to\": \"judge\" }");
		return;
	}
	sl_read_keys(rd, o, edge_keys, "an edge");
	uint32_t from = read_end(rd, g, o, "from"), to = read_end(rd, g, o, "to");
	e->when = read_when(rd, o);
	if (has(o, "case", &v)) {
		size_t at = sl_enter(rd, "case");
		if (v && json_object_is_type(v, json_type_string) && json_object_get_string_len(v) > 0)
			e->kase = json_object_get_string(v);
		else
			sl_bad(rd, "'case' must be the name of a case, such as \"yes\"");
		if (e->when)
			sl_bad(rd, "an edge carries 'case' or 'when', not both; put the condition into the case");
		sl_leave(rd, at);
	}
	if (from == UINT32_MAX || to == UINT32_MAX)
		return;
	if (from == to) {
		sl_bad(rd, "'%s' leads to itself; to repeat something, put it into the body of a container node",
		       g->nodes[from].id);
		return;
	}
	e->from = from;
	e->to = to;
}

struct seen {
	uint32_t *slots, mask;
};

/* Two edges between the same nodes say nothing new, unless they stand for different cases. */
static bool seen_before(struct seen *s, const struct sl_graph *g, uint32_t index, uint32_t *other)
{
	const struct sl_edge *e = &g->edges[index];
	uint32_t at = (e->from * 2654435761u ^ e->to * 40503u ^ sl_id_hash(sl_str(e->kase))) & s->mask;
	for (; s->slots[at]; at = (at + 1) & s->mask) {
		const struct sl_edge *o = &g->edges[s->slots[at] - 1];
		if (o->from == e->from && o->to == e->to && sl_str_eq(sl_str(o->kase), sl_str(e->kase))) {
			*other = s->slots[at] - 1;
			return true;
		}
	}
	s->slots[at] = index + 1;
	return false;
}

static uint32_t power_above(uint32_t n)
{
	uint32_t p = 8;
	while (p < n * 2)
		p *= 2;
	return p;
}

/* Fills in and out of all nodes, in the order of the definition. Broken and doubled edges get no place there. */
static void link_edges(struct sl_reading *rd, struct sl_graph *g)
{
	struct seen seen = {.mask = power_above(g->n_edges) - 1};
	seen.slots = sl_reading_alloc(rd, seen.mask + 1, sizeof(*seen.slots));
	uint32_t *places = sl_reading_alloc(rd, (size_t)g->n_edges * 2, sizeof(*places));
	if (!seen.slots || !places)
		return;
	for (uint32_t i = 0; i < g->n_edges; i++) {
		struct sl_edge *e = &g->edges[i];
		uint32_t other;
		if (e->from == UINT32_MAX)
			continue;
		if (seen_before(&seen, g, i, &other)) {
			size_t at = sl_enter_edge(rd, g, i);
			sl_bad(rd, "the same edge stands at %s/edges/%u; leave one out", g->pointer, other);
			sl_leave(rd, at);
			e->from = UINT32_MAX;
			continue;
		}
		g->nodes[e->from].n_out++;
		g->nodes[e->to].n_in++;
	}
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct sl_node_def *d = &g->nodes[i];
		d->in = places;
		d->out = places + d->n_in;
		places += d->n_in + d->n_out;
		d->n_in = d->n_out = 0;
	}
	for (uint32_t i = 0; i < g->n_edges; i++) {
		if (g->edges[i].from == UINT32_MAX)
			continue;
		struct sl_node_def *from = &g->nodes[g->edges[i].from], *to = &g->nodes[g->edges[i].to];
		from->out[from->n_out++] = i;
		to->in[to->n_in++] = i;
	}
}

/* The list and its length, when it is a list that may be read. */
static struct json_object *list_of(struct sl_reading *rd, struct json_object *json, const char *key, uint32_t *counted,
				   uint32_t most, uint32_t *n)
{
	struct json_object *list;
	*n = 0;
	if (!has(json, key, &list))
		return NULL;
	size_t at = sl_enter(rd, key);
	if (!list || !json_object_is_type(list, json_type_array)) {
		sl_bad(rd, "'%s' must be a list", key);
		list = NULL;
	} else if (json_object_array_length(list) > most - *counted) {
		sl_bad(rd, "with these %zu the definition has more than %u %s; split it into several workflows",
		       json_object_array_length(list), most, key);
		list = NULL;
	} else {
		*n = (uint32_t)json_object_array_length(list);
		*counted += *n;
	}
	sl_leave(rd, at);
	return list;
}

struct sl_graph *sl_read_graph(struct sl_reading *rd, struct json_object *json, struct sl_graph *parent,
			       uint32_t parent_node, uint32_t provides)
{
	uint32_t depth = parent ? parent->depth + 1 : 0;
	if (depth > SL_LIMIT_NESTING) {
		sl_bad(rd, "containers are nested deeper than %d; move the inner ones into a workflow of their own",
		       SL_LIMIT_NESTING);
		return NULL;
	}
	if (parent)
		sl_read_keys(rd, json, body_keys, "a body");
	struct sl_graph *g = sl_reading_alloc(rd, 1, sizeof(*g));
	if (!g)
		return NULL;
	*g = (struct sl_graph){
		.parent = parent, .parent_node = parent_node, .depth = depth, .provides = provides, .json = json};
	g->pointer = sl_reading_str(rd, sl_buf_str(&rd->pointer));

	uint32_t n, n_edges;
	size_t before = rd->problems->errors;
	struct json_object *nodes = list_of(rd, json, "nodes", &rd->w->n_nodes, SL_LIMIT_NODES, &n);
	if (n == 0 && rd->problems->errors == before)
		sl_bad(rd, "%s needs 'nodes', a list with at least one node", parent ? "a body" : "the definition");
	struct json_object *edges = list_of(rd, json, "edges", &rd->n_edges, SL_LIMIT_EDGES, &n_edges);
	if (!nodes)
		return g; /* edges would only be said to lead nowhere */
	g->n_slots = power_above(n);
	g->slots = sl_reading_alloc(rd, g->n_slots, sizeof(*g->slots));
	g->nodes = sl_reading_alloc(rd, n, sizeof(*g->nodes));
	g->edges = sl_reading_alloc(rd, n_edges, sizeof(*g->edges));
	if (!g->pointer || !g->slots || !g->nodes || !g->edges) {
		g->n_slots = 0;
		return g;
	}
	for (uint32_t i = 0; i < n; i++)
		g->nodes[i].id = ""; /* may be looked at by a body before it is read */
	g->n_nodes = n;
	g->n_edges = n_edges;
	size_t at = sl_enter(rd, "nodes");
	for (uint32_t i = 0; i < n; i++) {
		size_t in = sl_enter_index(rd, i);
		read_node(rd, g, i, json_object_array_get_idx(nodes, i));
		sl_leave(rd, in);
	}
	sl_leave(rd, at);
	at = sl_enter(rd, "edges");
	for (uint32_t i = 0; i < n_edges; i++) {
		size_t in = sl_enter_index(rd, i);
		read_edge(rd, g, i, json_object_array_get_idx(edges, i));
		sl_leave(rd, in);
	}
	sl_leave(rd, at);
	at = rd->pointer.len;
	sl_leave(rd, 0); /* what follows names whole pointers */
	link_edges(rd, g);
	sl_buf_adds(&rd->pointer, g->pointer);
	return g;
}

static void read_head(struct sl_reading *rd)
{
	struct json_object *doc = rd->w->doc, *v;
	size_t at = sl_enter(rd, "sluice");
	if (!has(doc, "sluice", &v))
		sl_bad(rd, "write \"sluice\": 1, the version of the format");
	else if (!v || !json_object_is_type(v, json_type_int) || json_object_get_int64(v) != 1)
		sl_bad(rd, "this server reads version 1 of the format: write \"sluice\": 1");
	sl_leave(rd, at);

	at = sl_enter(rd, "name");
	struct sl_str name = sl_json_get_str(doc, "name");
	bool good = name.len > 0 && name.len <= 64 && name.p[0] != '_' && name.p[0] != '-';
	for (size_t i = 0; i < name.len && good; i++)
		good = (name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') ||
		       name.p[i] == '_' || name.p[i] == '-';
	if (has(doc, "name", &v) && !good)
		sl_bad(rd, "a name has small letters, digits, _ and -, begins with a letter or digit and is at most 64 "
			   "long");
	rd->w->name = sl_reading_str(rd, good ? name : SL_STR(""));
	sl_leave(rd, at);

	at = sl_enter(rd, "description");
	if (has(doc, "description", &v) && (!v || !json_object_is_type(v, json_type_string)))
		sl_bad(rd, "'description' must be a text");
	rd->w->description = sl_reading_str(rd, sl_json_get_str(doc, "description"));
	sl_leave(rd, at);
}

static void read_inputs(struct sl_reading *rd)
{
	size_t at;
	struct json_object *v =
		enter_object(rd, rd->w->doc, "inputs", NULL, "{ \"type\": \"object\", \"properties\": { … } }", &at);
	if (!v)
		return;
	struct json_object *type = sl_json_get(v, "type");
	if (type && !sl_str_is(sl_json_str(type), "object")) {
		size_t in = sl_enter(rd, "type");
		sl_bad(rd, "the inputs of a run are an object: write \"type\": \"object\" and describe them in "
			   "\"properties\"");
		sl_leave(rd, in);
	}
	rd->w->inputs_json = v;
	if (sl_schema_compile(v, sl_buf_str(&rd->pointer), &rd->w->inputs, rd->problems) != SL_OK)
		rd->no_memory = true;
	sl_leave(rd, at);
}

/* "breaker": false, or what differs from the usual. */
static void read_breaker(struct sl_reading *rd, struct json_object *limits)
{
	struct sl_breaker_limits *b = &rd->w->breaker;
	struct json_object *v;
	size_t at;
	double d;
	*b = (struct sl_breaker_limits){.token_surge = 3,
					.velocity_tps = 1000,
					.window_s = 5,
					.similarity = 0.95,
					.entropy = 0.1,
					.repeats = 3,
					.depth = 10,
					.run_s = 600};
	if (!limits || !has(limits, "breaker", &v))
		return;
	if (v && json_object_is_type(v, json_type_boolean)) {
		b->off = !json_object_get_boolean(v);
		return;
	}
	struct json_object *o = enter_object(rd, limits, "breaker", breaker_keys, "{ \"run_s\": 600 }, or false", &at);
	if (!o)
		return;
	if (read_number(rd, o, "token_surge", 1, 1e6, false, &d))
		b->token_surge = d;
	if (read_number(rd, o, "velocity_tps", 1, 1e9, false, &d))
		b->velocity_tps = d;
	if (read_number(rd, o, "window_s", 0.1, 3600, false, &d))
		b->window_s = d;
	if (read_number(rd, o, "similarity", 0.1, 1, false, &d))
		b->similarity = d;
	if (read_number(rd, o, "entropy", 0, 1, false, &d))
		b->entropy = d;
	if (read_number(rd, o, "repeats", 2, 100, true, &d))
		b->repeats = (uint32_t)d;
	if (read_number(rd, o, "depth", 1, 100, true, &d))
		b->depth = (uint32_t)d;
	if (read_number(rd, o, "run_s", 1, 31622400, true, &d))
		b->run_s = (uint32_t)d;
	sl_leave(rd, at);
}

static void read_limits(struct sl_reading *rd)
{
	static const char *const durabilities[] = {"step", "run", "none", NULL};
	size_t at;
	double v;
	int durability = read_choice(rd, rd->w->doc, "durability", durabilities);
	rd->w->durability = durability >= 0 ? (enum sl_durability)durability : SL_DURABILITY_STEP;
	struct json_object *limits = enter_object(rd, rd->w->doc, "limits", limits_keys, "{ \"timeout_s\": 600 }", &at);
	read_breaker(rd, limits);
	if (!limits)
		return;
	if (read_number(rd, limits, "timeout_s", 0.001, 31622400, false, &v))
		rd->w->timeout_s = (uint32_t)ceil(v);
	if (read_number(rd, limits, "max_tokens", 1, 1e12, true, &v))
		rd->w->max_tokens = (uint64_t)v;
	if (read_number(rd, limits, "max_cost_usd", 0.000001, 1e9, false, &v))
		rd->w->max_cost_microusd = (int64_t)llround(v * 1e6);
	sl_leave(rd, at);
}

void sl_read_document(struct sl_reading *rd)
{
	struct sl_workflow *w = rd->w;
	size_t at;
	sl_read_keys(rd, w->doc, document_keys, "a definition");
	read_head(rd);
	read_inputs(rd);
	read_limits(rd);
	w->root = sl_read_graph(rd, w->doc, NULL, 0, 0);
	struct json_object *outputs =
		enter_object(rd, w->doc, "outputs", NULL, "{ \"verdict\": \"{{ nodes.judge.text }}\" }", &at);
	if (outputs) {
		w->outputs = sl_read_template(rd, outputs);
		sl_leave(rd, at);
	}
	if (!w->root || rd->no_memory)
		return;
	sl_graph_order(rd, w->root);
	sl_graph_examine(rd, w->root);
	if (rd->stored)
		return;
	sl_graph_refs(rd, w->root);
	sl_outputs_refs(rd);
}
