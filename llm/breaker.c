/* llm/breaker.c: see breaker.h. The window is a ring of ten slots of three seconds. */
#include "llm/named.h"

#include "llm/breaker.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"

#define SLOTS     10
#define SLOT_MS   (SL_BREAKER_WINDOW_MS / SLOTS)
#define NAMES     2000
#define PROVEN_MS 60000

enum state { CLOSED, OPEN, HALF_OPEN /* a trial is under way */ };
#define TO(s) (1u << (s))
static const struct {
	const char *wire;
	unsigned may_become;
} states[] = {
	[CLOSED] = {"closed", TO(OPEN)},
	[OPEN] = {"open", TO(HALF_OPEN) | TO(CLOSED)}, /* closed: by an operator */
	[HALF_OPEN] = {"half_open", TO(OPEN) | TO(CLOSED)},
};

struct breaker {
	char *name;
	UT_hash_handle hh;
	enum state state;
	uint64_t since_ms, until_ms, open_ms, good_ms; /* good_ms: of the last success, 0: none */
	uint32_t consecutive, at_opening, opened;
	uint64_t slot; /* number of the newest */
	uint32_t calls[SLOTS], bad[SLOTS];
};

struct sl_breakers {
	pthread_mutex_t lock;
	struct breaker *items; /* [lock] */
};

enum sl_code sl_breakers_new(struct sl_breakers **out)
{
	struct sl_breakers *b = calloc(1, sizeof(*b));
	if (!b)
		return SL_NO_MEMORY;
	pthread_mutex_init(&b->lock, NULL);
	*out = b;
	return SL_OK;
}

static void drop(struct sl_breakers *b, struct breaker *one)
{
	HASH_DEL(b->items, one);
	free(one->name);
	free(one);
}

