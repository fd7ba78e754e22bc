/* llm/cache.c: hits, one maker at a time, expiry, bounds, and what is behind the memory. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
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
		      struct sl_str source, int64_t expires_ms, sl_cache_done_fn *done, void *arg)
{
	struct shelf *s = ctx;
	assert_true(sl_str_is(scope, "llm"));
	s->puts++;
	snprintf(s->output, sizeof(s->output), "%s", output->data);
	s->expires_ms = expires_ms;
	done(arg, SL_OK);
}

static void shelf_clear(void *ctx, struct sl_str scope, sl_cache_done_fn *done, void *arg)
{
	struct shelf *s = ctx;
	s->clears++;
	s->output[0] = 0;
	done(arg, SL_OK);
}

static void shelf_sweep(void *ctx)
{
	((struct shelf *)ctx)->sweeps++;
}

struct noted {
	unsigned calls;
	enum sl_code rc;
};

static void note(void *arg, enum sl_code rc)
{
	struct noted *n = arg;
	n->calls++;
	n->rc = rc;
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
	struct noted noted = {0};
	sl_cache_clear(c, SL_STR("llm"), note, &noted);
	assert_int_equal(shelf.clears, 1);
	assert_int_equal(noted.calls, 1);
	assert_int_equal(noted.rc, SL_OK);
	shelf.slow = false;
	assert_int_equal(ask(c, 1, &u, NOW + 5000, said), SL_CACHE_WAIT); /* looked up, found nothing, told */
	assert_int_equal(ask(c, 1, &u, NOW + 5000, said), SL_CACHE_MISS);
	sl_cache_done(c, &u, NULL, SL_STR(""), 60, NOW);
	assert_int_equal(shelf.puts, 1);
}

/* ---- a clear, with something behind that keeps no order: each call waits until the test executes it ---- */

#define POOL_CALLS 16
#define POOL_KEYS  8

struct pool {
	char rows[POOL_KEYS][16]; /* by key; empty: none */
	struct pool_call {
		enum { POOL_GET, POOL_PUT, POOL_CLEAR } kind;
		unsigned key;
		char text[16], scope[24];
		void (*got)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source, int64_t created_ms,
			    int64_t expires_ms);
		sl_cache_done_fn *done;
		void *arg;
		bool executed;
	} calls[POOL_CALLS];
	unsigned n;
};

static struct pool_call *pool_take(struct pool *p, int kind, const struct sl_cache_key *k, void *arg)
{
	SL_BUG_ON(p->n == POOL_CALLS);
	struct pool_call *call = &p->calls[p->n++];
	*call = (struct pool_call){.kind = kind, .arg = arg};
	if (k)
		memcpy(&call->key, k->b, sizeof(call->key));
	return call;
}

static void pool_get(void *ctx, const struct sl_cache_key *k,
		     void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source,
				  int64_t created_ms, int64_t expires_ms),
		     void *arg)
{
	pool_take(ctx, POOL_GET, k, arg)->got = done;
}

static void pool_put(void *ctx, const struct sl_cache_key *k, struct sl_str scope, struct sl_bytes *output,
		     struct sl_str source, int64_t expires_ms, sl_cache_done_fn *done, void *arg)
{
	struct pool_call *call = pool_take(ctx, POOL_PUT, k, arg);
	call->done = done;
	snprintf(call->text, sizeof(call->text), "%s", output->data);
}

static void pool_clear(void *ctx, struct sl_str scope, sl_cache_done_fn *done, void *arg)
{
	struct pool_call *call = pool_take(ctx, POOL_CLEAR, NULL, arg);
	call->done = done;
	snprintf(call->scope, sizeof(call->scope), SL_STR_FMT, SL_STR_ARG(scope));
}

/* The nth of a kind that is still waiting, or NULL. */
static struct pool_call *pool_nth(struct pool *p, int kind, unsigned nth)
{
	for (unsigned i = 0; i < p->n; i++) {
		if (!p->calls[i].executed && (int)p->calls[i].kind == kind && nth-- == 0)
			return &p->calls[i];
	}
	return NULL;
}

static unsigned pool_waiting(struct pool *p, int kind)
{
	unsigned n = 0;
	while (pool_nth(p, kind, n))
		n++;
	return n;
}

