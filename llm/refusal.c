/* llm/refusal.c: see refusal.h. Rows are tried in order; what waiting will not cure comes before the status 429 it
 * shares. */
#include "llm/refusal.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"

#define REFUSAL_PATIENCE_MS 300000 /* a RetryInfo beyond this is a quota, not a rate */

struct reason {
	struct sl_str type, code, message;
	int status;    /* 0: none was said */
	bool terminal; /* a limit that waiting does not lift within minutes */
};

struct row {
	const char *word; /* of the error's type or code, whole */
	enum sl_code code;
};
static const struct row words[] = {
	{"insufficient_quota", SL_QUOTA_EXHAUSTED},
	{"credit_balance_exhausted", SL_QUOTA_EXHAUSTED},
	{"project_spend_limit_exceeded", SL_QUOTA_EXHAUSTED},
	{"organization_spend_limit_exceeded", SL_QUOTA_EXHAUSTED},
	{"organization_usage_limit_exceeded", SL_QUOTA_EXHAUSTED},
	{"billing_hard_limit_reached", SL_QUOTA_EXHAUSTED},
	{"billing_not_active", SL_QUOTA_EXHAUSTED},
	{"enforced_spend_limit_reached", SL_QUOTA_EXHAUSTED},
	{"exceeded_current_quota_error", SL_QUOTA_EXHAUSTED},
	{"context_length_exceeded", SL_CONTEXT_TOO_LONG},
	{"model_context_window_exceeded", SL_CONTEXT_TOO_LONG},
	{"string_above_max_length", SL_CONTEXT_TOO_LONG},
	{"request_too_large", SL_CONTEXT_TOO_LONG},
	{"invalid_api_key", SL_PROVIDER_AUTH},
	{"authentication_error", SL_PROVIDER_AUTH},
	{"permission_error", SL_PROVIDER_AUTH},
	{"permission_denied", SL_PROVIDER_AUTH},
	{"account_deactivated", SL_PROVIDER_AUTH},
	{"model_not_found", SL_PROVIDER_MODEL},
	{"not_found_error", SL_PROVIDER_MODEL},
	{"rate_limit_exceeded", SL_RATE_LIMITED},
	{"rate_limit_error", SL_RATE_LIMITED},
	{"rate_limit_reached_error", SL_RATE_LIMITED},
	{"too_many_requests", SL_RATE_LIMITED},
	{"slow_down", SL_RATE_LIMITED},
	{"tokens", SL_RATE_LIMITED},
	{"requests", SL_RATE_LIMITED},
	{"overloaded_error", SL_OVERLOADED},
	{"engine_overloaded_error", SL_OVERLOADED},
	{"server_is_overloaded", SL_OVERLOADED},
	{"engine_overloaded", SL_OVERLOADED},
	{"service_unavailable", SL_OVERLOADED},
	{"service_unavailable_error", SL_OVERLOADED},
	{"timeout_error", SL_TIMEOUT},
	{"server_error", SL_PROVIDER_ERROR},
	{"internal_server_error", SL_PROVIDER_ERROR},
	{"internal_error", SL_PROVIDER_ERROR},
	{"api_error", SL_PROVIDER_ERROR},
	{"invalid_request_error", SL_PROVIDER_REJECTED},
	{"content_filter", SL_PROVIDER_REJECTED},
	{"content_policy_violation", SL_PROVIDER_REJECTED},
	{"BadRequestError", SL_PROVIDER_REJECTED},
	{"billing_error", SL_QUOTA_EXHAUSTED},
	{"RESOURCE_EXHAUSTED", SL_RATE_LIMITED},
	{"UNAVAILABLE", SL_OVERLOADED},
	{"INTERNAL", SL_PROVIDER_ERROR},
	{"DEADLINE_EXCEEDED", SL_TIMEOUT},
	{"CANCELLED", SL_PROVIDER_ERROR},
	{"UNAUTHENTICATED", SL_PROVIDER_AUTH},
	{"API_KEY_INVALID", SL_PROVIDER_AUTH},
	{"NOT_FOUND", SL_PROVIDER_MODEL},
	{"INVALID_ARGUMENT", SL_PROVIDER_REJECTED},
	{"FAILED_PRECONDITION", SL_PROVIDER_REJECTED},
};

