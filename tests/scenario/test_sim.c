/* The whole engine in a bottle: random workflows (loops, maps, children, people, signals, timers, retries, effects
 * outside) in random schedules, with everything that can go wrong on the way to the journal: late commits, lost
 * answers, crashes, and another server that takes over while the old one lives on. People pause, resume, speak and
 * cancel meanwhile. Then things heal, and the run must end as it does when nothing goes wrong.
 *
 * SLUICE_SIM_SCHEDULES sets how many (2000), SLUICE_SEED plays one of them again. `./dev sim` is the same for more. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "base/log.h"
#include "engine/run_priv.h"
#include "tests/lib/dag.h"
#include "tests/lib/scenario.h"

enum { NODES = 120, EDGES = 600, WORKFLOWS = 400, RUNS = 64, PATHS = 512 };

static uint64_t playing; /* the seed, for whoever fails */

#define FAIL(...)                                                                                                      \
	do {                                                                                                           \
		print_message("SLUICE_SEED=%llu: ", (unsigned long long)playing);                                      \
		fail_msg(__VA_ARGS__);                                                                                 \
	} while (0)

/* ---- workflows ---- */

/* Ids say what a node is: f fake, t transform, d delay, r review, w signal, e external, j join, l loop, m map, c child
 */
struct flow {
	char *text;
	char ids[NODES][8];
	unsigned n;
	struct {
		unsigned from, to;
	} edges[EDGES];
	unsigned n_edges;
	/* what becomes of it when nothing goes wrong */
	char *status, *outputs;
};

static struct flow flows[WORKFLOWS];

struct drawing {
	struct flow *f;
	struct sl_buf *b;
	uint64_t s;
	bool fails; /* one step still has to */
};

static const char leaf[] =
	"{\"sluice\":1,\"name\":\"leaf\",\"nodes\":[{\"id\":\"f1000\",\"type\":\"fake\",\"params\":{"
	"\"answer\":5,\"hold\":true}},{\"id\":\"d1001\",\"type\":\"delay\",\"params\":{\"seconds\":0.3}}],"
	"\"edges\":[{\"from\":\"f1000\",\"to\":\"d1001\"}],\"outputs\":{\"v\":\"{{ nodes.f1000.value }}\"}}";
static const char asking[] =
	"{\"sluice\":1,\"name\":\"asking\",\"nodes\":[{\"id\":\"r1002\",\"type\":\"human_review\",\"params\":{"
	"\"draft\":"
	"\"abc\"}},{\"id\":\"c1003\",\"type\":\"subworkflow\",\"params\":{\"workflow\":\"leaf\"}}],\"edges\":[{"
	"\"from\":"
	"\"r1002\",\"to\":\"c1003\"}],\"outputs\":{\"v\":\"{{ #nodes.r1002.content + nodes.c1003.v }}\"}}";

static void put_value(struct drawing *g, unsigned node)
{
	const char *id = g->f->ids[node];
	static const char *const of[] = {
		['f'] = ".value", ['t'] = ".value", ['l'] = ".rounds", ['m'] = ".count", ['c'] = ".v"};
	switch (*id) {
	case 'r':
		sl_buf_addf(g->b, " + #nodes.%s.content", id);
		break;
	case 'w':
		sl_buf_addf(g->b, " + nodes.%s.payload.x", id);
		break;
	case 'j':
		sl_buf_addf(g->b, " + #nodes.%s.arrived", id);
		break;
	case 'd':
	case 'e':
		break;
	default:
		sl_buf_addf(g->b, " + nodes.%s%s", id, of[(unsigned char)*id]);
	}
}

static void put_sum(struct drawing *g, unsigned self, const unsigned *above, unsigned n_above, const char *place)
{
	sl_buf_addf(g->b, "(%u%s", self + 1, place);
	for (unsigned i = 0; i < n_above; i++)
		put_value(g, above[i]);
	sl_buf_adds(g->b, ") % 1000003");
}

static unsigned draw_graph(struct drawing *g, unsigned depth, const char *place, unsigned *last);

