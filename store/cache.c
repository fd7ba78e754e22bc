/* store/cache.c: see cache.h. */
#include "store/cache.h"

#include "store/store_priv.h"

static void get_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_cache_fn *fn = (sl_store_cache_fn *)j->fn;
	const PGresult *r = j->results[0];
	struct sl_stored_answer a = {0};
	if (rc == SL_OK && PQntuples(r) == 0)
		rc = SL_NOT_FOUND;
	if (rc == SL_OK)
		a = (struct sl_stored_answer){sl_row_str(r, 0, 0), sl_row_str(r, 0, 1), sl_row_ms(r, 0, 2),
					      sl_row_ms(r, 0, 3)};
	fn(j->arg, rc, rc == SL_OK ? &a : NULL);
}

enum sl_code sl_store_cache_get(struct sl_store *s, const uint8_t key[SL_CACHE_KEY_BYTES], sl_store_cache_fn *fn,
				void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ,
				      "SELECT output, source, created_at, expires_at FROM cache WHERE key = $1::bytea "
				      "AND expires_at > now()",
				      get_done);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_bytea(j, key, SL_CACHE_KEY_BYTES);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_cache_put(struct sl_store *s, const uint8_t key[SL_CACHE_KEY_BYTES], struct sl_str scope,
				struct sl_bytes *output, struct sl_str source, int64_t expires_ms, sl_store_fn *fn,
				void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_IDEMPOTENT,
		"INSERT INTO cache (key, scope, output, source, expires_at) VALUES ($1::bytea, $2, $3, $4, "
		"to_timestamp($5::bigint / 1000.0)) ON CONFLICT (key) DO UPDATE SET scope = excluded.scope, output = "
		"excluded.output, source = excluded.source, created_at = now(), expires_at = excluded.expires_at",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_bytea(j, key, SL_CACHE_KEY_BYTES);
	sl_job_str(j, scope);
	sl_job_json(j, output);
	sl_job_str(j, source);
	sl_job_i64(j, expires_ms);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_cache_clear(struct sl_store *s, struct sl_str scope, sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT, "DELETE FROM cache WHERE $1::text = '' OR scope = $1",
				      sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, scope);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_cache_sweep(struct sl_store *s, uint64_t keep, sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT,
				      "DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires_at < now() "
				      "LIMIT 1000)",
				      sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_statement(j,
			 "DELETE FROM cache WHERE key IN (SELECT key FROM cache ORDER BY created_at DESC, key OFFSET "
			 "$1::bigint LIMIT 1000)");
	sl_job_i64(j, (int64_t)keep);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
