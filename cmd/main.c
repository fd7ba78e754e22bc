/* cmd/main.c: which command is meant. */
#include <stdio.h>
#include <string.h>

#include "cmd/cli.h"

static const struct sl_command *const commands[] = {
	&sl_cmd_serve, &sl_cmd_run, &sl_cmd_validate, &sl_cmd_estimate, &sl_cmd_migrate, &sl_cmd_sim, &sl_cmd_doctor,
};
static const struct sl_command *const groups[] = {sl_cmd_runs, sl_cmd_workflows, sl_cmd_agents, sl_cmd_token};

#define LEFT_WIDTH 22 /* of names and arguments in the list of commands */

/* What is longer than its column has a line of its own. */
static void row(FILE *to, const struct sl_command *c)
{
	char left[80];
	int width = 0;
	snprintf(left, sizeof(left), "%s %s", c->name, c->args);
	for (const char *p = left; *p; p++)
		width += ((unsigned char)*p & 0xc0) != 0x80; /* of one character, the first byte */
	if (width > LEFT_WIDTH)
		fprintf(to, "  sluice %s\n%*s%s\n", left, LEFT_WIDTH + 10, "", c->summary);
	else
		fprintf(to, "  sluice %s%*s %s\n", left, LEFT_WIDTH - width, "", c->summary);
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

static struct sl_str first_word(const struct sl_command *c)
{
	const char *space = strchr(c->name, ' ');
	return sl_str_n(c->name, space ? (size_t)(space - c->name) : strlen(c->name));
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
			if (sl_str_is(first_word(c), argv[1]) && strcmp(argv[2], strchr(c->name, ' ') + 1) == 0) {
				*words = 3;
				return c;
			}
		}
	return NULL;
}

static const struct sl_command *group(const char *word)
{
	for (size_t g = 0; g < SL_COUNT_OF(groups); g++)
		if (sl_str_is(first_word(groups[g]), word))
			return groups[g];
	return NULL;
}

static void nearer(struct sl_str name, const char *word, unsigned *least, struct sl_str *best)
{
	unsigned d = sl_str_distance(sl_str(word), name);
	if (d < *least) {
		*least = d;
		*best = name;
	}
}

/* Empty: nothing is near. of: a group, whose second words are meant; NULL: the first ones. */
static struct sl_str nearest(const struct sl_command *of, const char *word)
{
	struct sl_str best = {0};
	unsigned least = 3;
	for (const struct sl_command *c = of; c && c->name; c++)
		nearer(sl_str(strchr(c->name, ' ') + 1), word, &least, &best);
	for (size_t i = 0; !of && i < SL_COUNT_OF(commands); i++)
		nearer(first_word(commands[i]), word, &least, &best);
	for (size_t g = 0; !of && g < SL_COUNT_OF(groups); g++)
		nearer(first_word(groups[g]), word, &least, &best);
	return best;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* An option where the command belongs. */
static int too_early(const char *option)
{
	fprintf(stderr, "sluice: options stand behind the command: sluice COMMAND %s …\ntry: sluice --help\n", option);
	return SL_EXIT_USAGE;
}

static int unknown(int argc, const char *const *argv, const struct sl_command *of)
{
	const char *first = of ? argv[1] : "", *word = of ? argv[2] : argv[1], *space = of ? " " : "";
	struct sl_str near = nearest(of, word);
	fprintf(stderr, "sluice: there is no command \"%s%s%s\"", first, space, word);
	if (near.len)
		fprintf(stderr, "; did you mean \"%s%s" SL_STR_FMT "\"?", first, space, SL_STR_ARG(near));
	fprintf(stderr, "\ntry: sluice%s%s --help\n", *first ? " " : "", first);
	return SL_EXIT_USAGE;
}

int main(int argc, char **raw)
{
	static const char *const help[] = {"--help"};
	const char *const *argv = (const char *const *)raw;
	int words = 0;
	bool asked = false;
	sl_points_start();
	if (argc < 2) {
		usage(stderr, NULL);
		return SL_EXIT_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2 && !is_help(argv[2])) { /* help COMMAND */
		asked = true;
		argv++;
		argc--;
	} else if (is_help(argv[1]) || strcmp(argv[1], "help") == 0) {
		usage(stdout, NULL);
		return SL_EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
		puts("sluice " SL_VERSION);
		return SL_EXIT_DONE;
	}
	if (argv[1][0] == '-')
		return too_early(argv[1]);
	const struct sl_command *c = find(argc, argv, &words), *of = group(argv[1]);
	if (c)
		return asked ? sl_command_main(c, 1, help) : sl_command_main(c, argc - words, argv + words);
	asked = of && (argc > 2 ? is_help(argv[2]) : asked);
	if (!of || (argc > 2 && !asked))
		return unknown(argc, argv, of);
	usage(asked ? stdout : stderr, argv[1]);
	return asked ? SL_EXIT_DONE : SL_EXIT_USAGE;
}