static unsigned draw_piece(struct drawing *g, unsigned depth, const char *place, const unsigned *above,
			   unsigned n_above)
{
	static const char kinds[] = "fffffftdrwelmc";
	char kind = kinds[dag_random(&g->s, sizeof(kinds) - 1)];
	unsigned last[4];
	if ((kind == 'l' || kind == 'm') && (depth > 1 || g->f->n > 30))
		kind = 'f';
	unsigned me = g->f->n++;
	assert_true(g->f->n < NODES);
	snprintf(g->f->ids[me], sizeof(g->f->ids[me]), "%c%u", kind, me);
	sl_buf_addf(g->b, "{\"id\":\"%s\",\"type\":", g->f->ids[me]);
	switch (kind) {
	case 'f': {
		bool fails = g->fails && dag_random(&g->s, 4) == 0;
		sl_buf_adds(g->b, "\"fake\",\"params\":{\"answer\":\"{{ ");
		put_sum(g, me, above, n_above, place);
		sl_buf_adds(g->b, " }}\"");
		if (fails)
			sl_buf_adds(g->b, ",\"fail\":\"invalid\"");
		else if (dag_random(&g->s, 3) == 0)
			sl_buf_addf(g->b, ",\"fail\":\"timeout\",\"fail_times\":%u", 1 + dag_random(&g->s, 2));
		if (dag_random(&g->s, 2))
			sl_buf_adds(g->b, ",\"hold\":true");
		if (dag_random(&g->s, 3) == 0)
			sl_buf_adds(g->b, ",\"text\":\"some words\"");
		sl_buf_adds(g->b, "},\"retry\":{\"max\":2,\"backoff_ms\":200}}");
		g->fails &= !fails;
		break;
	}
	case 't':
		sl_buf_adds(g->b, "\"transform\",\"params\":{\"expr\":\"");
		put_sum(g, me, above, n_above, place);
		sl_buf_adds(g->b, "\"}}");
		break;
	case 'd':
		sl_buf_addf(g->b, "\"delay\",\"params\":{\"seconds\":%u.%u}}", dag_random(&g->s, 2),
			    1 + dag_random(&g->s, 9));
		break;
	case 'r':
		sl_buf_adds(g->b, "\"human_review\",\"params\":{\"draft\":\"abcd\"}}");
		break;
	case 'w':
		sl_buf_addf(g->b, "\"wait_signal\",\"params\":{\"signal\":\"%s\"}}", g->f->ids[me]);
		break;
	case 'e':
		sl_buf_adds(g->b, "\"external\",\"params\":{}}");
		break;
	case 'c':
		sl_buf_addf(g->b, "\"subworkflow\",\"params\":{\"workflow\":\"%s\"}}",
			    dag_random(&g->s, 3) ? "leaf" : "asking");
		break;
	case 'l':
		sl_buf_addf(g->b, "\"loop\",\"params\":{\"max_rounds\":%u,\"body\":", 1 + dag_random(&g->s, 3));
		draw_graph(g, depth + 1, " + loop.index", last);
		sl_buf_adds(g->b, "}}");
		break;
	default:
		sl_buf_addf(
			g->b,
			"\"map\",\"params\":{\"items\":[4,7,9],\"concurrency\":%u,\"on_item_error\":\"%s\",\"body\":",
			1 + dag_random(&g->s, 3), dag_random(&g->s, 2) ? "fail" : "continue");
		draw_graph(g, depth + 1, " + item", last);
		sl_buf_adds(g->b, "}}");
	}
	return me;
}

