/* tests/lib/scenario.c: see scenario.h. */
#include "tests/lib/scenario.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/run_state.h"
#include "tests/lib/test.h"

int world_setup(void **state)
{
	sl_expect_aborts = true;
	*state = world_new(5);
	return 0;
}

int world_teardown(void **state)
{
	world_free(*state);
	return 0;
}

const char *q(const char *fmt, ...)
{
	static char bufs[4][8192];
	static unsigned turn;
	char *b = bufs[turn++ % 4];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(b, sizeof(bufs[0]), fmt, ap);
	va_end(ap);
	assert_in_range(n, 0, sizeof(bufs[0]) - 1);
	for (char *c = b; *c; c++)
		if (*c == '\'')
			*c = '"';
	return b;
}

const char *text_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

struct json_object *output(struct world *w, struct sl_run_id id, const char *key)
{
	return sl_json_get(sl_json_get(world_run(w, id), "outputs"), key);
}

void expect_status(struct world *w, struct sl_run_id id, const char *status)
{
	if (strcmp(world_status(w, id), status) != 0)
		fail_msg("%s", text_of(world_run(w, id)));
}

void expect_v(struct world *w, struct sl_run_id id, const char *v)
{
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(output(w, id, "v")), v);
}

struct json_object *event(struct world *w, struct sl_run_id id, const char *name, unsigned n)
{
	const struct sl_record *r;
	size_t all = world_records(w, id, &r);
	for (size_t i = 0; i < all; i++)
		if (strcmp(r[i].event, name) == 0 && n-- == 0) {
			struct json_object *o = NULL;
			struct sl_error err;
			assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, &err), SL_OK);
			return o;
		}
	return NULL;
}

unsigned events(struct world *w, struct sl_run_id id, const char *name)
{
	const struct sl_record *r;
	unsigned n = 0;
	for (size_t i = 0, all = world_records(w, id, &r); i < all; i++)
		n += strcmp(r[i].event, name) == 0;
	return n;
}

bool is_over(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	size_t n = world_records(w, id, &r);
	const char *e = n ? r[n - 1].event : "";
	return strcmp(e, "execution:completed") == 0 || strcmp(e, "execution:failed") == 0 ||
	       strcmp(e, "execution:cancelled") == 0;
}

unsigned rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*s >> 33);
}

unsigned long from_env(const char *name, unsigned long otherwise)
{
	const char *z = getenv(name);
	return z ? strtoul(z, NULL, 10) : otherwise;
}

/* What counting gives is what the state says, in every scope. */
static void hold_together(const struct sl_run_state *s)
{
	uint32_t nodes = 0, done = 0, active = 0, quiet = 0, holding = 0;
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		const struct sl_scope *sc = s->scopes[k];
		uint32_t final = 0;
		assert_true(!sc->parent || sc->parent->folded ||
			    sc->parent->nodes[sc->parent_node].bodies[sc->number - 1] == sc);
		assert_true(!sc->failed || sc->folded || sc->nodes[sc->failed - 1].status == SL_NODE_FAILED);
		nodes += sc->graph->n_nodes + sc->was_nodes;
		done += sc->was_done;
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
			const struct sl_node_state *n = &sc->nodes[i];
			const struct sl_node_def *def = &sc->graph->nodes[i];
			final += sl_node_status_final(n->status);
			active += n->status == SL_NODE_RUNNING || n->status == SL_NODE_WAITING ||
				  n->status == SL_NODE_RETRYING;
			quiet += n->status == SL_NODE_WAITING;
			holding += n->status == SL_NODE_RUNNING && def->body;
			assert_int_equal(n->mark, 0);
			assert_int_equal(n->output != NULL, n->status == SL_NODE_COMPLETED);
			for (uint32_t e = 0; e < def->n_out; e++) /* what has not ended decides nothing */
				assert_int_equal(sc->edges[def->out[e]] == SL_EDGE_OPEN,
						 !sl_node_status_final(n->status));
		}
		assert_int_equal(final, sc->n_final);
		done += final;
	}
	assert_int_equal(nodes, s->n_nodes);
	assert_int_equal(done, s->n_done);
	assert_int_equal(active, s->n_active);
	assert_int_equal(quiet, s->n_quiet);
	assert_int_equal(holding, s->n_holding);
}

/* Folds the journal, and looks at the state after each event. */
void every_prefix_is_a_state(struct world *w, struct sl_run_id id)
{
	const struct sl_record *r;
	struct sl_run_state s;
	struct sl_error err = {0};
	struct sl_problems problems = {0};
	SL_AUTO(sl_workflow) wf = NULL;
	size_t n = world_records(w, id, &r);
	const char *definition = text_of(sl_json_get(world_run(w, id), "definition"));
	assert_int_equal(sl_workflow_parse(sl_engine_registry(world_engine(w)), sl_str(definition), &wf, &problems),
			 SL_OK);
	sl_problems_fini(&problems);
	assert_non_null(wf);
	assert_int_equal(sl_run_state_init(&s, wf), SL_OK);
	for (size_t i = 0; i < n; i++) {
		struct sl_event e;
		assert_int_equal(sl_event_decode(&r[i], &e, &err), SL_OK);
		if (sl_evolve(&s, &e, &err) != SL_OK)
			fail_msg("%s", err.text);
		sl_event_fini(&e);
		if (s.ended)
			sl_body_ended(s.ended);
		hold_together(&s);
	}
	sl_run_state_fini(&s);
}
