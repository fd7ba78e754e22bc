/* Rows of data/expressions.json, and what a table cannot say: references, threads, states that are used again. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/expr.h"
#include "engine/lua_priv.h"
#include "tests/lib/rows.h"

static struct json_object *doc;

static int read_rows(void **state)
{
	return rows_read("expressions", &doc);
}

static int drop_rows(void **state)
{
	json_object_put(doc);
	sl_lua_drop_idle();
	return 0;
}

static struct json_object *world_get(void *ctx, const struct sl_ref *ref)
{
	static const char *const roots[] = {"input", "nodes", "loop", "item", "index", "run"};
	struct json_object *o = sl_json_get(ctx, roots[ref->root]);
	return ref->node ? sl_json_get(o, ref->node) : o;
}

static void check_row(struct json_object *row, const struct sl_env *env, size_t i)
{
	bool block = sl_json_get(row, "block") != NULL;
	struct sl_str source = sl_json_get_str(row, block ? "block" : "expr");
	const char *compile = sl_json_get_z(row, "compile"), *error = sl_json_get_z(row, "error");
	struct json_object *value = sl_json_get(row, "value");
	SL_AUTO(sl_expr) e = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	bool truth;
	enum sl_code rc = sl_expr_compile(source, block ? SL_EXPR_BLOCK : SL_EXPR_VALUE, &e, &err);
	if (rc != SL_OK) {
		if (!compile || !strstr(err.text, compile) || rc != SL_INVALID || err.code != SL_INVALID)
			fail_msg("row %zu: %s\n %s", i, source.p, err.text);
		return;
	}
	if (compile)
		fail_msg("row %zu compiles: %s", i, source.p);
	rc = sl_expr_eval(e, env, &out, &err);
	if (rc != SL_OK) {
		if (!error || !strstr(err.text, error) || rc != SL_EXPRESSION || out)
			fail_msg("row %zu: %s\n %s", i, source.p, err.text);
		assert_null(strstr(err.text, "(expr)"));
		return;
	}
	SL_BUF(got, 1 << 20);
	SL_BUF(want, 1 << 20);
	sl_json_write(&got, out);
	sl_json_write(&want, value);
	if (error || !sl_json_equal(out, value))
		fail_msg("row %zu: %s\n gives %s, not %s", i, source.p, got.data, error ? "an error" : want.data);
	assert_int_equal(sl_expr_test(e, env, &truth, &err), SL_OK);
	assert_int_equal(truth,
			 value && (!json_object_is_type(value, json_type_boolean) || json_object_get_boolean(value)));
}

static void every_row_of_the_table_holds(void **state)
{
	struct sl_env env = {world_get, sl_json_get(doc, "world")};
	struct json_object *rows = sl_json_get(doc, "rows");
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		check_row(json_object_array_get_idx(rows, i), &env, i);
}

/* A path is walked in C. In parentheses it goes through Lua, and must come to the same. */
static void a_path_gives_the_same_with_and_without_lua(void **state)
{
	struct sl_env env = {world_get, sl_json_get(doc, "world")};
	struct json_object *rows = sl_json_get(doc, "rows");
	size_t compared = 0;
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct sl_str source = sl_json_get_str(json_object_array_get_idx(rows, i), "expr");
		SL_AUTO(sl_expr) plain = NULL;
		SL_AUTO(sl_expr) lua = NULL;
		SL_AUTO_JSON a = NULL;
		SL_AUTO_JSON b = NULL;
		struct sl_error err = {0};
		SL_BUF(wrapped, 10000);
		sl_buf_addf(&wrapped, "(%.*s\n)", (int)source.len, source.p);
		if (!source.len || sl_expr_compile(source, SL_EXPR_VALUE, &plain, &err) != SL_OK)
			continue;
		assert_int_equal(sl_expr_compile(sl_buf_str(&wrapped), SL_EXPR_VALUE, &lua, &err), SL_OK);
		enum sl_code ra = sl_expr_eval(plain, &env, &a, &err), rb = sl_expr_eval(lua, &env, &b, &err);
		if (ra != rb || !sl_json_equal(a, b))
			fail_msg("%s differs: %s", source.p, err.text);
		compared++;
	}
	assert_true(compared > 80);
}

