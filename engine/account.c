/* engine/account.c: see account.h. What an account has spent includes what its open children have: those whose end
 * their parent has not been told. One that is in memory adds to it as it spends; of the others it is known from their
 * journal, or not yet. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/exec_priv.h"
#include "engine/account.h"

#define MOST_LEVELS (2 * SL_LIMIT_RUN_DEPTH) /* more are no family, but a journal that somebody else has written */

/* A child that had not ended, as far as its parent knows. */
struct open_child {
	struct sl_run_id id;
	bool told;  /* it stands in the journal of its parent, or did: before that it spends nothing */
	bool known; /* what it has spent is part of what its parent has: these figures, or those of its account */
	bool ended; /* it has taken this, which its parent has booked as its own; but it may be gone on with */
	uint64_t tokens;
	int64_t microusd;
};

struct sl_account { /* [lock engine->accounts.lock] */
	UT_hash_handle hh;
	struct sl_run_id id;
	uint32_t refs; /* runs, children, who is looking */
	char workflow[65];
	uint64_t max_tokens;
	int64_t max_microusd;
	struct sl_account *parent; /* a reference */
	struct sl_run_id parent_id;
	bool orphan;    /* it has a parent, which has not been found yet */
	bool recovered; /* while others are being taken up, too, its family is not complete */
	bool looking;
	uint64_t tokens, held_tokens; /* with all that is below it */
	int64_t microusd, held_microusd;
	uint32_t holds;
	struct open_child *open;
	uint32_t n_open, cap_open;
	struct sl_list waiting; /* of struct sl_hold: for room here, in the order in which they came */
	struct sl_list unknown; /* of struct sl_hold: for what is being looked up; at the top of a family only */
};

static struct sl_account *find(struct sl_engine *e, struct sl_run_id id)
{
	struct sl_account *a;
	HASH_FIND(hh, e->accounts.table, &id, sizeof(id), a);
	return a;
}

static struct sl_account *top(struct sl_account *a)
{
	while (a->parent)
		a = a->parent;
	return a;
}

static bool is_below(const struct sl_account *a, const struct sl_account *above)
{
	while (a && a != above)
		a = a->parent;
	return a != NULL;
}

static void add_up(struct sl_account *a, uint64_t tokens, int64_t microusd)
{
	for (; a; a = a->parent) {
		a->tokens += tokens; /* less than nothing wraps around */
		a->microusd += microusd;
	}
}

static struct open_child *open_of(struct sl_account *a, struct sl_run_id id)
{
	for (uint32_t i = 0; i < a->n_open; i++)
		if (sl_run_id_eq(a->open[i].id, id))
			return &a->open[i];
	return NULL;
}

static void know(struct sl_engine *e, struct open_child *o)
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
	know(e, o);
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
		struct open_child *o = open_of(a, ids[i]);
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

