/* memory/embedder.c: vectors for queries, and for pieces that have none yet.
 *
 * A query's vector is asked for once, however many searches want it, and kept for the next ones. Pieces are filled in
 * rounds of one call to the model and one to the store; a failure is tried again later, less and less often.
 */
#include "memory/memory_priv.h"

#include <string.h>

#include "base/utf8.h"

#define QUERIES_KEPT    256
#define QUERY_BYTES     8000 /* of a query that the model sees */
#define FILL_RETRY_MS   5000
#define FILL_RETRY_MOST 300000

struct sl_profile *sl_embedder_profile(struct sl_memory *m, char model[SL_MODEL_BYTES])
{
	struct sl_profile *p = m->config.llm ? sl_profiles_get_embedding(sl_llm_profiles(m->config.llm)) : NULL;
	if (p)
		snprintf(model, SL_MODEL_BYTES, "%s/%s", p->provider, p->model);
	return p;
}

/* ---- queries ---- */

static void query_free(struct sl_query_vector *q)
{
	sl_embed_unref(q->call);
	sl_bytes_unref(q->body);
	free(q->vector);
	free(q);
}

static void query_unlist(struct sl_query_vector *q)
{
	if (!q->listed)
		return;
	sl_list_drop(&q->link);
	q->listed = false;
	q->m->n_queries--;
}

void sl_embedder_done(struct sl_query_vector *q)
{
	if (q && --q->uses == 0 && !q->listed)
		query_free(q);
}

static void query_end(struct sl_query_vector *q)
{
	struct sl_memory *m = q->m;
	q->state = q->rc == SL_OK ? SL_QUERY_READY : SL_QUERY_FAILED;
	if (q->rc != SL_OK) {
		query_unlist(q); /* the next search asks again */
		if (q->rc != SL_CANCELLED)
			sl_log(SL_LOG_WARN, "memory", "a query got no vector; it is searched by text",
			       SL_KS("error", q->err.text));
	}
	sl_bytes_unref(q->body);
	q->body = NULL;
	while (!sl_list_empty(&q->waiters)) {
		struct sl_query_waiter *w = sl_list_entry(q->waiters.next, struct sl_query_waiter, link);
		sl_list_drop(&w->link);
		w->fn(w);
	}
	sl_embedder_done(q); /* the call's own use */
	sl_memory_end(m);
}

static void query_read(uv_work_t *w) /* [a worker] */
{
	struct sl_query_vector *q = SL_CONTAINER_OF(w, struct sl_query_vector, work);
	uint64_t tokens;
	q->rc = sl_embed_read(sl_bytes_str(q->body), 1, &q->dims, &q->vector, &tokens, &q->err);
}

static void query_was_read(uv_work_t *w, int status)
{
	query_end(SL_CONTAINER_OF(w, struct sl_query_vector, work));
}

static void query_arrives(struct sl_post *post)
{
	struct sl_query_vector *q = SL_CONTAINER_OF(post, struct sl_query_vector, post);
	if (q->rc != SL_OK || uv_queue_work(sl_loop_uv(q->m->loop), &q->work, query_read, query_was_read) != 0)
		query_end(q);
}

static void on_query(void *ctx, enum sl_code rc, const struct sl_error *err, struct sl_bytes *body) /* [io] */
{
	struct sl_query_vector *q = ctx;
	q->rc = rc;
	q->err = *err;
	q->body = rc == SL_OK ? sl_bytes_ref(body) : NULL;
	sl_loop_post(q->m->loop, &q->post);
}

