/* engine/timers.h: all deadlines of the engine in one binary heap.
 *
 * Thread    [any], behind its own lock; callbacks run under it on the thread that calls
 *           sl_timers_fire(): they only post a message, and never touch timers.
 * Cost      O(log n) to set and drop; nothing runs while nothing is due.
 */
#pragma once

#include "base/own.h"

struct sl_timer {
	uint64_t due_ms; /* mono; set by sl_timers_set */
	uint32_t slot;   /* place in the heap + 1; 0: not set. Zero it before the first use */
	void (*fire)(struct sl_timer *t);
};

struct sl_timers;
/* wake_at [the thread that set or fired], under the lock, so that what is told last is true: the earliest deadline is
 * now this one; UINT64_MAX: none. It only notes and posts. May be NULL. */
SL_MUST_USE enum sl_code sl_timers_new(void (*wake_at)(void *ctx, uint64_t due_ms), void *ctx, struct sl_timers **out);
void sl_timers_free(struct sl_timers *ts);
/* Sets or moves. SL_NO_MEMORY: it is not set. */
SL_MUST_USE enum sl_code sl_timers_set(struct sl_timers *ts, struct sl_timer *t, uint64_t due_ms);
/* After this returned the timer will not fire any more and its memory is the caller's. True: it had been set. */
bool sl_timers_drop(struct sl_timers *ts, struct sl_timer *t);
/* Fires what is due at now_ms, earliest first. */
void sl_timers_fire(struct sl_timers *ts, uint64_t now_ms);
uint64_t sl_timers_next(struct sl_timers *ts); /* UINT64_MAX: none */
