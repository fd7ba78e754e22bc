/* What comes into a run from outside: reviews, signals, words; and votes, where models are asked. */
#include "tests/lib/test.h"

#include "tests/lib/scenario.h"

static const char *v_of(struct world *w, struct sl_run_id id)
{
	return text_of(output(w, id, "v"));
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
	/* also when the run has ended by it, and after a restart: who was first */
	for (int life = 0; life < 2; life++) {
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'reject','reason':'r'}")),
				 SL_CONFLICT);
		assert_string_equal(world_told(w), "'ask' has been decided: approve, by tester");
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "nobody", q("{'action':'approve'}")), SL_CONFLICT);
		assert_string_equal(world_told(w), "a run that is succeeded cannot be reviewed");
		world_crash(w);
		world_settle(w);
	}
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
	static const char *const bad[] = {"{'action':'maybe'}",  "{'action':'modify'}",
					  "{'action':'reject'}", "{'action':'reject','reason':'  '}",
					  "{'action':'skip'}",   "{'action':'approve','content':'another draft'}"};
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

#define PRICED "'fields':{'type':'object','required':['price'],'properties':{'price':{'type':'number'}}}"

static void a_form_is_held_to_its_schema(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, "," PRICED);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'modify','content':{'price':'much'}}")),
			 SL_INVALID);
	assert_non_null(strstr(world_told(w), "/content/price"));
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'modify','content':{'price':7}}")),
			 SL_OK);
	assert_string_equal(v_of(w, id), "{\"action\":\"modify\",\"content\":{\"price\":7},\"reviewer\":\"tester\"}");
}

static struct sl_run_id priced(struct world *w, const char *draft)
{
	struct sl_run_id id =
		world_submit(w,
			     q("{'sluice':1,'name':'x','nodes':[{'id':'ask','type':'human_review','params':{'draft':%s,"
			       "'allow_skip':true," PRICED "}}],'outputs':{'v':'{{ nodes.ask }}'}}",
			       draft),
			     "{}");
	world_settle(w);
	return id;
}

static void a_draft_that_is_approved_must_fit_the_form(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = priced(w, "{'price':'much'}");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_INVALID);
	assert_non_null(strstr(world_told(w), "/draft/price"));
	assert_non_null(strstr(world_told(w), "\"modify\""));
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve','content':{'price':'x'}}")),
			 SL_INVALID);
	assert_non_null(strstr(world_told(w), "/content/price"));
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve','content':{'price':7}}")),
			 SL_OK);
	assert_string_equal(v_of(w, id), "{\"action\":\"approve\",\"content\":{\"price\":7},\"reviewer\":\"tester\"}");
	id = priced(w, "{'price':3}");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	assert_string_equal(v_of(w, id), "{\"action\":\"approve\",\"content\":{\"price\":3},\"reviewer\":\"tester\"}");
}

/* Neither says that anything fits: what they keep is the draft, whatever came with them. */
static void who_rejects_or_skips_a_form_keeps_the_draft(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = priced(w, "{'price':'much'}");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask",
				     q("{'action':'reject','reason':'thin','content':{'price':'x'}}")),
			 SL_OK);
	assert_string_equal(
		v_of(w, id),
		"{\"action\":\"reject\",\"content\":{\"price\":\"much\"},\"reason\":\"thin\",\"reviewer\":\"tester\"}");
	id = priced(w, "{'price':'much'}");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'skip','content':{'price':7}}")), SL_OK);
	assert_string_equal(v_of(w, id),
			    "{\"action\":\"skip\",\"content\":{\"price\":\"much\"},\"reviewer\":\"tester\"}");
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

static unsigned reminders(struct world *w, struct sl_run_id id)
{
	unsigned n = 0;
	for (;; n++) {
		SL_AUTO_JSON e = event(w, id, "human_review:reminder", n);
		if (!e)
			return n;
	}
}

