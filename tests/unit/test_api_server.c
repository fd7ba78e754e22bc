/* The server over real sockets, with small handlers: what clients may do to it, and what it does to them. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_priv.h"
#include "api/server.h"
#include "base/clock.h"
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
	char cert[64], key[64];
};

/* ---- handlers, on the loop ---- */

static void on_gone(struct sl_request *r, void *ctx)
{
	struct rig *g = ctx;
	atomic_fetch_add(&g->gone, 1);
	sem_post(&g->held);
}

static void pump(struct sl_request *r, void *ctx)
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

static void handle(void *ctx, struct sl_request *r)
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

static void head(void *ctx, struct sl_request *r)
{
	if (sl_str_is(r->head.path, "/early"))
		sl_answer_problem(r, SL_FORBIDDEN, "not you");
}

static void answer_held(void *arg)
{
	struct rig *g = arg;
	sl_answer_bytes(g->waits, 200, "text/plain", SL_STR("late"), SL_BYTES_STABLE);
	sl_request_unref(g->waits);
	g->waits = NULL;
	sem_post(&g->held);
}

/* ---- the rig ---- */

static int start(void **state, struct sl_server_config config)
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

static int setup(void **state)
{
	return start(state, (struct sl_server_config){0});
}

/* One of its times is short, and no other: on a busy machine the other one would come first. */
static int setup_short_head(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.head_ms = 60}});
}

static int setup_few(void **state)
{
	return start(state, (struct sl_server_config){.max_connections = 2});
}

static int setup_short_body(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.body_ms = 120}});
}

static int setup_short_idle(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.idle_ms = 200}});
}

static int setup_short_answer(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.answer_ms = 150}});
}

static int setup_short_stall(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.stalled_ms = 200}});
}

static void count_ours(uv_handle_t *h, void *arg)
{
	bool loops_own = h->type == UV_ASYNC || h->type == UV_PREPARE || h->type == UV_CHECK;
	*(unsigned *)arg += !loops_own;
}

static void count_on_loop(void *arg)
{
	struct rig *g = arg;
	uv_walk(sl_loop_uv(g->loop), count_ours, &g->left);
	sem_post(&g->held);
}

static int teardown(void **state)
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
	if (g->cert[0]) {
		unlink(g->cert);
		unlink(g->key);
	}
	sem_destroy(&g->held);
	free(g);
	return left == 0 ? 0 : -1;
}

static void wait_for(sem_t *s)
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

static int dial_with(struct rig *g, int receive_bytes)
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

static int dial(struct rig *g)
{
	int fd = dial_with(g, 0);
	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	size_t len = strlen(text);
	assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
}

/* Reads one answer with a Content-Length, or to the end of the connection. NUL-terminated; the caller's. */
static char *hear(int fd)
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

static bool closed(int fd)
{
	char c;
	return sl_test_recv(fd, &c, 1, 0) <= 0;
}

static void expect_status(int fd, const char *status, const char *holding)
{
	SL_AUTO_MEM char *text = hear(fd);
	char line[64];
	snprintf(line, sizeof(line), "HTTP/1.1 %s ", status);
	if (strncmp(text, line, strlen(line)) != 0 || !strstr(text, holding))
		fail_msg("wanted %s with '%s', got: %.300s", status, holding, text);
}

#define HOST "Host: 127.0.0.1\r\n"

