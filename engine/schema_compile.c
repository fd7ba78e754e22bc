/* engine/schema_compile.c: a JSON Schema becomes rules. The schema may come from a stranger: one that leads in circles
 * is ended by the depth, a regular expression that would make regcomp() eat memory is refused. */
#include "engine/schema_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PATTERN_BYTES  512
#define PATTERN_REPEAT 2000 /* product of all {m,n} in a pattern: regcomp() copies that often */

const struct sl_type_name sl_type_names[7] = {
	{"null", "null", T_NULL},
	{"boolean", "true or false", T_BOOLEAN},
	{"integer", "a whole number", T_INTEGER},
	{"number", "a number", T_NUMBER | T_INTEGER},
	{"string", "a text", T_STRING},
	{"array", "a list", T_ARRAY},
	{"object", "an object", T_OBJECT},
};

void sl_schema_free(struct sl_schema *s)
{
	if (!s)
		return;
	for (struct pattern *p = s->all_patterns; p; p = p->next_of_all)
		regfree(&p->regex);
	json_object_put(s->source);
	sl_arena_fini(&s->arena);
	free(s);
}

struct compiler {
	struct sl_schema *schema;
	struct sl_problems *problems;
	struct sl_buf pointer;
	unsigned depth;
	bool no_memory, failed;
};

#define PROBLEM(c, ...)                                                                                                \
	do {                                                                                                           \
		(c)->failed = true;                                                                                    \
		sl_problems_add((c)->problems, false, sl_buf_str(&(c)->pointer), __VA_ARGS__);                         \
	} while (0)

static void *take(struct compiler *c, size_t n, size_t each)
{
	void *p = sl_arena_array(&c->schema->arena, n, each);
	if (!p)
		c->no_memory = true;
	return p;
}

void sl_place_push(struct sl_buf *pointer, struct sl_str key)
{
	size_t len = pointer->len;
	sl_pointer_add(pointer, key);
	if (pointer->failed) { /* the place is cut, the check goes on */
		pointer->failed = false;
		pointer->len = len;
	}
}

void sl_place_pop(struct sl_buf *pointer, size_t len)
{
	pointer->len = len;
	if (pointer->data)
		pointer->data[len] = 0;
}

/* The name sl_schema_nearest to `word`, when near enough to be what was meant. */
const char *sl_schema_nearest(struct sl_str word, const char *(*name)(const void *arg, size_t i), const void *arg,
			      size_t n)
{
	const char *best = NULL;
	unsigned least = word.len < 4 ? 2 : word.len < 8 ? 3 : 4;
	for (size_t i = 0; i < n; i++) {
		unsigned d = sl_str_distance(word, sl_str(name(arg, i)));
		if (d < least && d < word.len) {
			least = d;
			best = name(arg, i);
		}
	}
	return best;
}

static struct rule *compile(struct compiler *c, struct json_object *o);

static struct rule *compile_at(struct compiler *c, struct json_object *o, struct sl_str key)
{
	size_t len = c->pointer.len;
	sl_place_push(&c->pointer, key);
	struct rule *r = compile(c, o);
	sl_place_pop(&c->pointer, len);
	return r;
}

static struct rule *compile_item(struct compiler *c, struct json_object *o, size_t i)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%zu", i);
	return compile_at(c, o, sl_str_n(text, (size_t)len));
}

/* \d, \w and \s become what POSIX knows. false: it asks for too much. */
static bool translate(struct sl_str text, struct sl_buf *out, const char **why)
{
	uint64_t product = 1;
	bool bracket = false;
	for (size_t i = 0; i < text.len; i++) {
		char ch = text.p[i];
		char after = i + 1 < text.len ? text.p[i + 1] : 0;
		if (ch == '\\' && after) {
			i++;
			const char *set = after == 'd'   ? "0-9"
					  : after == 'w' ? "A-Za-z0-9_"
					  : after == 's' ? " \t\r\n\v\f"
							 : NULL;
			if (after >= '1' && after <= '9' && !bracket) {
				*why = "it refers back to a group";
				return false;
			}
			if (set)
				sl_buf_addf(out, bracket ? "%s" : "[%s]", set);
			else if (after == 'n' || after == 't' || after == 'r')
				sl_buf_addc(out, after == 'n' ? '\n' : after == 't' ? '\t' : '\r');
			else if (bracket && after != ']')
				sl_buf_addc(out, after);
			else
				sl_buf_addc(out, '\\'), sl_buf_addc(out, after);
			continue;
		}
		if (bracket) {
			if (ch == '[' && (after == ':' || after == '.' || after == '=')) { /* [:alpha:] */
				const char *close = memchr(text.p + i + 2, ']', text.len - i - 2);
				size_t n = close ? (size_t)(close - text.p) - i + 1 : 1;
				sl_buf_add(out, text.p + i, n);
				i += n - 1;
				continue;
			}
			bracket = ch != ']';
		} else if (ch == '[') {
			bracket = true;
			sl_buf_addc(out, ch);
			if (after == '^')
				sl_buf_addc(out, text.p[++i]);
			if (i + 1 < text.len && text.p[i + 1] == ']')
				sl_buf_addc(out, text.p[++i]);
			continue;
		} else if (ch == '(' && after == '?') {
			*why = "groups that begin with (? are not known to POSIX";
			return false;
		} else if (ch == '{') {
			uint64_t most = 0, v = 0;
			for (size_t k = i + 1; k < text.len && text.p[k] != '}'; k++) {
				v = text.p[k] >= '0' && text.p[k] <= '9' && v < 100000
					    ? v * 10 + (uint64_t)(text.p[k] - '0')
					    : 0;
				most = v > most ? v : most;
			}
			product *= most ? most : 1;
			if (product > PATTERN_REPEAT) {
				*why = "its {m,n} repeat too often";
				return false;
			}
		}
		sl_buf_addc(out, ch);
	}
	return true;
}

