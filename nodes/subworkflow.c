/* nodes/subworkflow.c: runs another workflow as a run of its own: it has its own journal, its own page, and ends on its
 * own terms. It is paused, resumed and cancelled with the run that started it. */
#include "engine/node.h"

static void subworkflow_ended(struct sl_node *n, struct sl_run_id run, struct json_object *outputs,
			      const struct sl_error *err) /* [run] */
{
	if (err) {
		struct sl_error why = *err;
		(void)sl_wrap(&why, why.code, "the child run");
		sl_node_fail(n, &why);
	} else {
		sl_node_complete(n, outputs ? json_object_get(outputs) : json_object_new_object());
	}
}

static enum sl_step subworkflow_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	return sl_node_child(n, sl_json_get_str(params, "workflow"), (int32_t)sl_json_get_i64(params, "version", 0),
			     sl_json_get(params, "inputs"), subworkflow_ended, err);
}

const struct sl_node_type sl_node_type_subworkflow = {
	.name = "subworkflow",
	.summary = "Runs another workflow and waits for its outputs.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"workflow\"], "
		"\"properties\": {"
		"  \"workflow\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 64, \"title\": \"Workflow\","
		"    \"description\": \"The name of a stored workflow.\" },"
		"  \"version\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 2147483647, \"title\": "
		"\"Version\","
		"    \"description\": \"Without it, the latest one when the node starts.\" },"
		"  \"inputs\": { \"type\": \"object\", \"title\": \"Inputs\", \"description\": \"The inputs of that "
		"run.\" } } }",
	.effects = SL_EFFECTS_EXTERNAL,
	.start = subworkflow_start,
	.cancel = sl_node_drop_child,
};
