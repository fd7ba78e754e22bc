/* nodes/http.c: one request to an address that the workflow's author chose. It leaves through llm/egress.h, where the
 * policy is. The node holds no thread: the request lives on an I/O loop, and its end comes back through the run's
 * mailbox.
 *
 * Results are recorded once, but a request may be sent again after a crash or a failed attempt: everything but GET,
 * HEAD and OPTIONS carries an Idempotency-Key that is the same on every repeat. */
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "engine/node.h"
#include "llm/egress.h"
#include "llm/refusal.h"
#include "llm/services.h"

#define HTTP_FIRST_BYTE_MS 120000 /* without the node's own timeout_s, which comes earlier */
#define HTTP_TOTAL_MS      600000
#define HTTP_HEADERS       100
#define HTTP_EXPECT        16

struct answer { /* on its way from the I/O thread to the run */
	enum sl_code rc;
	struct sl_error err;
	int status;
	uint32_t retry_after_ms;
	char *url;
	struct json_object *headers; /* made on the I/O thread, then only touched by the run */
	struct sl_buf body;
	char type[128]; /* Content-Type, lower case */
};

struct request { /* [io] */
	struct sl_remote *remote;
	struct answer *answer;
};

struct span {
	int low, high;
};

struct http_state { /* [run] */
	struct sl_egress_call *call;
	struct span expect[HTTP_EXPECT];
	size_t n_expect;
	bool expect_json;
};

static void answer_free(void *arg)
{
	struct answer *a = arg;
	if (!a)
		return;
	free(a->url);
	json_object_put(a->headers);
	sl_buf_fini(&a->body);
	free(a);
}

/* ---- what is expected ---- */

static bool read_span(struct sl_str text, struct span *out)
{
	struct sl_str low = text, high = text;
	uint64_t a, b;
	(void)sl_str_cut(text, '-', &low, &high); /* one number is a span of one */
	if (!sl_str_u64(sl_str_trim(low), &a) || !sl_str_u64(sl_str_trim(high), &b) || a < 100 || b > 599 || a > b)
		return false;
	*out = (struct span){(int)a, (int)b};
	return true;
}

static enum sl_code read_expected(struct json_object *one, struct http_state *s, struct sl_error *err)
{
	struct sl_str text = sl_json_str(one);
	struct span span;
	if (sl_str_is(text, "json")) {
		s->expect_json = true;
		return SL_OK;
	}
	if (json_object_is_type(one, json_type_int)) {
		int64_t n = json_object_get_int64(one);
		span = (struct span){(int)n, (int)n};
		if (n < 100 || n > 599)
			return sl_fail(err, SL_INVALID, "`expect`: a status is a number from 100 to 599");
	} else if (!read_span(text, &span)) {
		return sl_fail(err, SL_INVALID, "`expect`: write a status (200), a span (\"200-299\") or \"json\"");
	}
	if (s->n_expect == HTTP_EXPECT)
		return sl_fail(err, SL_INVALID, "`expect`: at most %d statuses", HTTP_EXPECT);
	s->expect[s->n_expect++] = span;
	return SL_OK;
}

static enum sl_code read_expect(struct json_object *expect, struct http_state *s, struct sl_error *err)
{
	enum sl_code rc = SL_OK;
	if (json_object_is_type(expect, json_type_array))
		for (size_t i = 0; rc == SL_OK && i < json_object_array_length(expect); i++)
			rc = read_expected(json_object_array_get_idx(expect, i), s, err);
	else if (expect)
		rc = read_expected(expect, s, err);
	if (s->n_expect == 0)
		s->expect[s->n_expect++] = (struct span){200, 299};
	return rc;
}

static bool is_expected(const struct http_state *s, int status)
{
	for (size_t i = 0; i < s->n_expect; i++)
		if (status >= s->expect[i].low && status <= s->expect[i].high)
			return true;
	return false;
}

