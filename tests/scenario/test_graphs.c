/* What the shipped node types make of a run: merges, fallbacks, branches without a match, what a parallel tolerates. */
#include "tests/lib/test.h"

#include "tests/lib/scenario.h"

/* Runs it to its end and compares the output `v`. */
static void expect(struct world *w, const char *definition, const char *inputs, const char *v)
{
	struct sl_run_id id = world_submit(w, definition, inputs);
	world_settle(w);
	expect_v(w, id, v);
}

#define FAKE(id, params) "{\"id\":\"" id "\",\"type\":\"fake\",\"params\":{" params "}}"
#define EDGE(a, b)       "{\"from\":\"" a "\",\"to\":\"" b "\"}"
#define MERGE(join, out)                                                                                               \
	"{\"sluice\":1,\"nodes\":[" FAKE("a", "\"answer\":1,\"text\":\"first\"") "," FAKE(                             \
		"b",                                                                                                   \
		"\"answer\":7,"                                                                                        \
		"\"text\":\"second\"") "," FAKE("c",                                                                   \
						"\"answer\":{\"n\":7}") ",{\"id\":\"j\",\"type\":\"join\",\"params\":" \
									"{" join                                       \
									"}}],\"edges\":[" EDGE("a", "j") "," EDGE(     \
										"b",                                   \
										"j") "," EDGE("c",                     \
											      "j") "],\"outputs\":{"   \
												   "\"v\":\"{{ " out   \
												   " }}\"}}"

static void a_join_merges_as_it_is_told(void **state)
{
	static const struct {
		const char *definition, *v;
	} rows[] = {
		{MERGE("", "nodes.j.merged"), "{\"a\":{\"value\":1,\"text\":\"first\"},\"b\":{\"value\":7,\"text\":"
					      "\"second\"},\"c\":{\"value\":{\"n\":7}}}"},
		{MERGE("\"merge\":\"list\"", "nodes.j.merged"),
		 "[{\"value\":1,\"text\":\"first\"},{\"value\":7,\"text\":\"second\"},{\"value\":{\"n\":7}}]"},
		{MERGE("\"merge\":\"concat\"", "nodes.j.merged"),
		 "\"first\\n\\n---\\n\\nsecond\\n\\n---\\n\\n{\\\"n\\\":7}\""},
		{MERGE("\"merge\":\"first\"", "nodes.j.merged.text"), "\"first\""},
		{MERGE("\"merge\":\"best\",\"score\":\"math.type(item.value) and item.value\"", "nodes.j.merged.text"),
		 "\"second\""},
		{MERGE("", "nodes.j.arrived"), "[\"a\",\"b\",\"c\"]"},
		{MERGE("", "#nodes.j.missing"), "0"},
		{MERGE("", "nodes.j.branches"), "{\"a\":\"arrived\",\"b\":\"arrived\",\"c\":\"arrived\"}"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON want = NULL;
		struct sl_error err;
		struct sl_run_id id = world_submit(*state, rows[i].definition, "{}");
		world_settle(*state);
		if (strcmp(world_status(*state, id), "succeeded") != 0)
			fail_msg("%s", text_of(world_run(*state, id)));
		struct json_object *got = output(*state, id, "v");
		assert_int_equal(sl_json_parse(sl_str(rows[i].v), &want, &err), SL_OK);
		if (!sl_json_equal(got, want))
			fail_msg("%s instead of %s", text_of(got), rows[i].v);
	}
}

static void a_score_that_is_no_number_fails_the_join(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w, MERGE("\"merge\":\"best\",\"score\":\"item.text\"", "nodes.j.merged"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	struct json_object *err = sl_json_get(world_run(w, id), "error");
	assert_string_equal(sl_json_get_z(err, "node"), "j");
	assert_non_null(strstr(sl_json_get_z(err, "message"), "must be a number"));
}

static void what_did_not_arrive_is_named_with_the_reason(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		"{\"sluice\":1,\"nodes\":[" FAKE("a", "\"answer\":1") "," FAKE("b", "\"fail\":\"invalid\"") "," FAKE(
			"c",
			"\"hold\":true") ","
					 "{\"id\":\"d\",\"type\":\"fake\",\"params\":{},\"when\":\"false\"},"
					 "{\"id\":\"n\",\"type\":\"delay\",\"params\":{\"seconds\":1}},{\"id\":\"a2\","
					 "\"type\":\"template\",\"params\":{\"text\":\"late\"}},"
					 "{\"id\":\"j\",\"type\":\"join\",\"params\":{\"wait\":{\"quorum\":2}}}],"
					 "\"edges\":[" EDGE("a", "j") "," EDGE("b", "j") "," EDGE("c", "j") "," EDGE(
						 "d",
						 "j") "," EDGE("n",
							       "a2") "," EDGE("a2",
									      "j") "],\"outputs\":{\"v\":\"{{ "
										   "nodes.j.branches }}\","
										   "\"m\":\"{{ nodes.j.missing }}\"}}",
		"{}");
	world_advance(w, 1100);
	world_release(w, "c");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_string_equal(text_of(output(w, id, "m")), "[\"b\",\"c\",\"d\"]");
	struct json_object *v = output(w, id, "v");
	assert_string_equal(sl_json_get_z(v, "a"), "arrived");
	assert_string_equal(sl_json_get_z(v, "b"), "failed");
	assert_string_equal(sl_json_get_z(v, "c"), "unfinished");
	assert_string_equal(sl_json_get_z(v, "d"), "skipped");
	assert_string_equal(sl_json_get_z(v, "a2"), "arrived");
}

#define WAIT_ALL(how)                                                                                                  \
	"{\"sluice\":1,\"nodes\":[{\"id\":\"p\",\"type\":\"parallel\",\"params\":{\"on_branch_error\":\"" how          \
	"\"}}," FAKE("a", "\"fail\":\"invalid\"") "," FAKE(                                                            \
		"b", "\"hold\":true,\"answer\":2") ",{\"id\":\"j\","                                                   \
						   "\"type\":\"join\"}],"                                              \
						   "\"edges\":[" EDGE("p", "a") "," EDGE("p", "b") "," EDGE(           \
							   "a", "j") "," EDGE("b",                                     \
									      "j") "],\"outputs\":{\"v\":\"{{ "        \
										   "nodes.j.merged.b.value }}\"}}"

static void a_parallel_that_waits_for_all_loses_only_the_failed_branch(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, WAIT_ALL("wait_all"), "{}");
	world_settle(w);
	assert_string_equal(world_node_status(w, id, "a"), "failed");
	assert_string_equal(world_status(w, id), "running");
	world_crash(w);
	world_settle(w);
	world_release(w, "b");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_string_equal(text_of(output(w, id, "v")), "2");
}

