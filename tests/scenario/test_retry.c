/* Runs that are retried: what was done stays done, every prefix of such a journal folds to a state that holds together,
 * and a server that went down at any commit takes it from there. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "tests/lib/stories.h"

static void only_what_failed_is_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, story_chain(), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "6");
	assert_int_equal(world_calls(w, "a"), 1);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "c"), 1);
	assert_null(sl_json_get(world_run(w, id), "error"));
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), 4);
	const struct sl_record *r;
	unsigned second = 0;
	for (size_t i = 0, n = world_records(w, id, &r); i < n; i++)
		second += r[i].once && sl_str_is(sl_bytes_str(r[i].once), "b@2");
	assert_int_equal(second, 1);
	every_prefix_is_a_state(w, id);
}

static void a_retry_is_allowed_when_there_is_something_to_take_back(void **state)
{
	struct world *w = *state;
	const char *held = q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'hold':true}}]}");
	struct sl_run_id id = world_submit(w, held, "{}"), none = {0};
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_CONFLICT);
	assert_string_equal(world_told(w), "a run that is running cannot be retried");
	world_release(w, "a");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_CONFLICT);
	assert_string_equal(world_told(w), "a run that is succeeded cannot be retried");
	assert_int_equal(world_order(w, none, SL_CMD_RETRY, NULL, NULL), SL_NOT_FOUND);
	id = world_submit(w, story_chain(), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "nobody", NULL), SL_NOT_FOUND);
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "succeeded");
}

static void from_a_completed_node_all_that_follows_is_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, story_chain(), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "a", NULL), SL_OK);
	expect_v(w, id, "6");
	assert_int_equal(world_calls(w, "a"), 2);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "side"), 2);
	every_prefix_is_a_state(w, id);
}

static void a_loop_goes_on_in_the_round_that_failed(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, story_rounds(""), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "4");
	assert_int_equal(world_calls(w, "r#1/p"), 1);
	assert_int_equal(world_calls(w, "r#2/j"), 1);
	assert_int_equal(world_calls(w, "r#3/p"), 1);
	assert_int_equal(world_calls(w, "r#3/j"), 2);
	assert_int_equal(world_calls(w, "r#4/j"), 1);
	assert_int_equal(events(w, id, "loop:round"), 4);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_total", 0), 10);
	every_prefix_is_a_state(w, id);
}

static void from_a_round_the_later_rounds_are_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, story_rounds(",'fail':'invalid','fail_times':1"), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK); /* of round 3 */
	expect_status(w, id, "failed");                                        /* now in `then` */
	assert_int_equal(world_calls(w, "r#4/j"), 1);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "r#2/j", NULL), SL_OK);
	expect_v(w, id, "4");
	assert_int_equal(world_calls(w, "r#1/j"), 1);
	assert_int_equal(world_calls(w, "r#2/p"), 1);
	assert_int_equal(world_calls(w, "r#2/j"), 2);
	assert_int_equal(world_calls(w, "r#3/p"), 2);
	assert_int_equal(world_calls(w, "r#4/j"), 2);
	assert_int_equal(world_calls(w, "next"), 2);
	assert_int_equal(events(w, id, "loop:round"), 4 + 3); /* rounds 2, 3 and 4 are told again */
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_CONFLICT);
	every_prefix_is_a_state(w, id);
}

/* The score of a round is not to be had: it is the round that has to be done again. */
static void a_loop_that_failed_by_itself_repeats_its_last_round(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':2,"
		  "'exit_on_score':{'value':'nodes.j.value','at_least':9},'body':{'nodes':["
		  "{'id':'once','type':'fake','params':{'answer':'no number','fail':'invalid','fail_times':1},"
		  "'on_error':'continue'},"
		  "{'id':'j','type':'transform','params':{'expr':'loop.index == 2 and nodes.once.error and [[none]] or "
		  "5'}}],'edges':[{'from':'once','to':'j'}]}}}],'outputs':{'v':'{{ nodes.r.rounds }}'}}"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_non_null(strstr(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "message"), "score of round 2"));
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	assert_int_equal(world_calls(w, "r#1/once"), 1);
	assert_int_equal(world_calls(w, "r#2/once"), 2);
	every_prefix_is_a_state(w, id);
}

