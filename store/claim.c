/* store/claim.c: runs out of the database: claimed to go on with them, or loaded to look at.
 *
 * A claim whose reply is lost may have taken runs that nobody would work on. So each claim writes a token into the rows
 * it takes, the same token is used until an answer arrived, and a repeat begins with the rows that carry it.
 */
#include "store/chunks_priv.h"
#include "store/journal.h"
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define RUN_COLUMNS                                                                                                    \
	"r.id, r.epoch, r.recoveries, r.workflow, r.version, r.project, r.priority, r.tags, r.created_by, "            \
	"r.created_at"
#define EVENT_COLUMNS "e.run_id, e.seq, e.at, e.event, e.once, e.data, e.detail"

static const char claim_sql[] =
	"WITH dead AS MATERIALIZED (SELECT i.id FROM instances i WHERE i.id <> $1::bigint AND ($4::text = 'exclusive' "
	"OR " SL_SQL_INSTANCE_IS_DEAD ")), "
	"picked AS (SELECT r.id FROM runs r WHERE NOT r.done AND (r.owner IS NULL OR (r.owner = $1::bigint AND r.claim "
	"= $2::bigint) "
	"OR r.owner IN (SELECT id FROM dead) OR (r.owner <> $1::bigint AND NOT EXISTS (SELECT 1 FROM instances i WHERE "
	"i.id = r.owner))) "
	"ORDER BY (r.claim = $2::bigint) IS TRUE DESC, r.id LIMIT $3::integer FOR UPDATE SKIP LOCKED) "
	"UPDATE runs r SET epoch = r.epoch + 1, owner = $1::bigint, claim = $2::bigint, "
	"recoveries = r.recoveries + CASE WHEN r.owner IS NULL OR (r.claim = $2::bigint) IS TRUE THEN 0 ELSE 1 END "
	"FROM picked p WHERE r.id = p.id RETURNING " RUN_COLUMNS;
static const char claimed_events_sql[] =
	"SELECT " EVENT_COLUMNS
	" FROM run_events e WHERE e.run_id IN (SELECT r.id FROM runs r WHERE NOT r.done AND r.owner = $1::bigint "
	"AND r.claim = $2::bigint) ORDER BY e.run_id, e.seq";
static const char claimed_chunks_sql[] =
	"SELECT " SL_CHUNK_COLUMNS
	" FROM run_chunks c WHERE c.run_id IN (SELECT r.id FROM runs r WHERE NOT r.done AND r.owner = $1::bigint "
	"AND r.claim = $2::bigint)" SL_CHUNK_ORDER;

static char *text_dup(const PGresult *r, int row, int col)
{
	return sl_row_null(r, row, col) ? NULL : sl_str_dup(sl_row_str(r, row, col));
}

/* The row's run without records; NULL: no memory. */
static struct sl_stored_run *read_run(const PGresult *r, int row)
{
	SL_AUTO(sl_stored_run) run = calloc(1, sizeof(*run));
	struct sl_run_head *h = run ? run->head = sl_run_head_new() : NULL;
	if (!h)
		return NULL;
	h->id.u = sl_row_uuid(r, row, 0);
	run->epoch = (uint64_t)sl_row_i32(r, row, 1);
	run->recoveries = (uint32_t)sl_row_i32(r, row, 2);
	h->workflow = text_dup(r, row, 3);
	h->version = sl_row_i32(r, row, 4);
	h->project = text_dup(r, row, 5);
	h->priority = sl_row_i32(r, row, 6);
	h->tags = sl_row_bytes(r, row, 7);
	h->created_by = text_dup(r, row, 8);
	h->created_ms = sl_row_ms(r, row, 9);
	bool whole = h->workflow && h->project && !h->tags == sl_row_null(r, row, 7) &&
		     !h->created_by == sl_row_null(r, row, 8);
	return whole ? SL_TAKE(run) : NULL;
}

/* Rows [row, end) of EVENT_COLUMNS, all of one run; record 0 becomes the head's definition and inputs. SL_OK with
 * run->damaged set: they are not what was written. */
static enum sl_code read_events(struct sl_stored_run *run, const PGresult *r, int row, int end, struct sl_pieces *p)
{
	size_t name_bytes = 0, at = 0;
	for (int i = row; i < end; i++)
		name_bytes += (size_t)PQgetlength(r, i, 3) + 1;
	run->records = calloc((size_t)(end - row) + 1, sizeof(*run->records));
	run->names = malloc(name_bytes + 1);
	if (!run->records || !run->names)
		return SL_NO_MEMORY;
	for (int i = row; i < end; i++) {
		SL_AUTO(sl_bytes) data = NULL;
		SL_AUTO(sl_bytes) detail = NULL;
		int32_t seq = sl_row_i32(r, i, 1);
		enum sl_code rc = sl_text_read(r, i, 5, p, run->head->id, seq, &data);
		if (rc == SL_OK)
			rc = sl_text_read(r, i, 6, p, run->head->id, seq, &detail);
		if (rc != SL_OK) {
			run->damaged = rc == SL_INTERNAL;
			return run->damaged ? SL_OK : rc;
		}
		if (seq == 0) {
			run->head->inputs = SL_TAKE(data);
			run->head->definition = SL_TAKE(detail);
			continue;
		}
		struct sl_record *rec = &run->records[run->n_records++];
		struct sl_str name = sl_row_str(r, i, 3);
		*rec = (struct sl_record){.seq = (uint64_t)seq,
					  .wall_ms = sl_row_ms(r, i, 2),
					  .event = run->names + at,
					  .data = SL_TAKE(data),
					  .detail = SL_TAKE(detail),
					  .once = sl_row_bytes(r, i, 4)};
		memcpy(run->names + at, name.p, name.len + 1);
		at += name.len + 1;
		if (!rec->once != sl_row_null(r, i, 4))
			return SL_NO_MEMORY;
	}
	return SL_OK;
}

