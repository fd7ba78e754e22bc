/* engine/await.c: waiting for the end of a run, wherever it is: in memory, in another server, or over already. */
#include <stdlib.h>

#include "engine/exec_priv.h"

static void error_of(const struct sl_run_state *s, struct sl_error *err)
{
	*err = (struct sl_error){0};
	if (s->status == SL_RUN_CANCELLED)
		(void)sl_fail(err, SL_CANCELLED, "the run was cancelled");
	else if (s->status == SL_RUN_FAILED)
		(void)sl_fail(err, s->code == SL_OK ? SL_INTERNAL : s->code, "%s", s->message ? s->message : "");
}

static void tell_end(sl_await_fn *fn, void *arg, const struct sl_run_state *s)
{
	struct sl_error err;
	struct sl_bytes *outputs = NULL;
	const struct sl_figures took = sl_state_figures(s);
	error_of(s, &err);
	if (s->outputs) {
		SL_BUF(b, 16u * SL_LIMIT_PAYLOAD_BYTES);
		sl_json_write(&b, s->outputs);
		bool no_memory = b.no_memory || !b.failed;
		outputs = sl_buf_bytes(&b);
		if (!outputs && no_memory) { /* nothing came out is something else */
			fn(arg, sl_fail(&err, SL_NO_MEMORY, "no memory for what came out of the run"), "", NULL, NULL,
			   &err);
			return;
		}
	}
	fn(arg, SL_OK, sl_run_states[s->status].wire, outputs, &took, &err);
	sl_bytes_unref(outputs);
}

void sl_run_tell_ends(struct sl_run *r, enum sl_code rc)
{
	while (r->ends) {
		struct sl_end_waiter *w = r->ends;
		r->ends = w->next;
		if (rc == SL_OK)
			tell_end(w->fn, w->arg, &r->state);
		else
			w->fn(w->arg, rc, "", NULL, NULL, &(struct sl_error){.code = rc});
		free(w);
	}
}

struct await {
	struct sl_msg msg;
	struct sl_engine *engine;
	struct sl_run *run;
	struct sl_run_id id;
	struct sl_run_id child;    /* that asks for its parent, if `node` is not NULL */
	char *node;                /* that started it; NULL: somebody else asks, or it has only just been begun */
	enum sl_command_kind hold; /* what it is told when that stands still */
	sl_await_fn *fn;
	void *arg;
};

static void await_free(struct await *a)
{
	free(a->node);
	free(a);
}

static void await_end(struct await *a, enum sl_code rc)
{
	if (rc == SL_BUSY)
		rc = SL_UNAVAILABLE; /* it cannot be read now: ask again, as for one that is elsewhere */
	a->fn(a->arg, rc, "", NULL, NULL, &(struct sl_error){.code = rc});
	await_free(a);
}

/* [store] */
static void await_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct await *a = arg;
	SL_AUTO(sl_stored_run) run = stored;
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_run_state state = {0};
	struct sl_error err;
	if (rc == SL_OK)
		rc = sl_stored_state(a->engine, run, &w, &state, &err);
	if (!w) {
		await_end(a, rc);
		return;
	}
	bool left = rc == SL_OK && a->node && !sl_child_is_wanted(&state, a->node, a->child);
	if (rc == SL_OK && (left || sl_run_status_final(state.status))) {
		tell_end(a->fn, a->arg, &state);
		await_free(a);
	} else if (rc == SL_OK) {
		const struct sl_figures took = sl_state_figures(&state);
		a->fn(a->arg, SL_UNAVAILABLE, sl_run_states[state.status].wire, NULL, &took,
		      &(struct sl_error){.code = SL_UNAVAILABLE});
		await_free(a);
	} else {
		await_end(a, rc);
	}
	sl_run_state_fini(&state);
}

static void await_load(struct await *a)
{
	const struct sl_journal *j = &a->engine->config.journal;
	enum sl_code rc = j->load(j->ctx, a->id, await_loaded, a);
	if (rc != SL_OK)
		await_end(a, rc);
}

static void await_drop(struct sl_msg *m)
{
	struct await *a = SL_CONTAINER_OF(m, struct await, msg);
	struct sl_run *r = a->run;
	await_end(a, SL_UNAVAILABLE);
	sl_run_unref(r);
}

static void await_run(struct sl_run *r, struct sl_msg *m)
{
	struct await *a = SL_CONTAINER_OF(m, struct await, msg);
	struct sl_end_waiter *w = NULL;
	if (r->lost) {
		await_load(a);
	} else if (sl_run_status_final(r->state.status) && r->committed_seq == r->state.last_seq) {
		tell_end(a->fn, a->arg, &r->state);
		await_free(a);
	} else if ((w = calloc(1, sizeof(*w)))) {
		*w = (struct sl_end_waiter){.next = r->ends, .fn = a->fn, .arg = a->arg};
		r->ends = w;
		if (a->node)
			sl_child_follows(r, a->child, a->node, a->hold);
		await_free(a);
	} else {
		await_end(a, SL_NO_MEMORY);
	}
	sl_run_unref(r);
}

enum sl_code sl_run_await_as(struct sl_engine *e, struct sl_run_id id, const struct sl_run *child, sl_await_fn *fn,
			     void *arg)
{
	struct await *a = calloc(1, sizeof(*a));
	if (!a)
		return SL_NO_MEMORY;
	*a = (struct await){.engine = e, .id = id, .fn = fn, .arg = arg, .run = sl_engine_find(e, id)};
	if (child && (child->recoveries || child->parent_asked)) { /* else the node that starts it tells it */
		a->child = child->id;
		a->node = sl_z(child->state.parent_node); /* without memory it hears of the end */
		a->hold = sl_child_held_by(child);
	}
	if (a->run) {
		a->msg.run = await_run;
		a->msg.drop = await_drop;
		sl_run_post(a->run, &a->msg);
		return SL_OK;
	}
	enum sl_code rc = e->config.journal.load(e->config.journal.ctx, id, await_loaded, a);
	if (rc == SL_BUSY || rc == SL_UNAVAILABLE) { /* it takes nothing now, and will again */
		await_end(a, rc);
		return SL_OK;
	}
	if (rc != SL_OK)
		await_free(a);
	return rc;
}

enum sl_code sl_engine_await(struct sl_engine *e, struct sl_run_id id, sl_await_fn *fn, void *arg)
{
	return sl_run_await_as(e, id, NULL, fn, arg);
}
