/* tests/lib/ws_world.c: see ws_world.h. */
#include "tests/lib/ws_world.h"

#include <stdio.h>

/* ---- runs ---- */

static uint64_t mono(void *ctx)
{
	return ((struct fake *)ctx)->now;
}
static int64_t wall(void *ctx)
{
	return 1700000000000 + (int64_t)((struct fake *)ctx)->now;
}

const char *fake_path(unsigned path)
{
	static const char *const names[FAKE_PATHS] = {"pro", "con", "refine#2/judge", "é \"quoted\""};
	return names[path];
}

const char *fake_id(const struct fake_run *r)
{
	static char text[4][SL_UUID_TEXT_BYTES];
	static unsigned turn;
	char *t = text[turn++ & 3];
	sl_uuid_format(r->id.u, t);
	return t;
}

struct fake_run *fake_run_of(struct fake *f, struct sl_run_id id)
{
	for (size_t i = 0; i < f->n_runs; i++)
		if (sl_run_id_eq(f->runs[i].id, id))
			return &f->runs[i];
	return NULL;
}

void fake_commit(struct fake_run *r, const char *event, const char *fmt, ...)
{
	char data[16384];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(data, sizeof(data), fmt, ap);
	va_end(ap);
	if (r->n == r->size) {
		r->size = r->size ? r->size * 2 : 64;
		r->records = realloc(r->records, r->size * sizeof(*r->records));
	}
	r->records[r->n] = (struct sl_record){.seq = r->n + 1, .wall_ms = 1700000000000, .event = event};
	r->records[r->n].data = sl_bytes_new(data, strlen(data));
	r->n++;
}

void fake_publish(struct fake *f, struct fake_run *r, bool lose)
{
	fake_publish_some(f, r, SIZE_MAX, lose);
}

void fake_publish_some(struct fake *f, struct fake_run *r, size_t most, bool lose)
{
	if (r->published == r->n || most == 0)
		return;
	struct sl_notice *n = calloc(1, sizeof(*n));
	size_t from = r->published, to = r->n - from > most ? from + most : r->n;
	atomic_init(&n->refs, 1);
	n->run = r->id;
	n->status = "running";
	n->n_records = to - from;
	n->records = calloc(n->n_records, sizeof(*n->records));
	n->streams = calloc(FAKE_PATHS, sizeof(struct sl_stream *));
	for (size_t i = 0; i < n->n_records; i++) {
		n->records[i] = r->records[from + i];
		sl_bytes_ref(n->records[i].data);
	}
	for (unsigned p = 0; p < FAKE_PATHS; p++)
		if (r->streams[p] && r->announced_at[p] > from && r->announced_at[p] <= to)
			n->streams[n->n_streams++] = sl_stream_ref(r->streams[p]);
	r->published = to;
	if (!lose && (r->watched || f->all))
		sl_hub_publish(f->hub, n);
	sl_notice_unref(n);
}

static void new_stream(struct fake_run *r, unsigned path)
{
	sl_stream_unref(r->streams[path]);
	r->streams[path] = sl_stream_new(r->id, sl_str(fake_path(path)), r->attempt[path]);
	r->open[path] = true;
}

static const char *quoted(unsigned path)
{
	static char text[128];
	SL_BUF(b, 128);
	sl_buf_json_str(&b, sl_str(fake_path(path)));
	snprintf(text, sizeof(text), "%.*s", (int)b.len, b.data);
	return text;
}

void fake_begin(struct fake_run *r, unsigned path)
{
	if (r->attempt[path]++)
		fake_commit(r, "stream_reset", "{\"node_id\":%s,\"attempt\":%u,\"reason\":\"retry\"}", quoted(path),
			    r->attempt[path]);
	new_stream(r, path);
	fake_commit(r, "node_state_change", "{\"node_id\":%s,\"status\":\"running\",\"attempt\":%u}", quoted(path),
		    r->attempt[path]);
	r->announced_at[path] = r->n;
}
void fake_text(struct fake_run *r, unsigned path, const char *text, size_t len, bool thinking)
{
	if (r->open[path])
		SL_IGNORE(sl_stream_append(r->streams[path], thinking ? SL_STREAM_THINKING : SL_STREAM_TEXT,
					   sl_str_n(text, len)));
}

