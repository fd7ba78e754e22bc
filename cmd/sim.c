/* cmd/sim.c: `sluice sim`: the model simulator by itself. */
#include "llm/sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "cmd/cli.h"
#include "cmd/stop.h"

enum { LISTEN = SL_CLI_JSON + 1, SCENARIO, CHECK, SPEED, FIRST_TOKEN, JITTER, TOKENS, SEED, STAMPS, NO_RULES, OPTIONS };
static const struct sl_setting options[OPTIONS] = {
	SL_CLI_OPTION_HELP,
	SL_CLI_OPTION_JSON,
	[LISTEN] = {.name = "listen",
		    .value = "127.0.0.1:7071",
		    .arg = "HOST:PORT",
		    .help = "numeric address; port 0 picks one"},
	[SCENARIO] = {.name = "scenario",
		      .env = "SLUICE_SIM_SCENARIO",
		      .arg = "FILE",
		      .help = "what it answers; unset: built in"},
	[CHECK] = {.name = "check", .type = SL_SETTING_BOOL, .help = "only say what is wrong with the scenario"},
	[SPEED] = {.name = "speed",
		   .env = "SLUICE_SIM_SPEED",
		   .value = "50",
		   .type = SL_SETTING_F64,
		   .min = 0,
		   .max = 1000000,
		   .help = "tokens per second; 0: as fast as it goes"},
	[FIRST_TOKEN] = {.name = "first_token_ms",
			 .env = "SLUICE_SIM_FIRST_TOKEN_MS",
			 .value = "150",
			 .type = SL_SETTING_U64,
			 .min = 0,
			 .max = 600000,
			 .help = "time to the first token"},
	[JITTER] = {.name = "jitter",
		    .env = "SLUICE_SIM_JITTER",
		    .value = "0.3",
		    .type = SL_SETTING_F64,
		    .min = 0,
		    .max = 1,
		    .help = "share of the pauses that varies"},
	[TOKENS] = {.name = "tokens",
		    .type = SL_SETTING_U64,
		    .min = 0,
		    .max = 1000000,
		    .help = "length of every answer; unset: as its text is"},
	[SEED] = {.name = "seed", .value = "1", .type = SL_SETTING_U64, .help = "same seed, same answers and pauses"},
	[STAMPS] = {.name = "stamps",
		    .type = SL_SETTING_BOOL,
		    .help = "tokens are times of sending, for measuring; needs --tokens"},
	[NO_RULES] = {.name = "no_rules", .type = SL_SETTING_BOOL, .help = "ignore every scenario"},
};

/* As `sluice validate` tells of workflows. */
static int check(struct sl_cli *cli, const char *path, struct sl_str scenario)
{
	struct sl_error err = {0};
	SL_BUF(problems, SL_LIMIT_BODY_BYTES);
	SL_BUF(list, SL_LIMIT_BODY_BYTES);
	SL_AUTO_JSON all = NULL;
	enum sl_code rc = sl_sim_check(scenario, &problems, &err);
	sl_buf_addf(&list, "[%s]", problems.data ? problems.data : "");
	if (cli->json)
		printf("{\"valid\":%s,\"errors\":%s}\n", rc == SL_OK ? "true" : "false", list.data ? list.data : "[]");
	else if (rc == SL_OK)
		printf("%s: valid\n", path);
	else if (sl_json_parse(sl_buf_str(&list), &all, NULL) != SL_OK || !json_object_array_length(all))
		return sl_cli_fail(cli, &err); /* it is no JSON, so there are no places */
	size_t n = all ? json_object_array_length(all) : 0;
	for (size_t i = 0; i < n; i++) {
		struct json_object *one = json_object_array_get_idx(all, i);
		const char *at = sl_json_get_z(one, "pointer"), *message = sl_json_get_z(one, "message");
		printf("%s: %s%s%s\n", path, at ? at : "", at && *at ? "  " : "", message ? message : "");
	}
	if (n)
		printf("%s: %zu error%s\n", path, n, n == 1 ? "" : "s");
	return rc == SL_OK ? SL_EXIT_DONE : SL_EXIT_FAILED;
}

static bool said(const struct sl_config *c, size_t setting)
{
	return sl_config_origin(c, setting) != SL_ORIGIN_DEFAULT;
}

static int sim_main(struct sl_cli *cli)
{
	SL_AUTO(sl_sim) sim = NULL;
	struct sl_error err = {0};
	SL_BUF(scenario, SL_LIMIT_BODY_BYTES);
	const char *path = sl_config_z(cli->config, SCENARIO), *listen = sl_config_z(cli->config, LISTEN),
		   *colon = strrchr(listen, ':');
	double speed = sl_config_f64(cli->config, SPEED), jitter = sl_config_f64(cli->config, JITTER);
	uint64_t first = sl_config_u64(cli->config, FIRST_TOKEN);
	char host[64];
	uint64_t port;

	if (path && sl_cli_read_file(path, &scenario, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	if (sl_config_bool(cli->config, CHECK))
		return path ? check(cli, path, sl_buf_str(&scenario))
			    : sl_cli_usage(cli, "--check needs --scenario FILE");
	if (!colon || (size_t)(colon - listen) >= sizeof(host) || !sl_str_u64(sl_str(colon + 1), &port) || port > 65535)
		return sl_cli_usage(cli, "--listen needs HOST:PORT, not \"%s\"", listen);
	struct sl_str numeric = sl_str_n(listen, (size_t)(colon - listen));
	if (numeric.len > 2 && numeric.p[0] == '[')
		numeric = sl_str_n(numeric.p + 1, numeric.len - 2);
	snprintf(host, sizeof(host), SL_STR_FMT, SL_STR_ARG(numeric));
	const struct sl_sim_config config = {
		.host = host,
		.port = (uint16_t)port,
		.scenario = sl_buf_str(&scenario),
		/* what nobody said is left to the scenario's own defaults: 0 there */
		.tokens_per_s = !said(cli->config, SPEED) ? 0
				: speed > 0               ? speed
							  : -1,
		.jitter = !said(cli->config, JITTER) ? 0
			  : jitter > 0               ? jitter
						     : -1,
		.first_token_ms = !said(cli->config, FIRST_TOKEN) ? 0
				  : first                         ? (uint32_t)first
								  : 1,
		.tokens = (uint32_t)sl_config_u64(cli->config, TOKENS),
		.seed = sl_config_u64(cli->config, SEED),
		.stamps = sl_config_bool(cli->config, STAMPS),
		.no_rules = sl_config_bool(cli->config, NO_RULES),
	};
	sl_stop_block();
	if (sl_sim_start(&config, &sim, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json)
		printf("{\"url\":\"%s\",\"port\":%u}\n", sl_sim_url(sim), sl_sim_port(sim));
	else
		printf("the simulator listens: %s\nas a profile: "
		       "{\"provider\":\"openai\",\"model\":\"sim\",\"base_url\":\"%s\"}\nCtrl-C ends it\n",
		       sl_sim_url(sim), sl_sim_url(sim));
	fflush(stdout);
	sl_stop_wait();
	sl_sim_stop(sim);
	return SL_EXIT_DONE;
}

const struct sl_command sl_cmd_sim = {
	.name = "sim",
	.args = "",
	.summary = "The model simulator: an HTTP server that speaks as OpenAI, Anthropic, Gemini and Ollama do, with "
		   "settable speed, scripted answers and faults.",
	.options = options,
	.n_options = OPTIONS,
	.run = sim_main,
};
