/* llm/anthropic.c: see anthropic.h. */
#include "llm/anthropic.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "llm/answer.h"
#include "llm/reader.h"
#include "llm/refusal.h"

struct anthropic {
	struct sl_reader r;
	struct sl_calls calls;
	int64_t block_of[SL_CALLS_MOST]; /* of each call */
	/* The thinking blocks, as the API wants them back with a tool's result. */
	struct sl_buf thoughts, thought, signature;
	int64_t thought_block; /* that is open; -1: none */
	uint64_t cache_written;
	bool begun;
};

static enum sl_code text(struct anthropic *o, enum sl_chat_kind kind, struct sl_str piece)
{
	return sl_answer_text(o->r.a, kind, piece, o->r.err);
}

static void count_into(struct json_object *u, const char *key, uint64_t *to)
{
	if (sl_json_get(u, key))
		*to = sl_answer_count(u, key);
}

/* input_tokens are those that no cache had; ours include all. Reports repeat and complete each other. */
static void read_usage(struct anthropic *o, struct json_object *u)
{
	struct sl_chat_usage *to = &o->r.a->usage;
	if (!json_object_is_type(u, json_type_object))
		return;
	uint64_t plain = to->input_tokens - to->cached_tokens - o->cache_written;
	count_into(u, "input_tokens", &plain);
	count_into(u, "cache_read_input_tokens", &to->cached_tokens);
	count_into(u, "cache_creation_input_tokens", &o->cache_written);
	count_into(u, "output_tokens", &to->output_tokens);
	to->input_tokens = plain + to->cached_tokens + o->cache_written;
	to->known = true;
}

static struct sl_call_part *call_of_block(struct anthropic *o, int64_t block)
{
	for (size_t i = 0; i < o->calls.n; i++)
		if (o->block_of[i] == block)
			return &o->calls.items[i];
	return NULL;
}

static enum sl_code begin_call(struct anthropic *o, struct json_object *block, int64_t index)
{
	struct sl_call_part *call;
	struct json_object *input = sl_json_get(block, "input");
	struct sl_str id = sl_json_get_str(block, "id"), name = sl_json_get_str(block, "name");
	enum sl_code rc = sl_calls_at(&o->calls, (int64_t)o->calls.n, &call, o->r.err);
	if (rc != SL_OK)
		return rc;
	o->block_of[o->calls.n - 1] = index;
	sl_buf_add(&call->id, id.p, id.len);
	sl_buf_add(&call->name, name.p, name.len);
	if (json_object_is_type(input, json_type_object) && json_object_object_length(input)) /* in one go */
		sl_json_write(&call->arguments, input);
	return sl_call_check(call, o->r.err);
}

static void end_thought(struct anthropic *o)
{
	if (o->thought_block >= 0 && o->signature.len) {
		sl_buf_json_comma(&o->thoughts);
		sl_buf_adds(&o->thoughts, "{\"type\":\"thinking\"");
		sl_buf_json_kstr(&o->thoughts, "thinking", sl_buf_str(&o->thought));
		sl_buf_json_kstr(&o->thoughts, "signature", sl_buf_str(&o->signature));
		sl_buf_addc(&o->thoughts, '}');
	}
	sl_buf_reset(&o->thought);
	sl_buf_reset(&o->signature);
	o->thought_block = -1;
}

/* The beginning of a block in a stream, or a whole one of a whole answer. */
static enum sl_code read_block(struct anthropic *o, struct json_object *block, int64_t index)
{
	struct sl_str type = sl_json_get_str(block, "type"), thinking = sl_json_get_str(block, "thinking"),
		      signature = sl_json_get_str(block, "signature");
	if (sl_str_is(type, "text"))
		return text(o, SL_CHAT_TEXT, sl_json_get_str(block, "text"));
	if (sl_str_is(type, "tool_use"))
		return begin_call(o, block, index);
	if (sl_str_is(type, "redacted_thinking")) {
		sl_buf_json_comma(&o->thoughts);
		sl_json_write(&o->thoughts, block);
		return SL_OK;
	}
	if (!sl_str_is(type, "thinking"))
		return SL_OK; /* a search of theirs, or something newer than we are */
	end_thought(o);
	o->thought_block = index;
	sl_buf_add(&o->thought, thinking.p, thinking.len);
	sl_buf_add(&o->signature, signature.p, signature.len);
	return text(o, SL_CHAT_THINKING, thinking);
}

