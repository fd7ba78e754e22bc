#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/lib/graph_types.h"

static struct sl_registry *registry;

static int setup(void **state)
{
	struct sl_error err;
	if (sl_registry_new(types_all, &registry, &err) == SL_OK)
		return 0;
	printf("%s\n", err.text);
	return -1;
}

static int teardown(void **state)
{
	sl_registry_free(registry);
	return 0;
}

struct parsed {
	struct sl_workflow *w;
	struct sl_problems problems;
};

static struct parsed parse_str(struct sl_str text)
{
	struct parsed p = {0};
	assert_int_equal(sl_workflow_parse(registry, text, &p.w, &p.problems), SL_OK);
	assert_int_equal(p.w == NULL, p.problems.errors > 0);
	return p;
}

static struct parsed parse(const char *text)
{
	return parse_str(sl_str(text));
}

static void done(struct parsed *p)
{
	sl_workflow_unref(p->w);
	sl_problems_fini(&p->problems);
}

static void show(const struct parsed *p)
{
	for (size_t i = 0; i < p->problems.n; i++)
		printf("  %s %s: %s\n", p->problems.items[i].warning ? "warning" : "error",
		       p->problems.items[i].pointer, p->problems.items[i].message);
}

static bool said(const struct parsed *p, bool warning, const char *pointer, const char *words)
{
	for (size_t i = 0; i < p->problems.n; i++)
		if (p->problems.items[i].warning == warning && strcmp(p->problems.items[i].pointer, pointer) == 0 &&
		    strstr(p->problems.items[i].message, words))
			return true;
	return false;
}

#define WORK(id)          "{\"id\":\"" id "\",\"type\":\"work\"}"
#define EDGE(a, b)        "{\"from\":\"" a "\",\"to\":\"" b "\"}"
#define DEF(nodes, edges) "{\"sluice\":1,\"nodes\":[" nodes "],\"edges\":[" edges "]}"

static const char *const council =
	"{\"sluice\":1,\"name\":\"council\",\"description\":\"Two sides and a "
	"judge.\",\"inputs\":{\"type\":\"object\",\"properties\":"
	"{\"topic\":{\"type\":\"string\"}},\"required\":[\"topic\"]},\"limits\":{\"timeout_s\":600,\"max_tokens\":"
	"200000,\"max_cost_usd\":2.5},"
	"\"durability\":\"run\",\"nodes\":["
	"{\"id\":\"open\",\"type\":\"fan\",\"name\":\"Opening\",\"params\":{\"open\":2},\"position\":{\"x\":1,\"y\":-2."
	"5}},"
	"{\"id\":\"pro\",\"type\":\"work\",\"params\":{\"prompt\":\"For {{ input.topic "
	"}}\"},\"timeout_s\":1.5,\"retry\":{\"max\":1,\"jitter\":"
	"false},\"on_error\":\"fallback\",\"fallback\":{\"timeout\":\"too late\",\"default\":\"{{ input.topic }}\"}},"
	"{\"id\":\"con\",\"type\":\"work\",\"params\":{\"prompt\":\"Against\",\"count\":7},\"cache\":{\"ttl_s\":60,"
	"\"key\":\"{{ input.topic }}\"},"
	"\"when\":\"input.topic ~= ''\"},"
	"{\"id\":\"both\",\"type\":\"gather\"},"
	"{\"id\":\"judge\",\"type\":\"work\",\"params\":{\"prompt\":\"{{ nodes.both.merged }} {{ nodes.pro.text "
	"}}\"}}],"
	"\"edges\":[" EDGE("open", "pro") "," EDGE("open", "con") "," EDGE("pro", "both") "," EDGE(
		"con", "both") ","
			       "{\"from\":\"both\",\"to\":\"judge\",\"when\":\"#nodes.both.arrived > 0\"}],"
			       "\"outputs\":{\"verdict\":\"{{ nodes.judge.text }}\"}}";

