/* llm/gemini.h: Google's Gemini API: server-sent events without names, the model in the path.
 *
 * The stream has no marker: it ends after a chunk with a finishReason. Errors come as data, as bare JSON over several
 * lines without "data:", or as a list of one. Usage is repeated in each chunk; the last word counts.
 */
#pragma once

#include "llm/protocol.h"

enum sl_code sl_gemini_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *body, struct sl_error *err);
