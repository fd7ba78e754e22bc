/* llm/sim_anthropic.c: the simulator as Anthropic's Messages API. */
#include "base/json.h"
#include "llm/sim_dialect.h"

static void tool_of(struct json_object *content, struct sim_wish *w)
{
	for (size_t i = 0; json_object_is_type(content, json_type_array) && i < json_object_array_length(content);
	     i++) {
		struct json_object *part = json_object_array_get_idx(content, i);
		if (sl_str_is(sl_json_get_str(part, "type"), "tool_result"))
			w->ask.tool = sl_sim_text_of(sl_json_get(part, "content"));
	}
}

static const char *anthropic_read(struct json_object *doc, struct sl_str path, struct sim_wish *w)
{
	struct json_object *messages = sl_json_get(doc, "messages"), *system = sl_json_get(doc, "system");
	struct json_object *format = sl_json_get(sl_json_get(doc, "output_config"), "format");
	if (!json_object_is_type(messages, json_type_array) || json_object_array_length(messages) == 0)
		return "messages: at least one message is required";
	w->most_tokens = sl_json_get_i64(doc, "max_tokens", 0);
	if (w->most_tokens < 1)
		return "max_tokens: Field required";
	w->ask.model = sl_json_get_str(doc, "model");
	w->ask.system = sl_sim_text_of(system);
	w->ask.digest = sl_sim_digest(w->ask.system, w->ask.digest);
	for (size_t i = 0; i < json_object_array_length(messages); i++) {
		struct json_object *m = json_object_array_get_idx(messages, i);
		struct sl_str text = sl_sim_text_of(sl_json_get(m, "content"));
		if (sl_str_is(sl_json_get_str(m, "role"), "user") && text.len)
			w->ask.user = text;
		w->ask.turns += sl_str_is(sl_json_get_str(m, "role"), "assistant");
		tool_of(sl_json_get(m, "content"), w);
		w->ask.digest = sl_sim_digest(text, w->ask.digest);
	}
	w->schema = sl_json_get(format, "schema");
	w->json = w->schema != NULL;
	w->stream = sl_json_get_bool(doc, "stream", false);
	w->tell_usage = true;
	return NULL;
}

static void open_event(struct sl_buf *b, const char *name)
{
	sl_buf_addf(b, "event: %s\ndata: {\"type\":\"%s\"", name, name);
}

static void close_event(struct sl_buf *b)
{
	sl_buf_adds(b, "}\n\n");
}

static void write_head(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_addf(b, "{\"id\":\"msg_sim%06llu\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
		    (unsigned long long)r->n);
	sl_buf_json_str(b, sl_str(r->model));
}

