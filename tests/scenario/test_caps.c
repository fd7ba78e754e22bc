/* What a run may grow to: each cap of base/limits.h that the engine holds is reached, and what happens there is what is
 * said there. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "base/limits.h"
#include "tests/lib/scenario.h"

/* The run failed, and its error says so. */
static void expect_failed(struct world *w, struct sl_run_id id, const char *words)
{
	struct json_object *run = world_run(w, id), *error = sl_json_get(run, "error");
	const char *message = sl_json_get_z(error, "message"), *code = sl_json_get_z(error, "code");
	if (!sl_str_is(sl_json_get_str(run, "status"), "failed") || !code || !message ||
	    strcmp(code, "limit_exceeded") != 0 || !strstr(message, words))
		fail_msg("%s", text_of(run));
}

/* { "list": [1 … n] } */
static void numbers(struct sl_buf *b, unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		sl_buf_addf(b, "%s%u", i > 1 ? "," : "{\"list\":[", i);
	sl_buf_adds(b, "]}");
}

static const char *map_of(const char *params, const char *nodes)
{
	return q("{'sluice':1,'name':'x','limits':{'breaker':false},'inputs':{'type':'object'},'nodes':[{'id':'each',"
		 "'type':'map','params':{'items':'{{ input.list }}',%s,'body':{'nodes':[%s]}}}]}",
		 params, nodes);
}

static void a_run_with_too_many_events_fails_and_is_over(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 1u << 20);
	numbers(&list, SL_LIMIT_BODIES);
	SL_BUF(body, 4096);
	for (char c = 'a'; c <= 'f'; c++) /* each an event for each item */
		sl_buf_addf(&body, "%s{'id':'%c','type':'transform','params':{'expr':'1'}}", c > 'a' ? "," : "", c);
	struct sl_run_id id = world_submit(w, map_of("'concurrency':20", body.data), list.data);
	world_settle(w);
	expect_failed(w, id, "more events than one run may have");
	const struct sl_record *r;
	size_t n = world_records(w, id, &r);
	assert_in_range(n, SL_LIMIT_RUN_EVENTS, SL_LIMIT_RUN_EVENTS + 200); /* what was at work is told as cancelled */
	assert_string_equal(r[n - 1].event, "execution:failed");
	world_crash(w); /* and a journal of that length is read again */
	world_settle(w);
	expect_failed(w, id, "more events than one run may have");
}

static void a_run_with_too_many_bytes_fails_and_is_over(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 1u << 20);
	numbers(&list, 40);
	struct sl_run_id id = world_submit(
		w,
		map_of("'concurrency':1", "{'id':'big','type':'transform','params':{'code':'local s = "
					  "string.rep([[x]], 2000000) return { s = s, "
					  "n = item }'}},{'id':'small','type':'transform','params':{'expr':'1'}}"),
		list.data);
	world_settle(w);
	expect_failed(w, id, "more bytes in its journal than one run may have");
	const struct sl_record *r;
	size_t n = world_records(w, id, &r), bytes = 0;
	for (size_t i = 0; i < n; i++)
		bytes += sl_bytes_str(r[i].data).len + sl_bytes_str(r[i].detail).len;
	/* the last one that was let in may reach beyond it */
	assert_in_range(bytes, SL_LIMIT_RUN_BYTES, SL_LIMIT_RUN_BYTES + SL_LIMIT_PAYLOAD_BYTES + (64 << 10));
}

static void an_output_that_is_too_large_fails_its_node(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 4096);
	static const struct {
		unsigned n;
		const char *status;
	} rows[] = {{SL_LIMIT_PAYLOAD_BYTES - 100, "succeeded"}, {SL_LIMIT_PAYLOAD_BYTES + 1, "failed"}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_run_id id = world_submit(w,
						   q("{'sluice':1,'name':'x','nodes':[{'id':'big','type':'transform','"
						     "params':{'code':'return { s = "
						     "string.rep([[x]], %u) }'}}]}",
						     rows[i].n),
						   "{}");
		world_settle(w);
		assert_string_equal(world_status(w, id), rows[i].status);
		if (i == 1)
			expect_failed(w, id, "the output of 'big' is larger than 2097152 bytes");
	}
	/* and one that gathers many, when together they are too many */
	numbers(&list, 9);
	struct sl_run_id id =
		world_submit(w,
			     map_of("'concurrency':1", "{'id':'big','type':'transform','params':{'code':'return { "
						       "s = string.rep([[x]], 2000000) }'}}"),
			     list.data);
	world_settle(w);
	expect_failed(w, id, "the output of 'each' is larger than 16777216 bytes");
}

