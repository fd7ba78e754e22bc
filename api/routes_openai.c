/* api/routes_openai.c: the endpoints that OpenAI's clients know. Each answer is a run; the client's connection watches
 * it through the hub, as any watcher does, and when the client goes the run is cancelled.
 *
 * The way of a request: body read on the pool → (for a workflow: its definition from the store, inputs on the pool) →
 * submitted → committed → a sink of the hub whose events become pieces of the answer [front].
 */
#include "api/conversation.h"
#include "api/reply.h"
#include "api/runs.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "store/workflows.h"
#include "ws/conn.h"

#define IN_BYTES (16u << 20) /* of an event of the hub that is not whole yet; a larger one ends the answer */

struct talk {
	struct sl_hub_sink sink;
	struct sl_list link; /* of api->talks */
	struct sl_api *api;
	struct sl_reply reply;
	struct sl_conversation asked;
	struct sl_answer_place place;
	struct sl_hub_conn *conn;
	struct sl_run_id run;
	struct sl_post post;
	bool posted, wants, over; /* over: nothing more comes of it; goes in a turn of its own */
	char by[64];
	struct sl_buf in;
	uint64_t attempt;
	struct sl_reply_usage usage;
};

static void talk_free(void *arg)
{
	struct talk *k = arg;
	sl_conversation_fini(&k->asked);
	sl_reply_fini(&k->reply);
	sl_buf_fini(&k->in);
	free(k);
}

static struct talk *of(struct sl_hub_sink *s)
{
	return SL_CONTAINER_OF(s, struct talk, sink);
}

static uint64_t now_of(const struct talk *k)
{
	return sl_clock_mono(k->api->clock);
}

static void later(struct talk *k)
{
	if (!k->posted) {
		k->posted = true;
		sl_loop_post(k->api->loop, &k->post);
	}
}

static void on_turn(struct sl_post *p)
{
	struct talk *k = SL_CONTAINER_OF(p, struct talk, post);
	k->posted = false;
	if (k->over && (k->reply.over ? !k->reply.unsent.len || !k->reply.r->conn : true)) {
		k->reply.r->on_gone = NULL;
		k->reply.r->on_writable = NULL;
		sl_hub_conn_close(k->conn);
		sl_list_drop(&k->link);
		talk_free(k);
	} else if (k->wants && !k->over) {
		k->wants = false;
		sl_hub_writable(k->conn);
	}
}

static void on_cancelled(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	/* Whoever ended it first: it has ended. */
}

static void cancel_run(struct talk *k, const char *why)
{
	const struct sl_order order = {.kind = SL_CMD_CANCEL, .by = sl_str(k->by), .reason = sl_str(why)};
	if (sl_engine_command(k->api->parts.engine, k->run, &order, on_cancelled, NULL) != SL_OK)
		sl_log(SL_LOG_WARN, "api", "a run nobody waits for could not be cancelled", SL_KS("why", why));
}

static void finish(struct talk *k)
{
	k->over = true;
	later(k);
}

static void fail(struct talk *k, enum sl_code code, const char *message)
{
	sl_reply_fail(&k->reply, code, message);
	finish(k);
}

/* ---- events of the run ---- */

static void count_usage(struct talk *k, struct json_object *data)
{
	k->usage.input_tokens += (uint64_t)sl_json_get_i64(data, "input_tokens", 0);
	k->usage.output_tokens += (uint64_t)sl_json_get_i64(data, "output_tokens", 0);
	k->usage.cached_tokens += (uint64_t)sl_json_get_i64(data, "cached_tokens", 0);
	k->usage.reasoning_tokens += (uint64_t)sl_json_get_i64(data, "reasoning_tokens", 0);
}

