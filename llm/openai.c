/* llm/openai.c: see openai.h. Two shapes of an answer: events, or one JSON document. Plain text chunks take the short
 * way through llm/scan.c; everything else is parsed. */
#include "llm/openai.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "llm/refusal.h"
#include "llm/scan.h"
#include "llm/sse.h"

#define OPENAI_TOOLS 128

enum openai_shape { OPENAI_UNKNOWN, OPENAI_EVENTS, OPENAI_WHOLE, OPENAI_FOREIGN };

struct openai_tool {
	struct sl_buf id, name, arguments;
};

struct openai {
	struct sl_answer *a;
	const struct sl_http_head *head;
	enum openai_shape shape;
	struct sl_sse sse;
	struct sl_buf whole;   /* the document, or the beginning of a foreign page */
	struct sl_buf scratch; /* an unescaped piece */
	struct openai_tool *tools;
	size_t n_tools;
	bool any_choice;
	struct sl_error *err; /* of the call that feeds, during it */
};

static void copy_name(char out[SL_ANSWER_NAME_BYTES], struct sl_str s)
{
	if (s.len == 0)
		return;
	size_t n = sl_utf8_cut(s.p, s.len, SL_ANSWER_NAME_BYTES - 1);
	memcpy(out, s.p, n);
	out[n] = 0;
}

static uint64_t count_of(struct json_object *o, const char *key)
{
	int64_t v = sl_json_get_i64(o, key, 0);
	return v > 0 ? (uint64_t)v : 0;
}

static void openai_usage(struct openai *o, struct json_object *u)
{
	struct sl_chat_usage *to = &o->a->usage;
	if (!json_object_is_type(u, json_type_object))
		return;
	to->known = true;
	to->input_tokens = count_of(u, "prompt_tokens"); /* the last report counts, they are not summed */
	to->output_tokens = count_of(u, "completion_tokens");
	to->cached_tokens = count_of(sl_json_get(u, "prompt_tokens_details"), "cached_tokens");
	if (!to->cached_tokens)
		to->cached_tokens = count_of(u, "prompt_cache_hit_tokens");
	to->reasoning_tokens = count_of(sl_json_get(u, "completion_tokens_details"), "reasoning_tokens");
}

static enum sl_code openai_text(struct openai *o, enum sl_chat_kind kind, struct sl_str piece)
{
	return piece.len ? o->a->delta(o->a, kind, piece, o->err) : SL_OK;
}

static enum sl_code openai_tool(struct openai *o, struct json_object *call, size_t position)
{
	int64_t index = sl_json_get_i64(call, "index", (int64_t)position);
	if (index < 0 || index >= OPENAI_TOOLS)
		return sl_fail(o->err, SL_MALFORMED, "a tool call with index %lld", (long long)index);
	if ((size_t)index >= o->n_tools) {
		struct openai_tool *t = realloc(o->tools, ((size_t)index + 1) * sizeof(*t));
		if (!t)
			return sl_fail(o->err, SL_NO_MEMORY, "tool call");
		o->tools = t;
		for (; o->n_tools <= (size_t)index; o->n_tools++) {
			sl_buf_init(&t[o->n_tools].id, 512);
			sl_buf_init(&t[o->n_tools].name, 512);
			sl_buf_init(&t[o->n_tools].arguments, SL_LIMIT_PAYLOAD_BYTES);
		}
	}
	struct openai_tool *t = &o->tools[index];
	struct json_object *f = sl_json_get(call, "function"), *args = sl_json_get(f, "arguments");
	struct sl_str id = sl_json_get_str(call, "id"), name = sl_json_get_str(f, "name"), text = sl_json_str(args);
	if (t->id.len == 0) /* some repeat it in every piece */
		sl_buf_add(&t->id, id.p, id.len);
	if (!sl_str_eq(sl_buf_str(&t->name), name))
		sl_buf_add(&t->name, name.p, name.len);
	if (args && !json_object_is_type(args, json_type_string))
		sl_json_write(&t->arguments, args); /* an object instead of its text */
	else
		sl_buf_add(&t->arguments, text.p, text.len);
	if (t->id.failed || t->name.failed || t->arguments.failed)
		return sl_fail(o->err, SL_TOO_LARGE, "the arguments of a tool call are larger than %u bytes",
			       SL_LIMIT_PAYLOAD_BYTES);
	return SL_OK;
}

