/* ws/topic.c: one watched run: loading it, taking in what the bus says, keeping the last records, flushing. */
#include <stdlib.h>

#include "base/limits.h"
#include "ws/hub_priv.h"

enum view_for {
	VIEW_LOAD,    /* the topic's first */
	VIEW_REFRESH, /* a snapshot for new subscribers */
	VIEW_FILL,    /* the streams that a lost notice announced, before its events are read */
};
struct view_post {
	struct post post;
	struct topic *topic; /* stays: the callback is outstanding */
	enum sl_code rc;
	struct sl_view *view;
	enum view_for what;
};
struct page_post {
	struct post post;
	struct topic *topic;
	enum sl_code rc;
	bool fill; /* of a gap, else older records for those who catch up */
	uint64_t after;
	struct sl_record *records;
	size_t n;
};

static void page_post_free(struct page_post *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free((void *)(uintptr_t)p->records[i].event); /* a copy, see on_page() */
		sl_bytes_unref(p->records[i].data);
	}
	free(p->records);
	free(p);
}

/* ---- records ---- */

static void rec_fini(struct rec *r)
{
	sl_bytes_unref(r->data);
	r->data = NULL;
}

static struct rec *rec_at(struct topic *t, size_t i)
{
	return &t->recs[(t->rec_first + i) & (t->rec_size - 1)];
}

static bool ends_attempt(struct sl_str status)
{
	static const char *const ends[] = {"completed", "succeeded", "failed", "cancelled",
					   "skipped",   "timed_out", "done"};
	for (size_t i = 0; i < SL_COUNT_OF(ends); i++)
		if (sl_str_is(status, ends[i]))
			return true;
	return false;
}

/* What a record means for the text of its node. */
static void rec_classify(struct topic *t, struct rec *r)
{
	r->kind = REC_PLAIN;
	r->path = NO_PATH;
	if (t->all)
		return;
	if (strcmp(r->event, "execution:completed") == 0 || strcmp(r->event, "execution:failed") == 0 ||
	    strcmp(r->event, "execution:cancelled") == 0) {
		r->kind = REC_END_ALL;
		return;
	}
	bool reset = strcmp(r->event, "stream_reset") == 0;
	if ((!reset && strcmp(r->event, "node_state_change") != 0) || !r->data || !t->n_paths)
		return;
	SL_AUTO_JSON data = NULL;
	struct path *p;
	if (sl_json_parse(sl_bytes_str(r->data), &data, NULL) != SL_OK)
		return;
	struct sl_str node = sl_json_get_str(data, "node_id"), status = sl_json_get_str(data, "status");
	HASH_FIND(hh, t->by_name, node.p, node.len, p);
	if (!p)
		return;
	r->path = p->index;
	r->attempt = (uint32_t)sl_json_get_i64(data, "attempt", 0);
	if (reset)
		r->kind = REC_RESET;
	else if (sl_str_is(status, "running"))
		r->kind = REC_BEGIN;
	else if (ends_attempt(status))
		r->kind = REC_END;
}

static bool recs_grow(struct topic *t)
{
	size_t size = t->rec_size ? t->rec_size * 2 : 8;
	struct rec *recs = malloc(size * sizeof(*recs));
	if (!recs)
		return false;
	for (size_t i = 0; i < t->rec_n; i++)
		recs[i] = *rec_at(t, i);
	free(t->recs);
	t->recs = recs;
	t->rec_size = size;
	t->rec_first = 0;
	return true;
}

static void recs_drop_oldest(struct topic *t)
{
	struct rec *r = rec_at(t, 0);
	if (r->order > t->cur.order) /* the log is encoded from here: before it is gone */
		topic_flush(t);
	r = rec_at(t, 0);
	t->rec_bytes -= r->data ? r->data->len : 0;
	rec_fini(r);
	t->rec_first = (t->rec_first + 1) & (t->rec_size - 1);
	t->rec_n--;
}