static void completed(struct talk *k, struct json_object *outputs)
{
	SL_BUF(value, SL_LIMIT_STREAM_BYTES);
	SL_BUF(calls, SL_LIMIT_PAYLOAD_BYTES);
	struct sl_str finish_reason = SL_STR("");
	struct json_object *o = outputs;
	if (k->asked.target == SL_TARGET_PROFILE) {
		struct json_object *answer = sl_json_get(outputs, "answer");
		finish_reason = sl_json_get_str(answer, "finish_reason");
		if (sl_json_get(answer, "tool_calls"))
			sl_json_write(&calls, sl_json_get(answer, "tool_calls"));
		o = sl_json_get(answer, "text");
	} else if (k->place.output[0]) {
		o = sl_json_get(outputs, k->place.output);
	} else if (k->place.node[0]) { /* no outputs are named: those of the last node */
		o = sl_json_get(sl_json_get(outputs, k->place.node), "text");
	}
	struct sl_str s = sl_json_str(o);
	if (json_object_is_type(o, json_type_string))
		sl_buf_add(&value, s.p, s.len);
	else if (o)
		sl_json_write(&value, o);
	/* What the stream did not bring: all of it, when there was none. */
	struct sl_str sent = sl_buf_str(&k->reply.text), all = sl_buf_str(&value);
	if (sl_str_starts(all, sent))
		sl_reply_piece(&k->reply, SL_REPLY_TEXT, sl_str_n(all.p + sent.len, all.len - sent.len), now_of(k));
	struct sl_api_counts *counts = &k->api->counts;
	sl_stats_spread_add(&counts->openai, &sl_bounds_time, (double)(now_of(k) - k->reply.asked_ms) / 1000);
	if (k->reply.first_ms)
		sl_stats_spread_add(&counts->openai_first, &sl_bounds_first_token,
				    (double)(k->reply.first_ms - k->reply.asked_ms) / 1000);
	sl_reply_done(&k->reply, finish_reason, sl_buf_str(&calls), &k->usage);
	finish(k);
}

static void failed(struct talk *k, struct json_object *data)
{
	struct json_object *error = sl_json_get(data, "error");
	const char *message = sl_json_get_z(error, "message");
	struct sl_str wire = sl_json_get_str(error, "code");
	enum sl_code code = SL_INTERNAL;
	if (!sl_code_from_wire(wire.p, wire.len, &code) || code == SL_OK)
		code = SL_INTERNAL;
	fail(k, code, message ? message : "the run failed");
}

static void on_event(struct talk *k, struct json_object *event)
{
	const char *name = sl_json_get_z(event, "event");
	struct json_object *data = sl_json_get(event, "data");
	struct sl_str node = sl_json_get_str(data, "node_id");
	bool ours = k->place.node[0] && sl_str_is(node, k->place.node);
	if (!name || k->reply.over)
		return;
	if (strcmp(name, "token_stream") == 0 && ours) {
		sl_reply_piece(&k->reply,
			       sl_json_get_bool(data, "is_thinking", false) ? SL_REPLY_THINKING : SL_REPLY_TEXT,
			       sl_json_get_str(data, "chunk"), now_of(k));
	} else if (strcmp(name, "stream_reset") == 0 && ours) {
		if (!sl_reply_reset(&k->reply)) {
			fail(k, SL_TRUNCATED, "the model began anew after its first words were sent; ask again");
			cancel_run(k, "its first words were sent already");
		}
	} else if (strcmp(name, "token_usage") == 0) {
		count_usage(k, data);
	} else if (strcmp(name, "execution:completed") == 0) {
		completed(k, sl_json_get(data, "outputs"));
	} else if (strcmp(name, "execution:failed") == 0) {
		failed(k, data);
	} else if (strcmp(name, "execution:cancelled") == 0) {
		fail(k, SL_CANCELLED, "the run was cancelled");
	} else if (strcmp(name, "circuit_breaker:tripped") == 0) {
		fail(k, SL_LIMIT, "the run breaker has stopped the run; an operator decides if it goes on");
	}
}

/* Events as the hub writes them for server-sent events: lines, one of which is "data: {…}", and an empty one. */
static void take_events(struct talk *k)
{
	for (;;) {
		char *at = k->in.len ? memmem(k->in.data, k->in.len, "\n\n", 2) : NULL;
		if (!at)
			return;
		struct sl_str rest = sl_str_n(k->in.data, (size_t)(at - k->in.data) + 1), line;
		while (sl_str_cut(rest, '\n', &line, &rest)) {
			SL_AUTO_JSON event = NULL;
			if (sl_str_starts(line, SL_STR("data: ")) &&
			    sl_json_parse(sl_str_n(line.p + 6, line.len - 6), &event, NULL) == SL_OK)
				on_event(k, event);
		}
		sl_buf_drop_front(&k->in, (size_t)(at - k->in.data) + 2);
	}
}

/* ---- the sink ---- */

