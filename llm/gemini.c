/* llm/gemini.c: see gemini.h. */
#include "llm/gemini.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "llm/answer.h"
#include "llm/reader.h"
#include "llm/refusal.h"

struct gemini {
	struct sl_reader r;
	struct sl_calls calls;
	struct sl_buf bare; /* JSON that came without "data:", so far; and where in it we are: */
	int64_t depth;
	bool in_text, escaped;
	bool finished; /* a finishReason came */
};

static void count_into(struct json_object *u, const char *key, uint64_t *to)
{
	if (sl_json_get(u, key))
		*to = sl_answer_count(u, key);
}

static void read_usage(struct gemini *o, struct json_object *u)
{
	struct sl_chat_usage *to = &o->r.a->usage;
	if (!json_object_is_type(u, json_type_object))
		return;
	uint64_t said = to->output_tokens - to->reasoning_tokens;
	count_into(u, "promptTokenCount", &to->input_tokens);
	count_into(u, "cachedContentTokenCount", &to->cached_tokens);
	count_into(u, "candidatesTokenCount", &said);
	count_into(u, "thoughtsTokenCount", &to->reasoning_tokens);
	to->output_tokens = said + to->reasoning_tokens;
	to->known = true;
}

static enum sl_code read_call(struct gemini *o, struct json_object *part, struct json_object *f)
{
	struct sl_call_part *call;
	struct json_object *args = sl_json_get(f, "args");
	struct sl_str id = sl_json_get_str(f, "id"), name = sl_json_get_str(f, "name"),
		      signature = sl_json_get_str(part, "thoughtSignature");
	enum sl_code rc = sl_calls_at(&o->calls, (int64_t)o->calls.n, &call, o->r.err);
	if (rc != SL_OK)
		return rc;
	sl_buf_add(&call->id, id.p, id.len);
	sl_buf_add(&call->name, name.p, name.len);
	if (json_object_is_type(args, json_type_object))
		sl_json_write(&call->arguments, args);
	if (signature.len) { /* it wants it back with the call */
		sl_buf_adds(&call->extra, "{\"google\":{\"thought_signature\":");
		sl_buf_json_str(&call->extra, signature);
		sl_buf_adds(&call->extra, "}}");
	}
	return sl_call_check(call, o->r.err);
}

static enum sl_code read_parts(struct gemini *o, struct json_object *parts)
{
	enum sl_code rc = SL_OK;
	for (size_t i = 0;
	     rc == SL_OK && json_object_is_type(parts, json_type_array) && i < json_object_array_length(parts); i++) {
		struct json_object *part = json_object_array_get_idx(parts, i), *f = sl_json_get(part, "functionCall");
		enum sl_chat_kind kind = sl_json_get_bool(part, "thought", false) ? SL_CHAT_THINKING : SL_CHAT_TEXT;
		rc = f ? read_call(o, part, f) : sl_answer_text(o->r.a, kind, sl_json_get_str(part, "text"), o->r.err);
	}
	return rc;
}

static enum sl_code read_chunk(struct gemini *o, struct json_object *doc)
{
	struct json_object *error = sl_json_get(doc, "error"), *candidates = sl_json_get(doc, "candidates"),
			   *blocked = sl_json_get(doc, "promptFeedback");
	enum sl_code rc = SL_OK;
	if (error)
		return sl_refusal_of_object(error, o->r.head, o->r.err);
	if (!json_object_is_type(doc, json_type_object))
		return sl_fail(o->r.err, SL_MALFORMED, "the answer is a JSON %s, not an object",
			       sl_json_type_name(doc));
	sl_answer_name(o->r.a->model, sl_json_get_str(doc, "modelVersion"));
	read_usage(o, sl_json_get(doc, "usageMetadata"));
	struct sl_str why = sl_json_get_str(blocked, "blockReason");
	if (why.len)
		return sl_fail(o->r.err, SL_PROVIDER_REJECTED, "the provider blocked the prompt (" SL_STR_FMT ")",
			       SL_STR_ARG(why));
	if (candidates && !json_object_is_type(candidates, json_type_array))
		return sl_fail(o->r.err, SL_MALFORMED, "candidates is no array");
	for (size_t i = 0; rc == SL_OK && candidates && i < json_object_array_length(candidates); i++) {
		struct json_object *c = json_object_array_get_idx(candidates, i);
		if (sl_json_get_i64(c, "index", 0) != 0)
			continue; /* we ask for one */
		rc = read_parts(o, sl_json_get(sl_json_get(c, "content"), "parts"));
		struct sl_str reason = sl_json_get_str(c, "finishReason");
		if (rc != SL_OK || reason.len == 0 || sl_str_is(reason, "FINISH_REASON_UNSPECIFIED"))
			continue;
		if (sl_str_is(reason, "MALFORMED_FUNCTION_CALL") || sl_str_is(reason, "UNEXPECTED_TOOL_CALL"))
			return sl_fail(o->r.err, SL_MALFORMED,
				       "the model made a tool call that is none (" SL_STR_FMT ")", SL_STR_ARG(reason));
		sl_answer_finish(o->r.a, reason);
		o->finished = true;
	}
	return rc;
}

static void complete(struct gemini *o)
{
	if (o->calls.n && strcmp(o->r.a->finish_reason, "stop") == 0)
		sl_answer_name(o->r.a->finish_reason, SL_STR("tool_calls"));
	sl_calls_write(&o->calls, &o->r.a->tool_calls);
	o->r.a->complete = true;
}

