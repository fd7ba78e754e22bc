/* engine/account.c: see account.h. What an account has spent includes what its open children have: those whose end
 * their parent has not been told. One that is in memory adds to it as it spends; of the others it is known from their
 * journal, or not yet. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/account_priv.h"

/* One that is in memory, as a part of a; else NULL. */
static struct sl_account *below(struct sl_engine *e, struct sl_account *a, struct sl_run_id id)
{
	struct sl_account *live = sl_account_find(e, id);
	return live && sl_account_is_below(live, a) ? live : NULL;
}

static void add_up(struct sl_account *a, uint64_t tokens, int64_t microusd)
{
	for (; a; a = a->parent) {
		a->tokens += tokens; /* less than nothing wraps around */
		a->microusd += microusd;
	}
}

void sl_account_hold(struct sl_account *a, uint64_t tokens, int64_t microusd, uint32_t holds)
{
	for (; a; a = a->parent) {
		a->held_tokens += tokens; /* likewise */
		a->held_microusd += microusd;
		a->holds += holds;
	}
}

void sl_account_know(struct sl_engine *e, struct open_child *o)
{
	e->accounts.unknown -= !o->known;
	o->known = true;
}

static void count_open(struct sl_account *a, struct open_child *o, const struct sl_figures *f)
{
	uint64_t tokens = f->input_tokens + f->output_tokens;
	add_up(a, tokens - o->tokens, f->cost_microusd - o->microusd);
	o->tokens = tokens;
	o->microusd = f->cost_microusd;
}

static void forget_open(struct sl_engine *e, struct sl_account *a, struct open_child *o)
{
	sl_account_know(e, o);
	*o = a->open[--a->n_open];
}

static bool room_for(struct sl_account *a, uint32_t more)
{
	if (a->cap_open - a->n_open >= more)
		return true;
	uint32_t cap = a->cap_open * 2 > a->n_open + more ? a->cap_open * 2 : a->n_open + more;
	struct open_child *p = realloc(a->open, cap * sizeof(*p));
	if (!p)
		return false;
	a->open = p;
	a->cap_open = cap;
	return true;
}

/* There is room. */
static struct open_child *open_add(struct sl_engine *e, struct sl_account *a, struct sl_run_id id)
{
	a->open[a->n_open] = (struct open_child){.id = id};
	e->accounts.unknown++;
	return &a->open[a->n_open++];
}

/* Those that its journal knows of; there is room. */
static void open_all(struct sl_engine *e, struct sl_account *a, const struct sl_run_id *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct open_child *o = sl_account_child(a, ids[i]);
		(o ? o : open_add(e, a, ids[i]))->told = true;
	}
}

static void set_orphan(struct sl_engine *e, struct sl_account *a, bool orphan)
{
	e->accounts.unknown += orphan;
	e->accounts.unknown -= a->orphan;
	a->orphan = orphan;
}

/* Without a reference. */
static struct sl_account *make(struct sl_engine *e, struct sl_run_id id)
{
	struct sl_account *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->id = id;
	sl_list_init(&a->waiting);
	sl_list_init(&a->unknown);
	HASH_ADD(hh, e->accounts.table, id, sizeof(a->id), a);
	if (a->hh.tbl)
		return a;
	free(a);
	return NULL;
}

void sl_account_drop(struct sl_engine *e, struct sl_account *a)
{
	while (a && --a->refs == 0) {
		struct sl_account *p = a->parent;
		for (struct sl_account *up = p; up; up = up->parent) { /* what it came to stays */
			struct open_child *o = sl_account_child(up, a->id);
			if (!o)
				continue;
			sl_account_know(e, o);
			o->tokens = a->tokens;
			o->microusd = a->microusd;
			if (!o->told && !a->tokens && !a->microusd) /* it never was, perhaps */
				forget_open(e, up, o);
		}
		while (a->n_open)
			forget_open(e, a, &a->open[0]);
		set_orphan(e, a, false);
		HASH_DEL(e->accounts.table, a);
		free(a->open);
		free(a);
		a = p;
	}
}