static bool sink_ready(struct sl_hub_sink *s)
{
	return !of(s)->over && !sl_reply_full(&of(s)->reply);
}

static enum sl_sink_result sink_write(struct sl_hub_sink *s, const char *bytes, size_t len)
{
	struct talk *k = of(s);
	if (k->over)
		return SL_SINK_GONE;
	sl_buf_add(&k->in, bytes, len);
	if (k->in.failed) {
		fail(k, SL_TOO_LARGE, "an event of the run is too large");
		return SL_SINK_GONE;
	}
	take_events(k);
	return k->over ? SL_SINK_GONE : sl_reply_full(&k->reply) ? SL_SINK_FULL : SL_SINK_MORE;
}

static void sink_want(struct sl_hub_sink *s)
{
	struct talk *k = of(s);
	if (!k->over && !sl_reply_full(&k->reply)) { /* otherwise on_writable comes by itself */
		k->wants = true;
		later(k);
	}
}

static void sink_close(struct sl_hub_sink *s, int code, const char *reason)
{
	struct talk *k = of(s);
	if (k->over)
		return;
	if (code == SL_WS_CLOSE_STALLED) {
		cancel_run(k, "the client took nothing");
		sl_answer_abort(k->reply.r);
		k->reply.over = true;
		finish(k);
	} else {
		fail(k, SL_UNAVAILABLE, reason ? reason : "the stream ended");
	}
}

static long sink_unsent(struct sl_hub_sink *s)
{
	return (long)(sl_answer_unsent(of(s)->reply.r) + of(s)->reply.unsent.len);
}

static const struct sl_hub_sink_ops ops = {sink_ready, sink_write, sink_want, sink_close, sink_unsent};

static void on_gone(struct sl_request *r, void *ctx)
{
	struct talk *k = ctx;
	if (!k->over && !k->reply.over)
		cancel_run(k, "the client went away");
	k->reply.over = true;
	sl_buf_reset(&k->reply.unsent);
	finish(k);
}

static void on_writable(struct sl_request *r, void *ctx)
{
	struct talk *k = ctx;
	sl_reply_writable(&k->reply);
	if (k->over)
		later(k);
	else if (!sl_reply_full(&k->reply))
		sl_hub_writable(k->conn);
}

void sl_talk_tick(struct sl_api *a)
{
	uint64_t now = sl_clock_mono(a->clock);
	sl_list_each (it, &a->talks) {
		struct talk *k = sl_list_entry(it, struct talk, link);
		if (k->over)
			continue;
		if (!k->reply.began && k->reply.r->answered) { /* it took longer than an answer may */
			cancel_run(k, "nobody waits for the answer any more");
			k->reply.over = true;
			finish(k);
			continue;
		}
		sl_reply_tick(&k->reply, now);
	}
}

/* ---- from the request to the run ---- */

/* [front] The run is committed: watch it. */
static void running(struct sl_task *t)
{
	struct talk *k = t->more;
	struct sl_request *r = t->r;
	k->reply.stream = k->asked.stream;
	k->reply.want_usage = k->asked.want_usage;
	memcpy(k->reply.model, k->asked.model, sizeof(k->reply.model));
	if (t->rc != SL_OK) {
		sl_reply_fail(&k->reply, t->rc, "the run could not be started");
		sl_task_free(t);
		return;
	}
	k->run = t->run;
	if (!r->conn || r->answered) {
		cancel_run(k, "the client went away");
		sl_task_free(t);
		return;
	}
	char id[SL_UUID_TEXT_BYTES];
	sl_uuid_format(k->run.u, id);
	sl_answer_header(r, "X-Sluice-Run-Id", sl_str(id));
	t->more = NULL;
	t->more_free = NULL;
	struct sl_ws_identity who = {.role = (int)r->role, .token = r->token};
	(void)snprintf(who.name, sizeof(who.name), "%s", r->by);
	sl_list_append(&k->api->talks, &k->link);
	r->on_gone = on_gone;
	r->on_writable = on_writable;
	r->on_ctx = k;
	k->conn = sl_hub_conn_open(sl_ws_hub(k->api->parts.ws), &k->sink, SL_HUB_SSE, &who);
	const struct sl_hub_want want = {.run = k->run, .resume = true, .tokens = true};
	enum sl_code rc = k->conn ? sl_hub_subscribe(k->conn, &want) : SL_BUSY;
	if (rc != SL_OK && !k->over) {
		cancel_run(k, "it cannot be watched");
		fail(k, rc, "the run cannot be watched now");
	}
	sl_task_free(t);
}

