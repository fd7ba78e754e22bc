/* engine/exec.c: one execution of one node: evaluates its parameters, drives it through the middleware, attempt by
 * attempt, and turns what comes out into events.
 *
 * The one surprising fact: a node's callbacks may end the node, the execution, even the run. So nothing is freed while
 * one of them is on the stack: `depth` counts, and settle() does what was asked when it is back to zero.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/exec_priv.h"

static const struct sl_middleware *mw_of(const struct sl_exec *x, size_t i)
{
	return x->run->engine->middleware[i];
}

static bool is_inner(const struct sl_middleware *m)
{
	return m->slot > SL_SLOT_FAILOVER;
}

static bool applies(const struct sl_exec *x, size_t i)
{
	const struct sl_middleware *m = mw_of(x, i);
	return !m->applies || m->applies(x->def);
}

static void enter_next(struct sl_exec *x);
static void finish(struct sl_exec *x, enum sl_code code, const struct sl_error *err, struct json_object *output);

/* ---- memory ---- */

static void node_free(struct sl_node *n)
{
	if (!n)
		return;
	sl_node_busy(n, false);
	if (n->remote) {
		n->remote->node = NULL;
		sl_remote_unref(n->remote);
	}
	sl_node_drop_timer(n);
	sl_child_release(n);
	sl_stream_unref(n->stream);
	json_object_put(n->output);
	json_object_put(n->child_took);
	free(n->kase);
	free(n->state);
	sl_event_fini(&n->usage);
	while (n->events) {
		struct custom *c = n->events;
		n->events = c->next;
		json_object_put(c->data);
		free(c);
	}
	free(n);
}

static void leave(struct sl_exec *x, bool inner, const struct sl_outcome *o)
{
	for (size_t i = x->n_mw; i-- > 0;) {
		const struct sl_middleware *m = mw_of(x, i);
		if (is_inner(m) != inner || !x->mw[i].entered)
			continue;
		sl_exec_drop_deadline(&x->mw[i]);
		x->mw[i].entered = false;
		if (m->leave)
			m->leave(x, o);
		if (inner) {
			free(x->mw[i].state);
			x->mw[i].state = NULL;
		}
	}
}

/* Takes x off the run's table. It may live a little longer, until its callbacks have returned. */
static void detach(struct sl_exec *x)
{
	if (x->waker)
		x->waker->x = NULL;
	if (x->scope->rt[x->index].exec == x) {
		x->scope->rt[x->index].exec = NULL;
		x->run->n_execs--;
		atomic_fetch_sub_explicit(&x->run->engine->pending_nodes, 1, memory_order_relaxed);
	}
}

static void exec_free(struct sl_exec *x)
{
	sl_run_timer_stop(&x->retry);
	sl_run_timer_stop(&x->recheck);
	sl_waker_unref(x->waker);
	for (size_t i = 0; i < x->n_mw; i++) {
		sl_exec_drop_deadline(&x->mw[i]);
		free(x->mw[i].state);
	}
	node_free(x->node);
	json_object_put(x->params);
	json_object_put(x->answer);
	json_object_put(x->word);
	json_object_put(x->next_word);
	free(x->reason);
	free(x->told);
	free(x->path);
	free(x);
}

/* Lets go of x: now, or when its callbacks have returned. */
static void release(struct sl_exec *x)
{
	detach(x);
	x->dead = true;
	if (x->depth == 0)
		exec_free(x);
}

/* ---- what an attempt leaves behind ---- */

