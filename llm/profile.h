/* llm/profile.h: the profiles: which provider, model, address, keys, limits and price a name stands for.
 *
 * Owns      the set of profiles; each profile is immutable and counted, a change publishes a new one.
 * Thread    everything [any]; the set is behind a lock that is held for a look-up only.
 * Keys      are sealed with XChaCha20-Poly1305 under the server's secret key, bound to the profile's name and their
 * index, so a row copied elsewhere does not open. They go in and never come out: reads show the last four characters.
 * Not for   storage: rows go out and come in as bytes, the caller keeps them.
 */
#pragma once

#include "base/buf.h"
#include "base/bytes.h"

#define SL_SECRET_KEY_BYTES  32
#define SL_PROFILE_ROW_BYTES 16

struct json_object;
struct sl_profiles;
struct sl_sealed_key; /* private */

enum sl_profile_kind { SL_PROFILE_CHAT, SL_PROFILE_EMBEDDING };
enum sl_profile_origin {
	SL_PROFILE_FROM_ENV, /* from an environment key; a stored one of the same name hides it */
	SL_PROFILE_STORED,
	SL_PROFILE_BUILT_IN, /* the simulator */
};

struct sl_profile_timeouts { /* 0: the default */
	uint32_t connect_ms, first_byte_ms, idle_ms, total_ms;
};
#define SL_PROFILE_TIMEOUTS_DEFAULT                                                                                    \
	((struct sl_profile_timeouts){                                                                                 \
		.connect_ms = 10000, .first_byte_ms = 120000, .idle_ms = 60000, .total_ms = 600000})

/* [const] once published. */
struct sl_profile {
	_Atomic uint32_t refs;
	char *name, *provider, *model, *base_url; /* base_url never ends in '/' */
	char *api_version;                        /* of Azure's API; NULL: not set */
	enum sl_profile_kind kind;
	enum sl_profile_origin origin;
	bool simulated;
	int64_t default_since_ms; /* wall: asked to be the default then, the latest is; 0: did not ask */
	/* params of the profile; a call's own go before them */
	double temperature, top_p;             /* NAN: not set */
	int64_t max_tokens;                    /* 0: not set */
	char *thinking;                        /* reasoning effort; NULL: not set */
	uint32_t limit_rpm, limit_concurrency; /* 0: none */
	uint64_t limit_tpm;
	struct sl_profile_timeouts timeouts; /* defaults filled in */
	char **fallbacks;                    /* names, in order */
	size_t n_fallbacks;
	bool has_price;
	int64_t input_nanousd, output_nanousd,
		cached_nanousd; /* per token: USD per 1M times 1000; cached -1: as input */
	struct sl_sealed_key *keys;
	size_t n_keys;
	uint8_t row[SL_PROFILE_ROW_BYTES]; /* a hash of the row it was loaded from; zeros: from none */
};

/* A profile as it is stored: two columns beside the name. */
struct sl_profile_row {
	char *name;
	struct sl_bytes *body; /* JSON object as in the contract, without api_keys */
	struct sl_bytes *keys; /* JSON array of sealed keys (base64), "[]" when there are none */
};
void sl_profile_row_fini(struct sl_profile_row *row);

SL_MUST_USE enum sl_code sl_profiles_new(const uint8_t secret[SL_SECRET_KEY_BYTES], struct sl_profiles **out);
void sl_profiles_free(struct sl_profiles *p); /* NULL is fine; profiles in use live on */
SL_DEFINE_AUTO(sl_profiles)

/* Makes a profile for each provider key found through get(), e.g. getenv. Keys of providers whose protocol is not there
 * yet are logged as such. Returns how many profiles there are. */
size_t sl_profiles_from_env(struct sl_profiles *p, const char *(*get)(const char *name));

/* A profile that points at the simulator; becomes the default unless another one asks to be. */
SL_MUST_USE enum sl_code sl_profiles_add_sim(struct sl_profiles *p, const char *name, const char *base_url);
/* The same for embeddings: "sim-embed". */
SL_MUST_USE enum sl_code sl_profiles_add_sim_embedding(struct sl_profiles *p, const char *base_url);

