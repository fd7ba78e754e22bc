/* engine/rerun.c: runs that begin again. A retry opens one that has ended; a fork makes a new one of another's journal.
 *
 * Neither costs anything before it is committed: both leave the run queued, and it starts like any other when that is
 * written. So of two servers that retry the same run at once, only the one that was written goes on.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/run_priv.h"

/* ---- retry ---- */

/* Of two retries in one server the second would take the lease from the first. */
struct sl_reopening {
	struct sl_reopening *next;
	struct sl_run_id id;
};

struct retry {
	struct sl_msg msg;
	struct sl_waiter waiter;
	struct sl_reopening busy;
	bool holds; /* busy is in the engine's list */
	struct sl_engine *engine;
	struct sl_run *run; /* a reference, while a message is on its way */
	struct sl_run_id id;
	char *from, *by;
	uint32_t parent_generation;
	struct sl_error err;
	sl_command_fn *fn;
	void *arg;
};

static bool hold(struct retry *t)
{
	struct sl_engine *e = t->engine;
	pthread_mutex_lock(&e->lock);
	struct sl_reopening *b = e->reopening;
	while (b && !sl_run_id_eq(b->id, t->id))
		b = b->next;
	if (!b) {
		t->busy = (struct sl_reopening){.next = e->reopening, .id = t->id};
		e->reopening = &t->busy;
		t->holds = true;
	}
	pthread_mutex_unlock(&e->lock);
	return t->holds;
}

static void let_go(struct retry *t)
{
	struct sl_engine *e = t->engine;
	if (!t->holds)
		return;
	pthread_mutex_lock(&e->lock);
	struct sl_reopening **at = &e->reopening;
	while (*at != &t->busy)
		at = &(*at)->next;
	*at = t->busy.next;
	pthread_mutex_unlock(&e->lock);
	t->holds = false;
}

static void retry_free(struct retry *t)
{
	let_go(t);
	free(t->from);
	free(t->by);
	free(t);
}

static void retry_end(struct retry *t, enum sl_code rc, const char *status, const struct sl_error *err)
{
	let_go(t);
	t->fn(t->arg, rc, status, rc == SL_OK ? NULL : err);
	retry_free(t);
}

/* [store] It cannot be done, for t->err or because of how the run stands: that is told with its state. */
static void retry_told(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct retry *t = arg;
	SL_AUTO(sl_stored_run) run = stored;
	struct sl_run *r = NULL;
	struct sl_event e;
	bool nothing;
	const char *status = "";
	if (rc == SL_OK)
		rc = sl_run_of_stored(t->engine, run, &r, &t->err);
	else
		(void)sl_fail(&t->err, rc, rc == SL_NOT_FOUND ? "there is no such run" : "the run could not be read");
	if (rc == SL_OK) {
		struct sl_error why = {0};
		status = sl_run_states[r->state.status].wire;
		rc = sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, &why);
		if (rc != SL_OK)
			t->err = why;
		else
			rc = t->err.code;
	}
	sl_run_unref(r);
	retry_end(t, rc, status, &t->err);
}

static void retry_tell(struct retry *t)
{
	const struct sl_journal *j = &t->engine->config.journal;
	enum sl_code rc = j->load(j->ctx, t->id, retry_told, t);
	if (rc != SL_OK)
		retry_end(t, rc, "", &t->err);
}

static void retry_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct retry *t = SL_CONTAINER_OF(w, struct retry, waiter);
	struct sl_error err = {0};
	if (rc == SL_STALE_EPOCH || rc == SL_CONFLICT)
		rc = sl_fail(&err, SL_CONFLICT,
			     "somebody else has taken the run up before this was written; ask again");
	else if (rc != SL_OK)
		(void)sl_fail(&err, rc, "the server lost the run before this was written; ask again");
	retry_end(t, rc, sl_run_states[SL_RUN_QUEUED].wire, &err);
}

