/* memory/search.c: a search: candidates by words and letters from PostgreSQL, by vectors from memory, fused, scored,
 * cut to the asker's budget.
 *
 *   candidates (store) → vectors of the project and of the query, when there are any → scan (a thread) → fetch (store)
 *   → score (a thread) → note who was given what (store) → answer
 *
 * Whatever a leg finds, only what the fetch confirms is given: it reads the views that know nothing of quarantine, of
 * the invalid, the expired and other projects. A hit among the vectors that is not confirmed is stale (another server
 * invalidated it); it is dropped here, and the scan is made once more.
 */
#include "memory/memory_priv.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "memory/score.h"
#include "memory/similar.h"

#define RESULTS_MOST 50
#define HOT          10  /* newest working memories that are always looked at */
#define EACH         50  /* candidates of each leg */
#define VECTORS      120 /* pieces; several may be of one memory */
#define RRF          60.0

enum phase { PHASE_CANDIDATES, PHASE_VECTORS, PHASE_LATER };

struct found {
	struct sl_uuid id;
	uint16_t rank[SL_MEMORY_LEGS]; /* from 1; 0: not in this leg */
	uint16_t near;                 /* rank among the vectors */
	float cosine;
	const struct sl_memory_row *row; /* NULL: not confirmed */
	double text, relevance, fused;
};

struct search {
	struct sl_op op;
	struct sl_list link; /* m->searches, while it has a deadline */
	char *project, *query, *path;
	size_t query_bytes;
	struct sl_memory_search q; /* its slices are ours */
	uint64_t deadline_ms;
	enum phase phase;
	bool recent; /* nothing but the newest: time ran out */
	const char *degraded;
	int64_t version;
	struct sl_memory_query store_query;

	struct found *found;
	size_t n_found, cap_found;
	uint32_t calls; /* of the store that have not come back: one that comes too late is dropped by its number */
	uint32_t asked;
	bool over; /* answered; freed when the last call comes back */

	struct sl_project *vectors;
	struct sl_project_waiter project_waiter;
	struct sl_query_vector *query_vector;
	struct sl_query_waiter query_waiter;
	struct sl_vector_hit hits[VECTORS];
	size_t n_hits;
	bool scanned_again;

	struct sl_buf ids, given;
};

static struct search *search_of(struct sl_op *op)
{
	return SL_CONTAINER_OF(op, struct search, op);
}

static void search_drop(struct sl_op *op)
{
	struct search *s = search_of(op);
	free(s->project);
	free(s->query);
	free(s->path);
	free(s->found);
	sl_buf_fini(&s->ids);
	sl_buf_fini(&s->given);
}

/* ---- what was found ---- */

static struct found *find_or_add(struct search *s, struct sl_uuid id)
{
	for (size_t i = 0; i < s->n_found; i++)
		if (sl_uuid_eq(s->found[i].id, id))
			return &s->found[i];
	if (s->n_found == s->cap_found) {
		size_t cap = s->cap_found ? s->cap_found * 2 : 128;
		struct found *more = realloc(s->found, cap * sizeof(*more));
		if (!more)
			return NULL;
		s->found = more;
		s->cap_found = cap;
	}
	struct found *f = &s->found[s->n_found++];
	*f = (struct found){.id = id};
	return f;
}

/* ---- the end ---- */

static void waits_end(struct search *s)
{
	sl_list_drop(&s->link);
	sl_list_drop(&s->project_waiter.link);
	sl_list_drop(&s->query_waiter.link);
	sl_embedder_done(SL_TAKE(s->query_vector));
}

static void search_finish(struct search *s)
{
	waits_end(s);
	if (s->degraded)
		atomic_fetch_add(&s->op.m->degraded, 1);
	if (s->calls == 0) {
		sl_op_finish(&s->op);
		return;
	}
	s->over = true; /* the store still owes an answer that points here */
	sl_op_tell(&s->op);
}

/* Without a result: as the asker wants it. */
static void search_empty(struct search *s, const char *why)
{
	s->degraded = why;
	s->op.rc = SL_OK;
	sl_buf_reset(&s->op.json);
	sl_buf_adds(&s->op.json, "{\"items\":[],\"next_offset\":null");
	sl_buf_json_kz(&s->op.json, "degraded", why);
	sl_buf_addc(&s->op.json, '}');
	search_finish(s);
}