static void pool_execute(struct pool *p, struct pool_call *call, enum sl_code rc)
{
	char row[16];
	SL_BUG_ON(!call || call->executed);
	call->executed = true;
	switch (call->kind) {
	case POOL_GET:
		snprintf(row, sizeof(row), "%s", p->rows[call->key]);
		call->got(call->arg, rc == SL_OK && !row[0] ? SL_NOT_FOUND : rc, sl_str(rc == SL_OK ? row : ""),
			  SL_STR("run/old"), NOW - 1000, NOW + 60000);
		return;
	case POOL_PUT:
		if (rc == SL_OK)
			memcpy(p->rows[call->key], call->text, sizeof(call->text));
		break;
	case POOL_CLEAR:
		if (rc == SL_OK)
			memset(p->rows, 0, sizeof(p->rows));
		break;
	}
	call->done(call->arg, rc);
}

struct clears {
	struct pool pool;
	struct sl_cache *c;
};

static int clears_up(void **state)
{
	struct clears *f = calloc(1, sizeof(*f));
	struct sl_cache_back back = {pool_get, pool_put, pool_clear, shelf_sweep, &f->pool};
	*state = f;
	return sl_cache_new(&back, &f->c) == SL_OK ? 0 : -1;
}

static int clears_down(void **state)
{
	struct clears *f = *state;
	sl_cache_free(f->c);
	free(f);
	return 0;
}

/* Asked for the first time, looked up behind the memory and not found there, and then made. */
static void pool_make(struct clears *f, unsigned n, const char *text)
{
	struct sl_cache_ticket t = {0};
	char said[32];
	SL_AUTO(sl_bytes) output = sl_bytes_new(text, strlen(text));
	assert_int_equal(ask(f->c, n, &t, NOW, said), SL_CACHE_WAIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(ask(f->c, n, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(f->c, &t, output, SL_STR("run/a"), 60, NOW);
}

/* There is nothing to be given, whoever is asked. */
static void assert_gone(struct clears *f, unsigned n)
{
	struct sl_cache_ticket t = {0};
	char said[32];
	enum sl_cache_answer a = ask(f->c, n, &t, NOW, said);
	if (a == SL_CACHE_WAIT) {
		pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
		a = ask(f->c, n, &t, NOW, said);
	}
	assert_int_equal(a, SL_CACHE_MISS);
	sl_cache_done(f->c, &t, NULL, SL_STR(""), 0, NOW);
}

static void a_clear_ends_when_what_is_behind_is_gone_and_nothing_is_looked_up_until_then(void **state)
{
	struct clears *f = *state;
	struct noted noted = {0};
	struct sl_cache_ticket t = {0};
	char said[32];
	pool_make(f, 1, "old");
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	sl_cache_clear(f->c, SL_STR("llm"), note, &noted);
	assert_string_equal(pool_nth(&f->pool, POOL_CLEAR, 0)->scope, "llm");
	assert_int_equal(noted.calls, 0);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_MISS); /* the row is there, and is not asked for */
	sl_cache_done(f->c, &t, NULL, SL_STR(""), 0, NOW);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted.calls, 1);
	assert_int_equal(noted.rc, SL_OK);
	assert_gone(f, 1);
}

static void an_older_put_is_waited_for_and_a_newer_one_is_not(void **state)
{
	struct clears *f = *state;
	struct noted noted[2] = {0};
	pool_make(f, 1, "old");
	pool_make(f, 2, "old");
	sl_cache_clear(f->c, SL_STR(""), note, &noted[0]);
	assert_int_equal(pool_waiting(&f->pool, POOL_CLEAR), 0);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 1), SL_OK); /* the younger one first */
	assert_int_equal(pool_waiting(&f->pool, POOL_CLEAR), 0);
	/* while it waits, traffic goes on, and another one clears */
	struct sl_cache_ticket t = {0};
	char said[32];
	SL_AUTO(sl_bytes) output = sl_bytes_new("new", 3);
	assert_int_equal(ask(f->c, 3, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(f->c, &t, output, SL_STR("run/b"), 60, NOW);
	sl_cache_clear(f->c, SL_STR("node"), note, &noted[1]);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	/* the first one goes ahead of the put that came after it; the second one waits for that */
	assert_int_equal(pool_waiting(&f->pool, POOL_CLEAR), 1);
	assert_int_equal(noted[0].calls, 0);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted[0].calls, 1);
	assert_int_equal(noted[1].calls, 0);
	assert_string_equal(f->pool.rows[1], "");
	assert_string_equal(f->pool.rows[2], "");
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_UNAVAILABLE); /* it failed: it is over, too */
	assert_int_equal(pool_waiting(&f->pool, POOL_CLEAR), 1);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted[1].calls, 1);
	assert_gone(f, 1);
	assert_gone(f, 2);
	assert_int_equal(ask(f->c, 3, &t, NOW, said), SL_CACHE_HIT); /* of a scope that nobody cleared since */
	assert_string_equal(said, "new");
}

