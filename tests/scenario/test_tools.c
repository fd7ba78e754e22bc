/* Models that use tools: the rounds, what a model is told of each call, what is run and what is not, and that nothing
 * is done twice that is written down, wherever the server dies. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/tool.h"
#include "llm/agents.h"
#include "llm/services.h"
#include "llm/sources.h"
#include "tests/lib/scenario.h"

static const char twice[] =
	"{\"sluice\":1,\"name\":\"twice\",\"description\":\"Doubles.\",\"inputs\":{\"type\":\"object\",\"required\":["
	"\"n\"],\"properties\":{\"n\":{\"type\":\"number\"}}},\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
	"\"answer\":\"{{ input.n * 2 }}\"}}],\"outputs\":{\"twice\":\"{{ nodes.x.value }}\"}}";
static const char stuck[] = "{\"sluice\":1,\"name\":\"stuck\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
			    "\"answer\":1,\"hold\":true}}]}";
static const char broken[] = "{\"sluice\":1,\"name\":\"broken\",\"nodes\":[{\"id\":\"x\",\"type\":\"fake\",\"params\":{"
			     "\"answer\":1,\"fail\":\"provider_rejected\"}}]}";

static int library(void **state)
{
	world_workflow("twice", twice);
	world_workflow("stuck", stuck);
	world_workflow("broken", broken);
	return 0;
}

static int setup(void **state)
{
	sl_expect_aborts = true;
	*state = world_new(21);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct sl_agents *agents = world_services(w)->agents;
	world_services(w)->agents = NULL;
	world_free(w);
	sl_agents_free(agents);
	return 0;
}

/* A workflow of one model with tools. turns and params with ' for ". */
static char definition[65536], turns_text[60000];
static const char *with(const char *tools, const char *params, const char *turns)
{
	SL_BUF(quoted, sizeof(turns_text));
	char *p = turns_text;
	(void)snprintf(turns_text, sizeof(turns_text), "%s", turns);
	for (; *p; p++)
		if (*p == '\'')
			*p = '"';
	sl_buf_json_str(&quoted, sl_str(turns_text));
	(void)snprintf(definition, sizeof(definition),
		       "{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'a','type':'llm'%s,'params':{"
		       "'agent':'script','tools':%s,'prompt':",
		       params, tools);
	for (p = definition; *p; p++)
		if (*p == '\'')
			*p = '"';
	size_t n = strlen(definition);
	(void)snprintf(definition + n, sizeof(definition) - n, SL_STR_FMT "}}],\"outputs\":{\"v\":\"{{ nodes.a }}\"}}",
		       SL_STR_ARG(sl_buf_str(&quoted)));
	return definition;
}

static struct json_object *answered(struct world *w, struct sl_run_id id, const char *key)
{
	return sl_json_get(sl_json_get(sl_json_get(world_run(w, id), "outputs"), "v"), key);
}

static struct json_object *log_entry(struct world *w, struct sl_run_id id, size_t i)
{
	return json_object_array_get_idx(answered(w, id, "tool_log"), i);
}

/* What the model was told last, before it said what came out. */
static const char *heard(struct world *w, struct sl_run_id id)
{
	return sl_json_get_z(answered(w, id, "heard"), "content");
}

/* How many events of that name; *last (the caller's) is the last one's data. */
static unsigned told(struct world *w, struct sl_run_id id, const char *name, struct json_object **last)
{
	const struct sl_record *r;
	size_t all = world_records(w, id, &r);
	unsigned n = 0;
	for (size_t i = 0; i < all; i++)
		if (strcmp(r[i].event, name) == 0) {
			n++;
			if (last) {
				json_object_put(*last);
				*last = NULL;
				assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), last, NULL), SL_OK);
			}
		}
	return n;
}

static const char sums[] = "[{'text':'let me see','calls':[{'name':'calculate','arguments':{'expression':'6*7'}}]},"
			   "{'text':'it is 42'}]";

