/* llm/anthropic_request.c: a call as Anthropic's Messages API wants it. */
#include <math.h>

#include "llm/anthropic.h"
#include "llm/profile.h"
#include "llm/request.h"

#define ANTHROPIC_MAX_TOKENS 8192 /* it must be said; what fits every model but the oldest */

static void write_text(struct sl_str text, struct sl_buf *b)
{
	sl_buf_json_comma(b);
	sl_buf_adds(b, "{\"type\":\"text\"");
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
		if (part.data.len || part.url.len) {
			sl_buf_json_comma(b);
			sl_buf_adds(b, "{\"type\":\"image\",\"source\":{");
			if (part.url.len) {
				sl_buf_adds(b, "\"type\":\"url\"");
				sl_buf_json_kstr(b, "url", part.url);
			} else {
				sl_buf_adds(b, "\"type\":\"base64\"");
				sl_buf_json_kstr(b, "media_type", part.media);
				sl_buf_json_kstr(b, "data", part.data);
			}
			sl_buf_adds(b, "}}");
		} else if (part.text.len) { /* empty blocks are refused */
			write_text(part.text, b);
		}
	}
	return SL_OK;
}

static enum sl_code write_tool_uses(struct json_object *m, struct sl_buf *b, struct sl_error *err)
{
	for (size_t i = 0; i < sl_wish_calls(m); i++) {
		struct sl_wish_call c;
		enum sl_code rc = sl_wish_call(m, i, &c, err);
		if (rc != SL_OK)
			return rc;
		struct json_object *extra = sl_json_get(sl_json_get(c.call, "extra_content"), "anthropic");
		if (i == 0 && json_object_is_type(extra, json_type_array)) /* its thinking wants to be seen again */
			for (size_t k = 0; k < json_object_array_length(extra); k++) {
				sl_buf_json_comma(b);
				sl_json_write(b, json_object_array_get_idx(extra, k));
			}
		sl_buf_json_comma(b);
		sl_buf_adds(b, "{\"type\":\"tool_use\"");
		sl_buf_json_kstr(b, "id", sl_json_get_str(c.call, "id"));
		sl_buf_json_kstr(b, "name", sl_json_get_str(c.function, "name"));
		sl_buf_json_key(b, "input");
		sl_json_write(b, c.arguments);
		sl_buf_addc(b, '}');
		json_object_put(c.arguments);
	}
	return SL_OK;
}

static enum sl_code write_tool_result(struct json_object *m, struct sl_buf *b, struct sl_error *err)
{
	SL_BUF(text, b->max_bytes);
	sl_wish_text(sl_json_get(m, "content"), &text);
	sl_buf_json_comma(b);
	sl_buf_adds(b, "{\"type\":\"tool_result\"");
	sl_buf_json_kstr(b, "tool_use_id", sl_json_get_str(m, "tool_call_id"));
	sl_buf_json_kstr(b, "content", sl_buf_str(&text));
	sl_buf_addc(b, '}');
	return sl_wish_whole(&text, err);
}

static enum sl_code write_message(const struct sl_wish *w, size_t i, struct sl_buf *b, struct sl_error *err)
{
	struct json_object *m = json_object_array_get_idx(w->messages, i);
	if (sl_wish_is_tool(m))
		return write_tool_result(m, b, err);
	enum sl_code rc = write_parts(sl_json_get(m, "content"), b, err);
	if (rc == SL_OK && sl_str_is(sl_json_get_str(m, "role"), "assistant"))
		rc = write_tool_uses(m, b, err);
	return rc;
}

static const struct sl_wish_turns turns = {
	.list = "messages",
	.blocks = "content",
	.assistant = "assistant",
	.message = write_message,
	.text = write_text,
};

/* Structured output knows a part of JSON Schema: objects are closed, and limits on numbers, texts and lists are left
 * out. The node checks the answer against the whole schema. */
