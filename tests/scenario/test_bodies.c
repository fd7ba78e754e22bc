/* Loops and maps: rounds and items with their own paths, why they end, what a crash in the middle leaves. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "engine/run_state.h"
#include "tests/lib/scenario.h"

/* A loop whose judge says scores[round]. */
static const char *scored(const char *scores, const char *params, const char *v)
{
	return q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'refine','type':'loop','params':{"
		 "'body':{'nodes':[{'id':'pro','type':'fake','params':{'answer':'{{ loop.index }}','text':'t'}},"
		 "{'id':'judge','type':'transform','params':{'expr':'({%s})[loop.index]'}}],"
		 "'edges':[{'from':'pro','to':'judge'}]},%s}}],'outputs':{'v':'{{ %s }}'}}",
		 scores, params, v);
}

static void a_loop_ends_with_a_good_score(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		scored("60, 75, 92, 95", "'max_rounds':5,'exit_on_score':{'value':'nodes.judge.value','at_least':90}",
		       "nodes.refine.rounds .. nodes.refine.exit_reason .. nodes.refine.last.judge.value"),
		"{}");
	world_settle(w);
	expect_v(w, id, "\"3score92\"");
	assert_string_equal(world_node_status(w, id, "refine#3/judge"), "completed");
	assert_int_equal(world_calls(w, "refine#2/pro"), 1);
	assert_int_equal(world_calls(w, "refine#4/pro"), 0);
	SL_AUTO_JSON third = event(w, id, "loop:round", 2);
	assert_string_equal(text_of(third),
			    "{\"round\":3,\"of\":5,\"score\":92.0,\"best_round\":3,\"best_score\":92.0,"
			    "\"target\":90.0,\"decision\":\"exit\",\"exit_reason\":\"score\",\"node_id\":"
			    "\"refine\"}");
	SL_AUTO_JSON fourth = event(w, id, "loop:round", 3);
	assert_null(fourth);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_total", 0), 7);
	assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), 7);
}

static void a_loop_ends_for_the_reason_it_says(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *scores, *params, *v;
	} rows[] = {
		{"1, 2, 3", "'max_rounds':3", "\"max_rounds 3\""},
		{"1, 2, 3", "'max_rounds':3,'until':'nodes.judge.value == 2'", "\"until 2\""},
		{"80, 85, 60, 99",
		 "'max_rounds':9,'exit_on_score':{'value':'nodes.judge.value','at_least':90},'on_regression':{'do':"
		 "'stop'}",
		 "\"regression 3\""},
		{"80, 85, 60, 91",
		 "'max_rounds':9,'exit_on_score':{'value':'nodes.judge.value','at_least':90},'on_regression':{'do':"
		 "'warn'}",
		 "\"score 4\""},
		{"80, 81, 80, 99",
		 "'max_rounds':9,'exit_on_score':{'value':'nodes.judge.value','at_least':90},'stagnation':{'do':"
		 "'stop'}",
		 "\"stagnation 3\""},
		{"80, 81, 80, 99",
		 "'max_rounds':9,'exit_on_score':{'value':'nodes.judge.value','at_least':90},'stagnation':{}",
		 "\"score 4\""},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w,
						   scored(rows[i].scores, rows[i].params,
							  "nodes.refine.exit_reason .. [[ ]] .. nodes.refine.rounds"),
						   "{}");
		world_settle(w);
		expect_status(w, id, "succeeded");
		assert_string_equal(text_of(output(w, id, "v")), rows[i].v);
	}
}

static void a_step_back_builds_on_the_best_round(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':4,"
		  "'exit_on_score':{'value':'nodes.j.value','at_least':90},'on_regression':{'drop':10,'do':'rollback'},"
		  "'body':{'nodes':[{'id':'j','type':'transform','params':{'expr':'({80, 60, 85, 91})[loop.index]'}},"
		  "{'id':'saw','type':'fake','params':{'answer':'{{ loop.last and loop.last.j.value or 0 }}'}}],"
		  "'edges':[{'from':'j','to':'saw'}]}}}],"
		  "'outputs':{'v':'{{ nodes.r.last.saw.value }} {{ nodes.r.best_round }} {{ #nodes.r.history }}'}}"),
		"{}");
	world_settle(w);
	expect_v(w, id, "\"85 4 4\"");
	/* round 3 saw the 80 of round 1, not the 60 of round 2 */
	SL_AUTO_JSON second = event(w, id, "loop:round", 1);
	assert_string_equal(sl_json_get_z(second, "note"), "rollback");
	struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *n = json_object_array_get_idx(nodes, i);
		if (strcmp(sl_json_get_z(n, "path"), "r#3/saw") == 0)
			assert_int_equal(sl_json_get_i64(sl_json_get(n, "output"), "value", 0), 80);
	}
}

