/* base/record.c: see record.h. */
#include "base/record.h"

#include <stdlib.h>

struct sl_run_head *sl_run_head_new(void)
{
	return calloc(1, sizeof(struct sl_run_head));
}

void sl_run_head_free(struct sl_run_head *h)
{
	if (!h)
		return;
	free(h->workflow);
	free(h->project);
	free(h->idempotency_key);
	free(h->created_by);
	free(h->parent_node);
	sl_bytes_unref(h->definition);
	sl_bytes_unref(h->inputs);
	sl_bytes_unref(h->tags);
	sl_bytes_unref(h->idempotency_digest);
	free(h);
}

void sl_record_fini(struct sl_record *r)
{
	sl_bytes_unref(r->data);
	sl_bytes_unref(r->detail);
	sl_bytes_unref(r->once);
	*r = (struct sl_record){0};
}

void sl_projection_fini(struct sl_projection *p)
{
	sl_bytes_unref(p->outputs);
	sl_bytes_unref(p->error);
	free(p->reason);
	*p = (struct sl_projection){0};
}

struct sl_batch *sl_batch_new(size_t n_records)
{
	struct sl_batch *b = sl_zalloc(sizeof(*b));
	if (!b)
		return NULL;
	b->records = calloc(n_records ? n_records : 1, sizeof(*b->records));
	if (!b->records) {
		free(b);
		return NULL;
	}
	b->n_records = n_records;
	return b;
}

static void free_records(struct sl_record *records, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sl_record_fini(&records[i]);
	free(records);
}

void sl_batch_free(struct sl_batch *b)
{
	if (!b)
		return;
	free_records(b->records, b->n_records);
	sl_projection_fini(&b->projection);
	sl_run_head_free(b->create);
	free(b);
}

void sl_stored_run_free(struct sl_stored_run *r)
{
	if (!r)
		return;
	free_records(r->records, r->n_records);
	sl_run_head_free(r->head);
	free(r->names);
	free(r);
}
