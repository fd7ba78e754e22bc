/* engine/run_state.c: see run_state.h. */
#include "engine/run_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/run_priv.h"

#define TOLD_NAMES 64
#define TO(s)      (1u << SL_RUN_##s)
#define UNFINISHED (TO(QUEUED) | TO(RUNNING) | TO(PAUSED) | TO(WAITING) | TO(LOCKED))
#define ENDS       (TO(FAILED) | TO(CANCELLED))
#define NTO(s)     (1u << SL_NODE_##s)
#define NENDS      (NTO(COMPLETED) | NTO(FAILED) | NTO(CANCELLED))

const struct sl_state sl_run_states[SL_RUN_STATUSES] = {
	/*                     wire name     may become */
	[SL_RUN_QUEUED] = {"queued", TO(QUEUED) | TO(RUNNING) | ENDS},
	[SL_RUN_RUNNING] = {"running", TO(PAUSED) | TO(WAITING) | TO(LOCKED) | TO(SUCCEEDED) | ENDS},
	[SL_RUN_PAUSED] = {"paused", TO(RUNNING) | TO(LOCKED) | ENDS},
	[SL_RUN_WAITING] = {"waiting", TO(RUNNING) | TO(PAUSED) | TO(LOCKED) | ENDS},
	[SL_RUN_LOCKED] = {"locked", TO(RUNNING) | ENDS},
	[SL_RUN_SUCCEEDED] = {"succeeded", 0},
	/* an end that a person may take back */
	[SL_RUN_FAILED] = {"failed", TO(QUEUED)},
	[SL_RUN_CANCELLED] = {"cancelled", TO(QUEUED)},
};

const struct sl_state sl_node_states[SL_NODE_STATUSES] = {
	/* pending → completed: a node that needs no time; running → pending: called off by a pause, or by a crash */
	[SL_NODE_PENDING] = {"pending",
			     NTO(PENDING) | NTO(RUNNING) | NTO(WAITING) | NTO(RETRYING) | NTO(SKIPPED) | NENDS},
	[SL_NODE_RUNNING] = {"running", NTO(PENDING) | NTO(RUNNING) | NTO(WAITING) | NTO(RETRYING) | NENDS},
	[SL_NODE_WAITING] = {"waiting",
			     NTO(PENDING) | NTO(RUNNING) | NTO(WAITING) | NTO(RETRYING) | NTO(SKIPPED) | NENDS},
	[SL_NODE_RETRYING] = {"retrying", NTO(PENDING) | NTO(RUNNING) | NTO(WAITING) | NTO(RETRYING) | NENDS},
	[SL_NODE_COMPLETED] = {"completed", 0},
	[SL_NODE_FAILED] = {"failed", 0},
	[SL_NODE_SKIPPED] = {"skipped", 0},
	[SL_NODE_CANCELLED] = {"cancelled", 0},
};

static enum sl_code scope_init(struct sl_run_state *s, struct sl_scope *sc, const struct sl_graph *g)
{
	sc->graph = g;
	sc->home = s;
	sc->nodes = calloc(g->n_nodes ? g->n_nodes : 1, sizeof(*sc->nodes));
	sc->edges = calloc(g->n_edges ? g->n_edges : 1, 1);
	sc->work = calloc(g->n_nodes ? g->n_nodes : 1, sizeof(*sc->work));
	if (!sc->nodes || !sc->edges || !sc->work)
		return SL_NO_MEMORY;
	if (s->n_scopes == s->cap_scopes) {
		uint32_t cap = s->cap_scopes ? s->cap_scopes * 2 : 4;
		struct sl_scope **more = realloc(s->scopes, cap * sizeof(struct sl_scope *));
		if (!more)
			return SL_NO_MEMORY;
		s->scopes = more;
		s->cap_scopes = cap;
	}
	s->scopes[s->n_scopes++] = sc;
	s->n_nodes += g->n_nodes;
	return SL_OK;
}

void sl_scope_fini(struct sl_scope *sc)
{
	for (uint32_t i = 0; sc->nodes && i < sc->graph->n_nodes; i++) {
		struct sl_node_state *n = &sc->nodes[i];
		json_object_put(n->output);
		json_object_put(n->stream);
		json_object_put(n->given);
		free(n->message);
		free(n->reason);
		free(n->bodies);
		sl_node_child_free(n->child);
	}
	free(sc->nodes);
	free(sc->edges);
	free(sc->work);
	free(sc->prefix);
	free(sc->rt);
	json_object_put(sc->bindings);
	json_object_put(sc->result);
	free(sc->message);
}

void sl_scope_free(struct sl_scope *sc)
{
	sl_scope_fini(sc);
	free(sc);
}

enum sl_code sl_run_state_init(struct sl_run_state *s, const struct sl_workflow *w)
{
	*s = (struct sl_run_state){.status = SL_RUN_QUEUED, .generation = 1};
	if (scope_init(s, &s->root, w->root) != SL_OK) {
		if (!s->n_scopes)
			sl_scope_fini(&s->root);
		sl_run_state_fini(s);
		return SL_NO_MEMORY;
	}
	return SL_OK;
}

