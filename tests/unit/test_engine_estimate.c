/* What a run will take, for graphs small enough to reckon by hand. A `work` takes 100, 200 or 400 tokens, 1, 2 or 4
 * seconds, twice its tokens in money, and says 50 tokens; everything else takes nothing. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/estimate.h"
#include "tests/lib/graph_types.h"

static struct sl_registry *registry;

/* A model that is asked in rounds. */
static const struct sl_node_type asking = {
	.name = "asking",
	.summary = "Asks until it is answered.",
	.params_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"body\"],\"properties\":{"
			 "\"max_iterations\":{\"type\":\"integer\"},\"body\":{\"type\":\"object\",\"x-graph\":true,"
			 "\"x-provides\":[\"loop\"]}}}",
	.effects = SL_EFFECTS_MODEL,
	.start = types_start,
	.body = types_body,
};

static int setup(void **state)
{
	const struct sl_node_type *types[SL_COUNT_OF(types_all) + 1];
	struct sl_error err;
	memcpy(types, types_all, sizeof(types_all));
	types[SL_COUNT_OF(types_all) - 1] = &asking;
	types[SL_COUNT_OF(types_all)] = NULL;
	return sl_registry_new(types, &registry, &err) == SL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	sl_registry_free(registry);
	return 0;
}

struct seen {
	double context[64]; /* of the asked, in turn */
	unsigned n, fail_at;
};

static enum sl_code one(void *ctx, const struct sl_estimate_ask *ask, struct sl_estimate_one *out, struct sl_error *err)
{
	struct seen *s = ctx;
	*out = (struct sl_estimate_one){.out_tokens = -1};
	if (s->n < 64)
		s->context[s->n] = ask->context_tokens;
	if (++s->n == s->fail_at)
		return sl_fail(err, SL_UNAVAILABLE, "nobody knows");
	if (ask->def->type == &asking) /* its question */
		out->out_tokens = 30;
	if (strcmp(ask->def->type->name, "work") == 0)
		*out = (struct sl_estimate_one){{100, 200, 400}, {200, 400, 800}, {1000, 2000, 4000}, 50};
	return SL_OK;
}

static struct sl_estimate reckon(const char *nodes, const char *edges, const char *inputs, struct seen *seen)
{
	char text[16384];
	struct sl_workflow *w = NULL;
	struct sl_problems problems = {0};
	struct sl_estimate e;
	struct sl_error err = {0};
	SL_AUTO_JSON in = NULL;
	snprintf(text, sizeof(text), "{\"sluice\":1,\"nodes\":[%s],\"edges\":[%s]}", nodes, edges);
	assert_int_equal(sl_workflow_parse(registry, sl_str(text), &w, &problems), SL_OK);
	if (!w)
		fail_msg("%s: %s", problems.items[0].pointer, problems.items[0].message);
	if (inputs)
		assert_int_equal(sl_json_parse(sl_str(inputs), &in, &err), SL_OK);
	*seen = (struct seen){.fail_at = seen->fail_at};
	enum sl_code rc = sl_estimate_workflow(w, in, 7, one, seen, &e, &err);
	assert_int_equal(rc, seen->fail_at ? SL_UNAVAILABLE : SL_OK);
	/* the lines show definitions of the workflow: they are looked at before it goes, by their paths after */
	for (size_t i = 0; i < e.n; i++)
		assert_non_null(e.nodes[i].def->id);
	sl_workflow_unref(w);
	sl_problems_fini(&problems);
	return e;
}

static void is(struct sl_spread s, double min, double expected, double max)
{
	if (s.min != min || s.expected != expected || s.max != max)
		fail_msg("%g %g %g instead of %g %g %g", s.min, s.expected, s.max, min, expected, max);
}

static const struct sl_estimate_node *line(const struct sl_estimate *e, const char *path)
{
	for (size_t i = 0; i < e->n; i++)
		if (strcmp(e->nodes[i].path, path) == 0)
			return &e->nodes[i];
	fail_msg("no line %s", path);
	return NULL;
}

#define WORK(id)   "{\"id\":\"" id "\",\"type\":\"work\"}"
#define EDGE(a, b) "{\"from\":\"" a "\",\"to\":\"" b "\"}"

