/* llm/stats.h: what model calls took in time, tokens and money: sums since the start, and the last hour by the minute.
 *
 * Owns      a record for each (profile, model) that was called, at most SL_STATS_MODELS: what comes then is counted
 *           under the model "other". Nothing grows with calls.
 * Thread    [any]; one lock, held for an addition or a copy.
 * Not for   limits and breakers: they keep their own counts.
 */
#pragma once

#include "base/hist.h"
#include "base/own.h"
#include "base/str.h"

struct sl_stats;

#define SL_STATS_MODELS  64
#define SL_STATS_MINUTES 60
/* Where the buckets of a distribution end, as OpenTelemetry's conventions list them. */
#define SL_BOUNDS_MOST 16
struct sl_bounds {
	unsigned n;
	double at[SL_BOUNDS_MOST];
};
extern const struct sl_bounds sl_bounds_time;        /* seconds of a model call */
extern const struct sl_bounds sl_bounds_tokens;      /* tokens of a call */
extern const struct sl_bounds sl_bounds_first_token; /* seconds, of a server */
extern const struct sl_bounds sl_bounds_http;        /* seconds, of a server */

/* A distribution; the count behind the last bound is of what lies beyond. */
struct sl_stats_spread {
	uint64_t counts[SL_BOUNDS_MOST + 1]; /* not cumulative */
	uint64_t n;
	double sum;
};
void sl_stats_spread_add(struct sl_stats_spread *d, const struct sl_bounds *bounds, double value);

/* One call that has ended. */
struct sl_stats_call {
	const char *profile, *provider, *model; /* model: as asked */
	enum sl_code rc;                        /* SL_CANCELLED counts as a call, not as an error */
	uint64_t total_ms, first_ms;            /* first_ms 0: no token came */
	uint64_t pieces;                        /* of text, as they came */
	uint64_t input_tokens, output_tokens;
	int64_t cost_microusd;
};

struct sl_stats_model {
	char profile[65], provider[33], model[129];
	uint64_t calls, errors, input_tokens, output_tokens;
	int64_t cost_microusd;
	struct sl_hist latency, first;                             /* of calls that succeeded */
	struct sl_stats_spread duration, failed, first_s, piece_s; /* seconds */
	struct sl_stats_spread input, output;                      /* tokens of a call */
};

struct sl_stats_minute {
	int64_t at_ms; /* wall, its beginning */
	uint64_t calls, errors, input_tokens, output_tokens;
	int64_t cost_microusd;
	struct sl_hist latency, first;
};

SL_MUST_USE enum sl_code sl_stats_new(struct sl_stats **out);
void sl_stats_free(struct sl_stats *s); /* NULL is fine */
SL_DEFINE_AUTO(sl_stats)

void sl_stats_call(struct sl_stats *s, int64_t now_ms, const struct sl_stats_call *c);

struct sl_stats_totals {
	uint64_t calls, errors, input_tokens, output_tokens;
	int64_t cost_microusd;
};
void sl_stats_totals(struct sl_stats *s, struct sl_stats_totals *out); /* since the start */

/* Copies: models in the order they were first called; returns how many there are. */
size_t sl_stats_models(struct sl_stats *s, struct sl_stats_model *out, size_t most);
/* The last SL_STATS_MINUTES minutes up to the one of now_ms, oldest first, empty ones included. */
void sl_stats_minutes(struct sl_stats *s, int64_t now_ms, struct sl_stats_minute out[SL_STATS_MINUTES]);
/* Failed calls since the start, by code. fn is called under the lock: it must not call back. */
void sl_stats_errors(struct sl_stats *s, void (*fn)(void *arg, enum sl_code rc, uint64_t n), void *arg);
