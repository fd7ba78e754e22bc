/* middleware/trace.c: says in the log how each execution went. Durable timing is in the journal; this is for whoever
 * follows one server's log. Slow steps that leave the system are worth a warning: a model may think for a minute and a
 * timer may wait for a week, but a webhook that takes seconds is somebody's outage. */
#include "base/log.h"
#include "engine/graph.h"
#include "engine/middleware.h"

#define TRACE_SLOW_EXTERNAL_MS 3000

/* Outside of an attempt there is no node yet, or none any more. */
static const char *trace_path(struct sl_exec *x)
{
	struct sl_node *n = sl_exec_node(x);
	return n ? sl_node_path(n) : sl_exec_def(x)->id;
}

static enum sl_verdict trace_enter(struct sl_exec *x, struct sl_error *err)
{
	sl_log(SL_LOG_DEBUG, "run", "node starts", SL_KS("node", trace_path(x)),
	       SL_KS("type", sl_exec_def(x)->type->name));
	return SL_PASS;
}

static void trace_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_node_def *def = sl_exec_def(x);
	if (def->type->effects == SL_EFFECTS_EXTERNAL && outcome->took_ms > TRACE_SLOW_EXTERNAL_MS)
		sl_log(SL_LOG_WARN, "run", "slow step", SL_KS("node", trace_path(x)), SL_KS("type", def->type->name),
		       SL_KU("took_ms", outcome->took_ms), SL_KU("attempt", outcome->attempt));
	sl_log(SL_LOG_DEBUG, "run", "node ended", SL_KS("node", trace_path(x)), SL_KS("type", def->type->name),
	       SL_KS("outcome", sl_code_wire(outcome->code)), SL_KU("took_ms", outcome->took_ms),
	       SL_KU("attempt", outcome->attempt));
}

const struct sl_middleware sl_middleware_trace = {
	.name = "trace",
	.slot = SL_SLOT_TRACE,
	.enter = trace_enter,
	.leave = trace_leave,
};