static void a_model_is_asked_again_with_what_its_tools_said(void **state)
{
	struct world *w = *state;
	SL_AUTO_JSON event = NULL;
	struct sl_run_id id = world_submit(w, with("['calculate']", "", sums), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(answered(w, id, "text")), "\"it is 42\"");
	assert_string_equal(heard(w, id), "{\"value\":42}");
	assert_int_equal(sl_json_get_i64(sl_json_get(sl_json_get(world_run(w, id), "outputs"), "v"), "iterations", 0),
			 2);
	assert_string_equal(text_of(answered(w, id, "finish_reason")), "\"stop\"");
	assert_null(answered(w, id, "tool_calls"));
	assert_string_equal(text_of(answered(w, id, "usage")), "{\"input_tokens\":20,\"output_tokens\":10}");
	assert_string_equal(
		text_of(answered(w, id, "tool_log")),
		"[{\"iteration\":1,\"name\":\"calculate\",\"arguments\":\"{\\\"expression\\\":\\\"6*7\\\"}\","
		"\"ok\":true,\"result\":\"{\\\"value\\\":42}\",\"ms\":0}]");
	assert_int_equal(told(w, id, "tool_execution", &event), 1);
	assert_string_equal(text_of(event),
			    "{\"tool\":\"calculate\",\"arguments\":\"{\\\"expression\\\":\\\"6*7\\\"}\","
			    "\"ok\":true,\"result\":\"{\\\"value\\\":42}\",\"ms\":0,\"iteration\":1,"
			    "\"node_id\":\"a#1/tools#1/call\"}");
	assert_string_equal(world_node_status(w, id, "a#1/tools#1/call"), "completed");
	assert_string_equal(world_node_status(w, id, "a#2/tools"), "skipped");
	/* each call of the model is a call of its own to whoever counts and limits */
	assert_int_equal(told(w, id, "token_usage", NULL), 2);
	assert_int_equal(world_calls(w, "a#1/ask"), 1);
	assert_int_equal(world_calls(w, "a#2/ask"), 1);
}

static void without_tools_of_the_server_it_is_one_call(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w, with("[{'type':'function','function':{'name':'mine'}}]", "", "[{'calls':[{'name':'mine'}]}]"), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(world_node_status(w, id, "a#1/ask"), "");
}

static void functions_of_the_workflow_are_left_to_it(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		with("['calculate',{'type':'function','function':{'name':'mine','parameters':{'type':'object'}}}]", "",
		     "[{'calls':[{'name':'calculate','arguments':{'expression':'1+1'}},{'name':'mine','arguments':{'a':"
		     "1}}]}"
		     ",{'text':'never asked'}]"),
		"{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(answered(w, id, "tool_calls")),
			    "[{\"id\":\"call_1_2\",\"function\":{\"name\":\"mine\",\"arguments\":\"{\\\"a\\\":1}\"}}]");
	assert_string_equal(text_of(sl_json_get(log_entry(w, id, 0), "ok")), "true");
	assert_int_equal(world_calls(w, "a#2/ask"), 0);
	assert_int_equal(json_object_array_length(answered(w, id, "offered")), 2);
}

static void it_may_not_go_on_for_ever(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     with("['calculate']", "",
				  "[{'text':'again','calls':[{'name':'calculate','arguments':{'expression':'1'}}]}]"),
			     "{}");
	world_settle(w);
	expect_status(w, id, "succeeded"); /* five rounds of tools when nothing is said, and one to answer */
	assert_int_equal(world_calls(w, "a#6/ask"), 1);
	assert_int_equal(world_calls(w, "a#7/ask"), 0);
	assert_int_equal(world_calls(w, "a#5/tools#1/call"), 1);
	assert_int_equal(world_calls(w, "a#6/tools#1/call"), 0);
	assert_string_equal(text_of(answered(w, id, "finish_reason")), "\"max_iterations\"");
	assert_string_equal(text_of(answered(w, id, "choice")), "\"none\"");
	assert_string_equal(text_of(answered(w, id, "text")), "\"again\"");
	assert_int_equal(json_object_array_length(answered(w, id, "tool_log")), 5);
}

