/* api/routes_estimate.c: what a run of a workflow will take: of a stored one, or of a definition in the body. */
#include "api/estimate.h"
#include "api/work.h"
#include "engine/graph.h"
#include "llm/chat.h"
#include "store/workflows.h"

static void work_free(void *more)
{
	sl_work_free(more);
}

/* [pool] { "definition"?, "version"?, "inputs"? }, all of it optional, and so is the body. */
static void read_body(struct sl_work *w)
{
	SL_AUTO_JSON body = NULL;
	if (!w->task->r->body.len)
		return;
	if (!sl_work_parse(w, &body))
		return;
	json_object_object_foreach (body, key, v) {
		bool object = json_object_is_type(v, json_type_object);
		char pointer[64];
		if (strcmp(key, "definition") == 0 && object) {
			(void)sl_work_definition(w, v); /* w->rc tells */
		} else if (strcmp(key, "inputs") == 0 && object) {
			SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
			sl_json_write(&text, v);
			w->inputs = sl_buf_bytes(&text);
			if (!w->inputs)
				w->rc = sl_fail(&w->err, SL_NO_MEMORY, "out of memory");
		} else if (strcmp(key, "version") == 0 && json_object_is_type(v, json_type_int) &&
			   json_object_get_int64(v) > 0 && json_object_get_int64(v) <= INT32_MAX) {
			w->version = (int32_t)json_object_get_int64(v);
		} else {
			(void)snprintf(pointer, sizeof(pointer), "/%.60s", key); /* cut keys are shown cut */
			sl_work_problem(w, pointer,
					"give `definition` (an object), `inputs` (an object) and `version` (a number "
					"from 1), or none of them");
		}
	}
	if (w->has_definition && w->rc == SL_OK) /* what is found from here on is found in it */
		w->prefix = SL_STR("/definition");
}

/* [pool] */
static void estimate(struct sl_work *w)
{
	const struct sl_api_parts *parts = &w->task->api->parts;
	SL_AUTO(sl_workflow) workflow = NULL;
	SL_AUTO_JSON inputs = NULL;
	const struct sl_estimate_models models = {
		.profiles = sl_llm_profiles(parts->llm),
		.agents = parts->agents,
		.prices = sl_llm_prices(parts->llm),
		.stats = sl_llm_stats(parts->llm),
	};
	SL_BUF(out, SL_LIMIT_PAYLOAD_BYTES);
	w->rc = sl_workflow_parse(parts->registry, sl_bytes_str(w->definition), &workflow, &w->problems);
	if (w->rc == SL_OK && !workflow)
		w->rc = SL_INVALID;
	if (w->rc == SL_OK && w->inputs)
		w->rc = sl_json_parse(sl_bytes_str(w->inputs), &inputs, &w->err);
	if (w->rc == SL_OK)
		w->rc = sl_estimate_json(&models, workflow, inputs, &out, &w->err);
	if (w->rc == SL_OK && !(w->task->json = sl_buf_bytes(&out)))
		w->rc = sl_fail(&w->err, SL_NO_MEMORY, "out of memory");
}

static void told(struct sl_work *w)
{
	struct sl_task *t = w->task;
	if (w->rc == SL_OK)
		sl_answer_json(t->r, 200, SL_TAKE(t->json));
	else
		sl_work_answer_problems(w);
	sl_work_free(w);
}

static void found(struct sl_task *t)
{
	if (t->rc != SL_OK) {
		if (t->rc == SL_NOT_FOUND)
			sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such workflow, or not in that version");
		else
			sl_answer_error(t->r, t->rc, NULL);
		sl_task_free(t);
		return;
	}
	struct sl_work *w = SL_TAKE(t->more); /* the work carries the task again */
	w->task = t;
	w->definition = sl_bytes_ref(t->workflow->definition);
	sl_work_go(w, estimate, told);
}

static void was_read(struct sl_work *w)
{
	struct sl_task *t = w->task;
	if (w->rc != SL_OK) {
		sl_work_answer_problems(w);
		sl_work_free(w);
		return;
	}
	if (w->has_definition) {
		sl_work_go(w, estimate, told);
		return;
	}
	w->task = NULL;
	t->more = w;
	t->more_free = work_free;
	t->then = found;
	enum sl_code rc =
		sl_store_workflow_get(t->api->parts.store, t->r->params[0], w->version, sl_task_workflow_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

void sl_route_workflow_estimate(struct sl_api *a, struct sl_request *r)
{
	struct sl_work *w = sl_work_new(a, r);
	if (w)
		sl_work_go(w, read_body, was_read);
}
