/* tests/fuzz/fuzz_definition.c: any bytes as a workflow definition. Besides survival: what is accepted holds together,
 * and printed with its defaults filled in it is accepted again and says the same. */
#include <stdint.h>

#include "base/limits.h"
#include "tests/lib/graph_types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sl_registry *registry(void)
{
	static struct sl_registry *r; /* once a process */
	const struct sl_node_type *types[64];
	size_t n = 0;
	struct sl_error err;
	if (r)
		return r;
	for (size_t i = 0; sl_node_types[i] && n < 40; i++)
		types[n++] = sl_node_types[i];
	for (size_t i = 0; types_all[i]; i++) /* containers, and parameters of every kind */
		types[n++] = types_all[i];
	types[n] = NULL;
	SL_BUG_ON(sl_registry_new(types, &r, &err) != SL_OK);
	return r;
}

static void hold_together(const struct sl_graph *g)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sl_node_def *d = &g->nodes[g->order[i]];
		SL_BUG_ON(!d->type || !d->params || !d->params_fit || !*d->id);
		SL_BUG_ON(sl_graph_find(g, sl_str(d->id)) != d->index);
		SL_BUG_ON(sl_graph_is_ancestor(g, d->index, d->index));
		for (uint32_t k = 0; k < d->n_in; k++)
			SL_BUG_ON(!sl_graph_is_ancestor(g, g->edges[d->in[k]].from, d->index) ||
				  g->edges[d->in[k]].to != d->index);
		for (uint32_t k = 0; k < d->n_branch_of; k++)
			SL_BUG_ON(!sl_graph_is_ancestor(g, d->branch_of[k].parallel, d->index));
		SL_BUG_ON(d->has_policy && d->n_in && d->policy.need > d->n_in);
		if (d->body) {
			SL_BUG_ON(d->body->parent != g || d->body->depth != g->depth + 1 ||
				  d->body->depth > SL_LIMIT_NESTING);
			hold_together(d->body);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SL_AUTO(sl_workflow) w = NULL;
	SL_AUTO(sl_workflow) again = NULL;
	struct sl_problems problems = {0}, more = {0};
	SL_BUG_ON(sl_workflow_parse(registry(), sl_str_n((const char *)data, size), &w, &problems) != SL_OK);
	SL_BUG_ON(!w != (problems.errors > 0));
	for (size_t i = 0; i < problems.n; i++)
		SL_BUG_ON(problems.items[i].pointer[0] != 0 && problems.items[i].pointer[0] != '/');
	if (w) {
		hold_together(w->root);
		SL_BUF(text, 16u << 20);
		sl_json_write(&text, w->doc);
		SL_BUG_ON(text.failed);
		if (text.len <= SL_LIMIT_BODY_BYTES) { /* defaults may have made it longer */
			SL_BUG_ON(sl_workflow_parse(registry(), sl_buf_str(&text), &again, &more) != SL_OK);
			SL_BUG_ON(!again || again->n_nodes != w->n_nodes ||
				  more.n + more.dropped != problems.n + problems.dropped);
		}
	}
	sl_problems_fini(&problems);
	sl_problems_fini(&more);
	return 0;
}
