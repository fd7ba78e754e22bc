/* store/agents.c: see agents.h. */
#include "store/agents.h"

#include <stdlib.h>

#include "store/store_priv.h"

enum sl_code sl_store_agent_put(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
				struct sl_bytes *body, sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE,
		"WITH put AS (INSERT INTO agents (name, body) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET "
		"body = excluded.body, updated_at = now() RETURNING name) "
		"INSERT INTO audit (actor, action, target) SELECT $3::text, $4::text, name FROM put",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, name);
	sl_job_json(j, body);
	sl_job_str(j, by->actor);
	sl_job_str(j, by->action);
	sl_job_news(j, SL_STORE_NEWS_AGENTS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_agent_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
				   sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_delete_named(s, SL_SQL_DELETE_NAMED("agents"), by, name);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_news(j, SL_STORE_NEWS_AGENTS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_agents_fn *fn = (sl_store_agents_fn *)j->fn;
	const PGresult *r = j->results[0];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0;
	struct sl_stored_agent *items = calloc(n + 1, sizeof(*items));
	if (!items)
		rc = SL_NO_MEMORY;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		items[i].name = PQgetvalue(r, (int)i, 0); /* a NUL follows each value of a result */
		items[i].body = sl_row_str(r, (int)i, 1);
		items[i].updated_ms = sl_row_ms(r, (int)i, 2);
	}
	fn(j->arg, rc, rc == SL_OK ? items : NULL, rc == SL_OK ? n : 0);
	free(items);
}

enum sl_code sl_store_agent_list(struct sl_store *s, sl_store_agents_fn *fn, void *arg)
{
	return sl_job_submit(
		sl_job_new(s, SL_JOB_READ, "SELECT name, body, updated_at FROM agents ORDER BY name", list_done),
		(void (*)(void))fn, arg);
}
