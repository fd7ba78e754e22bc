/* Upstreams of the way out that answer badly, late or never, many at once, and their connections: each request ends,
 * typed and within its bounds. */
#include "tests/lib/test.h"

#include <sys/resource.h>

#include "base/clock.h"
#include "tests/lib/canary.h"

static void hostile_answers_end_typed_and_bounded(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *path;
		enum sl_code rc;
		uint32_t total_ms;
	} cases[] = {
		{"/endless", SL_TOO_LARGE},    {"/endless-chunks", SL_TOO_LARGE},
		{"/headers", SL_TOO_LARGE},    {"/header", SL_TOO_LARGE},
		{"/bomb", SL_TOO_LARGE},       {"/bad-gzip", SL_MALFORMED},
		{"/bad-chunk", SL_TRUNCATED},  {"/huge-chunk", SL_TRUNCATED},
		{"/cut", SL_TRUNCATED},        {"/two-lengths", SL_MALFORMED},
		{"/nul", SL_MALFORMED},        {"/silent", SL_TIMEOUT, 300},
		{"/trickle", SL_TIMEOUT, 400},
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

int main(void)
{
	canary_begin();
	const struct CMUnitTest tests[] = {
		TEST(hostile_answers_end_typed_and_bounded),
		TEST(a_cancel_closes_the_socket_and_one_that_waits_for_a_name_ends_too),
		TEST(a_name_nobody_answers_for_is_a_timeout_and_its_late_answer_harms_nobody),
		TEST(what_is_more_than_may_be_under_way_waits_and_all_of_it_ends),
		TEST(so_many_open_connections_are_kept_and_no_more),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