void sl_run_state_fini(struct sl_run_state *s)
{
	for (uint32_t i = 0; i < s->n_scopes; i++) {
		sl_scope_fini(s->scopes[i]);
		if (s->scopes[i] != &s->root)
			free(s->scopes[i]);
	}
	free(s->scopes);
	json_object_put(s->outputs);
	free(s->parent);
	free(s->parent_node);
	json_object_put(s->forked_from);
	free(s->told);
	free(s->open);
	json_object_put(s->signals);
	json_object_put(s->said);
	json_object_put(s->files);
	free(s->message);
	free(s->failed_node);
	free(s->reason);
	*s = (struct sl_run_state){0};
}

char *sl_scope_path(const struct sl_scope *sc, uint32_t node)
{
	const char *prefix = sc->prefix ? sc->prefix : "", *id = sc->graph->nodes[node].id;
	size_t n = strlen(prefix), m = strlen(id);
	char *path = malloc(n + m + 1);
	if (path) {
		memcpy(path, prefix, n);
		memcpy(path + n, id, m + 1);
	}
	return path;
}

enum sl_code sl_scope_body(struct sl_scope *sc, uint32_t node, uint32_t number, struct sl_scope **out)
{
	struct sl_node_state *n = &sc->nodes[node];
	const struct sl_graph *g = sc->graph->nodes[node].body;
	if (!g || number < 1 || number > SL_LIMIT_BODIES)
		return SL_LIMIT;
	if (number <= n->n_bodies && n->bodies[number - 1]) {
		*out = n->bodies[number - 1];
		return SL_OK;
	}
	if (number > n->cap_bodies) {
		uint32_t cap = n->cap_bodies ? n->cap_bodies : 4;
		while (cap < number)
			cap *= 2;
		struct sl_scope **more = realloc(n->bodies, cap * sizeof(struct sl_scope *));
		if (!more)
			return SL_NO_MEMORY;
		memset(more + n->cap_bodies, 0, (cap - n->cap_bodies) * sizeof(struct sl_scope *));
		n->bodies = more;
		n->cap_bodies = cap;
	}
	struct sl_scope *body = calloc(1, sizeof(*body));
	SL_AUTO_MEM char *path = sl_scope_path(sc, node);
	size_t bytes = path ? strlen(path) + 16 : 0;
	if (body)
		body->graph = g;
	/* in a live run a body is ready from the start: whoever finds it in the state may ask what runs in it */
	if (!body || !path || !(body->prefix = malloc(bytes)) || (sc->rt && sl_run_ready_scope(body) != SL_OK) ||
	    scope_init(sc->home, body, g) != SL_OK) {
		if (body)
			sl_scope_fini(body);
		free(body);
		return SL_NO_MEMORY;
	}
	(void)snprintf(body->prefix, bytes, "%s#%u/", path, number); /* it fits */
	body->parent = sc;
	body->parent_node = node;
	body->number = number;
	n->bodies[number - 1] = body;
	if (number > n->n_bodies)
		n->n_bodies = number;
	for (uint32_t i = g->n_nodes; i-- > 0;)
		sl_scope_touch(body, g->order[i]);
	sl_body_begun(body);
	*out = body;
	return SL_OK;
}

/* "judge", "refine#2/judge": *index of the node in *scope. With `make`, bodies that events speak of are made. */
static struct sl_node_state *walk(struct sl_run_state *s, struct sl_str path, struct sl_scope **scope, uint32_t *index,
				  bool make)
{
	struct sl_scope *sc = &s->root;
	for (;;) {
		const char *slash = path.len ? memchr(path.p, '/', path.len) : NULL;
		struct sl_str part = slash ? sl_str_n(path.p, (size_t)(slash - path.p)) : path, id = part, number;
		uint32_t n = 0;
		if (slash && !sl_str_cut(part, '#', &id, &number))
			return NULL;
		uint32_t i = sl_graph_find(sc->graph, id);
		if (i == UINT32_MAX)
			return NULL;
		if (!slash) {
			*scope = sc;
			*index = i;
			return &sc->nodes[i];
		}
		for (size_t k = 0; k < number.len && k < 6; k++) {
			if (number.p[k] < '0' || number.p[k] > '9' || (k == 0 && number.p[k] == '0'))
				return NULL;
			n = n * 10 + (uint32_t)(number.p[k] - '0');
		}
		if (!n || number.len > 5)
			return NULL;
		struct sl_node_state *c = &sc->nodes[i];
		if (n <= c->n_bodies && c->bodies[n - 1])
			sc = c->bodies[n - 1];
		else if (!make || c->status != SL_NODE_RUNNING || sl_scope_body(sc, i, n, &sc) != SL_OK)
			return NULL;
		*scope = sc;
		path = sl_str_n(slash + 1, path.len - part.len - 1);
	}
}

