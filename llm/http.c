/* llm/http.c: see http.h. The easy handle is made on the caller's thread and then belongs to the I/O thread.
 *
 * A call's states: NEW (posted) → QUEUED (for its turn) → RESOLVING (under a guard: the name) → CONNECTING → WAITING
 * (for the first byte of the body) → BODY → ENDED. It waits in each but the last, under that state's own deadline; one
 * timer a call serves them all and is moved lazily, so a token costs no timer.
 *
 * Under a guard the addresses that were found and checked are handed to curl, which then asks nobody; and whatever it
 * dials, the guard sees once more. */
#include "llm/http.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "llm/io.h"

#define HTTP_HEAD_BYTES (64u << 10)

enum http_state { HTTP_NEW, HTTP_QUEUED, HTTP_RESOLVING, HTTP_CONNECTING, HTTP_WAITING, HTTP_BODY, HTTP_ENDED };

struct sl_http {
	_Atomic uint32_t refs; /* the owner and every call: a call may be cancelled when all else is gone */
	struct sl_io **ios;    /* freed with the client, not when it stops: statistics are asked for until then */
	uint32_t n_ios, reuse_below, max_active;
	char *ca_file, *user_agent;
	_Atomic uint32_t next;
	_Atomic bool draining;
	bool stopped; /* [the owner] */
	_Atomic uint64_t started, finished;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	uint64_t active; /* [lock] calls whose `done` has not returned, and posts under way */
};

struct http_found {
	struct sl_address *list;
	size_t n;
	enum sl_code rc;
	struct sl_error err;
};