static void a_parallel_that_fails_fast_ends_the_run(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, WAIT_ALL("fail_fast"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_false(world_is_held(w, "b"));
	assert_int_equal(world_count(w, id, "b", "completed"), 0);
}

static void the_opening_of_branches_is_told_once(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, WAIT_ALL("wait_all"), "{}");
	world_settle(w);
	const struct sl_record *records;
	unsigned told = 0;
	size_t n = world_records(w, id, &records);
	for (size_t i = 0; i < n; i++)
		if (strcmp(records[i].event, "node:parallel_start") == 0) {
			told++;
			assert_non_null(strstr(records[i].data->data, "\"branches\":[\"a\",\"b\"]"));
			assert_non_null(strstr(records[i].data->data, "\"node_id\":\"p\""));
		}
	assert_int_equal(told, 1);
}

static void an_error_becomes_what_the_author_wants_of_it(void **state)
{
#define ON(more)                                                                                                       \
	"{\"sluice\":1,\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{\"fail\":\"provider_auth\"}," more "},"  \
	"{\"id\":\"t\",\"type\":\"transform\",\"params\":{\"expr\":\"nodes.a\"}}],\"edges\":[" EDGE(                   \
		"a", "t") "],"                                                                                         \
			  "\"outputs\":{\"v\":\"{{ nodes.t }}\"}}"
	expect(*state, ON("\"on_error\":\"continue\""), "{}",
	       "{\"error\":{\"code\":\"provider_auth\",\"message\":\"fake failure 1 of a\"}}");
	expect(*state, ON("\"fallback\":\"sorry, {{ input.who }}\""), "{\"who\":\"you\"}", "{\"text\":\"sorry, you\"}");
	expect(*state, ON("\"fallback\":{\"timeout\":1,\"default\":[2]}"), "{}", "{\"value\":[2]}");
	expect(*state, ON("\"fallback\":{\"provider_auth\":{\"text\":\"locked out\"},\"default\":2}"), "{}",
	       "{\"text\":\"locked out\"}");
}

static void a_fallback_for_another_error_does_not_help(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, ON("\"fallback\":{\"timeout\":1}"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "provider_auth");
}

