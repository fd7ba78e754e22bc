/* llm/sim_openai.c: the simulator as OpenAI's chat completions. */
#include "base/json.h"
#include "llm/sim_dialect.h"

static const char *openai_read(struct json_object *doc, struct sl_str path, struct sim_wish *w)
{
	struct json_object *messages = sl_json_get(doc, "messages"), *format = sl_json_get(doc, "response_format");
	if (!json_object_is_type(messages, json_type_array))
		return "The body must be a JSON object with messages.";
	w->ask.model = sl_json_get_str(doc, "model");
	for (size_t i = 0; i < json_object_array_length(messages); i++) {
		struct json_object *m = json_object_array_get_idx(messages, i);
		struct sl_str role = sl_json_get_str(m, "role"), text = sl_sim_text_of(sl_json_get(m, "content"));
		if (sl_str_is(role, "system") || sl_str_is(role, "developer"))
			w->ask.system = text;
		else if (sl_str_is(role, "user"))
			w->ask.user = text;
		else if (sl_str_is(role, "tool"))
			w->ask.tool = text;
		w->ask.turns += sl_str_is(role, "assistant");
		w->ask.digest = sl_sim_digest(text, w->ask.digest);
	}
	w->schema = sl_json_get(sl_json_get(format, "json_schema"), "schema");
	w->json = w->schema || sl_str_is(sl_json_get_str(format, "type"), "json_object");
	w->stream = sl_json_get_bool(doc, "stream", false);
	w->most_tokens =
		sl_json_get_i64(doc, "max_completion_tokens", sl_json_get_i64(doc, "max_tokens", 0)); /* the old name */
	w->tell_usage = !w->stream || sl_json_get_bool(sl_json_get(doc, "stream_options"), "include_usage", false);
	return NULL;
}

static void event_open(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_addf(
		b,
		"data: {\"id\":\"chatcmpl-sim%06llu\",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":",
		(unsigned long long)r->n, (long long)r->created_s);
	sl_buf_json_str(b, sl_str(r->model));
	sl_buf_adds(b, ",\"system_fingerprint\":\"fp_sim\",\"choices\":[");
}

static void event_delta(struct sim_reply *r, struct sl_buf *b, const char *key, struct sl_str text, const char *finish)
{
	event_open(r, b);
	sl_buf_adds(b, "{\"index\":0,\"delta\":{");
	if (key) {
		sl_buf_addf(b, "\"%s\":", key);
		sl_buf_json_str(b, text);
	}
	sl_buf_adds(b, "},\"logprobs\":null,\"finish_reason\":");
	if (finish)
		sl_buf_json_str(b, sl_str(finish));
	else
		sl_buf_adds(b, "null");
	sl_buf_adds(b, "}]}\n\n");
}

static void write_usage(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_addf(b,
		    "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,\"prompt_tokens_"
		    "details\":"
		    "{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
		    r->prompt_tokens, r->sent, r->prompt_tokens + r->sent, r->thinking_tokens);
}

static void write_tools(struct sim_reply *r,
			struct sl_buf *b) /* as deltas: the name, then the arguments in two pieces */
{
	SL_AUTO_JSON list = json_tokener_parse(r->tools);
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		SL_BUF(args, 1u << 20);
		sl_json_write(&args, sl_json_get(t, "arguments"));
		event_open(r, b);
		sl_buf_addf(b,
			    "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%zu,\"id\":\"call_sim%llu_%zu\","
			    "\"type\":\"function\",\"function\":{\"name\":",
			    i, (unsigned long long)r->n, i);
		sl_buf_json_str(b, sl_json_get_str(t, "name"));
		sl_buf_adds(b, ",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n");
		for (size_t at = 0, half = args.len / 2; at < args.len; at += half, half = args.len - at) {
			event_open(r, b);
			sl_buf_addf(
				b,
				"{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":",
				i);
			sl_buf_json_str(b, sl_str_n(args.data + at, half ? half : args.len));
			sl_buf_adds(b, "}}]},\"finish_reason\":null}]}\n\n");
			if (half == 0)
				break;
		}
	}
}

static void openai_begin(struct sim_reply *r, struct sl_buf *b)
{
	event_delta(r, b, "role", SL_STR("assistant"), NULL);
}

static void openai_token(struct sim_reply *r, struct sl_buf *b, bool thinking, struct sl_str token)
{
	event_delta(r, b, thinking ? "reasoning_content" : "content", token, NULL);
}

static void openai_end(struct sim_reply *r, struct sl_buf *b, bool marker)
{
	if (sl_sim_refuses(r))
		event_delta(r, b, "refusal", SL_STR(SIM_REFUSAL), NULL);
	if (r->tools)
		write_tools(r, b);
	event_delta(r, b, NULL, sl_str(""), sl_sim_finish(r));
	if (!marker)
		return;
	if (r->tell_usage) {
		event_open(r, b);
		sl_buf_adds(b, "],");
		write_usage(r, b);
		sl_buf_adds(b, "}\n\n");
	}
	sl_buf_adds(b, "data: [DONE]\n\n");
}

