/* base/str.c: see str.h. */
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct sl_str sl_str_trim(struct sl_str s)
{
	while (s.len && strchr(" \t\r\n", s.p[0]) && s.p[0])
		s.p++, s.len--;
	while (s.len && strchr(" \t\r\n", s.p[s.len - 1]) && s.p[s.len - 1])
		s.len--;
	return s;
}

bool sl_str_cut(struct sl_str s, char at, struct sl_str *head, struct sl_str *tail)
{
	const char *p = s.len ? memchr(s.p, at, s.len) : NULL;
	if (!p)
		return false;
	*head = sl_str_n(s.p, (size_t)(p - s.p));
	*tail = sl_str_n(p + 1, s.len - head->len - 1);
	return true;
}

char *sl_str_dup(struct sl_str s)
{
	char *z = malloc(s.len + 1);
	if (!z)
		return NULL;
	if (s.len)
		memcpy(z, s.p, s.len);
	z[s.len] = 0;
	return z;
}

bool sl_str_u64(struct sl_str s, uint64_t *out)
{
	uint64_t v = 0;
	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

bool sl_str_i64(struct sl_str s, int64_t *out)
{
	uint64_t v;
	bool neg = s.len && s.p[0] == '-';
	if (neg)
		s.p++, s.len--;
	if (!sl_str_u64(s, &v) || v > (uint64_t)INT64_MAX)
		return false;
	*out = neg ? -(int64_t)v : (int64_t)v;
	return true;
}

bool sl_str_f64(struct sl_str s, double *out)
{
	char z[64];
	if (s.len == 0 || s.len >= sizeof(z) || !strchr("-0123456789", s.p[0]))
		return false;
	memcpy(z, s.p, s.len);
	z[s.len] = 0;
	char *end;
	errno = 0;
	double v = strtod(z, &end);
	if (*end || end != z + s.len || !isfinite(v) || strpbrk(z, "xX"))
		return false;
	*out = v;
	return true;
}

unsigned sl_str_distance(struct sl_str a, struct sl_str b)
{
	enum { MOST = 64 };
	unsigned row[MOST + 1];
	size_t la = a.len < MOST ? a.len : MOST, lb = b.len < MOST ? b.len : MOST;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diag = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned up = row[j];
			unsigned best = diag + (a.p[i - 1] != b.p[j - 1]);
			if (up + 1 < best)
				best = up + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			diag = up;
			row[j] = best;
		}
	}
	return row[lb];
}
