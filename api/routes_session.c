/* api/routes_session.c: signing in to the UI, tickets for its WebSocket, and the tokens behind both. */
#include "api/api_priv.h"
#include "store/audit.h"
#include "store/tokens.h"
#include "ws/conn.h"

/* ---- session ---- */

static void answer_who(struct sl_request *r)
{
	SL_BUF(out, 512);
	sl_buf_addc(&out, '{');
	sl_buf_json_kz(&out, "role", sl_role_name(r->role));
	sl_buf_json_kz(&out, "name", r->by);
	sl_buf_addc(&out, '}');
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_buf(r, 200, &out);
}

static void set_cookie(struct sl_request *r, const char *value, int seconds)
{
	SL_BUF(cookie, 512);
	sl_buf_addf(&cookie, "sluice_session=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Strict%s", value, seconds,
		    r->tls ? "; Secure" : "");
	sl_answer_header(r, "Set-Cookie", sl_buf_str(&cookie));
}

void sl_route_session_make(struct sl_api *a, struct sl_request *r)
{
	char session[SL_SESSION_TEXT_BYTES];
	struct sl_identity who;
	sl_request_identity(r, &who);
	sl_auth_session(a->auth, &who, session);
	set_cookie(r, session, SL_SESSION_SECONDS);
	answer_who(r);
}

void sl_route_session_get(struct sl_api *a, struct sl_request *r)
{
	answer_who(r);
}

void sl_route_session_end(struct sl_api *a, struct sl_request *r)
{
	set_cookie(r, "", 0);
	sl_answer_empty(r, 204);
}

void sl_route_ws_ticket(struct sl_api *a, struct sl_request *r)
{
	char ticket[SL_TICKET_TEXT_BYTES];
	struct sl_identity who;
	sl_request_identity(r, &who);
	enum sl_code rc = sl_auth_ticket(a->auth, &who, sl_request_header(r, "origin"), ticket);
	if (rc != SL_OK) {
		sl_answer_problem(r, rc, "too many tickets are waiting to be used");
		return;
	}
	SL_BUF(out, 256);
	sl_buf_addc(&out, '{');
	sl_buf_json_kz(&out, "ticket", ticket);
	sl_buf_json_ku64(&out, "expires_in", SL_TICKET_MS / 1000);
	sl_buf_addc(&out, '}');
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_buf(r, 200, &out);
}

/* ---- tokens ---- */

static void token_json(struct sl_buf *b, const struct sl_stored_token *t)
{
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(t->id, id);
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "id", id);
	sl_buf_json_kz(b, "name", t->name);
	sl_buf_json_kz(b, "role", t->role);
	sl_buf_json_kz(b, "last4", t->last4);
	sl_buf_json_ktime(b, "created_at", t->created_ms);
	sl_buf_json_ktime(b, "expires_at", t->expires_ms);
	sl_buf_json_ktime(b, "revoked_at", t->revoked_ms);
	sl_buf_addc(b, '}');
}

static void on_list(void *arg, enum sl_code rc, const struct sl_stored_token *items, size_t n)
{
	struct sl_task *t = arg;
	SL_BUF(out, 4 << 20);
	t->rc = rc;
	if (rc == SL_OK) {
		sl_buf_adds(&out, "{\"items\":[");
		for (size_t i = 0; i < n; i++)
			token_json(&out, &items[i]);
		sl_buf_adds(&out, "],\"next_cursor\":null}");
		t->json = sl_buf_bytes(&out);
		if (!t->json)
			t->rc = SL_NO_MEMORY;
	}
	sl_task_back(t);
}

