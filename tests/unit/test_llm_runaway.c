/* llm/runaway.c: loops of every period are found within two windows; what models answer in earnest never is. */
#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "llm/runaway.h"

static const struct sl_runaway_limits limits = {3, 1000, 5, 0.95, 0.1, 3, 10, 600};

/* Feeds all of it in pieces of `step` bytes, `tps` tokens (of four bytes) a second. Where it tripped, or -1. */
static long feed(struct sl_str text, size_t step, double tps, uint64_t estimate, struct sl_runaway_verdict *v)
{
	struct sl_runaway_stream s;
	sl_runaway_stream_init(&s, &limits, estimate, 1000);
	for (size_t at = 0; at < text.len; at += step) {
		size_t n = text.len - at < step ? text.len - at : step;
		uint64_t now = 1000 + (uint64_t)((double)at / 4 / tps * 1000);
		if (sl_runaway_feed(&s, false, sl_str_n(text.p + at, n), now, v))
			return (long)(at + n);
	}
	return -1;
}

static void loops_of_one_to_eight_words_are_found_within_two_windows(void **state)
{
	static const char *const words[] = {"alpha", "beta", "gamma", "delta", "of", "the", "seventh", "day"};
	static const char *const figures[] = {"1", "22", "3", "47", "5", "60", "777", "8"};
	static const char *const signs[] = {"\xe6\x88\x91", "\xe4\xbb\xac", "\xe5\xba\x94", "\xe8\xaf\xa5",
					    "\xe5\x86\x8d", "\xe6\x83\xb3", "\xe4\xb8\x80", "\xe4\xb8\x8b"};
	static const char *const *const kinds[] = {words, figures, signs};
	for (size_t kind = 0; kind < SL_COUNT_OF(kinds); kind++)
		for (unsigned period = 1; period <= 8; period++)
			for (size_t step = 1; step <= 64; step *= 8) {
				SL_BUF(b, 1 << 20);
				struct sl_runaway_verdict v = {0};
				sl_buf_adds(&b, "To begin with, a sentence that makes sense, about something else. ");
				size_t before = b.len, window = 0;
				for (unsigned i = 0; i < 4 * SL_RUNAWAY_UNITS; i++) {
					if (i == 2 * SL_RUNAWAY_UNITS)
						window = b.len;
					sl_buf_adds(&b, kinds[kind][i % period]);
					if (kind < 2)
						sl_buf_addc(&b, ' ');
				}
				long at = feed(sl_buf_str(&b), step, 50, 100000, &v);
				if (at < 0 || (size_t)at > window + step)
					fail_msg("kind %zu, period %u, step %zu: found at %ld, loop from %zu, two "
						 "windows end at %zu",
						 kind, period, step, at, before, window);
				assert_string_equal(v.reason, "LOOP_DETECTED");
			}
}

static void loops_of_one_to_eight_lines_or_sentences_are_found_within_two_windows(void **state)
{
	for (int sentences = 0; sentences < 2; sentences++)
		for (unsigned period = 1; period <= 8; period++) {
			SL_BUF(b, 1 << 20);
			struct sl_runaway_verdict v = {0};
			size_t window = 0;
			sl_buf_adds(&b, "First the plan.\nThen what follows from it.\n");
			for (unsigned i = 0; i < 4 * SL_RUNAWAY_LINES; i++) {
				if (i == 2 * SL_RUNAWAY_LINES)
					window = b.len;
				sl_buf_addf(&b, "I should look at step %c of the plan again, and then decide%s",
					    'A' + (char)(i % period), sentences ? ". " : "\n");
			}
			long at = feed(sl_buf_str(&b), 16, 50, 100000, &v);
			if (at < 0 || (size_t)at > window + 16)
				fail_msg("period %u: found at %ld, two windows end at %zu", period, at, window);
			assert_string_equal(v.reason, "LOOP_DETECTED");
		}
}

static void a_loop_without_any_blank_is_found(void **state)
{
	SL_BUF(b, 1 << 20);
	struct sl_runaway_verdict v = {0};
	for (int i = 0; i < 12000; i++)
		sl_buf_adds(&b, "ab");
	assert_true(feed(sl_buf_str(&b), 7, 50, 100000, &v) > 0);
	SL_BUF(zh, 1 << 20);
	for (int i = 0; i < 200; i++) /* 。 ends a sentence without a blank */
		sl_buf_adds(&zh, "\xe6\x88\x91\xe5\x86\x8d\xe6\x83\xb3\xe4\xb8\x80\xe4\xb8\x8b\xe8\xbf\x99\xe4\xb8\xaa"
				 "\xe9\x97\xae\xe9\xa2\x98\xe5\x90\xa7\xe3\x80\x82");
	assert_true(feed(sl_buf_str(&zh), 5, 50, 100000, &v) > 0);
	assert_non_null(strstr(v.message, "sentence"));
}

/* ---- what must never trip ---- */

