/* store/audit.c: see audit.h. */
#include "store/audit.h"

#include "base/limits.h"
#include "store/store_priv.h"

#define PAGE_MOST     200
#define RESERVE_BYTES (16u << 20) /* beyond the cap of what waits: what was done may be done already */

void sl_job_audit(struct sl_job *j, const struct sl_audit_by *by)
{
	sl_job_statement(j, "INSERT INTO audit (actor, action, target) VALUES ($1, $2, $3)");
	sl_job_str(j, by->actor);
	sl_job_str(j, by->action);
	sl_job_str(j, by->target);
}

struct sl_job *sl_job_delete_named(struct sl_store *s, const char *sql, const struct sl_audit_by *by,
				   struct sl_str name)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_WRITE, sql, sl_job_end_found);
	if (j) {
		sl_job_str(j, name);
		sl_job_str(j, by->actor);
		sl_job_str(j, by->action);
	}
	return j;
}

enum sl_code sl_store_audit(struct sl_store *s, struct sl_str actor, struct sl_str action, struct sl_str target,
			    struct sl_bytes *detail, sl_store_fn *fn, void *arg)
{
	/* SL_JOB_WRITE: with an unknown outcome the caller hears it; a row twice would be a lie. */
	struct sl_job *j =
		sl_job_new(s, SL_JOB_WRITE, "INSERT INTO audit (actor, action, target, detail) VALUES ($1, $2, $3, $4)",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	j->taken_upto += RESERVE_BYTES;
	sl_job_str(j, actor);
	sl_job_str(j, action);
	sl_job_str(j, target);
	sl_job_json(j, detail);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_item(struct sl_buf *b, const PGresult *r, int i)
{
	sl_buf_json_ki64(b, "id", sl_row_i64(r, i, 0));
	sl_buf_json_ktime(b, "at", sl_row_ms(r, i, 1));
	sl_row_json_str(b, "actor", r, i, 2);
	sl_row_json_str(b, "action", r, i, 3);
	sl_row_json_str(b, "target", r, i, 4);
	sl_buf_json_kraw(b, "detail", sl_row_str(r, i, 5)); /* NULL has no length, and that writes null */
}

static void list_key(struct sl_buf *b, const PGresult *r, int i)
{
	sl_buf_addi(b, sl_row_i64(r, i, 0));
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_page(j, rc, list_item, list_key);
}

enum sl_code sl_store_audit_list(struct sl_store *s, const struct sl_audit_filter *f, sl_store_json_fn *fn, void *arg)
{
	char text[32];
	int64_t before = INT64_MAX;
	if (f->cursor.len && (!sl_cursor_read(f->cursor, text, sizeof(text)) || !sl_str_i64(sl_str(text), &before)))
		return SL_BAD_REQUEST;
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "", list_done);
	if (!j)
		return SL_NO_MEMORY;
	j->number = f->limit < 1 ? 50 : f->limit > PAGE_MOST ? PAGE_MOST : f->limit;
	sl_job_i64(j, before);
	sl_buf_adds(&j->text, "SELECT id, at, actor, action, target, detail FROM audit WHERE id < $1::bigint");
	if (f->actor.len) {
		sl_job_str(j, f->actor);
		sl_buf_addf(&j->text, " AND actor = $%d", j->st[0].n);
	}
	if (f->action.len) {
		bool all = f->action.p[f->action.len - 1] == '.';
		sl_job_str(j, f->action);
		sl_buf_addf(&j->text, all ? " AND starts_with(action, $%d)" : " AND action = $%d", j->st[0].n);
	}
	sl_buf_addf(&j->text, " ORDER BY id DESC LIMIT %d", (int)j->number + 1);
	j->st[0].sql = j->text.data;
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void verify_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, 1024);
	if (rc == SL_OK && PQntuples(r) == 1) {
		struct sl_str hash = sl_row_str(r, 0, 3);
		sl_buf_addc(&b, '{');
		sl_buf_json_kbool(&b, "ok", sl_row_null(r, 0, 1));
		sl_buf_json_ki64(&b, "lines", sl_row_i64(r, 0, 0));
		if (!sl_row_null(r, 0, 1))
			sl_buf_json_ki64(&b, "broken", sl_row_i64(r, 0, 1));
		sl_buf_json_ki64(&b, "head", sl_row_i64(r, 0, 2));
		sl_buf_json_kstr(&b, "head_hash", hash);
		sl_buf_addc(&b, '}');
	}
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_audit_verify(struct sl_store *s, sl_store_json_fn *fn, void *arg)
{
	return sl_job_submit(sl_job_new(s, SL_JOB_READ,
					"SELECT lines, broken, head, encode(head_hash, 'hex') FROM "
					"sluice_audit_verify()",
					verify_done),
			     (void (*)(void))fn, arg);
}