/* r->order is t->last + 1. Takes a reference of the data. False: no memory. */
static bool rec_push(struct topic *t, const struct sl_record *from, struct sl_run_id run)
{
	const char *event = hub_intern(t->hub, from->event);
	if (!event || (t->rec_n == t->rec_size && t->rec_size < RECORDS_KEPT && !recs_grow(t)))
		return false;
	size_t bytes = from->data ? from->data->len : 0;
	while (t->rec_n && (t->rec_n == t->rec_size || t->rec_bytes + bytes > RECORDS_KEPT_BYTES))
		recs_drop_oldest(t);
	struct rec *r = &t->recs[(t->rec_first + t->rec_n) & (t->rec_size - 1)];
	*r = (struct rec){.order = t->last + 1, .seq = from->seq, .wall_ms = from->wall_ms, .run = run};
	r->event = event;
	r->data = sl_bytes_ref(from->data);
	rec_classify(t, r);
	if (r->kind == REC_RESET && r->attempt > sl_stream_attempt(t->paths[r->path]->stream)) {
		t->paths[r->path]->void_from = r->order;
		t->paths[r->path]->void_attempt = r->attempt;
	}
	t->rec_n++;
	t->rec_bytes += bytes;
	t->last = r->order;
	return true;
}

struct rec *topic_rec_after(struct topic *t, uint64_t order, bool *missing)
{
	uint64_t next = order + 1;
	if (next > t->last)
		return NULL;
	if (t->rec_n && next >= rec_at(t, 0)->order)
		return rec_at(t, (size_t)(next - rec_at(t, 0)->order));
	if (t->page_n && next >= t->page[0].order && next - t->page[0].order < t->page_n)
		return &t->page[next - t->page[0].order];
	*missing = true;
	return NULL;
}

/* ---- streams ---- */

static void on_dirty(struct sl_stream *s, void *ctx) /* [writer of the stream] */
{
	struct watch *w = ctx;
	if (atomic_exchange(&w->queued, true))
		return; /* whoever takes it reads this, too */
	if (sl_mpsc_push(&w->hub->dirty, &w->link))
		w->hub->config.wake(w->hub->config.loop_ctx);
}

void topic_unwatch_stream(struct path *p)
{
	if (!p->watch)
		return;
	sl_stream_watch(p->stream, NULL); /* after this nothing pushes it any more */
	if (atomic_load(&p->watch->queued))
		p->watch->topic = NULL; /* whoever takes it from the queue frees it */
	else
		free(p->watch);
	p->watch = NULL;
}

static bool watch_stream(struct topic *t, struct path *p)
{
	if (sl_stream_ended(p->stream)) /* nothing will come; marked dirty below like any new one */
		return true;
	p->watch = calloc(1, sizeof(*p->watch));
	if (!p->watch)
		return false;
	p->watch->hub = t->hub;
	p->watch->topic = t;
	p->watch->path = p->index;
	sl_stream_watch(p->stream, &(struct sl_stream_watcher){on_dirty, p->watch});
	return true;
}

static void mark_dirty(struct topic *t, struct path *p) /* the list has room for every path */
{
	if (!p->dirty)
		t->dirty[t->n_dirty++] = p->index;
	p->dirty = true;
}

static struct path *path_new(struct topic *t, struct sl_str name)
{
	if (t->n_paths == t->paths_size) {
		uint32_t size = t->paths_size ? t->paths_size * 2 : 8;
		struct path **paths = realloc(t->paths, size * sizeof(struct path *));
		if (!paths)
			return NULL;
		t->paths = paths;
		uint32_t *dirty = realloc(t->dirty, size * sizeof(*dirty));
		if (!dirty)
			return NULL;
		t->dirty = dirty;
		t->paths_size = size;
	}
	if (!cursor_grow(&t->cur, t->n_paths + 1))
		return NULL;
	struct path *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->name = sl_str_dup(name);
	if (!p->name) {
		free(p);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, t->by_name, p->name, name.len, p);
	if (!p->hh.tbl) {
		free(p->name);
		free(p);
		return NULL;
	}
	p->index = t->n_paths;
	t->paths[t->n_paths++] = p;
	return p;
}

/* A stream that exists: a new path, or the next attempt of one. Older attempts are history. */
static bool stream_seen(struct topic *t, struct sl_stream *s, uint64_t announced)
{
	struct sl_str name = sl_stream_path(s);
	struct path *p;
	HASH_FIND(hh, t->by_name, name.p, name.len, p);
	if (p && p->stream == s)
		return p->watch || watch_stream(t, p); /* there may have been no memory to, before */
	if (p && sl_stream_attempt(s) <= sl_stream_attempt(p->stream))
		return true;
	if (p) {
		topic_unwatch_stream(p);
		sl_stream_unref(p->stream);
	} else {
		p = path_new(t, name);
		if (!p)
			return false;
	}
	p->stream = sl_stream_ref(s);
	p->looked_at = p->news_ms = 0;
	p->flows = false;
	p->announced = announced;
	p->void_from = 0;
	mark_dirty(t, p);
	return watch_stream(t, p);
}

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
			ok = stream_seen(t, n->streams[i], last) && ok;
	for (size_t i = 0; ok && i < n->n_records; i++)
		if (t->all || n->records[i].seq > t->last)
			ok = rec_push(t, &n->records[i], n->run);
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