enum sl_code sl_account_attach(struct sl_engine *e, struct sl_account *a, struct sl_account *p)
{
	unsigned levels = 0;
	for (const struct sl_account *up = p; up; up = up->parent)
		if (up == a || ++levels > MOST_LEVELS) {
			set_orphan(e, a, false);
			return SL_CONFLICT;
		}
	struct open_child *o = sl_account_child(p, a->id);
	if (!o && !room_for(p, 1))
		return SL_NO_MEMORY;
	if (!o)
		o = open_add(e, p, a->id);
	add_up(p, a->tokens - o->tokens, a->microusd - o->microusd);
	sl_account_know(e, o);
	if (!o->ended) {
		o->tokens = 0;
		o->microusd = 0;
	}
	sl_account_hold(p, a->held_tokens, a->held_microusd, a->holds);
	a->parent = p;
	p->refs++;
	set_orphan(e, a, false);
	sl_holds_move(&a->unknown, &sl_account_top(p)->unknown);
	return SL_OK;
}

/* Those of this list that ask for a, or for one below it. */
static void move_of(struct sl_list *from, const struct sl_account *a, struct sl_list *to, struct sl_account *at)
{
	struct sl_list keep;
	sl_list_init(&keep);
	sl_holds_move(from, &keep);
	while (!sl_list_empty(&keep)) {
		struct sl_hold *h = sl_list_entry(keep.next, struct sl_hold, link);
		bool its = sl_account_is_below(h->of, a);
		sl_list_drop(&h->link);
		sl_list_append(its ? to : from, &h->link);
		if (its)
			h->at = at;
	}
}

/* It goes on by itself, with what is below it; what they have spent so far stays with its parent. */
static void detach(struct sl_engine *e, struct sl_account *a)
{
	struct sl_account *p = a->parent;
	struct open_child *o = sl_account_child(p, a->id);
	if (o) {
		o->tokens = a->tokens;
		o->microusd = a->microusd;
	}
	sl_account_hold(p, -a->held_tokens, -a->held_microusd, -a->holds);
	for (struct sl_account *up = p; up; up = up->parent) {
		move_of(&up->waiting, a, &a->waiting, a); /* their next look says whether they need to wait */
		move_of(&up->unknown, a, &a->unknown, NULL);
	}
	a->parent = NULL;
	sl_account_drop(e, p);
}

/* Children whose end it was told, and which it may go on with; what they took is booked. False: no memory. */
static bool stand_ended(struct sl_engine *e, struct sl_account *a, const struct sl_run_state *s)
{
	struct sl_run_id id;
	struct sl_figures f;
	for (uint32_t i = 0; i < a->n_open; i++)
		a->open[i].ended = false;
	for (uint32_t k = 0; k < s->n_scopes; k++)
		for (uint32_t i = 0; i < s->scopes[k]->graph->n_nodes; i++) {
			const struct sl_node_child *c = s->scopes[k]->nodes[i].child;
			if (!c || !c->took || !sl_figures_read(c->took, &id, &f) || sl_state_is_open(s, id))
				continue;
			struct open_child *o = sl_account_child(a, id);
			if (!o && !room_for(a, 1))
				return false;
			o = o ? o : open_add(e, a, id);
			sl_account_know(e, o);
			o->ended = true;
			o->told = false;
			o->tokens = f.input_tokens + f.output_tokens;
			o->microusd = f.cost_microusd;
		}
	return true;
}

/* What a run stands for by its journal, and which children that is without. False: no memory. */
static bool stand(struct sl_engine *e, struct sl_account *a, const struct sl_run_state *s, const struct sl_workflow *w)
{
	const struct sl_figures f = sl_state_figures(s);
	uint64_t tokens = f.input_tokens + f.output_tokens;
	int64_t microusd = f.cost_microusd;
	if (!stand_ended(e, a, s) || !room_for(a, s->n_open))
		return false;
	open_all(e, a, s->open, s->n_open);
	for (uint32_t i = a->n_open; i-- > 0;) {
		const struct open_child *o = &a->open[i];
		const struct sl_account *live = below(e, a, o->id);
		if (live) {
			tokens += live->tokens - (o->ended ? o->tokens : 0);
			microusd += live->microusd - (o->ended ? o->microusd : 0);
		} else if (!o->ended && sl_state_is_open(s, o->id)) {
			tokens += o->tokens;
			microusd += o->microusd;
		} else if (!o->ended) {
			forget_open(e, a, &a->open[i]);
		}
	}
	add_up(a, tokens - a->tokens, microusd - a->microusd);
	a->max_tokens = w->max_tokens;
	a->max_microusd = w->max_cost_microusd;
	(void)snprintf(a->workflow, sizeof(a->workflow), "%s", w->name ? w->name : ""); /* cut when longer */
	return true;
}