static enum sl_code code_of_status(int status)
{
	switch (status) {
	case 401:
	case 403:
		return SL_PROVIDER_AUTH;
	case 402:
		return SL_QUOTA_EXHAUSTED;
	case 404:
		return SL_PROVIDER_MODEL;
	case 408:
	case 504:
		return SL_TIMEOUT;
	case 409:
		return SL_PROVIDER_ERROR;
	case 413:
		return SL_CONTEXT_TOO_LONG;
	case 499: /* Gemini and Ollama: somebody between us and the model hung up */
		return SL_PROVIDER_ERROR;
	case 429:
		return SL_RATE_LIMITED;
	case 503:
	case 529:
		return SL_OVERLOADED;
	default:
		return status >= 500 ? SL_PROVIDER_ERROR : SL_PROVIDER_REJECTED;
	}
}

static bool code_of_word(struct sl_str word, enum sl_code *out)
{
	for (size_t i = 0; word.len && i < SL_COUNT_OF(words); i++)
		if (sl_str_is_nocase(word, words[i].word)) {
			*out = words[i].code;
			return true;
		}
	return false;
}

static bool has(struct sl_str text, const char *part)
{
	size_t n = strlen(part);
	for (size_t i = 0; i + n <= text.len; i++)
		if (strncasecmp(text.p + i, part, n) == 0)
			return true;
	return false;
}

static bool about_length(struct sl_str m)
{
	return has(m, "maximum context length") || has(m, "context length") || has(m, "context window") ||
	       has(m, "prompt is too long") || has(m, "too many tokens") || has(m, "exceeds the available context") ||
	       has(m, "input is too long") || has(m, "input token count");
}

/* What some say only in words. */
static bool code_of_message(const struct reason *r, enum sl_code *out)
{
	static const struct row sentences[] = {
		{"credit balance is too low", SL_QUOTA_EXHAUSTED},      /* Anthropic, with status 400 */
		{"maximum pending requests exceeded", SL_OVERLOADED},   /* Ollama, also within a stream */
		{"API key not valid", SL_PROVIDER_AUTH},                /* Gemini, with status 400 */
		{"not found, try pulling it first", SL_PROVIDER_MODEL}, /* Ollama */
	};
	for (size_t i = 0; i < SL_COUNT_OF(sentences); i++)
		if (has(r->message, sentences[i].word)) {
			*out = sentences[i].code;
			return true;
		}
	return false;
}

static enum sl_code classify(const struct reason *r)
{
	enum sl_code by_code = SL_OK, by_type = SL_OK, by_message = SL_OK;
	code_of_word(r->code, &by_code);
	code_of_word(r->type, &by_type);
	if (by_code == SL_QUOTA_EXHAUSTED || by_type == SL_QUOTA_EXHAUSTED || r->terminal)
		return SL_QUOTA_EXHAUSTED;
	if (code_of_message(r, &by_message) && by_message == SL_QUOTA_EXHAUSTED)
		return by_message;
	if ((r->status == 0 || r->status == 400 || r->status == 413 || r->status == 422) && about_length(r->message))
		return SL_CONTEXT_TOO_LONG;
	if (by_code != SL_OK) /* the code is the narrower of the two */
		return by_code;
	if (by_message != SL_OK)
		return by_message;
	/* invalid_request_error comes with nearly every 4xx: the status says more */
	if (by_type != SL_OK && !(by_type == SL_PROVIDER_REJECTED && r->status >= 400))
		return by_type;
	return r->status >= 300 ? code_of_status(r->status) : SL_PROVIDER_ERROR;
}

