/* What the simulator answers: scripted texts in their order, JSON when it is asked for, vectors that mean something. */
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>

#include "llm/sim_scenario.h"
#include "tests/lib/llm_world.h"

static const char scenario[] =
	"{\"sim\":1,\"defaults\":{\"tps\":0,\"first_ms\":0,\"jitter\":0},\"rules\":["
	"{\"name\":\"rising\",\"match\":{\"system\":\"judge\"},\"per\":\"topic\",\"then\":\"stay\","
	"\"answer\":[{\"score\":61},{\"score\":78},{\"score\":93}]},"
	"{\"match\":{\"user\":\"in turn\"},\"answer\":[\"one\",\"two {call}\"]},"
	"{\"match\":{\"user\":\"broken\"},\"verbatim\":true,\"answer\":\"no {json\"},"
	"{\"match\":{\"user\":\"prose\"},\"answer\":\"Paris is the capital.\"},"
	"{\"match\":{\"user\":\"literal\"},\"json\":[1,{\"a\":\"b\"}]},"
	"{\"match\":{\"user\":\"form\",\"json\":true},\"answer\":\"as JSON\"},"
	"{\"match\":{\"user\":\"form\",\"json\":false},\"answer\":\"as text\"},"
	"{\"match\":{\"user\":\"sort it\"},\"answer\":\"Billing\"},"
	"{\"match\":{\"user\":\"part\"},\"json\":{\"score\":61,\"other\":1}},"
	"{\"match\":{\"user\":\"quoted\"},\"json\":{\"on\":\"{topic}\",\"gist\":\"{gist}\"}},"
	"{\"match\":{\"user\":\"beyond\"},\"json\":{\"score\":61,\"why\":\"because\"}}"
	"]}";

static int setup(void **state)
{
	struct llm_world *w = malloc(sizeof(*w));
	*state = w;
	return llm_world_setup(w, scenario);
}

static int teardown(void **state)
{
	llm_world_fini(*state);
	free(*state);
	return 0;
}

static void expect(struct llm_world *w, const char *system, const char *user, const char *format, const char *want)
{
	struct llm_said s;
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.system = sl_str(system);
	r.response_format = sl_str(format);
	llm_ask(w, &r, user, &s);
	if (s.rc != SL_OK)
		print_error("%s\n", s.err.text);
	assert_int_equal(s.rc, SL_OK);
	assert_string_equal(s.text.data, want);
	llm_said_fini(&s);
}

static void a_judges_score_rises_for_each_topic_by_itself(void **state)
{
	expect(*state, "You are the judge.", "Draft: cats", "", "{\"score\":61}");
	expect(*state, "You are the judge.", "Draft: cats\nbetter", "", "{\"score\":78}");
	expect(*state, "You are the judge.", "Draft: dogs", "", "{\"score\":61}");
	expect(*state, "You are the judge.", "Draft: cats\nbest", "", "{\"score\":93}");
	expect(*state, "You are the judge.", "Draft: cats\nonce more", "", "{\"score\":93}"); /* "stay" */
	expect(*state, "You are the judge.", "Draft: dogs", "", "{\"score\":78}");
}

static void what_shares_a_place_is_counted_side_by_side(void **state)
{
	(void)state;
	static struct sim_counts counts;
	const uint64_t apart = SIM_COUNTS / SIM_WAYS;
	for (uint32_t n = 1; n <= 3; n++)
		for (uint64_t i = 0; i < SIM_WAYS; i++)
			assert_int_equal(sl_sim_count(&counts, 5 + i * apart), n);
	assert_int_equal(sl_sim_count(&counts, 5), 4); /* the second is the longest unseen now */
	assert_int_equal(sl_sim_count(&counts, 5 + SIM_WAYS * apart), 1);
	assert_int_equal(sl_sim_count(&counts, 5), 5);
	assert_int_equal(sl_sim_count(&counts, 5 + apart), 1);
	assert_int_equal(sl_sim_count(&counts, 0), 1); /* an empty place is nobody's */
	assert_int_equal(sl_sim_count(&counts, 0), 2);
}

static void a_list_is_taken_in_turn_from_the_beginning_again(void **state)
{
	expect(*state, "", "in turn a", "", "one");
	expect(*state, "", "in turn b", "", "two 2");
	expect(*state, "", "in turn c", "", "one");
}

