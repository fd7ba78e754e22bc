/* api/conn.c: one HTTP connection: bytes in, requests out, deadlines, and a polite end.
 *
 * Surprise: an answer may be given from inside `handle`, which runs inside conn_process(); the loop there goes on with
 * what the client sent ahead, so nothing recurses. Whatever closes a connection in there only marks it: it is freed in
 * the close callbacks.
 */
#include "api/server_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "ws/hub.h"

#define LINGER_MS        2000
#define LINGER_MAX_BYTES (8u << 20)

static void on_handle_closed(uv_handle_t *h)
{
	struct sl_conn *c = h->data;
	if (--c->open_handles)
		return;
	c->server->stats.open--;
	tls_end(c);
	sl_buf_fini(&c->in);
	free(c);
}

void conn_close(struct sl_conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_CLOSED;
	sl_list_drop(&c->link);
	struct sl_request *r = SL_TAKE(c->request);
	if (c->pipe.data)
		uv_close((uv_handle_t *)&c->pipe, on_handle_closed);
	uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
	if (!r)
		return;
	r->conn = NULL;
	atomic_fetch_sub(&c->server->in_flight, 1);
	if (!r->answered || r->streaming) {
		c->server->stats.gone++;
		void (*gone)(struct sl_request *, void *) = r->on_gone;
		r->on_gone = NULL;
		if (gone)
			gone(r, r->on_ctx);
	}
	sl_request_unref(r);
}

static uint64_t deadline_in(uint32_t ms)
{
	return sl_clock_mono_ms() + ms;
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct sl_conn *c = h->data;
	*buf = uv_buf_init(c->server->read_buf, sizeof(c->server->read_buf));
}

static void on_eof(struct sl_conn *c)
{
	c->eof = true;
	conn_pause(c);
	/* Half-closed clients still want their answer, unless somebody asked to hear of a client that left. */
	if (c->state == CONN_ANSWER && c->request && !c->request->on_gone)
		return;
	if (c->state == CONN_ANSWER && !c->request && conn_unsent(c))
		return;
	conn_close(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct sl_conn *c = stream->data;
	if (c->state == CONN_CLOSED || n == 0)
		return;
	if (n == UV_EOF) {
		on_eof(c);
		return;
	}
	if (n < 0) {
		conn_close(c);
		return;
	}
	if (c->ssl)
		tls_input(c, buf->base, (size_t)n);
	else
		conn_input(c, buf->base, (size_t)n);
}

void conn_pause(struct sl_conn *c)
{
	if (c->reading && c->state != CONN_CLOSED) {
		uv_read_stop((uv_stream_t *)&c->tcp);
		c->reading = false;
	}
}

void conn_resume(struct sl_conn *c)
{
	if (c->reading || c->eof || c->state == CONN_CLOSED)
		return;
	if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0)
		c->reading = true;
	else
		conn_close(c);
}

void conn_input(struct sl_conn *c, const char *p, size_t len)
{
	if (c->state == CONN_CLOSED)
		return;
	if (c->state == CONN_LINGER) {
		c->body_remain = c->body_remain > len ? c->body_remain - len : 0;
		if (c->body_remain == 0)
			conn_close(c);
		return;
	}
	if (c->state == CONN_TUNNEL) {
		tunnel_input(c, p, len);
		return;
	}
	sl_buf_add(&c->in, p, len);
	if (c->in.failed) {
		conn_close(c);
		return;
	}
	conn_process(c);
}

/* ---- writing ---- */

struct write {
	uv_write_t req;
	struct sl_conn *conn;
	struct sl_bytes *keep;
	char copy[];
};

