/* api/limits_doc.c: see limits_doc.h. */
#include "api/limits_doc.h"

#include "base/json.h"
#include "engine/engine.h"
#include "llm/governor.h"
#include "llm/problem.h"

#define WORKERS_MOST 256

enum sl_code sl_limits_check(struct json_object *doc, struct sl_buf *problems, struct sl_error *err)
{
	struct sl_problem_list l = {problems, err, 0};
	struct sl_problems found = {0};
	struct sl_admit_limits runs;
	struct json_object *workers = sl_json_get(doc, "workers");
	struct sl_error first = {0};
	enum sl_code rc = sl_governor_check_limits(doc, problems, &first), read;
	if (rc != SL_OK && rc != SL_INVALID)
		return sl_fail(err, rc, "%s", first.text);
	read = sl_admit_limits_read(sl_json_get(doc, "runs"), &runs, &found);
	if (read == SL_OK)
		sl_admit_limits_fini(&runs);
	for (size_t i = 0; i < found.n; i++) {
		SL_BUF(at, 4096);
		sl_buf_addf(&at, "/runs%s", found.items[i].pointer);
		sl_problem(&l, at.failed ? "/runs" : at.data, "%s", found.items[i].message);
	}
	sl_problems_fini(&found);
	if (read != SL_OK)
		return sl_fail(err, read, "limits");
	if (workers && !(json_object_is_type(workers, json_type_int) && json_object_get_int64(workers) >= 1 &&
			 json_object_get_int64(workers) <= WORKERS_MOST))
		sl_problem(&l, "/workers",
			   "must be a whole number from 1 to %d; leave it out for what the server was "
			   "started with",
			   WORKERS_MOST);
	if (rc == SL_INVALID && err)
		*err = first;
	return rc == SL_OK && l.n ? SL_INVALID : rc;
}

enum sl_code sl_limits_apply(struct sl_governor *g, struct sl_engine *e, struct json_object *doc, struct sl_error *err)
{
	struct sl_problems none = {0};
	struct sl_admit_limits runs = {0};
	enum sl_code rc = sl_limits_check(doc, NULL, err);
	if (rc == SL_OK && g)
		rc = sl_governor_set_limits(g, doc, NULL, err);
	if (rc == SL_OK && e) {
		rc = sl_admit_limits_read(sl_json_get(doc, "runs"), &runs, &none);
		if (rc == SL_OK) {
			sl_engine_limit(e, &runs);
			rc = sl_engine_resize(e, (uint32_t)sl_json_get_i64(doc, "workers", 0));
		}
		sl_problems_fini(&none);
		if (rc != SL_OK)
			rc = sl_fail(err, rc, "limits of runs");
	}
	return rc;
}

void sl_limits_json(struct sl_governor *g, struct sl_engine *e, struct sl_buf *out)
{
	SL_BUF(models, 1u << 20);
	sl_buf_addc(out, '{');
	if (g) {
		sl_governor_limits_json(g, &models);
		struct sl_str members = sl_buf_str(&models); /* an object: its members are ours */
		sl_buf_add(out, members.p + 1, members.len - 2);
	}
	if (e)
		sl_engine_limits_json(e, out);
	sl_buf_addc(out, '}');
	out->failed |= models.failed;
}
