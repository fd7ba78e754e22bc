/* Asking for a fork, and what two runs differ in. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "api/fork.h"

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;
	struct sl_error err = {0};
	if (sl_json_parse(sl_str(text), &o, &err) != SL_OK)
		fail_msg("%s: %s", text, err.text);
	return o;
}

static void a_body_is_read_or_refused_with_a_pointer(void **state)
{
	static const char *const around[] = {"cmd", NULL};
	static const struct {
		const char *body, *pointer; /* NULL: fine */
	} rows[] = {
		{"{}", NULL},
		{"{\"at_seq\":3,\"from\":\"a#2/b\",\"inputs\":{\"x\":1},\"outputs\":{\"a\":{}}}", NULL},
		{"{\"cmd\":\"fork\"}", NULL},
		{"{\"at_seq\":0}", "/at_seq"},
		{"{\"at_seq\":\"3\"}", "/at_seq"},
		{"{\"from\":\"\"}", "/from"},
		{"{\"from\":7}", "/from"},
		{"{\"inputs\":[]}", "/inputs"},
		{"{\"outputs\":\"x\"}", "/outputs"},
		{"{\"tags\":[]}", "/tags"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id run = {0};
		struct sl_fork_text text;
		struct sl_problems problems = {0};
		SL_AUTO_JSON body = parse(rows[i].body);
		enum sl_code rc = sl_fork_read(body, run, around, &text, &problems);
		if (rc != (rows[i].pointer ? SL_INVALID : SL_OK))
			fail_msg("%s: %s", rows[i].body, sl_code_wire(rc));
		if (rows[i].pointer)
			assert_string_equal(problems.items[0].pointer, rows[i].pointer);
		sl_problems_fini(&problems);
		sl_fork_text_fini(&text);
	}
}

static void digest(const char *body, uint8_t last, unsigned char out[32])
{
	struct sl_run_id run = {0};
	struct sl_fork_text text;
	struct sl_problems problems = {0};
	SL_AUTO_JSON o = parse(body);
	run.u.b[15] = last;
	assert_int_equal(sl_fork_read(o, run, NULL, &text, &problems), SL_OK);
	memcpy(out, text.f.idempotency_digest->data, 32);
	sl_fork_text_fini(&text);
}

static void the_digest_is_of_all_that_makes_the_fork(void **state)
{
	unsigned char first[32], again[32];
	static const char *const others[] = {"{\"at_seq\":3}", "{\"from\":\"b\"}", "{\"inputs\":{\"from\":\"a\"}}",
					     "{\"outputs\":{\"a\":{}}}"};
	digest("{\"from\":\"a\"}", 1, first);
	digest("{ \"from\" : \"a\" }", 1, again);
	assert_memory_equal(first, again, 32);
	digest("{\"from\":\"a\"}", 2, again);
	assert_memory_not_equal(first, again, 32);
	for (size_t i = 0; i < SL_COUNT_OF(others); i++) {
		digest(others[i], 1, again);
		assert_memory_not_equal(first, again, 32);
	}
}

static struct json_object *diff(const char *a, const char *b)
{
	SL_BUF(out, 1 << 20);
	assert_int_equal(sl_run_diff(sl_str(a), sl_str(b), &out), SL_OK);
	return parse(out.data);
}

