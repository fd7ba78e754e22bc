/* llm/egress.c: see egress.h. A call walks from hop to hop; each hop is one transfer of llm/http.c under this file's
 * guard. The surprising part: there is no table of forbidden names to keep up to date. What is refused is what the name
 * leads to, at the moment a socket is opened for it. */
#include "llm/egress.h"

#include <ifaddrs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "llm/url.h"

#define EGRESS_OWN_PORTS  4
#define EGRESS_CONNECT_MS 10000
#define EGRESS_IDLE_MS    30000
#define EGRESS_TOTAL_MS   60000

struct pair {
	char host[SL_URL_HOST_BYTES];
	uint16_t port;
};

struct sl_egress {
	_Atomic uint32_t refs; /* the owner and every call */
	struct sl_http *http;
	struct sl_call_ledger *ledger; /* NULL: nobody keeps one */
	struct sl_resolver *resolver;  /* NULL: the caller's is used */
	void (*resolve)(void *ctx, const char *host, sl_resolve_fn *fn, void *arg);
	void *resolve_ctx;
	struct pair *allow;
	size_t n_allow;
	uint16_t *ports; /* NULL: the defaults */
	size_t n_ports;
	bool plain_http, only_allowed;
	_Atomic uint32_t own[EGRESS_OWN_PORTS];
	_Atomic uint64_t requests, denied[SL_EGRESS_REASON_COUNT];
};

struct sl_egress_call {
	_Atomic uint32_t refs; /* the caller, and the walk until `done` has run */
	struct sl_egress *egress;
	pthread_mutex_t lock;
	bool cancelled;            /* [lock] */
	const char *off_reason;    /* [lock] NULL: nobody has called it off */
	struct sl_call_of of;      /* its path is ours */
	struct sl_http_call *http; /* [lock] of the present hop */
	/* From here on: the thread that starts a hop, then [io] until it has ended. */
	struct sl_http_guard guard;
	struct sl_url url;
	bool allowed; /* by name */
	enum sl_egress_reason reason;
	char method[16];
	struct sl_http_header *headers;
	size_t n_headers;
	struct sl_bytes *body;
	struct sl_http_timeouts timeouts;
	size_t max_body_bytes;
	uint32_t follow, hops;
	uint64_t started_us;
	bool redirected; /* the present answer points elsewhere and will be followed */
	void (*on_head)(void *, const struct sl_http_head *);
	enum sl_code (*on_body)(void *, struct sl_str, struct sl_error *);
	void (*on_done)(void *, enum sl_code, const struct sl_error *, const struct sl_egress_result *);
	void *ctx;
};

const char *sl_egress_reason_text(enum sl_egress_reason reason)
{
	static const char *const texts[] = {
#define SL_X(name, text) [SL_EGRESS_##name] = text,
		SL_EGRESS_REASONS(SL_X)
#undef SL_X
	};
	return texts[reason];
}

/* ---- the policy ---- */

static bool is_allowed(const struct sl_egress *e, const struct sl_url *u)
{
	for (size_t i = 0; i < e->n_allow; i++)
		if (e->allow[i].port == u->port && strcmp(e->allow[i].host, u->host) == 0)
			return true;
	return false;
}

static bool port_is_listed(const struct sl_egress *e, const struct sl_url *u)
{
	if (!e->ports)
		return u->port == (u->tls ? 443 : 80);
	for (size_t i = 0; i < e->n_ports; i++)
		if (e->ports[i] == u->port)
			return true;
	return false;
}

/* Names that mean something else on every machine; the search domains of a resolver would be tried for the rest. */
static bool is_local_name(const struct sl_url *u)
{
	static const char *const ends[] = {".localhost", ".localdomain", ".local", ".internal",  ".intranet", ".lan",
					   ".private",   ".corp",        ".home",  ".home.arpa", ".onion"};
	size_t len = strlen(u->host);
	if (u->literal)
		return false;
	if (!strchr(u->host, '.'))
		return true;
	for (size_t i = 0; i < SL_COUNT_OF(ends); i++) {
		size_t n = strlen(ends[i]);
		if (len >= n && strcmp(u->host + len - n, ends[i]) == 0)
			return true;
	}
	return false;
}

