/* engine/node.h: what a node type implements, and what a running node may ask of the engine.
 *
 * A node type is one file in nodes/, named in nodes/meson.build; nothing else knows it. Its params_schema is the single
 * source for validation, the form in the UI, the docs and OpenAPI. Besides JSON Schema's own keywords it may say of a
 * property: "x-expr": "value" | "code"   the string is Lua, not a template; fetched with sl_node_eval() "x-graph": true
 * the object is a nested graph { nodes, edges } "x-constant": true           no {{ }} allowed: the value is needed
 * before the node starts "x-schema": true the object is a JSON Schema itself, and checked to be one "x-provides":
 * [names]        at an x-graph: what its nodes see besides (loop, item, index). At an x-expr: likewise ("item" and
 * "index" when it is fetched with sl_node_eval_item()); "body" adds the body's nodes
 *
 * Thread    every slot and every sl_node_* call: [run], the worker that serves the run's mailbox. Only struct sl_remote
 * is [any]. Lifetime  struct sl_node lives from start until it is completed, failed or cancelled; never keep a pointer
 * to it beyond.
 */
#pragma once

#include "base/json.h"
#include "engine/stream.h"

struct sl_node;
struct sl_remote;
struct sl_services;
struct sl_graph;

enum sl_step {
	SL_DONE,    /* sl_node_complete() has been called */
	SL_PENDING, /* will be completed or failed later; no thread is held */
	SL_FAILED,  /* err says why; retry, fallback and on_error follow */
};

enum sl_effects {
	SL_EFFECTS_NONE,     /* pure: starts at once, is repeated after a crash */
	SL_EFFECTS_MODEL,    /* costs money but changes nothing: starts at once, journaled when it starts */
	SL_EFFECTS_EXTERNAL, /* leaves the system: starts only when everything before it is committed */
};

/* How a node with several incoming edges becomes ready. Without a policy: all edges settled, at least one taken. */
struct sl_join_policy {
	uint32_t need;       /* taken edges that suffice; n_in for "all" */
	uint32_t timeout_ms; /* from the first arrival; 0: none. Then it starts with what has arrived */
	bool cancel_rest;    /* nodes that only lead here and are not finished are cancelled when it starts */
	bool tolerates;      /* a failed branch is an edge that did not come, not the end of the run */
};

/* Something from outside for a node that waits. */
enum sl_delivery_kind { SL_DELIVER_REVIEW, SL_DELIVER_SIGNAL };
struct sl_delivery {
	enum sl_delivery_kind kind;
	const char *by;              /* who; "" when nobody is known */
	struct json_object *payload; /* review: { action, content?, reason? } · signal: { signal, payload, by } */
	uint64_t seq;                /* of a signal: give it to sl_node_took() when it is taken */
};

enum sl_body_keep {
	SL_BODY_KEEP_ALL,
	SL_BODY_KEEP_RESULT,  /* what it came to: sl_node_body_result(), or sl_node_body_error() */
	SL_BODY_KEEP_OUTPUTS, /* sl_node_body_outputs(), sl_node_eval_body(), or sl_node_body_error() */
};

struct sl_node_type {
	const char *name;          /* "delay" */
	const char *summary;       /* one line, a sentence */
	const char *params_schema; /* JSON text of an object schema */
	enum sl_effects effects;

	/* Called once an attempt. params: what the schema has accepted, templates evaluated; borrowed until start
	 * returns. */
	enum sl_step (*start)(struct sl_node *n, struct json_object *params, struct sl_error *err);
	/* May come at any moment after a start that returned SL_PENDING, also twice: stop, release; complete nothing.
	 * It may say what had been spent by then (sl_node_usage()), and ask why (sl_node_off_reason()).
	 * NULL when start never returns SL_PENDING. */
	void (*cancel)(struct sl_node *n);

