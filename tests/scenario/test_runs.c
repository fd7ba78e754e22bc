/* Whole runs: what a graph does, what a person may do to it, and what a crash at any moment leaves. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/log.h"
#include "tests/lib/scenario.h"

#define DEBATE                                                                                                         \
	"{\"sluice\":1,\"name\":\"debate\",\"nodes\":["                                                                \
	"{\"id\":\"pro\",\"type\":\"fake\",\"params\":{\"answer\":\"for {{ input.topic }}\",\"text\":\"yes yes\"%s}}," \
	"{\"id\":\"con\",\"type\":\"fake\",\"params\":{\"answer\":\"against {{ input.topic }}\",\"text\":\"no "        \
	"no\"%s}},"                                                                                                    \
	"{\"id\":\"both\",\"type\":\"join\",\"params\":{%s}},"                                                         \
	"{\"id\":\"judge\",\"type\":\"fake\",\"params\":{\"answer\":\"{{ #nodes.both.arrived }}\"}}],"                 \
	"\"edges\":[{\"from\":\"pro\",\"to\":\"both\"},{\"from\":\"con\",\"to\":\"both\"},{\"from\":\"both\",\"to\":"  \
	"\"judge\"}],"                                                                                                 \
	"\"outputs\":{\"verdict\":\"{{ nodes.judge.value }}\"}}"

static const char *debate(const char *pro, const char *con, const char *join)
{
	static char text[4096];
	snprintf(text, sizeof(text), DEBATE, pro, con, join);
	return text;
}

static int64_t verdict(struct world *w, struct sl_run_id id)
{
	return sl_json_get_i64(sl_json_get(world_run(w, id), "outputs"), "verdict", -1);
}

static void the_judge_runs_once_after_both_sides(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate("", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "pro"), "completed");
	assert_string_equal(world_node_status(w, id, "judge"), "pending");
	world_release(w, "con");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "judge"), 1);
	assert_int_equal(verdict(w, id), 2);
	assert_int_equal(world_count(w, id, "both", "completed"), 1);
}

static void an_any_join_cancels_the_loser(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate("", ",\"hold\":true", "\"wait\":\"any\",\"cancel_rest\":true"),
					   "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_string_equal(world_node_status(w, id, "con"), "cancelled");
	assert_int_equal(world_cancels(w, "con"), 1);
	assert_int_equal(verdict(w, id), 1);
}

static void a_damaged_run_stays_as_it_is_and_the_others_go_on(void **state)
{
	struct world *w = *state;
	const char *hold = "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":"
			   "{\"answer\":1}},{\"id\":\"s\",\"type\":\"delay\",\"params\":{\"seconds\":10}}],\"edges\":"
			   "[{\"from\":\"a\",\"to\":\"s\"}]}";
	struct sl_run_id bad = world_submit(w, hold, "{}"), good = world_submit(w, hold, "{}");
	const struct sl_record *r;
	world_settle(w);
	size_t n = world_records(w, bad, &r);
	world_damage(w, bad);
	world_crash(w);
	world_advance(w, 20000);
	assert_string_equal(world_status(w, good), "succeeded");
	assert_int_equal(world_records(w, bad, &r), n); /* nothing is made up */
	assert_int_equal(world_calls(w, "a"), 2);
}

static void a_quorum_puts_up_with_a_failure(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w, debate(",\"fail\":\"invalid\"", "", "\"wait\":{\"quorum\":1}"), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "pro"), "failed");
	assert_string_equal(world_status(w, id), "succeeded");
}

