/* store/journal_sql.c: the statements of the journal, and the arrays they take.
 *
 * One statement writes a whole group: it moves the rows of `runs` whose epoch and last_seq are what the batches expect,
 * and inserts the records of exactly these. That condition is the fence against former owners, against gaps, and
 * against writing a batch twice when the reply of its COMMIT was lost.
 */
#include "store/journal_priv.h"

#include <string.h>

enum {
	OID_BOOL = 16,
	OID_BYTEA = 17,
	OID_INT8 = 20,
	OID_INT4 = 23,
	OID_TEXT = 25,
	OID_TIMESTAMPTZ = 1184,
	OID_UUID = 2950
};

/* The arrays in the order of the statements' parameters. */
enum {
	E_ID,
	E_EPOCH,
	E_PREV,
	E_LAST,
	P_HAS,
	P_STATUS,
	P_REASON,
	P_STARTED,
	P_FINISHED,
	P_TOTAL,
	P_DONE_NODES,
	P_IN,
	P_OUT,
	P_COST,
	P_OUTPUTS,
	P_ERROR,
	P_SIMULATED,
	P_DONE,
	R_RUN,
	R_AT,
	R_SEQ,
	R_EPOCH,
	R_EVENT,
	R_ONCE,
	R_DATA,
	R_DETAIL,
	APPEND_ARRAYS,
	H_WORKFLOW = APPEND_ARRAYS,
	H_VERSION,
	H_PROJECT,
	H_PRIORITY,
	H_TAGS,
	H_CREATED_BY,
	H_CREATED,
	H_KEY,
	H_DIGEST,
	CREATE_ARRAYS,
	CREATE_OWNER = CREATE_ARRAYS, /* a parameter, but no array */
	C_RUN,
	C_HASH,
	C_DATA,
	ALL_ARRAYS,
};

/* Arrays side by side become rows in the list of what is selected, not in FROM: there PostgreSQL would first write each
 * array into a table of its own. */
#define ENTRIES                                                                                                        \
	"u AS (SELECT unnest($1::uuid[]) AS id, unnest($2::int4[]) AS epoch, unnest($3::int4[]) AS prev, "             \
	"unnest($4::int4[]) AS last, unnest($5::bool[]) AS p, unnest($6::text[]) AS status, "                          \
	"unnest($7::text[]) AS reason, unnest($8::timestamptz[]) AS started_at, "                                      \
	"unnest($9::timestamptz[]) AS finished_at, unnest($10::int4[]) AS nodes_total, "                               \
	"unnest($11::int4[]) AS nodes_done, unnest($12::int8[]) AS input_tokens, "                                     \
	"unnest($13::int8[]) AS output_tokens, unnest($14::int8[]) AS cost_microusd, "                                 \
	"unnest($15::text[]) AS outputs, unnest($16::text[]) AS error, unnest($17::bool[]) AS simulated, "             \
	"unnest($18::bool[]) AS done"
/* IS TRUE keeps the planner from turning the IN into a join, which without statistics would be a nested loop. */
#define INSERT_RECORDS                                                                                                 \
	"ev AS (INSERT INTO run_events (run_id, at, seq, epoch, event, once, data, detail) SELECT * FROM (SELECT "     \
	"unnest($19::uuid[]) AS run_id, unnest($20::timestamptz[]) AS at, unnest($21::int4[]) AS seq, "                \
	"unnest($22::int4[]) AS epoch, unnest($23::text[]) AS event, unnest($24::text[]) AS once, "                    \
	"unnest($25::text[]) AS data, unnest($26::text[]) AS detail) AS e "                                            \
	"WHERE (e.run_id IN (SELECT id FROM ok)) IS TRUE) "
/* The pieces that the records name, under the same condition. Their parameters come last, so a group without any is the
 * statement without this part. */
