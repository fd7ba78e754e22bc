/* Personas: what a body may say, how they go under a call's own parameters, and that threads may change the set while
 * others read it. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/agents.h"

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;
	struct sl_error err = {0};
	if (sl_json_parse(sl_str(text), &o, &err) != SL_OK)
		fail_msg("%s: %s", text, err.text);
	return o;
}

static void load(struct sl_agents *a, const char *name, const char *row)
{
	struct sl_error err = {0};
	if (sl_agents_load(a, sl_str(name), sl_str(row), &err) != SL_OK)
		fail_msg("%s", err.text);
}

static void a_body_is_checked_member_by_member(void **state)
{
	static const struct {
		const char *name, *body, *pointer; /* pointer NULL: fine */
	} rows[] = {
		{"judge", "{\"system\":\"x\"}", NULL},
		{"judge",
		 "{\"name\":\"judge\",\"system\":\"x\",\"profile\":\"main\",\"description\":\"d\",\"params\":{"
		 "\"temperature\":0,\"top_p\":1,\"max_tokens\":5,\"seed\":-1,\"thinking\":\"low\",\"model\":\"m\"}}",
		 NULL},
		{"Judge", "{\"system\":\"x\"}", "\"pointer\":\"\""},
		{"judge", "{}", "/system"},
		{"judge", "{\"system\":7}", "/system"},
		{"judge", "{\"system\":\"x\",\"profile\":\"No Such\"}", "/profile"},
		{"judge", "{\"system\":\"x\",\"name\":\"other\"}", "/name"},
		{"judge", "{\"system\":\"x\",\"more\":1}", "/more"},
		{"judge", "{\"system\":\"x\",\"params\":7}", "/params"},
		{"judge", "{\"system\":\"x\",\"params\":{\"prompt\":\"p\"}}", "/params/prompt"},
		{"judge", "{\"system\":\"x\",\"params\":{\"temperature\":2.5}}", "/params/temperature"},
		{"judge", "{\"system\":\"x\",\"params\":{\"top_p\":0}}", "/params/top_p"},
		{"judge", "{\"system\":\"x\",\"params\":{\"max_tokens\":0.5}}", "/params/max_tokens"},
		{"judge", "{\"system\":\"x\",\"params\":{\"thinking\":\"hard\"}}", "/params/thinking"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON body = parse(rows[i].body);
		SL_AUTO(sl_bytes) row = NULL;
		struct sl_error err = {0};
		SL_BUF(problems, 4096);
		enum sl_code rc = sl_agents_check(sl_str(rows[i].name), body, &row, &problems, &err);
		assert_int_equal(rc, rows[i].pointer ? SL_INVALID : SL_OK);
		if (rows[i].pointer && !strstr(problems.data, rows[i].pointer))
			fail_msg("%s: %s", rows[i].body, problems.data);
		if (!rows[i].pointer) { /* what is stored is what is read back */
			SL_AUTO(sl_agents) a = NULL;
			assert_int_equal(sl_agents_new(&a), SL_OK);
			assert_int_equal(sl_agents_load(a, sl_str(rows[i].name), sl_bytes_str(row), &err), SL_OK);
			SL_AUTO(sl_agent) one = sl_agents_get(a, sl_str(rows[i].name));
			assert_string_equal(one->system, "x");
		}
	}
}

/* The longest there may be, of what takes most room when it is written; and one more. */
static void what_is_accepted_has_room_where_it_is_kept(void **state)
{
	static char text[SL_AGENT_SYSTEM_BYTES + 1];
	memset(text, '\n', sizeof(text));
	for (size_t more = 0; more <= 1; more++) {
		SL_AUTO_JSON body = json_object_new_object();
		SL_AUTO(sl_bytes) row = NULL;
		SL_AUTO(sl_agents) a = NULL;
		struct sl_error err = {0};
		sl_json_set_str(body, "system", sl_str_n(text, SL_AGENT_SYSTEM_BYTES + more));
		assert_int_equal(sl_agents_check(sl_str("judge"), body, &row, NULL, &err), more ? SL_INVALID : SL_OK);
		if (more)
			continue;
		assert_int_equal(sl_agents_new(&a), SL_OK);
		assert_int_equal(sl_agents_load(a, sl_str("judge"), sl_bytes_str(row), &err), SL_OK);
		SL_AUTO(sl_agent) one = sl_agents_get(a, sl_str("judge"));
		assert_int_equal(strlen(one->system), SL_AGENT_SYSTEM_BYTES);
	}
}

