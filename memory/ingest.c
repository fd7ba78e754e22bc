/* memory/ingest.c: a memory on its way in: prepared on a thread, asked about by the filter, compared with what is
 * known, stored.
 *
 * A text that is close to a known one is declined; but when the call carries a key, the known one may be what this very
 * call stored before a crash, so the key is looked up first: the store tells (SL_MEMORY_REPEATED).
 */
#include "memory/memory_priv.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "memory/filter.h"
#include "memory/similar.h"

struct ingest {
	struct sl_op op;
	enum sl_memory_tier tier;
	char *project, *content, *metadata, *by, *once, *path;
	size_t content_bytes;
	struct sl_memory_put put;
	struct sl_buf chunks;
	struct sl_trigrams trigrams;
	const char *declined;
	struct sl_uuid of; /* what it repeats */
	bool has_of;
	/* of the store */
	enum sl_memory_outcome outcome;
	struct sl_uuid id;
	char tier_now[12];
	int64_t expires_ms;
};

static void ingest_drop(struct sl_op *op)
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	free(i->project);
	free(i->content);
	free(i->metadata);
	free(i->by);
	free(i->once);
	free(i->path);
	sl_buf_fini(&i->chunks);
	sl_trigrams_fini(&i->trigrams);
}

static void ingest_answer(struct sl_op *op)
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	char id[SL_UUID_TEXT_BYTES];
	if (op->rc == SL_OK && i->outcome == SL_MEMORY_DUPLICATE && !i->declined) {
		i->declined = "duplicate";
		i->of = i->id;
		i->has_of = true;
	}
	if (op->rc != SL_OK) {
		sl_op_finish(op);
		return;
	}
	sl_buf_addc(&op->json, '{');
	sl_buf_json_kbool(&op->json, "accepted", !i->declined);
	if (i->declined) {
		atomic_fetch_add(&op->m->declined, 1);
		sl_buf_json_kz(&op->json, "reason", i->declined);
		sl_buf_json_kz(&op->json, "tier", sl_memory_tier_name(i->tier));
		if (i->has_of) {
			sl_uuid_format(i->of, id);
			sl_buf_json_kz(&op->json, "of", id);
		}
	} else {
		sl_uuid_format(i->id, id);
		sl_buf_json_kz(&op->json, "id", id);
		sl_buf_json_kz(&op->json, "tier", i->tier_now);
		if (i->expires_ms)
			sl_buf_json_ktime(&op->json, "expires_at", i->expires_ms);
		if (i->outcome == SL_MEMORY_STORED) {
			atomic_fetch_add(&op->m->stored, 1);
			sl_sweep_at(op->m, i->expires_ms);
			if (i->tier == SL_MEMORY_LONG_TERM)
				sl_embedder_fill(op->m);
		}
	}
	sl_buf_addc(&op->json, '}');
	sl_op_finish(op);
}

static void on_put(void *arg, enum sl_code rc, enum sl_memory_outcome outcome, struct sl_uuid id, const char *tier,
		   int64_t expires_ms)
{
	struct ingest *i = arg;
	i->outcome = outcome;
	i->id = id;
	i->expires_ms = expires_ms;
	snprintf(i->tier_now, sizeof(i->tier_now), "%s", tier);
	sl_op_from_store(&i->op, rc);
}

static void ingest_put(struct sl_op *op)
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	i->put.chunks = sl_buf_str(&i->chunks);
	op->go = ingest_answer;
	enum sl_code rc = op->rc != SL_OK ? op->rc : sl_store_memory_put(op->m->config.store, &i->put, on_put, i);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

static void on_once(void *arg, enum sl_code rc, enum sl_memory_outcome outcome, struct sl_uuid id, const char *tier,
		    int64_t expires_ms)
{
	struct ingest *i = arg;
	if (rc == SL_OK) { /* it is our own of before */
		i->declined = NULL;
		i->has_of = false;
	}
	on_put(arg, rc == SL_NOT_FOUND ? SL_OK : rc, outcome, id, tier, expires_ms);
}

static void ingest_compared(struct sl_op *op)
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	if (op->rc != SL_OK || !i->declined) {
		ingest_put(op);
		return;
	}
	if (!i->put.once.len) {
		ingest_answer(op);
		return;
	}
	op->go = ingest_answer;
	enum sl_code rc = sl_store_memory_once(op->m->config.store, i->put.once, on_once, i);
	if (rc != SL_OK)
		sl_op_fail(op, rc);
}

