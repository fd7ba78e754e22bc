/* api/conversation.c: see conversation.h. What OpenAI's clients send and we do not know is passed over, as its servers
 * do; what would be answered wrongly (n > 1) is refused. */
#include "api/conversation.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/limits.h"

void sl_conversation_fini(struct sl_conversation *c)
{
	json_object_put(c->messages);
	json_object_put(c->params);
	c->messages = c->params = NULL;
}

static enum sl_code refuse(struct sl_buf *errors, struct sl_error *err, const char *pointer, const char *message)
{
	sl_buf_json_problem(errors, sl_str(pointer), message);
	return sl_fail(err, SL_INVALID, "the request cannot be served");
}

static enum sl_code read_model(struct sl_conversation *c, struct json_object *body, struct sl_buf *errors,
			       struct sl_error *err)
{
	struct sl_str model = sl_json_get_str(body, "model"), kind, name;
	if (model.len == 0)
		return refuse(errors, err, "model", "is missing: profile:NAME or workflow:NAME");
	(void)snprintf(c->model, sizeof(c->model), SL_STR_FMT, SL_STR_ARG(model));
	bool known = sl_str_cut(model, ':', &kind, &name) && name.len && name.len < sizeof(c->name);
	if (known && sl_str_is(kind, "profile"))
		c->target = SL_TARGET_PROFILE;
	else if (known && sl_str_is(kind, "workflow"))
		c->target = SL_TARGET_WORKFLOW;
	else
		return sl_fail(err, SL_NOT_FOUND,
			       "there is no model '" SL_STR_FMT "'; GET /v1/models lists those of this server",
			       SL_STR_ARG(sl_str_n(c->model, strlen(c->model))));
	memcpy(c->name, name.p, name.len);
	c->name[name.len] = '\0';
	return SL_OK;
}

/* The text of a content: a string, or parts with text in them. */
static void content_text(struct json_object *content, struct sl_buf *out)
{
	if (json_object_is_type(content, json_type_string)) {
		struct sl_str s = sl_json_str(content);
		sl_buf_add(out, s.p, s.len);
	}
	for (size_t i = 0; json_object_is_type(content, json_type_array) && i < json_object_array_length(content);
	     i++) {
		struct sl_str s = sl_json_get_str(json_object_array_get_idx(content, i), "text");
		if (out->len && s.len)
			sl_buf_addc(out, '\n');
		sl_buf_add(out, s.p, s.len);
	}
}

static const char *role_of(struct sl_str role)
{
	static const char *const roles[] = {"system", "user", "assistant", "tool"};
	if (sl_str_is(role, "developer")) /* the newer word for it */
		return "system";
	if (sl_str_is(role, "function"))
		return "tool";
	for (size_t i = 0; i < SL_COUNT_OF(roles); i++)
		if (sl_str_is(role, roles[i]))
			return roles[i];
	return NULL;
}

static enum sl_code take_messages(struct sl_conversation *c, struct json_object *from, const char *where,
				  struct sl_buf *errors, struct sl_error *err)
{
	if (!json_object_is_type(from, json_type_array) || json_object_array_length(from) == 0)
		return refuse(errors, err, where, "a list of messages with at least one");
	for (size_t i = 0; i < json_object_array_length(from); i++) {
		struct json_object *m = json_object_array_get_idx(from, i);
		const char *role = role_of(sl_json_get_str(m, "role"));
		if (!role)
			return refuse(errors, err, where, "each message has a role: system, user, assistant or tool");
		struct json_object *copy = json_object_new_object();
		json_object_object_foreach (m, key, value) {
			if (value && strcmp(key, "role") != 0)
				sl_json_set(copy, key, sl_json_dup(value));
		}
		sl_json_set_str(copy, "role", sl_str(role));
		if (!sl_json_get(copy, "content")) /* null beside tool calls */
			sl_json_set_str(copy, "content", SL_STR(""));
		sl_json_append(c->messages, copy);
	}
	return SL_OK;
}

static void copy_param(struct sl_conversation *c, struct json_object *body, const char *from, const char *to)
{
	struct json_object *v = sl_json_get(body, from);
	if (v)
		sl_json_set(c->params, to, sl_json_dup(v));
}

