/* middleware/trace.c: says in the log how each execution went. Durable timing is in the journal; this is for whoever
 * follows one server's log. Slow steps are worth a warning: a timer may wait for a week, but a webhook that takes
 * seconds is somebody's outage, a model that takes minutes has a measure of its own, and what keeps a worker busy keeps
 * it from all other runs, so that a tenth of what others may take is much. */
#include "base/log.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/services.h"

#define TRACE_WORK_SHARE 10

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
	const struct sl_services *s = sl_exec_services(x);
	uint32_t slow_ms = !s                                          ? 0
			   : def->type->effects == SL_EFFECTS_EXTERNAL ? s->slow_step_ms
			   : def->type->effects == SL_EFFECTS_MODEL    ? s->slow_model_ms
								       : 0;
	uint32_t busy_ms = s && s->slow_step_ms ? s->slow_step_ms / TRACE_WORK_SHARE + 1 : 0;
	if ((slow_ms && outcome->took_ms > slow_ms) || (busy_ms && outcome->work_ms >= busy_ms))
		sl_log(SL_LOG_WARN, "run", "slow step", SL_KS("node", trace_path(x)), SL_KS("type", def->type->name),
		       SL_KU("took_ms", outcome->took_ms), SL_KU("worked_ms", outcome->work_ms),
		       SL_KU("attempt", outcome->attempt));
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
