/* Calls against the simulator: streams, faults, cancels, deadlines, many at once. Callbacks note, the body asserts. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/sim.h"

struct fixture {
	struct sl_sim *sim;
	struct sl_profiles *profiles;
	struct sl_llm *llm;
};

struct note {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned dones, deltas;
	enum sl_code rc;
	struct sl_error err;
	struct sl_buf text, thinking, tools;
	char model[64], finish[64];
	struct sl_chat_usage usage;
	uint64_t closed_us, first_token_ms, total_ms;
	int64_t cost;
	bool cost_known, simulated;
	enum sl_code refuse_with; /* what delta answers */
};

static void note_init(struct note *n)
{
	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	sl_buf_init(&n->text, 1 << 24);
	sl_buf_init(&n->thinking, 1 << 24);
	sl_buf_init(&n->tools, 1 << 24);
}

static void note_fini(struct note *n)
{
	sl_buf_fini(&n->text);
	sl_buf_fini(&n->thinking);
	sl_buf_fini(&n->tools);
}

static enum sl_code on_delta(void *ctx, enum sl_chat_kind kind, struct sl_str piece)
{
	struct note *n = ctx;
	pthread_mutex_lock(&n->lock);
	sl_buf_add(kind == SL_CHAT_TEXT ? &n->text : &n->thinking, piece.p, piece.len);
	n->deltas++;
	pthread_cond_broadcast(&n->cond);
	pthread_mutex_unlock(&n->lock);
	return n->refuse_with;
}

