/* ws/cursor.c: from a cursor to the present. The log and everyone who catches up are encoded by this one function, so
 * the order of things is decided here and nowhere else:
 *   1. records by order; before one that ends an attempt, the rest of that attempt's text;
 *   2. then the text of every stream whose beginning was told, from its offset.
 */
#include <stdlib.h>

#include "base/utf8.h"
#include "ws/hub_priv.h"

#define TEXT_STEP 2048u /* raw bytes escaped between two looks at the room: six times that at most */

void cursor_fini(struct cursor *c)
{
	free(c->marks);
	c->marks = NULL;
	c->n_marks = c->size = 0;
}

bool cursor_grow(struct cursor *c, uint32_t n)
{
	if (n > c->size) {
		uint32_t size = c->size ? c->size : 4;
		while (size < n)
			size *= 2;
		struct mark *marks = realloc(c->marks, size * sizeof(*marks));
		if (!marks)
			return false;
		c->marks = marks;
		c->size = size;
	}
	while (c->n_marks < n)
		c->marks[c->n_marks++] = (struct mark){0};
	return true;
}

bool cursor_copy(struct cursor *to, const struct cursor *from)
{
	if (!cursor_grow(to, from->n_marks))
		return false;
	to->n_marks = from->n_marks;
	if (from->n_marks)
		memcpy(to->marks, from->marks, from->n_marks * sizeof(*to->marks));
	to->order = from->order;
	return true;
}

void cursor_to_present(struct topic *t, struct cursor *c)
{
	c->order = t->last;
	for (uint32_t i = 0; i < t->n_paths && i < c->n_marks; i++) {
		const struct path *p = t->paths[i];
		uint32_t attempt = p->void_from ? p->void_attempt : sl_stream_attempt(p->stream);
		c->marks[i] = (struct mark){attempt, attempt, p->void_from ? 0 : sl_stream_length(p->stream)};
	}
}

/* How much of the present attempt a cursor has told. */
static uint64_t told(const struct topic *t, const struct cursor *c, uint32_t path)
{
	if (path >= c->n_marks)
		return 0;
	const struct mark *m = &c->marks[path];
	uint32_t attempt = sl_stream_attempt(t->paths[path]->stream);
	return m->open == attempt && m->attempt == attempt ? m->offset : 0;
}

bool cursor_is_level(const struct topic *t, const struct cursor *c)
{
	if (c->order != t->cur.order)
		return false;
	for (uint32_t i = 0; i < t->n_paths; i++)
		if (told(t, c, i) != told(t, &t->cur, i))
			return false;
	return true;
}

static struct mark *mark_of(struct encode *e, uint32_t path)
{
	if (path >= e->cur->n_marks && !cursor_grow(e->cur, path + 1)) {
		e->failed = true;
		return NULL;
	}
	return &e->cur->marks[path];
}

/* Every change of the log's own cursor is noted, so that a place on the log can be turned into a cursor again. */
static bool change(struct encode *e, uint32_t path, struct mark *m, struct mark to)
{
	if (!e->sub && !log_delta(&e->topic->log, path, *m)) {
		e->failed = true;
		return false;
	}
	*m = to;
	return true;
}

static void event_begin(struct encode *e)
{
	if (e->format == SL_HUB_WEBSOCKET)
		sl_buf_addc(e->out, e->n ? ',' : '[');
	e->n++;
}

void encode_finish(struct encode *e, struct sl_str *message)
{
	if (e->n > 1)
		sl_buf_addc(e->out, ']');
	*message = sl_buf_str(e->out);
	if (e->n == 1) { /* a single object goes without the brackets */
		message->p++;
		message->len--;
	}
}

/* Many pieces are told within one millisecond. */
static const char *now_text(struct sl_hub *h)
{
	int64_t now = sl_clock_wall(h->config.clock);
	if (!h->wall_text[0] || now != h->wall_ms)
		sl_time_format(now, h->wall_text);
	h->wall_ms = now;
	return h->wall_text;
}

static void write_head(struct encode *e, const char *event)
{
	if (e->format == SL_HUB_SSE) {
		sl_buf_adds(e->out, "event: ");
		sl_buf_adds(e->out, event);
		sl_buf_adds(e->out, "\ndata: ");
	}
	sl_buf_adds(e->out, "{\"event\":\"");
	sl_buf_adds(e->out, event);
	sl_buf_adds(e->out, "\",\"run_id\":\"");
	sl_buf_adds(e->out, e->topic->run_text);
	sl_buf_adds(e->out, "\",\"ts\":\"");
	sl_buf_adds(e->out, now_text(e->topic->hub));
	sl_buf_adds(e->out, "\",\"data\":{\"node_id\":");
}

