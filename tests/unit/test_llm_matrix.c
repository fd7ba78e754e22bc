/* Four protocols, sixteen faults, real sockets: what a call is told when a provider fails in its own way, and so what
 * is done about it: tried again, parked, given up, or finished with a reason. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "tests/lib/llm_world.h"

enum { OPENAI, ANTHROPIC, GEMINI, OLLAMA, PROTOCOLS };
static const char *const names[PROTOCOLS] = {"openai", "anthropic", "gemini", "ollama"};
static const char *const models[PROTOCOLS] = {"m", "claude-sonnet-4-5", "gemini-2.5-flash", "llama3.2"};

static const char scenario[] =
	"{\"sim\":1,\"defaults\":{\"tps\":0,\"first_ms\":0,\"jitter\":0},\"rules\":["
	"{\"match\":{\"user\":\"use the weather tool\"},\"thinking\":\"Which tool? \xe4\xbd\xa0\xe5\xa5\xbd\","
	"\"answer\":\"I \\\"look\\\" it up.\\n\xf0\x9f\x98\x80\",\"tool_calls\":[{\"name\":\"weather\",\"arguments\":"
	"{\"city\":\"Oslo\",\"days\":2}},{\"name\":\"clock\",\"arguments\":{}}]},"
	"{\"match\":{\"user\":\"sum of\",\"turn\":1},\"tool_calls\":[{\"name\":\"calculate\",\"arguments\":"
	"{\"expression\":\"{topic}\"}},{\"name\":\"clock\",\"arguments\":{}}]},"
	"{\"match\":{\"user\":\"sum of\",\"turn\":2,\"tool\":\"value\"},\"answer\":\"It is {tool.value}: {tool}\"},"
	"{\"match\":{\"user\":\"sum of\",\"turn\":2,\"tool\":\"error\"},\"answer\":\"I was told: {tool}\"},"
	"{\"match\":{\"user\":\"name\"},\"answer\":\"I am {model}.\"}]}";

static int setup(void **state)
{
	struct llm_world *w = malloc(sizeof(*w));
	*state = w;
	if (llm_world_setup(w, scenario) != 0)
		return -1;
	for (int p = 0; p < PROTOCOLS; p++)
		llm_world_profile(w, names[p], names[p], models[p]);
	llm_world_profile(w, "azure", "azure", "my-deployment");
	return 0;
}

static int teardown(void **state)
{
	llm_world_fini(*state);
	free(*state);
	return 0;
}

enum action { RETRY, RETRY_ONCE, PARK, GIVE_UP, FINISH };

struct cell {
	enum sl_code code;
	uint32_t low, high; /* of the hint, ms */
	const char *finish; /* NULL: "stop" */
};
struct fault {
	const char *ask; /* "+fault=…" */
	enum action action;
	struct cell cells[PROTOCOLS]; /* OpenAI, Anthropic, Gemini, Ollama; one alone stands for all */
	bool stream_only;
};

#define HINT(ms)  SL_RATE_LIMITED, (ms), (ms)
#define ABOUT(ms) SL_RATE_LIMITED, (ms) / 2, (ms) + 1000 /* a date: what goes by meanwhile is not waited for */

