/* nodes/tools/web_search.c: a search of the web. This server has no provider of one yet, so the tool is listed, with
 * that as the reason why it cannot be used, and whoever asks for it is told before a model is. */
#include "engine/tool.h"

static const char *web_search_unavailable(const struct sl_services *s)
{
	return "no provider of web search is set up on this server";
}

static enum sl_step web_search_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	(void)sl_fail(err, SL_UNAVAILABLE, "%s", web_search_unavailable(NULL));
	return SL_FAILED;
}

const struct sl_tool sl_tool_web_search = {
	.name = "web_search",
	.description = "Searches the web and returns { results: [{ title, url, snippet }] }.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"query\"], \"properties\": {"
		"  \"query\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 400, \"description\": \"What to "
		"look for.\" },"
		"  \"max_results\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 10, \"description\": \"3 "
		"when "
		"left out.\" } } }",
	.unavailable = web_search_unavailable,
	.start = web_search_start,
};
