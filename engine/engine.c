/* engine/engine.c: the table of runs in memory, and the way in: submit, command, tick, stop. */
#include <sodium.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/run_priv.h"

/* ---- workflow versions, parsed once ---- */

#define CACHED_WORKFLOWS 256
#define SUBMIT_AGAIN_MS  2000 /* when there is no room: a guess, as nobody knows how long runs take */

struct cached_workflow {
	unsigned char digest[32];
	struct sl_workflow *workflow;
	bool faultless; /* it may be submitted; else it is only known that it can be run */
	UT_hash_handle hh;
};

struct sl_workflow_cache {
	pthread_mutex_t lock;
	struct cached_workflow *table; /* [lock] in order of insertion: the oldest goes first */
};

struct sl_workflow_cache *sl_workflow_cache_new(void)
{
	struct sl_workflow_cache *c = calloc(1, sizeof(*c));
	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void cache_drop(struct sl_workflow_cache *c, struct cached_workflow *it)
{
	HASH_DEL(c->table, it);
	sl_workflow_unref(it->workflow);
	free(it);
}

void sl_workflow_cache_free(struct sl_workflow_cache *c)
{
	if (!c)
		return;
	while (c->table)
		cache_drop(c, c->table);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static enum sl_code cached(struct sl_engine *e, struct sl_str text, bool stored, struct sl_workflow **out,
			   struct sl_problems *problems)
{
	struct sl_workflow_cache *c = e->workflows;
	struct cached_workflow *it;
	unsigned char digest[32];
	crypto_generichash(digest, sizeof(digest), (const unsigned char *)text.p, text.len, NULL, 0);
	pthread_mutex_lock(&c->lock);
	HASH_FIND(hh, c->table, digest, sizeof(digest), it);
	*out = it && (stored || it->faultless) ? sl_workflow_ref(it->workflow) : NULL;
	pthread_mutex_unlock(&c->lock);
	if (*out)
		return SL_OK;
	enum sl_code rc = stored ? sl_workflow_parse_stored(e->registry, text, out, problems)
				 : sl_workflow_parse(e->registry, text, out, problems);
	if (rc != SL_OK || !*out || problems->n) /* one with warnings is parsed again, so that they are said again */
		return rc;
	it = calloc(1, sizeof(*it));
	if (!it)
		return SL_OK; /* parsed again next time */
	memcpy(it->digest, digest, sizeof(digest));
	it->workflow = sl_workflow_ref(*out);
	it->faultless = !stored;
	pthread_mutex_lock(&c->lock);
	struct cached_workflow *twin;
	HASH_FIND(hh, c->table, digest, sizeof(digest), twin);
	if (twin) {
		twin->faultless |= it->faultless; /* the same text: only the questions asked of it differ */
		sl_workflow_unref(it->workflow);
		free(it);
	} else {
		HASH_ADD(hh, c->table, digest, sizeof(it->digest), it);
		if (!it->hh.tbl) { /* then it is read again, the next time */
			sl_workflow_unref(it->workflow);
			free(it);
		}
		if (HASH_COUNT(c->table) > CACHED_WORKFLOWS)
			cache_drop(c, c->table);
	}
	pthread_mutex_unlock(&c->lock);
	return SL_OK;
}

enum sl_code sl_engine_workflow(struct sl_engine *e, struct sl_str text, struct sl_workflow **out,
				struct sl_problems *problems)
{
	return cached(e, text, false, out, problems);
}

enum sl_code sl_engine_workflow_of(struct sl_engine *e, const struct sl_stored_run *run, struct sl_workflow **out,
				   struct sl_error *err)
{
	struct sl_problems p = {0};
	enum sl_code rc = cached(e, sl_bytes_str(run->head->definition), true, out, &p);
	if (rc != SL_OK)
		rc = sl_fail(err, rc, "its definition could not be read");
	else if (!*out)
		rc = sl_fail(err, SL_INVALID, "its definition cannot be read: %s: %s", p.n ? p.items[0].pointer : "",
			     p.n ? p.items[0].message : "");
	sl_problems_fini(&p);
	return rc;
}

/* ---- life ---- */

static int by_slot(const void *a, const void *b)
{
	const struct sl_middleware *const *x = a, *const *y = b;
	return (int)(*x)->slot - (int)(*y)->slot;
}

enum sl_code sl_engine_new(const struct sl_engine_config *config, struct sl_engine **out, struct sl_error *err)
{
	struct sl_engine *e = calloc(1, sizeof(*e));
	if (!e)
		return sl_fail(err, SL_NO_MEMORY, "the engine");
	e->config = *config;
	pthread_mutex_init(&e->lock, NULL);
	pthread_mutex_init(&e->accounts.lock, NULL);
	if (!e->config.seed)
		randombytes_buf(&e->config.seed, sizeof(e->config.seed));
	while (config->middleware && config->middleware[e->n_middleware])
		e->n_middleware++;
	e->middleware = calloc(e->n_middleware + 1, sizeof(struct sl_middleware *));
	e->workflows = sl_workflow_cache_new();
	enum sl_code rc = e->middleware && e->workflows ? SL_OK : sl_fail(err, SL_NO_MEMORY, "the engine");
	for (size_t i = 0; rc == SL_OK && i < e->n_middleware; i++)
		e->middleware[i] = config->middleware[i];
	if (rc == SL_OK && e->n_middleware)
		qsort(e->middleware, e->n_middleware, sizeof(struct sl_middleware *), by_slot);
	if (rc == SL_OK)
		rc = sl_registry_new(config->node_types, &e->registry, err);
	if (rc == SL_OK)
		rc = sl_places_new(e);
	if (rc == SL_OK)
		rc = sl_timers_new(config->wake_at, config->wake_ctx, &e->timers);
	if (rc == SL_OK)
		rc = sl_pool_new(config->workers, &e->pool);
	if (rc != SL_OK) {
		sl_engine_free(e);
		return rc;
	}
	sl_engine_limit(e, NULL);
	*out = e;
	return SL_OK;
}

const struct sl_registry *sl_engine_registry(const struct sl_engine *e)
{
	return e->registry;
}

void sl_engine_stop(struct sl_engine *e)
{
	if (!e || !e->pool || atomic_exchange(&e->stopping, true))
		return;
	sl_admit_hold(e->admit); /* nobody is admitted in the place of those that are laid aside */
	sl_pool_stop(e->pool);
	/* no worker is left, so every run is ours to touch */
	struct sl_run *r, *tmp;
	HASH_ITER (hh, e->runs, r, tmp) {
		sl_run_flush_all(r); /* what was held back */
		sl_run_silence(r);
	}
}

/* Messages hold their run, so a mailbox nobody serves any more is emptied by hand. */
static bool drain_mailboxes(struct sl_engine *e)
{
	struct sl_run *r, *tmp;
	bool any = false;
	HASH_ITER (hh, e->runs, r, tmp)
		any |= sl_run_drop_mail(r);
	return any;
}

void sl_engine_free(struct sl_engine *e)
{
	if (!e)
		return;
	sl_engine_stop(e);
	struct sl_run *run, *next; /* who waits for an end waits no more, nor who waits for a commit and may hold its
				      run; that is a message to somebody, so before they are drained */
	HASH_ITER (hh, e->runs, run, next)
		sl_run_end_waits(run);
	while (drain_mailboxes(e)) {
	}
	if (e->pool)
		while (sl_pool_discard(e->pool, sl_run_discard)) {
		}
	while (e->runs) {
		struct sl_run *r = e->runs;
		HASH_DEL(e->runs, r);
		sl_run_leave_place(r);
		sl_run_unref(r);
	}
	while (e->wanted) {
		struct sl_wanted *w = e->wanted;
		HASH_DEL(e->wanted, w);
		free(w);
	}
	sl_pool_free(e->pool);
	sl_timers_free(e->timers);
	sl_admit_free(e->admit);
	sl_registry_free(e->registry);
	sl_workflow_cache_free(e->workflows);
	pthread_mutex_destroy(&e->accounts.lock);
	pthread_mutex_destroy(&e->lock);
	free(e->middleware);
	free(e);
}

void sl_engine_tick(struct sl_engine *e)
{
	const struct sl_clock *c = e->config.clock;
	sl_timers_fire(e->timers, sl_clock_mono(c), sl_clock_wall(c));
}

bool sl_engine_step(struct sl_engine *e)
{
	return sl_pool_step(e->pool);
}

enum sl_code sl_engine_resize(struct sl_engine *e, uint32_t workers)
{
	uint32_t want = workers ? workers : e->config.workers;
	atomic_store(&e->workers, workers);
	return want == sl_pool_workers(e->pool) ? SL_OK : sl_pool_resize(e->pool, want);
}

void sl_engine_limit(struct sl_engine *e, struct sl_admit_limits *l)
{
	struct sl_admit_limits none = {0};
	l = l ? l : &none;
	if (!l->max_running)
		l->max_running = e->config.max_running;
	if (!l->max_queued)
		l->max_queued = e->config.max_queued;
	atomic_store(&e->max_unfinished, l->max_unfinished);
	sl_admit_set(e->admit, l);
}

void sl_engine_limits_json(struct sl_engine *e, struct sl_buf *out)
{
	uint32_t workers = atomic_load(&e->workers);
	sl_buf_json_key(out, "runs");
	sl_admit_limits(e->admit, out);
	if (workers)
		sl_buf_json_ku64(out, "workers", workers);
}

void sl_engine_bus_all(struct sl_engine *e, bool all)
{
	atomic_store(&e->bus_all, all);
}

void sl_engine_stats(struct sl_engine *e, struct sl_engine_stats *out)
{
	*out = (struct sl_engine_stats){
		.workers = sl_pool_workers(e->pool),
		.runs_active = atomic_load(&e->active),
		.runs_waiting = atomic_load(&e->waiting),
		.nodes_pending = atomic_load(&e->pending_nodes),
		.runs_started = atomic_load(&e->started),
		.runs_succeeded = atomic_load(&e->succeeded),
		.runs_failed = atomic_load(&e->failed),
		.runs_cancelled = atomic_load(&e->cancelled),
		.recovered = atomic_load(&e->recovered),
		.nodes_completed = atomic_load(&e->nodes_completed),
		.nodes_failed = atomic_load(&e->nodes_failed),
		.node_retries = atomic_load(&e->node_retries),
		.results_deduplicated = atomic_load(&e->deduplicated),
		.stale_epoch = atomic_load(&e->stale),
		.expr_aborts = sl_expr_aborts(),
		.mailbox_depth = sl_pool_depth(e->pool),
	};
	sl_admit_stats(e->admit, &out->admit);
}

void sl_engine_prove(struct sl_engine *e)
{
	struct sl_run *r, *tmp;
	pthread_mutex_lock(&e->lock);
	HASH_ITER (hh, e->runs, r, tmp)
		sl_run_prove(r); /* only posts */
	pthread_mutex_unlock(&e->lock);
}

/* ---- who is served ---- */

static _Thread_local struct sl_run_id *my_slot;

void sl_engine_serves(struct sl_engine *e, const struct sl_run_id *id)
{
	static _Atomic uint32_t threads;
	static _Thread_local uint32_t mine; /* from 1 */
	if (!e->config.serving)
		return;
	if (!mine)
		mine = atomic_fetch_add(&threads, 1) + 1;
	my_slot = id ? &e->config.serving[(mine - 1) % e->config.n_serving] : NULL;
	e->config.serving[(mine - 1) % e->config.n_serving] = id ? *id : (struct sl_run_id){0};
}

const struct sl_run_id *sl_engine_served_here(void)
{
	return my_slot;
}

/* ---- the table of runs ---- */

static struct sl_wanted *wanted_of(struct sl_engine *e, struct sl_run_id id)
{
	struct sl_wanted *w;
	HASH_FIND(hh, e->wanted, &id, sizeof(id), w);
	return w;
}

struct sl_run *sl_engine_find_or_want(struct sl_engine *e, struct sl_run_id id, bool want)
{
	struct sl_run *r;
	pthread_mutex_lock(&e->lock);
	HASH_FIND(hh, e->runs, &id, sizeof(id), r);
	if (r) {
		sl_run_ref(r);
	} else if (want && !wanted_of(e, id)) {
		struct sl_wanted *w = calloc(1, sizeof(*w)); /* without memory it is seen when it is asked for again */
		if (w) {
			w->id = id;
			HASH_ADD(hh, e->wanted, id, sizeof(w->id), w);
			if (!w->hh.tbl)
				free(w);
		}
	}
	pthread_mutex_unlock(&e->lock);
	return r;
}

void sl_engine_unwant(struct sl_engine *e, struct sl_run_id id)
{
	pthread_mutex_lock(&e->lock);
	struct sl_wanted *w = wanted_of(e, id);
	if (w)
		HASH_DEL(e->wanted, w);
	pthread_mutex_unlock(&e->lock);
	free(w);
}

struct sl_run *sl_engine_find(struct sl_engine *e, struct sl_run_id id)
{
	return sl_engine_find_or_want(e, id, false);
}

enum sl_code sl_engine_add(struct sl_engine *e, struct sl_run *r)
{
	struct sl_run *twin;
	enum sl_code rc = SL_CONFLICT;
	pthread_mutex_lock(&e->lock);
	HASH_FIND(hh, e->runs, &r->id, sizeof(r->id), twin);
	if (!twin) {
		HASH_ADD(hh, e->runs, id, sizeof(r->id), r);
		rc = r->hh.tbl ? SL_OK : SL_NO_MEMORY;
	}
	if (rc == SL_OK) {
		sl_run_ref(r);
		atomic_fetch_add(&e->active, 1);
		struct sl_wanted *w = wanted_of(e, r->id);
		if (w) {
			atomic_store(&r->watched, true);
			HASH_DEL(e->wanted, w);
			free(w);
		}
	}
	pthread_mutex_unlock(&e->lock);
	return rc;
}

void sl_engine_forget(struct sl_engine *e, struct sl_run *r)
{
	struct sl_run *there;
	pthread_mutex_lock(&e->lock);
	HASH_FIND(hh, e->runs, &r->id, sizeof(r->id), there);
	if (there == r) {
		HASH_DEL(e->runs, r);
		atomic_fetch_sub(&e->active, 1);
	} else {
		there = NULL;
	}
	pthread_mutex_unlock(&e->lock);
	if (there) {
		sl_run_leave_place(r);
		sl_run_unref(r);
	}
}

/* ---- submit ---- */

enum sl_code sl_engine_validate(struct sl_engine *e, struct sl_str definition, const struct sl_str *inputs,
				struct sl_problems *out)
{
	SL_AUTO(sl_workflow) w = NULL;
	enum sl_code rc =
		sl_engine_workflow(e, definition, &w, out); /* every submission asks: one that was faultless is kept */
	if (rc != SL_OK || !w || !inputs)
		return rc;
	SL_AUTO_JSON in = NULL;
	struct sl_error err;
	rc = sl_json_parse(*inputs, &in, &err);
	if (rc == SL_NO_MEMORY)
		return rc;
	if (rc != SL_OK)
		sl_problems_add(out, false, SL_STR("/inputs"), "%s", err.text);
	else if (w->inputs)
		(void)sl_schema_check(w->inputs, in, SL_SCHEMA_STRICT, SL_STR("/inputs"),
				      out); /* what does not fit is in out */
	return SL_OK;
}

/* Inputs with their defaults, checked: the text that is pinned. */
enum sl_code sl_engine_settle(struct sl_run_head *head, const struct sl_workflow *w, struct sl_problems *problems,
			      struct sl_error *err)
{
	SL_AUTO_JSON in = NULL;
	enum sl_code rc =
		head->inputs && head->inputs->len ? sl_json_parse(sl_bytes_str(head->inputs), &in, err) : SL_OK;
	if (rc != SL_OK)
		return sl_wrap(err, rc, "inputs");
	if (!head->inputs || !head->inputs->len) {
		in = json_object_new_object();
		if (!in)
			return sl_fail(err, SL_NO_MEMORY, "inputs");
	}
	if (!in || !json_object_is_type(in, json_type_object)) {
		sl_problems_add(problems, false, SL_STR("/inputs"), "inputs are an object, like { \"topic\": \"…\" }");
		return sl_fail(err, SL_INVALID, "the inputs do not fit the workflow");
	}
	if (w->inputs) {
		if (!sl_schema_defaults(w->inputs, in))
			return sl_fail(err, SL_NO_MEMORY, "inputs");
		if (!sl_schema_check(w->inputs, in, SL_SCHEMA_STRICT, SL_STR("/inputs"), problems))
			return sl_fail(err, SL_INVALID, "the inputs do not fit the workflow");
	}
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&text, in);
	if (text.no_memory)
		return sl_fail(err, SL_NO_MEMORY, "inputs");
	if (text.failed)
		return sl_fail(err, SL_TOO_LARGE, "the inputs are larger than %u bytes", SL_LIMIT_PAYLOAD_BYTES);
	sl_bytes_unref(head->inputs);
	head->inputs = sl_buf_bytes(&text);
	return head->inputs ? SL_OK : sl_fail(err, SL_NO_MEMORY, "the inputs");
}

struct sl_run_head *sl_engine_head_dup(const struct sl_run_head *h)
{
	struct sl_run_head *d = sl_run_head_new();
	if (!d)
		return NULL;
	*d = *h;
	d->workflow = sl_z(h->workflow);
	d->project = sl_z(h->project);
	d->idempotency_key = sl_z(h->idempotency_key);
	d->created_by = sl_z(h->created_by);
	d->parent_node = sl_z(h->parent_node);
	d->definition = sl_bytes_ref(h->definition);
	d->inputs = sl_bytes_ref(h->inputs);
	d->tags = sl_bytes_ref(h->tags);
	d->idempotency_digest = sl_bytes_ref(h->idempotency_digest);
	if (!d->workflow == !h->workflow && !d->project == !h->project && !d->idempotency_key == !h->idempotency_key &&
	    !d->created_by == !h->created_by && !d->parent_node == !h->parent_node)
		return d;
	sl_run_head_free(d);
	return NULL;
}

struct begin_msg {
	struct sl_msg msg;
	struct sl_run *run;
};

static void begin_drop(struct sl_msg *m)
{
	struct begin_msg *b = SL_CONTAINER_OF(m, struct begin_msg, msg);
	struct sl_run *r = b->run;
	free(b);
	if (r->submit_fn)
		r->submit_fn(r->submit_arg, SL_CANCELLED, r->id, false);
	r->submit_fn = NULL;
	sl_run_unref(r);
}

static void begin(struct sl_run *r, struct sl_msg *m)
{
	struct begin_msg *b = SL_CONTAINER_OF(m, struct begin_msg, msg);
	struct sl_event e = {.kind = SL_EV_CREATED, .by = sl_z(r->head->created_by)};
	free(b);
	if (r->head->parent_node && (e.data = json_object_new_object())) {
		char parent[SL_UUID_TEXT_BYTES];
		sl_uuid_format(r->head->parent.u, parent);
		sl_json_set_str(e.data, "parent", sl_str(parent));
		sl_json_set_str(e.data, "parent_node", sl_str(r->head->parent_node));
		sl_json_set_i64(e.data, "depth", r->head->depth);
	}
	(void)sl_run_emit(r, &e); /* false: no memory, and then the run is laid aside; see below */
	if (r->lost && r->submit_fn) {
		r->submit_fn(r->submit_arg, SL_NO_MEMORY, r->id, false);
		r->submit_fn = NULL;
		sl_engine_forget(r->engine, r);
	}
	r->begins_at = 1;
	if (!r->lost && sl_run_unwritten(r)) { /* nobody wants to wait for a disk */
		if (r->submit_fn)
			r->submit_fn(r->submit_arg, SL_OK, r->id, false);
		r->submit_fn = NULL;
		r->begins_at = 0;
		sl_run_begin(r);
	}
	sl_run_unref(r);
}

/* A child needs room in memory only: its parent has been let in. */
enum sl_code sl_engine_room(struct sl_engine *e, bool child, struct sl_error *err)
{
	uint32_t most = child ? 0 : atomic_load(&e->max_unfinished);
	enum sl_code rc = SL_OK;
	if (!most || most > SL_LIMIT_ACTIVE_RUNS)
		most = SL_LIMIT_ACTIVE_RUNS;
	if (atomic_load(&e->active) >= most)
		rc = sl_fail(err, SL_BUSY, "%u runs are unfinished, and no more may be", most);
	else if (!child)
		rc = sl_admit_room(e->admit, err);
	if (rc != SL_OK)
		err->retry_after_ms = SUBMIT_AGAIN_MS;
	return rc;
}

enum sl_code sl_engine_submit(struct sl_engine *e, struct sl_run_head *head_, struct sl_problems *problems,
			      sl_submit_fn *fn, void *arg, struct sl_error *err)
{
	SL_AUTO(sl_run_head) head = head_;
	SL_AUTO(sl_workflow) w = NULL;
	if (atomic_load(&e->stopping))
		return sl_fail(err, SL_DRAINING, "the server is stopping");
	enum sl_code rc = sl_engine_room(e, head->parent_node != NULL, err);
	if (rc != SL_OK)
		return rc;
	rc = sl_engine_workflow(e, sl_bytes_str(head->definition), &w, problems);
	if (rc != SL_OK)
		return sl_fail(err, rc, "the definition");
	if (!w)
		return sl_fail(err, SL_INVALID, "the definition has %zu error%s", problems->errors,
			       problems->errors == 1 ? "" : "s");
	rc = sl_engine_settle(head, w, problems, err);
	if (rc != SL_OK)
		return rc;
	if (!head->project && !(head->project = sl_z("default")))
		return sl_fail(err, SL_NO_MEMORY, "the run");
	if (!head->workflow && !(head->workflow = sl_z(w->name ? w->name : "")))
		return sl_fail(err, SL_NO_MEMORY, "the run");
	head->id.u = sl_uuid_new();
	head->created_ms = sl_clock_wall(e->config.clock);
	struct sl_run_head *copy = sl_engine_head_dup(head);
	struct begin_msg *b = calloc(1, sizeof(*b));
	struct sl_run *r = copy && b ? sl_run_new(e, SL_TAKE(head), w) : NULL;
	/* a run's child has no part in the queue: who waits for it has a place already */
	if (!r || sl_run_open_account(r) != SL_OK || (!copy->parent_node && sl_run_join(r) != SL_OK)) {
		sl_run_unref(r);
		sl_run_head_free(copy);
		free(b);
		return sl_fail(err, SL_NO_MEMORY, "the run");
	}
	r->epoch = 1;
	r->create = copy;
	r->submit_fn = fn;
	r->submit_arg = arg;
	enum sl_code added = sl_engine_add(e, r);
	SL_BUG_ON(added == SL_CONFLICT); /* an id of our own making */
	if (added != SL_OK) {
		r->submit_fn = NULL;
		sl_run_leave_place(r);
		sl_run_unref(r); /* and what it creates goes with it */
		free(b);
		return sl_fail(err, added, "the run");
	}
	SL_CRASH_POINT("submit.taken");
	atomic_fetch_add_explicit(&e->started, 1, memory_order_relaxed);
	b->msg.run = begin;
	b->msg.drop = begin_drop;
	b->run = r; /* the reference of sl_run_new goes with it */
	sl_run_post(r, &b->msg);
	return SL_OK;
}

/* ---- commands ---- */

struct command {
	struct sl_msg msg;
	struct sl_waiter waiter;
	struct sl_engine *engine;
	struct sl_run *run;
	struct sl_run_id id;
	struct sl_order_copy cmd;
	sl_command_fn *fn;
	void *arg;
	const char *status;
	enum sl_code rc; /* of the decision: SL_OK, or why not */
	struct sl_error err;
	bool again; /* it was looked for a second time */
};

static void command_free(struct command *c)
{
	free(c->cmd.by);
	free(c->cmd.reason);
	free(c->cmd.node);
	json_object_put(c->cmd.payload);
	free(c);
}

static void command_end(struct command *c, enum sl_code rc, const char *status, const struct sl_error *err)
{
	c->fn(c->arg, rc, status, err);
	command_free(c);
}

static void command_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct command *c = SL_CONTAINER_OF(w, struct command, waiter);
	struct sl_error err = {0};
	SL_CRASH_POINT("order.committed");
	if (rc == SL_OK) {
		command_end(c, c->rc, c->status, c->rc == SL_OK ? NULL : &c->err);
	} else {
		(void)sl_fail(&err, rc, "the server lost the run before this was written; ask again");
		command_end(c, rc, c->status, &err);
	}
}

