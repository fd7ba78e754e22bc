/* engine/run_state.h: what a run is, as a pure function of its events.
 *
 *   decide(state, command) → event | error     what a person or program asks for
 *   evolve(state, event)   → state             folds one event; live execution and recovery use the same
 *
 * No I/O, no clock, no threads in here. Properties that tests hold: for every prefix of every journal the fold is a
 * valid state, and a run can be resumed from it.
 *
 * Owns      the state owns everything in it. Thread: [run], or whoever folds.
 */
#pragma once

#include "engine/graph.h"

enum sl_run_status {
	SL_RUN_QUEUED, /* waits for its first commit, then for its turn */
	SL_RUN_RUNNING,
	SL_RUN_PAUSED,  /* nothing new starts; what ran when drained may still finish */
	SL_RUN_WAITING, /* only persons, signals or timers are outstanding */
	SL_RUN_LOCKED,  /* the run breaker tripped; waits for an unlock */
	SL_RUN_SUCCEEDED,
	SL_RUN_FAILED,
	SL_RUN_CANCELLED,
	SL_RUN_STATUSES,
};

enum sl_node_status {
	SL_NODE_PENDING,
	SL_NODE_RUNNING,
	SL_NODE_WAITING,  /* for a timer, a person, a signal; or a join for the rest of its branches, with a deadline */
	SL_NODE_RETRYING, /* for the next attempt */
	SL_NODE_COMPLETED,
	SL_NODE_FAILED,
	SL_NODE_SKIPPED,
	SL_NODE_CANCELLED,
	SL_NODE_STATUSES,
};

struct sl_state {
	const char *wire;
	uint32_t may_become; /* bit n: the status numbered n */
};
extern const struct sl_state sl_run_states[SL_RUN_STATUSES];
extern const struct sl_state sl_node_states[SL_NODE_STATUSES];
static inline bool sl_run_status_final(enum sl_run_status s)
{
	return s >= SL_RUN_SUCCEEDED;
}
static inline bool sl_node_status_final(enum sl_node_status s)
{
	return s >= SL_NODE_COMPLETED;
}

enum sl_event_kind {
	SL_EV_CREATED,   /* execution:created */
	SL_EV_QUEUED,    /* execution:queued: it waits for its turn, and why; a run that starts at once has none */
	SL_EV_STARTED,   /* execution:started */
	SL_EV_PAUSED,    /* execution:paused */
	SL_EV_RESUMED,   /* execution:resumed, by a person, or because what a waiting run waited for has come */
	SL_EV_WAITING,   /* execution:waiting */
	SL_EV_COMPLETED, /* execution:completed */
	SL_EV_FAILED,    /* execution:failed */
	SL_EV_CANCELLED, /* execution:cancelled */
	SL_EV_LOCKED,    /* circuit_breaker:tripped */
	SL_EV_UNLOCKED,  /* circuit_breaker:unlocked */
	SL_EV_RETRIED,   /* execution:retried: what failed is done again, and what follows from it */
	SL_EV_FORKED,    /* execution:forked: before it the journal is that of another run */
	SL_EV_SIGNAL,    /* signal:received */
	SL_EV_INPUT,     /* user_input */
	SL_EV_FILE,      /* file:written */
	SL_EV_NODE,      /* node_state_change */
	SL_EV_RESET,     /* stream_reset */
	SL_EV_USAGE,     /* token_usage */
	SL_EV_CUSTOM,    /* a node type's own: counted by its node, no more */
	SL_EVENT_KINDS,
};

/* What happened. Built by hand when it is decided, or decoded from the journal. */
struct sl_event {
	enum sl_event_kind kind;
	uint64_t seq;
	int64_t wall_ms;
	const char *name; /* SL_EV_CUSTOM: the wire name; constant, or the record's it was decoded from */
	char *path;       /* of the node; retried, forked: from where; NULL for other run events */
	enum sl_node_status status;
	const char *type;           /* of the node: lent by its definition; not needed when decoded */
	uint32_t attempt, tries;    /* tries: attempts of this execution, when retrying */
	uint32_t arrived, expected; /* joins; expected 0: no join */
	int64_t due_ms;             /* wall; waiting and retrying */
	int64_t started_ms;         /* completed or failed without a journaled start: when it began; else 0 */
	struct json_object *output; /* node output, or the run's outputs; forked: given ones by path; owned */
	struct json_object
		*data; /* SL_EV_CUSTOM: the public data; locked, unlocked, signal, input: what else is told; owned */
	struct json_object *stream; /* completed or failed: { attempt, segments, text?, thinking? }; owned */
	uint32_t *taken;            /* completed: edges taken (indexes in the graph); owned */
	uint32_t n_taken;
	uint64_t took; /* completed: the signal it has taken; 0: none */
	struct json_object
		*child;         /* node: the run it had started has ended, and what that took; see sl_figures_json() */
	enum sl_code code;      /* of the failure; SL_OK: none */
	char *message;          /* of the failure */
	char *reason;           /* why delayed, skipped, cancelled, paused … */
	char *by;               /* who asked */
	char *agent_id, *model; /* usage */
	uint64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
	int64_t cost_microusd;
	bool simulated, estimated; /* usage */
	bool cached;
	bool now;            /* paused: mode "now" */
	uint32_t generation; /* of the run when it was decided: part of `once`. Not needed when decoded */
};
void sl_event_fini(struct sl_event *e);

