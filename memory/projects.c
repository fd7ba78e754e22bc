/* memory/projects.c: the vectors of projects in memory: loaded when first asked for, page by page, and brought up to
 * date when the project's version says that there is more.
 *
 * Vectors change only while nobody searches (`readers`); loading computes on a thread, too. All projects together have
 * one budget; the one that was not used for longest goes first.
 */
#include "memory/memory_priv.h"

#include <string.h>

#define PAGE_ROWS    500
#define WAIT_MOST_MS 2000 /* a search goes without vectors rather than wait longer for them */

/* A load under way. */
struct sl_load {
	struct sl_post post;
	uv_work_t work;
	struct sl_project *p;
	int64_t since, version;
	struct sl_uuid after;
	int32_t after_n;
	enum sl_code rc;
	/* a page */
	size_t n;
	uint32_t dims; /* of its first row, or of the project */
	struct sl_memory_vector *rows;
	char *bytes;
	size_t room; /* vectors that fit yet */
	bool waits;  /* the page is here, but somebody reads */
	bool full;
};

static void load_next(struct sl_load *l);

static void page_free(struct sl_load *l)
{
	free(l->rows);
	free(l->bytes);
	l->rows = NULL;
	l->bytes = NULL;
	l->n = 0;
}

static void count_all(struct sl_memory *m)
{
	struct sl_project *p, *tmp;
	uint64_t n = 0, bytes = 0;
	HASH_ITER (hh, m->projects, p, tmp) {
		n += p->count;
		bytes += p->bytes;
	}
	atomic_store(&m->vectors, n);
	atomic_store(&m->vector_bytes, bytes);
}

/* What is counted is noted here, because a thread may be adding to the vectors of another project. */
static void note(struct sl_project *p)
{
	p->count = p->vectors ? sl_vectors_count(p->vectors) : 0;
	p->bytes = p->vectors ? sl_vectors_bytes(p->vectors) : 0;
}

static void tell_waiters(struct sl_project *p, uint64_t asked_before_ms)
{
	struct sl_list ready;
	sl_list_init(&ready);
	sl_list_each_safe (it, tmp, &p->waiters) {
		struct sl_project_waiter *w = sl_list_entry(it, struct sl_project_waiter, link);
		if (w->since_ms <= asked_before_ms) {
			sl_list_drop(it);
			sl_list_append(&ready, it);
		}
	}
	while (!sl_list_empty(&ready)) {
		struct sl_project_waiter *w = sl_list_entry(ready.next, struct sl_project_waiter, link);
		sl_list_drop(&w->link);
		w->fn(w);
	}
}

static void drop_now(struct sl_project *p)
{
	for (size_t i = 0; p->vectors && i < p->n_drops; i++)
		sl_vectors_drop(p->vectors, p->drops[i]);
	p->n_drops = 0;
	note(p);
}

static void load_end(struct sl_load *l, bool complete)
{
	struct sl_project *p = l->p;
	struct sl_memory *m = p->m;
	p->state = SL_PROJECT_READY;
	p->failed = !complete;
	p->full = l->full;
	if (complete)
		p->version = l->version;
	p->load = NULL;
	page_free(l);
	free(l);
	drop_now(p);
	count_all(m);
	tell_waiters(p, UINT64_MAX);
	sl_memory_end(m);
}

static void page_put(uv_work_t *w) /* [a worker] nobody searches meanwhile */
{
	struct sl_load *l = SL_CONTAINER_OF(w, struct sl_load, work);
	struct sl_project *p = l->p;
	float x[SL_VECTORS_DIMS];
	if (!p->vectors)
		l->rc = sl_vectors_new(l->dims, SL_VECTORS_BEST, &p->vectors);
	for (size_t i = 0; l->rc == SL_OK && i < l->n; i++) {
		const struct sl_memory_vector *row = &l->rows[i];
		if (row->dims != l->dims || !sl_vectors_read(row->vector.p, row->dims, x))
			continue; /* of another model under the same name, or broken: text still finds it */
		if (l->room == 0) {
			l->full = true;
			return;
		}
		enum sl_code rc = sl_vectors_put(p->vectors, row->id, row->n, x);
		if (rc == SL_NO_MEMORY)
			l->rc = rc;
		l->room -= rc == SL_OK;
	}
}

