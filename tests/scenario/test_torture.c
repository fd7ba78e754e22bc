/* No memory, at every moment: each scenario is played again and again while its n-th allocation fails. Nothing may
 * crash, nothing may leak, who asked gets an answer, a run ends or is taken up again later, and the next run is served
 * as if nothing had been. json-c, Lua and libc allocate, too, and fail as well.
 *
 * SLUICE_TORTURE sets how many allocations of each scenario are tried (30, spread over all of them; SLUICE_SLOW: 200).
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/lua_priv.h"
#include "engine/run_state.h"
#include "llm/sse.h"
#include "tests/lib/dag.h"
#include "tests/lib/scenario.h"
#include "ws/encode.h"

static const char *playing = "";
static unsigned playing_n;

#define FAIL(...)                                                                                                      \
	do {                                                                                                           \
		sl_test_fail_nth(0);                                                                                   \
		sl_test_failed_where();                                                                                \
		print_message("%s, allocation %u: ", playing, playing_n);                                              \
		fail_msg(__VA_ARGS__);                                                                                 \
	} while (0)

/* ---- runs ---- */

/* s settle · r release what is held · t two seconds · p pause, P at once · u resume · c cancel · v review · g signal ·
 * i speak · k retry · w look at it · X crash. Every order may be refused; none may be lost. */
struct scenario {
	const char *name, *nodes, *script;
};

#define N(id, type, params) "{'id':'" id "','type':'" type "','params':{" params "}}"
#define E(a, b)             "{'from':'" a "','to':'" b "'}"

