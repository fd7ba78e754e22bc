/* base/error.h: the one table of error codes, and the message that travels with one.
 *
 * Owns      nothing; a struct sl_error lives on the caller's stack.
 * Thread    [any]
 * Not for   bugs: those are SL_BUG_ON (abort) and SL_EXPECT (count, log once, go on).
 *
 * One row feeds the enum, problem+json, the journal, metrics, `fallback` classes and the retry policy. The wire code
 * is contract (append, never rename); the number is never stored.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_MUST_USE __attribute__((warn_unused_result))
/* A result ignored on purpose; say why beside it. (A cast to void does not quiet gcc.) */
#define SL_IGNORE(call)                                                                                                \
	do {                                                                                                           \
		__typeof__(call) sl_ignored_ = (call);                                                                 \
		(void)sl_ignored_;                                                                                     \
	} while (0)
#define SL_PRINTF(fmt, arg) __attribute__((format(printf, fmt, arg)))

enum sl_retry_class {
	SL_RETRY_NEVER, /* the same call would fail the same way */
	SL_RETRY_NOW,   /* worth another try after the ordinary backoff */
	SL_RETRY_LATER, /* worth another try, but not before the hinted time */
};

/*        name                 value  wire code             http  worth a retry? */
#define SL_CODES(X)                                                                                                    \
	X(SL_OK, 0, "ok", 200, NEVER)                                                                                  \
	X(SL_INVALID, -1, "invalid", 422, NEVER)                                                                       \
	X(SL_NO_MEMORY, -2, "no_memory", 503, NOW)                                                                     \
	X(SL_TIMEOUT, -3, "timeout", 504, NOW)                                                                         \
	X(SL_CANCELLED, -4, "cancelled", 409, NEVER)                                                                   \
	X(SL_RATE_LIMITED, -5, "rate_limited", 429, LATER)                                                             \
	X(SL_BUSY, -6, "busy", 503, LATER)                                                                             \
	X(SL_NOT_FOUND, -7, "not_found", 404, NEVER)                                                                   \
	X(SL_CONFLICT, -8, "conflict", 409, NEVER)                                                                     \
	X(SL_UNAUTHORIZED, -9, "unauthorized", 401, NEVER)                                                             \
	X(SL_FORBIDDEN, -10, "forbidden", 403, NEVER)                                                                  \
	X(SL_TOO_LARGE, -11, "too_large", 413, NEVER)                                                                  \
	X(SL_UNAVAILABLE, -12, "unavailable", 503, NOW)                                                                \
	X(SL_INTERNAL, -13, "internal", 500, NEVER)                                                                    \
	X(SL_BAD_REQUEST, -14, "bad_request", 400, NEVER)                                                              \
	X(SL_STALE_EPOCH, -15, "stale_epoch", 409, NEVER)                                                              \
	X(SL_EXPRESSION, -16, "expression_failed", 422, NEVER)                                                         \
	X(SL_PROVIDER_REJECTED, -17, "provider_rejected", 502, NEVER)                                                  \
	X(SL_PROVIDER_AUTH, -18, "provider_auth", 502, NEVER)                                                          \
	X(SL_PROVIDER_MODEL, -19, "provider_model_not_found", 502, NEVER)                                              \
	X(SL_CONTEXT_TOO_LONG, -20, "context_too_long", 502, NEVER)                                                    \
	X(SL_QUOTA_EXHAUSTED, -21, "quota_exhausted", 502, NEVER)                                                      \
	X(SL_PROVIDER_ERROR, -22, "provider_error", 502, NOW)                                                          \
	X(SL_OVERLOADED, -23, "provider_overloaded", 503, LATER)                                                       \
	X(SL_CONNECT, -24, "provider_unreachable", 502, NOW)                                                           \
	X(SL_TRUNCATED, -25, "stream_truncated", 502, NOW)                                                             \
	X(SL_MALFORMED, -26, "malformed_response", 502, NOW)                                                           \
	X(SL_CERTIFICATE, -27, "certificate", 502, NEVER)                                                              \
	X(SL_OUTPUT_INVALID, -28, "output_invalid", 502, NOW)                                                          \
	X(SL_JOIN_UNREACHABLE, -29, "join_unreachable", 422, NEVER)                                                    \
	X(SL_POISON, -30, "poison", 500, NEVER)                                                                        \
	X(SL_LIMIT, -31, "limit_exceeded", 422, NEVER)                                                                 \
	X(SL_METHOD, -32, "method_not_allowed", 405, NEVER)                                                            \
	X(SL_DRAINING, -33, "draining", 503, LATER)                                                                    \
	X(SL_MEDIA_TYPE, -34, "unsupported_media_type", 415, NEVER)                                                    \
	X(SL_IDEMPOTENCY, -35, "idempotency_key_reused", 422, NEVER)                                                   \
	X(SL_TRIPPED, -36, "breaker_tripped", 409, NEVER)                                                              \
	X(SL_BREAKER_OPEN, -37, "breaker_open", 503, LATER)                                                            \
	X(SL_BUDGET, -38, "budget_exhausted", 402, NEVER)                                                              \
	X(SL_REJECTED, -39, "rejected", 422, NEVER)                                                                    \
	X(SL_EXPIRED, -40, "expired", 410, NEVER)                                                                      \
	X(SL_EGRESS, -41, "egress_denied", 403, NEVER)

