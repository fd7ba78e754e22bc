/* api/routes_limits.c: what keeps model calls within limits: looked at, set, and put back. Limits are stored before
 * they are in force, so a restart finds what was in force. */
#include "api/api_priv.h"
#include "api/limits_doc.h"
#include "llm/governor.h"
#include "store/settings.h"

static struct sl_governor *governor_of(struct sl_api *a, struct sl_request *r)
{
	if (!a->parts.governor)
		sl_answer_problem(r, SL_UNAVAILABLE, "this server limits no calls");
	return a->parts.governor;
}

void sl_route_breakers(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 4u << 20);
	if (!governor_of(a, r))
		return;
	sl_governor_json(a->parts.governor, a->clock, &out);
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_buf(r, 200, &out);
}

static void reset_recorded(struct sl_task *t)
{
	if (t->rc != SL_OK)
		sl_answer_error(t->r, t->rc, NULL);
	else if (sl_governor_reset(t->api->parts.governor, t->r->params[0], sl_clock_mono(t->api->clock)) != SL_OK)
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no breaker, bucket or key of that name");
	else
		sl_route_breakers(t->api, t->r);
	sl_task_free(t);
}

static bool there_is(struct json_object *items, const char *key, struct sl_str name)
{
	for (size_t i = 0; items && i < json_object_array_length(items); i++)
		if (sl_str_eq(sl_json_get_str(json_object_array_get_idx(items, i), key), name))
			return true;
	return false;
}

void sl_route_breaker_reset(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO_JSON all = NULL;
	SL_BUF(text, 4u << 20);
	if (!governor_of(a, r))
		return;
	sl_governor_json(a->parts.governor, a->clock, &text);
	bool known = sl_json_parse(sl_buf_str(&text), &all, NULL) == SL_OK &&
		     (there_is(sl_json_get(all, "breakers"), "key", r->params[0]) ||
		      there_is(sl_json_get(all, "limiters"), "name", r->params[0]));
	if (known)
		sl_api_audit_first(a, r, "breaker.reset", r->params[0], reset_recorded);
	else /* nothing to do, and so nothing to record */
		sl_answer_problem(r, SL_NOT_FOUND, "there is no breaker or bucket of that name");
}

static void answer_limits(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 2u << 20);
	sl_limits_json(a->parts.governor, a->parts.engine, &out);
	sl_answer_buf(r, 200, &out);
}

void sl_route_limits_get(struct sl_api *a, struct sl_request *r)
{
	if (governor_of(a, r))
		answer_limits(a, r);
}

static void unref(void *more)
{
	sl_bytes_unref(more);
}

static void limits_stored(struct sl_task *t)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	if (t->rc == SL_OK) {
		sl_counts_audit(t->api, "limits.put");
		t->rc = sl_json_parse(sl_bytes_str(t->more), &doc, &err);
	}
	if (t->rc == SL_OK)
		t->rc = sl_limits_apply(t->api->parts.governor, t->api->parts.engine, doc, &err);
	if (t->rc == SL_OK)
		sl_follow_own(t->api, SL_FOLLOW_LIMITS);
	if (t->rc == SL_OK)
		answer_limits(t->api, t->r);
	else
		sl_answer_error(t->r, t->rc, err.text[0] ? &err : NULL);
	sl_task_free(t);
}

void sl_route_limits_put(struct sl_api *a, struct sl_request *r)
{
	struct sl_error err = {0};
	SL_BUF(problems, 64 << 10);
	SL_BUF(text, 1u << 20);
	if (!governor_of(a, r))
		return;
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	enum sl_code rc = sl_limits_check(body, &problems, &err);
	if (rc != SL_OK) {
		sl_answer_problem_with(r, sl_code_http(rc), rc, sl_str(err.text), sl_buf_str(&problems), 0, SL_STR(""));
		return;
	}
	struct sl_task *t = sl_task_new(a, r, limits_stored);
	if (!t)
		return;
	sl_json_write(&text, body);
	t->more = sl_buf_bytes(&text);
	t->more_free = unref;
	const struct sl_audit_by by = sl_request_audit(r, "limits.put", SL_STR("limits"));
	rc = t->more ? sl_store_setting_put_by(a->parts.store, &by, SL_STR("limits"), t->more, sl_task_from_store, t)
		     : SL_NO_MEMORY;
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- Prometheus ---- */

static void about(struct sl_buf *b, const char *name, const char *type, const char *help)
{
	sl_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* One line for each item: its number `from` (or what `state` says), under the label `label` with the text of `key`. */
static void lines(struct sl_buf *b, struct json_object *items, const char *name, const char *label, const char *key,
		  double (*number)(struct json_object *item))
{
	for (size_t i = 0; items && i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		SL_BUF(text, 2048);
		sl_buf_json_str(&text, sl_json_get_str(item, key)); /* escapes as Prometheus wants it */
		sl_buf_addf(b, "%s{%s=" SL_STR_FMT "} %.15g\n", name, label, SL_STR_ARG(sl_buf_str(&text)),
			    number(item));
	}
}

static double state_of(struct json_object *item)
{
	struct sl_str s = sl_json_get_str(item, "state");
	return sl_str_is(s, "open") ? 2 : sl_str_is(s, "closed") ? 0 : 1;
}
static double most_of(struct json_object *item)
{
	return sl_json_get_f64(item, "most", 0);
}
static double inside_of(struct json_object *item)
{
	return sl_json_get_f64(item, "inside", 0);
}
static double ratio_of(struct json_object *item)
{
	double first = sl_json_get_f64(item, "first", 0);
	return first > 0 ? sl_json_get_f64(item, "further", 0) / first : 0;
}
static double further_of(struct json_object *item)
{
	return sl_json_get_f64(item, "further", 0);
}
static double waiting_of(struct json_object *item)
{
	return sl_json_get_f64(item, "waiting", 0);
}

void sl_counts_governor(struct sl_buf *b, struct sl_governor *governor, const struct sl_clock *clock)
{
	SL_AUTO_JSON all = NULL;
	SL_BUF(text, 4u << 20);
	sl_governor_json(governor, clock, &text);
	if (sl_json_parse(sl_buf_str(&text), &all, NULL) != SL_OK)
		return;
	about(b, "sluice_breaker_state", "gauge", "Of a way to a model: 0 closed, 1 half-open, 2 open.");
	lines(b, sl_json_get(all, "breakers"), "sluice_breaker_state", "key", "key", state_of);
	about(b, "sluice_concurrency_limit", "gauge", "Calls of a profile that may be under way at once.");
	lines(b, sl_json_get(all, "gates"), "sluice_concurrency_limit", "profile", "name", most_of);
	about(b, "sluice_concurrency_used", "gauge", "Those that are.");
	lines(b, sl_json_get(all, "gates"), "sluice_concurrency_used", "profile", "name", inside_of);
	about(b, "sluice_limiter_waiting", "gauge", "Calls that wait for requests or tokens of their minute.");
	lines(b, sl_json_get(all, "limiters"), "sluice_limiter_waiting", "bucket", "name", waiting_of);
	about(b, "sluice_provider_retry_budget_ratio", "gauge", "Further attempts for each first one, lately.");
	lines(b, sl_json_get(all, "retry_budgets"), "sluice_provider_retry_budget_ratio", "profile", "profile",
	      ratio_of);
	about(b, "sluice_provider_retries", "gauge", "Further attempts, lately.");
	lines(b, sl_json_get(all, "retry_budgets"), "sluice_provider_retries", "profile", "profile", further_of);
}
