/* cmd/runs.c: `sluice runs …`: looking at runs and steering them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "cmd/cli.h"
#include "cmd/client.h"
#include "cmd/follow.h"

enum { STATUS = SL_CLI_OWN, WORKFLOW, PROJECT, TAG, SINCE, LIMIT, LIST_OPTIONS };
static const struct sl_setting list_options[LIST_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[STATUS] = {.name = "status",
		    .arg = "STATUS",
		    .flag_only = true,
		    .help = "running, failed, …; several with commas"},
	[WORKFLOW] = {.name = "workflow", .arg = "NAME", .flag_only = true, .help = "of this workflow only"},
	[PROJECT] = {.name = "project", .arg = "NAME", .flag_only = true, .help = "of this project only"},
	[TAG] = {.name = "tag", .arg = "TAG", .flag_only = true, .help = "with this tag only"},
	[SINCE] = {.name = "since",
		   .arg = "TIME",
		   .flag_only = true,
		   .help = "created at or after (2026-01-31T12:00:00Z)"},
	[LIMIT] = {.name = "limit",
		   .type = SL_SETTING_U64,
		   .min = 1,
		   .max = 200,
		   .value = "20",
		   .flag_only = true,
		   .help = "at most this many"},
};
enum { JUSTIFICATION = SL_CLI_OWN, CONFIRM, UNLOCK_OPTIONS };
static const struct sl_setting unlock_options[UNLOCK_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[JUSTIFICATION] = {.name = "justification",
			   .arg = "TEXT",
			   .flag_only = true,
			   .help = "why it is safe to go on; kept in the audit trail"},
	[CONFIRM] = {.name = "confirm_all",
		     .type = SL_SETTING_BOOL,
		     .flag_only = true,
		     .help = "instead: the content is as expected, the cost is understood, the risk is accepted"},
};
enum { CONTENT = SL_CLI_OWN, REASON, REVIEW_OPTIONS };
static const struct sl_setting review_options[REVIEW_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[CONTENT] = {.name = "content",
		     .arg = "TEXT|@FILE",
		     .flag_only = true,
		     .help = "what replaces the draft, for modify; JSON, or else a text"},
	[REASON] = {.name = "reason", .arg = "TEXT", .flag_only = true, .help = "why"},
};
enum { FORK_FROM = SL_CLI_OWN, AT_SEQ, INPUTS, OUTPUTS, KEY, FORK_OPTIONS };
static const struct sl_setting fork_options[FORK_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	[FORK_FROM] = {.name = "from",
		       .arg = "NODE",
		       .flag_only = true,
		       .help = "this node again, and all that follows from it"},
	[AT_SEQ] = {.name = "at_seq",
		    .type = SL_SETTING_U64,
		    .min = 1,
		    .max = INT32_MAX,
		    .arg = "N",
		    .flag_only = true,
		    .help = "as if nothing had happened after that event"},
	[INPUTS] = {.name = "inputs",
		    .arg = "JSON|@FILE",
		    .flag_only = true,
		    .help = "members that take the place of the run's inputs"},
	[OUTPUTS] = {.name = "outputs",
		     .arg = "JSON|@FILE",
		     .flag_only = true,
		     .help = "{\"NODE\": output}: what these nodes give instead of being run"},
	[KEY] = {.name = "key",
		 .arg = "KEY",
		 .flag_only = true,
		 .help = "an Idempotency-Key: repeats make no second run"},
};
/* Of the orders that are for one run, for several, or for all of a filter: rows right behind SL_CLI_CLIENT_OPTIONS. */
enum { ALL_STATUS = SL_CLI_OWN, ALL_WORKFLOW, ALL_PROJECT, ALL_TAG, ALL_SINCE, ALL_DRY_RUN, ALL_OPTIONS };
#define FILTER_OR_ID                                                                                                   \
	[ALL_STATUS] = {.name = "status",                                                                              \
			.arg = "STATUS",                                                                               \
			.flag_only = true,                                                                             \
			.help = "instead of ID: all of this status; several with commas"},                             \
	[ALL_WORKFLOW] = {.name = "workflow", .arg = "NAME", .flag_only = true, .help = "likewise: of this workflow"}, \
	[ALL_PROJECT] = {.name = "project", .arg = "NAME", .flag_only = true, .help = "likewise: of this project"},    \
	[ALL_TAG] = {.name = "tag", .arg = "TAG", .flag_only = true, .help = "likewise: with this tag"},               \
	[ALL_SINCE] = {.name = "since",                                                                                \
		       .arg = "TIME",                                                                                  \
		       .flag_only = true,                                                                              \
		       .help = "likewise: created at or after (2026-01-31T12:00:00Z)"},                                \
	[ALL_DRY_RUN] = {                                                                                              \
		.name = "dry_run", .type = SL_SETTING_BOOL, .flag_only = true, .help = "only say how many there are"}
