/* base/utf8.h: strict UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF).
 * Thread    [any]
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool sl_utf8_valid(const char *p, size_t len);

/* The longest prefix that is valid and ends at a character. Stops before an incomplete character at the end and before
 * the first invalid byte; tell them apart with sl_utf8_tail_incomplete(). */
size_t sl_utf8_prefix(const char *p, size_t len);

/* True when p[0..len) is the beginning of a character that more bytes could complete (len is 1 to 3). */
bool sl_utf8_tail_incomplete(const char *p, size_t len);

/* Where to cut p so that at most `max` bytes remain and no character of a valid text is split. */
size_t sl_utf8_cut(const char *p, size_t len, size_t max);

/* Replaces invalid bytes by '?' in place and drops an incomplete last character. */
void sl_utf8_make_valid(char *p, size_t *len);
