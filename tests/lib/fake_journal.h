/* tests/lib/fake_journal.h: the journal port in memory. It refuses what the real one refuses: the epoch of another, a
 * key that is taken; and fails the test where its unique keys would: a sequence number or a `once` that comes twice.
 *
 * Batches are in flight until the test commits them. Several servers may stand on it, each with a writer of its own.
 * Owns      runs with their records, and the list of what is in flight. Writers are embedded in whatever is a server;
 *           batches stay the engine's until they are answered.
 * Thread    the test's own. The allocations are spared by torture.
 */
#pragma once

#include "engine/engine.h"

struct fake_journal;

struct fake_journal *fake_journal_new(void);
void fake_journal_free(struct fake_journal *j); /* nothing may be in flight any more */

/* One server, as its journal knows it; must not move while an engine has its port. */
struct fake_writer {
	struct fake_journal *journal;
};
struct sl_journal fake_writer_port(struct fake_writer *w);
/* What it has in flight is answered with SL_CANCELLED and not written. */
void fake_writer_drop(struct fake_writer *w);
/* The runs it has are nobody's. */
void fake_writer_gone(struct fake_writer *w);

/* Nobody has a run any more, as far as the journal knows; each is given with a new epoch to whoever claims it. */
void fake_journal_disown(struct fake_journal *j);

void fake_journal_disown_one(struct fake_journal *j, struct sl_run_id id); /* the same for one of them */
bool fake_journal_has(struct fake_journal *j, struct sl_run_id id, const struct fake_writer *w); /* is it w's? */

/* The oldest batch in flight is written and answered; false: there is none. */
bool fake_journal_commit(struct fake_journal *j);
/* The oldest one that is not written is, and its answer is on the way: fake_journal_commit() brings it. What is refused
 * is answered at once. False: there is none. */
bool fake_journal_commit_unanswered(struct fake_journal *j);

/* Another server, which the test does not turn, has the run from now on. */
void fake_journal_elsewhere(struct fake_journal *j, struct sl_run_id id);

/* So many loads are refused from now on, in turn when they are asked for and in their answer. */
void fake_journal_busy(struct fake_journal *j, unsigned loads);

/* From now on a part of what there is of the run is missing. */
void fake_journal_damage(struct fake_journal *j, struct sl_run_id id);
void fake_journal_delete(struct fake_journal *j, struct sl_run_id id); /* as retention does; it must be there */
/* Takes the run back to when it had at most so many records (>= 1), whole batches, and had not ended. Only while no
 * server stands on it. */
void fake_journal_cut(struct fake_journal *j, struct sl_run_id id, size_t records);

/* All of these lend. */
struct sl_run_head *fake_journal_head(struct fake_journal *j, struct sl_run_id id); /* NULL: no such run */
size_t fake_journal_records(struct fake_journal *j, struct sl_run_id id, const struct sl_record **out);
size_t fake_journal_runs(struct fake_journal *j, struct sl_run_id *ids, size_t max); /* how many; the latest first */