struct sl_http_call {
	_Atomic uint32_t refs; /* the caller, the client until the end, a cancel under way */
	struct sl_http *http;
	struct sl_io *io;
	struct sl_list link;       /* [io] in io->calls */
	struct sl_list queue_link; /* [io] in io->queue */
	struct sl_post start_post, cancel_post, resolved_post;
	_Atomic bool cancelled;
	bool ended; /* [lock http->lock] nothing may be posted for it any more */
	_Atomic uint64_t cancelled_us;
	_Atomic bool sent; /* the request */
	/* [io] from here on, once posted */
	enum http_state state;
	CURL *easy;
	struct curl_slist *lines;
	struct sl_bytes *body;
	struct sl_http_timeouts timeouts;
	size_t max_body_bytes;
	uv_timer_t timer;
	bool timer_open, added, has_turn; /* added: curl knows it; has_turn: counted in io->n_calls */
	struct sl_http_guard *guard;
	struct curl_slist *pins;  /* the addresses that were checked, as CURLOPT_RESOLVE wants them */
	struct http_found *found; /* of the look-up; NULL without a guard. Read when resolved_post has run */
	uint64_t started_us, turn_us, connected_us, first_byte_us, last_byte_ms;
	uint64_t decided_us, closed_before; /* when it was decided here that it ends; io->sockets_closed then */
	uint64_t body_bytes;
	enum sl_code verdict; /* set inside a curl callback; the reason why it made curl stop */
	struct sl_error err;
	struct sl_http_head head;
	struct sl_buf head_text; /* the header lines, NUL-separated; head.headers is made from it when complete */
	uint32_t head_lines;
	bool head_told;
	void (*on_head)(void *, const struct sl_http_head *);
	enum sl_code (*on_body)(void *, struct sl_str, struct sl_error *);
	void (*on_done)(void *, enum sl_code, const struct sl_error *, const struct sl_http_result *);
	void *ctx;
	char text[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_setup(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT); /* not thread-safe before 7.84, hence once */
}

struct sl_str sl_http_find(const struct sl_http_head *head, const char *name)
{
	for (size_t i = 0; head && i < head->n_headers; i++)
		if (sl_str_is_nocase(head->headers[i].name, name))
			return head->headers[i].value;
	return sl_str_n("", 0);
}

static void http_unref(struct sl_http *h)
{
	if (atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_destroy(&h->lock);
	pthread_cond_destroy(&h->idle);
	free(h->ca_file);
	free(h->user_agent);
	free(h);
}

struct sl_http_call *sl_http_call_ref(struct sl_http_call *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void sl_http_call_unref(struct sl_http_call *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (c->easy)
		curl_easy_cleanup(c->easy);
	curl_slist_free_all(c->lines);
	curl_slist_free_all(c->pins);
	if (c->found)
		free(c->found->list);
	free(c->found);
	sl_bytes_unref(c->body);
	sl_buf_fini(&c->head_text);
	free((void *)(uintptr_t)c->head.headers);
	http_unref(c->http);
	free(c);
}

/* ---- deadlines ---- */

static uint64_t http_deadline_us(const struct sl_http_call *c, const char **which, uint32_t *ms)
{
	uint64_t at = UINT64_MAX, from = c->started_us;
	uint32_t span = 0;
	switch (c->state) {
	case HTTP_RESOLVING:
		span = c->timeouts.connect_ms, from = c->turn_us, *which = "no answer about the host's name";
		break;
	case HTTP_CONNECTING:
		span = c->timeouts.connect_ms, from = c->turn_us, *which = "no connection";
		break;
	case HTTP_WAITING:
		span = c->timeouts.first_byte_ms, from = c->connected_us, *which = "no first byte";
		break;
	case HTTP_BODY:
		span = c->timeouts.idle_ms, from = c->last_byte_ms * 1000,
		*which = "silence in the middle of the answer";
		break;
	case HTTP_NEW:
	case HTTP_QUEUED: /* the total deadline alone */
	case HTTP_ENDED:
		break;
	}
	if (span)
		at = from + (uint64_t)span * 1000, *ms = span;
	if (c->timeouts.total_ms && c->started_us + (uint64_t)c->timeouts.total_ms * 1000 < at) {
		at = c->started_us + (uint64_t)c->timeouts.total_ms * 1000;
		*ms = c->timeouts.total_ms;
		*which = "not finished";
	}
	return at;
}

static void http_end(struct sl_http_call *c, enum sl_code rc);

/* It ends on our side: from here on counts how long its socket stays open. */
static void http_decided(struct sl_http_call *c)
{
	if (c->decided_us)
		return;
	c->decided_us = sl_clock_mono_us();
	c->closed_before = atomic_load_explicit(&c->io->sockets_closed, memory_order_relaxed);
}

static void http_arm(struct sl_http_call *c);
static void http_on_timer(uv_timer_t *t)
{
	struct sl_http_call *c = t->data;
	const char *which = "";
	uint32_t ms = 0;
	if (sl_clock_mono_us() < http_deadline_us(c, &which, &ms)) {
		http_arm(c); /* bytes came meanwhile */
		return;
	}
	http_decided(c);
	http_end(c, sl_fail(&c->err, SL_TIMEOUT, "%s for %u ms", which, ms));
}

static void http_arm(struct sl_http_call *c)
{
	const char *which;
	uint32_t ms;
	uint64_t at = http_deadline_us(c, &which, &ms), now = sl_clock_mono_us();
	if (at == UINT64_MAX) {
		uv_timer_stop(&c->timer);
		return;
	}
	uv_update_time(c->timer.loop);
	uv_timer_start(&c->timer, http_on_timer, at > now ? (at - now + 999) / 1000 : 0, 0);
}

static void http_timer_closed(uv_handle_t *h)
{
	sl_http_call_unref(h->data);
}

/* ---- curl's callbacks: they may note and refuse, never remove ---- */

static size_t http_refuse(struct sl_http_call *c, enum sl_code rc)
{
	c->verdict = rc;
	http_decided(c);
	return 0; /* fewer bytes than given: curl stops with CURLE_WRITE_ERROR */
}

static bool http_read_head(struct sl_http_call *c)
{
	struct sl_http_header *hs = calloc(c->head_lines ? c->head_lines : 1, sizeof(*hs));
	size_t n = 0;
	if (!hs || c->head_text.failed) {
		free(hs);
		return false;
	}
	for (size_t at = 0; at < c->head_text.len && n < c->head_lines;) {
		struct sl_str line = sl_str(c->head_text.data + at), name, value;
		at += line.len + 1;
		if (sl_str_cut(line, ':', &name, &value))
			hs[n++] = (struct sl_http_header){sl_str_trim(name), sl_str_trim(value)};
	}
	free((void *)(uintptr_t)c->head.headers);
	c->head.headers = hs;
	c->head.n_headers = n;
	return true;
}

static size_t http_on_header(char *p, size_t size, size_t n, void *arg)
{
	struct sl_http_call *c = arg;
	size_t len = size * n;
	struct sl_str line = sl_str_trim(sl_str_n(p, len));
	if (c->head_told)
		return len;                           /* trailers */
	if (len >= 5 && memcmp(p, "HTTP/", 5) == 0) { /* also after a 100 Continue */
		sl_buf_reset(&c->head_text);
		c->head_lines = 0;
		return len;
	}
	if (line.len) {
		if (memchr(line.p, 0, line.len))
			return http_refuse(c, sl_fail(&c->err, SL_MALFORMED, "a NUL byte in a header line"));
		if (++c->head_lines > SL_LIMIT_PROVIDER_HEADERS)
			return http_refuse(c, sl_fail(&c->err, SL_TOO_LARGE, "an answer with more than %d header lines",
						      SL_LIMIT_PROVIDER_HEADERS));
		sl_buf_add(&c->head_text, line.p, line.len);
		sl_buf_addc(&c->head_text, 0);
		if (c->head_text.failed)
			return http_refuse(c, sl_fail(&c->err, SL_TOO_LARGE,
						      "an answer with more than %u bytes of headers", HTTP_HEAD_BYTES));
		return len;
	}
	long status = 0, version = 0;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(c->easy, CURLINFO_HTTP_VERSION, &version);
	if (status < 200)
		return len;
	c->head.status = (int)status;
	c->head.http_version = version == CURL_HTTP_VERSION_2_0 ? 20 : 11;
	if (!http_read_head(c))
		return http_refuse(c, sl_fail(&c->err, SL_NO_MEMORY, "headers"));
	c->head_told = true;
	if (c->on_head)
		c->on_head(c->ctx, &c->head);
	return len;
}

static size_t http_on_body(char *p, size_t size, size_t n, void *arg)
{
	struct sl_http_call *c = arg;
	size_t len = size * n;
	if (c->verdict != SL_OK)
		return 0;
	if (atomic_load_explicit(&c->cancelled, memory_order_relaxed)) /* what comes after the order counts nowhere */
		return http_refuse(c, sl_fail(&c->err, SL_CANCELLED, "cancelled"));
	if (c->state != HTTP_BODY) {
		c->state = HTTP_BODY;
		c->first_byte_us = sl_clock_mono_us();
		c->last_byte_ms = c->first_byte_us / 1000;
		http_arm(c);
	} else {
		c->last_byte_ms = sl_clock_mono_ms();
	}
	c->body_bytes += len;
	atomic_fetch_add_explicit(&c->io->bytes_received, len, memory_order_relaxed);
	if (c->body_bytes > c->max_body_bytes)
		return http_refuse(
			c, sl_fail(&c->err, SL_TOO_LARGE, "an answer of more than %zu bytes", c->max_body_bytes));
	if (c->on_body) {
		enum sl_code rc = c->on_body(c->ctx, sl_str_n(p, len), &c->err);
		if (rc != SL_OK)
			return http_refuse(c, rc);
	}
	return len;
}

/* The guard's word about an address. False: refused, and the call will end with its code. */
static bool http_admits(struct sl_http_call *c, const struct sl_address *peer)
{
	if (c->verdict == SL_OK)
		c->verdict = c->guard->check(c->guard, peer, &c->err);
	return c->verdict == SL_OK;
}

static curl_socket_t http_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct sl_http_call *c = arg;
	struct sl_address peer;
	if (!sl_address_read(&a->addr, a->addrlen, &peer)) {
		c->verdict = sl_fail(&c->err, SL_EGRESS, "only IP is spoken");
		return CURL_SOCKET_BAD;
	}
	return http_admits(c, &peer) ? sl_io_open_socket(c->io, a) : CURL_SOCKET_BAD;
}

static int http_on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct sl_http_call *c = arg;
	struct sl_address peer;
	if (c->guard && !(sl_address_parse(ip, (uint16_t)port, &peer) && http_admits(c, &peer))) {
		if (c->verdict == SL_OK)
			c->verdict = sl_fail(&c->err, SL_EGRESS, "the peer's address cannot be read");
		return CURL_PREREQFUNC_ABORT;
	}
	if (c->state == HTTP_CONNECTING) {
		c->state = HTTP_WAITING;
		c->connected_us = sl_clock_mono_us();
		atomic_store_explicit(&c->sent, true, memory_order_relaxed);
		http_arm(c);
	}
	return CURL_PREREQFUNC_OK;
}

/* ---- the end of a call ---- */

static enum sl_code http_code_of(struct sl_http_call *c, CURLcode cc)
{
	const char *text = c->text[0] ? c->text : curl_easy_strerror(cc);
	bool answered = c->head_told;
	switch (cc) {
	case CURLE_OK:
		return SL_OK;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return sl_fail(&c->err, SL_CERTIFICATE, "the server's certificate was refused: %s", text);
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED: /* a user in the address */
		return sl_fail(&c->err, SL_INVALID, "not a usable address: %s", text);
	case CURLE_UNSUPPORTED_PROTOCOL: /* either the URL's, or an answer that is no HTTP/1 */
		if (c->state >= HTTP_WAITING)
			return sl_fail(&c->err, SL_MALFORMED, "the answer is not HTTP: %s", text);
		return sl_fail(&c->err, SL_INVALID, "only http and https addresses are used: %s", text);
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		return sl_fail(&c->err, SL_MALFORMED, "the answer is not HTTP: %s", text);
	case CURLE_OPERATION_TIMEDOUT:
		return sl_fail(&c->err, SL_TIMEOUT, "%s", text);
	case CURLE_OUT_OF_MEMORY:
		if (c->state == HTTP_WAITING && !answered) /* what curl says of a line it has no room for */
			return sl_fail(&c->err, SL_TOO_LARGE, "an answer with a header line of more than 100 KiB");
		return sl_fail(&c->err, SL_NO_MEMORY, "transfer");
	case CURLE_PARTIAL_FILE:
		return sl_fail(&c->err, SL_TRUNCATED, "the server closed in the middle of its answer: %s", text);
	default:
		if (answered)
			return sl_fail(&c->err, SL_TRUNCATED, "the connection broke in the middle of the answer: %s",
				       text);
		return sl_fail(&c->err, SL_CONNECT, "%s", text);
	}
}

static void http_left(struct sl_http *h)
{
	pthread_mutex_lock(&h->lock);
	if (--h->active == 0)
		pthread_cond_broadcast(&h->idle);
	pthread_mutex_unlock(&h->lock);
}

/* [io], outside of curl. The last thing done with a call here. c->err is filled unless rc is SL_OK. */
static void http_next(struct sl_io *io);
static void http_end(struct sl_http_call *c, enum sl_code rc)
{
	struct sl_io *io = c->io;
	struct sl_http *h = c->http;
	struct sl_http_result r = {.head = &c->head, .body_bytes = c->body_bytes};
	bool had_turn = c->has_turn;
	SL_BUG_ON(c->state == HTTP_ENDED);
	c->state = HTTP_ENDED;
	pthread_mutex_lock(&h->lock);
	c->ended = true;
	pthread_mutex_unlock(&h->lock);
	if (c->added) {
		curl_off_t sent = 0;
		long connects = 1;
		if (rc != SL_OK && atomic_load(&c->cancelled_us)) /* it may have come from another thread */
			http_decided(c);
		if (rc != SL_OK && c->head.http_version != 20)
			curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE,
					 1L); /* its socket must not survive in the pool */
		curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
		curl_easy_getinfo(c->easy, CURLINFO_NUM_CONNECTS, &connects);
		sl_io_remove(io, c->easy);
		r.sent_bytes = (uint64_t)sent;
		r.reused = connects == 0;
		r.multiplexed = c->head.http_version == 20;
		/* a callback's refusal made curl close it already, before we came here */
		if (c->decided_us && r.multiplexed)
			r.closed_at_us = sl_clock_mono_us();
		else if (c->decided_us && atomic_load(&io->sockets_closed) != c->closed_before)
			r.closed_at_us = io->closed_at_us;
	}
	r.ordered_at_us = c->decided_us ? atomic_load(&c->cancelled_us) : 0;
	if (c->decided_us && (!r.ordered_at_us || r.ordered_at_us > c->decided_us))
		r.ordered_at_us = c->decided_us;
	if (r.closed_at_us)
		r.closed_us = r.closed_at_us - r.ordered_at_us + 1;
	sl_list_drop(&c->link);
	sl_list_drop(&c->queue_link);
	io->n_calls -= had_turn;
	curl_easy_cleanup(c->easy);
	c->easy = NULL;
	r.connected_us = c->connected_us ? c->connected_us - c->started_us + 1 : 0;
	r.first_byte_us = c->first_byte_us ? c->first_byte_us - c->started_us + 1 : 0;
	r.total_us = sl_clock_mono_us() - c->started_us + 1;
	c->err.code = rc;
	atomic_fetch_add_explicit(&h->finished, 1, memory_order_relaxed);
	c->on_done(c->ctx, rc, &c->err, &r);
	if (c->timer_open)
		uv_close((uv_handle_t *)&c->timer, http_timer_closed); /* drops the client's reference */
	else
		sl_http_call_unref(c);
	if (had_turn)
		http_next(io);
	http_left(h); /* after this the loop may be stopped */
}

