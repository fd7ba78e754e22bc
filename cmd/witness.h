/* cmd/witness.h: remembers across a crash which runs were being served when it happened, so that the one that ends the
 * server can be told from those that were merely there (engine/recover.c).
 *
 * Of a crash that a thread makes (SIGSEGV, SIGABRT, …) it is the run that this thread served; of an end from outside
 * (SIGKILL, a lack of memory) it may be any that was served. Whoever was found so is counted, from one such end to the
 * next; whoever is not found again is forgotten.
 *
 * Owns      the file DATA/serving, mapped. It outlives any end of the process, and that is what it is for. The handlers
 *           of those signals; whatever handled them before still does, afterwards.
 * Thread    open and close [main]; the engine writes the slots [any], each thread its own. One at a time in a process.
 */
#pragma once

#include "base/id.h"
#include "engine/engine.h"

#define SL_WITNESS_SLOTS 256 /* more threads share them */

struct sl_witness_file;

struct sl_witness {
	struct sl_witness_file *file;
	struct sl_run_id *slots; /* in it; NULL: it could not be opened, and nobody remembers */
	struct sl_suspect suspects[SL_WITNESS_SLOTS];
	uint32_t n_suspects;
	bool known; /* there was an earlier life here, and it left its slots */
};

/* Reads what the last life left and begins anew. A failure is logged, and we go on without. */
void sl_witness_open(struct sl_witness *w, const char *data_dir);
void sl_witness_close(struct sl_witness *w);
