/* llm/profile.c: see profile.h. The set is a small sorted array; a change makes a new profile and swaps one pointer, so
 * a call that is running keeps the one it began with. */
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "llm/profile_priv.h"
#include "llm/protocol.h"
#include "llm/seal.h"

#define PROFILE_BYTES (64u << 10) /* of a stored one, without its keys; more is refused */

struct sl_profile *sl_profile_new(struct sl_str name)
{
	struct sl_profile *one = calloc(1, sizeof(*one));
	if (!one)
		return NULL;
	atomic_init(&one->refs, 1);
	one->temperature = one->top_p = NAN;
	one->timeouts = SL_PROFILE_TIMEOUTS_DEFAULT;
	one->cached_nanousd = -1;
	one->name = sl_str_dup(name);
	if (!one->name) {
		free(one);
		return NULL;
	}
	return one;
}

struct sl_profile *sl_profile_ref(struct sl_profile *one)
{
	if (one)
		atomic_fetch_add_explicit(&one->refs, 1, memory_order_relaxed);
	return one;
}

void sl_profile_unref(struct sl_profile *one)
{
	if (!one || atomic_fetch_sub_explicit(&one->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < one->n_keys; i++)
		free(one->keys[i].sealed);
	for (size_t i = 0; i < one->n_fallbacks; i++)
		free(one->fallbacks[i]);
	free(one->keys);
	free(one->fallbacks);
	free(one->name);
	free(one->provider);
	free(one->model);
	free(one->base_url);
	free(one->api_version);
	free(one->thinking);
	free(one);
}

void sl_profile_row_fini(struct sl_profile_row *row)
{
	free(row->name);
	sl_bytes_unref(row->body);
	sl_bytes_unref(row->keys);
	*row = (struct sl_profile_row){0};
}

enum sl_code sl_profiles_new(const uint8_t secret[SL_SECRET_KEY_BYTES], struct sl_profiles **out)
{
	struct sl_profiles *p = sodium_init() < 0 ? NULL : calloc(1, sizeof(*p));
	if (!p)
		return SL_NO_MEMORY;
	p->secret = sodium_malloc(SL_SECRET_KEY_BYTES); /* not in core dumps, not in swap */
	if (!p->secret) {
		free(p);
		return SL_NO_MEMORY;
	}
	memcpy(p->secret, secret, SL_SECRET_KEY_BYTES);
	sodium_mprotect_readonly(p->secret);
	pthread_mutex_init(&p->lock, NULL);
	*out = p;
	return SL_OK;
}

void sl_profiles_free(struct sl_profiles *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		sl_profile_unref(p->items[i]);
	free(p->items);
	sodium_free(p->secret);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int profile_order(const struct sl_profile *a, const struct sl_profile *b)
{
	int by_name = strcmp(a->name, b->name);
	return by_name ? by_name : (a->origin != SL_PROFILE_STORED) - (b->origin != SL_PROFILE_STORED);
}

enum sl_code sl_profile_publish(struct sl_profiles *p, struct sl_profile *one)
{
	struct sl_profile *old = NULL;
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&p->lock);
	size_t at = 0;
	while (at < p->n && profile_order(p->items[at], one) < 0)
		at++;
	if (at < p->n && profile_order(p->items[at], one) == 0) {
		old = p->items[at];
		p->items[at] = one;
	} else {
		if (p->n == p->cap) {
			size_t cap = p->cap ? 2 * p->cap : 16;
			struct sl_profile **items = realloc(p->items, cap * sizeof(struct sl_profile *));
			if (items)
				p->items = items, p->cap = cap;
			else
				rc = SL_NO_MEMORY;
		}
		if (rc == SL_OK) {
			memmove(p->items + at + 1, p->items + at, (p->n - at) * sizeof(struct sl_profile *));
			p->items[at] = one;
			p->n++;
		} else {
			old = one;
		}
	}
	pthread_mutex_unlock(&p->lock);
	sl_profile_unref(old);
	return rc;
}

/* [lock] The index of what answers to a name; -1: none. A stored profile comes before one of the environment. */
static long find(const struct sl_profiles *p, struct sl_str name)
{
	for (size_t i = 0; i < p->n; i++)
		if (sl_str_is(name, p->items[i]->name))
			return (long)i;
	return -1;
}

static bool hidden(const struct sl_profiles *p, size_t i)
{
	return i > 0 && strcmp(p->items[i]->name, p->items[i - 1]->name) == 0;
}

/* [lock] Asked for, else the environment in the contract's order, else stored, by name; the simulator last. */
static long find_default(const struct sl_profiles *p)
{
	long best = -1, env = -1, stored = -1, any = -1;
	ptrdiff_t env_rank = PTRDIFF_MAX;
	for (size_t i = 0; i < p->n; i++) {
		const struct sl_profile *one = p->items[i];
		const struct sl_provider *provider = sl_provider_find(sl_str(one->provider));
		if (hidden(p, i) || one->kind != SL_PROFILE_CHAT)
			continue;
		if (one->default_since_ms && (best < 0 || one->default_since_ms > p->items[best]->default_since_ms))
			best = (long)i;
		if (one->origin == SL_PROFILE_FROM_ENV && provider && provider - sl_provider_table < env_rank) {
			env_rank = provider - sl_provider_table;
			env = (long)i;
		}
		if (one->origin == SL_PROFILE_STORED && stored < 0)
			stored = (long)i;
		if (any < 0)
			any = (long)i;
	}
	return best >= 0 ? best : env >= 0 ? env : stored >= 0 ? stored : any;
}

struct sl_profile *sl_profiles_get(struct sl_profiles *p, struct sl_str name)
{
	pthread_mutex_lock(&p->lock);
	long i = name.len ? find(p, name) : find_default(p);
	struct sl_profile *one = i >= 0 ? sl_profile_ref(p->items[i]) : NULL;
	pthread_mutex_unlock(&p->lock);
	return one;
}

struct sl_profile *sl_profiles_get_embedding(struct sl_profiles *p)
{
	struct sl_profile *best = NULL;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++) {
		struct sl_profile *one = p->items[i];
		if (hidden(p, i) || one->kind != SL_PROFILE_EMBEDDING)
			continue;
		if (!best || one->default_since_ms > best->default_since_ms ||
		    (one->default_since_ms == best->default_since_ms && one->origin < best->origin))
			best = one;
	}
	sl_profile_ref(best);
	pthread_mutex_unlock(&p->lock);
	return best;
}