static void a_quorum_that_cannot_be_met_fails_the_run_with_names(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w, debate(",\"fail\":\"invalid\"", ",\"fail\":\"invalid\"", "\"wait\":\"any\""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	struct json_object *err = sl_json_get(world_run(w, id), "error");
	assert_string_equal(sl_json_get_z(err, "code"), "join_unreachable");
	assert_string_equal(sl_json_get_z(err, "node"), "both");
	assert_non_null(strstr(sl_json_get_z(err, "message"), "pro, con"));
}

static void a_failure_nobody_tolerates_ends_the_run_and_stops_the_rest(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w, debate(",\"hold\":true", ",\"fail\":\"invalid\"", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_string_equal(world_node_status(w, id, "pro"), "cancelled");
	assert_int_equal(world_cancels(w, "pro"), 1);
	assert_int_equal(world_calls(w, "judge"), 0);
}

static void a_join_with_a_timeout_goes_on_with_what_came(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate("", ",\"hold\":true", "\"timeout_s\":30"), "{\"topic\":\"tea\"}");
	world_advance(w, 29000);
	assert_string_equal(world_node_status(w, id, "both"), "waiting");
	world_crash(w);
	world_advance(w, 900);
	assert_string_equal(world_node_status(w, id, "both"), "waiting");
	world_advance(w, 200);
	assert_string_equal(world_node_status(w, id, "both"), "completed");
	assert_int_equal(world_count(w, id, "both", "completed"), 1);
}

static void retries_follow_the_backoff_and_reset_the_stream(void **state)
{
	struct world *w = *state;
	const char *d = "{\"sluice\":1,\"name\":\"r\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
			"\"answer\":1,\"fail\":\"timeout\","
			"\"fail_times\":2,\"text\":\"hello\"},\"retry\":{\"max\":3,\"backoff_ms\":1000,\"factor\":2,"
			"\"jitter\":false}}],\"edges\":[]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "a"), "retrying");
	world_advance(w, 990);
	assert_int_equal(world_calls(w, "a"), 1);
	world_advance(w, 20);
	assert_int_equal(world_calls(w, "a"), 2);
	world_crash(w); /* the second backoff goes on where it was */
	world_advance(w, 1950);
	assert_int_equal(world_calls(w, "a"), 2);
	world_advance(w, 100);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "a"), 3);
}

static void retries_before_a_crash_count(void **state)
{
	struct world *w = *state;
	const char *d = "{\"sluice\":1,\"name\":\"r\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
			"\"answer\":1,\"fail\":\"timeout\"},\"retry\":{\"max\":2,\"backoff_ms\":1000,\"factor\":1,"
			"\"jitter\":false}}],\"edges\":[]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_advance(w, 1100);
	assert_int_equal(world_calls(w, "a"), 2);
	world_crash(w);
	world_advance(w, 10000);
	assert_string_equal(world_status(w, id), "failed");
	assert_int_equal(world_calls(w, "a"), 3);
	assert_int_equal(world_count(w, id, "a", "retrying"), 2);
}

/* One of three can come, two are wanted: the same end, whether it comes before or after the others have died. */
static void a_quorum_that_cannot_be_met_does_not_depend_on_who_is_faster(void **state)
{
	struct world *w = *state;
	for (int slow = 0; slow < 2; slow++)
		for (int comes = 0; comes < 2; comes++) {
			char d[1500];
			snprintf(d, sizeof(d),
				 "{\"sluice\":1,\"name\":\"q\",\"nodes\":[{\"id\":\"go\",\"type\":\"fake\",\"params\":{"
				 "}},"
				 "{\"id\":\"a\",\"type\":\"delay\",\"params\":{\"seconds\":%s}},"
				 "{\"id\":\"b\",\"type\":\"delay\",\"params\":{\"seconds\":2}},"
				 "{\"id\":\"j\",\"type\":\"join\",\"params\":{\"wait\":{\"quorum\":2}}}],"
				 "\"edges\":[{\"from\":\"go\",\"to\":\"j\",\"when\":\"input.no\"},"
				 "{\"from\":\"a\",\"to\":\"j\",\"when\":\"input.%s\"},{\"from\":\"b\",\"to\":\"j\","
				 "\"when\":"
				 "\"input.no\"}]}",
				 slow ? "3" : "1", comes ? "yes" : "no");
			struct sl_run_id id = world_submit(w, d, "{\"yes\":true,\"no\":false}");
			world_advance(w, 5000);
			assert_string_equal(world_status(w, id), comes ? "failed" : "succeeded");
			assert_string_equal(world_node_status(w, id, "j"), comes ? "failed" : "skipped");
		}
}

/* One branch of two failed and the join put up with it; that its condition then says no is no failure. */
static void a_join_skipped_by_its_condition_passes_no_failure_on(void **state)
{
	struct world *w = *state;
	const char *d =
		"{\"sluice\":1,\"name\":\"s\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"fail\":"
		"\"invalid\"}},"
		"{\"id\":\"b\",\"type\":\"fake\",\"params\":{}},{\"id\":\"c\",\"type\":\"fake\",\"params\":{}},"
		"{\"id\":\"j\",\"when\":\"input.no\",\"type\":\"join\",\"params\":{\"wait\":\"any\"}},"
		"{\"id\":\"k\",\"type\":\"join\",\"params\":{}}],"
		"\"edges\":[{\"from\":\"a\",\"to\":\"j\"},{\"from\":\"b\",\"to\":\"j\"},{\"from\":\"j\",\"to\":\"k\"},"
		"{\"from\":\"c\",\"to\":\"k\"}]}";
	struct sl_run_id id = world_submit(w, d, "{\"no\":false}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "a"), "failed");
	assert_string_equal(world_node_status(w, id, "j"), "skipped");
	assert_string_equal(world_node_status(w, id, "k"), "completed");
	assert_string_equal(world_status(w, id), "succeeded");
}

static void a_timeout_cancels_the_attempt(void **state)
{
	struct world *w = *state;
	const char *d = "{\"sluice\":1,\"name\":\"t\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
			"\"answer\":1,\"hold\":true},"
			"\"timeout_s\":5,\"on_error\":\"fallback\",\"fallback\":{\"timeout\":{\"value\":\"late\"},"
			"\"default\":{\"value\":\"?\"}},"
			"\"retry\":{\"max\":0}}],\"edges\":[],\"outputs\":{\"v\":\"{{ nodes.a.value }}\"}}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_advance(w, 4990);
	assert_string_equal(world_status(w, id), "running");
	world_advance(w, 20);
	assert_int_equal(world_cancels(w, "a"), 1);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "outputs"), "v"), "late");
}