static struct json_object *stream_record(struct sl_node *n, struct json_object *output)
{
	if (!n || !n->stream || !sl_stream_length(n->stream))
		return NULL;
	struct json_object *rec = json_object_new_object();
	SL_BUF(segments, SL_LIMIT_PAYLOAD_BYTES);
	SL_AUTO(sl_bytes) text = sl_stream_collect(n->stream, SL_STREAM_TEXT);
	SL_AUTO(sl_bytes) thinking = sl_stream_collect(n->stream, SL_STREAM_THINKING);
	struct json_object *parsed = NULL;
	struct sl_error err;
	sl_stream_segments(n->stream, &segments);
	if (!rec || !text || !thinking || segments.failed ||
	    sl_json_parse(sl_buf_str(&segments), &parsed, &err) != SL_OK) {
		json_object_put(rec);
		return NULL;
	}
	sl_json_set_i64(rec, "attempt", n->attempt);
	sl_json_set(rec, "segments", parsed);
	/* not twice: most outputs carry the text already */
	if (!sl_str_eq(sl_json_get_str(output, "text"), sl_bytes_str(text)))
		sl_json_set_str(rec, "text", sl_bytes_str(text));
	if (!sl_str_eq(sl_json_get_str(output, "thinking"), sl_bytes_str(thinking)))
		sl_json_set_str(rec, "thinking", sl_bytes_str(thinking));
	return rec;
}

static void emit_usage(struct sl_node *n)
{
	if (!n->has_usage)
		return;
	n->has_usage = false;
	n->reported.model = n->reported.agent_id = NULL; /* they go with the event */
	n->usage.kind = SL_EV_USAGE;
	n->usage.path = sl_z(n->x->path);
	(void)sl_run_emit(n->x->run, &n->usage); /* false: the run is over and nobody counts any more */
}

static void emit_customs(struct sl_node *n)
{
	while (n->events) {
		struct custom *c = n->events;
		n->events = c->next;
		struct sl_event e = {.kind = SL_EV_CUSTOM, .name = c->name, .data = c->data};
		e.path = sl_z(n->x->path);
		(void)sl_run_emit(n->x->run, &e); /* as above */
		free(c);
	}
	n->events_end = &n->events;
}

/* The first event of an attempt that did not end at once. */
static void announce(struct sl_node *n)
{
	struct sl_exec *x = n->x;
	if (n->announced)
		return;
	n->announced = true;
	const struct sl_node_state *ns = &x->scope->nodes[x->index];
	if (n->stream && ns->text_before && ns->attempt < n->attempt) {
		struct sl_event reset = {.kind = SL_EV_RESET, .attempt = n->attempt};
		reset.path = sl_z(x->path);
		reset.reason = sl_z(ns->code != SL_OK ? sl_code_wire(ns->code) : "interrupted");
		(void)sl_run_emit(x->run, &reset); /* false: the run is over */
	}
	if (x->how == SL_EXEC_FRESH || !(n->waiting || x->def->body)) {
		struct sl_event e = {.kind = SL_EV_NODE, .attempt = n->attempt, .type = x->def->type->name};
		e.status = n->waiting ? SL_NODE_WAITING : SL_NODE_RUNNING;
		e.due_ms = n->waiting ? n->due_ms : 0;
		e.path = sl_z(x->path);
		e.reason = x->reason;
		x->reason = NULL;
		(void)sl_run_emit(x->run, &e); /* as above */
	}
	if (n->stream)
		sl_run_stream_begun(x->run, n->stream);
	emit_customs(n);
}

/* ---- ending ---- */

/* A cheap lower bound of the size as JSON: the walk stops at the cap. */
static size_t size_of(struct json_object *o, size_t cap)
{
	size_t n = 2;
	switch (json_object_get_type(o)) {
	case json_type_string:
		return 2 + (size_t)json_object_get_string_len(o);
	case json_type_array:
		for (size_t i = 0; i < json_object_array_length(o) && n <= cap; i++)
			n += 1 + size_of(json_object_array_get_idx(o, i), cap);
		return n;
	case json_type_object: {
		json_object_object_foreach (o, k, v) {
			n += 4 + strlen(k) + (n <= cap ? size_of(v, cap) : 0);
		}
		return n;
	}
	default:
		return 4;
	}
}

