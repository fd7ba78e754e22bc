/* memory/source.c: see source.h. */
#include "memory/source.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "memory/memory.h"

#define RELEVANCE 0.3 /* what is found is compared with the claim afterwards */

struct asked {
	sl_source_fn *fn;
	void *arg;
};

static struct sl_bytes *items_of(struct json_object *found)
{
	SL_BUF(out, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_adds(&out, "{\"items\":[");
	for (size_t i = 0; i < json_object_array_length(found); i++) {
		struct json_object *item = json_object_array_get_idx(found, i);
		sl_buf_json_comma(&out);
		sl_buf_addc(&out, '{');
		sl_buf_json_kstr(&out, "id", sl_json_get_str(item, "id"));
		sl_buf_json_kstr(&out, "text", sl_json_get_str(item, "content"));
		sl_buf_json_kbool(&out, "verified", sl_json_get_bool(item, "verified", false));
		sl_buf_addc(&out, '}');
	}
	sl_buf_adds(&out, "]}");
	return sl_buf_bytes(&out);
}

static void on_found(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json) /* [memory] */
{
	struct asked *a = arg;
	SL_AUTO_JSON doc = NULL;
	SL_AUTO(sl_bytes) items = NULL;
	struct sl_error own = *err;
	if (rc == SL_OK)
		rc = sl_json_parse(sl_bytes_str(json), &doc, &own);
	if (rc == SL_OK && !(items = items_of(sl_json_get(doc, "items"))))
		rc = sl_fail(&own, SL_NO_MEMORY, "no memory for the memories");
	a->fn(a->arg, rc, &own, items);
	free(a);
}

static enum sl_code search(void *ctx, const struct sl_source_query *q, sl_source_fn *fn, void *arg)
{
	struct asked *a = calloc(1, sizeof(*a));
	const struct sl_memory_search s = {
		.project = q->project,
		.query = q->text,
		.max_results = q->max_results,
		.relevance_threshold = RELEVANCE,
		.timeout_ms = q->timeout_ms,
		.on_timeout = SL_MEMORY_FAIL, /* the newest memories are no evidence */
		.has_run = true,
		.others_only = true,
		.run = q->run,
		.path = q->path,
	};
	if (!a)
		return SL_NO_MEMORY;
	*a = (struct asked){fn, arg};
	enum sl_code rc = sl_memory_search(ctx, &s, on_found, a);
	if (rc != SL_OK)
		free(a);
	return rc;
}

void sl_memory_source(struct sl_memory *m, struct sl_source *out)
{
	*out = (struct sl_source){search, m};
}
