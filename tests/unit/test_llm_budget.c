/* llm/budget.c: a hundred at once on one budget, and nothing overspent; what is written down, and read again. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "llm/budget.h"

#define DAY    86400000ll
#define NOW    (20000 * DAY + 3600000)
#define P      SL_STR("project")
#define TOKENS 50000u

static struct sl_budgets *fresh(uint64_t tokens, int64_t micro, enum sl_budget_period period)
{
	struct sl_budgets *b = NULL;
	struct sl_budget_limit l = {tokens, micro, period};
	assert_int_equal(sl_budgets_new(NULL, &b), SL_OK);
	assert_int_equal(sl_budget_set(b, P, &l), SL_OK);
	return b;
}

/* The prompt is `tokens` of it all and costs `micro`. */
static enum sl_code reserve_at(struct sl_budgets *b, uint64_t tokens, int64_t micro, struct sl_budget_claim *c,
			       int64_t now, bool *wait, struct sl_error *err)
{
	struct sl_budget_need need = {.prompt_tokens = tokens, .input_microusd = (double)micro / (double)tokens};
	return sl_budget_reserve(b, P, &need, c, NULL, NULL, now, wait, err);
}

static enum sl_code reserve(struct sl_budgets *b, uint64_t tokens, int64_t micro, struct sl_budget_claim *c, bool *wait,
			    struct sl_error *err)
{
	return reserve_at(b, tokens, micro, c, NOW, wait, err);
}

static void what_is_reserved_counts_until_it_is_settled(void **state)
{
	SL_AUTO(sl_budgets) b = fresh(1000, 0, SL_BUDGET_TOTAL);
	struct sl_budget_claim a = {0}, c = {0}, d = {0};
	struct sl_error err;
	bool wait;
	assert_int_equal(reserve(b, 600, 0, &a, &wait, &err), SL_OK);
	assert_false(wait);
	assert_int_equal(reserve(b, 600, 0, &c, &wait, &err), SL_OK);
	assert_true(wait); /* it would fit if the first one took less */
	sl_budget_settle(b, &a, 100, 0, NOW);
	assert_int_equal(reserve(b, 600, 0, &c, &wait, &err), SL_OK);
	assert_false(wait);
	sl_budget_settle(b, &c, 500, 0, NOW);
	assert_int_equal(reserve(b, 401, 0, &d, &wait, &err), SL_BUDGET); /* 400 are left, whatever comes back */
	assert_string_equal(err.text, "the project 'project' has 400 of its 1000 tokens left in all, and this call may "
				      "take 401");
	assert_int_equal(reserve(b, 400, 0, &d, &wait, &err), SL_OK);
	sl_budget_settle(b, &d, 400, 0, NOW);
	struct sl_budget_sums s;
	sl_budget_sums(b, P, NOW, &s);
	assert_int_equal(s.spent_tokens, 1000);
	assert_int_equal(s.reserved_tokens, 0);
}

static void what_a_failed_attempt_took_is_booked_at_once(void **state)
{
	SL_AUTO(sl_budgets) b = fresh(1000, 0, SL_BUDGET_TOTAL);
	struct sl_budget_claim a = {0}, c = {0};
	struct sl_budget_sums s;
	struct sl_error err;
	bool wait;
	assert_int_equal(reserve(b, 400, 0, &a, &wait, &err), SL_OK);
	sl_budget_book(b, &a, 300, 0, NOW);
	sl_budget_sums(b, P, NOW, &s);
	assert_int_equal(s.spent_tokens, 300);
	assert_int_equal(s.reserved_tokens, 400);
	assert_int_equal(reserve(b, 301, 0, &c, &wait, &err), SL_OK);
	assert_true(wait);
	sl_budget_settle(b, &c, 0, 0, NOW);
	sl_budget_settle(b, &a, 100, 0, NOW);
	sl_budget_sums(b, P, NOW, &s);
	assert_int_equal(s.spent_tokens, 400);
}

static void money_is_limited_like_tokens(void **state)
{
	SL_AUTO(sl_budgets) b = fresh(0, 2000000, SL_BUDGET_DAY);
	struct sl_budget_claim a = {0}, c = {0};
	struct sl_error err;
	bool wait;
	assert_int_equal(reserve(b, 1u << 30, 1500000, &a, &wait, &err), SL_OK);
	sl_budget_settle(b, &a, 100, 1500000, NOW);
	assert_int_equal(reserve(b, 1, 500001, &c, &wait, &err), SL_BUDGET);
	assert_non_null(strstr(err.text, "has 0.5000 of its 2.00 USD left today"));
	assert_int_equal(reserve(b, 1, 500000, &c, &wait, &err), SL_OK);
	sl_budget_settle(b, &c, 1, 0, NOW);
}

