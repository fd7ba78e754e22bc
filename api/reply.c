/* api/reply.c: see reply.h. */
#include "api/reply.h"

#include <stdio.h>

#include "base/json.h"
#include "base/limits.h"

#define FULL_BYTES (256u << 10)

void sl_reply_init(struct sl_reply *p, struct sl_request *r, enum sl_reply_form form, struct sl_uuid id,
		   int64_t wall_ms, uint64_t mono_ms)
{
	char text[SL_UUID_TEXT_BYTES];
	sl_uuid_format(id, text);
	*p = (struct sl_reply){.r = sl_request_ref(r), .form = form, .created_s = wall_ms / 1000, .asked_ms = mono_ms};
	(void)snprintf(p->id, sizeof(p->id), "%s%s", form == SL_REPLY_CHAT ? "chatcmpl-" : "resp_", text);
	(void)snprintf(p->item, sizeof(p->item), "msg_%s", text);
	sl_buf_init(&p->text, SL_LIMIT_STREAM_BYTES);
	sl_buf_init(&p->thinking, SL_LIMIT_STREAM_BYTES);
	sl_buf_init(&p->unsent,
		    32 * (size_t)SL_LIMIT_STREAM_BYTES); /* a token's envelope is some twenty times its text */
}

void sl_reply_fini(struct sl_reply *p)
{
	sl_request_unref(p->r);
	sl_buf_fini(&p->text);
	sl_buf_fini(&p->thinking);
	sl_buf_fini(&p->unsent);
}

/* ---- bytes ---- */

static void flush(struct sl_reply *p)
{
	if (!p->unsent.len)
		return;
	enum sl_write w = sl_answer_write(p->r, p->unsent.data, p->unsent.len);
	if (w != SL_WRITE_BUSY)
		sl_buf_reset(&p->unsent);
}

static void send(struct sl_reply *p, const char *event, const struct sl_buf *json)
{
	if (event) {
		sl_buf_adds(&p->unsent, "event: ");
		sl_buf_adds(&p->unsent, event);
		sl_buf_addc(&p->unsent, '\n');
	}
	sl_buf_adds(&p->unsent, "data: ");
	sl_buf_add(&p->unsent, json->data, json->len);
	sl_buf_adds(&p->unsent, "\n\n");
	if (p->unsent.failed || json->failed) { /* rather an end that shows than an answer with a hole */
		p->over = true;
		sl_answer_abort(p->r);
		return;
	}
	flush(p);
}

bool sl_reply_full(const struct sl_reply *p)
{
	return p->stream && p->began && p->unsent.len >= FULL_BYTES;
}

void sl_reply_writable(struct sl_reply *p)
{
	flush(p);
	if (p->over && !p->unsent.len)
		sl_answer_end(p->r);
}

static void end(struct sl_reply *p)
{
	p->over = true;
	flush(p);
	if (!p->unsent.len)
		sl_answer_end(p->r); /* otherwise sl_reply_writable() does it */
}

/* ---- chat completions ---- */

static void chat_head(struct sl_reply *p, struct sl_buf *b, const char *object)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "id", p->id);
	sl_buf_json_kz(b, "object", object);
	sl_buf_json_ki64(b, "created", p->created_s);
	sl_buf_json_kz(b, "model", p->model);
}

static void chat_usage(struct sl_buf *b, const struct sl_reply_usage *u)
{
	sl_buf_json_key(b, "usage");
	sl_buf_addc(b, '{');
	sl_buf_json_ku64(b, "prompt_tokens", u->input_tokens);
	sl_buf_json_ku64(b, "completion_tokens", u->output_tokens);
	sl_buf_json_ku64(b, "total_tokens", u->input_tokens + u->output_tokens);
	sl_buf_json_key(b, "prompt_tokens_details");
	sl_buf_addf(b, "{\"cached_tokens\":%llu}", (unsigned long long)u->cached_tokens);
	sl_buf_json_key(b, "completion_tokens_details");
	sl_buf_addf(b, "{\"reasoning_tokens\":%llu}}", (unsigned long long)u->reasoning_tokens);
}

