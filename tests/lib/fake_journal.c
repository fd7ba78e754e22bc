/* tests/lib/fake_journal.c: see fake_journal.h. */
#include "tests/lib/fake_journal.h"

#include <stdlib.h>

#include <uthash.h>

#include "tests/lib/test.h"

struct stored {
	struct stored *next;
	UT_hash_handle hh; /* by the id in its head */
	struct sl_run_head *head;
	struct sl_record *records;
	bool *last; /* of its batch */
	size_t n, cap;
	struct sl_bytes **onces; /* of the records, by hash; half of it is empty */
	size_t n_onces, cap_onces;
	uint64_t epoch;
	uint32_t recoveries;
	bool done, claimed, failed; /* failed: or cancelled */
	bool damaged;
	struct fake_writer *owner;
};

/* A batch on its way. */
struct flight {
	struct sl_batch *batch;
	struct fake_writer *from;
	bool written; /* it is here, and the answer has not come yet */
};

struct fake_journal {
	struct stored *runs, *by_id; /* the same ones */
	struct flight *flight;
	size_t n_flight, cap_flight;
	unsigned busy; /* loads that are refused from now on */
};

static struct stored *stored_of(struct fake_journal *j, struct sl_run_id id)
{
	struct stored *s = NULL;
	HASH_FIND(hh, j->by_id, id.u.b, sizeof(id.u.b), s);
	return s;
}

static struct sl_bytes *ref(struct sl_bytes *b)
{
	return sl_bytes_ref(b);
}

static struct sl_run_head *head_copy(const struct sl_run_head *h)
{
	struct sl_run_head *d = sl_run_head_new();
	*d = *h;
	d->workflow = h->workflow ? strdup(h->workflow) : NULL;
	d->project = h->project ? strdup(h->project) : NULL;
	d->idempotency_key = h->idempotency_key ? strdup(h->idempotency_key) : NULL;
	d->created_by = h->created_by ? strdup(h->created_by) : NULL;
	d->parent_node = h->parent_node ? strdup(h->parent_node) : NULL;
	d->definition = ref(h->definition);
	d->inputs = ref(h->inputs);
	d->tags = ref(h->tags);
	d->idempotency_digest = ref(h->idempotency_digest);
	return d;
}

static void put_once(struct stored *s, struct sl_bytes *once)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < once->len; i++)
		h = (h ^ (unsigned char)once->data[i]) * 1099511628211u;
	while (s->onces[h % s->cap_onces]) {
		assert_false(sl_str_eq(sl_bytes_str(s->onces[h % s->cap_onces]), sl_bytes_str(once)));
		h++;
	}
	s->onces[h % s->cap_onces] = once;
	s->n_onces++;
}

/* As the unique key of the real one: the same once twice fails the test. */
static void keep_once(struct stored *s, struct sl_bytes *once)
{
	if (s->n_onces * 2 >= s->cap_onces) {
		struct sl_bytes **old = s->onces;
		size_t n = s->cap_onces;
		s->cap_onces = n ? 2 * n : 64;
		s->onces = calloc(s->cap_onces, sizeof(struct sl_bytes *));
		s->n_onces = 0;
		for (size_t i = 0; i < n; i++)
			if (old[i])
				put_once(s, old[i]);
		free(old);
	}
	put_once(s, once);
}

static void write_records(struct stored *s, const struct sl_batch *b)
{
	for (size_t i = 0; i < b->n_records; i++) {
		struct sl_record *r = &b->records[i];
		assert_int_equal(r->seq, s->n + 1);
		if (r->once)
			keep_once(s, r->once);
		if (s->n == s->cap) {
			s->cap = s->cap ? 2 * s->cap : 32;
			s->records = realloc(s->records, s->cap * sizeof(*s->records));
			s->last = realloc(s->last, s->cap * sizeof(*s->last));
		}
		s->records[s->n] = *r;
		s->last[s->n] = i + 1 == b->n_records;
		ref(r->data);
		ref(r->detail);
		ref(r->once);
		s->n++;
	}
	if (b->has_projection) {
		s->done = b->projection.done;
		s->failed = s->done && strcmp(b->projection.status, "succeeded") != 0;
	}
}

