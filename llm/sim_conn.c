/* llm/sim_conn.c: a connection of the simulator: reads requests, writes answers, notices when the client goes. It reads
 * all the time, because that is how a closed socket shows. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "llm/sim_priv.h"

#define SIM_REQUEST_BYTES (20u << 20)

static void conn_freed(uv_handle_t *h)
{
	struct sim_conn *c = h->data;
	if (--c->handles)
		return;
	sl_buf_fini(&c->in);
	sl_buf_fini(&c->pending);
	free(c->in_flight);
	free(c);
}

void sl_sim_conn_close(struct sim_conn *c, bool reset)
{
	if (c->closing)
		return;
	c->closing = true;
	sl_list_drop(&c->link);
	atomic_fetch_sub(&c->sim->open, 1);
	sl_sim_reply_end(c, SIM_STOPPED); /* whoever knows a better reason has ended it before */
	uv_close((uv_handle_t *)&c->timer, conn_freed);
	if (!reset || uv_tcp_close_reset(&c->tcp, conn_freed) != 0)
		uv_close((uv_handle_t *)&c->tcp, conn_freed);
}

static void conn_lost(struct sim_conn *c)
{
	if (c->reply) {
		atomic_store(&c->sim->last_closed_us, sl_clock_mono_us());
		atomic_fetch_add(&c->sim->closed_by_client, 1); /* after it: who sees the count sees the time */
		sl_sim_reply_end(c, SIM_CLOSED_BY_CLIENT);
	}
	sl_sim_conn_close(c, false);
}

struct sl_str sl_sim_header(struct sl_str headers, const char *name)
{
	size_t n = strlen(name);
	while (headers.len) {
		struct sl_str line, rest;
		if (!sl_str_cut(headers, '\n', &line, &rest))
			line = headers, rest = sl_str_n("", 0);
		if (line.len > n && line.p[n] == ':' && strncasecmp(line.p, name, n) == 0)
			return sl_str_trim(sl_str_n(line.p + n + 1, line.len - n - 1));
		headers = rest;
	}
	return sl_str_n("", 0);
}

static void conn_bad(struct sim_conn *c, int status, const char *why)
{
	c->keep_alive = false;
	SL_BUF(body, 512);
	sl_buf_addf(&body,
		    "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}",
		    why);
	sl_sim_conn_answer(c, status, "application/json", "", sl_buf_str(&body));
}

/* One request when it is complete. false: wait for more, or the connection is busy or gone. */
static bool conn_take_request(struct sim_conn *c)
{
	struct sl_str in = sl_buf_str(&c->in), line, rest, word;
	struct sim_request r = {0};
	uint64_t body = 0;
	if (c->reply || c->closing || c->close_after_write || in.len == 0)
		return false;
	const char *end = memmem(in.p, in.len, "\r\n\r\n", 4);
	if (!end) {
		if (in.len > SL_LIMIT_HEADER_BYTES)
			conn_bad(c, 431, "the headers are too long");
		return false;
	}
	size_t head = (size_t)(end - in.p) + 4;
	if (!sl_str_cut(sl_str_n(in.p, head - 2), '\n', &line, &r.headers) ||
	    !sl_str_cut(line, ' ', &r.method, &rest) || !sl_str_cut(rest, ' ', &r.path, &word)) {
		conn_bad(c, 400, "not an HTTP/1.1 request");
		return false;
	}
	struct sl_str length = sl_sim_header(r.headers, "content-length");
	if (sl_sim_header(r.headers, "transfer-encoding").len || (length.len && !sl_str_u64(length, &body)) ||
	    body > SIM_REQUEST_BYTES) {
		conn_bad(c, 411, "a Content-Length of at most 20 MiB is needed");
		return false;
	}
	if (in.len - head < body)
		return false;
	r.body = sl_str_n(in.p + head, body);
	r.keep_alive = !sl_str_is_nocase(sl_sim_header(r.headers, "connection"), "close");
	c->keep_alive = r.keep_alive;
	c->served++;
	struct sl_str query;
	(void)sl_str_cut(r.path, '?', &r.path, &query); /* the query does not matter */
	sl_sim_reply_begin(c, &r);
	if (c->closing)
		return false;
	sl_buf_drop_front(&c->in, head + body);
	if (c->in.len == 0)
		sl_buf_fini(&c->in); /* ten thousand waiting streams need no input buffers */
	return true;
}

static void conn_take_requests(struct sim_conn *c)
{
	if (c->taking) /* an answer that was given at once: the loop below goes on */
		return;
	c->taking = true;
	while (conn_take_request(c)) {
	}
	c->taking = false;
}