/* Stages of pieces side by side, each after all of the stage before it. Returns how many pieces the last one has. */
static unsigned draw_graph(struct drawing *g, unsigned depth, const char *place, unsigned *last)
{
	unsigned stages = depth ? 1 + dag_random(&g->s, 2) : 2 + dag_random(&g->s, 2), n_last = 0;
	unsigned of[64][2], n_of = 0;
	const char *sep = "";
	sl_buf_adds(g->b, "{\"nodes\":[");
	for (unsigned st = 0; st < stages; st++) {
		unsigned here[4], n = 1 + dag_random(&g->s, depth ? 2 : 3);
		for (unsigned i = 0; i < n; i++) {
			sl_buf_adds(g->b, sep);
			sep = ",";
			here[i] = draw_piece(g, depth, place, last, n_last);
			for (unsigned k = 0; k < n_last; k++) {
				of[n_of][0] = last[k];
				of[n_of++][1] = here[i];
			}
		}
		if (n > 1 && dag_random(&g->s, 3) == 0) {
			unsigned j = g->f->n++;
			snprintf(g->f->ids[j], sizeof(g->f->ids[j]), "j%u", j);
			sl_buf_addf(g->b, ",{\"id\":\"j%u\",\"type\":\"join\",\"params\":{}}", j);
			for (unsigned k = 0; k < n; k++) {
				of[n_of][0] = here[k];
				of[n_of++][1] = j;
			}
			here[0] = j;
			n = 1;
		}
		memcpy(last, here, sizeof(here));
		n_last = n;
	}
	sl_buf_adds(g->b, "],\"edges\":[");
	for (unsigned i = 0; i < n_of; i++) {
		sl_buf_addf(g->b, "%s{\"from\":\"%s\",\"to\":\"%s\"}", i ? "," : "", g->f->ids[of[i][0]],
			    g->f->ids[of[i][1]]);
		assert_true(g->f->n_edges < EDGES);
		g->f->edges[g->f->n_edges].from = of[i][0];
		g->f->edges[g->f->n_edges++].to = of[i][1];
	}
	sl_buf_adds(g->b, "]}");
	return n_last;
}

static void draw_flow(struct flow *f, uint64_t seed)
{
	SL_BUF(text, 1u << 20);
	struct drawing g = {.f = f, .b = &text, .s = seed * 0x9e3779b97f4a7c15u + 3};
	unsigned last[4];
	g.fails = dag_random(&g.s, 8) == 0;
	sl_buf_adds(&text, "{\"sluice\":1,\"name\":\"sim\",");
	size_t at = text.len;
	unsigned n = draw_graph(&g, 0, "", last);
	text.data[at] = ' '; /* its members are the definition's own */
	text.len--;
	sl_buf_adds(&text, ",\"outputs\":{\"v\":\"{{ ");
	put_sum(&g, 0, last, n, "");
	sl_buf_adds(&text, " }}\"}}");
	f->text = strndup(text.data, text.len);
}

/* ---- what a journal says, by path ---- */

struct entry {
	char path[64];
	enum sl_node_status status;
	bool begun, completed;
};

struct story {
	struct sl_run_id run;
	size_t read; /* records */
	struct entry entries[PATHS];
	unsigned n;
	unsigned started, ended;
	enum sl_event_kind how; /* it ended; SL_EVENT_KINDS: it has not */
	bool paused, locked;
	char outputs[256];
};

static struct entry *entry_of(struct story *t, const char *path, bool make)
{
	uint32_t h = 2166136261u;
	for (const char *c = path; *c; c++)
		h = (h ^ (unsigned char)*c) * 16777619u;
	for (uint32_t at = h % PATHS;; at = (at + 1) % PATHS) {
		struct entry *e = &t->entries[at];
		if (!*e->path) {
			if (!make)
				return NULL;
			assert_true(++t->n < PATHS * 3 / 4 && strlen(path) < sizeof(e->path));
			strcpy(e->path, path);
			return e;
		}
		if (strcmp(e->path, path) == 0)
			return e;
	}
}

static unsigned number_of(const char *id)
{
	return (unsigned)strtoul(id + 1, NULL, 10);
}