static void a_branch_kills_the_other_path_and_its_join_does_not_hang(void **state)
{
	struct world *w = *state;
	const char *d =
		"{\"sluice\":1,\"name\":\"b\",\"nodes\":["
		"{\"id\":\"pick\",\"type\":\"branch\",\"params\":{\"cases\":[{\"case\":\"big\",\"when\":\"input.n > "
		"10\"}],\"default\":\"small\"}},"
		"{\"id\":\"x\",\"type\":\"fake\",\"params\":{\"answer\":1}},{\"id\":\"y\",\"type\":\"fake\",\"params\":"
		"{\"answer\":2}},"
		"{\"id\":\"y2\",\"type\":\"fake\",\"params\":{\"answer\":2}},{\"id\":\"end\",\"type\":\"join\","
		"\"params\":{}}],"
		"\"edges\":[{\"from\":\"pick\",\"to\":\"x\",\"case\":\"big\"},{\"from\":\"pick\",\"to\":\"y\",\"case\":"
		"\"small\"},"
		"{\"from\":\"x\",\"to\":\"end\"},{\"from\":\"y\",\"to\":\"y2\"},{\"from\":\"y2\",\"to\":\"end\"}]}";
	struct sl_run_id id = world_submit(w, d, "{\"n\":11}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_string_equal(world_node_status(w, id, "y"), "skipped");
	assert_string_equal(world_node_status(w, id, "y2"), "skipped");
	assert_int_equal(world_calls(w, "x"), 1);
	assert_int_equal(world_calls(w, "y"), 0);
}

static void a_delay_waits_only_the_rest_after_a_crash(void **state)
{
	struct world *w = *state;
	const char *d = "{\"sluice\":1,\"name\":\"d\",\"nodes\":[{\"id\":\"nap\",\"type\":\"delay\",\"params\":{"
			"\"seconds\":60}}],\"edges\":[]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "waiting");
	world_advance(w, 40000);
	world_crash(w);
	assert_string_equal(world_status(w, id), "waiting");
	world_advance(w, 19900);
	assert_string_equal(world_status(w, id), "waiting");
	world_advance(w, 200);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void a_refusal_tells_of_no_state_that_a_crash_can_take_back(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate(",\"hold\":true", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	world_auto_commit(w, false);
	const struct world_answer *cancel = world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
	const struct world_answer *pause = world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
	world_settle(w);
	assert_false(cancel->given);
	assert_false(pause->given); /* "a run that is cancelled cannot be paused" would be a lie after the crash */
	world_crash(w);
	world_auto_commit(w, true);
	world_settle(w);
	assert_string_equal(world_status(w, id), "running");
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_CONFLICT);
}

static void a_pause_lets_calls_finish_and_starts_nothing(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate(",\"hold\":true", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	assert_string_equal(world_status(w, id), "paused");
	world_release(w, "pro");
	world_release(w, "con");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "con"), "completed");
	assert_int_equal(world_calls(w, "judge"), 0);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, id), "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_calls(w, "judge"), 1);
}

static void a_pause_now_calls_off_and_a_resume_repeats(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate(",\"hold\":true", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_int_equal(world_cancels(w, "pro"), 1);
	assert_string_equal(world_node_status(w, id, "pro"), "pending");
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "pro"), 1);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_int_equal(world_calls(w, "pro"), 2);
	world_release(w, "pro");
	world_release(w, "con");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_count(w, id, "pro", "completed"), 1);
}

