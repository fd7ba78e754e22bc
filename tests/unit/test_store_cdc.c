/* Where texts are cut: every byte in one piece, sizes within bounds, and what two texts share is cut alike. */
#include "tests/lib/test.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "store/cdc.h"

static uint64_t seed;
static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void fill(char *p, size_t n, uint64_t from)
{
	seed = from * 2 + 1;
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(32 + next() % 95);
}

struct pieces {
	size_t at[4096], len[4096], n;
};

static void cut(const char *p, size_t len, struct pieces *out)
{
	out->n = 0;
	for (size_t at = 0; at < len; at += out->len[out->n - 1]) {
		assert_true(out->n < 4096);
		out->at[out->n] = at;
		out->len[out->n++] = sl_cdc_cut(p + at, len - at);
	}
}

/* How many pieces of b are not among those of a. */
static size_t fresh(const char *a, const struct pieces *pa, const char *b, const struct pieces *pb)
{
	size_t n = 0;
	for (size_t i = 0; i < pb->n; i++) {
		bool found = false;
		for (size_t k = 0; !found && k < pa->n; k++)
			found = pa->len[k] == pb->len[i] && memcmp(a + pa->at[k], b + pb->at[i], pb->len[i]) == 0;
		n += !found;
	}
	return n;
}

static void every_byte_is_in_one_piece_and_sizes_keep_their_bounds(void **state)
{
	static const size_t lengths[] = {1,    2,    63,   64,    1023,  1024,  1025,  1088,
					 4095, 4096, 4097, 16383, 16384, 16385, 200000};
	static char text[200000];
	struct pieces p;
	for (size_t kind = 0; kind < 3; kind++) {
		fill(text, sizeof(text), 7);
		if (kind == 1)
			memset(text, 'a', sizeof(text)); /* nothing to cut at */
		for (size_t i = 0; kind == 2 && i < sizeof(text); i++)
			text[i] = (char)(next() & 0xff);
		for (size_t i = 0; i < SL_COUNT_OF(lengths); i++) {
			size_t sum = 0;
			cut(text, lengths[i], &p);
			for (size_t k = 0; k < p.n; k++) {
				assert_in_range(p.len[k], k + 1 < p.n ? SL_CDC_LEAST : 1, SL_CDC_MOST);
				sum += p.len[k];
			}
			assert_int_equal(sum, lengths[i]);
		}
	}
	assert_int_equal(sl_cdc_cut(text, 0), 0);
}

static void pieces_are_about_as_long_as_said(void **state)
{
	size_t n = 4 << 20;
	char *text = malloc(n);
	struct pieces *p = malloc(sizeof(*p));
	fill(text, n, 11);
	cut(text, n, p);
	assert_in_range(n / p->n, SL_CDC_AVERAGE * 3 / 4, SL_CDC_AVERAGE * 3 / 2);
	free(text);
	free(p);
}

static void a_cut_does_not_look_behind_itself(void **state)
{
	static char text[100000];
	fill(text, sizeof(text), 3);
	size_t first = sl_cdc_cut(text, sizeof(text));
	assert_true(first < SL_CDC_MOST);
	for (size_t i = first; i < sizeof(text); i++)
		text[i] ^= 1;
	assert_int_equal(sl_cdc_cut(text, sizeof(text)), first);
}

static void the_places_of_cuts_do_not_move_from_version_to_version(void **state)
{
	static const size_t want[] = {7014, 4113, 5238, 5834};
	static char text[100000];
	struct pieces p;
	fill(text, sizeof(text), 1);
	cut(text, sizeof(text), &p);
	for (size_t i = 0; i < SL_COUNT_OF(want); i++)
		assert_int_equal(p.len[i], want[i]);
}

static void what_is_put_in_or_taken_out_changes_a_few_pieces(void **state)
{
	static char a[400000], b[400200];
	struct pieces pa, pb;
	size_t sum = 0, rounds = 300;
	fill(a, sizeof(a), 5);
	cut(a, sizeof(a), &pa);
	for (size_t i = 0; i < rounds; i++) {
		seed = i * 77 + 9;
		size_t at = next() % sizeof(a), more = next() % 200, gone = next() % 3 ? 0 : next() % 200;
		size_t rest = sizeof(a) - at;
		if (gone > rest)
			gone = rest;
		memcpy(b, a, at);
		for (size_t k = 0; k < more; k++)
			b[at + k] = (char)(32 + next() % 95);
		memcpy(b + at + more, a + at + gone, rest - gone);
		size_t len = at + more + rest - gone;
		cut(b, len, &pb);
		size_t changed = fresh(a, &pa, b, &pb);
		assert_in_range(changed, 0, 12);
		sum += changed;
	}
	assert_true(sum < rounds * 3); /* of about 85 each */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_is_in_one_piece_and_sizes_keep_their_bounds),
		cmocka_unit_test(pieces_are_about_as_long_as_said),
		cmocka_unit_test(a_cut_does_not_look_behind_itself),
		cmocka_unit_test(the_places_of_cuts_do_not_move_from_version_to_version),
		cmocka_unit_test(what_is_put_in_or_taken_out_changes_a_few_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