/* Journal form and back. `r` gets seq, wall_ms, event, data, detail, once. */
SL_MUST_USE enum sl_code sl_event_encode(const struct sl_event *e, struct sl_record *r);
SL_MUST_USE enum sl_code sl_event_decode(const struct sl_record *r, struct sl_event *out, struct sl_error *err);
/* [any] The same name, to stay. For records that outlive the journal they were read from. NULL: no memory. */
const char *sl_event_name(const char *name);

/* What a run has taken, with all below it whose end was told; and which are not in it. */
struct sl_figures {
	uint64_t input_tokens, output_tokens;
	int64_t cost_microusd;
	const struct sl_run_id *open; /* lent */
	uint32_t n_open;
};

/* The runs that a node has started (child.c): by this event it tells of one, in `run_id`. */
extern const char sl_child_started[];
struct sl_node_child {
	struct sl_run_id now;     /* the one it has told of since it was pending; zero: none */
	struct sl_run_id earlier; /* of the run as it was before the retry: to go on with; zero: none */
	int64_t seen_ms; /* wall: the node has failed knowing of any end of that one before; 0: it did not fail */
	/* What one of these took when it ended, as it was told; part of what the run's children took. Not when it is
	 * gone on with: then it is open again. NULL: nothing. */
	struct json_object *took;
};
void sl_node_child_free(struct sl_node_child *c);

struct sl_node_state {
	enum sl_node_status status;
	uint32_t attempt; /* the highest ever begun */
	uint32_t tries;   /* attempts of the present execution */
	int64_t started_ms, finished_ms, due_ms;
	int64_t attempt_ms;         /* when its present attempt began */
	struct json_object *output; /* of a completed one */
	struct json_object *stream; /* what is needed to rebuild its text */
	struct json_object *given;  /* by who forked the run: its output once its turn has come; NULL: none */
	enum sl_code code;
	char *message, *reason;
	uint64_t input_tokens, output_tokens;
	int64_t cost_microusd;
	struct sl_scope **bodies; /* of a container, by number - 1; NULL where one has not begun */
	uint32_t n_bodies, cap_bodies;
	uint32_t n_told;         /* the first so many bodies have ended, and the container knows it */
	uint32_t customs;        /* events of its own it has told */
	uint32_t customs_before; /* of these, in attempts before the present one */
	uint32_t redone; /* how often it had ended by itself and was undone: part of the key it gives to others */
	struct sl_node_child *child; /* NULL: it has started no run */
	uint8_t mark;                /* run_reset.c, while it works */
	uint64_t waiting_since;      /* seq of the event by which it began to wait; 0: it never did */
	bool dirty;                  /* in the scope's work list */
	bool text_before;            /* a stream of an earlier attempt may have been seen */
};

struct sl_run_state;
struct sl_node_rt;

/* One instance of a graph: the root, or one body of a container (a round, an item). */
struct sl_scope {
	const struct sl_graph *graph;
	struct sl_run_state *home;
	struct sl_scope *parent; /* NULL: the root */
	uint32_t parent_node;    /* the container, in parent */
	uint32_t number;         /* which of its bodies: from 1 */
	char *prefix;            /* of its nodes' paths: "" or "refine#2/" */
	struct sl_node_state *nodes;
	uint8_t *edges; /* enum sl_edge_state */
	uint32_t *work; /* nodes whose surroundings changed: a stack */
	uint32_t n_work;
	uint32_t n_final, n_active; /* active: running, waiting or retrying */
	uint32_t failed;            /* a body: 1 + the node whose failure ended it; 0: none has */
	bool busy;                  /* in the list of scopes with work */
	bool undo;                  /* run_reset.c, while it works */
	struct sl_scope *next_busy;
	/* [run] what only a live run has; NULL in a fold */
	struct sl_node_rt *rt;        /* by node */
	struct json_object *bindings; /* what `loop`, `item` and `index` are in here */
	bool told;                    /* its container knows that it has ended */
	/* fold.c: a body that is no more than what it came to; its graph is then an empty one */
	bool folded;
	uint32_t was_nodes, was_done; /* how many nodes it had, and how many of these have ended */
	struct json_object *result;   /* or its outputs by node, as the container's type says; NULL: it failed */
	enum sl_code code;            /* of its failure */
	char *message;
};