/* A status nobody expected, as one of our codes: what is worth another try says so. */
static enum sl_code refuse_status(const struct answer *a, struct sl_error *err)
{
	char start[160];
	size_t n = a->body.len < sizeof(start) - 1 ? a->body.len : sizeof(start) - 1;
	enum sl_code code = a->status == 429                       ? SL_RATE_LIMITED
			    : a->status == 503                     ? SL_OVERLOADED
			    : a->status >= 500 || a->status == 425 ? SL_PROVIDER_ERROR
			    : a->status == 408                     ? SL_TIMEOUT
			    : a->status == 401 || a->status == 403 ? SL_PROVIDER_AUTH
								   : SL_PROVIDER_REJECTED;
	memcpy(start, sl_buf_str(&a->body).p, n);
	sl_utf8_make_valid(start, &n);
	start[n] = 0;
	(void)sl_fail(err, code, "status %d%s%s%s", a->status,
		      a->status >= 300 && a->status < 400 ? " (set `follow` to follow redirects)" : "", n ? ": " : "",
		      start);
	err->retry_after_ms = a->retry_after_ms;
	return code;
}

/* ---- the answer ---- */

static bool has_json_type(const struct answer *a)
{
	size_t n = strcspn(a->type, "; \t");
	return (n >= 5 && memcmp(a->type + n - 5, "/json", 5) == 0) ||
	       (n >= 5 && memcmp(a->type + n - 5, "+json", 5) == 0);
}

static void add_latin1(struct sl_buf *out, struct sl_str in)
{
	for (size_t i = 0; i < in.len; i++) {
		unsigned char c = (unsigned char)in.p[i];
		if (c >= 0x80)
			sl_buf_addc(out, (char)(0xc0 | c >> 6));
		sl_buf_addc(out, c >= 0x80 ? (char)(0x80 | (c & 0x3f)) : (char)c);
	}
}

static void add_base64(struct sl_buf *out, struct sl_str in)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < in.len; i += 3) {
		const unsigned char *p = (const unsigned char *)in.p + i;
		size_t left = in.len - i;
		uint32_t v = (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
		sl_buf_addc(out, digits[v >> 18]);
		sl_buf_addc(out, digits[v >> 12 & 63]);
		sl_buf_addc(out, left > 1 ? digits[v >> 6 & 63] : '=');
		sl_buf_addc(out, left > 2 ? digits[v & 63] : '=');
	}
}

/* Text as text; what is none as base64, because outputs are JSON. */
static enum sl_code put_body(struct json_object *out, const struct answer *a, struct sl_error *err)
{
	struct sl_str body = sl_buf_str(&a->body);
	if (sl_utf8_valid(body.p, body.len)) {
		sl_json_set_str(out, "body", body);
		return SL_OK;
	}
	SL_BUF(text, 2u * SL_LIMIT_EGRESS_BODY_BYTES);
	bool latin1 = strstr(a->type, "charset=iso-8859-1") || strstr(a->type, "charset=latin1");
	if (latin1)
		add_latin1(&text, body);
	else
		add_base64(&text, body);
	if (text.failed)
		return sl_fail(err, SL_NO_MEMORY, "no memory for the answer");
	if (!latin1)
		sl_json_set_str(out, "body", SL_STR(""));
	sl_json_set_str(out, latin1 ? "body" : "body_base64", sl_buf_str(&text));
	return SL_OK;
}

static enum sl_code put_answer(struct json_object *out, struct answer *a, const struct http_state *s,
			       struct sl_error *err)
{
	struct json_object *json = NULL;
	if (!is_expected(s, a->status))
		return refuse_status(a, err);
	bool wanted = s->expect_json || has_json_type(a);
	enum sl_code rc = wanted ? sl_json_parse(sl_buf_str(&a->body), &json, err) : SL_OK;
	if (rc != SL_OK && s->expect_json)
		return sl_wrap(err, rc == SL_INVALID ? SL_OUTPUT_INVALID : rc, "the answer should be JSON");
	bool parsed = wanted && rc == SL_OK;
	sl_json_set_i64(out, "status", a->status);
	sl_json_set(out, "headers", SL_TAKE(a->headers));
	sl_json_set_str(out, "url", sl_str(a->url));
	rc = put_body(out, a, err);
	if (parsed)
		sl_json_set(out, "json", json);
	return rc;
}

