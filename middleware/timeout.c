/* middleware/timeout.c: an attempt that takes longer than the node's timeout_s fails with `timeout`, and its call is
 * cut. */
#include "engine/graph.h"
#include "engine/middleware.h"

extern const struct sl_middleware sl_middleware_timeout;

static bool timeout_applies(const struct sl_node_def *def)
{
	return def->timeout_ms > 0;
}

static enum sl_verdict timeout_enter(struct sl_exec *x, struct sl_error *err)
{
	uint32_t ms = sl_exec_def(x)->timeout_ms;
	struct sl_error late;
	sl_fail(&late, SL_TIMEOUT, "no result within %.15g s", ms / 1000.0);
	late.retry_after_ms = 0;
	enum sl_code rc = sl_exec_deadline(x, &sl_middleware_timeout, ms, &late);
	if (rc == SL_OK)
		return SL_PASS;
	sl_fail(err, rc, "the timer for timeout_s could not be set");
	return SL_REFUSE;
}

const struct sl_middleware sl_middleware_timeout = {
	.name = "timeout",
	.slot = SL_SLOT_TIMEOUT,
	.applies = timeout_applies,
	.enter = timeout_enter, /* the driver drops the timer with the attempt */
};
