/* llm/limiter.c: see limiter.h. Levels are integers in 1/60000 of a request or token: what a limit of one a minute
 * yields in a millisecond. So filling and settling are exact. */
#include "llm/named.h"

#include "llm/limiter.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "llm/http.h"
#include "llm/refusal.h"

#define UNITS          60000ll
#define RATE_MOST      100000000000ull /* a minute: beyond any provider, far from overflow */
#define FILL_MOST      600000ull       /* milliseconds that are added up at once: everything is full long before */
#define TOKENS_MOST    1000000000000ull
#define WAIT_BEHIND_MS 100

struct side {               /* requests, or tokens */
	int64_t level, cap; /* units */
	uint64_t rate;      /* that counts now; 0: none */
	uint64_t configured;
	uint64_t learned; /* 0: nothing */
	uint64_t learned_until_ms;
};

struct sl_bucket {
	char *name;
	UT_hash_handle hh;
	struct side requests, tokens;
	uint64_t at_ms; /* the levels are of this moment */
	uint64_t blocked_until_ms;
	struct sl_list queue; /* of struct sl_ticket */
	uint32_t waiting, in_flight;
	uint64_t reserved;         /* tokens of those in flight */
	uint64_t queued, unqueued; /* tokens, ever: what is ahead of a ticket without walking the queue */
	uint64_t queued_n, unqueued_n;
	uint64_t granted, granted_tokens;
};

struct sl_limiter {
	pthread_mutex_t lock;
	struct sl_bucket *buckets; /* [lock] and all in them */
};

enum sl_code sl_limiter_new(struct sl_limiter **out)
{
	struct sl_limiter *l = calloc(1, sizeof(*l));
	if (!l)
		return SL_NO_MEMORY;
	pthread_mutex_init(&l->lock, NULL);
	*out = l;
	return SL_OK;
}

static void bucket_free(struct sl_limiter *l, struct sl_bucket *b)
{
	HASH_DEL(l->buckets, b);
	free(b->name);
	free(b);
}