static void what_is_wrong_with_a_call_the_model_is_told(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *call, *told;
	} rows[] = {
		{"{'name':'calculate','arguments':'{no json'}", "error: invalid: the arguments are no JSON"},
		{"{'name':'calculate','arguments':'[1]'}",
		 "error: invalid: the arguments are of type array, not an object"},
		{"{'name':'calculate','arguments':{'expresion':'1'}}",
		 "error: invalid: the arguments do not fit: 'expression' is missing"},
		{"{'name':'calculate','arguments':{'expression':'os.exit()'}}", "error: invalid: 'os' is no function"},
		{"{'name':'calculate','arguments':{'expression':'1 +'}}", "error: invalid: "},
		{"{'name':'rm_rf','arguments':{}}", "error: not_found: there is no tool 'rm_rf'"},
		{"{'name':'http_get','arguments':{'url':'https://x.example'}}",
		 "error: not_found: there is no tool 'http_g"},
		{"{'name':'workflow_broken','arguments':{}}", "error: provider_rejected: the child run: "},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char turns[600];
		(void)snprintf(turns, sizeof(turns), "[{'calls':[%s]},{'text':'so be it'}]", rows[i].call);
		struct sl_run_id id = world_submit(w, with("['calculate','workflow:broken']", "", turns), "{}");
		world_settle(w);
		expect_status(w, id, "succeeded");
		assert_string_equal(text_of(answered(w, id, "text")), "\"so be it\"");
		if (strncmp(heard(w, id), rows[i].told, strlen(rows[i].told)) != 0)
			fail_msg("%s: %s", rows[i].call, heard(w, id));
		assert_string_equal(text_of(sl_json_get(log_entry(w, id, 0), "ok")), "false");
		SL_AUTO_JSON event = NULL;
		if (strstr(rows[i].told, "no tool")) {
			assert_int_equal(told(w, id, "tool_execution", NULL), 0);
		} else {
			assert_int_equal(told(w, id, "tool_execution", &event), 1);
			assert_string_equal(text_of(sl_json_get(event, "ok")), "false");
		}
	}
}

static void arguments_have_a_limit_and_the_model_is_told(void **state)
{
	struct world *w = *state;
	/* its prompt is the model's script, and a template */
	struct sl_run_id id = world_submit(
		w,
		with("['calculate']", "",
		     "[{'calls':[{'name':'calculate','arguments':{'expression':'{{ string.rep([[1]], 65536) }}'}}]},"
		     "{'text':'so be it'}]"),
		"{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "error: too_large: the arguments have 65553 bytes; at most 65536 are taken");
	assert_string_equal(text_of(sl_json_get(log_entry(w, id, 0), "ok")), "false");
}

static void a_tool_that_takes_too_long_has_failed(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     with("['workflow:stuck']", "",
				  "[{'calls':[{'name':'workflow_stuck','arguments':{}}]},{'text':'gave up'}]"),
			     "{}");
	world_settle(w);
	expect_status(w, id, "running");
	struct sl_run_id child = world_child(w, id);
	world_advance(w, 29900);
	expect_status(w, id, "running");
	world_advance(w, 200);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "error: timeout: no result within 30 s");
	assert_string_equal(world_status(w, child), "cancelled"); /* nobody waits for it */
}

static void the_calls_of_a_turn_run_beside_each_other_up_to_a_cap(void **state)
{
	struct world *w = *state;
	SL_BUF(turns, 32768);
	sl_buf_adds(&turns, "[{'calls':[");
	for (int i = 0; i < 100; i++)
		sl_buf_addf(&turns, "%s{'name':'workflow_stuck','arguments':{}}", i ? "," : "");
	sl_buf_adds(&turns, "]},{'text':'enough'}]");
	struct sl_run_id id = world_submit(w, with("['workflow:stuck']", "", turns.data), "{}");
	world_settle(w);
	for (unsigned i = 1; i <= 5; i++) {
		char path[40];
		(void)snprintf(path, sizeof(path), "a#1/tools#%u/call", i);
		assert_int_equal(world_calls(w, path), i <= 4);
	}
	world_advance(w, 200000);
	expect_status(w, id, "succeeded");
	assert_int_equal(json_object_array_length(answered(w, id, "tool_log")), 100);
	assert_int_equal(told(w, id, "tool_execution", NULL), SL_LIMIT_TOOL_CALLS);
	assert_string_equal(heard(w, id), "error: limit_exceeded: not run: at most 16 tools are run in one turn");
}

static void a_workflow_is_a_tool_with_its_inputs_for_arguments(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     with("['workflow:twice']", "",
				  "[{'calls':[{'name':'workflow_twice','arguments':{'n':21}}]},{'text':'done'}]"),
			     "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "{\"twice\":42}");
	assert_string_equal(
		text_of(answered(w, id, "offered")),
		"[{\"type\":\"function\",\"function\":{\"name\":\"workflow_twice\",\"description\":\"Runs the workflow "
		"twice and returns its outputs. Doubles.\",\"parameters\":{\"type\":\"object\",\"required\":[\"n\"],"
		"\"properties\":{\"n\":{\"type\":\"number\"}}}}}]");
	id = world_submit(w, with("['workflow:nowhere']", "", sums), "{}");
	world_settle(w);
	expect_status(w, id, "failed");
	assert_int_equal(world_calls(w, "a#1/ask"), 1); /* of the run before: nobody was asked */
}

