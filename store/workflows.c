/* store/workflows.c: see workflows.h. */
#include "store/workflows.h"

#include <stdlib.h>

#include "base/limits.h"
#include "store/store_priv.h"

#define PAGE_MOST 200

void sl_stored_workflow_free(struct sl_stored_workflow *w)
{
	if (!w)
		return;
	free(w->name);
	free(w->description);
	free(w->created_by);
	sl_bytes_unref(w->definition);
	free(w);
}

static void put_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_workflow_put_fn *fn = (sl_store_workflow_put_fn *)j->fn;
	const PGresult *r = j->results[0];
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = j->number == SL_WORKFLOW_CREATE ? SL_CONFLICT : SL_NOT_FOUND;
	fn(j->arg, rc, rc == SL_OK ? sl_row_i32(r, 0, 0) : 0, rc == SL_OK ? sl_row_ms(r, 0, 1) : 0);
}

enum sl_code sl_store_workflow_put(struct sl_store *s, enum sl_workflow_put how, struct sl_str name,
				   struct sl_str description, struct sl_bytes *definition, struct sl_str by,
				   sl_store_workflow_put_fn *fn, void *arg)
{
	/* A repeated update finds its own definition and makes no second version; a repeated create would find itself
	 * taken. */
	struct sl_job *j = sl_job_new(
		s, how == SL_WORKFLOW_CREATE ? SL_JOB_WRITE : SL_JOB_IDEMPOTENT,
		"SELECT version, created_at FROM sluice_workflow_put($1::integer, $2, $3, $4, $5)", put_done);
	if (!j)
		return SL_NO_MEMORY;
	j->number = how;
	sl_job_i64(j, how);
	sl_job_str(j, name);
	sl_job_str_or_null(j, description);
	sl_job_json(j, definition);
	sl_job_str_or_null(j, by);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static char *text_dup(const PGresult *r, int col)
{
	return sl_row_null(r, 0, col) ? NULL : sl_str_dup(sl_row_str(r, 0, col));
}

static void get_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_workflow_fn *fn = (sl_store_workflow_fn *)j->fn;
	const PGresult *r = j->results[0];
	SL_AUTO(sl_stored_workflow) w = NULL;
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = SL_NOT_FOUND;
	if (rc == SL_OK) {
		w = calloc(1, sizeof(*w));
		if (w) {
			w->name = text_dup(r, 0);
			w->version = sl_row_i32(r, 0, 1);
			w->latest = sl_row_i32(r, 0, 2);
			w->definition = sl_row_bytes(r, 0, 3);
			w->description = text_dup(r, 4);
			w->created_by = text_dup(r, 5);
			w->created_ms = sl_row_ms(r, 0, 6);
			w->archived = sl_row_bool(r, 0, 7);
		}
		if (!w || !w->name || !w->definition)
			rc = SL_NO_MEMORY;
	}
	fn(j->arg, rc, rc == SL_OK ? SL_TAKE(w) : NULL);
}

const char sl_sql_workflow_get[] =
	"SELECT w.name, v.version, w.latest, v.definition, w.description, v.created_by, v.created_at, "
	"w.archived_at IS NOT NULL FROM workflows w JOIN workflow_versions v ON v.name = w.name "
	"AND v.version = CASE WHEN $2::integer = 0 THEN w.latest ELSE $2::integer END WHERE w.name = $1";

enum sl_code sl_store_workflow_get(struct sl_store *s, struct sl_str name, int32_t version, sl_store_workflow_fn *fn,
				   void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, sl_sql_workflow_get, get_done);
	if (!j)
		return SL_NO_MEMORY;
	j->shared = true;
	sl_job_str(j, name);
	sl_job_i64(j, version);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_workflow_archive(struct sl_store *s, struct sl_str name, sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_IDEMPOTENT,
		"UPDATE workflows SET archived_at = coalesce(archived_at, now()) WHERE name = $1 RETURNING 1",
		sl_job_end_found);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, name);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_item(struct sl_buf *b, const PGresult *r, int i)
{
	sl_row_json_str(b, "name", r, i, 0);
	sl_row_json_str(b, "description", r, i, 1);
	sl_buf_json_ki64(b, "version", sl_row_i32(r, i, 2));
	sl_buf_json_ktime(b, "created_at", sl_row_ms(r, i, 3));
	sl_buf_json_ktime(b, "updated_at", sl_row_ms(r, i, 4));
}

static void list_key(struct sl_buf *b, const PGresult *r, int i)
{
	struct sl_str name = sl_row_str(r, i, 0);
	sl_buf_add(b, name.p, name.len);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_page(j, rc, list_item, list_key);
}

enum sl_code sl_store_workflow_list(struct sl_store *s, struct sl_str cursor, uint32_t limit, sl_store_json_fn *fn,
				    void *arg)
{
	char after[256] = "";
	if (cursor.len && !sl_cursor_read(cursor, after, sizeof(after)))
		return SL_BAD_REQUEST;
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ,
		"SELECT name, description, latest, created_at, updated_at FROM workflows WHERE archived_at IS NULL "
		"AND name > $1 ORDER BY name LIMIT $2::integer + 1",
		list_done);
	if (!j)
		return SL_NO_MEMORY;
	j->number = limit < 1 ? 50 : limit > PAGE_MOST ? PAGE_MOST : limit;
	sl_job_str(j, sl_str(after));
	sl_job_i64(j, (int64_t)j->number);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void versions_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = SL_NOT_FOUND;
	sl_buf_adds(&b, "{\"items\":[");
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		sl_buf_adds(&b, i ? ",{" : "{");
		sl_buf_json_ki64(&b, "version", sl_row_i32(r, i, 0));
		sl_buf_json_ktime(&b, "created_at", sl_row_ms(r, i, 1));
		sl_row_json_str(&b, "created_by", r, i, 2);
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "],\"next_cursor\":null}");
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_workflow_versions(struct sl_store *s, struct sl_str name, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ,
		"SELECT version, created_at, created_by FROM workflow_versions WHERE name = $1 ORDER BY version DESC "
		"LIMIT 1000",
		versions_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, name);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