static enum sl_code write_batch(struct fake_journal *j, struct sl_batch *b, struct fake_writer *from)
{
	SL_TEST_SPARED;
	struct stored *s = stored_of(j, b->run);
	if (b->create) {
		assert_null(s);
		for (struct stored *o = b->create->idempotency_key ? j->runs : NULL; o; o = o->next)
			if (o->head->idempotency_key &&
			    strcmp(b->create->idempotency_key, o->head->idempotency_key) == 0) {
				b->existing = o->head->id;
				b->same_request = true;
				return SL_CONFLICT;
			}
		s = calloc(1, sizeof(*s));
		s->head = head_copy(b->create);
		s->epoch = 1;
		s->claimed = true;
		s->owner = from;
		s->next = j->runs;
		j->runs = s;
		HASH_ADD_KEYPTR(hh, j->by_id, s->head->id.u.b, sizeof(s->head->id.u.b), s);
	}
	if (!s || b->epoch != s->epoch)
		return SL_STALE_EPOCH;
	write_records(s, b);
	return SL_OK;
}

static enum sl_code append(void *ctx, struct sl_batch *b)
{
	SL_TEST_SPARED;
	struct fake_writer *w = ctx;
	struct fake_journal *j = w->journal;
	if (j->n_flight == j->cap_flight) {
		j->cap_flight = j->cap_flight ? 2 * j->cap_flight : 64;
		j->flight = realloc(j->flight, j->cap_flight * sizeof(*j->flight));
	}
	j->flight[j->n_flight++] = (struct flight){b, w, false};
	return SL_OK;
}

static struct sl_stored_run *give(const struct stored *s)
{
	SL_TEST_SPARED;
	struct sl_stored_run *r = calloc(1, sizeof(*r));
	r->head = head_copy(s->head);
	r->epoch = s->epoch;
	r->recoveries = s->recoveries;
	r->damaged = s->damaged;
	r->n_records = s->n;
	r->records = calloc(s->n ? s->n : 1, sizeof(*r->records));
	for (size_t i = 0; i < s->n; i++) {
		r->records[i] = s->records[i];
		ref(s->records[i].data);
		ref(s->records[i].detail);
		ref(s->records[i].once);
	}
	return r;
}

static struct sl_stored_run **many(size_t n)
{
	SL_TEST_SPARED;
	return calloc(n, sizeof(struct sl_stored_run *));
}

static enum sl_code claim(void *ctx, size_t max, void (*fn)(void *, enum sl_code, struct sl_stored_run **, size_t),
			  void *arg)
{
	struct fake_writer *w = ctx;
	struct fake_journal *j = w->journal;
	struct sl_stored_run **runs = many(max);
	size_t n = 0;
	for (struct stored *s = j->runs; s && n < max; s = s->next)
		if (!s->done && !s->claimed) {
			s->claimed = true;
			s->owner = w;
			s->epoch++;
			s->recoveries++;
			runs[n++] = give(s);
		}
	fn(arg, SL_OK, runs, n);
	return SL_OK;
}

static enum sl_code load(void *ctx, struct sl_run_id id, void (*fn)(void *, enum sl_code, struct sl_stored_run *),
			 void *arg)
{
	struct fake_journal *j = ((struct fake_writer *)ctx)->journal;
	struct stored *s = stored_of(j, id);
	bool given = s && !s->damaged;
	if (j->busy) {
		if (j->busy-- % 2)
			return SL_BUSY;
		fn(arg, SL_BUSY, NULL);
		return SL_OK;
	}
	fn(arg, given ? SL_OK : s ? SL_INTERNAL : SL_NOT_FOUND, given ? give(s) : NULL);
	return SL_OK;
}

static enum sl_code reopen(void *ctx, struct sl_run_id id, void (*fn)(void *, enum sl_code, struct sl_stored_run *),
			   void *arg)
{
	struct fake_writer *w = ctx;
	struct stored *s = stored_of(w->journal, id);
	if (!s || !s->failed) {
		fn(arg, s ? SL_CONFLICT : SL_NOT_FOUND, NULL);
		return SL_OK;
	}
	s->epoch++;
	s->recoveries = 0;
	s->claimed = true;
	s->owner = w;
	fn(arg, SL_OK, give(s));
	return SL_OK;
}

struct sl_journal fake_writer_port(struct fake_writer *w)
{
	return (struct sl_journal){append, claim, load, reopen, w};
}

static struct flight land(struct fake_journal *j, size_t i)
{
	struct flight f = j->flight[i];
	memmove(j->flight + i, j->flight + i + 1, (--j->n_flight - i) * sizeof(*j->flight));
	return f;
}

