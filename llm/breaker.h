/* llm/breaker.h: the provider breaker: stops asking a model that fails, and finds out when it is back.
 *
 * One for each (provider, model, key), by a name that says so. Opens on 6 failures in a row, or when half of at least
 * 10 calls of the last 30 s failed (a call whose first token took longer than a minute counts as failed). Stays open
 * for 10 s, then lets one trial through: it closes on success, else stays open twice as long as before, up to 120 s.
 *
 * Thread    everything [any]; one lock, O(1) held. `now_ms` is monotonic and the caller's.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#define SL_BREAKER_CONSECUTIVE 6
#define SL_BREAKER_CALLS       10 /* fewer in the window say nothing */
#define SL_BREAKER_PERCENT     50
#define SL_BREAKER_WINDOW_MS   30000
#define SL_BREAKER_OPEN_MS     10000
#define SL_BREAKER_OPEN_MOST   120000
#define SL_BREAKER_SLOW_MS     60000 /* to the first token */

struct sl_breakers;
struct sl_buf;

SL_MUST_USE enum sl_code sl_breakers_new(struct sl_breakers **out);
void sl_breakers_free(struct sl_breakers *b); /* NULL is fine */
SL_DEFINE_AUTO(sl_breakers)

/* What a call's end says of the provider. */
enum sl_breaker_word {
	SL_BREAKER_GOOD,    /* it answered */
	SL_BREAKER_BAD,     /* it failed, or was too slow */
	SL_BREAKER_NOTHING, /* cancelled, refused here, or our own mistake */
};
/* Our own mistakes (4xx), limits (429) and keys say that it lives; failures of the provider or of the way there count.
 */
enum sl_breaker_word sl_breaker_word_of(enum sl_code code);

struct sl_breaker_answer {
	bool go;
	bool trial;        /* this call is the one that decides */
	uint64_t wait_ms;  /* !go: until a trial may be made; SL_BREAKER_OPEN_MS at least while one is under way */
	uint32_t failures; /* that opened it */
};
/* A go must be followed by one report. */
struct sl_breaker_answer sl_breaker_ask(struct sl_breakers *b, struct sl_str name, uint64_t now_ms);
/* Milliseconds until a call would be let through; 0: it would now. Takes no trial. */
uint64_t sl_breaker_wait(struct sl_breakers *b, struct sl_str name, uint64_t now_ms);
/* first_ms: to the first token, 0 when none came. Returns true when it has just opened. */
bool sl_breaker_report(struct sl_breakers *b, struct sl_str name, bool trial, enum sl_breaker_word word,
		       uint64_t first_ms, uint64_t now_ms);
/* Answered within the last minute and closed: worth sending others there. */
bool sl_breaker_proven(struct sl_breakers *b, struct sl_str name, uint64_t now_ms);

SL_MUST_USE enum sl_code sl_breaker_reset(struct sl_breakers *b, struct sl_str name,
					  uint64_t now_ms); /* SL_NOT_FOUND */
/* Members: {"key","state","since_ms","failures","consecutive","calls","opened","retry_in_ms"}; since_ms: ago. */
void sl_breakers_json(struct sl_breakers *b, struct sl_buf *out, uint64_t now_ms);
uint32_t sl_breakers_open(struct sl_breakers *b); /* how many are not closed */
