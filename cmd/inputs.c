/* cmd/inputs.c: see inputs.h. */
#include "cmd/inputs.h"

#include <unistd.h>

#include "base/json.h"
#include "base/limits.h"
#include "cmd/client.h"

/* Is this input anything but text, as the workflow's schema has it? Then its value is written as JSON. */
static bool wants_json(struct json_object *schema, const char *key)
{
	struct json_object *type = sl_json_get(sl_json_get(sl_json_get(schema, "properties"), key), "type");
	if (!type)
		return false;
	if (json_object_is_type(type, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(type); i++)
			if (sl_str_is(sl_json_str(json_object_array_get_idx(type, i)), "string"))
				return false;
		return true;
	}
	return !sl_str_is(sl_json_str(type), "string");
}

static enum sl_code one_input(struct json_object *inputs, struct json_object *schema, const char *text,
			      struct sl_error *err)
{
	struct sl_str key, value;
	SL_BUF(file, SL_LIMIT_PAYLOAD_BYTES);
	if (!sl_str_cut(sl_str(text), '=', &key, &value) || key.len == 0)
		return sl_fail(err, SL_BAD_REQUEST, "--input needs KEY=VALUE, not \"%s\"", text);
	bool json = key.p[key.len - 1] == ':';
	if (json)
		key.len--;
	SL_AUTO_MEM char *name = sl_str_dup(key);
	if (!name)
		return sl_fail(err, SL_NO_MEMORY, "inputs");
	json = json || wants_json(schema, name);
	if (value.len && value.p[0] == '@') {
		enum sl_code rc = sl_cli_read_file(value.p + 1, &file, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "input %s", name);
		value = sl_buf_str(&file);
	}
	if (!json) {
		sl_json_set_str(inputs, name, value);
		return SL_OK;
	}
	struct json_object *v = NULL;
	enum sl_code rc = sl_json_parse(value, &v, err);
	if (rc != SL_OK)
		return sl_wrap(err, SL_BAD_REQUEST, "input %s is written as JSON", name);
	sl_json_set(inputs, name, v);
	return SL_OK;
}

enum sl_code sl_inputs_workflow(const struct sl_cli *cli, struct sl_client *client, struct json_object *request,
				struct json_object **schema, struct sl_error *err)
{
	const char *what = cli->args[0];
	size_t len = strlen(what);
	bool named_like_file =
		strchr(what, '/') || (len > 5 && strcmp(what + len - 5, ".json") == 0) || strcmp(what, "-") == 0;
	SL_AUTO_JSON doc = NULL;
	if (named_like_file || access(what, R_OK) == 0) {
		SL_BUF(text, SL_LIMIT_BODY_BYTES);
		enum sl_code rc = sl_cli_read_file(what, &text, err);
		if (rc == SL_OK)
			rc = sl_json_parse(sl_buf_str(&text), &doc, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "%s", what);
		*schema = sl_json_dup(sl_json_get(doc, "inputs"));
		sl_json_set(request, "definition", SL_TAKE(doc));
		return SL_OK;
	}
	SL_BUF(path, 1000);
	sl_buf_adds(&path, "/api/v1/workflows/");
	sl_client_escape(&path, sl_str(what));
	enum sl_code rc = sl_client_call(client, "GET", path.data, NULL, NULL, &doc, err);
	if (rc != SL_OK)
		return rc == SL_NOT_FOUND ? sl_fail(err, rc, "there is neither a file nor a workflow \"%s\"", what)
					  : rc;
	*schema = sl_json_dup(sl_json_get(sl_json_get(doc, "definition"), "inputs"));
	sl_json_set_str(request, "workflow", sl_str(what));
	return SL_OK;
}

enum sl_code sl_inputs_read(const struct sl_cli *cli, struct json_object *request, struct json_object *schema,
			    struct sl_error *err)
{
	const char *all = sl_config_z(cli->config, SL_INPUTS_ALL);
	struct json_object *inputs = NULL;
	size_t n;
	const char *const *each = sl_config_list(cli->config, SL_INPUTS_INPUT, &n);
	if (all) {
		SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
		enum sl_code rc = sl_cli_read_file(all, &text, err);
		if (rc == SL_OK)
			rc = sl_json_parse(sl_buf_str(&text), &inputs, err);
		if (rc == SL_OK && !json_object_is_type(inputs, json_type_object))
			rc = sl_fail(err, SL_BAD_REQUEST, "must hold one object");
		if (rc != SL_OK) {
			json_object_put(inputs);
			return sl_wrap(err, rc, "%s", all);
		}
	} else
		inputs = json_object_new_object();
	sl_json_set(request, "inputs", inputs);
	for (size_t i = 0; i < n; i++) {
		enum sl_code rc = one_input(inputs, schema, each[i], err);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}
