/* llm/budget.c: see budget.h. Spending is kept by day, of this process and of all others apart, so that a period is a
 * sum and a write to the ledger is a total. */
#include "llm/named.h"

#include "llm/budget.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "base/log.h"

#define DAYS_KEPT 32 /* a month and a day; what is older is one sum */
#define DAY_MS    86400000

struct day {
	int64_t day;
	uint64_t tokens, others_tokens;
	int64_t cost, others_cost;
	uint64_t written_tokens; /* as the ledger has it */
	int64_t written_cost;
};

struct sl_budget {
	char *project;
	UT_hash_handle hh;
	struct sl_budgets *all;
	bool limited;
	struct sl_budget_limit limit;
	struct day days[DAYS_KEPT]; /* newest first */
	uint32_t n_days;
	uint64_t older_tokens;
	int64_t older_cost;
	uint64_t reserved_tokens;
	int64_t reserved_cost;
	struct sl_list waiting; /* of struct sl_budget_claim */
	uint32_t n_waiting;
	bool writing;
	int64_t writing_day;
	uint64_t writing_tokens;
	int64_t writing_cost;
};

struct sl_budgets {
	pthread_mutex_t lock;
	struct sl_budget *items; /* [lock] and all in them */
	struct sl_ledger ledger;
};

int64_t sl_budget_day(int64_t wall_ms)
{
	return wall_ms / DAY_MS;
}

enum sl_code sl_budgets_new(const struct sl_ledger *ledger, struct sl_budgets **out)
{
	struct sl_budgets *b = calloc(1, sizeof(*b));
	if (!b)
		return SL_NO_MEMORY;
	pthread_mutex_init(&b->lock, NULL);
	if (ledger)
		b->ledger = *ledger;
	*out = b;
	return SL_OK;
}

