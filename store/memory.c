/* store/memory.c: see memory.h. The moves of memories, and what people and the digest read of them. */
#include "store/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "store/memory_priv.h"

#define PAGE_MOST 200
#define NEAR_MOST 32

/* ---- rights ---- */

static void prepared(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_rights_fn *fn = (sl_store_memory_rights_fn *)j->fn;
	const PGresult *r = j->results[0];
	struct sl_memory_rights rights = {0};
	if (rc == SL_OK && PQntuples(r) == 1) {
		rights = (struct sl_memory_rights){sl_row_null(r, 0, 0), sl_row_bool(r, 0, 1), true};
		if (!rights.role)
			sl_log(SL_LOG_WARN, "store",
			       "memory is retrieved without the role sluice_retrieval: its views and row security "
			       "alone keep "
			       "quarantine out",
			       SL_KSTR("reason", sl_row_str(r, 0, 0)));
		if (!rights.trigrams)
			sl_log(SL_LOG_WARN, "store",
			       "PostgreSQL has no pg_trgm: words that are nearly right are looked for in the newest "
			       "memories only");
	}
	fn(j->arg, rc, &rights);
}

enum sl_code sl_store_memory_prepare(struct sl_store *s, sl_store_memory_rights_fn *fn, void *arg)
{
	return sl_job_submit(
		sl_job_new(s, SL_JOB_IDEMPOTENT, "SELECT role, trigrams FROM sluice_memory_prepare()", prepared),
		(void (*)(void))fn, arg);
}

/* ---- rows ---- */

/* Columns: id, tier, content, and further ones that the mask names, in this order. */
void sl_memory_rows_end(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_rows_fn *fn = (sl_store_memory_rows_fn *)j->fn;
	const PGresult *r = j->n_st > 1 ? j->results[j->n_st - 1] : j->results[0];
	struct sl_memory_rows *rows = NULL;
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0, bytes = sizeof(*rows) + n * sizeof(rows->items[0]);
	bool more = rc == SL_OK && PQnfields(r) > 4;
	for (size_t i = 0; i < n; i++)
		bytes += (size_t)PQgetlength(r, (int)i, 2) + (size_t)(more ? PQgetlength(r, (int)i, 10) : 0) + 2;
	if (rc == SL_OK) {
		rows = calloc(1, bytes);
		rc = rows ? SL_OK : SL_NO_MEMORY;
	}
	char *text = rows ? (char *)&rows->items[n] : NULL;
	for (size_t i = 0; rows && i < n; i++) {
		struct sl_memory_row *m = &rows->items[i];
		int row = (int)i;
		struct sl_str tier = sl_row_str(r, row, 1), content = sl_row_str(r, row, 2);
		m->id = sl_row_uuid(r, row, 0);
		snprintf(m->tier, sizeof(m->tier), SL_STR_FMT, SL_STR_ARG(tier));
		memcpy(text, content.p, content.len);
		m->content = sl_str_n(text, content.len);
		text += content.len + 1;
		m->print = (uint64_t)sl_row_i64(r, row, 3);
		if (!more)
			continue;
		struct sl_str metadata = sl_row_str(r, row, 10);
		m->verified = sl_row_bool(r, row, 4);
		m->confidence = sl_row_i32(r, row, 5) / 1000.0;
		m->created_ms = sl_row_ms(r, row, 6);
		m->expires_ms = sl_row_ms(r, row, 7);
		m->reuse_count = sl_row_i32(r, row, 8);
		m->has_run = !sl_row_null(r, row, 9);
		m->run.u = sl_row_uuid(r, row, 9);
		memcpy(text, metadata.p, metadata.len);
		m->metadata = sl_str_n(text, metadata.len);
		text += metadata.len + 1;
	}
	if (rows)
		rows->n = n;
	fn(j->arg, rc, rows);
}

/* ---- moves ---- */

static const char *tier_name(struct sl_str t)
{
	return sl_str_is(t, "working") ? "working" : sl_str_is(t, "long_term") ? "long_term" : "quarantine";
}

static void put_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_put_fn *fn = (sl_store_memory_put_fn *)j->fn;
	const PGresult *r = j->results[0];
	if (rc != SL_OK || PQntuples(r) == 0) {
		fn(j->arg, rc == SL_OK ? SL_NOT_FOUND : rc, SL_MEMORY_STORED, (struct sl_uuid){0}, "", 0);
		return;
	}
	struct sl_str how = sl_row_str(r, 0, 2);
	fn(j->arg, SL_OK,
	   sl_str_is(how, "stored")     ? SL_MEMORY_STORED
	   : sl_str_is(how, "repeated") ? SL_MEMORY_REPEATED
					: SL_MEMORY_DUPLICATE,
	   sl_row_uuid(r, 0, 0), tier_name(sl_row_str(r, 0, 1)), sl_row_ms(r, 0, 3));
}

