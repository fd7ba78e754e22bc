/* llm/provider.h: the providers we know: their protocol, address, default model, the environment variables that make
 * their profile, and what they can do.
 * Thread    [const]
 */
#pragma once

#include "base/str.h"

struct sl_protocol;

enum sl_provider_quirk {
	SL_QUIRK_MAX_COMPLETION_TOKENS = 1, /* refuses max_tokens for its newer models */
	SL_QUIRK_NO_SCHEMA = 2,             /* json_object only: the schema goes into the system text */
	SL_QUIRK_REASONING_OBJECT = 4,      /* {"reasoning":{"effort"}} instead of "reasoning_effort" */
	SL_QUIRK_KEYLESS = 8,               /* a local server: no key needed */
	SL_QUIRK_THINKING_TYPE = 16,        /* {"thinking":{"type":"enabled"}} beside "reasoning_effort" */
	SL_QUIRK_THINKING_SWITCH = 32,      /* the same, and no effort: it thinks or it does not */
	SL_QUIRK_THINKING_BUDGET = 64,      /* "enable_thinking" and "thinking_budget" */
};

enum sl_provider_can { SL_CAN_TOOLS = 1, SL_CAN_SEE = 2, SL_CAN_THINK = 4, SL_CAN_SCHEMA = 8 }; /* some model of it */

struct sl_provider {
	const char *id;
	const char *env;                    /* variable that makes the profile; NULL: none does */
	bool env_is_url;                    /* it holds an address, not a key */
	const char *base_url;               /* NULL: must be given */
	const char *model;                  /* default; NULL: must be given */
	const struct sl_protocol *protocol; /* NULL: known, not supported yet */
	unsigned quirks, can;
	uint32_t first_byte_ms;          /* how long an answer may take to begin; 0: as usual */
	const char *env_url, *env_model; /* NULL: X_BASE_URL and X_MODEL, when env is X_API_KEY */
	const char *env_version;         /* of its API; NULL: it has none */
};

extern const struct sl_provider sl_provider_table[];          /* ends with a NULL id; in the contract's order */
const struct sl_provider *sl_provider_find(struct sl_str id); /* NULL: unknown */
/* Whose model that is, guessed from its name; NULL: no idea. */
const struct sl_provider *sl_provider_of_model(struct sl_str model);