static const struct scenario scenarios[] = {
	{"one step", "'nodes':[" N("a", "fake", "'answer':1") "]", "s"},
	{"a stream", "'nodes':[" N("a", "fake", "'answer':1,'text':'some words in a stream'") "]", "sw"},
	{"a retry",
	 "'nodes':[{'id':'a','type':'fake','params':{'fail':'timeout','fail_times':1},'retry':{'max':2,'backoff_ms':"
	 "100}}]",
	 "st"},
	{"a failure", "'nodes':[" N("a", "fake", "'fail':'invalid'") "]", "sw"},
	{"an error as output", "'nodes':[{'id':'a','type':'fake','params':{'fail':'invalid'},'on_error':'continue'}]",
	 "s"},
	{"a fallback",
	 "'nodes':[{'id':'a','type':'fake','params':{'fail':'invalid'},'on_error':'fallback','fallback':{'timeout':1,"
	 "'default':{'value':'{{ 1 + 1 }}'}}}]",
	 "s"},
	{"a join of all",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'answer':2") "," N(
		 "j", "join", "") "],'edges':[" E("a", "j") "," E("b", "j") "]",
	 "s"},
	{"a join of any",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'hold':true") "," N(
		 "j", "join", "'wait':'any','cancel_rest':true") "],'edges':[" E("a", "j") "," E("b", "j") "]",
	 "s"},
	{"a join with a deadline",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'hold':true") "," N(
		 "j", "join", "'timeout_s':1,'merge':'list'") "],'edges':[" E("a", "j") "," E("b", "j") "]",
	 "stXtrs"},
	{"a quorum of the best",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'answer':2") "," N(
		 "c", "fake", "'answer':3") "," N("j", "join",
						  "'wait':{'quorum':2},'merge':'best','score':'item."
						  "value'") "],'edges':[" E("a", "j") "," E("b", "j") "," E("c",
													    "j") "]",
	 "s"},
	{"a branch",
	 "'nodes':[" N("p", "branch", "'cases':[{'case':'x','when':'input.n == 1'}],'default':'y'") "," N(
		 "a", "fake", "'answer':1") "," N("b", "fake",
						  "'answer':2") "],'edges':[{'from':'p','to':'a','case':'x'},"
								"{'from':'p','to':'b','case':'y'}]",
	 "s"},
	{"open branches",
	 "'nodes':[" N("p", "parallel", "'max_concurrency':1,'on_branch_error':'wait_all'") "," N(
		 "a", "fake",
		 "'fail':'invalid'") "," N("b", "fake",
					   "'answer':2") "," N("j", "join",
							       "") "],'edges':[" E("p",
										   "a") "," E("p",
											      "b") "," E("a",
													 "j") "," E("b",
														    "j") "]",
	 "s"},
	{"expressions",
	 "'nodes':[" N("a", "transform", "'expr':'list.map({1,2,3}, function(x) return x * 2 end)'") "," N(
		 "b", "template",
		 "'text':'{{ json.encode(nodes.a.value) }} and {{ text.upper(input.t or 1) }}'") "],"
												 "'edges':[" E("a",
													       "b") "]",
	 "s"},
	{"a loop",
	 "'nodes':[" N("r", "loop",
		       "'max_rounds':3,'until':'nodes.a.value == 2','carry':'loop.index','body':{'nodes':[" N(
			       "a", "fake", "'answer':'{{ loop.index }}'") "]}") "]",
	 "sw"},
	{"a scored loop",
	 "'nodes':[" N("r", "loop",
		       "'max_rounds':4,'exit_on_score':{'value':'nodes.a.value','at_least':9},'on_regression':{'do':"
		       "'rollback'},'body':{'nodes':[" N("a", "fake", "'answer':'{{ 7 - loop.index }}'") "]}") "]",
	 "s"},
	{"a map",
	 "'nodes':[" N(
		 "m", "map",
		 "'items':[1,2,3],'concurrency':2,'body':{'nodes':[" N("a", "fake", "'answer':'{{ item }}'") "]}") "]",
	 "sw"},
	{"a map with a failure",
	 "'nodes':[" N("m", "map",
		       "'items':[1,2],'on_item_error':'continue','body':{'nodes':[" N("a", "fake",
										      "'fail':'invalid'") "]}") "]",
	 "s"},
	{"a crash in a loop",
	 "'nodes':[" N("r", "loop", "'max_rounds':2,'body':{'nodes':[" N("a", "fake", "'hold':true") "]}") "]",
	 "srXsrs"},
	{"a delay", "'nodes':[" N("a", "delay", "'seconds':1") "]", "sXt"},
	{"a review", "'nodes':[" N("a", "human_review", "'draft':'x'") "]", "swv"},
	{"a review that is forgotten",
	 "'nodes':[" N("a", "human_review", "'draft':'x','timeout_s':1,'allow_skip':true") "]", "sXt"},
	{"a signal", "'nodes':[" N("a", "wait_signal", "'signal':'go'") "]", "sXg"},
	{"an early signal",
	 "'nodes':[" N("h", "fake", "'hold':true") "," N("a", "wait_signal", "'signal':'go'") "],'edges':[" E("h",
													      "a") "]",
	 "sgr"},
	{"words", "'nodes':[" N("a", "fake", "'hold':true") "]", "siXr"},
	{"a child", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "srs"},
	{"a child that is cancelled", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "sc"},
	{"a child that is paused", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "spXur"},
	{"a cancel", "'nodes':[" N("a", "fake", "'hold':true,'text':'abc'") "," N("b", "fake", "'hold':true") "]",
	 "sc"},
	{"a pause", "'nodes':[" N("a", "fake", "'hold':true") "]", "spwu"},
	{"a pause at once", "'nodes':[" N("a", "fake", "'hold':true,'text':'abc'") "]", "sPXu"},
	{"a retry of a run",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake",
							"'fail':'invalid','fail_times':1") "],"
											   "'edges':[" E("a", "b") "]",
	 "sks"},
	{"effects outside",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "external", "") "],'edges':[" E("a", "b") "]", "s"},
	{"a crash",
	 "'nodes':[" N("a", "fake", "'answer':1,'text':'abc'") "," N("b", "fake",
								     "'hold':true") "],'edges':[" E("a", "b") "]",
	 "sXrs"},
};

static const char child[] = "{\"sluice\":1,\"name\":\"child\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
			    "\"answer\":1,\"hold\":true}}]}";

struct told {
	bool given;
	enum sl_code rc;
	struct sl_run_id id;
};

static void submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	struct told *t = arg;
	if (t->given)
		FAIL("a submission was answered twice");
	*t = (struct told){true, rc, id};
}

