/* nodes/tool_calls.c: the tools that a model has asked for in one turn. Each call is a body of its own
 * (agent#1/tools#2/call), several at a time; whatever becomes of one, the model is told, and the node completes. */
#include <stdio.h>

#include "base/limits.h"
#include "engine/tool.h"

#define TOOL_TIMEOUT_S 30

struct calls_state { /* [run] */
	struct json_object *params;
	uint32_t *which; /* body → place in `calls`; [count] */
	uint32_t count, begun, open, done;
};

static void calls_let_go(struct calls_state *s)
{
	json_object_put(s->params);
	free(s->which);
	s->params = NULL;
	s->which = NULL;
}

/* A name as a model may be told it: letters, digits, _ and -. */
static bool is_called(struct sl_str tool, struct sl_str name)
{
	if (tool.len != name.len)
		return false;
	for (size_t i = 0; i < tool.len; i++)
		if (tool.p[i] != name.p[i] && !(tool.p[i] == ':' && name.p[i] == '_'))
			return false;
	return true;
}

/* The tool that is meant; empty: it was not offered. */
static struct sl_str tool_of(struct json_object *params, struct json_object *call)
{
	struct json_object *tools = sl_json_get(params, "tools");
	struct sl_str name = sl_json_get_str(sl_json_get(call, "function"), "name");
	for (size_t i = 0; i < json_object_array_length(tools); i++)
		if (is_called(sl_json_str(json_object_array_get_idx(tools, i)), name))
			return sl_json_str(json_object_array_get_idx(tools, i));
	return SL_STR("");
}

static bool is_left(struct json_object *params, struct json_object *call)
{
	struct json_object *functions = sl_json_get(params, "functions");
	struct sl_str name = sl_json_get_str(sl_json_get(call, "function"), "name");
	for (size_t i = 0; functions && i < json_object_array_length(functions); i++)
		if (sl_str_eq(sl_json_str(json_object_array_get_idx(functions, i)), name))
			return true;
	return false;
}

static struct json_object *calls_binding(struct calls_state *s, uint32_t number)
{
	struct json_object *call = json_object_array_get_idx(sl_json_get(s->params, "calls"), s->which[number - 1]),
			   *o = json_object_new_object(), *item = json_object_new_object();
	static const char *const handed_on[] = {"agent", "iteration"};
	if (!o || !item) {
		json_object_put(o);
		json_object_put(item);
		return NULL;
	}
	sl_json_set_str(item, "tool", tool_of(s->params, call));
	sl_json_set(item, "arguments", json_object_get(sl_json_get(sl_json_get(call, "function"), "arguments")));
	for (size_t i = 0; i < SL_COUNT_OF(handed_on); i++)
		if (sl_json_get(s->params, handed_on[i]))
			sl_json_set(item, handed_on[i], json_object_get(sl_json_get(s->params, handed_on[i])));
	sl_json_set(o, "item", item);
	return o;
}

static enum sl_code calls_begin(struct sl_node *n, struct calls_state *s, uint32_t number, struct sl_error *err)
{
	struct json_object *binding = calls_binding(s, number);
	return binding ? sl_node_body_begin(n, number, binding, err)
		       : sl_fail(err, SL_NO_MEMORY, "no memory for a tool call");
}

static struct json_object *error_json(enum sl_code code, const char *message)
{
	struct json_object *e = json_object_new_object();
	if (!e) {
		sl_json_lost();
	} else {
		sl_json_set_str(e, "code", sl_str(sl_code_wire(code)));
		sl_json_set_str(e, "message", sl_str(message));
	}
	return e;
}