static void never(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	fail();
}

static void inputs_that_are_too_large_are_refused(void **state)
{
	SL_BUF(in, 4u << 20);
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	const char *definition = q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':[{'id':'a','type':'fake',"
				   "'params':{'answer':1}}]}");
	struct sl_run_head *head = sl_run_head_new();
	sl_buf_adds(&in, "{\"s\":\"");
	while (in.len < SL_LIMIT_PAYLOAD_BYTES)
		sl_buf_adds(&in, "xxxxxxxxxxxxxxxx");
	sl_buf_adds(&in, "\"}");
	head->definition = sl_bytes_new(definition, strlen(definition));
	head->inputs = sl_buf_bytes(&in);
	assert_int_equal(sl_engine_submit(world_engine(*state), head, &problems, never, NULL, &err), SL_TOO_LARGE);
	sl_problems_fini(&problems);
}

/* Three maps that would have 3,000 nodes in flight. */
static void further_nodes_wait_while_so_many_are_in_flight(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 64u << 10);
	SL_BUF(definition, 64u << 10);
	numbers(&list, 1000);
	sl_buf_adds(&definition, q("{'sluice':1,'name':'x','inputs':{'type':'object'},'nodes':["));
	for (int i = 1; i <= 3; i++)
		sl_buf_adds(
			&definition,
			q("%s{'id':'m%d','type':'map','params':{'items':'{{ input.list }}','concurrency':1000,'body':{"
			  "'nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':true}}]}}}",
			  i > 1 ? "," : "", i));
	sl_buf_adds(&definition, "]}");
	struct sl_run_id id = world_submit(w, definition.data, list.data);
	unsigned done = 0, most = 0;
	for (int round = 0; done < 3000 && round < 10; round++) {
		unsigned held = 0;
		char path[32];
		world_settle(w);
		for (unsigned pass = 0; pass < 2; pass++)
			for (unsigned m = 1; m <= 3; m++)
				for (unsigned i = 1; i <= 1000; i++) {
					(void)snprintf(path, sizeof(path), "m%u#%u/a", m, i);
					if (!world_is_held(w, path))
						continue;
					if (pass == 0)
						held++;
					else {
						world_release(w, path);
						done++;
					}
				}
		most = held > most ? held : most;
	}
	world_settle(w);
	assert_in_range(most, SL_LIMIT_PENDING_NODES - 10, SL_LIMIT_PENDING_NODES); /* the maps are in flight, too */
	assert_int_equal(done, 3000);
	assert_string_equal(world_status(w, id), "succeeded");
}

static void of_signals_nobody_takes_the_oldest_go(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'s','type':'wait_signal','params':{'signal':'go','timeout_s':100}}],'edges':[{'from':'a','to':"
		  "'s'}],"
		  "'outputs':{'v':'{{ nodes.s.payload }}'}}"),
		"{}");
	world_settle(w);
	for (int i = 1; i <= SL_LIMIT_SIGNALS + 5; i++)
		assert_int_equal(world_order(w, id, SL_CMD_SIGNAL, NULL, q("{'signal':'go','payload':%d}", i)), SL_OK);
	world_crash(w);
	world_settle(w);
	world_release(w, "a");
	world_settle(w);
	assert_string_equal(world_status(w, id), "succeeded");
	assert_int_equal(sl_json_get_i64(sl_json_get(world_run(w, id), "outputs"), "v", 0), 6);
}

