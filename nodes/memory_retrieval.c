/* nodes/memory_retrieval.c: what earlier runs have learned, for this one's prompts. Retrieval sees accepted and
 * promoted memories of the run's project only, never raw outputs; which ones a run was given is recorded before it gets
 * them. */
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "engine/node.h"
#include "llm/services.h"
#include "memory/memory.h"
#include "nodes/awaited.h"

#define EXCERPT_BYTES 160

/* Each memory with what is known of its worth, so that a prompt can weigh it. */
static void text_of(struct sl_buf *b, struct json_object *items)
{
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		struct sl_str content = sl_json_get_str(item, "content");
		sl_buf_addf(b, "%s[%zu] (%s, %s) ", i ? "\n\n" : "", i + 1,
			    sl_json_get_bool(item, "verified", false) ? "verified" : "unverified",
			    sl_str_is(sl_json_get_str(item, "tier"), "working") ? "working" : "long-term");
		sl_buf_add(b, content.p, content.len);
	}
}

static void tell(struct sl_node *n, const struct sl_awaited *a, struct json_object *items, const char *degraded)
{
	struct json_object *event = json_object_new_object(), *list = json_object_new_array();
	struct sl_str query = sl_str(a->query);
	if (!event || !list) { /* the event is a courtesy: the output has all of it */
		json_object_put(event);
		json_object_put(list);
		return;
	}
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *from = json_object_array_get_idx(items, i), *to = json_object_new_object();
		struct sl_str content = sl_json_get_str(from, "content");
		if (!to)
			break;
		sl_json_set_str(to, "id", sl_json_get_str(from, "id"));
		sl_json_set_str(to, "tier", sl_json_get_str(from, "tier"));
		sl_json_set_bool(to, "verified", sl_json_get_bool(from, "verified", false));
		sl_json_set_f64(to, "score", sl_json_get_f64(from, "score", 0));
		sl_json_set_str(to, "excerpt", sl_str_n(content.p, sl_utf8_cut(content.p, content.len, EXCERPT_BYTES)));
		sl_json_append(list, to);
	}
	sl_json_set_str(event, "node_id", sl_str(sl_node_path(n)));
	sl_json_set_str(event, "query", sl_str_n(query.p, sl_utf8_cut(query.p, query.len, 4 * EXCERPT_BYTES)));
	sl_json_set_i64(event, "count", (int64_t)json_object_array_length(items));
	if (degraded)
		sl_json_set_str(event, "degraded", sl_str(degraded));
	sl_json_set(event, "items", list);
	sl_node_event(n, "memory_retrieved", event);
}

static void finished(struct sl_node *n, struct sl_awaited *a) /* [run] */
{
	struct sl_error err = a->err;
	SL_AUTO_JSON doc = NULL;
	struct json_object *out = json_object_new_object();
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	enum sl_code rc = a->rc;

	if (rc == SL_OK)
		rc = sl_json_parse(sl_bytes_str(a->json), &doc, &err);
	struct json_object *items = sl_json_get(doc, "items");
	if (rc == SL_OK && (!out || !items))
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for the memories");
	if (rc == SL_OK) {
		const char *degraded = sl_json_get_z(doc, "degraded");
		text_of(&text, items);
		sl_json_set_str(out, "text", text.failed ? SL_STR("") : sl_buf_str(&text));
		sl_json_set(out, "items", json_object_get(items));
		sl_json_set_i64(out, "count", (int64_t)json_object_array_length(items));
		if (degraded)
			sl_json_set_str(out, "degraded", sl_str(degraded));
		tell(n, a, items, degraded);
		sl_node_complete(n, out);
	} else {
		json_object_put(out);
		if (!err.text[0])
			SL_IGNORE(sl_fail(&err, rc, "the memory could not be searched")); /* fills the text */
		err.code = rc;
		sl_node_fail(n, &err);
	}
}

static char *query_of(struct json_object *params)
{
	struct json_object *query = sl_json_get(params, "query");
	if (!query || json_object_is_type(query, json_type_string))
		return sl_str_dup(sl_json_str(query));
	SL_BUF(json, SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&json, query);
	return sl_buf_take(&json);
}

