/* Rows of data/schemas.json: values that fit, values that do not and what is said of them, and schemas that are wrong.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/schema.h"
#include "tests/lib/rows.h"

static struct json_object *rows;

static int read_rows(void **state)
{
	return rows_read("schemas", &rows);
}

static int drop_rows(void **state)
{
	json_object_put(rows);
	return 0;
}

static bool said(const struct sl_problems *p, bool warning, const char *at, const char *what)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->items[i].warning == warning && (!at || strcmp(p->items[i].pointer, at) == 0) &&
		    strstr(p->items[i].message, what))
			return true;
	for (size_t i = 0; i < p->n; i++)
		print_error("  %s: %s\n", p->items[i].pointer, p->items[i].message);
	return false;
}

static void check_values(const struct sl_schema *s, struct json_object *row, size_t i)
{
	struct json_object *fits = sl_json_get(row, "fits"), *misfits = sl_json_get(row, "misfits");
	enum sl_schema_mode mode = sl_json_get(row, "mode") ? SL_SCHEMA_TEMPLATES : SL_SCHEMA_STRICT;
	for (size_t k = 0; fits && k < json_object_array_length(fits); k++) {
		struct sl_problems p = {0};
		if (!sl_schema_check(s, json_object_array_get_idx(fits, k), mode, SL_STR("/v"), &p) || p.n)
			fail_msg("row %zu: value %zu does not fit: %s", i, k, p.n ? p.items[0].message : "");
		sl_problems_fini(&p);
	}
	for (size_t k = 0; misfits && k < json_object_array_length(misfits); k++) {
		struct json_object *m = json_object_array_get_idx(misfits, k);
		const char *at = sl_json_get_z(m, "at");
		char where[200];
		struct sl_problems p = {0};
		snprintf(where, sizeof(where), "/v%s", at ? at : "");
		if (sl_schema_check(s, sl_json_get(m, "value"), mode, SL_STR("/v"), &p))
			fail_msg("row %zu: misfit %zu fits", i, k);
		assert_true(p.errors > 0);
		if (!said(&p, false, at ? where : NULL, sl_json_get_z(m, "says")))
			fail_msg("row %zu: misfit %zu: '%s' is not said at %s", i, k, sl_json_get_z(m, "says"), where);
		sl_problems_fini(&p);
	}
}

static void every_row_of_the_table_holds(void **state)
{
	assert_true(json_object_array_length(rows) > 50);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *bad = sl_json_get_z(row, "bad"), *warns = sl_json_get_z(row, "warns");
		SL_AUTO(sl_schema) s = NULL;
		struct sl_problems p = {0};
		assert_int_equal(sl_schema_compile(sl_json_get(row, "schema"), SL_STR(""), &s, &p), SL_OK);
		if ((s == NULL) != (bad != NULL) || (p.errors > 0) != (bad != NULL) ||
		    (p.n > p.errors) != (warns != NULL))
			fail_msg("row %zu: %s", i, p.n ? p.items[0].message : "no problem");
		if ((bad || warns) && !said(&p, warns != NULL, bad ? bad : warns, sl_json_get_z(row, "says")))
			fail_msg("row %zu: '%s' is not said", i, sl_json_get_z(row, "says"));
		sl_problems_fini(&p);
		if (s)
			check_values(s, row, i);
	}
}

static void assert_defaults(const char *schema, const char *before, const char *after)
{
	SL_AUTO_JSON o = NULL;
	SL_AUTO_JSON v = NULL;
	SL_AUTO(sl_schema) s = NULL;
	struct sl_problems p = {0};
	struct sl_error err;
	SL_BUF(got, 10000);
	assert_int_equal(sl_json_parse(sl_str(schema), &o, &err), SL_OK);
	assert_int_equal(sl_json_parse(sl_str(before), &v, &err), SL_OK);
	assert_int_equal(sl_schema_compile(o, SL_STR(""), &s, &p), SL_OK);
	assert_non_null(s);
	sl_schema_defaults(s, v);
	sl_json_write(&got, v);
	assert_string_equal(got.data, after);
}

static void defaults_fill_in_what_is_missing(void **state)
{
	assert_defaults("{\"properties\":{\"a\":{\"default\":5},\"b\":{\"default\":[1]}}}", "{\"a\":1}",
			"{\"a\":1,\"b\":[1]}");
	assert_defaults("{\"properties\":{\"a\":{\"default\":null}}}", "{}", "{\"a\":null}");
	assert_defaults("{\"properties\":{\"a\":{\"default\":5}}}", "{\"a\":null}", "{\"a\":null}");
	assert_defaults("{\"properties\":{\"o\":{\"default\":{},\"properties\":{\"x\":{\"default\":1}}}}}", "{}",
			"{\"o\":{\"x\":1}}");
	assert_defaults("{\"items\":{\"properties\":{\"x\":{\"default\":1}}}}", "[{},{\"x\":2}]",
			"[{\"x\":1},{\"x\":2}]");
	assert_defaults(
		"{\"$defs\":{\"d\":{\"properties\":{\"x\":{\"default\":1}}}},\"allOf\":[{\"$ref\":\"#/$defs/d\"}]}",
		"{}", "{\"x\":1}");
	assert_defaults("{\"properties\":{\"a\":{\"default\":5}}}", "\"text\"", "\"text\"");
}

static void defaults_that_make_defaults_come_to_an_end(void **state)
{
	SL_AUTO_JSON o = NULL;
	SL_AUTO_JSON v = json_object_new_object();
	SL_AUTO(sl_schema) s = NULL;
	struct sl_problems p = {0};
	struct sl_error err;
	uint64_t begin = sl_clock_mono_ms();
	assert_int_equal(sl_json_parse(SL_STR("{\"$defs\":{\"n\":{\"default\":{},\"properties\":{\"l\":{\"default\":{},"
					      "\"allOf\":[{\"$ref\":\"#/$defs/n\"}]},"
					      "\"r\":{\"default\":{},\"allOf\":[{\"$ref\":\"#/$defs/"
					      "n\"}]}}}},\"$ref\":\"#/$defs/n\"}"),
				       &o, &err),
			 SL_OK);
	assert_int_equal(sl_schema_compile(o, SL_STR(""), &s, &p), SL_OK);
	sl_schema_defaults(s, v);
	assert_true(json_object_object_length(v) >= 1);
	assert_true(sl_clock_mono_ms() - begin < 20000);
}

static void a_list_of_many_items_ends_at_the_budget(void **state)
{
	SL_AUTO_JSON o = NULL;
	SL_AUTO_JSON v = json_object_new_array();
	SL_AUTO(sl_schema) s = NULL;
	struct sl_problems p = {0};
	struct sl_error err;
	for (int i = 0; i < 5000; i++)
		json_object_array_add(v, json_object_new_int(i));
	assert_int_equal(sl_json_parse(SL_STR("{\"uniqueItems\":true}"), &o, &err), SL_OK);
	assert_int_equal(sl_schema_compile(o, SL_STR(""), &s, &p), SL_OK);
	assert_false(sl_schema_check(s, v, SL_SCHEMA_STRICT, SL_STR(""), &p));
	assert_true(said(&p, false, "", "too complicated"));
	sl_problems_fini(&p);
}

static void problems_are_capped_and_the_rest_is_counted(void **state)
{
	struct sl_problems p = {0};
	for (int i = 0; i < 250; i++)
		sl_problems_add(&p, i % 5 == 0, SL_STR("/x"), "number %d é", i);
	assert_int_equal(p.n, SL_LIMIT_DEFINITION_ERRORS);
	assert_int_equal(p.dropped, 250 - SL_LIMIT_DEFINITION_ERRORS);
	assert_int_equal(p.errors, 200);
	for (size_t i = 0; i < p.n; i++) /* they are what refuses a definition: warnings make room */
		assert_false(p.items[i].warning);
	assert_string_equal(p.items[0].message, "number 1 é");
	sl_problems_fini(&p);
	assert_int_equal(p.n, 0);
}