#define INSERT_CHUNKS(runs, hashes, data)                                                                              \
	", ch AS (INSERT INTO run_chunks (run_id, hash, data) SELECT * FROM (SELECT unnest($" #runs "::uuid[]) AS "    \
	"run_id, unnest($" #hashes "::bytea[]) AS hash, unnest($" #data "::bytea[]) AS data) AS c "                    \
	"WHERE (c.run_id IN (SELECT id FROM ok)) IS TRUE ON CONFLICT DO NOTHING) "
#define ACCEPTED "SELECT id FROM ok"

#define APPEND                                                                                                         \
	"WITH " ENTRIES "), "                                                                                          \
	"ok AS (UPDATE runs r SET last_seq = CASE WHEN u.prev < 0 THEN r.last_seq ELSE u.last END, "                   \
	"status = CASE WHEN u.p THEN u.status ELSE r.status END, reason = CASE WHEN u.p THEN u.reason ELSE r.reason "  \
	"END, "                                                                                                        \
	"started_at = CASE WHEN u.p THEN u.started_at ELSE r.started_at END, "                                         \
	"finished_at = CASE WHEN u.p THEN u.finished_at ELSE r.finished_at END, "                                      \
	"nodes_total = CASE WHEN u.p THEN u.nodes_total ELSE r.nodes_total END, "                                      \
	"nodes_done = CASE WHEN u.p THEN u.nodes_done ELSE r.nodes_done END, "                                         \
	"recoveries = CASE WHEN u.p AND u.nodes_done > r.nodes_done THEN 0 ELSE r.recoveries END, "                    \
	"input_tokens = CASE WHEN u.p THEN u.input_tokens ELSE r.input_tokens END, "                                   \
	"output_tokens = CASE WHEN u.p THEN u.output_tokens ELSE r.output_tokens END, "                                \
	"cost_microusd = CASE WHEN u.p THEN u.cost_microusd ELSE r.cost_microusd END, "                                \
	"outputs = CASE WHEN u.p THEN u.outputs ELSE r.outputs END, error = CASE WHEN u.p THEN u.error ELSE r.error "  \
	"END, "                                                                                                        \
	"simulated = CASE WHEN u.p THEN u.simulated ELSE r.simulated END, done = CASE WHEN u.p THEN u.done ELSE "      \
	"r.done "                                                                                                      \
	"END, "                                                                                                        \
	"owner = CASE WHEN u.p AND u.done THEN NULL ELSE r.owner END "                                                 \
	"FROM u WHERE r.id = u.id AND r.epoch = u.epoch AND (u.prev < 0 OR r.last_seq = u.prev) RETURNING "            \
	"r.id), " INSERT_RECORDS

#define CREATE                                                                                                         \
	"WITH " ENTRIES                                                                                                \
	", unnest($27::text[]) AS workflow, unnest($28::int4[]) AS version, unnest($29::text[]) AS project, "          \
	"unnest($30::int4[]) AS priority, unnest($31::text[]) AS tags, unnest($32::text[]) AS created_by, "            \
	"unnest($33::timestamptz[]) AS created_at, unnest($34::text[]) AS key, unnest($35::bytea[]) AS digest), "      \
	"k AS (INSERT INTO idempotency_keys (project, key, run_id, digest) SELECT project, key, id, digest FROM u "    \
	"WHERE key IS NOT NULL ORDER BY project, key ON CONFLICT DO NOTHING RETURNING run_id), "                       \
	"ok AS (INSERT INTO runs (id, owner, epoch, last_seq, workflow, version, project, priority, tags, "            \
	"created_by, "                                                                                                 \
	"created_at, status, "                                                                                         \
	"reason, started_at, finished_at, nodes_total, nodes_done, input_tokens, output_tokens, cost_microusd, "       \
	"outputs, error, simulated, done) "                                                                            \
	"SELECT id, CASE WHEN p AND done THEN NULL ELSE $36::bigint END, epoch, last, workflow, version, project, "    \
	"priority, tags, created_by, "                                                                                 \
	"created_at, status, reason, started_at, finished_at, nodes_total, nodes_done, input_tokens, output_tokens, "  \
	"cost_microusd, outputs, "                                                                                     \
	"error, simulated, done FROM u WHERE key IS NULL OR (id IN (SELECT run_id FROM k)) IS TRUE "                   \
	"ON CONFLICT (id) DO NOTHING RETURNING id), " INSERT_RECORDS

