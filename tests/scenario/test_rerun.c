/* Runs that begin again: retried where they failed, forked from any event. What was done stays done; every prefix of
 * such a journal folds to a state that holds together, and a server that went down at any commit takes it from there.
 */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "engine/run_state.h"
#include "tests/lib/scenario.h"

/* What counting gives is what the state says, in every scope. */
static void hold_together(const struct sl_run_state *s)
{
	uint32_t nodes = 0, done = 0, active = 0, quiet = 0, holding = 0;
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		const struct sl_scope *sc = s->scopes[k];
		uint32_t final = 0;
		assert_true(!sc->parent || sc->parent->folded ||
			    sc->parent->nodes[sc->parent_node].bodies[sc->number - 1] == sc);
		assert_true(!sc->failed || sc->folded || sc->nodes[sc->failed - 1].status == SL_NODE_FAILED);
		nodes += sc->graph->n_nodes + sc->was_nodes;
		done += sc->was_done;
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
			const struct sl_node_state *n = &sc->nodes[i];
			const struct sl_node_def *def = &sc->graph->nodes[i];
			final += sl_node_status_final(n->status);
			active += n->status == SL_NODE_RUNNING || n->status == SL_NODE_WAITING ||
				  n->status == SL_NODE_RETRYING;
			quiet += n->status == SL_NODE_WAITING;
			holding += n->status == SL_NODE_RUNNING && def->body;
			assert_int_equal(n->mark, 0);
			assert_int_equal(n->output != NULL, n->status == SL_NODE_COMPLETED);
			for (uint32_t e = 0; e < def->n_out; e++) /* what has not ended decides nothing */
				assert_int_equal(sc->edges[def->out[e]] == SL_EDGE_OPEN,
						 !sl_node_status_final(n->status));
		}
		assert_int_equal(final, sc->n_final);
		done += final;
	}
	assert_int_equal(nodes, s->n_nodes);
	assert_int_equal(done, s->n_done);
	assert_int_equal(active, s->n_active);
	assert_int_equal(quiet, s->n_quiet);
	assert_int_equal(holding, s->n_holding);
}

/* Folds the journal, and looks at the state after each event. */
static void every_prefix_is_a_state(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	struct sl_run_state s;
	struct sl_error err = {0};
	struct sl_problems problems = {0};
	SL_AUTO(sl_workflow) wf = NULL;
	size_t n = world_records(w, id, &r);
	const char *definition = text_of(sl_json_get(world_run(w, id), "definition"));
	assert_int_equal(sl_workflow_parse(sl_engine_registry(world_engine(w)), sl_str(definition), &wf, &problems),
			 SL_OK);
	sl_problems_fini(&problems);
	assert_non_null(wf);
	assert_int_equal(sl_run_state_init(&s, wf), SL_OK);
	for (size_t i = 0; i < n; i++) {
		struct sl_event e;
		assert_int_equal(sl_event_decode(&r[i], &e, &err), SL_OK);
		if (sl_evolve(&s, &e, &err) != SL_OK)
			fail_msg("%s", err.text);
		sl_event_fini(&e);
		if (s.ended)
			sl_body_ended(s.ended);
		hold_together(&s);
	}
	sl_run_state_fini(&s);
}

/* ---- retry ---- */

static const char *chain(void)
{
	return q("{'sluice':1,'name':'x','nodes':["
		 "{'id':'a','type':'fake','params':{'answer':1,'text':'t'}},"
		 "{'id':'b','type':'fake','params':{'answer':2,'fail':'invalid','fail_times':1}},"
		 "{'id':'c','type':'fake','params':{'answer':3}},"
		 "{'id':'side','type':'fake','params':{'answer':4}}],"
		 "'edges':[{'from':'a','to':'b'},{'from':'b','to':'c'},{'from':'a','to':'side'}],"
		 "'outputs':{'v':'{{ nodes.a.value + nodes.b.value + nodes.c.value }}'}}");
}

static void only_what_failed_is_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain(), "{}");
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
	id = world_submit(w, chain(), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "nobody", NULL), SL_NOT_FOUND);
	expect_status(w, id, "failed");
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, NULL, NULL), SL_OK);
	expect_status(w, id, "succeeded");
}

static void from_a_completed_node_all_that_follows_is_done_again(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, chain(), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_RETRY, "a", NULL), SL_OK);
	expect_v(w, id, "6");
	assert_int_equal(world_calls(w, "a"), 2);
	assert_int_equal(world_calls(w, "b"), 2);
	assert_int_equal(world_calls(w, "side"), 2);
	every_prefix_is_a_state(w, id);
}