static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *r)
{
	struct note *n = ctx;
	pthread_mutex_lock(&n->lock);
	n->dones++;
	n->rc = rc;
	n->err = *err;
	snprintf(n->model, sizeof(n->model), "%.60s", r->model);
	snprintf(n->finish, sizeof(n->finish), "%.60s", r->finish_reason);
	sl_buf_add(&n->tools, r->tool_calls.p, r->tool_calls.len);
	if (r->text.len)
		sl_buf_add(&n->text, r->text.p, r->text.len);
	n->usage = r->usage;
	n->closed_us = r->closed_us;
	n->first_token_ms = r->first_token_ms;
	n->total_ms = r->total_ms;
	n->cost = r->cost_microusd;
	n->cost_known = r->cost_known;
	n->simulated = r->simulated;
	pthread_cond_broadcast(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

static void wait_done(struct note *n)
{
	pthread_mutex_lock(&n->lock);
	while (!n->dones)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
}

static void wait_deltas(struct note *n, unsigned want)
{
	pthread_mutex_lock(&n->lock);
	while (n->deltas < want && !n->dones)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
}

static const struct sl_chat_callbacks both = {on_delta, on_done};

static const char scenario[] =
	"{\"sim\":1,\"defaults\":{\"tps\":0,\"first_ms\":0,\"jitter\":0},\"rules\":["
	"{\"match\":{\"user\":\"weather "
	"tool\"},\"tool_calls\":[{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\",\"days\":2}},"
	"{\"name\":\"clock\",\"arguments\":{}}]},"
	"{\"match\":{\"user\":\"think first\"},\"thinking\":\"Let me see. \xe4\xbd\xa0\xe5\xa5\xbd\",\"answer\":\"Done "
	"\\\"thinking\\\"\\n\xf0\x9f\x98\x80 {gist}\"},"
	"{\"match\":{\"user\":\"twice\",\"call\":1},\"fault\":\"F8\"},"
	"{\"match\":{\"user_re\":\"^(once|twice)\"},\"answer\":[\"first\",\"second\"]},"
	"{\"match\":{\"system_re\":\"judge|verdict\"},\"json\":{\"score\":91}}"
	"]}";

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sl_error err;
	const uint8_t secret[32] = {7};
	struct sl_sim_config sim = {.scenario = {scenario, sizeof(scenario) - 1}};
	struct sl_llm_config config = {.http = {.loops = 2}};
	assert_int_equal(sl_sim_start(&sim, &f->sim, &err), SL_OK);
	assert_int_equal(sl_profiles_new(secret, &f->profiles), SL_OK);
	assert_int_equal(sl_profiles_add_sim(f->profiles, "sim", sl_sim_url(f->sim)), SL_OK);
	config.profiles = f->profiles;
	assert_int_equal(sl_llm_new(&config, &f->llm, &err), SL_OK);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	sl_llm_free(f->llm);
	sl_profiles_free(f->profiles);
	sl_sim_free(f->sim);
	free(f);
	return 0;
}

static struct sl_chat *ask(struct fixture *f, struct sl_chat_request *r, const char *user, struct note *n)
{
	struct sl_chat *call = NULL;
	struct sl_error err = {0};
	SL_BUF(m, 1 << 20);
	sl_buf_adds(&m, "[{\"role\":\"user\",\"content\":");
	sl_buf_json_str(&m, sl_str(user));
	sl_buf_adds(&m, "}]");
	r->messages = sl_buf_str(&m);
	enum sl_code rc = sl_chat_start(f->llm, r, &both, n, &call, &err);
	if (rc != SL_OK)
		print_error("start: %s\n", err.text);
	assert_int_equal(rc, SL_OK);
	return call;
}

/* The simulator hears of a closed socket a moment after we closed it: wait for the event, bounded. */
static bool sim_saw_closes(struct fixture *f, uint64_t want)
{
	uint64_t until = sl_clock_mono_ms() + 60000;
	struct sl_sim_stats st;
	do {
		sl_sim_stats(f->sim, &st);
		if (st.closed_by_client >= want)
			return true;
		sched_yield();
	} while (sl_clock_mono_ms() < until);
	return false;
}

static void a_stream_arrives_whole_with_usage_and_finish_reason(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	struct sl_chat *c = ask(f, &r, "think first, please", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_OK);
	assert_string_equal(n.text.data, "Done \"thinking\"\n\xf0\x9f\x98\x80 think first, please");
	assert_string_equal(n.thinking.data, "Let me see. \xe4\xbd\xa0\xe5\xa5\xbd");
	assert_string_equal(n.finish, "stop");
	assert_true(n.usage.known && n.usage.output_tokens > 5 && n.usage.reasoning_tokens > 0 &&
		    n.usage.input_tokens > 0);
	assert_true(n.simulated && n.cost_known && n.cost == 0);
	assert_true(n.first_token_ms > 0);
	sl_chat_unref(c);
	note_fini(&n);
}

static void a_whole_answer_is_read_too(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.mode = SL_CHAT_WHOLE;
	r.system = SL_STR("You are the judge.");
	struct sl_chat *c = ask(f, &r, "who wins?", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_OK);
	assert_string_equal(n.text.data, "{\"score\":91}");
	assert_true(n.usage.known);
	sl_chat_unref(c);
	note_fini(&n);
}

static void tool_calls_are_put_together(void **state)
{
	struct fixture *f = *state;
	for (int mode = 0; mode < 2; mode++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.mode = mode ? SL_CHAT_WHOLE : SL_CHAT_STREAM;
		struct sl_chat *c = ask(f, &r, "use the weather tool", &n);
		wait_done(&n);
		assert_int_equal(n.rc, SL_OK);
		assert_string_equal(n.finish, "tool_calls");
		SL_AUTO_JSON list = NULL;
		assert_int_equal(sl_json_parse(sl_buf_str(&n.tools), &list, NULL), SL_OK);
		assert_int_equal(json_object_array_length(list), 2);
		struct json_object *fn = sl_json_get(json_object_array_get_idx(list, 0), "function");
		assert_string_equal(sl_json_get_z(fn, "name"), "weather");
		assert_string_equal(sl_json_get_z(fn, "arguments"), "{\"city\":\"Oslo\",\"days\":2}");
		sl_chat_unref(c);
		note_fini(&n);
	}
}

static void rules_count_their_calls(void **state)
{
	struct fixture *f = *state;
	static const enum sl_code want[] = {SL_PROVIDER_ERROR, SL_OK, SL_OK};
	for (size_t i = 0; i < 3; i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		struct sl_chat *c = ask(f, &r, "twice", &n);
		wait_done(&n);
		assert_int_equal(n.rc, want[i]);
		sl_chat_unref(c);
		note_fini(&n);
	}
}

struct fault_case {
	const char *model;
	enum sl_code rc;
	uint32_t retry_low, retry_high; /* ms */
	const char *finish;
	const char *says; /* must occur in the error's text */
};

static const struct fault_case faults[] = {
	{"sim+fault=F1", SL_PROVIDER_REJECTED, 0, 0, "", "400"},
	{"sim+fault=F2", SL_PROVIDER_AUTH, 0, 0, "", "401"},
	{"sim+fault=F2,variant=403", SL_PROVIDER_AUTH, 0, 0, "", "403"},
	{"sim+fault=F3", SL_PROVIDER_MODEL, 0, 0, "", "model_not_found"},
	{"sim+fault=F4", SL_CONTEXT_TOO_LONG, 0, 0, "", "maximum context length"},
	{"sim+fault=F4,variant=413", SL_CONTEXT_TOO_LONG, 0, 0, "", "413"},
	{"sim+fault=F4,variant=422", SL_CONTEXT_TOO_LONG, 0, 0, "", "422"},
	{"sim+fault=F5,retry_ms=3000", SL_RATE_LIMITED, 3000, 3000, "", "429"},
	{"sim+fault=F6,retry_ms=1234", SL_RATE_LIMITED, 1234, 1234, "", ""},
	{"sim+fault=F6,variant=float,retry_ms=1250", SL_RATE_LIMITED, 1250, 1250, "", ""},
	{"sim+fault=F6,variant=date,retry_ms=30000", SL_RATE_LIMITED, 15000, 31000, "", ""},
	{"sim+fault=F6,variant=body,retry_ms=1500", SL_RATE_LIMITED, 1500, 1500, "", ""},
	{"sim+fault=F6,variant=reset,retry_ms=61500", SL_RATE_LIMITED, 61500, 61500, "", ""},
	{"sim+fault=F6,variant=retryinfo,retry_ms=34070", SL_RATE_LIMITED, 34070, 34070, "", ""},
	{"sim+fault=F7", SL_QUOTA_EXHAUSTED, 0, 0, "", "insufficient_quota"},
	{"sim+fault=F7,variant=spend", SL_QUOTA_EXHAUSTED, 0, 0, "", "spend_limit"},
	{"sim+fault=F8", SL_PROVIDER_ERROR, 0, 0, "", "500"},
	{"sim+fault=F8,status=504", SL_PROVIDER_ERROR, 0, 0, "", "504"},
	{"sim+fault=F9", SL_OVERLOADED, 0, 0, "", "503"},
	{"sim+fault=F9,variant=529", SL_OVERLOADED, 0, 0, "", "529"},
	{"sim+fault=F10", SL_CONNECT, 0, 0, "", ""},
	{"sim+fault=F10,variant=close", SL_CONNECT, 0, 0, "", ""},
	{"sim+fault=F11", SL_TIMEOUT, 0, 0, "", "first byte"},
	{"sim+fault=F12", SL_TIMEOUT, 0, 0, "", "silence"},
	{"sim+fault=F12,after=0", SL_TIMEOUT, 0, 0, "", "silence"},
	{"sim+fault=F13", SL_PROVIDER_ERROR, 0, 0, "", "server_error"},
	{"sim+fault=F13,variant=string", SL_PROVIDER_ERROR, 0, 0, "", "told to fail"},
	{"sim+fault=F13,variant=line", SL_PROVIDER_ERROR, 0, 0, "", "server_error"},
	{"sim+fault=F13,variant=overloaded", SL_OVERLOADED, 0, 0, "", "server_is_overloaded"},
	{"sim+fault=F13,variant=limit", SL_RATE_LIMITED, 2000, 2000, "", "rate_limit_exceeded"},
	{"sim+fault=F14", SL_TRUNCATED, 0, 0, "", ""},
	{"sim+fault=F14,variant=rst", SL_TRUNCATED, 0, 0, "", ""},
	{"sim+fault=F14,variant=no_marker", SL_TRUNCATED, 0, 0, "stop", "end marker"},
	{"sim+fault=F15", SL_OK, 0, 0, "length", ""},
	{"sim+fault=F15,variant=content_filter", SL_OK, 0, 0, "content_filter", ""},
	{"sim+fault=F15,variant=refusal,after=0", SL_OK, 0, 0, "stop", ""},
	{"sim+fault=F16", SL_MALFORMED, 0, 0, "", "event of the stream"},
	{"sim+fault=F16,variant=utf8", SL_MALFORMED, 0, 0, "", "UTF-8"},
	{"sim+fault=F16,variant=type", SL_MALFORMED, 0, 0, "", "text/plain"},
	{"sim+fault=F16,variant=html", SL_MALFORMED, 0, 0, "", "Bad gateway"},
	{"sim+fault=F16,variant=page", SL_PROVIDER_ERROR, 0, 0, "", "Bad gateway"},
};

/* What a fault needs to be seen, and no less: a busy machine may take any other deadline for its own. */
static struct sl_http_timeouts only_for(const char *model)
{
	struct sl_http_timeouts t = {.first_byte_ms = 60000, .idle_ms = 60000};
	if (strstr(model, "fault=F11"))
		t.first_byte_ms = 300; /* never answers */
	else if (strstr(model, "fault=F12"))
		t.idle_ms = 300; /* falls silent */
	return t;
}

static void each_fault_is_named_by_its_code(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < SL_COUNT_OF(faults); i++) {
		const struct fault_case *k = &faults[i];
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = sl_str(k->model);
		r.timeouts = only_for(k->model);
		struct sl_chat *c = ask(f, &r, "a question that gets the simulator's own words", &n);
		wait_done(&n);
		if (n.rc != k->rc || n.err.retry_after_ms < k->retry_low || n.err.retry_after_ms > k->retry_high ||
		    strcmp(n.finish, k->finish) != 0 || !strstr(n.err.text, k->says))
			print_error("%s: %s, retry %u, finish '%s', %s\n", k->model, sl_code_wire(n.rc),
				    n.err.retry_after_ms, n.finish, n.err.text);
		assert_int_equal(n.rc, k->rc);
		assert_in_range(n.err.retry_after_ms, k->retry_low, k->retry_high);
		assert_string_equal(n.finish, k->finish);
		assert_non_null(strstr(n.err.text, k->says));
		assert_int_equal(n.dones, 1);
		sl_chat_unref(c);
		note_fini(&n);
	}
}

