/* cmd/settings.c: see settings.h. Without a bound, a number here would be one nobody has tried. */
#include "cmd/settings.h"

#include <stdlib.h>
#include <unistd.h>

#include "cmd/cli.h"
#include "store/store.h"

_Static_assert((int)SL_SET_HELP == (int)SL_CLI_HELP && (int)SL_SET_JSON == (int)SL_CLI_JSON,
	       "every command begins with these");

#define NUMBER(key, variable, text, least, most, what)                                                                 \
	{                                                                                                              \
		.name = key, .env = variable, .value = text, .type = SL_SETTING_U64, .min = least, .max = most,        \
		.help = what                                                                                           \
	}

const struct sl_setting sl_settings[SL_SETTINGS] = {
	SL_CLI_OPTION_HELP,
	SL_CLI_OPTION_JSON,
	[SL_SET_CONFIG] = {.name = "config",
			   .env = "SLUICE_CONFIG",
			   .arg = "FILE",
			   .flag_only = true,
			   .help = "a JSON file with settings, comments allowed"},
	[SL_SET_PRINT_CONFIG] = {.name = "print_config",
				 .type = SL_SETTING_BOOL,
				 .flag_only = true,
				 .help = "print every setting with its origin, and end"},
	[SL_SET_LISTEN] = {.name = "listen",
			   .env = "SLUICE_LISTEN",
			   .value = "127.0.0.1:7070",
			   .arg = "HOST:PORT",
			   .help = "where to listen; port 0 picks one"},
	[SL_SET_DATA] = {.name = "data",
			 .env = "SLUICE_DATA",
			 .value = "./data",
			 .arg = "DIR",
			 .help = "embedded database, generated keys, admin token"},
	[SL_SET_DATABASE_URL] = {.name = "database_url",
				 .env = "SLUICE_DATABASE_URL",
				 .arg = "URL",
				 .secret = true,
				 .help = "your PostgreSQL, 14 or newer; unset: an embedded cluster in the data folder"},
	[SL_SET_PG_BIN] = {.name = "pg_bin",
			   .env = "SLUICE_PG_BIN",
			   .arg = "DIR",
			   .help = "PostgreSQL's programs for the embedded cluster; unset: looked for"},
	[SL_SET_ADMIN_TOKEN] = {.name = "admin_token",
				.env = "SLUICE_ADMIN_TOKEN",
				.arg = "TOKEN",
				.secret = true,
				.help = "unset: made at the first start and kept in the data folder"},
	[SL_SET_SECRET_KEY] = {.name = "secret_key",
			       .env = "SLUICE_SECRET_KEY",
			       .arg = "HEX",
			       .secret = true,
			       .help = "64 hex digits that seal provider keys; unset: made and kept likewise"},
	[SL_SET_TLS_CERT] = {.name = "tls_cert",
			     .env = "SLUICE_TLS_CERT",
			     .arg = "FILE",
			     .help = "certificate chain, PEM"},
	[SL_SET_TLS_KEY] = {.name = "tls_key", .env = "SLUICE_TLS_KEY", .arg = "FILE", .help = "its private key, PEM"},
	[SL_SET_INSECURE] = {.name = "insecure",
			     .env = "SLUICE_INSECURE",
			     .type = SL_SETTING_BOOL,
			     .value = "false",
			     .help = "listen off loopback without TLS (behind a proxy that has it)"},
	[SL_SET_RATE_REQUESTS] = NUMBER("rate_requests", "SLUICE_RATE_REQUESTS", "0", 0, 1000000,
					"requests a minute of one token; 0: no limit"),
	[SL_SET_RATE_RUNS] = NUMBER("rate_runs", "SLUICE_RATE_RUNS", "0", 0, 1000000,
				    "runs one token may start in a minute; 0: no limit"),
	[SL_SET_RATE_SOCKETS] = NUMBER("rate_sockets", "SLUICE_RATE_SOCKETS", "0", 0, 1000000,
				       "WebSockets one token may open in a minute; 0: no limit"),
	[SL_SET_REQUEST_TIMEOUT_S] = NUMBER("request_timeout_s", "SLUICE_REQUEST_TIMEOUT_S", "30", 1, 150,
					    "longest time of a request of the API; then 504"),
	[SL_SET_HOSTS] = {.name = "hosts",
			  .env = "SLUICE_HOSTS",
			  .arg = "NAMES",
			  .help = "further names this server is reached by, as behind a proxy: \"sluice.example.org\""},
	[SL_SET_ORIGINS] = {.name = "origins",
			    .env = "SLUICE_ORIGINS",
			    .arg = "URLS",
			    .help = "further origins whose pages may use it: \"https://sluice.example.org\""},
	[SL_SET_WORKERS] = NUMBER("workers", "SLUICE_WORKERS", "0", 0, 256, "worker threads; 0: two for each core"),
	[SL_SET_MAX_RUNNING] = NUMBER("max_running", "SLUICE_MAX_RUNNING", "0", 0, 1000000,
				      "runs at work at once, where the limits say nothing; 0: no limit"),
	[SL_SET_MAX_QUEUED] = NUMBER("max_queued", "SLUICE_MAX_QUEUED", "0", 0, 1000000,
				     "runs that may wait for that, likewise; more get 429"),
	[SL_SET_IO_LOOPS] = NUMBER("io_loops", "SLUICE_IO_LOOPS", "1", 1, 16, "threads that carry model calls"),
	[SL_SET_LOG] = {.name = "log",
			.env = "SLUICE_LOG",
			.value = "info",
			.type = SL_SETTING_CHOICE,
			.arg = "error|warn|info|debug",
			.help = "how much is logged"},
	[SL_SET_LOG_FORMAT] = {.name = "log_format",
			       .env = "SLUICE_LOG_FORMAT",
			       .value = "auto",
			       .type = SL_SETTING_CHOICE,
			       .arg = "auto|text|json",
			       .help = "auto: text on a terminal, else JSON"},
	[SL_SET_SLOW_STEP_MS] =
		NUMBER("slow_step_ms", "SLUICE_SLOW_STEP_MS", "3000", 0, 86400000,
		       "a step outside that takes longer, or a tenth of it on a worker, is logged; 0: none"),
	[SL_SET_SLOW_MODEL_MS] =
		NUMBER("slow_model_ms", "SLUICE_SLOW_MODEL_MS", "60000", 0, 86400000, "likewise a model call; 0: none"),
	[SL_SET_FLUSH_MS] =
		NUMBER("flush_ms", "SLUICE_FLUSH_MS", "25", 0, 1000, "how long tokens are gathered for watchers"),
	[SL_SET_RUN_TIMEOUT_S] = NUMBER("run_timeout_s", "SLUICE_RUN_TIMEOUT_S", "86400", 1, 31536000,
					"longest time of a run whose workflow does not say"),
	[SL_SET_MAX_RECOVERIES] =
		NUMBER("max_recoveries", "SLUICE_MAX_RECOVERIES", "5", 1, 1000000,
		       "times a run may be found unfinished after a crash before it counts as poison"),
	[SL_SET_DRAIN_S] =
		NUMBER("drain_s", "SLUICE_DRAIN_S", "1", 0, 15, "how long /readyz says no before the server stops"),
	[SL_SET_RETENTION_DAYS] = NUMBER("retention_days", "SLUICE_RETENTION_DAYS", "30", 0, 36500,
					 "finished runs are deleted after this; 0: never"),
	[SL_SET_LEASE_S] = NUMBER("lease_s", "SLUICE_LEASE_S", "15", 5, 600,
				  "a server silent for this long has lost its runs to others"),
	[SL_SET_POOL_SIZE] =
		NUMBER("pool_size", "SLUICE_POOL_SIZE", "20", 1, 500, "database connections kept for queries"),
	[SL_SET_POOL_OVERFLOW] =
		NUMBER("pool_overflow", "SLUICE_POOL_OVERFLOW", "30", 0, 500, "further ones under load"),
	[SL_SET_POOL_TIMEOUT_S] =
		NUMBER("pool_timeout_s", "SLUICE_POOL_TIMEOUT_S", "30", 1, 600, "longest wait for a free one"),
	[SL_SET_POOL_RECYCLE_S] =
		NUMBER("pool_recycle_s", "SLUICE_POOL_RECYCLE_S", "1800", 10, 86400, "one older than this is replaced"),
	[SL_SET_POOL_PING_S] = NUMBER("pool_ping_s", "SLUICE_POOL_PING_S", "10", 0, 3600,
				      "one idle for longer is asked before it is used; 0: always"),
	[SL_SET_CONNECT_TIMEOUT_S] =
		NUMBER("connect_timeout_s", "SLUICE_CONNECT_TIMEOUT_S", "30", 1, 600, "to connect to PostgreSQL"),
	[SL_SET_QUERY_TIMEOUT_S] = NUMBER("query_timeout_s", "SLUICE_QUERY_TIMEOUT_S", "10", 1, 600,
					  "for one query, its waiting included"),
	[SL_SET_JOURNAL_CONNECTIONS] = NUMBER("journal_connections", "SLUICE_JOURNAL_CONNECTIONS", "2", 1, 4,
					      "connections that write the journal"),
	[SL_SET_CA_FILE] = {.name = "ca_file",
			    .env = "SLUICE_CA_FILE",
			    .arg = "FILE",
			    .help = "certificates that providers and others are checked against; unset: the system's"},
	[SL_SET_LLM_TIMEOUT_S] =
		NUMBER("llm_timeout_s", "SLUICE_LLM_TIMEOUT_S", "0", 0, 86400,
		       "no model call takes longer, whatever its profile says; 0: as the profile says"),
	[SL_SET_EGRESS_ALLOW] = {.name = "egress_allow",
				 .env = "SLUICE_EGRESS_ALLOW",
				 .arg = "HOST:PORT,…",
				 .help = "what workflows may reach in spite of the rules: \"service.internal:8080\""},
	[SL_SET_EGRESS_PORTS] =
		{
			.name = "egress_ports",
			.env = "SLUICE_EGRESS_PORTS",
			.arg = "PORT,…",
			.help = "ports of the public internet they may reach; unset: 443, with plain http 80, too"},
	[SL_SET_EGRESS_HTTP] = {.name = "egress_http",
				.env = "SLUICE_EGRESS_HTTP",
				.type = SL_SETTING_BOOL,
				.value = "false",
				.help = "let workflows use plain http"},
	[SL_SET_EGRESS_ONLY] = {.name = "egress_only",
				.env = "SLUICE_EGRESS_ONLY",
				.type = SL_SETTING_BOOL,
				.value = "false",
				.help = "let workflows reach nothing but what egress_allow lists"},
	[SL_SET_MEMORY_TTL_S] = NUMBER("memory_ttl_s", "SLUICE_MEMORY_TTL_S", "86400", 1, 31536000,
				       "how long a working memory is retrieved"),
	[SL_SET_MEMORY_CAPACITY] = NUMBER("memory_capacity", "SLUICE_MEMORY_CAPACITY", "50", 1, 100000,
					  "working memories of a project; a further one drives out the oldest"),
	[SL_SET_MEMORY_VECTORS_MB] = NUMBER("memory_vectors_mb", "SLUICE_MEMORY_VECTORS_MB", "512", 1, 1048576,
					    "vectors of long-term memories kept in the process, in MiB"),
	[SL_SET_MEMORY_TIMEOUT_S] =
		NUMBER("memory_timeout_s", "SLUICE_MEMORY_TIMEOUT_S", "5", 1, 600, "for one search of memories"),
	[SL_SET_SIM] = {.name = "sim",
			.env = "SLUICE_SIM",
			.value = "auto",
			.type = SL_SETTING_CHOICE,
			.arg = "auto|on|off",
			.help = "the model simulator as profile \"sim\"; auto: when no other profile is there"},
	[SL_SET_SIM_SCENARIO] = {.name = "sim_scenario",
				 .env = "SLUICE_SIM_SCENARIO",
				 .arg = "FILE",
				 .help = "what it answers; unset: built in"},
	[SL_SET_SIM_SPEED] = {.name = "sim_speed",
			      .env = "SLUICE_SIM_SPEED",
			      .value = "50",
			      .type = SL_SETTING_F64,
			      .min = 0,
			      .max = 1000000,
			      .help = "its tokens per second; 0: as fast as it goes"},
	[SL_SET_SIM_FIRST_TOKEN_MS] = NUMBER("sim_first_token_ms", "SLUICE_SIM_FIRST_TOKEN_MS", "150", 0, 600000,
					     "its time to the first token"),
	[SL_SET_SIM_JITTER] = {.name = "sim_jitter",
			       .env = "SLUICE_SIM_JITTER",
			       .value = "0.3",
			       .type = SL_SETTING_F64,
			       .min = 0,
			       .max = 1,
			       .help = "share of its pauses that varies"},
};