static const struct sl_setting all_options[ALL_OPTIONS] = {SL_CLI_CLIENT_OPTIONS, FILTER_OR_ID};
enum { MODE = ALL_OPTIONS, PAUSE_OPTIONS };
static const struct sl_setting pause_options[PAUSE_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	FILTER_OR_ID,
	[MODE] = {.name = "mode",
		  .type = SL_SETTING_CHOICE,
		  .arg = "drain|now",
		  .value = "drain",
		  .flag_only = true,
		  .help = "let running model calls finish, or (with one ID) cut them and repeat them later"},
};
enum { RETRY_FROM = ALL_OPTIONS, RETRY_OPTIONS };
static const struct sl_setting retry_options[RETRY_OPTIONS] = {
	SL_CLI_CLIENT_OPTIONS,
	FILTER_OR_ID,
	[RETRY_FROM] = {.name = "from",
			.arg = "NODE",
			.flag_only = true,
			.help = "with one ID: this node again, too, and all that follows from it"},
};
static const struct sl_setting plain_options[] = {SL_CLI_CLIENT_OPTIONS};

static void query(struct sl_buf *path, const char *key, const char *value)
{
	if (!value)
		return;
	sl_buf_addf(path, "%c%s=", strchr(path->data, '?') ? '&' : '?', key);
	sl_client_escape(path, sl_str(value));
}

static void row(struct json_object *r)
{
	const char *of = sl_json_get_z(sl_json_get(r, "forked_from"), "run");
	char nodes[40];
	snprintf(nodes, sizeof(nodes), "%lld/%lld", (long long)sl_json_get_i64(r, "nodes_done", 0),
		 (long long)sl_json_get_i64(r, "nodes_total", 0));
	printf("%-36s  %-10s  %-24s  %-9s  %9.4f  %s%s%s%s\n", sl_client_cell(r, "id"), sl_client_cell(r, "status"),
	       sl_client_cell(r, "created_at"), nodes, sl_json_get_f64(r, "cost_usd", 0), sl_client_cell(r, "workflow"),
	       of ? " (fork of " : "", of ? of : "", of ? ")" : "");
}

static int list_main(struct sl_cli *cli)
{
	SL_BUF(path, 4096);
	static const struct {
		int option;
		const char *key;
	} filters[] = {{STATUS, "status"}, {WORKFLOW, "workflow"}, {PROJECT, "project"},
		       {TAG, "tag"},       {SINCE, "since"},       {LIMIT, "limit"}};

	sl_buf_adds(&path, "/api/v1/runs");
	for (size_t i = 0; i < SL_COUNT_OF(filters); i++)
		query(&path, filters[i].key, sl_config_z(cli->config, (size_t)filters[i].option));
	return sl_client_list(
		cli, path.data,
		&(struct sl_client_table){.row = row,
					  .head = "ID                                    STATUS      CREATED           "
						  "        NODES       COST USD  WORKFLOW",
					  .none = "no runs",
					  .more = "(there are more; --limit shows up to 200)"});
}

static enum sl_code run_path(const struct sl_cli *cli, const char *tail, struct sl_buf *path, struct sl_error *err)
{
	struct sl_uuid id;
	if (!sl_uuid_parse(sl_str(cli->args[0]), &id))
		return sl_fail(err, SL_BAD_REQUEST, "\"%s\" is no id of a run", cli->args[0]);
	sl_buf_addf(path, "/api/v1/runs/%s%s", cli->args[0], tail);
	return SL_OK;
}

