/* llm/sse.h: server-sent events out of bytes, cut wherever the network cut them.
 *
 * Owns      a line and an event that are incomplete so far. An event that lies in one chunk with a single data line is
 *           handed out in place, without a copy.
 * Thread    whoever owns the parser.
 * Accepts   LF, CR and CRLF, a byte order mark, comments, several data lines (joined by LF), event names, ids, any
 * split. The event that a stream ends in, without its blank line, is not handed out (as the standard has it);
 *           sl_sse_pending() says whether there was one.
 */
#pragma once

#include "base/buf.h"

struct sl_sse_event {
	struct sl_str name; /* empty: "message" */
	struct sl_str data;
	struct sl_str id; /* last one seen; empty: none */
};

/* Anything but SL_OK ends the feed with that code. The slices are valid during the call. */
typedef enum sl_code sl_sse_fn(void *ctx, const struct sl_sse_event *e);

struct sl_sse {
	struct sl_buf line; /* an unfinished line from earlier chunks */
	struct sl_buf data; /* data lines of the unfinished event */
	struct sl_buf name, id;
	struct sl_str in_place; /* the one data line so far, still in the caller's chunk; else in `data` */
	bool has_data, in_place_valid;
	bool skip_lf; /* the chunk before ended with CR */
	uint8_t bom;  /* bytes of the mark seen, 4: past it */
	sl_sse_fn *fn;
	sl_sse_fn *stray; /* optional: a line that belongs to no field (servers answer errors that way); data is the
			     line */
	void *ctx;
};

void sl_sse_init(struct sl_sse *s, sl_sse_fn *fn, void *ctx);
void sl_sse_fini(struct sl_sse *s);
/* SL_TOO_LARGE: a line, or the data of one event, over SL_LIMIT_SSE_LINE_BYTES. SL_NO_MEMORY. Or fn's code. After any
 * of these the parser is not to be fed again. */
SL_MUST_USE enum sl_code sl_sse_feed(struct sl_sse *s, struct sl_str bytes);
bool sl_sse_pending(const struct sl_sse *s); /* an event or line was begun and not finished */
/* At the end of a stream: hands out what was begun, as if a blank line had come. For servers that forget it. */
SL_MUST_USE enum sl_code sl_sse_finish(struct sl_sse *s);
