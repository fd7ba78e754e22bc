/* llm/resolve.h: name look-ups that hold no loop: the C library's, on a few threads of their own.
 *
 * Owns      its threads (made when needed, gone when idle) and the queue in front of them.
 * Thread    [any]; the callback runs on a look-up's thread, or in sl_resolver_close().
 * Rule      a look-up under way cannot be called off: the C library has no way. So whoever waits keeps its own
 * deadline, and closing does not wait for the answer; it is told then when it comes.
 */
#pragma once

#include "base/own.h"
#include "llm/address.h"

struct sl_resolver;

/* Exactly once for each sl_resolver_start(), maybe in place. The list is lent, its ports are 0.
 * SL_CONNECT: there is no such name, or nobody could say. SL_CANCELLED: closed before its turn came. */
typedef void sl_resolve_fn(void *arg, enum sl_code rc, const struct sl_address *list, size_t n,
			   const struct sl_error *err);

SL_MUST_USE enum sl_code sl_resolver_new(uint32_t threads, struct sl_resolver **out);
void sl_resolver_start(struct sl_resolver *r, const char *host, sl_resolve_fn *fn, void *arg); /* host is copied */
void sl_resolver_close(struct sl_resolver *r); /* what waits is told so; NULL is fine */