static enum sl_code openai_content(struct openai *o, struct json_object *content)
{
	enum sl_code rc = SL_OK;
	if (!json_object_is_type(content, json_type_array))
		return openai_text(o, SL_CHAT_TEXT, sl_json_str(content));
	for (size_t i = 0; rc == SL_OK && i < json_object_array_length(content); i++)
		rc = openai_text(o, SL_CHAT_TEXT, sl_json_get_str(json_object_array_get_idx(content, i), "text"));
	return rc;
}

/* A delta of a stream, or the message of a whole answer: they have the same members. */
static enum sl_code openai_message(struct openai *o, struct json_object *m)
{
	struct json_object *calls = sl_json_get(m, "tool_calls");
	struct sl_str thought = sl_json_get_str(m, "reasoning_content"), refusal = sl_json_get_str(m, "refusal");
	if (thought.len == 0)
		thought = sl_json_get_str(m, "reasoning");
	enum sl_code rc = openai_text(o, SL_CHAT_THINKING, thought);
	if (rc == SL_OK)
		rc = openai_content(o, sl_json_get(m, "content"));
	sl_buf_add(&o->a->refusal, refusal.p, refusal.len);
	if (json_object_is_type(calls, json_type_array))
		for (size_t i = 0; rc == SL_OK && i < json_object_array_length(calls); i++)
			rc = openai_tool(o, json_object_array_get_idx(calls, i), i);
	return rc;
}

