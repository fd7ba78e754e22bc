/* What rules take for a claim, and what they take for evidence of one. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/claims.h"
#include "llm/evidence.h"

static void what_can_be_checked_is_found(void **state)
{
	static const struct {
		const char *text, *found; /* kind:mark|… */
	} rows[] = {
		{"Sales rose by 37 % last spring.", "percentage:37 %"},
		{"About 12.5 percent of them left. Nobody knows why.", "percentage:12.5 percent"},
		{"It cost $4.2 million. Then it broke.", "money:$4.2 million"},
		{"We paid 300 euros, 20 % of it in cash.", "money:300 euros"},
		{"They raised EUR 3bn.", "money:EUR 3bn"},
		{"According to a report, cats sleep a lot.", "attribution:According to"},
		{"Studies show that tea helps.", "attribution:Studies show"},
		{"The effect is small [12].", "citation:[12]"},
		{"The effect is small (Smith et al. 2021, p. 4) and old.", "citation:(Smith et al. 2021, p. 4)"},
		{"See https://example.org/x for it.", "citation:https://"},
		{"The wall fell in 1989. It was cold.", "year:1989"},
		{"In the 1990s it was cheap.", "year:1990s"},
		{"营收增长 12%。价格 "
		 "500元。",
		 "percentage:12%|money:500元"},
		{"- 5 % off\n- $10 each\n- nothing\n", "percentage:5 %|money:$10"},
		{"# Title 2019\n\nText without one.", "year:2019"},
		{"First 3 %. Second $3. Third 2003.", "percentage:3 %|money:$3|year:2003"},
		{"The U.S. spent 3 % more. e.g. 5 % of it.", "percentage:3 %|percentage:5 %"},
		/* nothing of these */
		{"", ""},
		{"Good morning.", ""},
		{"Is 50 % enough?", ""},
		{"It has 4 wheels and 2 doors, 1,998 parts and version 1.2.3.", ""},
		{"The room 2100 is full; call 19891234.", ""},
		{"Use [this](https) and list[3](x), array[i].", ""},
		{"```\nprice = $5\nrate = 5 %\n```\nDone.", ""},
		{"```\n$5", ""},
		{"Code ends.\n```c\nx = 5 %\n```\nIt costs $7.", "money:$7"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_claim all[8];
		SL_BUF(got, 4000);
		size_t n = sl_claims_find(sl_str(rows[i].text), all, SL_COUNT_OF(all));
		for (size_t k = 0; k < n; k++)
			sl_buf_addf(&got, "%s%s:" SL_STR_FMT, k ? "|" : "", sl_claim_kind_name(all[k].kind),
				    SL_STR_ARG(all[k].mark));
		if (!sl_str_is(sl_buf_str(&got), rows[i].found))
			fail_msg("%s: %s", rows[i].text, got.data ? got.data : "");
	}
}

static void a_claim_is_its_whole_sentence_and_says_where_it_is(void **state)
{
	const char *text = "Well. In 2020, 3.5 % (Dr. Smith says) went away. The rest stayed.\n* and $5 went";
	SL_AUTO_JSON list = sl_claims_json(sl_str(text));
	static const char *const expected[] = {"In 2020, 3.5 % (Dr. Smith says) went away.", "and $5 went"};
	assert_int_equal(json_object_array_length(list), 2);
	for (size_t i = 0; i < 2; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		assert_string_equal(sl_json_get_z(o, "text"), expected[i]);
		assert_int_equal(sl_json_get_i64(o, "at", -1), strstr(text, expected[i]) - text);
	}
}