static void apply_held(struct topic *t)
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

/* ---- pages of the journal ---- */

static void on_page(void *arg, enum sl_code rc, const struct sl_record *records, size_t n) /* [any] */
{
	struct page_post *p = arg;
	p->rc = rc;
	if (rc == SL_OK && n) {
		p->records = calloc(n, sizeof(*p->records));
		for (size_t i = 0; p->records && i < n; i++) {
			p->records[i] = (struct sl_record){.seq = records[i].seq, .wall_ms = records[i].wall_ms};
			char *name = sl_str_dup(sl_str(records[i].event)); /* it lives only as long as the page */
			if (!name)
				break;
			p->records[i].event = name;
			p->records[i].data = sl_bytes_ref(records[i].data);
			p->n++;
		}
		if (p->n == 0)
			p->rc = SL_NO_MEMORY;
	}
	hub_post(p->topic->hub, &p->post);
}

static bool ask_page(struct topic *t, uint64_t after, bool fill)
{
	struct page_post *p = calloc(1, sizeof(*p));
	if (!p)
		return false;
	*p = (struct page_post){.post.kind = POST_PAGE, .topic = t, .after = after, .fill = fill};
	t->outstanding++;
	struct sl_hub_source *src = &t->hub->config.source;
	if (src->events_after(src->ctx, t->run, after, PAGE_RECORDS, on_page, p) != SL_OK) {
		t->outstanding--;
		free(p);
		return false;
	}
	t->hub->stats.pages++;
	return true;
}

static enum sl_code ask_view(struct topic *t, enum view_for what);

void topic_fill(struct topic *t)
{
	if (t->all || t->state != TOPIC_READY || t->filling)
		return;
	t->filling = ask_view(t, VIEW_FILL) == SL_OK;
	t->fill_again = !t->filling;
}

static void fill_page(struct topic *t, enum sl_code rc)
{
	t->filling = rc == SL_OK && ask_page(t, t->last, true);
	t->fill_again = !t->filling;
}

void topic_fetch(struct topic *t, uint64_t after)
{
	if (t->fetching || t->fetch_again)
		return;
	sl_list_each (it, &t->behind) { /* one page for as many as possible */
		const struct sub *s = sl_list_entry(it, struct sub, in_topic);
		if (s->state == SUB_BEHIND && s->cur.order < after && after - s->cur.order < PAGE_RECORDS / 2)
			after = s->cur.order;
	}
	t->page_after = after;
	t->fetching = ask_page(t, after, false);
	t->fetch_again = !t->fetching;
}

/* There is something for a subscription whose connection has an interval of its own: when that is over. */
static void touch_private(struct sub *s)
{
	struct sl_hub_conn *c = s->conn;
	sub_mark(s);
	if (!c->due.set)
		hub_schedule(c->hub, &c->due, c->flushed_ms + c->flush_ms);
}

static void touch_behind(struct topic *t)
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

static void filled(struct topic *t, struct page_post *p)
{
	t->filling = false;
	if (p->rc != SL_OK) {
		t->fill_again = true;
		return;
	}
	bool ok = true;
	uint64_t was = t->last;
	size_t bytes = 0;
	for (size_t i = 0; ok && i < p->n; i++) {
		bytes += sl_bytes_str(p->records[i].data).len;
		if (p->records[i].seq == t->last + 1)
			ok = rec_push(t, &p->records[i], t->run);
	}
	topic_touched(t);
	if (!ok || (t->last == was && t->n_held)) {
		t->fill_again = true; /* in a second: what was published may not be visible to a reader yet */
		return;
	}
	if (p->n == PAGE_RECORDS || bytes >= SL_LIMIT_PAGE_BYTES)
		fill_page(t, SL_OK);
	if (!t->filling)
		apply_held(t);
}

