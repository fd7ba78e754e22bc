/* engine/place.c: a run and its place among those at work: it asks once it is created, and what becomes of it (run.c)
 * gives the place back or takes it again. */
#include "engine/run_priv.h"

static void start(struct sl_run *r)
{
	struct sl_event e = {.kind = SL_EV_STARTED};
	if (r->state.status != SL_RUN_QUEUED) /* it was cancelled meanwhile */
		return;
	if (sl_run_emit(r, &e)) {
		if (r->state.generation > 1) /* it has something behind it: containers that were opened again */
			sl_run_go_on(r);
		sl_run_arm_deadline(r);
		sl_run_log(r, SL_LOG_DEBUG, "a run starts", NULL);
		(void)sl_run_follow_pause(r, NULL); /* its place was on the way, or it needs none */
	}
	SL_CRASH_POINT("run.started");
}

/* [run] */
static void admitted(struct sl_run *r, struct sl_msg *m)
{
	start(r);
	sl_run_unref(r);
}

static void admitted_drop(struct sl_msg *m)
{
	sl_run_unref(SL_CONTAINER_OF(m, struct sl_run, place_msg));
}

/* The queue's reference to the run goes with the message. */
static void go(struct sl_admit_ticket *t)
{
	struct sl_run *r = SL_CONTAINER_OF(t, struct sl_run, ticket);
	r->place_msg.run = admitted;
	r->place_msg.drop = admitted_drop;
	sl_run_post(r, &r->place_msg);
}

enum sl_code sl_places_new(struct sl_engine *e)
{
	return sl_admit_new(e->config.clock, go, &e->admit);
}

enum sl_code sl_run_join(struct sl_run *r)
{
	return sl_admit_join(r->engine->admit, &r->ticket, r->id.u, r->head->project ? r->head->project : "",
			     r->head->workflow ? r->head->workflow : "", r->head->priority);
}

void sl_run_begin(struct sl_run *r)
{
	sl_run_watch_parent(r);
	sl_run_ref(r); /* the queue's */
	if (sl_admit_ask(r->engine->admit, &r->ticket)) {
		start(r);
		sl_run_unref(r);
	} else {
		sl_run_tell_queued(r);
	}
}

void sl_run_start_at_once(struct sl_run *r)
{
	if (r->state.status != SL_RUN_QUEUED)
		return;
	bool waited = sl_admit_leave(r->engine->admit, &r->ticket);
	sl_admit_quit(&r->ticket); /* as if it had never joined */
	if (!waited)
		return; /* it is about to ask, or its place is on the way */
	start(r);
	sl_run_unref(r); /* the queue's */
}

void sl_run_ask_again(struct sl_run *r)
{
	sl_run_ref(r); /* the queue's, or the message's */
	if (sl_admit_ask(r->engine->admit, &r->ticket))
		go(&r->ticket);
}

void sl_run_tell_queued(struct sl_run *r)
{
	SL_BUF(why, 1024);
	if (r->state.status != SL_RUN_QUEUED || !sl_admit_reason(r->engine->admit, &r->ticket, &why) || why.failed)
		return;
	if (r->state.reason && sl_str_is(sl_buf_str(&why), r->state.reason))
		return; /* told, in an earlier life */
	struct sl_event e = {.kind = SL_EV_QUEUED, .reason = sl_str_dup(sl_buf_str(&why))};
	(void)sl_run_emit(r, &e); /* telling is all it does */
}

void sl_run_place_follows(struct sl_run *r)
{
	struct sl_admit *a = r->engine->admit;
	bool waits = r->state.status == SL_RUN_WAITING;
	if (atomic_exchange(&r->counted_waiting, waits) != waits)
		atomic_fetch_add(&r->engine->waiting, waits ? 1u : UINT32_MAX);
	switch (r->state.status) {
	case SL_RUN_QUEUED:
		break;
	case SL_RUN_RUNNING:
		sl_admit_enter(a, &r->ticket);
		break;
	case SL_RUN_PAUSED:
	case SL_RUN_WAITING:
	case SL_RUN_LOCKED:
		sl_admit_away(a, &r->ticket);
		break;
	default:
		sl_run_leave_place(r);
	}
}

void sl_run_leave_place(struct sl_run *r)
{
	if (atomic_exchange(&r->counted_waiting, false))
		atomic_fetch_sub(&r->engine->waiting, 1);
	if (sl_admit_leave(r->engine->admit, &r->ticket))
		sl_run_unref(r); /* the queue's; whoever calls holds one */
}
