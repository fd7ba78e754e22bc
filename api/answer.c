/* api/answer.c: the ways a request is answered. Every answer carries the same security headers; the policy for pages
 * allows what the built UI needs: its own files, and styles set by script for positions on the canvas. */
#include <stdio.h>
#include <stdlib.h>

#include "api/server_priv.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

static const char security_headers[] =
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
	"connect-src 'self'; font-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action "
	"'self'; require-trusted-types-for 'script'\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"X-Frame-Options: DENY\r\n"
	"Cross-Origin-Opener-Policy: same-origin\r\n"
	"Cross-Origin-Resource-Policy: same-origin\r\n"
	"Referrer-Policy: no-referrer\r\n";

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{304, "Not Modified"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{415, "Unsupported Media Type"},
		{417, "Expectation Failed"},
		{421, "Misdirected Request"},
		{422, "Unprocessable Content"},
		{426, "Upgrade Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Status";
}

static void head_begin(struct sl_buf *b, struct sl_server *s, int status, const char *request_id)
{
	s->stats.answers[status / 100 < 6 ? status / 100 : 5]++;
	sl_buf_addf(b, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
	sl_buf_add(b, security_headers, sizeof(security_headers) - 1);
	if (s->tls)
		sl_buf_adds(b, "Strict-Transport-Security: max-age=31536000\r\n");
	if (request_id)
		sl_buf_addf(b, "X-Request-Id: %s\r\n", request_id);
}

static void log_answer(const struct sl_request *r, int status)
{
	struct sl_str path = r->head.path; /* never the query: it may hold a ticket */
	sl_log(SL_LOG_DEBUG, "api", "answered", SL_KS("method", sl_method_name(r->head.method)), SL_KSTR("path", path),
	       SL_KU("status", status), SL_KS("request_id", r->id), SL_KS("peer", r->peer));
}

/* False: nobody is there any more, or an answer was given already. */
static bool may_answer(struct sl_request *r)
{
	if (!r->conn || r->conn->state == CONN_CLOSED)
		return false;
	return SL_EXPECT(!r->answered);
}

static void send_answer(struct sl_request *r, int status, const char *type, struct sl_str body, enum conn_body how,
			struct sl_bytes *keep)
{
	if (!may_answer(r))
		return;
	struct sl_conn *c = r->conn;
	bool no_body = status == 204 || status == 304;
	SL_BUF(head, 16 << 10);
	head_begin(&head, r->server, status, r->id);
	if (!no_body)
		sl_buf_addf(&head, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body.len);
	if (r->extra.len)
		sl_buf_add(&head, r->extra.data, r->extra.len);
	if (c->close_after || c->server->draining)
		sl_buf_adds(&head, "Connection: close\r\n");
	else if (r->head.minor == 0)
		sl_buf_adds(&head, "Connection: keep-alive\r\n");
	sl_buf_adds(&head, "\r\n");
	r->answered = true;
	r->on_gone = NULL;
	log_answer(r, status);
	if (r->server->config.answered)
		r->server->config.answered(r->server->config.ctx, r, status, sl_clock_mono_us() - r->began_us);
	if (head.failed || r->extra.failed) {
		conn_close(c);
		return;
	}
	if (c->server->draining)
		c->close_after = true;
	if (no_body || r->head.method == SL_HEAD)
		body.len = 0;
	conn_write(c, sl_buf_str(&head), body, how, keep);
	conn_answered(c);
}

void sl_answer_header(struct sl_request *r, const char *name, struct sl_str value)
{
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
			return;
	sl_buf_addf(&r->extra, "%s: " SL_STR_FMT "\r\n", name, SL_STR_ARG(value));
}

void sl_answer_json(struct sl_request *r, int status, struct sl_bytes *json)
{
	SL_AUTO(sl_bytes) body = json;
	if (!body)
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
	else
		send_answer(r, status, "application/json", sl_bytes_str(body), CONN_KEEP, body);
}

void sl_answer_buf(struct sl_request *r, int status, struct sl_buf *json)
{
	sl_answer_json(r, status, sl_buf_bytes(json));
}

void sl_answer_empty(struct sl_request *r, int status)
{
	send_answer(r, status, "text/plain", SL_STR(""), CONN_STABLE, NULL);
}

void sl_answer_bytes(struct sl_request *r, int status, const char *type, struct sl_str body, enum sl_answer_bytes how)
{
	send_answer(r, status, type, body, how == SL_BYTES_STABLE ? CONN_STABLE : CONN_COPY, NULL);
}

static void problem_body(struct sl_buf *b, int status, enum sl_code code, struct sl_str detail, struct sl_str errors,
			 uint32_t retry_after_ms, struct sl_str members, const char *request_id)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "type", "about:blank");
	sl_buf_json_kz(b, "title", reason_of(status));
	sl_buf_json_ku64(b, "status", (uint64_t)status);
	sl_buf_json_kz(b, "code", sl_code_wire(code));
	if (detail.len)
		sl_buf_json_kstr(b, "detail", detail);
	if (errors.len) {
		sl_buf_json_key(b, "errors");
		sl_buf_addf(b, "[" SL_STR_FMT "]", SL_STR_ARG(errors));
	}
	if (retry_after_ms)
		sl_buf_json_kf64(b, "retry_after", retry_after_ms / 1000.0);
	if (members.len) {
		sl_buf_json_comma(b);
		sl_buf_add(b, members.p, members.len);
	}
	if (request_id)
		sl_buf_json_kz(b, "request_id", request_id);
	sl_buf_addc(b, '}');
}