static unsigned quiet(const char *path)
{
	FILE *f = fopen(path, "rb");
	SL_BUF(b, 4 << 20);
	char piece[4096];
	if (!f)
		return 0;
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) > 0;)
		sl_buf_add(&b, piece, n);
	fclose(f);
	static const size_t steps[] = {5, 64, 4096};
	for (size_t i = 0; i < SL_COUNT_OF(steps); i++) {
		struct sl_runaway_verdict v = {0};
		long at = feed(sl_buf_str(&b), steps[i], 200, 1000000, &v);
		if (at >= 0)
			fail_msg("%s in pieces of %zu: tripped at byte %ld: %s: %s", path, steps[i], at, v.reason,
				 v.message);
	}
	return b.len > 0;
}

static unsigned quiet_folder(const char *folder, const char *ending)
{
	const char *root = getenv("SLUICE_ROOT");
	char path[1024];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/%s", root ? root : ".", folder);
	DIR *d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		size_t len = strlen(e->d_name), end = strlen(ending);
		if (e->d_name[0] == '.' || len < end || strcmp(e->d_name + len - end, ending) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s/%s", root ? root : ".", folder, e->d_name);
		n += quiet(path);
	}
	closedir(d);
	return n;
}

static void answers_in_earnest_never_trip(void **state)
{
	assert_true(quiet_folder("tests/unit/data/answers", "") >= 13);
}

/* Prose, tables, C, SQL, JSON: as far from a model's answers as people's. */
static void neither_does_what_people_wrote(void **state)
{
	unsigned n = quiet_folder("docs", ".md") + quiet_folder("engine", ".c") + quiet_folder("llm", ".c") +
		     quiet_folder("store", ".c") + quiet_folder("migrations", ".sql") +
		     quiet_folder("tests/unit", ".c") + quiet_folder("examples", ".json") +
		     quiet_folder("api", ".json");
	assert_true(n > 100);
}

/* ---- size and speed ---- */

static struct sl_str prose(struct sl_buf *b, size_t bytes)
{
	static const char *const words[] = {"the",  "model", "weighs", "several", "sides", "of",   "one",  "question",
					    "then", "names", "what",   "follows", "from",  "each", "view", "plainly"};
	uint32_t x = 7;
	while (b->len < bytes) {
		x = x * 1664525u + 1013904223u;
		sl_buf_adds(b, words[x >> 28]);
		sl_buf_addc(b, x >> 20 & 15 ? ' ' : '\n');
	}
	return sl_buf_str(b);
}

static void three_times_the_estimate_is_too_much(void **state)
{
	struct sl_runaway_verdict v = {0};
	SL_BUF(b, 1 << 20);
	struct sl_str text = prose(&b, 40000); /* about 10,000 tokens */
	assert_int_equal(feed(text, 20, 50, 4000, &v), -1);
	long at = feed(text, 20, 50, 2000, &v);
	assert_in_range(at, 6000 * 4 - 400, 6000 * 4 + 800);
	assert_string_equal(v.reason, "TOKEN_SURGE");
	assert_true(v.limit == 6000 && v.measured > 6000 && v.measured < 6020);
	/* of a very short answer more than three times is no surge */
	assert_int_equal(feed(sl_str_n(text.p, 2800), 20, 50, 10, &v), -1);
}

static void thinking_is_allowed_for(void **state)
{
	struct sl_runaway_verdict v = {0};
	struct sl_runaway_stream s;
	SL_BUF(b, 1 << 20);
	struct sl_str text = prose(&b, 80000); /* 20,000 tokens */
	sl_runaway_stream_init(&s, &limits, 1000, 0);
	bool tripped = false;
	for (size_t at = 0; at + 100 <= text.len; at += 100)
		tripped = tripped || sl_runaway_feed(&s, true, sl_str_n(text.p + at, 100), at, &v);
	assert_false(tripped);
}

static void a_thousand_tokens_a_second_for_five_seconds_is_too_fast(void **state)
{
	struct sl_runaway_verdict v = {0};
	SL_BUF(b, 1 << 20);
	struct sl_str text = prose(&b, 60000); /* 15,000 tokens */
	assert_int_equal(feed(text, 40, 900, 100000, &v), -1);
	long at = feed(text, 40, 1500, 100000, &v);
	assert_string_equal(v.reason, "TOKEN_VELOCITY");
	assert_in_range(at, 5 * 1500 * 4 * 9 / 10, 5 * 1500 * 4 * 12 / 10); /* as soon as the window is full */
	assert_true(v.measured > 1000 && v.measured < 1800);
	/* a whole answer in one piece is no speed */
	assert_int_equal(feed(text, 60000, 50, 100000, &v), -1);
	/* four seconds of it, then a pause, then four again */
	struct sl_runaway_stream s;
	sl_runaway_stream_init(&s, &limits, 100000, 0);
	for (uint64_t ms = 0; ms < 14000; ms += 10)
		if (ms < 4000 || ms > 10000)
			assert_false(sl_runaway_feed(&s, false, sl_str_n(text.p + ms, 4 * 12), ms, &v));
}

