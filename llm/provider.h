/* llm/provider.h: the providers we know: their protocol, address, default model, and the environment key that opens
 * them. Thread    [const]
 */
#pragma once

#include "base/str.h"

struct sl_protocol;

enum sl_provider_quirk {
	SL_QUIRK_MAX_COMPLETION_TOKENS = 1, /* refuses max_tokens for its newer models */
	SL_QUIRK_NO_SCHEMA = 2,             /* json_object only: the schema goes into the system text */
	SL_QUIRK_REASONING_OBJECT = 4,      /* {"reasoning":{"effort"}} instead of "reasoning_effort" */
	SL_QUIRK_KEYLESS = 8,               /* a local server: no key needed */
};

struct sl_provider {
	const char *id;
	const char *env;                    /* variable that makes the profile */
	bool env_is_url;                    /* it holds an address, not a key */
	const char *base_url;               /* NULL: must be given */
	const char *model;                  /* default */
	const struct sl_protocol *protocol; /* NULL: known, not supported yet */
	unsigned quirks;
};

extern const struct sl_provider sl_provider_table[];          /* ends with a NULL id; in the contract's order */
const struct sl_provider *sl_provider_find(struct sl_str id); /* NULL: unknown */