static void a_map_goes_on_with_the_items_that_are_missing(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'each','type':'map','params':{'items':[1,2,3,4,5],"
		  "'concurrency':2,'body':{'nodes':["
		  "{'id':'ask','type':'fake','params':{'answer':'{{ item }}','fail':'{{ item == 3 and [[invalid]] or "
		  "[[]] }}','fail_times':1,'hold':'{{ item == 4 }}'}},"
		  "{'id':'next','type':'fake','params':{'answer':'{{ nodes.ask.value * 10 }}'}}],"
		  "'edges':[{'from':'ask','to':'next'}]}}}],'outputs':{'v':'{{ nodes.each.items[5].value }}'}}"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_settle(w);
	assert_true(world_is_held(w, "each#4/ask"));
	world_release(w, "each#4/ask");
	world_settle(w);
	expect_v(w, id, "50");
	assert_int_equal(world_calls(w, "each#1/ask"), 1);
	assert_int_equal(world_calls(w, "each#2/next"), 1);
	assert_int_equal(world_calls(w, "each#3/ask"), 2);
	assert_int_equal(world_calls(w, "each#4/ask"), 2); /* it was cut off when the third failed */
	assert_int_equal(events(w, id, "progress"), 5);
	every_prefix_is_a_state(w, id);
}

/* Of a long map only results are kept in memory: the failed item is known, and an early one can still be named. */
static void a_long_map_goes_on_too(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'list','type':'transform','params':{'expr':'(function() local "
		  "t "
		  "= {} for i = 1, 450 do t[i] = i end return t end)()'}},"
		  "{'id':'each','type':'map','params':{'items':'{{ nodes.list.value "
		  "}}','concurrency':3,'body':{'nodes':["
		  "{'id':'ask','type':'fake','params':{'answer':'{{ item }}','fail':'{{ item == 440 and [[invalid]] or "
		  "[[]] }}','fail_times':1}}]}}},"
		  "{'id':'last','type':'fake','params':{'answer':1,'fail':'invalid','fail_times':1}}],"
		  "'edges':[{'from':'list','to':'each'},{'from':'each','to':'last'}],"
		  "'outputs':{'v':'{{ nodes.each.items[450].value + nodes.each.items[3].value }}'}}"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_true(sl_json_get_i64(world_run(w, id), "nodes_folded", 0) > 200);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "failed"); /* in the last node */
	assert_int_equal(world_calls(w, "each#3/ask"), 1);
	assert_int_equal(world_calls(w, "each#440/ask"), 2);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "each#3/nobody", NULL), SL_NOT_FOUND);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "each#3/ask", NULL), SL_OK);
	expect_v(w, id, "453");
	assert_int_equal(world_calls(w, "each#3/ask"), 2);
	assert_int_equal(world_calls(w, "each#4/ask"), 1);
	assert_int_equal(world_calls(w, "last"), 2);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), 453);
	every_prefix_is_a_state(w, id);
}

static uint64_t seq_of(struct world *w, struct sl_run_id id, const char *what)
{
	const struct sl_record *r;
	size_t n = world_records(w, id, &r);
	for (size_t i = 0; i < n; i++)
		if (strstr(r[i].data->data, what))
			return r[i].seq;
	fail_msg("nothing says %s", what);
	return 0;
}

/* Of a long loop the first rounds are no more than their outputs: one of them is done again as a whole, and what its
 * nodes are to give can be said at an event where they were still known. */
