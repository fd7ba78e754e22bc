/* Runs that are retried and had started runs: a child that failed is gone on with, once for each retry of its parent,
 * whatever crashes and whoever thinks that the parent is his. What would not be the same child is begun anew. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/lib/scenario.h"

/* A child: ca, then cb, which fails so often. Its output is one more than its input. */
static const char *two(const char *name, int fail_times)
{
	return strdup(
		q("{'sluice':1,'name':'%s','inputs':{'type':'object','properties':{'n':{'type':'number','default':"
		  "1}}},'nodes':[{'id':'ca','type':'fake','params':{'answer':'{{ input.n }}'}},"
		  "{'id':'cb','type':'fake','params':{'answer':'{{ nodes.ca.value + 1 }}','fail':'invalid',"
		  "'fail_times':%d}}],'edges':[{'from':'ca','to':'cb'}],'outputs':{'n':'{{ nodes.cb.value }}'}}",
		  name, fail_times));
}

static int library(void **state)
{
	world_workflow("once", two("once", 1));
	world_workflow("twice", two("twice", 2));
	world_workflow("middle", "{\"sluice\":1,\"name\":\"middle\",\"nodes\":[{\"id\":\"ma\",\"type\":\"fake\","
				 "\"params\":{\"answer\":7}},{\"id\":\"ms\",\"type\":\"subworkflow\",\"params\":{"
				 "\"workflow\":\"once\",\"inputs\":{\"n\":\"{{ nodes.ma.value }}\"}}}],\"edges\":[{"
				 "\"from\":\"ma\",\"to\":\"ms\"}],\"outputs\":{\"n\":\"{{ nodes.ms.n }}\"}}");
	world_workflow("slow",
		       "{\"sluice\":1,\"name\":\"slow\",\"nodes\":[{\"id\":\"ca\",\"type\":\"fake\",\"params\":{"
		       "\"answer\":4}},{\"id\":\"cb\",\"type\":\"fake\",\"params\":{\"answer\":5,\"hold\":true}}],"
		       "\"edges\":[{\"from\":\"ca\",\"to\":\"cb\"}],\"outputs\":{\"n\":\"{{ nodes.cb.value }}\"}}");
	/* held, then failed: by the test */
	world_workflow("stuck",
		       "{\"sluice\":1,\"name\":\"stuck\",\"nodes\":[{\"id\":\"ca\",\"type\":\"fake\",\"params\":{"
		       "\"answer\":4}},{\"id\":\"w\",\"type\":\"wait_signal\",\"params\":{\"signal\":\"s\"}},"
		       "{\"id\":\"cb\",\"type\":\"fake\",\"params\":{\"answer\":5,\"fail\":\"invalid\","
		       "\"fail_times\":\"{{ nodes.w.payload.times }}\"}}],\"edges\":[{\"from\":\"ca\",\"to\":\"w\"},"
		       "{\"from\":\"w\",\"to\":\"cb\"}],\"outputs\":{\"n\":\"{{ nodes.cb.value }}\"}}");
	return 0;
}

/* A parent: pa, then s, which runs that workflow. */
static const char *parent(const char *workflow)
{
	return q("{'sluice':1,'name':'p','nodes':[{'id':'pa','type':'fake','params':{'answer':1}},{'id':'s','type':"
		 "'subworkflow','params':{'workflow':'%s'}}],'edges':[{'from':'pa','to':'s'}],'outputs':{'v':'{{ "
		 "nodes.s.n }}'}}",
		 workflow);
}

static size_t runs_of(struct world *w)
{
	struct sl_run_id ids[32];
	return world_runs(w, ids, 32);
}