enum sl_code {
#define SL_X(name, value, wire, http, retry) name = value,
	SL_CODES(SL_X)
#undef SL_X
};

#define SL_ERROR_TEXT_BYTES 512

/* What went wrong, for people. `text` is always NUL-terminated valid text, cut when longer. */
struct sl_error {
	enum sl_code code;
	uint32_t retry_after_ms; /* a hint from whoever refused, 0 = none */
	char text[SL_ERROR_TEXT_BYTES];
};

/* Fills err (NULL is fine) and returns code, so that `return sl_fail(...)` reads as one thought. */
enum sl_code sl_fail(struct sl_error *err, enum sl_code code, const char *fmt, ...) SL_PRINTF(3, 4);

/* Puts context in front of the text that is already there: "loop 'refine': edge 'x' leads nowhere". */
enum sl_code sl_wrap(struct sl_error *err, enum sl_code code, const char *fmt, ...) SL_PRINTF(3, 4);

const char *sl_code_wire(enum sl_code code); /* "timeout"; "internal" for a number outside the table */
int sl_code_http(enum sl_code code);
enum sl_retry_class sl_code_retry(enum sl_code code);
bool sl_code_from_wire(const char *wire, size_t len, enum sl_code *out); /* false: unknown */

/* A bug that would corrupt memory or the journal if we went on. In every build. */
#define SL_BUG_ON(cond)                                                                                                \
	do {                                                                                                           \
		if (__builtin_expect(!!(cond), 0))                                                                     \
			sl_bug(#cond, __FILE__, __LINE__);                                                             \
	} while (0)

/* A bug one run may die of. Yields the truth of cond; counts and logs once per place; aborts in tests. */
#define SL_EXPECT(cond)                                                                                                \
	(__extension__({                                                                                               \
		static _Atomic unsigned sl_seen_;                                                                      \
		bool sl_ok_ = !!(cond);                                                                                \
		if (__builtin_expect(!sl_ok_, 0))                                                                      \
			sl_expect_failed(&sl_seen_, #cond, __FILE__, __LINE__);                                        \
		sl_ok_;                                                                                                \
	}))

_Noreturn void sl_bug(const char *what, const char *file, int line);
void sl_expect_failed(_Atomic unsigned *seen, const char *what, const char *file, int line);
extern bool sl_expect_aborts; /* tests set it */
uint64_t sl_expect_count(void);