static const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void nodes_are_paired_by_their_paths(void **state)
{
	SL_AUTO_JSON d = diff(
		"{\"id\":\"1\",\"status\":\"succeeded\",\"definition\":{\"x\":1,\"y\":2},\"inputs\":{},\"outputs\":{"
		"\"v\":"
		"1},\"usage\":{\"input_tokens\":3,\"output_tokens\":4},\"cost_usd\":0.5,"
		"\"started_at\":\"2026-01-01T00:00:00.000Z\",\"finished_at\":\"2026-01-01T00:00:01.500Z\",\"nodes\":["
		"{\"path\":\"a\",\"type\":\"llm\",\"status\":\"completed\",\"output\":{\"text\":\"x\",\"usage\":{},"
		"\"first_token_ms\":3},\"usage\":{"
		"\"input_tokens\":1,\"output_tokens\":2,\"cost_usd\":0.25}},"
		"{\"path\":\"b\",\"type\":\"llm\",\"status\":\"completed\",\"output\":{\"text\":\"x\",\"n\":[1,2],"
		"\"k\":{"
		"\"m/n\":true}}},{\"path\":\"r#3/c\",\"type\":\"fake\",\"status\":\"skipped\"}]}",
		"{\"id\":\"2\",\"status\":\"failed\",\"definition\":{\"y\":2,\"x\":1},\"inputs\":{},\"outputs\":null,"
		"\"usage\":{\"input_tokens\":0,\"output_tokens\":1},\"cost_usd\":0,"
		"\"started_at\":\"2026-01-01T00:00:00.000Z\",\"finished_at\":null,\"nodes\":["
		"{\"path\":\"z\",\"type\":\"fake\",\"status\":\"pending\"},"
		"{\"path\":\"b\",\"type\":\"llm\",\"status\":\"failed\",\"output\":{\"text\":\"y\",\"n\":[1,2,3],\"k\":"
		"{"
		"\"m/n\":false}},\"error\":{\"code\":\"timeout\"}},"
		"{\"path\":\"a\",\"type\":\"llm\",\"status\":\"completed\",\"output\":{\"text\":\"x\"}}]}");
	assert_string_equal(text_of(sl_json_get(d, "tokens")), "[7,1]");
	assert_string_equal(text_of(sl_json_get(d, "status")), "[\"succeeded\",\"failed\"]");
	assert_string_equal(text_of(sl_json_get(d, "duration_ms")), "[1500,null]");
	assert_true(sl_json_get_bool(d, "same_definition", false));
	assert_null(sl_json_get(d, "inputs"));
	assert_string_equal(text_of(sl_json_get(d, "outputs")), "[{\"pointer\":\"\",\"a\":{\"v\":1},\"b\":null}]");
	struct json_object *nodes = sl_json_get(d, "nodes");
	static const char *const want[] = {"a same", "b changed", "r#3/c only_a", "z only_b"};
	assert_int_equal(json_object_array_length(nodes), SL_COUNT_OF(want));
	for (size_t i = 0; i < SL_COUNT_OF(want); i++) {
		char have[64];
		struct json_object *n = json_object_array_get_idx(nodes, i);
		snprintf(have, sizeof(have), "%s %s", sl_json_get_z(n, "path"), sl_json_get_z(n, "change"));
		assert_string_equal(have, want[i]);
	}
	struct json_object *a = json_object_array_get_idx(nodes, 0), *b = json_object_array_get_idx(nodes, 1);
	assert_string_equal(text_of(sl_json_get(a, "tokens")), "[3,0]"); /* kept by a fork, and paid for there */
	assert_string_equal(text_of(sl_json_get(b, "output")),
			    "[{\"pointer\":\"/text\",\"a\":\"x\",\"b\":\"y\"},{\"pointer\":\"/n/2\",\"b\":3},"
			    "{\"pointer\":\"/k/m~1n\",\"a\":true,\"b\":false}]");
	assert_string_equal(text_of(sl_json_get(json_object_array_get_idx(nodes, 3), "status")), "[null,\"pending\"]");
}

static void what_is_told_is_bounded(void **state)
{
	SL_BUF(a, 1 << 20);
	SL_BUF(b, 1 << 20);
	struct sl_buf *both[] = {&a, &b};
	for (size_t i = 0; i < 2; i++) {
		sl_buf_adds(both[i], "{\"nodes\":[{\"path\":\"a\",\"output\":{\"text\":\"");
		for (size_t k = 0; k < 9000; k++)
			sl_buf_adds(both[i], i ? "\xc3\xa4" : "b");
		sl_buf_adds(both[i], "\",\"list\":[");
		for (size_t k = 0; k < 80; k++)
			sl_buf_addf(both[i], "%s%zu", k ? "," : "", k + i);
		sl_buf_adds(both[i], "]}}]}");
	}
	SL_AUTO_JSON d = diff(a.data, b.data);
	struct json_object *places = sl_json_get(json_object_array_get_idx(sl_json_get(d, "nodes"), 0), "output");
	assert_int_equal(json_object_array_length(places), 51);
	struct json_object *text = json_object_array_get_idx(places, 0);
	assert_int_equal(sl_json_get_str(text, "a").len, 4096);
	assert_int_equal(sl_json_get_str(text, "b").len, 4096); /* not in the middle of a letter */
	assert_true(sl_json_get_bool(text, "cut", false));
	assert_int_equal(sl_json_get_i64(json_object_array_get_idx(places, 50), "left_out", 0), 31);
	SL_BUF(out, 1000);
	assert_int_equal(sl_run_diff(SL_STR("{}"), SL_STR("{}"), &out), SL_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_is_read_or_refused_with_a_pointer),
		cmocka_unit_test(the_digest_is_of_all_that_makes_the_fork),
		cmocka_unit_test(nodes_are_paired_by_their_paths),
		cmocka_unit_test(what_is_told_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
