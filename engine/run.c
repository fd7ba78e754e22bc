/* engine/run.c: the run actor: takes its messages one by one, decides and folds; what was decided in a turn goes to the
 * journal as one batch (flight.c). Downstream nodes start at once; clients hear of it after the commit. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/run_priv.h"

char *sl_z(const char *z)
{
	char *copy = z ? sl_str_dup(sl_str(z)) : NULL;
	if (z && !copy)
		sl_json_lost();
	return copy;
}

/* ---- life ---- */

static void run_turn(struct sl_job *j);

struct sl_run *sl_run_new(struct sl_engine *e, struct sl_run_head *head, struct sl_workflow *w)
{
	struct sl_run *r = calloc(1, sizeof(*r));
	if (!r) {
		sl_run_head_free(head);
		return NULL;
	}
	atomic_init(&r->refs, 1);
	r->engine = e;
	r->head = head;
	r->id = head->id;
	r->workflow = sl_workflow_ref(w);
	sl_mpsc_init(&r->mailbox);
	sl_list_init(&r->job.link);
	r->job.run = run_turn;
	memcpy(&r->random, head->id.u.b + 8, 8);
	r->random ^= e->config.seed | 1;
	struct sl_error err;
	r->n_mw = e->n_middleware;
	r->mw_state = calloc(r->n_mw + 1, sizeof(void *));
	if (!r->mw_state || sl_run_state_init(&r->state, w) != SL_OK || sl_run_ready_scope(&r->state.root) != SL_OK ||
	    sl_json_parse(sl_bytes_str(head->inputs), &r->inputs, &err) != SL_OK) {
		sl_run_unref(r);
		return NULL;
	}
	r->about = json_object_new_object();
	if (r->about) {
		char id[SL_UUID_TEXT_BYTES], at[SL_TIME_TEXT_BYTES];
		sl_uuid_format(head->id.u, id);
		sl_time_format(head->created_ms, at);
		sl_json_set_str(r->about, "id", sl_str(id));
		sl_json_set_str(r->about, "project", sl_str(head->project));
		sl_json_set_str(r->about, "started_at", sl_str(at));
	}
	return r;
}