/* Pieces of what the rules look for, in any order, and any bytes: parts of the text, in order, and never too many. */
static void any_text_gives_parts_of_itself(void **state)
{
	static const char *const pieces[] = {"$",       "5", "1998", " ", ".",  "\n",   "```",          "(",
					     "Smith, ", ")", "[",    "]", "%",  "€",    "元",           "million",
					     "et al.",  "?", " ",    ",", "- ", "\xff", "studies show", "百"};
	uint64_t random = 11;
	for (unsigned round = 0; round < 3000; round++) {
		SL_BUF(text, 1u << 20);
		struct sl_claim all[SL_CLAIMS], again[SL_CLAIMS];
		for (unsigned k = 0; k < round % 200; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			if (random >> 60 == 0)
				sl_buf_addc(&text, (char)(random >> 40));
			else
				sl_buf_adds(&text, pieces[(random >> 33) % SL_COUNT_OF(pieces)]);
		}
		struct sl_str s = sl_buf_str(&text);
		size_t n = sl_claims_find(s, all, SL_CLAIMS), m = sl_claims_find(s, again, SL_CLAIMS);
		const char *from = s.p;
		assert_int_equal(n, m);
		for (size_t i = 0; i < n; i++) {
			assert_true(all[i].text.p >= from && all[i].text.p + all[i].text.len <= s.p + s.len);
			assert_true(all[i].mark.len && all[i].mark.p >= all[i].text.p);
			assert_true(all[i].mark.p + all[i].mark.len <= s.p + s.len);
			assert_true(all[i].text.len <= SL_CLAIM_BYTES);
			from = all[i].text.p + all[i].text.len;
		}
	}
	SL_BUF(many, 1u << 20);
	struct sl_claim all[SL_CLAIMS];
	for (int i = 0; i < 5000; i++)
		sl_buf_adds(&many, "It cost $5. ");
	assert_int_equal(sl_claims_find(sl_buf_str(&many), all, SL_CLAIMS), SL_CLAIMS);
	sl_buf_reset(&many);
	sl_buf_adds(&many, "$5 ");
	for (int i = 0; i < 2000; i++)
		sl_buf_adds(&many, "元");
	assert_int_equal(sl_claims_find(sl_buf_str(&many), all, 1), 1);
	assert_true(all[0].text.len <= SL_CLAIM_BYTES && sl_utf8_valid(all[0].text.p, all[0].text.len));
}

static void evidence_is_weighed(void **state)
{
	static const char source[] =
		"Tea came to Europe late. In 1998 the company Leaf sold 4,200,000 boxes, 12 per cent more than before. "
		"Its profit did not grow. The workers were content with that.";
	static const struct {
		const char *claim;
		double least, most;
	} rows[] = {
		{"In 1998 Leaf sold 4.2 million boxes.", 0.7, 0.9},
		{"Leaf's sales of boxes grew by 12 %.", 0.3, 0.7},
		{"In 1998 Leaf sold 4.3 million boxes.", 0.05, 0.3},
		{"In 1999 the company Leaf sold boxes.", 0.05, 0.3},
		{"12 companies sold boxes.", 0, 0.3}, /* no 12, only 12 per cent */
		{"Companies selling boxes", 0.6, 0.9},
		{"Its profit did not grow.", 0.7, 0.9},
		{"Its profit grew.", 0, 0.45}, /* it says the opposite */
		{"The moon is made of green cheese.", 0, 0.01},
		{"", 0, 0},
		{"12 %", 0, 0.5},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_str where;
		double sure = sl_evidence(sl_str(rows[i].claim), sl_str(source), &where);
		if (sure < rows[i].least || sure > rows[i].most)
			fail_msg("%s: %.3f", rows[i].claim, sure);
		assert_true(sure == 0 ||
			    (where.len && where.p >= source && where.p + where.len <= source + sizeof(source)));
	}
	struct sl_str where;
	assert_true(sl_evidence(SL_STR("Leaf sold boxes in 1998."), sl_str(source), &where) > 0.7);
	assert_true(sl_str_starts(where, SL_STR("Tea came")) || sl_str_starts(where, SL_STR("In 1998")));
	/* 2020年 公司销售额增长百分之八 */
	assert_true(sl_evidence(SL_STR("公司销售增长 12%"),
				SL_STR("\xe5\x8e\xbb\xe5\xb9\xb4\xe5\x85\xac\xe5\x8f\xb8\xe9\x94\x80\xe5\x94\xae\xe9"
				       "\xa2\x9d\xe5\xa2\x9e\xe9\x95\xbf 12%。"),
				NULL) > 0.5);
	assert_true(sl_evidence(SL_STR("公司销售增长 12%"), SL_STR("去年天气很好。"), NULL) < 0.01);
}

static void evidence_of_any_bytes_is_a_share(void **state)
{
	uint64_t random = 5;
	for (unsigned round = 0; round < 3000; round++) {
		char claim[200], source[900];
		for (size_t i = 0; i < sizeof(claim); i++)
			claim[i] = (char)((random = random * 6364136223846793005u + 1442695040888963407u) >> 40);
		for (size_t i = 0; i < sizeof(source); i++)
			source[i] = (char)((random = random * 6364136223846793005u + 1442695040888963407u) >> 40);
		double sure = sl_evidence(sl_str_n(claim, round % 200), sl_str_n(source, round % 900), NULL);
		assert_true(sure >= 0 && sure <= 0.9);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_be_checked_is_found),
		cmocka_unit_test(a_claim_is_its_whole_sentence_and_says_where_it_is),
		cmocka_unit_test(any_text_gives_parts_of_itself),
		cmocka_unit_test(evidence_is_weighed),
		cmocka_unit_test(evidence_of_any_bytes_is_a_share),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
