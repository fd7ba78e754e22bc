/* store/store.c: opening, closing, health, and the one timer of the store.
 *
 * There is no periodic tick: whoever waits for a moment calls sl_store_wake_at(), and the tick looks at everything once
 * it comes. So an idle store does nothing at all but renew its lease.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "store/migrate.h"

static const char *const state_names[] = {"ok", "connecting", "failing", "read_only", "schema"};

const char *sl_store_state_name(enum sl_store_state state)
{
	return state_names[state];
}

void sl_store_config_init(struct sl_store_config *c)
{
	*c = (struct sl_store_config){
		.journal_connections = 2,
		.pool_size = 20,
		.max_overflow = 30,
		.pool_timeout_ms = 30000,
		.pool_recycle_ms = 1800000,
		.pool_ping_ms = 30000,
		.connect_timeout_ms = 10000,
		.query_timeout_ms = 10000,
		.lease_ms = 15000,
		.renew_ms = 5000,
		.retention_days = 30,
	};
}

/* ---- the timer ---- */

static void close_step(struct sl_store *s, uint64_t now);
static void give_step(struct sl_store *s, uint64_t now);

static void tick(struct sl_store *s)
{
	uint64_t now = sl_clock_mono_ms();
	s->wake_ms = UINT64_MAX;
	sl_lanes_tick(s, now);
	sl_query_pool_tick(s, now);
	sl_lease_tick(s, now);
	sl_notify_tick(s, now);
	if (s->give_until_ms)
		give_step(s, now);
	if (s->close_step)
		close_step(s, now);
}

static void on_timer(uv_timer_t *t)
{
	tick(t->data);
}

void sl_store_wake_at(struct sl_store *s, uint64_t mono_ms)
{
	if (mono_ms >= s->wake_ms)
		return;
	uint64_t now = sl_clock_mono_ms();
	s->wake_ms = mono_ms;
	uv_update_time(sl_loop_uv(s->loop));
	uv_timer_start(&s->timer, on_timer, mono_ms > now ? mono_ms - now : 0, 0); /* fails only while closing */
}

/* ---- health ---- */

void sl_store_set_health(struct sl_store *s, enum sl_store_state state, const char *reason)
{
	uint64_t now = sl_clock_mono_ms();
	pthread_mutex_lock(&s->health_lock);
	struct sl_store_health *h = &s->health;
	if (state == SL_STORE_FAILING && h->state == SL_STORE_CONNECTING)
		state = SL_STORE_CONNECTING; /* was never there: say so until it is */
	bool changed = h->state != state;
	if (changed) {
		h->state = state;
		h->since_ms = sl_clock_wall_ms();
	}
	snprintf(h->reason, sizeof(h->reason), "%s", reason);
	pthread_cond_broadcast(&s->health_changed);
	pthread_mutex_unlock(&s->health_lock);
	if (state == SL_STORE_OK && s->failing_since_ms) {
		atomic_fetch_add(&s->unavailable_ms, now - s->failing_since_ms);
		s->failing_since_ms = 0;
	} else if (state != SL_STORE_OK && !s->failing_since_ms)
		s->failing_since_ms = now ? now : 1;
	if (changed && state == SL_STORE_OK)
		sl_log(SL_LOG_INFO, "store", "PostgreSQL is there");
	else if (changed)
		sl_log(SL_LOG_WARN, "store", "PostgreSQL cannot be used", SL_KS("state", state_names[state]),
		       SL_KS("reason", reason));
}

void sl_store_set_schema(struct sl_store *s, uint32_t version)
{
	pthread_mutex_lock(&s->health_lock);
	s->health.schema_version = version;
	pthread_mutex_unlock(&s->health_lock);
}

void sl_store_health(struct sl_store *s, struct sl_store_health *out)
{
	pthread_mutex_lock(&s->health_lock);
	*out = s->health;
	pthread_mutex_unlock(&s->health_lock);
}

void sl_store_stats(struct sl_store *s, struct sl_store_stats *out)
{
	*out = (struct sl_store_stats){
		.batches = atomic_load(&s->batches),
		.records = atomic_load(&s->records),
		.commits = atomic_load(&s->commits),
		.stale = atomic_load(&s->stale),
		.conflicts = atomic_load(&s->conflicts),
		.resolved = atomic_load(&s->resolved),
		.retried = atomic_load(&s->retried),
		.queued = atomic_load(&s->queued),
		.queued_bytes = atomic_load(&s->queued_bytes),
		.queries = atomic_load(&s->queries),
		.query_failures = atomic_load(&s->query_failures),
		.reconnects = atomic_load(&s->reconnects),
		.connections = atomic_load(&s->connections),
		.connections_busy = atomic_load(&s->connections_busy),
		.pool_waiting = atomic_load(&s->pool_waiting),
		.pool_waiting_bytes = atomic_load(&s->jobs_bytes),
		.unavailable_ms = atomic_load(&s->unavailable_ms),
	};
}

