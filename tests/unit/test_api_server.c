/* The server as a whole: where it listens, how many it lets in, how it drains and what is left when it stops. */
#include "tests/lib/test.h"

#include "tests/lib/server_rig.h"

static int setup_few(void **state)
{
	return start(state, (struct sl_server_config){.max_connections = 2});
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
	const struct CMUnitTest tests[] = {
		WITH(more_connections_than_may_be_open_get_503, setup_few),
		WITH(draining_finishes_what_began_and_takes_no_more, setup),
		WITH(stopping_with_everything_open_leaves_nothing, setup),
		WITH(an_address_in_use_is_said_and_leaves_nothing, setup),
		cmocka_unit_test(it_does_not_listen_to_everyone_without_tls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
