/* cmd/agents.c: `sluice agents …`: the personas that are kept on a server. */
#include <stdio.h>

#include "base/json.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "cmd/client.h"

static const struct sl_setting options[] = {SL_CLI_CLIENT_OPTIONS};

static const char *or_dash(const char *z)
{
	return z && *z ? z : "-";
}

static void path_of(struct sl_buf *path, const char *name)
{
	sl_buf_adds(path, "/api/v1/agents/");
	sl_client_escape(path, sl_str(name));
}

/* One call whose answer is an agent, or nothing. */
static int one(struct sl_cli *cli, const char *method, struct json_object *body)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON agent = NULL;
	struct sl_error err = {0};
	SL_BUF(path, 1000);
	path_of(&path, cli->args[0]);
	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, method, path.data, body, NULL, &agent, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (!agent)
		printf(cli->json ? "{\"deleted\":\"%s\"}\n" : "%s is gone\n", cli->args[0]);
	else
		sl_cli_put_json(agent, !cli->json);
	return SL_EXIT_DONE;
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
	SL_BUF(text, SL_LIMIT_BODY_BYTES);
	enum sl_code rc = sl_cli_read_file(cli->args[1], &text, &err);
	if (rc == SL_OK)
		rc = sl_json_parse(sl_buf_str(&text), &body, &err);
	return rc == SL_OK ? one(cli, "PUT", body) : sl_cli_fail(cli, &err);
}

static int list_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON page = NULL;
	struct sl_error err = {0};
	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, "GET", "/api/v1/agents", NULL, NULL, &page, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json) {
		sl_cli_put_json(page, false);
		return SL_EXIT_DONE;
	}
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; items && i < json_object_array_length(items); i++) {
		struct json_object *a = json_object_array_get_idx(items, i);
		printf("%-24s  %-16s  %s\n", or_dash(sl_json_get_z(a, "name")), or_dash(sl_json_get_z(a, "profile")),
		       or_dash(sl_json_get_z(a, "description")));
	}
	return SL_EXIT_DONE;
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
