/* Server-sent events and the fast scan, cut at every byte. */
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "llm/scan.h"
#include "llm/sse.h"

static enum sl_code log_event(void *ctx, const struct sl_sse_event *e)
{
	struct sl_buf *out = ctx;
	sl_buf_add(out, e->name.p, e->name.len);
	sl_buf_addc(out, '<');
	sl_buf_add(out, e->data.p, e->data.len);
	sl_buf_addc(out, '>');
	return SL_OK;
}

static void parse_cut(struct sl_str in, size_t first, size_t second, struct sl_buf *out)
{
	struct sl_sse s;
	sl_sse_init(&s, log_event, out);
	assert_int_equal(sl_sse_feed(&s, sl_str_n(in.p, first)), SL_OK);
	assert_int_equal(sl_sse_feed(&s, sl_str_n(in.p + first, second - first)), SL_OK);
	assert_int_equal(sl_sse_feed(&s, sl_str_n(in.p + second, in.len - second)), SL_OK);
	sl_sse_fini(&s);
}

static const struct {
	const char *in, *out;
} streams[] = {
	{"data: one\n\ndata: two\n\n", "<one><two>"},
	{"data: one\r\n\r\ndata:two\r\n\r\n", "<one><two>"},
	{"data: one\r\rdata: two\r\r", "<one><two>"},
	{"\xef\xbb\xbf"
	 "data: marked\n\n",
	 "<marked>"},
	{": comment\n\n:\n\ndata: x\n: in between\n\n", "<x>"},
	{"event: e\ndata: a\ndata: b\ndata:\ndata:  c\n\n", "e<a\nb\n\n c>"},
	{"event: lonely\n\ndata: after\n\n", "<after>"},
	{"data\n\n", "<>"},
	{"retry: 10\nid: 3\ndata: y\n\n", "<y>"},
	{"data: \xe4\xbd\xa0\xe5\xa5\xbd\n\n", "<\xe4\xbd\xa0\xe5\xa5\xbd>"},
	{"data: never finished\n", ""},
	{"data: never finished", ""},
	{"", ""},
};

static void every_split_gives_the_same_events(void **state)
{
	for (size_t k = 0; k < SL_COUNT_OF(streams); k++) {
		struct sl_str in = sl_str(streams[k].in);
		for (size_t i = 0; i <= in.len; i++)
			for (size_t j = i; j <= in.len; j++) {
				SL_BUF(out, 1 << 16);
				parse_cut(in, i, j, &out);
				assert_string_equal(out.data ? out.data : "", streams[k].out);
			}
	}
}

static const char *seen_at;
static enum sl_code note_place(void *ctx, const struct sl_sse_event *e)
{
	seen_at = e->data.p;
	return SL_OK;
}

static void an_event_in_one_chunk_is_not_copied(void **state)
{
	struct sl_sse s;
	static const char in[] = "data: here it is\n\n";
	sl_sse_init(&s, note_place, NULL);
	assert_int_equal(sl_sse_feed(&s, SL_STR("data: here it is\n\n")), SL_OK);
	assert_int_equal(sl_sse_feed(&s, sl_str_n(in, sizeof(in) - 1)), SL_OK);
	assert_ptr_equal(seen_at, in + 6);
	sl_sse_fini(&s);
}

static void a_line_without_end_is_refused(void **state)
{
	struct sl_sse s;
	static char piece[65536];
	enum sl_code rc = SL_OK;
	size_t fed = 0;
	memset(piece, 'x', sizeof(piece));
	sl_sse_init(&s, note_place, NULL);
	while (rc == SL_OK && fed < 4 * SL_LIMIT_SSE_LINE_BYTES) {
		rc = sl_sse_feed(&s, sl_str_n(piece, sizeof(piece)));
		fed += sizeof(piece);
	}
	assert_int_equal(rc, SL_TOO_LARGE);
	assert_true(fed <= SL_LIMIT_SSE_LINE_BYTES + sizeof(piece));
	sl_sse_fini(&s);
}

