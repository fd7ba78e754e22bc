/* ws/load.c: what a topic reads: the view that it begins with, and the ones that snapshots are made of; the records
 * that no notice brought; and pages of older ones for whoever catches up. Each is asked of the source, and comes as a
 * post.
 */
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
			ok = recs_push(t, &p->records[i], t->run);
	}
	topic_touched(t);
	if (!ok || (t->last == was && t->n_held)) {
		t->fill_again = true; /* in a second: what was published may not be visible to a reader yet */
		return;
	}
	if (p->n == PAGE_RECORDS || bytes >= SL_LIMIT_PAGE_BYTES)
		fill_page(t, SL_OK);
	if (!t->filling)
		topic_apply_held(t);
}

/* The journal no longer holds what follows `after`: who needs it begins anew, with a snapshot. Never a hole. */
static void restart_from(struct topic *t, uint64_t after)
{
	sl_list_each_safe (it, next, &t->behind) {
		struct sub *s = sl_list_entry(it, struct sub, in_topic);
		bool missing = false;
		if (s->state != SUB_BEHIND || s->cur.order < after || recs_after(t, s->cur.order, &missing) || !missing)
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
	t->fetch_again = !recs_page(t, p->after, p->records, p->n); /* in a while; what there is will do until then */
	if (t->page_n == 0 && !t->fetch_again)
		restart_from(t, p->after);
	topic_touch_behind(t);
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

enum sl_code topic_load(struct topic *t)
{
	return ask_view(t, VIEW_LOAD);
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
		if (!streams_seen(t, v->streams[i].stream, v->last_seq))
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
		topic_apply_held(t);
		topic_touched(t);
	}
	if (what == VIEW_FILL)
		fill_page(t, rc);
	else
		wake_waiting(t, rc);
	topic_drop_if_idle(t);
}
