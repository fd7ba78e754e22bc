/* engine/view.c: a run to look at: from memory when it is there, else folded from the journal. Either way what is shown
 * is committed: a view of a live run is handed out when the last event in it has been. */
#include <stdlib.h>

#include "engine/run_priv.h"

void sl_view_free(struct sl_view *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_streams; i++)
		sl_stream_unref(v->streams[i].stream);
	free(v->streams);
	sl_bytes_unref(v->json);
	free(v);
}

struct sl_stream *sl_stream_of_state(struct sl_run_id id, const struct sl_scope *sc, uint32_t node)
{
	const struct sl_node_state *n = &sc->nodes[node];
	SL_AUTO_MEM char *path = sl_scope_path(sc, node);
	if (!path)
		return NULL;
	struct sl_str text = sl_json_get_str(n->stream, "text"), thinking = sl_json_get_str(n->stream, "thinking");
	if (!text.len)
		text = sl_json_get_str(n->output, "text");
	if (!thinking.len)
		thinking = sl_json_get_str(n->output, "thinking");
	return sl_stream_rebuild(id, sl_str(path), (uint32_t)sl_json_get_i64(n->stream, "attempt", 1),
				 sl_json_get(n->stream, "segments"), text, thinking);
}

static enum sl_code render(const struct sl_run_state *s, const struct sl_run_head *head, const struct sl_workflow *w,
			   struct sl_view *v)
{
	SL_BUF(b, SL_LIMIT_RUN_BYTES * 2u);
	sl_state_render(s, head, w, &b);
	v->run = head->id;
	v->last_seq = s->last_seq;
	v->status = sl_run_states[s->status].wire;
	v->json = sl_buf_bytes(&b);
	v->streams = calloc(s->n_nodes ? s->n_nodes : 1, sizeof(*v->streams));
	return v->json && v->streams ? SL_OK : SL_NO_MEMORY;
}

enum sl_code sl_view_of_run(struct sl_run *r, struct sl_view **out)
{
	SL_AUTO(sl_view) v = calloc(1, sizeof(*v));
	if (!v || render(&r->state, r->head, r->workflow, v) != SL_OK)
		return SL_NO_MEMORY;
	v->live = !sl_run_status_final(r->state.status);
	for (uint32_t k = 0; k < r->state.n_scopes; k++) {
		const struct sl_scope *sc = r->state.scopes[k];
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
			if (sc->rt[i].stream) {
				struct sl_view_stream *vs = &v->streams[v->n_streams++];
				vs->stream = sl_stream_ref(sc->rt[i].stream);
				vs->path = sl_stream_path(vs->stream);
			}
	}
	*out = SL_TAKE(v);
	return SL_OK;
}

struct view_req {
	struct sl_msg msg;
	struct sl_waiter waiter;
	struct sl_engine *engine;
	struct sl_run *run;
	enum sl_view_watch watch;
	struct sl_view *view;
	sl_view_fn *fn;
	void *arg;
};

static void view_end(struct view_req *q, enum sl_code rc, struct sl_view *v)
{
	q->fn(q->arg, rc, v);
	free(q);
}

static void view_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored);

static enum sl_code view_load(struct view_req *q, struct sl_run_id id)
{
	const struct sl_journal *j = &q->engine->config.journal;
	return j->load(j->ctx, id, view_loaded, q);
}

static void view_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct view_req *q = SL_CONTAINER_OF(w, struct view_req, waiter);
	struct sl_view *v = q->view;
	if (rc != SL_OK) { /* the run was lost with these events unwritten */
		sl_view_free(v);
		v = NULL;
	}
	view_end(q, rc == SL_OK ? SL_OK : SL_UNAVAILABLE, v);
}

static void view_run(struct sl_run *r, struct sl_msg *m)
{
	struct view_req *q = SL_CONTAINER_OF(m, struct view_req, msg);
	if (r->lost) {
		struct sl_run_id id = r->id;
		sl_run_unref(r);
		struct sl_run *back = sl_engine_find_or_want(q->engine, id, q->watch == SL_VIEW_WATCH);
		sl_run_unref(back); /* taken up again meanwhile: it is not looked for twice */
		enum sl_code rc = view_load(q, id);
		if (rc != SL_OK)
			view_end(q, rc, NULL);
		return;
	}
	if (q->watch == SL_VIEW_WATCH)
		atomic_store(&r->watched, true);
	enum sl_code rc = sl_view_of_run(r, &q->view);
	if (rc != SL_OK) {
		view_end(q, rc, NULL);
	} else {
		q->waiter.seq = r->state.last_seq;
		q->waiter.fn = view_committed;
		sl_run_wait(r, &q->waiter);
	}
	sl_run_unref(r);
}

static void view_drop(struct sl_msg *m)
{
	struct view_req *q = SL_CONTAINER_OF(m, struct view_req, msg);
	struct sl_run *r = q->run;
	view_end(q, SL_DRAINING, NULL);
	sl_run_unref(r);
}

static void view_loaded(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct view_req *q = arg;
	SL_AUTO(sl_stored_run) run = stored;
	SL_AUTO(sl_workflow) w = NULL;
	SL_AUTO(sl_view) v = NULL;
	struct sl_run_state state;
	struct sl_error err;
	if (rc == SL_OK)
		rc = sl_stored_state(q->engine, run, &w, &state, &err);
	if (!w) { /* else as far as it goes: a run is shown rather than hidden */
		view_end(q, rc, NULL);
		return;
	}
	v = calloc(1, sizeof(*v));
	rc = v ? render(&state, run->head, w, v) : SL_NO_MEMORY;
	for (uint32_t k = 0; rc == SL_OK && k < state.n_scopes; k++) {
		const struct sl_scope *sc = state.scopes[k];
		for (uint32_t i = 0; rc == SL_OK && i < sc->graph->n_nodes; i++) {
			if (!sc->nodes[i].stream)
				continue;
			struct sl_view_stream *vs = &v->streams[v->n_streams];
			vs->stream = sl_stream_of_state(run->head->id, sc, i);
			if (!vs->stream) {
				rc = SL_NO_MEMORY;
				break;
			}
			vs->path = sl_stream_path(vs->stream);
			v->n_streams++;
		}
	}
	sl_run_state_fini(&state);
	view_end(q, rc, rc == SL_OK ? SL_TAKE(v) : NULL);
}

enum sl_code sl_engine_view(struct sl_engine *e, struct sl_run_id id, enum sl_view_watch watch, sl_view_fn *fn,
			    void *arg)
{
	struct view_req *q = calloc(1, sizeof(*q));
	if (!q)
		return SL_NO_MEMORY;
	q->engine = e;
	q->watch = watch;
	q->fn = fn;
	q->arg = arg;
	q->run = sl_engine_find_or_want(e, id, watch == SL_VIEW_WATCH);
	if (q->run) {
		q->msg.run = view_run;
		q->msg.drop = view_drop;
		sl_run_post(q->run, &q->msg);
		return SL_OK;
	}
	enum sl_code rc = view_load(q, id);
	if (rc != SL_OK)
		free(q);
	return rc;
}

void sl_engine_unwatch(struct sl_engine *e, struct sl_run_id id)
{
	sl_engine_unwant(e, id);
	struct sl_run *r = sl_engine_find(e, id);
	if (!r)
		return;
	atomic_store(&r->watched, false);
	sl_run_unref(r);
}
