/* The limits of a run hold for it and all runs below it together: calls that go on at once, crashes, a retry and a
 * fork, children whose end nobody heard of, and a parent in another server. */
#include "tests/lib/test.h"

#include "base/limits.h"
#include "tests/lib/limited.h"

/* Each call of these takes 10 tokens of prompt and 100 of answer, 7 micro-USD. */
#define CALL(id, more)                                                                                                 \
	"{\"id\":\"" id "\",\"type\":\"fake\",\"params\":{\"prompt\":\"what is it?\",\"profile\":\"main\","            \
	"\"text\":\"It is.\",\"max_tokens\":100,\"output_tokens\":100" more "}}"
/* A tenth of what a run may take is the worst case of a call: ten go out at once, and the others wait. */
#define BIG(id, more)                                                                                                  \
	"{\"id\":\"" id "\",\"type\":\"fake\",\"params\":{\"prompt\":\"what is it?\",\"profile\":\"main\","            \
	"\"text\":\"It is.\",\"max_tokens\":100000,\"output_tokens\":1" more "}}"
#define SUB(id, name) "{\"id\":\"" id "\",\"type\":\"subworkflow\",\"params\":{\"workflow\":\"" name "\"}}"
#define EDGE(a, b)    "{\"from\":\"" a "\",\"to\":\"" b "\"}"
#define FLOW(name, limits, nodes, edges)                                                                               \
	"{\"sluice\":1,\"name\":\"" name "\",\"limits\":{" limits "},\"nodes\":[" nodes "],\"edges\":[" edges "]}"

#define TOOK 110 /* by one call */
/* What one call may take at worst: a little more than it does, for its prompt is estimated. */
#define ROOM 130

static int library(void **state)
{
	world_workflow("one", FLOW("one", "", CALL("x", ""), ""));
	world_workflow("held", FLOW("held", "", CALL("x", "") "," CALL("y", ",\"hold\":true"), EDGE("x", "y")));
	world_workflow("holds", FLOW("holds", "", CALL("h", ",\"hold\":true"), ""));
	world_workflow("big", FLOW("big", "", BIG("x", ",\"hold\":true"), ""));
	world_workflow("both", FLOW("both", "\"max_tokens\":150000",
				    BIG("x", ",\"hold\":true") "," BIG("y", ",\"hold\":true"), ""));
	world_workflow("small", FLOW("small", "\"max_tokens\":50", CALL("x", ""), ""));
	world_workflow("between", FLOW("between", "", SUB("g", "holds"), ""));
	world_workflow("between2", FLOW("between2", "", SUB("g", "one") "," SUB("h", "held"), EDGE("g", "h")));
	world_workflow("short", FLOW("short", "\"timeout_s\":5", SUB("g", "holds"), ""));
	world_workflow("flaky", FLOW("flaky", "",
				     CALL("x", "") ",{\"id\":\"z\",\"type\":\"fake\",\"params\":{\"answer\":1,"
						   "\"fail\":\"provider_rejected\",\"fail_times\":1}}," CALL("y", ""),
				     EDGE("x", "z") "," EDGE("z", "y")));
	return 0;
}

static void new_world(struct limited *f, uint64_t seed)
{
	f->w = world_new(seed);
	world_services(f->w)->llm = f->llm;
	world_services(f->w)->governor = f->governor;
	world_services(f->w)->cache = f->cache;
}

static int64_t taken(struct limited *f, struct sl_run_id id)
{
	struct json_object *usage = sl_json_get(world_run(f->w, id), "usage");
	return sl_json_get_i64(usage, "input_tokens", 0) + sl_json_get_i64(usage, "output_tokens", 0);
}

static int64_t taken_by_all(struct limited *f)
{
	struct sl_run_id ids[128];
	size_t n = world_runs(f->w, ids, SL_COUNT_OF(ids));
	int64_t sum = 0;
	assert_true(n <= SL_COUNT_OF(ids));
	for (size_t i = 0; i < n; i++)
		sum += taken(f, ids[i]);
	return sum;
}

