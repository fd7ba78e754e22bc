/* What was said, condensed in a run: in a loop, with and without a model that sums up. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "tests/lib/scenario.h"

static struct json_object *outputs(struct world *w, struct sl_run_id id)
{
	expect_status(w, id, "succeeded");
	return sl_json_get(world_run(w, id), "outputs");
}

static struct sl_run_id talk(struct world *w, const char *params)
{
	return world_submit(w,
			    q("{'sluice':1,'nodes':[{'id':'talk','type':'context','params':{'sources':['one','two','"
			      "three','four']%s}}],"
			      "'outputs':{'all':'{{ nodes.talk }}'}}",
			      params),
			    "{}");
}

static void rounds_of_a_loop_fit_into_the_next_one(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'nodes':[{'id':'debate','type':'loop','params':{'max_rounds':4,'body':{'nodes':["
		  "{'id':'so_far','type':'context','params':{'sources':'{{ loop.history }}','full_rounds':1}},"
		  "{'id':'pro','type':'template','params':{'text':'round {{ loop.index }}'}}],"
		  "'edges':[{'from':'so_far','to':'pro'}]}}}],"
		  "'outputs':{'text':'{{ nodes.debate.last.so_far.text }}','full':'{{ nodes.debate.last.so_far.full "
		  "}}'}}"),
		"{}");
	world_settle(w);
	struct json_object *o = outputs(w, id);
	const char *text = sl_json_get_z(o, "text");
	assert_non_null(text);
	assert_int_equal(sl_json_get_i64(o, "full", 0), 1);
	if (!sl_str_starts(sl_str(text), SL_STR("[round 1] ")) || !strstr(text, "\n[round 2] ") ||
	    !strstr(text, "\n\n[round 3]\n") || !strstr(text, "\npro: round 3") || strstr(text, "round 4"))
		fail_msg("%s", text);
}

static void a_model_sums_up_what_is_older(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = talk(w, ",'full_rounds':2,'summarise_with':'say They met.'");
	world_settle(w);
	struct json_object *all = sl_json_get(outputs(w, id), "all");
	assert_string_equal(sl_json_get_z(all, "text"), "They met.\n\nthree\n\nfour");
	assert_int_equal(sl_json_get_i64(all, "shortened", 0), 2);
	assert_null(sl_json_get(all, "degraded"));
	assert_int_equal(world_calls(w, "talk#1/summary"), 1);
	id = talk(w, ",'full_rounds':4,'summarise_with':{'agent':'say no.'}"); /* nothing is older: nobody is asked */
	world_settle(w);
	all = sl_json_get(outputs(w, id), "all");
	assert_string_equal(sl_json_get_z(all, "text"), "one\n\ntwo\n\nthree\n\nfour");
	assert_int_equal(world_calls(w, "talk#1/summary"), 1);
}

static void a_summary_that_fails_leaves_the_lines(void **state)
{
	struct world *w = *state;
	static const char *const agents[] = {"bad one", "say  ", "yes"};
	for (size_t i = 0; i < SL_COUNT_OF(agents); i++) {
		char params[100];
		(void)snprintf(params, sizeof(params), ",'full_rounds':2,'summarise_with':'%s'", agents[i]);
		struct sl_run_id id = talk(w, params);
		world_settle(w);
		struct json_object *all = sl_json_get(outputs(w, id), "all");
		assert_string_equal(sl_json_get_z(all, "text"), "one\ntwo\n\nthree\n\nfour");
		assert_non_null(strstr(sl_json_get_z(all, "degraded"), i ? "said nothing" : "this voter is out"));
	}
}

static void a_summary_goes_on_over_a_crash(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = talk(w, ",'full_rounds':2,'summarise_with':'hold say They met.'");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "talk#1/summary"), "running");
	world_crash(w);
	world_settle(w);
	assert_int_equal(world_calls(w, "talk#1/summary"), 2);
	/* the model has answered, and the server dies before the node hears of it */
	world_auto_commit(w, false);
	world_release(w, "talk#1/summary");
	world_settle(w);
	world_commit_one(w);
	world_crash(w);
	world_auto_commit(w, true);
	world_settle(w);
	struct json_object *all = sl_json_get(outputs(w, id), "all");
	assert_string_equal(sl_json_get_z(all, "text"), "They met.\n\nthree\n\nfour");
	assert_int_equal(world_calls(w, "talk#1/summary"), 2);
}

static void it_can_be_cancelled_while_the_model_writes(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = talk(w, ",'full_rounds':2,'summarise_with':'hold say x'");
	world_settle(w);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	assert_string_equal(world_status(w, id), "cancelled");
	assert_string_equal(world_node_status(w, id, "talk#1/summary"), "cancelled");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(rounds_of_a_loop_fit_into_the_next_one),     WORLD_TEST(a_model_sums_up_what_is_older),
		WORLD_TEST(a_summary_that_fails_leaves_the_lines),      WORLD_TEST(a_summary_goes_on_over_a_crash),
		WORLD_TEST(it_can_be_cancelled_while_the_model_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
