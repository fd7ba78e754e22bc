/* api/routes_agents.c: agents (personas) and prices: stored first, in force then, so a restart finds what was in force.
 * Each change is written together with its line of the audit trail. */
#include "api/api_priv.h"
#include "engine/tool.h"
#include "llm/agents.h"
#include "llm/chat.h"
#include "llm/price.h"
#include "store/agents.h"
#include "store/prices.h"

struct sl_audit_by sl_request_audit(const struct sl_request *r, const char *action, struct sl_str target)
{
	return (struct sl_audit_by){sl_str(r->by), sl_str(action), target};
}

/* ---- agents ---- */

void sl_route_agent_list(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 16u << 20);
	sl_buf_adds(&out, "{\"items\":[");
	sl_agents_list_json(a->parts.agents, &out);
	sl_buf_adds(&out, "],\"next_cursor\":null}");
	sl_answer_buf(r, 200, &out);
}

static void answer_agent(struct sl_request *r, const struct sl_agent *one)
{
	SL_BUF(out, 1u << 20);
	sl_agent_json(one, &out);
	sl_answer_buf(r, 200, &out);
}

void sl_route_agent_get(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO(sl_agent) one = a->parts.agents ? sl_agents_get(a->parts.agents, r->params[0]) : NULL;
	if (one)
		answer_agent(r, one);
	else
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such agent");
}

/* ---- tools ---- */

void sl_route_tools(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 1u << 20);
	sl_buf_adds(&out, "{\"items\":[");
	for (size_t i = 0; a->parts.tools && a->parts.tools[i]; i++) {
		const struct sl_tool *t = a->parts.tools[i];
		const char *why = t->unavailable ? t->unavailable(a->parts.services) : NULL;
		bool workflow = strcmp(t->name, "workflow") == 0;
		sl_buf_json_comma(&out);
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "name", workflow ? SL_TOOL_WORKFLOW "NAME" : t->name);
		sl_buf_json_kz(&out, "description", t->description);
		sl_buf_json_kraw(&out, "parameters", sl_str(t->args_schema));
		sl_buf_json_kz(&out, "default", t->off ? "off" : "on");
		sl_buf_json_kbool(&out, "available", !why);
		sl_buf_json_kz(&out, "reason", why);
		sl_buf_addc(&out, '}');
	}
	sl_buf_adds(&out, "],\"next_cursor\":null}");
	sl_answer_buf(r, 200, &out);
}

/* Switches of tools that are not there would be believed to do something. */
static bool know_tools(struct sl_api *a, struct json_object *tools, struct sl_buf *problems, struct sl_error *err)
{
	bool all = true;
	if (!a->parts.tools || !json_object_is_type(tools, json_type_object))
		return true;
	json_object_object_foreach (tools, key, value) {
		SL_BUF(pointer, 512);
		(void)value;
		if (strcmp(key, "workflow") == 0 || sl_tool_find(a->parts.tools, sl_str(key)))
			continue;
		sl_buf_adds(&pointer, "/tools");
		sl_pointer_add(&pointer, sl_str(key));
		sl_buf_json_problem(problems, sl_buf_str(&pointer),
				    "there is no such tool; GET /api/v1/tools lists them");
		if (all)
			SL_IGNORE(
				sl_fail(err, SL_INVALID, "/tools/%s: there is no such tool", key)); /* fills the text */
		all = false;
	}
	return all;
}

static void unref(void *more)
{
	sl_bytes_unref(more);
}

static void agent_stored(struct sl_task *t)
{
	struct sl_error err = {0};
	struct sl_agents *agents = t->api->parts.agents;
	if (t->rc == SL_OK)
		sl_counts_audit(t->api, "agent.put");
	if (t->rc == SL_OK)
		t->rc = sl_agents_load(agents, t->r->params[0], sl_bytes_str(t->more), &err);
	if (t->rc == SL_OK)
		sl_follow_own(t->api, SL_FOLLOW_AGENTS);
	SL_AUTO(sl_agent) one = t->rc == SL_OK ? sl_agents_get(agents, t->r->params[0]) : NULL;
	if (one)
		answer_agent(t->r, one);
	else
		sl_answer_error(t->r, t->rc == SL_OK ? SL_INTERNAL : t->rc, err.text[0] ? &err : NULL);
	sl_task_free(t);
}