struct sl_run *sl_run_ref(struct sl_run *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void sl_run_end_waits(struct sl_run *r)
{
	while (r->waiters) {
		struct sl_waiter *w = r->waiters;
		r->waiters = w->next;
		w->fn(w, SL_CANCELLED);
	}
	sl_run_tell_ends(r, SL_UNAVAILABLE);
}

void sl_run_unref(struct sl_run *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	(void)sl_run_drop_mail(r);
	for (uint32_t k = r->state.n_scopes; k-- > 0;) {
		struct sl_scope *sc = r->state.scopes[k];
		for (uint32_t i = 0; sc->rt && i < sc->graph->n_nodes; i++) {
			if (sc->rt[i].exec)
				sl_exec_kill(sc->rt[i].exec);
			sl_stream_unref(sc->rt[i].stream);
		}
	}
	for (size_t i = 0; i < r->n_out; i++)
		sl_record_fini(&r->out[i]);
	for (size_t i = 0; i < r->n_begun; i++)
		sl_stream_unref(r->begun[i]);
	sl_run_end_waits(r);
	free(r->out);
	free(r->begun);
	for (size_t i = 0; r->mw_state && i < r->n_mw; i++)
		free(r->mw_state[i]);
	free(r->mw_state);
	free(r->trip_path);
	sl_admit_quit(&r->ticket);
	sl_run_close_account(r);
	if (r->workflow)
		sl_run_state_fini(&r->state);
	json_object_put(r->inputs);
	json_object_put(r->about);
	sl_run_head_free(r->create);
	sl_run_head_free(r->head);
	sl_workflow_unref(r->workflow);
	free(r);
}

enum sl_code sl_run_ready_scope(struct sl_scope *sc)
{
	if (sc->rt)
		return SL_OK;
	sc->rt = calloc(sc->graph->n_nodes ? sc->graph->n_nodes : 1, sizeof(*sc->rt));
	for (uint32_t i = 0; sc->rt && i < sc->graph->n_nodes; i++)
		sc->rt[i].scope = sc;
	return sc->rt ? SL_OK : SL_NO_MEMORY;
}

bool sl_run_drop_mail(struct sl_run *r)
{
	struct sl_link *l = sl_mpsc_take(&r->mailbox);
	bool any = l;
	while (l) {
		struct sl_msg *m = SL_CONTAINER_OF(l, struct sl_msg, link);
		l = l->next;
		m->drop(m);
	}
	return any;
}

void sl_run_discard(struct sl_job *j)
{
	struct sl_run *r = SL_CONTAINER_OF(j, struct sl_run, job);
	atomic_store(&r->scheduled, false); /* whatever is posted now comes by here once more */
	(void)sl_run_drop_mail(r);          /* it may be on no table any more, and its messages hold it */
	sl_run_unref(r);
}

static void schedule(struct sl_run *r)
{
	if (!atomic_exchange(&r->scheduled, true)) {
		sl_run_ref(r);
		sl_pool_push(r->engine->pool, &r->job);
	}
}

void sl_run_post(struct sl_run *r, struct sl_msg *m)
{
	/* The reference the caller has usually travels with the message, and a worker may have served it, and dropped
	 * the last one, before schedule() has looked at the run. */
	sl_run_ref(r);
	(void)sl_mpsc_push(&r->mailbox, &m->link);
	schedule(r);
	sl_run_unref(r);
}

/* ---- timers ---- */

static void timer_msg(struct sl_run *r, struct sl_msg *m)
{
	struct sl_run_timer *t = SL_CONTAINER_OF(m, struct sl_run_timer, msg);
	if (t->home) {
		*t->home = NULL;
		t->fn(r, t->arg);
	}
	free(t);
	sl_run_unref(r); /* the timer's; the turn holds one of its own */
}

static void timer_msg_drop(struct sl_msg *m)
{
	struct sl_run_timer *t = SL_CONTAINER_OF(m, struct sl_run_timer, msg);
	struct sl_run *r = t->run;
	if (t->home)
		*t->home = NULL;
	free(t);
	sl_run_unref(r);
}

static void timer_fire(struct sl_timer *timer)
{
	struct sl_run_timer *t = SL_CONTAINER_OF(timer, struct sl_run_timer, timer);
	sl_run_post(t->run, &t->msg);
}

static struct sl_run_timer *timer_new(struct sl_run_timer **home, struct sl_run *r,
				      void (*fn)(struct sl_run *r, void *arg), void *arg)
{
	sl_run_timer_stop(home);
	struct sl_run_timer *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->run = r;
	t->home = home;
	t->fn = fn;
	t->arg = arg;
	t->timer.fire = timer_fire;
	t->msg.run = timer_msg;
	t->msg.drop = timer_msg_drop;
	return t;
}

/* It may fire before this returns: its message waits for the turn to end. */
static bool timer_set(struct sl_run_timer **home, struct sl_run_timer *t, enum sl_code rc)
{
	if (rc != SL_OK) {
		struct sl_run *r = t->run;
		free(t);
		sl_run_unref(r);
		return false;
	}
	*home = t;
	return true;
}

bool sl_run_timer_start(struct sl_run_timer **home, struct sl_run *r, uint64_t due_mono_ms,
			void (*fn)(struct sl_run *r, void *arg), void *arg)
{
	struct sl_run_timer *t = timer_new(home, r, fn, arg);
	if (!t)
		return false;
	sl_run_ref(r);
	return timer_set(home, t, sl_timers_set(r->engine->timers, &t->timer, due_mono_ms));
}

bool sl_run_timer_start_wall(struct sl_run_timer **home, struct sl_run *r, int64_t due_wall_ms,
			     void (*fn)(struct sl_run *r, void *arg), void *arg)
{
	const struct sl_clock *c = r->engine->config.clock;
	struct sl_run_timer *t = timer_new(home, r, fn, arg);
	if (!t)
		return false;
	sl_run_ref(r);
	return timer_set(
		home, t,
		sl_timers_set_wall(r->engine->timers, &t->timer, due_wall_ms, sl_clock_mono(c), sl_clock_wall(c)));
}

void sl_run_timer_stop(struct sl_run_timer **home)
{
	struct sl_run_timer *t = *home;
	if (!t)
		return;
	*home = NULL;
	t->home = NULL;
	if (sl_timers_drop(t->run->engine->timers, &t->timer)) {
		struct sl_run *r = t->run;
		free(t);
		sl_run_unref(r);
	} /* else it has fired: its message is on the way, and will find nobody at home */
}

uint64_t sl_run_mono_of_wall(struct sl_run *r, int64_t wall_ms)
{
	const struct sl_clock *c = r->engine->config.clock;
	int64_t left = wall_ms - sl_clock_wall(c);
	return sl_clock_mono(c) + (left > 0 ? (uint64_t)left : 0);
}

/* ---- deciding ---- */

static bool grow(void **array, size_t n, size_t *cap, size_t each)
{
	if (n < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : 16;
	void *p = realloc(*array, more * each);
	if (!p)
		return false;
	*array = p;
	*cap = more;
	return true;
}

/* Kinds that end the run may pass the caps, or it could never be ended. */
static bool over_cap(const struct sl_run *r, const struct sl_event *e)
{
	if (e->kind == SL_EV_FAILED || e->kind == SL_EV_CANCELLED ||
	    (e->kind == SL_EV_NODE && e->status == SL_NODE_CANCELLED))
		return false;
	return r->state.last_seq >= SL_LIMIT_RUN_EVENTS || r->state.bytes >= SL_LIMIT_RUN_BYTES;
}

static void stop_join_timers(struct sl_run *r)
{
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		for (uint32_t i = 0; i < r->state.scopes[k]->graph->n_nodes; i++)
			sl_run_timer_stop(&r->state.scopes[k]->rt[i].join_timer);
}

/* Without memory nothing can be journaled. The run stays as it is in the journal and is taken up again later. */
static void lay_aside(struct sl_run *r)
{
	sl_log(SL_LOG_ERROR, "engine", "out of memory, a run is laid aside until the next start");
	r->lost = r->laid_aside = true;
	sl_run_leave_place(r);
}

bool sl_run_emit(struct sl_run *r, struct sl_event *e)
{
	struct sl_error err;
	bool rerun = e->kind == SL_EV_RETRIED || e->kind == SL_EV_FORKED;
	if (r->lost || (sl_run_status_final(r->state.status) && !rerun)) {
		sl_event_fini(e);
		return false;
	}
	if (!rerun && over_cap(r, e)) {
		sl_event_fini(e);
		sl_run_fail(r, SL_LIMIT,
			    r->state.last_seq >= SL_LIMIT_RUN_EVENTS
				    ? "the run has more events than one run may have"
				    : "the run has more bytes in its journal than one run may have",
			    NULL);
		return false;
	}
	e->seq = r->state.last_seq + 1;
	e->wall_ms = sl_clock_wall(r->engine->config.clock);
	e->generation = r->state.generation;
	if (e->kind == SL_EV_USAGE && !e->data && (e->data = json_object_new_object())) {
		sl_json_set_i64(
			e->data, "run_tokens",
			(int64_t)(r->state.input_tokens + r->state.output_tokens + e->input_tokens + e->output_tokens));
		sl_json_set_f64(e->data, "run_cost_usd", (double)(r->state.cost_microusd + e->cost_microusd) / 1e6);
	}
	bool ended = false;
	enum sl_run_status was = r->state.status;
	struct sl_record rec;
	if (!grow((void **)&r->out, r->n_out, &r->cap_out, sizeof(*r->out)) || sl_event_encode(e, &rec) != SL_OK) {
		lay_aside(r);
		sl_event_fini(e);
		return false;
	}
	enum sl_event_kind kind = e->kind;
	bool node_ended = kind == SL_EV_NODE && sl_node_status_final(e->status); /* lists show how many are */
	enum sl_code rc = sl_evolve(&r->state, e, &err);
	if (rc == SL_NO_MEMORY) {
		sl_record_fini(&rec);
		lay_aside(r);
		sl_event_fini(e);
		return false;
	}
	if (!SL_EXPECT(rc == SL_OK)) {
		sl_log(SL_LOG_ERROR, "engine", "an event was decided that the state forbids", SL_KS("why", err.text));
		sl_record_fini(&rec);
		sl_event_fini(e);
		return false;
	}
	ended = sl_run_status_final(r->state.status);
	r->state.bytes += rec.data->len + (rec.detail ? rec.detail->len : 0);
	r->out[r->n_out++] = rec;
	if (node_ended || (kind != SL_EV_NODE && kind != SL_EV_RESET && kind != SL_EV_CUSTOM))
		r->projection_dirty = true;
	sl_event_fini(e);
	if (r->state.status != was)
		sl_run_place_follows(r);
	if (ended) {
		sl_run_timer_stop(&r->deadline);
		sl_run_timer_stop(&r->parent_timer);
		stop_join_timers(r);
	}
	return true;
}

bool sl_run_emit_node(struct sl_scope *sc, uint32_t node, enum sl_node_status status, uint32_t attempt,
		      const char *reason)
{
	const struct sl_node_def *def = &sc->graph->nodes[node];
	struct sl_event e = {.kind = SL_EV_NODE, .status = status, .attempt = attempt, .type = def->type->name};
	e.path = sl_scope_path(sc, node);
	e.reason = sl_z(reason);
	if (!sl_run_emit(sl_scope_run(sc), &e))
		return false;
	if (sl_node_status_final(status)) /* at rest since the run was taken up, it has not begun again with it */
		sl_run_leave_child(sc, node, sc->home->last_seq);
	return true;
}

/* Stops what runs in this scope, with one event each; what is in bodies below goes before what is around it. */
static void cancel_scope(struct sl_scope *sc, const char *reason)
{
	for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
		struct sl_node_state *n = &sc->nodes[i];
		sl_run_timer_stop(&sc->rt[i].join_timer);
		if (sc->rt[i].exec)
			sl_exec_cancel(sc->rt[i].exec, SL_NODE_CANCELLED, reason);
		else if (n->status == SL_NODE_RUNNING || n->status == SL_NODE_WAITING ||
			 n->status == SL_NODE_RETRYING) {
			sl_run_cancel_bodies(sc, i, reason);
			sl_run_emit_node(sc, i, SL_NODE_CANCELLED, n->attempt, reason);
		} else if (n->status == SL_NODE_PENDING) { /* nothing is told of it, and it will not begin again */
			sl_run_leave_child(sc, i, sc->home->last_seq + 1);
		}
	}
}

void sl_run_cancel_bodies(struct sl_scope *sc, uint32_t node, const char *reason)
{
	const struct sl_node_state *n = &sc->nodes[node];
	for (uint32_t i = 0; i < n->n_bodies; i++)
		if (n->bodies[i])
			cancel_scope(n->bodies[i], reason);
}

void sl_run_cancel_all(struct sl_run *r, const char *reason)
{
	cancel_scope(&r->state.root, reason);
}

void sl_run_fail(struct sl_run *r, enum sl_code code, const char *message, const char *path)
{
	if (sl_run_status_final(r->state.status) || r->lost)
		return;
	/* `message` may belong to the node that is about to go */
	struct sl_event e = {.kind = SL_EV_FAILED, .code = code, .message = sl_z(message), .path = sl_z(path)};
	bool off = sl_run_off_begin(r, code == SL_TIMEOUT ? SL_OFF_TIMEOUT : SL_OFF_FAILED, 0);
	cancel_scope(&r->state.root, "the run failed");
	sl_run_off_end(r, off);
	(void)sl_run_emit(r, &e); /* false only when the run is over already */
}

void sl_run_wait(struct sl_run *r, struct sl_waiter *w)
{
	if (w->seq <= r->committed_seq) {
		w->fn(w, SL_OK);
		return;
	}
	if (r->lost) {
		w->fn(w, SL_STALE_EPOCH);
		return;
	}
	w->next = r->waiters;
	r->waiters = w;
}

/* ---- what follows from the state ---- */

static struct json_object *env_get(void *ctx, const struct sl_ref *ref)
{
	struct sl_scope *sc = ctx;
	struct sl_run *r = sl_scope_run(sc);
	struct json_object *v = NULL;
	switch (ref->root) {
	case SL_REF_INPUT:
		return r->inputs;
	case SL_REF_RUN:
		return r->about;
	case SL_REF_NODE:
		for (; sc; sc = sc->parent)
			if (sl_scope_output(sc, ref->node, &v))
				return v;
		return NULL;
	case SL_REF_LOOP:
	case SL_REF_ITEM:
	case SL_REF_INDEX: {
		const char *name = sl_ref_root_names[ref->root];
		for (; sc; sc = sc->parent) /* the nearest container that has the name */
			if (sc->bindings && json_object_object_get_ex(sc->bindings, name, &v))
				return v;
		return NULL;
	}
	}
	return NULL;
}

struct sl_env sl_scope_env(struct sl_scope *sc)
{
	return (struct sl_env){env_get, sc};
}

static void join_timed_out(struct sl_run *r, void *arg)
{
	struct sl_node_rt *rt = arg;
	rt->join_late = true;
	sl_scope_touch(rt->scope, (uint32_t)(rt - rt->scope->rt));
}

/* A join's first arrival starts its clock; each one after it is told. */
static void join_arrival(struct sl_scope *sc, uint32_t node, uint32_t arrived, uint32_t expected)
{
	struct sl_run *r = sl_scope_run(sc);
	const struct sl_node_def *def = &sc->graph->nodes[node];
	struct sl_node_state *n = &sc->nodes[node];
	struct sl_node_rt *rt = &sc->rt[node];
	if (!arrived)
		return;
	struct sl_event e = {.kind = SL_EV_NODE,
			     .status = n->status,
			     .type = def->type->name,
			     .arrived = arrived,
			     .expected = expected};
	e.path = sl_scope_path(sc, node);
	if (def->policy.timeout_ms) {
		const struct sl_clock *c = r->engine->config.clock;
		e.status = SL_NODE_WAITING;
		e.due_ms = n->due_ms ? n->due_ms : sl_clock_wall(c) + def->policy.timeout_ms;
		if (!rt->join_timer &&
		    !sl_run_timer_start(&rt->join_timer, r, sl_run_mono_of_wall(r, e.due_ms), join_timed_out, rt)) {
			sl_event_fini(&e);
			sl_run_fail(r, SL_NO_MEMORY, "no memory for a timer", def->id);
			return;
		}
	}
	SL_CRASH_POINT("join.arrival");
	(void)sl_run_emit(r, &e); /* telling is all it does */
}

static void join_unreachable(struct sl_scope *sc, uint32_t node, uint32_t arrived)
{
	const struct sl_graph *g = sc->graph;
	const struct sl_node_def *def = &g->nodes[node];
	SL_BUF(why, SL_LIMIT_ERROR_BYTES);
	sl_buf_addf(&why, "join '%s' needs %u of %u branches, %u came", def->id, def->policy.need, def->n_in, arrived);
	const char *sep = "; failed or missing: ";
	for (uint32_t i = 0; i < def->n_in; i++)
		if (sc->edges[def->in[i]] != SL_EDGE_TAKEN) {
			sl_buf_addf(&why, "%s%s", sep, g->nodes[g->edges[def->in[i]].from].id);
			sep = ", ";
		}
	struct sl_event e = {
		.kind = SL_EV_NODE, .status = SL_NODE_FAILED, .type = def->type->name, .code = SL_JOIN_UNREACHABLE};
	e.path = sl_scope_path(sc, node);
	e.message = sl_z(why.data);
	if (sl_run_emit(sl_scope_run(sc), &e))
		sl_run_node_ended(sc, node);
}

/* One node whose surroundings changed. */
static void consider(struct sl_scope *sc, uint32_t node)
{
	struct sl_run *r = sl_scope_run(sc);
	const struct sl_node_def *def = &sc->graph->nodes[node];
	struct sl_node_state *n = &sc->nodes[node];
	struct sl_node_rt *rt = &sc->rt[node];
	uint32_t arrived, expected;
	struct sl_exec *x = rt->exec;
	if (x) {
		sl_exec_unpaused(x);
		if (def->body && rt->exec == x) /* else that was its end */
			sl_exec_bodies(x);
		return;
	}
	if (n->status != SL_NODE_PENDING && !(n->status == SL_NODE_WAITING && def->has_policy))
		return;
	if (sl_scope_closed(sc))
		return;
	switch (sl_node_ready(sc, node, rt->join_late, &arrived, &expected)) {
	case SL_READY_NOT:
		if (def->has_policy && arrived != rt->join_told) {
			rt->join_told = arrived;
			join_arrival(sc, node, arrived, expected);
		}
		return;
	case SL_READY_SKIP:
		SL_CRASH_POINT("node.skipped");
		if (sl_run_emit_node(sc, node, SL_NODE_SKIPPED, n->attempt, "nothing leads here"))
			sl_run_node_ended(sc, node);
		return;
	case SL_READY_UNREACHABLE:
		sl_run_timer_stop(&rt->join_timer);
		join_unreachable(sc, node, arrived);
		return;
	case SL_READY_START:
		break;
	}
	if (!sl_branch_open(sc, node))
		return; /* looked at again when a node of the other branches ends */
	if (r->state.n_active >= SL_LIMIT_PENDING_NODES)
		return; /* likewise */
	if (def->type->effects == SL_EFFECTS_EXTERNAL && r->committed_seq < r->state.last_seq &&
	    r->workflow->durability != SL_DURABILITY_NONE) {
		r->wait_commit = true;
		return;
	}
	sl_run_timer_stop(&rt->join_timer);
	if (def->has_policy)
		SL_CRASH_POINT("join.fires");
	if (def->has_policy && def->policy.cancel_rest) {
		bool off = sl_run_off_begin(r, SL_OFF_NOT_NEEDED, 0);
		uint32_t *rest = calloc(sc->graph->n_nodes, sizeof(*rest));
		uint32_t n_rest = rest ? sl_node_rest(sc, node, rest) : 0;
		for (uint32_t i = 0; i < n_rest; i++) {
			if (sc->rt[rest[i]].exec)
				sl_exec_cancel(sc->rt[rest[i]].exec, SL_NODE_CANCELLED, "the join has what it needs");
			else
				sl_run_emit_node(sc, rest[i], SL_NODE_CANCELLED, sc->nodes[rest[i]].attempt,
						 "the join has what it needs");
		}
		free(rest);
		sl_run_off_end(r, off);
	}
	sl_exec_start(sc, node, SL_EXEC_FRESH);
}

/* The outputs of a run: the template, or what the last nodes gave. */
static enum sl_code outputs_of(struct sl_run *r, struct json_object **out, struct sl_error *err)
{
	if (r->workflow->outputs) {
		struct sl_env env = sl_scope_env(&r->state.root);
		enum sl_code rc = sl_template_eval(r->workflow->outputs, &env, out, err);
		return rc == SL_OK ? rc : sl_wrap(err, rc, "outputs of the run");
	}
	const struct sl_graph *g = r->workflow->root;
	struct json_object *all = json_object_new_object();
	if (!all)
		return sl_fail(err, SL_NO_MEMORY, "the outputs");
	for (uint32_t i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].n_out == 0 && r->state.root.nodes[i].output)
			sl_json_set(all, g->nodes[i].id, json_object_get(r->state.root.nodes[i].output));
	*out = all;
	return SL_OK;
}

