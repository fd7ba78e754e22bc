/* cmd/inputs.h: what `run` and `estimate` have in common: a workflow by file or name, and its inputs.
 * Thread    the main thread.
 */
#pragma once

#include "base/own.h"
#include "cmd/cli.h"

struct json_object;
struct sl_client;

/* Rows of a command's table of options, right behind SL_CLI_CLIENT_OPTIONS. */
enum { SL_INPUTS_INPUT = SL_CLI_OWN, SL_INPUTS_ALL, SL_INPUTS_OWN };
#define SL_INPUTS_OPTIONS                                                                                              \
	[SL_INPUTS_INPUT] = {.name = "input",                                                                          \
			     .type = SL_SETTING_LIST,                                                                  \
			     .arg = "KEY=VALUE",                                                                       \
			     .flag_only = true,                                                                        \
			     .help = "one input; KEY=@FILE takes it from a file, KEY:=JSON is never taken as text"},   \
	[SL_INPUTS_ALL] = {.name = "inputs",                                                                           \
			   .arg = "FILE",                                                                              \
			   .flag_only = true,                                                                          \
			   .help = "a JSON file with all inputs; - is standard input"}

/* The command's first argument: a file becomes `definition` of the request, a name `workflow`. *schema: of its inputs,
 * the caller's; NULL: none. */
SL_MUST_USE enum sl_code sl_inputs_workflow(const struct sl_cli *cli, struct sl_client *client,
					    struct json_object *request, struct json_object **schema,
					    struct sl_error *err);
/* `inputs` of the request, as the options say. */
SL_MUST_USE enum sl_code sl_inputs_read(const struct sl_cli *cli, struct json_object *request,
					struct json_object *schema, struct sl_error *err);
/* The server has refused the request: says why, each problem at its place in the file or in the inputs, and which
 * inputs there are. Returns the exit code. */
int sl_inputs_refused(const struct sl_cli *cli, const struct sl_client *client, struct json_object *request,
		      struct json_object *schema, const struct sl_error *err);