int64_t sl_store_instance(const struct sl_store *s)
{
	return s->instance;
}

enum sl_store_sharing sl_store_sharing(const struct sl_store *s)
{
	return s->config.sharing;
}

struct sl_loop *sl_store_loop(struct sl_store *s)
{
	return s->loop;
}

/* A moment on the clock that the condition variables use. */
static struct timespec after_ms(uint32_t ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

enum sl_code sl_store_wait(struct sl_store *s, uint32_t wait_ms, struct sl_error *err)
{
	struct timespec until = after_ms(wait_ms);
	enum sl_code rc = SL_OK;
	pthread_mutex_lock(&s->health_lock);
	while (s->health.state != SL_STORE_OK && rc == SL_OK)
		if (pthread_cond_timedwait(&s->health_changed, &s->health_lock, &until) == ETIMEDOUT)
			rc = sl_fail(err, SL_TIMEOUT, "PostgreSQL is not ready (%s): %s", state_names[s->health.state],
				     s->health.reason);
	if (s->health.state == SL_STORE_OK)
		rc = SL_OK;
	pthread_mutex_unlock(&s->health_lock);
	return rc;
}

/* ---- open ---- */

struct opening {
	struct sl_post post;
	struct sl_store *s;
};

static void begin(struct sl_post *p)
{
	struct opening *o = SL_CONTAINER_OF(p, struct opening, post);
	struct sl_store *s = o->s;
	free(o);
	sl_lanes_start(s);
	sl_lease_start(s);
	sl_notify_start(s);
}

static void destroy(struct sl_store *s)
{
	sl_loop_free(s->loop); /* closes the timer; the poll handles free themselves */
	sl_query_pool_fini(s);
	sl_lanes_free(s);
	pthread_mutex_destroy(&s->health_lock);
	pthread_cond_destroy(&s->health_changed);
	pthread_cond_destroy(&s->closed);
	free((char *)(uintptr_t)s->config.url);
	free(s);
}

enum sl_code sl_store_open(const struct sl_store_config *config, struct sl_store **out, struct sl_error *err)
{
	char *why = NULL;
	PQconninfoOption *parsed = PQconninfoParse(config->url, &why);
	if (!parsed) {
		enum sl_code bad =
			sl_fail(err, SL_INVALID, "the database url does not parse: %s", why ? why : "no memory");
		PQfreemem(why);
		return bad;
	}
	PQconninfoFree(parsed);
	if (sodium_init() < 0)
		return sl_fail(err, SL_INTERNAL, "no random numbers");
	struct sl_store *s = calloc(1, sizeof(*s));
	struct opening *o = calloc(1, sizeof(*o));
	enum sl_code rc = s && o ? sl_loop_new("store", &s->loop) : SL_NO_MEMORY;
	if (rc != SL_OK) {
		free(s);
		free(o);
		return sl_fail(err, rc, "store");
	}
	s->config = *config;
	s->config.url = sl_str_dup(sl_str(config->url));
	s->wake_ms = UINT64_MAX;
	atomic_store(&s->cache_cleared, -1);
	s->health = (struct sl_store_health){
		.state = SL_STORE_CONNECTING,
		.since_ms = sl_clock_wall_ms(),
		.schema_wanted = sl_migrate_wanted(),
		.reason = "not connected yet",
	};
	randombytes_buf(&s->instance, sizeof(s->instance));
	s->instance = (s->instance & INT64_MAX) | 1; /* positive and never 0 */
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->health_lock, NULL);
	pthread_cond_init(&s->health_changed, &attr);
	pthread_cond_init(&s->closed, &attr);
	pthread_condattr_destroy(&attr);
	sl_list_init(&s->claims);
	sl_list_init(&s->asked);
	sl_query_pool_init(s);
	uv_timer_init(sl_loop_uv(s->loop), &s->timer);
	s->timer.data = s;
	rc = s->config.url ? sl_lanes_new(s) : SL_NO_MEMORY;
	if (rc == SL_OK) {
		*o = (struct opening){.post.run = begin, .s = s};
		sl_loop_post(s->loop, &o->post);
		rc = sl_loop_start(s->loop);
	}
	if (rc != SL_OK) {
		destroy(s);
		free(o);
		return sl_fail(err, rc, "store");
	}
	*out = s;
	return SL_OK;
}

