/* Profiles: what a body may say, keys at rest, which one is the default, what a call costs. */
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "llm/protocol.h"
#include "llm/provider.h"
#include "llm/seal.h"
#include "llm/sim.h"

static const uint8_t secret[32] = {1, 2, 3}, other_secret[32] = {1, 2, 4};

static struct sl_profiles *fresh(void)
{
	struct sl_profiles *p = NULL;
	assert_int_equal(sl_profiles_new(secret, &p), SL_OK);
	return p;
}

static enum sl_code put(struct sl_profiles *p, const char *name, const char *body, struct sl_profile_row *row,
			struct sl_buf *problems)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err;
	struct sl_profile_row mine;
	assert_int_equal(sl_json_parse(sl_str(body), &doc, &err), SL_OK);
	enum sl_code rc = sl_profiles_put(p, sl_str(name), doc, row ? row : &mine, problems, &err);
	if (rc == SL_OK && !row)
		sl_profile_row_fini(&mine);
	return rc;
}

static void a_sealed_key_opens_only_in_its_own_place(void **state)
{
	char *sealed, *again, *key;
	assert_int_equal(sl_seal(secret, SL_STR("main"), 0, SL_STR("sk-1234567890"), &sealed), SL_OK);
	assert_int_equal(sl_seal(secret, SL_STR("main"), 0, SL_STR("sk-1234567890"), &again), SL_OK);
	assert_string_not_equal(sealed, again); /* a nonce of its own each time */
	assert_null(strstr(sealed, "sk-"));
	assert_int_equal(sl_unseal(secret, SL_STR("main"), 0, sl_str(sealed), &key), SL_OK);
	assert_string_equal(key, "sk-1234567890");
	sl_seal_wipe(key);
	assert_int_equal(sl_unseal(secret, SL_STR("other"), 0, sl_str(sealed), &key), SL_INVALID);
	assert_int_equal(sl_unseal(secret, SL_STR("main"), 1, sl_str(sealed), &key), SL_INVALID);
	assert_int_equal(sl_unseal(other_secret, SL_STR("main"), 0, sl_str(sealed), &key), SL_INVALID);
	for (size_t i = 0; sealed[i]; i++) { /* any altered character */
		char was = sealed[i];
		sealed[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(sl_unseal(secret, SL_STR("main"), 0, sl_str(sealed), &key), SL_INVALID);
		sealed[i] = was;
	}
	assert_int_equal(sl_unseal(secret, SL_STR("main"), 0, SL_STR(""), &key), SL_INVALID);
	free(sealed);
	free(again);
}

static void keys_go_in_and_never_come_out(void **state)
{
	struct sl_profiles *p = fresh();
	struct sl_profile_row row;
	SL_BUF(json, 1 << 16);
	assert_int_equal(put(p, "main", "{\"provider\":\"openai\",\"api_keys\":[\"sk-canary-0123456789\",\"short\"]}",
			     &row, NULL),
			 SL_OK);
	sl_profiles_list_json(p, &json);
	SL_AUTO(sl_profile) one = sl_profiles_get(p, sl_str("main"));
	sl_profile_json(p, one, &json);
	sl_buf_add(&json, row.body->data, row.body->len);
	sl_buf_add(&json, row.keys->data, row.keys->len);
	assert_null(strstr(json.data, "canary"));
	assert_null(strstr(json.data, "short"));
	assert_non_null(strstr(json.data, "\"keys\":[\"\xe2\x80\xa6"
					  "6789\",\"\xe2\x80\xa6\"]"));
	char *key;
	assert_int_equal(sl_profile_open_key(p, one, 1, &key), SL_OK);
	assert_string_equal(key, "short");
	sl_seal_wipe(key);
	assert_int_equal(sl_profile_open_key(p, one, 2, &key), SL_NOT_FOUND);
	sl_profile_row_fini(&row);
	sl_profiles_free(p);
}

static void a_stored_row_comes_back_and_a_swapped_one_does_not_open(void **state)
{
	struct sl_profiles *p = fresh(), *q = fresh(), *stranger = NULL;
	struct sl_profile_row a, b;
	struct sl_error err;
	char *key;
	assert_int_equal(put(p, "a",
			     "{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"api_keys\":[\"key-of-a-0000001\"],"
			     "\"params\":{\"temperature\":0.1},"
			     "\"limits\":{\"rpm\":5,\"tpm\":600,\"max_concurrency\":3},\"timeouts\":{\"idle_ms\":1234},"
			     "\"fallbacks\":[\"b\"],\"price\":{\"input_usd_per_1m\":2.5,\"output_usd_per_1m\":10}}",
			     &a, NULL),
			 SL_OK);
	assert_int_equal(put(p, "b", "{\"provider\":\"groq\",\"api_keys\":[\"key-of-b-0000001\"]}", &b, NULL), SL_OK);
	assert_int_equal(sl_profiles_load(q, sl_str(a.name), sl_bytes_str(a.body), sl_bytes_str(a.keys), &err), SL_OK);
	SL_AUTO(sl_profile) one = sl_profiles_get(q, sl_str("a"));
	assert_int_equal(sl_profile_open_key(q, one, 0, &key), SL_OK);
	assert_string_equal(key, "key-of-a-0000001");
	sl_seal_wipe(key);
	assert_string_equal(one->model, "gpt-4o");
	assert_true(fabs(one->temperature - 0.1) < 1e-9 && isnan(one->top_p));
	assert_int_equal(one->limit_rpm, 5);
	assert_int_equal(one->limit_tpm, 600);
	assert_int_equal(one->limit_concurrency, 3);
	assert_int_equal(one->timeouts.idle_ms, 1234);
	assert_int_equal(one->timeouts.connect_ms, 10000);
	assert_string_equal(one->fallbacks[0], "b");
	assert_true(one->has_price && one->input_nanousd == 2500 && one->output_nanousd == 10000);

	assert_int_equal(sl_profiles_load(q, sl_str("b"), sl_bytes_str(b.body), sl_bytes_str(a.keys), &err),
			 SL_INVALID);
	SL_AUTO(sl_profile) swapped = sl_profiles_get(q, sl_str("b"));
	assert_int_equal(swapped->n_keys, 0);
	assert_int_equal(sl_profiles_new(other_secret, &stranger), SL_OK);
	assert_int_equal(sl_profiles_load(stranger, sl_str("a"), sl_bytes_str(a.body), sl_bytes_str(a.keys), &err),
			 SL_INVALID);
	assert_non_null(strstr(err.text, "secret key"));
	sl_profile_row_fini(&a);
	sl_profile_row_fini(&b);
	sl_profiles_free(p);
	sl_profiles_free(q);
	sl_profiles_free(stranger);
}

static void the_stored_profiles_are_followed_row_by_row(void **state)
{
	struct sl_profiles *p = fresh(), *q = fresh();
	struct sl_profile_row a, b, again;
	struct sl_error err;
	assert_int_equal(put(p, "a", "{\"provider\":\"openai\",\"api_keys\":[\"key-of-a-0000001\"]}", &a, NULL), SL_OK);
	assert_int_equal(put(p, "b", "{\"provider\":\"groq\",\"api_keys\":[\"key-of-b-0000001\"]}", &b, NULL), SL_OK);
	assert_int_equal(put(p, "a", "{\"provider\":\"openai\",\"model\":\"two\"}", &again, NULL), SL_OK);
	assert_int_equal(sl_profiles_add_sim(q, "sim", "http://127.0.0.1:1/v1"), SL_OK);
	assert_int_equal(sl_profiles_load(q, sl_str("a"), sl_bytes_str(a.body), sl_bytes_str(a.keys), &err), SL_OK);
	assert_int_equal(sl_profiles_load(q, sl_str("b"), sl_bytes_str(b.body), sl_bytes_str(b.keys), &err), SL_OK);
	SL_AUTO(sl_profile) first = sl_profiles_get(q, sl_str("a"));
	/* what is in force already stays what it is, with its keys */
	assert_int_equal(sl_profiles_load(q, sl_str("a"), sl_bytes_str(a.body), sl_bytes_str(a.keys), &err), SL_OK);
	SL_AUTO(sl_profile) same = sl_profiles_get(q, sl_str("a"));
	assert_ptr_equal(same, first);
	assert_int_equal(sl_profiles_load(q, sl_str("a"), sl_bytes_str(again.body), sl_bytes_str(again.keys), &err),
			 SL_OK);
	SL_AUTO(sl_profile) other = sl_profiles_get(q, sl_str("a"));
	assert_string_equal(other->model, "two");
	assert_int_equal(other->n_keys, 1);
	/* and what is not stored any more goes; the others were never stored */
	const struct sl_str left = SL_STR("b");
	sl_profiles_retain(q, &left, 1);
	assert_null(sl_profiles_get(q, sl_str("a")));
	assert_int_equal(sl_profiles_count(q), 2);
	sl_profiles_retain(q, NULL, 0);
	assert_int_equal(sl_profiles_count(q), 1);
	assert_true(sl_profiles_only_sim(q));
	sl_profile_row_fini(&a);
	sl_profile_row_fini(&b);
	sl_profile_row_fini(&again);
	sl_profiles_free(p);
	sl_profiles_free(q);
}

static void keys_stay_when_not_given_but_do_not_follow_to_another_host(void **state)
{
	struct sl_profiles *p = fresh();
	assert_int_equal(put(p, "m", "{\"provider\":\"openai\",\"api_keys\":[\"secret-key-000001\"]}", NULL, NULL),
			 SL_OK);
	assert_int_equal(put(p, "m", "{\"provider\":\"openai\",\"model\":\"gpt-4o\"}", NULL, NULL), SL_OK);
	struct sl_profile *one = sl_profiles_get(p, sl_str("m"));
	assert_int_equal(one->n_keys, 1);
	sl_profile_unref(one);
	assert_int_equal(put(p, "m", "{\"provider\":\"openai\",\"base_url\":\"https://evil.example/v1\"}", NULL, NULL),
			 SL_OK);
	one = sl_profiles_get(p, sl_str("m"));
	assert_int_equal(one->n_keys, 0);
	sl_profile_unref(one);
	sl_profiles_free(p);
}

static void a_bad_body_gets_every_problem_with_its_pointer(void **state)
{
	static const char body[] = "{\"provider\":\"opnai\",\"modell\":\"x\",\"base_url\":\"ftp://"
				   "x\",\"kind\":\"image\",\"params\":{\"temperature\":9,\"top_q\":1},"
				   "\"limits\":{\"rpm\":0},\"timeouts\":{\"idle_ms\":1.5},\"fallbacks\":[\"UP\"],"
				   "\"price\":{\"input_usd_per_1m\":1},"
				   "\"api_keys\":[\"a b\",3],\"default\":\"yes\"}";
	static const char *const want[] = {
		"/provider",     "/modell",     "/base_url",         "/kind",        "/params/temperature",
		"/params/top_q", "/limits/rpm", "/timeouts/idle_ms", "/fallbacks/0", "/price",
		"/api_keys/0",   "/api_keys/1", "/default",          "/model"};
	struct sl_profiles *p = fresh();
	struct sl_error err;
	SL_BUF(problems, 1 << 16);
	SL_BUF(array, 1 << 16);
	SL_AUTO_JSON list = NULL;
	assert_int_equal(put(p, "x", body, NULL, &problems), SL_INVALID);
	sl_buf_addf(&array, "[%s]", problems.data);
	assert_int_equal(sl_json_parse(sl_buf_str(&array), &list, &err), SL_OK);
	for (size_t w = 0; w < SL_COUNT_OF(want); w++) {
		bool found = false;
		for (size_t i = 0; i < json_object_array_length(list); i++)
			found |= strcmp(sl_json_get_z(json_object_array_get_idx(list, i), "pointer"), want[w]) == 0;
		if (!found)
			print_error("%s is not in %s\n", want[w], array.data);
		assert_true(found);
	}
	assert_int_equal(json_object_array_length(list), SL_COUNT_OF(want));
	assert_non_null(strstr(problems.data, "did you mean \\\"model\\\""));
	assert_null(sl_profiles_get(p, sl_str("x")));
	assert_int_equal(put(p, "../x", "{\"provider\":\"openai\"}", NULL, NULL), SL_INVALID);
	assert_int_equal(put(p, "x", "{\"provider\":\"bedrock\"}", NULL, NULL), SL_INVALID);
	assert_int_equal(put(p, "x", "{\"provider\":\"\",\"model\":\"m\",\"base_url\":\"https://h/\"}", NULL, NULL),
			 SL_INVALID);
	assert_int_equal(put(p, "x", "{\"provider\":\"openai-compatible\",\"model\":\"m\"}", NULL, NULL), SL_INVALID);
	assert_int_equal(put(p, "x",
			     "{\"provider\":\"openai-compatible\",\"model\":\"m\",\"base_url\":\"https://u:p@h/\"}",
			     NULL, NULL),
			 SL_INVALID);
	sl_profiles_free(p);
}

static void a_profile_too_long_to_be_kept_is_told_so(void **state)
{
	static char model[70000];
	struct sl_profiles *p = fresh();
	struct sl_profile_row row;
	struct sl_error err = {0};
	SL_AUTO_JSON body = json_object_new_object();
	memset(model, 'm', sizeof(model) - 1);
	sl_json_set_z(body, "provider", "openai");
	sl_json_set_z(body, "model", model);
	assert_int_equal(sl_profiles_put(p, sl_str("x"), body, &row, NULL, &err), SL_TOO_LARGE);
	assert_int_equal(err.code, SL_TOO_LARGE);
	sl_profiles_free(p);
}

static const char *fake_env(const char *name)
{
	static const char *const vars[][2] = {
		{"OPENAI_API_KEY", " sk-from-env-1234 "},
		{"ANTHROPIC_API_KEY", "x"},
		{"GROQ_API_KEY", "gk"},
		{"GROQ_MODEL", "tiny"},
		{"OLLAMA_HOST", "box:1234/"},
		{"LMSTUDIO_URL", "http://10.0.0.2:1/v1"},
		{"AZURE_OPENAI_API_KEY", "az"},
		{"AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com/"},
		{"AZURE_OPENAI_DEPLOYMENT", "my-gpt"},
		{"AZURE_OPENAI_API_VERSION", "2024-10-21"},
		{"AWS_ACCESS_KEY_ID", "not supported yet"},
		{"MOONSHOT_API_KEY", ""},
	};
	for (size_t i = 0; i < SL_COUNT_OF(vars); i++)
		if (strcmp(vars[i][0], name) == 0)
			return vars[i][1];
	return NULL;
}

static void the_environment_makes_profiles_and_the_first_is_the_default(void **state)
{
	struct sl_profiles *p = fresh();
	struct sl_error err;
	char *key;
	assert_int_equal(sl_profiles_add_sim(p, "sim", "http://127.0.0.1:1/v1"), SL_OK);
	assert_true(sl_profiles_only_sim(p));
	struct sl_profile *one = sl_profiles_get(p, sl_str(""));
	assert_true(one->simulated);
	sl_profile_unref(one);
	assert_int_equal(sl_profiles_from_env(p, fake_env),
			 7); /* openai, anthropic, groq, azure, ollama, lmstudio, sim */
	assert_false(sl_profiles_only_sim(p));
	one = sl_profiles_get(p, sl_str(""));
	assert_string_equal(one->name, "openai");
	assert_int_equal(sl_profile_open_key(p, one, 0, &key), SL_OK);
	assert_string_equal(key, "sk-from-env-1234");
	sl_seal_wipe(key);
	sl_profile_unref(one);
	one = sl_profiles_get(p, sl_str("groq"));
	assert_string_equal(one->model, "tiny");
	sl_profile_unref(one);
	one = sl_profiles_get(p, sl_str("ollama"));
	assert_string_equal(one->base_url, "http://box:1234");
	assert_true(one->timeouts.first_byte_ms > 300000); /* a model may have to be loaded */
	sl_profile_unref(one);
	one = sl_profiles_get(p, sl_str("azure"));
	assert_string_equal(one->base_url, "https://me.openai.azure.com");
	assert_string_equal(one->model, "my-gpt");
	assert_string_equal(one->api_version, "2024-10-21");
	sl_profile_unref(one);
	one = sl_profiles_get(p, sl_str("lmstudio"));
	assert_string_equal(one->base_url, "http://10.0.0.2:1/v1");
	sl_profile_unref(one);
	one = sl_profiles_find_provider(p, sl_str("groq"));
	assert_string_equal(one->name, "groq");
	sl_profile_unref(one);

	/* a stored one of the same name hides it, and gives it back */
	assert_int_equal(put(p, "openai", "{\"provider\":\"openai\",\"model\":\"mine\"}", NULL, NULL), SL_OK);
	one = sl_profiles_get(p, sl_str("openai"));
	assert_string_equal(one->model, "mine");
	sl_profile_unref(one);
	assert_int_equal(sl_profiles_count(p), 7);
	assert_int_equal(sl_profiles_delete(p, sl_str("openai"), &err), SL_OK);
	assert_int_equal(sl_profiles_delete(p, sl_str("openai"), &err), SL_CONFLICT);
	assert_int_equal(sl_profiles_delete(p, sl_str("nobody"), &err), SL_NOT_FOUND);
	one = sl_profiles_get(p, sl_str("openai"));
	assert_string_equal(one->model, "gpt-4.1-mini");
	sl_profile_unref(one);
	sl_profiles_free(p);
}

static void the_latest_that_asks_is_the_default(void **state)
{
	struct sl_profiles *p = fresh();
	struct sl_profile_row row;
	struct sl_error err;
	assert_int_equal(sl_profiles_load(p, sl_str("old"),
					  SL_STR("{\"provider\":\"groq\",\"default\":true,\"default_since_ms\":1000}"),
					  SL_STR("[]"), &err),
			 SL_OK);
	assert_int_equal(put(p, "new", "{\"provider\":\"groq\",\"default\":true}", &row, NULL), SL_OK);
	assert_non_null(strstr(row.body->data, "default_since_ms"));
	sl_profile_row_fini(&row);
	assert_int_equal(sl_profiles_load(p, sl_str("older"),
					  SL_STR("{\"provider\":\"groq\",\"default\":true,\"default_since_ms\":10}"),
					  SL_STR("[]"), &err),
			 SL_OK);
	SL_AUTO(sl_profile) one = sl_profiles_get(p, sl_str(""));
	assert_string_equal(one->name, "new");
	sl_profiles_free(p);
}

static void a_profile_in_use_outlives_its_replacement(void **state)
{
	struct sl_profiles *p = fresh();
	assert_int_equal(put(p, "m", "{\"provider\":\"openai\",\"model\":\"one\"}", NULL, NULL), SL_OK);
	struct sl_profile *held = sl_profiles_get(p, sl_str("m"));
	assert_int_equal(put(p, "m", "{\"provider\":\"openai\",\"model\":\"two\"}", NULL, NULL), SL_OK);
	assert_string_equal(held->model, "one");
	struct sl_profile *now = sl_profiles_get(p, sl_str("m"));
	assert_string_equal(now->model, "two");
	sl_profile_unref(now);
	sl_profiles_free(p);
	assert_string_equal(held->model, "one");
	sl_profile_unref(held);
}

static void a_call_costs_what_its_tokens_cost(void **state)
{
	struct sl_profiles *p = fresh();
	struct sl_chat_usage u = {.input_tokens = 1000, .output_tokens = 500, .cached_tokens = 400, .known = true};
	int64_t micro;
	assert_int_equal(put(p, "own",
			     "{\"provider\":\"openai\",\"model\":\"x\",\"price\":{\"input_usd_per_1m\":2,\"output_usd_"
			     "per_1m\":8,\"cached_usd_per_1m\":0.5}}",
			     NULL, NULL),
			 SL_OK);
	assert_int_equal(put(p, "table", "{\"provider\":\"openai\"}", NULL, NULL), SL_OK);
	SL_AUTO(sl_profile) own = sl_profiles_get(p, sl_str("own"));
	SL_AUTO(sl_profile) table = sl_profiles_get(p, sl_str("table"));
	assert_true(sl_price(NULL, own, "x", &u, &micro));
	assert_int_equal(micro, 600 * 2 + 400 / 2 + 500 * 8); /* USD per 1M tokens is micro-USD a token */
	assert_true(sl_price(NULL, table, "gpt-4.1-mini-2025-04-14", &u, &micro));
	assert_int_equal(micro, 240 + 40 + 800);
	assert_true(sl_price(NULL, table, "gpt-4.1", &u, &micro));
	assert_int_equal(micro, 1200 + 200 + 4000);
	assert_false(sl_price(NULL, table, "unheard-of", &u, &micro));
	assert_int_equal(micro, 0);
	u.known = false;
	assert_false(sl_price(NULL, table, "gpt-4.1", &u, &micro));
	u = (struct sl_chat_usage){.input_tokens = 2, .known = true}; /* 0.8 micro-USD is one */
	assert_true(sl_price(NULL, table, "gpt-4.1-mini", &u, &micro));
	assert_int_equal(micro, 1);
	sl_profiles_free(p);
}

static void an_operators_price_goes_before_the_table_and_after_the_profile(void **state)
{
	struct sl_profiles *p = fresh();
	SL_AUTO(sl_prices) prices = NULL;
	SL_AUTO(sl_bytes) rows = NULL;
	SL_AUTO_JSON body = NULL;
	struct sl_error err = {0};
	struct sl_chat_usage u = {.input_tokens = 1000, .output_tokens = 500, .cached_tokens = 400, .known = true};
	int64_t micro;
	SL_BUF(problems, 4096);
	SL_BUF(shown, 1 << 20);
	assert_int_equal(put(p, "own",
			     "{\"provider\":\"openai\",\"model\":\"x\",\"price\":{\"input_usd_per_1m\":2,\"output_usd_"
			     "per_1m\":8}}",
			     NULL, NULL),
			 SL_OK);
	assert_int_equal(put(p, "table", "{\"provider\":\"openai\"}", NULL, NULL), SL_OK);
	SL_AUTO(sl_profile) own = sl_profiles_get(p, sl_str("own"));
	SL_AUTO(sl_profile) table = sl_profiles_get(p, sl_str("table"));
	assert_int_equal(sl_prices_new(&prices), SL_OK);
	assert_int_equal(
		sl_json_parse(SL_STR("{\"items\":["
				     "{\"model\":\"gpt-4.1\",\"input_usd_per_1m\":1,\"output_usd_per_1m\":2},"
				     "{\"model\":\"gpt-4.1\",\"provider\":\"openai\",\"input_usd_per_1m\":3,"
				     "\"output_usd_per_1m\":4,\"cached_usd_per_1m\":0,\"as_of\":\"2026-01-31\"},"
				     "{\"model\":\"gpt-4.1\",\"provider\":\"openai\",\"input_usd_per_1m\":99,"
				     "\"output_usd_per_1m\":99,\"source\":\"built-in\"},"
				     "{\"model\":\"x\",\"input_usd_per_1m\":50,\"output_usd_per_1m\":50}]}"),
			      &body, &err),
		SL_OK);
	assert_int_equal(sl_prices_check(body, 1770000000000, &rows, &problems, &err), SL_OK);
	assert_int_equal(sl_prices_load(prices, sl_bytes_str(rows), &err), SL_OK);
	assert_true(sl_price(prices, own, "x", &u, &micro));
	assert_int_equal(micro, 1000 * 2 + 500 * 8); /* the profile's own */
	assert_true(sl_price(prices, table, "gpt-4.1-2025-04-14", &u, &micro));
	assert_int_equal(micro, 600 * 3 + 500 * 4); /* the row that names the provider */
	assert_true(sl_price(prices, table, "gpt-4o-mini", &u, &micro));
	assert_int_equal(micro, 90 + 30 + 300); /* of the table: 0.15, 0.075, 0.60 */
	sl_prices_json(prices, &shown);
	assert_non_null(strstr(shown.data, "\"as_of\":\"2026-01-31\",\"source\":\"operator\""));
	assert_non_null(strstr(shown.data,
			       "\"as_of\":\"2026-02-02\",\"source\":\"operator\"")); /* today, where none was said */
	assert_non_null(strstr(shown.data, "\"source\":\"built-in\""));
	assert_int_equal(sl_prices_load(prices, SL_STR("[]"), &err), SL_OK);
	assert_true(sl_price(prices, table, "gpt-4.1-2025-04-14", &u, &micro));
	assert_int_equal(micro, 1200 + 200 + 4000);
	sl_profiles_free(p);
}

static void a_bad_price_gets_pointers(void **state)
{
	static const struct {
		const char *items, *pointer;
	} rows[] = {
		{"7", "/items"},
		{"[7]", "/items/0"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":1}]", "/items/0/output_usd_per_1m"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":-1,\"output_usd_per_1m\":1}]", "/items/0/input_usd_per_1m"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":1e9,\"output_usd_per_1m\":1}]", "/items/0/input_usd_per_1m"},
		{"[{\"input_usd_per_1m\":1,\"output_usd_per_1m\":1}]", "/items/0/model"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":1,\"output_usd_per_1m\":1,\"as_of\":\"soon\"}]",
		 "/items/0/as_of"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":1,\"output_usd_per_1m\":1,\"currency\":\"EUR\"}]",
		 "/items/0/currency"},
		{"[{\"model\":\"m\",\"input_usd_per_1m\":1,\"output_usd_per_1m\":1},"
		 "{\"model\":\"m\",\"input_usd_per_1m\":1,\"output_usd_per_1m\":1}]",
		 "/items/1"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO_JSON body = NULL;
		SL_AUTO(sl_bytes) out = NULL;
		struct sl_error err = {0};
		char text[512], pointer[64];
		SL_BUF(problems, 4096);
		snprintf(text, sizeof(text), "{\"items\":%s}", rows[i].items);
		snprintf(pointer, sizeof(pointer), "\"pointer\":\"%s\"", rows[i].pointer);
		assert_int_equal(sl_json_parse(sl_str(text), &body, &err), SL_OK);
		assert_int_equal(sl_prices_check(body, 0, &out, &problems, &err), SL_INVALID);
		if (!strstr(problems.data, pointer))
			fail_msg("%s: %s", text, problems.data);
	}
}

static void a_bad_scenario_gets_pointers(void **state)
{
	static const char text[] = "{\"sim\":1,\"extra\":1,\"defaults\":{\"tps\":\"fast\"},\"rules\":[{\"match\":{"
				   "\"user_re\":\"(\",\"call\":0,\"who\":1},"
				   "\"answer\":3,\"fault\":\"F99\"},7]}";
	static const char *const want[] = {"/extra",
					   "/defaults/tps",
					   "/rules/0/match/user_re",
					   "/rules/0/match/call",
					   "/rules/0/match/who",
					   "/rules/0/answer",
					   "/rules/0/fault",
					   "/rules/1"};
	struct sl_error err;
	SL_BUF(problems, 1 << 16);
	assert_int_equal(sl_sim_check(sl_str(text), &problems, &err), SL_INVALID);
	for (size_t i = 0; i < SL_COUNT_OF(want); i++) {
		SL_BUF(quoted, 100);
		sl_buf_addf(&quoted, "\"pointer\":\"%s\"", want[i]);
		if (!strstr(problems.data, quoted.data))
			print_error("%s: %s\n", want[i], problems.data);
		assert_non_null(strstr(problems.data, quoted.data));
	}
	assert_int_equal(sl_sim_check(SL_STR("{\"sim\":2}"), NULL, &err), SL_INVALID);
	assert_int_equal(sl_sim_check(SL_STR("nonsense"), NULL, &err), SL_INVALID);
	assert_int_equal(sl_sim_check(SL_STR("{\"sim\":1}"), NULL, &err), SL_OK);
}

static void a_models_name_tells_its_provider(void **state)
{
	static const char *const rows[][2] = {
		{"gpt-4.1-mini", "openai"},   {"o4-mini", "openai"},         {"claude-opus-4-7", "anthropic"},
		{"gemini-2.5-pro", "gemini"}, {"deepseek-chat", "deepseek"}, {"qwen-plus", "dashscope"},
		{"qwen3:4b", "ollama"},       {"kimi-k2", "moonshot"},       {"glm-4.5", "zhipu"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++)
		assert_string_equal(sl_provider_of_model(sl_str(rows[i][0]))->id, rows[i][1]);
	assert_null(sl_provider_of_model(SL_STR("sim")));
	assert_null(sl_provider_of_model(SL_STR("my-model")));
}

static void a_model_alone_chooses_a_profile_of_its_provider(void **state)
{
	static const struct {
		const char *profile, *provider, *model, *want; /* NULL: none */
	} rows[] = {
		{"", "", "", "openai"},
		{"", "", "claude-sonnet-4-5", "anthropic"},
		{"", "", "gpt-4o", "openai"},
		{"", "", "kimi-k2", "openai"}, /* nobody has Kimi's */
		{"", "", "my-model", "openai"},
		{"groq", "", "claude-sonnet-4-5", "groq"},
		{"", "groq", "claude-sonnet-4-5", "groq"},
		{"nobody", "", "claude-sonnet-4-5", NULL},
	};
	struct sl_profiles *p = fresh();
	(void)sl_profiles_from_env(p, fake_env);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		SL_AUTO(sl_profile)
		one = sl_profiles_choose(p, sl_str(rows[i].profile), sl_str(rows[i].provider), sl_str(rows[i].model));
		assert_int_equal(one != NULL, rows[i].want != NULL);
		if (one)
			assert_string_equal(one->name, rows[i].want);
	}
	/* who was made the default stays it: a rehearsal must not leave the house */
	assert_int_equal(
		put(p, "rehearsal", "{\"provider\":\"sim\",\"base_url\":\"http://h/v1\",\"default\":true}", NULL, NULL),
		SL_OK);
	SL_AUTO(sl_profile) one = sl_profiles_choose(p, SL_STR(""), SL_STR(""), SL_STR("claude-sonnet-4-5"));
	assert_string_equal(one->name, "rehearsal");
	sl_profiles_free(p);
}

static const char *models_page(void)
{
	static char page[1u << 17];
	char path[512];
	snprintf(path, sizeof(path), "%s/docs/MODELS.md", getenv("SLUICE_ROOT"));
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = 0;
	fclose(f);
	return page;
}

static void the_scenario_of_the_documents_is_one(void **state)
{
	struct sl_error err = {0};
	const char *from = strstr(models_page(), "```json\n");
	const char *to = from ? strstr(from + 8, "```") : NULL;
	assert_non_null(to);
	if (sl_sim_check(sl_str_n(from + 8, (size_t)(to - from - 8)), NULL, &err) != SL_OK)
		fail_msg("%s", err.text);
}

static void the_documents_know_every_provider(void **state)
{
	const char *page = models_page();
	const char *at = strstr(page, "|---|");
	for (const struct sl_provider *p = sl_provider_table; p->id; p++) {
		SL_BUF(row, 1024);
		SL_BUF(word, 256);
		sl_buf_addf(&word, "\n| `%s`", p->id);
		at = at ? strstr(at, word.data) : NULL; /* in the table's order */
		if (!at)
			fail_msg("%s is not in docs/MODELS.md, or not in its place", p->id);
		sl_buf_add(&row, at + 1, strcspn(at + 1, "\n"));
		const char *const cells[] = {p->env, p->model, p->base_url, p->env_is_url ? NULL : p->env_url};
		for (size_t i = 0; i < 3; i++) {
			sl_buf_reset(&word);
			sl_buf_addf(&word, "| `%s` |", cells[i] ? cells[i] : "");
			if (cells[i] && !strstr(row.data, word.data))
				fail_msg("%s: no %s in: %s", p->id, word.data, row.data);
		}
		sl_buf_reset(&word);
		sl_buf_addf(&word, "| %s |", p->protocol ? p->protocol->name : "not supported yet");
		if (!strstr(row.data, word.data))
			fail_msg("%s: no %s in: %s", p->id, word.data, row.data);
		if (cells[3] && !strstr(page, cells[3]))
			fail_msg("%s is not in docs/MODELS.md", cells[3]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sealed_key_opens_only_in_its_own_place),
		cmocka_unit_test(keys_go_in_and_never_come_out),
		cmocka_unit_test(a_stored_row_comes_back_and_a_swapped_one_does_not_open),
		cmocka_unit_test(the_stored_profiles_are_followed_row_by_row),
		cmocka_unit_test(keys_stay_when_not_given_but_do_not_follow_to_another_host),
		cmocka_unit_test(a_bad_body_gets_every_problem_with_its_pointer),
		cmocka_unit_test(a_profile_too_long_to_be_kept_is_told_so),
		cmocka_unit_test(the_environment_makes_profiles_and_the_first_is_the_default),
		cmocka_unit_test(the_latest_that_asks_is_the_default),
		cmocka_unit_test(a_profile_in_use_outlives_its_replacement),
		cmocka_unit_test(a_call_costs_what_its_tokens_cost),
		cmocka_unit_test(an_operators_price_goes_before_the_table_and_after_the_profile),
		cmocka_unit_test(a_bad_price_gets_pointers),
		cmocka_unit_test(a_bad_scenario_gets_pointers),
		cmocka_unit_test(a_models_name_tells_its_provider),
		cmocka_unit_test(a_model_alone_chooses_a_profile_of_its_provider),
		cmocka_unit_test(the_documents_know_every_provider),
		cmocka_unit_test(the_scenario_of_the_documents_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
