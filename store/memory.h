/* store/memory.h: the three tiers of memory as rows, their moves, and what retrieval may read. Thread [any], callbacks
 * [store].
 *
 * The moves are functions of the database, which write their own history (migrations/0003_memory.sql). What is read for
 * retrieval (candidates, fetch, vectors) runs as the role sluice_retrieval, which has no right to quarantine; where
 * that role could not be made, the transaction says that it retrieves, and row security hides quarantine from it.
 * Either way invalid, expired and other projects' memories are not in the views it reads.
 */
#pragma once

#include "store/store.h"

#define SL_MEMORY_HASH_BYTES 32

/* What this PostgreSQL lets us do; asked once, before anything else here. Logs what is missing. */
struct sl_memory_rights {
	bool role;     /* retrieval runs as sluice_retrieval */
	bool trigrams; /* pg_trgm is there */
	bool known;
};
typedef void sl_store_memory_rights_fn(void *arg, enum sl_code rc, const struct sl_memory_rights *rights);
SL_MUST_USE enum sl_code sl_store_memory_prepare(struct sl_store *s, sl_store_memory_rights_fn *fn, void *arg);

/* Memories as rows, in one piece of memory: the callee's, free() it. What a query does not ask for is empty or 0. */
struct sl_memory_row {
	struct sl_uuid id;
	char tier[12];
	bool verified, has_run;
	double confidence;
	int64_t created_ms, expires_ms;
	int64_t reuse_count;
	uint64_t print; /* simhash */
	struct sl_run_id run;
	struct sl_str content, metadata;
};
struct sl_memory_rows {
	size_t n;
	struct sl_memory_row items[];
};
typedef void sl_store_memory_rows_fn(void *arg, enum sl_code rc, struct sl_memory_rows *rows); /* NULL unless SL_OK */

/* ---- moves ---- */

struct sl_memory_put {
	struct sl_uuid id;
	const char *tier; /* "quarantine", "working", "long_term" */
	struct sl_str project, content, metadata /* JSON object */, path, by;
	struct sl_str once; /* the same call a second time stores nothing; empty: none */
	uint8_t hash[SL_MEMORY_HASH_BYTES];
	uint64_t print;
	double confidence;
	bool has_run, verified;
	struct sl_run_id run;
	uint32_t ttl_s, capacity; /* of working */
	struct sl_str chunks;     /* JSON array of texts, of long_term */
};
enum sl_memory_outcome {
	SL_MEMORY_STORED,
	SL_MEMORY_REPEATED,  /* this call was made before; id and tier are what it stored */
	SL_MEMORY_DUPLICATE, /* a valid memory says just this */
};
typedef void sl_store_memory_put_fn(void *arg, enum sl_code rc, enum sl_memory_outcome outcome, struct sl_uuid id,
				    const char *tier, int64_t expires_ms);
SL_MUST_USE enum sl_code sl_store_memory_put(struct sl_store *s, const struct sl_memory_put *m,
					     sl_store_memory_put_fn *fn, void *arg);

/* What the call with this key stored. SL_NOT_FOUND: there was none. */
SL_MUST_USE enum sl_code sl_store_memory_once(struct sl_store *s, struct sl_str once, sl_store_memory_put_fn *fn,
					      void *arg);

struct sl_memory_move {
	struct sl_uuid id;
	const char *tier; /* "working" or "long_term" */
	struct sl_str by, reason, chunks;
	bool verified;
	uint32_t ttl_s, capacity;
};
/* SL_CONFLICT: it is invalid or has expired. moved false: it was there already. */
typedef void sl_store_memory_move_fn(void *arg, enum sl_code rc, bool moved, struct sl_str project, const char *tier,
				     int64_t expires_ms);
SL_MUST_USE enum sl_code sl_store_memory_move(struct sl_store *s, const struct sl_memory_move *m,
					      sl_store_memory_move_fn *fn, void *arg);

/* ids: UUIDs as text, with commas between; project: only of this one, empty: any. n: how many there are; tier and
 * project of the first. SL_NOT_FOUND: none. */
typedef void sl_store_memory_invalid_fn(void *arg, enum sl_code rc, size_t n, struct sl_str project, const char *tier);
SL_MUST_USE enum sl_code sl_store_memory_invalidate(struct sl_store *s, struct sl_str ids, struct sl_str project,
						    struct sl_str by, struct sl_str reason,
						    sl_store_memory_invalid_fn *fn, void *arg);

/* At most `most` expired ones go. next_ms: wall, when the next one expires; 0: none will. */
typedef void sl_store_memory_expire_fn(void *arg, enum sl_code rc, uint32_t gone, int64_t next_ms);
SL_MUST_USE enum sl_code sl_store_memory_expire(struct sl_store *s, uint32_t most, sl_store_memory_expire_fn *fn,
						void *arg);

