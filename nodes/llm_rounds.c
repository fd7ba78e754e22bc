/* nodes/llm_rounds.c: see llm_rounds.h. */
#include "nodes/llm_rounds.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "engine/expr.h"
#include "engine/tool.h"
#include "llm/agents.h"
#include "llm/services.h"

#define ROUNDS        5 /* of tools, when nothing is said */
#define EXCERPT_BYTES 500
#define TOLD_BYTES    (1u << 20) /* of all results in the conversation; what has no room is cut, and said to be */
#define TOLD_LEAST    500u       /* of each, all the same: an error, say */

struct rounds { /* [run] */
	struct json_object *params;
	struct json_object *names;     /* of the tools, as the definition has them */
	struct json_object *declared;  /* what the model is offered, in OpenAI's form */
	struct json_object *functions; /* names of the workflow's own among them */
	struct json_object *messages;  /* the conversation so far */
	struct json_object *log;       /* of the tool calls, for the output */
	struct json_object *last;      /* output of the last call of the model */
	struct json_object *left;      /* calls of the workflow's own functions; NULL: none */
	uint32_t looking_up;           /* workflows whose inputs are not known yet */
	uint32_t done;                 /* rounds that have ended and were folded */
	uint64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
	size_t told; /* bytes of results in the conversation */
	bool waits;  /* for them, before the first round */
	bool answered, simulated;
};

static void let_go(struct rounds *s)
{
	struct json_object **all[] = {&s->params,   &s->names, &s->declared, &s->functions,
				      &s->messages, &s->log,   &s->last,     &s->left};
	for (size_t i = 0; i < SL_COUNT_OF(all); i++) {
		json_object_put(*all[i]);
		*all[i] = NULL;
	}
}

static uint32_t most_rounds(struct json_object *params)
{
	return (uint32_t)sl_json_get_i64(params, "max_iterations", ROUNDS);
}

bool sl_rounds_wanted(struct json_object *params)
{
	struct json_object *tools = sl_json_get(params, "tools");
	for (size_t i = 0; json_object_is_type(tools, json_type_array) && i < json_object_array_length(tools); i++)
		if (json_object_is_type(json_object_array_get_idx(tools, i), json_type_string))
			return true;
	return false;
}

enum sl_code sl_rounds_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *tools = sl_json_get(params, "tools");
	for (size_t i = 0; json_object_is_type(tools, json_type_array) && i < json_object_array_length(tools); i++) {
		struct json_object *one = json_object_array_get_idx(tools, i);
		struct sl_str name = sl_json_str(one);
		if (!json_object_is_type(one, json_type_string))
			continue;
		if (sl_template_in(name))
			return sl_fail(err, SL_INVALID, "`tools`/%zu: the name of a tool is written down, not computed",
				       i);
		if (!sl_tool_find(sl_tools, name))
			return sl_fail(err, SL_INVALID,
				       "`tools`/%zu: there is no tool '" SL_STR_FMT
				       "'; GET /api/v1/tools lists them, workflow:NAME is a stored workflow, and a "
				       "function of your own is an object { type, function }",
				       i, SL_STR_ARG(name));
		if (name.len > 64)
			return sl_fail(err, SL_INVALID, "`tools`/%zu: a model takes names of at most 64 characters", i);
	}
	return SL_OK;
}

/* ---- the graph of a round ---- */

static bool has_template(struct json_object *v)
{
	if (json_object_is_type(v, json_type_string))
		return sl_template_in(sl_json_str(v));
	if (json_object_is_type(v, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(v); i++)
			if (has_template(json_object_array_get_idx(v, i)))
				return true;
	} else if (json_object_is_type(v, json_type_object)) {
		json_object_object_foreach (v, key, member) {
			(void)key;
			if (has_template(member))
				return true;
		}
	}
	return false;
}

