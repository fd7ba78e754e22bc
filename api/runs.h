/* api/runs.h: starting a run: what POST /runs and the WebSocket command start_run have in common. */
#pragma once

#include "api/work.h"

/* [any] { workflow | definition, version?, inputs?, project?, priority?, tags? } into w, with every problem noted.
 * `ignore`: a key that may stand there, too ("cmd" and "id" of a command); NULL-terminated, NULL: none. */
void sl_run_request_read(struct sl_work *w, struct json_object *body, const char *const *ignore);

/* [pool] Gives the run in w to the engine. SL_OK: fn comes. Otherwise w->rc, w->err and w->problems say why. */
void sl_run_submit(struct sl_engine *e, struct sl_work *w, sl_submit_fn *fn, void *arg);

/* [pool] The same for the request that w's task is: with SL_OK the task is on its way to `then`, and no longer w's. */
void sl_work_submit(struct sl_work *w, void (*then)(struct sl_task *t));

/* [front] Ends: answers 202 with t->run, or why not; a repeated request (SL_CONFLICT and same_request) as the first. */
void sl_run_started(struct sl_task *t);
/* [front] Ends what did not come so far: answers with the problems, unless the task is on its way. */
void sl_run_submitted(struct sl_work *w);
bool sl_key_ok(struct sl_str key); /* an Idempotency-Key */