/* A child that somebody else has retried goes on by itself. */
static bool parent_of(const struct sl_run_state *s, struct sl_run_id *parent)
{
	return s->parent && !s->by_itself && sl_uuid_parse(sl_str(s->parent), &parent->u);
}

enum sl_code sl_account_found_parent(struct sl_engine *e, struct sl_account *at, struct sl_run_id id,
				     const struct sl_run_state *s, const struct sl_workflow *w)
{
	struct sl_account *p = sl_account_find(e, id);
	if (!at->orphan)
		return SL_OK;
	if (!s) {
		set_orphan(e, at, false);
		return SL_OK;
	}
	if (!p) {
		p = make(e, id);
		if (!p)
			return SL_NO_MEMORY;
		p->refs++;
		set_orphan(e, p, parent_of(s, &p->parent_id));
	} else {
		p->refs++;
	}
	enum sl_code rc = SL_OK;
	if (p->refs == 1 && !stand(e, p, s, w))
		rc = SL_NO_MEMORY;
	if (rc == SL_OK && sl_account_attach(e, at, p) == SL_NO_MEMORY)
		rc = SL_NO_MEMORY;
	struct open_child *o = at->parent == p ? sl_account_child(p, at->id) : NULL;
	if (o)
		o->told = true; /* it is told elsewhere, and that is not seen here */
	sl_account_drop(e, p);
	return rc;
}

enum sl_code sl_account_found_child(struct sl_engine *e, struct sl_account *at, struct sl_run_id id,
				    const struct sl_run_state *s)
{
	struct open_child *o = sl_account_child(at, id);
	if (!o || o->known)
		return SL_OK;
	if (s && !below(e, at, id)) {
		const struct sl_figures f = sl_state_figures(s);
		if (!room_for(at, s->n_open))
			return SL_NO_MEMORY;
		count_open(at, sl_account_child(at, id), &f); /* it may have moved */
		open_all(e, at, s->open, s->n_open);
	}
	sl_account_know(e, sl_account_child(at, id));
	return SL_OK;
}

enum sl_code sl_run_open_account(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	const struct sl_run_state *s = &r->state;
	const struct sl_workflow *w = r->workflow;
	struct sl_run_id parent = r->head->parent;
	bool fresh = !s->last_seq; /* the run that starts it is here, and has an account if it needs one */
	bool child = fresh ? r->head->parent_node != NULL : parent_of(s, &parent);
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&e->accounts.lock);
	struct sl_account *a = sl_account_find(e, r->id), *p = child ? sl_account_find(e, parent) : NULL;
	bool orphan = child && !p && !fresh;
	if (a || p || orphan || s->n_open || w->max_tokens || w->max_cost_microusd) {
		if (!a)
			a = make(e, r->id);
		if (a) {
			a->refs++;
			if (a->parent && a->parent != p)
				detach(e, a);
			a->recovered = r->recoveries > 0;
			a->parent_id = parent;
			set_orphan(e, a, orphan);
		}
		if (!a || !stand(e, a, s, w))
			rc = SL_NO_MEMORY;
		else if (p && !a->parent && sl_account_attach(e, a, p) == SL_NO_MEMORY)
			rc = SL_NO_MEMORY;
		if (rc == SL_OK)
			r->account = a;
		else
			sl_account_drop(e, a);
	}
	pthread_mutex_unlock(&e->accounts.lock);
	return rc;
}

void sl_run_close_account(struct sl_run *r)
{
	struct sl_engine *e = r->engine;
	if (!r->account)
		return;
	pthread_mutex_lock(&e->accounts.lock);
	sl_account_drop(e, r->account);
	pthread_mutex_unlock(&e->accounts.lock);
	r->account = NULL;
}

void sl_run_spent(struct sl_run *r, uint64_t tokens, int64_t microusd)
{
	struct sl_engine *e = r->engine;
	if (!r->account)
		return;
	pthread_mutex_lock(&e->accounts.lock);
	add_up(r->account, tokens, microusd);
	pthread_mutex_unlock(&e->accounts.lock);
}

/* ---- children ---- */

struct told {
	struct sl_waiter waiter;
	struct sl_run *run; /* whose waiter it is */
	struct sl_run_id child;
};

