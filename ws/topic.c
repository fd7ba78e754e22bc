/* ws/topic.c: one watched run: its life, what the bus says of it, its snapshot, and the flushing of what is new. */
#include <stdlib.h>

#include "ws/hub_priv.h"

/* ---- what the bus says ---- */

static void hold(struct topic *t, struct sl_notice *n)
{
	if (t->n_held == t->held_size) {
		size_t size = t->held_size ? t->held_size * 2 : 8;
		struct sl_notice **held = realloc(t->held, size * sizeof(struct sl_notice *));
		if (!held) { /* then it is lost: the journal has it */
			t->fill_again = true;
			return;
		}
		t->held = held;
		t->held_size = size;
	}
	t->held[t->n_held++] = sl_notice_ref(n);
}

/* What all runs did is in no journal: who watches it has missed something, and must begin anew. */
static void end_all(struct topic *t)
{
	struct sl_list *const lists[] = {&t->level, &t->behind};
	for (size_t i = 0; i < SL_COUNT_OF(lists); i++)
		sl_list_each (it, lists[i])
			conn_end(sl_list_entry(it, struct sub, in_topic)->conn, SL_WS_CLOSE_STALLED, "out of memory",
				 &t->hub->stats.closed_other);
}

static void apply(struct topic *t, struct sl_notice *n)
{
	uint64_t last = n->n_records ? n->records[n->n_records - 1].seq : t->last;
	bool ok = true;

	if (!t->all)
		for (size_t i = 0; i < n->n_streams; i++) /* first, so that the records find their paths */
			ok = streams_seen(t, n->streams[i], last) && ok;
	for (size_t i = 0; ok && i < n->n_records; i++)
		if (t->all || n->records[i].seq > t->last)
			ok = recs_push(t, &n->records[i], n->run);
	if (!ok && t->all)
		end_all(t);
	else if (!ok)
		t->fill_again = true; /* no memory just now: read it from the journal in a while */
	topic_touched(t);
}

void topic_notice(struct topic *t, struct sl_notice *n)
{
	if (t->all) {
		apply(t, n);
		return;
	}
	if (t->state == TOPIC_LOADING || t->filling) {
		hold(t, n);
		return;
	}
	if (n->n_records && n->records[0].seq > t->last + 1) {
		t->hub->stats.gaps++;
		hold(t, n);
		topic_fill(t);
		return;
	}
	apply(t, n);
}

void topic_apply_held(struct topic *t)
{
	struct sl_notice **held = t->held;
	size_t n = t->n_held;
	t->held = NULL;
	t->n_held = t->held_size = 0;
	for (size_t i = 0; i < n; i++) {
		topic_notice(t, held[i]); /* may hold it again, when there is one more gap */
		sl_notice_unref(held[i]);
	}
	free(held);
}

/* ---- its snapshot ---- */

static uint64_t ends_sum(const struct topic *t)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < t->n_paths; i++)
		if (t->paths[i]->announced <= t->view_seq)
			sum += sl_stream_length(t->paths[i]->stream) + 1;
	return sum;
}

struct sl_bytes *topic_snapshot(struct topic *t, enum sl_hub_format format)
{
	uint64_t ends = ends_sum(t);
	if (format == SL_HUB_WEBSOCKET && t->snapshot && t->snapshot_ends == ends)
		return sl_bytes_ref(t->snapshot);
	SL_BUF(b, SIZE_MAX);
	struct sl_str run = sl_str_trim(sl_bytes_str(t->view));
	char ts[SL_TIME_TEXT_BYTES];