struct sl_profile *sl_profiles_find_provider(struct sl_profiles *p, struct sl_str provider)
{
	struct sl_profile *one = NULL;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n && !one; i++)
		if (!hidden(p, i) && p->items[i]->kind == SL_PROFILE_CHAT && sl_str_is(provider, p->items[i]->provider))
			one = sl_profile_ref(p->items[i]);
	pthread_mutex_unlock(&p->lock);
	return one;
}

struct sl_profile *sl_profiles_choose(struct sl_profiles *p, struct sl_str profile, struct sl_str provider,
				      struct sl_str model)
{
	if (profile.len == 0 && provider.len)
		return sl_profiles_find_provider(p, provider);
	struct sl_profile *one = sl_profiles_get(p, profile);
	const struct sl_provider *guess = profile.len || model.len == 0 ? NULL : sl_provider_of_model(model);
	if (!guess || (one && (one->default_since_ms || strcmp(one->provider, guess->id) == 0)))
		return one;
	struct sl_profile *better = sl_profiles_find_provider(p, sl_str(guess->id));
	if (!better)
		return one;
	sl_profile_unref(one);
	return better;
}

size_t sl_profiles_count(struct sl_profiles *p)
{
	pthread_mutex_lock(&p->lock);
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		n += !hidden(p, i);
	pthread_mutex_unlock(&p->lock);
	return n;
}

bool sl_profiles_only_sim(struct sl_profiles *p)
{
	bool only = true;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++)
		only = only && (p->items[i]->simulated || p->items[i]->kind != SL_PROFILE_CHAT);
	pthread_mutex_unlock(&p->lock);
	return only;
}

/* ---- keys ---- */

enum sl_code sl_profile_add_key(struct sl_profiles *p, struct sl_profile *one, struct sl_str key)
{
	struct sl_sealed_key k = {0};
	struct sl_sealed_key *keys = realloc(one->keys, (one->n_keys + 1) * sizeof(*keys));
	if (!keys)
		return SL_NO_MEMORY;
	one->keys = keys;
	enum sl_code rc = sl_seal(p->secret, sl_str(one->name), one->n_keys, key, &k.sealed);
	if (rc != SL_OK)
		return rc;
	if (key.len >= 12) /* of a shorter one, four characters are too many to show */
		memcpy(k.last4, key.p + key.len - 4, 4);
	keys[one->n_keys++] = k;
	return SL_OK;
}

