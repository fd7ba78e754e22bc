/* llm/tokens.c: the estimate for texts of many kinds, whole and in pieces. */
#include "tests/lib/test.h"

#include <string.h>

#include "base/json.h"
#include "llm/tokens.h"

/* Words and marks counted by hand: an encoder of the common kinds makes one token of most of them. */
static const struct {
	const char *text;
	unsigned words;
	double low, high; /* what the estimate may be, as a part of that */
} texts[] = {
	{"The quick brown fox jumps over the lazy dog.", 10, 0.85, 1.3},
	{"Cities should ban private cars from their centres, because the streets belong to the people who live there, "
	 "not to the machines that pass through.",
	 28, 0.85, 1.4},
	{"\xe5\x9f\x8e\xe5\xb8\x82\xe5\xba\x94\xe8\xaf\xa5\xe7\xa6\x81\xe6\xad\xa2\xe7\xa7\x81\xe5\xae\xb6\xe8\xbd\xa6"
	 "\xe3\x80\x82",
	 10, 0.95, 1.05},
	{"{\"score\": 92, \"verdict\": \"accepted\"}", 15, 0.7, 1.2},
	{"if (x == NULL)\n\treturn -1;", 10, 0.7, 1.5},
	{"", 0, 0, 0},
};

static void the_estimate_is_near_the_number_of_words_and_marks(void **state)
{
	for (size_t i = 0; i < SL_COUNT_OF(texts); i++) {
		double n = (double)sl_tokens_of_text(sl_str(texts[i].text));
		if (!(n >= texts[i].low * texts[i].words && n <= texts[i].high * texts[i].words))
			fail_msg("'%s': %.0f tokens, %u words and marks", texts[i].text, n, texts[i].words);
	}
}

static void pieces_count_as_the_whole(void **state)
{
	static const char text[] = "Ein Gru\xc3\x9f, \xe5\x9f\x8e\xe5\xb8\x82 \xf0\x9f\x98\x80 and      blanks ======";
	uint64_t whole = sl_tokens_of_text(sl_str_n(text, sizeof(text) - 1));
	for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
		struct sl_token_count c = {0};
		sl_tokens_add(&c, sl_str_n(text, cut));
		sl_tokens_add(&c, sl_str_n(text + cut, sizeof(text) - 1 - cut));
		assert_int_equal(sl_tokens_sum(&c), whole);
	}
}

static void long_runs_of_a_blank_or_dash_cost_little(void **state)
{
	char line[1000];
	memset(line, '-', sizeof(line));
	assert_in_range(sl_tokens_of_text(sl_str_n(line, sizeof(line))), 2, 40);
	memset(line, ' ', sizeof(line));
	assert_in_range(sl_tokens_of_text(sl_str_n(line, sizeof(line))), 1, 20);
	memset(line, 'a', sizeof(line));
	assert_int_equal(sl_tokens_of_text(sl_str_n(line, sizeof(line))), 250);
}

static uint64_t of(const char *params, const char *system)
{
	SL_AUTO_JSON doc = NULL;
	assert_int_equal(sl_json_parse(sl_str(params), &doc, NULL), SL_OK);
	return sl_tokens_of_request(doc, sl_str(system));
}

static void a_request_is_all_that_is_sent(void **state)
{
	uint64_t prompt = of("{\"prompt\":\"four letters each word here\"}", "");
	assert_true(prompt >= 8 + 6);
	assert_true(of("{\"prompt\":\"four letters each word here\",\"system\":\"be brief and kind\"}", "") >
		    prompt + 4);
	assert_true(of("{\"prompt\":\"four letters each word here\"}", "be brief and kind") > prompt + 4);
	assert_true(of("{\"prompt\":\"four letters each word here\",\"tools\":[{\"name\":\"search the web\"}]}", "") >
		    prompt + 5);
	uint64_t two =
		of("{\"messages\":[{\"role\":\"user\",\"content\":\"abcd\"},{\"role\":\"user\",\"content\":\"abcd\"}]}",
		   "");
	assert_int_equal(two, 4 + 2 * (4 + 1));
}

static void an_image_counts_as_one_however_large(void **state)
{
	uint64_t n =
		of("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"abcd\"},{\"type\":"
		   "\"image_url\",\"image_url\":{\"url\":\"data:image/"
		   "png;base64,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"
		   "}]}]}",
		   "");
	assert_int_equal(n, 4 + 4 + 1 + SL_TOKENS_PER_IMAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_estimate_is_near_the_number_of_words_and_marks),
		cmocka_unit_test(pieces_count_as_the_whole),
		cmocka_unit_test(long_runs_of_a_blank_or_dash_cost_little),
		cmocka_unit_test(a_request_is_all_that_is_sent),
		cmocka_unit_test(an_image_counts_as_one_however_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
