/* llm/answer.h: what the protocols share in filling a struct sl_answer: names, counts, tool calls that come in pieces.
 *
 * Owns      the pieces of the calls, until sl_calls_fini().
 * Thread    whoever reads the answer.
 */
#pragma once

#include "base/own.h"
#include "llm/protocol.h"

struct json_object;

#define SL_CALLS_MOST 128 /* tool calls in one answer; more is malformed */

struct sl_call_part {
	struct sl_buf id, name, arguments; /* arguments: JSON text */
	struct sl_buf extra;               /* JSON object the provider wants back with the call; empty: none */
};
struct sl_calls {
	struct sl_call_part *items;
	size_t n;
};
/* The call with that number; made when it is new, with all before it. SL_MALFORMED: negative or too many. */
SL_MUST_USE enum sl_code sl_calls_at(struct sl_calls *c, int64_t index, struct sl_call_part **out,
				     struct sl_error *err);
SL_MUST_USE enum sl_code sl_call_check(const struct sl_call_part *p, struct sl_error *err); /* SL_TOO_LARGE */
/* Appends the JSON array in OpenAI's shape; nothing when there are none. A call without an id gets one, without
 * arguments {}. */
void sl_calls_write(const struct sl_calls *c, struct sl_buf *out);
void sl_calls_fini(struct sl_calls *c);

void sl_answer_name(char out[SL_ANSWER_NAME_BYTES], struct sl_str s); /* an empty s changes nothing */
/* The provider's word for the end, in ours where there is one ("stop", "length", "tool_calls", "content_filter",
 * "refusal"), else in small letters. */
void sl_answer_finish(struct sl_answer *a, struct sl_str word);
uint64_t sl_answer_count(struct json_object *o, const char *key); /* 0 when it is missing or negative */
/* A piece of text or thinking; an empty one is nothing. */
SL_MUST_USE enum sl_code sl_answer_text(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece,
					struct sl_error *err);