/* ---- give back: while everything else goes on ---- */

static void given(struct sl_store *s)
{
	s->give_until_ms = 0;
	pthread_mutex_lock(&s->health_lock);
	s->gave = true;
	pthread_cond_broadcast(&s->closed);
	pthread_mutex_unlock(&s->health_lock);
}

static void given_back(struct sl_job *j, enum sl_code rc)
{
	if (rc != SL_OK)
		sl_log(SL_LOG_WARN, "store", "could not give our runs back yet", SL_KS("code", sl_code_wire(rc)));
	given(j->s);
}

static void give_step(struct sl_store *s, uint64_t now)
{
	if (now < s->give_until_ms && !sl_lanes_quiet(s)) {
		sl_store_wake_at(s, now + 5);
		return;
	}
	s->give_until_ms = 0;
	s->lease_due_ms = UINT64_MAX; /* there is nothing left to renew it for */
	if (s->health.state != SL_STORE_OK ||
	    sl_lease_release(s, given_back) != SL_OK) /* written by this thread only */
		given(s);
}

static void give_begins(struct sl_post *p)
{
	struct sl_store *s = SL_CONTAINER_OF(p, struct sl_store, give_post);
	uint64_t now = sl_clock_mono_ms();
	s->give_until_ms = now + s->give_wait_ms;
	give_step(s, now);
}

void sl_store_give_back(struct sl_store *s, uint32_t wait_ms)
{
	if (!s)
		return;
	s->give_wait_ms = wait_ms;
	s->give_post.run = give_begins;
	sl_loop_post(s->loop, &s->give_post);
	pthread_mutex_lock(&s->health_lock);
	while (!s->gave)
		pthread_cond_wait(&s->closed, &s->health_lock);
	pthread_mutex_unlock(&s->health_lock);
}

/* ---- close: drain the journal, give the runs back, stop ---- */

enum { CLOSE_NOT, CLOSE_DRAIN, CLOSE_RELEASE, CLOSE_RELEASING, CLOSE_STOP };

static void released(struct sl_job *j, enum sl_code rc)
{
	SL_CRASH_POINT("lease.released");
	if (rc != SL_OK)
		sl_log(SL_LOG_WARN, "store", "could not give our runs back; others wait for the end of the lease");
	j->s->close_step = CLOSE_STOP;
	sl_store_wake_at(j->s, 0);
}

static void close_step(struct sl_store *s, uint64_t now)
{
	bool late = now >= s->drain_until_ms;
	if (s->close_step == CLOSE_DRAIN && (late || sl_lanes_quiet(s)))
		s->close_step = CLOSE_RELEASE;
	if (s->close_step == CLOSE_RELEASE) {
		s->close_step = CLOSE_RELEASING;
		bool there = s->health.state == SL_STORE_OK; /* written by this thread only */
		if (!there || sl_lease_release(s, released) != SL_OK)
			s->close_step = CLOSE_STOP;
		else if (s->drain_until_ms < now + 3000)
			s->drain_until_ms = now + 3000;
		late = false;
	}
	if (s->close_step == CLOSE_STOP || (s->close_step == CLOSE_RELEASING && late)) {
		s->close_step = CLOSE_STOP;
		sl_lanes_stop(s);
		sl_notify_stop(s);
		sl_query_pool_stop(s);
		uv_timer_stop(&s->timer);
		pthread_mutex_lock(&s->health_lock);
		s->is_closed = true;
		pthread_cond_broadcast(&s->closed);
		pthread_mutex_unlock(&s->health_lock);
		s->close_step = CLOSE_NOT;
		return;
	}
	sl_store_wake_at(s, s->close_step == CLOSE_DRAIN && now + 5 < s->drain_until_ms ? now + 5 : s->drain_until_ms);
}

static void close_begins(struct sl_post *p)
{
	struct sl_store *s = SL_CONTAINER_OF(p, struct sl_store, close_post);
	s->close_step = CLOSE_DRAIN;
	sl_store_wake_at(s, 0);
}

void sl_store_close(struct sl_store *s, uint32_t drain_ms)
{
	if (!s)
		return;
	atomic_store(&s->closing, true);
	s->drain_until_ms = sl_clock_mono_ms() + drain_ms;
	s->close_post.run = close_begins;
	sl_loop_post(s->loop, &s->close_post);
	pthread_mutex_lock(&s->health_lock);
	while (!s->is_closed)
		pthread_cond_wait(&s->closed, &s->health_lock);
	pthread_mutex_unlock(&s->health_lock);
	sl_loop_stop(s->loop);
	destroy(s);
}
