/* What the documents show is what the code is: the worked example of docs/HACKING.md is compiled here, and the names of
 * files and commands that the pages mention exist. */
#include "tests/lib/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "docs/examples/word_count.c"
#include "engine/graph.h"

static char *read_page(const char *name)
{
	static char page[1u << 19];
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", getenv("SLUICE_ROOT"), name);
	FILE *f = fopen(path, "r");
	if (!f)
		fail_msg("%s is missing", name);
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	return page;
}

static void the_example_node_is_shown_as_it_is(void **state)
{
	char *example = strdup(read_page("docs/examples/word_count.c"));
	assert_non_null(strstr(read_page("docs/HACKING.md"), example));
	free(example);
}

static void the_example_node_is_a_node_type(void **state)
{
	static const struct sl_node_type *const types[] = {&sl_node_type_word_count, NULL};
	SL_AUTO(sl_registry) registry = NULL;
	struct sl_error err;
	static const struct {
		const char *params;
		bool valid;
	} rows[] = {
		{"{\"text\":\"{{ input.text }}\"}", true},
		{"{\"text\":\"one two\"}", true},
		{"{\"text\":1}", false},
		{"{}", false},
		{"{\"text\":\"\",\"more\":1}", false},
	};
	assert_int_equal(sl_registry_new(types, &registry, &err), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO(sl_workflow) w = NULL;
		struct sl_problems problems = {0};
		char definition[500];
		snprintf(definition, sizeof(definition),
			 "{\"sluice\":1,\"nodes\":[{\"id\":\"n\",\"type\":\"word_count\",\"params\":%s}],\"edges\":[]}",
			 rows[i].params);
		assert_int_equal(sl_workflow_parse(registry, sl_str(definition), &w, &problems), SL_OK);
		assert_int_equal(problems.errors == 0, rows[i].valid);
		sl_problems_fini(&problems);
	}
}

/* `path/like/this.c` between backticks, as far as the first folder is one of ours. */
static void files_that_the_pages_name_exist(void **state)
{
	static const char *const pages[] = {"README.md", "docs/ARCHITECTURE.md", "docs/HACKING.md",
					    "docs/CONFIGURATION.md", "CHANGELOG.md"};
	static const char *const rooms[] = {
		"base/", "store/", "engine/", "llm/",  "memory/",   "nodes/", "middleware/", "ws/",
		"api/",  "cmd/",   "tests/",  "docs/", "examples/", "tools/", "migrations/", "frontend-static/",
		"bench/"};
	for (size_t p = 0; p < SL_COUNT_OF(pages); p++) {
		char *page = read_page(pages[p]);
		for (char *at = page; (at = strchr(at, '`')); at++) {
			char name[200], path[4400];
			size_t n = strcspn(at + 1, "`<>*…{} \n");
			bool ours = false;
			if (n == 0 || n >= sizeof(name) || at[1 + n] != '`') {
				at += n;
				continue;
			}
			memcpy(name, at + 1, n);
			name[n] = '\0';
			for (size_t r = 0; r < SL_COUNT_OF(rooms); r++)
				ours |= strncmp(name, rooms[r], strlen(rooms[r])) == 0;
			at += n + 1;
			if (!ours || strcmp(name, "nodes/word_count.c") == 0) /* that one the reader makes */
				continue;
			snprintf(path, sizeof(path), "%s/%s", getenv("SLUICE_ROOT"), name);
			if (access(path, F_OK) != 0)
				fail_msg("%s names %s, which does not exist", pages[p], name);
		}
	}
}

/* Whether one of the files of that name has the test. */
static bool in_a_test(const char *file, const char *name)
{
	static const char *const places[] = {"tests/unit/%s.c", "tests/scenario/%s.c", "tests/system/%s.py"};
	for (size_t i = 0; i < SL_COUNT_OF(places); i++) {
		char relative[300], path[4400], wanted[300];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(relative, sizeof(relative), places[i], file);
#pragma GCC diagnostic pop
		snprintf(path, sizeof(path), "%s/%s", getenv("SLUICE_ROOT"), relative);
		snprintf(wanted, sizeof(wanted), "%s(", name);
		if (access(path, R_OK) == 0 && strstr(read_page(relative), wanted))
			return true;
	}
	return false;
}

/* Every cap of base/limits.h has its row in docs/LIMITS.md, and the test that the row names is there. */
static void every_cap_is_in_the_table_with_a_test_that_exists(void **state)
{
	char *limits = strdup(read_page("base/limits.h")), *page = strdup(read_page("docs/LIMITS.md"));
	size_t n = 0;
	for (char *at = limits; (at = strstr(at, "#define SL_LIMIT_")); n++) {
		char row[80], file[80], test[160];
		at += strlen("#define SL_LIMIT_");
		snprintf(row, sizeof(row), "| `%.*s` |", (int)strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"), at);
		char *there = strstr(page, row);
		if (!there)
			fail_msg("docs/LIMITS.md has no row %s", row);
		char *end = strchr(there, '\n');
		assert_non_null(end);
		*end = 0;
		char *last = strrchr(there, '`');
		if (!last || strcmp(last + 1, " |") != 0)
			fail_msg("%s ends without a test", row);
		*last = 0;
		char *from = strrchr(there, '`');
		assert_non_null(from);
		if (sscanf(from + 1, "%79[a-z0-9_]: %159[a-z0-9_]", file, test) != 2 || !in_a_test(file, test))
			fail_msg("%s: there is no test %s", row, from + 1);
		*last = '`';
		*end = '\n';
	}
	assert_true(n > 50);
	free(limits);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_node_is_shown_as_it_is),
		cmocka_unit_test(the_example_node_is_a_node_type),
		cmocka_unit_test(files_that_the_pages_name_exist),
		cmocka_unit_test(every_cap_is_in_the_table_with_a_test_that_exists),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
