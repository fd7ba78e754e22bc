/* What keeps model calls within limits, in whole runs under a fake clock: fallbacks, breakers, keys, rates, gates and
 * budgets. */
#include "tests/lib/test.h"

#include "llm/breaker.h"
#include "llm/budget.h"
#include "tests/lib/limited.h"

/* ---- fallbacks ---- */

static void a_provider_that_dies_in_mid_stream_is_followed_by_its_fallback(void **state)
{
	struct limited *f = *state;
	put(f, "second", PROFILE(""));
	put(f, "main", PROFILE(",\"fallbacks\":[\"second\"]"));
	struct sl_run_id id =
		ask(f, "\"profile\":\"main\",\"ways\":[{\"text\":\"half an ans\",\"fail\":\"stream_truncated\"}"
		       ",{\"text\":\"The whole answer.\"}]");
	world_advance(f->w, 1);
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_string_equal(answer(f, id), "The whole answer.");
	assert_int_equal(events(f->w, id, "stream_reset"), 1);
	assert_int_equal(world_calls(f->w, "a"), 2); /* at once */
	assert_int_equal(world_count(f->w, id, "a", "retrying"), 1);
}

static void a_retry_begins_with_the_profile_itself_again(void **state)
{
	struct limited *f = *state;
	put(f, "second", PROFILE(""));
	put(f, "main", PROFILE(",\"fallbacks\":[\"second\",\"nobody\"]"));
	struct sl_run_id id =
		ask(f, "\"profile\":\"main\",\"fail\":\"provider_overloaded\",\"fail_times\":2,\"ways\":[{"
		       "\"text\":\"from the first\"},{\"text\":\"from the second\"}]");
	world_advance(f->w, 1);
	assert_int_equal(world_calls(f->w, "a"), 2);
	assert_string_equal(world_node_status(f->w, id, "a"), "retrying");
	world_advance(f->w, 1000);
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_string_equal(answer(f, id), "from the first");
}

static void what_is_wrong_with_the_request_goes_nowhere_else(void **state)
{
	struct limited *f = *state;
	put(f, "second", PROFILE(""));
	put(f, "main", PROFILE(",\"fallbacks\":[\"second\"]"));
	struct sl_run_id id = ask(f, "\"profile\":\"main\",\"fail\":\"provider_rejected\"");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "failed");
	assert_int_equal(world_calls(f->w, "a"), 1);
}

static void a_key_that_is_refused_is_followed_by_another_and_stays_out(void **state)
{
	struct limited *f = *state;
	put(f, "main",
	    "{\"provider\":\"openai\",\"model\":\"m\",\"api_keys\":[\"sk-aaaaaaaa1111\",\"sk-bbbbbbbb2222\"]}");
	struct sl_run_id id =
		ask(f, "\"profile\":\"main\",\"fail\":\"provider_auth\",\"fail_times\":1,\"text\":\"yes\"");
	world_advance(f->w, 1);
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_int_equal(world_calls(f->w, "a"), 2);
	SL_BUF(out, 1 << 16);
	const struct sl_clock clock = sl_clock_real;
	sl_governor_json(f->governor, &clock, &out);
	assert_non_null(strstr(out.data, "\"lane\":1,\"key\":\"\xe2\x80\xa6"
					 "1111\",\"state\":\"out\""));
	/* nothing is left to try when both are out */
	id = ask(f, "\"profile\":\"main\",\"fail\":\"provider_auth\"");
	world_advance(f->w, 1);
	id = ask(f, "\"profile\":\"main\",\"text\":\"yes\"");
	world_advance(f->w, 1);
	assert_string_equal(world_status(f->w, id), "failed");
	assert_non_null(strstr(sl_json_get_z(sl_json_get(world_run(f->w, id), "error"), "message"),
			       "the provider refuses all keys of profile 'main'"));
}

/* ---- an outage: P4, P5 ---- */

