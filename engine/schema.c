/* engine/schema.c: checks values against the rules of a schema.
 *
 * Both the schema and the value may come from a stranger, so a schema whose alternatives multiply ends at a budget of
 * steps. */
#include "engine/schema_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/expr.h"

#define STEPS    1000000 /* rules applied, and items compared, in one check */
#define DEFAULTS 10000   /* values filled in by one call */

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
	for (size_t i = SL_COUNT_OF(sl_type_names); i-- > 0;) {
		if ((rest & sl_type_names[i].bits) != sl_type_names[i].bits)
			continue;
		rest &= ~sl_type_names[i].bits;
		sl_buf_adds(b, first ? "" : " or ");
		sl_buf_adds(b, sl_type_names[i].text);
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
	if (sl_json_is_number(a) && sl_json_is_number(b) && json_object_get_type(a) != json_object_get_type(b))
		return json_object_get_double(a) == json_object_get_double(b);
	return sl_json_equal(a, b);
}

static void check(struct checker *c, const struct rule *r, struct json_object *v);

static void check_at(struct checker *c, const struct rule *r, struct json_object *v, struct sl_str key)
{
	size_t len = c->pointer.len;
	sl_place_push(&c->pointer, key);
	check(c, r, v);
	sl_place_pop(&c->pointer, len);
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
	const char *near = json_object_is_type(v, json_type_string)
				   ? sl_schema_nearest(sl_json_str(v), choice_name, r->choices, n)
				   : NULL;
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
	const char *near = sl_schema_nearest(sl_str(key), sl_member_name, r->members, r->n_members);
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
		sl_place_push(&c->pointer, sl_str(key));
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
		sl_place_pop(&c->pointer, len);
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

/* anyOf and oneOf. Of alternatives that do not fit, the one sl_schema_nearest to the value says what to mend. */
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

static void fill(const struct rule *r, struct json_object *v, unsigned depth, unsigned *left, bool *no_memory)
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
				if ((m->rule->fallback && !child) || json_object_object_add(v, m->key, child) != 0) {
					json_object_put(child);
					*no_memory = true;
					continue;
				}
			}
			if (child)
				fill(m->rule, child, depth + 1, left, no_memory);
		}
	} else if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++) {
			const struct rule *item =
				i < r->n_groups[G_PREFIX_ITEMS] ? r->groups[G_PREFIX_ITEMS][i] : r->singles[S_ITEMS];
			if (item)
				fill(item, json_object_array_get_idx(v, i), depth + 1, left, no_memory);
		}
	} else {
		return;
	}
	for (size_t i = 0; i < r->n_groups[G_ALL_OF]; i++)
		fill(r->groups[G_ALL_OF][i], v, depth + 1, left, no_memory);
	if (r->target)
		fill(r->target, v, depth + 1, left, no_memory);
}

bool sl_schema_defaults(const struct sl_schema *s, struct json_object *value)
{
	unsigned left = DEFAULTS;
	bool no_memory = false;
	if (value)
		fill(s->root, value, 0, &left, &no_memory);
	return !no_memory;
}
