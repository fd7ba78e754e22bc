/* store/pool.c: queries that are not the journal: jobs that wait for a connection, and the connections.
 *
 * A job is one to four statements in one implicit transaction. Those that read what many ask for at once share one read
 * (sl_job.shared). Connections are opened when a job finds none free, and
 * go when they were idle for a minute. A pooled struct is freed only in the tick, because libpq callbacks may still be
 * above us.
 */
#include "store/store_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

#define IDLE_MS          60000
#define SURPLUS_IDLE_MS  5000 /* of those beyond pool_size */
#define BACKOFF_LEAST    50
#define BACKOFF_MOST     1000
#define WAITING_PER_OPEN 8  /* jobs that wait for each connection on its way: most are served before it is there */
#define SHARED_LOOKED_AT 64 /* reads under way, for one that asks the same */

struct pooled {
	struct sl_list link;
	struct sl_conn conn;
	struct sl_job *job;
	uint64_t idle_since_ms;
	bool pinging, setup_failed;
};

static void dispatch(struct sl_store *s);

static struct pooled *pooled_of(struct sl_conn *c)
{
	return SL_CONTAINER_OF(c, struct pooled, conn);
}

static uint32_t idle_ms(const struct sl_store *s)
{
	return s->pool_open > s->config.pool_size ? SURPLUS_IDLE_MS : IDLE_MS;
}

static struct sl_job *job_of(struct sl_list *link)
{
	return SL_CONTAINER_OF(link, struct sl_job, link);
}

/* ---- building a job: [any] ---- */

struct sl_job *sl_job_new(struct sl_store *s, enum sl_job_kind kind, const char *sql, sl_job_fn *finish)
{
	struct sl_job *j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	j->s = s;
	j->kind = kind;
	j->finish = finish;
	sl_list_init(&j->link);
	sl_list_init(&j->asking);
	sl_list_init(&j->sharing);
	sl_list_init(&j->held);
	sl_buf_init(&j->text, 16384);
	j->st[0].sql = sql;
	j->n_st = 1;
	j->bytes = sizeof(*j);
	j->taken_upto = SL_LIMIT_QUERY_QUEUE_BYTES;
	return j;
}

void sl_job_statement(struct sl_job *j, const char *sql)
{
	SL_BUG_ON(j->n_st == SL_JOB_STATEMENTS);
	j->st[j->n_st++].sql = sql;
}

static void add(struct sl_job *j, const void *p, size_t len, int format)
{
	int at = j->n_st - 1, n = j->st[at].n;
	SL_BUG_ON(n == SL_JOB_PARAMS);
	j->st[at].n++;
	j->st[at].formats[n] = format;
	if (!p)
		return;
	if (len > INT32_MAX - 1) {
		j->no_memory = true;
		return;
	}
	char *copy = malloc(len + 1);
	if (!copy) {
		j->no_memory = true;
		return;
	}
	memcpy(copy, p, len);
	copy[len] = 0;
	j->st[at].values[n] = copy;
	j->st[at].lengths[n] = (int)len;
	j->bytes += len + 1;
}

void sl_job_str(struct sl_job *j, struct sl_str v)
{
	add(j, v.p ? v.p : "", v.len,
	    1); /* binary text is the bytes themselves; a zero byte in it is refused, not cut off */
}

void sl_job_str_or_null(struct sl_job *j, struct sl_str v)
{
	add(j, v.len ? v.p : NULL, v.len, 1);
}

void sl_job_i64(struct sl_job *j, int64_t v)
{
	char text[24];
	add(j, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v), 0);
}

void sl_job_uuid(struct sl_job *j, struct sl_uuid id)
{
	add(j, id.b, sizeof(id.b), 1);
}

void sl_job_ms(struct sl_job *j, int64_t wall_ms)
{
	char b[8];
	sl_put_i64(b, sl_pg_time(wall_ms));
	add(j, wall_ms ? b : NULL, sizeof(b), 1);
}

void sl_job_json(struct sl_job *j, struct sl_bytes *b)
{
	add(j, b ? b->data : NULL, b ? b->len : 0, 1);
}

void sl_job_bytea(struct sl_job *j, const void *p, size_t len)
{
	add(j, p, len, 1);
}