/* { type: "json_schema", json_schema: { name, schema } } has one level more than ours. */
static void copy_format(struct sl_conversation *c, struct json_object *format)
{
	struct json_object *inner = sl_json_get(format, "json_schema"), *source = inner ? inner : format,
			   *ours = json_object_new_object();
	if (!format || sl_str_is(sl_json_get_str(format, "type"), "text")) {
		json_object_put(ours);
		return;
	}
	sl_json_set_str(ours, "type", sl_json_get_str(format, "type"));
	if (sl_json_get(source, "schema"))
		sl_json_set(ours, "schema", sl_json_dup(sl_json_get(source, "schema")));
	if (sl_json_get(source, "name"))
		sl_json_set_str(ours, "name", sl_json_get_str(source, "name"));
	sl_json_set(c->params, "response_format", ours);
}

/* Nothing of it was dropped on the way for want of memory. */
static enum sl_code whole(uint64_t losses, struct sl_error *err)
{
	return sl_json_losses() == losses ? SL_OK : sl_fail(err, SL_NO_MEMORY, "conversation");
}

static bool ready(struct sl_conversation *c)
{
	c->messages = json_object_new_array();
	c->params = json_object_new_object();
	return c->messages && c->params;
}

/* A name would mean a tool of the server: those are for workflows, and not for who only sends a conversation. */
static bool are_functions(struct json_object *tools)
{
	for (size_t i = 0; json_object_is_type(tools, json_type_array) && i < json_object_array_length(tools); i++)
		if (!json_object_is_type(json_object_array_get_idx(tools, i), json_type_object))
			return false;
	return true;
}

enum sl_code sl_conversation_read_chat(struct sl_conversation *c, struct json_object *body, struct sl_buf *errors,
				       struct sl_error *err)
{
	uint64_t losses = sl_json_losses();
	*c = (struct sl_conversation){0};
	if (!ready(c))
		return sl_fail(err, SL_NO_MEMORY, "conversation");
	enum sl_code rc = read_model(c, body, errors, err);
	if (rc == SL_OK)
		rc = take_messages(c, sl_json_get(body, "messages"), "messages", errors, err);
	if (rc == SL_OK && sl_json_get_i64(body, "n", 1) != 1)
		rc = refuse(errors, err, "n", "there is one answer to a request");
	if (rc == SL_OK && !are_functions(sl_json_get(body, "tools")))
		rc = refuse(errors, err, "tools", "each tool is an object { type, function }");
	if (rc != SL_OK)
		return rc;
	c->stream = sl_json_get_bool(body, "stream", false);
	c->want_usage = sl_json_get_bool(sl_json_get(body, "stream_options"), "include_usage", false);
	copy_param(c, body, "temperature", "temperature");
	copy_param(c, body, "top_p", "top_p");
	copy_param(c, body, "max_tokens", "max_tokens");
	copy_param(c, body, "max_completion_tokens", "max_tokens");
	copy_param(c, body, "stop", "stop");
	copy_param(c, body, "seed", "seed");
	copy_param(c, body, "reasoning_effort", "thinking");
	copy_param(c, body, "tools", "tools");
	copy_param(c, body, "tool_choice", "tool_choice");
	copy_format(c, sl_json_get(body, "response_format"));
	return whole(losses, err);
}

/* ---- responses: `input` is a text or a list of items ---- */

