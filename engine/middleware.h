/* engine/middleware.h: what stands around every node execution.
 *
 * A middleware is one file in middleware/, named in its build list. The driver (engine/exec.c) chains them in the order
 * of enum sl_slot; a middleware never calls the next one. Because `leave` always comes for an `enter` that passed,
 * inside out, on success, failure and cancel, what `enter` reserved is always settled.
 *
 * Thread    enter, leave, failed, recover, watch: [run]. What watch() gives is called by the stream's writer, an I/O
 *           thread; struct sl_waker is [any].
 */
#pragma once

#include "engine/node.h"

struct sl_clock;
struct sl_exec; /* one execution of one node: an attempt, and the ones after it */
struct sl_node_def;
struct sl_template;
struct sl_waker;
struct sl_workflow;

enum sl_slot {
	/* once an execution, outermost first */
	SL_SLOT_TRACE,
	SL_SLOT_PAUSE_GATE,
	SL_SLOT_RUN_BREAKER,
	SL_SLOT_CACHE,
	SL_SLOT_BUDGET,
	SL_SLOT_FALLBACK,
	SL_SLOT_RETRY,
	SL_SLOT_FAILOVER,
	/* once an attempt: each may go to another provider */
	SL_SLOT_TIMEOUT,
	SL_SLOT_PROVIDER_BREAKER,
	SL_SLOT_RATE_LIMITER,
	SL_SLOT_CONCURRENCY,
	SL_SLOTS,
};

enum sl_verdict {
	SL_PASS,
	SL_DELAY,  /* no thread is held; enter is asked again when it is woken (recheck, waker), and may delay again */
	SL_ANSWER, /* sl_exec_answer() was called: a cache hit */
	SL_REFUSE, /* err says why; inside of SL_SLOT_FAILOVER it is an attempt that failed: `failed` is asked */
};

/* What became of an execution or attempt. */
struct sl_outcome {
	enum sl_code code;          /* SL_OK, SL_CANCELLED or the failure */
	const struct sl_error *err; /* NULL when code is SL_OK */
	struct json_object *output; /* borrowed; NULL unless SL_OK */
	uint32_t attempt;           /* 0: it never came to one */
	uint64_t took_ms;
	uint64_t work_ms; /* of these, a worker's time in expressions and the node type; outer slots only, and real time
			   */
};

enum sl_again {
	SL_AGAIN_NO,    /* let the failure out */
	SL_AGAIN_AFTER, /* another attempt after *delay_ms */
};

/* Why a run is locked. */
struct sl_trip {
	const char *reason; /* "TOKEN_SURGE", …: a constant, part of the contract */
	char message[200];  /* for people */
	double measured, limit;
};

/* Sees what an attempt streams. The head of a middleware's own struct; it belongs to the stream and outlives the
 * attempt, so it keeps no pointer to the execution. */
struct sl_watch {
	/* [writer] after each append. SL_TRIPPED, with *trip filled: the append fails with it, which ends the call
	 * there and then, and the run is locked. Anything else but SL_OK fails the append alone. */
	enum sl_code (*see)(struct sl_watch *w, enum sl_stream_kind kind, struct sl_str piece, struct sl_trip *trip);
	void (*free)(struct sl_watch *w); /* [any] once, with the stream */
};

struct sl_middleware {
	const char *name;
	enum sl_slot slot;
	bool (*applies)(const struct sl_node_def *def);                    /* NULL: to every node. [any], pure */
	enum sl_verdict (*enter)(struct sl_exec *x, struct sl_error *err); /* NULL: pass */
	/* Once for each execution (or attempt) that enter let pass or delayed, also when it is called off meanwhile.
	 * NULL: nothing to settle. */
	void (*leave)(struct sl_exec *x, const struct sl_outcome *outcome);
	/* An attempt failed: is another one worth it? Asked from the inside out; the first that says so wins. NULL: no.
	 */
	enum sl_again (*failed)(struct sl_exec *x, const struct sl_outcome *outcome, uint64_t *delay_ms);
	/* The execution failed for good: *output (the caller's) replaces the failure and SL_OK is returned, or the
	 * failure stays (any other code). NULL: it stays. */
	enum sl_code (*recover)(struct sl_exec *x, const struct sl_outcome *outcome, struct json_object **output);
	/* An attempt begins to stream: what should see it; the stream's from then on. NULL: nothing. */
	struct sl_watch *(*watch)(struct sl_exec *x);
};

