/* llm/gemini_request.c: a call as Gemini's generateContent wants it. */
#include "llm/gemini.h"
#include "llm/profile.h"
#include "llm/request.h"

static void write_text(struct sl_str text, struct sl_buf *b)
{
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_buf_json_kstr(b, "text", text);
	sl_buf_addc(b, '}');
}

static enum sl_code write_parts(struct json_object *content, struct sl_buf *b, struct sl_error *err)
{
	for (size_t i = 0; i < sl_wish_parts(content); i++) {
		struct sl_wish_part part;
		enum sl_code rc = sl_wish_part(content, i, &part, err);
		if (rc != SL_OK)
			return rc;
		if (part.data.len) {
			sl_buf_json_comma(b);
			sl_buf_adds(b, "{\"inlineData\":{");
			sl_buf_json_kstr(b, "mimeType", part.media);
			sl_buf_json_kstr(b, "data", part.data);
			sl_buf_adds(b, "}}");
		} else if (part.url.len) {
			sl_buf_json_comma(b);
			sl_buf_adds(b, "{\"fileData\":{");
			sl_buf_json_kstr(b, "fileUri", part.url);
			sl_buf_adds(b, "}}");
		} else if (part.text.len) {
			write_text(part.text, b);
		}
	}
	return SL_OK;
}

static enum sl_code write_calls(struct json_object *m, struct sl_buf *b, struct sl_error *err)
{
	for (size_t i = 0; i < sl_wish_calls(m); i++) {
		struct sl_wish_call c;
		enum sl_code rc = sl_wish_call(m, i, &c, err);
		if (rc != SL_OK)
			return rc;
		struct sl_str signature = sl_json_get_str(sl_json_get(sl_json_get(c.call, "extra_content"), "google"),
							  "thought_signature");
		sl_buf_json_comma(b);
		sl_buf_adds(b, "{\"functionCall\":{");
		sl_buf_json_kstr(b, "name", sl_json_get_str(c.function, "name"));
		sl_buf_json_key(b, "args");
		sl_json_write(b, c.arguments);
		sl_buf_addc(b, '}');
		if (signature.len)
			sl_buf_json_kstr(b, "thoughtSignature", signature);
		sl_buf_addc(b, '}');
		json_object_put(c.arguments);
	}
	return SL_OK;
}

/* A result names the function, not the call: the name is looked up among the calls before it. */
static struct sl_str name_of_call(const struct sl_wish *w, size_t before, struct json_object *result)
{
	struct sl_str id = sl_json_get_str(result, "tool_call_id"), name = sl_json_get_str(result, "name");
	for (size_t i = before; name.len == 0 && i-- > 0;) {
		struct json_object *m = json_object_array_get_idx(w->messages, i),
				   *calls = sl_json_get(m, "tool_calls");
		for (size_t k = 0; k < sl_wish_calls(m); k++) {
			struct json_object *call = json_object_array_get_idx(calls, k);
			if (sl_str_eq(sl_json_get_str(call, "id"), id))
				name = sl_json_get_str(sl_json_get(call, "function"), "name");
		}
	}
	return name;
}

static enum sl_code write_result(const struct sl_wish *w, size_t at, struct json_object *m, struct sl_buf *b,
				 struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	SL_BUF(text, b->max_bytes);
	sl_wish_text(sl_json_get(m, "content"), &text);
	bool object =
		sl_json_parse(sl_buf_str(&text), &doc, NULL) == SL_OK && json_object_is_type(doc, json_type_object);
	sl_buf_json_comma(b);
	sl_buf_adds(b, "{\"functionResponse\":{");
	sl_buf_json_kstr(b, "name", name_of_call(w, at, m));
	sl_buf_json_key(b, "response");
	if (object) {
		sl_json_write(b, doc);
	} else {
		sl_buf_addc(b, '{');
		sl_buf_json_kstr(b, "result", sl_buf_str(&text));
		sl_buf_addc(b, '}');
	}
	sl_buf_adds(b, "}}");
	return sl_wish_whole(&text, err);
}

static enum sl_code write_message(const struct sl_wish *w, size_t i, struct sl_buf *b, struct sl_error *err)
{
	struct json_object *m = json_object_array_get_idx(w->messages, i);
	if (sl_wish_is_tool(m))
		return write_result(w, i, m, b, err);
	enum sl_code rc = write_parts(sl_json_get(m, "content"), b, err);
	if (rc == SL_OK && sl_str_is(sl_json_get_str(m, "role"), "assistant"))
		rc = write_calls(m, b, err);
	return rc;
}

static const struct sl_wish_turns turns = {
	.list = "contents",
	.blocks = "parts",
	.assistant = "model",
	.message = write_message,
	.text = write_text,
};

