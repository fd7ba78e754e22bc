/* api/admit.c: the door: which name was asked for, which route it is, who asks, and whether they may.
 *
 * All of it is decided on the head, before a body is read. One case needs the database: a token nobody here knows but
 * which looks like one of ours (another instance may have made it); that is looked up when the request is complete.
 */
#include "api/api_priv.h"
#include "store/tokens.h"
#include "ws/conn.h"

/* We are told when one is revoked. Should that be lost, in a pooler before PostgreSQL, say: looked for when one is
 * used. */
#define TOKENS_STALE_MS 5000

static bool safe_method(enum sl_method m)
{
	return m == SL_GET || m == SL_HEAD || m == SL_OPTIONS;
}

static struct sl_str bearer(const struct sl_request *r)
{
	struct sl_str v = sl_request_header(r, "authorization");
	if (v.len > 7 && strncasecmp(v.p, "bearer ", 7) == 0)
		return sl_str_trim(sl_str_n(v.p + 7, v.len - 7));
	return SL_STR("");
}

static void be(struct sl_request *r, const struct sl_identity *who, bool by_cookie)
{
	r->role = who->role;
	r->token = who->token;
	r->by = sl_arena_str(&r->arena, sl_str(who->name));
	r->by_cookie = by_cookie;
	if (!r->by)
		r->by = "";
}

void sl_request_identity(const struct sl_request *r, struct sl_identity *out)
{
	*out = (struct sl_identity){.role = r->role, .token = r->token};
	snprintf(out->name, sizeof(out->name), "%s", r->by ? r->by : "");
}

static bool origin_ok(const struct sl_api *a, const struct sl_request *r, struct sl_str origin)
{
	return sl_auth_origin_allowed(origin, r->head.host, r->tls, a->origins);
}

static void refuse_unknown(struct sl_api *a, struct sl_request *r)
{
	uint32_t wait_ms = sl_auth_failed(a->auth, r->peer);
	/* A flood of guesses must not become a flood of lines: the limit itself is worth one level less. */
	sl_log(wait_ms ? SL_LOG_DEBUG : SL_LOG_WARN, "api", "a token was refused", SL_KS("event", "authn_login_fail"),
	       SL_KS("peer", r->peer), SL_KS("request_id", r->id));
	if (wait_ms) {
		struct sl_error err = {.retry_after_ms = wait_ms};
		SL_IGNORE(sl_fail(&err, SL_RATE_LIMITED,
				  "too many refused tokens from this address")); /* fills the text */
		err.retry_after_ms = wait_ms;
		sl_answer_error(r, SL_RATE_LIMITED, &err);
	} else {
		sl_answer_problem(r, SL_UNAUTHORIZED, "the token is not valid");
	}
}

static void say_rate(struct sl_request *r, const struct sl_rate_answer *q)
{
	const struct {
		const char *name;
		uint32_t value;
	} lines[] = {{"X-RateLimit-Limit", q->limit},
		     {"X-RateLimit-Remaining", q->remaining},
		     {"X-RateLimit-Reset", q->full_in_s}};
	for (size_t i = 0; i < SL_COUNT_OF(lines); i++) {
		char text[16];
		int n = snprintf(text, sizeof(text), "%u", lines[i].value);
		sl_answer_header(r, lines[i].name, sl_str_n(text, (size_t)n));
	}
}

/* False: too many lately, and it was answered. The tighter one of two limits is told. */
static bool within_rate(struct sl_api *a, struct sl_request *r, enum sl_rate_kind kind, struct sl_uuid token)
{
	struct sl_rate_answer q;
	sl_rates_take(a->rates, kind, token, &q);
	if (!q.limit)
		return true;
	if (kind != SL_RATE_REQUESTS || !(r->route && r->route->flags & SL_ROUTE_STARTS) || q.wait_ms)
		say_rate(r, &q);
	if (!q.wait_ms)
		return true;
	sl_log(SL_LOG_WARN, "api", "too many requests", SL_KS("event", "excess_rate_limit_exceeded"),
	       SL_KS("by", r->by ? r->by : ""), SL_KS("request_id", r->id));
	struct sl_error err = {0};
	SL_IGNORE(sl_fail(&err, SL_RATE_LIMITED, "this token may make %u such requests a minute", q.limit));
	err.retry_after_ms = q.wait_ms;
	sl_answer_error(r, SL_RATE_LIMITED, &err);
	return false;
}

/* False: there is something in the query that nobody would look at, and it was answered. */
static bool query_ok(struct sl_request *r)
{
	struct sl_str name;
	const char *names = r->route->query;
	if (!sl_router_stranger(r, &name))
		return true;
	sl_answer_problem(r, SL_BAD_REQUEST, "the query has '%.*s', which is not known here; %s%s",
			  (int)(name.len < 40 ? name.len : 40), name.p, names ? "there are: " : "nothing is",
			  names ? names : "");
	return false;
}