/* ---- claim ---- */

struct claim {
	struct sl_post post;
	struct sl_list link;
	struct sl_store *s;
	size_t max;
	sl_store_claim_fn *fn;
	void *arg;
};

static void next_claim(struct sl_store *s);

static int by_id(const void *pa, const void *pb)
{
	const struct sl_stored_run *const *a = pa, *const *b = pb;
	return memcmp((*a)->head->id.u.b, (*b)->head->id.u.b, 16);
}

static enum sl_code read_claimed(const PGresult *rows, const PGresult *events, struct sl_pieces *p,
				 struct sl_stored_run ***out, size_t *n)
{
	int count = PQntuples(rows), n_events = PQntuples(events), at = 0;
	struct sl_stored_run **runs = calloc((size_t)count + 1, sizeof(struct sl_stored_run *));
	*out = runs;
	*n = 0;
	if (!runs)
		return SL_NO_MEMORY;
	for (int i = 0; i < count; i++) {
		runs[i] = read_run(rows, i);
		if (!runs[i])
			return SL_NO_MEMORY;
		++*n;
	}
	if (count > 1)
		qsort(runs, (size_t)count, sizeof(struct sl_stored_run *), by_id);
	for (int i = 0; i < count; i++) {
		struct sl_uuid id = runs[i]->head->id.u;
		while (at < n_events && memcmp(sl_row_uuid(events, at, 0).b, id.b, 16) < 0)
			at++;
		int end = at;
		while (end < n_events && sl_uuid_eq(sl_row_uuid(events, end, 0), id))
			end++;
		enum sl_code rc = read_events(runs[i], events, at, end, p);
		if (rc != SL_OK)
			return rc;
		at = end;
	}
	return SL_OK;
}

static void claim_end(struct claim *c, enum sl_code rc, struct sl_stored_run **runs, size_t n)
{
	sl_store_claim_fn *fn = c->fn;
	void *arg = c->arg;
	sl_list_drop(&c->link);
	free(c);
	fn(arg, rc, runs, n);
}

static void claimed(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	struct claim *c = j->arg;
	struct sl_stored_run **runs = NULL;
	size_t n = 0;
	if (rc == SL_OK) {
		SL_CRASH_POINT("claim.read");
		struct sl_pieces pieces;
		sl_pieces_init(&pieces, j->results[2]);
		rc = read_claimed(j->results[0], j->results[1], &pieces, &runs, &n);
		sl_pieces_fini(&pieces);
	}
	if (rc == SL_OK)
		s->claim_token = 0; /* they are in good hands; after a failure the next claim asks for them again */
	else {
		for (size_t i = 0; i < n; i++)
			sl_stored_run_free(runs[i]);
		free(runs);
		runs = NULL;
		n = 0;
	}
	s->claim_busy = false;
	claim_end(c, rc, runs, n);
	next_claim(s);
}

static void next_claim(struct sl_store *s)
{
	while (!s->claim_busy && !sl_list_empty(&s->claims)) {
		struct claim *c = SL_CONTAINER_OF(s->claims.next, struct claim, link);
		struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT, claim_sql, claimed);
		if (j) {
			if (!s->claim_token) {
				randombytes_buf(&s->claim_token, sizeof(s->claim_token));
				s->claim_token |= 1; /* never 0 */
				s->claim_max = 0;
			}
			if (c->max > s->claim_max)
				s->claim_max = c->max;
			j->first = true;
			sl_job_i64(j, s->instance);
			sl_job_i64(j, s->claim_token);
			sl_job_i64(j, (int64_t)s->claim_max);
			sl_job_str(j, sl_str(s->config.sharing == SL_STORE_EXCLUSIVE ? "exclusive" : "shared"));
			sl_job_statement(j, claimed_events_sql);
			sl_job_i64(j, s->instance);
			sl_job_i64(j, s->claim_token);
			sl_job_statement(j, claimed_chunks_sql);
			sl_job_i64(j, s->instance);
			sl_job_i64(j, s->claim_token);
		}
		sl_list_drop(&c->link);
		s->claim_busy = true;
		SL_CRASH_POINT("claim.ask");
		enum sl_code rc = sl_job_submit(j, NULL, c);
		if (rc != SL_OK) {
			s->claim_busy = false;
			claim_end(c, rc, NULL, 0);
		}
	}
}

