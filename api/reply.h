/* api/reply.h: an answer in OpenAI's forms: chat completions and responses, streamed or whole.
 *
 * Owns      the request it answers (held) and the text so far.
 * Thread    [front]
 * Surprise  a streamed answer begins with its first text, so that what fails before can still be an HTTP error; after
 * SL_REPLY_HOLD_MS it begins without. An error after that is an event in the stream.
 */
#pragma once

#include "api/request.h"

enum sl_reply_form { SL_REPLY_CHAT, SL_REPLY_RESPONSES };

#define SL_REPLY_HOLD_MS  15000
#define SL_REPLY_PAUSE_MS 15000 /* a comment goes out when nothing else does for so long */

struct sl_reply_usage {
	uint64_t input_tokens, output_tokens, cached_tokens, reasoning_tokens;
};

struct sl_reply {
	struct sl_request *r;
	enum sl_reply_form form;
	bool stream, want_usage; /* want_usage: a last chunk with the usage; chat only */
	bool began, over;
	char id[64], item[64]; /* "chatcmpl-…"; the message within a response */
	char model[160];       /* as asked */
	int64_t created_s;
	uint64_t asked_ms, first_ms, sent_ms; /* monotonic; first_ms 0: no text yet */
	struct sl_buf text, thinking;         /* all of it */
	struct sl_buf unsent;                 /* waits for the client to take bytes */
	uint64_t events;                      /* of a response: sequence_number */
};

void sl_reply_init(struct sl_reply *p, struct sl_request *r, enum sl_reply_form form, struct sl_uuid id,
		   int64_t wall_ms, uint64_t mono_ms);
void sl_reply_fini(struct sl_reply *p);

enum sl_reply_kind { SL_REPLY_TEXT, SL_REPLY_THINKING };
void sl_reply_piece(struct sl_reply *p, enum sl_reply_kind kind, struct sl_str piece, uint64_t now_ms);
/* Takes back what was not sent; false: some of it was. */
bool sl_reply_reset(struct sl_reply *p);
/* The end. tool_calls: JSON array [{"id","type","function":{"name","arguments"}}], empty: none. */
void sl_reply_done(struct sl_reply *p, struct sl_str finish_reason, struct sl_str tool_calls,
		   const struct sl_reply_usage *usage);
void sl_reply_fail(struct sl_reply *p, enum sl_code code, const char *message);
void sl_reply_tick(struct sl_reply *p, uint64_t now_ms); /* begins what was held too long, keeps alive */
bool sl_reply_full(const struct sl_reply *p);            /* the client is behind: give it no more now */
void sl_reply_writable(struct sl_reply *p);
