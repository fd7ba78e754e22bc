/* llm/sources.h: where facts are looked up: a port for each kind of source, filled in by whoever has one.
 *
 * Thread    search [any], reads the query during the call only. fn comes on any thread, must not block, and keeps the
 *           usual contract: SL_OK means it runs exactly once, later; anything else: never.
 */
#pragma once

#include "base/bytes.h"
#include "base/id.h"

#define SL_SOURCE_TIMEOUT_MS 5000 /* of one query */

struct sl_source_query {
	struct sl_str project, text;
	uint32_t max_results;
	uint32_t timeout_ms; /* fn comes by then, SL_TIMEOUT at the latest */
	struct sl_run_id run;
	struct sl_str path; /* of the node that asks */
};

/* json: { "items": [{ "text", "id"?, "url"?, "title"?, "verified"? }] }, the best first; borrowed, NULL unless SL_OK.
 * verified: a person stands by it. All of it is foreign text. */
typedef void sl_source_fn(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json);

struct sl_source {
	enum sl_code (*search)(void *ctx, const struct sl_source_query *q, sl_source_fn *fn,
			       void *arg); /* NULL: there is no such source on this server */
	void *ctx;
};

struct sl_sources {
	struct sl_source memory; /* what earlier runs of the project have learned */
	struct sl_source web;    /* a web search provider */
};
