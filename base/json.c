/* base/json.c: see json.h. json-c keeps the last of two equal keys silently, and its strict mode is no help: 0.16 takes
 * NaN and single quotes, 0.18 refuses every byte above 0x7f. So a pass over the text checks the grammar, the depth and
 * the keys first, and json-c reads what is known to be JSON; only the escapes inside strings are left to it. */
#include "base/json.h"

#include <errno.h>
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

/* Compares escaped texts: "a" and "\u0061" slip through here, and are found when the object is made. */
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

enum expect {
	A_VALUE,
	VALUE_OR_END, /* behind [ */
	A_KEY,
	KEY_OR_END, /* behind { */
	A_COLON,
	WHAT_FOLLOWS, /* behind a value: a comma, the end of what holds it, or of the text */
};

static bool digit(struct sl_str t, size_t i)
{
	return i < t.len && t.p[i] >= '0' && t.p[i] <= '9';
}

static size_t digits_end(struct sl_str t, size_t i)
{
	while (digit(t, i))
		i++;
	return i;
}

/* The index behind the number that begins at i; i itself when that is none, or no integer of 64 bits holds it. */
static size_t number_end(struct sl_str t, size_t begin)
{
	bool minus = t.p[begin] == '-', whole = true;
	size_t i = begin + (minus ? 1 : 0), first = i;
	if (!digit(t, i))
		return begin;
	i = t.p[i] == '0' ? i + 1 : digits_end(t, i);
	size_t n = i - first;
	if (i < t.len && t.p[i] == '.') {
		whole = false;
		if (!digit(t, ++i))
			return begin;
		i = digits_end(t, i);
	}
	if (i < t.len && (t.p[i] == 'e' || t.p[i] == 'E')) {
		whole = false;
		i++;
		if (i < t.len && (t.p[i] == '+' || t.p[i] == '-'))
			i++;
		if (!digit(t, i))
			return begin;
		i = digits_end(t, i);
	}
	const char *most = minus ? "9223372036854775808" : "18446744073709551615"; /* json-c would take these instead */
	size_t max = strlen(most);
	return whole && (n > max || (n == max && memcmp(t.p + first, most, n) > 0)) ? begin : i;
}

/* As number_end; a word that the end of the text cuts is t.len + 1. */
static size_t word_end(struct sl_str t, size_t begin)
{
	static const char *const words[] = {"true", "false", "null"};
	for (size_t w = 0; w < SL_COUNT_OF(words); w++) {
		size_t len = strlen(words[w]), left = t.len - begin;
		if (memcmp(t.p + begin, words[w], left < len ? left : len) == 0)
			return left < len ? t.len + 1 : begin + len;
	}
	return begin;
}

static enum sl_code misplaced(struct sl_str t, size_t at, const char *why, struct sl_error *err)
{
	unsigned line, col;
	place(t, at, &line, &col);
	return sl_fail(err, SL_INVALID, "line %u, column %u: %s", line, col, why);
}

/* *i is at the opening quote, and afterwards at the closing one, or at t.len when there is none. */
static enum sl_code pass_string(struct sl_str t, size_t *i, struct sl_error *err)
{
	unsigned line, col;
	for ((*i)++; *i < t.len && t.p[*i] != '"'; *i += t.p[*i] == '\\' ? 2 : 1)
		if ((unsigned char)t.p[*i] < 0x20) {
			place(t, *i, &line, &col);
			return sl_fail(err, SL_INVALID,
				       "line %u, column %u: a control character inside a string, write it as \\u%04x",
				       line, col, (unsigned char)t.p[*i]);
		}
	if (*i > t.len)
		*i = t.len;
	return SL_OK;
}

static enum sl_code close_level(struct sl_str t, struct scan *s, struct sl_error *err)
{
	unsigned line, col;
	struct level *l = &s->levels[s->depth--];
	const struct key *dup = l->object ? twice(s, l->first_key) : NULL;
	if (dup) {
		place(t, (size_t)(dup->raw.p - t.p), &line, &col);
		return sl_fail(err, SL_INVALID, "line %u, column %u: the key \"%.*s\" occurs twice", line, col,
			       (int)(dup->raw.len > 64 ? 64 : dup->raw.len), dup->raw.p);
	}
	s->n_keys = l->first_key;
	return SL_OK;
}