void fake_end(struct fake_run *r, unsigned path, const char *status)
{
	if (!r->open[path])
		return;
	sl_stream_end(r->streams[path]);
	r->open[path] = false;
	fake_commit(r, "node_state_change", "{\"node_id\":%s,\"status\":\"%s\",\"attempt\":%u}", quoted(path), status,
		    r->attempt[path]);
}

void fake_retry(struct fake_run *r, unsigned path)
{
	if (!r->open[path])
		return;
	sl_stream_end(r->streams[path]);
	fake_commit(r, "node_state_change", "{\"node_id\":%s,\"status\":\"retrying\",\"attempt\":%u}", quoted(path),
		    r->attempt[path]);
	fake_begin(r, path);
}

/* ---- the source port ---- */

static void call_view(struct fake_call *c)
{
	struct fake_run *r = c->run;
	if (r->missing) {
		c->view(c->arg, SL_NOT_FOUND, NULL);
		return;
	}
	struct sl_view *v = calloc(1, sizeof(*v));
	char json[256];
	snprintf(json, sizeof(json), "{\"id\":\"%s\",\"status\":\"running\",\"last_seq\":%zu,\"nodes\":[]}", fake_id(r),
		 r->n);
	v->run = r->id;
	v->last_seq = r->n;
	v->status = "running";
	v->live = r->live;
	v->json = sl_bytes_new(json, strlen(json));
	v->streams = calloc(FAKE_PATHS, sizeof(*v->streams));
	for (unsigned p = 0; p < FAKE_PATHS; p++)
		if (r->streams[p])
			v->streams[v->n_streams++] =
				(struct sl_view_stream){sl_stream_path(r->streams[p]), sl_stream_ref(r->streams[p])};
	c->view(c->arg, SL_OK, v);
}

static void call_page(struct fake_call *c)
{
	size_t from = c->after < c->run->n ? (size_t)c->after : c->run->n, n = c->run->n - from;
	c->page(c->arg, SL_OK, c->run->records + from, n < c->limit ? n : c->limit);
}

void fake_call_back(struct fake *f, size_t i)
{
	struct fake_call c = f->calls[i];
	memmove(f->calls + i, f->calls + i + 1, (f->n_calls - i - 1) * sizeof(c));
	f->n_calls--;
	if (c.view)
		call_view(&c);
	else
		call_page(&c);
}

static enum sl_code add_call(struct fake *f, struct fake_call c)
{
	if (!c.run)
		return SL_NOT_FOUND;
	assert_true(f->n_calls < SL_COUNT_OF(f->calls));
	f->calls[f->n_calls++] = c;
	if (!f->defer)
		fake_call_back(f, f->n_calls - 1);
	return SL_OK;
}

static enum sl_code port_view(void *ctx, struct sl_run_id run, enum sl_view_watch watch, sl_view_fn *fn, void *arg)
{
	struct fake *f = ctx;
	struct fake_run *r = fake_run_of(f, run);
	f->views++;
	if (r && watch == SL_VIEW_WATCH && !r->missing)
		r->watched++;
	return add_call(f, (struct fake_call){.run = r, .watch = watch, .view = fn, .arg = arg});
}

static void port_unwatch(void *ctx, struct sl_run_id run)
{
	struct fake_run *r = fake_run_of(ctx, run);
	assert_true(r->watched > 0);
	r->watched--;
}

static enum sl_code port_events_after(void *ctx, struct sl_run_id run, uint64_t after, size_t limit, sl_hub_page_fn *fn,
				      void *arg)
{
	struct fake *f = ctx;
	f->pages++;
	return add_call(f, (struct fake_call){
				   .run = fake_run_of(f, run), .page = fn, .arg = arg, .after = after, .limit = limit});
}

