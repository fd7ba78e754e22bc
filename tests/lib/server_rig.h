/* tests/lib/server_rig.h: the server over real sockets with small handlers, and a client that reads what it answers.
 * Include it after test.h.
 *
 * Owns      struct rig has all of it; setup() or start() makes it, teardown() looks for what was left open.
 * Thread    handlers on the loop; the rest is the test's own.
 */
#pragma once

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_priv.h"
#include "api/server.h"
#include "base/loop.h"
#include "tests/lib/recv.h"

#define WAIT_MS 60000 /* the longest a test waits for what must come */

struct rig {
	struct sl_loop *loop;
	struct sl_server *server;
	sem_t held;               /* a request came to /hold */
	struct sl_request *waits; /* it; touched on the loop */
	_Atomic unsigned gone, full;
	_Atomic size_t streamed;
	unsigned left; /* handles that the server should have given back */
};

/* ---- handlers, on the loop ---- */

static inline void on_gone(struct sl_request *r, void *ctx)
{
	struct rig *g = ctx;
	atomic_fetch_add(&g->gone, 1);
	sem_post(&g->held);
}

static inline void pump(struct sl_request *r, void *ctx)
{
	static const char piece[32 << 10];
	struct rig *g = ctx;
	for (;;) {
		enum sl_write w = sl_answer_write(r, piece, sizeof(piece));
		if (w == SL_WRITE_MORE || w == SL_WRITE_FULL)
			atomic_fetch_add(&g->streamed, sizeof(piece));
		if (w != SL_WRITE_MORE) {
			atomic_fetch_add(&g->full, 1);
			return;
		}
	}
}

static inline void handle(void *ctx, struct sl_request *r)
{
	struct rig *g = ctx;
	uint64_t n;
	if (sl_str_is(r->head.path, "/echo")) {
		sl_answer_bytes(r, 200, "text/plain", sl_buf_str(&r->body), SL_BYTES_COPIED);
	} else if (sl_str_is(r->head.path, "/big")) {
		SL_BUF(b, 64 << 20);
		SL_IGNORE(sl_request_query_u64(r, "n", 0, 32 << 20, 0, &n)); /* the tests ask rightly */
		sl_buf_adds(&b, "\"");
		while (b.len < n)
			sl_buf_adds(&b, "0123456789abcdef");
		sl_buf_adds(&b, "\"");
		sl_answer_buf(r, 200, &b);
	} else if (sl_str_is(r->head.path, "/hold")) {
		g->waits = sl_request_ref(r);
		sem_post(&g->held);
	} else if (sl_str_is(r->head.path, "/watch")) {
		r->on_gone = on_gone;
		r->on_ctx = g;
		sem_post(&g->held);
	} else if (sl_str_is(r->head.path, "/stream")) {
		r->on_gone = on_gone;
		r->on_writable = pump;
		r->on_ctx = g;
		sl_answer_stream(r, 200, "text/plain");
		pump(r, g);
	} else if (sl_str_is(r->head.path, "/full")) { /* the store takes no more */
		struct sl_task *t = sl_task_new(NULL, r, NULL);
		assert_non_null(t);
		sl_task_refuse(t, SL_UNAVAILABLE);
	} else if (sl_str_is(r->head.path, "/three")) {
		sl_answer_stream(r, 200, "text/plain");
		assert_int_equal(sl_answer_write(r, "one", 3), SL_WRITE_MORE);
		assert_int_equal(sl_answer_write(r, "two", 3), SL_WRITE_MORE);
		sl_answer_end(r);
	} else {
		sl_answer_problem(r, SL_NOT_FOUND, "no %s", "such");
	}
}

static inline void head(void *ctx, struct sl_request *r)
{
	if (sl_str_is(r->head.path, "/early"))
		sl_answer_problem(r, SL_FORBIDDEN, "not you");
}

static inline void answer_held(void *arg)
{
	struct rig *g = arg;
	sl_answer_bytes(g->waits, 200, "text/plain", SL_STR("late"), SL_BYTES_STABLE);
	sl_request_unref(g->waits);
	g->waits = NULL;
	sem_post(&g->held);
}

/* ---- the rig ---- */

