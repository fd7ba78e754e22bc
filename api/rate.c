/* api/rate.c: see rate.h. A bucket is the time at which it will be full: the generic cell rate algorithm. */
#include "api/rate.h"

#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#include <uthash.h>

#define BUCKETS_MOST 4096 /* then the oldest is forgotten */

struct bucket {
	struct {
		struct sl_uuid token;
		uint32_t kind;
	} key;
	uint64_t full_us; /* monotonic */
	UT_hash_handle hh;
};

struct sl_rates {
	uint32_t per_minute[SL_RATE_KINDS];
	const struct sl_clock *clock;
	struct bucket *buckets; /* the ones used last at the end */
};

enum sl_code sl_rates_new(const uint32_t per_minute[SL_RATE_KINDS], const struct sl_clock *clock, struct sl_rates **out)
{
	struct sl_rates *r = calloc(1, sizeof(*r));
	if (!r)
		return SL_NO_MEMORY;
	memcpy(r->per_minute, per_minute, sizeof(r->per_minute));
	r->clock = clock;
	*out = r;
	return SL_OK;
}

void sl_rates_free(struct sl_rates *r)
{
	struct bucket *b, *tmp;
	if (!r)
		return;
	HASH_ITER (hh, r->buckets, b, tmp) {
		HASH_DEL(r->buckets, b);
		free(b);
	}
	free(r);
}

static struct bucket *bucket_of(struct sl_rates *r, enum sl_rate_kind kind, struct sl_uuid token)
{
	struct bucket *b, want;
	memset(&want, 0, sizeof(want));
	want.key.token = token;
	want.key.kind = kind;
	HASH_FIND(hh, r->buckets, &want.key, sizeof(want.key), b);
	if (b) {
		HASH_DEL(r->buckets, b);
	} else {
		if (HASH_COUNT(r->buckets) >= BUCKETS_MOST) {
			struct bucket *oldest = r->buckets;
			HASH_DEL(r->buckets, oldest);
			free(oldest);
		}
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		b->key = want.key;
	}
	HASH_ADD(hh, r->buckets, key, sizeof(b->key), b);
	if (b->hh.tbl)
		return b;
	free(b);
	return NULL;
}

void sl_rates_take(struct sl_rates *r, enum sl_rate_kind kind, struct sl_uuid token, struct sl_rate_answer *out)
{
	uint32_t limit = r->per_minute[kind], share = kind == SL_RATE_RUNS ? 5 : 6;
	struct bucket *b = limit ? bucket_of(r, kind, token) : NULL;
	*out = (struct sl_rate_answer){.limit = limit};
	if (!b) /* no limit; or no memory, and then nobody is refused for that */
		return;
	uint64_t now = sl_clock_mono(r->clock) * 1000, each = 60000000u / limit,
		 burst = limit / share ? limit / share : 1;
	uint64_t full = b->full_us > now ? b->full_us : now, most = now + burst * each;
	if (full + each > most) {
		out->wait_ms = (uint32_t)((full + each - most + 999) / 1000);
	} else {
		full += each;
		b->full_us = full;
	}
	out->remaining = (uint32_t)((most - full) / each);
	out->full_in_s = (uint32_t)((full - now + 999999) / 1000000);
}
