#include "tests/lib/test.h"

#include <stdio.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"

static enum sl_code parse(const char *text, struct sl_error *err)
{
	SL_AUTO_JSON o = NULL;
	return sl_json_parse(sl_str(text), &o, err);
}

static void values_of_every_type_round_trip(void **state)
{
	static const char *const texts[] = {"null",
					    "true",
					    "false",
					    "0",
					    "-1",
					    "9223372036854775807",
					    "1.5",
					    "1e+300",
					    "\"\"",
					    "\"a\\\"\\\\\\n\\u0001é\"",
					    "[]",
					    "{}",
					    "[1,[2,{\"a\":[null]}]]",
					    "0.1",
					    "18446744073709551615",
					    "-9223372036854775808",
					    "[\"“ü\",{\"é😀\":\"\u2028\"}]"};
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++) {
		SL_AUTO_JSON o = NULL;
		struct sl_error err;
		SL_BUF(out, 1000);
		assert_int_equal(sl_json_parse(sl_str(texts[i]), &o, &err), SL_OK);
		sl_json_write(&out, o);
		assert_string_equal(out.data, texts[i]);
	}
}

static void bad_text_is_refused_with_its_place(void **state)
{
	static const char *const texts[] = {"",
					    " ",
					    "{",
					    "[1,]",
					    "{\"a\":1,}",
					    "{'a':1}",
					    "[1] 2",
					    "tru",
					    "nul",
					    "01",
					    "\"\xff\"",
					    "{\"a\":1,\"a\":2}",
					    "{\"x\":{\"b\":1,\"c\":[],\"b\":3}}",
					    "[\"\t\"]",
					    "NaN",
					    "[1 2]",
					    "{a:1}",
					    "\"abc",
					    "\"abc\\",
					    "\"\\x\"",
					    "\"\\u12g4\"",
					    "nan",
					    "truE",
					    "True",
					    "nulll",
					    "[tru]",
					    "1.",
					    ".5",
					    "+1",
					    "-",
					    "1e",
					    "1e+",
					    "-01",
					    "0x10",
					    "18446744073709551616",
					    "-9223372036854775809",
					    "1e309",
					    "[-1.5e400]",
					    "[1}",
					    "{\"a\":1]",
					    "]",
					    "[,1]",
					    "[1,,2]",
					    "{,}",
					    "{\"a\"}",
					    "{\"a\",1}",
					    "{\"a\":}",
					    "{\"a\":1 \"b\":2}",
					    "{\"a\"::1}",
					    "{1:1}",
					    "[\"a\":1]",
					    "1,2",
					    "[1]]",
					    "/*x*/1",
					    "[1,//x\n2]",
					    "\xef\xbb\xbf{}",
					    "\x0b"
					    "1"};
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++) {
		struct sl_error err = {0};
		if (parse(texts[i], &err) == SL_OK)
			fail_msg("accepted: %s", texts[i]);
		assert_int_equal(err.code, SL_INVALID);
		assert_non_null(strstr(err.text, "line 1, column"));
	}
}

static void what_is_often_mistyped_is_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"a\": 1,}", "line 1, column 9: a comma too many before this"},
		{"[1,\n]", "line 2, column 1: a comma too many before this"},
		{"[1,}", "line 1, column 4: no JSON value begins like this"},
		{"{\n // x\n}", "line 2, column 2: JSON has no comments"},
		{"# x\n{}", "line 1, column 1: JSON has no comments"},
		{"", "line 1, column 1: there is no JSON in it"},
		{" \n", "line 2, column 1: there is no JSON in it"},
		{"{\"a\": ", "line 1, column 7: the JSON text ends too early"},
		{"[18446744073709551616]", "line 1, column 2: no number of JSON, or a whole one of more than 64 bits"},
		{"{\"a\": -}", "line 1, column 7: no number of JSON, or a whole one of more than 64 bits"},
		{"\xef\xbb\xbf{}", "line 1, column 1: a byte order mark, perhaps; save the text as UTF-8 without one"},
		{"{'a': 1}", "line 1, column 2: strings are written in double quotes"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_error err = {0};
		assert_int_equal(parse(rows[i].text, &err), SL_INVALID);
		assert_string_equal(err.text, rows[i].says);
	}
}

