/* cmd/witness.h: remembers across a crash which runs were being served when it happened, so that the one that ends the
 * server can be told from those that were merely there (engine/recover.c).
 *
 * Owns      the file DATA/serving, mapped: one id a slot, all zero when nobody is served. It outlives any end of the
 *           process, and that is what it is for.
 * Thread    open and close [main]; the engine writes the slots [any], each thread its own.
 */
#pragma once

#include "base/id.h"

#define SL_WITNESS_SLOTS 256 /* more threads share them */

struct sl_witness {
	struct sl_run_id *slots; /* NULL: it could not be opened, and nobody remembers */
	struct sl_run_id suspects[SL_WITNESS_SLOTS];
	uint32_t n_suspects;
	bool known; /* there was an earlier life here, and it left its slots */
};

/* Reads what the last life left and begins anew. A failure is logged, and we go on without. */
void sl_witness_open(struct sl_witness *w, const char *data_dir);
void sl_witness_close(struct sl_witness *w);
