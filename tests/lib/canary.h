/* tests/lib/canary.h: a way out under a policy, a service that the policy allows, and a canary on the same addresses
 * that counts whoever comes to it: a test ends well only when nobody did.
 *
 * Owns      struct fixture has all of it.
 * Thread    each listener has its own; callbacks note, the test's body asserts.
 * Include it once in a program, after test.h: it takes the place of a function of the C library.
 */
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/limits.h"
#include "llm/egress.h"

/* Takes the place of the C library's, for libcurl, too: nobody but the policy's own look-up may ask. */
static _Atomic unsigned asked_libc;
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	atomic_fetch_add(&asked_libc, 1);
	return EAI_FAIL;
}

/* ---- a listener: counts connections, answers by the path */

struct listener {
	int fd, stop[2];
	uint16_t port;
	pthread_t thread;
	_Atomic unsigned connections, requests;
	bool answers;                      /* else it only counts */
	const char *(*target)(unsigned n); /* of /chain/N; "": the end */
	pthread_mutex_t lock;
	char last[8192]; /* [lock] request */
};

static inline bool last_has(struct listener *l, const char *what)
{
	pthread_mutex_lock(&l->lock);
	bool has = strstr(l->last, what) != NULL;
	pthread_mutex_unlock(&l->lock);
	return has;
}

/* The head, and four bytes of a body when one is announced. */
static inline bool is_whole(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n");
	return end && (strlen(end) >= 8 || !strstr(text, "Content-Length: 4\r\n"));
}

static inline void say(int fd, const char *text)
{
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static inline bool put(int fd, const void *p, size_t n)
{
	const char *at = p;
	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		n -= (size_t)sent;
	}
	return true;
}

