/* What each provider is asked: rows of data/requests.json, a call on one side, the body and the address on the other.
 */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "llm/profile.h"
#include "llm/protocol.h"
#include "llm/provider.h"
#include "llm/request.h"

static void read_file(const char *name, struct sl_buf *out)
{
	char path[512], piece[4096];
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/tests/unit/data/%s", root ? root : ".", name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f));)
		sl_buf_add(out, piece, n);
	fclose(f);
}

/* The call's slices are JSON text: each has a buffer of its own. */
struct texts {
	struct sl_buf b[5];
};

static struct sl_str text_of(struct texts *t, size_t i, struct json_object *v)
{
	if (!v)
		return SL_STR("");
	sl_json_write(&t->b[i], v);
	return sl_buf_str(&t->b[i]);
}

static void check(struct json_object *row)
{
	struct sl_profiles *ps = NULL;
	struct sl_profile_row stored;
	struct sl_error err = {0};
	const uint8_t secret[32] = {1};
	struct json_object *ask = sl_json_get(row, "ask"), *want = sl_json_get(row, "want");
	const char *name = sl_json_get_z(row, "name"), *says = sl_json_get_z(row, "says");
	struct texts t;
	SL_AUTO_JSON got = NULL;
	SL_BUF(body, 1 << 20);
	SL_BUF(url, 1 << 12);
	for (size_t i = 0; i < SL_COUNT_OF(t.b); i++)
		sl_buf_init(&t.b[i], 1 << 20);
	struct sl_chat_request r = SL_CHAT_REQUEST;
	r.system = sl_json_get_str(ask, "system");
	r.messages = text_of(&t, 0, sl_json_get(ask, "messages"));
	r.stop = text_of(&t, 1, sl_json_get(ask, "stop"));
	r.response_format = text_of(&t, 2, sl_json_get(ask, "response_format"));
	r.tools = text_of(&t, 3, sl_json_get(ask, "tools"));
	r.tool_choice = text_of(&t, 4, sl_json_get(ask, "tool_choice"));
	r.thinking = sl_json_get_str(ask, "thinking");
	r.temperature = sl_json_get_f64(ask, "temperature", r.temperature);
	r.top_p = sl_json_get_f64(ask, "top_p", r.top_p);
	r.frequency_penalty = sl_json_get_f64(ask, "frequency_penalty", r.frequency_penalty);
	r.presence_penalty = sl_json_get_f64(ask, "presence_penalty", r.presence_penalty);
	r.max_tokens = sl_json_get_i64(ask, "max_tokens", 0);
	r.has_seed = sl_json_get(ask, "seed") != NULL;
	r.seed = sl_json_get_i64(ask, "seed", 0);
	r.mode = sl_json_get_bool(ask, "whole", false) ? SL_CHAT_WHOLE : SL_CHAT_STREAM;

	assert_int_equal(sl_profiles_new(secret, &ps), SL_OK);
	if (sl_profiles_put(ps, sl_str("p"), sl_json_get(row, "profile"), &stored, NULL, &err) != SL_OK)
		fail_msg("%s: %s", name, err.text);
	sl_profile_row_fini(&stored);
	struct sl_profile *p = sl_profiles_get(ps, sl_str("p"));
	const struct sl_protocol *protocol = sl_provider_find(sl_str(p->provider))->protocol;
	enum sl_code rc = protocol->build(&r, p, p->model, &body, &err);
	if (says) {
		if (rc != SL_INVALID || !strstr(err.text, says))
			fail_msg("%s: %s, %s, %s", name, sl_code_wire(rc), err.text, body.data);
	} else {
		if (rc != SL_OK || sl_json_parse(sl_buf_str(&body), &got, &err) != SL_OK)
			fail_msg("%s: %s", name, err.text);
		if (!sl_json_equal(got, want))
			fail_msg("%s:\ngot  %s\nwant %s", name, body.data, json_object_to_json_string_ext(want, 0));
	}
	assert_true(
		sl_protocol_url(protocol, p, p->model, r.mode == SL_CHAT_STREAM ? SL_URL_STREAM : SL_URL_WHOLE, &url));
	if (sl_json_get(row, "url") && strcmp(sl_json_get_z(row, "url"), url.data) != 0)
		fail_msg("%s: %s", name, url.data);
	sl_buf_reset(&url);
	bool embeds = sl_protocol_url(protocol, p, p->model, SL_URL_EMBEDDINGS, &url);
	if (sl_json_get(row, "embeddings_url")) {
		assert_true(embeds);
		assert_string_equal(url.data, sl_json_get_z(row, "embeddings_url"));
	}
	sl_profile_unref(p);
	sl_profiles_free(ps);
	for (size_t i = 0; i < SL_COUNT_OF(t.b); i++)
		sl_buf_fini(&t.b[i]);
}