static enum sl_code read_delta(struct anthropic *o, struct json_object *delta, int64_t index)
{
	struct sl_str type = sl_json_get_str(delta, "type"), piece;
	struct sl_call_part *call;
	if (sl_str_is(type, "text_delta"))
		return text(o, SL_CHAT_TEXT, sl_json_get_str(delta, "text"));
	if (sl_str_is(type, "thinking_delta")) {
		piece = sl_json_get_str(delta, "thinking");
		if (index == o->thought_block)
			sl_buf_add(&o->thought, piece.p, piece.len);
		return text(o, SL_CHAT_THINKING, piece);
	}
	if (sl_str_is(type, "signature_delta")) {
		piece = sl_json_get_str(delta, "signature");
		if (index == o->thought_block)
			sl_buf_add(&o->signature, piece.p, piece.len);
		return SL_OK;
	}
	if (!sl_str_is(type, "input_json_delta") || !(call = call_of_block(o, index)))
		return SL_OK;
	piece = sl_json_get_str(delta, "partial_json");
	sl_buf_add(&call->arguments, piece.p, piece.len);
	return sl_call_check(call, o->r.err);
}

static void read_end(struct anthropic *o, struct json_object *holder)
{
	struct sl_answer *a = o->r.a;
	struct sl_str why = sl_json_get_str(sl_json_get(holder, "stop_details"), "explanation");
	sl_answer_finish(a, sl_json_get_str(holder, "stop_reason"));
	if (strcmp(a->finish_reason, "refusal") == 0 && a->refusal.len == 0) {
		if (why.len == 0)
			why = SL_STR("the model declined to answer");
		sl_buf_add(&a->refusal, why.p, why.len < a->refusal.max_bytes ? why.len : a->refusal.max_bytes);
	}
}

static void complete(struct anthropic *o)
{
	end_thought(o);
	if (o->calls.n && o->thoughts.len && !o->thoughts.failed) {
		struct sl_buf *extra = &o->calls.items[0].extra;
		sl_buf_adds(extra, "{\"anthropic\":[");
		sl_buf_add(extra, o->thoughts.data, o->thoughts.len);
		sl_buf_adds(extra, "]}");
		if (extra->failed)
			sl_buf_reset(extra);
	}
	sl_calls_write(&o->calls, &o->r.a->tool_calls);
	o->r.a->complete = true;
}

static enum sl_code read_message(struct anthropic *o, struct json_object *message)
{
	struct json_object *content = sl_json_get(message, "content");
	enum sl_code rc = SL_OK;
	o->begun = true;
	sl_answer_name(o->r.a->model, sl_json_get_str(message, "model"));
	read_usage(o, sl_json_get(message, "usage"));
	for (size_t i = 0;
	     rc == SL_OK && json_object_is_type(content, json_type_array) && i < json_object_array_length(content); i++)
		rc = read_block(o, json_object_array_get_idx(content, i), (int64_t)i);
	return rc;
}

static enum sl_code anthropic_event(struct sl_reader *r, struct sl_str name, struct sl_str data)
{
	struct anthropic *o = SL_CONTAINER_OF(r, struct anthropic, r);
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(data, &doc, r->err);
	if (rc != SL_OK)
		return rc == SL_NO_MEMORY ? rc : sl_wrap(r->err, SL_MALFORMED, "an event of the stream");
	struct sl_str type = sl_json_get_str(doc, "type");
	if (type.len == 0)
		type = name;
	int64_t index = sl_json_get_i64(doc, "index", -1);
	if (sl_str_is(type, "error") || sl_json_get(doc, "error"))
		return sl_refusal_of_object(sl_json_get(doc, "error") ? sl_json_get(doc, "error") : doc, r->head,
					    r->err);
	if (sl_str_is(type, "message_start"))
		return read_message(o, sl_json_get(doc, "message"));
	if (sl_str_is(type, "content_block_start"))
		return read_block(o, sl_json_get(doc, "content_block"), index);
	if (sl_str_is(type, "content_block_delta"))
		return read_delta(o, sl_json_get(doc, "delta"), index);
	if (sl_str_is(type, "content_block_stop")) {
		if (index == o->thought_block)
			end_thought(o);
		return SL_OK;
	}
	if (sl_str_is(type, "message_delta")) {
		read_end(o, sl_json_get(doc, "delta"));
		read_usage(o, sl_json_get(doc, "usage"));
		return SL_OK;
	}
	if (!sl_str_is(type, "message_stop"))
		return SL_OK; /* a ping, or an event newer than we are */
	if (!o->begun)
		return sl_fail(r->err, SL_MALFORMED, "a stream that ended without a message");
	complete(o);
	return SL_OK;
}

