/* nodes/tool.c: one call of a tool of this server. The tool itself is a file in nodes/tools/ and runs as this node;
 * here is what holds for all of them: may it be used, do the arguments fit, how much of the result goes on, and what is
 * told of it. */
#include "base/limits.h"
#include "base/utf8.h"
#include "engine/schema.h"
#include "engine/tool.h"
#include "llm/agents.h"
#include "llm/services.h"

#define EXCERPT_BYTES 2000 /* of arguments and results, in the event */

/* "…" is said of what was cut, so that nobody takes a part for the whole. */
static void add_excerpt(struct json_object *o, const char *key, struct json_object *v)
{
	bool is_text = json_object_is_type(v, json_type_string);
	SL_BUF(json, 2u * SL_LIMIT_PAYLOAD_BYTES);
	SL_BUF(b, EXCERPT_BYTES + 64);
	if (!is_text && v)
		sl_json_write(&json, v);
	struct sl_str text = is_text ? sl_json_str(v) : sl_buf_str(&json);
	size_t n = sl_utf8_cut(text.p, text.len, EXCERPT_BYTES);
	sl_buf_add(&b, text.p, n);
	if (n < text.len)
		sl_buf_addf(&b, "… (%zu bytes)", text.len);
	sl_json_set_str(o, key, sl_buf_str(&b));
}

static void tool_tell(struct sl_node *n, struct json_object *result, const struct sl_error *err)
{
	struct json_object *params = sl_node_params(n), *e = json_object_new_object(), *args;
	if (!e)
		return; /* an event less */
	sl_json_set_str(e, "tool", sl_json_get_str(params, "tool"));
	args = sl_json_get(params, "arguments");
	add_excerpt(e, "arguments", args);
	sl_json_set_bool(e, "ok", !err);
	if (err) {
		struct json_object *why = json_object_new_object();
		if (why) {
			sl_json_set_str(why, "code", sl_str(sl_code_wire(err->code)));
			sl_json_set_str(why, "message", sl_str(err->text));
		}
		sl_json_set(e, "error", why);
	} else {
		add_excerpt(e, "result", result);
	}
	sl_json_set_i64(e, "ms", (int64_t)sl_node_took_ms(n));
	if (sl_json_get(params, "iteration"))
		sl_json_set_i64(e, "iteration", sl_json_get_i64(params, "iteration", 0));
	sl_node_event(n, "tool_execution", e);
}

/* The result, or as much of its text as a model can be given. Takes it. */
static struct json_object *tool_cut(struct json_object *result, bool *cut)
{
	bool text = json_object_is_type(result, json_type_string);
	SL_BUF(json, 32u << 20);
	if (!text)
		sl_json_write(&json, result);
	struct sl_str all = text ? sl_json_str(result) : sl_buf_str(&json);
	*cut = json.failed || all.len > SL_LIMIT_TOOL_RESULT_BYTES;
	if (!*cut)
		return result;
	if (json.no_memory) {
		json_object_put(result);
		return NULL;
	}
	SL_BUF(part, SL_LIMIT_TOOL_RESULT_BYTES + 128);
	sl_buf_add(&part, all.p, sl_utf8_cut(all.p, all.len, SL_LIMIT_TOOL_RESULT_BYTES));
	sl_buf_addf(&part, "\n… (cut: this is the beginning of %zu bytes)", all.len);
	struct json_object *o = part.failed ? NULL : json_object_new_string_len(sl_buf_str(&part).p, (int)part.len);
	json_object_put(result);
	return o;
}

static void tool_ended(struct sl_node *n, enum sl_code *code, struct sl_error *err, struct json_object **output)
{
	const struct sl_tool *tool = sl_tool_find(sl_tools, sl_json_get_str(sl_node_params(n), "tool"));
	struct json_object *out = json_object_new_object(), *result = *output;
	bool cut = false;
	*output = NULL;
	if (*code == SL_OK && tool && tool->shape)
		result = tool->shape(result);
	if (*code == SL_OK && result)
		result = tool_cut(result, &cut);
	if (*code == SL_OK && (!result || !out))
		*code = sl_fail(err, SL_NO_MEMORY, "no memory for the result of a tool");
	if (*code != SL_OK) {
		err->code = *code;
		tool_tell(n, NULL, err);
		json_object_put(out);
		json_object_put(result);
		return;
	}
	tool_tell(n, result, NULL);
	sl_json_set_str(out, "tool", sl_json_get_str(sl_node_params(n), "tool"));
	sl_json_set(out, "result", result);
	if (cut)
		sl_json_set_bool(out, "truncated", true);
	sl_json_set_i64(out, "ms", (int64_t)sl_node_took_ms(n));
	*output = out;
}

