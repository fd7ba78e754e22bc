/* engine/child.c: runs that a node of another run starts.
 *
 * A child is submitted under the node's idempotency key, so a parent that was restarted finds the child it started
 * before; the two need not even live in the same server. What is asked elsewhere (the library, the journal, the child)
 * comes back through the parent's mailbox, or is dropped when the attempt is over.
 *
 * The node of a parent that was retried goes on with the child it had, when that is still what it would begin. The
 * child is retried once for each generation of its parent, and its journal says for which: whoever asks again, after a
 * crash or because two servers think that the parent is theirs, finds it done.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/child_priv.h"

static void ordered(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	/* a child that has ended meanwhile, or does so anyway: nothing to do */
}

void sl_child_order(struct sl_engine *e, struct sl_run_id id, enum sl_command_kind kind, uint64_t at_us)
{
	const struct sl_order o = {
		.kind = kind, .by = SL_STR(SL_BY_PARENT), .reason = SL_STR(SL_WITH_PARENT), .at_us = at_us};
	if (sl_engine_command(e, id, &o, ordered, NULL) != SL_OK)
		sl_log(SL_LOG_WARN, "engine", "a child run could not be told", SL_KU("order", kind));
}

struct child {
	_Atomic uint32_t refs;
	_Atomic bool unwanted; /* by the parent, and that is committed */
	_Atomic bool known;    /* `id` is true */
	struct sl_engine *engine;
	struct sl_remote *remote; /* of the parent's node */
	sl_child_fn *fn;
	struct sl_run_timer *again; /* [run of the parent] */
	struct sl_run_head *head;   /* until it is submitted; [store] while `earlier` is looked at */
	struct sl_run_id id;        /* once `known` */
	struct sl_run_id earlier;   /* of the parent as it was: to go on with; zero: none, or not any more */
	int64_t seen_ms;            /* see struct sl_node_child */
	uint32_t generation;        /* of the parent */
	bool tail;                  /* `earlier` still does what it did for the parent as it was */
	bool started;               /* [run of the parent] the node knows of it */
	bool dropped;               /* [run of the parent] */
	bool cut;                   /* [run of the parent] it was paused `now`, or locked, when it last was */
	uint64_t off_at_us;         /* when somebody asked for that; 0: nobody did. Set before `unwanted` */
};

static bool has_earlier(const struct child *c)
{
	return !sl_run_id_eq(c->earlier, (struct sl_run_id){0});
}

/* Something that came for the parent. */
struct news {
	struct child *child;
	enum sl_code rc;
	bool has_id;
	struct sl_run_id id;
	struct sl_bytes *text; /* definition, or outputs */
	enum earlier earlier;  /* what is to be done with it */
	int32_t version;
	const char *status; /* of a child that is elsewhere; "": not known */
	struct sl_figures took;
	bool has_took;
	struct sl_run_id *left; /* took.open */
	struct sl_error err;
};

