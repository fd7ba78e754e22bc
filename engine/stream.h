/* engine/stream.h: one append-only text per node attempt: written by one thread, read by anyone, by byte offset.
 *
 * Owns      its blocks; atomically counted as a whole.
 * Thread    append and end [one writer at a time], everything else [any].
 * Cost      an append copies the bytes once and publishes a length; no lock.
 * Offsets   count bytes of the whole stream, thinking and answer alike, and are always at UTF-8 boundaries: an
 *           incomplete character is held back until its rest comes.
 */
#pragma once

#include "base/bytes.h"
#include "base/id.h"

enum sl_stream_kind { SL_STREAM_TEXT, SL_STREAM_THINKING };

struct sl_buf;
struct sl_stream;

/* Called [writer] after an append or the end, at most once until sl_stream_rearm(): whoever reads (the hub) posts
 * itself a note here and rearms before it reads. May be called at any time before the watcher is taken away. */
struct sl_stream_watcher {
	void (*dirty)(struct sl_stream *s, void *ctx);
	void *ctx;
};

struct sl_stream *sl_stream_new(struct sl_run_id run, struct sl_str path, uint32_t attempt); /* NULL: no memory */
struct sl_stream *sl_stream_ref(struct sl_stream *s);
void sl_stream_unref(struct sl_stream *s); /* NULL is fine */
static inline void sl_stream_free(struct sl_stream *s)
{
	sl_stream_unref(s);
}
SL_DEFINE_AUTO(sl_stream)

/* Sees every append, in the writer's thread; belongs to the stream. Set before the first append. */
struct sl_stream_tap {
	enum sl_code (*see)(struct sl_stream_tap *t, enum sl_stream_kind kind, struct sl_str bytes);
	void (*free)(struct sl_stream_tap *t); /* with the stream */
};
void sl_stream_tap(struct sl_stream *s, struct sl_stream_tap *t);  /* takes t */
struct sl_stream_tap *sl_stream_tapped(const struct sl_stream *s); /* NULL: none */

/* Bytes must be a piece of valid UTF-8 (a character may be split over two appends; anything invalid becomes U+FFFD).
 * SL_TOO_LARGE: SL_LIMIT_STREAM_BYTES reached, nothing was added. SL_CANCELLED: already ended. Any other: what the tap
 * said of these bytes, which were added. */
SL_MUST_USE enum sl_code sl_stream_append(struct sl_stream *s, enum sl_stream_kind kind, struct sl_str bytes);
void sl_stream_end(struct sl_stream *s); /* nothing more will come; idempotent, [any] */

struct sl_run_id sl_stream_run(const struct sl_stream *s);
struct sl_str sl_stream_path(const struct sl_stream *s); /* lives as long as the stream */
uint32_t sl_stream_attempt(const struct sl_stream *s);
size_t sl_stream_length(const struct sl_stream *s); /* bytes published so far */
bool sl_stream_ended(const struct sl_stream *s);    /* when true, length is final */

/* A contiguous piece that starts at `offset`: one kind, one block. Empty when offset is the length. The bytes stay
 * valid as long as the caller holds the stream. Call again with offset + len for what follows. */
struct sl_str sl_stream_read(const struct sl_stream *s, size_t offset, enum sl_stream_kind *kind);

/* Everything of one kind, as one text; NULL: no memory. */
struct sl_bytes *sl_stream_collect(const struct sl_stream *s, enum sl_stream_kind kind);

/* The order of kinds, as JSON for the journal: [["thinking",120],["text",500]], and back again from the two texts. */
void sl_stream_segments(const struct sl_stream *s, struct sl_buf *out);
struct json_object;
struct sl_stream *sl_stream_rebuild(struct sl_run_id run, struct sl_str path, uint32_t attempt,
				    struct json_object *segments, struct sl_str text,
				    struct sl_str thinking); /* ended; NULL: no memory */

/* One watcher a stream. Setting one calls it at once when there is something to read. NULL takes it away; after that
 * returns, no call is under way. */
void sl_stream_watch(struct sl_stream *s, const struct sl_stream_watcher *w);
void sl_stream_rearm(struct sl_stream *s);