static void expect_error(struct limited *f, struct sl_run_id id, const char *words)
{
	struct json_object *error = sl_json_get(world_run(f->w, id), "error");
	const char *message = sl_json_get_z(error, "message");
	assert_string_equal(world_status(f->w, id), "failed");
	error = sl_json_get(world_run(f->w, id), "error");
	message = sl_json_get_z(error, "message");
	assert_string_equal(sl_json_get_z(error, "code"), "budget_exhausted");
	if (!message || !strstr(message, words))
		fail_msg("%s: no '%s' in it", message ? message : "", words);
}

static void what_children_have_taken_counts_and_the_refusal_says_of_whom(void **state)
{
	struct limited *f = *state;
	char id_text[SL_UUID_TEXT_BYTES], words[200];
	struct sl_run_id id =
		world_submit(f->w,
			     FLOW("top", "\"max_tokens\":340",
				  CALL("a", "") "," SUB("b", "one") "," SUB("c", "one") "," SUB("d", "one"),
				  EDGE("a", "b") "," EDGE("b", "c") "," EDGE("c", "d")),
			     "{}");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 1);
	assert_int_equal(world_calls(f->w, "x"), 2); /* the third would have taken 440 */
	sl_uuid_format(id.u, id_text);
	(void)snprintf(
		words, sizeof(words),
		"the child run: the run %s ('top'), with the runs it has started, has taken 330 of its 340 tokens",
		id_text);
	expect_error(f, id, words);
	/* its own, and with those of the runs it has started */
	struct json_object *run = world_run(f->w, id);
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "usage"), "output_tokens", 0), 100);
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "total_usage"), "input_tokens", 0), 30);
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "total_usage"), "output_tokens", 0), 300);
	assert_int_equal((int)(sl_json_get_f64(run, "total_cost_usd", 0) * 1e6 + 0.5), 21);
	assert_int_equal((int)(sl_json_get_f64(run, "cost_usd", 0) * 1e6 + 0.5), 7);
}

static void a_child_has_its_own_limits_besides(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(f->w, FLOW("top", "\"max_tokens\":1000", SUB("a", "small"), ""), "{}");
	world_settle(f->w);
	expect_error(f, id, "the child run: the run has taken 0 of its 50 tokens");
	assert_int_equal(world_calls(f->w, "x"), 0);
	/* and they are nobody's but its own */
	id = world_submit(f->w, FLOW("top", "", SUB("a", "small") "," CALL("b", ""), ""), "{}");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "b"), 1);
	assert_null(sl_json_get(world_run(f->w, world_child(f->w, id)), "total_usage"));
}

/* A child spends nothing before its parent's journal knows it: so that is written, however the parent is kept. */
static void a_parent_that_is_not_written_step_by_step_has_children_that_call(void **state)
{
	static const char *const kept[] = {"step", "run", "none"};
	struct limited *f = *state;
	for (size_t i = 0; i < SL_COUNT_OF(kept); i++) {
		char text[2000];
		(void)snprintf(text, sizeof(text),
			       "{\"sluice\":1,\"name\":\"top\",\"durability\":\"%s\",\"limits\":{\"max_tokens\":500},"
			       "\"nodes\":[%s],\"edges\":[%s]}",
			       kept[i], CALL("a", "") "," SUB("s", "between2"), EDGE("a", "s"));
		struct sl_run_id id = world_submit(f->w, text, "{}");
		world_settle(f->w);
		assert_true(world_is_held(f->w, "y"));
		world_release(f->w, "y");
		world_settle(f->w);
		assert_string_equal(world_status(f->w, id), "succeeded");
		assert_int_equal(sl_json_get_i64(sl_json_get(world_run(f->w, id), "total_usage"), "output_tokens", 0),
				 400);
	}
}

