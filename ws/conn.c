/* ws/conn.c: see conn.h. Measured with libwebsockets 4.1.6 (docs/PERFORMANCE.md): asking for a writable callback per
 * message costs four system calls, so frames are written directly, from uv_check, and the callback is asked for only by
 * a socket that is full.
 *
 * A raw write (LWS_WRITE_HTTP) sends bytes as they are: our frames carry their headers already, one buffer serves all.
 * Every raw write ends at a frame boundary, because libwebsockets may put its PONG or CLOSE between any two. On HTTP/2
 * there is no raw path; there each frame is taken apart again and written as a message, one per writable callback.
 */
#include "ws/conn.h"

#include <libwebsockets.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/utf8.h"
#include "ws/encode.h"

#define RX_PIECE_BYTES   256          /* of an idle connection's memory; messages are put together here */
#define TX_BYTES         (128u << 10) /* above any piece the hub writes: one send each */
#define NOTSENT_BYTES    (64u << 10)  /* what the kernel may hold beyond the peer's window: the rest stays a cursor */
#define CLOSE_PATIENCE_S 5

struct handles { /* freed when the loop has given back all of them */
	uv_check_t after_poll;
	uv_prepare_t before_poll;
	uv_timer_t timer;
	int open;
};
struct sl_ws {
	struct sl_ws_config config;
	struct sl_hub *hub;
	struct handles *uv;
	uint64_t wake_ms;
	struct sl_post wake;
	_Atomic bool waking;
};

struct conn { /* per-session memory of libwebsockets, zeroed by it */
	struct sl_hub_sink sink;
	struct sl_ws *ws;
	struct lws *wsi;
	struct sl_hub_conn *hub_conn;
	struct sl_ws_identity who;
	struct sl_buf rx;      /* a message that came in pieces */
	struct sl_buf pending; /* HTTP/2: frames to be written one by one */
	bool raw, binary, closing;
	int close_code;
	const char *close_reason;
};

/* ---- the hub's turns ---- */

static void turn(struct sl_ws *ws)
{
	sl_hub_turn(ws->hub);
}

static void on_check(uv_check_t *h)
{
	turn(h->data);
}

static void on_prepare(uv_prepare_t *h) /* timers of this turn may have changed something */
{
	turn(h->data);
}

static void on_timer(uv_timer_t *h)
{
	struct sl_ws *ws = h->data;
	uint64_t now = sl_clock_mono_ms();
	if (now < ws->wake_ms) /* the loop's clock and ours may differ by a millisecond */
		uv_timer_start(h, on_timer, ws->wake_ms - now, 0);
}

static void hub_wake_at(void *ctx, uint64_t mono_ms)
{
	struct sl_ws *ws = ctx;
	ws->wake_ms = mono_ms;
	if (!ws->uv)
		return;
	if (mono_ms == UINT64_MAX) {
		uv_timer_stop(&ws->uv->timer);
		return;
	}
	uint64_t now = sl_clock_mono_ms();
	uv_update_time(ws->uv->timer.loop);
	uv_timer_start(&ws->uv->timer, on_timer, mono_ms > now ? mono_ms - now : 0, 0);
}

static void on_wake(struct sl_post *p)
{
	struct sl_ws *ws = SL_CONTAINER_OF(p, struct sl_ws, wake);
	atomic_store(&ws->waking, false); /* the turn itself follows, in uv_check */
}

static void hub_wake(void *ctx) /* [any] */
{
	struct sl_ws *ws = ctx;
	if (!atomic_exchange(&ws->waking, true))
		sl_loop_post(ws->config.loop, &ws->wake);
}

/* ---- the sink ---- */

static struct conn *conn_of(struct sl_hub_sink *s)
{
	return SL_CONTAINER_OF(s, struct conn, sink);
}

