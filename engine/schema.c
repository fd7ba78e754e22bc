/* engine/schema.c: compiles a JSON Schema to rules, and checks values against them.
 *
 * Both the schema and the value may come from a stranger. So a schema that leads in circles, or one whose alternatives
 * multiply, ends at a budget of steps; a regular expression that would make regcomp() eat memory is refused. */
#include "engine/schema.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/limits.h"
#include "engine/expr.h"

#define DEPTH          (2 * SL_LIMIT_JSON_DEPTH) /* of rules applied inside of rules */
#define STEPS          1000000                   /* rules applied, and items compared, in one check */
#define DEFAULTS       10000                     /* values filled in by one call */
#define POINTER_BYTES  4096                      /* longer places are cut */
#define PATTERN_BYTES  512
#define PATTERN_REPEAT 2000 /* product of all {m,n} in a pattern: regcomp() copies that often */

enum type_bit { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64 };
static const struct {
	const char *name, *text;
	unsigned bits;
} types[] = {
	{"null", "null", T_NULL},
	{"boolean", "true or false", T_BOOLEAN},
	{"integer", "a whole number", T_INTEGER},
	{"number", "a number", T_NUMBER | T_INTEGER},
	{"string", "a text", T_STRING},
	{"array", "a list", T_ARRAY},
	{"object", "an object", T_OBJECT},
};

enum bound { B_MINIMUM, B_MAXIMUM, B_EXCLUSIVE_MINIMUM, B_EXCLUSIVE_MAXIMUM, B_MULTIPLE_OF, B_NUMBERS };
enum count { C_MIN_ITEMS, C_MAX_ITEMS, C_MIN_LENGTH, C_MAX_LENGTH, C_MIN_PROPERTIES, C_MAX_PROPERTIES, C_COUNTS };
enum group { G_ANY_OF, G_ONE_OF, G_ALL_OF, G_PREFIX_ITEMS, G_GROUPS };
enum single { S_ITEMS, S_ADDITIONAL, S_NOT, S_SINGLES };

struct rule;
struct member {
	const char *key;
	struct rule *rule;
};
struct pattern {
	regex_t regex;
	const char *text;
	struct rule *rule; /* of patternProperties */
	struct pattern *next_of_all;
};

struct rule {
	bool never;     /* the schema `false` */
	unsigned types; /* 0: any */
	struct member *members;
	size_t n_members;
	const char **required;
	size_t n_required;
	struct pattern **patterns; /* of patternProperties */
	size_t n_patterns;
	struct pattern *pattern;
	struct rule *singles[S_SINGLES];
	struct rule **groups[G_GROUPS];
	size_t n_groups[G_GROUPS];
	unsigned has_number, has_count;
	double numbers[B_NUMBERS];
	uint64_t counts[C_COUNTS];
	bool unique;
	struct json_object *choices; /* of enum; borrowed from the schema's copy, as the two below */
	bool has_constant, has_default;
	struct json_object *constant, *fallback;
	const char *ref; /* name in $defs, "" for the whole */
	struct rule *target;
	struct rule *next_ref;
};

struct sl_schema {
	struct sl_arena arena;
	struct json_object *source; /* our copy: rules point into it */
	struct rule *root;
	struct member *defs;
	size_t n_defs;
	struct pattern *all_patterns;
	struct rule *all_refs;
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

/* ---- compile ---- */

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

static void push(struct sl_buf *pointer, struct sl_str key)
{
	size_t len = pointer->len;
	sl_pointer_add(pointer, key);
	if (pointer->failed) { /* the place is cut, the check goes on */
		pointer->failed = false;
		pointer->len = len;
	}
}

static void pop(struct sl_buf *pointer, size_t len)
{
	pointer->len = len;
	if (pointer->data)
		pointer->data[len] = 0;
}

/* The name nearest to `word`, when near enough to be what was meant. */
static const char *nearest(struct sl_str word, const char *(*name)(const void *arg, size_t i), const void *arg,
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
	push(&c->pointer, key);
	struct rule *r = compile(c, o);
	pop(&c->pointer, len);
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
	return types[i].name;
}

static unsigned read_type(struct compiler *c, struct json_object *o)
{
	struct sl_str name = sl_json_str(o);
	for (size_t i = 0; i < SL_COUNT_OF(types); i++)
		if (sl_str_is(name, types[i].name))
			return types[i].bits;
	const char *near = nearest(name, type_name, NULL, SL_COUNT_OF(types));
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

static bool is_number(struct json_object *v)
{
	return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);
}

static void key_number(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!is_number(v) || (which == B_MULTIPLE_OF && !(json_object_get_double(v) > 0))) {
		PROBLEM(c, which == B_MULTIPLE_OF ? "must be a number above 0" : "must be a number");
		return;
	}
	r->numbers[which] = json_object_get_double(v);
	r->has_number |= 1u << which;
}

