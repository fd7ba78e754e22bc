/* engine/middleware.c: what a middleware may ask of the execution it stands around: who and where it is, memory,
 * deadlines, to be asked again, to see a stream. See middleware.h; the chain itself is driven by exec.c. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/exec_priv.h"

static const struct sl_middleware *mw_of(const struct sl_exec *x, size_t i)
{
	return x->run->engine->middleware[i];
}

const struct sl_node_def *sl_exec_def(const struct sl_exec *x)
{
	return x->def;
}

struct sl_node *sl_exec_node(struct sl_exec *x)
{
	return x->node;
}

const struct sl_workflow *sl_exec_workflow(const struct sl_exec *x)
{
	return x->run->workflow;
}

struct sl_run_id sl_exec_run(const struct sl_exec *x)
{
	return x->run->id;
}

const char *sl_exec_path(const struct sl_exec *x)
{
	return x->path;
}

const char *sl_exec_project(const struct sl_exec *x)
{
	return x->run->head->project;
}

const struct sl_clock *sl_exec_clock(const struct sl_exec *x)
{
	return x->run->engine->config.clock;
}

struct sl_services *sl_exec_services(const struct sl_exec *x)
{
	return x->run->engine->config.services;
}

struct json_object *sl_exec_params(struct sl_exec *x)
{
	return x->params;
}

struct json_object *sl_exec_said(const struct sl_exec *x)
{
	return x->run->state.said;
}

struct sl_node_route *sl_exec_route(struct sl_exec *x)
{
	return &x->route;
}

const struct sl_usage *sl_exec_usage(const struct sl_exec *x)
{
	return x->node && x->node->has_usage ? &x->node->reported : NULL;
}

void sl_exec_spent(const struct sl_exec *x, uint64_t *tokens, int64_t *cost_microusd)
{
	*tokens = x->spent_tokens;
	*cost_microusd = x->spent_microusd;
}

void sl_exec_run_totals(const struct sl_exec *x, struct sl_run_totals *out)
{
	const struct sl_run_state *s = &x->run->state;
	*out = (struct sl_run_totals){
		.tokens = s->input_tokens + s->output_tokens,
		.cost_microusd = s->cost_microusd,
		.started_ms = s->started_ms,
		.idle_ms = s->paused_ms + s->waited_ms,
		.depth = s->depth,
	};
	/* what goes on now counts, too: after a restart a node is begun again while its run still waits */
	int64_t since = s->paused_since_ms ? s->paused_since_ms : s->waiting_since_ms;
	if (since)
		out->idle_ms += sl_clock_wall(x->run->engine->config.clock) - since;
	for (const struct sl_scope *sc = x->scope; sc->parent; sc = sc->parent)
		out->depth++;
}

void *sl_exec_run_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes)
{
	for (size_t i = 0; i < x->n_mw; i++) {
		if (mw_of(x, i) != m)
			continue;
		if (!x->run->mw_state[i])
			x->run->mw_state[i] = calloc(1, bytes);
		return x->run->mw_state[i];
	}
	return NULL;
}

uint32_t sl_exec_tries(const struct sl_exec *x)
{
	return x->tries;
}

uint32_t sl_exec_earlier_tries(const struct sl_exec *x)
{
	return x->earlier;
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
	struct mw_deadline *d = arg;
	struct sl_exec *x = d->exec;
	struct sl_node *n = x->node;
	if (!n || n->ended)
		return;
	x->depth++;
	bool off = sl_run_off_begin(r, SL_OFF_TIMEOUT, 0);
	if (n->started && sl_node_type_of(n)->cancel)
		sl_node_type_of(n)->cancel(n);
	sl_run_off_end(r, off);
	sl_node_end(n, d->err.code, &d->err, NULL);
	x->depth--;
	sl_exec_settle(x);
}

enum sl_code sl_exec_deadline(struct sl_exec *x, const struct sl_middleware *m, uint64_t ms, const struct sl_error *err)
{
	struct mw_slot *s = slot_of(x, m);
	const struct sl_clock *c = x->run->engine->config.clock;
	const struct sl_node_state *ns = &x->scope->nodes[x->index];
	if (!s)
		return SL_INTERNAL;
	if (x->how == SL_EXEC_RESUMED && ns->attempt_ms) { /* it has waited before */
		int64_t gone = sl_clock_wall(c) - ns->attempt_ms;
		ms = gone > 0 && (uint64_t)gone < ms ? ms - (uint64_t)gone : gone > 0 ? 0 : ms;
	}
	if (!s->deadline && !(s->deadline = calloc(1, sizeof(*s->deadline))))
		return SL_NO_MEMORY;
	s->deadline->exec = x;
	s->deadline->err = *err;
	return sl_run_timer_start(&s->deadline->timer, x->run, sl_clock_mono(c) + ms, deadline_hit, s->deadline)
		       ? SL_OK
		       : SL_NO_MEMORY;
}

