/* llm/breaker.c and llm/keys.c: when a model is not asked any more, and which key is. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "llm/breaker.h"
#include "llm/keys.h"
#include "llm/profile.h"

#define K SL_STR("openai:gpt-5:work-1")

static int setup(void **state)
{
	struct sl_breakers *b;
	assert_int_equal(sl_breakers_new(&b), SL_OK);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	sl_breakers_free(*state);
	return 0;
}

/* A call that ends at once. false: it was not let through. */
static bool call(struct sl_breakers *b, enum sl_code code, uint64_t now)
{
	struct sl_breaker_answer a = sl_breaker_ask(b, K, now);
	if (a.go)
		(void)sl_breaker_report(b, K, a.trial, sl_breaker_word_of(code), 0, now);
	return a.go;
}

static void six_failures_in_a_row_open_it(void **state)
{
	for (int i = 0; i < 5; i++)
		assert_true(call(*state, SL_CONNECT, 1000));
	assert_true(call(*state, SL_OK, 1000));
	for (int i = 0; i < 6; i++)
		assert_true(call(*state, SL_PROVIDER_ERROR, 40000)); /* the window is another one by now */
	struct sl_breaker_answer a = sl_breaker_ask(*state, K, 40000);
	assert_false(a.go);
	assert_int_equal(a.wait_ms, 10000);
	assert_int_equal(a.failures, 6);
	assert_int_equal(sl_breakers_open(*state), 1);
	assert_true(sl_breaker_ask(*state, SL_STR("openai:gpt-5:work-2"), 40000).go); /* the other key's is its own */
}

static void half_of_ten_calls_in_thirty_seconds_open_it(void **state)
{
	for (int i = 0; i < 4; i++) {
		assert_true(call(*state, SL_OK, 1000 + 1000 * (uint64_t)i));
		assert_true(call(*state, SL_TIMEOUT, 1000 + 1000 * (uint64_t)i));
	}
	assert_true(call(*state, SL_OK, 6000));
	assert_true(call(*state, SL_OVERLOADED, 6000)); /* the tenth, the fifth bad one */
	assert_false(call(*state, SL_OK, 6000));
}

static void failures_further_apart_than_the_window_do_not(void **state)
{
	for (uint64_t i = 0; i < 40; i++) /* every eight seconds one of each: eight in any window */
		assert_true(call(*state, i % 2 ? SL_OK : SL_TIMEOUT, 1000 + i * 4000));
}

static void what_is_our_own_fault_does_not_open_it(void **state)
{
	static const enum sl_code ours[] = {SL_PROVIDER_REJECTED, SL_PROVIDER_AUTH,    SL_PROVIDER_MODEL,
					    SL_RATE_LIMITED,      SL_CONTEXT_TOO_LONG, SL_QUOTA_EXHAUSTED,
					    SL_OUTPUT_INVALID,    SL_CANCELLED,        SL_NO_MEMORY};
	for (size_t i = 0; i < SL_COUNT_OF(ours); i++)
		for (int k = 0; k < 20; k++)
			assert_true(call(*state, ours[i], 1000));
}

static void slow_first_tokens_count_as_failures(void **state)
{
	for (int i = 0; i < 6; i++) {
		assert_true(sl_breaker_ask(*state, K, 1000).go);
		(void)sl_breaker_report(*state, K, false, SL_BREAKER_GOOD, SL_BREAKER_SLOW_MS + 1, 1000);
	}
	assert_false(sl_breaker_ask(*state, K, 1000).go);
}

static void it_stays_open_twice_as_long_each_time_and_one_trial_goes_out(void **state)
{
	uint64_t now = 1000;
	static const uint64_t open_ms[] = {10000, 20000, 40000, 80000, 120000, 120000};
	for (int i = 0; i < 6; i++)
		assert_true(call(*state, SL_CONNECT, now));
	for (size_t i = 0; i < SL_COUNT_OF(open_ms); i++) {
		assert_int_equal(sl_breaker_ask(*state, K, now).wait_ms, open_ms[i]);
		assert_false(sl_breaker_ask(*state, K, now + open_ms[i] - 1).go);
		now += open_ms[i];
		assert_int_equal(sl_breaker_wait(*state, K, now), 0);
		struct sl_breaker_answer a = sl_breaker_ask(*state, K, now);
		assert_true(a.go && a.trial);
		for (int k = 0; k < 10; k++)
			assert_false(sl_breaker_ask(*state, K, now + 100).go); /* only the one */
		assert_true(sl_breaker_report(*state, K, true, SL_BREAKER_BAD, 0, now));
	}
	now += 120000;
	struct sl_breaker_answer a = sl_breaker_ask(*state, K, now);
	assert_true(a.trial);
	(void)sl_breaker_report(*state, K, true, SL_BREAKER_GOOD, 100, now);
	assert_int_equal(sl_breakers_open(*state), 0);
	assert_true(sl_breaker_proven(*state, K, now));
	for (int i = 0; i < 6; i++)
		assert_true(call(*state, SL_CONNECT, now));
	assert_int_equal(sl_breaker_ask(*state, K, now).wait_ms, 10000); /* from the beginning */
}