static void assert_refs(const char *source, enum sl_expr_kind kind, const char *want)
{
	static const char *const roots[] = {"input", "nodes.", "loop", "item", "index", "run"};
	SL_AUTO(sl_expr) e = NULL;
	struct sl_error err = {0};
	SL_BUF(got, 1000);
	size_t n;
	if (sl_expr_compile(sl_str(source), kind, &e, &err) != SL_OK)
		fail_msg("%s: %s", source, err.text);
	const struct sl_ref *refs = sl_expr_refs(e, &n);
	for (size_t i = 0; i < n; i++)
		sl_buf_addf(&got, "%s%s%s", i ? " " : "", roots[refs[i].root], refs[i].node ? refs[i].node : "");
	if (strcmp(got.data ? got.data : "", want) != 0)
		fail_msg("%s refers to '%s', not to '%s'", source, got.data, want);
}

static void references_are_collected_once_each(void **state)
{
	assert_refs("1", SL_EXPR_VALUE, "");
	assert_refs("nodes.a.x + nodes.b.y + nodes.a.z", SL_EXPR_VALUE, "nodes.a nodes.b");
	assert_refs("nodes['my-node'].x", SL_EXPR_VALUE, "nodes.my-node");
	assert_refs("input.a and loop.last or run.id .. item[index]", SL_EXPR_VALUE, "input loop run item index");
	assert_refs("'nodes.x' .. [[ nodes.y ]] -- nodes.z", SL_EXPR_VALUE, "");
	assert_refs("list.map(nodes.a.items, function(nodes) return nodes.b end)", SL_EXPR_VALUE, "nodes.a");
	assert_refs("({input = 1}).input + run.x", SL_EXPR_VALUE, "run");
	assert_refs("local x = nodes.a local nodes = {} return nodes.b", SL_EXPR_BLOCK, "nodes.a");
	assert_refs("if input.x then return nodes.p elseif loop.y then return nodes.q else return {nodes.r, "
		    "[nodes.s.k] = 1} end",
		    SL_EXPR_BLOCK, "input nodes.p loop nodes.q nodes.r nodes.s");
	assert_refs("local f = function(input, ...) return input, run end for i = nodes.a, nodes.b do f(i) end",
		    SL_EXPR_BLOCK, "run nodes.a nodes.b");
	assert_refs("return ('x'):rep(nodes.n.count, \"nodes.no\")", SL_EXPR_BLOCK, "nodes.n");
}

static struct json_object *asked_for(void *ctx, const struct sl_ref *ref)
{
	(*(unsigned *)ctx)++;
	return NULL;
}

static void values_are_asked_for_only_when_mentioned(void **state)
{
	unsigned asked = 0;
	struct sl_env env = {asked_for, &asked};
	SL_AUTO(sl_expr) none = NULL;
	SL_AUTO(sl_expr) two = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_expr_compile(SL_STR("1 + 1"), SL_EXPR_VALUE, &none, &err), SL_OK);
	assert_int_equal(sl_expr_compile(SL_STR("nodes.a == nodes.a and nodes.b == input"), SL_EXPR_VALUE, &two, &err),
			 SL_OK);
	assert_int_equal(sl_expr_eval(none, &env, &out, &err), SL_OK);
	assert_int_equal(asked, 0);
	json_object_put(out);
	assert_int_equal(sl_expr_eval(two, &env, &out, &err), SL_OK);
	assert_int_equal(asked, 3);
}

static void what_comes_out_is_a_copy(void **state)
{
	struct json_object *world = sl_json_get(doc, "world");
	struct sl_env env = {world_get, world};
	SL_AUTO(sl_expr) e = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_expr_compile(SL_STR("nodes.judge.json"), SL_EXPR_VALUE, &e, &err), SL_OK);
	assert_int_equal(sl_expr_eval(e, &env, &out, &err), SL_OK);
	sl_json_set_i64(out, "a", 99);
	assert_int_equal(
		sl_json_get_i64(sl_json_get(sl_json_get(sl_json_get(world, "nodes"), "judge"), "json"), "a", 0), 1);
}

static void the_order_of_keys_is_the_same_in_every_state(void **state)
{
	char first[4096] = "";
	for (int i = 0; i < 20; i++) {
		SL_AUTO(sl_expr) e = NULL;
		SL_AUTO_JSON out = NULL;
		struct sl_env env = {world_get, sl_json_get(doc, "world")};
		struct sl_error err = {0};
		SL_BUF(got, sizeof(first));
		sl_lua_drop_idle();
		assert_int_equal(
			sl_expr_compile(SL_STR("local t, s = {}, '' for i = 1, 60 do t['k' .. i * 7919 % 101] = i end "
					       "for k in pairs(t) do s = s .. k end local k = next(t) while k do s = s "
					       ".. k k = next(t, k) end "
					       "return {t, s}"),
					SL_EXPR_BLOCK, &e, &err),
			SL_OK);
		assert_int_equal(sl_expr_eval(e, &env, &out, &err), SL_OK);
		sl_json_write(&got, out);
		if (i == 0)
			snprintf(first, sizeof(first), "%s", got.data);
		assert_string_equal(got.data, first);
	}
}

