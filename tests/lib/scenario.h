/* tests/lib/scenario.h: what most scenarios do with their world: a new one for each test, a definition that can be
 * read, a look at what came of a run and at what was told of it.
 *
 * Owns      nothing. What is lent stays until the next look at a run, or as it says.
 * Thread    the test's own.
 * Errors    what is expected and is not so fails the test, and shows the run.
 */
#pragma once

#include "tests/lib/world.h"

/* A world of its own as *state; a broken assertion of ours ends the test. */
int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

/* JSON with ' for ", below 8 KiB, in one of four buffers that take turns. */
SL_PRINTF(1, 2) const char *q(const char *fmt, ...);
/* As short as it gets; lent by the object. */
const char *text_of(struct json_object *o);

/* Settles nothing: what is committed is what is seen. */
struct json_object *output(struct world *w, struct sl_run_id id, const char *key); /* of the run; NULL: it has none */
void expect_status(struct world *w, struct sl_run_id id, const char *status);
void expect_v(struct world *w, struct sl_run_id id, const char *v); /* it succeeded, and that is its output `v` */

/* The n-th (from 0) event of a name, as JSON of the caller's; NULL: there are not so many. */
struct json_object *event(struct world *w, struct sl_run_id id, const char *name, unsigned n);
unsigned events(struct world *w, struct sl_run_id id, const char *name); /* how many */
bool is_over(struct world *w, struct sl_run_id id);                      /* its last event says so */

/* Folds its journal: after each event the state holds together. */
void every_prefix_is_a_state(struct world *w, struct sl_run_id id);

unsigned rnd(uint64_t *s); /* 31 bits; same seed, same numbers */
/* A number of the environment (SLUICE_SEED); how often to play: sl_test_rounds(). */
unsigned long from_env(const char *name, unsigned long otherwise);
