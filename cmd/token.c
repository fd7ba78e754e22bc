/* cmd/token.c: `sluice token …`: the API tokens of a server. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cmd/cli.h"
#include "cmd/client.h"

enum { ROLE = SL_CLI_OWN, NAME, EXPIRES, CREATE_OPTIONS };
static const struct sl_setting create_options[CREATE_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[ROLE] = {.name = "role",
		  .type = SL_SETTING_CHOICE,
		  .arg = "viewer|runner|editor|admin",
		  .flag_only = true,
		  .help = "what it may do; required"},
	[NAME] = {.name = "name", .arg = "NAME", .flag_only = true, .help = "whose it is; required"},
	[EXPIRES] = {.name = "expires_at",
		     .arg = "TIME",
		     .flag_only = true,
		     .help = "2026-12-31T00:00:00Z; unset: never"},
};
static const struct sl_setting plain_options[] = {SL_CLI_CLIENT_OPTIONS};

static void show_token(const struct sl_cli *cli, struct json_object *made)
{
	fprintf(stderr, "This is shown once; keep it:\n");
	printf("%s\n", sl_client_cell(made, "token"));
}

static int create_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	const char *role = sl_config_z(cli->config, ROLE), *name = sl_config_z(cli->config, NAME),
		   *expires = sl_config_z(cli->config, EXPIRES);
	if (!role)
		return sl_cli_usage(cli, "--role is missing");
	if (!name)
		return sl_cli_usage(cli, "--name is missing");
	sl_json_set_str(body, "role", sl_str(role));
	sl_json_set_str(body, "name", sl_str(name));
	if (expires)
		sl_json_set_str(body, "expires_at", sl_str(expires));
	return sl_client_command(cli, "POST", "/api/v1/admin/tokens", body, show_token);
}

#define LIST_PATH "/api/v1/admin/tokens?limit=200"

static void row(struct json_object *t)
{
	printf("%-36s  %-8s  …%-4s  %-24s  %-24s  %s\n", sl_client_cell(t, "id"), sl_client_cell(t, "role"),
	       sl_client_cell(t, "last4"), sl_client_cell(t, "created_at"),
	       sl_json_get_z(t, "revoked_at") ? "revoked" : sl_client_cell(t, "expires_at"), sl_client_cell(t, "name"));
}

static int list_main(struct sl_cli *cli)
{
	return sl_client_list(cli, LIST_PATH, &(struct sl_client_table){.row = row});
}

/* By id or by name: the list tells which id a name has. */
static int revoke_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON page = NULL;
	struct sl_error err = {0};
	const char *what = cli->args[0], *id = NULL;
	SL_BUF(path, 500);
	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, "GET", LIST_PATH, NULL, NULL, &page, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; items && !id && i < json_object_array_length(items); i++) {
		struct json_object *t = json_object_array_get_idx(items, i);
		if (sl_json_get(t, "revoked_at"))
			continue;
		if (sl_str_is(sl_json_get_str(t, "id"), what) || sl_str_is(sl_json_get_str(t, "name"), what))
			id = sl_json_get_z(t, "id");
	}
	if (!id) {
		SL_IGNORE(sl_fail(&err, SL_NOT_FOUND, "there is no token \"%s\" in use", what));
		return sl_cli_fail(cli, &err);
	}
	sl_buf_adds(&path, "/api/v1/admin/tokens/");
	sl_client_escape(&path, sl_str(id));
	if (sl_client_call(client, "DELETE", path.data, NULL, NULL, NULL, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json)
		printf("{\"revoked\":\"%s\"}\n", id);
	else
		printf("%s is revoked\n", what);
	return SL_EXIT_DONE;
}

const struct sl_command sl_cmd_token[] = {
	{.name = "token create",
	 .args = "",
	 .summary = "Makes an API token and prints it, once.",
	 .options = create_options,
	 .n_options = CREATE_OPTIONS,
	 .run = create_main},
	{.name = "token list",
	 .args = "",
	 .summary = "Lists API tokens, without their secrets.",
	 .options = plain_options,
	 .n_options = SL_COUNT_OF(plain_options),
	 .run = list_main},
	{.name = "token revoke",
	 .args = "ID|NAME",
	 .summary = "Revokes an API token; its connections are closed.",
	 .options = plain_options,
	 .n_options = SL_COUNT_OF(plain_options),
	 .min_args = 1,
	 .max_args = 1,
	 .run = revoke_main},
	{0},
};
