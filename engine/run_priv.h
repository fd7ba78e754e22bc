/* engine/run_priv.h: what the files of the engine share about a run in memory: the actor, its executions, its messages.
 *
 * A run is an actor: a mailbox and a state that one worker touches at a time. Everything marked [run] is touched only
 * inside run_turn() (run.c). A message is freed or given back by its `run` function.
 */
#pragma once

#include <pthread.h>
#define HASH_NONFATAL_OOM 1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#include <uthash.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mpsc.h"
#include "engine/admit.h"
#include "engine/middleware.h"
#include "engine/pool.h"
#include "engine/run_state.h"
#include "engine/timers.h"

struct sl_run;
struct sl_exec;
struct sl_account;

struct sl_msg {
	struct sl_link link;
	void (*run)(struct sl_run *r, struct sl_msg *m); /* [run]; frees m */
	void (*drop)(struct sl_msg *m);                  /* [any] the run is gone; frees m */
};

/* A timer that becomes a message. It belongs to the variable `home`, which is NULL again when fn is called. Holds the
 * run. */
struct sl_run_timer {
	struct sl_timer timer;
	struct sl_run *run;
	struct sl_run_timer **home;              /* [run] NULL: stopped while its message was on the way */
	void (*fn)(struct sl_run *r, void *arg); /* [run] */
	void *arg;
	struct sl_msg msg;
};

/* What a live run has for each node of a scope. */
struct sl_node_rt {
	struct sl_scope *scope;
	struct sl_exec *exec;     /* NULL: not executing */
	struct sl_stream *stream; /* the latest attempt's; NULL: none */
	struct sl_run_timer *join_timer;
	uint32_t join_told; /* arrivals told */
	bool join_late;     /* its deadline has passed */
};

/* Somebody who waits for a sequence number to be committed. */
struct sl_waiter {
	struct sl_waiter *next;
	uint64_t seq;
	void (*fn)(struct sl_waiter *w, enum sl_code rc); /* [run or store]; frees w */
};

/* Somebody who waits for the end of a run. */
struct sl_end_waiter {
	struct sl_end_waiter *next;
	sl_await_fn *fn;
	void *arg;
};

struct sl_run {
	_Atomic uint32_t refs;
	struct sl_engine *engine;
	struct sl_run_head *head;     /* [const] */
	struct sl_workflow *workflow; /* [const] */
	UT_hash_handle hh;            /* [lock engine->lock] by id */
	struct sl_run_id id;          /* [const] */
	uint64_t epoch;               /* [const] */
	uint32_t recoveries;          /* [const] */
	struct sl_account *account;   /* [const] before anybody can find it; NULL: it needs none */

	struct sl_mpsc mailbox;
	_Atomic bool scheduled;
	struct sl_job job;
	_Atomic bool watched; /* notices are wanted */
	_Atomic bool counted_waiting;
	struct sl_admit_ticket ticket; /* its place among those at work; has not joined when a run started it */
	struct sl_msg place_msg;       /* the place it has got */

	/* [run] */
	struct sl_run_state state;
	struct json_object *inputs, *about; /* about: what `run` is in expressions */
	uint32_t n_execs;
	uint32_t n_busy; /* of them, containers that wait for more than their bodies */
	struct sl_run_timer *deadline;
	struct sl_run_timer *parent_timer; /* a child: when to ask for its parent again */
	uint32_t parent_asked;
	uint32_t timeout_s;
	uint64_t committed_seq;
	struct sl_record *out; /* decided in this turn, not yet sent */
	size_t n_out, cap_out;
	size_t sent_bytes;        /* of state.bytes */
	uint64_t begins_at;       /* asks for its place when this is committed; 0: has asked */
	struct sl_stream **begun; /* streams begun by them; references */
	size_t n_begun, cap_begun;
	bool projection_dirty;
	struct sl_waiter *waiters;
	struct sl_end_waiter *ends;
	bool laid_aside;  /* for want of memory: let go at the end of the turn */
	bool lost;        /* another instance owns it: say nothing any more */
	bool wait_commit; /* a node with external effects waits for what is before it */
	uint64_t random;
	void **mw_state; /* by middleware; NULL: it asked for none */
	size_t n_mw;
	const char *off_reason; /* why what is called off in this moment is: a constant; NULL: nothing is */
	uint64_t off_at_us;     /* monotonic: when that was ordered; 0: now */
	bool trip_due;          /* a middleware wants the run locked */
	struct sl_trip trip;
	char *trip_path;
	struct sl_run_head *create; /* to go with the first batch */
	sl_submit_fn *submit_fn;
	void *submit_arg;
};