static void kill_later(struct conn *c)
{
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static bool sink_ready(struct sl_hub_sink *s)
{
	struct conn *c = conn_of(s);
	if (!lws_partial_buffered(c->wsi) && c->pending.len == 0)
		return true;
	lws_callback_on_writable(c->wsi);
	return false;
}

static enum sl_sink_result sink_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	struct conn *c = conn_of(s);
	if (c->closing)
		return SL_SINK_GONE;
	if (!c->raw) {
		sl_buf_add(&c->pending, bytes, len);
		lws_callback_on_writable(c->wsi);
		if (c->pending.failed) {
			kill_later(c);
			return SL_SINK_GONE;
		}
		return SL_SINK_FULL;
	}
	/* libwebsockets does not write into what it sends raw; its prototype has no const */
	if (lws_write(c->wsi, (unsigned char *)(uintptr_t)bytes, len, LWS_WRITE_HTTP) < 0) {
		c->closing = true;
		kill_later(c);
		return SL_SINK_GONE;
	}
	if (!lws_partial_buffered(c->wsi))
		return SL_SINK_MORE;
	lws_callback_on_writable(c->wsi);
	return SL_SINK_FULL;
}

static void sink_want_writable(struct sl_hub_sink *s)
{
	lws_callback_on_writable(conn_of(s)->wsi);
}

/* Our close frame goes out at once, behind what is still buffered: libwebsockets, asked to close a socket that is full
 * or whose context ends, would drop the rest and the code. The peer's answer, or its silence for a few seconds, ends
 * it. */
static void close_raw(struct conn *c, int code, const char *reason)
{
	unsigned char frame[LWS_PRE + 4 + 123];
	uint8_t *p = frame + LWS_PRE;
	size_t n = strlen(reason) > 123 ? 123 : strlen(reason);
	p[0] = 0x80 | SL_WS_CLOSE;
	p[1] = (uint8_t)(n + 2);
	p[2] = (uint8_t)(code >> 8);
	p[3] = (uint8_t)code;
	memcpy(p + 4, reason, n);
	if (lws_write(c->wsi, p, n + 4, LWS_WRITE_HTTP) < 0)
		kill_later(c);
	else
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, CLOSE_PATIENCE_S);
}

static void sink_close(struct sl_hub_sink *s, int code, const char *reason)
{
	struct conn *c = conn_of(s);
	if (c->closing)
		return;
	c->closing = true;
	if (c->raw) {
		close_raw(c, code, reason);
		return;
	}
	c->close_code = code;
	c->close_reason = reason;
	lws_callback_on_writable(c->wsi);
}

static long sink_unsent(struct sl_hub_sink *s)
{
	int n;
	int fd = lws_get_socket_fd(lws_get_network_wsi(conn_of(s)->wsi));
	return ioctl(fd, SIOCOUTQ, &n) == 0 ? n : -1;
}

static const struct sl_hub_sink_ops sink_ops = {
	.ready = sink_ready,
	.write = sink_write,
	.want_writable = sink_want_writable,
	.close = sink_close,
	.unsent = sink_unsent,
};

/* HTTP/2: the next frame of what is pending. */
static int write_pending(struct conn *c)
{
	size_t header, payload;
	if (c->pending.len == 0)
		return 0;
	SL_BUG_ON(!sl_ws_frame_measure(c->pending.data, c->pending.len, &header, &payload));
	const uint8_t *head = (const uint8_t *)c->pending.data;
	int opcode = head[0] & 15, flags = opcode == SL_WS_CONT ? LWS_WRITE_CONTINUATION : LWS_WRITE_TEXT;
	if (opcode == SL_WS_PING_FRAME)
		flags = LWS_WRITE_PING;
	else if (!(head[0] & 0x80))
		flags |= LWS_WRITE_NO_FIN;
	SL_AUTO_MEM unsigned char *copy = malloc(LWS_PRE + payload);
	if (!copy)
		return -1;
	memcpy(copy + LWS_PRE, c->pending.data + header, payload);
	if (lws_write(c->wsi, copy + LWS_PRE, payload, (enum lws_write_protocol)flags) < 0)
		return -1;
	sl_buf_drop_front(&c->pending, header + payload);
	return 0;
}

/* ---- the protocol ---- */