static void a_period_begins_anew(void **state)
{
	struct sl_error err;
	bool wait;
	for (int month = 0; month < 2; month++) {
		SL_AUTO(sl_budgets) b = fresh(1000, 0, month ? SL_BUDGET_MONTH : SL_BUDGET_DAY);
		struct sl_budget_claim a = {0};
		assert_int_equal(reserve(b, 1000, 0, &a, &wait, &err), SL_OK);
		sl_budget_settle(b, &a, 1000, 0, NOW); /* 2024-10-04 */
		assert_int_equal(reserve(b, 1, 0, &a, &wait, &err), SL_BUDGET);
		assert_int_equal(reserve_at(b, 1, 0, &a, NOW + DAY, &wait, &err), month ? SL_BUDGET : SL_OK);
		sl_budget_settle(b, &a, 0, 0, NOW);
		assert_int_equal(reserve_at(b, 1000, 0, &a, NOW + 28 * DAY, &wait, &err), SL_OK);
		sl_budget_settle(b, &a, 0, 0, NOW);
	}
	SL_AUTO(sl_budgets) b = fresh(1000, 0, SL_BUDGET_TOTAL);
	for (int i = 0; i < 100; i++) { /* days far apart are remembered in one sum */
		struct sl_budget_claim a = {0};
		assert_int_equal(reserve_at(b, 10, 0, &a, NOW + i * DAY, &wait, &err), SL_OK);
		sl_budget_settle(b, &a, 10, 0, NOW + i * DAY);
	}
	struct sl_budget_claim a = {0};
	assert_int_equal(reserve_at(b, 1, 0, &a, NOW + 200 * DAY, &wait, &err), SL_BUDGET);
}

static void without_a_limit_nothing_is_counted_and_a_lifted_one_still_is(void **state)
{
	SL_AUTO(sl_budgets) b = NULL;
	struct sl_budget_claim a = {0}, c = {0};
	struct sl_error err;
	struct sl_budget_sums s;
	bool wait;
	assert_int_equal(sl_budgets_new(NULL, &b), SL_OK);
	assert_int_equal(reserve(b, 1u << 30, 1u << 30, &a, &wait, &err), SL_OK);
	assert_false(wait);
	sl_budget_settle(b, &a, 777, 5, NOW);
	struct sl_budget_limit l = {1000, 0, SL_BUDGET_TOTAL};
	assert_int_equal(sl_budget_set(b, P, &l), SL_OK);
	assert_int_equal(reserve(b, 1000, 0, &c, &wait, &err), SL_OK);
	assert_int_equal(sl_budget_set(b, P, NULL), SL_OK);
	sl_budget_settle(b, &c, 900, 0, NOW);
	assert_int_equal(reserve(b, 5000, 0, &c, &wait, &err), SL_OK);
	assert_false(wait);
	sl_budget_settle(b, &c, 50, 0, NOW);
	sl_budget_sums(b, P, NOW, &s);
	assert_int_equal(s.spent_tokens, 950);
	assert_int_equal(s.reserved_tokens, 0);
}

