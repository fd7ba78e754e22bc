/* base/buf.c: see buf.h. */
#include "base/buf.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/utf8.h"

void sl_buf_init(struct sl_buf *b, size_t max_bytes)
{
	*b = (struct sl_buf){.max_bytes = max_bytes};
}

void sl_buf_fini(struct sl_buf *b)
{
	free(b->data);
	*b = (struct sl_buf){.max_bytes = b->max_bytes};
}

void sl_buf_reset(struct sl_buf *b)
{
	b->len = 0;
	b->failed = b->no_memory = false;
	if (b->data)
		b->data[0] = 0;
}

bool sl_buf_reserve(struct sl_buf *b, size_t more)
{
	size_t need;
	if (b->failed)
		return false;
	if (!sl_add_size(b->len, more, &need) || need > b->max_bytes) {
		b->failed = true;
		return false;
	}
	if (need + 1 <= b->cap)
		return true;
	size_t cap = b->cap ? b->cap : 128;
	while (cap < need + 1)
		cap = cap * 2;
	if (cap - 1 > b->max_bytes)
		cap = b->max_bytes + 1; /* so what fits into the memory is allowed */
	char *data = realloc(b->data, cap);
	if (!data) {
		b->failed = b->no_memory = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void sl_buf_add(struct sl_buf *b, const void *p, size_t len)
{
	if (!sl_buf_reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, p, len);
	b->len += len;
	b->data[b->len] = 0;
}

void sl_buf_addc(struct sl_buf *b, char c)
{
	if (b->failed || b->len + 1 >= b->cap) {
		sl_buf_add(b, &c, 1);
		return;
	}
	b->data[b->len++] = c;
	b->data[b->len] = 0;
}

void sl_buf_addf(struct sl_buf *b, const char *fmt, ...)
{
	char small[256];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->failed = true;
	} else if ((size_t)n < sizeof(small)) {
		sl_buf_add(b, small, (size_t)n);
	} else if (sl_buf_reserve(b, (size_t)n)) {
		va_start(ap, fmt);
		(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap); /* reserved above */
		va_end(ap);
		b->len += (size_t)n;
	}
}

void sl_buf_addu(struct sl_buf *b, uint64_t v)
{
	char digits[20];
	size_t i = sizeof(digits);
	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	sl_buf_add(b, digits + i, sizeof(digits) - i);
}

void sl_buf_addi(struct sl_buf *b, int64_t v)
{
	if (v < 0)
		sl_buf_addc(b, '-');
	sl_buf_addu(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void sl_buf_drop_front(struct sl_buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
	} else if (n) {
		memmove(b->data, b->data + n, b->len - n);
		b->len -= n;
	}
	if (b->data)
		b->data[b->len] = 0;
}

char *sl_buf_take(struct sl_buf *b)
{
	char *data = NULL;
	if (sl_buf_reserve(b, 0)) {
		data = b->data;
		data[b->len] = 0;
		b->data = NULL;
		b->len = b->cap = 0;
	}
	return data;
}

struct sl_bytes *sl_buf_bytes(struct sl_buf *b)
{
	if (b->failed)
		return NULL;
	struct sl_bytes *bytes = sl_bytes_new(b->data, b->len);
	if (bytes)
		sl_buf_reset(b);
	return bytes;
}

#define EACH_BYTE(c) (0x0101010101010101u * (c))
#define HIGH_BITS    EACH_BYTE(0x80u)

static uint64_t zero_bytes(uint64_t w) /* not 0 when there is one */
{
	return (w - EACH_BYTE(1u)) & ~w & HIGH_BITS;
}

/* How many bytes stand for themselves in JSON: ASCII without controls, quotes and backslashes. Eight at a time, so it
 * may be a few less. */
static size_t plain_prefix(const char *p, size_t len)
{
	size_t i = 0;
	for (uint64_t w; len - i >= 8; i += 8) {
		memcpy(&w, p + i, 8);
		uint64_t below_space = (w - EACH_BYTE(0x20u)) & ~w;
		if (((w | below_space) & HIGH_BITS) | zero_bytes(w ^ EACH_BYTE('"')) | zero_bytes(w ^ EACH_BYTE('\\')))
			return i;
	}
	while (i < len && (unsigned char)p[i] - 0x20u < 0x60u && p[i] != '"' && p[i] != '\\')
		i++;
	return i;
}

void sl_buf_json_str(struct sl_buf *b, struct sl_str s)
{
	static const char hex[] = "0123456789abcdef";
	if (!sl_buf_reserve(b, s.len + 2))
		return;
	size_t i = plain_prefix(s.p, s.len);
	b->data[b->len++] = '"';
	if (i)
		memcpy(b->data + b->len, s.p, i);
	b->len += i;
	b->data[b->len] = 0;
	while (i < s.len) {
		size_t ok = i + sl_utf8_prefix(s.p + i, s.len - i);
		while (i < ok) {
			size_t run = i;
			while (run < ok && (unsigned char)s.p[run] >= 0x20 && s.p[run] != '"' && s.p[run] != '\\')
				run++;
			sl_buf_add(b, s.p + i, run - i);
			i = run;
			if (i >= ok)
				break;
			unsigned char c = (unsigned char)s.p[i++];
			switch (c) {
			case '"':
				sl_buf_add(b, "\\\"", 2);
				break;
			case '\\':
				sl_buf_add(b, "\\\\", 2);
				break;
			case '\n':
				sl_buf_add(b, "\\n", 2);
				break;
			case '\r':
				sl_buf_add(b, "\\r", 2);
				break;
			case '\t':
				sl_buf_add(b, "\\t", 2);
				break;
			default:
				sl_buf_add(b, "\\u00", 4);
				sl_buf_addc(b, hex[c >> 4]);
				sl_buf_addc(b, hex[c & 15]);
			}
		}
		if (i < s.len) {
			sl_buf_add(b, "\xef\xbf\xbd", 3);
			i++;
		}
	}
	sl_buf_addc(b, '"');
}

void sl_buf_json_comma(struct sl_buf *b)
{
	char last = b->len ? b->data[b->len - 1] : '{';
	if (last != '{' && last != '[' && last != ',' && last != ':')
		sl_buf_addc(b, ',');
}

void sl_buf_json_key(struct sl_buf *b, const char *key)
{
	sl_buf_json_comma(b);
	sl_buf_json_str(b, sl_str(key));
	sl_buf_addc(b, ':');
}

void sl_buf_json_kstr(struct sl_buf *b, const char *key, struct sl_str s)
{
	sl_buf_json_key(b, key);
	sl_buf_json_str(b, s);
}

void sl_buf_json_kz(struct sl_buf *b, const char *key, const char *z)
{
	sl_buf_json_key(b, key);
	if (z)
		sl_buf_json_str(b, sl_str(z));
	else
		sl_buf_adds(b, "null");
}

void sl_buf_json_ku64(struct sl_buf *b, const char *key, uint64_t v)
{
	sl_buf_json_key(b, key);
	sl_buf_addu(b, v);
}

void sl_buf_json_ki64(struct sl_buf *b, const char *key, int64_t v)
{
	sl_buf_json_key(b, key);
	sl_buf_addi(b, v);
}

void sl_buf_json_kf64(struct sl_buf *b, const char *key, double v)
{
	sl_buf_json_key(b, key);
	if (isfinite(v))
		sl_buf_addf(b, "%.17g", v);
	else
		sl_buf_adds(b, "null");
}

void sl_buf_json_kbool(struct sl_buf *b, const char *key, bool v)
{
	sl_buf_json_key(b, key);
	sl_buf_adds(b, v ? "true" : "false");
}

void sl_buf_json_kraw(struct sl_buf *b, const char *key, struct sl_str json)
{
	sl_buf_json_key(b, key);
	if (json.len)
		sl_buf_add(b, json.p, json.len);
	else
		sl_buf_adds(b, "null");
}

void sl_buf_json_ktime(struct sl_buf *b, const char *key, int64_t wall_ms)
{
	char text[SL_TIME_TEXT_BYTES];
	sl_buf_json_key(b, key);
	if (wall_ms == 0) {
		sl_buf_adds(b, "null");
		return;
	}
	sl_time_format(wall_ms, text);
	sl_buf_json_str(b, sl_str(text));
}
