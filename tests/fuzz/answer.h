/* tests/fuzz/answer.h: the property of every protocol's reader: the same bytes cut differently give the same answer,
 * and nothing is a success without its end. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "llm/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
	struct sl_answer a;
	struct sl_buf text;
};

static enum sl_code fuzz_keep(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	struct told *t = SL_CONTAINER_OF(a, struct told, a);
	if (piece.len == 0 || !sl_utf8_valid(piece.p, piece.len))
		abort();
	sl_buf_addc(&t->text, kind == SL_CHAT_TEXT ? 'a' : 't');
	sl_buf_add(&t->text, piece.p, piece.len);
	return SL_OK;
}

/* Everything an answer says, as one text. seed 0: in one piece; else in pieces of 1 to 16 bytes, each a copy of its own
 * so that an overrun shows. */
static void fuzz_answer(const struct sl_protocol *p, const char *type, enum sl_chat_mode mode, const uint8_t *data,
			size_t size, uint32_t seed, struct sl_buf *out)
{
	struct sl_http_header h = {SL_STR("Content-Type"), sl_str(type)};
	struct sl_http_head head = {200, 11, &h, type ? 1 : 0};
	struct told t = {.a = {.delta = fuzz_keep, .mode = mode}};
	struct sl_error err = {0};
	SL_AUTO_JSON calls = NULL;
	void *state = NULL;
	sl_buf_init(&t.text, 1 << 24);
	sl_buf_init(&t.a.tool_calls, 1 << 24);
	sl_buf_init(&t.a.refusal, 1 << 16);
	enum sl_code rc = p->open(&t.a, &head, &state, &err);
	for (size_t at = 0; at < size && rc == SL_OK;) {
		size_t n = size - at;
		if (seed) {
			seed = seed * 1103515245u + 12345u;
			size_t want = 1 + (seed >> 16) % 16;
			n = want < n ? want : n;
		}
		char *piece = malloc(n);
		if (!piece)
			abort();
		memcpy(piece, data + at, n);
		rc = p->feed(state, sl_str_n(piece, n), &err);
		free(piece);
		at += n;
	}
	if (rc == SL_OK)
		rc = p->finish(state, &err);
	if (rc == SL_OK && !t.a.complete)
		abort(); /* the end came, or it is no success */
	if (rc != SL_OK && err.code != rc)
		abort(); /* a failure says what it is */
	if (t.a.tool_calls.len && sl_json_parse(sl_buf_str(&t.a.tool_calls), &calls, NULL) != SL_OK)
		abort(); /* what we make of it is JSON */
	sl_buf_addf(out, "%d|%d|%s|%s|%llu %llu %llu %llu|", (int)rc, t.a.complete, t.a.finish_reason, t.a.model,
		    (unsigned long long)t.a.usage.input_tokens, (unsigned long long)t.a.usage.output_tokens,
		    (unsigned long long)t.a.usage.cached_tokens, (unsigned long long)t.a.usage.reasoning_tokens);
	sl_buf_add(out, t.text.data, t.text.len);
	sl_buf_add(out, t.a.tool_calls.data, t.a.tool_calls.len);
	sl_buf_add(out, t.a.refusal.data, t.a.refusal.len);
	p->close(state);
	sl_buf_fini(&t.text);
	sl_buf_fini(&t.a.tool_calls);
	sl_buf_fini(&t.a.refusal);
}

/* The first byte chooses: the stream's own type, a document, none; and whether a stream was asked for. */
static int fuzz_protocol(const struct sl_protocol *p, const char *stream, const uint8_t *data, size_t size)
{
	if (size == 0 || size > 1 << 16)
		return 0;
	const char *type = data[0] % 4 == 1 ? "application/json" : data[0] % 4 == 2 ? NULL : stream;
	enum sl_chat_mode mode = data[0] & 4 ? SL_CHAT_WHOLE : SL_CHAT_STREAM;
	SL_BUF(whole, 1 << 24);
	fuzz_answer(p, type, mode, data + 1, size - 1, 0, &whole);
	for (uint32_t seed = 1; seed <= 3; seed++) {
		SL_BUF(split, 1 << 24);
		fuzz_answer(p, type, mode, data + 1, size - 1, seed, &split);
		if (!sl_str_eq(sl_buf_str(&whole), sl_buf_str(&split))) {
			fprintf(stderr, "whole: %s\nsplit: %s\n", whole.data, split.data);
			abort();
		}
	}
	return 0;
}
