/* The pool of connections under all queries, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <unistd.h>

#include "base/limits.h"
#include "store/settings.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(queries_are_refused_while_too_much_waits),
		STORE_TEST(queries_are_taken_again_when_those_before_have_ended),
		STORE_TEST(many_queries_share_a_bounded_pool),
		STORE_TEST(a_broken_pool_connection_is_replaced_unseen),
		STORE_TEST(an_idle_exclusive_store_asks_nothing),
	};
	return cmocka_run_group_tests_name("store/pool", tests, store_world_open, store_world_close);
}
