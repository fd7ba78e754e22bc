/* The request parser: what is a request, where its body ends, and what is refused because two readers could disagree.
 */
#include "tests/lib/test.h"

#include <stdio.h>

#include "api/http1.h"

static struct sl_http1_head head;

static enum sl_code parse(const char *text, size_t *used, int *status)
{
	*used = 0;
	*status = 0;
	return sl_http1_parse(sl_str(text), &head, used, status);
}

static void a_plain_request_is_read(void **state)
{
	size_t used;
	int status;
	const char text[] = "GET /api/v1/runs?limit=5&x=%20 HTTP/1.1\r\nHost: here:7070\r\nX-A:  b c \r\n\r\nrest";
	assert_int_equal(parse(text, &used, &status), SL_OK);
	assert_int_equal(used, sizeof(text) - 1 - 4);
	assert_int_equal(head.method, SL_GET);
	assert_true(sl_str_is(head.path, "/api/v1/runs"));
	assert_true(sl_str_is(head.query, "limit=5&x=%20"));
	assert_true(sl_str_is(head.host, "here:7070"));
	assert_true(sl_str_is(sl_http1_find(&head, "x-a"), "b c"));
	assert_true(head.keep_alive);
	assert_int_equal(head.framing, SL_BODY_NONE);
}

static void every_prefix_of_a_request_asks_for_more(void **state)
{
	const char text[] = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
	size_t used;
	int status;
	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(sl_http1_parse(sl_str_n(text, n), &head, &used, &status), SL_BUSY);
	assert_int_equal(parse(text, &used, &status), SL_OK);
	assert_int_equal(head.framing, SL_BODY_LENGTH);
	assert_int_equal(head.content_length, 3);
}

