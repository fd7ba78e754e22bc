/* api/handover.c: a finished WebSocket handshake goes to libwebsockets, with the socket and the bytes read so far.
 *
 * Without TLS it gets a duplicate of the socket itself and this room forgets the connection. With TLS the keys stay
 * here: libwebsockets gets one end of a socket pair, and bytes are carried between the pair and the TLS connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/server_priv.h"
#include "base/log.h"
#include "ws/conn.h"

#define TUNNEL_FULL_BYTES (256u << 10) /* waiting on one side; the other is not read until it is gone */
#define LWS_BUFFER_BYTES  (128u << 10) /* one send for one piece of the hub */
#define MOST_FILES        65536        /* libwebsockets makes tables of the limit's size */

struct handshake {
	struct sl_list link;
	int fd;
	struct sl_ws_identity who;
};

static void lws_line(int level, const char *line)
{
	struct sl_str s = sl_str_trim(sl_str(line));
	sl_log(SL_LOG_DEBUG, "api", "libwebsockets", SL_KSTR("line", s)); /* it calls ordinary things errors */
}

static void limit_files(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) != 0)
		return;
	rlim_t want = l.rlim_max < MOST_FILES ? l.rlim_max : MOST_FILES;
	if (l.rlim_cur != want) {
		l.rlim_cur = want;
		SL_IGNORE(setrlimit(RLIMIT_NOFILE, &l)); /* then the old limit stays, which is fine */
	}
}

enum sl_code handover_context(struct sl_server *s, struct sl_error *err)
{
	static const uint32_t log_levels = LLL_ERR | LLL_WARN;
	struct lws_protocols protocols[2] = {0};
	void *loops[1] = {sl_loop_uv(s->config.loop)};
	limit_files();
	lws_set_log_level(log_levels, lws_line);
	sl_ws_protocol(s->config.ws, &protocols[0]);
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.pcontext = &s->lws,
		.pt_serv_buf_size = LWS_BUFFER_BYTES,
		.max_http_header_data2 = SL_LIMIT_HEADER_BYTES + 4096,
		.timeout_secs = 10,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	s->lws = lws_create_context(&info);
	if (!s->lws)
		return sl_fail(err, SL_UNAVAILABLE, "libwebsockets did not start (is its libuv plug-in installed?)");
	/* The array must outlive the vhost in 4.3; in 4.1 it is copied. */
	s->protocols = calloc(2, sizeof(protocols[0]));
	if (!s->protocols)
		return sl_fail(err, SL_NO_MEMORY, "protocols");
	memcpy(s->protocols, protocols, sizeof(protocols));
	info.protocols = s->protocols;
	info.vhost_name = "sluice";
	info.alpn = "http/1.1";
	s->vhost = lws_create_vhost(s->lws, &info);
	if (!s->vhost)
		return sl_fail(err, SL_UNAVAILABLE, "libwebsockets made no vhost");
	return SL_OK;
}

static struct handshake *find(struct sl_server *s, int fd)
{
	sl_list_each (it, &s->handshakes)
		if (sl_list_entry(it, struct handshake, link)->fd == fd)
			return sl_list_entry(it, struct handshake, link);
	return NULL;
}

static void forget(struct handshake *h)
{
	if (h) {
		sl_list_drop(&h->link);
		free(h);
	}
}

enum sl_code sl_server_ws_identity(struct sl_server *s, struct lws *wsi, struct sl_ws_identity *who)
{
	struct handshake *h = find(s, (int)lws_get_socket_fd(wsi));
	if (!h)
		return SL_UNAUTHORIZED; /* no way leads to libwebsockets but the hand-over */
	*who = h->who;
	forget(h);
	return SL_OK;
}

/* Gives fd away, whatever happens. */
static bool adopt(struct sl_server *s, int fd, const struct sl_ws_identity *who, struct sl_str bytes)
{
	forget(find(s, fd)); /* of an earlier socket with this number that ended before its handshake */
	struct handshake *h = malloc(sizeof(*h));
	if (!h) {
		close(fd);
		return false;
	}
	h->fd = fd;
	h->who = *who;
	sl_list_append(&s->handshakes, &h->link);
	return lws_adopt_socket_vhost_readbuf(s->vhost, fd, bytes.p, bytes.len) != NULL; /* closes fd when it fails */
}