static void one_after_the_other_adds_and_beside_each_other_does_not_take_longer(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(WORK("a") "," WORK("b"), EDGE("a", "b"), NULL, &seen);
	is(e.tokens, 200, 400, 800);
	is(e.cost_microusd, 400, 800, 1600);
	is(e.ms, 2000, 4000, 8000);
	assert_true(e.executions == 2);
	sl_estimate_fini(&e);
	e = reckon(WORK("a") "," WORK("b") "," WORK("c"), EDGE("a", "c") "," EDGE("b", "c"), NULL, &seen);
	is(e.tokens, 300, 600, 1200);
	is(e.ms, 2000, 4000, 8000);
	is(line(&e, "c")->runs, 1, 1, 1);
	sl_estimate_fini(&e);
}

static void a_join_that_waits_for_one_begins_with_the_first(void **state)
{
	struct seen seen = {0};
	const char *nodes = WORK("a") "," WORK("b") "," WORK("c") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{"
								  "\"need\":1}}," WORK("d");
	struct sl_estimate e =
		reckon(nodes, EDGE("a", "b") "," EDGE("b", "j") "," EDGE("c", "j") "," EDGE("j", "d"), NULL, &seen);
	is(e.ms, 2000, 4000, 8000); /* c, then d; a and b are through at the same time */
	is(e.tokens, 400, 800, 1600);
	sl_estimate_fini(&e);
}

static void of_the_cases_of_a_branch_one_is_taken(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(
		"{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"x\",\"y\"]}}," WORK("a") "," WORK(
			"b") "," WORK("c"),
		"{\"from\":\"p\",\"to\":\"a\",\"case\":\"x\"},{\"from\":\"p\",\"to\":\"b\",\"case\":\"y\"}," EDGE("b",
														  "c"),
		NULL, &seen);
	is(e.tokens, 100, 300, 800);
	is(e.ms, 1000, 3000, 8000);
	is(line(&e, "a")->runs, 0, 0.5, 1);
	is(line(&e, "c")->tokens, 0, 100, 400);
	is(line(&e, "p")->runs, 1, 1, 1);
	sl_estimate_fini(&e);
}

static void a_condition_is_as_likely_as_not(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(WORK("a") "," WORK("b"),
				      "{\"from\":\"a\",\"to\":\"b\",\"when\":\"nodes.a.x > 1\"}", NULL, &seen);
	is(e.tokens, 100, 300, 800);
	sl_estimate_fini(&e);
	e = reckon(WORK("a") ",{\"id\":\"b\",\"type\":\"work\",\"when\":\"nodes.a.x\"}", EDGE("a", "b"), NULL, &seen);
	is(e.tokens, 100, 300, 800);
	is(line(&e, "b")->runs, 0, 0.5, 1);
	sl_estimate_fini(&e);
}

#define LOOP(until, body)                                                                                              \
	"{\"id\":\"l\",\"type\":\"again\",\"params\":{\"max_rounds\":5," until "\"body\":{\"nodes\":[" body            \
	"],\"edges\":[]}}}"

static void a_loop_takes_one_round_at_least_and_all_at_most(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(LOOP("\"until\":\"loop.index > 2\",", WORK("a") "," WORK("b")), "", NULL, &seen);
	is(e.tokens, 200, 1200, 4000);
	is(e.ms, 1000, 6000, 20000); /* a and b beside each other, round after round */
	is(line(&e, "l/a")->runs, 1, 3, 5);
	is(line(&e, "l/a")->tokens, 100, 600, 2000);
	is(line(&e, "l")->tokens, 0, 0, 0);
	assert_true(e.executions == 1 + 2 * 3);
	sl_estimate_fini(&e);
	e = reckon(LOOP("", WORK("a")), "", NULL, &seen);
	is(e.tokens, 500, 1000, 2000);
	is(line(&e, "l/a")->runs, 5, 5, 5);
	sl_estimate_fini(&e);
}

static void a_model_with_tools_is_asked_once_more_than_it_may_use_them(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e =
		reckon("{\"id\":\"h\",\"type\":\"asking\",\"params\":{\"max_iterations\":3,\"body\":{\"nodes\":[{"
		       "\"id\":\"ask\",\"type\":\"work\",\"params\":{\"prompt\":\"{{ loop.messages }}\"}}],"
		       "\"edges\":[]}}}",
		       "", NULL, &seen);
	is(line(&e, "h/ask")->runs, 1, 2.5, 4);
	is(e.tokens, 100, 500, 1600);
	assert_true(seen.context[1] == 30);                      /* the first round sees the question */
	assert_true(seen.context[2] == 30 + 50 * (2.5 - 1) / 2); /* on average half of what is said comes on top */
	sl_estimate_fini(&e);
	e = reckon(
		"{\"id\":\"h\",\"type\":\"asking\",\"params\":{\"body\":{\"nodes\":[" WORK("ask") "],\"edges\":[]}}}",
		"", NULL, &seen);
	is(line(&e, "h/ask")->runs, 1, 3.5, 6);
	sl_estimate_fini(&e);
}

#define EACH(items, body)                                                                                              \
	"{\"id\":\"m\",\"type\":\"each\",\"params\":{\"items\":" items ",\"body\":{\"nodes\":[" body "],\"edges\":[]}" \
	"}}"

static void a_map_has_the_items_that_are_written_or_given_or_guessed(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(EACH("[1,\"{{ input.x }}\",3]", WORK("a")), "", NULL, &seen);
	is(e.tokens, 300, 600, 1200);
	assert_false(e.guessed);
	sl_estimate_fini(&e);
	e = reckon(EACH("\"{{ input.list }}\"", WORK("a")), "", "{\"list\":[1,2,3,4]}", &seen);
	is(e.tokens, 400, 800, 1600);
	is(line(&e, "m/a")->runs, 4, 4, 4);
	assert_false(e.guessed);
	sl_estimate_fini(&e);
	e = reckon(EACH("\"{{ input.list }}\"", WORK("a")), "", "{\"list\":[]}", &seen);
	is(e.tokens, 0, 0, 0);
	sl_estimate_fini(&e);
	static const char *const unknown[] = {NULL, "{\"list\":7}", "{}"};
	for (size_t i = 0; i < SL_COUNT_OF(unknown); i++) {
		e = reckon(EACH("\"{{ input.list }}\"", WORK("a")), "", unknown[i], &seen);
		is(e.tokens, 100, 1000, 8000);
		assert_true(e.guessed);
		sl_estimate_fini(&e);
	}
	e = reckon(WORK("w") "," EACH("\"{{ nodes.w.list }}\"", WORK("a")), EDGE("w", "m"), "{}", &seen);
	assert_true(e.guessed);
	sl_estimate_fini(&e);
}

static void bodies_multiply(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(LOOP("", EACH("[1,2,3]", WORK("a"))), "", NULL, &seen);
	is(e.tokens, 1500, 3000, 6000);
	is(line(&e, "l/m/a")->runs, 15, 15, 15);
	assert_true(e.executions == 1 + 5 * (1 + 3));
	sl_estimate_fini(&e);
	/* behind a condition, all of it is as likely as not */
	e = reckon(WORK("w") "," LOOP("", WORK("a")), "{\"from\":\"w\",\"to\":\"l\",\"when\":\"nodes.w.x\"}", NULL,
		   &seen);
	is(line(&e, "l/a")->runs, 0, 2.5, 5);
	is(e.tokens, 100, 200 + 500, 400 + 2000);
	sl_estimate_fini(&e);
}

static enum sl_code asks_expand(struct json_object *params, struct json_object **graph, struct sl_error *err)
{
	if (!sl_json_get(params, "summarise_with") && !sl_json_get(params, "max_queries"))
		return SL_OK;
	return sl_json_parse(SL_STR("{\"nodes\":[{\"id\":\"ask\",\"type\":\"work\",\"params\":{\"prompt\":\"{{ "
				    "item.prompt }}\"}}]}"),
			     graph, err);
}

/* A type that makes its body, or none: once at most, or once and for each query; what it is given is what `item` has.
 */
static void bodies_that_types_make_count_as_often_as_they_may_run(void **state)
{
	static const struct sl_node_type asks = {
		.name = "asks",
		.summary = "Asks.",
		.params_schema = "{\"type\":\"object\"}",
		.start = types_start,
		.body = types_body,
		.expand = asks_expand,
	};
	static const struct sl_node_type *types[64];
	struct sl_registry *before = registry;
	struct sl_error err;
	size_t n = 0;
	for (; types_all[n]; n++)
		types[n] = types_all[n];
	types[n] = &asks;
	assert_int_equal(sl_registry_new(types, &registry, &err), SL_OK);
	static const struct {
		const char *params;
		double min, expected, max;
	} rows[] = {{"{}", 0, 0, 0},
		    {"{\"summarise_with\":\"x\",\"sources\":\"{{ nodes.a }}\"}", 0, 200, 400},
		    {"{\"max_queries\":3,\"content\":\"{{ nodes.a }}\"}", 100, 600, 1600}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct seen seen = {0};
		char nodes[500];
		snprintf(nodes, sizeof(nodes), WORK("a") ",{\"id\":\"x\",\"type\":\"asks\",\"params\":%s}",
			 rows[i].params);
		struct sl_estimate e = reckon(nodes, EDGE("a", "x"), NULL, &seen);
		is(e.tokens, 100 + rows[i].min, 200 + rows[i].expected, 400 + rows[i].max);
		assert_int_equal(e.n, i ? 3 : 2);
		if (i)
			assert_true(seen.context[2] == 50); /* what `a` said */
		sl_estimate_fini(&e);
	}
	sl_registry_free(registry);
	registry = before;
}

static void a_prompt_is_longer_for_what_it_mentions(void **state)
{
	struct seen seen = {0};
	struct sl_estimate e = reckon(WORK("a") ",{\"id\":\"j\",\"type\":\"gather\"},{\"id\":\"b\",\"type\":\"work\","
						"\"params\":{\"prompt\":\"{{ "
						"nodes.a.text }} {{ nodes.j.x }} {{ input.t }} {{ input.t }}\"}}",
				      EDGE("a", "j") "," EDGE("j", "b"), NULL, &seen);
	assert_int_equal(seen.n, 3);
	assert_true(seen.context[0] == 0);
	assert_true(seen.context[1] == 0);
	assert_true(seen.context[2] == 50 + 50 + 7); /* the join hands on what led into it; inputs count once */
	sl_estimate_fini(&e);
	/* a body sees nodes around it; from the second round on, a round sees the one before */
	e = reckon(WORK("w") ",{\"id\":\"l\",\"type\":\"again\",\"params\":{\"max_rounds\":5,\"body\":{\"nodes\":[{"
			     "\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"{{ nodes.w.text }}{{ loop.last "
			     "}}\"}}],\"edges\":[]}}}",
		   EDGE("w", "l"), NULL, &seen);
	assert_int_equal(seen.n, 4); /* w, l, and a twice */
	assert_true(seen.context[2] == 50);
	assert_true(seen.context[3] == 50 + 50 * 4 / 5.0);
	assert_int_equal(e.n, 3); /* the first walk of the body left no lines */
	sl_estimate_fini(&e);
}

static void many_conditions_are_not_all_walked_and_stay_within_bounds(void **state)
{
	struct seen seen = {0};
	SL_BUF(nodes, 16384);
	SL_BUF(edges, 16384);
	sl_buf_adds(&nodes, WORK("r"));
	for (int i = 0; i < 40; i++) {
		sl_buf_addf(&nodes, ",{\"id\":\"n%d\",\"type\":\"work\"}", i);
		sl_buf_addf(&edges, "%s{\"from\":\"r\",\"to\":\"n%d\",\"when\":\"nodes.r.x > %d\"}", i ? "," : "", i,
			    i);
	}
	struct sl_estimate e = reckon(nodes.data, edges.data, NULL, &seen);
	assert_true(e.tokens.max == 41 * 400);
	assert_true(e.tokens.min >= 100 && e.tokens.min < e.tokens.expected);
	assert_in_range((int)e.tokens.expected, 200 + 19 * 200, 200 + 21 * 200); /* 20 of 40, about */
	sl_estimate_fini(&e);
	struct sl_estimate again = reckon(nodes.data, edges.data, NULL, &seen);
	assert_true(memcmp(&again.tokens, &e.tokens, sizeof(e.tokens)) == 0); /* the same dice every time */
	sl_estimate_fini(&again);
}

static void what_cannot_be_told_ends_it_wherever_it_is(void **state)
{
	for (unsigned at = 1; at <= 4; at++) {
		struct seen seen = {.fail_at = at};
		struct sl_estimate e =
			reckon(WORK("w") "," LOOP("", WORK("a") "," WORK("b")), EDGE("w", "l"), NULL, &seen);
		sl_estimate_fini(&e);
	}
}

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_the_other_adds_and_beside_each_other_does_not_take_longer),
		cmocka_unit_test(a_join_that_waits_for_one_begins_with_the_first),
		cmocka_unit_test(of_the_cases_of_a_branch_one_is_taken),
		cmocka_unit_test(a_condition_is_as_likely_as_not),
		cmocka_unit_test(a_loop_takes_one_round_at_least_and_all_at_most),
		cmocka_unit_test(a_model_with_tools_is_asked_once_more_than_it_may_use_them),
		cmocka_unit_test(a_map_has_the_items_that_are_written_or_given_or_guessed),
		cmocka_unit_test(bodies_multiply),
		cmocka_unit_test(bodies_that_types_make_count_as_often_as_they_may_run),
		cmocka_unit_test(a_prompt_is_longer_for_what_it_mentions),
		cmocka_unit_test(many_conditions_are_not_all_walked_and_stay_within_bounds),
		cmocka_unit_test(what_cannot_be_told_ends_it_wherever_it_is),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
