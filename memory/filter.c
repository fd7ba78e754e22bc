/* memory/filter.c: see filter.h. */
#include "memory/filter.h"

#include "memory/words.h"

#define FEW_WORDS    5  /* distinct ones; an ideographic character counts as one */
#define FEW_TRIGRAMS 20 /* less than these in 50 characters and more: it repeats itself */

static size_t chars(struct sl_str s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.len; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

const char *sl_filter(struct sl_str text, const struct sl_trigrams *t, double confidence)
{
	text = sl_str_trim(text);
	if (text.len == 0)
		return "empty";
	if (chars(text) < SL_FILTER_CHARS)
		return "too_short";
	if (sl_words_count(text) < FEW_WORDS || t->n < FEW_TRIGRAMS)
		return "trivial";
	if (!(confidence >= SL_FILTER_CONFIDENCE))
		return "low_confidence";
	return NULL;
}
