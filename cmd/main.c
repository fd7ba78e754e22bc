/* cmd/main.c: which command is meant. */
#include <stdio.h>
#include <string.h>

#include "cmd/cli.h"

static const struct sl_command *const commands[] = {
	&sl_cmd_serve, &sl_cmd_run, &sl_cmd_validate, &sl_cmd_estimate, &sl_cmd_migrate, &sl_cmd_sim, &sl_cmd_doctor,
};
static const struct sl_command *const groups[] = {sl_cmd_runs, sl_cmd_workflows, sl_cmd_agents, sl_cmd_token};

static void row(FILE *to, const struct sl_command *c)
{
	char left[80];
	snprintf(left, sizeof(left), "%s %s", c->name, c->args);
	fprintf(to, "  sluice %-22s %s\n", left, c->summary);
}

/* `only`: the first word of a group, or NULL for all. */
static void usage(FILE *to, const char *only)
{
	fprintf(to, "Sluice " SL_VERSION ": a real-time workflow engine server for LLM work\n\n");
	for (size_t i = 0; !only && i < SL_COUNT_OF(commands); i++)
		row(to, commands[i]);
	for (size_t g = 0; g < SL_COUNT_OF(groups); g++)
		for (const struct sl_command *c = groups[g]; c->name; c++)
			if (!only || strncmp(c->name, only, strlen(only)) == 0)
				row(to, c);
	fprintf(to, "\nEvery command has --help and --json. Exit codes: 0 done, 1 failed, 2 wrong usage.\n"
		    "Clients talk to SLUICE_URL with SLUICE_TOKEN; without them, to the server of ./data on this "
		    "machine.\n");
}

static const struct sl_command *find(int argc, const char *const *argv, int *words)
{
	for (size_t i = 0; i < SL_COUNT_OF(commands); i++)
		if (strcmp(argv[1], commands[i]->name) == 0) {
			*words = 2;
			return commands[i];
		}
	for (size_t g = 0; argc > 2 && g < SL_COUNT_OF(groups); g++)
		for (const struct sl_command *c = groups[g]; c->name; c++) {
			const char *space = strchr(c->name, ' ');
			size_t first = (size_t)(space - c->name);
			if (strlen(argv[1]) == first && strncmp(argv[1], c->name, first) == 0 &&
			    strcmp(argv[2], space + 1) == 0) {
				*words = 3;
				return c;
			}
		}
	return NULL;
}

static bool is_group(const char *word)
{
	for (size_t g = 0; g < SL_COUNT_OF(groups); g++) {
		size_t first = (size_t)(strchr(groups[g]->name, ' ') - groups[g]->name);
		if (strlen(word) == first && strncmp(word, groups[g]->name, first) == 0)
			return true;
	}
	return false;
}

static const char *nearest(const char *word)
{
	static const char *const names[] = {"serve",  "run",  "validate",  "migrate", "sim",
					    "doctor", "runs", "workflows", "token",   "agents"};
	const char *best = NULL;
	unsigned least = 3;
	for (size_t i = 0; i < SL_COUNT_OF(names); i++) {
		unsigned d = sl_str_distance(sl_str(word), sl_str(names[i]));
		if (d < least) {
			least = d;
			best = names[i];
		}
	}
	return best;
}

int main(int argc, char **raw)
{
	const char *const *argv = (const char *const *)raw;
	int words = 0;
	sl_points_start();
	if (argc < 2) {
		usage(stderr, NULL);
		return SL_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout, NULL);
		return SL_EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
		puts("sluice " SL_VERSION);
		return SL_EXIT_DONE;
	}
	const struct sl_command *c = find(argc, argv, &words);
	if (c)
		return sl_command_main(c, argc - words, argv + words);
	if (is_group(argv[1])) {
		bool asked = argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
		if (argc > 2 && !asked)
			fprintf(stderr, "sluice: there is no command \"%s %s\"\n\n", argv[1], argv[2]);
		usage(asked ? stdout : stderr, argv[1]);
		return asked ? SL_EXIT_DONE : SL_EXIT_USAGE;
	}
	const char *near = nearest(argv[1]);
	fprintf(stderr, "sluice: there is no command \"%s\"%s%s%s\n", argv[1], near ? "; did you mean \"" : "",
		near ? near : "", near ? "\"?" : "");
	fprintf(stderr, "try: sluice --help\n");
	return SL_EXIT_USAGE;
}