static void show_text(struct json_object *run)
{
	struct json_object *nodes = sl_json_get(run, "nodes"), *usage = sl_json_get(run, "usage"),
			   *total = sl_json_get(run, "total_usage"), *error = sl_json_get(run, "error"),
			   *of = sl_json_get(run, "forked_from");
	printf("run       %s\nworkflow  %s\nstatus    %s%s%s\n", sl_client_cell(run, "id"),
	       sl_client_cell(run, "workflow"), sl_client_cell(run, "status"), sl_json_get_z(run, "reason") ? ": " : "",
	       sl_json_get_z(run, "reason") ? sl_json_get_z(run, "reason") : "");
	if (sl_json_get(run, "parent"))
		printf("parent    %s, node %s\n", sl_client_cell(run, "parent"), sl_client_cell(run, "parent_node"));
	if (of) {
		const char *from = sl_json_get_z(of, "from");
		printf("fork of   %s, up to event %lld%s%s\n", sl_client_cell(of, "run"),
		       (long long)sl_json_get_i64(of, "at_seq", 0), from ? ", again from " : "", from ? from : "");
	}
	if (error) {
		const char *node = sl_json_get_z(error, "node");
		printf("error     %s%s%s: %s\n", sl_client_cell(error, "code"), node ? " in " : "", node ? node : "",
		       sl_client_cell(error, "message"));
	}
	printf("created   %s\nstarted   %s\nfinished  %s\n", sl_client_cell(run, "created_at"),
	       sl_client_cell(run, "started_at"), sl_client_cell(run, "finished_at"));
	printf("usage     %lld tokens in, %lld out, $%.4f%s\n", (long long)sl_json_get_i64(usage, "input_tokens", 0),
	       (long long)sl_json_get_i64(usage, "output_tokens", 0), sl_json_get_f64(run, "cost_usd", 0),
	       sl_json_get_bool(run, "simulated", false) ? " (the simulator answered)" : "");
	if (total)
		printf("in all    %lld tokens in, %lld out, $%.4f, with the runs it has started\n",
		       (long long)sl_json_get_i64(total, "input_tokens", 0),
		       (long long)sl_json_get_i64(total, "output_tokens", 0),
		       sl_json_get_f64(run, "total_cost_usd", 0));
	for (size_t i = 0; nodes && i < json_object_array_length(nodes); i++) {
		struct json_object *n = json_object_array_get_idx(nodes, i), *failure = sl_json_get(n, "error");
		const char *why = failure ? sl_json_get_z(failure, "message") : sl_json_get_z(n, "reason");
		printf("  %-28s %-12s %-10s%s%s\n", sl_client_cell(n, "path"), sl_client_cell(n, "type"),
		       sl_client_cell(n, "status"), why ? " " : "", why ? why : "");
	}
	struct json_object *outputs = sl_json_get(run, "outputs");
	if (outputs) {
		printf("outputs\n");
		sl_cli_put_json(outputs, true);
	}
}

static void show_ledger(struct json_object *ledger)
{
	struct json_object *items = sl_json_get(ledger, "items");
	size_t n = items ? json_object_array_length(items) : 0;
	if (n)
		printf("called off\n");
	for (size_t i = 0; i < n; i++) {
		struct json_object *c = json_object_array_get_idx(items, i);
		char closed[64] = "had no connection yet";
		if (sl_json_get(c, "close_us"))
			snprintf(closed, sizeof(closed), "%s after %.1f ms",
				 sl_str_is(sl_json_get_str(c, "closed"), "stream") ? "stream reset" : "socket closed",
				 (double)sl_json_get_i64(c, "close_us", 0) / 1000);
		printf("  %-28s %-12s %s; %lld bytes, %s%lld tokens in, %lld out, $%.4f\n",
		       sl_client_cell(c, "node_id"), sl_client_cell(c, "reason"), closed,
		       (long long)sl_json_get_i64(c, "bytes", 0), sl_json_get_bool(c, "estimated", false) ? "~" : "",
		       (long long)sl_json_get_i64(c, "input_tokens", 0),
		       (long long)sl_json_get_i64(c, "output_tokens", 0), sl_json_get_f64(c, "estimated_cost_usd", 0));
	}
}

static int show_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON run = NULL;
	SL_AUTO_JSON ledger = NULL;
	struct sl_error err = {0};
	SL_BUF(path, 200);
	enum sl_code rc = run_path(cli, "", &path, &err);
	if (rc == SL_OK)
		rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, "GET", path.data, NULL, NULL, &run, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json) {
		sl_cli_put_json(run, false);
		return SL_EXIT_DONE;
	}
	show_text(run);
	sl_buf_adds(&path, "/ledger");
	if (sl_client_call(client, "GET", path.data, NULL, NULL, &ledger, &err) == SL_OK)
		show_ledger(ledger); /* an older server has none */
	return SL_EXIT_DONE;
}