/* Of these retries of a child each was for another generation of its parent, and for one that there was. */
static void expect_once_each(struct world *w, struct sl_run_id child, unsigned retries_of_parent)
{
	int64_t last = 1;
	for (unsigned i = 0, n = events(w, child, "execution:retried"); i < n; i++) {
		SL_AUTO_JSON e = event(w, child, "execution:retried", i);
		int64_t of = sl_json_get_i64(e, "parent_generation", 0);
		if (of <= last || of > (int64_t)retries_of_parent + 1)
			fail_msg("retry %u is for generation %lld, after %lld", i, (long long)of, (long long)last);
		last = of;
	}
}

static void a_child_that_failed_is_gone_on_with(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("once"), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	expect_status(w, child, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	expect_status(w, child, "succeeded");
	assert_int_equal(runs_of(w), 2);
	assert_true(sl_run_id_eq(world_child(w, id), child));
	assert_int_equal(world_calls(w, "pa"), 1);
	assert_int_equal(world_calls(w, "ca"), 1);
	assert_int_equal(world_calls(w, "cb"), 2);
	SL_AUTO_JSON e = event(w, child, "execution:retried", 0);
	assert_string_equal(sl_json_get_z(e, "by"), "parent run");
	assert_int_equal(sl_json_get_i64(e, "parent_generation", 0), 2);
	assert_int_equal(events(w, child, "execution:retried"), 1);
	assert_int_equal(events(w, id, "subworkflow:started"), 2); /* once in each life */
	every_prefix_is_a_state(w, id);
	every_prefix_is_a_state(w, child);
}

static void busy_at_first(struct world *w, unsigned busy)
{
	struct sl_run_id id = world_submit(w, parent("once"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	world_busy(w, busy);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "running");
	world_advance(w, 30000);
	expect_v(w, id, "2");
	assert_true(sl_run_id_eq(world_child(w, id), child));
	assert_int_equal(events(w, child, "execution:retried"), 1);
}

/* So much waits for PostgreSQL that it takes no more, and says so when it is asked … */
static void a_child_that_cannot_be_asked_for_now_is_looked_at_again(void **state)
{
	busy_at_first(*state, 3);
}

/* … or in its answer. */
static void a_child_that_cannot_be_read_now_is_looked_at_again(void **state)
{
	busy_at_first(*state, 4);
}

static void each_retry_of_the_parent_retries_it_once(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("twice"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "failed");
	expect_status(w, child, "failed");
	world_crash(w);
	world_advance(w, 10000);
	assert_int_equal(events(w, child, "execution:retried"), 1);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	assert_int_equal(events(w, child, "execution:retried"), 2);
	expect_once_each(w, child, 2);
	assert_int_equal(runs_of(w), 2);
	assert_int_equal(world_calls(w, "ca"), 1);
	assert_int_equal(world_calls(w, "cb"), 3);
}

static void it_goes_all_the_way_down(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("middle"), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id), grandchild = world_child(w, child);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "8");
	expect_status(w, child, "succeeded");
	expect_status(w, grandchild, "succeeded");
	assert_int_equal(runs_of(w), 3);
	assert_int_equal(world_calls(w, "pa"), 1);
	assert_int_equal(world_calls(w, "ma"), 1);
	assert_int_equal(world_calls(w, "ca"), 1);
	assert_int_equal(world_calls(w, "cb"), 2);
}

static void a_workflow_that_is_a_tool_is_gone_on_with(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w,
					   q("{'sluice':1,'name':'p','nodes':[{'id':'s','type':'tool','params':{'tool':"
					     "'workflow:once','arguments':{'n':3}}}],'outputs':{'v':'{{ nodes.s }}'}}"),
					   "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "succeeded");
	expect_status(w, child, "succeeded");
	assert_int_equal(runs_of(w), 2);
	assert_int_equal(world_calls(w, "ca"), 1);
}