static void a_good_definition_is_read_completely(void **state)
{
	struct parsed p = parse(council);
	assert_non_null(p.w);
	assert_int_equal(p.problems.n, 0);
	const struct sl_graph *g = p.w->root;
	assert_string_equal(p.w->name, "council");
	assert_int_equal(p.w->timeout_s, 600);
	assert_int_equal(p.w->max_tokens, 200000);
	assert_int_equal(p.w->max_cost_microusd, 2500000);
	assert_int_equal(p.w->durability, SL_DURABILITY_RUN);
	assert_int_equal(p.w->n_nodes, 5);
	assert_int_equal(g->n_edges, 5);
	assert_non_null(p.w->inputs);
	assert_non_null(p.w->outputs);
	assert_int_equal(p.w->text->len, strlen(council));

	const struct sl_node_def *pro = &g->nodes[sl_graph_find(g, SL_STR("pro"))], *con = &g->nodes[2],
				 *both = &g->nodes[3];
	assert_int_equal(pro->timeout_ms, 1500);
	assert_true(pro->has_retry && pro->retry.max == 1 && pro->retry.backoff_ms == 500 && !pro->retry.jitter);
	assert_int_equal(pro->on_error, SL_ON_ERROR_FALLBACK);
	assert_int_equal(pro->n_fallback_by_class, 1);
	assert_int_equal(pro->fallback_by_class[0].code, SL_TIMEOUT);
	assert_non_null(pro->fallback);
	assert_int_equal(sl_json_get_i64(pro->params_json, "count", 0), 3); /* the default */
	assert_int_equal(sl_json_get_i64(con->params_json, "count", 0), 7);
	assert_int_equal(con->cache_ttl_s, 60);
	assert_non_null(con->when);
	assert_string_equal(g->nodes[0].name, "Opening");
	assert_true(both->has_policy);
	assert_int_equal(both->policy.need, 2);
	assert_int_equal(both->n_in, 2);
	assert_int_equal(g->edges[both->in[0]].from, 1);
	assert_non_null(g->edges[both->out[0]].when);
	assert_true(sl_graph_is_ancestor(g, 0, 4));
	assert_false(sl_graph_is_ancestor(g, 1, 2));
	assert_false(sl_graph_is_ancestor(g, 4, 0));
	done(&p);
}

struct row {
	const char *definition, *pointer, *words;
};

static void check_rows(const struct row *rows, size_t n, bool warning)
{
	for (size_t i = 0; i < n; i++) {
		struct parsed p = parse(rows[i].definition);
		if (!said(&p, warning, rows[i].pointer, rows[i].words)) {
			printf("in %s\nwanted %s: %s, got\n", rows[i].definition, rows[i].pointer, rows[i].words);
			show(&p);
			fail();
		}
		if (warning && !p.w) {
			show(&p);
			fail_msg("a warning must not refuse: %s", rows[i].definition);
		}
		done(&p);
	}
}

