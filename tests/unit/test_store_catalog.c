/* Workflows, runs, profiles, tokens, audit and settings against a real PostgreSQL; and the pool under them. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/agents.h"
#include "store/audit.h"
#include "store/cache.h"
#include "store/journal.h"
#include "store/ledger.h"
#include "store/overview.h"
#include "store/prices.h"
#include "store/profiles.h"
#include "store/runs.h"
#include "store/settings.h"
#include "store/spend.h"
#include "store/templates.h"
#include "store/tokens.h"
#include "store/workflows.h"
#include "tests/lib/pg.h"

static struct sl_pg pg;
static struct sl_store *s;

/* The last answer; each call of the store is followed by answer(). */
static struct {
	pthread_mutex_t m;
	pthread_cond_t changed;
	int calls;
	enum sl_code rc;
	struct sl_bytes *json;
	int32_t version;
	struct sl_stored_workflow *workflow;
	struct sl_stored_run *run;
	struct sl_stored_token token;
	size_t n;
	char name[64], config[256], secrets[64];
} got = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

#define ANSWER(...)                                                                                                    \
	do {                                                                                                           \
		pthread_mutex_lock(&got.m);                                                                            \
		got.rc = rc;                                                                                           \
		got.calls++;                                                                                           \
		__VA_ARGS__;                                                                                           \
		pthread_cond_broadcast(&got.changed);                                                                  \
		pthread_mutex_unlock(&got.m);                                                                          \
	} while (0)