static void items_of_a_map_and_rounds_of_a_loop_keep_theirs(void **state)
{
	static const char *const shapes[] = {
		"{'sluice':1,'name':'p','nodes':[{'id':'each','type':'map','params':{'items':[1,2,3],'concurrency':1,"
		"'body':{'nodes':[{'id':'s','type':'subworkflow','params':{'workflow':'once','inputs':{'n':'{{ item "
		"}}'}}}]}}}],'outputs':{'v':'{{ #nodes.each.items }}'}}",
		"{'sluice':1,'name':'p','nodes':[{'id':'each','type':'loop','params':{'max_rounds':3,'body':{'nodes':[{"
		"'id':'s','type':'subworkflow','params':{'workflow':'once','inputs':{'n':'{{ loop.index "
		"}}'}}}]}}}],'outputs':{'v':'{{ nodes.each.rounds }}'}}",
	};
	for (size_t i = 0; i < SL_COUNT_OF(shapes); i++) {
		struct world *w = world_new(4);
		struct sl_run_id id = world_submit(w, q("%s", shapes[i]), "{}"), ids[8];
		world_settle(w);
		expect_status(w, id, "failed");
		world_crash(w);
		assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
		expect_v(w, id, "3");
		size_t n = world_runs(w, ids, 8);
		assert_int_equal(n, 4);
		unsigned retried = 0;
		for (size_t k = 0; k < n; k++)
			if (!sl_run_id_eq(ids[k], id))
				retried += events(w, ids[k], "execution:retried");
		assert_int_equal(retried, 1);
		assert_int_equal(world_calls(w, "ca"), 3);
		assert_int_equal(world_calls(w, "cb"), 4);
		every_prefix_is_a_state(w, id);
		world_free(w);
	}
}

/* pw waits for what the child is to get; the run is retried from there. */
static void with_other_inputs_there_is_another_child(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'p','nodes':[{'id':'pw','type':'wait_signal','params':{'signal':'go'}},{'id':'s',"
		  "'type':'subworkflow','params':{'workflow':'twice','inputs':{'n':'{{ nodes.pw.payload.n }}'}}}],"
		  "'edges':[{'from':'pw','to':'s'}],'outputs':{'v':'{{ nodes.s.n }}'}}"),
		"{}");
	world_settle(w);
	const char *one = "{\"signal\":\"go\",\"payload\":{\"n\":1.0}}",
		   *five = "{\"signal\":\"go\",\"payload\":{\"n\":5}}";
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, one), SL_OK);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "pw", NULL), SL_OK);
	expect_status(w, id, "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, one), SL_OK); /* as before */
	expect_status(w, id, "failed");
	assert_int_equal(runs_of(w), 2);
	assert_int_equal(events(w, child, "execution:retried"), 1);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "pw", NULL), SL_OK);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, five), SL_OK);
	expect_v(w, id, "6");
	assert_int_equal(runs_of(w), 3);
	assert_false(sl_run_id_eq(world_child(w, id), child));
	expect_status(w, child, "failed");
	assert_int_equal(events(w, child, "execution:retried"), 1);
}

static void of_another_definition_there_is_another_child(void **state)
{
	struct world *w = *state;
	world_workflow("edited", two("edited", 1));
	struct sl_run_id id = world_submit(w, parent("edited"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	world_workflow("edited", two("edited", 0));
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	expect_status(w, child, "failed");
	assert_int_equal(runs_of(w), 3);
	assert_int_equal(world_calls(w, "ca"), 2);
}

static void a_child_that_is_gone_or_damaged_is_begun_anew(void **state)
{
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		struct world *w = world_new(7);
		struct sl_run_id id = world_submit(w, parent("once"), "{}");
		world_settle(w);
		expect_status(w, id, "failed");
		struct sl_run_id child = world_child(w, id);
		if (damaged)
			world_damage(w, child);
		else
			world_delete(w, child);
		assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
		expect_v(w, id, "2");
		assert_false(sl_run_id_eq(world_child(w, id), child));
		assert_int_equal(world_calls(w, "ca"), 2);
		world_free(w);
	}
}

static void a_fork_has_children_of_its_own(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("twice"), "{}"), fork;
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_fork(w, id, &(struct sl_fork){0}, &fork), SL_OK);
	expect_status(w, fork, "failed"); /* a child of its own, for the second time */
	struct sl_run_id other = world_child(w, fork);
	assert_false(sl_run_id_eq(other, child));
	expect_status(w, other, "failed");
	assert_int_equal(events(w, child, "execution:retried"), 0);
	assert_int_equal(world_order(w, fork, SL_CMD_RETRY, NULL, NULL), SL_OK); /* that it goes on with */
	expect_v(w, fork, "2");
	assert_true(sl_run_id_eq(world_child(w, fork), other));
	expect_status(w, child, "failed");
	assert_int_equal(events(w, child, "execution:retried"), 0);
	assert_int_equal(runs_of(w), 4);
	/* of what was retried, too */
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	assert_int_equal(world_fork(w, id, &(struct sl_fork){.from = SL_STR("s")}, &fork), SL_OK);
	expect_v(w, fork, "2");
	assert_int_equal(runs_of(w), 6);
	assert_int_equal(events(w, child, "execution:retried"), 1);
}