static void mistakes_are_named_with_their_place(void **state)
{
	static const struct row rows[] = {
		{"", "", "no valid JSON"},
		{"[]", "", "JSON object"},
		{"null", "", "not null"},
		{"{\"sluice\":1,\"a\":1,\"a\":2}", "", "occurs twice"},
		{"{}", "/sluice", "write \"sluice\": 1"},
		{"{}", "", "needs 'nodes'"},
		{"{\"sluice\":2,\"nodes\":[]}", "/sluice", "version 1"},
		{"{\"sluice\":1,\"nodes\":[],\"nmae\":\"x\"}", "/nmae", "did you mean 'name'?"},
		{"{\"sluice\":1,\"nodes\":[],\"xyzzyx\":1}", "/xyzzyx", "it may have: sluice, name"},
		{"{\"sluice\":1,\"name\":\"Big Name\",\"nodes\":[]}", "/name", "small letters"},
		{"{\"sluice\":1,\"inputs\":{\"type\":\"array\"},\"nodes\":[]}", "/inputs/type", "object"},
		{"{\"sluice\":1,\"limits\":{\"timeout_s\":-1},\"nodes\":[]}", "/limits/timeout_s", "number from"},
		{"{\"sluice\":1,\"limits\":{\"timeout\":1},\"nodes\":[]}", "/limits/timeout", "'timeout_s'"},
		{"{\"sluice\":1,\"durability\":\"maybe\",\"nodes\":[]}", "/durability", "\"step\", \"run\", \"none\""},
		{"{\"sluice\":1,\"nodes\":{}}", "/nodes", "must be a list"},
		{DEF("7", ""), "/nodes/0", "a node is an object"},
		{DEF("{\"type\":\"work\"}", ""), "/nodes/0/id", "no 'id'"},
		{DEF("{\"id\":\"9a\",\"type\":\"work\"}", ""), "/nodes/0/id", "begins with a letter"},
		{DEF(WORK("a") "," WORK("a"), ""), "/nodes/1/id", "taken by node 0"},
		{DEF("{\"id\":\"a\"}", ""), "/nodes/0/type", "no 'type'"},
		{DEF("{\"id\":\"a\",\"type\":\"wrk\"}", ""), "/nodes/0/type", "did you mean 'work'?"},
		{DEF("{\"id\":\"a\",\"type\":\"somethingelse\"}", ""), "/nodes/0/type", "there are `work`, `calc`"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"param\":{}}", ""), "/nodes/0/param", "did you mean 'params'?"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":[]}", ""), "/nodes/0/params", "must be an object"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"promt\":\"x\"}}", ""), "/nodes/0/params/promt",
		 "prompt"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":7}}", ""), "/nodes/0/params/prompt",
		 "must be a text"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"count\":0}}", ""), "/nodes/0/params/count", "1"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"{{ 1 + }}\"}}", ""),
		 "/nodes/0/params/prompt", ""},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"fixed\":\"{{ input.x }}\"}}", ""),
		 "/nodes/0/params/fixed", "without {{"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"params\":{\"prompt\":\"x\",\"messages\":[]}}", ""),
		 "/nodes/0/params", "not both"},
		{DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"list\":[{\"when\":\"true\"},{\"when\":\"1 +\"}]}}",
		     ""),
		 "/nodes/0/params/list/1/when", ""},
		{DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"expr\":\"{{ input.x }}\"}}", ""),
		 "/nodes/0/params/expr", "without the braces, input.x"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"when\":true}", ""), "/nodes/0/when",
		 "string with an expression"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"when\":\" \"}", ""), "/nodes/0/when", "missing"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"retry\":{\"max\":2.5}}", ""), "/nodes/0/retry/max",
		 "whole number"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"retry\":{\"tries\":2}}", ""), "/nodes/0/retry/tries",
		 "no key of retry"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"on_error\":\"ignore\"}", ""), "/nodes/0/on_error",
		 "\"continue\""},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"on_error\":\"fallback\"}", ""), "/nodes/0/on_error",
		 "needs a 'fallback'"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"cache\":{}}", ""), "/nodes/0/cache", "'ttl_s'"},
		{DEF(WORK("a"), "{\"from\":\"a\",\"to\":\"b\"}"), "/edges/0/to", "no node 'b'"},
		{DEF(WORK("judge") "," WORK("b"), "{\"from\":\"jugde\",\"to\":\"b\"}"), "/edges/0/from",
		 "did you mean 'judge'?"},
		{DEF(WORK("a"), "{\"from\":\"a\"}"), "/edges/0/to", "needs 'to'"},
		{DEF(WORK("a"), EDGE("a", "a")), "/edges/0", "leads to itself"},
		{DEF(WORK("a") "," WORK("b"), EDGE("a", "b") "," EDGE("a", "b")), "/edges/1", "stands at /edges/0"},
		{DEF(WORK("a") "," WORK("b"), "{\"from\":\"a\",\"to\":\"b\",\"case\":\"x\"}"), "/edges/0/case",
		 "only edges leaving `pick`"},
		{DEF("{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"yes\",\"no\"]}}," WORK("b"),
		     "{\"from\":\"p\",\"to\":\"b\",\"case\":\"yse\"}"),
		 "/edges/0/case", "did you mean 'yes'?"},
		{DEF("{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"yes\",\"no\"]}}," WORK("b"),
		     "{\"from\":\"p\",\"to\":\"b\",\"case\":\"yes\",\"when\":\"true\"}"),
		 "/edges/0/case", "not both"},
		{DEF(WORK("a") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":2}}", EDGE("a", "j")),
		 "/nodes/1", "at most 1"},
	};
	check_rows(rows, SL_COUNT_OF(rows), false);
}

#define PROMPT(id, prompt) "{\"id\":\"" id "\",\"type\":\"work\",\"params\":{\"prompt\":\"" prompt "\"}}"
#define EACH(id, nodes, edges)                                                                                         \
	"{\"id\":\"" id "\",\"type\":\"each\",\"params\":{\"items\":[1],\"body\":{\"nodes\":[" nodes                   \
	"],\"edges\":[" edges "]}}}"
#define AGAIN(id, until, nodes)                                                                                        \
	"{\"id\":\"" id "\",\"type\":\"again\",\"params\":{\"max_rounds\":3,\"until\":\"" until                        \
	"\",\"body\":{\"nodes\":[" nodes "]}}}"

