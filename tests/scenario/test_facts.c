/* Claims looked up in a run: sources that answer, fail, are slow or are not there, with and without a model. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "llm/services.h"
#include "llm/sources.h"
#include "tests/lib/scenario.h"

/* A source of the test's own. */
struct asked {
	sl_source_fn *fn;
	void *arg;
	char text[300];
};

static struct shelf {
	const char *items; /* what it answers */
	enum sl_code rc;
	bool slow; /* answers when the test says so */
	unsigned calls;
	struct asked waiting[16];
	unsigned n_waiting;
	char last[300];
} memory, web;

static struct sl_sources sources;

static void answer(const struct shelf *f, sl_source_fn *fn, void *arg)
{
	struct sl_error err = {0};
	SL_AUTO(sl_bytes) json = sl_bytes_new(f->items, strlen(f->items));
	if (f->rc == SL_OK)
		fn(arg, SL_OK, &err, json);
	else
		fn(arg, sl_fail(&err, f->rc, "the shelf fell"), &err, NULL);
}

static enum sl_code shelf_search(void *ctx, const struct sl_source_query *q, sl_source_fn *fn, void *arg)
{
	struct shelf *f = ctx;
	f->calls++;
	assert_int_equal(q->timeout_ms, 5000);
	assert_int_equal(q->max_results, 3);
	(void)snprintf(f->last, sizeof(f->last), SL_STR_FMT, SL_STR_ARG(q->text));
	if (f->slow)
		f->waiting[f->n_waiting++ % 16] = (struct asked){fn, arg, ""};
	else
		answer(f, fn, arg);
	return SL_OK;
}

static void give(struct shelf *f)
{
	while (f->n_waiting) {
		struct asked a = f->waiting[--f->n_waiting];
		answer(f, a.fn, a.arg);
	}
}

static int setup(void **state)
{
	sl_expect_aborts = true;
	memory = (struct shelf){
		.items = "{\"items\":[{\"id\":\"m1\",\"verified\":true,\"text\":\"In 1998 the company Leaf sold "
			 "4,200,000 boxes of tea.\"}]}"};
	web = (struct shelf){
		.items = "{\"items\":[{\"url\":\"https://a.example\",\"title\":\"A\",\"text\":\"Leaf grew by 12 "
			 "percent in 2001, says its annual report.\"}]}"};
	sources = (struct sl_sources){{shelf_search, &memory}, {shelf_search, &web}};
	struct world *w = world_new(5);
	world_services(w)->sources = &sources;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	give(&memory);
	give(&web);
	world_free(*state);
	return 0;
}

static struct sl_run_id check(struct world *w, const char *content, const char *params)
{
	struct sl_run_id id = world_submit(w,
					   q("{'sluice':1,'nodes':[{'id':'f','type':'fact_check','params':{'content':'%"
					     "s'%s}}],'outputs':{'all':'{{ "
					     "nodes.f }}'}}",
					     content, params),
					   "{}");
	world_settle(w);
	return id;
}

static struct json_object *result(struct world *w, struct sl_run_id id)
{
	expect_status(w, id, "succeeded");
	return output(w, id, "all");
}

static struct json_object *claim(struct json_object *all, size_t i)
{
	return json_object_array_get_idx(sl_json_get(all, "claims"), i);
}

/* "checking memory|checking web|result true|…" */
static const char *told(struct world *w, struct sl_run_id id)
{
	static char text[2000];
	const struct sl_record *r;
	size_t at = 0;
	text[0] = 0;
	for (size_t i = 0, n = world_records(w, id, &r); i < n; i++) {
		SL_AUTO_JSON o = NULL;
		if (strncmp(r[i].event, "factcheck:", 10) != 0)
			continue;
		assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
		assert_string_equal(sl_json_get_z(o, "node_id"), "f");
		const char *source = sl_json_get_z(o, "source");
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s %s", at ? "|" : "", r[i].event + 10,
				       source                                   ? source
				       : sl_json_get_bool(o, "verified", false) ? "true"
										: "false");
	}
	return text;
}

