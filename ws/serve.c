/* ws/serve.c: what one connection is written: at most one write a turn, holding everything it lacks. */
#include "ws/hub_priv.h"

#define OUT_KEPT_BYTES 1024 /* of memory for answers, by a connection that has none to give */

enum filled {
	FILLED,  /* nothing more for now */
	NO_ROOM, /* there is more: another piece */
};

static bool is_private(const struct sl_hub_conn *c)
{
	return c->flush_ms != FLUSH_OF_HUB;
}

bool sub_joinable(const struct sub *s)
{
	const struct sl_hub_conn *c = s->conn;
	if (c->format != SL_HUB_WEBSOCKET || is_private(c) || !s->tokens)
		return false;
	return !s->topic->all || (c->n_subs == 1 && !c->hub->config.commands.may_see);
}

/* ---- writing ---- */

static bool write_piece(struct sl_hub_conn *c, const char *bytes, size_t len)
{
	struct sl_hub *h = c->hub;
	h->stats.writes++;
	h->stats.bytes += len;
	switch (c->sink->ops->write(c->sink, bytes, len)) {
	case SL_SINK_MORE:
		return true;
	case SL_SINK_FULL:
		c->blocked = c->was_blocked = true;
		c->progress_ms = hub_now(h);
		c->unsent = c->sink->ops->unsent(c->sink);
		return true;
	default:
		c->closing = true; /* the owner of the sink closes us */
		return false;
	}
}

static bool ready(struct sl_hub_conn *c)
{
	if (c->closing || c->blocked)
		return false;
	if (c->sink->ops->ready(c->sink))
		return true;
	c->blocked = c->was_blocked = true;
	c->progress_ms = hub_now(c->hub);
	return false;
}

static void add_frame(struct sl_buf *piece, enum sl_ws_opcode opcode, bool fin, struct sl_str payload)
{
	uint8_t header[SL_WS_HEADER_BYTES];
	sl_buf_add(piece, header, sl_ws_frame_header(header, opcode, fin, payload.len));
	sl_buf_add(piece, payload.p, payload.len);
}

static size_t room(const struct sl_buf *piece)
{
	return piece->len < SL_HUB_PIECE_BYTES ? SL_HUB_PIECE_BYTES - piece->len : 0;
}

/* ---- one large message, in fragments ---- */

static enum filled fill_big(struct sl_hub_conn *c, struct sl_buf *piece)
{
	size_t rest = c->big->len - c->big_at, take = room(piece) > 64 ? room(piece) - 64 : 0;
	if (take > FRAME_BYTES_MAX)
		take = FRAME_BYTES_MAX;
	if (take > rest)
		take = rest;
	else if (take < rest && take < FRAME_ROOM_MIN)
		return NO_ROOM;
	struct sl_str part = sl_str_n(c->big->data + c->big_at, take);
	if (c->format == SL_HUB_WEBSOCKET)
		add_frame(piece, c->big_at ? SL_WS_CONT : SL_WS_TEXT, take == rest, part);
	else
		sl_buf_add(piece, part.p, part.len);
	c->big_at += take;
	if (take < rest)
		return NO_ROOM;
	sl_bytes_unref(c->big);
	c->big = NULL;
	c->big_at = 0;
	return FILLED;
}

/* Takes the reference. */
static enum filled send_big(struct sl_hub_conn *c, struct sl_buf *piece, struct sl_bytes *message)
{
	c->big = message;
	c->big_at = 0;
	return fill_big(c, piece);
}

/* ---- one subscription ---- */

static void out_of_memory(struct sl_hub_conn *c)
{
	conn_end(c, SL_WS_CLOSE_STALLED, "out of memory", &c->hub->stats.closed_other);
}

static enum filled fill_snapshot(struct sub *s, struct sl_buf *piece)
{
	struct sl_hub_conn *c = s->conn;
	struct sl_bytes *message = topic_snapshot(s->topic, c->format);
	if (!message) {
		out_of_memory(c);
		return FILLED;
	}
	s->snapshot_due = false;
	s->cur.order = s->topic->view_seq; /* a newer view may have come since it was promised this one */
	return send_big(c, piece, message);
}

/* The next record is too large for a frame: it goes as one message, in fragments. */
static enum filled fill_big_record(struct sub *s, struct encode *e, struct sl_buf *piece)
{
	struct sl_hub_conn *c = s->conn;
	SL_BUF(b, SIZE_MAX);
	struct encode one = *e;
	struct sl_str message;

