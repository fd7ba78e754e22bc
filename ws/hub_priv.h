/* ws/hub_priv.h: what the files of the hub share. Everything [front] unless said.
 *
 *   hub.c      posts, turns, the registry of connections, pings and stalls
 *   topic.c    a watched run: ingesting notices, flushing, its snapshot, its life
 *   load.c     what it reads: views, and pages of the journal
 *   records.c  its last records
 *   streams.c  the streams of its nodes
 *   cursor.c   from a cursor to the present: the one place that decides what comes before what
 *   log.c      the shared frames, and how a subscriber gets on them and off again
 *   serve.c    what one connection is written
 *   client.c   what one connection says
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* FNV-1a. uthash's own hash falls through between cases in a way clang refuses. */
static inline unsigned hub_hash(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint32_t h = 2166136261u;
	while (len--)
		h = (h ^ *p++) * 16777619u;
	return h ^ h >> 15; /* the low bits choose the bucket */
}
#define HASH_NONFATAL_OOM                    1 /* what could not be added has hh.tbl NULL; else uthash ends the process */
#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = hub_hash(keyptr, keylen))
#include <uthash.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mpsc.h"
#include "ws/command.h"
#include "ws/encode.h"
#include "ws/hub.h"
#include "ws/wheel.h"

#define RECORDS_KEPT       4096 /* of one topic, by reference; older ones are read from the journal */
#define RECORDS_KEPT_BYTES (4u << 20)
#define PAGE_RECORDS       512        /* read from the journal at once */
#define LOG_BYTES_MIN      (1u << 10) /* what a topic keeps: ten thousand have one each */
#define LOG_BYTES_MAX      (256u << 10)
#define LAG_BYTES          (16u << 10) /* behind by more: merged frames of its own are cheaper than the log's */
#define FRAME_BYTES_MAX    (60u << 10) /* payload of one frame; a larger event travels in fragments */
#define FRAME_ROOM_MIN     (20u << 10) /* less room left in a piece: the next piece */
#define REPLY_BYTES_MAX    (64u << 10) /* answers a client has not read; more closes with 1008 */
#define FLUSH_MS_WIDEST    250
#define FLUSH_OF_HUB       UINT32_MAX /* a connection without a flush interval of its own */
#define NO_PATH            UINT32_MAX
#define LIVE_MS            1000 /* between rounds of housekeeping */

/* How far a subscriber (or the topic itself) is. Cursors grow with the paths of their topic. */
struct mark {
	uint32_t attempt; /* whose bytes `offset` counts; 0: not said, the present one */
	uint32_t open;    /* the attempt whose beginning was told: only then its text may be sent */
	uint64_t offset;
};
struct cursor {
	uint64_t order; /* of the last record told */
	struct mark *marks;
	uint32_t n_marks, size;
};

enum rec_kind {
	REC_PLAIN,
	REC_RESET,   /* stream_reset: text of earlier attempts is void, text of this one follows */
	REC_BEGIN,   /* the attempt runs: its text follows */
	REC_END,     /* the attempt ended: its text comes before */
	REC_END_ALL, /* the run ended: all text comes before */
};
struct rec {
	uint64_t order; /* seq; on the topic of all runs, the order of arrival */
	uint64_t seq;
	int64_t wall_ms;
	const char *event; /* interned */
	struct sl_bytes *data;
	enum rec_kind kind;
	uint32_t path, attempt;
	struct sl_run_id run;
};

struct watch { /* of a stream; lives as long as it may be queued */
	struct sl_link link;
	struct sl_hub *hub;
	struct topic *topic; /* NULL: let go while queued */
	uint32_t path;
	_Atomic bool queued; /* a link may be in the queue once: the stream may be armed again before it was taken */
};
struct path {
	char *name;
	struct sl_stream *stream;    /* the present attempt */
	struct watch *watch;         /* NULL: ended and read to its end */
	uint64_t announced;          /* order of the record after which it may be sent at the latest */
	uint64_t void_from;          /* order of a stream_reset whose stream is not here yet; 0: none */
	uint32_t void_attempt;       /* which it is of */
	uint64_t looked_at, news_ms; /* its length when it was looked at last; when there was text last */
	bool dirty;
	bool ended; /* when it was looked at last: what was read then is all of it */
	bool flows; /* text follows text: it is looked at after each interval, and not armed in between */
	UT_hash_handle hh;
	uint32_t index;
};

