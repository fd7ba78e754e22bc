/* base/record.h: what crosses between the engine and the store: journal records, in base types only.
 *
 * Thread    a batch belongs to one side at a time; sl_bytes inside it are shared and immutable.
 * The engine makes batches, the store writes them (store/journal.h); both know only this shape.
 */
#pragma once

#include "base/bytes.h"
#include "base/id.h"
#include "base/mpsc.h"

/* One row of run_events. */
struct sl_record {
	uint64_t seq; /* 1, 2, 3 … without a gap within a run */
	int64_t wall_ms;
	const char *event;     /* the wire name clients see, a constant string: "node_state_change" */
	struct sl_bytes *data; /* public JSON object: what clients see */
	struct sl_bytes
		*detail; /* internal JSON object (outputs, streams), never sent to clients as an event; NULL: none */
	struct sl_bytes *once; /* unique within the run when set: "refine#2/judge"; NULL: none */
};

/* What `runs` shows; written with the batch whenever `has_projection`. Wire text, as the API shows it. */
struct sl_projection {
	const char *status;              /* constant string, "running" */
	char *reason;                    /* why paused, failed …; NULL: none */
	int64_t started_ms, finished_ms; /* wall, 0 = not yet */
	uint32_t nodes_total, nodes_done;
	uint64_t input_tokens, output_tokens;
	int64_t cost_microusd;
	struct sl_bytes *outputs; /* JSON, NULL until succeeded */
	struct sl_bytes *error;   /* JSON { code, message, node? }, NULL unless failed */
	bool simulated;           /* the simulator answered at least once */
	bool done;                /* a final status: the lease is given up in the same statement */
};

/* What a run is made of; never changes. Travels with the first batch and comes back when a run is claimed. */
struct sl_run_head {
	struct sl_run_id id;
	char *workflow;  /* name; "" for an inline definition without one */
	int32_t version; /* 0: inline definition */
	char *project;   /* "default" when none was given */
	int32_t priority;
	struct sl_bytes *definition; /* the pinned JSON text */
	struct sl_bytes *inputs;     /* JSON object */
	struct sl_bytes *tags;       /* JSON array of strings, NULL: none */
	char *idempotency_key;       /* NULL: none. Unique per project */
	struct sl_bytes
		*idempotency_digest; /* digest of the request, to tell a repeat from a reuse; NULL with no key */
	char *created_by;            /* token name, NULL: unknown */
	int64_t created_ms;
	/* A run that another run started; told in the event that creates it, and kept nowhere else. */
	struct sl_run_id parent; /* all zero: nobody's child */
	char *parent_node;       /* path; NULL: nobody's child */
	uint32_t depth;          /* 0: nobody's child; of parents above it */
};

struct sl_batch {
	struct sl_link link; /* for whoever holds the batch */
	struct sl_run_id run;
	uint64_t epoch;             /* the lease under which this was decided; a stale one is refused */
	struct sl_run_head *create; /* set in the first batch of a run only; owned by the batch */
	struct sl_record *records;
	size_t n_records;
	size_t bytes; /* of all payloads, for caps */
	bool has_projection;
	struct sl_projection projection;

	/* [store] exactly once when append returned SL_OK:
	 *   SL_OK           committed (or found committed: a lost COMMIT reply is resolved by key before this is
	 * called) SL_STALE_EPOCH  another instance owns the run; nothing of this batch was written SL_CONFLICT     a
	 * `once` key or the idempotency key exists already; nothing of this batch was written. For an idempotency key,
	 * `existing` is the run that has it and `same_request` compares the digests. SL_CANCELLED    the store was
	 * closed first An unreachable PostgreSQL is no outcome: the store keeps the batch and tries again. The callee
	 * frees the batch. */
	void (*done)(struct sl_batch *b, enum sl_code outcome);
	void *ctx;
	struct sl_cuts *cuts; /* the store's, while it has the batch */
	struct sl_run_id existing;
	bool same_request;
};

/* A run as the store gives it back: on claim, and to show a run that is not in memory. */
struct sl_stored_run {
	struct sl_run_head *head;
	uint64_t epoch;            /* the new epoch when claimed, else the present one */
	uint32_t recoveries;       /* how often it was claimed unfinished, this time included */
	struct sl_record *records; /* all of them, by seq; `event` points into `names` or to constants */
	size_t n_records;
	char *names;
	bool damaged; /* a part of it is missing or not what was written: not to be folded */
};

struct sl_run_head *sl_run_head_new(void);    /* zeroed */
void sl_run_head_free(struct sl_run_head *h); /* NULL is fine */
SL_DEFINE_AUTO(sl_run_head)
struct sl_batch *sl_batch_new(size_t n_records); /* room for n records, all zero; NULL: no memory */
void sl_batch_free(struct sl_batch *b);          /* with records, projection and head */
SL_DEFINE_AUTO(sl_batch)
void sl_stored_run_free(struct sl_stored_run *r);
SL_DEFINE_AUTO(sl_stored_run)
void sl_record_fini(struct sl_record *r);
void sl_projection_fini(struct sl_projection *p);
