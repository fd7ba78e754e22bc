/* memory/memory.c: see memory.h. Life, the steps of operations, the sweeper, and the moves that need no search.
 *
 * An operation goes from the loop to the store or to a worker thread and comes back; what it shares is touched on the
 * loop only. There is one timer, for whoever is due next: an idle server has nothing to look at.
 */
#include "memory/memory_priv.h"

#include <string.h>

#include <sodium.h>

#include "base/json.h"
#include "base/utf8.h"
#include "memory/digest.h"
#include "memory/filter.h"
#include "memory/similar.h"
#include "memory/split.h"

#define SWEEP_ROWS     100
#define SWEEP_RETRY_MS 30000
#define SWEEP_LEAST_MS 500
#define DIGEST_ROWS    2000
#define DIGEST_MOST    200

/* ---- operations ---- */

void sl_memory_begin(struct sl_memory *m)
{
	pthread_mutex_lock(&m->lock);
	m->ops++;
	pthread_mutex_unlock(&m->lock);
}

void sl_memory_end(struct sl_memory *m)
{
	pthread_mutex_lock(&m->lock);
	if (--m->ops == 0)
		pthread_cond_broadcast(&m->quiet);
	pthread_mutex_unlock(&m->lock);
}

static void op_arrives(struct sl_post *p)
{
	struct sl_op *op = SL_CONTAINER_OF(p, struct sl_op, post);
	op->go(op);
}

void *sl_op_new(struct sl_memory *m, size_t bytes, void (*drop)(struct sl_op *op), sl_memory_fn *fn, void *arg)
{
	struct sl_op *op = calloc(1, bytes);
	if (!op)
		return NULL;
	op->m = m;
	op->fn = fn;
	op->arg = arg;
	op->drop = drop;
	op->post.run = op_arrives;
	sl_buf_init(&op->json, SL_LIMIT_RUN_BYTES);
	return op;
}

void sl_op_go(struct sl_op *op, void (*go)(struct sl_op *op))
{
	op->go = go;
	sl_loop_post(op->m->loop, &op->post);
}

enum sl_code sl_op_start(struct sl_op *op, void (*go)(struct sl_op *op))
{
	if (atomic_load(&op->m->stopping)) {
		sl_op_free(op);
		return SL_DRAINING;
	}
	sl_memory_begin(op->m);
	sl_op_go(op, go);
	return SL_OK;
}

void sl_op_free(struct sl_op *op)
{
	if (op->drop)
		op->drop(op);
	sl_buf_fini(&op->json);
	free(op->rows);
	free(op);
}

void sl_op_tell(struct sl_op *op)
{
	SL_AUTO(sl_bytes) json = NULL;
	if (op->rc == SL_OK) {
		json = sl_buf_bytes(&op->json);
		op->rc = json ? SL_OK : SL_NO_MEMORY;
	}
	op->err.code = op->rc;
	op->fn(op->arg, op->rc, &op->err, json);
}

void sl_op_finish(struct sl_op *op)
{
	struct sl_memory *m = op->m;
	sl_op_tell(op);
	sl_op_free(op);
	sl_memory_end(m);
}

void sl_op_fail(struct sl_op *op, enum sl_code rc)
{
	op->rc = rc;
	sl_op_finish(op);
}

static void op_compute(uv_work_t *w)
{
	struct sl_op *op = SL_CONTAINER_OF(w, struct sl_op, work);
	op->compute(op);
}

static void op_computed(uv_work_t *w, int status)
{
	struct sl_op *op = SL_CONTAINER_OF(w, struct sl_op, work);
	op->go(op);
}

void sl_op_work(struct sl_op *op, void (*compute)(struct sl_op *op), void (*go)(struct sl_op *op))
{
	SL_ASSERT_LOOP(op->m->loop);
	op->compute = compute;
	op->go = go;
	SL_BUG_ON(uv_queue_work(sl_loop_uv(op->m->loop), &op->work, op_compute, op_computed) !=
		  0); /* fails without fn only */
}

void sl_op_from_store(void *arg, enum sl_code rc)
{
	struct sl_op *op = arg;
	op->rc = rc;
	sl_op_go(op, op->go);
}

void sl_op_rows_from_store(void *arg, enum sl_code rc, struct sl_memory_rows *rows)
{
	struct sl_op *op = arg;
	free(op->rows);
	op->rows = rows;
	sl_op_from_store(arg, rc);
}

/* ---- small things ---- */