static void http_finished(struct sl_io *io, CURL *easy, CURLcode result)
{
	struct sl_http_call *c = NULL;
	char *p = NULL;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p);
	c = (void *)p;
	http_end(c, c->verdict != SL_OK ? c->verdict : http_code_of(c, result));
}

/* ---- from outside ---- */

/* To curl. */
static void http_add(struct sl_http_call *c)
{
	struct sl_io *io = c->io;
	/* A pool is searched linearly, so above a threshold plain connections are not shared. TLS ones are: they
	 * multiplex. */
	char *url = NULL;
	curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &url);
	bool tls = url && strncasecmp(url, "https:", 6) == 0;
	if (tls)
		curl_easy_setopt(c->easy, CURLOPT_PIPEWAIT, 1L);
	if (io->n_calls > c->http->reuse_below && (!tls || io->n_calls > 8 * c->http->reuse_below)) {
		curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 1L);
		curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 1L);
	}
	if (!sl_io_add(io, c->easy)) {
		http_end(c, sl_fail(&c->err, SL_NO_MEMORY, "transfer"));
		return;
	}
	c->added = true;
	c->state = HTTP_CONNECTING;
	http_arm(c);
}

/* [any] */
static void http_on_found(void *arg, enum sl_code rc, const struct sl_address *list, size_t n,
			  const struct sl_error *err)
{
	struct sl_http_call *c = arg;
	struct sl_http *h = c->http;
	struct http_found *f = c->found;
	f->rc = rc;
	if (err)
		f->err = *err;
	if (n && !(f->list = malloc(n * sizeof(*list))))
		f->rc = sl_fail(&f->err, SL_NO_MEMORY, "addresses");
	else if (n)
		memcpy(f->list, list, n * sizeof(*list));
	f->n = f->list ? n : 0;
	pthread_mutex_lock(&h->lock);
	bool live = !c->ended;
	h->active += live; /* the loop stays until this post has run */
	pthread_mutex_unlock(&h->lock);
	if (live)
		sl_loop_post(c->io->loop, &c->resolved_post);
	else
		sl_http_call_unref(c);
}