struct sl_query_vector *sl_embedder_query(struct sl_memory *m, const struct sl_profile *p, const char *model,
					  struct sl_str text)
{
	uint8_t hash[SL_MEMORY_HASH_BYTES];
	SL_ASSERT_LOOP(m->loop);
	text.len = sl_utf8_cut(text.p, text.len, QUERY_BYTES);
	sl_memory_hash(text, hash);
	sl_list_each (it, &m->queries) {
		struct sl_query_vector *q = sl_list_entry(it, struct sl_query_vector, link);
		if (memcmp(q->hash, hash, sizeof(hash)) != 0 || strcmp(q->model, model) != 0)
			continue;
		sl_list_drop(it); /* to the front */
		sl_list_append(m->queries.next, it);
		q->uses++;
		return q;
	}
	struct sl_query_vector *q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->m = m;
	q->post.run = query_arrives;
	q->uses = 2; /* the caller's, the call's */
	sl_list_init(&q->waiters);
	sl_list_init(&q->link);
	snprintf(q->model, sizeof(q->model), "%s", model);
	memcpy(q->hash, hash, sizeof(hash));
	sl_memory_begin(m);
	enum sl_code rc =
		sl_embed_start(m->config.llm, p, &text, 1, m->config.embed_timeout_ms, on_query, q, &q->call, &q->err);
	if (rc != SL_OK) {
		q->state = SL_QUERY_FAILED;
		q->uses = 1;
		sl_memory_end(m);
		return q;
	}
	sl_list_append(m->queries.next, &q->link);
	q->listed = true;
	if (++m->n_queries > QUERIES_KEPT) {
		struct sl_query_vector *old = sl_list_entry(m->queries.prev, struct sl_query_vector, link);
		old->uses++;
		query_unlist(old);
		sl_embedder_done(old);
	}
	return q;
}

/* ---- pieces ---- */

struct sl_fill {
	struct sl_post post;
	uv_work_t work;
	struct sl_memory *m;
	char model[SL_MODEL_BYTES];
	struct sl_profile *profile;
	struct sl_memory_rows *rows;
	struct sl_embed *call;
	struct sl_bytes *body;
	enum sl_code rc;
	struct sl_error err;
	void (*then)(struct sl_fill *f); /* [memory] */
	/* for the store */
	uint32_t dims;
	char *hashes, *vectors;
};

static void fill_end(struct sl_fill *f)
{
	struct sl_memory *m = f->m;
	bool more = f->rc == SL_OK && (m->fill_again || (f->rows && f->rows->n)),
	     failed = f->rc != SL_OK && f->rc != SL_CANCELLED && f->rc != SL_DRAINING;
	if (failed) {
		uint64_t wait = FILL_RETRY_MS;
		for (uint32_t i = 0; i < m->fill_failures && wait < FILL_RETRY_MOST; i++)
			wait *= 2;
		m->fill_failures++;
		m->fill_due_ms = sl_clock_mono_ms() + (wait < FILL_RETRY_MOST ? wait : FILL_RETRY_MOST);
		sl_log(SL_LOG_WARN, "memory", "long-term memories got no vectors yet; they are found by text",
		       SL_KS("profile", f->profile->name),
		       SL_KS("error", f->err.text[0] ? f->err.text : sl_code_wire(f->rc)));
	} else if (f->rc == SL_OK) {
		m->fill_failures = 0;
	}
	sl_embed_unref(f->call);
	sl_bytes_unref(f->body);
	sl_profile_unref(f->profile);
	free(f->rows);
	free(f->hashes);
	free(f->vectors);
	free(f);
	m->fill = NULL;
	m->fill_again = false;
	if (failed)
		sl_memory_wake_at(m, m->fill_due_ms);
	else if (more)
		sl_embedder_fill(m);
	sl_memory_end(m);
}

static void fill_arrives(struct sl_post *post)
{
	struct sl_fill *f = SL_CONTAINER_OF(post, struct sl_fill, post);
	if (f->rc != SL_OK)
		fill_end(f);
	else
		f->then(f);
}

static void on_filled(void *arg, enum sl_code rc)
{
	struct sl_fill *f = arg;
	f->rc = rc;
	sl_loop_post(f->m->loop, &f->post);
}

static void fill_stored(struct sl_fill *f)
{
	atomic_fetch_add(&f->m->embedded, f->rows->n);
	fill_end(f);
}