static void finished(struct sl_node *n, void *arg) /* [run] */
{
	struct answer *a = arg;
	struct http_state *s = sl_node_state(n, sizeof(*s));
	struct json_object *out = json_object_new_object();
	struct sl_error err = a->err;
	enum sl_code rc = a->rc;
	SL_CRASH_POINT_OF("http.answered", sl_node_path(n));
	if (rc == SL_OK && (!out || !s || !a->headers || !a->url || a->body.failed))
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for the answer");
	if (rc == SL_OK)
		rc = put_answer(out, a, s, &err);
	if (rc == SL_OK) {
		sl_node_complete(n, out);
	} else {
		json_object_put(out);
		err.code = rc;
		sl_node_fail(n, &err);
	}
	if (s) {
		sl_egress_call_unref(s->call);
		s->call = NULL;
	}
	answer_free(a);
}

static struct json_object *headers_json(const struct sl_http_head *head)
{
	struct json_object *o = json_object_new_object();
	for (size_t i = 0; o && i < head->n_headers; i++) {
		char name[128];
		struct sl_str key = head->headers[i].name, value = head->headers[i].value;
		SL_BUF(text, 128u << 10);
		if (key.len >= sizeof(name))
			continue; /* no header anybody would ask for */
		for (size_t k = 0; k < key.len; k++)
			name[k] = key.p[k] >= 'A' && key.p[k] <= 'Z' ? (char)(key.p[k] + 32) : key.p[k];
		size_t n = key.len;
		sl_utf8_make_valid(name, &n);
		name[n] = 0;
		struct sl_str before = sl_json_get_str(o, name); /* one that comes again is a list */
		if (before.len) {
			sl_buf_add(&text, before.p, before.len);
			sl_buf_adds(&text, ", ");
		}
		sl_buf_add(&text, value.p, value.len);
		if (text.data)
			sl_utf8_make_valid(text.data, &text.len);
		sl_json_set_str(o, name, sl_buf_str(&text));
	}
	return o;
}

static enum sl_code on_body(void *ctx, struct sl_str piece, struct sl_error *err) /* [io] */
{
	struct answer *a = ((struct request *)ctx)->answer;
	sl_buf_add(&a->body, piece.p, piece.len);
	return a->body.failed ? sl_fail(err, SL_NO_MEMORY, "no memory for the answer") : SL_OK;
}

static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_egress_result *r) /* [io] */
{
	struct request *q = ctx;
	struct answer *a = q->answer;
	struct sl_str type = sl_http_find(r->head, "content-type");
	a->rc = rc;
	if (rc != SL_OK)
		a->err = *err;
	a->status = r->head->status;
	a->retry_after_ms = sl_refusal_retry_ms(r->head);
	a->url = sl_str_dup(sl_str(r->url));
	a->headers = headers_json(r->head);
	for (size_t i = 0; i < type.len && i < sizeof(a->type) - 1; i++)
		a->type[i] = type.p[i] >= 'A' && type.p[i] <= 'Z' ? (char)(type.p[i] + 32) : type.p[i];
	if (sl_remote_call(q->remote, finished, answer_free, a) != SL_OK)
		answer_free(a); /* no memory to say so: the node's timeout, or the run's, ends it */
	sl_remote_unref(q->remote);
	free(q);
}

/* ---- the request ---- */

static void add_escaped(struct sl_buf *out, struct sl_str in)
{
	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			     c == '.' || c == '_' || c == '~';
		if (plain)
			sl_buf_addc(out, c);
		else
			sl_buf_addf(out, "%%%02X", (unsigned char)c);
	}
}

static void add_value(struct sl_buf *out, struct json_object *v)
{
	SL_BUF(text, SL_LIMIT_URL_BYTES);
	if (!json_object_is_type(v, json_type_string))
		sl_json_write(&text, v);
	out->failed |= text.failed;
	add_escaped(out, json_object_is_type(v, json_type_string) ? sl_json_str(v) : sl_buf_str(&text));
}

/* url and `query`, whose names and values are encoded here so that what comes from outside cannot add others. */
static enum sl_code write_url(struct json_object *params, struct sl_buf *out, struct sl_error *err)
{
	struct sl_str url = sl_str_trim(sl_json_get_str(params, "url"));
	struct json_object *query = sl_json_get(params, "query");
	const char *hash = memchr(url.p, '#', url.len);
	if (hash)
		url.len = (size_t)(hash - url.p);
	sl_buf_add(out, url.p, url.len);
	bool first = !memchr(url.p, '?', url.len);
	if (query) {
		json_object_object_foreach (query, key, v) {
			bool list = json_object_is_type(v, json_type_array);
			size_t n = list ? json_object_array_length(v) : v != NULL;
			for (size_t i = 0; i < n; i++) {
				sl_buf_addc(out, first ? '?' : '&');
				first = false;
				add_escaped(out, sl_str(key));
				sl_buf_addc(out, '=');
				add_value(out, list ? json_object_array_get_idx(v, i) : v);
			}
		}
	}
	return out->failed ? sl_fail(err, SL_TOO_LARGE, "the address is longer than %d bytes", SL_LIMIT_URL_BYTES)
			   : SL_OK;
}