static int watch_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	struct sl_error err = {0};
	SL_BUF(path, 200);
	enum sl_code rc = run_path(cli, "", &path, &err);
	if (rc == SL_OK)
		rc = sl_client_new(cli, &client, &err);
	return rc == SL_OK ? sl_follow(cli, client, cli->args[0]) : sl_cli_fail(cli, &err);
}

static int call_run(const struct sl_cli *cli, const char *method, const char *tail, struct json_object *body,
		    sl_client_show_fn *show)
{
	struct sl_error err = {0};
	SL_BUF(path, 400);
	if (run_path(cli, tail, &path, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	return sl_client_command(cli, method, path.data, body, show);
}

static void show_status(const struct sl_cli *cli, struct json_object *run)
{
	printf("%s is %s\n", cli->args[0], sl_client_cell(run, "status"));
}

static int command(struct sl_cli *cli, const char *verb, struct json_object *body)
{
	return call_run(cli, "POST", verb, body, show_status);
}

/* Who refused it goes to stderr, as the refusal of an order for one run does. */
static void put_refusals(const struct sl_cli *cli, struct json_object *got)
{
	struct json_object *refusals = sl_json_get(got, "refusals");
	size_t n = refusals ? json_object_array_length(refusals) : 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *r = json_object_array_get_idx(refusals, i);
		fprintf(stderr, "sluice %s: %s: %s\n", cli->command->name, sl_client_cell(r, "id"),
			sl_client_cell(r, "message"));
	}
	if (sl_json_get_bool(got, "refusals_cut", false))
		fprintf(stderr, "sluice %s: the other refusals are not told\n", cli->command->name);
}

static int order_many(struct sl_cli *cli, struct json_object *body)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON got = NULL;
	struct sl_error err = {0};
	enum sl_code rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, "POST", "/api/v1/runs/bulk", body, NULL, &got, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json) {
		sl_cli_put_json(got, false);
	} else {
		printf("%lld runs, %lld done, %lld refused%s\n", (long long)sl_json_get_i64(got, "matched", 0),
		       (long long)sl_json_get_i64(got, "done", 0), (long long)sl_json_get_i64(got, "refused", 0),
		       sl_json_get_bool(got, "more", false) ? "; there are more, say it again" : "");
		fflush(stdout);
		put_refusals(cli, got);
	}
	return sl_json_get_i64(got, "refused", 0) ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

/* Which runs the options mean. */
static struct json_object *filter_of(const struct sl_cli *cli)
{
	static const struct {
		int option;
		const char *key;
	} keys[] = {{ALL_STATUS, "status"},
		    {ALL_WORKFLOW, "workflow"},
		    {ALL_PROJECT, "project"},
		    {ALL_TAG, "tag"},
		    {ALL_SINCE, "since"}};
	struct json_object *filter = json_object_new_object();
	for (size_t i = 0; i < SL_COUNT_OF(keys); i++) {
		const char *v = sl_config_z(cli->config, (size_t)keys[i].option);
		if (v)
			sl_json_set_str(filter, keys[i].key, sl_str(v));
	}
	return filter;
}

/* An order for one run, which says how that stands then, for several, or for all of a filter. body: of the one. */
static int steer(struct sl_cli *cli, const char *action, struct json_object *body)
{
	SL_AUTO_JSON filter = filter_of(cli);
	SL_AUTO_JSON order = json_object_new_object();
	SL_BUF(verb, 32);
	bool any = json_object_object_length(filter) > 0, dry_run = sl_config_bool(cli->config, ALL_DRY_RUN);
	if (!cli->n_args && !any)
		return sl_cli_usage(cli, "an ID, or which runs: --status, --workflow, --project, --tag or --since");
	if (cli->n_args && (any || dry_run))
		return sl_cli_usage(cli, "an ID, or a filter with or without --dry-run; not both");
	if (cli->n_args == 1) {
		sl_buf_addf(&verb, "/%s", action);
		return command(cli, verb.data, body);
	}
	sl_json_set_str(order, "action", sl_str(action));
	if (cli->n_args) {
		struct json_object *ids = json_object_new_array();
		sl_json_set(order, "ids", ids);
		for (size_t i = 0; i < cli->n_args; i++) {
			struct sl_uuid id;
			if (!sl_uuid_parse(sl_str(cli->args[i]), &id))
				return sl_cli_usage(cli, "\"%s\" is no id of a run", cli->args[i]);
			json_object_array_add(ids, json_object_new_string(cli->args[i]));
		}
	} else {
		sl_json_set(order, "filter", json_object_get(filter));
		sl_json_set_i64(order, "limit", 1000);
		sl_json_set_bool(order, "dry_run", dry_run);
	}
	return order_many(cli, order);
}