static void an_answer_of_unknown_length_is_cut_to_what_is_left(void **state)
{
	SL_AUTO(sl_budgets) b = fresh(1000, 0, SL_BUDGET_TOTAL);
	struct sl_budget_need need = {.prompt_tokens = 100, .output_tokens = 4096, .flexible = true};
	struct sl_budget_claim a = {0}, c = {0};
	struct sl_error err;
	bool wait;
	assert_int_equal(sl_budget_reserve(b, P, &need, &a, NULL, NULL, NOW, &wait, &err), SL_OK);
	assert_false(wait);
	assert_int_equal(a.output_tokens, 900);
	assert_int_equal(sl_budget_reserve(b, P, &need, &c, NULL, NULL, NOW, &wait, &err), SL_OK);
	assert_true(wait);
	sl_budget_settle(b, &a, 400, 0, NOW);
	assert_int_equal(sl_budget_reserve(b, P, &need, &c, NULL, NULL, NOW, &wait, &err), SL_OK);
	assert_false(wait);
	assert_int_equal(c.output_tokens, 500);
	sl_budget_settle(b, &c, 490, 0, NOW); /* 110 are left: a prompt and ten words */
	assert_int_equal(sl_budget_reserve(b, P, &need, &a, NULL, NULL, NOW, &wait, &err), SL_BUDGET);
	assert_non_null(strstr(err.text, "has 110 of its 1000 tokens left in all, and this call may take 116"));
	/* by money: 1 micro-USD a token of the prompt, 10 of the answer */
	SL_AUTO(sl_budgets) m = fresh(0, 5000, SL_BUDGET_TOTAL);
	need.input_microusd = 1, need.output_microusd = 10;
	assert_int_equal(sl_budget_reserve(m, P, &need, &a, NULL, NULL, NOW, &wait, &err), SL_OK);
	assert_int_equal(a.output_tokens, 490);
	sl_budget_settle(m, &a, 590, 5000, NOW);
	assert_int_equal(sl_budget_reserve(m, P, &need, &a, NULL, NULL, NOW, &wait, &err), SL_BUDGET);
}

/* ---- a hundred threads of one budget ---- */

struct worker {
	struct sl_budgets *b;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
	uint64_t spent;
	unsigned refused, done;
	unsigned seed;
};

static void worker_wake(void *h)
{
	struct worker *w = h;
	pthread_mutex_lock(&w->lock);
	w->woken = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}
static void *worker_ref(void *h)
{
	return h;
}
static void worker_unref(void *h)
{
}
static const struct sl_wake wakes = {worker_wake, worker_ref, worker_unref};

static void *work(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < 40; i++) {
		struct sl_budget_claim c = {0};
		struct sl_error err;
		uint64_t worst = 50 + (uint64_t)rand_r(&w->seed) % 200,
			 real = worst * ((uint64_t)rand_r(&w->seed) % 101) / 100;
		struct sl_budget_need need = {.prompt_tokens = worst / 4, .output_tokens = worst - worst / 4};
		bool wait = true;
		enum sl_code rc = SL_OK;
		while (wait && rc == SL_OK) {
			rc = sl_budget_reserve(w->b, P, &need, &c, &wakes, w, NOW, &wait, &err);
			if (rc == SL_OK && wait) {
				pthread_mutex_lock(&w->lock);
				while (!w->woken)
					pthread_cond_wait(&w->cond, &w->lock);
				w->woken = false;
				pthread_mutex_unlock(&w->lock);
			}
		}
		if (rc != SL_OK) {
			w->refused++;
			continue;
		}
		w->done++;
		w->spent += real;
		sl_budget_settle(w->b, &c, real, 0, NOW);
	}
	return NULL;
}

