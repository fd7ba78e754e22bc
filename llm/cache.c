/* llm/cache.c: see cache.h. An entry is looked up behind the memory once, then it is made or it is there; the list of
 * the entries that are there is ordered by use.
 *
 * What is behind keeps no order: a clear is asked for only when the puts before it are done, or they could be executed
 * after it. A look-up that was begun before a clear is not believed, and none is begun while one is under way. */
#include "llm/named.h"

#include "llm/cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"

#define SWEEP_EVERY 500 /* stores */

enum stage {
	EMPTY,   /* known not to be there: whoever asks next makes it */
	LOADING, /* asked of what is behind */
	MAKING,
	READY,
};

struct counts {
	char scope[24];
	uint64_t hits, misses, joined, stored, evicted, expired;
};

struct sl_cache_entry {
	struct sl_cache_key key;
	UT_hash_handle hh;
	enum stage stage;
	struct counts *counts;
	struct sl_list waiting; /* of struct sl_cache_ticket */
	struct sl_list lru;     /* READY */
	struct sl_bytes *output;
	char source[160];
	int64_t created_ms, expires_ms;
};

struct sl_cache {
	pthread_mutex_t lock;
	struct sl_cache_back back;
	struct sl_cache_entry *entries; /* [lock] and everything below */
	struct sl_list lru;             /* newest use first */
	size_t n, bytes, max_entries, max_bytes;
	struct counts counts[SL_CACHE_SCOPES];
	uint64_t stores;
	uint64_t epoch;        /* counts the clears */
	struct sl_list puts;   /* of struct putting, under way; the oldest first */
	struct sl_list clears; /* of struct clearing, the oldest first */
};

struct loading {
	struct sl_cache *cache;
	struct sl_cache_key key;
	uint64_t epoch; /* as it was when this began */
};

struct putting {
	struct sl_list link;
	struct sl_cache *cache;
	uint64_t epoch;
};

struct clearing {
	struct sl_list link;
	struct sl_cache *cache;
	uint64_t epoch; /* the first after it */
	bool asked;     /* of what is behind; or about to be, in a row with `next` */
	struct clearing *next;
	sl_cache_done_fn *fn;
	void *arg;
	size_t scope_len;
	char scope[];
};

struct woken {
	const struct sl_wake *wake;
	void *handle;
};

enum sl_code sl_cache_new(const struct sl_cache_back *back, struct sl_cache **out)
{
	struct sl_cache *c = calloc(1, sizeof(*c));
	if (!c)
		return SL_NO_MEMORY;
	pthread_mutex_init(&c->lock, NULL);
	if (back)
		c->back = *back;
	c->max_entries = SL_CACHE_ENTRIES;
	c->max_bytes = SL_CACHE_BYTES;
	sl_list_init(&c->lru);
	sl_list_init(&c->puts);
	sl_list_init(&c->clears);
	*out = c;
	return SL_OK;
}

/* ---- [lock] ---- */

static size_t size_of(const struct sl_cache_entry *e)
{
	return sizeof(*e) + (e->output ? e->output->len : 0);
}

static void become_empty(struct sl_cache *c, struct sl_cache_entry *e)
{
	if (e->stage == READY) {
		sl_list_drop(&e->lru);
		c->n--;
		c->bytes -= size_of(e);
	}
	sl_bytes_unref(e->output);
	e->output = NULL;
	e->stage = EMPTY;
}

static void drop(struct sl_cache *c, struct sl_cache_entry *e)
{
	become_empty(c, e);
	HASH_DEL(c->entries, e);
	free(e);
}

static void drop_idle(struct sl_cache *c, struct sl_cache_entry *e)
{
	if (e->stage == EMPTY && sl_list_empty(&e->waiting))
		drop(c, e);
}

static void evict(struct sl_cache *c)
{
	struct sl_list *at = c->lru.prev;
	while (at != &c->lru && (c->n > c->max_entries || c->bytes > c->max_bytes)) {
		struct sl_cache_entry *e = sl_list_entry(at, struct sl_cache_entry, lru);
		at = at->prev;
		if (!sl_list_empty(&e->waiting)) /* they have been told, and come for it */
			continue;
		e->counts->evicted++;
		drop(c, e);
	}
}

static struct counts *counts_of(struct sl_cache *c, struct sl_str scope)
{
	size_t i = 0;
	while (i < SL_CACHE_SCOPES - 1 && c->counts[i].scope[0] && !sl_str_is(scope, c->counts[i].scope))
		i++;
	if (!c->counts[i].scope[0])
		(void)snprintf(c->counts[i].scope, sizeof(c->counts[i].scope), SL_STR_FMT, SL_STR_ARG(scope));
	return &c->counts[i];
}