static void command_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored);

static enum sl_code command_load(struct command *c)
{
	const struct sl_journal *j = &c->engine->config.journal;
	return j->load(j->ctx, c->id, command_loaded, c);
}

static void command_run(struct sl_run *r, struct sl_msg *m)
{
	struct command *c = SL_CONTAINER_OF(m, struct command, msg);
	struct sl_error err = {0};
	if (r->lost) { /* another instance has it now, or it has been given back */
		sl_run_unref(r);
		enum sl_code failed = command_load(c);
		if (failed != SL_OK)
			command_end(c, sl_fail(&err, failed, "the run could not be read"), "", &err);
		return;
	}
	c->rc = sl_run_command(r, &c->cmd, &c->err);
	c->status = sl_run_states[r->state.status].wire;
	/* A refusal waits, too: it tells of a state, and that must not be one which a crash can take back. */
	c->waiter.seq = r->state.last_seq;
	c->waiter.fn = command_committed;
	sl_run_wait(r, &c->waiter);
	sl_run_unref(r);
}

static void command_drop(struct sl_msg *m)
{
	struct command *c = SL_CONTAINER_OF(m, struct command, msg);
	struct sl_run *r = c->run;
	struct sl_error err;
	command_end(c, sl_fail(&err, SL_DRAINING, "the server is stopping"), "", &err);
	sl_run_unref(r);
}