enum sl_code sl_settings_load_file(struct sl_config *c, struct sl_error *err)
{
	const char *path = sl_config_z(c, SL_SET_CONFIG);
	return path ? sl_config_file(c, path, err) : SL_OK;
}

void sl_settings_log(const struct sl_config *c)
{
	enum sl_level level = SL_LOG_INFO;
	struct sl_str format = sl_str(sl_config_z(c, SL_SET_LOG_FORMAT));
	sl_level_parse(sl_str(sl_config_z(c, SL_SET_LOG)), &level); /* the table allows no other words */
	bool json = sl_str_is(format, "json") || (sl_str_is(format, "auto") && !isatty(STDERR_FILENO));
	sl_log_setup(level, json ? SL_LOG_JSON : SL_LOG_TEXT, STDERR_FILENO);
}

static uint32_t ms(const struct sl_config *c, size_t i)
{
	return (uint32_t)sl_config_u64(c, i) * 1000;
}

void sl_settings_store(const struct sl_config *c, struct sl_store_config *out)
{
	sl_store_config_init(out);
	out->journal_connections = (uint32_t)sl_config_u64(c, SL_SET_JOURNAL_CONNECTIONS);
	out->pool_size = (uint32_t)sl_config_u64(c, SL_SET_POOL_SIZE);
	out->max_overflow = (uint32_t)sl_config_u64(c, SL_SET_POOL_OVERFLOW);
	out->pool_timeout_ms = ms(c, SL_SET_POOL_TIMEOUT_S);
	out->pool_recycle_ms = ms(c, SL_SET_POOL_RECYCLE_S);
	out->pool_ping_ms = ms(c, SL_SET_POOL_PING_S);
	out->connect_timeout_ms = ms(c, SL_SET_CONNECT_TIMEOUT_S);
	out->query_timeout_ms = ms(c, SL_SET_QUERY_TIMEOUT_S);
	out->lease_ms = ms(c, SL_SET_LEASE_S);
	out->renew_ms = out->lease_ms / 3;
	out->retention_days = (uint32_t)sl_config_u64(c, SL_SET_RETENTION_DAYS);
}