static void key_count(struct compiler *c, struct rule *r, struct json_object *v, int which)
{
	if (!is_number(v) || json_object_get_double(v) < 0 ||
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
	push(&c->pointer, sl_str(key));
	for (size_t i = 0; i < SL_COUNT_OF(keywords); i++)
		if (strcmp(key, keywords[i].name) == 0) {
			keywords[i].read(c, r, v, keywords[i].which);
			pop(&c->pointer, len);
			return;
		}
	bool full = c->problems->n >= SL_LIMIT_DEFINITION_ERRORS; /* then it is only counted, so let it be cheap */
	const char *near = full ? NULL : nearest(sl_str(key), keyword_name, NULL, SL_COUNT_OF(keywords));
	if (near)
		sl_problems_add(c->problems, true, sl_buf_str(&c->pointer),
				"unknown schema keyword '%s', did you mean '%s'?", key, near);
	else
		sl_problems_add(c->problems, true, sl_buf_str(&c->pointer),
				"the schema keyword '%s' is not checked here", key);
	pop(&c->pointer, len);
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

static const char *member_name(const void *arg, size_t i)
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
		const char *near = nearest(sl_str(r->ref), member_name, s->defs, s->n_defs);
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

/* ---- check ---- */

struct checker {
	struct sl_problems *problems;
	struct sl_buf pointer;
	enum sl_schema_mode mode;
	unsigned depth;
	int64_t *steps_left; /* shared with the tries of anyOf; below 0: spent */
	bool fits;
};

#define MISFIT(c, ...)                                                                                                 \
	do {                                                                                                           \
		(c)->fits = false;                                                                                     \
		sl_problems_add((c)->problems, false, sl_buf_str(&(c)->pointer), __VA_ARGS__);                         \
	} while (0)

/* false: the budget is spent. sl_schema_check() says so, because a try's own problems may be thrown away. */
static bool spend(struct checker *c, size_t steps)
{
	if (*c->steps_left >= 0)
		*c->steps_left -= steps < STEPS ? (int64_t)steps : STEPS + 1;
	if (*c->steps_left >= 0)
		return true;
	c->fits = false;
	return false;
}

static unsigned type_of(struct json_object *v)
{
	switch (json_object_get_type(v)) {
	case json_type_null:
		return T_NULL;
	case json_type_boolean:
		return T_BOOLEAN;
	case json_type_int:
		return T_INTEGER;
	case json_type_double: /* 3.0 is a whole number */
		return json_object_get_double(v) == floor(json_object_get_double(v)) ? T_INTEGER : T_NUMBER;
	case json_type_string:
		return T_STRING;
	case json_type_array:
		return T_ARRAY;
	case json_type_object:
		return T_OBJECT;
	}
	return 0;
}

/* "a text", "a text or a list" */
static void write_types(struct sl_buf *b, unsigned bits)
{
	unsigned rest = bits;
	bool first = true;
	for (size_t i = SL_COUNT_OF(types); i-- > 0;) {
		if ((rest & types[i].bits) != types[i].bits)
			continue;
		rest &= ~types[i].bits;
		sl_buf_adds(b, first ? "" : " or ");
		sl_buf_adds(b, types[i].text);
		first = false;
	}
}

static const char *value_text(struct json_object *v)
{
	switch (json_object_get_type(v)) {
	case json_type_boolean:
		return json_object_get_boolean(v) ? "true" : "false";
	case json_type_int:
	case json_type_double:
		return "a number";
	case json_type_string:
		return "a text";
	case json_type_array:
		return "a list";
	case json_type_object:
		return "an object";
	case json_type_null:
		break;
	}
	return "null";
}

static bool equal(struct json_object *a, struct json_object *b)
{
	if (is_number(a) && is_number(b) && json_object_get_type(a) != json_object_get_type(b))
		return json_object_get_double(a) == json_object_get_double(b);
	return sl_json_equal(a, b);
}

static void check(struct checker *c, const struct rule *r, struct json_object *v);

static void check_at(struct checker *c, const struct rule *r, struct json_object *v, struct sl_str key)
{
	size_t len = c->pointer.len;
	push(&c->pointer, key);
	check(c, r, v);
	pop(&c->pointer, len);
}

static const char *choice_name(const void *arg, size_t i)
{
	struct json_object *o = json_object_array_get_idx((struct json_object *)(uintptr_t)arg, i);
	return json_object_is_type(o, json_type_string) ? json_object_get_string(o) : "";
}

static void check_choices(struct checker *c, const struct rule *r, struct json_object *v)
{
	size_t n = json_object_array_length(r->choices);
	SL_BUF(list, 400);
	if (!spend(c, n))
		return;
	for (size_t i = 0; i < n; i++)
		if (equal(v, json_object_array_get_idx(r->choices, i)))
			return;
	for (size_t i = 0; i < n && !list.failed; i++) {
		if (i)
			sl_buf_adds(&list, i + 1 == n ? " or " : ", ");
		sl_json_write(&list, json_object_array_get_idx(r->choices, i));
	}
	struct sl_str shown = list.failed ? SL_STR("the values its schema lists") : sl_buf_str(&list);
	const char *near =
		json_object_is_type(v, json_type_string) ? nearest(sl_json_str(v), choice_name, r->choices, n) : NULL;
	if (near)
		MISFIT(c, "must be " SL_STR_FMT "; did you mean \"%s\"?", SL_STR_ARG(shown), near);
	else
		MISFIT(c, "must be " SL_STR_FMT, SL_STR_ARG(shown));
}

static void check_number(struct checker *c, const struct rule *r, struct json_object *v)
{
	double d = json_object_get_double(v), q;
	if (!r->has_number)
		return;
	if (r->has_number & 1u << B_MINIMUM && d < r->numbers[B_MINIMUM])
		MISFIT(c, "must be %.15g or more, not %.15g", r->numbers[B_MINIMUM], d);
	if (r->has_number & 1u << B_MAXIMUM && d > r->numbers[B_MAXIMUM])
		MISFIT(c, "must be %.15g or less, not %.15g", r->numbers[B_MAXIMUM], d);
	if (r->has_number & 1u << B_EXCLUSIVE_MINIMUM && d <= r->numbers[B_EXCLUSIVE_MINIMUM])
		MISFIT(c, "must be above %.15g, not %.15g", r->numbers[B_EXCLUSIVE_MINIMUM], d);
	if (r->has_number & 1u << B_EXCLUSIVE_MAXIMUM && d >= r->numbers[B_EXCLUSIVE_MAXIMUM])
		MISFIT(c, "must be below %.15g, not %.15g", r->numbers[B_EXCLUSIVE_MAXIMUM], d);
	q = d / r->numbers[B_MULTIPLE_OF];
	if (r->has_number & 1u << B_MULTIPLE_OF && !(fabs(q - round(q)) <= 1e-9 * fmax(1, fabs(q))))
		MISFIT(c, "must be a multiple of %.15g, not %.15g", r->numbers[B_MULTIPLE_OF], d);
}

static void check_count(struct checker *c, const struct rule *r, enum count min, uint64_t n, const char *what)
{
	if (r->has_count & 1u << min && n < r->counts[min])
		MISFIT(c, "must have %llu %s or more, not %llu", (unsigned long long)r->counts[min], what,
		       (unsigned long long)n);
	if (r->has_count & 1u << (min + 1) && n > r->counts[min + 1])
		MISFIT(c, "must have %llu %s or fewer, not %llu", (unsigned long long)r->counts[min + 1], what,
		       (unsigned long long)n);
}

static bool matches(const struct pattern *p, struct sl_str s)
{
	regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)s.len};
	return regexec(&p->regex, s.p, 1, &range, REG_STARTEND) == 0;
}

