/* api/http1.h: HTTP/1.x requests, parsed: bytes in, a head and a body out. No sockets here.
 *
 * Owns      nothing: slices point into the bytes that were given.
 * Thread    [any]
 * Strict    where two parsers could disagree about the end of a request (bare LF, folded lines, space before a colon,
 * two lengths, a length beside chunks) the request is refused: a proxy in front must not be able to see it differently.
 */
#pragma once

#include "base/buf.h"
#include "base/limits.h"

enum sl_method { SL_GET, SL_HEAD, SL_POST, SL_PUT, SL_DELETE, SL_PATCH, SL_OPTIONS, SL_METHOD_OTHER };
const char *sl_method_name(enum sl_method m);

struct sl_http1_header {
	struct sl_str name, value; /* value without the blanks around it */
};

enum sl_http1_framing { SL_BODY_NONE, SL_BODY_LENGTH, SL_BODY_CHUNKED };

struct sl_http1_head {
	enum sl_method method;
	struct sl_str path;  /* as sent, percent-encoded, begins with '/' */
	struct sl_str query; /* as sent, without the '?' */
	struct sl_str host;  /* of the Host header, or of an absolute target */
	unsigned minor;      /* HTTP/1.minor */
	struct sl_http1_header headers[SL_LIMIT_HEADER_LINES];
	size_t n_headers;
	enum sl_http1_framing framing;
	uint64_t content_length;
	bool keep_alive;
	bool expect_continue;
	bool upgrade_websocket;
};

/* SL_OK: a whole head, *used bytes long (what was skipped before it included). SL_BUSY: more bytes are needed.
 * Anything else: *status is the HTTP status to refuse it with, after which the connection must be closed. */
SL_MUST_USE enum sl_code sl_http1_parse(struct sl_str in, struct sl_http1_head *out, size_t *used, int *status);
struct sl_str sl_http1_find(const struct sl_http1_head *h, const char *name); /* any case; empty: not there */

/* Does a comma-separated header value hold this token (any case, parameters ignored)? */
bool sl_http1_has_token(struct sl_str value, const char *token);

/* Takes the chunks apart. Zero it to begin. */
struct sl_http1_chunks {
	int state;
	unsigned digits;
	uint64_t remain;
	size_t line_bytes; /* of the present size line or of all trailers */
	bool done;
};

/* Reads up to in.len bytes: *used of them were eaten, and data (a slice of `in`, perhaps empty) is body. Call again
 * with the rest until done or nothing is left. SL_BAD_REQUEST: no chunked coding. */
SL_MUST_USE enum sl_code sl_http1_chunk(struct sl_http1_chunks *c, struct sl_str in, size_t *used, struct sl_str *data);

/* %XX (and '+' when asked) decoded into out, which has room for in.len bytes. false: a broken escape, or a NUL. */
enum sl_plus { SL_PLUS_KEPT, SL_PLUS_IS_SPACE };
bool sl_percent_decode(struct sl_str in, enum sl_plus plus, char *out, size_t *len);