/* The role is known: may it? True: go on. */
static bool may(struct sl_api *a, struct sl_request *r)
{
	if (r->role < r->route->role) {
		sl_log(SL_LOG_WARN, "api", "a request was not allowed", SL_KS("event", "authz_fail"),
		       SL_KS("by", r->by), SL_KS("route", r->route->pattern), SL_KS("request_id", r->id));
		sl_answer_problem(r, SL_FORBIDDEN, "this needs the role %s, and the token has %s",
				  sl_role_name(r->route->role), sl_role_name(r->role));
		return false;
	}
	struct sl_str origin = sl_request_header(r, "origin");
	if (r->by_cookie && !safe_method(r->head.method)) {
		bool same = origin.len && origin_ok(a, r, origin);
		if ((origin.len && !same) || (!origin.len && !sl_request_header(r, "x-sluice-client").len)) {
			sl_answer_problem(r, SL_FORBIDDEN, "this request does not come from a page of this server");
			return false;
		}
	}
	if (!within_rate(a, r, SL_RATE_REQUESTS, r->token) ||
	    (r->route->flags & SL_ROUTE_STARTS && !within_rate(a, r, SL_RATE_RUNS, r->token)))
		return false;
	if (sl_auth_age_ms(a->auth) > TOKENS_STALE_MS && !sl_uuid_eq(r->token, (struct sl_uuid){{0}}))
		sl_follow_read(a, SL_FOLLOW_TOKENS);
	return query_ok(r);
}

/* Who asks. SL_OK: known; SL_UNAUTHORIZED: answered; SL_NOT_FOUND: ask the database. */
static enum sl_code identify(struct sl_api *a, struct sl_request *r)
{
	struct sl_identity who;
	struct sl_str secret = bearer(r), cookie;
	if (secret.len) {
		enum sl_code rc = sl_auth_bearer(a->auth, secret, r->peer, &who);
		if (rc == SL_OK) {
			be(r, &who, false);
			return SL_OK;
		}
		if (rc == SL_NOT_FOUND && a->parts.store)
			return SL_NOT_FOUND;
		refuse_unknown(a, r);
		return SL_UNAUTHORIZED;
	}
	if (!(r->route->flags & SL_ROUTE_BEARER) && sl_request_cookie(r, "sluice_session", &cookie) &&
	    sl_auth_session_check(a->auth, cookie, &who) == SL_OK) {
		be(r, &who, true);
		return SL_OK;
	}
	if ((r->route->flags & SL_ROUTE_LOOPBACK) && r->peer_loopback)
		return SL_OK;
	sl_answer_problem(r, SL_UNAUTHORIZED, "a token is needed: Authorization: Bearer …");
	return SL_UNAUTHORIZED;
}

static bool host_ok(struct sl_api *a, struct sl_request *r)
{
	if (sl_auth_host_allowed(r->head.host, a->hosts))
		return true;
	sl_answer_problem_with(
		r, 421, SL_BAD_REQUEST,
		SL_STR("this server does not answer to that host name; the setting SLUICE_HOSTS lists further ones"),
		SL_STR(""), 0, SL_STR(""));
	return false;
}

void sl_api_head(void *api, struct sl_request *r)
{
	struct sl_api *a = api;
	char allow[SL_ROUTER_ALLOW_BYTES];
	if (!host_ok(a, r))
		return;
	enum sl_code rc = sl_router_find(sl_routes, sl_n_routes, r, allow);
	if (rc == SL_METHOD) {
		sl_answer_header(r, "Allow", sl_str(allow));
		if (r->head.method == SL_OPTIONS)
			sl_answer_empty(r, 204);
		else
			sl_answer_problem(r, SL_METHOD, "this resource knows %s", allow);
	} else if (rc == SL_NOT_FOUND) {
		sl_answer_problem(r, SL_NOT_FOUND, "nothing is here");
	} else if (rc != SL_OK) {
		sl_answer_problem(r, rc, "the path cannot be read");
	} else {
		r->answer_ms = r->route->flags & SL_ROUTE_LONG ? 0 : a->request_ms;
		if (r->route->role != SL_ROLE_NONE && identify(a, r) == SL_OK &&
		    !((r->route->flags & SL_ROUTE_LOOPBACK) && r->peer_loopback))
			SL_IGNORE(may(a, r)); /* answers when not */
	}
}