/* PUT: checks the body, seals its keys, publishes, and gives the row to store. Without "api_keys" the old keys stay,
 * unless base_url now points to another host. SL_INVALID: `problems` gets the members of an errors array,
 * {"pointer","message"},… and err the first of them; nothing changed. */
SL_MUST_USE enum sl_code sl_profiles_put(struct sl_profiles *p, struct sl_str name, struct json_object *body,
					 struct sl_profile_row *row, struct sl_buf *problems, struct sl_error *err);
/* The same in two steps, for a caller that stores before it publishes: check fills the row, load publishes it. */
SL_MUST_USE enum sl_code sl_profiles_check(struct sl_profiles *p, struct sl_str name, struct json_object *body,
					   struct sl_profile_row *row, struct sl_buf *problems, struct sl_error *err);
/* A stored row becomes a profile; when it is one already, nothing changes, so its keys keep what is known of them.
 * SL_INVALID: the body does not parse, or a key does not open (wrong secret, altered, or moved from another row): then
 * the profile is published without keys and err says so, the first time. */
SL_MUST_USE enum sl_code sl_profiles_load(struct sl_profiles *p, struct sl_str name, struct sl_str body,
					  struct sl_str keys, struct sl_error *err);
/* Stored profiles that are none of these names are there no more. */
void sl_profiles_retain(struct sl_profiles *p, const struct sl_str *names, size_t n);
/* SL_NOT_FOUND; SL_CONFLICT: it comes from the environment or is built in, so there is no row. */
SL_MUST_USE enum sl_code sl_profiles_delete(struct sl_profiles *p, struct sl_str name, struct sl_error *err);

/* A reference; empty name: the default (the one marked so, else the first of the environment by the contract's order,
 * else the first by name, the simulator last). NULL: none. */
struct sl_profile *sl_profiles_get(struct sl_profiles *p, struct sl_str name);
/* The one for embeddings: the latest that asked to be the default, else one of the environment, else the first stored
 * by name, the simulator's last. NULL: none. */
struct sl_profile *sl_profiles_get_embedding(struct sl_profiles *p);
struct sl_profile *sl_profiles_find_provider(struct sl_profiles *p,
					     struct sl_str provider); /* any of that provider; NULL */
/* What a call that names these gets; each may be empty. Without profile and provider, a model whose name tells its
 * provider goes to a profile of that provider, unless some profile asked to be the default. NULL: none. */
struct sl_profile *sl_profiles_choose(struct sl_profiles *p, struct sl_str profile, struct sl_str provider,
				      struct sl_str model);
struct sl_profile *sl_profile_ref(struct sl_profile *p);
void sl_profile_unref(struct sl_profile *p); /* NULL is fine */
static inline void sl_profile_free(struct sl_profile *p)
{
	sl_profile_unref(p);
}
SL_DEFINE_AUTO(sl_profile)

size_t sl_profiles_count(struct sl_profiles *p);
bool sl_profiles_only_sim(struct sl_profiles *p); /* nothing but the simulator would answer */

/* JSON for clients. List item: {name,provider,model,base_url?,kind,default,simulated,origin,keys:["…abcd"]}; the detail
 * has params, limits, timeouts, fallbacks and price, too. */
void sl_profiles_list_json(struct sl_profiles *p, struct sl_buf *out);                         /* the array */
void sl_profile_json(struct sl_profiles *p, const struct sl_profile *one, struct sl_buf *out); /* the detail object */
/* [{"id","protocol","base_url","model","variable","supported","needs_key","needs_base_url","tools","vision","thinking",
 * "json_schema"}] for forms */
void sl_providers_json(struct sl_buf *out);

/* Opens key `index` into out (NUL-terminated, caller wipes with sodium_memzero and frees). SL_NOT_FOUND: no such key.
 * SL_INVALID: it does not open. For the protocols only. */
SL_MUST_USE enum sl_code sl_profile_open_key(struct sl_profiles *p, const struct sl_profile *one, size_t index,
					     char **out);