	/* Optional. Joins: reads x-constant parameters (validated) and says when the node is ready. [any], pure. */
	void (*policy)(struct json_object *params, uint32_t n_in, struct sl_join_policy *out);
	/* Optional. Nodes that open branches: how many may be open at once, 0 = all; and whether a failed branch lets
	 * the others run on until a join. [any], pure; params as written. */
	void (*branches)(struct json_object *params, uint32_t *max_open, bool *wait_all);
	/* Optional. True when outgoing edges carry `case`; then start must call sl_node_choose(). `cases` of the params
	 * as written are listed by this into out (at most max, returns the number) so that edges can be checked. [any],
	 * pure. */
	uint32_t (*cases)(struct json_object *params, const char **out, uint32_t max);
	/* Optional, beside `cases`: one of them is chosen whatever happens. [any], pure; params as written. */
	bool (*always)(struct json_object *params);
	/* Optional. Something came for a waiting node. SL_OK: taken (the node may have ended by it); SL_NOT_FOUND: it
	 * waits for something else; SL_INVALID, SL_CONFLICT: err says why not, and it goes on waiting. */
	enum sl_code (*deliver)(struct sl_node *n, const struct sl_delivery *d, struct sl_error *err);
	/* Containers: types with an x-graph parameter, or with `expand`. A body has ended or failed; every body once,
	 * in the order of their numbers within one call from the engine. Bodies that had ended when a restarted server
	 * called start are not told again: start looks at them. */
	void (*body)(struct sl_node *n, uint32_t number);
	/* Containers: what is needed of a body that has ended. With very many bodies the engine forgets the rest of it.
	 */
	enum sl_body_keep keep;
	/* Containers: a body builds on those before it, so when one is done again the later ones are, too. */
	bool chained;
	/* Optional. A container whose graph is made by the server: { nodes, edges } from the parameters as written,
	 * which must be x-constant as far as they are used here. Its nodes see `item`, when a body is begun with one,
	 * and what "x-provides" at the top of the schema names. Those of this type themselves get the `retry` of the
	 * whole. [any], pure; *graph is the caller's; left NULL: with these parameters the node has no bodies. */
	enum sl_code (*expand)(struct json_object *params, struct json_object **graph, struct sl_error *err);
	/* Optional. Checks beyond the schema, on params as written (strings may be templates). Return SL_OK or
	 * sl_fail(). [any], pure. */
	enum sl_code (*check)(struct json_object *params, struct sl_error *err);
};

extern const struct sl_node_type *const sl_node_types[]; /* NULL-terminated; nodes/meson.build makes it */

/* What it is */
const char *sl_node_path(const struct sl_node *n);
const char *sl_node_id(const struct sl_node *n);
uint32_t sl_node_attempt(const struct sl_node *n); /* from 1, counted over the whole life of the run */
struct sl_run_id sl_node_run(const struct sl_node *n);
const char *sl_node_project(const struct sl_node *n); /* of the run */
struct sl_services *sl_node_services(const struct sl_node *n);
/* Which of several equal ways this attempt takes; middleware decides, the node type gives the numbers a meaning. */
struct sl_node_route {
	uint32_t candidate;  /* place in a chain of alternatives: 0 is the first choice */
	uint32_t lane;       /* which of the candidate's keys */
	uint64_t max_output; /* tokens: the answer may be no longer; 0: as the parameters say */
};
const struct sl_node_route *sl_node_route(const struct sl_node *n);
int64_t sl_node_now_ms(const struct sl_node *n); /* wall */
/* The key to send to external systems that accept one: the same for every repeat of this node; another one when it had
 * ended and a person has it done again. */
void sl_node_idempotency_key(const struct sl_node *n, char out[65]);

/* Evaluates the x-expr parameter at `pointer` ("/expr", "/cases/0/when"); *out is the caller's. */
SL_MUST_USE enum sl_code sl_node_eval(struct sl_node *n, const char *pointer, struct json_object **out,
				      struct sl_error *err);
