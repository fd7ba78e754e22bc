/* llm/sim_dialect.h: what a provider's protocol means for the simulator: reading a request, writing an answer and its
 * failures. The same rules, speed and faults drive all of them.
 */
#pragma once

#include "llm/sim_priv.h"

/* What a request asks for, in whatever words. Slices belong to the document, or to `model`. */
struct sim_wish {
	struct sim_ask ask;         /* all but the topic */
	struct json_object *schema; /* borrowed; NULL: none */
	bool json;                  /* JSON is asked for */
	bool stream, tell_usage;
	int64_t most_tokens; /* of the answer, thinking included; below 1: no limit */
	char model[256];     /* where it does not stand in the document */
};

enum sim_kind {
	SIM_BAD,
	SIM_KEY,
	SIM_FORBIDDEN,
	SIM_MODEL,
	SIM_LENGTH,
	SIM_RATE,
	SIM_QUOTA,
	SIM_SPEND,
	SIM_BROKEN,
	SIM_OVERLOADED,
	SIM_KINDS
};

struct sim_failure {
	int status;
	const char *type, *code; /* in the provider's words; NULL: it has none */
	const char *message;
	uint32_t retry_ms; /* to be hinted at in the body; 0: not there */
	bool list;         /* in an array of one */
};

struct sim_dialect {
	const char *name;
	const char *stream_type;
	struct sim_failure failures[SIM_KINDS];
	const char *rate_hint[2]; /* how F5 and F6 hint when nothing else is asked for */
	const char *needs_header; /* refused without it; NULL: none */
	/* NULL: understood. Else what is wrong with the request. */
	const char *(*read)(struct json_object *doc, struct sl_str path, struct sim_wish *w);
	void (*begin)(struct sim_reply *r, struct sl_buf *b); /* NULL: a stream begins with its first token */
	void (*token)(struct sim_reply *r, struct sl_buf *b, bool thinking, struct sl_str token);
	/* Tool calls, the reason for the end, usage; with `marker` the end itself. */
	void (*end)(struct sim_reply *r, struct sl_buf *b, bool marker);
	void (*whole)(struct sim_reply *r, struct sl_buf *b);           /* the answer as one document */
	void (*failure)(const struct sim_failure *f, struct sl_buf *b); /* its body */
	/* One in the middle of a stream; `text`: as a text instead of an object; `line`: without the usual frame. */
	void (*failure_event)(const struct sim_failure *f, bool text, bool line, struct sl_buf *b);
	/* A piece of text that is put as it is between the quotes: what is no UTF-8, or half a chunk when `half`. */
	void (*raw)(struct sim_reply *r, struct sl_buf *b, struct sl_str inside, bool half);
};
extern const struct sim_dialect sl_sim_openai, sl_sim_anthropic, sl_sim_gemini, sl_sim_ollama;

const char *sl_sim_finish(const struct sim_reply *r); /* "stop", "length", "tool_calls", … , as OpenAI says it */
bool sl_sim_refuses(const struct sim_reply *r);       /* F15 as a refusal */
#define SIM_REFUSAL "I cannot help with that."
struct sl_str sl_sim_text_of(struct json_object *content); /* a string, or the first text part */
