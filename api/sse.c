/* api/sse.c: a run as server-sent events: a sink of the hub whose bytes go into a response body.
 *
 * The answer's head waits for the first bytes, so that a run that does not exist can still be a 404. Whatever ends the
 * stream, its hub connection is given back in a later turn: the hub must not be called from inside its own call.
 */
#include "api/api_priv.h"
#include "base/list.h"
#include "ws/conn.h"

#define KEEP_ALIVE_MS 15000

struct sse {
	struct sl_hub_sink sink;
	struct sl_list link;
	struct sl_api *api;
	struct sl_request *r;
	struct sl_hub_conn *conn;
	struct sl_post post;
	bool posted, over, wants, began;
	bool between; /* the last byte sent ended an event */
	uint64_t sent_ms;
};

static struct sse *of(struct sl_hub_sink *s)
{
	return SL_CONTAINER_OF(s, struct sse, sink);
}

static void later(struct sse *e)
{
	if (!e->posted) {
		e->posted = true;
		sl_loop_post(e->api->loop, &e->post);
	}
}

static void finish(struct sse *e)
{
	sl_hub_conn_close(e->conn);
	sl_list_drop(&e->link);
	sl_request_unref(e->r);
	free(e);
}

static void on_turn(struct sl_post *p)
{
	struct sse *e = SL_CONTAINER_OF(p, struct sse, post);
	e->posted = false;
	if (e->over) {
		finish(e);
	} else if (e->wants) {
		e->wants = false;
		sl_hub_writable(e->conn);
	}
}

static void on_gone(struct sl_request *r, void *ctx)
{
	struct sse *e = ctx;
	e->over = true;
	later(e);
}

static void on_writable(struct sl_request *r, void *ctx)
{
	struct sse *e = ctx;
	if (!e->over)
		sl_hub_writable(e->conn);
}

static void begin(struct sse *e)
{
	e->began = true;
	sl_answer_header(e->r, "X-Accel-Buffering", SL_STR("no")); /* proxies must not gather it */
	sl_answer_stream(e->r, 200, "text/event-stream");
}

static bool sink_ready(struct sl_hub_sink *s)
{
	const struct sse *e = of(s);
	return !e->over && sl_answer_unsent(e->r) == 0; /* otherwise on_writable comes by itself */
}

static enum sl_sink_result sink_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	struct sse *e = of(s);
	if (e->over)
		return SL_SINK_GONE;
	if (!e->began)
		begin(e);
	enum sl_write w = sl_answer_write(e->r, bytes, len);
	if (w == SL_WRITE_GONE || w == SL_WRITE_BUSY) /* busy: only without memory, for sink_ready() was asked */
		return SL_SINK_GONE;
	e->between = len >= 2 && bytes[len - 1] == '\n' && bytes[len - 2] == '\n';
	e->sent_ms = sl_clock_mono(e->api->clock);
	return w == SL_WRITE_FULL ? SL_SINK_FULL : SL_SINK_MORE;
}

static void sink_want(struct sl_hub_sink *s)
{
	struct sse *e = of(s);
	if (!e->over && sl_answer_unsent(e->r) == 0) { /* otherwise on_writable comes by itself */
		e->wants = true;
		later(e);
	}
}

static void sink_close(struct sl_hub_sink *s, int code, const char *reason)
{
	struct sse *e = of(s);
	if (e->over)
		return;
	e->over = true;
	if (e->began && code == SL_WS_CLOSE_STALLED)
		sl_answer_abort(e->r);
	else if (e->began)
		sl_answer_end(e->r);
	else if (code == SL_WS_CLOSE_NO_RUN)
		sl_answer_problem(e->r, SL_NOT_FOUND, "there is no such run");
	else
		sl_answer_problem(e->r, SL_UNAVAILABLE, "the stream ended: %s", reason ? reason : "");
	later(e);
}

static long sink_unsent(struct sl_hub_sink *s)
{
	return (long)sl_answer_unsent(of(s)->r);
}

static const struct sl_hub_sink_ops ops = {sink_ready, sink_write, sink_want, sink_close, sink_unsent};

void sl_sse_start(struct sl_api *a, struct sl_request *r, struct sl_run_id run, bool resume, uint64_t after_seq,
		  bool tokens)
{
	struct sl_ws_identity who = {.role = (int)r->role, .token = r->token};
	snprintf(who.name, sizeof(who.name), "%s", r->by);
	if (r->head.method == SL_HEAD) {
		sl_answer_bytes(r, 200, "text/event-stream", SL_STR(""), SL_BYTES_STABLE);
		return;
	}
	struct sse *e = calloc(1, sizeof(*e));
	if (!e) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		return;
	}
	e->sink.ops = &ops;
	e->api = a;
	e->post.run = on_turn;
	e->sent_ms = sl_clock_mono(a->clock);
	e->r = sl_request_ref(r);
	sl_list_append(&a->streams, &e->link);
	r->on_gone = on_gone;
	r->on_writable = on_writable;
	r->on_ctx = e;
	e->conn = sl_hub_conn_open(sl_ws_hub(a->parts.ws), &e->sink, SL_HUB_SSE, &who);
	const struct sl_hub_want want = {.run = run, .after_seq = after_seq, .resume = resume, .tokens = tokens};
	enum sl_code rc = e->conn ? sl_hub_subscribe(e->conn, &want) : SL_BUSY;
	if (rc == SL_OK || e->over)
		return;
	e->over = true;
	r->on_gone = NULL;
	sl_answer_problem(r, rc, "the stream cannot be opened now");
	later(e);
}

void sl_sse_tick(struct sl_api *a)
{
	uint64_t now = sl_clock_mono(a->clock);
	sl_list_each (it, &a->streams) {
		struct sse *e = sl_list_entry(it, struct sse, link);
		if (e->over || !e->began || !e->between || now - e->sent_ms < KEEP_ALIVE_MS)
			continue;
		SL_IGNORE(sl_answer_write(e->r, ": still here\n\n",
					  14)); /* when it does not fit, there is traffic anyway */
		sl_hub_heard(e->conn);
		e->sent_ms = now;
	}
}
