/* llm/condense.c: see condense.h. The text is planned from the newest entry to the oldest and written from the oldest
 * to the newest. Costs are in twelfths of a token (llm/tokens.h), so that nothing is lost to rounding; pieces are
 * counted as if each stood alone, which is never less than what they come to in one text. */
#include "llm/condense.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "llm/tokens.h"

#define ENTRY_BYTES (8u * SL_LIMIT_PAYLOAD_BYTES) /* as JSON, a value may take several times its own size */
#define PART_LEAST  48                            /* bytes of each voice in a line */
#define MORE        "…"
#define TWELFTHS    12u
#define BREAK       6u /* what two line breaks cost */

struct entry {
	struct json_object *value; /* borrowed */
	char *text;                /* as it goes in; NULL: dropped */
	size_t len;
	bool full;
};

struct plan {
	struct entry *entries; /* the oldest first */
	uint32_t n, first_full;
};

static struct sl_str collapse(struct sl_str s, struct sl_buf *out, size_t most)
{
	size_t from = out->len;
	bool blank = false;
	s = sl_str_trim(s);
	size_t len = sl_utf8_cut(s.p, s.len, 4 * most); /* enough, whatever blanks there are */
	for (size_t i = 0; i < len; i++) {
		bool is = (unsigned char)s.p[i] <= ' ';
		if (!is || !blank)
			sl_buf_addc(out, is ? ' ' : s.p[i]);
		blank = is;
	}
	size_t n = out->len - from, cut = n <= most ? n : sl_utf8_cut(out->data + from, n, most);
	if (cut < n || len < s.len) {
		out->len = from + cut;
		sl_buf_adds(out, MORE);
	}
	return sl_str_n(out->data ? out->data + from : "", out->len - from);
}

/* What a value says. */
static void add_value(struct json_object *v, struct sl_buf *out)
{
	struct sl_str text = sl_json_get_str(v, "text");
	struct json_object *value = sl_json_get(v, "value");
	if (json_object_is_type(v, json_type_string))
		text = sl_json_str(v);
	else if (!text.len && json_object_is_type(value, json_type_string))
		text = sl_json_str(value);
	text = sl_str_trim(text);
	if (text.len)
		sl_buf_add(out, text.p, text.len);
	else if (!json_object_is_type(v, json_type_string))
		sl_json_write(out, value ? value : v);
}

/* "[round 3, score 78]" */
static void add_head(struct json_object *v, struct sl_buf *out)
{
	struct json_object *score = sl_json_get(v, "score");
	sl_buf_addf(out, "[round %lld", (long long)sl_json_get_i64(v, "round", 0));
	if (score)
		sl_buf_addf(out, ", score %.10g", json_object_get_double(score));
	sl_buf_addc(out, ']');
}

static void add_part(const char *name, struct json_object *v, size_t most, struct sl_buf *out)
{
	SL_BUF(said, ENTRY_BYTES);
	add_value(v, &said);
	sl_buf_addf(out, "%s: ", name);
	if (most)
		(void)collapse(sl_buf_str(&said), out, most);
	else
		sl_buf_add(out, said.data ? said.data : "", said.len);
	out->failed |= said.failed;
}

static void add_entry(struct json_object *v, bool full, struct sl_buf *out)
{
	struct json_object *outputs = sl_json_get(v, "outputs"), *content = sl_json_get(v, "content");
	const char *role = sl_json_get_z(v, "role");
	size_t most = full ? 0 : SL_CONDENSE_LINE_BYTES;
	if (outputs && json_object_is_type(outputs, json_type_object) && sl_json_get(v, "round")) {
		size_t n = (size_t)json_object_object_length(outputs);
		if (!full && n)
			most = SL_CONDENSE_LINE_BYTES / n > PART_LEAST ? SL_CONDENSE_LINE_BYTES / n : PART_LEAST;
		add_head(v, out);
		json_object_object_foreach (outputs, name, one) {
			sl_buf_adds(out, full ? "\n" : " ");
			add_part(name, one, most, out);
		}
	} else if (role && content) {
		add_part(role, content, most, out);
	} else if (full) {
		add_value(v, out);
	} else {
		SL_BUF(said, ENTRY_BYTES);
		add_value(v, &said);
		(void)collapse(sl_buf_str(&said), out, most);
		out->failed |= said.failed;
	}
}

static bool is_empty(struct json_object *v)
{
	return !v || (json_object_is_type(v, json_type_string) && !sl_str_trim(sl_json_str(v)).len) ||
	       (json_object_is_type(v, json_type_object) && json_object_object_length(v) == 0);
}

static void gather(struct json_object *v, unsigned depth, struct plan *p, bool count_only)
{
	if (json_object_is_type(v, json_type_array) && depth < 2) {
		for (size_t i = 0; i < json_object_array_length(v); i++)
			gather(json_object_array_get_idx(v, i), depth + 1, p, count_only);
	} else if (!is_empty(v)) {
		if (!count_only)
			p->entries[p->n].value = v;
		p->n++;
	}
}

static enum sl_code plan_new(struct json_object *source, uint32_t full_rounds, struct plan *p)
{
	*p = (struct plan){0};
	gather(source, 0, p, true);
	p->entries = calloc(p->n + 1, sizeof(*p->entries));
	if (!p->entries)
		return SL_NO_MEMORY;
	p->n = 0;
	gather(source, 0, p, false);
	p->first_full = full_rounds < p->n ? p->n - full_rounds : 0;
	return SL_OK;
}

static void plan_free(struct plan *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		free(p->entries[i].text);
	free(p->entries);
}

static uint64_t cost(struct sl_str s)
{
	struct sl_token_count c = {0};
	sl_tokens_add(&c, s);
	return c.twelfths;
}

