/* Rows of data/hostile-lua.json: `want` is what a script must come to.
 *   budget   a budget stops it         error    it fails, and no budget was broken
 *   stopped  either of the two         true     it returns true            any   whatever, but it ends
 * Each runs behind the compiler's check of names, and once more without it, straight in the sandbox. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "engine/expr.h"
#include "engine/lua_priv.h"
#include "tests/lib/rows.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 20
#else
#define SLOWER 1
#endif

struct script {
	struct sl_str code;
	struct json_object *out;
};

static struct json_object *rows;

static int read_rows(void **state)
{
	return rows_read("hostile-lua", &rows) == 0 && json_object_is_type(rows, json_type_array) ? 0 : -1;
}

static int drop_rows(void **state)
{
	json_object_put(rows);
	sl_lua_drop_idle();
	return 0;
}

static double cpu_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int body(lua_State *L)
{
	struct script *s = lua_touserdata(L, 1);
	sl_lua_push_chunk(L, 0, SL_STR(""), s->code);
	lua_pop(L, 1);
	lua_call(L, 0, 1);
	sl_lua_hold_json(L, -1);
	s->out = SL_TAKE(sl_lua_of(L)->held);
	return 0;
}

static enum sl_code run_raw(struct script *s, struct sl_error *err)
{
	struct sl_lua *lua = sl_lua_take();
	assert_non_null(lua);
	enum sl_code rc = sl_lua_run(lua, body, s, true, err);
	assert_true(lua->used_bytes < lua->cap_bytes + SL_LIMIT_LUA_MEMORY_BYTES / 10);
	sl_lua_give(lua);
	return rc;
}

static struct json_object *nothing(void *ctx, const struct sl_ref *ref)
{
	return NULL;
}
static const struct sl_env empty = {nothing, NULL};

/* Notices whatever a script could have left behind in a state. */
static void ordinary_work_goes_on(const char *after)
{
	static const char check[] = "local n = 0 for _ in pairs(string) do n = n + 1 end "
				    "return n == 0 and ('x'):upper() == 'X' and string.format('%d', 7) == '7' and "
				    "tostring(nil) == 'nil' and math.floor(1.5) == 1 "
				    "and list.len({1,2}) == 2 and json.encode({1}) == '[1]' and table.concat({1,2}, "
				    "'-') == '1-2' and ('abc'):match('b') == 'b' "
				    "and select('#', pcall(error)) == 2 and evil == nil and utf8.len('é') == 1 and not "
				    "pcall(function() return string.evil end)";
	struct script s = {.code = sl_str(check)};
	struct sl_error err = {0};
	if (run_raw(&s, &err) != SL_OK || !json_object_get_boolean(s.out))
		fail_msg("after %.200s: %s", after, err.text);
	json_object_put(s.out);
}

/* 0x and six digits: the address of something */
static bool tells_an_address(const char *text)
{
	for (const char *p = text; (p = strstr(p, "0x")); p++)
		if (strspn(p + 2, "0123456789abcdefABCDEF") >= 6)
			return true;
	return false;
}

static bool a_budget(const struct sl_error *err)
{
	return strstr(err->text, "was stopped") != NULL;
}

static void every_hostile_script_ends_within_its_budget_and_leaves_nothing(void **state)
{
	double slowest = 0;
	const char *which = "";
	assert_true(json_object_array_length(rows) >= 200);
	for (size_t i = 0; i < json_object_array_length(rows); i += SL_TEST_EACH) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		struct script s = {.code = sl_json_get_str(row, "code")};
		const char *want = sl_json_get_z(row, "want");
		struct sl_error err = {0};
		uint64_t aborts = sl_expr_aborts();
		double begin = cpu_ms();
		enum sl_code rc = run_raw(&s, &err);
		double took = cpu_ms() - begin;
		if (took > slowest)
			slowest = took, which = s.code.p;
		bool fine = strcmp(want, "any") == 0 ||
			    (strcmp(want, "budget") == 0 && rc == SL_EXPRESSION && a_budget(&err)) ||
			    (strcmp(want, "error") == 0 && rc == SL_EXPRESSION && !a_budget(&err)) ||
			    (strcmp(want, "stopped") == 0 && rc == SL_EXPRESSION) ||
			    (strcmp(want, "true") == 0 && rc == SL_OK && json_object_get_boolean(s.out)) ||
			    (SLOWER > 1 && rc == SL_EXPRESSION &&
			     strstr(err.text, "took more than")); /* under a sanitizer time runs out first */
		if (!fine || (rc != SL_OK && rc != SL_EXPRESSION) || tells_an_address(err.text))
			fail_msg("row %zu, %s wanted: %.200s\n  %d %s", i, want, s.code.p, rc, err.text);
		if (rc == SL_EXPRESSION && err.text[0] == 0)
			fail_msg("row %zu says nothing: %.200s", i, s.code.p);
		assert_int_equal(sl_expr_aborts() - aborts, rc == SL_EXPRESSION && a_budget(&err));
		if (took > 2 * SL_LIMIT_LUA_MS * SLOWER)
			fail_msg("row %zu took %.0f ms: %.200s", i, took, s.code.p);
		json_object_put(s.out);
		ordinary_work_goes_on(s.code.p);
	}
	print_message("slowest: %.1f ms, %.100s\n", slowest, which);
}

static void the_same_scripts_pass_the_compiler_or_are_refused_with_a_sentence(void **state)
{
	size_t refused = 0;
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		SL_AUTO(sl_expr) e = NULL;
		SL_AUTO_JSON out = NULL;
		struct sl_error err = {0};
		enum sl_code rc = sl_expr_compile(sl_json_get_str(row, "code"), SL_EXPR_BLOCK, &e, &err);
		if (rc == SL_OK) {
			if (i % SL_TEST_EACH == 0)
				rc = sl_expr_eval(e, &empty, &out, &err);
			assert_true(rc == SL_OK || rc == SL_EXPRESSION);
		} else {
			assert_int_equal(rc, SL_INVALID);
			assert_int_equal(err.code, SL_INVALID);
			assert_true(err.text[0] != 0);
			refused++;
		}
	}
	assert_in_range(refused, 40, json_object_array_length(rows) / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_hostile_script_ends_within_its_budget_and_leaves_nothing),
		cmocka_unit_test(the_same_scripts_pass_the_compiler_or_are_refused_with_a_sentence),
	};
	return cmocka_run_group_tests(tests, read_rows, drop_rows);
}