static enum sl_code take_items(struct sl_conversation *c, struct json_object *items, struct sl_buf *errors,
			       struct sl_error *err)
{
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i), *m = json_object_new_object();
		struct sl_str type = sl_json_get_str(item, "type");
		SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
		if (sl_str_is(type, "function_call_output")) {
			sl_json_set_str(m, "role", SL_STR("tool"));
			sl_json_set_str(m, "tool_call_id", sl_json_get_str(item, "call_id"));
			sl_json_set_str(m, "content", sl_json_get_str(item, "output"));
		} else if (sl_str_is(type, "function_call")) {
			struct json_object *call = json_object_new_object(), *f = json_object_new_object(),
					   *calls = json_object_new_array();
			sl_json_set_str(f, "name", sl_json_get_str(item, "name"));
			sl_json_set_str(f, "arguments", sl_json_get_str(item, "arguments"));
			sl_json_set_str(call, "id", sl_json_get_str(item, "call_id"));
			sl_json_set_str(call, "type", SL_STR("function"));
			sl_json_set(call, "function", f);
			sl_json_append(calls, call);
			sl_json_set_str(m, "role", SL_STR("assistant"));
			sl_json_set_str(m, "content", SL_STR(""));
			sl_json_set(m, "tool_calls", calls);
		} else if (role_of(sl_json_get_str(item, "role"))) {
			content_text(sl_json_get(item, "content"), &text);
			if (text.no_memory)
				sl_json_lost();
			sl_json_set_str(m, "role", sl_str(role_of(sl_json_get_str(item, "role"))));
			sl_json_set_str(m, "content", sl_buf_str(&text));
		} else {
			json_object_put(m);
			return refuse(errors, err, "input", "an item is a message, a function_call or its output");
		}
		sl_json_append(c->messages, m);
	}
	return SL_OK;
}

/* { type: "function", name, description, parameters } has one level less than chat's. */
static void copy_tools(struct sl_conversation *c, struct json_object *tools)
{
	struct json_object *all = NULL;
	for (size_t i = 0; json_object_is_type(tools, json_type_array) && i < json_object_array_length(tools); i++) {
		struct json_object *t = json_object_array_get_idx(tools, i), *f, *tool;
		if (!sl_str_is(sl_json_get_str(t, "type"), "function") || sl_json_get(t, "function"))
			continue;
		f = json_object_new_object();
		tool = json_object_new_object();
		json_object_object_foreach (t, key, value) {
			if (strcmp(key, "type") != 0 && value)
				sl_json_set(f, key, sl_json_dup(value));
		}
		sl_json_set_str(tool, "type", SL_STR("function"));
		sl_json_set(tool, "function", f);
		if (!all)
			all = json_object_new_array();
		sl_json_append(all, tool);
	}
	if (all)
		sl_json_set(c->params, "tools", all);
}

enum sl_code sl_conversation_read_response(struct sl_conversation *c, struct json_object *body, struct sl_buf *errors,
					   struct sl_error *err)
{
	struct json_object *input = sl_json_get(body, "input");
	struct sl_str instructions = sl_json_get_str(body, "instructions");
	uint64_t losses = sl_json_losses();
	*c = (struct sl_conversation){0};
	if (!ready(c))
		return sl_fail(err, SL_NO_MEMORY, "conversation");
	enum sl_code rc = read_model(c, body, errors, err);
	if (rc != SL_OK)
		return rc;
	if (sl_json_get(body, "previous_response_id"))
		return refuse(errors, err, "previous_response_id",
			      "responses are not kept to go on from; send the conversation in `input`");
	if (instructions.len) {
		struct json_object *m = json_object_new_object();
		sl_json_set_str(m, "role", SL_STR("system"));
		sl_json_set_str(m, "content", instructions);
		sl_json_append(c->messages, m);
	}
	if (json_object_is_type(input, json_type_string)) {
		struct json_object *m = json_object_new_object();
		sl_json_set_str(m, "role", SL_STR("user"));
		sl_json_set_str(m, "content", sl_json_str(input));
		sl_json_append(c->messages, m);
	} else if (json_object_is_type(input, json_type_array) && json_object_array_length(input)) {
		rc = take_items(c, input, errors, err);
	} else {
		rc = refuse(errors, err, "input", "a text, or a list of items with at least one");
	}
	if (rc != SL_OK)
		return rc;
	c->stream = sl_json_get_bool(body, "stream", false);
	copy_param(c, body, "temperature", "temperature");
	copy_param(c, body, "top_p", "top_p");
	copy_param(c, body, "max_output_tokens", "max_tokens");
	copy_param(c, sl_json_get(body, "reasoning"), "effort", "thinking");
	copy_param(c, body, "tool_choice", "tool_choice");
	copy_tools(c, sl_json_get(body, "tools"));
	copy_format(c, sl_json_get(sl_json_get(body, "text"), "format"));
	return whole(losses, err);
}

