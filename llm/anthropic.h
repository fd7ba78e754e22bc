/* llm/anthropic.h: Anthropic's Messages API: server-sent events with names, content in numbered blocks.
 *
 * The stream ends with message_stop and with nothing else. An error can come as an event after status 200: its type
 * decides what it is. Usage stands in message_start and, completed, in message_delta; the last word counts.
 */
#pragma once

#include "llm/protocol.h"

enum sl_code sl_anthropic_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
				struct sl_buf *body, struct sl_error *err);
