/* llm/reader.h: the bytes of a 2xx answer, cut into what a protocol reads: the events or lines of a stream, one JSON
 * document, or a page that is no model's answer at all.
 *
 * Owns      what is unfinished between two pieces. The protocol's state embeds it.
 * Thread    [io] of the call.
 * Promises  any split of the same bytes gives the same calls; SL_OK at the end only when a->complete is set.
 */
#pragma once

#include "llm/protocol.h"
#include "llm/sse.h"

struct json_object;
struct sl_reader;

struct sl_reader_form {
	const char *stream_type; /* media type of the stream */
	bool lines;              /* each line is a JSON value, instead of server-sent events */
	/* An event or line: trimmed, not empty, valid UTF-8; never after a->complete. */
	enum sl_code (*event)(struct sl_reader *r, struct sl_str name, struct sl_str data);
	/* A line among events that belongs to no field. NULL: such lines are ignored. */
	enum sl_code (*stray)(struct sl_reader *r, struct sl_str line);
	/* The whole answer; sets a->complete, or says what is wrong. */
	enum sl_code (*document)(struct sl_reader *r, struct json_object *doc);
	/* The stream has ended between two events: sets a->complete, or leaves it (then it was cut). NULL: leaves it.
	 */
	enum sl_code (*end)(struct sl_reader *r);
};

enum sl_reader_shape { SL_SHAPE_UNKNOWN, SL_SHAPE_STREAM, SL_SHAPE_WHOLE, SL_SHAPE_FOREIGN };

struct sl_reader {
	const struct sl_reader_form *form;
	struct sl_answer *a;
	const struct sl_http_head *head;
	struct sl_error *err; /* of the call that feeds, during it */
	enum sl_reader_shape shape;
	struct sl_sse sse;
	struct sl_buf line;  /* an unfinished line */
	struct sl_buf whole; /* the document, the beginning of a foreign page, or blanks before we know */
};

void sl_reader_init(struct sl_reader *r, const struct sl_reader_form *form, struct sl_answer *a,
		    const struct sl_http_head *head);
void sl_reader_fini(struct sl_reader *r);
/* As in struct sl_protocol. */
SL_MUST_USE enum sl_code sl_reader_feed(struct sl_reader *r, struct sl_str bytes, struct sl_error *err);
SL_MUST_USE enum sl_code sl_reader_finish(struct sl_reader *r, struct sl_error *err);
