/* No memory, at every moment: each scenario is played again and again while its n-th allocation fails. Nothing may
 * crash, nothing may leak, who asked gets an answer, a run ends or is taken up again later, and the next run is served
 * as if nothing had been. json-c, Lua and libc allocate, too, and fail as well.
 *
 * SLUICE_TORTURE sets how many allocations of each scenario are tried (30, spread over all of them; SLUICE_SLOW: 200).
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/conversation.h"
#include "api/estimate.h"
#include "api/http1.h"
#include "base/log.h"
#include "engine/lua_priv.h"
#include "engine/run_state.h"
#include "llm/profile.h"
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
	bool varies; /* its outputs say when it was, or who was first: a failure may change that */
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
	 "s", true},
	{"a join with a deadline",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'hold':true") "," N(
		 "j", "join", "'timeout_s':1,'merge':'list'") "],'edges':[" E("a", "j") "," E("b", "j") "]",
	 "stXtrs", true},
	{"a quorum of the best",
	 "'nodes':[" N("a", "fake", "'answer':1") "," N("b", "fake", "'answer':2") "," N(
		 "c", "fake", "'answer':3") "," N("j", "join",
						  "'wait':{'quorum':2},'merge':'best','score':'item."
						  "value'") "],'edges':[" E("a", "j") "," E("b", "j") "," E("c",
													    "j") "]",
	 "s", true},
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
	{"a delay", "'nodes':[" N("a", "delay", "'seconds':1") "]", "sXt", true},
	{"a review", "'nodes':[" N("a", "human_review", "'draft':'x'") "]", "swv", true},
	{"a review that is forgotten",
	 "'nodes':[" N("a", "human_review", "'draft':'x','timeout_s':1,'allow_skip':true") "]", "sXt", true},
	{"a signal", "'nodes':[" N("a", "wait_signal", "'signal':'go'") "]", "sXg", true},
	{"an early signal",
	 "'nodes':[" N("h", "fake", "'hold':true") "," N("a", "wait_signal", "'signal':'go'") "],'edges':[" E("h",
													      "a") "]",
	 "sgr", true},
	{"words", "'nodes':[" N("a", "fake", "'hold':true") "]", "siXr"},
	{"a child", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "srs"},
	{"a child under a limit",
	 "'limits':{'max_tokens':1000},'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "sXrXs"},
	{"a child that is cancelled", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "sc"},
	{"a child that is paused", "'nodes':[" N("a", "subworkflow", "'workflow':'child'") "]", "spXur"},
	{"a child that is retried with its parent", "'nodes':[" N("a", "subworkflow", "'workflow':'once'") "]", "sks"},
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
	{"a vote",
	 "'nodes':[" N("v", "vote",
		       "'voters':['yes1','no2',{'agent':'abstain','name':'c'}],'question':'well?','tie':'pass'") "]",
	 "s"},
	{"a vote by score, and a crash",
	 "'nodes':[" N("v", "vote", "'voters':['s7','hold s9','bad'],'question':'well?','kind':'score_1_10'") "]",
	 "sXrs"},
	{"a tool", "'nodes':[" N("a", "tool", "'tool':'calculate','arguments':{'expression':'6*7'}") "]", "sw"},
	{"a tool that fails", "'nodes':[" N("a", "tool", "'tool':'calculate','arguments':{'expression':'6*'}") "]",
	 "s"},
	{"a model with tools",
	 "'nodes':[" N("a", "llm",
		       "'agent':'script','tools':['calculate','workflow:twice'],'prompt':'[{~text~:~let me "
		       "see~,~calls~:[{~name~:~calculate~,~arguments~:{~expression~:~6*7~}},{~name~:~workflow_twice~,"
		       "~arguments~:{~n~:2}}]},{~text~:~it is 42~}]'") "]",
	 "s", true}, /* taken up again, it may be offered a workflow without its description */
	{"calls of tools",
	 "'nodes':[" N(
		 "a", "tool_calls",
		 "'tools':['calculate'],'calls':[{'id':'1','function':{'name':'calculate','arguments':'{~expression~:"
		 "~1+1~}'}},{'id':'2','function':{'name':'other','arguments':'{}'}}]") "]",
	 "sX"},
	{"files",
	 "'nodes':[" N("a", "tool", "'tool':'write_file','arguments':{'path':'a/b.md','content':'one'}") "," N(
		 "b", "tool",
		 "'tool':'read_file','arguments':{'path':'a/b.md'}") "," N("c", "template",
									   "'text':'two','file':'a/b.md'") "],'edges':"
													   "[" E("a", "b") "," E(
														   "b",
														   "c") "]",
	 "swX"},
	{"files of a node that is repeated",
	 "'nodes':[" N("a", "fake", "'files':{'a.md':'text','b.md':'more'},'hold':true") "]", "sXwr"},
	{"a crash",
	 "'nodes':[" N("a", "fake", "'answer':1,'text':'abc'") "," N("b", "fake",
								     "'hold':true") "],'edges':[" E("a", "b") "]",
	 "sXrs"},
};

