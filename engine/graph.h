/* engine/graph.h: a workflow definition, parsed, validated and compiled: immutable from then on.
 *
 * Owns      everything in it; counted as a whole (struct sl_workflow).
 * Thread    [const] after sl_workflow_parse(); parse is [any].
 * Source    the format is described in docs/WORKFLOWS.md. All problems of a definition are reported at once.
 */
#pragma once

#include "base/arena.h"
#include "engine/engine.h"
#include "engine/expr.h"
#include "engine/node.h"
#include "engine/schema.h"

struct sl_registry; /* node types by name, with compiled parameter schemas */
SL_MUST_USE enum sl_code sl_registry_new(const struct sl_node_type *const *types, struct sl_registry **out,
					 struct sl_error *err);
void sl_registry_free(struct sl_registry *r);
SL_DEFINE_AUTO(sl_registry)
const struct sl_node_type *sl_registry_find(const struct sl_registry *r, const char *name); /* NULL: unknown */
const struct sl_schema *sl_registry_schema(const struct sl_registry *r, const struct sl_node_type *t);
/* GET /node-types: { "items": [{ "name", "summary", "effects", "params_schema" }] } as text. NULL: no memory. */
struct sl_bytes *sl_registry_json(const struct sl_registry *r);

/* What "x-provides" in a parameter schema says: names that have a value in the body, or in the expression, it stands
 * at. */
enum sl_provides {
	SL_PROVIDES_LOOP = 1,
	SL_PROVIDES_ITEM = 2,
	SL_PROVIDES_INDEX = 4,
	SL_PROVIDES_BODY = 8, /* at an expression: `nodes` are those of the container's body, too */
};

struct sl_edge {
	uint32_t from, to;    /* node indexes */
	struct sl_expr *when; /* NULL: always */
	const char *kase;     /* NULL: any */
};

struct sl_retry {
	uint32_t max; /* tries after the first; 0 = none */
	uint32_t backoff_ms, max_backoff_ms;
	double factor;
	bool jitter;
};

enum sl_on_error { SL_ON_ERROR_FAIL, SL_ON_ERROR_CONTINUE, SL_ON_ERROR_FALLBACK };

struct sl_named_expr {
	const char *pointer; /* inside params: "/cases/0/when" */
	struct sl_expr *expr;
	uint32_t provides; /* SL_PROVIDES_…: names this one sees besides those of its place */
};

struct sl_node_def {
	uint32_t index; /* in its graph */
	const char *id;
	const char *name; /* NULL: none */
	const struct sl_node_type *type;
	bool params_fit; /* the schema accepts them; true in every finished workflow */
	struct json_object
		*params_json; /* as written, defaults filled in; never NULL; [const]: read only, never get or put */
	struct sl_template
		*params; /* evaluates to the params that start() sees (x-graph emptied, x-expr as plain text) */
	struct sl_named_expr *exprs;
	uint32_t n_exprs;
	struct sl_graph *body; /* of a container; NULL: none */
	struct sl_expr *when;
	uint32_t timeout_ms; /* of one attempt; 0: none */
	bool has_retry;
	struct sl_retry retry;
	enum sl_on_error on_error;
	struct sl_template *fallback; /* NULL: none; the default when by class */
	struct {
		enum sl_code code;
		struct sl_template *value;
	} * fallback_by_class;
	uint32_t n_fallback_by_class;
	uint32_t cache_ttl_s; /* 0: no cache */
	struct sl_template *cache_key;
	uint32_t *in, *out; /* edge indexes, in the order of the definition */
	uint32_t n_in, n_out;
	bool has_policy; /* a join */
	struct sl_join_policy policy;
	/* A failure here need not end the run: every way down passes a join that tolerates it, or one all of whose
	 * missing branches come from a parallel that waits for all. */
	bool absorbed;
	/* For each parallel with a branch limit above this node: which of its branches this node belongs to,
	 * exclusively. */
	struct {
		uint32_t parallel; /* node index */
		uint32_t branch;   /* 0 … */
	} * branch_of;
	uint32_t n_branch_of;
	uint32_t branch_limit; /* of a node that opens branches; 0: none */
};