static void finish(struct sl_run *r)
{
	struct sl_error err = {0};
	struct sl_event e = {.kind = SL_EV_COMPLETED};
	enum sl_code rc = outputs_of(r, &e.output, &err);
	SL_CRASH_POINT("run.finished");
	if (rc == SL_OK)
		(void)sl_run_emit(r, &e); /* false only when a cap ended the run instead */
	else
		sl_run_fail(r, rc, err.text, NULL);
}

void sl_run_trip(struct sl_run *r, const struct sl_trip *trip, const char *path)
{
	if (r->trip_due || r->lost || sl_run_status_final(r->state.status))
		return;
	r->trip_due = true;
	r->trip = *trip;
	r->trip_path = sl_z(path);
}

void sl_run_call_off(struct sl_run *r, const char *reason)
{
	for (uint32_t k = 0; k < r->state.n_scopes; k++) {
		struct sl_scope *sc = r->state.scopes[k];
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
			enum sl_node_status status = sc->nodes[i].status;
			if (!sc->rt[i].exec || status == SL_NODE_WAITING || status == SL_NODE_RETRYING)
				continue;
			if ((sc->graph->nodes[i].body && status == SL_NODE_RUNNING) ||
			    sl_exec_has_child(sc->rt[i].exec))
				continue; /* it only holds its bodies or its child, and goes on holding them */
			sl_exec_cancel(sc->rt[i].exec, SL_NODE_PENDING, reason);
		}
	}
}

