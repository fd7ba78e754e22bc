/* llm/answer.c: see answer.h. */
#include "llm/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"

enum sl_code sl_calls_at(struct sl_calls *c, int64_t index, struct sl_call_part **out, struct sl_error *err)
{
	if (index < 0 || index >= SL_CALLS_MOST)
		return sl_fail(err, SL_MALFORMED, "a tool call with index %lld", (long long)index);
	if ((size_t)index >= c->n) {
		struct sl_call_part *items = realloc(c->items, ((size_t)index + 1) * sizeof(*items));
		if (!items)
			return sl_fail(err, SL_NO_MEMORY, "tool call");
		c->items = items;
		for (; c->n <= (size_t)index; c->n++) {
			struct sl_call_part *p = &items[c->n];
			sl_buf_init(&p->id, 512);
			sl_buf_init(&p->name, 512);
			sl_buf_init(&p->arguments, SL_LIMIT_PAYLOAD_BYTES);
			sl_buf_init(&p->extra, SL_LIMIT_PAYLOAD_BYTES);
		}
	}
	*out = &c->items[index];
	return SL_OK;
}

enum sl_code sl_call_check(const struct sl_call_part *p, struct sl_error *err)
{
	if (p->id.failed || p->name.failed || p->arguments.failed || p->extra.failed)
		return sl_fail(err, SL_TOO_LARGE, "the arguments of a tool call are larger than %u bytes",
			       SL_LIMIT_PAYLOAD_BYTES);
	return SL_OK;
}

void sl_calls_write(const struct sl_calls *c, struct sl_buf *b)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct sl_call_part *p = &c->items[i];
		char made[32];
		(void)snprintf(made, sizeof(made), "call_%zu", i + 1);
		sl_buf_addc(b, i ? ',' : '[');
		sl_buf_addc(b, '{');
		sl_buf_json_kstr(b, "id", p->id.len ? sl_buf_str(&p->id) : sl_str(made));
		sl_buf_json_kz(b, "type", "function");
		sl_buf_json_key(b, "function");
		sl_buf_addc(b, '{');
		sl_buf_json_kstr(b, "name", sl_buf_str(&p->name));
		sl_buf_json_kstr(b, "arguments", p->arguments.len ? sl_buf_str(&p->arguments) : SL_STR("{}"));
		sl_buf_addc(b, '}');
		if (p->extra.len)
			sl_buf_json_kraw(b, "extra_content", sl_buf_str(&p->extra));
		sl_buf_addc(b, '}');
	}
	if (c->n)
		sl_buf_addc(b, ']');
}

void sl_calls_fini(struct sl_calls *c)
{
	for (size_t i = 0; i < c->n; i++) {
		sl_buf_fini(&c->items[i].id);
		sl_buf_fini(&c->items[i].name);
		sl_buf_fini(&c->items[i].arguments);
		sl_buf_fini(&c->items[i].extra);
	}
	free(c->items);
	*c = (struct sl_calls){0};
}

void sl_answer_name(char out[SL_ANSWER_NAME_BYTES], struct sl_str s)
{
	if (s.len == 0)
		return;
	size_t n = sl_utf8_cut(s.p, s.len, SL_ANSWER_NAME_BYTES - 1);
	memcpy(out, s.p, n);
	out[n] = 0;
}

void sl_answer_finish(struct sl_answer *a, struct sl_str word)
{
	static const struct {
		const char *theirs, *ours;
	} words[] = {
		{"end_turn", "stop"},
		{"stop_sequence", "stop"},
		{"max_tokens", "length"},
		{"tool_use", "tool_calls"},
		{"SAFETY", "content_filter"},
		{"RECITATION", "content_filter"},
		{"BLOCKLIST", "content_filter"},
		{"PROHIBITED_CONTENT", "content_filter"},
		{"SPII", "content_filter"},
		{"IMAGE_SAFETY", "content_filter"},
	};
	if (word.len == 0)
		return;
	for (size_t i = 0; i < SL_COUNT_OF(words); i++)
		if (sl_str_is_nocase(word, words[i].theirs))
			word = sl_str(words[i].ours);
	sl_answer_name(a->finish_reason, word);
	for (char *p = a->finish_reason; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p | 32);
}

uint64_t sl_answer_count(struct json_object *o, const char *key)
{
	int64_t v = sl_json_get_i64(o, key, 0);
	return v > 0 ? (uint64_t)v : 0;
}

enum sl_code sl_answer_text(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	return piece.len ? a->delta(a, kind, piece, err) : SL_OK;
}
