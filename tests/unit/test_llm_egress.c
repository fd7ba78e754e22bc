/* The way out: every form of address has its verdict, and whatever is refused never reaches the canary, a listener on
 * all of 127.0.0.0/8 that counts who comes. The pair that the operator allowed lives on the same addresses and works.
 */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "llm/egress.h"
#include "llm/url.h"

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

static bool last_has(struct listener *l, const char *what)
{
	pthread_mutex_lock(&l->lock);
	bool has = strstr(l->last, what) != NULL;
	pthread_mutex_unlock(&l->lock);
	return has;
}

/* The head, and four bytes of a body when one is announced. */
static bool is_whole(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n");
	return end && (strlen(end) >= 8 || !strstr(text, "Content-Length: 4\r\n"));
}

static void say(int fd, const char *text)
{
	(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static bool put(int fd, const void *p, size_t n)
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
static void send_bomb(int fd, size_t unpacked)
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

static void answer(struct listener *l, const char *request, int fd)
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

static void *listener_main(void *arg)
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

static void listener_start(struct listener *l, bool answers)
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

static void listener_stop(struct listener *l)
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

static void resolve(void *ctx, const char *host, sl_resolve_fn *fn, void *arg)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static void on_head(void *ctx, const struct sl_http_head *head)
{
	((struct note *)ctx)->heads++;
}

static enum sl_code on_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct note *n = ctx;
	sl_buf_add(&n->body, piece.p, piece.len);
	return SL_OK;
}

static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_egress_result *r)
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

static void note_init(struct note *n)
{
	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	sl_buf_init(&n->body, 4u << 20);
}

static void note_wait(struct note *n)
{
	pthread_mutex_lock(&n->lock);
	while (!n->dones)
		pthread_cond_wait(&n->cond, &n->lock);
	pthread_mutex_unlock(&n->lock);
	assert_int_equal(n->dones, 1);
}

static void fetch(struct fixture *f, struct sl_egress_request *req, struct note *n)
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

static void get(struct fixture *f, const char *url, uint32_t follow, struct note *n)
{
	struct sl_egress_request req = {.url = sl_str(url), .follow = follow, .timeouts = {.connect_ms = 10000}};
	fetch(f, &req, n);
}

static uint64_t all_denied(struct fixture *f)
{
	struct sl_egress_stats s;
	uint64_t sum = 0;
	sl_egress_stats(f->egress, &s);
	for (int i = 0; i < SL_EGRESS_REASON_COUNT; i++)
		sum += s.denied[i];
	return sum;
}

/* ---- forms */

static struct json_object *read_rows(void)
{
	static char text[256 << 10];
	char path[512];
	struct json_object *doc = NULL;
	struct sl_error err = {0};
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/tests/unit/data/egress-urls.json", root ? root : ".");
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	size_t n = fread(text, 1, sizeof(text), file);
	fclose(file);
	if (sl_json_parse(sl_str_n(text, n), &doc, &err) != SL_OK)
		fail_msg("%s", err.text);
	return doc;
}

/* {P} is the canary's port, {A} the allowed service's. */
static void fill(struct fixture *f, struct sl_str in, struct sl_buf *out)
{
	sl_buf_reset(out);
	for (size_t i = 0; i < in.len; i++) {
		struct sl_str rest = sl_str_n(in.p + i, in.len - i);
		bool p = sl_str_starts(rest, SL_STR("{P}")), a = sl_str_starts(rest, SL_STR("{A}"));
		if (p || a) {
			sl_buf_addu(out, p ? f->canary.port : f->service.port);
			i += 2;
		} else {
			sl_buf_addc(out, in.p[i]);
		}
	}
}

