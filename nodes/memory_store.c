/* nodes/memory_store.c: keeps what a run has learned. It carries the node's idempotency key, so that a node that is run
 * again after a crash finds its own memory instead of storing a second one. */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/node.h"
#include "llm/services.h"
#include "memory/memory.h"
#include "nodes/awaited.h"

static void finished(struct sl_node *n, struct sl_awaited *a) /* [run] */
{
	struct sl_error err = a->err;
	SL_AUTO_JSON doc = NULL;
	struct json_object *out = json_object_new_object(), *event = json_object_new_object();
	enum sl_code rc = a->rc;

	SL_CRASH_POINT_OF("memory.stored", sl_node_path(n));
	if (rc == SL_OK)
		rc = sl_json_parse(sl_bytes_str(a->json), &doc, &err);
	if (rc == SL_OK && (!out || !event))
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for the answer");
	if (rc == SL_OK) {
		bool accepted = sl_json_get_bool(doc, "accepted", false);
		const char *id = sl_json_get_z(doc, "id"), *reason = sl_json_get_z(doc, "reason");
		sl_json_set_bool(out, "accepted", accepted);
		sl_json_set_z(out, "id", id);
		sl_json_set_str(out, "tier", sl_json_get_str(doc, "tier"));
		sl_json_set_z(out, "reason", reason);
		sl_json_set_str(event, "node_id", sl_str(sl_node_path(n)));
		sl_json_set_z(event, "memory_id", id);
		sl_json_set_str(event, "tier", sl_json_get_str(doc, "tier"));
		sl_json_set_str(event, "action", accepted ? SL_STR("stored") : SL_STR("declined"));
		if (reason)
			sl_json_set_str(event, "reason", sl_str(reason));
		sl_node_event(n, "knowledge:updated", event);
		sl_node_complete(n, out);
	} else {
		json_object_put(out);
		json_object_put(event);
		if (!err.text[0])
			SL_IGNORE(sl_fail(&err, rc, "the memory could not be stored")); /* fills the text */
		err.code = rc;
		sl_node_fail(n, &err);
	}
}

static enum sl_step memory_store_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct sl_services *services = sl_node_services(n);
	struct json_object *content = sl_json_get(params, "content"), *metadata = sl_json_get(params, "metadata");
	char key[65];
	SL_BUF(written, SL_LIMIT_PAYLOAD_BYTES);
	SL_BUF(about, SL_LIMIT_PAYLOAD_BYTES);

	if (!services || !services->memory) {
		SL_IGNORE(sl_fail(err, SL_UNAVAILABLE, "this server has no memory")); /* fills the text */
		return SL_FAILED;
	}
	if (content && !json_object_is_type(content, json_type_string))
		sl_json_write(&written, content);
	if (metadata)
		sl_json_write(&about, metadata);
	sl_node_idempotency_key(n, key);
	struct sl_memory_item item = {
		.tier = SL_MEMORY_QUARANTINE,
		.project = sl_str(sl_node_project(n)),
		.content = json_object_is_type(content, json_type_string) ? sl_json_str(content) : sl_buf_str(&written),
		.metadata = sl_buf_str(&about),
		.confidence = sl_json_get(params, "confidence") ? sl_json_get_f64(params, "confidence", 0) : NAN,
		.by = SL_STR("run"),
		.once = sl_str(key),
		.has_run = true,
		.run = sl_node_run(n),
		.path = sl_str(sl_node_path(n)),
	};
	SL_IGNORE(sl_memory_tier_parse(sl_json_get_str(params, "tier"), &item.tier) ? SL_OK
										    : SL_INVALID); /* not given */
	struct sl_awaited *a = sl_awaited_new(n, finished);
	enum sl_code rc = !a || written.failed || about.failed ? SL_NO_MEMORY : SL_OK;
	if (rc == SL_OK)
		SL_CRASH_POINT_OF("memory.store", sl_node_path(n));
	if (rc == SL_OK)
		rc = sl_memory_store(services->memory, &item, sl_awaited_come, a);
	if (rc != SL_OK) {
		sl_awaited_free(a);
		SL_IGNORE(rc == SL_TOO_LARGE
				  ? sl_fail(err, rc, "a memory holds at most %u bytes", SL_LIMIT_MEMORY_BYTES)
				  : sl_fail(err, rc, "the memory could not be stored"));
		return SL_FAILED;
	}
	return SL_PENDING;
}

static void memory_store_cancel(struct sl_node *n) /* [run] */
{
	/* What is on its way to the database cannot be called back. */
}

const struct sl_node_type sl_node_type_memory_store = {
	.name = "memory_store",
	.summary = "Keeps what was learned for later runs of the project.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"content\"], \"properties\": "
		"{"
		"  \"content\": { \"title\": \"Content\", \"x-ui\": \"textarea\", \"description\": \"What to keep.\" },"
		"  \"tier\": { \"type\": \"string\", \"enum\": [\"quarantine\", \"working\"], \"default\": "
		"\"quarantine\","
		"    \"title\": \"Tier\","
		"    \"description\": \"quarantine: kept, but never retrieved before a person promotes it. working: "
		"retrievable for a day, if the ingest filter accepts it.\" },"
		"  \"confidence\": { \"type\": \"number\", \"minimum\": 0, \"maximum\": 1, \"title\": \"Confidence\","
		"    \"description\": \"Below 0.8 working memory declines it; without it, it counts as 1.\" },"
		"  \"metadata\": { \"type\": \"object\", \"title\": \"Metadata\" } } }",
	.effects = SL_EFFECTS_EXTERNAL,
	.start = memory_store_start,
	.cancel = memory_store_cancel,
};
