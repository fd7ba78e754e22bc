/* nodes/context.c: condenses what was said: the last rounds in full, older ones in a line each, within a budget of
 * tokens (llm/condense.h). With `summarise_with` a model writes what stands for the older ones: a call in the one body
 * of the node (talk#1/summary), streamed, limited and paid for like any other, and not part of this node's stream. When
 * that fails there are the lines, and the output says so. */
#include <stdio.h>

#include "base/limits.h"
#include "engine/node.h"
#include "llm/condense.h"

#define SUMMARY_MOST 2000 /* tokens */

struct context_state { /* [run] */
	struct json_object *params;
};

static void context_let_go(struct context_state *s)
{
	json_object_put(s->params);
	s->params = NULL;
}

static uint32_t context_full(struct json_object *params)
{
	return (uint32_t)sl_json_get_i64(params, "full_rounds", 3);
}

static uint64_t context_tokens(struct json_object *params)
{
	return (uint64_t)sl_json_get_i64(params, "max_tokens", 4000);
}

/* degraded: what it had to do without; NULL: nothing. */
static struct json_object *context_output(struct json_object *params, struct sl_str summary, const char *degraded)
{
	struct json_object *o = json_object_new_object();
	struct sl_condensed c;
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (!o || sl_condense(sl_json_get(params, "sources"), context_full(params), context_tokens(params), summary,
			      &text, &c) != SL_OK) {
		json_object_put(o);
		return NULL;
	}
	sl_json_set_str(o, "text", sl_buf_str(&text));
	sl_json_set_i64(o, "tokens", (int64_t)c.tokens);
	sl_json_set_i64(o, "full", c.full);
	sl_json_set_i64(o, "shortened", c.shortened);
	sl_json_set_i64(o, "dropped", c.dropped);
	if (degraded)
		sl_json_set_str(o, "degraded", sl_str(degraded));
	return o;
}

static void context_body(struct sl_node *n, uint32_t number) /* [run] */
{
	struct context_state *s = sl_node_state(n, sizeof(*s));
	SL_AUTO_JSON outputs = sl_node_body_outputs(n, number);
	struct json_object *said = sl_json_get(outputs, "summary"), *error = sl_json_get(said, "error");
	struct sl_str summary = sl_str_trim(sl_json_get_str(said, "text"));
	char why[160];
	(void)snprintf(why, sizeof(why), "no summary: %.120s", /* cut when longer */
		       error ? sl_json_get_z(error, "message") : "the model said nothing");
	sl_node_complete(n, context_output(s->params, summary, summary.len ? NULL : why));
	context_let_go(s);
}

/* What the model is asked; NULL: no memory. room: tokens of its answer. */
static struct json_object *context_question(struct sl_str older, uint64_t room)
{
	struct json_object *o = json_object_new_object(), *item = json_object_new_object();
	SL_BUF(prompt, SL_LIMIT_PAYLOAD_BYTES);
	if (room > SUMMARY_MOST)
		room = SUMMARY_MOST;
	sl_buf_addf(
		&prompt,
		"Sum up what was said so far, for somebody who goes on from there: who holds what, figures, what was "
		"decided, what is open. Plain text, at most %llu words, nothing else.\n\n<<<\n",
		(unsigned long long)(room / 2));
	sl_buf_add(&prompt, older.p, older.len);
	sl_buf_adds(&prompt, "\n>>>");
	if (!o || !item || prompt.failed) {
		json_object_put(o);
		json_object_put(item);
		return NULL;
	}
	sl_json_set_str(item, "prompt", sl_buf_str(&prompt));
	sl_json_set_i64(item, "max_tokens", (int64_t)room);
	sl_json_set(o, "item", item);
	return o;
}