/* Round 3 fails in its second node; `then` counts the rounds. */
static const char *rounds(const char *then)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':5,"
		 "'exit_on_score':{'value':'nodes.j.value','at_least':4},'body':{'nodes':["
		 "{'id':'p','type':'fake','params':{'answer':'{{ loop.index }}','text':'t'}},"
		 "{'id':'j','type':'fake','params':{'answer':'{{ loop.index }}','fail':'{{ loop.index == 3 and "
		 "[[invalid]] "
		 "or [[]] }}','fail_times':1}}],'edges':[{'from':'p','to':'j'}]}}},"
		 "{'id':'next','type':'fake','params':{'answer':'{{ nodes.r.rounds }}'%s}}],"
		 "'edges':[{'from':'r','to':'next'}],'outputs':{'v':'{{ nodes.next.value }}'}}",
		 then);
}

static void a_loop_goes_on_in_the_round_that_failed(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, rounds(""), "{}");
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
	struct sl_run_id id = world_submit(w, rounds(",'fail':'invalid','fail_times':1"), "{}");
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

static void a_child_run_that_failed_is_started_anew(void **state)
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
	assert_false(sl_run_id_eq(first, second));
	expect_status(w, first, "failed");
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
	struct sl_run_id id = world_submit(w, chain(), "{}");
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

struct story {
	const char *name;
	const char *(*definition)(void);
	const char *held, *review; /* paths that a person or a test lets go, NULL: none */
	bool cancel;               /* it does not fail: it is cancelled */
};

static const char *story_loop(void)
{
	return rounds("");
}

static const char *story_map(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'each','type':'map','params':{'items':[1,2,3],'concurrency':2,"
		 "'body':{'nodes':[{'id':'ask','type':'fake','params':{'answer':'{{ item }}','fail':'{{ item == 2 and "
		 "[[invalid]] or [[]] "
		 "}}','fail_times':1}},{'id':'next','type':'fake','params':{'answer':1,'text':'x'}}],"
		 "'edges':[{'from':'ask','to':'next'}]}}}]}");
}

static const char *story_branches(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'p','type':'parallel','params':{}},"
		 "{'id':'a','type':'fake','params':{'answer':1,'text':'x'}},"
		 "{'id':'b','type':'fake','params':{'answer':2,'fail':'invalid','fail_times':1}},"
		 "{'id':'c','type':'external','params':{}},{'id':'j','type':'join','params':{}},"
		 "{'id':'last','type':'fake','params':{'answer':3}}],"
		 "'edges':[{'from':'p','to':'a'},{'from':'p','to':'b'},{'from':'p','to':'c'},{'from':'a','to':'j'},"
		 "{'from':'b','to':'j'},{'from':'c','to':'j'},{'from':'j','to':'last'}]}");
}

static const char *story_review(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1}},"
		 "{'id':'ask','type':'human_review','params':{'draft':'d'}},{'id':'z','type':'fake','params':{'answer':"
		 "1,"
		 "'fail':'invalid','fail_times':1}}],'edges':[{'from':'a','to':'ask'},{'from':'ask','to':'z'}]}");
}

static const char *story_held(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':2,'body':{'nodes':["
		 "{'id':'h','type':'fake','params':{'answer':1,'hold':true}},{'id':'k','type':'fake','params':{'answer'"
		 ":1}}]"
		 ",'edges':[{'from':'h','to':'k'}]}}}]}");
}

static const struct story stories[] = {
	{"a chain", chain, NULL, NULL, false},
	{"the third round of a loop", story_loop, NULL, NULL, false},
	{"an item of a map", story_map, NULL, NULL, false},
	{"a branch", story_branches, NULL, NULL, false},
	{"after a review", story_review, NULL, "ask", false},
	{"a review that was cut off", story_review, NULL, "ask", true},
	{"a cancelled loop", story_held, "r#%u/h", NULL, true},
};

/* Lets go what is held, and answers what waits for a person. True: there was something. */
static bool help(struct world *w, struct sl_run_id id, const struct story *s)
{
	bool any = false;
	for (unsigned i = 1; s->held && i <= 2; i++) {
		char path[32];
		(void)snprintf(path, sizeof(path), "r#%u/h", i);
		if (world_is_held(w, path)) {
			world_release(w, path);
			any = true;
		}
	}
	if (s->review && strcmp(world_node_status(w, id, s->review), "waiting") == 0)
		any = world_order(w, id, SL_CMD_REVIEW, s->review, "{\"action\":\"approve\"}") == SL_OK;
	world_settle(w);
	return any;
}

static void to_its_end(struct world *w, struct sl_run_id id, const struct story *s)
{
	world_settle(w);
	for (unsigned i = 0; i < 20 && help(w, id, s); i++) {
	}
}

