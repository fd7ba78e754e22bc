/* api/runs.h: starting a run: what POST /runs and the WebSocket command start_run have in common. */
#pragma once

#include "api/work.h"

/* [any] { workflow | definition, version?, inputs?, project?, priority?, tags? } into w, with every problem noted.
 * `ignore`: a key that may stand there, too ("cmd" and "id" of a command); NULL-terminated, NULL: none. */
void sl_run_request_read(struct sl_work *w, struct json_object *body, const char *const *ignore);

/* [pool] Gives the run in w to the engine. SL_OK: fn comes. Otherwise w->rc, w->err and w->problems say why. */
void sl_run_submit(struct sl_engine *e, struct sl_work *w, sl_submit_fn *fn, void *arg);