static enum sl_code deny(enum sl_egress_reason *reason, enum sl_egress_reason why, struct sl_error *err,
			 const char *text)
{
	*reason = why;
	return sl_fail(err, SL_EGRESS, "%s", text);
}

static enum sl_code check_kind(const struct sl_address *a, enum sl_egress_reason *reason, struct sl_error *err)
{
	enum sl_address_kind kind = sl_address_kind(a);
	if (kind == SL_ADDRESS_GLOBAL)
		return SL_OK;
	*reason = SL_EGRESS_ADDRESS;
	return sl_fail(err, SL_EGRESS,
		       "the host's address is not of the public internet (%s); the operator can allow host:port "
		       "(SLUICE_EGRESS_ALLOW)",
		       sl_address_kind_text(kind));
}

/* Everything that can be said before the name is looked up. */
static enum sl_code judge(const struct sl_egress *e, const struct sl_url *u, bool *allowed,
			  enum sl_egress_reason *reason, struct sl_error *err)
{
	struct sl_address a;
	*allowed = is_allowed(e, u);
	if (*allowed)
		return SL_OK;
	if (e->only_allowed)
		return deny(reason, SL_EGRESS_PAIR, err,
			    "only hosts that the operator has allowed can be reached (SLUICE_EGRESS_ALLOW)");
	if (!u->tls && !e->plain_http)
		return deny(
			reason, SL_EGRESS_SCHEME, err,
			"plain http is not allowed here: use https (the operator can allow it: SLUICE_EGRESS_HTTP)");
	if (!port_is_listed(e, u))
		return deny(reason, SL_EGRESS_PORT, err,
			    "this port is not among those that can be reached (SLUICE_EGRESS_PORTS)");
	if (is_local_name(u))
		return deny(reason, SL_EGRESS_NAME, err, "a name of the local network cannot be reached");
	return u->literal && sl_address_parse(u->host, u->port, &a) ? check_kind(&a, reason, err) : SL_OK;
}

static enum sl_code refuse_flaw(enum sl_url_flaw flaw, enum sl_egress_reason *reason, struct sl_error *err)
{
	static const enum sl_egress_reason reasons[] = {[SL_URL_FORM] = SL_EGRESS_URL,
							[SL_URL_SCHEME] = SL_EGRESS_SCHEME,
							[SL_URL_USER] = SL_EGRESS_USER,
							[SL_URL_HOST] = SL_EGRESS_HOST,
							[SL_URL_PORT] = SL_EGRESS_PORT};
	*reason = reasons[flaw];
	if (err)
		err->code = SL_EGRESS;
	return SL_EGRESS;
}

enum sl_code sl_egress_judge(struct sl_egress *e, struct sl_str url, enum sl_egress_reason *reason,
			     struct sl_error *err)
{
	struct sl_url u;
	bool allowed;
	enum sl_url_flaw flaw = sl_url_parse(url, &u, err);
	if (flaw != SL_URL_FINE)
		return refuse_flaw(flaw, reason, err);
	enum sl_code rc = judge(e, &u, &allowed, reason, err);
	sl_url_fini(&u);
	return rc;
}

/* Only asked for a port that is ours, so the list of interfaces is read seldom. */
static bool is_this_machine(const struct sl_address *peer)
{
	struct ifaddrs *list = NULL;
	bool found = false;
	if (getifaddrs(&list) != 0)
		return true; /* nobody knows: then it might be */
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next) {
		struct sl_address a;
		found = i->ifa_addr && sl_address_read(i->ifa_addr, sizeof(struct sockaddr_in6), &a) &&
			sl_address_same_host(&a, peer);
	}
	freeifaddrs(list);
	return found;
}