static void conn_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct sim_conn *c = h->data;
	*b = uv_buf_init(c->sim->read, sizeof(c->sim->read));
}

static void conn_on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
	struct sim_conn *c = st->data;
	if (n < 0) {
		conn_lost(c);
		return;
	}
	sl_buf_add(&c->in, b->base, (size_t)n);
	if (c->in.failed) {
		sl_sim_conn_close(c, true);
		return;
	}
	conn_take_requests(c);
}

void sl_sim_conn_next(struct sim_conn *c)
{
	if (c->closing)
		return;
	if (c->keep_alive) {
		conn_take_requests(c);
		return;
	}
	c->close_after_write = true;
	if (!c->writing)
		sl_sim_conn_close(c, false);
}

static void conn_on_written(uv_write_t *w, int status);
static void conn_flush(struct sim_conn *c)
{
	if (c->writing || c->pending.len == 0)
		return;
	size_t n = c->pending.len;
	c->in_flight = sl_buf_take(&c->pending);
	if (!c->in_flight) {
		sl_sim_conn_close(c, true);
		return;
	}
	uv_buf_t b = uv_buf_init(c->in_flight, (unsigned)n);
	c->writing = true;
	if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, conn_on_written) != 0) {
		c->writing = false;
		conn_lost(c);
	}
}

static void conn_on_shut(uv_shutdown_t *r, int status)
{
	/* The client sees the end; we go when it does. */
}

static void conn_on_written(uv_write_t *w, int status)
{
	struct sim_conn *c = w->handle->data;
	free(c->in_flight);
	c->in_flight = NULL;
	c->writing = false;
	if (c->closing)
		return;
	if (status < 0) {
		conn_lost(c);
		return;
	}
	if (c->pending.len) {
		conn_flush(c);
	} else if (c->half_close_after_write) {
		uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, conn_on_shut);
	} else if (c->close_after_write) {
		sl_sim_conn_close(c, false);
	} else {
		sl_sim_reply_resume(c);
	}
}

void sl_sim_conn_send(struct sim_conn *c, struct sl_str bytes)
{
	if (c->closing || bytes.len == 0)
		return;
	if (!c->writing && c->pending.len == 0) {
		uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.len);
		int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
		if (n < 0 && n != UV_EAGAIN)
			return; /* the read callback reports the closed socket */
		if (n > 0)
			bytes.p += n, bytes.len -= (size_t)n;
	}
	sl_buf_add(&c->pending, bytes.p, bytes.len);
	conn_flush(c);
}

void sl_sim_conn_half_close(struct sim_conn *c)
{
	if (c->writing)
		c->half_close_after_write = true;
	else
		uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, conn_on_shut);
}

static const char *reason_of(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 429:
		return "Too Many Requests";
	default:
		return status < 500 ? "Refused" : "Failed";
	}
}

void sl_sim_conn_answer(struct sim_conn *c, int status, const char *type, const char *headers, struct sl_str body)
{
	struct sl_buf *b = &c->sim->out;
	sl_buf_reset(b);
	sl_buf_addf(b, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nx-sluice-simulator: 1\r\n%s%s\r\n",
		    status, reason_of(status), type, body.len, headers, c->keep_alive ? "" : "Connection: close\r\n");
	sl_buf_add(b, body.p, body.len);
	sl_sim_conn_send(c, sl_buf_str(b));
	sl_sim_conn_next(c);
}

void sl_sim_conn_accept(struct sl_sim *s)
{
	struct sim_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return; /* the connection stays in the backlog until there is memory */
	c->sim = s;
	c->handles = 2;
	sl_buf_init(&c->in, SIM_REQUEST_BYTES + 2 * SL_LIMIT_HEADER_BYTES);
	sl_buf_init(&c->pending, SIM_REQUEST_BYTES);
	uv_tcp_init(sl_loop_uv(s->loop), &c->tcp);
	uv_timer_init(sl_loop_uv(s->loop), &c->timer);
	c->tcp.data = c->timer.data = c;
	sl_list_append(&s->conns, &c->link);
	atomic_fetch_add(&s->open, 1);
	atomic_fetch_add(&s->total, 1);
	if (uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&c->tcp) != 0 ||
	    uv_read_start((uv_stream_t *)&c->tcp, conn_alloc, conn_on_read) != 0) {
		sl_sim_conn_close(c, false);
		return;
	}
	uv_tcp_nodelay(&c->tcp, 1);
}
