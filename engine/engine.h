/* engine/engine.h: the heart, as its doors see it: submit, command, look at and watch runs.
 *
 * Owns      the runs that are in memory (unfinished, or finished a moment ago), the worker pool, timers.
 * Thread    everything here [any]; callbacks say theirs.
 * Not for   HTTP, sockets, SQL, node types by name: what it needs from outside are the ports below, filled in by cmd.
 */
#pragma once

#include "base/clock.h"
#include "base/record.h"
#include "engine/admit.h"
#include "engine/stream.h"

struct sl_engine;
struct sl_node_type;
struct sl_middleware;
struct sl_services; /* llm/services.h: what plug-ins may use; the engine only carries the pointer */

/* The journal port. All calls [any], all callbacks [store] exactly once when the call returned SL_OK. */
struct sl_journal {
	/* Takes the batch (on any return). Batches of one run are written in the order of the calls, each atomically.
	 * SL_BUSY: SL_LIMIT_CREATED_QUEUE_BYTES wait already (only for batches with `create`). */
	enum sl_code (*append)(void *ctx, struct sl_batch *b);
	/* Up to `max` unfinished runs that nobody alive owns become ours, with a new epoch. `runs` (malloc'd) and its
	 * elements are the callee's. Fewer than max: there are no more now. */
	enum sl_code (*claim)(void *ctx, size_t max,
			      void (*fn)(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n), void *arg);
	/* One run with all its records. SL_NOT_FOUND: none. */
	enum sl_code (*load)(void *ctx, struct sl_run_id id,
			     void (*fn)(void *arg, enum sl_code rc, struct sl_stored_run *run), void *arg);
	/* A run that failed or was cancelled becomes ours, with a new epoch, all its records, and no recoveries
	 * counted; to everybody else it has ended as before until a batch says otherwise. SL_CONFLICT: it is none, or
	 * none any more. SL_NOT_FOUND. */
	enum sl_code (*reopen)(void *ctx, struct sl_run_id id,
			       void (*fn)(void *arg, enum sl_code rc, struct sl_stored_run *run), void *arg);
	void *ctx;
};

/* Where stored workflows are found by name. May be left out: then no run can start another by name. */
struct sl_library {
	/* version 0: the latest. fn [any] exactly once when find returned SL_OK; definition is lent, `version` the one
	 * that was found. SL_NOT_FOUND. */
	enum sl_code (*find)(void *ctx, struct sl_str name, int32_t version,
			     void (*fn)(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version),
			     void *arg);
	void *ctx;
};

struct sl_order;

/* Where orders go for runs that another server has. May be left out: then they are refused. */
struct sl_elsewhere {
	/* Everything is copied. fn [any] as a sl_command_fn, exactly once when order returned SL_OK; SL_UNAVAILABLE:
	 * whether it was done is not known. */
	enum sl_code (*order)(void *ctx, struct sl_run_id id, const struct sl_order *order,
			      void (*fn)(void *arg, enum sl_code rc, const char *status, const struct sl_error *err),
			      void *arg);
	void *ctx;
};

/* What subscribers learn, after the commit. Shared and immutable; hold it with a reference. */
struct sl_notice {
	_Atomic uint32_t refs;
	struct sl_run_id run;
	const char *status; /* of the run, after these events */
	size_t n_records;
	struct sl_record *records; /* seq, wall_ms, event, data; detail is NULL here */
	size_t n_streams;
	struct sl_stream **streams; /* begun by these events: now readable, offset 0 */
};
struct sl_notice *sl_notice_ref(struct sl_notice *n);
void sl_notice_unref(struct sl_notice *n);

/* The bus port. publish [store or worker], in the order of seq for one run. Must not block: post it to your loop. Only
 * runs that are watched (sl_engine_view with SL_VIEW_WATCH) and, while `all` is set, all runs, are published. */
struct sl_bus {
	void (*publish)(void *ctx, struct sl_notice *n);
	void *ctx;
};

/* A run that was served when the server went down, and how often in a row. */
struct sl_suspect {
	struct sl_run_id id;
	uint32_t times; /* 1: only this once */
};

