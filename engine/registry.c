/* engine/registry.c: node types by name, with their schemas compiled and their x- keywords read. Whatever is wrong with
 * a type is found here, at start-up, and never when a workflow runs. */
#include <stdlib.h>

#include "engine/graph_priv.h"

#define REGISTRY_BYTES (4u << 20)

struct entry {
	const struct sl_node_type *type;
	struct sl_schema *schema;
	struct sl_mark *marks;
};

struct sl_registry {
	struct entry *entries;
	uint32_t n;
	struct sl_arena arena;
	struct sl_bytes *json;
};

static enum sl_code read_provides(struct json_object *list, uint32_t *out, struct sl_error *err)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} names[] = {{"loop", SL_PROVIDES_LOOP},
		     {"item", SL_PROVIDES_ITEM},
		     {"index", SL_PROVIDES_INDEX},
		     {"body", SL_PROVIDES_BODY}};
	if (!json_object_is_type(list, json_type_array))
		return sl_fail(err, SL_INVALID, "x-provides must be a list of names");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct sl_str name = sl_json_str(json_object_array_get_idx(list, i));
		size_t k = 0;
		while (k < SL_COUNT_OF(names) && !sl_str_is(name, names[k].name))
			k++;
		if (k == SL_COUNT_OF(names))
			return sl_fail(err, SL_INVALID, "x-provides knows loop, item, index and body, not '%.*s'",
				       SL_STR_ARG(sl_brief(name)));
		*out |= names[k].bit;
	}
	return SL_OK;
}

static enum sl_code read_marks(struct sl_arena *a, struct json_object *schema, unsigned depth, struct sl_mark *m,
			       struct sl_error *err)
{
	struct json_object *v;
	enum sl_code rc = SL_OK;
	if ((v = sl_json_get(schema, "x-expr"))) {
		m->code = sl_str_is(sl_json_str(v), "code");
		if (!m->code && !sl_str_is(sl_json_str(v), "value"))
			return sl_fail(err, SL_INVALID, "x-expr must be \"value\" or \"code\"");
		m->expr = m->rewrites = true;
	}
	if ((v = sl_json_get(schema, "x-graph"))) {
		m->graph = json_object_get_boolean(v);
		if (m->graph && depth != 1)
			return sl_fail(err, SL_INVALID, "x-graph must stand at a parameter itself, not deeper");
		m->rewrites |= m->graph;
	}
	m->constant = sl_json_get_bool(schema, "x-constant", false);
	m->schema = sl_json_get_bool(schema, "x-schema", false);
	if ((v = sl_json_get(schema, "x-provides")) && (rc = read_provides(v, &m->provides, err)) != SL_OK)
		return rc;
	if (m->provides && !m->expr && !m->graph && depth) /* at the top it is for a graph that the type makes */
		return sl_fail(err, SL_INVALID, "x-provides belongs to x-graph or x-expr");

	struct json_object *items = sl_json_get(schema, "items");
	if (items && json_object_is_type(items, json_type_object)) {
		m->items = sl_arena_alloc(a, sizeof(*m->items));
		if (!m->items)
			return sl_fail(err, SL_NO_MEMORY, "reading a schema");
		rc = read_marks(a, items, depth + 1, m->items, err);
		m->rewrites |= m->items->rewrites;
	}
	struct json_object *properties = sl_json_get(schema, "properties");
	if (rc != SL_OK || !properties || !json_object_is_type(properties, json_type_object))
		return rc;
	m->sub = sl_arena_array(a, (size_t)json_object_object_length(properties), sizeof(*m->sub));
	if (!m->sub)
		return sl_fail(err, SL_NO_MEMORY, "reading a schema");
	json_object_object_foreach (properties, key, member) {
		struct sl_mark *s = &m->sub[m->n_sub++];
		s->key = sl_arena_str(a, sl_str(key));
		if (!s->key)
			return sl_fail(err, SL_NO_MEMORY, "reading a schema");
		rc = read_marks(a, member, depth + 1, s, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "'%s'", key);
		m->rewrites |= s->rewrites;
	}
	return SL_OK;
}

static bool good_name(const char *name)
{
	size_t n = strlen(name);
	return n > 0 && n < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n && name[0] >= 'a';
}

static enum sl_code read_schema(struct sl_registry *r, struct entry *e, struct json_object **json, struct sl_error *err)
{
	struct sl_problems problems = {0};
	enum sl_code rc = sl_json_parse(sl_str(e->type->params_schema), json, err);
	if (rc != SL_OK)
		return rc;
	if (!sl_str_is(sl_json_get_str(*json, "type"), "object"))
		return sl_fail(err, SL_INVALID, "must be of type object");
	rc = sl_schema_compile(*json, SL_STR(""), &e->schema, &problems);
	if (rc == SL_OK && problems.n) /* a warning is none here: our own schemas have no unknown keywords */
		rc = sl_fail(err, SL_INVALID, "%s: %s", problems.items[0].pointer, problems.items[0].message);
	else if (rc != SL_OK)
		rc = sl_fail(err, rc, "could not be compiled");
	sl_problems_fini(&problems);
	if (rc != SL_OK)
		return rc;
	e->marks = sl_arena_alloc(&r->arena, sizeof(*e->marks));
	if (!e->marks)
		return sl_fail(err, SL_NO_MEMORY, "reading a schema");
	rc = read_marks(&r->arena, *json, 0, e->marks, err);
	unsigned graphs = 0;
	for (uint32_t i = 0; rc == SL_OK && i < e->marks->n_sub; i++)
		if (e->marks->sub[i].graph && ++graphs > 1)
			rc = sl_fail(err, SL_INVALID, "has more than one x-graph");
	return rc;
}