static void write_schema(struct json_object *s, int depth, struct sl_buf *b)
{
	static const char *const not_known[] = {"minimum",
						"maximum",
						"exclusiveMinimum",
						"exclusiveMaximum",
						"multipleOf",
						"minLength",
						"maxLength",
						"minItems",
						"maxItems",
						"uniqueItems",
						"minProperties",
						"maxProperties",
						"additionalProperties",
						"$schema",
						NULL};
	if (json_object_is_type(s, json_type_array)) {
		sl_buf_addc(b, '[');
		for (size_t i = 0; i < json_object_array_length(s); i++) {
			sl_buf_json_comma(b);
			write_schema(json_object_array_get_idx(s, i), depth + 1, b);
		}
		sl_buf_addc(b, ']');
		return;
	}
	if (!json_object_is_type(s, json_type_object)) {
		sl_json_write(b, s);
		return;
	}
	bool object = sl_str_is(sl_json_get_str(s, "type"), "object") || sl_json_get(s, "properties");
	sl_buf_addc(b, '{');
	json_object_object_foreach (s, key, v) {
		bool known = true;
		for (const char *const *k = not_known; *k && known; k++)
			known = strcmp(*k, key) != 0;
		if (!known)
			continue;
		sl_buf_json_comma(b);
		sl_buf_json_str(b, sl_str(key));
		sl_buf_addc(b, ':');
		if (strcmp(key, "properties") == 0 || strcmp(key, "$defs") == 0 || strcmp(key, "definitions") == 0) {
			sl_buf_addc(b, '{'); /* names, not keywords */
			if (json_object_is_type(v, json_type_object)) {
				json_object_object_foreach (v, name, sub) {
					sl_buf_json_comma(b);
					sl_buf_json_str(b, sl_str(name));
					sl_buf_addc(b, ':');
					write_schema(sub, depth + 1, b);
				}
			}
			sl_buf_addc(b, '}');
		} else if (strcmp(key, "enum") == 0 || strcmp(key, "const") == 0 || strcmp(key, "default") == 0 ||
			   strcmp(key, "examples") == 0 || strcmp(key, "required") == 0) {
			sl_json_write(b, v);
		} else {
			write_schema(v, depth + 1, b);
		}
	}
	if (object)
		sl_buf_json_kbool(b, "additionalProperties", false);
	sl_buf_addc(b, '}');
}

static void write_tools(const struct sl_wish *w, struct sl_buf *b)
{
	struct sl_str name;
	static const char *const types[] = {"none", "auto", "any", "tool"};
	if (!w->tools)
		return;
	sl_buf_json_key(b, "tools");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < json_object_array_length(w->tools); i++) {
		struct json_object *f = sl_wish_tool(w, i), *parameters = sl_json_get(f, "parameters");
		sl_buf_adds(b, i ? ",{" : "{");
		sl_buf_json_kstr(b, "name", sl_json_get_str(f, "name"));
		if (sl_json_get_str(f, "description").len)
			sl_buf_json_kstr(b, "description", sl_json_get_str(f, "description"));
		sl_buf_json_key(b, "input_schema");
		if (parameters)
			sl_json_write(b, parameters);
		else
			sl_buf_adds(b, "{\"type\":\"object\"}");
		sl_buf_addc(b, '}');
	}
	sl_buf_addc(b, ']');
	if (!w->tool_choice)
		return;
	enum sl_wish_choice choice = sl_wish_choice(w, &name);
	sl_buf_json_key(b, "tool_choice");
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "type", types[choice]);
	if (choice == SL_CHOICE_ONE)
		sl_buf_json_kstr(b, "name", name);
	sl_buf_addc(b, '}');
}

