/* store/profiles.h: model profiles: a JSON document and, apart from it, the encrypted keys. Thread [any], callbacks
 * [store]. The store never sees a key: `secrets` are opaque bytes. */
#pragma once

#include "store/audit.h"

struct sl_stored_profile {
	char *name;
	struct sl_bytes *config;  /* JSON object, without keys */
	struct sl_bytes *secrets; /* sealed by whoever holds the secret key; NULL: none */
	int64_t updated_ms;
};
void sl_stored_profile_fini(struct sl_stored_profile *p);

/* Creates or replaces. secrets NULL: the stored ones stay (SL_PROFILE_KEEP_SECRETS) or go (SL_PROFILE_SET_SECRETS). */
enum sl_profile_secrets { SL_PROFILE_KEEP_SECRETS, SL_PROFILE_SET_SECRETS };
SL_MUST_USE enum sl_code sl_store_profile_put(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
					      struct sl_bytes *config, enum sl_profile_secrets how,
					      struct sl_bytes *secrets, sl_store_fn *fn, void *arg);
SL_MUST_USE enum sl_code sl_store_profile_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
						 sl_store_fn *fn, void *arg); /* SL_NOT_FOUND */

/* All of them, by name: there are few. `items` and what is in them is borrowed for the time of the call. */
typedef void sl_store_profiles_fn(void *arg, enum sl_code rc, const struct sl_stored_profile *items, size_t n);
SL_MUST_USE enum sl_code sl_store_profile_list(struct sl_store *s, sl_store_profiles_fn *fn, void *arg);
