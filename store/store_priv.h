/* store/store_priv.h: what the files of this room share: the store itself, connections, query jobs, result readers.
 * Thread    everything [store] unless it says otherwise.
 */
#pragma once

#include <libpq-fe.h>
#include <uv.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "store/store.h"

#define SL_STORE_MAX_LANES 4
#define SL_STORE_LANE_ANSWER_MS                                                                                        \
	45000 /* no answer to a group for so long: the connection is dead, whatever TCP thinks */
#define SL_STORE_SETUP_MS 15000

struct sl_lane;
struct sl_pool;
struct sl_lease;

/* ---- one connection (conn.c): always in pipeline mode, one Sync outstanding ---- */

enum sl_conn_state { SL_CONN_CLOSED, SL_CONN_CONNECTING, SL_CONN_SETUP, SL_CONN_READY };

struct sl_conn;
struct sl_conn_ops {
	/* Sends what the session needs and ends with sl_conn_sync(); false: could not. */
	bool (*setup)(struct sl_conn *c);
	/* A result of what was sent, in order; also errors and PGRES_PIPELINE_ABORTED. May keep it: returns true then.
	 */
	bool (*result)(struct sl_conn *c, PGresult *r);
	void (*sync)(struct sl_conn *c); /* the Sync came back; the one of setup is told by state SL_CONN_SETUP */
	void (*lost)(struct sl_conn *c, const char *why);  /* closed already; never from inside a sl_conn_*() call */
	void (*told)(struct sl_conn *c, const char *text); /* what somebody notified; NULL: it listens to nothing */
};

struct sl_conn {
	struct sl_store *s;
	const struct sl_conn_ops *ops;
	const char *role; /* application_name */
	enum sl_conn_state state;
	PGconn *pg;
	uv_poll_t *poll;
	int poll_fd; /* what poll watches: a duplicate, ours to close */
	int events;
	unsigned queries, syncs; /* sent, results not seen yet */
	bool broken;             /* noticed while sending; handled in the next turn */
	uint64_t deadline_ms;    /* monotonic, 0 none: lost when it passes */
	uint64_t opened_ms;
};

void sl_conn_open(struct sl_conn *c);  /* failures come as lost() */
void sl_conn_close(struct sl_conn *c); /* no callback */
void sl_conn_tick(struct sl_conn *c, uint64_t now);
bool sl_conn_prepare(struct sl_conn *c, const char *name, const char *sql);
bool sl_conn_query(struct sl_conn *c, const char *sql, int n, const char *const *values, const int *lengths,
		   const int *formats);
bool sl_conn_execute(struct sl_conn *c, const char *name, int n, const char *const *values, const int *lengths,
		     const int *formats);
bool sl_conn_sync(struct sl_conn *c); /* Sync and flush */
void sl_conn_drop(struct sl_conn *c); /* lost() follows in the next turn */
bool sl_conn_send_session(struct sl_conn *c, uint32_t statement_timeout_ms, bool planner_by_index);

/* ---- one query for the pool (pool.c) ---- */

#define SL_JOB_STATEMENTS 4
#define SL_JOB_PARAMS     16

enum sl_job_kind {
	SL_JOB_READ,       /* sent again when the connection breaks */
	SL_JOB_IDEMPOTENT, /* likewise: twice is as good as once */
	SL_JOB_WRITE,      /* sent once: a broken connection leaves it SL_UNAVAILABLE */
};

struct sl_job;
typedef void sl_job_fn(struct sl_job *j, enum sl_code rc); /* the statements' results are in j->results when SL_OK */

struct sl_job {
	struct sl_post post;
	struct sl_list link;
	struct sl_store *s;
	enum sl_job_kind kind;
	sl_job_fn *finish; /* then sl_job_free() by itself */
	void (*fn)(void);  /* the caller's, cast back in finish */
	void *arg;
	uint64_t number; /* free for finish */
	struct sl_run_id run;
	struct {
		const char *sql; /* constant, or in `text` */
		int n;
		char *values[SL_JOB_PARAMS];
		int lengths[SL_JOB_PARAMS], formats[SL_JOB_PARAMS];
	} st[SL_JOB_STATEMENTS];
	int n_st, got;
	PGresult *results[SL_JOB_STATEMENTS];
	bool failed;
	bool no_memory; /* noticed while parameters were added; submit says so */
	bool sent;
	bool internal;         /* taken while the store is closing, too */
	bool first;            /* of the store itself, one of a kind at a time: goes before others, finds room always */
	bool shared;           /* a read of one statement that many make at once: made once for all who ask the same */
	size_t bytes;          /* of memory it holds; all of them once it is submitted */
	size_t taken_upto;     /* refused while others hold so much; an audit line has a reserve */
	struct sl_list asking; /* of a shared one: in jobs_asking while it waits for a connection or has one */
	struct sl_list sharing; /* jobs that end with its results, by link */
	struct sl_list held;    /* jobs that came too late for that; the next read is for all of them */
	char sqlstate[6];
	uint64_t deadline_ms, wait_until_ms;
	struct sl_buf text;
};

