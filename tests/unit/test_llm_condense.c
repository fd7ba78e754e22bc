/* What was said, within a budget. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/condense.h"
#include "llm/tokens.h"

static const char *condensed(const char *source, uint32_t full, uint64_t tokens, const char *summary,
			     struct sl_condensed *out)
{
	static char text[8192];
	SL_AUTO_JSON v = NULL;
	SL_BUF(b, 1u << 20);
	struct sl_error err;
	struct sl_condensed own;
	assert_int_equal(sl_json_parse(sl_str(source), &v, &err), SL_OK);
	assert_int_equal(sl_condense(v, full, tokens, sl_str(summary), &b, out ? out : &own), SL_OK);
	(void)snprintf(text, sizeof(text), "%s", b.data ? b.data : "");
	return text;
}

static void the_last_rounds_are_whole_and_older_ones_a_line_each(void **state)
{
	struct sl_condensed c;
	assert_string_equal(condensed("[\"one\\n  and  more\", \"two\", \"three\", \"four\\nlines\"]", 2, 1000, "", &c),
			    "one and more\ntwo\n\nthree\n\nfour\nlines");
	assert_int_equal(c.entries, 4);
	assert_int_equal(c.full, 2);
	assert_int_equal(c.shortened, 2);
	assert_int_equal(c.dropped, 0);
	assert_string_equal(
		condensed("[{\"round\":1,\"score\":64,\"outputs\":{\"pro\":{\"text\":\"yes,\\nbecause\",\"usage\":{}},"
			  "\"con\":{\"text\":\"no\"}}},{\"round\":2,\"score\":78.5,\"outputs\":{\"pro\":{\"text\":"
			  "\"yes!\"},\"judge\":{\"value\":[1,2]}}}]",
			  1, 1000, "", &c),
		"[round 1, score 64] pro: yes, because con: no\n\n[round 2, score 78.5]\npro: yes!\njudge: [1,2]");
	assert_string_equal(
		condensed("[{\"role\":\"user\",\"content\":\"hello\"},[\"a\",null,\"\",{\"value\":\"b\"}],7]", 9, 1000,
			  "", &c),
		"user: hello\n\na\n\nb\n\n7");
	assert_int_equal(c.entries, 4);
	assert_string_equal(condensed("[]", 3, 1000, "", &c), "");
	assert_int_equal(c.tokens, 0);
	assert_string_equal(condensed("null", 3, 1000, "unused", &c), "");
	assert_string_equal(condensed("\"alone\"", 0, 1000, "", &c), "alone");
}

static void a_summary_stands_for_what_is_older(void **state)
{
	struct sl_condensed c;
	assert_string_equal(condensed("[\"one\",\"two\",\"three\"]", 1, 1000, " They met. ", &c), "They met.\n\nthree");
	assert_int_equal(c.full, 1);
	assert_int_equal(c.shortened, 2);
	assert_int_equal(c.dropped, 0);
	SL_AUTO_JSON v = NULL;
	SL_BUF(older, 1u << 20);
	assert_int_equal(sl_json_parse(SL_STR("[\"one\",\"two\\nlines\",\"three\"]"), &v, NULL), SL_OK);
	assert_true(sl_condense_older(v, 1, 1000, &older) > 900);
	assert_string_equal(older.data, "one\n\ntwo\nlines");
	sl_buf_reset(&older);
	assert_int_equal(sl_condense_older(v, 3, 1000, &older), 0); /* nothing is older */
	assert_int_equal(sl_condense_older(v, 1, 30, &older), 0);   /* no room */
	assert_int_equal(older.len, 0);
}

static uint64_t random_next(uint64_t *r)
{
	return (*r = *r * 6364136223846793005u + 1442695040888963407u) >> 33;
}