/* ---- as a run ---- */

static struct sl_bytes *bytes_of(struct json_object *o)
{
	SL_BUF(b, SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&b, o);
	return sl_buf_bytes(&b);
}

enum sl_code sl_conversation_profile(const struct sl_conversation *c, struct sl_bytes **definition,
				     struct sl_bytes **inputs)
{
	/* Everything the client wrote goes in as an input: none of it is read as a template. */
	SL_BUF(d, 64 << 10);
	uint64_t losses = sl_json_losses();
	SL_AUTO_JSON in = json_object_new_object();
	if (!in)
		return SL_NO_MEMORY;
	sl_json_set(in, "messages", json_object_get(c->messages));
	sl_buf_adds(&d, "{\"sluice\":1,\"name\":\"chat\",\"nodes\":[{\"id\":\"answer\",\"type\":\"llm\",\"params\":{");
	sl_buf_json_kz(&d, "profile", c->name);
	sl_buf_json_kz(&d, "messages", "{{ input.messages }}");
	json_object_object_foreach (c->params, key, value) {
		char from[80];
		(void)snprintf(from, sizeof(from), "{{ input.%.40s }}", key);
		sl_buf_json_kz(&d, key, from);
		sl_json_set(in, key, json_object_get(value));
	}
	sl_buf_adds(&d, "}}],\"edges\":[]}");
	*inputs = bytes_of(in);
	*definition = sl_buf_bytes(&d);
	if (*inputs && *definition && sl_json_losses() == losses)
		return SL_OK;
	sl_bytes_unref(*inputs);
	sl_bytes_unref(*definition);
	*inputs = *definition = NULL;
	return SL_NO_MEMORY;
}

static bool takes_text(struct json_object *property)
{
	struct json_object *type = sl_json_get(property, "type");
	if (json_object_is_type(type, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(type); i++)
			if (sl_str_is(sl_json_str(json_object_array_get_idx(type, i)), "string"))
				return true;
		return false;
	}
	return !type || sl_str_is(sl_json_str(type), "string");
}

/* The input that gets what the user said last; NULL: there is none. */
static const char *text_input(struct json_object *schema)
{
	static const char *const names[] = {"prompt", "topic", "question", "message", "query", "input", "text"};
	struct json_object *properties = sl_json_get(schema, "properties"), *required = sl_json_get(schema, "required");
	const char *only = NULL;
	size_t texts = 0;
	for (size_t i = 0; i < SL_COUNT_OF(names); i++)
		if (takes_text(sl_json_get(properties, names[i])) && sl_json_get(properties, names[i]))
			return names[i];
	for (size_t i = 0; json_object_is_type(required, json_type_array) && i < json_object_array_length(required);
	     i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(required, i));
		if (name && strcmp(name, "messages") != 0 && sl_json_get(properties, name) &&
		    takes_text(sl_json_get(properties, name))) {
			only = name;
			texts++;
		}
	}
	return texts == 1 ? only : NULL;
}

/* What was said in a role: all of it, or the last time. */
enum said { SAID_ALL, SAID_LAST };
static void said(const struct sl_conversation *c, const char *role, enum said which, struct sl_buf *out)
{
	for (size_t i = 0; i < json_object_array_length(c->messages); i++) {
		struct json_object *m = json_object_array_get_idx(c->messages, i);
		if (!sl_str_is(sl_json_get_str(m, "role"), role))
			continue;
		if (which == SAID_LAST)
			sl_buf_reset(out);
		else if (out->len)
			sl_buf_adds(out, "\n\n");
		content_text(sl_json_get(m, "content"), out);
	}
}

