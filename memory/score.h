/* memory/score.h: how well a text answers a query, 0 … 1, without any model: which of the query's words it has.
 *
 * Words that carry no meaning are left out, endings are cut, a word that is nearly there (a typo) counts in part.
 * Longer words weigh more. Of a long query, the eight heaviest words are all that can be asked of one text: who has as
 * much of it has 1. Thread    one query belongs to one thread; pure.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct sl_score_query;

SL_MUST_USE enum sl_code sl_score_query_new(struct sl_str query, struct sl_score_query **out); /* SL_NO_MEMORY only */
void sl_score_query_free(struct sl_score_query *q);                                            /* NULL is fine */
SL_DEFINE_AUTO(sl_score_query)

double sl_score(const struct sl_score_query *q, struct sl_str text); /* 0 when the query has no words */
