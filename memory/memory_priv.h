/* memory/memory_priv.h: the room's own view of struct sl_memory, and the operations that run on it. All [memory]. */
#pragma once

#include <stdatomic.h>
#include <stdlib.h>
#define HASH_NONFATAL_OOM 1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#include <uthash.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "llm/chat.h"
#include "llm/embed.h"
#include "llm/profile.h"
#include "memory/memory.h"
#include "memory/vectors.h"
#include "store/memory.h"
#include "store/store.h"

#define SL_MODEL_BYTES 200

struct sl_project;

struct sl_memory {
	struct sl_memory_config config;
	struct sl_loop *loop;
	uv_timer_t timer;
	uint64_t timer_due_ms; /* UINT64_MAX: off */
	struct sl_memory_rights rights;
	struct sl_list searches; /* of struct sl_op, those with a deadline */

	/* sweeper */
	uint64_t sweep_due_ms; /* monotonic */
	bool sweeping;

	/* embedding */
	struct sl_list queries; /* vectors of queries, the latest used first */
	size_t n_queries;
	struct sl_fill *fill; /* a round of back-filling under way */
	bool fill_again;
	uint64_t fill_due_ms; /* try again then */
	uint32_t fill_failures;

	struct sl_project *projects; /* uthash, by name */
	uint64_t clock;              /* counts uses of projects */

	pthread_mutex_t lock;
	pthread_cond_t quiet;
	size_t ops; /* [lock lock] under way, back-filling and sweeping included */
	bool stopped;
	_Atomic bool stopping;
	_Atomic uint64_t stored, declined, promoted, invalidated, expired, searched, degraded, embedded, vectors,
		vector_bytes;
};

/* Counts what is under way, so that stop can wait for it. [any] */
void sl_memory_begin(struct sl_memory *m);
void sl_memory_end(struct sl_memory *m);
void sl_memory_wake_at(struct sl_memory *m, uint64_t mono_ms);

/* ---- operations: one at a time they are on the loop, at the store, at work on a thread ---- */

/* One operation of a caller. The head of a larger struct; `go` is what runs next. */
struct sl_op {
	struct sl_post post;
	uv_work_t work;
	struct sl_memory *m;
	sl_memory_fn *fn;
	void *arg;
	void (*go)(struct sl_op *op);      /* [memory] */
	void (*compute)(struct sl_op *op); /* [a worker thread] */
	void (*drop)(struct sl_op *op);    /* frees what the larger struct owns */
	enum sl_code rc;
	struct sl_error err;
	struct sl_buf json; /* the answer */
	struct sl_memory_rows *rows;
};
/* NULL: no memory. bytes: of the larger struct. */
void *sl_op_new(struct sl_memory *m, size_t bytes, void (*drop)(struct sl_op *op), sl_memory_fn *fn, void *arg);
SL_MUST_USE enum sl_code sl_op_start(struct sl_op *op, void (*go)(struct sl_op *op)); /* [any] takes it */
void sl_op_go(struct sl_op *op, void (*go)(struct sl_op *op));                        /* [any] posts */
/* Runs compute on a thread, then go here. */
void sl_op_work(struct sl_op *op, void (*compute)(struct sl_op *op), void (*go)(struct sl_op *op));
/* Tells the caller op->rc, or the JSON; finish frees, too. */
void sl_op_tell(struct sl_op *op);
void sl_op_finish(struct sl_op *op);
void sl_op_fail(struct sl_op *op, enum sl_code rc); /* with op->err when it has a text */
void sl_op_free(struct sl_op *op);
/* [store] callbacks with the op as arg: keep what came and go on at op->go. */
void sl_op_from_store(void *arg, enum sl_code rc);
void sl_op_rows_from_store(void *arg, enum sl_code rc, struct sl_memory_rows *rows);

/* [a worker] The pieces of a text as a JSON array. */
void sl_memory_chunks(struct sl_str text, struct sl_buf *out);
void sl_memory_hash(struct sl_str text, uint8_t out[SL_MEMORY_HASH_BYTES]);
size_t sl_memory_storable(char *text, size_t len); /* in place: valid UTF-8 without NUL; the new length */
uint32_t sl_memory_tokens(struct sl_str text);     /* an estimate */

/* ---- sweeper (memory.c) ---- */
void sl_sweep_at(struct sl_memory *m, int64_t wall_ms);

/* ---- embedding (embedder.c) ---- */

/* The vector of a query. */
enum sl_query_state { SL_QUERY_WAITING, SL_QUERY_READY, SL_QUERY_FAILED };
struct sl_query_vector {
	struct sl_list link;
	struct sl_list waiters; /* of struct sl_query_waiter */
	struct sl_memory *m;
	char model[SL_MODEL_BYTES];
	uint8_t hash[SL_MEMORY_HASH_BYTES];
	enum sl_query_state state;
	unsigned uses; /* whoever looks at it; freed when nobody does and it is out of the list */
	bool listed;
	uint32_t dims;
	float *vector;
	/* the call */
	struct sl_post post;
	uv_work_t work;
	struct sl_embed *call;
	struct sl_bytes *body;
	enum sl_code rc;
	struct sl_error err;
};
struct sl_query_waiter {
	struct sl_list link;
	void (*fn)(struct sl_query_waiter *w); /* [memory] the state is no longer WAITING */
};
/* The profile that embeds now, and the name its vectors go by. NULL: none. */
struct sl_profile *sl_embedder_profile(struct sl_memory *m, char model[SL_MODEL_BYTES]);
/* One use of it; NULL: no memory. */
struct sl_query_vector *sl_embedder_query(struct sl_memory *m, const struct sl_profile *p, const char *model,
					  struct sl_str text);
void sl_embedder_done(struct sl_query_vector *q); /* one use less; NULL is fine */
void sl_embedder_fill(struct sl_memory *m);       /* pieces without a vector get theirs */
void sl_embedder_fini(struct sl_memory *m);

/* ---- vectors of projects (projects.c) ---- */

struct sl_project_waiter {
	struct sl_list link;
	uint64_t since_ms;
	void (*fn)(struct sl_project_waiter *w); /* [memory] ready, or waited too long: look again */
};
enum sl_project_state { SL_PROJECT_READY, SL_PROJECT_LOADING };
struct sl_project {
	UT_hash_handle hh;
	struct sl_memory *m;
	char *name;
	char model[SL_MODEL_BYTES];
	enum sl_project_state state;
	bool full, failed;          /* not all vectors are here: no room; the last load did not come to its end */
	int64_t version;            /* everything up to it is here */
	struct sl_vectors *vectors; /* NULL: none yet */
	size_t count, bytes;        /* of vectors, as of the last change */
	unsigned readers;           /* searches on threads; nothing changes meanwhile */
	uint64_t used;
	struct sl_list waiters;
	struct sl_uuid *drops; /* to be dropped when nobody reads */
	size_t n_drops, cap_drops;
	struct sl_load *load;
};
/* The project's vectors of this model, complete up to `version` or not: see state. Begins to load what is missing.
 * NULL: no memory. */
struct sl_project *sl_project_get(struct sl_memory *m, struct sl_str name, const char *model, int64_t version);
void sl_project_read(struct sl_project *p); /* until sl_project_read_end() it stays as it is */
void sl_project_read_end(struct sl_project *p);
void sl_project_drop(struct sl_memory *m, struct sl_str name, struct sl_uuid id);
void sl_projects_fini(struct sl_memory *m);

/* ---- search.c ---- */
void sl_searches_tick(struct sl_memory *m, uint64_t now); /* those that have waited long enough */
