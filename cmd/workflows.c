/* cmd/workflows.c: `sluice workflows …`: what is stored on the server. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "cmd/client.h"

static const struct sl_setting options[] = {SL_CLI_CLIENT_OPTIONS};

/* An update when the name is there, else a creation: the server keeps the two apart, so that neither happens by
 * mistake. */
static enum sl_code put_one(struct sl_client *client, struct json_object *definition, struct json_object **made,
			    struct sl_error *err)
{
	const char *name = sl_json_get_z(definition, "name");
	SL_BUF(path, 1000);
	long status;
	if (!name)
		return sl_fail(err, SL_INVALID, "the definition has no \"name\"");
	sl_buf_adds(&path, "/api/v1/workflows/");
	sl_client_escape(&path, sl_str(name));
	enum sl_code rc = sl_client_call_status(client, "PUT", path.data, definition, NULL, made, &status, err);
	if (rc == SL_NOT_FOUND)
		rc = sl_client_call(client, "POST", "/api/v1/workflows", definition, NULL, made, err);
	return rc;
}

/* Whether the other files may fare better. */
static bool of_the_file(enum sl_code rc)
{
	return rc == SL_OK || rc == SL_INVALID || rc == SL_NOT_FOUND || rc == SL_TOO_LARGE || rc == SL_BAD_REQUEST ||
	       rc == SL_CONFLICT;
}

static struct json_object *refusal(const char *file, const struct sl_error *err)
{
	struct json_object *o = json_object_new_object(), *e = json_object_new_object();
	sl_json_set_str(e, "code", sl_str(sl_code_wire(err->code)));
	sl_json_set_str(e, "message", sl_str(err->text));
	sl_json_set_str(o, "file", sl_str(file));
	sl_json_set(o, "error", e);
	return o;
}

static int put_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON all = json_object_new_array();
	struct sl_error err = {0};
	enum sl_code rc = sl_client_new(cli, &client, &err);
	size_t refused = 0;
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	for (size_t i = 0; i < cli->n_args; i++) {
		SL_AUTO_JSON definition = NULL;
		SL_AUTO_JSON made = NULL;
		rc = sl_cli_read_json(cli->args[i], SL_LIMIT_BODY_BYTES, &definition, &err);
		if (rc == SL_OK && (rc = put_one(client, definition, &made, &err)) != SL_OK)
			rc = sl_wrap(&err, rc, "%s", cli->args[i]);
		refused += rc != SL_OK;
		if (cli->json) {
			json_object_array_add(all, rc == SL_OK ? SL_TAKE(made) : refusal(cli->args[i], &err));
		} else if (rc == SL_OK) {
			printf("%s is version %lld\n", sl_client_cell(definition, "name"),
			       (long long)sl_json_get_i64(made, "version", 0));
			fflush(stdout); /* before what may be said of the next one */
		} else {
			(void)sl_cli_fail(cli, &err); /* the exit code is for all of them */
		}
		if (!of_the_file(rc))
			break; /* the next ones would fare alike */
	}
	if (cli->json)
		sl_cli_put_json(all, false);
	return refused ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

static void row(struct json_object *w)
{
	printf("%-32s  %4lld  %-24s  %s\n", sl_client_cell(w, "name"), (long long)sl_json_get_i64(w, "version", 0),
	       sl_client_cell(w, "updated_at"), sl_client_cell(w, "description"));
}

static int list_main(struct sl_cli *cli)
{
	return sl_client_list(cli, "/api/v1/workflows?limit=200", &(struct sl_client_table){.row = row});
}

const struct sl_command sl_cmd_workflows[] = {
	{.name = "workflows list",
	 .args = "",
	 .summary = "Lists the workflows that are stored on the server.",
	 .options = options,
	 .n_options = SL_COUNT_OF(options),
	 .run = list_main},
	{.name = "workflows put",
	 .args = "FILE …",
	 .summary = "Stores workflows under their names; a changed one becomes a new version.",
	 .more = "Each file by itself: one that is refused does not keep the others from it. Exit code: 1 when any "
		 "was.",
	 .options = options,
	 .n_options = SL_COUNT_OF(options),
	 .min_args = 1,
	 .max_args = 1000,
	 .run = put_main},
	{0},
};