static void a_pause_now_after_a_drain_calls_off_what_still_runs(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate(",\"hold\":true", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	const struct sl_record *records;
	world_settle(w);
	assert_int_equal(world_say(w, "pro", "half a "), SL_OK);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_release(w, "con");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "con"), "completed");
	assert_string_equal(world_node_status(w, id, "pro"), "running");
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_string_equal(world_status(w, id), "paused");
	assert_int_equal(world_cancels(w, "pro"), 1);
	assert_string_equal(world_node_status(w, id, "pro"), "pending");
	size_t n = world_records(w, id, &records);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK); /* nothing is left to call off */
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	assert_int_equal(world_records(w, id, &records), n);
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, id), "paused");
	assert_string_equal(world_node_status(w, id, "pro"), "pending");
	assert_int_equal(world_calls(w, "pro"), 1);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	assert_int_equal(world_calls(w, "pro"), 2);
	assert_int_equal(world_calls(w, "con"), 1);
	world_release(w, "pro");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(world_count(w, id, "pro", "completed"), 1);
}

static void a_cancel_ends_everything_and_is_final(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, debate(",\"hold\":true", ",\"hold\":true", ""), "{\"topic\":\"tea\"}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_string_equal(world_status(w, id), "cancelled");
	assert_int_equal(world_cancels(w, "pro"), 1);
	assert_int_equal(world_cancels(w, "con"), 1);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK); /* its wish is fulfilled */
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_CONFLICT);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_CONFLICT);
}