static void an_outage_of_one_provider_is_met_by_the_other(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[500];
	unsigned calls = 0, ok = 0;
	put(f, "second", PROFILE(""));
	put(f, "main", PROFILE(",\"fallbacks\":[\"second\"]"));
	for (int i = 0; i < 500; i++) {
		char params[300];
		snprintf(params, sizeof(params),
			 "\"profile\":\"main\",\"ways\":[{\"fail\":\"provider_unreachable\"},{\"text\":\"answer %d\"}]",
			 i);
		id[i] = ask(f, params);
		if (i % 10 == 9)
			world_advance(f->w, 100);
	}
	world_advance(f->w, 60000);
	for (int i = 0; i < 500; i++)
		ok += strcmp(world_status(f->w, id[i]), "succeeded") == 0;
	assert_int_equal(ok, 500);
	calls = world_calls(f->w, "a");
	/* each of them once at the second; the first one was only tried until its breaker opened, and once in a while
	 */
	assert_in_range(calls, 506, 500 + 30);
}

static void when_everything_fails_retries_stay_below_a_fifth(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[500];
	for (int i = 0; i < 500; i++) {
		id[i] = ask(f, "\"profile\":\"main\",\"fail\":\"provider_error\"");
		if (i % 10 == 9)
			world_advance(f->w, 100);
	}
	world_advance(f->w, 600000);
	unsigned failed = 0;
	for (int i = 0; i < 500; i++)
		failed += strcmp(world_status(f->w, id[i]), "failed") == 0;
	assert_int_equal(failed, 500);
	/* most were never called at all: the breaker was open; what was, stays below 1.2 times the first attempts */
	assert_in_range(world_calls(f->w, "a"), 6, 500 + 100 + 10);
	assert_true(sl_breakers_open(f->governor->breakers) == 1);
}

static void an_open_breaker_lets_one_trial_through_and_closes(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id;
	for (int i = 0; i < 6; i++)
		(void)ask_with(f, "", "\"profile\":\"main\",\"fail\":\"provider_error\"", ",\"retry\":{\"max\":0}");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 6);
	id = ask_with(f, "", "\"profile\":\"main\",\"text\":\"back\"", ",\"retry\":{\"max\":0}");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id), "failed");
	assert_int_equal(world_calls(f->w, "a"), 6); /* refused without a call */
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(f->w, id), "error"), "code"), "breaker_open");
	/* one that may be tried again waits for the trial, and is it */
	id = ask(f, "\"profile\":\"main\",\"text\":\"back\"");
	world_settle(f->w);
	assert_string_equal(world_node_status(f->w, id, "a"), "retrying");
	world_advance(f->w, 11000);
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_int_equal(sl_breakers_open(f->governor->breakers), 0);
}

static void a_call_that_is_called_off_says_nothing_of_the_provider(void **state)
{
	struct limited *f = *state;
	for (int i = 0; i < 20; i++) {
		struct sl_run_id id = ask(f, "\"profile\":\"main\",\"text\":\"so far\",\"hold\":true");
		world_settle(f->w);
		assert_int_equal(world_command(f->w, id, SL_CMD_CANCEL), SL_OK);
	}
	assert_int_equal(sl_breakers_open(f->governor->breakers), 0);
}

/* ---- rates and gates ---- */

static void calls_wait_for_the_limit_of_their_profile_and_say_so(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[13];
	put(f, "main", PROFILE(",\"limits\":{\"rpm\":60}"));
	for (int i = 0; i < 13; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"text\":\"yes\"");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 10); /* a burst is ten seconds' worth */
	assert_string_equal(world_node_status(f->w, id[10], "a"), "pending");
	assert_string_equal(reason(f, id[10]), "waits 1.0 s: profile 'main' has 0 of 60 requests a minute left");
	world_advance(f->w, 1000);
	assert_int_equal(world_calls(f->w, "a"), 11);
	world_advance(f->w, 2000);
	assert_int_equal(world_calls(f->w, "a"), 13);
	for (int i = 0; i < 13; i++)
		assert_string_equal(world_status(f->w, id[i]), "succeeded");
}