static inline int start(void **state, struct sl_server_config config)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct sl_error err = {0};
	*state = g;
	sem_init(&g->held, 0, 0);
	config.listen = config.listen ? config.listen : "127.0.0.1:0";
	config.head = head;
	config.handle = handle;
	config.ctx = g;
	if (sl_loop_new("test", &g->loop) != SL_OK)
		return -1;
	config.loop = g->loop;
	if (sl_server_new(&config, &g->server, &err) != SL_OK || sl_server_start(g->server, &err) != SL_OK) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return sl_loop_start(g->loop) == SL_OK ? 0 : -1;
}

static inline int setup(void **state)
{
	return start(state, (struct sl_server_config){0});
}

static inline void count_ours(uv_handle_t *h, void *arg)
{
	bool loops_own = h->type == UV_ASYNC || h->type == UV_PREPARE || h->type == UV_CHECK;
	*(unsigned *)arg += !loops_own;
}

static inline void count_on_loop(void *arg)
{
	struct rig *g = arg;
	uv_walk(sl_loop_uv(g->loop), count_ours, &g->left);
	sem_post(&g->held);
}

static inline int teardown(void **state)
{
	struct rig *g = *state;
	sl_server_stop(g->server);
	if (sl_loop_call(g->loop, count_on_loop, g) != SL_OK)
		return -1;
	sl_loop_stop(g->loop); /* runs what was posted first */
	unsigned left = g->left;
	if (g->waits)
		sl_request_unref(g->waits);
	sl_server_free(g->server);
	sl_loop_free(g->loop);
	sem_destroy(&g->held);
	free(g);
	return left == 0 ? 0 : -1;
}

static inline void wait_for(sem_t *s)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_MS / 1000;
	int rc;
	while ((rc = sem_timedwait(s, &until)) != 0 && errno == EINTR)
		;
	assert_int_equal(rc, 0);
}

/* ---- a client ---- */

static inline int dial_with(struct rig *g, int receive_bytes)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	const char *port = strrchr(sl_server_address(g->server), ':') + 1;
	a.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = WAIT_MS / 1000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (receive_bytes)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int dial(struct rig *g)
{
	int fd = dial_with(g, 0);
	assert_true(fd >= 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	size_t len = strlen(text);
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Reads one answer with a Content-Length, or to the end of the connection. NUL-terminated; the caller's. */
static inline char *hear(int fd)
{
	SL_BUF(b, 64 << 20);
	char piece[64 << 10];
	for (;;) {
		char *end = b.len ? memmem(b.data, b.len, "\r\n\r\n", 4) : NULL;
		if (end) {
			char *cl = strcasestr(b.data, "\r\nContent-Length: ");
			size_t body = b.len - (size_t)(end + 4 - b.data);
			if (cl && cl < end && body >= strtoul(cl + 18, NULL, 10))
				break;
		}
		ssize_t n = sl_test_recv(fd, piece, 1, 0); /* not a byte of the next answer */
		if (n > 0 && end) {
			char *cl = strcasestr(b.data, "\r\nContent-Length: ");
			size_t want = cl && cl < end
					      ? strtoul(cl + 18, NULL, 10) - (b.len - (size_t)(end + 4 - b.data)) - 1
					      : sizeof(piece) - 1;
			if (want > sizeof(piece) - 1)
				want = sizeof(piece) - 1;
			ssize_t more = want ? sl_test_recv(fd, piece + 1, want, 0) : 0;
			n += more > 0 ? more : 0;
		}
		if (n <= 0)
			break;
		sl_buf_add(&b, piece, (size_t)n);
	}
	char *text = sl_buf_take(&b);
	return text ? text : strdup("");
}

static inline bool closed(int fd)
{
	char c;
	return sl_test_recv(fd, &c, 1, 0) <= 0;
}

static inline void expect_status(int fd, const char *status, const char *holding)
{
	SL_AUTO_MEM char *text = hear(fd);
	char line[64];
	snprintf(line, sizeof(line), "HTTP/1.1 %s ", status);
	if (strncmp(text, line, strlen(line)) != 0 || !strstr(text, holding))
		fail_msg("wanted %s with '%s', got: %.300s", status, holding, text);
}

#define HOST "Host: 127.0.0.1\r\n"

#define WITH(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
