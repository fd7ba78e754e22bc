/* How much of a run is kept: step by step, as a whole, or nothing before its end. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "tests/lib/scenario.h"

/* a → b (holds) → c, kept in this way. */
static const char *chain(const char *durability)
{
	static char text[1024];
	(void)snprintf(
		text, sizeof(text),
		"{\"sluice\":1,\"name\":\"x\",\"durability\":\"%s\",\"nodes\":["
		"{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1}},"
		"{\"id\":\"b\",\"type\":\"fake\",\"params\":{\"answer\":\"{{ nodes.a.value + 1 }}\",\"hold\":true}},"
		"{\"id\":\"c\",\"type\":\"fake\",\"params\":{\"answer\":\"{{ nodes.b.value + 1 }}\"}}],"
		"\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"b\",\"to\":\"c\"}],"
		"\"outputs\":{\"v\":\"{{ nodes.c.value }}\"}}",
		durability); /* it fits */
	return text;
}

static size_t written(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	return world_records(w, id, &r);
}

static void expect_3(struct world *w, struct sl_run_id id)
{
	struct json_object *run = world_run(w, id);
	assert_string_equal(sl_json_get_z(run, "status"), "succeeded");
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "outputs"), "v", 0), 3);
}

static void finish(struct world *w, struct sl_run_id id)
{
	world_release(w, "b");
	world_settle(w);
	expect_3(w, id);
	for (const char *const *path = (const char *const[]){"a", "b", "c", NULL}; *path; path++)
		assert_int_equal(world_count(w, id, *path, "completed"), 1);
}

static void step_by_step_nothing_is_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain("step"), "{}");
	world_settle(w);
	assert_true(written(w, id) > 2);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "a"), 1);
	finish(w, id);
}

static void a_run_kept_as_a_whole_begins_anew(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain("run"), "{}");
	world_settle(w);
	assert_int_equal(written(w, id), 1); /* that it was created */
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "a"), 2);
	finish(w, id);
	assert_int_equal(world_calls(w, "c"), 1);
}

static void what_somebody_has_seen_is_written(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain("run"), "{}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "a"), "completed");
	assert_true(written(w, id) > 2);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "a"), 1);
	finish(w, id);
}

static void an_order_is_written_before_it_is_answered(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain("run"), "{}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, id), "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	finish(w, id);
}

static void what_waits_for_a_person_is_written(void **state)
{
	struct world *w = *state;
	for (const char *const *how = (const char *const[]){"run", "none", NULL}; *how; how++) {
		char text[512];
		(void)snprintf(text, sizeof(text),
			       "{\"sluice\":1,\"name\":\"x\",\"durability\":\"%s\",\"nodes\":["
			       "{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1}},"
			       "{\"id\":\"ok\",\"type\":\"human_review\",\"params\":{\"draft\":\"d\"}}],"
			       "\"edges\":[{\"from\":\"a\",\"to\":\"ok\"}]}",
			       *how); /* it fits */
		unsigned before = world_calls(w, "a");
		struct sl_run_id id = world_submit(w, text, "{}");
		world_settle(w);
		world_crash(w);
		world_settle(w);
		assert_int_equal(world_calls(w, "a"), before + 1);
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ok", "{\"action\":\"approve\"}"), SL_OK);
		assert_string_equal(world_status(w, id), "succeeded");
	}
}

static void what_leaves_the_system_finds_all_before_it_written(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		"{\"sluice\":1,\"name\":\"x\",\"durability\":\"run\",\"nodes\":["
		"{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1}},{\"id\":\"out\",\"type\":\"external\"},"
		"{\"id\":\"z\",\"type\":\"fake\",\"params\":{\"answer\":2,\"hold\":true}}],"
		"\"edges\":[{\"from\":\"a\",\"to\":\"out\"},{\"from\":\"out\",\"to\":\"z\"}]}",
		"{}");
	world_settle(w);
	assert_int_equal(world_count(w, id, "a", "completed"), 1);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "a"), 1);
}

static void nothing_is_written_of_a_run_that_need_not_be_kept(void **state)
{
	struct world *w = *state;
	world_auto_commit(w, false);
	struct sl_run_id id = world_submit(w, chain("none"), "{}"); /* answered without a commit */
	world_settle(w);
	assert_false(world_commit_one(w)); /* nor is any under way */
	world_release(w, "b");
	world_settle(w);
	assert_true(world_commit_one(w)); /* all of it, at the end */
	assert_false(world_commit_one(w));
	world_auto_commit(w, true);
	expect_3(w, id);
}

