/* engine/template.c: JSON values whose strings hold {{ expressions }}.
 *
 * A value is compiled to a tree that mirrors it. What has no {{ below it stays one constant, copied at evaluation. */
#include "engine/expr_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/limits.h"

#define DEPTH (2 * SL_LIMIT_JSON_DEPTH) /* of the value; deeper ones did not come from our parser */

enum part_kind { PART_CONSTANT, PART_VALUE, PART_TEXT, PART_LIST, PART_OBJECT };

struct piece { /* of a text: what stands before an expression, and the expression (NULL: the rest) */
	struct sl_str before;
	struct sl_expr *expr;
	unsigned line, column;
};

struct part {
	enum part_kind kind;
	struct json_object *constant; /* owned */
	const char *pointer;          /* where in the value, for messages; "" at the top */
	struct piece *pieces;         /* of a text; one for a value */
	size_t n_pieces;
	struct part *items; /* of a list or object */
	const char **keys;
	size_t n_items;
};

struct sl_template {
	struct sl_arena arena;
	struct part root;
	struct sl_ref *refs;
	size_t n_refs, cap_refs;
};

bool sl_template_in(struct sl_str text)
{
	return memmem(text.p, text.len, "{{", 2) != NULL;
}

static bool has_template(struct json_object *v, unsigned depth)
{
	if (depth > DEPTH)
		return true; /* compile() says what is wrong */
	switch (json_object_get_type(v)) {
	case json_type_string:
		return sl_template_in(sl_json_str(v));
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(v); i++)
			if (has_template(json_object_array_get_idx(v, i), depth + 1))
				return true;
		return false;
	case json_type_object: {
		json_object_object_foreach (v, key, child) {
			(void)key;
			if (has_template(child, depth + 1))
				return true;
		}
		return false;
	}
	default:
		return false;
	}
}

static enum sl_code no_memory(struct sl_error *err)
{
	return sl_fail(err, SL_NO_MEMORY, "no memory for a template");
}

static enum sl_code add_refs(struct sl_template *t, const struct sl_expr *e, struct sl_error *err)
{
	size_t n;
	const struct sl_ref *refs = sl_expr_refs(e, &n);
	for (size_t i = 0; i < n; i++) {
		bool known = false;
		for (size_t k = 0; k < t->n_refs && !known; k++)
			known = t->refs[k].root == refs[i].root &&
				(refs[i].root != SL_REF_NODE || strcmp(t->refs[k].node, refs[i].node) == 0);
		if (known)
			continue;
		if (t->n_refs == t->cap_refs) {
			size_t cap = t->cap_refs ? t->cap_refs * 2 : 8;
			struct sl_ref *more = sl_arena_array(&t->arena, cap, sizeof(*more));
			if (!more)
				return no_memory(err);
			if (t->n_refs)
				memcpy(more, t->refs, t->n_refs * sizeof(*more));
			t->refs = more;
			t->cap_refs = cap;
		}
		t->refs[t->n_refs++] = refs[i]; /* the id belongs to the expression, which lives as long */
	}
	return SL_OK;
}

/* Moves *from on to p and counts what lies between; from the beginning for every place, it would be quadratic. */
static void place(const char **from, const char *p, unsigned *line, unsigned *column)
{
	for (; *from < p; (*from)++)
		if (**from == '\n')
			(*line)++, *column = 1;
		else if (((unsigned char)**from & 0xc0) != 0x80)
			(*column)++;
}

static enum sl_code wrap(struct sl_error *err, enum sl_code rc, const struct part *part, unsigned line, unsigned column)
{
	const char *colon = part->pointer[0] ? ": " : "";
	if (line > 1)
		return sl_wrap(err, rc, "%s%sin {{ … }} at line %u, column %u", part->pointer, colon, line, column);
	return sl_wrap(err, rc, "%s%sin {{ … }} at column %u", part->pointer, colon, column);
}

static bool blank(struct sl_str s)
{
	return sl_str_trim(s).len == 0;
}