/* Somebody watches a run that is not here: it may be taken over from another server. */
struct sl_wanted {
	UT_hash_handle hh;
	struct sl_run_id id;
};

struct sl_engine {
	struct sl_engine_config config;
	struct sl_registry *registry;
	const struct sl_middleware **middleware; /* by slot */
	size_t n_middleware;
	struct sl_pool *pool;
	struct sl_timers *timers;
	struct sl_admit *admit;
	_Atomic uint32_t max_unfinished; /* 0: SL_LIMIT_ACTIVE_RUNS */
	_Atomic bool paused;             /* all of it, by an operator */
	_Atomic uint32_t workers;        /* set while it runs; 0: as configured */
	pthread_mutex_t lock;
	struct sl_run *runs;            /* [lock] hash by id */
	struct sl_reopening *reopening; /* [lock] rerun.c */
	struct sl_wanted *wanted;       /* [lock] hash by id */
	struct sl_workflow_cache *workflows;
	struct {
		pthread_mutex_t lock; /* taken alone */
		struct sl_account *table;
		uint32_t recovering; /* journals are being taken up: families are not complete */
		uint32_t unknown;    /* relatives that are not known yet, of all accounts */
	} accounts;
	_Atomic bool bus_all, stopping;
	_Atomic uint32_t active, waiting, pending_nodes;
	_Atomic uint64_t started, succeeded, failed, cancelled, recovered, nodes_completed, nodes_failed, node_retries,
		deduplicated, stale;
	_Atomic uint32_t flights; /* batches the journal has */
};

/* run.c */
struct sl_run *sl_run_new(struct sl_engine *e, struct sl_run_head *head,
			  struct sl_workflow *w); /* takes head, refs w; NULL: no memory */
struct sl_run *sl_run_ref(struct sl_run *r);
void sl_run_unref(struct sl_run *r);
bool sl_run_drop_mail(struct sl_run *r);              /* [nobody serves it] false: there was none */
void sl_run_discard(struct sl_job *j);                /* a turn that will not come any more */
void sl_run_post(struct sl_run *r, struct sl_msg *m); /* [any] */
/* [run, or no worker is left] Stops all that runs and waits, without a word: another owns it, or the server stops. */
void sl_run_silence(struct sl_run *r);
/* [run] Decides an event: sets seq and time, folds it, queues it for the journal. Takes the content of e. False: the
 * run fails or has failed for this reason. */
bool sl_run_emit(struct sl_run *r, struct sl_event *e);
bool sl_run_emit_node(struct sl_scope *sc, uint32_t node, enum sl_node_status status, uint32_t attempt,
		      const char *reason);
void sl_run_fail(struct sl_run *r, enum sl_code code, const char *message, const char *path); /* [run] ends it */
/* [run] Calls are called off for this reason until sl_run_off_end(); the outermost reason counts. True: it is ours. */
static inline bool sl_run_off_begin(struct sl_run *r, const char *reason, uint64_t ordered_at_us)
{
	if (r->off_reason)
		return false;
	r->off_reason = reason;
	r->off_at_us = ordered_at_us;
	return true;
}
static inline void sl_run_off_end(struct sl_run *r, bool ours)
{
	if (ours)
		r->off_reason = NULL;
}
void sl_run_cancel_all(struct sl_run *r, const char *reason); /* [run] what runs and waits, with one event each */
/* [run] What runs is called off, to be repeated. What waits for time or people goes on waiting. */
void sl_run_call_off(struct sl_run *r, const char *reason);
void sl_run_touch_pending(struct sl_run *r); /* [run] what has not begun is looked at again */
/* [run] Cancels what is at work in the bodies of a container. */
void sl_run_cancel_bodies(struct sl_scope *sc, uint32_t node, const char *reason);
SL_MUST_USE enum sl_code sl_run_ready_scope(struct sl_scope *sc);    /* gives a scope what a live run needs of it */
static inline struct sl_run *sl_scope_run(const struct sl_scope *sc) /* of a live run's scope */
{
	return SL_CONTAINER_OF(sc->home, struct sl_run, state);
}
void sl_run_wait(struct sl_run *r, struct sl_waiter *w); /* [run] calls fn at once when committed */
/* [run] Starts a timer for `home`, stopping the one that is there. False: no memory. */
SL_MUST_USE bool sl_run_timer_start(struct sl_run_timer **home, struct sl_run *r, uint64_t due_mono_ms,
				    void (*fn)(struct sl_run *r, void *arg), void *arg);