static void a_trial_that_was_called_off_gives_its_place_back(void **state)
{
	for (int i = 0; i < 6; i++)
		assert_true(call(*state, SL_CONNECT, 0));
	assert_true(sl_breaker_ask(*state, K, 10000).trial);
	assert_false(sl_breaker_ask(*state, K, 10000).go);
	(void)sl_breaker_report(*state, K, true, SL_BREAKER_NOTHING, 0, 10000);
	assert_true(sl_breaker_ask(*state, K, 10000).trial);
	(void)sl_breaker_report(*state, K, true, SL_BREAKER_GOOD, 0, 10000);
}

static void an_answer_from_before_it_opened_changes_nothing(void **state)
{
	for (int i = 0; i < 7; i++)
		assert_true(sl_breaker_ask(*state, K, 0).go);
	for (int i = 0; i < 6; i++)
		(void)sl_breaker_report(*state, K, false, SL_BREAKER_BAD, 0, 100);
	(void)sl_breaker_report(*state, K, false, SL_BREAKER_GOOD, 50, 200);
	assert_false(sl_breaker_ask(*state, K, 300).go);
	assert_int_equal(sl_breaker_reset(*state, K, 300), SL_OK);
	assert_true(sl_breaker_ask(*state, K, 300).go);
	assert_int_equal(sl_breaker_reset(*state, SL_STR("nobody"), 300), SL_NOT_FOUND);
}

static void people_see_what_it_sees(void **state)
{
	SL_BUF(out, 4096);
	for (int i = 0; i < 6; i++)
		assert_true(call(*state, SL_CONNECT, 1000));
	sl_breakers_json(*state, &out, 4000);
	assert_string_equal(out.data,
			    "{\"key\":\"openai:gpt-5:work-1\",\"state\":\"open\",\"since_ms\":3000,\"failures\":6,"
			    "\"consecutive\":0,\"calls\":0,\"opened\":1,\"retry_in_ms\":7000}");
}

/* ---- keys ---- */

struct fixture {
	struct sl_profiles *profiles;
	struct sl_keys *keys;
};

static struct sl_profile *put(struct fixture *f, const char *body)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_profile_row row = {0};
	struct sl_error err;
	assert_int_equal(sl_json_parse(sl_str(body), &doc, &err), SL_OK);
	assert_int_equal(sl_profiles_put(f->profiles, SL_STR("work"), doc, &row, NULL, &err), SL_OK);
	sl_profile_row_fini(&row);
	return sl_profiles_get(f->profiles, SL_STR("work"));
}

#define THREE                                                                                                          \
	"{\"provider\":\"openai\",\"model\":\"m\",\"api_keys\":[\"sk-aaaaaaaa1111\",\"sk-bbbbbbbb2222\",\"sk-"         \
	"cccccccc3333\"]}"

static int keys_setup(void **state)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {7};
	struct fixture *f = calloc(1, sizeof(*f));
	assert_int_equal(sl_profiles_new(secret, &f->profiles), SL_OK);
	assert_int_equal(sl_keys_new(&f->keys), SL_OK);
	*state = f;
	return 0;
}

static int keys_teardown(void **state)
{
	struct fixture *f = *state;
	sl_keys_free(f->keys);
	sl_profiles_free(f->profiles);
	free(f);
	return 0;
}

static void each_key_has_its_own_fate(void **state)
{
	struct fixture *f = *state;
	SL_AUTO(sl_profile) p = put(f, THREE);
	struct sl_lane lane[4];
	for (uint32_t i = 0; i < 3; i++)
		sl_keys_begin(f->keys, p, i);
	sl_keys_begin(f->keys, p, 2);
	assert_int_equal(sl_keys_lanes(f->keys, p, lane, 4, 0), 3);
	assert_int_equal(lane[2].in_flight, 2);
	sl_keys_end(f->keys, p, 0, SL_PROVIDER_AUTH, 0, 1000);
	sl_keys_end(f->keys, p, 1, SL_RATE_LIMITED, 7000, 1000);
	sl_keys_end(f->keys, p, 2, SL_QUOTA_EXHAUSTED, 0, 1000);
	sl_keys_end(f->keys, p, 2, SL_OK, 0, 1000); /* one that had begun before does not lift it */
	(void)sl_keys_lanes(f->keys, p, lane, 4, 7999);
	assert_int_equal(lane[0].state, SL_KEY_OUT);
	assert_int_equal(lane[1].state, SL_KEY_RESTS);
	assert_int_equal(lane[1].until_ms, 8000);
	assert_int_equal(lane[2].state, SL_KEY_PARKED);
	assert_int_equal(lane[0].in_flight + lane[1].in_flight + lane[2].in_flight, 0);
	(void)sl_keys_lanes(f->keys, p, lane, 4, 8000);
	assert_int_equal(lane[1].state, SL_KEY_FIT);
	(void)sl_keys_lanes(f->keys, p, lane, 4, 1000 + SL_KEYS_PARKED_MS);
	assert_int_equal(lane[2].state, SL_KEY_FIT);
	assert_int_equal(lane[0].state, SL_KEY_OUT);
	SL_BUF(out, 4096);
	sl_keys_json(f->keys, &out, 2000);
	assert_non_null(strstr(out.data, "{\"profile\":\"work\",\"lane\":1,\"key\":\"\xe2\x80\xa6"
					 "1111\",\"state\":\"out\",\"until_in_ms\":0,\"in_flight\":0,\"calls\":1,"
					 "\"failures\":1}"));
	assert_null(strstr(out.data, "sk-"));
}

