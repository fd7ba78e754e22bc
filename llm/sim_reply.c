/* llm/sim_reply.c: an OpenAI chat completion, token by token or whole, and the faults that come in the middle of it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/sim_priv.h"

#define SIM_BURST 64u /* tokens written in one go when there is no pace */

void sl_sim_reply_end(struct sim_conn *c, enum sim_outcome outcome)
{
	struct sim_reply *r = c->reply;
	if (!r)
		return;
	struct sim_entry *e = sl_sim_entry(c->sim, r->n);
	c->reply = NULL;
	if (!c->closing)
		uv_timer_stop(&c->timer);
	atomic_fetch_sub(&c->sim->streams_open, 1);
	if (outcome == SIM_FINISHED)
		atomic_fetch_add(&c->sim->streams_finished, 1);
	if (e) {
		e->outcome = outcome;
		e->ended_us = sl_clock_mono_us();
		e->tokens = r->sent;
	}
	sl_sim_settings_fini(&r->set);
	free(r->body);
	free(r->text);
	free(r->thinking);
	free(r->tools);
	free(r);
}

static void reply_done(struct sim_conn *c)
{
	sl_sim_reply_end(c, SIM_FINISHED);
	sl_sim_conn_next(c);
}

/* ---- events of a stream ---- */

static void event_open(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_addf(
		b,
		"data: {\"id\":\"chatcmpl-sim%06llu\",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":",
		(unsigned long long)r->n, (long long)r->created_s);
	sl_buf_json_str(b, sl_str(r->model));
	sl_buf_adds(b, ",\"system_fingerprint\":\"fp_sim\",\"choices\":[");
}

static void event_delta(struct sim_reply *r, struct sl_buf *b, const char *key, struct sl_str text, const char *finish)
{
	event_open(r, b);
	sl_buf_adds(b, "{\"index\":0,\"delta\":{");
	if (key) {
		sl_buf_addf(b, "\"%s\":", key);
		sl_buf_json_str(b, text);
	}
	sl_buf_adds(b, "},\"logprobs\":null,\"finish_reason\":");
	if (finish)
		sl_buf_json_str(b, sl_str(finish));
	else
		sl_buf_adds(b, "null");
	sl_buf_adds(b, "}]}\n\n");
}

static void write_usage(struct sim_reply *r, struct sl_buf *b)
{
	sl_buf_addf(b,
		    "\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u,\"prompt_tokens_"
		    "details\":"
		    "{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":%u}}",
		    r->prompt_tokens, r->sent, r->prompt_tokens + r->sent, r->thinking_tokens);
}

static void write_tools(struct sim_reply *r,
			struct sl_buf *b) /* as deltas: the name, then the arguments in two pieces */
{
	SL_AUTO_JSON list = json_tokener_parse(r->tools);
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *t = json_object_array_get_idx(list, i);
		SL_BUF(args, 1u << 20);
		sl_json_write(&args, sl_json_get(t, "arguments"));
		event_open(r, b);
		sl_buf_addf(b,
			    "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%zu,\"id\":\"call_sim%llu_%zu\","
			    "\"type\":\"function\",\"function\":{\"name\":",
			    i, (unsigned long long)r->n, i);
		sl_buf_json_str(b, sl_json_get_str(t, "name"));
		sl_buf_adds(b, ",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n");
		for (size_t at = 0, half = args.len / 2; at < args.len; at += half, half = args.len - at) {
			event_open(r, b);
			sl_buf_addf(
				b,
				"{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":",
				i);
			sl_buf_json_str(b, sl_str_n(args.data + at, half ? half : args.len));
			sl_buf_adds(b, "}}]},\"finish_reason\":null}]}\n\n");
			if (half == 0)
				break;
		}
	}
}

/* One HTTP chunk around what was put into the buffer since `from`. */
static size_t chunk_open(struct sl_buf *b)
{
	sl_buf_adds(b, "00000000\r\n");
	return b->len;
}
static void chunk_close(struct sl_buf *b, size_t from)
{
	char size[17];
	if (b->failed)
		return;
	if (b->len == from) {
		b->len -= 10;
		return;
	}
	(void)snprintf(size, sizeof(size), "%08zx", b->len - from);
	memcpy(b->data + from - 10, size, 8);
	sl_buf_adds(b, "\r\n");
}