static void port_watch_all(void *ctx, bool on)
{
	((struct fake *)ctx)->all = on;
}

static void port_wake(void *ctx)
{
	((struct fake *)ctx)->wakes++;
}

static void port_wake_at(void *ctx, uint64_t at)
{
	((struct fake *)ctx)->wake_at = at;
}

/* Commands: `start_run` starts the run its "n" names, anything else is refused but "pause". */
static enum sl_code port_command(void *ctx, const struct sl_ws_identity *who, const char *cmd, struct json_object *args,
				 sl_ws_reply_fn *reply, void *arg, struct sl_error *err)
{
	struct fake *f = ctx;
	if (strcmp(cmd, "start_run") == 0) {
		struct fake_run *r = &f->runs[sl_json_get_i64(args, "n", 0)];
		reply(arg, SL_OK, SL_STR("{\"status\":\"queued\"}"), &r->id, NULL);
		return SL_OK;
	}
	if (strcmp(cmd, "pause") == 0) {
		struct sl_error e = {.code = SL_CONFLICT};
		snprintf(e.text, sizeof(e.text), "%s may not", who->name);
		reply(arg, SL_CONFLICT, sl_str(NULL), NULL, &e);
		return SL_OK;
	}
	return sl_fail(err, SL_FORBIDDEN, "a viewer cannot %s", cmd);
}

void fake_init(struct fake *f, size_t n_runs, uint32_t flush_ms)
{
	*f = (struct fake){.now = 1000, .wake_at = UINT64_MAX, .n_runs = n_runs};
	f->clock = (struct sl_clock){mono, wall, f};
	f->runs = calloc(n_runs, sizeof(*f->runs));
	for (size_t i = 0; i < n_runs; i++) {
		f->runs[i].id.u = sl_uuid_new();
		f->runs[i].live = true;
	}
	struct sl_hub_config config = {
		.clock = &f->clock,
		.source = {port_view, port_unwatch, port_events_after, port_watch_all, f},
		.commands = {.command = port_command, .ctx = f},
		.flush_ms = flush_ms,
		.wake = port_wake,
		.wake_at = port_wake_at,
		.loop_ctx = f,
	};
	assert_int_equal(sl_hub_new(&config, &f->hub), SL_OK);
}

void fake_settle(struct fake *f)
{
	for (int i = 0; i < 40; i++) {
		while (f->n_calls)
			fake_call_back(f, 0);
		sl_hub_turn(f->hub);
		f->now += 100;
		for (size_t k = 0; k < f->n_clients; k++)
			sl_hub_heard(f->clients[k]->conn);
		for (size_t k = 0; k < f->n_clients; k++)
			if (f->clients[k]->want && !f->clients[k]->slow)
				client_writable(f->clients[k]);
	}
}

void fake_fini(struct fake *f)
{
	bool defer = f->defer;
	f->defer = false;
	if (defer)
		while (f->n_calls)
			fake_call_back(f, 0);
	sl_hub_turn(f->hub);
	sl_hub_free(f->hub);
	for (size_t i = 0; i < f->n_runs; i++) {
		struct fake_run *r = &f->runs[i];
		assert_int_equal(r->watched, 0); /* every watch was taken back */
		for (size_t k = 0; k < r->n; k++)
			sl_bytes_unref(r->records[k].data);
		for (unsigned p = 0; p < FAKE_PATHS; p++)
			sl_stream_unref(r->streams[p]);
		free(r->records);
	}
	free(f->runs);
}

/* ---- the client ---- */

static bool sink_ready(struct sl_hub_sink *s)
{
	struct client *c = SL_CONTAINER_OF(s, struct client, sink);
	return !c->full;
}

static enum sl_sink_result sink_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	SL_TEST_SPARED;
	struct client *c = SL_CONTAINER_OF(s, struct client, sink);
	if (c->gone)
		return SL_SINK_GONE;
	sl_buf_add(&c->wire, bytes, len);
	c->writes++;
	c->bytes += len;
	if (len > c->most_wire)
		c->most_wire = len;
	c->full = c->slow;
	return c->slow ? SL_SINK_FULL : SL_SINK_MORE;
}