static void equal_keys_in_different_objects_are_fine(void **state)
{
	struct sl_error err;
	assert_int_equal(parse("[{\"a\":1},{\"a\":{\"a\":\"a\"}}]", &err), SL_OK);
	assert_int_equal(parse("{\"a\":[\"a\",\"a\"],\"b\":\"a\"}", &err), SL_OK);
}

static void depth_bombs_are_refused(void **state)
{
	char text[2 * 100000 + 1];
	struct sl_error err;
	memset(text, '[', 100000);
	memset(text + 100000, ']', 100000);
	text[200000] = 0;
	assert_int_equal(parse(text, &err), SL_INVALID);
	assert_non_null(strstr(err.text, "nested deeper"));
}

static void out_of_memory_is_an_error_body(void *arg)
{
	/* json-c itself does not survive every failed allocation, so what is ours is tortured */
	SL_BUF(b, 100000);
	for (int i = 0; i < 100; i++)
		sl_buf_json_kz(&b, "key", "value");
	struct sl_bytes *bytes = sl_buf_bytes(&b);
	assert_true(bytes || b.failed || b.len > 0);
	sl_bytes_unref(bytes);
}

static void survives_every_failed_allocation(void **state)
{
	(void)sl_test_torture(out_of_memory_is_an_error_body, NULL);
}

static void writer_places_commas_and_replaces_bad_bytes(void **state)
{
	SL_BUF(b, 1000);
	sl_buf_addc(&b, '{');
	sl_buf_json_kz(&b, "a", "x\xffy");
	sl_buf_json_ki64(&b, "b", INT64_MIN);
	sl_buf_json_kz(&b, "c", NULL);
	sl_buf_addc(&b, '}');
	assert_string_equal(b.data, "{\"a\":\"x\xef\xbf\xbdy\",\"b\":-9223372036854775808,\"c\":null}");
}

/* Every byte at every place of texts of every short length, among letters: written in steps of eight, or one by one. */
static void every_byte_is_escaped_at_every_place(void **state)
{
	for (size_t len = 1; len <= 20; len++)
		for (size_t at = 0; at < len; at++)
			for (unsigned c = 0; c < 256; c++) {
				char text[20], want[64];
				SL_BUF(b, 1000);
				memset(text, 'x', sizeof(text));
				text[at] = (char)c;
				const char *as = c == '"'    ? "\\\""
						 : c == '\\' ? "\\\\"
						 : c == '\n' ? "\\n"
						 : c == '\r' ? "\\r"
						 : c == '\t' ? "\\t"
						 : c >= 0x80 ? "\xef\xbf\xbd" /* alone it is no character */
							     : NULL;
				char other[8];
				(void)snprintf(other, sizeof(other), c < 0x20 ? "\\u%04x" : "%c", c);
				int n = snprintf(want, sizeof(want), "\"%.*s%s%.*s\"", (int)at, "xxxxxxxxxxxxxxxxxxxx",
						 as ? as : other, (int)(len - at - 1), "xxxxxxxxxxxxxxxxxxxx");
				sl_buf_json_str(&b, sl_str_n(text, len));
				assert_int_equal(b.len, n);
				assert_string_equal(b.data, want);
			}
}