void sl_openai_error(struct sl_buf *b, int status, enum sl_code code, struct sl_str message, struct sl_str errors)
{
	const char *type = status == 401   ? "authentication_error"
			   : status == 403 ? "permission_error"
			   : status == 429 ? "rate_limit_error"
			   : status < 500  ? "invalid_request_error"
					   : "server_error";
	SL_AUTO_JSON all = NULL;
	SL_BUF(array, 1 << 20);
	sl_buf_addf(&array, "[" SL_STR_FMT "]", SL_STR_ARG(errors));
	if (errors.len)
		SL_IGNORE(sl_json_parse(sl_buf_str(&array), &all, NULL)); /* without it there is no param */
	struct json_object *first = all && json_object_array_length(all) ? json_object_array_get_idx(all, 0) : NULL;
	sl_buf_adds(b, "{\"error\":{");
	SL_BUF(text, SL_ERROR_TEXT_BYTES + 1024);
	sl_buf_add(&text, message.p, message.len);
	if (first)
		sl_buf_addf(&text, "%s%s: %s", text.len ? ": " : "", sl_json_get_z(first, "pointer"),
			    sl_json_get_z(first, "message"));
	sl_buf_json_kstr(b, "message", text.len && !text.failed ? sl_buf_str(&text) : sl_str(reason_of(status)));
	sl_buf_json_kz(b, "type", type);
	sl_buf_json_kz(b, "param", first ? sl_json_get_z(first, "pointer") : NULL);
	sl_buf_json_kz(b, "code", sl_code_wire(code));
	sl_buf_adds(b, "}}");
}

void sl_answer_problem_with(struct sl_request *r, int status, enum sl_code code, struct sl_str detail,
			    struct sl_str errors, uint32_t retry_after_ms, struct sl_str members)
{
	SL_BUF(body, 1 << 20);
	if (!r->conn)
		return;
	bool openai = sl_str_starts(r->head.path, SL_STR("/v1/"));
	if (openai)
		sl_openai_error(&body, status, code, detail, errors);
	else
		problem_body(&body, status, code, detail, errors, retry_after_ms, members, r->id);
	if (retry_after_ms) {
		char text[16];
		int n = snprintf(text, sizeof(text), "%u", (retry_after_ms + 999) / 1000);
		sl_answer_header(r, "Retry-After", sl_str_n(text, (size_t)n));
	}
	if (status == 401)
		sl_answer_header(r, "WWW-Authenticate", SL_STR("Bearer realm=\"sluice\""));
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	send_answer(r, status, openai ? "application/json" : "application/problem+json",
		    body.failed ? SL_STR("{}") : sl_buf_str(&body), CONN_COPY, NULL);
}

static uint32_t retry_hint(enum sl_code code, uint32_t given_ms)
{
	if (given_ms)
		return given_ms;
	return sl_code_http(code) == 503 || sl_code_http(code) == 429 ? 1000 : 0;
}

