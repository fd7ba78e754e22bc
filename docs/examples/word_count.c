/* nodes/word_count.c: counts the words of a text. */
#include <ctype.h>

#include "engine/node.h"

static enum sl_step word_count_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct sl_str text = sl_json_get_str(params, "text"); /* templates are evaluated, the schema has accepted it */
	struct json_object *output = json_object_new_object();
	int64_t words = 0;
	bool inside = false;

	if (!output) {
		sl_fail(err, SL_NO_MEMORY, "the count");
		return SL_FAILED; /* retry, fallback and on_error follow */
	}
	for (size_t i = 0; i < text.len; i++) {
		bool space = isspace((unsigned char)text.p[i]) != 0;
		words += !space && !inside;
		inside = !space;
	}
	sl_json_set_i64(output, "words", words);
	sl_node_complete(n, output); /* takes the object */
	return SL_DONE;
}

const struct sl_node_type sl_node_type_word_count = {
	.name = "word_count",
	.summary = "Counts the words of a text.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"text\"], \"properties\": {"
		"  \"text\": { \"type\": \"string\", \"title\": \"Text\", \"description\": \"What is counted.\" } } }",
	.effects = SL_EFFECTS_NONE, /* pure: starts at once, may be repeated after a crash */
	.start = word_count_start,
};