void sl_exec_drop_deadline(struct mw_slot *s)
{
	if (!s->deadline)
		return;
	sl_run_timer_stop(&s->deadline->timer);
	free(SL_TAKE(s->deadline));
}

static void recheck_due(struct sl_run *r, void *arg)
{
	struct sl_exec *x = arg;
	if (x->only_looks && (r->state.status == SL_RUN_PAUSED || r->state.status == SL_RUN_LOCKED))
		x->recheck_due = true;
	else
		sl_exec_ask_again(x);
}

static void recheck(struct sl_exec *x, uint64_t ms, bool only_looks)
{
	struct sl_run *r = x->run;
	x->only_looks = only_looks;
	if (!sl_run_timer_start(&x->recheck, r, sl_clock_mono(r->engine->config.clock) + ms, recheck_due, x))
		sl_run_fail(r, SL_NO_MEMORY, "no memory for a timer", x->path);
}

void sl_exec_recheck_ms(struct sl_exec *x, uint64_t ms)
{
	recheck(x, ms, false);
}

void sl_exec_look_again_ms(struct sl_exec *x, uint64_t ms)
{
	recheck(x, ms, true);
}

struct sl_waker *sl_exec_waker(struct sl_exec *x)
{
	if (!x->waker) {
		x->waker = calloc(1, sizeof(*x->waker));
		if (!x->waker)
			return NULL;
		atomic_init(&x->waker->refs, 1);
		x->waker->run = sl_run_ref(x->run);
		x->waker->x = x;
	}
	return sl_waker_ref(x->waker);
}

struct sl_waker *sl_waker_ref(struct sl_waker *w)
{
	atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
	return w;
}

void sl_waker_unref(struct sl_waker *w)
{
	if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct sl_run *r = w->run;
	free(w);
	sl_run_unref(r);
}

struct wake_msg {
	struct sl_msg msg;
	struct sl_waker *waker;
};

static void wake_drop(struct sl_msg *m)
{
	struct wake_msg *wm = SL_CONTAINER_OF(m, struct wake_msg, msg);
	sl_waker_unref(wm->waker);
	free(wm);
}

static void wake_run(struct sl_run *r, struct sl_msg *m)
{
	struct wake_msg *wm = SL_CONTAINER_OF(m, struct wake_msg, msg);
	if (wm->waker->x)
		sl_exec_ask_again(wm->waker->x);
	wake_drop(m);
}

void sl_waker_wake(struct sl_waker *w)
{
	struct wake_msg *wm = calloc(1, sizeof(*wm));
	if (!wm)
		return; /* whoever waits has set a time to look again, too */
	wm->msg.run = wake_run;
	wm->msg.drop = wake_drop;
	wm->waker = sl_waker_ref(w);
	sl_run_post(w->run, &wm->msg);
}

/* ---- watching what an attempt streams ---- */

static enum sl_code watches_see(struct sl_stream_tap *t, enum sl_stream_kind kind, struct sl_str piece)
{
	struct watches *w = (struct watches *)t;
	for (size_t i = 0; i < w->n; i++) {
		enum sl_code rc = w->list[i]->see(w->list[i], kind, piece, &w->trip);
		if (rc != SL_OK)
			return rc;
	}
	return SL_OK;
}

static void watches_free(struct sl_stream_tap *t)
{
	struct watches *w = (struct watches *)t;
	for (size_t i = 0; i < w->n; i++)
		w->list[i]->free(w->list[i]);
	free(w);
}

void sl_exec_watch_stream(struct sl_exec *x, struct sl_stream *s)
{
	struct watches *w = NULL;
	for (size_t i = 0; i < x->n_mw; i++) {
		const struct sl_middleware *m = mw_of(x, i);
		struct sl_watch *watch = x->mw[i].entered && m->watch ? m->watch(x) : NULL;
		if (!watch)
			continue;
		if (!w && !(w = calloc(1, sizeof(*w) + x->n_mw * sizeof(w->list[0])))) {
			watch->free(watch);
			return;
		}
		w->list[w->n++] = watch;
	}
	if (!w)
		return;
	w->tap.see = watches_see;
	w->tap.free = watches_free;
	sl_stream_tap(s, &w->tap);
}

void sl_exec_trip(struct sl_exec *x, const struct sl_trip *trip)
{
	sl_run_trip(x->run, trip, x->path);
}

void sl_exec_event(struct sl_exec *x, const char *name, struct json_object *data)
{
	struct sl_event e = {.kind = SL_EV_CUSTOM, .name = name, .data = data};
	(void)sl_run_emit(x->run, &e); /* false: the run is over */
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
	struct sl_env env = sl_scope_env(x->scope);
	return sl_template_eval(t, &env, out, err);
}