static void tokens_are_settled_when_the_answer_is_there(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[3];
	put(f, "main", PROFILE(",\"limits\":{\"tpm\":6000}")); /* a burst of 1000 */
	for (int i = 0; i < 3; i++)
		id[i] = ask(
			f,
			"\"profile\":\"main\",\"max_tokens\":800,\"text\":\"yes\",\"output_tokens\":90,\"hold\":true");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 1);
	assert_non_null(strstr(reason(f, id[1]), "of 6000 tokens a minute left"));
	world_release(f->w, "a"); /* took 100: there is room for the next one at once, no clock was turned */
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 2);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[0]), "succeeded");
	assert_string_equal(world_status(f->w, id[1]), "succeeded");
	/* 800 are left of the burst, and 810 or so are asked for */
	assert_int_equal(world_calls(f->w, "a"), 2);
	world_advance(f->w, 500);
	assert_int_equal(world_calls(f->w, "a"), 3);
	world_release(f->w, "a");
	world_settle(f->w);
}

static void a_run_that_is_cancelled_while_it_waits_leaves_the_queue(void **state)
{
	struct limited *f = *state;
	put(f, "main", PROFILE(",\"limits\":{\"rpm\":6}"));
	struct sl_run_id a = ask(f, "\"profile\":\"main\",\"text\":\"yes\""),
			 b = ask(f, "\"profile\":\"main\",\"text\":\"yes\""),
			 c = ask(f, "\"profile\":\"main\",\"text\":\"yes\"");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, a), "succeeded");
	assert_int_equal(world_command(f->w, b, SL_CMD_CANCEL), SL_OK);
	world_advance(f->w, 10000);
	assert_string_equal(world_status(f->w, c), "succeeded");
	assert_int_equal(world_calls(f->w, "a"), 2);
}

static void a_project_has_a_limit_of_its_own(void **state)
{
	struct limited *f = *state;
	SL_AUTO_JSON doc = NULL;
	struct sl_error err;
	assert_int_equal(sl_json_parse(SL_STR("{\"projects\":{\"*\":{\"rpm\":6}}}"), &doc, &err), SL_OK);
	assert_int_equal(sl_governor_set_limits(f->governor, doc, NULL, &err), SL_OK);
	struct sl_run_id id[2] = {ask(f, "\"profile\":\"main\",\"text\":\"yes\""),
				  ask(f, "\"profile\":\"main\",\"text\":\"yes\"")};
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[0]), "succeeded");
	assert_non_null(strstr(reason(f, id[1]), "the project '"));
	assert_non_null(strstr(reason(f, id[1]), "has 0 of 6 requests a minute left"));
	world_advance(f->w, 10000);
	assert_string_equal(world_status(f->w, id[1]), "succeeded");
}

static void a_gate_lets_so_many_in_at_once(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[5];
	put(f, "main", PROFILE(",\"limits\":{\"max_concurrency\":2}"));
	for (int i = 0; i < 5; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"text\":\"yes\",\"hold\":true");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 2);
	assert_string_equal(reason(f, id[2]), "waits: profile 'main' makes 2 calls at once");
	for (unsigned i = 3; i <= 5; i++) {
		world_release(f->w, "a");
		world_settle(f->w);
		assert_int_equal(world_calls(f->w, "a"), i);
	}
	assert_int_equal(world_command(f->w, id[4], SL_CMD_CANCEL), SL_OK);
	world_release(f->w, "a");
	world_settle(f->w);
	for (int i = 0; i < 4; i++)
		assert_string_equal(world_status(f->w, id[i]), "succeeded");
}

