/* api/routes_workflows.c: named workflows, their versions, and what a definition may hold. */
#include "api/work.h"
#include "engine/graph.h"
#include "store/workflows.h"

static void stored_json(struct sl_buf *b, const struct sl_stored_workflow *w)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "name", w->name);
	sl_buf_json_ki64(b, "version", w->version);
	sl_buf_json_ki64(b, "latest", w->latest);
	sl_buf_json_kz(b, "description", w->description);
	sl_buf_json_ktime(b, "created_at", w->created_ms);
	sl_buf_json_kz(b, "created_by", w->created_by);
	sl_buf_json_kbool(b, "archived", w->archived);
	sl_buf_json_kraw(b, "definition", sl_bytes_str(w->definition));
	sl_buf_addc(b, '}');
}

/* ---- create, new version ---- */

/* [pool] The body is a definition, or { "definition": … }. */
static void check(struct sl_work *w)
{
	SL_AUTO_JSON body = NULL;
	if (!sl_work_parse(w, &body))
		return;
	struct json_object *definition = body, *wrapped = sl_json_get(body, "definition");
	if (wrapped && !sl_json_get(body, "nodes")) {
		definition = wrapped;
		w->prefix = SL_STR("/definition");
		if (!json_object_is_type(wrapped, json_type_object)) {
			sl_work_problem(w, "", "a definition is an object");
			return;
		}
	}
	if (!sl_work_definition(w, definition))
		return;
	w->rc = sl_engine_validate(w->task->api->parts.engine, sl_bytes_str(w->definition), NULL, &w->problems);
	if (w->rc == SL_OK && w->problems.errors == 0 && !sl_name_ok(sl_str(w->name)))
		sl_work_problem(w, "/name",
				"a stored workflow needs a name: small letters, digits, _ and -, at most 64");
	if (w->problems.errors)
		w->rc = SL_INVALID;
}

static void put_done(struct sl_task *t)
{
	struct sl_work *w = t->more;
	if (t->rc == SL_OK) {
		SL_BUF(out, 64 << 10);
		SL_BUF(warnings, 32 << 10);
		sl_problems_json(&warnings, &w->problems, w->prefix, true);
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "name", w->name);
		sl_buf_json_ki64(&out, "version", t->version);
		sl_buf_json_ktime(&out, "created_at", t->created_ms);
		sl_buf_json_key(&out, "warnings");
		sl_buf_addf(&out, "[" SL_STR_FMT "]}", SL_STR_ARG(sl_buf_str(&warnings)));
		SL_BUF(url, 200);
		sl_buf_addf(&url, "/api/v1/workflows/%s", w->name);
		bool created = t->r->head.method == SL_POST;
		if (created)
			sl_answer_header(t->r, "Location", sl_buf_str(&url));
		sl_api_audit(t->api, t->r, created ? "workflow.create" : "workflow.update", sl_str(w->name));
		sl_answer_buf(t->r, created ? 201 : 200, &out);
	} else if (t->rc == SL_CONFLICT) {
		sl_answer_problem(t->r, SL_CONFLICT, "there is a workflow '%s' already; PUT makes its next version",
				  w->name);
	} else if (t->rc == SL_NOT_FOUND) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no workflow '%s'; POST /workflows creates it", w->name);
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

static void on_put(void *arg, enum sl_code rc, int32_t version, int64_t created_ms)
{
	struct sl_task *t = arg;
	t->rc = rc;
	t->version = version;
	t->created_ms = created_ms;
	sl_task_back(t);
}

static void work_free(void *more)
{
	sl_work_free(more);
}

