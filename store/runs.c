/* store/runs.c: see runs.h. The list goes by id, which is by time, so a cursor is the last id. */
#include "store/runs.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "store/chunks_priv.h"
#include "store/store_priv.h"

#define LIST_MOST   200
#define EVENTS_MOST 1000

_Static_assert(SL_RUN_FILTER_STATUSES + 5 <= SL_JOB_PARAMS, "every filter at once");

static void list_item(struct sl_buf *b, const PGresult *r, int i)
{
	char id[SL_UUID_TEXT_BYTES];
	int64_t cost = sl_row_i64(r, i, 13);
	sl_uuid_format(sl_row_uuid(r, i, 0), id);
	sl_buf_json_kz(b, "id", id);
	if (!sl_row_null(r, i, 19))
		sl_buf_json_kraw(b, "forked_from", sl_row_str(r, i, 19));
	sl_row_json_str(b, "workflow", r, i, 1);
	sl_buf_json_ki64(b, "version", sl_row_i32(r, i, 2));
	sl_row_json_str(b, "project", r, i, 3);
	sl_row_json_str(b, "status", r, i, 4);
	if (!sl_row_null(r, i, 5))
		sl_row_json_str(b, "reason", r, i, 5);
	sl_buf_json_ktime(b, "created_at", sl_row_ms(r, i, 6));
	sl_buf_json_ktime(b, "started_at", sl_row_ms(r, i, 7));
	sl_buf_json_ktime(b, "finished_at", sl_row_ms(r, i, 8));
	if (!sl_row_null(r, i, 9))
		sl_buf_json_kraw(b, "error", sl_row_str(r, i, 9));
	sl_buf_json_key(b, "usage");
	sl_buf_addf(b, "{\"input_tokens\":%lld,\"output_tokens\":%lld}", (long long)sl_row_i64(r, i, 11),
		    (long long)sl_row_i64(r, i, 12));
	sl_buf_json_key(b, "cost_usd");
	sl_buf_addf(b, "%s%lld.%06lld", cost < 0 ? "-" : "", llabs(cost) / 1000000, llabs(cost) % 1000000);
	sl_buf_json_ki64(b, "nodes_total", sl_row_i32(r, i, 14));
	sl_buf_json_ki64(b, "nodes_done", sl_row_i32(r, i, 15));
	sl_buf_json_ki64(b, "last_seq", sl_row_i32(r, i, 16));
	sl_buf_json_kraw(b, "tags", sl_row_null(r, i, 10) ? SL_STR("[]") : sl_row_str(r, i, 10));
	sl_buf_json_ki64(b, "priority", sl_row_i32(r, i, 17));
	sl_buf_json_kbool(b, "simulated", sl_row_bool(r, i, 18));
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_page(j, rc, list_item, sl_row_uuid_text);
}

/* Of whom a run is a fork is in the first record of its journal. Looked up for the rows of a page only. */
#define FORKED_FROM                                                                                                    \
	"(SELECT e.data::json->'forked_from' FROM run_events e WHERE e.run_id = runs.id AND e.seq = 1 AND e.data "     \
	"LIKE '{%\"forked_from\"%')"

/* Only the conditions that are asked for, so that the planner sees what it is about. */
static void condition(struct sl_job *j, const char *text)
{
	sl_buf_adds(&j->text, " AND ");
	sl_buf_addf(&j->text, "%s$%d", text, j->st[0].n);
}