static void on_token_found(void *arg, enum sl_code rc, const struct sl_stored_token *items, size_t n)
{
	struct sl_task *t = arg;
	t->rc = rc;
	if (rc == SL_OK && n == 1) {
		struct sl_auth_token *found = calloc(1, sizeof(*found));
		t->rc = SL_NO_MEMORY;
		if (found && sl_role_parse(sl_str(items[0].role), &found->role)) {
			found->id = items[0].id;
			snprintf(found->name, sizeof(found->name), "%s", items[0].name);
			memcpy(found->hash, items[0].hash, sizeof(found->hash));
			found->expires_ms = items[0].expires_ms;
			t->more = found;
			t->more_free = free;
			t->rc = SL_OK;
		} else {
			free(found);
		}
	}
	sl_task_back(t);
}

static void token_found(struct sl_task *t)
{
	struct sl_identity who;
	if (t->rc == SL_OK)
		t->rc = sl_auth_add_token(t->api->auth, t->more);
	sl_follow_doubt(t->api, SL_FOLLOW_TOKENS); /* it may have been made after they were read */
	if (t->rc == SL_OK)
		t->rc = sl_auth_bearer(t->api->auth, bearer(t->r), t->r->peer, &who);
	if (t->rc == SL_OK) {
		be(t->r, &who, false);
		if (may(t->api, t->r))
			t->r->route->handler(t->api, t->r);
	} else if (t->rc == SL_NOT_FOUND || t->rc == SL_UNAUTHORIZED) {
		refuse_unknown(t->api, t->r);
	} else {
		sl_answer_problem(t->r, t->rc, "the token could not be looked up");
	}
	sl_task_free(t);
}

void sl_api_handle(void *api, struct sl_request *r)
{
	struct sl_api *a = api;
	bool open = r->route->role == SL_ROLE_NONE || ((r->route->flags & SL_ROUTE_LOOPBACK) && r->peer_loopback);
	if (open || r->role != SL_ROLE_NONE) {
		r->route->handler(a, r);
		return;
	}
	uint8_t hash[SL_TOKEN_HASH_BYTES];
	struct sl_task *t = sl_task_new(a, r, token_found);
	if (!t)
		return;
	sl_auth_hash(bearer(r), hash);
	enum sl_code rc = sl_store_token_find(a->parts.store, hash, on_token_found, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

/* ---- WebSockets ---- */

/* libwebsockets hangs up on whoever asks for other ones, without a word. */
static bool speaks_ours(const struct sl_http1_head *h)
{
	bool asks = false;
	for (size_t i = 0; i < h->n_headers; i++)
		if (sl_str_is_nocase(h->headers[i].name, "sec-websocket-protocol")) {
			if (sl_http1_has_token(h->headers[i].value, SL_WS_SUBPROTOCOL))
				return true;
			asks = true;
		}
	return !asks;
}

enum sl_code sl_api_upgrade(void *api, struct sl_request *r, struct sl_ws_identity *who)
{
	struct sl_api *a = api;
	struct sl_identity id;
	struct sl_str origin = sl_request_header(r, "origin"), ticket, secret = bearer(r);
	if (!host_ok(a, r))
		return SL_FORBIDDEN;
	if (origin.len && !origin_ok(a, r, origin)) {
		sl_answer_problem(r, SL_FORBIDDEN, "pages of this origin may not connect");
		return SL_FORBIDDEN;
	}
	if (atomic_load(&a->draining)) {
		sl_answer_problem(r, SL_DRAINING, "the server is going down; connect again in a moment");
		return SL_DRAINING;
	}
	if (!speaks_ours(&r->head)) {
		sl_answer_problem(r, SL_BAD_REQUEST,
				  "the subprotocol here is " SL_WS_SUBPROTOCOL "; ask for it, or for none");
		return SL_BAD_REQUEST;
	}
	enum sl_code rc;
	if (sl_request_query(r, "ticket", &ticket))
		rc = sl_auth_ticket_take(a->auth, ticket, origin, &id);
	else if (secret.len)
		rc = sl_auth_bearer(a->auth, secret, r->peer, &id);
	else
		rc = SL_UNAUTHORIZED;
	if (rc == SL_NOT_FOUND)
		sl_follow_read(
			a, SL_FOLLOW_TOKENS); /* made by another instance a moment ago: the client's next try will do */
	if (rc != SL_OK) {
		refuse_unknown(a, r);
		return SL_UNAUTHORIZED;
	}
	if (!within_rate(a, r, SL_RATE_SOCKETS, id.token))
		return SL_RATE_LIMITED;
	who->role = (int)id.role;
	who->token = id.token;
	snprintf(who->name, sizeof(who->name), "%s", id.name);
	return SL_OK;
}
