/* What a forecast says of model calls: tokens of the prompt and the answer, the profile's price, warnings. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/estimate.h"
#include "base/json.h"
#include "engine/graph.h"
#include "llm/agents.h"
#include "llm/profile.h"
#include "llm/stats.h"
#include "llm/tokens.h"

static enum sl_step never(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	return SL_DONE;
}
static void never_body(struct sl_node *n, uint32_t number)
{
}
#define ANY "{\"type\":\"object\",\"properties\":{"
static const struct sl_node_type llm = {.name = "llm",
					.summary = "Asks.",
					.params_schema = ANY "\"prompt\":{}}}",
					.effects = SL_EFFECTS_MODEL,
					.start = never};
static const struct sl_node_type delay = {
	.name = "delay", .summary = "Waits.", .params_schema = ANY "\"seconds\":{}}}", .start = never};
static const struct sl_node_type http = {
	.name = "http", .summary = "Asks others.", .params_schema = ANY "\"url\":{}}}", .start = never};
static const struct sl_node_type child = {
	.name = "subworkflow", .summary = "Another one.", .params_schema = ANY "\"workflow\":{}}}", .start = never};
static const struct sl_node_type map = {.name = "map",
					.summary = "Each.",
					.params_schema = ANY "\"items\":{},\"body\":{\"type\":\"object\",\"x-graph\":"
							     "true,\"x-provides\":[\"item\",\"index\"]}}}",
					.start = never,
					.body = never_body};
static const struct sl_node_type *const types[] = {&llm, &delay, &http, &child, &map, NULL};

struct fixture {
	struct sl_registry *registry;
	struct sl_profiles *profiles;
	struct sl_agents *agents;
	struct sl_stats *stats;
	struct json_object *said;
};

static void put(struct fixture *f, const char *name, const char *body)
{
	struct sl_profile_row row = {0};
	struct sl_error err = {0};
	SL_AUTO_JSON doc = NULL;
	SL_BUF(problems, 4096);
	assert_int_equal(sl_json_parse(sl_str(body), &doc, &err), SL_OK);
	if (sl_profiles_put(f->profiles, sl_str(name), doc, &row, &problems, &err) != SL_OK)
		fail_msg("%s", err.text);
	sl_profile_row_fini(&row);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {1};
	struct sl_error err = {0};
	*state = f;
	if (sl_registry_new(types, &f->registry, &err) != SL_OK || sl_profiles_new(secret, &f->profiles) != SL_OK ||
	    sl_agents_new(&f->agents) != SL_OK || sl_stats_new(&f->stats) != SL_OK)
		return -1;
	put(f, "dear",
	    "{\"provider\":\"openai\",\"model\":\"dear-1\",\"api_keys\":[\"k\"],\"price\":{\"input_usd_per_1m\":10,"
	    "\"output_usd_per_1m\":30},\"default\":true}");
	put(f, "odd",
	    "{\"provider\":\"openai\",\"model\":\"nobody-knows-1\",\"api_keys\":[\"k\"],\"params\":{\"max_tokens\":"
	    "80}}");
	if (sl_profiles_add_sim(f->profiles, "sim", "http://127.0.0.1:1/v1") != SL_OK)
		return -1;
	return sl_agents_load(f->agents, SL_STR("judge"), SL_STR("{\"profile\":\"odd\",\"system\":\"Be just.\"}"),
			      &err) == SL_OK
		       ? 0
		       : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	json_object_put(f->said);
	sl_stats_free(f->stats);
	sl_agents_free(f->agents);
	sl_profiles_free(f->profiles);
	sl_registry_free(f->registry);
	free(f);
	return 0;
}

static struct json_object *estimate(struct fixture *f, const char *nodes, const char *inputs)
{
	char text[8192];
	SL_AUTO(sl_workflow) w = NULL;
	SL_AUTO_JSON in = NULL;
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	SL_BUF(out, 64 << 10);
	snprintf(text, sizeof(text), "{\"sluice\":1,\"nodes\":[%s]}", nodes);
	assert_int_equal(sl_workflow_parse(f->registry, sl_str(text), &w, &problems), SL_OK);
	if (!w)
		fail_msg("%s: %s", problems.items[0].pointer, problems.items[0].message);
	sl_problems_fini(&problems);
	if (inputs)
		assert_int_equal(sl_json_parse(sl_str(inputs), &in, &err), SL_OK);
	const struct sl_estimate_models m = {.profiles = f->profiles, .agents = f->agents, .stats = f->stats};
	assert_int_equal(sl_estimate_json(&m, w, in, &out, &err), SL_OK);
	json_object_put(f->said);
	f->said = NULL;
	assert_int_equal(sl_json_parse(sl_buf_str(&out), &f->said, &err), SL_OK);
	return f->said;
}

static struct json_object *node(struct json_object *e, size_t i)
{
	return json_object_array_get_idx(sl_json_get(e, "nodes"), i);
}

static double number(struct json_object *e, const char *what, const char *key)
{
	return sl_json_get_f64(sl_json_get(e, what), key, -1);
}

static bool warned(struct json_object *e, const char *code, const char *words)
{
	struct json_object *list = sl_json_get(e, "warnings");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *w = json_object_array_get_idx(list, i);
		if (strcmp(sl_json_get_z(w, "code"), code) == 0 && strstr(sl_json_get_z(w, "message"), words))
			return true;
	}
	return false;
}

static uint64_t asked(const char *params)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_json_parse(sl_str(params), &doc, &err), SL_OK);
	return sl_tokens_of_request(doc, SL_STR(""));
}

static bool close_to(double a, double b)
{
	return a - b < 1.5e-6 && b - a < 1.5e-6;
}

static void a_call_costs_its_prompt_and_its_answer(void **state)
{
	struct fixture *f = *state;
	static const char params[] =
		"{\"prompt\":\"Is tea better than coffee? Give three reasons.\",\"max_tokens\":1000}";
	char nodes[512];
	snprintf(nodes, sizeof(nodes), "{\"id\":\"a\",\"type\":\"llm\",\"params\":%s}", params);
	double in = (double)asked(params);
	struct json_object *e = estimate(f, nodes, NULL);
	assert_true(in > 10);
	assert_true(number(e, "tokens", "min") == in + 250);
	assert_true(number(e, "tokens", "expected") == in + 1000);
	assert_true(number(e, "tokens", "max") == in + 1000);
	assert_true(close_to(number(e, "cost_usd", "expected"), (in * 10 + 1000 * 30) / 1e6));
	assert_string_equal(sl_json_get_z(node(e, 0), "profile"), "dear");
	assert_string_equal(sl_json_get_z(node(e, 0), "model"), "dear-1");
	assert_string_equal(sl_json_get_z(node(e, 0), "path"), "a");
	assert_int_equal(sl_json_get_i64(node(e, 0), "tokens", 0), (int64_t)in + 1000);
	assert_int_equal(json_object_array_length(sl_json_get(e, "warnings")), 0);
	assert_true(sl_json_get_f64(e, "duration_s", 0) == 21.0); /* a second, and 20 ms a token */
	/* nobody said how long the answer may be */
	e = estimate(f, "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\"}}", NULL);
	in = (double)asked("{\"prompt\":\"x\"}");
	assert_true(number(e, "tokens", "expected") == in + 500);
	assert_true(number(e, "tokens", "max") == in + SL_TOKENS_OUTPUT);
}

