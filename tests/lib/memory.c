/* tests/lib/memory.c: see memory.h. */
#include "tests/lib/test.h"

#include "tests/lib/memory.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/sim.h"
#include "store/store.h"

struct answer {
	pthread_mutex_t lock;
	pthread_cond_t came;
	bool here;
	enum sl_code rc;
	struct sl_bytes *json;
};

static void on_answer(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json)
{
	struct answer *a = arg;
	pthread_mutex_lock(&a->lock);
	a->rc = rc;
	a->json = rc == SL_OK ? sl_bytes_ref(json) : NULL;
	a->here = true;
	pthread_cond_signal(&a->came);
	pthread_mutex_unlock(&a->lock);
}

static enum sl_code wait_for(struct answer *a, enum sl_code called, struct json_object **out)
{
	enum sl_code rc = called;
	if (out)
		*out = NULL;
	if (called == SL_OK) {
		pthread_mutex_lock(&a->lock);
		while (!a->here)
			pthread_cond_wait(&a->came, &a->lock);
		pthread_mutex_unlock(&a->lock);
		rc = a->rc;
	}
	if (a->json && out)
		assert_int_equal(sl_json_parse(sl_bytes_str(a->json), out, NULL), SL_OK);
	sl_bytes_unref(a->json);
	return rc;
}
#define ANSWER(name) struct answer name = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER}

enum sl_code sl_rig_store(struct sl_memory_rig *r, const struct sl_memory_item *item, struct json_object **out)
{
	ANSWER(a);
	return wait_for(&a, sl_memory_store(r->memory, item, on_answer, &a), out);
}

enum sl_code sl_rig_search(struct sl_memory_rig *r, const struct sl_memory_search *q, struct json_object **out)
{
	ANSWER(a);
	return wait_for(&a, sl_memory_search(r->memory, q, on_answer, &a), out);
}

static struct sl_uuid uuid(const char *id)
{
	struct sl_uuid u;
	assert_true(sl_uuid_parse(sl_str(id), &u));
	return u;
}

enum sl_code sl_rig_promote(struct sl_memory_rig *r, const char *id, enum sl_memory_tier tier, const char *instead,
			    struct json_object **out)
{
	ANSWER(a);
	return wait_for(&a,
			sl_memory_promote(r->memory, uuid(id), tier, SL_STR("tester"), SL_STR("good"), sl_str(instead),
					  on_answer, &a),
			out);
}

enum sl_code sl_rig_invalidate(struct sl_memory_rig *r, const char *id)
{
	ANSWER(a);
	return wait_for(&a, sl_memory_invalidate(r->memory, uuid(id), SL_STR("tester"), SL_STR("bad"), on_answer, &a),
			NULL);
}

enum sl_code sl_rig_digest(struct sl_memory_rig *r, const char *project, struct json_object **out)
{
	ANSWER(a);
	return wait_for(&a, sl_memory_digest(r->memory, sl_str(project), 0, on_answer, &a), out);
}

void sl_rig_put(struct sl_memory_rig *r, enum sl_memory_tier tier, const char *content, char out[SL_UUID_TEXT_BYTES])
{
	SL_AUTO_JSON o = NULL;
	const struct sl_memory_item item = {.tier = tier,
					    .project = SL_STR("p"),
					    .content = sl_str(content),
					    .confidence = NAN,
					    .by = SL_STR("tester"),
					    .verified = true};
	assert_int_equal(sl_rig_store(r, &item, &o), SL_OK);
	if (!sl_json_get_bool(o, "accepted", false))
		fail_msg("%s: %s", content, sl_json_get_z(o, "reason"));
	snprintf(out, SL_UUID_TEXT_BYTES, "%s", sl_json_get_z(o, "id"));
}

void sl_rig_wait_embedded(struct sl_memory_rig *r, uint64_t n)
{
	struct sl_memory_stats st = {0};
	for (int i = 0; i < 20000 && st.embedded < n; i++) {
		sl_memory_stats(r->memory, &st);
		usleep(1000);
	}
	assert_true(st.embedded >= n);
}

void sl_memory_rig_start(struct sl_memory_rig *r)
{
	static const uint8_t secret[SL_SECRET_KEY_BYTES] = {1};
	struct sl_store_config config;
	struct sl_error err = {0};
	sl_pg_start(&r->pg, SL_PG_MIGRATED);
	sl_store_config_init(&config);
	config.url = r->pg.url;
	config.sharing = SL_STORE_EXCLUSIVE;
	const struct sl_sim_config sim = {.tokens_per_s = -1, .first_token_ms = 1};
	if (sl_store_open(&config, &r->store, &err) != SL_OK || sl_store_wait(r->store, 20000, &err) != SL_OK ||
	    sl_sim_start(&sim, &r->sim, &err) != SL_OK)
		fail_msg("%s", err.text);
	assert_int_equal(sl_profiles_new(secret, &r->profiles), SL_OK);
	const struct sl_llm_config llm = {.profiles = r->profiles};
	assert_int_equal(sl_llm_new(&llm, &r->llm, &err), SL_OK);
}

void sl_memory_rig_open(struct sl_memory_rig *r, uint32_t ttl_s, uint32_t capacity)
{
	struct sl_error err = {0};
	const struct sl_memory_config config = {.store = r->store,
						.llm = r->llm,
						.working_ttl_s = ttl_s,
						.working_capacity = capacity,
						.embed_timeout_ms = r->as_it_is ? 0 : 10000};
	sl_memory_free(r->memory);
	r->memory = NULL;
	if (sl_memory_new(&config, &r->memory, &err) != SL_OK)
		fail_msg("%s", err.text);
}

void sl_memory_rig_stop(struct sl_memory_rig *r)
{
	if (r->llm)
		sl_llm_stop(r->llm);
	sl_memory_free(r->memory);
	sl_store_close(r->store, 1000);
	sl_llm_free(r->llm);
	sl_profiles_free(r->profiles);
	sl_sim_free(r->sim);
	sl_pg_stop(&r->pg);
}

void sl_memory_rig_clean(struct sl_memory_rig *r)
{
	sl_pg_empty(&r->pg);
}

void sl_memory_rig_profile(struct sl_memory_rig *r, const char *model, const char *base_url)
{
	char body[500];
	struct sl_error err = {0};
	struct sl_profile_row row = {0};
	SL_AUTO_JSON o = NULL;
	snprintf(body, sizeof(body),
		 "{\"provider\":\"openai-compatible\",\"kind\":\"embedding\",\"model\":\"%s\",\"base_url\":\"%s\"}",
		 model, base_url ? base_url : sl_sim_url(r->sim));
	assert_int_equal(sl_json_parse(sl_str(body), &o, NULL), SL_OK);
	if (sl_profiles_put(r->profiles, SL_STR("vectors"), o, &row, NULL, &err) != SL_OK)
		fail_msg("%s", err.text);
	sl_profile_row_fini(&row);
}

void sl_memory_rig_no_profile(struct sl_memory_rig *r)
{
	struct sl_error err = {0};
	SL_IGNORE(sl_profiles_delete(r->profiles, SL_STR("vectors"), &err)); /* there may be none */
}
