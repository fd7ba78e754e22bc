/* The tools of the server as a model and a workflow meet them: names a provider accepts, schemas that parse, docs that
 * name each, and what is said of names that are none. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/graph.h"
#include "engine/tool.h"

static struct sl_registry *registry;

static int setup(void **state)
{
	struct sl_error err;
	return sl_registry_new(sl_node_types, &registry, &err) == SL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	sl_registry_free(registry);
	return 0;
}

static void each_tool_has_what_a_model_has_to_know(void **state)
{
	size_t n = 0;
	for (; sl_tools[n]; n++) {
		const struct sl_tool *t = sl_tools[n];
		SL_AUTO_JSON args = NULL;
		SL_AUTO(sl_schema) schema = NULL;
		struct sl_problems problems = {0};
		struct sl_error err;
		size_t len = strlen(t->name);
		assert_true(len > 0 && len <= 64 && strspn(t->name, "abcdefghijklmnopqrstuvwxyz0123456789_") == len);
		assert_true(strlen(t->description) > 20);
		assert_non_null(t->start);
		assert_int_equal(sl_json_parse(sl_str(t->args_schema), &args, &err), SL_OK);
		assert_string_equal(sl_json_get_z(args, "type"), "object");
		assert_int_equal(sl_schema_compile(args, SL_STR(""), &schema, &problems), SL_OK);
		if (problems.n || !schema)
			fail_msg("%s: %s", t->name, problems.items[0].message);
		sl_problems_fini(&problems);
		for (size_t k = 0; k < n; k++)
			assert_string_not_equal(sl_tools[k]->name, t->name);
		/* code that a model wrote runs only where somebody said so */
		assert_int_equal(t->off, strcmp(t->name, "code_execution") == 0);
	}
	assert_true(n >= 7);
}

static void the_docs_name_each_tool(void **state)
{
	const char *root = getenv("SLUICE_ROOT");
	char path[4096], piece[4096], words[100];
	SL_BUF(docs, 1u << 20);
	snprintf(path, sizeof(path), "%s/docs/WORKFLOWS.md", root ? root : ".");
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) > 0;)
		sl_buf_add(&docs, piece, n);
	fclose(f);
	for (size_t i = 0; sl_tools[i]; i++) {
		bool workflow = strcmp(sl_tools[i]->name, "workflow") == 0;
		snprintf(words, sizeof(words), "| `%s` |", workflow ? SL_TOOL_WORKFLOW "NAME" : sl_tools[i]->name);
		if (!strstr(docs.data, words))
			fail_msg("docs/WORKFLOWS.md has no row %s", words);
	}
}

static void names_are_found_and_workflows_by_their_prefix(void **state)
{
	assert_string_equal(sl_tool_find(sl_tools, SL_STR("calculate"))->name, "calculate");
	assert_string_equal(sl_tool_find(sl_tools, SL_STR("workflow:any"))->name, "workflow");
	assert_null(sl_tool_find(sl_tools, SL_STR("workflow")));
	assert_null(sl_tool_find(sl_tools, SL_STR("Calculate")));
	assert_null(sl_tool_find(sl_tools, SL_STR("")));
}

/* The first thing that is wrong with one node of the type; NULL: nothing. */
static const char *problem(const char *type, const char *params)
{
	static char text[1000];
	char definition[2000];
	struct sl_workflow *w = NULL;
	struct sl_problems problems = {0};
	snprintf(definition, sizeof(definition),
		 "{\"sluice\":1,\"nodes\":[{\"id\":\"n\",\"type\":\"%s\",\"retry\":{\"max\":1},\"params\":%s}]}", type,
		 params);
	for (char *c = definition; *c; c++)
		if (*c == '\'')
			*c = '"';
	assert_int_equal(sl_workflow_parse(registry, sl_str(definition), &w, &problems), SL_OK);
	snprintf(text, sizeof(text), "%s", problems.n ? problems.items[0].message : "");
	sl_workflow_unref(w);
	sl_problems_fini(&problems);
	return text[0] ? text : NULL;
}