static const char *finish_reason(const struct sim_reply *r)
{
	if (r->set.fault == 15 && strcmp(r->set.variant, "length") == 0)
		return "length";
	if (r->set.fault == 15 && strcmp(r->set.variant, "content_filter") == 0)
		return "content_filter";
	return r->tools ? "tool_calls" : "stop";
}

static struct sl_str error_object(const struct sim_reply *r)
{
	if (strcmp(r->set.variant, "string") == 0)
		return SL_STR("{\"error\":\"the simulator was told to fail here\"}");
	if (strcmp(r->set.variant, "overloaded") == 0)
		return SL_STR("{\"error\":{\"message\":\"Overloaded\",\"type\":\"overloaded_error\",\"param\":null,"
			      "\"code\":null}}");
	if (strcmp(r->set.variant, "limit") == 0)
		return SL_STR(
			"{\"error\":{\"message\":\"Rate limit reached, please try again in 2s.\",\"type\":\"tokens\","
			"\"param\":null,\"code\":\"rate_limit_exceeded\"}}");
	return SL_STR("{\"error\":{\"message\":\"The server had an error while processing your "
		      "request\",\"type\":\"server_error\","
		      "\"param\":null,\"code\":null}}");
}

/* The connection ends in the middle. A reset waits a moment: it would take back what the client has not read yet. */
static void drop(struct sim_conn *c)
{
	if (strcmp(c->reply->set.variant, "rst") == 0) {
		c->reply->part = SIM_PART_RESET;
		uv_timer_start(&c->timer, sl_sim_on_tick, 50, 0);
		return;
	}
	sl_sim_reply_end(c, SIM_DROPPED);
	sl_sim_conn_half_close(c);
}

/* The fault that comes in the middle. true: the stream is over, or silent. */
static bool stream_breaks(struct sim_conn *c, struct sl_buf *b, size_t chunk)
{
	struct sim_reply *r = c->reply;
	const char *v = r->set.variant;
	if (r->sent < r->set.after && r->part != SIM_PART_ENDING)
		return false;
	switch (r->set.fault) {
	case 12:
		chunk_close(b, chunk);
		sl_sim_conn_send(c, sl_buf_str(b));
		r->part = SIM_PART_SILENT;
		return true;
	case 13:
		sl_buf_adds(b, strcmp(v, "line") == 0 ? "error: " : "data: ");
		sl_buf_add(b, error_object(r).p, error_object(r).len);
		sl_buf_adds(b, "\n\n");
		chunk_close(b, chunk);
		sl_buf_adds(b, "0\r\n\r\n");
		sl_sim_conn_send(c, sl_buf_str(b));
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_next(c);
		return true;
	case 14:
		if (strcmp(v, "no_marker") == 0) {
			event_delta(r, b, NULL, sl_str(""), "stop");
			chunk_close(b, chunk);
			sl_buf_adds(b, "0\r\n\r\n");
			sl_sim_conn_send(c, sl_buf_str(b));
			sl_sim_reply_end(c, SIM_DROPPED);
			sl_sim_conn_next(c);
			return true;
		}
		chunk_close(b, chunk);
		sl_sim_conn_send(c, sl_buf_str(b));
		drop(c);
		return true;
	case 15:
		r->part = SIM_PART_ENDING;
		return false;
	case 16:
		if (strcmp(v, "nul") == 0)
			sl_buf_adds(b, "data: "
				       "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\u0000b\"},\"finish_"
				       "reason\":null}]}\n\n");
		else if (strcmp(v, "utf8") == 0)
			sl_buf_adds(b, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\xc0 "
				       "\"},\"finish_reason\":null}]}\n\n");
		else
			sl_buf_adds(b, "data: "
				       "{\"id\":\"chatcmpl-sim\",\"choices\":[{\"index\":0,\"delta\":{\"content\":"
				       "\"half a\n\n");
		r->set.fault = 0; /* and goes on as if nothing had happened */
		return false;
	default:
		return false;
	}
}