size_t conn_unsent(const struct sl_conn *c)
{
	return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

static void on_drained(struct sl_conn *c)
{
	if (c->state == CONN_STREAM && c->request && c->request->on_writable)
		c->request->on_writable(c->request, c->request->on_ctx);
	else if (c->state == CONN_TUNNEL)
		tunnel_input(c, NULL, 0);
	else if (c->state == CONN_ANSWER && !c->request)
		conn_answered(c);
}

static void on_written(uv_write_t *req, int status)
{
	struct write *w = SL_CONTAINER_OF(req, struct write, req);
	struct sl_conn *c = w->conn;
	sl_bytes_unref(w->keep);
	free(w);
	if (c->state == CONN_CLOSED)
		return;
	if (status < 0)
		conn_close(c);
	else if (conn_unsent(c) == 0)
		on_drained(c);
}

static struct sl_str after(struct sl_str s, size_t n)
{
	return n >= s.len ? sl_str_n(s.p, 0) : sl_str_n(s.p + n, s.len - n);
}

void conn_write_raw(struct sl_conn *c, struct sl_str head, struct sl_str body, enum conn_body how,
		    struct sl_bytes *keep)
{
	if (c->state == CONN_CLOSED)
		return;
	if (conn_unsent(c) == 0) {
		uv_buf_t now[2] = {{.base = (char *)(uintptr_t)head.p, .len = head.len},
				   {.base = (char *)(uintptr_t)body.p, .len = body.len}};
		int n = head.len ? uv_try_write((uv_stream_t *)&c->tcp, now, body.len ? 2 : 1)
				 : uv_try_write((uv_stream_t *)&c->tcp, now + 1, 1);
		if (n < 0 && n != UV_EAGAIN) {
			c->close_after =
				true; /* the read side will tell, or the deadline: not from inside a handler's call */
			c->deadline_ms = 1;
			return;
		}
		if (n > 0) {
			size_t sent = (size_t)n, of_head = sent < head.len ? sent : head.len;
			head = after(head, of_head);
			body = after(body, sent - of_head);
		}
	}
	if (head.len + body.len == 0)
		return;
	size_t copied = head.len + (how == CONN_COPY ? body.len : 0);
	struct write *w = malloc(sizeof(*w) + copied);
	if (!w) {
		c->close_after = true;
		c->deadline_ms = 1;
		return;
	}
	w->conn = c;
	w->keep = how == CONN_KEEP ? sl_bytes_ref(keep) : NULL;
	if (head.len)
		memcpy(w->copy, head.p, head.len);
	if (how == CONN_COPY && body.len)
		memcpy(w->copy + head.len, body.p, body.len);
	uv_buf_t rest[2] = {{.base = w->copy, .len = copied}, {.base = (char *)(uintptr_t)body.p, .len = body.len}};
	if (how == CONN_COPY)
		rest[1].len = 0;
	unsigned first = rest[0].len == 0, count = (rest[0].len != 0) + (rest[1].len != 0);
	if (uv_write(&w->req, (uv_stream_t *)&c->tcp, rest + first, count, on_written) != 0) {
		sl_bytes_unref(w->keep);
		free(w);
		c->close_after = true;
		c->deadline_ms = 1;
	}
}

void conn_write(struct sl_conn *c, struct sl_str head, struct sl_str body, enum conn_body how, struct sl_bytes *keep)
{
	if (c->state == CONN_CLOSED)
		return;
	if (!c->ssl) {
		conn_write_raw(c, head, body, how, keep);
		return;
	}
	if (!tls_output(c, head.p, head.len) || !tls_output(c, body.p, body.len)) {
		c->close_after = true;
		c->deadline_ms = 1;
	}
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
	free(req);
}

/* Sends FIN after what is queued and reads on for a moment: closing with unread bytes would reset the connection and
 * could take the answer with it. */
static void linger(struct sl_conn *c)
{
	uv_shutdown_t *req = malloc(sizeof(*req));
	if (c->ssl)
		tls_bye(c);
	if (c->eof || !req || uv_shutdown(req, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
		free(req);
		conn_close(c);
		return;
	}
	c->state = CONN_LINGER;
	c->body_remain = LINGER_MAX_BYTES;
	c->deadline_ms = deadline_in(LINGER_MS);
	sl_buf_reset(&c->in);
	conn_resume(c);
}

void conn_answered(struct sl_conn *c)
{
	struct sl_request *r = SL_TAKE(c->request);
	if (r) {
		r->conn = NULL;
		atomic_fetch_sub(&c->server->in_flight, 1);
		sl_request_unref(r);
	}
	if (c->state == CONN_CLOSED)
		return;
	c->state = CONN_ANSWER;
	c->deadline_ms = c->deadline_ms == 1 ? 1 : 0;
	if (conn_unsent(c))
		return; /* on_drained() comes back here: neither another request nor the end before all of it is taken
			 */
	if (c->close_after || c->eof || c->server->stopping || (c->server->draining && c->in.len == 0)) {
		linger(c);
		return;
	}
	c->state = CONN_HEAD;
	c->deadline_ms = deadline_in(c->server->timeouts.idle_ms);
	if (c->in.len == 0 && c->in.cap > 4096)
		sl_buf_fini(&c->in); /* an idle connection keeps no memory; max_bytes stays */
	conn_resume(c);
	if (!c->processing)
		conn_process(c);
}

/* ---- requests ---- */

static void rebase(struct sl_str *s, const char *from, const char *to)
{
	if (s->len)
		s->p = to + (s->p - from);
}

static bool wanted_request_id(struct sl_str id)
{
	if (id.len == 0 || id.len >= SL_REQUEST_ID_BYTES)
		return false;
	for (size_t i = 0; i < id.len; i++) {
		char ch = id.p[i];
		if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' ||
		      ch == '_' || ch == '.'))
			return false;
	}
	return true;
}

