/* base/json.c: see json.h. json-c keeps the last of two equal keys silently, so a pre-pass over the text checks what it
 * does not: duplicate keys and depth. It trusts json-c for the grammar. */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/utf8.h"

struct key {
	struct sl_str raw;
	uint32_t hash;
};

struct level {
	bool object;
	size_t first_key; /* index into keys */
};

struct scan {
	struct level levels[SL_LIMIT_JSON_DEPTH + 1];
	size_t depth;
	struct key *keys;
	size_t n_keys, cap_keys;
};

static void place(struct sl_str text, size_t at, unsigned *line, unsigned *col)
{
	*line = 1, *col = 1;
	for (size_t i = 0; i < at && i < text.len; i++)
		if (text.p[i] == '\n')
			(*line)++, *col = 1;
		else if (((unsigned char)text.p[i] & 0xc0) != 0x80)
			(*col)++;
}

static bool remember_key(struct scan *s, struct sl_str raw)
{
	if (s->n_keys == s->cap_keys) {
		size_t cap = s->cap_keys ? s->cap_keys * 2 : 64;
		struct key *keys = realloc(s->keys, cap * sizeof(*keys));
		if (!keys)
			return false;
		s->keys = keys;
		s->cap_keys = cap;
	}
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < raw.len; i++)
		h = (h ^ (unsigned char)raw.p[i]) * 16777619u;
	s->keys[s->n_keys++] = (struct key){raw, h};
	return true;
}

