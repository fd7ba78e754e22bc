/* store/profiles.c: see profiles.h. */
#include "store/profiles.h"

#include <stdlib.h>

#include "store/store_priv.h"

void sl_stored_profile_fini(struct sl_stored_profile *p)
{
	free(p->name);
	sl_bytes_unref(p->config);
	sl_bytes_unref(p->secrets);
	*p = (struct sl_stored_profile){0};
}

enum sl_code sl_store_profile_put(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
				  struct sl_bytes *config, enum sl_profile_secrets how, struct sl_bytes *secrets,
				  sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE, /* with a line of the trail, which must not be there twice */
		how == SL_PROFILE_KEEP_SECRETS && !secrets
			? "INSERT INTO profiles (name, config, secrets) VALUES ($1, $2, $3::bytea) ON CONFLICT (name) "
			  "DO UPDATE SET config = excluded.config, updated_at = now()"
			: "INSERT INTO profiles (name, config, secrets) VALUES ($1, $2, $3::bytea) ON CONFLICT (name) "
			  "DO UPDATE SET config = excluded.config, secrets = excluded.secrets, updated_at = now()",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_str(j, name);
	sl_job_json(j, config);
	sl_job_bytea(j, secrets ? secrets->data : NULL, secrets ? secrets->len : 0);
	sl_job_audit(j, by);
	sl_job_news(j, SL_STORE_NEWS_PROFILES);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_profile_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
				     sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_delete_named(s, SL_SQL_DELETE_NAMED("profiles"), by, name);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_news(j, SL_STORE_NEWS_PROFILES);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_profiles_fn *fn = (sl_store_profiles_fn *)j->fn;
	const PGresult *r = j->results[0];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0;
	struct sl_stored_profile *items = calloc(n + 1, sizeof(*items));
	if (!items)
		rc = SL_NO_MEMORY;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		items[i].name = sl_str_dup(sl_row_str(r, (int)i, 0));
		items[i].config = sl_row_bytes(r, (int)i, 1);
		items[i].secrets = sl_row_bytes(r, (int)i, 2);
		items[i].updated_ms = sl_row_ms(r, (int)i, 3);
		if (!items[i].name || !items[i].config || !items[i].secrets != sl_row_null(r, (int)i, 2))
			rc = SL_NO_MEMORY;
	}
	fn(j->arg, rc, rc == SL_OK ? items : NULL, rc == SL_OK ? n : 0);
	for (size_t i = 0; items && i < n; i++)
		sl_stored_profile_fini(&items[i]);
	free(items);
}

enum sl_code sl_store_profile_list(struct sl_store *s, sl_store_profiles_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ, "SELECT name, config, secrets, updated_at FROM profiles ORDER BY name", list_done);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