static const struct fault faults[] = {
	{"F1", GIVE_UP, {{SL_PROVIDER_REJECTED}}},
	{"F2", GIVE_UP, {{SL_PROVIDER_AUTH}}},
	{"F2,variant=403", GIVE_UP, {{SL_PROVIDER_AUTH}}},
	{"F3", GIVE_UP, {{SL_PROVIDER_MODEL}}},
	{"F4", GIVE_UP, {{SL_CONTEXT_TOO_LONG}}},
	{"F4,variant=413", GIVE_UP, {{SL_CONTEXT_TOO_LONG}}},
	{"F4,variant=422", GIVE_UP, {{SL_CONTEXT_TOO_LONG}}},
	{"F5,retry_ms=3000", RETRY, {{HINT(3000)}, {HINT(3000)}, {HINT(3000)}, {SL_RATE_LIMITED}}},
	{"F6,retry_ms=1234", RETRY, {{HINT(1234)}, {HINT(1234)}, {HINT(1234)}, {SL_RATE_LIMITED}}},
	{"F6,variant=seconds,retry_ms=7000", RETRY, {{HINT(7000)}}},
	{"F6,variant=ms,retry_ms=250", RETRY, {{HINT(250)}}},
	{"F6,variant=float,retry_ms=1250", RETRY, {{HINT(1250)}}},
	{"F6,variant=date,retry_ms=30000", RETRY, {{ABOUT(30000)}}},
	{"F6,variant=body,retry_ms=1500", RETRY, {{HINT(1500)}}},
	{"F6,variant=reset,retry_ms=61500", RETRY, {{HINT(61500)}, {ABOUT(61500)}, {HINT(61500)}, {HINT(61500)}}},
	{"F6,variant=retryinfo,retry_ms=34070",
	 RETRY,
	 {{HINT(34070)}, {SL_RATE_LIMITED}, {HINT(34070)}, {SL_RATE_LIMITED}}},
	{"F7", PARK, {{SL_QUOTA_EXHAUSTED}}},
	{"F7,variant=spend", PARK, {{SL_QUOTA_EXHAUSTED}}},
	{"F8", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F8,variant=list", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F9", RETRY, {{SL_OVERLOADED}}},
	{"F9,variant=503", RETRY, {{SL_OVERLOADED}}},
	{"F9,variant=529", RETRY, {{SL_OVERLOADED}}},
	{"F10", RETRY, {{SL_CONNECT}}},
	{"F10,variant=close", RETRY, {{SL_CONNECT}}},
	{"F11", RETRY, {{SL_TIMEOUT}}},
	{"F12", RETRY, {{SL_TIMEOUT}}},
	{"F12,after=0", RETRY, {{SL_TIMEOUT}}},
	{"F13", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F13,after=0", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F13,variant=string", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F13,variant=line", RETRY, {{SL_PROVIDER_ERROR}}},
	{"F13,variant=list", RETRY, {{SL_PROVIDER_ERROR}}, .stream_only = true},
	{"F13,variant=overloaded", RETRY, {{SL_OVERLOADED}}},
	/* Ollama has no word for it, so it is any failure */
	{"F13,variant=limit",
	 RETRY,
	 {{HINT(2000)}, {HINT(2000)}, {HINT(2000)}, {SL_PROVIDER_ERROR, 2000, 2000}},
	 .stream_only = true},
	{"F14", RETRY, {{SL_TRUNCATED}}},
	{"F14,after=0", RETRY, {{SL_TRUNCATED}}},
	{"F14,variant=rst", RETRY, {{SL_TRUNCATED}}},
	{"F14,variant=no_marker", RETRY, {{SL_TRUNCATED}}},
	{"F14,variant=no_marker,after=100000", RETRY, {{SL_TRUNCATED}}}, /* only the marker is missing */
	{"F15", FINISH, {{SL_OK, .finish = "length"}}},
	{"F15,variant=content_filter",
	 FINISH,
	 {{SL_OK, .finish = "content_filter"},
	  {SL_OK, .finish = "refusal"},
	  {SL_OK, .finish = "content_filter"},
	  {SL_OK, .finish = "stop"}}},
	{"F15,variant=refusal",
	 FINISH,
	 {{SL_OK, .finish = "stop"},
	  {SL_OK, .finish = "refusal"},
	  {SL_OK, .finish = "content_filter"},
	  {SL_OK, .finish = "stop"}}},
	{"F15,variant=pause",
	 FINISH,
	 {{SL_OK, .finish = "pause"},
	  {SL_OK, .finish = "pause_turn"},
	  {SL_OK, .finish = "other"},
	  {SL_OK, .finish = "stop"}}},
	{"F15,variant=window",
	 FINISH,
	 {{SL_OK, .finish = "window"},
	  {SL_OK, .finish = "model_context_window_exceeded"},
	  {SL_OK, .finish = "other"},
	  {SL_OK, .finish = "stop"}}},
	{"F15,variant=recitation",
	 FINISH,
	 {{SL_OK, .finish = "recitation"},
	  {SL_OK, .finish = "content_filter"},
	  {SL_OK, .finish = "content_filter"},
	  {SL_OK, .finish = "stop"}}},
	{"F16", RETRY_ONCE, {{SL_MALFORMED}}},
	{"F16,variant=utf8", RETRY_ONCE, {{SL_MALFORMED}}},
	{"F16,variant=type", RETRY_ONCE, {{SL_MALFORMED}}},
	{"F16,variant=html", RETRY_ONCE, {{SL_MALFORMED}}},
	{"F16,variant=page", RETRY, {{SL_PROVIDER_ERROR}}},
};

static bool acts(enum action action, enum sl_code code)
{
	bool again = sl_code_retry(code) != SL_RETRY_NEVER;
	switch (action) {
	case RETRY:
		return again && code != SL_MALFORMED;
	case RETRY_ONCE:
		return again && code == SL_MALFORMED; /* the retry policy counts those by themselves */
	case PARK:
		return code == SL_QUOTA_EXHAUSTED;
	case GIVE_UP:
		return !again && code != SL_OK && code != SL_QUOTA_EXHAUSTED;
	case FINISH:
		return code == SL_OK;
	}
	return false;
}

static void try_fault(struct llm_world *w, const struct fault *f, int protocol, enum sl_chat_mode mode)
{
	struct llm_said s;
	char model[128];
	struct sl_chat_request r = SL_CHAT_REQUEST;
	struct cell want = f->cells[protocol];
	if (want.code == SL_OK && f->action != FINISH)
		want = f->cells[0];
	if (f->action == FINISH && !want.finish)
		want = f->cells[0];
	snprintf(model, sizeof(model), "%s+fault=%s", models[protocol], f->ask);
	r.profile = sl_str(names[protocol]);
	r.model = sl_str(model);
	r.mode = mode;
	/* short only for those that never come: on a busy machine others would end by it, too */
	bool silent = strncmp(f->ask, "F11", 3) == 0 || strncmp(f->ask, "F12", 3) == 0;
	uint32_t ms = silent ? 250 : 60000;
	r.timeouts = (struct sl_http_timeouts){.first_byte_ms = ms, .idle_ms = ms};
	llm_ask(w, &r, "a question that gets the simulator's own words", &s);
	if (s.rc != want.code || s.err.retry_after_ms < want.low || s.err.retry_after_ms > want.high ||
	    !acts(f->action, s.rc) || (want.finish && strcmp(s.finish, want.finish) != 0))
		fail_msg("%s %s%s: %s, retry %u, finish '%s', %s", names[protocol], f->ask,
			 mode == SL_CHAT_WHOLE ? " whole" : "", sl_code_wire(s.rc), s.err.retry_after_ms, s.finish,
			 s.err.text);
	assert_int_equal(s.dones, 1);
	assert_true(s.rc == SL_OK || s.err.text[0]);
	llm_said_fini(&s);
}

static void each_fault_is_what_it_is_in_every_protocol(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(faults); i++)
		for (int p = 0; p < PROTOCOLS; p++)
			try_fault(*state, &faults[i], p, SL_CHAT_STREAM);
}

