/* What one of two stores on a PostgreSQL changes and the other is told of; and what is told when it may have been
 * missed.
 *
 * News come in the order of the commits: when a store has heard of a later change, it has heard of all before it. So
 * what shall not be told is looked for behind one that is. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "store/agents.h"
#include "store/cache.h"
#include "store/prices.h"
#include "store/profiles.h"
#include "store/settings.h"
#include "store/tokens.h"
#include "tests/lib/pg.h"

#define PATIENCE_S 60

static struct sl_pg pg;

static struct {
	pthread_mutex_t m;
	pthread_cond_t changed;
	int answers;
	enum sl_code rc;
} said = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

struct server {
	struct sl_store *store;
	unsigned heard[SL_STORE_NEWS_KINDS]; /* [lock said.m] */
};
static struct server a, b;

static void on_news(void *ctx, enum sl_store_news news)
{
	struct server *s = ctx;
	pthread_mutex_lock(&said.m);
	s->heard[news]++;
	pthread_cond_broadcast(&said.changed);
	pthread_mutex_unlock(&said.m);
}

static void on_answer(void *arg, enum sl_code rc)
{
	pthread_mutex_lock(&said.m);
	said.rc = rc;
	said.answers++;
	pthread_cond_broadcast(&said.changed);
	pthread_mutex_unlock(&said.m);
}

static enum sl_code answer_of(enum sl_code called)
{
	assert_int_equal(called, SL_OK);
	pthread_mutex_lock(&said.m);
	while (!said.answers)
		pthread_cond_wait(&said.changed, &said.m);
	said.answers = 0;
	pthread_mutex_unlock(&said.m);
	return said.rc;
}

static unsigned heard(struct server *s, enum sl_store_news news)
{
	pthread_mutex_lock(&said.m);
	unsigned n = s->heard[news];
	pthread_mutex_unlock(&said.m);
	return n;
}

static void wait_heard(struct server *s, enum sl_store_news news, unsigned least)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	bool in_time = true;
	pthread_mutex_lock(&said.m);
	while (in_time && s->heard[news] < least)
		in_time = pthread_cond_timedwait(&said.changed, &said.m, &until) == 0;
	unsigned n = s->heard[news];
	pthread_mutex_unlock(&said.m);
	if (n < least)
		fail_msg("news %d came %u times of %u", (int)news, n, least);
}

static const struct sl_audit_by by = {SL_STR("someone"), SL_STR("x.y"), SL_STR("it")};

/* A change that the other one is told of: when it has heard of it, it has heard of all before it. */
static void setting_at(struct server *s)
{
	SL_AUTO(sl_bytes) json = sl_bytes_new("{}", 2);
	assert_int_equal(answer_of(sl_store_setting_put_by(s->store, &by, SL_STR("barrier"), json, on_answer, NULL)),
			 SL_OK);
}

static void open_one(struct server *s)
{
	struct sl_store_config config;
	struct sl_error err = {0};
	*s = (struct server){0};
	sl_store_config_init(&config);
	config.url = pg.url;
	config.sharing = SL_STORE_SHARED;
	config.on_news = on_news;
	config.ctx = s;
	if (sl_store_open(&config, &s->store, &err) != SL_OK || sl_store_wait(s->store, 30000, &err) != SL_OK)
		fail_msg("%s", err.text);
}

/* It has been told that anything may have changed. */
static void wait_all_heard(struct server *s, const unsigned *before)
{
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++)
		wait_heard(s, (enum sl_store_news)news, before[news] + 1);
}

static int setup(void **state)
{
	static const unsigned never[SL_STORE_NEWS_KINDS];
	open_one(&a);
	open_one(&b);
	wait_all_heard(&a, never);
	wait_all_heard(&b, never);
	return 0;
}

static int teardown(void **state)
{
	sl_store_close(a.store, 5000);
	sl_store_close(b.store, 5000);
	sl_pg_empty(&pg);
	return 0;
}

/* ---- the changes */

static const uint8_t key[SL_CACHE_KEY_BYTES] = {7};