static void a_long_loop_goes_on_too(void **state)
{
	struct world *w = *state;
	struct sl_run_id fork,
		id = world_submit(
			w,
			q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':210,"
			  "'carry':'(loop.carry or 0) + nodes.b.value','body':{'nodes':["
			  "{'id':'a','type':'fake','params':{'answer':'{{ loop.index }}'}},"
			  "{'id':'b','type':'fake','params':{'answer':'{{ nodes.a.value * 2 }}','fail':'{{ loop.index "
			  "== 206 "
			  "and [[invalid]] or [[]] }}','fail_times':1}}],'edges':[{'from':'a','to':'b'}]}}},"
			  "{'id':'last','type':'fake','params':{'answer':1,'fail':'invalid','fail_times':1}}],"
			  "'edges':[{'from':'r','to':'last'}],'outputs':{'v':'{{ nodes.r.carry }}'}}"),
			"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_folded", 0), 2 * 6);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "failed"); /* in the last node */
	assert_int_equal(world_calls(w, "r#206/a"), 1);
	assert_int_equal(world_calls(w, "r#206/b"), 2);
	assert_int_equal(world_calls(w, "r#3/a"), 1);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "r#3/nobody", NULL), SL_NOT_FOUND);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "r#3/b", NULL), SL_OK);
	expect_v(w, id, "44310"); /* 2 * (1 + … + 210) */
	assert_int_equal(world_calls(w, "r#2/a"), 1);
	assert_int_equal(world_calls(w, "r#3/a"), 2);
	assert_int_equal(world_calls(w, "r#3/b"), 2);
	assert_int_equal(world_calls(w, "r#4/a"), 2); /* it builds on the third */
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), 2 + 2 * 210);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_folded", 0), 2 * 10);
	every_prefix_is_a_state(w, id);

	assert_int_equal(world_fork(w, id, &(struct sl_fork){.from = SL_STR("r#9/b")}, &fork), SL_OK);
	expect_v(w, fork, "44310");
	assert_int_equal(world_calls(w, "r#8/a"), 2);
	assert_int_equal(world_calls(w, "r#9/a"), 3);
	every_prefix_is_a_state(w, fork);
	struct sl_fork given = {.outputs = SL_STR("{\"r#2/b\":{\"value\":1004}}")};
	assert_int_equal(world_fork(w, id, &given, &fork), SL_INVALID);
	given.at_seq = seq_of(w, id, "\"r#5/a\"");
	assert_int_equal(world_fork(w, id, &given, &fork), SL_OK);
	expect_v(w, fork, "45310");
	assert_int_equal(world_calls(w, "r#2/a"), 1);
}

/* A round that is folded has a loop in it of which the first rounds were folded before. */
static void rounds_within_rounds_are_counted_after_a_retry(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':203,'body':{'nodes':["
		  "{'id':'first','type':'transform','params':{'expr':'loop.index == 1'}},"
		  "{'id':'inner','type':'loop','params':{'max_rounds':205,'until':'not nodes.first.value',"
		  "'body':{'nodes':[{'id':'x','type':'transform','params':{'expr':'loop.index'}}]}}},"
		  "{'id':'b','type':'fake','params':{'answer':'{{ nodes.inner.rounds }}','fail':'{{ loop.index == 203 "
		  "and "
		  "[[invalid]] or [[]] }}','fail_times':1}}],"
		  "'edges':[{'from':'first','to':'inner'},{'from':'inner','to':'b'}]}}}],"
		  "'outputs':{'v':'{{ nodes.r.rounds }}'}}"),
		"{}");
	const int all = 1 + 3 * 203 + 205 + 202, folded = 3 * 3 + 205 + 2;
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_total", 0), all);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_folded", 0), folded);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "203");
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_total", 0), all);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), all);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_folded", 0), folded);
	every_prefix_is_a_state(w, id);
}

static void a_branch_that_lost_is_not_run_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'p','type':'parallel','params':{}},"
		  "{'id':'fast','type':'fake','params':{'answer':1}},"
		  "{'id':'slow','type':'fake','params':{'answer':2,'hold':true}},"
		  "{'id':'slower','type':'fake','params':{'answer':2}},"
		  "{'id':'any','type':'join','params':{'wait':'any','cancel_rest':true}},"
		  "{'id':'last','type':'fake','params':{'answer':3,'fail':'invalid','fail_times':1}}],"
		  "'edges':[{'from':'p','to':'fast'},{'from':'p','to':'slow'},{'from':'slow','to':'slower'},"
		  "{'from':'fast','to':'any'},{'from':'slower','to':'any'},{'from':'any','to':'last'}],"
		  "'outputs':{'v':'{{ nodes.last.value }}'}}"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_string_equal(world_node_status(w, id, "slow"), "cancelled");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "3");
	assert_int_equal(world_calls(w, "fast"), 1);
	assert_int_equal(world_calls(w, "slow"), 1);
	assert_string_equal(world_node_status(w, id, "slow"), "cancelled");
	every_prefix_is_a_state(w, id);
}