struct sl_told {
	char name[40];
	uint32_t n;
};

struct sl_run_state {
	enum sl_run_status status;
	uint64_t last_seq;
	size_t bytes; /* of the journal so far */
	int64_t created_ms, started_ms, finished_ms;
	char *parent, *parent_node; /* the run and node that started it; NULL: nobody's child */
	uint32_t depth;
	uint32_t generation;  /* 1; one more with each retry, and in a fork */
	uint32_t retried_for; /* the latest generation of its parent that has retried it; 0: none has */
	bool by_itself;       /* a child: somebody else has retried it, so it goes on whatever its parent does */
	struct json_object *forked_from;    /* { run, at_seq?, from? }; NULL: it began by itself */
	int64_t paused_since_ms, paused_ms; /* or locked; the clock of limits.timeout_s stands still meanwhile */
	int64_t waiting_since_ms, waited_ms;
	uint64_t input_tokens, output_tokens;
	int64_t cost_microusd;
	bool simulated;
	/* of the runs it has started, with all below them: what those took whose end it was told, and the others */
	uint64_t kin_input_tokens, kin_output_tokens;
	int64_t kin_microusd;
	bool has_kin; /* it was told of an end */
	struct sl_run_id *open;
	uint32_t n_open, cap_open;
	struct sl_told *told; /* how many events of each name nodes have told */
	uint32_t n_told;
	struct json_object *signals; /* not taken yet: [{ seq, signal, payload, by }]; NULL: none */
	struct json_object *said;    /* [{ text, by, at }]; NULL: nothing */
	struct json_object *files;   /* { path: { version, bytes, by, at, seq, content } }; NULL: none */
	uint32_t file_versions;
	struct json_object *outputs;
	enum sl_code code;
	char *message, *failed_node, *reason;
	bool with_parent; /* paused: by the run that started it, which may undo that */
	struct sl_scope root;
	struct sl_scope **scopes; /* all of them, the root first, in the order they began */
	uint32_t n_scopes, cap_scopes;
	struct sl_scope *busy;    /* those with work, the latest first */
	uint32_t n_nodes, n_done; /* of all scopes */
	uint32_t n_active;        /* likewise */
	uint32_t n_quiet;         /* of the active ones: waiting for time or people */
	uint32_t n_holding;       /* of the active ones: containers, which only wait for their bodies */
	uint32_t n_folded;        /* of n_nodes: those in folded bodies */
	bool replayed;            /* its journal is being folded: nobody has to be told what is in it */
	struct sl_scope *ended;   /* the body that the last event has ended; NULL: none */
};

/* Who orders a child what its parent was ordered, and why: by these its journal tells it from what people asked. */
#define SL_BY_PARENT   "parent run"
#define SL_WITH_PARENT "with the run that started it"
static inline bool sl_from_parent(const char *by, const char *reason)
{
	return by && reason && strcmp(by, SL_BY_PARENT) == 0 && strcmp(reason, SL_WITH_PARENT) == 0;
}

/* A paused child: does the run that started it say when it goes on? What a person has paused goes on when a person says
 * so. */
bool sl_state_is_parents_to_resume(const struct sl_run_state *s);

/* { run_id, input_tokens, output_tokens, cost_usd, open?: [run_id] }; NULL: no memory. */
struct json_object *sl_figures_json(struct sl_run_id run, const struct sl_figures *f);
bool sl_figures_read(struct json_object *o, struct sl_run_id *run, struct sl_figures *f); /* but for `open` */
/* What a node has told of a child that is not open. False: nothing. */
bool sl_node_child_took(const struct sl_node_state *n, struct sl_run_id child, struct sl_figures *f);
struct sl_figures sl_state_figures(const struct sl_run_state *s);
bool sl_state_is_open(const struct sl_run_state *s, struct sl_run_id child);

SL_MUST_USE enum sl_code sl_run_state_init(struct sl_run_state *s, const struct sl_workflow *w);
void sl_run_state_fini(struct sl_run_state *s);

/* Folds one event: takes what it needs out of e. SL_CONFLICT: the tables forbid it; SL_NOT_FOUND: no such node; the
 * state is then unchanged. seq must be last_seq + 1. */
