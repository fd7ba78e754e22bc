/* llm/openai_request.c: a call as the JSON an OpenAI-compatible server wants. Slices that are JSON already are checked
 * and then copied as they are, so what the user wrote reaches the provider unchanged. */
#include <math.h>

#include "base/json.h"
#include "llm/openai.h"
#include "llm/profile.h"
#include "llm/provider.h"
#include "llm/request.h"

static enum sl_code write_messages(const struct sl_chat_request *req, struct sl_str schema_note, struct sl_buf *b,
				   struct sl_error *err)
{
	SL_AUTO_JSON messages = NULL;
	struct sl_str list = sl_str_trim(req->messages);
	if (list.len == 0)
		list = SL_STR("[]");
	enum sl_code rc = sl_wish_check_json(list, json_type_array, "messages", &messages, err);
	if (rc != SL_OK)
		return rc;
	size_t n = json_object_array_length(messages);
	for (size_t i = 0; i < n; i++)
		if (!sl_json_get_z(json_object_array_get_idx(messages, i), "role"))
			return sl_fail(err, SL_INVALID, "messages/%zu: an object with a role is needed", i);
	if (n == 0 && req->system.len == 0)
		return sl_fail(err, SL_INVALID, "messages: there are none");
	sl_buf_json_key(b, "messages");
	sl_buf_addc(b, '[');
	if (req->system.len || schema_note.len) {
		SL_BUF(system, req->system.len + schema_note.len + 2);
		sl_buf_add(&system, req->system.p, req->system.len);
		if (req->system.len && schema_note.len)
			sl_buf_adds(&system, "\n\n");
		sl_buf_add(&system, schema_note.p, schema_note.len);
		sl_buf_adds(b, "{\"role\":\"system\",\"content\":");
		sl_buf_json_str(b, sl_buf_str(&system));
		sl_buf_adds(b, n ? "}," : "}");
		if (system.failed)
			return sl_fail(err, SL_NO_MEMORY, "messages");
	}
	list = sl_str_trim(sl_str_n(list.p + 1, list.len - 2)); /* without its brackets */
	sl_buf_add(b, list.p, list.len);
	sl_buf_addc(b, ']');
	return SL_OK;
}

/* {"type":"json_schema","schema":{…}} is how a node says it; servers want it one level deeper, with a name. */
static void write_format(struct json_object *format, struct sl_buf *b)
{
	struct json_object *schema = sl_json_get(format, "schema");
	const char *name = sl_json_get_z(format, "name");
	sl_buf_json_key(b, "response_format");
	if (!schema) {
		sl_json_write(b, format);
		return;
	}
	sl_buf_adds(b, "{\"type\":\"json_schema\",\"json_schema\":{");
	sl_buf_json_kz(b, "name", name ? name : "answer");
	sl_buf_json_key(b, "schema");
	sl_json_write(b, schema);
	if (sl_json_get(format, "strict"))
		sl_buf_json_kbool(b, "strict", sl_json_get_bool(format, "strict", false));
	sl_buf_adds(b, "}}");
}

static bool is_schema(struct json_object *format)
{
	const char *type = sl_json_get_z(format, "type");
	return type && strcmp(type, "json_schema") == 0;
}

static enum sl_code copy_json(const char *key, struct sl_str text, enum json_type type, struct sl_buf *b,
			      struct sl_error *err)
{
	SL_AUTO_JSON v = NULL;
	if (text.len == 0)
		return SL_OK;
	enum sl_code rc =
		type == json_type_null ? sl_json_parse(text, &v, err) : sl_wish_check_json(text, type, key, &v, err);
	if (rc == SL_OK)
		sl_buf_json_kraw(b, key, text);
	return rc;
}

static bool starts(const char *model, const char *head)
{
	return strncmp(model, head, strlen(head)) == 0;
}

/* Models of OpenAI's that do not think refuse the word, and so do most of Groq's; other servers know best themselves.
 */
static bool model_thinks(const struct sl_provider *provider, const char *model)
{
	if (provider && strcmp(provider->id, "openai") == 0)
		return !starts(model, "gpt-3") && !starts(model, "gpt-4") && !starts(model, "chatgpt");
	if (provider && strcmp(provider->id, "groq") == 0)
		return !starts(model, "llama") && !starts(model, "meta-llama") && !starts(model, "gemma");
	return true;
}

/* Its thinking models take no temperature and no top_p. Both only tune, so they are left out. */
static bool model_samples(const struct sl_provider *provider, const char *model)
{
	if (!provider || strcmp(provider->id, "openai") != 0)
		return true;
	return !starts(model, "o1") && !starts(model, "o3") && !starts(model, "o4") &&
	       !(starts(model, "gpt-5") && (model[5] == 0 || model[5] == '-'));
}