static void search_fail(struct search *s, enum sl_code rc)
{
	if (s->q.on_timeout != SL_MEMORY_FAIL && rc != SL_CANCELLED && rc != SL_INVALID) {
		sl_log(SL_LOG_WARN, "memory", "a search found nothing, because the database did not answer",
		       SL_KS("error", sl_code_wire(rc)));
		search_empty(s, "database");
		return;
	}
	s->op.rc = rc;
	search_finish(s);
}

/* ---- score, on a thread ---- */

static int by_fused(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	if (x->fused != y->fused)
		return x->fused < y->fused ? 1 : -1;
	return memcmp(y->id.b, x->id.b, sizeof(x->id.b)); /* the newer */
}

static int by_age(const void *a, const void *b)
{
	const struct found *const *x = a, *const *y = b;
	return ((*x)->row->created_ms < (*y)->row->created_ms) - ((*x)->row->created_ms > (*y)->row->created_ms);
}

static int by_text(const void *a, const void *b)
{
	const struct found *const *x = a, *const *y = b;
	return ((*x)->text < (*y)->text) - ((*x)->text > (*y)->text);
}

static double share(uint16_t rank)
{
	return rank ? 1 / (RRF + rank) : 0;
}

static void fuse(struct search *s, size_t n)
{
	struct found **order = calloc(n + 1, sizeof(*order));
	for (size_t i = 0; i < n; i++) {
		struct found *f = &s->found[i];
		f->fused = share(f->rank[SL_MEMORY_WORDS]) + share(f->near) + share(f->rank[SL_MEMORY_HOT]) / 2;
		if (s->store_query.rights->trigrams) /* else that leg is only the newest, unranked */
			f->fused += share(f->rank[SL_MEMORY_TRIGRAMS]);
		if (order)
			order[i] = f;
	}
	if (order) { /* without memory the other legs decide alone */
		qsort(order, n, sizeof(*order), by_age);
		for (size_t i = 0; i < n; i++)
			order[i]->fused += share((uint16_t)(i + 1)) / 4;
		qsort(order, n, sizeof(*order), by_text);
		for (size_t i = 0; i < n && order[i]->text > 0; i++)
			order[i]->fused += share((uint16_t)(i + 1));
	}
	free(order);
}

static void why(struct sl_buf *b, const struct search *s, const struct found *f)
{
	SL_BUF(text, 400);
	if (f->rank[SL_MEMORY_WORDS])
		sl_buf_addf(&text, "words #%u", f->rank[SL_MEMORY_WORDS]);
	if (f->rank[SL_MEMORY_TRIGRAMS] && s->store_query.rights->trigrams)
		sl_buf_addf(&text, "%sletters #%u", text.len ? ", " : "", f->rank[SL_MEMORY_TRIGRAMS]);
	if (f->near)
		sl_buf_addf(&text, "%smeaning #%u (%.2f)", text.len ? ", " : "", f->near, (double)f->cosine);
	if (f->rank[SL_MEMORY_HOT])
		sl_buf_addf(&text, "%snewest #%u", text.len ? ", " : "", f->rank[SL_MEMORY_HOT]);
	if (f->text > 0)
		sl_buf_addf(&text, "%s%d %% of the words", text.len ? ", " : "", (int)(f->text * 100 + 0.5));
	sl_buf_json_kstr(b, "why", sl_buf_str(&text));
}

static void item(struct sl_buf *b, const struct search *s, const struct found *f, struct sl_str content, bool cut,
		 int64_t now)
{
	char id[SL_UUID_TEXT_BYTES];
	const struct sl_memory_row *r = f->row;
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_uuid_format(r->id, id);
	sl_buf_json_kz(b, "id", id);
	sl_buf_json_kstr(b, "content", content);
	sl_buf_json_kz(b, "tier", r->tier);
	sl_buf_json_kbool(b, "verified", r->verified);
	sl_buf_json_key(b, "score");
	sl_buf_addf(b, "%.4g", f->relevance);
	sl_buf_json_key(b, "confidence");
	sl_buf_addf(b, "%.3g", r->confidence);
	sl_buf_json_ktime(b, "created_at", r->created_ms);
	sl_buf_json_ki64(b, "age_s", now > r->created_ms ? (now - r->created_ms) / 1000 : 0);
	sl_buf_json_ki64(b, "reuse_count", r->reuse_count);
	sl_buf_json_kraw(b, "metadata", r->metadata);
	if (r->has_run) {
		sl_uuid_format(r->run.u, id);
		sl_buf_json_kz(b, "run_id", id);
	} else {
		sl_buf_json_kz(b, "run_id", NULL);
	}
	why(b, s, f);
	if (cut)
		sl_buf_json_kbool(b, "truncated", true);
	sl_buf_addc(b, '}');
}

