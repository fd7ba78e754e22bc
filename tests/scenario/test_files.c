/* The files of a run: versions, who wrote them, what a repeat and a crash do to them. */
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "tests/lib/scenario.h"

static struct json_object *file_of(struct world *w, struct sl_run_id id, const char *path)
{
	struct json_object *files = sl_json_get(world_run(w, id), "files");
	for (size_t i = 0; files && i < json_object_array_length(files); i++) {
		struct json_object *f = json_object_array_get_idx(files, i);
		if (strcmp(sl_json_get_z(f, "path"), path) == 0)
			return f;
	}
	return NULL;
}

#define TEMPLATE(id, text, file)                                                                                       \
	"{\"id\":\"" id "\",\"type\":\"template\",\"params\":{\"text\":\"" text "\",\"file\":\"" file "\"}}"

static void versions_say_who_wrote_them(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[" TEMPLATE("a", "one", "notes/plan.md") "," TEMPLATE(
			"b", "two",
			"notes/plan.md") "," TEMPLATE("c", "two",
						      "notes/plan.md") "," TEMPLATE("d", "x",
										    "d.txt") "],\"edges\":[{\"from\":"
											     "\"a\",\"to\":\"b\"},{"
											     "\"from\":\"b\","
											     "\"to\":\"c\"},{\"from\":"
											     "\"c\",\"to\":\"d\"}],"
											     "\"outputs\":{\"v\":\"{{ "
											     "nodes.c.version }}\"}}",
		"{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	struct json_object *f = file_of(w, id, "notes/plan.md");
	assert_int_equal(sl_json_get_i64(f, "version", 0), 2); /* the third text is the second once more */
	assert_string_equal(sl_json_get_z(f, "by"), "b");
	assert_int_equal(sl_json_get_i64(f, "bytes", 0), 3);
	assert_int_equal(sl_json_get_i64(file_of(w, id, "d.txt"), "version", 0), 1);
	assert_int_equal(events(w, id, "file:written"), 3);
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, id), "outputs"), "v", 0), 2);
}

static void a_repeat_writes_nothing_new(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w,
					   "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\","
					   "\"params\":{\"files\":{\"a.md\":\"text\"},\"hold\":true}}]}",
					   "{}");
	world_settle(w);
	assert_int_equal(events(w, id, "file:written"), 1);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "a"), 2);
	world_release(w, "a");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(events(w, id, "file:written"), 1);
	assert_int_equal(sl_json_get_i64(file_of(w, id, "a.md"), "version", 0), 1);
}

static void expect_refused(struct world *w, const char *path, const char *content, const char *code)
{
	SL_BUF(text, 2u << 20);
	SL_AUTO_JSON files = json_object_new_object();
	sl_json_set_str(files, path, sl_str(content));
	sl_buf_adds(&text,
		    "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"files\":");
	sl_json_write(&text, files);
	sl_buf_adds(&text, "}}]}");
	struct sl_run_id id = world_submit(w, text.data, "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), code);
	assert_int_equal(events(w, id, "file:written"), 0);
}

static void paths_and_sizes_have_bounds(void **state)
{
	static const char *const bad[] = {"/etc/passwd", "../x", "a/../b", "a//b", "a/", "", ".", "a\\b", "a\tb"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++)
		expect_refused(*state, bad[i], "x", "invalid");
	char longest[SL_LIMIT_FILE_PATH_BYTES + 2];
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	expect_refused(*state, longest, "x", "invalid");
	SL_AUTO_MEM char *large = malloc(SL_LIMIT_FILE_BYTES + 2);
	memset(large, 'x', SL_LIMIT_FILE_BYTES + 1);
	large[SL_LIMIT_FILE_BYTES + 1] = 0;
	expect_refused(*state, "a.md", large, "limit_exceeded");
}

static void a_run_has_so_many_files_and_no_more(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"l\",\"type\":\"loop\",\"params\":{"
			     "\"max_rounds\":200,"
			     "\"body\":{\"nodes\":[" TEMPLATE("t", "{{ loop.index }}", "f{{ loop.index }}.md") "]}}}]}",
			     "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_int_equal(events(w, id, "file:written"), SL_LIMIT_FILES);
	assert_non_null(strstr(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "message"), "at most 100 files"));
	/* two loops that write one file anew, 600 times each */
	id = world_submit(
		w,
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"l\",\"type\":\"loop\",\"params\":{\"max_rounds\":"
		"600,"
		"\"body\":{\"nodes\":[" TEMPLATE(
			"t", "a{{ loop.index }}",
			"f.md") "]}}},{\"id\":\"m\",\"type\":\"loop\","
				"\"params\":{\"max_rounds\":600,\"body\":{\"nodes\":[" TEMPLATE(
					"t", "b{{ loop.index }}", "f.md") "]}}}],"
									  "\"edges\":[{\"from\":\"l\",\"to\":\"m\"}]}",
		"{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_int_equal(events(w, id, "file:written"), SL_LIMIT_FILE_VERSIONS);
	assert_int_equal(sl_json_get_i64(file_of(w, id, "f.md"), "version", 0), SL_LIMIT_FILE_VERSIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(versions_say_who_wrote_them),
		WORLD_TEST(a_repeat_writes_nothing_new),
		WORLD_TEST(paths_and_sizes_have_bounds),
		WORLD_TEST(a_run_has_so_many_files_and_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