static enum sl_code put_agent(struct sl_store *s)
{
	SL_AUTO(sl_bytes) body = sl_bytes_new("{}", 2);
	return sl_store_agent_put(s, &by, SL_STR("bea"), body, on_answer, NULL);
}
static enum sl_code delete_agent(struct sl_store *s)
{
	return sl_store_agent_delete(s, &by, SL_STR("bea"), on_answer, NULL);
}
static enum sl_code put_profile(struct sl_store *s)
{
	SL_AUTO(sl_bytes) body = sl_bytes_new("{}", 2);
	return sl_store_profile_put(s, &by, SL_STR("fast"), body, SL_PROFILE_SET_SECRETS, body, on_answer, NULL);
}
static enum sl_code delete_profile(struct sl_store *s)
{
	return sl_store_profile_delete(s, &by, SL_STR("fast"), on_answer, NULL);
}
static enum sl_code replace_prices(struct sl_store *s)
{
	SL_AUTO(sl_bytes) none = sl_bytes_new("[]", 2);
	return sl_store_price_replace(s, &by, none, on_answer, NULL);
}
static enum sl_code add_token(struct sl_store *s)
{
	const struct sl_stored_token t = {.id.b = {1}, .name = "ci", .role = "viewer", .hash = {1}, .last4 = "abcd"};
	return sl_store_token_add(s, &by, &t, on_answer, NULL);
}
static enum sl_code revoke_token(struct sl_store *s)
{
	return sl_store_token_revoke(s, &by, (struct sl_uuid){.b = {1}}, on_answer, NULL);
}
static enum sl_code put_setting(struct sl_store *s)
{
	SL_AUTO(sl_bytes) json = sl_bytes_new("{}", 2);
	return sl_store_setting_put_by(s, &by, SL_STR("limits"), json, on_answer, NULL);
}
static enum sl_code clear_cache(struct sl_store *s)
{
	return sl_store_cache_clear(s, SL_STR("llm"), on_answer, NULL);
}
static const struct {
	enum sl_code (*change)(struct sl_store *s);
	enum sl_store_news news;
} changes[] = {
	{put_agent, SL_STORE_NEWS_AGENTS},      {delete_agent, SL_STORE_NEWS_AGENTS},
	{put_profile, SL_STORE_NEWS_PROFILES},  {delete_profile, SL_STORE_NEWS_PROFILES},
	{replace_prices, SL_STORE_NEWS_PRICES}, {add_token, SL_STORE_NEWS_TOKENS},
	{revoke_token, SL_STORE_NEWS_TOKENS},   {put_setting, SL_STORE_NEWS_SETTINGS},
	{clear_cache, SL_STORE_NEWS_CACHE},
};

static void each_change_is_told_to_the_other_and_not_to_who_made_it(void **state)
{
	unsigned told[SL_STORE_NEWS_KINDS], mine[SL_STORE_NEWS_KINDS];
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++) {
		told[news] = heard(&b, (enum sl_store_news)news);
		mine[news] = heard(&a, (enum sl_store_news)news);
	}
	for (size_t i = 0; i < SL_COUNT_OF(changes); i++) {
		assert_int_equal(answer_of(changes[i].change(a.store)), SL_OK);
		wait_heard(&b, changes[i].news, ++told[changes[i].news]);
	}
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++) /* once each, and nothing else */
		assert_int_equal(heard(&b, (enum sl_store_news)news), told[news]);
	setting_at(&b);
	wait_heard(&a, SL_STORE_NEWS_SETTINGS, ++mine[SL_STORE_NEWS_SETTINGS]);
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++)
		assert_int_equal(heard(&a, (enum sl_store_news)news), mine[news]);
}

static void a_change_that_was_not_made_is_not_told(void **state)
{
	unsigned tokens = heard(&b, SL_STORE_NEWS_TOKENS), settings = heard(&b, SL_STORE_NEWS_SETTINGS);
	assert_int_equal(answer_of(add_token(a.store)), SL_OK);
	assert_int_equal(answer_of(add_token(a.store)), SL_CONFLICT);
	setting_at(&a);
	wait_heard(&b, SL_STORE_NEWS_SETTINGS, settings + 1);
	assert_int_equal(heard(&b, SL_STORE_NEWS_TOKENS), tokens + 1);
}

static void lose(struct server *s, void (*how)(void))
{
	unsigned before[SL_STORE_NEWS_KINDS];
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++)
		before[news] = heard(s, (enum sl_store_news)news);
	how();
	wait_all_heard(s, before);
}

static void terminate_listeners(void)
{
	sl_pg_exec(&pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice "
			"listens'");
}

static void restart(void)
{
	sl_pg_kill(&pg);
	sl_pg_revive(&pg);
}