static const char *missing(enum expect e, const struct scan *s, char c)
{
	if (c == '/' || c == '#')
		return "JSON has no comments";
	if ((e == A_KEY && c == '}') || (e == A_VALUE && c == ']' && s->depth && !s->levels[s->depth].object))
		return "a comma too many before this";
	if (e == A_KEY || e == KEY_OR_END)
		return "a key in double quotes belongs here";
	if (e == A_COLON)
		return "a colon belongs here";
	if (e != WHAT_FOLLOWS && (c == '-' || (c >= '0' && c <= '9')))
		return "no number of JSON, or a whole one of more than 64 bits";
	if (e != WHAT_FOLLOWS && (unsigned char)c == 0xef)
		return "a byte order mark, perhaps; save the text as UTF-8 without one";
	if (e != WHAT_FOLLOWS)
		return "no JSON value begins like this";
	return s->depth ? "a comma is missing here, or the end" : "text after the end of the JSON value";
}

static enum sl_code prescan(struct sl_str t, struct scan *s, struct sl_error *err)
{
	enum expect e = A_VALUE;
	unsigned line, col;
	for (size_t i = 0; i < t.len; i++) {
		char c = t.p[i];
		bool value = e == A_VALUE || e == VALUE_OR_END, object = s->depth && s->levels[s->depth].object;
		if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c == '"' && (value || e == A_KEY || e == KEY_OR_END)) {
			size_t begin = i + 1;
			enum sl_code rc = pass_string(t, &i, err);
			if (rc != SL_OK)
				return rc;
			if (i == t.len)
				return misplaced(t, i, "the JSON text ends too early", err);
			if (!value && !remember_key(s, sl_str_n(t.p + begin, i - begin)))
				return sl_fail(err, SL_NO_MEMORY, "reading JSON");
			e = value ? WHAT_FOLLOWS : A_COLON;
		} else if ((c == '{' || c == '[') && value) {
			if (s->depth >= SL_LIMIT_JSON_DEPTH) {
				place(t, i, &line, &col);
				return sl_fail(err, SL_INVALID, "line %u, column %u: nested deeper than %d levels",
					       line, col, SL_LIMIT_JSON_DEPTH);
			}
			s->levels[++s->depth] = (struct level){c == '{', s->n_keys};
			e = c == '{' ? KEY_OR_END : VALUE_OR_END;
		} else if (s->depth && c == (object ? '}' : ']') &&
			   (e == WHAT_FOLLOWS || e == (object ? KEY_OR_END : VALUE_OR_END))) {
			enum sl_code rc = close_level(t, s, err);
			if (rc != SL_OK)
				return rc;
			e = WHAT_FOLLOWS;
		} else if (c == ',' && e == WHAT_FOLLOWS && s->depth) {
			e = object ? A_KEY : A_VALUE;
		} else if (c == ':' && e == A_COLON) {
			e = A_VALUE;
		} else if (c == '\'' && e != A_COLON && e != WHAT_FOLLOWS) {
			return misplaced(t, i, "strings are written in double quotes", err);
		} else {
			size_t end = !value ? i : c == '-' || digit(t, i) ? number_end(t, i) : word_end(t, i);
			if (end == i)
				return misplaced(t, i, missing(e, s, c), err);
			if (end > t.len)
				break;
			i = end - 1;
			e = WHAT_FOLLOWS;
		}
	}
	if (e == A_VALUE && !s->depth && !sl_str_trim(t).len)
		return misplaced(t, t.len, "there is no JSON in it", err);
	return e == WHAT_FOLLOWS && !s->depth ? SL_OK : misplaced(t, t.len, "the JSON text ends too early", err);
}

/* Makes the values of a text that prescan() has accepted. json-c's own reader (0.16) does not survive without memory:
 * it drops members and pieces of texts, or follows a NULL. Its objects do. */
struct build {
	struct sl_str t;
	size_t i; /* at the next thing that is no space */
	enum sl_code rc;
	struct sl_error *err;
};

static void next_thing(struct build *b)
{
	while (b->i < b->t.len && memchr(" \t\r\n,:", b->t.p[b->i], 6))
		b->i++;
}

static struct json_object *without_memory(struct build *b)
{
	b->rc = sl_fail(b->err, SL_NO_MEMORY, "reading JSON");
	return NULL;
}