static void children_that_call_at_once_overspend_nothing(void **state)
{
	struct limited *f = *state;
	struct sl_run_id ids[64];
	unsigned most = 0, waiting = 0;
	struct sl_run_id id = world_submit(
		f->w,
		"{\"sluice\":1,\"name\":\"many\",\"limits\":{\"max_tokens\":1000},\"nodes\":[{\"id\":\"m\",\"type\":"
		"\"map\",\"params\":{\"items\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20],"
		"\"concurrency\":20,\"on_item_error\":\"continue\",\"body\":{\"nodes\":[" SUB(
			"s", "holds") "],\"edges\":[]}}}],\"edges\":[]}",
		"{}");
	world_settle(f->w);
	size_t n = world_runs(f->w, ids, SL_COUNT_OF(ids));
	assert_int_equal(n, 21);
	for (size_t i = 0; i < n; i++)
		waiting += !sl_run_id_eq(ids[i], id) && strcmp(world_node_status(f->w, ids[i], "h"), "pending") == 0;
	most = world_calls(f->w, "h");
	assert_in_range(most, 1000 / ROOM, 1000 / TOOK); /* only as many as fit at their worst */
	assert_int_equal(waiting, 20 - most);
	for (int i = 0; i < 40; i++) {
		if (world_is_held(f->w, "h"))
			world_release(f->w, "h");
		world_settle(f->w);
		assert_true(taken_by_all(f) <= 1000);
	}
	assert_string_equal(world_status(f->w, id), "succeeded");
	assert_in_range(taken_by_all(f), 1000 - ROOM, 1000);
	assert_int_equal(world_calls(f->w, "h"), taken_by_all(f) / TOOK);
}

static void a_call_waits_for_what_a_grandchild_holds(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(f->w,
					   FLOW("top", "\"max_tokens\":250",
						SUB("s", "between") "," CALL("a", ",\"hold\":true") "," CALL("b", ""),
						EDGE("a", "b")),
					   "{}");
	world_settle(f->w);
	/* `a` and the grandchild's `h` began: 220 and a little are held or spent. `b` would be too much */
	assert_true(world_is_held(f->w, "a"));
	struct sl_run_id child = world_child(f->w, id), below = world_child(f->w, child);
	bool first = world_is_held(f->w, "h");
	if (!first) { /* both at once are more than their worst cases leave */
		assert_non_null(strstr(world_node_status(f->w, below, "h"), "pending"));
		world_release(f->w, "a");
		world_settle(f->w);
	}
	assert_true(taken_by_all(f) <= 250);
	for (int i = 0; i < 4; i++) {
		if (world_is_held(f->w, "a"))
			world_release(f->w, "a");
		if (world_is_held(f->w, "h"))
			world_release(f->w, "h");
		world_settle(f->w);
	}
	assert_int_equal(taken_by_all(f), 2 * TOOK);
	assert_string_equal(world_status(f->w, id), "failed");
}

/* The items of a wide map wait for the budget of the run: one end, one further call, in the order in which they asked.
 */
static void calls_of_a_wide_map_go_on_in_their_order(void **state)
{
	struct limited *f = *state;
	unsigned n = (unsigned)from_env("SLUICE_MAP_ITEMS", 100), n_waited = 0, n_began = 0;
	char text[1024];
	(void)snprintf(
		text, sizeof(text),
		FLOW("wide", "\"max_tokens\":%u",
		     "{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":\"{{ input.items }}\",\"concurrency\":"
		     "1000,\"body\":{\"nodes\":[" BIG("x", ",\"hold\":true") "],\"edges\":[]}}}",
		     ""),
		1000000 + n * 20);
	SL_BUF(inputs, 1 << 20);
	sl_buf_adds(&inputs, "{\"items\":[");
	for (unsigned i = 0; i < n; i++)
		sl_buf_addf(&inputs, "%s%u", i ? "," : "", i);
	sl_buf_adds(&inputs, "]}");
	sl_buf_addc(&inputs, 0);
	struct sl_run_id id = world_submit(f->w, text, inputs.data);
	world_settle(f->w);
	for (unsigned left = n; left; left--) {
		unsigned go = left < 10 ? left : 10;
		if (!world_held(f->w, go - 1) || world_held(f->w, go))
			fail_msg("%u are left, and not %u of them are at work", left, go);
		world_release(f->w, world_held(f->w, 0));
		world_settle(f->w);
	}
	assert_string_equal(world_status(f->w, id), "succeeded");

	char(*waited)[32] = calloc(n, sizeof(*waited));
	const struct sl_record *r;
	for (size_t i = 0, k = world_records(f->w, id, &r); i < k; i++) {
		SL_AUTO_JSON data = NULL;
		assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &data, NULL), SL_OK);
		const char *path = sl_json_get_z(data, "node_id"), *why = sl_json_get_z(data, "reason");
		if (why && strncmp(why, "waits: ", 7) == 0 && n_waited < n)
			(void)snprintf(waited[n_waited++], sizeof(*waited), "%s", path);
		else if (n_began < n_waited && sl_str_is(sl_json_get_str(data, "status"), "running"))
			assert_string_equal(path, waited[n_began++]);
	}
	free(waited);
	assert_int_equal(n_waited, n - 10);
	assert_int_equal(n_began, n_waited);
}