/* delta: the members of it; empty: {}. */
static void chat_chunk(struct sl_reply *p, struct sl_str delta, const char *finish_reason)
{
	SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
	chat_head(p, &b, "chat.completion.chunk");
	sl_buf_adds(&b, ",\"choices\":[{\"index\":0,\"delta\":{");
	sl_buf_add(&b, delta.p, delta.len);
	sl_buf_addc(&b, '}');
	sl_buf_adds(&b, ",\"logprobs\":null");
	sl_buf_json_kz(&b, "finish_reason", finish_reason);
	sl_buf_adds(&b, "}]");
	if (p->want_usage)
		sl_buf_adds(&b, ",\"usage\":null");
	sl_buf_addc(&b, '}');
	send(p, NULL, &b);
}

static void chat_tool_deltas(struct sl_reply *p, struct sl_str tool_calls)
{
	SL_AUTO_JSON calls = NULL;
	if (sl_json_parse(tool_calls, &calls, NULL) != SL_OK || !json_object_is_type(calls, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(calls); i++) {
		SL_BUF(b, 4u * SL_LIMIT_PAYLOAD_BYTES);
		struct json_object *call = json_object_array_get_idx(calls, i), *f = sl_json_get(call, "function");
		sl_buf_addf(&b, "\"tool_calls\":[{\"index\":%zu", i);
		sl_buf_json_kstr(&b, "id", sl_json_get_str(call, "id"));
		sl_buf_json_kz(&b, "type", "function");
		sl_buf_json_key(&b, "function");
		sl_buf_addc(&b, '{');
		sl_buf_json_kstr(&b, "name", sl_json_get_str(f, "name"));
		sl_buf_json_kstr(&b, "arguments", sl_json_get_str(f, "arguments"));
		sl_buf_adds(&b, "}}]");
		chat_chunk(p, sl_buf_str(&b), NULL);
	}
}

static void chat_whole(struct sl_reply *p, const char *finish_reason, struct sl_str tool_calls,
		       const struct sl_reply_usage *usage)
{
	SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
	chat_head(p, &b, "chat.completion");
	sl_buf_adds(&b, ",\"choices\":[{\"index\":0,\"message\":{");
	sl_buf_json_kz(&b, "role", "assistant");
	if (tool_calls.len && !p->text.len)
		sl_buf_json_kz(&b, "content", NULL);
	else
		sl_buf_json_kstr(&b, "content", sl_buf_str(&p->text));
	sl_buf_json_kz(&b, "refusal", NULL);
	if (p->thinking.len)
		sl_buf_json_kstr(&b, "reasoning_content", sl_buf_str(&p->thinking));
	if (tool_calls.len)
		sl_buf_json_kraw(&b, "tool_calls", tool_calls);
	sl_buf_adds(&b, "},\"logprobs\":null");
	sl_buf_json_kz(&b, "finish_reason", finish_reason);
	sl_buf_adds(&b, "}]");
	chat_usage(&b, usage);
	sl_buf_addc(&b, '}');
	sl_answer_buf(p->r, 200, &b);
}

/* ---- responses ---- */

static void event_begin(struct sl_reply *p, struct sl_buf *b, const char *type)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "type", type);
	sl_buf_json_ku64(b, "sequence_number", p->events++);
}

static void message_item(struct sl_reply *p, struct sl_buf *b, const char *status, bool with_text)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "id", p->item);
	sl_buf_json_kz(b, "type", "message");
	sl_buf_json_kz(b, "status", status);
	sl_buf_json_kz(b, "role", "assistant");
	sl_buf_adds(b, ",\"content\":[");
	if (with_text) {
		sl_buf_adds(b, "{\"type\":\"output_text\"");
		sl_buf_json_kstr(b, "text", sl_buf_str(&p->text));
		sl_buf_adds(b, ",\"annotations\":[]}");
	}
	sl_buf_adds(b, "]}");
}

