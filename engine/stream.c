/* engine/stream.c: see stream.h.
 *
 * Blocks form a linked list that only grows; the writer fills the last block and then publishes the new length, so a
 * reader that has seen a length may read everything below it without a lock. A block holds one kind of text.
 */
#include "engine/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/utf8.h"

struct block {
	_Atomic(struct block *) next;
	size_t begin;        /* offset of data[0] in the stream */
	_Atomic size_t used; /* bytes published */
	size_t size;
	enum sl_stream_kind kind;
	char data[];
};

struct sl_stream {
	_Atomic uint32_t refs;
	struct sl_run_id run;
	uint32_t attempt;
	char *path;
	size_t path_len;

	_Atomic size_t length;
	_Atomic bool ended;
	_Atomic(struct block *) first;
	struct block *last; /* [writer] */
	char held[4];       /* [writer] the beginning of a character whose rest has not come */
	size_t n_held;
	enum sl_stream_kind held_kind;
	struct sl_stream_tap *tap;  /* [writer] */
	pthread_mutex_t write_lock; /* end() may come from another thread than append() */

	pthread_mutex_t watch_lock;
	struct sl_stream_watcher watcher;
	_Atomic bool armed;
	_Atomic(struct block *) hint; /* where the last read ended: reads go forward */
};

struct sl_stream *sl_stream_new(struct sl_run_id run, struct sl_str path, uint32_t attempt)
{
	struct sl_stream *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->path = sl_str_dup(path);
	if (!s->path) {
		free(s);
		return NULL;
	}
	s->path_len = path.len;
	s->run = run;
	s->attempt = attempt;
	atomic_init(&s->refs, 1);
	pthread_mutex_init(&s->write_lock, NULL);
	pthread_mutex_init(&s->watch_lock, NULL);
	return s;
}

struct sl_stream *sl_stream_ref(struct sl_stream *s)
{
	if (s)
		atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void sl_stream_unref(struct sl_stream *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct block *b = atomic_load(&s->first);
	while (b) {
		struct block *next = atomic_load(&b->next);
		free(b);
		b = next;
	}
	if (s->tap)
		s->tap->free(s->tap);
	pthread_mutex_destroy(&s->write_lock);
	pthread_mutex_destroy(&s->watch_lock);
	free(s->path);
	free(s);
}

static void notify(struct sl_stream *s)
{
	/* seq_cst, here and at `length`: the reader arms and then looks at the length, the writer publishes the length
	 * and then looks at the arm; were either pair swapped, a wake-up could be lost */
	if (!atomic_load(&s->armed))
		return;
	pthread_mutex_lock(&s->watch_lock);
	if (atomic_exchange(&s->armed, false) && s->watcher.dirty)
		s->watcher.dirty(s, s->watcher.ctx);
	pthread_mutex_unlock(&s->watch_lock);
}

/* [writer] Valid text only. */
static bool add(struct sl_stream *s, enum sl_stream_kind kind, const char *p, size_t len)
{
	while (len) {
		struct block *b = s->last;
		size_t used = b ? atomic_load_explicit(&b->used, memory_order_relaxed) : 0;
		size_t room = b && b->kind == kind ? b->size - used : 0;
		size_t take = sl_utf8_cut(p, len, room); /* a piece a reader gets never ends inside a character */
		if (take == 0) {
			size_t length = atomic_load_explicit(&s->length, memory_order_relaxed);
			/* small at first, so that ten thousand short answers are cheap; then as large as what is there
			 */
			size_t size = length < 512 ? 512 : length < 32768 ? length : 32768;
			if (size < len)
				size = len;
			b = malloc(sizeof(*b) + size);
			if (!b)
				return false;
			atomic_init(&b->next, NULL);
			atomic_init(&b->used, 0);
			b->begin = length;
			b->size = size;
			b->kind = kind;
			if (s->last)
				atomic_store_explicit(&s->last->next, b, memory_order_release);
			else
				atomic_store_explicit(&s->first, b, memory_order_release);
			s->last = b;
			continue;
		}
		memcpy(b->data + used, p, take);
		atomic_store_explicit(&b->used, used + take, memory_order_release);
		atomic_store(&s->length, b->begin + used + take);
		p += take;
		len -= take;
	}
	return true;
}

static const char replacement[] = "\xef\xbf\xbd";

/* Gives back what is held, as a replacement character: its rest will not come. */
static bool drop_held(struct sl_stream *s)
{
	if (!s->n_held)
		return true;
	s->n_held = 0;
	return add(s, s->held_kind, replacement, 3);
}

static bool append(struct sl_stream *s, enum sl_stream_kind kind, struct sl_str in)
{
	if (s->n_held && s->held_kind != kind && !drop_held(s))
		return false;
	while (s->n_held && in.len) {
		s->held[s->n_held++] = *in.p++;
		in.len--;
		if (sl_utf8_prefix(s->held, s->n_held) == s->n_held) {
			size_t n = s->n_held;
			s->n_held = 0;
			if (!add(s, kind, s->held, n))
				return false;
		} else if (!sl_utf8_tail_incomplete(s->held, s->n_held)) {
			in.p--; /* the byte that does not belong begins something of its own */
			in.len++;
			if (!drop_held(s))
				return false;
		}
	}
	while (in.len) {
		size_t good = sl_utf8_prefix(in.p, in.len);
		if (!add(s, kind, in.p, good))
			return false;
		in.p += good;
		in.len -= good;
		if (!in.len)
			break;
		if (sl_utf8_tail_incomplete(in.p, in.len)) {
			memcpy(s->held, in.p, in.len);
			s->n_held = in.len;
			s->held_kind = kind;
			break;
		}
		if (!add(s, kind, replacement, 3))
			return false;
		in.p++;
		in.len--;
	}
	return true;
}

enum sl_code sl_stream_append(struct sl_stream *s, enum sl_stream_kind kind, struct sl_str bytes)
{
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&s->write_lock);
	if (atomic_load(&s->ended))
		rc = SL_CANCELLED;
	else if (atomic_load(&s->length) + bytes.len > SL_LIMIT_STREAM_BYTES)
		rc = SL_TOO_LARGE;
	if (rc == SL_OK && !append(s, kind, bytes))
		rc = SL_NO_MEMORY;
	bool added = rc == SL_OK;
	if (added && s->tap)
		rc = s->tap->see(s->tap, kind, bytes);
	pthread_mutex_unlock(&s->write_lock);
	SL_CRASH_POINT_OF("stream.append", s->path);
	if (added)
		notify(s);
	return rc;
}