/* The run breaker tripped: nothing more is spent until a person has looked at it. */
static void lock_run(struct sl_run *r)
{
	struct sl_event e = {.kind = SL_EV_LOCKED, .message = NULL};
	char *path = r->trip_path;
	struct sl_trip trip = r->trip;
	r->trip_due = false;
	r->trip_path = NULL;
	if (sl_run_status_final(r->state.status) || r->state.status == SL_RUN_LOCKED) {
		free(path);
		return;
	}
	bool off = sl_run_off_begin(r, SL_OFF_LOCKED, 0);
	sl_run_call_off(r, "called off by the run breaker, will be repeated");
	sl_run_off_end(r, off);
	sl_run_order_children(r, SL_CMD_PAUSE_NOW);
	e.reason = sl_z(trip.reason);
	e.data = json_object_new_object();
	if (e.data) {
		sl_json_set_str(e.data, "message", sl_str(trip.message));
		sl_json_set_f64(e.data, "measured", trip.measured);
		sl_json_set_f64(e.data, "limit", trip.limit);
		if (path)
			sl_json_set_str(e.data, "node_id", sl_str(path));
	}
	free(path);
	if (sl_run_emit(r, &e)) /* false: a cap ended the run instead */
		sl_run_log(r, SL_LOG_WARN, "a run is locked until somebody lets it go on", trip.reason);
}