/* The same as a condition. */
SL_MUST_USE enum sl_code sl_node_test(struct sl_node *n, const char *pointer, bool *out, struct sl_error *err);
/* The same, with a value named `item` (and `index`) besides `nodes`, `input`, …: a score of each arrival, say. */
SL_MUST_USE enum sl_code sl_node_eval_item(struct sl_node *n, const char *pointer, struct json_object *item,
					   int64_t index, struct json_object **out, struct sl_error *err);

/* Bodies of a container: instances of its graph, numbered from 1; each has its own paths (refine#2/judge). Their nodes
 * begin when the slot returns. After a restart start is called again and begins the unfinished ones anew: what is
 * finished in them stays so. */
enum sl_body_status {
	SL_BODY_ABSENT,
	SL_BODY_RUNNING,
	SL_BODY_ENDED,
	SL_BODY_FAILED, /* a node in it failed, and no join down there puts up with it */
};
/* bindings: what the names of x-provides are in there, { "loop": … } or { "item": …, "index": … }; taken. SL_LIMIT:
 * number is beyond SL_LIMIT_BODIES. */
SL_MUST_USE enum sl_code sl_node_body_begin(struct sl_node *n, uint32_t number, struct json_object *bindings,
					    struct sl_error *err);
bool sl_node_is_container(const struct sl_node *n); /* has it a graph to begin bodies of? */
uint32_t sl_node_bodies(const struct sl_node *n);   /* the highest number begun, in this life or an earlier one */
enum sl_body_status sl_node_body_status(const struct sl_node *n, uint32_t number);
/* { id: output } of its completed nodes; the caller's. NULL: no memory. */
struct json_object *sl_node_body_outputs(const struct sl_node *n, uint32_t number);
/* What it comes to: the output of the one node nothing follows, or { id: output } of several. The caller's. */
struct json_object *sl_node_body_result(const struct sl_node *n, uint32_t number);
/* Why it failed: "refine#2/judge: …", with the node's code. */
enum sl_code sl_node_body_error(const struct sl_node *n, uint32_t number, struct sl_error *err);
/* Like sl_node_eval(), for an x-expr with x-provides "body": `nodes` are those of that body, too. */
SL_MUST_USE enum sl_code sl_node_eval_body(struct sl_node *n, const char *pointer, uint32_t number,
					   struct json_object **out, struct sl_error *err);

/* A container holds its bodies, and when none of them goes on, nothing does. One that waits for something else (another
 * thread's answer) says so for as long. */
void sl_node_busy(struct sl_node *n, bool busy);

/* Incoming edges, in the order of the definition. */
enum sl_edge_state {
	SL_EDGE_OPEN, /* not settled: its source is not finished */
	SL_EDGE_TAKEN,
	SL_EDGE_DEAD,   /* its condition was false, or its source was skipped or cancelled */
	SL_EDGE_FAILED, /* its source failed, and this join tolerates that */
};
struct sl_arrival {
	const char *from; /* node id */
	enum sl_edge_state state;
	struct json_object *output; /* borrowed; NULL unless taken */
};
uint32_t sl_node_arrivals(struct sl_node *n, struct sl_arrival *out, uint32_t max); /* returns how many there are */
uint32_t sl_node_edges_out(struct sl_node *n, const char **to, uint32_t max); /* ids of direct successors, each once */

