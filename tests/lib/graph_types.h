/* tests/lib/graph_types.h: node types for tests of the graph reader, one for each thing a schema and a slot can say.
 * They never run. */
#pragma once

#include "engine/graph.h"

static enum sl_step types_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	return SL_DONE;
}

static void types_body(struct sl_node *n, uint32_t number)
{
}

static void types_policy(struct json_object *params, uint32_t n_in, struct sl_join_policy *out)
{
	int64_t need = sl_json_get_i64(params, "need", 0);
	*out = (struct sl_join_policy){.need = need ? (uint32_t)need : n_in, .tolerates = need && need < n_in};
}

static void types_branches(struct json_object *params, uint32_t *max_open, bool *wait_all)
{
	*max_open = (uint32_t)sl_json_get_i64(params, "open", 0);
	*wait_all = sl_json_get_bool(params, "wait_all", false);
}

static uint32_t types_cases(struct json_object *params, const char **out, uint32_t max)
{
	struct json_object *cases = sl_json_get(params, "cases");
	uint32_t n = 0;
	for (size_t i = 0; cases && i < json_object_array_length(cases) && n < max; i++)
		out[n++] = json_object_get_string(json_object_array_get_idx(cases, i));
	return n;
}

static enum sl_code types_check(struct json_object *params, struct sl_error *err)
{
	if (sl_json_get(params, "prompt") && sl_json_get(params, "messages"))
		return sl_fail(err, SL_INVALID, "give `prompt` or `messages`, not both");
	return SL_OK;
}

static const struct sl_node_type types_work = {
	.name = "work",
	.summary = "Works.",
	.params_schema =
		"{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"prompt\":{\"type\":\"string\"},"
		"\"messages\":{\"type\":\"array\"},\"count\":{\"type\":\"integer\",\"minimum\":1,\"default\":3},"
		"\"fixed\":{\"type\":\"string\",\"x-constant\":true}}}",
	.effects = SL_EFFECTS_MODEL,
	.start = types_start,
	.check = types_check,
};
static const struct sl_node_type types_calc = {
	.name = "calc",
	.summary = "Calculates.",
	.params_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"expr\":{\"type\":"
			 "\"string\",\"x-expr\":"
			 "\"value\"},\"code\":{\"type\":\"string\",\"x-expr\":\"code\"},\"list\":{\"type\":\"array\","
			 "\"items\":{\"type\":"
			 "\"object\",\"properties\":{\"when\":{\"type\":\"string\",\"x-expr\":\"value\"},\"label\":{"
			 "\"type\":\"string\"}}}},"
			 "\"score\":{\"type\":\"string\",\"x-expr\":\"value\",\"x-provides\":[\"item\",\"index\"]}}}",
	.start = types_start,
};
static const struct sl_node_type types_gather = {
	.name = "gather",
	.summary = "Gathers.",
	.params_schema =
		"{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"need\":{\"type\":\"integer\"}}}",
	.start = types_start,
	.policy = types_policy,
};
static const struct sl_node_type types_fan = {
	.name = "fan",
	.summary = "Fans out.",
	.params_schema =
		"{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"open\":{\"type\":\"integer\"},"
		"\"wait_all\":{\"type\":\"boolean\"}}}",
	.start = types_start,
	.branches = types_branches,
};
static const struct sl_node_type types_pick = {
	.name = "pick",
	.summary = "Picks.",
	.params_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"cases\"],\"properties\":{"
			 "\"cases\":"
			 "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}}",
	.start = types_start,
	.cases = types_cases,
};
static const struct sl_node_type types_each = {
	.name = "each",
	.summary = "Does it for each item.",
	.params_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"items\",\"body\"],"
			 "\"properties\":{\"items\":{},"
			 "\"body\":{\"type\":\"object\",\"x-graph\":true,\"x-provides\":[\"item\",\"index\"]}}}",
	.start = types_start,
	.body = types_body,
};
static const struct sl_node_type types_again = {
	.name = "again",
	.summary = "Does it again.",
	.params_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"max_rounds\",\"body\"],"
			 "\"properties\":{"
			 "\"max_rounds\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100,\"x-constant\":true},"
			 "\"until\":{\"type\":\"string\",\"x-expr\":\"value\",\"x-provides\":[\"loop\",\"body\"]},"
			 "\"body\":{\"type\":\"object\",\"x-graph\":true,\"x-provides\":[\"loop\"]}}}",
	.start = types_start,
	.body = types_body,
};

static const struct sl_node_type *const types_all[] = {&types_work, &types_calc, &types_gather, &types_fan,
						       &types_pick, &types_each, &types_again,  NULL};