static void switches(struct world *w, const char *row)
{
	struct sl_error err;
	if (!world_services(w)->agents)
		assert_int_equal(sl_agents_new(&world_services(w)->agents), SL_OK);
	assert_int_equal(sl_agents_load(world_services(w)->agents, SL_STR("script"), sl_str(row), &err), SL_OK);
}

static void an_agent_s_switches_say_what_is_offered_and_run(void **state)
{
	struct world *w = *state;
	static const char lua[] =
		"[{'calls':[{'name':'code_execution','arguments':{'code':'return 6*7'}}]},{'text':'ok'}]";
	struct sl_run_id id = world_submit(w, with("['code_execution']", "", lua), "{}");
	world_settle(w);
	expect_status(w, id, "failed"); /* off by itself */
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "forbidden");
	switches(w, "{\"system\":\"s\",\"tools\":{\"code_execution\":true,\"calculate\":false}}");
	id = world_submit(w, with("['code_execution','calculate']", "", lua), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "{\"value\":42}");
	assert_int_equal(json_object_array_length(answered(w, id, "offered")), 1); /* calculate is off */
	/* and who asks for it all the same is told */
	id = world_submit(w, with("['code_execution','calculate']", "", sums), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "error: forbidden: the agent 'script' has 'calculate' switched off");
	/* code sees nothing of the run but what it is given */
	id = world_submit(
		w,
		with("['code_execution']", "",
		     "[{'calls':[{'name':'code_execution','arguments':{'code':'return run.id'}}]},{'text':'ok'}]"),
		"{}");
	world_settle(w);
	assert_string_equal(heard(w, id), "error: invalid: a tool's code sees `input` and nothing else of the run, not "
					  "`run`");
}

static void what_is_too_much_is_cut_and_said_to_be(void **state)
{
	struct world *w = *state;
	switches(w, "{\"system\":\"s\",\"tools\":{\"code_execution\":true}}");
	struct sl_run_id id =
		world_submit(w,
			     with("['code_execution']", "",
				  "[{'calls':[{'name':'code_execution','arguments':{'code':'local s, t = "
				  "string.rep([[x]], 1000000), {} for i = 1, 8 do t[i] = s end return t'}}]},"
				  "{'text':'ok'}]"),
			     "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	size_t n = strlen(heard(w, id));
	if (n < 1000)
		fail_msg("%s", heard(w, id));
	assert_in_range(n, SL_LIMIT_TOOL_RESULT_BYTES, SL_LIMIT_TOOL_RESULT_BYTES + 100);
	assert_non_null(strstr(heard(w, id), "… (cut: this is the beginning of 8000035 bytes)"));
	assert_true(strlen(text_of(answered(w, id, "tool_log"))) < 2000);
}

static void a_conversation_has_room_for_so_much_and_no_more(void **state)
{
	struct world *w = *state;
	SL_BUF(turns, 32768);
	switches(w, "{\"system\":\"s\",\"tools\":{\"code_execution\":true}}");
	sl_buf_adds(&turns, "[");
	for (int turn = 0; turn < 5; turn++) { /* 80 results of 60,000 bytes */
		sl_buf_adds(&turns, "{'calls':[");
		for (int i = 0; i < 16; i++)
			sl_buf_addf(
				&turns,
				"%s{'name':'code_execution','arguments':{'code':'return string.rep([[x]], 60000)'}}",
				i ? "," : "");
		sl_buf_adds(&turns, "]},");
	}
	sl_buf_adds(&turns, "{'text':'ok'}]");
	struct sl_run_id id = world_submit(w, with("['code_execution']", "", turns.data), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_non_null(strstr(heard(w, id), "(cut: of 600"));
	assert_in_range(strlen(heard(w, id)), 500, 700);
	assert_int_equal(told(w, id, "tool_execution", NULL), 80);
}

static void what_cannot_be_used_is_said_before_a_model_is_asked(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *tool, *message;
	} rows[] = {{"web_search", "'web_search': no provider of web search is set up on this server"},
		    {"http_get", "'http_get': this server has no way out"},
		    {"memory_search", "'memory_search': this server has no memory"}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char tools[64];
		(void)snprintf(tools, sizeof(tools), "['%s']", rows[i].tool);
		struct sl_run_id id = world_submit(w, with(tools, "", sums), "{}");
		world_settle(w);
		expect_status(w, id, "failed");
		assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "code"), "unavailable");
		assert_non_null(
			strstr(sl_json_get_z(sl_json_get(world_run(w, id), "error"), "message"), rows[i].message));
	}
	assert_int_equal(world_calls(w, "a#1/ask"), 0);
}

