/* The http node in whole runs: real sockets to a server of the test's own, which the policy allows by name. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/own.h"
#include "llm/egress.h"
#include "llm/services.h"
#include "tests/lib/world.h"

struct server {
	int fd, stop[2];
	uint16_t port;
	pthread_t thread;
	_Atomic unsigned requests, closed_early;
	pthread_mutex_t lock;
	char last[3][4096]; /* [lock] the last requests, newest first */
	const char *answers[4];
};

static void *server_main(void *arg)
{
	struct server *s = arg;
	for (;;) {
		struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
		if (poll(p, 2, -1) < 0 || p[1].revents)
			return NULL;
		int fd = accept(s->fd, NULL, NULL);
		if (fd < 0)
			continue;
		char text[4096] = "";
		size_t n = 0, want = SIZE_MAX;
		while (n < sizeof(text) - 1 && n < want) {
			ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
			if (got <= 0)
				break;
			n += (size_t)got;
			text[n] = 0;
			char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
			if (end)
				want = (size_t)(end + 4 - text) + (length ? strtoul(length + 16, NULL, 10) : 0);
		}
		pthread_mutex_lock(&s->lock);
		memmove(s->last[1], s->last[0], 2 * sizeof(s->last[0]));
		memcpy(s->last[0], text, sizeof(text));
		pthread_mutex_unlock(&s->lock);
		unsigned i = atomic_fetch_add(&s->requests, 1);
		const char *answer = i < 4 && s->answers[i] ? s->answers[i] : s->answers[0];
		struct pollfd rest = {.fd = fd, .events = POLLIN};
		if (strcmp(answer, "silence") == 0) {
			if (poll(&rest, 1, 60000) > 0 && recv(fd, text, sizeof(text), 0) <= 0)
				atomic_fetch_add(&s->closed_early, 1);
		} else {
			(void)!send(fd, answer, strlen(answer), MSG_NOSIGNAL);
			shutdown(fd, SHUT_WR);
			while (poll(&rest, 1, 1000) > 0 && recv(fd, text, sizeof(text), 0) > 0) {
			}
		}
		close(fd);
	}
}

struct fixture {
	struct world *world;
	struct server server;
	struct sl_egress *egress;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct server *s = &f->server;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	char allow[64];
	struct sl_error err = {0};
	pthread_mutex_init(&s->lock, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(s->fd, 16) != 0 ||
	    getsockname(s->fd, (struct sockaddr *)&a, &len) != 0 || pipe(s->stop) != 0)
		return -1;
	s->port = ntohs(a.sin_port);
	if (pthread_create(&s->thread, NULL, server_main, s) != 0)
		return -1;
	snprintf(allow, sizeof(allow), "127.0.0.1:%u", s->port);
	const struct sl_egress_config config = {.allow = allow};
	if (sl_egress_new(&config, &f->egress, &err) != SL_OK)
		return -1;
	f->world = world_new(7);
	world_services(f->world)->egress = f->egress;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	sl_egress_stop(f->egress);
	world_settle(f->world); /* what it brought last is for runs that have ended */
	world_free(f->world);
	sl_egress_free(f->egress);
	(void)!write(f->server.stop[1], "x", 1);
	pthread_join(f->server.thread, NULL);
	close(f->server.fd);
	close(f->server.stop[0]);
	close(f->server.stop[1]);
	free(f);
	return 0;
}

/* A run of one node `call`; `rest` are its members behind the id and type, PORT in it is the server's. */
static struct sl_run_id submit(struct fixture *f, const char *rest, const char *inputs)
{
	SL_BUF(text, 8192);
	sl_buf_adds(&text, "{\"sluice\":1,\"name\":\"one\",\"nodes\":[{\"id\":\"call\",\"type\":\"http\",");
	for (const char *p; (p = strstr(rest, "PORT")); rest = p + 4) {
		sl_buf_add(&text, rest, (size_t)(p - rest));
		sl_buf_addu(&text, f->server.port);
	}
	sl_buf_adds(&text, rest);
	sl_buf_adds(&text, "}],\"outputs\":{\"call\":\"{{ nodes.call }}\"}}");
	return world_submit(f->world, text.data, inputs);
}

