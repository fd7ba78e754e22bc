/* api/routes_profiles.c: model profiles. A profile is stored before it is used, so a restart finds what was in force.
 */
#include "api/api_priv.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "memory/memory.h"
#include "store/audit.h"
#include "store/profiles.h"

static struct sl_profiles *profiles_of(struct sl_api *a)
{
	return sl_llm_profiles(a->parts.llm);
}

void sl_route_profile_list(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 4 << 20);
	sl_buf_adds(&out, "{\"items\":");
	sl_profiles_list_json(profiles_of(a), &out);
	sl_buf_json_kbool(&out, "only_simulated", sl_profiles_only_sim(profiles_of(a)));
	sl_buf_adds(&out, ",\"next_cursor\":null}");
	sl_answer_buf(r, 200, &out);
}

void sl_route_providers(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 1 << 20);
	sl_buf_adds(&out, "{\"items\":");
	sl_providers_json(&out);
	sl_buf_adds(&out, ",\"next_cursor\":null}");
	sl_answer_buf(r, 200, &out);
}

static struct sl_profile *find(struct sl_api *a, struct sl_request *r)
{
	struct sl_profile *p = r->params[0].len ? sl_profiles_get(profiles_of(a), r->params[0]) : NULL;
	if (!p)
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such profile");
	return p;
}

static void answer_profile(struct sl_api *a, struct sl_request *r, const struct sl_profile *p)
{
	SL_BUF(out, 1 << 20);
	sl_profile_json(profiles_of(a), p, &out);
	sl_answer_buf(r, 200, &out);
}

void sl_route_profile_get(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO(sl_profile) p = find(a, r);
	if (p)
		answer_profile(a, r, p);
}

static void row_free(void *more)
{
	sl_profile_row_fini(more);
	free(more);
}

static void profile_stored(struct sl_task *t)
{
	struct sl_profile_row *row = t->more;
	struct sl_error err = {0};
	if (t->rc == SL_OK)
		t->rc = sl_profiles_load(profiles_of(t->api), sl_str(row->name), sl_bytes_str(row->body),
					 sl_bytes_str(row->keys), &err);
	if (t->rc == SL_OK) {
		SL_AUTO(sl_profile) p = sl_profiles_get(profiles_of(t->api), sl_str(row->name));
		sl_counts_audit(t->api, "profile.put");
		sl_follow_own(t->api, SL_FOLLOW_PROFILES);
		if (t->api->parts.memory && p && p->kind == SL_PROFILE_EMBEDDING)
			sl_memory_profiles_changed(t->api->parts.memory);
		if (p)
			answer_profile(t->api, t->r, p);
		else
			sl_answer_problem(t->r, SL_INTERNAL, "the profile is stored but not in force");
	} else {
		sl_answer_error(t->r, t->rc, err.text[0] ? &err : NULL);
	}
	sl_task_free(t);
}