/* [io] The guard: see struct sl_http_guard. */
static enum sl_code guard_check(struct sl_http_guard *g, const struct sl_address *peer, struct sl_error *err)
{
	struct sl_egress_call *c = SL_CONTAINER_OF(g, struct sl_egress_call, guard);
	if (sl_address_port(peer) != c->url.port)
		return deny(&c->reason, SL_EGRESS_PORT, err, "another port than the address says");
	if (c->allowed)
		return SL_OK;
	for (size_t i = 0; i < EGRESS_OWN_PORTS; i++)
		if (atomic_load_explicit(&c->egress->own[i], memory_order_relaxed) == c->url.port &&
		    is_this_machine(peer))
			return deny(&c->reason, SL_EGRESS_OWN, err, "the server does not call itself");
	return check_kind(peer, &c->reason, err);
}

static void guard_resolve(struct sl_http_guard *g, sl_resolve_fn *fn, void *arg)
{
	struct sl_egress_call *c = SL_CONTAINER_OF(g, struct sl_egress_call, guard);
	struct sl_address a;
	if (c->url.literal && sl_address_parse(c->url.host, 0, &a))
		fn(arg, SL_OK, &a, 1, NULL);
	else
		c->egress->resolve(c->egress->resolve_ctx, c->url.host, fn, arg);
}

/* ---- one call ---- */

static void egress_unref(struct sl_egress *e)
{
	if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(e->allow);
	free(e->ports);
	free(e);
}