	one.out = &b;
	one.n = 0;
	encode_record(&one, e->big);
	if (c->format == SL_HUB_WEBSOCKET)
		encode_finish(&one, &message);
	else
		message = sl_buf_str(&b);
	struct sl_bytes *bytes = b.failed ? NULL : sl_bytes_new(message.p, message.len);
	if (!bytes) {
		out_of_memory(c);
		return FILLED;
	}
	cursor_pass(e, e->big);
	enum filled got = send_big(c, piece, bytes);
	return got == FILLED ? NO_ROOM : got; /* what follows it is looked at in the next piece */
}

static enum filled fill_behind(struct sub *s, struct sl_buf *piece)
{
	struct sl_hub_conn *c = s->conn;
	struct sl_hub *h = c->hub;
	struct topic *t = s->topic;
	bool sse = c->format == SL_HUB_SSE;

	for (;;) {
		size_t max = room(piece) > 16 ? room(piece) - 16 : 0;
		if (max < FRAME_ROOM_MIN)
			return NO_ROOM;
		if (max > FRAME_BYTES_MAX)
			max = FRAME_BYTES_MAX;
		struct encode e = {.topic = t, .cur = &s->cur, .sub = s, .format = c->format, .tokens = s->tokens};
		struct sl_str message;
		e.limit = is_private(c) ? NULL : &t->cur;
		e.out = &h->payload;
		e.max = max;
		sl_buf_reset(&h->payload);
		enum enc got = cursor_encode(&e);
		if (e.failed || h->payload.failed) {
			out_of_memory(c);
			return FILLED;
		}
		if (e.n) {
			h->stats.catch_up_frames++;
			if (sse) {
				sl_buf_add(piece, h->payload.data, h->payload.len);
			} else {
				encode_finish(&e, &message);
				add_frame(piece, SL_WS_TEXT, true, message);
			}
		}
		switch (got) {
		case ENC_LEVEL:
			if (sub_joinable(s) && cursor_is_level(t, &s->cur))
				sub_join_log(s);
			return FILLED;
		case ENC_FULL:
			if (e.n == 0)
				return NO_ROOM;
			break;
		case ENC_BIG:
			return fill_big_record(s, &e, piece);
		case ENC_FETCH:
			if (t->all) /* what all runs did is not kept for ever: it must begin anew */
				conn_end(c, SL_WS_CLOSE_STALLED, "too far behind", &h->stats.closed_stalled);
			else
				topic_fetch(t, s->cur.order);
			return FILLED;
		}
	}
}

static enum filled fill_level(struct sub *s, struct sl_buf *piece)
{
	const struct log *l = &s->topic->log;
	uint64_t lag = log_head(l) - s->pos;
	if (lag == 0)
		return FILLED;
	if (!sub_joinable(s) || (lag > LAG_BYTES && s->conn->was_blocked)) {
		sub_leave_log(s);
		s->topic->hub->stats.fell_behind++;
		log_reset_if_read(s->topic);
		return fill_behind(s, piece);
	}
	size_t take = log_cut(l, s->pos, room(piece));
	sl_buf_add(piece, l->data + (s->pos - l->start), take);
	sub_advance(s, s->pos + take);
	if (take < lag)
		return NO_ROOM;
	s->conn->was_blocked = false;
	log_reset_if_read(s->topic);
	return FILLED;
}

static enum filled fill_sub(struct sub *s, struct sl_buf *piece)
{
	if (s->state == SUB_WAITING)
		return FILLED;
	if (s->snapshot_due && fill_snapshot(s, piece) == NO_ROOM)
		return NO_ROOM;
	return s->state == SUB_LEVEL ? fill_level(s, piece) : fill_behind(s, piece);
}

/* ---- one connection ---- */

static enum filled fill_subs(struct sl_hub_conn *c, struct sl_buf *piece)
{
	enum filled got = FILLED;
	if (is_private(c) && !c->may_flush)
		return FILLED;
	while (got == FILLED && !sl_list_empty(&c->subs_due) && !c->closing) {
		struct sub *s = sl_list_entry(c->subs_due.next, struct sub, in_due);
		got = fill_sub(s, piece);
		if (got == FILLED) /* whoever came too short is first next time */
			sl_list_drop(&s->in_due);
	}
	if (got == FILLED)
		c->may_flush = false;
	return got;
}

void conn_serve(struct sl_hub_conn *c)
{
	struct sl_hub *h = c->hub;
	struct sl_buf *piece = &h->piece;
	enum filled got = FILLED;

	if (!ready(c))
		return;
	sl_buf_reset(piece);
	if (c->big)
		got = fill_big(c, piece);
	if (got == FILLED && c->out.len) {
		sl_buf_add(piece, c->out.data, c->out.len);
		if (c->out.cap > OUT_KEPT_BYTES) {
			sl_buf_fini(&c->out);
			sl_buf_init(&c->out, REPLY_BYTES_MAX * 2);
		} else {
			sl_buf_reset(&c->out);
		}
	}
	if (got == FILLED)
		got = fill_subs(c, piece);
	if (c->closing)
		return;
	if (piece->failed) {
		out_of_memory(c);
		return;
	}
	if (piece->len && !write_piece(c, piece->data, piece->len))
		return;
	if (got == NO_ROOM && !c->blocked)
		c->sink->ops->want_writable(c->sink);
}