static int refuse(struct lws *wsi, int status, const char *why)
{
	sl_log(SL_LOG_DEBUG, "ws", "handshake refused", SL_KI("status", status), SL_KS("why", why));
	lws_return_http_status(wsi, (unsigned)status, why);
	return 1;
}

static int on_handshake(struct sl_ws *ws, struct lws *wsi, struct conn *c)
{
	char path[64];
	int n = lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_GET_URI);
	if (n <= 0)
		n = lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_HTTP_COLON_PATH);
	if (n <= 0 || strcmp(path, ws->config.path) != 0)
		return refuse(wsi, 404, "no socket here");
	if (sl_hub_full(ws->hub))
		return refuse(wsi, 503, "too many connections");
	enum sl_code rc = ws->config.authenticate(ws->config.auth_ctx, wsi, &c->who);
	if (rc != SL_OK)
		return refuse(wsi, sl_code_http(rc), sl_code_wire(rc));
	return 0;
}

static int on_established(struct sl_ws *ws, struct lws *wsi, struct conn *c)
{
	struct lws *net = lws_get_network_wsi(wsi);
	int limit = NOTSENT_BYTES;
	c->sink.ops = &sink_ops;
	c->ws = ws;
	c->wsi = wsi;
	c->raw = net == wsi;
	sl_buf_init(&c->rx, SL_LIMIT_WS_MESSAGE_BYTES);
	sl_buf_init(&c->pending, TX_BYTES * 2);
	/* only a saving: without it a slow reader's data waits in the kernel instead of as a cursor */
	(void)setsockopt(lws_get_socket_fd(net), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &limit, sizeof(limit));
	c->hub_conn = sl_hub_conn_open(ws->hub, &c->sink, SL_HUB_WEBSOCKET, &c->who);
	return c->hub_conn ? 0 : -1;
}

static void on_text(struct conn *c, struct sl_str text)
{
	if (c->binary)
		sl_hub_bad_message(c->hub_conn, "commands are text frames");
	else if (!sl_utf8_valid(text.p, text.len))
		sink_close(&c->sink, SL_WS_CLOSE_NOT_UTF8, "text is not UTF-8");
	else
		sl_hub_message(c->hub_conn, text);
}

/* Pieces of at most RX_PIECE_BYTES, also of small messages. */
static int on_receive(struct conn *c, const void *in, size_t len)
{
	bool whole = lws_is_final_fragment(c->wsi) && lws_remaining_packet_payload(c->wsi) == 0;
	if (c->closing)
		return 0;
	if (lws_is_first_fragment(c->wsi) && c->rx.len == 0)
		c->binary = lws_frame_is_binary(c->wsi);
	if (whole && c->rx.len == 0) {
		on_text(c, sl_str_n(in, len));
		return 0;
	}
	sl_buf_add(&c->rx, in, len);
	if (c->rx.failed) {
		bool large = c->rx.len + len > SL_LIMIT_WS_MESSAGE_BYTES;
		sink_close(&c->sink, large ? SL_WS_CLOSE_TOO_BIG : 1011,
			   large ? "a command is at most 64 KiB" : "out of memory");
	} else if (whole) {
		on_text(c, sl_buf_str(&c->rx));
	} else {
		return 0;
	}
	sl_buf_fini(&c->rx); /* an idle connection holds no buffer */
	sl_buf_init(&c->rx, SL_LIMIT_WS_MESSAGE_BYTES);
	return 0;
}

static int on_writable(struct conn *c)
{
	if (c->closing) {
		if (!c->close_code)
			return 0; /* our close frame is out */
		lws_close_reason(c->wsi, (enum lws_close_status)c->close_code,
				 (unsigned char *)(uintptr_t)c->close_reason, strlen(c->close_reason));
		return -1;
	}
	if (!c->raw && c->pending.len) {
		if (write_pending(c) != 0)
			return -1;
		if (c->pending.len || lws_partial_buffered(c->wsi)) {
			lws_callback_on_writable(c->wsi);
			return 0;
		}
	}
	sl_hub_writable(c->hub_conn);
	return 0;
}