static void fill_read(uv_work_t *w) /* [a worker] */
{
	struct sl_fill *f = SL_CONTAINER_OF(w, struct sl_fill, work);
	size_t n = f->rows->n;
	float *x = NULL;
	uint64_t tokens;
	f->rc = sl_embed_read(sl_bytes_str(f->body), n, &f->dims, &x, &tokens, &f->err);
	if (f->rc != SL_OK)
		return;
	f->hashes = malloc(n * SL_MEMORY_HASH_BYTES);
	f->vectors = malloc(n * f->dims * 4);
	if (!f->hashes || !f->vectors)
		f->rc = SL_NO_MEMORY;
	for (size_t i = 0; f->rc == SL_OK && i < n; i++)
		sl_memory_hash(f->rows->items[i].content, (uint8_t *)f->hashes + i * SL_MEMORY_HASH_BYTES);
	for (size_t i = 0; f->rc == SL_OK && i < n * f->dims; i++) {
		uint32_t u;
		memcpy(&u, &x[i], 4);
		for (int k = 0; k < 4; k++)
			f->vectors[4 * i + (size_t)k] = (char)(u >> 8 * k);
	}
	free(x);
}

static void fill_was_read(uv_work_t *w, int status)
{
	struct sl_fill *f = SL_CONTAINER_OF(w, struct sl_fill, work);
	f->then = fill_stored;
	enum sl_code rc = f->rc;
	if (rc == SL_OK)
		rc = sl_store_memory_embed(f->m->config.store, sl_str(f->model), f->dims,
					   sl_str_n(f->hashes, f->rows->n * SL_MEMORY_HASH_BYTES),
					   sl_str_n(f->vectors, f->rows->n * f->dims * 4), on_filled, f);
	if (rc != SL_OK) {
		f->rc = rc;
		fill_end(f);
	}
}

static void fill_answered(struct sl_fill *f)
{
	if (uv_queue_work(sl_loop_uv(f->m->loop), &f->work, fill_read, fill_was_read) != 0) {
		f->rc = SL_NO_MEMORY;
		fill_end(f);
	}
}

static void on_vectors(void *ctx, enum sl_code rc, const struct sl_error *err, struct sl_bytes *body) /* [io] */
{
	struct sl_fill *f = ctx;
	f->rc = rc;
	f->err = *err;
	f->body = rc == SL_OK ? sl_bytes_ref(body) : NULL;
	sl_loop_post(f->m->loop, &f->post);
}

static void fill_ask(struct sl_fill *f)
{
	struct sl_str texts[SL_EMBED_TEXTS];
	if (f->rows->n == 0) {
		fill_end(f);
		return;
	}
	for (size_t i = 0; i < f->rows->n; i++)
		texts[i] = f->rows->items[i].content;
	f->then = fill_answered;
	enum sl_code rc =
		sl_embed_start(f->m->config.llm, f->profile, texts, f->rows->n, 0, on_vectors, f, &f->call, &f->err);
	if (rc != SL_OK) {
		f->rc = rc;
		fill_end(f);
	}
}

static void on_pieces(void *arg, enum sl_code rc, struct sl_memory_rows *rows) /* [store] */
{
	struct sl_fill *f = arg;
	f->rows = rows;
	on_filled(arg, rc);
}

void sl_embedder_fill(struct sl_memory *m)
{
	char model[SL_MODEL_BYTES];
	SL_ASSERT_LOOP(m->loop);
	if (m->fill) {
		m->fill_again = true;
		return;
	}
	struct sl_profile *p = atomic_load(&m->stopping) ? NULL : sl_embedder_profile(m, model);
	struct sl_fill *f = p ? calloc(1, sizeof(*f)) : NULL;
	if (!f) {
		sl_profile_unref(p);
		return;
	}
	f->m = m;
	f->post.run = fill_arrives;
	f->profile = p;
	f->then = fill_ask;
	snprintf(f->model, sizeof(f->model), "%s", model);
	m->fill = f;
	m->fill_again = false;
	sl_memory_begin(m);
	enum sl_code rc = sl_store_memory_unembedded(m->config.store, sl_str(model), SL_EMBED_TEXTS, on_pieces, f);
	if (rc != SL_OK) {
		f->rc = rc;
		fill_end(f);
	}
}

void sl_embedder_fini(struct sl_memory *m)
{
	sl_list_each_safe (it, tmp, &m->queries)
		query_free(sl_list_entry(it, struct sl_query_vector, link));
}
