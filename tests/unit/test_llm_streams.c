/* Recorded answers of every protocol (data/streams/index.json): read whole, in pieces of every size, split in two at
 * every byte, and cut at every byte. A cut answer is never a success, and usage is never counted twice. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "llm/protocol.h"

struct told {
	struct sl_answer a;
	struct sl_buf text, thinking;
	struct sl_error err;
	enum sl_code rc;
};

static enum sl_code keep(struct sl_answer *a, enum sl_chat_kind kind, struct sl_str piece, struct sl_error *err)
{
	struct told *t = SL_CONTAINER_OF(a, struct told, a);
	assert_true(piece.len > 0);
	sl_buf_add(kind == SL_CHAT_TEXT ? &t->text : &t->thinking, piece.p, piece.len);
	return SL_OK;
}

static void told_fini(struct told *t)
{
	sl_buf_fini(&t->text);
	sl_buf_fini(&t->thinking);
	sl_buf_fini(&t->a.tool_calls);
	sl_buf_fini(&t->a.refusal);
}

static const struct sl_protocol *const protocols[] = {&sl_protocol_openai, &sl_protocol_anthropic, &sl_protocol_gemini,
						      &sl_protocol_ollama};

struct fixture {
	const char *file, *type;
	const struct sl_protocol *protocol;
	enum sl_chat_mode mode;
	struct json_object *want;
	struct sl_buf bytes;
	size_t marker; /* a cut at this byte or behind it is a whole answer; SIZE_MAX: none is */
};

/* The first `first` bytes in one piece, then pieces of `step`. Each is a copy of its own, so that an overrun shows. */
static void read_answer(struct told *t, const struct fixture *f, size_t len, size_t first, size_t step)
{
	struct sl_http_header h = {SL_STR("content-type"), sl_str(f->type)};
	struct sl_http_head head = {200, 11, &h, 1};
	void *state = NULL;
	*t = (struct told){.a = {.delta = keep, .mode = f->mode}};
	sl_buf_init(&t->text, 1 << 20);
	sl_buf_init(&t->thinking, 1 << 20);
	sl_buf_init(&t->a.tool_calls, 1 << 20);
	sl_buf_init(&t->a.refusal, 1 << 16);
	t->rc = f->protocol->open(&t->a, &head, &state, &t->err);
	for (size_t at = 0; at < len && t->rc == SL_OK;) {
		size_t want = at == 0 && first ? first : step, n = want < len - at ? want : len - at;
		char *piece = malloc(n);
		memcpy(piece, f->bytes.data + at, n);
		t->rc = f->protocol->feed(state, sl_str_n(piece, n), &t->err);
		free(piece);
		at += n;
	}
	if (t->rc == SL_OK)
		t->rc = f->protocol->finish(state, &t->err);
	assert_int_equal(t->rc == SL_OK, t->a.complete && t->rc == SL_OK);
	f->protocol->close(state);
}

static void check_whole(const struct fixture *f, const struct told *t, const char *how, size_t number)
{
	struct json_object *usage = sl_json_get(f->want, "usage"), *tools = sl_json_get(f->want, "tools");
	struct sl_str text = sl_json_get_str(f->want, "text"), thinking = sl_json_get_str(f->want, "thinking");
	const char *code = sl_json_get_z(f->want, "code"), *says = sl_json_get_z(f->want, "says");
	struct sl_str finish = sl_json_get_str(f->want, "finish"), refusal = sl_json_get_str(f->want, "refusal");
	SL_AUTO_JSON calls = NULL;
	if (strcmp(sl_code_wire(t->rc), code) != 0 || !sl_str_eq(sl_buf_str(&t->text), text))
		print_error("%s, %s %zu: %s, %s, text '%s'\n", f->file, how, number, sl_code_wire(t->rc), t->err.text,
			    t->text.data ? t->text.data : "");
	assert_string_equal(sl_code_wire(t->rc), code);
	assert_true(sl_str_eq(sl_buf_str(&t->text), text));
	assert_true(sl_str_eq(sl_buf_str(&t->thinking), thinking));
	assert_true(sl_str_eq(sl_buf_str(&t->a.refusal), refusal));
	assert_string_equal(t->a.finish_reason, finish.p);
	if (says && !strstr(t->err.text, says))
		print_error("%s: '%s' is not in '%s'\n", f->file, says, t->err.text);
	assert_true(!says || strstr(t->err.text, says));
	if (sl_json_get(f->want, "model"))
		assert_string_equal(t->a.model, sl_json_get_z(f->want, "model"));
	assert_int_equal(t->err.retry_after_ms, sl_json_get_i64(f->want, "retry_ms", 0));
	if (usage) {
		const uint64_t got[4] = {t->a.usage.input_tokens, t->a.usage.output_tokens, t->a.usage.cached_tokens,
					 t->a.usage.reasoning_tokens};
		assert_true(t->a.usage.known);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(got[i], json_object_get_int64(json_object_array_get_idx(usage, i)));
	}
	if (t->a.tool_calls.len)
		assert_int_equal(sl_json_parse(sl_buf_str(&t->a.tool_calls), &calls, NULL), SL_OK);
	if (!sl_json_equal(calls, tools))
		print_error("%s: %s\n", f->file, t->a.tool_calls.data ? t->a.tool_calls.data : "no tool calls");
	assert_true(sl_json_equal(calls, tools));
}