static enum sl_code openai_document(struct openai *o, struct json_object *doc, const char *message_key)
{
	struct json_object *error = sl_json_get(doc, "error"), *choices = sl_json_get(doc, "choices");
	if (error)
		return sl_refusal_of_object(error, o->head, o->err);
	if (!json_object_is_type(doc, json_type_object))
		return sl_fail(o->err, SL_MALFORMED, "the answer is a JSON %s, not an object", sl_json_type_name(doc));
	copy_name(o->a->model, sl_json_get_str(doc, "model"));
	openai_usage(o, sl_json_get(doc, "usage"));
	openai_usage(o, sl_json_get(sl_json_get(doc, "x_groq"), "usage"));
	if (!choices) {
		const char *object = sl_json_get_z(doc, "object");
		if (object && strcmp(object, "error") == 0) /* {"object":"error","message":…} */
			return sl_refusal_of_object(doc, o->head, o->err);
		return sl_json_get(doc, "usage") ? SL_OK : sl_fail(o->err, SL_MALFORMED, "an answer without choices");
	}
	if (!json_object_is_type(choices, json_type_array))
		return sl_fail(o->err, SL_MALFORMED, "choices is no array");
	for (size_t i = 0; i < json_object_array_length(choices); i++) {
		struct json_object *c = json_object_array_get_idx(choices, i);
		if (sl_json_get_i64(c, "index", 0) != 0)
			continue; /* we ask for one */
		error = sl_json_get(c, "error");
		if (error)
			return sl_refusal_of_object(error, o->head, o->err);
		o->any_choice = true;
		copy_name(o->a->finish_reason, sl_json_get_str(c, "finish_reason"));
		enum sl_code rc = openai_message(o, sl_json_get(c, message_key));
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

static void openai_complete(struct openai *o)
{
	struct sl_buf *b = &o->a->tool_calls;
	o->a->complete = true;
	for (size_t i = 0; i < o->n_tools; i++) {
		struct openai_tool *t = &o->tools[i];
		sl_buf_addc(b, i ? ',' : '[');
		sl_buf_addc(b, '{');
		sl_buf_json_kstr(b, "id", sl_buf_str(&t->id));
		sl_buf_json_kz(b, "type", "function");
		sl_buf_json_key(b, "function");
		sl_buf_addc(b, '{');
		sl_buf_json_kstr(b, "name", sl_buf_str(&t->name));
		sl_buf_json_kstr(b, "arguments", sl_buf_str(&t->arguments));
		sl_buf_adds(b, "}}");
	}
	if (o->n_tools)
		sl_buf_addc(b, ']');
}

static enum sl_code openai_event(void *ctx, const struct sl_sse_event *e)
{
	struct openai *o = ctx;
	struct sl_str data = sl_str_trim(e->data), piece;
	bool escapes;
	if (o->a->complete || data.len == 0)
		return SL_OK;
	if (sl_str_is(data, "[DONE]")) {
		if (!o->any_choice)
			return sl_fail(o->err, SL_MALFORMED, "a stream that ended without a single choice");
		openai_complete(o);
		return SL_OK;
	}
	if (!sl_utf8_valid(data.p, data.len))
		return sl_fail(o->err, SL_MALFORMED, "an event that is not UTF-8");
	/* The first chunk names the model, so it is parsed. */
	enum sl_scan_kind kind = o->any_choice ? sl_scan_chunk(data, &piece, &escapes) : SL_SCAN_OTHER;
	if (kind != SL_SCAN_OTHER) {
		if (escapes) {
			sl_buf_reset(&o->scratch);
			sl_scan_unescape(piece, &o->scratch);
			if (o->scratch.failed)
				return sl_fail(o->err, SL_NO_MEMORY, "text");
			piece = sl_buf_str(&o->scratch);
		}
		return openai_text(o, kind == SL_SCAN_TEXT ? SL_CHAT_TEXT : SL_CHAT_THINKING, piece);
	}
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(data, &doc, o->err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(o->err, SL_MALFORMED, "an event of the stream");
	if (sl_str_is(e->name, "error") && !sl_json_get(doc, "error"))
		return sl_refusal_of_object(doc, o->head, o->err);
	return openai_document(o, doc, "delta");
}

/* Some servers write `error: {…}` or a bare JSON object as a line of its own. */
static enum sl_code openai_stray(void *ctx, const struct sl_sse_event *e)
{
	struct openai *o = ctx;
	struct sl_str head, rest = e->data;
	SL_AUTO_JSON doc = NULL;
	if (o->a->complete)
		return SL_OK;
	if (sl_str_cut(e->data, ':', &head, &rest) && sl_str_is_nocase(sl_str_trim(head), "error"))
		rest = sl_str_trim(rest);
	else if (e->data.p[0] == '{')
		rest = e->data;
	else
		return SL_OK;
	if (sl_json_parse(rest, &doc, NULL) != SL_OK || !json_object_is_type(doc, json_type_object)) {
		SL_AUTO_JSON text = json_object_new_string_len(rest.p, (int)rest.len);
		return sl_refusal_of_object(text, o->head, o->err);
	}
	return sl_refusal_of_object(sl_json_get(doc, "error") ? sl_json_get(doc, "error") : doc, o->head, o->err);
}

static enum openai_shape shape_of_type(struct sl_str type)
{
	struct sl_str media = type, rest;
	if (!sl_str_cut(type, ';', &media, &rest))
		media = type;
	media = sl_str_trim(media);
	if (sl_str_is_nocase(media, "text/event-stream"))
		return OPENAI_EVENTS;
	if (sl_str_is_nocase(media, "application/json"))
		return OPENAI_WHOLE;
	return media.len == 0 || sl_str_is_nocase(media, "application/octet-stream") ? OPENAI_UNKNOWN : OPENAI_FOREIGN;
}

static void openai_close(void *state)
{
	struct openai *o = state;
	if (!o)
		return;
	for (size_t i = 0; i < o->n_tools; i++) {
		sl_buf_fini(&o->tools[i].id);
		sl_buf_fini(&o->tools[i].name);
		sl_buf_fini(&o->tools[i].arguments);
	}
	free(o->tools);
	sl_sse_fini(&o->sse);
	sl_buf_fini(&o->whole);
	sl_buf_fini(&o->scratch);
	free(o);
}

static enum sl_code openai_open(struct sl_answer *a, const struct sl_http_head *head, void **state,
				struct sl_error *err)
{
	struct openai *o = calloc(1, sizeof(*o));
	if (!o)
		return sl_fail(err, SL_NO_MEMORY, "answer");
	o->a = a;
	o->head = head;
	o->shape = shape_of_type(sl_http_find(head, "content-type"));
	sl_sse_init(&o->sse, openai_event, o);
	o->sse.stray = openai_stray;
	sl_buf_init(&o->whole, SL_LIMIT_HTTP_BODY_BYTES);
	sl_buf_init(&o->scratch, 2 * SL_LIMIT_SSE_LINE_BYTES);
	*state = o;
	return SL_OK;
}

static enum sl_code openai_foreign(struct openai *o)
{
	char page[160];
	struct sl_str type = sl_http_find(o->head, "content-type");
	sl_refusal_page_words(sl_buf_str(&o->whole), page, sizeof(page));
	return sl_fail(o->err, SL_MALFORMED, "the answer is " SL_STR_FMT ", not a model's: %s", SL_STR_ARG(type), page);
}

static enum sl_code openai_feed(void *state, struct sl_str bytes, struct sl_error *err)
{
	struct openai *o = state;
	enum sl_code rc = SL_OK;
	o->err = err;
	if (o->shape == OPENAI_UNKNOWN) { /* no content type: the first character tells */
		struct sl_str t = sl_str_trim(bytes);
		if (t.len)
			o->shape = t.p[0] == '{' || t.p[0] == '[' ? OPENAI_WHOLE
				   : t.p[0] == '<'                ? OPENAI_FOREIGN
								  : OPENAI_EVENTS;
	}
	switch (o->shape) {
	case OPENAI_EVENTS:
		rc = sl_sse_feed(&o->sse, bytes);
		if (rc == SL_TOO_LARGE && (err->code != SL_TOO_LARGE || !err->text[0]))
			(void)sl_fail(err, rc, "a line of the stream is longer than %u bytes", SL_LIMIT_SSE_LINE_BYTES);
		break;
	case OPENAI_WHOLE:
		sl_buf_add(&o->whole, bytes.p, bytes.len);
		if (o->whole.failed)
			rc = sl_fail(err, SL_TOO_LARGE, "an answer of more than %u bytes", SL_LIMIT_HTTP_BODY_BYTES);
		break;
	case OPENAI_FOREIGN:
		sl_buf_add(&o->whole, bytes.p, bytes.len);
		if (o->whole.len > 4096 || o->whole.failed)
			rc = openai_foreign(o);
		break;
	case OPENAI_UNKNOWN:
		break;
	}
	o->err = NULL;
	return rc;
}

static enum sl_code openai_finish(void *state, struct sl_error *err)
{
	struct openai *o = state;
	enum sl_code rc = SL_OK;
	SL_AUTO_JSON doc = NULL;
	o->err = err;
	if (o->a->complete)
		return SL_OK;
	switch (o->shape) {
	case OPENAI_EVENTS: /* an error, or the marker, may stand there without its blank line; half a chunk counts for
			       nothing */
		if (sl_sse_pending(&o->sse)) {
			rc = sl_sse_finish(&o->sse);
			if (rc == SL_MALFORMED)
				rc = SL_OK; /* it was cut: that is the better name for it */
		}
		if (rc != SL_OK || o->a->complete)
			return rc;
		return sl_fail(err, SL_TRUNCATED, "the stream ended without its end marker%s",
			       o->a->finish_reason[0] ? ", though with a finish reason" : "");
	case OPENAI_WHOLE:
		rc = sl_json_parse(sl_buf_str(&o->whole), &doc, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc == SL_NO_MEMORY ? rc : SL_MALFORMED, "the provider's answer");
		rc = openai_document(o, doc, "message");
		if (rc == SL_OK && !o->any_choice)
			rc = sl_fail(err, SL_MALFORMED, "an answer without choices");
		if (rc == SL_OK)
			openai_complete(o);
		return rc;
	case OPENAI_FOREIGN:
		return openai_foreign(o);
	case OPENAI_UNKNOWN:
		break;
	}
	return sl_fail(err, SL_TRUNCATED, "an empty answer");
}

const struct sl_protocol sl_protocol_openai = {
	.name = "openai",
	.path = "/chat/completions",
	.embeddings_path = "/embeddings",
	.build = sl_openai_build,
	.key_header = "Authorization",
	.key_prefix = "Bearer ",
	.open = openai_open,
	.feed = openai_feed,
	.finish = openai_finish,
	.close = openai_close,
};