/* Whoever is first and stands still when its turn comes gives it to the next, and queues again when it goes on. */
static void a_paused_run_that_is_first_in_a_queue_keeps_nobody_waiting(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id[3];
	put(f, "main", PROFILE(",\"limits\":{\"max_concurrency\":1}"));
	for (int i = 0; i < 3; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"text\":\"yes\",\"hold\":true");
	world_settle(f->w);
	assert_int_equal(world_command(f->w, id[1], SL_CMD_PAUSE_DRAIN), SL_OK);
	world_advance(f->w, 60000);
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[0]), "succeeded");
	assert_string_equal(world_node_status(f->w, id[2], "a"), "running");
	assert_string_equal(world_status(f->w, id[1]), "paused");
	assert_int_equal(world_command(f->w, id[1], SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_node_status(f->w, id[1], "a"), "pending");
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[2]), "succeeded");
	world_release(f->w, "a");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[1]), "succeeded");
	assert_int_equal(world_calls(f->w, "a"), 3);

	/* a rate: its turn comes with time */
	put(f, "main", PROFILE(",\"limits\":{\"rpm\":6}"));
	for (int i = 0; i < 3; i++)
		id[i] = ask(f, "\"profile\":\"main\",\"text\":\"yes\"");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, id[0]), "succeeded");
	assert_int_equal(world_command(f->w, id[1], SL_CMD_PAUSE_DRAIN), SL_OK);
	world_advance(f->w, 21000);
	assert_string_equal(world_status(f->w, id[2]), "succeeded");
	assert_int_equal(world_command(f->w, id[1], SL_CMD_RESUME), SL_OK);
	world_advance(f->w, 10000);
	assert_string_equal(world_status(f->w, id[1]), "succeeded");
}

/* ---- budgets ---- */

/* The place of an event of node `a` in the journal; what is given may be NULL. 0: there is none. */
static size_t place(struct limited *f, struct sl_run_id id, const char *event, const char *status)
{
	const struct sl_record *r;
	size_t n = world_records(f->w, id, &r);
	for (size_t i = n; i-- > 0;) {
		SL_AUTO_JSON data = NULL;
		if (strcmp(r[i].event, event) == 0 && sl_json_parse(sl_bytes_str(r[i].data), &data, NULL) == SL_OK &&
		    sl_str_is(sl_json_get_str(data, "node_id"), "a") &&
		    (!status || sl_str_is(sl_json_get_str(data, "status"), status)))
			return i + 1;
	}
	return 0;
}

static void what_a_called_off_call_has_taken_is_booked_before_its_node_ends(void **state)
{
	static const struct {
		enum sl_command_kind order;
		const char *more, *status;
	} cases[] = {{SL_CMD_CANCEL, "", "cancelled"},
		     {SL_CMD_PAUSE_NOW, "", "pending"},
		     {SL_CMD_SIGNAL, ",\"timeout_s\":5,\"retry\":{\"max\":0}",
		      "failed"}}; /* nothing is ordered: its time runs out */
	struct limited *f = *state;
	SL_AUTO_JSON doc = NULL;
	struct sl_error err;
	struct sl_budget_sums sums;
	uint64_t taken = 0;
	assert_int_equal(
		sl_json_parse(SL_STR("{\"projects\":{\"default\":{\"max_tokens\":5000,\"period\":\"total\"}}}"), &doc,
			      &err),
		SL_OK);
	assert_int_equal(sl_governor_set_limits(f->governor, doc, NULL, &err), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct sl_run_id id =
			ask_with(f, "\"max_tokens\":300",
				 "\"profile\":\"main\",\"text\":\"half an ans\",\"output_tokens\":40,\"hold\":true",
				 cases[i].more);
		world_settle(f->w);
		assert_int_equal(events(f->w, id, "token_usage"), 0);
		if (cases[i].order == SL_CMD_SIGNAL)
			world_advance(f->w, 5001);
		else
			assert_int_equal(world_command(f->w, id, cases[i].order), SL_OK);
		size_t usage = place(f, id, "token_usage", NULL),
		       ended = place(f, id, "node_state_change", cases[i].status);
		assert_int_equal(events(f->w, id, "token_usage"), 1);
		assert_true(usage && ended && usage < ended);
		struct json_object *run = world_run(f->w, id);
		assert_int_equal(sl_json_get_i64(sl_json_get(run, "usage"), "input_tokens", 0), 10);
		assert_int_equal(sl_json_get_i64(sl_json_get(run, "usage"), "output_tokens", 0), 40);
		sl_budget_sums(f->governor->budgets, sl_json_get_str(run, "project"), 1700000000000, &sums);
		taken += 50;
		assert_int_equal(sums.spent_tokens, taken);
		assert_int_equal(sums.reserved_tokens, 0);
		if (cases[i].order != SL_CMD_PAUSE_NOW)
			continue;
		/* what it took counts against the run's own budget, too: 250 of 300 are left, and it is repeated */
		assert_int_equal(world_command(f->w, id, SL_CMD_RESUME), SL_OK);
		world_release(f->w, "a");
		world_settle(f->w);
		assert_string_equal(world_status(f->w, id), "succeeded");
		assert_int_equal(events(f->w, id, "stream_reset"), 1);
		assert_int_equal(events(f->w, id, "token_usage"), 2);
		run = world_run(f->w, id);
		sl_budget_sums(f->governor->budgets, sl_json_get_str(run, "project"), 1700000000000, &sums);
		taken += 50;
		assert_int_equal(sums.spent_tokens, taken);
	}
}

