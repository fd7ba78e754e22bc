/* engine/run_reset.c: what is done again when a run is retried or forked. Pure, like run_state.c.
 *
 * First what is to be undone is marked, all over the run; only when nothing speaks against it, it is undone. So an
 * event that is refused changes nothing. A container whose body failed is not undone but opened again: the bodies that
 * have ended stay, and it is started as after a restart, when it looks at the bodies it has.
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "engine/run_state.h"

enum {
	UNDO = 1,   /* pending again, without its bodies */
	REOPEN = 2, /* a container: running again, with the bodies it has */
	PASSED = 4, /* it has ended without an output, and all that follows from it has gone on without it */
};

static bool active(enum sl_node_status s)
{
	return s == SL_NODE_RUNNING || s == SL_NODE_WAITING || s == SL_NODE_RETRYING;
}

/* ---- marking ---- */

/* A branch that lost, or a failure that a join put up with: nobody waits for it, so it stays as it is. */
static void mark_passed(struct sl_scope *sc)
{
	const struct sl_graph *g = sc->graph;
	for (uint32_t k = g->n_nodes; k-- > 0;) { /* from the end: what follows has been judged */
		uint32_t i = g->order[k];
		const struct sl_node_def *def = &g->nodes[i];
		enum sl_node_status s = sc->nodes[i].status;
		bool lost = s == SL_NODE_CANCELLED || s == SL_NODE_SKIPPED || (s == SL_NODE_FAILED && def->absorbed);
		bool passed = lost && def->n_out;
		for (uint32_t e = 0; passed && e < def->n_out; e++) {
			const struct sl_node_state *to = &sc->nodes[g->edges[def->out[e]].to];
			passed = to->status == SL_NODE_COMPLETED || to->mark & PASSED;
		}
		if (passed)
			sc->nodes[i].mark |= PASSED;
	}
}

static bool follows_a_marked_one(const struct sl_scope *sc, uint32_t node)
{
	const struct sl_graph *g = sc->graph;
	const struct sl_node_def *def = &g->nodes[node];
	for (uint32_t i = 0; i < def->n_in; i++)
		if (sc->nodes[g->edges[def->in[i]].from].mark & (UNDO | REOPEN))
			return true;
	return false;
}

/* What has failed, was cancelled, or (in a fork) was at work; and what was skipped because of it. True: there was some.
 * `anew`: containers that were at work begin with their first body. */
static bool mark_unfinished(struct sl_scope *sc, bool anew)
{
	const struct sl_graph *g = sc->graph;
	bool any = false;
	mark_passed(sc);
	for (uint32_t k = 0; k < g->n_nodes; k++) {
		uint32_t i = g->order[k];
		struct sl_node_state *n = &sc->nodes[i];
		bool ended = n->status == SL_NODE_FAILED || n->status == SL_NODE_CANCELLED;
		bool skipped = n->status == SL_NODE_SKIPPED && follows_a_marked_one(sc, i);
		if (!active(n->status) && ((!ended && !skipped) || n->mark & PASSED))
			continue;
		any = true;
		if (skipped || anew || !n->n_bodies) {
			n->mark |= UNDO;
			continue;
		}
		bool below = n->mark & REOPEN; /* somebody has said where */
		n->mark |= REOPEN;
		for (uint32_t b = 0; b < n->n_bodies; b++) {
			struct sl_scope *body = n->bodies[b];
			if (body && body->folded && body->failed) /* what of it was done is not known any more */
				below = body->undo = true;
			else if (body)
				below |= mark_unfinished(body, anew);
		}
		if (!below && n->status == SL_NODE_FAILED) /* it is what became of the latest body that it failed by */
			n->bodies[n->n_bodies - 1]->undo = true;
	}
	return any;
}

static void mark_below(struct sl_scope *sc, uint32_t node)
{
	for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
		if (i != node && sc->nodes[i].status != SL_NODE_PENDING && sl_graph_is_ancestor(sc->graph, node, i))
			sc->nodes[i].mark |= UNDO;
}

