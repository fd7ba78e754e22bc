/* store/chunks_priv.h: large texts of the journal in pieces (run_chunks). For the files of this room only.
 *
 * A text longer than SL_CHUNK_OVER is cut (cdc.h), each piece is written once a run, and the record keeps
 * '[bytes,"hashes"]' in its place: how long the text is, and the hashes of the pieces in base64. Nobody above sees
 * that.
 *
 * The small ones pay nothing: they are stored as they are, by the same statement as if there were no pieces.
 */
#pragma once

#include "base/record.h"
#include "store/store_priv.h"

#define SL_CHUNK_OVER       4096
#define SL_CHUNK_HASH_BYTES 16

/* What is looked into by SQL stays whole: the reviews of store/overview.c. */
#define SL_CHUNK_NEVER "human_review:"

/* ---- cutting ---- */

struct sl_cut {
	uint32_t first, n; /* pieces; n 0: the text stays whole */
};

/* The cuts of a batch: of inputs and definition when it creates its run, then of each record's data and detail. */
struct sl_cuts {
	uint8_t (*hashes)[SL_CHUNK_HASH_BYTES];
	uint32_t *bytes;
	uint32_t n, cap;
	struct sl_cut texts[];
};

/* [any] *out stays NULL when nothing of the batch is to be cut. SL_NO_MEMORY is the only failure. */
SL_MUST_USE enum sl_code sl_cuts_make(const struct sl_batch *b, struct sl_cuts **out);
void sl_cuts_free(struct sl_cuts *c); /* NULL is fine */
SL_DEFINE_AUTO(sl_cuts)
/* Appends what stands in the record for a text that was cut. */
void sl_cut_write(struct sl_buf *b, const struct sl_cuts *c, struct sl_cut cut, size_t text_bytes);

/* ---- what a lane knows to be written ---- */

/* A cache of a fixed size; a piece that is not in it is sent once more, and PostgreSQL keeps the one it has. A piece
 * that is in it was committed by us in this epoch. Nothing takes pieces from a run but the retention, together with the
 * run. */
struct sl_known {
	struct sl_known_slot *slots; /* NULL: nothing was cut yet */
	uint64_t group;
	struct sl_known_sent *sent; /* in this group */
	size_t n_sent, sent_cap;
};

void sl_known_begin(struct sl_known *k); /* a group is put together; what was only sent is forgotten */
/* Whether the piece must be sent with this group, as part of its entry `entry`. */
bool sl_known_wants(struct sl_known *k, struct sl_run_id run, uint64_t epoch, const uint8_t *hash, uint32_t entry);
struct sl_group;
void sl_known_committed(struct sl_known *k, const struct sl_group *g); /* those of the accepted entries are written */
void sl_known_fini(struct sl_known *k);

/* ---- reading ---- */

/* What a statement about pieces must select, and in which order. */
#define SL_CHUNK_COLUMNS "c.run_id, c.hash, c.data"
#define SL_CHUNK_ORDER   " ORDER BY c.run_id, c.hash"

/* A result of SL_CHUNK_COLUMNS in SL_CHUNK_ORDER. Lends r. */
struct sl_pieces {
	const PGresult *r;
	bool *seen; /* whose hash was worked out already; NULL: no memory, so each time */
};
void sl_pieces_init(struct sl_pieces *p, const PGresult *r);
void sl_pieces_fini(struct sl_pieces *p);

/* The text of a record, made of at least the pieces it names. *out NULL: it is NULL. SL_INTERNAL: a piece is missing or
 * is not what was written; logged, with run and seq. */
SL_MUST_USE enum sl_code sl_text_read(const PGresult *r, int row, int col, struct sl_pieces *pieces,
				      struct sl_run_id run, int32_t seq, struct sl_bytes **out);