static void words_that_are_filled_into_json_stay_inside_its_strings(void **state)
{
	expect(*state, "", "Say: \"yes\" \\ quoted", "",
	       "{\"on\":\"\\\"yes\\\" \\\\ quoted\",\"gist\":\"Say: \\\"yes\\\" \\\\ quoted\"}");
}

#define VERDICT                                                                                                        \
	"{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"},"     \
	"\"why\":{\"type\":\"string\",\"maxLength\":5},\"score\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":4,"     \
	"\"maximum\":4},{\"type\":\"null\"}]},\"note\":{\"type\":\"string\"}}}}"

static void who_asks_for_json_gets_json(void **state)
{
	expect(*state, "", "prose", VERDICT,
	       "{\"ok\":true,\"why\":\"Paris\",\"score\":4,\"note\":\"simulated: no model was asked\"}");
	expect(*state, "", "prose", "{\"type\":\"json_object\"}",
	       "{\"simulated\":true,\"answer\":\"Paris is the capital.\"}");
	expect(*state, "", "literal", VERDICT, "[1,{\"a\":\"b\"}]"); /* it is JSON, and what it says is the script's */
	expect(*state, "", "broken", VERDICT, "no {json");
	expect(*state, "", "prose", "", "Paris is the capital.");
}

#define SCORE(most)                                                                                                    \
	"{\"type\":\"json_schema\",\"schema\":{\"properties\":{\"score\":{\"type\":\"integer\",\"minimum\":0,"         \
	"\"maximum\":" most "},\"why\":{\"type\":\"string\"}}}}"

static void scripted_values_are_fitted_to_the_schema(void **state)
{
	expect(*state, "", "form", SCORE("4"), "{\"score\":3,\"why\":\"as JSON\"}");
	expect(*state, "", "form", "", "as text");
	expect(*state, "", "sort it",
	       "{\"type\":\"json_schema\",\"schema\":{\"properties\":{\"kind\":{\"enum\":[\"other\",\"billing\"]}}}}",
	       "{\"kind\":\"billing\"}");
	expect(*state, "", "part", SCORE("100"), "{\"score\":61,\"why\":\"simulated: no model was asked\"}");
	expect(*state, "", "beyond", SCORE("100"), "{\"score\":61,\"why\":\"because\"}");
	expect(*state, "", "beyond", SCORE("8"), "{\"score\":6,\"why\":\"because\"}");
}

static void an_answer_ends_at_the_tokens_that_were_asked_for(void **state)
{
	static const char script[] =
		"{\"sim\":1,\"defaults\":{\"tps\":0,\"first_ms\":0},\"rules\":["
		"{\"match\":{\"user\":\"text\"},\"answer\":\"Four five \\u4f60\\u597d six.\"},"
		"{\"match\":{\"user\":\"deep\"},\"thinking\":\"One two three.\",\"answer\":\"Four five.\"},"
		"{\"match\":{\"user\":\"call\"},\"answer\":\"Four five.\","
		"\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"a\":1}}]}]}";
	static const struct {
		const char *user;
		int most;
		const char *thinking, *text, *finish;
		uint64_t tokens;
		bool calls;
	} rows[] = {
		{"text", 1, "", "Four", "length", 1},
		{"text", 3, "", "Four five \xe4\xbd\xa0", "length", 3},
		{"text", 6, "", "Four five \xe4\xbd\xa0\xe5\xa5\xbd six.", "stop", 6}, /* just all of it */
		{"text", 100, "", "Four five \xe4\xbd\xa0\xe5\xa5\xbd six.", "stop", 6},
		{"deep", 2, "One two", "", "length", 2}, /* thinking counts */
		{"deep", 4, "One two three.", "", "length", 4},
		{"deep", 5, "One two three.", "Four", "length", 5},
		{"deep", 7, "One two three.", "Four five.", "stop", 7},
		{"call", 2, "", "Four five", "length", 2, false}, /* it does not get as far as its tool */
		{"call", 3, "", "Four five.", "tool_calls", 3, true},
	};
	static const char *const providers[][2] = {{"openai", "gpt-4o"},
						   {"openai-compatible", "m"},
						   {"anthropic", "claude-3-5-haiku-latest"},
						   {"gemini", "gemini-2.0-flash"},
						   {"ollama", "llama3.2"}};
	struct llm_world w;
	(void)state;
	assert_int_equal(llm_world_setup(&w, script), 0);
	for (size_t p = 0; p < SL_COUNT_OF(providers); p++) {
		llm_world_profile(&w, providers[p][0], providers[p][0], providers[p][1]);
		for (size_t i = 0; i < 2 * SL_COUNT_OF(rows); i++) {
			struct llm_said s;
			struct sl_chat_request r = SL_CHAT_REQUEST;
			r.profile = sl_str(providers[p][0]);
			r.max_tokens = rows[i / 2].most;
			r.mode = i % 2 ? SL_CHAT_WHOLE : SL_CHAT_STREAM;
			llm_ask(&w, &r, rows[i / 2].user, &s);
			const char *text = s.text.len ? s.text.data : "",
				   *thinking = s.thinking.len ? s.thinking.data : "";
			if (s.rc != SL_OK || strcmp(text, rows[i / 2].text) != 0 ||
			    strcmp(s.finish, rows[i / 2].finish) != 0 || strcmp(thinking, rows[i / 2].thinking) != 0 ||
			    (s.tools.len > 0) != rows[i / 2].calls || s.usage.output_tokens != rows[i / 2].tokens)
				fail_msg("%s, %s, %d tokens, %s: %s \"%s\" \"%s\" %s, %llu, %s", providers[p][0],
					 rows[i / 2].user, rows[i / 2].most,
					 r.mode == SL_CHAT_WHOLE ? "whole" : "stream", s.err.text, thinking, text,
					 s.finish, (unsigned long long)s.usage.output_tokens,
					 s.tools.len ? "calls" : "no calls");
			llm_said_fini(&s);
		}
	}
	llm_world_fini(&w);
}