void sl_breakers_free(struct sl_breakers *b)
{
	struct breaker *one, *tmp;
	if (!b)
		return;
	HASH_ITER (hh, b->items, one, tmp)
		drop(b, one);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

enum sl_breaker_word sl_breaker_word_of(enum sl_code code)
{
	switch (code) {
	case SL_TIMEOUT:
	case SL_OVERLOADED:
	case SL_PROVIDER_ERROR:
	case SL_CONNECT:
	case SL_CERTIFICATE:
	case SL_TRUNCATED:
	case SL_MALFORMED:
		return SL_BREAKER_BAD;
	case SL_OK:
	case SL_PROVIDER_REJECTED:
	case SL_PROVIDER_AUTH:
	case SL_PROVIDER_MODEL:
	case SL_CONTEXT_TOO_LONG:
	case SL_QUOTA_EXHAUSTED:
	case SL_RATE_LIMITED:
	case SL_OUTPUT_INVALID:
		return SL_BREAKER_GOOD;
	default:
		return SL_BREAKER_NOTHING;
	}
}

/* ---- [lock] ---- */

static struct breaker *find(struct sl_breakers *b, struct sl_str name)
{
	struct breaker *one;
	HASH_FIND(hh, b->items, name.p, name.len, one);
	return one;
}

static struct breaker *get(struct sl_breakers *b, struct sl_str name, uint64_t now)
{
	struct breaker *one = find(b, name), *tmp;
	if (one)
		return one;
	if (HASH_COUNT(b->items) >= NAMES) {
		struct breaker *old;
		HASH_ITER (hh, b->items, old, tmp) {
			if (old->state == CLOSED && now / SLOT_MS >= old->slot + SLOTS)
				drop(b, old);
		}
	}
	one = calloc(1, sizeof(*one));
	if (one && (one->name = sl_str_dup(name)) != NULL) {
		one->since_ms = now;
		one->open_ms = SL_BREAKER_OPEN_MS;
		one->slot = now / SLOT_MS;
		HASH_ADD_KEYPTR(hh, b->items, one->name, name.len, one);
		if (one->hh.tbl)
			return one;
	}
	if (one)
		free(one->name);
	free(one);
	return NULL;
}

static void move(struct breaker *one, enum state to, uint64_t now, const char *why)
{
	if (!SL_EXPECT(states[one->state].may_become & (1u << to)))
		return;
	sl_log(to == OPEN ? SL_LOG_WARN : SL_LOG_INFO, "llm", "provider breaker", SL_KS("key", one->name),
	       SL_KS("was", states[one->state].wire), SL_KS("is", states[to].wire), SL_KS("why", why));
	one->state = to;
	one->since_ms = now;
}

static void turn(struct breaker *one, uint64_t now)
{
	uint64_t slot = now / SLOT_MS;
	if (slot >= one->slot + SLOTS) {
		memset(one->calls, 0, sizeof(one->calls));
		memset(one->bad, 0, sizeof(one->bad));
		one->slot = slot;
	}
	while (one->slot < slot) {
		one->slot++;
		one->calls[one->slot % SLOTS] = one->bad[one->slot % SLOTS] = 0;
	}
}

static void sums(const struct breaker *one, uint32_t *calls, uint32_t *bad)
{
	*calls = *bad = 0;
	for (int i = 0; i < SLOTS; i++)
		*calls += one->calls[i], *bad += one->bad[i];
}

static void forget(struct breaker *one)
{
	memset(one->calls, 0, sizeof(one->calls));
	memset(one->bad, 0, sizeof(one->bad));
	one->consecutive = 0;
}

static void open_it(struct breaker *one, uint32_t failures, uint64_t now, const char *why)
{
	one->open_ms = one->state == CLOSED ? SL_BREAKER_OPEN_MS : 2 * one->open_ms;
	if (one->open_ms > SL_BREAKER_OPEN_MOST)
		one->open_ms = SL_BREAKER_OPEN_MOST;
	one->until_ms = now + one->open_ms;
	one->at_opening = failures;
	one->opened++;
	move(one, OPEN, now, why);
	forget(one);
}

/* ---- [any] ---- */

static struct sl_breaker_answer answer_of(const struct breaker *one, uint64_t now)
{
	if (!one || one->state == CLOSED)
		return (struct sl_breaker_answer){.go = true};
	if (one->state == OPEN && now >= one->until_ms)
		return (struct sl_breaker_answer){.go = true, .trial = true};
	uint64_t wait = one->state == OPEN ? one->until_ms - now : SL_BREAKER_OPEN_MS;
	return (struct sl_breaker_answer){.wait_ms = wait, .failures = one->at_opening};
}

struct sl_breaker_answer sl_breaker_ask(struct sl_breakers *b, struct sl_str name, uint64_t now_ms)
{
	pthread_mutex_lock(&b->lock);
	struct breaker *one = find(b, name);
	struct sl_breaker_answer a = answer_of(one, now_ms);
	if (a.trial)
		move(one, HALF_OPEN, now_ms, "a trial goes out");
	pthread_mutex_unlock(&b->lock);
	return a;
}

uint64_t sl_breaker_wait(struct sl_breakers *b, struct sl_str name, uint64_t now_ms)
{
	pthread_mutex_lock(&b->lock);
	struct sl_breaker_answer a = answer_of(find(b, name), now_ms);
	pthread_mutex_unlock(&b->lock);
	return a.go ? 0 : a.wait_ms;
}

bool sl_breaker_report(struct sl_breakers *b, struct sl_str name, bool trial, enum sl_breaker_word word,
		       uint64_t first_ms, uint64_t now_ms)
{
	uint32_t calls, bad;
	bool opened = false;
	if (word == SL_BREAKER_GOOD && first_ms > SL_BREAKER_SLOW_MS)
		word = SL_BREAKER_BAD;
	if (word == SL_BREAKER_NOTHING && !trial)
		return false;
	pthread_mutex_lock(&b->lock);
	struct breaker *one = get(b, name, now_ms);
	if (!one) { /* no memory: it stays closed, which is what it would have been without us */
		pthread_mutex_unlock(&b->lock);
		return false;
	}
	turn(one, now_ms);
	if (word == SL_BREAKER_GOOD)
		one->good_ms = now_ms;
	if (trial && one->state == HALF_OPEN) {
		if (word == SL_BREAKER_GOOD) {
			move(one, CLOSED, now_ms, "the trial was answered");
			forget(one);
		} else if (word == SL_BREAKER_BAD) {
			open_it(one, one->at_opening, now_ms, "the trial failed");
			opened = true;
		} else { /* it said nothing: the next one may try, at once */
			one->until_ms = now_ms;
			move(one, OPEN, now_ms, "the trial was called off");
		}
	} else if (one->state == CLOSED && word != SL_BREAKER_NOTHING) {
		one->calls[one->slot % SLOTS]++;
		if (word == SL_BREAKER_GOOD) {
			one->consecutive = 0;
		} else {
			one->bad[one->slot % SLOTS]++;
			one->consecutive++;
			sums(one, &calls, &bad);
			opened = true;
			if (one->consecutive >= SL_BREAKER_CONSECUTIVE)
				open_it(one, one->consecutive, now_ms, "failures in a row");
			else if (calls >= SL_BREAKER_CALLS && bad * 100 >= calls * SL_BREAKER_PERCENT)
				open_it(one, bad, now_ms, "half of the calls failed");
			else
				opened = false;
		}
	} /* a late answer from before it opened says nothing about now */
	pthread_mutex_unlock(&b->lock);
	return opened;
}

bool sl_breaker_proven(struct sl_breakers *b, struct sl_str name, uint64_t now_ms)
{
	pthread_mutex_lock(&b->lock);
	struct breaker *one = find(b, name);
	bool yes = one && one->state == CLOSED && one->good_ms && now_ms < one->good_ms + PROVEN_MS &&
		   one->consecutive < SL_BREAKER_CONSECUTIVE / 2;
	pthread_mutex_unlock(&b->lock);
	return yes;
}

enum sl_code sl_breaker_reset(struct sl_breakers *b, struct sl_str name, uint64_t now_ms)
{
	pthread_mutex_lock(&b->lock);
	struct breaker *one = find(b, name);
	if (one) {
		if (one->state != CLOSED)
			move(one, CLOSED, now_ms, "reset by an operator");
		forget(one);
	}
	pthread_mutex_unlock(&b->lock);
	return one ? SL_OK : SL_NOT_FOUND;
}

void sl_breakers_json(struct sl_breakers *b, struct sl_buf *out, uint64_t now_ms)
{
	struct breaker *one, *tmp;
	pthread_mutex_lock(&b->lock);
	HASH_ITER (hh, b->items, one, tmp) {
		uint32_t calls, bad;
		turn(one, now_ms);
		sums(one, &calls, &bad);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "key", one->name);
		sl_buf_json_kz(out, "state", states[one->state].wire);
		sl_buf_json_ku64(out, "since_ms", now_ms - one->since_ms);
		sl_buf_json_ku64(out, "failures", one->state == CLOSED ? bad : one->at_opening);
		sl_buf_json_ku64(out, "consecutive", one->consecutive);
		sl_buf_json_ku64(out, "calls", calls);
		sl_buf_json_ku64(out, "opened", one->opened);
		sl_buf_json_ku64(out, "retry_in_ms",
				 one->state == OPEN && one->until_ms > now_ms ? one->until_ms - now_ms : 0);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&b->lock);
}

uint32_t sl_breakers_open(struct sl_breakers *b)
{
	struct breaker *one, *tmp;
	uint32_t n = 0;
	pthread_mutex_lock(&b->lock);
	HASH_ITER (hh, b->items, one, tmp)
		n += one->state != CLOSED;
	pthread_mutex_unlock(&b->lock);
	return n;
}