/* The longest beginning, with a sign that it is one, that costs no more than that. */
static size_t cut_to(struct sl_str s, uint64_t most)
{
	struct sl_token_count c = {0};
	size_t good = 0;
	for (size_t i = 0, n; i < s.len; i += n) {
		n = 1;
		while (i + n < s.len && ((unsigned char)s.p[i + n] & 0xc0) == 0x80)
			n++;
		sl_tokens_add(&c, sl_str_n(s.p + i, n));
		struct sl_token_count with = c;
		sl_tokens_add(&with, SL_STR(MORE));
		if (with.twelfths > most)
			break;
		good = i + n;
	}
	return good;
}

static enum sl_code keep(struct entry *e, struct sl_buf *b, bool full)
{
	if (b->failed)
		return SL_NO_MEMORY;
	e->len = b->len;
	e->full = full;
	e->text = sl_buf_take(b);
	return e->text ? SL_OK : SL_NO_MEMORY;
}

/* From the newest to the oldest, as far as the budget goes. The first that has no room ends it. */
static enum sl_code choose(struct plan *p, uint32_t from, uint64_t max_tokens, uint64_t *left)
{
	*left = max_tokens * TWELFTHS;
	for (uint32_t i = p->n; i-- > from;) {
		struct entry *e = &p->entries[i];
		SL_BUF(text, 2u * ENTRY_BYTES);
		bool newest = i + 1 == p->n, full = i >= p->first_full;
		add_entry(e->value, full, &text);
		if (full && !newest && cost(sl_buf_str(&text)) + BREAK > *left) {
			sl_buf_reset(&text);
			full = false;
			add_entry(e->value, false, &text);
		}
		if (text.failed)
			return SL_NO_MEMORY;
		uint64_t took = cost(sl_buf_str(&text)) + (newest ? 0 : BREAK);
		if (newest && took > *left) {
			text.len = cut_to(sl_buf_str(&text), *left);
			sl_buf_adds(&text, MORE);
			full = false;
			took = cost(sl_buf_str(&text));
		} else if (took > *left) {
			return SL_OK;
		}
		*left -= took < *left ? took : *left;
		if (keep(e, &text, full) != SL_OK)
			return SL_NO_MEMORY;
	}
	return SL_OK;
}

static void write_down(struct plan *p, struct sl_buf *text, struct sl_condensed *out)
{
	bool any = text->len > 0, full_before = any;
	for (uint32_t i = 0; i < p->n; i++) {
		const struct entry *e = &p->entries[i];
		if (!e->text)
			continue;
		if (any)
			sl_buf_adds(text, e->full || full_before ? "\n\n" : "\n");
		sl_buf_add(text, e->text, e->len);
		any = true;
		full_before = e->full;
		out->full += e->full;
		out->shortened += !e->full;
	}
}

enum sl_code sl_condense(struct json_object *source, uint32_t full_rounds, uint64_t max_tokens, struct sl_str summary,
			 struct sl_buf *text, struct sl_condensed *out)
{
	struct plan p;
	uint64_t left;
	uint32_t from = 0;
	size_t before = text->len;
	*out = (struct sl_condensed){0};
	enum sl_code rc = plan_new(source, full_rounds, &p);
	if (rc != SL_OK)
		return rc;
	out->entries = p.n;
	summary = sl_str_trim(summary);
	if (summary.len && p.n) /* the newest goes in whatever stands for the others */
		from = p.first_full < p.n ? p.first_full : p.n - 1;
	rc = choose(&p, from, max_tokens, &left);
	if (rc == SL_OK && from && left > TWELFTHS + BREAK && p.entries[from].text) {
		bool fits = cost(summary) + BREAK <= left;
		sl_buf_add(text, summary.p, fits ? summary.len : cut_to(summary, left - BREAK));
		if (!fits)
			sl_buf_adds(text, MORE);
		out->shortened = from;
	}
	write_down(&p, text, out);
	out->dropped = out->entries - out->full - out->shortened;
	out->tokens = sl_tokens_of_text(sl_str_n(text->data ? text->data + before : "", text->len - before));
	plan_free(&p);
	return rc == SL_OK && text->failed ? SL_NO_MEMORY : rc;
}

uint64_t sl_condense_older(struct json_object *source, uint32_t full_rounds, uint64_t max_tokens, struct sl_buf *older)
{
	struct plan p;
	uint64_t left = 0, room = SL_CONDENSE_PROMPT_TOKENS * TWELFTHS;
	if (plan_new(source, full_rounds, &p) != SL_OK)
		return 0;
	uint32_t from = p.first_full < p.n || !p.n ? p.first_full : p.n - 1, first = from;
	bool fits = from && choose(&p, from, max_tokens, &left) == SL_OK && p.entries[from].text &&
		    left > (SL_CONDENSE_ROOM_LEAST + 1) * TWELFTHS;
	for (uint32_t i = from; fits && i-- > 0;) {
		struct entry *e = &p.entries[i];
		SL_BUF(text, 2u * ENTRY_BYTES);
		add_entry(e->value, true, &text);
		uint64_t took = cost(sl_buf_str(&text)) + BREAK;
		if (took > room) {
			if (i + 1 < from)
				break;
			text.len = cut_to(sl_buf_str(&text), room);
			sl_buf_adds(&text, MORE);
		}
		room -= took < room ? took : room;
		fits = keep(e, &text, true) == SL_OK;
		first = i;
	}
	for (uint32_t i = first; fits && i < from; i++) {
		if (i > first)
			sl_buf_adds(older, "\n\n");
		sl_buf_add(older, p.entries[i].text, p.entries[i].len);
	}
	plan_free(&p);
	return fits && !older->failed && older->len ? left / TWELFTHS - 1 : 0;
}