static void every_form_of_address_has_its_verdict(void **state)
{
	struct fixture *f = *state;
	SL_AUTO_JSON rows = read_rows();
	size_t n = json_object_array_length(rows), refused = 0, bad = 0;
	SL_BUF(url, 64 << 10);
	SL_BUF(want, 64 << 10);
	assert_true(n >= 150);
	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *verdict = sl_json_get_z(row, "verdict");
		enum sl_egress_reason reason = SL_EGRESS_REASON_COUNT;
		struct sl_error err = {0};
		fill(f, sl_json_get_str(row, "url"), &url);
		enum sl_code rc = sl_egress_judge(f->egress, sl_buf_str(&url), &reason, &err);
		const char *got = rc == SL_OK ? "ok" : sl_egress_reason_text(reason);
		if (strcmp(got, verdict) != 0 || (rc != SL_OK && (rc != SL_EGRESS || !err.text[0]))) {
			print_error("%s: %s (%s), not %s\n", url.data, got, err.text, verdict);
			bad++;
			continue;
		}
		if (rc == SL_OK) {
			struct sl_url u;
			fill(f, sl_json_get_str(row, "as"), &want);
			assert_int_equal(sl_url_parse(sl_buf_str(&url), &u, &err), SL_URL_FINE);
			assert_string_equal(sl_url_z(&u), want.data);
			sl_url_fini(&u);
		} else { /* and a request is refused where it begins */
			struct note note;
			get(f, url.data ? url.data : "", 0, &note);
			assert_int_equal(note.rc, SL_EGRESS);
			assert_int_equal(note.dones, 0);
			refused++;
		}
	}
	assert_int_equal(bad, 0);
	assert_int_equal(all_denied(f), refused); /* each refusal is counted, once */
	assert_int_equal(atomic_load(&f->lookups), 0);
}

static void an_address_is_as_long_as_it_is_sent(void **state)
{
	struct sl_url u;
	struct sl_error err = {0};
	SL_BUF(text, 4 * SL_LIMIT_URL_BYTES);
	sl_buf_adds(&text, "https://example.com/");
	while (text.len + 3 <= SL_LIMIT_URL_BYTES / 3)
		sl_buf_adds(&text, "^");
	assert_int_equal(sl_url_parse(sl_buf_str(&text), &u, &err), SL_URL_FINE);
	sl_url_fini(&u);
	while (text.len < SL_LIMIT_URL_BYTES / 2)
		sl_buf_adds(&text, "^"); /* three bytes each, encoded */
	assert_int_equal(sl_url_parse(sl_buf_str(&text), &u, &err), SL_URL_FORM);
	sl_url_fini(&u);
}

static void the_allowed_pair_works_beside_the_canary(void **state)
{
	struct fixture *f = *state;
	static const char *const hosts[] = {"127.0.0.1", "service.internal", "SERVICE.Internal"};
	for (size_t i = 0; i < SL_COUNT_OF(hosts); i++) {
		struct note n;
		char url[128];
		snprintf(url, sizeof(url), "http://%s:%u/ok", hosts[i], f->service.port);
		get(f, url, 0, &n);
		if (n.rc != SL_OK)
			print_error("%s: %s\n", url, n.err.text);
		assert_int_equal(n.rc, SL_OK);
		assert_int_equal(n.status, 200);
		assert_int_equal(n.heads, 1);
	}
	assert_int_equal(atomic_load(&f->service.requests), 3);
	/* the same port under another name, or another port of the same host, is not the pair */
	struct note n;
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.2:%u/ok", f->service.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_EGRESS);
	snprintf(url, sizeof(url), "http://service.internal:%u/ok", f->canary.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(atomic_load(&f->service.requests), 3);
}

static void a_name_that_leads_astray_is_refused_at_each_of_fifty_flips(void **state)
{
	struct fixture *f = *state;
	unsigned denied = 0;
	for (unsigned i = 0; i < 50; i++) {
		struct note n;
		char url[128];
		snprintf(url, sizeof(url), "http://flip.example.com:%u/%u", f->canary.port, i);
		get(f, url, 3, &n);
		if (n.rc != SL_EGRESS)
			print_error("flip %u: %s\n", i, n.err.text);
		assert_int_equal(n.rc, SL_EGRESS);
		assert_int_equal(n.dones, 1);
		denied++;
	}
	assert_int_equal(atomic_load(&f->lookups), 50); /* one look-up a request, and nobody looked again */
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_ADDRESS), denied);
}

static void a_missing_name_is_no_refusal(void **state)
{
	struct fixture *f = *state;
	struct note n;
	get(f, "https://missing.example.com/", 0, &n);
	assert_int_equal(n.rc, SL_CONNECT);
	assert_int_equal(all_denied(f), 0);
}

/* ---- redirects */

