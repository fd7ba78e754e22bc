/* engine/pool.c: see pool.h. One lock and one condition: a job here is a whole mailbox turn, so the queue is not hot.
 */
#include "engine/pool.h"

#include <pthread.h>
#include <stdlib.h>

struct worker {
	struct sl_list link; /* in pool->threads, or in pool->gone when it has left */
	struct sl_pool *pool;
	pthread_t thread;
};

struct sl_pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct sl_list jobs;             /* [lock] */
	struct sl_list threads;          /* [lock] */
	struct sl_list gone;             /* [lock] to be joined */
	uint32_t running, wanted, depth; /* [lock] */
	bool stopping;                   /* [lock] */
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct sl_pool *p = w->pool;
	(void)pthread_setname_np(pthread_self(), "sl-worker"); /* a name is a nicety */
	pthread_mutex_lock(&p->lock);
	for (;;) {
		if (p->stopping || p->running > p->wanted)
			break;
		if (sl_list_empty(&p->jobs)) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}
		struct sl_job *j = sl_list_entry(p->jobs.next, struct sl_job, link);
		sl_list_drop(&j->link);
		p->depth--;
		pthread_mutex_unlock(&p->lock);
		j->run(j);
		pthread_mutex_lock(&p->lock);
	}
	p->running--;
	sl_list_drop(&w->link);
	sl_list_append(&p->gone, &w->link);
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Joins who has left. The lock is held on entry and on return. */
static void reap(struct sl_pool *p)
{
	while (!sl_list_empty(&p->gone)) {
		struct worker *w = sl_list_entry(p->gone.next, struct worker, link);
		sl_list_drop(&w->link);
		pthread_mutex_unlock(&p->lock);
		pthread_join(w->thread, NULL);
		free(w);
		pthread_mutex_lock(&p->lock);
	}
}

enum sl_code sl_pool_new(uint32_t workers, struct sl_pool **out)
{
	struct sl_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return SL_NO_MEMORY;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	sl_list_init(&p->jobs);
	sl_list_init(&p->threads);
	sl_list_init(&p->gone);
	enum sl_code rc = sl_pool_resize(p, workers);
	if (rc != SL_OK) {
		sl_pool_stop(p);
		sl_pool_free(p);
		return rc;
	}
	*out = p;
	return SL_OK;
}

enum sl_code sl_pool_resize(struct sl_pool *p, uint32_t workers)
{
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&p->lock);
	p->wanted = workers;
	while (p->running < workers && rc == SL_OK) {
		struct worker *w = calloc(1, sizeof(*w));
		if (!w) {
			rc = SL_NO_MEMORY;
			break;
		}
		w->pool = p;
		sl_list_append(&p->threads, &w->link);
		p->running++;
		if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
			p->running--;
			sl_list_drop(&w->link);
			free(w);
			rc = SL_NO_MEMORY;
		}
	}
	pthread_cond_broadcast(&p->more);
	reap(p);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

void sl_pool_push(struct sl_pool *p, struct sl_job *j)
{
	pthread_mutex_lock(&p->lock);
	sl_list_append(&p->jobs, &j->link);
	p->depth++;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

bool sl_pool_discard(struct sl_pool *p, void (*fn)(struct sl_job *j))
{
	pthread_mutex_lock(&p->lock);
	struct sl_job *j = NULL;
	if (!sl_list_empty(&p->jobs)) {
		j = sl_list_entry(p->jobs.next, struct sl_job, link);
		sl_list_drop(&j->link);
		p->depth--;
	}
	pthread_mutex_unlock(&p->lock);
	if (j)
		fn(j);
	return j != NULL;
}

static void run_job(struct sl_job *j)
{
	j->run(j);
}

bool sl_pool_step(struct sl_pool *p)
{
	return sl_pool_discard(p, run_job);
}

void sl_pool_stop(struct sl_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->more);
	while (p->running)
		pthread_cond_wait(&p->more, &p->lock);
	reap(p);
	pthread_mutex_unlock(&p->lock);
}

void sl_pool_free(struct sl_pool *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->more);
	free(p);
}

uint32_t sl_pool_workers(struct sl_pool *p)
{
	pthread_mutex_lock(&p->lock);
	uint32_t n = p->running;
	pthread_mutex_unlock(&p->lock);
	return n;
}

uint32_t sl_pool_depth(struct sl_pool *p)
{
	pthread_mutex_lock(&p->lock);
	uint32_t n = p->depth;
	pthread_mutex_unlock(&p->lock);
	return n;
}
