/* api/auth.c: see auth.h. Secrets are compared as hashes, found through a hash table keyed by the hash: how long a
 * look-up takes says nothing about a secret, because nobody can choose its SHA-256. The admin token is compared in
 * constant time. */
#include "api/auth.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#define HASH_NONFATAL_OOM 1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#include <uthash.h>

#define TICKETS_MOST    4096
#define ADDRESSES_MOST  1024
#define FAILURES_MOST   20 /* from one address, in a minute */
#define FAILURES_MS     60000
#define GUESSABLE_BYTES 32 /* a shorter admin token could be guessed */

struct token {
	struct sl_auth_token t;
	UT_hash_handle hh; /* by t.hash */
};
struct ticket {
	uint8_t hash[SL_AUTH_HASH_BYTES];
	struct sl_identity who;
	uint64_t until_ms;
	uint8_t origin[SL_AUTH_HASH_BYTES];
	UT_hash_handle hh;
};
struct address {
	char peer[64];
	uint32_t failures;
	uint64_t since_ms;
	UT_hash_handle hh;
};

struct sl_auth {
	const struct sl_clock *clock;
	uint8_t admin_hash[SL_AUTH_HASH_BYTES];
	bool guessable;
	uint8_t session_key[crypto_auth_KEYBYTES];
	struct token *tokens;
	uint64_t loaded_ms;
	struct ticket *tickets; /* oldest first: uthash keeps the order of insertion */
	struct address *addresses;
};

void sl_auth_hash(struct sl_str secret, uint8_t out[SL_AUTH_HASH_BYTES])
{
	crypto_hash_sha256(out, (const unsigned char *)secret.p, secret.len);
}