/* Who is first may be cancelled, or stand still, or wait for a limit further down: the turn is passed on at once. */
static void a_turn_that_is_not_taken_is_passed_on(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(
		f->w,
		FLOW("top", "\"max_tokens\":150000",
		     BIG("h",
			 ",\"hold\":true") ",{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":[1,2,3,4],"
					   "\"concurrency\":4,\"on_item_error\":\"continue\",\"body\":{\"nodes\":[" SUB(
						   "s", "big") "],\"edges\":[]}}}",
		     ""),
		"{}");
	struct sl_run_id ids[8], child[4];
	unsigned n_child = 0;
	world_settle(f->w);
	assert_true(world_is_held(f->w, "h"));
	for (size_t i = world_runs(f->w, ids, 8); i-- > 0;) { /* the oldest first: so they queue */
		const char *node = sl_json_get_z(world_run(f->w, ids[i]), "parent_node");
		if (node)
			child[n_child++] = ids[i];
	}
	assert_int_equal(n_child, 4);
	assert_int_equal(world_command(f->w, child[0], SL_CMD_PAUSE_DRAIN), SL_OK);
	assert_int_equal(world_command(f->w, child[1], SL_CMD_CANCEL), SL_OK);
	world_release(f->w, "h");
	world_settle(f->w);
	assert_string_equal(world_node_status(f->w, child[2], "x"), "running");
	assert_string_equal(world_node_status(f->w, child[3], "x"), "pending");
	assert_int_equal(world_command(f->w, child[0], SL_CMD_RESUME), SL_OK);
	assert_string_equal(world_node_status(f->w, child[0], "x"), "pending"); /* behind the last */
	world_release(f->w, "x");
	world_settle(f->w);
	assert_string_equal(world_node_status(f->w, child[3], "x"), "running");
	world_release(f->w, "x");
	world_settle(f->w);
	assert_string_equal(world_node_status(f->w, child[0], "x"), "running");
	world_release(f->w, "x");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, child[0]), "succeeded");
	assert_string_equal(world_status(f->w, id), "succeeded");
}

/* Two limits on the way up are full most of the time; who waits is paused, goes on and is cancelled. No time goes by,
 * so whoever was not woken when it was its turn is left over. */
static void no_turn_is_lost(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 60);
	struct limited *f = *state;
	world_free(f->w);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		uint64_t s = seed;
		struct sl_run_id ids[32];
		new_world(f, seed);
		struct sl_run_id id = world_submit(
			f->w,
			FLOW("top", "\"max_tokens\":250000",
			     "{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":[1,2,3,4,5,6],\"concurrency\":6,"
			     "\"on_item_error\":\"continue\",\"body\":{\"nodes\":[" SUB("s",
											"both") "],\"edges\":[]}}}",
			     ""),
			"{}");
		world_auto_commit(f->w, false);
		for (unsigned step = 0; step < 300; step++) {
			unsigned what = rnd(&s) % 32;
			size_t n = world_runs(f->w, ids, SL_COUNT_OF(ids));
			struct sl_run_id child = ids[rnd(&s) % n];
			const char *held = world_held(f->w, rnd(&s) % 3);
			if (what < 16)
				sl_engine_step(world_engine(f->w));
			else if (what < 24)
				world_commit_one(f->w);
			else if (what < 27 && held)
				world_release(f->w, held);
			else if (what < 29)
				world_ask(f->w, child, rnd(&s) % 2 ? SL_CMD_PAUSE_DRAIN : SL_CMD_PAUSE_NOW, NULL, NULL);
			else if (what < 31)
				world_ask(f->w, child, SL_CMD_RESUME, NULL, NULL);
			else if (!sl_run_id_eq(child, id) && rnd(&s) % 2)
				world_ask(f->w, child, SL_CMD_CANCEL, NULL, NULL);
		}
		world_auto_commit(f->w, true);
		world_settle(f->w);
		for (size_t n = world_runs(f->w, ids, SL_COUNT_OF(ids)); n-- > 0;)
			world_command(f->w, ids[n], SL_CMD_RESUME);
		while (world_held(f->w, 0)) {
			world_release(f->w, world_held(f->w, 0));
			world_settle(f->w);
		}
		if (strcmp(world_status(f->w, id), "succeeded") != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed,
				 json_object_to_json_string(world_run(f->w, id)));
		world_free(f->w);
	}
	f->w = world_new(1);
}

