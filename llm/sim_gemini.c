/* llm/sim_gemini.c: the simulator as Google's Gemini API. */
#include "base/json.h"
#include "llm/sim_dialect.h"

/* Its failures come as bare JSON over several lines when nothing else is asked for, because that is their trap. */

static struct sl_str text_of_parts(struct json_object *content)
{
	return sl_sim_text_of(sl_json_get(content, "parts"));
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* "/v1beta/models/NAME:streamGenerateContent" */
static void read_path(struct sl_str path, struct sim_wish *w)
{
	struct sl_str head = SL_STR("/models/"), name, verb;
	const char *at = memmem(path.p, path.len, head.p, head.len);
	size_t n = 0;
	name = at ? sl_str_n(at + head.len, path.len - (size_t)(at - path.p) - head.len) : path;
	if (!sl_str_cut(name, ':', &name, &verb))
		verb = SL_STR("");
	for (size_t i = 0; i < name.len && n + 1 < sizeof(w->model); i++) {
		int high = name.p[i] == '%' && i + 2 < name.len ? hex(name.p[i + 1]) : -1;
		int low = high >= 0 ? hex(name.p[i + 2]) : -1;
		w->model[n++] = (char)(low >= 0 ? high << 4 | low : name.p[i]);
		i += low >= 0 ? 2 : 0;
	}
	w->model[n] = 0;
	w->ask.model = sl_str(w->model);
	w->stream = sl_str_starts(verb, SL_STR("stream"));
}

/* What is no object comes wrapped in one. */
static void tool_of(struct json_object *content, struct sim_wish *w)
{
	struct json_object *parts = sl_json_get(content, "parts");
	for (size_t i = 0; json_object_is_type(parts, json_type_array) && i < json_object_array_length(parts); i++) {
		struct json_object *said =
			sl_json_get(sl_json_get(json_object_array_get_idx(parts, i), "functionResponse"), "response");
		struct sl_str result = sl_json_get_str(said, "result");
		if (said) /* json-c keeps the text with the object */
			w->ask.tool = result.len ? result
						 : sl_str(json_object_to_json_string_ext(said, JSON_C_TO_STRING_PLAIN));
	}
}

static const char *gemini_read(struct json_object *doc, struct sl_str path, struct sim_wish *w)
{
	struct json_object *contents = sl_json_get(doc, "contents"), *config = sl_json_get(doc, "generationConfig");
	if (!json_object_is_type(contents, json_type_array) || json_object_array_length(contents) == 0)
		return "* GenerateContentRequest.contents: contents is not specified";
	read_path(path, w);
	w->ask.system = text_of_parts(sl_json_get(doc, "systemInstruction"));
	w->ask.digest = sl_sim_digest(w->ask.system, w->ask.digest);
	for (size_t i = 0; i < json_object_array_length(contents); i++) {
		struct json_object *c = json_object_array_get_idx(contents, i);
		struct sl_str role = sl_json_get_str(c, "role"), text = text_of_parts(c);
		if (!sl_str_is(role, "model") && text.len)
			w->ask.user = text;
		w->ask.turns += sl_str_is(role, "model");
		tool_of(c, w);
		w->ask.digest = sl_sim_digest(text, w->ask.digest);
	}
	w->schema = sl_json_get(config, "responseJsonSchema");
	if (!w->schema)
		w->schema = sl_json_get(config, "responseSchema");
	w->json = w->schema || sl_str_is(sl_json_get_str(config, "responseMimeType"), "application/json");
	w->most_tokens = sl_json_get_i64(config, "maxOutputTokens", 0);
	w->tell_usage = true;
	return NULL;
}

static void write_candidate(struct sl_buf *b, bool open)
{
	sl_buf_adds(b, open ? "{\"candidates\":[{\"content\":{\"parts\":[" : "],\"role\":\"model\"}");
}

static void write_rest(struct sim_reply *r, struct sl_buf *b, const char *finish)
{
	if (finish)
		sl_buf_json_kz(b, "finishReason", finish);
	sl_buf_adds(b, ",\"index\":0}]");
	if (r->tell_usage) {
		uint32_t said = r->sent - r->thinking_tokens;
		sl_buf_addf(b, ",\"usageMetadata\":{\"promptTokenCount\":%u,\"candidatesTokenCount\":%u,",
			    r->prompt_tokens, said);
		if (r->thinking_tokens)
			sl_buf_addf(b, "\"thoughtsTokenCount\":%u,", r->thinking_tokens);
		sl_buf_addf(b, "\"totalTokenCount\":%u}", r->prompt_tokens + r->sent);
	}
	sl_buf_json_kz(b, "modelVersion", r->model);
	sl_buf_addf(b, ",\"responseId\":\"sim%06llu\"}", (unsigned long long)r->n);
}

static void write_text(struct sl_buf *b, bool thinking, struct sl_str text)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kstr(b, "text", text);
	if (thinking)
		sl_buf_json_kbool(b, "thought", true);
	sl_buf_addc(b, '}');
}

static void write_tools(struct sim_reply *r, struct sl_buf *b)
{
	SL_AUTO_JSON list = r->tools ? json_tokener_parse(r->tools) : NULL;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		sl_buf_json_comma(b);
		sl_buf_adds(b, "{\"functionCall\":{");
		sl_buf_json_kstr(b, "name", sl_json_get_str(t, "name"));
		sl_buf_json_key(b, "args");
		sl_json_write(b, sl_json_get(t, "arguments"));
		sl_buf_adds(b, "}}");
	}
}

static void gemini_token(struct sim_reply *r, struct sl_buf *b, bool thinking, struct sl_str token)
{
	sl_buf_adds(b, "data: ");
	write_candidate(b, true);
	write_text(b, thinking, token);
	write_candidate(b, false);
	write_rest(r, b, NULL);
	sl_buf_adds(b, "\r\n\r\n");
}