static const char *const tier_names[] = {"quarantine", "working", "long_term"};

bool sl_memory_tier_parse(struct sl_str name, enum sl_memory_tier *out)
{
	for (size_t i = 0; i < SL_COUNT_OF(tier_names); i++)
		if (sl_str_is(name, tier_names[i])) {
			*out = (enum sl_memory_tier)i;
			return true;
		}
	return false;
}

const char *sl_memory_tier_name(enum sl_memory_tier tier)
{
	return tier_names[tier];
}

void sl_memory_hash(struct sl_str text, uint8_t out[SL_MEMORY_HASH_BYTES])
{
	crypto_hash_sha256(out, (const unsigned char *)text.p, text.len);
}

size_t sl_memory_storable(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!text[i])
			text[i] = ' ';
	sl_utf8_make_valid(text, &len);
	return len;
}

uint32_t sl_memory_tokens(struct sl_str text)
{
	return (uint32_t)(text.len / 4 + 1); /* four bytes a token: near enough for a budget, in any script */
}

void sl_memory_chunks(struct sl_str text, struct sl_buf *out)
{
	struct sl_str piece;
	size_t at = 0;
	sl_buf_addc(out, '[');
	while (sl_split_next(text, &at, &piece)) {
		sl_buf_json_comma(out);
		sl_buf_json_str(out, piece);
	}
	sl_buf_addc(out, ']');
}

/* ---- the timer ---- */

static void sweep(struct sl_memory *m);

static void on_timer(uv_timer_t *t)
{
	struct sl_memory *m = t->data;
	uint64_t now = sl_clock_mono_ms();
	m->timer_due_ms = UINT64_MAX;
	if (now >= m->sweep_due_ms)
		sweep(m);
	else
		sl_memory_wake_at(m, m->sweep_due_ms);
	if (now >= m->fill_due_ms) {
		m->fill_due_ms = UINT64_MAX;
		sl_embedder_fill(m);
	} else {
		sl_memory_wake_at(m, m->fill_due_ms);
	}
	sl_searches_tick(m, now);
}

void sl_memory_wake_at(struct sl_memory *m, uint64_t mono_ms)
{
	uint64_t now = sl_clock_mono_ms();
	if (mono_ms >= m->timer_due_ms || atomic_load(&m->stopping))
		return;
	m->timer_due_ms = mono_ms;
	uv_update_time(sl_loop_uv(m->loop));
	uv_timer_start(&m->timer, on_timer, mono_ms > now ? mono_ms - now : 0, 0); /* fails only while closing */
}

/* ---- the sweeper: sleeps until the next memory expires ---- */

struct swept {
	struct sl_post post;
	struct sl_memory *m;
	enum sl_code rc;
	uint32_t gone;
	int64_t next_ms;
};

void sl_sweep_at(struct sl_memory *m, int64_t wall_ms)
{
	int64_t wall = sl_clock_wall_ms();
	if (wall_ms == 0)
		return;
	uint64_t due = sl_clock_mono_ms() + (wall_ms > wall ? (uint64_t)(wall_ms - wall) + 1 : 0);
	if (due < m->sweep_due_ms) {
		m->sweep_due_ms = due;
		sl_memory_wake_at(m, due);
	}
}

static void swept(struct sl_post *p)
{
	struct swept *s = SL_CONTAINER_OF(p, struct swept, post);
	struct sl_memory *m = s->m;
	m->sweeping = false;
	if (s->rc == SL_OK) {
		atomic_fetch_add(&m->expired, s->gone);
		int64_t soonest = sl_clock_wall_ms() + SWEEP_LEAST_MS; /* the database may have another clock */
		if (s->gone == SWEEP_ROWS)
			sweep(m);
		else if (s->next_ms)
			sl_sweep_at(m, s->next_ms > soonest ? s->next_ms : soonest);
	} else if (s->rc != SL_CANCELLED) {
		sl_log(SL_LOG_WARN, "memory",
		       "expired memories could not be swept; they are not retrieved, and it is tried again",
		       SL_KS("error", sl_code_wire(s->rc)));
		sl_sweep_at(m, sl_clock_wall_ms() + SWEEP_RETRY_MS);
	}
	free(s);
	sl_memory_end(m);
}

static void on_swept(void *arg, enum sl_code rc, uint32_t gone, int64_t next_ms)
{
	struct swept *s = arg;
	s->rc = rc;
	s->gone = gone;
	s->next_ms = next_ms;
	sl_loop_post(s->m->loop, &s->post);
}