static struct json_object *output(struct fixture *f, struct sl_run_id id)
{
	return sl_json_get(sl_json_get(world_run(f->world, id), "outputs"), "call");
}

static struct json_object *failure(struct fixture *f, struct sl_run_id id)
{
	return sl_json_get(world_run(f->world, id), "error");
}

static bool request_has(struct fixture *f, unsigned age, const char *what)
{
	pthread_mutex_lock(&f->server.lock);
	bool has = strstr(f->server.last[age], what) != NULL;
	if (!has)
		print_error("no '%s' in:\n%s\n", what, f->server.last[age]);
	pthread_mutex_unlock(&f->server.lock);
	return has;
}

#define JSON_ANSWER                                                                                                    \
	"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nX-Twice: a\r\nX-Twice: b\r\n"       \
	"Content-Length: 15\r\n\r\n{\"rate\":[1.25]}"

static void an_answer_is_status_headers_body_and_json(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = JSON_ANSWER;
	struct sl_run_id id =
		submit(f,
		       "\"params\":{\"url\":\"http://127.0.0.1:PORT/rates\",\"query\":{\"q\":\"{{ input.q "
		       "}}\",\"n\":3,\"l\":[\"x\",\"y\"]},\"headers\":{\"X-Trace\":\"{{ input.q }}\"}}",
		       "{\"q\":\"a&b=c d\\u00e9\"}");
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	struct json_object *out = output(f, id);
	assert_int_equal(sl_json_get_i64(out, "status", 0), 200);
	assert_string_equal(sl_json_get_z(out, "body"), "{\"rate\":[1.25]}");
	assert_string_equal(sl_json_get_z(sl_json_get(out, "headers"), "content-type"), "application/json");
	assert_string_equal(sl_json_get_z(sl_json_get(out, "headers"), "x-twice"), "a, b");
	assert_true(json_object_get_double(
			    json_object_array_get_idx(sl_json_get(sl_json_get(out, "json"), "rate"), 0)) == 1.25);
	assert_true(request_has(f, 0, "GET /rates?q=a%26b%3Dc%20d%C3%A9&n=3&l=x&l=y HTTP/1.1\r\n"));
	assert_true(request_has(f, 0, "X-Trace: a&b=c d"));
	assert_int_equal(world_count(f->world, id, "call", "completed"), 1);
}

static void what_comes_from_outside_cannot_forge_a_header(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = JSON_ANSWER;
	struct sl_run_id id =
		submit(f, "\"params\":{\"url\":\"http://127.0.0.1:PORT/\",\"headers\":{\"X-Trace\":\"{{ input.q }}\"}}",
		       "{\"q\":\"a\\r\\nX-Forged: yes\"}");
	assert_true(world_await(f->world, id, NULL, "failed"));
	assert_string_equal(sl_json_get_z(failure(f, id), "code"), "invalid");
	assert_int_equal(atomic_load(&f->server.requests), 0);
}

static void a_body_goes_as_text_or_json_with_a_key_that_stays_the_same(void **state)
{
	struct fixture *f = *state;
	char key[3][128] = {""};
	f->server.answers[0] = "HTTP/1.1 503 Later\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy";
	f->server.answers[1] = "HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
	f->server.answers[2] = "HTTP/1.1 201 Made\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
	struct sl_run_id id =
		submit(f,
		       "\"params\":{\"method\":\"POST\",\"url\":\"http://127.0.0.1:PORT/orders\",\"body\":"
		       "{\"item\":\"{{ input.item }}\"}},\"retry\":{\"max\":3,\"backoff_ms\":1000}",
		       "{\"item\":\"tea\"}");
	for (unsigned tries = 1; tries <= 3; tries++) {
		while (atomic_load(&f->server.requests) < tries) {
			/* in small steps, and only while it waits for its time: a request under way takes none of it */
			bool waits = strcmp(world_node_status(f->world, id, "call"), "retrying") == 0;
			world_advance(f->world, waits ? 50 : 0);
			usleep(500);
		}
		assert_true(world_await(f->world, id, "call", tries < 3 ? "retrying" : "completed"));
		pthread_mutex_lock(&f->server.lock);
		const char *line = strstr(f->server.last[0], "Idempotency-Key: ");
		assert_non_null(line);
		(void)sscanf(line, "Idempotency-Key: %127s", key[tries - 1]);
		assert_non_null(strstr(f->server.last[0], "Content-Type: application/json\r\n"));
		assert_non_null(strstr(f->server.last[0], "\r\n\r\n{\"item\":\"tea\"}"));
		pthread_mutex_unlock(&f->server.lock);
	}
	assert_true(strlen(key[0]) == 64);
	assert_string_equal(key[0], key[1]);
	assert_string_equal(key[0], key[2]);
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	assert_int_equal(sl_json_get_i64(output(f, id), "status", 0), 201);
}