/* One undone change of the topic's cursor, to find where a subscriber is that falls off. */
struct delta {
	uint32_t path;
	struct mark before;
};
struct frame {
	uint64_t end; /* position after it */
	uint64_t order_before;
	uint32_t n_deltas;
};
struct log {
	char *data;
	size_t cap, len;
	uint64_t start; /* position of data[0]; positions only grow */
	struct frame *frames;
	size_t n_frames, frames_size;
	struct delta *deltas;                 /* of all frames, in order */
	size_t n_deltas, deltas_size, framed; /* framed: deltas that belong to a frame already */
	bool appending;                       /* the topic's cursor is past a frame that is not here yet, */
	uint64_t order_before;                /* which begins here */
};

enum topic_state { TOPIC_LOADING, TOPIC_READY };
struct topic {
	struct sl_hub *hub;
	struct sl_run_id run;
	char run_text[SL_UUID_TEXT_BYTES];
	bool all; /* the topic of all runs: no streams, no snapshot, no journal */
	enum topic_state state;
	unsigned outstanding; /* callbacks of ports that will come: not freed before */
	bool watched;
	UT_hash_handle hh;

	struct sl_list level, behind; /* subs: on the log · catching up or waiting */
	uint32_t n_level, n_unread;   /* n_unread: level ones that have not been written the log's end */

	struct rec *recs; /* a ring of rec_size (a power of two) */
	size_t rec_size, rec_first, rec_n, rec_bytes;
	uint64_t last;    /* order of the newest */
	struct rec *page; /* older ones, on behalf of whoever needs them */
	size_t page_n;
	bool fetching, fetch_again; /* a page is on its way · failed, to be tried again */
	uint64_t page_after;        /* the page holds what follows this order */
	bool filling, fill_again;   /* likewise for a gap between notices */

	struct path **paths;
	uint32_t n_paths, paths_size;
	struct path *by_name;
	uint32_t *dirty; /* indexes of paths with news; as large as paths */
	uint32_t n_dirty;

	struct cursor cur; /* what the log holds up to */
	struct log log;
	struct due due;
	uint64_t flushed_ms;

	struct sl_bytes *view; /* the run object as of view_seq */
	uint64_t view_seq;
	struct sl_bytes *snapshot; /* the event made of it, and the stream ends it told */
	uint64_t snapshot_ends;
	bool refreshing;

	struct sl_notice **held; /* while loading or filling a gap */
	size_t n_held, held_size;
};

enum sub_state {
	SUB_WAITING, /* for the topic to load, or for a view that is new enough */
	SUB_LEVEL,   /* on the topic's log, at pos */
	SUB_BEHIND,  /* frames of its own, from cur */
};
struct sub { /* what fan-out looks at comes first: one cache line */
	struct sl_list in_topic;
	struct sl_hub_conn *conn;
	uint64_t pos;
	struct topic *topic;
	enum sub_state state;
	bool tokens, resume;
	bool snapshot_due;              /* before anything else */
	bool asked;                     /* a fresh view was asked for on its behalf */
	struct sl_list in_conn, in_due; /* in_due: something may be there for it */
	struct cursor cur;
	uint32_t scan;               /* path at which the next piece goes on */
	uint64_t least;              /* a view as old as this will do */
	struct json_object *streams; /* offsets it came with, until the topic is ready */
	struct json_object *ack;     /* id to acknowledge when it is accepted; NULL: none */
};