void sl_job_free(struct sl_job *j)
{
	if (!j)
		return;
	for (int i = 0; i < j->n_st; i++)
		for (int k = 0; k < j->st[i].n; k++)
			free(j->st[i].values[k]);
	for (int i = 0; i < SL_JOB_STATEMENTS; i++)
		PQclear(j->results[i]);
	sl_buf_fini(&j->text);
	free(j);
}

void sl_job_end_plain(struct sl_job *j, enum sl_code rc)
{
	if (j->fn)
		((sl_store_fn *)j->fn)(j->arg, rc);
}

void sl_job_end_found(struct sl_job *j, enum sl_code rc)
{
	sl_job_end_plain(j, rc == SL_OK && PQntuples(j->results[0]) == 0 ? SL_NOT_FOUND : rc);
}

void sl_job_end_json(struct sl_job *j, enum sl_code rc, struct sl_buf *b)
{
	SL_AUTO(sl_bytes) json = NULL;
	if (rc == SL_OK) {
		json = sl_buf_bytes(b);
		rc = json ? SL_OK : SL_NO_MEMORY;
	}
	((sl_store_json_fn *)j->fn)(j->arg, rc, json);
}

/* ---- the life of a job: [store] ---- */

static void forget_results(struct sl_job *j)
{
	for (int i = 0; i < SL_JOB_STATEMENTS; i++) {
		PQclear(j->results[i]);
		j->results[i] = NULL;
	}
	j->got = 0;
	j->failed = j->sent = false;
	j->sqlstate[0] = 0;
}

static void job_waits(struct sl_job *j, struct sl_list *before)
{
	sl_list_append(before, &j->link);
	atomic_fetch_add(&j->s->pool_waiting, 1);
}

static uint64_t ends_at(const struct sl_job *j)
{
	return j->deadline_ms < j->wait_until_ms ? j->deadline_ms : j->wait_until_ms;
}

/* ---- reads that many ask for at once */

static bool asks_the_same(const struct sl_job *a, const struct sl_job *b)
{
	bool same = a->st[0].sql == b->st[0].sql && a->st[0].n == b->st[0].n;
	for (int i = 0; same && i < a->st[0].n; i++)
		same = a->st[0].lengths[i] == b->st[0].lengths[i] &&
		       memcmp(a->st[0].values[i], b->st[0].values[i], (size_t)a->st[0].lengths[i]) == 0;
	return same;
}

/* While a shared read waits or is under way, all who ask the same are held, and the next read, which begins after they
 * came, is for all of them: as with commits, load makes it cheaper, and nobody is told what was before he asked. With
 * many different ones under way some go alone. */
static bool job_held(struct sl_store *s, struct sl_job *j)
{
	int looked_at = 0;
	sl_list_each (it, &s->jobs_asking) {
		struct sl_job *before = SL_CONTAINER_OF(it, struct sl_job, asking);
		if (asks_the_same(before, j)) {
			sl_list_append(&before->held, &j->link);
			return true;
		}
		if (++looked_at == SHARED_LOOKED_AT)
			break;
	}
	sl_list_append(&s->jobs_asking, &j->asking);
	return false;
}

