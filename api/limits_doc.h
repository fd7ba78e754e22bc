/* api/limits_doc.h: the setting `limits` as one document, whoever has a part in it:
 *
 *   { "projects": { … } of llm/governor.h, "runs": { … } of engine/admit_limits.c, "workers": n }
 *
 * Thread    [any]; two applied at once would leave the one's parts beside the other's, so one thread applies them.
 */
#pragma once

#include "base/buf.h"

struct json_object;
struct sl_engine;
struct sl_governor;

/* SL_INVALID: `problems` gets the members of an errors array, err the first of them. */
SL_MUST_USE enum sl_code sl_limits_check(struct json_object *doc, struct sl_buf *problems, struct sl_error *err);
/* Checks and puts in force; what is not in it is as it was without. NULL for a part that is not there. */
SL_MUST_USE enum sl_code sl_limits_apply(struct sl_governor *g, struct sl_engine *e, struct json_object *doc,
					 struct sl_error *err);
void sl_limits_json(struct sl_governor *g, struct sl_engine *e, struct sl_buf *out); /* what is in force */