bool sl_exec_taken(struct sl_scope *sc, uint32_t node, const char *kase, struct json_object *output, uint32_t **taken,
		   uint32_t *n, struct sl_error *err)
{
	const struct sl_graph *g = sc->graph;
	const struct sl_node_def *def = &g->nodes[node];
	struct json_object **slot = &sc->nodes[node].output, *before = *slot;
	*taken = NULL;
	*n = 0;
	if (!def->n_out)
		return true;
	*taken = sl_zalloc(def->n_out * sizeof(**taken));
	if (!*taken) {
		(void)sl_fail(err, SL_NO_MEMORY, "edges of '%s'", def->id);
		return false;
	}
	*slot = output; /* conditions on the way out may look at what has just come out */
	bool ok = true;
	for (uint32_t i = 0; i < def->n_out && ok; i++) {
		const struct sl_edge *edge = &g->edges[def->out[i]];
		bool yes = true;
		if (edge->kase)
			yes = kase && strcmp(kase, edge->kase) == 0;
		if (yes && edge->when) {
			struct sl_env env = sl_scope_env(sc);
			enum sl_code rc = sl_expr_test(edge->when, &env, &yes, err);
			if (rc != SL_OK) {
				(void)sl_wrap(err, rc, "the edge from '%s' to '%s'", def->id, g->nodes[edge->to].id);
				ok = false;
			}
		}
		if (ok && yes)
			(*taken)[(*n)++] = def->out[i];
	}
	*slot = before;
	return ok;
}

/* The execution has ended for good. Takes output. x is gone afterwards. */
static void finish(struct sl_exec *x, enum sl_code code, const struct sl_error *err, struct json_object *output)
{
	struct sl_run *r = x->run;
	struct sl_scope *sc = x->scope;
	uint32_t index = x->index;
	struct sl_error late = {0};
	struct sl_event e = {.kind = SL_EV_NODE, .type = x->def->type->name};
	const struct sl_node_state *ns = &sc->nodes[index];

	if (code == SL_OK && !(output && json_object_is_type(output, json_type_object)))
		code = sl_fail(&late, output ? SL_INTERNAL : SL_NO_MEMORY, "node '%s' gave no object", x->def->id);
	size_t most = x->def->body ? SL_LIMIT_GATHERED_BYTES : SL_LIMIT_PAYLOAD_BYTES;
	if (code == SL_OK && size_of(output, most) > most)
		code = sl_fail(&late, SL_LIMIT, "the output of '%s' is larger than %zu bytes", x->def->id, most);
	/* one whose output was given has not chosen; types that choose say what in `case` */
	const char *kase = x->node ? x->node->kase : NULL;
	if (!kase && ns->given)
		kase = sl_json_get_z(output, "case");
	if (code == SL_OK && !sl_exec_taken(sc, index, kase, output, &e.taken, &e.n_taken, &late))
		code = late.code;
	if (late.code != SL_OK) {
		err = &late;
		free(e.taken);
		e.taken = NULL;
		e.n_taken = 0;
	}
	struct sl_outcome o = {code, code == SL_OK ? NULL : err, code == SL_OK ? output : NULL,
			       x->node ? x->node->attempt : ns->attempt,
			       sl_clock_mono(r->engine->config.clock) - x->began_ms};
	o.work_ms = x->work_us / 1000;
	leave(x, false, &o);
	e.took = x->node ? x->node->took : 0;
	e.status = code == SL_OK ? SL_NODE_COMPLETED : SL_NODE_FAILED;
	e.attempt = o.attempt;
	e.path = sl_z(x->path);
	e.cached = x->cached;
	e.reason = x->reason;
	x->reason = NULL;
	if (!ns->started_ms)
		e.started_ms = x->began_wall_ms;
	e.stream = stream_record(x->node, code == SL_OK ? output : NULL);
	if (x->node)
		e.child = SL_TAKE(x->node->child_took);
	if (code == SL_OK) {
		e.output = output;
		output = NULL;
	} else {
		e.code = code;
		e.message = sl_z(err && err->text[0] ? err->text : sl_code_wire(code));
	}
	json_object_put(output);
	x->depth++;
	sl_run_cancel_bodies(sc, index, "the node around it has ended");
	if (x->node)
		emit_customs(x->node);
	x->depth--;
	if (x->dead) { /* one of them broke a cap: the run has ended and has said so for this node, too */
		exec_free(x);
		sl_event_fini(&e);
		return;
	}
	SL_CRASH_POINT_OF("node.ended", x->path);
	release(x);
	if (sl_run_emit(r, &e)) {
		SL_CRASH_POINT("node.folded");
		sl_run_leave_child(sc, index, r->state.last_seq); /* one it has not heard of the end of */
		sl_run_node_ended(sc, index);
	}
}