void sl_route_token_list(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, sl_task_answer_json);
	if (!t)
		return;
	enum sl_code rc = sl_store_token_list(a->parts.store, on_list, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

struct fresh {
	struct sl_auth_token token;
	char secret[SL_TOKEN_TEXT_BYTES];
	int64_t created_ms;
};

static void fresh_free(void *more)
{
	explicit_bzero(more, sizeof(struct fresh));
	free(more);
}

static void token_made(struct sl_task *t)
{
	struct fresh *f = t->more;
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(f->token.id, id);
	if (t->rc == SL_OK && sl_auth_add_token(t->api->auth, &f->token) == SL_OK) {
		sl_follow_own(t->api, SL_FOLLOW_TOKENS);
		SL_BUF(out, 1024);
		sl_buf_addc(&out, '{');
		sl_buf_json_kz(&out, "id", id);
		sl_buf_json_kz(&out, "name", f->token.name);
		sl_buf_json_kz(&out, "role", sl_role_name(f->token.role));
		sl_buf_json_kz(&out, "token", f->secret);
		sl_buf_json_kz(&out, "last4", f->secret + SL_TOKEN_TEXT_BYTES - 5);
		sl_buf_json_ktime(&out, "created_at", f->created_ms);
		sl_buf_json_ktime(&out, "expires_at", f->token.expires_ms);
		sl_buf_addc(&out, '}');
		sl_answer_header(t->r, "Cache-Control", SL_STR("no-store"));
		sl_counts_audit(t->api, "token.create");
		sl_answer_buf(t->r, 201, &out);
	} else if (t->rc == SL_CONFLICT) {
		sl_answer_problem(t->r, SL_CONFLICT, "a token named '%s' is in use", f->token.name);
	} else {
		sl_answer_error(t->r, t->rc == SL_OK ? SL_NO_MEMORY : t->rc, NULL);
	}
	sl_task_free(t);
}

static void field(struct sl_buf *errors, const char *pointer, const char *message)
{
	sl_buf_json_problem(errors, sl_str(pointer), message);
}

/* What stands in the body, or the problems with it. */
static bool read_token(struct json_object *body, int64_t now_ms, struct sl_auth_token *out, struct sl_buf *errors)
{
	struct sl_str name = sl_json_get_str(body, "name"), expires = sl_json_get_str(body, "expires_at");
	json_object_object_foreach (body, key, value) {
		(void)value;
		if (strcmp(key, "name") && strcmp(key, "role") && strcmp(key, "expires_at"))
			field(errors, "", "a token has name, role and expires_at");
	}
	if (name.len == 0 || name.len >= sizeof(out->name))
		field(errors, "/name", "a name of 1 to 63 bytes");
	else
		memcpy(out->name, name.p, name.len);
	if (!sl_role_parse(sl_json_get_str(body, "role"), &out->role))
		field(errors, "/role", "viewer, runner, editor or admin");
	if (sl_json_get(body, "expires_at") && (!sl_time_parse(expires, &out->expires_ms) || out->expires_ms <= now_ms))
		field(errors, "/expires_at", "a time to come, like 2030-01-31T12:00:00Z");
	return errors->len == 0;
}

void sl_route_token_make(struct sl_api *a, struct sl_request *r)
{
	SL_AUTO_JSON body = sl_request_json(r);
	SL_BUF(errors, 4096);
	if (!body)
		return;
	struct sl_task *t = sl_task_new(a, r, token_made);
	struct fresh *f = t ? calloc(1, sizeof(*f)) : NULL;
	if (!t)
		return;
	t->more = f;
	t->more_free = fresh_free;
	if (!f) {
		sl_task_refuse(t, SL_NO_MEMORY);
		return;
	}
	f->created_ms = sl_clock_wall(a->clock);
	if (!read_token(body, f->created_ms, &f->token, &errors)) {
		sl_answer_problem_with(r, 422, SL_INVALID, SL_STR("this is no token"), sl_buf_str(&errors), 0,
				       SL_STR(""));
		sl_task_free(t);
		return;
	}
	sl_auth_make_secret(f->secret);
	sl_auth_hash(sl_str(f->secret), f->token.hash);
	f->token.id = sl_uuid_new();
	struct sl_stored_token stored = {.id = f->token.id,
					 .name = f->token.name,
					 .role = sl_role_name(f->token.role),
					 .expires_ms = f->token.expires_ms};
	memcpy(stored.hash, f->token.hash, sizeof(stored.hash));
	memcpy(stored.last4, f->secret + SL_TOKEN_TEXT_BYTES - 5, 4);
	const struct sl_audit_by by = sl_request_audit(r, "token.create", sl_str(f->token.name));
	enum sl_code rc = sl_store_token_add(a->parts.store, &by, &stored, sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static bool same_token(void *ctx, const struct sl_ws_identity *who)
{
	return sl_uuid_eq(who->token, *(const struct sl_uuid *)ctx);
}

static void token_revoked(struct sl_task *t)
{
	struct sl_uuid id = t->run.u; /* the field for an id */
	if (t->rc == SL_OK) {
		sl_auth_drop_token(t->api->auth, id);
		sl_follow_own(t->api, SL_FOLLOW_TOKENS);
		if (t->api->parts.ws)
			sl_hub_close_matching(sl_ws_hub(t->api->parts.ws), same_token, &id, SL_WS_CLOSE_REVOKED,
					      "the token was revoked");
		sl_counts_audit(t->api, "token.revoke");
		sl_answer_empty(t->r, 204);
	} else if (t->rc == SL_NOT_FOUND) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no such token");
	} else {
		sl_answer_error(t->r, t->rc, NULL);
	}
	sl_task_free(t);
}

void sl_route_token_revoke(struct sl_api *a, struct sl_request *r)
{
	struct sl_uuid id;
	if (!sl_uuid_parse(r->params[0], &id)) {
		sl_answer_problem(r, SL_NOT_FOUND, "there is no such token");
		return;
	}
	struct sl_task *t = sl_task_new(a, r, token_revoked);
	if (!t)
		return;
	t->run.u = id;
	const struct sl_audit_by by = sl_request_audit(r, "token.revoke", r->params[0]);
	enum sl_code rc = sl_store_token_revoke(a->parts.store, &by, id, sl_task_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void audited(void *arg, enum sl_code rc)
{
	if (rc != SL_OK)
		sl_log(SL_LOG_ERROR, "api", "an action was not written to the audit trail",
		       SL_KS("code", sl_code_wire(rc)));
}

void sl_api_audit_first(struct sl_api *a, struct sl_request *r, const char *action, struct sl_str target,
			void (*then)(struct sl_task *t))
{
	struct sl_task *t = sl_task_new(a, r, then);
	if (!t)
		return;
	enum sl_code rc =
		sl_store_audit(a->parts.store, sl_str(r->by), sl_str(action), target, NULL, sl_task_from_store, t);
	if (rc == SL_OK)
		sl_counts_audit(a, action);
	else
		sl_task_refuse(t, rc);
}

void sl_api_audit_by(struct sl_api *a, struct sl_str actor, const char *action, struct sl_str target,
		     struct sl_bytes *detail)
{
	enum sl_code rc = sl_store_audit(a->parts.store, actor, sl_str(action), target, detail, audited, NULL);
	if (rc != SL_OK)
		audited(NULL, rc);
	else
		sl_counts_audit(a, action);
}

void sl_api_audit(struct sl_api *a, const struct sl_request *r, const char *action, struct sl_str target)
{
	sl_api_audit_by(a, sl_str(r->by), action, target, NULL);
}
