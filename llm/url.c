/* llm/url.c: see url.h. */
#include "llm/url.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/limits.h"
#include "llm/address.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}
static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f');
}
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Would somebody's parser take this label at the end of a host for a number, and so the host for an IPv4 address? */
static bool looks_numeric(const char *label)
{
	const char *p = label;
	if (p[0] == '0' && p[1] == 'x')
		for (p += 2; is_hex(*p); p++) {
		}
	else
		for (; is_digit(*p); p++) {
		}
	return *p == 0;
}

static enum sl_url_flaw read_v6(struct sl_str inner, struct sl_url *u, struct sl_error *err)
{
	struct sl_address a;
	char text[SL_ADDRESS_TEXT_BYTES];
	if (inner.len >= sizeof(text)) {
		(void)sl_fail(err, SL_INVALID, "the IPv6 address in [ ] is too long");
		return SL_URL_HOST;
	}
	memcpy(text, inner.p, inner.len);
	text[inner.len] = 0;
	if (memchr(text, '%', inner.len)) {
		(void)sl_fail(err, SL_INVALID, "an IPv6 address with a zone cannot be used");
		return SL_URL_HOST;
	}
	if (strlen(text) != inner.len || !sl_address_parse(text, 0, &a) || a.any.sa_family != AF_INET6) {
		(void)sl_fail(err, SL_INVALID, "what stands in [ ] is no IPv6 address");
		return SL_URL_HOST;
	}
	sl_address_text(&a, u->host);
	u->literal = u->v6 = true;
	return SL_URL_FINE;
}

static enum sl_url_flaw read_name(struct sl_str name, struct sl_url *u, struct sl_error *err)
{
	size_t label = 0;
	if (name.len == 0 || name.len > 253) {
		(void)sl_fail(err, SL_INVALID, name.len ? "the host's name is too long" : "there is no host");
		return SL_URL_HOST;
	}
	for (size_t i = 0; i < name.len; i++) {
		char c = lower(name.p[i]);
		bool fine = is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
		if (!fine) {
			(void)sl_fail(err, SL_INVALID,
				      (unsigned char)c >= 0x80 ? "write the host in its ASCII form (xn--…)"
							       : "a character that no host name has");
			return SL_URL_HOST;
		}
		u->host[i] = c;
	}
	u->host[name.len] = 0;
	for (size_t i = 0; i <= name.len; i++) {
		if (u->host[i] != '.' && u->host[i])
			continue;
		size_t len = i - label;
		if (len == 0 || len > 63 || u->host[label] == '-' || u->host[i - 1] == '-') {
			(void)sl_fail(err, SL_INVALID,
				      i == name.len && len == 0 ? "the host ends in a dot: leave it out"
								: "the parts of a host's name have 1 to 63 characters");
			return SL_URL_HOST;
		}
		if (i < name.len)
			label = i + 1;
	}
	if (looks_numeric(u->host + label)) {
		struct sl_address a;
		if (!sl_address_parse(u->host, 0, &a) || a.any.sa_family != AF_INET) {
			(void)sl_fail(err, SL_INVALID,
				      "write an IPv4 address as four decimal numbers, without leading zeros");
			return SL_URL_HOST;
		}
		u->literal = true;
	}
	return SL_URL_FINE;
}

static enum sl_url_flaw read_host(struct sl_str host, struct sl_url *u, struct sl_error *err)
{
	u->literal = u->v6 = false;
	if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		return read_v6(sl_str_n(host.p + 1, host.len - 2), u, err);
	return read_name(host, u, err);
}

bool sl_url_host(struct sl_str text, char out[SL_URL_HOST_BYTES], struct sl_error *err)
{
	struct sl_url u = {0};
	bool fine = read_host(text, &u, err) == SL_URL_FINE;
	if (fine)
		memcpy(out, u.host, SL_URL_HOST_BYTES);
	return fine;
}

static enum sl_url_flaw read_authority(struct sl_str authority, struct sl_url *u, struct sl_error *err)
{
	struct sl_str host = authority, port = {0};
	for (size_t i = 0; i < authority.len; i++) {
		if (authority.p[i] == '@') {
			(void)sl_fail(err, SL_INVALID,
				      "an address with a user in it cannot be used: send an Authorization header");
			return SL_URL_USER;
		}
		if (authority.p[i] == '\\') {
			(void)sl_fail(err, SL_INVALID, "a backslash in the host");
			return SL_URL_HOST;
		}
	}
	const char *bracket = authority.len && authority.p[0] == '[' ? memchr(authority.p, ']', authority.len) : NULL;
	size_t from = bracket ? (size_t)(bracket - authority.p) + 1 : 0;
	for (size_t i = from; i < authority.len; i++)
		if (authority.p[i] == ':') {
			host = sl_str_n(authority.p, i);
			port = sl_str_n(authority.p + i + 1, authority.len - i - 1);
			break;
		}
	u->port = u->tls ? 443 : 80;
	if (port.p) {
		uint64_t n = 0;
		if (memchr(port.p, ':', port.len)) {
			(void)sl_fail(err, SL_INVALID, "write an IPv6 address in [ ]");
			return SL_URL_HOST;
		}
		if (port.len == 0 || port.len > 5 || port.p[0] == '0' || !sl_str_u64(port, &n) || n > 65535) {
			(void)sl_fail(err, SL_INVALID, "the port is no number from 1 to 65535");
			return SL_URL_PORT;
		}
		u->port = (uint16_t)n;
	}
	return read_host(host, u, err);
}

