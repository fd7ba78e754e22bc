/* store/prices.h: what an operator says models cost. Thread [any], callbacks [store]. */
#pragma once

#include "store/audit.h"

/* These rows and no others, in one transaction with the line of the audit trail. `json` holds them: an array of
 * { provider, model, input_nanousd, output_nanousd, cached_nanousd?, as_of }. */
SL_MUST_USE enum sl_code sl_store_price_replace(struct sl_store *s, const struct sl_audit_by *by, struct sl_bytes *json,
						sl_store_fn *fn, void *arg);
/* All of them, in the same form. */
SL_MUST_USE enum sl_code sl_store_price_list(struct sl_store *s, sl_store_json_fn *fn, void *arg);