static struct woken ref_of(const struct sl_cache_ticket *t)
{
	return t->wake ? (struct woken){t->wake, t->wake->ref(t->handle)} : (struct woken){0};
}

static struct woken first_of(struct sl_cache_entry *e)
{
	if (sl_list_empty(&e->waiting))
		return (struct woken){0};
	return ref_of(sl_list_entry(e->waiting.next, struct sl_cache_ticket, link));
}

static void wake(struct woken w) /* without the lock */
{
	if (!w.wake)
		return;
	w.wake->wake(w.handle);
	w.wake->unref(w.handle);
}

/* All who wait are told one after the other, outside of the lock: who was told asks again, and the one after is told.
 */
static void unqueue(struct sl_cache_ticket *t)
{
	sl_list_drop(&t->link);
	t->state = SL_CACHE_OUT;
}

static void become_ready(struct sl_cache *c, struct sl_cache_entry *e, struct sl_bytes *output, struct sl_str source,
			 int64_t created_ms, int64_t expires_ms)
{
	e->stage = READY;
	e->output = output; /* taken */
	(void)snprintf(e->source, sizeof(e->source), SL_STR_FMT, SL_STR_ARG(source));
	e->created_ms = created_ms;
	e->expires_ms = expires_ms;
	sl_list_init(&e->lru);
	c->lru.next->prev = &e->lru; /* to the front */
	e->lru.next = c->lru.next;
	e->lru.prev = &c->lru;
	c->lru.next = &e->lru;
	c->n++;
	c->bytes += size_of(e);
}

static void use(struct sl_cache *c, struct sl_cache_entry *e)
{
	sl_list_drop(&e->lru);
	e->lru.next = c->lru.next;
	e->lru.prev = &c->lru;
	c->lru.next->prev = &e->lru;
	c->lru.next = &e->lru;
}

static void loaded(void *arg, enum sl_code rc, struct sl_str output, struct sl_str source, int64_t created_ms,
		   int64_t expires_ms)
{
	struct loading *l = arg;
	struct sl_cache *c = l->cache;
	struct sl_cache_entry *e;
	struct woken next = {0};
	struct sl_bytes *bytes = rc == SL_OK ? sl_bytes_new(output.p, output.len) : NULL;
	pthread_mutex_lock(&c->lock);
	HASH_FIND(hh, c->entries, &l->key, sizeof(l->key), e);
	if (e && e->stage == LOADING) {
		if (bytes && l->epoch == c->epoch) {
			become_ready(c, e, bytes, source, created_ms, expires_ms);
			bytes = NULL;
		} else {
			e->stage = EMPTY;
		}
		next = first_of(e);
		drop_idle(c, e);
	}
	pthread_mutex_unlock(&c->lock);
	sl_bytes_unref(bytes);
	free(l);
	wake(next);
}

static struct sl_cache_entry *entry_new(struct sl_cache *c, const struct sl_cache_key *key, struct sl_str scope)
{
	struct sl_cache_entry *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->key = *key;
	e->counts = counts_of(c, scope);
	sl_list_init(&e->waiting);
	HASH_ADD(hh, c->entries, key, sizeof(e->key), e);
	if (e->hh.tbl)
		return e;
	free(e);
	return NULL;
}

/* ---- [any] ---- */

