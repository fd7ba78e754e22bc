/* api/openapi.c: the description of this interface, as it is in the binary. */
#include "api/api_priv.h"
#include "base/embed.h"

extern const struct sl_embedded sl_embedded_api[];

const struct sl_embedded *sl_api_file(const char *name)
{
	for (const struct sl_embedded *f = sl_embedded_api; f->name; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static void answer_file(struct sl_request *r, const char *name, const char *type)
{
	const struct sl_embedded *f = sl_api_file(name);
	char etag[SL_ETAG_BYTES];
	snprintf(etag, sizeof(etag), "\"%.32s\"", f->sha256);
	sl_answer_header(r, "ETag", sl_str(etag));
	sl_answer_header(r, "Cache-Control", SL_STR("no-cache"));
	if (sl_http1_has_token(sl_request_header(r, "if-none-match"), etag))
		sl_answer_empty(r, 304);
	else
		sl_answer_bytes(r, 200, type, sl_str_n(f->data, f->len), SL_BYTES_STABLE);
}

void sl_route_asyncapi(struct sl_api *a, struct sl_request *r)
{
	answer_file(r, "asyncapi.json", "application/json");
}

/* /docs, /docs.js, /docs.css: a page that draws both descriptions */
void sl_route_docs(struct sl_api *a, struct sl_request *r)
{
	const char *path = r->route->pattern;
	if (strcmp(path, "/docs.js") == 0)
		answer_file(r, "docs.js", "text/javascript; charset=utf-8");
	else if (strcmp(path, "/docs.css") == 0)
		answer_file(r, "docs.css", "text/css; charset=utf-8");
	else
		answer_file(r, "docs.html", "text/html; charset=utf-8");
}

void sl_route_openapi(struct sl_api *a, struct sl_request *r)
{
	answer_file(r, "openapi.json", "application/json");
}
