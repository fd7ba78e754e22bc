/* llm/keys.h: which of a profile's keys is fit to be used, and which of those has the least to do.
 *
 * A key that the provider does not accept is out until the profile's keys are set again; one that met a limit rests as
 * long as the provider asked; one whose account is spent is parked for an hour. What is known of a key goes with its
 * sealed form: after a PUT of the profile it is another key.
 *
 * Thread    everything [any]; one lock, held for a walk over one profile's keys. `now_ms` is monotonic and the
 * caller's.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#define SL_KEYS_REST_MS   5000    /* after a 429 without a hint */
#define SL_KEYS_PARKED_MS 3600000 /* after "no credit left" */

struct sl_keys;
struct sl_buf;
struct sl_profile;

SL_MUST_USE enum sl_code sl_keys_new(struct sl_keys **out);
void sl_keys_free(struct sl_keys *k); /* NULL is fine */
SL_DEFINE_AUTO(sl_keys)

enum sl_key_state { SL_KEY_FIT, SL_KEY_RESTS, SL_KEY_PARKED, SL_KEY_OUT };
const char *sl_key_state_name(enum sl_key_state state); /* "fit", "rests", "parked", "out" */

/* One way to call a profile: one key of it, or its only one when it needs none. */
struct sl_lane {
	enum sl_key_state state;
	uint64_t until_ms; /* rests and parked: when it may be used again (monotonic) */
	uint32_t in_flight;
	uint64_t calls; /* ever */
};
/* How many lanes the profile has (at least 1), the first `max` of them in out. */
uint32_t sl_keys_lanes(struct sl_keys *k, const struct sl_profile *p, struct sl_lane *out, uint32_t max,
		       uint64_t now_ms);

void sl_keys_begin(struct sl_keys *k, const struct sl_profile *p, uint32_t lane); /* a call goes out; its end: */
void sl_keys_end(struct sl_keys *k, const struct sl_profile *p, uint32_t lane, enum sl_code code,
		 uint32_t retry_after_ms, uint64_t now_ms);

/* Members: {"profile","lane","key":"…abcd"|null,"state","until_in_ms","in_flight","calls","failures"}. */
void sl_keys_json(struct sl_keys *k, struct sl_buf *out, uint64_t now_ms);
/* name: "PROFILE" or "PROFILE-LANE" with the lane from 1. SL_NOT_FOUND: nothing is known of it, so there is nothing to
 * forget. */
SL_MUST_USE enum sl_code sl_keys_reset(struct sl_keys *k, struct sl_str name);