/* Tells curl what was found, so that it asks nobody itself. The entry is timed ("+"): the next call brings its own. */
static enum sl_code http_pin(struct sl_http_call *c)
{
	char text[SL_ADDRESS_TEXT_BYTES];
	SL_BUF(line, 8192);
	sl_buf_addf(&line, "+%s:%u:", c->guard->host, c->guard->port);
	for (size_t i = 0; i < c->found->n; i++) {
		const struct sl_address *a = &c->found->list[i];
		sl_address_text(a, text);
		sl_buf_addf(&line, a->any.sa_family == AF_INET6 ? "%s[%s]" : "%s%s", i ? "," : "", text);
	}
	if (!line.failed)
		c->pins = curl_slist_append(NULL, line.data);
	if (!c->pins || curl_easy_setopt(c->easy, CURLOPT_RESOLVE, c->pins) != CURLE_OK)
		return sl_fail(&c->err, SL_NO_MEMORY, "addresses");
	return SL_OK;
}

static void http_resolved(struct sl_post *p) /* [io] */
{
	struct sl_http_call *c = SL_CONTAINER_OF(p, struct sl_http_call, resolved_post);
	struct sl_http *h = c->http;
	if (c->state == HTTP_RESOLVING) {
		enum sl_code rc = c->found->rc;
		if (rc != SL_OK)
			c->err = c->found->err;
		for (size_t i = 0; rc == SL_OK && i < c->found->n; i++) {
			struct sl_address a = c->found->list[i];
			if (a.any.sa_family == AF_INET6)
				a.v6.sin6_port = htons(c->guard->port);
			else
				a.v4.sin_port = htons(c->guard->port);
			rc = c->guard->check(c->guard, &a, &c->err);
		}
		if (rc == SL_OK && !sl_address_parse(c->guard->host, 0, &(struct sl_address){0}))
			rc = http_pin(c); /* of an IP address curl asks nobody */
		if (rc == SL_OK)
			http_add(c);
		else
			http_end(c, rc);
	}
	http_left(h);
	sl_http_call_unref(c);
}

