/* base/bytes.h: immutable, atomically counted bytes: the only payload that crosses threads.
 * Thread    [atomic] count, [const] content.
 */
#pragma once

#include <stdatomic.h>

#include "base/own.h"
#include "base/str.h"

struct sl_bytes {
	_Atomic uint32_t refs;
	size_t len;
	char data[]; /* a NUL follows, not counted in len */
};

struct sl_bytes *sl_bytes_new(const void *p, size_t len); /* copies; NULL: no memory */
struct sl_bytes *sl_bytes_alloc(size_t len);              /* to be filled by the caller before it is shared */
struct sl_bytes *sl_bytes_ref(struct sl_bytes *b);        /* NULL is fine; returns b */
void sl_bytes_unref(struct sl_bytes *b);                  /* NULL is fine */
static inline void sl_bytes_free(struct sl_bytes *b)
{
	sl_bytes_unref(b);
}
SL_DEFINE_AUTO(sl_bytes)
static inline struct sl_str sl_bytes_str(const struct sl_bytes *b)
{
	return b ? sl_str_n(b->data, b->len) : sl_str_n("", 0);
}
