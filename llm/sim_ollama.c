/* llm/sim_ollama.c: the simulator as Ollama's /api/chat. */
#include "base/clock.h"
#include "base/json.h"
#include "llm/sim_dialect.h"

static const char *ollama_read(struct json_object *doc, struct sl_str path, struct sim_wish *w)
{
	struct json_object *messages = sl_json_get(doc, "messages"), *format = sl_json_get(doc, "format");
	if (!json_object_is_type(messages, json_type_array))
		return "invalid request: messages are missing";
	w->ask.model = sl_json_get_str(doc, "model");
	for (size_t i = 0; i < json_object_array_length(messages); i++) {
		struct json_object *m = json_object_array_get_idx(messages, i);
		struct sl_str role = sl_json_get_str(m, "role"), text = sl_json_get_str(m, "content");
		if (sl_str_is(role, "system"))
			w->ask.system = text;
		else if (sl_str_is(role, "user"))
			w->ask.user = text;
		else if (sl_str_is(role, "tool"))
			w->ask.tool = text;
		w->ask.turns += sl_str_is(role, "assistant");
		w->ask.digest = sl_sim_digest(text, w->ask.digest);
	}
	w->schema = json_object_is_type(format, json_type_object) ? format : NULL;
	w->json = w->schema || sl_str_is(sl_json_str(format), "json");
	w->stream = sl_json_get_bool(doc, "stream", true);                               /* unlike everywhere else */
	w->most_tokens = sl_json_get_i64(sl_json_get(doc, "options"), "num_predict", 0); /* -1 and -2: no limit */
	w->tell_usage = true;
	return NULL;
}

static void open_line(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_adds(b, "{\"model\":");
	sl_buf_json_str(b, sl_str(r->model));
	sl_buf_json_ktime(b, "created_at", sl_clock_wall_ms());
	sl_buf_adds(b, ",\"message\":{\"role\":\"assistant\"");
}

static void ollama_token(struct sim_reply *r, struct sl_buf *b, bool thinking, struct sl_str token)
{
	open_line(r, b);
	sl_buf_json_kstr(b, "content", thinking ? SL_STR("") : token);
	if (thinking)
		sl_buf_json_kstr(b, "thinking", token);
	sl_buf_adds(b, "},\"done\":false}\n");
}

static void write_tools(struct sim_reply *r, struct sl_buf *b)
{
	SL_AUTO_JSON list = json_tokener_parse(r->tools);
	sl_buf_json_key(b, "tool_calls");
	sl_buf_addc(b, '[');
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		sl_buf_adds(b, i ? ",{\"function\":{" : "{\"function\":{");
		sl_buf_json_kstr(b, "name", sl_json_get_str(t, "name"));
		sl_buf_json_key(b, "arguments");
		sl_json_write(b, sl_json_get(t, "arguments"));
		sl_buf_adds(b, "}}");
	}
	sl_buf_addc(b, ']');
}

static void write_done(struct sim_reply *r, struct sl_buf *b)
{
	bool length = strcmp(sl_sim_finish(r), "length") == 0; /* it knows no other reason */
	sl_buf_addf(b, "},\"done\":true,\"done_reason\":\"%s\",\"total_duration\":1000000,\"load_duration\":1000",
		    length ? "length" : "stop");
	if (r->tell_usage)
		sl_buf_addf(b,
			    ",\"prompt_eval_count\":%u,\"prompt_eval_duration\":1000,\"eval_count\":%u,\"eval_"
			    "duration\":1000",
			    r->prompt_tokens, r->sent);
	sl_buf_addc(b, '}');
}

static void ollama_end(struct sim_reply *r, struct sl_buf *b, bool marker)
{
	if (r->tools) {
		open_line(r, b);
		sl_buf_json_kstr(b, "content", SL_STR(""));
		write_tools(r, b);
		sl_buf_adds(b, "},\"done\":false}\n");
	}
	if (!marker)
		return;
	open_line(r, b);
	sl_buf_json_kstr(b, "content", SL_STR(""));
	write_done(r, b);
	sl_buf_addc(b, '\n');
}

static void ollama_whole(struct sim_reply *r, struct sl_buf *b)
{
	open_line(r, b);
	sl_buf_json_kstr(b, "content", sl_str_n(r->text, r->text_len));
	if (r->thinking_len)
		sl_buf_json_kstr(b, "thinking", sl_str_n(r->thinking, r->thinking_len));
	if (r->tools)
		write_tools(r, b);
	write_done(r, b);
}

static void ollama_failure(const struct sim_failure *f, struct sl_buf *b)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "error", f->message);
	sl_buf_addc(b, '}');
}

static void ollama_failure_event(const struct sim_failure *f, bool text, bool line, struct sl_buf *b)
{
	ollama_failure(f, b); /* it has only this form */
	sl_buf_addc(b, '\n');
}

static void ollama_raw(struct sim_reply *r, struct sl_buf *b, struct sl_str inside, bool half)
{
	open_line(r, b);
	sl_buf_adds(b, ",\"content\":\"");
	sl_buf_add(b, inside.p, inside.len);
	sl_buf_adds(b, half ? "\n" : "\"},\"done\":false}\n");
}

const struct sim_dialect sl_sim_ollama = {
	.name = "ollama",
	.stream_type = "application/x-ndjson",
	.failures =
		{
			[SIM_BAD] = {400, NULL, NULL, "invalid options: the simulator was told so"},
			[SIM_KEY] = {401, NULL, NULL, "unauthorized"},
			[SIM_FORBIDDEN] = {403, NULL, NULL, "forbidden"},
			[SIM_MODEL] = {404, NULL, NULL, "model \"x\" not found, try pulling it first"},
			[SIM_LENGTH] = {400, NULL, NULL, "the input length exceeds the maximum context length"},
			[SIM_RATE] = {429, NULL, NULL, "too many requests."},
			[SIM_QUOTA] = {402, NULL, NULL, "you have reached your usage limit, upgrade for more"},
			[SIM_SPEND] = {402, NULL, NULL, "you have reached your usage limit, upgrade for more"},
			[SIM_BROKEN] = {500, NULL, NULL, "an error was encountered while running the model"},
			[SIM_OVERLOADED] = {503, NULL, NULL,
					    "server busy, please try again.  maximum pending requests exceeded"},
		},
	.rate_hint = {"none", "none"},
	.read = ollama_read,
	.token = ollama_token,
	.end = ollama_end,
	.whole = ollama_whole,
	.failure = ollama_failure,
	.failure_event = ollama_failure_event,
	.raw = ollama_raw,
};