static void sweep(struct sl_memory *m)
{
	m->sweep_due_ms = UINT64_MAX;
	if (m->sweeping || atomic_load(&m->stopping))
		return;
	struct swept *s = calloc(1, sizeof(*s));
	if (s) {
		*s = (struct swept){.post.run = swept, .m = m};
		sl_memory_begin(m);
		m->sweeping = sl_store_memory_expire(m->config.store, SWEEP_ROWS, on_swept, s) == SL_OK;
		if (!m->sweeping) {
			sl_memory_end(m);
			free(s);
		}
	}
	if (!m->sweeping)
		sl_sweep_at(m, sl_clock_wall_ms() + SWEEP_RETRY_MS);
}

/* ---- promote ---- */

struct promote {
	struct sl_op op;
	struct sl_uuid id;
	enum sl_memory_tier tier;
	char *by, *reason, *instead;
	struct sl_buf chunks;
	const char *declined;
	bool moved;
	char *project;
	char tier_now[12];
	int64_t expires_ms;
};

static void promote_drop(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	free(p->by);
	free(p->reason);
	free(p->instead);
	free(p->project);
	sl_buf_fini(&p->chunks);
}

static void promote_answer(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	struct sl_memory *m = op->m;
	char id[SL_UUID_TEXT_BYTES];
	if (op->rc == SL_NOT_FOUND) /* none of those that say the same is there any more */
		op->rc = SL_OK;
	sl_uuid_format(p->id, id);
	sl_buf_addc(&op->json, '{');
	sl_buf_json_kbool(&op->json, "accepted", !p->declined);
	sl_buf_json_kz(&op->json, "id", id);
	if (p->declined) {
		sl_buf_json_kz(&op->json, "reason", p->declined);
	} else {
		sl_buf_json_kz(&op->json, "tier", p->tier_now);
		sl_buf_json_kbool(&op->json, "moved", p->moved);
		sl_sweep_at(m, p->expires_ms);
		if (p->moved)
			atomic_fetch_add(&m->promoted, 1);
		if (p->moved && p->tier == SL_MEMORY_LONG_TERM)
			sl_embedder_fill(m);
	}
	sl_buf_addc(&op->json, '}');
	sl_op_finish(op);
}

static void on_instead(void *arg, enum sl_code rc, size_t n, struct sl_str project, const char *tier)
{
	sl_op_from_store(arg, rc);
}

