/* tests/lib/limited.h: a world whose nodes call models through profiles: with a governor, a cache and the profile
 * `main`, for all that keeps such calls within limits.
 *
 * Owns      struct limited has all of it.
 * Thread    the test's own.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/cache.h"
#include "llm/chat.h"
#include "llm/governor.h"
#include "llm/profile.h"
#include "llm/services.h"
#include "tests/lib/scenario.h"
#include "tests/lib/test.h"

struct limited {
	struct world *w;
	struct sl_profiles *profiles;
	struct sl_governor *governor;
	struct sl_llm *llm;
	struct sl_cache *cache;
};

static inline void put(struct limited *f, const char *name, const char *body)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_profile_row row = {0};
	struct sl_error err;
	assert_int_equal(sl_json_parse(sl_str(body), &doc, &err), SL_OK);
	if (sl_profiles_put(f->profiles, sl_str(name), doc, &row, NULL, &err) != SL_OK)
		fail_msg("%s", err.text);
	sl_profile_row_fini(&row);
}

#define PROFILE(more) "{\"provider\":\"openai\",\"model\":\"m\",\"api_keys\":[\"sk-aaaaaaaa1111\"]" more "}"

static inline int limited_setup(void **state)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {7};
	struct limited *f = calloc(1, sizeof(*f));
	struct sl_error err;
	assert_int_equal(sl_profiles_new(secret, &f->profiles), SL_OK);
	assert_int_equal(sl_governor_new(NULL, &f->governor), SL_OK);
	const struct sl_llm_config config = {.profiles = f->profiles, .governor = f->governor};
	assert_int_equal(sl_llm_new(&config, &f->llm, &err), SL_OK);
	f->w = world_new(1);
	world_services(f->w)->llm = f->llm;
	world_services(f->w)->governor = f->governor;
	assert_int_equal(sl_cache_new(NULL, &f->cache), SL_OK);
	world_services(f->w)->cache = f->cache;
	put(f, "main", PROFILE(""));
	*state = f;
	return 0;
}

static inline int limited_teardown(void **state)
{
	struct limited *f = *state;
	world_free(f->w);
	sl_llm_free(f->llm);
	sl_governor_free(f->governor);
	sl_cache_free(f->cache);
	sl_profiles_free(f->profiles);
	free(f);
	return 0;
}

/* One run of one node `a` with these parameters (beside the prompt). */
static inline struct sl_run_id ask_with(struct limited *f, const char *limits, const char *params, const char *more)
{
	char text[4096];
	snprintf(text, sizeof(text),
		 "{\"sluice\":1,\"name\":\"n\",\"limits\":{%s},\"nodes\":[{\"id\":\"a\",\"type\":\"fake\",\"params\":{"
		 "\"prompt\":\"what is it?\",%s}%s}],\"edges\":[],\"outputs\":{\"text\":\"{{ nodes.a.text }}\"}}",
		 limits, params, more);
	return world_submit(f->w, text, "{}");
}

static inline struct sl_run_id ask(struct limited *f, const char *params)
{
	return ask_with(f, "", params, "");
}

static inline const char *answer(struct limited *f, struct sl_run_id id)
{
	return sl_json_get_z(sl_json_get(world_run(f->w, id), "outputs"), "text");
}

/* The last reason node `a` was given. */
static inline const char *reason(struct limited *f, struct sl_run_id id)
{
	static char last[400];
	const struct sl_record *r;
	size_t n = world_records(f->w, id, &r);
	last[0] = 0;
	for (size_t i = 0; i < n; i++) {
		SL_AUTO_JSON data = NULL;
		if (!r[i].data || sl_json_parse(sl_bytes_str(r[i].data), &data, NULL) != SL_OK)
			continue;
		const char *why = sl_json_get_z(data, "reason");
		if (why && sl_json_get(data, "node_id"))
			snprintf(last, sizeof(last), "%s", why);
	}
	return last;
}

#define LIMITED_TEST(name) cmocka_unit_test_setup_teardown(name, limited_setup, limited_teardown)
