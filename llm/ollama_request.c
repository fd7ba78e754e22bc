/* llm/ollama_request.c: a call as Ollama's /api/chat wants it. */
#include "llm/ollama.h"
#include "llm/profile.h"
#include "llm/request.h"

static enum sl_code write_content(struct json_object *m, struct sl_buf *b, struct sl_error *err)
{
	struct json_object *content = sl_json_get(m, "content");
	SL_BUF(text, b->max_bytes);
	SL_BUF(images, b->max_bytes);
	for (size_t i = 0; i < sl_wish_parts(content); i++) {
		struct sl_wish_part part;
		enum sl_code rc = sl_wish_part(content, i, &part, err);
		if (rc == SL_OK && part.url.len)
			rc = sl_fail(err, SL_INVALID, "messages: Ollama takes pictures as data:, not from an address");
		if (rc != SL_OK)
			return rc;
		sl_buf_add(&text, part.text.p, part.text.len);
		if (part.data.len) {
			sl_buf_addc(&images, images.len ? ',' : '[');
			sl_buf_json_str(&images, part.data);
		}
	}
	if (images.len)
		sl_buf_addc(&images, ']');
	if (text.failed || images.failed)
		return sl_wish_whole(text.failed ? &text : &images, err);
	sl_buf_json_kstr(b, "content", sl_buf_str(&text));
	if (images.len)
		sl_buf_json_kraw(b, "images", sl_buf_str(&images));
	return SL_OK;
}

static enum sl_code write_message(struct json_object *m, struct sl_buf *b, struct sl_error *err)
{
	bool tool = sl_wish_is_tool(m);
	struct sl_str role = tool                   ? SL_STR("tool")
			     : sl_wish_is_system(m) ? SL_STR("system")
						    : sl_json_get_str(m, "role");
	sl_buf_addc(b, '{');
	sl_buf_json_kstr(b, "role", role);
	enum sl_code rc = write_content(m, b, err);
	if (rc != SL_OK)
		return rc;
	if (tool && sl_json_get_str(m, "name").len)
		sl_buf_json_kstr(b, "tool_name", sl_json_get_str(m, "name"));
	if (tool && sl_json_get_str(m, "tool_call_id").len)
		sl_buf_json_kstr(b, "tool_call_id", sl_json_get_str(m, "tool_call_id"));
	if (sl_wish_calls(m)) {
		sl_buf_json_key(b, "tool_calls");
		sl_buf_addc(b, '[');
		for (size_t i = 0; i < sl_wish_calls(m); i++) {
			struct sl_wish_call c;
			if ((rc = sl_wish_call(m, i, &c, err)) != SL_OK)
				return rc;
			sl_buf_adds(b, i ? ",{" : "{");
			if (sl_json_get_str(c.call, "id").len)
				sl_buf_json_kstr(b, "id", sl_json_get_str(c.call, "id"));
			sl_buf_json_key(b, "function");
			sl_buf_addc(b, '{');
			sl_buf_json_kstr(b, "name", sl_json_get_str(c.function, "name"));
			sl_buf_json_key(b, "arguments"); /* an object here, not its text */
			sl_json_write(b, c.arguments);
			sl_buf_adds(b, "}}");
			json_object_put(c.arguments);
		}
		sl_buf_addc(b, ']');
	}
	sl_buf_addc(b, '}');
	return SL_OK;
}

static enum sl_code write_tools(const struct sl_wish *w, struct sl_buf *b, struct sl_error *err)
{
	struct sl_str name;
	enum sl_wish_choice choice = sl_wish_choice(w, &name);
	if (!w->tools || choice == SL_CHOICE_NONE)
		return SL_OK;
	if (choice != SL_CHOICE_AUTO)
		return sl_fail(
			err, SL_INVALID,
			"tool_choice: Ollama cannot be made to use a tool; only \"auto\" and \"none\" are there");
	sl_buf_json_key(b, "tools");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < json_object_array_length(w->tools); i++) {
		sl_buf_adds(b, i ? ",{\"type\":\"function\"" : "{\"type\":\"function\"");
		sl_buf_json_key(b, "function");
		sl_json_write(b, sl_wish_tool(w, i));
		sl_buf_addc(b, '}');
	}
	sl_buf_addc(b, ']');
	return SL_OK;
}

static const struct sl_wish_names names = {
	.temperature = "temperature",
	.top_p = "top_p",
	.frequency_penalty = "frequency_penalty",
	.presence_penalty = "presence_penalty",
	.max_tokens = "num_predict",
	.seed = "seed",
	.stop = "stop",
};

static enum sl_code build(struct sl_wish *w, const struct sl_chat_request *req, const char *model, struct sl_buf *b,
			  struct sl_error *err)
{
	size_t n = json_object_array_length(w->messages);
	enum sl_code rc = SL_OK;
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "model", model);
	sl_buf_json_key(b, "messages");
	sl_buf_addc(b, '[');
	if (req->system.len) {
		sl_buf_adds(b, "{\"role\":\"system\"");
		sl_buf_json_kstr(b, "content", req->system);
		sl_buf_addc(b, '}');
	}
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		sl_buf_json_comma(b);
		rc = write_message(json_object_array_get_idx(w->messages, i), b, err);
	}
	sl_buf_addc(b, ']');
	if (rc == SL_OK)
		rc = write_tools(w, b, err);
	if (rc != SL_OK)
		return rc;
	if (w->schema) {
		sl_buf_json_key(b, "format");
		sl_json_write(b, w->schema);
	} else if (w->json) {
		sl_buf_json_kz(b, "format", "json");
	}
	if (w->thinking.len && memmem(model, strlen(model), "gpt-oss", 7)) /* the only one with levels */
		sl_buf_json_kstr(b, "think", sl_str_is(w->thinking, "minimal") ? SL_STR("low") : w->thinking);
	else if (w->thinking.len) /* a model that cannot is refused by the server, in words */
		sl_buf_json_kbool(b, "think", !sl_str_is(w->thinking, "minimal"));
	sl_buf_json_key(b, "options");
	sl_buf_addc(b, '{');
	sl_wish_write_tuning(w, req, &names, b);
	sl_buf_addc(b, '}');
	sl_buf_json_kbool(b, "stream", req->mode == SL_CHAT_STREAM);
	sl_buf_addc(b, '}');
	return SL_OK;
}

enum sl_code sl_ollama_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *b, struct sl_error *err)
{
	return sl_wish_build(req, p, model, build, b, err);
}
