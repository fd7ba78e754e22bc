/* engine/node.c: what a running node may ask of the engine, and the way back to it from other threads. See node.h. */
#include <sodium.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/exec_priv.h"

const char *sl_node_path(const struct sl_node *n)
{
	return n->x->path;
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

const char *sl_node_project(const struct sl_node *n)
{
	return n->x->run->head->project;
}

struct sl_services *sl_node_services(const struct sl_node *n)
{
	return n->x->run->engine->config.services;
}

const struct sl_node_route *sl_node_route(const struct sl_node *n)
{
	return &n->x->route;
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
	uint32_t redone = n->x->scope->nodes[n->x->index].redone;
	if (redone) /* it had ended and is done again because a person wants it: no repeat, but another one */
		crypto_generichash_update(&st, (const unsigned char *)&redone, sizeof(redone));
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
	struct sl_env env = sl_scope_env(n->x->scope);
	return expr ? sl_expr_eval(expr, &env, out, err) : SL_INVALID;
}

enum sl_code sl_node_test(struct sl_node *n, const char *pointer, bool *out, struct sl_error *err)
{
	const struct sl_expr *expr = expr_at(n, pointer, err);
	struct sl_env env = sl_scope_env(n->x->scope);
	return expr ? sl_expr_test(expr, &env, out, err) : SL_INVALID;
}

struct item_env {
	struct sl_scope *scope;
	struct json_object *item, *index;
};

static struct json_object *item_get(void *ctx, const struct sl_ref *ref)
{
	struct item_env *ie = ctx;
	struct sl_env rest = sl_scope_env(ie->scope);
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
	struct item_env ie = {n->x->scope, item, i};
	struct sl_env env = {item_get, &ie};
	return expr ? sl_expr_eval(expr, &env, out, err) : SL_INVALID;
}

static struct sl_scope *body_of(const struct sl_node *n, uint32_t number)
{
	const struct sl_node_state *ns = &n->x->scope->nodes[n->x->index];
	return number && number <= ns->n_bodies ? ns->bodies[number - 1] : NULL;
}

enum sl_code sl_node_body_begin(struct sl_node *n, uint32_t number, struct json_object *bindings, struct sl_error *err)
{
	struct sl_scope *body = NULL;
	enum sl_code rc = sl_scope_body(n->x->scope, n->x->index, number, &body);
	if (rc != SL_OK) {
		json_object_put(bindings);
		return rc == SL_LIMIT ? sl_fail(err, rc, "'%s' has more than %d bodies", n->x->path, SL_LIMIT_BODIES)
				      : sl_fail(err, rc, "no memory for a body of '%s'", n->x->path);
	}
	json_object_put(body->bindings);
	body->bindings = bindings;
	struct sl_scope *before = body_of(n, number - 1);
	if (before && before->folded) { /* it was begun after a restart, to be looked at once more */
		json_object_put(before->bindings);
		before->bindings = NULL;
	}
	sl_body_begun(body);
	SL_CRASH_POINT_OF("body.begun", n->x->path);
	return SL_OK;
}

bool sl_node_is_container(const struct sl_node *n)
{
	return n->x->def->body != NULL;
}

uint32_t sl_node_bodies(const struct sl_node *n)
{
	return n->x->scope->nodes[n->x->index].n_bodies;
}

enum sl_body_status sl_node_body_status(const struct sl_node *n, uint32_t number)
{
	const struct sl_scope *body = body_of(n, number);
	if (!body)
		return SL_BODY_ABSENT;
	return body->failed ? SL_BODY_FAILED : sl_scope_ended(body) ? SL_BODY_ENDED : SL_BODY_RUNNING;
}

struct json_object *sl_node_body_outputs(const struct sl_node *n, uint32_t number)
{
	const struct sl_scope *body = body_of(n, number);
	return body ? sl_body_outputs(body) : json_object_new_object();
}

struct json_object *sl_node_body_result(const struct sl_node *n, uint32_t number)
{
	const struct sl_scope *body = body_of(n, number);
	return body ? sl_body_result(body) : json_object_new_object();
}

enum sl_code sl_node_body_error(const struct sl_node *n, uint32_t number, struct sl_error *err)
{
	const struct sl_scope *body = body_of(n, number);
	if (!body || !body->failed)
		return sl_fail(err, SL_INTERNAL, "body %u of '%s' has not failed", number, n->x->path);
	return sl_body_error(body, err);
}

enum sl_code sl_node_eval_body(struct sl_node *n, const char *pointer, uint32_t number, struct json_object **out,
			       struct sl_error *err)
{
	const struct sl_expr *expr = expr_at(n, pointer, err);
	struct sl_scope *body = body_of(n, number);
	if (!expr || !body)
		return expr ? sl_fail(err, SL_INTERNAL, "'%s' has no body %u", n->x->path, number) : SL_INVALID;
	struct sl_env env = sl_scope_env(body);
	return sl_expr_eval(expr, &env, out, err);
}

void sl_node_busy(struct sl_node *n, bool busy)
{
	if (busy == n->busy || (busy && (n->ended || !n->x->def->body)))
		return;
	n->busy = busy;
	n->x->run->n_busy += busy ? 1 : -1;
}

uint32_t sl_node_arrivals(struct sl_node *n, struct sl_arrival *out, uint32_t max)
{
	const struct sl_scope *sc = n->x->scope;
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
	const struct sl_graph *g = n->x->scope->graph;
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
		sl_node_end(n, SL_OK, NULL, output);
	else
		sl_node_end(n, sl_fail(&err, SL_NO_MEMORY, "no memory for an output"), &err, NULL);
}

void sl_node_fail(struct sl_node *n, const struct sl_error *err)
{
	sl_node_end(n, err->code == SL_OK ? SL_INTERNAL : err->code, err, NULL);
}

void sl_node_choose(struct sl_node *n, const char *kase)
{
	free(n->kase);
	n->kase = sl_z(kase);
}

const char *sl_node_off_reason(const struct sl_node *n, uint64_t *ordered_at_us)
{
	const struct sl_run *r = n->x->run;
	*ordered_at_us = r->off_reason ? r->off_at_us : 0;
	return r->off_reason ? r->off_reason : SL_OFF_NOT_NEEDED;
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
	n->usage.estimated = u->estimated;
	n->reported = *u;
	n->reported.model = n->usage.model;
	n->reported.agent_id = n->usage.agent_id;
}

void sl_node_event(struct sl_node *n, const char *name, struct json_object *data)
{
	if (data && !sl_json_get(data, "node_id"))
		sl_json_set_str(data, "node_id", sl_str(n->x->path));
	if (n->announced) {
		struct sl_event e = {.kind = SL_EV_CUSTOM, .name = name, .data = data};
		e.path = sl_z(n->x->path);
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

uint32_t sl_node_events(const struct sl_node *n)
{
	uint32_t count = n->x->scope->nodes[n->x->index].customs;
	for (const struct custom *c = n->events; c; c = c->next)
		count++;
	return count;
}

uint32_t sl_node_attempt_events(const struct sl_node *n)
{
	return sl_node_events(n) - n->x->scope->nodes[n->x->index].customs_before;
}

void sl_node_on_end(struct sl_node *n, sl_node_end_fn *fn)
{
	n->end_fn = fn;
}

struct json_object *sl_node_params(const struct sl_node *n)
{
	return n->x->params;
}

uint64_t sl_node_took_ms(const struct sl_node *n)
{
	return sl_clock_mono(n->x->run->engine->config.clock) - n->x->began_ms;
}

enum sl_step sl_node_as(struct sl_node *n, const char *type, struct json_object *params, struct sl_error *err)
{
	const struct sl_registry *registry = n->x->run->engine->registry;
	const struct sl_node_type *t = sl_registry_find(registry, type);
	struct sl_problems problems = {0};
	if (!t || t->body) {
		(void)sl_fail(err, SL_NOT_FOUND, "this server has no node type '%s' for it", type);
		return SL_FAILED;
	}
	if (!sl_schema_defaults(sl_registry_schema(registry, t), params)) {
		(void)sl_fail(err, SL_NO_MEMORY, "parameters");
		return SL_FAILED;
	}
	bool fits = sl_schema_check(sl_registry_schema(registry, t), params, SL_SCHEMA_STRICT, SL_STR(""), &problems);
	if (!fits)
		(void)sl_fail(err, SL_INVALID, SL_PROBLEM_FMT, SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	if (!fits)
		return SL_FAILED;
	n->as = t;
	return t->start(n, params, err);
}

uint32_t sl_node_run_events(const struct sl_node *n, const char *name)
{
	const struct sl_run_state *s = &n->x->run->state;
	uint32_t count = 0;
	for (uint32_t i = 0; i < s->n_told; i++)
		if (strcmp(s->told[i].name, name) == 0)
			count += s->told[i].n;
	for (const struct custom *c = n->events; c; c = c->next)
		count += strcmp(c->name, name) == 0;
	return count;
}

static void call_back(struct sl_node *n, void (*fn)(struct sl_node *n))
{
	struct sl_exec *x = n->x;
	if (n->ended)
		return;
	x->depth++;
	SL_CRASH_POINT_OF("timer.fired", n->x->path);
	uint64_t began_us = sl_clock_mono_us();
	fn(n);
	x->work_us += sl_clock_mono_us() - began_us;
	x->depth--;
	sl_exec_settle(x);
}

static void node_timer(struct sl_run *r, void *arg)
{
	struct sl_node *n = arg;
	/* Both clocks are cut to whole milliseconds, each at moments of its own, so the time may be up one too early;
	 * people see what is written, and that must not be before `due_ms`. More than that is a wall clock that was set
	 * back. */
	int64_t left = n->due_ms - sl_node_now_ms(n);
	if (left > 0 && left <= 2 && sl_run_timer_start(&n->timer, r, sl_run_mono_of_wall(r, n->due_ms), node_timer, n))
		return;
	n->waiting = false;
	call_back(n, n->timer_fn);
}

static void node_alarm(struct sl_run *r, void *arg)
{
	struct sl_node *n = arg;
	call_back(n, n->alarm_fn);
}

/* due_ms: when nothing was journaled. */
static enum sl_step wait_due(struct sl_node *n, int64_t due_ms, bool by_wall, void (*fn)(struct sl_node *n),
			     struct sl_error *err)
{
	struct sl_run *r = n->x->run;
	const struct sl_node_state *ns = &n->x->scope->nodes[n->x->index];
	n->due_ms = n->x->how == SL_EXEC_RESUMED && ns->due_ms ? ns->due_ms : due_ms;
	n->timer_fn = fn;
	if (!(by_wall ? sl_run_timer_start_wall(&n->timer, r, n->due_ms, node_timer, n)
		      : sl_run_timer_start(&n->timer, r, sl_run_mono_of_wall(r, n->due_ms), node_timer, n))) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a timer");
		return SL_FAILED;
	}
	SL_CRASH_POINT_OF("timer.armed", n->x->path);
	n->waiting = true;
	if (n->announced) {
		struct sl_event e = {.kind = SL_EV_NODE,
				     .status = SL_NODE_WAITING,
				     .attempt = n->attempt,
				     .due_ms = n->due_ms,
				     .type = n->x->def->type->name};
		e.path = sl_z(n->x->path);
		(void)sl_run_emit(r, &e); /* false: the run is over */
	}
	return SL_PENDING;
}

enum sl_step sl_node_wait_ms(struct sl_node *n, uint64_t ms, void (*fn)(struct sl_node *n), struct sl_error *err)
{
	if (ms > (uint64_t)INT64_MAX / 4)
		ms = (uint64_t)INT64_MAX / 4;
	return wait_due(n, sl_node_now_ms(n) + (int64_t)ms, false, fn, err);
}

enum sl_step sl_node_wait_until(struct sl_node *n, int64_t wall_ms, void (*fn)(struct sl_node *n), struct sl_error *err)
{
	return wait_due(n, wall_ms, true, fn, err);
}

bool sl_node_alarm(struct sl_node *n, uint64_t before_ms, void (*fn)(struct sl_node *n))
{
	struct sl_run *r = n->x->run;
	if (before_ms > (uint64_t)INT64_MAX / 4)
		before_ms = (uint64_t)INT64_MAX / 4;
	n->alarm_fn = fn;
	return sl_run_timer_start(&n->alarm, r, sl_run_mono_of_wall(r, n->due_ms - (int64_t)before_ms), node_alarm, n);
}

enum sl_step sl_node_wait(struct sl_node *n)
{
	n->waiting = true;
	return SL_PENDING;
}

int64_t sl_node_due_ms(const struct sl_node *n)
{
	return n->due_ms ? n->due_ms : n->x->scope->nodes[n->x->index].due_ms;
}

struct json_object *sl_node_signal(struct sl_node *n, const char *name, uint64_t *seq)
{
	struct json_object *all = n->x->run->state.signals;
	for (size_t i = 0; all && i < json_object_array_length(all); i++) {
		struct json_object *o = json_object_array_get_idx(all, i);
		if (sl_str_is(sl_json_get_str(o, "signal"), name)) {
			*seq = (uint64_t)sl_json_get_i64(o, "seq", 0);
			return o;
		}
	}
	return NULL;
}

void sl_node_took(struct sl_node *n, uint64_t seq)
{
	n->took = seq;
}

struct json_object *sl_node_said(struct sl_node *n)
{
	return n->x->run->state.said;
}

void sl_node_drop_timer(struct sl_node *n)
{
	sl_run_timer_stop(&n->timer);
	sl_run_timer_stop(&n->alarm);
}

void sl_node_pass_on(struct sl_node *n, struct json_object *word)
{
	json_object_put(n->x->next_word);
	n->x->next_word = word;
}

struct json_object *sl_node_passed_on(const struct sl_node *n)
{
	return n->x->word;
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
		sl_exec_watch_stream(n->x, n->stream);
		struct sl_stream **latest = &n->x->scope->rt[n->x->index].stream;
		sl_stream_unref(*latest);
		*latest = sl_stream_ref(n->stream);
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
	uint64_t began_us = sl_clock_mono_us();
	rm->fn(n, rm->arg);
	x->work_us += sl_clock_mono_us() - began_us;
	x->depth--;
	sl_exec_settle(x);
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