void sl_stream_tap(struct sl_stream *s, struct sl_stream_tap *t)
{
	SL_BUG_ON(s->tap);
	s->tap = t;
}

struct sl_stream_tap *sl_stream_tapped(const struct sl_stream *s)
{
	return s->tap;
}

void sl_stream_end(struct sl_stream *s)
{
	pthread_mutex_lock(&s->write_lock);
	bool was = atomic_load(&s->ended);
	if (!was) {
		SL_EXPECT(drop_held(s)); /* no memory for three bytes: the text is still a text */
		atomic_store(&s->ended, true);
	}
	pthread_mutex_unlock(&s->write_lock);
	if (!was)
		SL_CRASH_POINT_OF("stream.end", s->path);
	if (!was)
		notify(s);
}

struct sl_run_id sl_stream_run(const struct sl_stream *s)
{
	return s->run;
}

struct sl_str sl_stream_path(const struct sl_stream *s)
{
	return sl_str_n(s->path, s->path_len);
}

uint32_t sl_stream_attempt(const struct sl_stream *s)
{
	return s->attempt;
}

size_t sl_stream_length(const struct sl_stream *s)
{
	return atomic_load(&((struct sl_stream *)(uintptr_t)s)->length);
}

bool sl_stream_ended(const struct sl_stream *s)
{
	return atomic_load_explicit(&((struct sl_stream *)(uintptr_t)s)->ended, memory_order_acquire);
}

struct sl_str sl_stream_read(const struct sl_stream *cs, size_t offset, enum sl_stream_kind *kind)
{
	struct sl_stream *s = (struct sl_stream *)(uintptr_t)cs; /* the hint is a cache, not content */
	if (offset >= sl_stream_length(s))
		return sl_str_n("", 0);
	struct block *b = atomic_load_explicit(&s->hint, memory_order_acquire);
	if (!b || b->begin > offset)
		b = atomic_load_explicit(&s->first, memory_order_acquire);
	while (b) {
		size_t used = atomic_load_explicit(&b->used, memory_order_acquire);
		if (offset < b->begin + used) {
			atomic_store_explicit(&s->hint, b, memory_order_release);
			*kind = b->kind;
			return sl_str_n(b->data + (offset - b->begin), b->begin + used - offset);
		}
		b = atomic_load_explicit(&b->next, memory_order_acquire);
	}
	return sl_str_n("", 0);
}