/* Upstream first; inside of a container only while it runs. */
static void check_order(const struct flow *f, struct story *t, const char *path)
{
	const char *slash = strrchr(path, '/'), *id = slash ? slash + 1 : path;
	size_t prefix = (size_t)(id - path);
	char other[80];
	unsigned me = number_of(id);
	if (slash) {
		const char *hash = slash;
		while (*hash != '#')
			hash--;
		snprintf(other, sizeof(other), "%.*s", (int)(hash - path), path);
		struct entry *c = entry_of(t, other, false);
		if (!c || c->status != SL_NODE_RUNNING)
			FAIL("%s begins outside of its container", path);
	}
	for (unsigned i = 0; i < f->n_edges && me < f->n; i++) {
		if (f->edges[i].to != me)
			continue;
		snprintf(other, sizeof(other), "%.*s%s", (int)prefix, path, f->ids[f->edges[i].from]);
		struct entry *u = entry_of(t, other, false);
		if (!u || !u->completed)
			FAIL("%s begins before %s is completed", path, other);
	}
}

static void follow(const struct flow *f, const struct sl_record *r, size_t n, struct story *t)
{
	for (size_t i = t->read; i < n; i++) {
		struct sl_event e;
		struct sl_error err;
		if (r[i].seq != i + 1)
			FAIL("a gap at %zu", i + 1);
		if (t->how != SL_EVENT_KINDS)
			FAIL("something happened after the end");
		assert_int_equal(sl_event_decode(&r[i], &e, &err), SL_OK);
		switch (e.kind) {
		case SL_EV_STARTED:
			t->started++;
			break;
		case SL_EV_PAUSED:
			t->paused = true;
			break;
		case SL_EV_LOCKED:
			t->locked = true;
			break;
		case SL_EV_RESUMED:
		case SL_EV_UNLOCKED:
			t->paused = t->locked = false;
			break;
		case SL_EV_COMPLETED:
		case SL_EV_FAILED:
		case SL_EV_CANCELLED:
			t->how = e.kind;
			snprintf(t->outputs, sizeof(t->outputs), "%s",
				 json_object_to_json_string_ext(e.output, JSON_C_TO_STRING_PLAIN));
			break;
		case SL_EV_NODE: {
			struct entry *x = entry_of(t, e.path, true);
			bool begins = e.status == SL_NODE_RUNNING || e.status == SL_NODE_WAITING ||
				      e.status == SL_NODE_RETRYING || e.status == SL_NODE_COMPLETED;
			if (x->completed)
				FAIL("%s was completed, and then %s", e.path, sl_node_states[e.status].wire);
			if (begins && !x->begun && !e.expected)
				check_order(f, t, e.path);
			x->begun |= begins && !e.expected;
			x->status = e.status;
			x->completed = e.status == SL_NODE_COMPLETED;
			break;
		}
		default:
			break;
		}
		sl_event_fini(&e);
	}
	t->read = n;
	if (t->started > 1)
		FAIL("the run started %u times", t->started);
}

static struct story *stories[RUNS];
static size_t n_stories;

/* What has happened in a run so far; only what is new is read. */
static struct story *story_of(struct world *w, struct sl_run_id id, const struct flow *f)
{
	const struct sl_record *r;
	struct story *t = NULL;
	size_t n = world_records(w, id, &r);
	for (size_t i = 0; i < n_stories && !t; i++)
		if (sl_run_id_eq(stories[i]->run, id))
			t = stories[i];
	if (!t) {
		assert_true(n_stories < RUNS);
		t = stories[n_stories] ? stories[n_stories] : malloc(sizeof(*t));
		stories[n_stories++] = t;
		memset(t, 0, sizeof(*t));
		t->run = id;
		t->how = SL_EVENT_KINDS;
	}
	follow(f, r, n, t);
	return t;
}

/* Every prefix folds, and what it comes to is what the engine says. */
static void fold(struct world *w, const char *definition, const struct sl_record *r, size_t n)
{
	SL_AUTO(sl_workflow) flow = NULL;
	struct sl_problems problems = {0};
	struct sl_run_state state;
	assert_int_equal(sl_workflow_parse(sl_engine_registry(world_engine(w)), sl_str(definition), &flow, &problems),
			 SL_OK);
	sl_problems_fini(&problems);
	assert_int_equal(sl_run_state_init(&state, flow), SL_OK);
	for (size_t i = 0; i < n; i++) {
		struct sl_event e;
		struct sl_error err;
		assert_int_equal(sl_event_decode(&r[i], &e, &err), SL_OK);
		if (sl_evolve(&state, &e, &err) != SL_OK)
			FAIL("the journal does not fold: %s", err.text);
		sl_event_fini(&e);
		if (state.n_done > state.n_nodes || state.n_active > state.n_nodes || state.n_quiet > state.n_active ||
		    state.n_holding > state.n_active)
			FAIL("event %zu: the counts of the state are wrong", i + 1);
	}
	if (sl_run_status_final(state.status) && state.status == SL_RUN_SUCCEEDED && state.n_active)
		FAIL("a run has ended and %u nodes are at work", state.n_active);
	sl_run_state_fini(&state);
}

