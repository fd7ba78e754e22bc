/* api/fork.h: asking for a fork of a run, over REST and over WebSocket alike; and what two runs differ in.
 *
 * Thread    [any]: nothing here touches a request or a loop.
 */
#pragma once

#include "base/json.h"
#include "engine/engine.h"

/* A body that was understood. `f` lends from the body and from what is here. */
struct sl_fork_text {
	struct sl_fork f;
	struct sl_buf inputs, outputs;
	struct sl_bytes *digest;
};
/* { at_seq?, from?, inputs?, outputs? } of a fork of `run`; every problem noted. `ignore`: keys that may stand there,
 * too; NULL-terminated, NULL: none. SL_INVALID, SL_NO_MEMORY. The caller ends with sl_fork_text_fini() in any case. */
SL_MUST_USE enum sl_code sl_fork_read(struct json_object *body, struct sl_run_id run, const char *const *ignore,
				      struct sl_fork_text *out, struct sl_problems *problems);
void sl_fork_text_fini(struct sl_fork_text *t);

/* Two run objects as GET /runs/{id} shows them: what each node did in both, and what came out. SL_INVALID: one of them
 * is none; SL_NO_MEMORY. */
SL_MUST_USE enum sl_code sl_run_diff(struct sl_str a, struct sl_str b, struct sl_buf *out);
