/* engine/admit_limits.c: the section `runs` of the limits an operator sets, read and written:
 *
 *   { "max_running"?, "max_queued"?, "max_unfinished"?, "per_project"?, "projects"?: { NAME: n },
 *     "per_workflow"?, "workflows"?: { NAME: n } }
 *
 * A name in a table goes before the number for all; 0 there is no limit for that one. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "engine/engine.h"

#define NAMES_MOST 1000
#define RUNS_MOST  1000000

static bool whole(struct json_object *v, int64_t least, int64_t most)
{
	return v && json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= least &&
	       json_object_get_int64(v) <= most;
}

static enum sl_code read_names(struct json_object *o, const char *key, struct sl_admit_named **out, uint32_t *n,
			       struct sl_problems *problems)
{
	size_t most = o && json_object_is_type(o, json_type_object) ? (size_t)json_object_object_length(o) : 0;
	SL_BUF(at, 4096);
	sl_pointer_add(&at, sl_str(key));
	if (!o || !json_object_is_type(o, json_type_object)) {
		sl_problems_add(problems, false, sl_buf_str(&at), "must be an object: numbers by name");
		return SL_OK;
	}
	if (most > NAMES_MOST) {
		sl_problems_add(problems, false, sl_buf_str(&at), "more than %d names", NAMES_MOST);
		return SL_OK;
	}
	*out = calloc(most ? most : 1, sizeof(**out));
	if (!*out)
		return SL_NO_MEMORY;
	json_object_object_foreach (o, name, v) {
		SL_BUF(one, 4096);
		sl_pointer_add(&one, sl_str(key));
		sl_pointer_add(&one, sl_str(name));
		if (!whole(v, 0, RUNS_MOST)) {
			sl_problems_add(problems, false, sl_buf_str(&one),
					"must be a whole number from 0 (no limit for this one) to %d", RUNS_MOST);
			continue;
		}
		struct sl_admit_named *at_ = &(*out)[*n];
		at_->most = (uint32_t)json_object_get_int64(v);
		at_->name = sl_str_dup(sl_str(name));
		if (!at_->name)
			return SL_NO_MEMORY;
		++*n;
	}
	return SL_OK;
}

enum sl_code sl_admit_limits_read(struct json_object *runs, struct sl_admit_limits *out, struct sl_problems *problems)
{
	*out = (struct sl_admit_limits){0};
	const struct {
		const char *key;
		uint32_t *to;
		int64_t most;
	} numbers[] = {
		{"max_running", &out->max_running, RUNS_MOST},
		{"max_queued", &out->max_queued, RUNS_MOST},
		{"max_unfinished", &out->max_unfinished, SL_LIMIT_ACTIVE_RUNS},
		{"per_project", &out->per_project, RUNS_MOST},
		{"per_workflow", &out->per_workflow, RUNS_MOST},
	};
	enum sl_code rc = SL_OK;
	if (!runs)
		return SL_OK;
	if (!json_object_is_type(runs, json_type_object)) {
		sl_problems_add(problems, false, SL_STR(""), "must be an object");
		return SL_OK;
	}
	json_object_object_foreach (runs, key, v) {
		size_t i = 0;
		SL_BUF(at, 4096);
		sl_pointer_add(&at, sl_str(key));
		while (i < SL_COUNT_OF(numbers) && strcmp(numbers[i].key, key) != 0)
			i++;
		if (i < SL_COUNT_OF(numbers) && whole(v, 1, numbers[i].most))
			*numbers[i].to = (uint32_t)json_object_get_int64(v);
		else if (i < SL_COUNT_OF(numbers))
			sl_problems_add(problems, false, sl_buf_str(&at),
					"must be a whole number from 1 to %lld; leave it out for no limit",
					(long long)numbers[i].most);
		else if (strcmp(key, "projects") == 0 && rc == SL_OK)
			rc = read_names(v, key, &out->projects, &out->n_projects, problems);
		else if (strcmp(key, "workflows") == 0 && rc == SL_OK)
			rc = read_names(v, key, &out->workflows, &out->n_workflows, problems);
		else
			sl_problems_add(problems, false, sl_buf_str(&at),
					"is not known; there are max_running, max_queued, max_unfinished, per_project, "
					"projects, per_workflow and workflows");
	}
	if (rc != SL_OK)
		sl_admit_limits_fini(out);
	return rc;
}

static void number(struct sl_buf *out, const char *key, uint32_t n)
{
	if (n)
		sl_buf_json_ku64(out, key, n);
}

static void names(struct sl_buf *out, const char *key, const struct sl_admit_named *all, uint32_t n)
{
	if (!n)
		return;
	sl_buf_json_key(out, key);
	sl_buf_addc(out, '{');
	for (uint32_t i = 0; i < n; i++)
		sl_buf_json_ku64(out, all[i].name, all[i].most);
	sl_buf_addc(out, '}');
}

void sl_admit_limits_json(const struct sl_admit_limits *l, struct sl_buf *out)
{
	sl_buf_addc(out, '{');
	number(out, "max_running", l->max_running);
	number(out, "max_queued", l->max_queued);
	number(out, "max_unfinished", l->max_unfinished);
	number(out, "per_project", l->per_project);
	names(out, "projects", l->projects, l->n_projects);
	number(out, "per_workflow", l->per_workflow);
	names(out, "workflows", l->workflows, l->n_workflows);
	sl_buf_addc(out, '}');
}