static void what_is_turned_off_does_not_trip(void **state)
{
	struct sl_runaway_limits off = {0};
	struct sl_runaway_stream s;
	struct sl_runaway_verdict v = {0};
	sl_runaway_stream_init(&s, &off, 10, 0);
	for (uint64_t i = 0; i < 100000; i++)
		assert_false(sl_runaway_feed(&s, false, SL_STR("again "), i / 10, &v));
}

/* ---- outputs ---- */

static int outputs(const char *const *texts, size_t n, struct sl_runaway_verdict *v)
{
	static struct sl_runaway_outputs o;
	memset(&o, 0, sizeof(o));
	for (size_t i = 0; i < n; i++)
		if (sl_runaway_output(&o, &limits, sl_str(texts[i]), v))
			return (int)i;
	return -1;
}

#define LONG_ANSWER                                                                                                    \
	"The proposal has merit, but the figures in section two do not add up: the costs of the first year are "       \
	"counted "                                                                                                     \
	"twice, the savings are those of the best case, and nobody says who pays when the supplier is late. Before "   \
	"the "                                                                                                         \
	"board can decide, the team should give a range for each figure, name the assumption behind it, and say what " \
	"would have to be true for the whole thing to fail. I would also ask for a smaller first step, with a date "   \
	"at "                                                                                                          \
	"which it is judged, so that the decision can be taken back."

static void three_outputs_that_are_nearly_the_same_are_no_progress(void **state)
{
	struct sl_runaway_verdict v = {0};
	assert_int_equal(outputs((const char *const[]){LONG_ANSWER, LONG_ANSWER, LONG_ANSWER}, 3, &v), 2);
	assert_string_equal(v.reason, "LOOP_DETECTED");
	assert_true(v.measured >= 0.95 && v.measured <= 1.0);
	assert_int_equal(outputs((const char *const[]){LONG_ANSWER, LONG_ANSWER " Yes.", LONG_ANSWER}, 3, &v), 2);
	assert_int_equal(outputs((const char *const[]){LONG_ANSWER, LONG_ANSWER}, 2, &v), -1);
}

static void a_real_change_in_between_is_progress(void **state)
{
	struct sl_runaway_verdict v = {0};
	static const char *const texts[] = {LONG_ANSWER, LONG_ANSWER,
					    "Another answer, which says something else entirely.", LONG_ANSWER,
					    LONG_ANSWER};
	assert_int_equal(outputs(texts, 5, &v), -1);
	static const char *const grows[] = {
		LONG_ANSWER, LONG_ANSWER " A year has passed since the first draft, and the supplier was late twice.",
		LONG_ANSWER " A year has passed since the first draft, and the supplier was late twice. The board has "
			    "moved the date by a quarter, and asks for the smaller step that was proposed here."};
	assert_int_equal(outputs(grows, 3, &v), -1);
}

static void a_judge_may_say_no_three_times(void **state)
{
	struct sl_runaway_verdict v = {0};
	assert_int_equal(outputs((const char *const[]){"no", "no", "no", "no"}, 4, &v), -1);
	assert_int_equal(outputs((const char *const[]){"0", "0", "0"}, 3, &v), -1);
}

static void three_outputs_that_say_next_to_nothing_are_no_progress(void **state)
{
	struct sl_runaway_verdict v = {0};
	static const char *const texts[] = {"wait wait wait wait wait wait wait wait wait wait",
					    "hold hold hold hold hold hold hold hold hold hold hold",
					    "stop stop stop stop stop stop stop stop stop stop stop stop"};
	assert_int_equal(outputs(texts, 3, &v), 2);
	assert_string_equal(v.reason, "LOOP_DETECTED");
	assert_true(v.measured < 0.1);
	assert_true(sl_runaway_entropy(sl_str(LONG_ANSWER)) > 0.6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_of_one_to_eight_words_are_found_within_two_windows),
		cmocka_unit_test(loops_of_one_to_eight_lines_or_sentences_are_found_within_two_windows),
		cmocka_unit_test(a_loop_without_any_blank_is_found),
		cmocka_unit_test(answers_in_earnest_never_trip),
		cmocka_unit_test(neither_does_what_people_wrote),
		cmocka_unit_test(three_times_the_estimate_is_too_much),
		cmocka_unit_test(thinking_is_allowed_for),
		cmocka_unit_test(a_thousand_tokens_a_second_for_five_seconds_is_too_fast),
		cmocka_unit_test(what_is_turned_off_does_not_trip),
		cmocka_unit_test(three_outputs_that_are_nearly_the_same_are_no_progress),
		cmocka_unit_test(a_real_change_in_between_is_progress),
		cmocka_unit_test(a_judge_may_say_no_three_times),
		cmocka_unit_test(three_outputs_that_say_next_to_nothing_are_no_progress),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
