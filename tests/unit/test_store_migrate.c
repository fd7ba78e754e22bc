/* Migrations: applied once, in turns, never a changed one, never a newer database; and the housekeeping they define. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <string.h>

#include "base/embed.h"
#include "store/migrate.h"
#include "tests/lib/pg.h"

static struct sl_pg pg;

static const char first[] = "CREATE TABLE a (x integer); INSERT INTO a VALUES (1)";
static const char broken[] = "CREATE TABLE b (x integer); SELECT nonsense";
static const char second[] = "CREATE TABLE b (x integer)";
#define FILE_1                                                                                                         \
	{                                                                                                              \
		"0001_first.sql", first, sizeof(first) - 1, "11"                                                       \
	}

static void applied_twice_changes_nothing(void **state)
{
	struct sl_migrations m;
	struct sl_error err = {0};
	uint32_t applied = 99;
	assert_int_equal(sl_migrate_state(pg.url, &m, &err), SL_OK);
	assert_int_equal(m.pending, m.n);
	sl_migrations_fini(&m);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
			 0); /* looking changes nothing */
	assert_int_equal(sl_migrate_up(pg.url, &applied, &err), SL_OK);
	assert_true(applied >= 2);
	assert_int_equal(sl_migrate_up(pg.url, &applied, &err), SL_OK);
	assert_int_equal(applied, 0);
	assert_int_equal(sl_migrate_state(pg.url, &m, &err), SL_OK);
	assert_int_equal(m.pending, 0);
	for (size_t i = 0; i < m.n; i++) {
		assert_int_equal(m.items[i].status, SL_MIGRATION_APPLIED);
		assert_true(m.items[i].applied_ms > 0);
	}
	assert_int_equal(m.items[m.n - 1].version, sl_migrate_wanted());
	sl_migrations_fini(&m);
}

static void a_changed_file_is_refused_and_named(void **state)
{
	struct sl_migrations m;
	struct sl_error err = {0};
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_OK);
	sl_pg_exec(&pg, "UPDATE schema_migrations SET sha256 = 'other' WHERE version = 1");
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_CONFLICT);
	assert_non_null(strstr(err.text, "0001_journal.sql"));
	assert_int_equal(sl_migrate_state(pg.url, &m, &err), SL_OK);
	assert_int_equal(m.items[0].status, SL_MIGRATION_CHANGED);
	sl_migrations_fini(&m);
}

static void a_newer_database_is_refused(void **state)
{
	struct sl_error err = {0};
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_OK);
	sl_pg_exec(&pg, "INSERT INTO schema_migrations (version, name, sha256) VALUES (9999, '9999_later.sql', 'x')");
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_CONFLICT);
	assert_non_null(strstr(err.text, "newer than this binary"));
	assert_non_null(strstr(err.text, "9999_later.sql"));
}

static void a_file_that_fails_leaves_nothing_of_itself(void **state)
{
	static const struct sl_embedded with_broken[] = {FILE_1, {"0002_b.sql", broken, sizeof(broken) - 1, "22"}, {0}};
	static const struct sl_embedded mended[] = {FILE_1, {"0002_b.sql", second, sizeof(second) - 1, "23"}, {0}};
	struct sl_error err = {0};
	uint32_t applied = 0;
	assert_int_equal(sl_migrate_up_files(pg.url, with_broken, &applied, &err), SL_INTERNAL);
	assert_int_equal(applied, 1);
	assert_non_null(strstr(err.text, "0002_b.sql"));
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM a"), 1);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM pg_tables WHERE tablename = 'b'"), 0);
	assert_int_equal(sl_migrate_up_files(pg.url, mended, &applied, &err), SL_OK);
	assert_int_equal(applied, 1);
}

static void *migrate_thread(void *arg)
{
	struct sl_error err = {0};
	return sl_migrate_up(pg.url, arg, &err) == SL_OK ? arg : NULL;
}

static void servers_that_start_together_take_turns(void **state)
{
	pthread_t t[4];
	uint32_t applied[4] = {0}, sum = 0;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, migrate_thread, &applied[i]), 0);
	for (int i = 0; i < 4; i++) {
		void *ok;
		pthread_join(t[i], &ok);
		assert_non_null(ok);
		sum += applied[i];
	}
	assert_int_equal(sum, sl_pg_count(&pg, "SELECT count(*) FROM schema_migrations"));
}

static void no_server_is_unavailable_and_said(void **state)
{
	struct sl_error err = {0};
	assert_int_equal(sl_migrate_up("host=/nonexistent dbname=x", NULL, &err), SL_UNAVAILABLE);
	assert_non_null(strstr(err.text, "cannot connect"));
}

