/* llm/price.h: what a call cost, in integer micro-USD.
 * Thread    [any]. The built-in table has a date; a profile's own price goes before it.
 */
#pragma once

#include "llm/chat.h"

struct sl_profile;
struct sl_buf;

#define SL_PRICES_AS_OF "2025-11-20"

/* false: no price is known, *micro is 0. Rounded to the nearest micro-USD; simulated calls cost 0 and that is known. */
bool sl_price(const struct sl_profile *p, const char *model, const struct sl_chat_usage *u, int64_t *micro);
void sl_prices_json(struct sl_buf *out); /* {"as_of","models":[{"provider","model","input_usd_per_1m",…}]} */