#define LEAF "In 1998 Leaf sold 4.2 million boxes of tea."
#define GREW "Leaf grew by 12 % in 2001."
#define MOON "The moon weighs 7 % more than in 1990."

static void a_claim_that_stands_somewhere_is_verified(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = check(w, LEAF " It was fun. " MOON, "");
	struct json_object *all = result(w, id), *c = claim(all, 0), *from;
	assert_string_equal(told(w, id), "checking memory|result true|checking memory|result false");
	assert_false(sl_json_get_bool(all, "verified", true));
	assert_string_equal(sl_json_get_z(all, "text"), "1 of 2 claims verified");
	assert_int_equal(sl_json_get_i64(all, "queries", 0), 2);
	assert_null(sl_json_get(all, "degraded"));
	assert_string_equal(sl_json_get_z(c, "text"), LEAF);
	assert_string_equal(sl_json_get_z(c, "kind"), "year");
	assert_true(sl_json_get_bool(c, "verified", false));
	assert_true(sl_json_get_f64(c, "confidence", 0) >= 0.7);
	from = json_object_array_get_idx(sl_json_get(c, "sources"), 0);
	assert_string_equal(sl_json_get_z(from, "source"), "memory");
	assert_string_equal(sl_json_get_z(from, "id"), "m1");
	assert_true(sl_json_get_bool(from, "verified", false));
	assert_non_null(strstr(sl_json_get_z(from, "excerpt"), "4,200,000"));
	assert_null(sl_json_get(from, "passage"));
	c = claim(all, 1);
	assert_string_equal(sl_json_get_z(c, "verdict"), "unknown");
	assert_string_equal(sl_json_get_z(c, "reason"), "what was found does not bear it out");
	assert_string_equal(memory.last, MOON);
}

static void each_claim_is_looked_up_in_every_source(void **state)
{
	struct world *w = *state;
	struct sl_run_id id =
		check(w, LEAF " " GREW, ",'sources':['memory','web'],'max_queries':10,'verify_threshold':0.5");
	struct json_object *all = result(w, id);
	assert_string_equal(told(w, id),
			    "checking memory|checking web|result true|checking memory|checking web|result true");
	assert_true(sl_json_get_bool(all, "verified", false));
	assert_int_equal(json_object_array_length(sl_json_get(claim(all, 1), "sources")), 2);
}

static void what_claims_nothing_needs_no_query(void **state)
{
	struct world *w = *state;
	struct json_object *all = result(w, check(w, "Good morning. How are you?", ""));
	assert_true(sl_json_get_bool(all, "verified", false));
	assert_string_equal(sl_json_get_z(all, "text"), "no claims found");
	assert_int_equal(memory.calls, 0);
}

static void a_source_that_is_not_there_verifies_nothing(void **state)
{
	struct world *w = *state;
	sources.web.search = NULL;
	struct sl_run_id id = check(w, GREW, ",'sources':['web']");
	struct json_object *all = result(w, id), *c = claim(all, 0);
	assert_string_equal(told(w, id), "result false"); /* nothing is said to be looked up */
	assert_false(sl_json_get_bool(all, "verified", true));
	assert_int_equal(sl_json_get_i64(all, "queries", -1), 0);
	assert_string_equal(sl_json_get_z(all, "degraded"), "web: this server has no search provider");
	assert_string_equal(sl_json_get_z(c, "reason"), "no web search provider is configured");
	assert_true(sl_json_get_f64(c, "confidence", 1) == 0);
	world_services(w)->sources = NULL;
	all = result(w, check(w, GREW, ""));
	assert_string_equal(sl_json_get_z(claim(all, 0), "reason"), "this server has no memory");
}