struct sl_egress_call *sl_egress_call_ref(struct sl_egress_call *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void sl_egress_call_unref(struct sl_egress_call *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	sl_http_call_unref(c->http);
	sl_url_fini(&c->url);
	free(c->headers);
	free((void *)(uintptr_t)c->of.path.p);
	sl_bytes_unref(c->body);
	pthread_mutex_destroy(&c->lock);
	egress_unref(c->egress);
	free(c);
}

static void note_denied(struct sl_egress *e, enum sl_egress_reason reason, struct sl_str where, uint32_t hops)
{
	atomic_fetch_add_explicit(&e->denied[reason], 1, memory_order_relaxed);
	sl_log(SL_LOG_WARN, "llm", "egress: an address that a workflow chose was refused",
	       SL_KS("reason", sl_egress_reason_text(reason)), SL_KSTR("host", where), SL_KU("hops", hops));
}

/* The row of a request that was called off. */
static void enter(struct sl_egress_call *c, enum sl_code rc, const struct sl_http_result *r)
{
	if (!c->of.path.len || !r->ordered_at_us || (rc != SL_CANCELLED && rc != SL_TIMEOUT && rc != SL_TOO_LARGE))
		return;
	pthread_mutex_lock(&c->lock);
	const char *why = c->off_reason ? c->off_reason : SL_CALL_STOPPING;
	pthread_mutex_unlock(&c->lock);
	int64_t wall = sl_clock_wall_ms();
	uint64_t now = sl_clock_mono_us();
	struct sl_call_row row = {
		.id = sl_uuid_new(),
		.run = c->of.run,
		.path = sl_str_dup(c->of.path),
		.attempt = c->of.attempt,
		.kind = "http",
		.reason = rc == SL_TIMEOUT     ? SL_CALL_TIMEOUT
			  : rc == SL_TOO_LARGE ? SL_CALL_TOO_LARGE
					       : why,
		.provider = sl_str_dup(sl_str(c->url.host)),
		.ordered_ms = wall - (int64_t)((now - r->ordered_at_us) / 1000),
		.closed_ms = r->closed_at_us ? wall - (int64_t)((now - r->closed_at_us) / 1000) : 0,
		.close_us = r->closed_us,
		.multiplexed = r->multiplexed,
		.bytes = r->body_bytes,
		.http_status = r->head->status,
	};
	sl_call_ledger_add(c->egress->ledger, &row);
}

/* The last thing done with the walk. */
static void finish(struct sl_egress_call *c, enum sl_code rc, const struct sl_error *err,
		   const struct sl_http_result *r)
{
	const struct sl_egress_result result = {
		.head = r->head,
		.url = sl_url_z(&c->url),
		.hops = c->hops,
		.body_bytes = r->body_bytes,
		.total_us = sl_clock_mono_us() - c->started_us + 1,
	};
	if (rc == SL_EGRESS)
		note_denied(c->egress, c->reason, sl_str(c->url.host), c->hops);
	enter(c, rc, r);
	c->on_done(c->ctx, rc, err, &result);
	sl_egress_call_unref(c);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void hop_head(void *ctx, const struct sl_http_head *head) /* [io] */
{
	struct sl_egress_call *c = ctx;
	c->redirected = c->follow && is_redirect(head->status) && sl_http_find(head, "location").len;
	if (!c->redirected && c->on_head)
		c->on_head(c->ctx, head);
}

static enum sl_code hop_body(void *ctx, struct sl_str piece, struct sl_error *err) /* [io] */
{
	struct sl_egress_call *c = ctx;
	return c->redirected || !c->on_body ? SL_OK : c->on_body(c->ctx, piece, err);
}

/* Leaves the headers that may go to another origin. */
static void keep_harmless(struct sl_egress_call *c)
{
	static const char *const harmless[] = {"accept", "accept-language", "content-type"};
	size_t n = 0;
	for (size_t i = 0; i < c->n_headers; i++)
		for (size_t k = 0; k < SL_COUNT_OF(harmless); k++)
			if (sl_str_is_nocase(c->headers[i].name, harmless[k]))
				c->headers[n++] = c->headers[i];
	c->n_headers = n;
}

static void drop_body(struct sl_egress_call *c)
{
	size_t n = 0;
	sl_bytes_unref(c->body);
	c->body = NULL;
	for (size_t i = 0; i < c->n_headers; i++)
		if (!sl_str_is_nocase(c->headers[i].name, "content-type"))
			c->headers[n++] = c->headers[i];
	c->n_headers = n;
	memcpy(c->method, "GET", sizeof("GET"));
}

static enum sl_code hop(struct sl_egress_call *c, struct sl_error *err);

/* Moves the call to where the answer points. */
static enum sl_code turn(struct sl_egress_call *c, const struct sl_http_head *head, struct sl_error *err)
{
	struct sl_url next;
	bool allowed = false;
	if (c->hops == c->follow)
		return deny(&c->reason, SL_EGRESS_REDIRECT, err, "more redirects than are followed");
	enum sl_url_flaw flaw = sl_url_follow(&c->url, sl_http_find(head, "location"), &next, err);
	enum sl_code rc = flaw == SL_URL_FINE ? judge(c->egress, &next, &allowed, &c->reason, err)
					      : refuse_flaw(flaw, &c->reason, err);
	if (rc == SL_OK && c->url.tls && !next.tls)
		rc = deny(&c->reason, SL_EGRESS_REDIRECT, err, "a redirect from https to plain http");
	if (rc != SL_OK) {
		sl_url_fini(&next);
		return sl_wrap(err, rc, "redirect %u", c->hops + 1);
	}
	bool get = strcmp(c->method, "GET") == 0 || strcmp(c->method, "HEAD") == 0;
	if (!get && (head->status == 303 || (head->status < 303 && strcmp(c->method, "POST") == 0)))
		drop_body(c);
	if (!sl_url_same_origin(&c->url, &next))
		keep_harmless(c);
	sl_url_fini(&c->url);
	c->url = next;
	c->allowed = allowed;
	c->hops++;
	return hop(c, err);
}

static void hop_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_http_result *r) /* [io] */
{
	struct sl_egress_call *c = ctx;
	struct sl_error why = *err;
	if (rc == SL_OK && c->redirected) {
		rc = turn(c, r->head, &why);
		if (rc == SL_OK)
			return; /* the next hop's end comes here again */
	}
	finish(c, rc, &why, r);
}

static enum sl_code hop(struct sl_egress_call *c, struct sl_error *err)
{
	uint64_t gone_ms = (sl_clock_mono_us() - c->started_us) / 1000;
	struct sl_http_request req = {
		.method = c->method,
		.url = sl_url_z(&c->url),
		.headers = c->headers,
		.n_headers = c->n_headers,
		.body = c->body,
		.timeouts = c->timeouts,
		.max_body_bytes = c->max_body_bytes,
		.unpack = true,
		.guard = &c->guard,
		.head = hop_head,
		.body_fn = hop_body,
		.done = hop_done,
		.ctx = c,
	};
	if (gone_ms >= c->timeouts.total_ms)
		return sl_fail(err, SL_TIMEOUT, "not finished for %u ms", c->timeouts.total_ms);
	req.timeouts.total_ms -= (uint32_t)gone_ms;
	c->redirected = false;
	c->guard = (struct sl_http_guard){
		.host = c->url.host, .port = c->url.port, .resolve = guard_resolve, .check = guard_check};
	pthread_mutex_lock(&c->lock);
	struct sl_http_call *last = c->http, *next = NULL;
	enum sl_code rc = c->cancelled ? sl_fail(err, SL_CANCELLED, "cancelled")
				       : sl_http_start(c->egress->http, &req, &next, err);
	if (rc == SL_OK)
		c->http = next;
	pthread_mutex_unlock(&c->lock);
	if (rc == SL_OK)
		sl_http_call_unref(last);
	return rc;
}

/* What belongs to the transfer, not to the caller. */
static bool is_ours(struct sl_str name)
{
	static const char *const ours[] = {
		"host",       "content-length", "transfer-encoding", "connection",    "upgrade", "te", "trailer",
		"keep-alive", "expect",         "accept-encoding",   "http2-settings"};
	for (size_t i = 0; i < SL_COUNT_OF(ours); i++)
		if (sl_str_is_nocase(name, ours[i]))
			return true;
	return name.len >= 6 && strncasecmp(name.p, "proxy-", 6) == 0;
}

static enum sl_code copy_headers(struct sl_egress_call *c, const struct sl_egress_request *req, struct sl_error *err)
{
	size_t bytes = req->n_headers * sizeof(*c->headers);
	for (size_t i = 0; i < req->n_headers; i++) {
		if (is_ours(req->headers[i].name))
			return sl_fail(err, SL_INVALID, "the header '" SL_STR_FMT "' is not the caller's to set",
				       SL_STR_ARG(req->headers[i].name));
		if (!sl_add_size(bytes, req->headers[i].name.len, &bytes) ||
		    !sl_add_size(bytes, req->headers[i].value.len, &bytes))
			return sl_fail(err, SL_TOO_LARGE, "headers");
	}
	c->headers = calloc(1, bytes + 1);
	if (!c->headers)
		return sl_fail(err, SL_NO_MEMORY, "headers");
	c->n_headers = req->n_headers;
	char *p = (char *)(c->headers + req->n_headers);
	for (size_t i = 0; i < req->n_headers; i++) {
		struct sl_str name = req->headers[i].name, value = req->headers[i].value;
		memcpy(p, name.p, name.len);
		c->headers[i].name = sl_str_n(p, name.len);
		p += name.len;
		memcpy(p, value.p, value.len);
		c->headers[i].value = sl_str_n(p, value.len);
		p += value.len;
	}
	return SL_OK;
}

static enum sl_code copy_method(struct sl_egress_call *c, const char *method, struct sl_error *err)
{
	size_t n = strlen(method);
	if (n == 0 || n >= sizeof(c->method) || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != n ||
	    strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
		return sl_fail(err, SL_INVALID, "not a method that can be sent");
	memcpy(c->method, method, n + 1);
	return SL_OK;
}

enum sl_code sl_egress_start(struct sl_egress *e, const struct sl_egress_request *req, struct sl_egress_call **out,
			     struct sl_error *err)
{
	struct sl_egress_call *c = calloc(1, sizeof(*c));
	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "request");
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&e->requests, 1, memory_order_relaxed);
	c->egress = e;
	c->body = sl_bytes_ref(req->body);
	c->timeouts = req->timeouts;
	if (!c->timeouts.total_ms)
		c->timeouts.total_ms = EGRESS_TOTAL_MS;
	if (!c->timeouts.connect_ms)
		c->timeouts.connect_ms = EGRESS_CONNECT_MS;
	if (!c->timeouts.idle_ms)
		c->timeouts.idle_ms = EGRESS_IDLE_MS;
	c->max_body_bytes = req->max_body_bytes ? req->max_body_bytes : SL_LIMIT_EGRESS_BODY_BYTES;
	c->follow = req->follow < SL_LIMIT_EGRESS_REDIRECTS ? req->follow : SL_LIMIT_EGRESS_REDIRECTS;
	c->on_head = req->head;
	c->on_body = req->body_fn;
	c->on_done = req->done;
	c->ctx = req->ctx;
	c->started_us = sl_clock_mono_us();
	c->of = req->of;
	c->of.path.p = req->of.path.len ? sl_str_dup(req->of.path) : NULL;
	c->of.path.len = c->of.path.p ? req->of.path.len : 0; /* without memory for it: no row */
	enum sl_code rc = copy_method(c, req->method, err);
	if (rc == SL_OK)
		rc = copy_headers(c, req, err);
	if (rc == SL_OK) {
		enum sl_url_flaw flaw = sl_url_parse(req->url, &c->url, err);
		rc = flaw == SL_URL_FINE ? judge(e, &c->url, &c->allowed, &c->reason, err)
					 : refuse_flaw(flaw, &c->reason, err);
		if (rc == SL_EGRESS)
			note_denied(e, c->reason, c->url.host[0] ? sl_str(c->url.host) : SL_STR("(unreadable)"), 0);
	}
	if (rc == SL_OK) {
		*out = sl_egress_call_ref(c); /* before anything can happen; the first reference is the walk's */
		rc = hop(c, err);
		if (rc != SL_OK)
			sl_egress_call_unref(SL_TAKE(*out));
	}
	if (rc != SL_OK)
		sl_egress_call_unref(c);
	return rc;
}