static void a_run_that_has_taken_its_tokens_fails_with_budget_exhausted(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id =
		world_submit(f->w,
			     "{\"sluice\":1,\"name\":\"n\",\"limits\":{\"max_tokens\":200},\"nodes\":["
			     "{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"prompt\":\"first\",\"profile\":\"main\","
			     "\"text\":\"x\",\"output_"
			     "tokens\":120}},"
			     "{\"id\":\"b\",\"type\":\"fake\",\"params\":{\"prompt\":\"then {{ nodes.a.text "
			     "}}\",\"profile\":\"main\",\"text\":"
			     "\"y\",\"output_tokens\":1000}},"
			     "{\"id\":\"c\",\"type\":\"fake\",\"params\":{\"prompt\":\"and {{ nodes.b.text "
			     "}}\",\"profile\":\"main\",\"text\":"
			     "\"z\"}}],\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"b\",\"to\":\"c\"}]}",
			     "{}");
	world_settle(f->w);
	/* b would have answered with 1000 tokens and was given what was left */
	assert_string_equal(world_node_status(f->w, id, "b"), "completed");
	assert_string_equal(world_node_status(f->w, id, "c"), "failed");
	assert_string_equal(world_status(f->w, id), "failed");
	struct json_object *run = world_run(f->w, id);
	assert_string_equal(sl_json_get_z(sl_json_get(run, "error"), "code"), "budget_exhausted");
	int64_t taken = sl_json_get_i64(sl_json_get(run, "usage"), "input_tokens", 0) +
			sl_json_get_i64(sl_json_get(run, "usage"), "output_tokens", 0);
	assert_in_range(taken, 180, 200);
	assert_int_equal(world_calls(f->w, "c"), 0);
}

static void a_hundred_runs_on_one_budget_overspend_nothing(void **state)
{
	struct limited *f = *state;
	SL_AUTO_JSON doc = NULL;
	struct sl_run_id id[100];
	struct sl_budget_sums sums;
	struct sl_error err;
	unsigned ok = 0, refused = 0;
	int64_t taken = 0;
	const char *project = NULL;
	id[0] = ask(
		f,
		"\"profile\":\"main\",\"text\":\"one\",\"output_tokens\":1"); /* to know what the project is called */
	world_settle(f->w);
	project = sl_json_get_z(world_run(f->w, id[0]), "project");
	char limits[200], name[100];
	snprintf(name, sizeof(name), "%s", project);
	snprintf(limits, sizeof(limits), "{\"projects\":{\"%s\":{\"max_tokens\":5000,\"period\":\"total\"}}}", name);
	assert_int_equal(sl_json_parse(sl_str(limits), &doc, &err), SL_OK);
	assert_int_equal(sl_governor_set_limits(f->governor, doc, NULL, &err), SL_OK);
	for (int i = 0; i < 100; i++) {
		char params[200];
		snprintf(params, sizeof(params),
			 "\"profile\":\"main\",\"text\":\"answer\",\"max_tokens\":200,\"output_tokens\":%d,\"hold\":"
			 "true",
			 20 + i * 37 % 170);
		id[i] = ask(f, params);
	}
	world_settle(f->w);
	assert_in_range(world_calls(f->w, "a"), 10, 30); /* only as many as fit at their worst */
	for (int i = 0; i < 200; i++) {
		if (world_is_held(f->w, "a"))
			world_release(f->w, "a");
		world_settle(f->w);
	}
	for (int i = 0; i < 100; i++) {
		struct json_object *run = world_run(f->w, id[i]);
		if (strcmp(sl_json_get_z(run, "status"), "succeeded") == 0)
			ok++;
		else if (sl_str_is(sl_json_get_str(sl_json_get(run, "error"), "code"), "budget_exhausted"))
			refused++;
		taken += sl_json_get_i64(sl_json_get(run, "usage"), "input_tokens", 0) +
			 sl_json_get_i64(sl_json_get(run, "usage"), "output_tokens", 0);
	}
	sl_budget_sums(f->governor->budgets, sl_str(name), 1700000000000, &sums);
	assert_int_equal(ok + refused, 100);
	assert_int_equal(sums.spent_tokens, taken); /* the ledger is the sum of what was used */
	assert_int_equal(sums.reserved_tokens, 0);
	assert_true(taken <= 5000);
	assert_true(taken > 5000 - 250);
	assert_true(refused > 0);
}

