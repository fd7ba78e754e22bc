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
	sl_timers_fire(f->ts, 1031);
	assert_int_equal(f->fired[0], 1);
	for (int i = 2; i < f->n_fired; i++)
		assert_true(f->fired[i - 1] * 37 % 64 < f->fired[i] * 37 % 64);
	assert_int_equal(f->told, 1032);
	sl_timers_fire(f->ts, 2000);
	assert_int_equal(f->n_fired, 63);
	assert_int_equal(f->told, UINT64_MAX);
	assert_false(sl_timers_drop(f->ts, &f->timers[5]));
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
	sl_timers_fire(f->ts, 100);
	if (f->started)
		pthread_join(f->thread, NULL);
	assert_int_equal(sl_timers_next(f->ts), 500);
	assert_int_equal(f->told, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(timers_fire_in_the_order_they_are_due, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_told_last_is_true_whichever_thread_is_quicker, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
