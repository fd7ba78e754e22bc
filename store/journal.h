/* store/journal.h: the journal of runs: group commit, claiming, loading. The engine's journal port points here.
 *
 * Thread    calls [any], callbacks [store].
 * Promise   one run's batches are written in the order of the calls, each whole or not at all. A batch is written when
 *           its run's epoch is batch->epoch and its first record follows the last one written; so there is never a gap,
 * a repeat or a write by a former owner, also when the reply of a COMMIT was lost. After a batch was refused the later
 * ones of its run are refused, too. Cost      whatever waits when a commit returns goes out as the next transaction;
 * nothing waits for a timer.
 */
#pragma once

#include "base/record.h"
#include "store/store.h"

/* As struct sl_journal.append: takes the batch on any return; `done` runs only after SL_OK. Outcomes: base/record.h,
 * and SL_INVALID: PostgreSQL refuses the content for good (a zero byte or invalid UTF-8 in a text). SL_BUSY:
 * SL_LIMIT_CREATED_QUEUE_BYTES wait already and b->create is set. SL_CANCELLED: the store is closing. */
SL_MUST_USE enum sl_code sl_store_append(struct sl_store *s, struct sl_batch *b);

/* As struct sl_journal.claim: up to max unfinished runs that nobody alive owns become ours, oldest first, with their
 * records. `runs` and its elements are the callee's (free each, then free(runs)). */
typedef void sl_store_claim_fn(void *arg, enum sl_code rc, struct sl_stored_run **runs, size_t n);
SL_MUST_USE enum sl_code sl_store_claim(struct sl_store *s, size_t max, sl_store_claim_fn *fn, void *arg);

/* As struct sl_journal.load. SL_NOT_FOUND: no such run. `run` is the callee's. */
typedef void sl_store_load_fn(void *arg, enum sl_code rc, struct sl_stored_run *run);
SL_MUST_USE enum sl_code sl_store_load(struct sl_store *s, struct sl_run_id id, sl_store_load_fn *fn, void *arg);

/* As struct sl_journal.reopen: a run that failed or was cancelled is ours, and no batch but ours will be taken; the row
 * says that it has ended until one of them says otherwise. SL_CONFLICT: it is none, or none any more. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_store_reopen(struct sl_store *s, struct sl_run_id id, sl_store_load_fn *fn, void *arg);

/* The four above with the store as void *: fill struct sl_journal with them. */
enum sl_code sl_store_port_append(void *store, struct sl_batch *b);
enum sl_code sl_store_port_claim(void *store, size_t max, sl_store_claim_fn *fn, void *arg);
enum sl_code sl_store_port_load(void *store, struct sl_run_id id, sl_store_load_fn *fn, void *arg);
enum sl_code sl_store_port_reopen(void *store, struct sl_run_id id, sl_store_load_fn *fn, void *arg);