static void whole_answers_fail_as_clearly(void **state)
{
	static const struct {
		const char *model;
		enum sl_code rc;
	} cases[] = {
		{"sim+fault=F12", SL_TIMEOUT},   {"sim+fault=F13", SL_PROVIDER_ERROR},
		{"sim+fault=F14", SL_TRUNCATED}, {"sim+fault=F14,variant=rst", SL_TRUNCATED},
		{"sim+fault=F16", SL_MALFORMED}, {"sim+fault=F16,variant=utf8", SL_MALFORMED},
		{"sim+fault=F15", SL_OK},
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.mode = SL_CHAT_WHOLE;
		r.model = sl_str(cases[i].model);
		r.timeouts = only_for(cases[i].model);
		struct sl_chat *c = ask(f, &r, "whole", &n);
		wait_done(&n);
		if (n.rc != cases[i].rc)
			print_error("%s: %s %s\n", cases[i].model, sl_code_wire(n.rc), n.err.text);
		assert_int_equal(n.rc, cases[i].rc);
		sl_chat_unref(c);
		note_fini(&n);
	}
}

static void cancel_closes_the_providers_socket_at_once(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 1; i <= 20; i++) {
		struct note n;
		struct sl_sim_stats st;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = SL_STR("sim+tps=200,tokens=100000");
		struct sl_chat *c = ask(f, &r, "go on for ever", &n);
		wait_deltas(&n, 3);
		uint64_t cancelled = sl_clock_mono_us();
		sl_chat_cancel(c);
		sl_chat_cancel(c);
		wait_done(&n);
		assert_int_equal(n.rc, SL_CANCELLED);
		assert_int_equal(n.dones, 1);
		assert_true(n.closed_us > 0 && n.closed_us < 30000000);
		assert_true(sim_saw_closes(f, i));
		sl_sim_stats(f->sim, &st);
		assert_true(st.last_closed_us >= cancelled);
		/* 50 ms on an idle machine, which this one is not: how long it takes is looked at where it is measured;
		 * here that nobody waits for the end of the stream, which is minutes away */
		assert_true(st.last_closed_us - cancelled < 30000000);
		sl_chat_unref(c);
		note_fini(&n);
	}
}