static const char append_sql[] = APPEND ACCEPTED;
static const char append_chunks_sql[] = APPEND INSERT_CHUNKS(27, 28, 29) ACCEPTED;
static const char create_sql[] = CREATE ACCEPTED;
static const char create_chunks_sql[] = CREATE INSERT_CHUNKS(37, 38, 39) ACCEPTED;

/* Why an entry was refused: what the run is now, who wrote its last record, and who holds its key. */
static const char why_sql[] = "SELECT r.epoch, r.last_seq, e.epoch, k.run_id, k.digest FROM unnest($1::uuid[], "
			      "$2::int4[], $3::text[], $4::text[]) "
			      "WITH ORDINALITY AS u(id, last, project, key, n) LEFT JOIN runs r ON r.id = u.id "
			      "LEFT JOIN run_events e ON e.run_id = u.id AND e.seq = u.last "
			      "LEFT JOIN idempotency_keys k ON k.project = u.project AND k.key = u.key ORDER BY u.n";

static const uint32_t types[ALL_ARRAYS] = {
	[E_ID] = OID_UUID,
	[E_EPOCH] = OID_INT4,
	[E_PREV] = OID_INT4,
	[E_LAST] = OID_INT4,
	[P_HAS] = OID_BOOL,
	[P_STATUS] = OID_TEXT,
	[P_REASON] = OID_TEXT,
	[P_STARTED] = OID_TIMESTAMPTZ,
	[P_FINISHED] = OID_TIMESTAMPTZ,
	[P_TOTAL] = OID_INT4,
	[P_DONE_NODES] = OID_INT4,
	[P_IN] = OID_INT8,
	[P_OUT] = OID_INT8,
	[P_COST] = OID_INT8,
	[P_OUTPUTS] = OID_TEXT,
	[P_ERROR] = OID_TEXT,
	[P_SIMULATED] = OID_BOOL,
	[P_DONE] = OID_BOOL,
	[R_RUN] = OID_UUID,
	[R_AT] = OID_TIMESTAMPTZ,
	[R_SEQ] = OID_INT4,
	[R_EPOCH] = OID_INT4,
	[R_EVENT] = OID_TEXT,
	[R_ONCE] = OID_TEXT,
	[R_DATA] = OID_TEXT,
	[R_DETAIL] = OID_TEXT,
	[H_WORKFLOW] = OID_TEXT,
	[H_VERSION] = OID_INT4,
	[H_PROJECT] = OID_TEXT,
	[H_PRIORITY] = OID_INT4,
	[H_TAGS] = OID_TEXT,
	[H_CREATED_BY] = OID_TEXT,
	[H_CREATED] = OID_TIMESTAMPTZ,
	[H_KEY] = OID_TEXT,
	[H_DIGEST] = OID_BYTEA,
	[C_RUN] = OID_UUID,
	[C_HASH] = OID_BYTEA,
	[C_DATA] = OID_BYTEA,
};

_Static_assert((int)ALL_ARRAYS <= (int)SL_GROUP_ARRAYS, "every parameter");
_Static_assert((int)APPEND_ARRAYS == 26 && (int)CREATE_OWNER == 35, "the numbers in the statements");

bool sl_group_prepare(struct sl_conn *c)
{
	return sl_conn_prepare(c, "append", append_sql) && sl_conn_prepare(c, "append_chunks", append_chunks_sql) &&
	       sl_conn_prepare(c, "create", create_sql) && sl_conn_prepare(c, "create_chunks", create_chunks_sql) &&
	       sl_conn_prepare(c, "why", why_sql);
}

/* ---- arrays ---- */