/* A failure that no further attempt follows: a fallback may replace it. */
static void fail_for_good(struct sl_exec *x, enum sl_code code, const struct sl_error *err)
{
	struct sl_outcome o = {code, err, NULL, x->node ? x->node->attempt : 0, 0};
	for (size_t i = x->n_mw; i-- > 0;) {
		const struct sl_middleware *m = mw_of(x, i);
		struct json_object *output = NULL;
		if (!m->recover || !applies(x, i) || m->recover(x, &o, &output) != SL_OK)
			continue;
		finish(x, SL_OK, NULL, output);
		return;
	}
	finish(x, code, err, NULL);
}

static void begin_attempt(struct sl_exec *x)
{
	x->phase = PH_INNER;
	x->at = 0;
	x->tries++;
	enter_next(x);
}

static void retry_due(struct sl_run *r, void *arg)
{
	struct sl_exec *x = arg;
	if (r->state.status == SL_RUN_PAUSED || r->state.status == SL_RUN_LOCKED) {
		x->retry_due = true;
		return;
	}
	SL_CRASH_POINT_OF("retry.due", x->path);
	begin_attempt(x);
}

void sl_exec_ask_again(struct sl_exec *x)
{
	if (!x->delayed)
		return;
	if (x->run->state.status == SL_RUN_PAUSED || x->run->state.status == SL_RUN_LOCKED) {
		/* Others wait behind it, and what it has reserved is not used: it asks anew when the run goes on. */
		sl_exec_cancel(x, SL_NODE_PENDING, "its turn came during a pause; it asks again when the run goes on");
		return;
	}
	sl_run_timer_stop(&x->recheck);
	enter_next(x);
}

void sl_exec_unpaused(struct sl_exec *x)
{
	if (x->retry_due) {
		x->retry_due = false;
		begin_attempt(x);
	} else if (x->recheck_due) {
		x->recheck_due = false;
		sl_exec_ask_again(x);
	}
}

/* Is another attempt worth it? x may be gone afterwards. */
static void attempt_failed(struct sl_exec *x, const struct sl_outcome *o)
{
	struct sl_run *r = x->run;
	struct sl_error err = *o->err;
	for (size_t i = x->n_mw; i-- > 0;) {
		const struct sl_middleware *m = mw_of(x, i);
		uint64_t delay_ms = 0;
		if (!m->failed || !applies(x, i) || m->failed(x, o, &delay_ms) != SL_AGAIN_AFTER)
			continue;
		const struct sl_clock *c = r->engine->config.clock;
		struct sl_event e = {.kind = SL_EV_NODE,
				     .status = SL_NODE_RETRYING,
				     .attempt = o->attempt ? o->attempt : x->scope->nodes[x->index].attempt,
				     .tries = x->tries,
				     .type = x->def->type->name,
				     .code = o->code,
				     .due_ms = sl_clock_wall(c) + (int64_t)delay_ms};
		e.path = sl_z(x->path);
		e.message = sl_z(err.text);
		e.reason = x->reason;
		x->reason = NULL;
		if (x->node)
			e.child = SL_TAKE(x->node->child_took);
		atomic_fetch_add_explicit(&r->engine->node_retries, 1, memory_order_relaxed);
		node_free(x->node);
		x->node = NULL;
		x->phase = PH_BACKOFF;
		x->depth++;
		bool ok = sl_run_emit(r, &e);
		SL_CRASH_POINT_OF("retry.scheduled", x->path);
		x->depth--;
		if (x->dead) {
			exec_free(x);
			return;
		}
		if (ok && !sl_run_timer_start(&x->retry, r, sl_clock_mono(c) + delay_ms, retry_due, x))
			fail_for_good(x, sl_fail(&err, SL_NO_MEMORY, "no memory for a timer"), &err);
		return;
	}
	fail_for_good(x, o->code, &err);
}