static void promote_moved(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	char reason[80], id[SL_UUID_TEXT_BYTES];
	if (op->rc != SL_OK) {
		if (op->rc == SL_CONFLICT)
			SL_IGNORE(sl_fail(&op->err, op->rc,
					  "the memory is invalid, or has expired")); /* fills the text */
		sl_op_finish(op);
		return;
	}
	if (!p->instead[0]) {
		promote_answer(op);
		return;
	}
	sl_uuid_format(p->id, id);
	snprintf(reason, sizeof(reason), "says the same as %s", id);
	op->go = promote_answer;
	enum sl_code rc = sl_store_memory_invalidate(op->m->config.store, sl_str(p->instead), sl_str(p->project),
						     sl_str(p->by), sl_str(reason), on_instead, op);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

static void on_moved(void *arg, enum sl_code rc, bool moved, struct sl_str project, const char *tier,
		     int64_t expires_ms)
{
	struct promote *p = arg;
	p->moved = moved;
	p->project = sl_str_dup(project);
	p->expires_ms = expires_ms;
	snprintf(p->tier_now, sizeof(p->tier_now), "%s", tier);
	sl_op_from_store(&p->op, p->project ? rc : SL_NO_MEMORY);
}

static void promote_move(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	if (p->declined) {
		promote_answer(op);
		return;
	}
	const struct sl_memory_move move = {
		.id = p->id,
		.tier = sl_memory_tier_name(p->tier),
		.by = sl_str(p->by),
		.reason = sl_str(p->reason),
		.verified = true,
		.chunks = p->chunks.len ? sl_buf_str(&p->chunks) : SL_STR("[]"),
		.ttl_s = op->m->config.working_ttl_s,
		.capacity = op->m->config.working_capacity,
	};
	op->go = promote_moved;
	enum sl_code rc = op->rc != SL_OK ? op->rc : sl_store_memory_move(op->m->config.store, &move, on_moved, p);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

static void promote_compute(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	struct sl_trigrams t = {0};
	struct sl_memory_row *row = &op->rows->items[0];
	if (p->tier == SL_MEMORY_LONG_TERM) {
		sl_memory_chunks(row->content, &p->chunks);
		if (p->chunks.failed)
			op->rc = SL_NO_MEMORY;
	} else if (strcmp(row->tier, "quarantine") == 0) {
		op->rc = sl_trigrams_of(row->content, &t);
		p->declined = sl_filter(row->content, &t, 1); /* whoever promotes it is confident */
	}
	sl_trigrams_fini(&t);
}

static void promote_read(struct sl_op *op)
{
	if (op->rc != SL_OK)
		sl_op_finish(op);
	else if (op->rows->n == 0)
		promote_move(op); /* the move knows why: not there, or invalid */
	else
		sl_op_work(op, promote_compute, promote_move);
}

static void promote_begin(struct sl_op *op)
{
	struct promote *p = SL_CONTAINER_OF(op, struct promote, op);
	op->go = promote_read;
	enum sl_code rc = sl_store_memory_one(op->m->config.store, p->id, sl_op_rows_from_store, op);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

enum sl_code sl_memory_promote(struct sl_memory *m, struct sl_uuid id, enum sl_memory_tier tier, struct sl_str by,
			       struct sl_str reason, struct sl_str instead, sl_memory_fn *fn, void *arg)
{
	struct promote *p = sl_op_new(m, sizeof(*p), promote_drop, fn, arg);
	if (!p)
		return SL_NO_MEMORY;
	p->id = id;
	p->tier = tier;
	p->by = sl_str_dup(by);
	p->reason = sl_str_dup(reason);
	p->instead = sl_str_dup(instead);
	sl_buf_init(&p->chunks, 4 * SL_LIMIT_MEMORY_BYTES);
	if (!p->by || !p->reason || !p->instead) {
		sl_op_free(&p->op);
		return SL_NO_MEMORY;
	}
	return sl_op_start(&p->op, promote_begin);
}

/* ---- invalidate ---- */

struct invalidate {
	struct sl_op op;
	struct sl_uuid id;
	char *by, *reason, *project;
	char tier[12];
};

static void invalidate_drop(struct sl_op *op)
{
	struct invalidate *v = SL_CONTAINER_OF(op, struct invalidate, op);
	free(v->by);
	free(v->reason);
	free(v->project);
}

static void invalidate_done(struct sl_op *op)
{
	struct invalidate *v = SL_CONTAINER_OF(op, struct invalidate, op);
	char id[SL_UUID_TEXT_BYTES];
	if (op->rc == SL_OK) {
		sl_project_drop(op->m, sl_str(v->project), v->id);
		atomic_fetch_add(&op->m->invalidated, 1);
		sl_uuid_format(v->id, id);
		sl_buf_addc(&op->json, '{');
		sl_buf_json_kz(&op->json, "id", id);
		sl_buf_json_kz(&op->json, "tier", v->tier);
		sl_buf_json_kz(&op->json, "project", v->project);
		sl_buf_addc(&op->json, '}');
	}
	sl_op_finish(op);
}

static void on_invalidated(void *arg, enum sl_code rc, size_t n, struct sl_str project, const char *tier)
{
	struct invalidate *v = arg;
	v->project = sl_str_dup(project);
	snprintf(v->tier, sizeof(v->tier), "%s", tier);
	sl_op_from_store(&v->op, v->project ? rc : SL_NO_MEMORY);
}

static void invalidate_begin(struct sl_op *op)
{
	struct invalidate *v = SL_CONTAINER_OF(op, struct invalidate, op);
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(v->id, id);
	op->go = invalidate_done;
	enum sl_code rc = sl_store_memory_invalidate(op->m->config.store, sl_str(id), SL_STR(""), sl_str(v->by),
						     sl_str(v->reason), on_invalidated, v);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

enum sl_code sl_memory_invalidate(struct sl_memory *m, struct sl_uuid id, struct sl_str by, struct sl_str reason,
				  sl_memory_fn *fn, void *arg)
{
	struct invalidate *v = sl_op_new(m, sizeof(*v), invalidate_drop, fn, arg);
	if (!v)
		return SL_NO_MEMORY;
	v->id = id;
	v->by = sl_str_dup(by);
	v->reason = sl_str_dup(reason);
	if (!v->by || !v->reason) {
		sl_op_free(&v->op);
		return SL_NO_MEMORY;
	}
	return sl_op_start(&v->op, invalidate_begin);
}

/* ---- digest ---- */

struct digest {
	struct sl_op op;
	char *project;
	uint32_t limit;
};

static void digest_drop(struct sl_op *op)
{
	free(SL_CONTAINER_OF(op, struct digest, op)->project);
}

static void digest_item(struct sl_buf *b, const struct sl_memory_rows *rows, const struct sl_digest_text *texts,
			const struct sl_digest_group *g, uint32_t number)
{
	char id[SL_UUID_TEXT_BYTES];
	int64_t first = INT64_MAX, last = 0;
	size_t runs = 0;
	const struct sl_memory_row *best = &rows->items[g->best];
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_uuid_format(best->id, id);
	sl_buf_json_kz(b, "id", id);
	sl_buf_json_kstr(b, "content", best->content);
	sl_buf_json_ku64(b, "count", g->n);
	sl_buf_json_key(b, "confidence");
	sl_buf_addf(b, "%.3g", g->confidence);
	sl_buf_json_key(b, "ids");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < rows->n; i++) {
		const struct sl_memory_row *row = &rows->items[i];
		bool known = !row->has_run;
		if (texts[i].group != number)
			continue;
		sl_uuid_format(row->id, id);
		sl_buf_json_comma(b);
		sl_buf_json_str(b, sl_str(id));
		first = row->created_ms < first ? row->created_ms : first;
		last = row->created_ms > last ? row->created_ms : last;
		for (size_t k = 0; k < i && !known; k++)
			known = texts[k].group == number && rows->items[k].has_run &&
				sl_run_id_eq(rows->items[k].run, row->run);
		runs += !known;
	}
	sl_buf_addc(b, ']');
	sl_buf_json_ku64(b, "runs", runs);
	sl_buf_json_ktime(b, "first_at", first);
	sl_buf_json_ktime(b, "last_at", last);
	sl_buf_addc(b, '}');
}

static void digest_compute(struct sl_op *op)
{
	struct digest *d = SL_CONTAINER_OF(op, struct digest, op);
	struct sl_memory_rows *rows = op->rows;
	struct sl_digest_text *texts = calloc(rows->n + 1, sizeof(*texts));
	struct sl_digest_group *groups = NULL;
	size_t n = 0;
	op->rc = texts ? SL_OK : SL_NO_MEMORY;
	for (size_t i = 0; op->rc == SL_OK && i < rows->n; i++)
		texts[i] = (struct sl_digest_text){rows->items[i].content, rows->items[i].print,
						   rows->items[i].confidence, 0};
	if (op->rc == SL_OK)
		op->rc = sl_digest(texts, rows->n, &groups, &n);
	sl_buf_adds(&op->json, "{\"items\":[");
	for (size_t g = 0; op->rc == SL_OK && g < n && g < d->limit; g++)
		digest_item(&op->json, rows, texts, &groups[g], (uint32_t)g);
	sl_buf_addc(&op->json, ']');
	sl_buf_json_ku64(&op->json, "memories", rows->n);
	sl_buf_json_ku64(&op->json, "insights", n);
	sl_buf_addc(&op->json, '}');
	free(texts);
	free(groups);
}

static void digest_read(struct sl_op *op)
{
	if (op->rc != SL_OK)
		sl_op_finish(op);
	else
		sl_op_work(op, digest_compute, sl_op_finish);
}

static void digest_begin(struct sl_op *op)
{
	struct digest *d = SL_CONTAINER_OF(op, struct digest, op);
	op->go = digest_read;
	enum sl_code rc = sl_store_memory_quarantine(op->m->config.store, sl_str(d->project), DIGEST_ROWS,
						     sl_op_rows_from_store, op);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

enum sl_code sl_memory_digest(struct sl_memory *m, struct sl_str project, uint32_t limit, sl_memory_fn *fn, void *arg)
{
	struct digest *d = sl_op_new(m, sizeof(*d), digest_drop, fn, arg);
	if (!d)
		return SL_NO_MEMORY;
	d->limit = limit == 0 ? 50 : limit > DIGEST_MOST ? DIGEST_MOST : limit;
	d->project = sl_str_dup(project);
	if (!d->project) {
		sl_op_free(&d->op);
		return SL_NO_MEMORY;
	}
	return sl_op_start(&d->op, digest_begin);
}

/* ---- life ---- */

struct rights_wait {
	struct sl_memory *m;
	enum sl_code rc;
	bool came;
};

static void on_rights(void *arg, enum sl_code rc, const struct sl_memory_rights *rights)
{
	struct rights_wait *w = arg;
	pthread_mutex_lock(&w->m->lock);
	w->m->rights = *rights;
	w->rc = rc;
	w->came = true;
	pthread_cond_broadcast(&w->m->quiet);
	pthread_mutex_unlock(&w->m->lock);
}

static void begin(void *arg)
{
	struct sl_memory *m = arg;
	sweep(m);
	sl_embedder_fill(m);
}

static void fill_from_outside(void *arg)
{
	struct sl_memory *m = arg;
	if (!atomic_load(&m->stopping)) {
		m->fill_failures = 0;
		sl_embedder_fill(m);
	}
	sl_memory_end(m);
}

void sl_memory_profiles_changed(struct sl_memory *m)
{
	if (atomic_load(&m->stopping))
		return;
	sl_memory_begin(m);
	if (sl_loop_call(m->loop, fill_from_outside, m) != SL_OK)
		sl_memory_end(m); /* the next promotion comes to it */
}

enum sl_code sl_memory_new(const struct sl_memory_config *config, struct sl_memory **out, struct sl_error *err)
{
	struct sl_memory *m = calloc(1, sizeof(*m));
	if (!m || sodium_init() < 0 || sl_loop_new("memory", &m->loop) != SL_OK) {
		free(m);
		return sl_fail(err, SL_NO_MEMORY, "memory");
	}
	m->config = *config;
	if (!m->config.working_ttl_s)
		m->config.working_ttl_s = 86400;
	if (!m->config.working_capacity)
		m->config.working_capacity = 50;
	if (!m->config.vector_bytes)
		m->config.vector_bytes = 512u << 20;
	if (!m->config.search_timeout_ms)
		m->config.search_timeout_ms = 5000;
	if (!m->config.embed_timeout_ms)
		m->config.embed_timeout_ms = 3000;
	m->timer_due_ms = m->sweep_due_ms = m->fill_due_ms = UINT64_MAX;
	sl_list_init(&m->searches);
	sl_list_init(&m->queries);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->quiet, NULL);
	uv_timer_init(sl_loop_uv(m->loop), &m->timer);
	m->timer.data = m;
	struct rights_wait w = {.m = m};
	enum sl_code rc = sl_store_memory_prepare(m->config.store, on_rights, &w);
	if (rc == SL_OK) {
		pthread_mutex_lock(&m->lock);
		while (!w.came)
			pthread_cond_wait(&m->quiet, &m->lock);
		pthread_mutex_unlock(&m->lock);
		rc = w.rc;
	}
	if (rc == SL_OK)
		rc = sl_loop_start(m->loop);
	if (rc == SL_OK)
		rc = sl_loop_call(m->loop, begin, m);
	if (rc != SL_OK) {
		sl_memory_free(m);
		return sl_fail(err, rc, "memory: the database does not let us prepare it");
	}
	*out = m;
	return SL_OK;
}

static void ending(void *arg)
{
	struct sl_memory *m = arg;
	uv_timer_stop(&m->timer);
	sl_searches_tick(m, UINT64_MAX);
}

void sl_memory_stop(struct sl_memory *m)
{
	if (m->stopped)
		return;
	m->stopped = true;
	atomic_store(&m->stopping, true);
	SL_IGNORE(sl_loop_call(m->loop, ending, m)); /* without memory what waits ends by its own deadlines */
	pthread_mutex_lock(&m->lock);
	while (m->ops)
		pthread_cond_wait(&m->quiet, &m->lock);
	pthread_mutex_unlock(&m->lock);
	sl_loop_stop(m->loop);
}

void sl_memory_free(struct sl_memory *m)
{
	if (!m)
		return;
	sl_memory_stop(m);
	sl_embedder_fini(m);
	sl_projects_fini(m);
	sl_loop_free(m->loop);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->quiet);
	free(m);
}

void sl_memory_stats(struct sl_memory *m, struct sl_memory_stats *out)
{
	*out = (struct sl_memory_stats){
		.stored = atomic_load(&m->stored),
		.declined = atomic_load(&m->declined),
		.promoted = atomic_load(&m->promoted),
		.invalidated = atomic_load(&m->invalidated),
		.expired = atomic_load(&m->expired),
		.searches = atomic_load(&m->searched),
		.degraded = atomic_load(&m->degraded),
		.embedded = atomic_load(&m->embedded),
		.vectors = atomic_load(&m->vectors),
		.vector_bytes = atomic_load(&m->vector_bytes),
	};
}
