/* cmd/migrate.c: `sluice migrate`: brings the schema of a database up to this binary's, and shows what is applied. */
#include "store/migrate.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/cli.h"
#include "cmd/settings.h"
#include "store/embedded.h"

enum { DATABASE_URL = SL_CLI_JSON + 1, DATA, PG_BIN, STATE, OPTIONS };
static const struct sl_setting options[OPTIONS] = {
	SL_CLI_OPTION_HELP,
	SL_CLI_OPTION_JSON,
	[DATABASE_URL] = {.name = "database_url",
			  .env = "SLUICE_DATABASE_URL",
			  .arg = "URL",
			  .secret = true,
			  .help = "unset: the embedded cluster in the data folder"},
	[DATA] = {.name = "data", .env = "SLUICE_DATA", .value = "./data", .arg = "DIR", .help = "the data folder"},
	[PG_BIN] = {.name = "pg_bin",
		    .env = "SLUICE_PG_BIN",
		    .arg = "DIR",
		    .help = "PostgreSQL's programs; unset: looked for"},
	[STATE] = {.name = "state", .type = SL_SETTING_BOOL, .help = "only show what is applied; change nothing"},
};

static void print(const struct sl_cli *cli, const struct sl_migrations *m, uint32_t applied)
{
	SL_BUF(out, 1u << 20);
	if (cli->json) {
		sl_buf_addf(&out, "{\"applied\":%u,\"pending\":%u,\"migrations\":[", applied, m->pending);
		for (size_t i = 0; i < m->n; i++) {
			sl_buf_json_comma(&out);
			sl_buf_addc(&out, '{');
			sl_buf_json_ku64(&out, "version", m->items[i].version);
			sl_buf_json_kz(&out, "name", m->items[i].name);
			sl_buf_json_kz(&out, "status", sl_migration_status_name(m->items[i].status));
			sl_buf_json_ktime(&out, "applied_at", m->items[i].applied_ms);
			sl_buf_addc(&out, '}');
		}
		sl_buf_adds(&out, "]}\n");
	} else {
		for (size_t i = 0; i < m->n; i++) {
			char at[SL_TIME_TEXT_BYTES] = "";
			if (m->items[i].applied_ms)
				sl_time_format(m->items[i].applied_ms, at);
			sl_buf_addf(&out, "%04u  %-10s %-24s  %s\n", m->items[i].version,
				    sl_migration_status_name(m->items[i].status), at, m->items[i].name);
		}
		sl_buf_addf(&out, "%u applied now, %u pending\n", applied, m->pending);
	}
	sl_cli_put(&out);
}

static int migrate_main(struct sl_cli *cli)
{
	const char *url = sl_config_z(cli->config, DATABASE_URL);
	struct sl_cluster *cluster = NULL;
	struct sl_migrations m = {0};
	struct sl_error err = {0};
	uint32_t applied = 0;
	enum sl_code rc = SL_OK;

	sl_log_setup(SL_LOG_WARN, SL_LOG_TEXT, 2);
	if (!url) {
		const struct sl_cluster_config config = {.data_dir = sl_config_z(cli->config, DATA),
							 .bin_dir = sl_config_z(cli->config, PG_BIN)};
		rc = sl_cluster_start(&config, &cluster, &err);
		if (rc == SL_CONFLICT)
			rc = sl_wrap(&err, rc, "a server runs here, and has applied what was pending when it started");
		if (rc == SL_OK)
			url = sl_cluster_url(cluster);
	}
	if (rc == SL_OK && !sl_config_bool(cli->config, STATE))
		rc = sl_migrate_up(url, &applied, &err);
	if (rc == SL_OK)
		rc = sl_migrate_state(url, &m, &err);
	if (rc == SL_OK)
		print(cli, &m, applied);
	bool behind = false;
	for (size_t i = 0; i < m.n; i++)
		behind |= m.items[i].status != SL_MIGRATION_APPLIED;
	sl_migrations_fini(&m);
	sl_cluster_stop(cluster, 10000);
	if (rc != SL_OK)
		return sl_cli_fail(cli, &err);
	return behind ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

const struct sl_command sl_cmd_migrate = {
	.name = "migrate",
	.args = "",
	.summary =
		"Applies pending migrations and shows the state of each. `sluice serve` does the same when it starts.",
	.more = "Exit code: 0 when the database is what this binary needs, else 1.",
	.options = options,
	.n_options = OPTIONS,
	.run = migrate_main,
};