static void each_fault_is_the_same_without_a_stream(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(faults); i++)
		for (int p = 0; p < PROTOCOLS; p++)
			if (!faults[i].stream_only)
				try_fault(*state, &faults[i], p, SL_CHAT_WHOLE);
}

/* Everything came but the end of the transfer. Who has a marker is done; Gemini has none but that end. */
static void a_cut_behind_the_marker_matters_only_without_one(void **state)
{
	for (int p = 0; p < PROTOCOLS; p++) {
		struct llm_said s;
		char model[64];
		struct sl_chat_request r = SL_CHAT_REQUEST;
		snprintf(model, sizeof(model), "%s+fault=F14,variant=late", models[p]);
		r.profile = sl_str(names[p]);
		r.model = sl_str(model);
		llm_ask(*state, &r, "what is your name?", &s);
		if (s.rc != (p == GEMINI ? SL_TRUNCATED : SL_OK))
			fail_msg("%s: %s, %s", names[p], sl_code_wire(s.rc), s.err.text);
		assert_string_equal(s.finish, "stop");
		llm_said_fini(&s);
	}
}

static void all_sixteen_faults_are_in_the_matrix(void **state)
{
	unsigned seen = 0, number;
	for (size_t i = 0; i < SL_COUNT_OF(faults); i++)
		if (sscanf(faults[i].ask, "F%u", &number) == 1)
			seen |= 1u << number;
	assert_int_equal(seen, 0x1fffe); /* bits 1 to 16 */
}