static void http_take_turn(struct sl_http_call *c)
{
	c->has_turn = true;
	c->io->n_calls++;
	c->turn_us = sl_clock_mono_us();
	if (!c->guard) {
		http_add(c);
		return;
	}
	c->state = HTTP_RESOLVING;
	http_arm(c);
	c->guard->resolve(c->guard, http_on_found, sl_http_call_ref(c)); /* a call that ends first leaves it behind */
}

static void http_next(struct sl_io *io)
{
	if (sl_list_empty(&io->queue))
		return;
	struct sl_http_call *c = sl_list_entry(io->queue.next, struct sl_http_call, queue_link);
	sl_list_drop(&c->queue_link);
	http_take_turn(c);
}

static void http_begin(struct sl_post *p) /* [io] */
{
	struct sl_http_call *c = SL_CONTAINER_OF(p, struct sl_http_call, start_post);
	struct sl_io *io = c->io;
	if (atomic_load(&c->cancelled) || atomic_load(&c->http->draining)) {
		http_decided(c);
		http_end(c, sl_fail(&c->err, SL_CANCELLED, "cancelled before it was sent"));
		return;
	}
	uv_timer_init(sl_loop_uv(io->loop), &c->timer);
	c->timer.data = c;
	c->timer_open = true;
	sl_list_append(&io->calls, &c->link);
	if (c->http->max_active && io->n_calls >= c->http->max_active) {
		c->state = HTTP_QUEUED;
		sl_list_append(&io->queue, &c->queue_link);
		http_arm(c);
	} else {
		http_take_turn(c);
	}
}

