/* store/conn.c: one libpq connection on the loop, always in pipeline mode.
 *
 * While it connects libpq may change its socket at every step (several addresses, TLS or not), so the poll handle is
 * made anew for each step; afterwards one handle stays, and only its write interest changes, when a flush did not get
 * everything out. What is watched is a duplicate of the socket: libpq closes its own as soon as the server is gone, and
 * the number may be another thread's file before we hear of it.
 */
#include "store/store_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_poll(uv_poll_t *h, int status, int events);

static void notice_ignored(void *arg, const char *message)
{
}

static void poll_closed(uv_handle_t *h)
{
	free(h);
}

static void poll_end(struct sl_conn *c)
{
	if (!c->poll)
		return;
	uv_poll_stop(c->poll);
	c->poll->data = NULL;
	uv_close((uv_handle_t *)c->poll, poll_closed);
	close(c->poll_fd);
	c->poll = NULL;
}

static bool poll_begin(struct sl_conn *c, int events)
{
	int fd = fcntl(PQsocket(c->pg), F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return false;
	uv_poll_t *h = calloc(1, sizeof(*h));
	if (!h || uv_poll_init(sl_loop_uv(c->s->loop), h, fd) != 0) {
		free(h);
		close(fd);
		return false;
	}
	h->data = c;
	c->poll = h;
	c->poll_fd = fd;
	c->events = events;
	return uv_poll_start(h, events, on_poll) == 0;
}

void sl_conn_close(struct sl_conn *c)
{
	poll_end(c);
	if (c->pg) {
		PQfinish(c->pg);
		atomic_fetch_sub(&c->s->connections, 1);
	}
	c->pg = NULL;
	c->state = SL_CONN_CLOSED;
	c->queries = c->syncs = 0;
	c->broken = false;
	c->deadline_ms = 0;
}

static void lost(struct sl_conn *c, const char *why)
{
	char text[300];
	snprintf(text, sizeof(text), "%s", why);
	text[strcspn(text, "\n")] = 0;
	sl_conn_close(c);
	c->ops->lost(c, text);
}

void sl_conn_drop(struct sl_conn *c)
{
	c->broken = true;
	sl_store_wake_at(c->s, 0);
}

static void interest(struct sl_conn *c, int events)
{
	if (c->events != events && c->poll) {
		c->events = events;
		if (uv_poll_start(c->poll, events, on_poll) != 0)
			sl_conn_drop(c);
	}
}

static void flush(struct sl_conn *c)
{
	int rc = PQflush(c->pg);
	if (rc < 0)
		sl_conn_drop(c); /* the reason is read with what the server sent last */
	else
		interest(c, rc ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

bool sl_conn_prepare(struct sl_conn *c, const char *name, const char *sql)
{
	if (!PQsendPrepare(c->pg, name, sql, 0, NULL))
		return false;
	c->queries++;
	return true;
}

bool sl_conn_query(struct sl_conn *c, const char *sql, int n, const char *const *values, const int *lengths,
		   const int *formats)
{
	if (!PQsendQueryParams(c->pg, sql, n, NULL, values, lengths, formats, 1))
		return false;
	c->queries++;
	return true;
}

bool sl_conn_execute(struct sl_conn *c, const char *name, int n, const char *const *values, const int *lengths,
		     const int *formats)
{
	if (!PQsendQueryPrepared(c->pg, name, n, values, lengths, formats, 1))
		return false;
	c->queries++;
	return true;
}

bool sl_conn_sync(struct sl_conn *c)
{
	if (!PQpipelineSync(c->pg))
		return false;
	c->syncs++;
	flush(c);
	return true;
}

bool sl_conn_send_session(struct sl_conn *c, uint32_t statement_timeout_ms, bool planner_by_index)
{
	char timeout[16], lock[24];
	/* The journal's statements are planned once, when the tables may still be empty, and must not scan them when
	 * they are full: a few rows by key is all they ever want. */
	static const char plain[] =
		"SELECT set_config('jit', 'off', false), set_config('statement_timeout', $1, false), "
		"set_config('idle_in_transaction_session_timeout', '60s', false), "
		"set_config('timezone', 'UTC', false), set_config('client_min_messages', 'error', false)";
	static const char by_index[] =
		"SELECT set_config('jit', 'off', false), set_config('statement_timeout', $1, false), "
		"set_config('idle_in_transaction_session_timeout', '60s', false), "
		"set_config('timezone', 'UTC', false), set_config('client_min_messages', 'error', false), "
		"set_config('plan_cache_mode', 'force_generic_plan', false), "
		"set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false), "
		"set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false), "
		"set_config('random_page_cost', '0.02', false), set_config('seq_page_cost', '0.02', false)";
	snprintf(timeout, sizeof(timeout), "%u", statement_timeout_ms);
	snprintf(lock, sizeof(lock), "%lld", (long long)c->s->instance);
	const char *values[] = {timeout}, *locks[] = {lock};
	/* Every connection holds the instance's lock: it is free only when the whole server is gone. */
	return sl_conn_query(c, planner_by_index ? by_index : plain, 1, values, NULL, NULL) &&
	       sl_conn_query(c, "SELECT pg_advisory_lock_shared($1::bigint)", 1, locks, NULL, NULL);
}

static void read_results(struct sl_conn *c)
{
	if (!PQconsumeInput(c->pg)) {
		lost(c, PQerrorMessage(c->pg));
		return;
	}
	while (c->pg && (c->queries || c->syncs) && !PQisBusy(c->pg)) {
		PGresult *r = PQgetResult(c->pg);
		if (!r) {
			if (!c->queries)
				break;
			c->queries--; /* this NULL ends the results of one statement */
			continue;
		}
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			c->syncs--;
			c->queries = 0;
			c->deadline_ms = 0;
			c->ops->sync(c);
			continue;
		}
		if (!c->ops->result(c, r))
			PQclear(r);
	}
	for (PGnotify *n; c->pg && c->ops->told && (n = PQnotifies(c->pg));) {
		c->ops->told(c, n->extra);
		PQfreemem(n);
	}
	if (c->pg && PQstatus(c->pg) == CONNECTION_BAD)
		lost(c, PQerrorMessage(c->pg));
}

static void connected(struct sl_conn *c)
{
	if (!PQenterPipelineMode(c->pg) || PQsetnonblocking(c->pg, 1) != 0 || !poll_begin(c, UV_READABLE)) {
		lost(c, "cannot use the connection");
		return;
	}
	c->state = SL_CONN_SETUP;
	c->opened_ms = sl_clock_mono_ms();
	c->deadline_ms = c->opened_ms + SL_STORE_SETUP_MS;
	sl_store_wake_at(c->s, c->deadline_ms);
	if (!c->ops->setup(c) || !sl_conn_sync(c))
		sl_conn_drop(c);
}

static void connect_step(struct sl_conn *c)
{
	poll_end(c);
	switch (PQconnectPoll(c->pg)) {
	case PGRES_POLLING_OK:
		connected(c);
		return;
	case PGRES_POLLING_READING:
		if (poll_begin(c, UV_READABLE))
			return;
		break;
	case PGRES_POLLING_WRITING:
		if (poll_begin(c, UV_WRITABLE))
			return;
		break;
	default:
		break;
	}
	lost(c, PQerrorMessage(c->pg));
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct sl_conn *c = h->data;
	if (!c)
		return;
	if (c->state == SL_CONN_CONNECTING) {
		connect_step(c);
		return;
	}
	/* libuv stops a handle whose socket reports an error, though what the server said last may not be read yet: go
	 * on until a read tells the end. */
	if (status < 0 && uv_poll_start(h, c->events, on_poll) != 0)
		sl_conn_drop(c);
	if (events & UV_WRITABLE)
		flush(c);
	read_results(c); /* always: a flush that would block reads, too, and then no event comes for it */
}

void sl_conn_open(struct sl_conn *c)
{
	const char *keys[] = {"dbname",           "application_name", "client_encoding",
			      "keepalives",       "keepalives_idle",  "keepalives_interval",
			      "keepalives_count", "tcp_user_timeout", NULL};
	const char *values[] = {c->s->config.url, c->role, "UTF8", "1", "10", "5", "3", "15000", NULL};
	c->pg = PQconnectStartParams(keys, values, 1);
	c->state = SL_CONN_CONNECTING;
	c->broken = false;
	atomic_fetch_add(&c->s->connections, 1);
	c->deadline_ms = sl_clock_mono_ms() + c->s->config.connect_timeout_ms;
	sl_store_wake_at(c->s, c->deadline_ms);
	if (!c->pg || PQstatus(c->pg) == CONNECTION_BAD) {
		if (!c->pg)
			atomic_fetch_sub(&c->s->connections, 1);
		sl_conn_drop(c);
		return;
	}
	PQsetNoticeProcessor(c->pg, notice_ignored, NULL);
	if (!poll_begin(c, UV_WRITABLE)) /* as PGRES_POLLING_WRITING: libpq's rule for the first step */
		sl_conn_drop(c);
}

void sl_conn_tick(struct sl_conn *c, uint64_t now)
{
	if (c->state == SL_CONN_CLOSED)
		return;
	if (c->broken) {
		lost(c, c->pg && PQerrorMessage(c->pg)[0] ? PQerrorMessage(c->pg) : "the connection broke");
	} else if (c->deadline_ms && now >= c->deadline_ms) {
		lost(c, c->state == SL_CONN_CONNECTING ? "connecting takes too long" : "no answer in time");
	} else if (c->deadline_ms) {
		sl_store_wake_at(c->s, c->deadline_ms);
	}
}