enum sl_code sl_profile_open_key(struct sl_profiles *p, const struct sl_profile *one, size_t index, char **out)
{
	if (index >= one->n_keys)
		return SL_NOT_FOUND;
	return sl_unseal(p->secret, sl_str(one->name), index, sl_str(one->keys[index].sealed), out);
}

/* scheme://host:port of an address; a key must not follow a profile to another host unseen */
static struct sl_str origin_of(const char *url)
{
	const char *host = strstr(url, "://");
	const char *end = host ? strchr(host + 3, '/') : NULL;
	return end ? sl_str_n(url, (size_t)(end - url)) : sl_str(url);
}

static enum sl_code take_keys(struct sl_profiles *p, struct sl_profile *one, struct json_object *given)
{
	enum sl_code rc = SL_OK;
	if (given) {
		for (size_t i = 0; rc == SL_OK && i < json_object_array_length(given); i++)
			rc = sl_profile_add_key(p, one, sl_json_str(json_object_array_get_idx(given, i)));
		return rc;
	}
	SL_AUTO(sl_profile) old = sl_profiles_get(p, sl_str(one->name));
	if (!old || !sl_str_eq(origin_of(old->base_url), origin_of(one->base_url)))
		return SL_OK;
	for (size_t i = 0; rc == SL_OK && i < old->n_keys; i++) {
		char *key = NULL;
		rc = sl_profile_open_key(p, old, i, &key);
		if (rc == SL_OK)
			rc = sl_profile_add_key(p, one, sl_str(key));
		sl_seal_wipe(key);
	}
	return rc;
}

/* ---- rows ---- */

static enum sl_code write_row(const struct sl_profile *one, struct sl_profile_row *row)
{
	SL_BUF(body, PROFILE_BYTES);
	SL_BUF(keys, 1u << 18);
	sl_buf_addc(&body, '{');
	sl_profile_write_body(one, &body);
	if (one->default_since_ms) {
		sl_buf_json_kbool(&body, "default", true);
		sl_buf_json_ki64(&body, "default_since_ms", one->default_since_ms);
	}
	sl_buf_addc(&body, '}');
	sl_buf_addc(&keys, '[');
	for (size_t i = 0; i < one->n_keys; i++) {
		if (i)
			sl_buf_addc(&keys, ',');
		sl_buf_json_str(&keys, sl_str(one->keys[i].sealed));
	}
	sl_buf_addc(&keys, ']');
	if (body.failed && !body.no_memory)
		return SL_TOO_LARGE;
	*row = (struct sl_profile_row){strdup(one->name), sl_buf_bytes(&body), sl_buf_bytes(&keys)};
	if (row->name && row->body && row->keys)
		return SL_OK;
	sl_profile_row_fini(row);
	return SL_NO_MEMORY;
}

static enum sl_code make(struct sl_profiles *p, struct sl_str name, struct json_object *body,
			 struct sl_profile_row *row, struct sl_profile **out, struct sl_buf *problems,
			 struct sl_error *err)
{
	if (!sl_profile_name_ok(name))
		return sl_fail(
			err, SL_INVALID,
			"a profile's name is 1 to 64 of a-z, 0-9, '-', '_', '.', beginning with a letter or digit");
	SL_AUTO(sl_profile) one = sl_profile_new(name);
	if (!one)
		return sl_fail(err, SL_NO_MEMORY, "profile");
	one->origin = SL_PROFILE_STORED;
	enum sl_code rc = sl_profile_read(one, body, problems, err);
	if (rc != SL_OK)
		return rc;
	rc = take_keys(p, one, sl_json_get(body, "api_keys"));
	if (rc == SL_OK)
		rc = write_row(one, row);
	if (rc == SL_TOO_LARGE)
		return sl_fail(err, rc, "profile '%s': larger than %u bytes", one->name, PROFILE_BYTES);
	if (rc != SL_OK)
		return sl_fail(err, rc, "profile '%s': its keys cannot be sealed", one->name);
	*out = SL_TAKE(one);
	return SL_OK;
}

enum sl_code sl_profiles_check(struct sl_profiles *p, struct sl_str name, struct json_object *body,
			       struct sl_profile_row *row, struct sl_buf *problems, struct sl_error *err)
{
	struct sl_profile *one = NULL;
	enum sl_code rc = make(p, name, body, row, &one, problems, err);
	sl_profile_unref(one);
	return rc;
}

