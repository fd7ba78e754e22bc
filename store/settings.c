/* store/settings.c: see settings.h. */
#include "store/settings.h"

#include "base/limits.h"
#include "store/store_priv.h"

static void get_done(struct sl_job *j, enum sl_code rc)
{
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	if (rc == SL_OK && PQntuples(j->results[0]) == 0)
		rc = SL_NOT_FOUND;
	if (rc == SL_OK) {
		struct sl_str v = sl_row_str(j->results[0], 0, 0);
		sl_buf_add(&b, v.p, v.len);
	}
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_setting_get(struct sl_store *s, struct sl_str key, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "SELECT value FROM settings WHERE key = $1", get_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, key);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_setting_put(struct sl_store *s, struct sl_str key, struct sl_bytes *json, sl_store_fn *fn,
				  void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT,
			   "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET "
			   "value = excluded.value, updated_at = now()",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, key);
	sl_job_json(j, json);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_setting_put_by(struct sl_store *s, const struct sl_audit_by *by, struct sl_str key,
				     struct sl_bytes *json, sl_store_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_WRITE,
			   "WITH put AS (INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE "
			   "SET value = excluded.value, updated_at = now() RETURNING key) "
			   "INSERT INTO audit (actor, action, target) SELECT $3::text, $4::text, $5::text FROM put",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, key);
	sl_job_json(j, json);
	sl_job_str(j, by->actor);
	sl_job_str(j, by->action);
	sl_job_str(j, by->target);
	sl_job_news(j, SL_STORE_NEWS_SETTINGS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_setting_delete(struct sl_store *s, struct sl_str key, sl_store_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_WRITE, "DELETE FROM settings WHERE key = $1 RETURNING 1", sl_job_end_found);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, key);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void all_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	sl_buf_addc(&b, '{');
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		struct sl_str value = sl_row_str(r, i, 1);
		if (i)
			sl_buf_addc(&b, ',');
		sl_buf_json_str(&b, sl_row_str(r, i, 0));
		sl_buf_addc(&b, ':');
		sl_buf_add(&b, value.p, value.len);
	}
	sl_buf_addc(&b, '}');
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_setting_all(struct sl_store *s, sl_store_json_fn *fn, void *arg)
{
	return sl_job_submit(sl_job_new(s, SL_JOB_READ, "SELECT key, value FROM settings ORDER BY key", all_done),
			     (void (*)(void))fn, arg);
}