/* What follows from something in this body, out to the root. */
static void mark_around(struct sl_scope *sc)
{
	for (; sc->parent; sc = sc->parent) {
		struct sl_node_state *n = &sc->parent->nodes[sc->parent_node];
		n->mark |= REOPEN;
		if (sc->parent->graph->nodes[sc->parent_node].type->chained)
			for (uint32_t b = sc->number; b < n->n_bodies; b++)
				if (n->bodies[b])
					n->bodies[b]->undo = true;
		mark_below(sc->parent, sc->parent_node);
	}
}

/* Is there such a node in a body whose nodes are not known any more? */
static bool in_body(const struct sl_scope *body, const char *path)
{
	const struct sl_graph *g = body->parent->graph->nodes[body->parent_node].body;
	struct sl_str rest, id, tail;
	size_t n = strlen(body->prefix);
	rest = sl_str(strlen(path) > n ? path + n : "");
	if (!sl_str_cut(rest, '/', &id, &tail))
		id = rest;
	(void)sl_str_cut(id, '#', &id, &tail); /* none: fine */
	return sl_graph_find(g, id) != UINT32_MAX;
}

/* One node, and all that follows from it. A body of which only the result is left is done again as a whole. */
static enum sl_code mark_from(struct sl_run_state *s, const char *path, struct sl_error *err)
{
	struct sl_scope *sc = NULL;
	uint32_t i;
	if (sl_state_find(s, sl_str(path), &sc, &i)) {
		sc->nodes[i].mark |= UNDO;
		mark_below(sc, i);
	} else if (sc && sc->folded && in_body(sc, path)) {
		sc->undo = true;
	} else {
		return sl_fail(err, SL_NOT_FOUND, "the run has no node '%s'", path);
	}
	mark_around(sc);
	return SL_OK;
}

/* Is the body itself, or something around it, undone? */
static bool buried(const struct sl_scope *sc)
{
	for (; sc->parent; sc = sc->parent)
		if (sc->undo || sc->parent->nodes[sc->parent_node].mark & UNDO)
			return true;
	return false;
}

static void forget_marks(struct sl_run_state *s)
{
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		s->scopes[k]->undo = false;
		for (uint32_t i = 0; i < s->scopes[k]->graph->n_nodes; i++)
			s->scopes[k]->nodes[i].mark = 0;
	}
}

static enum sl_code mark(struct sl_run_state *s, const struct sl_event *e, struct sl_error *err)
{
	struct sl_scope *sc;
	uint32_t i;
	enum sl_code rc = SL_OK;
	if (e->output && !json_object_is_type(e->output, json_type_object))
		return sl_fail(err, SL_INVALID, "outputs are an object: { path: output }");
	if (e->path && (rc = mark_from(s, e->path, err)) != SL_OK)
		return rc;
	SL_IGNORE(mark_unfinished(&s->root, sl_json_get_bool(e->data, "inputs", false))); /* none is fine */
	if (!e->output)
		return SL_OK;
	json_object_object_foreach (e->output, path, output) {
		sc = NULL;
		if (!sl_state_find(s, sl_str(path), &sc, &i)) {
			if (sc && sc->folded && in_body(sc, path))
				return sl_fail(err, SL_CONFLICT,
					       "of '%s' only what came of its round or item is kept; give an at_seq "
					       "at which it had just ended",
					       path);
			return sl_fail(err, SL_NOT_FOUND, "the run has no node '%s'", path);
		}
		if (!json_object_is_type(output, json_type_object))
			return sl_fail(err, SL_INVALID, "the output of '%s' is a %s, not an object", path,
				       sl_json_type_name(output));
		rc = mark_from(s, path, err);
		if (rc != SL_OK)
			return rc;
	}
	json_object_object_foreach (e->output, edited, unused) {
		(void)unused;
		if (sl_state_find(s, sl_str(edited), &sc, &i) && buried(sc))
			return sl_fail(err, SL_INVALID,
				       "'%s' cannot be given an output: what is around it is done again", edited);
	}
	return SL_OK;
}