static uint16_t canary_port, service_port;
/* Each leads, at once or after some hops, to where nobody may go. %P: the canary's port, %A: the service's. */
static const char *const chains[20] = {
	"http://127.0.0.1:%P/",
	"http://127.0.0.2:%P/",
	"//127.0.0.1:%P/",
	"http://2130706433:%P/",
	"http://[::ffff:127.0.0.1]:%P/",
	"http://localhost:%P/",
	"http://flip.example.com:%P/",
	"http://user@127.0.0.1:%P/",
	"http://127.0.0.1:%P\\@service.internal:%A/",
	"/\\127.0.0.1:%P/",
	"file:///etc/passwd",
	"gopher://127.0.0.1:%P/_x",
	"http://169.254.169.254/latest/meta-data/",
	"http://127.0.0.2:%A/ok",
	"HTTP://0X7F.1:%P/",
	"http://%31%32%37.0.0.1:%P/",
	"http://service.internal:%P/",
	"http://[fe80::1%25lo]:%P/",
	"chain/20",  /* relative, ends at the canary after two more hops */
	"/chain/19", /* a circle */
};

static const char *target(unsigned n)
{
	static char text[256];
	const char *in = n < 20 ? chains[n] : n == 20 ? "/chain/21" : n == 21 ? "http://127.0.0.1:%P/" : "";
	size_t at = 0;
	for (; *in && at < sizeof(text) - 8; in++) {
		if (in[0] == '%' && (in[1] == 'P' || in[1] == 'A'))
			at += (size_t)snprintf(text + at, 8, "%u", *++in == 'P' ? canary_port : service_port);
		else
			text[at++] = *in;
	}
	text[at] = 0;
	return n == 18 ? "20" : text;
}

static void twenty_redirect_chains_end_before_the_canary(void **state)
{
	struct fixture *f = *state;
	canary_port = f->canary.port;
	service_port = f->service.port;
	f->service.target = target;
	for (unsigned i = 0; i < 20; i++) {
		struct note n;
		char url[128];
		uint64_t before = all_denied(f);
		snprintf(url, sizeof(url), "http://service.internal:%u/chain/%u", f->service.port, i);
		get(f, url, 5, &n);
		if (n.rc != SL_EGRESS || n.heads != 0)
			print_error("chain %u: %s %s\n", i, sl_code_wire(n.rc), n.err.text);
		assert_int_equal(n.rc, SL_EGRESS);
		assert_int_equal(n.dones, 1);
		assert_int_equal(n.heads, 0); /* the answers on the way are nobody's */
		assert_int_equal(all_denied(f), before + 1);
	}
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_REDIRECT), 1);
}

static void a_redirect_is_an_answer_unless_it_is_to_be_followed(void **state)
{
	struct fixture *f = *state;
	struct note n;
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/see/302", f->service.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_OK);
	assert_int_equal(n.status, 302);
	get(f, url, 1, &n);
	assert_int_equal(n.rc, SL_OK);
	assert_int_equal(n.status, 200);
	assert_int_equal(n.hops, 1);
	assert_non_null(strstr(n.url, "/echo"));
}

static void secrets_and_bodies_stay_with_the_origin_they_were_meant_for(void **state)
{
	struct fixture *f = *state;
	static const struct sl_http_header headers[] = {{{"Authorization", 13}, {"Bearer sesame", 13}},
							{{"X-Api-Key", 9}, {"sesame", 6}},
							{{"Content-Type", 12}, {"text/plain", 10}},
							{{"Accept", 6}, {"text/plain", 10}}};
	static const struct {
		const char *host, *method, *first;
		unsigned status;
		bool body;
	} cases[] = {
		{"127.0.0.1", "POST", "GET /echo", 302, false},
		{"127.0.0.1", "POST", "GET /echo", 303, false},
		{"127.0.0.1", "POST", "POST /echo", 307, true},
		{"127.0.0.1", "PUT", "PUT /echo", 302, true},
		{"127.0.0.1", "PUT", "GET /echo", 303, false},
		{"service.internal", "POST", "POST /echo", 308, true},
		{"service.internal", "POST", "GET /echo", 301, false},
	};
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct note n;
		char url[128];
		SL_AUTO(sl_bytes) body = sl_bytes_new("open", 4);
		snprintf(url, sizeof(url), "http://%s:%u/see/%u", cases[i].host, f->service.port, cases[i].status);
		struct sl_egress_request req = {.method = cases[i].method,
						.url = sl_str(url),
						.headers = headers,
						.n_headers = 4,
						.body = body,
						.follow = 3};
		fetch(f, &req, &n);
		assert_int_equal(n.rc, SL_OK);
		assert_true(last_has(&f->service, cases[i].first));
		assert_int_equal(last_has(&f->service, "\r\n\r\nopen"), cases[i].body);
		assert_true(last_has(&f->service, "Bearer sesame")); /* the same origin */
	}
}