/* The one query every submission makes: prepared on each connection of the pool, because planning it costs more than
 * running it. */
extern const char sl_sql_workflow_get[];

/* [any] NULL: no memory. Results are binary. */
struct sl_job *sl_job_new(struct sl_store *s, enum sl_job_kind kind, const char *sql, sl_job_fn *finish);
void sl_job_statement(struct sl_job *j, const char *sql); /* a further one, in the same transaction */
void sl_job_str(struct sl_job *j, struct sl_str v);
void sl_job_str_or_null(struct sl_job *j, struct sl_str v); /* empty: NULL */
void sl_job_i64(struct sl_job *j, int64_t v);
void sl_job_uuid(struct sl_job *j, struct sl_uuid id);
void sl_job_ms(struct sl_job *j, int64_t wall_ms);      /* for to_timestamp($n / 1000.0) or a comparison; 0: NULL */
void sl_job_json(struct sl_job *j, struct sl_bytes *b); /* as text; NULL: NULL */
void sl_job_bytea(struct sl_job *j, const void *p, size_t len); /* p NULL: NULL */
struct sl_audit_by;
/* A further statement: "WHAT instance" to all who listen, when what stands before it is committed; nothing where nobody
 * can. */
void sl_job_notify(struct sl_job *j, const char *what);
void sl_job_news(struct sl_job *j, enum sl_store_news news);       /* the same, and on_news() at the others */
void sl_job_audit(struct sl_job *j, const struct sl_audit_by *by); /* a further statement: the line of the trail */
/* Takes away what has this name, in one statement with its line of the trail; without a row it ends as SL_NOT_FOUND.
 * NULL: no memory. */
#define SL_SQL_DELETE_NAMED(table)                                                                                     \
	"WITH gone AS (DELETE FROM " table " WHERE name = $1 RETURNING name) "                                         \
	"INSERT INTO audit (actor, action, target) SELECT $2::text, $3::text, name FROM gone RETURNING 1"
struct sl_job *sl_job_delete_named(struct sl_store *s, const char *sql, const struct sl_audit_by *by,
				   struct sl_str name);
/* Takes j. SL_BUSY, or SL_UNAVAILABLE while PostgreSQL is away: SL_LIMIT_QUERY_QUEUE_BYTES wait already. */
SL_MUST_USE enum sl_code sl_job_submit(struct sl_job *j, void (*fn)(void), void *arg);
void sl_job_free(struct sl_job *j);

/* Ways to finish: for a sl_store_fn (which may be NULL); the same, SL_NOT_FOUND without a row; for a sl_store_json_fn.
 */
void sl_job_end_plain(struct sl_job *j, enum sl_code rc);
void sl_job_end_found(struct sl_job *j, enum sl_code rc);
void sl_job_end_json(struct sl_job *j, enum sl_code rc, struct sl_buf *b);

void sl_query_pool_init(struct sl_store *s);
void sl_query_pool_fini(struct sl_store *s);
void sl_query_pool_tick(struct sl_store *s, uint64_t now);
void sl_query_pool_stop(struct sl_store *s); /* ends all jobs with SL_CANCELLED, closes all connections */

/* ---- binary results (rows.c) ---- */
bool sl_row_null(const PGresult *r, int row, int col);
int32_t sl_row_i32(const PGresult *r, int row, int col);
int64_t sl_row_i64(const PGresult *r, int row, int col);
bool sl_row_bool(const PGresult *r, int row, int col);
int64_t sl_row_ms(const PGresult *r, int row, int col); /* timestamptz as wall ms; NULL gives 0 */
struct sl_str sl_row_str(const PGresult *r, int row, int col);
struct sl_uuid sl_row_uuid(const PGresult *r, int row, int col);
struct sl_bytes *sl_row_bytes(const PGresult *r, int row, int col); /* a copy; NULL gives NULL */
void sl_row_json_str(struct sl_buf *b, const char *key, const PGresult *r, int row, int col); /* NULL gives null */
void sl_put_i32(char *p, int32_t v);                                                          /* big-endian */
void sl_put_i64(char *p, int64_t v);
int64_t sl_pg_time(int64_t wall_ms); /* the number a binary timestamptz holds */

/* Cursors are opaque to clients: a short text in hex. false: not one of ours. */
bool sl_cursor_read(struct sl_str cursor, char *out, size_t out_bytes);
/* Ends the job of a list with a page of it: { items, next_cursor }. It asked for one row more than job.number: when
 * that is there, `key` writes the text of the cursor from the last row shown. `item` writes what is between its braces.
 */
typedef void sl_row_writer(struct sl_buf *b, const PGresult *r, int row);
void sl_job_end_page(struct sl_job *j, enum sl_code rc, sl_row_writer *item, sl_row_writer *key);
void sl_row_uuid_text(struct sl_buf *b, const PGresult *r, int row); /* a `key`: the UUID of the first column */