static struct child *child_ref(struct child *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

static void child_unref(struct child *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	sl_remote_unref(c->remote);
	sl_run_head_free(c->head);
	free(c);
}

/* [any] Whoever comes second of the two, the decision of the parent or the id of the child, tells it. */
static void cancel_unwanted(struct child *c)
{
	if (atomic_load(&c->unwanted) && atomic_load(&c->known) && !atomic_load(&c->engine->stopping))
		sl_child_order(c->engine, c->id, SL_CMD_CANCEL, c->off_at_us);
}

static void child_known(struct child *c, struct sl_run_id id)
{
	if (!atomic_load(&c->known))
		c->id = id;
	atomic_store(&c->known, true);
	cancel_unwanted(c);
}

/* The attempt is over before its child was known: what nobody wants any more is cancelled. */
static void news_drop(void *arg)
{
	struct news *n = arg;
	if (n->has_id)
		child_known(n->child, n->id);
	sl_bytes_unref(n->text);
	child_unref(n->child);
	free(n->left);
	free(n);
}

/* Takes n. */
static void send(struct news *n, void (*fn)(struct sl_node *node, void *arg))
{
	if (sl_remote_call(n->child->remote, fn, news_drop, n) != SL_OK)
		news_drop(n); /* no memory to say that there is none: the node's timeout, or the run's, ends it */
}

static struct news *news_new(struct child *c, enum sl_code rc)
{
	struct news *n = calloc(1, sizeof(*n));
	if (n) {
		n->child = child_ref(c);
		n->status = "";
		n->rc = rc;
		n->err.code = rc;
	}
	return n;
}

static void child_end(struct sl_node *n, struct child *c, struct json_object *outputs, const struct sl_error *err)
{
	c->fn(n, c->id, outputs, err);
}

static void ask(struct sl_node *n, struct child *c);
static void look(struct sl_node *n, struct child *c);

static void ask_again(struct sl_run *r, void *arg)
{
	struct sl_node *n = arg;
	struct sl_exec *x = n->x;
	if (n->ended || !n->child)
		return;
	struct child *c = n->child;
	struct sl_run *here = sl_engine_find(c->engine, c->id);
	bool held = sl_run_is_held(r);
	if (here) /* it has been somewhere else, and there nobody told it */
		sl_child_order(c->engine, c->id, held ? SL_CMD_PAUSE_DRAIN : SL_CMD_RESUME, 0);
	sl_run_unref(here);
	x->depth++;
	ask(n, n->child);
	x->depth--;
	sl_exec_settle(x);
}

/* [run of the parent] The child is elsewhere, and what it was told may have been lost on the way, or have come in
 * another order: how both stand decides. */
static void agree(struct sl_run *r, struct child *c, const char *status)
{
	if (sl_run_is_held(r) && sl_status_goes_on(status))
		sl_child_order(c->engine, c->id, c->cut ? SL_CMD_PAUSE_NOW : SL_CMD_PAUSE_DRAIN, 0);
	else if (!sl_run_is_held(r) && sl_status_stands_still(status))
		sl_child_order(c->engine, c->id, SL_CMD_RESUME, 0); /* nothing, when a person has paused it */
}

/* What a child took is told with the end of the attempt that heard of its end. */
static void book(struct sl_node *n, const struct news *news)
{
	struct sl_run *r = n->x->run;
	struct sl_run_id id = news->child->id;
	struct sl_figures before = {0};
	if (!news->has_took)
		return;
	bool open = sl_state_is_open(&r->state, id);
	if (news->rc == SL_UNAVAILABLE) {
		sl_run_child_seen(r, id, &news->took);
	} else if (!n->child_took && (open || sl_node_child_took(&n->x->scope->nodes[n->x->index], id, &before))) {
		sl_run_child_ended(r, id, &news->took, open ? NULL : &before, news->err.code != SL_OK);
		n->child_took = sl_figures_json(id, &news->took);
		if (!n->child_took)
			sl_json_lost(); /* the run is laid aside, and told again */
	}
}

/* [run of the parent] */
static void child_ended(struct sl_node *n, void *arg)
{
	struct news *news = arg;
	struct child *c = news->child;
	SL_AUTO_JSON outputs = NULL;
	struct sl_error err = news->err;
	SL_CRASH_POINT("child.ended");
	if (!(news->rc == SL_OK && err.code != SL_OK && c->tail)) /* else that is not its end yet */
		book(n, news);
	if (news->rc == SL_UNAVAILABLE) {
		struct sl_run *r = n->x->run;
		agree(r, c, news->status);
		if (!sl_run_timer_start(&c->again, r, sl_clock_mono(r->engine->config.clock) + CHILD_ASK_AGAIN_MS,
					ask_again, n)) {
			(void)sl_fail(&err, SL_NO_MEMORY, "no memory for a timer");
			child_end(n, c, NULL, &err);
		}
	} else if (news->rc == SL_OK && err.code != SL_OK && c->tail) {
		look(n, c);
	} else if (news->rc != SL_OK || err.code != SL_OK) {
		child_end(n, c, NULL, &err);
	} else if (news->text && sl_json_parse(sl_bytes_str(news->text), &outputs, &err) != SL_OK) {
		child_end(n, c, NULL, &err);
	} else {
		child_end(n, c, outputs, NULL);
	}
	news_drop(news);
}

static void note_took(struct news *n, const struct sl_figures *took)
{
	if (!took)
		return;
	n->has_took = true;
	n->took = *took;
	n->left = took->n_open ? calloc(took->n_open, sizeof(*n->left)) : NULL;
	n->took.open = n->left;
	if (n->left)
		memcpy(n->left, took->open, took->n_open * sizeof(*n->left));
	else
		n->took.n_open = 0; /* also without memory: then what is still to come of them is not counted */
}

/* [any] */
static void on_end(void *arg, enum sl_code rc, const char *status, struct sl_bytes *outputs,
		   const struct sl_figures *took, const struct sl_error *err)
{
	struct child *c = arg;
	/* a server that stops takes no messages any more */
	struct news *n = atomic_load(&c->engine->stopping) ? NULL : news_new(c, rc);
	if (n) {
		if (err && rc == SL_OK)
			n->err = *err;
		n->text = sl_bytes_ref(outputs);
		n->status = status; /* a constant */
		note_took(n, took);
		send(n, child_ended);
	}
	child_unref(c);
}

static void ask(struct sl_node *n, struct child *c)
{
	struct sl_error err;
	enum sl_code rc = sl_engine_await(c->engine, c->id, on_end, child_ref(c));
	if (rc == SL_OK)
		return;
	child_unref(c);
	(void)sl_fail(&err, rc, "the child run could not be asked for");
	child_end(n, c, NULL, &err);
}

/* [run of the parent] There is a child: it is told, and its end awaited. */
static void go_on_with(struct sl_node *n, struct child *c, struct sl_run_id of)
{
	struct sl_run *r = n->x->run;
	SL_CRASH_POINT("child.started");
	child_known(c, of);
	c->started = true;
	if (!sl_node_events(n)) {
		char id[SL_UUID_TEXT_BYTES];
		struct json_object *e = json_object_new_object();
		sl_uuid_format(c->id.u, id);
		if (e)
			sl_json_set_str(e, "run_id", sl_str(id));
		const struct sl_node_state *ns = &n->x->scope->nodes[n->x->index];
		struct sl_figures f;
		SL_AUTO_JSON took = NULL;
		if (!sl_state_is_open(&r->state, c->id) && sl_node_child_took(ns, c->id, &f))
			took = json_object_get(ns->child->took);
		sl_node_event(n, sl_child_started, e);
		if (took)
			sl_run_child_reopened(r, took);
	}
	sl_run_child_started(r, c->id);
	bool held = sl_run_is_held(r);
	if (held || r->recoveries || has_earlier(c)) /* in another life it may have been told otherwise */
		sl_child_order(c->engine, c->id, held ? SL_CMD_PAUSE_DRAIN : SL_CMD_RESUME, 0);
	ask(n, c);
}

/* [run of the parent] */
static void child_started(struct sl_node *n, void *arg)
{
	struct news *news = arg;
	struct child *c = news->child;
	if (news->rc == SL_OK) {
		news->has_id = false;
		go_on_with(n, c, news->id);
	} else {
		struct sl_error err;
		(void)sl_fail(&err, news->rc, "the child run could not be started");
		child_end(n, c, NULL, &err);
	}
	news_drop(news);
}

/* [store] */
static void on_submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request)
{
	struct child *c = arg;
	struct news *n = news_new(c, rc == SL_CONFLICT ? SL_OK : rc); /* the key is this node's: it is the same child */
	if (n) {
		n->has_id = n->rc == SL_OK;
		n->id = id;
		send(n, child_started);
	}
	child_unref(c);
}