static int by_hash(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Compares escaped texts: "a" and "\u0061" slip through here and are caught by nobody; json-c then keeps the last. */
static const struct key *twice(struct scan *s, size_t first)
{
	size_t n = s->n_keys - first;
	if (n < 2)
		return NULL; /* there may be no keys at all yet */
	struct key *k = s->keys + first;
	qsort(k, n, sizeof(*k), by_hash);
	for (size_t i = 0; i + 1 < n; i++)
		for (size_t j = i + 1; j < n && k[j].hash == k[i].hash; j++)
			if (sl_str_eq(k[i].raw, k[j].raw))
				return k[j].raw.p > k[i].raw.p ? &k[j] : &k[i];
	return NULL;
}

static enum sl_code prescan(struct sl_str t, struct scan *s, struct sl_error *err)
{
	unsigned line, col;
	bool key_next = false;
	for (size_t i = 0; i < t.len; i++) {
		char c = t.p[i];
		if (c == '"') {
			size_t begin = ++i;
			while (i < t.len && t.p[i] != '"') {
				if ((unsigned char)t.p[i] < 0x20) {
					place(t, i, &line, &col);
					return sl_fail(err, SL_INVALID,
						       "line %u, column %u: a control character inside a string, write "
						       "it as \\u%04x",
						       line, col, (unsigned char)t.p[i]);
				}
				i += t.p[i] == '\\' ? 2 : 1;
			}
			if (i > t.len)
				i = t.len;
			if (key_next && s->depth && s->levels[s->depth].object &&
			    !remember_key(s, sl_str_n(t.p + begin, i - begin)))
				return sl_fail(err, SL_NO_MEMORY, "reading JSON");
			key_next = false;
		} else if (c == '{' || c == '[') {
			if (s->depth >= SL_LIMIT_JSON_DEPTH) {
				place(t, i, &line, &col);
				return sl_fail(err, SL_INVALID, "line %u, column %u: nested deeper than %d levels",
					       line, col, SL_LIMIT_JSON_DEPTH);
			}
			s->levels[++s->depth] = (struct level){c == '{', s->n_keys};
			key_next = c == '{';
		} else if ((c == '}' || c == ']') && s->depth) {
			struct level *l = &s->levels[s->depth--];
			const struct key *dup = l->object ? twice(s, l->first_key) : NULL;
			if (dup) {
				place(t, (size_t)(dup->raw.p - t.p), &line, &col);
				return sl_fail(err, SL_INVALID, "line %u, column %u: the key \"%.*s\" occurs twice",
					       line, col, (int)(dup->raw.len > 64 ? 64 : dup->raw.len), dup->raw.p);
			}
			s->n_keys = l->first_key;
			key_next = false;
		} else if (c == ',') {
			key_next = true;
		} else if (!strchr("]}: \t\r\n0123456789+-.eEtruefalsn", c) && c != '\'') {
			place(t, i, &line,
			      &col); /* NaN and Infinity among them, which json-c takes even when it is strict */
			return sl_fail(err, SL_INVALID, "line %u, column %u: no JSON value has this character here",
				       line, col);
		} else if (c == '\'') { /* json-c 0.16 takes single quotes even when it is strict */
			place(t, i, &line, &col);
			return sl_fail(err, SL_INVALID, "line %u, column %u: strings are written in double quotes",
				       line, col);
		}
	}
	return SL_OK;
}

enum sl_code sl_json_parse(struct sl_str text, struct json_object **out, struct sl_error *err)
{
	unsigned line, col;
	if (text.len > INT32_MAX - 1)
		return sl_fail(err, SL_TOO_LARGE, "JSON text of %zu bytes", text.len);
	size_t good = sl_utf8_prefix(text.p, text.len);
	if (good != text.len) {
		place(text, good, &line, &col);
		return sl_fail(err, SL_INVALID, "line %u, column %u: not valid UTF-8", line, col);
	}
	if (text.len && memchr(text.p, 0, text.len))
		return sl_fail(err, SL_INVALID, "a NUL byte in JSON text");
	struct scan scan = {0};
	enum sl_code rc = prescan(text, &scan, err);
	free(scan.keys);
	if (rc != SL_OK)
		return rc;

	struct json_tokener *tok = json_tokener_new_ex(SL_LIMIT_JSON_DEPTH + 1);
	if (!tok)
		return sl_fail(err, SL_NO_MEMORY, "reading JSON");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	struct json_object *o = json_tokener_parse_ex(tok, text.p, (int)text.len);
	enum json_tokener_error te = json_tokener_get_error(tok);
	size_t end = json_tokener_get_parse_end(tok);
	if (te == json_tokener_continue) { /* a bare number or literal wants to see the end of the text */
		o = json_tokener_parse_ex(tok, "", 1);
		te = json_tokener_get_error(tok);
		end = text.len;
		if (te == json_tokener_success && sl_str_trim(text).len == 0)
			te = json_tokener_error_parse_eof;
	}
	json_tokener_free(tok);
	if (te == json_tokener_success && sl_str_trim(sl_str_n(text.p + end, text.len - end)).len != 0) {
		json_object_put(o);
		place(text, end, &line, &col);
		return sl_fail(err, SL_INVALID, "line %u, column %u: text after the end of the JSON value", line, col);
	}
	if (te != json_tokener_success) {
		if (o)
			json_object_put(o);
		place(text, end, &line, &col);
		if (te == json_tokener_continue || te == json_tokener_error_parse_eof)
			return sl_fail(err, SL_INVALID, "line %u, column %u: the JSON text ends too early", line, col);
		return sl_fail(err, SL_INVALID, "line %u, column %u: %s", line, col, json_tokener_error_desc(te));
	}
	*out = o;
	return SL_OK;
}

struct json_object *sl_json_get(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;
	if (!o || !json_object_is_type(o, json_type_object))
		return NULL;
	json_object_object_get_ex(o, key, &v);
	return v;
}

const char *sl_json_get_z(struct json_object *o, const char *key)
{
	struct json_object *v = sl_json_get(o, key);
	return v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

struct sl_str sl_json_get_str(struct json_object *o, const char *key)
{
	return sl_json_str(sl_json_get(o, key));
}

struct sl_str sl_json_str(struct json_object *o)
{
	if (!o || !json_object_is_type(o, json_type_string))
		return sl_str_n("", 0);
	return sl_str_n(json_object_get_string(o), (size_t)json_object_get_string_len(o));
}

int64_t sl_json_get_i64(struct json_object *o, const char *key, int64_t otherwise)
{
	struct json_object *v = sl_json_get(o, key);
	if (!v || (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)))
		return otherwise;
	return json_object_get_int64(v);
}

double sl_json_get_f64(struct json_object *o, const char *key, double otherwise)
{
	struct json_object *v = sl_json_get(o, key);
	if (!v || (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double)))
		return otherwise;
	return json_object_get_double(v);
}