static void base64(char *out, size_t size, const void *bytes, size_t len)
{
	sodium_bin2base64(out, size, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

enum sl_code sl_auth_new(const char *admin_token, const uint8_t secret[SL_AUTH_SECRET_BYTES],
			 const struct sl_clock *clock, struct sl_auth **out)
{
	struct sl_auth *a = calloc(1, sizeof(*a));
	if (!a || sodium_init() < 0) {
		free(a);
		return SL_NO_MEMORY;
	}
	a->clock = clock;
	sl_auth_hash(sl_str(admin_token), a->admin_hash);
	a->guessable = strlen(admin_token) < GUESSABLE_BYTES;
	static const char purpose[] = "sluice session cookie 1";
	crypto_generichash(a->session_key, sizeof(a->session_key), (const unsigned char *)purpose, sizeof(purpose) - 1,
			   secret, SL_AUTH_SECRET_BYTES);
	*out = a;
	return SL_OK;
}

static void drop_tokens(struct token **tokens)
{
	struct token *t, *tmp;
	HASH_ITER (hh, *tokens, t, tmp) {
		HASH_DEL(*tokens, t);
		free(t);
	}
}

void sl_auth_free(struct sl_auth *a)
{
	if (!a)
		return;
	struct ticket *k, *ktmp;
	HASH_ITER (hh, a->tickets, k, ktmp) {
		HASH_DEL(a->tickets, k);
		free(k);
	}
	struct address *d, *dtmp;
	HASH_ITER (hh, a->addresses, d, dtmp) {
		HASH_DEL(a->addresses, d);
		free(d);
	}
	drop_tokens(&a->tokens);
	sodium_memzero(a, sizeof(*a));
	free(a);
}

/* ---- tokens ---- */

static enum sl_code add_to(struct token **tokens, const struct sl_auth_token *from)
{
	struct token *t;
	HASH_FIND(hh, *tokens, from->hash, SL_AUTH_HASH_BYTES, t);
	if (t) {
		t->t = *from;
		return SL_OK;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return SL_NO_MEMORY;
	t->t = *from;
	HASH_ADD(hh, *tokens, t.hash, SL_AUTH_HASH_BYTES, t);
	if (t->hh.tbl)
		return SL_OK;
	free(t);
	return SL_NO_MEMORY;
}

enum sl_code sl_auth_set_tokens(struct sl_auth *a, const struct sl_auth_token *tokens, size_t n)
{
	struct token *fresh = NULL;
	for (size_t i = 0; i < n; i++)
		if (add_to(&fresh, &tokens[i]) != SL_OK) {
			drop_tokens(&fresh);
			return SL_NO_MEMORY;
		}
	drop_tokens(&a->tokens);
	a->tokens = fresh;
	a->loaded_ms = sl_clock_mono(a->clock);
	return SL_OK;
}

enum sl_code sl_auth_add_token(struct sl_auth *a, const struct sl_auth_token *token)
{
	return add_to(&a->tokens, token);
}

static bool is_admin_id(struct sl_uuid id)
{
	return sodium_is_zero(id.b, sizeof(id.b)) == 1;
}

static struct token *by_id(struct sl_auth *a, struct sl_uuid id)
{
	for (struct token *t = a->tokens; t; t = t->hh.next)
		if (sl_uuid_eq(t->t.id, id))
			return t;
	return NULL;
}

void sl_auth_drop_token(struct sl_auth *a, struct sl_uuid id)
{
	struct token *t = by_id(a, id);
	if (t) {
		HASH_DEL(a->tokens, t);
		free(t);
	}
}

bool sl_auth_knows(struct sl_auth *a, struct sl_uuid id)
{
	return is_admin_id(id) || by_id(a, id);
}

uint64_t sl_auth_age_ms(const struct sl_auth *a)
{
	return sl_clock_mono(a->clock) - a->loaded_ms;
}

void sl_auth_make_secret(char out[SL_TOKEN_TEXT_BYTES])
{
	uint8_t random[32];
	randombytes_buf(random, sizeof(random));
	memcpy(out, "slt_", 4);
	base64(out + 4, SL_TOKEN_TEXT_BYTES - 4, random, sizeof(random));
	sodium_memzero(random, sizeof(random));
}

static bool looks_made_by_us(struct sl_str secret)
{
	return secret.len == SL_TOKEN_TEXT_BYTES - 1 && sl_str_starts(secret, SL_STR("slt_"));
}

static bool in_force(const struct sl_auth *a, const struct token *t)
{
	return t && (t->t.expires_ms == 0 || t->t.expires_ms > sl_clock_wall(a->clock));
}

static void be_token(const struct token *t, struct sl_identity *out)
{
	*out = (struct sl_identity){.role = t->t.role, .token = t->t.id};
	memcpy(out->name, t->t.name, sizeof(out->name));
}

static void be_admin(struct sl_identity *out)
{
	*out = (struct sl_identity){.role = SL_ROLE_ADMIN, .name = "admin"};
}

static struct address *address_of(struct sl_auth *a, const char *peer)
{
	struct address *d;
	HASH_FIND_STR(a->addresses, peer, d);
	if (d && sl_clock_mono(a->clock) - d->since_ms >= FAILURES_MS) {
		HASH_DEL(a->addresses, d);
		free(d);
		d = NULL;
	}
	return d;
}

enum sl_code sl_auth_bearer(struct sl_auth *a, struct sl_str secret, const char *peer, struct sl_identity *out)
{
	uint8_t hash[SL_AUTH_HASH_BYTES];
	struct token *t;
	if (secret.len == 0 || secret.len > 512)
		return SL_UNAUTHORIZED;
	sl_auth_hash(secret, hash);
	HASH_FIND(hh, a->tokens, hash, SL_AUTH_HASH_BYTES, t);
	if (in_force(a, t)) {
		be_token(t, out);
		return SL_OK;
	}
	if (t)
		return SL_UNAUTHORIZED;
	struct address *d = address_of(a, peer);
	if (a->guessable && d && d->failures >= FAILURES_MOST)
		return SL_RATE_LIMITED;
	if (sodium_memcmp(hash, a->admin_hash, sizeof(hash)) == 0) {
		be_admin(out);
		return SL_OK;
	}
	return looks_made_by_us(secret) ? SL_NOT_FOUND : SL_UNAUTHORIZED;
}

uint32_t sl_auth_failed(struct sl_auth *a, const char *peer)
{
	uint64_t now = sl_clock_mono(a->clock);
	struct address *d = address_of(a, peer);
	if (!d) {
		if (HASH_COUNT(a->addresses) >= ADDRESSES_MOST) { /* forget the oldest */
			struct address *first = a->addresses;
			HASH_DEL(a->addresses, first);
			free(first);
		}
		d = calloc(1, sizeof(*d));
		if (!d)
			return 0;
		snprintf(d->peer, sizeof(d->peer), "%s", peer);
		d->since_ms = now;
		HASH_ADD_STR(a->addresses, peer, d);
		if (!d->hh.tbl) {
			free(d);
			return 0;
		}
	}
	if (++d->failures <= FAILURES_MOST)
		return 0;
	return (uint32_t)(FAILURES_MS - (now - d->since_ms));
}

/* ---- sessions: id(16) | expires(8, seconds, big-endian) | mac(32) ---- */

#define SESSION_BODY 24

/* Also over the token's hash, so a session dies when the token's secret changes: a new admin token ends old sessions.
 */
static void session_mac(struct sl_auth *a, const uint8_t body[SESSION_BODY], const uint8_t hash[SL_AUTH_HASH_BYTES],
			uint8_t mac[crypto_auth_BYTES])
{
	uint8_t text[SESSION_BODY + SL_AUTH_HASH_BYTES];
	memcpy(text, body, SESSION_BODY);
	memcpy(text + SESSION_BODY, hash, SL_AUTH_HASH_BYTES);
	crypto_auth(mac, text, sizeof(text), a->session_key);
}

void sl_auth_session(struct sl_auth *a, const struct sl_identity *who, char out[SL_SESSION_TEXT_BYTES])
{
	uint8_t text[SESSION_BODY + crypto_auth_BYTES];
	uint64_t expires = (uint64_t)(sl_clock_wall(a->clock) / 1000) + SL_SESSION_SECONDS;
	memcpy(text, who->token.b, 16);
	for (int i = 0; i < 8; i++)
		text[16 + i] = (uint8_t)(expires >> (56 - 8 * i));
	const struct token *t = is_admin_id(who->token) ? NULL : by_id(a, who->token);
	session_mac(a, text, t ? t->t.hash : a->admin_hash, text + SESSION_BODY);
	base64(out, SL_SESSION_TEXT_BYTES, text, sizeof(text));
}

enum sl_code sl_auth_session_check(struct sl_auth *a, struct sl_str cookie, struct sl_identity *out)
{
	uint8_t text[SESSION_BODY + crypto_auth_BYTES], mac[crypto_auth_BYTES];
	size_t len;
	if (sodium_base642bin(text, sizeof(text), cookie.p, cookie.len, NULL, &len, NULL,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
	    len != sizeof(text))
		return SL_UNAUTHORIZED;
	struct sl_uuid id;
	memcpy(id.b, text, 16);
	const struct token *t = is_admin_id(id) ? NULL : by_id(a, id);
	if (!t && !is_admin_id(id))
		return SL_UNAUTHORIZED;
	session_mac(a, text, t ? t->t.hash : a->admin_hash, mac);
	if (sodium_memcmp(mac, text + SESSION_BODY, sizeof(mac)) != 0 || (t && !in_force(a, t)))
		return SL_UNAUTHORIZED;
	uint64_t expires = 0;
	for (int i = 0; i < 8; i++)
		expires = expires << 8 | text[16 + i];
	if (expires <= (uint64_t)(sl_clock_wall(a->clock) / 1000))
		return SL_UNAUTHORIZED;
	if (t)
		be_token(t, out);
	else
		be_admin(out);
	return SL_OK;
}

/* ---- tickets ---- */

static void sweep_tickets(struct sl_auth *a)
{
	uint64_t now = sl_clock_mono(a->clock);
	while (a->tickets && a->tickets->until_ms <= now) {
		struct ticket *k = a->tickets;
		HASH_DEL(a->tickets, k);
		free(k);
	}
}

enum sl_code sl_auth_ticket(struct sl_auth *a, const struct sl_identity *who, struct sl_str origin,
			    char out[SL_TICKET_TEXT_BYTES])
{
	uint8_t random[32];
	sweep_tickets(a);
	if (HASH_COUNT(a->tickets) >= TICKETS_MOST)
		return SL_BUSY;
	struct ticket *k = calloc(1, sizeof(*k));
	if (!k)
		return SL_NO_MEMORY;
	randombytes_buf(random, sizeof(random));
	base64(out, SL_TICKET_TEXT_BYTES, random, sizeof(random));
	sl_auth_hash(sl_str(out), k->hash);
	sl_auth_hash(origin, k->origin);
	k->who = *who;
	k->until_ms = sl_clock_mono(a->clock) + SL_TICKET_MS;
	HASH_ADD(hh, a->tickets, hash, SL_AUTH_HASH_BYTES, k);
	if (k->hh.tbl)
		return SL_OK;
	free(k);
	return SL_NO_MEMORY;
}

enum sl_code sl_auth_ticket_take(struct sl_auth *a, struct sl_str text, struct sl_str origin, struct sl_identity *out)
{
	uint8_t hash[SL_AUTH_HASH_BYTES], from[SL_AUTH_HASH_BYTES];
	struct ticket *k;
	sweep_tickets(a);
	sl_auth_hash(text, hash);
	HASH_FIND(hh, a->tickets, hash, SL_AUTH_HASH_BYTES, k);
	if (!k)
		return SL_UNAUTHORIZED;
	HASH_DEL(a->tickets, k); /* spent, also when it is refused now */
	sl_auth_hash(origin, from);
	struct sl_identity who = k->who;
	bool same_origin = sodium_memcmp(from, k->origin, sizeof(from)) == 0;
	free(k);
	const struct token *t = is_admin_id(who.token) ? NULL : by_id(a, who.token);
	if (!same_origin || (!is_admin_id(who.token) && !in_force(a, t)))
		return SL_UNAUTHORIZED;
	*out = who;
	return SL_OK;
}

/* ---- names ---- */

static bool next_word(struct sl_str *list, struct sl_str *word)
{
	while (list->len && (list->p[0] == ' ' || list->p[0] == ','))
		list->p++, list->len--;
	size_t n = 0;
	while (n < list->len && list->p[n] != ' ' && list->p[n] != ',')
		n++;
	*word = sl_str_n(list->p, n);
	*list = sl_str_n(list->p + n, list->len - n);
	return n != 0;
}

static bool same_nocase(struct sl_str a, struct sl_str b)
{
	return a.len == b.len && strncasecmp(a.p, b.p, a.len) == 0;
}

/* "name:port" → "name"; false: no host. */
static bool host_name(struct sl_str host, struct sl_str *name)
{
	*name = host;
	if (host.len && host.p[0] == '[') {
		const char *end = memchr(host.p, ']', host.len);
		if (!end)
			return false;
		*name = sl_str_n(host.p, (size_t)(end - host.p) + 1);
	} else {
		const char *colon = memchr(host.p, ':', host.len);
		if (colon)
			name->len = (size_t)(colon - host.p);
	}
	struct sl_str port = sl_str_n(name->p + name->len, host.len - name->len);
	uint64_t number;
	return name->len &&
	       (port.len == 0 ||
		(port.p[0] == ':' && sl_str_u64(sl_str_n(port.p + 1, port.len - 1), &number) && number < 65536));
}

static bool is_ip_literal(struct sl_str name)
{
	if (name.p[0] == '[') {
		for (size_t i = 1; i + 1 < name.len; i++)
			if (!strchr("0123456789abcdefABCDEF:.", name.p[i]))
				return false;
		return name.len > 3;
	}
	unsigned dots = 0;
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] == '.')
			dots++;
		else if (name.p[i] < '0' || name.p[i] > '9')
			return false;
	}
	return dots == 3;
}

/* DNS rebinding makes a foreign page's *name* point here; an address in numbers cannot be rebound, nor can localhost.
 */
bool sl_auth_host_allowed(struct sl_str host, const char *extra)
{
	struct sl_str name, list = sl_str(extra), word, listed;
	if (!host_name(host, &name))
		return false;
	if (is_ip_literal(name) || sl_str_is_nocase(name, "localhost"))
		return true;
	while (next_word(&list, &word))
		if (same_nocase(word, host) ||
		    (host_name(word, &listed) && listed.len == word.len && same_nocase(word, name)))
			return true;
	return false;
}

bool sl_auth_origin_allowed(struct sl_str origin, struct sl_str host, bool tls, const char *extra)
{
	struct sl_str scheme = tls ? SL_STR("https://") : SL_STR("http://"), list = sl_str(extra), word;
	if (sl_str_starts(origin, scheme) &&
	    same_nocase(sl_str_n(origin.p + scheme.len, origin.len - scheme.len), host))
		return true;
	while (next_word(&list, &word))
		if (same_nocase(word, origin))
			return true;
	return false;
}