static void a_hundred_at_once_overspend_nothing(void **state)
{
	static struct worker w[100];
	pthread_t th[100];
	SL_AUTO(sl_budgets) b = fresh(TOKENS, 0, SL_BUDGET_TOTAL);
	uint64_t spent = 0;
	unsigned refused = 0;
	for (unsigned i = 0; i < 100; i++) {
		w[i] = (struct worker){.b = b, .seed = i};
		pthread_mutex_init(&w[i].lock, NULL);
		pthread_cond_init(&w[i].cond, NULL);
		assert_int_equal(pthread_create(&th[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < 100; i++) {
		pthread_join(th[i], NULL);
		spent += w[i].spent;
		refused += w[i].refused;
	}
	struct sl_budget_sums s;
	sl_budget_sums(b, P, NOW, &s);
	assert_int_equal(s.spent_tokens, spent); /* the ledger is the sum of what was used */
	assert_int_equal(s.reserved_tokens, 0);
	assert_int_equal(s.waiting, 0);
	assert_true(spent <= TOKENS);
	assert_true(spent > TOKENS - 250); /* and it was used up: who was refused could not have fitted */
	assert_true(refused > 0);
}

/* ---- the ledger ---- */

struct book {
	unsigned writes;
	int64_t day;
	uint64_t tokens;
	int64_t cost;
	void (*done)(void *arg, enum sl_code rc);
	void *arg;
};

static void book_write(void *ctx, struct sl_str project, int64_t day, uint64_t tokens, int64_t cost,
		       void (*done)(void *arg, enum sl_code rc), void *arg)
{
	struct book *k = ctx;
	assert_true(sl_str_is(project, "project"));
	k->writes++;
	k->day = day, k->tokens = tokens, k->cost = cost;
	k->done = done, k->arg = arg;
}

static void spend(struct sl_budgets *b, uint64_t tokens)
{
	struct sl_budget_claim c = {0};
	struct sl_error err;
	bool wait;
	assert_int_equal(reserve(b, tokens, 7, &c, &wait, &err), SL_OK);
	assert_false(wait);
	sl_budget_settle(b, &c, tokens, 7, NOW);
}

static void spending_is_written_down_at_once_and_one_write_at_a_time(void **state)
{
	struct book k = {0};
	struct sl_ledger ledger = {book_write, &k};
	struct sl_budget_limit l = {1000, 0, SL_BUDGET_DAY};
	{
		SL_AUTO(sl_budgets) b = NULL;
		assert_int_equal(sl_budgets_new(&ledger, &b), SL_OK);
		spend(b, 5); /* no limit, nothing to keep */
		assert_int_equal(sl_budget_set(b, P, &l), SL_OK);
		spend(b, 100);
		assert_int_equal(k.writes, 1);
		assert_int_equal(k.day, 20000);
		assert_int_equal(k.tokens, 100);
		spend(b, 10);
		spend(b, 10);
		assert_int_equal(k.writes, 1);
		k.done(k.arg, SL_UNAVAILABLE); /* lost: the next one holds it all */
		spend(b, 1);
		assert_int_equal(k.writes, 2);
		assert_int_equal(k.tokens, 121);
		spend(b, 4);
		k.done(k.arg, SL_OK);
		assert_int_equal(k.writes, 3); /* what had come meanwhile */
		assert_int_equal(k.tokens, 125);
		assert_int_equal(k.cost, 5 * 7);
		k.done(k.arg, SL_OK);
		assert_int_equal(k.writes, 3);
	}
	/* the next life */
	SL_AUTO(sl_budgets) b = NULL;
	struct sl_budget_claim c = {0};
	struct sl_error err;
	bool wait;
	assert_int_equal(sl_budgets_new(NULL, &b), SL_OK);
	assert_int_equal(sl_budget_load(b, P, k.day, k.tokens, k.cost), SL_OK);
	assert_int_equal(sl_budget_load(b, P, k.day - 1, 500, 0), SL_OK); /* yesterday does not count today */
	assert_int_equal(sl_budget_set(b, P, &l), SL_OK);
	assert_int_equal(reserve(b, 876, 0, &c, &wait, &err), SL_BUDGET);
	assert_int_equal(reserve(b, 875, 0, &c, &wait, &err), SL_OK);
	sl_budget_settle(b, &c, 0, 0, NOW);
	SL_BUF(out, 4096);
	sl_budgets_json(b, &out, NOW);
	assert_non_null(strstr(out.data, "\"spent_tokens\":125,"));
}

static void without_memory(void *arg)
{
	SL_AUTO(sl_budgets) b = NULL;
	struct sl_budget_limit l = {1000, 0, SL_BUDGET_DAY};
	struct sl_budget_claim c = {0};
	struct sl_error err;
	bool wait;
	if (sl_budgets_new(NULL, &b) != SL_OK)
		return;
	enum sl_code rc = sl_budget_set(b, P, &l);
	if (sl_budget_load(b, SL_STR("q"), 20000, 5, 5) != SL_OK || rc != SL_OK)
		return;
	assert_int_equal(reserve(b, 10, 0, &c, &wait, &err), SL_OK);
	sl_budget_settle(b, &c, 5, 0, NOW);
}

static void they_cope_without_memory(void **state)
{
	assert_true(sl_test_torture(without_memory, NULL) < 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_reserved_counts_until_it_is_settled),
		cmocka_unit_test(what_a_failed_attempt_took_is_booked_at_once),
		cmocka_unit_test(money_is_limited_like_tokens),
		cmocka_unit_test(a_period_begins_anew),
		cmocka_unit_test(without_a_limit_nothing_is_counted_and_a_lifted_one_still_is),
		cmocka_unit_test(an_answer_of_unknown_length_is_cut_to_what_is_left),
		cmocka_unit_test(a_hundred_at_once_overspend_nothing),
		cmocka_unit_test(spending_is_written_down_at_once_and_one_write_at_a_time),
		cmocka_unit_test(they_cope_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
