/* api/routes_cache.c: the answers that are kept to be given again: looked at, and emptied. */
#include "api/api_priv.h"
#include "llm/cache.h"

/* By name: today there is one. The members of an object. */
void sl_caches_json(struct sl_api *a, struct sl_buf *b)
{
	if (!a->parts.cache)
		return;
	sl_buf_json_key(b, "response");
	sl_cache_json(a->parts.cache, b);
}

static void answer(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 1u << 20);
	sl_buf_adds(&out, "{\"caches\":{");
	sl_caches_json(a, &out);
	sl_buf_adds(&out, "}}");
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_buf(r, 200, &out);
}

void sl_route_cache_stats(struct sl_api *a, struct sl_request *r)
{
	answer(a, r);
}

static void cleared(struct sl_task *t)
{
	if (t->rc == SL_OK)
		answer(t->api, t->r);
	else
		sl_answer_problem(t->r, t->rc, "the answers in the database could not be deleted; ask again");
	sl_task_free(t);
}

/* What is emptied: in the body until it is recorded. */
static void clear_recorded(struct sl_task *t)
{
	SL_AUTO_JSON body = t->rc == SL_OK ? sl_request_json(t->r) : NULL;
	if (t->rc != SL_OK) {
		sl_answer_error(t->r, t->rc, NULL);
	} else if (body && t->api->parts.cache) { /* it was read once already */
		t->then = cleared;                /* before: the answer may come before the call returns */
		sl_cache_clear(t->api->parts.cache, sl_json_get_str(body, "scope"), sl_task_from_store, t);
		return;
	} else if (body) {
		answer(t->api, t->r);
	}
	sl_task_free(t);
}

void sl_route_cache_clear(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO_JSON body = sl_request_json(r);
	const char *wrong = NULL;
	if (!body)
		return;
	json_object_object_foreach (body, key, value) {
		struct sl_str s = sl_json_str(value);
		if (strcmp(key, "cache") == 0 ? value && !sl_str_is(s, "response")
					      : strcmp(key, "scope") != 0 || (value && s.len == 0))
			wrong = strcmp(key, "cache") == 0 ? "/cache" : "/scope";
	}
	if (wrong) {
		SL_BUF(errors, 256);
		sl_buf_json_problem(&errors, sl_str(wrong),
				    "there is the cache `response`; a `scope` is one of those that its figures list");
		sl_answer_problem_with(r, 422, SL_INVALID, SL_STR("there is no such cache"), sl_buf_str(&errors), 0,
				       SL_STR(""));
		return;
	}
	struct sl_str scope = sl_json_get_str(body, "scope");
	sl_api_audit_first(a, r, "cache.clear", scope.len ? scope : SL_STR("response"), clear_recorded);
}

/* Prometheus */
void sl_counts_cache(struct sl_buf *b, struct sl_cache *cache)
{
	static const struct {
		const char *name, *type, *member, *help;
	} lines[] = {
		{"sluice_cache_hits_total", "counter", "hits", "Answers that were given again."},
		{"sluice_cache_misses_total", "counter", "misses", "Answers that had to be made."},
		{"sluice_cache_joined_total", "counter", "joined", "Askers that waited for somebody else's answer."},
		{"sluice_cache_evicted_total", "counter", "evicted", "Answers that made room for others."},
		{"sluice_cache_entries", "gauge", "entries", "Answers kept in memory."},
		{"sluice_cache_bytes", "gauge", "bytes", "Their size."},
	};
	SL_AUTO_JSON all = NULL;
	SL_BUF(text, 1u << 20);
	sl_cache_json(cache, &text);
	if (sl_json_parse(sl_buf_str(&text), &all, NULL) != SL_OK)
		return;
	for (size_t i = 0; i < SL_COUNT_OF(lines); i++)
		sl_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n%s{cache=\"response\"} %.15g\n", lines[i].name,
			    lines[i].help, lines[i].name, lines[i].type, lines[i].name,
			    sl_json_get_f64(all, lines[i].member, 0));
}
