/* llm/http.h: the HTTP client: many transfers on a few I/O loops (curl-multi on libuv).
 *
 * Owns      its I/O loops, their connections, and every call until its `done` has run.
 * Thread    start, cancel, ref and unref [any]; the callbacks run on the I/O thread of the call ([io]), never from
 * inside sl_http_start() or sl_http_cancel(). Rules     redirects are answers, not followed · only http and https ·
 * proxies from the environment are ignored · TLS certificates are verified, a failure is SL_CERTIFICATE · HTTP/2 when
 * TLS offers it. Not for   addresses that workflow authors choose: those go through llm/egress.h, which puts its guard
 * here.
 */
#pragma once

#include "base/bytes.h"
#include "llm/resolve.h"

struct sl_loop;
struct sl_http;      /* the client */
struct sl_http_call; /* one request; atomically counted */

struct sl_http_header {
	struct sl_str name, value;
};

/* Each bounds its own phase; 0: no bound. All end the call with SL_TIMEOUT, the text says which. */
struct sl_http_timeouts {
	uint32_t connect_ms;    /* name look-up, TCP and TLS */
	uint32_t first_byte_ms; /* from the connection to the first byte of the body: silence after the headers counts
				   too */
	uint32_t idle_ms;       /* between two pieces of the body */
	uint32_t total_ms;      /* from sl_http_start() to the end */
};

/* The answer's status line and headers, while `head` runs or until `done` has run. */
struct sl_http_head {
	int status;
	int http_version; /* 11 or 20 */
	const struct sl_http_header *headers;
	size_t n_headers;
};
struct sl_str sl_http_find(const struct sl_http_head *head, const char *name); /* any case; empty: not there */

/* What stands between a call and the network when a workflow's author chose the address. Must live until `done`. */
struct sl_http_guard {
	const char *host; /* as it stands in the request's url; an IPv6 address without brackets */
	uint16_t port;
	/* [io] Looks `host` up: calls fn exactly once, from any thread, maybe in place. Nothing else looks it up. */
	void (*resolve)(struct sl_http_guard *g, sl_resolve_fn *fn, void *arg);
	/* [io] May this address be dialled? Asked for each address that was found (one refusal refuses the call), again
	 * for the very address a socket is opened for, and again before the request is written to a connection, also
	 * to one that is reused. Anything but SL_OK ends the call with that code and *err. */
	enum sl_code (*check)(struct sl_http_guard *g, const struct sl_address *peer, struct sl_error *err);
};

struct sl_http_result {
	const struct sl_http_head *head;                /* status 0: no answer came */
	uint64_t body_bytes;                            /* received */
	uint64_t sent_bytes;                            /* of the request's body */
	uint64_t connected_us, first_byte_us, total_us; /* since the start; 0: never */
	/* Of a call that ended on our side (a cancel, a deadline, a callback's refusal, the stop): monotonic times of
	 * the order, or of the moment it was decided, and of the closed socket (on HTTP/2: of the reset stream). 0: the
	 * peer ended it; there was no socket. */
	uint64_t ordered_at_us, closed_at_us;
	uint64_t closed_us; /* between the two, at least 1; 0: there was no socket */
	bool multiplexed;   /* the connection carries other calls and lives on: a stream of it was reset */
	bool reused;        /* an open connection was taken */
};

struct sl_http_request {
	const char *method; /* "GET", "POST", … */
	const char *url;
	const struct sl_http_header *headers; /* copied */
	size_t n_headers;
	struct sl_bytes *body; /* NULL: none; the call holds its own reference */
	struct sl_http_timeouts timeouts;
	size_t max_body_bytes;       /* 0: SL_LIMIT_HTTP_BODY_BYTES; one byte more ends the call with SL_TOO_LARGE */
	bool unpack;                 /* ask for a compressed answer; body_fn and max_body_bytes see it unpacked */
	struct sl_http_guard *guard; /* NULL: the address is an operator's */

	void (*head)(void *ctx, const struct sl_http_head *head); /* [io] at most once, before any body; may be NULL */
	/* [io] A piece of the body, valid during the call. Anything but SL_OK closes the socket and ends the call with
	 * that code and *err. */
	enum sl_code (*body_fn)(void *ctx, struct sl_str piece, struct sl_error *err);
	/* [io] Exactly once when sl_http_start() returned SL_OK, also on cancel and shutdown, and last. SL_OK: an
	 * answer came to its end, whatever its status is. SL_CONNECT, SL_CERTIFICATE, SL_TIMEOUT, SL_TRUNCATED (the
	 * peer closed or reset in the middle of an answer), SL_MALFORMED (not HTTP), SL_TOO_LARGE, SL_CANCELLED,
	 * SL_NO_MEMORY, or body_fn's. */
	void (*done)(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_http_result *result);
	void *ctx;
};

struct sl_http_config {
	uint32_t loops;         /* I/O threads; 0: 1 */
	uint32_t reuse_below;   /* transfers on one loop up to which connections are shared; above, each has a fresh one
				 * that is   closed after it (curl searches its pool in linear time). 0: 128 */
	uint32_t max_active;    /* calls under way on one loop; further ones wait their turn. 0: no bound */
	uint32_t max_idle;      /* connections a loop keeps for reuse. 0: 64 */
	const char *ca_file;    /* PEM; NULL: the system's */
	const char *user_agent; /* NULL: sluice/VERSION */
};

struct sl_http_stats {
	uint64_t started, finished, active, sockets_opened, sockets_closed, bytes_received;
	uint64_t loop_lag_us; /* the worst of the loops */
};

SL_MUST_USE enum sl_code sl_http_new(const struct sl_http_config *config, struct sl_http **out, struct sl_error *err);
void sl_http_stop(struct sl_http *h); /* [not io] cancels what runs, waits for every `done`, joins the loops; later
					 starts give SL_DRAINING */
void sl_http_free(struct sl_http *h); /* stops first; NULL is fine */
SL_DEFINE_AUTO(sl_http)

/* Sets *out before anything can happen. The caller owns one reference of it: sl_http_call_unref(), before or after
 * `done`. */
SL_MUST_USE enum sl_code sl_http_start(struct sl_http *h, const struct sl_http_request *req, struct sl_http_call **out,
				       struct sl_error *err);
/* Closes the socket at once (on HTTP/2: resets the stream) and ends the call with SL_CANCELLED, unless it ended before.
 * Idempotent. */
void sl_http_cancel(struct sl_http_call *call);
/* The same, for an order that was given at `ordered_at_us` (monotonic; 0: now): closed_us counts from there. */
void sl_http_call_off(struct sl_http_call *call, uint64_t ordered_at_us);
bool sl_http_call_sent(const struct sl_http_call *call); /* [any] the request has gone, or is about to */
struct sl_http_call *sl_http_call_ref(struct sl_http_call *call);
void sl_http_call_unref(struct sl_http_call *call); /* NULL is fine */

void sl_http_stats(struct sl_http *h, struct sl_http_stats *out);