static void a_key_that_was_set_again_is_another_key(void **state)
{
	struct fixture *f = *state;
	struct sl_lane lane[4];
	{
		SL_AUTO(sl_profile) p = put(f, THREE);
		sl_keys_begin(f->keys, p, 0);
		sl_keys_begin(f->keys, p, 0);
		sl_keys_end(f->keys, p, 0, SL_PROVIDER_AUTH, 0, 0);
		SL_AUTO(sl_profile)
		changed = put(f, "{\"provider\":\"openai\",\"model\":\"m\",\"api_keys\":[\"sk-dddddddd4444\"]}");
		assert_int_equal(sl_keys_lanes(f->keys, changed, lane, 4, 1), 1);
		assert_int_equal(lane[0].state, SL_KEY_FIT);
		sl_keys_end(f->keys, p, 0, SL_PROVIDER_AUTH, 0, 1); /* a call with the old one, late */
		(void)sl_keys_lanes(f->keys, changed, lane, 4, 1);
		assert_int_equal(lane[0].state, SL_KEY_FIT);
		sl_keys_begin(f->keys, changed, 0);
		sl_keys_end(f->keys, changed, 0, SL_PROVIDER_AUTH, 0, 1);
		assert_int_equal(sl_keys_reset(f->keys, SL_STR("work-2")), SL_NOT_FOUND);
		assert_int_equal(sl_keys_reset(f->keys, SL_STR("work-1")), SL_OK);
		(void)sl_keys_lanes(f->keys, changed, lane, 4, 1);
		assert_int_equal(lane[0].state, SL_KEY_FIT);
	}
}

static void a_longer_rest_is_not_cut_by_a_shorter_hint(void **state)
{
	struct fixture *f = *state;
	SL_AUTO(sl_profile) p = put(f, THREE);
	struct sl_lane lane[4];
	sl_keys_begin(f->keys, p, 0);
	sl_keys_begin(f->keys, p, 0);
	sl_keys_end(f->keys, p, 0, SL_RATE_LIMITED, 60000, 0);
	sl_keys_end(f->keys, p, 0, SL_RATE_LIMITED, 0, 10);
	(void)sl_keys_lanes(f->keys, p, lane, 4, 20);
	assert_int_equal(lane[0].until_ms, 60000);
}

static void without_memory(void *arg)
{
	struct fixture *f = arg;
	SL_AUTO(sl_breakers) b = NULL;
	SL_AUTO(sl_keys) keys = NULL;
	SL_AUTO(sl_profile) p = sl_profiles_get(f->profiles, SL_STR("work"));
	struct sl_lane lane[4];
	if (sl_breakers_new(&b) != SL_OK || sl_keys_new(&keys) != SL_OK)
		return;
	for (int i = 0; i < 40; i++) {
		char name[16];
		snprintf(name, sizeof(name), "k%d", i);
		struct sl_breaker_answer a = sl_breaker_ask(b, sl_str(name), 0);
		assert_true(a.go);
		(void)sl_breaker_report(b, sl_str(name), a.trial, SL_BREAKER_BAD, 0, 0);
	}
	assert_int_equal(sl_keys_lanes(keys, p, lane, 4, 0), 3);
	sl_keys_begin(keys, p, 0);
	sl_keys_end(keys, p, 0, SL_RATE_LIMITED, 0, 0);
}

static void they_cope_without_memory(void **state)
{
	struct fixture *f = *state;
	SL_AUTO(sl_profile) p = put(f, THREE);
	assert_true(sl_test_torture(without_memory, f) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(six_failures_in_a_row_open_it, setup, teardown),
		cmocka_unit_test_setup_teardown(half_of_ten_calls_in_thirty_seconds_open_it, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_further_apart_than_the_window_do_not, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_our_own_fault_does_not_open_it, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_first_tokens_count_as_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(it_stays_open_twice_as_long_each_time_and_one_trial_goes_out, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_trial_that_was_called_off_gives_its_place_back, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_from_before_it_opened_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(people_see_what_it_sees, setup, teardown),
		cmocka_unit_test_setup_teardown(each_key_has_its_own_fate, keys_setup, keys_teardown),
		cmocka_unit_test_setup_teardown(a_key_that_was_set_again_is_another_key, keys_setup, keys_teardown),
		cmocka_unit_test_setup_teardown(a_longer_rest_is_not_cut_by_a_shorter_hint, keys_setup, keys_teardown),
		cmocka_unit_test_setup_teardown(they_cope_without_memory, keys_setup, keys_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
