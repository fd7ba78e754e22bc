/* llm/budget.h: what a project may spend: tokens and money, by day, by month or for ever, shared by all its runs.
 *
 * Before a call its worst case is reserved, under one lock; afterwards what it really took is booked and the rest given
 * back. Reserved and spent together never exceed the limit, so as long as calls keep within their worst case nothing
 * is overspent, however many run at once. Who does not fit now, but would if what is reserved came back, waits; who can
 * not fit at all is refused with SL_BUDGET.
 *
 * Owns      the budgets. Spending is kept elsewhere through the ledger port, as totals of this process by project and
 *           day: writing one twice does no harm. Other servers' spending is what was loaded.
 * Thread    everything [any]; one lock, O(waiting) at most held. Times are wall ms: a day begins at midnight UTC.
 */
#pragma once

#include "base/list.h"
#include "base/str.h"
#include "llm/wake.h"

#define SL_BUDGET_WAITERS 20000

struct sl_budgets;
struct sl_buf;

enum sl_budget_period { SL_BUDGET_DAY, SL_BUDGET_MONTH, SL_BUDGET_TOTAL };
struct sl_budget_limit { /* 0: not limited */
	uint64_t max_tokens;
	int64_t max_cost_microusd;
	enum sl_budget_period period;
};

/* Where spending is written down. write [any, without a lock]: totals of this process for a project and day (days since
 * 1970), asynchronous; `done` must be called once, later or at once, from any thread. */
struct sl_ledger {
	void (*write)(void *ctx, struct sl_str project, int64_t day, uint64_t tokens, int64_t cost_microusd,
		      void (*done)(void *arg, enum sl_code rc), void *arg);
	void *ctx;
};

/* What a call may take at worst. */
struct sl_budget_need {
	uint64_t prompt_tokens;
	uint64_t output_tokens; /* the most */
	bool flexible;          /* the answer may be cut shorter so that it fits (to no less than SL_BUDGET_LEAST) */
	double input_microusd, output_microusd; /* a token */
};
#define SL_BUDGET_LEAST 16  /* tokens: a shorter answer is none */
#define SL_BUDGET_FAIR  256 /* rather than take less than this, a flexible one waits for what others give back */

/* How long an answer fits into what is left (INT64_MAX: not limited); less than nothing: not even the prompt. */
int64_t sl_budget_fit(const struct sl_budget_need *need, int64_t left_tokens, int64_t left_microusd);
enum sl_budget_fits { SL_BUDGET_FITS, SL_BUDGET_WAITS, SL_BUDGET_NEVER };
/* The same decision for any budget: `now` is what fits beside what others have reserved, `ever` what fits if all of
 * that came back. *output gets the tokens the answer may have. */
enum sl_budget_fits sl_budget_decide(const struct sl_budget_need *need, int64_t now, int64_t ever, uint64_t *output);
int64_t sl_budget_cost(const struct sl_budget_need *need, uint64_t output_tokens); /* micro-USD, rounded up */

/* A reservation, or a place among those who wait for one. Zeroed at first; private; must not move until it is settled.
 */
struct sl_budget_claim {
	struct sl_list link;
	struct sl_budget *budget;
	const struct sl_wake *wake;
	void *handle;
	uint64_t tokens;
	int64_t cost_microusd;
	uint64_t output_tokens; /* read it when held: the answer may be no longer */
	enum { SL_CLAIM_NONE, SL_CLAIM_WAITING, SL_CLAIM_HELD } state;
};

SL_MUST_USE enum sl_code sl_budgets_new(const struct sl_ledger *ledger,
					struct sl_budgets **out); /* NULL: kept nowhere */
/* No claim may be out, no write under way. NULL is fine. */
void sl_budgets_free(struct sl_budgets *b);
SL_DEFINE_AUTO(sl_budgets)

/* NULL: no limit any more. Those who wait are woken. Counts from the first limit a project was given. */
SL_MUST_USE enum sl_code sl_budget_set(struct sl_budgets *b, struct sl_str project,
				       const struct sl_budget_limit *limit);
/* What was spent before this process began, or by others: adds. */
SL_MUST_USE enum sl_code sl_budget_load(struct sl_budgets *b, struct sl_str project, int64_t day, uint64_t tokens,
					int64_t cost_microusd);

/* *wait false: held, or there is nothing to hold because the project never had a limit. *wait true: it must wait; ask
 * again with the same claim when woken. SL_BUDGET: it cannot be had, *err says what is left. SL_BUSY. */
SL_MUST_USE enum sl_code sl_budget_reserve(struct sl_budgets *b, struct sl_str project,
					   const struct sl_budget_need *need, struct sl_budget_claim *c,
					   const struct sl_wake *wake, void *handle, int64_t now_ms, bool *wait,
					   struct sl_error *err);
/* Books what it took and gives the rest back. A waiting one leaves. Idempotent. */
void sl_budget_settle(struct sl_budgets *b, struct sl_budget_claim *c, uint64_t tokens, int64_t cost_microusd,
		      int64_t now_ms);

/* Books something now and keeps the reservation whole: an attempt that failed, and another one follows. */
void sl_budget_book(struct sl_budgets *b, struct sl_budget_claim *c, uint64_t tokens, int64_t cost_microusd,
		    int64_t now_ms);

struct sl_budget_sums {
	uint64_t spent_tokens, reserved_tokens;
	int64_t spent_microusd, reserved_microusd;
	uint32_t waiting;
};
void sl_budget_sums(struct sl_budgets *b, struct sl_str project, int64_t now_ms, struct sl_budget_sums *out);

/* Members: {"project","period","max_tokens","max_cost_usd","spent_tokens","spent_usd","reserved_tokens","reserved_usd",
 * "waiting"}. */
void sl_budgets_json(struct sl_budgets *b, struct sl_buf *out, int64_t now_ms);

int64_t sl_budget_day(int64_t wall_ms); /* days since 1970 */