struct sl_node_state *sl_state_find(struct sl_run_state *s, struct sl_str path, struct sl_scope **scope,
				    uint32_t *index)
{
	return walk(s, path, scope, index, false);
}

bool sl_scope_closed(const struct sl_scope *sc)
{
	for (; sc->parent; sc = sc->parent)
		if (sc->failed || sl_node_status_final(sc->parent->nodes[sc->parent_node].status))
			return true;
	return false;
}

void sl_scope_touch(struct sl_scope *sc, uint32_t node)
{
	if (sc->nodes[node].dirty)
		return;
	sc->nodes[node].dirty = true;
	sc->work[sc->n_work++] = node;
	if (!sc->busy) {
		sc->busy = true;
		sc->next_busy = sc->home->busy;
		sc->home->busy = sc;
	}
}

void sl_state_touch_all(struct sl_run_state *s)
{
	for (uint32_t k = s->n_scopes; k-- > 0;)
		for (uint32_t i = s->scopes[k]->graph->n_nodes; i-- > 0;)
			sl_scope_touch(s->scopes[k], s->scopes[k]->graph->order[i]);
}

bool sl_state_work(struct sl_run_state *s, struct sl_scope **out, uint32_t *node)
{
	struct sl_scope *sc;
	while ((sc = s->busy) && !sc->n_work) {
		s->busy = sc->next_busy;
		sc->busy = false;
	}
	if (!sc)
		return false;
	*out = sc;
	*node = sc->work[--sc->n_work];
	sc->nodes[*node].dirty = false;
	return true;
}

static void settle_edge(struct sl_scope *sc, uint32_t edge, enum sl_edge_state to)
{
	if (sc->edges[edge] != SL_EDGE_OPEN)
		return;
	sc->edges[edge] = (uint8_t)to;
	sl_scope_touch(sc, sc->graph->edges[edge].to);
}

/* A node has ended: its outgoing edges follow. */
static void settle_out(struct sl_scope *sc, uint32_t index, const struct sl_event *e)
{
	const struct sl_node_def *def = &sc->graph->nodes[index];
	enum sl_edge_state rest = SL_EDGE_DEAD;
	if (e->status == SL_NODE_FAILED)
		rest = SL_EDGE_FAILED;
	/* What a failure upstream took away is missing, not unchosen. A join that put up with it, and was then skipped
	 * by its own condition, is unchosen. */
	if (e->status == SL_NODE_SKIPPED && !def->has_policy)
		for (uint32_t i = 0; i < def->n_in; i++)
			if (sc->edges[def->in[i]] == SL_EDGE_FAILED)
				rest = SL_EDGE_FAILED;
	for (uint32_t i = 0; i < e->n_taken; i++)
		settle_edge(sc, e->taken[i], SL_EDGE_TAKEN);
	for (uint32_t i = 0; i < def->n_out; i++)
		settle_edge(sc, def->out[i], rest);
}

static bool active(enum sl_node_status s)
{
	return s == SL_NODE_RUNNING || s == SL_NODE_WAITING || s == SL_NODE_RETRYING;
}

static void take_text(char **to, char **from)
{
	free(*to);
	*to = *from;
	*from = NULL;
}

static void signal_taken(struct sl_run_state *s, uint64_t seq)
{
	for (size_t i = 0; s->signals && i < json_object_array_length(s->signals); i++)
		if ((uint64_t)sl_json_get_i64(json_object_array_get_idx(s->signals, i), "seq", 0) == seq) {
			json_object_array_del_idx(s->signals, i, 1);
			return;
		}
}

/* It runs or waits, unless it did so already. */
static void try_begins(struct sl_node_state *n)
{
	if (n->status == SL_NODE_PENDING || n->tries == 0)
		n->tries = 1;
	else if (n->status == SL_NODE_RETRYING)
		n->tries++;
}

/* ---- runs it has started ---- */

const char sl_child_started[] = "subworkflow:started";

struct json_object *sl_figures_json(struct sl_run_id run, const struct sl_figures *f)
{
	char id[SL_UUID_TEXT_BYTES];
	struct json_object *o = json_object_new_object(), *open = f->n_open ? json_object_new_array() : NULL;
	if (!o || (f->n_open && !open)) {
		json_object_put(o);
		json_object_put(open);
		return NULL;
	}
	sl_uuid_format(run.u, id);
	sl_json_set_str(o, "run_id", sl_str(id));
	sl_json_set_i64(o, "input_tokens", (int64_t)f->input_tokens);
	sl_json_set_i64(o, "output_tokens", (int64_t)f->output_tokens);
	sl_json_set_f64(o, "cost_usd", (double)f->cost_microusd / 1e6);
	for (uint32_t i = 0; i < f->n_open; i++) {
		sl_uuid_format(f->open[i].u, id);
		sl_json_append_z(open, id);
	}
	if (open)
		sl_json_set(o, "open", open);
	return o;
}