static void *evaluate_often(void *arg)
{
	struct json_object *world = NULL; /* json-c objects belong to one thread */
	struct sl_error err = {0};
	SL_AUTO_JSON whole = NULL;
	bool truth = false;
	size_t wrong = sl_json_parse(SL_STR("{\"nodes\":{\"a\":{\"n\":[1,2,3]}},\"index\":7}"), &whole, &err) != SL_OK;
	world = whole;
	struct sl_env env = {world_get, world};
	for (int i = 0; i < 1500; i++)
		wrong += sl_expr_test(arg, &env, &truth, &err) != SL_OK || !truth;
	return (void *)wrong;
}

static void many_threads_share_a_compiled_expression(void **state)
{
	SL_AUTO(sl_expr) e = NULL;
	struct sl_error err = {0};
	pthread_t threads[4];
	assert_int_equal(
		sl_expr_compile(SL_STR("list.sum(nodes.a.n) + index == 13 and evil == nil"), SL_EXPR_VALUE, &e, &err),
		SL_INVALID);
	assert_int_equal(sl_expr_compile(SL_STR("list.sum(nodes.a.n) + index == 13"), SL_EXPR_VALUE, &e, &err), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, evaluate_often, e), 0);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
}

static void broken_budgets_are_counted_and_the_next_evaluation_works(void **state)
{
	struct sl_env env = {world_get, sl_json_get(doc, "world")};
	SL_AUTO(sl_expr) bad = NULL;
	SL_AUTO(sl_expr) good = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	uint64_t before = sl_expr_aborts();
	assert_int_equal(sl_expr_compile(SL_STR("while true do pcall(error) end"), SL_EXPR_BLOCK, &bad, &err), SL_OK);
	assert_int_equal(sl_expr_compile(SL_STR("nodes.judge.score + 1"), SL_EXPR_VALUE, &good, &err), SL_OK);
	assert_int_equal(sl_expr_eval(bad, &env, &out, &err), SL_EXPRESSION);
	assert_null(out);
	assert_int_equal(sl_expr_aborts() - before, 1);
	assert_int_equal(sl_expr_eval(good, &env, &out, &err), SL_OK);
	assert_int_equal(json_object_get_int64(out), 96);
}

static void sources_that_are_too_large_are_refused(void **state)
{
	static char source[70000];
	SL_AUTO(sl_expr) e = NULL;
	struct sl_error err = {0};
	memset(source, ' ', sizeof(source));
	source[0] = '1';
	assert_int_equal(sl_expr_compile(sl_str_n(source, sizeof(source)), SL_EXPR_VALUE, &e, &err), SL_INVALID);
	SL_BUF(many, 65000);
	sl_buf_adds(&many, "{1");
	for (int i = 0; i < 1100; i++)
		sl_buf_addf(&many, ",nodes.n%d", i);
	sl_buf_adds(&many, "}");
	assert_int_equal(sl_expr_compile(sl_buf_str(&many), SL_EXPR_VALUE, &e, &err), SL_INVALID);
	assert_non_null(strstr(err.text, "more than 1000 nodes"));
}

static void no_memory_is_an_error_body(void *arg)
{
	static struct sl_env env = {world_get, NULL};
	SL_AUTO(sl_expr) e = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	env.ctx = sl_json_get(doc, "world");
	sl_lua_drop_idle();
	enum sl_code rc = sl_expr_compile(
		SL_STR("{nodes.judge.json, list.map({1}, function(x) return json.encode({x}) .. '\\xff' end)}"),
		SL_EXPR_VALUE, &e, &err);
	if (rc == SL_OK)
		rc = sl_expr_eval(e, &env, &out, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		fail_msg("%d %s", rc, err.text);
	assert_true((rc == SL_OK) == (out != NULL));
}

static void no_memory_is_an_error(void **state)
{
	assert_true(sl_test_torture(no_memory_is_an_error_body, NULL) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_holds),
		cmocka_unit_test(a_path_gives_the_same_with_and_without_lua),
		cmocka_unit_test(references_are_collected_once_each),
		cmocka_unit_test(values_are_asked_for_only_when_mentioned),
		cmocka_unit_test(what_comes_out_is_a_copy),
		cmocka_unit_test(the_order_of_keys_is_the_same_in_every_state),
		cmocka_unit_test(many_threads_share_a_compiled_expression),
		cmocka_unit_test(broken_budgets_are_counted_and_the_next_evaluation_works),
		cmocka_unit_test(sources_that_are_too_large_are_refused),
		cmocka_unit_test(no_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, read_rows, drop_rows);
}