/* Path and query as they will be sent. */
static void write_target(struct sl_buf *b, struct sl_str target)
{
	static const char odd[] = " \"<>\\^`{|}";
	for (size_t i = 0; i < target.len && target.p[i] != '#'; i++) {
		unsigned char c = (unsigned char)target.p[i];
		if (c >= 0x80 || strchr(odd, c))
			sl_buf_addf(b, "%%%02X", c);
		else
			sl_buf_addc(b, (char)c);
	}
}

static enum sl_url_flaw refuse_form(struct sl_error *err, const char *why)
{
	(void)sl_fail(err, SL_INVALID, "%s", why);
	return SL_URL_FORM;
}

static enum sl_url_flaw check_bytes(struct sl_str text, struct sl_error *err)
{
	if (text.len == 0)
		return refuse_form(err, "the address is empty");
	if (text.len > SL_LIMIT_URL_BYTES)
		return refuse_form(err, "the address is too long");
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.p[i] < ' ' || text.p[i] == 127)
			return refuse_form(err, "a control character in the address");
	return SL_URL_FINE;
}

static size_t scheme_length(struct sl_str text) /* 0: it has none */
{
	size_t n = 0;
	while (n < text.len) {
		char c = lower(text.p[n]);
		if (c == ':')
			return n;
		if (!((c >= 'a' && c <= 'z') || (n && (is_digit(c) || c == '+' || c == '-' || c == '.'))))
			return 0;
		n++;
	}
	return 0;
}

enum sl_url_flaw sl_url_parse(struct sl_str text, struct sl_url *out, struct sl_error *err)
{
	*out = (struct sl_url){0};
	text = sl_str_trim(text);
	enum sl_url_flaw flaw = check_bytes(text, err);
	if (flaw != SL_URL_FINE)
		return flaw;
	size_t n = scheme_length(text);
	struct sl_str scheme = sl_str_n(text.p, n);
	out->tls = sl_str_is_nocase(scheme, "https");
	if (!out->tls && !sl_str_is_nocase(scheme, "http")) {
		(void)sl_fail(err, SL_INVALID,
			      n ? "only http and https addresses are used"
				: "an address begins with https:// or http://");
		return SL_URL_SCHEME;
	}
	struct sl_str rest = sl_str_n(text.p + n + 1, text.len - n - 1);
	if (rest.len < 3 || rest.p[0] != '/' || rest.p[1] != '/' || rest.p[2] == '/')
		return refuse_form(err, "after the scheme come two slashes and the host");
	rest = sl_str_n(rest.p + 2, rest.len - 2);
	size_t end = 0;
	while (end < rest.len && !strchr("/?#", rest.p[end]))
		end++;
	flaw = read_authority(sl_str_n(rest.p, end), out, err);
	if (flaw != SL_URL_FINE)
		return flaw;
	sl_buf_init(&out->text, SL_LIMIT_URL_BYTES); /* as it is sent, encoded */
	sl_buf_addf(&out->text, out->v6 ? "%s://[%s]" : "%s://%s", out->tls ? "https" : "http", out->host);
	if (out->port != (out->tls ? 443 : 80))
		sl_buf_addf(&out->text, ":%u", out->port);
	out->path = out->text.len;
	struct sl_str target = sl_str_n(rest.p + end, rest.len - end);
	if (target.len == 0 || target.p[0] != '/')
		sl_buf_addc(&out->text, '/');
	write_target(&out->text, target);
	if (out->text.failed) {
		sl_url_fini(out);
		return refuse_form(err, "no memory for the address, or it is too long");
	}
	return SL_URL_FINE;
}

enum sl_url_flaw sl_url_follow(const struct sl_url *base, struct sl_str reference, struct sl_url *out,
			       struct sl_error *err)
{
	SL_BUF(whole, 4 * SL_LIMIT_URL_BYTES);
	struct sl_str text = sl_str_trim(reference),
		      path = sl_str_n(base->text.data + base->path, base->text.len - base->path);
	*out = (struct sl_url){0};
	enum sl_url_flaw flaw = check_bytes(text, err);
	if (flaw != SL_URL_FINE)
		return flaw;
	if (scheme_length(text))
		return sl_url_parse(text, out, err);
	if (text.p[0] == '\\' || (text.len > 1 && text.p[0] == '/' && text.p[1] == '\\'))
		return refuse_form(err, "a backslash where the host might begin");
	if (sl_str_starts(text, SL_STR("//"))) {
		sl_buf_adds(&whole, base->tls ? "https:" : "http:");
	} else {
		sl_buf_add(&whole, base->text.data, base->path);
		size_t query = 0;
		while (query < path.len && path.p[query] != '?')
			query++;
		size_t keep = query; /* "?x" and "#x" keep the path */
		if (text.p[0] == '/')
			keep = 0;
		else if (text.p[0] == '#')
			keep = path.len;
		else if (text.p[0] != '?')
			while (keep && path.p[keep - 1] != '/')
				keep--;
		sl_buf_add(&whole, path.p, keep);
	}
	sl_buf_add(&whole, text.p, text.len);
	if (whole.failed)
		return refuse_form(err, "the address is too long");
	return sl_url_parse(sl_buf_str(&whole), out, err);
}

void sl_url_fini(struct sl_url *u)
{
	sl_buf_fini(&u->text);
}

const char *sl_url_z(const struct sl_url *u)
{
	return u->text.data ? u->text.data : "";
}

bool sl_url_same_origin(const struct sl_url *a, const struct sl_url *b)
{
	return a->tls == b->tls && a->port == b->port && strcmp(a->host, b->host) == 0;
}
