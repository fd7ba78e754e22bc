/* What clients of OpenAI ask, as a run: where each part of a conversation goes, and where a workflow's answer comes
 * from. */
#include "tests/lib/test.h"

#include <stdio.h>

#include "api/conversation.h"
#include "base/bytes.h"

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;
	struct sl_error err = {0};
	if (sl_json_parse(sl_str(text), &o, &err) != SL_OK)
		fail_msg("%s: %s", text, err.text);
	return o;
}

static enum sl_code read_chat(const char *body, struct sl_conversation *c, struct sl_buf *errors)
{
	SL_AUTO_JSON o = parse(body);
	struct sl_error err = {0};
	return sl_conversation_read_chat(c, o, errors, &err);
}

#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]"

static void a_body_that_cannot_be_served_is_refused(void **state)
{
	static const struct {
		const char *body;
		enum sl_code rc;
		const char *param; /* NULL: none is named */
	} rows[] = {
		{"{\"model\":\"profile:main\"," HELLO "}", SL_OK, NULL},
		{"{" HELLO "}", SL_INVALID, "model"},
		{"{\"model\":\"gpt-4o\"," HELLO "}", SL_NOT_FOUND, NULL},
		{"{\"model\":\"profile:\"," HELLO "}", SL_NOT_FOUND, NULL},
		{"{\"model\":\"agent:main\"," HELLO "}", SL_NOT_FOUND, NULL},
		{"{\"model\":\"profile:main\"}", SL_INVALID, "messages"},
		{"{\"model\":\"profile:main\",\"messages\":[]}", SL_INVALID, "messages"},
		{"{\"model\":\"profile:main\",\"messages\":[{\"role\":\"oracle\",\"content\":\"x\"}]}", SL_INVALID,
		 "messages"},
		{"{\"model\":\"profile:main\",\"messages\":[7]}", SL_INVALID, "messages"},
		{"{\"model\":\"profile:main\",\"n\":2," HELLO "}", SL_INVALID, "n"},
		{"{\"model\":\"profile:main\",\"tools\":[{\"type\":\"function\"}]," HELLO "}", SL_OK, NULL},
		{"{\"model\":\"profile:main\",\"tools\":[\"http_get\"]," HELLO "}", SL_INVALID, "tools"},
		{"{\"model\":\"profile:main\",\"user\":\"u\",\"logprobs\":true," HELLO "}", SL_OK,
		 NULL}, /* passed over */
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_conversation c;
		char pointer[64];
		SL_BUF(errors, 4096);
		assert_int_equal(read_chat(rows[i].body, &c, &errors), rows[i].rc);
		snprintf(pointer, sizeof(pointer), "\"pointer\":\"%s\"", rows[i].param ? rows[i].param : "");
		if (rows[i].param && !strstr(errors.data, pointer))
			fail_msg("%s: %s", rows[i].body, errors.data);
		sl_conversation_fini(&c);
	}
}

/* Nothing a client writes may be read as a template: it is all in the inputs. */
static void what_a_client_writes_is_an_input_and_no_template(void **state)
{
	struct sl_conversation c;
	SL_BUF(errors, 4096);
	SL_AUTO(sl_bytes) definition = NULL;
	SL_AUTO(sl_bytes) inputs = NULL;
	assert_int_equal(read_chat("{\"model\":\"profile:main\",\"temperature\":0.5,\"max_completion_tokens\":9,"
				   "\"reasoning_effort\":\"low\","
				   "\"stop\":\"{{ evil "
				   "}}\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
				   "\"schema\":{\"type\":\"object\"}}},\"messages\":[{\"role\":\"developer\","
				   "\"content\":\"{{ evil }}\"},"
				   "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\"}]}]}",
				   &c, &errors),
			 SL_OK);
	assert_int_equal(sl_conversation_profile(&c, &definition, &inputs), SL_OK);
	assert_null(strstr(definition->data, "evil"));
	SL_AUTO_JSON d = parse(definition->data);
	SL_AUTO_JSON in = parse(inputs->data);
	SL_AUTO_JSON want = parse(
		"{\"messages\":[{\"content\":\"{{ evil }}\",\"role\":\"system\"},{\"tool_calls\":[{\"id\":\"1\"}],"
		"\"role\":\"assistant\",\"content\":\"\"}],\"temperature\":0.5,\"max_tokens\":9,\"thinking\":\"low\","
		"\"stop\":\"{{ evil "
		"}}\",\"response_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"},"
		"\"name\":\"n\"}}");
	if (!sl_json_equal(in, want))
		fail_msg("%s", inputs->data);
	struct json_object *params = sl_json_get(json_object_array_get_idx(sl_json_get(d, "nodes"), 0), "params");
	assert_string_equal(sl_json_get_z(params, "profile"), "main");
	assert_string_equal(sl_json_get_z(params, "messages"), "{{ input.messages }}");
	assert_string_equal(sl_json_get_z(params, "max_tokens"), "{{ input.max_tokens }}");
	sl_conversation_fini(&c);
}