static enum sl_code add_type(struct sl_registry *r, const struct sl_node_type *t, struct sl_buf *json,
			     struct sl_error *err)
{
	static const char *const effects[] = {
		[SL_EFFECTS_NONE] = "none", [SL_EFFECTS_MODEL] = "model", [SL_EFFECTS_EXTERNAL] = "external"};
	SL_AUTO_JSON schema = NULL;
	const char *lacks = !t->name || !good_name(t->name)                ? "name"
			    : !t->summary || !*t->summary                  ? "summary"
			    : !t->params_schema                            ? "params_schema"
			    : !t->start                                    ? "start"
			    : (unsigned)t->effects >= SL_COUNT_OF(effects) ? "effects"
									   : NULL;
	if (lacks)
		return sl_fail(err, SL_INVALID, "node type '%s' has no proper `%s`", t->name ? t->name : "(nameless)",
			       lacks);
	if (sl_registry_find(r, t->name))
		return sl_fail(err, SL_INVALID, "two node types are called '%s'", t->name);
	struct entry *e = &r->entries[r->n++];
	e->type = t;
	enum sl_code rc = read_schema(r, e, &schema, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "params_schema of node type '%s'", t->name);
	bool container = t->expand;
	for (uint32_t i = 0; i < e->marks->n_sub; i++)
		container |= e->marks->sub[i].graph;
	if (container != (t->body != NULL))
		return sl_fail(err, SL_INVALID, "node type '%s' %s", t->name,
			       container ? "has bodies and no `body` to hear of them" : "has `body` and no graph");
	sl_buf_json_comma(json);
	sl_buf_addc(json, '{');
	sl_buf_json_kz(json, "name", t->name);
	sl_buf_json_kz(json, "summary", t->summary);
	sl_buf_json_kz(json, "effects", effects[t->effects]);
	sl_buf_json_key(json, "params_schema");
	sl_json_write(json, schema);
	sl_buf_addc(json, '}');
	return SL_OK;
}

enum sl_code sl_registry_new(const struct sl_node_type *const *types, struct sl_registry **out, struct sl_error *err)
{
	SL_AUTO(sl_registry) r = calloc(1, sizeof(*r));
	size_t n = 0;
	while (types[n])
		n++;
	if (!r || !(r->entries = calloc(n + 1, sizeof(*r->entries))))
		return sl_fail(err, SL_NO_MEMORY, "the table of node types");
	sl_arena_init(&r->arena, REGISTRY_BYTES);
	SL_BUF(json, REGISTRY_BYTES);
	sl_buf_adds(&json, "{\"items\":[");
	for (size_t i = 0; i < n; i++) {
		enum sl_code rc = add_type(r, types[i], &json, err);
		if (rc != SL_OK)
			return rc;
	}
	sl_buf_adds(&json, "],\"next_cursor\":null}");
	r->json = sl_buf_bytes(&json);
	if (!r->json)
		return sl_fail(err, SL_NO_MEMORY, "the table of node types");
	*out = SL_TAKE(r);
	return SL_OK;
}

void sl_registry_free(struct sl_registry *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; r->entries && i < r->n; i++)
		sl_schema_free(r->entries[i].schema);
	free(r->entries);
	sl_arena_fini(&r->arena);
	sl_bytes_unref(r->json);
	free(r);
}

const struct sl_node_type *sl_registry_find(const struct sl_registry *r, const char *name)
{
	for (uint32_t i = 0; i < r->n; i++) /* two dozen at most: a hash would cost more */
		if (strcmp(r->entries[i].type->name, name) == 0)
			return r->entries[i].type;
	return NULL;
}

static const struct entry *entry_of(const struct sl_registry *r, const struct sl_node_type *t)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->entries[i].type == t)
			return &r->entries[i];
	return NULL;
}

const struct sl_schema *sl_registry_schema(const struct sl_registry *r, const struct sl_node_type *t)
{
	const struct entry *e = entry_of(r, t);
	return e ? e->schema : NULL;
}

const struct sl_mark *sl_registry_marks(const struct sl_registry *r, const struct sl_node_type *t)
{
	const struct entry *e = entry_of(r, t);
	return e ? e->marks : NULL;
}

const char *sl_registry_name_at(const struct sl_registry *r, uint32_t i)
{
	return i < r->n ? r->entries[i].type->name : NULL;
}

void sl_registry_names(const struct sl_registry *r, enum sl_registry_kind kind, uint32_t provides, struct sl_buf *out)
{
	size_t before = out->len;
	for (uint32_t i = 0; i < r->n; i++) {
		const struct entry *e = &r->entries[i];
		bool fits = kind == SL_TYPES_ALL || (kind == SL_TYPES_CASES && e->type->cases);
		for (uint32_t k = 0; kind == SL_TYPES_PROVIDING && k < e->marks->n_sub; k++)
			fits |= e->marks->sub[k].graph && (e->marks->sub[k].provides & provides);
		if (fits)
			sl_buf_addf(out, "%s`%s`", out->len == before ? "" : ", ", e->type->name);
	}
	if (out->len == before)
		sl_buf_adds(out, "(no node type of this server)");
}

struct sl_bytes *sl_registry_json(const struct sl_registry *r)
{
	return sl_bytes_ref(r->json);
}