static void names_that_nobody_has_are_not_kept(void **state)
{
	static char name[300 << 10];
	memset(name, 'x', sizeof(name) - 1);
	for (int of_tool = 0; of_tool <= 1; of_tool++) {
		SL_AUTO_JSON body = json_object_new_object();
		SL_AUTO(sl_bytes) row = NULL;
		struct json_object *inner = json_object_new_object();
		struct sl_error err = {0};
		sl_json_set_str(body, "system", SL_STR("x"));
		if (of_tool)
			sl_json_set_bool(inner, name, true);
		else
			sl_json_set_z(inner, "model", name);
		sl_json_set(body, of_tool ? "tools" : "params", inner);
		assert_int_equal(sl_agents_check(sl_str("judge"), body, &row, NULL, &err), SL_INVALID);
	}
}

static void a_persona_goes_under_what_the_call_says(void **state)
{
	static const struct {
		const char *params, *expected;
	} rows[] = {
		{"{\"agent\":\"full\",\"prompt\":\"p\"}",
		 "{\"prompt\":\"p\",\"profile\":\"main\",\"temperature\":0.2,\"model\":\"big\",\"system\":\"You are "
		 "full.\"}"},
		{"{\"agent\":\"full\",\"prompt\":\"p\",\"temperature\":1,\"system\":\"Be brief.\"}",
		 "{\"prompt\":\"p\",\"temperature\":1,\"profile\":\"main\",\"model\":\"big\",\"system\":\"You are "
		 "full.\\n\\nBe brief.\"}"},
		/* its model belongs to its profile */
		{"{\"agent\":\"full\",\"prompt\":\"p\",\"profile\":\"other\"}",
		 "{\"prompt\":\"p\",\"profile\":\"other\",\"temperature\":0.2,\"system\":\"You are full.\"}"},
		{"{\"agent\":\"full\",\"prompt\":\"p\",\"provider\":\"openai\",\"model\":\"small\"}",
		 "{\"prompt\":\"p\",\"provider\":\"openai\",\"model\":\"small\",\"temperature\":0.2,\"system\":\"You "
		 "are full.\"}"},
		{"{\"agent\":\"bare\",\"prompt\":\"p\"}", "{\"prompt\":\"p\",\"system\":\"Bare.\"}"},
	};
	SL_AUTO(sl_agents) a = NULL;
	assert_int_equal(sl_agents_new(&a), SL_OK);
	load(a, "full",
	     "{\"profile\":\"main\",\"system\":\"You are full.\",\"params\":{\"temperature\":0.2,\"model\":\"big\"}}");
	load(a, "bare", "{\"system\":\"Bare.\"}");
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON params = parse(rows[i].params);
		SL_AUTO_JSON expected = parse(rows[i].expected);
		SL_AUTO_JSON got = NULL;
		struct sl_error err = {0};
		assert_int_equal(sl_agents_apply(a, params, &got, &err), SL_OK);
		if (!sl_json_equal(got, expected))
			fail_msg("%s gives %s", rows[i].params, json_object_to_json_string(got));
		SL_AUTO_JSON before = parse(rows[i].params);
		assert_true(sl_json_equal(params, before));
	}
}

static void a_call_without_an_agent_is_left_alone_and_an_unknown_one_is_an_error(void **state)
{
	SL_AUTO(sl_agents) a = NULL;
	SL_AUTO_JSON plain = parse("{\"prompt\":\"p\"}");
	SL_AUTO_JSON unknown = parse("{\"prompt\":\"p\",\"agent\":\"nobody\"}");
	struct json_object *got = unknown;
	struct sl_error err = {0};
	assert_int_equal(sl_agents_new(&a), SL_OK);
	assert_int_equal(sl_agents_apply(a, plain, &got, &err), SL_OK);
	assert_null(got);
	assert_int_equal(sl_agents_apply(NULL, plain, &got, &err), SL_OK);
	assert_int_equal(sl_agents_apply(a, unknown, &got, &err), SL_NOT_FOUND);
	assert_non_null(strstr(err.text, "nobody"));
	assert_null(got);
}

