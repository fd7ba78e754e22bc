/* cmd/keep.c: see keep.h. */
#include "cmd/keep.h"

#include <stdlib.h>

#include "base/log.h"
#include "llm/budget.h"
#include "llm/cache.h"
#include "llm/ledger.h"
#include "store/cache.h"
#include "store/spend.h"

void sl_keep_close(struct sl_keep *k)
{
	atomic_store(&k->closed, true);
}

/* Whoever waits for a plain answer of the store. */
struct asked {
	void (*done)(void *arg, enum sl_code rc);
	void *arg;
};

static void on_answer(void *arg, enum sl_code rc)
{
	struct asked a = *(struct asked *)arg;
	free(arg);
	a.done(a.arg, rc);
}

/* NULL: *rc says why. */
static struct asked *asked_new(struct sl_keep *k, void (*done)(void *arg, enum sl_code rc), void *arg, enum sl_code *rc)
{
	struct asked *a = NULL;
	*rc = SL_CANCELLED;
	if (atomic_load(&k->closed))
		return NULL;
	a = malloc(sizeof(*a));
	*rc = a ? SL_OK : SL_NO_MEMORY;
	if (a)
		*a = (struct asked){done, arg};
	return a;
}

/* ---- the ledger ---- */

static void book(void *ctx, struct sl_str project, int64_t day, uint64_t tokens, int64_t cost_microusd,
		 void (*done)(void *arg, enum sl_code rc), void *arg)
{
	struct sl_keep *k = ctx;
	enum sl_code rc;
	struct asked *a = asked_new(k, done, arg, &rc);
	if (a)
		rc = sl_store_spend_put(k->store, project, day, tokens, cost_microusd, on_answer, a);
	if (rc != SL_OK) {
		free(a);
		done(arg, rc);
	}
}

void sl_keep_ledger(struct sl_keep *k, struct sl_ledger *out)
{
	*out = (struct sl_ledger){book, k};
}

/* ---- calls that were called off ---- */

#define KEEP_AGAIN_MS 1000

static void calls_end(struct sl_keep *k, enum sl_code rc)
{
	k->calls_done(k->calls_arg, rc); /* may bring the next batch at once */
}

static void on_calls_put(void *arg, enum sl_code rc)
{
	struct sl_keep *k = arg;
	bool again = rc == SL_UNAVAILABLE || rc == SL_TIMEOUT || rc == SL_BUSY || rc == SL_NO_MEMORY;
	if (!again || atomic_load(&k->closed)) {
		calls_end(k, rc);
		return;
	}
	k->calls_rc = rc;
	sl_loop_post(k->loop, &k->calls_post);
}

static void calls_put(struct sl_keep *k)
{
	enum sl_code rc = atomic_load(&k->closed) ? SL_CANCELLED
						  : sl_store_calls_put(k->store, k->calls, k->n_calls, on_calls_put, k);
	if (rc != SL_OK)
		on_calls_put(k, rc);
}

static void on_calls_timer(uv_timer_t *t)
{
	calls_put(t->data);
}

static void calls_later(struct sl_post *p)
{
	struct sl_keep *k = SL_CONTAINER_OF(p, struct sl_keep, calls_post);
	if (uv_is_closing((uv_handle_t *)&k->calls_timer))
		calls_end(k, k->calls_rc);
	else
		uv_timer_start(&k->calls_timer, on_calls_timer, KEEP_AGAIN_MS, 0);
}

static void calls_write(void *ctx, const struct sl_call_row *rows, size_t n, void (*done)(void *arg, enum sl_code rc),
			void *arg)
{
	struct sl_keep *k = ctx;
	k->calls = rows;
	k->n_calls = n;
	k->calls_done = done;
	k->calls_arg = arg;
	calls_put(k);
}

enum sl_code sl_keep_calls(struct sl_keep *k, struct sl_loop *loop, struct sl_call_ledger_port *out)
{
	k->loop = loop;
	k->calls_post.run = calls_later;
	k->calls_timer.data = k;
	*out = (struct sl_call_ledger_port){calls_write, k};
	return uv_timer_init(sl_loop_uv(loop), &k->calls_timer) == 0 ? SL_OK : SL_NO_MEMORY;
}

void sl_keep_calls_end(struct sl_keep *k)
{
	if (!k->loop || uv_is_closing((uv_handle_t *)&k->calls_timer))
		return;
	bool waits = uv_is_active((uv_handle_t *)&k->calls_timer);
	uv_close((uv_handle_t *)&k->calls_timer, NULL);
	if (waits)
		calls_end(k, k->calls_rc);
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
static void on_kept(void *what, enum sl_code rc)
{
	if (rc != SL_OK && rc != SL_CANCELLED)
		sl_log(SL_LOG_WARN, "cmd", "the cache could not be written", SL_KS("what", what),
		       SL_KS("reason", sl_code_wire(rc)));
}

static char what_put[] = "put", what_sweep[] = "sweep";

static void on_put(void *arg, enum sl_code rc)
{
	on_kept(what_put, rc);
	on_answer(arg, rc);
}

static void put(void *ctx, const struct sl_cache_key *key, struct sl_str scope, struct sl_bytes *output,
		struct sl_str source, int64_t expires_ms, sl_cache_done_fn *done, void *arg)
{
	struct sl_keep *k = ctx;
	enum sl_code rc;
	struct asked *a = asked_new(k, done, arg, &rc);
	if (a)
		rc = sl_store_cache_put(k->store, key->b, scope, output, source, expires_ms, on_put, a);
	if (rc != SL_OK) { /* it stays in the memory we have */
		free(a);
		done(arg, rc);
	}
}

static void clear(void *ctx, struct sl_str scope, sl_cache_done_fn *done, void *arg)
{
	struct sl_keep *k = ctx;
	enum sl_code rc;
	struct asked *a = asked_new(k, done, arg, &rc);
	if (a)
		rc = sl_store_cache_clear(k->store, scope, on_answer, a);
	if (rc != SL_OK) {
		free(a);
		done(arg, rc);
	}
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
