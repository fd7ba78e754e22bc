/* store/runs.h: looking at runs in the database: the list and the journal, page by page. Thread [any], callbacks
 * [store]. */
#pragma once

#include "base/record.h"
#include "store/store.h"

#define SL_RUN_FILTER_STATUSES 8

struct sl_run_filter {
	struct sl_str statuses[SL_RUN_FILTER_STATUSES]; /* any of them; n_statuses 0: all */
	size_t n_statuses;
	struct sl_str workflow, project, tag; /* empty: any */
	int64_t since_ms;                     /* created at or after, wall; 0: any */
	struct sl_str cursor;                 /* empty: from the newest */
	uint32_t limit;                       /* 1 … 200, clamped; 0: 50 */
};
/* { "items": [run without inputs, outputs, definition, nodes], "next_cursor" }, newest first. The strings are copied.
 * SL_BAD_REQUEST at once: the cursor is not one of ours. */
SL_MUST_USE enum sl_code sl_store_run_list(struct sl_store *s, const struct sl_run_filter *filter, sl_store_json_fn *fn,
					   void *arg);

/* { "items": [{ "seq", "ts", "event", "data" }], "next_cursor" }: the cursor is the seq to go on after, as a string,
 * null at the present end. limit 1 … 1000 (clamped); a page ends sooner with the record that takes its text to
 * SL_LIMIT_PAGE_BYTES. SL_NOT_FOUND: no such run. */
SL_MUST_USE enum sl_code sl_store_run_events(struct sl_store *s, struct sl_run_id id, uint64_t after_seq,
					     uint32_t limit, sl_store_json_fn *fn, void *arg);

/* The same as records, for who sends them elsewhere: `run->records` without detail and once, `run->head` NULL, `run`
 * the callee's. Fewer than limit, and less text than SL_LIMIT_PAGE_BYTES: the present end. SL_NOT_FOUND: no such run.
 */
typedef void sl_store_records_fn(void *arg, enum sl_code rc, struct sl_stored_run *run);
SL_MUST_USE enum sl_code sl_store_run_records(struct sl_store *s, struct sl_run_id id, uint64_t after_seq,
					      uint32_t limit, sl_store_records_fn *fn, void *arg);
/* Only those with this wire name, as many as one page has. None: the present end. */
SL_MUST_USE enum sl_code sl_store_run_records_of(struct sl_store *s, struct sl_run_id id, const char *event,
						 uint64_t after_seq, sl_store_records_fn *fn, void *arg);
