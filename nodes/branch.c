/* nodes/branch.c: chooses one of the named cases; edges that carry another case die. */
#include <stdio.h>

#include "engine/node.h"

static struct json_object *branch_cases_of(struct json_object *params)
{
	struct json_object *cases = sl_json_get(params, "cases");
	return cases && json_object_is_type(cases, json_type_array) ? cases : NULL;
}

static enum sl_step branch_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct json_object *cases = branch_cases_of(params);
	size_t n_cases = cases ? json_object_array_length(cases) : 0;
	const char *chosen = NULL;
	for (size_t i = 0; i < n_cases && !chosen; i++) {
		char pointer[40];
		bool yes;
		(void)snprintf(pointer, sizeof(pointer), "/cases/%zu/when", i); /* 33 bytes at most */
		const char *kase = sl_json_get_z(json_object_array_get_idx(cases, i), "case");
		enum sl_code rc = sl_node_test(n, pointer, &yes, err);
		if (rc != SL_OK) {
			sl_wrap(err, rc, "case '%s'", kase ? kase : "");
			return SL_FAILED;
		}
		if (yes)
			chosen = kase;
	}
	if (!chosen)
		chosen = sl_json_get_z(params, "default");
	struct json_object *output = json_object_new_object();
	if (!output) {
		sl_fail(err, SL_NO_MEMORY, "choosing a case");
		return SL_FAILED;
	}
	sl_json_set_z(output, "case", chosen);
	sl_node_choose(n, chosen ? chosen : ""); /* no edge carries an empty case, so without a match all cases die */
	sl_node_complete(n, output);
	return SL_DONE;
}

static uint32_t branch_cases(struct json_object *params, const char **out, uint32_t max)
{
	struct json_object *cases = branch_cases_of(params);
	size_t n_cases = cases ? json_object_array_length(cases) : 0;
	const char *other = sl_json_get_z(params, "default");
	uint32_t n = 0;
	for (size_t i = 0; i < n_cases && n < max; i++) {
		const char *kase = sl_json_get_z(json_object_array_get_idx(cases, i), "case");
		if (kase)
			out[n++] = kase;
	}
	for (uint32_t i = 0; i < n && other; i++)
		if (strcmp(out[i], other) == 0)
			other = NULL;
	if (other && n < max)
		out[n++] = other;
	return n;
}

static bool branch_always(struct json_object *params)
{
	return sl_json_get_z(params, "default") != NULL;
}

static enum sl_code branch_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *cases = branch_cases_of(params);
	size_t n_cases = cases ? json_object_array_length(cases) : 0;
	for (size_t i = 0; i < n_cases; i++) {
		const char *a = sl_json_get_z(json_object_array_get_idx(cases, i), "case");
		for (size_t j = 0; a && j < i; j++) {
			const char *b = sl_json_get_z(json_object_array_get_idx(cases, j), "case");
			if (b && strcmp(a, b) == 0)
				return sl_fail(
					err, SL_INVALID,
					"the case '%.64s' is listed twice; join both conditions with `or` in one case",
					a);
		}
	}
	return SL_OK;
}

const struct sl_node_type sl_node_type_branch = {
	.name = "branch",
	.summary = "Chooses the edges to follow by the first case that is true.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"cases\"], \"properties\": {"
		"  \"cases\": { \"type\": \"array\", \"minItems\": 1, \"maxItems\": 100, \"title\": \"Cases\","
		"    \"description\": \"Tried from the top; the first whose condition is true is chosen.\","
		"    \"items\": { \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"case\", "
		"\"when\"],"
		"      \"properties\": {"
		"        \"case\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 64, \"x-constant\": true,"
		"          \"title\": \"Name\", \"description\": \"What an edge names as its `case`.\" },"
		"        \"when\": { \"type\": \"string\", \"minLength\": 1, \"x-expr\": \"value\", \"title\": "
		"\"Condition\","
		"          \"description\": \"An expression; nil and false mean no.\" } } } },"
		"  \"default\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 64, \"x-constant\": true,"
		"    \"title\": \"Otherwise\","
		"    \"description\": \"The case when none is true. Without it, every edge with a case is then not "
		"taken.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = branch_start,
	.cases = branch_cases,
	.always = branch_always,
	.check = branch_check,
};
