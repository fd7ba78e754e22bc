/* engine/rerun.c: runs that begin again. A retry opens one that has ended; a fork makes a new one of another's journal.
 *
 * Neither costs anything before it is committed: both leave the run queued, and it starts like any other when that is
 * written. So of two servers that retry the same run at once, only the one that was written goes on.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/run_priv.h"

/* ---- retry ---- */

/* Of two retries in one server the second would take the lease from the first. */
struct sl_reopening {
	struct sl_reopening *next;
	struct sl_run_id id;
};

struct retry {
	struct sl_msg msg;
	struct sl_waiter waiter;
	struct sl_reopening busy;
	bool holds; /* busy is in the engine's list */
	struct sl_engine *engine;
	struct sl_run *run; /* a reference, while a message is on its way */
	struct sl_run_id id;
	char *from, *by;
	struct sl_error err;
	sl_command_fn *fn;
	void *arg;
};

static bool hold(struct retry *t)
{
	struct sl_engine *e = t->engine;
	pthread_mutex_lock(&e->lock);
	struct sl_reopening *b = e->reopening;
	while (b && !sl_run_id_eq(b->id, t->id))
		b = b->next;
	if (!b) {
		t->busy = (struct sl_reopening){.next = e->reopening, .id = t->id};
		e->reopening = &t->busy;
		t->holds = true;
	}
	pthread_mutex_unlock(&e->lock);
	return t->holds;
}

static void let_go(struct retry *t)
{
	struct sl_engine *e = t->engine;
	if (!t->holds)
		return;
	pthread_mutex_lock(&e->lock);
	struct sl_reopening **at = &e->reopening;
	while (*at != &t->busy)
		at = &(*at)->next;
	*at = t->busy.next;
	pthread_mutex_unlock(&e->lock);
	t->holds = false;
}

static void retry_free(struct retry *t)
{
	let_go(t);
	free(t->from);
	free(t->by);
	free(t);
}

static void retry_end(struct retry *t, enum sl_code rc, const char *status, const struct sl_error *err)
{
	let_go(t);
	t->fn(t->arg, rc, status, rc == SL_OK ? NULL : err);
	retry_free(t);
}

/* [store] It cannot be done, for t->err or because of how the run stands: that is told with its state. */
static void retry_told(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct retry *t = arg;
	SL_AUTO(sl_stored_run) run = stored;
	struct sl_run *r = NULL;
	struct sl_event e;
	bool nothing;
	const char *status = "";
	if (rc == SL_OK)
		rc = sl_run_of_stored(t->engine, run, &r, &t->err);
	else
		(void)sl_fail(&t->err, rc, rc == SL_NOT_FOUND ? "there is no such run" : "the run could not be read");
	if (rc == SL_OK) {
		struct sl_error why = {0};
		status = sl_run_states[r->state.status].wire;
		rc = sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, &why);
		if (rc != SL_OK)
			t->err = why;
		else
			rc = t->err.code;
	}
	sl_run_unref(r);
	retry_end(t, rc, status, &t->err);
}

static void retry_tell(struct retry *t)
{
	const struct sl_journal *j = &t->engine->config.journal;
	enum sl_code rc = j->load(j->ctx, t->id, retry_told, t);
	if (rc != SL_OK)
		retry_end(t, rc, "", &t->err);
}

static void retry_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct retry *t = SL_CONTAINER_OF(w, struct retry, waiter);
	struct sl_error err = {0};
	if (rc == SL_STALE_EPOCH || rc == SL_CONFLICT)
		rc = sl_fail(&err, SL_CONFLICT,
			     "somebody else has taken the run up before this was written; ask again");
	else if (rc != SL_OK)
		(void)sl_fail(&err, rc, "the server lost the run before this was written; ask again");
	retry_end(t, rc, sl_run_states[SL_RUN_QUEUED].wire, &err);
}

/* [run] It is on the table, and what was decided goes to the journal with this turn. */
static void retry_begins(struct sl_run *r, struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	t->waiter.seq = r->state.last_seq;
	t->waiter.fn = retry_committed;
	sl_run_wait(r, &t->waiter);
	sl_run_unref(r);
}

static void retry_drop(struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	struct sl_run *r = t->run;
	struct sl_error err;
	retry_end(t, sl_fail(&err, SL_DRAINING, "the server is stopping"), "", &err);
	sl_run_unref(r);
}

static bool full(const struct sl_run *r)
{
	return r->state.last_seq >= SL_LIMIT_RUN_EVENTS || r->state.bytes >= SL_LIMIT_RUN_BYTES;
}