/* What it earned and what it is: both of the round it ends with, also when another life of the server looks again. */
static void a_loop_that_got_worse_ends_with_the_best_round_and_its_score(void **state)
{
	struct world *w = *state;
	for (unsigned commits = 0; commits < 8; commits++) {
		struct sl_run_id id = world_submit(
			w,
			scored("80, 85, 60, 99",
			       "'max_rounds':9,'exit_on_score':{'value':'nodes.judge.value','at_least':90},"
			       "'on_regression':{'do':'stop'}",
			       "nodes.refine.last.judge.value .. [[ ]] .. nodes.refine.score .. [[ ]] .. "
			       "nodes.refine.best_score .. [[ ]] .. nodes.refine.best_round .. [[ ]] .. "
			       "nodes.refine.history[3].score"),
			"{}");
		world_auto_commit(w, false);
		for (unsigned i = 0; i < commits; i++) {
			world_settle(w);
			world_commit_one(w);
		}
		world_auto_commit(w, true);
		if (commits)
			world_crash(w);
		world_settle(w);
		expect_v(w, id, "\"85 85.0 85.0 2 60.0\"");
		SL_AUTO_JSON third = event(w, id, "loop:round", 2); /* which tells of the round, not of the loop */
		assert_int_equal(sl_json_get_i64(third, "score", 0), 60);
		assert_string_equal(sl_json_get_z(third, "exit_reason"), "regression");
	}
}

static void what_is_carried_comes_back(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':4,"
		  "'carry':'(loop.carry or 0) + nodes.n.value','body':{'nodes':[{'id':'n','type':'transform','params':{"
		  "'expr':'loop.index + (loop.carry or 0)'}}]}}}],'outputs':{'v':'{{ nodes.r.carry }}'}}"),
		"{}");
	world_settle(w);
	expect_v(w, id, "26"); /* 1, 1+3=4, 4+7=11, 11+15=26 */
}

static void a_round_sees_the_rounds_before_it_and_no_later_ones(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':4,'body':{'nodes':["
		  "{'id':'nap','type':'delay','params':{'seconds':0.05}},"
		  "{'id':'n','type':'transform','params':{'expr':'#loop.history * 10 + (loop.history[1] and "
		  "loop.history[1].outputs.n.value or 0)'}}],'edges':[{'from':'nap','to':'n'}]}}}],"
		  "'outputs':{'v':'{{ nodes.r.last.n.value }}'}}"),
		"{}");
	world_advance(w, 120);
	world_crash(w);
	world_advance(w, 1000);
	expect_v(w, id, "30");
}

static void a_failure_in_a_round_fails_the_loop_and_stops_the_rest(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':3,'body':{'nodes':["
		  "{'id':'slow','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'bad','type':'fake','params':{'answer':1,'fail':'%s','hold':false}}]}}}]}",
		  "invalid"),
		"{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_string_equal(world_node_status(w, id, "r#1/slow"), "cancelled");
	assert_string_equal(world_node_status(w, id, "r#1/bad"), "failed");
	assert_string_equal(world_node_status(w, id, "r"), "failed");
	assert_int_equal(world_cancels(w, "r#1/slow"), 1);
	struct json_object *error = sl_json_get(world_run(w, id), "error");
	assert_string_equal(sl_json_get_z(error, "code"), "invalid");
	assert_non_null(strstr(sl_json_get_z(error, "message"), "r#1/bad: "));
}

static const char *mapped(const char *params, const char *ask)
{
	return q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'each','type':'map','params':{"
		 "'items':'{{ input.list }}',%s,'body':{'nodes':[{'id':'ask','type':'fake','params':{%s}}]}}}],"
		 "'outputs':{'v':'{{ nodes.each }}'}}",
		 params, ask);
}