static void a_source_that_fails_is_done_without(void **state)
{
	struct world *w = *state;
	web.rc = SL_TIMEOUT;
	struct sl_run_id id = check(w, LEAF " " MOON, ",'sources':['web','memory'],'max_queries':10");
	struct json_object *all = result(w, id);
	assert_true(sl_json_get_bool(claim(all, 0), "verified", false)); /* memory had it */
	assert_null(sl_json_get(claim(all, 0), "reason"));
	assert_string_equal(sl_json_get_z(claim(all, 1), "reason"), "a source could not be asked");
	assert_string_equal(sl_json_get_z(all, "degraded"), "web: timeout");
}

static void queries_are_limited_in_a_node_and_in_a_run(void **state)
{
	struct world *w = *state;
	char many[2000] = "";
	for (int i = 0; i < 8; i++)
		(void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "Item %c costs $%d. ", 'a' + i, i + 1);
	struct json_object *all = result(w, check(w, many, ""));
	assert_int_equal(memory.calls, 3);
	assert_int_equal(sl_json_get_i64(all, "count", 0), 8);
	assert_string_equal(sl_json_get_z(claim(all, 3), "reason"), "not looked up: max_queries is used up");
	memory.calls = 0;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'nodes':[{'id':'a','type':'fact_check','params':{'content':'%s','max_queries':8}},{'id':"
		  "'b','type':"
		  "'fact_check','params':{'content':'%s','max_queries':8}}],'edges':[{'from':'a','to':'b'}],"
		  "'outputs':{'all':'{{ nodes.b }}'}}",
		  many, many),
		"{}");
	world_settle(w);
	all = result(w, id);
	assert_int_equal(memory.calls, 10);
	assert_int_equal(sl_json_get_i64(all, "queries", 0), 2);
	assert_string_equal(sl_json_get_z(claim(all, 2), "reason"), "not looked up: the run has made all its queries");
	assert_string_equal(sl_json_get_z(all, "degraded"), "the run has no more queries");
}

static struct sl_run_id modelled(struct world *w, const char *verdict, const char *more)
{
	char params[1000], agent[600];
	(void)snprintf(agent, sizeof(agent),
		       "{\\'claims\\':[{\\'text\\':\\'Leaf is "
		       "big.\\',\\'kind\\':\\'odd\\'}],\\'verdict\\':\\'%s\\',\\'confidence\\':0.95,"
		       "\\'reason\\':\\'It says so.\\'}",
		       verdict);
	(void)snprintf(params, sizeof(params), ",'agent':'%sjson %s'%s", strcmp(more, "hold") == 0 ? "hold " : "",
		       agent, strcmp(more, "hold") == 0 ? "" : more);
	return check(w, "Leaf is rather big, they say.", params);
}

static void a_model_finds_claims_and_judges_them(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = modelled(w, "supported", "");
	struct json_object *all = result(w, id), *c = claim(all, 0);
	assert_string_equal(sl_json_get_z(c, "text"), "Leaf is big.");
	assert_string_equal(sl_json_get_z(c, "kind"), "statement");
	assert_true(sl_json_get_bool(c, "verified", false));
	assert_string_equal(sl_json_get_z(c, "reason"), "It says so.");
	assert_int_equal(world_calls(w, "f#1/extract"), 1);
	assert_int_equal(world_calls(w, "f#1/judge"), 0);
	assert_int_equal(world_calls(w, "f#2/judge"), 1);
	assert_int_equal(world_calls(w, "f#2/extract"), 0);
	assert_string_equal(told(w, id), "checking memory|result true");
	all = result(w, modelled(w, "contradicted", ""));
	assert_false(sl_json_get_bool(all, "verified", true));
	assert_string_equal(sl_json_get_z(claim(all, 0), "verdict"), "contradicted");
	all = result(w, modelled(w, "supported", ",'verify_threshold':0.99"));
	assert_false(sl_json_get_bool(all, "verified", true));
	memory.items = "{\"items\":[]}"; /* nothing to judge by: the model is not asked to guess */
	all = result(w, modelled(w, "supported", ""));
	assert_false(sl_json_get_bool(all, "verified", true));
	assert_string_equal(sl_json_get_z(claim(all, 0), "reason"), "nothing was found");
	assert_int_equal(world_calls(w, "f#2/judge"), 3);
}