static enum sl_code tool_allowed(struct sl_node *n, const struct sl_tool *tool, struct json_object *params,
				 struct sl_error *err)
{
	const struct sl_services *s = sl_node_services(n);
	struct sl_str name = sl_json_get_str(params, "tool"), agent = sl_json_get_str(params, "agent");
	const char *why = tool->unavailable ? tool->unavailable(s) : NULL;
	switch (sl_agents_tool(s ? s->agents : NULL, agent, name)) {
	case SL_AGENT_TOOL_ON:
		break;
	case SL_AGENT_TOOL_OFF:
		return sl_fail(err, SL_FORBIDDEN, "the agent '" SL_STR_FMT "' has '" SL_STR_FMT "' switched off",
			       SL_STR_ARG(agent), SL_STR_ARG(name));
	case SL_AGENT_TOOL_UNSAID:
		if (tool->off)
			return sl_fail(err, SL_FORBIDDEN, "'%s' is off unless an agent has it switched on", tool->name);
		break;
	}
	return why ? sl_fail(err, SL_UNAVAILABLE, "'%s': %s", tool->name, why) : SL_OK;
}

/* What a model gave as arguments: an object, or the text of one. *out is the caller's. */
static enum sl_code tool_arguments(const struct sl_tool *tool, struct json_object *given, struct json_object **out,
				   struct sl_error *err)
{
	SL_AUTO_JSON schema_json = NULL;
	SL_AUTO(sl_schema) schema = NULL;
	struct sl_problems problems = {0};
	struct sl_str text = sl_str_trim(sl_json_str(given));
	enum sl_code rc = SL_OK;
	if (json_object_is_type(given, json_type_string)) {
		if (text.len > SL_LIMIT_TOOL_ARGS_BYTES)
			return sl_fail(err, SL_TOO_LARGE, "the arguments have %zu bytes; at most %u are taken",
				       text.len, SL_LIMIT_TOOL_ARGS_BYTES);
		rc = sl_json_parse(text.len ? text : SL_STR("{}"), out, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "the arguments are no JSON");
	} else {
		SL_BUF(b, SL_LIMIT_TOOL_ARGS_BYTES);
		sl_json_write(&b, given);
		if (b.failed)
			return sl_fail(err, SL_TOO_LARGE, "the arguments have more than %u bytes",
				       SL_LIMIT_TOOL_ARGS_BYTES);
		*out = given ? json_object_get(given) : json_object_new_object();
	}
	if (!json_object_is_type(*out, json_type_object))
		return sl_fail(err, SL_INVALID, "the arguments are of type %s, not an object", sl_json_type_name(*out));
	rc = sl_json_parse(sl_str(tool->args_schema), &schema_json, err);
	if (rc == SL_OK)
		rc = sl_schema_compile(schema_json, SL_STR(""), &schema, &problems);
	if (rc == SL_OK && schema && !sl_schema_check(schema, *out, SL_SCHEMA_STRICT, SL_STR(""), &problems))
		rc = sl_fail(err, SL_INVALID, "the arguments do not fit: " SL_PROBLEM_FMT, SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	return rc;
}

static enum sl_step tool_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct sl_str name = sl_json_get_str(params, "tool");
	const struct sl_tool *tool = sl_tool_find(sl_tools, name);
	SL_AUTO_JSON args = NULL;
	sl_node_on_end(n, tool_ended);
	if (!tool) {
		(void)sl_fail(err, SL_NOT_FOUND, "there is no tool '" SL_STR_FMT "'", SL_STR_ARG(name));
		return SL_FAILED;
	}
	if (tool_allowed(n, tool, params, err) != SL_OK ||
	    tool_arguments(tool, sl_json_get(params, "arguments"), &args, err) != SL_OK)
		return SL_FAILED;
	return tool->start(n, args, err);
}

static void tool_cancel(struct sl_node *n) /* [run] */
{
	const struct sl_tool *tool = sl_tool_find(sl_tools, sl_json_get_str(sl_node_params(n), "tool"));
	if (tool && tool->cancel)
		tool->cancel(n);
}

static enum sl_code tool_check(struct json_object *params, struct sl_error *err)
{
	struct sl_str name = sl_json_get_str(params, "tool");
	if (memmem(name.p, name.len, "{{", 2) || sl_tool_find(sl_tools, name))
		return SL_OK;
	return sl_fail(err, SL_INVALID,
		       "there is no tool '" SL_STR_FMT "'; GET /api/v1/tools lists them, and workflow:NAME is a stored "
		       "workflow",
		       SL_STR_ARG(name));
}

const struct sl_node_type sl_node_type_tool = {
	.name = "tool",
	.summary = "One call of a tool of this server.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"tool\"], \"properties\": {"
		"  \"tool\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 100, \"title\": \"Tool\", "
		"\"x-ui\": \"tool\","
		"    \"description\": \"Its name: calculate, memory_search, http_get, … or workflow:NAME.\" },"
		"  \"arguments\": { \"title\": \"Arguments\","
		"    \"description\": \"An object as the tool's schema wants it, or the JSON text of one.\" },"
		"  \"agent\": { \"type\": [\"string\", \"null\"], \"title\": \"Agent\", \"x-ui\": \"agent\","
		"    \"description\": \"Whose switches count; a tool that is off by itself needs one that has it on.\" "
		"},"
		"  \"iteration\": { \"type\": [\"integer\", \"null\"], \"minimum\": 1, \"title\": \"Iteration\","
		"    \"description\": \"In which turn of a model it was asked for; shows in the event.\" } } }",
	.effects = SL_EFFECTS_EXTERNAL,
	.start = tool_start,
	.cancel = tool_cancel,
	.check = tool_check,
};
