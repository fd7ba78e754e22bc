/* The OpenAI protocol without a socket: requests as text, answers from text, cut at every byte; error bodies and hints.
 */
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "llm/openai.h"
#include "llm/profile.h"
#include "llm/refusal.h"

struct told {
	struct sl_answer a;
	struct sl_buf text, thinking;
	struct sl_error err;
	enum sl_code rc;
};

static enum sl_code keep(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	struct told *t = SL_CONTAINER_OF(a, struct told, a);
	sl_buf_add(kind == SL_CHAT_TEXT ? &t->text : &t->thinking, piece.p, piece.len);
	return SL_OK;
}

static void told_init(struct told *t)
{
	*t = (struct told){.a = {.delta = keep}};
	sl_buf_init(&t->text, 1 << 20);
	sl_buf_init(&t->thinking, 1 << 20);
	sl_buf_init(&t->a.tool_calls, 1 << 20);
	sl_buf_init(&t->a.refusal, 1 << 16);
}

static void told_fini(struct told *t)
{
	sl_buf_fini(&t->text);
	sl_buf_fini(&t->thinking);
	sl_buf_fini(&t->a.tool_calls);
	sl_buf_fini(&t->a.refusal);
}

/* Reads all of `in` in pieces of `step`. */
static void read_answer(struct told *t, const char *type, struct sl_str in, size_t step)
{
	struct sl_http_header h = {SL_STR("content-type"), sl_str(type)};
	struct sl_http_head head = {200, 11, &h, type ? 1 : 0};
	void *state = NULL;
	told_init(t);
	t->rc = sl_protocol_openai.open(&t->a, &head, &state, &t->err);
	for (size_t at = 0; at < in.len && t->rc == SL_OK; at += step)
		t->rc = sl_protocol_openai.feed(state, sl_str_n(in.p + at, step < in.len - at ? step : in.len - at),
						&t->err);
	if (t->rc == SL_OK)
		t->rc = sl_protocol_openai.finish(state, &t->err);
	sl_protocol_openai.close(state);
}

#define CHUNK(delta, finish)                                                                                           \
	"data: "                                                                                                       \
	"{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-x-0613\",\"choices\":"      \
	"[{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" finish "}]}\n\n"
static const char full[] = CHUNK("{\"role\":\"assistant\",\"content\":\"\"}",
				 "null") CHUNK("{\"reasoning_content\":\"Let me see\"}", "null")
	CHUNK("{\"content\":\"Hello\"}", "null") ": OPENROUTER PROCESSING\n\n" CHUNK(
		"{\"content\":\" \\\"w\xc3\xb6rld\\\" \\ud83d\\ude00\"}",
		"null") CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{"
			      "\"name\":\"look\",\"arguments\":\"\"}}]}",
			      "null")
		CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"a\\\"\"}}]}",
		      "null") CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}", "null")
			CHUNK("{}", "\"tool_calls\"") "data: "
						      "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":"
						      "\"gpt-x-0613\",\"choices\":[],\"usage\":{"
						      "\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":"
						      "18,\"prompt_tokens_details\":{\"cached_tokens\":3},"
						      "\"completion_tokens_details\":{\"reasoning_tokens\":2}}}\n\n"
						      "data: [DONE]\n\n";

static void a_full_stream_is_read_in_pieces_of_any_size(void **state)
{
	for (size_t step = 1; step <= sizeof(full); step += step < 40 ? 1 : 97) {
		struct told t;
		read_answer(&t, "text/event-stream; charset=utf-8", sl_str_n(full, sizeof(full) - 1), step);
		assert_int_equal(t.rc, SL_OK);
		assert_string_equal(t.text.data, "Hello \"w\xc3\xb6rld\" \xf0\x9f\x98\x80");
		assert_string_equal(t.thinking.data, "Let me see");
		assert_string_equal(t.a.tool_calls.data, "[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{"
							 "\"name\":\"look\",\"arguments\":\"{\\\"a\\\":1}\"}}]");
		assert_string_equal(t.a.model, "gpt-x-0613");
		assert_string_equal(t.a.finish_reason, "tool_calls");
		assert_int_equal(t.a.usage.input_tokens, 11);
		assert_int_equal(t.a.usage.output_tokens, 7);
		assert_int_equal(t.a.usage.cached_tokens, 3);
		assert_int_equal(t.a.usage.reasoning_tokens, 2);
		told_fini(&t);
	}
}

