#include "tests/lib/test.h"

#include <string.h>

#include "base/hist.h"

static void a_quantile_is_right_within_nine_percent(void **state)
{
	for (uint64_t ms = 1; ms < 4000000; ms = ms * 5 / 4 + 1) {
		struct sl_hist h = {0};
		sl_hist_add(&h, ms);
		double got = (double)sl_hist_quantile_ms(&h, 0.5), want = (double)ms;
		if (got < want * 0.91 || got > want * 1.09)
			fail_msg("%g instead of %g", got, want);
	}
}

static void quantiles_follow_the_order_of_the_values(void **state)
{
	struct sl_hist h = {0}, more = {0};
	assert_int_equal(sl_hist_quantile_ms(&h, 0.5), 0);
	for (uint64_t ms = 1; ms <= 500; ms++)
		sl_hist_add(&h, ms);
	for (uint64_t ms = 501; ms <= 1000; ms++)
		sl_hist_add(&more, ms);
	sl_hist_merge(&h, &more);
	assert_int_equal(h.n, 1000);
	assert_in_range(sl_hist_quantile_ms(&h, 0.5), 455, 545);
	assert_in_range(sl_hist_quantile_ms(&h, 0.95), 865, 1035);
	assert_in_range(sl_hist_quantile_ms(&h, 0.99), 901, 1079);
	assert_true(sl_hist_quantile_ms(&h, 0) <= sl_hist_quantile_ms(&h, 1));
}

static void what_is_beyond_all_buckets_is_in_the_last_one(void **state)
{
	struct sl_hist h = {0};
	sl_hist_add(&h, UINT64_MAX);
	sl_hist_add(&h, 0);
	assert_int_equal(h.buckets[SL_HIST_BUCKETS - 1], 1);
	assert_int_equal(sl_hist_quantile_ms(&h, 0.5), 0);
	assert_true(sl_hist_quantile_ms(&h, 1) > 3600000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quantile_is_right_within_nine_percent),
		cmocka_unit_test(quantiles_follow_the_order_of_the_values),
		cmocka_unit_test(what_is_beyond_all_buckets_is_in_the_last_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
