/* middleware/retry.c with an execution made of nothing but what it asks for. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "engine/graph.h"
#include "engine/middleware.h"

struct sl_exec {
	struct sl_node_def def;
	struct sl_node_type type;
	uint32_t tries;
	uint64_t random;
	char reason[200];
};

extern const struct sl_middleware sl_middleware_retry;

const struct sl_node_def *sl_exec_def(const struct sl_exec *x)
{
	return &x->def;
}
uint32_t sl_exec_tries(const struct sl_exec *x)
{
	return x->tries;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_call_is_tried_twice_more_unasked),
		cmocka_unit_test(other_nodes_are_tried_again_only_when_asked_for),
		cmocka_unit_test(what_would_fail_the_same_way_is_not_tried_again),
		cmocka_unit_test(a_hint_is_never_undercut_and_a_long_one_not_waited_for),
		cmocka_unit_test(jitter_takes_away_half_at_most),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