/* [pool] w has definition and inputs. */
static void submit(struct sl_work *w)
{
	sl_work_submit(w, running);
}

static void submitted(struct sl_work *w)
{
	if (w->task && w->rc == SL_BUSY)
		sl_answer_problem_with(w->task->r, 429, SL_BUSY, sl_str(w->err.text), SL_STR(""),
				       w->err.retry_after_ms ? w->err.retry_after_ms : 1000, SL_STR(""));
	else if (w->task)
		sl_work_answer_problems(w);
	sl_work_free(w);
}

/* [pool] */
static void map_workflow(struct sl_work *w)
{
	struct talk *k = w->task->more;
	SL_AUTO_JSON definition = NULL;
	w->rc = sl_json_parse(sl_bytes_str(w->definition), &definition, &w->err);
	if (w->rc == SL_OK)
		w->rc = sl_conversation_workflow(&k->asked, definition, &w->inputs, &k->place, &w->err);
	if (w->rc == SL_OK)
		submit(w);
}

static void workflow_came(struct sl_task *t)
{
	struct talk *k = t->more;
	if (t->rc == SL_NOT_FOUND || (t->rc == SL_OK && t->workflow->archived)) {
		sl_answer_problem(t->r, SL_NOT_FOUND, "there is no model 'workflow:%s'", k->asked.name);
		sl_task_free(t);
		return;
	}
	struct sl_work *w = t->rc == SL_OK ? calloc(1, sizeof(*w)) : NULL;
	if (!w) {
		sl_answer_error(t->r, t->rc == SL_OK ? SL_NO_MEMORY : t->rc, NULL);
		sl_task_free(t);
		return;
	}
	w->task = t;
	w->by = sl_str_dup(sl_str(t->r->by));
	w->project = sl_str_dup(SL_STR("default"));
	w->version = t->workflow->version;
	w->definition = sl_bytes_ref(t->workflow->definition);
	(void)snprintf(w->name, sizeof(w->name), "%s", k->asked.name);
	sl_work_go(w, map_workflow, submitted);
}

/* [pool] */
static void read_body(struct sl_work *w)
{
	struct talk *k = w->task->more;
	SL_AUTO_JSON body = NULL;
	SL_BUF(errors, 4096);
	if (!sl_work_parse(w, &body))
		return;
	w->rc = k->reply.form == SL_REPLY_CHAT ? sl_conversation_read_chat(&k->asked, body, &errors, &w->err)
					       : sl_conversation_read_response(&k->asked, body, &errors, &w->err);
	if (w->rc == SL_OK && k->asked.target == SL_TARGET_PROFILE) {
		SL_AUTO(sl_profile) p = sl_profiles_get(sl_llm_profiles(k->api->parts.llm), sl_str(k->asked.name));
		if (!p)
			w->rc = sl_fail(&w->err, SL_NOT_FOUND, "there is no model '%s'", k->asked.model);
		else
			w->rc = sl_conversation_profile(&k->asked, &w->definition, &w->inputs);
	}
	if (w->rc == SL_INVALID && errors.len) {
		SL_AUTO_JSON list = NULL;
		SL_BUF(array, 8192);
		sl_buf_addf(&array, "[" SL_STR_FMT "]", SL_STR_ARG(sl_buf_str(&errors)));
		if (sl_json_parse(sl_buf_str(&array), &list, NULL) == SL_OK) {
			struct json_object *first = json_object_array_get_idx(list, 0);
			sl_work_problem(w, sl_json_get_z(first, "pointer"), sl_json_get_z(first, "message"));
		}
	}
	if (w->rc == SL_OK && k->asked.target == SL_TARGET_PROFILE) {
		(void)snprintf(k->place.node, sizeof(k->place.node), "answer");
		(void)snprintf(w->name, sizeof(w->name), "chat");
		w->has_definition = true;
		w->project = sl_str_dup(SL_STR("default"));
		submit(w);
	}
}

