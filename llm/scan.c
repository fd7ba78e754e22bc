/* llm/scan.c: see scan.h. Every function returns the position behind what it read, or NULL: not plain, or not JSON. */
#include "llm/scan.h"

struct scan {
	const char *end;
	enum sl_scan_kind kind;
	struct sl_str text;
	bool escapes;
	bool choices_seen, delta_seen;
};

static const char *scan_space(const struct scan *s, const char *p)
{
	while (p < s->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* p is behind the opening quote; the result is behind the closing one. */
static const char *scan_string(const struct scan *s, const char *p, struct sl_str *inside, bool *escapes)
{
	const char *begin = p;
	*escapes = false;
	while (p < s->end) {
		unsigned char c = (unsigned char)*p;
		if (c == '"') {
			*inside = sl_str_n(begin, (size_t)(p - begin));
			return p + 1;
		}
		if (c < 0x20)
			return NULL;
		if (c == '\\') {
			*escapes = true;
			if (++p == s->end)
				return NULL;
			if (*p == 'u') {
				if (s->end - p < 5)
					return NULL;
				for (int i = 1; i <= 4; i++)
					if (!strchr("0123456789abcdefABCDEF", p[i]) || p[i] == 0)
						return NULL;
				p += 4;
			} else if (!memchr("\"\\/bfnrt", *p, 8)) {
				return NULL;
			}
		}
		p++;
	}
	return NULL;
}

static const char *scan_number(const struct scan *s, const char *p)
{
	const char *begin;
	if (p < s->end && *p == '-')
		p++;
	begin = p;
	while (p < s->end && *p >= '0' && *p <= '9')
		p++;
	if (p == begin || (*begin == '0' && p - begin > 1) || p - begin > 18)
		return NULL; /* no number; or one that 64 bits may not hold, which is for the parser to say */
	if (p < s->end && *p == '.') {
		begin = ++p;
		while (p < s->end && *p >= '0' && *p <= '9')
			p++;
		if (p == begin)
			return NULL;
	}
	return p < s->end && (*p == 'e' || *p == 'E') ? NULL : p; /* exponents: let the parser */
}

static const char *scan_literal(const struct scan *s, const char *p, const char *word, size_t n)
{
	return (size_t)(s->end - p) >= n && memcmp(p, word, n) == 0 ? p + n : NULL;
}

static const char *scan_skip(const struct scan *s, const char *p, int depth);
static const char *scan_skip_list(const struct scan *s, const char *p, int depth, char close)
{
	struct sl_str k;
	bool e;
	p = scan_space(s, p);
	if (p < s->end && *p == close)
		return p + 1;
	while (p && p < s->end) {
		if (close == '}') {
			if (*p != '"' || !(p = scan_string(s, p + 1, &k, &e)))
				return NULL;
			p = scan_space(s, p);
			if (p == s->end || *p++ != ':')
				return NULL;
			p = scan_space(s, p);
		}
		if (!(p = scan_skip(s, p, depth)))
			return NULL;
		p = scan_space(s, p);
		if (p == s->end)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
		p = scan_space(s, p);
	}
	return NULL;
}

static const char *scan_skip(const struct scan *s, const char *p, int depth)
{
	struct sl_str k;
	bool e;
	if (p == s->end || depth > 16)
		return NULL;
	switch (*p) {
	case '"':
		return scan_string(s, p + 1, &k, &e);
	case '{':
		return scan_skip_list(s, p + 1, depth + 1, '}');
	case '[':
		return scan_skip_list(s, p + 1, depth + 1, ']');
	case 'n':
		return scan_literal(s, p, "null", 4);
	case 't':
		return scan_literal(s, p, "true", 4);
	case 'f':
		return scan_literal(s, p, "false", 5);
	default:
		return scan_number(s, p);
	}
}

typedef const char *scan_member_fn(struct scan *s, struct sl_str key, const char *p);

/* An object whose members go to fn. p is at '{'. */
static const char *scan_object(struct scan *s, const char *p, scan_member_fn *fn)
{
	struct sl_str key;
	bool e;
	if (p == s->end || *p != '{')
		return NULL;
	p = scan_space(s, p + 1);
	if (p < s->end && *p == '}')
		return p + 1;
	while (p < s->end) {
		if (*p != '"' || !(p = scan_string(s, p + 1, &key, &e)) || e)
			return NULL;
		p = scan_space(s, p);
		if (p == s->end || *p++ != ':')
			return NULL;
		if (!(p = fn(s, key, scan_space(s, p))))
			return NULL;
		p = scan_space(s, p);
		if (p == s->end)
			return NULL;
		if (*p == '}')
			return p + 1;
		if (*p++ != ',')
			return NULL;
		p = scan_space(s, p);
	}
	return NULL;
}

static bool is_null(const struct scan *s, const char *p)
{
	return p < s->end && *p == 'n';
}

static const char *scan_delta(struct scan *s, struct sl_str key, const char *p)
{
	enum sl_scan_kind kind = SL_SCAN_OTHER;
	if (sl_str_is(key, "role") || is_null(s, p))
		return scan_skip(s, p, 3);
	if (sl_str_is(key, "content"))
		kind = SL_SCAN_TEXT;
	else if (sl_str_is(key, "reasoning_content") || sl_str_is(key, "reasoning"))
		kind = SL_SCAN_THINKING;
	if (kind == SL_SCAN_OTHER || s->kind != SL_SCAN_OTHER || p == s->end || *p != '"')
		return NULL;
	s->kind = kind;
	return scan_string(s, p + 1, &s->text, &s->escapes);
}

static const char *scan_choice(struct scan *s, struct sl_str key, const char *p)
{
	if (sl_str_is(key, "delta")) {
		if (s->delta_seen)
			return NULL;
		s->delta_seen = true;
		return scan_object(s, p, scan_delta);
	}
	if (sl_str_is(key, "index"))
		return p < s->end && *p == '0' ? scan_skip(s, p, 2) : NULL;
	if (sl_str_is(key, "logprobs"))
		return scan_skip(s, p, 2);
	return is_null(s, p) ? scan_skip(s, p, 2) : NULL; /* finish_reason, error, … that say something */
}

static const char *scan_top(struct scan *s, struct sl_str key, const char *p)
{
	if (sl_str_is(key, "choices")) {
		if (s->choices_seen || p == s->end || *p != '[')
			return NULL;
		s->choices_seen = true;
		p = scan_object(s, scan_space(s, p + 1), scan_choice);
		if (!p)
			return NULL;
		p = scan_space(s, p);
		return p < s->end && *p == ']' ? p + 1 : NULL;
	}
	if (sl_str_is(key, "error") || sl_str_is(key, "usage") || sl_str_is(key, "x_groq"))
		return is_null(s, p) ? scan_skip(s, p, 1) : NULL;
	return scan_skip(s, p, 1);
}

enum sl_scan_kind sl_scan_chunk(struct sl_str json, struct sl_str *escaped, bool *has_escapes)
{
	struct scan s = {.end = json.p + json.len};
	const char *p = scan_object(&s, scan_space(&s, json.p), scan_top);
	if (!p || scan_space(&s, p) != s.end || !s.delta_seen)
		return SL_SCAN_OTHER;
	*escaped = s.text;
	*has_escapes = s.escapes;
	return s.kind;
}

static uint32_t hex4(const char *p)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) {
		unsigned char c = (unsigned char)p[i];
		v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
	}
	return v;
}