static unsigned hex4(struct sl_str t, size_t i)
{
	unsigned v = 0;
	for (size_t k = i; k < i + 4; k++) {
		char c = k < t.len ? t.p[k] : 'x';
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (d < 0)
			return UINT32_MAX;
		v = v * 16 + (unsigned)d;
	}
	return v;
}

static size_t put_utf8(char *out, unsigned c)
{
	if (c < 0x80)
		return out[0] = (char)c, 1;
	if (c < 0x800)
		return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f)), 2;
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		return out[2] = (char)(0x80 | (c & 0x3f)), 3;
	}
	out[0] = (char)(0xf0 | c >> 18), out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	return out[2] = (char)(0x80 | (c >> 6 & 0x3f)), out[3] = (char)(0x80 | (c & 0x3f)), 4;
}

/* One escape at b->t.p[*i], the backslash; *i is behind it afterwards. Half of a surrogate pair is U+FFFD. False: it is
 * none. */
static bool unescape(const struct build *b, size_t *i, char *out, size_t *n)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = *i + 1 < b->t.len ? b->t.p[*i + 1] : 0;
	const char *at = c ? strchr(from, c) : NULL;
	if (at) {
		out[(*n)++] = to[at - from];
		*i += 2;
		return true;
	}
	unsigned u = c == 'u' ? hex4(b->t, *i + 2) : UINT32_MAX;
	if (u == UINT32_MAX)
		return false;
	*i += 6;
	if (u >= 0xd800 && u < 0xdc00 && *i + 1 < b->t.len && b->t.p[*i] == '\\' && b->t.p[*i + 1] == 'u') {
		unsigned low = hex4(b->t, *i + 2);
		if (low >= 0xdc00 && low < 0xe000) {
			u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
			*i += 6;
		}
	}
	*n += put_utf8(out + *n, u >= 0xd800 && u < 0xe000 ? 0xfffd : u);
	return true;
}

/* The string at b->i, up to behind its closing quote. *copy is the caller's, NULL when the text itself will do. */
static struct sl_str build_text(struct build *b, bool copied, char **copy)
{
	size_t begin = b->i + 1, end = begin, n = 0;
	bool escapes = false;
	*copy = NULL;
	for (; b->t.p[end] != '"'; end += b->t.p[end] == '\\' ? 2 : 1)
		escapes |= b->t.p[end] == '\\';
	b->i = end + 1;
	if (!escapes && !copied)
		return sl_str_n(b->t.p + begin, end - begin);
	*copy = malloc(end - begin + 1); /* an escape never becomes longer */
	if (!*copy) {
		(void)without_memory(b);
		return SL_STR("");
	}
	for (size_t i = begin; i < end;)
		if (b->t.p[i] != '\\') {
			(*copy)[n++] = b->t.p[i++];
		} else if (!unescape(b, &i, *copy, &n)) {
			b->rc = misplaced(b->t, i, "no such escape in a string", b->err);
			break;
		}
	(*copy)[n] = 0;
	return sl_str_n(*copy, n);
}

static struct json_object *build_number(struct build *b)
{
	size_t begin = b->i, n = number_end(b->t, begin) - begin;
	SL_AUTO_MEM char *z = sl_str_dup(sl_str_n(b->t.p + begin, n));
	struct json_object *o = NULL;
	b->i += n;
	if (!z)
		return without_memory(b);
	errno = 0;
	if (strpbrk(z, ".eE")) {
		double d = strtod(z, NULL);
		if (!isfinite(d)) { /* it would be written as null */
			b->rc = misplaced(b->t, begin, "a number larger than any double", b->err);
			return NULL;
		}
		o = json_object_new_double_s(d, z);
	} else {
		long long v = strtoll(z, NULL, 10);
		o = errno == ERANGE && *z != '-' ? json_object_new_uint64(strtoull(z, NULL, 10))
						 : json_object_new_int64(v);
	}
	return o ? o : without_memory(b);
}

static struct json_object *build_value(struct build *b);

static struct json_object *build_members(struct build *b, struct json_object *o)
{
	for (b->i++, next_thing(b); b->rc == SL_OK && b->t.p[b->i] != '}'; next_thing(b)) {
		SL_AUTO_MEM char *key = NULL;
		struct sl_str name = build_text(b, true, &key);
		size_t at = b->i;
		if (b->rc == SL_OK && (memchr(name.p, 0, name.len) || json_object_object_get_ex(o, key, NULL)))
			b->rc = misplaced(b->t, at - 1, "a key that occurs twice, or has a NUL in it", b->err);
		if (b->rc != SL_OK)
			break;
		next_thing(b);
		struct json_object *v = build_value(b);
		if (b->rc == SL_OK && json_object_object_add(o, key, v) != 0) {
			json_object_put(v);
			(void)without_memory(b);
		}
	}
	b->i++;
	return o;
}