static void what_a_person_has_made_of_the_child_is_taken(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("once"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	world_advance(w, 1000);
	assert_int_equal(world_order(w, child, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, child, "succeeded");
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_v(w, id, "2");
	assert_int_equal(runs_of(w), 2);
	assert_int_equal(events(w, child, "execution:retried"), 1);
	assert_int_equal(world_calls(w, "cb"), 2);
}

/* A person retries the child, then the parent, and one run may be at work: which is another's, then the parent's. */
static void a_child_under_way_is_awaited(void **state)
{
	static const char other[] =
		"{\"sluice\":1,\"name\":\"o\",\"nodes\":[{\"id\":\"o\",\"type\":\"fake\",\"params\":{\"hold\":true}}]}";
	for (unsigned times = 0; times < 2; times++) {
		struct world *w = world_new(6);
		world_limits(w, &(struct sl_admit_limits){.max_running = 1});
		struct sl_run_id id = world_submit(w, parent("stuck"), "{}");
		world_settle(w);
		struct sl_run_id child = world_child(w, id);
		assert_int_equal(
			world_order(w, child, SL_CMD_SIGNAL, NULL, "{\"signal\":\"s\",\"payload\":{\"times\":1}}"),
			SL_OK);
		expect_status(w, id, "failed");
		struct sl_run_id busy = world_submit(w, other, "{}");
		world_settle(w);
		assert_int_equal(world_order(w, child, SL_CMD_RETRY, "w", NULL), SL_OK);
		expect_status(w, child, "queued");
		assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
		expect_status(w, id, "queued");
		world_release(w, "o");
		world_settle(w);
		expect_status(w, busy, "succeeded");
		expect_status(w, id, "running");
		expect_status(w, child, "waiting");
		SL_BUF(order, 128);
		sl_buf_addf(&order, "{\"signal\":\"s\",\"payload\":{\"times\":%u}}", times ? 9 : 0);
		SL_AUTO(sl_bytes) payload = sl_buf_bytes(&order);
		assert_int_equal(world_order(w, child, SL_CMD_SIGNAL, NULL, payload->data), SL_OK);
		expect_status(w, id, times ? "failed" : "succeeded");
		assert_int_equal(events(w, child, "execution:retried"), 1);
		assert_int_equal(runs_of(w), 3);
		world_free(w);
	}
}

/* It failed, the parent put up with that and went on; a person has retried it, and then the parent comes to its end. */
static void a_child_that_a_person_has_retried_goes_on_when_its_parent_ends(void **state)
{
	static const enum sl_command_kind ends[] = {SL_CMD_RESUME, SL_CMD_CANCEL}; /* resume: it comes to its end */
	for (size_t i = 0; i < SL_COUNT_OF(ends); i++) {
		struct world *w = world_new(8);
		struct sl_run_id id = world_submit(
			w,
			q("{'sluice':1,'name':'p','nodes':[{'id':'s','type':'subworkflow','params':{'workflow':'stuck'}"
			  "},{"
			  "'id':'h','type':'fake','params':{'answer':1,'hold':true}},{'id':'j','type':'join','params':{"
			  "'wait':'any'}}],'edges':[{'from':'s','to':'j'},{'from':'h','to':'j'}]}"),
			"{}");
		world_settle(w);
		struct sl_run_id child = world_child(w, id);
		assert_int_equal(
			world_order(w, child, SL_CMD_SIGNAL, NULL, "{\"signal\":\"s\",\"payload\":{\"times\":1}}"),
			SL_OK);
		expect_status(w, child, "failed");
		expect_status(w, id, "running");
		assert_int_equal(world_order(w, child, SL_CMD_RETRY, "w", NULL), SL_OK);
		expect_status(w, child, "waiting");
		if (ends[i] == SL_CMD_CANCEL)
			assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
		else
			world_release(w, "h");
		world_settle(w);
		expect_status(w, id, ends[i] == SL_CMD_CANCEL ? "cancelled" : "succeeded");
		expect_status(w, child, "waiting");
		world_crash(w);
		world_advance(w, 60000);
		expect_status(w, child, "waiting");
		assert_int_equal(
			world_order(w, child, SL_CMD_SIGNAL, NULL, "{\"signal\":\"s\",\"payload\":{\"times\":0}}"),
			SL_OK);
		expect_status(w, child, "succeeded");
		world_free(w);
	}
}

static void a_child_that_was_cancelled_with_its_parent_is_gone_on_with(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("slow"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	expect_status(w, child, "cancelled");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, child, "running");
	/* and it does not outlive the parent now, either: the order is lost with the server */
	world_auto_commit(w, false);
	world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
	while (strcmp(world_status(w, id), "cancelled") != 0) {
		sl_engine_step(world_engine(w));
		world_commit_unanswered(w);
	}
	world_auto_commit(w, true);
	world_crash(w);
	/* it is retried before the child has been told */
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_advance(w, 10000);
	expect_status(w, child, "running");
	expect_status(w, id, "running");
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	expect_status(w, child, "cancelled");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_release(w, "cb");
	world_settle(w);
	expect_v(w, id, "5");
	assert_int_equal(world_calls(w, "ca"), 1);
	assert_int_equal(runs_of(w), 2);
	expect_once_each(w, child, 3);
}

static void it_does_not_outlive_the_parent_that_retried_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, parent("slow"), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, child, "running");
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	expect_status(w, child, "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	expect_status(w, child, "running");
	world_auto_commit(w, false);
	world_ask(w, id, SL_CMD_CANCEL, NULL, NULL);
	while (strcmp(world_status(w, id), "cancelled") != 0) {
		sl_engine_step(world_engine(w));
		world_commit_unanswered(w);
	}
	world_auto_commit(w, true);
	world_crash(w);
	world_advance(w, 10000);
	expect_status(w, child, "cancelled");
}

/* s has failed by what came out of the child: it would fail by it again. */
static void an_output_that_made_the_node_fail_is_not_taken_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'p','nodes':[{'id':'s','type':'subworkflow','params':{'workflow':'slow'}},"
		  "{'id':'t','type':'fake','params':{}}],'edges':[{'from':'s','to':'t','when':'nodes.s.n.x.y == 1'}]}"),
		"{}");
	world_settle(w);
	world_advance(w, 1000);
	world_release(w, "cb");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	expect_status(w, child, "succeeded");
	world_advance(w, 1000);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "running");
	assert_false(sl_run_id_eq(world_child(w, id), child));
}