/* [run] It is on the table, and what was decided goes to the journal with this turn. */
static void retry_begins(struct sl_run *r, struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	t->waiter.seq = r->state.last_seq;
	t->waiter.fn = retry_committed;
	sl_run_wait(r, &t->waiter);
	sl_run_unref(r);
}

static void retry_drop(struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	struct sl_run *r = t->run;
	struct sl_error err;
	retry_end(t, sl_fail(&err, SL_DRAINING, "the server is stopping"), "", &err);
	sl_run_unref(r);
}

bool sl_rerun_full(const struct sl_run_state *s)
{
	return s->last_seq >= SL_LIMIT_RUN_EVENTS || s->bytes >= SL_LIMIT_RUN_BYTES;
}

static enum sl_code retry_decide(struct retry *t, struct sl_run *r, struct sl_error *err)
{
	struct sl_event e = {0};
	bool nothing;
	uint64_t losses = sl_json_losses();
	enum sl_code rc = sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, err);
	if (rc == SL_OK && t->parent_generation && r->state.retried_for >= t->parent_generation)
		rc = sl_fail(err, SL_CONFLICT, "the run has been retried with its parent");
	if (rc == SL_OK && sl_rerun_full(&r->state))
		rc = sl_fail(err, SL_CONFLICT,
			     "the journal of the run is as long as one may be; fork it from an earlier event");
	if (rc != SL_OK)
		return rc;
	e.path = sl_z(t->from);
	e.by = sl_z(t->by);
	e.data = t->parent_generation ? json_object_new_object() : NULL;
	if ((t->from && !e.path) || (t->parent_generation && !e.data)) {
		rc = sl_fail(err, SL_NO_MEMORY, "out of memory");
	} else {
		if (e.data)
			sl_json_set_i64(e.data, "parent_generation", t->parent_generation);
		rc = sl_state_may_rerun(&r->state, &e, err);
	}
	if (rc != SL_OK) {
		sl_event_fini(&e);
		return rc;
	}
	/* who waits for a child has a place already */
	if (!sl_run_emit(r, &e) || sl_json_losses() != losses || sl_run_ready(r) != SL_OK ||
	    sl_run_open_account(r) != SL_OK || (!t->parent_generation && sl_run_join(r) != SL_OK))
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	r->begins_at = r->state.last_seq;
	atomic_store(&r->watched, true); /* perhaps by who saw it end, and has told that life of it only */
	return SL_OK;
}

/* [store] */
static void reopened(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct retry *t = arg;
	struct sl_engine *e = t->engine;
	SL_AUTO(sl_stored_run) run = stored;
	struct sl_run *r = NULL;
	if (rc == SL_CONFLICT || rc == SL_NOT_FOUND) { /* it is none that can be opened, or not any more */
		(void)sl_fail(&t->err, SL_CONFLICT, "the run changed in this moment; ask again");
		retry_tell(t);
		return;
	}
	if (rc == SL_OK)
		rc = sl_run_of_stored(e, run, &r, &t->err);
	else
		(void)sl_fail(&t->err, rc, "the run could not be read");
	const char *status = r ? sl_run_states[r->state.status].wire : "";
	if (rc == SL_OK)
		rc = retry_decide(t, r, &t->err);
	if (rc == SL_OK && (rc = sl_engine_add(e, r)) != SL_OK)
		(void)sl_fail(&t->err, rc, "the run has not been let go yet; ask again");
	if (rc != SL_OK) {
		sl_run_unref(r);
		retry_end(t, rc, status, &t->err);
		return;
	}
	let_go(t);
	t->run = r; /* the reference of sl_run_new goes with the message */
	t->msg.run = retry_begins;
	t->msg.drop = retry_drop;
	sl_run_post(r, &t->msg);
}