static void add_token(struct sim_conn *c, struct sl_buf *b)
{
	struct sim_reply *r = c->reply;
	bool thinking = r->part == SIM_PART_THINKING;
	struct sl_str all = thinking ? sl_str_n(r->thinking, r->thinking_len) : sl_str_n(r->text, r->text_len);
	char stamp[32];
	size_t n = sl_sim_token(sl_str_n(all.p + r->at, all.len - r->at));
	struct sl_str token = sl_str_n(all.p + r->at, n);
	if (r->set.stamps) {
		(void)snprintf(stamp, sizeof(stamp), "t%016llu ", (unsigned long long)sl_clock_mono_us());
		token = sl_str(stamp);
	}
	event_delta(r, b, thinking ? "reasoning_content" : "content", token, NULL);
	r->at += n;
	r->sent++;
	r->thinking_tokens += thinking;
	atomic_fetch_add_explicit(&c->sim->tokens, 1, memory_order_relaxed);
	if (r->at >= all.len) {
		r->at = 0;
		r->part = thinking ? SIM_PART_TEXT : SIM_PART_ENDING;
	}
}

static void stream_turn(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	struct sl_buf *b = &c->sim->out;
	uint64_t now = sl_clock_mono_us();
	uint32_t burst = 0;
	sl_buf_reset(b);
	size_t chunk = chunk_open(b);
	if (r->part == SIM_PART_FIRST) {
		event_delta(r, b, "role", SL_STR("assistant"), NULL);
		r->part = r->thinking_len ? SIM_PART_THINKING : r->text_len ? SIM_PART_TEXT : SIM_PART_ENDING;
		r->next_us = now;
	}
	while (r->next_us <= now && burst++ < SIM_BURST) {
		if (r->set.fault && stream_breaks(c, b, chunk))
			return;
		if (r->part == SIM_PART_ENDING)
			break;
		add_token(c, b);
		if (r->set.tps > 0) {
			double pause = 1e6 / r->set.tps;
			double swing = ((double)(sl_sim_random(&r->random) >> 11) / 9007199254740992.0 * 2 - 1) *
				       r->set.jitter;
			r->next_us += (uint64_t)(pause * (1 + swing));
		}
	}
	if (r->part != SIM_PART_ENDING) {
		chunk_close(b, chunk);
		sl_sim_conn_send(c, sl_buf_str(b));
		if (c->reply && !c->writing) /* else sl_sim_reply_resume() goes on */
			uv_timer_start(&c->timer, sl_sim_on_tick,
				       r->next_us > now ? (r->next_us - now + 999) / 1000 : 0, 0);
		return;
	}
	if (r->set.fault && stream_breaks(c, b, chunk)) /* the text was shorter than `after` */
		return;
	if (r->set.fault == 15 && strcmp(r->set.variant, "refusal") == 0)
		event_delta(r, b, "refusal", SL_STR("I cannot help with that."), NULL);
	if (r->tools)
		write_tools(r, b);
	event_delta(r, b, NULL, sl_str(""), finish_reason(r));
	if (r->tell_usage) {
		event_open(r, b);
		sl_buf_adds(b, "],");
		write_usage(r, b);
		sl_buf_adds(b, "}\n\n");
	}
	sl_buf_adds(b, "data: [DONE]\n\n");
	chunk_close(b, chunk);
	sl_buf_adds(b, "0\r\n\r\n");
	sl_sim_conn_send(c, sl_buf_str(b));
	reply_done(c);
}

/* ---- a whole answer ---- */