bool sl_refusal_duration(struct sl_str text, uint64_t *ms)
{
	double total = 0;
	bool any = false;
	text = sl_str_trim(text);
	while (text.len) {
		char number[32];
		size_t n = 0;
		while (n < text.len && n < sizeof(number) - 1 &&
		       ((text.p[n] >= '0' && text.p[n] <= '9') || text.p[n] == '.'))
			number[n] = text.p[n], n++;
		number[n] = 0;
		if (n == 0)
			return false;
		double v = strtod(number, NULL), unit = 1000;
		text.p += n, text.len -= n;
		if (text.len >= 2 && memcmp(text.p, "ms", 2) == 0)
			unit = 1, n = 2;
		else if (text.len >= 2 && (memcmp(text.p, "us", 2) == 0 || memcmp(text.p, "ns", 2) == 0))
			unit = text.p[0] == 'u' ? 1e-3 : 1e-6, n = 2;
		else if (text.len && text.p[0] == 's')
			n = 1;
		else if (text.len && text.p[0] == 'm')
			unit = 60e3, n = 1;
		else if (text.len && text.p[0] == 'h')
			unit = 3600e3, n = 1;
		else if (text.len && text.p[0] == 'd')
			unit = 86400e3, n = 1;
		else if (text.len || any)
			return false;
		else
			n = 0;
		text.p += n, text.len -= n;
		total += v * unit;
		any = true;
	}
	if (!any || !isfinite(total) || total > 1e12)
		return false;
	*ms = (uint64_t)ceil(total);
	return true;
}