static void a_cancel_before_the_first_token_ends_the_call_too(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 50; i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = SL_STR("sim+fault=F11");
		struct sl_chat *c = ask(f, &r, "nobody answers", &n);
		sl_chat_cancel(c);
		sl_chat_unref(c);
		wait_done(&n);
		assert_int_equal(n.rc, SL_CANCELLED);
		note_fini(&n);
	}
}

static void a_cancel_after_the_end_is_harmless(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	struct sl_chat *c = ask(f, &r, "once", &n);
	wait_done(&n);
	sl_chat_cancel(c);
	assert_int_equal(n.dones, 1);
	assert_int_equal(n.rc, SL_OK);
	sl_llm_stop(f->llm);
	sl_chat_cancel(c);
	sl_chat_unref(c);
	struct sl_error err;
	r.messages = SL_STR("[{\"role\":\"user\",\"content\":\"once\"}]");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_DRAINING);
	note_fini(&n);
}

static void stopping_ends_every_call_once(void **state)
{
	struct fixture *f = *state;
	struct note n[40];
	struct sl_chat *c[40];
	for (int i = 0; i < 40; i++) {
		note_init(&n[i]);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = SL_STR("sim+tps=50,tokens=100000");
		c[i] = ask(f, &r, "still talking", &n[i]);
	}
	wait_deltas(&n[0], 1);
	sl_llm_stop(f->llm);
	for (int i = 0; i < 40; i++) {
		assert_int_equal(n[i].dones, 1);
		assert_int_equal(n[i].rc, SL_CANCELLED);
		sl_chat_unref(c[i]);
		note_fini(&n[i]);
	}
}

