/* cmd/settings.h: the settings of `serve`, and of whoever works on the same database or data folder. One table;
 * docs/CONFIGURATION.md is compared with it by a test. */
#pragma once

#include "base/config.h"
#include "base/log.h"

struct sl_cli;
struct sl_store_config;

enum {
	SL_SET_HELP, /* as SL_CLI_HELP */
	SL_SET_JSON,
	SL_SET_CONFIG,
	SL_SET_PRINT_CONFIG,
	SL_SET_LISTEN,
	SL_SET_DATA,
	SL_SET_DATABASE_URL,
	SL_SET_PG_BIN,
	SL_SET_ADMIN_TOKEN,
	SL_SET_SECRET_KEY,
	SL_SET_TLS_CERT,
	SL_SET_TLS_KEY,
	SL_SET_INSECURE,
	SL_SET_HOSTS,
	SL_SET_ORIGINS,
	SL_SET_RATE_REQUESTS,
	SL_SET_RATE_RUNS,
	SL_SET_RATE_SOCKETS,
	SL_SET_REQUEST_TIMEOUT_S,
	SL_SET_WORKERS,
	SL_SET_MAX_RUNNING,
	SL_SET_MAX_QUEUED,
	SL_SET_IO_LOOPS,
	SL_SET_LOG,
	SL_SET_LOG_FORMAT,
	SL_SET_SLOW_STEP_MS,
	SL_SET_SLOW_MODEL_MS,
	SL_SET_FLUSH_MS,
	SL_SET_RUN_TIMEOUT_S,
	SL_SET_MAX_RECOVERIES,
	SL_SET_DRAIN_S,
	SL_SET_RETENTION_DAYS,
	SL_SET_LEASE_S,
	SL_SET_POOL_SIZE,
	SL_SET_POOL_OVERFLOW,
	SL_SET_POOL_TIMEOUT_S,
	SL_SET_POOL_RECYCLE_S,
	SL_SET_POOL_PING_S,
	SL_SET_CONNECT_TIMEOUT_S,
	SL_SET_QUERY_TIMEOUT_S,
	SL_SET_JOURNAL_CONNECTIONS,
	SL_SET_CA_FILE,
	SL_SET_LLM_TIMEOUT_S,
	SL_SET_EGRESS_ALLOW,
	SL_SET_EGRESS_PORTS,
	SL_SET_EGRESS_HTTP,
	SL_SET_EGRESS_ONLY,
	SL_SET_MEMORY_TTL_S,
	SL_SET_MEMORY_CAPACITY,
	SL_SET_MEMORY_VECTORS_MB,
	SL_SET_MEMORY_TIMEOUT_S,
	SL_SET_SIM,
	SL_SET_SIM_SCENARIO,
	SL_SET_SIM_SPEED,
	SL_SET_SIM_FIRST_TOKEN_MS,
	SL_SET_SIM_JITTER,
	SL_SETTINGS,
};
extern const struct sl_setting sl_settings[SL_SETTINGS];

/* Loads the file that --config or SLUICE_CONFIG names into the command's config. SL_OK when none is named. */
SL_MUST_USE enum sl_code sl_settings_load_file(struct sl_config *c, struct sl_error *err);
void sl_settings_log(const struct sl_config *c); /* sets up base/log.h as they say */
void sl_settings_store(const struct sl_config *c, struct sl_store_config *out);