struct sl_hub_conn { /* likewise */
	struct sl_hub_sink *sink;
	struct sl_hub *hub;
	struct sl_bytes *big; /* one large message on its way, in fragments */
	uint32_t n_subs;
	bool blocked, closing;
	bool was_blocked;  /* since it was level last: a slow one, better off with merged frames */
	bool may_flush;    /* with an interval of its own: it is over, or a piece is still on its way */
	struct sl_buf out; /* answers, complete frames */
	size_t big_at;
	enum sl_hub_format format;
	uint32_t flush_ms;
	uint64_t flushed_ms, next_ms;  /* next_ms: when topics it watches are flushed next, together */
	struct sl_list subs, subs_due; /* subs_due: the ones to be looked at, longest waiting first */
	struct sl_list in_dirty;
	struct due due;
	uint64_t heard_ms, ping_ms, progress_ms;
	long unsent;
	uint64_t id;
	UT_hash_handle hh;
	struct sl_ws_identity who;
};

enum post_kind { POST_NOTICE, POST_VIEW, POST_PAGE, POST_REPLY };
struct post {
	struct sl_link link;
	enum post_kind kind;
};

struct sl_hub {
	struct sl_hub_config config;
	struct sl_mpsc posts; /* of struct post */
	struct sl_mpsc dirty; /* of struct watch: needs no allocation in the writer */
	_Atomic bool lost;    /* a notice found no memory: what is missing is read from the journal */
	struct topic *topics;
	struct topic *all;
	struct sl_hub_conn *conns;
	struct sl_list dirty_conns;
	struct wheel wheel;
	struct sl_list ready; /* dues to be served in this turn */
	uint64_t next_conn, next_live_ms, wake_ms;
	uint32_t flush_ms; /* now */
	uint32_t turn_ms8; /* eight times the mean fan-out turn, in milliseconds of config.clock */
	struct sl_buf payload, piece;
	int64_t wall_ms; /* as wall_text says */
	char wall_text[SL_TIME_TEXT_BYTES];
	char **names; /* interned event names */
	size_t n_names, names_size;
	uint32_t n_private; /* connections with an interval of their own */
	bool replan;        /* wake_ms may be too late */
	bool draining;
	struct sl_hub_stats stats;
};

/* hub.c */
uint64_t hub_now(const struct sl_hub *h);
const char *hub_intern(struct sl_hub *h, const char *name);
void hub_post(struct sl_hub *h, struct post *p);                    /* [any] */
void hub_schedule(struct sl_hub *h, struct due *d, uint64_t at_ms); /* at_ms <= now: in this turn, or the next */
void conn_touch(struct sl_hub_conn *c);                             /* serve it in this turn, or the next */
void sub_mark(struct sub *s);                                       /* there may be something for it */
void sub_touch(struct sub *s);                                      /* both */
void conn_end(struct sl_hub_conn *c, int code, const char *reason, uint64_t *counter);

/* topic.c */
enum sl_code topic_get(struct sl_hub *h, struct sl_run_id run, struct topic **out);
enum sl_code topic_all(struct sl_hub *h, struct topic **out);
void topic_drop_if_idle(struct topic *t);
void topic_free(struct topic *t);
void topic_notice(struct topic *t, struct sl_notice *n);
void topic_apply_held(struct topic *t);   /* notices that came while it was loading, or filling a gap */
void topic_live(struct topic *t);         /* every second: tries again what failed */
void topic_touched(struct topic *t);      /* new data: schedule a flush */
void topic_touch_behind(struct topic *t); /* those who catch up are served */
void topic_flush(struct topic *t);
struct sl_bytes *topic_snapshot(struct topic *t, enum sl_hub_format format);

/* load.c */
enum sl_code topic_load(struct topic *t);          /* asks for its first view */
enum sl_code topic_refresh(struct topic *t);       /* asks for a fresh view unless one is on its way */
void topic_fill(struct topic *t);                  /* something was lost: read the journal after `last` */
void topic_fetch(struct topic *t, uint64_t after); /* a page of what follows */
void topic_viewed(struct post *p);
void topic_paged(struct post *p);

