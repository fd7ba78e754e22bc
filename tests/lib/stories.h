/* tests/lib/stories.h: runs that break once, each in a way of its own, and what they need to come to their end. For
 * whatever begins a run again.
 *
 * Owns      nothing.
 * Thread    the test's own.
 */
#pragma once

#include "tests/lib/scenario.h"

struct story {
	const char *name;
	const char *(*definition)(void);
	const char *held, *review; /* paths that a person or a test lets go, NULL: none */
	bool cancel;               /* it does not fail: it is cancelled */
};

enum { STORIES = 7 };
extern const struct story stories[STORIES];

/* a → b (fails once) → c, and a → side; its output is 6. As q() lends. */
const char *story_chain(void);
/* Round 3 of a loop fails in its second node; `next`, with these parameters more, counts the rounds. */
const char *story_rounds(const char *more);

/* The run, failed or cancelled as its story says. */
struct sl_run_id story_broken(struct world *w, const struct story *s);
/* Lets go what is held and answers what waits for a person, until nothing of that is left. */
void story_to_its_end(struct world *w, struct sl_run_id id, const struct story *s);
