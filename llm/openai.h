/* llm/openai.h: the OpenAI chat-completions protocol, which most providers and local servers speak.
 *
 * The table is sl_protocol_openai (llm/protocol.h). Differences between servers it copes with: error values that are
 * objects, strings, or `error:` lines; reasoning under "reasoning" or "reasoning_content"; a whole answer although a
 * stream was asked; usage in the last chunk, in a chunk of its own, or under x_groq. The end     only "[DONE]" ends a
 * stream. Without it the answer is SL_TRUNCATED, whatever came.
 */
#pragma once

#include "llm/protocol.h"

struct json_object;

/* Shared by its two files. */
enum sl_code sl_openai_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			     struct sl_buf *body, struct sl_error *err);