/* ---- the end ---- */

static void a_server_ends_or_dies_while_calls_wait_everywhere(void **state)
{
	struct limited *f = *state;
	SL_AUTO_JSON doc = NULL;
	struct sl_error err;
	put(f, "slow", PROFILE(",\"limits\":{\"rpm\":6}"));
	put(f, "narrow", PROFILE(",\"limits\":{\"max_concurrency\":1}"));
	for (int life = 0; life < 3; life++) {
		for (int i = 0; i < 3; i++) {
			(void)ask(f, "\"profile\":\"slow\",\"text\":\"x\",\"hold\":true");
			(void)ask(f, "\"profile\":\"narrow\",\"text\":\"x\",\"hold\":true");
			(void)ask(f, "\"profile\":\"main\",\"temperature\":0,\"text\":\"x\",\"hold\":true");
			(void)ask_with(f, "\"max_tokens\":300", "\"profile\":\"main\",\"text\":\"x\",\"hold\":true",
				       "");
		}
		world_settle(f->w);
		world_crash(f->w); /* the runs are taken up again, and wait again */
		world_settle(f->w);
	}
	assert_int_equal(sl_json_parse(SL_STR("{\"projects\":{\"*\":{\"tpm\":600}}}"), &doc, &err), SL_OK);
	assert_int_equal(sl_governor_set_limits(f->governor, doc, NULL, &err), SL_OK);
	for (int i = 0; i < 3; i++)
		(void)ask(f, "\"profile\":\"main\",\"text\":\"x\",\"hold\":true");
	world_settle(f->w);
	/* teardown looks: nobody may be in a queue, hold a place or have a call reserved when the world is gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITED_TEST(a_provider_that_dies_in_mid_stream_is_followed_by_its_fallback),
		LIMITED_TEST(a_retry_begins_with_the_profile_itself_again),
		LIMITED_TEST(what_is_wrong_with_the_request_goes_nowhere_else),
		LIMITED_TEST(a_key_that_is_refused_is_followed_by_another_and_stays_out),
		LIMITED_TEST(an_outage_of_one_provider_is_met_by_the_other),
		LIMITED_TEST(when_everything_fails_retries_stay_below_a_fifth),
		LIMITED_TEST(an_open_breaker_lets_one_trial_through_and_closes),
		LIMITED_TEST(a_call_that_is_called_off_says_nothing_of_the_provider),
		LIMITED_TEST(calls_wait_for_the_limit_of_their_profile_and_say_so),
		LIMITED_TEST(tokens_are_settled_when_the_answer_is_there),
		LIMITED_TEST(a_run_that_is_cancelled_while_it_waits_leaves_the_queue),
		LIMITED_TEST(a_project_has_a_limit_of_its_own),
		LIMITED_TEST(a_gate_lets_so_many_in_at_once),
		LIMITED_TEST(a_paused_run_that_is_first_in_a_queue_keeps_nobody_waiting),
		LIMITED_TEST(what_a_called_off_call_has_taken_is_booked_before_its_node_ends),
		LIMITED_TEST(a_run_that_has_taken_its_tokens_fails_with_budget_exhausted),
		LIMITED_TEST(a_hundred_runs_on_one_budget_overspend_nothing),
		LIMITED_TEST(a_server_ends_or_dies_while_calls_wait_everywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
