/* tests/fuzz/fuzz_ws_command.c: what was understood of a command, printed, is understood as the same again. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "ws/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool same_offsets(struct json_object *a, struct json_object *b)
{
	if (!a || !b)
		return a == b;
	if (json_object_object_length(a) != json_object_object_length(b))
		return false;
	json_object_object_foreach (a, path, entry) {
		uint32_t attempt[2];
		uint64_t offset[2];
		struct json_object *other;
		if (!json_object_object_get_ex(b, path, &other))
			return false;
		sl_ws_stream_offset(entry, &attempt[0], &offset[0]);
		sl_ws_stream_offset(other, &attempt[1], &offset[1]);
		if (attempt[0] != attempt[1] || offset[0] != offset[1])
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_ws_command a, b;
	struct sl_error err = {0};
	SL_BUF(text, 8u * SL_LIMIT_WS_MESSAGE_BYTES);

	if (size > SL_LIMIT_WS_MESSAGE_BYTES)
		return 0;
	if (sl_ws_command_parse(sl_str_n((const char *)data, size), &a, &err) != SL_OK) {
		must(err.text[0] != '\0'); /* the client is always told why */
		sl_ws_command_fini(&a);
		return 0;
	}
	sl_ws_command_print(&text, &a);
	must(!text.failed);
	must(sl_ws_command_parse(sl_buf_str(&text), &b, &err) == SL_OK);
	must(a.cmd == b.cmd && a.name == b.name && a.has_run == b.has_run && a.has_after_seq == b.has_after_seq);
	must(!a.has_run || sl_run_id_eq(a.run, b.run));
	must(a.after_seq == b.after_seq && a.flush_ms == b.flush_ms);
	must(sl_json_equal(a.id, b.id));
	must(same_offsets(a.streams, b.streams));
	sl_ws_command_fini(&a);
	sl_ws_command_fini(&b);
	return 0;
}
