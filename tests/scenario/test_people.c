/* What comes into a run from outside: reviews, signals, words; and votes, where models are asked. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/world.h"

static int setup(void **state)
{
	sl_expect_aborts = true;
	*state = world_new(5);
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

static const char *q(const char *fmt, ...)
{
	static char bufs[4][8192];
	static unsigned turn;
	char *b = bufs[turn++ % 4];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(b, sizeof(bufs[0]), fmt, ap);
	va_end(ap);
	for (char *c = b; *c; c++)
		if (*c == '\'')
			*c = '"';
	return b;
}

static const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static const char *v_of(struct world *w, struct sl_run_id id)
{
	return text_of(sl_json_get(sl_json_get(world_run(w, id), "outputs"), "v"));
}

static void expect_status(struct world *w, struct sl_run_id id, const char *status)
{
	if (strcmp(world_status(w, id), status) != 0)
		fail_msg("%s", text_of(world_run(w, id)));
}

static struct json_object *event(struct world *w, struct sl_run_id id, const char *name, unsigned n)
{
	const struct sl_record *r;
	size_t all = world_records(w, id, &r);
	for (size_t i = 0; i < all; i++)
		if (strcmp(r[i].event, name) == 0 && n-- == 0) {
			struct json_object *o = NULL;
			struct sl_error err;
			assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, &err), SL_OK);
			return o;
		}
	return NULL;
}

static struct sl_run_id reviewed(struct world *w, const char *params)
{
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'ask','type':'human_review','params':{'draft':'a draft'%s}},"
		  "{'id':'then','type':'fake','params':{'answer':1}}],'edges':[{'from':'ask','to':'then'}],"
		  "'outputs':{'v':'{{ nodes.ask }}'}}",
		  params),
		"{}");
	world_settle(w);
	return id;
}

static void a_run_waits_for_its_reviewer(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, ",'instructions':'look'");
	assert_string_equal(world_status(w, id), "waiting");
	SL_AUTO_JSON asked = event(w, id, "human_review:requested", 0);
	assert_string_equal(sl_json_get_z(asked, "draft"), "a draft");
	assert_string_equal(sl_json_get_z(asked, "instructions"), "look");
	assert_string_equal(sl_json_get_z(asked, "node_id"), "ask");
	world_crash(w);
	world_settle(w);
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id),
			    "{\"action\":\"approve\",\"content\":\"a draft\",\"reviewer\":\"tester\",\"text\":"
			    "\"a draft\"}");
	SL_AUTO_JSON twice = event(w, id, "human_review:requested", 1); /* asked once, whatever crashed */
	assert_null(twice);
	SL_AUTO_JSON done = event(w, id, "human_review:resolved", 0);
	assert_string_equal(sl_json_get_z(done, "reviewer"), "tester");
}

static void the_first_decision_counts(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'ask','type':'human_review','params':{'draft':'a'}},"
		  "{'id':'then','type':'fake','params':{'answer':1,'hold':true}}],'edges':[{'from':'ask','to':'then'}]"
		  "}"),
		"{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'modify','content':'b'}")), SL_OK);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_CONFLICT);
	assert_string_equal(world_told(w), "'ask' has been decided: modify, by tester");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "then", q("{'action':'approve'}")), SL_CONFLICT);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "nobody", q("{'action':'approve'}")), SL_NOT_FOUND);
}

static void a_decision_that_does_not_do_leaves_it_open(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {"{'action':'maybe'}", "{'action':'modify'}", "{'action':'reject'}",
					  "{'action':'reject','reason':'  '}", "{'action':'skip'}"};
	struct sl_run_id id = reviewed(w, "");
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("%s", bad[i])), SL_INVALID);
		assert_string_equal(world_status(w, id), "waiting");
	}
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'reject','reason':'thin'}")), SL_OK);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id),
			    "{\"action\":\"reject\",\"content\":\"a draft\",\"reason\":\"thin\",\"reviewer\":"
			    "\"tester\",\"text\":\"a draft\"}");
}

static void a_form_is_held_to_its_schema(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(
		w, ",'fields':{'type':'object','required':['price'],'properties':{'price':{'type':'number'}}}");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'modify','content':{'price':'much'}}")),
			 SL_INVALID);
	assert_non_null(strstr(world_told(w), "/content/price"));
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'modify','content':{'price':7}}")),
			 SL_OK);
	assert_string_equal(v_of(w, id), "{\"action\":\"modify\",\"content\":{\"price\":7},\"reviewer\":\"tester\"}");
}

static void a_deadline_fails_the_review_or_takes_the_draft(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, ",'timeout_s':60");
	world_advance(w, 30000);
	world_crash(w); /* the rest of the time, not all of it again */
	world_advance(w, 31000);
	expect_status(w, id, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "expired");
	id = reviewed(w, ",'timeout_s':60,'allow_skip':true");
	world_advance(w, 61000);
	expect_status(w, id, "succeeded");
	assert_non_null(strstr(v_of(w, id), "\"action\":\"skip\""));
	id = reviewed(w, ",'allow_skip':true");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'skip'}")), SL_OK);
	expect_status(w, id, "succeeded");
}