static void a_map_keeps_the_order_of_its_items(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w, mapped("'concurrency':2", "'answer':'{{ item }}{{ index }}','hold':'{{ index < 3 }}'"),
			     q("{'list':['a','b','c','d']}"));
	world_settle(w);
	assert_true(world_is_held(w, "each#1/ask"));
	assert_true(world_is_held(w, "each#2/ask"));
	assert_int_equal(world_calls(w, "each#3/ask"), 0); /* two at a time */
	world_release(w, "each#2/ask");
	world_settle(w);
	assert_int_equal(world_calls(w, "each#4/ask"), 1);
	world_release(w, "each#1/ask");
	world_settle(w);
	expect_v(w, id,
		 "{\"items\":[{\"value\":\"a1\"},{\"value\":\"b2\"},{\"value\":\"c3\"},{\"value\":\"d4\"}],\"count\":4,"
		 "\"failed\":0}");
	SL_AUTO_JSON last = event(w, id, "progress", 3);
	assert_string_equal(text_of(last), "{\"done\":4,\"of\":4,\"failed\":0,\"node_id\":\"each\"}");
}

static void progress_is_told_about_every_tenth(void **state)
{
	struct world *w = *state;
	static const unsigned rows[][2] = {{1, 1}, {10, 10}, {11, 6}, {19, 10}, {20, 10}, {21, 7}, {99, 10}, {101, 10}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_BUF(list, 4096);
		sl_buf_adds(&list, "{\"list\":[0");
		for (unsigned item = 1; item < rows[i][0]; item++)
			sl_buf_adds(&list, ",0");
		sl_buf_adds(&list, "]}");
		struct sl_run_id id = world_submit(w, mapped("'concurrency':5", "'answer':1"), list.data);
		world_settle(w);
		expect_status(w, id, "succeeded");
		assert_int_equal(events(w, id, "progress"), rows[i][1]);
		SL_AUTO_JSON last = event(w, id, "progress", rows[i][1] - 1);
		assert_int_equal(sl_json_get_i64(last, "done", 0), rows[i][0]);
	}
}

static void an_item_that_fails_is_one_item(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     mapped("'on_item_error':'continue'",
				    "'answer':'{{ item }}','fail':'{{ ({[[]], [[invalid]], [[]]})[item] }}'"),
			     q("{'list':[1,2,3]}"));
	world_settle(w);
	expect_status(w, id, "succeeded");
	struct json_object *v = output(w, id, "v"), *items = sl_json_get(v, "items");
	assert_int_equal(sl_json_get_i64(v, "failed", 0), 1);
	assert_int_equal(json_object_array_length(items), 3);
	assert_int_equal(sl_json_get_i64(json_object_array_get_idx(items, 2), "value", 0), 3);
	assert_string_equal(sl_json_get_z(sl_json_get(json_object_array_get_idx(items, 1), "error"), "code"),
			    "invalid");
}

/* A thousand items, the third one slow, some fail, the server dies in between: the results are all there and in order,
 * and of most items nothing else is kept. */
static void of_many_items_only_the_results_are_kept(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 8192);
	const unsigned many = 1000;
	for (unsigned i = 1; i <= many; i++)
		sl_buf_addf(&list, "%s%u", i > 1 ? "," : "{\"list\":[", i);
	sl_buf_adds(&list, "]}");
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'each','type':'map','params':{"
		  "'items':'{{ input.list }}','concurrency':7,'on_item_error':'continue','body':{'nodes':["
		  "{'id':'a','type':'fake','params':{'answer':'{{ item * 2 }}','text':'some text','hold':'{{ item == 3 "
		  "}}',"
		  "'fail':'{{ item %% 97 == 0 and [[invalid]] or [[]] }}'}},"
		  "{'id':'b','type':'fake','params':{'answer':'{{ nodes.a.value + 1 }}'}}],"
		  "'edges':[{'from':'a','to':'b'}]}}}],'outputs':{'v':'{{ nodes.each }}'}}"),
		list.data);
	world_settle(w);
	assert_true(world_is_held(w, "each#3/a"));
	assert_string_equal(world_node_status(w, id, "each#3/a"), "running");
	assert_string_equal(world_node_status(w, id, "each#500/b"), "");
	struct json_object *run = world_run(w, id), *nodes = sl_json_get(run, "nodes");
	int64_t folded = sl_json_get_i64(run, "nodes_folded", 0);
	assert_true(json_object_array_length(nodes) <= 1 + 2 * (SL_KEEP_BODIES + 7));
	assert_int_equal(json_object_array_length(nodes) + (size_t)folded, sl_json_get_i64(run, "nodes_total", 0));
	assert_int_equal(sl_json_get_i64(run, "nodes_total", 0), 1 + 2 * many);
	world_crash(w);
	world_settle(w);
	assert_true(world_is_held(w, "each#3/a"));
	world_release(w, "each#3/a");
	world_settle(w);
	expect_status(w, id, "succeeded");
	struct json_object *v = output(w, id, "v"), *items = sl_json_get(v, "items");
	assert_int_equal(sl_json_get_i64(v, "failed", 0), many / 97);
	assert_int_equal(json_object_array_length(items), many);
	for (unsigned i = 1; i <= many; i++) {
		struct json_object *it = json_object_array_get_idx(items, i - 1);
		if (i % 97)
			assert_int_equal(sl_json_get_i64(it, "value", 0), i * 2 + 1);
		else
			assert_string_equal(sl_json_get_z(sl_json_get(it, "error"), "code"), "invalid");
	}
	assert_int_equal(world_calls(w, "each#500/b"), 1); /* nothing was done again but what was under way */
	assert_int_equal(world_calls(w, "each#3/a"), 2);
}

