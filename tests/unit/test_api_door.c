/* Who gets in: every route with every role, sessions and their origins, host names, and the handshakes of WebSockets,
 * through real sockets. Behind the door is nothing here: what is let through is told from what is not by 401, 403 and
 * 421. */
#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_priv.h"
#include "api/orders.h"
#include "base/embed.h"
#include "ws/conn.h"
#include "tests/lib/recv.h"

#define ADMIN "the-admin-token-of-this-test-which-is-long"

struct rig {
	struct sl_loop *loop;
	struct sl_api *api;
	struct sl_ws *ws;
	sem_t done;
	char tokens[SL_ROLE_ADMIN + 1][SL_TOKEN_TEXT_BYTES]; /* by role */
	struct sl_uuid ids[SL_ROLE_ADMIN + 1];
	enum sl_role drop;
};

static enum sl_code no_view(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg)
{
	fn(arg, SL_NOT_FOUND, NULL);
	return SL_OK;
}
static void no_unwatch(void *ctx, struct sl_run_id run)
{
}
static enum sl_code no_events(void *ctx, struct sl_run_id run, uint64_t after, size_t limit, sl_hub_page_fn *fn,
			      void *arg)
{
	fn(arg, SL_NOT_FOUND, NULL, 0);
	return SL_OK;
}
static void no_watch_all(void *ctx, bool on)
{
}

static int setup(void **state)
{
	struct rig *g = calloc(1, sizeof(*g));
	struct sl_error err = {0};
	*state = g;
	sem_init(&g->done, 0, 0);
	if (sl_loop_new("test", &g->loop) != SL_OK)
		return -1;
	const struct sl_api_config config = {.loop = g->loop,
					     .listen = "127.0.0.1:0",
					     .admin_token = ADMIN,
					     .secret_key = {7},
					     .hosts = "door.example",
					     .origins = "https://pages.example"};
	if (sl_api_new(&config, &g->api, &err) != SL_OK)
		return -1;
	struct sl_ws_config ws = {.loop = g->loop,
				  .flush_ms = 1,
				  .path = "/ws",
				  .authenticate = sl_api_ws_authenticate,
				  .auth_ctx = g->api,
				  .source = {no_view, no_unwatch, no_events, no_watch_all, NULL}};
	sl_api_ws_commands(g->api, &ws.commands);
	if (sl_ws_new(&ws, &g->ws) != SL_OK)
		return -1;
	for (int role = SL_ROLE_VIEWER; role <= SL_ROLE_ADMIN; role++) {
		struct sl_auth_token t = {.id = sl_uuid_new(), .role = (enum sl_role)role};
		snprintf(t.name, sizeof(t.name), "%s", sl_role_name((enum sl_role)role));
		sl_auth_make_secret(g->tokens[role]);
		sl_auth_hash(sl_str(g->tokens[role]), t.hash);
		g->ids[role] = t.id;
		if (sl_auth_add_token(g->api->auth, &t) != SL_OK)
			return -1;
	}
	const struct sl_api_parts parts = {.ws = g->ws};
	if (sl_api_start(g->api, &parts, &err) != SL_OK) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	return sl_loop_start(g->loop) == SL_OK ? 0 : -1;
}

static int teardown(void **state)
{
	struct rig *g = *state;
	sl_api_stop(g->api);
	sl_loop_stop(g->loop);
	sl_ws_free(g->ws);
	sl_api_free(g->api);
	sl_loop_free(g->loop);
	sem_destroy(&g->done);
	free(g);
	return 0;
}

/* ---- a client that speaks once ---- */

static int dial(struct rig *g)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct timeval patience = {.tv_sec = 20};
	a.sin_port = htons((uint16_t)strtoul(strrchr(sl_api_address(g->api), ':') + 1, NULL, 10));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* Sends a request with these header lines; returns the status and, when asked, the whole answer. */
