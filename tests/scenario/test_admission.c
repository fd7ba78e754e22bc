/* Runs that wait for their turn: told why, started in order, cancelled, and queued again after a crash. */
#include "tests/lib/test.h"

#include "tests/lib/scenario.h"

/* One held node, whose name tells the workflows apart. */
#define HELD(name)                                                                                                     \
	"{\"sluice\":1,\"name\":\"" name "\",\"nodes\":[{\"id\":\"" name "\",\"type\":\"fake\",\"params\":{"           \
	"\"answer\":1,\"hold\":true}}]}"
static const char asks[] = "{\"sluice\":1,\"name\":\"asks\",\"nodes\":[{\"id\":\"go\",\"type\":\"wait_signal\","
			   "\"params\":{\"signal\":\"go\"}},{\"id\":\"after\",\"type\":\"fake\",\"params\":{\"answer\":"
			   "1,\"hold\":true}}],\"edges\":[{\"from\":\"go\",\"to\":\"after\"}]}";
static const char child[] = "{\"sluice\":1,\"name\":\"helper\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
			    "\"answer\":1}}]}";
static const char parent[] = "{\"sluice\":1,\"name\":\"parent\",\"nodes\":[{\"id\":\"sub\",\"type\":\"subworkflow\","
			     "\"params\":{\"workflow\":\"helper\"}}]}";

static void limit(struct world *w, uint32_t server, uint32_t per_project)
{
	struct sl_admit_limits l = {.max_running = server, .per_project = per_project};
	sl_engine_limit(world_engine(w), &l);
}

static void expect(struct world *w, struct sl_run_id id, const char *status)
{
	world_settle(w);
	assert_string_equal(world_status(w, id), status);
}

static const char *reason(struct world *w, struct sl_run_id id)
{
	const char *z = sl_json_get_z(world_run(w, id), "reason");
	return z ? z : "";
}

static void a_run_over_the_limit_is_queued_says_why_and_starts_when_there_is_room(void **state)
{
	struct world *w = *state;
	limit(w, 0, 1);
	struct sl_run_id a = world_submit_as(w, HELD("a"), "x", 0), b = world_submit_as(w, HELD("b"), "x", 0),
			 c = world_submit_as(w, HELD("c"), "y", 0);
	expect(w, a, "running");
	expect(w, b, "queued");
	expect(w, c, "running");
	assert_string_equal(reason(w, b), "project 'x' has 1 of 1 runs at work");
	assert_int_equal(events(w, a, "execution:queued"), 0);
	assert_int_equal(events(w, b, "execution:queued"), 1);
	world_advance(w, 60000);
	expect(w, b, "queued");
	world_release(w, "a");
	expect(w, a, "succeeded");
	expect(w, b, "running");
	assert_string_equal(reason(w, b), "");
	struct sl_engine_stats s;
	sl_engine_stats(world_engine(w), &s);
	assert_int_equal(s.admit.inside, 2);
	assert_int_equal(s.admit.waiting, 0);
	assert_int_equal(s.admit.waited_ms, 60000);
}

static void priorities_go_first(void **state)
{
	struct world *w = *state;
	limit(w, 1, 0);
	struct sl_run_id a = world_submit_as(w, HELD("a"), "x", 0), b = world_submit_as(w, HELD("b"), "x", -1),
			 c = world_submit_as(w, HELD("c"), "x", 5);
	expect(w, a, "running");
	world_release(w, "a");
	expect(w, c, "running");
	expect(w, b, "queued");
	world_release(w, "c");
	expect(w, b, "running");
}

static void a_queued_run_can_be_cancelled(void **state)
{
	struct world *w = *state;
	limit(w, 1, 0);
	struct sl_run_id a = world_submit_as(w, HELD("a"), "x", 0), b = world_submit_as(w, HELD("b"), "x", 0),
			 c = world_submit_as(w, HELD("c"), "x", 0);
	world_settle(w);
	assert_int_equal(world_command(w, b, SL_CMD_CANCEL), SL_OK);
	expect(w, b, "cancelled");
	world_release(w, "a");
	expect(w, c, "running");
	expect(w, a, "succeeded");
	assert_int_equal(world_calls(w, "b"), 0);
}

