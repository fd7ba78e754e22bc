/* nodes/tools/workflow.c: a stored workflow as a tool, "workflow:NAME": its inputs are the arguments, its outputs the
 * result. It is a run of its own, paused, resumed and cancelled with the one that asked for it. */
#include "engine/tool.h"

static enum sl_step workflow_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	struct sl_str name = sl_json_get_str(sl_node_params(n), "tool");
	SL_AUTO_JSON params = json_object_new_object();
	if (!params || name.len <= strlen(SL_TOOL_WORKFLOW)) {
		(void)sl_fail(err, params ? SL_INVALID : SL_NO_MEMORY, "a workflow as a tool needs its name");
		return SL_FAILED;
	}
	sl_json_set_str(params, "workflow",
			sl_str_n(name.p + strlen(SL_TOOL_WORKFLOW), name.len - strlen(SL_TOOL_WORKFLOW)));
	sl_json_set(params, "inputs", json_object_get(args));
	return sl_node_as(n, "subworkflow", params, err);
}

/* Its schema is the workflow's `inputs`; the run itself checks them. */
const struct sl_tool sl_tool_workflow = {
	.name = "workflow",
	.description = "Runs a stored workflow (named workflow:NAME) and returns its outputs.",
	.args_schema = "{ \"type\": \"object\" }",
	.start = workflow_start,
};
