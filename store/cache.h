/* store/cache.h: answers to give again, by a hash of all that makes them what they are. Thread [any], callbacks
 * [store]. */
#pragma once

#include "store/store.h"

#define SL_CACHE_KEY_BYTES 32

/* What was found; borrowed. output NULL: nothing (or expired). Times are wall ms. */
struct sl_stored_answer {
	struct sl_str output, source; /* output: JSON */
	int64_t created_ms, expires_ms;
};
typedef void sl_store_cache_fn(void *arg, enum sl_code rc, const struct sl_stored_answer *a); /* SL_NOT_FOUND */
SL_MUST_USE enum sl_code sl_store_cache_get(struct sl_store *s, const uint8_t key[SL_CACHE_KEY_BYTES],
					    sl_store_cache_fn *fn, void *arg);
/* Not kept, and SL_OK, when another server has cleared the cache and we have not heard of it yet. */
SL_MUST_USE enum sl_code sl_store_cache_put(struct sl_store *s, const uint8_t key[SL_CACHE_KEY_BYTES],
					    struct sl_str scope, struct sl_bytes *output, struct sl_str source,
					    int64_t expires_ms, sl_store_fn *fn, void *arg);
/* All of a scope; an empty one: all. */
SL_MUST_USE enum sl_code sl_store_cache_clear(struct sl_store *s, struct sl_str scope, sl_store_fn *fn, void *arg);
/* Deletes some of what has expired, and the oldest beyond `keep` entries. */
SL_MUST_USE enum sl_code sl_store_cache_sweep(struct sl_store *s, uint64_t keep, sl_store_fn *fn, void *arg);
