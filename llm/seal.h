/* llm/seal.h: a provider key at rest: XChaCha20-Poly1305 under the server's secret key.
 *
 * The associated data is the profile's name and the key's index, so a sealed key opens only in its own place.
 * Thread    [any]
 */
#pragma once

#include "base/buf.h"

/* *out: base64 of nonce and ciphertext, caller frees. */
SL_MUST_USE enum sl_code sl_seal(const uint8_t secret[32], struct sl_str profile, size_t index, struct sl_str key,
				 char **out);
/* *out: the key, NUL-terminated, caller wipes and frees. SL_INVALID: wrong secret, altered, or from another place. */
SL_MUST_USE enum sl_code sl_unseal(const uint8_t secret[32], struct sl_str profile, size_t index, struct sl_str sealed,
				   char **out);
void sl_seal_wipe(char *key); /* zeroes and frees; NULL is fine */