static enum sl_code retry_decide(struct retry *t, struct sl_run *r, struct sl_error *err)
{
	struct sl_event e = {0};
	bool nothing;
	enum sl_code rc = sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, err);
	if (rc == SL_OK && full(r))
		rc = sl_fail(err, SL_CONFLICT,
			     "the journal of the run is as long as one may be; fork it from an earlier event");
	if (rc != SL_OK)
		return rc;
	e.path = sl_z(t->from);
	e.by = sl_z(t->by);
	rc = (t->from && !e.path) ? sl_fail(err, SL_NO_MEMORY, "out of memory")
				  : sl_state_may_rerun(&r->state, &e, err);
	if (rc != SL_OK) {
		sl_event_fini(&e);
		return rc;
	}
	if (!sl_run_emit(r, &e) || sl_run_ready(r) != SL_OK || sl_run_join(r) != SL_OK)
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	r->begins_at = r->state.last_seq;
	return SL_OK;
}

/* [store] */
static void reopened(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct retry *t = arg;
	struct sl_engine *e = t->engine;
	SL_AUTO(sl_stored_run) run = stored;
	struct sl_run *r = NULL;
	if (rc == SL_CONFLICT || rc == SL_NOT_FOUND) { /* it is none that can be opened, or not any more */
		(void)sl_fail(&t->err, SL_CONFLICT, "the run changed in this moment; ask again");
		retry_tell(t);
		return;
	}
	if (rc == SL_OK)
		rc = sl_run_of_stored(e, run, &r, &t->err);
	else
		(void)sl_fail(&t->err, rc, "the run could not be read");
	const char *status = r ? sl_run_states[r->state.status].wire : "";
	if (rc == SL_OK)
		rc = retry_decide(t, r, &t->err);
	if (rc == SL_OK && !sl_engine_add(e, r))
		rc = sl_fail(&t->err, SL_CONFLICT, "the run has not been let go yet; ask again");
	if (rc != SL_OK) {
		sl_run_unref(r);
		retry_end(t, rc, status, &t->err);
		return;
	}
	let_go(t);
	t->run = r; /* the reference of sl_run_new goes with the message */
	t->msg.run = retry_begins;
	t->msg.drop = retry_drop;
	sl_run_post(r, &t->msg);
}

static void reopen(struct retry *t)
{
	struct sl_engine *e = t->engine;
	enum sl_code rc = SL_OK;
	if (atomic_load(&e->stopping))
		rc = sl_fail(&t->err, SL_DRAINING, "the server is stopping");
	else
		rc = sl_engine_room(e, false, &t->err);
	if (rc != SL_OK) {
		retry_end(t, rc, "", &t->err);
	} else if (!hold(t)) {
		(void)sl_fail(&t->err, SL_CONFLICT, "somebody else is retrying this run right now");
		retry_tell(t);
	} else if ((rc = e->config.journal.reopen(e->config.journal.ctx, t->id, reopened, t)) != SL_OK) {
		(void)sl_fail(&t->err, rc, "the run could not be opened");
		retry_end(t, rc, "", &t->err);
	}
}

static void retry_ended(struct sl_waiter *w, enum sl_code rc)
{
	struct retry *t = SL_CONTAINER_OF(w, struct retry, waiter);
	if (rc == SL_OK) {
		reopen(t);
		return;
	}
	(void)sl_fail(&t->err, rc, "the server lost the run before its end was written; ask again");
	retry_end(t, rc, "", &t->err);
}

/* [run] It is still in memory: either it goes on, or its end is on its way to the journal. */
static void retry_look(struct sl_run *r, struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	struct sl_event e;
	bool nothing;
	enum sl_code rc = r->lost ? sl_fail(&t->err, SL_CONFLICT, "another instance has taken the run over; ask again")
				  : sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, &t->err);
	if (rc != SL_OK) {
		retry_end(t, rc, sl_run_states[r->state.status].wire, &t->err);
	} else {
		t->waiter.seq = r->state.last_seq;
		t->waiter.fn = retry_ended;
		sl_run_wait(r, &t->waiter);
	}
	sl_run_unref(r);
}

enum sl_code sl_rerun_retry(struct sl_engine *e, struct sl_run_id id, const struct sl_order *order, sl_command_fn *fn,
			    void *arg)
{
	struct retry *t = calloc(1, sizeof(*t));
	if (!t)
		return SL_NO_MEMORY;
	*t = (struct retry){.engine = e, .id = id, .fn = fn, .arg = arg};
	t->from = order->node.len ? sl_str_dup(order->node) : NULL;
	t->by = order->by.len ? sl_str_dup(order->by) : NULL;
	if ((order->node.len && !t->from) || (order->by.len && !t->by)) {
		retry_free(t);
		return SL_NO_MEMORY;
	}
	t->run = sl_engine_find(e, id);
	if (t->run) {
		t->msg.run = retry_look;
		t->msg.drop = retry_drop;
		sl_run_post(t->run, &t->msg);
	} else {
		reopen(t);
	}
	return SL_OK;
}