/* Goes as far as the state allows without waiting for anything. */
static void advance(struct sl_run *r)
{
	struct sl_run_state *st = &r->state;
	struct sl_scope *sc;
	uint32_t node;
	if (r->lost || !st->root.graph->n_nodes) /* without nodes: recover.c is about to fail it */
		return;
	if (r->trip_due)
		lock_run(r);
	while (!r->lost && (st->status == SL_RUN_RUNNING || st->status == SL_RUN_WAITING)) {
		if (sl_state_work(st, &sc, &node)) {
			consider(sc, node);
			if (r->trip_due)
				lock_run(r);
			continue;
		}
		/* containers hold their bodies; what is at work is what is in them */
		uint32_t active = st->n_active - st->n_holding, execs = r->n_execs - st->n_holding + r->n_busy;
		bool all_done = st->root.n_final == st->root.graph->n_nodes;
		bool nothing_runs = active == 0 && execs == 0 && !r->wait_commit;
		bool all_wait = active && st->n_quiet == active && execs <= st->n_quiet;
		if (st->status == SL_RUN_WAITING && !all_wait) {
			struct sl_event e = {.kind = SL_EV_RESUMED, .reason = sl_z("what it waited for has come")};
			if (sl_run_emit(r, &e))
				continue;
		} else if (all_done) {
			finish(r);
		} else if (!SL_EXPECT(!nothing_runs)) { /* validation promises that there is always a next node */
			sl_run_fail(r, SL_INTERNAL, "the run cannot go on: no node is ready", NULL);
		} else if (st->status == SL_RUN_RUNNING && all_wait) {
			struct sl_event e = {.kind = SL_EV_WAITING};
			(void)sl_run_emit(r, &e); /* false: a cap ended the run instead */
		}
		break;
	}
}

