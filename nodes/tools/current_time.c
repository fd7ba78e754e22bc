/* nodes/tools/current_time.c: what time it is. Noted in the journal like every result, so a run that is repeated from
 * there goes on with the time it was told. */
#include "base/clock.h"
#include "engine/tool.h"

static enum sl_step current_time_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	static const char *const days[] = {"Thursday", "Friday",  "Saturday", "Sunday",
					   "Monday",   "Tuesday", "Wednesday"};
	int64_t now = sl_node_now_ms(n), day = now / 86400000; /* 1 January 1970 was a Thursday */
	struct json_object *out = sl_json_object_time("utc", now);
	if (out) {
		sl_json_set_i64(out, "unix_s", now / 1000);
		sl_json_set_str(out, "weekday", sl_str(days[day >= 0 ? day % 7 : 0]));
	}
	sl_node_complete(n, out);
	return SL_DONE;
}

const struct sl_tool sl_tool_current_time = {
	.name = "current_time",
	.description = "The date and time now, in UTC: { utc, unix_s, weekday }.",
	.args_schema = "{ \"type\": \"object\", \"additionalProperties\": false, \"properties\": {} }",
	.start = current_time_start,
};