static void an_ordinary_answer_is_the_same_in_every_protocol(void **state)
{
	uint64_t tokens = 0;
	for (int p = 0; p < PROTOCOLS; p++)
		for (int mode = 0; mode < 2; mode++) {
			struct llm_said s;
			SL_AUTO_JSON list = NULL;
			struct sl_chat_request r = SL_CHAT_REQUEST;
			r.profile = sl_str(names[p]);
			r.mode = mode ? SL_CHAT_WHOLE : SL_CHAT_STREAM;
			llm_ask(*state, &r, "use the weather tool", &s);
			if (s.rc != SL_OK)
				fail_msg("%s: %s", names[p], s.err.text);
			assert_string_equal(s.text.data, "I \"look\" it up.\n\xf0\x9f\x98\x80");
			assert_string_equal(s.thinking.data, "Which tool? \xe4\xbd\xa0\xe5\xa5\xbd");
			assert_string_equal(s.finish, "tool_calls");
			assert_string_equal(s.model, models[p]);
			assert_true(s.simulated);
			assert_int_equal(sl_json_parse(sl_buf_str(&s.tools), &list, NULL), SL_OK);
			assert_int_equal(json_object_array_length(list), 2);
			struct json_object *f = sl_json_get(json_object_array_get_idx(list, 0), "function"),
					   *g = sl_json_get(json_object_array_get_idx(list, 1), "function");
			assert_string_equal(sl_json_get_z(f, "name"), "weather");
			assert_string_equal(sl_json_get_z(f, "arguments"), "{\"city\":\"Oslo\",\"days\":2}");
			assert_string_equal(sl_json_get_z(g, "name"), "clock");
			assert_string_equal(sl_json_get_z(g, "arguments"), "{}");
			assert_true(sl_json_get_str(json_object_array_get_idx(list, 1), "id").len > 0);
			assert_true(s.usage.known && s.usage.input_tokens > 0);
			if (tokens == 0)
				tokens = s.usage.output_tokens;
			assert_int_equal(s.usage.output_tokens, tokens); /* counted once, thinking included */
			llm_said_fini(&s);
		}
	assert_true(tokens > 8);
}

/* A turn of tools as an `llm` node makes it: asked, called, told, answered; results come in the order of the calls. */
static void tools_and_what_they_said_go_there_and_back_in_every_protocol(void **state)
{
	static const char tools[] =
		"[{\"type\":\"function\",\"function\":{\"name\":\"calculate\",\"description\":\"sums\",\"parameters\":{"
		"\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\"}}}}},{\"type\":\"function\","
		"\"function\":{\"name\":\"clock\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]";
	static const struct {
		const char *told, *answer;
	} rows[] = {{"{\"value\":42}", "It is 42: {\"value\":42}"},
		    {"error: timeout: no result within 30 s", "I was told: error: timeout: no result within 30 s"}};
	for (int p = 0; p < PROTOCOLS; p++)
		for (size_t row = 0; row < SL_COUNT_OF(rows); row++) {
			struct llm_said s, t;
			SL_AUTO_JSON list = NULL;
			SL_BUF(m, 1 << 20);
			struct sl_chat_request r = SL_CHAT_REQUEST;
			r.profile = sl_str(names[p]);
			r.tools = sl_str(tools);
			r.tool_choice = SL_STR("\"auto\"");
			llm_ask(*state, &r, "The sum of: 6*7", &s);
			if (s.rc != SL_OK)
				fail_msg("%s: %s", names[p], s.err.text);
			assert_int_equal(sl_json_parse(sl_buf_str(&s.tools), &list, NULL), SL_OK);
			assert_int_equal(json_object_array_length(list), 2);
			struct json_object *f = sl_json_get(json_object_array_get_idx(list, 0), "function");
			assert_string_equal(sl_json_get_z(f, "arguments"), "{\"expression\":\"6*7\"}");
			sl_buf_adds(&m, "[{\"role\":\"user\",\"content\":\"The sum of: 6*7\"},{\"role\":\"assistant\","
					"\"content\":\"\",\"tool_calls\":");
			sl_json_write(&m, list);
			sl_buf_addc(&m, '}');
			for (size_t i = 0; i < 2; i++) {
				struct json_object *call = json_object_array_get_idx(list, i);
				sl_buf_adds(&m, ",{\"role\":\"tool\",\"tool_call_id\":");
				sl_buf_json_str(&m, sl_json_get_str(call, "id"));
				sl_buf_adds(&m, ",\"name\":");
				sl_buf_json_str(&m, sl_json_get_str(sl_json_get(call, "function"), "name"));
				sl_buf_adds(&m, ",\"content\":");
				sl_buf_json_str(&m, i ? sl_str(rows[row].told) : SL_STR("another one said this"));
				sl_buf_addc(&m, '}');
			}
			sl_buf_addc(&m, ']');
			r.messages = sl_buf_str(&m);
			r.tool_choice = SL_STR("\"none\"");
			llm_ask(*state, &r, NULL, &t);
			if (t.rc != SL_OK)
				fail_msg("%s: %s", names[p], t.err.text);
			assert_string_equal(t.text.data, rows[row].answer);
			assert_int_equal(t.tools.len, 0);
			llm_said_fini(&s);
			llm_said_fini(&t);
		}
}