/* A workflow may call a tool by itself, too; here the calculator, which reads arithmetic and nothing else. */
static void sums_are_computed_and_nothing_else_is_run(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *expression, *value; /* NULL: it is refused */
	} rows[] = {
		{"6*7", "42"},
		{"10 / 4", "2.5"},
		{"1 --2", "3"},
		{"1 - - -2", "-1"},
		{"2^10 % 1000 // 5", "4"},
		{"1e3 + 2.5E-1 + .75", "1001"},
		{"max(1, min(7, 3)) + math.sqrt(16) + floor(pi)", "10"},
		{"9223372036854775807 + 1", "9.223372036854776e+18"},
		{"1 < 2", "true"},
		{"os.exit()", NULL},
		{"print(1)", NULL},
		{"math.huge.x", NULL},
		{"'a'", NULL},
		{"[[a]]", NULL},
		{"{}", NULL},
		{"#1", NULL},
		{"1; return 2", NULL},
		{"function() end", NULL},
		{"1 1", NULL},
		{"0x10", NULL},
		{"input", NULL},
		{"(((((", NULL},
		{" ", NULL},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char text[400];
		(void)snprintf(
			text, sizeof(text),
			"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"tool\",\"params\":{\"tool\":"
			"\"calculate\",\"arguments\":{\"expression\":\"%s\"}}}],\"outputs\":{\"v\":\"{{ nodes.a }}\"}}",
			rows[i].expression);
		struct sl_run_id id = world_submit(w, text, "{}");
		world_settle(w);
		expect_status(w, id, rows[i].value ? "succeeded" : "failed");
		if (rows[i].value)
			assert_string_equal(text_of(sl_json_get(answered(w, id, "result"), "value")), rows[i].value);
		assert_int_equal(told(w, id, "tool_execution", NULL), 1);
	}
}

/* Each attempt is told, also one that another follows. */
static void attempts_of_a_tool_are_told_one_by_one(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		world_submit(w,
			     "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"a\",\"type\":\"tool\",\"retry\":{"
			     "\"max\":2,\"backoff_ms\":"
			     "10},\"params\":{\"tool\":\"memory_search\",\"arguments\":{\"query\":\"tea\"}}}]}",
			     "{}");
	world_settle(w);
	world_advance(w, 1000);
	expect_status(w, id, "failed"); /* `unavailable` may pass, so it was tried again */
	assert_int_equal(told(w, id, "tool_execution", NULL), 3);
}

static enum sl_code web_answers(void *ctx, const struct sl_source_query *q, sl_source_fn *fn, void *arg)
{
	struct sl_error err = {0};
	bool down = sl_str_is(q->text, "nothing");
	const char *json = "{\"items\":[{\"title\":\"Tea\",\"url\":\"https://tea.example\",\"text\":\"is hot\"}]}";
	struct sl_bytes *b = down ? NULL : sl_bytes_new(json, strlen(json));
	*(struct sl_source_query *)ctx = *q;
	fn(arg, down ? sl_fail(&err, SL_TIMEOUT, "the web took too long") : SL_OK, &err, b);
	sl_bytes_unref(b);
	return SL_OK;
}

static void the_web_is_searched_where_there_is_a_provider(void **state)
{
	struct world *w = *state;
	struct sl_source_query asked = {.max_results = 0};
	const struct sl_sources sources = {.web = {web_answers, &asked}};
	world_services(w)->sources = &sources;
	struct sl_run_id id = world_submit(
		w,
		with("['web_search']", "",
		     "[{'calls':[{'name':'web_search','arguments':{'query':'tea'}}]},{'calls':[{'name':'web_search',"
		     "'arguments':{'query':'nothing','max_results':9}}]},{'text':'ok'}]"),
		"{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(sl_json_get_z(log_entry(w, id, 0), "result"),
			    "{\"items\":[{\"title\":\"Tea\",\"url\":\"https://tea.example\",\"text\":\"is hot\"}]}");
	assert_string_equal(heard(w, id), "error: timeout: the web took too long");
	assert_int_equal(asked.max_results, 9);
	assert_int_equal(asked.timeout_ms, SL_SOURCE_TIMEOUT_MS);
	world_services(w)->sources = NULL;
}

