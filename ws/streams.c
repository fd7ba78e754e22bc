/* ws/streams.c: the streams of a topic's nodes: which there are, which have news, and which are watched until they have
 * some. */
#include <stdlib.h>

#include "ws/hub_priv.h"

static void on_dirty(struct sl_stream *s, void *ctx) /* [writer of the stream] */
{
	struct watch *w = ctx;
	if (atomic_exchange(&w->queued, true))
		return; /* whoever takes it reads this, too */
	if (sl_mpsc_push(&w->hub->dirty, &w->link))
		w->hub->config.wake(w->hub->config.loop_ctx);
}

static void unwatch_stream(struct path *p)
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

bool streams_seen(struct topic *t, struct sl_stream *s, uint64_t announced)
{
	struct sl_str name = sl_stream_path(s);
	struct path *p;
	HASH_FIND(hh, t->by_name, name.p, name.len, p);
	if (p && p->stream == s)
		return p->watch || watch_stream(t, p); /* there may have been no memory to, before */
	if (p && sl_stream_attempt(s) <= sl_stream_attempt(p->stream))
		return true;
	if (p) {
		unwatch_stream(p);
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

void streams_dirty(struct topic *t, uint32_t path)
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

void streams_look(struct topic *t)
{
	for (uint32_t i = 0; i < t->n_dirty; i++) { /* before anything is read: what comes later says so again */
		struct path *p = t->paths[t->dirty[i]];
		if (p->watch)
			stream_look(t, p);
		p->ended = sl_stream_ended(p->stream);
	}
}

void streams_settle(struct topic *t)
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
			unwatch_stream(p); /* all of it was read */
	}
	t->n_dirty = kept;
	if (again)
		topic_touched(t);
}

void streams_fini(struct topic *t)
{
	for (uint32_t i = 0; i < t->n_paths; i++) {
		struct path *p = t->paths[i];
		unwatch_stream(p);
		HASH_DELETE(hh, t->by_name, p);
		sl_stream_unref(p->stream);
		free(p->name);
		free(p);
	}
	free(t->paths);
	free(t->dirty);
}
