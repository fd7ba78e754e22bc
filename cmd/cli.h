/* cmd/cli.h: what every command of the command line has in common: options, help, errors, exit codes.
 * Thread    the main thread.
 */
#pragma once

#include "base/config.h"

enum sl_exit { SL_EXIT_DONE = 0, SL_EXIT_FAILED = 1, SL_EXIT_USAGE = 2, SL_EXIT_DETACHED = 130 };

/* The first rows of every table of options. A client's has all five. */
enum { SL_CLI_HELP, SL_CLI_JSON, SL_CLI_URL, SL_CLI_TOKEN, SL_CLI_DATA, SL_CLI_OWN };
#define SL_CLI_OPTION_HELP                                                                                             \
	[SL_CLI_HELP] = {.name = "help", .type = SL_SETTING_BOOL, .help = "this text", .flag_only = true}
#define SL_CLI_OPTION_JSON                                                                                             \
	[SL_CLI_JSON] = {.name = "json", .type = SL_SETTING_BOOL, .help = "print JSON, for scripts", .flag_only = true}
#define SL_CLI_CLIENT_OPTIONS                                                                                          \
	SL_CLI_OPTION_HELP, SL_CLI_OPTION_JSON,                                                                        \
		[SL_CLI_URL] =                                                                                         \
			{.name = "url",                                                                                \
			 .env = "SLUICE_URL",                                                                          \
			 .arg = "URL",                                                                                 \
			 .help = "the server; unset: the one that serves the data folder, else port 7070 here"},       \
		[SL_CLI_TOKEN] = {.name = "token",                                                                     \
				  .env = "SLUICE_TOKEN",                                                               \
				  .arg = "TOKEN",                                                                      \
				  .secret = true,                                                                      \
				  .help = "unset: the admin token in the data folder, for a server on this machine"},  \
		[SL_CLI_DATA] = {.name = "data",                                                                       \
				 .env = "SLUICE_DATA",                                                                 \
				 .value = "./data",                                                                    \
				 .arg = "DIR",                                                                         \
				 .help = "the server's data folder, when it is on this machine"}

struct sl_cli;

struct sl_command {
	const char *name;    /* "validate", "runs list" */
	const char *args;    /* "FILE …" for help; "" when there are none */
	const char *summary; /* one line */
	const char *more;    /* further help; NULL: none */
	const struct sl_setting *options;
	size_t n_options;
	size_t min_args, max_args;
	int (*run)(struct sl_cli *cli); /* returns the exit code */
};

struct sl_cli {
	const struct sl_command *command;
	struct sl_config *config;
	const char *const *args;
	size_t n_args;
	bool json;
};

/* Parses what follows the command's name, serves --help and wrong usage, runs it. Returns the exit code. */
int sl_command_main(const struct sl_command *command, int argc, const char *const *argv);

/* Says what went wrong (as JSON on standard output with --json, else on standard error) and returns SL_EXIT_FAILED, or
 * SL_EXIT_USAGE for SL_BAD_REQUEST. */
int sl_cli_fail(const struct sl_cli *cli, const struct sl_error *err);
int sl_cli_usage(const struct sl_cli *cli, const char *fmt, ...) SL_PRINTF(2, 3);

void sl_cli_put(const struct sl_buf *b);                  /* to standard output; a failed buffer says so */
void sl_cli_put_json(struct json_object *o, bool pretty); /* and a newline */

/* A whole file, or standard input for "-". SL_NOT_FOUND, SL_TOO_LARGE. */
SL_MUST_USE enum sl_code sl_cli_read_file(const char *path, struct sl_buf *out, struct sl_error *err);
/* The same as JSON, the caller's. Every error names the file, once. SL_INVALID: it is none. */
SL_MUST_USE enum sl_code sl_cli_read_json(const char *path, size_t max_bytes, struct json_object **out,
					  struct sl_error *err);

extern const struct sl_command sl_cmd_estimate, sl_cmd_serve, sl_cmd_run, sl_cmd_validate, sl_cmd_migrate, sl_cmd_sim,
	sl_cmd_doctor;
extern const struct sl_command sl_cmd_agents[], sl_cmd_runs[], sl_cmd_token[],
	sl_cmd_workflows[]; /* end with a NULL name */
