/* engine/child_priv.h: what the files about runs that other runs start share.
 *
 *   child.c          the parent's side: a node starts a child, or goes on with the one it had, and hears of its end
 *   child_earlier.c  what a node that is run again does with the child it had
 *   parent.c         the child's side: it looks after its parent, and asks it
 *
 * Thread    [run] of whichever the file is about, unless it says otherwise.
 */
#pragma once

#include "engine/exec_priv.h"

#define CHILD_ASK_AGAIN_MS 2000 /* of a run that goes on in another server */

/* [run] Its children are to stand still. */
static inline bool sl_run_is_held(const struct sl_run *r)
{
	return r->state.status == SL_RUN_PAUSED || r->state.status == SL_RUN_LOCKED;
}

/* The same of what sl_engine_await() has told of a run that is elsewhere. */
static inline bool sl_status_stands_still(const char *status)
{
	return strcmp(status, sl_run_states[SL_RUN_PAUSED].wire) == 0 ||
	       strcmp(status, sl_run_states[SL_RUN_LOCKED].wire) == 0;
}

static inline bool sl_status_goes_on(const char *status)
{
	return strcmp(status, sl_run_states[SL_RUN_RUNNING].wire) == 0 ||
	       strcmp(status, sl_run_states[SL_RUN_WAITING].wire) == 0;
}

/* What is to be done with the child that the parent had before it was retried. */
enum earlier {
	EARLIER_OTHER, /* nothing: it is not what would be begun now */
	EARLIER_ENDS,  /* await its end, and take it */
	EARLIER_TAIL,  /* the same, unless it fails: so far it goes on for the parent as it was */
	EARLIER_AGAIN, /* retry it */
};

/* child.c. [any] In the parent's name. at_us: when it was ordered, monotonic; 0: now. */
void sl_child_order(struct sl_engine *e, struct sl_run_id id, enum sl_command_kind kind, uint64_t at_us);
/* [run] The child is cancelled when event `seq` of its parent is written, unless that is somebody else's by then. */
void sl_child_leave(struct sl_run *parent, struct sl_run_id child, uint64_t seq);

/* child_earlier.c. [any] head: what would be begun now · generation: of the parent · seen_ms: see struct sl_node_child
 * · was: the child it had. */
SL_MUST_USE enum sl_code sl_child_judge(struct sl_engine *e, const struct sl_run_head *head, uint32_t generation,
					int64_t seen_ms, const struct sl_stored_run *was, enum earlier *out);
