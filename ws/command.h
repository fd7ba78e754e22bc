/* ws/command.h: what clients may say, parsed. Every foreign byte on a socket passes here first.
 *
 * Owns      a parsed command owns its json object; the strings in it are lent by that object.
 * Thread    [any]
 */
#pragma once

#include "base/id.h"
#include "base/json.h"

enum sl_ws_cmd {
	SL_WS_SUBSCRIBE,
	SL_WS_UNSUBSCRIBE,
	SL_WS_SUBSCRIBE_ALL,
	SL_WS_UNSUBSCRIBE_ALL,
	SL_WS_SET,
	SL_WS_PING,
	SL_WS_FORWARD, /* for struct sl_ws_commands: start_run, pause, resume, … */
};

struct sl_ws_command {
	enum sl_ws_cmd cmd;
	const char *name;           /* constant */
	struct json_object *object; /* the whole command */
	struct json_object *id;     /* lent: string or number; NULL: none */
	struct sl_run_id run;       /* subscribe, unsubscribe, and those that name a run */
	bool has_run;
	uint64_t after_seq;
	bool has_after_seq;
	struct json_object *streams; /* lent: { path: offset | { attempt, offset } }, checked; NULL: none */
	uint32_t flush_ms;
};

/* One JSON object { "cmd": NAME, "id"?, … }. On failure err->text is for the client, and out->object is set when the
 * text was an object (so that its id can be told). Call sl_ws_command_fini() either way. SL_INVALID is the usual
 * failure. */
SL_MUST_USE enum sl_code sl_ws_command_parse(struct sl_str text, struct sl_ws_command *out, struct sl_error *err);
/* The same of what was parsed already; takes a reference of its own. */
SL_MUST_USE enum sl_code sl_ws_command_read(struct json_object *o, struct sl_ws_command *out, struct sl_error *err);
void sl_ws_command_fini(struct sl_ws_command *c);
void sl_ws_command_print(struct sl_buf *b, const struct sl_ws_command *c); /* parses to the same again */

/* One entry of `streams`. attempt 0: not said. */
void sl_ws_stream_offset(struct json_object *entry, uint32_t *attempt, uint64_t *offset);