/* Twins of what is given already would only fill the prompt. */
static bool said_already(const struct sl_trigrams *given, size_t n, const struct sl_trigrams *t)
{
	for (size_t i = 0; i < n; i++)
		if (sl_trigrams_similarity(&given[i], t) >= 0.9)
			return true;
	return false;
}

static void give(struct search *s)
{
	struct sl_buf *b = &s->op.json;
	struct sl_trigrams given[RESULTS_MOST];
	int64_t now = sl_clock_wall_ms();
	size_t n = 0, skip = s->q.offset, at = 0;
	uint32_t tokens = 0;
	bool more = false;
	char id[SL_UUID_TEXT_BYTES];
	sl_buf_adds(b, "{\"items\":[");
	for (; at < s->n_found; at++) {
		const struct found *f = &s->found[at];
		struct sl_trigrams t = {0};
		if (skip) {
			skip--;
			continue;
		}
		if (s->q.others_only && f->row->has_run && sl_run_id_eq(f->row->run, s->q.run))
			continue;
		if (n == s->q.max_results) {
			more = true;
			break;
		}
		if (sl_trigrams_of(f->row->content, &t) != SL_OK || said_already(given, n, &t)) {
			sl_trigrams_fini(&t);
			continue;
		}
		struct sl_str content = f->row->content;
		uint32_t cost = sl_memory_tokens(content);
		bool cut = false;
		if (s->q.max_tokens && tokens + cost > s->q.max_tokens) {
			if (n) {
				sl_trigrams_fini(&t);
				more = true;
				break;
			}
			content.len = sl_utf8_cut(content.p, content.len, (size_t)s->q.max_tokens * 4);
			cost = s->q.max_tokens;
			cut = true;
		}
		tokens += cost;
		given[n++] = t;
		item(b, s, f, content, cut, now);
		sl_uuid_format(f->id, id);
		sl_buf_addf(&s->given, "%s%s", s->given.len ? "," : "", id);
	}
	for (size_t i = 0; i < n; i++)
		sl_trigrams_fini(&given[i]);
	sl_buf_addc(b, ']');
	if (more)
		sl_buf_json_ku64(b, "next_offset", at);
	else
		sl_buf_json_kz(b, "next_offset", NULL);
	sl_buf_json_ku64(b, "tokens", tokens);
	if (s->degraded)
		sl_buf_json_kz(b, "degraded", s->degraded);
	sl_buf_addc(b, '}');
}

static void score_compute(struct sl_op *op) /* [a worker] */
{
	struct search *s = search_of(op);
	SL_AUTO(sl_score_query) query = NULL;
	bool any = s->query_bytes && !s->recent;
	size_t kept = 0;
	if (any)
		op->rc = sl_score_query_new(sl_str_n(s->query, s->query_bytes), &query);
	if (op->rc != SL_OK)
		return;
	for (size_t i = 0; i < s->n_found; i++) {
		struct found *f = &s->found[i];
		if (!f->row)
			continue;
		f->text = query ? sl_score(query, f->row->content) : 0;
		f->relevance = fmax(f->text, (double)f->cosine);
		if (!any || f->relevance >= s->q.relevance_threshold)
			s->found[kept++] = *f;
	}
	s->n_found = kept;
	if (kept) {
		fuse(s, kept);
		qsort(s->found, kept, sizeof(*s->found), by_fused);
	}
	give(s);
}

static void used(struct sl_op *op)
{
	struct search *s = search_of(op);
	if (op->rc != SL_OK) /* what cannot be recorded is not given: the list of runs must be the truth */
		search_fail(s, op->rc);
	else
		search_finish(s);
}

