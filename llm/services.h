/* llm/services.h: what the plug-ins (node types, middleware) are given to work with; filled in by cmd, the same for
 * all.
 *
 * Thread    [const] after start-up; each member's header says what may be done where.
 */
#pragma once

#include <stdint.h>

struct sl_agents;
struct sl_cache;
struct sl_egress;
struct sl_governor;
struct sl_llm;
struct sl_memory;
struct sl_sources;

struct sl_services {
	struct sl_llm *llm;               /* model calls */
	struct sl_agents *agents;         /* personas */
	struct sl_egress *egress;         /* requests to addresses that workflow authors choose */
	struct sl_governor *governor;     /* limits, breakers, keys and budgets of model calls; NULL: none */
	struct sl_cache *cache;           /* answers to give again; NULL: none */
	struct sl_memory *memory;         /* what runs have learned */
	const struct sl_sources *sources; /* where facts are looked up; NULL: nowhere */
	uint32_t slow_step_ms;  /* what leaves the system and takes longer is worth a warning; 0: nothing is */
	uint32_t slow_model_ms; /* likewise a model call */
};
