/* base/utf8.c: see utf8.h. Table 3-7 of the Unicode standard, as ranges for the second byte. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes the character at p takes; 0 when invalid; -1 when the text ends inside an otherwise valid character. */
static int char_len(const unsigned char *p, size_t len)
{
	unsigned char c = p[0];
	unsigned char lo = 0x80, hi = 0xbf;
	int n;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf) {
		n = 2;
	} else if (c >= 0xe0 && c <= 0xef) {
		n = 3;
		if (c == 0xe0)
			lo = 0xa0;
		else if (c == 0xed)
			hi = 0x9f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		n = 4;
		if (c == 0xf0)
			lo = 0x90;
		else if (c == 0xf4)
			hi = 0x8f;
	} else {
		return 0;
	}
	for (int i = 1; i < n; i++) {
		if ((size_t)i >= len)
			return -1;
		if (p[i] < lo || p[i] > hi)
			return 0;
		lo = 0x80, hi = 0xbf;
	}
	return n;
}

size_t sl_utf8_prefix(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0;
	while (i < len) {
		if (len - i >= 8) { /* eight ASCII bytes at a time: most text is */
			uint64_t w;
			memcpy(&w, p + i, 8);
			if (!(w & 0x8080808080808080u)) {
				i += 8;
				continue;
			}
		}
		int n = p[i] < 0x80 ? 1 : char_len(p + i, len - i);
		if (n <= 0)
			break;
		i += (size_t)n;
	}
	return i;
}

bool sl_utf8_valid(const char *p, size_t len)
{
	return sl_utf8_prefix(p, len) == len;
}

bool sl_utf8_tail_incomplete(const char *p, size_t len)
{
	return len > 0 && len < 4 && char_len((const unsigned char *)p, len) == -1;
}

size_t sl_utf8_cut(const char *p, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)p[max] & 0xc0) == 0x80)
		max--;
	return max;
}

void sl_utf8_make_valid(char *p, size_t *len)
{
	size_t i = 0;
	while (i < *len) {
		i += sl_utf8_prefix(p + i, *len - i);
		if (i >= *len)
			break;
		if (sl_utf8_tail_incomplete(p + i, *len - i)) {
			*len = i;
			break;
		}
		p[i++] = '?';
	}
}
