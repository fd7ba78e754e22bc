/* api/task.c: requests that wait for another thread, and what handlers share. */
#include "api/api_priv.h"
#include "engine/engine.h"
#include "store/store.h"
#include "store/workflows.h"

static void come_back(struct sl_post *p)
{
	struct sl_task *t = SL_CONTAINER_OF(p, struct sl_task, post);
	t->then(t);
}

struct sl_task *sl_task_new(struct sl_api *a, struct sl_request *r, void (*then)(struct sl_task *t))
{
	struct sl_task *t = calloc(1, sizeof(*t));
	if (!t) {
		if (r)
			sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		return NULL;
	}
	t->api = a;
	t->r = r ? sl_request_ref(r) : NULL;
	t->then = then;
	t->post.run = come_back;
	return t;
}

void sl_task_back(struct sl_task *t)
{
	sl_loop_post(t->api->loop, &t->post);
}

void sl_task_free(struct sl_task *t)
{
	if (t->more_free && t->more)
		t->more_free(t->more);
	sl_bytes_unref(t->json);
	sl_stored_workflow_free(t->workflow);
	sl_view_free(t->view);
	sl_request_unref(t->r);
	free(t);
}

void sl_task_refuse(struct sl_task *t, enum sl_code rc)
{
	if (t->r && rc == SL_BAD_REQUEST &&
	    !t->err.text[0]) /* the one thing the store looks at before it takes a call */
		sl_answer_problem(t->r, rc, "the cursor is not one of ours");
	else if (t->r && (rc == SL_BUSY || rc == SL_UNAVAILABLE) && !t->err.text[0])
		sl_answer_problem(t->r, rc, "the database takes no more now; try again");
	else if (t->r)
		sl_answer_error(t->r, rc, t->err.text[0] ? &t->err : NULL);
	sl_task_free(t);
}

void sl_task_from_store(void *arg, enum sl_code rc)
{
	struct sl_task *t = arg;
	t->rc = rc;
	sl_task_back(t);
}

void sl_task_json_from_store(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->json = rc == SL_OK ? sl_bytes_ref(json) : NULL;
	sl_task_back(t);
}

void sl_task_workflow_from_store(void *arg, enum sl_code rc, struct sl_stored_workflow *workflow)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->workflow = workflow;
	sl_task_back(t);
}

void sl_task_view(void *arg, enum sl_code rc, struct sl_view *view)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->view = view;
	sl_task_back(t);
}

void sl_task_submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->run = id;
	t->same_request = same_request;
	sl_task_back(t);
}

void sl_task_answer_json(struct sl_task *t)
{
	if (t->rc == SL_OK)
		sl_answer_json(t->r, 200, SL_TAKE(t->json));
	else
		sl_answer_problem(t->r, t->rc,
				  t->rc == SL_NOT_FOUND ? "there is no such thing"
							: "the database did not answer as hoped");
	sl_task_free(t);
}

enum sl_code sl_api_takes_runs(struct sl_api *a, struct sl_error *err)
{
	struct sl_store_health h = {0};
	if (atomic_load(&a->draining)) {
		SL_IGNORE(sl_fail(err, SL_DRAINING,
				  "the server is going down and takes no new runs")); /* fills the text */
		err->retry_after_ms = 5000;
		return SL_DRAINING;
	}
	if (atomic_load(&a->drained) || atomic_load(&a->paused)) {
		bool paused = atomic_load(&a->paused);
		enum sl_code rc = sl_fail(err, paused ? SL_UNAVAILABLE : SL_DRAINING,
					  paused ? "an operator has paused this server; it takes no new runs"
						 : "an operator drains this server; it takes no new runs");
		err->retry_after_ms = 30000;
		return rc;
	}
	if (a->parts.store)
		sl_store_health(a->parts.store, &h);
	if (h.state != SL_STORE_OK) {
		SL_IGNORE(sl_fail(err, SL_UNAVAILABLE, "the database takes nothing now, so no run can be recorded"));
		err->retry_after_ms = 2000;
		return SL_UNAVAILABLE;
	}
	return SL_OK;
}

struct json_object *sl_request_json(struct sl_request *r)
{
	struct sl_str type = sl_request_header(r, "content-type");
	struct sl_error err = {0};
	SL_AUTO_JSON doc = NULL;
	if (r->body.len && type.len && !sl_http1_has_token(type, "application/json")) {
		sl_answer_problem(r, SL_MEDIA_TYPE, "send the body as application/json");
		return NULL;
	}
	if (r->body.len == 0)
		return json_object_new_object();
	enum sl_code rc = sl_json_parse(sl_buf_str(&r->body), &doc, &err);
	if (rc == SL_OK && !json_object_is_type(doc, json_type_object))
		rc = sl_fail(&err, SL_INVALID, "the body must be a JSON object");
	if (rc != SL_OK) {
		sl_answer_problem(r, rc == SL_INVALID ? SL_BAD_REQUEST : rc, "%s", err.text);
		return NULL;
	}
	return SL_TAKE(doc);
}

bool sl_name_ok(struct sl_str name)
{
	if (name.len == 0 || name.len > 64 || name.p[0] == '_' || name.p[0] == '-')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return true;
}

void sl_problems_json(struct sl_buf *b, const struct sl_problems *p, struct sl_str prefix, bool warnings)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->items[i].warning != warnings)
			continue;
		SL_BUF(pointer, 4096);
		sl_buf_add(&pointer, prefix.p, prefix.len);
		sl_buf_adds(&pointer, p->items[i].pointer ? p->items[i].pointer : "");
		sl_buf_json_problem(b, sl_buf_str(&pointer), p->items[i].message ? p->items[i].message : "");
	}
}