void sl_budgets_free(struct sl_budgets *b)
{
	struct sl_budget *one, *tmp;
	if (!b)
		return;
	HASH_ITER (hh, b->items, one, tmp) {
		SL_BUG_ON(!sl_list_empty(&one->waiting) || one->writing);
		HASH_DEL(b->items, one);
		free(one->project);
		free(one);
	}
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* ---- [lock] ---- */

static struct sl_budget *find(struct sl_budgets *b, struct sl_str project)
{
	struct sl_budget *one;
	HASH_FIND(hh, b->items, project.p, project.len, one);
	return one;
}

static struct sl_budget *get(struct sl_budgets *b, struct sl_str project)
{
	struct sl_budget *one = find(b, project);
	if (one)
		return one;
	one = calloc(1, sizeof(*one));
	if (one && (one->project = sl_str_dup(project)) != NULL) {
		one->all = b;
		sl_list_init(&one->waiting);
		HASH_ADD_KEYPTR(hh, b->items, one->project, project.len, one);
		if (one->hh.tbl)
			return one;
	}
	if (one)
		free(one->project);
	free(one);
	return NULL;
}

static struct day *day_of(struct sl_budget *one, int64_t day)
{
	uint32_t at = 0;
	while (at < one->n_days && one->days[at].day > day)
		at++;
	if (at < one->n_days && one->days[at].day == day)
		return &one->days[at];
	if (at == DAYS_KEPT)
		return NULL; /* older than all that are kept */
	if (one->n_days == DAYS_KEPT) {
		const struct day *last = &one->days[DAYS_KEPT - 1];
		one->older_tokens += last->tokens + last->others_tokens;
		one->older_cost += last->cost + last->others_cost;
		one->n_days--;
	}
	memmove(one->days + at + 1, one->days + at, (one->n_days - at) * sizeof(one->days[0]));
	one->days[at] = (struct day){.day = day};
	one->n_days++;
	return &one->days[at];
}

/* The first day of the period that `now` is in. */
static int64_t first_day(enum sl_budget_period period, int64_t now_ms)
{
	time_t t = (time_t)(now_ms / 1000);
	struct tm tm;
	switch (period) {
	case SL_BUDGET_DAY:
		return sl_budget_day(now_ms);
	case SL_BUDGET_MONTH:
		return gmtime_r(&t, &tm) ? sl_budget_day(now_ms) - (tm.tm_mday - 1) : sl_budget_day(now_ms);
	case SL_BUDGET_TOTAL:
		break;
	}
	return INT64_MIN;
}

static void spent_of(const struct sl_budget *one, int64_t now_ms, uint64_t *tokens, int64_t *cost)
{
	int64_t first = first_day(one->limit.period, now_ms);
	*tokens = first == INT64_MIN ? one->older_tokens : 0;
	*cost = first == INT64_MIN ? one->older_cost : 0;
	for (uint32_t i = 0; i < one->n_days && one->days[i].day >= first; i++) {
		*tokens += one->days[i].tokens + one->days[i].others_tokens;
		*cost += one->days[i].cost + one->days[i].others_cost;
	}
}

static int64_t minus(uint64_t a, uint64_t b)
{
	return a > INT64_MAX ? INT64_MAX
	       : b >= a      ? -(int64_t)(b - a < INT64_MAX ? b - a : INT64_MAX)
			     : (int64_t)(a - b);
}

/* What is left, beside what is spent and `reserved`. */
static int64_t fit_of(const struct sl_budget *one, const struct sl_budget_need *need, uint64_t spent, int64_t cost)
{
	const struct sl_budget_limit *l = &one->limit;
	return sl_budget_fit(need, l->max_tokens ? minus(l->max_tokens, spent) : INT64_MAX,
			     l->max_cost_microusd ? l->max_cost_microusd - cost : INT64_MAX);
}

static enum sl_budget_fits decide(const struct sl_budget *one, const struct sl_budget_need *need, int64_t now_ms,
				  uint64_t *output, struct sl_error *err)
{
	static const char *const periods[] = {"today", "this month", "in all"};
	const struct sl_budget_limit *l = &one->limit;
	uint64_t spent;
	int64_t cost;
	*output = need->output_tokens;
	if (!one->limited)
		return SL_BUDGET_FITS;
	spent_of(one, now_ms, &spent, &cost);
	enum sl_budget_fits fits =
		sl_budget_decide(need, fit_of(one, need, spent + one->reserved_tokens, cost + one->reserved_cost),
				 fit_of(one, need, spent, cost), output);
	if (fits != SL_BUDGET_NEVER)
		return fits;
	uint64_t least = need->prompt_tokens + (need->flexible ? SL_BUDGET_LEAST : need->output_tokens);
	if (l->max_tokens && spent + least > l->max_tokens)
		(void)sl_fail(err, SL_BUDGET,
			      "the project '%s' has %llu of its %llu tokens left %s, and this call may take %llu",
			      one->project, (unsigned long long)(spent < l->max_tokens ? l->max_tokens - spent : 0),
			      (unsigned long long)l->max_tokens, periods[l->period], (unsigned long long)least);
	else
		(void)sl_fail(
			err, SL_BUDGET,
			"the project '%s' has %.4f of its %.2f USD left %s, and this call may cost %.4f", one->project,
			(double)(cost < l->max_cost_microusd ? l->max_cost_microusd - cost : 0) / 1e6,
			(double)l->max_cost_microusd / 1e6, periods[l->period],
			(double)sl_budget_cost(need, need->flexible ? SL_BUDGET_LEAST : need->output_tokens) / 1e6);
	return fits;
}

struct woken {
	const struct sl_wake *wake;
	void *handle;
};

static struct woken head_of(struct sl_budget *one)
{
	if (sl_list_empty(&one->waiting))
		return (struct woken){0};
	struct sl_budget_claim *c = sl_list_entry(one->waiting.next, struct sl_budget_claim, link);
	return c->wake ? (struct woken){c->wake, c->wake->ref(c->handle)} : (struct woken){0};
}

static void wake(struct woken w) /* without the lock */
{
	if (!w.wake)
		return;
	w.wake->wake(w.handle);
	w.wake->unref(w.handle);
}

/* ---- the ledger: one write a project at a time; what came meanwhile goes with the next ---- */

static void write_next(struct sl_budget *one);

static void written(void *arg, enum sl_code rc)
{
	struct sl_budget *one = arg;
	struct sl_budgets *b = one->all;
	pthread_mutex_lock(&b->lock);
	struct day *d = day_of(one, one->writing_day);
	if (rc == SL_OK && d) {
		d->written_tokens = one->writing_tokens;
		d->written_cost = one->writing_cost;
	}
	one->writing = false;
	pthread_mutex_unlock(&b->lock);
	if (rc == SL_OK)
		write_next(one);
	else
		sl_log(SL_LOG_WARN, "llm", "spending could not be written down; it is, with the next",
		       SL_KS("project", one->project), SL_KS("reason", sl_code_wire(rc)));
}

static void write_next(struct sl_budget *one)
{
	struct sl_budgets *b = one->all;
	bool go = false;
	pthread_mutex_lock(&b->lock);
	for (uint32_t i = 0; b->ledger.write && !one->writing && !go && i < one->n_days; i++) {
		struct day *d = &one->days[i];
		if (d->tokens == d->written_tokens && d->cost == d->written_cost)
			continue;
		one->writing = go = true;
		one->writing_day = d->day;
		one->writing_tokens = d->tokens;
		one->writing_cost = d->cost;
	}
	int64_t day = one->writing_day;
	uint64_t tokens = one->writing_tokens;
	int64_t cost = one->writing_cost;
	pthread_mutex_unlock(&b->lock);
	if (go)
		b->ledger.write(b->ledger.ctx, sl_str(one->project), day, tokens, cost, written, one);
}

/* ---- [any] ---- */

enum sl_code sl_budget_set(struct sl_budgets *b, struct sl_str project, const struct sl_budget_limit *limit)
{
	pthread_mutex_lock(&b->lock);
	struct sl_budget *one = limit ? get(b, project) : find(b, project);
	struct woken next = {0};
	if (one) {
		one->limited = limit && (limit->max_tokens || limit->max_cost_microusd);
		one->limit = limit ? *limit : (struct sl_budget_limit){0};
		next = head_of(one);
	}
	pthread_mutex_unlock(&b->lock);
	wake(next);
	return one || !limit ? SL_OK : SL_NO_MEMORY;
}

enum sl_code sl_budget_load(struct sl_budgets *b, struct sl_str project, int64_t day, uint64_t tokens,
			    int64_t cost_microusd)
{
	pthread_mutex_lock(&b->lock);
	struct sl_budget *one = get(b, project);
	struct day *d = one ? day_of(one, day) : NULL;
	if (d) {
		d->others_tokens += tokens;
		d->others_cost += cost_microusd;
	} else if (one) {
		one->older_tokens += tokens;
		one->older_cost += cost_microusd;
	}
	pthread_mutex_unlock(&b->lock);
	return one ? SL_OK : SL_NO_MEMORY;
}

int64_t sl_budget_cost(const struct sl_budget_need *need, uint64_t output_tokens)
{
	return (int64_t)ceil((double)need->prompt_tokens * need->input_microusd +
			     (double)output_tokens * need->output_microusd);
}

int64_t sl_budget_fit(const struct sl_budget_need *need, int64_t left_tokens, int64_t left_microusd)
{
	int64_t fit = left_tokens == INT64_MAX ? INT64_MAX : left_tokens - (int64_t)need->prompt_tokens;
	if (left_microusd == INT64_MAX)
		return fit;
	double money = (double)left_microusd - (double)need->prompt_tokens * need->input_microusd;
	if (money < 0)
		return -1;
	if (need->output_microusd > 0 && money / need->output_microusd < (double)INT64_MAX / 2) {
		int64_t by_money = (int64_t)floor(money / need->output_microusd);
		while (by_money > 0 && sl_budget_cost(need, (uint64_t)by_money) > left_microusd)
			by_money--; /* the sum is rounded up */
		fit = by_money < fit ? by_money : fit;
	}
	return fit;
}

enum sl_budget_fits sl_budget_decide(const struct sl_budget_need *need, int64_t now, int64_t ever, uint64_t *output)
{
	int64_t want = need->output_tokens > INT64_MAX ? INT64_MAX : (int64_t)need->output_tokens;
	if (!need->flexible) {
		*output = need->output_tokens;
		return ever < want ? SL_BUDGET_NEVER : now < want ? SL_BUDGET_WAITS : SL_BUDGET_FITS;
	}
	if (ever < SL_BUDGET_LEAST)
		return SL_BUDGET_NEVER;
	int64_t fair = ever < SL_BUDGET_FAIR ? ever : SL_BUDGET_FAIR;
	if (fair > want)
		fair = want;
	if (now < fair)
		return SL_BUDGET_WAITS;
	*output = (uint64_t)(now < want ? now : want);
	return SL_BUDGET_FITS;
}

enum sl_code sl_budget_reserve(struct sl_budgets *b, struct sl_str project, const struct sl_budget_need *need,
			       struct sl_budget_claim *c, const struct sl_wake *w, void *handle, int64_t now_ms,
			       bool *wait, struct sl_error *err)
{
	struct woken next = {0};
	enum sl_code rc = SL_OK;
	uint64_t output;
	*wait = false;
	if (c->state == SL_CLAIM_HELD)
		return SL_OK;
	c->output_tokens = need->output_tokens;
	pthread_mutex_lock(&b->lock);
	struct sl_budget *one = c->state == SL_CLAIM_WAITING ? c->budget : find(b, project);
	if (!one) {
		pthread_mutex_unlock(&b->lock);
		return SL_OK;
	}
	bool first = c->state == SL_CLAIM_WAITING ? one->waiting.next == &c->link : sl_list_empty(&one->waiting);
	enum sl_budget_fits fits = decide(one, need, now_ms, &output, err);
	if (fits == SL_BUDGET_NEVER)
		rc = SL_BUDGET;
	else if (fits == SL_BUDGET_WAITS || !first)
		*wait = true;
	if (*wait && c->state == SL_CLAIM_NONE && one->n_waiting >= SL_BUDGET_WAITERS) {
		rc = sl_fail(err, SL_BUSY, "too many calls wait for the budget of the project '%s'", one->project);
		*wait = false;
	}
	if (c->state == SL_CLAIM_WAITING && !*wait) {
		sl_list_drop(&c->link);
		one->n_waiting--;
		c->state = SL_CLAIM_NONE;
		next = head_of(one); /* there may be room for more, or none for it either */
	} else if (c->state == SL_CLAIM_NONE && *wait) {
		*c = (struct sl_budget_claim){.budget = one, .wake = w, .handle = handle, .state = SL_CLAIM_WAITING};
		sl_list_append(&one->waiting, &c->link);
		one->n_waiting++;
	}
	if (rc == SL_OK && !*wait) {
		c->budget = one;
		c->output_tokens = output;
		c->tokens = need->prompt_tokens + output;
		c->cost_microusd = sl_budget_cost(need, output);
		c->state = SL_CLAIM_HELD;
		one->reserved_tokens += c->tokens;
		one->reserved_cost += c->cost_microusd;
	}
	pthread_mutex_unlock(&b->lock);
	wake(next);
	return rc;
}

void sl_budget_settle(struct sl_budgets *b, struct sl_budget_claim *c, uint64_t tokens, int64_t cost_microusd,
		      int64_t now_ms)
{
	struct sl_budget *one = c->budget;
	struct woken next = {0};
	bool write = false;
	if (c->state == SL_CLAIM_NONE)
		return;
	pthread_mutex_lock(&b->lock);
	if (c->state == SL_CLAIM_WAITING) {
		sl_list_drop(&c->link);
		one->n_waiting--;
	} else {
		one->reserved_tokens -= c->tokens;
		one->reserved_cost -= c->cost_microusd;
		struct day *d = tokens || cost_microusd ? day_of(one, sl_budget_day(now_ms)) : NULL;
		if (d) {
			d->tokens += tokens;
			d->cost += cost_microusd;
			write = true;
		}
	}
	c->state = SL_CLAIM_NONE;
	next = head_of(one);
	pthread_mutex_unlock(&b->lock);
	wake(next);
	if (write)
		write_next(one);
}

void sl_budget_book(struct sl_budgets *b, struct sl_budget_claim *c, uint64_t tokens, int64_t cost_microusd,
		    int64_t now_ms)
{
	if (c->state != SL_CLAIM_HELD || (!tokens && !cost_microusd))
		return;
	pthread_mutex_lock(&b->lock);
	struct day *d = day_of(c->budget, sl_budget_day(now_ms));
	if (d) {
		d->tokens += tokens;
		d->cost += cost_microusd;
	}
	pthread_mutex_unlock(&b->lock);
	write_next(c->budget);
}

void sl_budget_sums(struct sl_budgets *b, struct sl_str project, int64_t now_ms, struct sl_budget_sums *out)
{
	*out = (struct sl_budget_sums){0};
	pthread_mutex_lock(&b->lock);
	const struct sl_budget *one = find(b, project);
	if (one) {
		spent_of(one, now_ms, &out->spent_tokens, &out->spent_microusd);
		out->reserved_tokens = one->reserved_tokens;
		out->reserved_microusd = one->reserved_cost;
		out->waiting = one->n_waiting;
	}
	pthread_mutex_unlock(&b->lock);
}

void sl_budgets_json(struct sl_budgets *b, struct sl_buf *out, int64_t now_ms)
{
	static const char *const names[] = {"day", "month", "total"};
	struct sl_budget *one, *tmp;
	pthread_mutex_lock(&b->lock);
	HASH_ITER (hh, b->items, one, tmp) {
		uint64_t tokens;
		int64_t cost;
		if (!one->limited)
			continue;
		spent_of(one, now_ms, &tokens, &cost);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "project", one->project);
		sl_buf_json_kz(out, "period", names[one->limit.period]);
		if (one->limit.max_tokens)
			sl_buf_json_ku64(out, "max_tokens", one->limit.max_tokens);
		if (one->limit.max_cost_microusd)
			sl_buf_json_kf64(out, "max_cost_usd", (double)one->limit.max_cost_microusd / 1e6);
		sl_buf_json_ku64(out, "spent_tokens", tokens);
		sl_buf_json_kf64(out, "spent_usd", (double)cost / 1e6);
		sl_buf_json_ku64(out, "reserved_tokens", one->reserved_tokens);
		sl_buf_json_kf64(out, "reserved_usd", (double)one->reserved_cost / 1e6);
		sl_buf_json_ku64(out, "waiting", one->n_waiting);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&b->lock);
}
