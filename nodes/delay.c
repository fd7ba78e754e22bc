/* nodes/delay.c: a durable timer. The engine journals the deadline, so a restart waits only the rest. `seconds` are a
 * span of time, whatever the clock on the wall is set to; `until` is a moment of that clock, and follows it. */
#include "base/clock.h"
#include "engine/expr.h"
#include "engine/node.h"

static void delay_fired(struct sl_node *n) /* [run] posted through the mailbox, so n is ours to touch */
{
	sl_node_complete(n, sl_json_object_time("fired_at", sl_node_now_ms(n))); /* takes the object */
}

static enum sl_step delay_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	uint64_t wait_ms = sl_json_ms(params, "seconds");
	struct json_object *until = sl_json_get(params, "until");
	int64_t at_ms = 0;
	if (until && !sl_time_parse(sl_json_str(until), &at_ms)) {
		(void)sl_fail(err, SL_INVALID, "`until` is no time with its offset, like 2026-01-31T12:00:00Z");
		return SL_FAILED;
	}
	if (until ? at_ms <= sl_node_now_ms(n) : wait_ms == 0) { /* the moment has passed already */
		delay_fired(n);
		return SL_DONE;
	}
	return until ? sl_node_wait_until(n, at_ms, delay_fired, err)
		     : sl_node_wait_ms(n, wait_ms, delay_fired, err); /* SL_PENDING: no thread is held */
}

static enum sl_code delay_check(struct json_object *params, struct sl_error *err)
{
	struct sl_str until = sl_json_get_str(params, "until");
	int64_t at_ms;
	if (!sl_json_get(params, "seconds") == !sl_json_get(params, "until"))
		return sl_fail(err, SL_INVALID, "give exactly one of `seconds` and `until`");
	if (sl_json_get(params, "until") && !sl_template_in(until) && !sl_time_parse(until, &at_ms))
		return sl_fail(err, SL_INVALID, "`until` must be a time with its offset, like 2026-01-31T12:00:00Z");
	return SL_OK;
}

const struct sl_node_type sl_node_type_delay = {
	.name = "delay",
	.summary = "Waits for a while or until a moment, also across restarts.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
		"  \"seconds\": { \"type\": \"number\", \"minimum\": 0, \"maximum\": 31622400, \"title\": \"Seconds\","
		"    \"description\": \"How long to wait; at most 366 days.\" },"
		"  \"until\": { \"type\": \"string\", \"format\": \"date-time\", \"title\": \"Until\","
		"    \"description\": \"A moment, like 2026-01-31T12:00:00Z. One that has passed does not wait.\" } } "
		"}",
	.effects = SL_EFFECTS_NONE,
	.start = delay_start,
	.check = delay_check,
	.cancel = sl_node_drop_timer, /* [run] may come at any moment after start, also twice */
};