static void money_is_one_for_all_of_them_too(void **state)
{
	/* a model without a known price costs nothing in advance; what was booked counts */
	struct limited *f = *state;
	struct sl_run_id id = world_submit(f->w,
					   FLOW("top", "\"max_cost_usd\":0.000013",
						SUB("a", "one") "," SUB("b", "one") "," SUB("c", "one"),
						EDGE("a", "b") "," EDGE("b", "c")),
					   "{}");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "x"), 2); /* 7 and 7 micro-USD */
	expect_error(f, id, "with the runs it has started, has cost 0.0000 of its 0.00 USD");
}

static void what_was_spent_is_known_after_a_crash(void **state)
{
	struct limited *f = *state;
	/* `s` has spent one call and holds another one, and the call of `t`'s child is over */
	struct sl_run_id id = world_submit(
		f->w,
		FLOW("top", "\"max_tokens\":450",
		     SUB("s", "between2") "," SUB("t", "one") ","
							      "{\"id\":\"w\",\"type\":\"wait_signal\",\"params\":{"
							      "\"signal\":\"go\"}}," CALL("a", "") "," CALL("b", ""),
		     EDGE("w", "a") "," EDGE("a", "b")),
		"{}");
	world_settle(f->w);
	assert_int_equal(taken_by_all(f), 3 * TOOK);
	for (int lives = 0; lives < 2; lives++) {
		world_crash(f->w);
		world_settle(f->w);
		assert_int_equal(taken_by_all(f), 3 * TOOK);
		assert_true(world_is_held(f->w, "y"));
	}
	assert_int_equal(world_order(f->w, id, SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\"}"), SL_OK);
	/* 330 are spent and more than 100 held: no room for `a` now */
	assert_int_equal(world_calls(f->w, "a"), 0);
	assert_string_equal(world_node_status(f->w, id, "a"), "pending");
	world_release(f->w, "y");
	world_settle(f->w);
	assert_int_equal(world_calls(f->w, "a"), 0); /* nor ever */
	assert_int_equal(taken_by_all(f), 4 * TOOK);
	expect_error(f, id, "the run has taken 440 of its 450 tokens");
}

static void a_child_that_ended_unheard_is_looked_up_before_anything_is_spent(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(
		f->w, FLOW("top", "\"max_tokens\":200", SUB("s", "holds") "," CALL("a", ""), EDGE("s", "a")), "{}");
	world_settle(f->w);
	assert_true(world_is_held(f->w, "h"));
	assert_int_equal(world_command(f->w, id, SL_CMD_CANCEL), SL_OK);
	assert_string_equal(world_status(f->w, world_child(f->w, id)), "cancelled");
	/* nobody has told the parent what its child had taken by then: its end came first */
	assert_null(sl_json_get(world_run(f->w, id), "total_usage"));
	assert_int_equal(taken_by_all(f), TOOK);
	assert_int_equal(world_command(f->w, id, SL_CMD_RETRY), SL_OK);
	world_settle(f->w);
	expect_error(f, id, "has taken 110 of its 200 tokens");
	assert_int_equal(taken_by_all(f), TOOK);
	world_crash(f->w);
	assert_int_equal(world_command(f->w, id, SL_CMD_RETRY), SL_OK);
	world_settle(f->w);
	expect_error(f, id, "has taken 110 of its 200 tokens");
	assert_int_equal(taken_by_all(f), TOOK);
}