static void scored(struct sl_op *op)
{
	struct search *s = search_of(op);
	if (op->rc != SL_OK || !s->q.has_run || s->given.len == 0) {
		if (op->rc != SL_OK)
			search_fail(s, op->rc);
		else
			search_finish(s);
		return;
	}
	op->go = used;
	enum sl_code rc = sl_store_memory_used(op->m->config.store, sl_buf_str(&s->given), s->q.run, sl_str(s->path),
					       sl_op_from_store, op);
	if (rc != SL_OK)
		search_fail(s, rc);
}

/* ---- fetch ---- */

static void scan_begin(struct search *s);

static void fetched(struct sl_op *op)
{
	struct search *s = search_of(op);
	bool stale = false;
	if (op->rc != SL_OK) {
		search_fail(s, op->rc);
		return;
	}
	for (size_t i = 0; i < s->n_found; i++) {
		struct found *f = &s->found[i];
		f->row = NULL;
		for (size_t k = 0; k < op->rows->n && !f->row; k++)
			if (sl_uuid_eq(op->rows->items[k].id, f->id))
				f->row = &op->rows->items[k];
		if (!f->row && f->near && !s->store_query.since_ms && s->store_query.long_term) {
			sl_project_drop(op->m, sl_str(s->project), f->id);
			stale = true;
		}
	}
	if (stale && !s->scanned_again && s->vectors && s->vectors->state == SL_PROJECT_READY) {
		s->scanned_again = true;
		scan_begin(s);
		return;
	}
	sl_op_work(op, score_compute, scored);
}

static void fetch(struct search *s)
{
	struct sl_op *op = &s->op;
	char id[SL_UUID_TEXT_BYTES];
	s->phase = PHASE_LATER;
	sl_list_drop(&s->link);
	sl_buf_reset(&s->ids);
	for (size_t i = 0; i < s->n_hits; i++) { /* best first, so the first piece of a memory is its best */
		struct found *f = find_or_add(s, s->hits[i].id);
		if (f && !f->near) {
			f->near = (uint16_t)(i + 1);
			f->cosine = s->hits[i].score > 0 ? s->hits[i].score : 0;
		}
	}
	for (size_t i = 0; i < s->n_found; i++) {
		sl_uuid_format(s->found[i].id, id);
		sl_buf_addf(&s->ids, "%s%s", i ? "," : "", id);
	}
	if (s->n_found == 0) {
		sl_op_work(op, score_compute, scored); /* answers that there is nothing */
		return;
	}
	op->go = fetched;
	enum sl_code rc = s->ids.failed ? SL_NO_MEMORY
					: sl_store_memory_fetch(op->m->config.store, &s->store_query,
								sl_buf_str(&s->ids), sl_op_rows_from_store, op);
	if (rc != SL_OK)
		search_fail(s, rc);
}

/* ---- vectors ---- */

static void scan_compute(struct sl_op *op) /* [a worker] */
{
	struct search *s = search_of(op);
	s->n_hits = sl_vectors_search(s->vectors->vectors, s->query_vector->vector, VECTORS, s->hits);
}

static void scanned(struct sl_op *op)
{
	struct search *s = search_of(op);
	sl_project_read_end(s->vectors);
	if (s->scanned_again)
		for (size_t i = 0; i < s->n_found; i++)
			s->found[i].near = 0;
	fetch(s);
}

static void scan_begin(struct search *s)
{
	s->phase = PHASE_LATER;
	sl_list_drop(&s->link);
	if (!s->vectors->vectors || sl_vectors_dims(s->vectors->vectors) != s->query_vector->dims) {
		s->degraded = s->vectors->vectors ? "vectors of another size" : s->degraded;
		fetch(s);
		return;
	}
	sl_project_read(s->vectors);
	sl_op_work(&s->op, scan_compute, scanned);
}