/* What the attempt said it cost counts for the execution. */
static void spend(struct sl_node *n)
{
	if (!n->has_usage)
		return;
	n->x->spent_tokens += n->reported.input_tokens + n->reported.output_tokens;
	n->x->spent_microusd += n->reported.cost_microusd;
	sl_run_spent(n->x->run, n->reported.input_tokens + n->reported.output_tokens, n->reported.cost_microusd);
}

/* The attempt has ended with what n holds. */
static void attempt_ended(struct sl_exec *x)
{
	struct sl_node *n = x->node;
	struct sl_run *r = x->run;
	struct watches *w = n->stream ? (struct watches *)sl_stream_tapped(n->stream) : NULL;
	if (n->code == SL_TRIPPED && w && w->trip.reason) { /* called off, like all the rest when the turn ends */
		sl_run_trip(r, &w->trip, x->path);
		if (!n->announced)
			announce(n);
		if (!x->dead)
			sl_exec_cancel(x, SL_NODE_PENDING, "called off by the run breaker, will be repeated");
		else
			exec_free(x);
		return;
	}
	x->depth++; /* an event may break a cap and end the run, and with it this */
	sl_node_drop_timer(n);
	sl_node_busy(n, false);
	if (n->remote)
		n->remote->node = NULL;
	if (n->stream) {
		sl_stream_end(n->stream);
		if (!n->announced)
			announce(n); /* its text can be read, so it must have begun */
	}
	struct sl_outcome o = {n->code, n->code == SL_OK ? NULL : &n->err, n->output, n->attempt,
			       sl_clock_mono(r->engine->config.clock) - x->began_ms};
	leave(x, true, &o);
	spend(n);
	emit_usage(n);
	if (n->code != SL_OK)
		emit_customs(n); /* another attempt has its own to tell */
	x->depth--;
	if (x->dead) {
		exec_free(x);
		return;
	}
	if (n->code == SL_OK) {
		struct json_object *output = n->output;
		n->output = NULL;
		finish(x, SL_OK, NULL, output);
		return;
	}
	attempt_failed(x, &o);
}

/* After every call into a node type. */
void sl_exec_settle(struct sl_exec *x)
{
	if (x->depth)
		return;
	if (x->dead)
		exec_free(x);
	else if (x->node && x->node->ended)
		attempt_ended(x);
}

const struct sl_node_type *sl_node_type_of(const struct sl_node *n)
{
	return n->as ? n->as : n->x->def->type;
}

void sl_node_end(struct sl_node *n, enum sl_code code, const struct sl_error *err, struct json_object *output)
{
	struct sl_error why = {0};
	if (n->ended) {
		json_object_put(output);
		return;
	}
	if (err)
		why = *err;
	if (n->end_fn) {
		sl_node_end_fn *fn = n->end_fn;
		n->end_fn = NULL;
		fn(n, &code, &why, &output);
	}
	n->ended = true;
	n->code = code;
	n->err = why;
	n->output = output;
}

/* ---- beginning ---- */

static void start_node(struct sl_exec *x)
{
	struct sl_node_state *ns = &x->scope->nodes[x->index];
	struct sl_error err = {0};
	struct sl_node *n = sl_zalloc(sizeof(*n));
	node_free(x->node);
	x->node = n;
	x->phase = PH_RUNNING;
	if (!n) {
		fail_for_good(x, sl_fail(&err, SL_NO_MEMORY, "no memory for node '%s'", x->def->id), &err);
		return;
	}
	json_object_put(x->word);
	x->word = x->next_word;
	x->next_word = NULL;
	n->x = x;
	n->events_end = &n->events;
	n->attempt = x->how == SL_EXEC_RESUMED && ns->attempt ? ns->attempt : ns->attempt + 1;
	ns->n_told = 0;
	for (uint32_t i = 0; x->how == SL_EXEC_RESUMED && i < ns->n_bodies; i++) /* start looks at these itself */
		if (ns->bodies[i])
			ns->bodies[i]->told = sl_scope_ended(ns->bodies[i]);
	x->depth++;
	SL_CRASH_POINT_OF("node.start", x->path);
	uint64_t began_us = sl_clock_mono_us();
	enum sl_step step = x->def->type->start(n, x->params, &err);
	x->work_us += sl_clock_mono_us() - began_us;
	if (step == SL_FAILED)
		sl_node_end(n, err.code == SL_OK ? SL_INTERNAL : err.code, &err, NULL);
	else if (step == SL_DONE && !SL_EXPECT(n->ended))
		sl_node_end(n,
			    sl_fail(&err, SL_INTERNAL, "node type '%s' said done and gave nothing", x->def->type->name),
			    &err, NULL);
	if (!n->ended) {
		n->started = true;
		SL_CRASH_POINT_OF("node.begun", x->path);
		announce(n);
	}
	x->how = SL_EXEC_FRESH;
	x->depth--;
	if (x->def->body && !x->dead &&
	    !x->node->ended) /* a body may have ended in the meantime: its nodes were done */
		sl_scope_touch(x->scope, x->index);
	sl_exec_settle(x);
}

