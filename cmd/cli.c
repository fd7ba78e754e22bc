/* cmd/cli.c: see cli.h. */
#include "cmd/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"

#define CLI_TEXT_BYTES (64u << 20) /* of one answer or file; more is an error */

static const char *environment(const char *name)
{
	return getenv(name);
}

static void help(const struct sl_command *c, struct sl_buf *out)
{
	sl_buf_addf(out, "usage: sluice %s%s%s [OPTIONS]\n\n%s\n", c->name, *c->args ? " " : "", c->args, c->summary);
	if (c->more)
		sl_buf_addf(out, "\n%s\n", c->more);
	sl_buf_adds(out, "\nOptions (in brackets: the default, and the environment variable that stands for it):\n");
	sl_settings_help(c->options, c->n_options, out);
}

int sl_cli_usage(const struct sl_cli *cli, const char *fmt, ...)
{
	va_list ap;
	fprintf(stderr, "sluice %s: ", cli->command->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\ntry: sluice %s --help\n", cli->command->name);
	return SL_EXIT_USAGE;
}

int sl_cli_fail(const struct sl_cli *cli, const struct sl_error *err)
{
	if (cli->json) {
		SL_BUF(out, 8192);
		sl_buf_adds(&out, "{\"error\":{");
		sl_buf_json_kz(&out, "code", sl_code_wire(err->code));
		sl_buf_json_kz(&out, "message", err->text);
		sl_buf_adds(&out, "}}\n");
		sl_cli_put(&out);
	} else
		fprintf(stderr, "sluice %s: %s\n", cli->command->name, err->text);
	return err->code == SL_BAD_REQUEST ? SL_EXIT_USAGE : SL_EXIT_FAILED;
}

void sl_cli_put(const struct sl_buf *b)
{
	if (b->failed)
		fputs("sluice: the answer is too large to print\n", stderr);
	else if (b->len)
		fwrite(b->data, 1, b->len, stdout);
	fflush(stdout);
}

void sl_cli_put_json(struct json_object *o, bool pretty)
{
	int flags = JSON_C_TO_STRING_NOSLASHESCAPE |
		    (pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN);
	const char *text = o ? json_object_to_json_string_ext(o, flags) : "null";
	printf("%s\n", text ? text : "null");
	fflush(stdout);
}

enum sl_code sl_cli_read_file(const char *path, struct sl_buf *out, struct sl_error *err)
{
	char piece[16384];
	bool standard = strcmp(path, "-") == 0;
	FILE *f = standard ? stdin : fopen(path, "re");
	if (!f)
		return sl_fail(err, SL_NOT_FOUND, "%s: %s", path, strerror(errno));
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) > 0;)
		sl_buf_add(out, piece, n);
	bool broken = ferror(f) != 0;
	int why = errno;
	if (!standard)
		fclose(f);
	if (broken)
		return sl_fail(err, SL_NOT_FOUND, "%s: %s", path, strerror(why));
	if (out->failed)
		return sl_fail(err, SL_TOO_LARGE, "%s is larger than %zu bytes", path, out->max_bytes);
	return SL_OK;
}

enum sl_code sl_cli_read_json(const char *path, size_t max_bytes, struct json_object **out, struct sl_error *err)
{
	SL_BUF(text, max_bytes);
	enum sl_code rc = sl_cli_read_file(path, &text, err);
	if (rc != SL_OK)
		return rc;
	rc = sl_json_parse(sl_buf_str(&text), out, err);
	return rc == SL_OK ? rc : sl_wrap(err, rc, "%s", strcmp(path, "-") == 0 ? "standard input" : path);
}

int sl_command_main(const struct sl_command *command, int argc, const char *const *argv)
{
	SL_AUTO(sl_config) config = NULL;
	struct sl_cli cli = {.command = command};
	struct sl_error err = {0};

	if (sl_config_new(command->options, command->n_options, &config) != SL_OK) {
		fputs("sluice: no memory\n", stderr);
		return SL_EXIT_FAILED;
	}
	cli.config = config;
	enum sl_code rc = sl_config_args(config, argc, argv, &err);
	if (rc == SL_OK && sl_config_bool(config, SL_CLI_HELP)) {
		SL_BUF(out, CLI_TEXT_BYTES);
		help(command, &out);
		sl_cli_put(&out);
		return SL_EXIT_DONE;
	}
	if (rc == SL_OK)
		rc = sl_config_env(config, environment, &err);
	if (rc != SL_OK)
		return sl_cli_usage(&cli, "%s", err.text);
	cli.json = sl_config_bool(config, SL_CLI_JSON);
	cli.args = sl_config_rest(config, &cli.n_args);
	if (cli.n_args < command->min_args)
		return sl_cli_usage(&cli, "%s is missing", command->args);
	if (cli.n_args > command->max_args)
		return sl_cli_usage(&cli, "\"%s\" is one too many", cli.args[command->max_args]);
	int code = command->run(&cli);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "sluice %s: the output could not be written\n",
		command->name); /* a full disk, or a closed pipe */
	return code == SL_EXIT_DONE ? SL_EXIT_FAILED : code;
}
