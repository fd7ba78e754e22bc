/* ws/log.c: the frames all level subscribers of a topic share: one contiguous piece of memory, so that whatever a
 * subscriber lacks is one write. It is empty most of the time: once everyone has been written its end, it begins anew.
 * What is noted beside the frames (struct delta) is enough to turn any place on it into a cursor.
 */
#include <stdlib.h>

#include "ws/hub_priv.h"

void log_fini(struct log *l)
{
	free(l->data);
	free(l->frames);
	free(l->deltas);
	*l = (struct log){.start = l->start};
}

static bool grow(void *array, size_t *size, size_t n, size_t each)
{
	void **p = array;
	if (n <= *size)
		return true;
	size_t to = *size ? *size * 2 : 8;
	void *q = realloc(*p, to * each);
	if (!q)
		return false;
	*p = q;
	*size = to;
	return true;
}

bool log_delta(struct log *l, uint32_t path, struct mark before)
{
	if (!grow(&l->deltas, &l->deltas_size, l->n_deltas + 1, sizeof(*l->deltas)))
		return false;
	l->deltas[l->n_deltas++] = (struct delta){path, before};
	return true;
}

static void drop_front(struct topic *t, size_t keep_bytes)
{
	struct log *l = &t->log;
	size_t n = 0, deltas = 0;
	uint64_t start = l->start;
	while (n < l->n_frames && log_head(l) - start > keep_bytes) {
		start = l->frames[n].end;
		deltas += l->frames[n].n_deltas;
		n++;
	}
	sl_list_each_safe (it, next, &t->level) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		if (s->pos < start) {
			sub_leave_log(s);
			t->hub->stats.fell_behind++;
		}
	}
	l->len -= (size_t)(start - l->start);
	if (l->len)
		memmove(l->data, l->data + (start - l->start), l->len);
	l->start = start;
	l->n_frames -= n;
	memmove(l->frames, l->frames + n, l->n_frames * sizeof(*l->frames));
	l->n_deltas -= deltas;
	l->framed -= deltas;
	memmove(l->deltas, l->deltas + deltas, l->n_deltas * sizeof(*l->deltas));
}

bool log_append(struct topic *t, struct sl_str message, uint64_t order_before)
{
	struct log *l = &t->log;
	uint8_t header[SL_WS_HEADER_BYTES];
	size_t h = sl_ws_frame_header(header, SL_WS_TEXT, true, message.len);
	size_t need = h + message.len;

	if (l->len + need > l->cap) {
		size_t cap = l->cap ? l->cap : LOG_BYTES_MIN;
		while (cap < l->len + need && cap < LOG_BYTES_MAX)
			cap *= 2;
		if (cap < l->len + need)
			drop_front(t, LOG_BYTES_MAX / 2); /* half at once, so that everyone is looked at seldom */
		if (cap > l->cap) {
			char *data = realloc(l->data, cap);
			if (!data)
				return false;
			l->data = data;
			l->cap = cap;
		}
	}
	if (!grow(&l->frames, &l->frames_size, l->n_frames + 1, sizeof(*l->frames)))
		return false;
	memcpy(l->data + l->len, header, h);
	memcpy(l->data + l->len + h, message.p, message.len);
	l->len += need;
	l->frames[l->n_frames++] = (struct frame){log_head(l), order_before, (uint32_t)(l->n_deltas - l->framed)};
	l->framed = l->n_deltas;
	t->n_unread = t->n_level;
	t->hub->stats.frames_encoded++;
	return true;
}

void log_reset_if_read(struct topic *t)
{
	struct log *l = &t->log;
	if (t->n_unread)
		return;
	l->start = log_head(l);
	l->len = 0;
	l->n_frames = l->n_deltas = l->framed = 0;
}

size_t log_cut(const struct log *l, uint64_t pos, size_t max)
{
	size_t bytes = (size_t)(log_head(l) - pos), at = 0;
	if (bytes <= max)
		return bytes;
	const char *p = l->data + (pos - l->start);
	for (size_t header, payload; at < bytes && sl_ws_frame_measure(p + at, bytes - at, &header, &payload);) {
		if (at + header + payload > max)
			break;
		at += header + payload;
	}
	return at;
}

void sub_advance(struct sub *s, uint64_t pos)
{
	struct topic *t = s->topic;
	uint64_t head = log_head(&t->log);
	if (s->pos < head && pos == head)
		t->n_unread--;
	s->pos = pos;
}

void sub_leave_log(struct sub *s)
{
	struct topic *t = s->topic;
	const struct log *l = &t->log;
	bool ok = cursor_copy(&s->cur, &t->cur);
	size_t d = l->n_deltas;

	while (ok && d > l->framed) { /* of a frame that is not on the log yet, or that showed nothing */
		const struct delta *delta = &l->deltas[--d];
		if (delta->path < s->cur.n_marks)
			s->cur.marks[delta->path] = delta->before;
	}
	if (ok && l->appending)
		s->cur.order = l->order_before;
	for (size_t f = l->n_frames; ok && f > 0 && l->frames[f - 1].end > s->pos; f--) {
		for (uint32_t i = 0; i < l->frames[f - 1].n_deltas; i++) {
			const struct delta *delta = &l->deltas[--d];
			if (delta->path < s->cur.n_marks)
				s->cur.marks[delta->path] = delta->before;
		}
		s->cur.order = l->frames[f - 1].order_before;
	}
	if (s->pos < log_head(l))
		t->n_unread--;
	sl_list_drop(&s->in_topic);
	t->n_level--;
	s->state = SUB_BEHIND;
	s->scan = 0;
	sl_list_append(&t->behind, &s->in_topic);
	if (!ok) /* without its place it cannot go on; it may come back */
		conn_end(s->conn, SL_WS_CLOSE_STALLED, "out of memory", &t->hub->stats.closed_other);
	else
		sub_touch(s);
}

void sub_join_log(struct sub *s)
{
	struct topic *t = s->topic;
	cursor_fini(&s->cur);
	sl_list_drop(&s->in_topic);
	sl_list_append(&t->level, &s->in_topic);
	t->n_level++;
	s->state = SUB_LEVEL;
	s->pos = log_head(&t->log);
	s->conn->was_blocked = false;
}

void log_everyone_off(struct topic *t)
{
	sl_list_each_safe (it, next, &t->level)
		sub_leave_log(sl_list_entry(it, struct sub, in_topic));
	t->log.appending = false;
	log_reset_if_read(t);
}