/* Says why it waits, when that is news. */
static void tell_delay(struct sl_exec *x)
{
	if (!x->reason || (x->told && strcmp(x->told, x->reason) == 0)) {
		free(x->reason);
		x->reason = NULL;
		return;
	}
	free(x->told);
	x->told = sl_z(x->reason);
	struct sl_event e = {.kind = SL_EV_NODE, .status = SL_NODE_PENDING, .type = x->def->type->name};
	e.attempt = x->scope->nodes[x->index].attempt;
	e.path = sl_z(x->path);
	e.reason = x->reason;
	x->reason = NULL;
	(void)sl_run_emit(x->run, &e); /* false: the run is over */
}

/* A middleware had the answer, or who forked the run gave it. Its text is streamed like one that a model wrote. */
static void answered(struct sl_exec *x)
{
	struct json_object *output = x->answer;
	struct sl_str text = sl_json_get_str(output, "text"), thinking = sl_json_get_str(output, "thinking");
	struct sl_outcome o = {SL_OK, NULL, output, 0, 0};
	x->answer = NULL;
	leave(x, true, &o);
	if (text.len || thinking.len) {
		struct sl_node *n = calloc(1, sizeof(*n));
		struct sl_stream *s = NULL;
		node_free(x->node);
		x->node = n;
		if (n) {
			n->x = x;
			n->events_end = &n->events;
			n->attempt = x->scope->nodes[x->index].attempt + 1;
			n->ended = true;
			s = sl_node_stream(n);
		}
		/* without memory for it, the answer is there all the same */
		if (s && (!thinking.len || sl_stream_append(s, SL_STREAM_THINKING, thinking) == SL_OK) &&
		    (!text.len || sl_stream_append(s, SL_STREAM_TEXT, text) == SL_OK)) {
			sl_stream_end(s);
			x->depth++;
			announce(n);
			x->depth--;
			if (x->dead) {
				json_object_put(output);
				exec_free(x);
				return;
			}
		}
	}
	finish(x, SL_OK, NULL, output);
}

/* Enters middleware from x->at on, then goes on to the next phase. */
static void enter_next(struct sl_exec *x)
{
	struct sl_error err = {0};
	x->delayed = false;
	for (; x->at < x->n_mw; x->at++) {
		const struct sl_middleware *m = mw_of(x, x->at);
		if (is_inner(m) != (x->phase == PH_INNER) || !applies(x, x->at))
			continue;
		x->depth++;
		enum sl_verdict v = m->enter ? m->enter(x, &err) : SL_PASS;
		if (v == SL_DELAY)
			tell_delay(x);
		x->depth--;
		if (x->dead) {
			exec_free(x);
			return;
		}
		switch (v) {
		case SL_PASS:
			x->mw[x->at].entered = true;
			continue;
		case SL_DELAY:
			x->mw[x->at].entered = true;
			x->delayed = true;
			return;
		case SL_ANSWER:
			x->cached = true;
			answered(x);
			return;
		case SL_REFUSE: {
			struct sl_outcome o = {err.code == SL_OK ? SL_INTERNAL : err.code, &err, NULL, 0, 0};
			leave(x, true, &o);
			if (x->phase == PH_INNER)
				attempt_failed(x, &o);
			else
				fail_for_good(x, o.code, &err);
			return;
		}
		}
	}
	if (x->phase == PH_OUTER)
		begin_attempt(x);
	else
		start_node(x);
}