void sl_answer_problem(struct sl_request *r, enum sl_code code, const char *fmt, ...)
{
	char text[SL_ERROR_TEXT_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	sl_answer_problem_with(r, sl_code_http(code), code, sl_str_n(text, len), SL_STR(""), retry_hint(code, 0),
			       SL_STR(""));
}

void sl_answer_error(struct sl_request *r, enum sl_code code, const struct sl_error *err)
{
	sl_answer_problem_with(r, sl_code_http(code), code, err ? sl_str(err->text) : SL_STR(""), SL_STR(""),
			       retry_hint(code, err ? err->retry_after_ms : 0), SL_STR(""));
}

void answer_refuse(struct sl_conn *c, int status, enum sl_code code, const char *detail)
{
	SL_BUF(out, 16 << 10);
	SL_BUF(body, 4 << 10);
	problem_body(&body, status, code, sl_str(detail), SL_STR(""), status == 503 ? 1000 : 0, SL_STR(""), NULL);
	head_begin(&out, c->server, status, NULL);
	sl_buf_addf(&out,
		    "Content-Type: application/problem+json\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n",
		    body.len);
	if (status == 503)
		sl_buf_adds(&out, "Retry-After: 1\r\n");
	sl_buf_adds(&out, "Connection: close\r\n\r\n");
	sl_buf_add(&out, body.data, body.len);
	c->close_after = true;
	if (out.failed || body.failed) {
		conn_close(c);
		return;
	}
	conn_write(c, sl_buf_str(&out), SL_STR(""), CONN_COPY, NULL);
	conn_answered(c);
}

/* ---- streams ---- */

#define STREAM_FULL_BYTES (128u << 10) /* unsent; above it a stream waits */

void sl_answer_stream(struct sl_request *r, int status, const char *type)
{
	if (!may_answer(r))
		return;
	struct sl_conn *c = r->conn;
	SL_BUF(head, 16 << 10);
	c->chunked_out = r->head.minor == 1;
	head_begin(&head, r->server, status, r->id);
	sl_buf_addf(&head, "Content-Type: %s\r\nCache-Control: no-store\r\n", type);
	if (c->chunked_out)
		sl_buf_adds(&head, "Transfer-Encoding: chunked\r\n");
	else
		c->close_after = true;
	if (r->extra.len)
		sl_buf_add(&head, r->extra.data, r->extra.len);
	if (c->close_after)
		sl_buf_adds(&head, "Connection: close\r\n");
	sl_buf_adds(&head, "\r\n");
	r->answered = true;
	r->streaming = true;
	log_answer(r, status);
	c->state = CONN_STREAM;
	c->deadline_ms = 0;
	conn_write(c, head.failed ? SL_STR("") : sl_buf_str(&head), SL_STR(""), CONN_COPY, NULL);
}

size_t sl_answer_unsent(const struct sl_request *r)
{
	return r->conn ? conn_unsent(r->conn) : 0;
}

enum sl_write sl_answer_write(struct sl_request *r, const char *p, size_t len)
{
	struct sl_conn *c = r->conn;
	if (!c || c->state != CONN_STREAM || c->deadline_ms == 1)
		return SL_WRITE_GONE;
	if (conn_unsent(c) >= STREAM_FULL_BYTES)
		return SL_WRITE_BUSY;
	if (r->head.method != SL_HEAD && len) {
		if (c->chunked_out) {
			SL_BUF(piece, len + 32);
			sl_buf_addf(&piece, "%zx\r\n", len);
			sl_buf_add(&piece, p, len);
			sl_buf_adds(&piece, "\r\n");
			if (piece.failed)
				return SL_WRITE_BUSY;
			conn_write(c, sl_buf_str(&piece), SL_STR(""), CONN_COPY, NULL);
		} else {
			conn_write(c, sl_str_n(p, len), SL_STR(""), CONN_COPY, NULL);
		}
	}
	return conn_unsent(c) ? SL_WRITE_FULL : SL_WRITE_MORE;
}

void sl_answer_end(struct sl_request *r)
{
	struct sl_conn *c = r->conn;
	if (!c || c->state != CONN_STREAM)
		return;
	r->on_gone = NULL;
	r->on_writable = NULL;
	r->streaming = false;
	if (c->chunked_out && r->head.method != SL_HEAD)
		conn_write(c, SL_STR("0\r\n\r\n"), SL_STR(""), CONN_STABLE, NULL);
	conn_answered(c);
}

void sl_answer_abort(struct sl_request *r)
{
	if (!r->conn)
		return;
	r->on_gone = NULL;
	r->on_writable = NULL;
	conn_close(r->conn);
}