static void agents_are_listed_by_name_and_a_prefix_is_another_name(void **state)
{
	SL_AUTO(sl_agents) a = NULL;
	SL_BUF(out, 4096);
	assert_int_equal(sl_agents_new(&a), SL_OK);
	load(a, "judge-2", "{\"system\":\"2\"}");
	load(a, "ab", "{\"system\":\"ab\"}");
	load(a, "judge", "{\"system\":\"1\"}");
	load(a, "judge", "{\"system\":\"new\"}");
	sl_agents_list_json(a, &out);
	char *ab = strstr(out.data, "\"ab\""), *judge = strstr(out.data, "\"judge\""),
	     *judge2 = strstr(out.data, "\"judge-2\"");
	assert_true(ab && judge && judge2 && ab < judge && judge < judge2);
	assert_non_null(strstr(out.data, "\"new\""));
	sl_agents_drop(a, SL_STR("judge"));
	sl_agents_drop(a, SL_STR("nobody"));
	assert_null(sl_agents_get(a, SL_STR("judge")));
	SL_AUTO(sl_agent) left = sl_agents_get(a, SL_STR("judge-2"));
	assert_non_null(left);
	load(a, "judge", "{\"system\":\"3\"}");
	const struct sl_str stay[] = {SL_STR("judge"), SL_STR("who")};
	sl_agents_retain(a, stay, SL_COUNT_OF(stay));
	SL_AUTO(sl_agent) stays = sl_agents_get(a, SL_STR("judge"));
	assert_non_null(stays);
	assert_null(sl_agents_get(a, SL_STR("ab")));
	assert_null(sl_agents_get(a, SL_STR("judge-2")));
	sl_agents_retain(a, NULL, 0);
	assert_null(sl_agents_get(a, SL_STR("judge")));
}

/* ---- threads ---- */

static struct sl_agents *shared;

static void *change(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		char name[16], row[64];
		struct sl_error err = {0};
		snprintf(name, sizeof(name), "a%d", i % 20);
		snprintf(row, sizeof(row), "{\"system\":\"%d\",\"params\":{\"seed\":%d}}", i, i);
		if (sl_agents_load(shared, sl_str(name), sl_str(row), &err) != SL_OK)
			return arg;
		if (i % 7 == 0)
			sl_agents_drop(shared, sl_str(name));
	}
	return NULL;
}

static void *use(void *arg)
{
	SL_AUTO_JSON params = NULL;
	struct sl_error err = {0};
	if (sl_json_parse(SL_STR("{\"agent\":\"a3\",\"prompt\":\"p\"}"), &params, &err) != SL_OK)
		return arg;
	for (int i = 0; i < 2000; i++) {
		SL_AUTO_JSON got = NULL;
		enum sl_code rc = sl_agents_apply(shared, params, &got, &err);
		if (rc != SL_OK && rc != SL_NOT_FOUND)
			return arg;
		/* of one piece: both members are of the same version */
		if (rc == SL_OK &&
		    (int64_t)strtoll(sl_json_get_z(got, "system"), NULL, 10) != sl_json_get_i64(got, "seed", -1))
			return arg;
	}
	return NULL;
}

static void calls_see_whole_personas_while_they_change(void **state)
{
	pthread_t threads[4];
	int token;
	assert_int_equal(sl_agents_new(&shared), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, i % 2 ? use : change, &token), 0);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	sl_agents_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_is_checked_member_by_member),
		cmocka_unit_test(what_is_accepted_has_room_where_it_is_kept),
		cmocka_unit_test(names_that_nobody_has_are_not_kept),
		cmocka_unit_test(a_persona_goes_under_what_the_call_says),
		cmocka_unit_test(a_call_without_an_agent_is_left_alone_and_an_unknown_one_is_an_error),
		cmocka_unit_test(agents_are_listed_by_name_and_a_prefix_is_another_name),
		cmocka_unit_test(calls_see_whole_personas_while_they_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