static void whoever_could_not_listen_is_told_that_anything_may_have_changed(void **state)
{
	lose(&b, terminate_listeners);
	lose(&b, restart);
	/* and then again what is changed */
	unsigned agents = heard(&b, SL_STORE_NEWS_AGENTS);
	struct sl_error err = {0};
	assert_int_equal(sl_store_wait(a.store, 60000, &err), SL_OK);
	assert_int_equal(answer_of(put_agent(a.store)), SL_OK);
	wait_heard(&b, SL_STORE_NEWS_AGENTS, agents + 1);
}

/* ---- the cache: what was put by who has not heard yet that it was cleared is not kept */

static enum sl_code put_answer(struct server *s)
{
	SL_AUTO(sl_bytes) output = sl_bytes_new("{}", 2);
	return sl_store_cache_put(s->store, key, SL_STR("llm"), output, SL_STR("run/a"), 4102444800000ll, on_answer,
				  NULL);
}

static long answers(void)
{
	return sl_pg_count(&pg, "SELECT count(*) FROM cache");
}

/* How often it was cleared is asked after the first connection to listen; until then nothing is kept. */
static void wait_keeps(struct server *s)
{
	for (int i = 0; answers() == 0; i++) {
		assert_in_range(i, 0, 1000 * PATIENCE_S);
		assert_int_equal(answer_of(put_answer(s)), SL_OK);
		usleep(1000);
	}
}

#define BUMP                                                                                                           \
	"INSERT INTO settings AS was (key, value) VALUES ('cache', '{\"cleared\":1}') ON CONFLICT (key) DO UPDATE "    \
	"SET "                                                                                                         \
	"value = json_build_object('cleared', (was.value::json->>'cleared')::bigint + 1)"

static void an_answer_put_before_one_heard_of_a_clear_is_not_kept(void **state)
{
	unsigned before = heard(&b, SL_STORE_NEWS_CACHE);
	wait_keeps(&b);
	sl_pg_exec(&pg, BUMP "; DELETE FROM cache"); /* a clear that nobody is told of */
	assert_int_equal(answer_of(put_answer(&b)), SL_OK);
	assert_int_equal(answers(), 0);
	assert_int_equal(answer_of(clear_cache(a.store)), SL_OK);
	assert_int_equal(answer_of(put_answer(&a)), SL_OK); /* its own clear it has heard of */
	assert_int_equal(answers(), 1);
	wait_heard(&b, SL_STORE_NEWS_CACHE, before + 1);
	assert_int_equal(answer_of(put_answer(&b)), SL_OK);
	assert_int_equal(answer_of(clear_cache(b.store)), SL_OK);
	assert_int_equal(answers(), 0);
	/* missed, and asked when one listens again */
	sl_pg_exec(&pg, BUMP);
	assert_int_equal(answer_of(put_answer(&b)), SL_OK);
	assert_int_equal(answers(), 0);
	lose(&b, terminate_listeners);
	wait_keeps(&b);
}

static void an_answer_put_during_a_clear_is_not_kept(void **state)
{
	wait_keeps(&b);
	PGconn *conn = PQconnectdb(pg.url);
	PQclear(PQexec(conn, "BEGIN; SELECT pg_advisory_xact_lock(7365746377)"));
	PQclear(PQexec(conn, BUMP));
	PQclear(PQexec(conn, "DELETE FROM cache"));
	assert_int_equal(put_answer(&b), SL_OK);
	for (int i = 0;
	     sl_pg_count(&pg, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 0; i++) {
		assert_in_range(i, 0, 1000 * PATIENCE_S);
		usleep(1000);
	}
	PGresult *r = PQexec(conn, "COMMIT");
	assert_int_equal(PQresultStatus(r), PGRES_COMMAND_OK);
	PQclear(r);
	PQfinish(conn);
	assert_int_equal(answer_of(SL_OK), SL_OK);
	assert_int_equal(answers(), 0);
}

static int group_setup(void **state)
{
	sl_pg_start(&pg, SL_PG_MIGRATED);
	return 0;
}

static int group_teardown(void **state)
{
	sl_pg_stop(&pg);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_change_is_told_to_the_other_and_not_to_who_made_it),
		TEST(a_change_that_was_not_made_is_not_told),
		TEST(whoever_could_not_listen_is_told_that_anything_may_have_changed),
		TEST(an_answer_put_before_one_heard_of_a_clear_is_not_kept),
		TEST(an_answer_put_during_a_clear_is_not_kept),
	};
	return cmocka_run_group_tests_name("store/news", tests, group_setup, group_teardown);
}