/* What came so far is a beginning of the whole, and no count is above its final one. */
static void check_cut(const struct fixture *f, const struct told *t, size_t n)
{
	struct json_object *usage = sl_json_get(f->want, "usage");
	struct sl_str text = sl_json_get_str(f->want, "text"), thinking = sl_json_get_str(f->want, "thinking");
	bool may_be_ok = n >= f->marker;
	if ((t->rc == SL_OK) != may_be_ok)
		print_error("%s cut at %zu: %s %s\n", f->file, n, sl_code_wire(t->rc), t->err.text);
	assert_int_equal(t->rc == SL_OK, may_be_ok);
	assert_true(sl_str_starts(text, sl_buf_str(&t->text)));
	assert_true(sl_str_starts(thinking, sl_buf_str(&t->thinking)));
	if (t->rc == SL_OK) { /* then nothing of it is missing */
		assert_true(sl_str_eq(text, sl_buf_str(&t->text)));
		assert_true(sl_str_eq(thinking, sl_buf_str(&t->thinking)));
	}
	if (!usage)
		return;
	assert_true(t->a.usage.input_tokens <= (uint64_t)json_object_get_int64(json_object_array_get_idx(usage, 0)));
	assert_true(t->a.usage.output_tokens <= (uint64_t)json_object_get_int64(json_object_array_get_idx(usage, 1)));
}

static void read_file(const char *name, struct sl_buf *out)
{
	char path[512], piece[4096];
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/tests/unit/data/streams/%s", root ? root : ".", name);
	FILE *f = fopen(path, "rb");
	if (!f)
		print_error("%s cannot be read\n", path);
	assert_non_null(f);
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f));)
		sl_buf_add(out, piece, n);
	fclose(f);
}

/* Where an answer that is one counts as complete: behind the marker's text, or behind the event or line it is in. */
static size_t marker_of(const struct fixture *f)
{
	const char *end[] = {"marker", "marker_event", "marker_line"};
	if (strcmp(sl_json_get_z(f->want, "code"), "ok") != 0 && !sl_json_get(f->want, "marker_event"))
		return SIZE_MAX;
	for (size_t i = 0; i < SL_COUNT_OF(end); i++) {
		struct sl_str what = sl_json_get_str(f->want, end[i]);
		if (what.len == 0)
			continue;
		const char *at = memmem(f->bytes.data, f->bytes.len, what.p, what.len);
		assert_non_null(at);
		at += what.len;
		while (i && at < f->bytes.data + f->bytes.len && *at != '\n' && *at != '\r')
			at++;
		return (size_t)(at - f->bytes.data);
	}
	return f->bytes.len; /* a document: whole or not */
}

static void each(void (*body)(const struct fixture *f))
{
	struct sl_error err;
	SL_AUTO_JSON list = NULL;
	SL_BUF(index, 1 << 20);
	read_file("index.json", &index);
	assert_int_equal(sl_json_parse(sl_buf_str(&index), &list, &err), SL_OK);
	assert_true(json_object_array_length(list) > 50);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *want = json_object_array_get_idx(list, i);
		struct fixture f = {
			.want = want, .file = sl_json_get_z(want, "file"), .type = sl_json_get_z(want, "type")};
		f.mode = sl_str_is(sl_json_get_str(want, "mode"), "whole") ? SL_CHAT_WHOLE : SL_CHAT_STREAM;
		for (size_t k = 0; k < SL_COUNT_OF(protocols); k++)
			if (sl_str_is(sl_json_get_str(want, "protocol"), protocols[k]->name))
				f.protocol = protocols[k];
		assert_non_null(f.protocol);
		sl_buf_init(&f.bytes, 1 << 20);
		read_file(f.file, &f.bytes);
		f.marker = marker_of(&f);
		body(&f);
		sl_buf_fini(&f.bytes);
	}
}

static void in_pieces(const struct fixture *f)
{
	for (size_t step = 1; step <= f->bytes.len + 1; step += step < 40 ? 1 : step / 3) {
		struct told t;
		read_answer(&t, f, f->bytes.len, 0, step);
		check_whole(f, &t, "pieces of", step);
		told_fini(&t);
	}
}

static void in_two(const struct fixture *f)
{
	for (size_t first = 1; first < f->bytes.len; first += SL_TEST_EACH) {
		struct told t;
		read_answer(&t, f, f->bytes.len, first, f->bytes.len);
		check_whole(f, &t, "split at", first);
		told_fini(&t);
	}
}

static void cut(const struct fixture *f)
{
	for (size_t n = 0; n < f->bytes.len; n += SL_TEST_EACH) {
		struct told t;
		/* what stands behind the marker and spoils it is cut off, too: then it is a whole answer */
		bool spoiled = f->marker != SIZE_MAX && strcmp(sl_json_get_z(f->want, "code"), "ok") != 0;
		if (spoiled && n >= f->marker)
			break;
		read_answer(&t, f, n, 0, f->bytes.len);
		check_cut(f, &t, n);
		told_fini(&t);
	}
}

static void an_answer_is_the_same_in_pieces_of_any_size(void **state)
{
	each(in_pieces);
}

static void an_answer_is_the_same_split_at_any_byte(void **state)
{
	each(in_two);
}

static void an_answer_cut_at_any_byte_is_never_a_success(void **state)
{
	each(cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_the_same_in_pieces_of_any_size),
		cmocka_unit_test(an_answer_is_the_same_split_at_any_byte),
		cmocka_unit_test(an_answer_cut_at_any_byte_is_never_a_success),
	};
	return cmocka_run_group_tests_name("llm streams", tests, NULL, NULL);
}
