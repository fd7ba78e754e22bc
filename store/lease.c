/* store/lease.c: the instance's row, its renewal, whom it outlived, and the hourly housekeeping.
 *
 * A shared store sends one statement every renew_ms, and one when another's lease runs out. An exclusive one sends
 * none: nobody else can be there, and should somebody come all the same, the epochs keep the journal right.
 */
#include "store/store_priv.h"

#include <stdlib.h>
#include <unistd.h>

#define SWEEP_MS      3600000
#define SWEEP_FIRST   60000
#define SWEEP_ROWS    5000
#define LOOK_LATER_MS 20 /* behind the end of somebody's lease */

bool sl_lease_send_registration(struct sl_store *s, struct sl_conn *c)
{
	char id[24], lease[24], pid[16], host[256] = "";
	(void)gethostname(host, sizeof(host) - 1); /* only shown to people */
	snprintf(id, sizeof(id), "%lld", (long long)s->instance);
	snprintf(lease, sizeof(lease), "%u ms", s->config.lease_ms);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	const char *values[] = {id, lease, host, pid, SL_VERSION};
	return sl_conn_query(
		c,
		"WITH old AS (SELECT expires_at < now() AS late FROM instances WHERE id = $1::bigint) "
		"INSERT INTO instances (id, expires_at, host, pid, version, postmaster) VALUES ($1::bigint, "
		"now() + $2::text::interval, $3, $4::integer, $5, pg_postmaster_start_time()) ON CONFLICT (id) DO "
		"UPDATE SET "
		"expires_at = excluded.expires_at, postmaster = excluded.postmaster RETURNING (SELECT late FROM old)",
		5, values, NULL, NULL);
}

/* A server that stood still past its lease may have lost runs and have nothing to write that would be refused: it would
 * go on showing them as they were. */
void sl_lease_returned(struct sl_store *s, const PGresult *r)
{
	if (PQntuples(r) != 1 || sl_row_null(r, 0, 0) || !sl_row_bool(r, 0, 0))
		return;
	sl_log(SL_LOG_WARN, "store", "our lease had run out; what others have taken meanwhile is left to them");
	if (s->config.on_lapse)
		s->config.on_lapse(s->config.ctx);
}

static void renewed(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	s->lease_busy = false;
	SL_CRASH_POINT("lease.renewed");
	if (rc != SL_OK) {
		sl_log(SL_LOG_WARN, "store", "the lease could not be renewed", SL_KS("code", sl_code_wire(rc)));
		return;
	}
	sl_lease_returned(s, j->results[0]);
	const PGresult *r = j->results[1];
	if (PQntuples(r) != 1)
		return;
	if (sl_row_bool(r, 0, 0) && s->config.on_orphans)
		s->config.on_orphans(s->config.ctx);
	/* A lease that is not renewed would be found run out up to a renewal too late: look when it does. */
	if (!sl_row_null(r, 0, 1)) {
		uint64_t due = sl_clock_mono_ms() + (uint64_t)sl_row_i32(r, 0, 1) + LOOK_LATER_MS;
		if (due < s->lease_due_ms)
			s->lease_due_ms = due;
		sl_store_wake_at(s, s->lease_due_ms);
	}
}

static void renew(struct sl_store *s)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_IDEMPOTENT,
		"WITH old AS (SELECT expires_at < now() AS late FROM instances WHERE id = $1::bigint) UPDATE instances "
		"SET "
		"expires_at = now() + $2::text::interval WHERE id = $1::bigint RETURNING (SELECT late FROM old)",
		renewed);
	char lease[24];
	if (!j)
		return;
	j->first = true;
	snprintf(lease, sizeof(lease), "%u ms", s->config.lease_ms);
	sl_job_i64(j, s->instance);
	sl_job_str(j, sl_str(lease));
	sl_job_statement(j, "SELECT $2::text = 't' AND EXISTS (SELECT 1 FROM runs r WHERE NOT r.done AND (r.owner IS "
			    "NULL OR r.owner IN ("
			    "SELECT i.id FROM instances i WHERE i.id <> $1::bigint AND " SL_SQL_INSTANCE_IS_DEAD "))), "
			    "(SELECT least(extract(epoch FROM min(i.expires_at) - now()) * 1000, 1e9)::int4 FROM "
			    "instances i WHERE i.id <> $1::bigint AND i.expires_at > now())");
	sl_job_i64(j, s->instance);
	sl_job_str(j, sl_str(s->config.on_orphans ? "t" : "f"));
	SL_CRASH_POINT("lease.renew");
	s->lease_busy = sl_job_submit(j, NULL, NULL) == SL_OK;
}

static void swept(struct sl_job *j, enum sl_code rc)
{
	/* It goes in steps so that no transaction is long; what fails now is tried in an hour. */
	if (rc == SL_OK && PQntuples(j->results[1]) == 1 && sl_row_i32(j->results[1], 0, 0) > 0)
		j->s->sweep_due_ms = sl_clock_mono_ms() + 200;
	sl_store_wake_at(j->s, j->s->sweep_due_ms);
}

static void sweep(struct sl_store *s)
{
	struct sl_job *j =
		sl_job_new(s, SL_JOB_IDEMPOTENT,
			   "SELECT set_config('lock_timeout', '2s', true), sluice_partitions_make(2)", swept);
	char keep[32];
	if (!j)
		return;
	/* Dropping a partition needs a lock that everybody waits behind, so it gives up soon when there is a long
	 * reader. */
	sl_job_statement(j, "SELECT CASE WHEN $1::text = '0 days' THEN 0 ELSE sluice_retention($1::text::interval, "
			    "$2::integer) END");
	snprintf(keep, sizeof(keep), "%u days", s->config.retention_days);
	sl_job_str(j, sl_str(keep));
	sl_job_i64(j, SWEEP_ROWS);
	sl_job_statement(j, "DELETE FROM run_orders WHERE created_at < now() - interval '10 min'");
	SL_IGNORE(sl_job_submit(j, NULL, NULL)); /* again in an hour */
}

void sl_lease_start(struct sl_store *s)
{
	uint64_t now = sl_clock_mono_ms();
	s->lease_due_ms = s->config.sharing == SL_STORE_EXCLUSIVE ? UINT64_MAX : now + s->config.renew_ms;
	s->sweep_due_ms = now + SWEEP_FIRST;
	sl_store_wake_at(s, s->lease_due_ms);
	sl_store_wake_at(s, s->sweep_due_ms);
}

void sl_lease_tick(struct sl_store *s, uint64_t now)
{
	if (atomic_load(&s->closing))
		return;
	if (now >= s->lease_due_ms) {
		s->lease_due_ms = now + s->config.renew_ms;
		if (!s->lease_busy)
			renew(s);
	}
	if (now >= s->sweep_due_ms) {
		s->sweep_due_ms = now + SWEEP_MS;
		sweep(s);
	}
	sl_store_wake_at(s, s->lease_due_ms < s->sweep_due_ms ? s->lease_due_ms : s->sweep_due_ms);
}

enum sl_code sl_lease_release(struct sl_store *s, sl_job_fn *finish)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_WRITE,
				      "UPDATE runs SET owner = NULL WHERE owner = $1::bigint AND NOT done", finish);
	if (!j)
		return SL_NO_MEMORY;
	SL_CRASH_POINT("lease.release");
	j->internal = j->first = true;
	sl_job_i64(j, s->instance);
	sl_job_statement(j, "DELETE FROM instances WHERE id = $1::bigint");
	sl_job_i64(j, s->instance);
	sl_job_notify(j, "runs"); /* so that others take them up at once */
	return sl_job_submit(j, NULL, NULL);
}
