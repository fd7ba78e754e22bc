/* store/prices.c: see prices.h. The rows come as one JSON array, so that a replacement is one statement. */
#include "store/prices.h"

#include "store/store_priv.h"

enum sl_code sl_store_price_replace(struct sl_store *s, const struct sl_audit_by *by, struct sl_bytes *json,
				    sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_WRITE, "DELETE FROM prices", sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_statement(j, "INSERT INTO prices SELECT provider, model, input_nanousd, output_nanousd, cached_nanousd, "
			    "as_of FROM json_to_recordset($1::json) AS x(provider text, model text, input_nanousd "
			    "bigint, output_nanousd bigint, cached_nanousd bigint, as_of date)");
	sl_job_json(j, json);
	sl_job_audit(j, by);
	sl_job_news(j, SL_STORE_NEWS_PRICES);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	const PGresult *r = j->results[0];
	SL_BUF(b, 4u << 20);
	sl_buf_addc(&b, '[');
	for (int i = 0; rc == SL_OK && i < PQntuples(r); i++) {
		sl_buf_json_comma(&b);
		sl_buf_addc(&b, '{');
		sl_row_json_str(&b, "provider", r, i, 0);
		sl_row_json_str(&b, "model", r, i, 1);
		sl_buf_json_ki64(&b, "input_nanousd", sl_row_i64(r, i, 2));
		sl_buf_json_ki64(&b, "output_nanousd", sl_row_i64(r, i, 3));
		if (!sl_row_null(r, i, 4))
			sl_buf_json_ki64(&b, "cached_nanousd", sl_row_i64(r, i, 4));
		sl_row_json_str(&b, "as_of", r, i, 5);
		sl_buf_addc(&b, '}');
	}
	sl_buf_addc(&b, ']');
	sl_job_end_json(j, rc, &b);
}

enum sl_code sl_store_price_list(struct sl_store *s, sl_store_json_fn *fn, void *arg)
{
	return sl_job_submit(sl_job_new(s, SL_JOB_READ,
					"SELECT provider, model, input_nanousd, output_nanousd, cached_nanousd, "
					"as_of::text FROM prices ORDER BY provider, model",
					list_done),
			     (void (*)(void))fn, arg);
}
