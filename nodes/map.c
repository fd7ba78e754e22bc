/* nodes/map.c: runs a body for each item of a list, a few at a time. Each item is a body of its own (each#17/ask); the
 * results come in the order of the items, whoever was first. */
#include <stdio.h>

#include "base/limits.h"
#include "engine/expr.h"
#include "engine/node.h"

struct map_state { /* [run] */
	struct json_object *params, *items;
	uint32_t count, begun, done, failed, open;
	uint32_t told; /* progress events */
};

static void map_let_go(struct map_state *s)
{
	json_object_put(s->params);
	s->params = s->items = NULL;
}

static bool map_continues(const struct map_state *s)
{
	return sl_str_is(sl_json_get_str(s->params, "on_item_error"), "continue");
}

static uint32_t map_every(const struct map_state *s)
{
	int64_t every = sl_json_get_i64(s->params, "progress_every", 0);
	if (every > s->count) /* at the end, and only there */
		every = s->count;
	return every > 0 ? (uint32_t)every : s->count > 10 ? (s->count + 9) / 10 : 1; /* ten times at most */
}

static void map_progress(struct sl_node *n, struct map_state *s)
{
	uint32_t every = map_every(s);
	if (s->done % every != 0 && s->done != s->count)
		return;
	s->told++;
	if (sl_node_events(n) >= s->told)
		return; /* told in an earlier life of the server */
	struct json_object *e = json_object_new_object();
	if (!e)
		return; /* an event less */
	sl_json_set_i64(e, "done", s->done);
	sl_json_set_i64(e, "of", s->count);
	sl_json_set_i64(e, "failed", s->failed);
	sl_node_event(n, "progress", e);
}

static struct json_object *map_binding(struct map_state *s, uint32_t number)
{
	struct json_object *o = json_object_new_object();
	if (!o)
		return NULL;
	sl_json_set(o, "item", json_object_get(json_object_array_get_idx(s->items, number - 1)));
	sl_json_set_i64(o, "index", number);
	return o;
}

static enum sl_code map_begin(struct sl_node *n, struct map_state *s, uint32_t number, struct sl_error *err)
{
	struct json_object *binding = map_binding(s, number);
	return binding ? sl_node_body_begin(n, number, binding, err)
		       : sl_fail(err, SL_NO_MEMORY, "no memory for item %u", number);
}

static struct json_object *map_item_error(struct sl_node *n, uint32_t number)
{
	struct sl_error why = {0};
	struct json_object *o = json_object_new_object(), *e = json_object_new_object();
	if (!o || !e) {
		json_object_put(o);
		json_object_put(e);
		return NULL;
	}
	enum sl_code rc = sl_node_body_error(n, number, &why);
	sl_json_set_str(e, "code", sl_str(sl_code_wire(rc)));
	sl_json_set_str(e, "message", sl_str(why.text));
	sl_json_set(o, "error", e);
	return o;
}

static struct json_object *map_output(struct sl_node *n, struct map_state *s)
{
	struct json_object *o = json_object_new_object(), *items = json_object_new_array();
	if (!o || !items) {
		json_object_put(o);
		json_object_put(items);
		return NULL;
	}
	for (uint32_t i = 1; i <= s->count; i++)
		sl_json_append(items, sl_node_body_status(n, i) == SL_BODY_FAILED ? map_item_error(n, i)
										  : sl_node_body_result(n, i));
	sl_json_set(o, "items", items);
	sl_json_set_i64(o, "count", s->count);
	sl_json_set_i64(o, "failed", s->failed);
	return o;
}

/* Fills up what may be open, and ends with the last. */
static enum sl_step map_go(struct sl_node *n, struct map_state *s, struct sl_error *err)
{
	uint32_t most = (uint32_t)sl_json_get_i64(s->params, "concurrency", 5);
	while (s->open < most && s->begun < s->count) {
		if (map_begin(n, s, s->begun + 1, err) != SL_OK)
			return SL_FAILED;
		s->begun++;
		s->open++;
	}
	if (s->done < s->count)
		return SL_PENDING;
	sl_node_complete(n, map_output(n, s));
	return SL_DONE;
}