static struct sl_request *request_new(struct sl_conn *c, const struct sl_http1_head *head, size_t used)
{
	struct sl_request *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	atomic_init(&r->refs, 1);
	r->server = c->server;
	sl_arena_init(&r->arena, 256 << 10);
	sl_buf_init(&r->body, SL_LIMIT_BODY_BYTES);
	sl_buf_init(&r->extra, 8 << 10);
	r->head_text = malloc(used);
	if (!r->head_text) {
		sl_request_unref(r);
		return NULL;
	}
	memcpy(r->head_text, c->in.data, used);
	r->head = *head;
	rebase(&r->head.path, c->in.data, r->head_text);
	rebase(&r->head.query, c->in.data, r->head_text);
	rebase(&r->head.host, c->in.data, r->head_text);
	for (size_t i = 0; i < r->head.n_headers; i++) {
		rebase(&r->head.headers[i].name, c->in.data, r->head_text);
		rebase(&r->head.headers[i].value, c->in.data, r->head_text);
	}
	struct sl_str id = sl_http1_find(&r->head, "x-request-id");
	if (wanted_request_id(id)) {
		memcpy(r->id, id.p, id.len);
	} else {
		char text[SL_UUID_TEXT_BYTES];
		sl_uuid_format(sl_uuid_new(), text);
		memcpy(r->id, text, sizeof(text));
	}
	memcpy(r->peer, c->peer, sizeof(r->peer));
	/* A proxy on this machine speaks for others. */
	r->peer_loopback = c->peer_loopback && !sl_http1_find(&r->head, "x-forwarded-for").len &&
			   !sl_http1_find(&r->head, "forwarded").len;
	r->tls = c->ssl != NULL;
	r->began_us = sl_clock_mono_us();
	return r;
}

static void dispatch(struct sl_conn *c)
{
	c->state = CONN_ANSWER;
	c->deadline_ms = deadline_in(c->request->answer_ms ? c->request->answer_ms : c->server->timeouts.answer_ms);
	struct sl_request *r = sl_request_ref(c->request);
	c->server->config.handle(c->server->config.ctx, r);
	sl_request_unref(r);
}