static int ask(struct rig *g, const char *method, const char *path, const char *lines, struct sl_buf *answer)
{
	SL_BUF(text, 8192);
	SL_BUF(own, 1 << 20);
	char piece[4096];
	ssize_t n;
	int fd = dial(g), status = 0;
	struct sl_buf *to = answer ? answer : &own;
	bool host = strstr(lines, "Host: ") != NULL;
	sl_buf_addf(&text, "%s %s HTTP/1.1\r\n%s%s%s", method, path,
		    host ? "" : "Host: ", host ? "" : sl_api_address(g->api), host ? "" : "\r\n");
	sl_buf_addf(&text, "Connection: close\r\n%s\r\n", lines);
	assert_int_equal(send(fd, text.data, text.len, MSG_NOSIGNAL), text.len);
	sl_buf_reset(to);
	while ((n = sl_test_recv(fd, piece, sizeof(piece), 0)) > 0)
		sl_buf_add(to, piece, (size_t)n);
	close(fd);
	assert_false(to->failed);
	if (to->len)
		sscanf(to->data, "HTTP/1.1 %d", &status);
	return status;
}

static int ask_as(struct rig *g, const char *method, const char *path, const char *token)
{
	char line[128];
	snprintf(line, sizeof(line), "Authorization: Bearer %s\r\n", token);
	return ask(g, method, path, line, NULL);
}

/* A path of this pattern: every placeholder is filled with a name that leads nowhere. */
static void fill(const char *pattern, char out[128])
{
	size_t n = 0;
	for (const char *p = pattern; *p; p++) {
		if (*p == '{') {
			out[n++] = 'x';
			while (*p != '}')
				p++;
		} else
			out[n++] = *p;
	}
	out[n] = '\0';
}

/* ---- tests ---- */

static void every_route_wants_its_role_and_no_less(void **state)
{
	struct rig *g = *state;
	for (size_t i = 0; i < sl_n_routes; i++) {
		const struct sl_route *route = &sl_routes[i];
		char path[128];
		fill(route->pattern, path);
		const char *method = sl_method_name(route->method);
		if (route->role == SL_ROLE_NONE)
			continue;
		bool open = (route->flags & SL_ROUTE_LOOPBACK) != 0; /* these tests come from loopback */
		int nobody = ask(g, method, path, "", NULL);
		if (open ? nobody == 401 : nobody != 401)
			fail_msg("%s %s without a token: %d", method, path, nobody);
		int stranger = ask_as(g, method, path, "wrong");
		if (stranger != 401 && stranger != 429)
			fail_msg("%s %s with a wrong token: %d", method, path, stranger);
		for (int role = SL_ROLE_VIEWER; role < (int)route->role; role++) {
			int status = ask_as(g, method, path, g->tokens[role]);
			if (status != 403)
				fail_msg("%s %s as %s: %d", method, path, sl_role_name((enum sl_role)role), status);
		}
	}
}

static void whoever_has_the_role_or_more_is_let_through(void **state)
{
	struct rig *g = *state;
	for (int role = SL_ROLE_VIEWER; role <= SL_ROLE_ADMIN; role++) {
		assert_int_equal(ask_as(g, "GET", "/api/v1/session", g->tokens[role]), 200);
		assert_int_equal(ask_as(g, "POST", "/api/v1/ws-ticket", g->tokens[role]), 200);
		/* leads to no run, behind the door */
		assert_int_equal(ask_as(g, "POST", "/api/v1/runs/x/cancel", g->tokens[role]),
				 role >= SL_ROLE_RUNNER ? 404 : 403);
		assert_int_equal(ask_as(g, "DELETE", "/api/v1/admin/tokens/x", g->tokens[role]),
				 role >= SL_ROLE_ADMIN ? 404 : 403);
	}
	assert_int_equal(ask_as(g, "DELETE", "/api/v1/admin/tokens/x", ADMIN), 404);
}