void sl_route_agent_put(struct sl_api *a, struct sl_request *r)
{
	struct sl_error err = {0};
	struct sl_bytes *row = NULL;
	SL_BUF(problems, 64 << 10);
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	enum sl_code rc = know_tools(a, sl_json_get(body, "tools"), &problems, &err) ? SL_OK : SL_INVALID;
	if (rc == SL_OK)
		rc = sl_agents_check(r->params[0], body, &row, &problems, &err);
	if (rc != SL_OK) {
		sl_answer_problem_with(r, sl_code_http(rc), rc, sl_str(err.text), sl_buf_str(&problems), 0, SL_STR(""));
		return;
	}
	struct sl_task *t = sl_task_new(a, r, agent_stored);
	if (!t) {
		sl_bytes_unref(row);
		return;
	}
	t->more = row;
	t->more_free = unref;
	const struct sl_audit_by by = sl_request_audit(r, "agent.put", r->params[0]);
	rc = sl_store_agent_put(a->parts.store, &by, r->params[0], row, sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void agent_deleted(struct sl_task *t)
{
	if (t->rc == SL_OK || t->rc == SL_NOT_FOUND) /* also when another instance was quicker */
		sl_agents_drop(t->api->parts.agents, t->r->params[0]);
	if (t->rc == SL_OK) {
		sl_counts_audit(t->api, "agent.delete");
		sl_follow_own(t->api, SL_FOLLOW_AGENTS);
	}
	if (t->rc == SL_OK)
		sl_answer_empty(t->r, 204);
	else if (t->rc == SL_NOT_FOUND)
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such agent");
	else
		sl_answer_error(t->r, t->rc, NULL);
	sl_task_free(t);
}

void sl_route_agent_delete(struct sl_api *a, struct sl_request *r)
{
	if (!sl_name_ok(r->params[0])) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such agent");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, agent_deleted);
	if (!t)
		return;
	const struct sl_audit_by by = sl_request_audit(r, "agent.delete", r->params[0]);
	enum sl_code rc = sl_store_agent_delete(a->parts.store, &by, r->params[0], sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- prices ---- */

static void answer_prices(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 4u << 20);
	sl_buf_adds(&out, "{\"items\":[");
	sl_prices_json(sl_llm_prices(a->parts.llm), &out);
	sl_buf_adds(&out, "],\"next_cursor\":null");
	sl_buf_json_kz(&out, "built_in_as_of", SL_PRICES_AS_OF);
	sl_buf_addc(&out, '}');
	sl_answer_buf(r, 200, &out);
}

void sl_route_prices_get(struct sl_api *a, struct sl_request *r)
{
	answer_prices(a, r);
}

static void prices_stored(struct sl_task *t)
{
	struct sl_error err = {0};
	if (t->rc == SL_OK)
		sl_counts_audit(t->api, "prices.put");
	if (t->rc == SL_OK)
		t->rc = sl_prices_load(sl_llm_prices(t->api->parts.llm), sl_bytes_str(t->more), &err);
	if (t->rc == SL_OK)
		sl_follow_own(t->api, SL_FOLLOW_PRICES);
	if (t->rc == SL_OK)
		answer_prices(t->api, t->r);
	else
		sl_answer_error(t->r, t->rc, err.text[0] ? &err : NULL);
	sl_task_free(t);
}

void sl_route_prices_put(struct sl_api *a, struct sl_request *r)
{
	struct sl_error err = {0};
	struct sl_bytes *rows = NULL;
	SL_BUF(problems, 256 << 10);
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	enum sl_code rc = sl_prices_check(body, sl_clock_wall(a->clock), &rows, &problems, &err);
	if (rc != SL_OK) {
		sl_answer_problem_with(r, sl_code_http(rc), rc, sl_str(err.text), sl_buf_str(&problems), 0, SL_STR(""));
		return;
	}
	struct sl_task *t = sl_task_new(a, r, prices_stored);
	if (!t) {
		sl_bytes_unref(rows);
		return;
	}
	t->more = rows;
	t->more_free = unref;
	const struct sl_audit_by by = sl_request_audit(r, "prices.put", SL_STR(""));
	rc = sl_store_price_replace(a->parts.store, &by, rows, sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