static struct pattern *compile_pattern(struct compiler *c, struct sl_str text)
{
	const char *why = NULL;
	char reason[128];
	SL_BUF(posix, PATTERN_BYTES * 16);
	if (text.len > PATTERN_BYTES) {
		PROBLEM(c, "the pattern is longer than %d bytes", PATTERN_BYTES);
		return NULL;
	}
	if (!translate(text, &posix, &why)) {
		PROBLEM(c, "the pattern cannot be used: %s", why);
		return NULL;
	}
	struct pattern *p = take(c, 1, sizeof(*p));
	char *copy = sl_arena_str(&c->schema->arena, text);
	if (!p || !copy || posix.failed) {
		c->no_memory = true;
		return NULL;
	}
	p->text = copy;
	int rc = regcomp(&p->regex, posix.data ? posix.data : "", REG_EXTENDED | REG_NOSUB);
	if (rc != 0) {
		(void)regerror(rc, &p->regex, reason, sizeof(reason)); /* cut when longer */
		PROBLEM(c, "the pattern is no POSIX extended regular expression: %s", reason);
		return NULL;
	}
	p->next_of_all = c->schema->all_patterns;
	c->schema->all_patterns = p;
	return p;
}

static const char *type_name(const void *arg, size_t i)
{
	return sl_type_names[i].name;
}

static unsigned read_type(struct compiler *c, struct json_object *o)
{
	struct sl_str name = sl_json_str(o);
	for (size_t i = 0; i < SL_COUNT_OF(sl_type_names); i++)
		if (sl_str_is(name, sl_type_names[i].name))
			return sl_type_names[i].bits;
	const char *near = sl_schema_nearest(name, type_name, NULL, SL_COUNT_OF(sl_type_names));
	if (near)
		PROBLEM(c, "unknown type '" SL_STR_FMT "', did you mean '%s'?", SL_STR_ARG(name), near);
	else
		PROBLEM(c, "type is one of null, boolean, integer, number, string, array, object, or a list of them");
	return 0;
}

static void key_type(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_array)) {
		r->types = read_type(c, v);
		return;
	}
	for (size_t i = 0; i < json_object_array_length(v); i++)
		r->types |= read_type(c, json_object_array_get_idx(v, i));
	if (json_object_array_length(v) == 0)
		PROBLEM(c, "the list of types is empty");
}

static void key_properties(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_object)) {
		PROBLEM(c, "must be an object of schemas");
		return;
	}
	r->members = take(c, (size_t)json_object_object_length(v), sizeof(*r->members));
	json_object_object_foreach (v, key, child) {
		if (!r->members)
			return;
		r->members[r->n_members].key = key;
		r->members[r->n_members].rule = compile_at(c, child, sl_str(key));
		if (r->members[r->n_members].rule)
			r->n_members++;
	}
}

static void key_pattern_properties(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_object)) {
		PROBLEM(c, "must be an object of schemas");
		return;
	}
	r->patterns = take(c, (size_t)json_object_object_length(v), sizeof(struct pattern *));
	json_object_object_foreach (v, key, child) {
		struct pattern *p = r->patterns ? compile_pattern(c, sl_str(key)) : NULL;
		if (!p)
			continue;
		p->rule = compile_at(c, child, sl_str(key));
		if (p->rule)
			r->patterns[r->n_patterns++] = p;
	}
}

static void key_required(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_array)) {
		PROBLEM(c, "must be a list of names");
		return;
	}
	size_t n = json_object_array_length(v);
	r->required = take(c, n, sizeof(*r->required));
	for (size_t i = 0; i < n && r->required; i++) {
		struct json_object *name = json_object_array_get_idx(v, i);
		if (json_object_is_type(name, json_type_string))
			r->required[r->n_required++] = json_object_get_string(name);
		else
			PROBLEM(c, "must be a list of names");
	}
}

