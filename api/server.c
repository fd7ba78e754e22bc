/* api/server.c: see server.h. Listening, the clock of the connections, jobs, and the end of it all.
 *
 * Stopping takes several turns of the loop: libuv gives handles back in their close callbacks, and libwebsockets needs
 * a turn for its sockets, one for its timers, and then a second call. sl_server_stop() waits for the last of them.
 */
#include "api/server.h"

#include <libwebsockets.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/server_priv.h"
#include "base/clock.h"
#include "base/log.h"
#include "ws/conn.h"

#define LISTEN_BACKLOG 1024
#define TICK_MS        500

/* ---- start ---- */

static uint32_t or_limit(uint32_t given, uint32_t otherwise)
{
	return given ? given : otherwise;
}

static enum sl_code tls_of(const struct sl_server_config *c, SSL_CTX **out, struct sl_error *err)
{
	if ((c->tls_cert == NULL) != (c->tls_key == NULL))
		return sl_fail(err, SL_INVALID, "TLS needs both a certificate and its key");
	return c->tls_cert ? tls_context(c->tls_cert, c->tls_key, out, err) : SL_OK;
}

enum sl_code sl_server_new(const struct sl_server_config *config, struct sl_server **out, struct sl_error *err)
{
	SL_AUTO(sl_server) s = calloc(1, sizeof(*s));
	if (!s)
		return sl_fail(err, SL_NO_MEMORY, "server");
	s->config = *config;
	sl_list_init(&s->conns);
	sl_list_init(&s->handshakes);
	s->listen_text = sl_str_dup(sl_str(config->listen));
	if (!s->listen_text)
		return sl_fail(err, SL_NO_MEMORY, "server");
	s->timeouts = (struct sl_server_timeouts){
		.head_ms = or_limit(config->timeouts.head_ms, SL_LIMIT_HTTP_HEAD_MS),
		.body_ms = or_limit(config->timeouts.body_ms, SL_LIMIT_HTTP_BODY_MS),
		.idle_ms = or_limit(config->timeouts.idle_ms, SL_LIMIT_HTTP_IDLE_MS),
		.stalled_ms = or_limit(config->timeouts.stalled_ms, SL_LIMIT_HTTP_STALLED_MS),
		.answer_ms = or_limit(config->timeouts.answer_ms, SL_LIMIT_HTTP_ANSWER_MS),
	};
	s->config.max_connections = or_limit(config->max_connections, SL_LIMIT_HTTP_CONNECTIONS);
	s->config.listen = s->listen_text;
	enum sl_code rc = tls_of(config, &s->tls, err);
	if (rc == SL_OK)
		*out = SL_TAKE(s);
	return rc;
}

void sl_server_free(struct sl_server *s)
{
	if (!s)
		return;
	SSL_CTX_free(s->tls);
	free(s->protocols);
	free(s->listen_text);
	free(s);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct server_listener *l = listener->data;
	if (status == 0)
		conn_accept(l->server, listener);
	else
		sl_log(SL_LOG_WARN, "api", "a connection could not be accepted", SL_KS("why", uv_strerror(status)));
}

static void on_tick(uv_timer_t *t)
{
	struct sl_server *s = t->data;
	uint64_t now = sl_clock_mono_ms();
	sl_list_each_safe (it, tmp, &s->conns)
		conn_tick(sl_list_entry(it, struct sl_conn, link), now);
	if (s->config.tick)
		s->config.tick(s->config.ctx);
}

/* "host:port", "[v6]:port", ":port". */
static bool split_listen(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
	const char *colon = strrchr(text, ':');
	if (!colon || strlen(colon + 1) == 0 || strlen(colon + 1) >= port_size)
		return false;
	struct sl_str h = sl_str_n(text, (size_t)(colon - text));
	if (h.len >= 2 && h.p[0] == '[' && h.p[h.len - 1] == ']')
		h = sl_str_n(h.p + 1, h.len - 2);
	else if (memchr(h.p, ':', h.len))
		return false;
	uint64_t number;
	if (h.len >= host_size || !sl_str_u64(sl_str(colon + 1), &number) || number > 65535)
		return false;
	memcpy(host, h.p, h.len);
	host[h.len] = '\0';
	memcpy(port, colon + 1, strlen(colon + 1) + 1); /* fits: checked above */
	return true;
}

static bool is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
	return a->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static void on_listener_closed(uv_handle_t *h)
{
	struct server_listener *l = h->data;
	if (l->server)
		l->server->listeners[l->index] = NULL;
	free(l);
}

static void close_listeners(struct sl_server *s)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listeners[i] && !uv_is_closing((uv_handle_t *)&s->listeners[i]->tcp))
			uv_close((uv_handle_t *)&s->listeners[i]->tcp, on_listener_closed);
}

