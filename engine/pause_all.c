/* engine/pause_all.c: an operator's pause of everything. What the engine was told last is what counts: each run looks
 * at it in its own turn, as it starts, as it is taken up, and when it has changed. So all runs end as was said last,
 * whatever overtakes what on the way, and whatever was decided and is not written yet. */
#include <stdlib.h>

#include "engine/run_priv.h"

/* Everybody who was told, and whoever wants to know when they have done it. */
struct told {
	_Atomic size_t left, done;
	sl_engine_paused_fn *fn;
	void *arg;
	char *by; /* NULL: nobody in particular */
};

struct tell {
	struct sl_msg msg;
	struct sl_waiter waiter;
	struct sl_run *run; /* while the message is on its way */
	struct told *told;
};

static void told_less(struct told *t)
{
	if (atomic_fetch_sub(&t->left, 1) != 1)
		return;
	if (t->fn)
		t->fn(t->arg, atomic_load(&t->done));
	free(t->by);
	free(t);
}

bool sl_run_follow_pause(struct sl_run *r, const char *by)
{
	bool paused = atomic_load(&r->engine->paused);
	struct sl_order_copy order = {.kind = paused ? SL_CMD_PAUSE_DRAIN : SL_CMD_RESUME};
	enum sl_run_status status = r->state.status;
	struct sl_error err;
	if (paused && status != SL_RUN_RUNNING && status != SL_RUN_WAITING)
		return false; /* it waits for its turn, or stands still already */
	if (!paused && !(status == SL_RUN_PAUSED && r->state.reason && strcmp(r->state.reason, SL_PAUSED_ALL) == 0))
		return false;
	if (!paused && !r->state.by_itself && sl_child_confirm(r))
		return false; /* whoever started it may stand still for a reason of its own */
	order.by = sl_z(by);
	order.reason = sl_z(SL_PAUSED_ALL);
	bool done = sl_run_command(r, &order, &err) == SL_OK;
	free(order.by);
	free(order.reason);
	return done;
}

static void tell_drop(struct sl_msg *m)
{
	struct tell *t = SL_CONTAINER_OF(m, struct tell, msg);
	struct sl_run *r = t->run;
	told_less(t->told);
	free(t);
	sl_run_unref(r);
}

/* [run or store] */
static void tell_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct tell *t = SL_CONTAINER_OF(w, struct tell, waiter);
	if (rc == SL_OK)
		atomic_fetch_add(&t->told->done, 1);
	told_less(t->told);
	free(t);
}

/* [run] */
static void tell_run(struct sl_run *r, struct sl_msg *m)
{
	struct tell *t = SL_CONTAINER_OF(m, struct tell, msg);
	if (r->lost || !sl_run_follow_pause(r, t->told->by)) {
		tell_drop(m);
		return;
	}
	t->waiter.seq = r->state.last_seq;
	t->waiter.fn = tell_committed;
	sl_run_wait(r, &t->waiter);
	sl_run_unref(r);
}

enum sl_code sl_engine_pause(struct sl_engine *e, bool paused, struct sl_str by, sl_engine_paused_fn *fn, void *arg)
{
	struct sl_run *r, *tmp;
	size_t n = 0;
	/* first: whoever starts, or is taken up, from now on looks at this */
	atomic_store(&e->paused, paused);
	sl_admit_pause(e->admit, paused ? SL_PAUSED_ALL : NULL);
	struct told *told = calloc(1, sizeof(*told));
	if (told)
		*told = (struct told){.fn = fn, .arg = arg, .by = by.len ? sl_str_dup(by) : NULL};
	if (!told || (by.len && !told->by)) {
		free(told);
		return SL_NO_MEMORY;
	}
	atomic_init(&told->left, 1); /* ours, while they are counted */
	pthread_mutex_lock(&e->lock);
	HASH_ITER (hh, e->runs, r, tmp) {
		struct tell *t = calloc(1, sizeof(*t));
		if (!t)
			break;
		*t = (struct tell){.msg = {.run = tell_run, .drop = tell_drop}, .run = sl_run_ref(r), .told = told};
		atomic_fetch_add(&told->left, 1);
		sl_run_post(r, &t->msg); /* only posts */
		n++;
	}
	bool all = n == HASH_COUNT(e->runs);
	pthread_mutex_unlock(&e->lock);
	if (!all)
		told->fn = NULL;
	told_less(told);
	return all ? SL_OK : SL_NO_MEMORY;
}
