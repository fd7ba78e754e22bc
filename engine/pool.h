/* engine/pool.h: the worker threads. A job is embedded in what it is about; first in, first out.
 *
 * Thread    push [any]; resize and stop [not a worker].
 * With 0 workers nothing runs by itself: sl_pool_step() runs one job on the caller's thread (tests).
 */
#pragma once

#include "base/list.h"

struct sl_pool;
struct sl_job {
	struct sl_list link;
	void (*run)(struct sl_job *j); /* [worker]; j may be pushed again from inside */
};

SL_MUST_USE enum sl_code sl_pool_new(uint32_t workers, struct sl_pool **out);
void sl_pool_push(struct sl_pool *p, struct sl_job *j); /* j must not be queued */
SL_MUST_USE enum sl_code sl_pool_resize(struct sl_pool *p, uint32_t workers);
bool sl_pool_step(struct sl_pool *p);
void sl_pool_stop(struct sl_pool *p); /* lets running jobs end, leaves queued ones; joins the threads */
/* After stop: takes one queued job off and gives it to fn instead. False: none is left. */
bool sl_pool_discard(struct sl_pool *p, void (*fn)(struct sl_job *j));
void sl_pool_free(struct sl_pool *p); /* after stop; NULL is fine */
uint32_t sl_pool_workers(struct sl_pool *p);
uint32_t sl_pool_depth(struct sl_pool *p); /* jobs that wait */