static void the_branches_a_join_missed_are_run_again_and_the_others_kept(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'p','type':'parallel','params':{'on_branch_error':'wait_all'}}"
		  ","
		  "{'id':'a','type':'fake','params':{'answer':1}},"
		  "{'id':'b0','type':'fake','params':{'answer':0}},"
		  "{'id':'b','type':'fake','params':{'answer':2,'fail':'invalid','fail_times':1}},"
		  "{'id':'b2','type':'fake','params':{'answer':2}},"
		  "{'id':'c','type':'fake','params':{'answer':3,'fail':'invalid','fail_times':1}},"
		  "{'id':'two','type':'join','params':{'wait':{'quorum':2}}}],"
		  "'edges':[{'from':'p','to':'a'},{'from':'p','to':'b0'},{'from':'b0','to':'b'},{'from':'b0','to':'c'},"
		  "{'from':'b','to':'b2'},{'from':'a','to':'two'},{'from':'b2','to':'two'},{'from':'c','to':'two'}]}"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "join_unreachable");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "succeeded");
	assert_int_equal(world_calls(w, "a"), 1);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "c"), 2);
	every_prefix_is_a_state(w, id);
}

static void a_review_that_was_cut_off_is_asked_for_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     q("{'sluice':1,'name':'x','nodes':[{'id':'before','type':'fake','params':{'answer':1}},"
			       "{'id':'ask','type':'human_review','params':{'draft':'d'}},"
			       "{'id':'next','type':'fake','params':{'answer':'{{ nodes.ask.action }}'}}],"
			       "'edges':[{'from':'before','to':'ask'},{'from':'ask','to':'next'}],'outputs':{'v':'{{ "
			       "nodes.next.value }}'}}"),
			     "{}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	expect_status(w, id, "cancelled");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "waiting");
	assert_int_equal(events(w, id, "human_review:requested"), 2);
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	expect_v(w, id, "\"approve\"");
	assert_int_equal(world_calls(w, "before"), 1);
	every_prefix_is_a_state(w, id);
}

static void a_child_run_that_failed_is_gone_on_with(void **state)
{
	struct world *w = *state;
	world_workflow(
		"child_of_a_retry",
		"{\"sluice\":1,\"name\":\"child_of_a_retry\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
		"\"answer\":5,\"fail\":\"invalid\",\"fail_times\":1}}],\"outputs\":{\"n\":\"{{ nodes.x.value }}\"}}");
	struct sl_run_id id = world_submit(w,
					   q("{'sluice':1,'name':'x','nodes':[{'id':'s','type':'subworkflow','params':{"
					     "'workflow':'child_of_a_retry'}}],"
					     "'outputs':{'v':'{{ nodes.s.n }}'}}"),
					   "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id first = world_child(w, id);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "5");
	struct sl_run_id second = world_child(w, id);
	assert_true(sl_run_id_eq(first, second));
	expect_status(w, first, "succeeded");
}

static const char *times_out(void)
{
	return q("{'sluice':1,'name':'x','limits':{'timeout_s':10},'nodes':["
		 "{'id':'a','type':'delay','params':{'seconds':8}},{'id':'b','type':'delay','params':{'seconds':8}}],"
		 "'edges':[{'from':'a','to':'b'}]}");
}

static void the_clock_of_the_run_begins_anew(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, times_out(), "{}");
	world_advance(w, 11000);
	expect_status(w, id, "failed");
	world_advance(w, 3600 * 1000);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_advance(w, 7000);
	expect_status(w, id, "waiting");
	world_advance(w, 2000); /* a is done, and b has had 8 s of its own */
	expect_status(w, id, "succeeded");
	every_prefix_is_a_state(w, id);
}

static void a_run_that_was_given_up_as_poison_gets_its_chances_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w, q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'hold':true}}]}"), "{}");
	for (unsigned i = 0; i <= SL_LIMIT_RECOVERIES; i++) {
		world_settle(w);
		world_crash(w);
	}
	world_settle(w);
	expect_status(w, id, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "poison");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_crash(w);
	world_settle(w);
	world_release(w, "a");
	world_settle(w);
	expect_status(w, id, "succeeded");
}

/* Its start is never written, so each life finds it in the queue; and where nothing limits, it has its place at once.
 */