/* ---- undoing ---- */

/* The run that the node had started is gone on with when the node had not come to its end with it. */
static void keep_child(struct sl_node_state *n)
{
	struct sl_node_child *c = n->child;
	const struct sl_run_id none = {0};
	if (!c)
		return;
	if (n->status == SL_NODE_COMPLETED || n->status == SL_NODE_SKIPPED) {
		json_object_put(c->took);
		*c = (struct sl_node_child){0};
	} else if (!sl_run_id_eq(c->now, none)) {
		c->earlier = c->now;
		c->now = none;
		c->seen_ms = n->status == SL_NODE_FAILED ? n->finished_ms : 0;
	}
}

/* What the other run's nodes have started is the other run's. */
static void forget_children(struct sl_run_state *s)
{
	for (uint32_t k = 0; k < s->n_scopes; k++)
		for (uint32_t i = 0; i < s->scopes[k]->graph->n_nodes; i++) {
			sl_node_child_free(s->scopes[k]->nodes[i].child);
			s->scopes[k]->nodes[i].child = NULL;
		}
}

static void undo_node(struct sl_scope *sc, uint32_t i, int64_t wall_ms)
{
	struct sl_node_state *n = &sc->nodes[i];
	const struct sl_node_def *def = &sc->graph->nodes[i];
	bool whole = n->mark & UNDO;
	if (!whole && (!(n->mark & REOPEN) || n->status == SL_NODE_PENDING))
		return;
	keep_child(n);
	n->redone += n->status == SL_NODE_COMPLETED || n->status == SL_NODE_FAILED;
	n->status = whole ? SL_NODE_PENDING : SL_NODE_RUNNING;
	n->tries = whole ? 0 : 1;
	n->started_ms = n->attempt_ms = whole ? 0 : wall_ms; /* what may take so long may take so long again */
	n->finished_ms = n->due_ms = 0;
	n->waiting_since = 0;
	n->n_told = 0;
	n->code = SL_OK;
	json_object_put(n->output);
	json_object_put(n->stream);
	json_object_put(n->given);
	free(n->message);
	free(n->reason);
	n->output = n->stream = n->given = NULL;
	n->message = n->reason = NULL;
	for (uint32_t e = 0; e < def->n_out; e++)
		sc->edges[def->out[e]] = SL_EDGE_OPEN;
}

/* Bodies that go are taken out; what they have told is told again. */
static void keep_bodies(struct sl_node_state *n)
{
	uint32_t last = 0, ended = 0;
	for (uint32_t b = 0; b < n->n_bodies; b++) {
		if (n->bodies[b] && n->bodies[b]->undo)
			n->bodies[b] = NULL;
		if (n->bodies[b]) {
			last = b + 1;
			ended += sl_scope_ended(n->bodies[b]);
		}
	}
	n->n_bodies = last;
	if (n->mark & UNDO)
		n->customs = 0;
	else if (n->mark & REOPEN && n->customs > ended)
		n->customs = ended;
	if (n->mark & (UNDO | REOPEN))
		n->customs_before = 0;
	if (n->status == SL_NODE_RUNNING && n->mark & REOPEN && !last) { /* none is left: it begins anew */
		n->status = SL_NODE_PENDING;
		n->tries = 0;
		n->started_ms = 0;
	}
}

static void count(struct sl_run_state *s)
{
	s->busy = NULL;
	s->n_nodes = s->n_done = s->n_active = s->n_quiet = s->n_holding = s->n_folded = 0;
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		struct sl_scope *sc = s->scopes[k];
		sc->n_final = sc->n_active = sc->n_work = 0;
		sc->busy = false;
		sc->next_busy = NULL;
		if (sc->failed && !sc->folded && sc->nodes[sc->failed - 1].status != SL_NODE_FAILED)
			sc->failed = 0;
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
			enum sl_node_status st = sc->nodes[i].status;
			sc->nodes[i].dirty = false;
			sc->n_final += sl_node_status_final(st);
			sc->n_active += active(st);
			s->n_quiet += st == SL_NODE_WAITING;
			s->n_holding += st == SL_NODE_RUNNING && sc->graph->nodes[i].body;
		}
		s->n_nodes += sc->graph->n_nodes + sc->was_nodes;
		s->n_done += sc->n_final + sc->was_done;
		s->n_folded += sc->was_nodes;
		s->n_active += sc->n_active;
	}
}