static const char *elsewhere(unsigned n)
{
	static char text[128];
	snprintf(text, sizeof(text), "http://127.0.0.1:%u/echo", service_port);
	return text;
}

static void another_origin_gets_no_headers_of_the_caller(void **state)
{
	struct fixture *f = *state;
	static const struct sl_http_header headers[] = {{{"Authorization", 13}, {"Bearer sesame", 13}},
							{{"X-Api-Key", 9}, {"sesame", 6}},
							{{"Cookie", 6}, {"sesame", 6}},
							{{"Accept", 6}, {"text/plain", 10}}};
	struct note n;
	char url[128];
	service_port = f->service.port;
	f->service.target = elsewhere;
	snprintf(url, sizeof(url), "http://service.internal:%u/chain/1", f->service.port);
	struct sl_egress_request req = {.url = sl_str(url), .headers = headers, .n_headers = 4, .follow = 3};
	fetch(f, &req, &n);
	assert_int_equal(n.rc, SL_OK);
	assert_int_equal(n.hops, 1);
	assert_false(last_has(&f->service, "sesame"));
	assert_true(last_has(&f->service, "Accept: text/plain"));
}

static void headers_of_the_transfer_are_not_the_callers(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"Host",       "content-length",      "Transfer-Encoding",
					    "Connection", "Proxy-Authorization", "Bad Name",
					    "Bad\r\nName"};
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", f->service.port);
	for (size_t i = 0; i < SL_COUNT_OF(names); i++) {
		struct note n;
		const struct sl_http_header h = {sl_str(names[i]), SL_STR("x")};
		struct sl_egress_request req = {.url = sl_str(url), .headers = &h, .n_headers = 1};
		fetch(f, &req, &n);
		assert_int_equal(n.rc, SL_INVALID);
	}
	struct note n;
	const struct sl_http_header forged = {SL_STR("X-A"), SL_STR("b\r\nX-Forged: yes")};
	struct sl_egress_request req = {.url = sl_str(url), .headers = &forged, .n_headers = 1};
	fetch(f, &req, &n);
	assert_int_equal(n.rc, SL_INVALID);
	static const char *const methods[] = {
		"", "get", "CONNECT", "TRACE", "GET / HTTP/1.1\r\nX: y", "ABCDEFGHIJKLMNOPQR"};
	for (size_t i = 0; i < SL_COUNT_OF(methods); i++) {
		struct sl_egress_request odd = {.url = sl_str(url), .method = methods[i]};
		fetch(f, &odd, &n);
		assert_int_equal(n.rc, SL_INVALID);
	}
	assert_int_equal(atomic_load(&f->service.connections), 0);
}

/* ---- hostile upstreams */

static void hostile_answers_end_typed_and_bounded(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *path;
		enum sl_code rc;
		uint32_t idle_ms, total_ms;
	} cases[] = {
		{"/endless", SL_TOO_LARGE, 0, 0},   {"/endless-chunks", SL_TOO_LARGE, 0, 0},
		{"/headers", SL_TOO_LARGE, 0, 0},   {"/header", SL_TOO_LARGE, 0, 0},
		{"/bomb", SL_TOO_LARGE, 0, 0},      {"/bad-gzip", SL_MALFORMED, 0, 0},
		{"/bad-chunk", SL_TRUNCATED, 0, 0}, {"/huge-chunk", SL_TRUNCATED, 0, 0},
		{"/cut", SL_TRUNCATED, 0, 0},       {"/two-lengths", SL_MALFORMED, 0, 0},
		{"/nul", SL_MALFORMED, 0, 0},       {"/silent", SL_TIMEOUT, 0, 300},
		{"/trickle", SL_TIMEOUT, 0, 400},
	};
	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		struct note n;
		char url[128];
		uint64_t at = sl_clock_mono_ms();
		snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", f->service.port, cases[i].path);
		struct sl_egress_request req = {
			.url = sl_str(url), .timeouts = {.total_ms = cases[i].total_ms ? cases[i].total_ms : 120000}};
		fetch(f, &req, &n);
		if (n.rc != cases[i].rc)
			print_error("%s: %s: %s\n", cases[i].path, sl_code_wire(n.rc), n.err.text);
		assert_int_equal(n.rc, cases[i].rc);
		if (cases[i].total_ms)
			assert_in_range(sl_clock_mono_ms() - at, cases[i].total_ms - 5,
					15000); /* it ends of itself after 20 s */
	}
	getrusage(RUSAGE_SELF, &after);
