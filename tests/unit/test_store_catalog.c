/* Workflows, profiles, tokens, settings and prices against a real PostgreSQL. */
#include "tests/lib/store_world.h"

#include <stdio.h>
#include <string.h>

#include "store/profiles.h"
#include "store/settings.h"
#include "store/tokens.h"
#include "store/workflows.h"

static void on_put(void *arg, enum sl_code rc, int32_t version, int64_t created_ms)
{
	ANSWER(got.version = version);
}
static void on_workflow(void *arg, enum sl_code rc, struct sl_stored_workflow *w)
{
	ANSWER(got.workflow = w);
}
static void on_profiles(void *arg, enum sl_code rc, const struct sl_stored_profile *items, size_t n)
{
	ANSWER(got.n = n; if (n) {
		snprintf(got.name, sizeof(got.name), "%s", items[0].name);
		snprintf(got.config, sizeof(got.config), "%s", items[0].config->data);
		snprintf(got.secrets, sizeof(got.secrets), "%s", items[0].secrets ? items[0].secrets->data : "none");
	});
}
static void on_tokens(void *arg, enum sl_code rc, const struct sl_stored_token *items, size_t n)
{
	ANSWER(got.n = n; if (n) {
		got.token = items[0];
		snprintf(got.name, sizeof(got.name), "%s %s", items[0].name, items[0].role);
	});
}

static enum sl_code put(enum sl_workflow_put how, const char *name, const char *definition)
{
	struct sl_bytes *def = text(definition);
	enum sl_code rc =
		ASK(sl_store_workflow_put(s, how, sl_str(name), SL_STR("words"), def, SL_STR("me"), on_put, NULL));
	sl_bytes_unref(def);
	return rc;
}