static void undo(struct sl_run_state *s, int64_t wall_ms)
{
	uint32_t kept = 0;
	for (uint32_t k = 0; k < s->n_scopes; k++) { /* a body comes after what is around it */
		struct sl_scope *sc = s->scopes[k];
		if (sc->parent)
			sc->undo |= sc->parent->undo ||
				    (!sc->parent->folded && sc->parent->nodes[sc->parent_node].mark & UNDO);
		for (uint32_t i = 0; !sc->undo && i < sc->graph->n_nodes; i++)
			undo_node(sc, i, wall_ms);
	}
	count(s); /* which bodies have ended now? */
	for (uint32_t k = 0; k < s->n_scopes; k++)
		for (uint32_t i = 0; !s->scopes[k]->undo && i < s->scopes[k]->graph->n_nodes; i++)
			keep_bodies(&s->scopes[k]->nodes[i]);
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		if (s->scopes[k]->undo)
			sl_scope_free(s->scopes[k]);
		else
			s->scopes[kept++] = s->scopes[k];
	}
	s->n_scopes = kept;
	count(s);
}

static void give(struct sl_run_state *s, const struct sl_event *e)
{
	struct sl_scope *sc;
	uint32_t i;
	if (!e->output)
		return;
	json_object_object_foreach (e->output, path, output) {
		struct sl_node_state *n = sl_state_find(s, sl_str(path), &sc, &i);
		if (n)
			n->given = json_object_get(output);
	}
}

static void drop_text(char **z)
{
	free(*z);
	*z = NULL;
}

static enum sl_code mark_all(struct sl_run_state *s, const struct sl_event *e, struct sl_error *err)
{
	if (e->kind != SL_EV_FORKED && !(sl_run_states[s->status].may_become & 1u << SL_RUN_QUEUED))
		return sl_fail(err, SL_CONFLICT, "a run that is %s cannot be retried", sl_run_states[s->status].wire);
	return mark(s, e, err);
}

enum sl_code sl_state_may_rerun(struct sl_run_state *s, const struct sl_event *e, struct sl_error *err)
{
	enum sl_code rc = mark_all(s, e, err);
	forget_marks(s);
	return rc;
}

enum sl_code sl_state_rerun(struct sl_run_state *s, struct sl_event *e, struct sl_error *err)
{
	bool fork = e->kind == SL_EV_FORKED;
	enum sl_code rc = mark_all(s, e, err);
	if (rc == SL_OK) {
		undo(s, e->wall_ms);
		give(s, e);
	}
	forget_marks(s);
	if (rc != SL_OK)
		return rc;
	s->status = SL_RUN_QUEUED;
	s->generation++;
	s->started_ms = s->finished_ms = 0;
	s->paused_since_ms = s->paused_ms = s->waiting_since_ms = s->waited_ms = 0;
	s->code = SL_OK;
	drop_text(&s->message);
	drop_text(&s->failed_node);
	drop_text(&s->reason);
	json_object_put(s->outputs);
	s->outputs = NULL;
	uint32_t parent = fork ? 0 : (uint32_t)sl_json_get_i64(e->data, "parent_generation", 0);
	s->by_itself = !parent;
	if (parent > s->retried_for)
		s->retried_for = parent;
	if (fork) { /* what the other run has spent is the other run's */
		forget_children(s);
		s->input_tokens = s->output_tokens = 0;
		s->cost_microusd = 0;
		s->kin_input_tokens = s->kin_output_tokens = 0; /* and so are the runs it has started */
		s->kin_microusd = 0;
		s->has_kin = false;
		s->n_open = 0;
	}
	return SL_OK;
}
