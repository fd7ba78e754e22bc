/* cmd/keep.c: see keep.h. */
#include "cmd/keep.h"

#include <stdlib.h>

#include "base/log.h"
#include "llm/budget.h"
#include "llm/cache.h"
#include "store/cache.h"
#include "store/spend.h"

void sl_keep_close(struct sl_keep *k)
{
	atomic_store(&k->closed, true);
}

/* ---- the ledger ---- */

struct booking {
	void (*done)(void *arg, enum sl_code rc);
	void *arg;
};

static void on_booked(void *arg, enum sl_code rc)
{
	struct booking b = *(struct booking *)arg;
	free(arg);
	b.done(b.arg, rc);
}

static void book(void *ctx, struct sl_str project, int64_t day, uint64_t tokens, int64_t cost_microusd,
		 void (*done)(void *arg, enum sl_code rc), void *arg)
{
	struct sl_keep *k = ctx;
	struct booking *b = atomic_load(&k->closed) ? NULL : malloc(sizeof(*b));
	enum sl_code rc = b ? SL_OK : SL_CANCELLED;
	if (b) {
		*b = (struct booking){done, arg};
		rc = sl_store_spend_put(k->store, project, day, tokens, cost_microusd, on_booked, b);
	}
	if (rc != SL_OK) {
		free(b);
		done(arg, rc);
	}
}

void sl_keep_ledger(struct sl_keep *k, struct sl_ledger *out)
{
	*out = (struct sl_ledger){book, k};
}

/* ---- the cache ---- */

struct looking {
	void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source, int64_t created_ms,
		     int64_t expires_ms);
	void *arg;
};

static void on_found(void *arg, enum sl_code rc, const struct sl_stored_answer *a)
{
	struct looking l = *(struct looking *)arg;
	static const struct sl_stored_answer none;
	free(arg);
	if (!a)
		a = &none;
	l.done(l.arg, rc, a->output, a->source, a->created_ms, a->expires_ms);
}

static void look_up(void *ctx, const struct sl_cache_key *key,
		    void (*done)(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source,
				 int64_t created_ms, int64_t expires_ms),
		    void *arg)
{
	struct sl_keep *k = ctx;
	struct looking *l = atomic_load(&k->closed) ? NULL : malloc(sizeof(*l));
	enum sl_code rc = l ? SL_OK : SL_CANCELLED;
	if (l) {
		*l = (struct looking){done, arg};
		rc = sl_store_cache_get(k->store, key->b, on_found, l);
	}
	if (rc != SL_OK) {
		free(l);
		done(arg, rc, SL_STR(""), SL_STR(""), 0, 0);
	}
}

/* The next who asks makes it again; so it is worth no more than a line. */
static void on_kept(void *arg, enum sl_code rc)
{
	if (rc != SL_OK && rc != SL_CANCELLED)
		sl_log(SL_LOG_WARN, "cmd", "the cache could not be written", SL_KS("what", arg),
		       SL_KS("reason", sl_code_wire(rc)));
}

static char what_put[] = "put", what_clear[] = "clear", what_sweep[] = "sweep";

static void put(void *ctx, const struct sl_cache_key *key, struct sl_str scope, struct sl_bytes *output,
		struct sl_str source, int64_t expires_ms)
{
	struct sl_keep *k = ctx;
	if (!atomic_load(&k->closed))
		SL_IGNORE(sl_store_cache_put(k->store, key->b, scope, output, source, expires_ms, on_kept,
					     what_put)); /* no memory: it stays in the memory we have */
}

static void clear(void *ctx, struct sl_str scope)
{
	struct sl_keep *k = ctx;
	if (!atomic_load(&k->closed) && sl_store_cache_clear(k->store, scope, on_kept, what_clear) != SL_OK)
		on_kept(what_clear, SL_NO_MEMORY);
}

static void sweep(void *ctx)
{
	struct sl_keep *k = ctx;
	if (!atomic_load(&k->closed))
		SL_IGNORE(sl_store_cache_sweep(k->store, SL_CACHE_STORED, on_kept, what_sweep)); /* the next one does */
}

void sl_keep_cache(struct sl_keep *k, struct sl_cache_back *out)
{
	*out = (struct sl_cache_back){look_up, put, clear, sweep, k};
}