static void a_branch_without_a_match_takes_its_default_or_nothing(void **state)
{
#define BRANCH(more)                                                                                                   \
	"{\"sluice\":1,\"nodes\":[{\"id\":\"b\",\"type\":\"branch\",\"params\":{\"cases\":[{\"case\":\"one\","         \
	"\"when\":\"input.n == 1\"},"                                                                                  \
	"{\"case\":\"small\",\"when\":\"input.n < 5\"}]" more                                                          \
	"}}," FAKE("x", "\"answer\":\"x\"") "," FAKE("y", "\"answer\":\"y\"") "," FAKE(                                \
		"z", "\"answer\":\"z\"") "],\"edges\":[{\"from\":\"b\",\"to\":\"x\",\"case\":\"one\"},{\"from\":"      \
					 "\"b\",\"to\":\"y\",\"case\":\"small\"},"                                     \
					 "{\"from\":\"b\",\"to\":\"z\"}],\"outputs\":{\"v\":\"{{ nodes.b.case }}\"}}"
	expect(*state, BRANCH(""), "{\"n\":1}", "\"one\"");
	expect(*state, BRANCH(""), "{\"n\":2}", "\"small\"");
	expect(*state, BRANCH(",\"default\":\"one\""), "{\"n\":9}", "\"one\"");
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, BRANCH(""), "{\"n\":9}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_null(output(w, id, "v"));
	assert_string_equal(world_node_status(w, id, "x"), "skipped");
	assert_string_equal(world_node_status(w, id, "y"), "skipped");
	assert_string_equal(world_node_status(w, id, "z"), "completed");
}

static void two_cases_may_lead_to_one_join(void **state)
{
	expect(*state,
	       "{\"sluice\":1,\"nodes\":[{\"id\":\"b\",\"type\":\"branch\",\"params\":{\"cases\":[{\"case\":\"one\","
	       "\"when\":\"false\"},"
	       "{\"case\":\"two\",\"when\":\"true\"}]}},{\"id\":\"j\",\"type\":\"join\"}],\"edges\":[{\"from\":\"b\","
	       "\"to\":\"j\",\"case\":\"one\"},"
	       "{\"from\":\"b\",\"to\":\"j\",\"case\":\"two\"}],\"outputs\":{\"v\":\"{{ nodes.j.arrived }}\"}}",
	       "{}", "[\"b\"]");
}

static void texts_and_values_are_composed(void **state)
{
#define COMPOSE(type, params, out)                                                                                     \
	"{\"sluice\":1,\"nodes\":[{\"id\":\"n\",\"type\":\"" type "\",\"params\":{" params                             \
	"}}],\"outputs\":{\"v\":\"{{ nodes.n." out " }}\"}}"
	expect(*state, COMPOSE("template", "\"text\":\"Dear {{ input.name }},\"", "text"), "{\"name\":\"Ada\"}",
	       "\"Dear Ada,\"");
	expect(*state, COMPOSE("template", "\"text\":\"{{ input.list }}\"", "text"), "{\"list\":[1,\"b\"]}",
	       "\"[1,\\\"b\\\"]\"");
	expect(*state, COMPOSE("template", "\"text\":\"{{ input.nothing }}\"", "text"), "{}", "\"\"");
	expect(*state, COMPOSE("transform", "\"expr\":\"input.n * 2\"", "value"), "{\"n\":21}", "42");
	expect(*state,
	       COMPOSE("transform", "\"code\":\"local t = {{1,2},{3}} return { sizes = { #t[1], #t[2] } }\"", "sizes"),
	       "{}", "[2,1]");
	expect(*state, COMPOSE("transform", "\"expr\":\"{ 1, 2 }\"", "value"), "{}", "[1,2]");
	expect(*state, COMPOSE("transform", "\"code\":\"local found = {} return found\"", "value"), "{}", "[]");
}

static void a_moment_that_has_passed_does_not_wait(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w, COMPOSE("delay", "\"until\":\"1999-12-31T23:59:59Z\"", "fired_at"), "{}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	id = world_submit(w, COMPOSE("delay", "\"until\":\"{{ input.at }}\"", "fired_at"), "{\"at\":\"soon\"}");
	world_settle(w);
	assert_string_equal(world_status(w, id), "failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_join_merges_as_it_is_told),
		WORLD_TEST(a_score_that_is_no_number_fails_the_join),
		WORLD_TEST(what_did_not_arrive_is_named_with_the_reason),
		WORLD_TEST(a_parallel_that_waits_for_all_loses_only_the_failed_branch),
		WORLD_TEST(a_parallel_that_fails_fast_ends_the_run),
		WORLD_TEST(the_opening_of_branches_is_told_once),
		WORLD_TEST(an_error_becomes_what_the_author_wants_of_it),
		WORLD_TEST(a_fallback_for_another_error_does_not_help),
		WORLD_TEST(a_branch_without_a_match_takes_its_default_or_nothing),
		WORLD_TEST(two_cases_may_lead_to_one_join),
		WORLD_TEST(texts_and_values_are_composed),
		WORLD_TEST(a_moment_that_has_passed_does_not_wait),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