static enum sl_code anthropic_document(struct sl_reader *r, struct json_object *doc)
{
	struct anthropic *o = SL_CONTAINER_OF(r, struct anthropic, r);
	if (sl_json_get(doc, "error"))
		return sl_refusal_of_object(sl_json_get(doc, "error"), r->head, r->err);
	if (!json_object_is_type(sl_json_get(doc, "content"), json_type_array))
		return sl_fail(r->err, SL_MALFORMED, "an answer without content");
	enum sl_code rc = read_message(o, doc);
	if (rc != SL_OK)
		return rc;
	read_end(o, doc);
	if (o->r.a->finish_reason[0]) /* else it does not say that it is complete */
		complete(o);
	return SL_OK;
}

/* A proxy's error may stand there as bare JSON. */
static enum sl_code anthropic_stray(struct sl_reader *r, struct sl_str line)
{
	SL_AUTO_JSON doc = NULL;
	if (line.p[0] != '{' || sl_json_parse(line, &doc, NULL) != SL_OK || !sl_json_get(doc, "error"))
		return SL_OK;
	return sl_refusal_of_object(sl_json_get(doc, "error"), r->head, r->err);
}

static const struct sl_reader_form anthropic_form = {
	.stream_type = "text/event-stream",
	.event = anthropic_event,
	.stray = anthropic_stray,
	.document = anthropic_document,
};

static void anthropic_close(void *state)
{
	struct anthropic *o = state;
	if (!o)
		return;
	sl_calls_fini(&o->calls);
	sl_buf_fini(&o->thoughts);
	sl_buf_fini(&o->thought);
	sl_buf_fini(&o->signature);
	sl_reader_fini(&o->r);
	free(o);
}

static enum sl_code anthropic_open(struct sl_answer *a, const struct sl_http_head *head, void **state,
				   struct sl_error *err)
{
	struct anthropic *o = calloc(1, sizeof(*o));
	if (!o)
		return sl_fail(err, SL_NO_MEMORY, "answer");
	sl_reader_init(&o->r, &anthropic_form, a, head);
	sl_buf_init(&o->thoughts, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_init(&o->thought, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_init(&o->signature, SL_LIMIT_PAYLOAD_BYTES);
	o->thought_block = -1;
	*state = o;
	return SL_OK;
}

static enum sl_code anthropic_feed(void *state, struct sl_str bytes, struct sl_error *err)
{
	return sl_reader_feed(&((struct anthropic *)state)->r, bytes, err);
}

static enum sl_code anthropic_finish(void *state, struct sl_error *err)
{
	return sl_reader_finish(&((struct anthropic *)state)->r, err);
}

static void anthropic_url(const struct sl_profile *p, const char *model, enum sl_url_kind kind, struct sl_buf *url)
{
	sl_protocol_base(p, (const char *const[]){"/v1", NULL}, url);
	sl_buf_adds(url, "/v1/messages");
}

static const struct sl_http_header anthropic_headers[] = {{{"anthropic-version", 17}, {"2023-06-01", 10}}};

const struct sl_protocol sl_protocol_anthropic = {
	.name = "anthropic",
	.url = anthropic_url,
	.build = sl_anthropic_build,
	.key_header = "x-api-key",
	.key_prefix = "",
	.headers = anthropic_headers,
	.n_headers = SL_COUNT_OF(anthropic_headers),
	.stream_accept = "text/event-stream",
	.open = anthropic_open,
	.feed = anthropic_feed,
	.finish = anthropic_finish,
	.close = anthropic_close,
};