/* ---- journal (journal.c), lease (lease.c) ---- */
enum sl_code sl_lanes_new(struct sl_store *s);
void sl_lanes_start(struct sl_store *s);
void sl_lanes_tick(struct sl_store *s, uint64_t now);
bool sl_lanes_quiet(struct sl_store *s); /* nothing queued or in flight */
void sl_lanes_stop(struct sl_store *s);  /* ends what is left with SL_CANCELLED, closes */
void sl_lanes_free(struct sl_store *s);

/* ---- telling each other (notify.c), orders to runs of others (orders.c) ---- */
void sl_notify_start(struct sl_store *s);
void sl_notify_tick(struct sl_store *s, uint64_t now);
void sl_notify_stop(struct sl_store *s); /* ends orders under way with SL_CANCELLED */
void sl_orders_take(struct sl_store *s); /* orders to runs of ours */
void sl_orders_read(struct sl_store *s); /* answers to ours */
void sl_orders_look(struct sl_store *s); /* both */
void sl_orders_tick(struct sl_store *s, uint64_t now);
void sl_orders_stop(struct sl_store *s);

/* How often the cache was cleared (cache.c): asked when we may have missed it. */
void sl_cache_look(struct sl_store *s);
void sl_cache_cleared(struct sl_store *s, int64_t times); /* told */
void sl_cache_tick(struct sl_store *s, uint64_t now);

void sl_lease_start(struct sl_store *s);
void sl_lease_tick(struct sl_store *s, uint64_t now);
/* Sends the instance's row and lock as part of a lane's setup. */
bool sl_lease_send_registration(struct sl_store *s, struct sl_conn *c);
void sl_lease_returned(struct sl_store *s, const PGresult *r); /* of the registration, and of a renewal */
enum sl_code sl_lease_release(struct sl_store *s, sl_job_fn *finish);

/* Dead is who let its lease run out, or whose lock is free on a PostgreSQL that was not restarted since it was taken.
 */
#define SL_SQL_INSTANCE_IS_DEAD                                                                                        \
	"(i.expires_at < now() OR (i.postmaster = pg_postmaster_start_time() AND pg_try_advisory_xact_lock(i.id)))"

struct sl_store {
	struct sl_loop *loop;
	struct sl_store_config config; /* url is ours */
	int64_t instance;
	uv_timer_t timer;
	uint64_t wake_ms; /* when the timer is due, UINT64_MAX: off */
	_Atomic bool closing;

	struct sl_lane *lanes;
	uint32_t n_lanes;

	struct sl_list jobs_waiting; /* of struct sl_job */
	struct sl_list jobs_asking;  /* the shared ones, by `asking` */
	struct sl_list pool;         /* of struct pooled, pool.c */
	uint32_t pool_open;
	uint64_t pool_retry_ms, pool_backoff_ms;

	uint64_t lease_due_ms, sweep_due_ms;
	bool lease_busy;
	int64_t claim_token; /* of the claim under way, or of one whose reply was lost; 0: none */
	size_t claim_max;    /* what that one asked for */
	bool claim_busy;
	struct sl_list claims; /* waiting for their turn: claim.c */

	struct sl_conn listener;
	uint64_t listen_due_ms, listen_backoff_ms;
	bool listen_failed;
	struct sl_list asked; /* orders that wait for their answer: orders.c */
	bool orders_taking, orders_take_again, orders_reading, orders_read_again;

	_Atomic int64_t cache_cleared; /* how often, as far as we know; -1: not asked yet */
	uint64_t cache_look_ms;        /* when it is to be asked again, 0: it is known */

	pthread_mutex_t health_lock;
	pthread_cond_t health_changed;
	struct sl_store_health health; /* [lock health_lock] */
	uint64_t failing_since_ms;     /* monotonic, 0: not */
	_Atomic uint64_t unavailable_ms;

	_Atomic size_t jobs_bytes; /* of all jobs that were submitted and have not ended */
	_Atomic uint64_t batches, records, commits, stale, conflicts, resolved, retried, queued, queued_bytes, queries,
		query_failures, reconnects;
	_Atomic uint32_t connections, connections_busy, pool_waiting;

	/* giving back, then closing */
	struct sl_post give_post;
	uint32_t give_wait_ms;  /* goes with give_post */
	uint64_t give_until_ms; /* [store] 0: not under way */
	bool gave;              /* [lock health_lock] */
	struct sl_post close_post;
	uint64_t drain_until_ms;
	int close_step;
	pthread_cond_t closed;
	bool is_closed; /* [lock health_lock] */
};

void sl_store_wake_at(struct sl_store *s, uint64_t mono_ms); /* sl_store's tick runs then, or earlier */
void sl_store_set_health(struct sl_store *s, enum sl_store_state state, const char *reason);
void sl_store_set_schema(struct sl_store *s, uint32_t version);
