/* llm/limiter.c under a clock of its own: what went out in any minute, how much of the limit was used, who came first.
 */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "llm/http.h"
#include "llm/limiter.h"
#include "tests/lib/waiter.h"

#define MINUTE 60000ull

static int setup(void **state)
{
	struct sl_limiter *l;
	assert_int_equal(sl_limiter_new(&l), SL_OK);
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	sl_limiter_free(*state);
	return 0;
}

static uint64_t ask(struct sl_limiter *l, const char *name, struct sl_rate rate, uint64_t tokens, struct sl_ticket *t,
		    uint64_t now)
{
	struct sl_limiter_view v;
	assert_int_equal(sl_limiter_take(l, sl_str(name), &rate, tokens, t, NULL, NULL, now, &v), SL_OK);
	return v.wait_ms;
}

static void a_burst_goes_out_at_once_and_the_rest_evenly(void **state)
{
	struct sl_ticket t[30] = {0};
	const struct sl_rate rate = {.rpm = 60};
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask(*state, "k", rate, 0, &t[i], 1000), 0);
	assert_int_equal(ask(*state, "k", rate, 0, &t[10], 1000), 1000);
	assert_int_equal(ask(*state, "k", rate, 0, &t[11], 1000), 2000);
	assert_int_equal(ask(*state, "k", rate, 0, &t[10], 1999), 1);
	assert_int_equal(ask(*state, "k", rate, 0, &t[10], 2000), 0);
	assert_int_equal(ask(*state, "k", rate, 0, &t[11], 2000), 1000);
	assert_int_equal(ask(*state, "k", rate, 0, &t[11], 3000), 0);
	for (int i = 0; i < 12; i++)
		sl_limiter_settle(*state, &t[i], 0, 3000);
}

static void settling_is_exact_in_both_directions(void **state)
{
	struct sl_ticket a = {0}, b = {0};
	const struct sl_rate rate = {.tpm = 6000}; /* burst 1000, 100 a second */
	assert_int_equal(ask(*state, "k", rate, 1000, &a, 0), 0);
	sl_limiter_settle(*state, &a, 137, 0); /* 863 left */
	assert_int_equal(ask(*state, "k", rate, 863, &b, 0), 0);
	sl_limiter_settle(*state, &b, 963, 0); /* took 100 more than it had asked for */
	assert_int_equal(ask(*state, "k", rate, 1, &a, 0), 1010);
	assert_int_equal(ask(*state, "k", rate, 1, &a, 1010), 0);
	sl_limiter_return(*state, &a, 1010); /* was never sent */
	assert_int_equal(ask(*state, "k", rate, 1, &a, 1010), 0);
	sl_limiter_settle(*state, &a, 1, 1010);
}

static void one_larger_than_the_limit_goes_out_from_a_full_bucket(void **state)
{
	struct sl_ticket a = {0}, b = {0};
	const struct sl_rate rate = {.tpm = 600};
	assert_int_equal(ask(*state, "k", rate, 5000, &a, 0), 0);
	assert_int_equal(ask(*state, "k", rate, 5000, &b, 0),
			 500000); /* debt of 4900, then full again: 5000 at 10 a s */
	sl_limiter_settle(*state, &a, 90, 1000);
	assert_int_equal(ask(*state, "k", rate, 5000, &b, 1000), 8000); /* 10 + 10 of 100 are there */
	sl_limiter_settle(*state, &b, 0, 1000);
}

/* ---- wakes ---- */

static void the_first_in_the_queue_is_woken_when_room_comes_back(void **state)
{
	struct sl_ticket t[3] = {0};
	struct waiter w[3] = {0};
	const struct sl_rate rate = {.tpm = 6000};
	struct sl_limiter_view v;
	for (int i = 0; i < 3; i++)
		assert_int_equal(sl_limiter_take(*state, SL_STR("k"), &rate, 1000, &t[i], &wakes, &w[i], 0, &v), SL_OK);
	assert_string_equal(v.what, "tokens");
	assert_int_equal(v.left, 0);
	assert_int_equal(v.limit, 6000);
	assert_int_equal(v.queue_ahead, 1);
	sl_limiter_settle(*state, &t[0], 0, 0);
	assert_int_equal(w[1].wakes, 1);
	assert_int_equal(w[2].wakes, 0);
	/* the second may not overtake */
	assert_true(ask(*state, "k", rate, 1000, &t[2], 0) > 0);
	assert_int_equal(ask(*state, "k", rate, 1000, &t[1], 0), 0);
	assert_int_equal(w[2].wakes, 1);        /* it is the first now */
	sl_limiter_settle(*state, &t[2], 0, 0); /* and leaves the queue */
	sl_limiter_settle(*state, &t[1], 500, 0);
	assert_int_equal(w[0].refs + w[1].refs + w[2].refs, 0);
}

