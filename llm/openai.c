/* llm/openai.c: see openai.h. Plain text chunks take the short way through llm/scan.c; everything else is parsed. */
#include "llm/openai.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "llm/answer.h"
#include "llm/profile.h"
#include "llm/reader.h"
#include "llm/refusal.h"
#include "llm/scan.h"

struct openai {
	struct sl_reader r;
	struct sl_buf scratch; /* an unescaped piece */
	struct sl_calls calls;
	bool any_choice;
};

static void openai_usage(struct sl_answer *a, struct json_object *u)
{
	struct sl_chat_usage *to = &a->usage;
	if (!json_object_is_type(u, json_type_object))
		return;
	to->known = true;
	to->input_tokens = sl_answer_count(u, "prompt_tokens"); /* the last report counts, they are not summed */
	to->output_tokens = sl_answer_count(u, "completion_tokens");
	to->cached_tokens = sl_answer_count(sl_json_get(u, "prompt_tokens_details"), "cached_tokens");
	if (!to->cached_tokens)
		to->cached_tokens = sl_answer_count(u, "prompt_cache_hit_tokens");
	to->reasoning_tokens = sl_answer_count(sl_json_get(u, "completion_tokens_details"), "reasoning_tokens");
}

static enum sl_code openai_text(struct openai *o, enum sl_chat_kind kind, struct sl_str piece)
{
	return sl_answer_text(o->r.a, kind, piece, o->r.err);
}

static enum sl_code openai_tool(struct openai *o, struct json_object *call, size_t position)
{
	struct sl_call_part *t;
	enum sl_code rc = sl_calls_at(&o->calls, sl_json_get_i64(call, "index", (int64_t)position), &t, o->r.err);
	if (rc != SL_OK)
		return rc;
	struct json_object *f = sl_json_get(call, "function"), *args = sl_json_get(f, "arguments"),
			   *extra = sl_json_get(call, "extra_content");
	struct sl_str id = sl_json_get_str(call, "id"), name = sl_json_get_str(f, "name"), text = sl_json_str(args);
	if (t->id.len == 0) /* some repeat it in every piece */
		sl_buf_add(&t->id, id.p, id.len);
	if (!sl_str_eq(sl_buf_str(&t->name), name))
		sl_buf_add(&t->name, name.p, name.len);
	if (args && !json_object_is_type(args, json_type_string))
		sl_json_write(&t->arguments, args); /* an object instead of its text */
	else
		sl_buf_add(&t->arguments, text.p, text.len);
	if (json_object_is_type(extra, json_type_object) && t->extra.len == 0)
		sl_json_write(&t->extra, extra);
	return sl_call_check(t, o->r.err);
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
	sl_buf_add(&o->r.a->refusal, refusal.p, refusal.len);
	if (json_object_is_type(calls, json_type_array))
		for (size_t i = 0; rc == SL_OK && i < json_object_array_length(calls); i++)
			rc = openai_tool(o, json_object_array_get_idx(calls, i), i);
	return rc;
}

