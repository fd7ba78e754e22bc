/* api/routes_runs.c: start, look at, and steer runs. A start is acknowledged when its first commit is done, not before.
 */
#include "api/orders.h"
#include "api/runs.h"
#include "engine/run_state.h"
#include "store/audit.h"
#include "store/ledger.h"
#include "store/overview.h"
#include "store/runs.h"
#include "store/workflows.h"

#define READ_HERE_BYTES 1024 /* of a body: waking another thread would cost more than reading it */

static bool run_id(struct sl_request *r, struct sl_run_id *out)
{
	if (sl_uuid_parse(r->params[0], &out->u))
		return true;
	sl_answer_problem(r, SL_NOT_FOUND, "there is no such run");
	return false;
}

/* ---- start ---- */

static void answer_started(struct sl_task *t, const char *status)
{
	char id[SL_UUID_TEXT_BYTES];
	SL_BUF(out, 1024);
	SL_BUF(url, 128);
	sl_uuid_format(t->run.u, id);
	sl_buf_addf(&url, "/api/v1/runs/%s", id);
	sl_buf_addc(&out, '{');
	sl_buf_json_kz(&out, "id", id);
	sl_buf_json_kz(&out, "status", status);
	sl_buf_json_kstr(&out, "url", sl_buf_str(&url));
	sl_buf_json_kz(&out, "ws_url", "/ws");
	sl_buf_addc(&out, '}');
	sl_answer_header(t->r, "Location", sl_buf_str(&url));
	sl_answer_buf(t->r, 202, &out);
}

static void repeated(struct sl_task *t)
{
	sl_answer_header(t->r, "Idempotency-Replayed", SL_STR("true"));
	answer_started(t, t->rc == SL_OK && t->view ? t->view->status : "queued");
	sl_task_free(t);
}