/* {{ nodes.ID.text }} and nothing else */
static bool names_text(struct sl_str template, char node[65])
{
	static const char head[] = "nodes.", tail[] = ".text";
	struct sl_str s = sl_str_trim(template);
	if (!sl_str_starts(s, SL_STR("{{")) || s.len < 4 || memcmp(s.p + s.len - 2, "}}", 2) != 0)
		return false;
	s = sl_str_trim(sl_str_n(s.p + 2, s.len - 4));
	size_t around = sizeof(head) - 1 + sizeof(tail) - 1;
	if (!sl_str_starts(s, sl_str(head)) || s.len <= around || s.len - around > 64 ||
	    memcmp(s.p + s.len - (sizeof(tail) - 1), tail, sizeof(tail) - 1) != 0)
		return false;
	s = sl_str_n(s.p + sizeof(head) - 1, s.len - around);
	for (size_t i = 0; i < s.len; i++)
		if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		      (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_' || s.p[i] == '-'))
			return false;
	memcpy(node, s.p, s.len);
	node[s.len] = '\0';
	return true;
}

/* The one node that no edge leaves; none when there are several. */
static void find_last(struct json_object *definition, struct sl_answer_place *place)
{
	struct json_object *nodes = sl_json_get(definition, "nodes"), *edges = sl_json_get(definition, "edges");
	struct sl_str last = SL_STR("");
	size_t n = 0;
	for (size_t i = 0; json_object_is_type(nodes, json_type_array) && i < json_object_array_length(nodes); i++) {
		struct sl_str id = sl_json_get_str(json_object_array_get_idx(nodes, i), "id");
		bool left = false;
		for (size_t e = 0; json_object_is_type(edges, json_type_array) && e < json_object_array_length(edges);
		     e++)
			left = left || sl_str_eq(sl_json_get_str(json_object_array_get_idx(edges, e), "from"), id);
		if (!left) {
			last = id;
			n++;
		}
	}
	if (n == 1 && last.len < sizeof(place->node))
		memcpy(place->node, last.p, last.len);
}

static void find_answer(struct json_object *definition, struct sl_answer_place *place)
{
	static const char *const names[] = {"text", "answer", "output", "result"};
	struct json_object *outputs = sl_json_get(definition, "outputs");
	const char *name = NULL;
	*place = (struct sl_answer_place){0};
	if (!json_object_is_type(outputs, json_type_object)) {
		find_last(definition, place);
		return;
	}
	for (size_t i = 0; i < SL_COUNT_OF(names) && !name; i++)
		if (sl_json_get(outputs, names[i]))
			name = names[i];
	if (!name) {
		json_object_object_foreach (outputs, key, value) {
			(void)value;
			if (!name)
				name = key;
		}
	}
	if (!name || strlen(name) >= sizeof(place->output))
		return;
	memcpy(place->output, name, strlen(name) + 1);
	if (!names_text(sl_json_get_str(outputs, name), place->node))
		place->node[0] = '\0';
}

enum sl_code sl_conversation_workflow(const struct sl_conversation *c, struct json_object *definition,
				      struct sl_bytes **inputs, struct sl_answer_place *place, struct sl_error *err)
{
	struct json_object *schema = sl_json_get(definition, "inputs"), *properties = sl_json_get(schema, "properties");
	const char *text = schema ? text_input(schema) : "prompt";
	bool messages = !schema || sl_json_get(properties, "messages");
	uint64_t losses = sl_json_losses();
	SL_AUTO_JSON in = json_object_new_object();
	SL_BUF(last, SL_LIMIT_PAYLOAD_BYTES);
	SL_BUF(system, SL_LIMIT_PAYLOAD_BYTES);
	find_answer(definition, place);
	if (!messages && !text)
		return sl_fail(
			err, SL_INVALID,
			"the workflow '%s' takes no conversation: none of its inputs is `messages`, `prompt` or the "
			"one text it needs",
			c->name);
	said(c, "user", SAID_LAST, &last);
	said(c, "system", SAID_ALL, &system);
	if (messages)
		sl_json_set(in, "messages", json_object_get(c->messages));
	if (text)
		sl_json_set_str(in, text, sl_buf_str(&last));
	if (sl_json_get(properties, "system") && system.len)
		sl_json_set_str(in, "system", sl_buf_str(&system));
	*inputs = sl_json_losses() == losses && !last.failed && !system.failed ? bytes_of(in) : NULL;
	return *inputs ? SL_OK : sl_fail(err, SL_NO_MEMORY, "conversation");
}