#define SAY                                                                                                            \
	"{\"model\":\"workflow:w\",\"messages\":[{\"role\":\"system\",\"content\":\"be "                               \
	"kind\"},{\"role\":\"user\",\"content\":"                                                                      \
	"\"first\"},{\"role\":\"assistant\",\"content\":\"yes\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\","  \
	"\"text\":\"a\"},"                                                                                             \
	"{\"type\":\"image_url\"},{\"type\":\"text\",\"text\":\"b\"}]}]}"

static void a_conversation_finds_the_inputs_of_a_workflow(void **state)
{
	static const struct {
		const char *properties; /* of the inputs; NULL: there is no schema */
		const char *required;
		const char *input,
			*value; /* the text input and what it gets; NULL: the workflow takes no conversation */
		bool messages, system;
	} rows[] = {
		{NULL, NULL, "prompt", "a\nb", true, false},
		{"\"topic\":{\"type\":\"string\"}", "[\"topic\"]", "topic", "a\nb", false, false},
		{"\"text\":{\"type\":\"string\"},\"question\":{\"type\":[\"string\",\"null\"]}", "[]", "question",
		 "a\nb", false, false},
		{"\"what\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}", "[\"what\",\"n\"]", "what", "a\nb",
		 false, false},
		{"\"what\":{\"type\":\"string\"},\"where\":{\"type\":\"string\"}", "[\"what\",\"where\"]", NULL, NULL,
		 false, false},
		{"\"prompt\":{\"type\":\"integer\"}", "[\"prompt\"]", NULL, NULL, false, false},
		{"\"messages\":{\"type\":\"array\"},\"system\":{\"type\":\"string\"}", "[\"messages\"]", "", "", true,
		 true},
	};
	struct sl_conversation c;
	SL_BUF(errors, 4096);
	assert_int_equal(read_chat(SAY, &c, &errors), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char text[1024];
		SL_AUTO(sl_bytes) inputs = NULL;
		struct sl_answer_place place;
		struct sl_error err = {0};
		if (rows[i].properties)
			snprintf(text, sizeof(text),
				 "{\"inputs\":{\"type\":\"object\",\"properties\":{%s},\"required\":%s},\"nodes\":[]}",
				 rows[i].properties, rows[i].required);
		else
			snprintf(text, sizeof(text), "{\"nodes\":[]}");
		SL_AUTO_JSON definition = parse(text);
		enum sl_code rc = sl_conversation_workflow(&c, definition, &inputs, &place, &err);
		assert_int_equal(rc, rows[i].input ? SL_OK : SL_INVALID);
		if (rc != SL_OK)
			continue;
		SL_AUTO_JSON in = parse(inputs->data);
		if (rows[i].input[0] && !sl_str_is(sl_json_get_str(in, rows[i].input), rows[i].value))
			fail_msg("%s gives %s", text, inputs->data);
		assert_int_equal(sl_json_get(in, "messages") != NULL, rows[i].messages);
		assert_int_equal(sl_json_get(in, "system") != NULL, rows[i].system);
		assert_int_equal(json_object_object_length(in),
				 (rows[i].input[0] != '\0') + rows[i].messages + rows[i].system);
	}
	sl_conversation_fini(&c);
}

