/* nodes/parallel.c: opens branches and says so. The graph already runs side by side what does not depend on each other;
 * this node gives the opening a name in the event log, a limit on open branches, and a say in what a failed one means.
 */
#include "base/limits.h"
#include "engine/node.h"

static enum sl_step parallel_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	const char *to[SL_LIMIT_NODES];
	uint32_t n_to = sl_node_edges_out(n, to, SL_LIMIT_NODES);
	struct json_object *event = json_object_new_object(), *output = json_object_new_object();
	struct json_object *ids = json_object_new_array_ext((int)(n_to ? n_to : 1));
	if (!event || !output || !ids) {
		json_object_put(event);
		json_object_put(output);
		json_object_put(ids);
		sl_fail(err, SL_NO_MEMORY, "opening %u branches", n_to);
		return SL_FAILED;
	}
	for (uint32_t i = 0; i < n_to; i++)
		sl_json_append_z(ids, to[i]);
	sl_json_set_str(event, "node_id", sl_str(sl_node_path(n)));
	sl_json_set(event, "branches", json_object_get(ids));
	sl_json_set(output, "branches", ids);
	sl_node_event(n, "node:parallel_start", event);
	sl_node_complete(n, output);
	return SL_DONE;
}

static void parallel_branches(struct json_object *params, uint32_t *max_open, bool *wait_all)
{
	int64_t max = sl_json_get_i64(params, "max_concurrency", 0);
	*max_open = max > 0 && max <= SL_LIMIT_NODES ? (uint32_t)max : 0;
	*wait_all = sl_str_is(sl_json_get_str(params, "on_branch_error"), "wait_all");
}

const struct sl_node_type sl_node_type_parallel = {
	.name = "parallel",
	.summary = "Opens branches that run side by side, a limited number at a time if wanted.",
	.params_schema = "{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
			 "  \"max_concurrency\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, "
			 "\"x-constant\": true,"
			 "    \"title\": \"Open at once\","
			 "    \"description\": \"How many branches may be under way at the same time. Without it, all "
			 "of them.\" },"
			 "  \"on_branch_error\": { \"type\": \"string\", \"enum\": [\"fail_fast\", \"wait_all\"], "
			 "\"default\": \"fail_fast\", \"x-constant\": true,"
			 "    \"title\": \"When a branch fails\","
			 "    \"description\": \"fail_fast ends the run at once; wait_all lets the other branches "
			 "finish and their join go on"
			 " with what arrived.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = parallel_start,
	.branches = parallel_branches,
};
