/* base/buf.h: a growing byte buffer with a cap, and the JSON text writer on top of it.
 *
 * Owns      its bytes.
 * Thread    whoever owns the buffer.
 * A failed append (cap reached or no memory) is remembered in `failed`, changes nothing, and makes all later appends
 * no-ops, so an encoder checks once, at the end.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct sl_bytes;

struct sl_buf {
	char *data; /* NUL after len whenever data is set */
	size_t len, cap;
	size_t max_bytes;
	bool failed;
	bool no_memory; /* that is why; else it was the cap */
};

void sl_buf_init(struct sl_buf *b, size_t max_bytes);
void sl_buf_fini(struct sl_buf *b); /* also of a zeroed one */
static inline void sl_buf_auto_(struct sl_buf *b)
{
	sl_buf_fini(b);
}
/* SL_BUF(out, SL_LIMIT_PAYLOAD_BYTES); declares a buffer freed at the end of the scope */
#define SL_BUF(name, max)                                                                                              \
	__attribute__((cleanup(sl_buf_auto_))) struct sl_buf name;                                                     \
	sl_buf_init(&name, max)

void sl_buf_reset(struct sl_buf *b); /* empties, forgets a failure, keeps the memory */
bool sl_buf_reserve(struct sl_buf *b, size_t more);
void sl_buf_add(struct sl_buf *b, const void *p, size_t len);
static inline void sl_buf_adds(struct sl_buf *b, const char *z)
{
	sl_buf_add(b, z, strlen(z)); /* of a constant: none at run time */
}
void sl_buf_addc(struct sl_buf *b, char c);
void sl_buf_addf(struct sl_buf *b, const char *fmt, ...) SL_PRINTF(2, 3);
void sl_buf_addu(struct sl_buf *b, uint64_t v);
void sl_buf_addi(struct sl_buf *b, int64_t v);
void sl_buf_drop_front(struct sl_buf *b, size_t n);
static inline struct sl_str sl_buf_str(const struct sl_buf *b)
{
	return sl_str_n(b->data ? b->data : "", b->len);
}
char *sl_buf_take(struct sl_buf *b); /* NUL-terminated, caller frees; NULL when failed; b is empty afterwards */
struct sl_bytes *sl_buf_bytes(
	struct sl_buf *b); /* moves the content into shared bytes; NULL when failed or no memory */

/* JSON text. The writer does not balance braces for you; these take care of escaping and of numbers. */
void sl_buf_json_str(struct sl_buf *b, struct sl_str s); /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
void sl_buf_json_key(struct sl_buf *b,
		     const char *key); /* "key": with a comma before it unless after { or [ or at the start */
void sl_buf_json_kstr(struct sl_buf *b, const char *key, struct sl_str s);
void sl_buf_json_kz(struct sl_buf *b, const char *key, const char *z); /* NULL writes null */
void sl_buf_json_ku64(struct sl_buf *b, const char *key, uint64_t v);
void sl_buf_json_ki64(struct sl_buf *b, const char *key, int64_t v);
void sl_buf_json_kf64(struct sl_buf *b, const char *key, double v);
void sl_buf_json_kbool(struct sl_buf *b, const char *key, bool v);
void sl_buf_json_kraw(struct sl_buf *b, const char *key,
		      struct sl_str json); /* json is already JSON; empty writes null */
void sl_buf_json_ktime(struct sl_buf *b, const char *key, int64_t wall_ms); /* RFC 3339 UTC, ms; 0 writes null */
void sl_buf_json_comma(struct sl_buf *b); /* a comma unless after { or [ or at the start */