	sl_time_format(sl_clock_wall(t->hub->config.clock), ts);
	sl_buf_adds(&b, "{\"event\":\"snapshot\",\"run_id\":\"");
	sl_buf_adds(&b, t->run_text);
	sl_buf_adds(&b, "\",\"ts\":\"");
	sl_buf_adds(&b, ts);
	sl_buf_adds(&b, "\",\"data\":");
	if (run.len >= 2 && run.p[run.len - 1] == '}')
		sl_buf_add(&b, run.p, sl_str_trim(sl_str_n(run.p, run.len - 1)).len);
	else
		sl_buf_addc(&b, '{');
	sl_buf_json_key(&b, "streams");
	sl_buf_addc(&b, '{');
	for (uint32_t i = 0; i < t->n_paths; i++) {
		const struct path *p = t->paths[i];
		if (p->announced > t->view_seq)
			continue;
		sl_buf_json_comma(&b);
		sl_buf_json_str(&b, sl_str(p->name));
		sl_buf_adds(&b, ":{");
		sl_buf_json_ku64(&b, "attempt", sl_stream_attempt(p->stream));
		sl_buf_json_ku64(&b, "end", sl_stream_length(p->stream));
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "}}}");
	if (format == SL_HUB_SSE) {
		SL_BUF(sse, SIZE_MAX);
		if (!b.failed)
			sl_event_sse(&sse, t->view_seq, "snapshot", sl_buf_str(&b));
		return b.failed ? NULL : sl_buf_bytes(&sse);
	}
	sl_bytes_unref(t->snapshot);
	t->snapshot = sl_buf_bytes(&b);
	t->snapshot_ends = ends;
	return sl_bytes_ref(t->snapshot);
}

/* ---- flushing ---- */

/* What one socket watches is flushed together where it can: one wake-up and one write for many runs. Nobody waits
 * longer for it than for the end of its own interval. */
static uint64_t flush_at(const struct topic *t, uint64_t now, uint64_t latest)
{
	const struct sl_list *subs = sl_list_empty(&t->level) ? &t->behind : &t->level;
	if (sl_list_empty(subs) || latest <= now)
		return latest;
	struct sl_hub_conn *c = sl_list_entry(subs->next, struct sub, in_topic)->conn;
	if (c->next_ms <= now || c->next_ms > latest)
		c->next_ms = latest;
	return c->next_ms;
}

/* There is something for a subscription whose connection has an interval of its own: when that is over. */
static void touch_private(struct sub *s)
{
	struct sl_hub_conn *c = s->conn;
	sub_mark(s);
	if (!c->due.set)
		hub_schedule(c->hub, &c->due, c->flushed_ms + c->flush_ms);
}

void topic_touch_behind(struct topic *t)
{
	sl_list_each (it, &t->behind) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		if (s->state != SUB_BEHIND)
			continue;
		if (s->conn->flush_ms == FLUSH_OF_HUB)
			sub_touch(s);
		else
			touch_private(s);
	}
}

void topic_touched(struct topic *t)
{
	struct sl_hub *h = t->hub;
	uint64_t now = hub_now(h);
	if (t->state != TOPIC_READY)
		return;
	if (!t->due.set)
		hub_schedule(h, &t->due, flush_at(t, now, t->flushed_ms + h->flush_ms));
	if (!h->n_private)
		return;
	sl_list_each (it, &t->behind) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		if (s->conn->flush_ms != FLUSH_OF_HUB)
			touch_private(s);
	}
}

/* False: it cannot be on the log (too large for a frame, no memory): everyone is to be served singly. */
static bool encode_to_log(struct topic *t)
{
	struct sl_hub *h = t->hub;
	for (;;) {
		struct encode e = {
			.topic = t, .cur = &t->cur, .out = &h->payload, .max = FRAME_BYTES_MAX, .tokens = true};
		struct sl_str message;
		uint64_t before = t->cur.order;

		e.format = SL_HUB_WEBSOCKET;
		e.only_dirty = true;
		sl_buf_reset(&h->payload);
		t->log.appending = true; /* until the frame is on the log, whoever leaves it is before the frame */
		t->log.order_before = before;
		enum enc got = cursor_encode(&e);
		if (e.failed || h->payload.failed)
			return false;
		if (e.n) {
			encode_finish(&e, &message);
			if (!log_append(t, message, before))
				return false;
		}
		t->log.appending = false;
		if (got == ENC_LEVEL)
			return true;
		if (got != ENC_FULL)
			return false;
	}
}