static void what_everyone_may_see_needs_no_token(void **state)
{
	struct rig *g = *state;
	SL_BUF(answer, 1 << 20);
	assert_int_equal(ask(g, "GET", "/livez", "", NULL), 200);
	assert_int_equal(ask(g, "GET", "/readyz", "", NULL), 200);
	assert_int_equal(ask(g, "GET", "/metrics", "", &answer), 200);
	assert_non_null(strstr(answer.data, "\nsluice_build_info{version=\""));
	assert_int_equal(ask(g, "GET", "/openapi.json", "", &answer), 200);
	assert_non_null(strstr(answer.data, "\"openapi\": \"3.1.0\""));
	assert_int_equal(ask(g, "GET", "/api/v1/nothing", "", NULL), 404);
	assert_int_equal(ask(g, "GET", "/assets/none.js", "", NULL), 404);
	assert_int_equal(ask(g, "GET", "/..%2f..%2fetc/passwd.txt", "", NULL), 404);
}

static void another_method_is_405_with_the_ones_there_are(void **state)
{
	struct rig *g = *state;
	SL_BUF(answer, 1 << 20);
	assert_int_equal(ask(g, "PATCH", "/api/v1/workflows/x", "", &answer), 405);
	assert_non_null(strstr(answer.data, "\r\nAllow: GET, HEAD, PUT, DELETE\r\n"));
	assert_int_equal(ask(g, "BREW", "/livez", "", &answer), 405);
	assert_int_equal(ask(g, "OPTIONS", "/api/v1/runs", "", &answer), 204);
	assert_non_null(strstr(answer.data, "\r\nAllow: POST, GET, HEAD\r\n"));
	assert_null(strstr(answer.data, "Access-Control")); /* no foreign page may ask */
	assert_int_equal(ask(g, "GET", "/api/v1/workflows/%zz", "", NULL), 400);
}

static void what_nobody_looks_at_in_a_query_is_refused(void **state)
{
	struct rig *g = *state;
	SL_BUF(answer, 1 << 20);
	const char *admin = "Authorization: Bearer " ADMIN "\r\n";
	assert_int_equal(ask(g, "GET", "/api/v1/runs?statsu=failed&limit=1", admin, &answer), 400);
	assert_non_null(
		strstr(answer.data, "the query has 'statsu', which is not known here; there are: status workflow"));
	assert_int_equal(ask(g, "GET", "/api/v1/session?now", admin, &answer), 400);
	assert_non_null(strstr(answer.data, "the query has 'now', which is not known here; nothing is"));
	assert_int_equal(ask(g, "GET", "/api/v1/session?", admin, NULL), 200);
	assert_int_equal(ask(g, "GET", "/api/v1/session?&", admin, NULL), 200);
	assert_int_equal(ask(g, "GET", "/api/v1/session?limit=5&cursor=", admin, NULL), 200); /* as every list */
	assert_int_equal(ask(g, "GET", "/api/v1/session?now", "", NULL), 401); /* first of all: who asks */
	assert_int_equal(ask(g, "GET", "/livez?verbose", "", NULL), 200);      /* probes are as others like them */
}

static void a_foreign_host_name_is_refused(void **state)
{
	struct rig *g = *state;
	assert_int_equal(ask(g, "GET", "/livez", "Host: door.example\r\n", NULL), 200);
	assert_int_equal(ask(g, "GET", "/livez", "Host: localhost:1\r\n", NULL), 200);
	assert_int_equal(ask(g, "GET", "/livez", "Host: rebound.example\r\n", NULL), 421);
	assert_int_equal(ask(g, "GET", "/", "Host: rebound.example\r\n", NULL), 421);
	assert_int_equal(ask(g, "GET", "http://rebound.example/livez", "", NULL), 421);
}

static void sign_in(struct rig *g, enum sl_role role, char cookie[256])
{
	SL_BUF(answer, 1 << 20);
	char line[128];
	snprintf(line, sizeof(line), "Authorization: Bearer %s\r\n", g->tokens[role]);
	assert_int_equal(ask(g, "POST", "/api/v1/session", line, &answer), 200);
	char *set = strstr(answer.data, "\r\nSet-Cookie: sluice_session=");
	assert_non_null(set);
	char *end = strchr(set + 14, ';');
	assert_non_null(end);
	assert_non_null(strstr(end, "HttpOnly"));
	assert_non_null(strstr(end, "SameSite=Strict"));
	*end = '\0';
	snprintf(cookie, 256, "Cookie: other=1; %s\r\n", set + 14);
}