static void a_reminder_comes_once_before_the_deadline(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, ",'timeout_s':1800");
	world_advance(w, 1490000);
	assert_int_equal(reminders(w, id), 0);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK); /* the deadline goes on, and so does this */
	world_advance(w, 10020);
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_advance(w, 10000);
	assert_int_equal(reminders(w, id), 1);
	SL_AUTO_JSON e = event(w, id, "human_review:reminder", 0);
	SL_AUTO_JSON asked = event(w, id, "human_review:requested", 0);
	assert_string_equal(sl_json_get_z(e, "node_id"), "ask");
	assert_int_equal(sl_json_get_i64(e, "in_s", 0), 300);
	assert_string_equal(sl_json_get_z(e, "deadline_at"), sl_json_get_z(asked, "deadline_at"));
	assert_string_equal(world_status(w, id), "waiting");
	world_crash(w);
	world_advance(w, 200000);
	assert_int_equal(reminders(w, id), 1);
	world_advance(w, 100000);
	expect_status(w, id, "failed");
	assert_int_equal(reminders(w, id), 1);
}

static void a_reminder_is_told_once_over_all_lives(void **state)
{
	struct world *w = *state;
	for (unsigned commits = 0; commits < 3; commits++) {
		struct sl_run_id id = reviewed(w, ",'timeout_s':100,'remind_before_s':40");
		world_advance(w, 30000);
		world_crash(w);
		world_advance(w, 29000);
		assert_int_equal(reminders(w, id), 0);
		world_auto_commit(w, false);
		world_advance(w, 2000);
		for (unsigned i = 0; i < commits; i++)
			world_commit_one(w);
		world_crash(w); /* told or not, it has come due */
		world_auto_commit(w, true);
		world_advance(w, 1000);
		assert_int_equal(reminders(w, id), 1);
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
		expect_status(w, id, "succeeded");
		assert_int_equal(reminders(w, id), 1);
	}
}

static void a_reminder_that_makes_no_sense_does_not_come(void **state)
{
	struct world *w = *state;
	struct sl_run_id half = reviewed(w, ",'timeout_s':60"),
			 never = reviewed(w, ",'timeout_s':60,'remind_before_s':0"), open = reviewed(w, ""),
			 quick = reviewed(w, ",'timeout_s':60");
	world_advance(w, 20000);
	assert_int_equal(world_order(w, quick, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	world_advance(w, 9000);
	assert_int_equal(reminders(w, half), 0);
	world_advance(w, 2000);
	assert_int_equal(reminders(w, half), 1); /* less time than the reminder is early: half of it */
	world_advance(w, 20000);
	assert_int_equal(reminders(w, never), 0);
	assert_int_equal(reminders(w, open), 0);
	assert_int_equal(reminders(w, quick), 0); /* decided before */
}

static unsigned requests(struct world *w, struct sl_run_id id)
{
	unsigned n = 0;
	for (;; n++) {
		SL_AUTO_JSON e = event(w, id, "human_review:requested", n);
		if (!e)
			return n;
	}
}

/* `timeout_s` of the node, not of the review: what ends is the attempt, and `retry` gives it another. */
static struct sl_run_id tried_twice(struct world *w)
{
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'ask','type':'human_review','timeout_s':60,"
		  "'retry':{'max':1,'backoff_ms':10000,'jitter':false},'params':{'draft':'a draft','timeout_s':100,"
		  "'remind_before_s':60}}],'outputs':{'v':'{{ nodes.ask }}'}}"),
		"{}");
	world_settle(w);
	return id;
}

