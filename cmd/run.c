/* cmd/run.c: `sluice run`: submits a workflow and follows it to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/id.h"
#include "cmd/cli.h"
#include "cmd/client.h"
#include "cmd/follow.h"
#include "cmd/inputs.h"

enum { PROJECT = SL_INPUTS_OWN, PRIORITY, TAG, VERSION, DETACH, OPTIONS };
static const struct sl_setting options[OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	SL_INPUTS_OPTIONS,
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
		rc = sl_inputs_workflow(cli, client, request, &schema, &err);
	if (rc == SL_OK)
		rc = sl_inputs_read(cli, request, schema, &err);
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
		return sl_inputs_refused(cli, client, request, schema, &err);
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
