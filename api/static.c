/* api/static.c: the UI out of the binary. Files under assets/ carry a hash in their name and may be kept for ever;
 * everything else is asked for again, with an ETag. A path without a file is a page of the UI, which routes in the
 * browser. */
#include "api/api_priv.h"
#include "base/embed.h"

static const struct sl_embedded *find(struct sl_str name)
{
	for (const struct sl_embedded *f = sl_embedded_ui; f->name; f++)
		if (sl_str_is(name, f->name))
			return f;
	return NULL;
}

static const char *type_of(struct sl_str name)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{".html", "text/html; charset=utf-8"},
		{".js", "text/javascript; charset=utf-8"},
		{".css", "text/css; charset=utf-8"},
		{".svg", "image/svg+xml"},
		{".png", "image/png"},
		{".ico", "image/x-icon"},
		{".woff2", "font/woff2"},
		{".json", "application/json"},
		{".webmanifest", "application/manifest+json"},
		{".map", "application/json"},
		{".txt", "text/plain; charset=utf-8"},
	};
	for (size_t i = 0; i < SL_COUNT_OF(types); i++) {
		size_t n = strlen(types[i].end);
		if (name.len > n && memcmp(name.p + name.len - n, types[i].end, n) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

static bool names_file(struct sl_str path)
{
	const char *dot = memrchr(path.p, '.', path.len), *slash = memrchr(path.p, '/', path.len);
	return dot && (!slash || dot > slash);
}

static void serve(struct sl_request *r, const struct sl_embedded *f)
{
	char etag[SL_ETAG_BYTES];
	bool keeps = strncmp(f->name, "assets/", 7) == 0;
	snprintf(etag, sizeof(etag), "\"%.32s\"", f->sha256);
	sl_answer_header(r, "ETag", sl_str(etag));
	sl_answer_header(r, "Cache-Control",
			 keeps ? SL_STR("public, max-age=31536000, immutable") : SL_STR("no-cache"));
	struct sl_str have = sl_request_header(r, "if-none-match");
	if (sl_http1_has_token(have, etag) || sl_str_is(have, "*"))
		sl_answer_empty(r, 304);
	else
		sl_answer_bytes(r, 200, type_of(sl_str(f->name)), sl_str_n(f->data, f->len), SL_BYTES_STABLE);
}

void sl_route_ui(struct sl_api *a, struct sl_request *r)
{
	struct sl_str path = r->n_params ? r->params[0] : SL_STR("index.html");
	const struct sl_embedded *f = find(path);
	bool reserved =
		sl_str_starts(path, SL_STR("api/")) || sl_str_starts(path, SL_STR("v1/")) || sl_str_is(path, "ws");
	if (!f && !reserved && !names_file(path))
		f = find(SL_STR("index.html"));
	if (f)
		serve(r, f);
	else if (!find(SL_STR("index.html")) && !reserved && !names_file(path))
		sl_answer_problem(r, SL_NOT_FOUND, "this server was built without the UI");
	else
		sl_answer_problem(r, SL_NOT_FOUND, "nothing is here");
}