static void touch_pending(struct sl_scope *sc)
{
	for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
		if (sc->nodes[i].status == SL_NODE_PENDING)
			sl_scope_touch(sc, i);
}

void sl_run_touch_pending(struct sl_run *r)
{
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		touch_pending(r->state.scopes[k]);
}

/* A failure ends the run, or the body it is in, unless a join further down puts up with it. Ended nodes make room under
 * limits. */
void sl_run_node_ended(struct sl_scope *sc, uint32_t node)
{
	struct sl_run *r = sl_scope_run(sc);
	const struct sl_node_def *def = &sc->graph->nodes[node];
	struct sl_node_state *n = &sc->nodes[node];
	if (n->status == SL_NODE_COMPLETED)
		atomic_fetch_add_explicit(&r->engine->nodes_completed, 1, memory_order_relaxed);
	if (n->status == SL_NODE_FAILED) {
		atomic_fetch_add_explicit(&r->engine->nodes_failed, 1, memory_order_relaxed);
		if (!def->absorbed && !sc->parent)
			sl_run_fail(r, n->code, n->message, def->id);
		else if (!def->absorbed)
			cancel_scope(sc, "another node of this body failed");
	}
	if (r->state.n_active + 1 >= SL_LIMIT_PENDING_NODES)
		sl_run_touch_pending(r);
	else if (def->n_branch_of)
		touch_pending(sc);
}

