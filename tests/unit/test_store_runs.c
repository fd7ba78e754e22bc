/* The list of runs, pages of their events, and the sums of a server, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/journal.h"
#include "store/overview.h"
#include "store/runs.h"

static void on_run(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	ANSWER(got.run = run);
}

static int listed(struct sl_run_filter f)
{
	assert_int_equal(ASK(sl_store_run_list(s, &f, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	return (int)json_object_array_length(sl_json_get(o, "items"));
}

static void the_run_list_filters_and_pages(void **state)
{
	char id[SL_UUID_TEXT_BYTES], cursor[128] = "";
	int64_t before = sl_uuid_wall_ms(sl_uuid_new());
	struct sl_run_id failed = make_run("a", "failed", NULL, 1);
	make_run("a", "running", "[\"x\",\"y\"]", 1);
	make_run("b", "paused", "[\"y\"]", 1);
	assert_int_equal(listed((struct sl_run_filter){0}), 3);
	assert_int_equal(listed((struct sl_run_filter){.statuses = {SL_STR("failed")}, .n_statuses = 1}), 1);
	SL_AUTO_JSON one = json();
	struct json_object *item = json_object_array_get_idx(sl_json_get(one, "items"), 0);
	sl_uuid_format(failed.u, id);
	assert_string_equal(sl_json_get_z(item, "id"), id);
	assert_string_equal(sl_json_get_z(sl_json_get(item, "error"), "code"), "timeout");
	assert_true(sl_json_get_f64(item, "cost_usd", 0) > 0.00149 && sl_json_get_f64(item, "cost_usd", 0) < 0.00151);
	assert_int_equal(sl_json_get_i64(sl_json_get(item, "usage"), "input_tokens", 0), 7);
	assert_int_equal(
		listed((struct sl_run_filter){.statuses = {SL_STR("running"), SL_STR("paused")}, .n_statuses = 2}), 2);
	assert_int_equal(listed((struct sl_run_filter){.workflow = SL_STR("a")}), 2);
	assert_int_equal(listed((struct sl_run_filter){.tag = SL_STR("y"), .project = SL_STR("default")}), 2);
	assert_int_equal(listed((struct sl_run_filter){.tag = SL_STR("x"), .workflow = SL_STR("b")}), 0);
	assert_int_equal(listed((struct sl_run_filter){.since_ms = before}), 3);
	assert_int_equal(listed((struct sl_run_filter){.since_ms = before + 3600000}), 0);
	int total = 0;
	for (int page = 0; page < 4; page++) {
		total += listed((struct sl_run_filter){.limit = 1, .cursor = sl_str(cursor)});
		SL_AUTO_JSON o = json();
		if (!sl_json_get_z(o, "next_cursor"))
			break;
		snprintf(cursor, sizeof(cursor), "%s", sl_json_get_z(o, "next_cursor"));
	}
	assert_int_equal(total, 3);
	assert_int_equal(sl_store_run_list(s, &(struct sl_run_filter){.cursor = SL_STR("6161")}, on_json, NULL),
			 SL_BAD_REQUEST);
}

static void a_fork_says_in_the_list_of_whom(void **state)
{
	static const char of[] =
		"{\"run\":\"01890000-0000-7000-8000-000000000001\",\"at_seq\":7,\"from\":\"r#2/judge\"}";
	struct sl_run_id fork = {sl_uuid_new()};
	char id[SL_UUID_TEXT_BYTES], first[256];
	make_run("forks", "running", NULL, 2);
	snprintf(first, sizeof(first), "{\"by\":\"forked_from\",\"forked_from\":%s}", of);
	make_run_with(fork, "forks", "running", NULL, 2, first);
	sl_uuid_format(fork.u, id);
	assert_int_equal(listed((struct sl_run_filter){.workflow = SL_STR("forks")}), 2);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; i < 2; i++) {
		struct json_object *item = json_object_array_get_idx(items, i),
				   *from = sl_json_get(item, "forked_from");
		if (strcmp(sl_json_get_z(item, "id"), id) != 0) {
			assert_null(from);
			continue;
		}
		assert_non_null(from);
		assert_string_equal(
			json_object_to_json_string_ext(from, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			of);
	}
}

static void events_come_page_by_page_after_a_seq(void **state)
{
	struct sl_run_id id = make_run("a", "running", NULL, 25), nobody = {sl_uuid_new()};
	assert_int_equal(ASK(sl_store_run_events(s, id, 0, 10, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	assert_int_equal(json_object_array_length(sl_json_get(o, "items")), 10);
	assert_string_equal(sl_json_get_z(o, "next_cursor"), "10");
	struct json_object *item = json_object_array_get_idx(sl_json_get(o, "items"), 0);
	assert_int_equal(sl_json_get_i64(item, "seq", 0), 1);
	assert_string_equal(sl_json_get_z(item, "ts"), "2025-11-20T17:00:00.000Z");
	assert_int_equal(sl_json_get_i64(sl_json_get(item, "data"), "n", 0), 1);
	assert_int_equal(ASK(sl_store_run_events(s, id, 20, 10, on_json, NULL)), SL_OK);
	SL_AUTO_JSON last = json();
	assert_int_equal(json_object_array_length(sl_json_get(last, "items")), 5);
	assert_null(sl_json_get(last, "next_cursor"));
	assert_int_equal(ASK(sl_store_run_events(s, id, 25, 10, on_json, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_run_events(s, nobody, 0, 10, on_json, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_run_records(s, id, 3, 5, on_run, NULL)), SL_OK);
	assert_int_equal(got.run->n_records, 5);
	assert_int_equal(got.run->records[0].seq, 4);
	assert_string_equal(got.run->records[4].event, "progress");
	assert_int_equal(ASK(sl_store_run_records(s, nobody, 3, 5, on_run, NULL)), SL_NOT_FOUND);
}

static struct sl_store_today today_sums;
static void on_today(void *arg, enum sl_code rc, const struct sl_store_today *t)
{
	ANSWER(today_sums = *t);
}

#define A "01000000-0000-7000-8000-000000000001"

static void todays_sums_are_counted(void **state)
{
	char sql[2000];
	struct sl_uuid now = sl_uuid_new(), later = sl_uuid_new();
	char id[SL_UUID_TEXT_BYTES], id2[SL_UUID_TEXT_BYTES];
	long long me = (long long)sl_store_instance(s);
	sl_uuid_format(now, id);
	sl_uuid_format(later, id2);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO runs (id, created_at, epoch, last_seq, version, priority, status, workflow, project, "
		 "owner, done, "
		 "reason, cost_microusd) VALUES ('%s', now(), 1, 1, 1, 0, 'running', 'w', 'p', %lld, false, NULL, 70), "
		 "('%s', "
		 "now(), 1, 1, 1, 0, 'paused', 'w', 'p', %lld, false, 'why', 5), ('" A
		 "', now(), 1, 1, 1, 0, 'running', 'w', 'p', 1, false, NULL, 1000)",
		 id, me, id2, me);
	sl_pg_exec(&pg, sql);
	assert_int_equal(ASK(sl_store_today(s, on_today, NULL)), SL_OK);
	assert_int_equal(today_sums.cost_microusd, 75); /* A was made in the last century */
	assert_int_equal(today_sums.runs, 2);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO instances (id, started_at, expires_at, postmaster, host, pid, version) VALUES "
		 "(%lld, now(), now() + interval '1 h', now(), 'here', 7, 'v'), (3, now() - interval '1 d', now() - "
		 "interval '1 h', now(), 'gone', 8, 'v') ON CONFLICT (id) DO NOTHING",
		 me);
	sl_pg_exec(&pg, sql);
	assert_int_equal(ASK(sl_store_instances(s, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	struct json_object *self = json_object_array_get_idx(sl_json_get(o, "items"), 0),
			   *gone = json_object_array_get_idx(sl_json_get(o, "items"), 1);
	assert_true(sl_json_get_bool(self, "self", false) && sl_json_get_bool(self, "alive", false));
	assert_int_equal(sl_json_get_i64(self, "runs", 0), 2);
	assert_false(sl_json_get_bool(gone, "self", true) || sl_json_get_bool(gone, "alive", true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(the_run_list_filters_and_pages),
		STORE_TEST(a_fork_says_in_the_list_of_whom),
		STORE_TEST(events_come_page_by_page_after_a_seq),
		STORE_TEST(todays_sums_are_counted),
	};
	return cmocka_run_group_tests_name("store/runs", tests, store_world_open, store_world_close);
}
