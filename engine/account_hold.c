/* engine/account_hold.c: what is held of a family's accounts, and who waits: for room, in the queue of the level that
 * is full, or for relatives that are being looked up, at the top of the family. */
#include "engine/account_priv.h"

/* ---- waiting ---- */

void sl_holds_wake(struct sl_engine *e, struct sl_list *woken)
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

void sl_holds_wake_unknown(struct sl_engine *e, struct sl_account *a)
{
	struct sl_list woken;
	sl_list_init(&woken);
	pthread_mutex_lock(&e->accounts.lock);
	sl_holds_move(&sl_account_top(a)->unknown, &woken);
	pthread_mutex_unlock(&e->accounts.lock);
	sl_holds_wake(e, &woken);
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
	sl_list_append(at ? &at->waiting : &sl_account_top(of)->unknown, &h->link);
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
	sl_account_hold(a, h->tokens, h->microusd, 1);
	return SL_HELD;
}

/* A child that its parent's journal does not know would be forgotten in a crash, and what it had spent with it. */
static bool is_untold(struct sl_account *a)
{
	bool limited = false, untold = false;
	for (; a->parent; a = a->parent) {
		const struct open_child *o = sl_account_child(a->parent, a->id);
		untold |= o && (!o->told || o->ended);
		limited |= sl_account_is_limited(a->parent);
	}
	return limited && untold;
}

enum sl_held sl_exec_hold(struct sl_exec *x, struct sl_hold *h, struct sl_waker *waker, struct sl_asked *asked,
			  struct sl_standing *at)
{
	struct sl_engine *e = x->run->engine;
	struct sl_account *a = x->run->account;
	struct sl_look *l = NULL;
	struct firsts next = {.n = 0};
	enum sl_held held;
	if (!a)
		return SL_HELD_NOTHING;
	if (h->state == SL_HOLD_HELD)
		return SL_HELD;
	pthread_mutex_lock(&e->accounts.lock);
	bool limited = false; /* or it may be */
	for (const struct sl_account *up = a; up; up = up->parent)
		limited |= sl_account_is_limited(up) || up->orphan;
	if (!limited) {
		leave_queue(h, &next);
		held = SL_HELD_NOTHING;
	} else if (e->accounts.recovering && a->recovered) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
	} else if (!sl_account_is_known(e, a)) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
		l = sl_look_new(e, a);
	} else if (is_untold(a)) {
		queue(h, a, NULL, waker, &next);
		held = SL_HELD_UNKNOWN;
	} else {
		held = hold(a, h, waker, asked, at, &next);
	}
	pthread_mutex_unlock(&e->accounts.lock);
	wake_firsts(&next);
	if (l)
		sl_look_on(l);
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
	h->state = SL_HOLD_NONE;
	if (held) {
		sl_account_hold(a, -h->tokens, -h->microusd, -1u);
		note_firsts(&next, a);
	}
	pthread_mutex_unlock(&e->accounts.lock);
	wake_firsts(&next);
}