/* Zeros, packed by hand: fixed codes, "258 bytes from one back" over and over: 13 bits for 258 bytes. */
static inline void send_bomb(int fd, size_t unpacked)
{
	static const unsigned char head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
	static unsigned char out[65536];
	size_t n = 0;
	uint64_t bits = 0;
	unsigned have = 0;
	say(fd, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n");
	if (!put(fd, head, sizeof(head)))
		return;
#define BITS(value, count) (bits |= (uint64_t)(value) << have, have += (count))
	BITS(3, 3);    /* last block, fixed codes */
	BITS(0x0c, 8); /* literal 0: 00110000, most significant bit first */
	for (size_t at = 0; at < unpacked; at += 258) {
		BITS(0xa3, 8); /* length 258: 11000101 */
		BITS(0, 5);    /* distance 1 */
		while (have >= 8) {
			out[n++] = (unsigned char)bits;
			bits >>= 8;
			have -= 8;
		}
		if (n > sizeof(out) - 16) {
			if (!put(fd, out, n))
				return;
			n = 0;
		}
	}
	(void)put(fd, out, n);
}

static inline void answer(struct listener *l, const char *request, int fd)
{
	char path[256] = "", line[4096];
	unsigned n = 0;
	(void)sscanf(request, "%*15s %255s", path);
	if (strcmp(path, "/ok") == 0 || strncmp(path, "/echo", 5) == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
	} else if (sscanf(path, "/chain/%u", &n) == 1) {
		const char *to = l->target(n);
		if (*to)
			snprintf(line, sizeof(line),
				 "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: %s\r\nContent-Length: "
				 "3\r\n\r\nbye",
				 to);
		else
			snprintf(line, sizeof(line),
				 "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
		say(fd, line);
	} else if (sscanf(path, "/see/%u", &n) == 1) {
		snprintf(line, sizeof(line),
			 "HTTP/1.1 %u Go\r\nConnection: close\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n", n);
		say(fd, line);
	} else if (strcmp(path, "/endless") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\n\r\n");
		memset(line, 'x', sizeof(line));
		while (put(fd, line, sizeof(line))) {
		}
	} else if (strcmp(path, "/endless-chunks") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (n = 0; n + 6 <= sizeof(line); n += 6)
			memcpy(line + n, "1\r\nx\r\n", 6);
		while (put(fd, line, n)) { /* one by one they would take a busy machine more than their time */
		}
	} else if (strcmp(path, "/headers") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\n");
		for (unsigned i = 0; i < 10000 && put(fd, "X-More: yes\r\n", 13); i++) {
		}
	} else if (strcmp(path, "/header") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nX-Long: ");
		memset(line, 'x', sizeof(line));
		while (put(fd, line, sizeof(line))) {
		}
	} else if (strcmp(path, "/bomb") == 0) {
		send_bomb(fd, (size_t)256 << 20);
	} else if (strcmp(path, "/bad-gzip") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip");
	} else if (strcmp(path, "/bad-chunk") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n");
	} else if (strcmp(path, "/huge-chunk") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nhi\r\n");
	} else if (strcmp(path, "/cut") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhi");
	} else if (strcmp(path, "/two-lengths") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: -1\r\n\r\nhi");
	} else if (strcmp(path, "/nul") == 0) {
		(void)put(fd, "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi", 47);
	} else if (strcmp(path, "/silent") == 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		poll(&p, 1, 20000);
	} else if (strcmp(path, "/trickle") == 0) {
		say(fd, "HTTP/1.1 200 OK\r\n");
		for (unsigned i = 0; i < 2000 && put(fd, "X-A: b\r\n", 8); i++) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			if (poll(&p, 1, 20) > 0)
				break;
		}
	}
}

static inline void *listener_main(void *arg)
{
	struct listener *l = arg;
	for (;;) {
		struct pollfd p[2] = {{.fd = l->fd, .events = POLLIN}, {.fd = l->stop[0], .events = POLLIN}};
		if (poll(p, 2, -1) < 0 || p[1].revents)
			return NULL;
		int fd = accept(l->fd, NULL, NULL);
		if (fd < 0)
			continue;
		atomic_fetch_add(&l->connections, 1);
		size_t n = 0;
		char text[sizeof(l->last)] = "";
		while (l->answers && n < sizeof(text) - 1 && !is_whole(text)) {
			ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
			if (got <= 0)
				break;
			n += (size_t)got;
			text[n] = 0;
		}
		if (n) {
			atomic_fetch_add(&l->requests, 1);
			pthread_mutex_lock(&l->lock);
			memcpy(l->last, text, sizeof(text));
			pthread_mutex_unlock(&l->lock);
			answer(l, text, fd);
			shutdown(fd, SHUT_WR);
			/* what is unread when we close would reset the connection, and the answer with it */
			struct pollfd rest = {.fd = fd, .events = POLLIN};
			while (poll(&rest, 1, 1000) > 0 && recv(fd, text, sizeof(text), 0) > 0) {
			}
		}
		close(fd);
	}
}

static inline void listener_start(struct listener *l, bool answers)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t len = sizeof(a);
	*l = (struct listener){.answers = answers};
	pthread_mutex_init(&l->lock, NULL);
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(l->fd >= 0);
	assert_int_equal(bind(l->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l->fd, 64), 0);
	assert_int_equal(getsockname(l->fd, (struct sockaddr *)&a, &len), 0);
	l->port = ntohs(a.sin_port);
	assert_int_equal(pipe(l->stop), 0);
	assert_int_equal(pthread_create(&l->thread, NULL, listener_main, l), 0);
}

static inline void listener_stop(struct listener *l)
{
	(void)!write(l->stop[1], "x", 1);
	pthread_join(l->thread, NULL);
	close(l->fd);
	close(l->stop[0]);
	close(l->stop[1]);
}

/* ---- the fixture */

struct fixture {
	struct listener canary, service;
	struct sl_egress *egress;
	_Atomic unsigned lookups;
	_Atomic unsigned first_answer; /* which of the answers below the next look-up begins with */
};

/* What names lead to: never anything that answers, but for the allowed one. */
static const char *const answers[][3] = {
	{"127.0.0.1"},
	{"::ffff:127.0.0.1"},
	{"2fff:ffff::1", "127.0.0.1"}, /* one good, one not: refused as a whole (the good one is assigned to nobody) */
	{"127.0.0.1", "2fff:ffff::1"},
	{"0.0.0.0"},
	{"169.254.169.254"},
	{"10.0.0.1"},
	{"::1"},
	{"64:ff9b::7f00:1"},
	{"fd00::1", "::1", "127.0.0.2"},
};

