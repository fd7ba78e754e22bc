/* ws/records.c: the last records of a topic by reference, a page of older ones, and what each means for the text of its
 * node. */
#include <stdlib.h>

#include "ws/hub_priv.h"

static void rec_fini(struct rec *r)
{
	sl_bytes_unref(r->data);
	r->data = NULL;
}

static struct rec *rec_at(struct topic *t, size_t i)
{
	return &t->recs[(t->rec_first + i) & (t->rec_size - 1)];
}

static bool ends_attempt(struct sl_str status)
{
	static const char *const ends[] = {"completed", "succeeded", "failed", "cancelled",
					   "skipped",   "timed_out", "done"};
	for (size_t i = 0; i < SL_COUNT_OF(ends); i++)
		if (sl_str_is(status, ends[i]))
			return true;
	return false;
}

/* What a record means for the text of its node. */
static void rec_classify(struct topic *t, struct rec *r)
{
	r->kind = REC_PLAIN;
	r->path = NO_PATH;
	if (t->all)
		return;
	if (strcmp(r->event, "execution:completed") == 0 || strcmp(r->event, "execution:failed") == 0 ||
	    strcmp(r->event, "execution:cancelled") == 0) {
		r->kind = REC_END_ALL;
		return;
	}
	bool reset = strcmp(r->event, "stream_reset") == 0;
	if ((!reset && strcmp(r->event, "node_state_change") != 0) || !r->data || !t->n_paths)
		return;
	SL_AUTO_JSON data = NULL;
	struct path *p;
	if (sl_json_parse(sl_bytes_str(r->data), &data, NULL) != SL_OK)
		return;
	struct sl_str node = sl_json_get_str(data, "node_id"), status = sl_json_get_str(data, "status");
	HASH_FIND(hh, t->by_name, node.p, node.len, p);
	if (!p)
		return;
	r->path = p->index;
	r->attempt = (uint32_t)sl_json_get_i64(data, "attempt", 0);
	if (reset)
		r->kind = REC_RESET;
	else if (sl_str_is(status, "running"))
		r->kind = REC_BEGIN;
	else if (ends_attempt(status))
		r->kind = REC_END;
}

static bool recs_grow(struct topic *t)
{
	size_t size = t->rec_size ? t->rec_size * 2 : 8;
	struct rec *recs = malloc(size * sizeof(*recs));
	if (!recs)
		return false;
	for (size_t i = 0; i < t->rec_n; i++)
		recs[i] = *rec_at(t, i);
	free(t->recs);
	t->recs = recs;
	t->rec_size = size;
	t->rec_first = 0;
	return true;
}

static void recs_drop_oldest(struct topic *t)
{
	struct rec *r = rec_at(t, 0);
	if (r->order > t->cur.order) /* the log is encoded from here: before it is gone */
		topic_flush(t);
	r = rec_at(t, 0);
	t->rec_bytes -= r->data ? r->data->len : 0;
	rec_fini(r);
	t->rec_first = (t->rec_first + 1) & (t->rec_size - 1);
	t->rec_n--;
}

bool recs_push(struct topic *t, const struct sl_record *from, struct sl_run_id run)
{
	const char *event = hub_intern(t->hub, from->event);
	if (!event || (t->rec_n == t->rec_size && t->rec_size < RECORDS_KEPT && !recs_grow(t)))
		return false;
	size_t bytes = from->data ? from->data->len : 0;
	while (t->rec_n && (t->rec_n == t->rec_size || t->rec_bytes + bytes > RECORDS_KEPT_BYTES))
		recs_drop_oldest(t);
	struct rec *r = &t->recs[(t->rec_first + t->rec_n) & (t->rec_size - 1)];
	*r = (struct rec){.order = t->last + 1, .seq = from->seq, .wall_ms = from->wall_ms, .run = run};
	r->event = event;
	r->data = sl_bytes_ref(from->data);
	rec_classify(t, r);
	if (r->kind == REC_RESET && r->attempt > sl_stream_attempt(t->paths[r->path]->stream)) {
		t->paths[r->path]->void_from = r->order;
		t->paths[r->path]->void_attempt = r->attempt;
	}
	t->rec_n++;
	t->rec_bytes += bytes;
	t->last = r->order;
	return true;
}

static void page_fini(struct topic *t)
{
	for (size_t i = 0; i < t->page_n; i++)
		rec_fini(&t->page[i]);
	free(t->page);
	t->page = NULL;
	t->page_n = 0;
}

bool recs_page(struct topic *t, uint64_t after, const struct sl_record *records, size_t n)
{
	page_fini(t);
	t->page = n ? calloc(n, sizeof(*t->page)) : NULL;
	if (n && !t->page)
		return false;
	for (size_t i = 0; i < n && records[i].seq == after + 1 + i; i++) {
		const char *event = hub_intern(t->hub, records[i].event);
		if (!event)
			return false;
		struct rec *r = &t->page[t->page_n++];
		*r = (struct rec){.order = records[i].seq, .seq = records[i].seq, .wall_ms = records[i].wall_ms};
		r->run = t->run;
		r->event = event;
		r->data = sl_bytes_ref(records[i].data);
		rec_classify(t, r);
	}
	return true;
}

struct rec *recs_after(struct topic *t, uint64_t order, bool *missing)
{
	uint64_t next = order + 1;
	if (next > t->last)
		return NULL;
	if (t->rec_n && next >= rec_at(t, 0)->order)
		return rec_at(t, (size_t)(next - rec_at(t, 0)->order));
	if (t->page_n && next >= t->page[0].order && next - t->page[0].order < t->page_n)
		return &t->page[next - t->page[0].order];
	*missing = true;
	return NULL;
}

void recs_fini(struct topic *t)
{
	for (size_t i = 0; i < t->rec_n; i++)
		rec_fini(rec_at(t, i));
	free(t->recs);
	page_fini(t);
}