static int resume_main(struct sl_cli *cli)
{
	return steer(cli, "resume", NULL);
}
static int cancel_main(struct sl_cli *cli)
{
	return steer(cli, "cancel", NULL);
}
static int pause_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	const char *mode = sl_config_z(cli->config, MODE);
	if (cli->n_args != 1 && strcmp(mode, "drain") != 0)
		return sl_cli_usage(cli, "an ID with --mode %s, and one only: the order for many lets calls finish",
				    mode);
	sl_json_set_str(body, "mode", sl_str(mode));
	return steer(cli, "pause", body);
}
static int retry_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	const char *from = sl_config_z(cli->config, RETRY_FROM);
	if (cli->n_args != 1 && from)
		return sl_cli_usage(cli, "an ID with --from, and one only: a node is one of a run");
	if (from)
		sl_json_set_str(body, "from", sl_str(from));
	return steer(cli, "retry", body);
}

static int unlock_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	const char *why = sl_config_z(cli->config, JUSTIFICATION);
	if (why)
		sl_json_set_str(body, "justification", sl_str(why));
	if (sl_config_bool(cli->config, CONFIRM)) {
		struct json_object *all = json_object_new_array();
		for (int i = 0; i < 3; i++)
			json_object_array_add(all, json_object_new_boolean(true));
		sl_json_set(body, "confirmations", all);
	}
	if (!why && !sl_json_get(body, "confirmations"))
		return sl_cli_usage(cli, "say why with --justification, or --confirm-all");
	return command(cli, "/unlock", body);
}

/* JSON when it is, else the text itself. */
static struct json_object *value_of(struct sl_str text)
{
	struct json_object *v = NULL;
	if (sl_json_parse(text, &v, NULL) == SL_OK && v)
		return v;
	return json_object_new_string_len(text.p, (int)text.len);
}

static int review_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	const char *content = sl_config_z(cli->config, CONTENT), *reason = sl_config_z(cli->config, REASON);
	SL_BUF(text, SL_LIMIT_BODY_BYTES);
	struct sl_error err = {0};
	sl_json_set_str(body, "node", sl_str(cli->args[1]));
	sl_json_set_str(body, "action", sl_str(cli->args[2]));
	if (reason)
		sl_json_set_str(body, "reason", sl_str(reason));
	if (content && content[0] == '@') {
		if (sl_cli_read_file(content + 1, &text, &err) != SL_OK)
			return sl_cli_fail(cli, &err);
		sl_json_set(body, "content", value_of(sl_buf_str(&text)));
	} else if (content) {
		sl_json_set(body, "content", value_of(sl_str(content)));
	}
	return command(cli, "/review", body);
}

/* An object that an option gives, or the file it names. */
static enum sl_code object_option(const struct sl_cli *cli, size_t option, const char *key, struct json_object *body,
				  struct sl_error *err)
{
	const char *text = sl_config_z(cli->config, option);
	SL_BUF(file, SL_LIMIT_BODY_BYTES);
	SL_AUTO_JSON o = NULL;
	if (!text)
		return SL_OK;
	enum sl_code rc = text[0] == '@' ? sl_cli_read_file(text + 1, &file, err) : SL_OK;
	if (rc != SL_OK)
		return rc;
	rc = sl_json_parse(text[0] == '@' ? sl_buf_str(&file) : sl_str(text), &o, err);
	if (rc != SL_OK)
		return sl_wrap(err, SL_BAD_REQUEST, "--%s", key);
	sl_json_set(body, key, json_object_get(o));
	return SL_OK;
}