static void vectors_step(struct search *s)
{
	struct sl_project *p = s->vectors;
	if (p->state == SL_PROJECT_LOADING && sl_clock_mono_ms() < s->project_waiter.since_ms + 2000) {
		sl_list_drop(&s->project_waiter.link);
		sl_list_append(&p->waiters, &s->project_waiter.link);
		return;
	}
	if (p->state == SL_PROJECT_LOADING) {
		s->degraded = "vectors_loading";
		fetch(s);
		return;
	}
	if (p->failed)
		s->degraded = "vectors_failed";
	else if (p->full)
		s->degraded = "vectors_full";
	if (!p->vectors || sl_vectors_count(p->vectors) == 0) {
		fetch(s);
		return;
	}
	if (s->query_vector->state == SL_QUERY_WAITING) {
		sl_list_drop(&s->query_waiter.link);
		sl_list_append(&s->query_vector->waiters, &s->query_waiter.link);
		return;
	}
	if (s->query_vector->state == SL_QUERY_FAILED) {
		s->degraded = "embedding_failed";
		fetch(s);
		return;
	}
	scan_begin(s);
}

static void project_ready(struct sl_project_waiter *w)
{
	vectors_step(SL_CONTAINER_OF(w, struct search, project_waiter));
}

static void query_ready(struct sl_query_waiter *w)
{
	vectors_step(SL_CONTAINER_OF(w, struct search, query_waiter));
}

static void vectors_begin(struct search *s)
{
	struct sl_memory *m = s->op.m;
	char model[SL_MODEL_BYTES];
	s->phase = PHASE_VECTORS;
	SL_AUTO(sl_profile)
	profile = s->query_bytes && s->version && s->store_query.long_term && !s->recent ? sl_embedder_profile(m, model)
											 : NULL;
	if (!profile) {
		fetch(s);
		return;
	}
	s->vectors = sl_project_get(m, sl_str(s->project), model, s->version);
	if (s->vectors && s->vectors->state == SL_PROJECT_READY && !s->vectors->failed && s->vectors->count == 0) {
		fetch(s); /* no piece has a vector of this model: the query needs none */
		return;
	}
	s->query_vector = s->vectors ? sl_embedder_query(m, profile, model, sl_str_n(s->query, s->query_bytes)) : NULL;
	if (!s->query_vector) {
		s->degraded = "no_memory";
		fetch(s);
		return;
	}
	s->project_waiter.since_ms = sl_clock_mono_ms();
	vectors_step(s);
}

/* ---- candidates ---- */

/* One call of the store; it may come back when nobody waits for it any more. */
struct asked {
	struct sl_post post;
	struct search *s;
	uint32_t number;
	enum sl_code rc;
	struct sl_memory_candidate *items;
	size_t n;
	int64_t version;
};

static void search_free_late(struct search *s)
{
	struct sl_memory *m = s->op.m;
	sl_op_free(&s->op);
	sl_memory_end(m);
}

static void candidates_arrive(struct sl_post *post)
{
	struct asked *a = SL_CONTAINER_OF(post, struct asked, post);
	struct search *s = a->s;
	uint16_t ranks[SL_MEMORY_LEGS] = {0};
	bool current = !s->over && a->number == s->asked && s->phase == PHASE_CANDIDATES;
	s->calls--;
	for (size_t i = 0; current && a->rc == SL_OK && i < a->n; i++) {
		struct found *f = find_or_add(s, a->items[i].id);
		if (f && !f->rank[a->items[i].leg])
			f->rank[a->items[i].leg] = ++ranks[a->items[i].leg];
	}
	enum sl_code rc = a->rc;
	if (current)
		s->version = a->version;
	free(a->items);
	free(a);
	if (s->over) {
		if (s->calls == 0)
			search_free_late(s);
	} else if (current && rc != SL_OK) {
		search_fail(s, rc);
	} else if (current) {
		vectors_begin(s);
	}
}

static void on_candidates(void *arg, enum sl_code rc, const struct sl_memory_candidate *items, size_t n,
			  int64_t version)
{
	struct asked *a = arg; /* [store] */
	a->rc = rc;
	a->version = version;
	if (rc == SL_OK && n) {
		a->items = malloc(n * sizeof(*items));
		if (a->items)
			memcpy(a->items, items, n * sizeof(*items));
		else
			a->rc = SL_NO_MEMORY;
		a->n = a->items ? n : 0;
	}
	sl_loop_post(a->s->op.m->loop, &a->post);
}