static enum sl_code gemini_event(struct sl_reader *r, struct sl_str name, struct sl_str data)
{
	struct gemini *o = SL_CONTAINER_OF(r, struct gemini, r);
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(data, &doc, r->err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(r->err, SL_MALFORMED, "an event of the stream");
	return read_chunk(o, doc);
}

static enum sl_code read_list(struct gemini *o, struct json_object *doc)
{
	enum sl_code rc = SL_OK;
	if (!json_object_is_type(doc, json_type_array))
		return read_chunk(o, doc);
	for (size_t i = 0; rc == SL_OK && i < json_object_array_length(doc); i++)
		rc = read_chunk(o, json_object_array_get_idx(doc, i));
	return rc;
}

/* Parsing again and again until it is whole would be quadratic; so brackets are counted. */
static void count_brackets(struct gemini *o, struct sl_str line)
{
	for (size_t i = 0; i < line.len; i++) {
		char c = line.p[i];
		if (o->in_text) {
			o->in_text = o->escaped || c != '"';
			o->escaped = !o->escaped && c == '\\';
		} else if (c == '"') {
			o->in_text = true;
		} else if (c == '{' || c == '[') {
			o->depth++;
		} else if (c == '}' || c == ']') {
			o->depth--;
		}
	}
}

/* {
 *   "error": {…            one line after the other, until they are a whole value */
static enum sl_code gemini_stray(struct sl_reader *r, struct sl_str line)
{
	struct gemini *o = SL_CONTAINER_OF(r, struct gemini, r);
	SL_AUTO_JSON doc = NULL;
	struct sl_str t = sl_str_trim(line);
	if (o->bare.len == 0 && (t.len == 0 || (t.p[0] != '{' && t.p[0] != '[')))
		return SL_OK;
	sl_buf_add(&o->bare, line.p, line.len);
	sl_buf_addc(&o->bare, '\n');
	if (o->bare.failed)
		return sl_fail(r->err, SL_TOO_LARGE, "an error of more than %zu bytes", o->bare.max_bytes);
	count_brackets(o, line);
	if (o->depth > 0)
		return SL_OK;
	enum sl_code rc = sl_json_parse(sl_buf_str(&o->bare), &doc, r->err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(r->err, SL_MALFORMED, "JSON in the stream");
	sl_buf_reset(&o->bare);
	o->depth = 0;
	return read_list(o, doc);
}

static enum sl_code gemini_end(struct sl_reader *r)
{
	struct gemini *o = SL_CONTAINER_OF(r, struct gemini, r);
	if (o->finished && o->bare.len == 0)
		complete(o);
	return SL_OK;
}

static enum sl_code gemini_document(struct sl_reader *r, struct json_object *doc)
{
	struct gemini *o = SL_CONTAINER_OF(r, struct gemini, r);
	enum sl_code rc = read_list(o, doc);
	if (rc == SL_OK && !o->finished && !sl_json_get(doc, "candidates") &&
	    !json_object_is_type(doc, json_type_array))
		rc = sl_fail(r->err, SL_MALFORMED, "an answer without candidates");
	if (rc == SL_OK && o->finished)
		complete(o);
	return rc;
}

static const struct sl_reader_form gemini_form = {
	.stream_type = "text/event-stream",
	.event = gemini_event,
	.stray = gemini_stray,
	.document = gemini_document,
	.end = gemini_end,
};

static void gemini_close(void *state)
{
	struct gemini *o = state;
	if (!o)
		return;
	sl_calls_fini(&o->calls);
	sl_buf_fini(&o->bare);
	sl_reader_fini(&o->r);
	free(o);
}

static enum sl_code gemini_open(struct sl_answer *a, const struct sl_http_head *head, void **state,
				struct sl_error *err)
{
	struct gemini *o = calloc(1, sizeof(*o));
	if (!o)
		return sl_fail(err, SL_NO_MEMORY, "answer");
	sl_reader_init(&o->r, &gemini_form, a, head);
	sl_buf_init(&o->bare, 64u << 10);
	*state = o;
	return SL_OK;
}

static enum sl_code gemini_feed(void *state, struct sl_str bytes, struct sl_error *err)
{
	return sl_reader_feed(&((struct gemini *)state)->r, bytes, err);
}

static enum sl_code gemini_finish(void *state, struct sl_error *err)
{
	return sl_reader_finish(&((struct gemini *)state)->r, err);
}

static void gemini_url(const struct sl_profile *p, const char *model, enum sl_url_kind kind, struct sl_buf *url)
{
	struct sl_str m = sl_str(model), head = SL_STR("models/");
	sl_protocol_base(p, (const char *const[]){"/v1beta", "/v1", NULL}, url);
	sl_buf_adds(url, "/v1beta/models/");
	if (sl_str_starts(m, head))
		m.p += head.len, m.len -= head.len;
	sl_protocol_segment(m, url);
	sl_buf_adds(url, kind == SL_URL_STREAM ? ":streamGenerateContent?alt=sse" : ":generateContent");
}

const struct sl_protocol sl_protocol_gemini = {
	.name = "gemini",
	.url = gemini_url,
	.build = sl_gemini_build,
	.key_header = "x-goog-api-key",
	.key_prefix = "",
	.ends_by_closing = true,
	.stream_accept = "text/event-stream",
	.open = gemini_open,
	.feed = gemini_feed,
	.finish = gemini_finish,
	.close = gemini_close,
};
