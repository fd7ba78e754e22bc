/* engine/account_look.c: relatives of a run that are not here. What they have spent is in their journals, which are
 * read one after the other until nothing is missing that counts against a limit; and while runs are being taken up, it
 * is waited for those that are still to come. */
#include <stdlib.h>

#include "engine/account_priv.h"

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
		struct sl_account *p = a->orphan ? sl_account_find(e, a->parent_id) : NULL;
		if (p)
			(void)sl_account_attach(e, a, p); /* without memory it is tried again before it is used */
	}
	HASH_ITER (hh, e->accounts.table, a, tmp)
		sl_holds_move(&a->unknown, &woken);
	pthread_mutex_unlock(&e->accounts.lock);
	sl_holds_wake(e, &woken);
}

struct missing {
	struct sl_account *at;
	struct sl_run_id id;
	bool parent; /* of `at`; else one of its children */
};

static bool misses_below(struct sl_engine *e, struct sl_account *a, unsigned levels, struct missing *m)
{
	for (uint32_t i = 0; i < a->n_open && levels < MOST_LEVELS; i++) {
		struct sl_account *live = a->open[i].ended ? NULL : sl_account_find(e, a->open[i].id);
		if (live && live->orphan && sl_run_id_eq(live->parent_id, a->id))
			(void)sl_account_attach(e, live, a);
		if (live && sl_account_is_below(live, a)) {
			sl_account_know(e, &a->open[i]);
			if (misses_below(e, live, levels + 1, m))
				return true;
		} else if (!a->open[i].known) {
			*m = (struct missing){a, a->open[i].id, false};
			return true;
		}
	}
	return false;
}

/* Is something not known that counts against a limit on its way up? */
static bool misses(struct sl_engine *e, struct sl_account *a, struct missing *m)
{
	if (!e->accounts.unknown)
		return false;
	for (; a; a = a->parent) {
		struct sl_account *p = a->orphan ? sl_account_find(e, a->parent_id) : NULL;
		if (p)
			(void)sl_account_attach(e, a, p);
		if (a->orphan) {
			*m = (struct missing){a, a->parent_id, true};
			return true;
		}
		if (sl_account_is_limited(a) && misses_below(e, a, 0, m))
			return true;
	}
	return false;
}

bool sl_account_is_known(struct sl_engine *e, struct sl_account *a)
{
	struct missing m;
	return !misses(e, a, &m);
}

struct sl_look {
	struct sl_engine *engine;
	struct sl_account *of; /* a reference */
	struct missing what;   /* `at`: likewise */
};

struct sl_look *sl_look_new(struct sl_engine *e, struct sl_account *a)
{
	struct sl_look *l = a->looking ? NULL : calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	*l = (struct sl_look){.engine = e, .of = a};
	a->refs++;
	a->looking = true;
	return l;
}

/* What could not be read, because PostgreSQL is away or takes no more, could not be read at once either: who waits has
 * set a time to ask again. */
static void look_end(struct sl_look *l, enum sl_code rc)
{
	struct sl_engine *e = l->engine;
	pthread_mutex_lock(&e->accounts.lock);
	l->of->looking = false;
	pthread_mutex_unlock(&e->accounts.lock);
	if (rc == SL_OK)
		sl_holds_wake_unknown(e, l->of);
	pthread_mutex_lock(&e->accounts.lock);
	sl_account_drop(e, l->of);
	pthread_mutex_unlock(&e->accounts.lock);
	free(l);
}

/* [store] */
static void looked(void *arg, enum sl_code rc, struct sl_stored_run *stored)
{
	struct sl_look *l = arg;
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
		rc = l->what.parent ? sl_account_found_parent(e, l->what.at, l->what.id, w ? &state : NULL, w)
				    : sl_account_found_child(e, l->what.at, l->what.id, w ? &state : NULL);
	sl_account_drop(e, l->what.at);
	pthread_mutex_unlock(&e->accounts.lock);
	if (w)
		sl_run_state_fini(&state);
	if (rc == SL_OK)
		sl_look_on(l);
	else
		look_end(l, rc);
}

void sl_look_on(struct sl_look *l)
{
	struct sl_engine *e = l->engine;
	const struct sl_journal *j = &e->config.journal;
	pthread_mutex_lock(&e->accounts.lock);
	bool more = misses(e, l->of, &l->what);
	if (more)
		l->what.at->refs++;
	struct sl_run_id id = l->what.id;
	pthread_mutex_unlock(&e->accounts.lock);
	enum sl_code rc = more ? j->load(j->ctx, id, looked, l) : SL_OK;
	if (more && rc == SL_OK)
		return;
	if (more) {
		pthread_mutex_lock(&e->accounts.lock);
		sl_account_drop(e, l->what.at);
		pthread_mutex_unlock(&e->accounts.lock);
	}
	look_end(l, rc);
}