struct sl_engine_config {
	const struct sl_clock *clock;
	struct sl_journal journal;
	struct sl_bus bus;
	struct sl_library library;
	struct sl_elsewhere elsewhere;
	struct sl_services *services;
	const struct sl_node_type *const *node_types; /* NULL-terminated, the generated table */
	const struct sl_middleware *const *middleware;
	uint32_t workers;           /* 0: none, the test turns the crank with sl_engine_step() */
	uint64_t seed;              /* jitter; 0 takes one from the system */
	uint32_t default_timeout_s; /* of a run without limits.timeout_s */
	uint32_t max_running;       /* runs at work where no limit is set; 0: no limit */
	uint32_t max_queued;        /* runs that wait for a place, likewise */
	uint32_t max_recoveries;    /* a run found unfinished more often is failed as poison; 0: SL_LIMIT_RECOVERIES */
	/* Whom its threads serve: one id a slot, zero while they serve nobody. In memory that outlives a crash, so that
	 * the next life knows whom to suspect. NULL: nobody remembers. */
	struct sl_run_id *serving;
	uint32_t n_serving;
	/* Whom the last life may have ended for; borrowed. NULL: not known. None: it ended while no run was served. */
	const struct sl_suspect *suspects;
	uint32_t n_suspects;
	/* [any] called when the earliest timer changes: call sl_engine_tick() at that mono_ms (UINT64_MAX: no timer).
	 */
	void (*wake_at)(void *ctx, uint64_t deadline_ms);
	void *wake_ctx;
};

SL_MUST_USE enum sl_code sl_engine_new(const struct sl_engine_config *config, struct sl_engine **out,
				       struct sl_error *err);
/* Stops the workers. Runs stay as they are in the journal; nothing is cancelled. [not a worker] */
void sl_engine_stop(struct sl_engine *e);
void sl_engine_free(struct sl_engine *e); /* after stop, and after the journal port has gone quiet */
SL_DEFINE_AUTO(sl_engine)

/* Claims unfinished runs until there are no more, and goes on with them. Call at start, and whenever an instance died.
 * `fn` [store] once, with the number of runs that were taken. */
SL_MUST_USE enum sl_code sl_engine_recover(struct sl_engine *e, void (*fn)(void *arg, enum sl_code rc, size_t runs),
					   void *arg);
/* Asks the journal of every run in memory whether it is still ours, and lets go of the others. Call it when another
 * instance may have claimed some. [any] */
void sl_engine_prove(struct sl_engine *e);
/* The slot of the run the calling thread serves, NULL: none. [any] May be asked in a signal handler. */
const struct sl_run_id *sl_engine_served_here(void);
void sl_engine_tick(struct sl_engine *e); /* fires timers that are due */
bool sl_engine_step(struct sl_engine *e); /* workers == 0: serves one mailbox; false: nothing to do */
enum sl_code sl_engine_resize(struct sl_engine *e, uint32_t workers); /* 0: as many as it began with */
/* What may be at work, and what may wait for it (engine/admit.h). Takes what is in *l; NULL: nothing but what the
 * config says. At once. */
void sl_engine_limit(struct sl_engine *e, struct sl_admit_limits *l);
void sl_engine_limits_json(struct sl_engine *e, struct sl_buf *out); /* the members `runs` and `workers` */
void sl_engine_bus_all(struct sl_engine *e, bool all);               /* publish notices of all runs */

struct sl_registry;
const struct sl_registry *sl_engine_registry(const struct sl_engine *e); /* the node types, for those who list them */

struct sl_engine_stats {
	uint32_t workers, runs_active, runs_waiting, nodes_pending;
	uint64_t runs_started, runs_succeeded, runs_failed, runs_cancelled, recovered;
	uint64_t nodes_completed, nodes_failed, node_retries, results_deduplicated, stale_epoch;
	uint64_t expr_aborts;
	uint32_t mailbox_depth;      /* runs that wait for a worker */
	struct sl_admit_stats admit; /* runs that wait for their turn, and those at work */
};
void sl_engine_stats(struct sl_engine *e, struct sl_engine_stats *out);