static void no_memory_is_an_error_body(void *arg)
{
	for (size_t i = 0; i < json_object_array_length(rows); i += 7) {
		struct json_object *row = json_object_array_get_idx(rows, i), *fits = sl_json_get(row, "fits");
		SL_AUTO(sl_schema) s = NULL;
		struct sl_problems p = {0};
		enum sl_code rc = sl_schema_compile(sl_json_get(row, "schema"), SL_STR(""), &s, &p);
		if (rc == SL_OK && s && fits)
			(void)sl_schema_check(s, json_object_array_get_idx(fits, 0), SL_SCHEMA_STRICT, SL_STR(""),
					      &p); /* only survive */
		sl_problems_fini(&p);
	}
}

static void no_memory_is_survived(void **state)
{
	assert_true(sl_test_torture(no_memory_is_an_error_body, NULL) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_of_the_table_holds),
		cmocka_unit_test(defaults_fill_in_what_is_missing),
		cmocka_unit_test(defaults_that_make_defaults_come_to_an_end),
		cmocka_unit_test(a_list_of_many_items_ends_at_the_budget),
		cmocka_unit_test(problems_are_capped_and_the_rest_is_counted),
		cmocka_unit_test(no_memory_is_survived),
	};
	return cmocka_run_group_tests(tests, read_rows, drop_rows);
}
