/* cmd/secrets.h: the two secrets of a data folder: the key that seals provider keys, and the admin token.
 *
 * Each is taken from the settings, else from its file, else made and written (mode 0600, whole or not at all, so two
 * servers that start at once agree). Files that others could read are closed and that is logged.
 */
#pragma once

#include "base/own.h"

#define SL_ADMIN_TOKEN_BYTES 256

/* `configured`: 64 hex digits, or NULL. SL_INVALID: what is there is no key. SL_FORBIDDEN: the folder does not allow
 * it. */
SL_MUST_USE enum sl_code sl_secret_key(const char *data_dir, const char *configured, uint8_t out[32],
				       struct sl_error *err);
/* `configured`: at least 16 characters of a bearer token, or NULL. */
SL_MUST_USE enum sl_code sl_admin_token(const char *data_dir, const char *configured, char out[SL_ADMIN_TOKEN_BYTES],
					struct sl_error *err);