static void many_data_lines_are_refused_like_a_long_one(void **state)
{
	struct sl_sse s;
	enum sl_code rc = SL_OK;
	size_t fed = 0;
	sl_sse_init(&s, note_place, NULL);
	while (rc == SL_OK && fed < 16 * SL_LIMIT_SSE_LINE_BYTES) {
		rc = sl_sse_feed(&s, SL_STR("data: 0123456789012345678901234567890123456789\n"));
		fed += 47;
	}
	assert_int_equal(rc, SL_TOO_LARGE);
	sl_sse_fini(&s);
}

static const struct {
	const char *json;
	enum sl_scan_kind kind;
	const char *text; /* unescaped */
} chunks[] = {
	{"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}", SL_SCAN_TEXT, "hi"},
	{" { \"id\" : \"x\" , \"choices\" : [ { \"delta\" : { \"content\" : \"a b\" } } ] , \"usage\" : null } ",
	 SL_SCAN_TEXT, "a b"},
	{"{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":null}}]}", SL_SCAN_THINKING, "hm"},
	{"{\"choices\":[{\"delta\":{\"content\":\"\\u00e4\\ud83d\\ude00\\n\\\"\\\\\\/\"}}]}", SL_SCAN_TEXT,
	 "\xc3\xa4\xf0\x9f\x98\x80\n\"\\/"},
	{"{\"choices\":[{\"delta\":{\"content\":\"\\ud83d x\"}}]}", SL_SCAN_TEXT, "\xef\xbf\xbd x"},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"},\"logprobs\":{\"content\":[{\"token\":\"x\",\"logprob\":-0.5}]}}"
	 "]}",
	 SL_SCAN_TEXT, "x"},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1}}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"error\":{\"message\":\"y\"}}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\",\"tool_calls\":[{}]}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}},{\"index\":1}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"x\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\",\"reasoning\":\"y\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\",\"content\":\"y\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}}]", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\\q\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}}]} trailing", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[{\"delta\":{\"content\":\"x\"}}],}", SL_SCAN_OTHER, NULL},
	{"{\"a\":01,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"a\":123456789012345678.5,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", SL_SCAN_TEXT, "x"},
	{"{\"a\":99999999999999999999,\"choices\":[{\"delta\":{\"content\":\"x\"}}]}", SL_SCAN_OTHER, NULL},
	{"{\"choices\":[]}", SL_SCAN_OTHER, NULL},
	{"[]", SL_SCAN_OTHER, NULL},
	{"", SL_SCAN_OTHER, NULL},
};

static void the_scan_answers_only_what_it_is_sure_of(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(chunks); i++) {
		struct sl_str text;
		bool escapes;
		char *copy = malloc(strlen(chunks[i].json) + 1); /* exact, for the address sanitizer */
		assert_non_null(copy);
		memcpy(copy, chunks[i].json, strlen(chunks[i].json));
		enum sl_scan_kind kind = sl_scan_chunk(sl_str_n(copy, strlen(chunks[i].json)), &text, &escapes);
		if (kind != chunks[i].kind)
			print_error("%s\n", chunks[i].json);
		assert_int_equal(kind, chunks[i].kind);
		if (kind != SL_SCAN_OTHER) {
			SL_BUF(out, 4096);
			sl_scan_unescape(text, &out);
			assert_string_equal(out.data, chunks[i].text);
		}
		free(copy);
	}
}

static void a_cut_chunk_is_never_taken_for_a_whole_one(void **state)
{
	struct sl_str text, all = sl_str(chunks[5].json);
	bool escapes;
	for (size_t n = 0; n < all.len; n++)
		assert_int_equal(sl_scan_chunk(sl_str_n(all.p, n), &text, &escapes), SL_SCAN_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split_gives_the_same_events),
		cmocka_unit_test(an_event_in_one_chunk_is_not_copied),
		cmocka_unit_test(a_line_without_end_is_refused),
		cmocka_unit_test(many_data_lines_are_refused_like_a_long_one),
		cmocka_unit_test(the_scan_answers_only_what_it_is_sure_of),
		cmocka_unit_test(a_cut_chunk_is_never_taken_for_a_whole_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