/* ---- over TLS ---- */

struct piece {
	uv_write_t req;
	struct sl_conn *conn;
	char bytes[];
};

static void on_pipe_closed_side(struct sl_conn *c)
{
	tls_bye(c);
	conn_close(c);
}

static void on_piece_written(uv_write_t *req, int status)
{
	struct piece *p = SL_CONTAINER_OF(req, struct piece, req);
	struct sl_conn *c = p->conn;
	free(p);
	if (c->state == CONN_CLOSED)
		return;
	if (status < 0)
		on_pipe_closed_side(c);
	else if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) < TUNNEL_FULL_BYTES)
		conn_resume(c);
}

static void on_pipe_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct sl_conn *c = h->data;
	*buf = uv_buf_init(c->server->read_buf, sizeof(c->server->read_buf));
}

static void on_pipe_read(uv_stream_t *pipe, ssize_t n, const uv_buf_t *buf)
{
	struct sl_conn *c = pipe->data;
	if (c->state == CONN_CLOSED || n == 0)
		return;
	if (n < 0) {
		on_pipe_closed_side(c);
		return;
	}
	conn_write(c, sl_str_n(buf->base, (size_t)n), SL_STR(""), CONN_COPY, NULL);
	if (conn_unsent(c) > TUNNEL_FULL_BYTES)
		uv_read_stop(pipe);
}

/* From the client to libwebsockets. p NULL: the client has taken what was queued for it. */
void tunnel_input(struct sl_conn *c, const char *p, size_t len)
{
	if (!p) {
		uv_read_start((uv_stream_t *)&c->pipe, on_pipe_alloc, on_pipe_read);
		return;
	}
	struct piece *out = malloc(sizeof(*out) + len);
	if (!out) {
		conn_close(c);
		return;
	}
	out->conn = c;
	memcpy(out->bytes, p, len);
	uv_buf_t b = uv_buf_init(out->bytes, (unsigned)len);
	if (uv_write(&out->req, (uv_stream_t *)&c->pipe, &b, 1, on_piece_written) != 0) {
		free(out);
		conn_close(c);
	} else if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) >= TUNNEL_FULL_BYTES) {
		conn_pause(c);
	}
}

static bool open_tunnel(struct sl_conn *c, int *theirs)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	if (uv_pipe_init(sl_loop_uv(c->server->config.loop), &c->pipe, 0) != 0) {
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	c->pipe.data = c;
	c->open_handles++;
	if (uv_pipe_open(&c->pipe, pair[0]) != 0) {
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	*theirs = pair[1];
	return true;
}

void handover(struct sl_conn *c, const struct sl_ws_identity *who, struct sl_str bytes)
{
	struct sl_server *s = c->server;
	struct sl_request *r = SL_TAKE(c->request);
	int fd = -1;
	r->conn = NULL;
	atomic_fetch_sub(&s->in_flight, 1);
	sl_request_unref(r);
	if (c->ssl) {
		if (!open_tunnel(c, &fd)) {
			conn_close(c);
			return;
		}
		c->state = CONN_TUNNEL;
		c->deadline_ms = 0;
		if (!adopt(s, fd, who, bytes)) {
			on_pipe_closed_side(c);
			return;
		}
		sl_buf_reset(&c->in);
		tunnel_input(c, NULL, 0);
		return;
	}
	uv_os_fd_t ours;
	if (uv_fileno((uv_handle_t *)&c->tcp, &ours) == 0)
		fd = fcntl(ours, F_DUPFD_CLOEXEC, 0);
	if (fd < 0) {
		sl_log(SL_LOG_WARN, "api", "no file descriptor for a WebSocket", SL_KI("errno", errno));
		conn_close(c);
		return;
	}
	conn_close(c);
	SL_IGNORE(adopt(s, fd, who, bytes)); /* the client sees a closed socket and comes again */
}

void handover_fini(struct sl_server *s)
{
	sl_list_each_safe (it, tmp, &s->handshakes)
		forget(sl_list_entry(it, struct handshake, link));
}