struct sl_figures sl_state_figures(const struct sl_run_state *s)
{
	return (struct sl_figures){.input_tokens = s->input_tokens + s->kin_input_tokens,
				   .output_tokens = s->output_tokens + s->kin_output_tokens,
				   .cost_microusd = s->cost_microusd + s->kin_microusd,
				   .open = s->open,
				   .n_open = s->n_open};
}

static struct sl_run_id *open_of(const struct sl_run_state *s, struct sl_run_id child)
{
	for (uint32_t i = 0; i < s->n_open; i++)
		if (sl_run_id_eq(s->open[i], child))
			return &s->open[i];
	return NULL;
}

bool sl_state_is_open(const struct sl_run_state *s, struct sl_run_id child)
{
	return open_of(s, child) != NULL;
}

static enum sl_code room_for(struct sl_run_state *s, size_t more, const struct sl_event *e, struct sl_error *err)
{
	if (s->cap_open - s->n_open >= more)
		return SL_OK;
	size_t cap = (size_t)s->n_open + more > 2u * s->cap_open ? s->n_open + more : 2u * s->cap_open;
	struct sl_run_id *p = realloc(s->open, cap * sizeof(*p));
	if (!p)
		return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
	s->open = p;
	s->cap_open = (uint32_t)cap;
	return SL_OK;
}

bool sl_state_is_parents_to_resume(const struct sl_run_state *s)
{
	return s->with_parent || (s->reason && strcmp(s->reason, SL_PAUSED_ALL) == 0);
}

bool sl_figures_read(struct json_object *o, struct sl_run_id *run, struct sl_figures *f)
{
	if (!sl_uuid_parse(sl_json_get_str(o, "run_id"), &run->u))
		return false;
	int64_t in = sl_json_get_i64(o, "input_tokens", 0), out = sl_json_get_i64(o, "output_tokens", 0);
	double cost = sl_json_get_f64(o, "cost_usd", 0) * 1e6;
	*f = (struct sl_figures){.input_tokens = in > 0 ? (uint64_t)in : 0,
				 .output_tokens = out > 0 ? (uint64_t)out : 0,
				 .cost_microusd = cost > 0 && cost < 1e15 ? (int64_t)(cost + 0.5) : 0};
	return true;
}

bool sl_node_child_took(const struct sl_node_state *n, struct sl_run_id child, struct sl_figures *f)
{
	struct sl_run_id id;
	return n->child && n->child->took && sl_figures_read(n->child->took, &id, f) && sl_run_id_eq(id, child);
}

void sl_node_child_free(struct sl_node_child *c)
{
	if (c)
		json_object_put(c->took);
	free(c);
}

static void add_kin(struct sl_run_state *s, const struct sl_figures *f, int sign)
{
	s->kin_input_tokens += sign < 0 ? -f->input_tokens : f->input_tokens;
	s->kin_output_tokens += sign < 0 ? -f->output_tokens : f->output_tokens;
	s->kin_microusd += sign * f->cost_microusd;
}

/* The children that one has left open; there is room. */
static void leave_open(struct sl_run_state *s, struct json_object *child, bool open)
{
	struct json_object *left = sl_json_get(child, "open");
	struct sl_run_id id;
	for (size_t i = 0; left && i < json_object_array_length(left); i++) {
		if (!sl_uuid_parse(sl_json_str(json_object_array_get_idx(left, i)), &id.u))
			continue;
		struct sl_run_id *o = open_of(s, id);
		if (o && !open)
			*o = s->open[--s->n_open];
		else if (!o && open)
			s->open[s->n_open++] = id;
	}
}

/* One that had ended, and is gone on with, is open again, and what was told of it is not counted any more. */
static enum sl_code child_started(struct sl_run_state *s, struct sl_node_state *n, const struct sl_event *e,
				  struct sl_error *err)
{
	struct sl_run_id id;
	struct sl_figures f;
	if (!sl_uuid_parse(sl_json_get_str(e->data, "run_id"), &id.u) || open_of(s, id))
		return SL_OK;
	enum sl_code rc = room_for(s, 1, e, err);
	if (rc != SL_OK)
		return rc;
	if (n && sl_node_child_took(n, id, &f)) {
		add_kin(s, &f, -1);
		leave_open(s, n->child->took, false);
		json_object_put(n->child->took);
		n->child->took = NULL;
	}
	s->open[s->n_open++] = id;
	return SL_OK;
}

/* Of a child that is not open it was told before: its node has asked a second time, and this is the latest. */
static void child_ended(struct sl_run_state *s, struct sl_node_state *n, const struct sl_event *e)
{
	struct sl_run_id id, *o;
	struct sl_figures f, before;
	if (!sl_figures_read(e->child, &id, &f))
		return;
	o = open_of(s, id);
	if (o)
		*o = s->open[--s->n_open];
	else if (sl_node_child_took(n, id, &before))
		add_kin(s, &before, -1);
	else
		return;
	add_kin(s, &f, 1);
	s->has_kin = true;
	leave_open(s, e->child, true);
	if (n->child) {
		json_object_put(n->child->took);
		n->child->took = json_object_get(e->child);
	}
}

