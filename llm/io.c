/* llm/io.c: see io.h. Sockets are opened here with close-on-exec: a child process (the embedded database) that
 * inherited one would keep a cancelled provider connection open.
 * A transfer that is removed while it connects has its socket closed by curl (7.88) before we are told, and the number
 * may be another thread's by then: so the watch on such a socket ends before the removal. */
#include "llm/io.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

struct io_socket {
	struct sl_list link; /* io->connecting, or io->sockets */
	struct sl_io *io;
	uv_poll_t poll;
	curl_socket_t fd;
	int events;
	CURL *connects; /* while it is in io->connecting: whose it is alone */
};

static void io_drain_results(struct sl_io *io)
{
	CURLMsg *m;
	int left;
	while ((m = curl_multi_info_read(io->multi, &left)))
		if (m->msg == CURLMSG_DONE)
			io->finished(io, m->easy_handle, m->data.result); /* m dies with the removal there */
}

static void io_act(struct sl_io *io, curl_socket_t fd, int flags)
{
	int running;
	(void)curl_multi_socket_action(io->multi, fd, flags, &running); /* a transfer's failure is its result */
	io_drain_results(io);
}

static void io_on_poll(uv_poll_t *h, int status, int events)
{
	struct io_socket *s = h->data;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	io_act(s->io, s->fd, flags); /* s may be gone after this */
}

static void io_on_timer(uv_timer_t *t)
{
	io_act(t->data, CURL_SOCKET_TIMEOUT, 0);
}

static int io_want_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct sl_io *io = arg;
	if (timeout_ms < 0 || io->closed)
		uv_timer_stop(&io->timer);
	else /* 0 must not call curl back in place; the loop runs a 0 ms timer in its next turn */
		uv_timer_start(&io->timer, io_on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

static void io_free_socket(uv_handle_t *h)
{
	free(h->data);
}

static void io_drop_socket(struct io_socket *s)
{
	sl_list_drop(&s->link);
	uv_poll_stop(&s->poll); /* before curl closes the descriptor, so the kernel forgets the right one */
	uv_close((uv_handle_t *)&s->poll, io_free_socket);
}

static int io_want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct sl_io *io = arg;
	struct io_socket *s = socket_arg;
	if (what == CURL_POLL_REMOVE) {
		if (s) {
			curl_multi_assign(io->multi, fd, NULL);
			io_drop_socket(s);
		}
		return 0;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return -1; /* curl fails its transfers */
		s->io = io;
		s->fd = fd;
		if (uv_poll_init_socket(sl_loop_uv(io->loop), &s->poll, fd) != 0) {
			free(s);
			return -1;
		}
		s->poll.data = s;
		s->connects = easy;
		sl_list_append(&io->connecting, &s->link);
		curl_multi_assign(io->multi, fd, s);
	}
	if (s->connects && what != CURL_POLL_OUT) { /* what connects waits for nothing else */
		s->connects = NULL;
		sl_list_drop(&s->link);
		sl_list_append(&io->sockets, &s->link);
	}
	int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
	if (events != s->events) { /* a change costs libuv two system calls */
		s->events = events;
		uv_poll_start(&s->poll, events, io_on_poll);
	}
	return 0;
}

curl_socket_t sl_io_open_socket(struct sl_io *io, const struct curl_sockaddr *a)
{
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
	if (fd >= 0)
		atomic_fetch_add_explicit(&io->sockets_opened, 1, memory_order_relaxed);
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static curl_socket_t io_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	return sl_io_open_socket(arg, a);
}

static int io_close_socket(void *arg, curl_socket_t fd)
{
	struct sl_io *io = arg;
	int rc = close(fd);
	io->closed_at_us = sl_clock_mono_us();
	atomic_fetch_add_explicit(&io->sockets_closed, 1, memory_order_relaxed);
	return rc;
}

bool sl_io_prepare(struct sl_io *io, CURL *easy)
{
	return curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, io_open_socket) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, io) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, io_close_socket) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, io) == CURLE_OK; /* io outlives every connection */
}

void sl_io_keep_idle(struct sl_io *io, uint32_t connections)
{
	(void)curl_multi_setopt(io->multi, CURLMOPT_MAXCONNECTS, (long)connections);
}

bool sl_io_add(struct sl_io *io, CURL *easy)
{
	SL_ASSERT_LOOP(io->loop);
	return curl_multi_add_handle(io->multi, easy) == CURLM_OK;
}

void sl_io_remove(struct sl_io *io, CURL *easy)
{
	SL_ASSERT_LOOP(io->loop);
	sl_list_each_safe (it, tmp, &io->connecting) {
		struct io_socket *s = sl_list_entry(it, struct io_socket, link);
		if (s->connects == easy) {
			curl_multi_assign(io->multi, s->fd, NULL);
			io_drop_socket(s);
		}
	}
	(void)curl_multi_remove_handle(io->multi, easy);
}

enum sl_code sl_io_new(const char *name, void (*finished)(struct sl_io *, CURL *, CURLcode), struct sl_io **out)
{
	struct sl_io *io = calloc(1, sizeof(*io));
	if (!io)
		return SL_NO_MEMORY;
	sl_list_init(&io->connecting);
	sl_list_init(&io->sockets);
	sl_list_init(&io->calls);
	sl_list_init(&io->queue);
	io->finished = finished;
	io->multi = curl_multi_init();
	if (!io->multi || sl_loop_new(name, &io->loop) != SL_OK)
		goto failed;
	uv_timer_init(sl_loop_uv(io->loop), &io->timer);
	io->timer.data = io;
	curl_multi_setopt(io->multi, CURLMOPT_SOCKETFUNCTION, io_want_socket);
	curl_multi_setopt(io->multi, CURLMOPT_SOCKETDATA, io);
	curl_multi_setopt(io->multi, CURLMOPT_TIMERFUNCTION, io_want_timer);
	curl_multi_setopt(io->multi, CURLMOPT_TIMERDATA, io);
	curl_multi_setopt(io->multi, CURLMOPT_MAXCONNECTS, 64L); /* idle ones kept; the default grows with the load */
	curl_multi_setopt(io->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	if (sl_loop_start(io->loop) != SL_OK)
		goto failed;
	*out = io;
	return SL_OK;
failed:
	if (io->multi)
		curl_multi_cleanup(io->multi);
	sl_loop_free(io->loop);
	free(io);
	return SL_NO_MEMORY;
}

static void io_shut(void *arg)
{
	struct sl_io *io = arg;
	SL_BUG_ON(io->n_calls != 0);
	io->closed = true;
	curl_multi_cleanup(io->multi); /* closes idle connections, which drops their poll handles */
	io->multi = NULL;
	sl_list_each_safe (it, tmp, &io->connecting)
		io_drop_socket(sl_list_entry(it, struct io_socket, link));
	sl_list_each_safe (it, tmp, &io->sockets)
		io_drop_socket(sl_list_entry(it, struct io_socket, link));
	uv_close((uv_handle_t *)&io->timer, NULL);
}

void sl_io_stop(struct sl_io *io)
{
	if (sl_loop_call(io->loop, io_shut, io) !=
	    SL_OK) { /* no memory for a message: stop the thread, then do it here */
		sl_loop_stop(io->loop);
		io_shut(io);
	}
	sl_loop_stop(io->loop);
}

void sl_io_free(struct sl_io *io)
{
	if (!io)
		return;
	sl_loop_free(io->loop);
	free(io);
}