static enum sl_code compile_text(struct sl_template *t, struct part *part, struct sl_str text, struct sl_error *err)
{
	size_t most = 1;
	for (size_t i = 0; i + 1 < text.len; i++)
		most += text.p[i] == '{' && text.p[i + 1] == '{';
	part->kind = PART_TEXT;
	part->pieces = sl_arena_array(&t->arena, most, sizeof(*part->pieces));
	char *literal = sl_arena_alloc(&t->arena, text.len + 1); /* all literal text, one after the other */
	if (!part->pieces || !literal)
		return no_memory(err);
	const char *p = text.p, *end = text.p + text.len, *placed = text.p;
	unsigned line = 1, column = 1;
	char *from = literal, *to = literal;
	size_t expressions = 0;
	for (;;) {
		const char *open = memmem(p, (size_t)(end - p), "{{", 2);
		size_t plain = (size_t)((open ? open : end) - p), len;
		memcpy(to, p, plain);
		to += plain;
		if (open && end - open >= 4 && open[2] == '{' && open[3] == '{') {
			*to++ = '{';
			*to++ = '{';
			p = open + 4;
			continue;
		}
		struct piece *piece = &part->pieces[part->n_pieces++];
		piece->before = sl_str_n(from, (size_t)(to - from));
		from = to;
		if (!open)
			break;
		expressions++;
		place(&placed, open, &line, &column);
		piece->line = line;
		piece->column = column;
		struct sl_str source = sl_str_n(open + 2, (size_t)(end - open) - 2);
		if (!sl_expr_find_close(source, &len))
			return wrap(err,
				    sl_fail(err, SL_INVALID,
					    "the closing }} is missing; write {{{{ for two braces as text"),
				    part, piece->line, piece->column);
		source.len = len;
		enum sl_code rc = sl_expr_compile(source, SL_EXPR_VALUE, &piece->expr, err);
		if (rc != SL_OK)
			return wrap(err, rc, part, piece->line, piece->column);
		rc = add_refs(t, piece->expr, err);
		if (rc != SL_OK)
			return rc;
		p = source.p + len + 2;
	}
	if (expressions == 1 && blank(part->pieces[0].before) && blank(part->pieces[1].before))
		part->kind = PART_VALUE;
	return SL_OK;
}

static enum sl_code compile(struct sl_template *t, struct part *part, struct json_object *v, struct sl_buf *pointer,
			    struct sl_error *err);

static enum sl_code compile_child(struct sl_template *t, struct part *child, struct json_object *v, struct sl_str key,
				  struct sl_buf *pointer, struct sl_error *err)
{
	size_t len = pointer->len;
	sl_pointer_add(pointer, key);
	enum sl_code rc = compile(t, child, v, pointer, err);
	pointer->len = len;
	return rc;
}

static enum sl_code compile_children(struct sl_template *t, struct part *part, struct json_object *v,
				     struct sl_buf *pointer, struct sl_error *err)
{
	bool list = json_object_is_type(v, json_type_array);
	size_t n = list ? json_object_array_length(v) : (size_t)json_object_object_length(v);
	enum sl_code rc = SL_OK;
	part->kind = list ? PART_LIST : PART_OBJECT;
	part->items = sl_arena_array(&t->arena, n, sizeof(*part->items));
	part->keys = list ? NULL : sl_arena_array(&t->arena, n, sizeof(*part->keys));
	if (!part->items || (!list && !part->keys))
		return no_memory(err);
	part->n_items = n;
	if (list) {
		for (size_t i = 0; i < n && rc == SL_OK; i++) {
			char index[24];
			int len = snprintf(index, sizeof(index), "%zu", i);
			rc = compile_child(t, &part->items[i], json_object_array_get_idx(v, i),
					   sl_str_n(index, (size_t)len), pointer, err);
		}
		return rc;
	}
	size_t i = 0;
	json_object_object_foreach (v, key, child) {
		part->keys[i] = sl_arena_str(&t->arena, sl_str(key));
		if (!part->keys[i])
			return no_memory(err);
		rc = compile_child(t, &part->items[i++], child, sl_str(key), pointer, err);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

static enum sl_code compile(struct sl_template *t, struct part *part, struct json_object *v, struct sl_buf *pointer,
			    struct sl_error *err)
{
	if (pointer->failed)
		sl_buf_reset(pointer);
	part->pointer = sl_arena_str(&t->arena, sl_buf_str(pointer));
	if (!part->pointer)
		return no_memory(err);
	if (!has_template(v, 0)) {
		part->kind = PART_CONSTANT;
		part->constant = sl_json_dup(v);
		return v && !part->constant ? no_memory(err) : SL_OK;
	}
	if (json_object_is_type(v, json_type_string))
		return compile_text(t, part, sl_json_str(v), err);
	return compile_children(t, part, v, pointer, err);
}

static void release(struct part *part)
{
	json_object_put(part->constant);
	for (size_t i = 0; i < part->n_pieces; i++)
		sl_expr_free(part->pieces[i].expr);
	for (size_t i = 0; i < part->n_items; i++)
		release(&part->items[i]);
}

void sl_template_free(struct sl_template *t)
{
	if (!t)
		return;
	release(&t->root);
	sl_arena_fini(&t->arena);
	free(t);
}

static unsigned depth_of(struct json_object *v, unsigned depth)
{
	unsigned most = depth, d;
	if (depth > DEPTH)
		return depth;
	if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++)
			if ((d = depth_of(json_object_array_get_idx(v, i), depth + 1)) > most)
				most = d;
	} else if (json_object_is_type(v, json_type_object)) {
		json_object_object_foreach (v, key, child) {
			(void)key;
			if ((d = depth_of(child, depth + 1)) > most)
				most = d;
		}
	}
	return most;
}

