#include "tests/lib/test.h"

#include <arpa/inet.h>
#include <libwebsockets.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "base/loop.h"
#include "ws/conn.h"
#include "ws/encode.h"

/* ---- a server with one run, on a thread of its own ---- */

struct world {
	struct sl_loop *loop;
	struct sl_ws *ws;
	struct lws_context *lws;
	struct lws_protocols protocols[2];
	uv_timer_t ending;
	uv_sem_t ended;
	int port;
	pthread_mutex_t lock; /* of what follows */
	struct sl_run_id run;
	uint64_t seq;
	struct sl_stream *stream;
};

static enum sl_code source_view(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg)
{
	struct world *w = ctx;
	if (!sl_run_id_eq(run, w->run))
		return SL_NOT_FOUND;
	struct sl_view *v = calloc(1, sizeof(*v));
	char json[64];
	pthread_mutex_lock(&w->lock);
	v->run = run;
	v->last_seq = w->seq;
	v->status = "running";
	v->live = true;
	snprintf(json, sizeof(json), "{\"last_seq\":%llu}", (unsigned long long)w->seq);
	v->json = sl_bytes_new(json, strlen(json));
	v->streams = calloc(1, sizeof(*v->streams));
	v->streams[0] = (struct sl_view_stream){sl_stream_path(w->stream), sl_stream_ref(w->stream)};
	v->n_streams = 1;
	pthread_mutex_unlock(&w->lock);
	fn(arg, SL_OK, v);
	return SL_OK;
}

static void source_unwatch(void *ctx, struct sl_run_id run)
{
}

static enum sl_code source_events(void *ctx, struct sl_run_id run, uint64_t after, size_t limit, sl_hub_page_fn *fn,
				  void *arg)
{
	fn(arg, SL_OK, NULL, 0);
	return SL_OK;
}

static void source_watch_all(void *ctx, bool on)
{
}

static enum sl_code authenticate(void *ctx, struct lws *wsi, struct sl_ws_identity *who)
{
	char token[64];
	if (lws_hdr_copy(wsi, token, sizeof(token), WSI_TOKEN_HTTP_AUTHORIZATION) <= 0 ||
	    strcmp(token, "Bearer good") != 0)
		return SL_UNAUTHORIZED;
	snprintf(who->name, sizeof(who->name), "good");
	return SL_OK;
}

static void publish(struct world *w, const char *text)
{
	struct sl_notice *n = calloc(1, sizeof(*n));
	atomic_init(&n->refs, 1);
	n->run = w->run;
	n->status = "running";
	n->n_records = 1;
	n->records = calloc(1, sizeof(*n->records));
	pthread_mutex_lock(&w->lock);
	n->records[0] = (struct sl_record){
		.seq = ++w->seq, .wall_ms = 1, .event = "progress", .data = sl_bytes_new(text, strlen(text))};
	pthread_mutex_unlock(&w->lock);
	sl_ws_publish(w->ws, n);
	sl_notice_unref(n);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	*state = w;
	pthread_mutex_init(&w->lock, NULL);
	w->run.u = sl_uuid_new();
	w->stream = sl_stream_new(w->run, SL_STR("node"), 1);
	lws_set_log_level(0, NULL);
	assert_int_equal(sl_loop_new("front", &w->loop), SL_OK);
	struct sl_ws_config config = {
		.loop = w->loop,
		.source = {source_view, source_unwatch, source_events, source_watch_all, w},
		.flush_ms = 5,
		.path = "/ws",
		.authenticate = authenticate,
		.auth_ctx = w,
	};
	assert_int_equal(sl_ws_new(&config, &w->ws), SL_OK);
	sl_ws_protocol(w->ws, &w->protocols[0]);
	void *loops[1] = {sl_loop_uv(w->loop)};
	struct lws_context_creation_info info = {
		.port = 0,
		.iface = "127.0.0.1",
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.pcontext = &w->lws,
		.protocols = w->protocols,
		.pt_serv_buf_size = 128 << 10,
		.fd_limit_per_thread = 256,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};
	w->lws = lws_create_context(&info);
	assert_non_null(w->lws);
	struct lws_vhost *vhost = lws_create_vhost(w->lws, &info);
	assert_non_null(vhost);
	w->port = lws_get_vhost_listen_port(vhost);
	assert_true(w->port > 0);
	assert_int_equal(sl_loop_start(w->loop), SL_OK);
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	uv_sem_post(&((struct world *)h->data)->ended);
}