static void http_cancel_here(struct sl_post *p) /* [io] */
{
	struct sl_http_call *c = SL_CONTAINER_OF(p, struct sl_http_call, cancel_post);
	struct sl_http *h = c->http;
	if (c->state != HTTP_NEW && c->state != HTTP_ENDED) { /* NEW: http_begin sees the flag */
		http_decided(c);
		http_end(c, sl_fail(&c->err, SL_CANCELLED, "cancelled"));
	}
	http_left(h);
	sl_http_call_unref(c);
}

bool sl_http_call_sent(const struct sl_http_call *c)
{
	return atomic_load_explicit(&((struct sl_http_call *)(uintptr_t)c)->sent, memory_order_relaxed);
}

void sl_http_cancel(struct sl_http_call *c)
{
	sl_http_call_off(c, 0);
}

void sl_http_call_off(struct sl_http_call *c, uint64_t ordered_at_us)
{
	struct sl_http *h = c->http;
	if (atomic_exchange(&c->cancelled, true))
		return;
	atomic_store(&c->cancelled_us, ordered_at_us ? ordered_at_us : sl_clock_mono_us());
	pthread_mutex_lock(&h->lock);
	bool live = !c->ended;
	h->active += live; /* the loop stays until this post has run */
	pthread_mutex_unlock(&h->lock);
	if (live)
		sl_loop_post(c->io->loop, &sl_http_call_ref(c)->cancel_post);
}

static bool http_add_line(struct sl_http_call *c, struct sl_str name, struct sl_str value)
{
	char line[8192];
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.p[i] <= ' ' || name.p[i] == ':' || name.p[i] == 127)
			return false;
	for (size_t i = 0; i < value.len; i++)
		if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 127)
			return false; /* a line break here would forge a header */
	value = sl_str_trim(value);
	if (name.len == 0 || name.len + value.len + 3 > sizeof(line))
		return false;
	/* "Name;" is how curl is told of an empty value */
	int n = snprintf(line, sizeof(line), value.len ? SL_STR_FMT ": " SL_STR_FMT : SL_STR_FMT ";" SL_STR_FMT,
			 SL_STR_ARG(name), SL_STR_ARG(value));
	struct curl_slist *l = n > 0 ? curl_slist_append(c->lines, line) : NULL;
	if (l)
		c->lines = l;
	return l != NULL;
}