static void what_is_left_under_way_by_a_child_that_fails_counts(void **state)
{
	struct limited *f = *state;
	static const char top[] =
		"{\"sluice\":1,\"name\":\"top\",\"limits\":{\"max_tokens\":200},\"nodes\":[{\"id\":\"s\","
		"\"type\":\"subworkflow\",\"params\":{\"workflow\":\"short\"},\"on_error\":\"continue\"},"
		"{\"id\":\"w\",\"type\":\"wait_signal\",\"params\":{\"signal\":\"go\"}}," CALL(
			"a", "") "],\"edges\":[" EDGE("s", "w") "," EDGE("w", "a") "]}";
	for (int crash = 0; crash < 2; crash++) {
		struct sl_run_id id = world_submit(f->w, top, "{}");
		int64_t before = taken_by_all(f);
		world_settle(f->w);
		assert_true(world_is_held(f->w, "h"));
		struct sl_run_id child = world_child(f->w, id), below = world_child(f->w, child);
		/* the child ends, and what goes on below it is cancelled after that */
		world_advance(f->w, 6000);
		assert_string_equal(world_status(f->w, below), "cancelled");
		assert_string_equal(world_node_status(f->w, id, "s"), "completed");
		assert_int_equal(taken_by_all(f) - before, TOOK);
		if (crash)
			world_crash(f->w);
		assert_int_equal(world_order(f->w, id, SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\"}"), SL_OK);
		world_settle(f->w);
		expect_error(f, id, "has taken 110 of its 200 tokens");
	}
}

static void a_retry_goes_on_counting_and_a_fork_begins_anew(void **state)
{
	struct limited *f = *state;
	struct sl_run_id fork;
	struct sl_run_id id = world_submit(
		f->w, FLOW("top", "\"max_tokens\":200", SUB("s", "one") "," SUB("t", "one"), EDGE("s", "t")), "{}");
	world_settle(f->w);
	expect_error(f, id, "has taken 110 of its 200 tokens");
	assert_int_equal(world_command(f->w, id, SL_CMD_RETRY), SL_OK);
	world_settle(f->w);
	expect_error(f, id, "has taken 110 of its 200 tokens");
	const struct sl_fork from = {.from = SL_STR("t")};
	assert_int_equal(world_fork(f->w, id, &from, &fork), SL_OK);
	world_settle(f->w);
	assert_string_equal(world_status(f->w, fork), "succeeded");
	struct json_object *run = world_run(f->w, fork);
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "total_usage"), "output_tokens", 0), 100);
	assert_int_equal(sl_json_get_i64(sl_json_get(run, "usage"), "output_tokens", 7), 0);
}

static void a_child_knows_of_a_parent_in_another_server_what_is_written(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(
		f->w, FLOW("top", "\"max_tokens\":300", CALL("a", "") "," SUB("s", "held"), EDGE("a", "s")), "{}");
	world_settle(f->w);
	/* 220 are spent: `y` waits in vain, but for a moment it does not know that */
	assert_int_equal(world_calls(f->w, "y"), 0);
	struct sl_run_id child = world_child(f->w, id);
	assert_string_equal(world_status(f->w, child), "failed");

	id = world_submit(f->w, FLOW("top", "\"max_tokens\":460", CALL("a", "") "," SUB("s", "held"), EDGE("a", "s")),
			  "{}");
	world_settle(f->w);
	child = world_child(f->w, id);
	assert_true(world_is_held(f->w, "y"));
	world_elsewhere(f->w, id);
	world_crash(f->w);
	world_settle(f->w);
	assert_true(world_is_held(f->w, "y")); /* 220 of 460, as its parent's journal and its own say */
	world_release(f->w, "y");
	world_settle(f->w);
	assert_string_equal(world_status(f->w, child), "succeeded");
}

/* PostgreSQL takes no more, or is away: what is not known then is looked up again after a while, not at once for ever.
 */