/* The journal no longer holds what follows `after`: who needs it begins anew, with a snapshot. Never a hole. */
static void restart_from(struct topic *t, uint64_t after)
{
	sl_list_each_safe (it, next, &t->behind) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		bool missing = false;
		if (s->state != SUB_BEHIND || s->cur.order < after || topic_rec_after(t, s->cur.order, &missing) ||
		    !missing)
			continue;
		s->state = SUB_WAITING;
		s->resume = s->asked = false;
		s->least = t->last;
		cursor_fini(&s->cur);
		sub_ready(s);
	}
}

static void fetched(struct topic *t, struct page_post *p)
{
	t->fetching = false;
	if (p->rc != SL_OK) {
		t->fetch_again = true;
		return;
	}
	for (size_t i = 0; i < t->page_n; i++)
		rec_fini(&t->page[i]);
	free(t->page);
	t->page_n = 0;
	t->page = p->n ? calloc(p->n, sizeof(*t->page)) : NULL;
	if (p->n && !t->page) {
		t->fetch_again = true;
		return;
	}
	for (size_t i = 0; i < p->n && p->records[i].seq == p->after + 1 + i; i++) {
		const char *event = hub_intern(t->hub, p->records[i].event);
		t->fetch_again = !event; /* in a while; what comes before it will do until then */
		if (!event)
			break;
		struct rec *r = &t->page[t->page_n++];
		*r = (struct rec){
			.order = p->records[i].seq, .seq = p->records[i].seq, .wall_ms = p->records[i].wall_ms};
		r->run = t->run;
		r->event = event;
		r->data = sl_bytes_ref(p->records[i].data);
		rec_classify(t, r);
	}
	if (t->page_n == 0 && !t->fetch_again)
		restart_from(t, p->after);
	touch_behind(t);
}

void topic_paged(struct post *post)
{
	struct page_post *p = SL_CONTAINER_OF(post, struct page_post, post);
	struct topic *t = p->topic;
	t->outstanding--;
	if (p->fill)
		filled(t, p);
	else
		fetched(t, p);
	page_post_free(p);
	topic_drop_if_idle(t);
}

/* ---- views ---- */

static void on_view(void *arg, enum sl_code rc, struct sl_view *v) /* [any] */
{
	struct view_post *p = arg;
	p->rc = rc;
	p->view = v;
	hub_post(p->topic->hub, &p->post);
}

static enum sl_code ask_view(struct topic *t, enum view_for what)
{
	enum sl_view_watch watch = what == VIEW_LOAD ? SL_VIEW_WATCH : SL_VIEW_ONCE;
	struct view_post *p = calloc(1, sizeof(*p));
	if (!p)
		return SL_NO_MEMORY;
	*p = (struct view_post){.post.kind = POST_VIEW, .topic = t, .what = what};
	t->outstanding++;
	struct sl_hub_source *src = &t->hub->config.source;
	enum sl_code rc = src->view(src->ctx, t->run, watch, on_view, p);
	if (rc != SL_OK) {
		t->outstanding--;
		free(p);
	}
	return rc;
}

enum sl_code topic_refresh(struct topic *t)
{
	if (t->refreshing)
		return SL_OK;
	enum sl_code rc = ask_view(t, VIEW_REFRESH);
	t->refreshing = rc == SL_OK;
	return rc;
}

static void take_view(struct topic *t, struct sl_view *v)
{
	sl_bytes_unref(t->view);
	sl_bytes_unref(t->snapshot);
	t->snapshot = NULL;
	t->view = sl_bytes_ref(v->json);
	t->view_seq = v->last_seq;
}

/* All that wait are looked at again, or refused. */
static void wake_waiting(struct topic *t, enum sl_code rc)
{
	sl_list_each_safe (it, next, &t->behind) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		if (s->state != SUB_WAITING)
			continue;
		if (rc == SL_OK)
			sub_ready(s);
		else
			sub_refused(s, rc);
	}
}