static enum sl_code http_set_up(struct sl_http_call *c, const struct sl_http_request *req, struct sl_error *err)
{
	CURL *e = c->easy;
	bool ok = true, typed = false;
	for (size_t i = 0; i < req->n_headers; i++) {
		typed |= sl_str_is_nocase(req->headers[i].name, "content-type");
		if (!http_add_line(c, req->headers[i].name, req->headers[i].value))
			return sl_fail(err, SL_INVALID, "the header '" SL_STR_FMT "' cannot be sent",
				       SL_STR_ARG(req->headers[i].name));
	}
	struct curl_slist *l = curl_slist_append(c->lines, "Expect:"); /* no round trip before the body */
	if (l && !typed)
		l = curl_slist_append(l, "Content-Type:");
	if (!l)
		return sl_fail(err, SL_NO_MEMORY, "headers");
	c->lines = l;
#define SET(option, value) (ok &= curl_easy_setopt(e, option, value) == CURLE_OK)
	if (curl_easy_setopt(e, CURLOPT_URL, req->url) != CURLE_OK)
		return sl_fail(err, SL_NO_MEMORY, "address");
	SET(CURLOPT_PRIVATE, (void *)c);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, 2048L); /* a token is 200 bytes; 16 KiB a stream is memory for nothing */
	SET(CURLOPT_HTTPHEADER, c->lines);
	SET(CURLOPT_USERAGENT, c->http->user_agent);
	SET(CURLOPT_ERRORBUFFER, c->text);
	SET(CURLOPT_HEADERFUNCTION, http_on_header);
	SET(CURLOPT_HEADERDATA, c);
	SET(CURLOPT_WRITEFUNCTION, http_on_body);
	SET(CURLOPT_WRITEDATA, c);
	SET(CURLOPT_PREREQFUNCTION, http_on_connected);
	SET(CURLOPT_PREREQDATA, c);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name look-up that is given up: that would stop the loop */
#endif
	if (c->http->ca_file)
		SET(CURLOPT_CAINFO, c->http->ca_file);
	if (c->body || strcmp(req->method, "POST") == 0) {
		struct sl_str b = sl_bytes_str(c->body);
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDS, b.p); /* not copied: c->body is ours until the end */
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)b.len);
		if (strcmp(req->method, "POST") != 0)
			SET(CURLOPT_CUSTOMREQUEST, req->method);
	} else if (strcmp(req->method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
	} else if (strcmp(req->method, "GET") != 0) {
		SET(CURLOPT_CUSTOMREQUEST, req->method);
	}
	ok &= sl_io_prepare(c->io, e);
	if (c->guard) { /* after sl_io_prepare(), whose function it takes the place of */
		SET(CURLOPT_OPENSOCKETFUNCTION, http_open_socket);
		SET(CURLOPT_OPENSOCKETDATA, c);
		SET(CURLOPT_DNS_CACHE_TIMEOUT, 1L); /* what is pinned is for this call */
	}
	if (req->unpack)
		SET(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
#undef SET
	return ok ? SL_OK : sl_fail(err, SL_INTERNAL, "libcurl lacks an option this needs");
}

enum sl_code sl_http_start(struct sl_http *h, const struct sl_http_request *req, struct sl_http_call **out,
			   struct sl_error *err)
{
	struct sl_http_call *c = calloc(1, sizeof(*c));
	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "request");
	atomic_init(&c->refs, 1);
	atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	c->http = h;
	c->start_post.run = http_begin;
	c->cancel_post.run = http_cancel_here;
	c->resolved_post.run = http_resolved;
	sl_list_init(&c->link);
	sl_list_init(&c->queue_link);
	c->guard = req->guard;
	c->body = sl_bytes_ref(req->body);
	c->timeouts = req->timeouts;
	c->max_body_bytes = req->max_body_bytes ? req->max_body_bytes : SL_LIMIT_HTTP_BODY_BYTES;
	c->on_head = req->head;
	c->on_body = req->body_fn;
	c->on_done = req->done;
	c->ctx = req->ctx;
	c->started_us = sl_clock_mono_us();
	sl_buf_init(&c->head_text, HTTP_HEAD_BYTES);
	c->easy = curl_easy_init();
	c->found = c->guard ? calloc(1, sizeof(*c->found)) : NULL;

	pthread_mutex_lock(&h->lock);
	bool open = !atomic_load(&h->draining);
	h->active += open; /* from here on sl_http_stop() waits for us */
	pthread_mutex_unlock(&h->lock);
	enum sl_code rc = SL_OK;
	if (!open) {
		rc = sl_fail(err, SL_DRAINING, "the server is stopping");
	} else {
		c->io = h->ios[atomic_fetch_add_explicit(&h->next, 1, memory_order_relaxed) % h->n_ios];
		rc = c->easy && (c->found || !c->guard) ? http_set_up(c, req, err)
							: sl_fail(err, SL_NO_MEMORY, "transfer");
		if (rc != SL_OK)
			http_left(h);
	}
	if (rc != SL_OK) {
		sl_http_call_unref(c);
		return rc;
	}
	atomic_fetch_add_explicit(&h->started, 1, memory_order_relaxed);
	*out = sl_http_call_ref(c);
	sl_loop_post(c->io->loop, &c->start_post);
	return SL_OK;
}