/* [run] The same for a moment of the wall clock, which it follows when it is set. */
SL_MUST_USE bool sl_run_timer_start_wall(struct sl_run_timer **home, struct sl_run *r, int64_t due_wall_ms,
					 void (*fn)(struct sl_run *r, void *arg), void *arg);
void sl_run_timer_stop(struct sl_run_timer **home); /* [run] after this, fn does not run; no-op when it is NULL */
void sl_run_arm_deadline(struct sl_run *r);
/* [run] A line of its life for an operator: which run, of what, how it is, and for how long it has been going. Nothing
 * of what it is about. why: a wire code or a constant; NULL: none. flight.c */
void sl_run_log(const struct sl_run *r, enum sl_level level, const char *sentence, const char *why);
void sl_run_stream_begun(struct sl_run *r, struct sl_stream *s); /* announced with what is decided in this turn */
/* command.c. A command as it lies in the mailbox: everything its own. */
struct sl_order_copy {
	enum sl_command_kind kind;
	char *by, *reason, *node;
	struct json_object *payload; /* NULL: none */
	uint64_t at_us;              /* monotonic: when it came */
};
SL_MUST_USE enum sl_code sl_run_command(struct sl_run *r, const struct sl_order_copy *cmd, struct sl_error *err);
/* [any] The state has refused it: says more of the reason, where there is more to say. */
void sl_command_refused(struct sl_run_state *s, const struct sl_order_copy *order, struct sl_error *err);
/* place.c */
SL_MUST_USE enum sl_code sl_places_new(struct sl_engine *e);
SL_MUST_USE enum sl_code sl_run_join(struct sl_run *r); /* before anybody can find it */
void sl_run_begin(struct sl_run *r);     /* [run] it is created: starts at once, or says why it does not */
void sl_run_ask_again(struct sl_run *r); /* [any] the same for one that was queued in an earlier life; says nothing */
void sl_run_start_at_once(struct sl_run *r); /* [run] a queued one: who waits for it has a place already */
void sl_run_tell_queued(struct sl_run *r);   /* [run] says why it waits, when it does */
void sl_run_place_follows(struct sl_run *r); /* [run] its status has changed */
void sl_run_leave_place(struct sl_run *r);   /* [any] for good; the caller has a reference */
/* pause_all.c. [run] Pauses it when everything is paused, or lets it go on when it is not any more. True: it did. */
bool sl_run_follow_pause(struct sl_run *r, const char *by);
/* account.c */
/* [nobody has found it] Opens the account of a run as its journal has it, if it needs one. */
SL_MUST_USE enum sl_code sl_run_open_account(struct sl_run *r);
void sl_run_close_account(struct sl_run *r); /* with the last reference */
void sl_run_spent(struct sl_run *r, uint64_t tokens,
		  int64_t microusd); /* [run] before it is let go what was held for it */
/* [run] It has told of a child, in its last event. */
void sl_run_child_started(struct sl_run *r, struct sl_run_id id);
/* [run] before: what was told of its end the last time; NULL: it was open. again: it may be gone on with. */
void sl_run_child_ended(struct sl_run *r, struct sl_run_id id, const struct sl_figures *f,
			const struct sl_figures *before, bool again);
/* [run] One that had ended with that is gone on with. It has just been told of, as of a new one. */
void sl_run_child_reopened(struct sl_run *r, struct json_object *took);
/* [run] A child that goes on in another server had taken that much when it was looked at. */
void sl_run_child_seen(struct sl_run *r, struct sl_run_id id, const struct sl_figures *f);
/* account_look.c */
/* From the first claim of a recovery to the last: holds of what is taken up wait until all are there. */
void sl_accounts_recovering(struct sl_engine *e);
void sl_accounts_recovered(struct sl_engine *e);
/* flight.c */
void sl_run_show_last(struct sl_run *r,
		      const struct sl_record *last); /* [nobody has it] to who watches: so far it came */
