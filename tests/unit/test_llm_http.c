/* The HTTP client against servers that behave in every way: canned bytes over TCP, the simulator's own routes, TLS. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "llm/http.h"
#include "llm/sim.h"

/* One connection: reads a request's head, sends what it is told to, closes. */
struct canned {
	int listener;
	uint16_t port;
	pthread_t thread;
	const char *answer;
	size_t repeat; /* the answer's last line this often more */
	char request[8192];
};

static void *canned_main(void *arg)
{
	struct canned *c = arg;
	int fd = accept(c->listener, NULL, NULL);
	size_t n = 0;
	if (fd < 0)
		return NULL;
	while (n < sizeof(c->request) - 1 && !strstr(c->request, "\r\n\r\n")) {
		ssize_t got = recv(fd, c->request + n, sizeof(c->request) - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		c->request[n] = 0;
	}
	(void)!send(fd, c->answer, strlen(c->answer), MSG_NOSIGNAL);
	for (size_t i = 0; i < c->repeat; i++)
		if (send(fd, "x-more: yes\r\n", 13, MSG_NOSIGNAL) < 0)
			break;
	shutdown(fd, SHUT_WR);
	while (recv(fd, c->request + n, sizeof(c->request) - 1 - n, 0) > 0) {
	}
	close(fd);
	return NULL;
}

static void canned_start(struct canned *c, const char *answer, size_t repeat)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	*c = (struct canned){.answer = answer, .repeat = repeat};
	c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->listener >= 0);
	assert_int_equal(bind(c->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(c->listener, 4), 0);
	assert_int_equal(getsockname(c->listener, (struct sockaddr *)&a, &len), 0);
	c->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&c->thread, NULL, canned_main, c), 0);
}

static void canned_stop(struct canned *c)
{
	shutdown(c->listener, SHUT_RDWR); /* wakes an accept nobody came to */
	pthread_join(c->thread, NULL);
	close(c->listener);
}

struct note {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned dones;
	enum sl_code rc;
	struct sl_error err;
	int status;
	size_t n_headers;
	char location[128];
	struct sl_buf body;
};

static enum sl_code on_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct note *n = ctx;
	sl_buf_add(&n->body, piece.p, piece.len);
	return SL_OK;
}

