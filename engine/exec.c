/* engine/exec.c: one execution of one node: evaluates its parameters, drives it through the middleware, attempt by
 * attempt, and turns what comes out into events.
 *
 * The one surprising fact: a node's callbacks may end the node, the execution, even the run. So nothing is freed while
 * one of them is on the stack: `depth` counts, and settle() does what was asked when it is back to zero.
 */
#include <sodium.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/run_priv.h"

struct custom {
	struct custom *next;
	const char *name;
	struct json_object *data;
};

/* One attempt. */
struct sl_node {
	struct sl_exec *x;
	uint32_t attempt;
	void *state;
	struct sl_stream *stream;
	struct sl_remote *remote;
	struct sl_run_timer *timer;
	void (*timer_fn)(struct sl_node *n);
	int64_t due_ms; /* wall; waiting */
	bool waiting;
	bool started;   /* start() returned SL_PENDING */
	bool announced; /* its first event is out */
	bool ended;
	enum sl_code code; /* of the end */
	struct sl_error err;
	struct json_object *output;
	char *kase;
	bool has_usage;
	struct sl_event usage;
	struct custom *events, **events_end; /* before it was announced */
};

struct sl_remote {
	_Atomic uint32_t refs;
	struct sl_run *run;
	struct sl_node *node; /* [run] NULL: the attempt has ended */
};

enum phase { PH_OUTER, PH_INNER, PH_RUNNING, PH_BACKOFF };

struct mw_slot {
	bool entered;
	void *state;
	struct sl_run_timer *deadline;
	struct sl_error deadline_err;
	struct sl_exec *deadline_exec;
};

struct sl_exec {
	struct sl_run *run;
	uint32_t index;
	const struct sl_node_def *def;
	enum sl_exec_how how;
	enum phase phase;
	size_t at; /* the middleware to enter next */
	unsigned depth;
	bool dead;      /* to be freed when depth is 0, without a word */
	bool delayed;   /* a middleware said SL_DELAY */
	bool retry_due; /* came due while the run was paused */
	bool cached;
	uint32_t tries;
	uint64_t began_ms; /* mono */
	int64_t began_wall_ms;
	char *reason;
	struct json_object *params;
	struct json_object *answer;
	struct sl_node *node;
	struct sl_run_timer *retry;
	size_t n_mw;
	struct mw_slot mw[];
};

static const struct sl_middleware *mw_of(const struct sl_exec *x, size_t i)
{
	return x->run->engine->middleware[i];
}

static bool is_inner(const struct sl_middleware *m)
{
	return m->slot > SL_SLOT_RETRY;
}

static bool applies(const struct sl_exec *x, size_t i)
{
	const struct sl_middleware *m = mw_of(x, i);
	return !m->applies || m->applies(x->def);
}

static void enter_next(struct sl_exec *x);
static void settle(struct sl_exec *x);
static void finish(struct sl_exec *x, enum sl_code code, const struct sl_error *err, struct json_object *output);

/* ---- memory ---- */

static void node_free(struct sl_node *n)
{
	if (!n)
		return;
	if (n->remote) {
		n->remote->node = NULL;
		sl_remote_unref(n->remote);
	}
	sl_run_timer_stop(&n->timer);
	sl_stream_unref(n->stream);
	json_object_put(n->output);
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
		sl_run_timer_stop(&x->mw[i].deadline);
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
	if (x->run->execs[x->index] == x) {
		x->run->execs[x->index] = NULL;
		x->run->n_execs--;
		atomic_fetch_sub_explicit(&x->run->engine->pending_nodes, 1, memory_order_relaxed);
	}
}

static void exec_free(struct sl_exec *x)
{
	sl_run_timer_stop(&x->retry);
	for (size_t i = 0; i < x->n_mw; i++) {
		sl_run_timer_stop(&x->mw[i].deadline);
		free(x->mw[i].state);
	}
	node_free(x->node);
	json_object_put(x->params);
	json_object_put(x->answer);
	free(x->reason);
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
	n->usage.kind = SL_EV_USAGE;
	n->usage.path = sl_z(n->x->def->id);
	(void)sl_run_emit(n->x->run, &n->usage); /* false: the run is over and nobody counts any more */
}

