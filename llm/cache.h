/* llm/cache.h: answers to give again: the most recently used in memory, all of them behind it, each until it expires.
 * Only what succeeded comes here.
 *
 * Who asks first for what is not there makes it (and says so with sl_cache_done()); who asks meanwhile waits for that
 * one answer. When it fails, the next in the queue makes it.
 *
 * Owns      its entries; bounded by number and bytes. Never the tickets: they are embedded in whatever waits.
 * Behind    a port (PostgreSQL, filled in by cmd), asynchronous; without it, or when it fails, the memory is all.
 * Others    that use what is behind, too, have a memory of their own: when one has cleared it, the others are told, and
 * sl_cache_forget().
 * Thread    everything [any]; one lock, O(1) held. Times are wall ms.
 */
#pragma once

#include "base/bytes.h"
#include "base/list.h"
#include "llm/wake.h"

#define SL_CACHE_KEY_BYTES   32
#define SL_CACHE_ENTRIES     10000
#define SL_CACHE_BYTES       (64u << 20)
#define SL_CACHE_ENTRY_BYTES (256u << 10) /* a larger answer is not kept */
#define SL_CACHE_TTL_S       3600         /* when a node does not say */
#define SL_CACHE_STORED      100000       /* entries behind the memory */
#define SL_CACHE_SCOPES      8

struct sl_buf;
struct sl_cache;
struct sl_cache_entry;

struct sl_cache_key {
	uint8_t b[SL_CACHE_KEY_BYTES];
};

typedef void sl_cache_done_fn(void *arg, enum sl_code rc);

/* What is behind the memory. Each calls its `done` exactly once, later or at once, on any thread, and looks at nothing
 * it was lent after that; SL_NOT_FOUND: nothing. A put or clear that is done can be seen by all that is asked after it.
 * sweep wants no answer. */
struct sl_cache_back {
	void (*get)(void *ctx, const struct sl_cache_key *key,
		    void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source,
				 int64_t created_ms, int64_t expires_ms),
		    void *arg);
	void (*put)(void *ctx, const struct sl_cache_key *key, struct sl_str scope, struct sl_bytes *output,
		    struct sl_str source, int64_t expires_ms, sl_cache_done_fn *done, void *arg);
	void (*clear)(void *ctx, struct sl_str scope, sl_cache_done_fn *done, void *arg); /* empty: all */
	void (*sweep)(void *ctx); /* now and then: what has expired may go */
	void *ctx;
};

/* Zeroed at first; private; must not move until sl_cache_leave() or sl_cache_done(). */
struct sl_cache_ticket {
	struct sl_list link;
	struct sl_cache_entry *entry;
	const struct sl_wake *wake;
	void *handle;
	enum { SL_CACHE_OUT, SL_CACHE_WAITING, SL_CACHE_MAKING } state;
};

struct sl_cache_hit {
	struct sl_bytes *output; /* the caller's reference; JSON */
	char source[160];        /* run and path that it came from */
	int64_t created_ms;
};

enum sl_cache_answer {
	SL_CACHE_HIT,
	SL_CACHE_MISS, /* the caller makes it, and says sl_cache_done() */
	SL_CACHE_WAIT, /* another one makes it, or it is being looked up: ask again with the same ticket when woken */
	SL_CACHE_NONE, /* no memory: do without */
};

SL_MUST_USE enum sl_code sl_cache_new(const struct sl_cache_back *back, struct sl_cache **out); /* NULL: memory only */
void sl_cache_limits(struct sl_cache *c, size_t entries, size_t bytes); /* 0: none are kept in memory */
void sl_cache_free(struct sl_cache *c); /* no ticket may be out, all that is behind has answered; NULL is fine */
SL_DEFINE_AUTO(sl_cache)

enum sl_cache_answer sl_cache_ask(struct sl_cache *c, const struct sl_cache_key *key, struct sl_str scope,
				  struct sl_cache_ticket *t, const struct sl_wake *wake, void *handle, int64_t now_ms,
				  struct sl_cache_hit *hit);
/* After a miss. output NULL: it did not come to an answer worth keeping. Otherwise kept for ttl_s. */
void sl_cache_done(struct sl_cache *c, struct sl_cache_ticket *t, struct sl_bytes *output, struct sl_str source,
		   uint32_t ttl_s, int64_t now_ms);
void sl_cache_leave(struct sl_cache *c, struct sl_cache_ticket *t); /* does not wait any more; idempotent */

/* scope empty: all. fn comes once, later or at once, on any thread: none of the answers that were there at the call is
 * given any more, from memory or from behind it; otherwise what was behind may come back, and rc says why. An answer
 * that is being made at the call counts as new: it is kept in memory, and behind it unless the clear takes it along.
 * Until fn nothing is looked up behind the memory. */
void sl_cache_clear(struct sl_cache *c, struct sl_str scope, sl_cache_done_fn *fn, void *arg);
/* Somebody else has cleared what is behind: nothing that is in memory, or is being looked up now, is given any more. An
 * answer that is being made counts as new. What is behind keeps no answer that was put before its clear was known here.
 */
void sl_cache_forget(struct sl_cache *c);
/* {"entries","bytes","max_entries","max_bytes","hits","misses","joined","stored","evicted","expired","hit_rate",
 * "scopes":[{"scope","hits",…}]} */
void sl_cache_json(struct sl_cache *c, struct sl_buf *out);
