/* llm/retry_budget.c: see retry_budget.h. Counts by the second, in a ring. */
#include "llm/named.h"

#include "llm/retry_budget.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"

#define SLOTS 10 /* seconds of the window */
#define NAMES 1000

struct budget {
	char *name;
	UT_hash_handle hh;
	uint64_t second; /* of the newest slot */
	uint32_t first[SLOTS], further[SLOTS];
	uint64_t refused;
};

struct sl_retry_budgets {
	pthread_mutex_t lock;
	struct budget *budgets; /* [lock] */
};

enum sl_code sl_retry_budgets_new(struct sl_retry_budgets **out)
{
	struct sl_retry_budgets *b = calloc(1, sizeof(*b));
	if (!b)
		return SL_NO_MEMORY;
	pthread_mutex_init(&b->lock, NULL);
	*out = b;
	return SL_OK;
}

static void drop(struct sl_retry_budgets *b, struct budget *one)
{
	HASH_DEL(b->budgets, one);
	free(one->name);
	free(one);
}

void sl_retry_budgets_free(struct sl_retry_budgets *b)
{
	struct budget *one, *tmp;
	if (!b)
		return;
	HASH_ITER (hh, b->budgets, one, tmp)
		drop(b, one);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static void turn(struct budget *one, uint64_t now_ms)
{
	uint64_t second = now_ms / 1000;
	if (second >= one->second + SLOTS) {
		memset(one->first, 0, sizeof(one->first));
		memset(one->further, 0, sizeof(one->further));
		one->second = second;
	}
	while (one->second < second) {
		one->second++;
		one->first[one->second % SLOTS] = one->further[one->second % SLOTS] = 0;
	}
}

/* [lock] NULL: no memory. */
static struct budget *get(struct sl_retry_budgets *b, struct sl_str name, uint64_t now_ms)
{
	struct budget *one, *tmp;
	HASH_FIND(hh, b->budgets, name.p, name.len, one);
	if (!one) {
		if (HASH_COUNT(b->budgets) >= NAMES) { /* profiles come and go */
			struct budget *old;
			HASH_ITER (hh, b->budgets, old, tmp) {
				if (now_ms / 1000 >= old->second + SLOTS)
					drop(b, old);
			}
		}
		one = calloc(1, sizeof(*one));
		if (one && (one->name = sl_str_dup(name)) != NULL) {
			one->second = now_ms / 1000;
			HASH_ADD_KEYPTR(hh, b->budgets, one->name, name.len, one);
			if (one->hh.tbl)
				return one;
		}
		if (one)
			free(one->name);
		free(one);
		return NULL;
	}
	turn(one, now_ms);
	return one;
}

static int64_t left_of(const struct budget *one, uint64_t *first, uint64_t *further)
{
	*first = *further = 0;
	for (int i = 0; i < SLOTS; i++)
		*first += one->first[i], *further += one->further[i];
	return (int64_t)(*first * SL_RETRY_BUDGET_PERCENT / 100 + SL_RETRY_BUDGET_PER_SECOND * SLOTS) -
	       (int64_t)*further;
}

void sl_retry_budget_first(struct sl_retry_budgets *b, struct sl_str profile, uint64_t now_ms)
{
	pthread_mutex_lock(&b->lock);
	struct budget *one = get(b, profile, now_ms);
	if (one)
		one->first[one->second % SLOTS]++;
	pthread_mutex_unlock(&b->lock);
}

bool sl_retry_budget_take(struct sl_retry_budgets *b, struct sl_str profile, uint64_t now_ms)
{
	uint64_t first, further;
	bool ok = false;
	pthread_mutex_lock(&b->lock);
	struct budget *one = get(b, profile, now_ms);
	if (one && left_of(one, &first, &further) > 0) {
		one->further[one->second % SLOTS]++;
		ok = true;
	} else if (one) {
		one->refused++;
	}
	pthread_mutex_unlock(&b->lock);
	return ok;
}

void sl_retry_budgets_json(struct sl_retry_budgets *b, struct sl_buf *out, uint64_t now_ms)
{
	struct budget *one, *tmp;
	pthread_mutex_lock(&b->lock);
	HASH_ITER (hh, b->budgets, one, tmp) {
		uint64_t first, further;
		turn(one, now_ms);
		int64_t left = left_of(one, &first, &further);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "profile", one->name);
		sl_buf_json_ku64(out, "first", first);
		sl_buf_json_ku64(out, "further", further);
		sl_buf_json_ki64(out, "left", left > 0 ? left : 0);
		sl_buf_json_ku64(out, "refused", one->refused);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&b->lock);
}
