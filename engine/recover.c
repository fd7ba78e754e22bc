/* engine/recover.c: runs that another life of the server left unfinished. Their journals are folded by the same evolve
 * that made them, and they go on: what was finished stays finished, what was running is repeated, what was waiting
 * waits the rest. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/run_priv.h"

/* Runs claimed at once: few at first, then as many as are about CLAIM_BYTES of journal. */
#define CLAIM_FIRST 64
#define CLAIM_MOST  512
#define CLAIM_BYTES (32u << 20)

/* Of a definition that cannot be read nothing is known of nodes: what happened to them is only counted. */
static void outline(struct sl_event *e)
{
	if (e->kind == SL_EV_NODE)
		e->kind = SL_EV_RESET;
	if (e->kind != SL_EV_RETRIED && e->kind != SL_EV_FORKED)
		return;
	free(e->path);
	json_object_put(e->output);
	e->path = NULL;
	e->output = NULL;
}

static enum sl_code replay(const struct sl_stored_run *stored, const struct sl_workflow *w, struct sl_run_state *state,
			   struct sl_error *err)
{
	uint64_t losses = sl_json_losses();
	for (size_t i = 0; i < stored->n_records; i++) {
		const struct sl_record *rec = &stored->records[i];
		struct sl_event e;
		enum sl_code rc = sl_event_decode(rec, &e, err);
		if (rc != SL_OK)
			return rc;
		if (!w->root->n_nodes)
			outline(&e);
		rc = sl_evolve(state, &e, err);
		sl_event_fini(&e);
		if (rc != SL_OK)
			return rc;
		if (state->ended)
			sl_body_ended(state->ended);
		state->bytes += (rec->data ? rec->data->len : 0) + (rec->detail ? rec->detail->len : 0);
	}
	if (sl_json_losses() != losses)
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	return SL_OK;
}

enum sl_code sl_stored_state(struct sl_engine *e, const struct sl_stored_run *stored, struct sl_workflow **w,
			     struct sl_run_state *state, struct sl_error *err)
{
	SL_AUTO(sl_workflow) read = NULL;
	enum sl_code rc = sl_engine_workflow_of(e, stored, &read, err);
	if (rc == SL_INVALID) {
		read = sl_workflow_husk(sl_bytes_str(stored->head->definition));
		rc = read ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory");
	}
	if (rc == SL_OK && sl_run_state_init(state, read) != SL_OK)
		rc = sl_fail(err, SL_NO_MEMORY, "out of memory");
	if (rc != SL_OK)
		return rc;
	rc = sl_fold(stored, read, state, err);
	*w = SL_TAKE(read);
	return rc;
}

enum sl_code sl_fold(const struct sl_stored_run *stored, const struct sl_workflow *w, struct sl_run_state *state,
		     struct sl_error *err)
{
	state->replayed = true;
	enum sl_code rc = replay(stored, w, state, err);
	state->replayed = false;
	return rc;
}

/* Nodes that were at work are begun again, in the order of the graph; a container before what is in its bodies. */
void sl_run_go_on(struct sl_run *r)
{
	bool paused = r->state.status == SL_RUN_PAUSED || r->state.status == SL_RUN_LOCKED;
	for (uint32_t s = 0; s < r->state.n_scopes; s++) {
		struct sl_scope *sc = r->state.scopes[s];
		const struct sl_graph *g = sc->graph;
		for (uint32_t k = 0; k < g->n_nodes; k++) {
			uint32_t i = g->order[k];
			struct sl_node_state *n = &sc->nodes[i];
			if (sl_run_status_final(r->state.status))
				return;
			switch (n->status) {
			case SL_NODE_RUNNING:
				if (g->nodes[i].body)
					sl_exec_start(sc, i, SL_EXEC_RESUMED);
				else if (paused)
					sl_run_emit_node(sc, i, SL_NODE_PENDING, n->attempt,
							 "interrupted by a restart, will be repeated");
				else
					sl_exec_start(sc, i, SL_EXEC_FRESH);
				break;
			case SL_NODE_WAITING:
				if (g->nodes[i].has_policy)
					sl_scope_touch(sc, i); /* a join: its clock is set again when it is looked at */
				else
					sl_exec_start(sc, i, SL_EXEC_RESUMED);
				break;
			case SL_NODE_RETRYING:
				sl_exec_retry_later(sc, i, sl_run_mono_of_wall(r, n->due_ms));
				break;
			case SL_NODE_FAILED:
				if (!g->nodes[i].absorbed && !sc->parent) /* the end of the run had not been written */
					sl_run_fail(r, n->code, n->message, g->nodes[i].id);
				break;
			default:
				break;
			}
		}
	}
	/* whatever is ready: its edges may have been settled in the last thing that was written */
	sl_state_touch_all(&r->state);
}