static void page_done(uv_work_t *w, int status)
{
	struct sl_load *l = SL_CONTAINER_OF(w, struct sl_load, work);
	struct sl_project *p = l->p;
	bool last = l->n < PAGE_ROWS;
	note(p);
	if (l->rc == SL_OK && !last && !l->full && !atomic_load(&p->m->stopping)) {
		const struct sl_memory_vector *row = &l->rows[l->n - 1];
		l->after = row->id;
		l->after_n = (int32_t)row->n;
		page_free(l);
		tell_waiters(p, sl_clock_mono_ms() - WAIT_MOST_MS);
		load_next(l);
		return;
	}
	if (l->full)
		sl_log(SL_LOG_WARN, "memory",
		       "not all vectors of a project fit into memory: the others are found by text only",
		       SL_KS("project", p->name), SL_KU("vectors", sl_vectors_count(p->vectors)));
	load_end(l, l->rc == SL_OK);
}

/* Frees other projects' vectors until `want` more bytes fit, or nothing is left to free; how many bytes do. */
static size_t make_room(struct sl_project *for_p, size_t want)
{
	struct sl_memory *m = for_p->m;
	for (;;) {
		struct sl_project *p, *tmp, *oldest = NULL;
		size_t used = 0;
		HASH_ITER (hh, m->projects, p, tmp) {
			used += p->bytes;
			if (p != for_p && p->vectors && p->readers == 0 && p->state == SL_PROJECT_READY &&
			    (!oldest || p->used < oldest->used))
				oldest = p;
		}
		size_t left = used < m->config.vector_bytes ? m->config.vector_bytes - used : 0;
		if (left >= want || !oldest)
			return left;
		sl_vectors_free(oldest->vectors);
		oldest->vectors = NULL;
		oldest->version = 0; /* the next search loads it again */
		note(oldest);
	}
}

static void page_arrives(struct sl_load *l)
{
	struct sl_project *p = l->p;
	if (l->rc != SL_OK) {
		if (l->rc != SL_CANCELLED)
			sl_log(SL_LOG_WARN, "memory", "vectors could not be loaded", SL_KS("project", p->name),
			       SL_KS("error", sl_code_wire(l->rc)));
		load_end(l, false);
		return;
	}
	if (l->n == 0) {
		load_end(l, true);
		return;
	}
	l->waits = p->readers > 0;
	if (l->waits) /* sl_project_read_end() comes back */
		return;
	l->dims = p->vectors ? sl_vectors_dims(p->vectors) : 0;
	for (size_t i = 0; i < l->n && !l->dims; i++)
		l->dims = l->rows[i].dims <= SL_VECTORS_DIMS ? l->rows[i].dims : 0;
	if (!l->dims) {
		l->rc = SL_INVALID;
		load_end(l, false);
		return;
	}
	size_t each = sl_vectors_bytes_each(l->dims), page = each * 1024; /* they come by the block */
	l->room = make_room(p, page) / each;
	if (uv_queue_work(sl_loop_uv(p->m->loop), &l->work, page_put, page_done) != 0)
		load_end(l, false);
}

static void page_posted(struct sl_post *post)
{
	page_arrives(SL_CONTAINER_OF(post, struct sl_load, post));
}

static void on_page(void *arg, enum sl_code rc, const struct sl_memory_vector *items, size_t n) /* [store] */
{
	struct sl_load *l = arg;
	size_t bytes = 0;
	l->rc = rc;
	for (size_t i = 0; i < n; i++)
		bytes += items[i].vector.len;
	if (rc == SL_OK && n) {
		l->rows = calloc(n, sizeof(*l->rows));
		l->bytes = malloc(bytes + 1);
		if (!l->rows || !l->bytes)
			l->rc = SL_NO_MEMORY;
	}
	char *at = l->bytes;
	for (size_t i = 0; l->rc == SL_OK && i < n; i++) {
		l->rows[i] = items[i];
		memcpy(at, items[i].vector.p, items[i].vector.len);
		l->rows[i].vector.p = at;
		at += items[i].vector.len;
		l->n++;
	}
	sl_loop_post(l->p->m->loop, &l->post);
}