static enum sl_code evolve_node(struct sl_run_state *s, struct sl_event *e, struct sl_error *err)
{
	struct sl_scope *sc = NULL;
	uint32_t index;
	struct sl_node_state *n = e->path ? walk(s, sl_str(e->path), &sc, &index, true) : NULL;
	if (!n && sc && sc->folded) { /* of a body whose end is known: another of its nodes was called off */
		s->n_done += sl_node_status_final(e->status);
		sc->was_done += sl_node_status_final(e->status);
		return SL_OK;
	}
	if (!n)
		return sl_fail(err, SL_NOT_FOUND, "event %llu: no node '%s'", (unsigned long long)e->seq,
			       e->path ? e->path : "");
	if (!(sl_node_states[n->status].may_become & 1u << e->status))
		return sl_fail(err, SL_CONFLICT, "event %llu: node '%s' cannot go from %s to %s",
			       (unsigned long long)e->seq, e->path, sl_node_states[n->status].wire,
			       sl_node_states[e->status].wire);
	for (uint32_t i = 0; i < e->n_taken; i++)
		if (e->taken[i] >= sc->graph->n_edges || sc->graph->edges[e->taken[i]].from != index)
			return sl_fail(err, SL_CONFLICT, "event %llu: node '%s' has no edge %u",
				       (unsigned long long)e->seq, e->path, e->taken[i]);
	struct json_object *left = sl_json_get(e->child, "open");
	if (left && !json_object_is_type(left, json_type_array))
		return sl_fail(err, SL_INVALID, "event %llu: the children of a child are no list",
			       (unsigned long long)e->seq);
	if (left && room_for(s, json_object_array_length(left), e, err) != SL_OK)
		return SL_NO_MEMORY;
	if (e->child)
		child_ended(s, n, e);
	bool container = sc->graph->nodes[index].body != NULL;
	sc->n_active += active(e->status);
	sc->n_active -= active(n->status);
	s->n_active += active(e->status);
	s->n_active -= active(n->status);
	s->n_quiet += e->status == SL_NODE_WAITING;
	s->n_quiet -= n->status == SL_NODE_WAITING;
	s->n_holding += container && e->status == SL_NODE_RUNNING;
	s->n_holding -= container && n->status == SL_NODE_RUNNING;
	sc->n_final += sl_node_status_final(e->status);
	s->n_done += sl_node_status_final(e->status);
	if (e->attempt > n->attempt) {
		n->attempt = e->attempt;
		n->attempt_ms = e->wall_ms;
	}
	switch (e->status) {
	case SL_NODE_RUNNING:
		try_begins(n);
		if (!n->started_ms)
			n->started_ms = e->wall_ms;
		n->due_ms = 0;
		n->text_before = true;
		break;
	case SL_NODE_WAITING:
		try_begins(n);
		if (!n->started_ms)
			n->started_ms = e->wall_ms;
		n->due_ms = e->due_ms;
		if (n->status != SL_NODE_WAITING)
			n->waiting_since = e->seq;
		break;
	case SL_NODE_RETRYING:
		n->due_ms = e->due_ms;
		n->customs_before = n->customs;
		if (e->tries)
			n->tries = e->tries;
		break;
	case SL_NODE_PENDING:
		n->due_ms = 0;
		if (active(n->status))
			sl_scope_touch(sc, index);
		break;
	default:
		if (!n->started_ms)
			n->started_ms = e->started_ms;
		n->finished_ms = e->wall_ms;
		n->due_ms = 0;
		break;
	}
	if (e->took)
		signal_taken(s, e->took);
	n->status = e->status;
	take_text(&n->reason, &e->reason);
	if (e->status == SL_NODE_FAILED || e->status == SL_NODE_RETRYING) {
		n->code = e->code;
		take_text(&n->message, &e->message);
	} else if (e->status == SL_NODE_COMPLETED) {
		n->code = SL_OK;
		free(n->message);
		n->message = NULL;
	}
	if (e->output) {
		json_object_put(n->output);
		n->output = e->output;
		e->output = NULL;
	}
	if (e->stream) {
		json_object_put(n->stream);
		n->stream = e->stream;
		e->stream = NULL;
	}
	if (sl_node_status_final(e->status)) {
		json_object_put(n->given);
		n->given = NULL;
		settle_out(sc, index, e);
	}
	if (sc->parent) {
		if (e->status == SL_NODE_FAILED && !sc->failed && !sc->graph->nodes[index].absorbed)
			sc->failed = index + 1;
		if (sl_scope_ended(sc)) {
			sl_scope_touch(sc->parent, sc->parent_node);
			s->ended = sc;
		}
	}
	return SL_OK;
}