static enum sl_code write_thinking(const struct sl_provider *provider, const char *model, struct sl_str thinking,
				   struct sl_buf *b, struct sl_error *err)
{
	unsigned quirks = provider ? provider->quirks : 0;
	bool least = sl_str_is(thinking, "minimal");
	if (!model_thinks(provider, model))
		return sl_fail(err, SL_INVALID, "the model '%s' does not think: leave out `thinking`", model);
	if (quirks & SL_QUIRK_REASONING_OBJECT) {
		sl_buf_json_key(b, "reasoning");
		sl_buf_adds(b, "{\"effort\":");
		sl_buf_json_str(b, thinking);
		sl_buf_addc(b, '}');
	} else if (quirks & SL_QUIRK_THINKING_BUDGET) {
		sl_buf_json_kbool(b, "enable_thinking", !least);
		if (!least)
			sl_buf_json_ki64(b, "thinking_budget",
					 sl_str_is(thinking, "low")      ? 1024
					 : sl_str_is(thinking, "medium") ? 8192
									 : 24576);
	} else if (quirks & SL_QUIRK_THINKING_SWITCH) {
		sl_buf_json_kraw(b, "thinking",
				 least ? SL_STR("{\"type\":\"disabled\"}") : SL_STR("{\"type\":\"enabled\"}"));
	} else {
		if (quirks & SL_QUIRK_THINKING_TYPE)
			sl_buf_json_kraw(b, "thinking", SL_STR("{\"type\":\"enabled\"}"));
		sl_buf_json_kstr(b, "reasoning_effort", thinking);
	}
	return SL_OK;
}

enum sl_code sl_openai_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *b, struct sl_error *err)
{
	const struct sl_provider *provider = sl_provider_find(sl_str(p->provider));
	unsigned quirks = provider ? provider->quirks : 0;
	double temperature = isnan(req->temperature) ? p->temperature : req->temperature;
	double top_p = isnan(req->top_p) ? p->top_p : req->top_p;
	int64_t max_tokens = req->max_tokens ? req->max_tokens : p->max_tokens;
	struct sl_str thinking = req->thinking.len ? req->thinking : sl_str(p->thinking);
	SL_AUTO_JSON format = NULL;
	SL_BUF(note, b->max_bytes);
	enum sl_code rc;

	if (req->response_format.len) {
		rc = sl_wish_check_json(req->response_format, json_type_object, "response_format", &format, err);
		if (rc != SL_OK)
			return rc;
	}
	bool downgrade = format && (quirks & SL_QUIRK_NO_SCHEMA) && is_schema(format);
	if (downgrade) { /* the node checks the answer against the schema anyway */
		struct json_object *schema = sl_json_get(format, "schema");
		sl_buf_adds(&note,
			    "Answer with one JSON object that is valid under this JSON Schema, and nothing else:\n");
		sl_json_write(&note, schema ? schema : sl_json_get(sl_json_get(format, "json_schema"), "schema"));
	}
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "model", model);
	rc = sl_wish_whole(&note, err);
	if (rc == SL_OK)
		rc = write_messages(req, sl_buf_str(&note), b, err);
	if (rc != SL_OK)
		return rc;
	if (!isnan(temperature) && model_samples(provider, model))
		sl_buf_json_kf64(b, "temperature", temperature);
	if (!isnan(top_p) && model_samples(provider, model))
		sl_buf_json_kf64(b, "top_p", top_p);
	if (!isnan(req->frequency_penalty) && model_samples(provider, model))
		sl_buf_json_kf64(b, "frequency_penalty", req->frequency_penalty);
	if (!isnan(req->presence_penalty) && model_samples(provider, model))
		sl_buf_json_kf64(b, "presence_penalty", req->presence_penalty);
	if (max_tokens > 0)
		sl_buf_json_ki64(b, quirks & SL_QUIRK_MAX_COMPLETION_TOKENS ? "max_completion_tokens" : "max_tokens",
				 max_tokens);
	if (req->has_seed)
		sl_buf_json_ki64(b, "seed", req->seed);
	if (thinking.len && (rc = write_thinking(provider, model, thinking, b, err)) != SL_OK)
		return rc;
	if (downgrade)
		sl_buf_json_kraw(b, "response_format", SL_STR("{\"type\":\"json_object\"}"));
	else if (format)
		write_format(format, b);
	if ((rc = copy_json("stop", req->stop, json_type_null, b, err)) != SL_OK ||
	    (rc = copy_json("tools", req->tools, json_type_array, b, err)) != SL_OK ||
	    (rc = copy_json("tool_choice", req->tool_choice, json_type_null, b, err)) != SL_OK)
		return rc;
	sl_buf_json_kbool(b, "stream", req->mode == SL_CHAT_STREAM);
	if (req->mode == SL_CHAT_STREAM)
		sl_buf_json_kraw(b, "stream_options", SL_STR("{\"include_usage\":true}"));
	sl_buf_addc(b, '}');
	return sl_wish_whole(b, err);
}
