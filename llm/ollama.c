/* llm/ollama.c: see ollama.h. */
#include "llm/ollama.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "llm/answer.h"
#include "llm/reader.h"
#include "llm/refusal.h"

struct ollama {
	struct sl_reader r;
	struct sl_calls calls;
};

static enum sl_code read_calls(struct ollama *o, struct json_object *list)
{
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		struct sl_call_part *call;
		struct json_object *one = json_object_array_get_idx(list, i), *f = sl_json_get(one, "function");
		struct sl_str id = sl_json_get_str(one, "id"), name = sl_json_get_str(f, "name");
		SL_AUTO_JSON args = NULL;
		enum sl_code rc = sl_calls_at(&o->calls, (int64_t)o->calls.n, &call, o->r.err);
		if (rc != SL_OK)
			return rc;
		args = json_object_get(sl_json_get(f, "arguments"));
		sl_buf_add(&call->id, id.p, id.len);
		sl_buf_add(&call->name, name.p, name.len);
		if (json_object_is_type(args, json_type_string))
			sl_buf_add(&call->arguments, sl_json_str(args).p, sl_json_str(args).len);
		else if (args)
			sl_json_write(&call->arguments, args);
		if ((rc = sl_call_check(call, o->r.err)) != SL_OK)
			return rc;
	}
	return SL_OK;
}

static void read_end(struct ollama *o, struct json_object *doc)
{
	struct sl_answer *a = o->r.a;
	struct sl_str reason = sl_json_get_str(doc, "done_reason");
	if (sl_json_get(doc, "eval_count") || sl_json_get(doc, "prompt_eval_count")) {
		a->usage.known = true;
		a->usage.input_tokens = sl_answer_count(doc, "prompt_eval_count"); /* missing when all was cached */
		a->usage.output_tokens = sl_answer_count(doc, "eval_count");
	}
	sl_answer_finish(a, reason.len ? reason : SL_STR("stop"));
	if (o->calls.n && strcmp(a->finish_reason, "stop") == 0)
		sl_answer_name(a->finish_reason, SL_STR("tool_calls"));
	sl_calls_write(&o->calls, &a->tool_calls);
	a->complete = true;
}

static enum sl_code read_line(struct ollama *o, struct json_object *doc)
{
	struct json_object *error = sl_json_get(doc, "error"), *m = sl_json_get(doc, "message");
	if (error)
		return sl_refusal_of_object(error, o->r.head, o->r.err);
	if (!json_object_is_type(doc, json_type_object))
		return sl_fail(o->r.err, SL_MALFORMED, "the answer is a JSON %s, not an object",
			       sl_json_type_name(doc));
	if (!m && !sl_json_get(doc, "done"))
		return sl_fail(o->r.err, SL_MALFORMED, "an answer without a message");
	sl_answer_name(o->r.a->model, sl_json_get_str(doc, "model"));
	enum sl_code rc = sl_answer_text(o->r.a, SL_CHAT_THINKING, sl_json_get_str(m, "thinking"), o->r.err);
	if (rc == SL_OK)
		rc = sl_answer_text(o->r.a, SL_CHAT_TEXT, sl_json_get_str(m, "content"), o->r.err);
	if (rc == SL_OK)
		rc = read_calls(o, sl_json_get(m, "tool_calls"));
	if (rc == SL_OK && sl_json_get_bool(doc, "done", false))
		read_end(o, doc);
	return rc;
}

static enum sl_code ollama_line(struct sl_reader *r, struct sl_str name, struct sl_str data)
{
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(data, &doc, r->err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(r->err, SL_MALFORMED, "a line of the stream");
	return read_line(SL_CONTAINER_OF(r, struct ollama, r), doc);
}

static enum sl_code ollama_document(struct sl_reader *r, struct json_object *doc)
{
	return read_line(SL_CONTAINER_OF(r, struct ollama, r), doc);
}

static const struct sl_reader_form ollama_form = {
	.stream_type = "application/x-ndjson",
	.lines = true,
	.event = ollama_line,
	.document = ollama_document,
};

static void ollama_close(void *state)
{
	struct ollama *o = state;
	if (!o)
		return;
	sl_calls_fini(&o->calls);
	sl_reader_fini(&o->r);
	free(o);
}

static enum sl_code ollama_open(struct sl_answer *a, const struct sl_http_head *head, void **state,
				struct sl_error *err)
{
	struct ollama *o = calloc(1, sizeof(*o));
	if (!o)
		return sl_fail(err, SL_NO_MEMORY, "answer");
	sl_reader_init(&o->r, &ollama_form, a, head);
	*state = o;
	return SL_OK;
}

static enum sl_code ollama_feed(void *state, struct sl_str bytes, struct sl_error *err)
{
	return sl_reader_feed(&((struct ollama *)state)->r, bytes, err);
}

static enum sl_code ollama_finish(void *state, struct sl_error *err)
{
	return sl_reader_finish(&((struct ollama *)state)->r, err);
}

static void ollama_url(const struct sl_profile *p, const char *model, enum sl_url_kind kind, struct sl_buf *url)
{
	sl_protocol_base(p, (const char *const[]){"/v1", "/api", NULL}, url);
	sl_buf_adds(url, kind == SL_URL_EMBEDDINGS ? "/v1/embeddings" : "/api/chat");
}

const struct sl_protocol sl_protocol_ollama = {
	.name = "ollama",
	.embeddings_path = "/v1/embeddings",
	.url = ollama_url,
	.build = sl_ollama_build,
	.key_header = "Authorization",
	.key_prefix = "Bearer ",
	.stream_accept = "application/x-ndjson",
	.open = ollama_open,
	.feed = ollama_feed,
	.finish = ollama_finish,
	.close = ollama_close,
};