static const struct sl_wish_names names = {
	.temperature = "temperature",
	.top_p = "topP",
	.frequency_penalty = "frequencyPenalty",
	.presence_penalty = "presencePenalty",
	.max_tokens = "maxOutputTokens",
	.seed = "seed",
	.stop = "stopSequences",
};

static void write_tools(const struct sl_wish *w, struct sl_buf *b)
{
	struct sl_str name;
	if (!w->tools)
		return;
	sl_buf_json_key(b, "tools");
	sl_buf_adds(b, "[{\"functionDeclarations\":[");
	for (size_t i = 0; i < json_object_array_length(w->tools); i++) {
		struct json_object *f = sl_wish_tool(w, i), *parameters = sl_json_get(f, "parameters");
		sl_buf_adds(b, i ? ",{" : "{");
		sl_buf_json_kstr(b, "name", sl_json_get_str(f, "name"));
		if (sl_json_get_str(f, "description").len)
			sl_buf_json_kstr(b, "description", sl_json_get_str(f, "description"));
		if (parameters) {
			sl_buf_json_key(b, "parametersJsonSchema");
			sl_json_write(b, parameters);
		}
		sl_buf_addc(b, '}');
	}
	sl_buf_adds(b, "]}]");
	if (!w->tool_choice)
		return;
	enum sl_wish_choice choice = sl_wish_choice(w, &name);
	sl_buf_json_key(b, "toolConfig");
	sl_buf_adds(b, "{\"functionCallingConfig\":{");
	sl_buf_json_kz(b, "mode", choice == SL_CHOICE_NONE ? "NONE" : choice == SL_CHOICE_AUTO ? "AUTO" : "ANY");
	if (choice == SL_CHOICE_ONE) {
		sl_buf_json_key(b, "allowedFunctionNames");
		sl_buf_addc(b, '[');
		sl_buf_json_str(b, name);
		sl_buf_addc(b, ']');
	}
	sl_buf_adds(b, "}}");
}

/* 2.5 has a budget of tokens, 3 and later levels; what came before does not think. */
static enum sl_code write_thinking(const struct sl_wish *w, const char *model, unsigned version, struct sl_buf *b,
				   struct sl_error *err)
{
	static const struct {
		const char *effort;
		int budget;
	} efforts[] = {{"minimal", 512}, {"low", 1024}, {"medium", 8192}, {"high", 24576}};
	int budget = 8192;
	if (version && version < 205)
		return sl_fail(err, SL_INVALID, "the model '%s' does not think: leave out `thinking`", model);
	sl_buf_json_key(b, "thinkingConfig");
	sl_buf_adds(b, "{\"includeThoughts\":true");
	for (size_t i = 0; i < SL_COUNT_OF(efforts); i++)
		if (sl_str_is(w->thinking, efforts[i].effort))
			budget = efforts[i].budget;
	if (version == 205)
		sl_buf_json_ki64(b, "thinkingBudget", budget);
	else
		sl_buf_json_kstr(b, "thinkingLevel", w->thinking);
	sl_buf_addc(b, '}');
	return SL_OK;
}

static enum sl_code build(struct sl_wish *w, const struct sl_chat_request *req, const char *model, struct sl_buf *b,
			  struct sl_error *err)
{
	unsigned version = sl_model_version(sl_str(model), "gemini-");
	/* tools and an answer in JSON exclude each other before 3; full JSON Schema came with 2.5 */
	bool json = w->json && (!w->tools || version >= 300);
	bool native = json && w->schema && (version == 0 || version >= 205);
	SL_BUF(note, b->max_bytes);
	SL_BUF(system, b->max_bytes);
	if (!native)
		sl_wish_json_note(w, &note);
	sl_buf_addc(b, '{');
	enum sl_code rc = sl_wish_whole(&note, err);
	if (rc == SL_OK)
		rc = sl_wish_write_turns(w, req, &turns, sl_buf_str(&note), &system, b, err);
	if (rc != SL_OK)
		return rc;
	if (system.len) {
		sl_buf_json_key(b, "systemInstruction");
		sl_buf_adds(b, "{\"parts\":[");
		write_text(sl_buf_str(&system), b);
		sl_buf_adds(b, "]}");
	}
	write_tools(w, b);
	sl_buf_json_key(b, "generationConfig");
	sl_buf_addc(b, '{');
	sl_wish_write_tuning(w, req, &names, b);
	if (json)
		sl_buf_json_kz(b, "responseMimeType", "application/json");
	if (native) {
		sl_buf_json_key(b, "responseJsonSchema");
		sl_json_write(b, w->schema);
	}
	if (w->thinking.len && (rc = write_thinking(w, model, version, b, err)) != SL_OK)
		return rc;
	sl_buf_adds(b, "}}");
	return SL_OK;
}

enum sl_code sl_gemini_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *b, struct sl_error *err)
{
	return sl_wish_build(req, p, model, build, b, err);
}