static void each_attempt_of_a_review_is_asked_for(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = tried_twice(w);
	world_advance(w, 50000);
	assert_int_equal(reminders(w, id), 1);
	world_advance(w, 15000); /* the first attempt is over, the second has not begun */
	SL_AUTO_JSON over = event(w, id, "human_review:resolved", 0);
	assert_string_equal(sl_json_get_z(over, "action"), "expired");
	assert_string_equal(sl_json_get_z(over, "reviewer"), "deadline");
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_CONFLICT);
	assert_int_equal(requests(w, id), 1);
	world_advance(w, 10000);
	assert_int_equal(requests(w, id), 2);
	SL_AUTO_JSON first = event(w, id, "human_review:requested", 0);
	SL_AUTO_JSON second = event(w, id, "human_review:requested", 1);
	assert_true(strcmp(sl_json_get_z(first, "requested_at"), sl_json_get_z(second, "requested_at")) < 0);
	assert_true(strcmp(sl_json_get_z(first, "deadline_at"), sl_json_get_z(second, "deadline_at")) < 0);
	world_crash(w);
	world_settle(w);
	assert_int_equal(requests(w, id), 2); /* of its attempt, it was told */
	assert_int_equal(reminders(w, id), 1);
	world_advance(w, 40000);
	assert_int_equal(reminders(w, id), 2);
	assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	expect_status(w, id, "succeeded");
	SL_AUTO_JSON decided = event(w, id, "human_review:resolved", 1);
	assert_string_equal(sl_json_get_z(decided, "action"), "approve");
	every_prefix_is_a_state(w, id);
}

/* Whatever of the end of an attempt was committed when the server died. */
static void an_attempt_of_a_review_ends_once_over_all_lives(void **state)
{
	struct world *w = *state;
	for (unsigned commits = 0; commits < 5; commits++) {
		struct sl_run_id id = tried_twice(w);
		world_advance(w, 59000);
		world_auto_commit(w, false);
		world_advance(w, 2000);
		for (unsigned i = 0; i < commits; i++)
			world_commit_one(w);
		world_crash(w);
		world_auto_commit(w, true);
		world_advance(w, 12000);
		assert_int_equal(requests(w, id), 2);
		SL_AUTO_JSON over = event(w, id, "human_review:resolved", 0);
		assert_string_equal(sl_json_get_z(over, "action"), "expired");
		SL_AUTO_JSON more = event(w, id, "human_review:resolved", 1);
		assert_null(more);
		assert_int_equal(world_order(w, id, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
		expect_status(w, id, "succeeded");
	}
}

static void a_deadline_that_passed_while_nobody_was_there_is_not_announced(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = reviewed(w, ",'timeout_s':100,'remind_before_s':40");
	world_set_clock(w, 200000); /* the server is away for so long */
	world_crash(w);
	world_advance(w, 100);
	expect_status(w, id, "failed");
	assert_int_equal(reminders(w, id), 0);
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

static void a_signal_is_for_the_one_that_has_waited_longest(void **state)
{
	struct world *w = *state;
	/* the later in the definition waits first */
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'late','type':'wait_signal','params':{'signal':'go'}},"
		  "{'id':'b','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'later','type':'wait_signal','params':{'signal':'go'}},"
		  "{'id':'early','type':'wait_signal','params':{'signal':'go'}}],"
		  "'edges':[{'from':'a','to':'late'},{'from':'b','to':'later'}],"
		  "'outputs':{'v':'{{ nodes.early.payload }}{{ nodes.late.payload }}{{ nodes.later.payload }}'}}"),
		"{}");
	world_settle(w);
	world_release(w, "a");
	world_settle(w);
	world_release(w, "b");
	world_settle(w);
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'other'}")), SL_OK);
	assert_string_equal(world_status(w, id), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'payload':1}")), SL_INVALID);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':1}")), SL_OK);
	assert_string_equal(world_node_status(w, id, "early"), "completed");
	assert_string_equal(world_node_status(w, id, "late"), "waiting");
	assert_string_equal(world_node_status(w, id, "later"), "waiting");
	world_crash(w); /* who waited longer is in the journal */
	world_settle(w);
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':2}")), SL_OK);
	assert_string_equal(world_node_status(w, id, "later"), "waiting");
	assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':3}")), SL_OK);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id), "\"123\"");
}

