/* api/conversation.h: what a client of OpenAI's asks, as a run: pure reading and writing of JSON.
 *
 * Thread    [any]
 * profile:NAME   a run of one `llm` node, so that it goes through everything a node goes through: limits, breakers,
 *                retries, prices.
 * workflow:NAME  a run of that workflow. Of its inputs `messages` gets the conversation, `system` the system messages,
 *                and the first there is of prompt, topic, question, message, query, input, text (or else the only
 *                text it needs) what the user said last. The answer is the first there is of `text`, `answer`,
 * `output`, `result` of its outputs, else its first output; when that is exactly {{ nodes.ID.text }}, that node's text
 * is streamed as it comes, otherwise the value is sent at the end. Without outputs it is the text of the last node,
 * when there is one.
 */
#pragma once

#include "base/json.h"

enum sl_target { SL_TARGET_PROFILE, SL_TARGET_WORKFLOW };

struct sl_conversation {
	enum sl_target target;
	char name[65];   /* of the profile or workflow */
	char model[160]; /* as asked */
	bool stream, want_usage;
	struct json_object *messages; /* ours: [{ role, content, … }], content never null */
	struct json_object *params;   /* ours: further parameters of an `llm` node */
};
void sl_conversation_fini(struct sl_conversation *c);

/* The body of POST /v1/chat/completions. SL_INVALID, SL_NOT_FOUND (no such kind of model): err says why, `errors` gets
 * members of an errors array. */
SL_MUST_USE enum sl_code sl_conversation_read_chat(struct sl_conversation *c, struct json_object *body,
						   struct sl_buf *errors, struct sl_error *err);
/* The body of POST /v1/responses, likewise. */
SL_MUST_USE enum sl_code sl_conversation_read_response(struct sl_conversation *c, struct json_object *body,
						       struct sl_buf *errors, struct sl_error *err);

/* The run of a profile: a definition and its inputs, both the caller's. */
SL_MUST_USE enum sl_code sl_conversation_profile(const struct sl_conversation *c, struct sl_bytes **definition,
						 struct sl_bytes **inputs);

/* Where the answer of a workflow is. */
struct sl_answer_place {
	char node[65];   /* whose text is streamed; "": nobody's */
	char output[65]; /* the member of the outputs; "": they are the answer */
};
/* The inputs of a workflow (the caller's), and where its answer will be. SL_INVALID: it takes no conversation. */
SL_MUST_USE enum sl_code sl_conversation_workflow(const struct sl_conversation *c, struct json_object *definition,
						  struct sl_bytes **inputs, struct sl_answer_place *place,
						  struct sl_error *err);