static void who_leaves_the_queue_makes_way(void **state)
{
	struct sl_ticket t[4] = {0};
	struct waiter w[4] = {0};
	const struct sl_rate rate = {.tpm = 600};
	struct sl_limiter_view v;
	for (int i = 0; i < 4; i++)
		assert_int_equal(sl_limiter_take(*state, SL_STR("k"), &rate, 100, &t[i], &wakes, &w[i], 0, &v), SL_OK);
	sl_limiter_settle(*state, &t[2], 0, 0);
	assert_int_equal(w[1].wakes, 0); /* it was the first all the time and knows when to ask */
	sl_limiter_settle(*state, &t[1], 0, 0);
	assert_int_equal(w[3].wakes, 1);
	assert_int_equal(ask(*state, "k", rate, 100, &t[3], 10000), 0);
	sl_limiter_settle(*state, &t[0], 100, 10000);
	sl_limiter_settle(*state, &t[3], 100, 10000);
}

/* ---- what providers say ---- */

static struct sl_rate_hint read(int status, const char *const (*lines)[2], size_t n)
{
	struct sl_http_header h[16];
	struct sl_rate_hint out;
	for (size_t i = 0; i < n; i++)
		h[i] = (struct sl_http_header){sl_str(lines[i][0]), sl_str(lines[i][1])};
	(void)sl_rate_hint_read(&(struct sl_http_head){.status = status, .headers = h, .n_headers = n}, &out);
	return out;
}

static void headers_of_both_families_are_read(void **state)
{
	static const char *const openai[][2] = {
		{"x-ratelimit-limit-requests", "500"},   {"x-ratelimit-remaining-requests", "499"},
		{"x-ratelimit-reset-requests", "120ms"}, {"x-ratelimit-limit-tokens", "30000"},
		{"x-ratelimit-remaining-tokens", "0"},   {"x-ratelimit-reset-tokens", "6m0s"}};
	struct sl_rate_hint h = read(200, openai, 6);
	assert_int_equal(h.limit_requests, 500);
	assert_int_equal(h.remaining_requests, 499);
	assert_int_equal(h.reset_requests_ms, 120);
	assert_int_equal(h.limit_tokens, 30000);
	assert_int_equal(h.remaining_tokens, 0);
	assert_int_equal(h.reset_tokens_ms, 360000);
	assert_int_equal(h.retry_after_ms, -1);
	static const char *const anthropic[][2] = {{"anthropic-ratelimit-requests-limit", "50"},
						   {"anthropic-ratelimit-requests-remaining", "3"},
						   {"anthropic-ratelimit-tokens-limit", "40000"},
						   {"anthropic-ratelimit-tokens-remaining", "12000"},
						   {"retry-after", "7"}};
	h = read(429, anthropic, 5);
	assert_int_equal(h.limit_requests, 50);
	assert_int_equal(h.remaining_requests, 3);
	assert_int_equal(h.remaining_tokens, 12000);
	assert_int_equal(h.retry_after_ms, 7000);
	static const char *const azure[][2] = {{"x-ratelimit-limit-tokens", "0"},
					       {"x-ratelimit-remaining-tokens", "0"},
					       {"x-ratelimit-remaining-requests", "-1"}};
	h = read(200, azure, 3);
	assert_int_equal(h.limit_tokens, -1);
	assert_int_equal(h.remaining_tokens, -1);
	assert_int_equal(h.remaining_requests, -1);
}

