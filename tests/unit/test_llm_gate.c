/* llm/gate.c and llm/retry_budget.c: who is inside, who is next; how many further attempts an outage may bring. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <string.h>

#include "base/buf.h"
#include "llm/gate.h"
#include "llm/retry_budget.h"
#include "tests/lib/waiter.h"

static uint64_t enter(struct sl_gates *g, uint32_t most, struct sl_pass *p, struct waiter *w)
{
	uint64_t ahead;
	assert_int_equal(sl_gate_enter(g, SL_STR("p"), most, p, w ? &wakes : NULL, w, &ahead), SL_OK);
	return ahead;
}

static void as_many_as_allowed_are_inside_and_the_first_in_the_queue_is_next(void **state)
{
	SL_AUTO(sl_gates) g = NULL;
	struct sl_pass p[5] = {0};
	struct waiter w[5] = {0};
	assert_int_equal(sl_gates_new(&g), SL_OK);
	assert_int_equal(enter(g, 2, &p[0], &w[0]), 0);
	assert_int_equal(enter(g, 2, &p[1], &w[1]), 0);
	assert_int_equal(enter(g, 2, &p[2], &w[2]), 1);
	assert_int_equal(enter(g, 2, &p[3], &w[3]), 2);
	assert_int_equal(sl_gate_inside(g, SL_STR("p")), 2);
	sl_gate_leave(g, &p[0]);
	assert_int_equal(w[2].wakes, 1);
	assert_int_equal(w[3].wakes, 0);
	assert_true(enter(g, 2, &p[4], &w[4]) > 0); /* a newcomer does not slip in before who was woken */
	assert_true(enter(g, 2, &p[3], &w[3]) > 0);
	assert_int_equal(enter(g, 2, &p[2], &w[2]), 0);
	sl_gate_leave(g, &p[3]); /* out of the queue */
	sl_gate_leave(g, &p[3]);
	sl_gate_leave(g, &p[1]);
	assert_int_equal(w[4].wakes, 1);
	assert_int_equal(enter(g, 2, &p[4], &w[4]), 0);
	sl_gate_leave(g, &p[2]);
	sl_gate_leave(g, &p[4]);
	assert_int_equal(sl_gate_inside(g, SL_STR("p")), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(w[i].refs, 0);
}

static void a_wider_gate_lets_the_waiting_in_one_after_the_other(void **state)
{
	SL_AUTO(sl_gates) g = NULL;
	struct sl_pass p[4] = {0};
	struct waiter w[4] = {0};
	assert_int_equal(sl_gates_new(&g), SL_OK);
	for (int i = 0; i < 4; i++)
		(void)enter(g, 1, &p[i], &w[i]);
	assert_int_equal(enter(g, 4, &p[1], &w[1]), 0); /* the profile was changed meanwhile */
	assert_int_equal(w[2].wakes, 1);
	assert_int_equal(enter(g, 4, &p[2], &w[2]), 0);
	assert_int_equal(w[3].wakes, 1);
	assert_int_equal(enter(g, 4, &p[3], &w[3]), 0);
	for (int i = 0; i < 4; i++)
		sl_gate_leave(g, &p[i]);
}

static void *through(void *arg)
{
	struct sl_gates *g = arg;
	for (int i = 0; i < 5000; i++) {
		struct sl_pass p = {0};
		uint64_t ahead;
		assert_int_equal(sl_gate_enter(g, SL_STR("p"), 2, &p, NULL, NULL, &ahead), SL_OK);
		if (ahead == 0)
			assert_true(sl_gate_inside(g, SL_STR("p")) <= 2);
		sl_gate_leave(g, &p);
	}
	return NULL;
}

static void never_more_are_inside_under_threads(void **state)
{
	SL_AUTO(sl_gates) g = NULL;
	pthread_t th[4];
	assert_int_equal(sl_gates_new(&g), SL_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, through, g), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	assert_int_equal(sl_gate_inside(g, SL_STR("p")), 0);
}

/* ---- the retry budget ---- */

static void an_outage_brings_a_fifth_more_and_one_a_second(void **state)
{
	SL_AUTO(sl_retry_budgets) b = NULL;
	unsigned first = 0, further = 0;
	assert_int_equal(sl_retry_budgets_new(&b), SL_OK);
	/* a minute of 50 calls a second, each of which fails and would be tried twice more */
	for (uint64_t ms = 0; ms < 60000; ms += 20) {
		sl_retry_budget_first(b, SL_STR("p"), ms);
		first++;
		for (int i = 0; i < 2; i++)
			further += sl_retry_budget_take(b, SL_STR("p"), ms);
	}
	assert_int_equal(first, 3000);
	assert_in_range(further, 600, 600 + 60 + 10);
}

static void a_quiet_profile_may_still_retry_once_a_second(void **state)
{
	SL_AUTO(sl_retry_budgets) b = NULL;
	unsigned further = 0;
	assert_int_equal(sl_retry_budgets_new(&b), SL_OK);
	for (uint64_t ms = 0; ms < 100000; ms += 100)
		further += sl_retry_budget_take(b, SL_STR("p"), ms);
	assert_in_range(further, 90, 110);
	assert_true(sl_retry_budget_take(b, SL_STR("other"), 99999)); /* each profile has its own */
	SL_BUF(out, 4096);
	sl_retry_budgets_json(b, &out, 99999);
	assert_non_null(strstr(out.data, "{\"profile\":\"p\",\"first\":0,\"further\":10,\"left\":0,\"refused\":"));
}

static void without_memory(void *arg)
{
	SL_AUTO(sl_gates) g = NULL;
	SL_AUTO(sl_retry_budgets) b = NULL;
	struct sl_pass p = {0};
	uint64_t ahead;
	if (sl_gates_new(&g) != SL_OK || sl_retry_budgets_new(&b) != SL_OK)
		return;
	enum sl_code rc = sl_gate_enter(g, SL_STR("p"), 1, &p, NULL, NULL, &ahead);
	assert_true(rc == SL_OK || rc == SL_NO_MEMORY);
	sl_gate_leave(g, &p);
	sl_retry_budget_first(b, SL_STR("p"), 0);
	SL_IGNORE(sl_retry_budget_take(b, SL_STR("p"), 0)); /* whatever: nothing is lost */
}

static void they_cope_without_memory(void **state)
{
	assert_true(sl_test_torture(without_memory, NULL) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_as_allowed_are_inside_and_the_first_in_the_queue_is_next),
		cmocka_unit_test(a_wider_gate_lets_the_waiting_in_one_after_the_other),
		cmocka_unit_test(never_more_are_inside_under_threads),
		cmocka_unit_test(an_outage_brings_a_fifth_more_and_one_a_second),
		cmocka_unit_test(a_quiet_profile_may_still_retry_once_a_second),
		cmocka_unit_test(they_cope_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