static void the_built_in_judge_gives_scores_that_rise(void **state)
{
	static const char *const want[] = {"{\"score\":62,", "{\"score\":81,", "{\"score\":94,"};
	struct llm_world w;
	assert_int_equal(llm_world_setup(&w, ""), 0);
	for (size_t i = 0; i < SL_COUNT_OF(want); i++) {
		struct llm_said s;
		struct sl_chat_request r = SL_CHAT_REQUEST;
		r.model = SL_STR("sim+tps=0,first_ms=0");
		r.system = SL_STR("You are a strict judge.");
		r.response_format = SL_STR(SCORE("100"));
		llm_ask(&w, &r, "A draft.", &s);
		assert_int_equal(s.rc, SL_OK);
		if (!strstr(s.text.data, want[i]))
			fail_msg("%s", s.text.data);
		llm_said_fini(&s);
	}
	llm_world_fini(&w);
}

/* ---- vectors ---- */

static struct json_object *embed(struct llm_world *w, const char *body, int status)
{
	struct llm_said s;
	struct json_object *doc = NULL;
	struct sl_error err;
	llm_post(w, "/v1/embeddings", body, &s);
	assert_int_equal(s.rc, SL_OK);
	assert_int_equal(s.status, status);
	assert_int_equal(sl_json_parse(sl_buf_str(&s.body), &doc, &err), SL_OK);
	llm_said_fini(&s);
	return doc;
}

static struct json_object *vector_at(struct json_object *doc, size_t i)
{
	return sl_json_get(json_object_array_get_idx(sl_json_get(doc, "data"), i), "embedding");
}

static double cosine(struct json_object *a, struct json_object *b)
{
	double sum = 0;
	assert_int_equal(json_object_array_length(a), json_object_array_length(b));
	for (size_t i = 0; i < json_object_array_length(a); i++)
		sum += json_object_get_double(json_object_array_get_idx(a, i)) *
		       json_object_get_double(json_object_array_get_idx(b, i));
	return sum;
}

