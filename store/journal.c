/* store/journal.c: lanes. A lane is a queue of batches, one connection, and the group that is on its way.
 *
 *     queued → [group: sent → committed | failed | unknown] → done()
 *
 * A run belongs to one lane, so its batches stay in order. While a group is on its way the next one gathers: the commit
 * is the batching window. When the connection breaks, the group is kept and sent again as it was; the condition in the
 * statement (journal_sql.c) refuses what is written already, and `why` then tells a repeat from a stale lease.
 */
#include "store/journal_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "store/migrate.h"

#define GROUP_BATCHES  4096
#define GROUP_BYTES    (8u << 20)
#define GROUP_RECORDS  20000
#define BATCH_OVERHEAD 256 /* what a batch costs beside its payloads, for the caps */
#define BACKOFF_LEAST  50
#define BACKOFF_MOST   1000
#define TIMEOUT_MS     30000

enum phase { IDLE, SENT, WHY };

struct sl_lane {
	struct sl_store *s;
	struct sl_conn conn;
	struct sl_mpsc arriving;
	struct sl_post wake;
	struct sl_item *q; /* a ring: q_head … q_head + q_n */
	size_t q_cap, q_head, q_n;
	struct sl_group group;
	struct sl_arrays arrays;
	struct sl_known known;
	enum phase phase;
	bool failed; /* the group, or the setup */
	char sqlstate[6], message[120];
	int setup_results;
	uint64_t retry_ms, backoff_ms;
};

static void pump(struct sl_lane *l);

static struct sl_lane *lane_of(struct sl_conn *c)
{
	return SL_CONTAINER_OF(c, struct sl_lane, conn);
}

/* ---- the queue ---- */

static struct sl_item *queued(struct sl_lane *l, size_t i)
{
	return &l->q[(l->q_head + i) & (l->q_cap - 1)];
}

static bool queue_room(struct sl_lane *l, size_t more)
{
	size_t cap = l->q_cap ? l->q_cap : 64;
	while (cap < l->q_n + more)
		cap *= 2;
	if (cap == l->q_cap)
		return true;
	struct sl_item *q = calloc(cap, sizeof(*q));
	if (!q)
		return false;
	for (size_t i = 0; i < l->q_n; i++)
		q[i] = *queued(l, i);
	free(l->q);
	l->q = q;
	l->q_cap = cap;
	l->q_head = 0;
	return true;
}

static void finish(struct sl_lane *l, struct sl_batch *b, enum sl_code outcome)
{
	struct sl_store *s = l->s;
	atomic_fetch_sub(&s->queued, 1);
	atomic_fetch_sub(&s->queued_bytes, b->bytes + BATCH_OVERHEAD);
	if (outcome == SL_OK) {
		atomic_fetch_add_explicit(&s->batches, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&s->records, b->n_records, memory_order_relaxed);
	} else if (outcome == SL_STALE_EPOCH)
		atomic_fetch_add(&s->stale, 1);
	else if (outcome == SL_CONFLICT)
		atomic_fetch_add(&s->conflicts, 1);
	sl_cuts_free(SL_TAKE(b->cuts));
	b->done(b, outcome); /* frees it */
}

static void take_arriving(struct sl_lane *l)
{
	struct sl_link *it = sl_mpsc_take(&l->arriving);
	while (it) {
		struct sl_batch *b = SL_CONTAINER_OF(it, struct sl_batch, link);
		it = it->next;
		/* A queue that cannot grow would lose what was promised to be written. */
		SL_BUG_ON(!queue_room(l, 1));
		*queued(l, l->q_n++) = (struct sl_item){.b = b};
	}
}

static void on_wake(struct sl_post *p)
{
	struct sl_lane *l = SL_CONTAINER_OF(p, struct sl_lane, wake);
	take_arriving(l);
	pump(l);
}

/* Ids are made from a clock and random bits; the last bytes are the random ones. */
static struct sl_lane *lane_for(struct sl_store *s, struct sl_run_id run)
{
	return &s->lanes[(run.u.b[15] ^ run.u.b[13]) % s->n_lanes];
}