static void sink_want_writable(struct sl_hub_sink *s)
{
	SL_CONTAINER_OF(s, struct client, sink)->want = true;
}

static void sink_close(struct sl_hub_sink *s, int code, const char *reason)
{
	SL_CONTAINER_OF(s, struct client, sink)->closed = code;
}

static long sink_unsent(struct sl_hub_sink *s)
{
	return -1;
}

static const struct sl_hub_sink_ops ops = {sink_ready, sink_write, sink_want_writable, sink_close, sink_unsent};

void client_open(struct client *c, struct fake *f)
{
	struct sl_ws_identity who = {.name = "tester"};
	c->sink.ops = &ops;
	c->fake = f;
	c->full = c->gone = c->want = c->in_message = false;
	c->closed = 0;
	if (!c->wire.max_bytes) {
		sl_buf_init(&c->wire, SIZE_MAX);
		sl_buf_init(&c->message, SIZE_MAX);
		for (size_t i = 0; i < SL_COUNT_OF(c->runs); i++)
			for (unsigned p = 0; p < FAKE_PATHS; p++)
				sl_buf_init(&c->runs[i].path[p].text, SIZE_MAX);
	}
	assert_true(f->n_clients < SL_COUNT_OF(f->clients));
	f->clients[f->n_clients++] = c;
	sl_buf_reset(&c->wire);
	c->conn = sl_hub_conn_open(f->hub, &c->sink, SL_HUB_WEBSOCKET, &who);
	assert_non_null(c->conn);
}

void client_close(struct client *c)
{
	struct fake *f = c->fake;
	for (size_t i = 0; i < f->n_clients; i++)
		if (f->clients[i] == c)
			f->clients[i] = f->clients[--f->n_clients];
	sl_hub_conn_close(c->conn);
	c->conn = NULL;
	for (size_t i = 0; i < SL_COUNT_OF(c->runs); i++)
		c->runs[i].on = false;
	sl_buf_reset(&c->wire);
	c->in_message = false;
}

void client_fini(struct client *c)
{
	if (c->conn)
		client_close(c);
	sl_buf_fini(&c->wire);
	sl_buf_fini(&c->message);
	for (size_t i = 0; i < SL_COUNT_OF(c->runs); i++)
		for (unsigned p = 0; p < FAKE_PATHS; p++)
			sl_buf_fini(&c->runs[i].path[p].text);
}

void client_say(struct client *c, const char *fmt, ...)
{
	char text[8192];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (getenv("SL_TRACE"))
		fprintf(stderr, "%p > %s\n", (void *)c, text);
	sl_hub_message(c->conn, sl_str(text));
}

struct watching *client_run(struct client *c, size_t run)
{
	struct watching *w = &c->runs[run];
	w->run = &c->fake->runs[run];
	return w;
}

void client_subscribe(struct client *c, size_t run)
{
	struct watching *w = client_run(c, run);
	SL_BUF(b, 4096);
	w->on = true;
	sl_buf_adds(&b, "{\"cmd\":\"subscribe\"");
	sl_buf_json_kz(&b, "run_id", fake_id(w->run));
	if (w->began) {
		sl_buf_json_ku64(&b, "after_seq", w->last_seq);
		sl_buf_adds(&b, ",\"streams\":{");
		for (unsigned p = 0; p < FAKE_PATHS; p++) {
			if (!w->path[p].attempt)
				continue;
			sl_buf_json_comma(&b);
			sl_buf_json_str(&b, sl_str(fake_path(p)));
			if (p & 1) /* both ways to say it */
				sl_buf_addf(&b, ":%zu", w->path[p].text.len);
			else
				sl_buf_addf(&b, ":{\"attempt\":%u,\"offset\":%zu}", w->path[p].attempt,
					    w->path[p].text.len);
		}
		sl_buf_addc(&b, '}');
	}
	sl_buf_addc(&b, '}');
	if (getenv("SL_TRACE"))
		fprintf(stderr, "%p > %.*s\n", (void *)c, (int)b.len, b.data);
	sl_hub_message(c->conn, sl_buf_str(&b));
}

