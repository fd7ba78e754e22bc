/* memory/filter.h: what may become working memory. Pure; the search for near-duplicates is memory/ingest.c's.
 * Thread    [any]
 */
#pragma once

#include "base/str.h"
#include "memory/similar.h"

#define SL_FILTER_CHARS      50  /* fewer are too few */
#define SL_FILTER_CONFIDENCE 0.8 /* of the one who stores */
#define SL_FILTER_TWIN       0.9 /* similarity from which on it says nothing new */

/* NULL: it may. Else why not, a constant: "empty", "too_short", "trivial", "low_confidence"; near-duplicates are
 * declined as "duplicate". `t` are the text's trigrams. */
const char *sl_filter(struct sl_str text, const struct sl_trigrams *t, double confidence);