enum sl_code sl_store_append(struct sl_store *s, struct sl_batch *b)
{
	enum sl_code rc = SL_OK;
	if (atomic_load_explicit(&s->closing, memory_order_relaxed))
		rc = SL_CANCELLED;
	else if (b->create &&
		 atomic_load_explicit(&s->queued_bytes, memory_order_relaxed) >= SL_LIMIT_CREATED_QUEUE_BYTES)
		rc = SL_BUSY;
	else
		rc = sl_cuts_make(b,
				  &b->cuts); /* here, because the caller is one of many and the store's thread is not */
	if (rc != SL_OK) {
		sl_batch_free(b);
		return rc;
	}
	atomic_fetch_add(&s->queued, 1);
	atomic_fetch_add(&s->queued_bytes, b->bytes + BATCH_OVERHEAD);
	struct sl_lane *l = lane_for(s, b->run);
	if (sl_mpsc_push(&l->arriving, &b->link))
		sl_loop_post(s->loop, &l->wake);
	return SL_OK;
}

/* ---- gathering a group ---- */

struct pick {
	struct sl_item item;
	size_t order;
};

static int by_run_then_order(const void *pa, const void *pb)
{
	const struct pick *a = pa, *b = pb;
	int d = memcmp(a->item.b->run.u.b, b->item.b->run.u.b, 16);
	return d ? d : a->order < b->order ? -1 : a->order > b->order;
}

static void describe(struct sl_entry *e, const struct sl_item *item, size_t at)
{
	const struct sl_batch *b = item->b;
	*e = (struct sl_entry){.run = b->run,
			       .epoch = b->epoch,
			       .first = at,
			       .n = 1,
			       .create = b->create,
			       .prev = -1,
			       .maybe = item->maybe};
	if (b->n_records) {
		e->prev = (int32_t)b->records[0].seq - 1;
		e->last = (int32_t)b->records[b->n_records - 1].seq;
	}
}

/* Whether b continues the entry: the same lease, the next record. Else it waits for the next group. */
static bool joins(struct sl_entry *e, const struct sl_item *item)
{
	const struct sl_batch *b = item->b;
	if (!sl_run_id_eq(e->run, b->run) || e->epoch != b->epoch || b->create)
		return false;
	if (b->n_records) {
		int32_t prev = (int32_t)b->records[0].seq - 1;
		if ((e->create || e->prev >= 0) && prev != e->last)
			return false;
		if (!e->create && e->prev < 0)
			e->prev = prev;
		e->last = (int32_t)b->records[b->n_records - 1].seq;
	}
	e->maybe |= item->maybe;
	e->n++;
	return true;
}

static bool group_room(struct sl_group *g, size_t n)
{
	if (n <= g->cap)
		return true;
	struct sl_item *items = realloc(g->items, n * sizeof(*items));
	if (items)
		g->items = items;
	struct sl_entry *entries = realloc(g->entries, n * sizeof(*entries));
	if (entries)
		g->entries = entries;
	if (!items || !entries)
		return false;
	g->cap = n;
	return true;
}