enum sl_code sl_profiles_put(struct sl_profiles *p, struct sl_str name, struct json_object *body,
			     struct sl_profile_row *row, struct sl_buf *problems, struct sl_error *err)
{
	struct sl_profile *one = NULL;
	enum sl_code rc = make(p, name, body, row, &one, problems, err);
	if (rc == SL_OK && (rc = sl_profile_publish(p, one)) != SL_OK) {
		sl_profile_row_fini(row);
		return sl_fail(err, rc, "profile");
	}
	return rc;
}

static void hash_row(struct sl_str body, struct sl_str keys, uint8_t out[SL_PROFILE_ROW_BYTES])
{
	crypto_generichash_state h;
	crypto_generichash_init(&h, NULL, 0, SL_PROFILE_ROW_BYTES);
	crypto_generichash_update(&h, (const unsigned char *)&body.len, sizeof(body.len));
	crypto_generichash_update(&h, (const unsigned char *)body.p, body.len);
	crypto_generichash_update(&h, (const unsigned char *)keys.p, keys.len);
	crypto_generichash_final(&h, out, SL_PROFILE_ROW_BYTES);
}

static bool in_force(struct sl_profiles *p, const struct sl_profile *one)
{
	pthread_mutex_lock(&p->lock);
	long i = find(p, sl_str(one->name));
	bool same = i >= 0 && p->items[i]->origin == SL_PROFILE_STORED &&
		    memcmp(p->items[i]->row, one->row, sizeof(one->row)) == 0;
	pthread_mutex_unlock(&p->lock);
	return same;
}

enum sl_code sl_profiles_load(struct sl_profiles *p, struct sl_str name, struct sl_str body, struct sl_str keys,
			      struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	SL_AUTO_JSON list = NULL;
	SL_AUTO(sl_profile) one = sl_profile_new(name);
	if (!one)
		return sl_fail(err, SL_NO_MEMORY, "profile");
	one->origin = SL_PROFILE_STORED;
	hash_row(body, keys, one->row);
	if (in_force(p, one))
		return SL_OK;
	enum sl_code rc = sl_json_parse(body, &doc, err);
	if (rc == SL_OK)
		rc = sl_profile_read(one, doc, NULL, err);
	if (rc == SL_OK && keys.len)
		rc = sl_json_parse(keys, &list, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "stored profile '%s'", one->name);
	enum sl_code opened = SL_OK;
	for (size_t i = 0; list && i < json_object_array_length(list) && opened == SL_OK; i++) {
		char *key = NULL;
		opened = sl_unseal(p->secret, name, i, sl_json_str(json_object_array_get_idx(list, i)), &key);
		if (opened == SL_OK)
			opened = sl_profile_add_key(p, one, sl_str(key));
		sl_seal_wipe(key);
	}
	if (opened != SL_OK) {
		for (size_t i = 0; i < one->n_keys; i++)
			free(one->keys[i].sealed);
		one->n_keys = 0;
		(void)sl_fail(err, opened,
			      "profile '%s': its keys do not open with this server's secret key; enter them again",
			      one->name);
	}
	rc = sl_profile_publish(p, SL_TAKE(one));
	return rc != SL_OK ? sl_fail(err, rc, "profile") : opened;
}

void sl_profiles_retain(struct sl_profiles *p, const struct sl_str *names, size_t n)
{
	size_t kept = 0;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++) {
		bool stays = p->items[i]->origin != SL_PROFILE_STORED;
		for (size_t k = 0; k < n && !stays; k++)
			stays = sl_str_is(names[k], p->items[i]->name);
		if (stays)
			p->items[kept++] = p->items[i];
		else
			sl_profile_unref(p->items[i]);
	}
	p->n = kept;
	pthread_mutex_unlock(&p->lock);
}

enum sl_code sl_profiles_delete(struct sl_profiles *p, struct sl_str name, struct sl_error *err)
{
	struct sl_profile *old = NULL;
	pthread_mutex_lock(&p->lock);
	long i = find(p, name);
	enum sl_code rc = i < 0 ? SL_NOT_FOUND : p->items[i]->origin != SL_PROFILE_STORED ? SL_CONFLICT : SL_OK;
	if (rc == SL_OK) {
		old = p->items[i];
		memmove(p->items + i, p->items + i + 1, (p->n - (size_t)i - 1) * sizeof(struct sl_profile *));
		p->n--;
	}
	pthread_mutex_unlock(&p->lock);
	sl_profile_unref(old);
	if (rc == SL_NOT_FOUND)
		return sl_fail(err, rc, "there is no profile '" SL_STR_FMT "'", SL_STR_ARG(name));
	if (rc == SL_CONFLICT)
		return sl_fail(err, rc,
			       "the profile '" SL_STR_FMT "' comes from the server's environment, not from here",
			       SL_STR_ARG(name));
	return rc;
}