#define HEADER_BYTES 20
#define KEEP_BYTES   (1u << 20)

void sl_arrays_init(struct sl_arrays *a)
{
	for (size_t i = 0; i < SL_GROUP_ARRAYS; i++)
		sl_buf_init(&a->b[i], INT32_MAX / 2);
}

void sl_arrays_fini(struct sl_arrays *a)
{
	for (size_t i = 0; i < SL_GROUP_ARRAYS; i++)
		sl_buf_fini(&a->b[i]);
}

static void arrays_reset(struct sl_arrays *a)
{
	static const char zero[HEADER_BYTES];
	for (size_t i = 0; i < SL_GROUP_ARRAYS; i++) {
		if (a->b[i].cap > KEEP_BYTES) { /* one huge group must not be paid for ever */
			size_t most = a->b[i].max_bytes;
			sl_buf_fini(&a->b[i]);
			sl_buf_init(&a->b[i], most);
		}
		sl_buf_reset(&a->b[i]);
		sl_buf_add(&a->b[i], zero, HEADER_BYTES);
		a->n[i] = 0;
		a->nulls[i] = false;
	}
}

static void put(struct sl_arrays *a, int at, const void *p, size_t len)
{
	char head[4];
	if (!p)
		a->nulls[at] = true;
	sl_put_i32(head, p ? (int32_t)len : -1);
	sl_buf_add(&a->b[at], head, 4);
	if (p)
		sl_buf_add(&a->b[at], p, len);
	a->n[at]++;
}

static void put_i32(struct sl_arrays *a, int at, int32_t v)
{
	char b[8];
	sl_put_i32(b, 4);
	sl_put_i32(b + 4, v);
	sl_buf_add(&a->b[at], b, 8);
	a->n[at]++;
}

static void put_i64(struct sl_arrays *a, int at, int64_t v)
{
	char b[12];
	sl_put_i32(b, 8);
	sl_put_i64(b + 4, v);
	sl_buf_add(&a->b[at], b, 12);
	a->n[at]++;
}

static void put_bool(struct sl_arrays *a, int at, bool v)
{
	char b = v;
	put(a, at, &b, 1);
}

static void put_time(struct sl_arrays *a, int at, int64_t wall_ms)
{
	if (wall_ms)
		put_i64(a, at, sl_pg_time(wall_ms));
	else
		put(a, at, NULL, 0);
}

static void put_z(struct sl_arrays *a, int at, const char *z)
{
	put(a, at, z, z ? strlen(z) : 0);
}

static void put_bytes(struct sl_arrays *a, int at, const struct sl_bytes *b)
{
	put(a, at, b ? b->data : NULL, b ? b->len : 0);
}

/* Writes the array's head; false when an append failed before. */
static bool finish(struct sl_arrays *a, int at, uint32_t type)
{
	struct sl_buf *b = &a->b[at];
	if (b->failed)
		return false;
	char *p = b->data;
	if (a->n[at] == 0) { /* an empty array has no dimension */
		memset(p, 0, 12);
		sl_put_i32(p + 8, (int32_t)type);
		b->len = 12;
		return true;
	}
	sl_put_i32(p, 1);
	sl_put_i32(p + 4, a->nulls[at]);
	sl_put_i32(p + 8, (int32_t)type);
	sl_put_i32(p + 12, (int32_t)a->n[at]);
	sl_put_i32(p + 16, 1);
	return true;
}

/* ---- a group as arrays ---- */

/* What add_record() takes from: the entry, and the lane's memory of pieces. */
struct adding {
	struct sl_arrays *a;
	const struct sl_entry *e;
	uint32_t entry;
	struct sl_known *known;
	const struct sl_cuts *cuts; /* of the batch; NULL: nothing of it was cut */
	const struct sl_cut *next;
};