/* { id, name, ok, result | error, ms? } of the call at that place; body 0: it was not run. */
static struct json_object *result_of(struct sl_node *n, struct calls_state *s, struct json_object *call, uint32_t body,
				     bool too_many)
{
	struct json_object *o = json_object_new_object();
	struct sl_str name = sl_json_get_str(sl_json_get(call, "function"), "name");
	struct sl_error why = {0};
	char text[200];
	if (!o) {
		sl_json_lost();
		return NULL;
	}
	sl_json_set_str(o, "id", sl_json_get_str(call, "id"));
	sl_json_set_str(o, "name", name);
	sl_json_set_bool(o, "ok", false);
	if (!body && too_many) {
		(void)snprintf(text, sizeof(text), "not run: at most %d tools are run in one turn",
			       SL_LIMIT_TOOL_CALLS);
		sl_json_set(o, "error", error_json(SL_LIMIT, text));
	} else if (!body) {
		(void)snprintf(text, sizeof(text), "there is no tool '%.*s'", name.len > 100 ? 100 : (int)name.len,
			       name.p);
		sl_json_set(o, "error", error_json(SL_NOT_FOUND, text));
	} else if (sl_node_body_status(n, body) == SL_BODY_FAILED) {
		enum sl_code rc = sl_node_body_error(n, body, &why);
		char *message = strstr(why.text, ": "); /* "agent#1/tools#2/call: …" is of no use to a model */
		sl_json_set(o, "error", error_json(rc, message ? message + 2 : why.text));
	} else {
		SL_AUTO_JSON out = sl_node_body_result(n, body);
		struct json_object *result = sl_json_get(out, "result");
		sl_json_set_bool(o, "ok", true);
		sl_json_set(o, "result", result ? json_object_get(result) : NULL);
		if (sl_json_get_bool(out, "truncated", false))
			sl_json_set_bool(o, "truncated", true);
		sl_json_set_i64(o, "ms", sl_json_get_i64(out, "ms", 0));
	}
	return o;
}

static struct json_object *calls_output(struct sl_node *n, struct calls_state *s)
{
	struct json_object *o = json_object_new_object(), *results = json_object_new_array(),
			   *left = json_object_new_array(), *calls = sl_json_get(s->params, "calls");
	int64_t failed = 0;
	uint32_t next = 0;
	if (!o || !results || !left) {
		json_object_put(o);
		json_object_put(results);
		json_object_put(left);
		return NULL;
	}
	for (size_t i = 0; i < json_object_array_length(calls); i++) {
		struct json_object *call = json_object_array_get_idx(calls, i);
		if (is_left(s->params, call)) {
			sl_json_append(left, json_object_get(call));
			continue;
		}
		uint32_t body = next < s->count && s->which[next] == i ? ++next : 0;
		struct json_object *r = result_of(n, s, call, body, tool_of(s->params, call).len > 0);
		failed += !sl_json_get_bool(r, "ok", false);
		sl_json_append(results, r);
	}
	sl_json_set_i64(o, "count", (int64_t)json_object_array_length(results));
	sl_json_set_i64(o, "failed", failed);
	sl_json_set(o, "results", results);
	if (json_object_array_length(left))
		sl_json_set(o, "left", left);
	else
		json_object_put(left);
	return o;
}

static enum sl_step calls_go(struct sl_node *n, struct calls_state *s, struct sl_error *err)
{
	uint32_t most = (uint32_t)sl_json_get_i64(s->params, "concurrency", 4);
	while (s->open < most && s->begun < s->count) {
		if (calls_begin(n, s, s->begun + 1, err) != SL_OK)
			return SL_FAILED;
		s->begun++;
		s->open++;
	}
	if (s->done < s->count)
		return SL_PENDING;
	sl_node_complete(n, calls_output(n, s));
	return SL_DONE;
}

/* Which of the calls are run: those of tools that were offered, up to the cap. The same after every restart, because it
 * looks at the parameters only. */
static void calls_choose(struct calls_state *s)
{
	struct json_object *calls = sl_json_get(s->params, "calls");
	for (size_t i = 0; i < json_object_array_length(calls) && s->count < SL_LIMIT_TOOL_CALLS; i++) {
		struct json_object *call = json_object_array_get_idx(calls, i);
		if (!is_left(s->params, call) && tool_of(s->params, call).len)
			s->which[s->count++] = (uint32_t)i;
	}
}

