/* llm/limiter.h: requests and tokens a minute, by name: one bucket for each key of each profile, one for each project.
 *
 * A bucket is a GCRA: it holds a burst (a sixth of the minute's limit, at least one request), fills evenly, and may go
 * into debt for one request larger than the burst. So in any 60 seconds no more than the limit and one burst (or one
 * larger request) go out, and a waiting queue leaves nothing of the limit unused. What is reserved is an estimate;
 * settling gives back or takes the difference to the token, so nothing drifts.
 *
 * Owns      the buckets. Never the tickets: they are embedded in whatever waits.
 * Thread    everything [any]; one lock, O(1) held. `now_ms` is monotonic and the caller's, so a test turns the clock.
 * Order     first come, first served in each bucket. Whoever waits asks again: after the time it was told, or when its
 *           wake is called because it has become the first in the queue or room came back early.
 * Not for   how many run at once (llm/gate.h), money (llm/budget.h).
 */
#pragma once

#include "base/list.h"
#include "base/str.h"
#include "llm/wake.h"

#define SL_LIMITER_BURST_DIVISOR 6      /* a burst is ten seconds' worth */
#define SL_LIMITER_LEARNED_MS    300000 /* what a provider said about its limits is believed so long */
#define SL_LIMITER_WAITERS       20000  /* in one bucket; more get SL_BUSY */
#define SL_LIMITER_BUCKETS       10000  /* more: the idle ones are forgotten, then SL_BUSY */
#define SL_LIMITER_NEVER         UINT64_MAX

struct sl_limiter;
struct sl_bucket;
struct sl_buf;

struct sl_rate { /* 0: not limited by us (the provider's word may still count) */
	uint64_t rpm, tpm;
};

enum sl_ticket_state { SL_TICKET_NONE, SL_TICKET_WAITING, SL_TICKET_GRANTED };

/* One place in the queue, then one reservation. Zeroed at first; fields are private; it must not move until it is
 * settled or cancelled. */
struct sl_ticket {
	struct sl_list link;
	struct sl_bucket *bucket;
	const struct sl_wake *wake;
	void *handle;
	uint64_t tokens, ahead, ahead_n;
	enum sl_ticket_state state;
};

struct sl_limiter_view { /* why one waits, for a sentence to the user */
	uint64_t wait_ms;
	const char *what;     /* "tokens", "requests" or "provider" (it asked for silence) */
	int64_t left;         /* of the minute: what could be had now */
	uint64_t limit;       /* that counts: the configured one, or the provider's when that is smaller */
	uint64_t queue_ahead; /* tickets before this one */
};

SL_MUST_USE enum sl_code sl_limiter_new(struct sl_limiter **out);
void sl_limiter_free(struct sl_limiter *l); /* NULL is fine; no ticket may be out */
SL_DEFINE_AUTO(sl_limiter)

/* Asks for one request of `tokens`. view->wait_ms 0: granted, settle it later. Else the ticket is queued (or still is):
 * ask again with the same one. wake may be NULL. SL_BUSY: too many wait. SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_limiter_take(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate,
					 uint64_t tokens, struct sl_ticket *t, const struct sl_wake *wake, void *handle,
					 uint64_t now_ms, struct sl_limiter_view *view);
/* Granted: the difference to `tokens` is given back or taken. Waiting: leaves the queue. Else nothing. */
void sl_limiter_settle(struct sl_limiter *l, struct sl_ticket *t, uint64_t tokens, uint64_t now_ms);
/* As if it had never been granted: request and tokens come back. For a call that was not made. */
void sl_limiter_return(struct sl_limiter *l, struct sl_ticket *t, uint64_t now_ms);

/* How long one of `tokens` would wait if it came now. 0: it would be granted. */
uint64_t sl_limiter_peek(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate, uint64_t tokens,
			 uint64_t now_ms);

/* What a provider says of itself; -1: it does not. */
struct sl_rate_hint {
	int64_t limit_requests, remaining_requests, reset_requests_ms;
	int64_t limit_tokens, remaining_tokens, reset_tokens_ms;
	int64_t retry_after_ms;
};
#define SL_RATE_HINT ((struct sl_rate_hint){-1, -1, -1, -1, -1, -1, -1})
/* Only ever shrinks: never above what is configured. */
void sl_limiter_learn(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate,
		      const struct sl_rate_hint *hint, uint64_t now_ms);
/* Reads x-ratelimit-*, anthropic-ratelimit-* and Retry-After. false: nothing of it is there. */
struct sl_http_head;
bool sl_rate_hint_read(const struct sl_http_head *head, struct sl_rate_hint *out);

/* Members of a JSON array: {"name","rpm","tpm","requests_left","tokens_left","reserved_tokens","in_flight","waiting",
 * "blocked_ms","granted","granted_tokens","learned"}. */
void sl_limiter_json(struct sl_limiter *l, struct sl_buf *out, uint64_t now_ms);
/* Forgets what was learned and used under that name; the waiting are woken. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_limiter_reset(struct sl_limiter *l, struct sl_str name, uint64_t now_ms);
