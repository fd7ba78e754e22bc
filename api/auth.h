/* api/auth.h: who is asking: tokens, sessions of the UI, tickets for WebSockets.
 *
 * Owns      hashes of all tokens (never a secret), the tickets that were given out, and the count of failures by
 * address. Thread    [front] Tokens    "slt_" and 256 random bits. Their SHA-256 is enough: there is nothing to guess,
 * so nothing to slow down. The admin token may be chosen by a person; when it is short, guesses are limited by address.
 * Not for   what a role may do: that is in the table of routes.
 */
#pragma once

#include "api/router.h"
#include "base/clock.h"

#define SL_TOKEN_TEXT_BYTES   48 /* with the NUL */
#define SL_SESSION_TEXT_BYTES 160
#define SL_SESSION_SECONDS    (12 * 3600)
#define SL_TICKET_TEXT_BYTES  44
#define SL_TICKET_MS          30000
#define SL_AUTH_SECRET_BYTES  32
#define SL_AUTH_HASH_BYTES    32

struct sl_auth;

struct sl_identity {
	enum sl_role role;
	char name[64];
	struct sl_uuid token; /* all zero: the admin token of the installation */
};

/* A token as it is kept in memory. */
struct sl_auth_token {
	struct sl_uuid id;
	enum sl_role role;
	char name[64];
	uint8_t hash[SL_AUTH_HASH_BYTES];
	int64_t expires_ms; /* wall; 0: never */
};

SL_MUST_USE enum sl_code sl_auth_new(const char *admin_token, const uint8_t secret[SL_AUTH_SECRET_BYTES],
				     const struct sl_clock *clock, struct sl_auth **out);
void sl_auth_free(struct sl_auth *a); /* NULL is fine */
SL_DEFINE_AUTO(sl_auth)

/* Replaces all named tokens (those in force: leave revoked ones out). On SL_NO_MEMORY the old ones stay. */
SL_MUST_USE enum sl_code sl_auth_set_tokens(struct sl_auth *a, const struct sl_auth_token *tokens, size_t n);
SL_MUST_USE enum sl_code sl_auth_add_token(struct sl_auth *a, const struct sl_auth_token *token);
void sl_auth_drop_token(struct sl_auth *a, struct sl_uuid id);
bool sl_auth_knows(struct sl_auth *a, struct sl_uuid id); /* all zero, the admin token's: always */
uint64_t sl_auth_age_ms(const struct sl_auth *a);         /* since sl_auth_set_tokens() */

void sl_auth_make_secret(char out[SL_TOKEN_TEXT_BYTES]); /* a new token's secret */
void sl_auth_hash(struct sl_str secret, uint8_t out[SL_AUTH_HASH_BYTES]);

/* SL_OK; SL_UNAUTHORIZED; SL_NOT_FOUND: no token here, but it looks like one, so another instance may have made it;
 * SL_RATE_LIMITED: too many guesses from there (then nothing was compared). */
enum sl_code sl_auth_bearer(struct sl_auth *a, struct sl_str secret, const char *peer, struct sl_identity *out);
/* Notes a failure of this address. Returns how long it should wait in ms; 0: it may go on. */
uint32_t sl_auth_failed(struct sl_auth *a, const char *peer);

/* The value of the cookie; it names a token, and ends with it. */
void sl_auth_session(struct sl_auth *a, const struct sl_identity *who, char out[SL_SESSION_TEXT_BYTES]);
enum sl_code sl_auth_session_check(struct sl_auth *a, struct sl_str cookie, struct sl_identity *out);

/* For one handshake from pages of this origin (empty: none was sent). SL_BUSY: too many are out. */
SL_MUST_USE enum sl_code sl_auth_ticket(struct sl_auth *a, const struct sl_identity *who, struct sl_str origin,
					char out[SL_TICKET_TEXT_BYTES]);
enum sl_code sl_auth_ticket_take(struct sl_auth *a, struct sl_str ticket, struct sl_str origin,
				 struct sl_identity *out);

/* Names and origins a request may carry. `extra` lists: separated by blanks or commas. */
bool sl_auth_host_allowed(struct sl_str host, const char *extra);
bool sl_auth_origin_allowed(struct sl_str origin, struct sl_str host, bool tls, const char *extra);