static enum sl_step tool_calls_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct calls_state *s = sl_node_state(n, sizeof(*s));
	if (!s || !(s->which = calloc(SL_LIMIT_TOOL_CALLS, sizeof(*s->which)))) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for tool calls");
		return SL_FAILED;
	}
	s->params = json_object_get(params);
	calls_choose(s);
	enum sl_code rc = SL_OK;
	for (uint32_t i = 1; rc == SL_OK && i <= sl_node_bodies(n) && i <= s->count; i++) {
		enum sl_body_status status = sl_node_body_status(n, i);
		rc = calls_begin(n, s, i, err);
		s->begun++;
		if (status == SL_BODY_ENDED || status == SL_BODY_FAILED)
			s->done++;
		else
			s->open++;
	}
	enum sl_step step = rc == SL_OK ? calls_go(n, s, err) : SL_FAILED;
	if (step != SL_PENDING)
		calls_let_go(s);
	return step;
}

static void tool_calls_body(struct sl_node *n, uint32_t number) /* [run] */
{
	struct calls_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err = {0};
	s->open--;
	s->done++;
	enum sl_step step = calls_go(n, s, &err);
	if (step == SL_FAILED)
		sl_node_fail(n, &err);
	if (step != SL_PENDING)
		calls_let_go(s);
}

static void tool_calls_cancel(struct sl_node *n) /* [run] */
{
	calls_let_go(sl_node_state(n, sizeof(struct calls_state)));
}

/* { nodes: the one that runs a call } */
static enum sl_code tool_calls_expand(struct json_object *params, struct json_object **graph, struct sl_error *err)
{
	char text[400];
	(void)snprintf(text, sizeof(text),
		       "{\"nodes\":[{\"id\":\"call\",\"type\":\"tool\",\"timeout_s\":%lld,\"params\":{"
		       "\"tool\":\"{{ item.tool }}\",\"arguments\":\"{{ item.arguments }}\","
		       "\"agent\":\"{{ item.agent }}\",\"iteration\":\"{{ item.iteration }}\"}}]}",
		       (long long)sl_json_get_i64(params, "timeout_s", TOOL_TIMEOUT_S)); /* it fits */
	return sl_json_parse(sl_str(text), graph, err);
}

const struct sl_node_type sl_node_type_tool_calls = {
	.name = "tool_calls",
	.summary = "Runs the tools that a model has asked for, and gathers what to tell it.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"calls\", \"tools\"], "
		"\"x-provides\": [\"item\"], \"properties\": {"
		"  \"calls\": { \"type\": \"array\", \"maxItems\": 128, \"title\": \"Calls\","
		"    \"description\": \"What a model asked for: {{ nodes.ask.tool_calls }}.\","
		"    \"items\": { \"type\": \"object\" } },"
		"  \"tools\": { \"type\": \"array\", \"maxItems\": 64, \"title\": \"Tools\", \"x-ui\": \"tools\","
		"    \"description\": \"The names of those that may be run; a call of another one is answered with an "
		"error.\","
		"    \"items\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 100 } },"
		"  \"functions\": { \"type\": \"array\", \"maxItems\": 128, \"title\": \"Functions of the workflow\","
		"    \"description\": \"Names whose calls are left to the workflow: they come out as `left`.\","
		"    \"items\": { \"type\": \"string\" } },"
		"  \"agent\": { \"type\": [\"string\", \"null\"], \"title\": \"Agent\", \"x-ui\": \"agent\", "
		"\"description\": \"Whose switches count.\" },"
		"  \"iteration\": { \"type\": [\"integer\", \"null\"], \"minimum\": 1, \"title\": \"Iteration\","
		"    \"description\": \"Which turn of the model it is; shows in the events.\" },"
		"  \"concurrency\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 16, \"default\": 4, "
		"\"title\": "
		"\"At once\", \"description\": \"How many are under way at the same time.\" },"
		"  \"timeout_s\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600, \"default\": 30, "
		"\"x-constant\": true, \"title\": \"Time for a call\", \"description\": \"In seconds; one that takes "
		"longer has failed.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = tool_calls_start,
	.body = tool_calls_body,
	.expand = tool_calls_expand,
	.cancel = tool_calls_cancel,
};