extern const struct sl_middleware *const sl_middlewares[]; /* NULL-terminated; middleware/meson.build makes it */

/* What it is. All of it may be asked before there is an attempt, too. */
const struct sl_node_def *sl_exec_def(const struct sl_exec *x);
const struct sl_workflow *sl_exec_workflow(const struct sl_exec *x);
struct sl_run_id sl_exec_run(const struct sl_exec *x);
const char *sl_exec_path(const struct sl_exec *x);
const char *sl_exec_project(const struct sl_exec *x);
const struct sl_clock *sl_exec_clock(const struct sl_exec *x);
struct sl_services *sl_exec_services(const struct sl_exec *x);
struct json_object *sl_exec_params(struct sl_exec *x);     /* evaluated; borrowed */
struct json_object *sl_exec_said(const struct sl_exec *x); /* as sl_node_said() */
struct sl_node *sl_exec_node(struct sl_exec *x);           /* the running attempt; NULL outside of one */
uint32_t sl_exec_tries(const struct sl_exec *x);           /* attempts of this execution so far, this one included */
struct sl_node_route *sl_exec_route(struct sl_exec *x);    /* which way the next attempt takes; kept between attempts */
uint32_t sl_exec_earlier_tries(const struct sl_exec *x);   /* of these, how many had failed before a restart */
uint64_t sl_exec_random(struct sl_exec *x); /* seeded with the run: the same in a simulation with the same seed */
/* What the attempt said it cost: in `leave` and `failed` of the inner slots. NULL: nothing said. */
const struct sl_usage *sl_exec_usage(const struct sl_exec *x);
/* The same, summed over all attempts of this execution so far. */
void sl_exec_spent(const struct sl_exec *x, uint64_t *tokens, int64_t *cost_microusd);

/* The run as its journal has it so far, this execution's own usage included once it has been said. */
struct sl_run_totals {
	uint64_t tokens;
	int64_t cost_microusd;
	int64_t started_ms; /* wall; 0: not yet */
	int64_t idle_ms;    /* paused, locked, or waiting for people and time */
	uint32_t depth;     /* of bodies around this node: 0 at the root */
};
void sl_exec_run_totals(const struct sl_exec *x, struct sl_run_totals *out);

/* A middleware's own memory, zeroed at first. In this execution (for inner slots: this attempt); in the run (not in its
 * journal: gone after a crash). NULL: no memory. */
void *sl_exec_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes);
void *sl_exec_run_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes);

/* Fails the running attempt (its node is cancelled first) with err after ms, unless it ends or the timer is replaced.
 * One a middleware. */
SL_MUST_USE enum sl_code sl_exec_deadline(struct sl_exec *x, const struct sl_middleware *m, uint64_t ms,
					  const struct sl_error *err);

/* With SL_DELAY: when to ask again. A wake-up may come early or for nothing, so enter looks for itself. */
void sl_exec_recheck_ms(struct sl_exec *x, uint64_t ms);
/* The same where a wake-up says when it is its turn, for the case that there was no memory for that. */
void sl_exec_look_again_ms(struct sl_exec *x, uint64_t ms);
struct sl_waker *sl_exec_waker(struct sl_exec *x); /* a reference of the caller's; NULL: no memory */
void sl_waker_wake(struct sl_waker *w);            /* [any] does nothing once the execution is over */
struct sl_waker *sl_waker_ref(struct sl_waker *w);
void sl_waker_unref(struct sl_waker *w); /* NULL is fine */

/* Takes output; with SL_ANSWER. What it has as "thinking" and "text" is streamed. */
void sl_exec_answer(struct sl_exec *x, struct json_object *output);
/* Copied. Shows in the next node_state_change; before SL_DELAY in one of its own, unless the last one said the same. */
void sl_exec_reason(struct sl_exec *x, const char *reason);
void sl_exec_event(struct sl_exec *x, const char *name, struct json_object *data); /* name: constant; takes data */
/* Locks the run at the end of this turn; what runs is called off and repeated after the unlock. From enter, which then
 * returns SL_DELAY, or from leave: what has ended stays ended. */
void sl_exec_trip(struct sl_exec *x, const struct sl_trip *trip);
/* Evaluates a template of the definition in the node's environment. */
SL_MUST_USE enum sl_code sl_exec_eval(struct sl_exec *x, const struct sl_template *t, struct json_object **out,
				      struct sl_error *err);
