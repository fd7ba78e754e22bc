/* llm/sim_text.c: words for the simulator: tokens of a text, filler, the answer of last resort, values for a schema. */
#include "base/json.h"
#include "base/utf8.h"
#include "llm/sim_priv.h"

uint64_t sl_sim_random(uint64_t *state) /* splitmix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static bool is_word(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Blank space goes with the word behind it, long words come in pieces, as real tokens do. */
size_t sl_sim_token(struct sl_str r)
{
	size_t n = 0, word = 0;
	while (n < r.len && n < 32 && (unsigned char)r.p[n] <= ' ')
		n++;
	if (n == r.len)
		return n;
	unsigned char c = (unsigned char)r.p[n];
	if (c >= 0x80) { /* one character */
		size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
		return n + (len < r.len - n ? len : r.len - n);
	}
	if (!is_word((unsigned char)r.p[n]))
		return n + 1;
	while (n + word < r.len && is_word((unsigned char)r.p[n + word]))
		word++;
	return n + (word <= 9 ? word : 6);
}

void sl_sim_filler(uint64_t *random, uint32_t words, struct sl_buf *out)
{
	static const char *const list[] = {
		"the",     "model",  "weighs",  "a",      "question", "from",    "several", "sides", "and",
		"finds",   "that",   "each",    "answer", "depends",  "on",      "what",    "we",    "measure",
		"first",   "so",     "it",      "states", "its",      "reasons", "plainly", "names", "the",
		"limits",  "of",     "what",    "is",     "known",    "then",    "gives",   "one",   "careful",
		"example", "before", "closing", "with",   "a",        "summary",
	};
	for (uint32_t i = 0; i < words; i++) {
		if (i)
			sl_buf_adds(out, i % 19 == 0 ? ". " : " ");
		sl_buf_adds(out, list[sl_sim_random(random) % SL_COUNT_OF(list)]);
	}
	sl_buf_addc(out, '.');
}

void sl_sim_own_words(struct sl_str gist, struct sl_buf *out)
{
	sl_buf_adds(out, "This is the Sluice simulator, not a language model: no provider key is configured, so the "
			 "text is made up. ");
	if (gist.len) {
		sl_buf_adds(out, "You asked: \xe2\x80\x9c");
		sl_buf_add(out, gist.p, gist.len);
		sl_buf_adds(out, "\xe2\x80\x9d.\n\n");
	}
	sl_buf_adds(out, "A real model would now go into it. It would first say how it reads the question and which "
			 "assumptions it makes, "
			 "then give its main point with two or three reasons, and name at least one thing that speaks "
			 "against it.\n\n"
			 "What you can judge here is everything around the answer: the tokens arrive one after the "
			 "other at the pace of a "
			 "model, the run can be paused, resumed and cancelled, and every step is in the journal. Set a "
			 "provider's key, or "
			 "write a scenario for the simulator, to get answers worth reading.");
}

static void schema_number(struct json_object *s, bool whole, struct sl_buf *out)
{
	double low = sl_json_get_f64(
		s, "minimum", sl_json_get_f64(s, "exclusiveMinimum", 0) + (sl_json_get(s, "exclusiveMinimum") != NULL));
	double high = sl_json_get_f64(s, "maximum", low + 100);
	double v = low + (high - low) * 3 / 4;
	if (whole)
		sl_buf_addi(out, (int64_t)v);
	else
		sl_buf_addf(out, "%.6g", v);
}

static void schema_text(struct json_object *s, struct sl_str *say, struct sl_buf *out)
{
	struct sl_str text = say->len ? *say : SL_STR("simulated: no model was asked");
	int64_t most = sl_json_get_i64(s, "maxLength", INT32_MAX);
	say->len = 0;
	sl_buf_json_str(out, sl_str_n(text.p, sl_utf8_cut(text.p, text.len, most > 0 ? (size_t)most : 0)));
}