void sl_run_silence(struct sl_run *r)
{
	bool off = sl_run_off_begin(r, atomic_load(&r->engine->stopping) ? SL_OFF_STOPPING : SL_OFF_LOST, 0);
	r->lost = true;
	for (uint32_t k = r->state.n_scopes; k-- > 0;) {
		struct sl_scope *sc = r->state.scopes[k];
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
			if (sc->rt[i].exec)
				sl_exec_kill(sc->rt[i].exec);
	}
	sl_run_off_end(r, off);
	stop_join_timers(r);
	sl_run_timer_stop(&r->deadline);
	sl_run_timer_stop(&r->parent_timer);
}

static void deadline_passed(struct sl_run *r, void *arg)
{
	char text[96];
	if (r->state.status == SL_RUN_PAUSED || r->state.status == SL_RUN_LOCKED)
		return; /* its clock stands still; armed again when it goes on */
	(void)snprintf(text, sizeof(text), "the run took longer than its limit of %u s", r->timeout_s); /* it fits */
	sl_run_fail(r, SL_TIMEOUT, text, NULL);
}

void sl_run_arm_deadline(struct sl_run *r)
{
	r->timeout_s = r->workflow->timeout_s ? r->workflow->timeout_s : r->engine->config.default_timeout_s;
	if (!r->timeout_s || !r->state.started_ms)
		return;
	int64_t due = r->state.started_ms + r->state.paused_ms + (int64_t)r->timeout_s * 1000;
	if (!sl_run_timer_start(&r->deadline, r, sl_run_mono_of_wall(r, due), deadline_passed, NULL))
		sl_run_fail(r, SL_NO_MEMORY, "no memory for a timer", NULL);
}