static const char *finish_reason(const struct sim_reply *r)
{
	static const struct {
		const char *ours, *theirs;
	} words[] = {{"stop", "STOP"},
		     {"tool_calls", "STOP"},
		     {"length", "MAX_TOKENS"},
		     {"content_filter", "SAFETY"},
		     {"recitation", "RECITATION"}};
	const char *finish = sl_sim_refuses(r) ? "content_filter" : sl_sim_finish(r);
	for (size_t i = 0; i < SL_COUNT_OF(words); i++)
		if (strcmp(words[i].ours, finish) == 0)
			return words[i].theirs;
	return "OTHER";
}

static void gemini_end(struct sim_reply *r, struct sl_buf *b, bool marker)
{
	if (!marker) /* the reason is the marker */
		return;
	sl_buf_adds(b, "data: ");
	write_candidate(b, true);
	if (r->tools)
		write_tools(r, b);
	else
		write_text(b, false, SL_STR(""));
	write_candidate(b, false);
	write_rest(r, b, finish_reason(r));
	sl_buf_adds(b, "\r\n\r\n");
}

static void gemini_whole(struct sim_reply *r, struct sl_buf *b)
{
	write_candidate(b, true);
	if (r->thinking_len)
		write_text(b, true, sl_str_n(r->thinking, r->thinking_len));
	if (r->text_len && !sl_sim_refuses(r)) {
		sl_buf_json_comma(b);
		write_text(b, false, sl_str_n(r->text, r->text_len));
	}
	write_tools(r, b);
	write_candidate(b, false);
	write_rest(r, b, finish_reason(r));
}

static void gemini_failure(const struct sim_failure *f, struct sl_buf *b)
{
	sl_buf_adds(b, f->list ? "[{\n  \"error\": {\n    " : "{\n  \"error\": {\n    ");
	sl_buf_addf(b, "\"code\": %d,\n    ", f->status);
	sl_buf_adds(b, "\"message\": ");
	sl_buf_json_str(b, sl_str(f->message));
	sl_buf_addf(b, ",\n    \"status\": \"%s\"", f->type);
	if (f->code || f->retry_ms) {
		sl_buf_adds(b, ",\n    \"details\": [");
		if (f->code && strchr(f->code, '-')) /* a quota's name */
			sl_buf_addf(b,
				    "\n      {\"@type\": \"type.googleapis.com/google.rpc.QuotaFailure\", "
				    "\"violations\": [{\"quotaId\": \"%s\"}]}",
				    f->code);
		else if (f->code)
			sl_buf_addf(
				b,
				"\n      {\"@type\": \"type.googleapis.com/google.rpc.ErrorInfo\", \"reason\": \"%s\"}",
				f->code);
		if (f->retry_ms)
			sl_buf_addf(b,
				    "%s\n      {\"@type\": \"type.googleapis.com/google.rpc.RetryInfo\", "
				    "\"retryDelay\": \"%.10gs\"}",
				    f->code ? "," : "", f->retry_ms / 1000.0);
		sl_buf_adds(b, "\n    ]");
	}
	sl_buf_adds(b, f->list ? "\n  }\n}]\n" : "\n  }\n}\n");
}

static void gemini_failure_event(const struct sim_failure *f, bool text, bool line, struct sl_buf *b)
{
	if (text)
		sl_buf_adds(b, "data: {\"error\": \"the simulator was told to fail here\"}\r\n\r\n");
	else
		gemini_failure(f, b);
}

static void gemini_raw(struct sim_reply *r, struct sl_buf *b, struct sl_str inside, bool half)
{
	sl_buf_adds(b, "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"");
	sl_buf_add(b, inside.p, inside.len);
	sl_buf_adds(b, half ? "\r\n\r\n" : "\"}],\"role\":\"model\"},\"index\":0}]}\r\n\r\n");
}

const struct sim_dialect sl_sim_gemini = {
	.name = "gemini",
	.stream_type = "text/event-stream",
	.failures =
		{
			[SIM_BAD] = {400, "INVALID_ARGUMENT", NULL, "The simulator was told to find this request bad."},
			[SIM_KEY] = {400, "INVALID_ARGUMENT", "API_KEY_INVALID",
				     "API key not valid. Please pass a valid API key."},
			[SIM_FORBIDDEN] = {403, "PERMISSION_DENIED", NULL, "The caller does not have permission"},
			[SIM_MODEL] = {404, "NOT_FOUND", NULL, "models/x is not found for API version v1beta"},
			[SIM_LENGTH] = {400, "INVALID_ARGUMENT", NULL,
					"The input token count (1100000) exceeds the maximum number of tokens allowed "
					"(1048576): maximum context length."},
			[SIM_RATE] = {429, "RESOURCE_EXHAUSTED", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
				      "Rate limit reached for requests."},
			[SIM_QUOTA] = {429, "RESOURCE_EXHAUSTED", "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
				       "You exceeded your current quota, please check your plan and billing details.",
				       34070},
			[SIM_SPEND] = {429, "RESOURCE_EXHAUSTED", NULL, "You exceeded your current quota.", 3600000},
			[SIM_BROKEN] = {500, "INTERNAL", NULL, "An internal error has occurred."},
			[SIM_OVERLOADED] = {503, "UNAVAILABLE", NULL,
					    "The model is overloaded. Please try again later."},
		},
	.rate_hint = {"retryinfo", "retryinfo"},
	.read = gemini_read,
	.token = gemini_token,
	.end = gemini_end,
	.whole = gemini_whole,
	.failure = gemini_failure,
	.failure_event = gemini_failure_event,
	.raw = gemini_raw,
};