static void times_are_written_one_after_another(void **state)
{
	static const int64_t secs[] = {0,  0,          -1,         951782399,   951782400,    1700000000,
				       -1, 1700000000, 1700000001, -2208988800, 253402300799, 0};
	static const int ms[] = {0, 7, 42, 999};
	for (size_t i = 0; i < SL_COUNT_OF(secs); i++)
		for (size_t k = 0; k < SL_COUNT_OF(ms); k++) {
			char got[SL_TIME_TEXT_BYTES], want[64], day[32];
			time_t t = (time_t)secs[i];
			struct tm tm;
			int64_t back;
			assert_int_equal(strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm)), 19);
			(void)snprintf(want, sizeof(want), "%s.%03dZ", day, ms[k]);
			sl_time_format(secs[i] * 1000 + ms[k], got);
			assert_string_equal(got, want);
			assert_true(sl_time_parse(sl_str(got), &back));
			assert_int_equal(back, secs[i] * 1000 + ms[k]);
		}
	char text[SL_TIME_TEXT_BYTES];
	sl_time_format(INT64_MAX, text); /* a year of nine digits */
	assert_true(strlen(text) < sizeof(text));
	sl_time_format(1700000000123, text);
	assert_string_equal(text, "2023-11-14T22:13:20.123Z");
}

static void a_full_buffer_fails_whole(void **state)
{
	SL_BUF(b, 5);
	sl_buf_adds(&b, "abc");
	sl_buf_adds(&b, "defg");
	sl_buf_adds(&b, "h");
	assert_true(b.failed);
	assert_string_equal(b.data, "abc");
	assert_null(sl_buf_bytes(&b));
}

static void append(struct sl_buf *b, int how)
{
	switch (how) {
	case 0:
		sl_buf_addc(b, 'c');
		break;
	case 1:
		sl_buf_adds(b, "seven b");
		break;
	case 2:
		sl_buf_addf(b, "%d", 12345);
		break;
	case 3:
		sl_buf_addu(b, 987);
		break;
	case 4:
		sl_buf_json_str(b, SL_STR("a \"quoted\" word\x01"));
		break;
	default:
		sl_buf_json_comma(b);
	}
}

static void no_way_of_appending_passes_the_cap(void **state)
{
	for (size_t max = 0; max <= 600; max++)
		for (int how = 0; how < 7; how++) { /* the last one: each in turn */
			SL_BUF(b, max);
			for (int i = 0; i < 700 && !b.failed; i++)
				append(&b, how < 6 ? how : i % 6);
			assert_true(b.len <= max);
			if (how != 5) { /* that one writes at most once */
				assert_true(b.failed);
				assert_false(b.no_memory);
			}
		}
}

static void utf8_is_cut_between_characters(void **state)
{
	const char *s = "aé\xf0\x9f\x98\x80z"; /* 1 + 2 + 4 + 1 bytes */
	static const size_t want[] = {0, 1, 1, 3, 3, 3, 3, 7, 8};
	for (size_t max = 0; max <= 8; max++)
		assert_int_equal(sl_utf8_cut(s, 8, max), want[max]);
	assert_true(sl_utf8_tail_incomplete("\xf0\x9f\x98", 3));
	assert_false(sl_utf8_tail_incomplete("\xc0", 1));
	assert_false(sl_utf8_valid("\xed\xa0\x80", 3));     /* a surrogate */
	assert_false(sl_utf8_valid("\xc0\xaf", 2));         /* overlong */
	assert_false(sl_utf8_valid("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
}

int main(void)
{
	sl_expect_aborts = true;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_every_type_round_trip),
		cmocka_unit_test(bad_text_is_refused_with_its_place),
		cmocka_unit_test(what_is_often_mistyped_is_named),
		cmocka_unit_test(equal_keys_in_different_objects_are_fine),
		cmocka_unit_test(depth_bombs_are_refused),
		cmocka_unit_test(survives_every_failed_allocation),
		cmocka_unit_test(writer_places_commas_and_replaces_bad_bytes),
		cmocka_unit_test(every_byte_is_escaped_at_every_place),
		cmocka_unit_test(times_are_written_one_after_another),
		cmocka_unit_test(a_full_buffer_fails_whole),
		cmocka_unit_test(no_way_of_appending_passes_the_cap),
		cmocka_unit_test(utf8_is_cut_between_characters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
