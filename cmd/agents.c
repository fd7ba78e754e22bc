/* cmd/agents.c: `sluice agents …`: the personas that are kept on a server. */
#include <stdio.h>

#include "base/json.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "cmd/client.h"

static const struct sl_setting options[] = {SL_CLI_CLIENT_OPTIONS};

static void show_agent(const struct sl_cli *cli, struct json_object *agent)
{
	if (agent)
		sl_cli_put_json(agent, true);
	else
		printf(cli->json ? "{\"deleted\":\"%s\"}\n" : "%s is gone\n", cli->args[0]);
}

static int one(struct sl_cli *cli, const char *method, struct json_object *body)
{
	SL_BUF(path, 1000);
	sl_buf_adds(&path, "/api/v1/agents/");
	sl_client_escape(&path, sl_str(cli->args[0]));
	return sl_client_command(cli, method, path.data, body, show_agent);
}

static int show_main(struct sl_cli *cli)
{
	return one(cli, "GET", NULL);
}

static int delete_main(struct sl_cli *cli)
{
	return one(cli, "DELETE", NULL);
}

static int put_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = NULL;
	struct sl_error err = {0};
	enum sl_code rc = sl_cli_read_json(cli->args[1], SL_LIMIT_BODY_BYTES, &body, &err);
	return rc == SL_OK ? one(cli, "PUT", body) : sl_cli_fail(cli, &err);
}

static void row(struct json_object *a)
{
	printf("%-24s  %-16s  %s\n", sl_client_cell(a, "name"), sl_client_cell(a, "profile"),
	       sl_client_cell(a, "description"));
}

static int list_main(struct sl_cli *cli)
{
	return sl_client_list(cli, "/api/v1/agents", &(struct sl_client_table){.row = row});
}

#define OPTIONS .options = options, .n_options = SL_COUNT_OF(options)
const struct sl_command sl_cmd_agents[] = {
	{.name = "agents list",
	 .args = "",
	 .summary = "Lists the agents: personas for llm nodes.",
	 OPTIONS,
	 .run = list_main},
	{.name = "agents show",
	 .args = "NAME",
	 .summary = "Shows one agent.",
	 OPTIONS,
	 .min_args = 1,
	 .max_args = 1,
	 .run = show_main},
	{.name = "agents put",
	 .args = "NAME FILE",
	 .summary = "Creates or replaces an agent from a JSON file: profile, system, description, params.",
	 OPTIONS,
	 .min_args = 2,
	 .max_args = 2,
	 .run = put_main},
	{.name = "agents delete",
	 .args = "NAME",
	 .summary = "Removes an agent.",
	 OPTIONS,
	 .min_args = 1,
	 .max_args = 1,
	 .run = delete_main},
	{0},
};