#ifndef __SANITIZE_ADDRESS__
#ifndef __SANITIZE_THREAD__
	assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, (SL_LIMIT_EGRESS_BODY_BYTES >> 10) + (16 << 10));
#endif
#endif
	/* none of them has spoilt anything */
	struct note n;
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", f->service.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_OK);
}

static void a_cancel_closes_the_socket_and_one_that_waits_for_a_name_ends_too(void **state)
{
	struct fixture *f = *state;
	struct sl_egress_call *call = NULL;
	struct note n;
	char url[128];
	note_init(&n);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/silent", f->service.port);
	const struct sl_egress_request req = {
		.method = "GET", .url = sl_str(url), .body_fn = on_body, .done = on_done, .ctx = &n};
	assert_int_equal(sl_egress_start(f->egress, &req, &call, &n.err), SL_OK);
	while (!atomic_load(&f->service.requests))
		sched_yield();
	uint64_t at = sl_clock_mono_ms();
	sl_egress_cancel(call);
	sl_egress_cancel(call);
	note_wait(&n);
	assert_int_equal(n.rc, SL_CANCELLED);
	assert_true(sl_clock_mono_ms() - at < 15000); /* by itself it would end after 20 s */
	sl_egress_call_unref(call);
	sl_buf_fini(&n.body);
	/* the service's thread left its poll because the socket was closed: it answers again at once */
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", f->service.port);
	get(f, url, 0, &n);
	assert_int_equal(n.rc, SL_OK);
	assert_true(sl_clock_mono_ms() - at < 15000);
}

static struct {
	sl_resolve_fn *fn;
	void *arg;
} late;

static void never_yet(void *ctx, const char *host, sl_resolve_fn *fn, void *arg)
{
	late.fn = fn;
	late.arg = arg;
}

static void a_name_nobody_answers_for_is_a_timeout_and_its_late_answer_harms_nobody(void **state)
{
	const struct sl_egress_config config = {.resolve = never_yet};
	struct sl_egress *e = NULL;
	struct sl_egress_call *call = NULL;
	struct sl_address a;
	struct note n;
	note_init(&n);
	assert_int_equal(sl_egress_new(&config, &e, &n.err), SL_OK);
	const struct sl_egress_request req = {.method = "GET",
					      .url = SL_STR("https://slow.example.com/"),
					      .timeouts = {.connect_ms = 100},
					      .done = on_done,
					      .ctx = &n};
	assert_int_equal(sl_egress_start(e, &req, &call, &n.err), SL_OK);
	note_wait(&n);
	assert_int_equal(n.rc, SL_TIMEOUT);
	sl_egress_call_unref(call);
	sl_egress_free(e);
	assert_true(sl_address_parse("127.0.0.1", 0, &a));
	late.fn(late.arg, SL_OK, &a, 1, NULL); /* everything is gone but what it holds itself */
}

static void what_is_more_than_may_be_under_way_waits_and_all_of_it_ends(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 3 * SL_LIMIT_EGRESS_REQUESTS };
	static struct note notes[MANY];
	static struct sl_egress_call *calls[MANY];
	char url[128];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", f->service.port);
	for (unsigned i = 0; i < MANY; i++) {
		note_init(&notes[i]);
		const struct sl_egress_request req = {
			.method = "GET", .url = sl_str(url), .body_fn = on_body, .done = on_done, .ctx = &notes[i]};
		assert_int_equal(sl_egress_start(f->egress, &req, &calls[i], &notes[i].err), SL_OK);
	}
	for (unsigned i = 0; i < MANY; i += 7)
		sl_egress_cancel(calls[i]);
	for (unsigned i = 0; i < MANY; i++) {
		note_wait(&notes[i]);
		assert_true(notes[i].rc == SL_OK || (i % 7 == 0 && notes[i].rc == SL_CANCELLED));
		sl_egress_call_unref(calls[i]);
		sl_buf_fini(&notes[i].body);
	}
	/* and stopping ends what runs and what waits */
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/silent", f->service.port);
	for (unsigned i = 0; i < MANY; i++) {
		note_init(&notes[i]);
		const struct sl_egress_request req = {
			.method = "GET", .url = sl_str(url), .body_fn = on_body, .done = on_done, .ctx = &notes[i]};
		assert_int_equal(sl_egress_start(f->egress, &req, &calls[i], &notes[i].err), SL_OK);
	}
	sl_egress_stop(f->egress);
	for (unsigned i = 0; i < MANY; i++) {
		note_wait(&notes[i]);
		assert_int_equal(notes[i].rc, SL_CANCELLED);
		sl_egress_call_unref(calls[i]);
		sl_buf_fini(&notes[i].body);
	}
}