SL_MUST_USE enum sl_code sl_evolve(struct sl_run_state *s, struct sl_event *e, struct sl_error *err);

/* run_reset.c. The same for SL_EV_RETRIED and SL_EV_FORKED, but for seq: undoes what is done again; and whether it may
 * be, which changes nothing. A node that was completed without what failed stays so. */
SL_MUST_USE enum sl_code sl_state_may_rerun(struct sl_run_state *s, const struct sl_event *e, struct sl_error *err);
SL_MUST_USE enum sl_code sl_state_rerun(struct sl_run_state *s, struct sl_event *e, struct sl_error *err);
void sl_scope_free(struct sl_scope *sc); /* a body that is in no list any more */

/* What a command would make happen. *e is filled (kind, reason, by) on SL_OK; SL_CONFLICT names the present state. A
 * command that finds its wish fulfilled (pause of a paused run) yields SL_OK with *nothing set. A pause `now` of a
 * paused run in which a node still runs is not: that node is called off, and *e is told no second time. */
SL_MUST_USE enum sl_code sl_decide(const struct sl_run_state *s, enum sl_command_kind cmd, struct sl_event *e,
				   bool *nothing, struct sl_error *err);

/* What a node whose incoming edges changed should do. Pure. */
enum sl_readiness {
	SL_READY_NOT, /* wait for more edges */
	SL_READY_START,
	SL_READY_SKIP,        /* nothing leads here any more */
	SL_READY_UNREACHABLE, /* a join whose policy can no longer be met */
};
enum sl_readiness sl_node_ready(const struct sl_scope *sc, uint32_t node, bool timed_out, uint32_t *arrived,
				uint32_t *expected);
bool sl_branch_open(const struct sl_scope *sc, uint32_t node); /* may it start under the branch limits above it? */
/* Nodes that only lead to `join` and are not finished. out has room for n_nodes. Returns how many. */
uint32_t sl_node_rest(const struct sl_scope *sc, uint32_t join, uint32_t *out);

struct sl_node_state *sl_state_find(struct sl_run_state *s, struct sl_str path, struct sl_scope **scope,
				    uint32_t *index); /* NULL: no such node, or its body has not begun */
/* The body `number` of a container, made when it is not there. SL_LIMIT: the number is out of range. */
SL_MUST_USE enum sl_code sl_scope_body(struct sl_scope *sc, uint32_t node, uint32_t number, struct sl_scope **out);
char *sl_scope_path(const struct sl_scope *sc, uint32_t node); /* the caller's; NULL: no memory */
/* Nothing in it goes on any more: it failed, or something around it has ended. */
bool sl_scope_closed(const struct sl_scope *sc);
static inline bool sl_scope_ended(const struct sl_scope *sc)
{
	return sc->failed || sc->n_final == sc->graph->n_nodes;
}
void sl_scope_fini(struct sl_scope *sc); /* all it owns */
/* fold.c: what a body has come to, folded or not */
struct json_object *sl_body_result(const struct sl_scope *body); /* the caller's; NULL: no memory */
enum sl_code sl_body_error(const struct sl_scope *body, struct sl_error *err);
struct json_object *sl_body_outputs(const struct sl_scope *body); /* { id: output }; likewise, for those that keep it */
/* Has this scope such a node? Then *out is its output, lent; NULL: it has none. Of a folded body, too. */
bool sl_scope_output(const struct sl_scope *sc, const char *id, struct json_object **out);
/* Of a long loop, or a map over very many items, only the latest SL_KEEP_BODIES bodies, and those under way, are kept
 * whole: call it when one has ended and when another has begun. */
#define SL_KEEP_BODIES 200
void sl_body_ended(struct sl_scope *body);
void sl_body_begun(struct sl_scope *body);
void sl_scope_touch(struct sl_scope *sc, uint32_t node); /* puts it on the work list */
void sl_state_touch_all(struct sl_run_state *s);         /* everything, the first node of the root first */
bool sl_state_work(struct sl_run_state *s, struct sl_scope **sc, uint32_t *node); /* takes one off; false: none */

/* files.c: the latest version of what nodes have written. */
SL_MUST_USE enum sl_code sl_files_fold(struct sl_run_state *s, struct sl_event *e, struct sl_error *err);
void sl_files_render(const struct sl_run_state *s, struct sl_buf *out); /* an array, without contents */

/* The run object of the API, and its streams. `live` (may be NULL) gives the stream of a node that is in memory. */
void sl_state_render(const struct sl_run_state *s, const struct sl_run_head *head, const struct sl_workflow *w,
		     struct sl_buf *out);