static const char child[] = "{\"sluice\":1,\"name\":\"child\",\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
			    "\"answer\":1,\"hold\":true}}]}";

static const char twice[] =
	"{\"sluice\":1,\"name\":\"twice\",\"description\":\"Doubles.\",\"inputs\":{\"type\":"
	"\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}}},\"nodes\":[{\"id\":\"a\",\"type\":"
	"\"fake\",\"params\":{\"answer\":\"{{ input.n * 2 }}\"}}]}";

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
	static char text[4096], quoted[2 * sizeof(text)];
	snprintf(text, sizeof(text), "{'sluice':1,'name':'x',%s}", s->nodes);
	char *to = quoted;
	for (const char *c = text; *c; c++) { /* ~: a quote inside a text */
		if (*c == '~')
			*to++ = '\\';
		*to++ = *c == '\'' || *c == '~' ? '"' : *c;
	}
	*to = 0;
	return quoted;
}

/* What came out of a run that succeeded: the same as if nothing had failed, or it says what could not be done (a vote
 * that was not cast, a tool that told the model so). */
static char expected[64 << 10];

static void same_outputs(struct world *w, struct sl_run_id id, bool learn)
{
	struct json_object *run = world_run(w, id);
	const char *status = sl_json_get_z(run, "status");
	if (learn)
		*expected = 0;
	if (!status || strcmp(status, "succeeded") != 0 || (!learn && !*expected))
		return; /* without an order that was refused it may succeed */
	const char *is = json_object_to_json_string_ext(sl_json_get(run, "outputs"), JSON_C_TO_STRING_PLAIN);
	if (learn)
		(void)snprintf(expected, sizeof(expected), "%s", is);
	else if (strcmp(is, expected) != 0 && !strstr(is, "no memory") && !strstr(is, "no_memory") &&
		 !strstr(is, "fake failure")) /* it counts them */
		FAIL("it came to %s instead of %s", is, expected);
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
	if (t[0].given && t[0].rc == SL_OK && !s->varies)
		same_outputs(w, t[0].id, n == 0);
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
	world_workflow("twice", twice);
	world_workflow("once",
		       "{\"sluice\":1,\"name\":\"once\",\"nodes\":[{\"id\":\"once\",\"type\":\"fake\",\"params\":{"
		       "\"answer\":1,\"fail\":\"invalid\",\"fail_times\":1}}],\"outputs\":{\"n\":\"{{ nodes.once.value "
		       "}}\"}}");
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

/* ---- requests ---- */

/* The head allocates nothing; what is read of the body does. */
static struct json_object *body_of(const char *path, const char *body)
{
	static char request[4096];
	static struct sl_http1_head head;
	struct sl_error err;
	struct json_object *o = NULL;
	size_t used;
	int status;
	(void)snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s", path,
		       strlen(body), body);
	if (sl_http1_parse(sl_str(request), &head, &used, &status) != SL_OK ||
	    head.content_length != strlen(request) - used)
		FAIL("the request is not read");
	enum sl_code rc = sl_json_parse(sl_str(request + used), &o, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s", sl_code_wire(rc));
	return o;
}

static void same_text(struct sl_bytes *is, const char *want)
{
	if (!sl_str_is(sl_bytes_str(is), want))
		FAIL("it was read as %.*s", SL_STR_ARG(sl_bytes_str(is)));
}

static void a_request_for_an_answer(void)
{
	static const char text[] =
		"{\"model\":\"profile:p\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":"
		"\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]}],\"temperature\":0.5,\"tools\":[{"
		"\"type\":"
		"\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],\"tool_choice\":"
		"\"auto\",\"stop\":[\"x\"],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":"
		"\"n\","
		"\"schema\":{\"type\":\"object\"}}}}";
	static char once_inputs[4096];
	SL_AUTO_JSON body = body_of("/v1/chat/completions", text);
	struct sl_conversation c = {0};
	struct sl_error err = {0};
	SL_BUF(errors, 4096);
	if (!body)
		return;
	enum sl_code rc = sl_conversation_read_chat(&c, body, &errors, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s: %s", sl_code_wire(rc), err.text);
	SL_AUTO(sl_bytes) definition = NULL;
	SL_AUTO(sl_bytes) inputs = NULL;
	if (rc == SL_OK && sl_conversation_profile(&c, &definition, &inputs) == SL_OK) {
		if (!*once_inputs)
			(void)snprintf(once_inputs, sizeof(once_inputs), "%.*s", SL_STR_ARG(sl_bytes_str(inputs)));
		same_text(inputs, once_inputs);
	}
	sl_conversation_fini(&c);
}

static void a_request_for_a_response(void)
{
	static const char text[] =
		"{\"model\":\"workflow:p\",\"instructions\":\"be brief\",\"input\":[{\"role\":\"user\",\"content\":"
		"\"hello\"},{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},{"
		"\"type\":"
		"\"function_call_output\",\"call_id\":\"1\",\"output\":\"42\"}],\"max_output_tokens\":9,\"tools\":[{"
		"\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}],\"text\":{\"format\":{"
		"\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{\"type\":\"object\"}}}}";
	static char once_inputs[4096];
	SL_AUTO_JSON body = body_of("/v1/responses", text);
	struct sl_conversation c = {0};
	struct sl_answer_place place;
	struct sl_error err = {0};
	SL_BUF(errors, 4096);
	if (!body)
		return;
	enum sl_code rc = sl_conversation_read_response(&c, body, &errors, &err);
	SL_AUTO(sl_bytes) inputs = NULL;
	SL_AUTO_JSON none = rc == SL_OK ? json_object_new_object() : NULL;
	if (none)
		rc = sl_conversation_workflow(&c, none, &inputs, &place, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s: %s", sl_code_wire(rc), err.text);
	if (inputs) {
		if (!*once_inputs)
			(void)snprintf(once_inputs, sizeof(once_inputs), "%.*s", SL_STR_ARG(sl_bytes_str(inputs)));
		same_text(inputs, once_inputs);
	}
	sl_conversation_fini(&c);
}

static struct sl_profiles *profiles;

static void an_estimate(void)
{
	static const char text[] =
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"v\",\"type\":\"vote\",\"params\":{\"voters\":[\"a\","
		"\"b\"],\"question\":\"{{ input.t }}\"}},{\"id\":\"m\",\"type\":\"map\",\"params\":{\"items\":\"{{ "
		"input.l "
		"}}\",\"body\":{\"nodes\":[{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"prompt\":\"{{ item "
		"}}\"}}]}}},{\"id\":"
		"\"l\",\"type\":\"loop\",\"params\":{\"max_rounds\":3,\"body\":{\"nodes\":[{\"id\":\"b\",\"type\":"
		"\"llm\","
		"\"params\":{\"prompt\":\"{{ nodes.m.items "
		"}}\"}}]}}}],\"edges\":[{\"from\":\"v\",\"to\":\"m\"},{\"from\":\"m\","
		"\"to\":\"l\"}]}";
	SL_AUTO(sl_workflow) w = NULL;
	SL_AUTO_JSON inputs = NULL;
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	SL_BUF(out, 64 << 10);
	enum sl_code rc = sl_workflow_parse(sl_engine_registry(validator), sl_str(text), &w, &problems);
	sl_problems_fini(&problems);
	if (rc == SL_OK && !w)
		FAIL("the definition is refused");
	if (rc == SL_OK)
		rc = sl_json_parse(SL_STR("{\"t\":\"a question\",\"l\":[\"one\",\"two\"]}"), &inputs, &err);
	const struct sl_estimate_models models = {.profiles = profiles};
	if (rc == SL_OK)
		rc = sl_estimate_json(&models, w, inputs, &out, &err);
	if (rc != SL_OK && rc != SL_NO_MEMORY)
		FAIL("%s: %s", sl_code_wire(rc), err.text);
	if (rc != SL_OK || out.failed)
		return;
	/* how many tokens a text has is json-c's to write, which cuts it without a word: a guess may be lower */
	SL_AUTO_JSON said = NULL;
	sl_test_spare(1);
	if (sl_json_parse(sl_buf_str(&out), &said, &err) != SL_OK ||
	    json_object_array_length(sl_json_get(said, "nodes")) != 7)
		FAIL("it is %.*s", SL_STR_ARG(sl_buf_str(&out)));
	sl_test_spare(-1);
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
	{"a request for an answer", a_request_for_an_answer},
	{"a request for a response", a_request_for_a_response},
	{"an estimate", an_estimate},
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
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {1};
	validator = world_engine(w);
	assert_int_equal(sl_profiles_new(secret, &profiles), SL_OK);
	assert_int_equal(sl_profiles_add_sim(profiles, "sim", "http://127.0.0.1:1/v1"), SL_OK);
	tried = 0;
	for (size_t i = 0; i < SL_COUNT_OF(pieces); i++) {
		(void)one_piece(&pieces[i], 0);
		sample(one_piece(&pieces[i], 0), a_piece, &pieces[i]);
	}
	sl_profiles_free(profiles);
	world_free(w);
	print_message("%zu pieces, %lu failed allocations\n", SL_COUNT_OF(pieces), tried);
}

/* Without memory for a part of it an order is refused, and not carried out as somebody else's. */
static void an_order_is_taken_whole_or_not_at_all(void **state)
{
	bool failed = true;
	for (unsigned n = 1; failed; n++) {
		struct world *w = world_new(1);
		struct sl_run_id id = world_submit(w,
						   "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":"
						   "\"fake\",\"params\":{\"hold\":true}}]}",
						   "{}");
		world_settle(w);
		sl_test_fail_nth(n);
		const struct world_answer *a = world_ask(w, id, SL_CMD_PAUSE_DRAIN, NULL, NULL);
		failed = sl_test_has_failed();
		sl_test_fail_nth(0);
		world_settle(w);
		if (a->asked == SL_OK) {
			SL_AUTO_JSON e = event(w, id, "execution:paused", 0);
			assert_true(a->given);
			assert_true(sl_str_is(sl_json_get_str(e, "by"), "tester"));
		}
		expect_status(w, id, a->asked == SL_OK ? "paused" : "running");
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_order_is_taken_whole_or_not_at_all),
		cmocka_unit_test(runs_survive_without_memory),
		cmocka_unit_test(pieces_survive_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
