/* middleware/retry.c with an execution made of nothing but what it asks for. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/chat.h"
#include "llm/governor.h"
#include "llm/profile.h"
#include "llm/services.h"

struct sl_exec {
	struct sl_node_def def;
	struct sl_node_type type;
	uint32_t tries; /* retries so far are one less */
	uint64_t random;
	char reason[200];
	struct sl_services services;
	struct json_object *params;
	uint64_t now_ms;
	uint32_t state[8];
};

extern const struct sl_middleware sl_middleware_retry;

const struct sl_node_def *sl_exec_def(const struct sl_exec *x)
{
	return &x->def;
}
void *sl_exec_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes)
{
	assert_true(bytes <= sizeof(x->state));
	return x->state;
}
struct sl_services *sl_exec_services(const struct sl_exec *x)
{
	return (struct sl_services *)(uintptr_t)&x->services;
}
struct json_object *sl_exec_params(struct sl_exec *x)
{
	return x->params;
}
static uint64_t fake_mono(void *ctx)
{
	return ((struct sl_exec *)ctx)->now_ms;
}
static int64_t fake_wall(void *ctx)
{
	return (int64_t)((struct sl_exec *)ctx)->now_ms;
}
const struct sl_clock *sl_exec_clock(const struct sl_exec *x)
{
	static struct sl_clock clock;
	clock = (struct sl_clock){fake_mono, fake_wall, (void *)(uintptr_t)x};
	return &clock;
}
uint32_t sl_exec_earlier_tries(const struct sl_exec *x)
{
	return 0;
}

uint64_t sl_exec_random(struct sl_exec *x)
{
	return x->random;
}
void sl_exec_reason(struct sl_exec *x, const char *reason)
{
	snprintf(x->reason, sizeof(x->reason), "%s", reason);
}

static struct sl_exec node(enum sl_effects effects)
{
	return (struct sl_exec){.type = {.name = "n", .effects = effects}, .tries = 1};
}

/* What it says to this failure: the delay, or -1. */
static int64_t ask(struct sl_exec *x, enum sl_code code, uint32_t hint_ms)
{
	struct sl_error err = {.code = code, .retry_after_ms = hint_ms, .text = "no"};
	struct sl_outcome outcome = {.code = code, .err = &err, .attempt = x->tries};
	uint64_t ms = 0;
	x->def.type = &x->type;
	x->state[0] = x->tries - 1;
	if (sl_middleware_retry.applies && !sl_middleware_retry.applies(&x->def))
		return -1;
	return sl_middleware_retry.failed(x, &outcome, &ms) == SL_AGAIN_AFTER ? (int64_t)ms : -1;
}

static void a_model_call_is_tried_twice_more_unasked(void **state)
{
	struct sl_exec x = node(SL_EFFECTS_MODEL);
	assert_int_equal(ask(&x, SL_OVERLOADED, 0), 500);
	x.tries = 2;
	assert_int_equal(ask(&x, SL_OVERLOADED, 0), 1000);
	x.tries = 3;
	assert_int_equal(ask(&x, SL_OVERLOADED, 0), -1);
}

static void other_nodes_are_tried_again_only_when_asked_for(void **state)
{
	struct sl_exec x = node(SL_EFFECTS_EXTERNAL);
	assert_int_equal(ask(&x, SL_TIMEOUT, 0), -1);
	x.def.has_retry = true;
	assert_int_equal(ask(&x, SL_TIMEOUT, 0), -1); /* max 0 */
	x.def.retry = (struct sl_retry){.max = 5, .backoff_ms = 100, .max_backoff_ms = 350, .factor = 2};
	static const int64_t expected[] = {100, 200, 350, 350, 350, -1};
	for (uint32_t i = 0; i < SL_COUNT_OF(expected); i++) {
		x.tries = i + 1;
		assert_int_equal(ask(&x, SL_TIMEOUT, 0), expected[i]);
	}
}

static void what_would_fail_the_same_way_is_not_tried_again(void **state)
{
	static const enum sl_code codes[] = {SL_INVALID,         SL_EXPRESSION,       SL_PROVIDER_AUTH,
					     SL_QUOTA_EXHAUSTED, SL_CONTEXT_TOO_LONG, SL_CANCELLED};
	struct sl_exec x = node(SL_EFFECTS_MODEL);
	for (size_t i = 0; i < SL_COUNT_OF(codes); i++)
		assert_int_equal(ask(&x, codes[i], 0), -1);
}