/* A server that holds its connections: it answers when so many have asked, and counts who is still there. */
struct keeper {
	int fd, stop[2];
	uint16_t port;
	pthread_t thread;
	unsigned many;
	_Atomic unsigned accepted, asked, left;
};

static void *keeper_main(void *arg)
{
	static const char said[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
	struct keeper *k = arg;
	struct pollfd p[2 + 3 * SL_LIMIT_EGRESS_IDLE] = {{.fd = k->fd, .events = POLLIN},
							 {.fd = k->stop[0], .events = POLLIN}};
	char text[SL_COUNT_OF(p)][2048] = {{0}};
	nfds_t n = 2;
	for (;;) {
		if (poll(p, n, -1) < 0)
			continue;
		if (p[1].revents)
			break;
		if (p[0].revents && n < SL_COUNT_OF(p)) {
			p[n++] = (struct pollfd){.fd = accept(k->fd, NULL, NULL), .events = POLLIN};
			atomic_fetch_add(&k->accepted, 1);
		}
		for (nfds_t i = 2; i < n; i++) {
			size_t at = strlen(text[i]);
			if (p[i].fd < 0 || !p[i].revents)
				continue;
			ssize_t got = recv(p[i].fd, text[i] + at, sizeof(text[i]) - 1 - at, 0);
			if (got <= 0) {
				close(p[i].fd);
				p[i].fd = -1;
				atomic_fetch_add(&k->left, 1);
			} else if (is_whole(text[i])) {
				unsigned asked = atomic_fetch_add(&k->asked, 1) + 1;
				memset(text[i], 0, sizeof(text[i]));
				if (asked > k->many)
					say(p[i].fd, said);
				for (nfds_t j = 2; asked == k->many && j < n; j++)
					say(p[j].fd, said);
			}
		}
	}
	for (nfds_t i = 2; i < n; i++)
		if (p[i].fd >= 0)
			close(p[i].fd);
	return NULL;
}

static void so_many_open_connections_are_kept_and_no_more(void **state)
{
	enum { MANY = 2 * SL_LIMIT_EGRESS_IDLE };
	static struct note notes[MANY + 1];
	struct sl_egress_call *calls[MANY + 1];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct keeper k = {.many = MANY};
	struct sl_egress *e = NULL;
	struct sl_error err;
	char pair[32], url[64];
	k.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(k.fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(k.fd, 64), 0);
	assert_int_equal(getsockname(k.fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(pipe(k.stop), 0);
	assert_int_equal(pthread_create(&k.thread, NULL, keeper_main, &k), 0);
	snprintf(pair, sizeof(pair), "127.0.0.1:%u", ntohs(a.sin_port));
	snprintf(url, sizeof(url), "http://%s/", pair);
	const struct sl_egress_config config = {
		.allow = pair, .plain_http = true, .resolve = resolve, .resolve_ctx = *state};
	assert_int_equal(sl_egress_new(&config, &e, &err), SL_OK);
	for (unsigned i = 0; i <= MANY; i++) {
		note_init(&notes[i]);
		const struct sl_egress_request req = {
			.method = "GET", .url = sl_str(url), .body_fn = on_body, .done = on_done, .ctx = &notes[i]};
		if (i == MANY) { /* the last one comes when those before have ended, and finds a connection */
			for (unsigned j = 0; j < MANY; j++)
				note_wait(&notes[j]);
			while (atomic_load(&k.left) < MANY - SL_LIMIT_EGRESS_IDLE)
				usleep(1000);
		}
		assert_int_equal(sl_egress_start(e, &req, &calls[i], &notes[i].err), SL_OK);
	}
	note_wait(&notes[MANY]);
	for (unsigned i = 0; i <= MANY; i++) {
		assert_int_equal(notes[i].rc, SL_OK);
		sl_egress_call_unref(calls[i]);
		sl_buf_fini(&notes[i].body);
	}
	unsigned accepted = atomic_load(&k.accepted), left = atomic_load(&k.left);
	sl_egress_free(e);
	(void)!write(k.stop[1], "x", 1);
	pthread_join(k.thread, NULL);
	close(k.fd);
	close(k.stop[0]);
	close(k.stop[1]);
	assert_int_equal(accepted, MANY);
	assert_int_equal(left, MANY - SL_LIMIT_EGRESS_IDLE);
}

static void the_server_does_not_call_itself(void **state)
{
	struct fixture *f = *state;
	struct note n;
	char url[128];
	sl_egress_own_port(f->egress, f->canary.port);
	sl_egress_own_port(f->egress, f->canary.port);
	snprintf(url, sizeof(url), "http://flip.example.com:%u/", f->canary.port);
	get(f, url, 0, &n); /* leads to 127.0.0.1, an address of this machine */
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_OWN), 1);
	atomic_store(&f->first_answer, 4);
	get(f, url, 0, &n); /* to 169.254.169.254, which is none */
	assert_int_equal(n.rc, SL_EGRESS);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_OWN), 1);
	assert_int_equal(sl_egress_denied(f->egress, SL_EGRESS_ADDRESS), 1);
}