static void retries_are_the_model_s_and_failures_the_node_s(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(w,
					   with("['calculate']", ",'retry':{'max':3,'backoff_ms':10}",
						"[{'calls':[{'name':'calculate','arguments':{'expression':'1'}}]},"
						"{'fail':'unavailable','fail_times':3,'text':'at last'}]"),
					   "{}");
	world_settle(w);
	world_advance(w, 10000);
	expect_status(w, id, "succeeded");
	assert_int_equal(world_calls(w, "a#1/ask"), 1);
	assert_int_equal(world_calls(w, "a#2/ask"), 4);
	id = world_submit(
		w, with("['calculate']", ",'on_error':'continue'", "[{'fail':'provider_rejected','text':''}]"), "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(sl_json_get_z(answered(w, id, "error"), "code"), "provider_rejected");
}

static void what_the_author_wrote_is_evaluated_where_it_stands(void **state)
{
	struct world *w = *state;
	static const char text[] =
		"{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"l\",\"type\":\"loop\",\"params\":{\"max_rounds\":2,"
		"\"body\":{\"nodes\":[{\"id\":\"a\",\"type\":\"llm\",\"params\":{\"agent\":\"script\",\"tools\":["
		"\"calculate\"],\"system\":\"round {{ loop.index }}\",\"prompt\":\"[{\\\"calls\\\":[{\\\"name\\\":"
		"\\\"calculate\\\",\\\"arguments\\\":{\\\"expression\\\":\\\"{{ loop.index }} + "
		"1\\\"}}]},{\\\"text\\\":"
		"\\\"ok\\\"}]\"}}]}}}],\"outputs\":{\"v\":\"{{ nodes.l.last.a }}\"}}";
	struct sl_run_id id = world_submit(w, text, "{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(answered(w, id, "system")), "\"round 2\"");
	assert_string_equal(heard(w, id), "{\"value\":3}");
	assert_string_equal(world_node_status(w, id, "l#2/a#1/tools#1/call"), "completed");
}

static void orders_reach_what_a_tool_has_begun(void **state)
{
	struct world *w = *state;
	static const char turns[] = "[{'calls':[{'name':'workflow_stuck','arguments':{}}]},{'text':'on it went'}]";
	struct sl_run_id id = world_submit(w, with("['workflow:stuck']", "", turns), "{}");
	world_settle(w);
	struct sl_run_id child = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_PAUSE_NOW), SL_OK);
	expect_status(w, id, "paused");
	expect_status(w, child, "paused");
	assert_int_equal(world_command(w, id, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	world_release(w, "x");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(text_of(answered(w, id, "text")), "\"on it went\"");
	assert_int_equal(told(w, id, "tool_execution", NULL), 1);
	assert_int_equal(world_calls(w, "a#1/ask"), 1);
	id = world_submit(w, with("['workflow:stuck']", "", turns), "{}");
	world_settle(w);
	child = world_child(w, id);
	assert_int_equal(world_command(w, id, SL_CMD_CANCEL), SL_OK);
	world_settle(w);
	expect_status(w, id, "cancelled");
	expect_status(w, child, "cancelled");
}

/* Kills the server after every commit: each result is written once, nothing that is written is done again, and a tool
 * begins only when what led to it is written. */
static void a_crash_anywhere_repeats_nothing_that_is_written(void **state)
{
	struct world *w = *state;
	static const char turns[] = "[{'calls':[{'name':'calculate','arguments':{'expression':'1+1'}},{'name':'"
				    "workflow_twice','arguments':{'n':"
				    "4}}]},{'calls':[{'name':'workflow_twice','arguments':{'n':5}}]},{'text':'end'}]";
	static const char *const paths[] = {"a#1/ask", "a#1/tools#1/call", "a#1/tools#2/call",
					    "a#2/ask", "a#2/tools#1/call", "a#3/ask"};
	unsigned points = 0;
	for (unsigned commits = 0; commits < 60; commits++) {
		unsigned before[SL_COUNT_OF(paths)], at_crash[SL_COUNT_OF(paths)], done = 0;
		bool was_done[SL_COUNT_OF(paths)];
		for (size_t i = 0; i < SL_COUNT_OF(paths); i++)
			before[i] = world_calls(w, paths[i]);
		world_auto_commit(w, false);
		struct sl_run_id id = world_submit(w, with("['calculate','workflow:twice']", "", turns), "{}");
		while (done < commits && (world_settle(w), world_commit_one(w)))
			done++;
		world_settle(w);
		for (size_t i = 0; i < SL_COUNT_OF(paths); i++) {
			at_crash[i] = world_calls(w, paths[i]) - before[i];
			was_done[i] = done && world_count(w, id, paths[i], "completed") == 1;
		}
		/* what was asked for is written before it is run */
		if (at_crash[1] || at_crash[2])
			assert_true(was_done[0]);
		if (at_crash[4])
			assert_true(was_done[3]);
		bool over = done < commits;
		points += !over;
		world_auto_commit(w, true);
		world_crash(w);
		world_settle(w);
		if (done == 0)
			continue; /* it was never acknowledged */
		world_advance(w, 5000);
		expect_status(w, id, "succeeded");
		assert_string_equal(text_of(answered(w, id, "text")), "\"end\"");
		assert_string_equal(heard(w, id), "{\"twice\":10}");
		assert_int_equal(json_object_array_length(answered(w, id, "tool_log")), 3);
		assert_int_equal(told(w, id, "tool_execution", NULL), 3);
		assert_int_equal(told(w, id, "token_usage", NULL), 3);
		for (size_t i = 0; i < SL_COUNT_OF(paths); i++) {
			unsigned all = world_calls(w, paths[i]) - before[i];
			assert_int_equal(world_count(w, id, paths[i], "completed"), 1);
			if (was_done[i])
				assert_int_equal(all, at_crash[i]);
			assert_in_range(all, 1, 2);
		}
		if (over)
			break;
	}
	assert_in_range(points, 10, 59); /* it did end, and there were some */
}

static void a_model_keeps_texts_as_files_of_the_run(void **state)
{
	struct world *w = *state;
	SL_AUTO_JSON event = NULL;
	struct sl_run_id id = world_submit(
		w,
		with("['write_file','read_file']", "",
		     "[{'text':'','calls':[{'name':'write_file','arguments':{'path':'plan.md','content':'step one'}},"
		     "{'name':'write_file','arguments':{'path':'../plan.md','content':'out of here'}}]},"
		     "{'text':'','calls':[{'name':'read_file','arguments':{'path':'plan.md'}}]},{'text':'done'}]"),
		"{}");
	world_settle(w);
	expect_status(w, id, "succeeded");
	assert_string_equal(heard(w, id), "{\"path\":\"plan.md\",\"version\":1,\"content\":\"step one\"}");
	assert_true(sl_json_get_bool(log_entry(w, id, 0), "ok", false));
	assert_false(sl_json_get_bool(log_entry(w, id, 1), "ok", true));
	assert_int_equal(told(w, id, "file:written", &event), 1);
	assert_string_equal(sl_json_get_z(event, "content"), "step one");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_model_is_asked_again_with_what_its_tools_said),
		T(a_model_keeps_texts_as_files_of_the_run),
		T(without_tools_of_the_server_it_is_one_call),
		T(functions_of_the_workflow_are_left_to_it),
		T(it_may_not_go_on_for_ever),
		T(what_is_wrong_with_a_call_the_model_is_told),
		T(arguments_have_a_limit_and_the_model_is_told),
		T(a_tool_that_takes_too_long_has_failed),
		T(the_calls_of_a_turn_run_beside_each_other_up_to_a_cap),
		T(a_workflow_is_a_tool_with_its_inputs_for_arguments),
		T(an_agent_s_switches_say_what_is_offered_and_run),
		T(what_is_too_much_is_cut_and_said_to_be),
		T(a_conversation_has_room_for_so_much_and_no_more),
		T(what_cannot_be_used_is_said_before_a_model_is_asked),
		T(sums_are_computed_and_nothing_else_is_run),
		T(attempts_of_a_tool_are_told_one_by_one),
		T(the_web_is_searched_where_there_is_a_provider),
		T(retries_are_the_model_s_and_failures_the_node_s),
		T(what_the_author_wrote_is_evaluated_where_it_stands),
		T(orders_reach_what_a_tool_has_begun),
		T(a_crash_anywhere_repeats_nothing_that_is_written),
	};
	return cmocka_run_group_tests(tests, library, NULL);
}
