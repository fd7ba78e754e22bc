/* api/server_priv.h: what server.c, conn.c, tls.c, tunnel.c and answer.c share. All [front]. */
#pragma once

#include <openssl/ssl.h>
#include <uv.h>

#include "api/server.h"
#include "base/list.h"
#include "base/loop.h"

struct lws_context;
struct lws_vhost;
struct lws_protocols;

#define SERVER_LISTENERS 4

/* On the heap: it must outlive a server that did not get to listen, until the loop has turned. */
struct server_listener {
	uv_tcp_t tcp;
	struct sl_server *server;
	size_t index;
};

struct sl_server {
	struct sl_server_config config;
	struct sl_server_timeouts timeouts; /* filled in */
	char *listen_text, *cert, *key;
	char address[128], url[160];
	bool loopback;
	struct server_listener *listeners[SERVER_LISTENERS];
	size_t n_listeners;
	uv_timer_t tick;
	bool tick_open;
	struct sl_list conns; /* struct sl_conn.link */
	SSL_CTX *tls;
	struct lws_context *lws;
	struct lws_vhost *vhost;
	struct lws_protocols *protocols;
	struct sl_list handshakes; /* struct handshake.link: handed over, not yet seen by libwebsockets */
	uint32_t jobs;             /* on the pool's threads */
	bool draining, stopping;
	struct sl_server_stats stats; /* without in_flight */
	_Atomic uint32_t in_flight;   /* [any] reads it */
	/* stop: told when everything is gone */
	struct sl_post stop_post;
	uv_sem_t *stopped;
	uv_timer_t stop_timer;
	unsigned stop_turns; /* since lws_context_destroy(), which needs some */
	bool ws_closed;
	char read_buf[64 << 10]; /* one read at a time: the loop has one thread */
};

enum conn_state {
	CONN_HEAD,   /* waits for the head of the next request */
	CONN_BODY,   /* collects its body */
	CONN_ANSWER, /* a handler is at work, or the answer is not written yet */
	CONN_STREAM, /* the answer is a stream */
	CONN_LINGER, /* all is said; drops what still comes, so that the answer is not lost to a reset */
	CONN_TUNNEL, /* a WebSocket over TLS: bytes go to and from libwebsockets */
	CONN_CLOSED, /* waits for the close callbacks */
};

struct sl_conn {
	struct sl_list link;
	struct sl_server *server;
	uv_tcp_t tcp;
	uv_pipe_t pipe; /* tunnel */
	unsigned open_handles;
	enum conn_state state;
	bool reading, eof, processing, close_after, shut, chunked_out;
	char peer[64];
	bool peer_loopback;
	uint64_t deadline_ms; /* 0: none */
	size_t unsent_seen;   /* to tell slow from stalled */
	uint64_t unsent_since_ms;
	struct sl_buf in;
	struct sl_http1_chunks chunks;
	uint64_t body_remain;
	struct sl_request *request;
	SSL *ssl;
	BIO *rbio, *wbio;
	bool tls_ready;
};

/* conn.c */
void conn_accept(struct sl_server *s, uv_stream_t *listener);
void conn_close(struct sl_conn *c);
void conn_input(struct sl_conn *c, const char *p, size_t len); /* plain bytes from the client */
size_t conn_unsent(const struct sl_conn *c);
/* Writes now what fits, keeps the rest. keep (may be NULL) is referenced as long as needed; stable bytes are never
 * copied. All but `head` may live in keep or be stable. */
enum conn_body { CONN_COPY, CONN_KEEP, CONN_STABLE };
void conn_write(struct sl_conn *c, struct sl_str head, struct sl_str body, enum conn_body how, struct sl_bytes *keep);
void conn_write_raw(struct sl_conn *c, struct sl_str head, struct sl_str body, enum conn_body how,
		    struct sl_bytes *keep);
void conn_answered(struct sl_conn *c); /* the last byte of the answer has been given to conn_write() */
void conn_process(struct sl_conn *c);
void conn_tick(struct sl_conn *c, uint64_t now_ms);
void conn_pause(struct sl_conn *c);
void conn_resume(struct sl_conn *c);

/* tls.c */
enum sl_code tls_context(const char *cert, const char *key, SSL_CTX **out, struct sl_error *err);
bool tls_begin(struct sl_conn *c);
void tls_input(struct sl_conn *c, const char *p, size_t len);  /* from the socket; may close */
bool tls_output(struct sl_conn *c, const char *p, size_t len); /* to the socket */
void tls_bye(struct sl_conn *c);
void tls_end(struct sl_conn *c);

/* handover.c */
enum sl_code handover_context(struct sl_server *s, struct sl_error *err);
void handover(struct sl_conn *c, const struct sl_ws_identity *who, struct sl_str bytes);
void tunnel_input(struct sl_conn *c, const char *p, size_t len);
void handover_fini(struct sl_server *s);

/* answer.c */
void answer_refuse(struct sl_conn *c, int status, enum sl_code code, const char *detail); /* no request came of it */
