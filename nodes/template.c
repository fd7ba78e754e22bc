/* nodes/template.c: composes text. The engine has evaluated the template before start; what is alone between braces
 * comes with its own type, so anything but a string is written out here. */
#include "base/limits.h"
#include "engine/node.h"

static enum sl_step template_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct json_object *text = sl_json_get(params, "text"), *output = json_object_new_object();
	if (!output) {
		sl_fail(err, SL_NO_MEMORY, "the composed text");
		return SL_FAILED;
	}
	if (!text || json_object_is_type(text, json_type_string)) {
		sl_json_set_str(output, "text", sl_json_str(text)); /* null is no text */
	} else {
		SL_BUF(json, SL_LIMIT_PAYLOAD_BYTES);
		sl_json_write(&json, text);
		if (json.failed) {
			json_object_put(output);
			sl_fail(err, SL_TOO_LARGE, "the text would exceed %u bytes", SL_LIMIT_PAYLOAD_BYTES);
			return SL_FAILED;
		}
		sl_json_set_str(output, "text", sl_buf_str(&json));
	}
	struct sl_str file = sl_json_get_str(params, "file");
	uint32_t version = 0;
	if (file.len) {
		if (sl_node_write_file(n, file, sl_json_get_str(output, "text"), &version, err) != SL_OK) {
			json_object_put(output);
			return SL_FAILED;
		}
		sl_json_set_str(output, "file", file);
		sl_json_set_i64(output, "version", version);
	}
	sl_node_complete(n, output);
	return SL_DONE;
}

static enum sl_code template_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *text = sl_json_get(params, "text");
	if (!text || !json_object_is_type(text, json_type_string))
		return sl_fail(err, SL_INVALID,
			       "`text` must be a string, with {{ expressions }} where values go; it is %s",
			       sl_json_type_name(text));
	return SL_OK;
}

const struct sl_node_type sl_node_type_template = {
	.name = "template",
	.summary = "Composes text from what came before.",
	/* no type: {{ nodes.x.json }} alone is an object by the time the schema is checked again */
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"text\"], \"properties\": {"
		"  \"text\": { \"title\": \"Text\", \"x-ui\": \"textarea\","
		"    \"description\": \"Text with {{ expressions }} in it.\" },"
		"  \"file\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 200, \"title\": \"File\","
		"    \"description\": \"The text is also a file of the run under this path, like notes/plan.md: a new "
		"version, when it differs.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = template_start,
	.check = template_check,
};