static void inputs_make_a_prompt_longer(void **state)
{
	struct fixture *f = *state;
	static const char nodes[] = "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"{{ input.t }}\"}}";
	double unknown = number(estimate(f, nodes, NULL), "tokens", "expected");
	SL_BUF(inputs, 16384);
	sl_buf_adds(&inputs, "{\"t\":\"");
	for (int i = 0; i < 1000; i++)
		sl_buf_adds(&inputs, "four ");
	sl_buf_adds(&inputs, "\"}");
	double known = number(estimate(f, nodes, inputs.data), "tokens", "expected");
	assert_in_range((int)(known - unknown), 1000, 1400); /* 5,000 characters */
}

static void agents_and_profiles_are_followed_and_what_has_no_price_is_named(void **state)
{
	struct fixture *f = *state;
	struct json_object *e =
		estimate(f,
			 "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\",\"agent\":\"judge\"}},"
			 "{\"id\":\"b\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\",\"profile\":\"sim\"}},"
			 "{\"id\":\"c\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\",\"agent\":\"nobody\"}}",
			 NULL);
	assert_string_equal(sl_json_get_z(node(e, 0), "profile"), "odd");
	assert_true(sl_json_get_i64(node(e, 0), "tokens", 0) >= 80);
	assert_true(sl_json_get_i64(node(e, 0), "tokens", 0) < 130); /* the profile's own max_tokens */
	assert_string_equal(sl_json_get_z(node(e, 1), "profile"), "sim");
	assert_true(warned(e, "unpriced", "nobody-knows-1"));
	assert_true(warned(e, "unpriced", "no such profile or agent"));
	assert_false(warned(e, "unpriced", "sim"));
	assert_true(number(e, "cost_usd", "max") == 0);
}

