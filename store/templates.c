/* store/templates.c: see templates.h. */
#include "store/templates.h"

#include "base/limits.h"
#include "store/store_priv.h"

#define MOST 1000 /* people's own templates that a list shows */

enum sl_code sl_store_template_add(struct sl_store *s, const struct sl_audit_by *by, const struct sl_template_row *row,
				   sl_store_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_WRITE,
			   "WITH put AS (INSERT INTO templates (name, title, about, category, definition, created_by) "
			   "VALUES ($1, $2, $3, $4, $5, $6) RETURNING name) "
			   "INSERT INTO audit (actor, action, target) SELECT $7::text, $8::text, name FROM put",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, row->name);
	sl_job_str(j, row->title);
	sl_job_str(j, row->about);
	sl_job_str(j, row->category);
	sl_job_json(j, row->definition);
	sl_job_str(j, row->created_by);
	sl_job_str(j, by->actor);
	sl_job_str(j, by->action);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_template_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
				      sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_delete_named(s, SL_SQL_DELETE_NAMED("templates"), by, name);
	if (!j)
		return SL_NO_MEMORY;
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		sl_buf_adds(&b, i ? ",{" : "{");
		sl_row_json_str(&b, "name", r, i, 0);
		sl_row_json_str(&b, "title", r, i, 1);
		sl_row_json_str(&b, "description", r, i, 2);
		sl_row_json_str(&b, "category", r, i, 3);
		sl_buf_json_kbool(&b, "system", false);
		sl_buf_json_ktime(&b, "created_at", sl_row_ms(r, i, 5));
		sl_row_json_str(&b, "created_by", r, i, 6);
		sl_buf_json_kraw(&b, "definition", sl_row_str(r, i, 4));
		sl_buf_addc(&b, '}');
	}
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_template_list(struct sl_store *s, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ,
				      "SELECT name, title, about, category, definition, created_at, created_by "
				      "FROM templates ORDER BY name LIMIT $1::integer",
				      list_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_i64(j, MOST);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