/* An item has ended. */
static enum sl_code map_fold(struct sl_node *n, struct map_state *s, uint32_t number, struct sl_error *err)
{
	bool failed = sl_node_body_status(n, number) == SL_BODY_FAILED;
	if (failed && !map_continues(s))
		return sl_node_body_error(n, number, err);
	SL_CRASH_POINT_OF("map.item", sl_node_path(n));
	s->done++;
	s->failed += failed;
	map_progress(n, s);
	return SL_OK;
}

/* Lua's empty table may have been meant as a list, and comes as an object. */
static bool map_is_empty(struct json_object *items)
{
	return json_object_is_type(items, json_type_object) && json_object_object_length(items) == 0;
}

static enum sl_code map_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *items = sl_json_get(params, "items");
	if (json_object_is_type(items, json_type_array) || map_is_empty(items) || sl_template_in(sl_json_str(items)))
		return SL_OK;
	return sl_fail(err, SL_INVALID, "`items` must be a list, or a {{ template }} that gives one");
}

static enum sl_step map_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct map_state *s = sl_node_state(n, sizeof(*s));
	struct json_object *items = sl_json_get(params, "items");
	if (!s) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a map");
		return SL_FAILED;
	}
	bool empty = map_is_empty(items);
	if (!empty && !json_object_is_type(items, json_type_array)) {
		(void)sl_fail(err, SL_INVALID, "`items` is not a list but of type %s", sl_json_type_name(items));
		return SL_FAILED;
	}
	if (!empty && json_object_array_length(items) > SL_LIMIT_BODIES) {
		(void)sl_fail(err, SL_LIMIT, "`items` has %zu items; at most %d are taken",
			      json_object_array_length(items), SL_LIMIT_BODIES);
		return SL_FAILED;
	}
	s->params = json_object_get(params);
	s->items = items;
	s->count = empty ? 0 : (uint32_t)json_object_array_length(items);
	/* what an earlier life of the server has begun */
	enum sl_code rc = SL_OK;
	for (uint32_t i = 1; rc == SL_OK && i <= sl_node_bodies(n) && i <= s->count; i++) {
		enum sl_body_status status = sl_node_body_status(n, i);
		rc = map_begin(n, s, i, err);
		s->begun++;
		if (status == SL_BODY_ENDED || status == SL_BODY_FAILED)
			rc = rc == SL_OK ? map_fold(n, s, i, err) : rc;
		else
			s->open++;
	}
	enum sl_step step = rc == SL_OK ? map_go(n, s, err) : SL_FAILED;
	if (step != SL_PENDING)
		map_let_go(s);
	return step;
}

static void map_body(struct sl_node *n, uint32_t number) /* [run] */
{
	struct map_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err = {0};
	s->open--;
	enum sl_step step = map_fold(n, s, number, &err) == SL_OK ? map_go(n, s, &err) : SL_FAILED;
	if (step == SL_FAILED)
		sl_node_fail(n, &err);
	if (step != SL_PENDING)
		map_let_go(s);
}

static void map_cancel(struct sl_node *n) /* [run] */
{
	map_let_go(sl_node_state(n, sizeof(struct map_state)));
}

const struct sl_node_type sl_node_type_map = {
	.name = "map",
	.summary = "Runs its body for each item of a list, several at a time, and gathers the results in order.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"items\", \"body\"], "
		"\"properties\": {"
		"  \"items\": { \"title\": \"Items\","
		"    \"description\": \"A list, or a template that yields one: {{ input.questions }}. At most 10000.\" "
		"},"
		"  \"body\": { \"type\": \"object\", \"x-graph\": true, \"x-provides\": [\"item\", \"index\"], "
		"\"title\": \"Body\","
		"    \"description\": \"What is done for one item. In it, item is the item and index its number, from "
		"1.\" },"
		"  \"concurrency\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"default\": 5, "
		"\"title\": \"At once\","
		"    \"description\": \"How many items are under way at the same time.\" },"
		"  \"on_item_error\": { \"type\": \"string\", \"enum\": [\"fail\", \"continue\"], \"default\": "
		"\"fail\", \"title\": \"When an item fails\","
		"    \"description\": \"fail ends the node with the first failure; continue puts { error } in the "
		"item's place.\" },"
		"  \"progress_every\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 10000, \"title\": "
		"\"Progress every\","
		"    \"description\": \"Tell after so many items. Without it, about every tenth of them: ten times at "
		"most.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.keep = SL_BODY_KEEP_RESULT,
	.start = map_start,
	.body = map_body,
	.check = map_check,
	.cancel = map_cancel,
};