/* A run was given these (ids as above). */
SL_MUST_USE enum sl_code sl_store_memory_used(struct sl_store *s, struct sl_str ids, struct sl_run_id run,
					      struct sl_str path, sl_store_fn *fn, void *arg);

/* ---- for people: any tier ---- */

struct sl_memory_filter {
	struct sl_str project, tier, cursor; /* empty: any, the first page */
	bool invalid;                        /* the invalidated ones, too */
	uint32_t limit;                      /* 1 … 200, 0: 50 */
};
/* { "items": […], "next_cursor" }, newest first. SL_BAD_REQUEST at once: the cursor is not one of ours. */
SL_MUST_USE enum sl_code sl_store_memory_list(struct sl_store *s, const struct sl_memory_filter *f,
					      sl_store_json_fn *fn, void *arg);
/* One, with its history and the runs that were given it. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_store_memory_get(struct sl_store *s, struct sl_uuid id, sl_store_json_fn *fn, void *arg);
/* One row of any tier, its content to be split; none: it is not there, or invalid. */
SL_MUST_USE enum sl_code sl_store_memory_one(struct sl_store *s, struct sl_uuid id, sl_store_memory_rows_fn *fn,
					     void *arg);
/* The newest of a project's quarantine, for the digest; at most `limit`. */
SL_MUST_USE enum sl_code sl_store_memory_quarantine(struct sl_store *s, struct sl_str project, uint32_t limit,
						    sl_store_memory_rows_fn *fn, void *arg);
/* Valid memories (not quarantine) of a project whose print is near: the candidates for "this is known". */
SL_MUST_USE enum sl_code sl_store_memory_near(struct sl_store *s, struct sl_str project, uint64_t print, uint32_t bits,
					      sl_store_memory_rows_fn *fn, void *arg);

/* ---- for retrieval ---- */

enum sl_memory_leg { SL_MEMORY_HOT, SL_MEMORY_WORDS, SL_MEMORY_TRIGRAMS, SL_MEMORY_LEGS };
struct sl_memory_candidate {
	struct sl_uuid id;
	enum sl_memory_leg leg; /* how it was found; each leg is in its order */
};
struct sl_memory_query {
	struct sl_str project, text; /* text empty: only the newest */
	const struct sl_memory_rights *rights;
	bool working, long_term;
	int64_t since_ms;   /* wall; 0: any time */
	uint32_t hot, each; /* newest working ones; of each other leg */
};
/* version: of the project's vectors. `items` are lent. */
typedef void sl_store_memory_candidates_fn(void *arg, enum sl_code rc, const struct sl_memory_candidate *items,
					   size_t n, int64_t version);
SL_MUST_USE enum sl_code sl_store_memory_candidates(struct sl_store *s, const struct sl_memory_query *q,
						    sl_store_memory_candidates_fn *fn, void *arg);
/* The rows of these ids (as text, commas between) that may be retrieved, in any order; the others are not in it. */
SL_MUST_USE enum sl_code sl_store_memory_fetch(struct sl_store *s, const struct sl_memory_query *q, struct sl_str ids,
					       sl_store_memory_rows_fn *fn, void *arg);

/* A page of a project's vectors of a model: those with a version above `since`, before (id, n), the newest
 * first. */
struct sl_memory_vector {
	struct sl_uuid id;
	uint32_t n;
	struct sl_str vector; /* dims float32, little-endian */
	uint32_t dims;
};
typedef void sl_store_memory_vectors_fn(void *arg, enum sl_code rc, const struct sl_memory_vector *items, size_t n);
SL_MUST_USE enum sl_code sl_store_memory_vectors(struct sl_store *s, const struct sl_memory_rights *rights,
						 struct sl_str project, struct sl_str model, int64_t since,
						 struct sl_uuid after, int32_t after_n, uint32_t limit,
						 sl_store_memory_vectors_fn *fn, void *arg);

/* ---- for embedding ---- */

/* Pieces that have no vector of this model yet, each text once: content, and the hash in `id`'s place is not needed. */
SL_MUST_USE enum sl_code sl_store_memory_unembedded(struct sl_store *s, struct sl_str model, uint32_t limit,
						    sl_store_memory_rows_fn *fn, void *arg);
/* hashes: n * 32 bytes; vectors: n * dims float32, little-endian. */
SL_MUST_USE enum sl_code sl_store_memory_embed(struct sl_store *s, struct sl_str model, uint32_t dims,
					       struct sl_str hashes, struct sl_str vectors, sl_store_fn *fn, void *arg);
