/* store/tokens.c: see tokens.h. */
#include "store/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "store/store_priv.h"

#define COLUMNS "SELECT id, name, role, hash, last4, created_at, expires_at, revoked_at FROM api_tokens "

enum sl_code sl_store_token_add(struct sl_store *s, const struct sl_audit_by *by, const struct sl_stored_token *t,
				sl_store_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE,
		"INSERT INTO api_tokens (id, name, role, hash, last4, expires_at) VALUES ($1, $2, $3, $4::bytea, $5, "
		"$6::timestamptz)",
		sl_job_end_plain);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, t->id);
	sl_job_str(j, sl_str(t->name));
	sl_job_str(j, sl_str(t->role));
	sl_job_bytea(j, t->hash, sizeof(t->hash));
	sl_job_str(j, sl_str_n(t->last4, strnlen(t->last4, sizeof(t->last4) - 1)));
	sl_job_ms(j, t->expires_ms);
	sl_job_audit(j, by);
	sl_job_news(j, SL_STORE_NEWS_TOKENS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_token_revoke(struct sl_store *s, const struct sl_audit_by *by, struct sl_uuid id, sl_store_fn *fn,
				   void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_WRITE,
		"WITH gone AS (UPDATE api_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 "
		"RETURNING id) INSERT INTO audit (actor, action, target) SELECT $2::text, $3::text, id::text "
		"FROM gone RETURNING 1",
		sl_job_end_found);
	if (!j)
		return SL_NO_MEMORY;
	sl_job_uuid(j, id);
	sl_job_str(j, by->actor);
	sl_job_str(j, by->action);
	sl_job_news(j, SL_STORE_NEWS_TOKENS);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

static void list_done(struct sl_job *j, enum sl_code rc)
{
	sl_store_tokens_fn *fn = (sl_store_tokens_fn *)j->fn;
	const PGresult *r = j->results[0];
	size_t n = rc == SL_OK ? (size_t)PQntuples(r) : 0;
	struct sl_stored_token *items = calloc(n + 1, sizeof(*items));
	if (!items)
		rc = SL_NO_MEMORY;
	if (rc == SL_OK && j->number && n == 0) /* asked for one */
		rc = SL_NOT_FOUND;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		struct sl_stored_token *t = &items[i];
		struct sl_str hash = sl_row_str(r, (int)i, 3), last4 = sl_row_str(r, (int)i, 4);
		t->id = sl_row_uuid(r, (int)i, 0);
		t->name = PQgetvalue(r, (int)i, 1); /* a NUL follows each value of a result */
		t->role = PQgetvalue(r, (int)i, 2);
		if (hash.len == sizeof(t->hash))
			memcpy(t->hash, hash.p, hash.len);
		snprintf(t->last4, sizeof(t->last4), SL_STR_FMT, SL_STR_ARG(last4));
		t->created_ms = sl_row_ms(r, (int)i, 5);
		t->expires_ms = sl_row_ms(r, (int)i, 6);
		t->revoked_ms = sl_row_ms(r, (int)i, 7);
	}
	fn(j->arg, rc, rc == SL_OK ? items : NULL, rc == SL_OK ? n : 0);
	free(items);
}

enum sl_code sl_store_token_list(struct sl_store *s, sl_store_tokens_fn *fn, void *arg)
{
	struct sl_job *j = sl_job_new(s, SL_JOB_READ, COLUMNS "ORDER BY created_at DESC, id DESC", list_done);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}

enum sl_code sl_store_token_find(struct sl_store *s, const uint8_t hash[SL_TOKEN_HASH_BYTES], sl_store_tokens_fn *fn,
				 void *arg)
{
	struct sl_job *j = sl_job_new(
		s, SL_JOB_READ,
		COLUMNS "WHERE hash = $1::bytea AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
		list_done);
	if (!j)
		return SL_NO_MEMORY;
	j->number = 1;
	sl_job_bytea(j, hash, SL_TOKEN_HASH_BYTES);
	return sl_job_submit(j, (void (*)(void))fn, arg);
}