static void the_answer_is_looked_for_in_the_outputs(void **state)
{
	static const struct {
		const char *rest; /* of the definition */
		const char *output, *node;
	} rows[] = {
		{"\"outputs\":{\"verdict\":\"{{ nodes.judge.text }}\"}", "verdict", "judge"},
		{"\"outputs\":{\"verdict\":\"{{nodes.judge.text}}\"}", "verdict", "judge"},
		{"\"outputs\":{\"kind\":\"x\",\"answer\":\" {{ nodes.a-1.text }} \"}", "answer", "a-1"},
		{"\"outputs\":{\"result\":\"r\",\"text\":\"{{ nodes.a.text }}\"}", "text", "a"},
		{"\"outputs\":{\"text\":\"So: {{ nodes.a.text }}\"}", "text", ""},
		{"\"outputs\":{\"text\":\"{{ nodes.a.text }}{{ nodes.b.text }}\"}", "text", ""},
		{"\"outputs\":{\"text\":\"{{ nodes.a.json }}\"}", "text", ""},
		{"\"outputs\":{\"text\":{\"deep\":1}}", "text", ""},
		{"\"edges\":[{\"from\":\"a\",\"to\":\"b\"}]", "", "b"}, /* no outputs: the last node */
		{"\"edges\":[]", "", ""},                               /* there are two */
	};
	struct sl_conversation c;
	SL_BUF(errors, 4096);
	assert_int_equal(read_chat(SAY, &c, &errors), SL_OK);
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		char text[1024];
		SL_AUTO(sl_bytes) inputs = NULL;
		struct sl_answer_place place;
		struct sl_error err = {0};
		snprintf(text, sizeof(text), "{\"nodes\":[{\"id\":\"a\"},{\"id\":\"b\"}],%s}", rows[i].rest);
		SL_AUTO_JSON definition = parse(text);
		assert_int_equal(sl_conversation_workflow(&c, definition, &inputs, &place, &err), SL_OK);
		if (strcmp(place.output, rows[i].output) != 0 || strcmp(place.node, rows[i].node) != 0)
			fail_msg("%s: output '%s', node '%s'", text, place.output, place.node);
	}
	sl_conversation_fini(&c);
}

static void a_response_is_read_as_a_conversation(void **state)
{
	static const struct {
		const char *body, *messages; /* NULL: refused */
	} rows[] = {
		{"{\"model\":\"profile:p\",\"instructions\":\"be brief\",\"input\":\"hi\"}",
		 "[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"hi\"}]"},
		{"{\"model\":\"profile:p\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
		 "\"text\":\"hi\"}]},"
		 "{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"},"
		 "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"7\"}]}",
		 "[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{"
		 "\"id\":\"c\",\"type\":"
		 "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_"
		 "id\":\"c\",\"content\":"
		 "\"7\"}]"},
		{"{\"model\":\"profile:p\",\"input\":[]}", NULL},
		{"{\"model\":\"profile:p\",\"input\":[{\"type\":\"reasoning\"}]}", NULL},
		{"{\"model\":\"profile:p\",\"input\":\"hi\",\"previous_response_id\":\"resp_1\"}", NULL},
	};
	for (size_t i = 0; i < SL_COUNT_OF(rows); i++) {
		struct sl_conversation c;
		struct sl_error err = {0};
		SL_BUF(errors, 4096);
		SL_AUTO_JSON body = parse(rows[i].body);
		enum sl_code rc = sl_conversation_read_response(&c, body, &errors, &err);
		assert_int_equal(rc, rows[i].messages ? SL_OK : SL_INVALID);
		if (rows[i].messages) {
			SL_AUTO_JSON want = parse(rows[i].messages);
			if (!sl_json_equal(c.messages, want))
				fail_msg("%s gives %s", rows[i].body, json_object_to_json_string(c.messages));
		}
		sl_conversation_fini(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_that_cannot_be_served_is_refused),
		cmocka_unit_test(what_a_client_writes_is_an_input_and_no_template),
		cmocka_unit_test(a_conversation_finds_the_inputs_of_a_workflow),
		cmocka_unit_test(the_answer_is_looked_for_in_the_outputs),
		cmocka_unit_test(a_response_is_read_as_a_conversation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