static void check_string(struct checker *c, const struct rule *r, struct json_object *v)
{
	struct sl_str s = sl_json_str(v);
	if (r->has_count & (1u << C_MIN_LENGTH | 1u << C_MAX_LENGTH)) {
		uint64_t n = 0;
		for (size_t i = 0; i < s.len; i++)
			n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
		if (n == 0 && r->has_count & 1u << C_MIN_LENGTH && r->counts[C_MIN_LENGTH] == 1)
			MISFIT(c, "must not be empty");
		else
			check_count(c, r, C_MIN_LENGTH, n, "characters");
	}
	if (r->pattern && spend(c, s.len / 64 + 1) && !matches(r->pattern, s))
		MISFIT(c, "must match the pattern %s", r->pattern->text);
}

static void check_array(struct checker *c, const struct rule *r, struct json_object *v)
{
	size_t n = json_object_array_length(v), prefix = r->n_groups[G_PREFIX_ITEMS];
	check_count(c, r, C_MIN_ITEMS, n, "items");
	for (size_t i = 0; i < n; i++) {
		char text[24];
		const struct rule *item = i < prefix ? r->groups[G_PREFIX_ITEMS][i] : r->singles[S_ITEMS];
		if (!item)
			continue;
		int len = snprintf(text, sizeof(text), "%zu", i);
		check_at(c, item, json_object_array_get_idx(v, i), sl_str_n(text, (size_t)len));
	}
	for (size_t i = 0; r->unique && c->mode == SL_SCHEMA_STRICT && i < n; i++)
		for (size_t k = 0; k < i; k++) {
			if (!spend(c, 1))
				return;
			if (equal(json_object_array_get_idx(v, i), json_object_array_get_idx(v, k))) {
				MISFIT(c, "items %zu and %zu are equal; each may occur once", k, i);
				return;
			}
		}
}

