/* cmd/run.c: `sluice run`: submits a workflow and follows it to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/id.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "cmd/client.h"
#include "cmd/follow.h"

enum { INPUT = SL_CLI_OWN, INPUTS, PROJECT, PRIORITY, TAG, VERSION, DETACH, OPTIONS };
static const struct sl_setting options[OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[INPUT] = {.name = "input",
		   .type = SL_SETTING_LIST,
		   .arg = "KEY=VALUE",
		   .flag_only = true,
		   .help = "one input; KEY=@FILE takes it from a file, KEY:=JSON is never taken as text"},
	[INPUTS] = {.name = "inputs",
		    .arg = "FILE",
		    .flag_only = true,
		    .help = "a JSON file with all inputs; - is standard input"},
	[PROJECT] = {.name = "project", .arg = "NAME", .flag_only = true, .help = "the project it belongs to"},
	[PRIORITY] = {.name = "priority",
		      .type = SL_SETTING_U64,
		      .min = 0,
		      .max = 100,
		      .flag_only = true,
		      .help = "higher goes first"},
	[TAG] = {.name = "tag",
		 .type = SL_SETTING_LIST,
		 .flag_only = true,
		 .help = "to find it again; may be repeated"},
	[VERSION] = {.name = "version",
		     .type = SL_SETTING_U64,
		     .min = 1,
		     .max = 2147483647,
		     .flag_only = true,
		     .help = "of a named workflow; unset: the latest"},
	[DETACH] = {.name = "detach",
		    .type = SL_SETTING_BOOL,
		    .flag_only = true,
		    .help = "submit, print the id, do not wait"},
};

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

/* The request, and the schema of its inputs. */
static enum sl_code workflow_of(const struct sl_cli *cli, struct sl_client *client, struct json_object *request,
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

static enum sl_code inputs_of(const struct sl_cli *cli, struct json_object *request, struct json_object *schema,
			      struct sl_error *err)
{
	const char *all = sl_config_z(cli->config, INPUTS);
	struct json_object *inputs = NULL;
	size_t n;
	const char *const *each = sl_config_list(cli->config, INPUT, &n);
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

/* Sends it until an answer comes: the key makes sure that it starts once, however often it is sent. */
static enum sl_code submit(struct sl_client *client, struct json_object *request, struct json_object **run,
			   struct sl_error *err)
{
	char key[SL_UUID_TEXT_BYTES];
	sl_uuid_format(sl_uuid_new(), key);
	for (unsigned tries = 0;; tries++) {
		long status;
		enum sl_code rc =
			sl_client_call_status(client, "POST", "/api/v1/runs", request, key, run, &status, err);
		bool again = rc != SL_OK && (status == 0 || status == 503) && tries < 4;
		if (!again)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = 300000000L}, NULL);
	}
}

static int run_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON request = json_object_new_object();
	SL_AUTO_JSON schema = NULL;
	SL_AUTO_JSON run = NULL;
	struct sl_error err = {0};
	size_t n_tags;
	const char *const *tags = sl_config_list(cli->config, TAG, &n_tags);

	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = workflow_of(cli, client, request, &schema, &err);
	if (rc == SL_OK)
		rc = inputs_of(cli, request, schema, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (sl_config_z(cli->config, PROJECT))
		sl_json_set_str(request, "project", sl_str(sl_config_z(cli->config, PROJECT)));
	if (sl_config_z(cli->config, PRIORITY))
		sl_json_set_i64(request, "priority", (int64_t)sl_config_u64(cli->config, PRIORITY));
	if (sl_config_z(cli->config, VERSION))
		sl_json_set_i64(request, "version", (int64_t)sl_config_u64(cli->config, VERSION));
	if (n_tags) {
		struct json_object *list = json_object_new_array();
		for (size_t i = 0; i < n_tags; i++)
			json_object_array_add(list, json_object_new_string(tags[i]));
		sl_json_set(request, "tags", list);
	}
	rc = submit(client, request, &run, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	const char *id = sl_json_get_z(run, "id");
	if (!id) {
		SL_IGNORE(sl_fail(&err, SL_UNAVAILABLE, "the server did not say the id of the run"));
		return sl_cli_fail(cli, &err);
	}
	if (sl_config_bool(cli->config, DETACH)) {
		if (cli->json)
			sl_cli_put_json(run, false);
		else
			printf("%s\n", id);
		return SL_EXIT_DONE;
	}
	return sl_follow(cli, client, id);
}

const struct sl_command sl_cmd_run = {
	.name = "run",
	.args = "FILE|NAME",
	.summary = "Submits a workflow, a file or one that is stored on the server, and streams it to the terminal.",
	.more = "Inputs that the workflow declares as anything but text are written as JSON. Ctrl-C leaves the run "
		"running.\n"
		"Exit code: 0 when the run succeeded, 1 when it failed or was cancelled, 2 for wrong usage, 130 after "
		"Ctrl-C.",
	.options = options,
	.n_options = OPTIONS,
	.min_args = 1,
	.max_args = 1,
	.run = run_main,
};
