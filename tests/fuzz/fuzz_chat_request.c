/* Requests as OpenAI's clients send them, POST /v1/chat/completions and /v1/responses; the first byte chooses. A second
 * line is the definition of the workflow they go to. Properties: a refusal says why, with problems that are JSON; what
 * is accepted becomes a definition that is one of ours, which holds nothing of what the client wrote but the name of
 * the profile, and inputs with every message, none of them without a role and a content. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/conversation.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_object *parsed(struct sl_str text)
{
	struct json_object *o = NULL;
	SL_BUG_ON(sl_json_parse(text, &o, NULL) != SL_OK || !o);
	return o;
}

static void refused(enum sl_code rc, const struct sl_error *err, const struct sl_buf *errors)
{
	SL_BUF(list, SIZE_MAX);
	SL_BUG_ON((rc != SL_INVALID && rc != SL_NOT_FOUND) || err->code != rc || !err->text[0] ||
		  !sl_utf8_valid(err->text, strlen(err->text)));
	sl_buf_addc(&list, '[');
	sl_buf_add(&list, errors->data, errors->len);
	sl_buf_addc(&list, ']');
	SL_AUTO_JSON all = parsed(sl_buf_str(&list));
	SL_BUG_ON((json_object_array_length(all) == 0) != (rc == SL_NOT_FOUND));
}

static void messages_are_whole(struct json_object *inputs, size_t n)
{
	struct json_object *messages = sl_json_get(inputs, "messages");
	SL_BUG_ON(!json_object_is_type(messages, json_type_array) || json_object_array_length(messages) != n || n == 0);
	for (size_t i = 0; i < n; i++) {
		struct json_object *m = json_object_array_get_idx(messages, i);
		struct sl_str role = sl_json_get_str(m, "role");
		SL_BUG_ON(!sl_json_get(m, "content"));
		SL_BUG_ON(!sl_str_is(role, "system") && !sl_str_is(role, "user") && !sl_str_is(role, "assistant") &&
			  !sl_str_is(role, "tool"));
	}
}

static void as_profile(const struct sl_conversation *c)
{
	struct sl_bytes *definition = NULL, *inputs = NULL;
	SL_BUG_ON(sl_conversation_profile(c, &definition, &inputs) != SL_OK);
	SL_AUTO_JSON d = parsed(sl_bytes_str(definition));
	SL_AUTO_JSON in = parsed(sl_bytes_str(inputs));
	struct json_object *params = sl_json_get(json_object_array_get_idx(sl_json_get(d, "nodes"), 0), "params");
	messages_are_whole(in, json_object_array_length(c->messages));
	SL_BUG_ON(!sl_str_is(sl_json_get_str(params, "profile"), c->name));
	json_object_object_foreach (params, key, value) {
		char want[80];
		(void)snprintf(want, sizeof(want), "{{ input.%s }}", key);
		SL_BUG_ON(strcmp(key, "profile") != 0 && !sl_str_is(sl_json_str(value), want));
		SL_BUG_ON(strcmp(key, "profile") != 0 && !sl_json_get(in, key));
	}
	sl_bytes_unref(definition);
	sl_bytes_unref(inputs);
}

static void as_workflow(const struct sl_conversation *c, struct sl_str text)
{
	SL_AUTO_JSON definition = NULL;
	struct sl_bytes *inputs = NULL;
	struct sl_answer_place place;
	struct sl_error err = {0};
	if (sl_json_parse(text, &definition, NULL) != SL_OK || !json_object_is_type(definition, json_type_object))
		return;
	enum sl_code rc = sl_conversation_workflow(c, definition, &inputs, &place, &err);
	SL_BUG_ON(strnlen(place.node, sizeof(place.node)) == sizeof(place.node) ||
		  strnlen(place.output, sizeof(place.output)) == sizeof(place.output));
	SL_BUG_ON(rc != SL_OK && (rc != SL_INVALID || err.code != rc || inputs));
	if (rc != SL_OK)
		return;
	SL_AUTO_JSON in = parsed(sl_bytes_str(inputs));
	if (sl_json_get(in, "messages") && json_object_is_type(sl_json_get(in, "messages"), json_type_array))
		messages_are_whole(in, json_object_array_length(c->messages));
	sl_bytes_unref(inputs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sl_conversation c;
	struct sl_error err = {0};
	SL_AUTO_JSON body = NULL;
	SL_BUF(errors, SIZE_MAX);
	if (size == 0 || size > 1 << 15)
		return 0;
	struct sl_str text = sl_str_n((const char *)data + 1, size - 1), first = text, second = SL_STR("");
	(void)sl_str_cut(text, '\n', &first, &second); /* without a second line, all of it is the request */
	if (sl_json_parse(first, &body, NULL) != SL_OK || !json_object_is_type(body, json_type_object))
		return 0;
	enum sl_code rc = data[0] & 1 ? sl_conversation_read_response(&c, body, &errors, &err)
				      : sl_conversation_read_chat(&c, body, &errors, &err);
	if (rc != SL_OK) {
		refused(rc, &err, &errors);
	} else {
		SL_BUG_ON(strlen(c.name) >= sizeof(c.name) || strlen(c.model) >= sizeof(c.model));
		as_profile(&c);
		as_workflow(&c, second);
	}
	sl_conversation_fini(&c);
	return 0;
}