static void candidates_begin(struct search *s)
{
	struct asked *a = calloc(1, sizeof(*a));
	enum sl_code rc = SL_NO_MEMORY;
	if (a) {
		*a = (struct asked){.post.run = candidates_arrive, .s = s, .number = ++s->asked};
		s->calls++;
		rc = sl_store_memory_candidates(s->op.m->config.store, &s->store_query, on_candidates, a);
		if (rc != SL_OK) {
			s->calls--;
			free(a);
		}
	}
	if (rc != SL_OK)
		search_fail(s, rc);
}

/* ---- deadlines ---- */

static void search_late(struct search *s)
{
	if (s->phase == PHASE_VECTORS) { /* the texts are there: they are the answer */
		s->degraded = "embedding_late";
		sl_list_drop(&s->project_waiter.link);
		sl_list_drop(&s->query_waiter.link);
		fetch(s);
		return;
	}
	sl_list_drop(&s->link);
	if (s->q.on_timeout == SL_MEMORY_RECENT && !s->recent) {
		s->recent = true;
		s->degraded = "timeout";
		s->deadline_ms = sl_clock_mono_ms() + 1000;
		s->store_query.text = SL_STR("");
		s->store_query.each = s->q.max_results;
		sl_list_append(&s->op.m->searches, &s->link);
		sl_memory_wake_at(s->op.m, s->deadline_ms);
		candidates_begin(s);
		return;
	}
	if (s->q.on_timeout == SL_MEMORY_FAIL) {
		s->op.rc = sl_fail(&s->op.err, SL_TIMEOUT, "the memories could not be searched in time");
		search_finish(s);
	} else {
		search_empty(s, "timeout");
	}
}

void sl_searches_tick(struct sl_memory *m, uint64_t now)
{
	sl_list_each_safe (it, tmp, &m->searches) {
		struct search *s = sl_list_entry(it, struct search, link);
		if (now == UINT64_MAX && s->phase == PHASE_CANDIDATES)
			continue; /* stopping: the store answers all it owes */
		if (now >= s->deadline_ms)
			search_late(s);
		else
			sl_memory_wake_at(m, s->deadline_ms);
	}
}

static void search_begin(struct sl_op *op)
{
	struct search *s = search_of(op);
	atomic_fetch_add(&op->m->searched, 1);
	sl_list_append(&op->m->searches, &s->link);
	sl_memory_wake_at(op->m, s->deadline_ms);
	candidates_begin(s);
}

enum sl_code sl_memory_search(struct sl_memory *m, const struct sl_memory_search *q, sl_memory_fn *fn, void *arg)
{
	struct search *s = sl_op_new(m, sizeof(*s), search_drop, fn, arg);
	struct sl_str query = sl_str_trim(q->query);
	if (!s)
		return SL_NO_MEMORY;
	sl_list_init(&s->link);
	sl_list_init(&s->project_waiter.link);
	sl_list_init(&s->query_waiter.link);
	s->project_waiter.fn = project_ready;
	s->query_waiter.fn = query_ready;
	sl_buf_init(&s->ids, 64 << 10);
	sl_buf_init(&s->given, 8 << 10);
	query.len = sl_utf8_cut(query.p, query.len, SL_LIMIT_MEMORY_BYTES);
	s->project = sl_str_dup(q->project);
	s->query = sl_str_dup(query);
	s->path = sl_str_dup(q->path);
	if (!s->project || !s->query || !s->path) {
		sl_op_free(&s->op);
		return SL_NO_MEMORY;
	}
	s->query_bytes = sl_memory_storable(s->query, query.len);
	s->q = *q;
	if (s->q.max_results == 0)
		s->q.max_results = 5;
	if (s->q.max_results > RESULTS_MOST)
		s->q.max_results = RESULTS_MOST;
	s->deadline_ms = sl_clock_mono_ms() + (q->timeout_ms ? q->timeout_ms : m->config.search_timeout_ms);
	bool both = !q->working && !q->long_term;
	s->store_query = (struct sl_memory_query){
		.project = sl_str(s->project),
		.text = sl_str_n(s->query, s->query_bytes),
		.rights = &m->rights,
		.working = both || q->working,
		.long_term = both || q->long_term,
		.since_ms = q->time_range_days ? sl_clock_wall_ms() - (int64_t)q->time_range_days * 86400000 : 0,
		.hot = HOT,
		.each = EACH,
	};
	return sl_op_start(&s->op, search_begin);
}
