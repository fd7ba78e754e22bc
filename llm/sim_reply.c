/* llm/sim_reply.c: answers of the simulator: the OpenAI chat completion as a stream or whole, the faults, the routes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "llm/sim_priv.h"

#define SIM_BURST 64u /* tokens written in one go when there is no pace */

enum sim_part { SIM_PART_FIRST, SIM_PART_THINKING, SIM_PART_TEXT, SIM_PART_ENDING, SIM_PART_SILENT, SIM_PART_RESET };

struct sim_reply {
	struct sim_settings set;
	enum sim_part part;
	bool stream, tell_usage;
	char model[64];
	uint64_t n; /* of the request */
	char *text, *thinking, *tools;
	size_t text_len, thinking_len, at;
	uint64_t random, next_us;
	uint32_t sent, prompt_tokens, thinking_tokens;
	int64_t created_s;
};

/* ---- the log ---- */

static struct sim_entry *entry_of(struct sl_sim *s, uint64_t n)
{
	struct sim_entry *e = &s->log[n % SIM_LOG];
	return e->n == n ? e : NULL;
}

static void copy_cut(char *to, size_t size, struct sl_str from)
{
	size_t n = 0;
	for (; n < from.len && n + 1 < size; n++)
		to[n] = from.p[n];
	to[n] = 0;
}