static void call_item(struct sl_buf *b, const char *id, struct json_object *call, const char *status,
		      struct sl_str arguments)
{
	struct json_object *f = sl_json_get(call, "function");
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "id", id);
	sl_buf_json_kz(b, "type", "function_call");
	sl_buf_json_kz(b, "status", status);
	sl_buf_json_kstr(b, "call_id", sl_json_get_str(call, "id"));
	sl_buf_json_kstr(b, "name", sl_json_get_str(f, "name"));
	sl_buf_json_kstr(b, "arguments", arguments);
	sl_buf_addc(b, '}');
}

static void call_id(const struct sl_reply *p, size_t i, char out[96])
{
	(void)snprintf(out, 96, "fc_%zu_%s", i, p->id);
}

/* The response object; usage NULL: it is not complete. */
static void response_object(struct sl_reply *p, struct sl_buf *b, const char *status, struct json_object *calls,
			    const struct sl_reply_usage *u, enum sl_code code, const char *message)
{
	size_t n = calls ? json_object_array_length(calls) : 0;
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "id", p->id);
	sl_buf_json_kz(b, "object", "response");
	sl_buf_json_ki64(b, "created_at", p->created_s);
	sl_buf_json_kz(b, "status", status);
	sl_buf_json_kz(b, "model", p->model);
	sl_buf_json_key(b, "error");
	if (message) {
		sl_buf_addc(b, '{');
		sl_buf_json_kz(b, "code", sl_code_wire(code));
		sl_buf_json_kz(b, "message", message);
		sl_buf_addc(b, '}');
	} else
		sl_buf_adds(b, "null");
	sl_buf_adds(b,
		    ",\"incomplete_details\":null,\"instructions\":null,\"metadata\":{},\"parallel_tool_calls\":true,"
		    "\"tool_choice\":\"auto\",\"tools\":[],\"output\":[");
	if (u && (p->text.len || !n))
		message_item(p, b, "completed", true);
	for (size_t i = 0; u && i < n; i++) {
		char id[96];
		struct json_object *call = json_object_array_get_idx(calls, i);
		call_id(p, i, id);
		sl_buf_json_comma(b);
		call_item(b, id, call, "completed", sl_json_get_str(sl_json_get(call, "function"), "arguments"));
	}
	sl_buf_addc(b, ']');
	if (u) {
		sl_buf_json_key(b, "usage");
		sl_buf_addf(
			b,
			"{\"input_tokens\":%llu,\"input_tokens_details\":{\"cached_tokens\":%llu},\"output_tokens\":"
			"%llu,\"output_tokens_details\":{\"reasoning_tokens\":%llu},\"total_tokens\":%llu}",
			(unsigned long long)u->input_tokens, (unsigned long long)u->cached_tokens,
			(unsigned long long)u->output_tokens, (unsigned long long)u->reasoning_tokens,
			(unsigned long long)u->input_tokens + u->output_tokens);
	}
	sl_buf_addc(b, '}');
}

static void response_event(struct sl_reply *p, const char *type, const char *status, struct json_object *calls,
			   const struct sl_reply_usage *u, enum sl_code code, const char *message)
{
	SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
	event_begin(p, &b, type);
	sl_buf_json_key(&b, "response");
	response_object(p, &b, status, calls, u, code, message);
	sl_buf_addc(&b, '}');
	send(p, type, &b);
}

static void item_event(struct sl_reply *p, const char *type, size_t index, struct sl_str item)
{
	SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
	event_begin(p, &b, type);
	sl_buf_json_ku64(&b, "output_index", index);
	sl_buf_json_kraw(&b, "item", item);
	sl_buf_addc(&b, '}');
	send(p, type, &b);
}

/* One that is about the text; `more`: the rest of its members. */
static void text_event(struct sl_reply *p, const char *type, struct sl_str more)
{
	SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
	event_begin(p, &b, type);
	sl_buf_json_kz(&b, "item_id", p->item);
	sl_buf_adds(&b, ",\"output_index\":0,\"content_index\":0,");
	sl_buf_add(&b, more.p, more.len);
	sl_buf_addc(&b, '}');
	send(p, type, &b);
}