static void drop(struct sl_engine *e, struct sl_account *a)
{
	while (a && --a->refs == 0) {
		struct sl_account *p = a->parent;
		for (struct sl_account *up = p; up; up = up->parent) { /* what it came to stays */
			struct open_child *o = open_of(up, a->id);
			if (!o)
				continue;
			know(e, o);
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

static void move_all(struct sl_list *from, struct sl_list *to)
{
	while (!sl_list_empty(from)) {
		struct sl_list *l = from->next;
		sl_list_drop(l);
		sl_list_append(to, l);
	}
}

/* What it has spent becomes a part of what p has. SL_CONFLICT: they cannot be relatives. */
static enum sl_code attach(struct sl_engine *e, struct sl_account *a, struct sl_account *p)
{
	unsigned levels = 0;
	for (const struct sl_account *up = p; up; up = up->parent)
		if (up == a || ++levels > MOST_LEVELS) {
			set_orphan(e, a, false);
			return SL_CONFLICT;
		}
	struct open_child *o = open_of(p, a->id);
	if (!o && !room_for(p, 1))
		return SL_NO_MEMORY;
	if (!o)
		o = open_add(e, p, a->id);
	add_up(p, a->tokens - o->tokens, a->microusd - o->microusd);
	know(e, o);
	if (!o->ended)
		o->tokens = 0;
	if (!o->ended)
		o->microusd = 0;
	for (struct sl_account *up = p; up; up = up->parent) {
		up->held_tokens += a->held_tokens;
		up->held_microusd += a->held_microusd;
		up->holds += a->holds;
	}
	a->parent = p;
	p->refs++;
	set_orphan(e, a, false);
	move_all(&a->unknown, &top(p)->unknown);
	return SL_OK;
}

/* Those of this list that ask for a, or for one below it. */
static void move_of(struct sl_list *from, const struct sl_account *a, struct sl_list *to, struct sl_account *at)
{
	struct sl_list keep;
	sl_list_init(&keep);
	move_all(from, &keep);
	while (!sl_list_empty(&keep)) {
		struct sl_hold *h = sl_list_entry(keep.next, struct sl_hold, link);
		bool its = is_below(h->of, a);
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
	struct open_child *o = open_of(p, a->id);
	if (o) {
		o->tokens = a->tokens;
		o->microusd = a->microusd;
	}
	for (struct sl_account *up = p; up; up = up->parent) {
		up->held_tokens -= a->held_tokens;
		up->held_microusd -= a->held_microusd;
		up->holds -= a->holds;
		move_of(&up->waiting, a, &a->waiting, a); /* their next look says whether they need to wait */
		move_of(&up->unknown, a, &a->unknown, NULL);
	}
	a->parent = NULL;
	drop(e, p);
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
			struct open_child *o = open_of(a, id);
			if (!o && !room_for(a, 1))
				return false;
			o = o ? o : open_add(e, a, id);
			know(e, o);
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
		const struct sl_account *live = find(e, o->id);
		if (live && is_below(live, a)) {
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
	struct sl_account *a = find(e, r->id), *p = child ? find(e, parent) : NULL;
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
		else if (p && !a->parent && attach(e, a, p) == SL_NO_MEMORY)
			rc = SL_NO_MEMORY;
		if (rc == SL_OK)
			r->account = a;
		else
			drop(e, a);
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
	drop(e, r->account);
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

static void wake_unknown(struct sl_engine *e, struct sl_account *a);

static void child_told(struct sl_run *r, struct sl_run_id id)
{
	struct sl_engine *e = r->engine;
	pthread_mutex_lock(&e->accounts.lock);
	struct open_child *o = open_of(r->account, id);
	bool news = o && !o->told;
	if (o)
		o->told = true;
	pthread_mutex_unlock(&e->accounts.lock);
	if (news)
		wake_unknown(e, r->account);
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

/* One that is in memory, as a part of a; else NULL. */
static struct sl_account *below(struct sl_engine *e, struct sl_account *a, struct sl_run_id id)
{
	struct sl_account *live = find(e, id);
	return live && is_below(live, a) ? live : NULL;
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
	struct open_child *o = open_of(a, id);
	if (!live && o)
		add_up(a, tokens - o->tokens, f->cost_microusd - o->microusd);
	else if (!live)
		add_up(a, tokens - (before ? before->input_tokens + before->output_tokens : 0),
		       f->cost_microusd - (before ? before->cost_microusd : 0));
	if (o)
		forget_open(e, a, o);
	bool room = room_for(a, f->n_open + 1); /* else what is still to come of them is not looked for */
	for (uint32_t i = 0; room && i < f->n_open; i++) {
		const struct open_child *left = live ? open_of(live, f->open[i]) : NULL;
		if (open_of(a, f->open[i]))
			continue;
		o = open_add(e, a, f->open[i]);
		o->told = true;
		if (!left || !left->known)
			continue;
		know(e, o);
		o->tokens = left->tokens;
		o->microusd = left->microusd;
	}
	if (room && again) {
		o = open_add(e, a, id);
		know(e, o);
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
	struct open_child *o = open_of(a, id);
	if (!o && room_for(a, 1)) {
		o = open_add(e, a, id);
		know(e, o);
		o->tokens = f.input_tokens + f.output_tokens;
		o->microusd = f.cost_microusd;
	}
	if (o)
		o->ended = false;
	if (o && below(e, a, id)) /* it stands for itself */
		o->tokens = 0;
	for (size_t i = 0; list && i < json_object_array_length(list); i++) { /* its own again */
		o = sl_uuid_parse(sl_json_str(json_object_array_get_idx(list, i)), &left.u) ? open_of(a, left) : NULL;
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
	struct open_child *o = open_of(r->account, id);
	if (o && o->known && !o->ended && !below(e, r->account, id))
		count_open(r->account, o, f);
	pthread_mutex_unlock(&e->accounts.lock);
}

/* ---- waiting ---- */

/* Wakes all in the list, without the lock: whoever is woken may drop the last reference to its run. */
static void wake(struct sl_engine *e, struct sl_list *woken)
{
	for (;;) {
		struct sl_waker *w = NULL;
		pthread_mutex_lock(&e->accounts.lock);
		while (!w && !sl_list_empty(woken)) {
			struct sl_hold *h = sl_list_entry(woken->next, struct sl_hold, link);
			sl_list_drop(&h->link);
			h->state = SL_HOLD_NONE;
			w = h->waker ? sl_waker_ref(h->waker) : NULL;
		}
		pthread_mutex_unlock(&e->accounts.lock);
		if (!w)
			return;
		sl_waker_wake(w);
		sl_waker_unref(w);
	}
}

/* More is known: all who wait for that look again. */
static void wake_unknown(struct sl_engine *e, struct sl_account *a)
{
	struct sl_list woken;
	sl_list_init(&woken);
	pthread_mutex_lock(&e->accounts.lock);
	move_all(&top(a)->unknown, &woken);
	pthread_mutex_unlock(&e->accounts.lock);
	wake(e, &woken);
}

/* Who is woken when the lock is open again. They keep their places until they have come for what they wait for. */
struct firsts {
	struct sl_waker *wakers[MOST_LEVELS + 2];
	uint32_t n;
};

static void note_first(struct firsts *f, const struct sl_account *a)
{
	if (sl_list_empty(&a->waiting) || f->n == SL_COUNT_OF(f->wakers))
		return;
	const struct sl_hold *h = sl_list_entry(a->waiting.next, struct sl_hold, link);
	if (h->waker)
		f->wakers[f->n++] = sl_waker_ref(h->waker);
}

static void note_firsts(struct firsts *f, const struct sl_account *a)
{
	for (; a; a = a->parent)
		note_first(f, a);
}

static void wake_firsts(struct firsts *f) /* without the lock */
{
	for (uint32_t i = 0; i < f->n; i++) {
		sl_waker_wake(f->wakers[i]);
		sl_waker_unref(f->wakers[i]);
	}
}

void sl_accounts_recovering(struct sl_engine *e)
{
	pthread_mutex_lock(&e->accounts.lock);
	e->accounts.recovering++;
	pthread_mutex_unlock(&e->accounts.lock);
}

void sl_accounts_recovered(struct sl_engine *e)
{
	struct sl_account *a, *tmp;
	struct sl_list woken;
	sl_list_init(&woken);
	pthread_mutex_lock(&e->accounts.lock);
	bool all = --e->accounts.recovering == 0;
	HASH_ITER (hh, e->accounts.table, a, tmp) {
		a->recovered &= !all;
		struct sl_account *p = a->orphan ? find(e, a->parent_id) : NULL;
		if (p)
			(void)attach(e, a, p); /* without memory it is tried again before it is used */
	}
	HASH_ITER (hh, e->accounts.table, a, tmp)
		move_all(&a->unknown, &woken);
	pthread_mutex_unlock(&e->accounts.lock);
	wake(e, &woken);
}

/* ---- looking for relatives that are not here ---- */

struct missing {
	struct sl_account *at;
	struct sl_run_id id;
	bool parent; /* of `at`; else one of its children */
};

static bool misses_below(struct sl_engine *e, struct sl_account *a, unsigned levels, struct missing *m)
{
	for (uint32_t i = 0; i < a->n_open && levels < MOST_LEVELS; i++) {
		struct sl_account *live = a->open[i].ended ? NULL : find(e, a->open[i].id);
		if (live && live->orphan && sl_run_id_eq(live->parent_id, a->id))
			(void)attach(e, live, a);
		if (live && is_below(live, a)) {
			know(e, &a->open[i]);
			if (misses_below(e, live, levels + 1, m))
				return true;
		} else if (!a->open[i].known) {
			*m = (struct missing){a, a->open[i].id, false};
			return true;
		}
	}
	return false;
}

static bool is_limited(const struct sl_account *a)
{
	return a->max_tokens || a->max_microusd;
}

/* Is something not known that counts against a limit on its way up? */
static bool misses(struct sl_engine *e, struct sl_account *a, struct missing *m)
{
	if (!e->accounts.unknown)
		return false;
	for (; a; a = a->parent) {
		struct sl_account *p = a->orphan ? find(e, a->parent_id) : NULL;
		if (p)
			(void)attach(e, a, p);
		if (a->orphan) {
			*m = (struct missing){a, a->parent_id, true};
			return true;
		}
		if (is_limited(a) && misses_below(e, a, 0, m))
			return true;
	}
	return false;
}

struct look {
	struct sl_engine *engine;
	struct sl_account *of; /* a reference */
	struct missing what;   /* `at`: likewise */
};

static void look_on(struct look *l);

static void look_end(struct look *l)
{
	struct sl_engine *e = l->engine;
	pthread_mutex_lock(&e->accounts.lock);
	l->of->looking = false;
	pthread_mutex_unlock(&e->accounts.lock);
	wake_unknown(e, l->of);
	pthread_mutex_lock(&e->accounts.lock);
	drop(e, l->of);
	pthread_mutex_unlock(&e->accounts.lock);
	free(l);
}

static enum sl_code found_parent(struct sl_engine *e, struct missing *m, const struct sl_run_state *s,
				 const struct sl_workflow *w)
{
	struct sl_account *p = find(e, m->id);
	if (!m->at->orphan)
		return SL_OK;
	if (!s) {
		set_orphan(e, m->at, false);
		return SL_OK;
	}
	if (!p) {
		p = make(e, m->id);
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
	if (rc == SL_OK && attach(e, m->at, p) == SL_NO_MEMORY)
		rc = SL_NO_MEMORY;
	struct open_child *o = m->at->parent == p ? open_of(p, m->at->id) : NULL;
	if (o)
		o->told = true; /* it is told elsewhere, and that is not seen here */
	drop(e, p);
	return rc;
}

static enum sl_code found_child(struct sl_engine *e, struct missing *m, const struct sl_run_state *s)
{
	struct open_child *o = open_of(m->at, m->id);
	const struct sl_account *live = find(e, m->id);
	if (!o || o->known)
		return SL_OK;
	if (s && !(live && is_below(live, m->at))) {
		const struct sl_figures f = sl_state_figures(s);
		if (!room_for(m->at, s->n_open))
			return SL_NO_MEMORY;
		count_open(m->at, open_of(m->at, m->id), &f); /* it may have moved */
		open_all(e, m->at, s->open, s->n_open);
	}
	know(e, open_of(m->at, m->id));
	return SL_OK;
}

/* [store] */
static void looked(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct look *l = arg;
	struct sl_engine *e = l->engine;
	SL_AUTO(sl_stored_run) run = stored;
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_run_state state = {0};
	struct sl_error err;
	bool lost =
		rc == SL_NOT_FOUND || rc == SL_INTERNAL || (rc == SL_OK && run->damaged); /* nobody will ever know */
	if (rc == SL_OK && !lost)
		rc = sl_stored_state(e, run, &w, &state, &err);
	pthread_mutex_lock(&e->accounts.lock);
	if (w || lost)
		rc = l->what.parent ? found_parent(e, &l->what, w ? &state : NULL, w)
				    : found_child(e, &l->what, w ? &state : NULL);
	drop(e, l->what.at);
	pthread_mutex_unlock(&e->accounts.lock);
	if (w)
		sl_run_state_fini(&state);
	if (rc == SL_OK)
		look_on(l);
	else
		look_end(l); /* who waits asks again */
}

static void look_on(struct look *l)
{
	struct sl_engine *e = l->engine;
	const struct sl_journal *j = &e->config.journal;
	pthread_mutex_lock(&e->accounts.lock);
	bool more = misses(e, l->of, &l->what);
	if (more)
		l->what.at->refs++;
	struct sl_run_id id = l->what.id;
	pthread_mutex_unlock(&e->accounts.lock);
	if (more && j->load(j->ctx, id, looked, l) == SL_OK)
		return;
	if (more) {
		pthread_mutex_lock(&e->accounts.lock);
		drop(e, l->what.at);
		pthread_mutex_unlock(&e->accounts.lock);
	}
	look_end(l);
}

/* ---- holding ---- */

/* Whoever is first then is woken: there may be room for it that was not enough for this one. */
static void leave_queue(struct sl_hold *h, struct firsts *next)
{
	struct sl_account *at = h->at;
	if (h->state != SL_HOLD_WAITS)
		return;
	bool first = at && at->waiting.next == &h->link;
	sl_list_drop(&h->link);
	h->state = SL_HOLD_NONE;
	if (first)
		note_first(next, at);
}

/* at: NULL for what is being looked up. It keeps its place when it has one there. */
static void queue(struct sl_hold *h, struct sl_account *of, struct sl_account *at, struct sl_waker *waker,
		  struct firsts *next)
{
	if (h->state == SL_HOLD_WAITS && h->at == at)
		return;
	leave_queue(h, next);
	h->state = SL_HOLD_WAITS;
	h->waker = waker;
	h->of = of;
	h->at = at;
	sl_list_append(at ? &at->waiting : &top(of)->unknown, &h->link);
}

static bool is_first(const struct sl_account *a, const struct sl_hold *h)
{
	return sl_list_empty(&a->waiting) || a->waiting.next == &h->link;
}

static struct sl_standing level_of(const struct sl_account *a, bool own)
{
	struct sl_standing l = {.run = a->id,
				.own = own,
				.max_tokens = a->max_tokens,
				.max_microusd = a->max_microusd,
				.tokens = a->tokens,
				.held_tokens = a->held_tokens,
				.microusd = a->microusd,
				.held_microusd = a->held_microusd,
				.holds = a->holds};
	memcpy(l.workflow, a->workflow, sizeof(l.workflow));
	return l;
}

static enum sl_held hold(struct sl_account *a, struct sl_hold *h, struct sl_waker *waker, struct sl_asked *asked,
			 struct sl_standing *at, struct firsts *next)
{
	for (struct sl_account *up = a; up; up = up->parent) {
		*at = level_of(up, up == a);
		enum sl_fits fits = asked->fits(asked, at);
		if (fits == SL_FITS && is_first(up, h))
			continue;
		/* else there is nobody whose end could make it fit */
		if (fits == SL_FITS || (fits == SL_FITS_LATER && up->holds)) {
			queue(h, a, up, waker, next);
			return SL_HELD_LATER;
		}
		leave_queue(h, next);
		return SL_HELD_NEVER;
	}
	leave_queue(h, next);
	h->state = SL_HOLD_HELD;
	h->tokens = asked->tokens;
	h->microusd = asked->microusd;
	for (struct sl_account *up = a; up; up = up->parent) {
		up->held_tokens += h->tokens;
		up->held_microusd += h->microusd;
		up->holds++;
	}
	return SL_HELD;
}

/* A child that its parent's journal does not know would be forgotten in a crash, and what it had spent with it. */
static bool is_untold(struct sl_account *a)
{
	bool limited = false, untold = false;
	for (; a->parent; a = a->parent) {
		const struct open_child *o = open_of(a->parent, a->id);
		untold |= o && (!o->told || o->ended);
		limited |= is_limited(a->parent);
	}
	return limited && untold;
}

enum sl_held sl_exec_hold(struct sl_exec *x, struct sl_hold *h, struct sl_waker *waker, struct sl_asked *asked,
			  struct sl_standing *at)
{
	struct sl_engine *e = x->run->engine;
	struct sl_account *a = x->run->account;
	struct missing m;
	struct look *l = NULL;
	struct firsts next = {.n = 0};
	enum sl_held held;
	if (!a)
		return SL_HELD_NOTHING;
	if (h->state == SL_HOLD_HELD)
		return SL_HELD;
	pthread_mutex_lock(&e->accounts.lock);
	bool limited = false; /* or it may be */
	for (const struct sl_account *up = a; up; up = up->parent)
		limited |= is_limited(up) || up->orphan;
	if (!limited) {
		leave_queue(h, &next);
		held = SL_HELD_NOTHING;
	} else if (e->accounts.recovering && a->recovered) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
	} else if (misses(e, a, &m)) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
		if (!a->looking && (l = calloc(1, sizeof(*l)))) {
			*l = (struct look){.engine = e, .of = a};
			a->refs++;
			a->looking = true;
		}
	} else if (is_untold(a)) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
	} else {
		held = hold(a, h, waker, asked, at, &next);
	}
	pthread_mutex_unlock(&e->accounts.lock);
	wake_firsts(&next);
	if (l)
		look_on(l);
	return held;
}

void sl_exec_let_go(struct sl_exec *x, struct sl_hold *h)
{
	struct sl_engine *e = x->run->engine;
	struct sl_account *a = x->run->account;
	struct firsts next = {.n = 0};
	if (!a)
		return;
	pthread_mutex_lock(&e->accounts.lock);
	bool held = h->state == SL_HOLD_HELD;
	leave_queue(h, &next);
	for (struct sl_account *up = held ? a : NULL; up; up = up->parent) {
		up->held_tokens -= h->tokens;
		up->held_microusd -= h->microusd;
		up->holds--;
	}
	h->state = SL_HOLD_NONE;
	if (held)
		note_firsts(&next, a);
	pthread_mutex_unlock(&e->accounts.lock);
	wake_firsts(&next);
}