void sl_sim_reply_end(struct sim_conn *c, enum sim_outcome outcome)
{
	struct sim_reply *r = c->reply;
	if (!r)
		return;
	struct sim_entry *e = entry_of(c->sim, r->n);
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

static void on_tick(uv_timer_t *t);

/* The connection ends in the middle. A reset waits a moment: it would take back what the client has not read yet. */
static void drop(struct sim_conn *c)
{
	if (strcmp(c->reply->set.variant, "rst") == 0) {
		c->reply->part = SIM_PART_RESET;
		uv_timer_start(&c->timer, on_tick, 50, 0);
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
		if (strcmp(v, "utf8") == 0)
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
			uv_timer_start(&c->timer, on_tick, r->next_us > now ? (r->next_us - now + 999) / 1000 : 0, 0);
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

static void whole_turn(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	SL_BUF(b, 32u << 20);
	const char *v = r->set.variant;
	bool refusal = r->set.fault == 15 && strcmp(v, "refusal") == 0;
	for (size_t at = 0; at < r->text_len; r->sent++)
		at += sl_sim_token(sl_str_n(r->text + at, r->text_len - at));
	for (size_t at = 0; at < r->thinking_len; r->sent++, r->thinking_tokens++)
		at += sl_sim_token(sl_str_n(r->thinking + at, r->thinking_len - at));
	if (r->set.fault == 13) {
		struct sl_str e = error_object(r); /* constant text */
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_answer(c, 200, "application/json", "", e);
		return;
	}
	sl_buf_addf(&b, "{\"id\":\"chatcmpl-sim%06llu\",\"object\":\"chat.completion\",\"created\":%lld,",
		    (unsigned long long)r->n, (long long)r->created_s);
	sl_buf_json_kz(&b, "model", r->model);
	sl_buf_adds(&b, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"");
	if (refusal)
		sl_buf_json_kz(&b, "refusal", "I cannot help with that.");
	sl_buf_json_kstr(&b, "content", refusal ? sl_str("") : sl_str_n(r->text, r->text_len));
	if (r->thinking_len)
		sl_buf_json_kstr(&b, "reasoning_content", sl_str_n(r->thinking, r->thinking_len));
	if (r->tools) {
		SL_AUTO_JSON list = json_tokener_parse(r->tools);
		sl_buf_json_key(&b, "tool_calls");
		sl_buf_addc(&b, '[');
		for (size_t i = 0; list && i < json_object_array_length(list); i++) {
			struct json_object *t = json_object_array_get_idx(list, i);
			SL_BUF(args, 1u << 20);
			sl_json_write(&args, sl_json_get(t, "arguments"));
			sl_buf_addf(&b, "%s{\"id\":\"call_sim%llu_%zu\",\"type\":\"function\",\"function\":{",
				    i ? "," : "", (unsigned long long)r->n, i);
			sl_buf_json_kstr(&b, "name", sl_json_get_str(t, "name"));
			sl_buf_json_kstr(&b, "arguments", sl_buf_str(&args));
			sl_buf_adds(&b, "}}");
		}
		sl_buf_addc(&b, ']');
	}
	sl_buf_adds(&b, "},\"logprobs\":null,");
	sl_buf_json_kz(&b, "finish_reason", finish_reason(r));
	sl_buf_adds(&b, "}],");
	if (!r->set.no_usage)
		write_usage(r, &b);
	else
		sl_buf_adds(&b, "\"system_fingerprint\":\"fp_sim\"");
	sl_buf_addc(&b, '}');
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

static void on_tick(uv_timer_t *t)
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

/* ---- faults that come instead of an answer ---- */

static void refuse(struct sim_conn *c, int status, const char *type, const char *code, const char *message,
		   const char *headers)
{
	struct sim_reply *r = c->reply;
	struct sim_entry *e = entry_of(c->sim, r->n);
	SL_BUF(b, 4096);
	if (r->set.status)
		status = r->set.status;
	if (e)
		e->status = status;
	sl_buf_adds(&b, "{\"error\":{");
	sl_buf_json_kz(&b, "message", message);
	sl_buf_json_kz(&b, "type", type);
	sl_buf_json_kz(&b, "param", NULL);
	sl_buf_json_kz(&b, "code", code);
	if (r->set.fault == 6 && strcmp(r->set.variant, "retryinfo") == 0)
		sl_buf_addf(&b,
			    ",\"details\":[{\"@type\":\"type.googleapis.com/"
			    "google.rpc.RetryInfo\",\"retryDelay\":\"%.3fs\"}]",
			    r->set.retry_ms / 1000.0);
	sl_buf_adds(&b, "}}");
	sl_sim_reply_end(c, SIM_FINISHED);
	sl_sim_conn_answer(c, status, "application/json", headers, sl_buf_str(&b));
}

static void refuse_for_rate(struct sim_conn *c)
{
	struct sim_settings *s = &c->reply->set;
	char headers[256] = "", message[160];
	const char *v = s->fault == 5 ? "seconds" : s->variant[0] ? s->variant : "ms";
	double sec = s->retry_ms / 1000.0;
	(void)snprintf(message, sizeof(message), "Rate limit reached for requests.");
	if (strcmp(v, "seconds") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %u\r\n", (s->retry_ms + 999) / 1000);
	else if (strcmp(v, "ms") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after-ms: %u\r\n", s->retry_ms);
	else if (strcmp(v, "float") == 0)
		(void)snprintf(headers, sizeof(headers), "retry-after: %.3f\r\n", sec);
	else if (strcmp(v, "body") == 0)
		(void)snprintf(message, sizeof(message),
			       "Rate limit reached for requests. Please try again in %.3fs. See the docs.", sec);
	else if (strcmp(v, "reset") == 0)
		(void)snprintf(headers, sizeof(headers),
			       "x-ratelimit-limit-tokens: 30000\r\nx-ratelimit-remaining-tokens: "
			       "0\r\nx-ratelimit-reset-tokens: %um%.3fs\r\n",
			       s->retry_ms / 60000, (s->retry_ms % 60000) / 1000.0);
	else if (strcmp(v, "date") == 0) {
		time_t at = (time_t)((sl_clock_wall_ms() + s->retry_ms + 999) / 1000);
		struct tm tm;
		gmtime_r(&at, &tm);
		strftime(headers, sizeof(headers), "retry-after: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
	}
	refuse(c, 429, "requests", "rate_limit_exceeded", message, headers);
}

/* true: the fault took the answer's place. */
static bool instead(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	const char *v = r->set.variant;
	switch (r->set.fault) {
	case 1:
		refuse(c, 400, "invalid_request_error", NULL, "The simulator was told to find this request bad.", "");
		return true;
	case 2:
		if (strcmp(v, "403") == 0)
			refuse(c, 403, "permission_error", NULL, "The key may not use this model.", "");
		else
			refuse(c, 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.", "");
		return true;
	case 3:
		refuse(c, 404, "invalid_request_error", "model_not_found",
		       "The model does not exist or you do not have access to it.", "");
		return true;
	case 4:
		refuse(c,
		       strcmp(v, "413") == 0   ? 413
		       : strcmp(v, "422") == 0 ? 422
					       : 400,
		       "invalid_request_error", v[0] ? NULL : "context_length_exceeded",
		       "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 "
		       "tokens.",
		       "");
		return true;
	case 5:
	case 6:
		refuse_for_rate(c);
		return true;
	case 7:
		if (strcmp(v, "spend") == 0)
			refuse(c, 429, "requests", "organization_spend_limit_exceeded",
			       "The organization's spend limit is reached.", "");
		else
			refuse(c, 429, "insufficient_quota", "insufficient_quota",
			       "You exceeded your current quota, please check your plan and billing details.", "");
		return true;
	case 8:
		refuse(c, 500, "server_error", NULL,
		       "The server had an error while processing your request. Sorry about that!", "");
		return true;
	case 9:
		if (strcmp(v, "529") == 0)
			refuse(c, 529, "overloaded_error", NULL, "Overloaded", "");
		else
			refuse(c, 503, "server_error", "server_is_overloaded", "That model is currently overloaded.",
			       "");
		return true;
	case 10: {
		bool reset = strcmp(v, "close") != 0; /* v dies with the reply */
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_close(c, reset);
		return true;
	}
	case 11:
		r->part = SIM_PART_SILENT;
		return true;
	case 16:
		if (strcmp(v, "type") == 0) {
			sl_sim_reply_end(c, SIM_DROPPED);
			sl_sim_conn_answer(c, 200, "text/plain", "", SL_STR("Welcome to the wrong port."));
			return true;
		}
		if (strcmp(v, "html") == 0 || strcmp(v, "page") == 0) {
			int status = strcmp(v, "page") == 0 ? 502 : 200;
			sl_sim_reply_end(c, SIM_DROPPED);
			sl_sim_conn_answer(c, status, "text/html; charset=utf-8", "",
					   SL_STR("<!doctype html><html><head><title>502 Bad "
						  "Gateway</title><style>body{margin:0}</style></head>"
						  "<body><h1>Bad gateway</h1><p>The proxy did not get an answer in "
						  "time.</p></body></html>"));
			return true;
		}
		return false;
	default:
		return false;
	}
}

/* ---- a request ---- */

static struct sl_str text_of(struct json_object *content) /* a string, or the first text part */
{
	if (json_object_is_type(content, json_type_array))
		for (size_t i = 0; i < json_object_array_length(content); i++) {
			struct sl_str t = sl_json_get_str(json_object_array_get_idx(content, i), "text");
			if (t.len)
				return t;
		}
	return sl_json_str(content);
}

/* The beginning of a prompt, one line, cut at a word. */
static void gist_of(struct sl_str user, struct sl_buf *out)
{
	bool space = true;
	size_t word = 0;
	user = sl_str_trim(user);
	for (size_t i = 0; i < user.len && out->len < 160; i++) {
		unsigned char ch = (unsigned char)user.p[i];
		if (ch <= ' ') {
			if (!space)
				word = out->len;
			if (!space)
				sl_buf_addc(out, ' ');
			space = true;
		} else {
			sl_buf_addc(out, (char)ch);
			space = false;
		}
	}
	if (out->len >= 160 && word) {
		out->len = word;
		sl_buf_adds(out, "\xe2\x80\xa6");
	}
}

/* What the first line is about: "Argue for: cats" is about cats. */
static struct sl_str topic_of(struct sl_str user)
{
	struct sl_str line, rest;
	user = sl_str_trim(user);
	if (!sl_str_cut(user, '\n', &line, &rest))
		line = user;
	const char *colon = memmem(line.p, line.len, ": ", 2);
	if (colon && colon - line.p <= 24 && colon + 2 < line.p + line.len)
		line = sl_str_n(colon + 2, line.len - (size_t)(colon + 2 - line.p));
	line = sl_str_trim(line);
	while (line.len && strchr(".!", line.p[line.len - 1])) /* it will stand inside a sentence */
		line.len--;
	return sl_str_n(line.p, sl_utf8_cut(line.p, line.len, 200));
}

static char *fill_in(struct sl_str text, struct sl_str gist, struct sl_str user, const char *model, uint64_t call)
{
	SL_BUF(b, 8u << 20);
	while (text.len) {
		const char *brace = memchr(text.p, '{', text.len);
		size_t n = brace ? (size_t)(brace - text.p) : text.len;
		sl_buf_add(&b, text.p, n);
		text.p += n, text.len -= n;
		if (sl_str_starts(text, SL_STR("{gist}"))) {
			sl_buf_add(&b, gist.p, gist.len);
			n = 6;
		} else if (sl_str_starts(text, SL_STR("{topic}"))) {
			struct sl_str topic = topic_of(user);
			sl_buf_add(&b, topic.p, topic.len);
			n = 7;
		} else if (sl_str_starts(text, SL_STR("{model}"))) {
			sl_buf_adds(&b, model);
			n = 7;
		} else if (sl_str_starts(text, SL_STR("{call}"))) {
			sl_buf_addu(&b, call);
			n = 6;
		} else if (text.len) {
			sl_buf_addc(&b, '{');
			n = 1;
		} else {
			n = 0;
		}
		text.p += n, text.len -= n;
	}
	return b.len ? sl_buf_take(&b) : strdup("");
}

static uint64_t digest_of(struct sl_str s, uint64_t h)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211ull;
	return h;
}

/* How often this conversation was asked for, this time included. The table forgets by overwriting. */
static uint32_t count_calls(struct sl_sim *s, uint64_t digest)
{
	size_t i = digest % SIM_COUNTS;
	if (s->counts[i].digest != digest) {
		s->counts[i].digest = digest;
		s->counts[i].calls = 0;
	}
	return ++s->counts[i].calls;
}

static void settings_of_headers(struct sim_settings *set, struct sl_str headers)
{
	while (headers.len) {
		struct sl_str line, rest, name, value;
		if (!sl_str_cut(headers, '\n', &line, &rest))
			line = headers, rest = sl_str_n("", 0);
		headers = rest;
		if (line.len > 6 && strncasecmp(line.p, "x-sim-", 6) == 0 && sl_str_cut(line, ':', &name, &value)) {
			char key[32];
			copy_cut(key, sizeof(key), sl_str_n(name.p + 6, name.len - 6));
			for (char *p = key; *p; p++)
				*p = *p == '-' ? '_' : *p;
			(void)sl_sim_settings_set(set, sl_str(key), sl_str_trim(value)); /* odd wishes are ignored */
		}
	}
}

static void choose_text(struct sim_reply *r, struct json_object *doc, const struct sim_match *m, struct sl_str gist,
			struct sl_str user)
{
	struct json_object *format = sl_json_get(doc, "response_format");
	struct json_object *schema = sl_json_get(sl_json_get(format, "json_schema"), "schema");
	SL_BUF(b, 8u << 20);
	uint64_t random = r->random;
	if (r->set.tokens)
		sl_sim_filler(&random, r->set.tokens, &b);
	else if (r->set.answer)
		r->text = fill_in(sl_str(r->set.answer), gist, user, r->model, m->call);
	else if (m->answer.len || m->tool_calls)
		r->text = fill_in(m->answer, gist, user, r->model, m->call);
	else if (schema)
		sl_sim_from_schema(schema, 0, &b);
	else if (format && sl_str_is(sl_json_get_str(format, "type"), "json_object"))
		sl_buf_adds(&b, "{\"simulated\":true,\"answer\":\"no model was asked\"}");
	else
		sl_sim_own_words(gist, &b);
	if (!r->text)
		r->text = sl_buf_take(&b);
	if (r->set.thinking || m->thinking.len)
		r->thinking =
			fill_in(r->set.thinking ? sl_str(r->set.thinking) : m->thinking, gist, user, r->model, m->call);
	if (m->tool_calls) {
		SL_BUF(t, 1u << 20);
		sl_json_write(&t, m->tool_calls);
		r->tools = sl_buf_take(&t);
	}
	r->text_len = r->text ? strlen(r->text) : 0;
	r->thinking_len = r->thinking ? strlen(r->thinking) : 0;
}

static void chat(struct sim_conn *c, const struct sim_request *req)
{
	struct sl_sim *s = c->sim;
	SL_AUTO_JSON doc = NULL;
	struct sim_reply *r;
	struct sl_error err;
	if (sl_json_parse(req->body, &doc, &err) != SL_OK ||
	    !json_object_is_type(sl_json_get(doc, "messages"), json_type_array) || !(r = calloc(1, sizeof(*r)))) {
		sl_sim_conn_answer(
			c, 400, "application/json", "",
			SL_STR("{\"error\":{\"message\":\"The body must be a JSON object with messages.\",\"type\":"
			       "\"invalid_request_error\",\"param\":null,\"code\":null}}"));
		return;
	}
	struct json_object *messages = sl_json_get(doc, "messages");
	struct sim_ask ask = {.model = sl_json_get_str(doc, "model"), .system = SL_STR(""), .user = SL_STR("")};
	struct sl_str suffix = SL_STR(""), head;
	uint64_t digest = 14695981039346656037ull;
	for (size_t i = 0; i < json_object_array_length(messages); i++) {
		struct json_object *m = json_object_array_get_idx(messages, i);
		struct sl_str role = sl_json_get_str(m, "role"), text = text_of(sl_json_get(m, "content"));
		if (sl_str_is(role, "system") || sl_str_is(role, "developer"))
			ask.system = text;
		else if (sl_str_is(role, "user"))
			ask.user = text;
		digest = digest_of(text, digest);
	}
	if (sl_str_cut(ask.model, '+', &head, &suffix))
		ask.model = head;
	digest = digest_of(ask.model, digest);
	struct sim_match match;
	if (!sl_sim_settings_copy(&r->set, &s->base)) {
		free(r);
		sl_sim_conn_close(c, true);
		return;
	}
	sl_sim_scenario_match(&s->scenario, &ask, &r->set, &match);
	sl_sim_settings_set_list(&r->set, suffix);
	settings_of_headers(&r->set, req->headers);
	sl_sim_settings_set_object(&r->set, sl_json_get(doc, "sim"));
	if (r->set.fault && r->set.times && count_calls(s, digest) > r->set.times)
		r->set.fault = 0;
	if (r->set.fault == 16 && !r->set.variant[0])
		memcpy(r->set.variant, "json", 5);
	if (r->set.fault == 15 && !r->set.variant[0])
		memcpy(r->set.variant, "length", 7);

	SL_BUF(gist, 512);
	gist_of(ask.user, &gist);
	copy_cut(r->model, sizeof(r->model), ask.model.len ? ask.model : SL_STR("sim"));
	r->stream = sl_json_get_bool(doc, "stream", false);
	r->tell_usage =
		sl_json_get_bool(sl_json_get(doc, "stream_options"), "include_usage", false) && !r->set.no_usage;
	r->n = ++s->n_requests;
	r->created_s = sl_clock_wall_ms() / 1000;
	r->random = r->set.seed ^ digest;
	r->prompt_tokens = (uint32_t)(req->body.len / 4 + 1);
	choose_text(r, doc, &match, sl_buf_str(&gist), ask.user);

	struct sim_entry *e = &s->log[r->n % SIM_LOG];
	*e = (struct sim_entry){
		.n = r->n, .wall_ms = sl_clock_wall_ms(), .began_us = sl_clock_mono_us(), .status = 200};
	e->fault = r->set.fault;
	e->stream = r->stream;
	copy_cut(e->model, sizeof(e->model), ask.model);
	copy_cut(e->rule, sizeof(e->rule), sl_str(match.rule));
	copy_cut(e->gist, sizeof(e->gist), sl_buf_str(&gist));
	copy_cut(e->key, sizeof(e->key), sl_sim_header(req->headers, "idempotency-key"));
	atomic_fetch_add(&s->requests, 1);
	atomic_fetch_add(&s->streams_open, 1);
	if (r->set.fault)
		atomic_fetch_add(&s->faults, 1);
	c->reply = r;
	if (r->set.fault && instead(c))
		return;
	if (r->stream) {
		sl_buf_reset(&s->out);
		sl_buf_adds(&s->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
				     "Transfer-Encoding: chunked\r\nx-sluice-simulator: 1\r\n");
		sl_buf_adds(&s->out, c->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
		sl_sim_conn_send(c, sl_buf_str(&s->out));
	}
	if (c->closing)
		return;
	uint64_t wait = r->set.first_ms;
	if (!r->stream && r->set.tps > 0)
		wait += (uint64_t)((double)r->text_len / 5 / r->set.tps * 1000);
	uv_update_time(sl_loop_uv(s->loop));
	uv_timer_start(&c->timer, on_tick, wait, 0);
}

static void show_stats(struct sim_conn *c)
{
	struct sl_sim_stats st;
	SL_BUF(b, 4096);
	sl_sim_stats(c->sim, &st);
	sl_buf_addc(&b, '{');
	sl_buf_json_ku64(&b, "connections_open", st.connections_open);
	sl_buf_json_ku64(&b, "connections_total", st.connections_total);
	sl_buf_json_ku64(&b, "requests", st.requests);
	sl_buf_json_ku64(&b, "streams_open", st.streams_open);
	sl_buf_json_ku64(&b, "streams_finished", st.streams_finished);
	sl_buf_json_ku64(&b, "tokens_sent", st.tokens_sent);
	sl_buf_json_ku64(&b, "faults", st.faults);
	sl_buf_json_ku64(&b, "closed_by_client", st.closed_by_client);
	sl_buf_json_ku64(&b, "last_closed_us", st.last_closed_us);
	sl_buf_json_ku64(&b, "now_us", sl_clock_mono_us());
	sl_buf_addc(&b, '}');
	sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
}

static void show_requests(struct sim_conn *c)
{
	static const char *const outcomes[] = {"running", "finished", "closed_by_client", "dropped", "stopped"};
	struct sl_sim *s = c->sim;
	SL_BUF(b, 4u << 20);
	sl_buf_adds(&b, "{\"requests\":[");
	for (uint64_t n = s->n_requests > SIM_LOG ? s->n_requests - SIM_LOG + 1 : 1; n <= s->n_requests; n++) {
		struct sim_entry *e = entry_of(s, n);
		if (!e)
			continue;
		sl_buf_json_comma(&b);
		sl_buf_addc(&b, '{');
		sl_buf_json_ku64(&b, "n", e->n);
		sl_buf_json_ktime(&b, "at", e->wall_ms);
		sl_buf_json_kz(&b, "model", e->model);
		sl_buf_json_kz(&b, "rule", e->rule);
		sl_buf_json_kz(&b, "gist", e->gist);
		sl_buf_json_kz(&b, "idempotency_key", e->key);
		sl_buf_json_kbool(&b, "stream", e->stream);
		sl_buf_json_ku64(&b, "fault", e->fault);
		sl_buf_json_ki64(&b, "status", e->status);
		sl_buf_json_kz(&b, "outcome", outcomes[e->outcome]);
		sl_buf_json_ku64(&b, "tokens", e->tokens);
		sl_buf_json_ku64(&b, "began_us", e->began_us);
		sl_buf_json_ku64(&b, "ended_us", e->ended_us);
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "]}");
	sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
}

void sl_sim_reply_begin(struct sim_conn *c, const struct sim_request *r)
{
	bool get = sl_str_is(r->method, "GET");
	if (sl_str_is(r->method, "POST") &&
	    (sl_str_is(r->path, "/v1/chat/completions") || sl_str_is(r->path, "/chat/completions")))
		chat(c, r);
	else if (get && (sl_str_is(r->path, "/v1/models") || sl_str_is(r->path, "/models")))
		sl_sim_conn_answer(c, 200, "application/json", "",
				   SL_STR("{\"object\":\"list\",\"data\":[{\"id\":\"sim\",\"object\":\"model\","
					  "\"created\":1763596800,"
					  "\"owned_by\":\"sluice-simulator\"}]}"));
	else if (get && sl_str_is(r->path, "/sim/stats"))
		show_stats(c);
	else if (get && sl_str_is(r->path, "/sim/requests"))
		show_requests(c);
	else
		sl_sim_conn_answer(
			c, 404, "application/json", "",
			SL_STR("{\"error\":{\"message\":\"The simulator has POST /v1/chat/completions, GET /v1/models, "
			       "/sim/stats and "
			       "/sim/requests.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}"));
}