static void openai_whole(struct sim_reply *r, struct sl_buf *b)
{
	bool refusal = sl_sim_refuses(r);
	sl_buf_addf(b, "{\"id\":\"chatcmpl-sim%06llu\",\"object\":\"chat.completion\",\"created\":%lld,",
		    (unsigned long long)r->n, (long long)r->created_s);
	sl_buf_json_kz(b, "model", r->model);
	sl_buf_adds(b, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
	if (refusal)
		sl_buf_json_kz(b, "refusal", SIM_REFUSAL);
	sl_buf_json_kstr(b, "content", refusal ? sl_str("") : sl_str_n(r->text, r->text_len));
	if (r->thinking_len)
		sl_buf_json_kstr(b, "reasoning_content", sl_str_n(r->thinking, r->thinking_len));
	if (r->tools) {
		SL_AUTO_JSON list = json_tokener_parse(r->tools);
		sl_buf_json_key(b, "tool_calls");
		sl_buf_addc(b, '[');
		for (size_t i = 0; list && i < json_object_array_length(list); i++) {
			struct json_object *t = json_object_array_get_idx(list, i);
			SL_BUF(args, 1u << 20);
			sl_json_write(&args, sl_json_get(t, "arguments"));
			sl_buf_addf(b, "%s{\"id\":\"call_sim%llu_%zu\",\"type\":\"function\",\"function\":{",
				    i ? "," : "", (unsigned long long)r->n, i);
			sl_buf_json_kstr(b, "name", sl_json_get_str(t, "name"));
			sl_buf_json_kstr(b, "arguments", sl_buf_str(&args));
			sl_buf_adds(b, "}}");
		}
		sl_buf_addc(b, ']');
	}
	sl_buf_adds(b, "},\"logprobs\":null,");
	sl_buf_json_kz(b, "finish_reason", sl_sim_finish(r));
	sl_buf_adds(b, "}],");
	if (r->tell_usage)
		write_usage(r, b);
	else
		sl_buf_adds(b, "\"system_fingerprint\":\"fp_sim\"");
	sl_buf_addc(b, '}');
}

static void openai_failure(const struct sim_failure *f, struct sl_buf *b)
{
	sl_buf_adds(b, "{\"error\":{");
	sl_buf_json_kz(b, "message", f->message);
	sl_buf_json_kz(b, "type", f->type);
	sl_buf_json_kz(b, "param", NULL);
	sl_buf_json_kz(b, "code", f->code);
	if (f->retry_ms)
		sl_buf_addf(b,
			    ",\"details\":[{\"@type\":\"type.googleapis.com/"
			    "google.rpc.RetryInfo\",\"retryDelay\":\"%.3fs\"}]",
			    f->retry_ms / 1000.0);
	sl_buf_adds(b, "}}");
}

static void openai_failure_event(const struct sim_failure *f, bool text, bool line, struct sl_buf *b)
{
	sl_buf_adds(b, line ? "error: " : "data: ");
	if (text)
		sl_buf_adds(b, "{\"error\":\"the simulator was told to fail here\"}");
	else
		openai_failure(f, b);
	sl_buf_adds(b, "\n\n");
}

static void openai_raw(struct sim_reply *r, struct sl_buf *b, struct sl_str inside, bool half)
{
	sl_buf_adds(b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
	sl_buf_add(b, inside.p, inside.len);
	sl_buf_adds(b, half ? "\n\n" : "\"},\"finish_reason\":null}]}\n\n");
}

const struct sim_dialect sl_sim_openai = {
	.name = "openai",
	.stream_type = "text/event-stream",
	.failures =
		{
			[SIM_BAD] = {400, "invalid_request_error", NULL,
				     "The simulator was told to find this request bad."},
			[SIM_KEY] = {401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."},
			[SIM_FORBIDDEN] = {403, "permission_error", NULL, "The key may not use this model."},
			[SIM_MODEL] = {404, "invalid_request_error", "model_not_found",
				       "The model does not exist or you do not have access to it."},
			[SIM_LENGTH] = {400, "invalid_request_error", "context_length_exceeded",
					"This model's maximum context length is 8192 tokens. However, your messages "
					"resulted in 9000 tokens."},
			[SIM_RATE] = {429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."},
			[SIM_QUOTA] = {429, "insufficient_quota", "insufficient_quota",
				       "You exceeded your current quota, please check your plan and billing details."},
			[SIM_SPEND] = {429, "requests", "organization_spend_limit_exceeded",
				       "The organization's spend limit is reached."},
			[SIM_BROKEN] = {500, "server_error", NULL,
					"The server had an error while processing your request. Sorry about that!"},
			[SIM_OVERLOADED] = {503, "server_error", "server_is_overloaded",
					    "That model is currently overloaded."},
		},
	.rate_hint = {"seconds", "ms"},
	.read = openai_read,
	.begin = openai_begin,
	.token = openai_token,
	.end = openai_end,
	.whole = openai_whole,
	.failure = openai_failure,
	.failure_event = openai_failure_event,
	.raw = openai_raw,
};