static void what_was_being_looked_up_at_a_clear_does_not_come_back(void **state)
{
	struct clears *f = *state;
	struct noted noted = {0};
	struct sl_cache_ticket t = {0};
	char said[32];
	snprintf(f->pool.rows[1], sizeof(f->pool.rows[1]), "old");
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_WAIT);
	sl_cache_clear(f->c, SL_STR(""), note, &noted);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK); /* it read the row before it was deleted */
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted.calls, 1);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(f->c, &t, NULL, SL_STR(""), 0, NOW);
	assert_gone(f, 1);
	/* and when the row was read before, but the answer comes after the end of the clear */
	snprintf(f->pool.rows[1], sizeof(f->pool.rows[1]), "old");
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_WAIT);
	sl_cache_clear(f->c, SL_STR(""), note, &noted);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted.calls, 2);
	snprintf(f->pool.rows[1], sizeof(f->pool.rows[1]), "old");
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_done(f->c, &t, NULL, SL_STR(""), 0, NOW);
}

static void who_was_told_of_an_answer_before_a_clear_makes_it_anew(void **state)
{
	struct clears *f = *state;
	struct sl_cache_ticket t[3] = {0};
	struct waiter w[3] = {0};
	struct noted noted = {0};
	struct sl_cache_key k = key(1);
	struct sl_cache_hit hit;
	SL_AUTO(sl_bytes) old = sl_bytes_new("old", 3);
	SL_AUTO(sl_bytes) new = sl_bytes_new("new", 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(sl_cache_ask(f->c, &k, SL_STR("llm"), &t[i], &wakes, &w[i], NOW, &hit), SL_CACHE_WAIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(sl_cache_ask(f->c, &k, SL_STR("llm"), &t[0], &wakes, &w[0], NOW, &hit), SL_CACHE_MISS);
	sl_cache_done(f->c, &t[0], old, SL_STR("run/a"), 60, NOW);
	assert_int_equal(w[1].wakes, 1);
	sl_cache_clear(f->c, SL_STR(""), note, &noted);
	assert_int_equal(sl_cache_ask(f->c, &k, SL_STR("llm"), &t[1], &wakes, &w[1], NOW, &hit), SL_CACHE_MISS);
	sl_cache_done(f->c, &t[1], new, SL_STR("run/b"), 60, NOW);
	assert_int_equal(w[2].wakes, 1);
	assert_int_equal(sl_cache_ask(f->c, &k, SL_STR("llm"), &t[2], &wakes, &w[2], NOW, &hit), SL_CACHE_HIT);
	assert_string_equal(hit.output->data, "new");
	sl_bytes_unref(hit.output);
	for (int i = 0; i < 3; i++)
		assert_int_equal(w[i].refs, 0);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	assert_int_equal(noted.calls, 1);
}

static void an_answer_that_is_being_made_at_a_clear_is_kept(void **state)
{
	struct clears *f = *state;
	struct noted noted = {0};
	struct sl_cache_ticket t = {0};
	char said[32];
	SL_AUTO(sl_bytes) output = sl_bytes_new("new", 3);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_WAIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_MISS);
	sl_cache_clear(f->c, SL_STR(""), note, &noted);
	sl_cache_done(f->c, &t, output, SL_STR("run/a"), 60, NOW);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), SL_OK);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	assert_int_equal(noted.calls, 1);
	assert_int_equal(ask(f->c, 1, &t, NOW, said), SL_CACHE_HIT);
}

static void a_clear_that_fails_behind_says_so_and_the_next_one_is_asked_again(void **state)
{
	struct clears *f = *state;
	struct noted noted = {0};
	snprintf(f->pool.rows[1], sizeof(f->pool.rows[1]), "old");
	for (int i = 0; i < 2; i++) {
		sl_cache_clear(f->c, SL_STR(""), note, &noted);
		pool_execute(&f->pool, pool_nth(&f->pool, POOL_CLEAR, 0), i ? SL_OK : SL_UNAVAILABLE);
		assert_int_equal(noted.calls, i + 1);
		assert_int_equal(noted.rc, i ? SL_OK : SL_UNAVAILABLE);
	}
	assert_gone(f, 1);
}

