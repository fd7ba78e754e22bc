/* engine/account.h: what a run may still take of its own limits, and of those of the runs above it.
 *
 * A run that has `limits`, or that was started by a run which has some or is itself below one, has an account. It is
 * part of the account of the run that started it: what is spent in one is spent in all above it, and a hold is one in
 * all of them or in none, both under one lock. So the runs of a family never hold and spend more together than each
 * limit on the way up allows, however many of them call at once.
 *
 * What is spent is in the journals: each run has its own usage there, and what a child had taken when that ended. After
 * a restart, and when relatives are in another server, the journals are read before the first hold is given.
 *
 * Who waits for room queues at the level that is full, first come first served. When something is given back the first
 * of each level on the way up is woken, who wakes the next when it could go; so an end costs the same however many
 * wait.
 *
 * Owns      the accounts; they live as long as a run in memory needs them.
 * Thread    [run] for the functions here; the accounts [lock], none is held while somebody is called but `fits`.
 * Not for   deciding what fits: that is the caller's, who knows what a call may take.
 */
#pragma once

#include "base/id.h"
#include "base/list.h"

struct sl_account;
struct sl_exec;
struct sl_waker;

/* One run on the way up, and what is spent and held in it and all below it. */
struct sl_standing {
	struct sl_run_id run;
	char workflow[65];   /* its name; cut; "": it has none */
	bool own;            /* the run that asks; else one above it */
	uint64_t max_tokens; /* 0: not limited */
	int64_t max_microusd;
	uint64_t tokens, held_tokens;
	int64_t microusd, held_microusd;
	uint32_t holds; /* whose end may give something back */
};

enum sl_fits { SL_FITS, SL_FITS_LATER, SL_FITS_NEVER };

/* The head of what a caller knows of its call. */
struct sl_asked {
	/* Pure, and quick: under the lock. Called for each level, the lowest first, while it says SL_FITS; the amounts
	 * are those it has left here at last. */
	enum sl_fits (*fits)(struct sl_asked *a, const struct sl_standing *l);
	uint64_t tokens;
	int64_t microusd;
};

/* A hold, or a place among those who wait for one. Zeroed at first; private; must not move until it is let go. */
struct sl_hold {
	struct sl_list link;
	struct sl_waker *waker;
	struct sl_account *of, *at; /* who asks; whose room it waits for, NULL: for what is being looked up */
	uint64_t tokens;
	int64_t microusd;
	enum { SL_HOLD_NONE, SL_HOLD_WAITS, SL_HOLD_HELD } state;
};

enum sl_held {
	SL_HELD,         /* also when it was before */
	SL_HELD_NOTHING, /* no run on the way up has limits */
	SL_HELD_LATER,   /* ask again when woken; *at is the level that is full now, or where others were first */
	SL_HELD_UNKNOWN, /* likewise; what relatives have spent is being looked up */
	SL_HELD_NEVER,   /* *at is the level that is too low */
};

/* waker: woken when it may be worth asking again; NULL: nobody is, so ask again after a while. Lent. */
enum sl_held sl_exec_hold(struct sl_exec *x, struct sl_hold *h, struct sl_waker *waker, struct sl_asked *a,
			  struct sl_standing *at);
/* Gives it back, or leaves the queue. What was spent meanwhile has been booked. Idempotent. */
void sl_exec_let_go(struct sl_exec *x, struct sl_hold *h);