static void emit_customs(struct sl_node *n)
{
	while (n->events) {
		struct custom *c = n->events;
		n->events = c->next;
		struct sl_event e = {.kind = SL_EV_CUSTOM, .name = c->name, .data = c->data};
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
	const struct sl_node_state *ns = &x->run->state.root.nodes[x->index];
	if (n->stream && ns->text_before && ns->attempt < n->attempt) {
		struct sl_event reset = {.kind = SL_EV_RESET, .attempt = n->attempt};
		reset.path = sl_z(x->def->id);
		reset.reason = sl_z(ns->code != SL_OK ? sl_code_wire(ns->code) : "interrupted");
		(void)sl_run_emit(x->run, &reset); /* false: the run is over */
	}
	if (x->how == SL_EXEC_FRESH || !n->waiting) {
		struct sl_event e = {.kind = SL_EV_NODE, .attempt = n->attempt, .type = x->def->type->name};
		e.status = n->waiting ? SL_NODE_WAITING : SL_NODE_RUNNING;
		e.due_ms = n->waiting ? n->due_ms : 0;
		e.path = sl_z(x->def->id);
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

bool sl_exec_taken(struct sl_run *r, uint32_t node, const char *kase, struct json_object *output, uint32_t **taken,
		   uint32_t *n, struct sl_error *err)
{
	const struct sl_graph *g = r->workflow->root;
	const struct sl_node_def *def = &g->nodes[node];
	struct json_object **slot = &r->state.root.nodes[node].output, *before = *slot;
	*taken = NULL;
	*n = 0;
	if (!def->n_out)
		return true;
	*taken = calloc(def->n_out, sizeof(**taken));
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
			struct sl_env env = sl_run_env(r);
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
	uint32_t index = x->index;
	struct sl_error late = {0};
	struct sl_event e = {.kind = SL_EV_NODE, .type = x->def->type->name};
	const struct sl_node_state *ns = &r->state.root.nodes[index];

	if (code == SL_OK && !(output && json_object_is_type(output, json_type_object)))
		code = sl_fail(&late, output ? SL_INTERNAL : SL_NO_MEMORY, "node '%s' gave no object", x->def->id);
	if (code == SL_OK && size_of(output, SL_LIMIT_PAYLOAD_BYTES) > SL_LIMIT_PAYLOAD_BYTES)
		code = sl_fail(&late, SL_LIMIT, "the output of '%s' is larger than %u bytes", x->def->id,
			       SL_LIMIT_PAYLOAD_BYTES);
	if (code == SL_OK &&
	    !sl_exec_taken(r, index, x->node ? x->node->kase : NULL, output, &e.taken, &e.n_taken, &late))
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
	leave(x, false, &o);
	e.status = code == SL_OK ? SL_NODE_COMPLETED : SL_NODE_FAILED;
	e.attempt = o.attempt;
	e.path = sl_z(x->def->id);
	e.cached = x->cached;
	e.reason = x->reason;
	x->reason = NULL;
	if (!ns->started_ms)
		e.started_ms = x->began_wall_ms;
	e.stream = stream_record(x->node, code == SL_OK ? output : NULL);
	if (code == SL_OK) {
		e.output = output;
		output = NULL;
	} else {
		e.code = code;
		e.message = sl_z(err && err->text[0] ? err->text : sl_code_wire(code));
	}
	json_object_put(output);
	x->depth++;
	if (x->node)
		emit_customs(x->node);
	x->depth--;
	if (x->dead) { /* one of them broke a cap: the run has ended and has said so for this node, too */
		exec_free(x);
		sl_event_fini(&e);
		return;
	}
	release(x);
	if (sl_run_emit(r, &e))
		sl_run_node_ended(r, index);
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
	begin_attempt(x);
}

void sl_exec_unpaused(struct sl_exec *x)
{
	if (x->retry_due) {
		x->retry_due = false;
		begin_attempt(x);
	}
}

/* The attempt has ended with what n holds. */
static void attempt_ended(struct sl_exec *x)
{
	struct sl_node *n = x->node;
	struct sl_run *r = x->run;
	x->depth++; /* an event may break a cap and end the run, and with it this */
	sl_run_timer_stop(&n->timer);
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
	emit_usage(n);
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
	for (size_t i = x->n_mw; i-- > 0;) {
		const struct sl_middleware *m = mw_of(x, i);
		uint64_t delay_ms = 0;
		if (!m->failed || !applies(x, i) || m->failed(x, &o, &delay_ms) != SL_AGAIN_AFTER)
			continue;
		const struct sl_clock *c = r->engine->config.clock;
		struct sl_event e = {.kind = SL_EV_NODE,
				     .status = SL_NODE_RETRYING,
				     .attempt = n->attempt,
				     .tries = x->tries,
				     .type = x->def->type->name,
				     .code = n->code,
				     .due_ms = sl_clock_wall(c) + (int64_t)delay_ms};
		e.path = sl_z(x->def->id);
		e.message = sl_z(n->err.text);
		e.reason = x->reason;
		x->reason = NULL;
		atomic_fetch_add_explicit(&r->engine->node_retries, 1, memory_order_relaxed);
		node_free(n);
		x->node = NULL;
		x->phase = PH_BACKOFF;
		x->depth++;
		bool ok = sl_run_emit(r, &e);
		x->depth--;
		if (x->dead) {
			exec_free(x);
			return;
		}
		struct sl_error err;
		if (ok && !sl_run_timer_start(&x->retry, r, sl_clock_mono(c) + delay_ms, retry_due, x))
			fail_for_good(x, sl_fail(&err, SL_NO_MEMORY, "no memory for a timer"), &err);
		return;
	}
	struct sl_error err = n->err;
	fail_for_good(x, n->code, &err);
}

/* After every call into a node type. */
static void settle(struct sl_exec *x)
{
	if (x->depth)
		return;
	if (x->dead)
		exec_free(x);
	else if (x->node && x->node->ended)
		attempt_ended(x);
}

static void end_node(struct sl_node *n, enum sl_code code, const struct sl_error *err, struct json_object *output)
{
	if (n->ended) {
		json_object_put(output);
		return;
	}
	n->ended = true;
	n->code = code;
	if (err)
		n->err = *err;
	n->output = output;
}

/* ---- beginning ---- */

static void start_node(struct sl_exec *x)
{
	struct sl_run *r = x->run;
	const struct sl_node_state *ns = &r->state.root.nodes[x->index];
	struct sl_error err = {0};
	struct sl_node *n = calloc(1, sizeof(*n));
	node_free(x->node);
	x->node = n;
	x->phase = PH_RUNNING;
	if (!n) {
		fail_for_good(x, sl_fail(&err, SL_NO_MEMORY, "node '%s'", x->def->id), &err);
		return;
	}
	n->x = x;
	n->events_end = &n->events;
	n->attempt = x->how == SL_EXEC_RESUMED && ns->attempt ? ns->attempt : ns->attempt + 1;
	x->depth++;
	enum sl_step step = x->def->type->start(n, x->params, &err);
	if (step == SL_FAILED)
		end_node(n, err.code == SL_OK ? SL_INTERNAL : err.code, &err, NULL);
	else if (step == SL_DONE && !SL_EXPECT(n->ended))
		end_node(n, sl_fail(&err, SL_INTERNAL, "node type '%s' said done and gave nothing", x->def->type->name),
			 &err, NULL);
	if (!n->ended) {
		n->started = true;
		announce(n);
	}
	x->how = SL_EXEC_FRESH;
	x->depth--;
	settle(x);
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
			x->delayed = true;
			return;
		case SL_ANSWER: {
			struct json_object *output = x->answer;
			struct sl_outcome o = {SL_OK, NULL, output, 0, 0};
			x->answer = NULL;
			x->cached = true;
			leave(x, true, &o);
			finish(x, SL_OK, NULL, output);
			return;
		}
		case SL_REFUSE: {
			struct sl_outcome o = {err.code, &err, NULL, 0, 0};
			leave(x, true, &o);
			fail_for_good(x, err.code == SL_OK ? SL_INTERNAL : err.code, &err);
			return;
		}
		}
	}
	if (x->phase == PH_OUTER)
		begin_attempt(x);
	else
		start_node(x);
}

static struct sl_exec *exec_new(struct sl_run *r, uint32_t node, enum sl_exec_how how)
{
	struct sl_engine *e = r->engine;
	struct sl_exec *x = calloc(1, sizeof(*x) + e->n_middleware * sizeof(x->mw[0]));
	if (!x) {
		sl_run_fail(r, SL_NO_MEMORY, "no memory to start a node", r->workflow->root->nodes[node].id);
		return NULL;
	}
	x->run = r;
	x->index = node;
	x->def = &r->workflow->root->nodes[node];
	x->how = how;
	x->n_mw = e->n_middleware;
	x->began_ms = sl_clock_mono(e->config.clock);
	x->began_wall_ms = sl_clock_wall(e->config.clock);
	r->execs[node] = x;
	r->n_execs++;
	atomic_fetch_add_explicit(&e->pending_nodes, 1, memory_order_relaxed);
	return x;
}

/* Parameters with their templates evaluated, checked again now that all is known. */
static enum sl_code params_of(struct sl_exec *x, struct sl_error *err)
{
	struct sl_env env = sl_run_env(x->run);
	enum sl_code rc = sl_template_eval(x->def->params, &env, &x->params, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "parameters of '%s'", x->def->id);
	if (sl_template_is_constant(x->def->params))
		return SL_OK; /* checked when the workflow was */
	struct sl_problems problems = {0};
	SL_BUF(pointer, 64);
	if (!sl_schema_check(sl_registry_schema(x->run->engine->registry, x->def->type), x->params, SL_SCHEMA_STRICT,
			     sl_buf_str(&pointer), &problems) &&
	    problems.n)
		rc = sl_fail(err, SL_INVALID, "parameters of '%s': %s: %s", x->def->id, problems.items[0].pointer,
			     problems.items[0].message);
	sl_problems_fini(&problems);
	return rc;
}

void sl_exec_start(struct sl_run *r, uint32_t node, enum sl_exec_how how)
{
	struct sl_exec *x = exec_new(r, node, how);
	struct sl_error err = {0};
	if (!x)
		return;
	if (x->def->when && how == SL_EXEC_FRESH) {
		struct sl_env env = sl_run_env(r);
		bool yes = true;
		enum sl_code rc = sl_expr_test(x->def->when, &env, &yes, &err);
		if (rc != SL_OK) {
			fail_for_good(x, sl_wrap(&err, rc, "the condition of '%s'", x->def->id), &err);
			return;
		}
		if (!yes) {
			release(x);
			if (sl_run_emit_node(r, node, SL_NODE_SKIPPED, r->state.root.nodes[node].attempt,
					     "its condition is false"))
				sl_run_node_ended(r, node);
			return;
		}
	}
	enum sl_code rc = params_of(x, &err);
	if (rc != SL_OK) {
		fail_for_good(x, rc, &err);
		return;
	}
	x->tries = r->state.root.nodes[node].status == SL_NODE_RUNNING ? r->state.root.nodes[node].tries - 1 : 0;
	enter_next(x);
}

void sl_exec_retry_later(struct sl_run *r, uint32_t node, uint64_t due_mono_ms)
{
	struct sl_exec *x = exec_new(r, node, SL_EXEC_FRESH);
	struct sl_error err = {0};
	if (!x)
		return;
	enum sl_code rc = params_of(x, &err);
	if (rc == SL_OK && !sl_run_timer_start(&x->retry, r, due_mono_ms, retry_due, x))
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for a timer");
	if (rc != SL_OK) {
		fail_for_good(x, rc, &err);
		return;
	}
	x->tries = r->state.root.nodes[node].tries;
	x->phase = PH_BACKOFF;
}

/* ---- calling it off ---- */

static void call_off(struct sl_exec *x)
{
	struct sl_error err;
	struct sl_outcome o = {SL_CANCELLED, &err, NULL, x->node ? x->node->attempt : 0, 0};
	(void)sl_fail(&err, SL_CANCELLED, "called off");
	x->depth++;
	if (x->node && x->node->started && !x->node->ended && x->def->type->cancel)
		x->def->type->cancel(x->node);
	if (x->node) {
		x->node->ended = true;
		sl_run_timer_stop(&x->node->timer);
		if (x->node->stream)
			sl_stream_end(x->node->stream);
	}
	leave(x, true, &o);
	leave(x, false, &o);
	x->depth--;
}

void sl_exec_cancel(struct sl_exec *x, enum sl_node_status to, const char *reason)
{
	struct sl_run *r = x->run;
	uint32_t index = x->index;
	struct sl_event e = {.kind = SL_EV_NODE, .status = to, .type = x->def->type->name};
	e.attempt = x->node ? x->node->attempt : r->state.root.nodes[index].attempt;
	e.path = sl_z(x->def->id);
	e.reason = sl_z(reason);
	if (x->node && !x->node->announced && !x->node->started)
		e.attempt = r->state.root.nodes[index].attempt;
	call_off(x);
	e.stream = stream_record(x->node, NULL);
	detach(x); /* first, so that nothing below finds it again */
	if (x->node)
		emit_usage(x->node);
	release(x);
	if (sl_run_emit(r, &e) && to == SL_NODE_CANCELLED)
		sl_run_node_ended(r, index);
}

void sl_exec_kill(struct sl_exec *x)
{
	call_off(x);
	release(x);
}

/* ---- what a node may ask ---- */

const char *sl_node_path(const struct sl_node *n)
{
	return n->x->def->id;
}

const char *sl_node_id(const struct sl_node *n)
{
	return n->x->def->id;
}

uint32_t sl_node_attempt(const struct sl_node *n)
{
	return n->attempt;
}

struct sl_run_id sl_node_run(const struct sl_node *n)
{
	return n->x->run->id;
}

struct sl_services *sl_node_services(const struct sl_node *n)
{
	return n->x->run->engine->config.services;
}

int64_t sl_node_now_ms(const struct sl_node *n)
{
	return sl_clock_wall(n->x->run->engine->config.clock);
}

void sl_node_idempotency_key(const struct sl_node *n, char out[65])
{
	unsigned char digest[32];
	crypto_generichash_state st;
	const char *path = sl_node_path(n);
	crypto_generichash_init(&st, NULL, 0, sizeof(digest));
	crypto_generichash_update(&st, n->x->run->id.u.b, 16);
	crypto_generichash_update(&st, (const unsigned char *)path, strlen(path));
	crypto_generichash_final(&st, digest, sizeof(digest));
	sodium_bin2hex(out, 65, digest, sizeof(digest));
}

static const struct sl_expr *expr_at(const struct sl_node *n, const char *pointer, struct sl_error *err)
{
	const struct sl_expr *expr = sl_node_def_expr(n->x->def, pointer);
	if (!expr)
		(void)sl_fail(err, SL_INVALID, "node '%s' has no expression at %s", n->x->def->id, pointer);
	return expr;
}

enum sl_code sl_node_eval(struct sl_node *n, const char *pointer, struct json_object **out, struct sl_error *err)
{
	const struct sl_expr *expr = expr_at(n, pointer, err);
	struct sl_env env = sl_run_env(n->x->run);
	return expr ? sl_expr_eval(expr, &env, out, err) : SL_INVALID;
}

enum sl_code sl_node_test(struct sl_node *n, const char *pointer, bool *out, struct sl_error *err)
{
	const struct sl_expr *expr = expr_at(n, pointer, err);
	struct sl_env env = sl_run_env(n->x->run);
	return expr ? sl_expr_test(expr, &env, out, err) : SL_INVALID;
}

struct item_env {
	struct sl_run *run;
	struct json_object *item, *index;
};

static struct json_object *item_get(void *ctx, const struct sl_ref *ref)
{
	struct item_env *ie = ctx;
	struct sl_env rest = sl_run_env(ie->run);
	if (ref->root == SL_REF_ITEM)
		return ie->item;
	if (ref->root == SL_REF_INDEX)
		return ie->index;
	return rest.get(rest.ctx, ref);
}

enum sl_code sl_node_eval_item(struct sl_node *n, const char *pointer, struct json_object *item, int64_t index,
			       struct json_object **out, struct sl_error *err)
{
	const struct sl_expr *expr = expr_at(n, pointer, err);
	SL_AUTO_JSON i = json_object_new_int64(index);
	struct item_env ie = {n->x->run, item, i};
	struct sl_env env = {item_get, &ie};
	return expr ? sl_expr_eval(expr, &env, out, err) : SL_INVALID;
}

uint32_t sl_node_arrivals(struct sl_node *n, struct sl_arrival *out, uint32_t max)
{
	const struct sl_scope *sc = &n->x->run->state.root;
	const struct sl_node_def *def = n->x->def;
	for (uint32_t i = 0; i < def->n_in && i < max; i++) {
		uint32_t from = sc->graph->edges[def->in[i]].from;
		out[i].from = sc->graph->nodes[from].id;
		out[i].state = (enum sl_edge_state)sc->edges[def->in[i]];
		out[i].output = out[i].state == SL_EDGE_TAKEN ? sc->nodes[from].output : NULL;
	}
	return def->n_in;
}

uint32_t sl_node_edges_out(struct sl_node *n, const char **to, uint32_t max)
{
	const struct sl_graph *g = n->x->run->workflow->root;
	const struct sl_node_def *def = n->x->def;
	uint32_t count = 0;
	for (uint32_t i = 0; i < def->n_out; i++) {
		const char *id = g->nodes[g->edges[def->out[i]].to].id;
		bool seen = false;
		for (uint32_t k = 0; k < count && k < max && !seen; k++)
			seen = to[k] == id;
		if (seen)
			continue;
		if (count < max)
			to[count] = id;
		count++;
	}
	return count;
}

void sl_node_complete(struct sl_node *n, struct json_object *output)
{
	struct sl_error err;
	if (output)
		end_node(n, SL_OK, NULL, output);
	else
		end_node(n, sl_fail(&err, SL_NO_MEMORY, "no memory for an output"), &err, NULL);
}

void sl_node_fail(struct sl_node *n, const struct sl_error *err)
{
	end_node(n, err->code == SL_OK ? SL_INTERNAL : err->code, err, NULL);
}

void sl_node_choose(struct sl_node *n, const char *kase)
{
	free(n->kase);
	n->kase = sl_z(kase);
}

void sl_node_usage(struct sl_node *n, const struct sl_usage *u)
{
	sl_event_fini(&n->usage);
	n->has_usage = true;
	n->usage.input_tokens = u->input_tokens;
	n->usage.output_tokens = u->output_tokens;
	n->usage.cached_tokens = u->cached_tokens;
	n->usage.reasoning_tokens = u->reasoning_tokens;
	n->usage.cost_microusd = u->cost_microusd;
	n->usage.model = sl_z(u->model);
	n->usage.agent_id = sl_z(u->agent_id);
	n->usage.simulated = u->simulated;
}

void sl_node_event(struct sl_node *n, const char *name, struct json_object *data)
{
	if (n->announced) {
		struct sl_event e = {.kind = SL_EV_CUSTOM, .name = name, .data = data};
		(void)sl_run_emit(n->x->run, &e); /* false: the run is over */
		return;
	}
	struct custom *c = calloc(1, sizeof(*c));
	if (!c) {
		json_object_put(data);
		return; /* an event less; the node itself is told by its own allocations */
	}
	c->name = name;
	c->data = data;
	*n->events_end = c;
	n->events_end = &c->next;
}

static void node_timer(struct sl_run *r, void *arg)
{
	struct sl_node *n = arg;
	struct sl_exec *x = n->x;
	if (n->ended)
		return;
	n->waiting = false;
	x->depth++;
	n->timer_fn(n);
	x->depth--;
	settle(x);
}

enum sl_step sl_node_wait_ms(struct sl_node *n, uint64_t ms, void (*fn)(struct sl_node *n), struct sl_error *err)
{
	struct sl_run *r = n->x->run;
	const struct sl_node_state *ns = &r->state.root.nodes[n->x->index];
	if (ms > (uint64_t)INT64_MAX / 4)
		ms = (uint64_t)INT64_MAX / 4;
	n->due_ms = n->x->how == SL_EXEC_RESUMED && ns->due_ms ? ns->due_ms : sl_node_now_ms(n) + (int64_t)ms;
	n->timer_fn = fn;
	if (!sl_run_timer_start(&n->timer, r, sl_run_mono_of_wall(r, n->due_ms), node_timer, n)) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a timer");
		return SL_FAILED;
	}
	n->waiting = true;
	if (n->announced) {
		struct sl_event e = {.kind = SL_EV_NODE,
				     .status = SL_NODE_WAITING,
				     .attempt = n->attempt,
				     .due_ms = n->due_ms,
				     .type = n->x->def->type->name};
		e.path = sl_z(n->x->def->id);
		(void)sl_run_emit(r, &e); /* false: the run is over */
	}
	return SL_PENDING;
}