/* Was it doing something, or will it at once? What waits for somebody, or for a moment that has not come, was only
 * there. */
static bool at_work(const struct sl_run *r)
{
	int64_t now = sl_clock_wall(r->engine->config.clock);
	if (r->state.status != SL_RUN_WAITING)
		return r->state.status == SL_RUN_RUNNING || r->state.status == SL_RUN_QUEUED;
	for (uint32_t k = 0; k < r->state.n_scopes; k++)
		for (uint32_t i = 0; i < r->state.scopes[k]->graph->n_nodes; i++) {
			const struct sl_node_state *n = &r->state.scopes[k]->nodes[i];
			if ((n->status == SL_NODE_WAITING || n->status == SL_NODE_RETRYING) && n->due_ms &&
			    n->due_ms <= now)
				return true;
		}
	return false;
}

/* May it be what ended the server, this time and `most` times before? Whoever was served at those moments, if that is
 * known: one that was merely served by another thread may be found so once or twice, but not each time. Else, and if it
 * happened while no run was served (in a transfer, say), everybody who was at work; one that waits for its turn was
 * not. */
static bool is_suspect(const struct sl_run *r, uint32_t most)
{
	const struct sl_engine_config *c = &r->engine->config;
	for (uint32_t i = 0; i < c->n_suspects; i++)
		if (sl_run_id_eq(c->suspects[i].id, r->id))
			return c->suspects[i].times > most;
	if (c->n_suspects || (c->suspects && r->state.status == SL_RUN_QUEUED))
		return false;
	return at_work(r);
}

/* Why it is not tried again; NULL: it is, or there is no memory to say so. */
static char *poison(const struct sl_run *r)
{
	uint32_t most = r->engine->config.max_recoveries ? r->engine->config.max_recoveries : SL_LIMIT_RECOVERIES;
	char text[120];
	if (sl_run_status_final(r->state.status) || r->recoveries <= most || !is_suspect(r, most))
		return NULL;
	(void)snprintf(text, sizeof(text),
		       "the server went down %u times while this run was active; it is not tried again",
		       r->recoveries - 1); /* it fits */
	return sl_z(text);
}

/* `queued`: when it was read. It may have got its place and have started since. `text`: it cannot go on. */
static void adopted(struct sl_run *r, bool queued, enum sl_code why_not, const char *text)
{
	if (sl_run_status_final(r->state.status)) { /* cannot be claimed; but a projection may have been behind */
		sl_engine_forget(r->engine, r);
		return;
	}
	if (text) {
		sl_run_fail(r, why_not, text, NULL);
		return;
	}
	sl_run_watch_parent(r);
	if (queued) {
		sl_run_tell_queued(r); /* it has asked; see adopt() */
		return;
	}
	SL_CRASH_POINT("adopt.goes_on");
	sl_run_go_on(r);
	sl_run_hold_children(r);
	sl_run_arm_deadline(r);
}

struct adopt_msg {
	struct sl_msg msg;
	struct sl_run *run;
	bool queued;
	enum sl_code why_not;
	char *text; /* NULL: it can go on */
};

static void adopt_free(struct adopt_msg *a)
{
	if (a)
		free(a->text);
	free(a);
}

static void adopt_drop(struct sl_msg *m)
{
	struct adopt_msg *a = SL_CONTAINER_OF(m, struct adopt_msg, msg);
	struct sl_run *r = a->run;
	adopt_free(a);
	sl_run_unref(r);
}