struct sl_graph {
	struct sl_node_def *nodes;
	uint32_t n_nodes;
	struct sl_edge *edges;
	uint32_t n_edges;
	uint32_t *order; /* topological, n_nodes long */
	struct sl_graph *parent;
	uint32_t parent_node;     /* index in parent */
	uint32_t depth;           /* root: 0 */
	uint32_t provides;        /* SL_PROVIDES_…, of all containers around it */
	const char *pointer;      /* where it stands in the definition: "", "/nodes/3/params/body" */
	struct json_object *json; /* what it was read from; [const] */
	uint64_t *ancestors;      /* bit rows, n_words each; NULL in a definition with cycles */
	uint32_t n_words;
	uint32_t *slots; /* ids by hash, see sl_graph_find() */
	uint32_t n_slots;
};

enum sl_durability { SL_DURABILITY_STEP, SL_DURABILITY_RUN, SL_DURABILITY_NONE };

/* When the run breaker trips; all have a value. */
struct sl_breaker_limits {
	bool off;            /* "breaker": false */
	double token_surge;  /* times the estimate of a call */
	double velocity_tps; /* tokens a second, over window_s */
	double window_s;
	double similarity; /* of `repeats` outputs in a row */
	double entropy;    /* of an output, 0 … 1: below it says nothing new */
	uint32_t repeats;
	uint32_t depth; /* of bodies and child runs inside each other */
	uint32_t run_s; /* active time of the run: not paused, not waiting */
};

struct sl_workflow {
	_Atomic uint32_t refs;
	char *name, *description;
	struct sl_bytes *text;           /* the definition as it came */
	struct json_object *inputs_json; /* the schema as written; NULL: none */
	struct sl_schema *inputs;        /* NULL: any object */
	uint32_t timeout_s;              /* 0: the server's default */
	uint64_t max_tokens;             /* 0: no limit */
	int64_t max_cost_microusd;       /* 0: no limit */
	struct sl_breaker_limits breaker;
	enum sl_durability durability;
	struct sl_template *outputs; /* NULL: the outputs of the last nodes */
	struct sl_graph *root;
	uint32_t n_nodes;             /* nested ones included */
	struct json_object *expanded; /* graphs that node types made, likewise pointed into */
	struct json_object *doc;      /* the definition; ids, names and params_json point into it */
	struct sl_arena arena;        /* everything below root, but for what is compiled */
};

/* *out is set when there are no errors (warnings may be there). SL_OK also with errors; else SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_workflow_parse(const struct sl_registry *r, struct sl_str text, struct sl_workflow **out,
					   struct sl_problems *problems);
/* The same for one that was accepted once, perhaps by an earlier version, and has runs. What only says whether it is a
 * good one (joins that starve, cases nobody has, mentions of nodes that are not above) is not asked again: at worst
 * something in it fails when its turn comes. */
SL_MUST_USE enum sl_code sl_workflow_parse_stored(const struct sl_registry *r, struct sl_str text,
						  struct sl_workflow **out, struct sl_problems *problems);
/* Without nodes: in place of a definition that cannot be read. NULL: no memory. */
struct sl_workflow *sl_workflow_husk(struct sl_str text);
struct sl_workflow *sl_workflow_ref(struct sl_workflow *w);
void sl_workflow_unref(struct sl_workflow *w);
static inline void sl_workflow_free(struct sl_workflow *w)
{
	sl_workflow_unref(w);
}
SL_DEFINE_AUTO(sl_workflow)

uint32_t sl_graph_find(const struct sl_graph *g, struct sl_str id); /* the node's index; UINT32_MAX: none. O(1) */
/* Is `a` an ancestor of `b` in this graph (there is a way from a to b)? O(1) after parsing. */
bool sl_graph_is_ancestor(const struct sl_graph *g, uint32_t a, uint32_t b);
/* Is one execution of it one call of a model? What has a body only leads the nodes in there, which are asked
 * themselves. */
static inline bool sl_node_def_is_call(const struct sl_node_def *d)
{
	return d->type->effects == SL_EFFECTS_MODEL && !d->body;
}
const struct sl_expr *sl_node_def_expr(const struct sl_node_def *d, const char *pointer); /* NULL: there is none */