void topic_flush(struct topic *t)
{
	struct sl_hub *h = t->hub;

	wheel_drop(&h->wheel, &t->due);
	t->flushed_ms = hub_now(h);
	h->stats.flushes++;
	streams_look(t);
	uint64_t head = log_head(&t->log);
	if (t->n_level && !encode_to_log(t))
		log_everyone_off(t);
	if (!t->n_level)
		cursor_to_present(t, &t->cur);
	streams_settle(t);
	if (log_head(&t->log) != head)
		topic_fan_out(t);
	topic_touch_behind(t);
}

void topic_live(struct topic *t)
{
	if (t->fill_again) {
		t->fill_again = false;
		topic_fill(t);
	}
	if (t->fetch_again) {
		t->fetch_again = false;
		topic_touch_behind(t);
	}
	sl_bytes_unref(t->snapshot); /* as large as the view; those who come together share it */
	t->snapshot = NULL;
	if (t->log.len == 0 && t->log.cap > LOG_BYTES_MIN) {
		free(t->log.data);
		t->log.data = NULL;
		t->log.cap = 0;
	}
}

/* ---- life ---- */

static struct topic *topic_new(struct sl_hub *h)
{
	struct topic *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->hub = h;
	sl_list_init(&t->level);
	sl_list_init(&t->behind);
	due_init(&t->due, false);
	h->stats.topics++;
	return t;
}

enum sl_code topic_get(struct sl_hub *h, struct sl_run_id run, struct topic **out)
{
	HASH_FIND(hh, h->topics, &run, sizeof(run), *out);
	if (*out)
		return SL_OK;
	struct topic *t = topic_new(h);
	if (!t)
		return SL_NO_MEMORY;
	t->run = run;
	sl_uuid_format(run.u, t->run_text);
	HASH_ADD(hh, h->topics, run, sizeof(t->run), t);
	enum sl_code rc = t->hh.tbl ? topic_load(t) : SL_NO_MEMORY;
	if (rc == SL_OK) {
		*out = t;
		return SL_OK;
	}
	if (t->hh.tbl)
		HASH_DELETE(hh, h->topics, t);
	h->stats.topics--;
	free(t);
	return rc;
}

enum sl_code topic_all(struct sl_hub *h, struct topic **out)
{
	if (!h->all) {
		struct topic *t = topic_new(h);
		if (!t)
			return SL_NO_MEMORY;
		t->all = true;
		t->state = TOPIC_READY;
		h->all = t;
		h->config.source.watch_all(h->config.source.ctx, true);
	}
	*out = h->all;
	return SL_OK;
}

void topic_free(struct topic *t)
{
	struct sl_hub *h = t->hub;
	SL_BUG_ON(!sl_list_empty(&t->level) || !sl_list_empty(&t->behind));
	wheel_drop(&h->wheel, &t->due);
	if (t->all) {
		h->all = NULL;
		h->config.source.watch_all(h->config.source.ctx, false);
	} else {
		HASH_DELETE(hh, h->topics, t);
	}
	if (t->watched)
		h->config.source.unwatch(h->config.source.ctx, t->run);
	streams_fini(t);
	recs_fini(t);
	for (size_t i = 0; i < t->n_held; i++)
		sl_notice_unref(t->held[i]);
	free(t->held);
	cursor_fini(&t->cur);
	log_fini(&t->log);
	sl_bytes_unref(t->view);
	sl_bytes_unref(t->snapshot);
	h->stats.topics--;
	free(t);
}

void topic_drop_if_idle(struct topic *t)
{
	if (sl_list_empty(&t->level) && sl_list_empty(&t->behind) && !t->outstanding)
		topic_free(t);
}
