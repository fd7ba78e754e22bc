/* nodes/tools/memory_search.c: what earlier runs of the project have learned, as the node `memory_retrieval` finds it:
 * accepted and promoted memories only, and those that were given are recorded. */
#include "engine/tool.h"
#include "llm/services.h"

static const char *memory_search_unavailable(const struct sl_services *s)
{
	return s && s->memory ? NULL : "this server has no memory";
}

static enum sl_step memory_search_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	SL_AUTO_JSON params = json_object_new_object();
	if (!params) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a search");
		return SL_FAILED;
	}
	sl_json_set_str(params, "query", sl_json_get_str(args, "query"));
	sl_json_set_i64(params, "max_results", sl_json_get_i64(args, "max_results", 5));
	sl_json_set_i64(params, "time_range_days", sl_json_get_i64(args, "days_back", 0));
	sl_json_set_f64(params, "relevance_threshold", 0.3); /* the model judges for itself what is of use */
	sl_json_set_str(params, "on_timeout", SL_STR("empty"));
	return sl_node_as(n, "memory_retrieval", params, err);
}

static struct json_object *memory_search_shape(struct json_object *output)
{
	struct json_object *out = json_object_new_object(), *items = sl_json_get(output, "items"),
			   *list = json_object_new_array();
	for (size_t i = 0; out && list && i < json_object_array_length(items); i++) {
		struct json_object *from = json_object_array_get_idx(items, i), *to = json_object_new_object();
		if (!to)
			break;
		sl_json_set_str(to, "content", sl_json_get_str(from, "content"));
		sl_json_set_str(to, "tier", sl_json_get_str(from, "tier"));
		sl_json_set_bool(to, "verified", sl_json_get_bool(from, "verified", false));
		sl_json_set_str(to, "created_at", sl_json_get_str(from, "created_at"));
		sl_json_append(list, to);
	}
	if (out) {
		sl_json_set_i64(out, "count", (int64_t)json_object_array_length(list));
		sl_json_set(out, "items", list);
	} else {
		json_object_put(list);
	}
	json_object_put(output);
	return out;
}

const struct sl_tool sl_tool_memory_search = {
	.name = "memory_search",
	.description =
		"Searches what earlier runs of this project have learned. Returns { count, items: [{ content, tier, "
		"verified, created_at }] }, the most relevant first.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"query\"], \"properties\": {"
		"  \"query\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 2000, \"description\": \"What "
		"to "
		"look for.\" },"
		"  \"max_results\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 20, \"description\": \"5 "
		"when "
		"left out.\" },"
		"  \"days_back\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 36500, \"description\": "
		"\"Older "
		"memories are left out; 0: any age.\" } } }",
	.unavailable = memory_search_unavailable,
	.start = memory_search_start,
	.shape = memory_search_shape,
};