static void references_without_a_value_are_refused(void **state)
{
	static const struct row rows[] = {
		{DEF(WORK("a") "," PROMPT("b", "{{ nodes.a.text }}"), ""), "/nodes/1/params/prompt",
		 "add an edge from 'a' to 'b'"},
		{DEF(PROMPT("a", "{{ nodes.b.text }}") "," WORK("b"), EDGE("a", "b")), "/nodes/0/params/prompt",
		 "'b' comes after 'a'"},
		{DEF(PROMPT("a", "{{ nodes.a.text }}"), ""), "/nodes/0/params/prompt", "its own output"},
		{DEF(WORK("judge") "," PROMPT("b", "x {{ nodes.jugde.text }}"), EDGE("judge", "b")),
		 "/nodes/1/params/prompt", "did you mean 'judge'?"},
		{DEF(PROMPT("a", "{{ loop.index }}"), ""), "/nodes/0/params/prompt", "inside the body of `again`"},
		{DEF(PROMPT("a", "{{ item }}"), ""), "/nodes/0/params/prompt", "inside the body of `each`"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"when\":\"nodes.x.ok\"}", ""), "/nodes/0/when", "no node 'x'"},
		{DEF(WORK("a") "," WORK("b") "," WORK("c"), "{\"from\":\"a\",\"to\":\"b\",\"when\":\"nodes.c.ok\"}"),
		 "/edges/0/when", "no ancestor of 'a'"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"fallback\":{\"timeout\":\"{{ nodes.x.y }}\"}}", ""),
		 "/nodes/0/fallback/timeout", "no node 'x'"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"cache\":{\"ttl_s\":1,\"key\":\"{{ nodes.x.y }}\"}}", ""),
		 "/nodes/0/cache/key", "no node 'x'"},
		{DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"list\":[{\"when\":\"nodes.x.y\"}]}}", ""),
		 "/nodes/0/params/list/0/when", "no node 'x'"},
		{DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"score\":\"item.x + loop.index\"}}", ""),
		 "/nodes/0/params/score", "inside the body of `again`"},
		{"{\"sluice\":1,\"nodes\":[" WORK("a") "],\"outputs\":{\"x\":{\"y\":[\"{{ nodes.b.text }}\"]}}}",
		 "/outputs/x/y/0", "no node 'b'"},
		{DEF(EACH("m", WORK("in"), "") "," PROMPT("b", "{{ nodes['in'].text }}"), EDGE("m", "b")),
		 "/nodes/1/params/prompt", "inside of 'm'"},
		{DEF(EACH("m", PROMPT("in", "{{ nodes.m.items }}"), ""), ""),
		 "/nodes/0/params/body/nodes/0/params/prompt", "still running"},
		{DEF(WORK("a") "," EACH("m", PROMPT("x", "{{ nodes.a.text }}"), ""), ""),
		 "/nodes/1/params/body/nodes/0/params/prompt", "no ancestor of 'm'"},
		{DEF(WORK("a") "," EACH("m", WORK("a"), ""), EDGE("a", "m")), "/nodes/1/params/body/nodes/0/id",
		 "around this body"},
		{DEF(EACH("m", WORK("x") "," WORK("y"), EDGE("m", "x")), ""), "/nodes/0/params/body/edges/0/from",
		 "outside of this graph"},
		{DEF(EACH("m", WORK("x"), "") ",{\"id\":\"n\",\"type\":\"each\",\"params\":{\"items\":[],\"body\":{"
					      "\"nodes\":[" WORK("x") "],\"outputs\":{}}}}",
		     ""),
		 "/nodes/1/params/body/outputs", "no key of a body"},
	};
	check_rows(rows, SL_COUNT_OF(rows), false);
}

static void references_with_a_value_pass(void **state)
{
	static const char *const texts[] = {
		DEF(WORK("a") "," PROMPT("b", "{{ nodes.a.text }} {{ run.id }} {{ input.x }}"), EDGE("a", "b")),
		DEF(WORK("a") "," WORK("b"), "{\"from\":\"a\",\"to\":\"b\",\"when\":\"nodes.a.ok\"}"),
		DEF(WORK("a") "," EACH("m",
				       PROMPT("x", "{{ item }} {{ index }} {{ nodes.a.text }}") "," PROMPT(
					       "y", "{{ nodes.x.text }}"),
				       EDGE("x", "y")),
		    EDGE("a", "m")),
		DEF(AGAIN("r", "nodes.judge.json.score > 9 and loop.index > 1",
			  PROMPT("judge", "{{ loop.last and 1 or 2 }}")),
		    ""),
		DEF(EACH("m", AGAIN("r", "true", PROMPT("x", "{{ item }} {{ loop.index }}")),
			 "") "," EACH("n", WORK("x"), ""),
		    ""),
		DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"score\":\"item.json.score + index + input.x\"}}",
		    ""),
		DEF("{\"id\":\"a\",\"type\":\"calc\",\"params\":{\"code\":\"local t = {{1,2},{3}} return #t\"}}", ""),
	};
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++) {
		struct parsed p = parse(texts[i]);
		if (!p.w) {
			printf("refused %s\n", texts[i]);
			show(&p);
			fail();
		}
		done(&p);
	}
}

