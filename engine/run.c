/* engine/run.c: the run actor: takes its messages one by one, decides, folds, and sends what was decided to the journal
 * as one batch a turn. Downstream nodes start at once; clients hear of it after the commit. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/run_priv.h"

char *sl_z(const char *z)
{
	return z ? sl_str_dup(sl_str(z)) : NULL;
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

void sl_run_unref(struct sl_run *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (struct sl_link *l = sl_mpsc_take(&r->mailbox); l;) {
		struct sl_msg *m = SL_CONTAINER_OF(l, struct sl_msg, link);
		l = l->next;
		m->drop(m);
	}
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
	while (r->waiters) {
		struct sl_waiter *w = r->waiters;
		r->waiters = w->next;
		w->fn(w, SL_CANCELLED);
	}
	sl_run_tell_ends(r, SL_UNAVAILABLE);
	free(r->out);
	free(r->begun);
	for (size_t i = 0; r->mw_state && i < r->n_mw; i++)
		free(r->mw_state[i]);
	free(r->mw_state);
	free(r->trip_path);
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

void sl_run_discard(struct sl_job *j)
{
	sl_run_unref(SL_CONTAINER_OF(j, struct sl_run, job));
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

bool sl_run_timer_start(struct sl_run_timer **home, struct sl_run *r, uint64_t due_mono_ms,
			void (*fn)(struct sl_run *r, void *arg), void *arg)
{
	sl_run_timer_stop(home);
	struct sl_run_timer *t = calloc(1, sizeof(*t));
	if (!t)
		return false;
	t->run = r;
	t->home = home;
	t->fn = fn;
	t->arg = arg;
	t->timer.fire = timer_fire;
	t->msg.run = timer_msg;
	t->msg.drop = timer_msg_drop;
	sl_run_ref(r);
	if (sl_timers_set(r->engine->timers, &t->timer, due_mono_ms) != SL_OK) {
		free(t);
		sl_run_unref(r);
		return false;
	}
	*home = t;
	return true;
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

bool sl_run_emit(struct sl_run *r, struct sl_event *e)
{
	struct sl_error err;
	if (r->lost || sl_run_status_final(r->state.status)) {
		sl_event_fini(e);
		return false;
	}
	if (over_cap(r, e)) {
		sl_event_fini(e);
		sl_run_fail(r, SL_LIMIT, "the run has more events than one run may have", NULL);
		return false;
	}
	e->seq = r->state.last_seq + 1;
	e->wall_ms = sl_clock_wall(r->engine->config.clock);
	if (e->kind == SL_EV_USAGE && !e->data && (e->data = json_object_new_object())) {
		sl_json_set_i64(
			e->data, "run_tokens",
			(int64_t)(r->state.input_tokens + r->state.output_tokens + e->input_tokens + e->output_tokens));
		sl_json_set_f64(e->data, "run_cost_usd", (double)(r->state.cost_microusd + e->cost_microusd) / 1e6);
	}
	bool ended = false;
	struct sl_record rec;
	if (!grow((void **)&r->out, r->n_out, &r->cap_out, sizeof(*r->out)) || sl_event_encode(e, &rec) != SL_OK) {
		/* Without memory nothing can be journaled. The run stays as it is in the journal and is taken up again
		 * later. */
		sl_log(SL_LOG_ERROR, "engine", "out of memory, a run is laid aside until the next start");
		r->lost = true;
		sl_event_fini(e);
		return false;
	}
	enum sl_event_kind kind = e->kind;
	bool node_ended = kind == SL_EV_NODE && sl_node_status_final(e->status); /* lists show how many are */
	enum sl_code rc = sl_evolve(&r->state, e, &err);
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
	if (ended) {
		sl_run_timer_stop(&r->deadline);
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
	return sl_run_emit(sl_scope_run(sc), &e);
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

void sl_run_fail(struct sl_run *r, enum sl_code code, const char *message, const char *path)
{
	if (sl_run_status_final(r->state.status) || r->lost)
		return;
	/* `message` may belong to the node that is about to go */
	struct sl_event e = {.kind = SL_EV_FAILED, .code = code, .message = sl_z(message), .path = sl_z(path)};
	cancel_scope(&r->state.root, "the run failed");
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
		for (; sc; sc = sc->parent) {
			uint32_t i = sl_graph_find(sc->graph, sl_str(ref->node));
			if (i != UINT32_MAX)
				return sc->nodes[i].output;
		}
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
	if (def->type->effects == SL_EFFECTS_EXTERNAL && r->committed_seq < r->state.last_seq) {
		r->wait_commit = true;
		return;
	}
	sl_run_timer_stop(&rt->join_timer);
	if (def->has_policy && def->policy.cancel_rest) {
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
	}
	sl_exec_start(sc, node, SL_EXEC_FRESH);
}

/* The outputs of a run: the template, or what the last nodes gave. */
static enum sl_code outputs_of(struct sl_run *r, struct json_object **out, struct sl_error *err)
{
	if (r->workflow->outputs) {
		struct sl_env env = sl_scope_env(&r->state.root);
		return sl_template_eval(r->workflow->outputs, &env, out, err);
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

/* What runs is called off, to be repeated. What waits for time or people goes on waiting. */
static void call_off_running(struct sl_run *r, const char *reason)
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
	call_off_running(r, "called off by the run breaker, will be repeated");
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
	(void)sl_run_emit(r, &e); /* false: a cap ended the run instead */
}

/* Goes as far as the state allows without waiting for anything. */
static void advance(struct sl_run *r)
{
	struct sl_run_state *st = &r->state;
	struct sl_scope *sc;
	uint32_t node;
	if (r->lost)
		return;
	if (r->trip_due)
		lock_run(r);
	while (st->status == SL_RUN_RUNNING || st->status == SL_RUN_WAITING) {
		if (sl_state_work(st, &sc, &node)) {
			consider(sc, node);
			if (r->trip_due)
				lock_run(r);
			continue;
		}
		/* containers hold their bodies; what is at work is what is in them */
		uint32_t active = st->n_active - st->n_holding, execs = r->n_execs - st->n_holding;
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
		for (uint32_t k = 0; k < r->state.n_scopes; k++)
			touch_pending(r->state.scopes[k]);
	else if (def->n_branch_of)
		touch_pending(sc);
}

/* ---- the journal ---- */

struct flight {
	struct sl_run *run;
	uint64_t last_seq;
	size_t n_records;
	struct sl_stream **begun;
	size_t n_begun;
	const char *status;
	sl_submit_fn *submit_fn;
	void *submit_arg;
	enum sl_code rc;
	struct sl_msg msg;
};

struct sl_notice *sl_notice_ref(struct sl_notice *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

void sl_notice_unref(struct sl_notice *n)
{
	if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < n->n_records; i++)
		sl_record_fini(&n->records[i]);
	for (size_t i = 0; i < n->n_streams; i++)
		sl_stream_unref(n->streams[i]);
	free(n->records);
	free(n->streams);
	free(n);
}

/* [store] Takes the records out of the batch and the streams out of the flight. */
static void publish(struct flight *f, struct sl_batch *b)
{
	struct sl_engine *e = f->run->engine;
	struct sl_notice *n = calloc(1, sizeof(*n));
	if (!n) {
		sl_log(SL_LOG_ERROR, "engine", "out of memory, watchers of a run miss events until they come back");
		return;
	}
	atomic_init(&n->refs, 1);
	n->run = f->run->id;
	n->status = f->status;
	n->records = b->records;
	n->n_records = b->n_records;
	b->records = NULL;
	b->n_records = 0;
	for (size_t i = 0; i < n->n_records; i++) {
		sl_bytes_unref(n->records[i].detail);
		n->records[i].detail = NULL;
	}
	n->streams = f->begun;
	n->n_streams = f->n_begun;
	f->begun = NULL;
	f->n_begun = 0;
	e->config.bus.publish(e->config.bus.ctx, n);
	sl_notice_unref(n);
}

static void flight_free(struct flight *f)
{
	for (size_t i = 0; i < f->n_begun; i++)
		sl_stream_unref(f->begun[i]);
	free(f->begun);
	free(f);
}

static void waiters_up_to(struct sl_run *r, uint64_t seq, enum sl_code rc)
{
	struct sl_waiter **at = &r->waiters;
	while (*at) {
		struct sl_waiter *w = *at;
		if (rc == SL_OK && w->seq > seq) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->fn(w, rc);
	}
}

void sl_run_silence(struct sl_run *r)
{
	r->lost = true;
	for (uint32_t k = r->state.n_scopes; k-- > 0;) {
		struct sl_scope *sc = r->state.scopes[k];
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
			if (sc->rt[i].exec)
				sl_exec_kill(sc->rt[i].exec);
	}
	stop_join_timers(r);
	sl_run_timer_stop(&r->deadline);
}

static void lose(struct sl_run *r, enum sl_code rc)
{
	sl_run_silence(r);
	waiters_up_to(r, 0, rc);
	sl_run_tell_ends(r, SL_UNAVAILABLE);
	sl_engine_forget(r->engine, r);
}

static void count_end(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	_Atomic uint64_t *which = r->state.status == SL_RUN_SUCCEEDED ? &e->succeeded
				  : r->state.status == SL_RUN_FAILED  ? &e->failed
								      : &e->cancelled;
	atomic_fetch_add_explicit(which, 1, memory_order_relaxed);
}

/* [run] */
static void committed(struct sl_run *r, struct sl_msg *m)
{
	struct flight *f = SL_CONTAINER_OF(m, struct flight, msg);
	enum sl_code rc = f->rc;
	uint64_t seq = f->last_seq;
	flight_free(f);
	sl_run_unref(r); /* the flight's; the turn holds one of its own */
	if (r->lost)
		return;
	if (rc != SL_OK) {
		if (rc == SL_STALE_EPOCH)
			atomic_fetch_add_explicit(&r->engine->stale, 1, memory_order_relaxed);
		if (rc == SL_CONFLICT && seq > 1)
			atomic_fetch_add_explicit(&r->engine->deduplicated, 1, memory_order_relaxed);
		if (rc != SL_CONFLICT || seq > 1)
			sl_log(SL_LOG_WARN, "engine", "a run is no longer ours and is left alone",
			       SL_KS("why", sl_code_wire(rc)));
		lose(r, rc);
		return;
	}
	r->committed_seq = seq;
	waiters_up_to(r, seq, SL_OK);
	if (r->wait_commit && r->committed_seq >= r->state.last_seq) {
		r->wait_commit = false;
		for (uint32_t k = 0; k < r->state.n_scopes; k++)
			touch_pending(r->state.scopes[k]);
	}
	if (seq == 1 && r->state.status == SL_RUN_QUEUED) { /* now that it cannot be lost it may cost something */
		struct sl_event e = {.kind = SL_EV_STARTED};
		if (sl_run_emit(r, &e))
			sl_run_arm_deadline(r);
	}
	if (sl_run_status_final(r->state.status) && r->committed_seq == r->state.last_seq) {
		count_end(r);
		sl_run_tell_ends(r, SL_OK);
		sl_engine_forget(r->engine, r);
	}
}

static void committed_drop(struct sl_msg *m)
{
	struct flight *f = SL_CONTAINER_OF(m, struct flight, msg);
	struct sl_run *r = f->run;
	flight_free(f);
	sl_run_unref(r);
}

/* [store] */
static void batch_done(struct sl_batch *b, enum sl_code rc)
{
	struct flight *f = b->ctx;
	struct sl_run *r = f->run;
	struct sl_engine *e = r->engine;
	if (rc == SL_OK && e->config.bus.publish && (atomic_load(&r->watched) || atomic_load(&e->bus_all)))
		publish(f, b);
	if (f->submit_fn)
		f->submit_fn(f->submit_arg, rc, rc == SL_CONFLICT ? b->existing : r->id, b->same_request);
	f->rc = rc;
	f->msg.run = committed;
	f->msg.drop = committed_drop;
	sl_batch_free(b);
	sl_run_post(r, &f->msg);
	atomic_fetch_sub(&e->flights, 1);
}

static void fill_projection(struct sl_run *r, struct sl_projection *p)
{
	const struct sl_run_state *s = &r->state;
	p->status = sl_run_states[s->status].wire;
	p->started_ms = s->started_ms;
	p->finished_ms = s->finished_ms;
	p->nodes_total = s->n_nodes;
	p->nodes_done = s->n_done;
	p->input_tokens = s->input_tokens;
	p->output_tokens = s->output_tokens;
	p->cost_microusd = s->cost_microusd;
	p->simulated = s->simulated;
	p->done = sl_run_status_final(s->status);
	p->reason = s->reason ? sl_str_dup(sl_str(s->reason)) : NULL; /* without memory the list shows none */
	if (s->outputs) {
		SL_BUF(b, 16u * SL_LIMIT_PAYLOAD_BYTES);
		sl_json_write(&b, s->outputs);
		p->outputs = sl_buf_bytes(&b);
	}
	if (s->code != SL_OK) {
		SL_BUF(b, 64 * 1024);
		sl_buf_addc(&b, '{');
		sl_buf_json_kz(&b, "code", sl_code_wire(s->code));
		sl_buf_json_kz(&b, "message", s->message ? s->message : "");
		if (s->failed_node)
			sl_buf_json_kz(&b, "node", s->failed_node);
		sl_buf_addc(&b, '}');
		p->error = sl_buf_bytes(&b);
	}
}

/* Sends what this turn decided. */
static void flush(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	if (!r->n_out || r->lost)
		return;
	struct flight *f = calloc(1, sizeof(*f));
	struct sl_batch *b = sl_batch_new(r->n_out);
	if (!f || !b) {
		free(f);
		sl_batch_free(b);
		sl_log(SL_LOG_ERROR, "engine", "out of memory, a run is laid aside until the next start");
		lose(r, SL_NO_MEMORY);
		return;
	}
	f->run = sl_run_ref(r);
	f->last_seq = r->state.last_seq;
	f->n_records = r->n_out;
	f->status = sl_run_states[r->state.status].wire;
	f->begun = r->begun;
	f->n_begun = r->n_begun;
	r->begun = NULL;
	r->n_begun = r->cap_begun = 0;
	f->submit_fn = r->submit_fn;
	f->submit_arg = r->submit_arg;
	r->submit_fn = NULL;
	b->run = r->id;
	b->epoch = r->epoch;
	b->create = r->create;
	r->create = NULL;
	memcpy(b->records, r->out, r->n_out * sizeof(*r->out));
	for (size_t i = 0; i < r->n_out; i++)
		b->bytes += r->out[i].data->len + (r->out[i].detail ? r->out[i].detail->len : 0);
	r->n_out = 0;
	b->has_projection = r->projection_dirty || b->create;
	if (b->has_projection)
		fill_projection(r, &b->projection);
	r->projection_dirty = false;
	b->done = batch_done;
	b->ctx = f;
	atomic_fetch_add(&e->flights, 1);
	enum sl_code rc = e->config.journal.append(e->config.journal.ctx, b);
	if (rc != SL_OK) { /* the port took the batch and will not call back */
		atomic_fetch_sub(&e->flights, 1);
		if (f->submit_fn)
			f->submit_fn(f->submit_arg, rc, r->id, false);
		flight_free(f);
		lose(r, rc);
		sl_run_unref(r);
	}
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
	struct sl_link *l = sl_mpsc_take(&r->mailbox);
	while (l) {
		struct sl_msg *m = SL_CONTAINER_OF(l, struct sl_msg, link);
		l = l->next;
		m->run(r, m);
	}
	advance(r);
	flush(r);
	atomic_store(&r->scheduled, false);
	if (!sl_mpsc_empty(&r->mailbox))
		schedule(r);
	sl_run_unref(r);
}

/* ---- commands ---- */

/* A lock is opened by a reason somebody stands by, or by the three checks. */
static enum sl_code unlock_payload(struct json_object *payload, struct json_object **data, struct sl_error *err)
{
	struct sl_str why = sl_str_trim(sl_json_get_str(payload, "justification"));
	struct json_object *checks = sl_json_get(payload, "confirmations");
	bool all = checks && json_object_is_type(checks, json_type_array) && json_object_array_length(checks) == 3;
	for (size_t i = 0; all && i < 3; i++)
		all = json_object_get_boolean(json_object_array_get_idx(checks, i));
	if (!why.len && !all)
		return sl_fail(err, SL_INVALID,
			       "an unlock needs a justification, or all three confirmations: [true, true, true]");
	*data = json_object_new_object();
	if (!*data)
		return sl_fail(err, SL_NO_MEMORY, "unlock");
	if (why.len)
		sl_json_set_str(*data, "justification", why);
	if (all)
		sl_json_set(*data, "confirmations", json_object_get(checks));
	return SL_OK;
}

static enum sl_code review(struct sl_run *r, const struct sl_order_copy *order, struct sl_error *err)
{
	struct sl_scope *sc;
	uint32_t i;
	const char *path = order->node ? order->node : "";
	struct sl_node_state *n = sl_state_find(&r->state, sl_str(path), &sc, &i);
	const struct sl_delivery d = {SL_DELIVER_REVIEW, order->by ? order->by : "", order->payload, 0};
	if (!n)
		return sl_fail(err, SL_NOT_FOUND, "the run has no node '%s'", path);
	enum sl_code rc = sc->rt[i].exec ? sl_exec_deliver(sc->rt[i].exec, &d, err) : SL_NOT_FOUND;
	if (rc != SL_NOT_FOUND)
		return rc;
	const char *action = sl_json_get_z(n->output, "action"), *who = sl_json_get_z(n->output, "reviewer");
	if (action && who)
		return sl_fail(err, SL_CONFLICT, "'%s' has been decided: %s, by %s", path, action, who);
	return sl_fail(err, SL_CONFLICT, "'%s' is %s and waits for no review", path, sl_node_states[n->status].wire);
}

/* Into the journal first; then to all who wait for it. */
static enum sl_code come_in(struct sl_run *r, const struct sl_order_copy *order, struct sl_event *e,
			    struct sl_error *err)
{
	struct sl_str name = sl_json_get_str(order->payload, "signal");
	struct sl_str text = sl_str_trim(sl_json_get_str(order->payload, "text"));
	bool is_signal = order->kind == SL_CMD_SIGNAL;
	if (is_signal && !(name.len && name.len <= 128))
		return sl_fail(err, SL_INVALID, "`signal` is a name of at most 128 bytes");
	if (!is_signal && !(text.len && text.len <= SL_LIMIT_WS_MESSAGE_BYTES))
		return sl_fail(err, SL_INVALID, "`text` is what you want to say, at most %u bytes",
			       SL_LIMIT_WS_MESSAGE_BYTES);
	e->data = json_object_new_object();
	if (!e->data)
		return sl_fail(err, SL_NO_MEMORY, "no memory");
	if (is_signal) {
		sl_json_set_str(e->data, "signal", name);
		sl_json_set(e->data, "payload", json_object_get(sl_json_get(order->payload, "payload")));
	} else {
		sl_json_set_str(e->data, "text", text);
	}
	e->by = sl_z(order->by);
	if (!sl_run_emit(r, e) || !is_signal)
		return SL_OK; /* a cap may have ended the run; the caller sees the state */
	uint64_t seq = r->state.last_seq;
	struct json_object *all = r->state.signals;
	SL_AUTO_JSON it = json_object_get(json_object_array_get_idx(all, json_object_array_length(all) - 1));
	const struct sl_delivery d = {SL_DELIVER_SIGNAL, order->by ? order->by : "", it, seq};
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		for (uint32_t i = 0; i < r->state.scopes[k]->graph->n_nodes; i++)
			if (r->state.scopes[k]->rt[i].exec)
				SL_IGNORE(sl_exec_deliver(r->state.scopes[k]->rt[i].exec, &d,
							  err)); /* not for this one: fine */
	return SL_OK;
}

enum sl_code sl_run_command(struct sl_run *r, const struct sl_order_copy *order, struct sl_error *err)
{
	struct sl_event e;
	bool nothing;
	enum sl_code rc = sl_decide(&r->state, order->kind, &e, &nothing, err);
	if (rc != SL_OK || nothing)
		return rc;
	if (order->kind == SL_CMD_REVIEW)
		return review(r, order, err);
	if (order->kind == SL_CMD_SIGNAL || order->kind == SL_CMD_INPUT)
		return come_in(r, order, &e, err);
	if (order->kind == SL_CMD_UNLOCK && (rc = unlock_payload(order->payload, &e.data, err)) != SL_OK)
		return rc;
	e.by = sl_z(order->by);
	e.reason = sl_z(order->reason && *order->reason ? order->reason : NULL);
	if (order->kind == SL_CMD_CANCEL)
		cancel_scope(&r->state.root, "the run was cancelled");
	if (order->kind == SL_CMD_PAUSE_NOW)
		call_off_running(r, "called off by a pause, will be repeated");
	(void)sl_run_emit(r, &e); /* a cap may end the run instead; the caller sees the state */
	if (order->kind != SL_CMD_CANCEL)
		sl_run_order_children(r, order->kind == SL_CMD_UNLOCK ? SL_CMD_RESUME : order->kind);
	if (order->kind == SL_CMD_RESUME || order->kind == SL_CMD_UNLOCK)
		sl_run_arm_deadline(r);
	return SL_OK;
}