/* ---- people ---- */

static const struct flow no_flow;

static const char *definition_of(struct world *w, struct sl_run_id id, struct sl_run_id root, const struct flow *f)
{
	if (sl_run_id_eq(id, root))
		return f->text;
	struct sl_run_head *head = world_head(w, id);
	return sl_str_is(sl_bytes_str(head->definition), asking) ? asking : leaf;
}

/* Gives a run what it waits for. */
static void serve(struct world *w, struct sl_run_id id, const struct story *t)
{
	for (unsigned i = 0; i < PATHS; i++) {
		const struct entry *e = &t->entries[i];
		if (!*e->path || e->status != SL_NODE_WAITING)
			continue;
		const char *slash = strrchr(e->path, '/'), *name = slash ? slash + 1 : e->path;
		char payload[80];
		if (*name == 'r')
			world_ask(w, id, SL_CMD_REVIEW, e->path, "{\"action\":\"approve\"}");
		snprintf(payload, sizeof(payload), "{\"signal\":\"%s\",\"payload\":{\"x\":11}}", name);
		if (*name == 'w')
			world_ask(w, id, SL_CMD_SIGNAL, NULL, payload);
	}
}

static void release_some(struct world *w, uint64_t *s)
{
	size_t n = 0;
	while (world_held(w, n))
		n++;
	if (n)
		world_release(w, world_held(w, dag_random(s, (unsigned)n)));
}

static void show(struct world *w)
{
	struct sl_run_id ids[RUNS];
	const struct sl_record *r;
	size_t n = world_runs(w, ids, RUNS);
	for (size_t k = n < RUNS ? n : RUNS; k-- > 0;) {
		print_message("run %zu, %s\n", k, world_status(w, ids[k]));
		size_t records = world_records(w, ids[k], &r);
		for (size_t i = 0; i < records; i++)
			print_message("  %llu %s %.*s\n", (unsigned long long)r[i].seq, r[i].event,
				      SL_STR_ARG(sl_bytes_str(r[i].data)));
	}
}

/* Everything works again and everybody answers. */
static void heal(struct world *w, struct sl_run_id root, const struct flow *f)
{
	struct sl_run_id ids[RUNS];
	bool over = false;
	world_bury_zombies(w);
	world_auto_commit(w, true);
	world_settle(w);
	for (int i = 0; i < 300 && !over; i++) {
		size_t n = world_runs(w, ids, RUNS);
		assert_true(n <= RUNS);
		over = true;
		for (size_t k = 0; k < n; k++) {
			bool is_root = sl_run_id_eq(ids[k], root);
			if (is_over(w, ids[k]))
				continue;
			over = false;
			const struct story *t = story_of(w, ids[k], is_root ? f : &no_flow);
			if (t->paused && is_root)
				world_ask(w, ids[k], SL_CMD_RESUME, NULL, NULL);
			if (t->locked)
				world_ask(w, ids[k], SL_CMD_UNLOCK, NULL, "{\"justification\":\"a simulation\"}");
			serve(w, ids[k], t);
		}
		world_settle(w);
		while (world_held(w, 0))
			world_release(w, world_held(w, 0));
		world_advance(w, 300);
	}
	if (!over)
		show(w);
	if (!over)
		FAIL("stuck: %s\n%s", json_object_to_json_string(world_run(w, root)), f->text);
}

static const char *ended_as(const struct story *t)
{
	return t->how == SL_EV_COMPLETED ? "succeeded" : t->how == SL_EV_FAILED ? "failed" : "cancelled";
}