struct lines { /* of the request; values point into the parameters and into `text` */
	struct sl_http_header items[HTTP_HEADERS + 2];
	size_t n;
	bool typed, keyed;
};

static enum sl_code read_headers(struct json_object *params, struct lines *out, struct sl_error *err)
{
	struct json_object *headers = sl_json_get(params, "headers");
	if (!headers)
		return SL_OK;
	json_object_object_foreach (headers, key, v) {
		if (out->n == HTTP_HEADERS)
			return sl_fail(err, SL_INVALID, "more than %d headers", HTTP_HEADERS);
		if (!v)
			continue; /* a template that yielded nothing */
		/* json-c keeps the text of a number with the object */
		struct sl_str value = json_object_is_type(v, json_type_string)
					      ? sl_json_str(v)
					      : sl_str(json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN));
		out->items[out->n++] = (struct sl_http_header){sl_str(key), value};
		out->typed |= strcasecmp(key, "content-type") == 0;
		out->keyed |= strcasecmp(key, "idempotency-key") == 0;
	}
	return SL_OK;
}

static enum sl_code read_body(struct json_object *params, struct lines *lines, struct sl_bytes **out,
			      struct sl_error *err)
{
	struct json_object *body = sl_json_get(params, "body");
	bool text = json_object_is_type(body, json_type_string);
	SL_BUF(written, SL_LIMIT_PAYLOAD_BYTES);
	if (!body)
		return SL_OK;
	if (text)
		sl_buf_add(&written, sl_json_str(body).p, sl_json_str(body).len);
	else
		sl_json_write(&written, body);
	if (written.failed)
		return sl_fail(err, SL_TOO_LARGE, "the body is larger than %u bytes", SL_LIMIT_PAYLOAD_BYTES);
	*out = sl_bytes_new(sl_buf_str(&written).p, written.len);
	if (!*out)
		return sl_fail(err, SL_NO_MEMORY, "no memory for the body");
	if (!lines->typed)
		lines->items[lines->n++] =
			(struct sl_http_header){SL_STR("Content-Type"), text ? SL_STR("text/plain; charset=utf-8")
									     : SL_STR("application/json")};
	return SL_OK;
}

static bool is_safe(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

static enum sl_step http_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct sl_egress *egress = sl_node_services(n)->egress;
	struct http_state *s = sl_node_state(n, sizeof(*s));
	struct request *q = calloc(1, sizeof(*q));
	struct answer *a = calloc(1, sizeof(*a));
	struct lines lines = {0};
	SL_AUTO(sl_bytes) body = NULL;
	const char *method = sl_json_get_z(params, "method");
	char key[65];
	SL_BUF(url, SL_LIMIT_URL_BYTES);

	enum sl_code rc = s && q && a && method && (q->remote = sl_node_remote(n))
				  ? SL_OK
				  : sl_fail(err, SL_NO_MEMORY, "no memory for a request");
	if (rc == SL_OK && !egress)
		rc = sl_fail(err, SL_UNAVAILABLE, "this server has no way out");
	if (rc == SL_OK)
		rc = read_expect(sl_json_get(params, "expect"), s, err);
	if (rc == SL_OK)
		rc = write_url(params, &url, err);
	if (rc == SL_OK)
		rc = read_headers(params, &lines, err);
	if (rc == SL_OK)
		rc = read_body(params, &lines, &body, err);
	if (rc == SL_OK) {
		sl_buf_init(&a->body, SL_LIMIT_EGRESS_BODY_BYTES);
		q->answer = a;
		sl_node_idempotency_key(n, key);
		if (!is_safe(method) && !lines.keyed)
			lines.items[lines.n++] = (struct sl_http_header){SL_STR("Idempotency-Key"), sl_str(key)};
		const struct sl_egress_request req = {
			.method = method,
			.url = sl_buf_str(&url),
			.headers = lines.items,
			.n_headers = lines.n,
			.body = body,
			.timeouts = {.first_byte_ms = HTTP_FIRST_BYTE_MS, .total_ms = HTTP_TOTAL_MS},
			.follow = (uint32_t)sl_json_get_i64(params, "follow", 0),
			.of = {sl_node_run(n), sl_str(sl_node_path(n)), sl_node_attempt(n)},
			.body_fn = on_body,
			.done = on_done,
			.ctx = q,
		};
		SL_CRASH_POINT_OF("http.send", sl_node_path(n));
		rc = sl_egress_start(egress, &req, &s->call, err);
	}
	if (rc != SL_OK) {
		if (q)
			sl_remote_unref(q->remote);
		free(q);
		answer_free(a);
		return SL_FAILED;
	}
	return SL_PENDING;
}