static void a_run_that_takes_too_long_fails(void **state)
{
	struct world *w = *state;
	const char *d = "{\"sluice\":1,\"name\":\"l\",\"limits\":{\"timeout_s\":60},\"nodes\":[{\"id\":\"a\",\"type\":"
			"\"fake\",\"params\":"
			"{\"answer\":1,\"hold\":true}}],\"edges\":[]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_advance(w, 30000);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_advance(w, 100000); /* a paused clock stands still */
	assert_string_equal(world_status(w, id), "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_advance(w, 29000);
	assert_string_equal(world_status(w, id), "running");
	world_advance(w, 2000);
	assert_string_equal(world_status(w, id), "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "timeout");
}

static void at_most_so_many_branches_are_open(void **state)
{
	struct world *w = *state;
	const char *d =
		"{\"sluice\":1,\"name\":\"p\",\"nodes\":[{\"id\":\"p\",\"type\":\"parallel\",\"params\":{\"max_"
		"concurrency\":2}},"
		"{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"hold\":true}},{\"id\":\"b\",\"type\":\"fake\","
		"\"params\":{\"hold\":true}},"
		"{\"id\":\"c\",\"type\":\"fake\",\"params\":{\"hold\":true}},{\"id\":\"j\",\"type\":\"join\","
		"\"params\":{}}],"
		"\"edges\":[{\"from\":\"p\",\"to\":\"a\"},{\"from\":\"p\",\"to\":\"b\"},{\"from\":\"p\",\"to\":\"c\"},"
		"{\"from\":\"a\",\"to\":\"j\"},{\"from\":\"b\",\"to\":\"j\"},{\"from\":\"c\",\"to\":\"j\"}]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_settle(w);
	assert_int_equal(world_is_held(w, "a") + world_is_held(w, "b") + world_is_held(w, "c"), 2);
	const char *first = world_is_held(w, "a") ? "a" : "b";
	world_release(w, first);
	world_settle(w);
	assert_int_equal(world_is_held(w, "a") + world_is_held(w, "b") + world_is_held(w, "c"), 2);
	static const char *const all[] = {"a", "b", "c"};
	for (int i = 0; i < 3; i++)
		if (world_is_held(w, all[i]))
			world_release(w, all[i]);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void what_leaves_the_system_waits_for_the_commit(void **state)
{
	struct world *w = *state;
	const char *d =
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1}},"
		"{\"id\":\"out\",\"type\":\"external\",\"params\":{}}],\"edges\":[{\"from\":\"a\",\"to\":\"out\"}]}";
	struct sl_run_id id = world_submit(w, d, "{}");
	world_auto_commit(w, false);
	for (int i = 0; i < 10; i++)
		world_settle(w);
	for (int i = 0; i < 4 && world_calls(w, "out") == 0; i++) {
		assert_int_equal(world_count(w, id, "a", "completed"), 0);
		world_commit_one(w);
		world_settle(w);
	}
	assert_int_equal(world_count(w, id, "a", "completed"), 1);
	assert_int_equal(world_calls(w, "out"), 1);
	world_auto_commit(w, true);
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void an_idempotency_key_gives_one_run(void **state)
{
	struct world *w = *state;
	enum sl_code rc;
	struct sl_run_id a = world_submit_keyed(w, debate("", "", ""), "{\"topic\":\"tea\"}", "key", &rc);
	assert_int_equal(rc, SL_OK);
	struct sl_run_id b = world_submit_keyed(w, debate("", "", ""), "{\"topic\":\"tea\"}", "key", &rc);
	assert_int_equal(rc, SL_CONFLICT);
	assert_true(sl_run_id_eq(a, b));
	world_settle(w);
	assert_int_equal(world_calls(w, "judge"), 1);
}

/* Twelve nodes in three layers with a branch, two joins and a retry. */
static const char twelve[] =
	"{\"sluice\":1,\"name\":\"twelve\",\"nodes\":[{\"id\":\"p\",\"type\":\"parallel\",\"params\":{}},"
	"{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":1,\"text\":\"aaa\"}},{\"id\":\"b\",\"type\":\"fake\","
	"\"params\":{\"answer\":2,"
	"\"fail\":\"timeout\",\"fail_times\":1}},{\"id\":\"c\",\"type\":\"fake\",\"params\":{\"answer\":3}},"
	"{\"id\":\"j\",\"type\":\"join\",\"params\":{}},{\"id\":\"t\",\"type\":\"transform\",\"params\":{\"expr\":"
	"\"nodes.a.value + nodes.b.value + nodes.c.value\"}},"
	"{\"id\":\"k\",\"type\":\"branch\",\"params\":{\"cases\":[{\"case\":\"six\",\"when\":\"nodes.t.value == "
	"6\"}],\"default\":\"no\"}},"
	"{\"id\":\"six\",\"type\":\"fake\",\"params\":{\"answer\":\"six\"}},{\"id\":\"no\",\"type\":\"fake\","
	"\"params\":{\"answer\":\"no\"}},"
	"{\"id\":\"nap\",\"type\":\"delay\",\"params\":{\"seconds\":1}},{\"id\":\"e\",\"type\":\"join\",\"params\":{}},"
	"{\"id\":\"fin\",\"type\":\"template\",\"params\":{\"text\":\"{{ nodes.t.value }} is {{ nodes.six.value "
	"}}\"}}],"
	"\"edges\":[{\"from\":\"p\",\"to\":\"a\"},{\"from\":\"p\",\"to\":\"b\"},{\"from\":\"p\",\"to\":\"c\"},{"
	"\"from\":\"a\",\"to\":\"j\"},{\"from\":\"b\",\"to\":\"j\"},"
	"{\"from\":\"c\",\"to\":\"j\"},{\"from\":\"j\",\"to\":\"t\"},{\"from\":\"t\",\"to\":\"k\"},{\"from\":\"k\","
	"\"to\":\"six\",\"case\":\"six\"},"
	"{\"from\":\"k\",\"to\":\"no\",\"case\":\"no\"},{\"from\":\"six\",\"to\":\"nap\"},{\"from\":\"nap\",\"to\":"
	"\"e\"},{\"from\":\"no\",\"to\":\"e\"},{\"from\":\"e\",\"to\":\"fin\"}],"
	"\"outputs\":{\"text\":\"{{ nodes.fin.text }}\"}}";

/* Kills at random moments of random schedules: whatever is committed, the rest completes the run, and nothing that was
 * committed is done again. The seed of a failure is printed. */
static void any_crash_leaves_a_run_that_completes(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 2000);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		struct sl_run_id id = world_submit(w, twelve, "{}");
		unsigned crashes = 0;
		world_auto_commit(w, false);
		for (unsigned step = 0; step < 400; step++) {
			unsigned what = rnd(&s) % 12;
			if (what < 6)
				sl_engine_step(world_engine(w));
			else if (what < 9)
				world_commit_one(w);
			else if (what < 11)
				world_advance(w, 1 + rnd(&s) % 400);
			else if (crashes < SL_LIMIT_RECOVERIES - 1 && rnd(&s) % 4 == 0) {
				unsigned done = world_count(w, id, "a", "completed"), calls = world_calls(w, "a");
				world_crash(w);
				crashes++;
				for (int i = 0; i < 20; i++)
					sl_engine_step(world_engine(w));
				if (done && world_calls(w, "a") != calls)
					fail_msg("seed %llu: a finished node was called again",
						 (unsigned long long)seed);
			}
		}
		world_auto_commit(w, true);
		world_advance(w, 30000);
		if (strcmp(world_status(w, id), "succeeded") != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed,
				 json_object_to_json_string(world_run(w, id)));
		assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "outputs"), "text"), "6 is six");
		static const char *const all[] = {"p", "a", "b", "c", "j", "t", "k", "six", "nap", "e", "fin"};
		for (size_t i = 0; i < SL_COUNT_OF(all); i++)
			if (world_count(w, id, all[i], "completed") != 1)
				fail_msg("seed %llu: %s completed %u times", (unsigned long long)seed, all[i],
					 world_count(w, id, all[i], "completed"));
		world_free(w);
	}
}

