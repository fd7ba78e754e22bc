/* engine/timers.c: see timers.h. `fire` runs under the lock, so that a dropped timer's memory is free to go at once; it
 * therefore only posts. So does wake_at: told outside of it, "none" after the last timer fired could come after the
 * deadline another thread has set since, and nobody would wake for that one. */
#include "engine/timers.h"

#include <pthread.h>
#include <stdlib.h>

#define DRIFT_MS 10 /* less is put right when a timer comes due */

struct sl_timers {
	pthread_mutex_t lock;
	struct sl_timer **heap; /* [lock] */
	uint32_t n, cap;        /* [lock] */
	uint32_t n_wall;        /* [lock] of them, those that follow the wall clock */
	int64_t offset_ms;      /* [lock] wall minus mono, as their due_ms have it */
	uint64_t looked_ms;     /* [lock] mono, when the two were compared last */
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
	uint64_t due = ts->n ? ts->heap[0]->due_ms : UINT64_MAX, look = ts->looked_ms + SL_TIMERS_LOOK_MS;
	return ts->n_wall && look < due ? look : due;
}

/* Takes t off the heap; it is there. */
static void take_off(struct sl_timers *ts, struct sl_timer *t)
{
	uint32_t i = t->slot - 1;
	struct sl_timer *last = ts->heap[--ts->n];
	t->slot = 0;
	ts->n_wall -= t->by_wall;
	if (last != t)
		sift(ts, i, last);
}

/* The wall clock was set, or drifts: the moments are at other distances now. */
static void follow(struct sl_timers *ts, int64_t offset_ms)
{
	ts->offset_ms = offset_ms;
	for (uint32_t i = 0; i < ts->n; i++) {
		struct sl_timer *t = ts->heap[i];
		if (t->by_wall)
			t->due_ms = t->wall_ms > offset_ms ? (uint64_t)(t->wall_ms - offset_ms) : 0;
	}
	uint32_t n = ts->n;
	for (ts->n = 0; ts->n < n;) { /* each anew, behind those that are in their places */
		uint32_t i = ts->n++;
		sift(ts, i, ts->heap[i]);
	}
}

static void look(struct sl_timers *ts, uint64_t now_mono_ms, int64_t now_wall_ms)
{
	int64_t offset = now_wall_ms - (int64_t)now_mono_ms, moved = offset - ts->offset_ms;
	ts->looked_ms = now_mono_ms;
	if (ts->n_wall && (moved > DRIFT_MS || moved < -DRIFT_MS))
		follow(ts, offset);
}

/* [lock] */
static enum sl_code set(struct sl_timers *ts, struct sl_timer *t, uint64_t due_ms, bool by_wall)
{
	uint64_t before = next(ts);
	if (!t->slot) {
		if (ts->n == ts->cap) {
			uint32_t cap = ts->cap ? ts->cap * 2 : 64;
			struct sl_timer **heap = realloc(ts->heap, cap * sizeof(struct sl_timer *));
			if (!heap)
				return SL_NO_MEMORY;
			ts->heap = heap;
			ts->cap = cap;
		}
		t->slot = ++ts->n;
	} else {
		ts->n_wall -= t->by_wall;
	}
	ts->n_wall += by_wall;
	t->by_wall = by_wall;
	t->due_ms = due_ms;
	sift(ts, t->slot - 1, t);
	uint64_t after = next(ts);
	if (after != before && ts->wake_at)
		ts->wake_at(ts->ctx, after);
	return SL_OK;
}

enum sl_code sl_timers_set(struct sl_timers *ts, struct sl_timer *t, uint64_t due_ms)
{
	pthread_mutex_lock(&ts->lock);
	enum sl_code rc = set(ts, t, due_ms, false);
	pthread_mutex_unlock(&ts->lock);
	return rc;
}

enum sl_code sl_timers_set_wall(struct sl_timers *ts, struct sl_timer *t, int64_t wall_ms, uint64_t now_mono_ms,
				int64_t now_wall_ms)
{
	pthread_mutex_lock(&ts->lock);
	if (!ts->n_wall) { /* nobody has looked for a while */
		ts->offset_ms = now_wall_ms - (int64_t)now_mono_ms;
		ts->looked_ms = now_mono_ms;
	}
	t->wall_ms = wall_ms;
	int64_t due = wall_ms - ts->offset_ms;
	enum sl_code rc = set(ts, t, due > 0 ? (uint64_t)due : 0, true);
	pthread_mutex_unlock(&ts->lock);
	return rc;
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

void sl_timers_fire(struct sl_timers *ts, uint64_t now_mono_ms, int64_t now_wall_ms)
{
	pthread_mutex_lock(&ts->lock);
	look(ts, now_mono_ms, now_wall_ms);
	while (ts->n && ts->heap[0]->due_ms <= now_mono_ms) {
		struct sl_timer *t = ts->heap[0];
		if (t->by_wall && t->wall_ms > now_wall_ms) { /* by the little that drift is let be */
			t->due_ms = now_mono_ms + (uint64_t)(t->wall_ms - now_wall_ms);
			sift(ts, 0, t);
			continue;
		}
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