static void on_plain(void *arg, enum sl_code rc)
{
	ANSWER();
}
static void on_json(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	ANSWER(got.json = sl_bytes_ref(json));
}
static void on_put(void *arg, enum sl_code rc, int32_t version, int64_t created_ms)
{
	ANSWER(got.version = version);
}
static void on_workflow(void *arg, enum sl_code rc, struct sl_stored_workflow *w)
{
	ANSWER(got.workflow = w);
}
static void on_run(void *arg, enum sl_code rc, struct sl_stored_run *run)
{
	ANSWER(got.run = run);
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

static void forget(void)
{
	sl_bytes_unref(got.json);
	sl_stored_workflow_free(got.workflow);
	sl_stored_run_free(got.run);
	got.json = NULL;
	got.workflow = NULL;
	got.run = NULL;
	got.calls = 0;
	got.n = 0;
}

static enum sl_code answer_of(enum sl_code called)
{
	assert_int_equal(called, SL_OK);
	pthread_mutex_lock(&got.m);
	while (!got.calls)
		pthread_cond_wait(&got.changed, &got.m);
	pthread_mutex_unlock(&got.m);
	return got.rc;
}
/* Makes the call, waits, yields its code. */
#define ASK(call) (forget(), answer_of(call))

static const struct sl_audit_by someone = {SL_STR("someone"), SL_STR("x.y"), SL_STR("it")};

static struct sl_bytes *text(const char *z)
{
	return sl_bytes_new(z, strlen(z));
}

static struct json_object *json(void)
{
	struct json_object *o = NULL;
	struct sl_error err = {0};
	assert_non_null(got.json);
	if (sl_json_parse(sl_bytes_str(got.json), &o, &err) != SL_OK)
		fail_msg("%s in %s", err.text, got.json->data);
	return o;
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

static void batch_done(struct sl_batch *b, enum sl_code rc)
{
	ANSWER();
	sl_batch_free(b);
}

/* `first`: the data of its first record. */
static void make_run_with(struct sl_run_id id, const char *workflow, const char *status, const char *tags, int n,
			  const char *first)
{
	struct sl_batch *b = sl_batch_new((size_t)n);
	b->run = id;
	b->epoch = 1;
	b->done = batch_done;
	for (int i = 0; i < n; i++)
		b->records[i] = (struct sl_record){.seq = (uint64_t)i + 1,
						   .wall_ms = 1763658000000 + i,
						   .event = "progress",
						   .data = text(i ? "{\"n\":1}" : first)};
	b->create = sl_run_head_new();
	b->create->id = id;
	b->create->workflow = sl_str_dup(sl_str(workflow));
	b->create->project = sl_str_dup(SL_STR("default"));
	b->create->definition = text("{}");
	b->create->inputs = text("{}");
	b->create->tags = tags ? text(tags) : NULL;
	b->create->created_ms = sl_uuid_wall_ms(id.u);
	b->has_projection = true;
	b->projection = (struct sl_projection){.status = status,
					       .cost_microusd = 1500,
					       .input_tokens = 7,
					       .nodes_total = 4,
					       .done = strcmp(status, "failed") == 0};
	if (b->projection.done)
		b->projection.error = text("{\"code\":\"timeout\",\"message\":\"m\"}");
	assert_int_equal(ASK(sl_store_append(s, b)), SL_OK);
}

static struct sl_run_id make_run(const char *workflow, const char *status, const char *tags, int n)
{
	struct sl_run_id id = {sl_uuid_new()};
	make_run_with(id, workflow, status, tags, n, "{\"n\":1}");
	return id;
}

static int listed(struct sl_run_filter f)
{
	assert_int_equal(ASK(sl_store_run_list(s, &f, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	return (int)json_object_array_length(sl_json_get(o, "items"));
}

static void the_run_list_filters_and_pages(void **state)
{
	char id[SL_UUID_TEXT_BYTES], cursor[128] = "";
	int64_t before = sl_uuid_wall_ms(sl_uuid_new());
	struct sl_run_id failed = make_run("a", "failed", NULL, 1);
	make_run("a", "running", "[\"x\",\"y\"]", 1);
	make_run("b", "paused", "[\"y\"]", 1);
	assert_int_equal(listed((struct sl_run_filter){0}), 3);
	assert_int_equal(listed((struct sl_run_filter){.statuses = {SL_STR("failed")}, .n_statuses = 1}), 1);
	SL_AUTO_JSON one = json();
	struct json_object *item = json_object_array_get_idx(sl_json_get(one, "items"), 0);
	sl_uuid_format(failed.u, id);
	assert_string_equal(sl_json_get_z(item, "id"), id);
	assert_string_equal(sl_json_get_z(sl_json_get(item, "error"), "code"), "timeout");
	assert_true(sl_json_get_f64(item, "cost_usd", 0) > 0.00149 && sl_json_get_f64(item, "cost_usd", 0) < 0.00151);
	assert_int_equal(sl_json_get_i64(sl_json_get(item, "usage"), "input_tokens", 0), 7);
	assert_int_equal(
		listed((struct sl_run_filter){.statuses = {SL_STR("running"), SL_STR("paused")}, .n_statuses = 2}), 2);
	assert_int_equal(listed((struct sl_run_filter){.workflow = SL_STR("a")}), 2);
	assert_int_equal(listed((struct sl_run_filter){.tag = SL_STR("y"), .project = SL_STR("default")}), 2);
	assert_int_equal(listed((struct sl_run_filter){.tag = SL_STR("x"), .workflow = SL_STR("b")}), 0);
	assert_int_equal(listed((struct sl_run_filter){.since_ms = before}), 3);
	assert_int_equal(listed((struct sl_run_filter){.since_ms = before + 3600000}), 0);
	int total = 0;
	for (int page = 0; page < 4; page++) {
		total += listed((struct sl_run_filter){.limit = 1, .cursor = sl_str(cursor)});
		SL_AUTO_JSON o = json();
		if (!sl_json_get_z(o, "next_cursor"))
			break;
		snprintf(cursor, sizeof(cursor), "%s", sl_json_get_z(o, "next_cursor"));
	}
	assert_int_equal(total, 3);
	assert_int_equal(sl_store_run_list(s, &(struct sl_run_filter){.cursor = SL_STR("6161")}, on_json, NULL),
			 SL_BAD_REQUEST);
}

static void a_fork_says_in_the_list_of_whom(void **state)
{
	static const char of[] =
		"{\"run\":\"01890000-0000-7000-8000-000000000001\",\"at_seq\":7,\"from\":\"r#2/judge\"}";
	struct sl_run_id fork = {sl_uuid_new()};
	char id[SL_UUID_TEXT_BYTES], first[256];
	make_run("forks", "running", NULL, 2);
	snprintf(first, sizeof(first), "{\"by\":\"forked_from\",\"forked_from\":%s}", of);
	make_run_with(fork, "forks", "running", NULL, 2, first);
	sl_uuid_format(fork.u, id);
	assert_int_equal(listed((struct sl_run_filter){.workflow = SL_STR("forks")}), 2);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; i < 2; i++) {
		struct json_object *item = json_object_array_get_idx(items, i),
				   *from = sl_json_get(item, "forked_from");
		if (strcmp(sl_json_get_z(item, "id"), id) != 0) {
			assert_null(from);
			continue;
		}
		assert_non_null(from);
		assert_string_equal(
			json_object_to_json_string_ext(from, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			of);
	}
}

static void events_come_page_by_page_after_a_seq(void **state)
{
	struct sl_run_id id = make_run("a", "running", NULL, 25), nobody = {sl_uuid_new()};
	assert_int_equal(ASK(sl_store_run_events(s, id, 0, 10, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	assert_int_equal(json_object_array_length(sl_json_get(o, "items")), 10);
	assert_string_equal(sl_json_get_z(o, "next_cursor"), "10");
	struct json_object *item = json_object_array_get_idx(sl_json_get(o, "items"), 0);
	assert_int_equal(sl_json_get_i64(item, "seq", 0), 1);
	assert_string_equal(sl_json_get_z(item, "ts"), "2025-11-20T17:00:00.000Z");
	assert_int_equal(sl_json_get_i64(sl_json_get(item, "data"), "n", 0), 1);
	assert_int_equal(ASK(sl_store_run_events(s, id, 20, 10, on_json, NULL)), SL_OK);
	SL_AUTO_JSON last = json();
	assert_int_equal(json_object_array_length(sl_json_get(last, "items")), 5);
	assert_null(sl_json_get(last, "next_cursor"));
	assert_int_equal(ASK(sl_store_run_events(s, id, 25, 10, on_json, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_run_events(s, nobody, 0, 10, on_json, NULL)), SL_NOT_FOUND);
	assert_int_equal(ASK(sl_store_run_records(s, id, 3, 5, on_run, NULL)), SL_OK);
	assert_int_equal(got.run->n_records, 5);
	assert_int_equal(got.run->records[0].seq, 4);
	assert_string_equal(got.run->records[4].event, "progress");
	assert_int_equal(ASK(sl_store_run_records(s, nobody, 3, 5, on_run, NULL)), SL_NOT_FOUND);
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

static void audit_rows_come_newest_first(void **state)
{
	struct sl_bytes *detail = text("{\"why\":\"because\"}");
	for (int i = 0; i < 3; i++)
		assert_int_equal(ASK(sl_store_audit(s, SL_STR("admin"), sl_str(i == 2 ? "run.unlock" : "run.cancel"),
						    SL_STR("r"), i ? detail : NULL, on_plain, NULL)),
				 SL_OK);
	assert_int_equal(ASK(sl_store_audit_list(s, &(struct sl_audit_filter){.limit = 2}, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	struct json_object *item = json_object_array_get_idx(sl_json_get(o, "items"), 0);
	assert_string_equal(sl_json_get_z(item, "action"), "run.unlock");
	assert_string_equal(sl_json_get_z(sl_json_get(item, "detail"), "why"), "because");
	assert_int_equal(ASK(sl_store_audit_list(
				 s, &(struct sl_audit_filter){.cursor = sl_json_get_str(o, "next_cursor"), .limit = 2},
				 on_json, NULL)),
			 SL_OK);
	SL_AUTO_JSON rest = json();
	assert_int_equal(json_object_array_length(sl_json_get(rest, "items")), 1);
	assert_null(sl_json_get(json_object_array_get_idx(sl_json_get(rest, "items"), 0), "detail"));
	sl_bytes_unref(detail);
}

static void the_trail_is_filtered_by_who_and_what(void **state)
{
	static const struct {
		const char *actor, *action;
		size_t n;
	} rows[] = {{"", "", 4},       {"ann", "", 2}, {"", "agent.put", 2}, {"bob", "agent.put", 1},
		    {"", "agent.", 3}, {"ann", "x", 0}};
	static const char *const lines[][2] = {
		{"ann", "agent.put"}, {"bob", "agent.put"}, {"bob", "agent.delete"}, {"ann", "agentless"}};
	for (size_t i = 0; i < SL_COUNT_OF(lines); i++)
		assert_int_equal(ASK(sl_store_audit(s, sl_str(lines[i][0]), sl_str(lines[i][1]), SL_STR(""), NULL,
						    on_plain, NULL)),
				 SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		const struct sl_audit_filter f = {.actor = sl_str(rows[i].actor), .action = sl_str(rows[i].action)};
		assert_int_equal(ASK(sl_store_audit_list(s, &f, on_json, NULL)), SL_OK);
		SL_AUTO_JSON o = json();
		assert_int_equal(json_object_array_length(sl_json_get(o, "items")), rows[i].n);
	}
}

static bool chain_is_whole(int64_t *broken)
{
	assert_int_equal(ASK(sl_store_audit_verify(s, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	*broken = sl_json_get_i64(o, "broken", 0);
	return sl_json_get_bool(o, "ok", false);
}

/* Whoever can write SQL can switch the triggers off; the chain tells all the same. */
static void a_line_that_is_changed_or_removed_shows(void **state)
{
	static const char *const attacks[] = {
		"UPDATE audit SET actor = 'nobody' WHERE id = $",
		"UPDATE audit SET target = 'it' || target WHERE id = $",
		"UPDATE audit SET at = at + interval '1 us' WHERE id = $",
		"UPDATE audit SET detail = '{}' WHERE id = $",
		"DELETE FROM audit WHERE id = $",
		"UPDATE audit SET action = upper(action) WHERE id = $",
		"UPDATE audit SET hash = sha256('x') WHERE id = $",
	};
	struct sl_bytes *detail = text("{\"a\":1}");
	int64_t broken;
	char sql[600], row[200];
	for (int i = 0; i < 6; i++)
		assert_int_equal(ASK(sl_store_audit(s, SL_STR("ann"), SL_STR("x.y"), SL_STR("t"), i % 2 ? detail : NULL,
						    on_plain, NULL)),
				 SL_OK);
	assert_true(chain_is_whole(&broken));
	for (size_t i = 0; i < SL_COUNT_OF(attacks); i++)
		for (int id = 1; id <= 6; id++) {
			const char *dollar = strchr(attacks[i], '$');
			snprintf(row, sizeof(row), "%.*s%d", (int)(dollar - attacks[i]), attacks[i], id);
			snprintf(sql, sizeof(sql),
				 "CREATE TABLE kept AS SELECT * FROM audit; ALTER TABLE audit DISABLE TRIGGER USER; "
				 "%s; ALTER "
				 "TABLE audit ENABLE TRIGGER USER",
				 row);
			sl_pg_exec(&pg, sql);
			if (chain_is_whole(&broken) || broken < id || broken > id + 1000)
				fail_msg("%s: not seen, or at %lld", row, (long long)broken);
			sl_pg_exec(
				&pg,
				"ALTER TABLE audit DISABLE TRIGGER USER; TRUNCATE audit; INSERT INTO audit OVERRIDING "
				"SYSTEM VALUE SELECT * FROM kept; DROP TABLE kept; ALTER TABLE audit ENABLE TRIGGER "
				"USER");
			assert_true(chain_is_whole(&broken));
		}
	sl_bytes_unref(detail);
}

static void lines_of_many_at_once_make_one_chain(void **state)
{
	int64_t broken;
	forget();
	for (int i = 0; i < 200; i++)
		assert_int_equal(sl_store_audit(s, SL_STR("ann"), SL_STR("x.y"), SL_STR("t"), NULL, on_plain, NULL),
				 SL_OK);
	pthread_mutex_lock(&got.m);
	while (got.calls < 200)
		pthread_cond_wait(&got.changed, &got.m);
	pthread_mutex_unlock(&got.m);
	assert_true(chain_is_whole(&broken));
	assert_int_equal(sl_pg_count(&pg, "SELECT max(id) FROM audit"), 200);
}

static void a_change_and_its_line_of_the_trail_are_one(void **state)
{
	const struct sl_audit_by by = {SL_STR("ann"), SL_STR("x.y"), SL_STR("prices")};
	struct sl_bytes *body = text("{\"system\":\"x\"}"), *none = text("[]"),
			*price = text("[{\"provider\":\"\",\"model\":\"m\",\"input_nanousd\":1,\"output_nanousd\":2,"
				      "\"as_of\":\"2026-01-31\"}]"),
			*bad = text("[{\"provider\":null}]");
	const struct sl_template_row row = {.name = SL_STR("t"),
					    .title = SL_STR("T"),
					    .about = SL_STR("about"),
					    .category = SL_STR("own"),
					    .created_by = SL_STR("ann"),
					    .definition = body};
	struct {
		enum sl_code got, want;
		long lines;
	} steps[] = {
		{ASK(sl_store_agent_put(s, &by, SL_STR("a"), body, on_plain, NULL)), SL_OK, 1},
		{ASK(sl_store_agent_put(s, &by, SL_STR("a"), body, on_plain, NULL)), SL_OK, 2},
		{ASK(sl_store_agent_delete(s, &by, SL_STR("a"), on_plain, NULL)), SL_OK, 3},
		{ASK(sl_store_agent_delete(s, &by, SL_STR("a"), on_plain, NULL)), SL_NOT_FOUND, 3},
		{ASK(sl_store_template_add(s, &by, &row, on_plain, NULL)), SL_OK, 4},
		{ASK(sl_store_template_add(s, &by, &row, on_plain, NULL)), SL_CONFLICT, 4},
		{ASK(sl_store_template_delete(s, &by, SL_STR("t"), on_plain, NULL)), SL_OK, 5},
		{ASK(sl_store_template_delete(s, &by, SL_STR("t"), on_plain, NULL)), SL_NOT_FOUND, 5},
		{ASK(sl_store_price_replace(s, &by, price, on_plain, NULL)), SL_OK, 6},
	};
	for (size_t i = 0; i < SL_COUNT_OF(steps); i++)
		assert_int_equal(steps[i].got, steps[i].want);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM audit"), 6);
	assert_int_equal(
		sl_pg_count(&pg, "SELECT count(*) FROM audit WHERE target = 'a' AND actor = 'ann' AND action = 'x.y'"),
		3);
	assert_int_equal(ASK(sl_store_price_list(s, on_json, NULL)), SL_OK);
	assert_string_equal(got.json->data,
			    "[{\"provider\":\"\",\"model\":\"m\",\"input_nanousd\":1,\"output_nanousd\":2,"
			    "\"as_of\":\"2026-01-31\"}]");
	assert_int_not_equal(ASK(sl_store_price_replace(s, &by, bad, on_plain, NULL)), SL_OK); /* all or nothing */
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM prices"), 1);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM audit"), 6);
	assert_int_equal(ASK(sl_store_price_replace(s, &by, none, on_plain, NULL)), SL_OK);
	assert_int_equal(sl_pg_count(&pg, "SELECT count(*) FROM prices"), 0);
	sl_bytes_unref(body);
	sl_bytes_unref(none);
	sl_bytes_unref(price);
	sl_bytes_unref(bad);
}

static size_t n_ids;
static void on_ids(void *arg, enum sl_code rc, const struct sl_run_id *ids, size_t n)
{
	ANSWER(n_ids = n);
}
static struct sl_store_today today_sums;
static void on_today(void *arg, enum sl_code rc, const struct sl_store_today *t)
{
	ANSWER(today_sums = *t);
}

#define RUN(id, more)                                                                                                  \
	"INSERT INTO runs (id, created_at, epoch, last_seq, version, priority, status, workflow, project, owner, "     \
	"done, "                                                                                                       \
	"reason, cost_microusd) VALUES ('" id "', now(), 1, 1, 1, 0, " more ");"
#define EVENT(id, seq, event, node)                                                                                    \
	"INSERT INTO run_events (run_id, at, seq, epoch, event, data) VALUES ('" id "', now(), " seq ", 1, '" event    \
	"', '{\"node_id\":\"" node "\",\"draft\":{\"a\":1},\"allow_skip\":true,\"deadline_at\":null}');"
#define A "01000000-0000-7000-8000-000000000001"
#define B "01000000-0000-7000-8000-000000000002"
#define C "01000000-0000-7000-8000-000000000003"

static void open_reviews_are_those_without_an_end_in_unfinished_runs(void **state)
{
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
				RUN(B, "'succeeded', 'wf', 'kitchen', NULL, true, NULL, 0")
					RUN(C, "'waiting', 'wf2', 'garden', NULL, false, NULL, 0"));
	sl_pg_exec(&pg, EVENT(A, "1", "human_review:requested", "r#1/x") EVENT(A, "2", "human_review:resolved", "r#1/x")
				EVENT(A, "3", "human_review:requested", "r#2/x")
					EVENT(A, "4", "human_review:requested", "other")
						EVENT(B, "1", "human_review:requested", "r")
							EVENT(C, "1", "human_review:requested", "r"));
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), SL_STR(""), 2, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items"), *one = json_object_array_get_idx(items, 0);
	assert_int_equal(json_object_array_length(items), 2);
	assert_string_equal(sl_json_get_z(one, "run_id"), A);
	assert_string_equal(sl_json_get_z(one, "node"), "r#2/x");
	assert_string_equal(sl_json_get_z(one, "workflow"), "wf");
	assert_int_equal(sl_json_get_i64(sl_json_get(one, "draft"), "a", 0), 1);
	assert_true(sl_json_get_bool(one, "allow_skip", false));
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, 1), "node"), "other");
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), sl_json_get_str(page, "next_cursor"), 2, on_json, NULL)),
			 SL_OK);
	SL_AUTO_JSON rest = json();
	items = sl_json_get(rest, "items");
	assert_int_equal(json_object_array_length(items), 1);
	assert_string_equal(sl_json_get_z(json_object_array_get_idx(items, 0), "run_id"), C);
	assert_null(sl_json_get(rest, "next_cursor"));
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR("garden"), SL_STR(""), 0, on_json, NULL)), SL_OK);
	SL_AUTO_JSON garden = json();
	assert_int_equal(json_object_array_length(sl_json_get(garden, "items")), 1);
	assert_int_equal(sl_store_reviews(s, SL_STR(""), SL_STR("zz"), 2, on_json, NULL), SL_BAD_REQUEST);
}

#define EVENT_AT(id, at, seq, event, data)                                                                             \
	"INSERT INTO run_events (run_id, at, seq, epoch, event, data) VALUES ('" id "', '" at "', " seq ", 1, '" event \
	"', '" data "');"
#define ENDED(seq, node, status)                                                                                       \
	EVENT_AT(A, "2026-01-01 00:00:09Z", seq, "node_state_change",                                                  \
		 "{\"node_id\":\"" node "\",\"status\":\"" status "\"}")
#define ASKED(id, at, seq, node) EVENT_AT(id, at, seq, "human_review:requested", "{\"node_id\":\"" node "\"}")

/* The nodes of a page, as "a b c"; the next cursor goes into `cursor`. */
static void reviews_are(char *cursor, size_t bytes, uint32_t limit, const char *nodes)
{
	char text[200] = "";
	assert_int_equal(ASK(sl_store_reviews(s, SL_STR(""), sl_str(cursor), limit, on_json, NULL)), SL_OK);
	SL_AUTO_JSON page = json();
	struct json_object *items = sl_json_get(page, "items");
	for (size_t i = 0; i < json_object_array_length(items); i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			       sl_json_get_z(json_object_array_get_idx(items, i), "node"));
	assert_string_equal(text, nodes);
	(void)snprintf(cursor, bytes, SL_STR_FMT, SL_STR_ARG(sl_json_get_str(page, "next_cursor")));
}

static void a_review_that_was_called_off_does_not_wait(void **state)
{
	char cursor[256] = "";
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0"));
	sl_pg_exec(&pg,
		   ASKED(A, "2026-01-01 00:00:01Z", "1", "cancelled") ASKED(A, "2026-01-01 00:00:01Z", "2", "failed")
			   ASKED(A, "2026-01-01 00:00:01Z", "3", "skipped")
				   ASKED(A, "2026-01-01 00:00:01Z", "4", "completed")
					   ASKED(A, "2026-01-01 00:00:01Z", "5", "again")
						   ASKED(A, "2026-01-01 00:00:01Z", "6", "paused")
							   ASKED(A, "2026-01-01 00:00:01Z", "7", "waits"));
	reviews_are(cursor, sizeof(cursor), 50, "cancelled failed skipped completed again paused waits");
	sl_pg_exec(&pg, ENDED("11", "cancelled", "cancelled") ENDED("12", "failed", "failed")
				ENDED("13", "skipped", "skipped") ENDED("14", "completed", "completed")
					ENDED("15", "again", "retrying") ENDED("16", "paused", "pending")
						ENDED("17", "waits", "waiting") ENDED("18", "other", "cancelled"));
	reviews_are(cursor, sizeof(cursor), 50, "again paused waits");
}

static void who_has_waited_longest_for_a_person_comes_first(void **state)
{
	char cursor[256] = "", old[200] = "";
	sl_pg_exec(&pg, RUN(A, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
				RUN(B, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0")
					RUN(C, "'waiting', 'wf', 'kitchen', NULL, false, NULL, 0"));
	sl_pg_exec(&pg, ASKED(A, "2026-01-01 00:00:03Z", "1", "third") ASKED(A, "2026-01-01 00:00:05Z", "2", "sixth")
				ASKED(B, "2026-01-01 00:00:04.000001Z", "1", "fourth")
					ASKED(B, "2026-01-01 00:00:04.000002Z", "2", "fifth")
						ASKED(C, "2026-01-01 00:00:01Z", "1", "first")
							ASKED(C, "2026-01-01 00:00:01Z", "2", "second"));
	reviews_are(cursor, sizeof(cursor), 1, "first");
	reviews_are(cursor, sizeof(cursor), 2, "second third");
	reviews_are(cursor, sizeof(cursor), 1, "fourth");
	/* whoever is asked while somebody turns the pages is found further on */
	sl_pg_exec(&pg, ASKED(A, "2026-01-01 00:00:09Z", "3", "last"));
	reviews_are(cursor, sizeof(cursor), 2, "fifth sixth");
	reviews_are(cursor, sizeof(cursor), 2, "last");
	assert_string_equal(cursor, "");
	for (const char *c = A ":1"; *c; c++) /* a page of a server that sorted by run */
		(void)snprintf(old + strlen(old), sizeof(old) - strlen(old), "%02x", (unsigned char)*c);
	assert_int_equal(sl_store_reviews(s, SL_STR(""), sl_str(old), 2, on_json, NULL), SL_BAD_REQUEST);
}

static void todays_sums_and_own_runs_are_counted(void **state)
{
	char sql[2000];
	struct sl_uuid now = sl_uuid_new(), later = sl_uuid_new();
	char id[SL_UUID_TEXT_BYTES], id2[SL_UUID_TEXT_BYTES];
	long long me = (long long)sl_store_instance(s);
	sl_uuid_format(now, id);
	sl_uuid_format(later, id2);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO runs (id, created_at, epoch, last_seq, version, priority, status, workflow, project, "
		 "owner, done, "
		 "reason, cost_microusd) VALUES ('%s', now(), 1, 1, 1, 0, 'running', 'w', 'p', %lld, false, NULL, 70), "
		 "('%s', "
		 "now(), 1, 1, 1, 0, 'paused', 'w', 'p', %lld, false, 'why', 5), ('" A
		 "', now(), 1, 1, 1, 0, 'running', 'w', 'p', 1, false, NULL, 1000)",
		 id, me, id2, me);
	sl_pg_exec(&pg, sql);
	assert_int_equal(ASK(sl_store_today(s, on_today, NULL)), SL_OK);
	assert_int_equal(today_sums.cost_microusd, 75); /* A was made in the last century */
	assert_int_equal(today_sums.runs, 2);
	assert_int_equal(ASK(sl_store_own_runs(s, SL_STORE_RUNS_GOING, SL_STR(""), on_ids, NULL)), SL_OK);
	assert_int_equal(n_ids, 1);
	assert_int_equal(ASK(sl_store_own_runs(s, SL_STORE_RUNS_PAUSED, SL_STR("why"), on_ids, NULL)), SL_OK);
	assert_int_equal(n_ids, 1);
	assert_int_equal(ASK(sl_store_own_runs(s, SL_STORE_RUNS_PAUSED, SL_STR("other"), on_ids, NULL)), SL_OK);
	assert_int_equal(n_ids, 0);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO instances (id, started_at, expires_at, postmaster, host, pid, version) VALUES "
		 "(%lld, now(), now() + interval '1 h', now(), 'here', 7, 'v'), (3, now() - interval '1 d', now() - "
		 "interval '1 h', now(), 'gone', 8, 'v') ON CONFLICT (id) DO NOTHING",
		 me);
	sl_pg_exec(&pg, sql);
	assert_int_equal(ASK(sl_store_instances(s, on_json, NULL)), SL_OK);
	SL_AUTO_JSON o = json();
	struct json_object *self = json_object_array_get_idx(sl_json_get(o, "items"), 0),
			   *gone = json_object_array_get_idx(sl_json_get(o, "items"), 1);
	assert_true(sl_json_get_bool(self, "self", false) && sl_json_get_bool(self, "alive", false));
	assert_int_equal(sl_json_get_i64(self, "runs", 0), 2);
	assert_false(sl_json_get_bool(gone, "self", true) || sl_json_get_bool(gone, "alive", true));
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

static void many_queries_share_a_bounded_pool(void **state)
{
	struct sl_store_config config;
	struct sl_store *small = NULL;
	struct sl_store_stats stats;
	struct sl_error err = {0};
	sl_store_config_init(&config);
	config.url = pg.url;
	config.pool_size = 2;
	config.max_overflow = 1;
	config.journal_connections = 1;
	assert_int_equal(sl_store_open(&config, &small, &err), SL_OK);
	assert_int_equal(sl_store_wait(small, 20000, &err), SL_OK);
	forget();
	for (int i = 0; i < 300; i++)
		assert_int_equal(sl_store_setting_get(small, SL_STR("x"), on_json, NULL), SL_OK);
	long most = 0;
	pthread_mutex_lock(&got.m);
	while (got.calls < 300) {
		pthread_cond_wait(&got.changed, &got.m);
		sl_store_stats(small, &stats);
		if (stats.connections > most)
			most = stats.connections;
	}
	pthread_mutex_unlock(&got.m);
	assert_int_equal(got.rc, SL_NOT_FOUND);
	assert_true(most <= 2 + 1 + 1 + 1); /* the journal's, and the one that listens */
	sl_store_close(small, 1000);
}

static void a_broken_pool_connection_is_replaced_unseen(void **state)
{
	assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	for (int i = 0; i < 5; i++) {
		sl_pg_exec(&pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
				"'sluice queries'");
		assert_int_equal(ASK(sl_store_setting_all(s, on_json, NULL)), SL_OK);
	}
}

static void an_idle_exclusive_store_asks_nothing(void **state)
{
	/* The idle_since of its sessions does not move: nobody used them meanwhile. */
	const char *used =
		"SELECT coalesce(max(extract(epoch FROM state_change) * 1000000)::bigint, 0) FROM pg_stat_activity "
		"WHERE application_name LIKE 'sluice%'";
	long before = sl_pg_count(&pg, used);
	usleep(300000); /* this is the one thing that only time can show */
	assert_int_equal(sl_pg_count(&pg, used), before);
}

static int group_setup(void **state)
{
	struct sl_store_config config;
	struct sl_error err = {0};
	sl_pg_start(&pg, SL_PG_MIGRATED);
	sl_store_config_init(&config);
	config.url = pg.url;
	config.sharing = SL_STORE_EXCLUSIVE;
	if (sl_store_open(&config, &s, &err) != SL_OK || sl_store_wait(s, 20000, &err) != SL_OK)
		fail_msg("%s", err.text);
	return 0;
}

static int group_teardown(void **state)
{
	sl_store_close(s, 1000);
	forget();
	sl_pg_stop(&pg);
	return 0;
}

static int clean(void **state)
{
	sl_pg_empty(&pg);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, clean)
static void on_spend(void *arg, enum sl_code rc, const struct sl_stored_spend *items, size_t n)
{
	ANSWER(got.n = n; if (n) {
		snprintf(got.name, sizeof(got.name), "%s", items[0].project);
		snprintf(got.config, sizeof(got.config), "%lld %llu %lld", (long long)items[0].day,
			 (unsigned long long)items[0].tokens, (long long)items[0].cost_microusd);
	});
}

static void spending_is_kept_as_totals_of_a_day(void **state)
{
	char today[64], expected[64];
	sl_pg_text(&pg, "SELECT ((now() AT TIME ZONE 'UTC')::date - date '1970-01-01')::text", today, sizeof(today));
	int64_t day = strtoll(today, NULL, 10);
	assert_int_equal(ASK(sl_store_spend_put(s, SL_STR("p"), day, 100, 7, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_spend_put(s, SL_STR("p"), day, 150, 9, on_plain, NULL)), SL_OK);
	sl_pg_exec(&pg, "INSERT INTO spend SELECT project, day, 42, 1000, 1 FROM spend"); /* another server's */
	assert_int_equal(ASK(sl_store_spend_list(s, on_spend, NULL)), SL_OK);
	assert_int_equal(got.n, 1);
	assert_string_equal(got.name, "p");
	snprintf(expected, sizeof(expected), "%lld 1150 10", (long long)day);
	assert_string_equal(got.config, expected);
	sl_pg_exec(&pg, "INSERT INTO spend SELECT 'p', day - 100 - n, 1, 5, 0 FROM spend, generate_series(1, 30) n "
			"WHERE instance = 42");
	assert_int_equal(ASK(sl_store_spend_list(s, on_spend, NULL)), SL_OK);
	assert_int_equal(got.n, 2); /* what is older than forty days is one sum */
}

static void called_off_calls_are_listed_once_with_their_run(void **state)
{
	struct sl_run_id run = make_run("w", "cancelled", "", 1);
	struct sl_call_row rows[] = {
		{.id = sl_uuid_new(),
		 .run = run,
		 .path = (char[]){"refine#2/\"x\""},
		 .attempt = 3,
		 .kind = "llm",
		 .reason = "cancelled",
		 .provider = (char[]){"openai"},
		 .profile = (char[]){"main"},
		 .model = (char[]){"m"},
		 .ordered_ms = 1700000000000,
		 .closed_ms = 1700000000001,
		 .close_us = 321,
		 .bytes = 1240,
		 .chunks = 31,
		 .input_tokens = 7,
		 .output_tokens = 310,
		 .estimated = true,
		 .cost_microusd = 500000,
		 .http_status = 200},
		{.id = sl_uuid_new(),
		 .run = run,
		 .attempt = 1,
		 .kind = "http",
		 .reason = "timeout",
		 .ordered_ms = 1700000000005},
	};
	for (int i = 0; i < 2; i++) /* again, as after a lost reply */
		assert_int_equal(ASK(sl_store_calls_put(s, rows, 2, on_plain, NULL)), SL_OK);
	assert_int_equal(ASK(sl_store_calls_of(s, run, on_json, NULL)), SL_OK);
	assert_string_equal(
		got.json->data,
		"{\"items\":[{\"node_id\":\"refine#2/"
		"\\\"x\\\"\",\"attempt\":3,\"kind\":\"llm\",\"reason\":\"cancelled\","
		"\"provider\":\"openai\",\"profile\":\"main\",\"model\":\"m\",\"requested_at\":\"2023-11-14T22:13:20."
		"000Z\","
		"\"closed_at\":\"2023-11-14T22:13:20.001Z\",\"close_us\":321,\"closed\":\"socket\",\"bytes\":1240,"
		"\"chunks\":31,\"input_tokens\":7,\"output_tokens\":310,\"estimated\":true,\"estimated_cost_usd\":0.5,"
		"\"http_status\":200},{\"node_id\":\"\",\"attempt\":1,\"kind\":\"http\",\"reason\":\"timeout\","
		"\"provider\":"
		"\"\",\"profile\":\"\",\"model\":\"\",\"requested_at\":\"2023-11-14T22:13:20.005Z\",\"closed\":"
		"\"none\","
		"\"bytes\":0,\"chunks\":0,\"input_tokens\":0,\"output_tokens\":0,\"estimated\":false,\"estimated_cost_"
		"usd\":0,"
		"\"http_status\":0}]}");
	run.u.b[15] ^= 1;
	assert_int_equal(ASK(sl_store_calls_of(s, run, on_json, NULL)), SL_NOT_FOUND);
}

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
		TEST(versions_of_a_workflow_count_up_and_never_change),
		TEST(pages_of_workflows_join_to_the_whole),
		TEST(the_run_list_filters_and_pages),
		TEST(a_fork_says_in_the_list_of_whom),
		TEST(events_come_page_by_page_after_a_seq),
		TEST(a_profile_keeps_its_secrets_when_asked),
		TEST(a_token_is_found_by_its_hash_until_revoked_or_expired),
		TEST(audit_rows_come_newest_first),
		TEST(the_trail_is_filtered_by_who_and_what),
		TEST(a_change_and_its_line_of_the_trail_are_one),
		TEST(a_line_that_is_changed_or_removed_shows),
		TEST(lines_of_many_at_once_make_one_chain),
		TEST(open_reviews_are_those_without_an_end_in_unfinished_runs),
		TEST(a_review_that_was_called_off_does_not_wait),
		TEST(who_has_waited_longest_for_a_person_comes_first),
		TEST(todays_sums_and_own_runs_are_counted),
		TEST(settings_are_kept_to_the_byte),
		TEST(spending_is_kept_as_totals_of_a_day),
		TEST(called_off_calls_are_listed_once_with_their_run),
		TEST(answers_are_found_until_they_expire_or_are_cleared),
		TEST(many_queries_share_a_bounded_pool),
		TEST(a_broken_pool_connection_is_replaced_unseen),
		TEST(an_idle_exclusive_store_asks_nothing),
	};
	return cmocka_run_group_tests_name("store/catalog", tests, group_setup, group_teardown);
}