static void what_is_dear_long_or_large_is_said(void **state)
{
	struct fixture *f = *state;
	struct json_object *e =
		estimate(f, "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\",\"max_tokens\":11000}}", NULL);
	assert_true(warned(e, "high_cost", "$0.33"));
	assert_false(warned(e, "long_duration", ""));
	e = estimate(f, "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\",\"max_tokens\":9000}}", NULL);
	assert_false(warned(e, "high_cost", ""));
	e = estimate(f, "{\"id\":\"a\",\"type\":\"delay\",\"params\":{\"seconds\":600}}", NULL);
	assert_true(warned(e, "long_duration", "10 minutes"));
	assert_true(sl_json_get_f64(e, "duration_s", 0) == 600.0);
	e = estimate(
		f,
		"{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":\"{{ input.l }}\",\"body\":{\"nodes\":[{\"id\":"
		"\"a\",\"type\":\"http\",\"params\":{}}],\"edges\":[]}}}",
		NULL);
	assert_true(warned(e, "complex_workflow", "1 to 20"));
	SL_BUF(inputs, 4096);
	sl_buf_adds(&inputs, "{\"l\":[0");
	for (int i = 0; i < 59; i++)
		sl_buf_adds(&inputs, ",0");
	sl_buf_adds(&inputs, "]}");
	e = estimate(
		f,
		"{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":\"{{ input.l }}\",\"body\":{\"nodes\":[{\"id\":"
		"\"a\",\"type\":\"http\",\"params\":{}}],\"edges\":[]}}}",
		inputs.data);
	assert_true(warned(e, "complex_workflow", "61 executions"));
	assert_string_equal(sl_json_get_z(node(e, 1), "path"), "m/a");
	assert_true(number(node(e, 1), "runs", "expected") == 60.0);
	e = estimate(f, "{\"id\":\"a\",\"type\":\"subworkflow\",\"params\":{}}", NULL);
	assert_true(warned(e, "complex_workflow", "subworkflow"));
}

static void what_calls_took_goes_before_a_guess(void **state)
{
	struct fixture *f = *state;
	const struct sl_stats_call call = {
		.profile = "dear", .provider = "openai", .model = "dear-1", .total_ms = 7000, .first_ms = 100};
	for (int i = 0; i < 3; i++)
		sl_stats_call(f->stats, 1000, &call);
	struct json_object *e = estimate(f, "{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"x\"}}", NULL);
	assert_true(sl_json_get_f64(e, "duration_s", 0) == 7.0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		TEST(a_call_costs_its_prompt_and_its_answer),
		TEST(inputs_make_a_prompt_longer),
		TEST(agents_and_profiles_are_followed_and_what_has_no_price_is_named),
		TEST(what_is_dear_long_or_large_is_said),
		TEST(what_calls_took_goes_before_a_guess),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
