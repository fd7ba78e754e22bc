/* store/spend.c: see spend.h. */
#include "store/spend.h"

#include <stdlib.h>

#include "store/store_priv.h"

enum sl_code sl_store_spend_put(struct sl_store *s, struct sl_str project, int64_t day, uint64_t tokens,
				int64_t cost_microusd, sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_IDEMPOTENT,
		"INSERT INTO spend (project, day, instance, tokens, cost_microusd) VALUES ($1, date '1970-01-01' + "
		"$2::bigint::integer, $3::bigint, $4::bigint, $5::bigint) ON CONFLICT (project, day, instance) DO "
		"UPDATE SET tokens = excluded.tokens, cost_microusd = excluded.cost_microusd",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, project);
	sl_job_i64(j, day);
	sl_job_i64(j, sl_store_instance(s));
	sl_job_i64(j, tokens > INT64_MAX ? INT64_MAX : (int64_t)tokens);
	sl_job_i64(j, cost_microusd);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_spend_fn *fn = (sl_store_spend_fn *)j->fn;
	const PGresult *r = j->results[0];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0;
	struct sl_stored_spend *items = calloc(n + 1, sizeof(*items));
	if (!items)
		rc = SL_NO_MEMORY;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		items[i].project = PQgetvalue(r, (int)i, 0); /* a NUL follows each value of a result */
		items[i].day = sl_row_i64(r, (int)i, 1);
		items[i].tokens = (uint64_t)sl_row_i64(r, (int)i, 2);
		items[i].cost_microusd = sl_row_i64(r, (int)i, 3);
	}
	fn(j->arg, rc, rc == SL_OK ? items : NULL, rc == SL_OK ? n : 0);
	free(items);
}

enum sl_code sl_store_spend_list(struct sl_store *s, sl_store_spend_fn *fn, void *arg)
{
	return sl_job_submit(
		sl_job_new(s, SL_JOB_READ,
			   "SELECT project, (greatest(day, (now() AT TIME ZONE 'UTC')::date - 40) - date "
			   "'1970-01-01')::bigint AS d, sum(tokens)::bigint, sum(cost_microusd)::bigint FROM spend "
			   "GROUP BY project, d ORDER BY project, d DESC",
			   list_done),
		(void (*)(void))fn, arg);
}