static void a_poison_that_is_found_in_the_queue_does_not_begin_once_more(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w, q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'hold':true}}]}"), "{}");
	world_auto_commit(w, false);
	struct sl_suspect found = {.id = id};
	for (found.times = 1; found.times <= SL_LIMIT_RECOVERIES + 1; found.times++) {
		world_suspects(&found, 1);
		world_crash(w);
		world_settle(w);
	}
	world_suspects(NULL, 0);
	assert_int_equal(world_calls(w, "a"), SL_LIMIT_RECOVERIES); /* by the lives in between */
	world_auto_commit(w, true);
	world_settle(w);
	expect_status(w, id, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "poison");
}

static void whoever_was_merely_served_when_it_happened_is_no_poison(void **state)
{
	struct world *w = *state;
	static const char *const definition =
		"{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'hold':true}}]}";
	struct sl_run_id poison = world_submit(w, q(definition), "{}");
	struct sl_run_id other = world_submit(w, q(definition), "{}");
	struct sl_run_id away = world_submit(w, q(definition), "{}");
	struct sl_suspect found[2] = {{.id = poison}, {.id = other}};
	for (unsigned i = 0; i <= SL_LIMIT_RECOVERIES; i++) {
		world_settle(w);
		expect_status(w, poison, "running");
		found[0].times++;
		found[1].times = i ? found[1].times + 1 : 0; /* all but the first time */
		world_suspects(found, 2);
		world_crash(w);
	}
	world_suspects(NULL, 0);
	world_settle(w);
	expect_status(w, poison, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, poison), "error"), "code"), "poison");
	expect_status(w, other, "running");
	expect_status(w, away, "running");
	for (int i = 0; i < 2; i++)
		world_release(w, "a");
	world_settle(w);
	expect_status(w, other, "succeeded");
	expect_status(w, away, "succeeded");
}

struct reply {
	unsigned n;
	enum sl_code rc;
	char status[16], text[SL_ERROR_TEXT_BYTES];
};

static void replied(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct reply *r = arg;
	r->n++;
	r->rc = rc;
	(void)snprintf(r->status, sizeof(r->status), "%s", status);
	(void)snprintf(r->text, sizeof(r->text), "%s", err ? err->text : "");
}

static void ask_retry(struct world *w, struct sl_run_id id, struct reply *reply)
{
	const struct sl_order order = {.kind = SL_CMD_RETRY, .by = SL_STR("tester")};
	*reply = (struct reply){0};
	assert_int_equal(sl_engine_command(world_engine(w), id, &order, replied, reply), SL_OK);
}

static void of_two_retries_at_once_one_counts(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, story_chain(), "{}");
	struct reply a, b;
	world_settle(w);
	ask_retry(w, id, &a);
	ask_retry(w, id, &b);
	world_settle(w);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 1);
	assert_int_equal(a.rc, SL_OK);
	assert_int_equal(b.rc, SL_CONFLICT);
	expect_status(w, id, "succeeded");
	assert_int_equal(events(w, id, "execution:retried"), 1);
}

static void a_retry_may_come_before_the_end_is_written(void **state)
{
	struct world *w = *state;
	struct reply a;
	world_auto_commit(w, true);
	struct sl_run_id id = world_submit(
		w, q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'hold':true}}]}"), "{}");
	world_settle(w);
	world_auto_commit(w, false);
	struct reply c;
	const struct sl_order cancel = {.kind = SL_CMD_CANCEL, .by = SL_STR("tester")};
	c = (struct reply){0};
	assert_int_equal(sl_engine_command(world_engine(w), id, &cancel, replied, &c), SL_OK);
	world_settle(w);
	ask_retry(w, id, &a);
	world_settle(w);
	assert_int_equal(a.n, 0);
	world_auto_commit(w, true);
	world_settle(w);
	assert_int_equal(c.rc, SL_OK);
	assert_int_equal(a.rc, SL_OK);
	world_release(w, "a");
	world_settle(w);
	expect_status(w, id, "succeeded");
}

/* ---- crashes ---- */