static void a_policy_that_cannot_be_read_is_refused(void **state)
{
	static const char *const bad[] = {"example.com", "example.com:", "example.com:0", "example.com:65536", ":80",
					  "127.1:80",    "::1:80",       "a_b",           "http://a:80",       "*:80"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		struct sl_egress *e = NULL;
		struct sl_error err = {0};
		const struct sl_egress_config config = {.allow = bad[i]};
		assert_int_equal(sl_egress_new(&config, &e, &err), SL_INVALID);
		assert_non_null(strstr(err.text, bad[i]));
		const struct sl_egress_config ports = {.ports = bad[i]};
		assert_int_equal(sl_egress_new(&ports, &e, &err), SL_INVALID);
	}
}

static void by_default_only_https_goes_out_and_with_a_list_only_what_is_on_it(void **state)
{
	static const char *const pair = "api.example.com:8443";
	const struct sl_egress_config strict = {0}, listed = {.allow = pair, .only_allowed = true};
	struct sl_egress *e = NULL;
	struct sl_error err = {0};
	enum sl_egress_reason reason;
	assert_int_equal(sl_egress_new(&strict, &e, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com/"), &reason, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("http://example.com/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_SCHEME);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com:8443/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_PORT);
	sl_egress_free(e);
	assert_int_equal(sl_egress_new(&listed, &e, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://api.example.com:8443/"), &reason, &err), SL_OK);
	assert_int_equal(sl_egress_judge(e, SL_STR("https://example.com/"), &reason, &err), SL_EGRESS);
	assert_int_equal(reason, SL_EGRESS_PAIR);
	sl_egress_free(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	sl_expect_aborts = true;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	const struct CMUnitTest tests[] = {
		TEST(every_form_of_address_has_its_verdict),
		cmocka_unit_test(an_address_is_as_long_as_it_is_sent),
		TEST(the_allowed_pair_works_beside_the_canary),
		TEST(a_name_that_leads_astray_is_refused_at_each_of_fifty_flips),
		TEST(a_missing_name_is_no_refusal),
		TEST(twenty_redirect_chains_end_before_the_canary),
		TEST(a_redirect_is_an_answer_unless_it_is_to_be_followed),
		TEST(secrets_and_bodies_stay_with_the_origin_they_were_meant_for),
		TEST(another_origin_gets_no_headers_of_the_caller),
		TEST(headers_of_the_transfer_are_not_the_callers),
		TEST(hostile_answers_end_typed_and_bounded),
		TEST(a_cancel_closes_the_socket_and_one_that_waits_for_a_name_ends_too),
		TEST(a_name_nobody_answers_for_is_a_timeout_and_its_late_answer_harms_nobody),
		TEST(what_is_more_than_may_be_under_way_waits_and_all_of_it_ends),
		TEST(so_many_open_connections_are_kept_and_no_more),
		TEST(the_server_does_not_call_itself),
		TEST(a_policy_that_cannot_be_read_is_refused),
		TEST(by_default_only_https_goes_out_and_with_a_list_only_what_is_on_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
