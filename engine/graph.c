/* engine/graph.c: the life of a parsed workflow, and the door to parsing. What is too large is refused here, by one
 * pass over the text, before anything is built of it. */
#include "engine/graph.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "engine/graph_priv.h"

#define WORKFLOW_BYTES (32u << 20) /* cap of the arena; a definition with 1,000 nodes in a row of limits takes 6 MB */

static void free_graph(struct sl_graph *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; i < g->n_edges; i++)
		sl_expr_free(g->edges[i].when);
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		struct sl_node_def *d = &g->nodes[i];
		sl_template_free(d->params);
		for (uint32_t k = 0; k < d->n_exprs; k++)
			sl_expr_free(d->exprs[k].expr);
		free_graph(d->body);
		sl_expr_free(d->when);
		sl_template_free(d->fallback);
		for (uint32_t k = 0; k < d->n_fallback_by_class; k++)
			sl_template_free(d->fallback_by_class[k].value);
		sl_template_free(d->cache_key);
	}
}

struct sl_workflow *sl_workflow_ref(struct sl_workflow *w)
{
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

void sl_workflow_unref(struct sl_workflow *w)
{
	if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
		return;
	free_graph(w->root);
	sl_template_free(w->outputs);
	sl_schema_free(w->inputs);
	sl_bytes_unref(w->text);
	json_object_put(w->expanded);
	json_object_put(w->doc);
	sl_arena_fini(&w->arena);
	free(w);
}

uint32_t sl_graph_find(const struct sl_graph *g, struct sl_str id)
{
	if (!g->n_slots)
		return UINT32_MAX;
	for (uint32_t at = sl_id_hash(id) & (g->n_slots - 1); g->slots[at]; at = (at + 1) & (g->n_slots - 1))
		if (sl_str_is(id, g->nodes[g->slots[at] - 1].id))
			return g->slots[at] - 1;
	return UINT32_MAX;
}

bool sl_graph_is_ancestor(const struct sl_graph *g, uint32_t a, uint32_t b)
{
	return g->ancestors && (g->ancestors[(size_t)b * g->n_words + a / 64] >> (a % 64) & 1);
}

const struct sl_expr *sl_node_def_expr(const struct sl_node_def *d, const char *pointer)
{
	for (uint32_t i = 0; i < d->n_exprs; i++)
		if (strcmp(d->exprs[i].pointer, pointer) == 0)
			return d->exprs[i].expr;
	return NULL;
}

size_t sl_enter(struct sl_reading *rd, const char *key)
{
	size_t at = rd->pointer.len;
	struct sl_str k = sl_str(key);
	if (k.len > 200) /* such a key leads nowhere anyway, and a hundred problems must not repeat a megabyte of it */
		k.len = sl_utf8_cut(k.p, k.len, 200);
	sl_pointer_add(&rd->pointer, k);
	return at;
}

size_t sl_enter_index(struct sl_reading *rd, size_t index)
{
	size_t at = rd->pointer.len;
	sl_pointer_add_index(&rd->pointer, index);
	return at;
}

void sl_leave(struct sl_reading *rd, size_t at)
{
	rd->pointer.len = at;
	if (rd->pointer.data)
		rd->pointer.data[at] = 0;
}

size_t sl_enter_node(struct sl_reading *rd, const struct sl_graph *g, uint32_t node)
{
	size_t at = rd->pointer.len;
	sl_buf_addf(&rd->pointer, "%s/nodes/%u", g->pointer, node);
	return at;
}

size_t sl_enter_edge(struct sl_reading *rd, const struct sl_graph *g, uint32_t edge)
{
	size_t at = rd->pointer.len;
	sl_buf_addf(&rd->pointer, "%s/edges/%u", g->pointer, edge);
	return at;
}

void *sl_reading_alloc(struct sl_reading *rd, size_t n, size_t each)
{
	void *p = sl_arena_array(&rd->w->arena, n, each);
	rd->no_memory |= !p;
	return p;
}

char *sl_reading_str(struct sl_reading *rd, struct sl_str s)
{
	char *p = sl_arena_str(&rd->w->arena, s);
	rd->no_memory |= !p;
	return p;
}

struct sl_str sl_brief(struct sl_str s)
{
	return sl_str_n(s.p, sl_utf8_cut(s.p, s.len, 64));
}

void sl_nearer(struct sl_reading *rd, struct sl_str name, const char *known, unsigned *best, const char **near)
{
	size_t len = strlen(known), most = name.len < 3 ? 1 : name.len < 8 ? 2 : 3;
	if (name.len > 64 || len > name.len + most || name.len > len + most || rd->distances >= SL_READING_DISTANCES)
		return;
	rd->distances++;
	unsigned d = sl_str_distance(name, sl_str(known));
	if (d <= most && d < name.len && (!*near || d < *best))
		*best = d, *near = known;
}

void sl_read_keys(struct sl_reading *rd, struct json_object *o, const char *const *known, const char *of)
{
	json_object_object_foreach (o, key, value) {
		size_t k = 0;
		unsigned best = 0;
		const char *near = NULL;
		while (known[k] && strcmp(known[k], key) != 0)
			k++;
		if (known[k])
			continue;
		if (rd->problems->n >= SL_LIMIT_DEFINITION_ERRORS) {
			sl_bad(rd, "unknown key"); /* only counted, so let it be cheap */
			continue;
		}
		size_t at = sl_enter(rd, key);
		for (k = 0; known[k]; k++)
			sl_nearer(rd, sl_str(key), known[k], &best, &near);
		struct sl_str name = sl_brief(sl_str(key));
		if (near) {
			sl_bad(rd, "'%.*s' is no key of %s; did you mean '%s'?", SL_STR_ARG(name), of, near);
		} else {
			SL_BUF(list, 1000);
			for (k = 0; known[k]; k++)
				sl_buf_addf(&list, "%s%s", k ? ", " : "", known[k]);
			sl_bad(rd, "'%.*s' is no key of %s; it may have: %s", SL_STR_ARG(name), of,
			       list.data ? list.data : "");
		}
		sl_leave(rd, at);
	}
}

/* Counts what json-c would have to build: a megabyte of "{}," takes it a quarter of a second and 250 MB. */
static bool small_enough(struct sl_reading *rd, struct sl_str text)
{
	size_t values = 0, braces = 0;
	bool inside = false;
	if (text.len > SL_LIMIT_BODY_BYTES) {
		sl_bad(rd, "the definition has %zu bytes, at most %u are allowed; keep large texts in the run's inputs",
		       text.len, SL_LIMIT_BODY_BYTES);
		return false;
	}
	for (size_t i = 0; i < text.len; i++) {
		char c = text.p[i];
		if (c == '"')
			inside = !inside;
		else if (c == '\\')
			i++;
		else if (c == '{' && inside && i + 1 < text.len && text.p[i + 1] == '{')
			braces++, i++;
		else if (!inside && (c == '{' || c == '[' || c == ','))
			values++;
	}
	if (values > SL_LIMIT_DEFINITION_VALUES)
		sl_bad(rd,
		       "the definition has more than %d JSON values; at most %d nodes are allowed, and data belongs in "
		       "the run's inputs",
		       SL_LIMIT_DEFINITION_VALUES, SL_LIMIT_NODES);
	else if (braces > SL_LIMIT_DEFINITION_EXPRS)
		sl_bad(rd, "the definition has more than %d {{ expressions }}; move repeated work into one node",
		       SL_LIMIT_DEFINITION_EXPRS);
	else
		return rd->n_exprs = (uint32_t)braces, true;
	return false;
}

static void read_text(struct sl_reading *rd, struct sl_str text)
{
	struct sl_error err;
	if (!small_enough(rd, text))
		return;
	enum sl_code rc = sl_json_parse(text, &rd->w->doc, &err);
	if (rc == SL_NO_MEMORY)
		rd->no_memory = true;
	else if (rc != SL_OK)
		sl_bad(rd, "the definition is no valid JSON: %s", err.text);
	else if (!rd->w->doc || !json_object_is_type(rd->w->doc, json_type_object))
		sl_bad(rd, "a definition is a JSON object, { \"sluice\": 1, \"nodes\": [ … ] }, and not %s",
		       sl_json_type_name(rd->w->doc));
	else
		sl_read_document(rd);
}

static enum sl_code parse(const struct sl_registry *r, struct sl_str text, bool stored, struct sl_workflow **out,
			  struct sl_problems *problems)
{
	SL_AUTO(sl_workflow) w = calloc(1, sizeof(*w));
	if (!w)
		return SL_NO_MEMORY;
	atomic_init(&w->refs, 1);
	sl_arena_init(&w->arena, WORKFLOW_BYTES);
	struct sl_reading rd = {.registry = r, .w = w, .problems = problems, .stored = stored};
	size_t errors = problems->errors;
	uint64_t losses = sl_json_losses();
	sl_buf_init(&rd.pointer, 64u << 10);
	read_text(&rd, text);
	sl_buf_fini(&rd.pointer);
	if (rd.no_memory || sl_json_losses() != losses)
		return SL_NO_MEMORY;
	if (problems->errors != errors)
		return SL_OK;
	w->text = sl_bytes_new(text.p, text.len);
	if (!w->text)
		return SL_NO_MEMORY;
	*out = SL_TAKE(w);
	return SL_OK;
}

enum sl_code sl_workflow_parse(const struct sl_registry *r, struct sl_str text, struct sl_workflow **out,
			       struct sl_problems *problems)
{
	return parse(r, text, false, out, problems);
}

enum sl_code sl_workflow_parse_stored(const struct sl_registry *r, struct sl_str text, struct sl_workflow **out,
				      struct sl_problems *problems)
{
	return parse(r, text, true, out, problems);
}

struct sl_workflow *sl_workflow_husk(struct sl_str text)
{
	SL_AUTO(sl_workflow) w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	atomic_init(&w->refs, 1);
	sl_arena_init(&w->arena, WORKFLOW_BYTES);
	w->breaker.off = true;
	w->name = sl_arena_str(&w->arena, SL_STR(""));
	w->description = sl_arena_str(&w->arena, SL_STR(""));
	w->root = sl_arena_array(&w->arena, 1, sizeof(*w->root));
	w->text = sl_bytes_new(text.p, text.len);
	if (!w->name || !w->description || !w->root || !w->text)
		return NULL;
	w->root->pointer = w->name;
	return SL_TAKE(w);
}