static void command_post(struct command *c)
{
	c->msg.run = command_run;
	c->msg.drop = command_drop;
	sl_run_post(c->run, &c->msg);
}

static void command_answered(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	command_end(arg, rc, status, err);
}

/* To the server that has the run. */
static enum sl_code command_pass_on(struct command *c)
{
	const struct sl_elsewhere *port = &c->engine->config.elsewhere;
	SL_BUF(payload, 2u * SL_LIMIT_PAYLOAD_BYTES);
	if (c->cmd.payload)
		sl_json_write(&payload, c->cmd.payload);
	if (payload.failed)
		return SL_NO_MEMORY;
	const struct sl_order order = {.kind = c->cmd.kind,
				       .by = sl_str(c->cmd.by ? c->cmd.by : ""),
				       .reason = sl_str(c->cmd.reason ? c->cmd.reason : ""),
				       .node = sl_str(c->cmd.node ? c->cmd.node : ""),
				       .payload = sl_buf_str(&payload)};
	return port->order(port->ctx, c->id, &order, command_answered, c);
}

/* The run is not in memory: when nothing is to be done, that is told; else whoever has it is asked. */
static void command_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct command *c = arg;
	struct sl_error err = {0};
	SL_AUTO(sl_stored_run) run = stored;
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_run_state state = {0};
	const char *status = "";
	if (rc == SL_OK)
		rc = sl_stored_state(c->engine, run, &w, &state, &err);
	if (w) { /* as far as it goes */
		struct sl_event e = {0};
		bool nothing = false;
		status = sl_run_states[state.status].wire;
		rc = sl_decide(&state, c->cmd.kind, &e, &nothing, &err);
		if (rc == SL_OK && c->cmd.kind == SL_CMD_RESUME && !sl_state_is_parents_to_resume(&state) &&
		    sl_from_parent(c->cmd.by, c->cmd.reason))
			nothing = true; /* as sl_run_command() would say where the run is */
		bool elsewhere = rc == SL_OK && !nothing;
		if (rc == SL_CONFLICT)
			sl_command_refused(&state, &c->cmd, &err);
		sl_run_state_fini(&state);
		if (elsewhere && !c->again && (c->run = sl_engine_find(c->engine, c->id))) {
			c->again = true; /* it was taken up while it was read */
			command_post(c);
			return;
		}
		if (elsewhere && c->engine->config.elsewhere.order) {
			rc = command_pass_on(c);
			if (rc == SL_OK)
				return;
			(void)sl_fail(&err, rc, "the order could not be passed on to the server that has the run");
		} else if (elsewhere) {
			rc = sl_fail(&err, SL_CONFLICT, "the run is %s on another instance", status);
		}
	} else {
		(void)sl_fail(&err, rc, rc == SL_NOT_FOUND ? "there is no such run" : "the run could not be read");
	}
	command_end(c, rc, status, rc == SL_OK ? NULL : &err);
}

