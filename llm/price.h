/* llm/price.h: what a call cost, in integer micro-USD.
 * Thread    [any]. The built-in table has a date; an operator's rows go before it, a profile's own price before both.
 * Owns      struct sl_prices: the operator's rows, behind a lock that is held for a look-up only.
 */
#pragma once

#include "llm/chat.h"

struct json_object;
struct sl_profile;
struct sl_prices;
struct sl_buf;

#define SL_PRICES_AS_OF "2025-11-20"

SL_MUST_USE enum sl_code sl_prices_new(struct sl_prices **out);
void sl_prices_free(struct sl_prices *p); /* NULL is fine */
SL_DEFINE_AUTO(sl_prices)

/* The body of a PUT, { "items": [{ "model", "provider"?, "input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m"?,
 * "as_of"? }] }; items with "source": "built-in" are passed over, so a list that was read can be sent back. *rows: a
 * JSON array as the store keeps it. SL_INVALID: `problems` gets the members of an errors array, err the first of them.
 */
SL_MUST_USE enum sl_code sl_prices_check(struct json_object *body, int64_t now_ms, struct sl_bytes **rows,
					 struct sl_buf *problems, struct sl_error *err);
/* The stored rows are in force from now on, and no others. SL_INVALID: they do not parse, and the old ones stay. */
SL_MUST_USE enum sl_code sl_prices_load(struct sl_prices *p, struct sl_str rows, struct sl_error *err);

/* false: no price is known, *micro is 0. Rounded to the nearest micro-USD; simulated calls cost 0 and that is known.
 * `prices` NULL: only the profile's and the table's. */
bool sl_price(struct sl_prices *prices, const struct sl_profile *p, const char *model, const struct sl_chat_usage *u,
	      int64_t *micro);
/* USD per million tokens, as sl_price() would choose; false: not known. */
bool sl_price_per_1m(struct sl_prices *prices, const struct sl_profile *p, const char *model, double *input,
		     double *output);
/* The members of an array: {"provider","model","input_usd_per_1m","output_usd_per_1m","cached_usd_per_1m","as_of",
 * "source"},…; the operator's first. */
void sl_prices_json(struct sl_prices *prices, struct sl_buf *out);