bool fake_journal_commit(struct fake_journal *j)
{
	if (!j->n_flight)
		return false;
	struct flight f = land(j, 0);
	f.batch->done(f.batch, f.written ? SL_OK : write_batch(j, f.batch, f.from));
	return true;
}

bool fake_journal_commit_unanswered(struct fake_journal *j)
{
	size_t i = 0;
	while (i < j->n_flight && j->flight[i].written)
		i++;
	if (i == j->n_flight)
		return false;
	/* what is refused is answered at once */
	struct sl_batch *b = j->flight[i].batch;
	enum sl_code rc = write_batch(j, b, j->flight[i].from);
	j->flight[i].written = rc == SL_OK;
	if (rc != SL_OK) {
		(void)land(j, i);
		b->done(b, rc);
	}
	return true;
}

void fake_writer_drop(struct fake_writer *w)
{
	struct fake_journal *j = w->journal;
	for (size_t i = j->n_flight; i-- > 0;)
		if (j->flight[i].from == w) {
			struct flight f = land(j, i);
			f.batch->done(f.batch, SL_CANCELLED);
		}
}

void fake_writer_gone(struct fake_writer *w)
{
	for (struct stored *s = w->journal->runs; s; s = s->next)
		if (s->owner == w) {
			s->owner = NULL;
			s->claimed = false;
		}
}

void fake_journal_disown(struct fake_journal *j)
{
	for (struct stored *s = j->runs; s; s = s->next)
		s->claimed = false;
}

void fake_journal_disown_one(struct fake_journal *j, struct sl_run_id id)
{
	stored_of(j, id)->claimed = false;
}

bool fake_journal_has(struct fake_journal *j, struct sl_run_id id, const struct fake_writer *w)
{
	const struct stored *s = stored_of(j, id);
	return s && s->claimed && s->owner == w;
}

void fake_journal_elsewhere(struct fake_journal *j, struct sl_run_id id)
{
	struct stored *s = stored_of(j, id);
	s->owner = NULL;
	s->claimed = true;
	s->epoch++;
}

void fake_journal_busy(struct fake_journal *j, unsigned loads)
{
	j->busy = loads;
}

void fake_journal_damage(struct fake_journal *j, struct sl_run_id id)
{
	stored_of(j, id)->damaged = true;
}

void fake_journal_cut(struct fake_journal *j, struct sl_run_id id, size_t records)
{
	struct stored *s = stored_of(j, id);
	assert_true(s && records >= 1 && records <= s->n);
	while (s->n > 1 && (s->n > records || !s->last[s->n - 1]))
		sl_record_fini(&s->records[--s->n]);
	free(s->onces);
	s->onces = NULL;
	s->n_onces = s->cap_onces = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->records[i].once)
			keep_once(s, s->records[i].once);
	s->done = s->failed = false;
	s->recoveries = 0;
}

struct sl_run_head *fake_journal_head(struct fake_journal *j, struct sl_run_id id)
{
	struct stored *s = stored_of(j, id);
	return s ? s->head : NULL;
}

size_t fake_journal_records(struct fake_journal *j, struct sl_run_id id, const struct sl_record **out)
{
	struct stored *s = stored_of(j, id);
	*out = s ? s->records : NULL;
	return s ? s->n : 0;
}

size_t fake_journal_runs(struct fake_journal *j, struct sl_run_id *ids, size_t max)
{
	size_t n = 0;
	for (struct stored *s = j->runs; s; s = s->next, n++)
		if (n < max)
			ids[n] = s->head->id;
	return n;
}

struct fake_journal *fake_journal_new(void)
{
	SL_TEST_SPARED;
	return calloc(1, sizeof(struct fake_journal));
}

void fake_journal_delete(struct fake_journal *j, struct sl_run_id id)
{
	struct stored **at = &j->runs, *s;
	while (*at && !sl_run_id_eq((*at)->head->id, id))
		at = &(*at)->next;
	s = *at;
	assert_non_null(s);
	*at = s->next;
	HASH_DEL(j->by_id, s);
	for (size_t i = 0; i < s->n; i++)
		sl_record_fini(&s->records[i]);
	free(s->records);
	free(s->onces);
	free(s->last);
	sl_run_head_free(s->head);
	free(s);
}

void fake_journal_free(struct fake_journal *j)
{
	while (j->runs)
		fake_journal_delete(j, j->runs->head->id);
	free(j->flight);
	free(j);
}