static int path_of(struct json_object *data)
{
	struct sl_str node = sl_json_get_str(data, "node_id");
	for (unsigned p = 0; p < FAKE_PATHS; p++)
		if (sl_str_is(node, fake_path(p)))
			return (int)p;
	return -1;
}

static void on_token(struct watching *w, struct json_object *data)
{
	int p = path_of(data);
	uint32_t attempt = (uint32_t)sl_json_get_i64(data, "attempt", -1);
	struct sl_str chunk = sl_json_get_str(data, "chunk");
	assert_true(p >= 0);
	struct sl_buf *text = &w->path[p].text;
	if (attempt != w->path[p].attempt) { /* only after a reset, or as the first */
		assert_true(text->len == 0);
		w->path[p].attempt = attempt;
	}
	assert_int_equal(attempt, w->path[p].told); /* never before its beginning was told */
	assert_int_equal(sl_json_get_i64(data, "offset", -1), text->len);
	assert_int_equal(sl_json_get_i64(data, "end", -1), text->len + chunk.len);
	assert_true(chunk.len > 0);
	sl_buf_add(text, chunk.p, chunk.len);
}

static bool same_text(struct watching *w, unsigned p)
{
	struct sl_stream *s = w->run->streams[p];
	size_t at = 0;
	enum sl_stream_kind kind;
	if (sl_stream_length(s) != w->path[p].text.len)
		return false;
	for (;;) {
		struct sl_str piece = sl_stream_read(s, at, &kind);
		if (!piece.len)
			return true;
		if (memcmp(piece.p, w->path[p].text.data + at, piece.len) != 0)
			return false;
		at += piece.len;
	}
}

static void on_durable(struct watching *w, const char *event, uint64_t seq, struct json_object *data)
{
	assert_int_equal(seq, w->last_seq + 1); /* in order, each once, none missing */
	w->last_seq = seq;
	int p = path_of(data);
	uint32_t attempt = (uint32_t)sl_json_get_i64(data, "attempt", 0);
	if (p < 0)
		return;
	if (strcmp(event, "stream_reset") == 0) {
		sl_buf_reset(&w->path[p].text);
		w->path[p].attempt = w->path[p].told = attempt;
		return;
	}
	const char *status = sl_json_get_z(data, "status");
	if (status && strcmp(status, "running") == 0)
		w->path[p].told = attempt;
	if (status && strcmp(status, "completed") == 0 && attempt == w->run->attempt[p])
		assert_true(same_text(w, (unsigned)p)); /* all its text came before */
}

static void on_snapshot(struct watching *w, struct json_object *data)
{
	w->began = true;
	w->last_seq = (uint64_t)sl_json_get_i64(data, "last_seq", 0);
	struct json_object *streams = sl_json_get(data, "streams");
	assert_non_null(streams);
	for (unsigned p = 0; p < FAKE_PATHS; p++) {
		struct json_object *s = sl_json_get(streams, fake_path(p));
		sl_buf_reset(&w->path[p].text);
		w->path[p].attempt = 0;
		w->path[p].told = s ? (uint32_t)sl_json_get_i64(s, "attempt", 0) : 0;
	}
}

