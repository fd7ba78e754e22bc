/* store/ledger.c: see ledger.h. A batch travels as one JSON text, so that a burst of cancels is one statement. */
#include "store/ledger.h"

#include <stdlib.h>

#include "base/limits.h"
#include "store/store_priv.h"

void sl_call_row_fini(struct sl_call_row *row)
{
	free(row->path);
	free(row->provider);
	free(row->profile);
	free(row->model);
	*row = (struct sl_call_row){0};
}

static void put_id(struct sl_buf *b, const char *key, struct sl_uuid id)
{
	char text[SL_UUID_TEXT_BYTES];
	sl_uuid_format(id, text);
	sl_buf_json_kz(b, key, text);
}

static void put_row(struct sl_buf *b, const struct sl_call_row *r)
{
	sl_buf_addc(b, '{');
	put_id(b, "id", r->id);
	put_id(b, "run_id", r->run.u);
	sl_buf_json_kz(b, "path", r->path ? r->path : "");
	sl_buf_json_ku64(b, "attempt", r->attempt);
	sl_buf_json_kz(b, "kind", r->kind);
	sl_buf_json_kz(b, "reason", r->reason);
	sl_buf_json_kz(b, "provider", r->provider ? r->provider : "");
	sl_buf_json_kz(b, "profile", r->profile ? r->profile : "");
	sl_buf_json_kz(b, "model", r->model ? r->model : "");
	sl_buf_json_ktime(b, "requested_at", r->ordered_ms);
	if (r->close_us) {
		sl_buf_json_ktime(b, "closed_at", r->closed_ms);
		sl_buf_json_ku64(b, "close_us", r->close_us);
	}
	sl_buf_json_kbool(b, "multiplexed", r->multiplexed);
	sl_buf_json_ku64(b, "bytes", r->bytes);
	sl_buf_json_ku64(b, "chunks", r->chunks);
	sl_buf_json_ku64(b, "input_tokens", r->input_tokens);
	sl_buf_json_ku64(b, "output_tokens", r->output_tokens);
	sl_buf_json_kbool(b, "estimated", r->estimated);
	sl_buf_json_ki64(b, "cost_microusd", r->cost_microusd);
	sl_buf_json_ki64(b, "http_status", r->http_status);
	sl_buf_addc(b, '}');
}

enum sl_code sl_store_calls_put(struct sl_store *s, const struct sl_call_row *rows, size_t n, sl_store_fn *fn,
				void *arg)
{
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	sl_buf_addc(&b, '[');
	for (size_t i = 0; i < n; i++) {
		sl_buf_json_comma(&b);
		put_row(&b, &rows[i]);
	}
	sl_buf_addc(&b, ']');
	if (b.failed)
		return SL_NO_MEMORY;
	struct sl_job *j = sl_job_new(
		s, SL_JOB_IDEMPOTENT,
		"INSERT INTO call_ledger (run_id, id, path, attempt, kind, reason, provider, profile, model, "
		"requested_at, closed_at, close_us, multiplexed, bytes, chunks, input_tokens, output_tokens, "
		"estimated, cost_microusd, http_status) SELECT run_id, id, path, attempt, kind, reason, provider, "
		"profile, model, requested_at, closed_at, close_us, multiplexed, bytes, chunks, input_tokens, "
		"output_tokens, estimated, cost_microusd, http_status FROM "
		"json_populate_recordset(NULL::call_ledger, $1::json) ON CONFLICT DO NOTHING",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, sl_buf_str(&b));
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[1];
	SL_BUF(b, SL_LIMIT_RUN_BYTES);
	int n = rc == SL_OK ? PQntuples(r) : 0;
	if (rc == SL_OK && PQntuples(j->results[0]) == 0)
		rc = SL_NOT_FOUND;
	sl_buf_adds(&b, "{\"items\":[");
	for (int i = 0; i < n; i++) {
		sl_buf_adds(&b, i ? ",{" : "{");
		sl_row_json_str(&b, "node_id", r, i, 0);
		sl_buf_json_ki64(&b, "attempt", sl_row_i32(r, i, 1));
		sl_row_json_str(&b, "kind", r, i, 2);
		sl_row_json_str(&b, "reason", r, i, 3);
		sl_row_json_str(&b, "provider", r, i, 4);
		sl_row_json_str(&b, "profile", r, i, 5);
		sl_row_json_str(&b, "model", r, i, 6);
		sl_buf_json_ktime(&b, "requested_at", sl_row_ms(r, i, 7));
		if (!sl_row_null(r, i, 8)) {
			sl_buf_json_ktime(&b, "closed_at", sl_row_ms(r, i, 8));
			sl_buf_json_ki64(&b, "close_us", sl_row_i64(r, i, 9));
			sl_buf_json_kz(&b, "closed", sl_row_bool(r, i, 10) ? "stream" : "socket");
		} else {
			sl_buf_json_kz(&b, "closed", "none");
		}
		sl_buf_json_ki64(&b, "bytes", sl_row_i64(r, i, 11));
		sl_buf_json_ki64(&b, "chunks", sl_row_i64(r, i, 12));
		sl_buf_json_ki64(&b, "input_tokens", sl_row_i64(r, i, 13));
		sl_buf_json_ki64(&b, "output_tokens", sl_row_i64(r, i, 14));
		sl_buf_json_kbool(&b, "estimated", sl_row_bool(r, i, 15));
		sl_buf_json_kf64(&b, "estimated_cost_usd", (double)sl_row_i64(r, i, 16) / 1e6);
		sl_buf_json_ki64(&b, "http_status", sl_row_i32(r, i, 17));
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "],\"next_cursor\":null}");
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_calls_of(struct sl_store *s, struct sl_run_id run, sl_store_json_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, "SELECT 1 FROM runs WHERE id = $1", list_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, run.u);
	sl_job_statement(j, "SELECT path, attempt, kind, reason, provider, profile, model, requested_at, closed_at, "
			    "close_us, multiplexed, bytes, chunks, input_tokens, output_tokens, estimated, "
			    "cost_microusd, http_status FROM call_ledger WHERE run_id = $1 ORDER BY id LIMIT $2::int");
	sl_job_uuid(j, run.u);
	sl_job_i64(j, SL_LIMIT_LEDGER_ITEMS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
