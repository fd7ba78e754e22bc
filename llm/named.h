/* llm/named.h: tables by name (uthash), for the files of this room that keep something per profile, key or project.
 * Include it before anything that brings uthash.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* FNV-1a. uthash's own hash falls through between cases in a way clang refuses. */
static inline unsigned sl_named_hash(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint32_t h = 2166136261u;
	while (len--)
		h = (h ^ *p++) * 16777619u;
	return h ^ h >> 15; /* the low bits choose the bucket */
}
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = sl_named_hash(keyptr, keylen))
#define HASH_NONFATAL_OOM                    1 /* an item that could not be added has hh.tbl NULL */
#include <uthash.h>
