/* api/routes_fork.c: fork a run, and what two runs differ in. A fork is acknowledged as a start is: when its first
 * commit is done. */
#include "api/fork.h"
#include "api/runs.h"

/* ---- fork ---- */

static void forked(struct sl_task *t)
{
	struct sl_request *r = t->r;
	if (t->rc == SL_OK) {
		SL_BUF(detail, 128);
		char id[SL_UUID_TEXT_BYTES];
		sl_uuid_format(t->run.u, id);
		sl_buf_addc(&detail, '{');
		sl_buf_json_kz(&detail, "run", id);
		sl_buf_addc(&detail, '}');
		SL_AUTO(sl_bytes) made = sl_buf_bytes(&detail);
		sl_api_audit_by(t->api, sl_str(r->by ? r->by : ""), "run.fork", r->params[0], made);
	}
	if (t->rc == SL_OK || t->rc == SL_CONFLICT) {
		sl_run_started(t);
		return;
	}
	if (t->rc == SL_INVALID && t->json)
		sl_answer_problem_with(r, 422, SL_INVALID, sl_str(t->err.text), sl_bytes_str(t->json), 0, SL_STR(""));
	else
		sl_answer_error(r, t->rc, t->err.text[0] ? &t->err : NULL);
	sl_task_free(t);
}

static void on_forked(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request,
		      const struct sl_problems *problems, const struct sl_error *err)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->run = id;
	t->same_request = same_request;
	if (rc != SL_OK)
		t->err = *err;
	if (problems->errors) {
		SL_BUF(errors, 64 << 10);
		sl_problems_json(&errors, problems, SL_STR(""), false);
		t->json = sl_buf_bytes(&errors);
		sl_things_to_mend(problems->errors, &t->err);
	}
	sl_task_back(t);
}

/* [pool] */
static void ask_fork(struct sl_work *w)
{
	struct sl_task *t = w->task;
	struct sl_fork_text text;
	SL_AUTO_JSON body = NULL;
	if (!t->r->body.len)
		body = json_object_new_object();
	else if (!sl_work_parse(w, &body))
		return;
	w->rc = sl_fork_read(body, t->run, NULL, &text, &w->problems);
	if (w->rc == SL_OK) {
		text.f.by = sl_str(w->by);
		text.f.idempotency_key = sl_str(w->key ? w->key : "");
		if (!w->key)
			text.f.idempotency_digest = NULL;
		t->then = forked; /* before: the answer may come before the call returns */
		w->rc = sl_engine_fork(t->api->parts.engine, t->run, &text.f, on_forked, t);
		if (w->rc == SL_OK)
			w->task = NULL; /* it is on its way back, and no longer ours */
	}
	sl_fork_text_fini(&text);
}

void sl_route_run_fork(struct sl_api *a, struct sl_request *r)
{
	struct sl_str key = sl_request_header(r, "idempotency-key");
	struct sl_error err = {0};
	struct sl_run_id id;
	enum sl_code rc = sl_api_takes_runs(a, &err);
	if (rc != SL_OK) {
		sl_answer_error(r, rc, &err);
		return;
	}
	if (!sl_key_ok(key)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "an Idempotency-Key has at most 255 visible characters");
		return;
	}
	if (!sl_uuid_parse(r->params[0], &id.u)) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such run");
		return;
	}
	struct sl_work *w = sl_work_new(a, r);
	if (!w)
		return;
	w->task->run = id;
	w->key = key.len ? sl_str_dup(key) : NULL;
	sl_work_go(w, ask_fork, sl_run_submitted);
}

/* ---- diff ---- */

struct pair {
	struct sl_run_id other;
	struct sl_view *a;
};

static void pair_free(void *more)
{
	struct pair *p = more;
	sl_view_free(p->a);
	free(p);
}

/* [pool] */
static void differ(void *arg)
{
	struct sl_task *t = arg;
	struct pair *p = t->more;
	SL_BUF(out, SL_LIMIT_RUN_BYTES);
	t->rc = sl_run_diff(sl_bytes_str(p->a->json), sl_bytes_str(t->view->json), &out);
	t->json = t->rc == SL_OK ? sl_buf_bytes(&out) : NULL;
}

static void differed(void *arg)
{
	struct sl_task *t = arg;
	if (t->rc == SL_OK)
		sl_answer_json(t->r, 200, SL_TAKE(t->json));
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

static bool refused(struct sl_task *t, const char *nobody)
{
	if (t->rc == SL_OK)
		return false;
	if (t->rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, SL_NOT_FOUND, "%s", nobody);
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
	return true;
}

static void have_both(struct sl_task *t)
{
	if (refused(t, "there is no run to compare with"))
		return;
	const struct sl_server_job job = {.run = differ, .done = differed, .arg = t};
	if (sl_server_job(t->api->server, &job) != SL_OK)
		sl_task_refuse(t, SL_NO_MEMORY);
}

static void have_one(struct sl_task *t)
{
	struct pair *p = t->more;
	if (refused(t, "there is no such run"))
		return;
	p->a = SL_TAKE(t->view);
	t->then = have_both;
	enum sl_code rc = sl_engine_view(t->api->parts.engine, p->other, SL_VIEW_ONCE, sl_task_view, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_run_diff(struct sl_api *a, struct sl_request *r)
{
	struct sl_str with = SL_STR("");
	struct pair *p = calloc(1, sizeof(*p));
	struct sl_run_id id;
	SL_IGNORE(sl_request_query(r, "with", &with)); /* missing: no id */
	if (!p) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		return;
	}
	if (!sl_uuid_parse(r->params[0], &id.u)) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such run");
		free(p);
		return;
	}
	if (!sl_uuid_parse(with, &p->other.u)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "with is the id of the run to compare with");
		free(p);
		return;
	}
	struct sl_task *t = sl_task_new(a, r, have_one);
	if (!t) {
		free(p);
		return;
	}
	t->more = p;
	t->more_free = pair_free;
	enum sl_code rc = sl_engine_view(a->parts.engine, id, SL_VIEW_ONCE, sl_task_view, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
