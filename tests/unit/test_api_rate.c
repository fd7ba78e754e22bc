#include "tests/lib/test.h"

#include "api/rate.h"

static uint64_t now_ms;
static uint64_t fake_mono(void *ctx)
{
	return now_ms;
}
static int64_t fake_wall(void *ctx)
{
	return 0;
}

static const struct sl_uuid ann = {{1}}, bob = {{2}};

static uint32_t burst(struct sl_rates *r, enum sl_rate_kind kind, struct sl_uuid token)
{
	struct sl_rate_answer a = {0};
	uint32_t n = 0;
	while (n < 1000 && (sl_rates_take(r, kind, token, &a), a.wait_ms == 0))
		n++;
	return n;
}

static void a_burst_goes_at_once_and_then_one_by_one(void **state)
{
	const struct sl_clock clock = {.mono_ms = fake_mono, .wall_ms = fake_wall};
	const uint32_t limits[SL_RATE_KINDS] = {60, 10, 30};
	struct sl_rate_answer a;
	SL_AUTO(sl_rates) r = NULL;
	now_ms = 5000;
	assert_int_equal(sl_rates_new(limits, &clock, &r), SL_OK);
	assert_int_equal(burst(r, SL_RATE_REQUESTS, ann), 10);
	assert_int_equal(burst(r, SL_RATE_RUNS, ann), 2);
	assert_int_equal(burst(r, SL_RATE_SOCKETS, ann), 5);
	assert_int_equal(burst(r, SL_RATE_REQUESTS, bob), 10); /* each token has its own */
	sl_rates_take(r, SL_RATE_REQUESTS, ann, &a);
	assert_int_equal(a.limit, 60);
	assert_int_equal(a.remaining, 0);
	assert_int_equal(a.wait_ms, 1000);
	assert_int_equal(a.full_in_s, 10);
	now_ms += 999;
	sl_rates_take(r, SL_RATE_REQUESTS, ann, &a);
	assert_int_equal(a.wait_ms, 1);
	now_ms += 1;
	assert_int_equal(burst(r, SL_RATE_REQUESTS, ann), 1);
	now_ms += 3600000; /* no more than a burst, however long nobody asked */
	assert_int_equal(burst(r, SL_RATE_REQUESTS, ann), 10);
}

static void over_an_hour_exactly_the_limit_gets_through(void **state)
{
	const struct sl_clock clock = {.mono_ms = fake_mono, .wall_ms = fake_wall};
	const uint32_t limits[SL_RATE_KINDS] = {77, 0, 1};
	struct sl_rate_answer a;
	SL_AUTO(sl_rates) r = NULL;
	uint32_t through = 0, sockets = 0;
	now_ms = 1;
	assert_int_equal(sl_rates_new(limits, &clock, &r), SL_OK);
	for (uint32_t i = 0; i < 3600 * 4; i++, now_ms += 250) {
		sl_rates_take(r, SL_RATE_REQUESTS, ann, &a);
		through += a.wait_ms == 0;
		sl_rates_take(r, SL_RATE_SOCKETS, ann, &a);
		sockets += a.wait_ms == 0;
		sl_rates_take(r, SL_RATE_RUNS, ann, &a); /* there is none */
		assert_int_equal(a.wait_ms | a.limit, 0);
	}
	assert_in_range(through, 77 * 60, 77 * 60 + 77 / 6 + 1);
	assert_in_range(sockets, 60, 61);
}

static void many_tokens_are_remembered_only_so_far(void **state)
{
	const struct sl_clock clock = {.mono_ms = fake_mono, .wall_ms = fake_wall};
	const uint32_t limits[SL_RATE_KINDS] = {6, 6, 6};
	struct sl_rate_answer a;
	SL_AUTO(sl_rates) r = NULL;
	now_ms = 1;
	assert_int_equal(sl_rates_new(limits, &clock, &r), SL_OK);
	for (uint32_t i = 0; i < 10000; i++) {
		struct sl_uuid one = {{(uint8_t)i, (uint8_t)(i >> 8), 7}};
		sl_rates_take(r, SL_RATE_REQUESTS, one, &a);
		assert_int_equal(a.wait_ms, 0);
	}
}

static void without_memory(void *arg)
{
	const struct sl_clock clock = {.mono_ms = fake_mono, .wall_ms = fake_wall};
	static const uint32_t limits[SL_RATE_KINDS] = {60, 60, 60};
	struct sl_rates *r = NULL;
	struct sl_rate_answer q;
	if (sl_rates_new(limits, &clock, &r) != SL_OK)
		return;
	for (unsigned i = 0; i < 600; i++) {
		struct sl_uuid token = {{(uint8_t)i, (uint8_t)(i >> 8), 1}};
		sl_rates_take(r, SL_RATE_REQUESTS, token, &q);
		assert_int_equal(q.wait_ms, 0);
	}
	sl_rates_free(r);
}

static void nobody_is_refused_for_want_of_memory(void **state)
{
	unsigned failed = sl_test_torture(without_memory, NULL);
	assert_true(!sl_test_can_torture() || failed > 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_goes_at_once_and_then_one_by_one),
		cmocka_unit_test(over_an_hour_exactly_the_limit_gets_through),
		cmocka_unit_test(many_tokens_are_remembered_only_so_far),
		cmocka_unit_test(nobody_is_refused_for_want_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