/* The first of many items fails last, while another of its nodes is at work: that one is called off. After a crash both
 * are over, too, and the run only waits. */
static void an_item_that_fails_late_leaves_nobody_at_work(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 8192);
	for (unsigned i = 1; i <= SL_KEEP_BODIES + 5; i++)
		sl_buf_addf(&list, "%s%u", i > 1 ? "," : "{\"list\":[", i);
	sl_buf_adds(&list, "]}");
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'each','type':'map','params':{"
		  "'items':'{{ input.list }}','concurrency':7,'on_item_error':'continue','body':{'nodes':["
		  "{'id':'gate','type':'fake','params':{'answer':1,'hold':'{{ item == 1 }}'}},"
		  "{'id':'a','type':'fake','params':{'answer':1,'fail':'{{ item == 1 and [[invalid]] or [[]] }}'}},"
		  "{'id':'b','type':'fake','params':{'answer':1,'hold':'{{ item == 1 }}'}}],"
		  "'edges':[{'from':'gate','to':'a'}]}}},"
		  "{'id':'ask','type':'human_review','params':{'draft':'{{ nodes.each.failed }}'}}],"
		  "'edges':[{'from':'each','to':'ask'}],'outputs':{'v':'{{ nodes.ask.content }}'}}"),
		list.data);
	world_settle(w);
	assert_true(world_is_held(w, "each#1/b"));
	world_release(w, "each#1/gate");
	for (unsigned life = 0; life < 3; life++) {
		world_settle(w);
		expect_status(w, id, "waiting");
		assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_done", 0), 1 + 3 * (SL_KEEP_BODIES + 5));
		world_crash(w);
	}
	every_prefix_is_a_state(w, id);
}

/* A thousand rounds of a kilobyte each, of which the third is the best one and every later one goes back to it; the
 * server dies in between. Only the latest rounds are kept whole, and nothing else is different. */
