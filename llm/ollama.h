/* llm/ollama.h: Ollama's /api/chat: a JSON object a line, the last one says "done":true.
 *
 * An error is {"error":"text"}, also in the middle of a stream with status 200. The first line may take minutes while a
 * model is loaded; its provider's profiles wait that long.
 */
#pragma once

#include "llm/protocol.h"

enum sl_code sl_ollama_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *body, struct sl_error *err);
