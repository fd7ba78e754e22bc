/* llm/egress.h: the one way out for whatever workflow authors can point somewhere: http nodes, tools, webhooks,
 * imports.
 *
 * Owns      its HTTP client (own thread, own connections: a provider's are never shared with it) and name look-ups.
 * Thread    start, cancel, ref and unref [any]; the callbacks [io], never from inside sl_egress_start() or
 *           sl_egress_cancel().
 * Policy    https, plain http only when the operator says so · ports of a list · no user in the address, no odd forms
 * of IP addresses · no local names · every address of the host is the public internet's, or the request is refused ·
 * the address that was checked is the one that is dialled, and it is checked again where the socket is opened and
 * before a connection is reused · proxies of the environment are ignored · redirects are answers unless `follow` says
 * so, and then each hop is judged like the first · sizes, times and the number of header lines are bounded. What the
 * operator allows by name (host:port) passes all of that but the form. Not for   model providers: an operator wrote
 * their addresses (llm/http.h).
 */
#pragma once

#include "llm/http.h"
#include "llm/ledger.h"

struct sl_egress;
struct sl_egress_call; /* one request with its redirects; atomically counted */

#define SL_EGRESS_REASONS(X)                                                                                           \
	X(URL, "url")           /* it is no address */                                                                 \
	X(SCHEME, "scheme")     /* neither https nor, where allowed, http */                                           \
	X(USER, "userinfo")     /* user:password@ */                                                                   \
	X(HOST, "host")         /* an odd form of an IP address, a letter outside ASCII, a dot at the end */           \
	X(PORT, "port")         /* none of the list */                                                                 \
	X(NAME, "name")         /* localhost, *.internal, a name without a dot */                                      \
	X(ADDRESS, "address")   /* it is, or leads to, an address that is not global */                                \
	X(OWN, "own_listener")  /* this server */                                                                      \
	X(REDIRECT, "redirect") /* too many, or from https to http */                                                  \
	X(PAIR, "not_listed")   /* only what is allowed by name may be reached */

enum sl_egress_reason {
#define SL_X(name, text) SL_EGRESS_##name,
	SL_EGRESS_REASONS(SL_X)
#undef SL_X
		SL_EGRESS_REASON_COUNT
};
const char *sl_egress_reason_text(enum sl_egress_reason reason);

struct sl_egress_config {
	const char *allow; /* "host:port,[v6]:port"; SL_INVALID when one cannot be read. NULL: none */
	const char *ports; /* of everything else: "443,8443"; NULL: 443, and 80 where plain http is allowed */
	bool plain_http;   /* http:// to everything, not only to what is allowed by name */
	bool only_allowed; /* nothing but what is allowed by name */
	const char *ca_file;
	struct sl_call_ledger *ledger; /* lent; gets a row of each request that is called off; NULL: nobody does */
	/* NULL: the C library. Tests put their own here; the contract of struct sl_http_guard's. */
	void (*resolve)(void *ctx, const char *host, sl_resolve_fn *fn, void *arg);
	void *resolve_ctx;
};

SL_MUST_USE enum sl_code sl_egress_new(const struct sl_egress_config *config, struct sl_egress **out,
				       struct sl_error *err);
void sl_egress_stop(struct sl_egress *e); /* [not io] as sl_http_stop() */
void sl_egress_free(struct sl_egress *e); /* stops first; NULL is fine */
SL_DEFINE_AUTO(sl_egress)
/* [any] This server listens there, on some address of this machine: not to be reached. At most 4 are kept. */
void sl_egress_own_port(struct sl_egress *e, uint16_t port);

struct sl_egress_result {
	const struct sl_http_head *head; /* of the last answer; status 0: none came */
	const char *url;                 /* that answered, after redirects */
	uint32_t hops;                   /* redirects followed */
	uint64_t body_bytes;             /* of the last answer, unpacked */
	uint64_t total_us;
};

struct sl_egress_request {
	const char *method; /* "GET", … a token of HTTP */
	struct sl_str url;
	const struct sl_http_header
		*headers; /* copied. Host, Content-Length, connection and proxy headers are refused */
	size_t n_headers;
	struct sl_bytes *body;            /* NULL: none */
	struct sl_http_timeouts timeouts; /* 0: 10 s to connect, 30 s silence, 60 s in all; total is over all hops */
	size_t max_body_bytes;            /* 0: SL_LIMIT_EGRESS_BODY_BYTES */
	/* Redirects to follow, at most SL_LIMIT_EGRESS_REDIRECTS. The method becomes GET as browsers have it; to
	 * another origin no headers of the caller go along but Accept, Accept-Language and Content-Type. */
	uint32_t follow;
	struct sl_call_of of; /* on whose behalf, for the ledger */

	void (*head)(void *ctx, const struct sl_http_head *head); /* [io] of the last answer; may be NULL */
	enum sl_code (*body_fn)(void *ctx, struct sl_str piece, struct sl_error *err); /* [io] as in llm/http.h */
	/* [io] Exactly once when sl_egress_start() returned SL_OK, and last. SL_EGRESS: the policy refused the address
	 * the name led to, or a redirect; else as in llm/http.h. */
	void (*done)(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_egress_result *result);
	void *ctx;
};

/* SL_EGRESS: the policy refuses the address as it is written. SL_INVALID: a method or header that cannot be sent. */
SL_MUST_USE enum sl_code sl_egress_start(struct sl_egress *e, const struct sl_egress_request *req,
					 struct sl_egress_call **out, struct sl_error *err);
void sl_egress_cancel(struct sl_egress_call *c); /* closes the socket at once; idempotent */
/* The same, with the reason for the ledger (a constant) and when the order came (monotonic; 0: now). */
void sl_egress_call_off(struct sl_egress_call *c, const char *reason, uint64_t ordered_at_us);
struct sl_egress_call *sl_egress_call_ref(struct sl_egress_call *c);
void sl_egress_call_unref(struct sl_egress_call *c); /* NULL is fine */

/* [any] What would be said of this address as it is written, without looking its host up. Counts nothing. */
SL_MUST_USE enum sl_code sl_egress_judge(struct sl_egress *e, struct sl_str url, enum sl_egress_reason *reason,
					 struct sl_error *err);

struct sl_egress_stats {
	uint64_t requests; /* started */
	uint64_t denied[SL_EGRESS_REASON_COUNT];
	struct sl_http_stats http;
};
void sl_egress_stats(struct sl_egress *e, struct sl_egress_stats *out);
uint64_t sl_egress_denied(const struct sl_egress *e, enum sl_egress_reason reason);
