/* api/routes_admin.c: what an operator does to the whole server: look at the audit trail and the instances; pause it,
 * let it go on, drain it.
 *
 * A pause is of all instances on the database, and outlives them: it is the setting SL_SETTING_PAUSED. New runs are
 * refused, nobody is admitted, and the engine of each instance pauses every run it has (engine/pause_all.c). The
 * database orders pauses and resumes: each instance reads the setting after every change (follow.c), so all end with
 * what was written last. A drain is of this instance alone. */
#include "api/api_priv.h"
#include "api/limits_doc.h"
#include "engine/engine.h"
#include "store/audit.h"
#include "store/overview.h"
#include "store/settings.h"

void sl_route_audit(struct sl_api *a, struct sl_request *r)
{
	struct sl_audit_filter f = {0};
	uint64_t limit;
	SL_IGNORE(sl_request_query(r, "actor", &f.actor)); /* all are optional */
	SL_IGNORE(sl_request_query(r, "action", &f.action));
	SL_IGNORE(sl_request_query(r, "cursor", &f.cursor));
	if (!sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a number from 1 to 200");
		return;
	}
	f.limit = (uint32_t)limit;
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_audit_list(a->parts.store, &f, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_audit_verify(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_audit_verify(a->parts.store, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_instances(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_instances(a->parts.store, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- pause, resume, drain ---- */

/* How many runs did it. Its task is the request's. */
struct sweep {
	struct sl_task *task;
	bool pause;
	size_t done;
};

static void sweep_free(void *more)
{
	free(more);
}

/* [worker or store] */
static void on_swept(void *arg, size_t runs)
{
	struct sweep *w = arg;
	w->done = runs;
	sl_task_back(w->task);
}

static void answer_state(struct sl_api *a, struct sl_request *r, const char *count_name, size_t count)
{
	struct sl_engine_stats e = {0};
	SL_BUF(out, 512);
	if (a->parts.engine)
		sl_engine_stats(a->parts.engine, &e);
	sl_buf_addc(&out, '{');
	sl_buf_json_kbool(&out, "paused", atomic_load(&a->paused));
	sl_buf_json_kbool(&out, "draining", atomic_load(&a->drained) || atomic_load(&a->draining));
	if (count_name)
		sl_buf_json_ku64(&out, count_name, count);
	sl_buf_json_ku64(&out, "runs_active", e.runs_active);
	sl_buf_addc(&out, '}');
	sl_answer_buf(r, 200, &out);
}

static void swept(struct sl_task *t)
{
	struct sweep *w = t->more;
	bool pause = w->pause;
	if (!t->r && t->rc == SL_OK)
		sl_log(SL_LOG_INFO, "api",
		       pause ? "paused, as another server was told" : "goes on, as another server was told",
		       SL_KU("runs", w->done));
	else if (!t->r)
		sl_log(SL_LOG_ERROR, "api", "runs could not be paused or resumed as another server was told",
		       SL_KS("code", sl_code_wire(t->rc)));
	else if (t->rc == SL_OK)
		answer_state(t->api, t->r, pause ? "runs_paused" : "runs_resumed", w->done);
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

/* What is in force here from now on. r NULL: nobody waits for it. */
static void sweep(struct sl_api *a, struct sl_request *r, bool pause)
{
	struct sl_engine *engine = a->parts.engine;
	/* whoever submits is refused from now on, or is among those that are told */
	atomic_store(&a->paused, pause);
	struct sl_task *t = sl_task_new(a, r, swept);
	struct sweep *w = t ? calloc(1, sizeof(*w)) : NULL;
	if (t && w) {
		w->task = t;
		w->pause = pause;
		t->more = w;
		t->more_free = sweep_free;
	}
	enum sl_code rc =
		!engine ? SL_OK
			: sl_engine_pause(engine, pause, r ? sl_str(r->by) : SL_STR(""), t && w ? on_swept : NULL, w);
	if (t && (rc != SL_OK || !w))
		sl_task_refuse(t, SL_NO_MEMORY);
	else if (t && !engine)
		sl_task_back(t);
}

static bool recorded(struct sl_task *t)
{
	if (t->rc != SL_OK)
		sl_answer_error(t->r, t->rc, NULL);
	return t->rc == SL_OK;
}

void sl_api_paused(struct sl_api *a, struct sl_engine *engine, bool paused)
{
	atomic_store(&a->paused, paused);
	if (engine && sl_engine_pause(engine, paused, SL_STR(""), NULL, NULL) != SL_OK)
		sl_log(SL_LOG_ERROR, "api", "out of memory, runs at work do not hear of a pause or its end");
}

static void pause_recorded(struct sl_task *t)
{
	if (recorded(t)) {
		sl_counts_audit(t->api, "admin.pause");
		sweep(t->api, t->r, true);
		sl_follow_own(t->api, SL_FOLLOW_PAUSED);
	}
	sl_task_free(t);
}

static void resume_recorded(struct sl_task *t)
{
	if (recorded(t)) {
		sl_counts_audit(t->api, "admin.resume");
		atomic_store(&t->api->drained, false);
		sweep(t->api, t->r, false);
		sl_follow_own(t->api, SL_FOLLOW_PAUSED);
	}
	sl_task_free(t);
}

static void unref(void *bytes)
{
	sl_bytes_unref(bytes);
}

/* The setting and the line of the trail together; then `then`. */
static void keep_paused(struct sl_api *a, struct sl_request *r, bool paused, const char *action,
			void (*then)(struct sl_task *t))
{
	struct sl_task *t = sl_task_new(a, r, then);
	if (!t)
		return;
	struct sl_str text = paused ? SL_STR("{\"paused\":true}") : SL_STR("{\"paused\":false}");
	const struct sl_audit_by by = sl_request_audit(r, action, SL_STR(""));
	t->more = sl_bytes_new(text.p, text.len);
	t->more_free = unref;
	enum sl_code rc = t->more ? sl_store_setting_put_by(a->parts.store, &by, SL_STR(SL_SETTING_PAUSED), t->more,
							    sl_task_from_store, t)
				  : SL_NO_MEMORY;
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void drain_recorded(struct sl_task *t)
{
	if (recorded(t)) {
		atomic_store(&t->api->drained, true);
		answer_state(t->api, t->r, NULL, 0);
	}
	sl_task_free(t);
}

void sl_route_admin_pause(struct sl_api *a, struct sl_request *r)
{
	keep_paused(a, r, true, "admin.pause", pause_recorded);
}

void sl_route_admin_resume(struct sl_api *a, struct sl_request *r)
{
	keep_paused(a, r, false, "admin.resume", resume_recorded);
}

void sl_route_admin_drain(struct sl_api *a, struct sl_request *r)
{
	sl_api_audit_first(a, r, "admin.drain", SL_STR(""), drain_recorded);
}

/* ---- what another instance was told */

void sl_admin_follow(struct sl_api *a, bool paused)
{
	if (paused != atomic_load(&a->paused))
		sweep(a, NULL, paused);
}
