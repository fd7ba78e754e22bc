/* api/estimate.h: a forecast of a workflow in tokens, money and time: engine/estimate.h walks, here is said what a node
 * takes.
 *
 * Thread    [any]; reads sets that are behind locks of their own.
 * Tokens    of a prompt: llm/tokens.h, plus the texts it mentions (what other nodes are expected to say, the inputs,
 *           the round before). Of an answer: max_tokens where somebody set it, else SL_ESTIMATE_OUTPUT.
 * Time      what calls of the same profile and model took so far; without any, a first token after a second and 50
 *           tokens a second. Persons and signals take none.
 */
#pragma once

#include "base/buf.h"

struct json_object;
struct sl_agents;
struct sl_prices;
struct sl_profiles;
struct sl_stats;
struct sl_workflow;

#define SL_ESTIMATE_OUTPUT     500
#define SL_ESTIMATE_HIGH_MICRO 300000 /* expected: above it there is a warning `high_cost` */
#define SL_ESTIMATE_LONG_MS    300000 /* `long_duration` */
#define SL_ESTIMATE_MANY       50     /* executions of nodes: `complex_workflow` */

struct sl_estimate_models {
	struct sl_profiles *profiles;
	struct sl_agents *agents; /* NULL: none */
	struct sl_prices *prices; /* NULL: the built-in ones */
	struct sl_stats *stats;   /* NULL: nothing was measured */
};

/* inputs NULL: not known. Writes { "tokens", "cost_usd", "duration_s", "nodes", "warnings" }. The workflow must be the
 * caller's alone: its parameters are read through counted objects. */
SL_MUST_USE enum sl_code sl_estimate_json(const struct sl_estimate_models *m, const struct sl_workflow *w,
					  struct json_object *inputs, struct sl_buf *out, struct sl_error *err);