static void real_param(struct sl_job *j, double v)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%.6g", v);
	sl_job_str(j, sl_str_n(text, (size_t)n)); /* taken as text, cast in the statement */
}

enum sl_code sl_store_memory_put(struct sl_store *s, const struct sl_memory_put *m, sl_store_memory_put_fn *fn,
				 void *arg)
{
	/* With a key it may be sent again; without one a second time would be a second memory. */
	struct sl_job *j = sl_job_new(
		s, m->once.len ? SL_JOB_IDEMPOTENT : SL_JOB_WRITE,
		"SELECT memory_id, memory_tier, outcome, until FROM sluice_memory_store($1, $2, $3, $4, $5::bytea, "
		"$6::bigint, "
		"$7::text::real, $8, $9, $10, $11, $12, $13::text::boolean, $14::integer, $15::integer, $16)",
		put_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, m->id);
	sl_job_str(j, sl_str(m->tier));
	sl_job_str(j, m->project);
	sl_job_str(j, m->content);
	sl_job_bytea(j, m->hash, sizeof(m->hash));
	sl_job_i64(j, (int64_t)m->print);
	real_param(j, m->confidence);
	sl_job_str(j, m->metadata.len ? m->metadata : SL_STR("{}"));
	if (m->has_run)
		sl_job_uuid(j, m->run.u);
	else
		sl_job_bytea(j, NULL, 0);
	sl_job_str_or_null(j, m->path);
	sl_job_str_or_null(j, m->once);
	sl_job_str_or_null(j, m->by);
	sl_job_str(j, m->verified ? SL_STR("true") : SL_STR("false"));
	sl_job_i64(j, m->ttl_s);
	sl_job_i64(j, m->capacity);
	sl_job_str_or_null(j, m->chunks);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_once(struct sl_store *s, struct sl_str once, sl_store_memory_put_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_READ,
			   "SELECT h.memory_id, h.to_tier, 'repeated'::text, NULL::timestamptz FROM memory_history h "
			   "WHERE h.once = $1",
			   put_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, once);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void move_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_move_fn *fn = (sl_store_memory_move_fn *)j->fn;
	const PGresult *r = j->results[0];
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = SL_NOT_FOUND;
	if (rc != SL_OK) {
		fn(j->arg, rc, false, SL_STR(""), "", 0);
		return;
	}
	struct sl_str how = sl_row_str(r, 0, 2);
	fn(j->arg, sl_str_is(how, "invalid") ? SL_CONFLICT : SL_OK, sl_str_is(how, "moved"), sl_row_str(r, 0, 0),
	   tier_name(sl_row_str(r, 0, 1)), sl_row_ms(r, 0, 3));
}

enum sl_code sl_store_memory_move(struct sl_store *s, const struct sl_memory_move *m, sl_store_memory_move_fn *fn,
				  void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT,
			   "SELECT memory_project, memory_tier, outcome, until FROM sluice_memory_move($1, $2, $3, $4, "
			   "$5::text::boolean, $6::integer, $7::integer, $8)",
			   move_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, m->id);
	sl_job_str(j, sl_str(m->tier));
	sl_job_str_or_null(j, m->by);
	sl_job_str_or_null(j, m->reason);
	sl_job_str(j, m->verified ? SL_STR("true") : SL_STR("false"));
	sl_job_i64(j, m->ttl_s);
	sl_job_i64(j, m->capacity);
	sl_job_str_or_null(j, m->chunks);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void invalidated(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_invalid_fn *fn = (sl_store_memory_invalid_fn *)j->fn;
	const PGresult *r = j->results[0];
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = SL_NOT_FOUND;
	if (rc != SL_OK)
		fn(j->arg, rc, 0, SL_STR(""), "");
	else
		fn(j->arg, SL_OK, (size_t)PQntuples(r), sl_row_str(r, 0, 0), tier_name(sl_row_str(r, 0, 1)));
}