static void body_read(struct sl_work *w)
{
	struct sl_task *t = w->task;
	if (!t || w->rc != SL_OK) { /* submitted, or refused */
		submitted(w);
		return;
	}
	struct talk *k = t->more;
	w->task = NULL;
	sl_work_free(w);
	t->then = workflow_came;
	enum sl_code rc =
		sl_store_workflow_get(t->api->parts.store, sl_str(k->asked.name), 0, sl_task_workflow_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}

static void answer(struct sl_api *a, struct sl_request *r, enum sl_reply_form form)
{
	struct sl_error err = {0};
	enum sl_code rc = sl_api_takes_runs(a, &err);
	if (rc != SL_OK) {
		sl_answer_error(r, rc, &err);
		return;
	}
	struct sl_work *w = sl_work_new(a, r);
	if (!w)
		return;
	struct talk *k = calloc(1, sizeof(*k));
	if (!k) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		sl_work_free(w);
		return;
	}
	k->api = a;
	k->sink.ops = &ops;
	k->post.run = on_turn;
	sl_list_init(&k->link);
	sl_buf_init(&k->in, IN_BYTES);
	(void)snprintf(k->by, sizeof(k->by), "%s", r->by);
	sl_reply_init(&k->reply, r, form, sl_uuid_new(), sl_clock_wall(a->clock), sl_clock_mono(a->clock));
	w->task->more = k;
	w->task->more_free = talk_free;
	sl_work_go(w, read_body, body_read);
}

void sl_route_chat_completions(struct sl_api *a, struct sl_request *r)
{
	answer(a, r, SL_REPLY_CHAT);
}

void sl_route_responses(struct sl_api *a, struct sl_request *r)
{
	answer(a, r, SL_REPLY_RESPONSES);
}

/* ---- models ---- */

static void model_json(struct sl_buf *b, const char *kind, const char *name, const char *owner, int64_t created_s)
{
	SL_BUF(id, 256);
	sl_buf_addf(&id, "%s:%s", kind, name);
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_buf_json_kstr(b, "id", sl_buf_str(&id));
	sl_buf_json_kz(b, "object", "model");
	sl_buf_json_ki64(b, "created", created_s);
	sl_buf_json_kz(b, "owned_by", owner);
	sl_buf_addc(b, '}');
}

static void add_profiles(struct sl_api *a, struct sl_buf *out)
{
	SL_AUTO_JSON list = NULL;
	SL_BUF(text, 4 << 20);
	sl_profiles_list_json(sl_llm_profiles(a->parts.llm), &text);
	if (sl_json_parse(sl_buf_str(&text), &list, NULL) != SL_OK)
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *p = json_object_array_get_idx(list, i);
		if (sl_str_is(sl_json_get_str(p, "kind"), "chat"))
			model_json(out, "profile", sl_json_get_z(p, "name"), sl_json_get_z(p, "provider"),
				   a->started_ms / 1000);
	}
}

static void add_workflows(struct sl_buf *out, struct sl_str page)
{
	SL_AUTO_JSON list = NULL;
	if (sl_json_parse(page, &list, NULL) != SL_OK)
		return;
	struct json_object *items = sl_json_get(list, "items");
	for (size_t i = 0; items && i < json_object_array_length(items); i++) {
		struct json_object *w = json_object_array_get_idx(items, i);
		int64_t ms = 0;
		SL_IGNORE(sl_time_parse(sl_json_get_str(w, "updated_at"), &ms)); /* 0 when there is none */
		model_json(out, "workflow", sl_json_get_z(w, "name"), "sluice", ms / 1000);
	}
}

static void models_came(struct sl_task *t)
{
	SL_BUF(out, 4 << 20);
	if (t->rc != SL_OK) {
		sl_answer_error(t->r, t->rc, NULL);
		sl_task_free(t);
		return;
	}
	sl_buf_adds(&out, "{\"object\":\"list\",\"data\":[");
	add_profiles(t->api, &out);
	add_workflows(&out, sl_bytes_str(t->json));
	sl_buf_adds(&out, "]}");
	sl_answer_buf(t->r, 200, &out);
	sl_task_free(t);
}

void sl_route_models(struct sl_api *a, struct sl_request *r)
{
	struct sl_task *t = sl_task_new(a, r, models_came);
	if (!t)
		return;
	enum sl_code rc = sl_store_workflow_list(a->parts.store, SL_STR(""), 200, sl_task_json_from_store, t);
	if (rc != SL_OK)
		sl_task_refuse(t, rc);
}
