/* memory/words.h: a text as words: runs of letters and digits, in small letters.
 *
 * Thread    [any]
 * Letters   ASCII, and whatever is above it but spaces and punctuation; Latin, Greek and Cyrillic capitals become
 * small.
 */
#pragma once

#include "base/str.h"

#define SL_WORD_POINTS 64

struct sl_word {
	uint32_t points[SL_WORD_POINTS]; /* code points; a longer run comes in pieces */
	size_t n;
	bool ideographs; /* of a script that writes no spaces: every character counts */
};

/* Takes the next word off `rest`; false: there is none. */
bool sl_words_next(struct sl_str *rest, struct sl_word *out);
size_t sl_words_count(struct sl_str text); /* words; of an ideographic run, its characters */