/* Entries of random words of several scripts, the number of each in front, and any budget. */
static void any_source_keeps_the_budget_the_order_and_the_newest(void **state)
{
	static const char *const words[] = {
		"word ",     "longer-word, ", "数据",       "日本語。",       "é",      "🙂", "   ", "\\n",
		"\\n\\n\\n", "1,234.5 ",      "----------", "{\\\"a\\\":1} ", "\\u0001"};
	uint64_t r = 3;
	for (unsigned round = 0; round < 4000; round++) {
		SL_BUF(source, 1u << 20);
		SL_BUF(text, 1u << 20);
		SL_BUF(again, 1u << 20);
		SL_BUF(summary, 1u << 16);
		SL_AUTO_JSON v = NULL;
		struct sl_condensed c, d;
		unsigned n = 1 + (unsigned)(random_next(&r) % 12);
		uint32_t full = (uint32_t)(random_next(&r) % 5);
		uint64_t budget = 16 + random_next(&r) % (round % 2 ? 400 : 60);
		sl_buf_addc(&source, '[');
		for (unsigned i = 1; i <= n; i++) {
			bool rounds = random_next(&r) % 3 == 0;
			sl_buf_addf(&source,
				    rounds ? "%s{\"round\":%u,\"outputs\":{\"a\":{\"text\":\"<%u>" : "%s\"<%u>",
				    i > 1 ? "," : "", i, i);
			for (unsigned k = (unsigned)(random_next(&r) % 60); k; k--)
				sl_buf_adds(&source, words[random_next(&r) % SL_COUNT_OF(words)]);
			sl_buf_adds(&source, rounds ? "\"},\"b\":7}}" : "\"");
		}
		sl_buf_addc(&source, ']');
		if (round % 3 == 0)
			for (unsigned k = (unsigned)(random_next(&r) % 200); k; k--)
				sl_buf_adds(&summary, "总结 and so on. ");
		assert_int_equal(sl_json_parse(sl_buf_str(&source), &v, NULL), SL_OK);
		assert_int_equal(sl_condense(v, full, budget, sl_buf_str(&summary), &text, &c), SL_OK);
		assert_int_equal(sl_condense(v, full, budget, sl_buf_str(&summary), &again, &d), SL_OK);
		assert_true(sl_str_eq(sl_buf_str(&text), sl_buf_str(&again)));
		assert_true(sl_utf8_valid(text.data, text.len));
		assert_int_equal(c.tokens, sl_tokens_of_text(sl_buf_str(&text)));
		if (c.tokens > budget)
			fail_msg("%s: %llu tokens of %llu", source.data, (unsigned long long)c.tokens,
				 (unsigned long long)budget);
		assert_int_equal(c.entries, n);
		assert_int_equal(c.full + c.shortened + c.dropped, n);
		assert_true(c.full <= full);
		/* the numbers that are there are the last ones, in order, without a gap */
		unsigned before = 0;
		for (const char *at = text.data; (at = strchr(at, '<')); at++) {
			unsigned number = (unsigned)strtoul(at + 1, NULL, 10);
			if (before)
				assert_int_equal(number, before + 1);
			before = number;
		}
		char newest[24];
		(void)snprintf(newest, sizeof(newest), "<%u>", n);
		assert_true(strstr(text.data, newest) || budget < 24);
		/* what a model is given to sum up is older than what stays whole */
		SL_BUF(older, 1u << 20);
		uint64_t room = sl_condense_older(v, full, budget, &older);
		assert_true(room < budget);
		assert_true(!room == !older.len);
		assert_true(sl_utf8_valid(older.data ? older.data : "", older.len));
	}
}

static void a_source_of_all_that_a_payload_can_hold_takes_a_moment(void **state)
{
	SL_BUF(source, 4u << 20);
	SL_BUF(text, 1u << 20);
	SL_AUTO_JSON v = NULL;
	struct sl_condensed c;
	sl_buf_addc(&source, '[');
	for (unsigned i = 0; i < 20000; i++)
		sl_buf_addf(&source,
			    "%s{\"round\":%u,\"outputs\":{\"pro\":{\"text\":\"something that was said, and more\"}}}",
			    i ? "," : "", i + 1);
	sl_buf_addc(&source, ']');
	assert_int_equal(sl_json_parse(sl_buf_str(&source), &v, NULL), SL_OK);
	assert_int_equal(sl_condense(v, 3, 4000, SL_STR(""), &text, &c), SL_OK);
	assert_int_equal(c.entries, 20000);
	assert_true(c.tokens <= 4000 && c.tokens > 3900);
	assert_int_equal(c.full, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_rounds_are_whole_and_older_ones_a_line_each),
		cmocka_unit_test(a_summary_stands_for_what_is_older),
		cmocka_unit_test(any_source_keeps_the_budget_the_order_and_the_newest),
		cmocka_unit_test(a_source_of_all_that_a_payload_can_hold_takes_a_moment),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