static enum sl_code submit(struct world *w, const char *definition, struct told *t)
{
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	sl_test_spare(1);
	struct sl_run_head *head = sl_run_head_new();
	head->definition = sl_bytes_new(definition, strlen(definition));
	head->inputs = sl_bytes_new("{\"n\":1}", 7);
	sl_test_spare(-1);
	enum sl_code rc = sl_engine_submit(world_engine(w), head, &problems, submitted, t, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("a submission: %s (%s)", sl_code_wire(rc), err.text);
	sl_problems_fini(&problems);
	return rc;
}

static void seen_it(void *arg, enum sl_code rc, struct sl_view *v)
{
	++*(unsigned *)arg;
	sl_view_free(v);
}

static void play(struct world *w, const char *script, struct sl_run_id id, struct told *t, unsigned *asked,
		 unsigned *viewed, unsigned *views)
{
	for (const char *c = script; *c; c++) {
		enum sl_command_kind kind = SL_CMD_INPUT;
		const char *payload = NULL, *node = NULL;
		if (t->given)
			id = t->id;
		switch (*c) {
		case 's':
			world_settle(w);
			continue;
		case 't':
			world_advance(w, 2000);
			continue;
		case 'r':
			while (world_held(w, 0))
				world_release(w, world_held(w, 0));
			world_settle(w);
			continue;
		case 'X':
			world_crash(w);
			world_settle(w);
			continue;
		case 'w':
			if (sl_engine_view(world_engine(w), id, SL_VIEW_WATCH, seen_it, viewed) == SL_OK)
				++*views;
			world_settle(w);
			continue;
		case 'p':
			kind = SL_CMD_PAUSE_DRAIN;
			break;
		case 'P':
			kind = SL_CMD_PAUSE_NOW;
			break;
		case 'u':
			kind = SL_CMD_RESUME;
			break;
		case 'c':
			kind = SL_CMD_CANCEL;
			break;
		case 'k':
			kind = SL_CMD_RETRY;
			break;
		case 'v':
			kind = SL_CMD_REVIEW;
			node = "a";
			payload = "{\"action\":\"approve\"}";
			break;
		case 'g':
			kind = SL_CMD_SIGNAL;
			payload = "{\"signal\":\"go\"}";
			break;
		default:
			payload = "{\"text\":\"a word\"}";
		}
		const struct world_answer *a = world_ask(w, id, kind, node, payload);
		++*asked;
		world_settle(w);
		if (a->asked == SL_OK && !a->given)
			FAIL("an order was taken and not answered");
	}
}

static const char *definition_of(const struct scenario *s)
{
	static char text[4096];
	snprintf(text, sizeof(text), "{'sluice':1,'name':'x',%s}", s->nodes);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return text;
}

/* n: the allocation that fails; 0: none. Returns how many there were. */
static unsigned once(const struct scenario *s, unsigned n, bool again)
{
	static const char fresh[] =
		"{\"sluice\":1,\"name\":\"fresh\",\"nodes\":[{\"id\":\"f\",\"type\":\"fake\",\"params\":{"
		"\"answer\":\"{{ 6 * 7 }}\"}}],\"outputs\":{\"v\":\"{{ nodes.f.value }}\"}}";
	sl_lua_drop_idle(); /* they are kept, and grow a little with what they compile */
	long before = sl_test_blocks();
	uint64_t unexpected = sl_expect_count();
	playing = s->name;
	playing_n = n;
	struct world *w = world_new(1);
	struct told *t = calloc(2, sizeof(*t));
	unsigned asked = 0, viewed = 0, views = 0;
	const char *definition = definition_of(s);
	sl_test_fail_nth(n ? n : UINT32_MAX);
	enum sl_code rc = submit(w, definition, &t[0]);
	world_settle(w);
	if (rc == SL_OK)
		play(w, s->script, t[0].id, &t[0], &asked, &viewed, &views);
	unsigned made = sl_test_allocations();
	sl_test_fail_nth(0);
	world_settle(w);
	if ((rc == SL_OK) != t[0].given)
		FAIL("a submission that was %s", rc == SL_OK ? "taken was not answered" : "refused was answered");
	if (viewed != views)
		FAIL("%u views were asked for, %u came", views, viewed);
	/* the same world goes on */
	if (submit(w, fresh, &t[1]) != SL_OK)
		FAIL("a fresh run is not taken");
	world_settle(w);
	if (!t[1].given || !is_over(w, t[1].id))
		FAIL("a fresh run does not end");
	/* what was laid aside is taken up by the next life; people try again */
	world_crash(w);
	struct sl_run_id ids[8];
	for (int i = 0; i < 40; i++) {
		bool over = true;
		size_t runs = world_runs(w, ids, SL_COUNT_OF(ids));
		for (size_t k = 0; k < runs; k++)
			if (!is_over(w, ids[k])) {
				over = false;
				world_ask(w, ids[k], SL_CMD_RESUME, NULL, NULL);
				world_ask(w, ids[k], SL_CMD_REVIEW, "a", "{\"action\":\"approve\"}");
				world_ask(w, ids[k], SL_CMD_SIGNAL, NULL, "{\"signal\":\"go\"}");
			}
		if (over)
			break;
		world_settle(w);
		while (world_held(w, 0))
			world_release(w, world_held(w, 0));
		world_advance(w, 1000);
		for (size_t k = 0; k < runs && i == 39; k++) {
			const struct sl_record *r;
			for (size_t m = 0, all = world_records(w, ids[k], &r); m < all; m++)
				print_message("%zu: %s %.*s\n", k, r[m].event, SL_STR_ARG(sl_bytes_str(r[m].data)));
		}
		if (i == 39)
			FAIL("a run is stuck: %s", json_object_to_json_string(world_run(w, ids[0])));
	}
	if (sl_expect_count() != unexpected)
		FAIL("the engine met something it says cannot be");
	free(t);
	world_free(w);
	sl_lua_drop_idle();
	if (n && sl_test_blocks() != before) {
		if (!again) /* a library may have made itself at home on this way, once */
			return once(s, n, true);
		FAIL("%ld blocks are not given back", sl_test_blocks() - before);
	}
	return made;
}

static unsigned one(const struct scenario *s, unsigned n)
{
	return once(s, n, false);
}

static unsigned samples(void)
{
	const char *z = getenv("SLUICE_TORTURE");
	return z ? (unsigned)atoi(z) : getenv("SLUICE_SLOW") ? 200 : 30;
}

static unsigned long tried;

/* All of them, or so many spread over them. */
static void sample(unsigned all, void (*body)(const void *what, unsigned n), const void *what)
{
	unsigned most = samples();
	uint64_t s = 7;
	for (unsigned i = 0; i < (all < most ? all : most); i++) {
		unsigned from = (unsigned)((uint64_t)all * i / (all < most ? all : most));
		unsigned to = (unsigned)((uint64_t)all * (i + 1) / (all < most ? all : most));
		body(what, 1 + from + dag_random(&s, to - from));
		tried++;
	}
}

static void one_scenario(const void *what, unsigned n)
{
	one(what, n);
}

static void runs_survive_without_memory(void **state)
{
	if (!sl_test_can_torture())
		skip();
	const char *only = getenv("SLUICE_TORTURE_ONLY");
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, -1);
	sl_expect_aborts = false;
	world_workflow("child", child);
	world_max_recoveries(1000);
	for (size_t i = 0; i < SL_COUNT_OF(scenarios); i++) {
		if (only && strcmp(only, scenarios[i].name) != 0)
			continue;
		(void)one(&scenarios[i], 0); /* what libraries keep for good is there afterwards */
		(void)one(&scenarios[i], 0);
		sl_lua_drop_idle();
		long before = sl_test_blocks();
		unsigned all = one(&scenarios[i], 0);
		if (sl_test_blocks() > before)
			FAIL("%ld blocks are not given back, and nothing failed", sl_test_blocks() - before);
		sample(all, one_scenario, &scenarios[i]);
	}
	print_message("%zu scenarios, %lu failed allocations\n", SL_COUNT_OF(scenarios), tried);
}