static enum sl_code listen_on(struct sl_server *s, const struct sockaddr *a, struct sl_error *err)
{
	struct server_listener *l = calloc(1, sizeof(*l));
	if (!l || uv_tcp_init(sl_loop_uv(s->config.loop), &l->tcp) != 0) {
		free(l);
		return sl_fail(err, SL_NO_MEMORY, "socket");
	}
	l->server = s;
	l->index = s->n_listeners;
	l->tcp.data = l;
	int rc = uv_tcp_bind(&l->tcp, a, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&l->tcp, LISTEN_BACKLOG, on_connection);
	if (rc != 0) {
		l->server = NULL; /* s may be gone when the loop turns */
		uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
		return sl_fail(err, SL_UNAVAILABLE, "cannot listen on %s: %s", s->listen_text, uv_strerror(rc));
	}
	s->listeners[s->n_listeners++] = l;
	return SL_OK;
}

/* Nothing has been accepted yet: the sockets go, and s may go before the loop turns. */
static void forget_listeners(struct sl_server *s)
{
	close_listeners(s);
	for (size_t i = 0; i < s->n_listeners; i++)
		s->listeners[i]->server = NULL;
	s->n_listeners = 0;
}

static void note_address(struct sl_server *s, const char *host)
{
	struct sockaddr_storage a;
	int len = sizeof(a);
	char ip[64] = "";
	SL_IGNORE(uv_tcp_getsockname(&s->listeners[0]->tcp, (struct sockaddr *)&a, &len)); /* it is bound */
	SL_IGNORE(uv_ip_name((struct sockaddr *)&a, ip, sizeof(ip)));
	bool v6 = a.ss_family == AF_INET6;
	unsigned port = ntohs(v6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
				 : ((struct sockaddr_in *)(void *)&a)->sin_port);
	snprintf(s->address, sizeof(s->address), v6 ? "[%s]:%u" : "%s:%u", ip, port);
	snprintf(s->url, sizeof(s->url), "%s://%s", s->tls ? "https" : "http", s->address);
}

/* Where the server is to listen, and whether it may. *found is the caller's, only after SL_OK. */
static enum sl_code resolve(const struct sl_server_config *c, char host[64], char port[8], bool *loopback,
			    struct addrinfo **found, struct sl_error *err)
{
	if (!split_listen(c->listen, host, 64, port, 8))
		return sl_fail(err, SL_INVALID, "'%s' is no address to listen on; write host:port", c->listen);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, found);
	if (rc != 0)
		return sl_fail(err, SL_INVALID, "cannot listen on '%s': %s", c->listen, gai_strerror(rc));
	*loopback = true;
	for (struct addrinfo *a = *found; a; a = a->ai_next)
		*loopback = *loopback && is_loopback(a->ai_addr);
	if (*loopback || c->tls_cert || c->insecure)
		return SL_OK;
	freeaddrinfo(*found);
	return sl_fail(err, SL_INVALID,
		       "refusing to listen on %s without TLS: set SLUICE_TLS_CERT and SLUICE_TLS_KEY, or "
		       "SLUICE_INSECURE=1",
		       c->listen);
}

enum sl_code sl_server_check(const struct sl_server_config *config, struct sl_error *err)
{
	char host[64], port[8];
	bool loopback;
	struct addrinfo *found = NULL;
	SSL_CTX *tls = NULL;
	enum sl_code rc = tls_of(config, &tls, err);
	SSL_CTX_free(tls);
	if (rc == SL_OK && (rc = resolve(config, host, port, &loopback, &found, err)) == SL_OK)
		freeaddrinfo(found);
	return rc;
}

enum sl_code sl_server_start(struct sl_server *s, struct sl_error *err)
{
	char host[64], port[8];
	struct addrinfo *found = NULL;
	enum sl_code code = resolve(&s->config, host, port, &s->loopback, &found, err);
	if (code != SL_OK)
		return code;
	/* A name with two addresses ("localhost") gets both, unless the port is to be picked: they would differ. */
	for (struct addrinfo *a = found; a && code == SL_OK && s->n_listeners < SERVER_LISTENERS; a = a->ai_next) {
		struct sl_error second;
		bool first = s->n_listeners == 0;
		code = listen_on(s, a->ai_addr, first ? err : &second);
		if (code != SL_OK && !first)
			code = SL_OK; /* one of them is enough */
		if (strcmp(port, "0") == 0)
			break;
	}
	freeaddrinfo(found);
	if (code == SL_OK && s->config.ws)
		code = handover_context(s, err);
	if (code != SL_OK) {
		forget_listeners(s);
		return code;
	}
	uv_timer_init(sl_loop_uv(s->config.loop), &s->tick);
	s->tick.data = s;
	s->tick_open = true;
	uint32_t least = s->timeouts.head_ms;
	uint64_t every = least / 4 < TICK_MS ? least / 4 + 1 : TICK_MS;
	uv_timer_start(&s->tick, on_tick, every, every);
	note_address(s, host);
	return SL_OK;
}

