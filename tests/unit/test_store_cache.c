/* Answers that are kept, against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <stdio.h>

#include "base/clock.h"
#include "store/cache.h"

static void on_cached(void *arg, enum sl_code rc, const struct sl_stored_answer *a)
{
	ANSWER(if (a) {
		snprintf(got.config, sizeof(got.config), SL_STR_FMT, SL_STR_ARG(a->output));
		snprintf(got.name, sizeof(got.name), SL_STR_FMT, SL_STR_ARG(a->source));
	});
}

static void cached(uint8_t id, const char *scope, int64_t lives_ms)
{
	uint8_t key[SL_CACHE_KEY_BYTES] = {id};
	SL_AUTO(sl_bytes) output = sl_bytes_new("{\"text\":\"yes\"}", 14);
	assert_int_equal(ASK(sl_store_cache_put(s, key, sl_str(scope), output, SL_STR("run/a"),
						sl_clock_wall_ms() + lives_ms, on_plain, NULL)),
			 SL_OK);
}

static void look(uint8_t id, enum sl_code expected)
{
	uint8_t key[SL_CACHE_KEY_BYTES] = {id};
	assert_int_equal(ASK(sl_store_cache_get(s, key, on_cached, NULL)), expected);
}

static void answers_are_found_until_they_expire_or_are_cleared(void **state)
{
	cached(1, "llm", 60000);
	cached(2, "node", 60000);
	cached(3, "node", -1000);
	look(1, SL_OK);
	assert_string_equal(got.config, "{\"text\":\"yes\"}");
	assert_string_equal(got.name, "run/a");
	look(3, SL_NOT_FOUND);
	look(4, SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_cache_clear(s, SL_STR("node"), on_plain, NULL)), SL_OK);
	look(2, SL_NOT_FOUND);
	look(1, SL_OK);
	cached(5, "llm", -1000);
	for (uint8_t id = 10; id < 20; id++)
		cached(id, "llm", 60000);
	assert_int_equal(ASK(sl_store_cache_sweep(s, 4, on_plain, NULL)), SL_OK);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM cache"), 4);
	look(19, SL_OK); /* the newest stay */
	assert_int_equal(ASK(sl_store_cache_clear(s, SL_STR(""), on_plain, NULL)), SL_OK);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM cache"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(answers_are_found_until_they_expire_or_are_cleared),
	};
	return cmocka_run_group_tests_name("store/cache", tests, store_world_open, store_world_close);
}