static void unknown_member(struct checker *c, const struct rule *r, const char *key)
{
	if (c->problems->n >= SL_LIMIT_DEFINITION_ERRORS) { /* only counted, so let it be cheap */
		MISFIT(c, "unknown property");
		return;
	}
	const char *near = nearest(sl_str(key), member_name, r->members, r->n_members);
	SL_BUF(known, 300);
	if (near) {
		MISFIT(c, "unknown property '%s', did you mean '%s'?", key, near);
		return;
	}
	for (size_t i = 0; i < r->n_members; i++)
		sl_buf_addf(&known, "%s%s", i ? ", " : "", r->members[i].key);
	if (known.len && !known.failed)
		MISFIT(c, "unknown property '%s'; possible are: %s", key, known.data);
	else
		MISFIT(c, "unknown property '%s'; remove it", key);
}

static const struct rule *member_rule(const struct rule *r, const char *key)
{
	for (size_t i = 0; i < r->n_members; i++)
		if (strcmp(r->members[i].key, key) == 0)
			return r->members[i].rule;
	return NULL;
}

static void check_object(struct checker *c, const struct rule *r, struct json_object *v)
{
	check_count(c, r, C_MIN_PROPERTIES, (uint64_t)json_object_object_length(v), "properties");
	for (size_t i = 0; i < r->n_required; i++)
		if (!json_object_object_get_ex(v, r->required[i], NULL))
			MISFIT(c, "'%s' is missing", r->required[i]);
	json_object_object_foreach (v, key, child) {
		const struct rule *member = member_rule(r, key), *others = r->singles[S_ADDITIONAL];
		bool known = member != NULL;
		size_t len = c->pointer.len;
		if (!spend(c, r->n_members / 8 + 1))
			return;
		push(&c->pointer, sl_str(key));
		if (member)
			check(c, member, child);
		for (size_t i = 0; i < r->n_patterns; i++)
			if (matches(r->patterns[i], sl_str(key))) {
				known = true;
				check(c, r->patterns[i]->rule, child);
			}
		if (!known && others && others->never)
			unknown_member(c, r, key);
		else if (!known && others)
			check(c, others, child);
		pop(&c->pointer, len);
	}
}