/* Up to 4.5 a budget of tokens, from 4.6 on an effort. */
static enum sl_code write_thinking(const struct sl_wish *w, const char *model, unsigned version, int64_t *max_tokens,
				   struct sl_buf *b, struct sl_error *err)
{
	static const struct {
		const char *effort;
		int64_t budget;
	} efforts[] = {{"minimal", 1024}, {"low", 2048}, {"medium", 8192}, {"high", 16384}};
	int64_t budget = 8192;
	if (version && version < 307)
		return sl_fail(err, SL_INVALID, "the model '%s' does not think: leave out `thinking`", model);
	for (size_t i = 0; i < SL_COUNT_OF(efforts); i++)
		if (sl_str_is(w->thinking, efforts[i].effort))
			budget = efforts[i].budget;
	if (version >= 406) {
		/* after 4.6 it keeps its thoughts to itself unless asked */
		sl_buf_json_kraw(b, "thinking",
				 version == 406 ? SL_STR("{\"type\":\"adaptive\"}")
						: SL_STR("{\"type\":\"adaptive\",\"display\":\"summarized\"}"));
		if (w->max_tokens == 0)
			*max_tokens += 16384; /* they include the thinking */
		return SL_OK;
	}
	if (w->max_tokens == 0)
		*max_tokens += budget; /* the answer's own tokens come on top */
	if (*max_tokens <= 1024 &&
	    !w->own_thinking) /* a short call that did not ask for it, such as a profile's test */
		return SL_OK;
	if (*max_tokens <= 1024)
		return sl_fail(err, SL_INVALID, "`thinking` needs `max_tokens` above 1024 here: they include it");
	if (budget >= *max_tokens)
		budget = *max_tokens / 2 > 1024 ? *max_tokens / 2 : 1024;
	sl_buf_addf(b, ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":%lld}", (long long)budget);
	return SL_OK;
}

static enum sl_code build(struct sl_wish *w, const struct sl_chat_request *req, const char *model, struct sl_buf *b,
			  struct sl_error *err)
{
	unsigned version = sl_model_version(sl_str(model), "claude-");
	bool native = w->schema && version >= 405, thinks = w->thinking.len != 0;
	bool effort = thinks && version >= 406;
	int64_t max_tokens = w->max_tokens ? w->max_tokens : version && version < 305 ? 4096 : ANTHROPIC_MAX_TOKENS;
	SL_BUF(note, b->max_bytes);
	SL_BUF(system, b->max_bytes);
	if (!native)
		sl_wish_json_note(w, &note);
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "model", model);
	enum sl_code rc = sl_wish_whole(&note, err);
	if (rc == SL_OK)
		rc = sl_wish_write_turns(w, req, &turns, sl_buf_str(&note), &system, b, err);
	if (rc == SL_OK && thinks)
		rc = write_thinking(w, model, version, &max_tokens, b, err);
	if (rc != SL_OK)
		return rc;
	sl_buf_json_ki64(b, "max_tokens", max_tokens);
	if (system.len)
		sl_buf_json_kstr(b, "system", sl_buf_str(&system));
	if (native || effort) {
		sl_buf_json_key(b, "output_config");
		sl_buf_addc(b, '{');
		if (effort)
			sl_buf_json_kstr(b, "effort", sl_str_is(w->thinking, "minimal") ? SL_STR("low") : w->thinking);
		if (native) {
			sl_buf_json_key(b, "format");
			sl_buf_adds(b, "{\"type\":\"json_schema\",\"schema\":");
			write_schema(w->schema, 0, b);
			sl_buf_addc(b, '}');
		}
		sl_buf_addc(b, '}');
	}
	/* It takes neither beside thinking, and models after 4.6 take them never. Both only tune. */
	if (!thinks && version <= 406) {
		if (!isnan(w->temperature))
			sl_buf_json_kf64(b, "temperature", w->temperature > 1 ? 1 : w->temperature);
		else if (!isnan(w->top_p))
			sl_buf_json_kf64(b, "top_p", w->top_p);
	}
	if (w->stop) {
		sl_buf_json_key(b, "stop_sequences");
		sl_json_write(b, w->stop);
	}
	write_tools(w, b);
	sl_buf_json_kbool(b, "stream", req->mode == SL_CHAT_STREAM);
	sl_buf_addc(b, '}');
	return SL_OK;
}

enum sl_code sl_anthropic_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
				struct sl_buf *b, struct sl_error *err)
{
	return sl_wish_build(req, p, model, build, b, err);
}
