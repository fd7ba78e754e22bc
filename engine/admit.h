/* engine/admit.h: which of the created runs may be at work: limits for the whole server, for each project and for each
 * workflow, and the queue of those that wait for a place.
 *
 * The order of the queue: the highest priority first; among its projects the one with the fewest runs at work, then the
 * one that was served the longest time ago; inside of a project who was created first. A run whose project or workflow
 * is at its limit stands aside and holds up nobody behind it.
 *
 * Who has a place and waits for a person, a signal or a timer, or is paused or locked, gives it back (away), and takes
 * one again without queueing when it goes on (enter): what is begun gets finished, and the number at work may pass the
 * limit for so long. Nobody is admitted meanwhile.
 *
 * A ticket that never joined (all zero) has no part in it: whoever asks with one has its place, and counts nowhere. So
 * are the runs that runs start: their parent has a place, and would wait for them in vain.
 *
 * Owns      groups, lanes and the order. Never the tickets: they are embedded in whatever waits.
 * Thread    [any]; one lock, taken alone. `go` is called without it, on the thread whose call made room.
 * Cost      O(1) while nothing is limited; else a grant looks at each project of the highest priority that waits, and
 *           at each workflow of the one it takes. No timers, no polling: whoever makes room admits the next.
 * Not for   rates, model calls (llm/limiter.h, llm/gate.h), nodes of one run (`parallel`).
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/list.h"

struct sl_admit;

#define SL_ADMIT_PRIORITY 100 /* from -100 to 100 */
#define SL_ADMIT_BOUNDS   10  /* of the histogram of waits */
extern const uint32_t sl_admit_bounds_ms[SL_ADMIT_BOUNDS];

enum sl_place {
	SL_PLACE_NONE,   /* not created yet */
	SL_PLACE_WAITS,  /* in the queue */
	SL_PLACE_INSIDE, /* at work */
	SL_PLACE_AWAY,   /* has been, and will come back */
	SL_PLACE_GONE,   /* the end */
};

/* One run's part in it. Fields are private. It must not move between join and quit, and must live while it waits. */
struct sl_admit_ticket {
	struct sl_list link;
	struct sl_admit_lane *lane; /* [const] its priority, project and workflow */
	struct sl_uuid id;          /* [const] the order inside of a lane */
	enum sl_place place;        /* [lock] */
	uint64_t asked_ms;          /* [lock] */
};

/* A ticket that waited has got its place: it is no longer in the queue. Not from inside a call with the same ticket. */
typedef void sl_admit_fn(struct sl_admit_ticket *t);

/* 0 is no limit, everywhere. */
struct sl_admit_named {
	char *name;
	uint32_t most;
};
struct sl_admit_limits {
	uint32_t max_running, max_queued, max_unfinished;
	uint32_t per_project, per_workflow; /* for those that are not named */
	struct sl_admit_named *projects, *workflows;
	uint32_t n_projects, n_workflows;
};
void sl_admit_limits_fini(struct sl_admit_limits *l);
void sl_admit_limits_json(const struct sl_admit_limits *l, struct sl_buf *out); /* as it is read; see engine.h */

SL_MUST_USE enum sl_code sl_admit_new(const struct sl_clock *clock, sl_admit_fn *go, struct sl_admit **out);
void sl_admit_free(struct sl_admit *a); /* NULL is fine. Tickets that have not quit may still do so, and no more */

void sl_admit_limits(struct sl_admit *a, struct sl_buf *out); /* those in force, as JSON */
/* Takes the limits out of *l (on SL_OK and otherwise) and admits who fits now. `l` may be NULL: no limits. */
void sl_admit_set(struct sl_admit *a, struct sl_admit_limits *l);

/* Everything a ticket will ever need is made here, so that nothing below can fail. SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_admit_join(struct sl_admit *a, struct sl_admit_ticket *t, struct sl_uuid id,
				       const char *project, const char *workflow, int32_t priority);
void sl_admit_quit(struct sl_admit_ticket *t); /* the last call; no-op when it never joined */

/* May one more be created? SL_BUSY: as many wait as may. */
SL_MUST_USE enum sl_code sl_admit_room(struct sl_admit *a, struct sl_error *err);

/* A created run asks for its place, once. True: it has it. False: it waits, and go() comes, unless leave() is first. */
SL_MUST_USE bool sl_admit_ask(struct sl_admit *a, struct sl_admit_ticket *t);
void sl_admit_enter(struct sl_admit *a, struct sl_admit_ticket *t); /* takes a place without queueing; no-op inside */
void sl_admit_away(struct sl_admit *a, struct sl_admit_ticket *t); /* gives it back for a time; no-op when not inside */
/* The end, from any place; no-op when gone. True: it was in the queue, and go() will not come. */
bool sl_admit_leave(struct sl_admit *a, struct sl_admit_ticket *t);

/* While somebody holds, and there are limits, nobody is admitted: those that were at work before a restart are counted
 * first, and who waited is put in order. Nests. */
void sl_admit_hold(struct sl_admit *a);
void sl_admit_release(struct sl_admit *a);

/* Nobody is admitted, with limits or without, for that (constant) reason. NULL: it ends. Idempotent. */
void sl_admit_pause(struct sl_admit *a, const char *reason);

/* Why it waits, for people: "project 'x' has 4 of 4 runs at work". False: it does not wait. */
bool sl_admit_reason(struct sl_admit *a, struct sl_admit_ticket *t, struct sl_buf *out);

struct sl_admit_stats {
	uint32_t waiting, inside;
	uint64_t admitted, waited_ms;     /* all that asked and got in; the sum of their waits */
	uint64_t bounds[SL_ADMIT_BOUNDS]; /* how many of them waited no longer than that bound */
};
void sl_admit_stats(struct sl_admit *a, struct sl_admit_stats *out);