/* What came from outside: kept until a node takes it (signals), or for good (words). */
static enum sl_code keep(struct json_object **list, uint32_t most, const struct sl_event *e, struct sl_error *err)
{
	char at[SL_TIME_TEXT_BYTES];
	struct json_object *o = sl_json_dup(e->data);
	if (!*list)
		*list = json_object_new_array();
	if (!o || !*list || !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
	}
	sl_time_format(e->wall_ms, at);
	sl_json_set_i64(o, "seq", (int64_t)e->seq);
	sl_json_set_str(o, "at", sl_str(at));
	if (e->by)
		sl_json_set_str(o, "by", sl_str(e->by));
	if (json_object_array_length(*list) >= most) /* the oldest goes; who waits for none never asked for it */
		json_object_array_del_idx(*list, 0, 1);
	sl_json_append(*list, o);
	return SL_OK;
}

static enum sl_code count_told(struct sl_run_state *s, const struct sl_event *e, struct sl_error *err)
{
	uint32_t i = 0;
	if (!e->name)
		return SL_OK;
	while (i < s->n_told && strncmp(s->told[i].name, e->name, sizeof(s->told[i].name) - 1) != 0)
		i++;
	if (i == s->n_told) {
		struct sl_told *more = i < TOLD_NAMES ? realloc(s->told, (i + 1) * sizeof(*more)) : s->told;
		if (!more)
			return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
		s->told = more;
		if (i == TOLD_NAMES) /* a journal of many names is not one that this server wrote */
			return SL_OK;
		more[i] = (struct sl_told){.n = 0};
		(void)snprintf(more[i].name, sizeof(more[i].name), "%s", e->name); /* cut when longer */
		s->n_told++;
	}
	s->told[i].n++;
	return SL_OK;
}

/* Which run a node has started: after a retry it may be gone on with. */
static enum sl_code note_child(struct sl_node_state *n, const struct sl_event *e, struct sl_error *err)
{
	struct sl_run_id id;
	if (!e->name || strcmp(e->name, sl_child_started) != 0 ||
	    !sl_uuid_parse(sl_json_get_str(e->data, "run_id"), &id.u))
		return SL_OK;
	if (!n->child && !(n->child = calloc(1, sizeof(*n->child))))
		return sl_fail(err, SL_NO_MEMORY, "event %llu", (unsigned long long)e->seq);
	n->child->now = id;
	return SL_OK;
}

static char *dup_z(const char *z)
{
	return z ? sl_str_dup(sl_str(z)) : NULL;
}

static enum sl_code evolve_run(struct sl_run_state *s, struct sl_event *e, struct sl_error *err)
{
	static const enum sl_run_status leads_to[] = {
		[SL_EV_QUEUED] = SL_RUN_QUEUED,   [SL_EV_STARTED] = SL_RUN_RUNNING,
		[SL_EV_PAUSED] = SL_RUN_PAUSED,   [SL_EV_RESUMED] = SL_RUN_RUNNING,
		[SL_EV_WAITING] = SL_RUN_WAITING, [SL_EV_COMPLETED] = SL_RUN_SUCCEEDED,
		[SL_EV_FAILED] = SL_RUN_FAILED,   [SL_EV_CANCELLED] = SL_RUN_CANCELLED,
		[SL_EV_LOCKED] = SL_RUN_LOCKED,   [SL_EV_UNLOCKED] = SL_RUN_RUNNING,
	};
	bool held = s->status == SL_RUN_PAUSED || s->status == SL_RUN_LOCKED;
	enum sl_run_status to = leads_to[e->kind];
	if (!(sl_run_states[s->status].may_become & 1u << to))
		return sl_fail(err, SL_CONFLICT, "event %llu: a run cannot go from %s to %s",
			       (unsigned long long)e->seq, sl_run_states[s->status].wire, sl_run_states[to].wire);
	if (held && s->paused_since_ms) {
		s->paused_ms += e->wall_ms - s->paused_since_ms;
		s->paused_since_ms = 0;
	}
	if (s->status == SL_RUN_WAITING && s->waiting_since_ms) {
		s->waited_ms += e->wall_ms - s->waiting_since_ms;
		s->waiting_since_ms = 0;
	}
	if (to == SL_RUN_PAUSED || to == SL_RUN_LOCKED)
		s->paused_since_ms = e->wall_ms;
	if (to == SL_RUN_WAITING)
		s->waiting_since_ms = e->wall_ms;
	if (e->kind == SL_EV_STARTED)
		s->started_ms = e->wall_ms;
	if (held || e->kind == SL_EV_STARTED) /* whatever a pause held back is looked at again */
		sl_state_touch_all(s);
	s->status = to;
	s->with_parent = e->kind == SL_EV_PAUSED && sl_from_parent(e->by, e->reason);
	take_text(&s->reason, &e->reason);
	if (sl_run_status_final(to)) {
		s->finished_ms = e->wall_ms;
		s->outputs = e->output;
		e->output = NULL;
		s->code = e->code;
		take_text(&s->message, &e->message);
		take_text(&s->failed_node, &e->path);
	}
	return SL_OK;
}