static void what_cannot_be_looked_up_now_is_looked_up_later(void **state)
{
	struct limited *f = *state;
	for (unsigned busy = 40; busy <= 41; busy++) { /* refused when it is asked for first, or in the answer */
		struct sl_run_id id = world_submit(
			f->w, FLOW("top", "\"max_tokens\":460", CALL("a", "") "," SUB("s", "held"), EDGE("a", "s")),
			"{}");
		world_settle(f->w);
		struct sl_run_id child = world_child(f->w, id);
		assert_true(world_is_held(f->w, "y"));
		world_elsewhere(f->w, id);
		world_busy(f->w, busy);
		world_crash(f->w);
		world_settle(f->w);
		assert_false(world_is_held(f->w, "y"));
		assert_string_equal(world_node_status(f->w, child, "y"), "pending");
		world_busy(f->w, 0);
		world_advance(f->w, 6000);
		assert_true(world_is_held(f->w, "y"));
		world_release(f->w, "y");
		world_settle(f->w);
		assert_string_equal(world_status(f->w, child), "succeeded");
	}
}

static const char again[] = FLOW("top", "\"max_tokens\":250", SUB("s", "flaky") "," CALL("a", ""), EDGE("s", "a"));

static void a_child_that_is_gone_on_with_counts_once(void **state)
{
	struct limited *f = *state;
	struct sl_run_id id = world_submit(f->w, again, "{}");
	world_settle(f->w);
	struct sl_run_id child = world_child(f->w, id);
	assert_string_equal(world_status(f->w, id), "failed");
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(f->w, id), "total_usage"), "output_tokens", 0), 100);
	assert_int_equal(world_command(f->w, id, SL_CMD_RETRY), SL_OK);
	world_settle(f->w);
	assert_true(sl_run_id_eq(child, world_child(f->w, id)));
	assert_string_equal(world_status(f->w, child), "succeeded"); /* there was room for its second call */
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(f->w, id), "total_usage"), "output_tokens", 0), 200);
	expect_error(f, id, "the run has taken 220 of its 250 tokens");
	assert_int_equal(world_calls(f->w, "x"), 1);
	assert_int_equal(world_calls(f->w, "a"), 0);
}

static void in_a_random_order(struct limited *f, uint64_t *s, unsigned *crashes)
{
	world_auto_commit(f->w, false);
	for (unsigned step = 0; step < 60; step++) {
		unsigned what = rnd(s) % 16;
		if (what < 8)
			sl_engine_step(world_engine(f->w));
		else if (what < 15)
			world_commit_one(f->w);
		else if (*crashes < 3 && rnd(s) % 2 == 0) {
			world_crash(f->w);
			++*crashes;
		}
	}
	world_auto_commit(f->w, true);
	world_advance(f->w, 10000);
}

static void a_child_that_is_gone_on_with_counts_once_whatever_crashes(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 60);
	struct limited *f = *state;
	world_free(f->w);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		uint64_t s = seed;
		unsigned crashes = 0;
		new_world(f, seed);
		struct sl_run_id id = world_submit(f->w, again, "{}");
		in_a_random_order(f, &s, &crashes);
		for (unsigned i = 0; i < 3 && strcmp(world_status(f->w, world_child(f->w, id)), "succeeded") != 0;
		     i++) {
			assert_string_equal(world_status(f->w, id), "failed");
			world_auto_commit(f->w, false);
			(void)world_ask(f->w, id, SL_CMD_RETRY, NULL, NULL); /* a crash may take it back */
			in_a_random_order(f, &s, &crashes);
		}
		char status[16];
		(void)snprintf(status, sizeof(status), "%s", world_status(f->w, world_child(f->w, id)));
		int64_t sum = taken_by_all(f);
		int64_t total = sl_json_get_i64(sl_json_get(world_run(f->w, id), "total_usage"), "output_tokens", 0);
		/* each crash may have made a call be repeated, and then there is no room for the last one */
		if (sum > 250 || (!crashes && strcmp(status, "succeeded") != 0) || (!crashes && total != 200))
			fail_msg("seed %llu: the child is %s, %lld tokens were taken, %lld of answers told",
				 (unsigned long long)seed, status, (long long)sum, (long long)total);
		if (total * TOOK / 100 != sum)
			fail_msg("seed %llu: %lld tokens were taken, %lld of answers told", (unsigned long long)seed,
				 (long long)sum, (long long)total);
		world_free(f->w);
	}
	f->w = world_new(1);
}