/* A whole head is at the front of c->in. */
static void begin_request(struct sl_conn *c, const struct sl_http1_head *head, size_t used)
{
	struct sl_server *s = c->server;
	struct sl_request *r = request_new(c, head, used);
	if (!r) {
		conn_close(c);
		return;
	}
	s->stats.requests++;
	atomic_fetch_add(&s->in_flight, 1);
	c->request = r;
	r->conn = c;
	c->state = CONN_ANSWER;
	if (!head->keep_alive)
		c->close_after = true;
	struct sl_str path = r->head.path;
	bool upgrade = head->upgrade_websocket && s->lws && sl_str_is(path, s->config.ws_path) &&
		       head->framing == SL_BODY_NONE;
	/* libwebsockets reads the head again, and what may have come behind it. */
	SL_AUTO(sl_bytes) read_so_far = upgrade ? sl_bytes_new(c->in.data, c->in.len) : NULL;
	sl_buf_drop_front(&c->in, used);
	if (upgrade) {
		struct sl_ws_identity who = {0};
		struct sl_request *held = sl_request_ref(r);
		if (s->config.upgrade(s->config.ctx, held, &who) == SL_OK) {
			s->stats.upgrades++;
			handover(c, &who, sl_bytes_str(read_so_far));
		}
		sl_request_unref(held);
		return;
	}
	/* A body is on its way: if the head alone is answered, it is not read, so the connection cannot go on. */
	bool body = head->framing != SL_BODY_NONE, keep = !c->close_after;
	if (body)
		c->close_after = true;
	sl_request_ref(r);
	s->config.head(s->config.ctx, r);
	bool answered = r->answered;
	sl_request_unref(r);
	if (answered || c->state == CONN_CLOSED)
		return;
	if (body && keep)
		c->close_after = false;
	if (!body) {
		dispatch(c);
		return;
	}
	if (head->framing == SL_BODY_LENGTH && head->content_length > SL_LIMIT_BODY_BYTES) {
		c->close_after = true;
		sl_answer_problem(r, SL_TOO_LARGE, "a body may have at most %u bytes", SL_LIMIT_BODY_BYTES);
		return;
	}
	if (head->expect_continue && c->in.len == 0)
		conn_write(c, SL_STR("HTTP/1.1 100 Continue\r\n\r\n"), SL_STR(""), CONN_STABLE, NULL);
	memset(&c->chunks, 0, sizeof(c->chunks));
	c->body_remain = head->content_length;
	c->state = CONN_BODY;
	c->deadline_ms = deadline_in(s->timeouts.body_ms);
}

/* false: wait for more bytes. */
static bool collect_body(struct sl_conn *c)
{
	struct sl_request *r = c->request;
	struct sl_str in = sl_buf_str(&c->in), data = in;
	size_t used;
	bool done;
	if (r->head.framing == SL_BODY_LENGTH) {
		used = in.len < c->body_remain ? in.len : (size_t)c->body_remain;
		data = sl_str_n(in.p, used);
		c->body_remain -= used;
		done = c->body_remain == 0;
	} else {
		if (sl_http1_chunk(&c->chunks, in, &used, &data) != SL_OK) {
			c->close_after = true;
			sl_answer_problem(r, SL_BAD_REQUEST, "the chunked coding of the body is broken");
			return true;
		}
		done = c->chunks.done;
	}
	sl_buf_add(&r->body, data.p, data.len);
	sl_buf_drop_front(&c->in, used);
	if (r->body.failed) {
		c->close_after = true;
		sl_answer_problem(r, SL_TOO_LARGE, "a body may have at most %u bytes", SL_LIMIT_BODY_BYTES);
		return true;
	}
	if (done)
		dispatch(c);
	return done || (used && c->in.len);
}

