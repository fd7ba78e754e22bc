/* ws/encode.h: events as JSON text, and the two ways they travel: WebSocket frames and server-sent events.
 * Thread    [any]; appends to a buffer of the caller.
 */
#pragma once

#include "base/buf.h"
#include "base/id.h"
#include "base/record.h"
#include "base/clock.h"

#define SL_WS_HEADER_BYTES 10

enum sl_ws_opcode {
	SL_WS_CONT = 0,
	SL_WS_TEXT = 1,
	SL_WS_BINARY = 2,
	SL_WS_CLOSE = 8,
	SL_WS_PING_FRAME = 9,
	SL_WS_PONG = 10
};

/* The header of an unmasked server frame; returns its length: 2, 4 or 10. */
size_t sl_ws_frame_header(uint8_t out[SL_WS_HEADER_BYTES], enum sl_ws_opcode opcode, bool fin, size_t payload_bytes);
/* The frame at p: header and payload length; false: p[0..len) holds no complete frame. */
bool sl_ws_frame_measure(const char *p, size_t len, size_t *header, size_t *payload);

/* {"event":…,"run_id":…,"seq":…,"ts":…,"data":…} of a durable record. `run` is the text of the id. */
void sl_event_record(struct sl_buf *b, const char *run, const struct sl_record *r);

/* JSON string content without quotes; s is valid UTF-8 (streams are). */
void sl_event_escape(struct sl_buf *b, struct sl_str s);

/* A server-sent event: "id: seq" when seq is not 0, "event: name", "data: json", an empty line. */
void sl_event_sse(struct sl_buf *b, uint64_t seq, const char *event, struct sl_str json);