static void a_session_reads_everywhere_and_writes_only_from_our_pages(void **state)
{
	struct rig *g = *state;
	char cookie[256], lines[512];
	sign_in(g, SL_ROLE_RUNNER, cookie);
	assert_int_equal(ask(g, "GET", "/api/v1/session", cookie, NULL), 200);
	assert_int_equal(ask(g, "POST", "/api/v1/ws-ticket", cookie, NULL), 403); /* no sign of a page of ours */
	static const struct {
		const char *more;
		int status;
	} cases[] = {
		{"X-Sluice-Client: ui\r\n", 200},
		{"Origin: https://pages.example\r\n", 200},
		{"Origin: http://evil.example\r\n", 403},
		{"Origin: http://evil.example\r\nX-Sluice-Client: ui\r\n", 403},
		{"Origin: null\r\n", 403},
	};
	for (size_t i = 0; i < SL_COUNT_OF(cases); i++) {
		snprintf(lines, sizeof(lines), "%s%s", cookie, cases[i].more);
		assert_int_equal(ask(g, "POST", "/api/v1/ws-ticket", lines, NULL), cases[i].status);
	}
	snprintf(lines, sizeof(lines), "%sOrigin: %s\r\n", cookie, sl_api_url(g->api));
	assert_int_equal(ask(g, "POST", "/api/v1/ws-ticket", lines, NULL), 200);
	assert_int_equal(ask(g, "POST", "/api/v1/session", lines, NULL), 401); /* a session makes no session */
	snprintf(lines, sizeof(lines), "%sX-Sluice-Client: ui\r\n", cookie);
	assert_int_equal(ask(g, "POST", "/api/v1/workflows", lines, NULL), 403); /* the role of the token */
}

static void drop_token(void *arg)
{
	struct rig *g = arg;
	sl_auth_drop_token(g->api->auth, g->ids[g->drop]);
	sem_post(&g->done);
}

static void a_session_ends_with_its_token(void **state)
{
	struct rig *g = *state;
	char cookie[256];
	sign_in(g, SL_ROLE_EDITOR, cookie);
	assert_int_equal(ask(g, "GET", "/api/v1/session", cookie, NULL), 200);
	g->drop = SL_ROLE_EDITOR;
	assert_int_equal(sl_loop_call(g->loop, drop_token, g), SL_OK);
	sem_wait(&g->done);
	assert_int_equal(ask(g, "GET", "/api/v1/session", cookie, NULL), 401);
	assert_int_equal(ask_as(g, "GET", "/api/v1/session", g->tokens[SL_ROLE_EDITOR]), 401);
}

static void guesses_are_429_after_a_while_but_a_token_still_works(void **state)
{
	struct rig *g = *state;
	SL_BUF(answer, 1 << 20);
	int status = 401;
	for (int i = 0; i < 50 && status == 401; i++)
		status = ask(g, "GET", "/api/v1/runs", "Authorization: Bearer guess\r\n", &answer);
	assert_int_equal(status, 429);
	assert_non_null(strstr(answer.data, "\r\nRetry-After: "));
	assert_int_equal(ask_as(g, "GET", "/api/v1/session", g->tokens[SL_ROLE_VIEWER]), 200);
	assert_int_equal(ask_as(g, "GET", "/api/v1/session", ADMIN),
			 200); /* long: it cannot be guessed, so nobody is locked out */
}

