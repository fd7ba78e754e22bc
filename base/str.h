/* base/str.h: a borrowed slice of text. No NUL is promised; the bytes belong to somebody else.
 * Thread    [any]
 */
#pragma once

#include <string.h>
#include <strings.h>

#include "base/error.h"

struct sl_str {
	const char *p;
	size_t len;
};

#define SL_STR(literal) ((struct sl_str){"" literal, sizeof(literal) - 1})
#define SL_STR_FMT      "%.*s"
#define SL_STR_ARG(s)   (int)((s).len > 0x7fffffff ? 0x7fffffff : (s).len), (s).p

static inline struct sl_str sl_str(const char *z) /* NULL gives the empty slice */
{
	return (struct sl_str){z ? z : "", z ? strlen(z) : 0};
}
static inline struct sl_str sl_str_n(const char *p, size_t len)
{
	return (struct sl_str){p, len};
}
static inline bool sl_str_eq(struct sl_str a, struct sl_str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool sl_str_is(struct sl_str a, const char *z)
{
	return sl_str_eq(a, sl_str(z));
}
static inline bool sl_str_starts(struct sl_str a, struct sl_str head)
{
	return a.len >= head.len && memcmp(a.p, head.p, head.len) == 0;
}
static inline bool sl_str_is_nocase(struct sl_str a, const char *z)
{
	return a.len == strlen(z) && strncasecmp(a.p, z, a.len) == 0;
}
struct sl_str sl_str_trim(struct sl_str s); /* spaces, tabs, CR and LF at both ends */
bool sl_str_cut(struct sl_str s, char at, struct sl_str *head, struct sl_str *tail); /* false: `at` is not there */
char *sl_str_dup(struct sl_str s);               /* NUL-terminated, caller frees; NULL: no memory */
bool sl_str_u64(struct sl_str s, uint64_t *out); /* digits only, false on anything else or overflow */
bool sl_str_i64(struct sl_str s, int64_t *out);
bool sl_str_f64(struct sl_str s, double *out); /* a finite JSON-like number, whole slice */

/* Levenshtein distance with a cap: "did you mean". Compares at most 64 bytes of each. */
unsigned sl_str_distance(struct sl_str a, struct sl_str b);