/* ---- definitions that were stored by an earlier version ---- */

/* As if it had been accepted with other checks than today's. */
static void stored_as(struct world *w, struct sl_run_id id, const char *definition)
{
	struct sl_run_head *head = world_head(w, id);
	sl_bytes_unref(head->definition);
	head->definition = sl_bytes_new(definition, strlen(definition));
}

static const char *choose(unsigned quorum, const char *mention)
{
	static char text[2048];
	snprintf(text, sizeof(text),
		 "{\"sluice\":1,\"name\":\"old\",\"nodes\":[{\"id\":\"first\",\"type\":\"fake\",\"params\":{\"answer\":"
		 "1,"
		 "\"hold\":true}},{\"id\":\"p\",\"type\":\"branch\",\"params\":{\"cases\":[{\"case\":\"x\",\"when\":"
		 "\"true\"},{\"case\":\"y\",\"when\":\"false\"}],\"default\":\"z\"}},"
		 "{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"answer\":\"{{ %s "
		 "}}\"}},{\"id\":\"b\",\"type\":\"fake\"},"
		 "{\"id\":\"c\",\"type\":\"fake\"},{\"id\":\"j\",\"type\":\"join\",\"params\":{\"wait\":{\"quorum\":%u}"
		 "}}],"
		 "\"edges\":[{\"from\":\"first\",\"to\":\"p\"},{\"from\":\"p\",\"to\":\"a\",\"case\":\"x\"},{\"from\":"
		 "\"p\","
		 "\"to\":\"b\",\"case\":\"y\"},{\"from\":\"p\",\"to\":\"c\",\"case\":\"z\"},{\"from\":\"a\",\"to\":"
		 "\"j\"},"
		 "{\"from\":\"b\",\"to\":\"j\"},{\"from\":\"c\",\"to\":\"j\"}]}",
		 mention, quorum);
	return text;
}

static bool refused(struct world *w, const char *definition)
{
	struct sl_problems p = {0};
	assert_int_equal(sl_engine_validate(world_engine(w), sl_str(definition), NULL, &p), SL_OK);
	bool bad = p.errors > 0;
	sl_problems_fini(&p);
	return bad;
}

static void a_stored_run_goes_on_although_its_definition_would_be_refused_today(void **state)
{
	static const struct {
		unsigned quorum;
		const char *mention, *ends;
	} rows[] = {
		{1, "(nodes.b or {}).value or 1", "succeeded"}, /* no node above it */
		{2, "1", "failed"},                             /* one case is chosen, two branches are asked for */
		{4, "1", "succeeded"},                          /* more than there are: as `all` */
	};
	struct world *w = *state;
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w, choose(1, "1"), "{}");
		world_settle(w);
		const char *old = choose(rows[i].quorum, rows[i].mention);
		assert_true(refused(w, old));
		stored_as(w, id, old);
		world_crash(w);
		world_settle(w);
		assert_string_equal(world_status(w, id), "running");
		assert_true(refused(w, old)); /* that one runs of it makes it no better */
		world_release(w, "first");
		world_settle(w);
		assert_string_equal(world_status(w, id), rows[i].ends);
		assert_string_equal(world_node_status(w, id, "a"), "completed");
	}
}

static void a_stored_run_whose_definition_cannot_be_read_fails_and_can_be_retried(void **state)
{
	static const char unknown[] =
		"{\"sluice\":1,\"name\":\"old\",\"nodes\":[{\"id\":\"first\",\"type\":\"gone\"}]}";
	static const char *const damaged[] = {unknown, "{\"sluice\":2,\"nodes\":[]}", "{\"sluice\":1,\"nodes\":7}",
					      "{}"};
	struct world *w = *state;
	for (size_t i = 0; i < SL_COUNT_OF(damaged); i++) {
		struct sl_run_id id = world_submit(w, choose(1, "1"), "{}"), out;
		world_settle(w);
		if (i == 1) /* held back by a person, it is no better off */
			assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
		stored_as(w, id, damaged[i]);
		world_crash(w);
		world_settle(w);
		struct json_object *error = sl_json_get(world_run(w, id), "error");
		assert_string_equal(world_status(w, id), "failed");
		error = sl_json_get(world_run(w, id), "error");
		assert_string_equal(sl_json_get_z(error, "code"), "invalid");
		assert_non_null(strstr(sl_json_get_z(error, "message"), "its definition cannot be read: "));
		const struct sl_record *r;
		size_t n = world_records(w, id, &r);
		assert_string_equal(r[n - 1].event, "execution:failed");
		/* it stays so, and is told as what it is */
		world_crash(w);
		world_settle(w);
		assert_int_equal(world_records(w, id, &r), n);
		assert_string_equal(world_status(w, id), "failed");
		assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_CONFLICT);
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_INVALID);
		const struct sl_fork f = {.from = SL_STR("a")};
		assert_int_equal(world_fork(w, id, &f, &out), SL_INVALID);
		/* a server that can read it goes on with it */
		stored_as(w, id, choose(1, "1"));
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		world_release(w, "first");
		world_settle(w);
		assert_string_equal(world_status(w, id), "succeeded");
	}
}