/* records.c */
/* Its order is t->last + 1. Takes a reference of the data. False: no memory. */
bool recs_push(struct topic *t, const struct sl_record *from, struct sl_run_id run);
/* Instead of the page there is: those of these that follow `after` without a gap. False: no memory for all of them. */
bool recs_page(struct topic *t, uint64_t after, const struct sl_record *records, size_t n);
struct rec *recs_after(struct topic *t, uint64_t order, bool *missing); /* the next one; missing: must be fetched */
void recs_fini(struct topic *t);

/* streams.c */
/* A stream that exists: a new path, or the next attempt of one. Older attempts are history. False: no memory. */
bool streams_seen(struct topic *t, struct sl_stream *s, uint64_t announced);
void streams_dirty(struct topic *t, uint32_t path);
void streams_look(struct topic *t);   /* before they are read */
void streams_settle(struct topic *t); /* after that */
void streams_fini(struct topic *t);

/* cursor.c */
enum enc {
	ENC_LEVEL, /* up to the limit */
	ENC_FULL,  /* room or patience is used up */
	ENC_FETCH, /* the next record must be read from the journal */
	ENC_BIG,   /* the next record does not fit a frame: *big */
};
struct encode {
	struct topic *topic;
	struct cursor *cur;
	const struct cursor *limit; /* NULL: everything there is */
	struct sub *sub;            /* NULL: for the log */
	struct sl_buf *out;         /* payload of one message, or text/event-stream */
	size_t max;                 /* bytes of it */
	enum sl_hub_format format;
	bool tokens;
	bool only_dirty; /* look at the streams on the topic's dirty list only */
	struct rec *big;
	unsigned n;  /* events written */
	bool failed; /* no memory */
};
enum enc cursor_encode(struct encode *e);
void encode_record(struct encode *e, const struct rec *r);
void cursor_pass(struct encode *e, const struct rec *r);      /* r was told, or is none of the subscriber's business */
void encode_finish(struct encode *e, struct sl_str *message); /* WebSocket: the text of one message */
bool cursor_copy(struct cursor *to, const struct cursor *from);
bool cursor_grow(struct cursor *c, uint32_t n);
void cursor_fini(struct cursor *c);
void cursor_to_present(struct topic *t, struct cursor *c); /* as if all had been told */
bool cursor_is_level(const struct topic *t, const struct cursor *c);

/* log.c */
static inline uint64_t log_head(const struct log *l)
{
	return l->start + l->len;
}
bool log_append(struct topic *t, struct sl_str message,
		uint64_t order_before); /* the deltas since the last frame are its own */
bool log_delta(struct log *l, uint32_t path, struct mark before);
void log_fini(struct log *l);
void log_reset_if_read(struct topic *t);
size_t log_cut(const struct log *l, uint64_t pos, size_t max); /* bytes of whole frames from pos, at most max */
void sub_leave_log(struct sub *s);                             /* level → behind, at the place it has been written */
void sub_join_log(struct sub *s);                              /* behind → level, at the head */
void sub_advance(struct sub *s, uint64_t pos);
void log_everyone_off(struct topic *t);

/* serve.c */
void conn_serve(struct sl_hub_conn *c);
void topic_fan_out(struct topic *t);
void conn_say(struct sl_hub_conn *c, struct sl_str json); /* one message of its own: ack, error, pong */
void conn_ping(struct sl_hub_conn *c);
bool sub_joinable(const struct sub *s);
void conn_error(struct sl_hub_conn *c, struct json_object *id, const struct sl_run_id *run, enum sl_code code,
		const char *text, uint32_t retry_after_ms);
void conn_ack(struct sl_hub_conn *c, struct json_object *id, struct sl_str result);

/* client.c */
enum sl_code sub_new(struct sl_hub_conn *c, struct topic *t, struct sub **out);
void sub_free(struct sub *s);
void sub_ready(struct sub *s);                    /* its topic is loaded, or its view is fresh: begin, or wait on */
void sub_refused(struct sub *s, enum sl_code rc); /* tells why and frees it */
void client_replied(struct post *p);
