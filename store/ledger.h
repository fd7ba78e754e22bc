/* store/ledger.h: calls that were called off before their end: when it was ordered, when the socket was closed, what
 * had come until then. Thread [any], callbacks [store].
 *
 * Rows go with their run when it is forgotten (migrations: a trigger on runs). */
#pragma once

#include "base/id.h"
#include "store/store.h"

/* One call. Its strings belong to it. */
struct sl_call_row {
	struct sl_uuid id; /* of the row: writing it twice does no harm */
	struct sl_run_id run;
	char *path; /* of the node */
	uint32_t attempt;
	const char *kind;   /* "llm", "http": a constant */
	const char *reason; /* "cancelled", "paused", …: a constant */
	char *provider;     /* of an http call: the host */
	char *profile;      /* "": none */
	char *model;        /* as asked; "": none */
	int64_t ordered_ms; /* wall */
	int64_t closed_ms;  /* wall; 0: there was no connection */
	uint64_t close_us;  /* from the order to the closed socket; 0: there was no connection */
	bool multiplexed;   /* a stream of a shared connection was reset, not a socket closed */
	uint64_t bytes;     /* of the answer's body */
	uint64_t chunks;    /* pieces of text */
	uint64_t input_tokens, output_tokens;
	bool estimated; /* these are ours; false: the provider's own, final ones */
	int64_t cost_microusd;
	int http_status; /* 0: no answer had begun */
};
void sl_call_row_fini(struct sl_call_row *row);

/* All of them, in one statement. Rows are read during the call only. */
SL_MUST_USE enum sl_code sl_store_calls_put(struct sl_store *s, const struct sl_call_row *rows, size_t n,
					    sl_store_fn *fn, void *arg);
/* { "items": [{ "node_id", "attempt", "kind", "reason", "provider", "profile", "model", "requested_at", "closed_at",
 * "close_us", "bytes", … }] } of a run, oldest first, at most SL_LIMIT_LEDGER_ITEMS. SL_NOT_FOUND: there is no such
 * run. */
SL_MUST_USE enum sl_code sl_store_calls_of(struct sl_store *s, struct sl_run_id run, sl_store_json_fn *fn, void *arg);