static void reopen(struct retry *t)
{
	struct sl_engine *e = t->engine;
	enum sl_code rc = SL_OK;
	if (atomic_load(&e->stopping))
		rc = sl_fail(&t->err, SL_DRAINING, "the server is stopping");
	else
		rc = sl_engine_room(e, t->parent_generation != 0, &t->err);
	if (rc != SL_OK) {
		retry_end(t, rc, "", &t->err);
	} else if (!hold(t)) {
		(void)sl_fail(&t->err, SL_CONFLICT, "somebody else is retrying this run right now");
		retry_tell(t);
	} else if ((rc = e->config.journal.reopen(e->config.journal.ctx, t->id, reopened, t)) != SL_OK) {
		(void)sl_fail(&t->err, rc, "the run could not be opened");
		retry_end(t, rc, "", &t->err);
	}
}

static void retry_ended(struct sl_waiter *w, enum sl_code rc)
{
	struct retry *t = SL_CONTAINER_OF(w, struct retry, waiter);
	if (rc == SL_OK) {
		reopen(t);
		return;
	}
	(void)sl_fail(&t->err, rc, "the server lost the run before its end was written; ask again");
	retry_end(t, rc, "", &t->err);
}

/* [run] It is still in memory: either it goes on, or its end is on its way to the journal. */
static void retry_look(struct sl_run *r, struct sl_msg *m)
{
	struct retry *t = SL_CONTAINER_OF(m, struct retry, msg);
	struct sl_event e;
	bool nothing;
	enum sl_code rc = r->lost ? sl_fail(&t->err, SL_CONFLICT, "another instance has taken the run over; ask again")
				  : sl_decide(&r->state, SL_CMD_RETRY, &e, &nothing, &t->err);
	if (rc != SL_OK) {
		retry_end(t, rc, sl_run_states[r->state.status].wire, &t->err);
	} else {
		t->waiter.seq = r->state.last_seq;
		t->waiter.fn = retry_ended;
		sl_run_wait(r, &t->waiter);
	}
	sl_run_unref(r);
}

enum sl_code sl_rerun_retry(struct sl_engine *e, struct sl_run_id id, const struct sl_order *order, sl_command_fn *fn,
			    void *arg)
{
	struct retry *t = calloc(1, sizeof(*t));
	if (!t)
		return SL_NO_MEMORY;
	*t = (struct retry){.engine = e, .id = id, .fn = fn, .arg = arg};
	t->parent_generation = order->parent_generation;
	t->from = order->node.len ? sl_str_dup(order->node) : NULL;
	t->by = order->by.len ? sl_str_dup(order->by) : NULL;
	if ((order->node.len && !t->from) || (order->by.len && !t->by)) {
		retry_free(t);
		return SL_NO_MEMORY;
	}
	t->run = sl_engine_find(e, id);
	if (t->run) {
		t->msg.run = retry_look;
		t->msg.drop = retry_drop;
		sl_run_post(t->run, &t->msg);
	} else {
		reopen(t);
	}
	return SL_OK;
}

/* ---- fork ---- */

struct fork {
	struct sl_msg msg;
	struct sl_engine *engine;
	struct sl_run *run; /* a reference, while a message is on its way */
	struct sl_run_id source;
	uint64_t at_seq;
	char *from, *by, *key;
	struct json_object *inputs, *outputs;
	struct sl_bytes *digest;
	struct sl_problems problems;
	sl_fork_fn *fn;
	void *arg;
};

static void fork_free(struct fork *f)
{
	free(f->from);
	free(f->by);
	free(f->key);
	json_object_put(f->inputs);
	json_object_put(f->outputs);
	sl_bytes_unref(f->digest);
	sl_problems_fini(&f->problems);
	free(f);
}

static void fork_end(struct fork *f, enum sl_code rc, struct sl_run_id id, bool same_request,
		     const struct sl_error *err)
{
	f->fn(f->arg, rc, id, same_request, &f->problems, err);
	fork_free(f);
}

static void fork_committed(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request)
{
	struct sl_error err = {0};
	if (rc != SL_OK)
		(void)sl_fail(&err, rc,
			      rc == SL_CONFLICT ? "the idempotency key is taken" : "the fork was not written");
	fork_end(arg, rc, id, same_request, &err);
}