static void an_answer_that_is_none_is_asked_for_once_more(void **state)
{
	struct sl_exec x = node(SL_EFFECTS_MODEL);
	assert_true(ask(&x, SL_MALFORMED, 0) > 0);
	assert_int_equal(ask(&x, SL_MALFORMED, 0), -1);
	struct sl_exec y = node(SL_EFFECTS_MODEL);
	assert_true(ask(&y, SL_MALFORMED, 0) > 0);
	assert_true(ask(&y, SL_TIMEOUT, 0) > 0); /* that is another story */
}

static void a_hint_is_never_undercut_and_a_long_one_not_waited_for(void **state)
{
	struct sl_exec x = node(SL_EFFECTS_MODEL);
	static const uint64_t randoms[] = {0, UINT64_MAX / 3, UINT64_MAX};
	for (size_t i = 0; i < SL_COUNT_OF(randoms); i++) {
		x.random = randoms[i];
		int64_t ms = ask(&x, SL_RATE_LIMITED, 7000);
		assert_in_range(ms, 7000, 7350);
	}
	assert_non_null(strstr(x.reason, "rate_limited, trying again in 7."));
	assert_int_equal(ask(&x, SL_RATE_LIMITED, 120001), -1);
	assert_in_range(ask(&x, SL_RATE_LIMITED, 120000), 120000, 126000);
	x.random = 0;
	assert_int_equal(ask(&x, SL_RATE_LIMITED, 20), 500); /* a shorter hint does not shorten the backoff */
}

static void jitter_takes_away_half_at_most(void **state)
{
	struct sl_exec x = node(SL_EFFECTS_MODEL);
	x.random = UINT64_MAX;
	assert_in_range(ask(&x, SL_TIMEOUT, 0), 250, 251);
	x.random = 1u << 20;
	assert_in_range(ask(&x, SL_TIMEOUT, 0), 499, 500);
}

/* A provider that fails each of 500 calls, which would all be tried twice more. */
static void an_outage_brings_no_storm(void **state)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {7};
	SL_AUTO(sl_profiles) profiles = NULL;
	SL_AUTO(sl_governor) governor = NULL;
	SL_AUTO(sl_llm) llm = NULL;
	SL_AUTO_JSON params = json_object_new_object();
	struct sl_error err;
	unsigned retries = 0;
	assert_int_equal(sl_profiles_new(secret, &profiles), SL_OK);
	assert_int_equal(sl_profiles_add_sim(profiles, "sim", "http://127.0.0.1:1/v1"), SL_OK);
	assert_int_equal(sl_governor_new(NULL, &governor), SL_OK);
	const struct sl_llm_config config = {.profiles = profiles, .governor = governor};
	assert_int_equal(sl_llm_new(&config, &llm, &err), SL_OK);
	sl_json_set_str(params, "prompt", SL_STR("hello"));
	for (unsigned i = 0; i < 500; i++) {
		struct sl_exec x = node(SL_EFFECTS_MODEL);
		x.def.type = &x.type;
		x.services = (struct sl_services){.llm = llm, .governor = governor};
		x.params = params;
		x.now_ms = 10 * i; /* five seconds of it */
		assert_int_equal(sl_middleware_retry.enter(&x, &err), SL_PASS);
		while (x.tries < 3 && ask(&x, SL_OVERLOADED, 0) >= 0)
			x.tries++, retries++;
		assert_true(x.tries > 1 || strstr(x.reason, "the retries of profile 'sim' are used up"));
	}
	assert_in_range(retries, 100, 100 + 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_call_is_tried_twice_more_unasked),
		cmocka_unit_test(other_nodes_are_tried_again_only_when_asked_for),
		cmocka_unit_test(what_would_fail_the_same_way_is_not_tried_again),
		cmocka_unit_test(an_answer_that_is_none_is_asked_for_once_more),
		cmocka_unit_test(a_hint_is_never_undercut_and_a_long_one_not_waited_for),
		cmocka_unit_test(jitter_takes_away_half_at_most),
		cmocka_unit_test(an_outage_brings_no_storm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
