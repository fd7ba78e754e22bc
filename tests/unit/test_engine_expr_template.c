/* Rows of data/templates.json, references, and failing allocations. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/expr.h"
#include "engine/lua_priv.h"
#include "tests/lib/rows.h"

static struct json_object *doc;

static int read_rows(void **state)
{
	return rows_read("templates", &doc);
}

static int drop_rows(void **state)
{
	json_object_put(doc);
	sl_lua_drop_idle();
	return 0;
}

static struct json_object *world_get(void *ctx, const struct sl_ref *ref)
{
	struct json_object *o = sl_json_get(ctx, ref->root == SL_REF_INPUT ? "input" : "nodes");
	return ref->node ? sl_json_get(o, ref->node) : o;
}

static void every_row_of_the_table_holds(void **state)
{
	struct sl_env env = {world_get, sl_json_get(doc, "world")};
	struct json_object *rows = sl_json_get(doc, "rows");
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i), *value = sl_json_get(row, "value");
		const char *compile = sl_json_get_z(row, "compile"), *error = sl_json_get_z(row, "error");
		SL_AUTO(sl_template) t = NULL;
		SL_AUTO_JSON out = NULL;
		struct sl_error err = {0};
		SL_BUF(got, 1 << 20);
		enum sl_code rc = sl_template_compile(sl_json_get(row, "template"), &t, &err);
		if (rc != SL_OK) {
			if (!compile || !strstr(err.text, compile) || rc != SL_INVALID)
				fail_msg("row %zu does not compile: %s", i, err.text);
			continue;
		}
		if (compile)
			fail_msg("row %zu compiles", i);
		assert_int_equal(sl_template_is_constant(t), sl_json_get_bool(row, "constant", false));
		rc = sl_template_eval(t, &env, &out, &err);
		if (rc != SL_OK) {
			if (!error || !strstr(err.text, error) || rc != SL_EXPRESSION || out)
				fail_msg("row %zu: %s", i, err.text);
			continue;
		}
		sl_json_write(&got, out);
		if (error || !sl_json_equal(out, value))
			fail_msg("row %zu gives %.300s", i, got.data);
	}
}

static void references_of_all_expressions_are_collected_once(void **state)
{
	SL_AUTO_JSON v = NULL;
	SL_AUTO(sl_template) t = NULL;
	struct sl_error err = {0};
	size_t n;
	assert_int_equal(sl_json_parse(SL_STR("[\"{{ nodes.a.x }}{{ nodes.b }} {{ input.x }}\",{\"k\":\"{{ nodes.a.y + "
					      "nodes['c-d'].z }}\"}]"),
				       &v, &err),
			 SL_OK);
	assert_int_equal(sl_template_compile(v, &t, &err), SL_OK);
	const struct sl_ref *refs = sl_template_refs(t, &n);
	assert_int_equal(n, 4);
	assert_string_equal(refs[0].node, "a");
	assert_string_equal(refs[1].node, "b");
	assert_int_equal(refs[2].root, SL_REF_INPUT);
	assert_string_equal(refs[3].node, "c-d");
}

static void a_compiled_template_does_not_need_its_value_any_more(void **state)
{
	struct sl_env env = {world_get, sl_json_get(doc, "world")};
	struct json_object *v = NULL;
	SL_AUTO(sl_template) t = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_json_parse(SL_STR("{\"k\":\"a {{ input.topic }} b\",\"c\":[1,\"const\"]}"), &v, &err),
			 SL_OK);
	assert_int_equal(sl_template_compile(v, &t, &err), SL_OK);
	json_object_put(v);
	assert_int_equal(sl_template_eval(t, &env, &out, &err), SL_OK);
	assert_string_equal(sl_json_get_z(out, "k"), "a cats b");
}

static void braces_are_noticed(void **state)
{
	assert_true(sl_template_in(SL_STR("a {{ b }}")));
	assert_true(sl_template_in(SL_STR("{{")));
	assert_false(sl_template_in(SL_STR("a { b } {")));
	assert_false(sl_template_in(SL_STR("")));
}

static void no_memory_is_an_error_body(void *arg)
{
	static struct sl_env env = {world_get, NULL};
	SL_AUTO(sl_template) t = NULL;
	SL_AUTO_JSON out = NULL;
	struct sl_error err = {0};
	env.ctx = sl_json_get(doc, "world");
	enum sl_code rc = sl_template_compile(arg, &t, &err);
	if (rc == SL_OK)
		rc = sl_template_eval(t, &env, &out, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		fail_msg("%d %s", rc, err.text);
	assert_true((rc == SL_OK) == (out != NULL));
}

static void no_memory_is_an_error(void **state)
{
	SL_AUTO_JSON v = NULL; /* parsed out here: json-c's parser does not survive a failed allocation of a key */
	struct sl_error err;
	assert_int_equal(
		sl_json_parse(SL_STR("{\"k\":\"a {{ input.topic }} b {{ input.i + 1 }}\",\"c\":[1,\"const\"]}"), &v,
			      &err),
		SL_OK);
	assert_true(sl_test_torture(no_memory_is_an_error_body, v) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_holds),
		cmocka_unit_test(references_of_all_expressions_are_collected_once),
		cmocka_unit_test(a_compiled_template_does_not_need_its_value_any_more),
		cmocka_unit_test(braces_are_noticed),
		cmocka_unit_test(no_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, read_rows, drop_rows);
}