/* What is spent for all to see is never more than the limit, whatever crashes when. */
static void crashes_make_no_room(void **state)
{
	unsigned rounds = (unsigned)sl_test_rounds("SLUICE_SIM_SCHEDULES", 60);
	struct limited *f = *state;
	world_free(f->w);
	for (uint64_t seed = 1; seed <= rounds; seed++) {
		uint64_t s = seed;
		new_world(f, seed);
		struct sl_run_id id = world_submit(
			f->w,
			"{\"sluice\":1,\"name\":\"many\",\"limits\":{\"max_tokens\":700},\"nodes\":[{\"id\":\"m\","
			"\"type\":\"map\",\"params\":{\"items\":[1,2,3,4,5],\"concurrency\":3,"
			"\"on_item_error\":\"continue\",\"body\":{\"nodes\":[" SUB(
				"s", "between2") "],\"edges\":[]}}}," CALL("a", "") "],\"edges\":[]}",
			"{}");
		unsigned crashes = 0;
		world_auto_commit(f->w, false);
		for (unsigned step = 0; step < 400; step++) {
			unsigned what = rnd(&s) % 16;
			if (what < 7)
				sl_engine_step(world_engine(f->w));
			else if (what < 13)
				world_commit_one(f->w);
			else if (what < 15 && world_is_held(f->w, "y"))
				world_release(f->w, "y");
			else if (crashes < SL_LIMIT_RECOVERIES - 1 && rnd(&s) % 8 == 0) {
				world_crash(f->w);
				crashes++;
			}
		}
		world_auto_commit(f->w, true);
		for (int i = 0; i < 40 && strcmp(world_status(f->w, id), "succeeded") != 0; i++) {
			if (world_is_held(f->w, "y"))
				world_release(f->w, "y");
			world_advance(f->w, 1000);
		}
		int64_t sum = taken_by_all(f);
		if (strcmp(world_status(f->w, id), "succeeded") != 0 && strcmp(world_status(f->w, id), "failed") != 0)
			fail_msg("seed %llu: %s", (unsigned long long)seed,
				 json_object_to_json_string(world_run(f->w, id)));
		if (sum > 700)
			fail_msg("seed %llu: %lld tokens were taken", (unsigned long long)seed, (long long)sum);
		/* and none is lost for ever: what is not spent is less than a call */
		if (strcmp(world_status(f->w, id), "succeeded") == 0 && sum < 700 - ROOM)
			fail_msg("seed %llu: only %lld tokens were taken", (unsigned long long)seed, (long long)sum);
		world_free(f->w);
	}
	f->w = world_new(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMITED_TEST(what_children_have_taken_counts_and_the_refusal_says_of_whom),
		LIMITED_TEST(a_child_has_its_own_limits_besides),
		LIMITED_TEST(a_parent_that_is_not_written_step_by_step_has_children_that_call),
		LIMITED_TEST(children_that_call_at_once_overspend_nothing),
		LIMITED_TEST(a_call_waits_for_what_a_grandchild_holds),
		LIMITED_TEST(calls_of_a_wide_map_go_on_in_their_order),
		LIMITED_TEST(a_turn_that_is_not_taken_is_passed_on),
		LIMITED_TEST(no_turn_is_lost),
		LIMITED_TEST(money_is_one_for_all_of_them_too),
		LIMITED_TEST(what_was_spent_is_known_after_a_crash),
		LIMITED_TEST(a_child_that_ended_unheard_is_looked_up_before_anything_is_spent),
		LIMITED_TEST(what_is_left_under_way_by_a_child_that_fails_counts),
		LIMITED_TEST(a_retry_goes_on_counting_and_a_fork_begins_anew),
		LIMITED_TEST(a_child_knows_of_a_parent_in_another_server_what_is_written),
		LIMITED_TEST(what_cannot_be_looked_up_now_is_looked_up_later),
		LIMITED_TEST(a_child_that_is_gone_on_with_counts_once),
		LIMITED_TEST(a_child_that_is_gone_on_with_counts_once_whatever_crashes),
		LIMITED_TEST(crashes_make_no_room),
	};
	return cmocka_run_group_tests(tests, library, NULL);
}