void sl_run_flush(struct sl_run *r);                 /* [run] sends what this turn decided, if it is time */
void sl_run_flush_all(struct sl_run *r);             /* [run, or no worker is left] sends it in any case */
bool sl_run_unwritten(const struct sl_run *r); /* not even its creation was or will soon be written: durability none */

uint64_t sl_run_mono_of_wall(struct sl_run *r, int64_t wall_ms);
char *sl_z(const char *z); /* strdup that takes NULL */

/* engine.c */
/* As find; and when it is not there and `want` is set, whoever adds it later finds it watched. */
struct sl_run *sl_engine_find_or_want(struct sl_engine *e, struct sl_run_id id, bool want);
void sl_engine_unwant(struct sl_engine *e, struct sl_run_id id);
struct sl_run *sl_engine_find(struct sl_engine *e, struct sl_run_id id); /* a reference; NULL: not in memory */
/* Takes a reference. SL_CONFLICT: it is there already; SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_engine_add(struct sl_engine *e, struct sl_run *r);
void sl_engine_forget(struct sl_engine *e, struct sl_run *r); /* drops that reference */
/* [any] See sl_engine_prove(). */
void sl_run_prove(struct sl_run *r);
/* [any] This thread serves that run now; NULL: none. Noted where it outlives a crash. */
void sl_engine_serves(struct sl_engine *e, const struct sl_run_id *id);
SL_MUST_USE enum sl_code sl_engine_workflow(struct sl_engine *e, struct sl_str text, struct sl_workflow **out,
					    struct sl_problems *problems); /* cached; out has a reference */
/* The same for the definition of a stored run, which was accepted once: see sl_workflow_parse_stored(). SL_INVALID: it
 * cannot be read, err says why. */
SL_MUST_USE enum sl_code sl_engine_workflow_of(struct sl_engine *e, const struct sl_stored_run *run,
					       struct sl_workflow **out, struct sl_error *err);
/* Gives the inputs their defaults and checks them. SL_INVALID: `problems` says what does not fit. */
SL_MUST_USE enum sl_code sl_engine_settle(struct sl_run_head *head, const struct sl_workflow *w,
					  struct sl_problems *problems, struct sl_error *err);
struct sl_run_head *sl_engine_head_dup(const struct sl_run_head *h); /* NULL: no memory */
/* SL_BUSY: there is no room for one run more. */
SL_MUST_USE enum sl_code sl_engine_room(struct sl_engine *e, bool child, struct sl_error *err);
struct sl_workflow_cache *sl_workflow_cache_new(void);
void sl_workflow_cache_free(struct sl_workflow_cache *c);

/* recover.c: folds a stored run. SL_OK with *state valid as far as it goes; else err says what is wrong with the
 * journal. */
SL_MUST_USE enum sl_code sl_fold(const struct sl_stored_run *stored, const struct sl_workflow *w,
				 struct sl_run_state *state, struct sl_error *err);
/* The same with its definition; of one that cannot be read there are no nodes, but how the run stands and what it has
 * used. Not SL_OK and *w NULL: no memory, and no state; with *w: the state is valid as far as it goes. */
SL_MUST_USE enum sl_code sl_stored_state(struct sl_engine *e, const struct sl_stored_run *stored,
					 struct sl_workflow **w, struct sl_run_state *state, struct sl_error *err);
void sl_run_go_on(struct sl_run *r); /* [run] what was at work is begun again */
/* [nobody has it yet] A run in memory from its journal, with nothing going on in it. Takes the head. */
SL_MUST_USE enum sl_code sl_run_of_stored(struct sl_engine *e, struct sl_stored_run *stored, struct sl_run **out,
					  struct sl_error *err);
SL_MUST_USE enum sl_code sl_run_ready(struct sl_run *r); /* what a live run needs of each scope, and its streams */

/* rerun.c: a retry, which begins with opening the run again */
SL_MUST_USE enum sl_code sl_rerun_retry(struct sl_engine *e, struct sl_run_id id, const struct sl_order *order,
					sl_command_fn *fn, void *arg);

bool sl_rerun_full(const struct sl_run_state *s); /* no more is written into its journal */

/* await.c */
void sl_run_tell_ends(struct sl_run *r, enum sl_code rc); /* [run, or nobody has it] all who wait for the end */
/* As sl_engine_await(), for a child that asks after its parent [run of the child]; NULL: nobody's child asks. For a
 * child a parent elsewhere has also ended when the node that started it does not wait for it any more. */