static void adopt_run(struct sl_run *r, struct sl_msg *m)
{
	struct adopt_msg *a = SL_CONTAINER_OF(m, struct adopt_msg, msg);
	if (!a->text) /* its last server had no time for that, or was not told */
		(void)sl_run_follow_pause(r, NULL);
	adopted(r, a->queued, a->why_not, a->text);
	adopt_drop(m);
}

static enum sl_code run_of(struct sl_engine *e, struct sl_stored_run *stored, struct sl_workflow *w,
			   struct sl_run **out, struct sl_error *err)
{
	struct sl_run *r = sl_run_new(e, SL_TAKE(stored->head), w);
	if (!r)
		return sl_fail(err, SL_NO_MEMORY, "out of memory");
	r->epoch = stored->epoch;
	r->recoveries = stored->recoveries;
	enum sl_code rc = sl_fold(stored, w, &r->state, err);
	if (rc != SL_OK) {
		sl_run_unref(r);
		return sl_wrap(err, rc, "its journal does not fold");
	}
	r->committed_seq = r->state.last_seq;
	*out = r;
	return SL_OK;
}

enum sl_code sl_run_of_stored(struct sl_engine *e, struct sl_stored_run *stored, struct sl_run **out,
			      struct sl_error *err)
{
	SL_AUTO(sl_workflow) w = NULL;
	if (stored->damaged)
		return sl_fail(err, SL_INTERNAL, "its journal is damaged");
	enum sl_code rc = sl_engine_workflow_of(e, stored, &w, err);
	return rc == SL_OK ? run_of(e, stored, w, out, err) : rc;
}

/* For its owner: one whose definition cannot be read comes without nodes and with the reason, to be failed. */
static enum sl_code claimed_run(struct sl_engine *e, struct sl_stored_run *stored, struct sl_run **out,
				char **unreadable, struct sl_error *err)
{
	SL_AUTO(sl_workflow) w = NULL;
	if (stored->damaged)
		return sl_fail(err, SL_INTERNAL, "its journal is damaged");
	enum sl_code rc = sl_engine_workflow_of(e, stored, &w, err);
	if (rc == SL_INVALID) {
		*unreadable = sl_z(err->text);
		w = sl_workflow_husk(sl_bytes_str(stored->head->definition));
		rc = w && *unreadable ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory");
	}
	return rc == SL_OK ? run_of(e, stored, w, out, err) : rc;
}

enum sl_code sl_run_ready(struct sl_run *r)
{
	for (uint32_t k = 0; k < r->state.n_scopes; k++) {
		struct sl_scope *sc = r->state.scopes[k];
		if (sl_run_ready_scope(sc) != SL_OK)
			return SL_NO_MEMORY;
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
			if (sc->nodes[i].stream)
				sc->rt[i].stream = sl_stream_of_state(r->id, sc, i);
	}
	return SL_OK;
}

/* [store] One run: fold it, put it on the table, let it go on. Folding is work, but it must be done before anybody can
 * find it. */