static struct sl_exec *exec_new(struct sl_scope *sc, uint32_t node, enum sl_exec_how how)
{
	struct sl_run *r = sl_scope_run(sc);
	struct sl_engine *e = r->engine;
	struct sl_exec *x = sl_zalloc(sizeof(*x) + e->n_middleware * sizeof(x->mw[0]));
	char *path = x ? sl_scope_path(sc, node) : NULL;
	if (!path) {
		free(x);
		sl_run_fail(r, SL_NO_MEMORY, "no memory to start a node", sc->graph->nodes[node].id);
		return NULL;
	}
	x->run = r;
	x->scope = sc;
	x->index = node;
	x->def = &sc->graph->nodes[node];
	x->path = path;
	x->how = how;
	x->n_mw = e->n_middleware;
	x->began_ms = sl_clock_mono(e->config.clock);
	x->began_wall_ms = sl_clock_wall(e->config.clock);
	(void)SL_EXPECT(!sc->rt[node].exec); /* one at a time */
	sc->rt[node].exec = x;
	r->n_execs++;
	atomic_fetch_add_explicit(&e->pending_nodes, 1, memory_order_relaxed);
	return x;
}

/* Parameters with their templates evaluated, checked again now that all is known. */
static enum sl_code params_of(struct sl_exec *x, struct sl_error *err)
{
	struct sl_env env = sl_scope_env(x->scope);
	uint64_t began_us = sl_clock_mono_us();
	enum sl_code rc = sl_template_eval(x->def->params, &env, &x->params, err);
	x->work_us += sl_clock_mono_us() - began_us;
	if (rc != SL_OK)
		return sl_wrap(err, rc, "parameters of '%s'", x->path);
	if (sl_template_is_constant(x->def->params))
		return SL_OK; /* checked when the workflow was */
	struct sl_problems problems = {0};
	SL_BUF(pointer, 64);
	if (!sl_schema_check(sl_registry_schema(x->run->engine->registry, x->def->type), x->params, SL_SCHEMA_STRICT,
			     sl_buf_str(&pointer), &problems) &&
	    problems.n)
		rc = sl_fail(err, SL_INVALID, "parameters of '%s': " SL_PROBLEM_FMT, x->path, SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	return rc;
}

void sl_exec_start(struct sl_scope *sc, uint32_t node, enum sl_exec_how how)
{
	struct sl_exec *x = exec_new(sc, node, how);
	struct sl_error err = {0};
	if (!x)
		return;
	if (sc->nodes[node].given) {
		x->answer = json_object_get(sc->nodes[node].given);
		x->reason = sl_z("its output was given when the run was forked");
		answered(x);
		return;
	}
	if (x->def->when && how == SL_EXEC_FRESH) {
		struct sl_env env = sl_scope_env(sc);
		bool yes = true;
		enum sl_code rc = sl_expr_test(x->def->when, &env, &yes, &err);
		if (rc != SL_OK) {
			fail_for_good(x, sl_wrap(&err, rc, "the condition of '%s'", x->def->id), &err);
			return;
		}
		if (!yes) {
			release(x);
			if (sl_run_emit_node(sc, node, SL_NODE_SKIPPED, sc->nodes[node].attempt,
					     "its condition is false"))
				sl_run_node_ended(sc, node);
			return;
		}
	}
	enum sl_code rc = params_of(x, &err);
	if (rc != SL_OK) {
		fail_for_good(x, rc, &err);
		return;
	}
	const struct sl_node_state *ns = &sc->nodes[node];
	bool again = ns->status == SL_NODE_RUNNING || ns->status == SL_NODE_WAITING;
	x->tries = x->earlier =
		again ? ns->tries - 1 : 0; /* the one that goes on, or is repeated, is counted once more */
	enter_next(x);
}

void sl_exec_retry_later(struct sl_scope *sc, uint32_t node, uint64_t due_mono_ms)
{
	struct sl_exec *x = exec_new(sc, node, SL_EXEC_FRESH);
	struct sl_error err = {0};
	if (!x)
		return;
	enum sl_code rc = params_of(x, &err);
	if (rc == SL_OK && !sl_run_timer_start(&x->retry, x->run, due_mono_ms, retry_due, x))
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for a timer");
	if (rc != SL_OK) {
		fail_for_good(x, rc, &err);
		return;
	}
	x->tries = x->earlier = sc->nodes[node].tries;
	x->phase = PH_BACKOFF;
}

/* ---- bodies ---- */

void sl_exec_bodies(struct sl_exec *x)
{
	struct sl_node_state *ns = &x->scope->nodes[x->index];
	if (!x->node || !x->node->started || x->node->ended)
		return;
	x->depth++;
	for (uint32_t i = ns->n_told; i < ns->n_bodies && !x->node->ended && !x->dead; i++) {
		struct sl_scope *body = ns->bodies[i];
		if (body && !body->told && sl_scope_ended(body)) {
			body->told = true;
			SL_CRASH_POINT_OF("body.ended", x->path);
			x->def->type->body(x->node, body->number);
			if (!x->node->ended && !x->dead)
				sl_body_ended(body);
		}
		if (i == ns->n_told && body && body->told)
			ns->n_told++;
	}
	x->depth--;
	sl_exec_settle(x);
}

enum sl_code sl_exec_deliver(struct sl_exec *x, const struct sl_delivery *d, struct sl_error *err)
{
	if (!x->node || !x->node->started || x->node->ended || !sl_node_type_of(x->node)->deliver)
		return sl_fail(err, SL_NOT_FOUND, "'%s' does not wait for this", x->path);
	x->depth++;
	enum sl_code rc = sl_node_type_of(x->node)->deliver(x->node, d, err);
	x->depth--;
	sl_exec_settle(x);
	return rc;
}

/* ---- calling it off ---- */

static void call_off(struct sl_exec *x)
{
	struct sl_error err;
	struct sl_outcome o = {SL_CANCELLED, &err, NULL, x->node ? x->node->attempt : 0, 0};
	(void)sl_fail(&err, SL_CANCELLED, "called off");
	x->depth++;
	if (x->node && x->node->started && !x->node->ended && sl_node_type_of(x->node)->cancel) {
		bool off = sl_run_off_begin(x->run, SL_OFF_NOT_NEEDED, 0);
		sl_node_type_of(x->node)->cancel(x->node);
		sl_run_off_end(x->run, off);
	}
	if (x->node) {
		x->node->ended = true;
		sl_node_busy(x->node, false);
		sl_node_drop_timer(x->node);
		if (x->node->stream)
			sl_stream_end(x->node->stream);
	}
	leave(x, true, &o);
	if (x->node)
		spend(x->node); /* what it had cost by then counts, too */
	leave(x, false, &o);
	x->depth--;
}

void sl_exec_cancel(struct sl_exec *x, enum sl_node_status to, const char *reason)
{
	struct sl_run *r = x->run;
	struct sl_scope *sc = x->scope;
	uint32_t index = x->index;
	struct sl_event e = {.kind = SL_EV_NODE, .status = to, .type = x->def->type->name};
	e.attempt = x->node ? x->node->attempt : sc->nodes[index].attempt;
	e.path = sl_z(x->path);
	e.reason = sl_z(reason);
	if (x->node && !x->node->announced && !x->node->started)
		e.attempt = sc->nodes[index].attempt;
	bool told = sl_exec_knows_child(x); /* it is, by the node */
	call_off(x);
	e.stream = stream_record(x->node, NULL);
	detach(x); /* first, so that nothing below finds it again */
	if (x->node)
		emit_usage(x->node); /* what a called-off call has cost counts, too */
	release(x);
	sl_run_cancel_bodies(sc, index, reason);
	if (sl_run_emit(r, &e) && to == SL_NODE_CANCELLED) {
		if (!told)
			sl_run_leave_child(sc, index, r->state.last_seq);
		sl_run_node_ended(sc, index);
	}
}

void sl_exec_kill(struct sl_exec *x)
{
	call_off(x);
	release(x);
}