static void who_waits_for_a_run_that_cannot_be_read_is_told(void **state)
{
	struct world *w = *state;
	world_workflow("old-child", "{\"sluice\":1,\"name\":\"old-child\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\","
				    "\"params\":{\"hold\":true}}]}");
	struct sl_run_id id = world_submit(
		w,
		"{\"sluice\":1,\"name\":\"parent\",\"nodes\":[{\"id\":\"c\",\"type\":\"subworkflow\",\"params\":{"
		"\"workflow\":\"old-child\"}}]}",
		"{}");
	world_settle(w);
	stored_as(w, world_child(w, id), "{}");
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, world_child(w, id)), "failed");
	assert_string_equal(world_status(w, id), "failed");
	assert_non_null(strstr(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "message"),
			       "its definition cannot be read"));
}

static struct sl_run_id named(struct world *w, const char *name, const char *params)
{
	struct sl_run_id id = world_submit(
		w, q("{'sluice':1,'name':'%s','nodes':[{'id':'only','type':'fake','params':{%s}}]}", name, params),
		"{}");
	world_settle(w);
	return id;
}

/* What an operator sees in the log at each level: what went wrong always, what went well only when asked for. */
static void a_run_that_fails_is_in_the_log(void **state)
{
	struct world *w = *state;
	static const unsigned lines[] = {[SL_LOG_ERROR] = 0, [SL_LOG_WARN] = 1, [SL_LOG_INFO] = 2, [SL_LOG_DEBUG] = 6};
	for (int level = SL_LOG_ERROR; level <= SL_LOG_DEBUG; level++) {
		char text[8192], id[SL_UUID_TEXT_BYTES], line[256];
		FILE *log = tmpfile();
		assert_non_null(log);
		sl_log_setup((enum sl_level)level, SL_LOG_JSON, fileno(log));
		struct sl_run_id bad = named(w, "bad", "'fail':'invalid'"), held = named(w, "held", "'hold':true");
		(void)named(w, "good", "'answer':1");
		world_advance(w, 250);
		enum sl_code rc = world_command(w, held, SL_CMD_CANCEL);
		world_settle(w);
		sl_log_setup(SL_LOG_INFO, SL_LOG_TEXT, 2);
		rewind(log);
		text[fread(text, 1, sizeof(text) - 1, log)] = '\0';
		(void)fclose(log);
		assert_int_equal(rc, SL_OK);
		unsigned n = 0;
		for (const char *at = text; (at = strstr(at, "\"msg\":\"a run ")); at++)
			n++;
		assert_int_equal(n, lines[level]);
		sl_uuid_format(bad.u, id);
		(void)snprintf(line, sizeof(line),
			       "\"msg\":\"a run has failed\",\"run\":\"%s\",\"workflow\":\"bad\",\"status\":\"failed\","
			       "\"ms\":0,\"code\":\"invalid\",\"node\":\"only\"}",
			       id);
		assert_int_equal(strstr(text, line) != NULL, level >= SL_LOG_WARN);
		sl_uuid_format(held.u, id);
		(void)snprintf(
			line, sizeof(line),
			"\"msg\":\"a run has ended\",\"run\":\"%s\",\"workflow\":\"held\",\"status\":\"cancelled\","
			"\"ms\":250",
			id);
		assert_int_equal(strstr(text, line) != NULL, level >= SL_LOG_INFO);
		assert_int_equal(strstr(text, "\"workflow\":\"good\"") != NULL, level == SL_LOG_DEBUG);
	}
}

/* ---- a pause of everything ---- */

static const char holds[] = "{\"sluice\":1,\"name\":\"holds\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
			    "\"answer\":1,\"hold\":true}}]}";

