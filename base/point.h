/* base/point.h: test points, and the list of all there are. A test point is a named place where a test can fail, hold
 * or kill the process. Absent from release builds.
 *
 *     SLUICE_FAILPOINT=journal.sent:2:error,node.start@refine:1:abort,publish.before:*:delay:50
 *
 *     name[@about]  about: only where the point names something (a node's path) and this is part of it
 *     nth           2: the second pass in the life of the process; 2+: it and all later ones; *: every one
 *     action        abort · exit (_exit(137), no core, nothing flushed) · error (where the point can report one) ·
 *                   delay[:ms] (200)
 *
 *     SLUICE_FAILPOINT_REPORT=file    counts the passes of every point. The file is a row of struct sl_point_row,
 * shared memory while the process lives: it holds what was counted however the process ended, and adds up over
 * processes that were given the same file.
 *
 * Thread    [any]
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What is true there: read as "the process dies when …". A new point needs its row here and its place in the code; a
 * test compares the two, and the crash sweep must reach it. */
#define SL_POINTS(X)                                                                                                   \
	X("submit.taken", "a run is in memory and nothing of it is in the journal")                                    \
	X("submit.committed", "a run is in the journal and its client was not told")                                   \
	X("submit.repeated", "a repeat of an idempotency key was recognised and nobody was told")                      \
	X("flight.handed", "a turn's events are about to be handed to the journal")                                    \
	X("flight.told", "a batch is committed and the run has not heard of it")                                       \
	X("journal.before_send", "a group of batches was gathered and not sent (error: the connection breaks)")        \
	X("journal.sent", "a group was sent and its outcome is not known (error: the connection breaks)")              \
	X("journal.committed", "a group is committed and nobody was told (error: the reply is lost)")                  \
	X("publish.before", "a batch is committed and its watchers were not told")                                     \
	X("publish.after", "the watchers were told and the one who asked was not")                                     \
	X("run.started", "a run was decided to start")                                                                 \
	X("run.finished", "all nodes are done and the end is not in the journal")                                      \
	X("run.ended", "the end is in the journal and the run still in memory")                                        \
	X("node.start", "a node is about to begin an attempt")                                                         \
	X("node.begun", "a node is at work and nothing tells of it")                                                   \
	X("node.ended", "a node's result is there and not in the journal")                                             \
	X("node.folded", "a node's result was decided and what follows has not begun")                                 \
	X("node.skipped", "a node was skipped")                                                                        \
	X("retry.scheduled", "a failed attempt was told and its successor's clock runs")                               \
	X("retry.due", "the next attempt is about to begin")                                                           \
	X("stream.append", "a piece of a model's answer has come")                                                     \
	X("stream.end", "a model's answer is whole and nothing else has happened")                                     \
	X("join.arrival", "one of several branches has come in")                                                       \
	X("join.fires", "a join has what it needs")                                                                    \
	X("timer.armed", "a node's clock was set and is not in the journal")                                           \
	X("timer.fired", "a node's clock has run out")                                                                 \
	X("body.begun", "a round or an item was begun")                                                                \
	X("body.ended", "a round or an item has ended and its container does not know")                                \
	X("loop.round", "a round was judged and the next one has not begun")                                           \
	X("map.item", "an item was counted")                                                                           \
	X("order.pause", "a pause was decided and not committed")                                                      \
	X("order.resume", "a resume was decided and not committed")                                                    \
	X("order.cancel", "a cancel was decided and not committed")                                                    \
	X("order.unlock", "an unlock was decided and not committed")                                                   \
	X("order.signal", "a signal was taken in and not committed")                                                   \
	X("order.input", "somebody's words were taken in and not committed")                                           \
	X("order.review", "a review was decided and not committed")                                                    \
	X("order.committed", "an order is in the journal and nobody was told")                                         \
	X("child.submit", "a node is about to start a run of its own")                                                 \
	X("child.started", "a child run is in the journal and its parent does not know")                               \
	X("child.ended", "a child run has ended and its parent has not used it")                                       \
	X("http.send", "a request is about to leave")                                                                  \
	X("http.answered", "the answer to a request has come and is not in the journal")                               \
	X("memory.store", "a memory is about to be stored")                                                            \
	X("memory.stored", "a memory is stored and its node does not know")                                            \
	X("claim.ask", "unfinished runs are about to be claimed")                                                      \
	X("claim.read", "unfinished runs were claimed and nobody works on them")                                       \
	X("adopt.folded", "a claimed run was folded and is not in memory")                                             \
	X("adopt.goes_on", "a claimed run is about to go on")                                                          \
	X("lease.renew", "the lease is about to be renewed (shared databases)")                                        \
	X("lease.renewed", "the lease was renewed")                                                                    \
	X("lease.release", "a server that stops is about to give its runs back")                                       \
	X("lease.released", "a server that stops has given its runs back")

struct sl_point_row {
	char name[56];
	uint64_t hits;
};

#if SL_DEBUG
/* Reads the environment, once; a spec that cannot be meant ends the process with code 2, so that no test passes because
 * of a typing error. The first pass of a point does the same. */
void sl_points_start(void);
bool sl_point_hit(const char *name, const char *about);
#define SL_POINT(name) sl_point_hit(name, NULL) /* true: report a failure */
/* Where nothing can fail, only end or take longer. */
#define SL_CRASH_POINT(name)           ((void)sl_point_hit(name, NULL))
#define SL_CRASH_POINT_OF(name, about) ((void)sl_point_hit(name, about))
#else
#define sl_points_start()              ((void)0)
#define SL_POINT(name)                 false
#define SL_CRASH_POINT(name)           ((void)0)
#define SL_CRASH_POINT_OF(name, about) ((void)(about))
#endif