/* Validates a definition and, when `inputs` is set, the inputs. All problems at once. */
struct sl_problem {
	bool warning;
	char *pointer;
	char *message;
};
struct sl_problems {
	struct sl_problem *items;
	size_t n, dropped; /* dropped: beyond SL_LIMIT_DEFINITION_ERRORS */
	size_t errors;     /* how many are no warnings, dropped ones included */
};
/* The first of them in one sentence: its place, when it has one below where was looked, and what it is. */
#define SL_PROBLEM_FMT "%s%s%s"
#define SL_PROBLEM_ARG(p)                                                                                              \
	(p).n ? (p).items[0].pointer : "", (p).n && (p).items[0].pointer[0] ? ": " : "",                               \
		(p).n ? (p).items[0].message : ""
void sl_problems_fini(struct sl_problems *p);
void sl_problems_add(struct sl_problems *p, bool warning, struct sl_str pointer, const char *fmt, ...) SL_PRINTF(4, 5);
/* The section `runs` of the limits. SL_OK also when there are problems; else no memory. */
SL_MUST_USE enum sl_code sl_admit_limits_read(struct json_object *runs, struct sl_admit_limits *out,
					      struct sl_problems *problems);
/* SL_OK also when there are problems; else no memory. */
SL_MUST_USE enum sl_code sl_engine_validate(struct sl_engine *e, struct sl_str definition, const struct sl_str *inputs,
					    struct sl_problems *out);

#define SL_PAUSED_ALL "the server was paused" /* the reason; it tells these from what people pause one by one */
/* An operator's pause of everything begins or ends: nothing new is let in, and runs that are here, start, or are taken
 * over are paused; afterwards exactly these go on, also those that are taken over later. What was said last counts.
 * fn [worker or store, or here when there are no runs] once, unless SL_NO_MEMORY is returned: so many runs have done it
 * now, which is committed. Those that the failure left out follow the next time. fn may be NULL. */
typedef void sl_engine_paused_fn(void *arg, size_t runs);
SL_MUST_USE enum sl_code sl_engine_pause(struct sl_engine *e, bool paused, struct sl_str by, sl_engine_paused_fn *fn,
					 void *arg);

/* Starts a run. Takes `head` (on any return): id and created_ms are set here, project and inputs get their defaults.
 * Returns SL_INVALID with `problems` filled when definition or inputs do not fit, SL_BUSY when too many runs are
 * active. fn [store] after the first commit ([worker] at once, when its durability is `none` and it has no key): SL_OK;
 * SL_CONFLICT: the idempotency key is taken, `existing` tells by whom and `same_request` whether it is the same
 * request. */
typedef void sl_submit_fn(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request);
SL_MUST_USE enum sl_code sl_engine_submit(struct sl_engine *e, struct sl_run_head *head, struct sl_problems *problems,
					  sl_submit_fn *fn, void *arg, struct sl_error *err);

enum sl_command_kind {
	SL_CMD_PAUSE_DRAIN,
	SL_CMD_PAUSE_NOW,
	SL_CMD_RESUME,
	SL_CMD_CANCEL,
	SL_CMD_UNLOCK, /* payload: { justification } or { confirmations: [true, true, true] } */
	SL_CMD_REVIEW, /* of `node`; payload: { action, content?, reason? }. SL_CONFLICT when somebody was first */
	SL_CMD_SIGNAL, /* payload: { signal, payload? }: for who waits for it now, else for who waits next */
	SL_CMD_INPUT,  /* payload: { text }: later model calls of the run see it */
	SL_CMD_RETRY,  /* of a failed or cancelled run; `node`: that one and what follows from it is done again, too */
};
/* What somebody asks of a run. Everything is copied. */
struct sl_order {
	enum sl_command_kind kind;
	struct sl_str by, reason;
	struct sl_str node;    /* path, for those that mean one node */
	struct sl_str payload; /* a JSON object, as the kind says; empty: none */
	uint64_t at_us;        /* monotonic: when it was given; 0: now. What it calls off is timed from there */
	/* Retry, of a child: the generation of its parent that wants it, once for each. 0: somebody else does. */
	uint32_t parent_generation;
};
/* fn [store or worker]: SL_OK once the decision is committed; SL_CONFLICT: not allowed in this state (err says which);
 * SL_UNAVAILABLE: another server has the run and did not answer; ask again. SL_INVALID: the payload does not do;
 * SL_NOT_FOUND: no such run in memory or journal, or no such node. `status` is the run's wire state either way ("" when
 * not found). */
