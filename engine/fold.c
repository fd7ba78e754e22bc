/* engine/fold.c: bodies that have ended, and what is left of them. A map may have ten thousand items, a loop a thousand
 * rounds; of each that has ended, only what it came to is needed. So when many have begun, the older ones are folded:
 * states and streams of their nodes go; the error stays, or the result of an item, or the outputs of a round, which
 * `loop.history` has anyway. The journal has the rest. */
#include <stdlib.h>

#include "engine/run_priv.h"

static const struct sl_graph nothing;

struct json_object *sl_body_result(const struct sl_scope *body)
{
	const struct sl_graph *g = body->graph;
	uint32_t ends = 0, last = 0;
	if (body->folded)
		return json_object_get(body->result);
	for (uint32_t i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].n_out == 0) {
			ends++;
			last = i;
		}
	if (ends == 1)
		return body->nodes[last].output ? json_object_get(body->nodes[last].output) : json_object_new_object();
	struct json_object *o = json_object_new_object();
	if (!o)
		sl_json_lost();
	for (uint32_t i = 0; o && i < g->n_nodes; i++)
		if (g->nodes[i].n_out == 0 && body->nodes[i].output)
			sl_json_set(o, g->nodes[i].id, json_object_get(body->nodes[i].output));
	return o;
}

struct json_object *sl_body_outputs(const struct sl_scope *body)
{
	if (body->folded && body->result)
		return json_object_get(body->result);
	struct json_object *o = json_object_new_object();
	int n = 0;
	if (!o)
		sl_json_lost();
	for (uint32_t i = 0; o && i < body->graph->n_nodes; i++)
		if (body->nodes[i].output) {
			sl_json_set(o, body->graph->nodes[i].id, json_object_get(body->nodes[i].output));
			n++;
		}
	if (o && json_object_object_length(o) != n) { /* not all of them found room */
		json_object_put(o);
		return NULL;
	}
	return o;
}

bool sl_scope_output(const struct sl_scope *sc, const char *id, struct json_object **out)
{
	const struct sl_graph *g = sc->folded ? sc->parent->graph->nodes[sc->parent_node].body : sc->graph;
	uint32_t i = sl_graph_find(g, sl_str(id));
	if (i == UINT32_MAX)
		return false;
	*out = sc->folded ? sl_json_get(sc->result, id) : sc->nodes[i].output;
	return true;
}

enum sl_code sl_body_error(const struct sl_scope *body, struct sl_error *err)
{
	if (body->folded)
		return sl_fail(err, body->code, "%s", body->message ? body->message : "");
	const struct sl_node_state *ns = &body->nodes[body->failed - 1];
	return sl_fail(err, ns->code == SL_OK ? SL_INTERNAL : ns->code, "%s%s: %s", body->prefix,
		       body->graph->nodes[body->failed - 1].id, ns->message ? ns->message : "");
}

/* Its nodes go, and with them what is in their own bodies. */
static void empty(struct sl_scope *sc)
{
	if (sc->folded) { /* what it came to is in what its container came to */
		json_object_put(sc->result);
		json_object_put(sc->bindings);
		sc->result = sc->bindings = NULL;
		return;
	}
	for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
		for (uint32_t k = 0; k < sc->nodes[i].n_bodies; k++)
			if (sc->nodes[i].bodies[k])
				empty(sc->nodes[i].bodies[k]);
		if (sc->rt) {
			sl_run_timer_stop(&sc->rt[i].join_timer);
			sl_stream_unref(sc->rt[i].stream);
		}
	}
	sc->home->n_folded += sc->graph->n_nodes;
	struct sl_scope keep = {.graph = &nothing,
				.home = sc->home,
				.parent = sc->parent,
				.parent_node = sc->parent_node,
				.number = sc->number,
				.prefix = sc->prefix,
				.failed = sc->failed,
				.busy = sc->busy,
				.next_busy = sc->next_busy,
				.told = sc->told,
				.folded = true,
				.was_nodes = sc->graph->n_nodes,
				.was_done = sc->n_final,
				.result = sc->result,
				.code = sc->code,
				.message = sc->message};
	sc->prefix = sc->message = NULL;
	sc->result = NULL;
	sl_scope_fini(sc);
	*sc = keep;
}

static enum sl_body_keep keep_of(const struct sl_scope *body)
{
	return body->parent->graph->nodes[body->parent_node].type->keep;
}

static void fold(struct sl_scope *body)
{
	struct sl_error err = {0};
	if (body->n_active) /* it has failed, and the others of its nodes are called off next */
		return;
	for (uint32_t i = 0; i < body->graph->n_nodes; i++)
		if (body->rt && body->rt[i].exec)
			return; /* something of it is not quite over */
	if (body->failed) {
		body->code = sl_body_error(body, &err);
		body->message = sl_z(err.text);
	} else if (!(body->result =
			     keep_of(body) == SL_BODY_KEEP_OUTPUTS ? sl_body_outputs(body) : sl_body_result(body))) {
		return; /* no memory: it stays as it is */
	}
	empty(body);
}

static void consider(struct sl_scope *body)
{
	const struct sl_scope *sc = body->parent;
	const struct sl_node_state *n = &sc->nodes[body->parent_node];
	bool live = body->rt && !body->home->replayed; /* else nobody has to be told */
	if (body->folded || n->status != SL_NODE_RUNNING || keep_of(body) == SL_BODY_KEEP_ALL)
		return;
	if (body->number + SL_KEEP_BODIES <= n->n_bodies && sl_scope_ended(body) && (body->told || !live))
		fold(body);
}

void sl_body_ended(struct sl_scope *body)
{
	if (body->parent)
		consider(body);
}

void sl_body_begun(struct sl_scope *body)
{
	const struct sl_node_state *n = &body->parent->nodes[body->parent_node];
	if (body->number <= SL_KEEP_BODIES)
		return;
	struct sl_scope *old = n->bodies[body->number - SL_KEEP_BODIES - 1];
	if (old)
		consider(old);
}
