/* memory/memory.h: what runs have learned, in three tiers: store, search, promote, invalidate, digest.
 *
 * Owns      a loop of its own ([memory] in this room) with its worker threads, the vectors it keeps in memory, one
 * timer. The store and the model client are lent and must outlive it. Thread    everything [any] unless it says
 * otherwise. Slices are read during the call only. Callbacks come on [memory], must not block, and keep the usual
 * contract: SL_OK means fn runs exactly once, later; anything else: never. Not for   listing and showing rows: that is
 * store/memory.h.
 */
#pragma once

#include "base/bytes.h"
#include "base/id.h"
#include "base/own.h"

struct sl_memory;
struct sl_store;
struct sl_llm;

struct sl_memory_config {
	struct sl_store *store;
	struct sl_llm *llm;         /* for embeddings; NULL: text only */
	uint32_t working_ttl_s;     /* 0: 86400 */
	uint32_t working_capacity;  /* of a project; the oldest goes. 0: 50 */
	size_t vector_bytes;        /* of vectors kept in memory, all projects together. 0: 512 MiB */
	uint32_t embed_timeout_ms;  /* of a query; later than this a search goes by text alone. 0: 3000 */
	uint32_t search_timeout_ms; /* of a search that says nothing itself. 0: 5000 */
};

/* [not a loop] Asks PostgreSQL what it lets us do, and waits for the answer. */
SL_MUST_USE enum sl_code sl_memory_new(const struct sl_memory_config *config, struct sl_memory **out,
				       struct sl_error *err);
/* [not a loop] After the model client has stopped and before the store is closed, when nobody calls any more: waits for
 * what is under way. Callbacks that were owed have run when it returns. */
void sl_memory_stop(struct sl_memory *m);
void sl_memory_free(struct sl_memory *m); /* stops first; NULL is fine */
SL_DEFINE_AUTO(sl_memory)

/* json: an object, borrowed, NULL unless SL_OK. */
typedef void sl_memory_fn(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json);

enum sl_memory_tier { SL_MEMORY_QUARANTINE, SL_MEMORY_WORKING, SL_MEMORY_LONG_TERM };
bool sl_memory_tier_parse(struct sl_str name, enum sl_memory_tier *out); /* "quarantine", "working", "long_term" */
const char *sl_memory_tier_name(enum sl_memory_tier tier);

struct sl_memory_item {
	enum sl_memory_tier tier;
	struct sl_str project, content;
	struct sl_str metadata; /* a JSON object; empty: none */
	double confidence;      /* NAN: not given, then it counts as 1: whoever stores it vouches for it */
	struct sl_str by;
	struct sl_str once; /* a key: the same call again stores nothing and gives the same answer; empty: none */
	bool verified;      /* a person stores it */
	bool has_run;
	struct sl_run_id run; /* where it comes from */
	struct sl_str path;
};
/* { "accepted": true, "id", "tier", "expires_at"? } or { "accepted": false, "reason", "of"? }: what the ingest filter
 * says (memory/filter.h); quarantine takes all but nothing. SL_TOO_LARGE: more than SL_LIMIT_MEMORY_BYTES. */
SL_MUST_USE enum sl_code sl_memory_store(struct sl_memory *m, const struct sl_memory_item *item, sl_memory_fn *fn,
					 void *arg);

enum sl_memory_late {
	SL_MEMORY_FAIL,   /* an error */
	SL_MEMORY_RECENT, /* the newest memories instead, if they can be had; else none */
	SL_MEMORY_EMPTY,
};
struct sl_memory_search {
	struct sl_str project;
	struct sl_str query;        /* empty: the newest */
	uint32_t max_results;       /* 0: 5; at most 50 */
	uint32_t offset;            /* results to leave out: the next page */
	bool working, long_term;    /* both false: both */
	uint32_t time_range_days;   /* 0: any time */
	double relevance_threshold; /* 0 … 1 */
	uint32_t max_tokens;        /* of all contents together, estimated; 0: no budget */
	uint32_t timeout_ms;        /* 0: the configured one */
	enum sl_memory_late on_timeout;
	bool has_run;     /* it is for a run: which memories it was given is recorded */
	bool others_only; /* leave out what that run has stored itself */
	struct sl_run_id run;
	struct sl_str path;
};
/* { "items": [{ "id", "content", "tier", "verified", "score", "confidence", "created_at", "age_s", "reuse_count",
 * "metadata", "run_id", "why", "truncated"? }], "next_offset": n|null, "degraded"? }. degraded: what it had to do
 * without. */
SL_MUST_USE enum sl_code sl_memory_search(struct sl_memory *m, const struct sl_memory_search *q, sl_memory_fn *fn,
					  void *arg);

/* To working (through the ingest filter) or long_term. ids of `instead` (UUIDs as text, commas between; may be empty)
 * say the same and are invalidated with it. { "accepted", "id", "tier", "moved" }. SL_NOT_FOUND; SL_CONFLICT: it is
 * invalid. */
SL_MUST_USE enum sl_code sl_memory_promote(struct sl_memory *m, struct sl_uuid id, enum sl_memory_tier tier,
					   struct sl_str by, struct sl_str reason, struct sl_str instead,
					   sl_memory_fn *fn, void *arg);
/* { "id", "tier", "project" }. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_memory_invalidate(struct sl_memory *m, struct sl_uuid id, struct sl_str by,
					      struct sl_str reason, sl_memory_fn *fn, void *arg);
/* The newest 2,000 of a project's quarantine as insights: { "items": [{ "id", "content", "count", "confidence", "ids",
 * "runs", "first_at", "last_at" }], "memories": n }, the most frequent first. */
SL_MUST_USE enum sl_code sl_memory_digest(struct sl_memory *m, struct sl_str project, uint32_t limit, sl_memory_fn *fn,
					  void *arg);

/* The model profiles have changed: pieces that have no vector yet may get one now. */
void sl_memory_profiles_changed(struct sl_memory *m);

struct sl_memory_stats {
	uint64_t stored, declined, promoted, invalidated, expired;
	uint64_t searches, degraded, embedded;
	uint64_t vectors, vector_bytes;
};
void sl_memory_stats(struct sl_memory *m, struct sl_memory_stats *out);