static void a_node_that_had_completed_is_done_again_with_a_new_child(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'p','nodes':[{'id':'s','type':'subworkflow','params':{'workflow':'slow'}},"
		  "{'id':'t','type':'fake','params':{'fail':'invalid','fail_times':1}}],'edges':[{'from':'s','to':'t'}]"
		  "}"),
		"{}");
	world_settle(w);
	world_release(w, "cb");
	world_settle(w);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	world_advance(w, 1000);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "s", NULL), SL_OK);
	assert_false(sl_run_id_eq(world_child(w, id), child));
	expect_status(w, world_child(w, id), "running");
}

/* The policy of the node itself: a further attempt finds the same child, as it ended. */
static void attempts_of_one_run_find_the_same_child(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w,
					   q("{'sluice':1,'name':'p','nodes':[{'id':'s','type':'subworkflow','params':{"
					     "'workflow':'limited'},'retry':{'max':2,'backoff_ms':10}}],'outputs':{'v':"
					     "'{{ nodes.s.n }}'}}"),
					   "{}");
	world_advance(w, 10000);
	expect_status(w, id, "failed");
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_count(w, id, "s", "retrying"), 2);
	assert_int_equal(runs_of(w), 2);
	assert_int_equal(world_calls(w, "la"), 1);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_advance(w, 10000);
	expect_status(w, id, "failed");
	assert_int_equal(events(w, child, "execution:retried"), 1);
	assert_int_equal(world_calls(w, "la"), 2);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	world_advance(w, 10000);
	expect_v(w, id, "3");
	assert_int_equal(runs_of(w), 2);
}