static void similar_texts_have_near_vectors(void **state)
{
	/* for each row: the first two belong together, the third does not */
	static const char *const rows[][3] = {
		{"How do I reset my password?", "Resetting a forgotten password", "The invoice of March is too high"},
		{"Cats sleep most of the day.", "A cat sleeps during the day", "Trains between Paris and Lyon"},
		{"Die Rechnung stimmt nicht", "Rechnungen, die nicht stimmen", "Das Wetter in Oslo"},
		{"\xe5\x8c\x97\xe4\xba\xac\xe7\x9a\x84\xe5\xa4\xa9\xe6\xb0\x94",
		 "\xe5\x8c\x97\xe4\xba\xac\xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9\xe6\xb0\x94",
		 "\xe6\x88\x91\xe5\x96\x9c\xe6\xac\xa2\xe7\x8c\xab"},
		{"the of and cats", "CATS!", "the of and dogs"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_BUF(b, 4096);
		sl_buf_adds(&b, "{\"model\":\"sim\",\"input\":[");
		for (size_t k = 0; k < 3; k++) {
			sl_buf_json_comma(&b);
			sl_buf_json_str(&b, sl_str(rows[i][k]));
		}
		sl_buf_adds(&b, "]}");
		SL_AUTO_JSON doc = embed(*state, b.data, 200);
		struct json_object *a = vector_at(doc, 0), *near = vector_at(doc, 1), *far = vector_at(doc, 2);
		assert_int_equal(json_object_array_length(a), 384);
		assert_true(fabs(cosine(a, a) - 1) < 1e-4);
		if (cosine(a, near) < cosine(a, far) + 0.2)
			print_error("%s: near %.3f, far %.3f\n", rows[i][0], cosine(a, near), cosine(a, far));
		assert_true(cosine(a, near) > cosine(a, far) + 0.2);
		assert_true(cosine(a, far) < 0.3);
	}
}

static void a_request_for_vectors_is_heard_out(void **state)
{
	SL_AUTO_JSON small = embed(*state, "{\"model\":\"m+x=1\",\"input\":\"cats\",\"dimensions\":16}", 200);
	assert_int_equal(json_object_array_length(vector_at(small, 0)), 16);
	assert_string_equal(sl_json_get_z(small, "model"), "m");
	assert_true(sl_json_get_i64(sl_json_get(small, "usage"), "prompt_tokens", 0) > 0);
	SL_AUTO_JSON packed =
		embed(*state, "{\"input\":\"cats\",\"dimensions\":16,\"encoding_format\":\"base64\"}", 200);
	assert_int_equal(json_object_get_string_len(vector_at(packed, 0)), (16 * 4 + 2) / 3 * 4);
	SL_AUTO_JSON faulty = embed(*state, "{\"model\":\"m+fault=F5\",\"input\":\"cats\"}", 429);
	assert_non_null(sl_json_get(faulty, "error"));
	static const char *const bad[] = {"{}",
					  "{\"input\":\"\"}",
					  "{\"input\":[]}",
					  "{\"input\":[\"a\",7]}",
					  "{\"input\":\"a\",\"dimensions\":0}",
					  "nonsense"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		SL_AUTO_JSON doc = embed(*state, bad[i], 400);
		assert_non_null(sl_json_get(doc, "error"));
	}
	struct sl_sim_stats st;
	sl_sim_stats(((struct llm_world *)*state)->sim, &st);
	assert_int_equal(st.embeddings, 3);
	assert_int_equal(st.requests, 0); /* those are conversations */
}

static void a_scenarios_new_keys_are_checked(void **state)
{
	struct sl_error err;
	static const char *const bad[] = {"\"per\":\"moon\"", "\"then\":\"stop\"", "\"verbatim\":1", "\"answer\":[]",
					  "\"match\":{\"json\":1}"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		SL_BUF(b, 256);
		sl_buf_addf(&b, "{\"sim\":1,\"rules\":[{%s}]}", bad[i]);
		assert_int_equal(sl_sim_check(sl_buf_str(&b), NULL, &err), SL_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_judges_score_rises_for_each_topic_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(words_that_are_filled_into_json_stay_inside_its_strings, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_list_is_taken_in_turn_from_the_beginning_again, setup, teardown),
		cmocka_unit_test_setup_teardown(who_asks_for_json_gets_json, setup, teardown),
		cmocka_unit_test_setup_teardown(scripted_values_are_fitted_to_the_schema, setup, teardown),
		cmocka_unit_test(an_answer_ends_at_the_tokens_that_were_asked_for),
		cmocka_unit_test(the_built_in_judge_gives_scores_that_rise),
		cmocka_unit_test_setup_teardown(similar_texts_have_near_vectors, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_for_vectors_is_heard_out, setup, teardown),
		cmocka_unit_test(what_shares_a_place_is_counted_side_by_side),
		cmocka_unit_test(a_scenarios_new_keys_are_checked),
	};
	return cmocka_run_group_tests_name("llm sim", tests, NULL, NULL);
}