/* [run of the parent] */
static void submit(struct sl_node *n, struct child *c)
{
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	struct sl_run_head *head = c->head;
	c->head = NULL;
	SL_CRASH_POINT("child.submit");
	enum sl_code rc = sl_engine_submit(c->engine, head, &problems, on_submitted, child_ref(c), &err);
	if (rc != SL_OK)
		child_unref(c);
	if (rc != SL_OK && problems.n)
		(void)sl_fail(&err, rc, SL_PROBLEM_FMT, SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	if (rc != SL_OK)
		child_end(n, c, NULL, &err);
}

/* [run of the parent] */
static void child_found(struct sl_node *n, void *arg)
{
	struct news *news = arg;
	struct child *c = news->child;
	struct sl_error err;
	if (news->rc != SL_OK) {
		(void)sl_fail(&err, news->rc,
			      news->rc == SL_NOT_FOUND ? "there is no workflow '%s', or not in that version"
						       : "the workflow '%s' could not be read",
			      c->head->workflow);
		child_end(n, c, NULL, &err);
	} else {
		c->head->definition = sl_bytes_ref(news->text);
		c->head->version = news->version;
		if (has_earlier(c))
			look(n, c);
		else
			submit(n, c);
	}
	news_drop(news);
}

/* [any] */
static void on_found(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version)
{
	struct child *c = arg;
	struct news *n = news_new(c, rc);
	if (n) {
		n->text = sl_bytes_ref(definition);
		n->version = version;
		send(n, child_found);
	}
	child_unref(c);
}

/* ---- the child of the parent as it was ---- */

static void child_seen(struct sl_node *n, void *arg);

/* [store] */
static void on_seen(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct child *c = arg;
	SL_AUTO(sl_stored_run) was = stored;
	enum earlier what = EARLIER_OTHER;
	if (rc == SL_OK)
		rc = sl_child_judge(c->engine, c->head, c->generation, c->seen_ms, was, &what);
	if (rc == SL_NOT_FOUND || rc == SL_INTERNAL || rc == SL_INVALID || rc == SL_CONFLICT) {
		what = EARLIER_OTHER; /* it is not there any more, or damaged */
		rc = SL_OK;
	}
	struct news *n = atomic_load(&c->engine->stopping) ? NULL : news_new(c, rc);
	if (n) {
		n->earlier = what;
		send(n, child_seen);
	}
	child_unref(c);
}

static void look_later(struct sl_node *n, struct child *c, enum sl_code why);

/* [run of the parent] Ends the node when it cannot. */
static void look(struct sl_node *n, struct child *c)
{
	const struct sl_journal *j = &c->engine->config.journal;
	enum sl_code rc = j->load(j->ctx, c->earlier, on_seen, child_ref(c));
	if (rc == SL_OK)
		return;
	child_unref(c);
	look_later(n, c, rc);
}

static void look_again(struct sl_run *r, void *arg)
{
	struct sl_node *n = arg;
	struct sl_exec *x = n->x;
	if (n->ended || !n->child)
		return;
	x->depth++;
	look(n, n->child);
	x->depth--;
	sl_exec_settle(x);
}

/* [run of the parent] It could not be looked at, or retried; that may be otherwise in a moment. */
static void look_later(struct sl_node *n, struct child *c, enum sl_code why)
{
	struct sl_run *r = n->x->run;
	struct sl_error err;
	if (why != SL_UNAVAILABLE && why != SL_BUSY && why != SL_CONFLICT && why != SL_NOT_FOUND && why != SL_CANCELLED)
		(void)sl_fail(&err, why, "the child run could not be gone on with");
	else if (sl_run_timer_start(&c->again, r, sl_clock_mono(r->engine->config.clock) + CHILD_ASK_AGAIN_MS,
				    look_again, n))
		return;
	else
		(void)sl_fail(&err, SL_NO_MEMORY, "no memory for a timer");
	child_end(n, c, NULL, &err);
}

/* [run of the parent] */
static void child_retried(struct sl_node *n, void *arg)
{
	struct news *news = arg;
	struct child *c = news->child;
	if (news->rc == SL_OK) {
		news->has_id = false;
		c->tail = false;
		go_on_with(n, c, news->id);
	} else {
		look_later(n, c, news->rc);
	}
	news_drop(news);
}

/* [any] */
static void on_retried(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct child *c = arg;
	struct news *n = atomic_load(&c->engine->stopping) ? NULL : news_new(c, rc);
	if (n) {
		n->has_id = rc == SL_OK;
		n->id = c->earlier;
		send(n, child_retried);
	}
	child_unref(c);
}

/* [run of the parent] */
static void retry(struct sl_node *n, struct child *c)
{
	struct sl_error err;
	const struct sl_order o = {
		.kind = SL_CMD_RETRY, .by = SL_STR(SL_BY_PARENT), .parent_generation = c->generation};
	enum sl_code rc = sl_engine_command(c->engine, c->earlier, &o, on_retried, child_ref(c));
	if (rc == SL_OK)
		return;
	child_unref(c);
	(void)sl_fail(&err, rc, "the child run could not be retried");
	child_end(n, c, NULL, &err);
}

/* [run of the parent] */
static void child_seen(struct sl_node *n, void *arg)
{
	struct news *news = arg;
	struct child *c = news->child;
	struct sl_error err;
	if (news->rc != SL_OK) {
		look_later(n, c, news->rc);
	} else if (news->earlier == EARLIER_AGAIN) {
		retry(n, c);
	} else if (news->earlier != EARLIER_OTHER) {
		c->tail = news->earlier == EARLIER_TAIL;
		go_on_with(n, c, c->earlier);
	} else if (c->started) { /* it was there a moment ago */
		(void)sl_fail(&err, SL_NOT_FOUND, "the child run cannot be gone on with any more");
		child_end(n, c, NULL, &err);
	} else {
		c->earlier = (struct sl_run_id){0};
		submit(n, c);
	}
	news_drop(news);
}

static struct sl_run_head *head_of(struct sl_node *n, struct sl_str workflow, struct json_object *inputs)
{
	const struct sl_run *r = n->x->run;
	SL_AUTO(sl_run_head) h = sl_run_head_new();
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	char key[96];
	if (!h)
		return NULL;
	if (inputs)
		sl_json_write(&text, inputs);
	else
		sl_buf_adds(&text, "{}");
	memcpy(key, "child-", 6);
	sl_node_idempotency_key(n, key + 6);
	if (r->state.generation > 1) /* the child of the run as it was has ended with it */
		(void)snprintf(key + 70, sizeof(key) - 70, "-%u", r->state.generation); /* it fits */
	h->workflow = sl_str_dup(workflow);
	h->project = sl_z(r->head->project);
	h->priority = r->head->priority;
	h->inputs = sl_buf_bytes(&text);
	h->idempotency_key = sl_z(key);
	h->created_by = sl_z(r->head->created_by);
	h->parent = r->id;
	h->parent_node = sl_z(n->x->path);
	h->depth = r->state.depth + 1;
	return h->workflow && h->project && h->inputs && h->idempotency_key && h->parent_node ? SL_TAKE(h) : NULL;
}

/* Unless this life of the parent has begun another one already. */
static void find_earlier(const struct sl_node *n, struct child *c)
{
	const struct sl_node_child *of = n->x->scope->nodes[n->x->index].child;
	if (of && (sl_run_id_eq(of->now, (struct sl_run_id){0}) || sl_run_id_eq(of->now, of->earlier))) {
		c->earlier = of->earlier;
		c->seen_ms = of->seen_ms;
	}
}

enum sl_step sl_node_child(struct sl_node *n, struct sl_str workflow, int32_t version, struct json_object *inputs,
			   sl_child_fn *fn, struct sl_error *err)
{
	struct sl_engine *e = n->x->run->engine;
	if (!e->config.library.find) {
		(void)sl_fail(err, SL_UNAVAILABLE, "there are no stored workflows here");
		return SL_FAILED;
	}
	if (n->x->run->state.depth + 1 > SL_LIMIT_RUN_DEPTH) {
		(void)sl_fail(err, SL_LIMIT, "runs start runs more than %d deep", SL_LIMIT_RUN_DEPTH);
		return SL_FAILED;
	}
	struct child *c = calloc(1, sizeof(*c));
	if (c) {
		atomic_init(&c->refs, 1);
		c->engine = e;
		c->fn = fn;
		c->remote = sl_node_remote(n);
		c->head = head_of(n, workflow, inputs);
		c->generation = n->x->run->state.generation;
		find_earlier(n, c);
	}
	if (!c || !c->remote || !c->head) {
		child_unref(c);
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a child run");
		return SL_FAILED;
	}
	n->child = c;
	enum sl_code rc = e->config.library.find(e->config.library.ctx, workflow, version, on_found, child_ref(c));
	if (rc == SL_OK)
		return SL_PENDING;
	child_unref(c);
	(void)sl_fail(err, rc, "the workflow could not be asked for");
	return SL_FAILED;
}

struct drop {
	struct sl_waiter waiter;
	struct child *child;
};

/* [run or store] What the parent decided is committed; or refused: then it was not the parent's to decide. */
static void dropped(struct sl_waiter *w, enum sl_code rc)
{
	struct drop *d = SL_CONTAINER_OF(w, struct drop, waiter);
	if (rc == SL_OK) {
		atomic_store(&d->child->unwanted, true);
		cancel_unwanted(d->child);
	}
	child_unref(d->child);
	free(d);
}

void sl_node_drop_child(struct sl_node *n)
{
	struct child *c = n->child;
	struct sl_run *r = n->x->run;
	if (!c || c->dropped || r->lost || atomic_load(&r->engine->stopping)) /* it goes on, here or elsewhere */
		return;
	c->dropped = true;
	c->off_at_us = r->off_reason ? r->off_at_us : 0;
	struct drop *d = calloc(1, sizeof(*d));
	if (!d) { /* at the latest it ends with its parent */
		sl_log(SL_LOG_WARN, "engine", "out of memory, a child run is not cancelled");
		return;
	}
	*d = (struct drop){.waiter = {.seq = r->state.last_seq + 1, .fn = dropped}, .child = child_ref(c)};
	sl_run_wait(r, &d->waiter);
}

struct leave {
	struct sl_waiter waiter;
	struct sl_engine *engine;
	struct sl_run_id child;
};

/* [run of the parent, or store] As dropped(), for a child that no node is at work with. */
static void left(struct sl_waiter *w, enum sl_code rc)
{
	struct leave *l = SL_CONTAINER_OF(w, struct leave, waiter);
	if (rc == SL_OK && !atomic_load(&l->engine->stopping))
		sl_child_order(l->engine, l->child, SL_CMD_CANCEL, 0);
	free(l);
}

void sl_child_leave(struct sl_run *parent, struct sl_run_id child, uint64_t seq)
{
	struct leave *l = calloc(1, sizeof(*l));
	if (!l) { /* at the latest it ends with its parent */
		sl_log(SL_LOG_WARN, "engine", "out of memory, a child run is not cancelled");
		return;
	}
	*l = (struct leave){.waiter = {.seq = seq, .fn = left}, .engine = parent->engine, .child = child};
	sl_run_wait(parent, &l->waiter);
}

void sl_run_leave_child(struct sl_scope *sc, uint32_t node, uint64_t seq)
{
	const struct sl_node_child *c = sc->nodes[node].child;
	struct sl_run *r = sl_scope_run(sc);
	if (c && sl_state_is_open(&r->state, c->now))
		sl_child_leave(r, c->now, seq);
}

void sl_child_release(struct sl_node *n)
{
	if (!n->child)
		return;
	sl_run_timer_stop(&n->child->again);
	child_unref(n->child);
	n->child = NULL;
}

bool sl_exec_has_child(const struct sl_exec *x)
{
	return x->node && x->node->child;
}

bool sl_exec_knows_child(const struct sl_exec *x)
{
	return sl_exec_has_child(x) && x->node->child->started;
}

/* Is there a node that has begun with this child, and so has told it? */
static bool is_at_work(const struct sl_run *r, struct sl_run_id child)
{
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		for (uint32_t i = 0; i < r->state.scopes[k]->graph->n_nodes; i++) {
			const struct sl_exec *x = r->state.scopes[k]->rt[i].exec;
			if (x && sl_exec_knows_child(x) && sl_run_id_eq(x->node->child->id, child))
				return true;
		}
	return false;
}

void sl_run_order_children(struct sl_run *r, enum sl_command_kind kind)
{
	uint64_t at_us = r->off_reason ? r->off_at_us : 0;
	uint32_t told = 0;
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		for (uint32_t i = 0; i < r->state.scopes[k]->graph->n_nodes; i++) {
			const struct sl_exec *x = r->state.scopes[k]->rt[i].exec;
			if (!x || !sl_exec_has_child(x))
				continue;
			struct child *c = x->node->child;
			if (kind == SL_CMD_PAUSE_NOW || kind == SL_CMD_PAUSE_DRAIN)
				c->cut = kind == SL_CMD_PAUSE_NOW;
			if (!sl_exec_knows_child(x))
				continue;
			sl_child_order(r->engine, c->id, kind, at_us);
			told += sl_state_is_open(&r->state, c->id);
		}
	/* Nodes that were at rest when the run was taken up have not begun again, but their children may go on. */
	for (uint32_t i = 0; told < r->state.n_open && i < r->state.n_open; i++)
		if (!is_at_work(r, r->state.open[i]))
			sl_child_order(r->engine, r->state.open[i], kind, at_us);
}

void sl_run_hold_children(struct sl_run *r)
{
	for (uint32_t i = 0; sl_run_is_held(r) && i < r->state.n_open; i++) {
		struct sl_run *here = sl_engine_find(r->engine, r->state.open[i]);
		if (!here) /* else it looks for itself as it is taken up */
			sl_child_order(r->engine, r->state.open[i], SL_CMD_PAUSE_DRAIN, 0);
		sl_run_unref(here);
	}
}