static void each_deadline_is_its_own(void **state)
{
	static const struct {
		const char *model;
		struct sl_http_timeouts t;
		const char *says;
	} cases[] = {
		{"sim+first_ms=60000", {.first_byte_ms = 0, .total_ms = 250}, "not finished"},
		{"sim+fault=F11", {.first_byte_ms = 200, .total_ms = 30000}, "first byte"},
		{"sim+fault=F12", {.first_byte_ms = 20000, .idle_ms = 200}, "silence"},
		{"sim+tps=100,tokens=100000", {.idle_ms = 5000, .total_ms = 300}, "not finished"},
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = sl_str(cases[i].model);
		r.timeouts = cases[i].t;
		struct sl_chat *c = ask(f, &r, "slow", &n);
		wait_done(&n);
		assert_int_equal(n.rc, SL_TIMEOUT);
		if (!strstr(n.err.text, cases[i].says))
			print_error("%s: %s\n", cases[i].model, n.err.text);
		assert_non_null(strstr(n.err.text, cases[i].says));
		sl_chat_unref(c);
		note_fini(&n);
	}
}

static void nobody_there_is_a_connect_failure(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	sl_sim_stop(f->sim);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	struct sl_chat *c = ask(f, &r, "hello?", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_CONNECT);
	sl_chat_unref(c);
	note_fini(&n);
}

