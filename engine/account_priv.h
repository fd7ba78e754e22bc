/* engine/account_priv.h: what the files of the accounts share.
 *
 *   account.c       what a run and all below it have spent: who belongs to whom, and what their journals say
 *   account_look.c  relatives that are not here: their journals are looked up, one after the other
 *   account_hold.c  what is held, and who waits for room or for what is being looked up
 *
 * Thread    [lock engine->accounts.lock] all of it, unless it says that the lock is open.
 */
#pragma once

#include "engine/account.h"
#include "engine/exec_priv.h"

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

struct sl_account {
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

static inline struct sl_account *sl_account_find(struct sl_engine *e, struct sl_run_id id)
{
	struct sl_account *a;
	HASH_FIND(hh, e->accounts.table, &id, sizeof(id), a);
	return a;
}

static inline struct sl_account *sl_account_top(struct sl_account *a)
{
	while (a->parent)
		a = a->parent;
	return a;
}

static inline bool sl_account_is_below(const struct sl_account *a, const struct sl_account *above)
{
	while (a && a != above)
		a = a->parent;
	return a != NULL;
}

static inline bool sl_account_is_limited(const struct sl_account *a)
{
	return a->max_tokens || a->max_microusd;
}

static inline struct open_child *sl_account_child(struct sl_account *a, struct sl_run_id id)
{
	for (uint32_t i = 0; i < a->n_open; i++)
		if (sl_run_id_eq(a->open[i].id, id))
			return &a->open[i];
	return NULL;
}

static inline void sl_holds_move(struct sl_list *from, struct sl_list *to)
{
	while (!sl_list_empty(from)) {
		struct sl_list *l = from->next;
		sl_list_drop(l);
		sl_list_append(to, l);
	}
}

/* account.c */
/* So much more, in so many holds more, is held in it and all above it; less wraps around. */
void sl_account_hold(struct sl_account *a, uint64_t tokens, int64_t microusd, uint32_t holds);
void sl_account_know(struct sl_engine *e, struct open_child *o);
void sl_account_drop(struct sl_engine *e, struct sl_account *a); /* a reference */
/* What it has spent becomes a part of what p has. SL_CONFLICT: they cannot be relatives. */
enum sl_code sl_account_attach(struct sl_engine *e, struct sl_account *a, struct sl_account *p);
/* Found: the parent of `at`, or one of its children, as its journal has it; s NULL: nobody will ever know. */
enum sl_code sl_account_found_parent(struct sl_engine *e, struct sl_account *at, struct sl_run_id id,
				     const struct sl_run_state *s, const struct sl_workflow *w);
enum sl_code sl_account_found_child(struct sl_engine *e, struct sl_account *at, struct sl_run_id id,
				    const struct sl_run_state *s);

/* account_look.c */
struct sl_look;
/* Is all known that counts against a limit on its way up? */
bool sl_account_is_known(struct sl_engine *e, struct sl_account *a);
/* To be gone on with. NULL: it is looked for already; or there is no memory. */
struct sl_look *sl_look_new(struct sl_engine *e, struct sl_account *a);
void sl_look_on(struct sl_look *l); /* [lock open] */

/* account_hold.c */
/* [lock open] Wakes all in the list: whoever is woken may drop the last reference to its run. */
void sl_holds_wake(struct sl_engine *e, struct sl_list *woken);
void sl_holds_wake_unknown(struct sl_engine *e, struct sl_account *a); /* [lock open] more is known: all look again */
