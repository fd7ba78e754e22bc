#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "llm/stats.h"

#define MINUTE 60000
#define NOW    (1000000000ll * MINUTE + 5000)

static struct sl_stats_call call(const char *model, enum sl_code rc, uint64_t total_ms)
{
	return (struct sl_stats_call){.profile = "main",
				      .provider = "openai",
				      .model = model,
				      .rc = rc,
				      .total_ms = total_ms,
				      .first_ms = rc == SL_OK ? total_ms / 2 : 0,
				      .pieces = 11,
				      .input_tokens = 10,
				      .output_tokens = 5,
				      .cost_microusd = 7};
}

static struct sl_stats_minute minutes[SL_STATS_MINUTES];
static struct sl_stats_model models[SL_STATS_MODELS + 1];

static void calls_are_counted_in_their_minute_and_forgotten_after_an_hour(void **state)
{
	SL_AUTO(sl_stats) s = NULL;
	assert_int_equal(sl_stats_new(&s), SL_OK);
	struct sl_stats_call ok = call("m", SL_OK, 100), bad = call("m", SL_TIMEOUT, 9000),
			     cut = call("m", SL_CANCELLED, 1);
	sl_stats_call(s, NOW - 3 * MINUTE, &ok);
	sl_stats_call(s, NOW, &ok);
	sl_stats_call(s, NOW, &bad);
	sl_stats_call(s, NOW, &cut);
	sl_stats_minutes(s, NOW, minutes);
	const struct sl_stats_minute *last = &minutes[SL_STATS_MINUTES - 1], *before = last - 3;
	assert_int_equal(last->at_ms, NOW - 5000);
	assert_int_equal(last->calls, 3);
	assert_int_equal(last->errors, 1); /* a cancelled call is none */
	assert_int_equal(last->output_tokens, 15);
	assert_int_equal(last->cost_microusd, 21);
	assert_int_equal(last->latency.n, 1); /* of those that succeeded */
	assert_in_range(sl_hist_quantile_ms(&last->latency, 0.5), 91, 109);
	assert_in_range(sl_hist_quantile_ms(&last->first, 0.5), 45, 55);
	assert_int_equal(before->calls, 1);
	assert_int_equal((last - 1)->calls, 0);
	sl_stats_minutes(s, NOW + 60 * MINUTE, minutes); /* the same slots, an hour on */
	for (size_t i = 0; i < SL_STATS_MINUTES; i++)
		assert_int_equal(minutes[i].calls, 0);
	sl_stats_call(s, NOW + 60 * MINUTE, &ok);
	sl_stats_minutes(s, NOW + 60 * MINUTE, minutes);
	assert_int_equal(last->calls, 1);
}

static void bounds_are_those_of_the_conventions(void **state)
{
	SL_AUTO(sl_stats) s = NULL;
	assert_int_equal(sl_stats_new(&s), SL_OK);
	static const struct {
		uint64_t ms;
		unsigned bucket;
	} rows[] = {{10, 0}, {11, 1}, {20, 1}, {40, 2}, {81920, 13}, {81921, 14}, {1, 0}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char model[16];
		snprintf(model, sizeof(model), "m%zu", i);
		struct sl_stats_call c = call(model, SL_OK, rows[i].ms);
		sl_stats_call(s, NOW, &c);
	}
	assert_int_equal(sl_stats_models(s, models, SL_COUNT_OF(models)), SL_COUNT_OF(rows));
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		assert_int_equal(models[i].duration.counts[rows[i].bucket], 1);
		assert_int_equal(models[i].duration.n, 1);
		assert_int_equal(models[i].input.counts[2], 1);  /* 10 is at most 16 */
		assert_int_equal(models[i].output.counts[2], 1); /* 5, too */
	}
	assert_true(models[4].piece_s.sum > 4.0 && models[4].piece_s.sum < 4.2); /* half of 82 s over 10 gaps */
}

static uint64_t seen_errors[64];
static void on_error(void *arg, enum sl_code rc, uint64_t n)
{
	seen_errors[-(int)rc] = n;
}

static void models_beyond_the_cap_share_one_record(void **state)
{
	SL_AUTO(sl_stats) s = NULL;
	assert_int_equal(sl_stats_new(&s), SL_OK);
	for (int i = 0; i < SL_STATS_MODELS + 50; i++) {
		char model[16];
		snprintf(model, sizeof(model), "m%d", i);
		struct sl_stats_call c = call(model, i % 2 ? SL_RATE_LIMITED : SL_OK, 10);
		sl_stats_call(s, NOW, &c);
	}
	assert_int_equal(sl_stats_models(s, models, SL_COUNT_OF(models)), SL_STATS_MODELS + 1);
	assert_string_equal(models[SL_STATS_MODELS].model, "other");
	assert_int_equal(models[SL_STATS_MODELS].calls, 50);
	sl_stats_errors(s, on_error, NULL);
	assert_int_equal(seen_errors[-SL_RATE_LIMITED], (SL_STATS_MODELS + 50) / 2);
}

static struct sl_stats *shared;
static void *many(void *arg)
{
	for (int i = 0; i < 5000; i++) {
		struct sl_stats_call c = call(i % 2 ? "a" : "b", SL_OK, 10);
		sl_stats_call(shared, NOW + i, &c);
	}
	return NULL;
}

static void counts_of_many_threads_add_up(void **state)
{
	pthread_t threads[4];
	assert_int_equal(sl_stats_new(&shared), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many, NULL), 0);
	sl_stats_minutes(shared, NOW, minutes);
	for (size_t i = 0; i < SL_COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sl_stats_models(shared, models, SL_COUNT_OF(models)), 2);
	assert_int_equal(models[0].calls + models[1].calls, 20000);
	sl_stats_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_counted_in_their_minute_and_forgotten_after_an_hour),
		cmocka_unit_test(bounds_are_those_of_the_conventions),
		cmocka_unit_test(models_beyond_the_cap_share_one_record),
		cmocka_unit_test(counts_of_many_threads_add_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