static const struct {
	const char *text;
	int status;
} refused[] = {
	{"GET / HTTP/1.1\r\n\r\n", 400},                       /* no Host */
	{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400}, /* two */
	{"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400}, /* two blanks */
	{"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},  /* no path */
	{"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"GET / HTTP/1.1\nHost: a\n\n", 400},                     /* bare line feeds */
	{"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400},      /* blank before the colon */
	{"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", 400}, /* folded */
	{"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
	{"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
	{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
	{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"POST / HTTP/1.1\r\nHost: a\r\nExpect: something\r\n\r\n", 417},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400}, /* a TLS hello on a plain port */
};

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
	size_t used;
	int status;
	for (size_t i = 0; i < SL_COUNT_OF(refused); i++) {
		enum sl_code rc = parse(refused[i].text, &used, &status);
		if (rc != SL_BAD_REQUEST || status != refused[i].status)
			fail_msg("case %zu: code %d, status %d instead of %d", i, rc, status, refused[i].status);
	}
}

static void a_head_has_a_size_limit_before_and_after_its_end(void **state)
{
	SL_BUF(b, 1 << 20);
	size_t used;
	int status;
	sl_buf_adds(&b, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	while (b.len <= SL_LIMIT_HEADER_BYTES)
		sl_buf_addc(&b, 'a');
	assert_int_equal(sl_http1_parse(sl_buf_str(&b), &head, &used, &status), SL_BAD_REQUEST);
	assert_int_equal(status, 431);
	sl_buf_adds(&b, "\r\n\r\n");
	status = 0;
	assert_int_equal(sl_http1_parse(sl_buf_str(&b), &head, &used, &status), SL_BAD_REQUEST);
	assert_int_equal(status, 431);
}

static void a_head_has_a_limit_of_lines(void **state)
{
	SL_BUF(b, 1 << 20);
	size_t used;
	int status = 0;
	sl_buf_adds(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < SL_LIMIT_HEADER_LINES - 1; i++)
		sl_buf_adds(&b, "X: y\r\n");
	size_t fits = b.len;
	sl_buf_adds(&b, "\r\n");
	assert_int_equal(sl_http1_parse(sl_buf_str(&b), &head, &used, &status), SL_OK);
	b.len = fits;
	sl_buf_adds(&b, "X: y\r\n\r\n");
	assert_int_equal(sl_http1_parse(sl_buf_str(&b), &head, &used, &status), SL_BAD_REQUEST);
	assert_int_equal(status, 431);
}

static void the_connection_header_decides_what_comes_after(void **state)
{
	size_t used;
	int status;
	assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n", &used, &status), SL_OK);
	assert_false(head.keep_alive);
	assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &used, &status), SL_OK);
	assert_true(head.keep_alive);
	assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, CLOSE\r\n\r\n", &used, &status), SL_OK);
	assert_false(head.keep_alive);
	assert_int_equal(
		parse("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
		      &used, &status),
		SL_OK);
	assert_true(head.upgrade_websocket);
	assert_int_equal(parse("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", &used, &status), SL_OK);
	assert_false(head.upgrade_websocket);
}

static void an_absolute_target_names_the_host(void **state)
{
	size_t used;
	int status;
	assert_int_equal(parse("GET http://other:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n", &used, &status), SL_OK);
	assert_true(sl_str_is(head.host, "other:1"));
	assert_true(sl_str_is(head.path, "/p"));
	assert_true(sl_str_is(head.query, "q"));
}

/* Feeds text in pieces of `step` bytes. */
static enum sl_code unchunk(const char *text, size_t step, struct sl_buf *out, bool *done)
{
	struct sl_http1_chunks c = {0};
	struct sl_str all = sl_str(text);
	size_t at = 0;
	while (at < all.len && !c.done) {
		size_t n = all.len - at < step ? all.len - at : step, used;
		struct sl_str data, in = sl_str_n(all.p + at, n);
		enum sl_code rc = sl_http1_chunk(&c, in, &used, &data);
		if (rc != SL_OK)
			return rc;
		sl_buf_add(out, data.p, data.len);
		at += used;
		if (used == 0)
			break;
	}
	*done = c.done;
	return SL_OK;
}

static void chunks_become_a_body_however_they_arrive(void **state)
{
	const char text[] = "4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nTrailer: x\r\n\r\n";
	for (size_t step = 1; step < sizeof(text); step++) {
		SL_BUF(out, 100);
		bool done;
		assert_int_equal(unchunk(text, step, &out, &done), SL_OK);
		assert_true(done);
		assert_true(sl_str_is(sl_buf_str(&out), "Wikipedia"));
	}
}

static void broken_chunks_are_refused(void **state)
{
	static const char *const bad[] = {"x\r\n",         "\r\n",   "4\nWiki", "4\r\nWikiX", "4\r\nWiki\rX",
					  "fffffffff\r\n", "-1\r\n", "0\r\n\n", "0\r\n\rX"};
	for (size_t i = 0; i < SL_COUNT_OF(bad); i++) {
		SL_BUF(out, 100);
		bool done;
		if (unchunk(bad[i], 100, &out, &done) != SL_BAD_REQUEST)
			fail_msg("'%s' was accepted", bad[i]);
	}
}

static void escapes_are_decoded_or_refused(void **state)
{
	char out[64];
	size_t len;
	assert_true(sl_percent_decode(SL_STR("a%20b+c%2F"), SL_PLUS_IS_SPACE, out, &len));
	assert_true(sl_str_is(sl_str_n(out, len), "a b c/"));
	assert_true(sl_percent_decode(SL_STR("a+b"), SL_PLUS_KEPT, out, &len));
	assert_true(sl_str_is(sl_str_n(out, len), "a+b"));
	assert_false(sl_percent_decode(SL_STR("%0"), SL_PLUS_KEPT, out, &len));
	assert_false(sl_percent_decode(SL_STR("%"), SL_PLUS_KEPT, out, &len));
	assert_false(sl_percent_decode(SL_STR("%zz"), SL_PLUS_KEPT, out, &len));
	assert_false(sl_percent_decode(SL_STR("a%00"), SL_PLUS_KEPT, out, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plain_request_is_read),
		cmocka_unit_test(every_prefix_of_a_request_asks_for_more),
		cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
		cmocka_unit_test(a_head_has_a_size_limit_before_and_after_its_end),
		cmocka_unit_test(a_head_has_a_limit_of_lines),
		cmocka_unit_test(the_connection_header_decides_what_comes_after),
		cmocka_unit_test(an_absolute_target_names_the_host),
		cmocka_unit_test(chunks_become_a_body_however_they_arrive),
		cmocka_unit_test(broken_chunks_are_refused),
		cmocka_unit_test(escapes_are_decoded_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