static void a_draining_server_says_so_and_takes_no_runs(void **state)
{
	struct rig *g = *state;
	SL_BUF(answer, 1 << 20);
	char line[128];
	snprintf(line, sizeof(line), "Authorization: Bearer %s\r\n", g->tokens[SL_ROLE_RUNNER]);
	sl_api_leave(g->api); /* first it only says so: what comes all the same is served */
	assert_int_equal(ask(g, "GET", "/readyz", "", &answer), 503);
	assert_int_equal(ask(g, "POST", "/api/v1/runs", line, &answer), 400);
	sl_api_drain(g->api);
	assert_int_equal(ask(g, "GET", "/livez", "", NULL), 200);
	assert_int_equal(ask(g, "GET", "/readyz", "", &answer), 503);
	assert_non_null(strstr(answer.data, "draining"));
	assert_int_equal(ask(g, "POST", "/api/v1/runs", line, &answer), 503);
	assert_non_null(strstr(answer.data, "\"code\":\"draining\""));
	assert_non_null(strstr(answer.data, "\r\nRetry-After: "));
}

/* ---- WebSockets ---- */

#define HANDSHAKE                                                                                                      \
	"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "                \
	"dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* The status of a handshake with these header lines; 101 leaves the socket in *fd when asked. */
static int handshake(struct rig *g, const char *path, const char *lines, int *fd_out)
{
	SL_BUF(text, 8192);
	char answer[2048];
	int fd = dial(g), status = 0;
	size_t at = 0;
	bool host = strstr(lines, "Host: ") != NULL, protocol = strstr(lines, "Sec-WebSocket-Protocol: ") != NULL;
	sl_buf_addf(&text, "GET %s HTTP/1.1\r\n%s%s%s%s" HANDSHAKE "%s\r\n", path,
		    host ? "" : "Host: ", host ? "" : sl_api_address(g->api), host ? "" : "\r\n", lines,
		    protocol ? "" : "Sec-WebSocket-Protocol: " SL_WS_SUBPROTOCOL "\r\n");
	assert_int_equal(send(fd, text.data, text.len, MSG_NOSIGNAL), text.len);
	while (at < sizeof(answer) - 1 && !memmem(answer, at, "\r\n\r\n", 4)) {
		ssize_t n = sl_test_recv(fd, answer + at, 1, 0);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	answer[at] = '\0';
	sscanf(answer, "HTTP/1.1 %d", &status);
	if (fd_out && status == 101)
		*fd_out = fd;
	else
		close(fd);
	return status;
}

static void ticket_for(struct rig *g, const char *origin, char path[128])
{
	SL_BUF(answer, 1 << 20);
	char lines[256];
	snprintf(lines, sizeof(lines), "Authorization: Bearer %s\r\n%s%s%s", g->tokens[SL_ROLE_VIEWER],
		 origin ? "Origin: " : "", origin ? origin : "", origin ? "\r\n" : "");
	assert_int_equal(ask(g, "POST", "/api/v1/ws-ticket", lines, &answer), 200);
	char *t = strstr(answer.data, "\"ticket\":\"");
	assert_non_null(t);
	snprintf(path, 128, "/ws?ticket=%.43s", t + 10);
}

static void who_asks_for_another_subprotocol_is_told_of_ours(void **state)
{
	struct rig *g = *state;
	static const struct {
		const char *protocols;
		int status;
	} rows[] = {
		{"Sec-WebSocket-Protocol: graphql-ws\r\n", 400},
		{"Sec-WebSocket-Protocol: sluice.v2, sluice\r\n", 400},
		{"Sec-WebSocket-Protocol: sluice.v2, sluice.v1\r\n", 101},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char lines[300];
		snprintf(lines, sizeof(lines), "Authorization: Bearer %s\r\n%s", g->tokens[SL_ROLE_VIEWER],
			 rows[i].protocols);
		int status = handshake(g, "/ws", lines, NULL);
		if (status != rows[i].status)
			fail_msg("%s: %d", rows[i].protocols, status);
	}
	char path[128], ours[160]; /* a mistake does not use up the ticket */
	ticket_for(g, sl_api_url(g->api), path);
	snprintf(ours, sizeof(ours), "Origin: %s\r\n%s", sl_api_url(g->api), rows[0].protocols);
	assert_int_equal(handshake(g, path, ours, NULL), 400);
	snprintf(ours, sizeof(ours), "Origin: %s\r\n", sl_api_url(g->api));
	assert_int_equal(handshake(g, path, ours, NULL), 101);
}

static void only_a_token_or_a_fresh_ticket_of_our_origin_opens_a_socket(void **state)
{
	struct rig *g = *state;
	char path[128], origin[160], foreign_port[64], bearer[160], both[400];
	snprintf(origin, sizeof(origin), "Origin: %s\r\n", sl_api_url(g->api));
	snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", g->tokens[SL_ROLE_VIEWER]);
	snprintf(foreign_port, sizeof(foreign_port), "Origin: http://127.0.0.1:1\r\n");

	/* the two legal ways */
	assert_int_equal(handshake(g, "/ws", bearer, NULL), 101);
	ticket_for(g, sl_api_url(g->api), path);
	assert_int_equal(handshake(g, path, origin, NULL), 101);

	assert_int_equal(handshake(g, path, origin, NULL), 401); /* again */
	assert_int_equal(handshake(g, "/ws", "", NULL), 401);
	assert_int_equal(handshake(g, "/ws", origin, NULL), 401);
	assert_int_equal(handshake(g, "/ws?ticket=", origin, NULL), 401);
	assert_int_equal(handshake(g, "/ws?ticket=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", origin, NULL), 401);
	assert_int_equal(handshake(g, "/ws", "Authorization: Bearer wrong\r\n", NULL), 401);

	static const char *const foreign[] = {"http://evil.example",
					      "null",
					      "https://127.0.0.1",
					      "http://localhost",
					      "file://",
					      "http://127.0.0.1:70701",
					      "http://pages.example",
					      "https://pages.example.evil",
					      ""};
	for (size_t i = 0; i < SL_COUNT_OF(foreign); i++) {
		char line[128];
		snprintf(line, sizeof(line), "Origin: %s\r\n", foreign[i]);
		ticket_for(g, sl_api_url(g->api), path);
		int status = handshake(g, path, line, NULL);
		if (status != 403 && status != 401)
			fail_msg("origin '%s' with a ticket: %d", foreign[i], status);
		snprintf(both, sizeof(both), "%s%s", bearer, line);
		status = handshake(g, "/ws", both, NULL);
		if (*foreign[i] && status != 403)
			fail_msg("origin '%s' with a token: %d", foreign[i], status);
	}
	ticket_for(g, sl_api_url(g->api), path);
	assert_int_equal(handshake(g, path, foreign_port, NULL), 403);
	ticket_for(g, "https://pages.example", path); /* a listed origin, but the ticket was for another one */
	assert_int_equal(handshake(g, path, origin, NULL), 401);
	ticket_for(g, NULL, path);
	assert_int_equal(handshake(g, path, origin, NULL), 401);

	snprintf(both, sizeof(both), "Host: rebound.example\r\n%s", bearer);
	assert_int_equal(handshake(g, "/ws", both, NULL), 421);
	assert_int_equal(handshake(g, "/other", bearer, NULL), 200); /* no WebSocket: a page of the UI, or none */
}

/* A masked text frame of the client. */
static void send_text(int fd, const char *text)
{
	unsigned char frame[130] = {0x81};
	size_t len = strlen(text);
	assert_true(len < 120);
	frame[1] = (unsigned char)(0x80 | len); /* the mask is zero */
	memcpy(frame + 6, text, len);
	assert_int_equal(send(fd, frame, len + 6, MSG_NOSIGNAL), len + 6);
}

/* The next server frame's payload; its opcode is returned, -1 at the end. */
static int next_frame(int fd, char *payload, size_t size)
{
	unsigned char h[4];
	if (sl_test_recv(fd, h, 2, MSG_WAITALL) != 2)
		return -1;
	size_t len = h[1];
	if (len == 126) {
		if (sl_test_recv(fd, h + 2, 2, MSG_WAITALL) != 2)
			return -1;
		len = (size_t)h[2] << 8 | h[3];
	}
	assert_true(len < size);
	if (len && sl_test_recv(fd, payload, len, MSG_WAITALL) != (ssize_t)len)
		return -1;
	payload[len] = '\0';
	return h[0] & 15;
}

static void an_open_socket_is_answered_and_its_role_counts(void **state)
{
	struct rig *g = *state;
	char bearer[160], payload[4096];
	int fd;
	snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", g->tokens[SL_ROLE_VIEWER]);
	assert_int_equal(handshake(g, "/ws", bearer, &fd), 101);
	send_text(fd, "{\"cmd\":\"ping\",\"id\":7}");
	assert_int_equal(next_frame(fd, payload, sizeof(payload)), 1);
	assert_non_null(strstr(payload, "pong"));
	send_text(fd, "{\"cmd\":\"start_run\",\"id\":8,\"workflow\":\"w\"}");
	assert_int_equal(next_frame(fd, payload, sizeof(payload)), 1);
	assert_non_null(strstr(payload, "\"code\":\"forbidden\""));
	close(fd);
}

/* Every command that changes something, as every role: below its own it is forbidden, from there on it is not. */
static void each_command_of_a_socket_wants_its_role(void **state)
{
	struct rig *g = *state;
	for (int role = SL_ROLE_VIEWER; role <= SL_ROLE_ADMIN; role++) {
		char bearer[160], payload[4096], text[128];
		int fd;
		snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", g->tokens[role]);
		assert_int_equal(handshake(g, "/ws", bearer, &fd), 101);
		for (size_t i = 0; i <= sl_n_order_rows; i++) {
			bool start = i == sl_n_order_rows;
			const char *cmd = start ? "start_run" : sl_order_rows[i].ws;
			enum sl_role least = start ? SL_ROLE_RUNNER : sl_order_rows[i].role;
			if (!start && role >= (int)least)
				continue; /* there is no engine behind this door */
			snprintf(text, sizeof(text), "{\"cmd\":\"%s\",\"id\":1,\"run_id\":\"%s\"}", cmd,
				 "01900000-0000-7000-8000-000000000001");
			send_text(fd, text);
			assert_int_equal(next_frame(fd, payload, sizeof(payload)), 1);
			bool forbidden = strstr(payload, "\"code\":\"forbidden\"") != NULL;
			if (forbidden != (role < (int)least))
				fail_msg("%s as %s: %s", cmd, sl_role_name((enum sl_role)role), payload);
		}
		close(fd);
	}
}

static void stopping_closes_sockets_with_a_code_to_come_back(void **state)
{
	struct rig *g = *state;
	char bearer[160], payload[4096];
	int fd, opcode;
	snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s\r\n", g->tokens[SL_ROLE_VIEWER]);
	assert_int_equal(handshake(g, "/ws", bearer, &fd), 101);
	sl_api_stop(g->api);
	while ((opcode = next_frame(fd, payload, sizeof(payload))) == 1)
		;
	assert_int_equal(opcode, 8);
	assert_int_equal((unsigned char)payload[0] << 8 | (unsigned char)payload[1], SL_WS_CLOSE_RESTART);
	close(fd);
}

/* ---- the table and its description ---- */

static void openapi_and_the_routes_say_the_same(void **state)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	size_t described = 0, shown = 0;
	assert_int_equal(sl_json_parse(sl_str_n(sl_api_file("openapi.json")->data, sl_api_file("openapi.json")->len),
				       &doc, &err),
			 SL_OK);
	struct json_object *paths = sl_json_get(doc, "paths");
	for (size_t i = 0; i < sl_n_routes; i++) {
		const struct sl_route *route = &sl_routes[i];
		char method[16];
		if (route->flags & SL_ROUTE_HIDDEN)
			continue;
		shown++;
		snprintf(method, sizeof(method), "%s", sl_method_name(route->method));
		for (char *c = method; *c; c++)
			*c |= 0x20;
		struct json_object *op = sl_json_get(sl_json_get(paths, route->pattern), method);
		if (!op)
			fail_msg("%s %s is not described", method, route->pattern);
		if (!sl_str_is(sl_json_get_str(op, "x-sluice-role"), sl_role_name(route->role)))
			fail_msg("%s %s: another role than in the table", method, route->pattern);
		/* each {placeholder} is a described parameter */
		for (const char *p = strchr(route->pattern, '{'); p; p = strchr(p + 1, '{')) {
			struct sl_str name = sl_str_n(p + 1, strcspn(p + 1, "}"));
			struct json_object *params = sl_json_get(op, "parameters");
			bool found = false;
			for (size_t k = 0; params && k < json_object_array_length(params); k++) {
				struct json_object *one = json_object_array_get_idx(params, k);
				found = found || (sl_str_eq(sl_json_get_str(one, "name"), name) &&
						  sl_str_is(sl_json_get_str(one, "in"), "path"));
			}
			if (!found)
				fail_msg("%s %s: a placeholder is not described", method, route->pattern);
		}
		/* and the names of its query are those of the table, in that order */
		char names[200] = "";
		struct json_object *params = sl_json_get(op, "parameters");
		for (size_t k = 0; params && k < json_object_array_length(params); k++) {
			struct json_object *one = json_object_array_get_idx(params, k);
			size_t len = strlen(names);
			if (sl_str_is(sl_json_get_str(one, "in"), "query"))
				snprintf(names + len, sizeof(names) - len, "%s%s", len ? " " : "",
					 sl_json_get_z(one, "name"));
		}
		if (strcmp(names, route->query ? route->query : "") != 0)
			fail_msg("%s %s: the query is described as '%s'", method, route->pattern, names);
	}
	json_object_object_foreach (paths, path, item) {
		(void)path;
		described += (size_t)json_object_object_length(item);
	}
	assert_int_equal(described, shown);
}