static void of_what_people_say_the_oldest_go(void **state)
{
	struct world *w = *state;
	struct sl_run_id id = world_submit(
		w,
		q("{'sluice':1,'name':'x','nodes':[{'id':'a','type':'fake','params':{'answer':1,'hold':true}},"
		  "{'id':'b','type':'llm','params':{'agent':'yes'}}],'edges':[{'from':'a','to':'b'}],"
		  "'outputs':{'v':'{{ nodes.b.said[1].text }} {{ #nodes.b.said }}'}}"),
		"{}");
	world_settle(w);
	for (int i = 1; i <= SL_LIMIT_INTERJECTIONS + 3; i++)
		assert_int_equal(world_order(w, id, SL_CMD_INPUT, NULL, q("{'text':'no. %d'}", i)), SL_OK);
	world_release(w, "a");
	world_settle(w);
	assert_string_equal(sl_json_get_z(sl_json_get(world_run(w, id), "outputs"), "v"), "no. 4 50");
}

static void a_map_takes_so_many_items(void **state)
{
	struct world *w = *state;
	SL_BUF(list, 1u << 20);
	numbers(&list, SL_LIMIT_BODIES + 1);
	struct sl_run_id id = world_submit(
		w, map_of("'concurrency':20", "{'id':'a','type':'fake','params':{'answer':1}}"), list.data);
	world_settle(w);
	expect_failed(w, id, "10001 items; at most 10000");
}

static struct sl_run_head *waiting_run(void)
{
	static const char definition[] = "{\"sluice\":1,\"name\":\"x\",\"nodes\":[{\"id\":\"s\",\"type\":"
					 "\"wait_signal\",\"params\":{\"signal\":\"go\"}}]}";
	struct sl_run_head *head = sl_run_head_new();
	head->definition = sl_bytes_new(definition, strlen(definition));
	return head;
}

static void started(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	assert_int_equal(rc, SL_OK);
	++*(unsigned *)arg;
}

static void no_more_runs_are_taken_than_a_server_may_have(void **state)
{
	struct world *w = *state;
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	unsigned n = 0;
	for (unsigned i = 0; i < SL_LIMIT_ACTIVE_RUNS; i++) {
		assert_int_equal(sl_engine_submit(world_engine(w), waiting_run(), &problems, started, &n, &err), SL_OK);
		if (i % 100 == 0)
			world_settle(w);
	}
	world_settle(w);
	assert_int_equal(n, SL_LIMIT_ACTIVE_RUNS);
	assert_int_equal(sl_engine_submit(world_engine(w), waiting_run(), &problems, never, NULL, &err), SL_BUSY);
	assert_true(err.retry_after_ms > 0);
}

static void the_text_of_a_failure_is_cut(void **state)
{
	struct world *w = *state;
	SL_BUF(d, 64u << 10);
	const int n = 200; /* whose names alone are longer */
	sl_buf_adds(&d, q("{'sluice':1,'name':'x','nodes':[{'id':'j','type':'join','params':{'wait':'any'}}"));
	for (int i = 0; i < n; i++)
		sl_buf_adds(&d,
			    q(",{'id':'branch_with_a_rather_long_name_%03d','type':'fake','params':{'answer':1,'fail':"
			      "'invalid'}}",
			      i));
	sl_buf_adds(&d, q("],'edges':["));
	for (int i = 0; i < n; i++)
		sl_buf_adds(&d, q("%s{'from':'branch_with_a_rather_long_name_%03d','to':'j'}", i ? "," : "", i));
	sl_buf_adds(&d, "]}");
	struct sl_run_id id = world_submit(w, d.data, "{}");
	world_settle(w);
	struct json_object *run = world_run(w, id);
	struct sl_str message = sl_json_get_str(sl_json_get(run, "error"), "message");
	assert_string_equal(sl_json_get_z(sl_json_get(run, "error"), "code"), "join_unreachable");
	assert_in_range(message.len, SL_LIMIT_ERROR_BYTES - 64, SL_LIMIT_ERROR_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_run_with_too_many_events_fails_and_is_over),
		WORLD_TEST(a_run_with_too_many_bytes_fails_and_is_over),
		WORLD_TEST(an_output_that_is_too_large_fails_its_node),
		WORLD_TEST(inputs_that_are_too_large_are_refused),
		WORLD_TEST(further_nodes_wait_while_so_many_are_in_flight),
		WORLD_TEST(of_signals_nobody_takes_the_oldest_go),
		WORLD_TEST(of_what_people_say_the_oldest_go),
		WORLD_TEST(a_map_takes_so_many_items),
		WORLD_TEST(no_more_runs_are_taken_than_a_server_may_have),
		WORLD_TEST(the_text_of_a_failure_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
