/* llm/refusal.h: why a provider said no: its error bodies and headers, in every dialect, as one code and one hint.
 * Thread    [any]
 */
#pragma once

#include "base/own.h"
#include "llm/http.h"

/* An answer with a status outside 2xx. Fills err (text, retry_after_ms) and returns its code, never SL_OK. */
enum sl_code sl_refusal_of_answer(const struct sl_http_head *head, struct sl_str body, struct sl_error *err);

/* An error object (or string) inside an answer whose status was 200. The type decides, not the status line. `error` is
 * the value behind "error", or a whole object that is one; NULL is fine. */
enum sl_code sl_refusal_of_object(struct json_object *error, const struct sl_http_head *head, struct sl_error *err);

/* The first words of a page, without its markup, for a message. */
void sl_refusal_page_words(struct sl_str page, char *out, size_t out_bytes);

/* Milliseconds until the provider wants to be asked again; 0: it does not say. Reads retry-after-ms, retry-after
 * (seconds, also broken ones, or a date), x-ratelimit-reset-* of what has run out (durations like 6m0s, seconds or
 * times). */
uint32_t sl_refusal_retry_ms(const struct sl_http_head *head);
/* One such value: a duration, a number of seconds, or a moment (HTTP date, RFC 3339, seconds or ms since 1970). 0: not
 * one of these, or over. */
uint32_t sl_refusal_wait_ms(struct sl_str v);
/* "34.07s", "1m30s", "250ms", "12" (seconds); false: none of these. */
bool sl_refusal_duration(struct sl_str text, uint64_t *ms);