static void take_all(struct sl_list *to, struct sl_list *from)
{
	if (sl_list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	sl_list_init(from);
}

static void job_over(struct sl_job *j, enum sl_code rc)
{
	sl_list_drop(&j->link);
	atomic_fetch_sub(&j->s->jobs_bytes, j->bytes);
	if (rc != SL_OK && rc != SL_CONFLICT && rc != SL_CANCELLED)
		atomic_fetch_add(&j->s->query_failures, 1);
	j->finish(j, rc);
}

/* Ends j and all who share its read; those that were held meanwhile wait for a connection now, as one. */
static void job_end(struct sl_job *j, enum sl_code rc)
{
	struct sl_store *s = j->s;
	sl_list_drop(&j->asking);
	if (!sl_list_empty(&j->held)) {
		struct sl_job *next = job_of(j->held.next);
		sl_list_drop(&next->link);
		take_all(&next->sharing, &j->held);
		sl_list_append(&s->jobs_asking, &next->asking);
		job_waits(next, &s->jobs_waiting);
		sl_store_wake_at(s, ends_at(next));
	}
	while (!sl_list_empty(&j->sharing)) {
		struct sl_job *with = job_of(j->sharing.next);
		with->results[0] = j->results[0];
		job_over(with, rc);
		with->results[0] = NULL; /* it is j's */
		sl_job_free(with);
	}
	job_over(j, rc);
	sl_job_free(j);
}

/* The time of j is over, but not that of all who share its read: these ask again. */
static void job_expires(struct sl_job *j, enum sl_code rc, uint64_t now)
{
	struct sl_list over;
	sl_list_init(&over);
	while (!sl_list_empty(&j->sharing) && ends_at(job_of(j->sharing.next)) <= now) {
		struct sl_list *first = j->sharing.next;
		sl_list_drop(first);
		sl_list_append(&over, first);
	}
	take_all(&j->sharing, &j->held);
	take_all(&j->held, &j->sharing);
	take_all(&j->sharing, &over);
	job_end(j, rc);
}

static void job_arrives(struct sl_post *p)
{
	struct sl_job *j = SL_CONTAINER_OF(p, struct sl_job, post);
	struct sl_store *s = j->s;
	if (atomic_load(&s->closing) && !j->internal) {
		job_end(j, SL_CANCELLED);
		return;
	}
	uint64_t now = sl_clock_mono_ms();
	j->deadline_ms = now + s->config.query_timeout_ms;
	j->wait_until_ms = now + s->config.pool_timeout_ms;
	if (j->shared && job_held(s, j))
		return;
	job_waits(j, j->first ? s->jobs_waiting.next : &s->jobs_waiting);
	sl_store_wake_at(s, ends_at(j));
	dispatch(s);
}

/* Why there is no room: as for a job that waited in vain. */
static enum sl_code full(struct sl_store *s)
{
	struct sl_store_health h;
	sl_store_health(s, &h);
	return h.state == SL_STORE_OK ? SL_BUSY : SL_UNAVAILABLE;
}

enum sl_code sl_job_submit(struct sl_job *j, void (*fn)(void), void *arg)
{
	enum sl_code rc = !j || j->no_memory || j->text.failed ? SL_NO_MEMORY : SL_OK;
	if (rc == SL_OK && atomic_load(&j->s->closing) && !j->internal)
		rc = SL_CANCELLED;
	if (rc == SL_OK) {
		j->bytes += j->text.len;
		if (atomic_fetch_add(&j->s->jobs_bytes, j->bytes) >= j->taken_upto && !j->first) {
			atomic_fetch_sub(&j->s->jobs_bytes, j->bytes);
			rc = full(j->s);
		}
	}
	if (rc != SL_OK) {
		sl_job_free(j);
		return rc;
	}
	j->fn = fn;
	j->arg = arg;
	j->post.run = job_arrives;
	atomic_fetch_add(&j->s->queries, 1);
	sl_loop_post(j->s->loop, &j->post);
	return SL_OK;
}

static bool class_is(const char *state, const char *class)
{
	return strncmp(state, class, 2) == 0;
}

static enum sl_code code_of(const struct sl_job *j)
{
	const char *st = j->sqlstate;
	if (strcmp(st, "23505") == 0)
		return SL_CONFLICT;
	if (class_is(st, "22"))
		return SL_INVALID;
	if (class_is(st, "54"))
		return SL_TOO_LARGE;
	if (class_is(st, "57") || class_is(st, "53") || class_is(st, "40") || class_is(st, "55") ||
	    class_is(st, "58") || strcmp(st, "25006") == 0)
		return SL_UNAVAILABLE;
	return SL_INTERNAL;
}

/* ---- connections ---- */

static bool pooled_setup(struct sl_conn *c)
{
	pooled_of(c)->setup_failed = false;
	return sl_conn_send_session(c, c->s->config.query_timeout_ms, false) &&
	       sl_conn_prepare(c, "workflow", sl_sql_workflow_get);
}

static bool pooled_result(struct sl_conn *c, PGresult *r)
{
	struct pooled *p = pooled_of(c);
	struct sl_job *j = p->job;
	ExecStatusType st = PQresultStatus(r);
	bool bad = st == PGRES_FATAL_ERROR || st == PGRES_BAD_RESPONSE;
	if (c->state == SL_CONN_SETUP || p->pinging || !j) {
		p->setup_failed |= bad;
		return false;
	}
	if (bad && !j->failed) {
		const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE),
			   *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
		j->failed = true;
		snprintf(j->sqlstate, sizeof(j->sqlstate), "%s", code ? code : "XX000");
		if (code_of(j) == SL_INTERNAL)
			sl_log(SL_LOG_ERROR, "store", "PostgreSQL refused a query", SL_KS("error", text ? text : ""),
			       SL_KS("sqlstate", j->sqlstate),
			       SL_KSTR("sql", sl_str_n(j->st[0].sql, strnlen(j->st[0].sql, 120))));
		return false;
	}
	if (bad || st == PGRES_PIPELINE_ABORTED || j->got == SL_JOB_STATEMENTS)
		return false;
	j->results[j->got++] = r;
	return true;
}

