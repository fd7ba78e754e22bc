/* api/routes_admin.c: what an operator does to the whole server: look at the audit trail and the instances; pause it,
 * let it go on, drain it.
 *
 * A pause is of all instances on the database, and outlives them: it is the setting SL_SETTING_PAUSED. New runs are
 * refused, nobody is admitted, and each instance pauses every run it has with ADMIN_REASON, which is how a later
 * resume, also after a restart, tells them from those somebody paused one by one. A drain is of this instance alone. */
#include "api/api_priv.h"
#include "api/limits_doc.h"
#include "engine/engine.h"
#include "store/audit.h"
#include "store/overview.h"
#include "store/settings.h"

#define ADMIN_REASON "the server was paused"

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

/* One command for each run of a list; the last answer ends it. Its task is the request's. */
struct sweep {
	struct sl_task *task;
	enum sl_command_kind kind;
	_Atomic size_t left, done, refused;
	char by[64];
};

static void sweep_free(void *more)
{
	free(more);
}

static void sweep_one_less(struct sweep *w)
{
	if (atomic_fetch_sub(&w->left, 1) == 1)
		sl_task_back(w->task);
}

static void on_commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct sweep *w = arg;
	/* A run that ended meanwhile refuses, and there is nothing left to do for it. */
	atomic_fetch_add(rc == SL_OK ? &w->done : &w->refused, 1);
	sweep_one_less(w);
}

static void on_ids(void *arg, enum sl_code rc, const struct sl_run_id *ids, size_t n)
{
	struct sweep *w = arg;
	struct sl_engine *engine = w->task->api->parts.engine;
	w->task->rc = rc;
	atomic_store(&w->left, n + 1); /* one for this loop */
	const struct sl_order order = {.kind = w->kind, .by = sl_str(w->by), .reason = SL_STR(ADMIN_REASON)};
	for (size_t i = 0; rc == SL_OK && i < n; i++)
		if (sl_engine_command(engine, ids[i], &order, on_commanded, w) != SL_OK) {
			atomic_fetch_add(&w->refused, 1);
			atomic_fetch_sub(&w->left, 1);
		}
	sweep_one_less(w);
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
	bool pause = w->kind == SL_CMD_PAUSE_DRAIN;
	if (!t->r && t->rc == SL_OK)
		sl_log(SL_LOG_INFO, "api",
		       pause ? "paused, as another server was told" : "goes on, as another server was told",
		       SL_KU("runs", atomic_load(&w->done)));
	else if (!t->r)
		sl_log(SL_LOG_ERROR, "api", "runs could not be paused or resumed as another server was told",
		       SL_KS("code", sl_code_wire(t->rc)));
	else if (t->rc == SL_OK)
		answer_state(t->api, t->r, pause ? "runs_paused" : "runs_resumed", atomic_load(&w->done));
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

/* r NULL: nobody waits for it. */
static void sweep(struct sl_api *a, struct sl_request *r, enum sl_command_kind kind)
{
	struct sl_task *t = sl_task_new(a, r, swept);
	struct sweep *w = t ? calloc(1, sizeof(*w)) : NULL;
	if (!t)
		return;
	if (!w) {
		sl_task_refuse(t, SL_NO_MEMORY);
		return;
	}
	bool pause = kind == SL_CMD_PAUSE_DRAIN;
	w->task = t;
	w->kind = kind;
	(void)snprintf(w->by, sizeof(w->by), "%s", r ? r->by : "");
	t->more = w;
	t->more_free = sweep_free;
	enum sl_code rc = sl_store_own_runs(a->parts.store, pause ? SL_STORE_RUNS_GOING : SL_STORE_RUNS_PAUSED,
					    pause ? SL_STR("") : SL_STR(ADMIN_REASON), on_ids, w);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
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
	if (engine)
		sl_engine_pause(engine, paused ? ADMIN_REASON : NULL);
}

static void pause_recorded(struct sl_task *t)
{
	if (recorded(t)) {
		sl_counts_audit(t->api, "admin.pause");
		/* First: what is submitted from now on is refused, what was is in the list. */
		sl_api_paused(t->api, t->api->parts.engine, true);
		sl_follow_own(t->api, SL_FOLLOW_PAUSED);
		sweep(t->api, t->r, SL_CMD_PAUSE_DRAIN);
	}
	sl_task_free(t);
}

static void resume_recorded(struct sl_task *t)
{
	if (recorded(t)) {
		sl_counts_audit(t->api, "admin.resume");
		sl_api_paused(t->api, t->api->parts.engine, false);
		sl_follow_own(t->api, SL_FOLLOW_PAUSED);
		atomic_store(&t->api->drained, false);
		sweep(t->api, t->r, SL_CMD_RESUME);
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
	if (paused == atomic_load(&a->paused))
		return;
	sl_api_paused(a, a->parts.engine, paused);
	sweep(a, NULL, paused ? SL_CMD_PAUSE_DRAIN : SL_CMD_RESUME);
}
