/* nodes/join.c: closes branches. When it is ready the engine decides, by the policy below; this file says what arrived
 * and makes one value of it. It runs exactly once, whatever comes later. */
#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/node.h"

/* Two edges from one branch node (with different cases) are one arrival: the taken one. Returns how many remain. */
static uint32_t join_collect(struct sl_node *n, struct sl_arrival *out, uint32_t all)
{
	uint32_t kept = 0;
	SL_BUG_ON(sl_node_arrivals(n, out, all) != all);
	for (uint32_t i = 0; i < all; i++) {
		uint32_t k = 0;
		while (k < kept && strcmp(out[k].from, out[i].from) != 0)
			k++;
		if (k == kept)
			out[kept++] = out[i];
		else if (out[i].state == SL_EDGE_TAKEN)
			out[k] = out[i];
	}
	return kept;
}

static const char *join_state_name(enum sl_edge_state state)
{
	switch (state) {
	case SL_EDGE_TAKEN:
		return "arrived";
	case SL_EDGE_DEAD:
		return "skipped";
	case SL_EDGE_FAILED:
		return "failed";
	case SL_EDGE_OPEN:
		break;
	}
	return "unfinished";
}

/* What a reader would call the text of an output: its `text`, else its `value`, else all of it as JSON. */
static void join_add_text(struct sl_buf *b, struct json_object *output)
{
	struct json_object *v = sl_json_get(output, "text");
	if (!v)
		v = sl_json_get(output, "value");
	if (!v)
		v = output;
	if (json_object_is_type(v, json_type_string))
		sl_buf_add(b, sl_json_str(v).p, sl_json_str(v).len);
	else
		sl_json_write(b, v);
}

static enum sl_code join_concat(const struct sl_arrival *a, uint32_t n_a, struct json_object **out,
				struct sl_error *err)
{
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	bool first = true;
	for (uint32_t i = 0; i < n_a; i++) {
		if (a[i].state != SL_EDGE_TAKEN)
			continue;
		if (!first)
			sl_buf_adds(&text, "\n\n---\n\n");
		first = false;
		join_add_text(&text, a[i].output);
	}
	if (text.failed)
		return sl_fail(err, SL_TOO_LARGE, "the joined text would exceed %u bytes", SL_LIMIT_PAYLOAD_BYTES);
	*out = json_object_new_string_len(sl_buf_str(&text).p, (int)text.len);
	return *out ? SL_OK : sl_fail(err, SL_NO_MEMORY, "joining text");
}

/* The arrival with the highest score, the earlier one of equals. A null score takes part in nothing. */
static enum sl_code join_best(struct sl_node *n, const struct sl_arrival *a, uint32_t n_a, struct json_object **out,
			      struct sl_error *err)
{
	const struct sl_arrival *best = NULL;
	double best_score = -INFINITY;
	int64_t index = 0;
	for (uint32_t i = 0; i < n_a; i++) {
		SL_AUTO_JSON score = NULL;
		if (a[i].state != SL_EDGE_TAKEN)
			continue;
		enum sl_code rc = sl_node_eval_item(n, "/score", a[i].output, ++index, &score, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "the score of '%s'", a[i].from);
		if (!score)
			continue;
		if (!json_object_is_type(score, json_type_int) && !json_object_is_type(score, json_type_double))
			return sl_fail(err, SL_EXPRESSION, "the score of '%s' is of type %s, it must be a number",
				       a[i].from, sl_json_type_name(score));
		double s = json_object_get_double(score);
		if (!best || s > best_score)
			best = &a[i], best_score = s;
	}
	if (!best)
		return sl_fail(err, SL_EXPRESSION, "no arrival has a score");
	*out = json_object_get(best->output);
	return SL_OK;
}

static enum sl_code join_merge(struct sl_node *n, struct json_object *params, const struct sl_arrival *a, uint32_t n_a,
			       struct json_object **out, struct sl_error *err)
{
	struct sl_str how = sl_json_get_str(params, "merge");
	if (sl_str_is(how, "concat"))
		return join_concat(a, n_a, out, err);
	if (sl_str_is(how, "best"))
		return join_best(n, a, n_a, out, err);
	bool list = sl_str_is(how, "list"), first = sl_str_is(how, "first");
	SL_AUTO_JSON merged = list ? json_object_new_array() : json_object_new_object();
	if (!merged)
		return sl_fail(err, SL_NO_MEMORY, "joining %u branches", n_a);
	for (uint32_t i = 0; i < n_a; i++) {
		if (a[i].state != SL_EDGE_TAKEN)
			continue;
		if (first) {
			*out = json_object_get(a[i].output);
			return SL_OK;
		}
		if (list)
			sl_json_append(merged, json_object_get(a[i].output));
		else
			sl_json_set(merged, a[i].from, json_object_get(a[i].output));
	}
	*out = first ? NULL : SL_TAKE(merged);
	return SL_OK;
}

