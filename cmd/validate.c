/* cmd/validate.c: `sluice validate`: all problems of workflow files. Needs no server: the parser is the server's own.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "engine/graph.h"

static const struct sl_setting options[] = {SL_CLI_OPTION_HELP, SL_CLI_OPTION_JSON};

static struct json_object *problem_json(const struct sl_problem *p)
{
	struct json_object *o = json_object_new_object();
	sl_json_set_str(o, "pointer", sl_str(p->pointer));
	sl_json_set_str(o, "message", sl_str(p->message));
	return o;
}

/* One file's verdict, as `POST /workflows/validate` gives it. */
static struct json_object *verdict(const char *path, const struct sl_problems *problems)
{
	struct json_object *o = json_object_new_object(), *errors = json_object_new_array(),
			   *warnings = json_object_new_array();
	for (size_t i = 0; i < problems->n; i++)
		json_object_array_add(problems->items[i].warning ? warnings : errors,
				      problem_json(&problems->items[i]));
	sl_json_set_str(o, "file", sl_str(path));
	sl_json_set_bool(o, "valid", problems->errors == 0);
	sl_json_set(o, "errors", errors);
	sl_json_set(o, "warnings", warnings);
	return o;
}

static int validate_main(struct sl_cli *cli)
{
	SL_AUTO(sl_registry) registry = NULL;
	SL_AUTO_JSON all = json_object_new_array();
	struct sl_error err = {0};
	int exit_code = SL_EXIT_DONE;

	if (sl_registry_new(sl_node_types, &registry, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	for (size_t i = 0; i < cli->n_args; i++) {
		const char *path = cli->args[i];
		SL_AUTO(sl_workflow) workflow = NULL;
		struct sl_problems problems = {0};
		SL_BUF(text, SL_LIMIT_BODY_BYTES);
		enum sl_code rc = sl_cli_read_file(path, &text, &err);
		if (rc == SL_OK)
			rc = sl_workflow_parse(registry, sl_buf_str(&text), &workflow, &problems);
		else if (rc == SL_TOO_LARGE || rc == SL_NOT_FOUND) { /* the other files are looked at all the same */
			struct sl_str why = sl_str(err.text), named, rest;
			if (sl_str_cut(why, ':', &named, &rest) && sl_str_is(named, path))
				why = sl_str_trim(rest); /* the file is named in any case */
			sl_problems_add(&problems, false, SL_STR(""), SL_STR_FMT, SL_STR_ARG(why));
			rc = SL_OK;
		}
		if (rc != SL_OK) {
			sl_problems_fini(&problems);
			return sl_cli_fail(cli, &err);
		}
		if (problems.errors)
			exit_code = SL_EXIT_FAILED;
		if (cli->json)
			json_object_array_add(all, verdict(path, &problems));
		else {
			for (size_t k = 0; k < problems.n; k++) {
				const struct sl_problem *p = &problems.items[k];
				printf("%s: %s%s%s%s\n", path, p->warning ? "warning: " : "", p->pointer,
				       *p->pointer ? "  " : "", p->message);
			}
			if (problems.dropped)
				printf("%s: and %zu more\n", path, problems.dropped);
			if (problems.errors)
				printf("%s: %zu error%s\n", path, problems.errors, problems.errors == 1 ? "" : "s");
			else
				printf("%s: valid\n", path);
		}
		sl_problems_fini(&problems);
	}
	if (cli->json)
		sl_cli_put_json(cli->n_args == 1 ? json_object_array_get_idx(all, 0) : all, false);
	return exit_code;
}

const struct sl_command sl_cmd_validate = {
	.name = "validate",
	.args = "FILE …",
	.summary = "Says everything that is wrong with a workflow file, each with its place and what to write instead.",
	.more = "Exit code: 0 when all files are valid (warnings are fine), 1 when one is not. - is standard input.",
	.options = options,
	.n_options = SL_COUNT_OF(options),
	.min_args = 1,
	.max_args = 1000,
	.run = validate_main,
};