/* What the new run is made of: the other one's, but for who wants it and with what. */
static enum sl_code fork_head(struct fork *f, const struct sl_run_head *of, const struct sl_workflow *w,
			      struct sl_run_head **out, struct sl_error *err)
{
	SL_AUTO(sl_run_head) h = sl_engine_head_dup(of);
	SL_AUTO_JSON inputs = NULL;
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (!h)
		return sl_fail(err, SL_NO_MEMORY, "the fork");
	h->id.u = sl_uuid_new();
	h->created_ms = sl_clock_wall(f->engine->config.clock);
	free(h->created_by);
	free(h->idempotency_key);
	free(h->parent_node);
	sl_bytes_unref(h->idempotency_digest);
	h->parent_node = NULL;
	h->parent = (struct sl_run_id){0};
	h->depth = 0;
	h->created_by = sl_z(f->by);
	h->idempotency_key = sl_z(f->key);
	h->idempotency_digest = sl_bytes_ref(f->digest);
	if ((f->by && !h->created_by) || (f->key && !h->idempotency_key))
		return sl_fail(err, SL_NO_MEMORY, "the fork");
	if (f->inputs) {
		enum sl_code rc = sl_json_parse(sl_bytes_str(of->inputs), &inputs, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "the inputs of the run");
		json_object_object_foreach (f->inputs, key, value)
			sl_json_set(inputs, key, json_object_get(value));
		sl_json_write(&text, inputs);
		sl_bytes_unref(h->inputs);
		h->inputs = sl_buf_bytes(&text);
		if (!h->inputs)
			return text.failed ? sl_fail(err, SL_TOO_LARGE, "the inputs are larger than %u bytes",
						     SL_LIMIT_PAYLOAD_BYTES)
					   : sl_fail(err, SL_NO_MEMORY, "the fork");
	}
	enum sl_code rc = sl_engine_settle(h, w, &f->problems, err);
	if (rc == SL_OK)
		*out = SL_TAKE(h);
	return rc;
}

/* The first record of the new run: who made it, and of what. */
static enum sl_code fork_created(struct fork *f, struct sl_record *first, struct sl_error *err)
{
	struct sl_event e = {.kind = SL_EV_CREATED, .seq = 1, .wall_ms = sl_clock_wall(f->engine->config.clock)};
	char id[SL_UUID_TEXT_BYTES];
	struct sl_record made = {0};
	struct json_object *of = json_object_new_object();
	e.data = json_object_new_object();
	e.by = sl_z(f->by);
	sl_uuid_format(f->source.u, id);
	if (!of || !e.data) {
		json_object_put(of);
		sl_event_fini(&e);
		return sl_fail(err, SL_NO_MEMORY, "the fork");
	}
	sl_json_set_str(of, "run", sl_str(id));
	sl_json_set_i64(of, "at_seq", (int64_t)f->at_seq);
	if (f->from)
		sl_json_set_str(of, "from", sl_str(f->from));
	sl_json_set(e.data, "forked_from", of);
	enum sl_code rc = sl_event_encode(&e, &made);
	sl_event_fini(&e);
	if (rc != SL_OK)
		return sl_fail(err, rc, "the fork");
	sl_record_fini(first);
	*first = made;
	return SL_OK;
}

static enum sl_code fork_event(struct fork *f, struct sl_event *e, struct sl_error *err)
{
	char id[SL_UUID_TEXT_BYTES];
	*e = (struct sl_event){.kind = SL_EV_FORKED};
	e->path = sl_z(f->from);
	e->by = sl_z(f->by);
	e->data = json_object_new_object();
	e->output = json_object_get(f->outputs);
	if (!e->data || (f->from && !e->path))
		return sl_fail(err, SL_NO_MEMORY, "the fork");
	sl_uuid_format(f->source.u, id);
	sl_json_set_str(e->data, "run", sl_str(id));
	sl_json_set_i64(e->data, "at_seq", (int64_t)f->at_seq);
	if (f->inputs)
		sl_json_set_bool(e->data, "inputs", true);
	if (f->outputs) {
		struct json_object *paths = json_object_new_array();
		if (!paths)
			return sl_fail(err, SL_NO_MEMORY, "the fork");
		json_object_object_foreach (f->outputs, path, output) {
			(void)output;
			sl_json_append_z(paths, path);
		}
		sl_json_set(e->data, "outputs", paths);
	}
	return SL_OK;
}