static void a_hint_of_the_server_is_obeyed(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = "HTTP/1.1 429 Slow\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
	f->server.answers[1] = JSON_ANSWER;
	struct sl_run_id id =
		submit(f,
		       "\"params\":{\"url\":\"http://127.0.0.1:PORT/\"},\"retry\":{\"max\":2,\"backoff_ms\":"
		       "100}",
		       "{}");
	assert_true(world_await(f->world, id, "call", "retrying"));
	world_advance(f->world, 6900);
	assert_string_equal(world_node_status(f->world, id, "call"), "retrying");
	assert_int_equal(atomic_load(&f->server.requests), 1);
	world_advance(f->world, 5000);
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	assert_int_equal(atomic_load(&f->server.requests), 2);
}

static void what_was_not_expected_fails_with_its_own_code(void **state)
{
	static const struct {
		const char *answer, *expect, *code;
	} rows[] = {
		{"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone", NULL, "provider_rejected"},
		{"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone", "[404, \"200-299\"]", NULL},
		{"HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", NULL, "provider_auth"},
		{"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", NULL, "provider_error"},
		{"HTTP/1.1 503 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", NULL, "provider_overloaded"},
		{"HTTP/1.1 302 Go\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", NULL,
		 "provider_rejected"},
		{"HTTP/1.1 302 Go\r\nConnection: close\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "302", NULL},
		{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n{bad", "\"json\"", "output_invalid"},
		{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n{bad", NULL, NULL},
		{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n7", "[\"json\"]", NULL},
		{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhi", NULL, "stream_truncated"},
		{"", NULL, "provider_unreachable"},
	};
	struct fixture *f = *state;
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char rest[512];
		f->server.answers[0] = rows[i].answer;
		snprintf(rest, sizeof(rest),
			 "\"params\":{\"url\":\"http://127.0.0.1:PORT/\"%s%s},\"retry\":{\"max\":0}",
			 rows[i].expect ? ",\"expect\":" : "", rows[i].expect ? rows[i].expect : "");
		struct sl_run_id id = submit(f, rest, "{}");
		if (!world_await(f->world, id, NULL, rows[i].code ? "failed" : "succeeded"))
			fail_msg("row %zu: %s", i, json_object_to_json_string(world_run(f->world, id)));
		if (rows[i].code)
			assert_string_equal(sl_json_get_z(failure(f, id), "code"), rows[i].code);
	}
}

static void bytes_that_are_no_text_come_as_base64(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\xff\xfe"
			       "ab";
	struct sl_run_id id = submit(f, "\"params\":{\"url\":\"http://127.0.0.1:PORT/\"}", "{}");
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	assert_string_equal(sl_json_get_z(output(f, id), "body_base64"), "//5hYg==");
	f->server.answers[1] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; charset=ISO-8859-1"
			       "\r\nContent-Length: 2\r\n\r\n\xe9!";
	id = submit(f, "\"params\":{\"url\":\"http://127.0.0.1:PORT/\"}", "{}");
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	assert_string_equal(sl_json_get_z(output(f, id), "body"), "\u00e9!");
}

static void the_policy_refuses_what_the_operator_did_not_allow(void **state)
{
	static const char *const urls[] = {"http://127.0.0.2:PORT/", "http://localhost:PORT/",
					   "http://2130706433:PORT/", "https://127.0.0.1:1/x", "http://example.com/"};
	struct fixture *f = *state;
	f->server.answers[0] = JSON_ANSWER;
	for (size_t i = 0; i < SL_COUNT_OF(urls); i++) {
		char rest[256];
		snprintf(rest, sizeof(rest), "\"params\":{\"url\":\"%s\"},\"retry\":{\"max\":5}", urls[i]);
		struct sl_run_id id = submit(f, rest, "{}");
		assert_true(world_await(f->world, id, NULL, "failed"));
		assert_string_equal(sl_json_get_z(failure(f, id), "code"), "egress_denied");
		assert_int_equal(world_count(f->world, id, "call", "retrying"), 0);
	}
	assert_int_equal(atomic_load(&f->server.requests), 0);
}

static void a_cancelled_run_closes_the_socket(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = "silence";
	struct sl_run_id id = submit(f, "\"params\":{\"url\":\"http://127.0.0.1:PORT/\"}", "{}");
	while (!atomic_load(&f->server.requests)) {
		world_settle(f->world);
		usleep(500);
	}
	assert_int_equal(world_command(f->world, id, SL_CMD_CANCEL), SL_OK);
	assert_true(world_await(f->world, id, NULL, "cancelled"));
	for (unsigned i = 0; i < 15000 && !atomic_load(&f->server.closed_early); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->server.closed_early), 1);
}

static void a_timeout_of_the_node_closes_the_socket(void **state)
{
	struct fixture *f = *state;
	f->server.answers[0] = "silence";
	struct sl_run_id id = submit(
		f, "\"timeout_s\":2,\"params\":{\"url\":\"http://127.0.0.1:PORT/\"},\"retry\":{\"max\":0}", "{}");
	while (!atomic_load(&f->server.requests)) {
		world_settle(f->world);
		usleep(500);
	}
	world_advance(f->world, 2100); /* the world's clock, not ours */
	assert_true(world_await(f->world, id, NULL, "failed"));
	assert_string_equal(sl_json_get_z(failure(f, id), "code"), "timeout");
	for (unsigned i = 0; i < 15000 && !atomic_load(&f->server.closed_early); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&f->server.closed_early), 1);
}

static void a_request_leaves_only_when_what_was_before_it_is_committed(void **state)
{
	struct fixture *f = *state;
	char text[1024];
	f->server.answers[0] = JSON_ANSWER;
	world_auto_commit(f->world, false);
	snprintf(text, sizeof(text),
		 "{\"sluice\":1,\"name\":\"two\",\"nodes\":[{\"id\":\"first\",\"type\":\"transform\",\"params\":{"
		 "\"expr\":\"1\"}},{\"id\":\"call\",\"type\":\"http\",\"params\":{\"url\":\"http://127.0.0.1:%u/\"}}],"
		 "\"edges\":[{\"from\":\"first\",\"to\":\"call\"}]}",
		 f->server.port);
	/* a submission is told of once it is committed, so the world commits that itself */
	struct sl_run_id id = world_submit(f->world, text, "{}");
	world_settle(f->world);
	usleep(50000);
	world_settle(f->world);
	assert_int_equal(atomic_load(&f->server.requests), 0);
	world_auto_commit(f->world, true);
	assert_true(world_await(f->world, id, NULL, "succeeded"));
	assert_int_equal(atomic_load(&f->server.requests), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		TEST(an_answer_is_status_headers_body_and_json),
		TEST(what_comes_from_outside_cannot_forge_a_header),
		TEST(a_body_goes_as_text_or_json_with_a_key_that_stays_the_same),
		TEST(a_hint_of_the_server_is_obeyed),
		TEST(what_was_not_expected_fails_with_its_own_code),
		TEST(bytes_that_are_no_text_come_as_base64),
		TEST(the_policy_refuses_what_the_operator_did_not_allow),
		TEST(a_cancelled_run_closes_the_socket),
		TEST(a_timeout_of_the_node_closes_the_socket),
		TEST(a_request_leaves_only_when_what_was_before_it_is_committed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
