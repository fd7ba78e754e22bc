/* llm/protocol.h: what a provider's wire protocol does for a call: write the request, read the answer.
 *
 * A protocol is one constant table. Reading is push: open at the head, feed bytes as they come, finish at their end. It
 * knows no sockets, so it is tested with strings.
 * Thread    build [any]; the rest [io] of the call.
 */
#pragma once

#include "base/buf.h"
#include "llm/chat.h"

struct sl_profile;

#define SL_ANSWER_NAME_BYTES 128

/* What is being read. Owned by the call; a protocol fills it. */
struct sl_answer {
	enum sl_chat_mode mode; /* as asked */
	/* A piece of text or thinking; the code goes up unchanged. */
	enum sl_code (*delta)(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err);
	bool complete; /* the terminal marker came: what follows does not matter */
	char model[SL_ANSWER_NAME_BYTES];
	char finish_reason[SL_ANSWER_NAME_BYTES];
	struct sl_buf tool_calls; /* JSON array, once complete */
	struct sl_buf refusal;
	struct sl_chat_usage usage;
};

enum sl_url_kind { SL_URL_STREAM, SL_URL_WHOLE, SL_URL_EMBEDDINGS };

struct sl_protocol {
	const char *name;
	const char *path;            /* behind the profile's base_url; NULL: url() makes it */
	const char *embeddings_path; /* likewise; NULL: none. Requests and answers there are OpenAI's */
	/* NULL: base_url and path. Else appends the whole address. */
	void (*url)(const struct sl_profile *p, const char *model, enum sl_url_kind kind, struct sl_buf *url);
	/* Appends the request's JSON. SL_INVALID: a slice of req is not the JSON it should be. */
	enum sl_code (*build)(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
			      struct sl_buf *body, struct sl_error *err);
	/* The header that carries the key; value may start with `prefix`. */
	const char *key_header, *key_prefix;
	const struct sl_http_header *headers; /* that go with each request */
	size_t n_headers;
	const char *stream_accept; /* of a stream: its media type */
	/* A stream ends by ending: after the last chunk a cut connection is a failure, though finish() was content. */
	bool ends_by_closing;
	/* Reading a 2xx answer. *state is the protocol's; close frees it (NULL is fine). */
	enum sl_code (*open)(struct sl_answer *a, const struct sl_http_head *head, void **state, struct sl_error *err);
	enum sl_code (*feed)(void *state, struct sl_str bytes, struct sl_error *err);
	enum sl_code (*finish)(void *state,
			       struct sl_error *err); /* the bytes have ended; SL_OK only with a terminal marker */
	void (*close)(void *state);
};

extern const struct sl_protocol sl_protocol_openai, sl_protocol_azure, sl_protocol_anthropic, sl_protocol_gemini,
	sl_protocol_ollama;

/* The address of a call. false: the protocol has none of that kind. */
bool sl_protocol_url(const struct sl_protocol *protocol, const struct sl_profile *p, const char *model,
		     enum sl_url_kind kind, struct sl_buf *url);
/* Appends base_url without the first of these tails it ends in: "https://host/v1" is as good as "https://host". */
void sl_protocol_base(const struct sl_profile *p, const char *const *tails, struct sl_buf *url);
void sl_protocol_segment(struct sl_str s, struct sl_buf *url); /* percent-encoded where an address needs it */