static void add_utf8(struct sl_buf *out, uint32_t c)
{
	char t[4];
	size_t n = 0;
	if (c < 0x80) {
		t[n++] = (char)c;
	} else if (c < 0x800) {
		t[n++] = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		t[n++] = (char)(0xe0 | c >> 12);
		t[n++] = (char)(0x80 | (c >> 6 & 63));
	} else {
		t[n++] = (char)(0xf0 | c >> 18);
		t[n++] = (char)(0x80 | (c >> 12 & 63));
		t[n++] = (char)(0x80 | (c >> 6 & 63));
	}
	if (c >= 0x80)
		t[n++] = (char)(0x80 | (c & 63));
	sl_buf_add(out, t, n);
}

void sl_scan_unescape(struct sl_str in, struct sl_buf *out)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	for (size_t i = 0; i < in.len;) {
		const char *back = memchr(in.p + i, '\\', in.len - i);
		size_t n = back ? (size_t)(back - in.p) - i : in.len - i;
		sl_buf_add(out, in.p + i, n);
		i += n;
		if (!back)
			break;
		char c = in.p[i + 1];
		const char *f = strchr(from, c);
		i += 2;
		if (c != 'u') {
			sl_buf_addc(out, f && c ? to[f - from] : c);
			continue;
		}
		uint32_t u = hex4(in.p + i);
		i += 4;
		if (u >= 0xd800 && u < 0xdc00 && in.len - i >= 6 && in.p[i] == '\\' && in.p[i + 1] == 'u') {
			uint32_t low = hex4(in.p + i + 2);
			if (low >= 0xdc00 && low < 0xe000) {
				u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
				i += 6;
			}
		}
		add_utf8(out, u >= 0xd800 && u < 0xe000 ? 0xfffd : u);
	}
}
