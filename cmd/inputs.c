/* cmd/inputs.c: see inputs.h. */
#include "cmd/inputs.h"

#include <stdio.h>
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
	const char *declared = sl_json_get_z(sl_json_get(sl_json_get(schema, "properties"), name), "type");
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
		return declared ? sl_wrap(err, SL_BAD_REQUEST, "input %s is declared as %s, so it is written as JSON",
					  name, declared)
				: sl_wrap(err, SL_BAD_REQUEST, "input %s is written as JSON", name);
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
		enum sl_code rc = sl_cli_read_json(what, SL_LIMIT_BODY_BYTES, &doc, err);
		if (rc != SL_OK)
			return rc;
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

/* Most schemas allow more than they name, and what nobody reads is then a slip of the fingers. */
static void note_unknown(struct json_object *inputs, struct json_object *schema)
{
	struct json_object *properties = sl_json_get(schema, "properties"), *more;
	bool strict = json_object_object_get_ex(schema, "additionalProperties", &more);
	if (strict || !json_object_is_type(properties, json_type_object))
		return;
	json_object_object_foreach (inputs, key, v) {
		const char *near = NULL;
		unsigned least = 3;
		(void)v;
		if (json_object_object_get_ex(properties, key, NULL))
			continue;
		json_object_object_foreach (properties, name, w) {
			unsigned d = sl_str_distance(sl_str(key), sl_str(name));
			(void)w;
			if (d < least && d < strlen(key)) {
				least = d;
				near = name;
			}
		}
		fprintf(stderr, "note: the workflow declares no input \"%s\"%s%s%s\n", key,
			near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	}
}

enum sl_code sl_inputs_read(const struct sl_cli *cli, struct json_object *request, struct json_object *schema,
			    struct sl_error *err)
{
	const char *all = sl_config_z(cli->config, SL_INPUTS_ALL);
	struct json_object *inputs = NULL;
	size_t n;
	const char *const *each = sl_config_list(cli->config, SL_INPUTS_INPUT, &n);
	if (all) {
		enum sl_code rc = sl_cli_read_json(all, SL_LIMIT_PAYLOAD_BYTES, &inputs, err);
		if (rc == SL_OK && !json_object_is_type(inputs, json_type_object))
			rc = sl_fail(err, SL_BAD_REQUEST, "%s: must hold one object", all);
		if (rc != SL_OK) {
			json_object_put(inputs);
			return rc;
		}
	} else
		inputs = json_object_new_object();
	sl_json_set(request, "inputs", inputs);
	for (size_t i = 0; i < n; i++) {
		enum sl_code rc = one_input(inputs, schema, each[i], err);
		if (rc != SL_OK)
			return rc;
	}
	note_unknown(inputs, schema);
	return SL_OK;
}

/* The inputs of the workflow, "topic (required), rounds". */
static void put_declared(struct json_object *schema)
{
	struct json_object *properties = sl_json_get(schema, "properties"), *required = sl_json_get(schema, "required");
	size_t n = json_object_is_type(required, json_type_array) ? json_object_array_length(required) : 0;
	const char *comma = "";
	if (!json_object_is_type(properties, json_type_object) || !json_object_object_length(properties))
		return;
	fputs("inputs are given with --input KEY=VALUE; this workflow has ", stderr);
	json_object_object_foreach (properties, key, v) {
		bool must = false;
		(void)v;
		for (size_t i = 0; i < n && !must; i++)
			must = sl_str_is(sl_json_str(json_object_array_get_idx(required, i)), key);
		fprintf(stderr, "%s%s%s", comma, key, must ? " (required)" : "");
		comma = ", ";
	}
	fputc('\n', stderr);
}

int sl_inputs_refused(const struct sl_cli *cli, const struct sl_client *client, struct json_object *request,
		      struct json_object *schema, const struct sl_error *err)
{
	static const struct sl_str definition = {"/definition", 11}, inputs = {"/inputs", 7};
	struct json_object *errors = sl_client_errors(client);
	size_t n = errors ? json_object_array_length(errors) : 0;
	bool of_inputs = false;
	if (cli->json || !n)
		return sl_cli_fail(cli, err);
	fprintf(stderr, "sluice %s: %.*s\n", cli->command->name, (int)strcspn(err->text, "\n"), err->text);
	for (size_t i = 0; i < n; i++) {
		struct json_object *e = json_object_array_get_idx(errors, i);
		struct sl_str at = sl_json_get_str(e, "pointer");
		bool of_file = sl_json_get(request, "definition") && sl_str_starts(at, definition);
		if (of_file)
			at = sl_str_n(at.p + definition.len, at.len - definition.len);
		fprintf(stderr, "  %s%s" SL_STR_FMT "%s%s\n", of_file ? cli->args[0] : "", of_file ? ": " : "",
			SL_STR_ARG(at), at.len ? "  " : "", sl_client_cell(e, "message"));
		of_inputs = of_inputs || sl_str_starts(at, inputs);
	}
	if (of_inputs)
		put_declared(schema);
	return err->code == SL_BAD_REQUEST ? SL_EXIT_USAGE : SL_EXIT_FAILED;
}