static void a_full_taker_ends_the_call_with_its_own_code(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	n.refuse_with = SL_TOO_LARGE;
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.model = SL_STR("sim+tps=500,tokens=100000");
	struct sl_chat *c = ask(f, &r, "too much", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_TOO_LARGE);
	assert_true(sim_saw_closes(f, 1));
	sl_chat_unref(c);
	note_fini(&n);
}

static void without_a_delta_callback_the_result_holds_the_text(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	static const struct sl_chat_callbacks only_done = {NULL, on_done};
	struct sl_chat_request r = SL_CHAT_REQUEST;
	struct sl_chat *c;
	struct sl_error err;
	r.messages = SL_STR("[{\"role\":\"user\",\"content\":\"once\"}]");
	assert_int_equal(sl_chat_start(f->llm, &r, &only_done, &n, &c, &err), SL_OK);
	wait_done(&n);
	assert_int_equal(n.rc, SL_OK);
	assert_string_equal(n.text.data, "first");
	sl_chat_unref(c);
	note_fini(&n);
}

static void five_hundred_streams_at_once_all_arrive_whole(void **state)
{
	enum { N = 500 };
	struct fixture *f = *state;
	struct note *n = calloc(N, sizeof(*n));
	struct sl_chat **c = calloc(N, sizeof(struct sl_chat *));
	for (int i = 0; i < N; i++) {
		char words[64];
		note_init(&n[i]);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		snprintf(words, sizeof(words), "stream number %d", i);
		r.model = SL_STR("sim+tps=100,answer=You said {gist}. That is all there is to say about it");
		c[i] = ask(f, &r, words, &n[i]);
	}
	for (int i = 0; i < N; i++) {
		char want[128];
		wait_done(&n[i]);
		snprintf(want, sizeof(want), "You said stream number %d. That is all there is to say about it", i);
		if (n[i].rc != SL_OK)
			print_error("%d: %s\n", i, n[i].err.text);
		assert_int_equal(n[i].rc, SL_OK);
		assert_string_equal(n[i].text.data, want);
		sl_chat_unref(c[i]);
		note_fini(&n[i]);
	}
	free(n);
	free(c);
}

static void a_few_calls_share_a_connection(void **state)
{
	struct fixture *f = *state;
	struct sl_http_stats st;
	for (int i = 0; i < 20; i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		struct sl_chat *c = ask(f, &r, "once", &n);
		wait_done(&n);
		assert_int_equal(n.rc, SL_OK);
		sl_chat_unref(c);
		note_fini(&n);
	}
	sl_http_stats(sl_llm_http(f->llm), &st);
	assert_true(st.sockets_opened < 20);
}

static void the_built_in_scenario_plays_the_examples(void **state)
{
	static const struct {
		const char *system, *user, *has;
	} roles[] = {
		{"You are the advocate. Argue for the proposition: three paragraphs.", "Argue for: cats may vote",
		 "cats may vote\xe2\x80\x9d"},
		{"You are the sceptic. Argue against the proposition.", "Argue against: cats may vote",
		 "Before agreeing"},
		{"You are the judge. Weigh both sides, end with a verdict.",
		 "The proposition: cats\n\nThe advocate said: x", "Verdict:"},
		{"You are the classifier. Answer with one word.", "Which kind?\n\nMy invoice is wrong", "billing"},
		{"You are the classifier. Answer with one word.", "Which kind?\n\nThe app crashes", "technical"},
		{"Anything else", "What is the weather like?", "simulator"},
	};
	struct fixture *f = *state;
	SL_AUTO(sl_sim) sim = NULL;
	struct sl_error err;
	const struct sl_sim_config config = {.tokens_per_s = -1, .first_token_ms = 1};
	assert_int_equal(sl_sim_start(&config, &sim, &err), SL_OK);
	assert_int_equal(sl_profiles_add_sim(f->profiles, "examples", sl_sim_url(sim)), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(roles); i++) {
		struct note n;
		note_init(&n);
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.profile = SL_STR("examples");
		r.system = sl_str(roles[i].system);
		struct sl_chat *c = ask(f, &r, roles[i].user, &n);
		wait_done(&n);
		assert_int_equal(n.rc, SL_OK);
		if (!strstr(n.text.data, roles[i].has))
			print_error("%s\n", n.text.data);
		assert_non_null(strstr(n.text.data, roles[i].has));
		sl_chat_unref(c);
		note_fini(&n);
	}
	sl_llm_stop(f->llm); /* before the simulator goes */
}