/* Which types a rule can take at all, seen from outside. */
static unsigned possible_types(const struct rule *r, unsigned depth)
{
	if (r->never)
		return 0;
	if (r->target && depth < 8)
		return possible_types(r->target, depth + 1);
	return r->types ? r->types : ~0u;
}

/* anyOf and oneOf. Of alternatives that do not fit, the one nearest to the value says what to mend. */
static void check_alternatives(struct checker *c, const struct rule *r, struct json_object *v, enum group group)
{
	struct sl_problems best = {0};
	bool has_best = false;
	unsigned bits = 0;
	size_t fitting = 0, n = r->n_groups[group];
	for (size_t i = 0; i < n; i++) {
		const struct rule *option = r->groups[group][i];
		struct sl_problems found = {0};
		struct checker try = *c;
		try.problems = &found;
		try.fits = true;
		check(&try, option, v);
		c->pointer = try.pointer; /* the buffer may have moved */
		fitting += try.fits;
		bits |= possible_types(option, 0);
		if (!try.fits && possible_types(option, 0) & type_of(v) && (!has_best || found.errors < best.errors)) {
			sl_problems_fini(&best);
			best = found;
			has_best = true;
		} else {
			sl_problems_fini(&found);
		}
		if (fitting && (group == G_ANY_OF || c->mode == SL_SCHEMA_TEMPLATES))
			break;
	}
	if (fitting == 0) {
		SL_BUF(list, 200);
		c->fits = false;
		if (has_best) {
			for (size_t i = 0; i < best.n; i++)
				sl_problems_add(c->problems, best.items[i].warning, sl_str(best.items[i].pointer), "%s",
						best.items[i].message);
		} else if (bits && bits != ~0u) {
			write_types(&list, bits);
			MISFIT(c, "must be %s, not %s", list.data ? list.data : "something else", value_text(v));
		} else {
			MISFIT(c, "fits none of the %zu forms it may have", n);
		}
	} else if (group == G_ONE_OF && fitting > 1 && c->mode == SL_SCHEMA_STRICT) {
		MISFIT(c, "fits %zu of the forms it may have, and must fit exactly one", fitting);
	}
	sl_problems_fini(&best);
}

static void check_type(struct checker *c, const struct rule *r, struct json_object *v)
{
	unsigned is = type_of(v);
	SL_BUF(want, 200);
	write_types(&want, r->types);
	if (is == T_NUMBER && r->types & T_INTEGER)
		MISFIT(c, "must be %s, not %.15g", want.data ? want.data : "a whole number", json_object_get_double(v));
	else if (is == T_STRING && c->mode == SL_SCHEMA_TEMPLATES &&
		 r->types & (T_OBJECT | T_ARRAY | T_NUMBER | T_INTEGER | T_BOOLEAN))
		MISFIT(c, "must be %s (or {{ an expression }} that gives it), not a text",
		       want.data ? want.data : "another type");
	else
		MISFIT(c, "must be %s, not %s", want.data ? want.data : "another type", value_text(v));
}

