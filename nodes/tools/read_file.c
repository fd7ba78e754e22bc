/* nodes/tools/read_file.c: a file of the run, as it is now; without a path the list of them. */
#include "engine/tool.h"

static struct json_object *list_of(struct json_object *files)
{
	struct json_object *out = json_object_new_object(), *list = json_object_new_array();
	if (!out || !list) {
		json_object_put(out);
		json_object_put(list);
		return NULL;
	}
	if (files) {
		json_object_object_foreach (files, path, file) {
			struct json_object *it = json_object_new_object();
			if (!it)
				continue; /* a name less */
			sl_json_set_str(it, "path", sl_str(path));
			sl_json_set_i64(it, "version", sl_json_get_i64(file, "version", 1));
			sl_json_set_i64(it, "bytes", sl_json_get_i64(file, "bytes", 0));
			sl_json_append(list, it);
		}
	}
	sl_json_set(out, "files", list);
	return out;
}

static enum sl_step read_file_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	struct sl_str path = sl_json_get_str(args, "path");
	struct json_object *out = NULL, *file = path.len ? sl_node_read_file(n, path) : NULL;
	if (path.len && !file) {
		(void)sl_fail(err, SL_NOT_FOUND, "the run has no file '%.*s'; without a path this tool lists them",
			      (int)(path.len > 200 ? 200 : path.len), path.p);
		return SL_FAILED;
	}
	if (!file) {
		out = list_of(sl_node_files(n));
	} else if ((out = json_object_new_object())) {
		sl_json_set_str(out, "path", path);
		sl_json_set_i64(out, "version", sl_json_get_i64(file, "version", 1));
		sl_json_set_str(out, "content", sl_json_get_str(file, "content"));
	}
	sl_node_complete(n, out);
	return SL_DONE;
}

const struct sl_tool sl_tool_read_file = {
	.name = "read_file",
	.description = "Reads a text file of this run: { path, version, content }; without a path the list: { files }.",
	.args_schema = "{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
		       "  \"path\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 200,"
		       "    \"description\": \"Such as notes/plan.md\" } } }",
	.start = read_file_start,
};