/* ---- pieces ---- */

static void some_json(void)
{
	SL_AUTO_JSON o = NULL;
	SL_AUTO_JSON copy = NULL;
	struct sl_error err;
	SL_BUF(b, 1000);
	enum sl_code rc = sl_json_parse(SL_STR("{\"a\":[1,2.5,\"x\\u00e4\",null,true],\"b\":{\"c\":{}}}"), &o, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s", sl_code_wire(rc));
	if (rc != SL_OK)
		return;
	copy = sl_json_dup(o);
	sl_json_write(&b, o);
	if (!b.failed && !sl_str_is(sl_buf_str(&b), "{\"a\":[1,2.5,\"xä\",null,true],\"b\":{\"c\":{}}}"))
		FAIL("%.*s", SL_STR_ARG(sl_buf_str(&b)));
}

static void an_event(void)
{
	struct sl_event e = {.kind = SL_EV_NODE, .status = SL_NODE_COMPLETED, .seq = 7, .attempt = 1, .type = "fake"},
			back;
	struct sl_record r;
	struct sl_error err;
	SL_BUF(frame, 10000);
	e.path = sl_str_dup(SL_STR("a#1/b"));
	e.output = json_object_new_object();
	e.taken = calloc(1, sizeof(*e.taken));
	e.n_taken = e.taken ? 1 : 0;
	if (e.path && e.output)
		sl_json_set_str(e.output, "text", SL_STR("words"));
	if (sl_event_encode(&e, &r) == SL_OK) {
		sl_event_record(&frame, "run", &r);
		if (sl_event_decode(&r, &back, &err) == SL_OK) {
			if (!back.path || strcmp(back.path, "a#1/b") != 0)
				FAIL("an event came back without its path");
			sl_event_fini(&back);
		}
		sl_record_fini(&r);
	}
	sl_event_fini(&e);
}

static void a_stream(void)
{
	struct sl_stream *s = sl_stream_new((struct sl_run_id){0}, SL_STR("a"), 1);
	if (!s)
		return;
	enum sl_code rc = SL_OK;
	for (int i = 0; i < 40 && rc == SL_OK; i++)
		rc = sl_stream_append(
			s, i % 5 ? SL_STREAM_TEXT : SL_STREAM_THINKING,
			SL_STR("a piece of a text that is long enough to fill some chunks of memory, again and "
			       "again"));
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s", sl_code_wire(rc));
	sl_stream_end(s);
	SL_AUTO(sl_bytes) text = sl_stream_collect(s, SL_STREAM_TEXT);
	sl_stream_unref(s);
}

static enum sl_code sse_event(void *ctx, const struct sl_sse_event *e)
{
	SL_AUTO_JSON o = NULL;
	struct sl_error err;
	enum sl_code rc = sl_json_parse(e->data, &o, &err);
	return rc == SL_NO_MEMORY ? rc : SL_OK;
}

static void server_sent_events(void)
{
	static const char bytes[] =
		"event: x\ndata: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\ndata: one\ndata: "
		"two\n\ndata: [DONE]\n\n";
	struct sl_sse s;
	sl_sse_init(&s, sse_event, NULL);
	for (size_t i = 0; i < sizeof(bytes) - 1; i += 5) {
		size_t n = sizeof(bytes) - 1 - i < 5 ? sizeof(bytes) - 1 - i : 5;
		enum sl_code rc = sl_sse_feed(&s, sl_str_n(bytes + i, n));
		if (rc != SL_OK && rc != SL_NO_MEMORY)
			FAIL("%s", sl_code_wire(rc));
		if (rc != SL_OK)
			break;
	}
	sl_sse_fini(&s);
}

static struct sl_engine *validator;

static void definitions(void)
{
	static const char *const texts[] = {
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"fak\"},{\"id\":\"a\",\"type\":"
		"\"fake\",\"whne\":1}],"
		"\"edges\":[{\"from\":\"a\",\"to\":\"b\"}]}",
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"transform\",\"params\":{\"expr\":"
		"\"nodes.zz.v +\"}},{"
		"\"id\":\"b\",\"type\":\"template\",\"params\":{\"text\":\"{{ nodes.a.value }} {{ "
		"input.x\"}}],\"edges\":[{\"from\":"
		"\"a\",\"to\":\"b\"},{\"from\":\"b\",\"to\":\"a\"}]}",
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"p\",\"type\":\"branch\",\"params\":{\"cases\":[{"
		"\"case\":\"1\",\"when\":"
		"\"input.x\"},{\"case\":\"2\",\"when\":\"input.y\"}],\"default\":\"3\"}},{\"id\":\"a\",\"type\":"
		"\"fake\"},{\"id\":\"b\","
		"\"type\":\"fake\"},{\"id\":\"c\",\"type\":\"fake\"},{\"id\":\"j\",\"type\":\"join\",\"params\":{"
		"\"wait\":{\"quorum\":2}}}],"
		"\"edges\":[{\"from\":\"p\",\"to\":\"a\",\"case\":\"1\"},{\"from\":\"p\",\"to\":\"b\",\"case\":\"2\"},{"
		"\"from\":\"p\",\"to\":"
		"\"c\",\"case\":\"3\"},{\"from\":\"a\",\"to\":\"j\"},{\"from\":\"b\",\"to\":\"j\"},{\"from\":\"c\","
		"\"to\":\"j\"}]}",
		"{\"sluice\":1,\"name\":\"x\",\"inputs\":{\"type\":\"object\",\"properties\":{\"t\":{\"type\":"
		"\"string\",\"pattern\":"
		"\"^a\"}}},\"nodes\":[{\"id\":\"l\",\"type\":\"loop\",\"params\":{\"max_rounds\":2,\"body\":{\"nodes\":"
		"[{\"id\":\"m\","
		"\"type\":\"map\",\"params\":{\"items\":[1],\"body\":{\"nodes\":[{\"id\":\"f\",\"type\":\"fake\","
		"\"params\":{\"answer\":\"{{ "
		"item }}\"}}]}}}]}}}],\"edges\":[]}",
		"{\"sluice\":1,",
	};
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++) {
		struct sl_problems p = {0};
		enum sl_code rc = sl_engine_validate(validator, sl_str(texts[i]), NULL, &p);
		if (rc != SL_OK && rc != SL_NO_MEMORY)
			FAIL("%s", sl_code_wire(rc));
		if (rc == SL_OK && (p.errors > 0) != (i != 3) && !sl_test_has_failed())
			FAIL("definition %zu: %zu errors", i, p.errors);
		if (rc == SL_OK && i != 3 && !p.errors)
			FAIL("definition %zu is bad and was accepted", i);
		sl_problems_fini(&p);
	}
}