static void what_somebody_else_has_cleared_is_forgotten_and_not_cleared_again(void **state)
{
	struct clears *f = *state;
	struct sl_cache_ticket t[3] = {0};
	char said[32];
	SL_AUTO(sl_bytes) output = sl_bytes_new("new", 3);
	pool_make(f, 1, "old");
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	snprintf(f->pool.rows[2], sizeof(f->pool.rows[2]), "old");
	assert_int_equal(ask(f->c, 2, &t[0], NOW, said), SL_CACHE_WAIT);
	assert_int_equal(ask(f->c, 3, &t[1], NOW, said), SL_CACHE_WAIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 1), SL_OK);
	assert_int_equal(ask(f->c, 3, &t[1], NOW, said), SL_CACHE_MISS);
	memset(f->pool.rows, 0, sizeof(f->pool.rows));
	sl_cache_forget(f->c);
	snprintf(f->pool.rows[2], sizeof(f->pool.rows[2]), "old"); /* as it was when the look-up read it */
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(ask(f->c, 2, &t[0], NOW, said), SL_CACHE_MISS);
	sl_cache_done(f->c, &t[0], NULL, SL_STR(""), 0, NOW);
	sl_cache_done(f->c, &t[1], output, SL_STR("run/a"), 60, NOW); /* it was being made: it is new */
	assert_int_equal(ask(f->c, 3, &t[2], NOW, said), SL_CACHE_HIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_PUT, 0), SL_OK);
	assert_gone(f, 1);
	assert_int_equal(pool_waiting(&f->pool, POOL_CLEAR), 0);
	/* what comes behind from now on is looked up as ever */
	snprintf(f->pool.rows[4], sizeof(f->pool.rows[4]), "fresh");
	assert_int_equal(ask(f->c, 4, &t[2], NOW, said), SL_CACHE_WAIT);
	pool_execute(&f->pool, pool_nth(&f->pool, POOL_GET, 0), SL_OK);
	assert_int_equal(ask(f->c, 4, &t[2], NOW, said), SL_CACHE_HIT);
	assert_string_equal(said, "fresh");
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

/* Two threads behind the memory execute what they are asked in any order, while others ask, make and clear. */
struct storm {
	struct sl_cache *c;
	pthread_mutex_t making; /* an answer is of the generation in which it is handed over */
	unsigned generation;    /* [lock making] */
	_Atomic unsigned least; /* older ones have been cleared */
	_Atomic unsigned stale, ended;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct pool_call queue[64]; /* [lock] and everything below */
	unsigned n;
	bool over;
	char rows[POOL_KEYS][16];
};

static void storm_ask(struct storm *s, const struct pool_call *call)
{
	pthread_mutex_lock(&s->lock);
	SL_BUG_ON(s->n == SL_COUNT_OF(s->queue)); /* traffic stops before */
	s->queue[s->n++] = *call;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
}

static void storm_get(void *ctx, const struct sl_cache_key *k,
		      void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source,
				   int64_t created_ms, int64_t expires_ms),
		      void *arg)
{
	struct pool_call call = {.kind = POOL_GET, .got = done, .arg = arg};
	memcpy(&call.key, k->b, sizeof(call.key));
	storm_ask(ctx, &call);
}

static void storm_put(void *ctx, const struct sl_cache_key *k, struct sl_str scope, struct sl_bytes *output,
		      struct sl_str source, int64_t expires_ms, sl_cache_done_fn *done, void *arg)
{
	struct pool_call call = {.kind = POOL_PUT, .done = done, .arg = arg};
	memcpy(&call.key, k->b, sizeof(call.key));
	snprintf(call.text, sizeof(call.text), "%s", output->data);
	storm_ask(ctx, &call);
}

static void storm_clear(void *ctx, struct sl_str scope, sl_cache_done_fn *done, void *arg)
{
	storm_ask(ctx, &(struct pool_call){.kind = POOL_CLEAR, .done = done, .arg = arg});
}