void conn_process(struct sl_conn *c)
{
	c->processing = true;
	for (bool more = true; more && c->in.len;) {
		if (c->state == CONN_HEAD) {
			struct sl_http1_head head;
			size_t used;
			int status;
			enum sl_code rc = sl_http1_parse(sl_buf_str(&c->in), &head, &used, &status);
			if (rc == SL_OK) {
				begin_request(c, &head, used);
			} else if (rc == SL_BUSY) {
				uint64_t by = deadline_in(c->server->timeouts.head_ms);
				if (c->deadline_ms > by)
					c->deadline_ms = by; /* moves only once: `by` is later at every further byte */
				more = false;
			} else {
				c->server->stats.refused_heads++;
				answer_refuse(c, status, SL_BAD_REQUEST,
					      status == 431   ? "the head of the request is too large"
					      : status == 505 ? "this server speaks HTTP/1.1"
							      : "the request is not well-formed HTTP/1.1");
				more = false;
			}
		} else if (c->state == CONN_BODY) {
			more = collect_body(c);
		} else {
			if (c->in.len > SL_LIMIT_HTTP_PIPELINED_BYTES)
				conn_pause(c);
			more = false;
		}
	}
	c->processing = false;
}

/* ---- life ---- */

void conn_tick(struct sl_conn *c, uint64_t now_ms)
{
	struct sl_server *s = c->server;
	size_t unsent = conn_unsent(c);
	if (unsent == 0 || unsent != c->unsent_seen || c->state == CONN_TUNNEL) {
		c->unsent_seen = unsent;
		c->unsent_since_ms = now_ms;
	} else if (now_ms - c->unsent_since_ms >= s->timeouts.stalled_ms) {
		s->stats.timeouts++;
		conn_close(c);
		return;
	}
	if (c->deadline_ms == 0 || now_ms < c->deadline_ms)
		return;
	s->stats.timeouts += c->deadline_ms != 1 && c->state != CONN_LINGER;
	if (c->deadline_ms == 1 || c->state == CONN_LINGER || c->state == CONN_STREAM || c->state == CONN_TUNNEL ||
	    (c->state == CONN_HEAD && c->in.len == 0)) {
		conn_close(c);
	} else if (c->state == CONN_HEAD) {
		answer_refuse(c, 408, SL_TIMEOUT, "the head of the request did not arrive in time");
	} else if (c->state == CONN_BODY) {
		c->close_after = true;
		sl_answer_problem_with(c->request, 408, SL_TIMEOUT, SL_STR("the body did not arrive in time"),
				       SL_STR(""), 0, SL_STR(""));
	} else if (c->request) {
		c->close_after = true;
		sl_answer_problem(c->request, SL_TIMEOUT, "no answer in time");
	}
}

static void name_peer(struct sl_conn *c)
{
	struct sockaddr_storage a;
	int len = sizeof(a);
	if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &len) != 0)
		return;
	SL_IGNORE(uv_ip_name((struct sockaddr *)&a, c->peer, sizeof(c->peer))); /* empty is fine: it is for the log */
	c->peer_loopback = strncmp(c->peer, "127.", 4) == 0 || strcmp(c->peer, "::1") == 0 ||
			   strncmp(c->peer, "::ffff:127.", 11) == 0;
}

void conn_accept(struct sl_server *s, uv_stream_t *listener)
{
	struct sl_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return; /* libuv asks again when the next one comes */
	c->server = s;
	sl_list_init(&c->link);
	sl_buf_init(&c->in, SL_LIMIT_HEADER_BYTES + SL_LIMIT_HTTP_PIPELINED_BYTES + 2 * sizeof(s->read_buf));
	SL_BUG_ON(uv_tcp_init(sl_loop_uv(s->config.loop), &c->tcp) != 0);
	c->tcp.data = c;
	c->open_handles = 1;
	s->stats.open++;
	s->stats.accepted++;
	sl_list_append(&s->conns, &c->link);
	bool full = s->stats.open > s->config.max_connections;
	/* With TLS the refusal would cost a handshake: it is only closed. */
	if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || (s->tls && (full || !tls_begin(c)))) {
		conn_close(c);
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
	name_peer(c);
	c->state = CONN_HEAD;
	c->deadline_ms = deadline_in(s->timeouts.head_ms);
	if (full) {
		answer_refuse(c, 503, SL_BUSY, "too many connections");
		return;
	}
	conn_resume(c);
}
