/* How a provider says no: a status, headers and a body, line by line: the first is the value of every header that tells
 * of waiting, the rest is the body. Properties: it is never a success, and the error says so in valid text; waiting is
 * finite, what a value means does not depend on blanks around it, and a span is read as long as it is, not shorter. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/refusal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void duration(struct sl_str v)
{
	uint64_t ms, same, sum;
	char text[64];
	if (!sl_refusal_duration(v, &ms))
		return;
	SL_BUG_ON(ms > 1000000000000u);
	(void)snprintf(text, sizeof(text), " %llums ", (unsigned long long)ms);
	SL_BUG_ON(!sl_refusal_duration(sl_str(text), &same) || same != ms);
	SL_BUF(longer, SIZE_MAX); /* with one more second behind it */
	v = sl_str_trim(v);
	sl_buf_add(&longer, v.p, v.len);
	sl_buf_adds(&longer, "1s");
	if (sl_refusal_duration(sl_buf_str(&longer), &sum) && (v.p[v.len - 1] | 32) > '9')
		SL_BUG_ON(sum + 1 < ms + 1000 || sum > ms + 1001);
}

static void words(struct sl_str page)
{
	char out[40], wide[200];
	sl_refusal_page_words(page, out, sizeof(out));
	SL_BUG_ON(strlen(out) >= sizeof(out) || strchr(out, '<') || out[0] == ' ');
	sl_refusal_page_words(page, wide, sizeof(wide));
	SL_BUG_ON(strncmp(out, wide, strlen(out)) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"retry-after",
					    "retry-after-ms",
					    "x-ratelimit-reset-tokens",
					    "anthropic-ratelimit-tokens-reset",
					    "anthropic-ratelimit-tokens-remaining",
					    "x-should-retry",
					    "x-ratelimit-reset"};
	static const int status[] = {400, 401, 402, 404, 408, 409, 413, 422, 429, 499, 500, 503, 504, 529, 302, 200};
	struct sl_http_header headers[2];
	struct sl_error err = {0}, again = {0};
	if (size < 2 || size > 1 << 14)
		return 0;
	struct sl_str text = sl_str_n((const char *)data + 2, size - 2), value = text, body = SL_STR("");
	(void)sl_str_cut(text, '\n', &value, &body); /* one line: no body */
	headers[0] = (struct sl_http_header){sl_str(names[data[0] % SL_COUNT_OF(names)]), value};
	headers[1] = (struct sl_http_header){sl_str(names[data[0] / 8 % SL_COUNT_OF(names)]), value};
	struct sl_http_head head = {status[data[1] % SL_COUNT_OF(status)], 11, headers, 2};
	enum sl_code rc = sl_refusal_of_answer(&head, body, &err);
	SL_BUG_ON(rc == SL_OK || err.code != rc || !err.text[0] || !sl_utf8_valid(err.text, strlen(err.text)));
	SL_BUG_ON(err.retry_after_ms && sl_code_retry(rc) == SL_RETRY_NEVER);
	rc = sl_refusal_of_answer(&head, body, &again);
	SL_BUG_ON(rc != err.code || strcmp(err.text, again.text) != 0);

	SL_AUTO_JSON doc = NULL;
	if (sl_json_parse(body, &doc, NULL) == SL_OK) {
		rc = sl_refusal_of_object(doc, &head, &err);
		SL_BUG_ON(rc == SL_OK || err.code != rc || !sl_utf8_valid(err.text, strlen(err.text)));
	}
	duration(value);
	words(body);
	return 0;
}