static void write_tail(struct encode *e)
{
	sl_buf_adds(e->out, e->format == SL_HUB_SSE ? "}}\n\n" : "}}");
}

/* The client has text that is none of this attempt's beginning: it must drop it. No record, so no seq. */
static void encode_reset(struct encode *e, const struct path *p)
{
	event_begin(e);
	write_head(e, "stream_reset");
	sl_buf_json_str(e->out, sl_str(p->name));
	sl_buf_json_ku64(e->out, "attempt", sl_stream_attempt(p->stream));
	sl_buf_json_kz(e->out, "reason", "position_unknown");
	write_tail(e);
}

static bool starts_inside_character(struct sl_str s)
{
	return s.len && ((unsigned char)s.p[0] & 0xc0) == 0x80;
}

/* Text of one path up to `end`. False: no room for all of it. */
static bool encode_text(struct encode *e, uint32_t index, struct mark *m, uint64_t end)
{
	struct path *p = e->topic->paths[index];
	struct mark now = *m;
	uint32_t attempt = sl_stream_attempt(p->stream);
	uint64_t length = sl_stream_length(p->stream);
	enum sl_stream_kind kind, first;

	/* A place that cannot be one in this text: another attempt's, beyond the end, inside a character. */
	bool other = now.attempt && now.attempt != attempt;
	if (now.offset &&
	    (other || now.offset > length || starts_inside_character(sl_stream_read(p->stream, now.offset, &kind)))) {
		if (e->out->len + FRAME_ROOM_MIN / 2 > e->max)
			return false;
		encode_reset(e, p);
		now.offset = 0;
	}
	now.attempt = attempt;
	while (now.offset < end) {
		struct sl_str s = sl_stream_read(p->stream, now.offset, &first);
		if (e->out->len + FRAME_ROOM_MIN * 3 / 4 > e->max) {
			SL_IGNORE(change(e, index, m, now)); /* failing is remembered in e */
			return false;
		}
		uint64_t from = now.offset;
		event_begin(e);
		write_head(e, "token_stream");
		sl_buf_json_str(e->out, sl_str(p->name));
		sl_buf_json_ku64(e->out, "attempt", attempt);
		sl_buf_json_ku64(e->out, "offset", from);
		sl_buf_adds(e->out, ",\"chunk\":\"");
		for (kind = first;;) { /* pieces of one kind follow one another in one chunk while there is room */
			size_t take = s.len;
			if (take > end - now.offset)
				take = (size_t)(end - now.offset);
			if (take > TEXT_STEP)
				take = sl_utf8_cut(s.p, take, TEXT_STEP);
			sl_event_escape(e->out, sl_str_n(s.p, take));
			now.offset += take;
			if (now.offset >= end || e->out->len + FRAME_ROOM_MIN * 3 / 4 > e->max)
				break;
			s = sl_stream_read(p->stream, now.offset, &kind);
			if (kind != first)
				break;
		}
		sl_buf_adds(e->out, "\"");
		sl_buf_json_ku64(e->out, "end", now.offset);
		sl_buf_json_kbool(e->out, "is_thinking", first == SL_STREAM_THINKING);
		write_tail(e);
		if (e->sub)
			e->topic->hub->stats.catch_up_text_bytes += now.offset - from;
	}
	return change(e, index, m, now);
}

/* What may be told of a path: to the limit's offset, or to its end. */
static uint64_t text_limit(const struct encode *e, uint32_t path)
{
	return e->limit ? told(e->topic, e->limit, path) : sl_stream_length(e->topic->paths[path]->stream);
}

/* False: no room. `force` opens it: an attempt that ended has begun, whether or not this client was told here. */
static bool encode_path(struct encode *e, uint32_t path, bool force)
{
	struct path *p = e->topic->paths[path];
	uint32_t attempt = sl_stream_attempt(p->stream);
	struct mark *m = mark_of(e, path);

	if (!m)
		return true; /* no memory: remembered */
	if (p->void_from && e->cur->order >= p->void_from)
		return true; /* it was told to drop this text; that of the next attempt is not here yet */
	if (m->open != attempt) {
		if (!force && p->announced > e->cur->order)
			return true;
		struct mark opened = *m;
		opened.open = attempt;
		if (!change(e, path, m, opened))
			return true;
	}
	uint64_t end = text_limit(e, path);
	if (m->attempt == attempt && m->offset == end)
		return true;
	bool stale = m->attempt && m->attempt != attempt &&
		     m->offset; /* no stream_reset said so: it is said before any text */
	if (end == 0 && !stale)
		return true; /* nothing yet; an offset that cannot be is found when there is something */
	return encode_text(e, path, m, end);
}

