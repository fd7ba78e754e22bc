/* Redirects on the way out: each hop has its verdict, the answers on the way are nobody's, and what a caller sends
 * along stays with the origin that it was meant for. */
#include "tests/lib/test.h"

#include "tests/lib/canary.h"

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

int main(void)
{
	canary_begin();
	const struct CMUnitTest tests[] = {
		TEST(twenty_redirect_chains_end_before_the_canary),
		TEST(a_redirect_is_an_answer_unless_it_is_to_be_followed),
		TEST(secrets_and_bodies_stay_with_the_origin_they_were_meant_for),
		TEST(another_origin_gets_no_headers_of_the_caller),
		TEST(headers_of_the_transfer_are_not_the_callers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