void sl_route_profile_put(struct sl_api *a, struct sl_request *r)
{
	struct sl_error err = {0};
	SL_BUF(problems, 64 << 10);
	SL_AUTO_JSON body = sl_request_json(r);
	if (!body)
		return;
	explicit_bzero(r->body.data, r->body.len); /* it may hold keys */
	if (!sl_name_ok(r->params[0])) {
		sl_answer_problem(r, SL_INVALID, "a profile's name has small letters, digits, _ and -, at most 64");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, profile_stored);
	if (!t)
		return;
	struct sl_profile_row *row = calloc(1, sizeof(*row));
	t->more = row;
	t->more_free = row_free;
	enum sl_code rc =
		row ? sl_profiles_check(profiles_of(a), r->params[0], body, row, &problems, &err) : SL_NO_MEMORY;
	if (rc != SL_OK) {
		sl_answer_problem_with(r, sl_code_http(rc), rc, sl_str(err.text), sl_buf_str(&problems), 0, SL_STR(""));
		sl_task_free(t);
		return;
	}
	const struct sl_audit_by by = sl_request_audit(r, "profile.put", sl_str(row->name));
	rc = sl_store_profile_put(a->parts.store, &by, sl_str(row->name), row->body, SL_PROFILE_SET_SECRETS, row->keys,
				  sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void profile_deleted(struct sl_task *t)
{
	struct sl_error err = {0};
	bool stored = t->rc == SL_OK;
	if (t->rc == SL_OK || t->rc == SL_NOT_FOUND) /* not stored: then the set says why it cannot go */
		t->rc = sl_profiles_delete(profiles_of(t->api), t->r->params[0], &err);
	if (stored) {
		sl_counts_audit(t->api, "profile.delete");
		sl_follow_own(t->api, SL_FOLLOW_PROFILES);
	}
	if (t->rc == SL_OK) {
		sl_answer_empty(t->r, 204);
	} else {
		sl_answer_error(t->r, t->rc, err.text[0] ? &err : NULL);
	}
	sl_task_free(t);
}

void sl_route_profile_delete(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, profile_deleted);
	if (!t)
		return;
	const struct sl_audit_by by = sl_request_audit(r, "profile.delete", r->params[0]);
	enum sl_code rc = sl_store_profile_delete(a->parts.store, &by, r->params[0], sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- test: one real, tiny call ---- */

struct probe {
	struct sl_chat *chat;
};

static void probe_free(void *more)
{
	struct probe *p = more;
	sl_chat_unref(p->chat);
	free(p);
}

static void on_probed(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *result)
{
	struct sl_task *t = ctx;
	SL_BUF(out, 64 << 10);
	sl_buf_addc(&out, '{');
	sl_buf_json_kbool(&out, "ok", rc == SL_OK);
	if (result) {
		sl_buf_json_kz(&out, "profile", result->profile);
		sl_buf_json_kz(&out, "model", result->model);
		sl_buf_json_kbool(&out, "simulated", result->simulated);
		sl_buf_json_ku64(&out, "first_token_ms", result->first_token_ms);
		sl_buf_json_ku64(&out, "total_ms", result->total_ms);
		if (rc == SL_OK)
			sl_buf_json_kstr(&out, "text", result->text);
		if (result->usage.known) {
			sl_buf_json_key(&out, "usage");
			sl_buf_addc(&out, '{');
			sl_buf_json_ku64(&out, "input_tokens", result->usage.input_tokens);
			sl_buf_json_ku64(&out, "output_tokens", result->usage.output_tokens);
			sl_buf_addc(&out, '}');
		}
		if (result->http_status)
			sl_buf_json_ki64(&out, "http_status", result->http_status);
	}
	if (rc != SL_OK) {
		sl_buf_json_key(&out, "error");
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "code", sl_code_wire(rc));
		sl_buf_json_kz(&out, "message", err ? err->text : "");
		sl_buf_addc(&out, '}');
	}
	sl_buf_addc(&out, '}');
	t->json = sl_buf_bytes(&out);
	t->rc = t->json ? SL_OK : SL_NO_MEMORY;
	sl_task_back(t);
}

static void probed(struct sl_task *t)
{
	t->r->on_gone = NULL;
	sl_task_answer_json(t);
}

static void probe_gone(struct sl_request *r, void *ctx)
{
	struct sl_task *t = ctx;
	struct probe *p = t->more;
	sl_chat_cancel(p->chat); /* its `done` comes and ends the task */
}

void sl_route_profile_test(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO(sl_profile) profile = find(a, r);
	struct sl_error err = {0};
	if (!profile)
		return;
	struct sl_task *t = sl_task_new(a, r, probed);
	if (!t)
		return;
	struct probe *p = calloc(1, sizeof(*p));
	if (!p) {
		sl_task_refuse(t, SL_NO_MEMORY);
		return;
	}
	t->more = p;
	t->more_free = probe_free;
	struct sl_chat_request req = SL_CHAT_REQUEST;
	req.profile = r->params[0];
	req.messages = SL_STR("[{\"role\":\"user\",\"content\":\"Answer with the word OK and nothing else.\"}]");
	req.max_tokens = 16;
	req.timeouts = (struct sl_http_timeouts){
		.connect_ms = 10000, .first_byte_ms = 30000, .idle_ms = 30000, .total_ms = 60000};
	const struct sl_chat_callbacks cb = {.done = on_probed};
	r->on_gone = probe_gone;
	r->on_ctx = t;
	enum sl_code rc = sl_chat_start(a->parts.llm, &req, &cb, t, &p->chat, &err);
	if (rc != SL_OK) {
		r->on_gone = NULL;
		sl_answer_error(r, rc, &err);
		sl_task_free(t);
	}
}