static void a_provider_can_only_shrink_what_is_configured(void **state)
{
	struct sl_ticket t = {0};
	const struct sl_rate rate = {.tpm = 6000};
	struct sl_rate_hint more = SL_RATE_HINT, less = SL_RATE_HINT;
	more.limit_tokens = 1000000, more.remaining_tokens = 1000000;
	sl_limiter_learn(*state, SL_STR("k"), &rate, &more, 0);
	assert_int_equal(ask(*state, "k", rate, 1100, &t, 0), 0);
	sl_limiter_settle(*state, &t, 1000, 0);
	assert_int_equal(ask(*state, "k", rate, 100, &t, 0), 1000);
	sl_limiter_settle(*state, &t, 0, 0);
	less.limit_tokens = 600, less.remaining_tokens = 0;
	sl_limiter_learn(*state, SL_STR("k"), &rate, &less, 60000);
	assert_int_equal(ask(*state, "k", rate, 50, &t, 60000), 5000); /* 10 a second now */
	sl_limiter_settle(*state, &t, 0, 60000);
	/* five minutes later nobody has said it again */
	assert_int_equal(ask(*state, "k", rate, 100, &t, 60000 + SL_LIMITER_LEARNED_MS), 0);
	sl_limiter_settle(*state, &t, 100, 60000 + SL_LIMITER_LEARNED_MS);
	assert_int_equal(ask(*state, "k", rate, 1000, &t, 60000 + SL_LIMITER_LEARNED_MS), 10000);
	sl_limiter_settle(*state, &t, 0, 60000 + SL_LIMITER_LEARNED_MS);
}

static void a_provider_that_asks_for_silence_gets_it(void **state)
{
	struct sl_ticket t = {0};
	const struct sl_rate none = {0};
	struct sl_rate_hint h = SL_RATE_HINT;
	struct sl_limiter_view v;
	h.retry_after_ms = 3200;
	sl_limiter_learn(*state, SL_STR("k"), &none, &h, 1000);
	assert_int_equal(sl_limiter_take(*state, SL_STR("k"), &none, 10, &t, NULL, NULL, 1000, &v), SL_OK);
	assert_int_equal(v.wait_ms, 3200);
	assert_string_equal(v.what, "provider");
	assert_int_equal(sl_limiter_peek(*state, SL_STR("k"), &none, 1, 4000), 200);
	assert_int_equal(ask(*state, "k", none, 10, &t, 4199), 1);
	assert_int_equal(ask(*state, "k", none, 10, &t, 4200), 0);
	sl_limiter_settle(*state, &t, 10, 4200);
}

static void without_any_limit_what_the_provider_says_holds(void **state)
{
	struct sl_ticket t = {0};
	const struct sl_rate none = {0};
	struct sl_rate_hint h = SL_RATE_HINT;
	assert_int_equal(ask(*state, "k", none, 1000000, &t, 0), 0);
	sl_limiter_settle(*state, &t, 1000000, 0);
	h.limit_tokens = 6000, h.remaining_tokens = 200;
	sl_limiter_learn(*state, SL_STR("k"), &none, &h, 0);
	assert_int_equal(ask(*state, "k", none, 200, &t, 0), 0);
	sl_limiter_settle(*state, &t, 200, 0);
	assert_int_equal(ask(*state, "k", none, 100, &t, 0), 1000);
	sl_limiter_settle(*state, &t, 0, 0);
	assert_int_equal(sl_limiter_reset(*state, SL_STR("k"), 0), SL_OK);
	assert_int_equal(ask(*state, "k", none, 1000000, &t, 0), 0);
	sl_limiter_settle(*state, &t, 0, 0);
	assert_int_equal(sl_limiter_reset(*state, SL_STR("nobody"), 0), SL_NOT_FOUND);
}

/* ---- ten tenants in bursts, streams of unknown length: every sliding minute ---- */

#define PROFILES 10
#define TPM      600u
#define REQUESTS 1500
#define SIM_MS   (12 * MINUTE)

struct request {
	struct sl_ticket ticket;
	unsigned profile;
	uint64_t estimate, actual, next, asked, granted, ends;
	enum { AHEAD, WAITS, RUNS, DONE } phase;
};

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13, *s ^= *s >> 7, *s ^= *s << 17;
	return *s;
}

