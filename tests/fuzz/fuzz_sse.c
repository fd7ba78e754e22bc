/* tests/fuzz/fuzz_sse.c: any split of a stream gives the same events as the whole, and so does the protocol on top of
 * it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/protocol.h"
#include "llm/scan.h"
#include "llm/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum sl_code log_event(void *ctx, const struct sl_sse_event *e)
{
	struct sl_buf *out = ctx;
	sl_buf_addf(out, "[%zu:", e->name.len);
	sl_buf_add(out, e->name.p, e->name.len);
	sl_buf_addf(out, "|%zu:", e->id.len);
	sl_buf_add(out, e->id.p, e->id.len);
	sl_buf_addf(out, "|%zu:", e->data.len);
	sl_buf_add(out, e->data.p, e->data.len);
	sl_buf_addc(out, ']');
	return SL_OK;
}

static void parse(const uint8_t *data, size_t size, uint32_t seed, struct sl_buf *out)
{
	struct sl_sse s;
	enum sl_code rc = SL_OK;
	sl_sse_init(&s, log_event, out);
	s.stray = log_event;
	for (size_t at = 0; at < size && rc == SL_OK;) {
		size_t n = size - at;
		if (seed) { /* pieces of 1 to 16 bytes, each an allocation of its own so that an overrun shows */
			seed = seed * 1103515245u + 12345u;
			size_t want = seed == 1 ? 1 : 1 + (seed >> 16) % 16;
			n = want < n ? want : n;
		}
		char *piece = malloc(n);
		if (!piece)
			abort();
		memcpy(piece, data + at, n);
		rc = sl_sse_feed(&s, sl_str_n(piece, n));
		free(piece);
		at += n;
	}
	sl_buf_addf(out, "pending %d", sl_sse_pending(&s));
	if (rc == SL_OK)
		rc = sl_sse_finish(&s);
	sl_buf_addf(out, " end %d", (int)rc);
	sl_sse_fini(&s);
}

struct told {
	struct sl_answer a;
	struct sl_buf text;
};

static enum sl_code keep(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	struct told *t = SL_CONTAINER_OF(a, struct told, a);
	sl_buf_addc(&t->text, kind == SL_CHAT_TEXT ? 'a' : 't');
	sl_buf_add(&t->text, piece.p, piece.len);
	return SL_OK;
}

static enum sl_code answer(const uint8_t *data, size_t size, size_t step, struct sl_buf *out)
{
	static const struct sl_http_header type = {{"Content-Type", 12}, {"text/event-stream", 17}};
	struct sl_http_head head = {200, 11, &type, 1};
	struct told t = {.a = {.delta = keep}};
	struct sl_error err = {0};
	void *state = NULL;
	sl_buf_init(&t.text, 1 << 24);
	sl_buf_init(&t.a.tool_calls, 1 << 24);
	sl_buf_init(&t.a.refusal, 1 << 16);
	enum sl_code rc = sl_protocol_openai.open(&t.a, &head, &state, &err);
	for (size_t at = 0; at < size && rc == SL_OK; at += step)
		rc = sl_protocol_openai.feed(
			state, sl_str_n((const char *)data + at, step < size - at ? step : size - at), &err);
	if (rc == SL_OK)
		rc = sl_protocol_openai.finish(state, &err);
	if (rc == SL_OK && !t.a.complete)
		abort(); /* the marker came, or it is no success */
	sl_buf_add(out, t.text.data, t.text.len);
	sl_buf_adds(out, t.a.finish_reason);
	sl_buf_add(out, t.a.tool_calls.data, t.a.tool_calls.len);
	sl_protocol_openai.close(state);
	sl_buf_fini(&t.text);
	sl_buf_fini(&t.a.tool_calls);
	sl_buf_fini(&t.a.refusal);
	return rc;
}

/* What the fast scan says is what a parser would have said. (A key that occurs twice only the parser minds.) */
static void compare_scan(struct sl_str json)
{
	struct sl_str escaped, said;
	struct sl_error err = {0};
	bool escapes;
	SL_BUF(text, 1 << 20);
	SL_AUTO_JSON doc = NULL;
	enum sl_scan_kind kind = sl_scan_chunk(json, &escaped, &escapes);
	if (kind == SL_SCAN_OTHER || !sl_utf8_valid(json.p, json.len))
		return;
	if (sl_json_parse(json, &doc, &err) != SL_OK) {
		if (!strstr(err.text, "occurs twice"))
			abort();
		return;
	}
	struct json_object *delta = sl_json_get(json_object_array_get_idx(sl_json_get(doc, "choices"), 0), "delta");
	said = sl_json_get_str(delta, kind == SL_SCAN_TEXT ? "content" : "reasoning_content");
	if (kind == SL_SCAN_THINKING && !sl_json_get(delta, "reasoning_content"))
		said = sl_json_get_str(delta, "reasoning");
	sl_scan_unescape(escaped, &text);
	if (!sl_str_eq(said, sl_buf_str(&text)))
		abort();
}

static enum sl_code scan_event(void *ctx, const struct sl_sse_event *e)
{
	compare_scan(sl_str_trim(e->data));
	return SL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_sse s;
	sl_sse_init(&s, scan_event, NULL);
	SL_IGNORE(sl_sse_feed(&s, sl_str_n((const char *)data, size))); /* its verdict is compared below */
	sl_sse_fini(&s);
	compare_scan(sl_str_n((const char *)data, size));
	if (size > 1 << 16)
		return 0;
	SL_BUF(whole, 1 << 24);
	parse(data, size, 0, &whole);
	for (uint32_t seed = 1; seed <= 3; seed++) {
		SL_BUF(split, 1 << 24);
		parse(data, size, seed, &split);
		if (!sl_str_eq(sl_buf_str(&whole), sl_buf_str(&split)))
			abort();
	}
	SL_BUF(one, 1 << 24);
	SL_BUF(many, 1 << 24);
	if (answer(data, size, size ? size : 1, &one) != answer(data, size, 1, &many) ||
	    !sl_str_eq(sl_buf_str(&one), sl_buf_str(&many)))
		abort();
	return 0;
}
