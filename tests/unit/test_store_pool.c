/* The pool of connections under all queries, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "store/settings.h"
#include "store/workflows.h"

static void many_queries_share_a_bounded_pool(void **state)
{
	struct sl_store_config config;
	struct sl_store *small = NULL;
	struct sl_store_stats stats;
	struct sl_error err = {0};
	sl_store_config_init(&config);
	config.url = pg.url;
	config.pool_size = 2;
	config.max_overflow = 1;
	config.journal_connections = 1;
	assert_int_equal(sl_store_open(&config, &small, &err), SL_OK);
	assert_int_equal(sl_store_wait(small, 20000, &err), SL_OK);
	forget();
	for (int i = 0; i < 300; i++)
		assert_int_equal(sl_store_setting_get(small, SL_STR("x"), on_json, NULL), SL_OK);
	long most = 0;
	pthread_mutex_lock(&got.m);
	while (got.calls < 300) {
		pthread_cond_wait(&got.changed, &got.m);
		sl_store_stats(small, &stats);
		if (stats.connections > most)
			most = stats.connections;
	}
	pthread_mutex_unlock(&got.m);
	assert_int_equal(got.rc, SL_NOT_FOUND);
	assert_true(most <= 2 + 1 + 1 + 1); /* the journal's, and the one that listens */
	sl_store_close(small, 1000);
}

static void a_broken_pool_connection_is_replaced_unseen(void **state)
{
	assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	for (int i = 0; i < 5; i++) {
		sl_pg_exec(&pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
				"'sluice queries'");
		assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	}
}

static void an_idle_exclusive_store_asks_nothing(void **state)
{
	/* The idle_since of its sessions does not move: nobody used them meanwhile. */
	const char *used =
		"SELECT coalesce(max(extract(epoch FROM state_change) * 1000000)::bigint, 0) FROM pg_stat_activity "
		"WHERE application_name LIKE 'sluice%'";
	long before = 0, now = sl_pg_count(&pg, used);
	for (int i = 0; i < 100 && before != now; i++) { /* lost connections of an earlier test may come back still */
		before = now;
		usleep(300000);
		now = sl_pg_count(&pg, used);
	}
	usleep(300000); /* this is the one thing that only time can show */
	assert_int_equal(sl_pg_count(&pg, used), before);
}

/* The letter of the one that ends first. */
static char first_ended;

static void on_ended(void *arg, enum sl_code rc)
{
	ANSWER(first_ended = first_ended ? first_ended : *(const char *)arg);
}

static void on_first_claim(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n)
{
	on_ended(arg, rc);
	free(runs);
}

static void on_first_load(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	on_ended(arg, rc);
	sl_stored_run_free(run);
}

/* PostgreSQL is away, and whoever reads does not wait for an answer. */
static void queries_are_refused_while_too_much_waits(void **state)
{
	static char a_load[] = "load", a_claim[] = "claim";
	struct sl_store_config config;
	struct sl_store_stats stats;
	struct sl_store *away = NULL;
	struct sl_error err = {0};
	enum sl_code rc = SL_OK;
	int taken = 0;
	forget();
	sl_store_config_init(&config);
	config.url = "host=/nonexistent dbname=x";
	config.query_timeout_ms = config.pool_timeout_ms = 600000; /* none ends before it is said so */
	assert_int_equal(sl_store_open(&config, &away, &err), SL_OK);
	while (rc == SL_OK && taken < 1000000) {
		rc = sl_store_load(away, (struct sl_run_id){sl_uuid_new()}, on_first_load, a_load);
		taken += rc == SL_OK;
	}
	assert_int_equal(rc, SL_UNAVAILABLE);
	assert_in_range(taken, 1000, 100000);
	sl_store_stats(away, &stats);
	assert_in_range(stats.pool_waiting_bytes, SL_LIMIT_QUERY_QUEUE_BYTES, SL_LIMIT_QUERY_QUEUE_BYTES + 4096);
	assert_int_equal(sl_store_setting_put(away, SL_STR("k"), NULL, on_ended, a_load), SL_UNAVAILABLE);
	/* What was done is written down as long as there is room beyond, and what the store itself asks is not refused
	 * and goes first. */
	assert_int_equal(sl_store_audit(away, SL_STR("ada"), SL_STR("run.pause"), SL_STR("x"), NULL, on_ended, a_load),
			 SL_OK);
	assert_int_equal(sl_store_claim(away, 5, on_first_claim, a_claim), SL_OK);
	do {
		usleep(1000);
		sl_store_stats(away, &stats);
	} while (stats.pool_waiting < (unsigned)taken + 2);
	sl_store_close(away, 10);
	assert_int_equal(got.calls, taken + 2); /* each once, and none that was refused */
	assert_int_equal(got.rc, SL_CANCELLED);
	assert_int_equal(first_ended, 'c');
}