static void a_run_of_today_lies_in_a_partition_of_its_week(void **state)
{
	struct sl_error err = {0};
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_OK);
	sl_pg_exec(&pg, "INSERT INTO run_events SELECT sluice_uuid_at(now()), now(), 1, 1, 'x', NULL, '{}', NULL");
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM run_events_default"), 0);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM run_events"), 1);
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_partitions_make(2)"), 0); /* they are there */
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_partitions_make(4)"), 4); /* two more weeks of each table */
	sl_pg_exec(&pg, "INSERT INTO run_chunks VALUES (sluice_uuid_at(now()), '\\x00', '\\x01')");
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM run_chunks_default"), 0);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM sluice_partitions('run_events') e JOIN "
					  "sluice_partitions('run_chunks') c USING (low, high)"),
			 5);
	assert_int_equal(
		sl_pg_count(
			&pg,
			"SELECT (abs(extract(epoch FROM sluice_uuid_time(sluice_uuid_at('2026-03-04 05:06:07.891')) - "
			"'2026-03-04 05:06:07.891'::timestamptz)) < 0.002)::int"),
		1);
}

static void retention_drops_a_week_only_when_all_its_runs_are_done_and_old(void **state)
{
	struct sl_error err = {0};
	assert_int_equal(sl_migrate_up(pg.url, NULL, &err), SL_OK);
	sl_pg_exec(
		&pg,
		"CREATE TABLE old PARTITION OF run_events FOR VALUES FROM (sluice_uuid_at(now() - interval '60 days')) "
		"TO (sluice_uuid_at(now() - interval '53 days'));"
		"CREATE TABLE old_chunks PARTITION OF run_chunks FOR VALUES FROM (sluice_uuid_at(now() - interval '60 "
		"days')) TO (sluice_uuid_at(now() - interval '53 days'))");
	sl_pg_exec(
		&pg,
		"INSERT INTO runs (id, created_at, finished_at, epoch, last_seq, version, priority, done, status, "
		"workflow, project) "
		"SELECT sluice_uuid_at(now() - interval '59 days' + n * interval '1 s'), now() - interval '59 days', "
		"now() - interval '58 days', 1, 1, 0, 0, true, 'succeeded', 'w', 'p' FROM generate_series(1, 10) n");
	sl_pg_exec(&pg, "INSERT INTO run_events SELECT id, now(), 1, 1, 'x', NULL, '{}', NULL FROM runs;"
			"INSERT INTO run_chunks SELECT id, '\\x00', '\\x01' FROM runs");
	sl_pg_exec(&pg, "INSERT INTO call_ledger SELECT id, gen_random_uuid(), 'a', 1, 'llm', 'cancelled', 'p', '', "
			"'', now(), NULL, NULL, false, 0, 0, 0, 0, true, 0, 0 FROM runs, generate_series(1, 2)");
	sl_pg_exec(&pg, "UPDATE runs SET done = false WHERE id = (SELECT min(id::text)::uuid FROM runs)");
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_retention('30 days', 6)"), 6); /* in steps */
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_retention('30 days', 6)"), 3);
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_retention('30 days', 6)"), 0);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM runs"), 1); /* the unfinished one keeps its week */
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM call_ledger"), 2); /* and its called-off calls */
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM pg_tables WHERE tablename IN ('old', 'old_chunks')"),
			 2);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM run_chunks"), 10);
	sl_pg_exec(&pg, "UPDATE runs SET done = true");
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_retention('30 days', 6)"), 1);
	assert_int_equal(sl_pg_count(&pg, "SELECT sluice_retention('30 days', 6)"), 0);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM pg_tables WHERE tablename IN ('old', 'old_chunks')"),
			 0);
	assert_int_equal(
		sl_pg_count(&pg, "SELECT (SELECT count(*) FROM run_events) + (SELECT count(*) FROM run_chunks)"), 0);
}

static int group_setup(void **state)
{
	sl_pg_start(&pg, SL_PG_EMPTY);
	return 0;
}

static int group_teardown(void **state)
{
	sl_pg_stop(&pg);
	return 0;
}

static int blank(void **state)
{
	sl_pg_exec(&pg, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(applied_twice_changes_nothing, blank),
		cmocka_unit_test_setup(a_changed_file_is_refused_and_named, blank),
		cmocka_unit_test_setup(a_newer_database_is_refused, blank),
		cmocka_unit_test_setup(a_file_that_fails_leaves_nothing_of_itself, blank),
		cmocka_unit_test_setup(servers_that_start_together_take_turns, blank),
		cmocka_unit_test_setup(no_server_is_unavailable_and_said, blank),
		cmocka_unit_test_setup(a_run_of_today_lies_in_a_partition_of_its_week, blank),
		cmocka_unit_test_setup(retention_drops_a_week_only_when_all_its_runs_are_done_and_old, blank),
	};
	return cmocka_run_group_tests_name("store/migrate", tests, group_setup, group_teardown);
}