static void warnings_do_not_refuse(void **state)
{
	static const struct row rows[] = {
		{DEF(WORK("a") ",{\"id\":\"j\",\"type\":\"gather\"}", EDGE("a", "j")), "/nodes/1", "nothing to join"},
		{DEF("{\"id\":\"j\",\"type\":\"gather\"}", ""), "/nodes/0", "no edge leads to 'j'"},
		{DEF(WORK("a") "," WORK("b") "," WORK("c"), EDGE("a", "b")), "/nodes/2",
		 "no edge leads to or from 'c'"},
		{DEF("{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"yes\",\"no\"]}}," WORK("b"),
		     "{\"from\":\"p\",\"to\":\"b\",\"case\":\"yes\"}"),
		 "/nodes/0", "no edge carries the case 'no'"},
		{DEF("{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"yes\"]}}," WORK("b"), EDGE("p", "b")),
		 "/nodes/0", "changes nothing"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"on_error\":\"continue\",\"fallback\":1}", ""),
		 "/nodes/0/fallback", "never used"},
		{DEF("{\"id\":\"a\",\"type\":\"work\",\"fallback\":{\"timeout\":1,\"tiemout\":2}}", ""),
		 "/nodes/0/fallback", "no class of error"},
		{DEF(WORK("a") "," WORK("b") "," WORK(
			     "c") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":2}}",
		     EDGE("a", "j") ",{\"from\":\"b\",\"to\":\"j\",\"when\":\"input.x\"},{\"from\":\"c\",\"to\":\"j\","
				    "\"when\":\"input.y\"}"),
		 "/nodes/3", "only 1 comes when the condition of the edge from 'b' to 'j' is false"},
	};
	check_rows(rows, SL_COUNT_OF(rows), true);
}

static void cycles_are_named_with_their_way(void **state)
{
	struct parsed p =
		parse(DEF(WORK("s") "," WORK("a") "," WORK("b") "," WORK("c") "," WORK("x") "," WORK("y") "," WORK("z"),
			  EDGE("s", "a") "," EDGE("a", "b") "," EDGE("b", "c") "," EDGE("c", "a") "," EDGE(
				  "c", "x") "," EDGE("y", "z") "," EDGE("z", "y")));
	assert_null(p.w);
	assert_int_equal(p.problems.errors, 2); /* x only waits behind a cycle and is not blamed */
	assert_non_null(strstr(p.problems.items[0].message, "a → b → c → a"));
	assert_true(strstr(p.problems.items[1].message, "y → z → y") != NULL);
	assert_string_equal(p.problems.items[0].pointer, "/edges/3");
	done(&p);
}

