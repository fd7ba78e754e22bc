/* api/http1.c: see http1.h. One pass over the head once its end is there; the caller keeps the bytes together until
 * then. */
#include "api/http1.h"

static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", ""};

const char *sl_method_name(enum sl_method m)
{
	return names[m];
}

static bool is_token_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static struct sl_str trim_blanks(struct sl_str s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

struct sl_str sl_http1_find(const struct sl_http1_head *h, const char *name)
{
	for (size_t i = 0; i < h->n_headers; i++)
		if (sl_str_is_nocase(h->headers[i].name, name))
			return h->headers[i].value;
	return SL_STR("");
}

bool sl_http1_has_token(struct sl_str value, const char *token)
{
	while (value.len) {
		struct sl_str one, rest = SL_STR("");
		if (!sl_str_cut(value, ',', &one, &rest))
			one = value;
		value = rest;
		struct sl_str bare, params;
		if (!sl_str_cut(one, ';', &bare, &params))
			bare = one;
		if (sl_str_is_nocase(trim_blanks(bare), token))
			return true;
	}
	return false;
}

static enum sl_code refuse(int *status, int with)
{
	*status = with;
	return SL_BAD_REQUEST;
}

/* "GET /path?query HTTP/1.1" */
static enum sl_code parse_request_line(struct sl_str line, struct sl_http1_head *out, int *status)
{
	struct sl_str method, target, version;
	if (!sl_str_cut(line, ' ', &method, &line) || !sl_str_cut(line, ' ', &target, &version))
		return refuse(status, 400);
	if (method.len == 0 || method.len > 32)
		return refuse(status, 400);
	for (size_t i = 0; i < method.len; i++)
		if (!is_token_char((unsigned char)method.p[i]))
			return refuse(status, 400);
	if (!sl_str_is(version, "HTTP/1.1") && !sl_str_is(version, "HTTP/1.0"))
		return refuse(status, sl_str_starts(version, SL_STR("HTTP/")) ? 505 : 400);
	out->minor = version.p[7] == '1';
	out->method = SL_METHOD_OTHER;
	for (int m = SL_GET; m < SL_METHOD_OTHER; m++)
		if (sl_str_is(method, names[m]))
			out->method = (enum sl_method)m;
	for (size_t i = 0; i < target.len; i++)
		if ((unsigned char)target.p[i] <= 0x20 || (unsigned char)target.p[i] >= 0x7f || target.p[i] == '#')
			return refuse(status, 400);
	struct sl_str scheme = sl_str_starts(target, SL_STR("http://")) ? SL_STR("http://") : SL_STR("https://");
	if (sl_str_starts(target, scheme)) { /* the absolute form, as to a proxy */
		target = sl_str_n(target.p + scheme.len, target.len - scheme.len);
		const char *slash = memchr(target.p, '/', target.len);
		size_t host = slash ? (size_t)(slash - target.p) : target.len;
		out->host = sl_str_n(target.p, host);
		target = slash ? sl_str_n(slash, target.len - host) : SL_STR("/");
	}
	if (target.len == 0 || target.p[0] != '/')
		return refuse(status, 400);
	if (!sl_str_cut(target, '?', &out->path, &out->query)) {
		out->path = target;
		out->query = SL_STR("");
	}
	return SL_OK;
}

static enum sl_code parse_header(struct sl_str line, struct sl_http1_head *out, int *status)
{
	struct sl_str name, value;
	if (out->n_headers == SL_LIMIT_HEADER_LINES)
		return refuse(status, 431);
	if (!sl_str_cut(line, ':', &name, &value) || name.len == 0)
		return refuse(status, 400);
	for (size_t i = 0; i < name.len; i++)
		if (!is_token_char((unsigned char)name.p[i])) /* also a blank before the colon, and a folded line */
			return refuse(status, 400);
	value = trim_blanks(value);
	for (size_t i = 0; i < value.len; i++)
		if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
			return refuse(status, 400);
	out->headers[out->n_headers++] = (struct sl_http1_header){name, value};
	return SL_OK;
}

/* What the headers say about the connection and about the end of the body. */
static enum sl_code judge(struct sl_http1_head *out, int *status)
{
	unsigned hosts = 0, lengths = 0, codings = 0;
	bool close = false, keep = false, upgrade = false, websocket = false;
	struct sl_str host = SL_STR("");
	for (size_t i = 0; i < out->n_headers; i++) {
		struct sl_str n = out->headers[i].name, v = out->headers[i].value;
		if (sl_str_is_nocase(n, "host")) {
			hosts++;
			host = v;
		} else if (sl_str_is_nocase(n, "content-length")) {
			lengths++;
			if (!sl_str_u64(v, &out->content_length))
				return refuse(status, 400);
		} else if (sl_str_is_nocase(n, "transfer-encoding")) {
			codings++;
			if (!sl_str_is_nocase(v, "chunked"))
				return refuse(status, 501);
		} else if (sl_str_is_nocase(n, "connection")) {
			close = close || sl_http1_has_token(v, "close");
			keep = keep || sl_http1_has_token(v, "keep-alive");
			upgrade = upgrade || sl_http1_has_token(v, "upgrade");
		} else if (sl_str_is_nocase(n, "upgrade")) {
			websocket = websocket || sl_http1_has_token(v, "websocket");
		} else if (sl_str_is_nocase(n, "expect")) {
			if (!sl_str_is_nocase(v, "100-continue"))
				return refuse(status, 417);
			out->expect_continue = out->minor == 1;
		}
	}
	if (hosts > 1 || (hosts == 0 && out->minor == 1))
		return refuse(status, 400);
	if (out->host.len == 0)
		out->host = host;
	if (lengths > 1 || codings > 1 || (lengths && codings) || (codings && out->minor == 0))
		return refuse(status, 400);
	if (codings)
		out->framing = SL_BODY_CHUNKED;
	else if (lengths && out->content_length)
		out->framing = SL_BODY_LENGTH;
	out->keep_alive = !close && (out->minor == 1 || keep);
	out->upgrade_websocket = upgrade && websocket && out->method == SL_GET && out->minor == 1;
	return SL_OK;
}

enum sl_code sl_http1_parse(struct sl_str in, struct sl_http1_head *out, size_t *used, int *status)
{
	size_t begin = 0;
	while (begin < 4 && begin + 1 < in.len && in.p[begin] == '\r' && in.p[begin + 1] == '\n')
		begin += 2; /* empty lines before a request: some clients send them after a body */
	const char *text = in.p + begin;
	size_t room = in.len - begin;
	const char *end = room ? memmem(text, room, "\r\n\r\n", 4) : NULL;
	if ((!end && room > SL_LIMIT_HEADER_BYTES) || (end && (size_t)(end - text) > SL_LIMIT_HEADER_BYTES))
		return refuse(status, 431);
	if (!end) {
		/* Say no at once to what can never become a request, such as a TLS hello or bare line feeds. */
		if (room && !is_token_char((unsigned char)text[0]) && !(room == 1 && text[0] == '\r'))
			return refuse(status, 400);
		for (size_t i = 0; i < room; i++)
			if ((text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) || text[i] == '\0')
				return refuse(status, 400);
		return SL_BUSY;
	}
	out->host = SL_STR("");
	out->n_headers = 0;
	out->framing = SL_BODY_NONE;
	out->content_length = 0;
	out->expect_continue = false;
	struct sl_str rest = sl_str_n(text, (size_t)(end - text) + 2);
	for (bool first = true; rest.len; first = false) {
		const char *eol = memmem(rest.p, rest.len, "\r\n", 2);
		struct sl_str line = sl_str_n(rest.p, (size_t)(eol - rest.p));
		rest = sl_str_n(eol + 2, rest.len - line.len - 2);
		if (memchr(line.p, '\n', line.len) || memchr(line.p, '\r', line.len) || memchr(line.p, '\0', line.len))
			return refuse(status, 400);
		enum sl_code rc = first ? parse_request_line(line, out, status) : parse_header(line, out, status);
		if (rc != SL_OK)
			return rc;
	}
	*used = begin + (size_t)(end - text) + 4;
	return judge(out, status);
}

enum {
	AT_SIZE,
	AT_EXTENSION,
	AT_SIZE_LF,
	AT_DATA,
	AT_DATA_CR,
	AT_DATA_LF,
	AT_TRAILER,
	AT_TRAILER_LINE,
	AT_TRAILER_LF,
	AT_LAST_LF
};
#define CHUNK_LINE_BYTES   256
#define TRAILER_MOST_BYTES 8192

enum sl_code sl_http1_chunk(struct sl_http1_chunks *c, struct sl_str in, size_t *used, struct sl_str *data)
{
	size_t i = 0;
	*data = sl_str_n(in.p, 0);
	while (i < in.len && !c->done) {
		char ch = in.p[i];
		if (c->state != AT_DATA)
			c->line_bytes++;
		switch (c->state) {
		case AT_SIZE: {
			int v = hex_digit(ch);
			if (v >= 0) {
				if (++c->digits > 8)
					return SL_BAD_REQUEST;
				c->remain = c->remain * 16 + (unsigned)v;
				break;
			}
			if (c->digits == 0)
				return SL_BAD_REQUEST;
			if (ch == '\r')
				c->state = AT_SIZE_LF;
			else if (ch == ';' || ch == ' ' || ch == '\t')
				c->state = AT_EXTENSION;
			else
				return SL_BAD_REQUEST;
			break;
		}
		case AT_EXTENSION:
			if (ch == '\r')
				c->state = AT_SIZE_LF;
			else if (ch == '\n' || c->line_bytes > CHUNK_LINE_BYTES)
				return SL_BAD_REQUEST;
			break;
		case AT_SIZE_LF:
			if (ch != '\n')
				return SL_BAD_REQUEST;
			c->line_bytes = 0;
			c->state = c->remain ? AT_DATA : AT_TRAILER;
			break;
		case AT_DATA: {
			size_t n = in.len - i;
			if (n > c->remain)
				n = (size_t)c->remain;
			*data = sl_str_n(in.p + i, n);
			c->remain -= n;
			if (c->remain == 0)
				c->state = AT_DATA_CR;
			*used = i + n;
			return SL_OK;
		}
		case AT_DATA_CR:
			if (ch != '\r')
				return SL_BAD_REQUEST;
			c->state = AT_DATA_LF;
			break;
		case AT_DATA_LF:
			if (ch != '\n')
				return SL_BAD_REQUEST;
			c->state = AT_SIZE;
			c->digits = 0;
			c->line_bytes = 0;
			break;
		case AT_TRAILER: /* at the start of a line */
			c->state = ch == '\r' ? AT_LAST_LF : AT_TRAILER_LINE;
			if (ch == '\n')
				return SL_BAD_REQUEST;
			break;
		case AT_TRAILER_LINE: /* read and forgotten */
			if (ch == '\r')
				c->state = AT_TRAILER_LF;
			else if (ch == '\n' || c->line_bytes > TRAILER_MOST_BYTES)
				return SL_BAD_REQUEST;
			break;
		case AT_TRAILER_LF:
			if (ch != '\n')
				return SL_BAD_REQUEST;
			c->state = AT_TRAILER;
			break;
		case AT_LAST_LF:
			if (ch != '\n')
				return SL_BAD_REQUEST;
			c->done = true;
			break;
		}
		i++;
	}
	*used = i;
	return SL_OK;
}

bool sl_percent_decode(struct sl_str in, enum sl_plus plus, char *out, size_t *len)
{
	size_t n = 0;
	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];
		if (c == '%') {
			int hi = i + 2 < in.len ? hex_digit(in.p[i + 1]) : -1;
			int lo = hi >= 0 ? hex_digit(in.p[i + 2]) : -1;
			if (lo < 0)
				return false;
			c = (char)(hi * 16 + lo);
			i += 2;
		} else if (c == '+' && plus == SL_PLUS_IS_SPACE) {
			c = ' ';
		}
		if (c == '\0')
			return false;
		out[n++] = c;
	}
	*len = n;
	return true;
}
