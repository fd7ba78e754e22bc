/* engine/middleware.h: what stands around every node execution.
 *
 * A middleware is one file in middleware/, named in its build list. The driver (engine/exec.c) chains them in the order
 * of enum sl_slot; a middleware never calls the next one. Because `leave` always comes for an `enter` that passed,
 * inside out, on success, failure and cancel, what `enter` reserved is always settled.
 *
 * Thread    enter, leave, failed, recover: [run]. watch: [the stream's writer].
 */
#pragma once

#include "engine/node.h"

struct sl_exec; /* one execution of one node: an attempt, and the ones after it */
struct sl_node_def;
struct sl_template;

enum sl_slot {
	/* once an execution, outermost first */
	SL_SLOT_TRACE,
	SL_SLOT_PAUSE_GATE,
	SL_SLOT_RUN_BREAKER,
	SL_SLOT_CACHE,
	SL_SLOT_BUDGET,
	SL_SLOT_FALLBACK,
	SL_SLOT_RETRY,
	/* once an attempt: each may go to another provider */
	SL_SLOT_TIMEOUT,
	SL_SLOT_PROVIDER_BREAKER,
	SL_SLOT_RATE_LIMITER,
	SL_SLOT_CONCURRENCY,
	SL_SLOTS,
};

enum sl_verdict {
	SL_PASS,
	SL_DELAY,  /* sl_exec_resume() will be called; no thread is held */
	SL_ANSWER, /* sl_exec_answer() was called: a cache hit */
	SL_REFUSE, /* err says why */
};

/* What became of an execution or attempt. */
struct sl_outcome {
	enum sl_code code;          /* SL_OK, SL_CANCELLED or the failure */
	const struct sl_error *err; /* NULL when code is SL_OK */
	struct json_object *output; /* borrowed; NULL unless SL_OK */
	uint32_t attempt;
	uint64_t took_ms;
};

enum sl_again {
	SL_AGAIN_NO,    /* let the failure out */
	SL_AGAIN_AFTER, /* another attempt after *delay_ms */
};

struct sl_middleware {
	const char *name;
	enum sl_slot slot;
	bool (*applies)(const struct sl_node_def *def);                     /* NULL: to every node. [any], pure */
	enum sl_verdict (*enter)(struct sl_exec *x, struct sl_error *err);  /* NULL: pass */
	void (*leave)(struct sl_exec *x, const struct sl_outcome *outcome); /* NULL: nothing to settle */
	/* An attempt failed: is another one worth it? Asked from the inside out; the first that says so wins. NULL: no.
	 */
	enum sl_again (*failed)(struct sl_exec *x, const struct sl_outcome *outcome, uint64_t *delay_ms);
	/* The execution failed for good: *output (the caller's) replaces the failure and SL_OK is returned, or the
	 * failure stays (any other code). NULL: it stays. */
	enum sl_code (*recover)(struct sl_exec *x, const struct sl_outcome *outcome, struct json_object **output);
};

extern const struct sl_middleware *const sl_middlewares[]; /* NULL-terminated; middleware/meson.build makes it */

const struct sl_node_def *sl_exec_def(const struct sl_exec *x);
struct sl_node *sl_exec_node(struct sl_exec *x); /* the running attempt; its id, run, services, clock */
uint32_t sl_exec_tries(const struct sl_exec *x); /* attempts of this execution so far, this one included */
uint64_t sl_exec_random(struct sl_exec *x);      /* seeded with the run: the same in a simulation with the same seed */
/* A middleware's own memory in this execution, zeroed at first; freed with it. NULL: no memory. */
void *sl_exec_state(struct sl_exec *x, const struct sl_middleware *m, size_t bytes);
/* Fails the running attempt (its node is cancelled first) with err after ms, unless it ends or the timer is replaced.
 * One a middleware. */
SL_MUST_USE enum sl_code sl_exec_deadline(struct sl_exec *x, const struct sl_middleware *m, uint64_t ms,
					  const struct sl_error *err);
void sl_exec_resume(struct sl_exec *x);                             /* after SL_DELAY, [run] */
void sl_exec_answer(struct sl_exec *x, struct json_object *output); /* takes output; with SL_ANSWER */
void sl_exec_reason(struct sl_exec *x, const char *reason);         /* copied; shows in the next node_state_change */
/* Evaluates a template of the definition in the node's environment. */
SL_MUST_USE enum sl_code sl_exec_eval(struct sl_exec *x, const struct sl_template *t, struct json_object **out,
				      struct sl_error *err);