enum sl_code sl_store_memory_invalidate(struct sl_store *s, struct sl_str ids, struct sl_str project, struct sl_str by,
					struct sl_str reason, sl_store_memory_invalid_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT,
				      "SELECT memory_project, memory_tier FROM sluice_memory_invalidate("
				      "string_to_array($1, ',')::uuid[], $2, $3, $4)",
				      invalidated);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, ids);
	sl_job_str_or_null(j, project);
	sl_job_str_or_null(j, by);
	sl_job_str_or_null(j, reason);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void expired(struct sl_job *j, enum sl_code rc)
{
	sl_store_memory_expire_fn *fn = (sl_store_memory_expire_fn *)j->fn;
	const PGresult *r = j->results[0];
	fn(j->arg, rc, rc == SL_OK ? (uint32_t)sl_row_i32(r, 0, 0) : 0, rc == SL_OK ? sl_row_ms(r, 0, 1) : 0);
}

enum sl_code sl_store_memory_expire(struct sl_store *s, uint32_t most, sl_store_memory_expire_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT, "SELECT gone, next FROM sluice_memory_expire($1::integer)", expired);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_i64(j, most);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_used(struct sl_store *s, struct sl_str ids, struct sl_run_id run, struct sl_str path,
				  sl_store_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT, "SELECT sluice_memory_used(string_to_array($1, ',')::uuid[], $2, $3)",
			   sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, ids);
	sl_job_uuid(j, run.u);
	sl_job_str(j, path);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

/* ---- for people ---- */

#define ITEM                                                                                                           \
	"id, tier, project, content, (confidence * 1000)::integer, metadata, run_id, path, created_by, verified, "     \
	"created_at, "                                                                                                 \
	"expires_at, invalidated_at, reuse_count, used_at"

static void id_member(struct sl_buf *b, const char *key, const PGresult *r, int row, int col)
{
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(sl_row_uuid(r, row, col), id);
	sl_buf_json_kz(b, key, sl_row_null(r, row, col) ? NULL : id);
}

static void item_members(struct sl_buf *b, const PGresult *r, int i)
{
	id_member(b, "id", r, i, 0);
	sl_row_json_str(b, "tier", r, i, 1);
	sl_row_json_str(b, "project", r, i, 2);
	sl_row_json_str(b, "content", r, i, 3);
	sl_buf_json_key(b, "confidence");
	sl_buf_addf(b, "%.3g", sl_row_i32(r, i, 4) / 1000.0);
	sl_buf_json_kraw(b, "metadata", sl_row_str(r, i, 5));
	id_member(b, "run_id", r, i, 6);
	sl_row_json_str(b, "path", r, i, 7);
	sl_row_json_str(b, "created_by", r, i, 8);
	sl_buf_json_kbool(b, "verified", sl_row_bool(r, i, 9));
	sl_buf_json_ktime(b, "created_at", sl_row_ms(r, i, 10));
	sl_buf_json_ktime(b, "expires_at", sl_row_ms(r, i, 11));
	sl_buf_json_ktime(b, "invalidated_at", sl_row_ms(r, i, 12));
	sl_buf_json_ki64(b, "reuse_count", sl_row_i32(r, i, 13));
	sl_buf_json_ktime(b, "used_at", sl_row_ms(r, i, 14));
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_page(j, rc, item_members, sl_row_uuid_text);
}