enum sl_code sl_evolve(struct sl_run_state *s, struct sl_event *e, struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	if (e->seq != s->last_seq + 1)
		return sl_fail(err, SL_CONFLICT, "event %llu after %llu: the journal has a gap",
			       (unsigned long long)e->seq, (unsigned long long)s->last_seq);
	if ((e->kind == SL_EV_CREATED) != (e->seq == 1))
		return sl_fail(err, SL_CONFLICT, "event %llu: a journal begins with execution:created, once",
			       (unsigned long long)e->seq);
	bool rerun = e->kind == SL_EV_RETRIED || e->kind == SL_EV_FORKED;
	if (sl_run_status_final(s->status) && !rerun)
		return sl_fail(err, SL_CONFLICT, "event %llu: the run has ended", (unsigned long long)e->seq);
	s->ended = NULL;
	switch (e->kind) {
	case SL_EV_CREATED:
		s->created_ms = e->wall_ms;
		s->depth = (uint32_t)sl_json_get_i64(e->data, "depth", 0);
		s->parent = dup_z(sl_json_get_z(e->data, "parent"));
		s->parent_node = dup_z(sl_json_get_z(e->data, "parent_node"));
		s->forked_from = json_object_get(sl_json_get(e->data, "forked_from"));
		break;
	case SL_EV_RETRIED:
	case SL_EV_FORKED:
		rc = sl_state_rerun(s, e, err);
		break;
	case SL_EV_NODE:
		rc = evolve_node(s, e, err);
		break;
	case SL_EV_USAGE: {
		struct sl_scope *sc;
		uint32_t i;
		struct sl_node_state *n = e->path ? sl_state_find(s, sl_str(e->path), &sc, &i) : NULL;
		s->input_tokens += e->input_tokens;
		s->output_tokens += e->output_tokens;
		s->cost_microusd += e->cost_microusd;
		s->simulated |= e->simulated;
		if (n) {
			n->input_tokens += e->input_tokens;
			n->output_tokens += e->output_tokens;
			n->cost_microusd += e->cost_microusd;
		}
		break;
	}
	case SL_EV_SIGNAL:
		rc = keep(&s->signals, SL_LIMIT_SIGNALS, e, err);
		break;
	case SL_EV_FILE:
		rc = sl_files_fold(s, e, err);
		break;
	case SL_EV_INPUT:
		rc = keep(&s->said, SL_LIMIT_INTERJECTIONS, e, err);
		break;
	case SL_EV_CUSTOM: {
		struct sl_scope *sc;
		uint32_t i;
		struct sl_node_state *n = e->path ? sl_state_find(s, sl_str(e->path), &sc, &i) : NULL;
		rc = count_told(s, e, err);
		if (n && rc == SL_OK)
			rc = note_child(n, e, err);
		if (rc == SL_OK && e->name && strcmp(e->name, sl_child_started) == 0)
			rc = child_started(s, n, e, err);
		if (n && rc == SL_OK)
			n->customs++;
		break;
	}
	case SL_EV_RESET:
		break;
	default:
		rc = evolve_run(s, e, err);
	}
	if (rc == SL_OK)
		s->last_seq = e->seq;
	return rc;
}

/* Is there something that a pause calls off? A container only holds its bodies. */
static bool at_work(const struct sl_run_state *s)
{
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		const struct sl_scope *sc = s->scopes[k];
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++)
			if (sc->nodes[i].status == SL_NODE_RUNNING && !sc->graph->nodes[i].body)
				return true;
	}
	return false;
}

enum sl_code sl_decide(const struct sl_run_state *s, enum sl_command_kind cmd, struct sl_event *e, bool *nothing,
		       struct sl_error *err)
{
	static const struct {
		const char *verb;
		enum sl_event_kind kind;
		uint32_t from, already;
	} table[] = {
		[SL_CMD_PAUSE_DRAIN] = {"paused", SL_EV_PAUSED, TO(RUNNING) | TO(WAITING), TO(PAUSED)},
		/* paused: what a drain has left to run is called off; see at_work() */
		[SL_CMD_PAUSE_NOW] = {"paused", SL_EV_PAUSED, TO(RUNNING) | TO(WAITING) | TO(PAUSED), 0},
		[SL_CMD_RESUME] = {"resumed", SL_EV_RESUMED, TO(PAUSED), TO(RUNNING) | TO(WAITING)},
		[SL_CMD_UNLOCK] = {"unlocked", SL_EV_UNLOCKED, TO(LOCKED), 0},
		[SL_CMD_REVIEW] = {"reviewed", SL_EV_CUSTOM, UNFINISHED, 0},
		[SL_CMD_SIGNAL] = {"signalled", SL_EV_SIGNAL, UNFINISHED, 0},
		[SL_CMD_INPUT] = {"spoken to", SL_EV_INPUT, UNFINISHED, 0},
		[SL_CMD_CANCEL] = {"cancelled", SL_EV_CANCELLED,
				   TO(QUEUED) | TO(RUNNING) | TO(PAUSED) | TO(WAITING) | TO(LOCKED), TO(CANCELLED)},
		[SL_CMD_RETRY] = {"retried", SL_EV_RETRIED, TO(FAILED) | TO(CANCELLED), 0},
	};
	*nothing = false;
	if (table[cmd].already & 1u << s->status ||
	    (cmd == SL_CMD_PAUSE_NOW && s->status == SL_RUN_PAUSED && !at_work(s))) {
		*nothing = true;
		return SL_OK;
	}
	if (!(table[cmd].from & 1u << s->status))
		return sl_fail(err, SL_CONFLICT, "a run that is %s cannot be %s", sl_run_states[s->status].wire,
			       table[cmd].verb);
	*e = (struct sl_event){.kind = table[cmd].kind, .now = cmd == SL_CMD_PAUSE_NOW};
	return SL_OK;
}