static void on_closed(struct conn *c)
{
	sl_hub_conn_close(c->hub_conn);
	c->hub_conn = NULL;
	sl_buf_fini(&c->rx);
	sl_buf_fini(&c->pending);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	const struct lws_protocols *protocol = lws_get_protocol(wsi);
	struct sl_ws *ws = protocol ? protocol->user : NULL;
	struct conn *c = user;

	switch (reason) {
	case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
		return on_handshake(ws, wsi, c);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(ws, wsi, c);
	case LWS_CALLBACK_RECEIVE:
		return on_receive(c, in, len);
	case LWS_CALLBACK_RECEIVE_PONG:
		sl_hub_heard(c->hub_conn);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return on_writable(c);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return c->closing ? -1 : 0; /* the answer to our close */
	case LWS_CALLBACK_CLOSED:
		on_closed(c);
		return 0;
	default:
		return 0;
	}
}

void sl_ws_protocol(struct sl_ws *ws, struct lws_protocols *out)
{
	*out = (struct lws_protocols){
		.name = SL_WS_SUBPROTOCOL,
		.callback = callback,
		.per_session_data_size = sizeof(struct conn),
		.rx_buffer_size = RX_PIECE_BYTES,
		.tx_packet_size = TX_BYTES,
		.user = ws,
	};
}

/* ---- life ---- */

enum sl_code sl_ws_new(const struct sl_ws_config *config, struct sl_ws **out)
{
	SL_AUTO(sl_ws) ws = calloc(1, sizeof(*ws));
	if (!ws)
		return SL_NO_MEMORY;
	ws->config = *config;
	ws->wake.run = on_wake;
	atomic_init(&ws->waking, false);
	struct sl_hub_config hub = {
		.clock = &sl_clock_real,
		.source = config->source,
		.commands = config->commands,
		.flush_ms = config->flush_ms,
		.wake = hub_wake,
		.wake_at = hub_wake_at,
		.loop_ctx = ws,
	};
	enum sl_code rc = sl_hub_new(&hub, &ws->hub);
	if (rc != SL_OK)
		return rc;
	ws->uv = calloc(1, sizeof(*ws->uv));
	if (!ws->uv)
		return SL_NO_MEMORY;
	uv_loop_t *loop = sl_loop_uv(config->loop);
	uv_check_init(loop, &ws->uv->after_poll);
	uv_prepare_init(loop, &ws->uv->before_poll);
	uv_timer_init(loop, &ws->uv->timer);
	ws->uv->after_poll.data = ws->uv->before_poll.data = ws->uv->timer.data = ws;
	uv_check_start(&ws->uv->after_poll, on_check);
	uv_prepare_start(&ws->uv->before_poll, on_prepare);
	uv_unref((uv_handle_t *)&ws->uv->after_poll);
	uv_unref((uv_handle_t *)&ws->uv->before_poll);
	uv_unref((uv_handle_t *)&ws->uv->timer);
	ws->uv->open = 3;
	*out = SL_TAKE(ws);
	return SL_OK;
}

struct sl_hub *sl_ws_hub(struct sl_ws *ws)
{
	return ws->hub;
}

void sl_ws_publish(struct sl_ws *ws, struct sl_notice *n)
{
	sl_hub_publish(ws->hub, n);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct handles *uv = h->data;
	if (--uv->open == 0)
		free(uv);
}

void sl_ws_close(struct sl_ws *ws)
{
	struct handles *uv = ws->uv;
	if (!uv)
		return;
	ws->uv = NULL;
	uv->after_poll.data = uv->before_poll.data = uv->timer.data = uv;
	uv_close((uv_handle_t *)&uv->after_poll, on_handle_closed);
	uv_close((uv_handle_t *)&uv->before_poll, on_handle_closed);
	uv_close((uv_handle_t *)&uv->timer, on_handle_closed);
}

void sl_ws_free(struct sl_ws *ws)
{
	if (!ws)
		return;
	if (ws->uv) { /* only on the way out of sl_ws_new(): nothing is open yet */
		SL_BUG_ON(ws->uv->open);
		free(ws->uv);
	}
	sl_hub_free(ws->hub);
	free(ws);
}
