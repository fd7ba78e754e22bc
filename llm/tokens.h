/* llm/tokens.h: how many tokens a text will be, about. For reservations, budgets and the run breaker; what is billed is
 * what the provider reports.
 *
 * The estimate   by class of character, in twelfths of a token: an ASCII letter or blank 3 (so four of them make a
 *                token), a digit 4, punctuation 6, an accented Latin, Greek or Cyrillic letter 5, a Chinese, Japanese
 * or Korean character 12 (so one each), any other letter 8, an emoji 24. A run of blanks or of one punctuation mark
 * counts as little as its first four. English prose comes out within 15 % of the common encodings, code and JSON
 * somewhat above. Thread         [any]. Cost: one pass, a table look-up a byte.
 */
#pragma once

#include "base/str.h"

struct json_object;

#define SL_TOKENS_PER_MESSAGE 4    /* role and separators */
#define SL_TOKENS_PER_IMAGE   1000 /* whatever its size in bytes */
#define SL_TOKENS_OUTPUT      4096 /* of an answer when nobody said how long it may be */

uint64_t sl_tokens_of_text(struct sl_str text);

/* Counting as pieces come; a character may be split. Starts zeroed. */
struct sl_token_count {
	uint64_t twelfths;
	unsigned char last; /* of a run */
	uint8_t run;
};
void sl_tokens_add(struct sl_token_count *c, struct sl_str piece);
static inline uint64_t sl_tokens_sum(const struct sl_token_count *c)
{
	return (c->twelfths + 11) / 12;
}

/* What a call sends: params as an `llm` node has them (system, prompt or messages, tools, response_format) and a
 * further system text (an agent's); both may be missing. */
uint64_t sl_tokens_of_request(struct json_object *params, struct sl_str system);