struct sl_bytes *sl_stream_collect(const struct sl_stream *s, enum sl_stream_kind kind)
{
	size_t end = sl_stream_length(s), total = 0;
	enum sl_stream_kind k;
	for (size_t at = 0; at < end;) {
		struct sl_str piece = sl_stream_read(s, at, &k);
		if (k == kind)
			total += piece.len;
		at += piece.len;
	}
	struct sl_bytes *out = sl_bytes_alloc(total);
	if (!out)
		return NULL;
	size_t n = 0;
	for (size_t at = 0; at < end;) {
		struct sl_str piece = sl_stream_read(s, at, &k);
		at += piece.len;
		if (k != kind)
			continue;
		if (piece.len > total - n) /* it grew meanwhile: what was there at the beginning counts */
			piece.len = sl_utf8_cut(piece.p, piece.len, total - n);
		memcpy(out->data + n, piece.p, piece.len);
		n += piece.len;
	}
	out->len = n;
	out->data[n] = 0;
	return out;
}

void sl_stream_segments(const struct sl_stream *s, struct sl_buf *out)
{
	size_t end = sl_stream_length(s), run = 0;
	enum sl_stream_kind k = SL_STREAM_TEXT, last = SL_STREAM_TEXT;
	sl_buf_addc(out, '[');
	for (size_t at = 0; at <= end;) {
		struct sl_str piece = at < end ? sl_stream_read(s, at, &k) : sl_str_n("", 0);
		if (run && (k != last || at == end)) {
			sl_buf_json_comma(out);
			sl_buf_addf(out, "[\"%s\",%zu]", last == SL_STREAM_TEXT ? "text" : "thinking", run);
			run = 0;
		}
		if (at == end)
			break;
		last = k;
		run += piece.len;
		at += piece.len;
	}
	sl_buf_addc(out, ']');
}

struct sl_stream *sl_stream_rebuild(struct sl_run_id run, struct sl_str path, uint32_t attempt,
				    struct json_object *segments, struct sl_str text, struct sl_str thinking)
{
	struct sl_stream *s = sl_stream_new(run, path, attempt);
	if (!s)
		return NULL;
	struct sl_str left[2] = {[SL_STREAM_TEXT] = text, [SL_STREAM_THINKING] = thinking};
	size_t n = segments && json_object_is_type(segments, json_type_array) ? json_object_array_length(segments) : 0;
	bool ok = true;
	for (size_t i = 0; i <= n && ok; i++) {
		enum sl_stream_kind kind = SL_STREAM_TEXT;
		size_t len = left[SL_STREAM_TEXT].len; /* without segments, or after them: the rest is answer text */
		if (i < n) {
			struct json_object *row = json_object_array_get_idx(segments, i);
			if (!row || !json_object_is_type(row, json_type_array) || json_object_array_length(row) != 2)
				continue;
			if (sl_str_is(sl_json_str(json_object_array_get_idx(row, 0)), "thinking"))
				kind = SL_STREAM_THINKING;
			int64_t want = json_object_get_int64(json_object_array_get_idx(row, 1));
			len = want < 0 ? 0 : (size_t)want;
		}
		if (len > left[kind].len)
			len = left[kind].len;
		ok = append(s, kind, sl_str_n(left[kind].p, len));
		left[kind].p += len;
		left[kind].len -= len;
	}
	if (!ok) {
		sl_stream_unref(s);
		return NULL;
	}
	sl_stream_end(s);
	return s;
}

void sl_stream_watch(struct sl_stream *s, const struct sl_stream_watcher *w)
{
	pthread_mutex_lock(&s->watch_lock);
	s->watcher = w ? *w : (struct sl_stream_watcher){0};
	atomic_store(&s->armed, w != NULL);
	pthread_mutex_unlock(&s->watch_lock);
	if (w && (sl_stream_length(s) || sl_stream_ended(s)))
		notify(s);
}

void sl_stream_rearm(struct sl_stream *s)
{
	atomic_store(&s->armed, true);
}