static void response_begin(struct sl_reply *p)
{
	SL_BUF(item, 1024);
	response_event(p, "response.created", "in_progress", NULL, NULL, SL_OK, NULL);
	response_event(p, "response.in_progress", "in_progress", NULL, NULL, SL_OK, NULL);
	message_item(p, &item, "in_progress", false);
	item_event(p, "response.output_item.added", 0, sl_buf_str(&item));
	text_event(p, "response.content_part.added",
		   SL_STR("\"part\":{\"type\":\"output_text\",\"text\":\"\",\"annotations\":[]}"));
}

static void call_events(struct sl_reply *p, struct json_object *call, size_t i)
{
	SL_BUF(added, 4u * SL_LIMIT_PAYLOAD_BYTES);
	SL_BUF(done, 4u * SL_LIMIT_PAYLOAD_BYTES);
	struct sl_str arguments = sl_json_get_str(sl_json_get(call, "function"), "arguments");
	char id[96];
	call_id(p, i, id);
	call_item(&added, id, call, "in_progress", SL_STR(""));
	item_event(p, "response.output_item.added", i + 1, sl_buf_str(&added));
	for (int last = 0; last < 2; last++) {
		SL_BUF(b, 4u * SL_LIMIT_PAYLOAD_BYTES);
		const char *type =
			last ? "response.function_call_arguments.done" : "response.function_call_arguments.delta";
		event_begin(p, &b, type);
		sl_buf_json_kz(&b, "item_id", id);
		sl_buf_json_ku64(&b, "output_index", i + 1);
		sl_buf_json_kstr(&b, last ? "arguments" : "delta", arguments);
		sl_buf_addc(&b, '}');
		send(p, type, &b);
	}
	call_item(&done, id, call, "completed", arguments);
	item_event(p, "response.output_item.done", i + 1, sl_buf_str(&done));
}

static void response_end(struct sl_reply *p, struct json_object *calls, const struct sl_reply_usage *usage)
{
	SL_BUF(more, 8u * SL_LIMIT_STREAM_BYTES);
	SL_BUF(item, 8u * SL_LIMIT_STREAM_BYTES);
	sl_buf_json_kstr(&more, "text", sl_buf_str(&p->text));
	text_event(p, "response.output_text.done", sl_buf_str(&more));
	sl_buf_reset(&more);
	sl_buf_adds(&more, "\"part\":{\"type\":\"output_text\"");
	sl_buf_json_kstr(&more, "text", sl_buf_str(&p->text));
	sl_buf_adds(&more, ",\"annotations\":[]}");
	text_event(p, "response.content_part.done", sl_buf_str(&more));
	message_item(p, &item, "completed", true);
	item_event(p, "response.output_item.done", 0, sl_buf_str(&item));
	for (size_t i = 0; calls && i < json_object_array_length(calls); i++)
		call_events(p, json_object_array_get_idx(calls, i), i);
	response_event(p, "response.completed", "completed", calls, usage, SL_OK, NULL);
}

/* ---- both ---- */

static void begin(struct sl_reply *p)
{
	if (p->began || !p->stream)
		return;
	p->began = true;
	sl_answer_header(p->r, "X-Accel-Buffering", SL_STR("no")); /* proxies must not gather it */
	sl_answer_stream(p->r, 200, "text/event-stream");
	if (p->form == SL_REPLY_RESPONSES)
		response_begin(p);
	else
		chat_chunk(p, SL_STR("\"role\":\"assistant\",\"content\":\"\""), NULL);
}