const char *sl_server_address(const struct sl_server *s)
{
	return s->address;
}

const char *sl_server_url(const struct sl_server *s)
{
	return s->url;
}

bool sl_server_tls(const struct sl_server *s)
{
	return s->tls != NULL;
}

bool sl_server_on_loopback(const struct sl_server *s)
{
	return s->loopback;
}

void sl_server_stats(const struct sl_server *s, struct sl_server_stats *out)
{
	*out = s->stats;
	out->in_flight = sl_server_in_flight(s);
}

uint32_t sl_server_in_flight(const struct sl_server *s)
{
	return atomic_load(&s->in_flight);
}

/* ---- jobs ---- */

struct job {
	uv_work_t work;
	struct sl_server *server;
	struct sl_server_job what;
};

static void job_run(uv_work_t *w)
{
	struct job *j = w->data;
	j->what.run(j->what.arg);
}

static void job_done(uv_work_t *w, int status)
{
	struct job *j = w->data;
	struct sl_server *s = j->server;
	struct sl_server_job what = j->what;
	free(j);
	s->jobs--;
	what.done(what.arg);
}

enum sl_code sl_server_job(struct sl_server *s, const struct sl_server_job *job)
{
	struct job *j = malloc(sizeof(*j));
	if (!j)
		return SL_NO_MEMORY;
	j->work.data = j;
	j->server = s;
	j->what = *job;
	if (uv_queue_work(sl_loop_uv(s->config.loop), &j->work, job_run, job_done) != 0) {
		free(j);
		return SL_NO_MEMORY;
	}
	s->jobs++;
	return SL_OK;
}

/* ---- stop ---- */

void sl_server_drain(struct sl_server *s)
{
	s->draining = true;
	close_listeners(s);
	sl_list_each_safe (it, tmp, &s->conns) {
		struct sl_conn *c = sl_list_entry(it, struct sl_conn, link);
		if (c->state == CONN_HEAD && c->in.len == 0)
			conn_close(c);
	}
}

static void on_tick_closed(uv_handle_t *h)
{
	struct sl_server *s = h->data;
	s->tick_open = false;
}

static bool all_gone(const struct sl_server *s)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (s->listeners[i])
			return false;
	return !s->tick_open && s->stats.open == 0 && s->jobs == 0;
}

static void on_stop_timer_closed(uv_handle_t *h)
{
	struct sl_server *s = h->data;
	uv_sem_post(s->stopped); /* the last thing that is done with s here */
}

/* Once a turn, until libwebsockets has given everything back, and every handle and job is gone. */
static void on_stop_turn(uv_timer_t *t)
{
	struct sl_server *s = t->data;
	s->stop_turns++;
	if (s->lws && s->stop_turns % 10 == 0)
		lws_context_destroy(s->lws); /* s->lws becomes NULL when it was the last call needed */
	if (s->stop_turns > 2000 && s->lws) {
		sl_log(SL_LOG_WARN, "api", "libwebsockets did not end; its memory is given up");
		s->lws = NULL;
	}
	if (!s->lws && s->config.ws && !s->ws_closed) {
		s->ws_closed = true;
		handover_fini(s);
		sl_ws_close(s->config.ws);
	}
	if (s->lws || s->stop_turns < 3 || !all_gone(s))
		return;
	uv_timer_stop(t);
	uv_close((uv_handle_t *)t, on_stop_timer_closed);
}

static void stop_on_front(struct sl_post *p)
{
	struct sl_server *s = SL_CONTAINER_OF(p, struct sl_server, stop_post);
	s->stopping = true;
	sl_server_drain(s);
	sl_list_each_safe (it, tmp, &s->conns)
		conn_close(sl_list_entry(it, struct sl_conn, link));
	if (s->tick_open)
		uv_close((uv_handle_t *)&s->tick, on_tick_closed);
	if (s->config.ws)
		sl_hub_drain(sl_ws_hub(s->config.ws));
	if (s->lws)
		lws_context_destroy(s->lws);
	uv_timer_init(sl_loop_uv(s->config.loop), &s->stop_timer);
	s->stop_timer.data = s;
	uv_timer_start(&s->stop_timer, on_stop_turn, 1, 1);
}

void sl_server_stop(struct sl_server *s)
{
	uv_sem_t stopped;
	if (s->stopping || (s->n_listeners == 0 && !s->lws))
		return;
	SL_BUG_ON(uv_sem_init(&stopped, 0) != 0);
	s->stopped = &stopped;
	s->stop_post.run = stop_on_front;
	sl_loop_post(s->config.loop, &s->stop_post);
	uv_sem_wait(&stopped);
	uv_sem_destroy(&stopped);
}