static void a_long_cycle_is_shortened(void **state)
{
	SL_BUF(text, 100000);
	sl_buf_adds(&text, "{\"sluice\":1,\"nodes\":[");
	for (int i = 0; i < 100; i++)
		sl_buf_addf(&text, "%s{\"id\":\"n%d\",\"type\":\"work\"}", i ? "," : "", i);
	sl_buf_adds(&text, "],\"edges\":[");
	for (int i = 0; i < 100; i++)
		sl_buf_addf(&text, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", i ? "," : "", i, (i + 1) % 100);
	sl_buf_adds(&text, "]}");
	struct parsed p = parse_str(sl_buf_str(&text));
	assert_int_equal(p.problems.errors, 1);
	assert_non_null(strstr(p.problems.items[0].message, "n0 → … 87 more … → n88 → n89"));
	assert_non_null(strstr(p.problems.items[0].message, "n99 → n0;"));
	done(&p);
}

static void all_errors_come_at_once_and_the_rest_is_counted(void **state)
{
	SL_BUF(text, 100000);
	sl_buf_adds(&text, "{\"sluice\":3,\"nodes\":[");
	for (int i = 0; i < 150; i++)
		sl_buf_addf(&text, "%s{\"id\":\"n%d\",\"type\":\"nothing\"}", i ? "," : "", i);
	sl_buf_adds(&text, "],\"edges\":[{\"from\":\"n1\",\"to\":\"n0\"},{\"from\":\"n0\",\"to\":\"n1\"}]}");
	struct parsed p = parse_str(sl_buf_str(&text));
	assert_int_equal(p.problems.n, SL_LIMIT_DEFINITION_ERRORS);
	assert_int_equal(p.problems.errors, 152);
	assert_int_equal(p.problems.dropped, 52);
	done(&p);
}

static void absorbed_failures_are_those_a_join_tolerates(void **state)
{
	/* fan → a → b → j(2 of 3), fan → c → j, fan → d → j, and c → last directly */
	struct parsed p = parse(
		DEF("{\"id\":\"f\",\"type\":\"fan\"}," WORK("a") "," WORK("b") "," WORK("c") "," WORK(
			    "d") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":2}}," WORK("last"),
		    EDGE("f", "a") "," EDGE("a", "b") "," EDGE("b", "j") "," EDGE("f", "c") "," EDGE("c", "j") "," EDGE(
			    "f", "d") "," EDGE("d", "j") "," EDGE("j", "last") "," EDGE("c", "last")));
	assert_non_null(p.w);
	const struct sl_graph *g = p.w->root;
	static const struct {
		const char *id;
		bool absorbed;
	} rows[] = {{"f", false}, {"a", true}, {"b", true}, {"c", false}, {"d", true}, {"j", false}, {"last", false}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++)
		assert_int_equal(g->nodes[sl_graph_find(g, sl_str(rows[i].id))].absorbed, rows[i].absorbed);
	done(&p);
}

static void a_parallel_that_waits_for_all_makes_its_join_tolerant(void **state)
{
	static const char *const nodes =
		"{\"sluice\":1,\"nodes\":[{\"id\":\"f\",\"type\":\"fan\",\"params\":{\"wait_all\":%s}}"
		"," WORK("a") "," WORK("b") "," WORK("out") ",{\"id\":\"j\",\"type\":\"gather\"}],"
							    "\"edges\":[" EDGE("f", "a") "," EDGE("f", "b") "," EDGE(
								    "a", "j") "," EDGE("b", "j") "%s"
												 "]"
												 "}";
	char text[1000];
	static const struct {
		const char *wait, *more;
		bool tolerates;
	} rows[] = {{"true", "", true}, {"false", "", false}, {"true", "," EDGE("out", "j"), false}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(text, sizeof(text), nodes, rows[i].wait, rows[i].more);
#pragma GCC diagnostic pop
		struct parsed p = parse(text);
		assert_non_null(p.w);
		const struct sl_graph *g = p.w->root;
		assert_int_equal(g->nodes[4].policy.tolerates, rows[i].tolerates);
		assert_int_equal(g->nodes[1].absorbed, rows[i].tolerates);
		done(&p);
	}
}

static void branches_of_a_limited_parallel_are_known(void **state)
{
	/* f(2) → a → a2 → j, f → b → j, f → c → j, a2 and b → mix; out → b2 ← b */
	struct parsed p = parse(DEF(
		"{\"id\":\"f\",\"type\":\"fan\",\"params\":{\"open\":2}}," WORK("a") "," WORK("a2") "," WORK("b") "," WORK(
			"c") ",{\"id\":\"j\",\"type\":\"gather\"}," WORK("mix") "," WORK("out") "," WORK("b2"),
		EDGE("f", "a") "," EDGE("f", "b") "," EDGE("f", "c") "," EDGE("a", "a2") "," EDGE("a2", "j") "," EDGE(
			"b", "j") "," EDGE("c", "j") "," EDGE("a2",
							      "mix") "," EDGE("b",
									      "mix") "," EDGE("out",
											      "b2") "," EDGE("b",
													     "b2")));
	assert_non_null(p.w);
	const struct sl_graph *g = p.w->root;
	static const struct {
		const char *id;
		int branch;
	} rows[] = {{"f", -1}, {"a", 0},    {"a2", 0},   {"b", 1},  {"c", 2},
		    {"j", -1}, {"mix", -1}, {"out", -1}, {"b2", -1}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		const struct sl_node_def *d = &g->nodes[sl_graph_find(g, sl_str(rows[i].id))];
		assert_int_equal(d->n_branch_of, rows[i].branch >= 0);
		if (rows[i].branch >= 0) {
			assert_int_equal(d->branch_of[0].parallel, 0);
			assert_int_equal(d->branch_of[0].branch, rows[i].branch);
		}
	}
	assert_int_equal(g->nodes[0].branch_limit, 2);
	done(&p);
}

static void a_join_behind_exclusive_cases_that_wants_both_is_refused(void **state)
{
#define PICK                                                                                                           \
	"{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"yes\",\"no\"]}}," WORK("a") "," WORK("b") "," WORK(  \
		"c") ","
#define WAYS                                                                                                           \
	"{\"from\":\"p\",\"to\":\"a\",\"case\":\"yes\"},{\"from\":\"p\",\"to\":\"b\",\"case\":\"no\"}," EDGE(          \
		"p", "c") "," EDGE("a", "j") "," EDGE("b", "j") "," EDGE("c", "j")
	struct parsed p = parse(DEF(PICK "{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":2}}", WAYS));
	assert_non_null(p.w); /* one of a and b, and c */
	done(&p);
	p = parse(DEF(PICK "{\"id\":\"j\",\"type\":\"gather\"}", WAYS));
	assert_non_null(p.w); /* all: what dies is not waited for */
	done(&p);
	p = parse(DEF(PICK WORK("d") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":3}}",
		      WAYS ",{\"from\":\"p\",\"to\":\"d\",\"case\":\"no\"}," EDGE("d", "j")));
	assert_non_null(p.w); /* b, d and c when it says no */
	done(&p);
	p = parse(DEF(
		"{\"id\":\"p\",\"type\":\"pick\",\"params\":{\"cases\":[\"1\",\"2\",\"3\",\"4\"]}}," WORK("a") "," WORK(
			"b") "," WORK("c") "," WORK("d") ",{\"id\":\"j\",\"type\":\"gather\",\"params\":{\"need\":3}}",
		"{\"from\":\"p\",\"to\":\"a\",\"case\":\"1\"},{\"from\":\"p\",\"to\":\"b\",\"case\":\"2\"},"
		"{\"from\":\"p\",\"to\":\"c\",\"case\":\"1\"},{\"from\":\"p\",\"to\":\"d\",\"case\":\"2\"}," EDGE(
			"a", "j") "," EDGE("b", "j") "," EDGE("c", "j") "," EDGE("d", "j")));
	assert_null(p.w); /* two at most */
	assert_true(said(&p, false, "/nodes/5", "can never go on"));
	done(&p);
}

static void hostile_sizes_are_refused_quickly(void **state)
{
	SL_BUF(text, 8u << 20);
	/* 100,000 nodes: too many bytes. 30,000 short ones: too many values. 1,001: too many nodes */
	static const struct {
		int n;
		const char *words;
	} rows[] = {{100000, "bytes"}, {20000, "JSON values"}, {1001, "more than 1000 nodes"}};
	for (size_t r = 0; r < SL_COUNT_OF(rows); r++) {
		sl_buf_reset(&text);
		sl_buf_adds(&text, "{\"sluice\":1,\"nodes\":[");
		for (int i = 0; i < rows[r].n; i++)
			sl_buf_addf(&text, "%s{\"id\":\"n%d\",\"type\":\"work\",\"name\":\"x\"}", i ? "," : "", i);
		sl_buf_adds(&text, "]}");
		struct parsed p = parse_str(sl_buf_str(&text));
		assert_null(p.w);
		if (!strstr(p.problems.items[0].message, rows[r].words)) {
			show(&p);
			fail_msg("%d nodes", rows[r].n);
		}
		done(&p);
	}
}

static void edges_have_a_limit(void **state)
{
	SL_BUF(text, 1u << 20);
	for (int more = 0; more < 2; more++) {
		int n = 0;
		sl_buf_reset(&text);
		sl_buf_adds(&text, "{\"sluice\":1,\"nodes\":[");
		for (int i = 0; i < 100; i++)
			sl_buf_addf(&text, "%s{\"id\":\"n%d\",\"type\":\"work\"}", i ? "," : "", i);
		sl_buf_adds(&text, "],\"edges\":[");
		for (int a = 0; a < 100; a++)
			for (int b = a + 1; b < 100 && n < SL_LIMIT_EDGES + more; b++, n++)
				sl_buf_addf(&text, "%s{\"from\":\"n%d\",\"to\":\"n%d\"}", n ? "," : "", a, b);
		sl_buf_adds(&text, "]}");
		struct parsed p = parse_str(sl_buf_str(&text));
		assert_int_equal(n, SL_LIMIT_EDGES + more);
		if (more)
			assert_true(said(&p, false, "/edges", "more than 4000 edges"));
		else
			assert_non_null(p.w);
		done(&p);
	}
}

static void nesting_has_a_limit(void **state)
{
	for (int depth = SL_LIMIT_NESTING; depth <= SL_LIMIT_NESTING + 1; depth++) {
		SL_BUF(text, 100000);
		sl_buf_adds(&text, "{\"sluice\":1,");
		for (int i = 0; i < depth; i++)
			sl_buf_addf(&text,
				    "\"nodes\":[{\"id\":\"n%d\",\"type\":\"each\",\"params\":{\"items\":[],\"body\":{",
				    i);
		sl_buf_adds(&text, "\"nodes\":[" WORK("leaf") "]");
		for (int i = 0; i < depth; i++)
			sl_buf_adds(&text, "}}}]");
		sl_buf_adds(&text, "}");
		struct parsed p = parse_str(sl_buf_str(&text));
		assert_int_equal(p.w != NULL, depth == SL_LIMIT_NESTING);
		if (!p.w)
			assert_non_null(strstr(p.problems.items[0].message, "nested deeper than 8"));
		done(&p);
	}
}

static void nested_nodes_count_towards_the_limit(void **state)
{
	SL_BUF(text, 200000);
	sl_buf_adds(&text, "{\"sluice\":1,\"nodes\":[");
	for (int k = 0; k < 3; k++) {
		sl_buf_addf(&text, "%s{\"id\":\"m%d\",\"type\":\"each\",\"params\":{\"items\":[],\"body\":{\"nodes\":[",
			    k ? "," : "", k);
		for (int i = 0; i < 400; i++)
			sl_buf_addf(&text, "%s{\"id\":\"n%d\",\"type\":\"work\"}", i ? "," : "", i);
		sl_buf_adds(&text, "]}}}");
	}
	sl_buf_adds(&text, "]}");
	struct parsed p = parse_str(sl_buf_str(&text));
	assert_null(p.w);
	assert_true(said(&p, false, "/nodes/2/params/body/nodes", "more than 1000 nodes"));
	done(&p);
}

static void types_that_are_not_complete_are_refused_at_start_up(void **state)
{
	static const struct {
		struct sl_node_type type;
		const char *words;
	} rows[] = {
		{{.name = "x", .summary = "S.", .start = types_start}, "params_schema"},
		{{.name = "x", .summary = "S.", .params_schema = "{\"type\":\"object\"}"}, "start"},
		{{.name = "X", .summary = "S.", .params_schema = "{\"type\":\"object\"}", .start = types_start},
		 "name"},
		{{.name = "x", .summary = "", .params_schema = "{\"type\":\"object\"}", .start = types_start},
		 "summary"},
		{{.name = "x", .summary = "S.", .params_schema = "{\"type\":", .start = types_start},
		 "params_schema of node type 'x'"},
		{{.name = "x", .summary = "S.", .params_schema = "{\"type\":\"array\"}", .start = types_start},
		 "type object"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema = "{\"type\":\"object\",\"requird\":[]}",
		  .start = types_start},
		 "requird"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"x-expr\":\"lua\"}}}",
		  .start = types_start},
		 "x-expr"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"x-"
				   "graph\":true}}}}",
		  .start = types_start},
		 "x-graph"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema =
			  "{\"type\":\"object\",\"properties\":{\"a\":{\"x-graph\":true,\"x-provides\":[\"lop\"]}}}",
		  .start = types_start},
		 "lop"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"x-graph\":true}}}",
		  .start = types_start},
		 "no `body` to hear of them"},
		{{.name = "x",
		  .summary = "S.",
		  .params_schema = "{\"type\":\"object\"}",
		  .start = types_start,
		  .body = types_body},
		 "no graph"},
		{{.name = "work", .summary = "S.", .params_schema = "{\"type\":\"object\"}", .start = types_start},
		 "two node types"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		const struct sl_node_type *const types[] = {&types_work, &rows[i].type, NULL};
		struct sl_registry *r = NULL;
		struct sl_error err = {0};
		assert_int_equal(sl_registry_new(types, &r, &err), SL_INVALID);
		assert_null(r);
		if (!strstr(err.text, rows[i].words))
			fail_msg("row %zu: %s", i, err.text);
	}
}