static int fork_main(struct sl_cli *cli)
{
	SL_AUTO(sl_client) client = NULL;
	SL_AUTO_JSON body = json_object_new_object();
	SL_AUTO_JSON made = NULL;
	struct sl_error err = {0};
	SL_BUF(path, 200);
	const char *from = sl_config_z(cli->config, FORK_FROM);
	if (from)
		sl_json_set_str(body, "from", sl_str(from));
	if (sl_config_z(cli->config, AT_SEQ))
		sl_json_set_i64(body, "at_seq", (int64_t)sl_config_u64(cli->config, AT_SEQ));
	enum sl_code rc = object_option(cli, INPUTS, "inputs", body, &err);
	if (rc == SL_OK)
		rc = object_option(cli, OUTPUTS, "outputs", body, &err);
	if (rc == SL_OK)
		rc = run_path(cli, "/fork", &path, &err);
	if (rc == SL_OK)
		rc = sl_client_new(cli, &client, &err);
	if (rc == SL_OK)
		rc = sl_client_call(client, "POST", path.data, body, sl_config_z(cli->config, KEY), &made, &err);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json)
		sl_cli_put_json(made, false);
	else
		printf("%s\n", sl_client_cell(made, "id"));
	return SL_EXIT_DONE;
}

/* One line of JSON, short enough for a terminal and without control characters. */
static void put_short(const char *mark, struct json_object *v)
{
	SL_BUF(text, SL_LIMIT_BODY_BYTES);
	sl_json_write(&text, v);
	size_t n = sl_utf8_cut(text.data, text.len, 100);
	printf("      %s %.*s%s\n", mark, (int)n, text.data, n < text.len ? " …" : "");
}

static void diff_places(const char *what, struct json_object *places)
{
	size_t n = places ? json_object_array_length(places) : 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *p = json_object_array_get_idx(places, i), *v;
		if (sl_json_get(p, "left_out")) {
			printf("    … and %lld more places\n", (long long)sl_json_get_i64(p, "left_out", 0));
			continue;
		}
		printf("    %s%s\n", what, sl_client_cell(p, "pointer"));
		if (json_object_object_get_ex(p, "a", &v))
			put_short("-", v);
		if (json_object_object_get_ex(p, "b", &v))
			put_short("+", v);
	}
}

static struct json_object *of_pair(struct json_object *o, const char *key, size_t i)
{
	struct json_object *pair = sl_json_get(o, key);
	return json_object_is_type(pair, json_type_array) ? json_object_array_get_idx(pair, i) : NULL;
}

static void diff_line(const char *what, struct json_object *o)
{
	const char *status[2];
	for (size_t i = 0; i < 2; i++) {
		status[i] = json_object_get_string(of_pair(o, "status", i));
		status[i] = status[i] ? status[i] : "-";
	}
	printf("%-40s %-12s %-12s %+10lld %+10.4f\n", what, status[0], status[1],
	       (long long)(json_object_get_int64(of_pair(o, "tokens", 1)) -
			   json_object_get_int64(of_pair(o, "tokens", 0))),
	       json_object_get_double(of_pair(o, "cost_usd", 1)) - json_object_get_double(of_pair(o, "cost_usd", 0)));
}

static void diff_text(const struct sl_cli *cli, struct json_object *d)
{
	struct json_object *nodes = sl_json_get(d, "nodes");
	size_t n = nodes ? json_object_array_length(nodes) : 0, same = 0;
	printf("%-40s %-12s %-12s %10s %10s\n", "", "THIS", "THE OTHER", "TOKENS", "COST USD");
	diff_line("the run", d);
	diff_places("inputs", sl_json_get(d, "inputs"));
	diff_places("outputs", sl_json_get(d, "outputs"));
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(nodes, i);
		if (sl_str_is(sl_json_get_str(o, "change"), "same")) {
			same++;
			continue;
		}
		diff_line(sl_client_cell(o, "path"), o);
		diff_places("", sl_json_get(o, "output"));
		diff_places("error", sl_json_get(o, "error"));
	}
	printf("%zu of %zu nodes are the same\n", same, n);
}

static int diff_main(struct sl_cli *cli)
{
	SL_BUF(tail, 200);
	struct sl_uuid other;
	if (!sl_uuid_parse(sl_str(cli->args[1]), &other))
		return sl_cli_usage(cli, "\"%s\" is no id of a run", cli->args[1]);
	sl_buf_adds(&tail, "/diff?with=");
	sl_client_escape(&tail, sl_str(cli->args[1]));
	return call_run(cli, "GET", tail.data, NULL, diff_text);
}

static int signal_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	sl_json_set_str(body, "signal", sl_str(cli->args[1]));
	if (cli->n_args > 2) {
		struct json_object *payload = value_of(sl_str(cli->args[2]));
		if (strchr("{[", cli->args[2][0]) && *cli->args[2] && json_object_is_type(payload, json_type_string))
			fputs("note: the payload is no JSON, so it is sent as a text\n", stderr);
		sl_json_set(body, "payload", payload);
	}
	return command(cli, "/signal", body);
}