static void pooled_send(struct pooled *p)
{
	struct sl_job *j = p->job;
	bool ok = true;
	j->sent = true;
	for (int i = 0; ok && i < j->n_st; i++) {
		const char *const *values = (const char *const *)(uintptr_t)j->st[i].values;
		if (j->st[i].sql == sl_sql_workflow_get)
			ok = sl_conn_execute(&p->conn, "workflow", j->st[i].n, values, j->st[i].lengths,
					     j->st[i].formats);
		else
			ok = sl_conn_query(&p->conn, j->st[i].sql, j->st[i].n, values, j->st[i].lengths,
					   j->st[i].formats);
	}
	p->conn.deadline_ms = j->deadline_ms + 1000; /* PostgreSQL's own timeout comes first, and says so */
	sl_store_wake_at(p->conn.s, p->conn.deadline_ms);
	if (!ok || !sl_conn_sync(&p->conn))
		sl_conn_drop(&p->conn);
}

static void pooled_sync(struct sl_conn *c)
{
	struct pooled *p = pooled_of(c);
	struct sl_store *s = c->s;
	struct sl_job *j = p->job;
	if (c->state == SL_CONN_SETUP) {
		if (p->setup_failed) {
			sl_conn_drop(c);
			return;
		}
		c->state = SL_CONN_READY;
		s->pool_backoff_ms = s->pool_retry_ms = 0;
	} else if (p->pinging) {
		p->pinging = false;
		pooled_send(p);
		return;
	} else if (j) {
		p->job = NULL;
		atomic_fetch_sub(&s->connections_busy, 1);
		if (j->failed && class_is(j->sqlstate, "40") && j->kind != SL_JOB_WRITE &&
		    sl_clock_mono_ms() < j->deadline_ms) {
			forget_results(j);
			job_waits(j, &s->jobs_waiting);
		} else
			job_end(j, j->failed ? code_of(j) : SL_OK);
	}
	p->idle_since_ms = sl_clock_mono_ms();
	/* One beyond pool_size stays until it has been idle for a while: a new one costs PostgreSQL more than hundreds
	 * of queries. */
	if (p->idle_since_ms - c->opened_ms > s->config.pool_recycle_ms) {
		sl_conn_close(c);
		sl_store_wake_at(s, 0);
	}
	sl_store_wake_at(s, p->idle_since_ms + idle_ms(s));
	dispatch(s);
}

static void pooled_lost(struct sl_conn *c, const char *why)
{
	struct pooled *p = pooled_of(c);
	struct sl_store *s = c->s;
	struct sl_job *j = SL_TAKE(p->job);
	uint64_t now = sl_clock_mono_ms();
	bool was_pinging = p->pinging;
	p->pinging = false;
	s->pool_backoff_ms = s->pool_backoff_ms ? s->pool_backoff_ms * 2 : BACKOFF_LEAST;
	if (s->pool_backoff_ms > BACKOFF_MOST)
		s->pool_backoff_ms = BACKOFF_MOST;
	s->pool_retry_ms = now + s->pool_backoff_ms;
	sl_store_wake_at(s, s->pool_retry_ms);
	sl_log(SL_LOG_DEBUG, "store", "a query connection was lost", SL_KS("why", why));
	if (!j)
		return;
	atomic_fetch_sub(&s->connections_busy, 1);
	if (now < j->deadline_ms && (!j->sent || was_pinging || j->kind != SL_JOB_WRITE)) {
		forget_results(j);
		job_waits(j, s->jobs_waiting.next); /* to the front: it waited longest */
	} else
		job_expires(j, SL_UNAVAILABLE, now);
}

static const struct sl_conn_ops pooled_ops = {pooled_setup, pooled_result, pooled_sync, pooled_lost};

static void open_one(struct sl_store *s)
{
	struct pooled *p = calloc(1, sizeof(*p));
	if (!p)
		return; /* the jobs wait for those there are, or end by their deadline */
	p->conn = (struct sl_conn){.s = s, .ops = &pooled_ops, .role = "sluice queries"};
	sl_list_init(&p->link);
	sl_list_append(&s->pool, &p->link);
	s->pool_open++;
	sl_conn_open(&p->conn);
}

