/* tests/lib/world.h: an engine in a bottle: fake clock, journal in memory, scripted nodes. Same seed, same result.
 *
 * The journal keeps batches in flight until they are committed (at once, or when the test says so), and a crash forgets
 * what was in flight: just what a killed server does. Besides the real node types there is `fake`:
 *   { "answer": any, "text"?: streamed, "fail"?: code, "fail_times"?: n, "hold"?: bool }
 * It completes on world_turn() unless it holds; world_release() lets a held one go. In place of `llm` there is one that
 * answers as its agent is called: yes…, no…, abstain…, s7… (a score), bad… (fails), script (what its prompt lists, see
 * fake_nodes.c), "say …" (that text), "json …" (that JSON, also as text), and "hold …" before any of them: not until
 * world_release().
 * Thread    everything on the test's own.
 */
#pragma once

#include "engine/graph.h"
#include "engine/middleware.h"

struct world;

struct world *world_new(uint64_t seed);
void world_free(struct world *w);
struct sl_engine *world_engine(struct world *w);

/* Starts a run; fails the test when the definition has errors. */
struct sl_run_id world_submit(struct world *w, const char *definition, const char *inputs);
struct sl_run_id world_submit_keyed(struct world *w, const char *definition, const char *inputs, const char *key,
				    enum sl_code *rc);
struct sl_run_id world_submit_as(struct world *w, const char *definition, const char *project, int32_t priority);

/* What nodes and middleware are given: empty until the test fills it in; lent, shared by all lives of the world. */
struct sl_services *world_services(struct world *w);
/* For what comes from other threads (a real transfer): settles until the run, or its node, has that status. False: it
 * took more than 20 s. */
bool world_await(struct world *w, struct sl_run_id id, const char *path, const char *status);

void world_settle(struct world *w);                   /* turns the crank until nothing moves without time or a commit */
void world_advance(struct world *w, uint64_t ms);     /* time goes by, timer by timer, settling in between */
void world_hold(struct world *w, uint64_t ms);        /* time goes by, timers fire, and nobody gets to do anything */
uint64_t world_now(struct world *w);                  /* of its monotonic clock */
void world_set_clock(struct world *w, int64_t by_ms); /* somebody sets the clock on the wall; monotonic time goes on */
int64_t world_wall(struct world *w);
void world_auto_commit(struct world *w, bool on); /* default on */
bool world_commit_one(struct world *w);           /* the oldest batch in flight; false: none */
void world_pause_all(struct world *w, bool on);   /* in this life and all later ones */
/* What may be at work, in this life and all later ones; without names. */
void world_limits(struct world *w, const struct sl_admit_limits *l);
/* The oldest batch that is not written is written, and its answer is on the way: the next world_commit_one() brings it,
 * a crash loses it. */
bool world_commit_unanswered(struct world *w);
/* Another server has the run from now on, and does nothing with it; this one finds that out when it writes, or crashes.
 */
void world_elsewhere(struct world *w, struct sl_run_id id);
/* From now on the journal finds that a part of what it has of the run is missing. */
void world_damage(struct world *w, struct sl_run_id id);
void world_busy(struct world *w, unsigned loads);        /* so many reads of whole runs are refused */
void world_delete(struct world *w, struct sl_run_id id); /* one that has ended: it was never there */
void world_crash(struct world *w); /* kill -9, start again, recover; what is left of others dies, too */
/* Another server takes over all runs, while the one that was thought dead lives on. All orders go to the new one. */
void world_take_over(struct world *w);
/* Another server takes this run over, the one there was goes on with all others as one of the zombies, and orders from
 * one to the other arrive. Ours is the new one. */
void world_split(struct world *w, struct sl_run_id id);
void world_mute(struct world *w, bool on); /* from now on orders between servers are lost; not what others ask */
void world_zombies_hear(struct world *w);  /* of the pause of all, or its end */
void world_zombies_lapse(struct world *w); /* they notice that their leases had run out */
bool world_zombies_step(struct world *w);  /* each of those serves a mailbox, and its timers */
void world_bury_zombies(struct world *w);  /* what they had begun themselves is taken over */
/* The journal of a run as it was when at most so many records were in it, and a crash. Batches stay whole. */
void world_cut(struct world *w, struct sl_run_id id, size_t records);
struct sl_run_head *world_head(struct world *w, struct sl_run_id id);  /* as stored; NULL: no such run */
size_t world_runs(struct world *w, struct sl_run_id *ids, size_t max); /* children included, the latest first */
void world_release(struct world *w, const char *path);                 /* a held fake node ends */
const char *world_held(struct world *w, size_t i); /* path of a held fake node; NULL: there are not so many */
bool world_is_held(struct world *w, const char *path);
/* A held fake node streams: the code of the append; when that is a failure, the node fails with it. */
enum sl_code world_say(struct world *w, const char *path, const char *text);
unsigned world_calls(struct world *w, const char *path); /* how often a fake node was started, over all lives */
unsigned world_cancels(struct world *w, const char *path);
enum sl_code world_command(struct world *w, struct sl_run_id id, enum sl_command_kind kind); /* settles */
/* The same with all that an order can have (NULL: without). What it was told last is in world_told(). */
enum sl_code world_order(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
			 const char *payload);
/* A fork of a run; settles. */
enum sl_code world_fork(struct world *w, struct sl_run_id of, const struct sl_fork *f, struct sl_run_id *out);
/* The same without turning the crank: *given when the answer has come, which a crash may prevent. Lent until the end.
 */
struct world_answer {
	enum sl_code asked; /* SL_OK: there will be an answer */
	bool given;
	enum sl_code rc;
	char status[16];
};
const struct world_answer *world_ask(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
				     const char *payload);
const char *world_told(struct world *w);
/* Stores a workflow under a name, as version 1, for all worlds of this process. Both texts must stay. */
void world_workflow(const char *name, const char *definition);
struct sl_run_id world_child(struct world *w, struct sl_run_id parent); /* the run that this one started last */
/* Only these node types (NULL at the end), fake and external: an engine is made faster. */
void world_only(const char *const *types);
void world_max_recoveries(uint32_t most); /* from the next world_new() on; 0: the usual */
/* Whom the next crash is said to have found served. NULL: not known, as at first. */
void world_suspects(const struct sl_suspect *of, uint32_t n);
/* Middleware of the test's own beside the real ones, from the next world_new() on; NULL: none. */
void world_middleware(const struct sl_middleware *m);

const char *world_status(struct world *w, struct sl_run_id id); /* of the run, committed */
const char *world_node_status(struct world *w, struct sl_run_id id, const char *path);
struct json_object *world_run(struct world *w, struct sl_run_id id); /* the run object; lent until the next call */
size_t world_records(struct world *w, struct sl_run_id id, const struct sl_record **out); /* committed */
unsigned world_count(struct world *w, struct sl_run_id id, const char *path,
		     const char *status); /* node_state_change events */
unsigned world_notices(struct world *w);
