/* api/rate.h: how many requests a token may make in a minute: a bucket for each token and kind.
 *
 * Owns      the buckets; one that is full again is forgotten, so there are as many as there are busy tokens.
 * Thread    [front]
 * Not for   model calls: those have limits of their own (llm/limiter.h).
 */
#pragma once

#include "base/clock.h"
#include "base/id.h"
#include "base/own.h"

enum sl_rate_kind {
	SL_RATE_REQUESTS, /* all of them */
	SL_RATE_RUNS,     /* those that start a run, besides */
	SL_RATE_SOCKETS,  /* handshakes of WebSockets */
	SL_RATE_KINDS,
};

struct sl_rates;
/* per_minute 0: no limit. At once go a sixth of it, of runs a fifth; one at least. */
SL_MUST_USE enum sl_code sl_rates_new(const uint32_t per_minute[SL_RATE_KINDS], const struct sl_clock *clock,
				      struct sl_rates **out);
void sl_rates_free(struct sl_rates *r); /* NULL is fine */
SL_DEFINE_AUTO(sl_rates)

struct sl_rate_answer {
	uint32_t limit, remaining; /* of the minute; what would go at once now. limit 0: there is none */
	uint32_t full_in_s;        /* until as much as possible goes at once again */
	uint32_t wait_ms;          /* 0: it was taken; else when the next one may */
};
void sl_rates_take(struct sl_rates *r, enum sl_rate_kind kind, struct sl_uuid token, struct sl_rate_answer *out);
