/* middleware/fallback.c: what stands in for a node that failed for good: `on_error` continue gives the error itself as
 * output, fallback a value of the author's, by class of error if wanted. A cancelled node stays cancelled. */
#include <stdio.h>

#include "base/log.h"
#include "engine/graph.h"
#include "engine/middleware.h"

static bool fallback_applies(const struct sl_node_def *def)
{
	return def->on_error != SL_ON_ERROR_FAIL;
}

static struct json_object *fallback_error(const struct sl_outcome *outcome)
{
	struct json_object *output = json_object_new_object(), *error = json_object_new_object();
	if (!output || !error) {
		json_object_put(output);
		json_object_put(error);
		return NULL;
	}
	sl_json_set_str(error, "code", sl_str(sl_code_wire(outcome->code)));
	sl_json_set_str(error, "message", sl_str(outcome->err ? outcome->err->text : ""));
	sl_json_set(output, "error", error);
	return output;
}

/* Outputs are objects: a text stands where a model's text would, anything else is a `value`. Takes value. */
static struct json_object *fallback_output(struct json_object *value)
{
	if (value && json_object_is_type(value, json_type_object))
		return value;
	struct json_object *output = json_object_new_object();
	if (output)
		sl_json_set(output, value && json_object_is_type(value, json_type_string) ? "text" : "value", value);
	else
		json_object_put(value);
	return output;
}

static enum sl_code fallback_recover(struct sl_exec *x, const struct sl_outcome *outcome, struct json_object **output)
{
	const struct sl_node_def *def = sl_exec_def(x);
	const struct sl_template *t = def->fallback;
	struct json_object *value = NULL;
	struct sl_error err;
	char reason[64];
	if (outcome->code == SL_OK || outcome->code == SL_CANCELLED)
		return outcome->code;
	if (def->on_error == SL_ON_ERROR_CONTINUE) {
		(void)snprintf(reason, sizeof(reason), "%s, continued", sl_code_wire(outcome->code));
		sl_exec_reason(x, reason);
		*output = fallback_error(outcome);
		return *output ? SL_OK : SL_NO_MEMORY;
	}
	for (uint32_t i = 0; i < def->n_fallback_by_class; i++)
		if (def->fallback_by_class[i].code == outcome->code)
			t = def->fallback_by_class[i].value;
	if (!t)
		return outcome->code;
	if (sl_exec_eval(x, t, &value, &err) != SL_OK) {
		sl_log(SL_LOG_WARN, "run", "the fallback itself failed, the first failure stands",
		       SL_KS("node", def->id), SL_KS("error", err.text));
		return outcome->code;
	}
	(void)snprintf(reason, sizeof(reason), "%s, fallback used", sl_code_wire(outcome->code));
	sl_exec_reason(x, reason);
	*output = fallback_output(value);
	return *output ? SL_OK : SL_NO_MEMORY;
}

const struct sl_middleware sl_middleware_fallback = {
	.name = "fallback",
	.slot = SL_SLOT_FALLBACK,
	.applies = fallback_applies,
	.recover = fallback_recover,
};