static void on_ending(uv_timer_t *t) /* libwebsockets wants to be asked until its handles are closed */
{
	struct world *w = t->data;
	if (w->lws)
		lws_context_destroy(w->lws);
	if (w->lws)
		return;
	sl_ws_close(w->ws);
	uv_close((uv_handle_t *)t, on_timer_closed);
}

static void begin_end(void *arg)
{
	struct world *w = arg;
	sl_hub_drain(sl_ws_hub(w->ws));
	lws_context_destroy(w->lws);
	uv_timer_init(sl_loop_uv(w->loop), &w->ending);
	w->ending.data = w;
	uv_timer_start(&w->ending, on_ending, 5, 5);
}

static int teardown(void **state)
{
	struct world *w = *state;
	uv_sem_init(&w->ended, 0);
	assert_int_equal(sl_loop_call(w->loop, begin_end, w), SL_OK);
	uv_sem_wait(&w->ended);
	sl_loop_stop(w->loop);
	sl_ws_free(w->ws);
	sl_loop_free(w->loop); /* insists that no handle is left */
	uv_sem_destroy(&w->ended);
	sl_stream_unref(w->stream);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return 0;
}

/* ---- a client by hand ---- */

struct peer {
	int fd;
	char *in;
	size_t len, cap;
};

static bool fill(struct peer *p, int timeout_ms)
{
	struct pollfd pfd = {p->fd, POLLIN, 0};
	if (poll(&pfd, 1, timeout_ms) <= 0)
		return false;
	if (p->cap - p->len < 65536)
		p->in = realloc(p->in, p->cap = p->cap * 2 + 131072);
	ssize_t n = recv(p->fd, p->in + p->len, p->cap - p->len, 0);
	if (n <= 0)
		return false;
	p->len += (size_t)n;
	return true;
}

static void take(struct peer *p, size_t n)
{
	memmove(p->in, p->in + n, p->len - n);
	p->len -= n;
}

