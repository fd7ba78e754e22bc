/* nodes/transform.c: a Lua expression or block over what came before. */
#include "engine/node.h"

static enum sl_step transform_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct json_object *value = NULL;
	enum sl_code rc = sl_node_eval(n, sl_json_get(params, "code") ? "/code" : "/expr", &value, err);
	if (rc != SL_OK)
		return SL_FAILED;
	bool object = json_object_is_type(value, json_type_object);
	if (object && json_object_object_length(value) == 0) {
		/* Lua has one empty table for both; with named fields it would be the output itself, so it is a list */
		json_object_put(value);
		value = json_object_new_array();
		object = false;
		if (!value) {
			sl_fail(err, SL_NO_MEMORY, "the transformed value");
			return SL_FAILED;
		}
	}
	if (!object) {
		struct json_object *output = json_object_new_object();
		if (!output) {
			json_object_put(value);
			sl_fail(err, SL_NO_MEMORY, "the transformed value");
			return SL_FAILED;
		}
		sl_json_set(output, "value", value);
		value = output;
	}
	sl_node_complete(n, value);
	return SL_DONE;
}

static enum sl_code transform_check(struct json_object *params, struct sl_error *err)
{
	if (!sl_json_get(params, "code") == !sl_json_get(params, "expr"))
		return sl_fail(
			err, SL_INVALID,
			"give exactly one of `expr` (an expression) and `code` (statements that return a value)");
	return SL_OK;
}

const struct sl_node_type sl_node_type_transform = {
	.name = "transform",
	.summary = "Computes a value with a Lua expression or block.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
		"  \"expr\": { \"type\": \"string\", \"minLength\": 1, \"x-expr\": \"value\", \"title\": "
		"\"Expression\","
		"    \"description\": \"For example: nodes.judge.json.score / 10\" },"
		"  \"code\": { \"type\": \"string\", \"minLength\": 1, \"x-expr\": \"code\", \"title\": \"Block\","
		"    \"x-ui\": \"code\","
		"    \"description\": \"Lua statements that end in `return`. A returned table with named fields "
		"becomes the output"
		" itself, any other value is the output's `value`.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = transform_start,
	.check = transform_check,
};