static enum sl_step join_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	uint32_t all = sl_node_arrivals(n, NULL, 0);
	SL_AUTO_MEM struct sl_arrival *a = calloc(all + 1, sizeof(*a));
	SL_AUTO_JSON output = json_object_new_object();
	struct json_object *merged = NULL;
	if (!a || !output) {
		sl_fail(err, SL_NO_MEMORY, "joining branches");
		return SL_FAILED;
	}
	uint32_t n_a = join_collect(n, a, all);
	if (join_merge(n, params, a, n_a, &merged, err) != SL_OK)
		return SL_FAILED;
	sl_json_set(output, "merged", merged);

	struct json_object *branches = json_object_new_object(), *arrived = json_object_new_array(),
			   *missing = json_object_new_array();
	if (!branches || !arrived || !missing) {
		json_object_put(branches);
		json_object_put(arrived);
		json_object_put(missing);
		sl_fail(err, SL_NO_MEMORY, "joining %u branches", n_a);
		return SL_FAILED;
	}
	for (uint32_t i = 0; i < n_a; i++) {
		sl_json_set_str(branches, a[i].from, sl_str(join_state_name(a[i].state)));
		sl_json_append_z(a[i].state == SL_EDGE_TAKEN ? arrived : missing, a[i].from);
	}
	sl_json_set(output, "branches", branches); /* at last: what cannot be set is gone */
	sl_json_set(output, "arrived", arrived);
	sl_json_set(output, "missing", missing);
	sl_node_complete(n, SL_TAKE(output));
	return SL_DONE;
}

static void join_policy(struct json_object *params, uint32_t n_in, struct sl_join_policy *out)
{
	struct json_object *wait = sl_json_get(params, "wait");
	int64_t quorum = sl_json_get_i64(wait, "quorum", 0);
	bool any = sl_str_is(sl_json_str(wait), "any");
	*out = (struct sl_join_policy){.need = n_in, .cancel_rest = sl_json_get_bool(params, "cancel_rest", false)};
	if (any)
		out->need = 1;
	else if (quorum > 0)
		out->need = quorum < UINT32_MAX ? (uint32_t)quorum : UINT32_MAX;
	out->tolerates = out->need < n_in; /* a quorum of all of them is the same as all */
	uint64_t ms = sl_json_ms(params, "timeout_s");
	out->timeout_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static enum sl_code join_check(struct json_object *params, struct sl_error *err)
{
	bool best = sl_str_is(sl_json_get_str(params, "merge"), "best"), score = sl_json_get(params, "score") != NULL;
	if (best && !score)
		return sl_fail(err, SL_INVALID, "merge \"best\" needs `score`, an expression such as item.json.score");
	if (!best && score)
		return sl_fail(err, SL_INVALID, "`score` belongs to merge \"best\"; write that, or leave `score` out");
	return SL_OK;
}

const struct sl_node_type sl_node_type_join = {
	.name = "join",
	.summary = "Closes branches: waits for all, any or a quorum of them, and merges what arrived.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
		"  \"wait\": { \"title\": \"Wait for\", \"default\": \"all\", \"x-constant\": true,"
		"    \"description\": \"all, any, or { quorum: n }.\","
		"    \"anyOf\": [ { \"type\": \"string\", \"enum\": [\"all\", \"any\"] }, { \"type\": \"object\", "
		"\"additionalProperties\": false,"
		"      \"required\": [\"quorum\"], \"properties\": { \"quorum\": { \"type\": \"integer\", \"minimum\": "
		"1,"
		"      \"maximum\": 1000 } } } ] },"
		"  \"timeout_s\": { \"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 4000000, "
		"\"x-constant\": true,"
		"    \"title\": \"Wait at most (s)\","
		"    \"description\": \"Counted from the first arrival; then it goes on with what has arrived.\" },"
		"  \"cancel_rest\": { \"type\": \"boolean\", \"default\": false, \"x-constant\": true,"
		"    \"title\": \"Cancel the rest\","
		"    \"description\": \"When it goes on, nodes that lead only here and are not finished are "
		"cancelled.\" },"
		"  \"merge\": { \"type\": \"string\", \"enum\": [\"object\", \"list\", \"concat\", \"first\", "
		"\"best\"], \"default\": \"object\","
		"    \"x-constant\": true, \"title\": \"Merge\","
		"    \"description\": \"object: outputs by node id; list: outputs in the order of the edges; concat: "
		"their texts;"
		" first: the first one in that order; best: the one with the highest score.\" },"
		"  \"score\": { \"type\": \"string\", \"minLength\": 1, \"x-expr\": \"value\", \"x-provides\": "
		"[\"item\", \"index\"],"
		"    \"title\": \"Score\","
		"    \"description\": \"An expression that gives a number for one arrival's output, named `item`.\" } "
		"} }",
	.effects = SL_EFFECTS_NONE,
	.start = join_start,
	.policy = join_policy,
	.check = join_check,
};
