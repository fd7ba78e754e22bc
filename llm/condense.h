/* llm/condense.h: what was said, within a budget of tokens: the last rounds in full, older ones in a line each.
 *
 * What holds    the result never has more tokens (as llm/tokens.h counts them) than the budget; the newest entry is
 *               always in it, cut when it alone is too long; the order is that of the source; what is left out is the
 *               oldest, without a gap. The same source gives the same text.
 * An entry      is a text, a round of a loop ({ round, score, outputs }), a message ({ role, content }), the output of
 * a node (its `text`, else its `value`, else JSON), or any value as JSON. A list in the list is taken apart; null and
 * what is empty are no entries. Thread        [any], pure. Cost: one pass over the source for the text, and one over
 * each entry that is looked at.
 */
#pragma once

#include "base/buf.h"

struct json_object;

#define SL_CONDENSE_LINE_BYTES    200   /* of an older entry */
#define SL_CONDENSE_PROMPT_TOKENS 24000 /* of older ones that a model is given to read */
#define SL_CONDENSE_ROOM_LEAST    48    /* tokens; with less room a summary says nothing */

struct sl_condensed {
	uint64_t tokens;                            /* of the text */
	uint32_t entries, full, shortened, dropped; /* shortened: in one line, cut, or in the summary */
};

/* Appends to `text`. summary: stands for the entries older than the last full_rounds, cut to what room there is;
 * empty: they get a line each. SL_NO_MEMORY is the only failure. */
SL_MUST_USE enum sl_code sl_condense(struct json_object *source, uint32_t full_rounds, uint64_t max_tokens,
				     struct sl_str summary, struct sl_buf *text, struct sl_condensed *out);

/* For a model that is to write that summary: appends the older entries, the newest of them that
 * SL_CONDENSE_PROMPT_TOKENS have room for. Returns the tokens its answer may have; 0: nothing is older, or there is no
 * room for a summary. */
uint64_t sl_condense_older(struct json_object *source, uint32_t full_rounds, uint64_t max_tokens, struct sl_buf *older);