struct piece {
	const char *name;
	void (*body)(void);
};

static const struct piece pieces[] = {
	{"json", some_json},
	{"an event", an_event},
	{"a stream's chunks", a_stream},
	{"server-sent events", server_sent_events},
	{"definitions", definitions},
};

static unsigned one_piece(const struct piece *p, unsigned n)
{
	playing = p->name;
	playing_n = n;
	sl_lua_drop_idle();
	long before = sl_test_blocks();
	sl_test_fail_nth(n ? n : UINT32_MAX);
	p->body();
	unsigned made = sl_test_allocations();
	sl_test_fail_nth(0);
	sl_lua_drop_idle();
	if (n && sl_test_blocks() != before)
		FAIL("%ld blocks are not given back", sl_test_blocks() - before);
	return made;
}

static void a_piece(const void *what, unsigned n)
{
	one_piece(what, n);
}

static void pieces_survive_without_memory(void **state)
{
	if (!sl_test_can_torture())
		skip();
	struct world *w = world_new(1);
	validator = world_engine(w);
	tried = 0;
	for (size_t i = 0; i < SL_COUNT_OF(pieces); i++) {
		(void)one_piece(&pieces[i], 0);
		sample(one_piece(&pieces[i], 0), a_piece, &pieces[i]);
	}
	world_free(w);
	print_message("%zu pieces, %lu failed allocations\n", SL_COUNT_OF(pieces), tried);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_survive_without_memory),
		cmocka_unit_test(pieces_survive_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