static void what_makes_no_sense_is_refused_when_the_workflow_is_read(void **state)
{
	static const struct {
		const char *type, *params, *message; /* NULL: it is fine */
	} rows[] = {
		{"llm", "{'prompt':'p','tools':['calculate','workflow:x',{'type':'function'}],'max_iterations':3}",
		 NULL},
		{"llm", "{'prompt':'p','tools':[{'type':'function'}]}", NULL},
		{"llm", "{'prompt':'p','tools':'{{ input.tools }}'}", NULL},
		{"llm", "{'prompt':'p','tools':['calculator']}", "there is no tool 'calculator'"},
		{"llm", "{'prompt':'p','tools':['workflow']}", "there is no tool 'workflow'"},
		{"llm", "{'prompt':'p','tools':['calculate','{{ input.t }}']}", "written down, not computed"},
		{"llm", "{'prompt':'p','tools':[1]}", ""},
		{"llm", "{'prompt':'p','tools':['calculate'],'max_iterations':0}", ""},
		{"llm", "{'prompt':'p','tools':['calculate'],'max_iterations':'{{ input.n }}'}", ""},
		{"llm",
		 "{'prompt':'p','tools':['workflow:a123456789012345678901234567890123456789012345678901234567890']}",
		 "at most 64 characters"},
		{"tool", "{'tool':'calculate','arguments':{'expression':'1'}}", NULL},
		{"tool", "{'tool':'{{ input.t }}'}", NULL},
		{"tool", "{'tool':'nothing'}", "there is no tool 'nothing'"},
		{"tool", "{}", ""},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		const char *p = problem(rows[i].type, rows[i].params);
		if (!rows[i].message != !p || (p && !strstr(p, rows[i].message)))
			fail_msg("%s: %s", rows[i].params, p ? p : "accepted");
	}
}

static void only_names_make_a_node_a_container_and_its_retry_is_the_model_s(void **state)
{
	static const char text[] =
		"{\"sluice\":1,\"nodes\":[{\"id\":\"a\",\"type\":\"llm\",\"retry\":{\"max\":7},\"params\":{\"prompt\":"
		"\"p\","
		"\"system\":\"{{ input.s "
		"}}\",\"temperature\":0.5,\"tools\":[\"calculate\"]}},{\"id\":\"b\",\"type\":\"llm\","
		"\"params\":{\"prompt\":\"p\",\"tools\":[{\"type\":\"function\"}]}}]}";
	SL_AUTO(sl_workflow) w = NULL;
	struct sl_problems problems = {0};
	assert_int_equal(sl_workflow_parse(registry, sl_str(text), &w, &problems), SL_OK);
	assert_non_null(w);
	const struct sl_node_def *a = &w->root->nodes[0], *b = &w->root->nodes[1];
	assert_non_null(a->body);
	assert_null(b->body);
	assert_false(sl_node_def_is_call(a)); /* so nothing is reserved for it; its `ask` is one */
	assert_true(sl_node_def_is_call(b));
	const struct sl_node_def *ask = &a->body->nodes[sl_graph_find(a->body, SL_STR("ask"))];
	assert_true(sl_node_def_is_call(ask));
	assert_false(a->has_retry);
	assert_int_equal(ask->retry.max, 7);
	/* what is written down is there to be looked at, what is computed comes in */
	assert_true(sl_json_get_f64(ask->params_json, "temperature", 0) == 0.5);
	assert_string_equal(sl_json_get_z(ask->params_json, "system"), "{{ item.system }}");
	assert_null(sl_json_get(ask->params_json, "max_iterations"));
	sl_problems_fini(&problems);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_tool_has_what_a_model_has_to_know),
		cmocka_unit_test(the_docs_name_each_tool),
		cmocka_unit_test(names_are_found_and_workflows_by_their_prefix),
		cmocka_unit_test(what_makes_no_sense_is_refused_when_the_workflow_is_read),
		cmocka_unit_test(only_names_make_a_node_a_container_and_its_retry_is_the_model_s),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