/* Nothing that was decided is written when the next thing is said. */
static void what_was_said_last_to_all_runs_counts(void **state)
{
	struct world *w = *state;
	world_auto_commit(w, false);
	struct sl_run_id id = world_submit(w, holds, "{}");
	while (sl_engine_step(world_engine(w))) { /* it has started, which is not written yet */
	}
	world_pause_all(w, true);
	world_auto_commit(w, true);
	world_settle(w);
	expect_status(w, id, "paused");
	world_auto_commit(w, false);
	for (int i = 0; i < 5; i++) {
		world_pause_all(w, i % 2);
		if (i == 2)
			while (sl_engine_step(world_engine(w))) {
			}
	}
	world_auto_commit(w, true);
	world_settle(w);
	expect_status(w, id, "running");

	/* what a person has paused is not let go on by that */
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_pause_all(w, true);
	world_pause_all(w, false);
	world_settle(w);
	expect_status(w, id, "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);

	/* its server goes down during the pause, and the pause ends before another one takes it over */
	world_pause_all(w, true);
	world_settle(w);
	expect_status(w, id, "paused");
	world_elsewhere(w, id);
	world_crash(w);
	world_pause_all(w, false);
	world_settle(w);
	expect_status(w, id, "paused");
	world_take_over(w);
	world_settle(w);
	expect_status(w, id, "running");
}

static void all_runs_end_as_was_said_last_whatever_crashes(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 200);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		struct sl_run_id ids[4];
		unsigned n = 0, crashes = 0;
		bool paused = false;
		world_auto_commit(w, false);
		for (unsigned step = 0; step < 120; step++) {
			unsigned what = rnd(&s) % 16;
			if (what < 6)
				sl_engine_step(world_engine(w));
			else if (what < 10)
				world_commit_one(w);
			else if (what < 12 && n < SL_COUNT_OF(ids))
				ids[n++] = world_submit(w, holds, "{}");
			else if (what < 15)
				world_pause_all(w, paused = rnd(&s) % 2);
			else if (crashes++ < 3)
				world_crash(w);
		}
		world_auto_commit(w, true);
		world_settle(w);
		for (unsigned i = 0; i < n; i++) {
			const char *is = world_status(w, ids[i]);
			bool stands = strcmp(is, "paused") == 0 || strcmp(is, "queued") == 0;
			if (stands != paused || (!paused && strcmp(is, "running") != 0))
				fail_msg("seed %llu: %s, and a run is %s", (unsigned long long)seed,
					 paused ? "all is paused" : "all goes on", is);
		}
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(what_was_said_last_to_all_runs_counts),
		cmocka_unit_test(all_runs_end_as_was_said_last_whatever_crashes),
		WORLD_TEST(the_judge_runs_once_after_both_sides),
		WORLD_TEST(a_run_that_fails_is_in_the_log),
		WORLD_TEST(an_any_join_cancels_the_loser),
		WORLD_TEST(a_quorum_puts_up_with_a_failure),
		WORLD_TEST(a_damaged_run_stays_as_it_is_and_the_others_go_on),
		WORLD_TEST(a_quorum_that_cannot_be_met_fails_the_run_with_names),
		WORLD_TEST(a_failure_nobody_tolerates_ends_the_run_and_stops_the_rest),
		WORLD_TEST(a_join_with_a_timeout_goes_on_with_what_came),
		WORLD_TEST(retries_follow_the_backoff_and_reset_the_stream),
		WORLD_TEST(retries_before_a_crash_count),
		WORLD_TEST(a_quorum_that_cannot_be_met_does_not_depend_on_who_is_faster),
		WORLD_TEST(a_join_skipped_by_its_condition_passes_no_failure_on),
		WORLD_TEST(a_timeout_cancels_the_attempt),
		WORLD_TEST(a_branch_kills_the_other_path_and_its_join_does_not_hang),
		WORLD_TEST(a_delay_waits_only_the_rest_after_a_crash),
		WORLD_TEST(a_refusal_tells_of_no_state_that_a_crash_can_take_back),
		WORLD_TEST(a_pause_lets_calls_finish_and_starts_nothing),
		WORLD_TEST(a_pause_now_calls_off_and_a_resume_repeats),
		WORLD_TEST(a_pause_now_after_a_drain_calls_off_what_still_runs),
		WORLD_TEST(a_cancel_ends_everything_and_is_final),
		WORLD_TEST(a_run_that_takes_too_long_fails),
		WORLD_TEST(at_most_so_many_branches_are_open),
		WORLD_TEST(what_leaves_the_system_waits_for_the_commit),
		WORLD_TEST(an_idempotency_key_gives_one_run),
		cmocka_unit_test(any_crash_leaves_a_run_that_completes),
		WORLD_TEST(a_stored_run_goes_on_although_its_definition_would_be_refused_today),
		WORLD_TEST(a_stored_run_whose_definition_cannot_be_read_fails_and_can_be_retried),
		WORLD_TEST(who_waits_for_a_run_that_cannot_be_read_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
