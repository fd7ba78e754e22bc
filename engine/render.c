/* engine/render.c: a run's state as the object that the API shows. */
#include "base/clock.h"
#include "base/limits.h"
#include "engine/run_state.h"

static void render_error(struct sl_buf *out, enum sl_code code, const char *message, const char *node)
{
	sl_buf_addc(out, '{');
	sl_buf_json_kz(out, "code", sl_code_wire(code));
	sl_buf_json_kz(out, "message", message ? message : "");
	if (node)
		sl_buf_json_kz(out, "node", node);
	sl_buf_addc(out, '}');
}

static void render_node(const struct sl_scope *sc, uint32_t i, struct sl_buf *out)
{
	const struct sl_node_def *def = &sc->graph->nodes[i];
	const struct sl_node_state *n = &sc->nodes[i];
	SL_BUF(path, 4096);
	sl_buf_adds(&path, sc->prefix ? sc->prefix : "");
	sl_buf_adds(&path, def->id);
	sl_buf_json_comma(out);
	sl_buf_addc(out, '{');
	sl_buf_json_kstr(out, "path", sl_buf_str(&path));
	sl_buf_json_kz(out, "type", def->type->name);
	if (def->name)
		sl_buf_json_kz(out, "name", def->name);
	sl_buf_json_kz(out, "status", sl_node_states[n->status].wire);
	sl_buf_json_ku64(out, "attempt", n->attempt);
	sl_buf_json_ktime(out, "started_at", n->started_ms);
	sl_buf_json_ktime(out, "finished_at", n->finished_ms);
	if (n->due_ms)
		sl_buf_json_ktime(out, "due_at", n->due_ms);
	if (n->output) {
		sl_buf_json_key(out, "output");
		sl_json_write(out, n->output);
	}
	if (n->code != SL_OK) {
		sl_buf_json_key(out, "error");
		render_error(out, n->code, n->message, NULL);
	}
	if (n->input_tokens || n->output_tokens) {
		sl_buf_json_key(out, "usage");
		sl_buf_addc(out, '{');
		sl_buf_json_ku64(out, "input_tokens", n->input_tokens);
		sl_buf_json_ku64(out, "output_tokens", n->output_tokens);
		sl_buf_json_kf64(out, "cost_usd", (double)n->cost_microusd / 1e6);
		sl_buf_addc(out, '}');
	}
	if (n->reason)
		sl_buf_json_kz(out, "reason", n->reason);
	if (def->has_policy || def->n_in > 1) {
		uint32_t arrived, expected;
		(void)sl_node_ready(sc, i, false, &arrived, &expected);
		sl_buf_json_ku64(out, "arrived", arrived);
		sl_buf_json_ku64(out, "expected", expected);
	}
	sl_buf_addc(out, '}');
}

void sl_state_render(const struct sl_run_state *s, const struct sl_run_head *head, const struct sl_workflow *w,
		     struct sl_buf *out)
{
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(head->id.u, id);
	sl_buf_addc(out, '{');
	sl_buf_json_kz(out, "id", id);
	sl_buf_json_kz(out, "workflow", head->workflow && *head->workflow ? head->workflow : w->name);
	sl_buf_json_ki64(out, "version", head->version);
	sl_buf_json_kz(out, "project", head->project);
	sl_buf_json_kz(out, "status", sl_run_states[s->status].wire);
	if (s->reason)
		sl_buf_json_kz(out, "reason", s->reason);
	if (s->parent) {
		sl_buf_json_kz(out, "parent", s->parent);
		sl_buf_json_kz(out, "parent_node", s->parent_node ? s->parent_node : "");
	}
	if (s->forked_from) {
		sl_buf_json_key(out, "forked_from");
		sl_json_write(out, s->forked_from);
	}
	sl_buf_json_ktime(out, "created_at", head->created_ms);
	sl_buf_json_ktime(out, "started_at", s->started_ms);
	sl_buf_json_ktime(out, "finished_at", s->finished_ms);
	sl_buf_json_kraw(out, "inputs", sl_bytes_str(head->inputs));
	sl_buf_json_key(out, "outputs");
	sl_json_write(out, s->outputs);
	if (s->code != SL_OK) {
		sl_buf_json_key(out, "error");
		render_error(out, s->code, s->message, s->failed_node);
	}
	sl_buf_json_key(out, "usage");
	sl_buf_addc(out, '{');
	sl_buf_json_ku64(out, "input_tokens", s->input_tokens);
	sl_buf_json_ku64(out, "output_tokens", s->output_tokens);
	sl_buf_addc(out, '}');
	sl_buf_json_kf64(out, "cost_usd", (double)s->cost_microusd / 1e6);
	if (s->has_kin) {
		const struct sl_figures all = sl_state_figures(s);
		sl_buf_json_key(out, "total_usage");
		sl_buf_addc(out, '{');
		sl_buf_json_ku64(out, "input_tokens", all.input_tokens);
		sl_buf_json_ku64(out, "output_tokens", all.output_tokens);
		sl_buf_addc(out, '}');
		sl_buf_json_kf64(out, "total_cost_usd", (double)all.cost_microusd / 1e6);
	}
	sl_buf_json_ku64(out, "nodes_total", s->n_nodes);
	sl_buf_json_ku64(out, "nodes_done", s->n_done);
	if (s->n_folded)
		sl_buf_json_ku64(out, "nodes_folded", s->n_folded);
	sl_buf_json_ku64(out, "last_seq", s->last_seq);
	sl_buf_json_key(out, "tags");
	if (head->tags && head->tags->len)
		sl_buf_add(out, head->tags->data, head->tags->len);
	else
		sl_buf_adds(out, "[]");
	sl_buf_json_ki64(out, "priority", head->priority);
	sl_buf_json_kbool(out, "simulated", s->simulated);
	if (s->files) {
		sl_buf_json_key(out, "files");
		sl_files_render(s, out);
	}
	sl_buf_json_kraw(out, "definition", sl_bytes_str(head->definition));
	sl_buf_json_key(out, "nodes");
	sl_buf_addc(out, '[');
	for (uint32_t k = 0; k < s->n_scopes; k++)
		for (uint32_t i = 0; i < s->scopes[k]->graph->n_nodes; i++)
			render_node(s->scopes[k], i, out);
	sl_buf_adds(out, "]}");
}