static bool is_of_the_whole(const char *key)
{
	static const char *const keys[] = {"tools",          "tool_choice", "max_iterations",
					   "tool_timeout_s", "prompt",      "messages"};
	for (size_t i = 0; i < SL_COUNT_OF(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* The parameters of the model call in a round. What the author wrote as a template is evaluated once, where it stands,
 * and comes in as `item`: in here `loop` and `item` are something else. */
static struct json_object *ask_params(struct json_object *params)
{
	struct json_object *p = json_object_new_object();
	char text[160];
	if (!p)
		return NULL;
	json_object_object_foreach (params, key, v) {
		if (is_of_the_whole(key))
			continue;
		(void)snprintf(text, sizeof(text), "{{ item.%.100s }}", key); /* keys of the schema: they fit */
		if (has_template(v))
			sl_json_set_str(p, key, sl_str(text));
		else
			sl_json_set(p, key, sl_json_dup(v));
	}
	sl_json_set_str(p, "messages", SL_STR("{{ loop.messages }}"));
	sl_json_set_str(p, "tools", SL_STR("{{ loop.tools }}"));
	sl_json_set_str(p, "tool_choice", SL_STR("{{ loop.tool_choice }}"));
	return p;
}

enum sl_code sl_rounds_expand(struct json_object *params, struct json_object **graph, struct sl_error *err)
{
	char text[800];
	if (!sl_rounds_wanted(params)) {
		*graph = NULL;
		return SL_OK;
	}
	(void)snprintf(
		text, sizeof(text),
		"{\"nodes\":[{\"id\":\"ask\",\"type\":\"llm\"},"
		"{\"id\":\"tools\",\"type\":\"tool_calls\",\"when\":\"loop.run and nodes.ask.tool_calls ~= nil\","
		"\"params\":{\"calls\":\"{{ nodes.ask.tool_calls }}\",\"tools\":\"{{ loop.names }}\","
		"\"functions\":\"{{ loop.functions }}\",\"agent\":\"{{ loop.agent }}\","
		"\"iteration\":\"{{ loop.index }}\",\"timeout_s\":%lld}}],"
		"\"edges\":[{\"from\":\"ask\",\"to\":\"tools\"}]}",
		(long long)sl_json_get_i64(params, "tool_timeout_s", 30)); /* it fits */
	enum sl_code rc = sl_json_parse(sl_str(text), graph, err);
	struct json_object *ask = rc == SL_OK ? ask_params(params) : NULL;
	if (rc == SL_OK && !ask)
		rc = sl_fail(err, SL_NO_MEMORY, "a round of tools");
	if (rc == SL_OK)
		sl_json_set(json_object_array_get_idx(sl_json_get(*graph, "nodes"), 0), "params", ask);
	if (rc != SL_OK) {
		json_object_put(*graph);
		*graph = NULL;
	}
	return rc;
}

/* ---- what a model is offered ---- */

/* "workflow:triage" as a function may be called. */
static void function_name(struct sl_str tool, char out[65])
{
	size_t n = tool.len < 64 ? tool.len : 64;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(tool.p[i] == ':' ? '_' : tool.p[i]);
	out[n] = 0;
}

/* Takes schema. */
static enum sl_code declare(struct rounds *s, struct sl_str tool, struct sl_str description, struct json_object *schema,
			    struct sl_error *err)
{
	struct json_object *o = json_object_new_object(), *f = json_object_new_object();
	char name[65];
	if (!o || !f || !schema) {
		json_object_put(o);
		json_object_put(f);
		json_object_put(schema);
		return sl_fail(err, SL_NO_MEMORY, "no memory for a tool");
	}
	function_name(tool, name);
	sl_json_set_str(f, "name", sl_str(name));
	sl_json_set_str(f, "description", description);
	sl_json_set(f, "parameters", schema);
	sl_json_set_str(o, "type", SL_STR("function"));
	sl_json_set(o, "function", f);
	sl_json_append(s->declared, o);
	return SL_OK;
}

static void rounds_looked_up(struct sl_node *n, const char *workflow, enum sl_code rc, struct sl_bytes *definition);

static enum sl_code offer(struct sl_node *n, struct rounds *s, struct sl_str name, struct sl_error *err)
{
	const struct sl_services *services = sl_node_services(n);
	const struct sl_tool *tool = sl_tool_find(sl_tools, name);
	struct json_object *schema = NULL;
	if (!tool)
		return sl_fail(err, SL_NOT_FOUND, "there is no tool '" SL_STR_FMT "'", SL_STR_ARG(name));
	switch (sl_agents_tool(services ? services->agents : NULL, sl_json_get_str(s->params, "agent"), name)) {
	case SL_AGENT_TOOL_OFF:
		return SL_OK; /* not offered: that is what the switch is for */
	case SL_AGENT_TOOL_UNSAID:
		if (tool->off)
			return sl_fail(
				err, SL_FORBIDDEN,
				"'%s' is off unless an agent has it switched on: name an `agent` whose `tools` do",
				tool->name);
		break;
	case SL_AGENT_TOOL_ON:
		break;
	}
	const char *why = tool->unavailable ? tool->unavailable(services) : NULL;
	if (why)
		return sl_fail(err, SL_UNAVAILABLE, "'%s': %s", tool->name, why);
	enum sl_code rc = sl_json_parse(sl_str(tool->args_schema), &schema, err);
	if (rc == SL_OK)
		rc = declare(s, name, sl_str(tool->description), schema, err);
	if (rc != SL_OK || !sl_str_starts(name, SL_STR(SL_TOOL_WORKFLOW)))
		return rc;
	rc = sl_node_look_up(n, sl_str_n(name.p + strlen(SL_TOOL_WORKFLOW), name.len - strlen(SL_TOOL_WORKFLOW)),
			     rounds_looked_up, err);
	s->looking_up += rc == SL_OK;
	return rc;
}

static enum sl_code offer_all(struct sl_node *n, struct rounds *s, struct sl_error *err)
{
	struct json_object *tools = sl_json_get(s->params, "tools");
	enum sl_code rc = SL_OK;
	for (size_t i = 0; rc == SL_OK && i < json_object_array_length(tools); i++) {
		struct json_object *one = json_object_array_get_idx(tools, i);
		if (json_object_is_type(one, json_type_string)) {
			sl_json_append(s->names, json_object_get(one));
			rc = offer(n, s, sl_json_str(one), err);
		} else {
			struct json_object *name = sl_json_get(sl_json_get(one, "function"), "name");
			if (name)
				sl_json_append(s->functions, json_object_get(name));
			sl_json_append(s->declared, json_object_get(one));
		}
	}
	return rc;
}

/* ---- the conversation ---- */

static struct json_object *message(const char *role, struct json_object *content)
{
	struct json_object *m = json_object_new_object();
	if (!m || !content) {
		json_object_put(m);
		json_object_put(content);
		sl_json_lost();
		return NULL;
	}
	sl_json_set_str(m, "role", sl_str(role));
	sl_json_set(m, "content", content);
	return m;
}

static struct json_object *text_json(struct sl_str s)
{
	return json_object_new_string_len(s.len ? s.p : "", (int)s.len);
}

static enum sl_code begin_talk(struct rounds *s, struct sl_error *err)
{
	struct json_object *given = sl_json_get(s->params, "messages"), *prompt = sl_json_get(s->params, "prompt");
	for (size_t i = 0; given && i < json_object_array_length(given); i++)
		sl_json_append(s->messages, json_object_get(json_object_array_get_idx(given, i)));
	if (given)
		return SL_OK;
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (!json_object_is_type(prompt, json_type_string))
		sl_json_write(&text, prompt); /* a template that yielded a number or an object */
	struct json_object *m = message("user", text_json(text.len ? sl_buf_str(&text) : sl_json_str(prompt)));
	if (!m || text.failed)
		return sl_fail(err, text.failed ? SL_TOO_LARGE : SL_NO_MEMORY, "the prompt is larger than %u bytes",
			       SL_LIMIT_PAYLOAD_BYTES);
	sl_json_append(s->messages, m);
	return SL_OK;
}

/* The calls as they go back into the conversation. Providers refuse arguments that are no object, and nobody wants to
 * pay for 2 MiB of them twice: such ones become {}, and the result says what was wrong. */
static struct json_object *calls_again(struct json_object *calls)
{
	struct json_object *copy = sl_json_dup(calls);
	for (size_t i = 0; copy && i < json_object_array_length(copy); i++) {
		struct json_object *f = sl_json_get(json_object_array_get_idx(copy, i), "function"), *args = NULL;
		struct sl_str text = sl_json_get_str(f, "arguments");
		enum sl_code rc = text.len <= SL_LIMIT_TOOL_ARGS_BYTES ? sl_json_parse(text, &args, NULL) : SL_LIMIT;
		bool fits = rc == SL_OK && json_object_is_type(args, json_type_object);
		if (rc == SL_NO_MEMORY)
			sl_json_lost();
		json_object_put(args);
		if (!fits && f)
			sl_json_set_str(f, "arguments", SL_STR("{}"));
	}
	return copy;
}

static void add_result(struct rounds *s, struct json_object *r)
{
	struct json_object *result = sl_json_get(r, "result"), *error = sl_json_get(r, "error");
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (error)
		sl_buf_addf(&text, "error: " SL_STR_FMT ": " SL_STR_FMT, SL_STR_ARG(sl_json_get_str(error, "code")),
			    SL_STR_ARG(sl_json_get_str(error, "message")));
	else if (json_object_is_type(result, json_type_string))
		sl_buf_add(&text, sl_json_str(result).p, sl_json_str(result).len);
	else
		sl_json_write(&text, result);
	size_t room = s->told < TOLD_BYTES - TOLD_LEAST ? TOLD_BYTES - s->told : TOLD_LEAST;
	if (text.len > room) {
		size_t all = text.len;
		text.len = sl_utf8_cut(text.data, text.len, room);
		sl_buf_addf(&text, "\n… (cut: of %zu bytes; the results of this conversation have no more room)", all);
	}
	if (text.no_memory)
		sl_json_lost();
	s->told += text.len;
	struct json_object *m = message("tool", text_json(sl_buf_str(&text)));
	if (!m)
		return;
	sl_json_set_str(m, "tool_call_id", sl_json_get_str(r, "id"));
	sl_json_set_str(m, "name", sl_json_get_str(r, "name"));
	sl_json_append(s->messages, m);
}

static void set_excerpt(struct json_object *o, const char *key, struct json_object *v)
{
	SL_BUF(json, SL_LIMIT_PAYLOAD_BYTES);
	SL_BUF(text, EXCERPT_BYTES + 64);
	bool is_text = json_object_is_type(v, json_type_string);
	if (!is_text)
		sl_json_write(&json, v);
	struct sl_str all = is_text ? sl_json_str(v) : sl_buf_str(&json);
	size_t n = sl_utf8_cut(all.p, all.len, EXCERPT_BYTES);
	sl_buf_add(&text, all.p, n);
	if (n < all.len)
		sl_buf_addf(&text, "… (%zu bytes)", all.len);
	if (json.no_memory || text.no_memory)
		sl_json_lost();
	sl_json_set_str(o, key, sl_buf_str(&text));
}

static void add_to_log(struct rounds *s, struct json_object *r, struct json_object *calls)
{
	struct json_object *o = json_object_new_object();
	if (!o) {
		sl_json_lost();
		return;
	}
	sl_json_set_i64(o, "iteration", s->done);
	sl_json_set_str(o, "name", sl_json_get_str(r, "name"));
	for (size_t i = 0; i < json_object_array_length(calls); i++) {
		struct json_object *call = json_object_array_get_idx(calls, i);
		if (sl_str_eq(sl_json_get_str(call, "id"), sl_json_get_str(r, "id")))
			set_excerpt(o, "arguments", sl_json_get(sl_json_get(call, "function"), "arguments"));
	}
	sl_json_set_bool(o, "ok", sl_json_get_bool(r, "ok", false));
	if (sl_json_get(r, "error"))
		sl_json_set(o, "error", json_object_get(sl_json_get(r, "error")));
	else
		set_excerpt(o, "result", sl_json_get(r, "result"));
	if (sl_json_get(r, "ms"))
		sl_json_set_i64(o, "ms", sl_json_get_i64(r, "ms", 0));
	sl_json_append(s->log, o);
}

static uint64_t tokens_of(struct json_object *ask, const char *key)
{
	return (uint64_t)sl_json_get_i64(sl_json_get(ask, "usage"), key, 0);
}

/* Folds a round that has ended. */
static enum sl_code rounds_fold(struct sl_node *n, struct rounds *s, uint32_t number, struct sl_error *err)
{
	SL_AUTO_JSON outputs = sl_node_body_outputs(n, number);
	struct json_object *ask = sl_json_get(outputs, "ask"), *tools = sl_json_get(outputs, "tools"),
			   *calls = sl_json_get(ask, "tool_calls"), *results = sl_json_get(tools, "results");
	if (!ask)
		return sl_fail(err, SL_NO_MEMORY, "no memory for round %u", number);
	s->done = number;
	s->input_tokens += tokens_of(ask, "input_tokens");
	s->output_tokens += tokens_of(ask, "output_tokens");
	s->cached_tokens += tokens_of(ask, "cached_tokens");
	s->reasoning_tokens += tokens_of(ask, "reasoning_tokens");
	s->simulated = s->simulated || sl_json_get_bool(ask, "simulated", false);
	json_object_put(s->last);
	s->last = json_object_get(ask);
	json_object_put(s->left);
	s->left = json_object_get(sl_json_get(tools, "left"));
	for (size_t i = 0; results && i < json_object_array_length(results); i++)
		add_to_log(s, json_object_array_get_idx(results, i), calls);
	if (!tools || s->left) { /* it has answered, may not ask any more, or waits for the workflow */
		s->answered = true;
		return SL_OK;
	}
	struct json_object *m = message("assistant", text_json(sl_json_get_str(ask, "text"))),
			   *again = calls_again(calls);
	if (!m || !again) {
		json_object_put(m);
		json_object_put(again);
		return sl_fail(err, SL_NO_MEMORY, "no memory for round %u", number);
	}
	sl_json_set(m, "tool_calls", again);
	sl_json_append(s->messages, m);
	for (size_t i = 0; i < json_object_array_length(results); i++)
		add_result(s, json_object_array_get_idx(results, i));
	return SL_OK;
}

/* What a round sees. The rounds before keep their own list; the messages in it are shared. */
static struct json_object *rounds_binding(struct rounds *s, uint32_t number)
{
	struct json_object *o = json_object_new_object(), *loop = json_object_new_object(),
			   *messages = json_object_new_array(), *choice = sl_json_get(s->params, "tool_choice");
	bool last = number > most_rounds(s->params);
	if (!o || !loop || !messages) {
		json_object_put(o);
		json_object_put(loop);
		json_object_put(messages);
		return NULL;
	}
	for (size_t i = 0; i < json_object_array_length(s->messages); i++)
		sl_json_append(messages, json_object_get(json_object_array_get_idx(s->messages, i)));
	sl_json_set_i64(loop, "index", number);
	sl_json_set_bool(loop, "run", !last);
	sl_json_set(loop, "messages", messages);
	sl_json_set(loop, "tools", json_object_get(s->declared));
	sl_json_set(loop, "names", json_object_get(s->names));
	sl_json_set(loop, "functions", json_object_get(s->functions));
	if (sl_json_get(s->params, "agent"))
		sl_json_set(loop, "agent", json_object_get(sl_json_get(s->params, "agent")));
	/* what the author chose is for the first turn: a tool that is always required would never let it answer */
	if (last)
		sl_json_set_str(loop, "tool_choice", SL_STR("none"));
	else if (choice && number == 1)
		sl_json_set(loop, "tool_choice", json_object_get(choice));
	else
		sl_json_set_str(loop, "tool_choice", SL_STR("auto"));
	sl_json_set(o, "loop", loop);
	sl_json_set(o, "item", json_object_get(s->params));
	return o;
}

static struct json_object *rounds_output(struct rounds *s)
{
	struct json_object *o = json_object_new_object(), *usage = json_object_new_object();
	struct json_object *asked = s->left ? s->left : sl_json_get(s->last, "tool_calls");
	if (!o || !usage) {
		json_object_put(o);
		json_object_put(usage);
		return NULL;
	}
	json_object_object_foreach (s->last, key, v) {
		if (strcmp(key, "tool_calls") != 0 && strcmp(key, "usage") != 0 && strcmp(key, "simulated") != 0)
			sl_json_set(o, key, json_object_get(v));
	}
	if (asked)
		sl_json_set(o, "tool_calls", json_object_get(asked));
	if (s->done > most_rounds(s->params)) /* what it says now it was made to say */
		sl_json_set_str(o, "finish_reason", SL_STR("max_iterations"));
	sl_json_set_i64(usage, "input_tokens", (int64_t)s->input_tokens);
	sl_json_set_i64(usage, "output_tokens", (int64_t)s->output_tokens);
	if (s->cached_tokens)
		sl_json_set_i64(usage, "cached_tokens", (int64_t)s->cached_tokens);
	if (s->reasoning_tokens)
		sl_json_set_i64(usage, "reasoning_tokens", (int64_t)s->reasoning_tokens);
	sl_json_set(o, "usage", usage);
	sl_json_set_i64(o, "iterations", s->done);
	sl_json_set(o, "tool_log", json_object_get(s->log));
	if (s->simulated)
		sl_json_set_bool(o, "simulated", true);
	return o;
}

/* Looks at every round that has ended, in order, and begins the next one or ends the node. */
static enum sl_step rounds_go(struct sl_node *n, struct rounds *s, struct sl_error *err)
{
	for (;;) {
		uint32_t next = s->done + 1;
		enum sl_body_status status = sl_node_body_status(n, next);
		if (status == SL_BODY_FAILED) {
			SL_IGNORE(sl_node_body_error(n, next, err)); /* its code is in err */
			return SL_FAILED;
		}
		struct json_object *binding = rounds_binding(s, next);
		if (!binding) {
			(void)sl_fail(err, SL_NO_MEMORY, "no memory for round %u", next);
			return SL_FAILED;
		}
		if (sl_node_body_begin(n, next, binding, err) != SL_OK)
			return SL_FAILED;
		if (status != SL_BODY_ENDED)
			return SL_PENDING;
		if (rounds_fold(n, s, next, err) != SL_OK)
			return SL_FAILED;
		if (s->answered) {
			sl_node_complete(n, rounds_output(s));
			return SL_DONE;
		}
	}
}

static void end_or_wait(struct sl_node *n, struct rounds *s, enum sl_step step, struct sl_error *err)
{
	if (step == SL_FAILED)
		sl_node_fail(n, err);
	if (step != SL_PENDING)
		let_go(s);
}

/* Its description and its inputs take the place of what stands for any workflow. */
static enum sl_code describe(struct rounds *s, const char *workflow, struct sl_bytes *definition, struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	char name[128], function[65], text[400];
	enum sl_code rc = sl_json_parse(sl_bytes_str(definition), &doc, err);
	if (rc != SL_OK)
		return rc;
	struct json_object *inputs = sl_json_get(doc, "inputs");
	struct sl_str about = sl_json_get_str(doc, "description");
	(void)snprintf(name, sizeof(name), SL_TOOL_WORKFLOW "%.64s", workflow); /* it was one of `tools` */
	function_name(sl_str(name), function);
	(void)snprintf(text, sizeof(text), "Runs the workflow %.64s and returns its outputs. %.*s", workflow,
		       (int)sl_utf8_cut(about.p, about.len, 250), about.len ? about.p : "");
	for (size_t i = 0; i < json_object_array_length(s->declared); i++) {
		struct json_object *f = sl_json_get(json_object_array_get_idx(s->declared, i), "function");
		if (!sl_str_is(sl_json_get_str(f, "name"), function))
			continue;
		sl_json_set_str(f, "description", sl_str(text));
		if (inputs)
			sl_json_set(f, "parameters", json_object_get(inputs));
	}
	return SL_OK;
}

static enum sl_step rounds_first(struct sl_node *n, struct rounds *s, struct sl_error *err)
{
	s->waits = false;
	return rounds_go(n, s, err);
}

/* [run] */
static void rounds_looked_up(struct sl_node *n, const char *workflow, enum sl_code rc, struct sl_bytes *definition)
{
	struct rounds *s = sl_node_state(n, sizeof(*s));
	struct sl_error err = {0};
	s->looking_up--;
	if (rc == SL_OK)
		rc = describe(s, workflow, definition, &err);
	else
		(void)sl_fail(&err, rc, "there is no workflow '%s' that a model could use", workflow);
	if (rc == SL_NO_MEMORY)
		sl_json_lost();
	if (!s->waits) /* after a restart: the rounds go on, and the next one is told */
		return;
	enum sl_step step = rc != SL_OK ? SL_FAILED : s->looking_up ? SL_PENDING : rounds_first(n, s, &err);
	end_or_wait(n, s, step, &err);
}

enum sl_step sl_rounds_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	struct rounds *s = sl_node_state(n, sizeof(*s));
	if (s) {
		s->names = json_object_new_array();
		s->declared = json_object_new_array();
		s->functions = json_object_new_array();
		s->messages = json_object_new_array();
		s->log = json_object_new_array();
	}
	if (!s || !s->names || !s->declared || !s->functions || !s->messages || !s->log) {
		if (s)
			let_go(s);
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a model with tools");
		return SL_FAILED;
	}
	s->params = json_object_get(params);
	enum sl_step step = SL_FAILED;
	if (begin_talk(s, err) == SL_OK && offer_all(n, s, err) == SL_OK) {
		/* rounds of an earlier life are begun at once: their nodes are about to go on */
		s->waits = s->looking_up && !sl_node_bodies(n);
		step = s->waits ? SL_PENDING : rounds_go(n, s, err);
	}
	if (step != SL_PENDING)
		let_go(s);
	return step;
}

void sl_rounds_body(struct sl_node *n, uint32_t number)
{
	struct rounds *s = sl_node_state(n, sizeof(*s));
	struct sl_error err = {0};
	if (number != s->done + 1 || !s->params)
		return; /* looked at already */
	end_or_wait(n, s, rounds_go(n, s, &err), &err);
}

void sl_rounds_cancel(struct sl_node *n)
{
	struct rounds *s = sl_node_state(n, sizeof(*s));
	if (s)
		let_go(s);
}
