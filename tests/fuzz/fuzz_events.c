/* tests/fuzz/fuzz_events.c: any records as the journal of a run, a line each: event, data and perhaps detail, with tabs
 * between them. Besides survival: what is refused changes nothing, the counts are what counting gives, and an event
 * that was read, written and read again comes to the same state. */
#include <stdint.h>

#include "base/limits.h"
#include "engine/run_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char definition[] =
	"{\"sluice\":1,\"name\":\"fuzz\",\"nodes\":["
	"{\"id\":\"start\",\"type\":\"parallel\",\"params\":{}},"
	"{\"id\":\"a\",\"type\":\"template\",\"params\":{\"text\":\"a\"}},"
	"{\"id\":\"b\",\"type\":\"delay\",\"params\":{\"seconds\":1}},"
	"{\"id\":\"any\",\"type\":\"join\",\"params\":{\"wait\":\"any\",\"timeout_s\":5}},"
	"{\"id\":\"loop\",\"type\":\"loop\",\"params\":{\"max_rounds\":3,\"body\":{\"nodes\":["
	"{\"id\":\"x\",\"type\":\"template\",\"params\":{\"text\":\"x\"}},"
	"{\"id\":\"each\",\"type\":\"map\",\"params\":{\"items\":[1,2],\"body\":{\"nodes\":[{\"id\":\"y\",\"type\":"
	"\"template\","
	"\"params\":{\"text\":\"y\"}}]}}}],\"edges\":[{\"from\":\"x\",\"to\":\"each\"}]}}},"
	"{\"id\":\"ask\",\"type\":\"human_review\",\"params\":{\"draft\":\"d\"}},"
	"{\"id\":\"sig\",\"type\":\"wait_signal\",\"params\":{\"signal\":\"go\"}}],"
	"\"edges\":[{\"from\":\"start\",\"to\":\"a\"},{\"from\":\"start\",\"to\":\"b\"},{\"from\":\"a\",\"to\":\"any\"}"
	","
	"{\"from\":\"b\",\"to\":\"any\"},{\"from\":\"any\",\"to\":\"loop\"},{\"from\":\"loop\",\"to\":\"ask\"},"
	"{\"from\":\"ask\",\"to\":\"sig\"}]}";

static const struct sl_workflow *workflow(void)
{
	static struct sl_workflow *w; /* once a process */
	static struct sl_registry *r;
	struct sl_problems problems = {0};
	struct sl_error err;
	if (w)
		return w;
	SL_BUG_ON(sl_registry_new(sl_node_types, &r, &err) != SL_OK);
	SL_BUG_ON(sl_workflow_parse(r, sl_str(definition), &w, &problems) != SL_OK || !w);
	sl_problems_fini(&problems);
	return w;
}

struct counts {
	uint64_t last_seq, status, scopes, nodes, done, active, quiet, holding; /* of one width: compared as bytes */
};

static struct counts counts_of(const struct sl_run_state *s)
{
	return (struct counts){s->last_seq, s->status,   s->n_scopes, s->n_nodes,
			       s->n_done,   s->n_active, s->n_quiet,  s->n_holding};
}

static void hold_together(const struct sl_run_state *s)
{
	struct counts c = {.last_seq = s->last_seq, .status = s->status, .scopes = s->n_scopes}, have = counts_of(s);
	for (uint32_t k = 0; k < s->n_scopes; k++) {
		const struct sl_scope *sc = s->scopes[k];
		uint32_t final = 0;
		SL_BUG_ON(sc->parent && sc->parent->nodes[sc->parent_node].bodies[sc->number - 1] != sc);
		c.nodes += sc->graph->n_nodes;
		for (uint32_t i = 0; i < sc->graph->n_nodes; i++) {
			enum sl_node_status n = sc->nodes[i].status;
			final += sl_node_status_final(n);
			c.active += n == SL_NODE_RUNNING || n == SL_NODE_WAITING || n == SL_NODE_RETRYING;
			c.quiet += n == SL_NODE_WAITING;
			c.holding += n == SL_NODE_RUNNING && sc->graph->nodes[i].body;
		}
		SL_BUG_ON(final != sc->n_final);
		c.done += final;
	}
	SL_BUG_ON(memcmp(&c, &have, sizeof(c)) != 0);
}

/* False: the record is none, and the journal ends here. */
static bool feed(struct sl_run_state *s, struct sl_run_state *twin, struct sl_record *r)
{
	struct sl_event e, again;
	struct sl_record copy;
	struct sl_error err;
	if (sl_event_decode(r, &e, &err) != SL_OK)
		return false;
	bool kept = e.kind == SL_EV_CUSTOM; /* its data is the record's, and not the event's to write again */
	enum sl_code coded = kept ? SL_OK : sl_event_encode(&e, &copy);
	struct counts before = counts_of(s), after;
	enum sl_code rc = sl_evolve(s, &e, &err);
	sl_event_fini(&e);
	after = counts_of(s);
	/* a body an event speaks of is there from then on, whatever becomes of the event */
	if (rc != SL_OK)
		SL_BUG_ON(after.last_seq != before.last_seq || after.status != before.status ||
			  after.done != before.done || after.active != before.active);
	hold_together(s);
	if (coded != SL_OK)
		return false;
	SL_BUG_ON(sl_event_decode(kept ? r : &copy, &again, &err) != SL_OK);
	enum sl_code twin_rc = sl_evolve(twin, &again, &err);
	SL_BUG_ON((rc == SL_OK) != (twin_rc == SL_OK));
	sl_event_fini(&again);
	if (!kept)
		sl_record_fini(&copy);
	after = counts_of(s);
	before = counts_of(twin);
	SL_BUG_ON(memcmp(&before, &after, sizeof(after)) != 0);
	return rc == SL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_run_state s, twin;
	struct sl_str rest = sl_str_n((const char *)data, size), line, event, detail;
	uint64_t seq = 0;
	SL_BUG_ON(sl_run_state_init(&s, workflow()) != SL_OK || sl_run_state_init(&twin, workflow()) != SL_OK);
	for (bool more = true; more && seq < 500;) {
		if (!sl_str_cut(rest, '\n', &line, &rest)) {
			line = rest;
			more = false;
		}
		struct sl_str body = line;
		SL_AUTO_MEM char *name = NULL;
		if (!sl_str_cut(line, '\t', &event, &body) || !(name = sl_str_dup(event)))
			break;
		if (!sl_str_cut(body, '\t', &body, &detail))
			detail = sl_str_n(NULL, 0);
		seq++;
		struct sl_record r = {.seq = seq, .wall_ms = 1700000000000 + (int64_t)seq, .event = name};
		r.data = sl_bytes_new(body.p, body.len);
		r.detail = detail.len ? sl_bytes_new(detail.p, detail.len) : NULL;
		more = r.data && feed(&s, &twin, &r) && more;
		sl_bytes_unref(r.data);
		sl_bytes_unref(r.detail);
	}
	uint32_t node;
	struct sl_scope *sc;
	for (uint32_t n = 0; sl_state_work(&s, &sc, &node); n++)
		SL_BUG_ON(n > s.n_nodes || sc->nodes[node].dirty);
	sl_run_state_fini(&s);
	sl_run_state_fini(&twin);
	return 0;
}
