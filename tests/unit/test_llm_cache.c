/* llm/cache.c: hits, one maker at a time, expiry, bounds, and what is behind the memory. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "llm/cache.h"
#include "tests/lib/waiter.h"

#define NOW 1700000000000ll

static struct sl_cache_key key(unsigned n)
{
	struct sl_cache_key k = {{0}};
	memcpy(k.b, &n, sizeof(n));
	return k;
}

static enum sl_cache_answer ask(struct sl_cache *c, unsigned n, struct sl_cache_ticket *t, int64_t now, char *said)
{
	struct sl_cache_key k = key(n);
	struct sl_cache_hit hit = {0};
	enum sl_cache_answer a = sl_cache_ask(c, &k, SL_STR("llm"), t, NULL, NULL, now, &hit);
	if (a == SL_CACHE_HIT)
		snprintf(said, 32, "%s", hit.output->data);
	sl_bytes_unref(hit.output);
	return a;
}

static void make(struct sl_cache *c, unsigned n, const char *text, uint32_t ttl_s, int64_t now)
{
	struct sl_cache_ticket t = {0};
	char said[32];
	SL_AUTO(sl_bytes) output = sl_bytes_new(text, strlen(text));
	assert_int_equal(ask(c, n, &t, now, said), SL_CACHE_MISS);
	sl_cache_done(c, &t, output, SL_STR("run/a"), ttl_s, now);
}

static void what_was_made_is_given_until_it_expires(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	struct sl_cache_ticket t = {0};
	char said[32];
	assert_int_equal(sl_cache_new(NULL, &c), SL_OK);
	make(c, 1, "one", 60, NOW);
	assert_int_equal(ask(c, 1, &t, NOW + 59999, said), SL_CACHE_HIT);
	assert_string_equal(said, "one");
	assert_int_equal(ask(c, 1, &t, NOW + 60000, said), SL_CACHE_MISS);
	sl_cache_done(c, &t, NULL, SL_STR(""), 60, NOW + 60000); /* it failed: nothing is kept */
	assert_int_equal(ask(c, 1, &t, NOW + 60000, said), SL_CACHE_MISS);
	sl_cache_done(c, &t, NULL, SL_STR(""), 60, NOW + 60000);
	SL_BUF(out, 4096);
	sl_cache_json(c, &out);
	assert_non_null(strstr(out.data, "\"entries\":0,\"bytes\":0,"));
	assert_non_null(strstr(out.data,
			       "\"hits\":1,\"misses\":3,\"joined\":0,\"stored\":1,\"evicted\":0,\"expired\":1,"
			       "\"hit_rate\":0.25"));
}

static void one_makes_it_and_the_others_wait_for_that_answer(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	struct sl_cache_ticket t[4] = {0};
	struct waiter w[4] = {0};
	struct sl_cache_key k = key(1);
	struct sl_cache_hit hit;
	SL_AUTO(sl_bytes) output = sl_bytes_new("one", 3);
	assert_int_equal(sl_cache_new(NULL, &c), SL_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit),
				 i ? SL_CACHE_WAIT : SL_CACHE_MISS);
	sl_cache_done(c, &t[0], output, SL_STR("run/a"), 60, NOW);
	assert_int_equal(w[1].wakes, 1);
	assert_int_equal(w[2].wakes, 0);
	sl_cache_leave(c, &t[1]); /* called off after it was told: the next one is told */
	assert_int_equal(w[2].wakes, 1);
	for (int i = 2; i < 4; i++) {
		assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit), SL_CACHE_HIT);
		sl_bytes_unref(hit.output);
	}
	assert_int_equal(w[3].wakes, 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(w[i].refs, 0);
}

static void when_the_maker_fails_the_next_in_the_queue_makes_it(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	struct sl_cache_ticket t[3] = {0};
	struct waiter w[3] = {0};
	struct sl_cache_key k = key(1);
	struct sl_cache_hit hit;
	assert_int_equal(sl_cache_new(NULL, &c), SL_OK);
	for (int i = 0; i < 3; i++)
		(void)sl_cache_ask(c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit);
	sl_cache_done(c, &t[0], NULL, SL_STR(""), 60, NOW);
	assert_int_equal(w[1].wakes, 1);
	assert_int_equal(w[2].wakes, 0);
	assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[1], &wakes, &w[1], NOW, &hit), SL_CACHE_MISS);
	assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[2], &wakes, &w[2], NOW, &hit), SL_CACHE_WAIT);
	sl_cache_done(c, &t[1], NULL, SL_STR(""), 60, NOW);
	assert_int_equal(w[2].wakes, 1);
	sl_cache_leave(c, &t[2]);
}