static enum sl_code fork_check(struct fork *f, struct sl_run *r, const struct sl_event *e, struct sl_error *err)
{
	struct sl_event without = *e;
	const char *where = "/from";
	without.output = NULL;
	enum sl_code rc = sl_state_may_rerun(&r->state, &without, err);
	if (rc == SL_OK) {
		where = "/outputs";
		rc = sl_state_may_rerun(&r->state, e, err);
	}
	if (rc != SL_OK && rc != SL_NO_MEMORY) { /* a conflict would be one of the idempotency key */
		sl_problems_add(&f->problems, false, sl_str(where), "%s", err->text);
		rc = SL_INVALID;
	}
	return rc;
}

/* The records of the other run go along with the first batch; their names must outlive what was read. */
static enum sl_code take_over(struct sl_run *r, struct sl_stored_run *of, struct sl_error *err)
{
	r->cap_out = of->n_records + 8;
	r->out = calloc(r->cap_out, sizeof(*r->out));
	if (!r->out)
		return sl_fail(err, SL_NO_MEMORY, "the fork");
	for (size_t i = 0; i < of->n_records; i++) {
		const char *name = sl_event_name(of->records[i].event);
		if (!name)
			return sl_fail(err, SL_NO_MEMORY, "the fork");
		r->out[r->n_out++] = of->records[i];
		of->records[i] = (struct sl_record){0};
		r->out[i].event = name;
	}
	return SL_OK;
}

/* A run in memory, with all that is to be written of it. */
static enum sl_code fork_make(struct fork *f, struct sl_stored_run *of, struct sl_run **out, struct sl_error *err)
{
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_run_head *head = NULL;
	struct sl_run *r = NULL;
	struct sl_event e = {0};
	uint64_t losses = sl_json_losses();
	if (!f->at_seq)
		f->at_seq = f->inputs && !f->from && !f->outputs ? 1 : of->n_records;
	if (!of->n_records || f->at_seq > of->n_records) {
		sl_problems_add(&f->problems, false, SL_STR("/at_seq"), "the run has %zu events", of->n_records);
		return sl_fail(err, SL_INVALID, "there is no such event");
	}
	enum sl_code rc = sl_engine_workflow_of(f->engine, of, &w, err);
	if (rc == SL_OK)
		rc = fork_head(f, of->head, w, &head, err);
	if (rc != SL_OK)
		return rc;
	sl_run_head_free(of->head);
	of->head = head;
	while (of->n_records > f->at_seq)
		sl_record_fini(&of->records[--of->n_records]);
	of->epoch = 1;
	of->recoveries = 0;
	struct sl_run_head *create = sl_engine_head_dup(head);
	rc = create ? fork_created(f, &of->records[0], err) : sl_fail(err, SL_NO_MEMORY, "the fork");
	if (rc == SL_OK)
		rc = sl_run_of_stored(f->engine, of, &r, err);
	if (rc != SL_OK) {
		sl_run_head_free(create);
		return rc;
	}
	r->create = create;
	r->committed_seq = 0;
	if (sl_rerun_full(&r->state)) {
		sl_problems_add(&f->problems, false, SL_STR("/at_seq"),
				"the journal up to there is as long as one may be; give an earlier event");
		rc = sl_fail(err, SL_INVALID, "the journal up to there is as long as one may be");
	} else {
		rc = take_over(r, of, err);
	}
	if (rc == SL_OK)
		rc = fork_event(f, &e, err);
	if (rc == SL_OK)
		rc = fork_check(f, r, &e, err);
	if (rc == SL_OK) {
		if (!sl_run_emit(r, &e) || sl_json_losses() != losses || sl_run_ready(r) != SL_OK ||
		    sl_run_open_account(r) != SL_OK || sl_run_join(r) != SL_OK)
			rc = sl_fail(err, SL_NO_MEMORY, "the fork");
	} else {
		sl_event_fini(&e);
	}
	if (rc == SL_OK)
		*out = r;
	else
		sl_run_unref(r);
	return rc;
}