/* From each node the run knows, whatever has become of it: it ends well, and that node is done. */
static void a_retry_from_any_node_ends(void **state)
{
	for (size_t i = 0; i < STORIES; i++) {
		const struct story *s = &stories[i];
		size_t n = 1;
		for (size_t at = 0; at < n; at++) {
			struct world *w = world_new(3);
			struct sl_run_id id = story_broken(w, s);
			struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
			char path[64];
			n = json_object_array_length(nodes);
			(void)snprintf(path, sizeof(path), "%s",
				       sl_json_get_z(json_object_array_get_idx(nodes, at), "path"));
			assert_int_equal(world_order(w, id, SL_CMD_RETRY, path, NULL), SL_OK);
			if (at % 2) {
				world_crash(w);
				world_settle(w);
			}
			story_to_its_end(w, id, s);
			for (unsigned k = 0; k < 3 && strcmp(world_status(w, id), "failed") == 0;
			     k++) { /* further on */
				assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
				story_to_its_end(w, id, s);
			}
			if (strcmp(world_status(w, id), "succeeded") != 0 ||
			    strcmp(world_node_status(w, id, path), "completed") != 0)
				fail_msg("%s, from %s: %s", s->name, path, text_of(world_run(w, id)));
			every_prefix_is_a_state(w, id);
			world_free(w);
		}
		assert_in_range(n, 2, 100);
	}
}

/* With a retry, and then a crash when `commits` batches of it were written: the run has either ended as before, or goes
 * on; retried as often as it takes, it succeeds. Returns whether there were that many. */
static bool crash_after(const struct story *s, unsigned commits)
{
	struct world *w = world_new(3);
	struct sl_run_id id = story_broken(w, s);
	struct reply reply;
	world_auto_commit(w, false);
	ask_retry(w, id, &reply);
	bool enough = true;
	for (unsigned i = 0; i < commits && enough; i++) {
		world_settle(w);
		enough = world_commit_one(w);
	}
	if (enough)
		while (sl_engine_step(world_engine(w))) {
		}
	world_crash(w);
	world_auto_commit(w, true);
	story_to_its_end(w, id, s);
	bool acknowledged = reply.n && reply.rc == SL_OK;
	for (unsigned i = 0; i < 4 && strcmp(world_status(w, id), "succeeded") != 0; i++) {
		bool ended =
			strcmp(world_status(w, id), "failed") == 0 || strcmp(world_status(w, id), "cancelled") == 0;
		if (!ended || (acknowledged && events(w, id, "execution:retried") == 0))
			fail_msg("%s, %u commits: %s", s->name, commits, text_of(world_run(w, id)));
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		story_to_its_end(w, id, s);
	}
	expect_status(w, id, "succeeded");
	every_prefix_is_a_state(w, id);
	world_free(w);
	return enough;
}

static void a_crash_at_any_commit_of_a_retry_leaves_a_run_that_can_end(void **state)
{
	unsigned most = 0;
	for (size_t i = 0; i < STORIES; i++) {
		unsigned n = 0;
		while (crash_after(&stories[i], n))
			n++;
		most = n > most ? n : most;
	}
	assert_in_range(most, 4, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(only_what_failed_is_done_again),
		WORLD_TEST(a_retry_is_allowed_when_there_is_something_to_take_back),
		WORLD_TEST(from_a_completed_node_all_that_follows_is_done_again),
		WORLD_TEST(a_loop_goes_on_in_the_round_that_failed),
		WORLD_TEST(from_a_round_the_later_rounds_are_done_again),
		WORLD_TEST(a_loop_that_failed_by_itself_repeats_its_last_round),
		WORLD_TEST(a_map_goes_on_with_the_items_that_are_missing),
		WORLD_TEST(a_long_map_goes_on_too),
		WORLD_TEST(a_long_loop_goes_on_too),
		WORLD_TEST(rounds_within_rounds_are_counted_after_a_retry),
		WORLD_TEST(a_branch_that_lost_is_not_run_again),
		WORLD_TEST(the_branches_a_join_missed_are_run_again_and_the_others_kept),
		WORLD_TEST(a_review_that_was_cut_off_is_asked_for_again),
		WORLD_TEST(a_child_run_that_failed_is_gone_on_with),
		WORLD_TEST(the_clock_of_the_run_begins_anew),
		WORLD_TEST(a_run_that_was_given_up_as_poison_gets_its_chances_again),
		WORLD_TEST(a_poison_that_is_found_in_the_queue_does_not_begin_once_more),
		WORLD_TEST(whoever_was_merely_served_when_it_happened_is_no_poison),
		WORLD_TEST(of_two_retries_at_once_one_counts),
		WORLD_TEST(a_retry_may_come_before_the_end_is_written),
		cmocka_unit_test(a_retry_from_any_node_ends),
		cmocka_unit_test(a_crash_at_any_commit_of_a_retry_leaves_a_run_that_can_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
