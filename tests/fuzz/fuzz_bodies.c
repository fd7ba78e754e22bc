/* What an operator puts: a profile, a persona, prices. The first byte chooses. Properties: a refusal has its list of
 * problems, which is JSON, and the first of them as its text; what is accepted gives a row that loads, and loading it
 * says what was put: put again, it gives the same row. A list of prices
 * that was read can be sent back. */
#include <stdint.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/utf8.h"
#include "llm/agents.h"
#include "llm/price.h"
#include "llm/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROBLEMS_BYTES 1000 /* so little that some find no room: the others are a list nevertheless */

static void refused(enum sl_code rc, const struct sl_error *err, const struct sl_buf *problems)
{
	SL_BUF(list, SIZE_MAX);
	SL_AUTO_JSON all = NULL;
	SL_BUG_ON(rc != SL_INVALID || err->code != rc || !err->text[0] || !sl_utf8_valid(err->text, strlen(err->text)));
	sl_buf_addc(&list, '[');
	sl_buf_add(&list, problems->data, problems->len);
	sl_buf_addc(&list, ']');
	SL_BUG_ON(sl_json_parse(sl_buf_str(&list), &all, NULL) != SL_OK);
	SL_BUG_ON(json_object_array_length(all) == 0 && !problems->failed);
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *one = json_object_array_get_idx(all, i);
		SL_BUG_ON(!sl_json_get_z(one, "pointer") || sl_json_get_str(one, "message").len == 0);
	}
}

static void profile(struct json_object *body)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {1, 2, 3};
	SL_AUTO(sl_profiles) put = NULL;
	SL_AUTO(sl_profiles) loaded = NULL;
	SL_BUF(problems, PROBLEMS_BYTES);
	struct sl_profile_row row = {0}, again = {0};
	struct sl_error err = {0};
	SL_BUG_ON(sl_profiles_new(secret, &put) != SL_OK || sl_profiles_new(secret, &loaded) != SL_OK);
	enum sl_code rc = sl_profiles_put(put, SL_STR("one"), body, &row, &problems, &err);
	if (rc != SL_OK) {
		refused(rc, &err, &problems);
		return;
	}
	SL_BUG_ON(sl_profiles_load(loaded, SL_STR("one"), sl_bytes_str(row.body), sl_bytes_str(row.keys), &err) !=
		  SL_OK);
	SL_AUTO_JSON said = NULL;
	SL_BUG_ON(sl_json_parse(sl_bytes_str(row.body), &said, NULL) != SL_OK);
	SL_BUG_ON(sl_profiles_put(loaded, SL_STR("one"), said, &again, &problems, &err) != SL_OK);
	SL_BUG_ON(!sl_str_eq(sl_bytes_str(row.body), sl_bytes_str(again.body)));
	SL_AUTO(sl_profile) a = sl_profiles_get(put, SL_STR("one"));
	SL_AUTO(sl_profile) b = sl_profiles_get(loaded, SL_STR("one"));
	SL_BUF(told, SIZE_MAX);
	SL_BUF(told_again, SIZE_MAX);
	sl_profile_json(put, a, &told);
	sl_profile_json(loaded, b, &told_again); /* with the same last characters of the same keys */
	SL_BUG_ON(!sl_str_eq(sl_buf_str(&told), sl_buf_str(&told_again)));
	sl_profile_row_fini(&row);
	sl_profile_row_fini(&again);
}

static void agent(struct json_object *body)
{
	SL_AUTO(sl_agents) agents = NULL;
	SL_BUF(problems, PROBLEMS_BYTES);
	struct sl_bytes *row = NULL, *again = NULL;
	struct sl_error err = {0};
	SL_BUG_ON(sl_agents_new(&agents) != SL_OK);
	enum sl_code rc = sl_agents_check(SL_STR("one"), body, &row, &problems, &err);
	if (rc != SL_OK) {
		refused(rc, &err, &problems);
		return;
	}
	SL_BUG_ON(sl_agents_load(agents, SL_STR("one"), sl_bytes_str(row), &err) != SL_OK);
	SL_AUTO(sl_agent) one = sl_agents_get(agents, SL_STR("one"));
	SL_BUG_ON(!one || !one->system || !one->system[0]);
	SL_BUF(told, SIZE_MAX);
	SL_AUTO_JSON said = NULL;
	sl_agent_json(one, &told);
	SL_BUG_ON(sl_json_parse(sl_buf_str(&told), &said, NULL) != SL_OK);
	SL_BUG_ON(!sl_str_eq(sl_json_get_str(said, "system"), sl_json_get_str(body, "system")));
	SL_AUTO_JSON stored = NULL;
	SL_BUG_ON(sl_json_parse(sl_bytes_str(row), &stored, NULL) != SL_OK);
	SL_BUG_ON(sl_agents_check(SL_STR("one"), stored, &again, &problems, &err) != SL_OK);
	SL_BUG_ON(!sl_str_eq(sl_bytes_str(row), sl_bytes_str(again)));
	sl_bytes_unref(row);
	sl_bytes_unref(again);
}

static void prices(struct json_object *body)
{
	SL_AUTO(sl_prices) list = NULL;
	SL_BUF(problems, PROBLEMS_BYTES);
	SL_BUF(told, SIZE_MAX);
	struct sl_bytes *rows = NULL, *again = NULL;
	struct sl_error err = {0};
	SL_BUG_ON(sl_prices_new(&list) != SL_OK);
	enum sl_code rc = sl_prices_check(body, 1700000000000, &rows, &problems, &err);
	if (rc != SL_OK) {
		refused(rc, &err, &problems);
		return;
	}
	SL_BUG_ON(sl_prices_load(list, sl_bytes_str(rows), &err) != SL_OK);
	SL_AUTO_JSON said = NULL; /* a list that was read can be sent back */
	sl_buf_adds(&told, "{\"items\":[");
	sl_prices_json(list, &told);
	sl_buf_adds(&told, "]}");
	SL_BUG_ON(sl_json_parse(sl_buf_str(&told), &said, NULL) != SL_OK);
	SL_BUG_ON(sl_prices_check(said, 1800000000000, &again, &problems, &err) != SL_OK);
	SL_BUG_ON(!sl_str_eq(sl_bytes_str(rows), sl_bytes_str(again)));
	sl_bytes_unref(rows);
	sl_bytes_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SL_AUTO_JSON body = NULL;
	if (size == 0 || size > 1 << 15 ||
	    sl_json_parse(sl_str_n((const char *)data + 1, size - 1), &body, NULL) != SL_OK ||
	    !json_object_is_type(body, json_type_object))
		return 0;
	if (data[0] % 3 == 0)
		profile(body);
	else if (data[0] % 3 == 1)
		agent(body);
	else
		prices(body);
	return 0;
}
