/* Runs that are forked from any event of another one: what was done there is not done again, and that one stays as it
 * is. All of a fork is written, or nothing. */
#include "tests/lib/test.h"

#include "tests/lib/stories.h"

static struct sl_run_id fork_of(struct world *w, struct sl_run_id of, struct sl_fork f)
{
	struct sl_run_id id;
	f.by = SL_STR("tester");
	if (world_fork(w, of, &f, &id) != SL_OK)
		fail_msg("%s", world_told(w));
	assert_false(sl_run_id_eq(id, of));
	return id;
}

static const char *line(void)
{
	return q("{'sluice':1,'name':'x','inputs':{'type':'object','properties':{'n':{'type':'integer','default':1}}},"
		 "'nodes':["
		 "{'id':'a','type':'fake','params':{'answer':'{{ input.n }}','text':'t'}},"
		 "{'id':'b','type':'fake','params':{'answer':'{{ nodes.a.value + 1 }}','text':'t'}},"
		 "{'id':'side','type':'fake','params':{'answer':4}},"
		 "{'id':'c','type':'fake','params':{'answer':'{{ nodes.b.value * 10 }}'}}],"
		 "'edges':[{'from':'a','to':'b'},{'from':'a','to':'side'},{'from':'b','to':'c','when':'nodes.b.value < "
		 "100'}],'outputs':{'v':'{{ (nodes.c or {}).value or 0 }}'}}");
}

static void a_fork_at_a_node_runs_that_one_and_what_follows(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}");
	world_settle(w);
	expect_v(w, id, "20");
	struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.from = SL_STR("b")});
	expect_v(w, fork, "20");
	assert_int_equal(world_calls(w, "a"), 1);
	assert_int_equal(world_calls(w, "side"), 1);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "c"), 2);
	expect_v(w, id, "20"); /* that one is as it was */
	struct json_object *of = sl_json_get(world_run(w, fork), "forked_from");
	char text[SL_UUID_TEXT_BYTES];
	sl_uuid_format(id.u, text);
	assert_string_equal(sl_json_get_z(of, "run"), text);
	assert_string_equal(sl_json_get_z(of, "from"), "b");
	/* a's call was paid for by the other run: what is counted here are b's tokens */
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, fork), "usage"), "input_tokens", 0), 10);
	every_prefix_is_a_state(w, fork);
}

static void a_node_whose_output_is_given_is_not_run(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}");
	world_settle(w);
	struct sl_run_id fork =
		fork_of(w, id, (struct sl_fork){.outputs = sl_str(q("{'b':{'value':7,'text':'mine'}}"))});
	expect_v(w, fork, "70");
	assert_int_equal(world_calls(w, "b"), 1);
	assert_int_equal(world_calls(w, "c"), 2);
	assert_string_equal(world_node_status(w, fork, "b"), "completed");
	every_prefix_is_a_state(w, fork);
	/* its edges follow what was given */
	fork = fork_of(w, id, (struct sl_fork){.outputs = sl_str(q("{'b':{'value':100}}"))});
	expect_v(w, fork, "0");
	assert_int_equal(world_calls(w, "c"), 2);
	/* a fork of a fork, after a crash of the server */
	world_crash(w);
	fork = fork_of(w, fork, (struct sl_fork){.from = SL_STR("b")});
	expect_v(w, fork, "20");
	assert_int_equal(world_calls(w, "a"), 1);
	every_prefix_is_a_state(w, fork);
}

static void a_fork_with_other_inputs_begins_anew_unless_it_says_where(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}");
	world_settle(w);
	struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.inputs = sl_str(q("{'n':4}"))});
	expect_v(w, fork, "50");
	assert_int_equal(world_calls(w, "a"), 2);
	fork = fork_of(w, id, (struct sl_fork){.inputs = sl_str(q("{'n':4}")), .from = SL_STR("c")});
	expect_v(w, fork, "20"); /* b is kept, as it was asked for */
	assert_int_equal(world_calls(w, "a"), 2);
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, fork), "inputs"), "n", 0), 4);
}

static void what_a_fork_cannot_be_is_refused_with_its_place(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}"), none = {0}, out;
	world_settle(w);
	static const struct {
		struct sl_fork f;
		const char *said;
	} rows[] = {
		{{.from = SL_STR("nobody")}, "/from: the run has no node 'nobody'"},
		{{.at_seq = 1000}, "/at_seq: the run has"},
		{{.inputs = SL_STR("{\"n\":\"x\"}")}, "/inputs/n: "},
		{{.outputs = SL_STR("{\"nobody\":{}}")}, "/outputs: the run has no node 'nobody'"},
		{{.outputs = SL_STR("{\"a\":3}")}, "/outputs: the output of 'a' is a"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		assert_int_equal(world_fork(w, id, &rows[i].f, &out), SL_INVALID);
		if (!strstr(world_told(w), rows[i].said))
			fail_msg("%s", world_told(w));
	}
	const struct sl_fork plain = {.from = SL_STR("a")};
	assert_int_equal(world_fork(w, none, &plain, &out), SL_NOT_FOUND);
	assert_int_equal(world_calls(w, "a"), 1);
}

