/* tests/lib/store_world.c: see store_world.h. */
#include "tests/lib/store_world.h"

#include <string.h>

#include "base/clock.h"
#include "store/workflows.h"

struct sl_pg pg;
struct sl_store *s;
struct store_got got = {.m = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
const struct sl_audit_by someone = {SL_STR("someone"), SL_STR("x.y"), SL_STR("it")};

void on_plain(void *arg, enum sl_code rc)
{
	ANSWER();
}
void on_json(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	ANSWER(got.json = sl_bytes_ref(json));
}

void forget(void)
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

enum sl_code answer_of(enum sl_code called)
{
	assert_int_equal(called, SL_OK);
	pthread_mutex_lock(&got.m);
	while (!got.calls)
		pthread_cond_wait(&got.changed, &got.m);
	pthread_mutex_unlock(&got.m);
	return got.rc;
}

struct sl_bytes *text(const char *z)
{
	return sl_bytes_new(z, strlen(z));
}

struct json_object *json(void)
{
	struct json_object *o = NULL;
	struct sl_error err = {0};
	assert_non_null(got.json);
	if (sl_json_parse(sl_bytes_str(got.json), &o, &err) != SL_OK)
		fail_msg("%s in %s", err.text, got.json->data);
	return o;
}

static void batch_done(struct sl_batch *b, enum sl_code rc)
{
	ANSWER();
	sl_batch_free(b);
}

void make_run_with(struct sl_run_id id, const char *workflow, const char *status, const char *tags, int n,
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

struct sl_run_id make_run(const char *workflow, const char *status, const char *tags, int n)
{
	struct sl_run_id id = {sl_uuid_new()};
	make_run_with(id, workflow, status, tags, n, "{\"n\":1}");
	return id;
}

int store_world_open(void **state)
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

int store_world_close(void **state)
{
	sl_store_close(s, 1000);
	forget();
	sl_pg_stop(&pg);
	return 0;
}

int store_world_clean(void **state)
{
	sl_pg_empty(&pg);
	return 0;
}
