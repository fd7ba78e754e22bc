/* llm/request.h: a call's wishes, parsed and completed from its profile, for protocols that say them in words of their
 * own.
 *
 * Owns      the parsed JSON while the request is written; slices belong to the request and the profile.
 * Thread    [any]
 * Rule      what only tunes an answer (seed, a temperature a model does not take) is left out where a provider has no
 *           such thing; what changes what comes back (thinking, a forced tool) is refused, in words.
 */
#pragma once

#include "base/json.h"
#include "llm/chat.h"

struct sl_profile;

struct sl_wish {
	double temperature, top_p;       /* NAN: not set */
	bool own_thinking;               /* the call's, not its profile's */
	int64_t max_tokens;              /* 0: not set */
	struct sl_str thinking;          /* empty: not set */
	struct json_object *messages;    /* array of objects with a role */
	struct json_object *stop;        /* array of texts; NULL: none */
	struct json_object *tools;       /* array; NULL: none */
	struct json_object *tool_choice; /* NULL: none */
	struct json_object *format;      /* response_format; NULL: none */
	struct json_object *schema;      /* borrowed from format; NULL: none */
	bool json;                       /* JSON is asked for, with or without a schema */
};
/* A protocol's build(): reads the wishes and has `write` write them. SL_INVALID: a slice is not the JSON it should be,
 * or there is nothing to say. */
typedef enum sl_code sl_wish_writer(struct sl_wish *w, const struct sl_chat_request *req, const char *model,
				    struct sl_buf *b, struct sl_error *err);
SL_MUST_USE enum sl_code sl_wish_build(const struct sl_chat_request *req, const struct sl_profile *p, const char *model,
				       sl_wish_writer *write, struct sl_buf *b, struct sl_error *err);
/* Whether all of it is there: SL_TOO_LARGE or SL_NO_MEMORY, in words. */
SL_MUST_USE enum sl_code sl_wish_whole(const struct sl_buf *b, struct sl_error *err);

/* How a protocol writes a conversation that is a list of turns, each a list of blocks, with the system's text apart. */
struct sl_wish_turns {
	const char *list, *blocks, *assistant; /* its words; the other side is the "user" everywhere */
	/* The blocks of a message that is not the system's, with commas between; none: it is left out. */
	enum sl_code (*message)(const struct sl_wish *w, size_t i, struct sl_buf *blocks, struct sl_error *err);
	void (*text)(struct sl_str text, struct sl_buf *blocks);
};
/* Two turns of the same side become one: results of several tools belong together. *system is what belongs into the
 * system's field: its text and `note`; where nobody else speaks, its text is the user's turn, and `note` alone is left.
 */
SL_MUST_USE enum sl_code sl_wish_write_turns(const struct sl_wish *w, const struct sl_chat_request *req,
					     const struct sl_wish_turns *how, struct sl_str note, struct sl_buf *system,
					     struct sl_buf *b, struct sl_error *err);

/* What a protocol calls the wishes that tune an answer. */
struct sl_wish_names {
	const char *temperature, *top_p, *frequency_penalty, *presence_penalty, *max_tokens, *seed, *stop;
};
void sl_wish_write_tuning(const struct sl_wish *w, const struct sl_chat_request *req, const struct sl_wish_names *names,
			  struct sl_buf *b);

/* "Answer with one JSON object …": for providers or models that cannot be held to a schema. Nothing when no JSON is
 * asked for. */
void sl_wish_json_note(const struct sl_wish *w, struct sl_buf *out);
bool sl_wish_is_system(struct json_object *message);
bool sl_wish_is_tool(struct json_object *message); /* the result of a tool */
/* The text of a message's content: a string, or its text parts one after the other. */
void sl_wish_text(struct json_object *content, struct sl_buf *out);

struct sl_wish_part {              /* of a message's content */
	struct sl_str text;        /* or else a picture: */
	struct sl_str media, data; /* "image/png" and base64 */
	struct sl_str url;         /* or else where it is */
};
size_t sl_wish_parts(struct json_object *content); /* a string is one part */
/* SL_INVALID: of a kind we do not know. */
SL_MUST_USE enum sl_code sl_wish_part(struct json_object *content, size_t i, struct sl_wish_part *out,
				      struct sl_error *err);

size_t sl_wish_calls(struct json_object *message); /* how many tools it calls */
struct sl_wish_call {
	struct json_object *call, *function; /* borrowed */
	struct json_object *arguments; /* an object, though the message may have it as text; the caller's to put */
};
SL_MUST_USE enum sl_code sl_wish_call(struct json_object *message, size_t i, struct sl_wish_call *out,
				      struct sl_error *err);
/* What tool_choice wants. */
enum sl_wish_choice { SL_CHOICE_NONE, SL_CHOICE_AUTO, SL_CHOICE_ANY, SL_CHOICE_ONE };
enum sl_wish_choice sl_wish_choice(const struct sl_wish *w, struct sl_str *name); /* AUTO when nothing is said */
/* The tool's function object: {"name","description","parameters"}. */
struct json_object *sl_wish_tool(const struct sl_wish *w, size_t i);

SL_MUST_USE enum sl_code sl_wish_check_json(struct sl_str text, enum json_type type, const char *what,
					    struct json_object **out, struct sl_error *err);
/* "claude-sonnet-4-5-20250929" with "claude-": 4.5 is 405; 0: no version there. */
unsigned sl_model_version(struct sl_str model, const char *head);