static void versions_of_a_workflow_count_up_and_never_change(void **state)
{
	assert_int_equal(put(SL_WORKFLOW_UPDATE, "debate", "{\"a\": 1}"), SL_NOT_FOUND);
	assert_int_equal(put(SL_WORKFLOW_CREATE, "debate", "{\"a\": 1}"), SL_OK);
	assert_int_equal(got.version, 1);
	assert_int_equal(put(SL_WORKFLOW_CREATE, "debate", "{\"a\": 1}"), SL_CONFLICT);
	assert_int_equal(put(SL_WORKFLOW_UPDATE, "debate", "{\"a\": 1}"), SL_OK);
	assert_int_equal(got.version, 1); /* the same text makes no version */
	assert_int_equal(put(SL_WORKFLOW_UPDATE, "debate", "{\"a\": 2}"), SL_OK);
	assert_int_equal(got.version, 2);
	assert_int_equal(ASK(sl_store_workflow_get(s, SL_STR("debate"), 0, on_workflow, NULL)), SL_OK);
	assert_int_equal(got.workflow->version, 2);
	assert_string_equal(got.workflow->definition->data, "{\"a\": 2}");
	assert_int_equal(ASK(sl_store_workflow_get(s, SL_STR("debate"), 1, on_workflow, NULL)), SL_OK);
	assert_string_equal(got.workflow->definition->data, "{\"a\": 1}");
	assert_int_equal(got.workflow->latest, 2);
	assert_int_equal(ASK(sl_store_workflow_get(s, SL_STR("debate"), 3, on_workflow, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_workflow_versions(s, SL_STR("debate"), on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	assert_int_equal(json_object_array_length(sl_json_get(o, "items")), 2);
	assert_int_equal(ASK(sl_store_workflow_archive(s, SL_STR("debate"), on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_workflow_archive(s, SL_STR("nobody"), on_plain, NULL)), SL_NOT_FOUND);
	assert_int_equal(put(SL_WORKFLOW_UPDATE, "debate", "{\"a\": 3}"), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_workflow_get(s, SL_STR("debate"), 1, on_workflow, NULL)), SL_OK);
	assert_true(got.workflow->archived);
	assert_int_equal(put(SL_WORKFLOW_CREATE, "debate", "{\"a\": 2}"),
			 SL_OK); /* it comes back with its next version */
	assert_int_equal(got.version, 3);
}

static void pages_of_workflows_join_to_the_whole(void **state)
{
	char name[32], cursor[128] = "", all[512] = "";
	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "w%d", i);
		assert_int_equal(put(SL_WORKFLOW_UPSERT, name, "{}"), SL_OK);
	}
	assert_int_equal(ASK(sl_store_workflow_archive(s, SL_STR("w3"), on_plain, NULL)), SL_OK);
	for (int page = 0; page < 10; page++) {
		assert_int_equal(ASK(sl_store_workflow_list(s, sl_str(cursor), 2, on_json, NULL)), SL_OK);
		SL_AUTO_JSON o = json();
		struct json_object *items = sl_json_get(o, "items");
		for (size_t i = 0; i < json_object_array_length(items); i++)
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s ",
				 sl_json_get_z(json_object_array_get_idx(items, i), "name"));
		if (!sl_json_get_z(o, "next_cursor"))
			break;
		snprintf(cursor, sizeof(cursor), "%s", sl_json_get_z(o, "next_cursor"));
	}
	assert_string_equal(all, "w0 w1 w2 w4 w5 w6 ");
	assert_int_equal(sl_store_workflow_list(s, SL_STR("zz"), 2, on_json, NULL), SL_BAD_REQUEST);
}

static void a_profile_keeps_its_secrets_when_asked(void **state)
{
	struct sl_bytes *config = text("{\"model\":\"m\"}"), *other = text("{\"model\":\"n\"}"),
			*secrets = text("sealed");
	assert_int_equal(ASK(sl_store_profile_put(s, &someone, SL_STR("p"), config, SL_PROFILE_SET_SECRETS, secrets,
						  on_plain, NULL)),
			 SL_OK);
	assert_int_equal(ASK(sl_store_profile_put(s, &someone, SL_STR("p"), other, SL_PROFILE_KEEP_SECRETS, NULL,
						  on_plain, NULL)),
			 SL_OK);
	assert_int_equal(ASK(sl_store_profile_list(s, on_profiles, NULL)), SL_OK);
	assert_int_equal(got.n, 1);
	assert_string_equal(got.name, "p");
	assert_string_equal(got.config, "{\"model\":\"n\"}");
	assert_string_equal(got.secrets, "sealed");
	assert_int_equal(ASK(sl_store_profile_put(s, &someone, SL_STR("p"), other, SL_PROFILE_SET_SECRETS, NULL,
						  on_plain, NULL)),
			 SL_OK);
	assert_int_equal(ASK(sl_store_profile_list(s, on_profiles, NULL)), SL_OK);
	assert_string_equal(got.secrets, "none");
	assert_int_equal(ASK(sl_store_profile_delete(s, &someone, SL_STR("p"), on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_profile_delete(s, &someone, SL_STR("p"), on_plain, NULL)), SL_NOT_FOUND);
	sl_bytes_unref(config);
	sl_bytes_unref(other);
	sl_bytes_unref(secrets);
}

static void a_token_is_found_by_its_hash_until_revoked_or_expired(void **state)
{
	struct sl_stored_token t = {
		.id = sl_uuid_new(), .name = "ci", .role = "runner", .hash = {1, 0, 2}, .last4 = "wxyz"};
	struct sl_stored_token expired = {
		.id = sl_uuid_new(), .name = "old", .role = "viewer", .hash = {3}, .last4 = "abcd", .expires_ms = 1000};
	assert_int_equal(ASK(sl_store_token_add(s, &someone, &t, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_token_add(s, &someone, &t, on_plain, NULL)), SL_CONFLICT);
	assert_int_equal(ASK(sl_store_token_find(s, t.hash, on_tokens, NULL)), SL_OK);
	assert_string_equal(got.name, "ci runner");
	assert_string_equal(got.token.last4, "wxyz");
	assert_memory_equal(got.token.hash, t.hash, sizeof(t.hash));
	assert_true(sl_uuid_eq(got.token.id, t.id));
	assert_int_equal(ASK(sl_store_token_add(s, &someone, &expired, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_token_find(s, expired.hash, on_tokens, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_token_revoke(s, &someone, t.id, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_token_find(s, t.hash, on_tokens, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_token_revoke(s, &someone, sl_uuid_new(), on_plain, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_token_list(s, on_tokens, NULL)), SL_OK);
	assert_int_equal(got.n, 2);
	t.id = sl_uuid_new();
	t.hash[0] = 9;
	assert_int_equal(ASK(sl_store_token_add(s, &someone, &t, on_plain, NULL)), SL_OK); /* the name is free again */
}

static void settings_are_kept_to_the_byte(void **state)
{
	struct sl_bytes *v = text("{ \"b\": 1, \"a\": [ ] }");
	assert_int_equal(ASK(sl_store_setting_get(s, SL_STR("limits"), on_json, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_setting_put(s, SL_STR("limits"), v, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_setting_put(s, SL_STR("limits"), v, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_setting_get(s, SL_STR("limits"), on_json, NULL)), SL_OK);
	assert_string_equal(got.json->data, v->data);
	assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	assert_string_equal(got.json->data, "{\"limits\":{ \"b\": 1, \"a\": [ ] }}");
	assert_int_equal(ASK(sl_store_setting_delete(s, SL_STR("limits"), on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_setting_delete(s, SL_STR("limits"), on_plain, NULL)), SL_NOT_FOUND);
	sl_bytes_unref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(versions_of_a_workflow_count_up_and_never_change),
		STORE_TEST(pages_of_workflows_join_to_the_whole),
		STORE_TEST(a_profile_keeps_its_secrets_when_asked),
		STORE_TEST(a_token_is_found_by_its_hash_until_revoked_or_expired),
		STORE_TEST(settings_are_kept_to_the_byte),
	};
	return cmocka_run_group_tests_name("store/catalog", tests, store_world_open, store_world_close);
}