static void load_next(struct sl_load *l)
{
	struct sl_memory *m = l->p->m;
	enum sl_code rc = sl_store_memory_vectors(m->config.store, &m->rights, sl_str(l->p->name), sl_str(l->p->model),
						  l->since, l->after, l->after_n, PAGE_ROWS, on_page, l);
	if (rc != SL_OK)
		load_end(l, false);
}

static void load_begin(struct sl_project *p, int64_t version)
{
	struct sl_load *l = calloc(1, sizeof(*l));
	if (!l) {
		p->failed = true;
		return;
	}
	*l = (struct sl_load){
		.post.run = page_posted, .p = p, .since = p->version, .version = version, .after_n = INT32_MAX};
	memset(l->after.b, 0xff, sizeof(l->after.b)); /* the newest first: they are what is left out last */
	p->state = SL_PROJECT_LOADING;
	p->load = l;
	sl_memory_begin(p->m);
	load_next(l);
}

struct sl_project *sl_project_get(struct sl_memory *m, struct sl_str name, const char *model, int64_t version)
{
	struct sl_project *p = NULL;
	SL_ASSERT_LOOP(m->loop);
	HASH_FIND(hh, m->projects, name.p, (unsigned)name.len, p);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p || !(p->name = sl_str_dup(name))) {
			free(p);
			return NULL;
		}
		p->m = m;
		sl_list_init(&p->waiters);
		HASH_ADD_KEYPTR(hh, m->projects, p->name, (unsigned)name.len, p);
		if (!p->hh.tbl) {
			free(p->name);
			free(p);
			return NULL;
		}
	}
	p->used = ++m->clock;
	if (p->state == SL_PROJECT_LOADING)
		return p;
	if (strcmp(p->model, model) != 0) {
		if (p->readers) /* its vectors are being read: the next search changes it */
			return p;
		sl_vectors_free(p->vectors);
		p->vectors = NULL;
		p->version = 0;
		note(p);
		snprintf(p->model, sizeof(p->model), "%s", model);
	}
	p->failed = false;
	if (p->version < version)
		load_begin(p, version);
	return p;
}

void sl_project_read(struct sl_project *p)
{
	p->readers++;
}

void sl_project_read_end(struct sl_project *p)
{
	if (--p->readers)
		return;
	if (p->state == SL_PROJECT_READY)
		drop_now(p);
	else if (p->load && p->load->waits)
		page_arrives(p->load);
}

void sl_project_drop(struct sl_memory *m, struct sl_str name, struct sl_uuid id)
{
	struct sl_project *p = NULL;
	HASH_FIND(hh, m->projects, name.p, (unsigned)name.len, p);
	if (!p)
		return;
	if (p->readers == 0 && p->state == SL_PROJECT_READY) {
		if (p->vectors)
			sl_vectors_drop(p->vectors, id);
		note(p);
		count_all(m);
		return;
	}
	if (p->n_drops == p->cap_drops) {
		size_t cap = p->cap_drops ? p->cap_drops * 2 : 16;
		struct sl_uuid *drops = realloc(p->drops, cap * sizeof(*drops));
		if (!drops)
			return; /* it stays a while; what it finds is not confirmed by the database, and is dropped then
				 */
		p->drops = drops;
		p->cap_drops = cap;
	}
	p->drops[p->n_drops++] = id;
}

void sl_projects_fini(struct sl_memory *m)
{
	struct sl_project *p, *tmp;
	HASH_ITER (hh, m->projects, p, tmp) {
		HASH_DEL(m->projects, p);
		sl_vectors_free(p->vectors);
		free(p->drops);
		free(p->name);
		free(p);
	}
}