static void any_minute_holds_the_limit_and_one_burst_and_little_is_left_unused(void **state)
{
	struct sl_limiter *l = *state;
	static struct request r[REQUESTS];
	uint64_t seed = 88172645463325252ull;
	const struct sl_rate rate = {.tpm = TPM};
	/* bursts of 15 every ten seconds for each tenant: three times what fits; nobody knows how long an answer will
	 * be */
	for (int i = 0; i < REQUESTS; i++) {
		r[i] = (struct request){.profile = (unsigned)i % PROFILES};
		r[i].estimate = 40 + rnd(&seed) % 80;
		r[i].actual = r[i].estimate * (40 + rnd(&seed) % 80) / 100; /* 40 % less to 20 % more than reserved */
		r[i].next = (uint64_t)(i / 150) * 10000 + rnd(&seed) % 200;
	}
	uint64_t now = 0, asks = 0;
	while (now < SIM_MS) {
		uint64_t soonest = SIM_MS;
		for (int i = 0; i < REQUESTS; i++) {
			struct request *q = &r[i];
			if (q->phase == DONE)
				continue;
			if (q->next <= now && q->phase == RUNS) {
				sl_limiter_settle(l, &q->ticket, q->actual, now);
				q->phase = DONE;
				/* whoever is first is woken: ask all of that tenant again in this instant */
				for (int k = 0; k < REQUESTS; k++)
					if (r[k].profile == q->profile && r[k].phase == WAITS)
						r[k].next = now;
				soonest = now;
			} else if (q->next <= now) {
				char name[16];
				snprintf(name, sizeof(name), "p%u", q->profile);
				if (q->phase == AHEAD)
					q->asked = ++asks;
				uint64_t wait = ask(l, name, rate, q->estimate, &q->ticket, now);
				q->phase = wait ? WAITS : RUNS;
				if (!wait) {
					q->granted = now;
					q->ends = now + 500 + rnd(&seed) % 2500;
				}
				q->next = wait ? now + wait : q->ends;
			}
			if (q->phase != DONE && q->next < soonest)
				soonest = q->next;
		}
		now = soonest > now ? soonest : now + (soonest < now);
	}
	for (unsigned p = 0; p < PROFILES; p++) {
		/* every window that begins with a grant: no other one can hold more */
		uint64_t worst = 0, largest = 0, used_10_min = 0;
		unsigned pending = 0;
		for (int i = 0; i < REQUESTS; i++) {
			if (r[i].profile != p)
				continue;
			if (r[i].phase != DONE) {
				pending++;
				if (r[i].phase != RUNS)
					continue;
			}
			uint64_t sum = 0;
			for (int k = 0; k < REQUESTS; k++)
				if (r[k].profile == p && r[k].phase >= RUNS && r[k].granted >= r[i].granted &&
				    r[k].granted < r[i].granted + MINUTE)
					sum += r[k].actual;
			worst = sum > worst ? sum : worst;
			largest = r[i].actual > largest ? r[i].actual : largest;
			if (r[i].granted >= MINUTE && r[i].granted < 11 * MINUTE)
				used_10_min += r[i].actual;
		}
		uint64_t burst = TPM / SL_LIMITER_BURST_DIVISOR;
		assert_true(pending > 0); /* it was busy to the end, so the figures below mean something */
		assert_in_range(worst, TPM * 95 / 100, TPM + (burst > largest ? burst : largest));
		assert_in_range(used_10_min, 10 * TPM * 95 / 100, 10 * TPM + burst + largest);
	}
	for (int i = 0; i < REQUESTS; i++) /* who asked first was granted first */
		for (int k = 0; k < REQUESTS; k++)
			if (r[i].profile == r[k].profile && r[i].phase >= RUNS && r[k].phase >= RUNS &&
			    r[i].asked < r[k].asked)
				assert_true(r[i].granted <= r[k].granted);
	for (int i = 0; i < REQUESTS; i++)
		sl_limiter_settle(l, &r[i].ticket, 0, now);
}

