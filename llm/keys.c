/* llm/keys.c: see keys.h. */
#include "llm/named.h"

#include "llm/keys.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/log.h"
#include "llm/profile_priv.h"

#define NAMES 2000

struct key {
	unsigned mark; /* of the sealed key: another one is another key */
	char last4[5];
	enum sl_key_state state;
	uint64_t until_ms;
	uint32_t in_flight;
	uint64_t calls, failures;
};

struct ring { /* the keys of one profile */
	char *name;
	UT_hash_handle hh;
	struct key *keys;
	uint32_t n, cap;
};

struct sl_keys {
	pthread_mutex_t lock;
	struct ring *rings; /* [lock] */
};

enum sl_code sl_keys_new(struct sl_keys **out)
{
	struct sl_keys *k = calloc(1, sizeof(*k));
	if (!k)
		return SL_NO_MEMORY;
	pthread_mutex_init(&k->lock, NULL);
	*out = k;
	return SL_OK;
}

static void drop(struct sl_keys *k, struct ring *r)
{
	HASH_DEL(k->rings, r);
	free(r->keys);
	free(r->name);
	free(r);
}

void sl_keys_free(struct sl_keys *k)
{
	struct ring *r, *tmp;
	if (!k)
		return;
	HASH_ITER (hh, k->rings, r, tmp)
		drop(k, r);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

const char *sl_key_state_name(enum sl_key_state state)
{
	static const char *const names[] = {"fit", "rests", "parked", "out"};
	return names[state];
}

static bool ring_idle(const struct ring *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->keys[i].in_flight || r->keys[i].state != SL_KEY_FIT)
			return false;
	return true;
}

/* [lock] With as many keys as the profile has now. NULL: no memory. */
static struct ring *ring_of(struct sl_keys *k, const struct sl_profile *p)
{
	struct ring *r, *tmp;
	uint32_t n = p->n_keys ? (uint32_t)p->n_keys : 1;
	HASH_FIND(hh, k->rings, p->name, strlen(p->name), r);
	if (!r) {
		if (HASH_COUNT(k->rings) >= NAMES) {
			struct ring *old;
			HASH_ITER (hh, k->rings, old, tmp) {
				if (ring_idle(old))
					drop(k, old);
			}
		}
		r = calloc(1, sizeof(*r));
		if (r)
			r->name = strdup(p->name);
		if (r && r->name) {
			HASH_ADD_KEYPTR(hh, k->rings, r->name, strlen(r->name), r);
		}
		if (!r || !r->name || !r->hh.tbl) {
			if (r)
				free(r->name);
			free(r);
			return NULL;
		}
	}
	if (n > r->cap) {
		struct key *keys = realloc(r->keys, n * sizeof(*keys));
		if (!keys)
			return NULL;
		memset(keys + r->cap, 0, (n - r->cap) * sizeof(*keys));
		r->keys = keys;
		r->cap = n;
	}
	r->n = n;
	for (uint32_t i = 0; i < r->n; i++) {
		struct key *one = &r->keys[i];
		const char *sealed = i < p->n_keys ? p->keys[i].sealed : "";
		unsigned mark = sl_named_hash(sealed, strlen(sealed));
		if (mark == one->mark)
			continue;
		/* calls that are under way end on this place, whoever has it now */
		*one = (struct key){.mark = mark, .in_flight = one->in_flight};
		if (i < p->n_keys)
			memcpy(one->last4, p->keys[i].last4, sizeof(one->last4));
	}
	return r;
}

static void refresh(struct key *one, uint64_t now)
{
	if ((one->state == SL_KEY_RESTS || one->state == SL_KEY_PARKED) && now >= one->until_ms)
		one->state = SL_KEY_FIT;
}

uint32_t sl_keys_lanes(struct sl_keys *k, const struct sl_profile *p, struct sl_lane *out, uint32_t max,
		       uint64_t now_ms)
{
	uint32_t n = p->n_keys ? (uint32_t)p->n_keys : 1;
	pthread_mutex_lock(&k->lock);
	struct ring *r = ring_of(k, p);
	for (uint32_t i = 0; i < n && i < max; i++) {
		out[i] = (struct sl_lane){0};
		if (!r)
			continue;
		refresh(&r->keys[i], now_ms);
		out[i] =
			(struct sl_lane){r->keys[i].state, r->keys[i].until_ms, r->keys[i].in_flight, r->keys[i].calls};
	}
	pthread_mutex_unlock(&k->lock);
	return n;
}