/* [run] All of it in one batch: after a crash there is all of the new run, or nothing. */
static void fork_begins(struct sl_run *r, struct sl_msg *m)
{
	r->begins_at = r->state.last_seq;
	sl_run_flush_all(r); /* also when it need not survive: the id that is told must be good */
	sl_run_unref(r);
}

static void fork_drop(struct sl_msg *m)
{
	struct sl_run *r = SL_CONTAINER_OF(m, struct fork, msg)->run;
	if (r->submit_fn)
		r->submit_fn(r->submit_arg, SL_CANCELLED, r->id, false);
	r->submit_fn = NULL;
	sl_run_unref(r);
}

/* [store] */
static void fork_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct fork *f = arg;
	struct sl_engine *e = f->engine;
	struct sl_error err = {0};
	SL_AUTO(sl_stored_run) of = stored;
	struct sl_run *r = NULL;
	if (rc != SL_OK)
		(void)sl_fail(&err, rc, rc == SL_NOT_FOUND ? "there is no such run" : "the run could not be read");
	else
		rc = fork_make(f, of, &r, &err);
	if (rc != SL_OK) {
		fork_end(f, rc, f->source, false, &err);
		return;
	}
	r->submit_fn = fork_committed;
	r->submit_arg = f;
	rc = sl_engine_add(e, r);
	SL_BUG_ON(rc == SL_CONFLICT); /* an id of our own making */
	if (rc != SL_OK) {
		r->submit_fn = NULL;
		sl_run_leave_place(r);
		sl_run_unref(r);
		(void)sl_fail(&err, rc, "the new run");
		fork_end(f, rc, f->source, false, &err);
		return;
	}
	atomic_fetch_add_explicit(&e->started, 1, memory_order_relaxed);
	f->run = r; /* the reference of sl_run_new goes with the message */
	f->msg.run = fork_begins;
	f->msg.drop = fork_drop;
	sl_run_post(r, &f->msg);
}

static bool object(struct sl_str text, struct json_object **out, const char *pointer, struct fork *f)
{
	if (!text.len)
		return true;
	if (sl_json_parse(text, out, NULL) == SL_OK && json_object_is_type(*out, json_type_object))
		return true;
	sl_problems_add(&f->problems, false, sl_str(pointer), "is an object");
	return false;
}

enum sl_code sl_engine_fork(struct sl_engine *e, struct sl_run_id id, const struct sl_fork *of, sl_fork_fn *fn,
			    void *arg)
{
	const struct sl_journal *j = &e->config.journal;
	struct sl_error err = {0};
	if (atomic_load(&e->stopping))
		return SL_DRAINING;
	enum sl_code rc = sl_engine_room(e, false, &err);
	if (rc != SL_OK)
		return rc;
	struct fork *f = calloc(1, sizeof(*f));
	if (!f)
		return SL_NO_MEMORY;
	*f = (struct fork){.engine = e, .source = id, .at_seq = of->at_seq, .fn = fn, .arg = arg};
	f->from = of->from.len ? sl_str_dup(of->from) : NULL;
	f->by = of->by.len ? sl_str_dup(of->by) : NULL;
	f->key = of->idempotency_key.len ? sl_str_dup(of->idempotency_key) : NULL;
	f->digest = sl_bytes_ref(of->idempotency_digest);
	bool whole = (!of->from.len || f->from) && (!of->by.len || f->by) && (!of->idempotency_key.len || f->key);
	if (!whole) {
		rc = SL_NO_MEMORY;
	} else if (!object(of->inputs, &f->inputs, "/inputs", f) || !object(of->outputs, &f->outputs, "/outputs", f)) {
		rc = SL_INVALID;
	} else {
		rc = j->load(j->ctx, id, fork_loaded, f);
	}
	if (rc != SL_OK)
		fork_free(f);
	return rc;
}