void sl_reply_piece(struct sl_reply *p, enum sl_reply_kind kind, struct sl_str piece, uint64_t now_ms)
{
	struct sl_buf *all = kind == SL_REPLY_TEXT ? &p->text : &p->thinking;
	if (p->over || piece.len == 0)
		return;
	sl_buf_add(all, piece.p, piece.len);
	if (all->failed) {
		sl_reply_fail(p, SL_TOO_LARGE, "the answer is too long");
		return;
	}
	if (!p->first_ms)
		p->first_ms = now_ms;
	p->sent_ms = now_ms;
	if (!p->stream)
		return;
	begin(p);
	SL_BUF(more, 8u * SL_LIMIT_STREAM_BYTES);
	if (p->form == SL_REPLY_CHAT) {
		sl_buf_json_kstr(&more, kind == SL_REPLY_TEXT ? "content" : "reasoning_content", piece);
		chat_chunk(p, sl_buf_str(&more), NULL);
	} else if (kind == SL_REPLY_TEXT) {
		sl_buf_json_kstr(&more, "delta", piece);
		sl_buf_adds(&more, ",\"logprobs\":[]");
		text_event(p, "response.output_text.delta", sl_buf_str(&more));
	}
}

bool sl_reply_reset(struct sl_reply *p)
{
	if (p->began && p->text.len)
		return false;
	sl_buf_reset(&p->text);
	sl_buf_reset(&p->thinking);
	return true;
}

void sl_reply_done(struct sl_reply *p, struct sl_str finish_reason, struct sl_str tool_calls,
		   const struct sl_reply_usage *usage)
{
	SL_AUTO_JSON calls = NULL;
	char finish[32];
	if (p->over)
		return;
	if (tool_calls.len && (sl_json_parse(tool_calls, &calls, NULL) != SL_OK ||
			       !json_object_is_type(calls, json_type_array) || json_object_array_length(calls) == 0))
		tool_calls = SL_STR("");
	(void)snprintf(finish, sizeof(finish), SL_STR_FMT, SL_STR_ARG(finish_reason));
	if (!finish[0])
		(void)snprintf(finish, sizeof(finish), "%s", tool_calls.len ? "tool_calls" : "stop");
	if (!p->stream && p->form == SL_REPLY_CHAT) {
		chat_whole(p, finish, tool_calls, usage);
		p->over = true;
		return;
	}
	if (!p->stream) {
		SL_BUF(b, 8u * SL_LIMIT_STREAM_BYTES);
		response_object(p, &b, "completed", tool_calls.len ? calls : NULL, usage, SL_OK, NULL);
		sl_answer_buf(p->r, 200, &b);
		p->over = true;
		return;
	}
	begin(p);
	if (p->form == SL_REPLY_RESPONSES) {
		response_end(p, tool_calls.len ? calls : NULL, usage);
		end(p);
		return;
	}
	if (tool_calls.len)
		chat_tool_deltas(p, tool_calls);
	chat_chunk(p, SL_STR(""), finish);
	if (p->want_usage) {
		SL_BUF(b, 4096);
		chat_head(p, &b, "chat.completion.chunk");
		sl_buf_adds(&b, ",\"choices\":[]");
		chat_usage(&b, usage);
		sl_buf_addc(&b, '}');
		send(p, NULL, &b);
	}
	sl_buf_adds(&p->unsent, "data: [DONE]\n\n");
	end(p);
}

void sl_reply_fail(struct sl_reply *p, enum sl_code code, const char *message)
{
	if (p->over)
		return;
	if (!p->began) {
		p->over = true;
		sl_answer_problem(p->r, code, "%s", message);
		return;
	}
	if (p->form == SL_REPLY_RESPONSES) {
		response_event(p, "response.failed", "failed", NULL, NULL, code, message);
	} else {
		SL_BUF(b, 16384);
		sl_openai_error(&b, sl_code_http(code), code, sl_str(message), SL_STR(""));
		send(p, NULL, &b);
	}
	end(p);
}

void sl_reply_tick(struct sl_reply *p, uint64_t now_ms)
{
	if (p->over || !p->stream)
		return;
	if (!p->began && now_ms - p->asked_ms >= SL_REPLY_HOLD_MS) {
		begin(p);
		p->sent_ms = now_ms;
	} else if (p->began && !p->unsent.len && now_ms - p->sent_ms >= SL_REPLY_PAUSE_MS) {
		SL_IGNORE(sl_answer_write(p->r, ": still here\n\n", 14)); /* when it does not fit, there is traffic */
		p->sent_ms = now_ms;
	}
}