static void of_many_rounds_only_the_outputs_are_kept(void **state)
{
	struct world *w = *state;
	SL_BUF(pad, 2048);
	const unsigned many = 1000, held = 700;
	sl_buf_adds(&pad, "{\"pad\":\"");
	for (unsigned i = 0; i < 1000; i++)
		sl_buf_addc(&pad, 'x');
	sl_buf_adds(&pad, "\"}");
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'r','type':'loop','params':{"
		  "'max_rounds':%u,'exit_on_score':{'value':'nodes.judge.value[1]','at_least':90},"
		  "'on_regression':{'do':'rollback'},'carry':'(loop.carry or 0) + nodes.saw.value','body':{'nodes':["
		  "{'id':'judge','type':'transform','params':{'expr':'{ loop.index == 3 and 80 or 10, input.pad "
		  "}'}},{'id':'saw','type':'fake','params':{'answer':'{{ loop.last and loop.last.n.value or 0 }}',"
		  "'text':'some text','hold':'{{ loop.index == %u }}'}},"
		  "{'id':'n','type':'transform','params':{'expr':'loop.index'}}],"
		  "'edges':[{'from':'judge','to':'saw'},{'from':'saw','to':'n'}]}}}],"
		  "'outputs':{'v':'{{ nodes.r.rounds }} {{ nodes.r.best_round }} {{ nodes.r.last.n.value }} {{ "
		  "nodes.r.carry }} {{ #nodes.r.last.judge.value[2] }} {{ #nodes.r.history }}'}}",
		  many, held),
		pad.data);
	world_settle(w);
	for (unsigned life = 0; life < 2; life++) {
		assert_true(world_is_held(w, "r#700/saw"));
		assert_string_equal(world_node_status(w, id, "r#501/n"), "completed");
		assert_string_equal(world_node_status(w, id, "r#500/n"),
				    ""); /* no more in memory than the journal has */
		struct json_object *run = world_run(w, id);
		assert_int_equal(json_object_array_length(sl_json_get(run, "nodes")), 1 + 3 * SL_KEEP_BODIES);
		assert_int_equal(sl_json_get_i64(run, "nodes_folded", 0), 3 * (held - SL_KEEP_BODIES));
		assert_int_equal(sl_json_get_i64(run, "nodes_total", 0), 1 + 3 * held);
		assert_int_equal(sl_json_get_i64(run, "nodes_done", 0), 3 * held - 2);
		if (!life)
			world_crash(w);
		world_settle(w);
	}
	world_release(w, "r#700/saw");
	world_settle(w);
	/* 0 and 1, then what round 2 left, then the third again and again */
	expect_v(w, id, "\"1000 3 3 2994 1000 1000\"");
	assert_int_equal(world_calls(w, "r#500/saw"), 1);
	struct json_object *run = world_run(w, id);
	assert_int_equal(json_object_array_length(sl_json_get(run, "nodes")), 1 + 3 * SL_KEEP_BODIES);
	assert_int_equal(sl_json_get_i64(run, "nodes_done", 0), 1 + 3 * many);
	for (unsigned i = 0; i < many; i += 333) {
		SL_AUTO_JSON e = event(w, id, "loop:round", i);
		assert_int_equal(sl_json_get_i64(e, "round", 0), i + 1);
	}
	SL_AUTO_JSON more = event(w, id, "loop:round", many);
	assert_null(more);
}

static void an_empty_list_is_done_at_once_and_no_list_is_an_error(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, mapped("'concurrency':2", "'answer':1"), q("{'list':[]}"));
	world_settle(w);
	expect_v(w, id, "{\"items\":[],\"count\":0,\"failed\":0}");
	id = world_submit(w, mapped("'concurrency':2", "'answer':1"), q("{'list':{}}")); /* Lua's empty table */
	world_settle(w);
	expect_v(w, id, "{\"items\":[],\"count\":0,\"failed\":0}");
	id = world_submit(w, mapped("'concurrency':2", "'answer':1"), q("{'list':'abc'}"));
	world_settle(w);
	expect_status(w, id, "failed");
	assert_non_null(strstr(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "message"), "not a list"));
}

static const char *nested(void)
{
	return q(
		"{'sluice':1,'name':'x','nodes':[{'id':'outer','type':'loop','params':{'max_rounds':2,'body':{'nodes':"
		"[{'id':'inner','type':'map','params':{'items':[10,20,30],'concurrency':2,'body':{'nodes':["
		"{'id':'x','type':'fake','params':{'answer':'{{ item + loop.index }}','text':'t'}},"
		"{'id':'nap','type':'delay','params':{'seconds':0.05}}],'edges':[{'from':'x','to':'nap'}]}}},"
		"{'id':'sum','type':'transform','params':{'expr':'#nodes.inner.items'}}],'edges':[{'from':'inner','to':"
		"'sum'}]}}}],'outputs':{'v':'{{ nodes.outer.last.sum.value }}'}}");
}

static void bodies_nest(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, nested(), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id),
			    "waiting"); /* all that is outstanding are timers, in bodies of bodies */
	world_advance(w, 1000);
	expect_v(w, id, "3");
	assert_int_equal(world_calls(w, "outer#2/inner#3/x"), 1);
	assert_string_equal(world_node_status(w, id, "outer#1/inner#2/x"), "completed");
}