static void checked(struct sl_work *w)
{
	struct sl_task *t = w->task;
	bool update = t->r->head.method == SL_PUT;
	if (w->rc == SL_OK && update && !sl_str_eq(sl_str(w->name), t->r->params[0]))
		sl_work_problem(w, "/name", "the name in the definition is not the one in the path");
	if (w->rc != SL_OK) {
		sl_work_answer_problems(w);
		sl_work_free(w);
		return;
	}
	w->task = NULL; /* the task carries the work now */
	t->more = w;
	t->more_free = work_free;
	t->then = put_done;
	enum sl_code rc =
		sl_store_workflow_put(t->api->parts.store, update ? SL_WORKFLOW_UPDATE : SL_WORKFLOW_CREATE,
				      sl_str(w->name), sl_str(w->description), w->definition, sl_str(w->by), on_put, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_workflow_create(struct sl_api *a, struct sl_request *r)
{
	struct sl_work *w = sl_work_new(a, r);
	if (w)
		sl_work_go(w, check, checked);
}

void sl_route_workflow_put(struct sl_api *a, struct sl_request *r)
{
	sl_route_workflow_create(a, r);
}

/* ---- validate ---- */

static void check_only(struct sl_work *w)
{
	SL_AUTO_JSON body = NULL;
	if (!sl_work_parse(w, &body)) {
		if (w->rc == SL_BAD_REQUEST) { /* what cannot be read is invalid, and that is the answer */
			sl_work_problem(w, "", w->err.text);
			w->rc = SL_OK;
		}
		return;
	}
	struct json_object *definition = body, *wrapped = sl_json_get(body, "definition"), *inputs = NULL;
	if (wrapped && !sl_json_get(body, "nodes")) {
		definition = wrapped;
		inputs = sl_json_get(body, "inputs");
		w->prefix = SL_STR("/definition");
	}
	if (!sl_work_definition(w, definition))
		return;
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (inputs)
		sl_json_write(&text, inputs);
	const struct sl_str in = sl_buf_str(&text);
	w->rc = sl_engine_validate(w->task->api->parts.engine, sl_bytes_str(w->definition), inputs ? &in : NULL,
				   &w->problems);
}

static void told(struct sl_work *w)
{
	if (w->rc != SL_OK) {
		sl_work_answer_problems(w);
		sl_work_free(w);
		return;
	}
	SL_BUF(out, 512 << 10);
	SL_BUF(errors, 256 << 10);
	SL_BUF(warnings, 128 << 10);
	sl_problems_json(&errors, &w->problems, w->prefix, false);
	sl_problems_json(&warnings, &w->problems, w->prefix, true);
	sl_buf_addc(&out, '{');
	sl_buf_json_kbool(&out, "valid", w->problems.errors == 0);
	sl_buf_json_key(&out, "errors");
	sl_buf_addf(&out, "[" SL_STR_FMT "]", SL_STR_ARG(sl_buf_str(&errors)));
	sl_buf_json_key(&out, "warnings");
	sl_buf_addf(&out, "[" SL_STR_FMT "]", SL_STR_ARG(sl_buf_str(&warnings)));
	if (w->problems.dropped)
		sl_buf_json_ku64(&out, "errors_left_out", w->problems.dropped);
	sl_buf_addc(&out, '}');
	sl_answer_buf(w->task->r, 200, &out);
	sl_work_free(w);
}

void sl_route_workflow_validate(struct sl_api *a, struct sl_request *r)
{
	struct sl_work *w = sl_work_new(a, r);
	if (w)
		sl_work_go(w, check_only, told);
}

/* ---- look, archive ---- */

static void show(struct sl_task *t)
{
	if (t->rc == SL_OK) {
		SL_BUF(out, SL_LIMIT_PAYLOAD_BYTES);
		stored_json(&out, t->workflow);
		sl_answer_buf(t->r, 200, &out);
	} else if (t->rc == SL_NOT_FOUND) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such workflow, or not in that version");
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

void sl_route_workflow_get(struct sl_api *a, struct sl_request *r)
{
	uint64_t version;
	if (!sl_request_query_u64(r, "version", 1, INT32_MAX, 0, &version)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "version is a number from 1");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, show);
	if (!t)
		return;
	enum sl_code rc =
		sl_store_workflow_get(a->parts.store, r->params[0], (int32_t)version, sl_task_workflow_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_workflow_list(struct sl_api *a, struct sl_request *r)
{
	uint64_t limit;
	struct sl_str cursor = SL_STR("");
	SL_IGNORE(sl_request_query(r, "cursor", &cursor)); /* optional */
	if (!sl_request_query_u64(r, "limit", 1, 200, 50, &limit)) {
		sl_answer_problem(r, SL_BAD_REQUEST, "limit is a number from 1 to 200");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_workflow_list(a->parts.store, cursor, (uint32_t)limit, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_workflow_versions(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_workflow_versions(a->parts.store, r->params[0], sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void archived(struct sl_task *t)
{
	if (t->rc == SL_OK) {
		sl_api_audit(t->api, t->r, "workflow.archive", t->r->params[0]);
		sl_answer_empty(t->r, 204);
	} else if (t->rc == SL_NOT_FOUND) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such workflow");
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

void sl_route_workflow_archive(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, archived);
	if (!t)
		return;
	enum sl_code rc = sl_store_workflow_archive(a->parts.store, r->params[0], sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_node_types(struct sl_api *a, struct sl_request *r)
{
	if (!a->node_types)
		a->node_types = sl_registry_json(a->parts.registry);
	sl_answer_json(r, 200, sl_bytes_ref(a->node_types));
}