/* A text that was cut: the list of its pieces, and those of them that must be sent. */
static void put_cut(struct adding *w, int at, const struct sl_bytes *text, struct sl_cut cut)
{
	struct sl_buf *b = &w->a->b[at];
	size_t head = b->len, from = 0;
	sl_buf_add(b, "\0\0\0", 4);
	sl_cut_write(b, w->cuts, cut, text->len);
	if (!b->failed)
		sl_put_i32(b->data + head, (int32_t)(b->len - head - 4));
	w->a->n[at]++;
	for (uint32_t i = cut.first; i < cut.first + cut.n; i++) {
		if (sl_known_wants(w->known, w->e->run, w->e->epoch, w->cuts->hashes[i], w->entry)) {
			put(w->a, C_RUN, w->e->run.u.b, 16);
			put(w->a, C_HASH, w->cuts->hashes[i], SL_CHUNK_HASH_BYTES);
			put(w->a, C_DATA, text->data + from, w->cuts->bytes[i]);
		}
		from += w->cuts->bytes[i];
	}
}

static void put_text(struct adding *w, int at, const struct sl_bytes *text)
{
	struct sl_cut cut = w->cuts ? *w->next++ : (struct sl_cut){0};
	if (cut.n)
		put_cut(w, at, text, cut);
	else if (!text && at == R_DATA)
		put(w->a, at, "{}", 2);
	else
		put_bytes(w->a, at, text);
}

static void add_record(struct adding *w, int32_t seq, int64_t wall_ms, const char *event, const struct sl_bytes *once,
		       const struct sl_bytes *data, const struct sl_bytes *detail)
{
	put(w->a, R_RUN, w->e->run.u.b, 16);
	put_i64(w->a, R_AT, sl_pg_time(wall_ms));
	put_i32(w->a, R_SEQ, seq);
	put_i32(w->a, R_EPOCH, (int32_t)w->e->epoch);
	put_z(w->a, R_EVENT, event);
	put_bytes(w->a, R_ONCE, once);
	put_text(w, R_DATA, data);
	put_text(w, R_DETAIL, detail);
}

static void add_projection(struct sl_arrays *a, const struct sl_projection *p)
{
	static const struct sl_projection none = {.status = "queued"};
	put_bool(a, P_HAS, p);
	if (!p)
		p = &none;
	put_z(a, P_STATUS, p->status ? p->status : "queued");
	put_z(a, P_REASON, p->reason);
	put_time(a, P_STARTED, p->started_ms);
	put_time(a, P_FINISHED, p->finished_ms);
	put_i32(a, P_TOTAL, (int32_t)p->nodes_total);
	put_i32(a, P_DONE_NODES, (int32_t)p->nodes_done);
	put_i64(a, P_IN, (int64_t)p->input_tokens);
	put_i64(a, P_OUT, (int64_t)p->output_tokens);
	put_i64(a, P_COST, p->cost_microusd);
	put_bytes(a, P_OUTPUTS, p->outputs);
	put_bytes(a, P_ERROR, p->error);
	put_bool(a, P_SIMULATED, p->simulated);
	put_bool(a, P_DONE, p->done);
}

static void add_entry(struct sl_arrays *a, const struct sl_group *g, uint32_t entry, struct sl_known *known)
{
	const struct sl_entry *e = &g->entries[entry];
	const struct sl_projection *latest = NULL;
	struct adding w = {.a = a, .e = e, .entry = entry, .known = known};
	put(a, E_ID, e->run.u.b, 16);
	put_i32(a, E_EPOCH, (int32_t)e->epoch);
	put_i32(a, E_PREV, e->prev);
	put_i32(a, E_LAST, e->last);
	for (size_t i = e->first; i < e->first + e->n; i++) {
		const struct sl_batch *b = g->items[i].b;
		w.cuts = b->cuts;
		w.next = b->cuts ? b->cuts->texts : NULL;
		if (b->has_projection)
			latest = &b->projection;
		if (b->create) {
			const struct sl_run_head *h = b->create;
			put_z(a, H_WORKFLOW, h->workflow ? h->workflow : "");
			put_i32(a, H_VERSION, h->version);
			put_z(a, H_PROJECT, h->project ? h->project : "default");
			put_i32(a, H_PRIORITY, h->priority);
			put_bytes(a, H_TAGS, h->tags);
			put_z(a, H_CREATED_BY, h->created_by);
			put_i64(a, H_CREATED, sl_pg_time(h->created_ms));
			put_z(a, H_KEY, h->idempotency_key);
			put_bytes(a, H_DIGEST, h->idempotency_digest);
			add_record(&w, 0, h->created_ms, "head", NULL, h->inputs, h->definition);
		}
		for (size_t k = 0; k < b->n_records; k++) {
			const struct sl_record *r = &b->records[k];
			add_record(&w, (int32_t)r->seq, r->wall_ms, r->event, r->once, r->data, r->detail);
		}
	}
	add_projection(a, latest);
}

