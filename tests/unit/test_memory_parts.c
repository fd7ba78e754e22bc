/* The pure parts of memory: splitting, the ingest filter, likeness, relevance, insights, and vectors against brute
 * force. */
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "memory/digest.h"
#include "memory/filter.h"
#include "memory/score.h"
#include "memory/similar.h"
#include "memory/split.h"
#include "memory/vectors.h"
#include "memory/words.h"

static uint64_t seed;

static uint32_t any(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % below;
}

/* ---- splitting ---- */

static size_t chars(struct sl_str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Words, sentences, endless words and other scripts, in any order. */
static size_t random_text(char *out, size_t cap)
{
	static const char *const bits[] = {"word",
					   "sentence. ",
					   " ",
					   "\n",
					   "Gr\xc3\xbc\xc3\x9f"
					   "e ",
					   "\xe6\xbc\xa2\xe5\xad\x97",
					   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
					   "\xf0\x9f\x98\x80",
					   "! ",
					   "x"};
	size_t n = 0, want = any((uint32_t)cap - 80);
	while (n < want) {
		const char *bit = bits[any(SL_COUNT_OF(bits))];
		memcpy(out + n, bit, strlen(bit));
		n += strlen(bit);
	}
	return n;
}

static void pieces_cover_a_text_and_cut_no_character(void **state)
{
	static char text[8000];
	seed = 11;
	for (int round = 0; round < 400; round++) {
		struct sl_str all = {text, random_text(text, sizeof(text))}, piece;
		size_t at = 0, end = 0, before = 0;
		while (sl_split_next(all, &at, &piece)) {
			size_t begin = (size_t)(piece.p - all.p);
			assert_true(piece.len > 0 && chars(piece) <= SL_SPLIT_CHARS);
			assert_true(sl_utf8_valid(piece.p, piece.len));
			assert_true(begin + piece.len > end); /* each goes on */
			if (begin < end)
				assert_true(chars(sl_str_n(all.p + begin, end - begin)) <= SL_SPLIT_OVERLAP);
			for (size_t i = end; i < begin; i++) /* what is between two is blank */
				assert_non_null(strchr(" \n\t\r", text[i]));
			end = begin + piece.len;
			assert_true(at > before);
			before = at;
		}
		for (size_t i = end; i < all.len; i++)
			assert_non_null(strchr(" \n\t\r", text[i]));
	}
}

static void pieces_end_with_sentences_where_they_can(void **state)
{
	char text[2000] = "";
	struct sl_str piece;
	size_t at = 0;
	for (int i = 0; i < 30; i++)
		strncat(text, "Water boils at a hundred degrees Celsius. ", sizeof(text) - strlen(text) - 1);
	assert_true(sl_split_next(sl_str(text), &at, &piece));
	assert_int_equal(piece.p[piece.len - 1], '.');
	assert_true(piece.len > 400);
	assert_true(sl_split_next(sl_str(text), &at, &piece));
	assert_true(piece.p > text && piece.p[-1] == ' '); /* begins with a word */
	at = 0;
	assert_false(sl_split_next(SL_STR("  \n "), &at, &piece));
	at = 0;
	assert_true(sl_split_next(SL_STR(" short "), &at, &piece));
	assert_true(sl_str_is(piece, "short"));
	assert_false(sl_split_next(SL_STR(" short "), &at, &piece));
}

/* ---- likeness, filter ---- */

static double like(const char *a, const char *b)
{
	struct sl_trigrams x, y;
	assert_int_equal(sl_trigrams_of(sl_str(a), &x), SL_OK);
	assert_int_equal(sl_trigrams_of(sl_str(b), &y), SL_OK);
	double d = sl_trigrams_similarity(&x, &y);
	sl_trigrams_fini(&x);
	sl_trigrams_fini(&y);
	return d;
}

static void likeness_looks_at_letters_only(void **state)
{
	assert_true(like("Hello, World!", "hello world") == 1);
	assert_true(like("\xc3\x84pfel", "\xc3\xa4pfel") == 1);
	assert_true(like("the cat sat on the mat", "quantum chromodynamics") < 0.05);
	assert_true(like("word", "two words") > 0.3 && like("word", "two words") < 0.5); /* 4/11, as pg_trgm has it */
	assert_true(like("", "") == 1);
	assert_true(like("", "x") == 0);
}

static void near_texts_have_near_prints(void **state)
{
	char a[600], b[600];
	seed = 5;
	unsigned far = 0;
	for (int round = 0; round < 500; round++) {
		struct sl_trigrams x, y;
		size_t n = 0;
		while (n < 400) { /* made-up words */
			for (uint32_t k = 3 + any(6); k; k--)
				a[n++] = (char)('a' + any(26));
			a[n++] = ' ';
		}
		a[n] = 0;
		memcpy(b, a, n + 1);
		for (uint32_t k = any(4); k; k--)
			b[any((uint32_t)n)] = 'q';
		assert_int_equal(sl_trigrams_of(sl_str(a), &x), SL_OK);
		assert_int_equal(sl_trigrams_of(sl_str(b), &y), SL_OK);
		if (sl_trigrams_similarity(&x, &y) >= SL_FILTER_TWIN &&
		    sl_print_distance(sl_trigrams_print(&x), sl_trigrams_print(&y)) > SL_PRINT_TWIN)
			far++;
		sl_trigrams_fini(&x);
		sl_trigrams_fini(&y);
	}
	assert_int_equal(far, 0);
}

static void the_filter_says_why(void **state)
{
	static const struct {
		const char *text, *reason;
		double confidence;
	} rows[] = {
		{"", "empty", 1},
		{" \n ", "empty", 1},
		{"Forty-nine characters are one too few for this..", "too_short", 1},
		{"aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa aaaa", "trivial", 1},
		{"Supercalifragilisticexpialidociousandsomemoreletterstobesure", "trivial", 1},
		{"Paris is the capital of France and has two million people.", NULL, 0.8},
		{"Paris is the capital of France and has two million people.", "low_confidence", 0.79},
		{"Paris is the capital of France and has two million people.", "low_confidence", NAN},
		{"\xe5\xb7\xb4\xe9\xbb\x8e\xe6\x98\xaf\xe6\xb3\x95\xe5\x9b\xbd\xe7\x9a\x84\xe9\xa6\x96\xe9\x83\xbd",
		 "too_short", 1},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_trigrams t;
		assert_int_equal(sl_trigrams_of(sl_str(rows[i].text), &t), SL_OK);
		const char *reason = sl_filter(sl_str(rows[i].text), &t, rows[i].confidence);
		if (rows[i].reason)
			assert_string_equal(reason, rows[i].reason);
		else
			assert_null(reason);
		sl_trigrams_fini(&t);
	}
}

/* ---- relevance ---- */

static double score(const char *query, const char *text)
{
	SL_AUTO(sl_score_query) q = NULL;
	assert_int_equal(sl_score_query_new(sl_str(query), &q), SL_OK);
	return sl_score(q, sl_str(text));
}

static void relevance_is_the_share_of_words_found(void **state)
{
	static const char text[] =
		"Nuclear power plants in France have produced electricity with low emissions for decades.";
	assert_true(score("nuclear power in France", text) == 1);
	assert_true(score("Is the emission of nuclear plants low?", text) == 1); /* endings, words without meaning */
	assert_true(score("nuclaer power", text) > 0.55 &&
		    score("nuclaer power", text) < 1); /* a typo counts in part */
	assert_true(score("wind turbines in Denmark", text) < 0.3);
	assert_true(score("the of and", text) == 0);
	assert_true(score("", text) == 0);
	assert_true(score("\xe6\xa0\xb8\xe7\x94\xb5\xe7\xab\x99",
			  "\xe6\xb3\x95\xe5\x9b\xbd\xe6\xa0\xb8\xe7\x94\xb5\xe7\xab\x99") == 1);
	/* of a long question, its eight heaviest words' worth is all that one text can be asked for */
	assert_true(score("Compare nuclear power, plants, France, electricity, emissions, produced and decades with "
			  "oranges, "
			  "philosophy, bicycles, gardening, literature and orchestras",
			  text) > 0.75);
}

/* ---- insights ---- */

static void insights_come_by_number_then_confidence(void **state)
{
	static const char *const texts[] = {
		"The cache must be cleared after every deployment of the gateway.",
		"Customers in Norway prefer to pay by invoice within thirty days.",
		"The cache must be cleared after each deployment of the gateway!",
		"Latency doubled when the index was dropped.",
		"the cache must be cleared after every deployment of our gateway",
	};
	static const double confidence[] = {0.5, 0.9, 0.95, 0.2, 0.7};
	struct sl_digest_text t[5];
	struct sl_digest_group *groups = NULL;
	size_t n = 0;
	for (size_t i = 0; i < 5; i++) {
		struct sl_trigrams x;
		assert_int_equal(sl_trigrams_of(sl_str(texts[i]), &x), SL_OK);
		t[i] = (struct sl_digest_text){sl_str(texts[i]), sl_trigrams_print(&x), confidence[i], 99};
		sl_trigrams_fini(&x);
	}
	assert_int_equal(sl_digest(t, 5, &groups, &n), SL_OK);
	assert_int_equal(n, 3);
	assert_int_equal(groups[0].n, 3);
	assert_int_equal(groups[0].best, 2);
	assert_true(fabs(groups[0].confidence - (0.5 + 0.95 + 0.7) / 3) < 1e-9);
	assert_int_equal(groups[1].best, 1);
	assert_int_equal(groups[2].best, 3);
	assert_int_equal(t[0].group, 0);
	assert_int_equal(t[4].group, 0);
	assert_int_equal(t[1].group, 1);
	free(groups);
}

/* ---- vectors ---- */

enum { NOISE, CLUSTERS, SPARSE, TWINS, SHAPES };

static void random_vector(float *x, uint32_t dims, int shape)
{
	static float centre[8][SL_VECTORS_DIMS];
	static uint32_t centres_of;
	if (centres_of != dims)
		for (int c = 0; c < 8; c++)
			for (uint32_t i = 0; i < dims; i++)
				centre[c][i] = (float)any(2001) / 1000 - 1;
	centres_of = dims;
	uint32_t c = any(8);
	for (uint32_t i = 0; i < dims; i++) {
		float noise = (float)any(2001) / 1000 - 1;
		x[i] = shape == NOISE      ? noise
		       : shape == CLUSTERS ? centre[c][i] + noise / 50
		       : shape == SPARSE   ? (any(20) ? 0 : noise * 1000)
					   : centre[c][i]; /* all the same but for eight */
	}
	x[any(dims)] += 0.5f;
}

static void assert_same(const struct sl_vector_hit *a, size_t n, const struct sl_vector_hit *b, size_t m)
{
	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++) {
		assert_true(sl_uuid_eq(a[i].id, b[i].id));
		assert_int_equal(a[i].n, b[i].n);
		assert_memory_equal(&a[i].score, &b[i].score, sizeof(float)); /* to the last bit */
	}
}

