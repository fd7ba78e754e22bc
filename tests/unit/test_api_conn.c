/* One connection over real sockets: what it takes for a request, in which order, how large, and within which times. */
#include "tests/lib/test.h"

#include <poll.h>

#include "tests/lib/server_rig.h"

/* One of its times is short, and no other: on a busy machine the other one would come first. */
static int setup_short_head(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.head_ms = 60}});
}

static int setup_short_body(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.body_ms = 120}});
}

static int setup_short_idle(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.idle_ms = 200}});
}

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(answers_and_keeps_the_connection, setup),
		WITH(pipelined_requests_are_answered_in_order, setup),
		WITH(what_comes_behind_a_request_that_waits_waits_too, setup),
		WITH(what_comes_too_early_stays_in_the_socket_until_its_turn, setup),
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
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