void sl_limiter_free(struct sl_limiter *l)
{
	struct sl_bucket *b, *tmp;
	if (!l)
		return;
	HASH_ITER (hh, l->buckets, b, tmp) {
		SL_BUG_ON(!sl_list_empty(&b->queue));
		bucket_free(l, b);
	}
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* ---- one side ---- */

static uint64_t less(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void side_fill(struct side *s, uint64_t ms)
{
	if (!s->rate || s->level >= s->cap)
		return;
	s->level += (int64_t)(s->rate * less(ms, FILL_MOST));
	if (s->level > s->cap)
		s->level = s->cap;
}

/* The limit that counts, from what is configured and what was learned. A larger one does not fill the bucket. */
static void side_rate(struct side *s, uint64_t configured, uint64_t least_burst, uint64_t now)
{
	if (s->learned && now >= s->learned_until_ms)
		s->learned = 0;
	s->configured = less(configured, RATE_MOST);
	uint64_t rate = s->configured;
	if (s->learned && (!rate || s->learned < rate))
		rate = s->learned;
	if (rate == s->rate)
		return;
	bool fresh = !s->rate;
	/* a provider's own bucket holds a whole minute, and it says what is left in it */
	uint64_t burst = s->configured ? rate / SL_LIMITER_BURST_DIVISOR : rate;
	s->rate = rate;
	s->cap = (int64_t)(burst > least_burst ? burst : least_burst) * UNITS;
	if (fresh || s->level > s->cap)
		s->level = s->cap;
}

/* Milliseconds until `units` can be had; a request larger than the bucket needs a full one. */
static uint64_t side_wait(const struct side *s, int64_t ahead, int64_t units)
{
	if (!s->rate)
		return 0;
	int64_t missing = ahead + (units < s->cap ? units : s->cap) - s->level;
	return missing <= 0 ? 0 : ((uint64_t)missing + s->rate - 1) / s->rate;
}

/* ---- [lock] ---- */

static void bucket_turn(struct sl_bucket *b, const struct sl_rate *rate, uint64_t now)
{
	if (now > b->at_ms) {
		side_fill(&b->requests, now - b->at_ms);
		side_fill(&b->tokens, now - b->at_ms);
		b->at_ms = now;
	}
	side_rate(&b->requests, rate ? rate->rpm : b->requests.configured, 1, now);
	side_rate(&b->tokens, rate ? rate->tpm : b->tokens.configured, 1, now);
}

static bool bucket_idle(const struct sl_bucket *b, uint64_t now)
{
	return !b->waiting && !b->in_flight && now > b->at_ms + SL_LIMITER_LEARNED_MS && now > b->blocked_until_ms;
}

static struct sl_bucket *bucket_find(struct sl_limiter *l, struct sl_str name)
{
	struct sl_bucket *b;
	HASH_FIND(hh, l->buckets, name.p, name.len, b);
	return b;
}

static enum sl_code bucket_get(struct sl_limiter *l, struct sl_str name, uint64_t now, struct sl_bucket **out)
{
	struct sl_bucket *b = bucket_find(l, name), *tmp;
	if (!b) {
		if (HASH_COUNT(l->buckets) >= SL_LIMITER_BUCKETS) {
			struct sl_bucket *old;
			HASH_ITER (hh, l->buckets, old, tmp) {
				if (bucket_idle(old, now))
					bucket_free(l, old);
			}
			if (HASH_COUNT(l->buckets) >= SL_LIMITER_BUCKETS)
				return SL_BUSY;
		}
		b = calloc(1, sizeof(*b));
		if (b)
			b->name = sl_str_dup(name);
		if (b && b->name) {
			HASH_ADD_KEYPTR(hh, l->buckets, b->name, name.len, b);
		}
		if (!b || !b->name || !b->hh.tbl) {
			if (b)
				free(b->name);
			free(b);
			return SL_NO_MEMORY;
		}
		sl_list_init(&b->queue);
		b->at_ms = now;
	}
	*out = b;
	return SL_OK;
}

struct woken {
	const struct sl_wake *wake;
	void *handle;
};

static struct woken head_of(struct sl_bucket *b)
{
	if (sl_list_empty(&b->queue))
		return (struct woken){0};
	struct sl_ticket *t = sl_list_entry(b->queue.next, struct sl_ticket, link);
	return t->wake ? (struct woken){t->wake, t->wake->ref(t->handle)} : (struct woken){0};
}

static void wake(struct woken w) /* without the lock */
{
	if (!w.wake)
		return;
	w.wake->wake(w.handle);
	w.wake->unref(w.handle);
}

static void look(const struct sl_bucket *b, uint64_t ahead_tickets, int64_t ahead_tokens, uint64_t tokens, uint64_t now,
		 struct sl_limiter_view *v)
{
	uint64_t r = side_wait(&b->requests, (int64_t)ahead_tickets * UNITS, UNITS);
	uint64_t t = side_wait(&b->tokens, ahead_tokens * UNITS, (int64_t)tokens * UNITS);
	uint64_t blocked = b->blocked_until_ms > now ? b->blocked_until_ms - now : 0;
	const struct side *s = t >= r ? &b->tokens : &b->requests;
	*v = (struct sl_limiter_view){.wait_ms = t >= r ? t : r,
				      .what = t >= r ? "tokens" : "requests",
				      .left = s->level / UNITS,
				      .limit = s->rate,
				      .queue_ahead = ahead_tickets};
	if (blocked > v->wait_ms)
		v->wait_ms = blocked, v->what = "provider";
	if (v->wait_ms < WAIT_BEHIND_MS && ahead_tickets) /* its turn comes with the one before, who wakes it */
		v->wait_ms = WAIT_BEHIND_MS;
	if (v->left < 0)
		v->left = 0;
}

static void unqueue(struct sl_bucket *b, struct sl_ticket *t)
{
	sl_list_drop(&t->link);
	b->waiting--;
	b->unqueued += t->tokens;
	b->unqueued_n++;
	t->state = SL_TICKET_NONE;
}

enum sl_code sl_limiter_take(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate, uint64_t tokens,
			     struct sl_ticket *t, const struct sl_wake *w, void *handle, uint64_t now_ms,
			     struct sl_limiter_view *view)
{
	struct woken next = {0};
	enum sl_code rc = SL_OK;
	struct sl_bucket *b = t->bucket;
	*view = (struct sl_limiter_view){0};
	pthread_mutex_lock(&l->lock);
	if (t->state == SL_TICKET_NONE) {
		rc = bucket_get(l, name, now_ms, &b);
		if (rc == SL_OK && b->waiting >= SL_LIMITER_WAITERS)
			rc = SL_BUSY;
		if (rc == SL_OK) {
			*t = (struct sl_ticket){.bucket = b, .wake = w, .handle = handle, .state = SL_TICKET_WAITING};
			t->tokens = less(tokens, TOKENS_MOST);
			t->ahead = b->queued;
			t->ahead_n = b->queued_n++;
			b->queued += t->tokens;
			b->waiting++;
			sl_list_append(&b->queue, &t->link);
		}
	}
	if (rc == SL_OK && t->state == SL_TICKET_WAITING) {
		bucket_turn(b, rate, now_ms);
		if (b->queue.next == &t->link) {
			look(b, 0, 0, t->tokens, now_ms, view);
			if (view->wait_ms == 0) {
				unqueue(b, t);
				t->state = SL_TICKET_GRANTED;
				b->requests.level -= b->requests.rate ? UNITS : 0;
				b->tokens.level -= b->tokens.rate ? (int64_t)t->tokens * UNITS : 0;
				b->in_flight++;
				b->reserved += t->tokens;
				b->granted++;
				b->granted_tokens += t->tokens;
				next = head_of(b);
			}
		} else {
			/* who left the queue in between makes this inexact: the head is woken anyway */
			uint64_t before = t->ahead > b->unqueued ? t->ahead - b->unqueued : 0;
			uint64_t ahead = t->ahead_n > b->unqueued_n ? t->ahead_n - b->unqueued_n : 1;
			look(b, ahead, (int64_t)less(before, TOKENS_MOST), t->tokens, now_ms, view);
		}
	}
	pthread_mutex_unlock(&l->lock);
	wake(next);
	return rc;
}

static void settle(struct sl_limiter *l, struct sl_ticket *t, uint64_t tokens, bool made, uint64_t now_ms)
{
	struct woken next = {0};
	struct sl_bucket *b = t->bucket;
	if (t->state == SL_TICKET_NONE)
		return;
	tokens = less(tokens, TOKENS_MOST);
	pthread_mutex_lock(&l->lock);
	bucket_turn(b, NULL, now_ms);
	if (t->state == SL_TICKET_WAITING) {
		bool first = b->queue.next == &t->link;
		unqueue(b, t);
		if (first)
			next = head_of(b);
	} else {
		struct side *s = &b->tokens, *r = &b->requests;
		b->in_flight--;
		b->reserved -= t->tokens;
		b->granted_tokens += tokens - t->tokens;
		if (s->rate)
			s->level += ((int64_t)t->tokens - (int64_t)tokens) * UNITS;
		if (s->level > s->cap)
			s->level = s->cap;
		if (!made) {
			b->granted--;
			r->level += r->rate ? UNITS : 0;
			if (r->level > r->cap)
				r->level = r->cap;
		}
		if (tokens < t->tokens || !made)
			next = head_of(b);
		t->state = SL_TICKET_NONE;
	}
	pthread_mutex_unlock(&l->lock);
	wake(next);
}

void sl_limiter_settle(struct sl_limiter *l, struct sl_ticket *t, uint64_t tokens, uint64_t now_ms)
{
	settle(l, t, tokens, true, now_ms);
}

void sl_limiter_return(struct sl_limiter *l, struct sl_ticket *t, uint64_t now_ms)
{
	settle(l, t, 0, false, now_ms);
}

uint64_t sl_limiter_peek(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate, uint64_t tokens,
			 uint64_t now_ms)
{
	struct sl_limiter_view v = {0};
	pthread_mutex_lock(&l->lock);
	struct sl_bucket *b = bucket_find(l, name);
	if (b) {
		bucket_turn(b, rate, now_ms);
		look(b, b->waiting, (int64_t)less(b->queued - b->unqueued, TOKENS_MOST), less(tokens, TOKENS_MOST),
		     now_ms, &v);
	}
	pthread_mutex_unlock(&l->lock);
	return v.wait_ms;
}

/* ---- what the provider says ---- */

static void side_learn(struct side *s, int64_t limit, int64_t remaining, uint64_t now)
{
	if (limit > 0) {
		s->learned = less((uint64_t)limit, RATE_MOST);
		s->learned_until_ms = now + SL_LIMITER_LEARNED_MS;
	}
	side_rate(s, s->configured, 1, now);
	if (remaining >= 0 && s->rate && remaining < (int64_t)RATE_MOST && s->level > remaining * UNITS)
		s->level = remaining * UNITS;
}

void sl_limiter_learn(struct sl_limiter *l, struct sl_str name, const struct sl_rate *rate,
		      const struct sl_rate_hint *h, uint64_t now_ms)
{
	struct sl_bucket *b;
	int64_t silence = h->retry_after_ms;
	if (h->remaining_requests == 0 && h->reset_requests_ms > silence)
		silence = h->reset_requests_ms;
	if (h->remaining_tokens == 0 && h->reset_tokens_ms > silence)
		silence = h->reset_tokens_ms;
	pthread_mutex_lock(&l->lock);
	if (bucket_get(l, name, now_ms, &b) == SL_OK) {
		bucket_turn(b, rate, now_ms);
		side_learn(&b->requests, h->limit_requests, h->remaining_requests, now_ms);
		side_learn(&b->tokens, h->limit_tokens, h->remaining_tokens, now_ms);
		if (silence > 0 && now_ms + (uint64_t)silence > b->blocked_until_ms)
			b->blocked_until_ms = now_ms + (uint64_t)silence;
	}
	pthread_mutex_unlock(&l->lock);
}

static bool number(const struct sl_http_head *head, const char *name, int64_t *out)
{
	struct sl_str v = sl_http_find(head, name);
	double n;
	if (!v.len || !sl_str_f64(v, &n) || !(n >= 0 && n < 1e15))
		return false;
	*out = (int64_t)n;
	return true;
}

static bool moment(const struct sl_http_head *head, const char *name, int64_t *out)
{
	struct sl_str v = sl_http_find(head, name);
	uint32_t ms = v.len ? sl_refusal_wait_ms(v) : 0;
	if (ms)
		*out = ms;
	return ms > 0;
}

bool sl_rate_hint_read(const struct sl_http_head *head, struct sl_rate_hint *out)
{
	bool any = false;
	*out = SL_RATE_HINT;
	any |= number(head, "x-ratelimit-limit-requests", &out->limit_requests);
	any |= number(head, "x-ratelimit-remaining-requests", &out->remaining_requests);
	any |= moment(head, "x-ratelimit-reset-requests", &out->reset_requests_ms);
	any |= number(head, "x-ratelimit-limit-tokens", &out->limit_tokens);
	any |= number(head, "x-ratelimit-remaining-tokens", &out->remaining_tokens);
	any |= moment(head, "x-ratelimit-reset-tokens", &out->reset_tokens_ms);
	any |= number(head, "anthropic-ratelimit-requests-limit", &out->limit_requests);
	any |= number(head, "anthropic-ratelimit-requests-remaining", &out->remaining_requests);
	any |= moment(head, "anthropic-ratelimit-requests-reset", &out->reset_requests_ms);
	any |= number(head, "anthropic-ratelimit-tokens-limit", &out->limit_tokens);
	any |= number(head, "anthropic-ratelimit-tokens-remaining", &out->remaining_tokens);
	any |= moment(head, "anthropic-ratelimit-tokens-reset", &out->reset_tokens_ms);
	/* Azure sends 0 where it means nothing; a limit of none would stop everything */
	if (out->limit_requests == 0)
		out->limit_requests = out->remaining_requests = -1;
	if (out->limit_tokens == 0)
		out->limit_tokens = out->remaining_tokens = -1;
	uint32_t ms = head->status == 429 || head->status == 503 || head->status == 529 ? sl_refusal_retry_ms(head) : 0;
	if (ms)
		out->retry_after_ms = ms, any = true;
	return any;
}

/* ---- for people ---- */

static void side_json(struct sl_buf *out, const char *limit, const char *left, const struct side *s)
{
	if (s->rate) {
		sl_buf_json_ku64(out, limit, s->rate);
		sl_buf_json_ki64(out, left, s->level > 0 ? s->level / UNITS : 0);
	} else {
		sl_buf_json_kz(out, limit, NULL);
		sl_buf_json_kz(out, left, NULL);
	}
}

void sl_limiter_json(struct sl_limiter *l, struct sl_buf *out, uint64_t now_ms)
{
	struct sl_bucket *b, *tmp;
	pthread_mutex_lock(&l->lock);
	HASH_ITER (hh, l->buckets, b, tmp) {
		bucket_turn(b, NULL, now_ms);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "name", b->name);
		side_json(out, "rpm", "requests_left", &b->requests);
		side_json(out, "tpm", "tokens_left", &b->tokens);
		sl_buf_json_ku64(out, "reserved_tokens", b->reserved);
		sl_buf_json_ku64(out, "in_flight", b->in_flight);
		sl_buf_json_ku64(out, "waiting", b->waiting);
		sl_buf_json_ku64(out, "blocked_ms", b->blocked_until_ms > now_ms ? b->blocked_until_ms - now_ms : 0);
		sl_buf_json_ku64(out, "granted", b->granted);
		sl_buf_json_ku64(out, "granted_tokens", b->granted_tokens);
		sl_buf_json_kbool(out, "learned", b->requests.learned || b->tokens.learned);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&l->lock);
}

enum sl_code sl_limiter_reset(struct sl_limiter *l, struct sl_str name, uint64_t now_ms)
{
	struct woken next = {0};
	pthread_mutex_lock(&l->lock);
	struct sl_bucket *b = bucket_find(l, name);
	if (b) {
		b->blocked_until_ms = 0;
		b->requests.learned = b->tokens.learned = 0;
		bucket_turn(b, NULL, now_ms);
		b->requests.level = b->requests.cap;
		b->tokens.level = b->tokens.cap;
		next = head_of(b);
	}
	pthread_mutex_unlock(&l->lock);
	wake(next);
	return b ? SL_OK : SL_NOT_FOUND;
}
