/* store/tokens.h: API tokens: name, role and a hash, never the secret. Thread [any], callbacks [store]. */
#pragma once

#include "store/audit.h"

#define SL_TOKEN_HASH_BYTES 32

struct sl_stored_token {
	struct sl_uuid id;
	const char *name, *role;
	uint8_t hash[SL_TOKEN_HASH_BYTES]; /* of the whole secret; made by the caller */
	char last4[5];
	int64_t created_ms, expires_ms, revoked_ms; /* wall; expires 0: never, revoked 0: not */
};

/* The calls that change something write their line of the audit trail with it.
 *
 * t->id is given by the caller, created_ms set here. SL_CONFLICT: a token of that name is in use, or the hash exists.
 */
SL_MUST_USE enum sl_code sl_store_token_add(struct sl_store *s, const struct sl_audit_by *by,
					    const struct sl_stored_token *t, sl_store_fn *fn, void *arg);
/* By id; an already revoked one is fine. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_store_token_revoke(struct sl_store *s, const struct sl_audit_by *by, struct sl_uuid id,
					       sl_store_fn *fn, void *arg);

/* All, also revoked and expired ones, newest first; meant to be cached by the caller. Borrowed for the time of the
 * call. */
typedef void sl_store_tokens_fn(void *arg, enum sl_code rc, const struct sl_stored_token *items, size_t n);
SL_MUST_USE enum sl_code sl_store_token_list(struct sl_store *s, sl_store_tokens_fn *fn, void *arg);
/* The one with this hash that is neither revoked nor expired. SL_NOT_FOUND. n is 1. */
SL_MUST_USE enum sl_code sl_store_token_find(struct sl_store *s, const uint8_t hash[SL_TOKEN_HASH_BYTES],
					     sl_store_tokens_fn *fn, void *arg);