/* Whatever of it was committed when the server died: one node has it, once. */
static void a_signal_is_taken_once_whatever_crashes(void **state)
{
	struct world *w = *state;
	for (unsigned commits = 0; commits < 8; commits++) {
		struct sl_run_id id = world_submit(w, signalled("false"), "{}");
		world_settle(w);
		world_auto_commit(w, false);
		SL_IGNORE(world_order(w, id, SL_CMD_SIGNAL, NULL,
				      q("{'signal':'go','payload':1}"))); /* or nobody heard */
		for (unsigned i = 0; i < commits; i++) {
			world_commit_one(w);
			world_settle(w);
		}
		world_auto_commit(w, true);
		world_crash(w);
		world_settle(w);
		unsigned taken = (strcmp(world_node_status(w, id, "s"), "completed") == 0) +
				 (strcmp(world_node_status(w, id, "t"), "completed") == 0);
		SL_AUTO_JSON heard = event(w, id, "signal:received", 0);
		assert_int_equal(taken, heard ? 1 : 0);
		assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	}
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

/* timeout_s of the node is for one attempt, whichever life of the server that began in. */
static void an_attempt_has_all_its_time_over_a_restart(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     q("{'sluice':1,'name':'x','nodes':[{'id':'s','type':'wait_signal','timeout_s':60,"
			       "'retry':{'max':1,'backoff_ms':10000,'jitter':false},'params':{'signal':'go'}}]}"),
			     "{}");
	world_settle(w);
	world_advance(w, 80000); /* the second began 70 s after the first */
	world_crash(w);
	world_advance(w, 45000);
	expect_status(w, id, "waiting");
	world_advance(w, 10000);
	expect_status(w, id, "failed");
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

static struct sl_run_id delayed(struct world *w, const char *params, const char *inputs)
{
	struct sl_run_id id = world_submit(
		w, q("{'sluice':1,'name':'x','nodes':[{'id':'d','type':'delay','params':%s}]}", params), inputs);
	world_settle(w);
	return id;
}

/* 2023-11-14T22:13:20Z is when a world begins. */
static void a_delay_ends_at_its_moment(void **state)
{
	struct world *w = *state;
	static const char *const at[] = {"{'until':'2023-11-14T22:14:20Z'}", "{'until':'2023-11-15T03:44:20+05:30'}",
					 "{'until':'{{ input.at }}'}", "{'seconds':60}"};
	for (size_t i = 0; i < SL_COUNT_OF(at); i++) {
		struct world *own = i ? world_new(3) : w;
		struct sl_run_id id = delayed(own, at[i], q("{'at':'2023-11-14T22:14:20.000Z'}"));
		world_advance(own, 59980);
		expect_status(own, id, "waiting");
		world_advance(own, 30);
		expect_status(own, id, "succeeded");
		if (i)
			world_free(own);
	}
}

static void a_moment_that_has_passed_does_not_wait(void **state)
{
	struct world *w = *state;
	expect_status(w, delayed(w, "{'until':'2023-11-14T22:13:20Z'}", "{}"), "succeeded");
	expect_status(w, delayed(w, "{'until':'1999-01-01T00:00:00Z'}", "{}"), "succeeded");
	expect_status(w, delayed(w, "{'seconds':0}", "{}"), "succeeded");
}

static void what_is_no_moment_says_so(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {"tomorrow", "2023-11-14", "2023-11-14T22:14:20", "2023-02-30T00:00:00Z",
					  "",         "12345"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		struct sl_run_id id = delayed(w, "{'until':'{{ input.at }}'}", q("{'at':'%s'}", bad[i]));
		expect_status(w, id, "failed");
		struct json_object *error = sl_json_get(world_run(w, id), "error");
		assert_string_equal(sl_json_get_z(error, "code"), "invalid");
		assert_non_null(strstr(sl_json_get_z(error, "message"), "until"));
	}
}

/* The time a run has waited is not time at work, also when the server that waits is another one by now. */
static void a_long_wait_over_a_restart_is_no_runaway(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = delayed(w, "{'seconds':3000}", "{}"), asked = reviewed(w, "");
	world_advance(w, 1000000);
	world_crash(w);
	world_advance(w, 1000000);
	assert_int_equal(world_command(w, asked, SL_CMD_PAUSE_DRAIN), SL_OK);
	world_advance(w, 500000);
	world_crash(w);
	world_advance(w, 500100);
	expect_status(w, id, "succeeded");
	expect_status(w, asked, "paused");
	assert_int_equal(world_command(w, asked, SL_CMD_RESUME), SL_OK);
	assert_int_equal(world_order(w, asked, SL_CMD_REVIEW, "ask", q("{'action':'approve'}")), SL_OK);
	expect_status(w, asked, "succeeded");
}

/* The clock on the wall is set by an hour, either way, with or without a restart. */
static void a_clock_that_is_set_neither_hurries_nor_delays(void **state)
{
	static const int64_t by[] = {3600000, -3600000};
	for (size_t i = 0; i < 2 * SL_COUNT_OF(by); i++) {
		struct world *w = world_new(9);
		struct sl_run_id until = delayed(w, "{'until':'2023-11-15T00:13:20Z'}", "{}"), /* in two hours */
			span = delayed(w, "{'seconds':7200}", "{}");
		world_advance(w, 1000);
		world_set_clock(w, by[i / 2]);
		if (i % 2)
			world_crash(w);
		int64_t moment = 1700000000000 + 7200000;
		world_advance(w, (uint64_t)(moment - world_wall(w)) - 20);
		expect_status(w, until, "waiting");
		world_advance(w, 1020);
		expect_status(w, until, "succeeded");
		if (i % 2 == 0 && by[i / 2] < 0) /* three hours have gone by */
			expect_status(w, span, "succeeded");
		if (i % 2 == 0 && by[i / 2] > 0) { /* but one */
			expect_status(w, span, "waiting");
			world_advance(w, 3600000 - 1100);
			expect_status(w, span, "waiting");
			world_advance(w, 200);
			expect_status(w, span, "succeeded");
		}
		world_free(w);
	}
	world_free(*state);
	*state = world_new(5); /* for the teardown */
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
		{"'yes1','yes2','no1'", ",'threshold':1", "\"false 2 yes, 1 no, 0 abstained\""},
		{"'yes1','yes2'", ",'threshold':1", "\"true 2 yes, 0 no, 0 abstained\""},
		{"'yes1','no1'", ",'threshold':0.5",
		 "\"false 1 yes, 1 no, 0 abstained; a tie\""}, /* the rule, not the share */
		{"'abstain','bad'", ",'tie':'pass'", "\"true 0 yes, 0 no, 2 abstained; a tie\""},
		{"'bad','abstain'", ",'kind':'score_1_10'", "\"false mean 0.00 of 10 from 0 voters, 2 abstained\""},
		{"'bad'", ",'kind':'score_1_10','tie':'pass'", "\"true mean 0.00 of 10 from 0 voters, 1 abstained\""},
		{"'s7','s7'", ",'kind':'score_1_10','threshold':0.7",
		 "\"true mean 7.00 of 10 from 2 voters, 0 abstained\""},
		{"'yes1','bad','abstain'", ",'quorum':2", "\"false 1 yes, 0 no, 2 abstained; 1 of 2 needed voted\""},
		{"'yes1','yes2','bad'", ",'quorum':2", "\"true 2 yes, 0 no, 1 abstained\""},
		{"'s9','bad'", ",'kind':'score_1_10','quorum':2",
		 "\"false mean 9.00 of 10 from 1 voters, 1 abstained; 1 of 2 needed voted\""},
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

/* Whatever is committed when the server dies: each voter is told once, and nobody who has answered is asked again. */
static void a_vote_goes_on_over_crashes(void **state)
{
	struct world *w = *state;
	for (unsigned commits = 0; commits < 8; commits++) {
		world_auto_commit(w, false);
		struct sl_run_id id = world_submit(w, poll("'yes1','hold no1'", ",'threshold':0.5"), "{}");
		world_settle(w);
		for (unsigned i = 0; i < commits && world_commit_one(w); i++)
			world_settle(w);
		world_auto_commit(w, true);
		world_crash(w);
		world_settle(w);
		world_release(w, "panel#1/hold_no1");
		world_settle(w);
		expect_status(w, id, "succeeded");
		for (unsigned i = 0; i < 3; i++) {
			SL_AUTO_JSON cast = event(w, id, "vote:cast", i);
			assert_int_equal(cast != NULL, i < 2);
		}
	}
}

/* A judge without what the parties said, and two branches without a join, are old mistakes: what is joined is read
 * once, whole, and in the order of the edges. */
static void a_judge_reads_what_both_sides_said(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'pro','type':'fake','params':{'answer':1,'text':'for "
		  "it','hold':true}},"
		  "{'id':'con','type':'fake','params':{'answer':1,'text':'against "
		  "it'}},{'id':'both','type':'join','params':{}},"
		  "{'id':'judge','type':'llm','params':{'agent':'say done','prompt':'{{ nodes.both.merged.pro.text }} "
		  "/ {{ "
		  "nodes.both.merged.con.text }}'}}],'edges':[{'from':'pro','to':'both'},{'from':'con','to':'both'},"
		  "{'from':'both','to':'judge'}],'outputs':{'v':'{{ nodes.judge.prompt }}'}}"),
		"{}");
	world_settle(w);
	assert_int_equal(world_calls(w, "judge"), 0);
	world_release(w, "pro");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(v_of(w, id), "\"for it / against it\"");
	assert_int_equal(world_calls(w, "judge"), 1);
	assert_int_equal(world_count(w, id, "both", "completed"), 1);
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
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_run_waits_for_its_reviewer),
		WORLD_TEST(the_first_decision_counts),
		WORLD_TEST(a_decision_that_does_not_do_leaves_it_open),
		WORLD_TEST(a_form_is_held_to_its_schema),
		WORLD_TEST(a_draft_that_is_approved_must_fit_the_form),
		WORLD_TEST(who_rejects_or_skips_a_form_keeps_the_draft),
		WORLD_TEST(a_deadline_fails_the_review_or_takes_the_draft),
		WORLD_TEST(a_reminder_comes_once_before_the_deadline),
		WORLD_TEST(a_reminder_is_told_once_over_all_lives),
		WORLD_TEST(a_reminder_that_makes_no_sense_does_not_come),
		WORLD_TEST(each_attempt_of_a_review_is_asked_for),
		WORLD_TEST(an_attempt_of_a_review_ends_once_over_all_lives),
		WORLD_TEST(a_deadline_that_passed_while_nobody_was_there_is_not_announced),
		WORLD_TEST(a_review_can_be_given_while_the_run_is_paused),
		WORLD_TEST(a_signal_is_for_the_one_that_has_waited_longest),
		WORLD_TEST(a_signal_is_taken_once_whatever_crashes),
		WORLD_TEST(a_signal_that_comes_early_is_kept_for_one),
		WORLD_TEST(a_signal_that_never_comes_is_a_timeout),
		WORLD_TEST(an_attempt_has_all_its_time_over_a_restart),
		WORLD_TEST(what_people_say_is_seen_by_later_calls),
		WORLD_TEST(a_delay_ends_at_its_moment),
		WORLD_TEST(a_moment_that_has_passed_does_not_wait),
		WORLD_TEST(what_is_no_moment_says_so),
		WORLD_TEST(a_long_wait_over_a_restart_is_no_runaway),
		WORLD_TEST(a_clock_that_is_set_neither_hurries_nor_delays),
		WORLD_TEST(votes_are_counted),
		WORLD_TEST(a_vote_is_told_once_for_each_voter),
		WORLD_TEST(a_vote_goes_on_over_crashes),
		WORLD_TEST(a_judge_reads_what_both_sides_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