static void each_provider_is_asked_in_its_own_words(void **state)
{
	struct sl_error err;
	SL_AUTO_JSON list = NULL;
	SL_BUF(text, 1 << 20);
	read_file("requests.json", &text);
	if (sl_json_parse(sl_buf_str(&text), &list, &err) != SL_OK)
		fail_msg("%s", err.text);
	assert_true(json_object_array_length(list) > 20);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		check(json_object_array_get_idx(list, i));
}

/* A request with more in it than fits, in each of the places text comes from. */
static void too_much_text_is_refused_and_never_left_out(void **state)
{
	static const char *const providers[] = {"openai", "deepseek", "anthropic", "gemini", "ollama"};
	static const struct {
		const char *before, *after; /* the text is between; NULL: in none of them */
	} messages[] = {
		{"[{\"role\":\"user\",\"content\":\"", "\"}]"},
		{"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"", "\"}]}]"},
		{"[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"system\",\"content\":\"", "\"}]"},
		{"[{\"role\":\"system\",\"content\":\"", "\"}]"},
		{"[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"",
		 "\"}]"},
		{"[{\"role\":\"user\",\"content\":\"hi\"}]"}, /* in the system text, below */
		{"[{\"role\":\"user\",\"content\":\"hi\"}]"}, /* in the schema */
		{"[]"},                                       /* in the system text, which is all there is */
	};
	const uint8_t secret[32] = {1};
	char big[5001];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	for (size_t i = 0; i < SL_COUNT_OF(providers); i++)
		for (size_t k = 0; k < SL_COUNT_OF(messages); k++) {
			struct sl_profiles *ps = NULL;
			struct sl_profile_row stored;
			struct sl_error err = {0};
			struct sl_chat_request r = SL_CHAT_REQUEST;
			SL_AUTO_JSON profile = json_object_new_object();
			SL_BUF(said, 8192);
			SL_BUF(schema, 8192);
			SL_BUF(body, 4096);
			sl_json_set_z(profile, "provider", providers[i]);
			sl_json_set_z(profile, "model", "m");
			assert_int_equal(sl_profiles_new(secret, &ps), SL_OK);
			assert_int_equal(sl_profiles_put(ps, sl_str("p"), profile, &stored, NULL, &err), SL_OK);
			sl_profile_row_fini(&stored);
			struct sl_profile *p = sl_profiles_get(ps, sl_str("p"));
			sl_buf_adds(&said, messages[k].before);
			if (messages[k].after) {
				sl_buf_adds(&said, big);
				sl_buf_adds(&said, messages[k].after);
			}
			sl_buf_addf(&schema,
				    "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\","
				    "\"description\":\"%s\"}}",
				    big);
			r.messages = sl_buf_str(&said);
			if (k == 5 || k == 7)
				r.system = sl_str(big);
			if (k == 6)
				r.response_format = sl_buf_str(&schema);
			enum sl_code rc =
				sl_provider_find(sl_str(providers[i]))->protocol->build(&r, p, p->model, &body, &err);
			if (rc != SL_TOO_LARGE || !strstr(err.text, "a request of more than 4096 bytes"))
				fail_msg("%s, %zu: %s, %s", providers[i], k, sl_code_wire(rc), err.text);
			assert_true(body.len <= 4096);
			sl_profile_unref(p);
			sl_profiles_free(ps);
		}
}

static void versions_are_read_from_models_names(void **state)
{
	static const struct {
		const char *model, *head;
		unsigned version;
	} rows[] = {
		{"claude-sonnet-4-5-20250929", "claude-", 405},
		{"claude-opus-4-20250514", "claude-", 400},
		{"claude-3-7-sonnet-latest", "claude-", 307},
		{"claude-sonnet-5", "claude-", 500},
		{"claude-3-haiku-20240307", "claude-", 300},
		{"anthropic/claude-opus-4.6", "claude-", 406},
		{"my-deployment", "claude-", 0},
		{"gemini-2.5-flash-lite", "gemini-", 205},
		{"gemini-3-flash-preview", "gemini-", 300},
		{"gemini-flash-latest", "gemini-", 0},
		{"models/gemini-2.0-flash-001", "gemini-", 200},
		{"claude-", "claude-", 0},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++)
		assert_int_equal(sl_model_version(sl_str(rows[i].model), rows[i].head), rows[i].version);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_provider_is_asked_in_its_own_words),
		cmocka_unit_test(too_much_text_is_refused_and_never_left_out),
		cmocka_unit_test(versions_are_read_from_models_names),
	};
	return cmocka_run_group_tests_name("llm requests", tests, NULL, NULL);
}