/* ---- crashes ---- */

struct tale {
	const char *workflow, *v;
	unsigned runs;
	unsigned retries; /* of the parent, until it succeeds */
};
static const struct tale tales[] = {{"once", "2", 2, 1}, {"twice", "2", 2, 2}, {"middle", "8", 3, 1}};

/* What must hold whenever it has come to rest. */
static void check(struct world *w, const struct tale *t, struct sl_run_id id, const char *where)
{
	struct sl_run_id child = world_child(w, id);
	unsigned retried = events(w, id, "execution:retried");
	if (strcmp(world_status(w, id), "failed") != 0 && strcmp(world_status(w, id), "succeeded") != 0)
		fail_msg("%s, %s: %s", t->workflow, where, text_of(world_run(w, id)));
	assert_int_equal(runs_of(w), t->runs);
	expect_once_each(w, child, retried);
	if (events(w, child, "execution:retried") != retried)
		fail_msg("%s, %s: the child was retried %u times, its parent %u times", t->workflow, where,
			 events(w, child, "execution:retried"), retried);
	if (world_count(w, t->runs == 3 ? world_child(w, child) : child, "ca", "completed") != 1)
		fail_msg("%s, %s: what was done was done again", t->workflow, where);
}

static void to_the_end(struct world *w, const struct tale *t, struct sl_run_id id, const char *where)
{
	world_auto_commit(w, true);
	world_advance(w, 30000);
	check(w, t, id, where);
	for (unsigned i = 0; i < t->retries + 2 && strcmp(world_status(w, id), "succeeded") != 0; i++) {
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		world_advance(w, 30000);
		check(w, t, id, where);
	}
	expect_v(w, id, t->v);
	every_prefix_is_a_state(w, id);
	every_prefix_is_a_state(w, world_child(w, id));
}

/* A retry, and the server goes down when `commits` batches more were written, the answer of the last of them seen or
 * not. False: there were not so many. */
static bool crash_after(const struct tale *t, unsigned commits, bool answered)
{
	char where[64];
	(void)snprintf(where, sizeof(where), "%u commits, %s", commits, answered ? "answered" : "not answered");
	struct world *w = world_new(3);
	struct sl_run_id id = world_submit(w, parent(t->workflow), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	world_auto_commit(w, false);
	world_ask(w, id, SL_CMD_RETRY, NULL, NULL);
	bool enough = true;
	for (unsigned i = 0; i < commits && enough; i++) {
		world_settle(w);
		bool last = i + 1 == commits;
		enough = last && !answered ? world_commit_unanswered(w) : world_commit_one(w);
	}
	if (enough && answered)
		world_settle(w);
	world_crash(w);
	to_the_end(w, t, id, where);
	world_free(w);
	return enough;
}

static void a_crash_at_any_commit_costs_nothing_that_was_done(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(tales); i++)
		for (unsigned answered = 0; answered < 2; answered++) {
			unsigned n = 0;
			while (crash_after(&tales[i], n, answered))
				n++;
			assert_in_range(n, 8, 1000);
		}
}