static void a_schema_without_a_rule_gets_an_answer_that_fits(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.response_format = SL_STR(
		"{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"required\":[\"score\"],\"properties\":{"
		"\"score\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":100},\"tags\":{\"type\":\"array\",\"items\":"
		"{\"enum\":[\"a\"]}}}}}");
	struct sl_chat *c = ask(f, &r, "score it", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_OK);
	assert_string_equal(n.text.data, "{\"score\":75,\"tags\":[\"a\"]}");
	sl_chat_unref(c);
	note_fini(&n);
}

static void a_nul_in_the_text_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct note n;
	note_init(&n);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.model = SL_STR("sim+fault=F16,variant=nul,after=0");
	struct sl_chat *c = ask(f, &r, "once", &n);
	wait_done(&n);
	assert_int_equal(n.rc, SL_OK);
	assert_string_equal(n.text.data, "a\xef\xbf\xbd"
					 "bfirst");
	sl_chat_unref(c);
	note_fini(&n);
}

static void bad_requests_never_leave(void **state)
{
	struct fixture *f = *state;
	struct note n;
	struct sl_chat *c = NULL;
	struct sl_error err;
	struct sl_chat_request r = SL_CHAT_REQUEST;
	note_init(&n);
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_INVALID);
	r.messages = SL_STR("{}");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_INVALID);
	r.messages = SL_STR("[{\"content\":\"x\"}]");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_INVALID);
	r.messages = SL_STR("[{\"role\":\"user\",\"content\":\"x\"}]");
	r.tools = SL_STR("[");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_INVALID);
	r.tools = SL_STR("");
	r.profile = SL_STR("nobody");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_NOT_FOUND);
	r.profile = SL_STR("");
	r.idempotency_key = SL_STR("a\r\nX-Forged: 1");
	assert_int_equal(sl_chat_start(f->llm, &r, &both, &n, &c, &err), SL_INVALID);
	assert_int_equal(n.dones, 0);
	note_fini(&n);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		T(a_stream_arrives_whole_with_usage_and_finish_reason),
		T(a_whole_answer_is_read_too),
		T(tool_calls_are_put_together),
		T(rules_count_their_calls),
		T(each_fault_is_named_by_its_code),
		T(whole_answers_fail_as_clearly),
		T(cancel_closes_the_providers_socket_at_once),
		T(a_cancel_before_the_first_token_ends_the_call_too),
		T(a_cancel_after_the_end_is_harmless),
		T(stopping_ends_every_call_once),
		T(each_deadline_is_its_own),
		T(nobody_there_is_a_connect_failure),
		T(a_full_taker_ends_the_call_with_its_own_code),
		T(without_a_delta_callback_the_result_holds_the_text),
		T(five_hundred_streams_at_once_all_arrive_whole),
		T(a_few_calls_share_a_connection),
		T(the_built_in_scenario_plays_the_examples),
		T(a_schema_without_a_rule_gets_an_answer_that_fits),
		T(a_nul_in_the_text_is_replaced),
		T(bad_requests_never_leave),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