enum sl_code sl_store_memory_list(struct sl_store *s, const struct sl_memory_filter *f, sl_store_json_fn *fn, void *arg)
{
	char after[64];
	struct sl_uuid last = {0};
	if (f->cursor.len && (!sl_cursor_read(f->cursor, after, sizeof(after)) || !sl_uuid_parse(sl_str(after), &last)))
		return SL_BAD_REQUEST;
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "", list_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_buf_adds(&j->text, "SELECT " ITEM " FROM memories WHERE (expires_at IS NULL OR expires_at > now())");
	if (!f->invalid)
		sl_buf_adds(&j->text, " AND invalidated_at IS NULL");
	if (f->project.len) {
		sl_job_str(j, f->project);
		sl_buf_addf(&j->text, " AND project = $%d", j->st[0].n);
	}
	if (f->tier.len) {
		sl_job_str(j, f->tier);
		sl_buf_addf(&j->text, " AND tier = $%d", j->st[0].n);
	}
	if (f->cursor.len) {
		sl_job_uuid(j, last);
		sl_buf_addf(&j->text, " AND id < $%d", j->st[0].n);
	}
	j->number = f->limit < 1 ? 50 : f->limit > PAGE_MOST ? PAGE_MOST : f->limit;
	sl_buf_addf(&j->text, " ORDER BY id DESC LIMIT %d", (int)j->number + 1);
	j->st[0].sql = j->text.data;
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void get_done(struct sl_job *j, enum sl_code rc)
{
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	if (rc == SL_OK && PQntuples(j->results[0]) == 0)
		rc = SL_NOT_FOUND;
	if (rc == SL_OK) {
		const PGresult *h = j->results[1], *u = j->results[2];
		sl_buf_addc(&b, '{');
		item_members(&b, j->results[0], 0);
		sl_buf_json_key(&b, "history");
		sl_buf_addc(&b, '[');
		for (int i = 0; i < PQntuples(h); i++) {
			sl_buf_adds(&b, i ? ",{" : "{");
			sl_buf_json_ktime(&b, "at", sl_row_ms(h, i, 0));
			sl_row_json_str(&b, "action", h, i, 1);
			sl_row_json_str(&b, "from", h, i, 2);
			sl_row_json_str(&b, "to", h, i, 3);
			sl_row_json_str(&b, "by", h, i, 4);
			sl_row_json_str(&b, "reason", h, i, 5);
			sl_buf_addc(&b, '}');
		}
		sl_buf_addc(&b, ']');
		sl_buf_json_key(&b, "used_by");
		sl_buf_addc(&b, '[');
		for (int i = 0; i < PQntuples(u); i++) {
			sl_buf_adds(&b, i ? ",{" : "{");
			id_member(&b, "run_id", u, i, 0);
			sl_row_json_str(&b, "path", u, i, 1);
			sl_buf_json_ktime(&b, "at", sl_row_ms(u, i, 2));
			sl_row_json_str(&b, "workflow", u, i, 3);
			sl_row_json_str(&b, "status", u, i, 4);
			sl_buf_addc(&b, '}');
		}
		sl_buf_adds(&b, "]}");
	}
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_memory_get(struct sl_store *s, struct sl_uuid id, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "SELECT " ITEM " FROM memories WHERE id = $1", get_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, id);
	sl_job_statement(
		j, "SELECT at, action, from_tier, to_tier, actor, reason FROM memory_history WHERE memory_id = $1 "
		   "ORDER BY id LIMIT 200");
	sl_job_uuid(j, id);
	sl_job_statement(
		j, "SELECT u.run_id, u.path, u.at, r.workflow, r.status FROM memory_uses u LEFT JOIN runs r ON r.id = "
		   "u.run_id WHERE u.memory_id = $1 ORDER BY u.at DESC, u.run_id, u.path LIMIT 1000");
	sl_job_uuid(j, id);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_one(struct sl_store *s, struct sl_uuid id, sl_store_memory_rows_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_READ,
			   "SELECT " SL_MEMORY_ROW " FROM memories WHERE id = $1 AND invalidated_at IS NULL AND "
			   "(expires_at IS NULL OR expires_at > now())",
			   sl_memory_rows_end);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, id);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_quarantine(struct sl_store *s, struct sl_str project, uint32_t limit,
					sl_store_memory_rows_fn *fn, void *arg)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_READ,
			   "SELECT " SL_MEMORY_ROW " FROM memories WHERE tier = 'quarantine' AND project = $1 AND "
			   "invalidated_at IS NULL ORDER BY id DESC LIMIT $2::integer",
			   sl_memory_rows_end);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, project);
	sl_job_i64(j, limit);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_memory_near(struct sl_store *s, struct sl_str project, uint64_t print, uint32_t bits,
				  sl_store_memory_rows_fn *fn, void *arg)
{
	/* The distance is taken on an index that holds nothing else, so the contents of far ones are never read. */
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ,
		"SELECT m.id, m.tier, m.content, m.simhash FROM memories m WHERE m.tier IN ('working', 'long_term') "
		"AND m.id IN ("
		"SELECT id FROM (SELECT id, bit_count((simhash # $2::bigint)::bit(64)) AS d "
		"FROM memories_working WHERE project = $1 AND invalidated_at IS NULL AND expires_at > now() UNION ALL "
		"SELECT id, bit_count((simhash # $2::bigint)::bit(64)) "
		"FROM memories_long_term WHERE project = $1 AND invalidated_at IS NULL) x WHERE d <= $3::integer ORDER "
		"BY d "
		"LIMIT $4::integer)",
		sl_memory_rows_end);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, project);
	sl_job_i64(j, (int64_t)print);
	sl_job_i64(j, bits);
	sl_job_i64(j, NEAR_MOST);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