void topic_fan_out(struct topic *t)
{
	struct log *l = &t->log;
	uint64_t head = log_head(l);
	sl_list_each_safe (it, next, &t->level) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		struct sl_hub_conn *c = s->conn;
		/* A send takes two microseconds and most of the cache: what the next ones need is fetched meanwhile.
		 * `next` was itself fetched a round ago; at the end of the list this touches the head's neighbours,
		 * which is harmless. */
		if (next != &t->level) {
			const struct sl_hub_conn *ahead = sl_list_entry(next, struct sub, in_topic)->conn;
			__builtin_prefetch(ahead);
			__builtin_prefetch(&ahead->out.len);
			__builtin_prefetch(sl_list_entry(next->next, struct sub, in_topic));
		}
		if (s->pos == head || c->closing)
			continue;
		if (c->blocked) {
			sub_mark(s); /* for when it takes bytes again */
			continue;
		}
		if (c->n_subs != 1 || c->big || c->out.len || head - s->pos > SL_HUB_PIECE_BYTES) {
			sub_touch(s);
			continue;
		}
		/* the usual case: one run watched, level until now: straight from the log, nothing is copied */
		if (ready(c) && write_piece(c, l->data + (s->pos - l->start), (size_t)(head - s->pos)))
			sub_advance(s, head);
		else
			sub_mark(s);
	}
	log_reset_if_read(t);
}

void sl_hub_writable(struct sl_hub_conn *c)
{
	c->blocked = false;
	c->progress_ms = hub_now(c->hub);
	conn_touch(c);
}

/* ---- answers ---- */

void conn_say(struct sl_hub_conn *c, struct sl_str json)
{
	if (c->closing)
		return;
	if (c->out.len + json.len > REPLY_BYTES_MAX) {
		conn_end(c, 1008, "answers are not read", &c->hub->stats.closed_other);
		return;
	}
	add_frame(&c->out, SL_WS_TEXT, true, json);
	conn_touch(c);
}

void conn_ping(struct sl_hub_conn *c)
{
	if (c->out.len)
		return; /* it has something to take as it is */
	if (c->format == SL_HUB_SSE)
		sl_buf_adds(&c->out, ": still here\n\n");
	else
		add_frame(&c->out, SL_WS_PING_FRAME, true,
			  SL_STR("sl")); /* libwebsockets 4.1 does not tell of empty pongs */
	conn_touch(c);
}

static void answer_head(struct sl_hub_conn *c, struct sl_buf *b, const char *event, const struct sl_run_id *run,
			struct json_object *id)
{
	char text[SL_UUID_TEXT_BYTES];
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "event", event);
	if (run) {
		sl_uuid_format(run->u, text);
		sl_buf_json_kz(b, "run_id", text);
	}
	sl_buf_json_ktime(b, "ts", sl_clock_wall(c->hub->config.clock));
	sl_buf_json_key(b, "data");
	sl_buf_addc(b, '{');
	if (id) {
		sl_buf_json_key(b, "id");
		sl_json_write(b, id);
	}
}

static void answer_say(struct sl_hub_conn *c, struct sl_buf *b, const char *event)
{
	sl_buf_adds(b, "}}");
	if (b->failed) {
		out_of_memory(c);
		return;
	}
	if (c->format == SL_HUB_WEBSOCKET) {
		conn_say(c, sl_buf_str(b));
		return;
	}
	sl_event_sse(&c->out, 0, event, sl_buf_str(b));
	conn_touch(c);
}

void conn_error(struct sl_hub_conn *c, struct json_object *id, const struct sl_run_id *run, enum sl_code code,
		const char *text, uint32_t retry_after_ms)
{
	SL_BUF(b, REPLY_BYTES_MAX);
	answer_head(c, &b, "error", run, id);
	sl_buf_json_kz(&b, "code", sl_code_wire(code));
	sl_buf_json_kz(&b, "message", text);
	if (retry_after_ms)
		sl_buf_json_kf64(&b, "retry_after", retry_after_ms / 1000.0);
	answer_say(c, &b, "error");
}

void conn_ack(struct sl_hub_conn *c, struct json_object *id, struct sl_str result)
{
	SL_BUF(b, REPLY_BYTES_MAX);
	answer_head(c, &b, "ack", NULL, id);
	if (result.len)
		sl_buf_json_kraw(&b, "result", result);
	answer_say(c, &b, "ack");
}