/* Ending it. Both take effect when the slot or callback returns; only the first of all endings counts. */
void sl_node_complete(struct sl_node *n, struct json_object *output); /* takes output; must be an object */
void sl_node_fail(struct sl_node *n, const struct sl_error *err);
void sl_node_choose(struct sl_node *n, const char *kase); /* before sl_node_complete: edges with another case die */
/* What the call cost; shows as `token_usage` and adds to the run. Before the ending. */
struct sl_usage {
	uint64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
	int64_t cost_microusd;
	const char *model;    /* copied */
	const char *agent_id; /* copied; NULL: none */
	bool simulated;
	bool estimated; /* the call was cut, and nobody has said what it came to */
};
void sl_node_usage(struct sl_node *n, const struct sl_usage *u);
/* During `cancel`: why what runs is called off, and when that was ordered (monotonic; 0: now). */
#define SL_OFF_CANCELLED  "cancelled"  /* the run was */
#define SL_OFF_PAUSED     "paused"     /* mode now: it will be repeated */
#define SL_OFF_LOCKED     "locked"     /* the run breaker tripped: it will be repeated */
#define SL_OFF_TIMEOUT    "timeout"    /* of the node, or of the run */
#define SL_OFF_NOT_NEEDED "not_needed" /* a join has what it needs, or what was around it has ended */
#define SL_OFF_FAILED     "run_failed" /* another node's failure ended the run */
#define SL_OFF_STOPPING   "stopping"   /* the server goes down: whoever takes the run repeats it */
#define SL_OFF_LOST       "lost"       /* another server has taken the run over */
const char *sl_node_off_reason(const struct sl_node *n, uint64_t *ordered_at_us);
/* A durable event of the node's own ("node:parallel_start"), data is taken and gets `node_id`. Name: a constant string.
 */
void sl_node_event(struct sl_node *n, const char *name, struct json_object *data);
/* How many it has told, in this life of the server and earlier ones; and of these, in its present attempt. */
uint32_t sl_node_events(const struct sl_node *n);
uint32_t sl_node_attempt_events(const struct sl_node *n);

/* Sees how this attempt ends, before anybody else does, and may put another end in its place: { SL_OK, -, an object
 * that is its to keep } or { a failure, why, NULL }. Called once, for an end that comes from the node or its deadline;
 * not when it is called off. */
typedef void sl_node_end_fn(struct sl_node *n, enum sl_code *code, struct sl_error *err, struct json_object **output);
void sl_node_on_end(struct sl_node *n, sl_node_end_fn *fn);
/* Goes on as a node of another type: its start is called with these parameters (checked by its schema, defaults filled
 * in), and what comes later (cancel, deliver) is that type's, too. For use in start, as its result. Not for types with
 * bodies. SL_FAILED when there is no such type or they do not fit. */
enum sl_step sl_node_as(struct sl_node *n, const char *type, struct json_object *params, struct sl_error *err);
/* What start was given; borrowed, until the end. */
struct json_object *sl_node_params(const struct sl_node *n);
uint64_t sl_node_took_ms(const struct sl_node *n); /* since this life of the server began it */
/* How many events of this name nodes of its run have told, in all lives. */
uint32_t sl_node_run_events(const struct sl_node *n, const char *name);

/* Waiting. The deadline is journaled, so a restart waits only the rest. fn [run] once, unless the node ended before. */
enum sl_step sl_node_wait_ms(struct sl_node *n, uint64_t ms, void (*fn)(struct sl_node *n), struct sl_error *err);
/* The same until a moment of the wall clock, wherever that clock is moved meanwhile. One that has passed: at once. */
enum sl_step sl_node_wait_until(struct sl_node *n, int64_t wall_ms, void (*fn)(struct sl_node *n),
				struct sl_error *err);
/* A second timer beside the wait, so long before it is due; at once when that is past. Not journaled: after a restart
 * start sets it again, from sl_node_due_ms(), if what it is for is still to be done. False: no memory. */
SL_MUST_USE bool sl_node_alarm(struct sl_node *n, uint64_t before_ms, void (*fn)(struct sl_node *n));
/* Waits for a delivery, without a deadline; sl_node_wait_ms() is the same with one. */
enum sl_step sl_node_wait(struct sl_node *n);
int64_t sl_node_due_ms(
	const struct sl_node *n); /* wall; of the wait, also of one that an earlier life began; 0: none */