SL_MUST_USE enum sl_code sl_run_await_as(struct sl_engine *e, struct sl_run_id id, const struct sl_run *child,
					 sl_await_fn *fn, void *arg);
/* At the end of the engine: whoever waits for a commit hears SL_CANCELLED, whoever waits for the end SL_UNAVAILABLE. */
void sl_run_end_waits(struct sl_run *r);

/* parent.c */
/* [run] A child is cancelled when its parent has ended; and paused when that is found paused or locked as it is taken
 * up, or elsewhere; and cancelled when its node is then found not to wait for it. */
void sl_run_watch_parent(struct sl_run *r);
enum sl_command_kind sl_child_held_by(const struct sl_run *r); /* [run] which way it is paused then */
/* [run of the parent] It was taken up again, or the parent has come back to it. */
void sl_child_follows(struct sl_run *parent, struct sl_run_id child, const char *node, enum sl_command_kind hold);
/* Does that node of its parent wait for it, or may it, as far as the state tells? Pure. */
bool sl_child_is_wanted(struct sl_run_state *parent, const char *node, struct sl_run_id child);
/* [run of the child] Its parent, if that is here, tells it whether it is to stand still: it has done what was ordered
 * in the parent's name, and the order may be of another server, which has not noticed yet that it lost the parent; or a
 * pause of all is over, and the parent's may not be. False: it is elsewhere, or there is no memory to ask. */
SL_MUST_USE bool sl_child_confirm(struct sl_run *r);

/* child.c */
/* [run] What is decided with event `seq` leaves the node without the run it had started: if that has not ended, as far
 * as it was told, it is cancelled when that event is written. */
void sl_run_leave_child(struct sl_scope *sc, uint32_t node, uint64_t seq);
void sl_run_order_children(struct sl_run *r, enum sl_command_kind kind); /* [run] passes an order on */
/* [run] It has been taken up. When it stands still, those in other servers are told: what they were told before may be
 * lost. */
void sl_run_hold_children(struct sl_run *r);
bool sl_exec_has_child(const struct sl_exec *x);
bool sl_exec_knows_child(const struct sl_exec *x); /* and has told it what it was told itself */

/* view.c */
SL_MUST_USE enum sl_code sl_view_of_run(struct sl_run *r, struct sl_view **out); /* [run] */

struct sl_stream *sl_stream_of_state(struct sl_run_id id, const struct sl_scope *sc, uint32_t node);

/* exec.c */
enum sl_exec_how {
	SL_EXEC_FRESH,   /* from the beginning */
	SL_EXEC_RESUMED, /* the node was waiting, or held bodies, when the server went away: the same attempt goes on */
};
void sl_exec_start(struct sl_scope *sc, uint32_t node, enum sl_exec_how how);
void sl_exec_retry_later(struct sl_scope *sc, uint32_t node,
			 uint64_t due_mono_ms); /* recovered while it was retrying */
/* As the type's slot says; SL_NOT_FOUND also when it does not wait, or takes no deliveries. x may be gone. */
SL_MUST_USE enum sl_code sl_exec_deliver(struct sl_exec *x, const struct sl_delivery *d, struct sl_error *err);
void sl_exec_bodies(struct sl_exec *x); /* a container: tells it of the bodies that have ended */
void sl_exec_cancel(struct sl_exec *x, enum sl_node_status to,
		    const char *reason);  /* to: cancelled, or pending (called off) */
void sl_exec_kill(struct sl_exec *x);     /* the same without a word: the run is lost, or the server stops */
void sl_exec_unpaused(struct sl_exec *x); /* what came due during a pause goes on now */
bool sl_exec_taken(struct sl_scope *sc, uint32_t node, const char *kase, struct json_object *output, uint32_t **taken,
		   uint32_t *n, struct sl_error *err);
struct sl_env sl_scope_env(struct sl_scope *sc); /* what expressions in this scope see */

/* [run] The run is to be locked when this turn ends; the first of several counts. */
void sl_run_trip(struct sl_run *r, const struct sl_trip *trip, const char *path);

/* run.c, for exec.c: an execution has ended and left the table */
void sl_run_node_ended(struct sl_scope *sc, uint32_t node);
