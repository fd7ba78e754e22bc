/* llm/ledger.c: see ledger.h. Rows lie in a ring; the batch under way is taken out of it, so that a row added meanwhile
 * moves nothing that the port looks at. */
#include "llm/ledger.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "base/log.h"

#define LEDGER_BATCH 500

const struct sl_bounds sl_bounds_close = {
	12, {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5}};

struct sl_call_ledger {
	struct sl_call_ledger_port port;
	pthread_mutex_t lock;
	pthread_cond_t quiet;
	struct sl_call_row *ring; /* [lock] grows to SL_LIMIT_LEDGER_ROWS */
	uint32_t cap, first, n;   /* [lock] */
	struct sl_call_row batch[LEDGER_BATCH];
	uint32_t n_batch;                  /* [lock] 0: nothing is being written */
	struct sl_call_ledger_stats stats; /* [lock] */
};

enum sl_code sl_call_ledger_new(const struct sl_call_ledger_port *port, struct sl_call_ledger **out)
{
	struct sl_call_ledger *l = calloc(1, sizeof(*l));
	if (!l)
		return SL_NO_MEMORY;
	l->port = *port;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_t a;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&l->quiet, &a);
	pthread_condattr_destroy(&a);
	*out = l;
	return SL_OK;
}

void sl_call_ledger_free(struct sl_call_ledger *l)
{
	if (!l)
		return;
	SL_BUG_ON(l->n_batch != 0);
	for (uint32_t i = 0; i < l->n; i++)
		sl_call_row_fini(&l->ring[(l->first + i) % l->cap]);
	free(l->ring);
	pthread_cond_destroy(&l->quiet);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* [lock] */
static bool grow(struct sl_call_ledger *l)
{
	uint32_t cap = l->cap ? l->cap * 2 : 64;
	if (cap > SL_LIMIT_LEDGER_ROWS)
		cap = SL_LIMIT_LEDGER_ROWS;
	struct sl_call_row *more = cap > l->cap ? malloc(cap * sizeof(*more)) : NULL;
	if (!more)
		return false;
	for (uint32_t i = 0; i < l->n; i++)
		more[i] = l->ring[(l->first + i) % l->cap];
	free(l->ring);
	l->ring = more;
	l->cap = cap;
	l->first = 0;
	return true;
}

static void write_next(struct sl_call_ledger *l);

static void written(void *arg, enum sl_code rc)
{
	struct sl_call_ledger *l = arg;
	pthread_mutex_lock(&l->lock);
	uint32_t n = l->n_batch;
	for (uint32_t i = 0; i < n; i++)
		sl_call_row_fini(&l->batch[i]);
	l->n_batch = 0;
	*(rc == SL_OK ? &l->stats.written : &l->stats.lost) += n;
	if (!l->n)
		pthread_cond_broadcast(&l->quiet);
	pthread_mutex_unlock(&l->lock);
	if (rc != SL_OK)
		sl_log(SL_LOG_ERROR, "llm", "calls that were called off could not be written to the ledger",
		       SL_KU("rows", n), SL_KS("reason", sl_code_wire(rc)));
	write_next(l);
}

/* `written` may be called in place, and calls this: as deep as there are batches, which the ring bounds. */
static void write_next(struct sl_call_ledger *l)
{
	pthread_mutex_lock(&l->lock);
	bool go = !l->n_batch && l->n;
	while (go && l->n && l->n_batch < LEDGER_BATCH) {
		l->batch[l->n_batch++] = l->ring[l->first];
		l->first = (l->first + 1) % l->cap;
		l->n--;
	}
	size_t n = l->n_batch;
	pthread_mutex_unlock(&l->lock);
	if (go)
		l->port.write(l->port.ctx, l->batch, n, written, l);
}

void sl_call_ledger_add(struct sl_call_ledger *l, struct sl_call_row *row)
{
	if (!l) {
		sl_call_row_fini(row);
		return;
	}
	bool lost = false;
	pthread_mutex_lock(&l->lock);
	l->stats.rows++;
	if (row->close_us)
		sl_stats_spread_add(&l->stats.close, &sl_bounds_close, (double)row->close_us / 1e6);
	if (l->n == l->cap && !grow(l)) {
		lost = true;
		l->stats.lost++;
		if (l->n) {
			sl_call_row_fini(&l->ring[l->first]);
			l->first = (l->first + 1) % l->cap;
			l->n--;
		}
	}
	if (l->n < l->cap) {
		l->ring[(l->first + l->n++) % l->cap] = *row;
		*row = (struct sl_call_row){0};
	}
	uint64_t n = l->stats.lost;
	pthread_mutex_unlock(&l->lock);
	sl_call_row_fini(row);
	if (lost && (n & (n - 1)) == 0) /* each time twice as many */
		sl_log(SL_LOG_ERROR, "llm", "the ledger of called-off calls is full, the oldest rows are lost",
		       SL_KU("lost", n));
	write_next(l);
}

bool sl_call_ledger_drain(struct sl_call_ledger *l, uint64_t most_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(most_ms / 1000);
	until.tv_nsec += (long)(most_ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&l->lock);
	while ((l->n || l->n_batch) && pthread_cond_timedwait(&l->quiet, &l->lock, &until) == 0) {
	}
	bool done = !l->n && !l->n_batch;
	pthread_mutex_unlock(&l->lock);
	return done;
}

void sl_call_ledger_stats(struct sl_call_ledger *l, struct sl_call_ledger_stats *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->stats;
	out->waiting = l->n + l->n_batch;
	pthread_mutex_unlock(&l->lock);
}