void sl_egress_cancel(struct sl_egress_call *c)
{
	sl_egress_call_off(c, SL_CALL_CANCELLED, 0);
}

void sl_egress_call_off(struct sl_egress_call *c, const char *reason, uint64_t ordered_at_us)
{
	pthread_mutex_lock(&c->lock);
	c->cancelled = true;
	if (!c->off_reason) /* the first one counts */
		c->off_reason = reason;
	struct sl_http_call *http = c->http ? sl_http_call_ref(c->http) : NULL;
	pthread_mutex_unlock(&c->lock);
	if (http)
		sl_http_call_off(http, ordered_at_us);
	sl_http_call_unref(http);
}

/* ---- the whole ---- */

static void resolve_here(void *ctx, const char *host, sl_resolve_fn *fn, void *arg)
{
	sl_resolver_start(ctx, host, fn, arg);
}

static enum sl_code read_port(struct sl_str text, uint16_t *out)
{
	uint64_t port = 0;
	if (!sl_str_u64(text, &port) || port == 0 || port > 65535)
		return SL_INVALID;
	*out = (uint16_t)port;
	return SL_OK;
}

static enum sl_code read_pair(struct sl_str text, struct pair *out, struct sl_error *err)
{
	struct sl_error why = {0};
	size_t colon = text.len;
	while (colon && text.p[colon - 1] != ':')
		colon--;
	if (!colon || read_port(sl_str_n(text.p + colon, text.len - colon), &out->port) != SL_OK)
		return sl_fail(err, SL_INVALID, "'" SL_STR_FMT "' is not host:port", SL_STR_ARG(text));
	if (!sl_url_host(sl_str_n(text.p, colon - 1), out->host, &why))
		return sl_fail(err, SL_INVALID, "'" SL_STR_FMT "': %s", SL_STR_ARG(text), why.text);
	return SL_OK;
}