static void a_search_gives_what_a_scan_gives_to_the_last_bit(void **state)
{
	static const uint32_t sizes[] = {1, 3, 32, 100, 384, 1536};
	static float x[SL_VECTORS_DIMS];
	static struct sl_vector_hit a[64], b[64], c[64];
	seed = 23;
	for (size_t s = 0; s < SL_COUNT_OF(sizes); s++)
		for (int shape = 0; shape < SHAPES; shape++) {
			SL_AUTO(sl_vectors) fast = NULL;
			SL_AUTO(sl_vectors) slow = NULL;
			uint32_t dims = sizes[s], rows = dims > 1000 ? 600 : 2500;
			assert_int_equal(sl_vectors_new(dims, SL_VECTORS_BEST, &fast), SL_OK);
			assert_int_equal(sl_vectors_new(dims, SL_VECTORS_SCALAR, &slow), SL_OK);
			struct sl_uuid ids[64];
			for (size_t i = 0; i < 64; i++)
				ids[i] = sl_uuid_new();
			for (uint32_t i = 0; i < rows; i++) {
				struct sl_uuid id = ids[any(64)];
				random_vector(x, dims, shape);
				assert_int_equal(sl_vectors_put(fast, id, i / 64, x), SL_OK);
				assert_int_equal(sl_vectors_put(slow, id, i / 64, x), SL_OK);
				if (any(400) == 0) {
					id = ids[any(64)];
					assert_int_equal(sl_vectors_drop(fast, id), sl_vectors_drop(slow, id));
				}
			}
			assert_int_equal(sl_vectors_count(fast), sl_vectors_count(slow));
			for (int q = 0; q < 12; q++) {
				size_t k = 1 + any(60);
				random_vector(x, dims, q % 2 ? shape : NOISE);
				size_t n = sl_vectors_search(fast, x, k, a), m = sl_vectors_scan(fast, x, k, b);
				assert_same(a, n, b, m);
				assert_same(a, n, c, sl_vectors_search(slow, x, k, c));
				assert_same(a, n, c, sl_vectors_scan(slow, x, k, c));
			}
		}
}

