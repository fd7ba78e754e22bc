/* engine/timers.h: all deadlines of the engine in one binary heap.
 *
 * Most are monotonic: a span of time, whatever anybody does to the clock on the wall. Some are moments of that clock
 * ("until nine o'clock"): they follow it when it is set. Nothing tells a process that the clock was set, so while such
 * a timer waits, the two clocks are compared every SL_TIMERS_LOOK_MS.
 *
 * Thread    [any], behind its own lock; callbacks run under it on the thread that calls
 *           sl_timers_fire(): they only post a message, and never touch timers.
 * Cost      O(log n) to set and drop; nothing runs while nothing is due.
 */
#pragma once

#include "base/own.h"

#define SL_TIMERS_LOOK_MS 500

struct sl_timer {
	uint64_t due_ms; /* mono; set by sl_timers_set */
	int64_t wall_ms; /* the moment, of one that follows the wall clock */
	bool by_wall;
	uint32_t slot; /* place in the heap + 1; 0: not set. Zero it before the first use */
	void (*fire)(struct sl_timer *t);
};

struct sl_timers;
/* wake_at [the thread that set or fired], under the lock, so that what is told last is true: the earliest deadline is
 * now this one; UINT64_MAX: none. It only notes and posts. May be NULL. */
SL_MUST_USE enum sl_code sl_timers_new(void (*wake_at)(void *ctx, uint64_t due_ms), void *ctx, struct sl_timers **out);
void sl_timers_free(struct sl_timers *ts);
/* Sets or moves. SL_NO_MEMORY: it is not set. */
SL_MUST_USE enum sl_code sl_timers_set(struct sl_timers *ts, struct sl_timer *t, uint64_t due_ms);
/* The same for a moment of the wall clock. now_*: both clocks, read together. It fires when the wall clock shows that
 * moment or a later one: never before, and at most SL_TIMERS_LOOK_MS after, however the clock is moved. */
SL_MUST_USE enum sl_code sl_timers_set_wall(struct sl_timers *ts, struct sl_timer *t, int64_t wall_ms,
					    uint64_t now_mono_ms, int64_t now_wall_ms);
/* After this returned the timer will not fire any more and its memory is the caller's. True: it had been set. */
bool sl_timers_drop(struct sl_timers *ts, struct sl_timer *t);
/* Fires what is due, earliest first. */
void sl_timers_fire(struct sl_timers *ts, uint64_t now_mono_ms, int64_t now_wall_ms);
uint64_t sl_timers_next(struct sl_timers *ts); /* UINT64_MAX: none */