static void child_told(struct sl_run *r, struct sl_run_id id)
{
	struct sl_engine *e = r->engine;
	pthread_mutex_lock(&e->accounts.lock);
	struct open_child *o = sl_account_child(r->account, id);
	bool news = o && !o->told;
	if (o)
		o->told = true;
	pthread_mutex_unlock(&e->accounts.lock);
	if (news)
		sl_holds_wake_unknown(e, r->account);
}

/* [run or store] Written; or the run is not ours any more, and what others know of it counts. */
static void started_committed(struct sl_waiter *w, enum sl_code rc)
{
	struct told *t = SL_CONTAINER_OF(w, struct told, waiter);
	child_told(t->run, t->child);
	free(t);
}

void sl_run_child_started(struct sl_run *r, struct sl_run_id id)
{
	struct told *t = r->account ? calloc(1, sizeof(*t)) : NULL;
	if (!t) {
		if (r->account)
			child_told(r, id); /* rather than that it waits for ever */
		return;
	}
	*t = (struct told){.waiter = {.seq = r->state.last_seq, .fn = started_committed}, .run = r, .child = id};
	sl_run_wait(r, &t->waiter);
}

void sl_run_child_ended(struct sl_run *r, struct sl_run_id id, const struct sl_figures *f,
			const struct sl_figures *before, bool again)
{
	struct sl_engine *e = r->engine;
	struct sl_account *a = r->account;
	uint64_t tokens = f->input_tokens + f->output_tokens;
	if (!a)
		return;
	pthread_mutex_lock(&e->accounts.lock);
	struct sl_account *live = below(e, a, id);
	struct open_child *o = sl_account_child(a, id);
	if (!live && o)
		add_up(a, tokens - o->tokens, f->cost_microusd - o->microusd);
	else if (!live)
		add_up(a, tokens - (before ? before->input_tokens + before->output_tokens : 0),
		       f->cost_microusd - (before ? before->cost_microusd : 0));
	if (o)
		forget_open(e, a, o);
	bool room = room_for(a, f->n_open + 1); /* else what is still to come of them is not looked for */
	for (uint32_t i = 0; room && i < f->n_open; i++) {
		const struct open_child *left = live ? sl_account_child(live, f->open[i]) : NULL;
		if (sl_account_child(a, f->open[i]))
			continue;
		o = open_add(e, a, f->open[i]);
		o->told = true;
		if (!left || !left->known)
			continue;
		sl_account_know(e, o);
		o->tokens = left->tokens;
		o->microusd = left->microusd;
	}
	if (room && again) {
		o = open_add(e, a, id);
		sl_account_know(e, o);
		o->ended = true;
		o->tokens = tokens;
		o->microusd = f->cost_microusd;
	}
	pthread_mutex_unlock(&e->accounts.lock);
}

void sl_run_child_reopened(struct sl_run *r, struct json_object *took)
{
	struct sl_engine *e = r->engine;
	struct sl_account *a = r->account;
	struct sl_run_id id, left;
	struct sl_figures f;
	struct json_object *list = sl_json_get(took, "open");
	if (!a || !sl_figures_read(took, &id, &f))
		return;
	pthread_mutex_lock(&e->accounts.lock);
	struct open_child *o = sl_account_child(a, id);
	if (!o && room_for(a, 1)) {
		o = open_add(e, a, id);
		sl_account_know(e, o);
		o->tokens = f.input_tokens + f.output_tokens;
		o->microusd = f.cost_microusd;
	}
	if (o)
		o->ended = false;
	if (o && below(e, a, id)) /* it stands for itself */
		o->tokens = 0;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) { /* its own again */
		o = sl_uuid_parse(sl_json_str(json_object_array_get_idx(list, i)), &left.u) ? sl_account_child(a, left)
											    : NULL;
		if (!o)
			continue;
		if (!below(e, a, left))
			add_up(a, -o->tokens, -o->microusd);
		forget_open(e, a, o);
	}
	pthread_mutex_unlock(&e->accounts.lock);
}

void sl_run_child_seen(struct sl_run *r, struct sl_run_id id, const struct sl_figures *f)
{
	struct sl_engine *e = r->engine;
	if (!r->account)
		return;
	pthread_mutex_lock(&e->accounts.lock);
	struct open_child *o = sl_account_child(r->account, id);
	if (o && o->known && !o->ended && !below(e, r->account, id))
		count_open(r->account, o, f);
	pthread_mutex_unlock(&e->accounts.lock);
}