static void ingest_compare(struct sl_op *op) /* [a worker] */
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	double most = 0;
	for (size_t k = 0; op->rc == SL_OK && k < op->rows->n; k++) {
		struct sl_trigrams t;
		op->rc = sl_trigrams_of(op->rows->items[k].content, &t);
		if (op->rc != SL_OK)
			break;
		double like = sl_trigrams_similarity(&i->trigrams, &t);
		sl_trigrams_fini(&t);
		if (like >= SL_FILTER_TWIN && like > most) {
			most = like;
			i->declined = "duplicate";
			i->of = op->rows->items[k].id;
			i->has_of = true;
		}
	}
}

static void ingest_near(struct sl_op *op)
{
	if (op->rc != SL_OK)
		sl_op_finish(op);
	else
		sl_op_work(op, ingest_compare, ingest_compared);
}

static void ingest_prepared(struct sl_op *op)
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	if (op->rc != SL_OK) {
		sl_op_finish(op);
	} else if (i->declined) {
		ingest_answer(op);
	} else if (i->tier == SL_MEMORY_QUARANTINE) {
		ingest_put(op);
	} else {
		op->go = ingest_near;
		enum sl_code rc = sl_store_memory_near(op->m->config.store, i->put.project, i->put.print, SL_PRINT_TWIN,
						       sl_op_rows_from_store, op);
		if (rc != SL_OK)
			sl_op_fail(op, rc);
	}
}

static void ingest_prepare(struct sl_op *op) /* [a worker] */
{
	struct ingest *i = SL_CONTAINER_OF(op, struct ingest, op);
	struct sl_str text = sl_str_n(i->content, i->content_bytes);
	op->rc = sl_trigrams_of(text, &i->trigrams);
	if (op->rc != SL_OK)
		return;
	sl_memory_hash(text, i->put.hash);
	i->put.print = sl_trigrams_print(&i->trigrams);
	if (i->tier == SL_MEMORY_QUARANTINE)
		i->declined = text.len ? NULL : "empty";
	else
		i->declined = sl_filter(text, &i->trigrams, i->tier == SL_MEMORY_WORKING ? i->put.confidence : 1);
	if (i->tier == SL_MEMORY_LONG_TERM && !i->declined) {
		sl_memory_chunks(text, &i->chunks);
		if (i->chunks.failed)
			op->rc = SL_NO_MEMORY;
	}
}

static void ingest_begin(struct sl_op *op)
{
	sl_op_work(op, ingest_prepare, ingest_prepared);
}

enum sl_code sl_memory_store(struct sl_memory *m, const struct sl_memory_item *item, sl_memory_fn *fn, void *arg)
{
	struct sl_str content = sl_str_trim(item->content);
	if (content.len > SL_LIMIT_MEMORY_BYTES || item->metadata.len > SL_LIMIT_MEMORY_BYTES)
		return SL_TOO_LARGE;
	struct ingest *i = sl_op_new(m, sizeof(*i), ingest_drop, fn, arg);
	if (!i)
		return SL_NO_MEMORY;
	i->tier = item->tier;
	i->project = sl_str_dup(item->project);
	i->content = sl_str_dup(content);
	i->metadata = sl_str_dup(item->metadata.len ? item->metadata : SL_STR("{}"));
	i->by = sl_str_dup(item->by);
	i->once = sl_str_dup(item->once);
	i->path = sl_str_dup(item->path);
	sl_buf_init(&i->chunks, 4 * SL_LIMIT_MEMORY_BYTES);
	if (!i->project || !i->content || !i->metadata || !i->by || !i->once || !i->path) {
		sl_op_free(&i->op);
		return SL_NO_MEMORY;
	}
	i->content_bytes = sl_memory_storable(i->content, content.len);
	double confidence = isnan(item->confidence) ? 1 : item->confidence;
	i->put = (struct sl_memory_put){
		.id = sl_uuid_new(),
		.tier = sl_memory_tier_name(item->tier),
		.project = sl_str(i->project),
		.content = sl_str_n(i->content, i->content_bytes),
		.metadata = sl_str(i->metadata),
		.path = sl_str(i->path),
		.by = sl_str(i->by),
		.once = sl_str(i->once),
		.confidence = confidence < 0   ? 0
			      : confidence > 1 ? 1
					       : confidence,
		.has_run = item->has_run,
		.verified = item->verified && item->tier == SL_MEMORY_LONG_TERM,
		.run = item->run,
		.ttl_s = m->config.working_ttl_s,
		.capacity = m->config.working_capacity,
	};
	return sl_op_start(&i->op, ingest_begin);
}