static void http_cancel(struct sl_node *n) /* [run] */
{
	struct http_state *s = sl_node_state(n, sizeof(*s));
	if (s && s->call) {
		uint64_t ordered_at_us;
		const char *why = sl_node_off_reason(n, &ordered_at_us);
		sl_egress_call_off(s->call, why, ordered_at_us);
		sl_egress_call_unref(SL_TAKE(s->call));
	}
}

static bool is_template(struct json_object *o)
{
	return strstr(sl_json_str(o).p, "{{") != NULL;
}

static enum sl_code http_check(struct json_object *params, struct sl_error *err)
{
	struct http_state s = {0};
	struct json_object *expect = sl_json_get(params, "expect"), *url = sl_json_get(params, "url");
	const char *method = sl_json_get_z(params, "method");
	bool open = json_object_is_type(expect, json_type_string) && is_template(expect);
	for (size_t i = 0; json_object_is_type(expect, json_type_array) && i < json_object_array_length(expect); i++) {
		struct json_object *one = json_object_array_get_idx(expect, i);
		open |= json_object_is_type(one, json_type_string) && is_template(one);
	}
	if (method && strcmp(method, "HEAD") == 0 && sl_json_get(params, "body"))
		return sl_fail(err, SL_INVALID, "HEAD has no `body`");
	if (json_object_is_type(url, json_type_string) && !is_template(url)) {
		struct sl_str text = sl_str_trim(sl_json_str(url));
		if (!(text.len > 8 && strncasecmp(text.p, "https://", 8) == 0) &&
		    !(text.len > 7 && strncasecmp(text.p, "http://", 7) == 0))
			return sl_fail(err, SL_INVALID,
				       "`url` begins with https:// (or http:// where that is allowed)");
	}
	return open ? SL_OK : read_expect(expect, &s, err);
}

const struct sl_node_type sl_node_type_http = {
	.name = "http",
	.summary = "One request to another system, guarded against reaching what it should not.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"url\"], \"properties\": {"
		"  \"method\": { \"type\": \"string\", \"enum\": [\"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", "
		"\"DELETE\", \"OPTIONS\"], \"default\": \"GET\", \"title\": \"Method\" },"
		"  \"url\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Address\","
		"    \"description\": \"https://…; plain http and addresses of the local network only where the "
		"operator "
		"allows them.\" },"
		"  \"query\": { \"type\": \"object\", \"title\": \"Query\","
		"    \"description\": \"Names and values, encoded and put behind the address; a list repeats its "
		"name.\" "
		"},"
		"  \"headers\": { \"type\": \"object\", \"maxProperties\": 100, \"title\": \"Headers\" },"
		"  \"body\": { \"title\": \"Body\", \"x-ui\": \"textarea\","
		"    \"description\": \"A text is sent as it is, anything else as JSON.\" },"
		"  \"expect\": { \"title\": \"Expected\","
		"    \"description\": \"A status, a span of them (200-299), json, or a list of these; else the node "
		"fails. "
		"Without: 200-299.\" },"
		"  \"follow\": { \"type\": \"integer\", \"minimum\": 0, \"maximum\": 10, \"default\": 0, \"title\": "
		"\"Redirects\","
		"    \"description\": \"How many redirects are followed; each is judged like the first address.\" } } "
		"}",
	.effects = SL_EFFECTS_EXTERNAL,
	.start = http_start,
	.cancel = http_cancel,
	.check = http_check,
};