static void start(struct pooled *p, struct sl_job *j)
{
	struct sl_store *s = p->conn.s;
	sl_list_drop(&j->link);
	atomic_fetch_sub(&s->pool_waiting, 1);
	atomic_fetch_add(&s->connections_busy, 1);
	p->job = j;
	if (sl_clock_mono_ms() - p->idle_since_ms < s->config.pool_ping_ms) {
		pooled_send(p);
		return;
	}
	p->pinging = true; /* a firewall may have forgotten it: ask before a query depends on it */
	p->conn.deadline_ms = sl_clock_mono_ms() + 2000;
	sl_store_wake_at(s, p->conn.deadline_ms);
	if (!sl_conn_query(&p->conn, "SELECT 1", 0, NULL, NULL, NULL) || !sl_conn_sync(&p->conn))
		sl_conn_drop(&p->conn);
}

static void dispatch(struct sl_store *s)
{
	uint32_t coming = 0;
	sl_list_each_safe (it, tmp, &s->pool) {
		struct pooled *p = SL_CONTAINER_OF(it, struct pooled, link);
		if (p->conn.state == SL_CONN_READY && !p->job && !p->conn.broken) {
			if (sl_list_empty(&s->jobs_waiting))
				return;
			start(p, job_of(s->jobs_waiting.next));
		} else if (p->conn.state == SL_CONN_CONNECTING || p->conn.state == SL_CONN_SETUP)
			coming++;
	}
	if (sl_clock_mono_ms() < s->pool_retry_ms) {
		if (!sl_list_empty(&s->jobs_waiting))
			sl_store_wake_at(s, s->pool_retry_ms);
		return;
	}
	uint32_t wanted = (atomic_load(&s->pool_waiting) + WAITING_PER_OPEN - 1) / WAITING_PER_OPEN;
	uint32_t most = s->config.pool_size + s->config.max_overflow;
	if (s->pool_backoff_ms && wanted)
		wanted = 1; /* while PostgreSQL is away one of them knocks */
	for (; coming < wanted && s->pool_open < most && sl_clock_mono_ms() >= s->pool_retry_ms; coming++)
		open_one(s);
}

void sl_query_pool_tick(struct sl_store *s, uint64_t now)
{
	bool any_ready = false;
	sl_list_each_safe (it, tmp, &s->pool) {
		struct pooled *p = SL_CONTAINER_OF(it, struct pooled, link);
		sl_conn_tick(&p->conn, now);
		if (p->conn.state == SL_CONN_READY && !p->job) {
			if (now - p->idle_since_ms >= idle_ms(s))
				sl_conn_close(&p->conn);
			else
				sl_store_wake_at(s, p->idle_since_ms + idle_ms(s));
		}
		any_ready |= p->conn.state == SL_CONN_READY;
		if (p->conn.state == SL_CONN_CLOSED) {
			sl_list_drop(&p->link);
			s->pool_open--;
			free(p);
		}
	}
	sl_list_each_safe (it, tmp, &s->jobs_waiting) {
		struct sl_job *j = job_of(it);
		if (now >= ends_at(j)) {
			atomic_fetch_sub(&s->pool_waiting, 1);
			job_expires(j, any_ready ? SL_BUSY : SL_UNAVAILABLE, now);
		} else
			sl_store_wake_at(s, ends_at(j));
	}
	dispatch(s);
}

void sl_query_pool_init(struct sl_store *s)
{
	sl_list_init(&s->pool);
	sl_list_init(&s->jobs_waiting);
	sl_list_init(&s->jobs_asking);
}

void sl_query_pool_stop(struct sl_store *s)
{
	sl_list_each (it, &s->pool) {
		struct pooled *p = SL_CONTAINER_OF(it, struct pooled, link);
		struct sl_job *j = SL_TAKE(p->job);
		sl_conn_close(&p->conn);
		if (j)
			job_end(j, SL_CANCELLED);
	}
	while (!sl_list_empty(&s->jobs_waiting))
		job_end(job_of(s->jobs_waiting.next), SL_CANCELLED);
}

void sl_query_pool_fini(struct sl_store *s)
{
	while (!sl_list_empty(&s->pool)) {
		struct pooled *p = SL_CONTAINER_OF(s->pool.next, struct pooled, link);
		sl_list_drop(&p->link);
		free(p);
	}
}
