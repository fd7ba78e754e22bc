/* memory/split.h: cuts a text into pieces that overlap, at the ends of sentences, else between words.
 * Thread    [any], pure
 */
#pragma once

#include "base/str.h"

#define SL_SPLIT_CHARS   500 /* the longest piece, in characters */
#define SL_SPLIT_OVERLAP 50  /* at most so much of a piece is the end of the one before */

/* Takes the next piece off a text: *at is where the last one ended (0 at first). false: there are no more. Pieces have
 * no blanks at their ends, none is empty, none ends inside a character, and together they hold every word of the text.
 */
bool sl_split_next(struct sl_str text, size_t *at, struct sl_str *piece);