/* The oldest signal of this name that nobody has taken: { signal, payload, by }, borrowed, and its seq. NULL: none. */
struct json_object *sl_node_signal(struct sl_node *n, const char *name, uint64_t *seq);
void sl_node_took(struct sl_node *n, uint64_t seq); /* its completion says so, and nobody else gets it */
/* What people said into the run so far: [{ text, by, at }]; borrowed. NULL: nothing. */
struct json_object *sl_node_said(struct sl_node *n);
/* Files of the run: texts under a path, in versions that say who wrote them and when. They are in the journal, so a
 * fork has those of its moment. A content that is there already makes no new version. SL_INVALID: the path; SL_LIMIT:
 * too large, too many. */
SL_MUST_USE enum sl_code sl_node_write_file(struct sl_node *n, struct sl_str path, struct sl_str content,
					    uint32_t *version, struct sl_error *err);
/* { version, bytes, by, at, content }, borrowed. NULL: there is none. */
struct json_object *sl_node_read_file(const struct sl_node *n, struct sl_str path);
/* { path: … } of all, borrowed. NULL: none. */
struct json_object *sl_node_files(const struct sl_node *n);
void sl_node_drop_timer(struct sl_node *n); /* and the alarm; a ready-made `cancel` for nodes that only wait */

/* A run that this node starts, or goes on with when it has started it before a crash. fn [run] when it has ended: err
 * is NULL and outputs borrowed when it succeeded. The run is paused, resumed and cancelled with ours. */
typedef void sl_child_fn(struct sl_node *n, struct sl_run_id run, struct json_object *outputs,
			 const struct sl_error *err);
enum sl_step sl_node_child(struct sl_node *n, struct sl_str workflow, int32_t version, struct json_object *inputs,
			   sl_child_fn *fn, struct sl_error *err);
/* The definition of a stored workflow, as it is now: fn [run] once, unless the node ended before; lent, NULL unless
 * SL_OK. SL_NOT_FOUND when there is none. An error return means that fn never runs. */
typedef void sl_definition_fn(struct sl_node *n, const char *workflow, enum sl_code rc, struct sl_bytes *definition);
SL_MUST_USE enum sl_code sl_node_look_up(struct sl_node *n, struct sl_str workflow, sl_definition_fn *fn,
					 struct sl_error *err);
void sl_node_drop_child(struct sl_node *n); /* for `cancel`: the child is cancelled; not when the server merely stops */

/* Something for the next attempt of this execution: what was wrong with this one, say. Taken; gone after a crash. */
void sl_node_pass_on(struct sl_node *n, struct json_object *word);
struct json_object *sl_node_passed_on(const struct sl_node *n); /* by the attempt before; borrowed. NULL: nothing */

/* A node type's own memory of this attempt; freed with the node. NULL: no memory. */
void *sl_node_state(struct sl_node *n, size_t bytes); /* the same pointer on every call, zeroed on the first */

/* The text this attempt streams; made on first use, ended by the engine with the node. NULL: no memory. */
struct sl_stream *sl_node_stream(struct sl_node *n); /* borrowed */

/* A handle to this attempt for other threads: a model call, say. All [any]; after the attempt has ended they do
 * nothing. */
struct sl_remote *sl_node_remote(struct sl_node *n); /* the caller's reference; NULL: no memory */
struct sl_remote *sl_remote_ref(struct sl_remote *r);
void sl_remote_unref(struct sl_remote *r);
/* Runs fn on the run's worker with the node, or frees arg with drop(arg) when the attempt has ended (drop may be NULL).
 * SL_NO_MEMORY: neither is called. */
SL_MUST_USE enum sl_code sl_remote_call(struct sl_remote *r, void (*fn)(struct sl_node *n, void *arg),
					void (*drop)(void *arg), void *arg);

/* Helpers for outputs: a fresh object with one member. NULL: no memory (sl_node_complete then fails the node). */
struct json_object *sl_json_object_time(const char *key, int64_t wall_ms);
uint64_t sl_json_ms(struct json_object *o, const char *key); /* seconds in the object, as ms; 0 when absent */
