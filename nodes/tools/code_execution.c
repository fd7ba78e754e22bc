/* nodes/tools/code_execution.c: a program that a model wrote, in the sandbox of the expressions: no files, no network,
 * no clock, a budget of instructions and memory. Nobody has it who was not given it: it is off unless an agent has it
 * switched on. */
#include "engine/expr.h"
#include "engine/tool.h"

static struct json_object *code_input(void *ctx, const struct sl_ref *ref)
{
	return ref->root == SL_REF_INPUT ? ctx : NULL;
}

static enum sl_step code_execution_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	const struct sl_env env = {code_input, sl_json_get(args, "input")};
	struct json_object *value = NULL, *out = NULL;
	SL_AUTO(sl_expr) e = NULL;
	size_t refs = 0;
	if (sl_expr_compile(sl_json_get_str(args, "code"), SL_EXPR_BLOCK, &e, err) != SL_OK)
		return SL_FAILED;
	const struct sl_ref *ref = sl_expr_refs(e, &refs);
	for (size_t i = 0; i < refs; i++)
		if (ref[i].root != SL_REF_INPUT) {
			(void)sl_fail(err, SL_INVALID,
				      "a tool's code sees `input` and nothing else of the run, not `%s`",
				      sl_ref_root_names[ref[i].root]);
			return SL_FAILED;
		}
	if (sl_expr_eval(e, &env, &value, err) != SL_OK)
		return SL_FAILED;
	if ((out = json_object_new_object()))
		sl_json_set(out, "value", value);
	else
		json_object_put(value);
	sl_node_complete(n, out);
	return SL_DONE;
}

const struct sl_tool sl_tool_code_execution = {
	.name = "code_execution",
	.description =
		"Runs a short Lua 5.4 program in a sandbox without files, network or clock, and returns { value }: "
		"what it returns. Libraries: string, table, math, utf8, json, text, list.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"code\"], "
		"\"properties\": {"
		"  \"code\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 20000,"
		"    \"description\": \"Statements that end with return, such as: local s = 0 for i = 1, 10 do s = s "
		"+ i end return s\" },"
		"  \"input\": { \"description\": \"Any value; the program sees it as input.\" } } }",
	.off = true,
	.start = code_execution_start,
};