static void references_in_the_description_lead_somewhere(struct json_object *doc, struct json_object *at)
{
	if (json_object_is_type(at, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(at); i++)
			references_in_the_description_lead_somewhere(doc, json_object_array_get_idx(at, i));
	} else if (json_object_is_type(at, json_type_object)) {
		json_object_object_foreach (at, key, value) {
			static const char base[] = "#/components/schemas/";
			if (strcmp(key, "$ref") == 0) {
				const char *name = json_object_get_string(value);
				assert_int_equal(strncmp(name, base, sizeof(base) - 1), 0);
				if (!sl_json_get(sl_json_get(sl_json_get(doc, "components"), "schemas"),
						 name + sizeof(base) - 1))
					fail_msg("%s is not there", name);
			} else
				references_in_the_description_lead_somewhere(doc, value);
		}
	}
}

static void every_schema_that_is_named_is_there(void **state)
{
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	assert_int_equal(sl_json_parse(sl_str_n(sl_api_file("openapi.json")->data, sl_api_file("openapi.json")->len),
				       &doc, &err),
			 SL_OK);
	references_in_the_description_lead_somewhere(doc, doc);
}

int main(void)
{
#define DOOR(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		DOOR(every_route_wants_its_role_and_no_less),
		DOOR(whoever_has_the_role_or_more_is_let_through),
		DOOR(what_everyone_may_see_needs_no_token),
		DOOR(another_method_is_405_with_the_ones_there_are),
		DOOR(what_nobody_looks_at_in_a_query_is_refused),
		DOOR(a_foreign_host_name_is_refused),
		DOOR(a_session_reads_everywhere_and_writes_only_from_our_pages),
		DOOR(a_session_ends_with_its_token),
		DOOR(guesses_are_429_after_a_while_but_a_token_still_works),
		DOOR(a_draining_server_says_so_and_takes_no_runs),
		DOOR(who_asks_for_another_subprotocol_is_told_of_ours),
		DOOR(only_a_token_or_a_fresh_ticket_of_our_origin_opens_a_socket),
		DOOR(an_open_socket_is_answered_and_its_role_counts),
		DOOR(each_command_of_a_socket_wants_its_role),
		DOOR(stopping_closes_sockets_with_a_code_to_come_back),
		cmocka_unit_test(openapi_and_the_routes_say_the_same),
		cmocka_unit_test(every_schema_that_is_named_is_there),
	};
	sl_log_setup(SL_LOG_ERROR, SL_LOG_TEXT, 2); /* refusals are what this is about */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
