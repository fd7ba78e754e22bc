/* ws/hub.c: see hub.h. Turns: take what other threads posted, flush what is due, write what connections lack. */
#include "ws/hub_priv.h"

#include <stdlib.h>

#include "base/log.h"

#define EVENT_NAMES_MAX 256

uint64_t hub_now(const struct sl_hub *h)
{
	return sl_clock_mono(h->config.clock);
}

enum sl_code sl_hub_new(const struct sl_hub_config *config, struct sl_hub **out)
{
	struct sl_hub *h = calloc(1, sizeof(*h));
	if (!h)
		return SL_NO_MEMORY;
	h->config = *config;
	h->flush_ms = config->flush_ms > FLUSH_MS_WIDEST ? FLUSH_MS_WIDEST : config->flush_ms;
	h->wake_ms = UINT64_MAX;
	sl_mpsc_init(&h->posts);
	sl_mpsc_init(&h->dirty);
	atomic_init(&h->lost, false);
	sl_list_init(&h->dirty_conns);
	sl_list_init(&h->ready);
	wheel_init(&h->wheel, hub_now(h));
	sl_buf_init(&h->payload, SIZE_MAX);
	sl_buf_init(&h->piece, SIZE_MAX);
	*out = h;
	return SL_OK;
}

/* Every name is one of a few dozen; a journal written by somebody else cannot make us keep more. NULL: no memory. */
const char *hub_intern(struct sl_hub *h, const char *name)
{
	for (size_t i = 0; i < h->n_names; i++)
		if (strcmp(h->names[i], name) == 0)
			return h->names[i];
	if (h->n_names >= EVENT_NAMES_MAX)
		return "event";
	char *copy = sl_str_dup(sl_str(name));
	if (!copy)
		return NULL;
	if (h->n_names == h->names_size) {
		size_t size = h->names_size ? h->names_size * 2 : 32;
		char **names = realloc(h->names, size * sizeof(char *));
		if (!names) {
			free(copy);
			return NULL;
		}
		h->names = names;
		h->names_size = size;
	}
	return h->names[h->n_names++] = copy;
}

/* ---- from other threads ---- */

struct notice_post {
	struct post post;
	struct sl_notice *notice;
};

void hub_post(struct sl_hub *h, struct post *p)
{
	if (sl_mpsc_push(&h->posts, &p->link))
		h->config.wake(h->config.loop_ctx);
}

void sl_hub_publish(struct sl_hub *h, struct sl_notice *n)
{
	struct notice_post *p = malloc(sizeof(*p));
	if (!p) { /* the journal has it: every topic looks there */
		atomic_store(&h->lost, true);
		h->config.wake(h->config.loop_ctx);
		return;
	}
	p->post.kind = POST_NOTICE;
	p->notice = sl_notice_ref(n);
	hub_post(h, &p->post);
}

static void noticed(struct sl_hub *h, struct post *post)
{
	struct notice_post *p = SL_CONTAINER_OF(post, struct notice_post, post);
	struct topic *t;
	HASH_FIND(hh, h->topics, &p->notice->run, sizeof(p->notice->run), t);
	if (t)
		topic_notice(t, p->notice);
	if (h->all)
		topic_notice(h->all, p->notice);
	sl_notice_unref(p->notice);
	free(p);
}

static void drain_posts(struct sl_hub *h)
{
	struct sl_link *it;
	for (it = sl_mpsc_take(&h->posts); it;) {
		struct post *p = SL_CONTAINER_OF(it, struct post, link);
		it = it->next; /* p is freed by whoever it is for */
		switch (p->kind) {
		case POST_NOTICE:
			noticed(h, p);
			break;
		case POST_VIEW:
			topic_viewed(p);
			break;
		case POST_PAGE:
			topic_paged(p);
			break;
		case POST_REPLY:
			client_replied(p);
			break;
		}
	}
}

static void drain_dirty(struct sl_hub *h)
{
	for (struct sl_link *it = sl_mpsc_take(&h->dirty); it;) {
		struct watch *w = SL_CONTAINER_OF(it, struct watch, link);
		it = it->next; /* before anything: w may be pushed again */
		struct topic *t = w->topic;
		atomic_store(&w->queued, false);
		if (!t) {
			free(w);
			continue;
		}
		streams_dirty(t, w->path);
	}
}

/* ---- scheduling ---- */

void hub_schedule(struct sl_hub *h, struct due *d, uint64_t at_ms)
{
	uint64_t now = hub_now(h);
	wheel_turn(&h->wheel, now, &h->ready);
	h->replan = true;
	if (at_ms > now) {
		wheel_put(&h->wheel, d, at_ms);
		return;
	}
	wheel_drop(&h->wheel, d);
	d->set = true;
	h->wheel.n++;
	sl_list_append(&h->ready, &d->link);
}

void conn_touch(struct sl_hub_conn *c)
{
	if (sl_list_empty(&c->in_dirty) && !c->closing)
		sl_list_append(&c->hub->dirty_conns, &c->in_dirty);
}