/* The next item of a list; empty: there is none. */
static struct sl_str next_item(const char **at)
{
	*at += strspn(*at, ", \t");
	size_t n = strcspn(*at, ", \t");
	struct sl_str item = sl_str_n(*at, n);
	*at += n;
	return item;
}

static enum sl_code read_config(struct sl_egress *e, const struct sl_egress_config *config, struct sl_error *err)
{
	const char *allow = config->allow ? config->allow : "", *ports = config->ports ? config->ports : "";
	/* an item is two bytes or more of the text, its separator included */
	e->allow = calloc(strlen(allow) / 2 + 1, sizeof(*e->allow));
	e->ports = *ports ? calloc(strlen(ports) / 2 + 1, sizeof(*e->ports)) : NULL;
	if (!e->allow || (*ports && !e->ports))
		return sl_fail(err, SL_NO_MEMORY, "egress policy");
	for (struct sl_str item; (item = next_item(&allow)).len;) {
		enum sl_code rc = read_pair(item, &e->allow[e->n_allow], err);
		if (rc != SL_OK)
			return rc;
		e->n_allow++;
	}
	for (struct sl_str item; (item = next_item(&ports)).len;)
		if (read_port(item, &e->ports[e->n_ports++]) != SL_OK)
			return sl_fail(err, SL_INVALID, "'" SL_STR_FMT "' is no port", SL_STR_ARG(item));
	return SL_OK;
}