void sl_keys_begin(struct sl_keys *k, const struct sl_profile *p, uint32_t lane)
{
	pthread_mutex_lock(&k->lock);
	struct ring *r = ring_of(k, p);
	if (r && lane < r->n) {
		r->keys[lane].in_flight++;
		r->keys[lane].calls++;
	}
	pthread_mutex_unlock(&k->lock);
}

void sl_keys_end(struct sl_keys *k, const struct sl_profile *p, uint32_t lane, enum sl_code code,
		 uint32_t retry_after_ms, uint64_t now_ms)
{
	enum sl_key_state now = SL_KEY_FIT;
	pthread_mutex_lock(&k->lock);
	struct ring *r;
	HASH_FIND(hh, k->rings, p->name, strlen(p->name), r);
	struct key *one = r && lane < r->n ? &r->keys[lane] : NULL;
	if (one) {
		const char *sealed = lane < p->n_keys ? p->keys[lane].sealed : "";
		if (one->in_flight)
			one->in_flight--;
		if (one->mark != sl_named_hash(sealed, strlen(sealed)))
			one = NULL; /* what this call met was another key's */
	}
	if (one && code != SL_OK && code != SL_CANCELLED)
		one->failures++;
	if (one) {
		uint64_t rest = 0;
		if (code == SL_PROVIDER_AUTH)
			now = SL_KEY_OUT;
		else if (code == SL_QUOTA_EXHAUSTED)
			now = SL_KEY_PARKED, rest = SL_KEYS_PARKED_MS;
		else if (code == SL_RATE_LIMITED)
			now = SL_KEY_RESTS, rest = retry_after_ms ? retry_after_ms : SL_KEYS_REST_MS;
		if (now != SL_KEY_FIT && one->state != SL_KEY_OUT &&
		    (now == SL_KEY_OUT || now_ms + rest > one->until_ms)) {
			one->state = now;
			one->until_ms = now_ms + rest;
		} else {
			now = SL_KEY_FIT;
		}
	}
	pthread_mutex_unlock(&k->lock);
	if (now == SL_KEY_OUT || now == SL_KEY_PARKED)
		sl_log(SL_LOG_WARN, "llm", "a provider's key is not used any more", SL_KS("profile", p->name),
		       SL_KU("key", lane + 1), SL_KS("state", sl_key_state_name(now)),
		       SL_KS("reason", sl_code_wire(code)));
}

void sl_keys_json(struct sl_keys *k, struct sl_buf *out, uint64_t now_ms)
{
	struct ring *r, *tmp;
	pthread_mutex_lock(&k->lock);
	HASH_ITER (hh, k->rings, r, tmp) {
		for (uint32_t i = 0; i < r->n; i++) {
			struct key *one = &r->keys[i];
			char masked[16];
			refresh(one, now_ms);
			(void)snprintf(masked, sizeof(masked), "\xe2\x80\xa6%s", one->last4);
			sl_buf_json_comma(out);
			sl_buf_addc(out, '{');
			sl_buf_json_kz(out, "profile", r->name);
			sl_buf_json_ku64(out, "lane", i + 1);
			sl_buf_json_kz(out, "key", one->last4[0] ? masked : NULL);
			sl_buf_json_kz(out, "state", sl_key_state_name(one->state));
			sl_buf_json_ku64(
				out, "until_in_ms",
				one->state == SL_KEY_RESTS || one->state == SL_KEY_PARKED ? one->until_ms - now_ms : 0);
			sl_buf_json_ku64(out, "in_flight", one->in_flight);
			sl_buf_json_ku64(out, "calls", one->calls);
			sl_buf_json_ku64(out, "failures", one->failures);
			sl_buf_addc(out, '}');
		}
	}
	pthread_mutex_unlock(&k->lock);
}

enum sl_code sl_keys_reset(struct sl_keys *k, struct sl_str name)
{
	struct ring *r, *tmp;
	bool found = false;
	pthread_mutex_lock(&k->lock);
	HASH_ITER (hh, k->rings, r, tmp) {
		for (uint32_t i = 0; i < r->n; i++) {
			char one[96];
			(void)snprintf(one, sizeof(one), "%s-%u", r->name, i + 1);
			if (!sl_str_is(name, r->name) && !sl_str_is(name, one))
				continue;
			r->keys[i].state = SL_KEY_FIT;
			r->keys[i].until_ms = 0;
			found = true;
		}
	}
	pthread_mutex_unlock(&k->lock);
	return found ? SL_OK : SL_NOT_FOUND;
}