static void put(struct peer *p, const void *bytes, size_t len)
{
	const char *b = bytes;
	while (len) {
		ssize_t n = send(p->fd, b, len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* the server may have closed already */
		b += n;
		len -= (size_t)n;
	}
}

/* The status of the handshake's answer. */
static int handshake(struct world *w, struct peer *p, const char *path, const char *token, int rcvbuf)
{
	char text[512];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*p = (struct peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	if (rcvbuf)
		setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	assert_int_equal(connect(p->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
			 "Upgrade\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: "
			 "sluice.v1\r\nAuthorization: Bearer %s\r\n\r\n",
			 path, token);
	put(p, text, (size_t)n);
	for (;;) {
		char *end = p->len ? memmem(p->in, p->len, "\r\n\r\n", 4) : NULL;
		if (end) {
			int status = atoi(p->in + 9);
			if (status == 101)
				assert_non_null(memmem(p->in, p->len, "sluice.v1", 9));
			take(p, (size_t)(end + 4 - p->in));
			return status;
		}
		if (!fill(p, 60000))
			return -1;
	}
}

static void hang_up(struct peer *p)
{
	close(p->fd);
	free(p->in);
}

static size_t frame(char *out, int opcode, bool fin, const char *payload, size_t len)
{
	size_t h = 2;
	out[0] = (char)((fin ? 0x80 : 0) | opcode);
	if (len < 126) {
		out[1] = (char)(0x80 | len);
	} else if (len < 65536) {
		out[1] = (char)(0x80 | 126);
		out[2] = (char)(len >> 8);
		out[3] = (char)len;
		h = 4;
	} else {
		out[1] = (char)(0x80 | 127);
		for (int i = 0; i < 8; i++)
			out[2 + i] = (char)((uint64_t)len >> (56 - 8 * i));
		h = 10;
	}
	static const char mask[4] = {0x12, 0x34, 0x56, 0x78};
	memcpy(out + h, mask, 4);
	for (size_t i = 0; i < len; i++)
		out[h + 4 + i] = (char)(payload[i] ^ mask[i & 3]);
	return h + 4 + len;
}

static void say(struct peer *p, int opcode, bool fin, const char *payload, size_t len)
{
	char *f = malloc(len + 14);
	put(p, f, frame(f, opcode, fin, payload, len));
	free(f);
}

static void command(struct peer *p, const char *text)
{
	say(p, SL_WS_TEXT, true, text, strlen(text));
}

/* The next frame, unmasked; opcode -1: nothing came, or the end. The payload lives until the next call. */
static int next(struct peer *p, struct sl_str *payload, int timeout_ms)
{
	static char *copy;
	size_t h, n;
	while (!sl_ws_frame_measure(p->in, p->len, &h, &n))
		if (!fill(p, timeout_ms))
			return -1;
	int opcode = p->in[0] & 15;
	assert_int_equal(p->in[0] & 0x70, 0);
	assert_int_equal(p->in[1] & 0x80, 0);
	copy = realloc(copy, n + 1);
	memcpy(copy, p->in + h, n);
	copy[n] = '\0';
	*payload = sl_str_n(copy, n);
	take(p, h + n);
	return opcode;
}

/* Frames until one that holds `what`; false: it did not come. */
static bool expect(struct peer *p, const char *what)
{
	struct sl_str s;
	for (int op; (op = next(p, &s, 60000)) >= 0 && op != SL_WS_CLOSE;)
		if (op == SL_WS_TEXT && strstr(s.p, what))
			return true;
	return false;
}

static int close_code(struct peer *p)
{
	struct sl_str s;
	for (int op; (op = next(p, &s, 60000)) >= 0;)
		if (op == SL_WS_CLOSE && s.len >= 2)
			return (unsigned char)s.p[0] << 8 | (unsigned char)s.p[1];
	return 0;
}

/* ---- tests ---- */

static void strangers_and_wrong_places_are_refused(void **state)
{
	struct peer p;
	assert_int_equal(handshake(*state, &p, "/ws", "bad", 0), 401);
	hang_up(&p);
	assert_int_equal(handshake(*state, &p, "/elsewhere", "good", 0), 404);
	hang_up(&p);
	assert_int_equal(handshake(*state, &p, "/ws?ticket=1", "good", 0), 101);
	hang_up(&p);
}

/* Sockets that are not there: they take nothing and say nothing. */
static bool nobody_ready(struct sl_hub_sink *s)
{
	return false;
}
static enum sl_sink_result nobody_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	return SL_SINK_FULL;
}
static void nobody_wants(struct sl_hub_sink *s)
{
}
static void nobody_close(struct sl_hub_sink *s, int code, const char *reason)
{
}
static long nobody_unsent(struct sl_hub_sink *s)
{
	return -1;
}

struct crowd {
	struct world *w;
	uv_sem_t done;
	struct sl_hub_conn *conns[SL_LIMIT_WS_CONNECTIONS + 1];
	size_t n;
};

static void crowd_comes(void *arg)
{
	static const struct sl_hub_sink_ops ops = {nobody_ready, nobody_write, nobody_wants, nobody_close,
						   nobody_unsent};
	static struct sl_hub_sink sink = {&ops};
	struct crowd *c = arg;
	struct sl_ws_identity who = {.name = "one of many"};
	while (c->n < SL_COUNT_OF(c->conns) &&
	       (c->conns[c->n] = sl_hub_conn_open(sl_ws_hub(c->w->ws), &sink, SL_HUB_WEBSOCKET, &who)) != NULL)
		c->n++;
	uv_sem_post(&c->done);
}

static void crowd_goes(void *arg)
{
	struct crowd *c = arg;
	for (size_t i = 0; i < c->n; i++)
		sl_hub_conn_close(c->conns[i]);
	uv_sem_post(&c->done);
}

static void more_sockets_than_may_be_open_get_503(void **state)
{
	struct world *w = *state;
	struct peer p;
	struct crowd *c = calloc(1, sizeof(*c));
	assert_non_null(c);
	c->w = w;
	uv_sem_init(&c->done, 0);
	assert_int_equal(sl_loop_call(w->loop, crowd_comes, c), SL_OK);
	uv_sem_wait(&c->done);
	size_t most = c->n;
	int status = handshake(w, &p, "/ws", "good", 0);
	hang_up(&p);
	assert_int_equal(sl_loop_call(w->loop, crowd_goes, c), SL_OK);
	uv_sem_wait(&c->done);
	uv_sem_destroy(&c->done);
	free(c);
	assert_int_equal(most, SL_LIMIT_WS_CONNECTIONS);
	assert_int_equal(status, 503);
	assert_int_equal(handshake(w, &p, "/ws", "good", 0), 101);
	hang_up(&p);
}

static void commands_arrive_in_any_pieces(void **state)
{
	struct peer p;
	char f[512];
	struct sl_str s;
	assert_int_equal(handshake(*state, &p, "/ws", "good", 0), 101);
	static const char slowly[] = "{\"cmd\":\"ping\",\"id\":\"one byte at a time\"}";
	size_t n = frame(f, SL_WS_TEXT, true, slowly, sizeof(slowly) - 1);
	for (size_t i = 0; i < n; i++) {
		put(&p, f + i, 1);
		if (i % 7 == 0)
			sched_yield();
	}
	assert_true(expect(&p, "one byte at a time"));
	say(&p, SL_WS_TEXT, false, "{\"cmd\":\"pi", 10);
	say(&p, SL_WS_PING_FRAME, true, "hello", 5); /* in the middle of a message */
	say(&p, SL_WS_CONT, false, "ng\",\"id\":", 9);
	say(&p, SL_WS_CONT, true, "77}", 3);
	bool pong = false, answer = false;
	while (!(pong && answer)) {
		int op = next(&p, &s, 60000);
		assert_true(op >= 0);
		pong = pong || (op == SL_WS_PONG && sl_str_is(s, "hello"));
		answer = answer || (op == SL_WS_TEXT && strstr(s.p, "77"));
	}
	char long_id[400];
	memset(long_id, ' ', sizeof(long_id)); /* longer than one receive buffer */
	memcpy(long_id, "{\"cmd\":\"ping\"", 13);
	memcpy(long_id + sizeof(long_id) - 10, ",\"id\":99}", 10);
	command(&p, long_id);
	assert_true(expect(&p, "99"));
	hang_up(&p);
}

static void what_is_no_command_is_answered_and_the_connection_lives(void **state)
{
	struct peer p;
	static char large[SL_LIMIT_WS_MESSAGE_BYTES];
	assert_int_equal(handshake(*state, &p, "/ws", "good", 0), 101);
	say(&p, SL_WS_BINARY, true, "{\"cmd\":\"ping\"}", 14);
	assert_true(expect(&p, "text frames"));
	command(&p, "nonsense");
	assert_true(expect(&p, "\"error\""));
	memset(large, ' ', sizeof(large));
	say(&p, SL_WS_TEXT, true, large, sizeof(large)); /* as large as may be */
	assert_true(expect(&p, "\"error\""));
	command(&p, "{\"cmd\":\"ping\",\"id\":5}");
	assert_true(expect(&p, "\"pong\""));
	hang_up(&p);
}

static void too_large_or_not_utf8_ends_it_with_the_code(void **state)
{
	struct peer p;
	static char large[SL_LIMIT_WS_MESSAGE_BYTES + 1];
	memset(large, 'x', sizeof(large));
	assert_int_equal(handshake(*state, &p, "/ws", "good", 0), 101);
	say(&p, SL_WS_TEXT, true, large, sizeof(large));
	assert_int_equal(close_code(&p), 1009);
	hang_up(&p);
	assert_int_equal(handshake(*state, &p, "/ws", "good", 0), 101);
	command(&p, "{\"cmd\":\"\xff\"}");
	assert_int_equal(close_code(&p), 1007);
	hang_up(&p);
}

static size_t text_of(struct sl_str message, char *out, size_t at)
{
	SL_AUTO_JSON o = NULL;
	struct sl_error err;
	assert_int_equal(sl_json_parse(message, &o, &err), SL_OK);
	size_t n = json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 1;
	for (size_t i = 0; i < n; i++) {
		struct json_object *e = json_object_is_type(o, json_type_array) ? json_object_array_get_idx(o, i) : o;
		if (!sl_str_is(sl_json_get_str(e, "event"), "token_stream"))
			continue;
		struct json_object *data = sl_json_get(e, "data");
		struct sl_str chunk = sl_json_get_str(data, "chunk");
		assert_int_equal(sl_json_get_i64(data, "offset", -1), at);
		memcpy(out + at, chunk.p, chunk.len);
		at += chunk.len;
	}
	return at;
}

/* It stalls while a megabyte and a half comes, and talks meanwhile: every frame is whole, every byte arrives once. */
static void a_stalled_reader_that_pings_gets_every_byte_in_whole_frames(void **state)
{
	enum { TOTAL = 1500000 };
	struct world *w = *state;
	struct peer p;
	struct sl_str s;
	char sub[128], id[SL_UUID_TEXT_BYTES];
	char *sent = malloc(TOTAL), *got = malloc(TOTAL + 65536);
	size_t at = 0;
	unsigned pongs = 0, answers = 0;

	assert_int_equal(handshake(w, &p, "/ws", "good", 4096), 101);
	sl_uuid_format(w->run.u, id);
	snprintf(sub, sizeof(sub), "{\"cmd\":\"subscribe\",\"run_id\":\"%s\"}", id);
	command(&p, sub);
	assert_true(expect(&p, "\"snapshot\""));
	for (size_t i = 0; i < TOTAL; i++)
		sent[i] = (char)('a' + i % 26);
	for (size_t i = 0; i < TOTAL; i += 1500) {
		assert_int_equal(sl_stream_append(w->stream, SL_STREAM_TEXT, sl_str_n(sent + i, 1500)), SL_OK);
		if (i % 150000 == 0) {
			say(&p, SL_WS_PING_FRAME, true, "there?", 6);
			command(&p, "{\"cmd\":\"ping\"}");
			publish(w, "{\"i\":1}");
		}
	}
	while (at < TOTAL || !pongs || answers < 10) {
		int op = next(&p, &s, 60000);
		assert_true(op >= 0);
		if (op == SL_WS_PONG)
			pongs++;
		if (op == SL_WS_TEXT && strstr(s.p, "\"pong\""))
			answers++;
		if (op == SL_WS_TEXT)
			at = text_of(s, got, at);
	}
	assert_int_equal(at, TOTAL);
	assert_memory_equal(sent, got, TOTAL);
	hang_up(&p);
	free(sent);
	free(got);
}

static void draining_tells_clients_to_come_back(void **state)
{
	struct world *w = *state;
	struct peer p;
	assert_int_equal(handshake(w, &p, "/ws", "good", 0), 101);
	command(&p, "{\"cmd\":\"ping\"}");
	assert_true(expect(&p, "\"pong\""));
	assert_int_equal(teardown(state), 0);
	assert_int_equal(close_code(&p), SL_WS_CLOSE_RESTART);
	hang_up(&p);
	setup(state); /* for the teardown that follows */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(strangers_and_wrong_places_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(more_sockets_than_may_be_open_get_503, setup, teardown),
		cmocka_unit_test_setup_teardown(commands_arrive_in_any_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_command_is_answered_and_the_connection_lives, setup,
						teardown),
		cmocka_unit_test_setup_teardown(too_large_or_not_utf8_ends_it_with_the_code, setup, teardown),
		cmocka_unit_test_setup_teardown(a_stalled_reader_that_pings_gets_every_byte_in_whole_frames, setup,
						teardown),
		cmocka_unit_test_setup_teardown(draining_tells_clients_to_come_back, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