static void vectors_are_replaced_dropped_and_refused(void **state)
{
	SL_AUTO(sl_vectors) v = NULL;
	struct sl_vector_hit hits[4];
	struct sl_uuid one = sl_uuid_new(), two = sl_uuid_new();
	float right[2] = {3, 0}, up[2] = {0, 0.001f}, none[2] = {0, 0}, broken[2] = {NAN, 1};
	assert_int_equal(sl_vectors_new(2, SL_VECTORS_BEST, &v), SL_OK);
	assert_int_equal(sl_vectors_search(v, right, 3, hits), 0);
	assert_int_equal(sl_vectors_put(v, one, 0, none), SL_INVALID);
	assert_int_equal(sl_vectors_put(v, one, 0, broken), SL_INVALID);
	assert_int_equal(sl_vectors_put(v, one, 0, right), SL_OK);
	assert_int_equal(sl_vectors_put(v, one, 0, up), SL_OK);
	assert_int_equal(sl_vectors_put(v, two, 7, right), SL_OK);
	assert_int_equal(sl_vectors_count(v), 2);
	assert_int_equal(sl_vectors_search(v, right, 3, hits), 2);
	assert_true(sl_uuid_eq(hits[0].id, two) && hits[0].n == 7 && hits[0].score == 1);
	assert_true(hits[1].score == 0);
	assert_int_equal(sl_vectors_search(v, none, 3, hits), 0);
	assert_int_equal(sl_vectors_drop(v, two), 1);
	assert_int_equal(sl_vectors_drop(v, two), 0);
	assert_int_equal(sl_vectors_search(v, right, 3, hits), 1);
	assert_true(sl_uuid_eq(hits[0].id, one));
	/* many blocks, then none */
	struct sl_uuid all = sl_uuid_new();
	for (uint32_t i = 0; i < 40000; i++) {
		float some[2] = {(float)(i % 100), 1};
		assert_int_equal(sl_vectors_put(v, all, i, some), SL_OK);
	}
	for (size_t k = 1; k <= 4; k++) {
		struct sl_vector_hit scan[4];
		float q[2] = {5.5f, 1};
		assert_same(hits, sl_vectors_search(v, q, k, hits), scan, sl_vectors_scan(v, q, k, scan));
	}
	size_t before = sl_vectors_bytes(v);
	assert_int_equal(sl_vectors_drop(v, all), 40000);
	assert_true(sl_vectors_bytes(v) < before / 2);
	assert_int_equal(sl_vectors_count(v), 1);
	assert_int_equal(sl_vectors_drop(v, one), 1);
	assert_int_equal(sl_vectors_put(v, two, 1, up), SL_OK);
	assert_int_equal(sl_vectors_search(v, up, 3, hits), 1);
}

static void stored_numbers_are_checked(void **state)
{
	float out[2];
	static const char good[] = {0, 0, (char)0x80, 0x3f, 0, 0, 0, (char)0xc0}, bad[] = {0, 0, (char)0x80, 0x7f};
	assert_true(sl_vectors_read(good, 2, out));
	assert_true(out[0] == 1 && out[1] == -2);
	assert_false(sl_vectors_read(bad, 1, out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_cover_a_text_and_cut_no_character),
		cmocka_unit_test(pieces_end_with_sentences_where_they_can),
		cmocka_unit_test(likeness_looks_at_letters_only),
		cmocka_unit_test(near_texts_have_near_prints),
		cmocka_unit_test(the_filter_says_why),
		cmocka_unit_test(relevance_is_the_share_of_words_found),
		cmocka_unit_test(insights_come_by_number_then_confidence),
		cmocka_unit_test(a_search_gives_what_a_scan_gives_to_the_last_bit),
		cmocka_unit_test(vectors_are_replaced_dropped_and_refused),
		cmocka_unit_test(stored_numbers_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