static enum sl_code openai_document(struct openai *o, struct json_object *doc, const char *message_key)
{
	struct json_object *error = sl_json_get(doc, "error"), *choices = sl_json_get(doc, "choices");
	if (error)
		return sl_refusal_of_object(error, o->r.head, o->r.err);
	if (!json_object_is_type(doc, json_type_object))
		return sl_fail(o->r.err, SL_MALFORMED, "the answer is a JSON %s, not an object",
			       sl_json_type_name(doc));
	sl_answer_name(o->r.a->model, sl_json_get_str(doc, "model"));
	openai_usage(o->r.a, sl_json_get(doc, "usage"));
	openai_usage(o->r.a, sl_json_get(sl_json_get(doc, "x_groq"), "usage"));
	if (!choices) {
		const char *object = sl_json_get_z(doc, "object");
		if (object && strcmp(object, "error") == 0) /* {"object":"error","message":…} */
			return sl_refusal_of_object(doc, o->r.head, o->r.err);
		return sl_json_get(doc, "usage") ? SL_OK : sl_fail(o->r.err, SL_MALFORMED, "an answer without choices");
	}
	if (!json_object_is_type(choices, json_type_array))
		return sl_fail(o->r.err, SL_MALFORMED, "choices is no array");
	for (size_t i = 0; i < json_object_array_length(choices); i++) {
		struct json_object *c = json_object_array_get_idx(choices, i);
		if (sl_json_get_i64(c, "index", 0) != 0)
			continue; /* we ask for one */
		error = sl_json_get(c, "error");
		if (error)
			return sl_refusal_of_object(error, o->r.head, o->r.err);
		o->any_choice = true;
		sl_answer_name(o->r.a->finish_reason, sl_json_get_str(c, "finish_reason"));
		enum sl_code rc = openai_message(o, sl_json_get(c, message_key));
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

static void openai_complete(struct openai *o)
{
	o->r.a->complete = true;
	sl_calls_write(&o->calls, &o->r.a->tool_calls);
}

static enum sl_code openai_event(struct sl_reader *r, struct sl_str name, struct sl_str data)
{
	struct openai *o = SL_CONTAINER_OF(r, struct openai, r);
	struct sl_str piece;
	bool escapes;
	if (sl_str_is(data, "[DONE]")) {
		if (!o->any_choice)
			return sl_fail(o->r.err, SL_MALFORMED, "a stream that ended without a single choice");
		openai_complete(o);
		return SL_OK;
	}
	/* The first chunk names the model, so it is parsed. */
	enum sl_scan_kind kind = o->any_choice ? sl_scan_chunk(data, &piece, &escapes) : SL_SCAN_OTHER;
	if (kind != SL_SCAN_OTHER) {
		if (escapes) {
			sl_buf_reset(&o->scratch);
			sl_scan_unescape(piece, &o->scratch);
			if (o->scratch.failed)
				return sl_fail(o->r.err, SL_NO_MEMORY, "text");
			piece = sl_buf_str(&o->scratch);
		}
		return openai_text(o, kind == SL_SCAN_TEXT ? SL_CHAT_TEXT : SL_CHAT_THINKING, piece);
	}
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(data, &doc, o->r.err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(o->r.err, SL_MALFORMED, "an event of the stream");
	if (sl_str_is(name, "error") && !sl_json_get(doc, "error"))
		return sl_refusal_of_object(doc, o->r.head, o->r.err);
	return openai_document(o, doc, "delta");
}

/* Some servers write `error: {…}` or a bare JSON object as a line of its own. */
static enum sl_code openai_stray(struct sl_reader *r, struct sl_str line)
{
	struct openai *o = SL_CONTAINER_OF(r, struct openai, r);
	struct sl_str head, rest = line;
	SL_AUTO_JSON doc = NULL;
	if (sl_str_cut(line, ':', &head, &rest) && sl_str_is_nocase(sl_str_trim(head), "error"))
		rest = sl_str_trim(rest);
	else if (line.p[0] == '{')
		rest = line;
	else
		return SL_OK;
	if (sl_json_parse(rest, &doc, NULL) != SL_OK || !json_object_is_type(doc, json_type_object)) {
		SL_AUTO_JSON text = json_object_new_string_len(rest.p, (int)rest.len);
		return sl_refusal_of_object(text, o->r.head, o->r.err);
	}
	return sl_refusal_of_object(sl_json_get(doc, "error") ? sl_json_get(doc, "error") : doc, o->r.head, o->r.err);
}

static enum sl_code openai_whole(struct sl_reader *r, struct json_object *doc)
{
	struct openai *o = SL_CONTAINER_OF(r, struct openai, r);
	enum sl_code rc = openai_document(o, doc, "message");
	if (rc == SL_OK && !o->any_choice)
		rc = sl_fail(o->r.err, SL_MALFORMED, "an answer without choices");
	if (rc == SL_OK)
		openai_complete(o);
	return rc;
}

static const struct sl_reader_form openai_form = {
	.stream_type = "text/event-stream",
	.event = openai_event,
	.stray = openai_stray,
	.document = openai_whole,
};

static void openai_close(void *state)
{
	struct openai *o = state;
	if (!o)
		return;
	sl_calls_fini(&o->calls);
	sl_reader_fini(&o->r);
	sl_buf_fini(&o->scratch);
	free(o);
}

static enum sl_code openai_open(struct sl_answer *a, const struct sl_http_head *head, void **state,
				struct sl_error *err)
{
	struct openai *o = calloc(1, sizeof(*o));
	if (!o)
		return sl_fail(err, SL_NO_MEMORY, "answer");
	sl_reader_init(&o->r, &openai_form, a, head);
	sl_buf_init(&o->scratch, 2 * SL_LIMIT_SSE_LINE_BYTES);
	*state = o;
	return SL_OK;
}

static enum sl_code openai_feed(void *state, struct sl_str bytes, struct sl_error *err)
{
	return sl_reader_feed(&((struct openai *)state)->r, bytes, err);
}

static enum sl_code openai_finish(void *state, struct sl_error *err)
{
	return sl_reader_finish(&((struct openai *)state)->r, err);
}

const struct sl_protocol sl_protocol_openai = {
	.name = "openai",
	.path = "/chat/completions",
	.embeddings_path = "/embeddings",
	.build = sl_openai_build,
	.key_header = "Authorization",
	.key_prefix = "Bearer ",
	.stream_accept = "text/event-stream",
	.open = openai_open,
	.feed = openai_feed,
	.finish = openai_finish,
	.close = openai_close,
};

/* Azure wants the deployment in the path and its version in the query; the newer "v1" address needs neither. */
static void azure_url(const struct sl_profile *p, const char *model, enum sl_url_kind kind, struct sl_buf *url)
{
	const char *end = kind == SL_URL_EMBEDDINGS ? "/embeddings" : "/chat/completions";
	sl_protocol_base(p, (const char *const[]){"/openai/v1", "/openai", NULL}, url);
	if (!p->api_version) {
		sl_buf_adds(url, "/openai/v1");
		sl_buf_adds(url, end);
		return;
	}
	sl_buf_adds(url, "/openai/deployments/");
	sl_protocol_segment(sl_str(model), url);
	sl_buf_adds(url, end);
	sl_buf_adds(url, "?api-version=");
	sl_protocol_segment(sl_str(p->api_version), url);
}

const struct sl_protocol sl_protocol_azure = {
	.name = "azure",
	.path = "/chat/completions",
	.embeddings_path = "/embeddings",
	.url = azure_url,
	.build = sl_openai_build,
	.key_header = "api-key",
	.key_prefix = "",
	.stream_accept = "text/event-stream",
	.open = openai_open,
	.feed = openai_feed,
	.finish = openai_finish,
	.close = openai_close,
};