static void requests_a_minute_hold_as_well(void **state)
{
	static struct sl_ticket t[400];
	uint64_t granted[400], now = 0;
	const struct sl_rate rate = {.rpm = 60, .tpm = 1000000};
	for (int i = 0; i < 400; i++) {
		uint64_t wait;
		while ((wait = ask(*state, "k", rate, 10, &t[i], now)) > 0)
			now += wait;
		granted[i] = now;
		sl_limiter_settle(*state, &t[i], 10, now);
	}
	for (int i = 0; i < 400; i++) {
		int n = 0;
		for (int k = i; k < 400 && granted[k] < granted[i] + MINUTE; k++)
			n++;
		assert_true(n <= 60 + 10);
	}
	assert_in_range(now, 390 * 1000, 390 * 1000 * 100 / 95);
}

/* ---- many threads ---- */

static void *hammer(void *arg)
{
	struct sl_limiter *l = arg;
	const struct sl_rate rate = {.tpm = 6000000};
	for (int i = 0; i < 2000; i++) {
		struct sl_ticket t = {0};
		struct sl_limiter_view v;
		assert_int_equal(sl_limiter_take(l, SL_STR("k"), &rate, 100, &t, NULL, NULL, 0, &v), SL_OK);
		sl_limiter_settle(l, &t, v.wait_ms ? 0 : 50, 0);
	}
	return NULL;
}

static void sums_hold_under_threads(void **state)
{
	pthread_t th[4];
	SL_BUF(b, 4096);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, hammer, *state), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	sl_limiter_json(*state, &b, 0);
	unsigned long long granted = strtoull(strstr(b.data, "\"granted\":") + 10, NULL, 10);
	unsigned long long tokens = strtoull(strstr(b.data, "\"granted_tokens\":") + 17, NULL, 10);
	unsigned long long left = strtoull(strstr(b.data, "\"tokens_left\":") + 14, NULL, 10);
	assert_int_equal(tokens, 50 * granted);
	assert_int_equal(left, 1000000 - tokens);
	assert_non_null(strstr(b.data, "\"waiting\":0"));
	assert_non_null(strstr(b.data, "\"in_flight\":0"));
}

static void without_memory(void *arg)
{
	SL_AUTO(sl_limiter) l = NULL;
	const struct sl_rate rate = {.tpm = 600};
	struct sl_rate_hint hint = SL_RATE_HINT;
	hint.retry_after_ms = 10;
	if (sl_limiter_new(&l) != SL_OK)
		return;
	for (int i = 0; i < 40; i++) { /* enough for the table to grow */
		struct sl_ticket t = {0};
		struct sl_limiter_view v;
		char name[16];
		snprintf(name, sizeof(name), "k%d", i);
		enum sl_code rc = sl_limiter_take(l, sl_str(name), &rate, 10, &t, NULL, NULL, 0, &v);
		assert_true(rc == SL_OK || rc == SL_NO_MEMORY);
		sl_limiter_settle(l, &t, 5, 0);
		sl_limiter_learn(l, sl_str(name), &rate, &hint, 0);
	}
}

static void it_copes_without_memory(void **state)
{
	assert_true(sl_test_torture(without_memory, NULL) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_burst_goes_out_at_once_and_the_rest_evenly, setup, teardown),
		cmocka_unit_test_setup_teardown(settling_is_exact_in_both_directions, setup, teardown),
		cmocka_unit_test_setup_teardown(one_larger_than_the_limit_goes_out_from_a_full_bucket, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_in_the_queue_is_woken_when_room_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_the_queue_makes_way, setup, teardown),
		cmocka_unit_test(headers_of_both_families_are_read),
		cmocka_unit_test_setup_teardown(a_provider_can_only_shrink_what_is_configured, setup, teardown),
		cmocka_unit_test_setup_teardown(a_provider_that_asks_for_silence_gets_it, setup, teardown),
		cmocka_unit_test_setup_teardown(without_any_limit_what_the_provider_says_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(any_minute_holds_the_limit_and_one_burst_and_little_is_left_unused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(requests_a_minute_hold_as_well, setup, teardown),
		cmocka_unit_test_setup_teardown(sums_hold_under_threads, setup, teardown),
		cmocka_unit_test(it_copes_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