static void the_least_recently_used_goes_first(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	struct sl_cache_ticket t = {0};
	char said[32];
	assert_int_equal(sl_cache_new(NULL, &c), SL_OK);
	sl_cache_limits(c, 3, 1u << 20);
	for (unsigned i = 0; i < 3; i++)
		make(c, i, "x", 60, NOW);
	assert_int_equal(ask(c, 0, &t, NOW, said), SL_CACHE_HIT);
	make(c, 3, "x", 60, NOW);
	assert_int_equal(ask(c, 0, &t, NOW, said), SL_CACHE_HIT);
	assert_int_equal(ask(c, 1, &t, NOW, said), SL_CACHE_MISS); /* it was the oldest use */
	sl_cache_done(c, &t, NULL, SL_STR(""), 60, NOW);
	assert_int_equal(ask(c, 2, &t, NOW, said), SL_CACHE_HIT);
	/* by bytes */
	char *large = malloc(100001);
	memset(large, 'y', 100000);
	large[100000] = 0;
	sl_cache_limits(c, 1000, 250000);
	for (unsigned i = 10; i < 15; i++)
		make(c, i, large, 60, NOW);
	SL_BUF(out, 4096);
	sl_cache_json(c, &out);
	const char *bytes = strstr(out.data, "\"bytes\":");
	assert_in_range(strtoul(bytes + 8, NULL, 10), 200000, 250000);
	free(large);
	/* one that is too large by itself is not kept */
	SL_AUTO(sl_bytes) huge = sl_bytes_alloc(SL_CACHE_ENTRY_BYTES + 1);
	assert_int_equal(ask(c, 99, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(c, &t, huge, SL_STR(""), 60, NOW);
	assert_int_equal(ask(c, 99, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(c, &t, NULL, SL_STR(""), 60, NOW);
}

/* ---- behind the memory ---- */

struct shelf {
	struct sl_cache_key key;
	char output[64];
	int64_t expires_ms;
	unsigned gets, puts, clears, sweeps;
	bool slow;
	void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source, int64_t created_ms,
		     int64_t expires_ms);
	void *arg;
};

static void shelf_answer(struct shelf *s)
{
	s->done(s->arg, s->output[0] ? SL_OK : SL_NOT_FOUND, sl_str(s->output), SL_STR("run/old"), NOW - 1000,
		s->expires_ms);
}

static void shelf_get(void *ctx, const struct sl_cache_key *k,
		      void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source,
				   int64_t created_ms, int64_t expires_ms),
		      void *arg)
{
	struct shelf *s = ctx;
	s->gets++;
	s->done = done, s->arg = arg;
	if (!s->slow)
		shelf_answer(s);
}

static void shelf_put(void *ctx, const struct sl_cache_key *k, struct sl_str scope, struct sl_bytes *output,
		      struct sl_str source, int64_t expires_ms)
{
	struct shelf *s = ctx;
	assert_true(sl_str_is(scope, "llm"));
	s->puts++;
	snprintf(s->output, sizeof(s->output), "%s", output->data);
	s->expires_ms = expires_ms;
}

static void shelf_clear(void *ctx, struct sl_str scope)
{
	struct shelf *s = ctx;
	s->clears++;
	s->output[0] = 0;
}

static void shelf_sweep(void *ctx)
{
	((struct shelf *)ctx)->sweeps++;
}

static void what_is_behind_is_looked_up_once_and_written_through(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	struct shelf shelf = {.slow = true, .output = "from behind", .expires_ms = NOW + 5000};
	struct sl_cache_back back = {shelf_get, shelf_put, shelf_clear, shelf_sweep, &shelf};
	struct sl_cache_ticket t[2] = {0}, u = {0};
	struct waiter w[2] = {0};
	struct sl_cache_key k = key(1);
	struct sl_cache_hit hit;
	char said[32];
	assert_int_equal(sl_cache_new(&back, &c), SL_OK);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit), SL_CACHE_WAIT);
	assert_int_equal(shelf.gets, 1);
	shelf_answer(&shelf);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(w[i].wakes, 1);
		assert_int_equal(sl_cache_ask(c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit), SL_CACHE_HIT);
		assert_string_equal(hit.output->data, "from behind");
		assert_string_equal(hit.source, "run/old");
		sl_bytes_unref(hit.output);
	}
	assert_int_equal(ask(c, 1, &u, NOW + 5000, said), SL_CACHE_MISS); /* its own end counts */
	SL_AUTO(sl_bytes) output = sl_bytes_new("fresh", 5);
	sl_cache_done(c, &u, output, SL_STR("run/b"), 60, NOW + 5000);
	assert_int_equal(shelf.puts, 1);
	assert_string_equal(shelf.output, "fresh");
	assert_int_equal(shelf.expires_ms, NOW + 65000);
	sl_cache_clear(c, SL_STR("llm"));
	assert_int_equal(shelf.clears, 1);
	shelf.slow = false;
	assert_int_equal(ask(c, 1, &u, NOW + 5000, said), SL_CACHE_WAIT); /* looked up, found nothing, told */
	assert_int_equal(ask(c, 1, &u, NOW + 5000, said), SL_CACHE_MISS);
	sl_cache_done(c, &u, NULL, SL_STR(""), 60, NOW);
	assert_int_equal(shelf.puts, 1);
}

