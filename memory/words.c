/* memory/words.c: see words.h. */
#include "memory/words.h"

/* One code point off the front; an invalid byte is one, too. */
static uint32_t take(struct sl_str *s)
{
	const unsigned char *p = (const unsigned char *)s->p;
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 1;
	uint32_t v = p[0];
	if (n > s->len)
		n = 1;
	if (n > 1) {
		v = p[0] & (0xffu >> (n + 1));
		for (size_t i = 1; i < n; i++)
			v = v << 6 | (p[i] & 0x3f);
	}
	s->p += n;
	s->len -= n;
	return v;
}

static bool ideograph(uint32_t c)
{
	return (c >= 0x3040 && c <= 0x30ff) || (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
	       (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x20000 && c <= 0x3ffff);
}

/* 0: no letter */
static uint32_t letter(uint32_t c)
{
	if (c < 0x80) {
		if (c >= 'A' && c <= 'Z')
			return c + 32;
		return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : 0;
	}
	if (c < 0xc0)
		return c == 0xaa || c == 0xb5 || c == 0xba ? c : 0;
	if ((c >= 0x2000 && c <= 0x2bff) || (c >= 0x3000 && c <= 0x303f) || (c >= 0xfe00 && c <= 0xfe6f) ||
	    (c >= 0xff00 && c <= 0xff0f) || (c >= 0xff1a && c <= 0xff20) || c == 0xd7 || c == 0xf7 || c == 0xfeff ||
	    c == 0xfffd)
		return 0;
	if ((c >= 0xc0 && c <= 0xde) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		return c + 32;
	if (c >= 0x400 && c <= 0x40f)
		return c + 80;
	if (c >= 0x100 && c <= 0x17f && c != 0x130 && c != 0x131 && c != 0x138 && c != 0x149 && c != 0x17f) {
		bool odd_is_small = (c < 0x139) || (c >= 0x14a && c < 0x178);
		return odd_is_small ? c | 1 : c == 0x178 ? 0xff : (c & 1) ? c + 1 : c;
	}
	return c;
}

bool sl_words_next(struct sl_str *rest, struct sl_word *out)
{
	out->n = 0;
	out->ideographs = false;
	while (rest->len && out->n < SL_WORD_POINTS) {
		struct sl_str before = *rest;
		uint32_t c = letter(take(rest));
		if (!c) {
			if (out->n)
				return true;
			continue;
		}
		bool ideographs = ideograph(c);
		if (out->n && ideographs != out->ideographs) { /* a change of script ends a word */
			*rest = before;
			return true;
		}
		out->ideographs = ideographs;
		out->points[out->n++] = c;
	}
	return out->n > 0;
}

size_t sl_words_count(struct sl_str text)
{
	struct sl_word w;
	size_t n = 0;
	while (sl_words_next(&text, &w))
		n += w.ideographs ? w.n : 1;
	return n;
}