static void the_registry_describes_its_types(void **state)
{
	struct sl_error err;
	struct sl_bytes *json = sl_registry_json(registry);
	SL_AUTO_JSON o = NULL;
	assert_int_equal(sl_json_parse(sl_bytes_str(json), &o, &err), SL_OK);
	struct json_object *items = sl_json_get(o, "items");
	assert_int_equal(json_object_array_length(items), SL_COUNT_OF(types_all) - 1);
	struct json_object *first = json_object_array_get_idx(items, 0);
	assert_string_equal(sl_json_get_z(first, "name"), "work");
	assert_string_equal(sl_json_get_z(first, "effects"), "model");
	assert_non_null(sl_json_get(sl_json_get(first, "params_schema"), "properties"));
	sl_bytes_unref(json);
	assert_ptr_equal(sl_registry_find(registry, "each"), &types_each);
	assert_null(sl_registry_find(registry, "nothing"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_definition_is_read_completely),
		cmocka_unit_test(mistakes_are_named_with_their_place),
		cmocka_unit_test(references_without_a_value_are_refused),
		cmocka_unit_test(references_with_a_value_pass),
		cmocka_unit_test(warnings_do_not_refuse),
		cmocka_unit_test(cycles_are_named_with_their_way),
		cmocka_unit_test(a_long_cycle_is_shortened),
		cmocka_unit_test(all_errors_come_at_once_and_the_rest_is_counted),
		cmocka_unit_test(absorbed_failures_are_those_a_join_tolerates),
		cmocka_unit_test(a_parallel_that_waits_for_all_makes_its_join_tolerant),
		cmocka_unit_test(branches_of_a_limited_parallel_are_known),
		cmocka_unit_test(a_join_behind_exclusive_cases_that_wants_both_is_refused),
		cmocka_unit_test(hostile_sizes_are_refused_quickly),
		cmocka_unit_test(edges_have_a_limit),
		cmocka_unit_test(nesting_has_a_limit),
		cmocka_unit_test(nested_nodes_count_towards_the_limit),
		cmocka_unit_test(types_that_are_not_complete_are_refused_at_start_up),
		cmocka_unit_test(the_registry_describes_its_types),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
