/* The audit trail against a real PostgreSQL: its order, its chain, and that it goes with what changed. */
#include "tests/lib/store_world.h"

#include <stdio.h>
#include <string.h>

#include "store/agents.h"
#include "store/audit.h"
#include "store/prices.h"
#include "store/templates.h"

static void audit_rows_come_newest_first(void **state)
{
	struct sl_bytes *detail = text("{\"why\":\"because\"}");
	for (int i = 0; i < 3; i++)
		assert_int_equal(ASK(sl_store_audit(s, SL_STR("admin"), sl_str(i == 2 ? "run.unlock" : "run.cancel"),
						    SL_STR("r"), i ? detail : NULL, on_plain, NULL)),
				 SL_OK);
	assert_int_equal(ASK(sl_store_audit_list(s, &(struct sl_audit_filter){.limit = 2}, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	struct json_object *item = json_object_array_get_idx(sl_json_get(o, "items"), 0);
	assert_string_equal(sl_json_get_z(item, "action"), "run.unlock");
	assert_string_equal(sl_json_get_z(sl_json_get(item, "detail"), "why"), "because");
	assert_int_equal(ASK(sl_store_audit_list(
				 s, &(struct sl_audit_filter){.cursor = sl_json_get_str(o, "next_cursor"), .limit = 2},
				 on_json, NULL)),
			 SL_OK);
	SL_AUTO_JSON rest = json();
	assert_int_equal(json_object_array_length(sl_json_get(rest, "items")), 1);
	assert_null(sl_json_get(json_object_array_get_idx(sl_json_get(rest, "items"), 0), "detail"));
	sl_bytes_unref(detail);
}

static void the_trail_is_filtered_by_who_and_what(void **state)
{
	static const struct {
		const char *actor, *action;
		size_t n;
	} rows[] = {{"", "", 4},       {"ann", "", 2}, {"", "agent.put", 2}, {"bob", "agent.put", 1},
		    {"", "agent.", 3}, {"ann", "x", 0}};
	static const char *const lines[][2] = {
		{"ann", "agent.put"}, {"bob", "agent.put"}, {"bob", "agent.delete"}, {"ann", "agentless"}};
	for (size_t i = 0; i < SL_COUNT_OF(lines); i++)
		assert_int_equal(ASK(sl_store_audit(s, sl_str(lines[i][0]), sl_str(lines[i][1]), SL_STR(""), NULL,
						    on_plain, NULL)),
				 SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		const struct sl_audit_filter f = {.actor = sl_str(rows[i].actor), .action = sl_str(rows[i].action)};
		assert_int_equal(ASK(sl_store_audit_list(s, &f, on_json, NULL)), SL_OK);
		SL_AUTO_JSON o = json();
		assert_int_equal(json_object_array_length(sl_json_get(o, "items")), rows[i].n);
	}
}

static bool chain_is_whole(int64_t *broken)
{
	assert_int_equal(ASK(sl_store_audit_verify(s, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	*broken = sl_json_get_i64(o, "broken", 0);
	return sl_json_get_bool(o, "ok", false);
}

/* Whoever can write SQL can switch the triggers off; the chain tells all the same. */
static void a_line_that_is_changed_or_removed_shows(void **state)
{
	static const char *const attacks[] = {
		"UPDATE audit SET actor = 'nobody' WHERE id = $",
		"UPDATE audit SET target = 'it' || target WHERE id = $",
		"UPDATE audit SET at = at + interval '1 us' WHERE id = $",
		"UPDATE audit SET detail = '{}' WHERE id = $",
		"DELETE FROM audit WHERE id = $",
		"UPDATE audit SET action = upper(action) WHERE id = $",
		"UPDATE audit SET hash = sha256('x') WHERE id = $",
	};
	struct sl_bytes *detail = text("{\"a\":1}");
	int64_t broken;
	char sql[600], row[200];
	for (int i = 0; i < 6; i++)
		assert_int_equal(ASK(sl_store_audit(s, SL_STR("ann"), SL_STR("x.y"), SL_STR("t"), i % 2 ? detail : NULL,
						    on_plain, NULL)),
				 SL_OK);
	assert_true(chain_is_whole(&broken));
	for (size_t i = 0; i < SL_COUNT_OF(attacks); i++)
		for (int id = 1; id <= 6; id++) {
			const char *dollar = strchr(attacks[i], '$');
			snprintf(row, sizeof(row), "%.*s%d", (int)(dollar - attacks[i]), attacks[i], id);
			snprintf(sql, sizeof(sql),
				 "CREATE TABLE kept AS SELECT * FROM audit; ALTER TABLE audit DISABLE TRIGGER USER; "
				 "%s; ALTER "
				 "TABLE audit ENABLE TRIGGER USER",
				 row);
			sl_pg_exec(&pg, sql);
			if (chain_is_whole(&broken) || broken < id || broken > id + 1000)
				fail_msg("%s: not seen, or at %lld", row, (long long)broken);
			sl_pg_exec(
				&pg,
				"ALTER TABLE audit DISABLE TRIGGER USER; TRUNCATE audit; INSERT INTO audit OVERRIDING "
				"SYSTEM VALUE SELECT * FROM kept; DROP TABLE kept; ALTER TABLE audit ENABLE TRIGGER "
				"USER");
			assert_true(chain_is_whole(&broken));
		}
	sl_bytes_unref(detail);
}

static void lines_of_many_at_once_make_one_chain(void **state)
{
	int64_t broken;
	forget();
	for (int i = 0; i < 200; i++)
		assert_int_equal(sl_store_audit(s, SL_STR("ann"), SL_STR("x.y"), SL_STR("t"), NULL, on_plain, NULL),
				 SL_OK);
	pthread_mutex_lock(&got.m);
	while (got.calls < 200)
		pthread_cond_wait(&got.changed, &got.m);
	pthread_mutex_unlock(&got.m);
	assert_true(chain_is_whole(&broken));
	assert_int_equal(sl_pg_count(&pg, "SELECT max(id) FROM audit"), 200);
}

static void a_change_and_its_line_of_the_trail_are_one(void **state)
{
	const struct sl_audit_by by = {SL_STR("ann"), SL_STR("x.y"), SL_STR("prices")};
	struct sl_bytes *body = text("{\"system\":\"x\"}"), *none = text("[]"),
			*price = text("[{\"provider\":\"\",\"model\":\"m\",\"input_nanousd\":1,\"output_nanousd\":2,"
				      "\"as_of\":\"2026-01-31\"}]"),
			*bad = text("[{\"provider\":null}]");
	const struct sl_template_row row = {.name = SL_STR("t"),
					    .title = SL_STR("T"),
					    .about = SL_STR("about"),
					    .category = SL_STR("own"),
					    .created_by = SL_STR("ann"),
					    .definition = body};
	struct {
		enum sl_code got, want;
		long lines;
	} steps[] = {
		{ASK(sl_store_agent_put(s, &by, SL_STR("a"), body, on_plain, NULL)), SL_OK, 1},
		{ASK(sl_store_agent_put(s, &by, SL_STR("a"), body, on_plain, NULL)), SL_OK, 2},
		{ASK(sl_store_agent_delete(s, &by, SL_STR("a"), on_plain, NULL)), SL_OK, 3},
		{ASK(sl_store_agent_delete(s, &by, SL_STR("a"), on_plain, NULL)), SL_NOT_FOUND, 3},
		{ASK(sl_store_template_add(s, &by, &row, on_plain, NULL)), SL_OK, 4},
		{ASK(sl_store_template_add(s, &by, &row, on_plain, NULL)), SL_CONFLICT, 4},
		{ASK(sl_store_template_delete(s, &by, SL_STR("t"), on_plain, NULL)), SL_OK, 5},
		{ASK(sl_store_template_delete(s, &by, SL_STR("t"), on_plain, NULL)), SL_NOT_FOUND, 5},
		{ASK(sl_store_price_replace(s, &by, price, on_plain, NULL)), SL_OK, 6},
	};
	for (size_t i = 0; i < SL_COUNT_OF(steps); i++)
		assert_int_equal(steps[i].got, steps[i].want);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM audit"), 6);
	assert_int_equal(
		sl_pg_count(&pg, "SELECT count(*) FROM audit WHERE target = 'a' AND actor = 'ann' AND action = 'x.y'"),
		3);
	assert_int_equal(ASK(sl_store_price_list(s, on_json, NULL)), SL_OK);
	assert_string_equal(got.json->data,
			    "[{\"provider\":\"\",\"model\":\"m\",\"input_nanousd\":1,\"output_nanousd\":2,"
			    "\"as_of\":\"2026-01-31\"}]");
	assert_int_not_equal(ASK(sl_store_price_replace(s, &by, bad, on_plain, NULL)), SL_OK); /* all or nothing */
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM prices"), 1);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM audit"), 6);
	assert_int_equal(ASK(sl_store_price_replace(s, &by, none, on_plain, NULL)), SL_OK);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM prices"), 0);
	sl_bytes_unref(body);
	sl_bytes_unref(none);
	sl_bytes_unref(price);
	sl_bytes_unref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(audit_rows_come_newest_first),
		STORE_TEST(the_trail_is_filtered_by_who_and_what),
		STORE_TEST(a_change_and_its_line_of_the_trail_are_one),
		STORE_TEST(a_line_that_is_changed_or_removed_shows),
		STORE_TEST(lines_of_many_at_once_make_one_chain),
	};
	return cmocka_run_group_tests_name("store/audit", tests, store_world_open, store_world_close);
}
