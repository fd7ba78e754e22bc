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

/* ---- writing: a put is fenced. A server that has not heard yet of a clear must not bring back what was cleared.
 *
 * The setting `cache` counts the clears. Whoever puts says how many it knows of, and nothing is kept when there were
 * more; the lock makes sure that a clear sees all that was put before it, and a put all clears. A store that is
 * exclusive has nobody to fence off. ---- */

#define LOCK    "7365746377"
#define CLEARED "(SELECT (value::json->>'cleared')::bigint FROM settings WHERE key = 'cache')"
#define PUT                                                                                                            \
	"INSERT INTO cache (key, scope, output, source, expires_at) SELECT $1::bytea, $2::text, $3::text, $4::text, "  \
	"to_timestamp($5::bigint / 1000.0) "
#define INSTEAD                                                                                                        \
	"ON CONFLICT (key) DO UPDATE SET scope = excluded.scope, output = excluded.output, source = excluded.source, " \
	"created_at = now(), expires_at = excluded.expires_at"
#define AGAIN_MS 5000

static bool fenced(const struct sl_store *s)
{
	return s->config.sharing == SL_STORE_SHARED;
}

enum sl_code sl_store_cache_put(struct sl_store *s, const uint8_t key[SL_CACHE_KEY_BYTES], struct sl_str scope,
				struct sl_bytes *output, struct sl_str source, int64_t expires_ms, sl_store_fn *fn,
				void *arg)
{
	static const char fence[] = "SELECT pg_advisory_xact_lock_shared(" LOCK ")";
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT, fenced(s) ? fence : PUT INSTEAD, sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	if (fenced(s))
		sl_job_statement(j, PUT "WHERE coalesce(" CLEARED ", 0) <= $6::bigint " INSTEAD);
	sl_job_bytea(j, key, SL_CACHE_KEY_BYTES);
	sl_job_str(j, scope);
	sl_job_json(j, output);
	sl_job_str(j, source);
	sl_job_i64(j, expires_ms);
	if (fenced(s))
		sl_job_i64(j, atomic_load(&s->cache_cleared));
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void clear_done(struct sl_job *j, enum sl_code rc)
{
	if (rc == SL_OK && fenced(j->s))
		sl_cache_cleared(j->s, sl_row_i64(j->results[1], 0, 0));
	sl_job_end_plain(j, rc);
}

enum sl_code sl_store_cache_clear(struct sl_store *s, struct sl_str scope, sl_store_fn *fn, void *arg)
{
	static const char fence[] = "SELECT pg_advisory_xact_lock(" LOCK ")",
			  clear[] = "DELETE FROM cache WHERE $1::text = '' OR scope = $1";
	struct sl_job *j = sl_job_new(s, SL_JOB_IDEMPOTENT, fenced(s) ? fence : clear, clear_done);
	if (!j)
		return SL_NO_MEMORY;
	if (fenced(s)) {
		sl_job_statement(j, "INSERT INTO settings AS was (key, value) VALUES ('cache', '{\"cleared\":1}') ON "
				    "CONFLICT (key) "
				    "DO UPDATE SET value = json_build_object('cleared', "
				    "(was.value::json->>'cleared')::bigint + 1), "
				    "updated_at = now() RETURNING (value::json->>'cleared')::bigint");
		sl_job_statement(j, clear);
	}
	sl_job_str(j, scope);
	if (fenced(s)) {
		sl_job_statement(j, "SELECT pg_notify('sluice', 'cache ' || $1::text || ' ' || " CLEARED ")");
		sl_job_i64(j, s->instance);
	}
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

void sl_cache_cleared(struct sl_store *s, int64_t times)
{
	int64_t known = atomic_load(&s->cache_cleared);
	while (known < times && !atomic_compare_exchange_weak(&s->cache_cleared, &known, times))
		;
}

static void looked(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	if (rc == SL_OK) {
		sl_cache_cleared(s, sl_row_i64(j->results[0], 0, 0));
	} else if (rc != SL_CANCELLED) { /* until then nothing is kept that is put */
		s->cache_look_ms = sl_clock_mono_ms() + AGAIN_MS;
		sl_store_wake_at(s, s->cache_look_ms);
	}
}

void sl_cache_look(struct sl_store *s)
{
	s->cache_look_ms = 0;
	enum sl_code rc =
		sl_job_submit(sl_job_new(s, SL_JOB_READ, "SELECT coalesce(" CLEARED ", 0)", looked), NULL, NULL);
	if (rc != SL_OK && rc != SL_CANCELLED) { /* no memory, or no room among what waits */
		s->cache_look_ms = sl_clock_mono_ms() + AGAIN_MS;
		sl_store_wake_at(s, s->cache_look_ms);
	}
}

void sl_cache_tick(struct sl_store *s, uint64_t now)
{
	if (s->cache_look_ms && now >= s->cache_look_ms)
		sl_cache_look(s);
	else if (s->cache_look_ms)
		sl_store_wake_at(s, s->cache_look_ms);
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