static void check_end(struct world *w, struct sl_run_id root, const struct flow *f, const struct world_answer *cancel)
{
	struct sl_run_id ids[RUNS];
	struct sl_engine_stats stats;
	const struct sl_record *r;
	size_t n_runs = world_runs(w, ids, RUNS);
	for (size_t k = 0; k < n_runs; k++) {
		bool is_root = sl_run_id_eq(ids[k], root);
		size_t n = world_records(w, ids[k], &r);
		(void)story_of(w, ids[k], is_root ? f : &no_flow);
		fold(w, definition_of(w, ids[k], root, f), r, n);
	}
	const struct story *end = story_of(w, root, f);
	const char *status = ended_as(end);
	bool cancelled = end->how == SL_EV_CANCELLED;
	if (cancelled && !cancel)
		FAIL("nobody cancelled it");
	if (!cancelled && cancel && cancel->given && cancel->rc == SL_OK)
		FAIL("it was cancelled, that was acknowledged, and it is %s", status);
	if (!cancelled && (strcmp(status, f->status) != 0 || strcmp(end->outputs, f->outputs) != 0)) {
		show(w);
		FAIL("it is %s with %s, and %s with %s when nothing goes wrong\n%s", status, end->outputs, f->status,
		     f->outputs, f->text);
	}
	if (playing % 8 == 0 && strcmp(world_status(w, root), status) != 0)
		FAIL("it is %s, and shown as %s", status, world_status(w, root));
	sl_engine_stats(world_engine(w), &stats);
	if (stats.nodes_pending || stats.runs_active || world_held(w, 0))
		FAIL("all runs are over, and %u runs and %u nodes are left", stats.runs_active, stats.nodes_pending);
}

/* ---- the schedule ---- */

static struct {
	unsigned schedules, crashes, takeovers, unanswered, orders, cancelled, failed, children, cuts, events;
} seen;

static const struct flow *flow_of(uint64_t seed)
{
	struct flow *f = &flows[seed % WORKFLOWS];
	if (f->text)
		return f;
	draw_flow(f, seed % WORKFLOWS);
	struct world *w = world_new(1);
	n_stories = 0;
	struct sl_run_id id = world_submit(w, f->text, "{}");
	heal(w, id, f);
	f->status = strdup(ended_as(story_of(w, id, f)));
	f->outputs = strdup(story_of(w, id, f)->outputs);
	check_end(w, id, f, NULL);
	world_free(w);
	return f;
}

static const struct world_answer *disturb(struct world *w, struct sl_run_id root, const struct flow *f, uint64_t *s,
					  bool may_cancel)
{
	unsigned what = dag_random(s, 20);
	seen.orders++;
	if (what == 0 && may_cancel)
		return world_ask(w, root, SL_CMD_CANCEL, NULL, NULL);
	if (what < 4)
		world_ask(w, root, what % 2 ? SL_CMD_PAUSE_NOW : SL_CMD_PAUSE_DRAIN, NULL, NULL);
	else if (what < 10)
		world_ask(w, root, SL_CMD_RESUME, NULL, NULL);
	else if (what < 11)
		world_ask(w, root, SL_CMD_INPUT, NULL, "{\"text\":\"a word\"}");
	else {
		struct sl_run_id ids[RUNS];
		size_t n = world_runs(w, ids, RUNS);
		struct sl_run_id id = n ? ids[dag_random(s, (unsigned)n)] : root;
		serve(w, id, story_of(w, id, sl_run_id_eq(id, root) ? f : &no_flow));
	}
	return NULL;
}