static bool before_record(struct encode *e, const struct rec *r)
{
	if (!e->tokens)
		return true;
	if (r->kind == REC_END && r->path != NO_PATH) {
		if (sl_stream_attempt(e->topic->paths[r->path]->stream) == r->attempt)
			return encode_path(e, r->path, true);
	} else if (r->kind == REC_END_ALL) {
		for (uint32_t i = 0; i < e->topic->n_paths; i++)
			if (!encode_path(e, i, false))
				return false;
	}
	return true;
}

void cursor_pass(struct encode *e, const struct rec *r)
{
	e->cur->order = r->order;
	if ((r->kind != REC_RESET && r->kind != REC_BEGIN) || r->path == NO_PATH)
		return;
	uint32_t attempt = sl_stream_attempt(e->topic->paths[r->path]->stream);
	struct mark *m = r->attempt >= attempt ? mark_of(e, r->path) : NULL;
	if (!m)
		return;
	struct mark to = *m;
	to.open = r->attempt;
	if (r->kind == REC_RESET) /* whatever offset there was counted the text before */
		to = (struct mark){r->attempt, r->attempt, 0};
	SL_IGNORE(change(e, r->path, m, to)); /* failing is remembered in e */
}

void encode_record(struct encode *e, const struct rec *r)
{
	struct sl_record rec = {.seq = r->seq, .wall_ms = r->wall_ms, .event = r->event, .data = r->data};
	char run[SL_UUID_TEXT_BYTES];
	const char *text = e->topic->run_text;

	if (e->topic->all) {
		sl_uuid_format(r->run.u, run);
		text = run;
	}
	event_begin(e);
	if (e->format == SL_HUB_WEBSOCKET) {
		sl_event_record(e->out, text, &rec);
		return;
	}
	if (!e->topic->all) { /* Last-Event-ID is a place in one run */
		sl_buf_adds(e->out, "id: ");
		sl_buf_addu(e->out, r->seq);
		sl_buf_addc(e->out, '\n');
	}
	SL_BUF(json, SIZE_MAX);
	sl_event_record(&json, text, &rec);
	if (json.failed)
		e->failed = true;
	else
		sl_event_sse(e->out, 0, r->event, sl_buf_str(&json));
}

static bool wanted(const struct encode *e, const struct rec *r)
{
	if (!e->topic->all || !e->sub)
		return true;
	const struct sl_hub_conn *c = e->sub->conn;
	sl_list_each (it, &c->subs) { /* a run it watches by itself is told there: each event once */
		const struct sub *other = sl_list_entry(it, struct sub, in_conn);
		if (!other->topic->all && sl_run_id_eq(other->topic->run, r->run))
			return false;
	}
	const struct sl_ws_commands *cmds = &e->topic->hub->config.commands;
	return !cmds->may_see || cmds->may_see(cmds->ctx, &c->who, r->run);
}

static enum enc encode_records(struct encode *e)
{
	uint64_t last = e->limit ? e->limit->order : e->topic->last;
	while (e->cur->order < last) {
		bool missing = false;
		struct rec *r = recs_after(e->topic, e->cur->order, &missing);
		if (!r)
			return missing ? ENC_FETCH : ENC_LEVEL;
		if (r->order > last)
			break;
		if (wanted(e, r)) {
			size_t bytes = (r->data ? r->data->len : 0) + strlen(r->event) + 256;
			if (!before_record(e, r))
				return ENC_FULL;
			if (e->out->len + bytes > e->max) {
				if (e->n || bytes <= FRAME_BYTES_MAX)
					return ENC_FULL;
				e->big = r;
				return ENC_BIG;
			}
			encode_record(e, r);
		}
		cursor_pass(e, r);
		if (e->failed)
			break;
	}
	return ENC_LEVEL;
}

enum enc cursor_encode(struct encode *e)
{
	struct topic *t = e->topic;
	enum enc got = encode_records(e);
	if (got != ENC_LEVEL || e->failed || !e->tokens)
		return got;
	if (e->only_dirty) {
		for (uint32_t i = 0; i < t->n_dirty; i++)
			if (!encode_path(e, t->dirty[i], false))
				return ENC_FULL;
		return ENC_LEVEL;
	}
	uint32_t scan = e->sub ? e->sub->scan : 0;
	for (uint32_t seen = 0; seen < t->n_paths; seen++) {
		uint32_t i = (scan + seen) % t->n_paths;
		if (!encode_path(e, i, false)) {
			if (e->sub)
				e->sub->scan = i; /* so that one long text does not hold up the others for ever */
			return ENC_FULL;
		}
	}
	return ENC_LEVEL;
}