static enum sl_step memory_retrieval_start(struct sl_node *n, struct json_object *params,
					   struct sl_error *err) /* [run] */
{
	struct sl_services *services = sl_node_services(n);
	struct json_object *tiers = sl_json_get(params, "tiers");
	if (!services || !services->memory) {
		SL_IGNORE(sl_fail(err, SL_UNAVAILABLE, "this server has no memory")); /* fills the text */
		return SL_FAILED;
	}
	struct sl_awaited *a = sl_awaited_new(n, finished);
	if (!a || !(a->query = query_of(params))) {
		sl_awaited_free(a);
		SL_IGNORE(sl_fail(err, SL_NO_MEMORY, "no memory for a search"));
		return SL_FAILED;
	}
	struct sl_memory_search q = {
		.project = sl_str(sl_node_project(n)),
		.query = sl_str(a->query),
		.max_results = (uint32_t)sl_json_get_i64(params, "max_results", 5),
		.time_range_days = (uint32_t)sl_json_get_i64(params, "time_range_days", 7),
		.relevance_threshold = sl_json_get_f64(params, "relevance_threshold", 0.7),
		.max_tokens = (uint32_t)sl_json_get_i64(params, "max_tokens", 0),
		.on_timeout =
			sl_str_is(sl_json_get_str(params, "on_timeout"), "empty") ? SL_MEMORY_EMPTY : SL_MEMORY_RECENT,
		.has_run = true,
		.run = sl_node_run(n),
		.path = sl_str(sl_node_path(n)),
	};
	for (size_t i = 0; tiers && i < json_object_array_length(tiers); i++) {
		struct sl_str tier = sl_json_str(json_object_array_get_idx(tiers, i));
		q.working |= sl_str_is(tier, "working");
		q.long_term |= sl_str_is(tier, "long_term");
	}
	enum sl_code rc = sl_memory_search(services->memory, &q, sl_awaited_come, a);
	if (rc != SL_OK) {
		sl_awaited_free(a);
		SL_IGNORE(sl_fail(err, rc, "the memory could not be searched"));
		return SL_FAILED;
	}
	return SL_PENDING;
}

static void memory_retrieval_cancel(struct sl_node *n) /* [run] */
{
	/* A search is short and changes nothing; its answer finds nobody. */
}

const struct sl_node_type sl_node_type_memory_retrieval = {
	.name = "memory_retrieval",
	.summary = "Finds what earlier runs of the project have learned.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"query\"], \"properties\": {"
		"  \"query\": { \"title\": \"Query\", \"x-ui\": \"textarea\","
		"    \"description\": \"What to look for; empty: the newest memories.\" },"
		"  \"max_results\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 50, \"default\": 5, "
		"\"title\": \"Most "
		"results\" },"
		"  \"time_range_days\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 36500, \"default\": 7,"
		"    \"title\": \"Days back\", \"description\": \"Older memories are left out; 0: any age.\" },"
		"  \"relevance_threshold\": { \"type\": \"number\", \"minimum\": 0, \"maximum\": 1, \"default\": 0.7,"
		"    \"title\": \"Least relevance\","
		"    \"description\": \"The better of two: cosine of the vectors, share of the query's words found.\" "
		"},"
		"  \"tiers\": { \"type\": \"array\", \"minItems\": 1, \"maxItems\": 2, \"title\": \"Tiers\","
		"    \"description\": \"Where to look; without it, in both.\","
		"    \"items\": { \"type\": \"string\", \"enum\": [\"working\", \"long_term\"] } },"
		"  \"max_tokens\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000, \"title\": \"Most "
		"tokens\","
		"    \"description\": \"Of all results together, so that a prompt is not flooded.\" },"
		"  \"on_timeout\": { \"type\": \"string\", \"enum\": [\"recent\", \"empty\"], \"default\": \"recent\","
		"    \"title\": \"When it takes too long\","
		"    \"description\": \"recent: the newest memories instead; empty: none.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = memory_retrieval_start,
	.cancel = memory_retrieval_cancel,
};
