/* nodes/tools/http_get.c: reads an address, as the node `http` does and under the same policy: what a model asks for is
 * no more to be trusted than what a stranger asks for. */
#include "engine/tool.h"
#include "llm/services.h"

static const char *http_get_unavailable(const struct sl_services *s)
{
	return s && s->egress ? NULL : "this server has no way out";
}

static enum sl_step http_get_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	SL_AUTO_JSON params = json_object_new_object();
	if (!params) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a request");
		return SL_FAILED;
	}
	sl_json_set_str(params, "url", sl_json_get_str(args, "url"));
	sl_json_set_str(params, "expect", SL_STR("100-599")); /* an error's page tells the model something, too */
	sl_json_set_i64(params, "follow", 5);
	return sl_node_as(n, "http", params, err);
}

static struct json_object *http_get_shape(struct json_object *output)
{
	struct json_object *out = json_object_new_object(), *json = sl_json_get(output, "json");
	if (out) {
		sl_json_set_i64(out, "status", sl_json_get_i64(output, "status", 0));
		if (json)
			sl_json_set(out, "json", json_object_get(json));
		else
			sl_json_set_str(out, "body", sl_json_get_str(output, "body"));
	}
	json_object_put(output);
	return out;
}

const struct sl_tool sl_tool_http_get = {
	.name = "http_get",
	.description =
		"Reads a public web address (https) with GET and returns { status, body } or, when the answer is "
		"JSON, { status, json }. Redirects are followed.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"url\"], \"properties\": {"
		"  \"url\": { \"type\": \"string\", \"minLength\": 8, \"maxLength\": 8000, \"description\": "
		"\"https://…\" } } }",
	.unavailable = http_get_unavailable,
	.start = http_get_start,
	.shape = http_get_shape,
};