static void a_stream_cut_at_any_byte_is_never_a_success(void **state)
{
	struct sl_str all = sl_str_n(full, sizeof(full) - 1);
	size_t marker = (size_t)(strstr(full, "[DONE]") - full) + 6;
	for (size_t n = 0; n < all.len; n++) {
		struct told t;
		read_answer(&t, "text/event-stream", sl_str_n(all.p, n), 4096);
		if (n < marker) {
			if (t.rc != SL_TRUNCATED)
				print_error("cut at %zu: %s\n", n, sl_code_wire(t.rc));
			assert_int_equal(t.rc, SL_TRUNCATED);
			assert_false(t.a.complete);
		} else {
			assert_int_equal(t.rc, SL_OK);
		}
		told_fini(&t);
	}
}

static void a_whole_answer_cut_at_any_byte_is_never_a_success(void **state)
{
	static const char doc[] = "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
				  "\"assistant\",\"content\":"
				  "[{\"type\":\"text\",\"text\":\"one "
				  "\"},{\"type\":\"text\",\"text\":\"two\"}]},\"finish_reason\":\"stop\"}],"
				  "\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":2}}";
	for (size_t n = 0; n < sizeof(doc); n++) {
		struct told t;
		read_answer(&t, "application/json", sl_str_n(doc, n), 7);
		assert_int_equal(t.rc == SL_OK, n == sizeof(doc) - 1);
		if (t.rc == SL_OK) {
			assert_string_equal(t.text.data, "one two");
			assert_int_equal(t.a.usage.input_tokens, 0); /* never negative */
		}
		told_fini(&t);
	}
}

static const struct {
	const char *type, *body;
	enum sl_code rc;
	const char *says;
} odd[] = {
	{"text/event-stream",
	 CHUNK("{\"content\":\"x\"}", "null") "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n",
	 SL_PROVIDER_ERROR, "boom"},
	{"text/event-stream", CHUNK("{\"content\":\"x\"}", "null") "data: {\"error\":\"plain words\"}\n\n",
	 SL_PROVIDER_ERROR, "plain words"},
	{"text/event-stream", CHUNK("{\"content\":\"x\"}", "null") "error: {\"code\":503,\"message\":\"busy\"}\n\n",
	 SL_OVERLOADED, "busy"},
	{"text/event-stream", CHUNK("{\"content\":\"x\"}", "null") "error: just text\n\n", SL_PROVIDER_ERROR,
	 "just text"},
	{"text/event-stream", "{\"error\":{\"message\":\"bare\",\"code\":\"insufficient_quota\"}}\n",
	 SL_QUOTA_EXHAUSTED, "bare"},
	{"text/event-stream", "event: error\ndata: {\"type\":\"overloaded_error\",\"message\":\"later\"}\n\n",
	 SL_OVERLOADED, "later"},
	{"text/event-stream",
	 "data: {\"error\":{\"message\":\"This model's maximum context length is 5\",\"code\":400}}\n\n",
	 SL_CONTEXT_TOO_LONG, "maximum"},
	{"text/event-stream",
	 "data: {\"choices\":[{\"index\":0,\"delta\":{},\"error\":{\"code\":429,\"message\":\"try again in "
	 "1m30s\"}}]}\n\n",
	 SL_RATE_LIMITED, "try"},
	{"text/event-stream", "data: not json\n\n", SL_MALFORMED, "event"},
	{"text/event-stream", "data: [DONE]\n\n", SL_MALFORMED, "single choice"},
	{"text/event-stream", "", SL_TRUNCATED, "end marker"},
	{"application/json", "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\"}}",
	 SL_PROVIDER_REJECTED, "no"},
	{"application/json", "{\"object\":\"error\",\"message\":\"vllm says no\",\"code\":400}", SL_PROVIDER_REJECTED,
	 "vllm"},
	{"application/json", "{\"choices\":[]}", SL_MALFORMED, "without choices"},
	{"application/json", "{}", SL_MALFORMED, "without choices"},
	{"application/json", "[1]", SL_MALFORMED, "array"},
	{"text/html", "<html><head><style>p{}</style><title>Sign in</title></head><body><p>Please   log in",
	 SL_MALFORMED, "Sign in Please log in"},
	{"", "<html><body>Hotel Wi-Fi", SL_MALFORMED, "Hotel Wi-Fi"},
	{"", CHUNK("{\"content\":\"x\"}", "\"stop\"") "data: [DONE]\n\n", SL_OK, ""},
	{"", "{\"choices\":[{\"message\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}", SL_OK, ""},
};