static void anthropic_begin(struct sim_reply *r, struct sl_buf *b)
{
	open_event(b, "message_start");
	sl_buf_adds(b, ",\"message\":");
	write_head(r, b);
	sl_buf_adds(b, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
	if (r->tell_usage)
		sl_buf_addf(b,
			    ",\"usage\":{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,"
			    "\"cache_read_input_tokens\":0,\"output_tokens\":1}",
			    r->prompt_tokens);
	sl_buf_addc(b, '}');
	close_event(b);
	open_event(b, "ping");
	close_event(b);
}

enum { NONE, TEXT, THINKING }; /* which block is open */

static void close_block(struct sim_reply *r, struct sl_buf *b)
{
	if (r->block_kind == THINKING) {
		open_event(b, "content_block_delta");
		sl_buf_addf(b, ",\"index\":%d,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"c2lt\"}",
			    r->block);
		close_event(b);
	}
	if (r->block_kind != NONE) {
		open_event(b, "content_block_stop");
		sl_buf_addf(b, ",\"index\":%d", r->block++);
		close_event(b);
	}
	r->block_kind = NONE;
}

static void open_block(struct sim_reply *r, struct sl_buf *b, int kind)
{
	if (r->block_kind == kind)
		return;
	close_block(r, b);
	open_event(b, "content_block_start");
	sl_buf_addf(b, ",\"index\":%d,\"content_block\":%s", r->block,
		    kind == TEXT ? "{\"type\":\"text\",\"text\":\"\"}"
				 : "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
	close_event(b);
	r->block_kind = kind;
}

static void anthropic_token(struct sim_reply *r, struct sl_buf *b, bool thinking, struct sl_str token)
{
	open_block(r, b, thinking ? THINKING : TEXT);
	open_event(b, "content_block_delta");
	sl_buf_addf(b, ",\"index\":%d,\"delta\":{\"type\":\"%s\",\"%s\":", r->block,
		    thinking ? "thinking_delta" : "text_delta", thinking ? "thinking" : "text");
	sl_buf_json_str(b, token);
	sl_buf_addc(b, '}');
	close_event(b);
}

static void write_tools(struct sim_reply *r, struct sl_buf *b)
{
	SL_AUTO_JSON list = r->tools ? json_tokener_parse(r->tools) : NULL;
	for (size_t i = 0; list && i < json_object_array_length(list); i++, r->block++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		SL_BUF(args, 1u << 20);
		sl_json_write(&args, sl_json_get(t, "arguments"));
		open_event(b, "content_block_start");
		sl_buf_addf(
			b,
			",\"index\":%d,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_sim%llu_%zu\",\"name\":",
			r->block, (unsigned long long)r->n, i);
		sl_buf_json_str(b, sl_json_get_str(t, "name"));
		sl_buf_adds(b, ",\"input\":{}}");
		close_event(b);
		for (size_t at = 0, n = args.len / 2; at < args.len; at += n, n = args.len - at) {
			if (n == 0)
				n = args.len - at;
			open_event(b, "content_block_delta");
			sl_buf_addf(b, ",\"index\":%d,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":",
				    r->block);
			sl_buf_json_str(b, sl_str_n(args.data + at, n));
			sl_buf_addc(b, '}');
			close_event(b);
		}
		open_event(b, "content_block_stop");
		sl_buf_addf(b, ",\"index\":%d", r->block);
		close_event(b);
	}
}

static const char *stop_reason(const struct sim_reply *r)
{
	static const struct {
		const char *ours, *theirs;
	} words[] = {
		{"stop", "end_turn"},          {"tool_calls", "tool_use"}, {"length", "max_tokens"},
		{"content_filter", "refusal"}, {"pause", "pause_turn"},    {"window", "model_context_window_exceeded"},
	};
	const char *finish = sl_sim_finish(r);
	for (size_t i = 0; i < SL_COUNT_OF(words); i++)
		if (strcmp(words[i].ours, finish) == 0)
			finish = words[i].theirs;
	return sl_sim_refuses(r) ? "refusal" : finish;
}

static void anthropic_end(struct sim_reply *r, struct sl_buf *b, bool marker)
{
	close_block(r, b);
	write_tools(r, b);
	open_event(b, "message_delta");
	sl_buf_addf(b, ",\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null}", stop_reason(r));
	if (r->tell_usage)
		sl_buf_addf(b, ",\"usage\":{\"output_tokens\":%u}", r->sent);
	close_event(b);
	if (!marker)
		return;
	open_event(b, "message_stop");
	close_event(b);
}

static void anthropic_whole(struct sim_reply *r, struct sl_buf *b)
{
	SL_AUTO_JSON list = r->tools ? json_tokener_parse(r->tools) : NULL;
	write_head(r, b);
	sl_buf_adds(b, ",\"content\":[");
	if (r->thinking_len) {
		sl_buf_adds(b, "{\"type\":\"thinking\"");
		sl_buf_json_kstr(b, "thinking", sl_str_n(r->thinking, r->thinking_len));
		sl_buf_adds(b, ",\"signature\":\"c2lt\"}");
	}
	if (r->text_len && !sl_sim_refuses(r)) {
		sl_buf_json_comma(b);
		sl_buf_adds(b, "{\"type\":\"text\"");
		sl_buf_json_kstr(b, "text", sl_str_n(r->text, r->text_len));
		sl_buf_addc(b, '}');
	}
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		sl_buf_json_comma(b);
		sl_buf_addf(b, "{\"type\":\"tool_use\",\"id\":\"toolu_sim%llu_%zu\"", (unsigned long long)r->n, i);
		sl_buf_json_kstr(b, "name", sl_json_get_str(t, "name"));
		sl_buf_json_key(b, "input");
		sl_json_write(b, sl_json_get(t, "arguments"));
		sl_buf_addc(b, '}');
	}
	sl_buf_addf(b, "],\"stop_reason\":\"%s\",\"stop_sequence\":null", stop_reason(r));
	if (r->tell_usage)
		sl_buf_addf(b, ",\"usage\":{\"input_tokens\":%u,\"output_tokens\":%u}", r->prompt_tokens, r->sent);
	sl_buf_addc(b, '}');
}

static void anthropic_failure(const struct sim_failure *f, struct sl_buf *b)
{
	sl_buf_adds(b, "{\"type\":\"error\",\"error\":{");
	if (f->code)
		sl_buf_addf(b, "\"details\":{\"error_code\":\"%s\"}", f->code);
	else
		sl_buf_adds(b, "\"details\":null");
	sl_buf_json_kz(b, "type", f->type);
	sl_buf_json_kz(b, "message", f->message);
	sl_buf_adds(b, "},\"request_id\":\"req_sim\"}");
}

static void anthropic_failure_event(const struct sim_failure *f, bool text, bool line, struct sl_buf *b)
{
	if (!line)
		sl_buf_adds(b, "event: error\ndata: ");
	if (text)
		sl_buf_adds(b, "{\"type\":\"error\",\"error\":\"the simulator was told to fail here\"}");
	else
		anthropic_failure(f, b);
	sl_buf_adds(b, "\n\n");
}

static void anthropic_raw(struct sim_reply *r, struct sl_buf *b, struct sl_str inside, bool half)
{
	open_block(r, b, TEXT);
	open_event(b, "content_block_delta");
	sl_buf_addf(b, ",\"index\":%d,\"delta\":{\"type\":\"text_delta\",\"text\":\"", r->block);
	sl_buf_add(b, inside.p, inside.len);
	sl_buf_adds(b, half ? "\n\n" : "\"}}\n\n");
}

const struct sim_dialect sl_sim_anthropic = {
	.name = "anthropic",
	.stream_type = "text/event-stream; charset=utf-8",
	.failures =
		{
			[SIM_BAD] = {400, "invalid_request_error", NULL,
				     "The simulator was told to find this request bad."},
			[SIM_KEY] = {401, "authentication_error", NULL, "invalid x-api-key"},
			[SIM_FORBIDDEN] = {403, "permission_error", NULL, "Your API key may not use this model."},
			[SIM_MODEL] = {404, "not_found_error", NULL, "model: there is no such model"},
			[SIM_LENGTH] = {400, "invalid_request_error", NULL,
					"prompt is too long: 210000 tokens > 200000 maximum context length"},
			[SIM_RATE] = {429, "rate_limit_error", NULL, "Rate limit reached for requests."},
			[SIM_QUOTA] = {429, "rate_limit_error", "enforced_spend_limit_reached",
				       "You have reached your specified API usage limits."},
			[SIM_SPEND] = {400, "invalid_request_error", NULL,
				       "Your credit balance is too low to access the Anthropic API."},
			[SIM_BROKEN] = {500, "api_error", NULL, "Internal server error"},
			[SIM_OVERLOADED] = {529, "overloaded_error", NULL, "Overloaded"},
		},
	.rate_hint = {"seconds", "ms"},
	.needs_header = "anthropic-version",
	.read = anthropic_read,
	.begin = anthropic_begin,
	.token = anthropic_token,
	.end = anthropic_end,
	.whole = anthropic_whole,
	.failure = anthropic_failure,
	.failure_event = anthropic_failure_event,
	.raw = anthropic_raw,
};