static enum sl_step context_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct context_state *s = sl_node_state(n, sizeof(*s));
	SL_BUF(older, SL_LIMIT_PAYLOAD_BYTES);
	uint64_t room = 0;
	if (sl_json_get(params, "summarise_with"))
		room = sl_condense_older(sl_json_get(params, "sources"), context_full(params), context_tokens(params),
					 &older);
	if (!room) {
		sl_node_complete(n, context_output(params, SL_STR(""), NULL));
		return SL_DONE;
	}
	struct json_object *question = s ? context_question(sl_buf_str(&older), room) : NULL;
	enum sl_body_status before = sl_node_body_status(n, 1);
	if (!question) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory to sum up");
		return SL_FAILED;
	}
	if (sl_node_body_begin(n, 1, question, err) != SL_OK)
		return SL_FAILED;
	s->params = json_object_get(params);
	if (before == SL_BODY_ENDED || before == SL_BODY_FAILED)
		context_body(n, 1); /* before a restart */
	return SL_PENDING;
}

static void context_cancel(struct sl_node *n) /* [run] */
{
	context_let_go(sl_node_state(n, sizeof(struct context_state)));
}

static enum sl_code context_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *with = sl_json_get(params, "summarise_with");
	if (json_object_is_type(with, json_type_object) && !sl_json_get(with, "agent") == !sl_json_get(with, "profile"))
		return sl_fail(err, SL_INVALID, "`summarise_with` needs exactly one of `agent` and `profile`");
	return SL_OK;
}

/* One model call, when there may be one. */
static enum sl_code context_expand(struct json_object *params, struct json_object **graph, struct sl_error *err)
{
	struct json_object *with = sl_json_get(params, "summarise_with");
	bool profile = sl_json_get(with, "profile");
	struct sl_str name = json_object_is_type(with, json_type_string)
				     ? sl_json_str(with)
				     : sl_json_get_str(with, profile ? "profile" : "agent");
	if (!with)
		return SL_OK;
	SL_BUF(text, 8192);
	sl_buf_addf(&text,
		    "{\"nodes\":[{\"id\":\"summary\",\"type\":\"llm\",\"on_error\":\"continue\",\"params\":{\"%s\":",
		    profile ? "profile" : "agent");
	sl_buf_json_str(&text, name);
	sl_buf_adds(&text, ",\"prompt\":\"{{ item.prompt }}\",\"max_tokens\":\"{{ item.max_tokens }}\"}}]}");
	if (text.failed)
		return sl_fail(err, SL_INVALID, "the name in `summarise_with` is too long");
	return sl_json_parse(sl_buf_str(&text), graph, err);
}

const struct sl_node_type sl_node_type_context = {
	.name = "context",
	.summary = "Condenses what was said, to fit into a prompt.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"sources\"], \"properties\": "
		"{"
		"  \"sources\": { \"title\": \"What was said\","
		"    \"description\": \"The oldest first: {{ loop.history }}, or a list of texts and outputs of "
		"nodes.\" "
		"},"
		"  \"full_rounds\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 1000, \"default\": 3, "
		"\"title\": "
		"\"Rounds in full\","
		"    \"description\": \"So many of the last ones; older ones get a line each.\" },"
		"  \"max_tokens\": { \"type\": \"integer\", \"minimum\": 16, \"maximum\": 200000, \"default\": 4000, "
		"\"title\": \"Most tokens\","
		"    \"description\": \"Of the text. What has no room is left out, the oldest first.\" },"
		"  \"summarise_with\": { \"type\": [\"string\", \"object\"], \"x-constant\": true, \"title\": \"Sum up "
		"with\","
		"    \"description\": \"An agent, { agent } or { profile }: a model sums up the older ones, instead of "
		"a "
		"line for each.\", \"additionalProperties\": false,"
		"    \"properties\": { \"agent\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Agent\" },"
		"      \"profile\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Profile\" } } } } }",
	.effects = SL_EFFECTS_NONE,
	.start = context_start,
	.body = context_body,
	.expand = context_expand,
	.check = context_check,
	.cancel = context_cancel,
};
