#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/pool.h"

#define PUSHERS 4
#define EACH    20000

struct count {
	struct sl_job job;
	_Atomic unsigned *done;
	unsigned runs; /* a job is run by one worker, once */
};

struct pusher {
	struct sl_pool *pool;
	struct count *jobs;
	pthread_t thread;
};

static void run(struct sl_job *j)
{
	struct count *c = SL_CONTAINER_OF(j, struct count, job);
	for (volatile unsigned work = 0; work < 2000; work++) /* so that the load lasts for some resizes */
		;
	c->runs++;
	atomic_fetch_add(c->done, 1);
}

static void *push(void *arg)
{
	struct pusher *p = arg;
	for (unsigned i = 0; i < EACH; i++)
		sl_pool_push(p->pool, &p->jobs[i].job);
	return NULL;
}

/* Thread sanitizer looks on when it is built with it. */
static void it_grows_and_shrinks_under_load_and_runs_every_job_once(void **state)
{
	static const uint32_t sizes[] = {1, 16, 2, 64, 3, 1, 8};
	struct pusher pushers[PUSHERS];
	struct sl_pool *pool;
	_Atomic unsigned done = 0;
	assert_int_equal(sl_pool_new(2, &pool), SL_OK);
	for (unsigned p = 0; p < PUSHERS; p++) {
		pushers[p] = (struct pusher){.pool = pool, .jobs = calloc(EACH, sizeof(struct count))};
		for (unsigned i = 0; i < EACH; i++) {
			pushers[p].jobs[i].job.run = run;
			pushers[p].jobs[i].done = &done;
			sl_list_init(&pushers[p].jobs[i].job.link);
		}
		assert_int_equal(pthread_create(&pushers[p].thread, NULL, push, &pushers[p]), 0);
	}
	for (unsigned i = 0; atomic_load(&done) < PUSHERS * EACH || i < 50; i++) {
		uint32_t want = sizes[i % SL_COUNT_OF(sizes)];
		assert_int_equal(sl_pool_resize(pool, want), SL_OK);
		for (unsigned ms = 0; sl_pool_workers(pool) != want; ms++) {
			assert_true(ms < 10000);
			usleep(1000);
		}
	}
	for (unsigned p = 0; p < PUSHERS; p++) {
		pthread_join(pushers[p].thread, NULL);
		for (unsigned i = 0; i < EACH; i++)
			assert_int_equal(pushers[p].jobs[i].runs, 1);
		free(pushers[p].jobs);
	}
	assert_int_equal(sl_pool_depth(pool), 0);
	sl_pool_stop(pool);
	sl_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_grows_and_shrinks_under_load_and_runs_every_job_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