static void play(uint64_t seed)
{
	uint64_t s = seed * 0x9e3779b97f4a7c15u;
	const struct flow *f = flow_of(seed);
	const struct world_answer *cancel = NULL;
	const struct sl_record *r;
	struct sl_run_id ids[RUNS];
	struct world *w = world_new(seed);
	n_stories = 0;
	struct sl_run_id root = world_submit(w, f->text, "{}");
	unsigned steps = 20 + dag_random(&s, 400), wild = 1 + dag_random(&s, 4);
	bool zombies = false;
	world_auto_commit(w, false);
	for (unsigned i = 0; i < steps; i++) {
		unsigned what = dag_random(&s, 100);
		if (what < 35) {
			sl_engine_step(world_engine(w));
		} else if (what < 55) {
			world_commit_one(w);
		} else if (what < 60) {
			seen.unanswered += world_commit_unanswered(w);
		} else if (what < 66) {
			world_hold(w, 1 + dag_random(&s, 300));
		} else if (what < 78) {
			release_some(w, &s);
		} else if (what < 86) {
			world_zombies_step(w);
		} else if (what < 96) {
			const struct world_answer *a = disturb(w, root, f, &s, !cancel && dag_random(&s, 3) == 0);
			cancel = a ? a : cancel;
		} else if (dag_random(&s, 4) < wild) {
			switch (dag_random(&s, 4)) {
			case 0:
			case 1:
				world_crash(w);
				zombies = false;
				seen.crashes++;
				break;
			case 2:
				if (!zombies)
					world_take_over(w);
				seen.takeovers += !zombies;
				zombies = true;
				break;
			default:
				world_bury_zombies(w);
				zombies = false;
			}
		}
	}
	heal(w, root, f);
	check_end(w, root, f, cancel);
	seen.schedules++;
	enum sl_event_kind how = story_of(w, root, f)->how;
	seen.cancelled += how == SL_EV_CANCELLED;
	seen.failed += how == SL_EV_FAILED;
	seen.children += (unsigned)world_runs(w, ids, RUNS) - 1;
	size_t n = world_records(w, root, &r);
	seen.events += (unsigned)n;
	bool ended_together = how == SL_EV_CANCELLED && world_runs(w, ids, RUNS) > 1;
	if (seed % 4 == 0 && !ended_together) { /* from any moment of its journal it comes to the same */
		n_stories = 0;
		world_cut(w, root, 1 + dag_random(&s, (unsigned)n));
		heal(w, root, f);
		check_end(w, root, f, cancel ? &(struct world_answer){0} : NULL);
		seen.cuts++;
	}
	world_free(w);
}

/* They found something once. */
static const uint64_t earlier[] = {3562, 19559, 1872};

static void every_schedule_comes_to_the_same_end(void **state)
{
	const char *one = getenv("SLUICE_SEED");
	unsigned long first = from_env("SLUICE_SEED", 1), n = one ? 1 : sl_test_rounds("SLUICE_SIM_SCHEDULES", 2000);
	struct timespec a, b;
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2);
	world_workflow("leaf", leaf);
	world_workflow("asking", asking);
	static const char *const types[] = {"transform", "delay", "human_review", "wait_signal", "join",
					    "loop",      "map",   "subworkflow",  NULL};
	world_only(types);
	world_max_recoveries(1000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (size_t i = 0; !one && i < SL_COUNT_OF(earlier); i++) {
		playing = earlier[i];
		play(playing);
	}
	for (unsigned long seed = first; seed < first + n; seed++) {
		playing = seed;
		play(seed);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	playing = 0;
	print_message(
		"%u schedules in %.1f s (%.0f a second): %u events, %u child runs, %u crashes, %u takeovers, %u lost "
		"answers, %u orders, %u cancelled, %u failed as they should, %u resumed from a prefix\n",
		seen.schedules, s, seen.schedules / s, seen.events, seen.children, seen.crashes, seen.takeovers,
		seen.unanswered, seen.orders, seen.cancelled, seen.failed, seen.cuts);
	for (size_t i = 0; i < RUNS; i++)
		free(stories[i]);
	for (size_t i = 0; i < WORKFLOWS; i++) {
		free(flows[i].text);
		free(flows[i].status);
		free(flows[i].outputs);
	}
}

/* An assertion of the world says nothing of the seed. */
static int say_which(void **state)
{
	if (playing)
		print_message("SLUICE_SEED=%llu plays it again\n", (unsigned long long)playing);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(every_schedule_comes_to_the_same_end, say_which),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