void sl_run_started(struct sl_task *t)
{
	if (t->rc == SL_OK) {
		answer_started(t, "queued");
	} else if (t->rc == SL_CONFLICT && t->same_request) {
		t->then = repeated;
		if (sl_engine_view(t->api->parts.engine, t->run, SL_VIEW_ONCE, sl_task_view, t) == SL_OK)
			return;
		t->rc = SL_NO_MEMORY;
		repeated(t);
		return;
	} else if (t->rc == SL_CONFLICT) {
		sl_answer_problem(t->r, SL_IDEMPOTENCY, "this Idempotency-Key was used for another request");
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

/* [pool] */
static void submit(struct sl_work *w)
{
	sl_work_submit(w, sl_run_started);
}

void sl_run_submitted(struct sl_work *w)
{
	if (w->task && w->rc == SL_BUSY)
		sl_answer_problem_with(w->task->r, 429, SL_BUSY, sl_str(w->err.text), SL_STR(""),
				       w->err.retry_after_ms ? w->err.retry_after_ms : 1000, SL_STR(""));
	else if (w->task)
		sl_work_answer_problems(w);
	sl_work_free(w);
}

static void workflow_came(struct sl_task *t)
{
	struct sl_work *w = SL_TAKE(t->more);
	w->task = t;
	t->more_free = NULL;
	if (t->rc == SL_NOT_FOUND || (t->rc == SL_OK && t->workflow->archived && !w->version)) {
		sl_work_problem(w, "/workflow", "there is no such workflow, or not in that version");
		sl_work_answer_problems(w);
		sl_work_free(w);
	} else if (t->rc != SL_OK) {
		sl_answer_error(t->r, t->rc, NULL);
		sl_work_free(w);
	} else {
		w->version = t->workflow->version;
		w->definition = sl_bytes_ref(t->workflow->definition);
		sl_work_go(w, submit, sl_run_submitted);
	}
}

static void read_body(struct sl_work *w)
{
	SL_AUTO_JSON body = NULL;
	if (sl_work_parse(w, &body))
		sl_run_request_read(w, body, NULL);
}

/* [pool] */
static void read_request(struct sl_work *w)
{
	read_body(w);
	if (w->rc == SL_OK && w->has_definition)
		submit(w);
}

static void work_free(void *more)
{
	sl_work_free(more);
}

static void request_read(struct sl_work *w)
{
	if (w->rc != SL_OK || !w->wants_stored) {
		sl_run_submitted(w);
		return;
	}
	struct sl_task *t = SL_TAKE(w->task);
	t->more = w;
	t->more_free = work_free;
	t->then = workflow_came;
	enum sl_code rc =
		sl_store_workflow_get(t->api->parts.store, sl_str(w->name), w->version, sl_task_workflow_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

bool sl_key_ok(struct sl_str key)
{
	for (size_t i = 0; i < key.len; i++)
		if ((unsigned char)key.p[i] < 0x21 || (unsigned char)key.p[i] > 0x7e)
			return false;
	return key.len <= 255;
}

void sl_route_run_start(struct sl_api *a, struct sl_request *r)
{
	struct sl_str key = sl_request_header(r, "idempotency-key");
	struct sl_error err = {0};
	enum sl_code rc = sl_api_takes_runs(a, &err);
	if (rc != SL_OK) {
		sl_answer_error(r, rc, &err);
		return;
	}
	if (!sl_key_ok(key)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "an Idempotency-Key has at most 255 visible characters");
		return;
	}
	struct sl_work *w = sl_work_new(a, r);
	if (!w)
		return;
	w->key = key.len ? sl_str_dup(key) : NULL;
	if (key.len && !w->key) {
		sl_answer_error(r, SL_NO_MEMORY, NULL);
		sl_work_free(w);
		return;
	}
	if (r->body.len > READ_HERE_BYTES) {
		sl_work_go(w, read_request, request_read);
		return;
	}
	read_body(w);
	if (w->rc == SL_OK && w->has_definition)
		sl_work_go(w, submit, sl_run_submitted);
	else
		request_read(w);
}

/* ---- look ---- */

bool sl_run_status_known(struct sl_str s)
{
	for (size_t i = 0; i < SL_RUN_STATUSES; i++)
		if (sl_str_is(s, sl_run_states[i].wire))
			return true;
	return false;
}

void sl_route_run_list(struct sl_api *a, struct sl_request *r)
{
	struct sl_run_filter f = {0};
	struct sl_str statuses = SL_STR(""), since = SL_STR(""), one;
	uint64_t limit;
	SL_IGNORE(sl_request_query(r, "status", &statuses)); /* all are optional */
	SL_IGNORE(sl_request_query(r, "workflow", &f.workflow));
	SL_IGNORE(sl_request_query(r, "project", &f.project));
	SL_IGNORE(sl_request_query(r, "tag", &f.tag));
	SL_IGNORE(sl_request_query(r, "cursor", &f.cursor));
	if (!sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a number from 1 to 200");
		return;
	}
	if (sl_request_query(r, "since", &since) && since.len && !sl_time_parse(since, &f.since_ms)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "since is a time like 2026-01-31T12:00:00Z");
		return;
	}
	f.limit = (uint32_t)limit;
	while (statuses.len) {
		if (!sl_str_cut(statuses, ',', &one, &statuses)) {
			one = statuses;
			statuses = SL_STR("");
		}
		if (f.n_statuses == SL_RUN_FILTER_STATUSES) {
			sl_answer_problem(r, SL_BAD_REQUEST, "there are only %d statuses", SL_RUN_FILTER_STATUSES);
			return;
		}
		if (one.len && !sl_run_status_known(one)) {
			sl_answer_problem(r, SL_BAD_REQUEST,
					  "status: '%.*s' is none of queued, running, paused, waiting, locked, "
					  "succeeded, failed, cancelled",
					  (int)(one.len < 40 ? one.len : 40), one.p);
			return;
		}
		if (one.len)
			f.statuses[f.n_statuses++] = one;
	}
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_run_list(a->parts.store, &f, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void show_run(struct sl_task *t)
{
	if (t->rc == SL_OK)
		sl_answer_json(t->r, 200, sl_bytes_ref(t->view->json));
	else if (t->rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such run");
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

static void view_then_show(struct sl_task *t)
{
	t->then = show_run;
	enum sl_code rc = sl_engine_view(t->api->parts.engine, t->run, SL_VIEW_ONCE, sl_task_view, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_run_get(struct sl_api *a, struct sl_request *r)
{
	struct sl_run_id id;
	if (!run_id(r, &id))
		return;
	struct sl_task *t = sl_task_new(a, r, NULL);
	if (!t)
		return;
	t->run = id;
	view_then_show(t);
}

void sl_route_run_events(struct sl_api *a, struct sl_request *r)
{
	struct sl_run_id id;
	struct sl_str cursor, last = sl_request_header(r, "last-event-id"), tokens = SL_STR("");
	uint64_t after_seq, limit;
	bool said = sl_request_query(r, "after_seq", &cursor);
	if (!run_id(r, &id))
		return;
	if (!said && sl_request_query(r, "cursor", &cursor)) {
		if (!sl_str_u64(cursor, &after_seq)) {
			sl_answer_problem(r, SL_BAD_REQUEST, "the cursor is not one of ours");
			return;
		}
	} else if (!sl_request_query_u64(r, "after_seq", 0, UINT64_MAX >> 1, 0, &after_seq)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "after_seq is a number");
		return;
	}
	if (sl_http1_has_token(sl_request_header(r, "accept"), "text/event-stream")) {
		if (last.len) { /* what the client saw goes before what its address said at first */
			if (!sl_str_u64(last, &after_seq)) {
				sl_answer_problem(r, SL_BAD_REQUEST, "Last-Event-ID is a seq");
				return;
			}
			said = true;
		}
		bool want_tokens = !sl_request_query(r, "tokens", &tokens) ||
				   !(sl_str_is(tokens, "0") || sl_str_is(tokens, "false"));
		sl_sse_start(a, r, id, said, after_seq, want_tokens);
		return;
	}
	if (!sl_request_query_u64(r, "limit", 1, 1000, 200, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a number from 1 to 1000");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc =
		sl_store_run_events(a->parts.store, id, after_seq, (uint32_t)limit, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* What was called off, and the proof of it. */
void sl_route_run_ledger(struct sl_api *a, struct sl_request *r)
{
	struct sl_run_id id;
	if (!run_id(r, &id))
		return;
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_calls_of(a->parts.store, id, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- steer ---- */

static void detail_free(void *more)
{
	sl_bytes_unref(more);
}

/* It is done, and in the journal with who did it; the line of the trail may fail, and then somebody should know. */
static void audited(struct sl_task *t)
{
	if (t->rc != SL_OK)
		sl_log(SL_LOG_ERROR, "api", "an action was not written to the audit trail",
		       SL_KS("code", sl_code_wire(t->rc)));
	view_then_show(t);
}

static void steered(struct sl_task *t)
{
	if (t->rc == SL_OK) {
		const struct sl_order_row *row = sl_order_find_rest(sl_str(strrchr(t->r->route->pattern, '/') + 1));
		if (!row) {
			view_then_show(t);
			return;
		}
		t->then = audited;
		enum sl_code rc = sl_store_audit(t->api->parts.store, sl_str(t->r->by), sl_str(row->audit),
						 t->r->params[0], t->more, sl_task_from_store, t);
		if (rc != SL_OK) {
			t->rc = rc;
			audited(t);
		} else {
			sl_counts_audit(t->api, row->audit);
		}
		return;
	}
	if (t->rc == SL_NOT_FOUND) { /* the run, or a node of it */
		sl_answer_problem(t->r, SL_NOT_FOUND, "%s", t->err.text[0] ? t->err.text : "there is no such run");
	} else {
		SL_BUF(state, 64);
		if (t->status[0])
			sl_buf_json_kz(&state, "state", t->status);
		sl_answer_problem_with(t->r, sl_code_http(t->rc), t->rc, sl_str(t->err.text), SL_STR(""),
				       t->err.retry_after_ms, sl_buf_str(&state));
	}
	sl_task_free(t);
}

static void on_commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct sl_task *t = arg;
	t->rc = rc;
	if (err)
		t->err = *err;
	snprintf(t->status, sizeof(t->status), "%s", status ? status : "");
	sl_task_back(t);
}

/* POST /runs/{id}/NAME: the name says which row of the orders it is. */
void sl_route_run_order(struct sl_api *a, struct sl_request *r)
{
	const char *name = strrchr(r->route->pattern, '/') + 1;
	const struct sl_order_row *row = sl_order_find_rest(sl_str(name));
	struct sl_run_id id;
	struct sl_order_text text;
	struct sl_error err = {0};
	SL_BUF(errors, 4096);
	if (!row || !run_id(r, &id))
		return;
	if (row->kind == SL_CMD_RETRY && sl_api_takes_runs(a, &err) != SL_OK) { /* it is a start, too */
		sl_answer_error(r, err.code, &err);
		return;
	}
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	enum sl_code rc = sl_order_read(row, body, NULL, sl_str(r->by), &text, &errors, &err);
	if (rc != SL_OK) {
		sl_answer_problem_with(r, sl_code_http(rc), rc, sl_str(err.text), sl_buf_str(&errors), 0, SL_STR(""));
		sl_order_text_fini(&text);
		return;
	}
	struct sl_task *t = sl_task_new(a, r, steered);
	if (t) {
		t->run = id;
		t->more = text.detail.len ? sl_bytes_new(text.detail.data, text.detail.len) : NULL;
		t->more_free = detail_free;
		rc = sl_engine_command(a->parts.engine, id, &text.order, on_commanded, t);
		if (rc != SL_OK)
			sl_task_refuse(t, rc);
	}
	sl_order_text_fini(&text);
}

/* ---- reviews ---- */

void sl_route_reviews(struct sl_api *a, struct sl_request *r)
{
	struct sl_str status = SL_STR("pending"), project = SL_STR(""), cursor = SL_STR("");
	uint64_t limit;
	SL_IGNORE(sl_request_query(r, "status", &status)); /* all are optional */
	SL_IGNORE(sl_request_query(r, "project", &project));
	SL_IGNORE(sl_request_query(r, "cursor", &cursor));
	if (!sl_str_is(status, "pending")) {
		sl_answer_problem(r, SL_BAD_REQUEST, "status is pending: what was decided is in the events of its run");
		return;
	}
	if (!sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a number from 1 to 200");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc =
		sl_store_reviews(a->parts.store, project, cursor, (uint32_t)limit, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