static void a_round_whose_output_is_given_changes_what_comes_after_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':3,"
			       "'body':{'nodes':[{'id':'p','type':'fake','params':{'answer':'{{ (loop.last and "
			       "loop.last.p.value or 0) "
			       "+ 1 }}'}},{'id':'k','type':'fake','params':{'answer':'{{ nodes.p.value }}'}}],"
			       "'edges':[{'from':'p','to':'k','when':'loop.index < 9'}]}}}],'outputs':{'v':'{{ "
			       "nodes.r.last.k.value }}'}}"),
			     "{}");
	world_settle(w);
	expect_v(w, id, "3");
	struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.outputs = sl_str(q("{'r#2/p':{'value':50}}"))});
	expect_v(w, fork, "51");
	assert_int_equal(world_calls(w, "r#1/p"), 1);
	assert_int_equal(world_calls(w, "r#2/p"), 1);
	assert_int_equal(world_calls(w, "r#2/k"), 2);
	assert_int_equal(world_calls(w, "r#3/p"), 2);
	every_prefix_is_a_state(w, fork);
	struct sl_run_id out;
	const struct sl_fork both = {.from = SL_STR("r"), .outputs = SL_STR("{\"r#2/p\":{}}")};
	assert_int_equal(world_fork(w, id, &both, &out), SL_INVALID);
	assert_non_null(strstr(world_told(w), "what is around it is done again"));
}

static void a_choice_can_be_given(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'b','type':'branch','params':{'cases':[{'case':'yes','when':'"
		  "true'},"
		  "{'case':'no','when':'false'}]}},{'id':'y','type':'fake','params':{'answer':1}},"
		  "{'id':'n','type':'fake','params':{'answer':2}}],'edges':[{'from':'b','to':'y','case':'yes'},"
		  "{'from':'b','to':'n','case':'no'}]}"),
		"{}");
	world_settle(w);
	struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.outputs = sl_str(q("{'b':{'case':'no'}}"))});
	expect_status(w, fork, "succeeded");
	assert_string_equal(world_node_status(w, fork, "y"), "skipped");
	assert_string_equal(world_node_status(w, fork, "n"), "completed");
}

static void a_fork_with_a_key_is_made_once(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}"), a, b;
	world_settle(w);
	const struct sl_fork f = {.from = SL_STR("c"), .idempotency_key = SL_STR("k")};
	assert_int_equal(world_fork(w, id, &f, &a), SL_OK);
	assert_int_equal(world_fork(w, id, &f, &b), SL_CONFLICT);
	assert_true(sl_run_id_eq(a, b));
	assert_int_equal(world_calls(w, "c"), 2);
}

/* At every event of every story, while it fails, and after it was retried: the fork ends well. */
static void a_fork_at_any_event_ends(void **state)
{
	for (size_t i = 0; i < STORIES; i++) {
		const struct story *s = &stories[i];
		struct world *w = world_new(3);
		struct sl_run_id id = story_broken(w, s);
		const struct sl_record *r;
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		story_to_its_end(w, id, s);
		size_t n = world_records(w, id, &r);
		for (size_t at = 1; at <= n; at++) {
			struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.at_seq = at});
			if (at % 3 == 0) {
				world_crash(w);
				world_settle(w);
			}
			story_to_its_end(w, fork, s);
			if (strcmp(world_status(w, fork), "succeeded") != 0)
				fail_msg("%s, at %zu: %s", s->name, at, text_of(world_run(w, fork)));
			every_prefix_is_a_state(w, fork);
		}
		world_free(w);
	}
}

/* All of it or nothing, whenever the server goes away. */
static void a_crash_before_a_fork_is_written_leaves_none(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, line(), "{}"), fork;
	world_settle(w);
	world_auto_commit(w, false);
	const struct sl_fork f = {.from = SL_STR("b")};
	assert_int_equal(world_fork(w, id, &f, &fork), SL_INTERNAL); /* not told yet */
	assert_int_equal(world_calls(w, "b"), 1);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "b"), 1);
	assert_int_equal(world_fork(w, id, &f, &fork), SL_INTERNAL);
	assert_true(world_commit_one(w));
	world_crash(w);
	world_auto_commit(w, true);
	world_settle(w);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "a"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_fork_at_a_node_runs_that_one_and_what_follows),
		WORLD_TEST(a_node_whose_output_is_given_is_not_run),
		WORLD_TEST(a_fork_with_other_inputs_begins_anew_unless_it_says_where),
		WORLD_TEST(what_a_fork_cannot_be_is_refused_with_its_place),
		WORLD_TEST(a_round_whose_output_is_given_changes_what_comes_after_it),
		WORLD_TEST(a_choice_can_be_given),
		WORLD_TEST(a_fork_with_a_key_is_made_once),
		WORLD_TEST(a_crash_before_a_fork_is_written_leaves_none),
		cmocka_unit_test(a_fork_at_any_event_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
