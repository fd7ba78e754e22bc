/* llm/url.h: http and https addresses, read strictly and written again in one form.
 *
 * Owns      the text of the address.
 * Thread    [any], pure.
 * Rule      what is dialled is what was read here: only the rewritten text goes to the HTTP client, so no two parsers
 *           can disagree about the host. Whatever is ambiguous is refused, not guessed: a user in front of the host,
 * odd forms of IP addresses (decimal, octal, hex, short, with a zone), letters outside ASCII in the host, a dot at its
 * end, backslashes, missing slashes.
 */
#pragma once

#include "base/buf.h"

#define SL_URL_HOST_BYTES 256

enum sl_url_flaw { SL_URL_FINE, SL_URL_FORM, SL_URL_SCHEME, SL_URL_USER, SL_URL_HOST, SL_URL_PORT };

struct sl_url {
	bool tls;     /* https */
	bool literal; /* the host is an IP address */
	bool v6;
	uint16_t port;
	char host[SL_URL_HOST_BYTES]; /* lower case; IPv6 in its shortest form, without brackets */
	struct sl_buf text;           /* scheme://host[:port]/path[?query], no fragment */
	size_t path;                  /* where the path begins in the text */
};

/* The flaw says what kind of thing is wrong, err explains it; SL_URL_FINE: *out is filled. Spaces around are dropped,
 * those inside path and query and letters outside ASCII there are percent-encoded. */
SL_MUST_USE enum sl_url_flaw sl_url_parse(struct sl_str text, struct sl_url *out, struct sl_error *err);
/* A reference as in a Location header, relative ones included; `base` may not be `out`. */
SL_MUST_USE enum sl_url_flaw sl_url_follow(const struct sl_url *base, struct sl_str reference, struct sl_url *out,
					   struct sl_error *err);
void sl_url_fini(struct sl_url *u); /* also of a zeroed one */
const char *sl_url_z(const struct sl_url *u);
bool sl_url_same_origin(const struct sl_url *a, const struct sl_url *b);
/* "host" of a host:port as operators write it: the same rules. false: it is no host. */
bool sl_url_host(struct sl_str text, char out[SL_URL_HOST_BYTES], struct sl_error *err);
