/* api/server.h: HTTP/1.1 on the front loop: connections, deadlines, TLS, and the hand-over of WebSockets to
 * libwebsockets.
 *
 * Owns      the listening sockets, every HTTP connection until it is closed or handed over, the TLS context and the
 *           libwebsockets context, which is a guest on the same loop and sees finished WebSocket handshakes only.
 * Thread    [front] all of it, but new, start and address [before the loop starts, or front] and stop [not front].
 * Why not   HTTP by libwebsockets, too: 4.1 drops a head that is too large without an answer, passes chunks through as
 * they are, does not notice a client that leaves while an answer is awaited (it spins on the readable socket), and
 *           needs four epoll_ctl for each deferred answer. Its WebSocket side has none of this.
 * Not for   routes and rights: those are api/router.h and api/auth.h, behind the three callbacks.
 */
#pragma once

#include "api/request.h"

struct sl_loop;
struct sl_server;
struct sl_ws;
struct sl_ws_identity;

struct sl_server_timeouts { /* 0: the SL_LIMIT_HTTP_* one */
	uint32_t head_ms, body_ms, idle_ms, stalled_ms, answer_ms;
};

struct sl_server_config {
	struct sl_loop *loop;
	const char *listen;             /* "127.0.0.1:7070", "[::1]:0", "localhost:7070"; port 0 picks one */
	const char *tls_cert, *tls_key; /* PEM files; NULL: no TLS */
	bool insecure;                  /* listen off loopback without TLS */
	struct sl_server_timeouts timeouts;
	uint32_t max_connections; /* 0: SL_LIMIT_HTTP_CONNECTIONS */
	struct sl_ws *ws;         /* NULL: no WebSockets */
	const char *ws_path;      /* "/ws" */
	/* [front] The head is there, the body not yet. May answer: then the body is not read. */
	void (*head)(void *ctx, struct sl_request *r);
	/* [front] The whole request is there. Answers now or later. */
	void (*handle)(void *ctx, struct sl_request *r);
	/* [front] A handshake for ws_path. SL_OK fills who; otherwise it has answered. */
	enum sl_code (*upgrade)(void *ctx, struct sl_request *r, struct sl_ws_identity *who);
	/* [front] A whole answer was given (no stream), so long after the head came. NULL: not needed. */
	void (*answered)(void *ctx, const struct sl_request *r, int status, uint64_t took_us);
	void (*tick)(void *ctx); /* [front] about twice a second; NULL: not needed */
	void *ctx;
};

/* [before anything is started] What new and start would refuse for ever: SL_INVALID. Looks at listen, tls_cert, tls_key
 * and insecure, and binds nothing. */
SL_MUST_USE enum sl_code sl_server_check(const struct sl_server_config *config, struct sl_error *err);
SL_MUST_USE enum sl_code sl_server_new(const struct sl_server_config *config, struct sl_server **out,
				       struct sl_error *err);
/* Binds and listens. SL_UNAVAILABLE: the address cannot be had. SL_INVALID: no such address, no certificate, or off
 * loopback without TLS. */
SL_MUST_USE enum sl_code sl_server_start(struct sl_server *s, struct sl_error *err);
const char *sl_server_address(const struct sl_server *s); /* "127.0.0.1:41234", after start */
const char *sl_server_url(const struct sl_server *s);     /* "http://127.0.0.1:41234" */
bool sl_server_tls(const struct sl_server *s);
bool sl_server_on_loopback(const struct sl_server *s);

/* [front] No new connections; idle ones are closed, answers under way are finished. */
void sl_server_drain(struct sl_server *s);
/* [not front] Closes everything and waits until every handle is gone and every job has come back. The loop must turn.
 */
void sl_server_stop(struct sl_server *s);
void sl_server_free(struct sl_server *s); /* after stop, or never started; NULL is fine */
SL_DEFINE_AUTO(sl_server)

/* [front] In the WebSocket handshake as libwebsockets sees it: who the hand-over said it is. For struct sl_ws_config.
 */
struct lws;
enum sl_code sl_server_ws_identity(struct sl_server *s, struct lws *wsi, struct sl_ws_identity *who);

struct sl_server_stats {
	uint64_t accepted, requests, answers[6]; /* by hundreds: answers[2] is 2xx */
	uint64_t refused_heads, timeouts, gone, upgrades;
	uint32_t open, in_flight;
};
void sl_server_stats(const struct sl_server *s, struct sl_server_stats *out); /* [front] */
uint32_t sl_server_in_flight(const struct sl_server *s);                      /* [any] requests without their answer */

/* [front] Work that does not belong on a loop: `run` on a thread of the pool, then `done` [front], always, also while
 * stopping. SL_NO_MEMORY: neither runs. */
struct sl_server_job {
	void (*run)(void *arg);
	void (*done)(void *arg);
	void *arg;
};
SL_MUST_USE enum sl_code sl_server_job(struct sl_server *s, const struct sl_server_job *job);