bool sl_json_get_bool(struct json_object *o, const char *key, bool otherwise)
{
	struct json_object *v = sl_json_get(o, key);
	return v && json_object_is_type(v, json_type_boolean) ? json_object_get_boolean(v) : otherwise;
}

void sl_json_set(struct json_object *o, const char *key, struct json_object *v)
{
	if (json_object_object_add(o, key, v) != 0)
		json_object_put(v);
}

void sl_json_set_str(struct json_object *o, const char *key, struct sl_str v)
{
	sl_json_set(o, key, json_object_new_string_len(v.p, (int)v.len));
}

void sl_json_set_i64(struct json_object *o, const char *key, int64_t v)
{
	sl_json_set(o, key, json_object_new_int64(v));
}

void sl_json_set_f64(struct json_object *o, const char *key, double v)
{
	sl_json_set(o, key, json_object_new_double(v));
}

void sl_json_set_bool(struct json_object *o, const char *key, bool v)
{
	sl_json_set(o, key, json_object_new_boolean(v));
}

/* The shortest text that reads back as the same number. Not json-c's: it caches the text inside the object, and trees
 * of a parsed workflow are read by many threads. */
static void write_double(struct sl_buf *b, double v)
{
	char text[40];
	if (!isfinite(v)) {
		sl_buf_adds(b, "null");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, v); /* 24 bytes at most */
		if (strtod(text, NULL) == v)
			break;
	}
	sl_buf_adds(b, text);
	if (!strpbrk(text, ".e"))
		sl_buf_adds(b, ".0");
}

void sl_json_write(struct sl_buf *b, struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_null:
		sl_buf_adds(b, "null");
		break;
	case json_type_boolean:
		sl_buf_adds(b, json_object_get_boolean(o) ? "true" : "false");
		break;
	case json_type_int:
		if (json_object_get_int64(o) == INT64_MAX) /* may be a uint64 above it */
			sl_buf_adds(b, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
		else
			sl_buf_addi(b, json_object_get_int64(o));
		break;
	case json_type_double:
		write_double(b, json_object_get_double(o));
		break;
	case json_type_string:
		sl_buf_json_str(b, sl_json_str(o));
		break;
	case json_type_array:
		sl_buf_addc(b, '[');
		for (size_t i = 0; i < json_object_array_length(o); i++) {
			if (i)
				sl_buf_addc(b, ',');
			sl_json_write(b, json_object_array_get_idx(o, i));
		}
		sl_buf_addc(b, ']');
		break;
	case json_type_object: {
		bool first = true;
		sl_buf_addc(b, '{');
		json_object_object_foreach (o, k, v) {
			if (!first)
				sl_buf_addc(b, ',');
			first = false;
			sl_buf_json_str(b, sl_str(k));
			sl_buf_addc(b, ':');
			sl_json_write(b, v);
		}
		sl_buf_addc(b, '}');
		break;
	}
	}
}

struct json_object *sl_json_dup(struct json_object *o)
{
	struct json_object *copy = NULL;
	if (!o || json_object_deep_copy(o, &copy, NULL) != 0)
		return NULL;
	return copy;
}

bool sl_json_equal(struct json_object *a, struct json_object *b)
{
	return json_object_equal(a, b) != 0;
}

const char *sl_json_type_name(struct json_object *o)
{
	switch (json_object_get_type(o)) {
	case json_type_boolean:
		return "boolean";
	case json_type_int:
		return "integer";
	case json_type_double:
		return "number";
	case json_type_string:
		return "string";
	case json_type_array:
		return "array";
	case json_type_object:
		return "object";
	case json_type_null:
		break;
	}
	return "null";
}

void sl_pointer_add(struct sl_buf *pointer, struct sl_str token)
{
	sl_buf_addc(pointer, '/');
	for (size_t i = 0; i < token.len; i++)
		if (token.p[i] == '~')
			sl_buf_adds(pointer, "~0");
		else if (token.p[i] == '/')
			sl_buf_adds(pointer, "~1");
		else
			sl_buf_addc(pointer, token.p[i]);
}

void sl_pointer_add_index(struct sl_buf *pointer, size_t index)
{
	sl_buf_addc(pointer, '/');
	sl_buf_addu(pointer, index);
}