static void queries_are_taken_again_when_those_before_have_ended(void **state)
{
	static char text[16 << 20];
	struct sl_store_config config;
	struct sl_store_stats stats;
	struct sl_store *away = NULL;
	struct sl_error err = {0};
	enum sl_code rc = SL_OK;
	SL_AUTO(sl_bytes) large = sl_bytes_new(text, sizeof(text));
	sl_store_config_init(&config);
	config.url = "host=/nonexistent dbname=x";
	config.query_timeout_ms = 3000;
	assert_int_equal(sl_store_open(&config, &away, &err), SL_OK);
	while (rc == SL_OK)
		rc = sl_store_setting_put(away, SL_STR("k"), large, NULL, NULL);
	assert_int_equal(rc, SL_UNAVAILABLE);
	do {
		usleep(1000);
		sl_store_stats(away, &stats);
	} while (stats.pool_waiting_bytes > 0);
	assert_int_equal(sl_store_setting_put(away, SL_STR("k"), large, NULL, NULL), SL_OK);
	sl_store_close(away, 10);
}

/* ---- reads that many make at once */

/* Whoever asked: what was answered, and when. */
static struct asker {
	int calls, version;
	enum sl_code rc;
	char definition[16];
	uint64_t from_ms, until_ms;
} askers[21];

static void on_shared(void *arg, enum sl_code rc, struct sl_stored_workflow *w)
{
	struct asker *a = arg;
	a->calls++;
	a->rc = rc;
	a->until_ms = sl_clock_mono_ms();
	a->version = w ? w->version : 0;
	snprintf(a->definition, sizeof(a->definition), "%s", w ? w->definition->data : "");
	sl_stored_workflow_free(w);
	ANSWER();
}

static void on_version(void *arg, enum sl_code rc, int32_t version, int64_t created_ms)
{
	ANSWER(got.version = version);
}

static void put_workflow(const char *name, const char *definition)
{
	SL_AUTO(sl_bytes) d = text(definition);
	assert_int_equal(ASK(sl_store_workflow_put(s, SL_WORKFLOW_UPSERT, sl_str(name), SL_STR(""), d, SL_STR("me"),
						   on_version, NULL)),
			 SL_OK);
}

static void wait_for(int calls)
{
	pthread_mutex_lock(&got.m);
	while (got.calls < calls)
		pthread_cond_wait(&got.changed, &got.m);
	pthread_mutex_unlock(&got.m);
}

