/* engine/flight.c: what a run has decided on its way to the journal: one batch a turn, told to who watches once it is
 * committed, and what follows from the commit or from its refusal. */
#include <stdlib.h>

#include "base/log.h"
#include "engine/run_priv.h"

#define HELD_RECORDS 1000 /* of a run that is not written step by step */
#define HELD_BYTES   (1u << 20)

struct flight {
	struct sl_run *run;
	uint64_t last_seq;
	size_t n_records;
	struct sl_stream **begun;
	size_t n_begun;
	const char *status;
	bool creates;
	sl_submit_fn *submit_fn;
	void *submit_arg;
	enum sl_code rc;
	struct sl_msg msg;
};

struct proof {
	struct sl_msg msg;
	struct sl_run *run;
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
	struct sl_notice *n = sl_zalloc(sizeof(*n));
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
	SL_CRASH_POINT("publish.before");
	e->config.bus.publish(e->config.bus.ctx, n);
	SL_CRASH_POINT("publish.after");
	sl_notice_unref(n);
}

void sl_run_show_last(struct sl_run *r, const struct sl_record *last)
{
	struct sl_engine *e = r->engine;
	struct sl_notice *n = calloc(1, sizeof(*n));
	struct sl_record *rec = calloc(1, sizeof(*rec));
	struct sl_event ev;
	struct sl_error err;
	/* decoded and encoded, because the name must outlive what was loaded */
	if (!n || !rec || !e->config.bus.publish || sl_event_decode(last, &ev, &err) != SL_OK) {
		free(n);
		free(rec);
		return; /* who watches sees it with the next event */
	}
	enum sl_code rc = sl_event_encode(&ev, rec);
	sl_event_fini(&ev);
	atomic_init(&n->refs, 1);
	n->run = r->id;
	n->status = sl_run_states[r->state.status].wire;
	n->records = rec;
	if (rc == SL_OK) {
		n->n_records = 1;
		sl_bytes_unref(SL_TAKE(rec->detail));
		e->config.bus.publish(e->config.bus.ctx, n);
	}
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

static void lose(struct sl_run *r, enum sl_code rc)
{
	sl_run_silence(r);
	r->laid_aside = false;
	if (r->submit_fn) /* not even its first batch was sent */
		r->submit_fn(r->submit_arg, rc, r->id, false);
	r->submit_fn = NULL;
	waiters_up_to(r, 0, rc);
	sl_run_tell_ends(r, SL_UNAVAILABLE);
	sl_engine_forget(r->engine, r);
}

void sl_run_log(const struct sl_run *r, enum sl_level level, const char *sentence, const char *why)
{
	const struct sl_run_state *s = &r->state;
	char id[SL_UUID_TEXT_BYTES];
	if (!sl_log_on(level))
		return;
	sl_uuid_format(r->id.u, id);
	int64_t to_ms = s->finished_ms ? s->finished_ms : s->started_ms ? sl_clock_wall(r->engine->config.clock) : 0;
	sl_log_write(level, "engine", sentence,
		     (const struct sl_kv[]){
			     SL_KS("run", id),
			     SL_KS("workflow", r->head->workflow),
			     SL_KS("status", sl_run_states[s->status].wire),
			     SL_KI("ms", s->started_ms ? to_ms - s->started_ms : 0),
			     SL_KS("code", why),
			     SL_KS("node", s->failed_node),
		     },
		     !why              ? 4
		     : !s->failed_node ? 5
				       : 6);
}

/* What went well is for who looks closely: a line for each run would drown the others. */
static void count_end(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	_Atomic uint64_t *which = r->state.status == SL_RUN_SUCCEEDED ? &e->succeeded
				  : r->state.status == SL_RUN_FAILED  ? &e->failed
								      : &e->cancelled;
	atomic_fetch_add_explicit(which, 1, memory_order_relaxed);
	if (r->state.status == SL_RUN_FAILED)
		sl_run_log(r, SL_LOG_WARN, "a run has failed", sl_code_wire(r->state.code));
	else
		sl_run_log(r, r->state.status == SL_RUN_SUCCEEDED ? SL_LOG_DEBUG : SL_LOG_INFO, "a run has ended",
			   NULL);
}

/* [run] */
static void committed(struct sl_run *r, struct sl_msg *m)
{
	struct flight *f = SL_CONTAINER_OF(m, struct flight, msg);
	enum sl_code rc = f->rc;
	uint64_t seq = f->last_seq;
	bool creates = f->creates; /* a conflict is one of its idempotency key, and nothing to speak of */
	flight_free(f);
	sl_run_unref(r); /* the flight's; the turn holds one of its own */
	if (r->lost)
		return;
	if (rc != SL_OK) {
		if (rc == SL_STALE_EPOCH)
			atomic_fetch_add_explicit(&r->engine->stale, 1, memory_order_relaxed);
		if (rc == SL_CONFLICT && !creates)
			atomic_fetch_add_explicit(&r->engine->deduplicated, 1, memory_order_relaxed);
		if (rc != SL_CONFLICT || !creates)
			sl_log(SL_LOG_WARN, "engine", "a run is no longer ours and is left alone",
			       SL_KS("why", sl_code_wire(rc)));
		lose(r, rc);
		return;
	}
	SL_CRASH_POINT("flight.told");
	r->committed_seq = seq;
	if (r->wait_commit && r->committed_seq >= r->state.last_seq) {
		r->wait_commit = false;
		sl_run_touch_pending(r);
	}
	if (r->begins_at && r->committed_seq >= r->begins_at) { /* now that it cannot be lost it may cost something */
		r->begins_at = 0;
		sl_run_begin(r);
	}
	if (sl_run_status_final(r->state.status) && r->committed_seq == r->state.last_seq) {
		SL_CRASH_POINT("run.ended");
		count_end(r);
		sl_run_tell_ends(r, SL_OK);
		sl_engine_forget(r->engine, r);
	}
	waiters_up_to(r, seq, SL_OK); /* last: one of them may have the run opened again */
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
	if (rc == SL_OK && f->n_records && e->config.bus.publish &&
	    (atomic_load(&r->watched) || atomic_load(&e->bus_all)))
		publish(f, b);
	if (f->submit_fn && rc == SL_OK)
		SL_CRASH_POINT("submit.committed");
	if (f->submit_fn && rc == SL_CONFLICT)
		SL_CRASH_POINT("submit.repeated");
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

bool sl_run_unwritten(const struct sl_run *r)
{
	return r->create && r->workflow->durability == SL_DURABILITY_NONE && !r->create->idempotency_key;
}

/* A run that need not survive step by step is written when somebody must know: when it waits or ends, when a person or
 * a program asks or watches, before something leaves the system; and now and then, so that memory is bounded. Commit
 * comes before telling in any case. */
static bool may_be_held(const struct sl_run *r)
{
	const struct sl_run_state *s = &r->state;
	bool going = s->status == SL_RUN_RUNNING ||
		     (s->status == SL_RUN_QUEUED && sl_run_unwritten(r) && !s->reason); /* a reason: it waits */
	return r->workflow->durability != SL_DURABILITY_STEP && (!r->create || sl_run_unwritten(r)) && going &&
	       !s->n_quiet && !r->waiters && !r->wait_commit && r->n_out < HELD_RECORDS &&
	       s->bytes - r->sent_bytes < HELD_BYTES && !atomic_load(&r->watched) && !atomic_load(&r->engine->bus_all);
}

void sl_run_flush(struct sl_run *r)
{
	if (r->laid_aside) {
		lose(r, SL_NO_MEMORY);
		return;
	}
	if (!may_be_held(r))
		sl_run_flush_all(r);
}

static void send(struct sl_run *r);

void sl_run_flush_all(struct sl_run *r)
{
	if (r->n_out && !r->lost)
		send(r);
}

/* A batch without a record: all it can do is be refused. */
static void prove(struct sl_run *r, struct sl_msg *m)
{
	free(SL_CONTAINER_OF(m, struct proof, msg));
	if (!r->lost && !sl_run_unwritten(r) && !r->create)
		send(r);
	sl_run_unref(r);
}

static void prove_drop(struct sl_msg *m)
{
	struct proof *p = SL_CONTAINER_OF(m, struct proof, msg);
	struct sl_run *r = p->run;
	free(p);
	sl_run_unref(r);
}

void sl_run_prove(struct sl_run *r)
{
	struct proof *p = calloc(1, sizeof(*p));
	if (!p)
		return; /* it finds out when it writes */
	p->msg.run = prove;
	p->msg.drop = prove_drop;
	p->run = sl_run_ref(r);
	sl_run_post(r, &p->msg);
}

static void send(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	r->sent_bytes = r->state.bytes;
	struct flight *f = sl_zalloc(sizeof(*f));
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
	f->creates = b->create;
	r->create = NULL;
	if (r->n_out)
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
	SL_CRASH_POINT("flight.handed");
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