void sub_mark(struct sub *s)
{
	if (sl_list_empty(&s->in_due))
		sl_list_append(&s->conn->subs_due, &s->in_due);
}

void sub_touch(struct sub *s)
{
	sub_mark(s);
	conn_touch(s->conn);
}

/* *now gets what is in *from: what comes there meanwhile has its turn next time, so a turn ends. */
static void take_all(struct sl_list *from, struct sl_list *now)
{
	sl_list_init(now);
	sl_list_each_safe (it, next, from) {
		sl_list_drop(it);
		sl_list_append(now, it);
	}
}

static void serve_ready(struct sl_hub *h)
{
	struct sl_list now;
	take_all(&h->ready, &now);
	while (!sl_list_empty(&now)) {
		struct due *d = sl_list_entry(now.next, struct due, link);
		wheel_drop(&h->wheel, d);
		if (!d->is_conn) {
			topic_flush(SL_CONTAINER_OF(d, struct topic, due));
			continue;
		}
		struct sl_hub_conn *c = SL_CONTAINER_OF(d, struct sl_hub_conn, due);
		c->flushed_ms = hub_now(h);
		c->may_flush = true;
		conn_touch(c);
	}
}

static void serve_dirty(struct sl_hub *h)
{
	struct sl_list now;
	take_all(&h->dirty_conns, &now);
	while (!sl_list_empty(&now)) {
		struct sl_hub_conn *c = sl_list_entry(now.next, struct sl_hub_conn, in_dirty);
		sl_list_drop(&c->in_dirty);
		conn_serve(c);
	}
}

/* Fan-out that takes long is done less often, so that the loop has time for others. */
static void adapt(struct sl_hub *h, uint64_t began_ms)
{
	uint32_t took = (uint32_t)(hub_now(h) - began_ms);
	h->turn_ms8 += took - h->turn_ms8 / 8;
	uint32_t want = h->turn_ms8 / 8 * 3; /* at most a third of the time is spent here */
	if (want > FLUSH_MS_WIDEST)
		want = FLUSH_MS_WIDEST;
	h->flush_ms = h->config.flush_ms && want > h->config.flush_ms ? want : h->config.flush_ms;
}

/* ---- every second ---- */

static void conn_live(struct sl_hub_conn *c, uint64_t now)
{
	struct sl_hub *h = c->hub;
	if (c->closing)
		return;
	/* Who reads slowly has our ping still before it: that it takes bytes is a sign of life, too. */
	if (c->blocked || now - c->heard_ms > SL_LIMIT_WS_PING_MS) {
		long unsent = c->sink->ops->unsent(c->sink);
		if (unsent > 0 && unsent != c->unsent)
			c->progress_ms = c->heard_ms = now;
		c->unsent = unsent;
	}
	if (c->blocked && now - c->progress_ms >= SL_LIMIT_WS_STALLED_MS) {
		conn_end(c, SL_WS_CLOSE_STALLED, "nothing was taken for 30 s", &h->stats.closed_stalled);
		return;
	}
	if (c->format == SL_HUB_SSE) { /* nothing is ever heard; a comment now and then keeps proxies from hanging up */
		if (now >= c->ping_ms) {
			c->ping_ms = now + SL_LIMIT_WS_PING_MS;
			conn_ping(c);
		}
		return;
	}
	if (now - c->heard_ms >= SL_LIMIT_WS_SILENT_MS) {
		conn_end(c, SL_WS_CLOSE_SILENT, "nothing was heard for 60 s", &h->stats.closed_silent);
	} else if (now >= c->ping_ms) {
		c->ping_ms = now + SL_LIMIT_WS_PING_MS;
		conn_ping(c);
	}
}

static void live(struct sl_hub *h, uint64_t now)
{
	struct sl_hub_conn *c, *next;
	struct topic *t, *next_topic;
	if (now < h->next_live_ms)
		return;
	h->next_live_ms = now + LIVE_MS;
	HASH_ITER (hh, h->conns, c, next)
		conn_live(c, now);
	HASH_ITER (hh, h->topics, t, next_topic)
		topic_live(t);
	h->stats.turn_us = h->turn_ms8 * 1000 / 8;
}

void sl_hub_turn(struct sl_hub *h)
{
	if (atomic_exchange(&h->lost, false)) {
		struct topic *t, *next;
		HASH_ITER (hh, h->topics, t, next)
			topic_fill(t);
	}
	drain_posts(h);
	drain_dirty(h);
	uint64_t now = hub_now(h);
	if (now >= h->wake_ms)
		h->wake_ms = UINT64_MAX; /* that one has come */
	else if (sl_list_empty(&h->dirty_conns) && sl_list_empty(&h->ready) && !h->replan)
		return;
	wheel_turn(&h->wheel, now, &h->ready);
	live(h, now);
	if (!sl_list_empty(&h->ready) || !sl_list_empty(&h->dirty_conns)) {
		serve_ready(h);
		serve_dirty(h);
		adapt(h, now);
	}
	uint64_t at = wheel_next(&h->wheel);
	if (h->conns && h->next_live_ms < at)
		at = h->next_live_ms;
	if (!sl_list_empty(&h->dirty_conns) || !sl_list_empty(&h->ready))
		at = now;
	h->replan = false;
	if (at != h->wake_ms) {
		h->wake_ms = at;
		h->config.wake_at(h->config.loop_ctx, at);
	}
}