static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_http_result *r)
{
	struct note *n = ctx;
	struct sl_str l = sl_http_find(r->head, "LOCATION");
	pthread_mutex_lock(&n->lock);
	n->dones++;
	n->rc = rc;
	n->err = *err;
	n->status = r->head->status;
	n->n_headers = r->head->n_headers;
	snprintf(n->location, sizeof(n->location), SL_STR_FMT, SL_STR_ARG(l));
	pthread_cond_broadcast(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

static struct sl_http_guard *guard; /* of the next fetch */

static void fetch(const char *url, size_t max_body, const char *ca, struct note *n)
{
	struct sl_http *h = NULL;
	struct sl_http_call *call = NULL;
	const struct sl_http_config config = {.ca_file = ca};
	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	sl_buf_init(&n->body, 64 << 20);
	const struct sl_http_request req = {
		.method = "GET",
		.url = url,
		.timeouts = {.connect_ms = 5000, .total_ms = 20000},
		.max_body_bytes = max_body,
		.guard = guard,
		.body_fn = on_body,
		.done = on_done,
		.ctx = n,
	};
	assert_int_equal(sl_http_new(&config, &h, &n->err), SL_OK);
	assert_int_equal(sl_http_start(h, &req, &call, &n->err), SL_OK);
	pthread_mutex_lock(&n->lock);
	while (!n->dones)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
	sl_http_call_unref(call);
	sl_http_free(h);
	assert_int_equal(n->dones, 1);
}

static const struct {
	const char *answer;
	size_t repeat, max_body;
	enum sl_code rc;
	int status;
	const char *body;
} cases[] = {
	{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, 0, SL_OK, 200, "hi"},
	{"HTTP/1.1 200 OK\r\n\r\nuntil the end", 0, 0, SL_OK, 200, "until the end"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nTrailer: x\r\n\r\n", 0, 0, SL_OK, 200,
	 "hi"},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n", 0, 0, SL_OK, 404, ""},
	{"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 0, 0, SL_OK, 302, ""},
	{"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi", 0, 0, SL_TRUNCATED, 200, "hi"},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", 0, 0, SL_TRUNCATED, 200, "hi"},
	{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", 0, 9, SL_TOO_LARGE, 200, NULL},
	{"HTTP/1.1 200 OK\r\n", 10000, 0, SL_TOO_LARGE, 0, ""},
	{"SSH-2.0-OpenSSH_9.2\r\n", 0, 0, SL_MALFORMED, 0, ""},
	{"", 0, 0, SL_CONNECT, 0, ""},
};

static void every_kind_of_answer_ends_in_one_code(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct canned c;
		struct note n;
		char url[64];
		canned_start(&c, cases[i].answer, cases[i].repeat);
		snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", c.port);
		fetch(url, cases[i].max_body, NULL, &n);
		canned_stop(&c);
		if (n.rc != cases[i].rc)
			print_error("case %zu: %s: %s\n", i, sl_code_wire(n.rc), n.err.text);
		assert_int_equal(n.rc, cases[i].rc);
		assert_int_equal(n.status, cases[i].status);
		if (cases[i].body)
			assert_string_equal(n.body.data ? n.body.data : "", cases[i].body);
		sl_buf_fini(&n.body);
	}
}

static void a_redirect_is_an_answer(void **state)
{
	struct canned c;
	struct note n;
	char url[64];
	canned_start(&c, cases[4].answer, 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", c.port);
	fetch(url, 0, NULL, &n);
	canned_stop(&c);
	assert_string_equal(n.location, "http://127.0.0.1:1/");
	sl_buf_fini(&n.body);
}

static void a_proxy_of_the_environment_is_not_asked(void **state)
{
	struct canned c;
	struct note n;
	char url[64];
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	canned_start(&c, cases[0].answer, 0);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", c.port);
	fetch(url, 0, NULL, &n);
	canned_stop(&c);
	assert_int_equal(n.rc, SL_OK);
	assert_memory_equal(c.request, "GET /x HTTP/1.1\r\n", 17);
	assert_null(strstr(c.request, "Expect"));
	sl_buf_fini(&n.body);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

/* A guard that changes its mind: as if a name led elsewhere each time somebody asks. */
static unsigned checks, refuse_from;

static void to_loopback(struct sl_http_guard *g, sl_resolve_fn *fn, void *arg)
{
	struct sl_address a;
	assert_true(sl_address_parse("127.0.0.1", 0, &a));
	fn(arg, SL_OK, &a, 1, NULL);
}

static enum sl_code mind(struct sl_http_guard *g, const struct sl_address *peer, struct sl_error *err)
{
	if (sl_address_port(peer) != g->port || sl_address_kind(peer) != SL_ADDRESS_LOOPBACK)
		return sl_fail(err, SL_INTERNAL, "asked about another address");
	return ++checks >= refuse_from ? sl_fail(err, SL_EGRESS, "no") : SL_OK;
}

static void an_address_is_checked_when_found_when_dialled_and_before_the_request(void **state)
{
	/* 1: none is dialled. 2: nor when only the socket's own check refuses. 3: connected, but nothing is written. */
	for (refuse_from = 1; refuse_from <= 4; refuse_from++) {
		struct canned c;
		struct note n;
		char url[64];
		canned_start(&c, cases[0].answer, 0);
		struct sl_http_guard g = {"odd.example.com", c.port, to_loopback, mind};
		snprintf(url, sizeof(url), "http://odd.example.com:%u/x", c.port);
		checks = 0;
		guard = &g;
		fetch(url, 0, NULL, &n);
		guard = NULL;
		canned_stop(&c);
		assert_int_equal(n.rc, refuse_from <= 3 ? SL_EGRESS : SL_OK);
		assert_int_equal(checks, refuse_from <= 3 ? refuse_from : 3);
		assert_int_equal(strlen(c.request) > 0, refuse_from > 3);
		sl_buf_fini(&n.body);
	}
}

static void only_http_addresses_are_used(void **state)
{
	static const char *const urls[] = {"file:///etc/passwd",    "ftp://127.0.0.1/", "gopher://127.0.0.1/",
					   "http://u:p@127.0.0.1/", "http://",          ""};
	for (size_t i = 0; i < SL_COUNT_OF(urls); i++) {
		struct note n;
		fetch(urls[i], 0, NULL, &n);
		if (n.rc != SL_INVALID)
			print_error("%s: %s\n", urls[i], n.err.text);
		assert_int_equal(n.rc, SL_INVALID);
		assert_int_equal(n.body.len, 0);
		sl_buf_fini(&n.body);
	}
}

static void the_simulator_tells_what_it_saw(void **state)
{
	static const struct {
		const char *path;
		int status;
		const char *has;
	} routes[] = {
		{"/v1/models", 200, "\"sim\""},
		{"/sim/stats", 200, "\"streams_open\":0"},
		{"/sim/requests", 200, "\"requests\":[]"},
		{"/nothing", 404, "The simulator has"},
	};
	SL_AUTO(sl_sim) sim = NULL;
	struct sl_error err;
	const struct sl_sim_config config = {0};
	assert_int_equal(sl_sim_start(&config, &sim, &err), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(routes); i++) {
		struct note n;
		char url[96];
		snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", sl_sim_port(sim), routes[i].path);
		fetch(url, 0, NULL, &n);
		assert_int_equal(n.rc, SL_OK);
		assert_int_equal(n.status, routes[i].status);
		assert_non_null(strstr(n.body.data, routes[i].has));
		sl_buf_fini(&n.body);
	}
}

static void a_certificate_nobody_vouches_for_is_its_own_code(void **state)
{
	char dir[] = "/tmp/sl-cert-XXXXXX", cmd[512], line[256] = "";
	unsigned port = 0;
	if (system("openssl version >/dev/null 2>&1") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(cmd, sizeof(cmd),
		 "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 2 -subj "
		 "/CN=localhost "
		 "-addext subjectAltName=IP:127.0.0.1 >/dev/null 2>&1",
		 dir);
	assert_int_equal(system(cmd), 0);
	int out[2];
	assert_int_equal(pipe(out), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		close(out[0]);
		if (chdir(dir) != 0)
			_exit(1);
		execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "c.pem", "-key", "k.pem",
		       "-www", (char *)NULL);
		_exit(1);
	}
	close(out[1]);
	FILE *f = fdopen(out[0], "r");
	assert_non_null(f);
	while (!port && fgets(line, sizeof(line), f))
		if (strncmp(line, "ACCEPT", 6) == 0 && strrchr(line, ':'))
			port = (unsigned)strtoul(strrchr(line, ':') + 1, NULL, 10);
	assert_true(port > 0);
	struct note n;
	char url[64], ca[64];
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", port);
	snprintf(ca, sizeof(ca), "%s/c.pem", dir);
	fetch(url, 0, NULL, &n);
	enum sl_code untrusted = n.rc;
	sl_buf_fini(&n.body);
	fetch(url, 0, ca, &n);
	enum sl_code trusted = n.rc;
	sl_buf_fini(&n.body);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	fclose(f);
	snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(untrusted, SL_CERTIFICATE);
	assert_int_equal(trusted, SL_OK);
}

static _Atomic bool files_wanted;

static void *open_files(void *arg)
{
	while (atomic_load(&files_wanted)) {
		int fd[8];
		for (size_t i = 0; i < SL_COUNT_OF(fd); i++)
			fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		for (size_t i = 0; i < SL_COUNT_OF(fd); i++)
			close(fd[i]);
	}
	return NULL;
}

/* Thread sanitizer looks on when it is built with it: what is watched is no longer, before its number is others'. */
static void a_call_that_ends_while_it_connects_leaves_its_number_alone(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct sl_http *h = NULL;
	struct sl_error err;
	const struct sl_http_config config = {0};
	pthread_t thread;
	char url[64];
	int full[4], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, 0), 0); /* nobody accepts: soon the kernel answers no more */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	for (size_t i = 0; i < SL_COUNT_OF(full); i++) {
		full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(full[i], (struct sockaddr *)&a, sizeof(a));
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(a.sin_port));
	assert_int_equal(sl_http_new(&config, &h, &err), SL_OK);
	atomic_store(&files_wanted, true);
	assert_int_equal(pthread_create(&thread, NULL, open_files, NULL), 0);
	for (unsigned round = 0; round < 100; round++) {
		struct note n = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
		struct sl_http_call *call = NULL;
		struct sl_http_stats st;
		const struct sl_http_request req = {.method = "GET",
						    .url = url,
						    .timeouts = {.connect_ms = 60000, .total_ms = 60000},
						    .body_fn = on_body,
						    .done = on_done,
						    .ctx = &n};
		assert_int_equal(sl_http_start(h, &req, &call, &n.err), SL_OK);
		do {
			usleep(1000);
			sl_http_stats(h, &st);
		} while (st.sockets_opened <= round);
		sl_http_cancel(call);
		pthread_mutex_lock(&n.lock);
		while (!n.dones)
			pthread_cond_wait(&n.cond, &n.lock);
		pthread_mutex_unlock(&n.lock);
		sl_http_call_unref(call);
		assert_int_equal(n.rc, SL_CANCELLED);
		assert_int_equal(n.status, 0);
	}
	atomic_store(&files_wanted, false);
	pthread_join(thread, NULL);
	sl_http_free(h);
	for (size_t i = 0; i < SL_COUNT_OF(full); i++)
		close(full[i]);
	close(listener);
}

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_answer_ends_in_one_code),
		cmocka_unit_test(a_redirect_is_an_answer),
		cmocka_unit_test(a_proxy_of_the_environment_is_not_asked),
		cmocka_unit_test(an_address_is_checked_when_found_when_dialled_and_before_the_request),
		cmocka_unit_test(only_http_addresses_are_used),
		cmocka_unit_test(the_simulator_tells_what_it_saw),
		cmocka_unit_test(a_certificate_nobody_vouches_for_is_its_own_code),
		cmocka_unit_test(a_call_that_ends_while_it_connects_leaves_its_number_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