static void answers_and_keeps_the_connection(void **state)
{
	int fd = dial(*state);
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
	expect_status(fd, "200", "\r\n\r\nhello");
	say(fd, "GET /nothing HTTP/1.1\r\n" HOST "X-Request-Id: my-id.1\r\n\r\n");
	expect_status(fd, "404", "\"request_id\":\"my-id.1\"");
	say(fd, "HEAD /echo HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	expect_status(fd, "200", "Content-Length: 0");
	assert_true(closed(fd));
	close(fd);
}

static void what_the_store_refuses_is_503_and_says_when_to_come_again(void **state)
{
	int fd = dial(*state);
	say(fd, "GET /full HTTP/1.1\r\n" HOST "\r\n");
	SL_AUTO_MEM char *text = hear(fd);
	assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
	assert_non_null(strstr(text, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(text, "\"code\":\"unavailable\""));
	assert_non_null(strstr(text, "the database takes no more now; try again"));
	close(fd);
}

static void security_headers_are_on_every_answer(void **state)
{
	static const char *const heads[] = {"GET /echo HTTP/1.1\r\n" HOST "\r\n", "GET /none HTTP/1.1\r\n" HOST "\r\n",
					    "nonsense\r\n\r\n"};
	for (size_t i = 0; i < SL_COUNT_OF(heads); i++) {
		int fd = dial(*state);
		say(fd, heads[i]);
		SL_AUTO_MEM char *text = hear(fd);
		assert_non_null(strstr(text, "Content-Security-Policy: default-src 'none'"));
		assert_non_null(strstr(text, "frame-ancestors 'none'"));
		assert_non_null(strstr(text, "X-Content-Type-Options: nosniff"));
		assert_non_null(strstr(text, "Cross-Origin-Opener-Policy: same-origin"));
		assert_non_null(strstr(text, "Referrer-Policy: no-referrer"));
		close(fd);
	}
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	int fd = dial(*state);
	SL_BUF(all, 1 << 20);
	for (int i = 0; i < 200; i++)
		sl_buf_addf(&all, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n%03d", i);
	say(fd, all.data);
	for (int i = 0; i < 200; i++) {
		char end[16];
		snprintf(end, sizeof(end), "\r\n\r\n%03d", i);
		expect_status(fd, "200", end);
	}
	close(fd);
}

static void what_comes_behind_a_request_that_waits_waits_too(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\nPOST /echo HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nnext");
	wait_for(&g->held);
	assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
	expect_status(fd, "200", "\r\n\r\nlate");
	expect_status(fd, "200", "\r\n\r\nnext");
	close(fd);
}

/* Whoever sends without end while an answer is on its way is not read any more, and nothing is lost: the next requests
 * are taken from the socket when their turn comes. */
static void what_comes_too_early_stays_in_the_socket_until_its_turn(void **state)
{
	enum { REQUESTS = 2000, PAD = 15000 }; /* 30 MB: no socket holds that */
	int small = 64 << 10;
	struct rig *g = *state;
	int fd = dial(g);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	char *pad = malloc(PAD + 1);
	assert_non_null(pad);
	memset(pad, 'x', PAD);
	pad[PAD] = '\0';
	SL_BUF(out, 64 << 20);
	SL_BUF(in, 64 << 20);
	for (int i = 0; i < REQUESTS; i++)
		sl_buf_addf(&out, "POST /echo HTTP/1.1\r\n" HOST "X-Pad: %s\r\nContent-Length: 5\r\n\r\n%05d", pad, i);
	free(pad);
	assert_false(out.failed);
	say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	wait_for(&g->held);
	size_t sent = 0, at = 0;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	while (sent < out.len && poll(&p, 1, 300) > 0) { /* until nobody takes any more */
		ssize_t n = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		assert_true(n > 0 || errno == EAGAIN || errno == EINTR);
		sent += n > 0 ? (size_t)n : 0;
	}
	assert_true(sent < out.len);
	assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
	expect_status(fd, "200", "\r\n\r\nlate");
	for (int answers = 0; answers < REQUESTS;) {
		char piece[64 << 10], *end;
		p.events = (short)(POLLIN | (sent < out.len ? POLLOUT : 0));
		assert_true(poll(&p, 1, WAIT_MS) > 0 || errno == EINTR);
		ssize_t n = send(fd, out.data + sent, out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		assert_true(n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
		sl_buf_add(&in, piece, n > 0 ? (size_t)n : 0);
		while ((end = memmem(in.data + at, in.len - at, "\r\n\r\n", 4)) != NULL &&
		       in.len - (size_t)(end - in.data) >= 9) {
			char number[16];
			(void)snprintf(number, sizeof(number), "%05d", answers++);
			assert_memory_equal(end + 4, number, 5);
			at = (size_t)(end - in.data) + 9;
		}
	}
	close(fd);
}

static void more_connections_than_may_be_open_get_503(void **state)
{
	static const char ask[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\nhi";
	int fds[2], fd;
	for (int i = 0; i < 2; i++) {
		fds[i] = dial(*state);
		say(fds[i], ask);
		expect_status(fds[i], "200", "hi");
	}
	fd = dial(*state);
	expect_status(fd, "503", "too many connections");
	assert_true(closed(fd));
	close(fd);
	say(fds[1], ask);
	expect_status(fds[1], "200", "hi"); /* who is there stays */
	close(fds[0]);
	for (bool in = false; !in;) { /* as soon as it is seen that one has left */
		fd = dial(*state);
		(void)!send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL);
		SL_AUTO_MEM char *text = hear(fd);
		in = strncmp(text, "HTTP/1.1 200 ", 13) == 0;
		close(fd);
	}
	close(fds[1]);
}

static void a_chunked_body_is_put_together_and_the_connection_goes_on(void **state)
{
	int fd = dial(*state);
	say(fd,
	    "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n");
	expect_status(fd, "200", "\r\n\r\nWikipedia");
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	say(fd, "1\r\n");
	say(fd, "x\r\n0\r\n\r\n");
	expect_status(fd, "200", "\r\n\r\nx");
	close(fd);
}

static void a_body_over_the_limit_is_413_by_length_and_by_chunks(void **state)
{
	char text[256];
	int fd = dial(*state);
	snprintf(text, sizeof(text), "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n",
		 SL_LIMIT_BODY_BYTES + 1);
	say(fd, text);
	expect_status(fd, "413", "\"code\":\"too_large\"");
	close(fd);

	fd = dial(*state);
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	SL_BUF(chunk, 1 << 20);
	sl_buf_adds(&chunk, "10000\r\n");
	for (int i = 0; i < 0x10000; i++)
		sl_buf_addc(&chunk, 'x');
	sl_buf_adds(&chunk, "\r\n");
	for (int i = 0; i < 17; i++)
		if (send(fd, chunk.data, chunk.len, MSG_NOSIGNAL) < 0)
			break;
	expect_status(fd, "413", "\"code\":\"too_large\"");
	close(fd);
}

static void a_body_of_just_the_limit_is_taken(void **state)
{
	char text[256];
	int fd = dial(*state);
	SL_BUF(body, SL_LIMIT_BODY_BYTES);
	while (body.len < SL_LIMIT_BODY_BYTES)
		sl_buf_add(&body, "0123456789abcdef", 16);
	snprintf(text, sizeof(text), "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n", SL_LIMIT_BODY_BYTES);
	say(fd, text);
	for (size_t at = 0; at < body.len;) {
		ssize_t n = send(fd, body.data + at, body.len - at, MSG_NOSIGNAL);
		assert_true(n > 0);
		at += (size_t)n;
	}
	SL_AUTO_MEM char *got = hear(fd);
	assert_int_equal(strncmp(got, "HTTP/1.1 200", 12), 0);
	assert_int_equal(strlen(strstr(got, "\r\n\r\n") + 4), SL_LIMIT_BODY_BYTES);
	close(fd);
}

static void a_head_over_the_limit_is_431(void **state)
{
	int fd = dial(*state);
	SL_BUF(text, 1 << 20);
	sl_buf_adds(&text, "GET /echo HTTP/1.1\r\n" HOST "X-Long: ");
	for (int i = 0; i < 200000; i++)
		sl_buf_addc(&text, 'a');
	SL_IGNORE(send(fd, text.data, text.len, MSG_NOSIGNAL)); /* the server may have hung up in the middle */
	expect_status(fd, "431", "too large");
	close(fd);
}

static void what_is_no_http_is_told_so_and_closed(void **state)
{
	int fd = dial(*state);
	say(fd, "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\nabc");
	expect_status(fd, "400", "\"code\":\"bad_request\"");
	assert_true(closed(fd));
	close(fd);
}

static void an_answer_to_the_head_alone_does_not_wait_for_the_body(void **state)
{
	int fd = dial(*state);
	say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 1000000\r\n\r\n");
	expect_status(fd, "403", "Connection: close");
	close(fd);
}

static void a_client_that_asks_before_it_sends_is_told_to_go_on(void **state)
{
	int fd = dial(*state);
	char text[64] = "";
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	assert_int_equal(sl_test_recv(fd, text, 25, MSG_WAITALL), 25);
	assert_string_equal(text, "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "ok");
	expect_status(fd, "200", "\r\n\r\nok");
	close(fd);
}

static void a_slow_head_is_408(void **state)
{
	/* the time runs from the connection on: it may be over before the first byte is said, and then there is no
	 * answer */
	for (bool told = false; !told;) {
		int fd = dial(*state);
		SL_IGNORE(send(fd, "GET /echo HT", 12, MSG_NOSIGNAL));
		SL_AUTO_MEM char *text = hear(fd);
		told = text[0] != '\0';
		if (told) {
			assert_int_equal(strncmp(text, "HTTP/1.1 408 ", 13), 0);
			assert_non_null(strstr(text, "did not arrive in time"));
		}
		assert_true(closed(fd));
		close(fd);
	}
}

static void a_slow_body_is_408(void **state)
{
	int fd = dial(*state);
	say(fd, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nfive.");
	expect_status(fd, "408", "did not arrive in time");
	assert_true(closed(fd));
	close(fd);
}

static void an_idle_connection_is_closed(void **state)
{
	int fd = dial(*state);
	say(fd, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	expect_status(fd, "200", "");
	assert_true(closed(fd));
	close(fd);
}

static void a_handler_that_takes_too_long_is_504_and_its_answer_dropped(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	wait_for(&g->held);
	expect_status(fd, "504", "no answer in time");
	assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
	wait_for(&g->held);
	assert_true(closed(fd));
	close(fd);
}

static void an_answer_for_a_client_that_left_is_dropped(void **state)
{
	struct rig *g = *state;
	for (int i = 0; i < 20; i++) {
		int fd = dial(g);
		struct linger reset = {.l_onoff = 1};
		say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
		wait_for(&g->held);
		if (i % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
		assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
		wait_for(&g->held);
	}
}

static void a_half_closed_client_still_gets_its_answer(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	say(fd, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	shutdown(fd, SHUT_WR);
	wait_for(&g->held);
	assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
	expect_status(fd, "200", "\r\n\r\nlate");
	assert_true(closed(fd));
	close(fd);
}

static void whoever_asks_learns_that_the_client_left(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	say(fd, "GET /watch HTTP/1.1\r\n" HOST "\r\n");
	wait_for(&g->held);
	close(fd);
	wait_for(&g->held);
	assert_int_equal(atomic_load(&g->gone), 1);
}

static void a_large_answer_arrives_whole_at_a_slow_reader(void **state)
{
	int fd = dial_with(*state, 4096);
	say(fd, "GET /big?n=8388608 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	SL_AUTO_MEM char *got = hear(fd);
	char *body = strstr(got, "\r\n\r\n");
	assert_non_null(body);
	assert_int_equal(strlen(body + 4), 8388610);
	close(fd);
}

static void a_stream_is_chunked_and_ends(void **state)
{
	int fd = dial(*state);
	say(fd, "GET /three HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	SL_AUTO_MEM char *got = hear(fd);
	assert_non_null(strstr(got, "Transfer-Encoding: chunked"));
	assert_non_null(strstr(got, "\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
	close(fd);

	fd = dial(*state);
	say(fd, "GET /three HTTP/1.0\r\n\r\n");
	SL_AUTO_MEM char *old = hear(fd);
	assert_null(strstr(old, "Transfer-Encoding"));
	assert_non_null(strstr(old, "\r\n\r\nonetwo"));
	close(fd);
}

static void a_stream_nobody_reads_is_held_back_and_then_closed(void **state)
{
	struct rig *g = *state;
	int fd = dial_with(g, 4096);
	say(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	wait_for(&g->held); /* on_gone: nothing was taken for stalled_ms */
	assert_int_equal(atomic_load(&g->gone), 1);
	assert_true(atomic_load(&g->full) >= 1);
	assert_in_range(atomic_load(&g->streamed), 32 << 10, 16 << 20); /* what the kernel takes, and 128 KiB */
	close(fd);
}

static void a_stream_goes_on_when_its_reader_does(void **state)
{
	struct rig *g = *state;
	int fd = dial_with(g, 4096);
	char piece[64 << 10];
	size_t got = 0;
	say(fd, "GET /stream HTTP/1.1\r\n" HOST "\r\n");
	while (got < 64 << 20) {
		ssize_t n = sl_test_recv(fd, piece, sizeof(piece), 0);
		assert_true(n > 0);
		got += (size_t)n;
	}
	close(fd);
	wait_for(&g->held);
}

static void drain_it(void *arg)
{
	struct rig *g = arg;
	sl_server_drain(g->server);
	sem_post(&g->held);
}

static void draining_finishes_what_began_and_takes_no_more(void **state)
{
	struct rig *g = *state;
	int idle = dial(g), busy = dial(g);
	say(idle, "GET /echo HTTP/1.1\r\n" HOST "\r\n");
	expect_status(idle, "200", "");
	say(busy, "GET /hold HTTP/1.1\r\n" HOST "\r\n");
	wait_for(&g->held);
	assert_int_equal(sl_loop_call(g->loop, drain_it, g), SL_OK);
	wait_for(&g->held);
	assert_true(closed(idle));
	assert_int_equal(sl_loop_call(g->loop, answer_held, g), SL_OK);
	expect_status(busy, "200", "Connection: close");
	assert_true(closed(busy));
	assert_int_equal(dial_with(g, 0), -1);
	close(idle);
	close(busy);
}

static void stopping_with_everything_open_leaves_nothing(void **state)
{
	struct rig *g = *state;
	for (int i = 0; i < 5; i++) {
		int fd = dial(g); /* the fds are closed by the end of the process: here they must be open */
		say(fd, i == 0   ? "GET /hold HTTP/1.1\r\n" HOST "\r\n"
			: i == 1 ? "GET /stream HTTP/1.1\r\n" HOST "\r\n"
			: i == 2 ? "POST /echo"
			: i == 3 ? "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nx"
				 : "\r\n");
	}
	wait_for(&g->held);
	/* teardown stops the server and looks */
}

/* ---- TLS ---- */

static bool write_pair(struct rig *g)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	snprintf(g->cert, sizeof(g->cert), "/tmp/sluice-test-cert-XXXXXX");
	snprintf(g->key, sizeof(g->key), "/tmp/sluice-test-key-XXXXXX");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1,
				   -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	FILE *c = fdopen(mkstemp(g->cert), "w"), *k = fdopen(mkstemp(g->key), "w");
	bool ok = X509_sign(cert, key, EVP_sha256()) && c && k && PEM_write_X509(c, cert) &&
		  PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL);
	if (c)
		fclose(c);
	if (k)
		fclose(k);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ok;
}

static int setup_tls_of(void **state, uint32_t most)
{
	struct rig names = {0};
	if (!write_pair(&names))
		return -1;
	int rc =
		start(state,
		      (struct sl_server_config){.tls_cert = names.cert, .tls_key = names.key, .max_connections = most});
	struct rig *g = *state;
	memcpy(g->cert, names.cert, sizeof(g->cert));
	memcpy(g->key, names.key, sizeof(g->key));
	return rc;
}

static int setup_tls(void **state)
{
	return setup_tls_of(state, 0);
}

static int setup_tls_one(void **state)
{
	return setup_tls_of(state, 1);
}

/* As sl_test_recv: what was interrupted is tried again. */
static bool again(SSL *ssl, int rc)
{
	return errno == EINTR && SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ;
}

static bool read_tls(SSL *ssl, char *to, size_t len, size_t *n)
{
	int rc;
	while ((rc = SSL_read_ex(ssl, to, len, n)) != 1 && again(ssl, rc))
		;
	return rc == 1;
}

static void with_tls_more_connections_than_may_be_open_are_closed(void **state)
{
	int first = dial(*state), second = dial(*state); /* they are taken in this order */
	assert_true(closed(second));
	close(first);
	close(second);
}

static void over_tls_the_same_is_answered(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	char got[4096];
	size_t n;
	SSL_set_fd(ssl, fd);
	int rc;
	while ((rc = SSL_connect(ssl)) != 1 && again(ssl, rc))
		;
	assert_int_equal(rc, 1);
	const char text[] = "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
	for (int round = 0; round < 3; round++) {
		assert_int_equal(SSL_write_ex(ssl, text, sizeof(text) - 1, &n), 1);
		size_t at = 0;
		while (at < 5 || memcmp(got + at - 5, "hello", 5) != 0) {
			assert_true(read_tls(ssl, got + at, sizeof(got) - at, &n));
			at += n;
		}
		assert_int_equal(strncmp(got, "HTTP/1.1 200 OK", 15), 0);
		assert_non_null(memmem(got, at, "Strict-Transport-Security", 25));
	}
	const char big[] = "GET /big?n=4000000 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";
	assert_int_equal(SSL_write_ex(ssl, big, sizeof(big) - 1, &n), 1);
	size_t all = 0;
	while (read_tls(ssl, got, sizeof(got), &n))
		all += n;
	assert_true(all > 4000000);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);

	fd = dial(g); /* plain text at a TLS port */
	say(fd, "GET / HTTP/1.1\r\n" HOST "\r\n");
	SL_AUTO_MEM char *none = hear(fd);
	assert_null(strstr(none, "HTTP/1.1"));
	close(fd);
}

static void it_does_not_listen_to_everyone_without_tls(void **state)
{
	static const struct {
		const char *listen;
		bool insecure;
		enum sl_code code;
	} cases[] = {
		{"0.0.0.0:0", false, SL_INVALID},
		{"[::]:0", false, SL_INVALID},
		{":0", false, SL_INVALID},
		{"nonsense", false, SL_INVALID},
		{"127.0.0.1:99999", false, SL_INVALID},
		{"::1:80", false, SL_INVALID},
		{"127.0.0.1:", false, SL_INVALID},
	};
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		SL_AUTO(sl_loop) loop = NULL;
		SL_AUTO(sl_server) server = NULL;
		struct sl_error err = {0};
		assert_int_equal(sl_loop_new("test", &loop), SL_OK);
		const struct sl_server_config config = {
			.loop = loop, .listen = cases[i].listen, .head = head, .handle = handle};
		assert_int_equal(sl_server_check(&config, &err), cases[i].code); /* also before anything is there */
		assert_true(err.text[0] != '\0');
		err.text[0] = '\0';
		assert_int_equal(sl_server_new(&config, &server, &err), SL_OK);
		assert_int_equal(sl_server_start(server, &err), cases[i].code);
		assert_true(err.text[0] != '\0');
	}
	struct sl_error err = {0};
	struct sl_server_config config = {.listen = "127.0.0.1:0", .head = head, .handle = handle};
	assert_int_equal(sl_server_check(&config, &err), SL_OK);
	config.tls_cert = "/nowhere/cert.pem";
	assert_int_equal(sl_server_check(&config, &err), SL_INVALID);
	assert_non_null(strstr(err.text, "both"));
	config.tls_key = "/nowhere/key.pem";
	assert_int_equal(sl_server_check(&config, &err), SL_INVALID);
	assert_string_equal(err.text, "cannot use '/nowhere/cert.pem' for TLS: No such file or directory");
}

static void an_address_in_use_is_said_and_leaves_nothing(void **state)
{
	struct rig *g = *state;
	SL_AUTO(sl_loop) loop = NULL;
	SL_AUTO(sl_server) second = NULL; /* goes before the loop does */
	struct sl_error err = {0};
	assert_int_equal(sl_loop_new("test", &loop), SL_OK);
	const struct sl_server_config config = {
		.loop = loop, .listen = sl_server_address(g->server), .head = head, .handle = handle};
	assert_int_equal(sl_server_new(&config, &second, &err), SL_OK);
	assert_int_equal(sl_server_start(second, &err), SL_UNAVAILABLE);
	assert_non_null(strstr(err.text, "in use"));
}

int main(void)
{
#define WITH(name, how) cmocka_unit_test_setup_teardown(name, how, teardown)
	const struct CMUnitTest tests[] = {
		WITH(answers_and_keeps_the_connection, setup),
		WITH(what_the_store_refuses_is_503_and_says_when_to_come_again, setup),
		WITH(security_headers_are_on_every_answer, setup),
		WITH(pipelined_requests_are_answered_in_order, setup),
		WITH(what_comes_behind_a_request_that_waits_waits_too, setup),
		WITH(what_comes_too_early_stays_in_the_socket_until_its_turn, setup),
		WITH(more_connections_than_may_be_open_get_503, setup_few),
		WITH(with_tls_more_connections_than_may_be_open_are_closed, setup_tls_one),
		WITH(a_chunked_body_is_put_together_and_the_connection_goes_on, setup),
		WITH(a_body_over_the_limit_is_413_by_length_and_by_chunks, setup),
		WITH(a_body_of_just_the_limit_is_taken, setup),
		WITH(a_head_over_the_limit_is_431, setup),
		WITH(what_is_no_http_is_told_so_and_closed, setup),
		WITH(an_answer_to_the_head_alone_does_not_wait_for_the_body, setup),
		WITH(a_client_that_asks_before_it_sends_is_told_to_go_on, setup),
		WITH(a_slow_head_is_408, setup_short_head),
		WITH(a_slow_body_is_408, setup_short_body),
		WITH(an_idle_connection_is_closed, setup_short_idle),
		WITH(a_handler_that_takes_too_long_is_504_and_its_answer_dropped, setup_short_answer),
		WITH(an_answer_for_a_client_that_left_is_dropped, setup),
		WITH(a_half_closed_client_still_gets_its_answer, setup),
		WITH(whoever_asks_learns_that_the_client_left, setup),
		WITH(a_large_answer_arrives_whole_at_a_slow_reader, setup),
		WITH(a_stream_is_chunked_and_ends, setup),
		WITH(a_stream_nobody_reads_is_held_back_and_then_closed, setup_short_stall),
		WITH(a_stream_goes_on_when_its_reader_does, setup),
		WITH(draining_finishes_what_began_and_takes_no_more, setup),
		WITH(stopping_with_everything_open_leaves_nothing, setup),
		WITH(an_address_in_use_is_said_and_leaves_nothing, setup),
		WITH(over_tls_the_same_is_answered, setup_tls),
		cmocka_unit_test(it_does_not_listen_to_everyone_without_tls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