/* The arrays 0 … arrays, the owner when there is one, and the pieces when there are any: by the statement `chunks`
 * then. */
static bool execute(struct sl_conn *c, const char *name, const char *chunks, struct sl_arrays *a, int arrays,
		    const char *owner)
{
	const char *values[SL_GROUP_ARRAYS];
	int lengths[SL_GROUP_ARRAYS], formats[SL_GROUP_ARRAYS], n = 0;
	bool pieces = a->n[C_RUN];
	for (int i = 0; i < ALL_ARRAYS; i++) {
		if (i == arrays && owner) {
			values[n] = owner;
			lengths[n] = 0;
			formats[n++] = 0;
		}
		if (i >= arrays && (i < C_RUN || !pieces))
			continue;
		if (!finish(a, i, types[i]))
			return false;
		values[n] = a->b[i].data;
		lengths[n] = (int)a->b[i].len;
		formats[n++] = 1;
	}
	return sl_conn_execute(c, pieces ? chunks : name, n, values, lengths, formats);
}

bool sl_group_send(struct sl_conn *c, const struct sl_group *g, struct sl_arrays *a, struct sl_known *k)
{
	sl_known_begin(k);
	if (g->n_creates) {
		char owner[24];
		arrays_reset(a);
		for (uint32_t i = 0; i < g->n_entries; i++)
			if (g->entries[i].create)
				add_entry(a, g, i, k);
		snprintf(owner, sizeof(owner), "%lld", (long long)c->s->instance);
		if (!execute(c, "create", "create_chunks", a, CREATE_ARRAYS, owner))
			return false;
	}
	if (g->n_creates < g->n_entries) {
		arrays_reset(a);
		for (uint32_t i = 0; i < g->n_entries; i++)
			if (!g->entries[i].create)
				add_entry(a, g, i, k);
		if (!execute(c, "append", "append_chunks", a, APPEND_ARRAYS, NULL))
			return false;
	}
	return sl_conn_sync(c);
}

bool sl_group_send_why(struct sl_conn *c, const struct sl_group *g, struct sl_arrays *a)
{
	static const uint32_t why_types[] = {OID_UUID, OID_INT4, OID_TEXT, OID_TEXT};
	const char *values[4];
	int lengths[4], formats[4] = {1, 1, 1, 1};
	arrays_reset(a);
	for (size_t i = 0; i < g->n_entries; i++) {
		const struct sl_run_head *h = g->items[g->entries[i].first].b->create;
		put(a, 0, g->entries[i].run.u.b, 16);
		put_i32(a, 1, g->entries[i].last);
		put_z(a, 2, h && h->idempotency_key ? (h->project ? h->project : "default") : NULL);
		put_z(a, 3, h ? h->idempotency_key : NULL);
	}
	for (int i = 0; i < 4; i++) {
		if (!finish(a, i, why_types[i]))
			return false;
		values[i] = a->b[i].data;
		lengths[i] = (int)a->b[i].len;
	}
	return sl_conn_execute(c, "why", 4, values, lengths, formats) && sl_conn_sync(c);
}
