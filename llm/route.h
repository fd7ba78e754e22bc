/* llm/route.h: whom a model call may go to: the profile its parameters name (themselves, through an agent, by provider,
 * or by naming none) and that profile's fallbacks, in order.
 *
 * Owns      references of the profiles, until sl_route_fini().
 * Thread    [any]
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct json_object;
struct sl_agents;
struct sl_profile;
struct sl_profiles;
struct sl_services;

#define SL_ROUTE_MOST 8 /* candidates; further fallbacks are not tried */

struct sl_route {
	struct sl_profile *profiles[SL_ROUTE_MOST];
	uint32_t n;             /* at least 1 when resolved */
	char model[129];        /* that goes before the first profile's; "": none */
	int64_t max_tokens;     /* of the call or its agent; 0: not said */
	double temperature;     /* likewise; NAN: not said */
	bool thinks;            /* an effort is named */
	uint64_t system_tokens; /* of the agent's system prompt, about */
};

/* SL_NOT_FOUND: there is no such profile or agent, or these are no parameters of a model call. *out is always fit for
 * sl_route_fini(). */
SL_MUST_USE enum sl_code sl_route_resolve(struct sl_profiles *profiles, struct sl_agents *agents,
					  struct json_object *params, struct sl_route *out, struct sl_error *err);
/* The same for who has services: false when there is no way, or no governor that would care. */
bool sl_route_of(const struct sl_services *s, struct json_object *params, struct sl_route *out);
void sl_route_fini(struct sl_route *r);
#define SL_ROUTE_AUTO __attribute__((cleanup(sl_route_fini))) struct sl_route

/* Of a candidate below n: the model it will be asked for; the most its answer may have (0: nobody said); its
 * temperature (NAN: nobody said). */
const char *sl_route_model(const struct sl_route *r, uint32_t candidate);
int64_t sl_route_max_tokens(const struct sl_route *r, uint32_t candidate);
double sl_route_temperature(const struct sl_route *r, uint32_t candidate);