enum sl_readiness sl_node_ready(const struct sl_scope *sc, uint32_t node, bool timed_out, uint32_t *arrived,
				uint32_t *expected)
{
	const struct sl_node_def *def = &sc->graph->nodes[node];
	uint32_t count[4] = {0};
	for (uint32_t i = 0; i < def->n_in; i++)
		count[sc->edges[def->in[i]]]++;
	uint32_t open = count[SL_EDGE_OPEN], taken = count[SL_EDGE_TAKEN], failed = count[SL_EDGE_FAILED];
	*arrived = taken;
	*expected = def->n_in;
	if (def->n_in == 0)
		return SL_READY_START;
	if (!def->has_policy) {
		if (open)
			return SL_READY_NOT;
		return taken && !failed ? SL_READY_START : SL_READY_SKIP;
	}
	if (def->policy.need < def->n_in) { /* any, quorum */
		if (taken >= def->policy.need || (timed_out && taken))
			return SL_READY_START;
		if (!timed_out && taken + open >= def->policy.need)
			return SL_READY_NOT;
		if (taken || failed || timed_out)
			return SL_READY_UNREACHABLE;
		/* Too few can come. If none does, nobody chose this way and it is skipped; one that still comes makes
		 * it a failure. Which of the two must not depend on who is faster. */
		return open ? SL_READY_NOT : SL_READY_SKIP;
	}
	if (open)
		return !timed_out ? SL_READY_NOT : taken ? SL_READY_START : SL_READY_UNREACHABLE;
	if (failed && !(def->policy.tolerates && taken)) /* all, but for what a parallel that waits for all has lost */
		return SL_READY_UNREACHABLE;
	return taken ? SL_READY_START : SL_READY_SKIP;
}

/* Has any node of this branch of `parallel` begun, and is any not finished? Then the branch is open. */
static bool branch_is_open(const struct sl_scope *sc, uint32_t parallel, uint32_t branch)
{
	bool begun = false, unfinished = false;
	for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
		const struct sl_node_def *d = &sc->graph->nodes[i];
		for (uint32_t k = 0; k < d->n_branch_of; k++)
			if (d->branch_of[k].parallel == parallel && d->branch_of[k].branch == branch) {
				begun |= sc->nodes[i].status != SL_NODE_PENDING;
				unfinished |= !sl_node_status_final(sc->nodes[i].status);
			}
	}
	return begun && unfinished;
}

bool sl_branch_open(const struct sl_scope *sc, uint32_t node)
{
	const struct sl_node_def *def = &sc->graph->nodes[node];
	for (uint32_t k = 0; k < def->n_branch_of; k++) {
		uint32_t parallel = def->branch_of[k].parallel, open = 0;
		const struct sl_node_def *p = &sc->graph->nodes[parallel];
		if (!p->branch_limit || branch_is_open(sc, parallel, def->branch_of[k].branch))
			continue;
		for (uint32_t b = 0; b < p->n_out; b++)
			open += branch_is_open(sc, parallel, b);
		if (open >= p->branch_limit)
			return false;
	}
	return true;
}

uint32_t sl_node_rest(const struct sl_scope *sc, uint32_t join, uint32_t *out)
{
	const struct sl_graph *g = sc->graph;
	uint32_t n = 0;
	for (uint32_t k = g->n_nodes;
	     k-- > 0;) { /* from the end of the graph: a node's successors are judged before it */
		uint32_t u = g->order[k];
		const struct sl_node_def *def = &g->nodes[u];
		if (u == join || def->n_out == 0 || !sl_graph_is_ancestor(g, u, join))
			continue;
		bool only_here = true;
		for (uint32_t i = 0; i < def->n_out && only_here; i++) {
			uint32_t to = g->edges[def->out[i]].to;
			bool in_set = to == join || sl_node_status_final(sc->nodes[to].status);
			for (uint32_t m = 0; m < n && !in_set; m++)
				in_set = out[m] == to;
			only_here = in_set;
		}
		if (only_here && !sl_node_status_final(sc->nodes[u].status))
			out[n++] = u;
	}
	return n;
}