static inline void resolve(void *ctx, const char *host, sl_resolve_fn *fn, void *arg)
{
	struct fixture *f = ctx;
	struct sl_address list[3];
	size_t n = 0;
	unsigned which = atomic_fetch_add(&f->lookups, 1) + atomic_load(&f->first_answer);
	if (strcmp(host, "service.internal") == 0) {
		assert_true(sl_address_parse("127.0.0.1", 0, &list[n++]));
	} else if (strcmp(host, "missing.example.com") == 0) {
		struct sl_error err;
		fn(arg, sl_fail(&err, SL_CONNECT, "there is no such host"), NULL, 0, &err);
		return;
	} else {
		for (size_t i = 0; i < 3 && answers[which % SL_COUNT_OF(answers)][i]; i++)
			(void)sl_address_parse(answers[which % SL_COUNT_OF(answers)][i], 0, &list[n++]);
	}
	fn(arg, SL_OK, list, n, NULL);
}

static inline int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char pairs[192], ports[32];
	struct sl_error err = {0};
	listener_start(&f->canary, false);
	listener_start(&f->service, true);
	snprintf(pairs, sizeof(pairs), "127.0.0.1:%u, service.internal:%u,[::1]:%u", f->service.port, f->service.port,
		 f->service.port);
	snprintf(ports, sizeof(ports), "80,443,%u", f->canary.port);
	const struct sl_egress_config config = {
		.allow = pairs, .ports = ports, .plain_http = true, .resolve = resolve, .resolve_ctx = f};
	assert_int_equal(sl_egress_new(&config, &f->egress, &err), SL_OK);
	atomic_store(&asked_libc, 0);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;
	sl_egress_free(f->egress);
	listener_stop(&f->canary);
	listener_stop(&f->service);
	unsigned came = atomic_load(&f->canary.connections), asked = atomic_load(&asked_libc);
	free(f);
	if (came || asked)
		print_error("the canary saw %u connections; the C library was asked for names %u times\n", came, asked);
	return came || asked ? -1 : 0;
}

struct note {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned dones, heads;
	enum sl_code rc;
	struct sl_error err;
	int status;
	uint32_t hops;
	char url[256];
	struct sl_buf body;
};

static inline void on_head(void *ctx, const struct sl_http_head *head)
{
	((struct note *)ctx)->heads++;
}

static inline enum sl_code on_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct note *n = ctx;
	sl_buf_add(&n->body, piece.p, piece.len);
	return SL_OK;
}

static inline void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_egress_result *r)
{
	struct note *n = ctx;
	pthread_mutex_lock(&n->lock);
	n->dones++;
	n->rc = rc;
	n->err = *err;
	n->status = r->head->status;
	n->hops = r->hops;
	snprintf(n->url, sizeof(n->url), "%s", r->url);
	pthread_cond_broadcast(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

static inline void note_init(struct note *n)
{
	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	sl_buf_init(&n->body, 4u << 20);
}

static inline void note_wait(struct note *n)
{
	pthread_mutex_lock(&n->lock);
	while (!n->dones)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
	assert_int_equal(n->dones, 1);
}

static inline void fetch(struct fixture *f, struct sl_egress_request *req, struct note *n)
{
	struct sl_egress_call *call = NULL;
	note_init(n);
	req->method = req->method ? req->method : "GET";
	req->head = on_head;
	req->body_fn = on_body;
	req->done = on_done;
	req->ctx = n;
	n->rc = sl_egress_start(f->egress, req, &call, &n->err);
	if (n->rc == SL_OK)
		note_wait(n);
	sl_egress_call_unref(call);
	sl_buf_fini(&n->body);
}

static inline void get(struct fixture *f, const char *url, uint32_t follow, struct note *n)
{
	struct sl_egress_request req = {.url = sl_str(url), .follow = follow, .timeouts = {.connect_ms = 10000}};
	fetch(f, &req, n);
}

static inline uint64_t all_denied(struct fixture *f)
{
	struct sl_egress_stats s;
	uint64_t sum = 0;
	sl_egress_stats(f->egress, &s);
	for (int i = 0; i < SL_EGRESS_REASON_COUNT; i++)
		sum += s.denied[i];
	return sum;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* The first line of main(): what is not as expected aborts, and the proxies of the environment lead nowhere. */
static inline void canary_begin(void)
{
	sl_expect_aborts = true;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
}