enum sl_code sl_egress_new(const struct sl_egress_config *config, struct sl_egress **out, struct sl_error *err)
{
	const struct sl_http_config http = {
		.ca_file = config->ca_file, .max_active = SL_LIMIT_EGRESS_REQUESTS, .max_idle = SL_LIMIT_EGRESS_IDLE};
	struct sl_egress *e = calloc(1, sizeof(*e));
	if (!e)
		return sl_fail(err, SL_NO_MEMORY, "egress");
	atomic_init(&e->refs, 1);
	e->plain_http = config->plain_http;
	e->ledger = config->ledger;
	e->only_allowed = config->only_allowed;
	e->resolve = config->resolve;
	e->resolve_ctx = config->resolve_ctx;
	enum sl_code rc = read_config(e, config, err);
	if (rc == SL_OK && !e->resolve) {
		rc = sl_resolver_new(SL_LIMIT_EGRESS_LOOKUPS, &e->resolver);
		if (rc != SL_OK)
			rc = sl_fail(err, rc, "egress");
		e->resolve = resolve_here;
		e->resolve_ctx = e->resolver;
	}
	if (rc == SL_OK)
		rc = sl_http_new(&http, &e->http, err);
	if (rc != SL_OK) {
		sl_egress_free(e);
		return rc;
	}
	*out = e;
	return SL_OK;
}

void sl_egress_stop(struct sl_egress *e)
{
	if (e->http)
		sl_http_stop(e->http);
}

void sl_egress_free(struct sl_egress *e)
{
	if (!e)
		return;
	sl_egress_stop(e);
	sl_http_free(e->http);
	e->http = NULL;
	sl_resolver_close(e->resolver);
	e->resolver = NULL;
	egress_unref(e);
}

void sl_egress_own_port(struct sl_egress *e, uint16_t port)
{
	for (size_t i = 0; i < EGRESS_OWN_PORTS; i++) {
		uint32_t none = 0;
		if (atomic_compare_exchange_strong(&e->own[i], &none, port) || none == port)
			return;
	}
}

void sl_egress_stats(struct sl_egress *e, struct sl_egress_stats *out)
{
	*out = (struct sl_egress_stats){.requests = atomic_load(&e->requests)};
	for (int i = 0; i < SL_EGRESS_REASON_COUNT; i++)
		out->denied[i] = atomic_load(&e->denied[i]);
	sl_http_stats(e->http, &out->http);
}

uint64_t sl_egress_denied(const struct sl_egress *e, enum sl_egress_reason reason)
{
	return atomic_load(&e->denied[reason]);
}