enum sl_code sl_store_run_list(struct sl_store *s, const struct sl_run_filter *f, sl_store_json_fn *fn, void *arg)
{
	static const char *const unfinished[] = {"queued", "running", "paused", "waiting", "locked"};
	char after[64];
	struct sl_uuid last = {0};
	if (f->n_statuses > SL_RUN_FILTER_STATUSES)
		return SL_BAD_REQUEST;
	if (f->cursor.len && (!sl_cursor_read(f->cursor, after, sizeof(after)) || !sl_uuid_parse(sl_str(after), &last)))
		return SL_BAD_REQUEST;
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "", list_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_buf_adds(
		&j->text,
		"SELECT id, workflow, version, project, status, reason, created_at, started_at, finished_at, error, "
		"tags, "
		"input_tokens, output_tokens, cost_microusd, nodes_total, nodes_done, last_seq, priority, "
		"simulated, " FORKED_FROM " FROM runs WHERE true");
	if (f->n_statuses) {
		bool open = true;
		sl_buf_adds(&j->text, " AND status IN (");
		for (size_t i = 0; i < f->n_statuses; i++) {
			bool this_open = false;
			for (size_t k = 0; k < SL_COUNT_OF(unfinished); k++)
				this_open |= sl_str_is(f->statuses[i], unfinished[k]);
			open &= this_open;
			sl_job_str(j, f->statuses[i]);
			sl_buf_addf(&j->text, "%s$%d", i ? ", " : "", j->st[0].n);
		}
		sl_buf_adds(&j->text,
			    open ? ") AND NOT done" : ")"); /* then the small index of unfinished runs serves */
	}
	if (f->workflow.len) {
		sl_job_str(j, f->workflow);
		condition(j, "workflow = ");
	}
	if (f->project.len) {
		sl_job_str(j, f->project);
		condition(j, "project = ");
	}
	if (f->tag.len) {
		sl_job_str(j, f->tag);
		condition(j, "tags::jsonb ? ");
	}
	if (f->since_ms) {
		sl_job_ms(j, f->since_ms);
		condition(j, "id >= sluice_uuid_at(");
		sl_buf_adds(&j->text, "::timestamptz)");
	}
	if (f->cursor.len) {
		sl_job_uuid(j, last);
		condition(j, "id < ");
	}
	j->number = f->limit < 1 ? 50 : f->limit > LIST_MOST ? LIST_MOST : f->limit;
	sl_buf_addf(&j->text, " ORDER BY id DESC LIMIT %d", (int)j->number + 1);
	j->st[0].sql = j->text.data;
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

/* ---- the journal of one run ---- */

/* A page: $3 records after $2 and one more, to see that there are more; but none that begins behind $4 bytes, so that
 * what is kept here for one reader stays small however large the payloads are. `n` counts those that would have fitted
 * by number. $5: only events of this name; empty: all. */
#define PAGE                                                                                                           \
	"SELECT seq, at, event, data, n FROM (SELECT seq, at, event, data, sum(bytes) OVER (ORDER BY seq) - bytes AS " \
	"before, count(*) OVER () AS n FROM (SELECT seq, at, event, data, CASE WHEN data LIKE '[%' THEN "              \
	"(data::json->>0)::integer ELSE octet_length(data) END AS bytes FROM run_events WHERE run_id = $1 AND seq > "  \
	"$2::integer AND ($5::text = '' OR event = $5) ORDER BY seq LIMIT $3::integer + 1) e) w WHERE before < "       \
	"$4::bigint ORDER BY seq"
#define PAGE_CHUNKS                                                                                                    \
	"SELECT " SL_CHUNK_COLUMNS                                                                                     \
	" FROM run_chunks c WHERE c.run_id = $1 AND c.hash IN (SELECT substr(l.hashes, 1 + "                           \
	"16 * g.i, 16) FROM (SELECT decode(p.data::json->>1, 'base64') AS hashes FROM (" PAGE                          \
	") p WHERE p.data LIKE '[%') l, generate_series(0, length(l.hashes) / 16 - 1) AS g(i))" SL_CHUNK_ORDER

static void events_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, SL_LIMIT_RUN_BYTES * 2ull);
	int n = rc == SL_OK ? PQntuples(r) : 0, limit = (int)j->number;
	if (rc == SL_OK && n == 0 && PQntuples(j->results[1]) == 0)
		rc = SL_NOT_FOUND;
	struct sl_pieces pieces;
	sl_pieces_init(&pieces, j->results[2]);
	sl_buf_adds(&b, "{\"items\":[");
	for (int i = 0; rc == SL_OK && i < n && i < limit; i++) {
		SL_AUTO(sl_bytes) data = NULL;
		rc = sl_text_read(r, i, 3, &pieces, j->run, sl_row_i32(r, i, 0), &data);
		sl_buf_adds(&b, i ? ",{" : "{");
		sl_buf_json_ki64(&b, "seq", sl_row_i32(r, i, 0));
		sl_buf_json_ktime(&b, "ts", sl_row_ms(r, i, 1));
		sl_row_json_str(&b, "event", r, i, 2);
		sl_buf_json_kraw(&b, "data", sl_bytes_str(data));
		sl_buf_addc(&b, '}');
	}
	sl_pieces_fini(&pieces);
	sl_buf_adds(&b, "],\"next_cursor\":");
	int shown = n < limit ? n : limit;
	if (shown && sl_row_i64(r, 0, 4) > shown)
		sl_buf_addf(&b, "\"%d\"", (int)sl_row_i32(r, shown - 1, 0));
	else
		sl_buf_adds(&b, "null");
	sl_buf_addc(&b, '}');
	sl_job_end_json(j, rc, &b);
}

