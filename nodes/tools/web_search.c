/* nodes/tools/web_search.c: a search of the web, through the port that knows a provider. A server without one lists the
 * tool with that as the reason why it cannot be used, and whoever names it is told before a model is asked. What comes
 * back is foreign text. */
#include "engine/tool.h"
#include "llm/services.h"
#include "llm/sources.h"

/* The answer on its way to the run. */
struct found {
	struct sl_remote *remote;
	enum sl_code rc;
	struct sl_error err;
	struct sl_bytes *json;
};

static const char *web_search_unavailable(const struct sl_services *s)
{
	return s && s->sources && s->sources->web.search ? NULL : "no provider of web search is set up on this server";
}

static void found_free(void *arg)
{
	struct found *f = arg;
	sl_remote_unref(f->remote);
	sl_bytes_unref(f->json);
	free(f);
}

static void web_search_finished(struct sl_node *n, void *arg) /* [run] */
{
	struct found *f = arg;
	struct json_object *doc = NULL;
	if (f->rc == SL_OK)
		f->rc = sl_json_parse(sl_bytes_str(f->json), &doc, &f->err);
	if (f->rc == SL_OK) {
		sl_node_complete(n, doc);
	} else {
		if (!f->err.text[0])
			SL_IGNORE(sl_fail(&f->err, f->rc, "the web could not be searched")); /* fills the text */
		f->err.code = f->rc;
		sl_node_fail(n, &f->err);
	}
	found_free(f);
}

static void on_found(void *arg, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json) /* [any] */
{
	struct found *f = arg;
	struct sl_remote *remote = sl_remote_ref(f->remote);
	f->rc = rc;
	if (err)
		f->err = *err;
	f->json = rc == SL_OK ? sl_bytes_ref(json) : NULL;
	if (sl_remote_call(remote, web_search_finished, found_free, f) != SL_OK)
		found_free(f); /* no memory to say that there is none: the node's timeout, or the run's, ends it */
	sl_remote_unref(remote);
}

static enum sl_step web_search_start(struct sl_node *n, struct json_object *args, struct sl_error *err) /* [run] */
{
	const struct sl_services *services = sl_node_services(n);
	const struct sl_source *web = &services->sources->web; /* it is available, or this is not called */
	struct found *f = calloc(1, sizeof(*f));
	if (!f || !(f->remote = sl_node_remote(n))) {
		free(f);
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a search");
		return SL_FAILED;
	}
	const struct sl_source_query q = {.project = sl_str(sl_node_project(n)),
					  .text = sl_json_get_str(args, "query"),
					  .max_results = (uint32_t)sl_json_get_i64(args, "max_results", 3),
					  .timeout_ms = SL_SOURCE_TIMEOUT_MS,
					  .run = sl_node_run(n),
					  .path = sl_str(sl_node_path(n))};
	enum sl_code rc = web->search(web->ctx, &q, on_found, f);
	if (rc == SL_OK)
		return SL_PENDING;
	found_free(f);
	(void)sl_fail(err, rc, "the web could not be searched");
	return SL_FAILED;
}

static void web_search_cancel(struct sl_node *n) /* [run] */
{
	/* A search is short and changes nothing; its answer finds nobody. */
}

const struct sl_tool sl_tool_web_search = {
	.name = "web_search",
	.description = "Searches the web and returns { items: [{ title, url, text }] }, the best first.",
	.args_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"query\"], \"properties\": {"
		"  \"query\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 400, \"description\": \"What to "
		"look for.\" },"
		"  \"max_results\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 10, \"description\": \"3 "
		"when "
		"left out.\" } } }",
	.unavailable = web_search_unavailable,
	.start = web_search_start,
	.cancel = web_search_cancel,
};
