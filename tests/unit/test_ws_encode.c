#include "tests/lib/test.h"

#include <stdlib.h>

#include "base/json.h"
#include "ws/command.h"
#include "ws/encode.h"

static void headers_of_every_length_are_measured_again(void **state)
{
	static const struct {
		size_t payload, header;
	} rows[] = {{0, 2}, {1, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}, {1u << 20, 10}};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char *frame = calloc(1, rows[i].payload + SL_WS_HEADER_BYTES);
		uint8_t header[SL_WS_HEADER_BYTES];
		size_t h, p, total = rows[i].header + rows[i].payload;
		assert_int_equal(sl_ws_frame_header(header, SL_WS_TEXT, true, rows[i].payload), rows[i].header);
		assert_int_equal(header[0], 0x81);
		assert_int_equal(header[1] & 0x80, 0); /* a server never masks */
		memcpy(frame, header, rows[i].header);
		assert_true(sl_ws_frame_measure(frame, total, &h, &p));
		assert_int_equal(h, rows[i].header);
		assert_int_equal(p, rows[i].payload);
		if (total)
			assert_false(sl_ws_frame_measure(frame, total - 1, &h, &p));
		free(frame);
	}
	uint8_t header[SL_WS_HEADER_BYTES];
	sl_ws_frame_header(header, SL_WS_CONT, false, 5);
	assert_int_equal(header[0], 0);
}

/* Every byte, at every place of a word, next to anything: what json-c reads back is what went in. */
static void escaped_text_reads_back_the_same(void **state)
{
	for (unsigned c = 1; c < 0x80; c++)
		for (size_t at = 0; at < 17; at++) {
			char text[20];
			memset(text, 'a', sizeof(text));
			text[at] = (char)c;
			SL_BUF(b, 1000);
			sl_buf_addc(&b, '"');
			sl_event_escape(&b, sl_str_n(text, 17));
			sl_buf_addc(&b, '"');
			SL_AUTO_JSON o = NULL;
			struct sl_error err;
			assert_int_equal(sl_json_parse(sl_buf_str(&b), &o, &err), SL_OK);
			assert_true(sl_str_eq(sl_json_str(o), sl_str_n(text, 17)));
		}
	SL_BUF(b, 1000);
	sl_event_escape(&b, SL_STR("\xe4\xbd\xa0 \xf0\x9f\x98\x80 \x7f \"\\\n"));
	assert_string_equal(b.data, "\xe4\xbd\xa0 \xf0\x9f\x98\x80 \x7f \\\"\\\\\\n");
}

static void a_record_is_an_event_on_the_wire(void **state)
{
	struct sl_record r = {.seq = 7, .wall_ms = 1700000000123, .event = "progress"};
	SL_BUF(b, 1000);
	r.data = sl_bytes_new("{\"a\":1}", 7);
	sl_event_record(&b, "RUN", &r);
	assert_string_equal(b.data, "{\"event\":\"progress\",\"run_id\":\"RUN\",\"seq\":7,\"ts\":\"2023-11-14T22:13:20."
				    "123Z\",\"data\":{\"a\":1}}");
	sl_bytes_unref(r.data);
	sl_buf_reset(&b);
	sl_event_sse(&b, 7, "progress", SL_STR("{\n\"a\":\r1}"));
	assert_string_equal(b.data, "id: 7\nevent: progress\ndata: { \"a\": 1}\n\n");
}

static void commands_say_what_is_wrong_with_them(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"cmd\":\"fly\"}", "subscribe_all"}, /* the list of what there is */
		{"{\"cmd\":\"subscribe\",\"run_id\":7}", "'run_id'"},
		{"{\"cmd\":\"subscribe\",\"run_id\":\"0190a2b4-1111-7222-8333-444455556666\",\"after_seq\":-1}",
		 "'after_seq'"},
		{"{\"cmd\":\"subscribe\",\"run_id\":\"0190a2b4-1111-7222-8333-444455556666\",\"streams\":[]}",
		 "'streams'"},
		{"{\"cmd\":\"subscribe\",\"run_id\":\"0190a2b4-1111-7222-8333-444455556666\",\"streams\":{\"x\":1.5}}",
		 "'x'"},
		{"{\"cmd\":\"set\",\"flush_ms\":2000}", "0 to 1000"},
		{"{\"cmd\":\"subscribe\",\"run_id\":\"0190a2b4-1111-7222-8333-444455556666\",\"afer_seq\":1}",
		 "'subscribe' has no 'afer_seq'; it may have after_seq and streams"},
		{"{\"cmd\":\"set\",\"flush_ms\":20,\"flush\":1}", "no 'flush'; it may have flush_ms"},
		{"{\"cmd\":\"ping\",\"run_id\":\"0190a2b4-1111-7222-8333-444455556666\"}", "'ping' has no 'run_id'"},
		{"\"ping\"", "JSON object"},
		{"{\"id\":1}", "name"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_ws_command c;
		struct sl_error err = {0};
		assert_int_equal(sl_ws_command_parse(sl_str(rows[i].text), &c, &err), SL_INVALID);
		if (!strstr(err.text, rows[i].says))
			fail_msg("%s: %s", rows[i].text, err.text);
		sl_ws_command_fini(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_of_every_length_are_measured_again),
		cmocka_unit_test(escaped_text_reads_back_the_same),
		cmocka_unit_test(a_record_is_an_event_on_the_wire),
		cmocka_unit_test(commands_say_what_is_wrong_with_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
