/* store/notify.c: the connection that listens. What is told while it is away is made up for when it is back: orders and
 * answers are looked for in their table, and whoever asked to be told of changes is told that anything may have
 * changed.
 */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#define BACKOFF_LEAST 100
#define BACKOFF_MOST  5000

/* On the channel; servers of two versions may meet there. */
static const char *const news_names[SL_STORE_NEWS_KINDS] = {
	[SL_STORE_NEWS_SETTINGS] = "settings", [SL_STORE_NEWS_PROFILES] = "profiles", [SL_STORE_NEWS_AGENTS] = "agents",
	[SL_STORE_NEWS_PRICES] = "prices",     [SL_STORE_NEWS_TOKENS] = "tokens",     [SL_STORE_NEWS_CACHE] = "cache",
};

static bool listen_setup(struct sl_conn *c)
{
	c->s->listen_failed = false;
	return sl_conn_send_session(c, c->s->config.query_timeout_ms, false) &&
	       sl_conn_query(c, "LISTEN sluice", 0, NULL, NULL, NULL);
}

static bool listen_result(struct sl_conn *c, PGresult *r)
{
	ExecStatusType st = PQresultStatus(r);
	c->s->listen_failed |= st == PGRES_FATAL_ERROR || st == PGRES_BAD_RESPONSE;
	return false;
}

static void tell(struct sl_store *s, enum sl_store_news news)
{
	if (s->config.on_news && !atomic_load(&s->closing))
		s->config.on_news(s->config.ctx, news);
}

static void listen_sync(struct sl_conn *c)
{
	struct sl_store *s = c->s;
	if (s->listen_failed) {
		sl_conn_drop(c);
		return;
	}
	c->state = SL_CONN_READY;
	s->listen_backoff_ms = 0;
	sl_orders_look(s);
	sl_cache_look(s);
	for (int news = 0; news < SL_STORE_NEWS_KINDS; news++)
		tell(s, (enum sl_store_news)news);
}

static void listen_lost(struct sl_conn *c, const char *why)
{
	struct sl_store *s = c->s;
	s->listen_backoff_ms = s->listen_backoff_ms ? s->listen_backoff_ms * 2 : BACKOFF_LEAST;
	if (s->listen_backoff_ms > BACKOFF_MOST)
		s->listen_backoff_ms = BACKOFF_MOST;
	s->listen_due_ms = sl_clock_mono_ms() + s->listen_backoff_ms;
	sl_store_wake_at(s, s->listen_due_ms);
	sl_log(SL_LOG_DEBUG, "store", "the connection that listens was lost", SL_KS("why", why));
}

/* "order 42": for instance 42. "runs 42", "profiles 42", …: of instance 42, for everybody. "cache 42 3": its third
 * clear. */
static void listen_told(struct sl_conn *c, const char *text)
{
	struct sl_store *s = c->s;
	struct sl_str what = sl_str(text), number = SL_STR(""), more = SL_STR("");
	uint64_t cleared;
	char me[24];
	snprintf(me, sizeof(me), "%lld", (long long)s->instance);
	SL_IGNORE(sl_str_cut(sl_str(text), ' ', &what, &number)); /* without a number there is none */
	SL_IGNORE(sl_str_cut(number, ' ', &number, &more));       /* only the cache has more to say */
	bool mine = sl_str_is(number, me);
	if (sl_str_is(what, "order") && mine)
		sl_orders_take(s);
	else if (sl_str_is(what, "answer") && mine)
		sl_orders_read(s);
	else if (sl_str_is(what, "runs") && !mine && s->config.on_orphans && !atomic_load(&s->closing))
		s->config.on_orphans(s->config.ctx);
	if (sl_str_is(what, news_names[SL_STORE_NEWS_CACHE]) && sl_str_u64(more, &cleared))
		sl_cache_cleared(s, (int64_t)cleared); /* before it is told: what is put from then on is new */
	for (int news = 0; news < SL_STORE_NEWS_KINDS && !mine; news++)
		if (sl_str_is(what, news_names[news]))
			tell(s, (enum sl_store_news)news);
}

static const struct sl_conn_ops listen_ops = {listen_setup, listen_result, listen_sync, listen_lost, listen_told};

void sl_notify_start(struct sl_store *s)
{
	s->listener = (struct sl_conn){.s = s, .ops = &listen_ops, .role = "sluice listens"};
	s->listen_due_ms = s->config.sharing == SL_STORE_EXCLUSIVE ? UINT64_MAX : 0;
	sl_store_wake_at(s, s->listen_due_ms);
}

void sl_notify_tick(struct sl_store *s, uint64_t now)
{
	sl_conn_tick(&s->listener, now);
	if (s->listener.state == SL_CONN_CLOSED && !atomic_load(&s->closing)) {
		if (now >= s->listen_due_ms) {
			s->listen_due_ms = now + BACKOFF_MOST;
			sl_conn_open(&s->listener);
		}
		if (s->listener.state == SL_CONN_CLOSED)
			sl_store_wake_at(s, s->listen_due_ms);
	}
	sl_orders_tick(s, now);
	sl_cache_tick(s, now);
}

void sl_notify_stop(struct sl_store *s)
{
	sl_conn_close(&s->listener);
	sl_orders_stop(s);
}

void sl_job_notify(struct sl_job *j, const char *what)
{
	char text[64];
	if (j->s->config.sharing == SL_STORE_EXCLUSIVE)
		return; /* nobody listens */
	sl_job_statement(j, "SELECT pg_notify('sluice', $1)");
	snprintf(text, sizeof(text), "%s %lld", what, (long long)j->s->instance);
	sl_job_str(j, sl_str(text));
}

void sl_job_news(struct sl_job *j, enum sl_store_news news)
{
	sl_job_notify(j, news_names[news]);
}
