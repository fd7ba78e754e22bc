/* llm/seal.c: see seal.h. The nonce is random: 192 bits are enough for that. */
#include "llm/seal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define VARIANT     sodium_base64_VARIANT_ORIGINAL_NO_PADDING
#define KEY_BYTES   4096 /* the longest key taken; ordinary ones have 50 to 200 */

static size_t seal_place(struct sl_str profile, size_t index, char out[160])
{
	int n = snprintf(out, 160, "%.*s%c%zu", (int)(profile.len > 100 ? 100 : profile.len), profile.p, 0, index);
	return (size_t)n;
}

enum sl_code sl_seal(const uint8_t secret[32], struct sl_str profile, size_t index, struct sl_str key, char **out)
{
	char place[160];
	unsigned char box[NONCE_BYTES + KEY_BYTES + TAG_BYTES];
	unsigned long long n = 0;
	if (sodium_init() < 0)
		return SL_INTERNAL;
	if (key.len == 0 || key.len > KEY_BYTES)
		return SL_INVALID;
	randombytes_buf(box, NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE_BYTES, &n, (const unsigned char *)key.p, key.len,
						   (const unsigned char *)place, seal_place(profile, index, place),
						   NULL, box, secret);
	size_t text = sodium_base64_encoded_len(NONCE_BYTES + n, VARIANT);
	char *z = malloc(text);
	if (!z)
		return SL_NO_MEMORY;
	sodium_bin2base64(z, text, box, NONCE_BYTES + n, VARIANT);
	*out = z;
	return SL_OK;
}

enum sl_code sl_unseal(const uint8_t secret[32], struct sl_str profile, size_t index, struct sl_str sealed, char **out)
{
	char place[160];
	unsigned char box[NONCE_BYTES + KEY_BYTES + TAG_BYTES];
	size_t n = 0;
	unsigned long long len = 0;
	if (sodium_init() < 0)
		return SL_INTERNAL;
	if (sodium_base642bin(box, sizeof(box), sealed.p, sealed.len, NULL, &n, NULL, VARIANT) != 0 ||
	    n < NONCE_BYTES + TAG_BYTES)
		return SL_INVALID;
	char *key = malloc(n - NONCE_BYTES - TAG_BYTES + 1);
	if (!key)
		return SL_NO_MEMORY;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)key, &len, NULL, box + NONCE_BYTES,
						       n - NONCE_BYTES, (const unsigned char *)place,
						       seal_place(profile, index, place), box, secret) != 0) {
		free(key);
		return SL_INVALID;
	}
	key[len] = 0;
	*out = key;
	return SL_OK;
}

void sl_seal_wipe(char *key)
{
	if (!key)
		return;
	sodium_memzero(key, strlen(key));
	free(key);
}