void sl_node_drop_timer(struct sl_node *n)
{
	sl_run_timer_stop(&n->timer);
}

void *sl_node_state(struct sl_node *n, size_t bytes)
{
	if (!n->state)
		n->state = calloc(1, bytes);
	return n->state;
}

struct sl_stream *sl_node_stream(struct sl_node *n)
{
	if (!n->stream) {
		struct sl_run *r = n->x->run;
		n->stream = sl_stream_new(r->id, sl_str(sl_node_path(n)), n->attempt);
		if (!n->stream)
			return NULL;
		sl_stream_unref(r->streams[n->x->index]);
		r->streams[n->x->index] = sl_stream_ref(n->stream);
		if (n->announced)
			sl_run_stream_begun(r, n->stream);
	}
	return n->stream;
}

/* ---- from other threads ---- */

struct sl_remote *sl_node_remote(struct sl_node *n)
{
	if (!n->remote) {
		n->remote = calloc(1, sizeof(*n->remote));
		if (!n->remote)
			return NULL;
		atomic_init(&n->remote->refs, 1);
		n->remote->run = sl_run_ref(n->x->run);
		n->remote->node = n;
	}
	return sl_remote_ref(n->remote);
}

struct sl_remote *sl_remote_ref(struct sl_remote *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void sl_remote_unref(struct sl_remote *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct sl_run *r = m->run;
	free(m);
	sl_run_unref(r);
}

struct remote_msg {
	struct sl_msg msg;
	struct sl_remote *remote;
	void (*fn)(struct sl_node *n, void *arg);
	void (*drop)(void *arg);
	void *arg;
};

static void remote_drop(struct sl_msg *m)
{
	struct remote_msg *rm = SL_CONTAINER_OF(m, struct remote_msg, msg);
	if (rm->drop)
		rm->drop(rm->arg);
	sl_remote_unref(rm->remote);
	free(rm);
}

static void remote_run(struct sl_run *r, struct sl_msg *m)
{
	struct remote_msg *rm = SL_CONTAINER_OF(m, struct remote_msg, msg);
	struct sl_node *n = rm->remote->node;
	if (!n || n->ended) {
		remote_drop(m);
		return;
	}
	struct sl_exec *x = n->x;
	x->depth++;
	rm->fn(n, rm->arg);
	x->depth--;
	settle(x);
	sl_remote_unref(rm->remote);
	free(rm);
}

enum sl_code sl_remote_call(struct sl_remote *m, void (*fn)(struct sl_node *n, void *arg), void (*drop)(void *arg),
			    void *arg)
{
	struct remote_msg *rm = calloc(1, sizeof(*rm));
	if (!rm)
		return SL_NO_MEMORY;
	rm->msg.run = remote_run;
	rm->msg.drop = remote_drop;
	rm->remote = sl_remote_ref(m);
	rm->fn = fn;
	rm->drop = drop;
	rm->arg = arg;
	sl_run_post(m->run, &rm->msg);
	return SL_OK;
}

struct json_object *sl_json_object_time(const char *key, int64_t wall_ms)
{
	char text[SL_TIME_TEXT_BYTES];
	struct json_object *o = json_object_new_object();
	if (o) {
		sl_time_format(wall_ms, text);
		sl_json_set_str(o, key, sl_str(text));
	}
	return o;
}

uint64_t sl_json_ms(struct json_object *o, const char *key)
{
	double s = sl_json_get_f64(o, key, 0);
	return s <= 0 ? 0 : s > 1e12 ? (uint64_t)1e15 : (uint64_t)(s * 1000 + 0.5);
}

/* ---- what a middleware may ask ---- */

const struct sl_node_def *sl_exec_def(const struct sl_exec *x)
{
	return x->def;
}

struct sl_node *sl_exec_node(struct sl_exec *x)
{
	return x->node;
}

uint32_t sl_exec_tries(const struct sl_exec *x)
{
	return x->tries;
}

uint64_t sl_exec_random(struct sl_exec *x)
{
	uint64_t z = (x->run->random += 0x9e3779b97f4a7c15u); /* SplitMix64, Steele, Lea and Flood 2014 */
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static struct mw_slot *slot_of(struct sl_exec *x, const struct sl_middleware *m)
{
	for (size_t i = 0; i < x->n_mw; i++)
		if (mw_of(x, i) == m)
			return &x->mw[i];
	return NULL;
}

void *sl_exec_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes)
{
	struct mw_slot *s = slot_of(x, m);
	if (s && !s->state)
		s->state = calloc(1, bytes);
	return s ? s->state : NULL;
}

static void deadline_hit(struct sl_run *r, void *arg)
{
	struct mw_slot *s = arg;
	struct sl_exec *x = s->deadline_exec;
	struct sl_node *n = x->node;
	if (!n || n->ended)
		return;
	x->depth++;
	if (n->started && x->def->type->cancel)
		x->def->type->cancel(n);
	end_node(n, s->deadline_err.code, &s->deadline_err, NULL);
	x->depth--;
	settle(x);
}

enum sl_code sl_exec_deadline(struct sl_exec *x, const struct sl_middleware *m, uint64_t ms, const struct sl_error *err)
{
	struct mw_slot *s = slot_of(x, m);
	const struct sl_clock *c = x->run->engine->config.clock;
	const struct sl_node_state *ns = &x->run->state.root.nodes[x->index];
	if (!s)
		return SL_INTERNAL;
	if (x->how == SL_EXEC_RESUMED && ns->started_ms) { /* it has waited before */
		int64_t gone = sl_clock_wall(c) - ns->started_ms;
		ms = gone > 0 && (uint64_t)gone < ms ? ms - (uint64_t)gone : gone > 0 ? 0 : ms;
	}
	s->deadline_err = *err;
	s->deadline_exec = x;
	return sl_run_timer_start(&s->deadline, x->run, sl_clock_mono(c) + ms, deadline_hit, s) ? SL_OK : SL_NO_MEMORY;
}

void sl_exec_resume(struct sl_exec *x)
{
	if (!x->delayed)
		return;
	x->mw[x->at].entered = true;
	x->at++;
	enter_next(x);
}

void sl_exec_answer(struct sl_exec *x, struct json_object *output)
{
	json_object_put(x->answer);
	x->answer = output;
}

void sl_exec_reason(struct sl_exec *x, const char *reason)
{
	free(x->reason);
	x->reason = sl_z(reason);
}

enum sl_code sl_exec_eval(struct sl_exec *x, const struct sl_template *t, struct json_object **out,
			  struct sl_error *err)
{
	struct sl_env env = sl_run_env(x->run);
	return sl_template_eval(t, &env, out, err);
}
