/* nodes/tools/write_file.c: a model keeps a text as a file of the run, where later nodes, later models and people find
 * it. It never leaves the run: this is no file of the machine. */
#include "base/limits.h"
#include "engine/tool.h"

static enum sl_step write_file_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	struct sl_str path = sl_json_get_str(args, "path"), content = sl_json_get_str(args, "content");
	uint32_t version = 0;
	if (sl_node_write_file(n, path, content, &version, err) != SL_OK)
		return SL_FAILED;
	struct json_object *out = json_object_new_object();
	if (out) {
		sl_json_set_str(out, "path", path);
		sl_json_set_i64(out, "version", version);
		sl_json_set_i64(out, "bytes", (int64_t)content.len);
	}
	sl_node_complete(n, out);
	return SL_DONE;
}

const struct sl_tool sl_tool_write_file = {
	.name = "write_file",
	.description =
		"Writes a text file of this run, whole; what was there stays as an earlier version. Returns { path, "
		"version, bytes }.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"path\", \"content\"], "
		"\"properties\": {"
		"  \"path\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 200,"
		"    \"description\": \"Such as notes/plan.md; relative, without . and ..\" },"
		"  \"content\": { \"type\": \"string\", \"description\": \"All of the text.\" } } }",
	.start = write_file_start,
};