static void *hammer(void *arg)
{
	struct sl_cache *c = arg;
	unsigned seed = (unsigned)(uintptr_t)&c;
	SL_AUTO(sl_bytes) output = sl_bytes_new("made", 4);
	for (int i = 0; i < 5000; i++) {
		struct sl_cache_ticket t = {0};
		char said[32] = "";
		switch (ask(c, (unsigned)rand_r(&seed) % 40, &t, NOW, said)) {
		case SL_CACHE_HIT:
			assert_string_equal(said, "made");
			break;
		case SL_CACHE_MISS:
			sl_cache_done(c, &t, i % 3 ? output : NULL, SL_STR("r"), 60, NOW);
			break;
		default:
			sl_cache_leave(c, &t);
		}
	}
	return NULL;
}

static void it_holds_under_threads(void **state)
{
	SL_AUTO(sl_cache) c = NULL;
	pthread_t th[4];
	assert_int_equal(sl_cache_new(NULL, &c), SL_OK);
	sl_cache_limits(c, 20, 1u << 20);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, hammer, c), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
}

static void without_memory(void *arg)
{
	SL_AUTO(sl_cache) c = NULL;
	struct shelf shelf = {0};
	struct sl_cache_back back = {shelf_get, shelf_put, shelf_clear, shelf_sweep, &shelf};
	SL_AUTO(sl_bytes) output = sl_bytes_new("made", 4);
	if (!output || sl_cache_new(arg ? &back : NULL, &c) != SL_OK)
		return;
	for (unsigned i = 0; i < 40; i++) {
		struct sl_cache_ticket t = {0};
		char said[32];
		enum sl_cache_answer a = ask(c, i, &t, NOW, said);
		if (a == SL_CACHE_WAIT)
			a = ask(c, i, &t, NOW, said);
		assert_true(a != SL_CACHE_WAIT); /* a hit: the shelf gives what it was given last, whatever the key */
		if (a == SL_CACHE_MISS)
			sl_cache_done(c, &t, output, SL_STR("r"), 60, NOW);
	}
}

static void it_copes_without_memory(void **state)
{
	assert_true(sl_test_torture(without_memory, NULL) < 100000);
	assert_true(sl_test_torture(without_memory, *state) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_made_is_given_until_it_expires),
		cmocka_unit_test(one_makes_it_and_the_others_wait_for_that_answer),
		cmocka_unit_test(when_the_maker_fails_the_next_in_the_queue_makes_it),
		cmocka_unit_test(the_least_recently_used_goes_first),
		cmocka_unit_test(what_is_behind_is_looked_up_once_and_written_through),
		cmocka_unit_test(it_holds_under_threads),
		cmocka_unit_test_prestate(it_copes_without_memory, (void *)(uintptr_t)1),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