enum sl_code sl_template_compile(struct json_object *value, struct sl_template **out, struct sl_error *err)
{
	SL_BUF(pointer, SL_ERROR_TEXT_BYTES);
	if (depth_of(value, 0) > DEPTH)
		return sl_fail(err, SL_INVALID, "nested deeper than %d levels", DEPTH);
	SL_AUTO(sl_template) t = calloc(1, sizeof(*t));
	if (!t)
		return no_memory(err);
	sl_arena_init(&t->arena, SIZE_MAX / 2); /* bounded by the size of the value */
	enum sl_code rc = compile(t, &t->root, value, &pointer, err);
	if (rc != SL_OK)
		return rc;
	*out = SL_TAKE(t);
	return SL_OK;
}

const struct sl_ref *sl_template_refs(const struct sl_template *t, size_t *n)
{
	*n = t->n_refs;
	return t->refs;
}

bool sl_template_is_constant(const struct sl_template *t)
{
	return t->root.kind == PART_CONSTANT;
}

static void interpolate(struct sl_buf *b, struct json_object *v)
{
	if (json_object_is_type(v, json_type_string)) {
		struct sl_str s = sl_json_str(v);
		sl_buf_add(b, s.p, s.len);
	} else if (v) {
		sl_json_write(b, v);
		if (json_object_is_type(v, json_type_double) && b->len >= 2 &&
		    memcmp(b->data + b->len - 2, ".0", 2) == 0)
			b->len -= 2;
	}
}

static enum sl_code eval_text(const struct part *part, const struct sl_env *env, struct json_object **out,
			      struct sl_error *err)
{
	SL_BUF(text, 2 * (size_t)SL_LIMIT_LUA_MEMORY_BYTES); /* more than one value and what stood before it can need */
	for (size_t i = 0; i < part->n_pieces; i++) {
		const struct piece *piece = &part->pieces[i];
		SL_AUTO_JSON v = NULL;
		enum sl_code rc = SL_OK;
		sl_buf_add(&text, piece->before.p, piece->before.len);
		if (piece->expr) {
			rc = sl_expr_eval(piece->expr, env, &v, err);
			if (rc == SL_OK)
				interpolate(&text, v);
		}
		if (rc == SL_OK && text.failed)
			rc = no_memory(err);
		else if (rc == SL_OK && text.len > SL_LIMIT_PAYLOAD_BYTES)
			rc = sl_fail(err, SL_EXPRESSION, "the text becomes longer than %u bytes",
				     SL_LIMIT_PAYLOAD_BYTES);
		if (rc != SL_OK)
			return piece->expr ? wrap(err, rc, part, piece->line, piece->column) : rc;
	}
	*out = json_object_new_string_len(text.data ? text.data : "", (int)text.len);
	return *out ? SL_OK : no_memory(err);
}

static enum sl_code eval(const struct part *part, const struct sl_env *env, struct json_object **out,
			 struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	*out = NULL;
	switch (part->kind) {
	case PART_CONSTANT:
		*out = sl_json_dup(part->constant);
		return part->constant && !*out ? no_memory(err) : SL_OK;
	case PART_VALUE:
		rc = sl_expr_eval(part->pieces[0].expr, env, out, err);
		return rc == SL_OK ? rc : wrap(err, rc, part, part->pieces[0].line, part->pieces[0].column);
	case PART_TEXT:
		return eval_text(part, env, out, err);
	case PART_LIST:
	case PART_OBJECT:
		break;
	}
	bool list = part->kind == PART_LIST;
	SL_AUTO_JSON whole =
		list ? json_object_new_array_ext(part->n_items ? (int)part->n_items : 1) : json_object_new_object();
	if (!whole)
		return no_memory(err);
	for (size_t i = 0; i < part->n_items; i++) {
		struct json_object *v = NULL;
		rc = eval(&part->items[i], env, &v, err);
		if (rc != SL_OK)
			return rc;
		if ((list ? json_object_array_add(whole, v) : json_object_object_add(whole, part->keys[i], v)) != 0) {
			json_object_put(v);
			return no_memory(err);
		}
	}
	*out = SL_TAKE(whole);
	return SL_OK;
}

enum sl_code sl_template_eval(const struct sl_template *t, const struct sl_env *env, struct json_object **out,
			      struct sl_error *err)
{
	return eval(&t->root, env, out, err);
}