/* Moves what may go together from the queue into the group. false: no memory now. */
static bool gather(struct sl_lane *l)
{
	struct sl_group *g = &l->group;
	size_t n = 0, bytes = 0, records = 0, kept = 0;
	while (n < l->q_n && n < GROUP_BATCHES) {
		struct sl_item *it = queued(l, n);
		bytes += it->b->bytes;
		records += it->b->n_records;
		if (n && (it->solo || bytes > GROUP_BYTES || records > GROUP_RECORDS))
			break;
		n++;
		if (it->solo)
			break;
	}
	struct pick *picks = malloc((n ? n : 1) * sizeof(*picks));
	if (!picks || !group_room(g, n)) {
		free(picks);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		picks[i] = (struct pick){*queued(l, i), i};
	if (n > 1)
		qsort(picks, n, sizeof(*picks), by_run_then_order);
	g->n_items = g->n_entries = g->n_creates = 0;
	for (size_t i = 0; i < n; i++) {
		struct sl_entry *last = g->n_entries ? &g->entries[g->n_entries - 1] : NULL;
		bool same_run = last && sl_run_id_eq(last->run, picks[i].item.b->run);
		bool after_kept = kept && sl_run_id_eq(picks[kept - 1].item.b->run, picks[i].item.b->run);
		if (same_run && (after_kept || !joins(last, &picks[i].item))) {
			picks[kept++] = picks[i]; /* the head of the array is free by now */
			continue;
		}
		g->items[g->n_items] = picks[i].item;
		if (!same_run) {
			describe(&g->entries[g->n_entries], &picks[i].item, g->n_items);
			g->n_creates += g->entries[g->n_entries++].create;
		}
		g->n_items++;
	}
	l->q_head = (l->q_head + n) & (l->q_cap - 1);
	l->q_n -= n;
	/* What must wait goes back to the front; per run the order holds. */
	for (size_t i = kept; i-- > 0;) {
		l->q_head = (l->q_head - 1) & (l->q_cap - 1);
		l->q_n++;
		*queued(l, 0) = picks[i].item;
	}
	free(picks);
	return true;
}

/* ---- sending ---- */

static void back_off(struct sl_lane *l)
{
	l->backoff_ms = l->backoff_ms ? l->backoff_ms * 2 : BACKOFF_LEAST;
	if (l->backoff_ms > BACKOFF_MOST)
		l->backoff_ms = BACKOFF_MOST;
	l->retry_ms = sl_clock_mono_ms() + l->backoff_ms;
	sl_store_wake_at(l->s, l->retry_ms);
}

static void watch_answer(struct sl_lane *l)
{
	l->conn.deadline_ms = sl_clock_mono_ms() + SL_STORE_LANE_ANSWER_MS;
	sl_store_wake_at(l->s, l->conn.deadline_ms);
}

static void pump(struct sl_lane *l)
{
	if (l->conn.state != SL_CONN_READY || l->phase != IDLE || l->conn.broken)
		return;
	if (l->retry_ms && sl_clock_mono_ms() < l->retry_ms)
		return;
	if (!l->group.n_items) {
		if (!l->q_n)
			return;
		if (!gather(l)) {
			back_off(l);
			return;
		}
	}
	if (SL_POINT("journal.before_send")) {
		sl_conn_drop(&l->conn);
		return;
	}
	l->phase = SENT;
	l->failed = false;
	l->sqlstate[0] = 0;
	watch_answer(l);
	if (!sl_group_send(&l->conn, &l->group, &l->arrays, &l->known))
		sl_conn_drop(&l->conn);
	else if (SL_POINT("journal.sent"))
		sl_conn_drop(&l->conn); /* as if the reply were lost */
}

/* ---- what comes back ---- */

static struct sl_entry *entry_of(struct sl_group *g, struct sl_uuid id)
{
	size_t low = 0, high = g->n_entries;
	while (low < high) {
		size_t mid = (low + high) / 2;
		int d = memcmp(g->entries[mid].run.u.b, id.b, 16);
		if (d == 0)
			return &g->entries[mid];
		if (d < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static void note_error(struct sl_lane *l, const PGresult *r)
{
	const char *code = PQresultErrorField(r, PG_DIAG_SQLSTATE),
		   *text = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	if (l->failed)
		return;
	l->failed = true;
	snprintf(l->sqlstate, sizeof(l->sqlstate), "%s", code ? code : "XX000");
	snprintf(l->message, sizeof(l->message), "%s", text ? text : PQresultErrorMessage(r));
}

/* Written already, when it may have been sent before: the run stands where this entry left it, or the entry's last
 * record carries our epoch (and somebody went on from there). */
static bool found_written(const struct sl_entry *e, const PGresult *r, int row)
{
	if (!e->maybe || sl_row_null(r, row, 0))
		return false;
	bool same_epoch = sl_row_i32(r, row, 0) == (int32_t)e->epoch;
	if (e->create && e->last == 0)
		return same_epoch;
	return (same_epoch && sl_row_i32(r, row, 1) >= e->last) ||
	       (!sl_row_null(r, row, 2) && sl_row_i32(r, row, 2) == (int32_t)e->epoch);
}

static void judge(struct sl_lane *l, struct sl_entry *e, const PGresult *r, int row)
{
	struct sl_batch *b = l->group.items[e->first].b;
	bool there = !sl_row_null(r, row, 0);
	if (found_written(e, r, row)) {
		e->verdict = SL_OK;
		atomic_fetch_add(&l->s->resolved, e->n);
	} else if (e->create && !sl_row_null(r, row, 3) && !sl_uuid_eq(sl_row_uuid(r, row, 3), e->run.u)) {
		struct sl_bytes *mine = b->create->idempotency_digest;
		b->existing.u = sl_row_uuid(r, row, 3);
		b->same_request = !sl_row_null(r, row, 4) && sl_str_eq(sl_row_str(r, row, 4), sl_bytes_str(mine));
		e->verdict = SL_CONFLICT;
		if (e->maybe) /* and would have been, had the reply come */
			atomic_fetch_add(&l->s->resolved, e->n);
	} else if (e->create)
		e->verdict = there ? SL_CONFLICT : SL_UNAVAILABLE; /* the key was freed this moment: once more */
	else
		e->verdict = there && sl_row_i32(r, row, 0) == (int32_t)e->epoch ? SL_CONFLICT : SL_STALE_EPOCH;
}

/* Keeps the entries that `stay` in the group and ends the others with their verdict. */
static void settle(struct sl_lane *l)
{
	struct sl_group *g = &l->group;
	size_t items = 0, entries = 0;
	g->n_creates = 0;
	for (size_t i = 0; i < g->n_entries; i++) {
		struct sl_entry e = g->entries[i];
		bool stays = !e.accepted && e.verdict == SL_UNAVAILABLE;
		size_t first = items;
		for (size_t k = e.first; k < e.first + e.n; k++) {
			if (stays)
				g->items[items++] = g->items[k];
			else
				finish(l, g->items[k].b, e.accepted ? SL_OK : e.verdict);
		}
		if (stays) {
			e.first = first;
			g->entries[entries++] = e;
			g->n_creates += e.create;
		}
	}
	g->n_items = items;
	g->n_entries = entries;
}

static bool class_is(const char *state, const char *class)
{
	return strncmp(state, class, 2) == 0;
}

static void group_failed(struct sl_lane *l)
{
	struct sl_group *g = &l->group;
	bool content = class_is(l->sqlstate, "22") || class_is(l->sqlstate, "23") || class_is(l->sqlstate, "54");
	atomic_fetch_add(&l->s->retried, 1);
	if (content && g->n_items == 1) {
		enum sl_code rc = strcmp(l->sqlstate, "23505") == 0 ? SL_CONFLICT : SL_INVALID;
		if (rc == SL_INVALID)
			sl_log(SL_LOG_ERROR, "store", "PostgreSQL refuses a journal record for good",
			       SL_KS("error", l->message), SL_KS("sqlstate", l->sqlstate));
		g->n_items = g->n_entries = 0;
		finish(l, g->items[0].b, rc);
		return;
	}
	if (content) {
		SL_BUG_ON(!queue_room(l, g->n_items));
		for (size_t i = g->n_items; i-- > 0;) {
			l->q_head = (l->q_head - 1) & (l->q_cap - 1);
			l->q_n++;
			*queued(l, 0) = g->items[i];
			queued(l, 0)->solo = true;
		}
		g->n_items = g->n_entries = 0;
		return;
	}
	/* PostgreSQL cannot, for now: read-only, out of space, shutting down, a deadlock, a missing table. */
	bool read_only = strcmp(l->sqlstate, "25006") == 0, schema = class_is(l->sqlstate, "42");
	if (!class_is(l->sqlstate, "40"))
		sl_store_set_health(l->s,
				    read_only ? SL_STORE_READ_ONLY
				    : schema  ? SL_STORE_SCHEMA
					      : SL_STORE_FAILING,
				    l->message);
	back_off(l);
}

static bool all_ready(struct sl_store *s)
{
	bool all = true;
	for (uint32_t i = 0; i < s->n_lanes; i++)
		all &= s->lanes[i].conn.state == SL_CONN_READY;
	return all;
}

static void setup_done(struct sl_lane *l)
{
	struct sl_store *s = l->s;
	const char *standby = PQparameterStatus(l->conn.pg, "in_hot_standby");
	const char *read_only = PQparameterStatus(l->conn.pg, "default_transaction_read_only");
	if (l->failed) {
		bool schema = strcmp(l->sqlstate, "42P01") == 0 || strcmp(l->sqlstate, "42703") == 0;
		bool ro = strcmp(l->sqlstate, "25006") == 0 || (standby && standby[0] == 'o' && standby[1] == 'n') ||
			  (read_only && read_only[0] == 'o' && read_only[1] == 'n');
		sl_store_set_health(s,
				    ro       ? SL_STORE_READ_ONLY
				    : schema ? SL_STORE_SCHEMA
					     : SL_STORE_FAILING,
				    l->message);
		sl_conn_drop(&l->conn);
		return;
	}
	l->conn.state = SL_CONN_READY;
	l->backoff_ms = l->retry_ms = 0;
	if (all_ready(s))
		sl_store_set_health(s, SL_STORE_OK, "");
}

static bool lane_setup(struct sl_conn *c)
{
	struct sl_lane *l = lane_of(c);
	l->failed = false;
	l->sqlstate[0] = 0;
	l->setup_results = 0;
	/* The schema's version comes third and the registration fourth (setup_result counts): a missing table behind it
	 * is then no surprise. */
	return sl_conn_send_session(c, TIMEOUT_MS, true) &&
	       sl_conn_query(c, "SELECT coalesce(max(version), 0) FROM schema_migrations", 0, NULL, NULL, NULL) &&
	       sl_lease_send_registration(l->s, c) && sl_group_prepare(c);
}

static void setup_result(struct sl_lane *l, const PGresult *r)
{
	if (PQresultStatus(r) == PGRES_FATAL_ERROR)
		note_error(l, r);
	if (++l->setup_results == 4 && PQresultStatus(r) == PGRES_TUPLES_OK)
		sl_lease_returned(l->s, r);
	if (l->setup_results != 3 || PQresultStatus(r) != PGRES_TUPLES_OK)
		return;
	uint32_t version = (uint32_t)sl_row_i32(r, 0, 0), wanted = sl_migrate_wanted();
	sl_store_set_schema(l->s, version);
	if (version != wanted && !l->failed) {
		l->failed = true;
		snprintf(l->sqlstate, sizeof(l->sqlstate), "42P01");
		snprintf(l->message, sizeof(l->message), "the schema is at version %u, this binary needs %u%s", version,
			 wanted, version < wanted ? ": run `sluice migrate`" : ": start the newer binary");
	}
}

static bool lane_result(struct sl_conn *c, PGresult *r)
{
	struct sl_lane *l = lane_of(c);
	struct sl_group *g = &l->group;
	if (c->state == SL_CONN_SETUP) {
		setup_result(l, r);
		return false;
	}
	switch (PQresultStatus(r)) {
	case PGRES_TUPLES_OK:
		for (int row = 0; l->phase == SENT && row < PQntuples(r); row++) {
			struct sl_entry *e = entry_of(g, sl_row_uuid(r, row, 0));
			if (e)
				e->accepted = true;
		}
		for (int row = 0; l->phase == WHY && row < PQntuples(r) && (size_t)row < g->n_entries; row++)
			judge(l, &g->entries[row], r, row);
		break;
	case PGRES_FATAL_ERROR:
		note_error(l, r);
		break;
	default:
		break;
	}
	return false;
}

static void committed(struct sl_lane *l)
{
	struct sl_group *g = &l->group;
	size_t refused = 0;
	if (SL_POINT("journal.committed")) {
		for (size_t i = 0; i < g->n_entries; i++)
			g->entries[i].accepted = false; /* as if we had died here */
		l->phase = SENT;
		sl_conn_drop(&l->conn);
		return;
	}
	atomic_fetch_add_explicit(&l->s->commits, 1, memory_order_relaxed);
	if (l->s->health.state != SL_STORE_OK && all_ready(l->s)) /* the state is written by this thread only */
		sl_store_set_health(l->s, SL_STORE_OK, "");
	l->backoff_ms = l->retry_ms = 0;
	sl_known_committed(&l->known, g);
	for (size_t i = 0; i < g->n_entries; i++) {
		g->entries[i].verdict = SL_UNAVAILABLE; /* not known yet: stays */
		refused += !g->entries[i].accepted;
	}
	settle(l);
	if (!refused)
		return;
	l->phase = WHY;
	l->failed = false;
	watch_answer(l);
	if (!sl_group_send_why(&l->conn, g, &l->arrays))
		sl_conn_drop(&l->conn);
}

static void lane_sync(struct sl_conn *c)
{
	struct sl_lane *l = lane_of(c);
	enum phase was = l->phase;
	if (c->state == SL_CONN_SETUP) {
		setup_done(l);
		pump(l);
		return;
	}
	if (c->broken)
		return; /* lost() follows; the group stays as it is */
	l->phase = IDLE;
	if (l->failed) {
		for (size_t i = 0; i < l->group.n_entries; i++)
			l->group.entries[i].accepted = false;
		group_failed(l);
	} else if (was == SENT)
		committed(l);
	else if (was == WHY)
		settle(l); /* SL_UNAVAILABLE stays and is sent again */
	pump(l);
}

static void lane_lost(struct sl_conn *c, const char *why)
{
	struct sl_lane *l = lane_of(c);
	if (l->phase == SENT) { /* the outcome is not known */
		for (size_t i = 0; i < l->group.n_items; i++)
			l->group.items[i].maybe = true;
		for (size_t i = 0; i < l->group.n_entries; i++)
			l->group.entries[i].maybe = true;
		atomic_fetch_add(&l->s->retried, 1);
	}
	for (size_t i = 0; i < l->group.n_entries; i++)
		l->group.entries[i].accepted = false;
	l->phase = IDLE;
	if (l->s->health.state == SL_STORE_OK || l->s->health.state == SL_STORE_CONNECTING)
		sl_store_set_health(l->s, SL_STORE_FAILING, why);
	back_off(l);
}

static const struct sl_conn_ops lane_ops = {lane_setup, lane_result, lane_sync, lane_lost};

/* ---- life ---- */

enum sl_code sl_lanes_new(struct sl_store *s)
{
	uint32_t n = s->config.journal_connections;
	s->n_lanes = n < 1 ? 1 : n > SL_STORE_MAX_LANES ? SL_STORE_MAX_LANES : n;
	s->lanes = calloc(s->n_lanes, sizeof(*s->lanes));
	if (!s->lanes) {
		s->n_lanes = 0;
		return SL_NO_MEMORY;
	}
	for (uint32_t i = 0; i < s->n_lanes; i++) {
		struct sl_lane *l = &s->lanes[i];
		l->s = s;
		l->conn = (struct sl_conn){.s = s, .ops = &lane_ops, .role = "sluice journal"};
		l->wake.run = on_wake;
		sl_mpsc_init(&l->arriving);
		sl_arrays_init(&l->arrays);
	}
	return SL_OK;
}

void sl_lanes_start(struct sl_store *s)
{
	for (uint32_t i = 0; i < s->n_lanes; i++)
		sl_conn_open(&s->lanes[i].conn);
}

void sl_lanes_tick(struct sl_store *s, uint64_t now)
{
	for (uint32_t i = 0; i < s->n_lanes; i++) {
		struct sl_lane *l = &s->lanes[i];
		sl_conn_tick(&l->conn, now);
		if (l->conn.state == SL_CONN_CLOSED && now >= l->retry_ms) {
			atomic_fetch_add(&s->reconnects, 1);
			sl_conn_open(&l->conn);
		} else if (l->retry_ms && now < l->retry_ms)
			sl_store_wake_at(s, l->retry_ms);
		else
			pump(l);
	}
}

bool sl_lanes_quiet(struct sl_store *s)
{
	return atomic_load(&s->queued) == 0;
}

void sl_lanes_stop(struct sl_store *s)
{
	for (uint32_t i = 0; i < s->n_lanes; i++) {
		struct sl_lane *l = &s->lanes[i];
		sl_conn_close(&l->conn);
		l->phase = IDLE;
		take_arriving(l);
		for (size_t k = 0; k < l->group.n_items; k++)
			finish(l, l->group.items[k].b, SL_CANCELLED);
		l->group.n_items = l->group.n_entries = 0;
		for (; l->q_n; l->q_n--) {
			struct sl_batch *b = queued(l, 0)->b;
			l->q_head = (l->q_head + 1) & (l->q_cap - 1);
			finish(l, b, SL_CANCELLED);
		}
	}
}

void sl_lanes_free(struct sl_store *s)
{
	for (uint32_t i = 0; i < s->n_lanes; i++) {
		free(s->lanes[i].q);
		free(s->lanes[i].group.items);
		free(s->lanes[i].group.entries);
		sl_arrays_fini(&s->lanes[i].arrays);
		sl_known_fini(&s->lanes[i].known);
	}
	free(s->lanes);
}

enum sl_code sl_store_port_append(void *store, struct sl_batch *b)
{
	return sl_store_append(store, b);
}
