/* engine/exec_priv.h: an execution and its attempt, for the two files that know them: exec.c drives, node.c answers the
 * node.
 *
 * Thread    [run] all of it; struct sl_remote is counted atomically and its `node` is [run].
 */
#pragma once

#include "engine/run_priv.h"

struct custom {
	struct custom *next;
	const char *name;
	struct json_object *data;
};

/* One attempt. */
struct sl_node {
	struct sl_exec *x;
	uint32_t attempt;
	void *state;
	const struct sl_node_type *as; /* whose start it has gone on with; NULL: its own */
	sl_node_end_fn *end_fn;        /* sees the end first; NULL: nobody does */
	struct sl_stream *stream;
	struct sl_remote *remote;
	struct sl_run_timer *timer;
	void (*timer_fn)(struct sl_node *n);
	struct sl_run_timer *alarm;
	void (*alarm_fn)(struct sl_node *n);
	int64_t due_ms; /* wall; waiting */
	bool waiting;
	bool busy;      /* a container at work itself */
	bool started;   /* start() returned SL_PENDING */
	bool announced; /* its first event is out */
	bool ended;
	enum sl_code code; /* of the end */
	struct sl_error err;
	struct json_object *output;
	char *kase;
	struct child *child;            /* NULL: it started no run */
	struct json_object *child_took; /* that one has ended, and this is told with the end of the attempt */
	uint32_t look_ups;              /* that have not come back */
	uint64_t took;                  /* seq of the signal it has taken; 0: none */
	bool has_usage;
	struct sl_usage reported; /* its strings are those of `usage`, or NULL once that is out */
	struct sl_event usage;
	struct custom *events, **events_end; /* before it was announced */
};

struct sl_remote {
	_Atomic uint32_t refs;
	struct sl_run *run;
	struct sl_node *node; /* [run] NULL: the attempt has ended */
};

struct sl_waker {
	_Atomic uint32_t refs;
	struct sl_run *run;
	struct sl_exec *x; /* [run] NULL: it is over */
};

/* What a stream's tap asks, in the order of the chain. */
struct watches {
	struct sl_stream_tap tap;
	struct sl_trip trip; /* [writer], then [run] after the end of the attempt */
	size_t n;
	struct sl_watch *list[];
};

void sl_exec_ask_again(struct sl_exec *x); /* the middleware that delays it; x may be gone: when the run is held */

/* child.c */
void sl_child_release(struct sl_node *n); /* [run] the attempt's end: forgets the child, which goes on */

enum phase { PH_OUTER, PH_INNER, PH_RUNNING, PH_BACKOFF };

/* Set by a middleware, see sl_exec_deadline(). Apart from its slot: few executions have one, and it is large. */
struct mw_deadline {
	struct sl_exec *exec;
	struct sl_run_timer *timer;
	struct sl_error err;
};

struct mw_slot {
	bool entered;
	void *state;
	struct mw_deadline *deadline; /* NULL: none */
};

struct sl_exec {
	struct sl_run *run;
	struct sl_scope *scope;
	uint32_t index; /* in the scope */
	const struct sl_node_def *def;
	char *path;
	enum sl_exec_how how;
	enum phase phase;
	size_t at; /* the middleware to enter next */
	unsigned depth;
	bool dead;        /* to be freed when depth is 0, without a word */
	bool delayed;     /* a middleware said SL_DELAY */
	bool recheck_due; /* it was to look again while the run was paused */
	bool only_looks;  /* when its time has come: it is not its turn, but somebody may have been unable to say so */
	bool retry_due;   /* came due while the run was paused */
	bool cached;
	uint32_t tries, earlier; /* earlier: of these, in lives before this one */
	uint64_t began_ms;       /* mono */
	uint64_t work_us; /* time a worker spent in its expressions and its node type: real, whatever the clock */
	int64_t began_wall_ms;
	char *reason;
	char *told; /* the reason of a delay that was told last */
	struct sl_node_route route;
	uint64_t spent_tokens;
	int64_t spent_microusd;
	struct sl_waker *waker;
	struct sl_run_timer *recheck;
	struct json_object *params;
	struct json_object *answer;
	struct json_object *word, *next_word; /* from the attempt before, for the one that follows */
	struct sl_node *node;
	struct sl_run_timer *retry;
	size_t n_mw;
	struct mw_slot mw[];
};

void sl_exec_drop_deadline(struct mw_slot *s); /* middleware.c. Does nothing when there is none */

/* exec.c. After every call into a node type, with depth back to what it was: does what was asked for meanwhile. x may
 * be gone. */
void sl_exec_settle(struct sl_exec *x);
/* Notes the end of an attempt; only the first counts. Takes output. */
const struct sl_node_type *sl_node_type_of(const struct sl_node *n); /* whose slots are called */
void sl_exec_watch_stream(struct sl_exec *x, struct sl_stream *s);   /* before its first append */
void sl_node_end(struct sl_node *n, enum sl_code code, const struct sl_error *err, struct json_object *output);
