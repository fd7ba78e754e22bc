/* base/loop.h: a libuv loop with a thread of its own, and the one way into it from elsewhere.
 *
 * Owns      the uv_loop_t and its thread.
 * Thread    sl_loop_post() [any]; everything else as said. SL_ASSERT_LOOP holds in debug builds.
 * Not for   blocking work: a turn stays below a millisecond.
 */
#pragma once

#include <pthread.h>
#include <uv.h>

#include "base/mpsc.h"
#include "base/own.h"

struct sl_loop;

/* A message to a loop, embedded in what it is about. Its memory is the poster's again when `run` is called. */
struct sl_post {
	struct sl_link link;
	void (*run)(struct sl_post *p); /* [loop] exactly once */
};

/* Name is for the debugger (15 bytes). The loop does not turn before sl_loop_start(). */
SL_MUST_USE enum sl_code sl_loop_new(const char *name, struct sl_loop **out);
SL_MUST_USE enum sl_code sl_loop_start(struct sl_loop *l);

/* [any] Runs p->run on the loop's thread, in order of posting per thread. After sl_loop_stop() has returned nothing is
 * run any more: stop those who post first. */
void sl_loop_post(struct sl_loop *l, struct sl_post *p);

/* [any] The same for a plain function; allocates. SL_NO_MEMORY: fn will not run. */
SL_MUST_USE enum sl_code sl_loop_call(struct sl_loop *l, void (*fn)(void *arg), void *arg);

/* [not the loop] Runs what is posted, stops the thread and joins it. Handles still open are closed without their
 * callbacks being waited for by anyone: close what you opened before. */
void sl_loop_stop(struct sl_loop *l);
void sl_loop_free(struct sl_loop *l); /* after stop; NULL is fine */
SL_DEFINE_AUTO(sl_loop)

uv_loop_t *sl_loop_uv(struct sl_loop *l);         /* lends */
bool sl_loop_is_here(const struct sl_loop *l);    /* is this the loop's thread? (also true before it started) */
uint64_t sl_loop_lag_us(const struct sl_loop *l); /* [any] the longest turn of about the last second */

#if SL_DEBUG
#define SL_ASSERT_LOOP(l) SL_BUG_ON(!sl_loop_is_here(l))
#else
#define SL_ASSERT_LOOP(l) ((void)0)
#endif