/* ---- the environment, the simulator ---- */

/* OLLAMA_HOST may be host, host:port or an address, with or without /v1, and what its server listens on: 0.0.0.0.
 * The default's port and path complete it. */
static char *url_of_host(struct sl_str v, const char *otherwise)
{
	SL_BUF(b, 2048);
	const char *port = strrchr(otherwise, ':'), *path = strchr(port, '/'); /* both as in our table */
	size_t port_len = path ? (size_t)(path - port) : strlen(port);
	v = sl_str_trim(v);
	while (v.len && v.p[v.len - 1] == '/')
		v.len--;
	bool scheme = sl_str_starts(v, SL_STR("http://")) || sl_str_starts(v, SL_STR("https://"));
	if (v.len > 3 && memcmp(v.p + v.len - 3, "/v1", 3) == 0)
		v.len -= 3;
	if (!scheme) {
		struct sl_str all = SL_STR("0.0.0.0");
		sl_buf_adds(&b, "http://");
		if (sl_str_starts(v, all)) {
			sl_buf_adds(&b, "127.0.0.1");
			v.p += all.len, v.len -= all.len;
		}
	}
	sl_buf_add(&b, v.p, v.len);
	if (!scheme && !memchr(v.p, ':', v.len))
		sl_buf_add(&b, port, port_len);
	sl_buf_adds(&b, path ? path : "");
	return sl_buf_take(&b);
}

static enum sl_code from_env(struct sl_profiles *p, const struct sl_provider *provider, struct sl_str value,
			     const char *(*get)(const char *))
{
	char name[64];
	const char *url, *model, *version;
	SL_AUTO(sl_profile) one = sl_profile_new(sl_str(provider->id));
	if (!one)
		return SL_NO_MEMORY;
	size_t stem = strlen(provider->env); /* OPENAI_API_KEY also goes with OPENAI_BASE_URL and OPENAI_MODEL */
	const char *cut = strstr(provider->env, provider->env_is_url ? "_" : "_API_KEY");
	if (cut)
		stem = (size_t)(cut - provider->env);
	(void)snprintf(name, sizeof(name), "%.*s_BASE_URL", (int)stem, provider->env);
	url = get(provider->env_url ? provider->env_url : name);
	(void)snprintf(name, sizeof(name), "%.*s_MODEL", (int)stem, provider->env);
	model = get(provider->env_model ? provider->env_model : name);
	version = provider->env_version ? get(provider->env_version) : NULL;
	if (!url || !*url)
		url = provider->base_url;
	if (!model || !*model)
		model = provider->model;
	if (!url || !model) {
		sl_log(SL_LOG_WARN, "llm", "a provider's key is set, but not where it is or what to ask for",
		       SL_KS("provider", provider->id),
		       SL_KS("variable", url ? provider->env_model : provider->env_url));
		return SL_OK;
	}
	one->origin = SL_PROFILE_FROM_ENV;
	one->provider = strdup(provider->id);
	one->model = strdup(model);
	one->base_url = provider->env_is_url ? url_of_host(value, provider->base_url) : strdup(url);
	if (version && *version && !(one->api_version = strdup(version)))
		return SL_NO_MEMORY;
	if (provider->first_byte_ms)
		one->timeouts.first_byte_ms = provider->first_byte_ms;
	if (!one->provider || !one->model || !one->base_url)
		return SL_NO_MEMORY;
	for (size_t n = strlen(one->base_url); n && one->base_url[n - 1] == '/'; n--)
		one->base_url[n - 1] = 0;
	if (!provider->env_is_url) {
		enum sl_code rc = sl_profile_add_key(p, one, value);
		if (rc != SL_OK)
			return rc;
	}
	sl_log(SL_LOG_INFO, "llm", "profile from the environment", SL_KS("profile", provider->id));
	return sl_profile_publish(p, SL_TAKE(one));
}

size_t sl_profiles_from_env(struct sl_profiles *p, const char *(*get)(const char *))
{
	for (const struct sl_provider *provider = sl_provider_table; provider->id; provider++) {
		const char *v = provider->env ? get(provider->env) : NULL;
		struct sl_str value = sl_str_trim(sl_str(v));
		if (value.len == 0)
			continue;
		if (!provider->protocol) {
			sl_log(SL_LOG_WARN, "llm", "a provider's key is set, but its protocol is not supported yet",
			       SL_KS("provider", provider->id), SL_KS("variable", provider->env));
			continue;
		}
		enum sl_code rc = from_env(p, provider, value, get);
		if (rc != SL_OK)
			sl_log(SL_LOG_ERROR, "llm", "a profile from the environment could not be made",
			       SL_KS("provider", provider->id), SL_KS("reason", sl_code_wire(rc)));
	}
	return sl_profiles_count(p);
}