void sl_run_stream_begun(struct sl_run *r, struct sl_stream *s)
{
	if (!grow((void **)&r->begun, r->n_begun, &r->cap_begun, sizeof(struct sl_stream *))) {
		sl_run_fail(r, SL_NO_MEMORY, "no memory for a stream", NULL);
		return;
	}
	r->begun[r->n_begun++] = sl_stream_ref(s);
}

/* ---- the turn ---- */

static void run_turn(struct sl_job *j)
{
	struct sl_run *r = SL_CONTAINER_OF(j, struct sl_run, job);
	struct sl_engine *e = r->engine;
	struct sl_link *l = sl_mpsc_take(&r->mailbox);
	uint64_t losses = sl_json_losses();
	sl_engine_serves(e, &r->id);
	while (l) {
		struct sl_msg *m = SL_CONTAINER_OF(l, struct sl_msg, link);
		l = l->next;
		m->run(r, m);
	}
	advance(r);
	if (sl_json_losses() != losses && r->n_out && !r->lost) /* something that was decided may lack a part */
		lay_aside(r);
	sl_run_flush(r);
	atomic_store(&r->scheduled, false);
	if (!sl_mpsc_empty(&r->mailbox))
		schedule(r);
	sl_run_unref(r);
	sl_engine_serves(e, NULL);
}