static void without_its_model_rules_do(void **state)
{
	struct world *w = *state;
	struct json_object *all = result(w, check(w, LEAF, ",'agent':'bad one'"));
	assert_true(sl_json_get_bool(all, "verified", false));
	assert_non_null(strstr(sl_json_get_z(all, "degraded"), "extract: provider_rejected"));
	assert_non_null(strstr(sl_json_get_z(all, "degraded"), "judge: provider_rejected"));
	all = result(w, check(w, LEAF, ",'agent':'yes'")); /* JSON, and not what was asked for */
	assert_true(sl_json_get_bool(all, "verified", false));
}

/* Killed after each commit there is, again and again. */
static void what_was_told_and_asked_is_not_told_and_asked_again(void **state)
{
	struct world *w = *state;
	for (unsigned model = 0; model < 2; model++) {
		for (unsigned commits = 0; commits < 14; commits++) {
			memory.calls = 0;
			world_auto_commit(w, false);
			struct sl_run_id id = model ? modelled(w, "supported", "") : check(w, LEAF " " MOON, "");
			for (unsigned i = 0; i < commits && world_commit_one(w); i++)
				world_settle(w);
			world_auto_commit(w, true);
			world_crash(w);
			world_settle(w);
			result(w, id);
			assert_string_equal(told(w, id),
					    model ? "checking memory|result true"
						  : "checking memory|result true|checking memory|result false");
		}
	}
}

static void what_was_found_is_in_the_journal_while_a_model_judges(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = modelled(w, "supported", "hold");
	assert_true(world_is_held(w, "f#1/extract"));
	world_release(w, "f#1/extract");
	world_settle(w);
	assert_true(world_is_held(w, "f#2/judge"));
	assert_int_equal(memory.calls, 1);
	memory.items = "{\"items\":[]}"; /* it would not be found again */
	world_crash(w);
	world_settle(w);
	assert_true(world_is_held(w, "f#2/judge"));
	assert_int_equal(memory.calls, 1);
	world_release(w, "f#2/judge");
	world_settle(w);
	struct json_object *all = result(w, id);
	assert_true(sl_json_get_bool(all, "verified", false));
	assert_int_equal(sl_json_get_i64(all, "queries", 0), 1);
	assert_int_equal(json_object_array_length(sl_json_get(claim(all, 0), "sources")), 1);
	assert_int_equal(world_calls(w, "f#1/extract"), 1);
	assert_string_equal(told(w, id), "checking memory|result true");
}

static void it_can_be_called_off_while_it_looks(void **state)
{
	struct world *w = *state;
	memory.slow = true;
	struct sl_run_id cancelled = check(w, LEAF, ""), paused = check(w, LEAF, "");
	assert_int_equal(world_command(w, cancelled, SL_CMD_CANCEL), SL_OK);
	assert_int_equal(world_command(w, paused, SL_CMD_PAUSE_NOW), SL_OK);
	give(&memory); /* finds nobody */
	world_settle(w);
	assert_string_equal(world_status(w, cancelled), "cancelled");
	assert_string_equal(told(w, paused), "checking memory");
	memory.slow = false;
	assert_int_equal(world_command(w, paused, SL_CMD_RESUME), SL_OK);
	world_settle(w);
	assert_true(sl_json_get_bool(result(w, paused), "verified", false));
	assert_string_equal(told(w, paused), "checking memory|result true");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_claim_that_stands_somewhere_is_verified),
		T(each_claim_is_looked_up_in_every_source),
		T(what_claims_nothing_needs_no_query),
		T(a_source_that_is_not_there_verifies_nothing),
		T(a_source_that_fails_is_done_without),
		T(queries_are_limited_in_a_node_and_in_a_run),
		T(a_model_finds_claims_and_judges_them),
		T(without_its_model_rules_do),
		T(what_was_told_and_asked_is_not_told_and_asked_again),
		T(what_was_found_is_in_the_journal_while_a_model_judges),
		T(it_can_be_called_off_while_it_looks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
