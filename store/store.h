/* store/store.h: PostgreSQL for everybody: connections that mend themselves, a query pool, health, and the lease.
 *
 * Owns      one loop with its thread ([store] in all headers), all libpq connections, the instance's row and lock.
 * Thread    every sl_store_*() of this room is [any] unless it says otherwise. Callbacks are [store], must not block,
 * and keep the usual contract: SL_OK means fn runs exactly once, later; anything else means it never runs. Failures
 * every callback may bring, besides what its function says: SL_UNAVAILABLE (PostgreSQL did not answer within
 *           query_timeout_ms, or the connection broke in a write whose outcome is not known), SL_BUSY (no connection
 *           became free within pool_timeout_ms), SL_CANCELLED (the store was closed), SL_NO_MEMORY, SL_INTERNAL
 * (logged). Not for   starting a private cluster (store/embedded.h) or the schema (store/migrate.h): do these first.
 *
 * The other doors of this room: journal.h, workflows.h, runs.h, profiles.h, tokens.h, audit.h, settings.h.
 */
#pragma once

#include "base/bytes.h"
#include "base/id.h"
#include "base/own.h"

struct sl_store;
struct sl_loop;

/* What most functions end with. Bytes are borrowed: take a reference to keep them. */
typedef void sl_store_fn(void *arg, enum sl_code rc);
typedef void sl_store_json_fn(void *arg, enum sl_code rc, struct sl_bytes *json); /* NULL unless SL_OK */

/* What another server on the database has changed. Each is also told when we may have missed it: once the connection
 * that listens is there, and again whenever it was lost and is back. */
enum sl_store_news {
	SL_STORE_NEWS_SETTINGS,
	SL_STORE_NEWS_PROFILES,
	SL_STORE_NEWS_AGENTS,
	SL_STORE_NEWS_PRICES,
	SL_STORE_NEWS_TOKENS,
	SL_STORE_NEWS_CACHE, /* it was cleared, or some of it */
};
#define SL_STORE_NEWS_KINDS 6
struct sl_store_order; /* store/orders.h */

enum sl_store_sharing {
	SL_STORE_SHARED,    /* other servers may use this database: leases are renewed, others' deaths are noticed */
	SL_STORE_EXCLUSIVE, /* we hold the data folder's lock: whoever else is in `instances` is dead; nothing is
			       renewed */
};

struct sl_store_config {
	const char *url; /* postgres://… or "key=value …"; copied, never logged whole */
	enum sl_store_sharing sharing;
	uint32_t journal_connections; /* 1 … 4; runs are spread over them */
	uint32_t pool_size;           /* connections kept for queries, opened when needed */
	uint32_t max_overflow;        /* further ones under load, closed when idle */
	uint32_t pool_timeout_ms;     /* the longest wait for a free one */
	uint32_t pool_recycle_ms;     /* a connection older than this is replaced */
	uint32_t pool_ping_ms;        /* one idle longer than this is asked before it is used; 0: always */
	uint32_t connect_timeout_ms;
	uint32_t query_timeout_ms; /* from the call to the callback, waiting for PostgreSQL to come back included */
	uint32_t lease_ms, renew_ms;
	uint32_t retention_days; /* finished runs older than this go, partition by partition; 0: kept for ever */
	void (*on_orphans)(
		void *ctx); /* [store] runs of a dead instance wait: call sl_engine_recover(). NULL: do not look */
	/* [store] Our lease had run out before it was renewed: others may have taken runs from us. Call
	 * sl_engine_prove(). NULL: nobody asks. */
	void (*on_lapse)(void *ctx);
	/* [store] Another server has told, after its change was committed; must not block. NULL: nobody wants to know.
	 */
	void (*on_news)(void *ctx, enum sl_store_news news);
	/* [store] Another server asks something of a run we have: answer with sl_store_order_answer(). NULL: nobody
	 * does. */
	void (*on_order)(void *ctx, const struct sl_store_order *order);
	void *ctx;
};
void sl_store_config_init(
	struct sl_store_config *c); /* 2, 20, 30, 30 s, 1800 s, 30 s, 10 s, 10 s, 15 s, 5 s, 30 days */

/* Starts the loop and begins to connect; does not wait for PostgreSQL. SL_INVALID: the url does not parse. */
SL_MUST_USE enum sl_code sl_store_open(const struct sl_store_config *config, struct sl_store **out,
				       struct sl_error *err);

/* [not store] Waits until the journal is connected and the instance registered. SL_TIMEOUT says what is missing. */
SL_MUST_USE enum sl_code sl_store_wait(struct sl_store *s, uint32_t wait_ms, struct sl_error *err);

/* [not store] Writes what waits in the journal (at most wait_ms) and gives our runs back: others are told, and take
 * them up at once without counting a crash. Nobody may append or claim any more; everything else goes on until close.
 */
void sl_store_give_back(struct sl_store *s, uint32_t wait_ms);

/* [not store] Writes what waits in the journal (at most drain_ms), gives our runs back so that another instance can
 * claim them at once without counting a crash, ends everything else with SL_CANCELLED and frees s. Nobody may call any
 * more. */
void sl_store_close(struct sl_store *s, uint32_t drain_ms); /* NULL is fine */
static inline void sl_store_free(struct sl_store *s)
{
	sl_store_close(s, 5000);
}
SL_DEFINE_AUTO(sl_store)

enum sl_store_state {
	SL_STORE_OK,
	SL_STORE_CONNECTING, /* not once connected yet */
	SL_STORE_FAILING,    /* was connected; see since_ms and reason */
	SL_STORE_READ_ONLY,  /* PostgreSQL takes no writes: a standby, or default_transaction_read_only */
	SL_STORE_SCHEMA,     /* migrations are missing, or newer than this binary */
};
struct sl_store_health {
	enum sl_store_state state;
	int64_t since_ms;        /* wall, when this state began */
	uint32_t schema_version; /* applied; 0 not known */
	uint32_t schema_wanted;
	char reason[160]; /* for people; "" when fine */
};
void sl_store_health(struct sl_store *s, struct sl_store_health *out);
const char *sl_store_state_name(enum sl_store_state state); /* "ok", "connecting", "failing", "read_only", "schema" */

struct sl_store_stats {
	uint64_t batches, records, commits; /* journal: written so far, and in how many transactions */
	uint64_t stale, conflicts, resolved,
		retried;               /* refused; found committed after a lost reply; groups sent again */
	uint64_t queued, queued_bytes; /* journal: waiting or in flight now */
	uint64_t queries, query_failures, reconnects;
	uint32_t connections, connections_busy, pool_waiting;
	size_t pool_waiting_bytes; /* of queries that wait for PostgreSQL, or are at it */
	uint64_t unavailable_ms;   /* sum of the time the journal had no connection */
};
void sl_store_stats(struct sl_store *s, struct sl_store_stats *out);
int64_t sl_store_instance(const struct sl_store *s); /* our id in `instances` */
struct sl_loop *sl_store_loop(struct sl_store *s);   /* lends, for SL_ASSERT_LOOP and posting to [store] */
enum sl_store_sharing sl_store_sharing(const struct sl_store *s);
