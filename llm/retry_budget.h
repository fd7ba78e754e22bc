/* llm/retry_budget.h: how many further attempts a profile may be sent, so that an outage is not answered with a storm.
 *
 * As Finagle's: in any ten seconds, further attempts are at most a fifth of the first ones and one a second on top.
 * Retries and failovers draw from the same budget, that of the profile they go to.
 * Thread    everything [any]; one lock, O(1) held. `now_ms` is monotonic and the caller's.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#define SL_RETRY_BUDGET_PERCENT    20
#define SL_RETRY_BUDGET_PER_SECOND 1
#define SL_RETRY_BUDGET_WINDOW_MS  10000

struct sl_retry_budgets;
struct sl_buf;

SL_MUST_USE enum sl_code sl_retry_budgets_new(struct sl_retry_budgets **out);
void sl_retry_budgets_free(struct sl_retry_budgets *b); /* NULL is fine */
SL_DEFINE_AUTO(sl_retry_budgets)

void sl_retry_budget_first(struct sl_retry_budgets *b, struct sl_str profile,
			   uint64_t now_ms); /* a first attempt goes out */
/* May a further one go? true: it is counted. */
SL_MUST_USE bool sl_retry_budget_take(struct sl_retry_budgets *b, struct sl_str profile, uint64_t now_ms);
void sl_retry_budgets_json(struct sl_retry_budgets *b, struct sl_buf *out,
			   uint64_t now_ms); /* members: {"profile","first","further","left","refused"} */
