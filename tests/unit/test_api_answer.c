/* Answers over real sockets: what is on each of them, large ones and streams, and whoever comes too late or leaves. */
#include "tests/lib/test.h"

#include "tests/lib/server_rig.h"

/* One of its times is short, and no other: on a busy machine the other one would come first. */
static int setup_short_answer(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.answer_ms = 150}});
}

static int setup_short_stall(void **state)
{
	return start(state, (struct sl_server_config){.timeouts = {.stalled_ms = 200}});
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(what_the_store_refuses_is_503_and_says_when_to_come_again, setup),
		WITH(security_headers_are_on_every_answer, setup),
		WITH(a_handler_that_takes_too_long_is_504_and_its_answer_dropped, setup_short_answer),
		WITH(an_answer_for_a_client_that_left_is_dropped, setup),
		WITH(a_half_closed_client_still_gets_its_answer, setup),
		WITH(whoever_asks_learns_that_the_client_left, setup),
		WITH(a_large_answer_arrives_whole_at_a_slow_reader, setup),
		WITH(a_stream_is_chunked_and_ends, setup),
		WITH(a_stream_nobody_reads_is_held_back_and_then_closed, setup_short_stall),
		WITH(a_stream_goes_on_when_its_reader_does, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