enum sl_code sl_engine_command(struct sl_engine *e, struct sl_run_id id, const struct sl_order *order,
			       sl_command_fn *fn, void *arg)
{
	if (order->kind == SL_CMD_RETRY)
		return sl_rerun_retry(e, id, order, fn, arg);
	struct command *c = calloc(1, sizeof(*c));
	struct sl_error err;
	if (!c)
		return SL_NO_MEMORY;
	c->engine = e;
	c->id = id;
	c->cmd.kind = order->kind;
	c->cmd.at_us = order->at_us ? order->at_us : sl_clock_mono_us();
	c->cmd.by = order->by.len ? sl_str_dup(order->by) : NULL;
	c->cmd.reason = order->reason.len ? sl_str_dup(order->reason) : NULL;
	c->cmd.node = order->node.len ? sl_str_dup(order->node) : NULL;
	enum sl_code parsed = order->payload.len ? sl_json_parse(order->payload, &c->cmd.payload, &err) : SL_OK;
	/* whole: else it would be somebody else's, or a person's in place of a parent's */
	bool whole = (!order->by.len || c->cmd.by) && (!order->reason.len || c->cmd.reason) &&
		     (!order->node.len || c->cmd.node);
	if (parsed != SL_OK || !whole) {
		command_free(c);
		return parsed != SL_OK ? parsed : SL_NO_MEMORY;
	}
	c->fn = fn;
	c->arg = arg;
	c->run = sl_engine_find(e, id);
	if (c->run) {
		command_post(c);
		return SL_OK;
	}
	enum sl_code rc = command_load(c);
	if (rc != SL_OK)
		command_free(c);
	return rc;
}