static void command(PGconn *c, const char *sql)
{
	PGresult *r = PQexec(c, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		fail_msg("%s: %s", sql, PQerrorMessage(c));
	PQclear(r);
}

/* The first read has its snapshot and then stands at a lock, while the workflow gets a version and others ask. */
static void a_read_is_shared_only_by_those_who_asked_before_it(void **state)
{
	struct sl_store_stats stats;
	const size_t n = SL_COUNT_OF(askers);
	memset(askers, 0, sizeof(askers));
	put_workflow("a", "{\"a\":1}");
	put_workflow("b", "{\"b\":1}");
	PGconn *locks = PQconnectdb(pg.url);
	command(locks, "SELECT pg_advisory_lock(4711)");
	sl_pg_exec(&pg, "CREATE FUNCTION stand() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
			"PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END $$;"
			"ALTER TABLE workflow_versions RENAME TO kept;"
			"CREATE VIEW workflow_versions AS SELECT * FROM kept WHERE stand()");
	forget();
	assert_int_equal(sl_store_workflow_get(s, SL_STR("a"), 0, on_shared, &askers[0]), SL_OK);
	while (sl_pg_count(&pg, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT "
				"granted") == 0)
		usleep(1000);
	sl_pg_exec(&pg, "INSERT INTO kept (name, version, definition) VALUES ('a', 2, '{\"a\":2}');"
			"UPDATE workflows SET latest = 2 WHERE name = 'a'");
	for (size_t i = 1; i < n; i++) /* "a", "b", and an older version of "a" */
		assert_int_equal(sl_store_workflow_get(s, i % 3 == 1 ? SL_STR("b") : SL_STR("a"), i % 3 == 2, on_shared,
						       &askers[i]),
				 SL_OK);
	/* What was posted before this has arrived when it is answered. */
	assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	sl_store_stats(s, &stats);
	forget();
	command(locks, "SELECT pg_advisory_unlock(4711)");
	wait_for((int)n);
	PQfinish(locks);
	sl_pg_exec(&pg, "DROP VIEW workflow_versions; ALTER TABLE kept RENAME TO workflow_versions; DROP FUNCTION "
			"stand()");
	assert_int_equal(stats.connections_busy, 3); /* one for each question */
	assert_int_equal(stats.pool_waiting, 0);
	assert_int_equal(askers[0].version, 1);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(askers[i].calls, 1);
		assert_int_equal(askers[i].rc, SL_OK);
		assert_string_equal(askers[i].definition, i % 3 == 1             ? "{\"b\":1}"
							  : i % 3 == 2 || i == 0 ? "{\"a\":1}"
										 : "{\"a\":2}");
	}
	memset(askers, 0, sizeof(askers)); /* and one that is not there */
	forget();
	for (size_t i = 0; i < n; i++)
		assert_int_equal(sl_store_workflow_get(s, SL_STR("none"), 0, on_shared, &askers[i]), SL_OK);
	wait_for((int)n);
	for (size_t i = 0; i < n; i++)
		assert_true(askers[i].calls == 1 && askers[i].rc == SL_NOT_FOUND);
}

/* However many share a read that waits for PostgreSQL: nobody's time is over before it is. */
static void each_who_shares_a_read_has_a_time_of_his_own(void **state)
{
	struct sl_store_config config;
	struct sl_store *away = NULL;
	struct sl_error err = {0};
	const int n = 6;
	memset(askers, 0, sizeof(askers));
	forget();
	sl_store_config_init(&config);
	config.url = "host=/nonexistent dbname=x";
	config.query_timeout_ms = 400;
	assert_int_equal(sl_store_open(&config, &away, &err), SL_OK);
	for (int i = 0; i < n; i++) {
		askers[i].from_ms = sl_clock_mono_ms();
		assert_int_equal(sl_store_workflow_get(away, SL_STR("a"), 0, on_shared, &askers[i]), SL_OK);
		usleep(60000);
	}
	wait_for(n);
	for (int i = 0; i < n; i++) {
		assert_int_equal(askers[i].calls, 1);
		assert_int_equal(askers[i].rc, SL_UNAVAILABLE);
		assert_true(askers[i].until_ms - askers[i].from_ms >= 400);
	}
	memset(askers, 0, sizeof(askers)); /* and at the end all of them end, whether they wait or are held */
	forget();
	for (int i = 0; i < n; i++)
		assert_int_equal(sl_store_workflow_get(away, SL_STR("a"), 0, on_shared, &askers[i]), SL_OK);
	sl_store_close(away, 10);
	for (int i = 0; i < n; i++)
		assert_int_equal(askers[i].calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(queries_are_refused_while_too_much_waits),
		STORE_TEST(queries_are_taken_again_when_those_before_have_ended),
		STORE_TEST(a_read_is_shared_only_by_those_who_asked_before_it),
		STORE_TEST(each_who_shares_a_read_has_a_time_of_his_own),
		STORE_TEST(many_queries_share_a_bounded_pool),
		STORE_TEST(a_broken_pool_connection_is_replaced_unseen),
		STORE_TEST(an_idle_exclusive_store_asks_nothing),
	};
	return cmocka_run_group_tests_name("store/pool", tests, store_world_open, store_world_close);
}
