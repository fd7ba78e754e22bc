/* base/hist.c: see hist.h. Bucket 8 * e + m holds values from 2^e * (1 + m/8); the smallest ones share theirs. */
#include "base/hist.h"

static unsigned bucket_of(uint64_t ms)
{
	if (ms < 8) /* exact: 0 … 7 */
		return (unsigned)ms;
	unsigned e = 63u - (unsigned)__builtin_clzll(ms);
	unsigned m = (unsigned)(ms >> (e - 3)) & 7;
	unsigned i = 8 * (e - 2) + m; /* 8 … 15 have e 3 and take 8 … 15 */
	return i < SL_HIST_BUCKETS ? i : SL_HIST_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t value_of(unsigned i)
{
	if (i < 16)
		return i;
	unsigned e = i / 8 + 2;
	uint64_t low = (uint64_t)(8 + i % 8) << (e - 3);
	return low + ((uint64_t)1 << (e - 3)) / 2;
}

void sl_hist_add(struct sl_hist *h, uint64_t ms)
{
	h->n++;
	h->buckets[bucket_of(ms)]++;
}

void sl_hist_merge(struct sl_hist *h, const struct sl_hist *more)
{
	h->n += more->n;
	for (unsigned i = 0; i < SL_HIST_BUCKETS; i++)
		h->buckets[i] += more->buckets[i];
}

uint64_t sl_hist_quantile_ms(const struct sl_hist *h, double q)
{
	uint64_t want = (uint64_t)((double)h->n * q + 0.999999), seen = 0;
	if (h->n == 0)
		return 0;
	if (want < 1)
		want = 1;
	for (unsigned i = 0; i < SL_HIST_BUCKETS; i++)
		if ((seen += h->buckets[i]) >= want)
			return value_of(i);
	return value_of(SL_HIST_BUCKETS - 1);
}
