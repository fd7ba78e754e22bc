/* api/work.c: see work.h. */
#include "api/work.h"

struct sl_work *sl_work_new(struct sl_api *a, struct sl_request *r)
{
	struct sl_str type = sl_request_header(r, "content-type");
	if (r->body.len && type.len && !sl_http1_has_token(type, "application/json")) {
		sl_answer_problem(r, SL_MEDIA_TYPE, "send the body as application/json");
		return NULL;
	}
	struct sl_task *t = sl_task_new(a, r, NULL);
	struct sl_work *w = t ? calloc(1, sizeof(*w)) : NULL;
	if (t && !w) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		sl_task_free(t);
	}
	if (w) {
		w->task = t;
		w->by = sl_str_dup(sl_str(r->by ? r->by : ""));
	}
	return w;
}

void sl_work_free(struct sl_work *w)
{
	if (!w)
		return;
	if (w->task)
		sl_task_free(w->task);
	sl_problems_fini(&w->problems);
	sl_bytes_unref(w->definition);
	sl_bytes_unref(w->inputs);
	sl_bytes_unref(w->tags);
	sl_bytes_unref(w->digest);
	free(w->description);
	free(w->project);
	free(w->key);
	free(w->by);
	free(w);
}

static void job_run(void *arg)
{
	struct sl_work *w = arg;
	w->run(w);
}

static void job_done(void *arg)
{
	struct sl_work *w = arg;
	w->then(w);
}

void sl_work_go(struct sl_work *w, void (*run)(struct sl_work *w), void (*then)(struct sl_work *w))
{
	w->run = run;
	w->then = then;
	w->rc = SL_OK;
	const struct sl_server_job job = {.run = job_run, .done = job_done, .arg = w};
	if (sl_server_job(w->task->api->server, &job) != SL_OK) {
		sl_answer_problem(w->task->r, SL_NO_MEMORY, "out of memory");
		sl_work_free(w);
	}
}

bool sl_work_parse(struct sl_work *w, struct json_object **out)
{
	w->rc = sl_json_parse(sl_buf_str(&w->task->r->body), out, &w->err);
	if (w->rc == SL_INVALID)
		w->rc = SL_BAD_REQUEST;
	if (w->rc == SL_OK && !json_object_is_type(*out, json_type_object))
		w->rc = sl_fail(&w->err, SL_BAD_REQUEST, "the body must be a JSON object");
	return w->rc == SL_OK;
}

void sl_work_problem(struct sl_work *w, const char *pointer, const char *message)
{
	sl_problems_add(&w->problems, false, sl_str(pointer), "%s", message);
	w->rc = SL_INVALID;
}

static struct sl_bytes *compact(struct json_object *o)
{
	SL_BUF(b, SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&b, o);
	return sl_buf_bytes(&b);
}

bool sl_work_definition(struct sl_work *w, struct json_object *definition)
{
	struct sl_str name = sl_json_get_str(definition, "name"),
		      description = sl_json_get_str(definition, "description");
	snprintf(w->name, sizeof(w->name), SL_STR_FMT, SL_STR_ARG(name));
	w->definition = compact(definition);
	w->description = sl_str_dup(description);
	w->has_definition = true;
	if (!w->definition || !w->description)
		w->rc = sl_fail(&w->err, SL_NO_MEMORY, "out of memory");
	return w->rc == SL_OK;
}

void sl_things_to_mend(size_t errors, struct sl_error *out)
{
	SL_IGNORE(sl_fail(out, SL_INVALID, errors == 1 ? "there is %zu thing to mend" : "there are %zu things to mend",
			  errors));
}

void sl_work_answer_problems(struct sl_work *w)
{
	struct sl_request *r = w->task->r;
	SL_BUF(errors, 256 << 10);
	SL_BUF(members, 64);
	if (w->problems.errors == 0) {
		sl_answer_error(r, w->rc, w->err.text[0] ? &w->err : NULL);
		return;
	}
	sl_problems_json(&errors, &w->problems, w->prefix, false);
	if (w->problems.dropped)
		sl_buf_json_ku64(&members, "errors_left_out", w->problems.dropped);
	struct sl_error detail;
	sl_things_to_mend(w->problems.errors, &detail);
	sl_answer_problem_with(r, 422, SL_INVALID, sl_str(detail.text),
			       errors.failed ? SL_STR("") : sl_buf_str(&errors), 0, sl_buf_str(&members));
}