typedef void sl_command_fn(void *arg, enum sl_code rc, const char *status, const struct sl_error *err);
SL_MUST_USE enum sl_code sl_engine_command(struct sl_engine *e, struct sl_run_id id, const struct sl_order *order,
					   sl_command_fn *fn, void *arg);

/* A new run with the journal of another up to some event, and what is to be different in it. Everything is copied. */
struct sl_fork {
	uint64_t at_seq;       /* the last event that is taken over; 0: all there are, or with other inputs none */
	struct sl_str from;    /* path: that node is done again, and what follows from it; empty: none */
	struct sl_str inputs;  /* a JSON object: its members in place of the run's; empty: as they were */
	struct sl_str outputs; /* a JSON object { path: output }: nodes that get these instead; empty: none */
	struct sl_str by;      /* who; empty: unknown */
	struct sl_str idempotency_key;       /* empty: none */
	struct sl_bytes *idempotency_digest; /* lent; NULL without a key */
};
/* fn [store] once, when the new run is committed, with its id. Otherwise as sl_submit_fn, and SL_NOT_FOUND: there is no
 * such run; SL_INVALID: `problems` says what does not fit; err is set whenever rc is not SL_OK or SL_CONFLICT. */
typedef void sl_fork_fn(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request,
			const struct sl_problems *problems, const struct sl_error *err);
SL_MUST_USE enum sl_code sl_engine_fork(struct sl_engine *e, struct sl_run_id id, const struct sl_fork *f,
					sl_fork_fn *fn, void *arg);

/* How a run ended, once that is committed. fn [worker or store] once. SL_OK: it has, with `status`; outputs (JSON,
 * succeeded), err (failed: the code and the message) and what it took are lent. SL_UNAVAILABLE: it goes on somewhere
 * else, or cannot be read now (then fn may run in place); ask again later; took: so far, and `status`: as it stands in
 * the journal; NULL and "" when that is not known. SL_NOT_FOUND. */
struct sl_figures; /* engine/run_state.h */
typedef void sl_await_fn(void *arg, enum sl_code rc, const char *status, struct sl_bytes *outputs,
			 const struct sl_figures *took, const struct sl_error *err);
SL_MUST_USE enum sl_code sl_engine_await(struct sl_engine *e, struct sl_run_id id, sl_await_fn *fn, void *arg);

/* A run as GET /runs/{id} shows it, and its streams: consistent as of last_seq, which is committed. */
struct sl_view_stream {
	struct sl_str path; /* of the stream */
	struct sl_stream *stream;
};
struct sl_view {
	struct sl_run_id run;
	uint64_t last_seq;
	const char *status;
	bool live;                      /* in memory: more notices will come */
	struct sl_bytes *json;          /* the run object, without `streams` */
	struct sl_view_stream *streams; /* the latest attempt of each node that has one */
	size_t n_streams;
};
void sl_view_free(struct sl_view *v);
SL_DEFINE_AUTO(sl_view)
enum sl_view_watch { SL_VIEW_ONCE, SL_VIEW_WATCH };
/* fn [worker or store]; SL_NOT_FOUND. With SL_VIEW_WATCH every notice after last_seq is published from now on (some of
 * earlier seq may come, too), until sl_engine_unwatch(). `v` is the callee's. */
typedef void sl_view_fn(void *arg, enum sl_code rc, struct sl_view *v);
SL_MUST_USE enum sl_code sl_engine_view(struct sl_engine *e, struct sl_run_id id, enum sl_view_watch watch,
					sl_view_fn *fn, void *arg);
void sl_engine_unwatch(struct sl_engine *e, struct sl_run_id id);