static void gone(void *arg, enum sl_code rc, struct sl_view *v)
{
	*(enum sl_code *)arg = rc;
	sl_view_free(v);
}

static void it_is_gone_with_the_server(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain("none"), "{}");
	enum sl_code rc = SL_INTERNAL;
	world_settle(w);
	world_crash(w);
	world_settle(w);
	assert_int_equal(sl_engine_view(world_engine(w), id, SL_VIEW_ONCE, gone, &rc), SL_OK);
	world_settle(w);
	assert_int_equal(rc, SL_NOT_FOUND);
	assert_int_equal(world_calls(w, "a"), 1);
}

static void a_key_is_kept_in_any_case(void **state)
{
	struct world *w = *state;
	enum sl_code rc;
	struct sl_run_id id = world_submit_keyed(w, chain("none"), "{}", "k1", &rc);
	assert_int_equal(rc, SL_OK);
	assert_true(written(w, id) >= 1);
	struct sl_run_id again = world_submit_keyed(w, chain("none"), "{}", "k1", &rc);
	assert_int_equal(rc, SL_CONFLICT);
	assert_true(sl_run_id_eq(id, again));
	world_settle(w);
	finish(w, id);
}

static void a_long_run_is_written_now_and_then(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		"{\"sluice\":1,\"name\":\"x\",\"durability\":\"run\",\"nodes\":[{\"id\":\"l\",\"type\":\"loop\","
		"\"params\":{"
		"\"max_rounds\":900,\"body\":{\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1,"
		"\"hold\":\"{{ loop.index == 899 }}\"}}]}}}]}",
		"{}");
	world_settle(w);
	assert_true(world_is_held(w, "l#899/a"));
	size_t n = written(w, id);
	assert_true(n > 1000);
	world_crash(w);
	world_settle(w);
	assert_true(world_is_held(w, "l#899/a"));
	assert_int_equal(world_calls(w, "l#1/a"), 1);
	world_release(w, "l#899/a");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void what_was_held_back_is_written_when_the_server_stops(void **state)
{
	struct world *w = *state;
	struct sl_run_id run = world_submit(w, chain("run"), "{}"), none = world_submit(w, chain("none"), "{}");
	world_settle(w);
	assert_int_equal(written(w, run), 1);
	assert_int_equal(written(w, none), 0);
	sl_engine_stop(world_engine(w));
	while (world_commit_one(w)) {
	}
	assert_true(written(w, run) > 2);
	assert_true(written(w, none) > 2);
}

static void any_crash_leaves_a_run_that_completes(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 300);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		struct sl_run_id id = world_submit(w, chain("run"), "{}");
		unsigned crashes = 0;
		world_auto_commit(w, false);
		for (unsigned step = 0; step < 60; step++) {
			unsigned what = rnd(&s) % 12;
			if (what < 6)
				sl_engine_step(world_engine(w));
			else if (what < 9)
				world_commit_one(w);
			else if (what < 10 && world_is_held(w, "b"))
				world_release(w, "b");
			else if (what == 11 && crashes < SL_LIMIT_RECOVERIES - 1) {
				world_crash(w);
				crashes++;
			}
		}
		world_auto_commit(w, true);
		world_settle(w);
		if (world_is_held(w, "b"))
			world_release(w, "b");
		world_settle(w);
		expect_3(w, id);
		assert_int_equal(world_count(w, id, "a", "completed"), 1);
		assert_int_equal(world_count(w, id, "c", "completed"), 1);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(step_by_step_nothing_is_done_again),
		WORLD_TEST(a_run_kept_as_a_whole_begins_anew),
		WORLD_TEST(what_somebody_has_seen_is_written),
		WORLD_TEST(an_order_is_written_before_it_is_answered),
		WORLD_TEST(what_waits_for_a_person_is_written),
		WORLD_TEST(what_leaves_the_system_finds_all_before_it_written),
		WORLD_TEST(nothing_is_written_of_a_run_that_need_not_be_kept),
		WORLD_TEST(it_is_gone_with_the_server),
		WORLD_TEST(a_key_is_kept_in_any_case),
		WORLD_TEST(a_long_run_is_written_now_and_then),
		WORLD_TEST(what_was_held_back_is_written_when_the_server_stops),
		cmocka_unit_test(any_crash_leaves_a_run_that_completes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
