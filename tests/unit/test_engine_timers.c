/* The heap of deadlines, and what is told of the earliest. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "engine/timers.h"

struct fixture {
	struct sl_timers *ts;
	struct sl_timer timers[64];
	uint64_t told;
	int fired[64], n_fired;
	/* the other thread */
	pthread_t thread;
	bool other, started;
};
static struct fixture *f; /* fire() has no context but the timer */

static void note_fired(struct sl_timer *t)
{
	f->fired[f->n_fired++] = (int)(t - f->timers);
}

static void note_told(void *ctx, uint64_t due_ms)
{
	((struct fixture *)ctx)->told = due_ms;
}

static int setup(void **state)
{
	static struct fixture one;
	one = (struct fixture){.told = UINT64_MAX};
	f = &one;
	for (size_t i = 0; i < SL_COUNT_OF(one.timers); i++)
		one.timers[i].fire = note_fired;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	sl_timers_free(f->ts);
	return 0;
}

static void timers_fire_in_the_order_they_are_due(void **state)
{
	assert_int_equal(sl_timers_new(note_told, f, &f->ts), SL_OK);
	for (int i = 0; i < 64; i++)
		assert_int_equal(sl_timers_set(f->ts, &f->timers[i], 1000 + (uint64_t)(i * 37 % 64)), SL_OK);
	assert_int_equal(f->told, 1000);
	assert_true(sl_timers_drop(f->ts, &f->timers[0]));
	assert_int_equal(sl_timers_set(f->ts, &f->timers[1], 1), SL_OK); /* moved to the front */
	assert_int_equal(f->told, 1);
	sl_timers_fire(f->ts, 1031, 0);
	assert_int_equal(f->fired[0], 1);
	for (int i = 2; i < f->n_fired; i++)
		assert_true(f->fired[i - 1] * 37 % 64 < f->fired[i] * 37 % 64);
	assert_int_equal(f->told, 1032);
	sl_timers_fire(f->ts, 2000, 0);
	assert_int_equal(f->n_fired, 63);
	assert_int_equal(f->told, UINT64_MAX);
	assert_false(sl_timers_drop(f->ts, &f->timers[5]));
}

/* A thousand random settings of the clock, with timers of both kinds: each fires when its own clock says so. */
static void moments_follow_the_wall_clock_however_it_is_set(void **state)
{
	enum { N = SL_COUNT_OF(f->timers) };
	int64_t wall = 1700000000000, reached[N] = {0};
	uint64_t mono = 5000, random = 7;
	bool done[N] = {0};
	assert_int_equal(sl_timers_new(note_told, f, &f->ts), SL_OK);
	for (int i = 0; i < N; i++)
		assert_int_equal(i % 2 ? sl_timers_set_wall(f->ts, &f->timers[i], wall + 1 + i * 300000, mono, wall)
				       : sl_timers_set(f->ts, &f->timers[i], mono + (uint64_t)i * 300000),
				 SL_OK);
	for (int fired = 0; fired < N;) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		if (random >> 33 & 1) { /* by up to an hour, forward or back; less back, so that it comes to an end */
			wall += (int64_t)(random >> 34 & 1 ? (random >> 40) % 3600000 : -((random >> 40) % 600000));
		}
		for (int i = 1; i < N; i += 2)
			if (!reached[i] && wall >= f->timers[i].wall_ms)
				reached[i] = (int64_t)mono;
		assert_true(f->told >= mono);
		if (f->told == UINT64_MAX)
			break;
		uint64_t step = f->told - mono;
		mono += step; /* as the loop does: no sooner and no later than it was told */
		wall += (int64_t)step;
		sl_timers_fire(f->ts, mono, wall);
		for (; fired < f->n_fired; fired++) {
			int i = f->fired[fired];
			assert_false(done[i]);
			done[i] = true;
			if (i % 2 == 0) {
				assert_int_equal(mono, 5000 + (uint64_t)i * 300000);
			} else {
				assert_true(wall >= f->timers[i].wall_ms);
				assert_true(!reached[i] || mono - (uint64_t)reached[i] <= SL_TIMERS_LOOK_MS);
			}
		}
	}
	assert_int_equal(f->n_fired, N);
	assert_int_equal(f->told, UINT64_MAX);
}

static void *set_another(void *arg)
{
	SL_IGNORE(sl_timers_set(f->ts, &f->timers[1], 500));
	return NULL;
}

/* Slow at telling that there is nothing left: another thread sets a deadline meanwhile. */
static void tell_slowly(void *ctx, uint64_t due_ms)
{
	if (due_ms == UINT64_MAX && f->other && !f->started) {
		struct timespec until;
		f->started = pthread_create(&f->thread, NULL, set_another, NULL) == 0;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec +=
			50 * 1000 * 1000; /* it cannot end while this is under way; if it does, the test fails */
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_timedjoin_np(f->thread, NULL, &until) == 0)
			f->started = false;
	}
	f->told = due_ms;
}

static void what_is_told_last_is_true_whichever_thread_is_quicker(void **state)
{
	assert_int_equal(sl_timers_new(tell_slowly, f, &f->ts), SL_OK);
	f->other = true;
	assert_int_equal(sl_timers_set(f->ts, &f->timers[0], 100), SL_OK);
	sl_timers_fire(f->ts, 100, 0);
	if (f->started)
		pthread_join(f->thread, NULL);
	assert_int_equal(sl_timers_next(f->ts), 500);
	assert_int_equal(f->told, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timers_fire_in_the_order_they_are_due, setup, teardown),
		cmocka_unit_test_setup_teardown(moments_follow_the_wall_clock_however_it_is_set, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_told_last_is_true_whichever_thread_is_quicker, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