/* ---- connections ---- */

bool sl_hub_full(const struct sl_hub *h)
{
	return h->stats.connections >= SL_LIMIT_WS_CONNECTIONS;
}

struct sl_hub_conn *sl_hub_conn_open(struct sl_hub *h, struct sl_hub_sink *sink, enum sl_hub_format format,
				     const struct sl_ws_identity *who)
{
	struct sl_hub_conn *c = sl_hub_full(h) ? NULL : calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	uint64_t now = hub_now(h);
	*c = (struct sl_hub_conn){.hub = h, .sink = sink, .format = format, .who = *who, .id = ++h->next_conn};
	c->flush_ms = FLUSH_OF_HUB;
	c->heard_ms = c->progress_ms = now;
	c->ping_ms = now + SL_LIMIT_WS_PING_MS;
	sl_list_init(&c->subs);
	sl_list_init(&c->subs_due);
	sl_list_init(&c->in_dirty);
	due_init(&c->due, true);
	sl_buf_init(&c->out, REPLY_BYTES_MAX * 2);
	if (!h->conns)
		h->next_live_ms = now + LIVE_MS;
	HASH_ADD(hh, h->conns, id, sizeof(c->id), c);
	if (!c->hh.tbl) {
		free(c);
		return NULL;
	}
	h->replan = true;
	h->stats.connections++;
	h->stats.opened++;
	return c;
}

void sl_hub_conn_close(struct sl_hub_conn *c)
{
	if (!c)
		return;
	struct sl_hub *h = c->hub;
	if (!c->closing)
		h->stats.closed_other++;
	c->closing = true;
	while (!sl_list_empty(&c->subs)) {
		struct sub *s = sl_list_entry(c->subs.next, struct sub, in_conn);
		struct topic *t = s->topic;
		sub_free(s);
		topic_drop_if_idle(t);
	}
	if (c->flush_ms != FLUSH_OF_HUB)
		h->n_private--;
	wheel_drop(&h->wheel, &c->due);
	sl_list_drop(&c->in_dirty);
	sl_bytes_unref(c->big);
	sl_buf_fini(&c->out);
	HASH_DELETE(hh, h->conns, c);
	h->stats.connections--;
	free(c);
}

void conn_end(struct sl_hub_conn *c, int code, const char *reason, uint64_t *counter)
{
	if (c->closing)
		return;
	c->closing = true;
	++*counter;
	sl_log(SL_LOG_DEBUG, "ws", "connection closed by us", SL_KI("code", code), SL_KS("reason", reason));
	c->sink->ops->close(c->sink, code, reason);
}

void sl_hub_heard(struct sl_hub_conn *c)
{
	c->heard_ms = hub_now(c->hub);
}

void sl_hub_close_matching(struct sl_hub *h, bool (*match)(void *ctx, const struct sl_ws_identity *who), void *ctx,
			   int code, const char *reason)
{
	struct sl_hub_conn *c, *next;
	HASH_ITER (hh, h->conns, c, next)
		if (match(ctx, &c->who))
			conn_end(c, code, reason, &h->stats.closed_revoked);
}

void sl_hub_drain(struct sl_hub *h)
{
	struct sl_hub_conn *c, *next;
	struct topic *t, *next_topic;

	h->draining = true;
	drain_posts(h);
	drain_dirty(h);
	HASH_ITER (hh, h->topics, t, next_topic)
		if (t->due.set)
			topic_flush(t);
	serve_ready(h);
	serve_dirty(h);
	HASH_ITER (hh, h->conns, c, next)
		conn_end(c, SL_WS_CLOSE_RESTART, "the server restarts", &h->stats.closed_drain);
}

void sl_hub_free(struct sl_hub *h)
{
	if (!h)
		return;
	SL_BUG_ON(h->conns); /* their owners would call back into freed memory */
	drain_posts(h);
	struct topic *t, *next;
	HASH_ITER (hh, h->topics, t, next)
		topic_drop_if_idle(t);
	drain_dirty(h);
	SL_BUG_ON(h->topics || h->all);
	for (size_t i = 0; i < h->n_names; i++)
		free(h->names[i]);
	free(h->names);
	sl_buf_fini(&h->payload);
	sl_buf_fini(&h->piece);
	free(h);
}

void sl_hub_stats(const struct sl_hub *h, struct sl_hub_stats *out)
{
	const struct topic *t;
	*out = h->stats;
	out->flush_ms = h->flush_ms;
	for (t = h->topics; t; t = t->hh.next)
		sl_list_each (it, &t->behind)
			out->catching_up++;
}
