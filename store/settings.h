/* store/settings.h: small JSON documents by key, for what an operator changes while the server runs. Thread [any],
 * callbacks [store]. */
#pragma once

#include "store/audit.h"

SL_MUST_USE enum sl_code sl_store_setting_get(struct sl_store *s, struct sl_str key, sl_store_json_fn *fn,
					      void *arg); /* SL_NOT_FOUND */
SL_MUST_USE enum sl_code sl_store_setting_put(struct sl_store *s, struct sl_str key, struct sl_bytes *json,
					      sl_store_fn *fn, void *arg);
/* Together with its line of the audit trail. */
SL_MUST_USE enum sl_code sl_store_setting_put_by(struct sl_store *s, const struct sl_audit_by *by, struct sl_str key,
						 struct sl_bytes *json, sl_store_fn *fn, void *arg);
SL_MUST_USE enum sl_code sl_store_setting_delete(struct sl_store *s, struct sl_str key, sl_store_fn *fn,
						 void *arg); /* SL_NOT_FOUND */
/* One object, { key: value, … }. */
SL_MUST_USE enum sl_code sl_store_setting_all(struct sl_store *s, sl_store_json_fn *fn, void *arg);