/* Retries at any moment, crashes, and servers that are thought dead and go on. */
static void whoever_retries_and_whatever_crashes_it_is_one_child(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 300);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		char where[64];
		(void)snprintf(where, sizeof(where), "seed %llu", (unsigned long long)seed);
		const struct tale *t = &tales[seed % SL_COUNT_OF(tales)];
		uint64_t s = seed;
		struct world *w = world_new(seed);
		struct sl_run_id id = world_submit(w, parent(t->workflow), "{}");
		world_settle(w);
		world_auto_commit(w, false);
		unsigned lives = 0;
		for (unsigned step = 0; step < 150; step++) {
			unsigned what = rnd(&s) % 24;
			if (what < 10)
				sl_engine_step(world_engine(w));
			else if (what < 16)
				world_commit_one(w);
			else if (what < 18)
				world_commit_unanswered(w);
			else if (what < 20)
				world_zombies_step(w);
			else if (what == 20)
				world_hold(w, 2500);
			else if (what == 21 || step == 0)
				world_ask(w, id, SL_CMD_RETRY, NULL, NULL);
			else if (lives < SL_LIMIT_RECOVERIES - 1 && rnd(&s) % 3 == 0) {
				lives++;
				if (what == 22)
					world_crash(w);
				else
					world_take_over(w);
			}
		}
		world_auto_commit(w, true);
		world_bury_zombies(w);
		to_the_end(w, t, id, where);
		world_free(w);
	}
}

int main(void)
{
	world_workflow("limited", "{\"sluice\":1,\"name\":\"limited\",\"nodes\":[{\"id\":\"la\",\"type\":\"fake\","
				  "\"params\":{\"answer\":3,\"fail\":\"timeout\",\"fail_times\":2},\"retry\":{"
				  "\"max\":0}}],\"outputs\":{\"n\":\"{{ nodes.la.value }}\"}}");
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_child_that_failed_is_gone_on_with),
		WORLD_TEST(a_child_that_cannot_be_asked_for_now_is_looked_at_again),
		WORLD_TEST(a_child_that_cannot_be_read_now_is_looked_at_again),
		WORLD_TEST(each_retry_of_the_parent_retries_it_once),
		WORLD_TEST(it_goes_all_the_way_down),
		WORLD_TEST(a_workflow_that_is_a_tool_is_gone_on_with),
		cmocka_unit_test(items_of_a_map_and_rounds_of_a_loop_keep_theirs),
		WORLD_TEST(with_other_inputs_there_is_another_child),
		WORLD_TEST(of_another_definition_there_is_another_child),
		cmocka_unit_test(a_child_that_is_gone_or_damaged_is_begun_anew),
		WORLD_TEST(a_fork_has_children_of_its_own),
		WORLD_TEST(what_a_person_has_made_of_the_child_is_taken),
		cmocka_unit_test(a_child_under_way_is_awaited),
		WORLD_TEST(a_child_that_a_person_has_retried_goes_on_when_its_parent_ends),
		WORLD_TEST(a_child_that_was_cancelled_with_its_parent_is_gone_on_with),
		WORLD_TEST(it_does_not_outlive_the_parent_that_retried_it),
		WORLD_TEST(an_output_that_made_the_node_fail_is_not_taken_again),
		WORLD_TEST(a_node_that_had_completed_is_done_again_with_a_new_child),
		WORLD_TEST(attempts_of_one_run_find_the_same_child),
		cmocka_unit_test(a_crash_at_any_commit_costs_nothing_that_was_done),
		cmocka_unit_test(whoever_retries_and_whatever_crashes_it_is_one_child),
	};
	return cmocka_run_group_tests(tests, library, NULL);
}