/* The one that was to be said, else the first. */
static size_t choice_of(struct json_object *choices, struct sl_str *say)
{
	for (size_t i = 0; say->len && i < json_object_array_length(choices); i++) {
		struct sl_str one = sl_json_str(json_object_array_get_idx(choices, i));
		if (one.len == say->len && strncasecmp(one.p, say->p, one.len) == 0) {
			say->len = 0;
			return i;
		}
	}
	return 0;
}

void sl_sim_from_schema(struct json_object *s, int depth, struct sl_str *say, struct sl_buf *out)
{
	struct json_object *choices = sl_json_get(s, "enum"), *type = sl_json_get(s, "type"),
			   *fixed = sl_json_get(s, "const"), *either = sl_json_get(s, "anyOf");
	struct json_object *props = sl_json_get(s, "properties"), *items = sl_json_get(s, "items");
	if (json_object_is_type(type, json_type_array) && json_object_array_length(type))
		type = json_object_array_get_idx(type, 0);
	struct sl_str t = sl_json_str(type);
	if (!either)
		either = sl_json_get(s, "oneOf");
	if (fixed) {
		sl_json_write(out, fixed);
	} else if (json_object_is_type(either, json_type_array) && json_object_array_length(either) && depth <= 8) {
		sl_sim_from_schema(json_object_array_get_idx(either, 0), depth + 1, say, out);
	} else if (json_object_is_type(choices, json_type_array) && json_object_array_length(choices)) {
		sl_json_write(out, json_object_array_get_idx(choices, choice_of(choices, say)));
	} else if (depth > 8) {
		sl_buf_adds(out, "null");
	} else if (sl_str_is(t, "object") || props) {
		sl_buf_addc(out, '{');
		if (json_object_is_type(props, json_type_object)) {
			json_object_object_foreach (props, key, sub) {
				sl_buf_json_comma(out);
				sl_buf_json_str(out, sl_str(key));
				sl_buf_addc(out, ':');
				sl_sim_from_schema(sub, depth + 1, say, out);
			}
		}
		sl_buf_addc(out, '}');
	} else if (sl_str_is(t, "array")) {
		int64_t n = sl_json_get_i64(s, "minItems", 1);
		sl_buf_addc(out, '[');
		for (int64_t i = 0; i < n && i < 100; i++) {
			if (i)
				sl_buf_addc(out, ',');
			sl_sim_from_schema(items, depth + 1, say, out);
		}
		sl_buf_addc(out, ']');
	} else if (sl_str_is(t, "integer") || sl_str_is(t, "number")) {
		schema_number(s, sl_str_is(t, "integer"), out);
	} else if (sl_str_is(t, "boolean")) {
		sl_buf_adds(out, "true");
	} else if (sl_str_is(t, "null")) {
		sl_buf_adds(out, "null");
	} else {
		schema_text(s, say, out);
	}
}

static bool fits(struct json_object *schema, struct json_object *v)
{
	double d = json_object_get_double(v);
	bool number = json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double);
	return !number || (d >= sl_json_get_f64(schema, "minimum", d) && d <= sl_json_get_f64(schema, "maximum", d));
}

bool sl_sim_complete(struct json_object *schema, struct json_object *given, struct sl_buf *out)
{
	struct json_object *props = sl_json_get(schema, "properties");
	struct sl_str nothing = SL_STR("");
	bool missing = false;
	if (!json_object_is_type(given, json_type_object) || !json_object_is_type(props, json_type_object))
		return false;
	json_object_object_foreach (props, name, one) {
		struct json_object *v = sl_json_get(given, name);
		missing = missing || !v || !fits(one, v);
	}
	if (!missing)
		return false;
	sl_buf_addc(out, '{');
	json_object_object_foreach (props, key, sub) {
		struct json_object *v = sl_json_get(given, key);
		sl_buf_json_comma(out);
		sl_buf_json_str(out, sl_str(key));
		sl_buf_addc(out, ':');
		if (v && fits(sub, v))
			sl_json_write(out, v);
		else
			sl_sim_from_schema(sub, 1, &nothing, out);
	}
	sl_buf_addc(out, '}');
	return true;
}