static struct json_object *build_items(struct build *b, struct json_object *o)
{
	for (b->i++, next_thing(b); b->rc == SL_OK && b->t.p[b->i] != ']'; next_thing(b)) {
		struct json_object *v = build_value(b);
		if (b->rc == SL_OK && json_object_array_add(o, v) != 0) {
			json_object_put(v);
			(void)without_memory(b);
		}
	}
	b->i++;
	return o;
}

/* NULL: null, or b->rc says why. */
static struct json_object *build_value(struct build *b)
{
	struct json_object *o = NULL;
	char c = b->t.p[b->i];
	if (c == '{' || c == '[') {
		o = c == '{' ? json_object_new_object() : json_object_new_array();
		if (!o)
			return without_memory(b);
		if (c == '{')
			build_members(b, o);
		else
			build_items(b, o);
	} else if (c == '"') {
		SL_AUTO_MEM char *copy = NULL;
		struct sl_str text = build_text(b, false, &copy);
		if (b->rc == SL_OK && !(o = json_object_new_string_len(text.p, (int)text.len)))
			return without_memory(b);
	} else if (c == 't' || c == 'f') {
		b->i += c == 't' ? 4 : 5;
		if (!(o = json_object_new_boolean(c == 't')))
			return without_memory(b);
	} else if (c == 'n') {
		b->i += 4;
	} else {
		return build_number(b);
	}
	if (b->rc != SL_OK) {
		json_object_put(o);
		return NULL;
	}
	return o;
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

	struct build build = {.t = text, .err = err};
	next_thing(&build);
	struct json_object *o = build_value(&build);
	if (build.rc == SL_OK)
		*out = o;
	return build.rc;
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

static _Thread_local uint64_t losses;

uint64_t sl_json_losses(void)
{
	return losses;
}

void sl_json_lost(void)
{
	losses++;
}

void sl_json_set(struct json_object *o, const char *key, struct json_object *v)
{
	if (!o || json_object_object_add(o, key, v) != 0) {
		json_object_put(v);
		losses++;
	}
}

void sl_json_append(struct json_object *list, struct json_object *v)
{
	if (!list || json_object_array_add(list, v) != 0) {
		json_object_put(v);
		losses++;
	}
}

/* v was made for this: that there is none is no null, but want of memory. */
static void set_made(struct json_object *o, const char *key, struct json_object *v)
{
	if (v)
		sl_json_set(o, key, v);
	else
		losses++;
}

void sl_json_set_str(struct json_object *o, const char *key, struct sl_str v)
{
	set_made(o, key, json_object_new_string_len(v.p, (int)v.len));
}

void sl_json_set_z(struct json_object *o, const char *key, const char *z)
{
	if (z)
		sl_json_set_str(o, key, sl_str(z));
	else
		sl_json_set(o, key, NULL);
}

void sl_json_append_z(struct json_object *list, const char *z)
{
	struct json_object *v = json_object_new_string(z);
	if (v)
		sl_json_append(list, v);
	else
		losses++;
}

void sl_json_set_i64(struct json_object *o, const char *key, int64_t v)
{
	set_made(o, key, json_object_new_int64(v));
}

void sl_json_set_f64(struct json_object *o, const char *key, double v)
{
	set_made(o, key, json_object_new_double(v));
}

void sl_json_set_bool(struct json_object *o, const char *key, bool v)
{
	set_made(o, key, json_object_new_boolean(v));
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
	if (!o)
		return NULL;
	if (json_object_deep_copy(o, &copy, NULL) != 0) {
		losses++;
		return NULL;
	}
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

void sl_buf_json_problem(struct sl_buf *list, struct sl_str pointer, const char *message)
{
	sl_buf_json_comma(list);
	sl_buf_addc(list, '{');
	sl_buf_json_kstr(list, "pointer", pointer);
	sl_buf_json_kz(list, "message", message);
	sl_buf_addc(list, '}');
}