static void key_single(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	r->singles[which] = compile(c, v);
}

static void key_group(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
	if (n == 0) {
		PROBLEM(c, "must be a list of schemas, with one at least");
		return;
	}
	r->groups[which] = take(c, n, sizeof(struct rule *));
	for (size_t i = 0; i < n && r->groups[which]; i++) {
		struct rule *child = compile_item(c, json_object_array_get_idx(v, i), i);
		if (child)
			r->groups[which][r->n_groups[which]++] = child;
	}
}

bool sl_json_is_number(struct json_object *v)
{
	return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);
}

static void key_number(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!sl_json_is_number(v) || (which == B_MULTIPLE_OF && !(json_object_get_double(v) > 0))) {
		PROBLEM(c, which == B_MULTIPLE_OF ? "must be a number above 0" : "must be a number");
		return;
	}
	r->numbers[which] = json_object_get_double(v);
	r->has_number |= 1u << which;
}

static void key_count(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!sl_json_is_number(v) || json_object_get_double(v) < 0 ||
	    json_object_get_double(v) != floor(json_object_get_double(v))) {
		PROBLEM(c, "must be a whole number, 0 or more");
		return;
	}
	r->counts[which] = (uint64_t)json_object_get_int64(v);
	r->has_count |= 1u << which;
}

static void key_unique(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_boolean))
		PROBLEM(c, "must be true or false");
	else
		r->unique = json_object_get_boolean(v);
}

static void key_enum(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_array) || json_object_array_length(v) == 0)
		PROBLEM(c, "must be a list of values, with one at least");
	else
		r->choices = v;
}

static void key_const(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	r->has_constant = true;
	r->constant = v;
}

static void key_default(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	r->has_default = true;
	r->fallback = v;
}

static void key_pattern(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!json_object_is_type(v, json_type_string))
		PROBLEM(c, "must be a text with a regular expression");
	else
		r->pattern = compile_pattern(c, sl_json_str(v));
}

static void key_ref(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	static const char head[] = "#/$defs/";
	struct sl_str text = sl_json_str(v);
	if (sl_str_is(text, "#"))
		r->ref = "";
	else if (text.len >= sizeof(head) && memcmp(text.p, head, sizeof(head) - 1) == 0)
		r->ref = text.p + sizeof(head) - 1;
	if (!r->ref) {
		PROBLEM(c, "a reference is written \"#/$defs/<name>\"");
		return;
	}
	r->next_ref = c->schema->all_refs;
	c->schema->all_refs = r;
}

static void key_defs(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	struct sl_schema *s = c->schema;
	if (c->depth > 1) {
		PROBLEM(c, "$defs belong to the top of the schema");
		return;
	}
	if (!json_object_is_type(v, json_type_object)) {
		PROBLEM(c, "must be an object of schemas");
		return;
	}
	s->defs = take(c, (size_t)json_object_object_length(v), sizeof(*s->defs));
	json_object_object_foreach (v, key, child) {
		if (!s->defs)
			return;
		struct rule *def = compile_at(c, child, sl_str(key));
		if (def)
			s->defs[s->n_defs++] = (struct member){key, def};
	}
}

static void key_note(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	/* for people and for forms; nothing to check */
}

static const struct keyword {
	const char *name;
	void (*read)(struct compiler *c, struct rule *r, struct json_object *v, int which);
	int which;
} keywords[] = {
	{"type", key_type, 0},
	{"properties", key_properties, 0},
	{"patternProperties", key_pattern_properties, 0},
	{"required", key_required, 0},
	{"additionalProperties", key_single, S_ADDITIONAL},
	{"items", key_single, S_ITEMS},
	{"not", key_single, S_NOT},
	{"anyOf", key_group, G_ANY_OF},
	{"oneOf", key_group, G_ONE_OF},
	{"allOf", key_group, G_ALL_OF},
	{"prefixItems", key_group, G_PREFIX_ITEMS},
	{"minimum", key_number, B_MINIMUM},
	{"maximum", key_number, B_MAXIMUM},
	{"exclusiveMinimum", key_number, B_EXCLUSIVE_MINIMUM},
	{"exclusiveMaximum", key_number, B_EXCLUSIVE_MAXIMUM},
	{"multipleOf", key_number, B_MULTIPLE_OF},
	{"minItems", key_count, C_MIN_ITEMS},
	{"maxItems", key_count, C_MAX_ITEMS},
	{"minLength", key_count, C_MIN_LENGTH},
	{"maxLength", key_count, C_MAX_LENGTH},
	{"minProperties", key_count, C_MIN_PROPERTIES},
	{"maxProperties", key_count, C_MAX_PROPERTIES},
	{"uniqueItems", key_unique, 0},
	{"enum", key_enum, 0},
	{"const", key_const, 0},
	{"default", key_default, 0},
	{"pattern", key_pattern, 0},
	{"$ref", key_ref, 0},
	{"$defs", key_defs, 0},
	{"title", key_note, 0},
	{"description", key_note, 0},
	{"examples", key_note, 0},
	{"format", key_note, 0},
	{"deprecated", key_note, 0},
	{"readOnly", key_note, 0},
	{"writeOnly", key_note, 0},
	{"$schema", key_note, 0},
	{"$id", key_note, 0},
	{"$comment", key_note, 0},
	{"x-expr", key_note, 0},
	{"x-graph", key_note, 0},
	{"x-constant", key_note, 0},
	{"x-schema", key_note, 0},
	{"x-provides", key_note, 0},
	{"x-ui", key_note, 0},
};