static void write_whole(struct sim_reply *r, struct sl_buf *b)
{
	bool refusal = r->set.fault == 15 && strcmp(r->set.variant, "refusal") == 0;
	for (size_t at = 0; at < r->text_len; r->sent++)
		at += sl_sim_token(sl_str_n(r->text + at, r->text_len - at));
	for (size_t at = 0; at < r->thinking_len; r->sent++, r->thinking_tokens++)
		at += sl_sim_token(sl_str_n(r->thinking + at, r->thinking_len - at));
	sl_buf_addf(b, "{\"id\":\"chatcmpl-sim%06llu\",\"object\":\"chat.completion\",\"created\":%lld,",
		    (unsigned long long)r->n, (long long)r->created_s);
	sl_buf_json_kz(b, "model", r->model);
	sl_buf_adds(b, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
	if (refusal)
		sl_buf_json_kz(b, "refusal", "I cannot help with that.");
	sl_buf_json_kstr(b, "content", refusal ? sl_str("") : sl_str_n(r->text, r->text_len));
	if (r->thinking_len)
		sl_buf_json_kstr(b, "reasoning_content", sl_str_n(r->thinking, r->thinking_len));
	if (r->tools) {
		SL_AUTO_JSON list = json_tokener_parse(r->tools);
		sl_buf_json_key(b, "tool_calls");
		sl_buf_addc(b, '[');
		for (size_t i = 0; list && i < json_object_array_length(list); i++) {
			struct json_object *t = json_object_array_get_idx(list, i);
			SL_BUF(args, 1u << 20);
			sl_json_write(&args, sl_json_get(t, "arguments"));
			sl_buf_addf(b, "%s{\"id\":\"call_sim%llu_%zu\",\"type\":\"function\",\"function\":{",
				    i ? "," : "", (unsigned long long)r->n, i);
			sl_buf_json_kstr(b, "name", sl_json_get_str(t, "name"));
			sl_buf_json_kstr(b, "arguments", sl_buf_str(&args));
			sl_buf_adds(b, "}}");
		}
		sl_buf_addc(b, ']');
	}
	sl_buf_adds(b, "},\"logprobs\":null,");
	sl_buf_json_kz(b, "finish_reason", finish_reason(r));
	sl_buf_adds(b, "}],");
	if (!r->set.no_usage)
		write_usage(r, b);
	else
		sl_buf_adds(b, "\"system_fingerprint\":\"fp_sim\"");
	sl_buf_addc(b, '}');
}

static void whole_turn(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	SL_BUF(b, 64u << 20);
	const char *v = r->set.variant;
	if (r->set.fault == 13) {
		struct sl_str e = error_object(r); /* constant text */
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_answer(c, 200, "application/json", "", e);
		return;
	}
	if (r->body)
		sl_buf_adds(&b, r->body);
	else
		write_whole(r, &b);
	atomic_fetch_add_explicit(&c->sim->tokens, r->sent, memory_order_relaxed);
	if (r->set.fault == 16 && strcmp(v, "utf8") == 0 && !b.failed)
		b.data[b.len / 2] = (char)0xff;
	if (r->set.fault == 12 || r->set.fault == 14 || (r->set.fault == 16 && strcmp(v, "utf8") != 0)) {
		bool json = r->set.fault == 16;
		struct sl_buf *o = &c->sim->out;
		sl_buf_reset(o);
		sl_buf_addf(o, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
			    json ? b.len / 2 : b.len);
		sl_buf_add(o, b.data, b.len / 2);
		sl_sim_conn_send(c, sl_buf_str(o));
		r->part = SIM_PART_SILENT;
		if (json) {
			reply_done(c);
		} else if (r->set.fault == 14) {
			drop(c);
		}
		return;
	}
	sl_sim_reply_end(c, SIM_FINISHED);
	sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
}

void sl_sim_on_tick(uv_timer_t *t)
{
	struct sim_conn *c = t->data;
	if (c->reply && c->reply->part == SIM_PART_RESET) {
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_close(c, true);
		return;
	}
	if (!c->reply || c->writing || c->reply->part == SIM_PART_SILENT)
		return;
	if (c->reply->stream)
		stream_turn(c);
	else
		whole_turn(c);
}

void sl_sim_reply_resume(struct sim_conn *c)
{
	if (c->reply && c->reply->stream && c->reply->part != SIM_PART_FIRST && c->reply->part < SIM_PART_SILENT)
		stream_turn(c);
}