static void a_review_can_be_given_while_the_run_is_paused(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, "");
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_DRAIN), SL_OK);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	assert_string_equal(world_status(w, id), "paused");
	assert_int_equal(world_calls(w, "then"), 0);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	expect_status(w, id, "succeeded");
}

static const char *signalled(const char *first)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':%s}},"
		 "{'id':'s','type':'wait_signal','params':{'signal':'go','timeout_s':100}},"
		 "{'id':'t','type':'wait_signal','params':{'signal':'go'}}],"
		 "'edges':[{'from':'a','to':'s'},{'from':'a','to':'t'}],"
		 "'outputs':{'v':'{{ math.min(nodes.s.payload, nodes.t.payload) }} {{ math.max(nodes.s.payload, "
		 "nodes.t.payload) }}'}}",
		 first);
}

static void a_signal_wakes_all_who_wait_for_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, signalled("false"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'other'}")), SL_OK);
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'payload':1}")), SL_INVALID);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':7}")), SL_OK);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id), "\"7 7\"");
}

static void a_signal_that_comes_early_is_kept_for_one(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, signalled("true"), "{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':1}")), SL_OK);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':2}")), SL_OK);
	world_crash(w);
	world_settle(w);
	world_release(w, "a");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id), "\"1 2\"");
}

static void a_signal_that_never_comes_is_a_timeout(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, signalled("false"), "{}");
	world_settle(w);
	world_advance(w, 100001);
	expect_status(w, id, "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "timeout");
}

static void what_people_say_is_seen_by_later_calls(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'b','type':'llm','params':{'agent':'yes'}}],'edges':[{'from':'a','to':'b'}],"
		  "'outputs':{'v':'{{ nodes.b.said[1].text }} {{ nodes.b.said[1].by }} {{ #nodes.b.said }}'}}"),
		"{}");
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_INPUT, NULL, q("{'text':' '}")), SL_INVALID);
	assert_int_equal(world_order(w, id, SL_CMD_INPUT, NULL, q("{'text':'shorter, please'}")), SL_OK);
	world_crash(w);
	world_settle(w);
	world_release(w, "a");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id), "\"shorter, please tester 1\"");
	assert_int_equal(world_order(w, id, SL_CMD_INPUT, NULL, q("{'text':'too late'}")), SL_CONFLICT);
}

static const char *poll(const char *voters, const char *params)
{
	return q("{'sluice':1,'name':'x','nodes':[{'id':'panel','type':'vote','params':{'voters':[%s],'question':'Ship "
		 "it?'%s}}],'outputs':{'v':'{{ nodes.panel.passed }} {{ nodes.panel.summary }}'}}",
		 voters, params);
}

static void votes_are_counted(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *voters, *params, *v;
	} rows[] = {
		{"'yes1','yes2','no1'", "", "\"false 2 yes, 1 no, 0 abstained\""}, /* 0.667 is under 0.67 */
		{"'yes1','yes2','no1'", ",'threshold':0.6", "\"true 2 yes, 1 no, 0 abstained\""},
		{"'yes1','abstain','bad'", "", "\"true 1 yes, 0 no, 2 abstained\""},
		{"'yes1','no1'", "", "\"false 1 yes, 1 no, 0 abstained; a tie\""},
		{"'yes1','no1'", ",'tie':'pass'", "\"true 1 yes, 1 no, 0 abstained; a tie\""},
		{"'bad'", "", "\"false 0 yes, 0 no, 1 abstained; a tie\""},
		{"'s8','s6','bad'", ",'kind':'score_1_10'", "\"true mean 7.00 of 10 from 2 voters, 1 abstained\""},
		{"'s5','s6'", ",'kind':'score_1_10'", "\"false mean 5.50 of 10 from 2 voters, 0 abstained\""},
		{"'yes','yes',{'agent':'yes','name':'third one'}", "", "\"true 3 yes, 0 no, 0 abstained\""},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w, poll(rows[i].voters, rows[i].params), "{}");
		world_settle(w);
		expect_status(w, id, "succeeded");
		assert_string_equal(v_of(w, id), rows[i].v);
	}
	assert_int_equal(world_calls(w, "panel#1/third_one"), 1);
	assert_int_equal(world_calls(w, "panel#1/yes_2"), 1);
}

static void a_vote_is_told_once_for_each_voter(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, poll("'yes1','no1'", ""), "{}");
	world_settle(w);
	SL_AUTO_JSON second = event(w, id, "vote:cast", 1);
	assert_string_equal(text_of(second), "{\"voter\":\"no1\",\"vote\":\"no\",\"node_id\":\"panel\"}");
	SL_AUTO_JSON third = event(w, id, "vote:cast", 2);
	assert_null(third);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_run_waits_for_its_reviewer),
		T(the_first_decision_counts),
		T(a_decision_that_does_not_do_leaves_it_open),
		T(a_form_is_held_to_its_schema),
		T(a_deadline_fails_the_review_or_takes_the_draft),
		T(a_review_can_be_given_while_the_run_is_paused),
		T(a_signal_wakes_all_who_wait_for_it),
		T(a_signal_that_comes_early_is_kept_for_one),
		T(a_signal_that_never_comes_is_a_timeout),
		T(what_people_say_is_seen_by_later_calls),
		T(votes_are_counted),
		T(a_vote_is_told_once_for_each_voter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