static void adopt(struct sl_engine *e, struct sl_stored_run *stored)
{
	struct sl_error err = {0};
	SL_AUTO(sl_stored_run) run = stored;
	struct sl_run *r = NULL;
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(run->head->id.u, id);
	struct adopt_msg *a = calloc(1, sizeof(*a));
	enum sl_code rc = a ? claimed_run(e, run, &r, &a->text, &err) : sl_fail(&err, SL_NO_MEMORY, "out of memory");
	if (rc == SL_OK && sl_run_ready(r) != SL_OK)
		rc = sl_fail(&err, SL_NO_MEMORY, "out of memory");
	if (rc != SL_OK) {
		sl_log(SL_LOG_ERROR, "engine", "a stored run cannot be taken up and stays as it is", SL_KS("run", id),
		       SL_KS("why", err.text));
		adopt_free(a);
		sl_run_unref(r);
		return;
	}
	a->why_not = a->text ? SL_INVALID : SL_POISON;
	if (!a->text) /* before it asks for a place: where there is no limit it begins at once */
		a->text = poison(r);
	SL_CRASH_POINT("adopt.folded");
	r->projection_dirty = true;
	struct sl_run *twin = sl_engine_find(e, r->id);
	if (twin) { /* ours already: a claim that was repeated */
		sl_run_unref(twin);
		adopt_free(a);
		sl_run_unref(r);
		return;
	}
	if (sl_run_open_account(r) != SL_OK || (!r->state.parent && sl_run_join(r) != SL_OK)) {
		sl_log(SL_LOG_ERROR, "engine", "out of memory, a stored run stays as it is", SL_KS("run", id));
		adopt_free(a);
		sl_run_unref(r);
		return;
	}
	rc = sl_engine_add(e, r);
	if (rc != SL_OK) { /* as above, but in this moment */
		if (rc == SL_NO_MEMORY)
			sl_log(SL_LOG_ERROR, "engine", "out of memory, a stored run stays as it is", SL_KS("run", id));
		adopt_free(a);
		sl_run_unref(r);
		return;
	}
	atomic_fetch_add_explicit(&e->recovered, 1, memory_order_relaxed);
	a->msg.run = adopt_run;
	a->msg.drop = adopt_drop;
	a->run = r;
	a->queued = r->state.status == SL_RUN_QUEUED && !a->text;
	/* Here, and not in its turn: when all have been claimed, all are counted or queued. */
	if (a->queued)
		sl_run_ask_again(r);
	else
		sl_run_place_follows(r);
	if (atomic_load(&r->watched) && run->n_records)
		sl_run_show_last(r, &run->records[run->n_records - 1]);
	sl_run_post(r, &a->msg);
}

struct recovery {
	struct sl_engine *engine;
	size_t runs, at_once;
	void (*fn)(void *arg, enum sl_code rc, size_t runs);
	void *arg;
};

static size_t bytes_of(const struct sl_stored_run *r)
{
	size_t n = sl_bytes_str(r->head->definition).len + sl_bytes_str(r->head->inputs).len + 1024;
	for (size_t i = 0; i < r->n_records; i++)
		n += sl_bytes_str(r->records[i].data).len + sl_bytes_str(r->records[i].detail).len + 128;
	return n;
}

static void claimed(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n)
{
	struct recovery *rec = arg;
	size_t bytes = 0;
	for (size_t i = 0; i < n; i++) {
		bytes += bytes_of(runs[i]);
		sl_engine_serves(rec->engine, &runs[i]->head->id);
		adopt(rec->engine, runs[i]);
		sl_engine_serves(rec->engine, NULL);
	}
	free(runs);
	rec->runs += n;
	if (rc == SL_OK && n >= rec->at_once && !atomic_load(&rec->engine->stopping)) {
		const struct sl_journal *j = &rec->engine->config.journal;
		size_t most = CLAIM_BYTES / (bytes / n);
		rec->at_once = most < 1 ? 1 : most > CLAIM_MOST ? CLAIM_MOST : most;
		rc = j->claim(j->ctx, rec->at_once, claimed, rec);
		if (rc == SL_OK)
			return;
	}
	sl_admit_release(rec->engine->admit);
	sl_accounts_recovered(rec->engine);
	rec->fn(rec->arg, rc, rec->runs);
	free(rec);
}

enum sl_code sl_engine_recover(struct sl_engine *e, void (*fn)(void *arg, enum sl_code rc, size_t runs), void *arg)
{
	struct recovery *rec = calloc(1, sizeof(*rec));
	if (!rec)
		return SL_NO_MEMORY;
	*rec = (struct recovery){.engine = e, .at_once = CLAIM_FIRST, .fn = fn, .arg = arg};
	sl_admit_hold(e->admit); /* what was at work counts before anything new begins */
	sl_accounts_recovering(e);
	enum sl_code rc = e->config.journal.claim(e->config.journal.ctx, CLAIM_FIRST, claimed, rec);
	if (rc != SL_OK) {
		sl_admit_release(e->admit);
		sl_accounts_recovered(e);
		free(rec);
	}
	return rc;
}
