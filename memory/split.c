/* memory/split.c: see split.h. Characters are counted at their first bytes, so no character is ever cut. */
#include "memory/split.h"

static bool starts_char(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static bool blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Where the character `n` after `from` begins. */
static size_t forward(struct sl_str t, size_t from, size_t n)
{
	size_t i = from;
	while (i < t.len && n) {
		i++;
		while (i < t.len && !starts_char(t.p[i]))
			i++;
		n--;
	}
	return i;
}

static size_t backward(struct sl_str t, size_t from, size_t least, size_t n)
{
	size_t i = from;
	while (i > least && n) {
		i--;
		while (i > least && !starts_char(t.p[i]))
			i--;
		n--;
	}
	return i;
}

static bool ends_sentence(struct sl_str t, size_t i) /* i: just behind it */
{
	char c = t.p[i - 1];
	if (c == '\n')
		return true;
	if (i >= 3 && (unsigned char)t.p[i - 3] == 0xe3 && (unsigned char)t.p[i - 2] == 0x80 &&
	    (unsigned char)t.p[i - 1] == 0x82) /* the ideographic full stop */
		return true;
	return (c == '.' || c == '!' || c == '?') && i < t.len && blank(t.p[i]);
}

bool sl_split_next(struct sl_str text, size_t *at, struct sl_str *piece)
{
	size_t covered = *at, from = covered;
	while (covered < text.len && blank(text.p[covered]))
		covered++;
	if (covered == text.len) {
		*at = text.len;
		return false;
	}
	if (from) { /* begins in the one before, at a word */
		from = backward(text, *at, 0, SL_SPLIT_OVERLAP);
		while (from < *at && from > 0 && !blank(text.p[from - 1]))
			from = forward(text, from, 1);
	} else {
		from = covered;
	}
	while (from < covered && blank(text.p[from]))
		from++;
	size_t most = forward(text, from, SL_SPLIT_CHARS), end = most;
	if (most < text.len) {
		size_t word = 0, half = forward(text, from, SL_SPLIT_CHARS / 2);
		if (half < covered)
			half = covered;
		for (size_t i = most; i > half; i--) {
			if (ends_sentence(text, i)) {
				end = i;
				word = 0;
				break;
			}
			if (!word && (blank(text.p[i - 1]) || blank(text.p[i])))
				word = i;
		}
		if (word)
			end = word;
	}
	*at = end;
	while (end > from && blank(text.p[end - 1]))
		end--;
	*piece = sl_str_n(text.p + from, end - from);
	return true;
}
