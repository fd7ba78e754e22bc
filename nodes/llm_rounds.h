/* nodes/llm_rounds.h: an `llm` node whose model may use tools of this server: it is asked, the tools it asks for are
 * run, it is told what came of them and asked again, until it answers.
 *
 * The node is a container then, and each round a body of its own: `ask` is a model call like any other (limited,
 * retried, paid for and streamed by itself), `tools` runs what it asked for. So all of it is in the journal as it
 * happens, and nothing here has to be stored: the conversation is a fold over the rounds that have ended.
 *
 * Thread    [run], as in engine/node.h; expand, check and wanted [any]
 */
#pragma once

#include "engine/node.h"

bool sl_rounds_wanted(struct json_object *params); /* does it name a tool of the server? */
enum sl_code sl_rounds_expand(struct json_object *params, struct json_object **graph, struct sl_error *err);
enum sl_code sl_rounds_check(struct json_object *params, struct sl_error *err);
enum sl_step sl_rounds_start(struct sl_node *n, struct json_object *params, struct sl_error *err);
void sl_rounds_body(struct sl_node *n, uint32_t number);
void sl_rounds_cancel(struct sl_node *n);