static void on_event(struct client *c, struct json_object *e)
{
	if (getenv("SL_TRACE"))
		fprintf(stderr, "%p %s\n", (void *)c, json_object_to_json_string(e));
	const char *event = sl_json_get_z(e, "event");
	struct json_object *data = sl_json_get(e, "data");
	struct sl_run_id id;
	struct watching *w = NULL;
	size_t i = 0;

	assert_non_null(event);
	assert_string_not_equal(event, "event"); /* what the hub calls one whose name it has no place for */
	assert_non_null(data);
	assert_non_null(sl_json_get_z(e, "ts"));
	c->events++;
	if (strcmp(event, "ack") == 0) {
		c->acks++;
		return;
	}
	if (strcmp(event, "pong") == 0) {
		c->pongs++;
		return;
	}
	if (strcmp(event, "error") == 0) {
		c->errors++;
		snprintf(c->error_code, sizeof(c->error_code), "%s", sl_json_get_z(data, "code"));
		assert_non_null(sl_json_get_z(data, "message"));
		return;
	}
	assert_true(sl_uuid_parse(sl_json_get_str(e, "run_id"), &id.u));
	for (i = 0; i < c->fake->n_runs; i++)
		if (sl_run_id_eq(c->fake->runs[i].id, id))
			break;
	assert_true(i < c->fake->n_runs);
	w = client_run(c, i);
	uint64_t seq = (uint64_t)sl_json_get_i64(e, "seq", 0);
	if (!w->on && c->all) {
		c->n_all++;
		assert_true(seq > c->all_seq[i]);
		c->all_seq[i] = seq;
		return;
	}
	assert_true(w->on);
	if (strcmp(event, "snapshot") == 0) {
		c->snapshots++;
		on_snapshot(w, data);
	} else if (strcmp(event, "token_stream") == 0) {
		assert_true(w->began);
		c->tokens++;
		on_token(w, data);
	} else if (seq) {
		assert_true(w->began);
		on_durable(w, event, seq, data);
	} else {
		assert_string_equal(event, "stream_reset");
		c->resets_without_seq++;
		int p = path_of(data);
		sl_buf_reset(&w->path[p].text);
		w->path[p].attempt = w->path[p].told = (uint32_t)sl_json_get_i64(data, "attempt", 0);
	}
}

static void on_message(struct client *c, struct sl_str text)
{
	SL_AUTO_JSON o = NULL;
	struct sl_error err;
	assert_true(sl_utf8_valid(text.p, text.len));
	if (sl_json_parse(text, &o, &err) != SL_OK)
		fail_msg("%s in: %.*s", err.text, (int)(text.len > 2000 ? 2000 : text.len), text.p);
	if (!json_object_is_type(o, json_type_array)) {
		on_event(c, o);
		return;
	}
	assert_true(json_object_array_length(o) > 1);
	for (size_t i = 0; i < json_object_array_length(o); i++)
		on_event(c, json_object_array_get_idx(o, i));
}

void client_read(struct client *c)
{
	size_t header, payload, at = 0;
	while (at < c->wire.len) {
		const uint8_t *p = (const uint8_t *)c->wire.data + at;
		/* every write ends at a frame boundary, so what came is whole frames */
		assert_true(sl_ws_frame_measure(c->wire.data + at, c->wire.len - at, &header, &payload));
		bool fin = p[0] & 0x80;
		int opcode = p[0] & 15;
		at += header + payload;
		c->frames++;
		if (opcode == SL_WS_PING_FRAME) {
			c->pings++;
			continue;
		}
		assert_int_equal(opcode,
				 c->in_message ? SL_WS_CONT : SL_WS_TEXT); /* nothing between the fragments of one */
		sl_buf_add(&c->message, p + header, payload);
		c->in_message = !fin;
		if (fin) {
			on_message(c, sl_buf_str(&c->message));
			sl_buf_reset(&c->message);
		}
	}
	sl_buf_reset(&c->wire);
}

void client_writable(struct client *c)
{
	c->full = c->want = false;
	sl_hub_writable(c->conn);
}

void client_check_whole(struct client *c, size_t run)
{
	struct watching *w = client_run(c, run);
	assert_int_equal(w->last_seq, w->run->n);
	for (unsigned p = 0; p < FAKE_PATHS; p++) {
		if (!w->run->streams[p])
			continue;
		if (sl_stream_length(w->run->streams[p]) || w->path[p].text.len) {
			assert_true(same_text(w, p));
			assert_int_equal(w->path[p].attempt, sl_stream_attempt(w->run->streams[p]));
		}
	}
}