static void claim_arrives(struct sl_post *p)
{
	struct claim *c = SL_CONTAINER_OF(p, struct claim, post);
	sl_list_append(&c->s->claims, &c->link);
	next_claim(c->s);
}

enum sl_code sl_store_claim(struct sl_store *s, size_t max, sl_store_claim_fn *fn, void *arg)
{
	if (atomic_load(&s->closing))
		return SL_CANCELLED;
	struct claim *c = calloc(1, sizeof(*c));
	if (!c)
		return SL_NO_MEMORY;
	*c = (struct claim){.post.run = claim_arrives,
			    .s = s,
			    .max = max < 1       ? 1
				   : max > 10000 ? 10000
						 : max,
			    .fn = fn,
			    .arg = arg};
	sl_list_init(&c->link);
	sl_loop_post(s->loop, &c->post);
	return SL_OK;
}

/* ---- load ---- */

/* The events of a run and their pieces: the statements after the one that gives its row. */
static void whole_statements(struct sl_job *j, struct sl_run_id id)
{
	sl_job_statement(j, "SELECT " EVENT_COLUMNS " FROM run_events e WHERE e.run_id = $1 ORDER BY e.seq");
	sl_job_uuid(j, id.u);
	/* After the events: what they name is written with them, so it is there. */
	sl_job_statement(j, "SELECT " SL_CHUNK_COLUMNS " FROM run_chunks c WHERE c.run_id = $1" SL_CHUNK_ORDER);
	sl_job_uuid(j, id.u);
}

static enum sl_code read_whole(struct sl_job *j, struct sl_stored_run **out)
{
	struct sl_pieces pieces;
	SL_AUTO(sl_stored_run) run = read_run(j->results[0], 0);
	sl_pieces_init(&pieces, j->results[2]);
	enum sl_code rc = run ? read_events(run, j->results[1], 0, PQntuples(j->results[1]), &pieces) : SL_NO_MEMORY;
	sl_pieces_fini(&pieces);
	if (rc == SL_OK && run->damaged)
		rc = SL_INTERNAL;
	if (rc == SL_OK)
		*out = SL_TAKE(run);
	return rc;
}

static void loaded(struct sl_job *j, enum sl_code rc)
{
	sl_store_load_fn *fn = (sl_store_load_fn *)j->fn;
	struct sl_stored_run *run = NULL;
	if (rc == SL_OK && PQntuples(j->results[0]) == 0)
		rc = SL_NOT_FOUND;
	if (rc == SL_OK)
		rc = read_whole(j, &run);
	fn(j->arg, rc, run);
}

enum sl_code sl_store_load(struct sl_store *s, struct sl_run_id id, sl_store_load_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "SELECT " RUN_COLUMNS " FROM runs r WHERE r.id = $1", loaded);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, id.u);
	whole_statements(j, id);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

/* ---- reopen ---- */

/* The token of this one call: a repeat after a lost reply, and one that was thought lost and comes late, do not make
 * the epoch larger once more. */
static const char reopen_sql[] =
	"UPDATE runs r SET epoch = r.epoch + CASE WHEN (r.claim = $3::bigint) IS TRUE THEN 0 ELSE 1 END, owner = "
	"$2::bigint, claim = $3::bigint, recoveries = 0 WHERE r.id = $1 AND r.done AND r.status IN ('failed', "
	"'cancelled') RETURNING " RUN_COLUMNS;

static void reopened(struct sl_job *j, enum sl_code rc)
{
	sl_store_load_fn *fn = (sl_store_load_fn *)j->fn;
	struct sl_stored_run *run = NULL;
	if (rc == SL_OK && PQntuples(j->results[0]) == 0)
		rc = PQntuples(j->results[1]) ? SL_CONFLICT : SL_NOT_FOUND;
	if (rc == SL_OK)
		rc = read_whole(j, &run);
	fn(j->arg, rc, run);
}

enum sl_code sl_store_reopen(struct sl_store *s, struct sl_run_id id, sl_store_load_fn *fn, void *arg)
{
	int64_t token;
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT, reopen_sql, reopened);
	if (!j)
		return SL_NO_MEMORY;
	randombytes_buf(&token, sizeof(token));
	sl_job_uuid(j, id.u);
	sl_job_i64(j, s->instance);
	sl_job_i64(j, token | 1);
	whole_statements(j, id);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_port_reopen(void *store, struct sl_run_id id, sl_store_load_fn *fn, void *arg)
{
	return sl_store_reopen(store, id, fn, arg);
}

enum sl_code sl_store_port_claim(void *store, size_t max, sl_store_claim_fn *fn, void *arg)
{
	return sl_store_claim(store, max, fn, arg);
}

enum sl_code sl_store_port_load(void *store, struct sl_run_id id, sl_store_load_fn *fn, void *arg)
{
	return sl_store_load(store, id, fn, arg);
}
