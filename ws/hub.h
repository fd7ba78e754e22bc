/* ws/hub.h: who watches what, and who is sent what: topics, cursors, shared frames. No socket in here.
 *
 * Owns      one topic for each watched run (its last events, its streams, a log of encoded frames) and a small record
 * for each connection and subscription. Never queues for a subscriber: that has a cursor, so its memory is constant.
 * Thread    [front] everything but sl_hub_publish(), which is [any], and the callbacks given to the ports, also [any].
 * Ports     struct sl_hub_source (the runs) and struct sl_ws_commands (what changes them), filled in by cmd.
 * Surprise  a subscriber that is level with its topic shares its frames, encoded once and written straight out of the
 *           topic's log. Whoever is new, slow or has a flush interval of its own is *catching up*: frames are made for
 * it alone from (seq, offset of each stream), until it is level again. Order     events of a run by seq, each once; the
 * text of a stream contiguous; the text of a node before the event that ends it; stream_reset before the text of the
 * next attempt.
 */
#pragma once

#include "base/clock.h"
#include "base/id.h"
#include "base/limits.h"
#include "base/record.h"
#include "engine/engine.h" /* sl_view, sl_notice: what runs look like to a watcher */

struct json_object;
struct sl_hub;
struct sl_hub_conn;

/* Where runs come from. Calls are made [front] and must not block; callbacks may come on any thread, also from inside
 * the call; an error return means the callback never runs. */
typedef void sl_hub_page_fn(void *arg, enum sl_code rc, const struct sl_record *records,
			    size_t n); /* lent for the call */
struct sl_hub_source {
	/* As sl_engine_view(). With SL_VIEW_WATCH, notices of the run reach sl_hub_publish() until `unwatch`. */
	enum sl_code (*view)(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg);
	void (*unwatch)(void *ctx, struct sl_run_id run);
	/* Up to `limit` journal records with seq > after_seq, in order, from the journal; fewer when they reach
	 * SL_LIMIT_PAGE_BYTES. n == 0: there are none. */
	enum sl_code (*events_after)(void *ctx, struct sl_run_id run, uint64_t after_seq, size_t limit,
				     sl_hub_page_fn *fn, void *arg);
	void (*watch_all)(void *ctx, bool on); /* publish the notices of all runs, too (sl_engine_bus_all) */
	void *ctx;
};

/* Who is at the other end, as the authentication of the handshake found it. Plain data. */
struct sl_ws_identity {
	char name[64]; /* of the token */
	int role;      /* api's numbers: the hub only carries it */
	struct sl_uuid token;
};

/* Commands the hub does not serve itself: start_run, pause, resume, cancel, unlock, review, signal, user_input. */
typedef void sl_ws_reply_fn(void *arg, enum sl_code rc, struct sl_str result, const struct sl_run_id *started,
			    const struct sl_error *err);
struct sl_ws_commands {
	/* [front] `args` is the whole command object, lent for the call. An error return fills err and is the answer.
	 * On SL_OK reply comes once, [any]: `result` (a JSON object, or empty) becomes data.result of the `ack`;
	 * `started`, when set, is a run the connection is then subscribed to; on any other rc, err->text is the
	 * message. */
	enum sl_code (*command)(void *ctx, const struct sl_ws_identity *who, const char *cmd, struct json_object *args,
				sl_ws_reply_fn *reply, void *arg, struct sl_error *err);
	/* [front] May this one watch this run? NULL: everyone may. */
	bool (*may_see)(void *ctx, const struct sl_ws_identity *who, struct sl_run_id run);
	void *ctx;
};

struct sl_hub_config {
	const struct sl_clock *clock;
	struct sl_hub_source source;
	struct sl_ws_commands commands;
	uint32_t flush_ms; /* gathering interval of topics; SL_HUB_FLUSH_MS is the usual one, 0 flushes every turn */
	/* How the hub gets its turns. wake [any]: call sl_hub_turn() [front] soon. wake_at [front]: at that time, too
	 * (replaces the time said before; UINT64_MAX: none). */
	void (*wake)(void *ctx);
	void (*wake_at)(void *ctx, uint64_t mono_ms);
	void *loop_ctx;
};
#define SL_HUB_FLUSH_MS 25

/* Where a connection's bytes go: a WebSocket (ws/conn.c), or a response body (SSE). All [front]. Embedded by its owner.
 */
enum sl_sink_result {
	SL_SINK_MORE, /* would take more at once */
	SL_SINK_FULL, /* nothing more until it calls sl_hub_writable() */
	SL_SINK_GONE, /* never again; sl_hub_conn_close() follows, later */
};
struct sl_hub_sink;
struct sl_hub_sink_ops {
	/* False: it takes nothing now, and will call sl_hub_writable(). Asked before every write. */
	bool (*ready)(struct sl_hub_sink *s);
	/* Takes all of it: complete frames (WebSocket) or a piece of the body (SSE), not much more than
	 * SL_HUB_PIECE_BYTES. The bytes are lent for the call: what the socket does not take at once, the sink keeps.
	 */
	enum sl_sink_result (*write)(struct sl_hub_sink *s, const char *bytes, size_t len);
	void (*want_writable)(struct sl_hub_sink *s); /* there is more to write: call sl_hub_writable() when it fits */
	/* Ends the connection with a WebSocket close code. Must not call back from inside. */
	void (*close)(struct sl_hub_sink *s, int code, const char *reason);
	/* Bytes written that the peer has not taken yet, to tell a slow reader from a dead one; -1: unknown. */
	long (*unsent)(struct sl_hub_sink *s);
};
struct sl_hub_sink {
	const struct sl_hub_sink_ops *ops;
};
#define SL_HUB_PIECE_BYTES (64u << 10)

