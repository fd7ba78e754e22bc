/* llm/sim_reply.c: an answer, token by token or whole, and the faults that come in the middle of it. How it is written
 * down is the dialect's. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/sim_dialect.h"

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

bool sl_sim_refuses(const struct sim_reply *r)
{
	return r->set.fault == 15 && strcmp(r->set.variant, "refusal") == 0;
}

const char *sl_sim_finish(const struct sim_reply *r)
{
	if (r->set.fault == 15 && !sl_sim_refuses(r))
		return r->set.variant; /* "length" when nothing was said */
	if (r->cut)
		return "length";
	return r->tools ? "tool_calls" : "stop";
}

static const struct sim_failure *failure_of(const struct sim_reply *r)
{
	const struct sim_failure *all = r->dialect->failures;
	if (strcmp(r->set.variant, "overloaded") == 0)
		return &all[SIM_OVERLOADED];
	return strcmp(r->set.variant, "limit") == 0 ? &all[SIM_RATE] : &all[SIM_BROKEN];
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

static void stream_over(struct sim_conn *c, struct sl_buf *b, size_t chunk)
{
	chunk_close(b, chunk);
	sl_buf_adds(b, "0\r\n\r\n");
	sl_sim_conn_send(c, sl_buf_str(b));
	sl_sim_reply_end(c, SIM_DROPPED);
	sl_sim_conn_next(c);
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
	case 13: {
		struct sim_failure f = *failure_of(r);
		char text[160];
		if (strcmp(v, "limit") == 0) {
			(void)snprintf(text, sizeof(text), "%.100s Please try again in 2s.", f.message);
			f.message = text;
		}
		f.list = strcmp(v, "list") == 0;
		r->dialect->failure_event(&f, strcmp(v, "string") == 0, f.list || strcmp(v, "line") == 0, b);
		stream_over(c, b, chunk);
		return true;
	}
	case 14:
		if (strcmp(v, "late") == 0) {
			if (r->part != SIM_PART_ENDING)
				return false;
			r->dialect->end(r, b, true);
		}
		if (strcmp(v, "no_marker") == 0) {
			r->dialect->end(r, b, false);
			stream_over(c, b, chunk);
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
			r->dialect->raw(r, b, SL_STR("a\\u0000b"), false);
		else if (strcmp(v, "utf8") == 0)
			r->dialect->raw(r, b, SL_STR("\xff\xfe\xc0 "), false);
		else
			r->dialect->raw(r, b, SL_STR("half a"), true);
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
	r->dialect->token(r, b, thinking, token);
	r->at += n;
	r->sent++;
	r->thinking_tokens += thinking;
	atomic_fetch_add_explicit(&c->sim->tokens, 1, memory_order_relaxed);
	if (r->at >= all.len) {
		r->at = 0;
		r->part = thinking && r->text_len ? SIM_PART_TEXT : SIM_PART_ENDING;
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
		if (r->dialect->begin)
			r->dialect->begin(r, b);
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
	r->dialect->end(r, b, true);
	chunk_close(b, chunk);
	sl_buf_adds(b, "0\r\n\r\n");
	sl_sim_conn_send(c, sl_buf_str(b));
	reply_done(c);
}

/* ---- a whole answer ---- */

static void whole_turn(struct sim_conn *c)
{
	struct sim_reply *r = c->reply;
	SL_BUF(b, 64u << 20);
	const char *v = r->set.variant;
	if (r->set.fault == 13) {
		if (strcmp(v, "string") == 0)
			sl_buf_adds(&b, "{\"error\":\"the simulator was told to fail here\"}");
		else
			r->dialect->failure(failure_of(r), &b);
		sl_sim_reply_end(c, SIM_DROPPED);
		sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
		return;
	}
	for (size_t at = 0; at < r->text_len; r->sent++)
		at += sl_sim_token(sl_str_n(r->text + at, r->text_len - at));
	for (size_t at = 0; at < r->thinking_len; r->sent++, r->thinking_tokens++)
		at += sl_sim_token(sl_str_n(r->thinking + at, r->thinking_len - at));
	if (r->body)
		sl_buf_adds(&b, r->body);
	else
		r->dialect->whole(r, &b);
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