static void odd_answers_are_named(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(odd); i++) {
		struct told t;
		read_answer(&t, odd[i].type, sl_str(odd[i].body), 1000);
		if (t.rc != odd[i].rc || !strstr(t.err.text, odd[i].says))
			print_error("%s\n-> %s: %s\n", odd[i].body, sl_code_wire(t.rc), t.err.text);
		assert_int_equal(t.rc, odd[i].rc);
		assert_non_null(strstr(t.err.text, odd[i].says));
		told_fini(&t);
	}
}

struct answer_case {
	int status;
	const char *headers[6]; /* name, value, … */
	const char *body;
	enum sl_code rc;
	uint32_t low, high;
};
static const struct answer_case answers[] = {
	{400, {0}, "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\"}}", SL_PROVIDER_REJECTED, 0, 0},
	{401,
	 {0},
	 "{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"code\":\"invalid_api_key\"}}",
	 SL_PROVIDER_AUTH,
	 0,
	 0},
	{403, {0}, "nope", SL_PROVIDER_AUTH, 0, 0},
	{402, {0}, "{\"error\":{\"message\":\"Insufficient Balance\"}}", SL_QUOTA_EXHAUSTED, 0, 0},
	{404, {0}, "{\"error\":\"model 'x' not found\"}", SL_PROVIDER_MODEL, 0, 0},
	{413, {0}, "", SL_CONTEXT_TOO_LONG, 0, 0},
	{422, {0}, "{\"detail\":\"bad field\"}", SL_PROVIDER_REJECTED, 0, 0},
	{429, {"Retry-After", "7"}, "{}", SL_RATE_LIMITED, 7000, 7000},
	{429, {"retry-after", "1.5"}, "{}", SL_RATE_LIMITED, 1500, 1500},
	{429, {"retry-after-ms", "250.5", "retry-after", "9"}, "{}", SL_RATE_LIMITED, 251, 251},
	{429, {"retry-after", "-1"}, "{}", SL_RATE_LIMITED, 0, 0},
	{429, {"retry-after", "soon"}, "{}", SL_RATE_LIMITED, 0, 0},
	{429,
	 {"x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "6m0s"},
	 "{}",
	 SL_RATE_LIMITED,
	 360000,
	 360000},
	{429,
	 {"x-ratelimit-remaining-requests", "5", "x-ratelimit-reset-requests", "6m0s"},
	 "{}",
	 SL_RATE_LIMITED,
	 0,
	 0},
	{429,
	 {"x-ratelimit-remaining-tokens", "0", "x-ratelimit-reset-tokens", "1h2m3.5s"},
	 "{}",
	 SL_RATE_LIMITED,
	 3723500,
	 3723500},
	{429, {"x-ratelimit-reset-tokens", "20ms"}, "{}", SL_RATE_LIMITED, 20, 20},
	{429,
	 {0},
	 "[{\"error\":{\"code\":429,\"message\":\"x\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[{\"retryDelay\":"
	 "\"34.07s\"}]}}]",
	 SL_RATE_LIMITED,
	 34070,
	 34070},
	{429, {0}, "{\"error\":{\"message\":\"Please try again in 6m0s. Visit\"}}", SL_RATE_LIMITED, 360000, 360000},
	{429, {"x-should-retry", "false", "retry-after", "3"}, "{}", SL_PROVIDER_REJECTED, 0, 0},
	{429,
	 {"retry-after", "5"},
	 "{\"error\":{\"type\":\"insufficient_quota\",\"message\":\"m\"}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{429,
	 {0},
	 "{\"error\":{\"code\":\"project_spend_limit_exceeded\",\"message\":\"m\"}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{409, {"x-should-retry", "true"}, "{}", SL_PROVIDER_ERROR, 0, 0},
	{418, {"x-should-retry", "true"}, "{}", SL_PROVIDER_ERROR, 0, 0},
	{500, {0}, "{\"error\":{\"message\":\"m\",\"type\":\"server_error\"}}", SL_PROVIDER_ERROR, 0, 0},
	{502, {0}, "<html><h1>Bad gateway</h1></html>", SL_PROVIDER_ERROR, 0, 0},
	{503, {"retry-after", "2"}, "{}", SL_OVERLOADED, 2000, 2000},
	{504, {0}, "", SL_TIMEOUT, 0, 0},
	{529,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
	 SL_OVERLOADED,
	 0,
	 0},
	{302, {"location", "https://elsewhere"}, "", SL_PROVIDER_REJECTED, 0, 0},
	/* Anthropic */
	{400,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Your credit balance is too "
	 "low to "
	 "access the Anthropic API.\"}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{400,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"prompt is too long: 210000 "
	 "tokens > "
	 "200000 maximum\"}}",
	 SL_CONTEXT_TOO_LONG,
	 0,
	 0},
	{402,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"billing_error\",\"message\":\"m\"}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{403,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"m\"}}",
	 SL_PROVIDER_AUTH,
	 0,
	 0},
	{404,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"m\"}}",
	 SL_PROVIDER_MODEL,
	 0,
	 0},
	{413,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"m\"}}",
	 SL_CONTEXT_TOO_LONG,
	 0,
	 0},
	{429,
	 {"anthropic-ratelimit-input-tokens-remaining", "0", "anthropic-ratelimit-input-tokens-reset",
	  "2200-01-01T00:00:00Z"},
	 "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}",
	 SL_RATE_LIMITED,
	 1000000000,
	 UINT32_MAX},
	{429,
	 {"anthropic-ratelimit-requests-remaining", "3", "anthropic-ratelimit-requests-reset", "2200-01-01T00:00:00Z"},
	 "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}",
	 SL_RATE_LIMITED,
	 0,
	 0},
	{429,
	 {0},
	 "{\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\",\"details\":{\"error_code\":"
	 "\"enforced_spend_limit_reached\"}}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{504, {0}, "{\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"m\"}}", SL_TIMEOUT, 0, 0},
	/* Gemini */
	{400,
	 {0},
	 "{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API key.\",\"status\":"
	 "\"INVALID_ARGUMENT\",\"details\":[{\"reason\":\"API_KEY_INVALID\"}]}}",
	 SL_PROVIDER_AUTH,
	 0,
	 0},
	{400,
	 {0},
	 "{\"error\":{\"code\":400,\"message\":\"The input token count exceeds the maximum number of tokens allowed "
	 "1048576.\",\"status\":\"INVALID_ARGUMENT\"}}",
	 SL_CONTEXT_TOO_LONG,
	 0,
	 0},
	{404, {0}, "[{\"error\":{\"code\":404,\"message\":\"m\",\"status\":\"NOT_FOUND\"}}]", SL_PROVIDER_MODEL, 0, 0},
	{429,
	 {0},
	 "{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[{\"violations\":[{"
	 "\"quotaId\":\"GenerateRequestsPerMinutePerProjectPerModel\"}]},{\"retryDelay\":\"34.07s\"}]}}",
	 SL_RATE_LIMITED,
	 34070,
	 34070},
	{429,
	 {0},
	 "{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\",\"details\":[{\"violations\":[{"
	 "\"quotaId\":\"GenerateRequestsPerDayPerProjectPerModel-FreeTier\"}]},{\"retryDelay\":\"34.07s\"}]}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{429,
	 {0},
	 "{\"error\":{\"code\":429,\"message\":\"m\",\"details\":[{\"retryDelay\":\"301s\"}]}}",
	 SL_QUOTA_EXHAUSTED,
	 0,
	 0},
	{499, {0}, "{\"error\":{\"code\":499,\"message\":\"m\",\"status\":\"CANCELLED\"}}", SL_PROVIDER_ERROR, 0, 0},
	{503, {0}, "{\"error\":{\"code\":503,\"message\":\"m\",\"status\":\"UNAVAILABLE\"}}", SL_OVERLOADED, 0, 0},
	/* Ollama */
	{400, {0}, "{\"error\":\"\\\"llama3.2\\\" does not support thinking\"}", SL_PROVIDER_REJECTED, 0, 0},
	{404, {0}, "{\"error\":\"model \\\"x\\\" not found, try pulling it first\"}", SL_PROVIDER_MODEL, 0, 0},
	{503,
	 {0},
	 "{\"error\":\"server busy, please try again.  maximum pending requests exceeded\"}",
	 SL_OVERLOADED,
	 0,
	 0},
	{500, {0}, "{\"error\":\"llama runner process has terminated\"}", SL_PROVIDER_ERROR, 0, 0},
};

static void refusals_become_codes_and_hints(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(answers); i++) {
		const struct answer_case *k = &answers[i];
		struct sl_http_header h[3];
		struct sl_http_head head = {k->status, 11, h, 0};
		struct sl_error err = {0};
		for (; head.n_headers < 3 && k->headers[2 * head.n_headers]; head.n_headers++)
			h[head.n_headers] = (struct sl_http_header){sl_str(k->headers[2 * head.n_headers]),
								    sl_str(k->headers[2 * head.n_headers + 1])};
		enum sl_code rc = sl_refusal_of_answer(&head, sl_str(k->body), &err);
		if (rc != k->rc || err.retry_after_ms < k->low || err.retry_after_ms > k->high)
			print_error("%d %s -> %s %u\n", k->status, k->body, err.text, err.retry_after_ms);
		assert_int_equal(rc, k->rc);
		assert_int_equal(err.code, k->rc);
		assert_in_range(err.retry_after_ms, k->low, k->high);
	}
}

static void durations_are_read_as_providers_write_them(void **state)
{
	static const struct {
		const char *text;
		long ms; /* -1: refused */
	} rows[] = {{"1s", 1000}, {"6m0s", 360000},  {"34.07s", 34070}, {"12", 12000}, {"250ms", 250},
		    {"1m2", -1},  {"1.5h", 5400000}, {"", -1},          {"s", -1},     {"-3", -1},
		    {"4x", -1},   {"1d", 86400000},  {"500us", 1}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		uint64_t ms = 0;
		bool ok = sl_refusal_duration(sl_str(rows[i].text), &ms);
		assert_int_equal(ok, rows[i].ms >= 0);
		if (ok)
			assert_int_equal(ms, rows[i].ms);
	}
}

static struct json_object *build(const char *provider, struct sl_chat_request *r, const char *params)
{
	struct sl_profiles *ps = NULL;
	struct sl_profile_row row;
	struct sl_error err;
	const uint8_t secret[32] = {1};
	SL_BUF(text, 4096);
	SL_BUF(body, 1 << 20);
	SL_AUTO_JSON doc = NULL;
	struct json_object *out = NULL;
	sl_buf_addf(&text, "{\"provider\":\"%s\",\"model\":\"m1\",\"params\":%s}", provider, params);
	assert_int_equal(sl_profiles_new(secret, &ps), SL_OK);
	assert_int_equal(sl_json_parse(sl_buf_str(&text), &doc, &err), SL_OK);
	assert_int_equal(sl_profiles_put(ps, sl_str("p"), doc, &row, NULL, &err), SL_OK);
	sl_profile_row_fini(&row);
	struct sl_profile *p = sl_profiles_get(ps, sl_str("p"));
	enum sl_code rc = sl_protocol_openai.build(r, p, p->model, &body, &err);
	if (rc != SL_OK)
		print_error("%s\n", err.text);
	assert_int_equal(rc, SL_OK);
	assert_int_equal(sl_json_parse(sl_buf_str(&body), &out, &err), SL_OK);
	sl_profile_unref(p);
	sl_profiles_free(ps);
	return out;
}

static void a_request_says_what_the_call_and_its_profile_say(void **state)
{
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.system = SL_STR("Be \"brief\".");
	r.messages = SL_STR(" [ {\"role\":\"user\",\"content\":\"hi\"} ] ");
	r.top_p = 0.5;
	r.max_tokens = 77;
	r.has_seed = true;
	r.seed = 0;
	r.stop = SL_STR("[\"END\"]");
	r.response_format = SL_STR("{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}");
	r.tools = SL_STR("[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]");
	r.thinking = SL_STR("low");
	SL_AUTO_JSON o = build("openai", &r, "{\"temperature\":0.25,\"top_p\":0.9,\"max_tokens\":5}");
	SL_BUF(text, 1 << 16);
	sl_json_write(&text, o);
	assert_string_equal(text.data,
			    "{\"model\":\"m1\",\"messages\":[{\"role\":\"system\",\"content\":\"Be "
			    "\\\"brief\\\".\"},{\"role\":\"user\",\"content\":\"hi\"}],"
			    "\"temperature\":0.25,\"top_p\":0.5,\"max_completion_tokens\":77,\"seed\":0,\"reasoning_"
			    "effort\":\"low\","
			    "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\","
			    "\"schema\":{\"type\":\"object\"}}},"
			    "\"stop\":[\"END\"],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
			    "\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
}

static void a_request_respects_what_a_provider_lacks(void **state)
{
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.messages = SL_STR("[]");
	r.system = SL_STR("S");
	r.mode = SL_CHAT_WHOLE;
	r.max_tokens = 9;
	r.response_format = SL_STR("{\"type\":\"json_schema\",\"schema\":{\"required\":[\"a\"]}}");
	SL_AUTO_JSON o = build("deepseek", &r, "{}");
	assert_int_equal(sl_json_get_i64(o, "max_tokens", 0), 9);
	assert_string_equal(sl_json_get_z(sl_json_get(o, "response_format"), "type"), "json_object");
	const char *system = sl_json_get_z(json_object_array_get_idx(sl_json_get(o, "messages"), 0), "content");
	assert_non_null(strstr(system, "S\n\n"));
	assert_non_null(strstr(system, "{\"required\":[\"a\"]}"));
	assert_null(sl_json_get(o, "stream_options"));
	assert_null(sl_json_get(o, "temperature"));
	r.thinking = SL_STR("high");
	SL_AUTO_JSON q = build("openrouter", &r, "{}");
	assert_string_equal(sl_json_get_z(sl_json_get(q, "reasoning"), "effort"), "high");
}

static void a_whole_answer_has_a_limit(void **state)
{
	static const char head[] = "{\"choices\":[{\"message\":{\"content\":\"";
	char *text = malloc(SL_LIMIT_HTTP_BODY_BYTES + 1);
	struct told t;
	assert_non_null(text);
	memset(text, 'x', SL_LIMIT_HTTP_BODY_BYTES + 1);
	memcpy(text, head, sizeof(head) - 1);
	read_answer(&t, "application/json", sl_str_n(text, SL_LIMIT_HTTP_BODY_BYTES), 65536);
	assert_int_equal(t.rc, SL_MALFORMED); /* it was taken, and is not whole */
	told_fini(&t);
	read_answer(&t, "application/json", sl_str_n(text, SL_LIMIT_HTTP_BODY_BYTES + 1), 65536);
	assert_int_equal(t.rc, SL_TOO_LARGE);
	assert_string_equal(t.err.text, "an answer of more than 8388608 bytes");
	told_fini(&t);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_stream_is_read_in_pieces_of_any_size),
		cmocka_unit_test(a_stream_cut_at_any_byte_is_never_a_success),
		cmocka_unit_test(a_whole_answer_cut_at_any_byte_is_never_a_success),
		cmocka_unit_test(a_whole_answer_has_a_limit),
		cmocka_unit_test(odd_answers_are_named),
		cmocka_unit_test(refusals_become_codes_and_hints),
		cmocka_unit_test(durations_are_read_as_providers_write_them),
		cmocka_unit_test(a_request_says_what_the_call_and_its_profile_say),
		cmocka_unit_test(a_request_respects_what_a_provider_lacks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