void sl_cache_free(struct sl_cache *c)
{
	struct sl_cache_entry *e, *tmp;
	if (!c)
		return;
	SL_BUG_ON(!sl_list_empty(&c->puts) || !sl_list_empty(&c->clears));
	HASH_ITER (hh, c->entries, e, tmp) {
		SL_BUG_ON(e->stage == MAKING || !sl_list_empty(&e->waiting));
		drop(c, e);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void sl_cache_limits(struct sl_cache *c, size_t entries, size_t bytes)
{
	pthread_mutex_lock(&c->lock);
	c->max_entries = entries;
	c->max_bytes = bytes;
	evict(c);
	pthread_mutex_unlock(&c->lock);
}

enum sl_cache_answer sl_cache_ask(struct sl_cache *c, const struct sl_cache_key *key, struct sl_str scope,
				  struct sl_cache_ticket *t, const struct sl_wake *w, void *handle, int64_t now_ms,
				  struct sl_cache_hit *hit)
{
	struct sl_cache_entry *e;
	struct loading *load = NULL;
	struct woken next = {0};
	enum sl_cache_answer a = SL_CACHE_WAIT;
	bool asked_before = t->state == SL_CACHE_WAITING;
	pthread_mutex_lock(&c->lock);
	HASH_FIND(hh, c->entries, key, sizeof(*key), e);
	if (!e) {
		e = entry_new(c, key, scope);
		if (e && c->back.get && sl_list_empty(&c->clears) && (load = malloc(sizeof(*load))) != NULL) {
			*load = (struct loading){c, *key, c->epoch};
			e->stage = LOADING;
		}
	}
	if (e && e->stage == READY && now_ms >= e->expires_ms) { /* behind the memory it has expired, too */
		become_empty(c, e);
		e->counts->expired++;
	}
	if (!e) {
		a = SL_CACHE_NONE;
	} else if (e->stage == READY) {
		if (asked_before) {
			unqueue(t);
			next = first_of(e); /* the one after is told, too */
		}
		use(c, e);
		e->counts->hits++;
		*hit = (struct sl_cache_hit){.output = sl_bytes_ref(e->output), .created_ms = e->created_ms};
		memcpy(hit->source, e->source, sizeof(hit->source));
		a = SL_CACHE_HIT;
		evict(c); /* what was loaded may have been too much */
	} else if (e->stage == EMPTY) {
		if (asked_before)
			unqueue(t);
		e->stage = MAKING;
		e->counts->misses++;
		t->entry = e;
		t->state = SL_CACHE_MAKING;
		a = SL_CACHE_MISS;
	} else if (!asked_before) {
		*t = (struct sl_cache_ticket){.entry = e, .wake = w, .handle = handle, .state = SL_CACHE_WAITING};
		sl_list_append(&e->waiting, &t->link);
		e->counts->joined += e->stage == MAKING;
	}
	pthread_mutex_unlock(&c->lock);
	wake(next);
	if (load)
		c->back.get(c->back.ctx, key, loaded, load);
	return a;
}

static void cleared(void *arg, enum sl_code rc)
{
	struct clearing *k = arg;
	struct sl_cache *c = k->cache;
	sl_cache_done_fn *fn = k->fn;
	void *fn_arg = k->arg;
	pthread_mutex_lock(&c->lock);
	sl_list_drop(&k->link);
	pthread_mutex_unlock(&c->lock);
	free(k);
	fn(fn_arg, rc); /* the last: c may be gone with it */
}

/* [lock] The clears that no older put holds up any more, once each. Puts that came after one do not hold it up, so its
 * turn comes however many there are. */
static struct clearing *take_turns(struct sl_cache *c)
{
	const struct putting *oldest =
		sl_list_empty(&c->puts) ? NULL : sl_list_entry(c->puts.next, struct putting, link);
	struct clearing *first = NULL, **last = &first;
	sl_list_each (at, &c->clears) {
		struct clearing *k = sl_list_entry(at, struct clearing, link);
		if (k->asked || (oldest && oldest->epoch < k->epoch))
			continue;
		k->asked = true;
		*last = k;
		last = &k->next;
	}
	return first;
}

/* Without the lock. Each may be gone once it is asked, and the cache with the last one. */
static void ask_to_clear(struct clearing *k)
{
	while (k) {
		struct clearing *next = k->next;
		const struct sl_cache_back *back = &k->cache->back;
		back->clear(back->ctx, sl_str_n(k->scope, k->scope_len), cleared, k);
		k = next;
	}
}

static void put_done(void *arg, enum sl_code rc) /* whatever came of it: it is not under way any more */
{
	struct putting *p = arg;
	struct sl_cache *c = p->cache;
	pthread_mutex_lock(&c->lock);
	sl_list_drop(&p->link);
	struct clearing *turns = take_turns(c);
	pthread_mutex_unlock(&c->lock);
	free(p);
	ask_to_clear(turns);
}

void sl_cache_done(struct sl_cache *c, struct sl_cache_ticket *t, struct sl_bytes *output, struct sl_str source,
		   uint32_t ttl_s, int64_t now_ms)
{
	struct sl_cache_entry *e = t->entry;
	struct woken next = {0};
	bool kept = output && output->len <= SL_CACHE_ENTRY_BYTES, sweep = false;
	struct putting *put = NULL;
	struct sl_cache_key key;
	char scope[24];
	int64_t expires_ms = now_ms + (int64_t)ttl_s * 1000;
	if (t->state != SL_CACHE_MAKING)
		return;
	if (kept && c->back.put)
		put = malloc(sizeof(*put)); /* without memory: it stays in the memory we have */
	pthread_mutex_lock(&c->lock);
	t->state = SL_CACHE_OUT;
	key = e->key;
	memcpy(scope, e->counts->scope, sizeof(scope));
	if (kept) {
		e->counts->stored++;
		sweep = ++c->stores % SWEEP_EVERY == 0;
		become_ready(c, e, sl_bytes_ref(output), source, now_ms, expires_ms);
	} else {
		e->stage = EMPTY;
	}
	if (put) { /* under the same lock: a clear that finds the answer in memory waits for it behind */
		*put = (struct putting){.cache = c, .epoch = c->epoch};
		sl_list_append(&c->puts, &put->link);
	}
	next = first_of(e);
	drop_idle(c, e);
	evict(c);
	pthread_mutex_unlock(&c->lock);
	wake(next);
	if (put)
		c->back.put(c->back.ctx, &key, sl_str(scope), output, source, expires_ms, put_done, put);
	if (sweep && c->back.sweep)
		c->back.sweep(c->back.ctx);
}

void sl_cache_leave(struct sl_cache *c, struct sl_cache_ticket *t)
{
	struct woken next = {0};
	pthread_mutex_lock(&c->lock);
	if (t->state == SL_CACHE_WAITING) {
		struct sl_cache_entry *e = t->entry;
		bool first = e->waiting.next == &t->link;
		unqueue(t);
		if (first && (e->stage == EMPTY || e->stage == READY)) /* it had been told, and told nobody */
			next = first_of(e);
		drop_idle(c, e);
	}
	pthread_mutex_unlock(&c->lock);
	wake(next);
}

/* [lock] What is there, or is being looked up, is not given any more. */
static void forget(struct sl_cache *c, struct sl_str scope)
{
	struct sl_cache_entry *e, *tmp;
	HASH_ITER (hh, c->entries, e, tmp) {
		if (e->stage != READY || (scope.len && !sl_str_is(scope, e->counts->scope)))
			continue;
		become_empty(c, e); /* whoever was told to come for it makes it */
		drop_idle(c, e);
	}
	c->epoch++;
}

void sl_cache_forget(struct sl_cache *c)
{
	pthread_mutex_lock(&c->lock);
	forget(c, SL_STR(""));
	pthread_mutex_unlock(&c->lock);
}

void sl_cache_clear(struct sl_cache *c, struct sl_str scope, sl_cache_done_fn *fn, void *arg)
{
	struct clearing *k = c->back.clear ? malloc(sizeof(*k) + scope.len) : NULL, *turns = NULL;
	enum sl_code rc = c->back.clear && !k ? SL_NO_MEMORY : SL_OK;
	pthread_mutex_lock(&c->lock);
	forget(c, scope);
	if (k) {
		*k = (struct clearing){.cache = c, .epoch = c->epoch, .fn = fn, .arg = arg, .scope_len = scope.len};
		if (scope.len)
			memcpy(k->scope, scope.p, scope.len);
		sl_list_append(&c->clears, &k->link);
		turns = take_turns(c);
	}
	pthread_mutex_unlock(&c->lock);
	if (k)
		ask_to_clear(turns);
	else
		fn(arg, rc);
}

static void counts_json(struct sl_buf *out, const struct counts *k)
{
	uint64_t asked = k->hits + k->misses;
	sl_buf_json_ku64(out, "hits", k->hits);
	sl_buf_json_ku64(out, "misses", k->misses);
	sl_buf_json_ku64(out, "joined", k->joined);
	sl_buf_json_ku64(out, "stored", k->stored);
	sl_buf_json_ku64(out, "evicted", k->evicted);
	sl_buf_json_ku64(out, "expired", k->expired);
	sl_buf_json_kf64(out, "hit_rate", asked ? (double)k->hits / (double)asked : 0);
}

void sl_cache_json(struct sl_cache *c, struct sl_buf *out)
{
	struct counts sum = {0};
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < SL_CACHE_SCOPES; i++) {
		const struct counts *k = &c->counts[i];
		sum.hits += k->hits, sum.misses += k->misses, sum.joined += k->joined;
		sum.stored += k->stored, sum.evicted += k->evicted, sum.expired += k->expired;
	}
	sl_buf_addc(out, '{');
	sl_buf_json_ku64(out, "entries", c->n);
	sl_buf_json_ku64(out, "bytes", c->bytes);
	sl_buf_json_ku64(out, "max_entries", c->max_entries);
	sl_buf_json_ku64(out, "max_bytes", c->max_bytes);
	counts_json(out, &sum);
	sl_buf_json_key(out, "scopes");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < SL_CACHE_SCOPES && c->counts[i].scope[0]; i++) {
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "scope", c->counts[i].scope);
		counts_json(out, &c->counts[i]);
		sl_buf_addc(out, '}');
	}
	sl_buf_adds(out, "]}");
	pthread_mutex_unlock(&c->lock);
}