static int input_main(struct sl_cli *cli)
{
	SL_AUTO_JSON body = json_object_new_object();
	sl_json_set_str(body, "text", sl_str(cli->args[1]));
	return command(cli, "/input", body);
}

static void review_row(struct json_object *r)
{
	printf("%-36s  %-24s  %-24s  %s\n", sl_client_cell(r, "run_id"), sl_client_cell(r, "requested_at"),
	       sl_client_cell(r, "workflow"), sl_client_cell(r, "node"));
}

static int reviews_main(struct sl_cli *cli)
{
	return sl_client_list(cli, "/api/v1/reviews?limit=200",
			      &(struct sl_client_table){.row = review_row, .none = "nothing waits for a person"});
}

#define ONE_RUN    .args = "ID", .min_args = 1, .max_args = 1
#define MOST_IDS   200 /* of an order for many; the server takes no more */
#define RUN_OR_ALL .args = "[ID…]", .min_args = 0, .max_args = MOST_IDS
#define PLAIN      .options = plain_options, .n_options = SL_COUNT_OF(plain_options)
const struct sl_command sl_cmd_runs[] = {
	{.name = "runs list",
	 .args = "",
	 .summary = "Lists runs, newest first.",
	 .options = list_options,
	 .n_options = LIST_OPTIONS,
	 .run = list_main},
	{.name = "runs show", ONE_RUN, .summary = "Shows one run with its nodes.", PLAIN, .run = show_main},
	{.name = "runs watch",
	 ONE_RUN,
	 .summary = "Streams a run to the terminal until it ends, as `sluice run` does.",
	 PLAIN,
	 .run = watch_main},
	{.name = "runs pause",
	 RUN_OR_ALL,
	 .summary = "Pauses a run, several, or all of a filter.",
	 .options = pause_options,
	 .n_options = PAUSE_OPTIONS,
	 .run = pause_main},
	{.name = "runs resume",
	 RUN_OR_ALL,
	 .summary = "Lets a paused run go on, several, or all of a filter.",
	 .options = all_options,
	 .n_options = ALL_OPTIONS,
	 .run = resume_main},
	{.name = "runs cancel",
	 RUN_OR_ALL,
	 .summary = "Cancels a run, several, or all of a filter; their model calls are cut at once.",
	 .options = all_options,
	 .n_options = ALL_OPTIONS,
	 .run = cancel_main},
	{.name = "runs retry",
	 RUN_OR_ALL,
	 .summary = "Does again what failed or was cancelled in a run, in several, or in all of a filter; what was "
		    "done is kept.",
	 .options = retry_options,
	 .n_options = RETRY_OPTIONS,
	 .run = retry_main},
	{.name = "runs fork",
	 ONE_RUN,
	 .summary = "Makes a new run of what a run has done so far, and prints its id.",
	 .options = fork_options,
	 .n_options = FORK_OPTIONS,
	 .run = fork_main},
	{.name = "runs diff",
	 .args = "ID OTHER",
	 .min_args = 2,
	 .max_args = 2,
	 .summary = "Shows what two runs differ in, node by node.",
	 PLAIN,
	 .run = diff_main},
	{.name = "runs unlock",
	 ONE_RUN,
	 .summary = "Lets a run go on that the run breaker has locked.",
	 .options = unlock_options,
	 .n_options = UNLOCK_OPTIONS,
	 .run = unlock_main},
	{.name = "runs reviews", .args = "", .summary = "Lists what waits for a person.", PLAIN, .run = reviews_main},
	{.name = "runs review",
	 .args = "ID NODE ACTION",
	 .min_args = 3,
	 .max_args = 3,
	 .summary = "Answers a node that waits for a person: approve, modify, reject or skip.",
	 .options = review_options,
	 .n_options = REVIEW_OPTIONS,
	 .run = review_main},
	{.name = "runs signal",
	 .args = "ID SIGNAL [PAYLOAD]",
	 .min_args = 2,
	 .max_args = 3,
	 .summary = "Sends a signal into a run; the payload is JSON, or else a text.",
	 PLAIN,
	 .run = signal_main},
	{.name = "runs input",
	 .args = "ID TEXT",
	 .min_args = 2,
	 .max_args = 2,
	 .summary = "Interjects: later model calls of the run see it.",
	 PLAIN,
	 .run = input_main},
	{0},
};
