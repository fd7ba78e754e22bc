/* What calls have cost, and the ledger of those that were called off, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "store/ledger.h"
#include "store/spend.h"

static void on_spend(void *arg, enum sl_code rc, const struct sl_stored_spend *items, size_t n)
{
	ANSWER(got.n = n; if (n) {
		snprintf(got.name, sizeof(got.name), "%s", items[0].project);
		snprintf(got.config, sizeof(got.config), "%lld %llu %lld", (long long)items[0].day,
			 (unsigned long long)items[0].tokens, (long long)items[0].cost_microusd);
	});
}

static void spending_is_kept_as_totals_of_a_day(void **state)
{
	char today[64], expected[64];
	sl_pg_text(&pg, "SELECT ((now() AT TIME ZONE 'UTC')::date - date '1970-01-01')::text", today, sizeof(today));
	int64_t day = strtoll(today, NULL, 10);
	assert_int_equal(ASK(sl_store_spend_put(s, SL_STR("p"), day, 100, 7, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_spend_put(s, SL_STR("p"), day, 150, 9, on_plain, NULL)), SL_OK);
	sl_pg_exec(&pg, "INSERT INTO spend SELECT project, day, 42, 1000, 1 FROM spend"); /* another server's */
	assert_int_equal(ASK(sl_store_spend_list(s, on_spend, NULL)), SL_OK);
	assert_int_equal(got.n, 1);
	assert_string_equal(got.name, "p");
	snprintf(expected, sizeof(expected), "%lld 1150 10", (long long)day);
	assert_string_equal(got.config, expected);
	sl_pg_exec(&pg, "INSERT INTO spend SELECT 'p', day - 100 - n, 1, 5, 0 FROM spend, generate_series(1, 30) n "
			"WHERE instance = 42");
	assert_int_equal(ASK(sl_store_spend_list(s, on_spend, NULL)), SL_OK);
	assert_int_equal(got.n, 2); /* what is older than forty days is one sum */
}

static void called_off_calls_are_listed_once_with_their_run(void **state)
{
	struct sl_run_id run = make_run("w", "cancelled", "", 1);
	struct sl_call_row rows[] = {
		{.id = sl_uuid_new(),
		 .run = run,
		 .path = (char[]){"refine#2/\"x\""},
		 .attempt = 3,
		 .kind = "llm",
		 .reason = "cancelled",
		 .provider = (char[]){"openai"},
		 .profile = (char[]){"main"},
		 .model = (char[]){"m"},
		 .ordered_ms = 1700000000000,
		 .closed_ms = 1700000000001,
		 .close_us = 321,
		 .bytes = 1240,
		 .chunks = 31,
		 .input_tokens = 7,
		 .output_tokens = 310,
		 .estimated = true,
		 .cost_microusd = 500000,
		 .http_status = 200},
		{.id = sl_uuid_new(),
		 .run = run,
		 .attempt = 1,
		 .kind = "http",
		 .reason = "timeout",
		 .ordered_ms = 1700000000005},
	};
	for (int i = 0; i < 2; i++) /* again, as after a lost reply */
		assert_int_equal(ASK(sl_store_calls_put(s, rows, 2, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_calls_of(s, run, on_json, NULL)), SL_OK);
	assert_string_equal(
		got.json->data,
		"{\"items\":[{\"node_id\":\"refine#2/"
		"\\\"x\\\"\",\"attempt\":3,\"kind\":\"llm\",\"reason\":\"cancelled\","
		"\"provider\":\"openai\",\"profile\":\"main\",\"model\":\"m\",\"requested_at\":\"2023-11-14T22:13:20."
		"000Z\","
		"\"closed_at\":\"2023-11-14T22:13:20.001Z\",\"close_us\":321,\"closed\":\"socket\",\"bytes\":1240,"
		"\"chunks\":31,\"input_tokens\":7,\"output_tokens\":310,\"estimated\":true,\"estimated_cost_usd\":0.5,"
		"\"http_status\":200},{\"node_id\":\"\",\"attempt\":1,\"kind\":\"http\",\"reason\":\"timeout\","
		"\"provider\":"
		"\"\",\"profile\":\"\",\"model\":\"\",\"requested_at\":\"2023-11-14T22:13:20.005Z\",\"closed\":"
		"\"none\","
		"\"bytes\":0,\"chunks\":0,\"input_tokens\":0,\"output_tokens\":0,\"estimated\":false,\"estimated_cost_"
		"usd\":0,"
		"\"http_status\":0}],\"next_cursor\":null}");
	run.u.b[15] ^= 1;
	assert_int_equal(ASK(sl_store_calls_of(s, run, on_json, NULL)), SL_NOT_FOUND);
}

static void of_many_called_off_calls_the_first_are_listed(void **state)
{
	struct sl_run_id run = make_run("w", "cancelled", "", 1);
	struct sl_call_row row = {
		.id = sl_uuid_new(), .run = run, .kind = "llm", .reason = "cancelled", .ordered_ms = 1700000000000};
	assert_int_equal(ASK(sl_store_calls_put(s, &row, 1, on_plain, NULL)), SL_OK);
	sl_pg_exec(
		&pg,
		"INSERT INTO call_ledger SELECT (r).* FROM (SELECT jsonb_populate_record(c, jsonb_build_object('id', "
		"'00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'), 'path', 'n' || i)) r FROM call_ledger c, "
		"generate_series(1, 10001) i) x");
	sl_pg_exec(&pg, "DELETE FROM call_ledger WHERE path = ''");
	assert_int_equal(ASK(sl_store_calls_of(s, run, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items");
	assert_int_equal(json_object_array_length(items), SL_LIMIT_LEDGER_ITEMS);
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, 0), "node_id"), "n1");
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, SL_LIMIT_LEDGER_ITEMS - 1), "node_id"),
			    "n10000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(spending_is_kept_as_totals_of_a_day),
		STORE_TEST(called_off_calls_are_listed_once_with_their_run),
		STORE_TEST(of_many_called_off_calls_the_first_are_listed),
	};
	return cmocka_run_group_tests_name("store/spend", tests, store_world_open, store_world_close);
}
