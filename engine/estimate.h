/* engine/estimate.h: what a run of a workflow will take, before it is begun. Walks the parsed graph: rounds of loops,
 * items of maps, cases of branches, ways beside each other; what one node takes it asks its caller.
 *
 * Owns      what struct sl_estimate holds, until sl_estimate_fini().
 * Thread    [any], pure: no clock, no network.
 * Rules     a loop that can end early takes 1 round at least, half of them expected, `max_rounds` at most; without a
 *           condition all of them. A model with tools is asked once at least, and
 *           once more than `max_iterations` at most. A map has the items that are written down, or those the inputs
 * give; else it is said that they were guessed. Of a branch's cases each is equally likely, and a condition as likely
 * as not: up to SL_ESTIMATE_WAYS ways through a graph are all walked, beyond that as many of them, and then the most is
 * all nodes together. Retries are not counted. Not for   tokens and prices: those are the caller's.
 */
#pragma once

#include "base/json.h"
#include "base/own.h"

struct sl_graph;
struct sl_node_def;
struct sl_workflow;

#define SL_ESTIMATE_WAYS 256

struct sl_spread {
	double min, expected, max;
};

/* One execution of a node. */
struct sl_estimate_ask {
	const struct sl_graph *graph;
	const struct sl_node_def *def;
	double context_tokens; /* of what its parameters mention: other nodes' texts, inputs, the round before */
};
struct sl_estimate_one {
	struct sl_spread tokens, cost_microusd, ms;
	double out_tokens; /* of its text that others may mention; below 0: as many as its direct ancestors' together */
};
typedef enum sl_code sl_estimate_fn(void *ctx, const struct sl_estimate_ask *ask, struct sl_estimate_one *out,
				    struct sl_error *err);

struct sl_estimate_node {
	char *path;                                   /* without numbers: "refine/judge" */
	const struct sl_node_def *def;                /* of the workflow */
	struct sl_spread runs, tokens, cost_microusd; /* of all its executions in the run */
};

struct sl_estimate {
	struct sl_spread tokens, cost_microusd, ms;
	double executions; /* of nodes, expected */
	bool guessed;      /* the items of some map are not known */
	struct sl_estimate_node *nodes;
	size_t n;
};

/* inputs NULL: not known. input_tokens: of all of them together, or what to assume. *out is always fit for fini.
 * SL_NO_MEMORY, or what fn returned. */
SL_MUST_USE enum sl_code sl_estimate_workflow(const struct sl_workflow *w, struct json_object *inputs,
					      double input_tokens, sl_estimate_fn *fn, void *ctx,
					      struct sl_estimate *out, struct sl_error *err);
void sl_estimate_fini(struct sl_estimate *e);
