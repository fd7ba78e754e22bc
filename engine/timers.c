/* engine/timers.c: see timers.h. `fire` runs under the lock, so that a dropped timer's memory is free to go at once; it
 * therefore only posts. So does wake_at: told outside of it, "none" after the last timer fired could come after the
 * deadline another thread has set since, and nobody would wake for that one. */
#include "engine/timers.h"

#include <pthread.h>
#include <stdlib.h>

struct sl_timers {
	pthread_mutex_t lock;
	struct sl_timer **heap; /* [lock] */
	uint32_t n, cap;        /* [lock] */
	void (*wake_at)(void *ctx, uint64_t due_ms);
	void *ctx;
};

enum sl_code sl_timers_new(void (*wake_at)(void *ctx, uint64_t due_ms), void *ctx, struct sl_timers **out)
{
	struct sl_timers *ts = calloc(1, sizeof(*ts));
	if (!ts)
		return SL_NO_MEMORY;
	pthread_mutex_init(&ts->lock, NULL);
	ts->wake_at = wake_at;
	ts->ctx = ctx;
	*out = ts;
	return SL_OK;
}

void sl_timers_free(struct sl_timers *ts)
{
	if (!ts)
		return;
	pthread_mutex_destroy(&ts->lock);
	free(ts->heap);
	free(ts);
}

static void put(struct sl_timers *ts, uint32_t i, struct sl_timer *t)
{
	ts->heap[i] = t;
	t->slot = i + 1;
}

/* Finds the place of t, going up or down from i. */
static void sift(struct sl_timers *ts, uint32_t i, struct sl_timer *t)
{
	while (i > 0 && ts->heap[(i - 1) / 2]->due_ms > t->due_ms) {
		put(ts, i, ts->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		uint32_t kid = 2 * i + 1;
		if (kid >= ts->n)
			break;
		if (kid + 1 < ts->n && ts->heap[kid + 1]->due_ms < ts->heap[kid]->due_ms)
			kid++;
		if (ts->heap[kid]->due_ms >= t->due_ms)
			break;
		put(ts, i, ts->heap[kid]);
		i = kid;
	}
	put(ts, i, t);
}

static uint64_t next(struct sl_timers *ts)
{
	return ts->n ? ts->heap[0]->due_ms : UINT64_MAX;
}

/* Takes t off the heap; it is there. */
static void take_off(struct sl_timers *ts, struct sl_timer *t)
{
	uint32_t i = t->slot - 1;
	struct sl_timer *last = ts->heap[--ts->n];
	t->slot = 0;
	if (last != t)
		sift(ts, i, last);
}

enum sl_code sl_timers_set(struct sl_timers *ts, struct sl_timer *t, uint64_t due_ms)
{
	pthread_mutex_lock(&ts->lock);
	uint64_t before = next(ts);
	if (!t->slot) {
		if (ts->n == ts->cap) {
			uint32_t cap = ts->cap ? ts->cap * 2 : 64;
			struct sl_timer **heap = realloc(ts->heap, cap * sizeof(struct sl_timer *));
			if (!heap) {
				pthread_mutex_unlock(&ts->lock);
				return SL_NO_MEMORY;
			}
			ts->heap = heap;
			ts->cap = cap;
		}
		t->slot = ++ts->n;
	}
	t->due_ms = due_ms;
	sift(ts, t->slot - 1, t);
	uint64_t after = next(ts);
	if (after != before && ts->wake_at)
		ts->wake_at(ts->ctx, after);
	pthread_mutex_unlock(&ts->lock);
	return SL_OK;
}

bool sl_timers_drop(struct sl_timers *ts, struct sl_timer *t)
{
	pthread_mutex_lock(&ts->lock);
	bool was = t->slot != 0;
	if (was)
		take_off(ts, t);
	pthread_mutex_unlock(&ts->lock);
	return was; /* an early wake-up is harmless, so it is not called off */
}

void sl_timers_fire(struct sl_timers *ts, uint64_t now_ms)
{
	pthread_mutex_lock(&ts->lock);
	while (ts->n && ts->heap[0]->due_ms <= now_ms) {
		struct sl_timer *t = ts->heap[0];
		take_off(ts, t);
		t->fire(t);
	}
	if (ts->wake_at)
		ts->wake_at(ts->ctx, next(ts));
	pthread_mutex_unlock(&ts->lock);
}

uint64_t sl_timers_next(struct sl_timers *ts)
{
	pthread_mutex_lock(&ts->lock);
	uint64_t due = next(ts);
	pthread_mutex_unlock(&ts->lock);
	return due;
}