static struct sl_run_id broken(struct world *w, const struct story *s)
{
	struct sl_run_id id = world_submit(w, s->definition(), "{}");
	world_settle(w);
	if (s->cancel) {
		assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
		expect_status(w, id, "cancelled");
	} else {
		to_its_end(w, id, s);
		expect_status(w, id, "failed");
	}
	return id;
}

/* From each node the run knows, whatever has become of it: it ends well, and that node is done. */
static void a_retry_from_any_node_ends(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(stories); i++) {
		const struct story *s = &stories[i];
		size_t n = 1;
		for (size_t at = 0; at < n; at++) {
			struct world *w = world_new(3);
			struct sl_run_id id = broken(w, s);
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
			to_its_end(w, id, s);
			for (unsigned k = 0; k < 3 && strcmp(world_status(w, id), "failed") == 0;
			     k++) { /* further on */
				assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
				to_its_end(w, id, s);
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
	struct sl_run_id id = broken(w, s);
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
	to_its_end(w, id, s);
	bool acknowledged = reply.n && reply.rc == SL_OK;
	for (unsigned i = 0; i < 4 && strcmp(world_status(w, id), "succeeded") != 0; i++) {
		bool ended =
			strcmp(world_status(w, id), "failed") == 0 || strcmp(world_status(w, id), "cancelled") == 0;
		if (!ended || (acknowledged && events(w, id, "execution:retried") == 0))
			fail_msg("%s, %u commits: %s", s->name, commits, text_of(world_run(w, id)));
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		to_its_end(w, id, s);
	}
	expect_status(w, id, "succeeded");
	every_prefix_is_a_state(w, id);
	world_free(w);
	return enough;
}

static void a_crash_at_any_commit_of_a_retry_leaves_a_run_that_can_end(void **state)
{
	unsigned most = 0;
	for (size_t i = 0; i < SL_COUNT_OF(stories); i++) {
		unsigned n = 0;
		while (crash_after(&stories[i], n))
			n++;
		most = n > most ? n : most;
	}
	assert_in_range(most, 4, 1000);
}

/* ---- fork ---- */

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
	for (size_t i = 0; i < SL_COUNT_OF(stories); i++) {
		const struct story *s = &stories[i];
		struct world *w = world_new(3);
		struct sl_run_id id = broken(w, s);
		const struct sl_record *r;
		assert_int_equal(world_command(w, id, SL_CMD_RETRY), SL_OK);
		to_its_end(w, id, s);
		size_t n = world_records(w, id, &r);
		for (size_t at = 1; at <= n; at++) {
			struct sl_run_id fork = fork_of(w, id, (struct sl_fork){.at_seq = at});
			if (at % 3 == 0) {
				world_crash(w);
				world_settle(w);
			}
			to_its_end(w, fork, s);
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
		WORLD_TEST(only_what_failed_is_done_again),
		WORLD_TEST(a_retry_is_allowed_when_there_is_something_to_take_back),
		WORLD_TEST(from_a_completed_node_all_that_follows_is_done_again),
		WORLD_TEST(a_loop_goes_on_in_the_round_that_failed),
		WORLD_TEST(from_a_round_the_later_rounds_are_done_again),
		WORLD_TEST(a_loop_that_failed_by_itself_repeats_its_last_round),
		WORLD_TEST(a_map_goes_on_with_the_items_that_are_missing),
		WORLD_TEST(a_long_map_goes_on_too),
		WORLD_TEST(a_branch_that_lost_is_not_run_again),
		WORLD_TEST(the_branches_a_join_missed_are_run_again_and_the_others_kept),
		WORLD_TEST(a_review_that_was_cut_off_is_asked_for_again),
		WORLD_TEST(a_child_run_that_failed_is_started_anew),
		WORLD_TEST(the_clock_of_the_run_begins_anew),
		WORLD_TEST(a_run_that_was_given_up_as_poison_gets_its_chances_again),
		WORLD_TEST(of_two_retries_at_once_one_counts),
		WORLD_TEST(a_retry_may_come_before_the_end_is_written),
		WORLD_TEST(a_fork_at_a_node_runs_that_one_and_what_follows),
		WORLD_TEST(a_node_whose_output_is_given_is_not_run),
		WORLD_TEST(a_fork_with_other_inputs_begins_anew_unless_it_says_where),
		WORLD_TEST(what_a_fork_cannot_be_is_refused_with_its_place),
		WORLD_TEST(a_round_whose_output_is_given_changes_what_comes_after_it),
		WORLD_TEST(a_choice_can_be_given),
		WORLD_TEST(a_fork_with_a_key_is_made_once),
		WORLD_TEST(a_crash_before_a_fork_is_written_leaves_none),
		cmocka_unit_test(a_retry_from_any_node_ends),
		cmocka_unit_test(a_fork_at_any_event_ends),
		cmocka_unit_test(a_crash_at_any_commit_of_a_retry_leaves_a_run_that_can_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