static void a_pause_and_a_cancel_reach_into_bodies(void **state)
{
	struct world *w = *state;
	const char *d =
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':3,'body':{'nodes':["
		  "{'id':'a','type':'fake','params':{'answer':'{{ loop.index }}','text':'t','hold':true}}]}}}]}");
	struct sl_run_id id = world_submit(w, d, "{}");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	assert_string_equal(world_node_status(w, id, "r#1/a"), "pending");
	assert_string_equal(world_node_status(w, id, "r"), "running");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	assert_int_equal(world_calls(w, "r#1/a"), 2);
	world_release(w, "r#1/a");
	world_settle(w);
	assert_true(world_is_held(w, "r#2/a"));
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_release(w, "r#2/a"); /* it ends while paused; the next round waits for the resume */
	world_settle(w);
	assert_int_equal(world_calls(w, "r#3/a"), 0);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	assert_true(world_is_held(w, "r#3/a"));
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_string_equal(world_node_status(w, id, "r#3/a"), "cancelled");
	assert_string_equal(world_node_status(w, id, "r"), "cancelled");
	assert_string_equal(world_status(w, id), "cancelled");
}

static void what_has_a_body_is_not_retried_as_a_whole(void **state)
{
	struct world *w = *state;
	struct sl_problems p = {0};
	const char *d =
		q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','retry':{'max':2},'params':{'max_rounds':3,"
		  "'body':{'nodes':[{'id':'a','type':'fake','params':{'answer':1}}]}}}]}");
	assert_int_equal(sl_engine_validate(world_engine(w), sl_str(d), NULL, &p), SL_OK);
	assert_int_equal(p.errors, 1);
	assert_string_equal(p.items[0].pointer, "/nodes/0/retry");
	sl_problems_fini(&p);
}

/* A scored loop beside a map inside a loop, killed at random moments: the same facts at the end, each result once, each
 * round told once. */
static void any_crash_leaves_bodies_that_complete(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 500);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		struct world *w = world_new(seed);
		uint64_t s = seed;
		bool deep = seed % 2;
		struct sl_run_id id = world_submit(
			w,
			deep ? nested()
			     : scored("60, 40, 75, 92",
				      "'max_rounds':5,'exit_on_score':{'value':'nodes.judge.value','at_least':90},"
				      "'on_regression':{'do':'rollback'},'carry':'(loop.carry or 0) + 1'",
				      "nodes.refine.carry .. nodes.refine.exit_reason .. "
				      "nodes.refine.last.judge.value"),
			"{}");
		unsigned crashes = 0;
		world_auto_commit(w, false);
		for (unsigned step = 0; step < 400; step++) {
			unsigned what = rnd(&s) % 12;
			if (what < 6)
				sl_engine_step(world_engine(w));
			else if (what < 9)
				world_commit_one(w);
			else if (what < 11)
				world_advance(w, 1 + rnd(&s) % 40);
			else if (crashes < SL_LIMIT_RECOVERIES - 1 && rnd(&s) % 4 == 0) {
				world_crash(w);
				crashes++;
			}
		}
		world_auto_commit(w, true);
		world_advance(w, 30000);
		if (strcmp(world_status(w, id), "succeeded") != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed, text_of(world_run(w, id)));
		assert_string_equal(text_of(output(w, id, "v")), deep ? "3" : "\"4score92\"");
		struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
		for (size_t i = 0; i < json_object_array_length(nodes); i++) {
			const char *path = sl_json_get_z(json_object_array_get_idx(nodes, i), "path");
			if (world_count(w, id, path, "completed") != 1)
				fail_msg("seed %llu: %s completed %u times", (unsigned long long)seed, path,
					 world_count(w, id, path, "completed"));
		}
		for (unsigned i = 0; !deep && i < 4; i++) {
			SL_AUTO_JSON e = event(w, id, "loop:round", i);
			assert_int_equal(sl_json_get_i64(e, "round", 0), i + 1);
		}
		SL_AUTO_JSON more = event(w, id, "loop:round", 4);
		assert_null(more);
		world_free(w);
	}
}

/* Of a long loop the first rounds are folded while it goes on; the best one of them, what is carried and what the
 * rounds see of each other are needed after that. */