enum sl_code sl_http_new(const struct sl_http_config *config, struct sl_http **out, struct sl_error *err)
{
	pthread_once(&curl_once, curl_setup);
	struct sl_http *h = calloc(1, sizeof(*h));
	if (!h)
		return sl_fail(err, SL_NO_MEMORY, "HTTP client");
	atomic_init(&h->refs, 1);
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->idle, NULL);
	h->reuse_below = config->reuse_below ? config->reuse_below : 128;
	h->max_active = config->max_active;
	h->ca_file = config->ca_file ? strdup(config->ca_file) : NULL;
	h->user_agent = strdup(config->user_agent ? config->user_agent : "sluice/" SL_VERSION);
	uint32_t want = config->loops ? config->loops : 1;
	h->ios = calloc(want, sizeof(struct sl_io *));
	enum sl_code rc = h->ios && h->user_agent && (h->ca_file || !config->ca_file) ? SL_OK : SL_NO_MEMORY;
	while (rc == SL_OK && h->n_ios < want) {
		char name[32];
		(void)snprintf(name, sizeof(name), "sl-io-%u", h->n_ios); /* cut names are fine */
		rc = sl_io_new(name, http_finished, &h->ios[h->n_ios]);
		if (rc == SL_OK && config->max_idle)
			sl_io_keep_idle(h->ios[h->n_ios], config->max_idle);
		h->n_ios += rc == SL_OK;
	}
	if (rc != SL_OK) {
		sl_http_free(h);
		return sl_fail(err, rc, "HTTP client");
	}
	*out = h;
	return SL_OK;
}

static void http_cancel_all(void *arg) /* [io] */
{
	struct sl_io *io = arg;
	while (!sl_list_empty(&io->calls)) {
		struct sl_http_call *c = sl_list_entry(io->calls.next, struct sl_http_call, link);
		http_decided(c);
		http_end(c, sl_fail(&c->err, SL_CANCELLED, "the server is stopping"));
	}
}

void sl_http_stop(struct sl_http *h)
{
	if (h->stopped)
		return;
	h->stopped = true;
	pthread_mutex_lock(&h->lock);
	atomic_store(&h->draining, true);
	pthread_mutex_unlock(&h->lock);
	for (uint32_t i = 0; i < h->n_ios; i++)
		SL_IGNORE(sl_loop_call(h->ios[i]->loop, http_cancel_all,
				       h->ios[i])); /* without memory we wait for the deadlines */
	pthread_mutex_lock(&h->lock);
	while (h->active)
		pthread_cond_wait(&h->idle, &h->lock);
	pthread_mutex_unlock(&h->lock);
	for (uint32_t i = 0; i < h->n_ios; i++)
		sl_io_stop(h->ios[i]); /* freed later: somebody may still ask for the statistics */
}

void sl_http_free(struct sl_http *h)
{
	if (!h)
		return;
	sl_http_stop(h);
	for (uint32_t i = 0; i < h->n_ios; i++)
		sl_io_free(h->ios[i]);
	free(h->ios);
	h->ios = NULL;
	h->n_ios = 0;
	http_unref(h);
}

void sl_http_stats(struct sl_http *h, struct sl_http_stats *out)
{
	*out = (struct sl_http_stats){.started = atomic_load(&h->started), .finished = atomic_load(&h->finished)};
	out->active = out->started > out->finished ? out->started - out->finished : 0;
	for (uint32_t i = 0; i < h->n_ios; i++) {
		uint64_t lag = sl_loop_lag_us(h->ios[i]->loop);
		out->sockets_opened += atomic_load(&h->ios[i]->sockets_opened);
		out->sockets_closed += atomic_load(&h->ios[i]->sockets_closed);
		out->bytes_received += atomic_load(&h->ios[i]->bytes_received);
		out->loop_lag_us = lag > out->loop_lag_us ? lag : out->loop_lag_us;
	}
}
