/* base/hist.h: how long things took, in constant memory: a histogram whose buckets grow with the value.
 *
 * Eight buckets for each doubling, from 8 ms to more than an hour: a quantile is right within 9 %, whatever the values.
 * Thread    whoever owns it. Plain data: zero it to begin, copy it to keep it.
 * Not for   Prometheus, whose bounds are agreed upon elsewhere.
 */
#pragma once

#include <stdint.h>

#define SL_HIST_BUCKETS 162

struct sl_hist {
	uint64_t n;
	uint32_t buckets[SL_HIST_BUCKETS];
};

void sl_hist_add(struct sl_hist *h, uint64_t ms);
void sl_hist_merge(struct sl_hist *h, const struct sl_hist *more);
/* The value that a share q (0 … 1) of all stays at or below; 0 when there are none. */
uint64_t sl_hist_quantile_ms(const struct sl_hist *h, double q);