static const char *keyword_name(const void *arg, size_t i)
{
	return keywords[i].name;
}

static void read_keyword(struct compiler *c, struct rule *r, const char *key, struct json_object *v)
{
	size_t len = c->pointer.len;
	sl_place_push(&c->pointer, sl_str(key));
	for (size_t i = 0; i < SL_COUNT_OF(keywords); i++)
		if (strcmp(key, keywords[i].name) == 0) {
			keywords[i].read(c, r, v, keywords[i].which);
			sl_place_pop(&c->pointer, len);
			return;
		}
	bool full = c->problems->n >= SL_LIMIT_DEFINITION_ERRORS; /* then it is only counted, so let it be cheap */
	const char *near = full ? NULL : sl_schema_nearest(sl_str(key), keyword_name, NULL, SL_COUNT_OF(keywords));
	if (near)
		sl_problems_add(c->problems, true, sl_buf_str(&c->pointer),
				"unknown schema keyword '%s', did you mean '%s'?", key, near);
	else
		sl_problems_add(c->problems, true, sl_buf_str(&c->pointer),
				"the schema keyword '%s' is not checked here", key);
	sl_place_pop(&c->pointer, len);
}

static struct rule *compile(struct compiler *c, struct json_object *o)
{
	if (c->depth > SL_LIMIT_JSON_DEPTH) {
		PROBLEM(c, "the schema is nested deeper than %d levels", SL_LIMIT_JSON_DEPTH);
		return NULL;
	}
	struct rule *r = take(c, 1, sizeof(*r));
	if (!r)
		return NULL;
	if (json_object_is_type(o, json_type_boolean)) {
		r->never = !json_object_get_boolean(o);
		return r;
	}
	if (!json_object_is_type(o, json_type_object)) {
		PROBLEM(c, "a schema is an object, or true or false");
		return NULL;
	}
	c->depth++;
	json_object_object_foreach (o, key, v) {
		read_keyword(c, r, key, v);
	}
	c->depth--;
	return r;
}

const char *sl_member_name(const void *arg, size_t i)
{
	return ((const struct member *)arg)[i].key;
}

enum sl_code sl_schema_compile(struct json_object *schema, struct sl_str pointer, struct sl_schema **out,
			       struct sl_problems *problems)
{
	*out = NULL;
	SL_AUTO(sl_schema) s = calloc(1, sizeof(*s));
	if (!s)
		return SL_NO_MEMORY;
	sl_arena_init(&s->arena, SIZE_MAX / 2); /* in proportion to the schema */
	s->source = sl_json_dup(schema);
	if (schema && !s->source)
		return SL_NO_MEMORY;
	struct compiler c = {.schema = s, .problems = problems};
	SL_BUF(place, POINTER_BYTES);
	sl_buf_add(&place, pointer.p, pointer.len);
	c.pointer = place;
	s->root = compile(&c, s->source);
	for (struct rule *r = s->all_refs; r; r = r->next_ref) {
		if (!r->ref[0])
			r->target = s->root;
		for (size_t i = 0; i < s->n_defs && !r->target; i++)
			if (strcmp(r->ref, s->defs[i].key) == 0)
				r->target = s->defs[i].rule;
		if (r->target)
			continue;
		const char *near = sl_schema_nearest(sl_str(r->ref), sl_member_name, s->defs, s->n_defs);
		PROBLEM(&c, "$ref to '%s', which is not in $defs%s%s%s", r->ref, near ? ", did you mean '" : "",
			near ? near : "", near ? "'?" : "");
	}
	place = c.pointer; /* it may have moved while it grew */
	if (c.no_memory)
		return SL_NO_MEMORY;
	if (!c.failed)
		*out = SL_TAKE(s);
	return SL_OK;
}
