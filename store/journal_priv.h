/* store/journal_priv.h: a group of batches on its way into one transaction. For journal*.c only. Thread [store]. */
#pragma once

#include "store/chunks_priv.h"
#include "store/journal.h"
#include "store/store_priv.h"

/* One batch in a lane's queue. */
struct sl_item {
	struct sl_batch *b;
	bool maybe; /* was sent and the reply was lost: it may be written already */
	bool solo;  /* its group failed: it goes alone, so that it can only hurt itself */
};

/* All batches of one run in a group: accepted or refused together. */
struct sl_entry {
	struct sl_run_id run;
	uint64_t epoch;
	size_t first, n;    /* items[first … first + n) */
	int32_t prev, last; /* last_seq before and after; prev -1: no records */
	bool create, accepted, maybe;
	enum sl_code verdict;
};

struct sl_group {
	struct sl_item *items;
	struct sl_entry *entries; /* sorted by run */
	size_t n_items, n_entries, n_creates, cap;
	size_t bytes;
};

/* The parameters of the group statements: arrays in PostgreSQL's binary form, kept from group to group. */
#define SL_GROUP_ARRAYS 48
struct sl_arrays {
	struct sl_buf b[SL_GROUP_ARRAYS];
	uint32_t n[SL_GROUP_ARRAYS];
	bool nulls[SL_GROUP_ARRAYS];
};
void sl_arrays_init(struct sl_arrays *a);
void sl_arrays_fini(struct sl_arrays *a);

bool sl_group_prepare(struct sl_conn *c); /* the statements, as part of setup */
/* Sends the creates and the appends of the group with the pieces that are not known to be written, and Sync. false: no
 * memory or a broken connection. */
bool sl_group_send(struct sl_conn *c, const struct sl_group *g, struct sl_arrays *a, struct sl_known *k);
/* Asks about the entries that were not accepted; the answer has a row for each, in the order of entries. */
bool sl_group_send_why(struct sl_conn *c, const struct sl_group *g, struct sl_arrays *a);