static void records_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_records_fn *fn = (sl_store_records_fn *)j->fn;
	const PGresult *r = j->results[0];
	int n = rc == SL_OK ? PQntuples(r) : 0, limit = (int)j->number;
	size_t name_bytes = 1, at = 0;
	if (rc == SL_OK && n == 0 && PQntuples(j->results[1]) == 0)
		rc = SL_NOT_FOUND;
	if (n > limit)
		n = limit;
	SL_AUTO(sl_stored_run) run = calloc(1, sizeof(*run));
	for (int i = 0; i < n; i++)
		name_bytes += (size_t)PQgetlength(r, i, 2) + 1;
	if (run) {
		run->records = calloc((size_t)n + 1, sizeof(*run->records));
		run->names = malloc(name_bytes);
	}
	if (rc == SL_OK && (!run || !run->records || !run->names))
		rc = SL_NO_MEMORY;
	struct sl_pieces pieces;
	sl_pieces_init(&pieces, j->results[2]);
	for (int i = 0; rc == SL_OK && i < n; i++) {
		struct sl_str name = sl_row_str(r, i, 2);
		memcpy(run->names + at, name.p, name.len + 1);
		run->records[i] = (struct sl_record){
			.seq = (uint64_t)sl_row_i32(r, i, 0), .wall_ms = sl_row_ms(r, i, 1), .event = run->names + at};
		run->n_records++;
		at += name.len + 1;
		rc = sl_text_read(r, i, 3, &pieces, j->run, sl_row_i32(r, i, 0), &run->records[i].data);
	}
	sl_pieces_fini(&pieces);
	fn(j->arg, rc, rc == SL_OK ? SL_TAKE(run) : NULL);
}

static void page_params(struct sl_job *j, struct sl_run_id id, const char *event, uint64_t after_seq)
{
	sl_job_uuid(j, id.u);
	sl_job_i64(j, after_seq > INT32_MAX ? INT32_MAX : (int64_t)after_seq);
	sl_job_i64(j, (int64_t)j->number);
	sl_job_i64(j, SL_LIMIT_PAGE_BYTES);
	sl_job_str(j, sl_str(event));
}

static enum sl_code ask_events(struct sl_store *s, struct sl_run_id id, const char *event, uint64_t after_seq,
			       uint32_t limit, sl_job_fn *finish, void (*fn)(void), void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, PAGE, finish);
	if (!j)
		return SL_NO_MEMORY;
	j->run = id;
	j->number = limit < 1 ? 100 : limit > EVENTS_MOST ? EVENTS_MOST : limit;
	page_params(j, id, event, after_seq);
	sl_job_statement(j, "SELECT 1 FROM runs WHERE id = $1"); /* tells an empty page from a run that is not there */
	sl_job_uuid(j, id.u);
	sl_job_statement(j, PAGE_CHUNKS);
	page_params(j, id, event, after_seq);
	return sl_job_submit(j, fn, arg);
}

enum sl_code sl_store_run_events(struct sl_store *s, struct sl_run_id id, uint64_t after_seq, uint32_t limit,
				 sl_store_json_fn *fn, void *arg)
{
	return ask_events(s, id, "", after_seq, limit, events_done, (void (*)(void))fn, arg);
}

enum sl_code sl_store_run_records(struct sl_store *s, struct sl_run_id id, uint64_t after_seq, uint32_t limit,
				  sl_store_records_fn *fn, void *arg)
{
	return ask_events(s, id, "", after_seq, limit, records_done, (void (*)(void))fn, arg);
}

enum sl_code sl_store_run_records_of(struct sl_store *s, struct sl_run_id id, const char *event, uint64_t after_seq,
				     sl_store_records_fn *fn, void *arg)
{
	return ask_events(s, id, event, after_seq, EVENTS_MOST, records_done, (void (*)(void))fn, arg);
}