void topic_viewed(struct post *post)
{
	struct view_post *p = SL_CONTAINER_OF(post, struct view_post, post);
	struct topic *t = p->topic;
	struct sl_view *v = p->view;
	enum sl_code rc = p->rc;

	t->outstanding--;
	if (p->what == VIEW_REFRESH)
		t->refreshing = false;
	if (rc == SL_OK && p->what == VIEW_LOAD) {
		t->watched = true;
		t->last = v->last_seq;
	}
	for (size_t i = 0; rc == SL_OK && i < v->n_streams; i++)
		if (!stream_seen(t, v->streams[i].stream, v->last_seq))
			rc = SL_NO_MEMORY;
	if (rc == SL_OK && p->what == VIEW_LOAD)
		cursor_to_present(t, &t->cur);
	if (rc == SL_OK && v->last_seq >= t->view_seq)
		take_view(t, v);
	enum view_for what = p->what;
	sl_view_free(v);
	free(p);
	if (rc == SL_OK && t->state == TOPIC_LOADING) {
		t->state = TOPIC_READY;
		apply_held(t);
		topic_touched(t);
	}
	if (what == VIEW_FILL)
		fill_page(t, rc);
	else
		wake_waiting(t, rc);
	topic_drop_if_idle(t);
}

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

void topic_stream_dirty(struct topic *t, uint32_t path)
{
	struct path *p = t->paths[path];
	mark_dirty(t, p);
	if (t->hub->n_private && p->watch)
		sl_stream_rearm(p->stream); /* somebody may want it sooner than the next flush */
	topic_touched(t);
}

/* Before the stream is read: is text coming so fast that there will be more when the next interval ends? Then nobody
 * need be woken for it. Else it is armed, and what comes after this reading says so. */
static void stream_look(struct topic *t, struct path *p)
{
	const struct sl_hub *h = t->hub;
	uint64_t length = sl_stream_length(p->stream), since = t->flushed_ms - p->news_ms;
	bool more = length != p->looked_at;
	if (h->n_private || !h->flush_ms) /* somebody wants each piece at once */
		p->flows = false;
	else
		p->flows = more ? since <= 2ull * h->flush_ms : p->flows && since < h->flush_ms;
	p->looked_at = length;
	if (more)
		p->news_ms = t->flushed_ms;
	if (!p->flows)
		sl_stream_rearm(p->stream);
}

static void settle_streams(struct topic *t)
{
	uint32_t kept = 0;
	bool again = false;
	for (uint32_t i = 0; i < t->n_dirty; i++) {
		struct path *p = t->paths[t->dirty[i]];
		if (p->announced > t->cur.order && t->cur.marks[p->index].open != sl_stream_attempt(p->stream)) {
			t->dirty[kept++] = p->index; /* its beginning is still to be told */
			continue;
		}
		if (p->flows && !p->ended) {
			t->dirty[kept++] = p->index;
			again = true;
			continue;
		}
		p->dirty = false;
		if (p->ended)
			topic_unwatch_stream(p); /* all of it was read */
	}
	t->n_dirty = kept;
	if (again)
		topic_touched(t);
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
	for (uint32_t i = 0; i < t->n_dirty; i++) { /* before anything is read: what comes later says so again */
		struct path *p = t->paths[t->dirty[i]];
		if (p->watch)
			stream_look(t, p);
		p->ended = sl_stream_ended(p->stream);
	}
	uint64_t head = log_head(&t->log);
	if (t->n_level && !encode_to_log(t))
		log_everyone_off(t);
	if (!t->n_level)
		cursor_to_present(t, &t->cur);
	settle_streams(t);
	if (log_head(&t->log) != head)
		topic_fan_out(t);
	touch_behind(t);
}

void topic_live(struct topic *t)
{
	if (t->fill_again) {
		t->fill_again = false;
		topic_fill(t);
	}
	if (t->fetch_again) {
		t->fetch_again = false;
		touch_behind(t);
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
	enum sl_code rc = t->hh.tbl ? ask_view(t, VIEW_LOAD) : SL_NO_MEMORY;
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
	for (uint32_t i = 0; i < t->n_paths; i++) {
		struct path *p = t->paths[i];
		topic_unwatch_stream(p);
		HASH_DELETE(hh, t->by_name, p);
		sl_stream_unref(p->stream);
		free(p->name);
		free(p);
	}
	for (size_t i = 0; i < t->rec_n; i++)
		rec_fini(rec_at(t, i));
	for (size_t i = 0; i < t->page_n; i++)
		rec_fini(&t->page[i]);
	for (size_t i = 0; i < t->n_held; i++)
		sl_notice_unref(t->held[i]);
	free(t->held);
	free(t->page);
	free(t->recs);
	free(t->paths);
	free(t->dirty);
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