static void schemas_reach_the_simulator_in_every_protocol(void **state)
{
	for (int p = 0; p < PROTOCOLS; p++) {
		struct llm_said s;
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.profile = sl_str(names[p]);
		r.response_format = SL_STR("{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{"
					   "\"kind\":{\"enum\":[\"cat\"]},\"ok\":{\"type\":\"boolean\"}}}}");
		llm_ask(*state, &r, "score it", &s);
		assert_int_equal(s.rc, SL_OK);
		assert_string_equal(s.text.data, "{\"kind\":\"cat\",\"ok\":true}");
		llm_said_fini(&s);
	}
}

static void refusals_are_told_as_such(void **state)
{
	static const char *const want[] = {"I cannot help with that.", "the model declined to answer"};
	for (int p = OPENAI; p <= ANTHROPIC; p++) {
		struct llm_said s;
		char model[64];
		struct sl_chat_request r = SL_CHAT_REQUEST;
		snprintf(model, sizeof(model), "%s+fault=F15,variant=refusal,after=0", models[p]);
		r.profile = sl_str(names[p]);
		r.model = sl_str(model);
		llm_ask(*state, &r, "do harm", &s);
		assert_int_equal(s.rc, SL_OK);
		assert_string_equal(s.refusal.data, want[p]);
		llm_said_fini(&s);
	}
}

/* The last request in the simulator's log. */
static struct json_object *last_request(struct llm_world *w)
{
	struct llm_said s;
	struct json_object *doc = NULL;
	llm_post(w, "/sim/requests", NULL, &s);
	assert_int_equal(sl_json_parse(sl_buf_str(&s.body), &doc, NULL), SL_OK);
	llm_said_fini(&s);
	return doc;
}

static void each_provider_gets_its_key_in_its_own_header(void **state)
{
	static const struct {
		const char *profile, *protocol, *auth;
	} rows[] = {
		{"openai", "openai", "authorization"},  {"anthropic", "anthropic", "x-api-key"},
		{"gemini", "gemini", "x-goog-api-key"}, {"ollama", "ollama", "authorization"},
		{"azure", "openai", "api-key"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct llm_said s;
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.profile = sl_str(rows[i].profile);
		llm_ask(*state, &r, "what is your name?", &s);
		if (s.rc != SL_OK)
			fail_msg("%s: %s", rows[i].profile, s.err.text);
		SL_AUTO_JSON doc = last_request(*state);
		struct json_object *list = sl_json_get(doc, "requests"),
				   *last = json_object_array_get_idx(list, json_object_array_length(list) - 1);
		assert_string_equal(sl_json_get_z(last, "protocol"), rows[i].protocol);
		assert_string_equal(sl_json_get_z(last, "auth"), rows[i].auth);
		llm_said_fini(&s);
	}
}

static void a_model_with_odd_letters_arrives_in_the_path(void **state)
{
	struct llm_said s;
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.profile = SL_STR("gemini");
	r.model = SL_STR("models/gemini 2.5:pr\xc3\xb6+first_ms=1");
	llm_ask(*state, &r, "what is your name?", &s);
	assert_int_equal(s.rc, SL_OK);
	assert_string_equal(s.text.data, "I am gemini 2.5:pr\xc3\xb6.");
	llm_said_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sixteen_faults_are_in_the_matrix),
		cmocka_unit_test_setup_teardown(each_fault_is_what_it_is_in_every_protocol, setup, teardown),
		cmocka_unit_test_setup_teardown(each_fault_is_the_same_without_a_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_behind_the_marker_matters_only_without_one, setup, teardown),
		cmocka_unit_test_setup_teardown(an_ordinary_answer_is_the_same_in_every_protocol, setup, teardown),
		cmocka_unit_test_setup_teardown(tools_and_what_they_said_go_there_and_back_in_every_protocol, setup,
						teardown),
		cmocka_unit_test_setup_teardown(schemas_reach_the_simulator_in_every_protocol, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals_are_told_as_such, setup, teardown),
		cmocka_unit_test_setup_teardown(each_provider_gets_its_key_in_its_own_header, setup, teardown),
		cmocka_unit_test_setup_teardown(a_model_with_odd_letters_arrives_in_the_path, setup, teardown),
	};
	return cmocka_run_group_tests_name("llm matrix", tests, NULL, NULL);
}