static const char *folding(void)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'r','type':'loop','params':{'max_rounds':%u,"
		 "'exit_on_score':{'value':'nodes.judge.value','at_least':90},'on_regression':{'do':'rollback'},"
		 "'stagnation':{'delta':100,'rounds':3},'until':'#loop.history > 900',"
		 "'carry':'(loop.carry or 0) + nodes.a.value + nodes.saw.value','body':{'nodes':["
		 "{'id':'a','type':'fake','params':{'answer':'{{ loop.index }}','text':'t','hold':'{{ loop.index == %u "
		 "}}'}},{'id':'judge','type':'transform','params':{'expr':'({[3] = 80})[loop.index] or loop.index %% "
		 "7'}},"
		 "{'id':'saw','type':'transform','params':{'expr':'(loop.last and loop.last.a.value or 0) + "
		 "(loop.history[1] and loop.history[1].outputs.a.value or 0) + #loop.history'}}],"
		 "'edges':[{'from':'a','to':'judge'},{'from':'judge','to':'saw'}]}}}],'outputs':{'v':'{{ nodes.r }}'}}",
		 SL_KEEP_BODIES + 7, SL_KEEP_BODIES - 1);
}

static void any_crash_about_a_fold_leaves_the_same_loop(void **state)
{
	unsigned schedules = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 500) / 25;
	char expected[32768] = "", held[32];
	(void)snprintf(held, sizeof(held), "r#%u/a", SL_KEEP_BODIES - 1);
	for (uint64_t seed = 0; seed <= schedules; seed++) { /* the first one is not disturbed */
		struct world *w = world_new(seed + 1);
		uint64_t s = seed;
		unsigned crashes = 0, commits = 0, due = rnd(&s) % 8;
		struct sl_run_id id = world_submit(w, folding(), "{}");
		world_settle(w);
		assert_true(world_is_held(w, held));
		world_auto_commit(w, false);
		for (unsigned step = 0; seed && step < 200; step++) {
			if (world_is_held(w, held))
				world_release(w, held);
			if (rnd(&s) % 3)
				sl_engine_step(world_engine(w));
			else
				commits += world_commit_one(w);
			if (commits >= due && crashes < SL_LIMIT_RECOVERIES - 1) {
				world_crash(w);
				crashes++;
				due = commits + rnd(&s) % 4;
			}
		}
		world_auto_commit(w, true);
		world_settle(w);
		if (world_is_held(w, held))
			world_release(w, held);
		world_advance(w, 1000);
		expect_status(w, id, "succeeded");
		const char *v = text_of(output(w, id, "v"));
		if (!seed)
			(void)snprintf(expected, sizeof(expected), "%s", v);
		if (strcmp(v, expected) != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed, v);
		assert_true(!seed || crashes);
		assert_int_equal(sl_json_get_i64(world_run(w, id), "nodes_folded", 0), 3 * 7);
		const struct sl_record *r;
		unsigned completed = 0;
		for (size_t i = 0, n = world_records(w, id, &r); i < n;
		     i++) /* each of them once: the journal sees to it */
			completed += strstr(r[i].data->data, "/saw\"") && strstr(r[i].data->data, "\"completed\"");
		assert_int_equal(completed, SL_KEEP_BODIES + 7);
		for (unsigned i = 0; i < SL_KEEP_BODIES + 7; i++) {
			SL_AUTO_JSON e = event(w, id, "loop:round", i);
			assert_int_equal(sl_json_get_i64(e, "round", 0), i + 1);
		}
		world_free(w);
	}
	assert_non_null(strstr(expected, "\"best_round\":3"));
	assert_true(strlen(expected) < sizeof(expected) - 1);
}

int main(void)
{
#define T(name) WORLD_TEST(name)
	const struct CMUnitTest tests[] = {
		T(a_loop_ends_with_a_good_score),
		T(a_loop_ends_for_the_reason_it_says),
		T(a_step_back_builds_on_the_best_round),
		T(a_loop_that_got_worse_ends_with_the_best_round_and_its_score),
		T(what_is_carried_comes_back),
		T(a_round_sees_the_rounds_before_it_and_no_later_ones),
		T(a_failure_in_a_round_fails_the_loop_and_stops_the_rest),
		T(a_map_keeps_the_order_of_its_items),
		T(progress_is_told_about_every_tenth),
		T(an_item_that_fails_is_one_item),
		T(of_many_items_only_the_results_are_kept),
		T(an_item_that_fails_late_leaves_nobody_at_work),
		T(of_many_rounds_only_the_outputs_are_kept),
		T(an_empty_list_is_done_at_once_and_no_list_is_an_error),
		T(bodies_nest),
		T(a_pause_and_a_cancel_reach_into_bodies),
		T(what_has_a_body_is_not_retried_as_a_whole),
		cmocka_unit_test(any_crash_leaves_bodies_that_complete),
		cmocka_unit_test(any_crash_about_a_fold_leaves_the_same_loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