static enum sl_code add_sim(struct sl_profiles *p, const char *name, enum sl_profile_kind kind, const char *model,
			    const char *base_url)
{
	SL_AUTO(sl_profile) one = sl_profile_new(sl_str(name));
	if (!one)
		return SL_NO_MEMORY;
	one->kind = kind;
	one->origin = SL_PROFILE_BUILT_IN;
	one->simulated = true;
	one->provider = strdup("sim");
	one->model = strdup(model);
	one->base_url = strdup(base_url);
	if (!one->provider || !one->model || !one->base_url)
		return SL_NO_MEMORY;
	return sl_profile_publish(p, SL_TAKE(one));
}

enum sl_code sl_profiles_add_sim(struct sl_profiles *p, const char *name, const char *base_url)
{
	return add_sim(p, name, SL_PROFILE_CHAT, "sim", base_url);
}

enum sl_code sl_profiles_add_sim_embedding(struct sl_profiles *p, const char *base_url)
{
	return add_sim(p, "sim-embed", SL_PROFILE_EMBEDDING, "sim-embedding", base_url);
}

/* ---- JSON for clients ---- */

static void write_item(const struct sl_profile *one, bool is_default, bool detail, struct sl_buf *b)
{
	static const char *const origins[] = {"environment", "stored", "built_in"};
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "name", one->name);
	if (detail) {
		sl_profile_write_body(one, b);
	} else {
		sl_buf_json_kz(b, "provider", one->provider);
		sl_buf_json_kz(b, "model", one->model);
		sl_buf_json_kz(b, "base_url", one->base_url);
		sl_buf_json_kz(b, "kind", one->kind == SL_PROFILE_EMBEDDING ? "embedding" : "chat");
		sl_buf_json_kbool(b, "simulated", one->simulated);
	}
	sl_buf_json_kbool(b, "default", is_default);
	sl_buf_json_kz(b, "origin", origins[one->origin]);
	sl_buf_json_key(b, "keys");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < one->n_keys; i++)
		sl_buf_addf(b, "%s\"\xe2\x80\xa6%s\"", i ? "," : "", one->keys[i].last4); /* printable ASCII, checked */
	sl_buf_adds(b, "]}");
}

void sl_profiles_list_json(struct sl_profiles *p, struct sl_buf *out)
{
	pthread_mutex_lock(&p->lock);
	long chosen = find_default(p);
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < p->n; i++) {
		if (hidden(p, i))
			continue;
		sl_buf_json_comma(out);
		write_item(p->items[i], (long)i == chosen, false, out);
	}
	sl_buf_addc(out, ']');
	pthread_mutex_unlock(&p->lock);
}

void sl_profile_json(struct sl_profiles *p, const struct sl_profile *one, struct sl_buf *out)
{
	SL_AUTO(sl_profile) chosen = sl_profiles_get(p, sl_str(""));
	write_item(one, chosen == one, true, out);
}

void sl_providers_json(struct sl_buf *out)
{
	sl_buf_addc(out, '[');
	for (const struct sl_provider *p = sl_provider_table; p->id; p++) {
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "id", p->id);
		sl_buf_json_kz(out, "protocol", p->protocol ? p->protocol->name : NULL);
		sl_buf_json_kz(out, "base_url", p->base_url);
		sl_buf_json_kz(out, "model", p->model);
		sl_buf_json_kz(out, "variable", p->env);
		sl_buf_json_kbool(out, "supported", p->protocol != NULL);
		sl_buf_json_kbool(out, "needs_key", !(p->quirks & SL_QUIRK_KEYLESS));
		sl_buf_json_kbool(out, "needs_base_url", p->base_url == NULL);
		sl_buf_json_kbool(out, "tools", p->can & SL_CAN_TOOLS);
		sl_buf_json_kbool(out, "vision", p->can & SL_CAN_SEE);
		sl_buf_json_kbool(out, "thinking", p->can & SL_CAN_THINK);
		sl_buf_json_kbool(out, "json_schema", p->can & SL_CAN_SCHEMA);
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
}
