/* llm/tokens.c: see tokens.h. The class of a character is known from its first byte (and for three bytes from the
 * second), so pieces may be cut anywhere. */
#include "llm/tokens.h"

#include "base/json.h"

#define TOKENS_RUN      4  /* as many of the same in a row count, the others are free */
#define TOKENS_RUN_LONG 64 /* … but sixty-four more are a token's worth again */

static unsigned weight_of(unsigned char c)
{
	if (c < 0x80) {
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c <= ' ')
			return 3;
		return c >= '0' && c <= '9' ? 4 : 6;
	}
	if (c < 0xc0) /* the rest of a character */
		return 0;
	if (c < 0xe0)
		return 5;
	if (c >= 0xf0)
		return 24;
	/* E2: punctuation and symbols; E3 to E9, EA (Hangul from EAB0), EB to ED, EF: the scripts of East Asia */
	return c >= 0xe3 && c != 0xee ? 12 : 8;
}

void sl_tokens_add(struct sl_token_count *c, struct sl_str piece)
{
	for (size_t i = 0; i < piece.len; i++) {
		unsigned char b = (unsigned char)piece.p[i];
		bool runs = b < 0x80 && !((b | 0x20) >= 'a' && (b | 0x20) <= 'z') && !(b >= '0' && b <= '9');
		if (runs && b == c->last) {
			c->run++;
			if (c->run >= TOKENS_RUN_LONG)
				c->run = 0;
			if (c->run >= TOKENS_RUN)
				continue;
		} else {
			c->run = 0;
			c->last = b;
		}
		c->twelfths += weight_of(b);
	}
}

uint64_t sl_tokens_of_text(struct sl_str text)
{
	struct sl_token_count c = {0};
	sl_tokens_add(&c, text);
	return sl_tokens_sum(&c);
}

static uint64_t of_json(struct json_object *o)
{
	if (!o)
		return 0;
	if (json_object_is_type(o, json_type_string))
		return sl_tokens_of_text(sl_json_str(o));
	size_t len;
	const char *text = json_object_to_json_string_length(o, JSON_C_TO_STRING_PLAIN, &len);
	if (!text) {
		sl_json_lost(); /* who must be exact compares */
		return 0;
	}
	return sl_tokens_of_text(sl_str_n(text, len));
}

/* A text, or a list of parts of which an image counts as one. */
static uint64_t of_content(struct json_object *content)
{
	uint64_t sum = 0;
	if (!content || !json_object_is_type(content, json_type_array))
		return of_json(content);
	for (size_t i = 0; i < json_object_array_length(content); i++) {
		struct json_object *part = json_object_array_get_idx(content, i);
		struct sl_str text = sl_json_get_str(part, "text");
		if (sl_json_get(part, "image_url") || sl_str_is(sl_json_get_str(part, "type"), "image"))
			sum += SL_TOKENS_PER_IMAGE;
		else
			sum += text.len ? sl_tokens_of_text(text) : of_json(part);
	}
	return sum;
}

uint64_t sl_tokens_of_request(struct json_object *params, struct sl_str system)
{
	struct json_object *messages = sl_json_get(params, "messages");
	struct sl_str own = sl_json_get_str(params, "system");
	uint64_t sum = SL_TOKENS_PER_MESSAGE; /* what opens the answer */
	if (system.len)
		sum += SL_TOKENS_PER_MESSAGE + sl_tokens_of_text(system);
	if (own.len)
		sum += SL_TOKENS_PER_MESSAGE + sl_tokens_of_text(own);
	if (messages && json_object_is_type(messages, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(messages); i++) {
			struct json_object *m = json_object_array_get_idx(messages, i);
			sum += SL_TOKENS_PER_MESSAGE + of_content(sl_json_get(m, "content")) +
			       of_json(sl_json_get(m, "tool_calls"));
		}
	} else {
		sum += SL_TOKENS_PER_MESSAGE + of_json(sl_json_get(params, "prompt"));
	}
	return sum + of_json(sl_json_get(params, "tools")) + of_json(sl_json_get(params, "response_format"));
}