static uint32_t cap_ms(uint64_t ms)
{
	return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* A duration, a number of seconds, or a moment (HTTP date, RFC 3339, seconds or milliseconds since 1970). */
uint32_t sl_refusal_wait_ms(struct sl_str v)
{
	uint64_t ms;
	int64_t at_ms = -1;
	char z[64];
	if (v.len == 0 || v.len >= sizeof(z))
		return 0;
	memcpy(z, v.p, v.len);
	z[v.len] = 0;
	if (sl_refusal_duration(v, &ms)) {
		if (ms < 1000000000000ull) /* up to 31 years: a span */
			return cap_ms(ms);
		at_ms = (int64_t)ms;
	} else if (!sl_time_parse(v, &at_ms)) {
		time_t t = v.p[0] == '-' ? -1 : curl_getdate(z, NULL);
		at_ms = t < 0 ? -1 : (int64_t)t * 1000;
	}
	int64_t now = sl_clock_wall_ms();
	return at_ms > now ? cap_ms((uint64_t)(at_ms - now)) : 0;
}

static uint32_t reset_of(const struct sl_http_head *head, const char *remaining, const char *reset)
{
	struct sl_str left = sl_http_find(head, remaining);
	return left.len && !sl_str_is(left, "0") ? 0 : sl_refusal_wait_ms(sl_http_find(head, reset));
}

uint32_t sl_refusal_retry_ms(const struct sl_http_head *head)
{
	struct sl_str v = sl_http_find(head, "retry-after-ms");
	double ms;
	if (v.len && sl_str_f64(v, &ms) && ms > 0 && ms < 1e12)
		return cap_ms((uint64_t)ceil(ms));
	uint32_t wait = sl_refusal_wait_ms(sl_http_find(head, "retry-after"));
	if (wait)
		return wait;
	static const char *const kinds[] = {"requests", "tokens", "input-tokens", "output-tokens"};
	for (size_t i = 0; i < SL_COUNT_OF(kinds); i++) { /* Anthropic's, with moments */
		char left[64], reset[64];
		(void)snprintf(left, sizeof(left), "anthropic-ratelimit-%s-remaining", kinds[i]);
		(void)snprintf(reset, sizeof(reset), "anthropic-ratelimit-%s-reset", kinds[i]);
		uint32_t one = sl_http_find(head, left).len ? reset_of(head, left, reset) : 0;
		wait = one > wait ? one : wait;
	}
	if (wait)
		return wait;
	uint32_t requests = reset_of(head, "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
	uint32_t tokens = reset_of(head, "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
	wait = requests > tokens ? requests : tokens;
	return wait ? wait : reset_of(head, "x-ratelimit-remaining", "x-ratelimit-reset");
}

/* "Please try again in 6m0s.", "Please retry in 34.07s" */
static uint32_t wait_in_text(struct sl_str m)
{
	static const char *const heads[] = {"try again in ", "retry in ", "retry after "};
	for (size_t h = 0; h < SL_COUNT_OF(heads); h++) {
		size_t n = strlen(heads[h]);
		for (size_t i = 0; i + n < m.len; i++) {
			if (strncasecmp(m.p + i, heads[h], n) != 0)
				continue;
			struct sl_str v = sl_str_n(m.p + i + n, 0);
			while (i + n + v.len < m.len && !strchr(" ,;)", v.p[v.len]))
				v.len++;
			while (v.len && v.p[v.len - 1] == '.')
				v.len--;
			uint64_t ms;
			if (sl_refusal_duration(v, &ms))
				return cap_ms(ms);
		}
	}
	return 0;
}

/* Gemini's RetryInfo, which compatible gateways hand on. */
static uint32_t wait_in_details(struct json_object *error)
{
	struct json_object *details = sl_json_get(error, "details");
	if (!details || !json_object_is_type(details, json_type_array))
		return 0;
	for (size_t i = 0; i < json_object_array_length(details); i++) {
		uint64_t ms;
		if (sl_refusal_duration(sl_json_get_str(json_object_array_get_idx(details, i), "retryDelay"), &ms))
			return cap_ms(ms);
	}
	return 0;
}

void sl_refusal_page_words(struct sl_str page, char *out, size_t out_bytes)
{
	size_t n = 0;
	bool tag = false, space = true;
	for (size_t i = 0; i < page.len && n + 1 < out_bytes && n < 120; i++) {
		unsigned char c = (unsigned char)page.p[i];
		if (c == '<') { /* the inside of these is no text */
			tag = true;
			for (const char *const *skip = (const char *const[]){"style", "script", NULL}; *skip; skip++) {
				size_t len = strlen(*skip);
				if (page.len - i > len + 1 && strncasecmp(page.p + i + 1, *skip, len) == 0) {
					const char *close = memmem(page.p + i, page.len - i, "</", 2);
					i = close ? (size_t)(close - page.p) : page.len;
				}
			}
		} else if (c == '>') {
			tag = false;
			c = ' ';
		}
		if (tag || c == '>')
			continue;
		bool blank = c <= ' ';
		if (!blank || !space)
			out[n++] = blank ? ' ' : (char)c;
		space = blank;
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = 0;
}

static void read_object(struct json_object *e, struct reason *r)
{
	struct json_object *code = sl_json_get(e, "code");
	r->type = sl_json_get_str(e, "type");
	if (r->type.len == 0)
		r->type = sl_json_get_str(e, "status"); /* "RESOURCE_EXHAUSTED" */
	r->message = sl_json_get_str(e, "message");
	r->code = sl_json_str(code);
	if (code && json_object_is_type(code, json_type_int)) { /* some put the status there */
		int64_t n = json_object_get_int64(code);
		if (r->status < 300 && n >= 300 && n < 600)
			r->status = (int)n;
	}
	if (r->message.len == 0)
		r->message = sl_json_get_str(e, "detail");
	struct json_object *details = sl_json_get(e, "details");
	struct sl_str inner = sl_json_get_str(details, "error_code");
	if (inner.len)
		r->code = inner;
	for (size_t i = 0; json_object_is_type(details, json_type_array) && i < json_object_array_length(details);
	     i++) {
		struct json_object *d = json_object_array_get_idx(details, i), *list = sl_json_get(d, "violations");
		struct sl_str why = sl_json_get_str(d, "reason"); /* "API_KEY_INVALID" */
		enum sl_code known;
		if (r->code.len == 0 && code_of_word(why, &known))
			r->code = why;
		for (size_t k = 0; json_object_is_type(list, json_type_array) && k < json_object_array_length(list);
		     k++) {
			struct sl_str id = sl_json_get_str(json_object_array_get_idx(list, k), "quotaId");
			r->terminal = r->terminal || has(id, "PerDay") || has(id, "Daily");
		}
	}
	r->terminal = r->terminal || wait_in_details(e) > REFUSAL_PATIENCE_MS;
}

static enum sl_code tell(const struct reason *r, struct json_object *error, const struct sl_http_head *head,
			 struct sl_str fallback, struct sl_error *err)
{
	enum sl_code rc = classify(r);
	struct sl_str should = sl_http_find(head, "x-should-retry");
	struct sl_str m = r->message.len ? r->message : fallback;
	struct sl_str what = r->code.len ? r->code : r->type;
	const char *note = "";
	if (sl_str_is_nocase(should, "false") && sl_code_retry(rc) != SL_RETRY_NEVER) {
		rc = SL_PROVIDER_REJECTED;
		note = " (the provider asks not to retry)";
	} else if (sl_str_is_nocase(should, "true") && rc == SL_PROVIDER_REJECTED) {
		rc = SL_PROVIDER_ERROR;
	}
	if (r->status >= 300)
		(void)sl_fail(err, rc, "the provider answered %d%s%.*s%s: %.*s%s", r->status, what.len ? " (" : "",
			      (int)(what.len > 80 ? 80 : what.len), what.p, what.len ? ")" : "",
			      (int)(m.len > 300 ? 300 : m.len), m.p, note);
	else
		(void)sl_fail(err, rc, "the provider failed%s%.*s%s: %.*s%s", what.len ? " (" : "",
			      (int)(what.len > 80 ? 80 : what.len), what.p, what.len ? ")" : "",
			      (int)(m.len > 300 ? 300 : m.len), m.p, note);
	if (err && sl_code_retry(rc) != SL_RETRY_NEVER) {
		err->retry_after_ms = sl_refusal_retry_ms(head);
		if (!err->retry_after_ms)
			err->retry_after_ms = wait_in_details(error);
		if (!err->retry_after_ms)
			err->retry_after_ms = wait_in_text(r->message);
	}
	return rc;
}

enum sl_code sl_refusal_of_object(struct json_object *error, const struct sl_http_head *head, struct sl_error *err)
{
	struct reason r = {0};
	if (json_object_is_type(error, json_type_string))
		r.message = sl_json_str(error);
	else
		read_object(error, &r);
	return tell(&r, error, head, SL_STR("no reason given"), err);
}

enum sl_code sl_refusal_of_answer(const struct sl_http_head *head, struct sl_str body, struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	struct json_object *top, *error;
	struct reason r = {.status = head->status};
	char page[160] = "";
	if (sl_json_parse(body, &doc, NULL) != SL_OK)
		doc = NULL;
	top = doc;
	if (json_object_is_type(top, json_type_array) && json_object_array_length(top) == 1)
		top = json_object_array_get_idx(top, 0);
	error = sl_json_get(top, "error");
	if (error && json_object_is_type(error, json_type_string)) {
		read_object(top, &r);
		r.message = sl_json_str(error);
	} else {
		if (!error)
			error = top;
		read_object(error, &r);
	}
	if (!doc)
		sl_refusal_page_words(body, page, sizeof(page));
	else if (r.message.len == 0 && json_object_is_type(doc, json_type_string))
		r.message = sl_json_str(doc);
	return tell(&r, error, head, page[0] ? sl_str(page) : SL_STR("no reason given"), err);
}