static void *storm_behind(void *arg)
{
	struct storm *s = arg;
	unsigned seed = (unsigned)(uintptr_t)&s;
	pthread_mutex_lock(&s->lock);
	while (s->n || !s->over) {
		char row[16] = "";
		if (s->n == 0) {
			pthread_cond_wait(&s->more, &s->lock);
			continue;
		}
		unsigned at = (unsigned)rand_r(&seed) % s->n;
		struct pool_call call = s->queue[at];
		s->queue[at] = s->queue[--s->n];
		if (call.kind == POOL_GET)
			memcpy(row, s->rows[call.key], sizeof(row));
		else if (call.kind == POOL_PUT)
			memcpy(s->rows[call.key], call.text, sizeof(call.text));
		else
			memset(s->rows, 0, sizeof(s->rows));
		pthread_mutex_unlock(&s->lock);
		if (call.kind == POOL_GET)
			call.got(call.arg, row[0] ? SL_OK : SL_NOT_FOUND, sl_str(row), SL_STR("r"), NOW, NOW + 60000);
		else
			call.done(call.arg, SL_OK);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static bool storm_is_full(struct storm *s)
{
	pthread_mutex_lock(&s->lock);
	bool full = s->n > SL_COUNT_OF(s->queue) / 2;
	pthread_mutex_unlock(&s->lock);
	return full;
}

static void *storm_traffic(void *arg)
{
	struct storm *s = arg;
	unsigned seed = (unsigned)(uintptr_t)&s;
	while (atomic_load(&s->ended) == 0) {
		struct sl_cache_ticket t = {0};
		char said[32] = "", made[16];
		unsigned least = atomic_load(&s->least);
		if (storm_is_full(s)) {
			sched_yield();
			continue;
		}
		switch (ask(s->c, (unsigned)rand_r(&seed) % POOL_KEYS, &t, NOW, said)) {
		case SL_CACHE_HIT:
			if (strtoul(said, NULL, 10) < least)
				atomic_fetch_add(&s->stale, 1);
			break;
		case SL_CACHE_MISS:
			pthread_mutex_lock(&s->making);
			snprintf(made, sizeof(made), "%u", s->generation);
			struct sl_bytes *output = sl_bytes_new(made, strlen(made));
			sl_cache_done(s->c, &t, output, SL_STR("r"), 60, NOW);
			pthread_mutex_unlock(&s->making);
			sl_bytes_unref(output);
			break;
		default:
			sl_cache_leave(s->c, &t);
			sched_yield();
		}
	}
	return NULL;
}

static void storm_cleared(void *arg, enum sl_code rc)
{
	sem_post(arg);
}

static void a_clear_under_threads_brings_nothing_back_and_always_ends(void **state)
{
	struct storm *s = calloc(1, sizeof(*s));
	struct sl_cache_back back = {storm_get, storm_put, storm_clear, NULL, s};
	pthread_t behind[2], traffic[3];
	sem_t cleared;
	assert_non_null(s);
	s->generation = 1;
	pthread_mutex_init(&s->making, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	sem_init(&cleared, 0, 0);
	assert_int_equal(sl_cache_new(&back, &s->c), SL_OK);
	sl_cache_limits(s->c, POOL_KEYS / 2, 1u << 20); /* so that what is behind is asked, too */
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&behind[i], NULL, storm_behind, s), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&traffic[i], NULL, storm_traffic, s), 0);
	for (int i = 0; i < 300; i++) {
		pthread_mutex_lock(&s->making);
		unsigned now = ++s->generation;
		sl_cache_clear(s->c, SL_STR(""), storm_cleared, &cleared);
		pthread_mutex_unlock(&s->making);
		sem_wait(&cleared);
		atomic_store(&s->least, now);
		sched_yield();
	}
	atomic_store(&s->ended, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(traffic[i], NULL);
	pthread_mutex_lock(&s->lock);
	s->over = true;
	pthread_cond_broadcast(&s->more);
	pthread_mutex_unlock(&s->lock);
	for (int i = 0; i < 2; i++)
		pthread_join(behind[i], NULL);
	assert_int_equal(atomic_load(&s->stale), 0);
	sl_cache_free(s->c);
	sem_destroy(&cleared);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->making);
	free(s);
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
	struct noted noted = {0};
	sl_cache_clear(c, SL_STR("llm"), note, &noted);
	assert_int_equal(noted.calls, 1);
	assert_true(noted.rc == SL_OK || noted.rc == SL_NO_MEMORY);
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
		cmocka_unit_test_setup_teardown(
			a_clear_ends_when_what_is_behind_is_gone_and_nothing_is_looked_up_until_then, clears_up,
			clears_down),
		cmocka_unit_test_setup_teardown(an_older_put_is_waited_for_and_a_newer_one_is_not, clears_up,
						clears_down),
		cmocka_unit_test_setup_teardown(what_was_being_looked_up_at_a_clear_does_not_come_back, clears_up,
						clears_down),
		cmocka_unit_test_setup_teardown(who_was_told_of_an_answer_before_a_clear_makes_it_anew, clears_up,
						clears_down),
		cmocka_unit_test_setup_teardown(an_answer_that_is_being_made_at_a_clear_is_kept, clears_up,
						clears_down),
		cmocka_unit_test_setup_teardown(a_clear_that_fails_behind_says_so_and_the_next_one_is_asked_again,
						clears_up, clears_down),
		cmocka_unit_test_setup_teardown(what_somebody_else_has_cleared_is_forgotten_and_not_cleared_again,
						clears_up, clears_down),
		cmocka_unit_test(it_holds_under_threads),
		cmocka_unit_test(a_clear_under_threads_brings_nothing_back_and_always_ends),
		cmocka_unit_test_prestate(it_copes_without_memory, (void *)(uintptr_t)1),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