static void check(struct checker *c, const struct rule *r, struct json_object *v)
{
	if (!spend(c, 1))
		return;
	if (c->mode == SL_SCHEMA_TEMPLATES && json_object_is_type(v, json_type_string) &&
	    sl_template_in(sl_json_str(v)))
		return;
	if (r->never) {
		MISFIT(c, "must not be here");
		return;
	}
	if (c->depth >= DEPTH) {
		MISFIT(c, "the schema refers to itself without an end");
		return;
	}
	if (r->types && !(r->types & type_of(v))) {
		check_type(c, r, v);
		return; /* the rest would only repeat it */
	}
	c->depth++;
	/* What compares whole values waits for the strict check when parts of the value may still be templates. */
	bool whole = c->mode == SL_SCHEMA_STRICT ||
		     (!json_object_is_type(v, json_type_array) && !json_object_is_type(v, json_type_object));
	if (r->choices && whole)
		check_choices(c, r, v);
	if (r->has_constant && whole && !equal(v, r->constant)) {
		SL_BUF(text, 200);
		sl_json_write(&text, r->constant);
		MISFIT(c, "must be %s", text.failed ? "the value its schema says" : text.data);
	}
	switch (json_object_get_type(v)) {
	case json_type_int:
	case json_type_double:
		check_number(c, r, v);
		break;
	case json_type_string:
		check_string(c, r, v);
		break;
	case json_type_array:
		check_array(c, r, v);
		break;
	case json_type_object:
		check_object(c, r, v);
		break;
	default:
		break;
	}
	for (size_t i = 0; i < r->n_groups[G_ALL_OF]; i++)
		check(c, r->groups[G_ALL_OF][i], v);
	if (r->n_groups[G_ANY_OF])
		check_alternatives(c, r, v, G_ANY_OF);
	if (r->n_groups[G_ONE_OF])
		check_alternatives(c, r, v, G_ONE_OF);
	if (r->singles[S_NOT] && whole) {
		struct sl_problems ignored = {0};
		struct checker try = *c;
		try.problems = &ignored;
		try.fits = true;
		check(&try, r->singles[S_NOT], v);
		c->pointer = try.pointer;
		sl_problems_fini(&ignored);
		if (try.fits)
			MISFIT(c, "has a form that its schema excludes");
	}
	if (r->target)
		check(c, r->target, v);
	c->depth--;
}

bool sl_schema_check(const struct sl_schema *s, struct json_object *value, enum sl_schema_mode mode,
		     struct sl_str pointer, struct sl_problems *problems)
{
	int64_t steps = STEPS;
	struct checker c = {.problems = problems, .mode = mode, .steps_left = &steps, .fits = true};
	sl_buf_init(&c.pointer, POINTER_BYTES);
	sl_buf_add(&c.pointer, pointer.p, pointer.len);
	check(&c, s->root, value);
	if (steps < 0)
		MISFIT(&c, "the schema is too complicated to be checked against this value");
	sl_buf_fini(&c.pointer);
	return c.fits;
}

/* ---- defaults ---- */

static void fill(const struct rule *r, struct json_object *v, unsigned depth, unsigned *left)
{
	if (depth >= DEPTH || !*left)
		return;
	if (json_object_is_type(v, json_type_object)) {
		for (size_t i = 0; i < r->n_members; i++) {
			const struct member *m = &r->members[i];
			struct json_object *child = NULL;
			if (!json_object_object_get_ex(v, m->key, &child) && m->rule->has_default && *left) {
				(*left)--;
				child = sl_json_dup(m->rule->fallback);
				sl_json_set(v, m->key, child);
				if (!json_object_object_get_ex(v, m->key, &child))
					continue;
			}
			if (child)
				fill(m->rule, child, depth + 1, left);
		}
	} else if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++) {
			const struct rule *item =
				i < r->n_groups[G_PREFIX_ITEMS] ? r->groups[G_PREFIX_ITEMS][i] : r->singles[S_ITEMS];
			if (item)
				fill(item, json_object_array_get_idx(v, i), depth + 1, left);
		}
	} else {
		return;
	}
	for (size_t i = 0; i < r->n_groups[G_ALL_OF]; i++)
		fill(r->groups[G_ALL_OF][i], v, depth + 1, left);
	if (r->target)
		fill(r->target, v, depth + 1, left);
}

void sl_schema_defaults(const struct sl_schema *s, struct json_object *value)
{
	unsigned left = DEFAULTS;
	if (value)
		fill(s->root, value, 0, &left);
}
