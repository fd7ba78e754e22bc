/* cmd/estimate.c: `sluice estimate`: what a run of a workflow will take, before it is begun. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cmd/cli.h"
#include "cmd/client.h"
#include "cmd/inputs.h"

enum { VERSION = SL_INPUTS_OWN, OPTIONS };
static const struct sl_setting options[OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	SL_INPUTS_OPTIONS,
	[VERSION] = {.name = "version",
		     .type = SL_SETTING_U64,
		     .min = 1,
		     .max = 2147483647,
		     .flag_only = true,
		     .help = "of a named workflow; unset: the latest"},
};

static double member(struct json_object *estimate, const char *what, const char *key)
{
	return sl_json_get_f64(sl_json_get(estimate, what), key, 0);
}

static void show(struct json_object *e)
{
	struct json_object *nodes = sl_json_get(e, "nodes"), *warnings = sl_json_get(e, "warnings");
	printf("%-40s  %-20s  %6s  %9s  %10s\n", "node", "profile", "runs", "tokens", "cost");
	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		struct json_object *n = json_object_array_get_idx(nodes, i);
		const char *profile = sl_json_get_z(n, "profile");
		if (sl_json_get_i64(n, "tokens", 0) == 0 && !profile)
			continue; /* nothing to pay for */
		printf("%-40s  %-20s  %6.1f  %9lld  $%9.4f\n", sl_json_get_z(n, "path"), profile ? profile : "-",
		       member(n, "runs", "expected"), (long long)sl_json_get_i64(n, "tokens", 0),
		       sl_json_get_f64(n, "cost_usd", 0));
	}
	printf("\ntokens    %.0f (%.0f to %.0f)\n", member(e, "tokens", "expected"), member(e, "tokens", "min"),
	       member(e, "tokens", "max"));
	printf("cost      $%.4f ($%.4f to $%.4f)\n", member(e, "cost_usd", "expected"), member(e, "cost_usd", "min"),
	       member(e, "cost_usd", "max"));
	printf("duration  about %.0f s\n", sl_json_get_f64(e, "duration_s", 0));
	for (size_t i = 0; warnings && i < json_object_array_length(warnings); i++) {
		struct json_object *w = json_object_array_get_idx(warnings, i);
		printf("warning   %s: %s\n", sl_json_get_z(w, "code"), sl_json_get_z(w, "message"));
	}
}

static int estimate_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON request = json_object_new_object();
	SL_AUTO_JSON schema = NULL;
	SL_AUTO_JSON estimate = NULL;
	struct sl_error err = {0};
	size_t n_inputs = 0;
	SL_BUF(path, 1000);

	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_inputs_workflow(cli, client, request, &schema, &err);
	(void)sl_config_list(cli->config, SL_INPUTS_INPUT, &n_inputs);
	if (rc == SL_OK && (n_inputs || sl_config_z(cli->config, SL_INPUTS_ALL)))
		rc = sl_inputs_read(cli, request, schema, &err);
	if (rc == SL_OK) {
		/* a definition in the body goes before what is stored, so its name need not be */
		struct sl_str name = sl_json_get(request, "workflow")
					     ? sl_json_get_str(request, "workflow")
					     : sl_json_get_str(sl_json_get(request, "definition"), "name");
		sl_buf_adds(&path, "/api/v1/workflows/");
		sl_client_escape(&path, name.len ? name : SL_STR("unnamed"));
		sl_buf_adds(&path, "/estimate");
		json_object_object_del(request, "workflow");
		if (sl_config_z(cli->config, VERSION))
			sl_json_set_i64(request, "version", (int64_t)sl_config_u64(cli->config, VERSION));
		rc = sl_client_call(client, "POST", path.data, request, NULL, &estimate, &err);
		if (rc != SL_OK)
			return sl_inputs_refused(cli, client, request, schema, &err);
	}
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json)
		sl_cli_put_json(estimate, false);
	else
		show(estimate);
	return SL_EXIT_DONE;
}

const struct sl_command sl_cmd_estimate = {
	.name = "estimate",
	.args = "FILE|NAME",
	.summary = "Says what a run of a workflow will take: tokens, money, time.",
	.more = "With inputs the forecast is closer: they make prompts longer, and say how many items a map has.",
	.options = options,
	.n_options = OPTIONS,
	.min_args = 1,
	.max_args = 1,
	.run = estimate_main,
};