enum sl_hub_format {
	SL_HUB_WEBSOCKET, /* server frames of RFC 6455, one JSON object or array a message; pinged */
	SL_HUB_SSE,       /* text/event-stream: "id:" is the seq of a durable event */
};

SL_MUST_USE enum sl_code sl_hub_new(const struct sl_hub_config *config, struct sl_hub **out);
/* All connections must be closed, and the ports quiet: no callback outstanding, nobody publishes. NULL is fine. */
void sl_hub_free(struct sl_hub *h);
SL_DEFINE_AUTO(sl_hub)

/* [any] The bus port: takes a reference of its own. */
void sl_hub_publish(struct sl_hub *h, struct sl_notice *n);
/* Serves what was posted, flushes what is due, writes it. Once per turn of the loop, after its reads; cheap when idle.
 */
void sl_hub_turn(struct sl_hub *h);

bool sl_hub_full(const struct sl_hub *h); /* SL_LIMIT_WS_CONNECTIONS are open */
/* NULL: no memory, or SL_LIMIT_WS_CONNECTIONS are open. `sink` outlives the connection. */
struct sl_hub_conn *sl_hub_conn_open(struct sl_hub *h, struct sl_hub_sink *sink, enum sl_hub_format format,
				     const struct sl_ws_identity *who);
void sl_hub_conn_close(struct sl_hub_conn *c);                   /* the sink is gone; frees c. NULL is fine */
void sl_hub_writable(struct sl_hub_conn *c);                     /* the sink takes bytes again */
void sl_hub_heard(struct sl_hub_conn *c);                        /* a sign of life: any frame, a pong */
void sl_hub_message(struct sl_hub_conn *c, struct sl_str text);  /* a complete text message of the client */
void sl_hub_bad_message(struct sl_hub_conn *c, const char *why); /* one that is no text: answered with an error */

/* What `subscribe` does, for SSE. after_seq is used when `resume` is set (then no snapshot comes). Streams start from
 * their beginning; with `tokens` false none are sent. Outcome (also not_found) is told through the sink: an SSE
 * connection is closed with 4004 when there is no such run. A run it watches already is begun anew. SL_LIMIT (too many
 * subscriptions), SL_FORBIDDEN as not found, SL_NO_MEMORY, or what the source says. */
struct sl_hub_want {
	struct sl_run_id run;
	uint64_t after_seq;
	bool resume;
	bool tokens;
};
SL_MUST_USE enum sl_code sl_hub_subscribe(struct sl_hub_conn *c, const struct sl_hub_want *want);

/* Closes every connection for which match is true: a revoked token, say. */
void sl_hub_close_matching(struct sl_hub *h, bool (*match)(void *ctx, const struct sl_ws_identity *who), void *ctx,
			   int code, const char *reason);
/* The server goes away: what can be flushed at once is, then all connections are closed with SL_WS_CLOSE_RESTART. */
void sl_hub_drain(struct sl_hub *h);

#define SL_WS_CLOSE_TOO_BIG  1009
#define SL_WS_CLOSE_NOT_UTF8 1007
#define SL_WS_CLOSE_RESTART  1012 /* come back: the server restarts */
#define SL_WS_CLOSE_REVOKED  4001 /* do not come back with this token */
#define SL_WS_CLOSE_NO_RUN   4004
#define SL_WS_CLOSE_STALLED  4008 /* took nothing for SL_LIMIT_WS_STALLED_MS; may come back */
#define SL_WS_CLOSE_SILENT   4009 /* nothing heard for SL_LIMIT_WS_SILENT_MS; may come back */

struct sl_hub_stats {
	uint32_t connections, subscriptions, topics, catching_up;
	uint64_t opened, closed_stalled, closed_silent, closed_drain, closed_revoked,
		closed_other;            /* by us, or the peer */
	uint64_t subscribed, recoveries; /* recoveries: subscribed with after_seq */
	uint64_t flushes, frames_encoded, writes, bytes;
	uint64_t catch_up_frames, fell_behind; /* fell_behind: left the shared frames because it was slow */
	uint64_t catch_up_text_bytes; /* of streams, sent while catching up: few large chunks instead of many */
	uint64_t pages;               /* journal pages read for those who came back */
	uint64_t gaps;                /* notices that were missing and read from the journal instead */
	uint64_t commands, bad_commands;
	uint32_t flush_ms; /* now: widened under load */
	uint64_t turn_us;  /* the longest recent fan-out turn */
};
void sl_hub_stats(const struct sl_hub *h, struct sl_hub_stats *out);
