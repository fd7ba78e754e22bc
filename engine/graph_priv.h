/* engine/graph_priv.h: what the files that read a definition share: registry.c, graph.c, graph_parse.c, graph_params.c,
 * graph_check.c, graph_liveness.c, graph_refs.c.
 *
 * Order     graph.c refuses what is too large · graph_parse.c reads nodes (graph_params.c their parameters) and edges,
 * bodies included · graph_check.c orders each graph, then asks what the order tells · graph_refs.c checks what
 *           expressions mention. Each stage goes on after errors, so that all of them are reported at once.
 * Thread    [any], everything belongs to one sl_workflow_parse() call.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "engine/graph.h"

/* What the x- keywords of a parameter schema say, as a tree beside the schema's own. */
struct sl_mark {
	const char *key; /* the member it stands at; NULL for the root and for items */
	bool expr, code, graph, constant, schema;
	bool rewrites; /* an expr or graph at or below this: the template is made of a changed copy */
	uint32_t provides;
	struct sl_mark *sub, *items;
	uint32_t n_sub;
};

const struct sl_mark *sl_registry_marks(const struct sl_registry *r, const struct sl_node_type *t);
/* Names of types of a kind, for messages: "`map`, `loop`"; "no node type" when there is none. */
enum sl_registry_kind { SL_TYPES_ALL, SL_TYPES_CASES, SL_TYPES_PROVIDING };
void sl_registry_names(const struct sl_registry *r, enum sl_registry_kind kind, uint32_t provides, struct sl_buf *out);
const char *sl_registry_name_at(const struct sl_registry *r, uint32_t i); /* NULL: no more */

struct sl_reading {
	const struct sl_registry *registry;
	struct sl_workflow *w;
	struct sl_problems *problems;
	struct sl_buf pointer; /* where we are */
	uint32_t n_edges;      /* of all graphs */
	uint32_t n_exprs;      /* conditions, expressions and {{ }} */
	uint32_t distances; /* name comparisons made so far: an adversary pays for no more than SL_READING_DISTANCES */
	bool stored;        /* it was accepted once: only what is needed to run it is asked */
	uint32_t liveness_steps; /* 1 + what is left of them; 0: none were made yet */
	bool no_memory;
};

#define SL_READING_DISTANCES 1500

#define sl_bad(rd, ...)  sl_problems_add((rd)->problems, false, sl_buf_str(&(rd)->pointer), __VA_ARGS__)
#define sl_note(rd, ...) sl_problems_add((rd)->problems, true, sl_buf_str(&(rd)->pointer), __VA_ARGS__)

/* The pointer grows and shrinks like a path: size_t at = sl_enter(rd, "params"); …; sl_leave(rd, at); */
size_t sl_enter(struct sl_reading *rd, const char *key);
size_t sl_enter_index(struct sl_reading *rd, size_t index);
void sl_leave(struct sl_reading *rd, size_t at);
size_t sl_enter_node(struct sl_reading *rd, const struct sl_graph *g,
		     uint32_t node); /* from nowhere: the whole pointer */
size_t sl_enter_edge(struct sl_reading *rd, const struct sl_graph *g, uint32_t edge);

/* NULL sets no_memory. Zeroed. */
void *sl_reading_alloc(struct sl_reading *rd, size_t n, size_t each);
char *sl_reading_str(struct sl_reading *rd, struct sl_str s);

/* FNV-1a: spreads the ids of one definition; an adversary gains a slow lookup among a thousand, no more. */
static inline uint32_t sl_id_hash(struct sl_str s)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * 16777619u;
	return h;
}

struct sl_str sl_brief(struct sl_str s); /* cut for a message, at a character */
/* Is `name` closer to `known` than *best? Keeps the closest in *best and *near. */
void sl_nearer(struct sl_reading *rd, struct sl_str name, const char *known, unsigned *best, const char **near);

/* Every key of o that is not in the list (NULL-terminated) is an error. `of` completes "…is no key of ". */
void sl_read_keys(struct sl_reading *rd, struct json_object *o, const char *const *known, const char *of);
struct sl_expr *sl_read_expr(struct sl_reading *rd, struct sl_str source, enum sl_expr_kind kind);
struct sl_template *sl_read_template(struct sl_reading *rd, struct json_object *value);
/* params, exprs and body of d; the pointer stands at the node. */
void sl_read_params(struct sl_reading *rd, struct sl_graph *g, struct sl_node_def *d, struct json_object *params);
struct sl_graph *sl_read_graph(struct sl_reading *rd, struct json_object *json, struct sl_graph *parent,
			       uint32_t parent_node, uint32_t provides);
void sl_read_document(struct sl_reading *rd);

void sl_graph_order(struct sl_reading *rd, struct sl_graph *g); /* order and ancestors, bodies included */
void sl_graph_examine(struct sl_reading *rd,
		      struct sl_graph *g); /* joins, absorbed, branches, warnings; bodies included */
void sl_graph_liveness(struct sl_reading *rd, struct sl_graph *g); /* joins that starve; not of bodies */
void sl_graph_refs(struct sl_reading *rd, struct sl_graph *g);     /* bodies included */
void sl_outputs_refs(struct sl_reading *rd);