static void who_waits_gives_its_place_and_goes_on_at_once(void **state)
{
	struct world *w = *state;
	limit(w, 1, 0);
	struct sl_run_id a = world_submit_as(w, asks, "x", 0), b = world_submit_as(w, HELD("b"), "x", 0),
			 c = world_submit_as(w, HELD("c"), "x", 0);
	expect(w, a, "waiting");
	expect(w, b, "running");
	expect(w, c, "queued");
	assert_int_equal(world_command(w, b, SL_CMD_PAUSE_NOW), SL_OK); /* and so does who is paused */
	expect(w, c, "running");
	assert_int_equal(world_order(w, a, SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\"}"), SL_OK);
	expect(w, a, "running");
	assert_true(world_is_held(w, "after"));
	assert_int_equal(world_command(w, b, SL_CMD_RESUME), SL_OK);
	expect(w, b, "running");
	struct sl_engine_stats s;
	sl_engine_stats(world_engine(w), &s);
	assert_int_equal(s.admit.inside, 3);
	struct sl_run_id d = world_submit_as(w, HELD("d"), "x", 0);
	expect(w, d, "queued");
	assert_string_equal(reason(w, d), "the server has 3 of 1 runs at work");
}

static void a_child_takes_no_place(void **state)
{
	struct world *w = *state;
	world_workflow("helper", child);
	limit(w, 1, 1);
	struct sl_run_id a = world_submit_as(w, parent, "x", 0);
	expect(w, a, "succeeded");
	expect(w, world_child(w, a), "succeeded");
}

static void after_a_crash_the_running_go_on_and_the_queued_queue_in_order(void **state)
{
	struct world *w = *state;
	world_limits(w, &(struct sl_admit_limits){.max_running = 2});
	struct sl_run_id a = world_submit_as(w, HELD("a"), "x", 0), b = world_submit_as(w, HELD("b"), "x", 0),
			 c = world_submit_as(w, HELD("c"), "x", 0), d = world_submit_as(w, HELD("d"), "x", 0),
			 e = world_submit_as(w, HELD("e"), "x", 1);
	for (int life = 0; life < 3; life++) {
		expect(w, a, "running");
		expect(w, b, "running");
		expect(w, c, "queued");
		expect(w, d, "queued");
		expect(w, e, "queued");
		assert_int_equal(events(w, c, "execution:queued"), 1); /* told once, as the reason is the same */
		world_crash(w);
	}
	world_settle(w);
	world_release(w, "b");
	expect(w, e, "running");
	expect(w, c, "queued");
	world_release(w, "e");
	expect(w, c, "running");
	expect(w, d, "queued");
	assert_int_equal(world_calls(w, "d"), 0);
	world_release(w, "a");
	expect(w, d, "running");
	for (int i = 0; i < 2; i++) /* and the wait of a queued one survives with its place */
		world_crash(w);
	expect(w, d, "running");
}

static void nothing(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	fail_msg("it was refused");
}

static void too_many_are_refused_with_a_time_to_come_back(void **state)
{
	struct world *w = *state;
	struct sl_error err = {0};
	struct sl_problems problems = {0};
	struct sl_admit_limits l = {.max_running = 1, .max_queued = 1, .max_unfinished = 3};
	sl_engine_limit(world_engine(w), &l);
	(void)world_submit_as(w, HELD("a"), "x", 0);
	(void)world_submit_as(w, HELD("b"), "x", 0);
	world_settle(w);
	struct sl_run_head *h = sl_run_head_new();
	h->definition = sl_bytes_new(HELD("c"), strlen(HELD("c")));
	assert_int_equal(sl_engine_submit(world_engine(w), h, &problems, nothing, NULL, &err), SL_BUSY);
	assert_string_equal(err.text, "1 runs wait for a place, and no more may");
	assert_int_equal(err.retry_after_ms, 2000);
	l = (struct sl_admit_limits){.max_unfinished = 2};
	sl_engine_limit(world_engine(w), &l);
	h = sl_run_head_new();
	h->definition = sl_bytes_new(HELD("c"), strlen(HELD("c")));
	assert_int_equal(sl_engine_submit(world_engine(w), h, &problems, nothing, NULL, &err), SL_BUSY);
	assert_string_equal(err.text, "2 runs are unfinished, and no more may be");
	sl_problems_fini(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_run_over_the_limit_is_queued_says_why_and_starts_when_there_is_room),
		WORLD_TEST(priorities_go_first),
		WORLD_TEST(a_queued_run_can_be_cancelled),
		WORLD_TEST(who_waits_gives_its_place_and_goes_on_at_once),
		WORLD_TEST(a_child_takes_no_place),
		WORLD_TEST(after_a_crash_the_running_go_on_and_the_queued_queue_in_order),
		WORLD_TEST(too_many_are_refused_with_a_time_to_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
