/* cmd/client.c: see client.h. */
#include "cmd/client.h"

#include <stdio.h>
#include <stdlib.h>

#include <curl/curl.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/limits.h"
#include "cmd/cli.h"
#include "llm/sse.h"

#define MORE_BYTES        40          /* for "and 17 more", at the end of an error that is full */
#define CLIENT_BODY_BYTES (64u << 20) /* an answer; a run with its outputs can be large */
#define CLIENT_SILENT_S   70          /* a stream says something at least every 20 s */

struct sl_client {
	CURL *curl;
	char *url;                  /* without a slash at the end */
	char *auth;                 /* the header line; NULL: no token */
	struct json_object *errors; /* of the last refusal; NULL: it had none */
};

void sl_client_free(struct sl_client *c)
{
	if (!c)
		return;
	if (c->curl)
		curl_easy_cleanup(c->curl);
	if (c->auth)
		sodium_memzero(c->auth, strlen(c->auth));
	free(c->auth);
	free(c->url);
	json_object_put(c->errors);
	free(c);
}

struct json_object *sl_client_errors(const struct sl_client *c)
{
	return c->errors;
}

const char *sl_client_url(const struct sl_client *c)
{
	return c->url;
}

/* The first line of DATA/name; NULL: there is none. */
static char *first_line(const char *data, const char *name)
{
	char path[4096], line[4096];
	snprintf(path, sizeof(path), "%s/%s", data, name);
	FILE *f = fopen(path, "re");
	if (!f)
		return NULL;
	char *got = fgets(line, sizeof(line), f);
	fclose(f);
	if (!got)
		return NULL;
	char *copy = sl_str_dup(sl_str_trim(sl_str(line)));
	sodium_memzero(line, sizeof(line));
	return copy;
}

static bool is_local(const char *url)
{
	static const char *const local[] = {"http://127.",       "https://127.", "http://localhost",
					    "https://localhost", "http://[::1]", "https://[::1]"};
	for (size_t i = 0; i < SL_COUNT_OF(local); i++)
		if (strncmp(url, local[i], strlen(local[i])) == 0) {
			char next = url[strlen(local[i])];
			return local[i][strlen(local[i]) - 1] == '.' || next == '\0' || next == ':' || next == '/';
		}
	return false;
}

enum sl_code sl_client_new(const struct sl_cli *cli, struct sl_client **out, struct sl_error *err)
{
	SL_AUTO(sl_client) c = calloc(1, sizeof(*c));
	const char *url = sl_config_z(cli->config, SL_CLI_URL), *token = sl_config_z(cli->config, SL_CLI_TOKEN);
	const char *data = sl_config_z(cli->config, SL_CLI_DATA);
	SL_AUTO_MEM char *file_url = NULL, *file_token = NULL;

	if (!c)
		return sl_fail(err, SL_NO_MEMORY, "client");
	if (!url)
		url = file_url = first_line(data, "url");
	if (!url)
		url = "http://127.0.0.1:7070";
	if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
		return sl_fail(err, SL_BAD_REQUEST, "the server's URL begins with http:// or https://, not \"%s\"",
			       url);
	struct sl_str trimmed = sl_str(url);
	while (trimmed.len && trimmed.p[trimmed.len - 1] == '/')
		trimmed.len--;
	c->url = sl_str_dup(trimmed);
	if (!token && is_local(url))
		token = file_token = first_line(data, "admin-token");
	if (token) {
		SL_BUF(line, 8192);
		sl_buf_addf(&line, "Authorization: Bearer %s", token);
		c->auth = sl_buf_take(&line);
	}
	if (file_token)
		sodium_memzero(file_token, strlen(file_token));
	curl_global_init(CURL_GLOBAL_DEFAULT);
	c->curl = curl_easy_init();
	if (!c->url || !c->curl || (token && !c->auth))
		return sl_fail(err, SL_NO_MEMORY, "client");
	*out = SL_TAKE(c);
	return SL_OK;
}

void sl_client_escape(struct sl_buf *out, struct sl_str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char b = (unsigned char)s.p[i];
		if ((b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || strchr("-_.~", b))
			sl_buf_addc(out, (char)b);
		else
			sl_buf_addf(out, "%%%02X", b);
	}
}

static size_t to_buffer(char *p, size_t one, size_t n, void *ctx)
{
	struct sl_buf *b = ctx;
	sl_buf_add(b, p, one * n);
	return b->failed ? 0 : one * n;
}

static void prepare(struct sl_client *c, const char *method, const char *path, char *url, size_t url_bytes)
{
	snprintf(url, url_bytes, "%s%s", c->url, path);
	curl_easy_reset(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(c->curl, CURLOPT_USERAGENT, "sluice-cli/" SL_VERSION);
	if (is_local(c->url))
		curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
}

static struct curl_slist *headers(const struct sl_client *c, const char *accept, const char *key, bool body)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	char line[300];
	snprintf(line, sizeof(line), "Accept: %s", accept);
	list = curl_slist_append(list, line);
	if (c->auth)
		list = curl_slist_append(list, c->auth);
	if (body)
		list = curl_slist_append(list, "Content-Type: application/json");
	if (key) {
		snprintf(line, sizeof(line), "Idempotency-Key: %s", key);
		list = curl_slist_append(list, line);
	}
	return list;
}

/* What a problem document says, as an error. */
static enum sl_code problem(struct sl_client *c, long status, struct json_object *doc, struct sl_error *err)
{
	enum sl_code code = status == 401   ? SL_UNAUTHORIZED
			    : status == 403 ? SL_FORBIDDEN
			    : status == 404 ? SL_NOT_FOUND
			    : status >= 500 ? SL_UNAVAILABLE
					    : SL_INVALID;
	struct sl_str wire = sl_json_get_str(doc, "code");
	const char *text = sl_json_get_z(doc, "detail");
	SL_BUF(all, SL_ERROR_TEXT_BYTES);
	if (wire.len)
		sl_code_from_wire(wire.p, wire.len, &code);
	if (!text)
		text = sl_json_get_z(doc, "title");
	struct json_object *errors = sl_json_get(doc, "errors");
	size_t n = errors && json_object_is_type(errors, json_type_array) ? json_object_array_length(errors) : 0;
	if (n > 1 && text && *text == '/') /* the first of them, which comes below anyway */
		sl_buf_addf(&all, "there are %zu things to mend", n);
	else if (text)
		sl_buf_adds(&all, text);
	else
		sl_buf_addf(&all, "the server answered %ld", status);
	json_object_put(c->errors);
	c->errors = n ? json_object_get(errors) : NULL;
	for (size_t i = 0; i < n; i++) {
		struct json_object *one = json_object_array_get_idx(errors, i);
		const char *at = sl_json_get_z(one, "pointer"), *message = sl_json_get_z(one, "message");
		at = at ? at : "";
		message = message ? message : "";
		if (n == 1 && text && strstr(text, message) && strstr(text, at))
			break; /* that has been said */
		if (all.len + strlen(at) + strlen(message) + MORE_BYTES > SL_ERROR_TEXT_BYTES) {
			sl_buf_addf(&all, "\n  and %zu more", n - i);
			break;
		}
		sl_buf_addf(&all, "\n  %s  %s", at, message);
	}
	if (code == SL_UNAUTHORIZED)
		sl_buf_adds(&all, " (set SLUICE_TOKEN, or SLUICE_DATA to the server's data folder)");
	return sl_fail(err, code, "%s", all.data ? all.data : "the server refused");
}

enum sl_code sl_client_call_status(struct sl_client *c, const char *method, const char *path, struct json_object *body,
				   const char *key, struct json_object **out, long *status, struct sl_error *err)
{
	char url[8192];
	SL_BUF(answer, CLIENT_BODY_BYTES);
	SL_BUF(sent, CLIENT_BODY_BYTES);
	SL_AUTO_JSON doc = NULL;
	struct sl_error parse = {0};

	*status = 0;
	json_object_put(SL_TAKE(c->errors));
	prepare(c, method, path, url, sizeof(url));
	if (body) {
		sl_json_write(&sent, body);
		if (sent.failed)
			return sl_fail(err, SL_TOO_LARGE, "the request is too large");
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, sent.data);
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)sent.len);
	} else if (strcmp(method, "POST") == 0)
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, "");
	struct curl_slist *list = headers(c, "application/json", key, body != NULL);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, to_buffer);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &answer);
	CURLcode rc = curl_easy_perform(c->curl);
	curl_slist_free_all(list);
	if (rc != CURLE_OK)
		return sl_fail(err, SL_UNAVAILABLE,
			       rc == CURLE_SSL_CONNECT_ERROR
				       ? "no answer from %s: %s. Does it speak TLS? (http:// instead of https://)"
				       : "no answer from %s: %s. Is the server running? (sluice serve, or ./dev up)",
			       c->url, curl_easy_strerror(rc));
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, status);
	bool readable = answer.len == 0 || sl_json_parse(sl_buf_str(&answer), &doc, &parse) == SL_OK;
	if (*status >= 400)
		return problem(c, *status, readable ? doc : NULL, err);
	if (*status < 200 || *status >= 300 || !readable)
		return sl_fail(err, SL_UNAVAILABLE, "%s does not answer like a Sluice server (%ld)", c->url, *status);
	if (out)
		*out = SL_TAKE(doc);
	return SL_OK;
}

enum sl_code sl_client_call(struct sl_client *c, const char *method, const char *path, struct json_object *body,
			    const char *key, struct json_object **out, struct sl_error *err)
{
	long status;
	return sl_client_call_status(c, method, path, body, key, out, &status, err);
}

struct follow {
	CURL *curl;
	struct sl_sse sse;
	struct sl_buf refusal; /* the body when the answer is no stream */
	sl_client_event_fn *fn;
	void *ctx;
	uint64_t heard_ms;
	enum sl_code rc;
};

static enum sl_code one_event(void *ctx, const struct sl_sse_event *e)
{
	struct follow *f = ctx;
	f->heard_ms = sl_clock_mono_ms();
	return f->fn(f->ctx, e);
}

static size_t to_events(char *p, size_t one, size_t n, void *ctx)
{
	struct follow *f = ctx;
	long status = 0;
	curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return to_buffer(p, one, n, &f->refusal);
	f->rc = sl_sse_feed(&f->sse, sl_str_n(p, one * n));
	return f->rc == SL_OK ? one * n : 0;
}

enum sl_code sl_client_follow(struct sl_client *c, const char *path, sl_client_event_fn *fn, void *ctx,
			      unsigned quiet_ms, const volatile int *stop, struct sl_error *err)
{
	struct follow f = {.curl = c->curl, .fn = fn, .ctx = ctx, .heard_ms = sl_clock_mono_ms()};
	bool quiet = false;
	char url[8192];
	int running = 1, left;
	CURLcode result = CURLE_OK;
	long status = 0;

	sl_buf_init(&f.refusal, SL_LIMIT_BODY_BYTES);
	sl_sse_init(&f.sse, one_event, &f);
	prepare(c, "GET", path, url, sizeof(url));
	struct curl_slist *list = headers(c, "text/event-stream", NULL, false);
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(c->curl, CURLOPT_LOW_SPEED_TIME, (long)CLIENT_SILENT_S);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, to_events);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &f);
	CURLM *multi = curl_multi_init();
	if (!multi || curl_multi_add_handle(multi, c->curl) != CURLM_OK) {
		curl_slist_free_all(list);
		curl_multi_cleanup(multi);
		sl_sse_fini(&f.sse);
		return sl_fail(err, SL_NO_MEMORY, "client");
	}
	while (running && !*stop && !quiet) {
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			break;
		if (running) /* a signal ends the wait at once */
			curl_multi_poll(multi, NULL, 0, 500, NULL);
		quiet = running && sl_clock_mono_ms() - f.heard_ms >= quiet_ms;
	}
	for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
		if (m->msg == CURLMSG_DONE)
			result = m->data.result;
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(multi, c->curl);
	curl_multi_cleanup(multi);
	curl_slist_free_all(list);

	enum sl_code rc = f.rc;
	if (rc != SL_OK)
		SL_IGNORE(sl_fail(err, rc, "%s", sl_code_wire(rc))); /* fn's own, it knows why */
	else if (*stop)
		rc = sl_fail(err, SL_CANCELLED, "stopped");
	else if (quiet)
		rc = sl_fail(err, SL_TIMEOUT, "no event for %u ms", quiet_ms);
	else if (result != CURLE_OK)
		rc = sl_fail(err, SL_UNAVAILABLE, "the connection to %s broke: %s", c->url, curl_easy_strerror(result));
	else if (status != 200) {
		SL_AUTO_JSON doc = NULL;
		struct sl_error parse;
		if (sl_json_parse(sl_buf_str(&f.refusal), &doc, &parse) != SL_OK)
			doc = NULL;
		rc = problem(c, status, doc, err);
	}
	sl_sse_fini(&f.sse);
	sl_buf_fini(&f.refusal);
	return rc;
}

/* ---- what commands have in common ---- */

static enum sl_code once(const struct sl_cli *cli, const char *method, const char *path, struct json_object *body,
			 struct json_object **answer, struct sl_error *err)
{
	SL_AUTO(sl_client) client = NULL;
	enum sl_code rc = sl_client_new(cli, &client, err);
	return rc == SL_OK ? sl_client_call(client, method, path, body, NULL, answer, err) : rc;
}

int sl_client_command(const struct sl_cli *cli, const char *method, const char *path, struct json_object *body,
		      sl_client_show_fn *show)
{
	SL_AUTO_JSON answer = NULL;
	struct sl_error err = {0};
	if (once(cli, method, path, body, &answer, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json && answer)
		sl_cli_put_json(answer, false);
	else
		show(cli, answer);
	return SL_EXIT_DONE;
}

int sl_client_list(const struct sl_cli *cli, const char *path, const struct sl_client_table *table)
{
	SL_AUTO_JSON page = NULL;
	struct sl_error err = {0};
	if (once(cli, "GET", path, NULL, &page, &err) != SL_OK)
		return sl_cli_fail(cli, &err);
	if (cli->json) {
		sl_cli_put_json(page, false);
		return SL_EXIT_DONE;
	}
	struct json_object *items = sl_json_get(page, "items");
	size_t n = items ? json_object_array_length(items) : 0;
	const char *last = !n ? table->none : sl_json_get(page, "next_cursor") ? table->more : NULL;
	if (n && table->head)
		puts(table->head);
	for (size_t i = 0; i < n; i++)
		table->row(json_object_array_get_idx(items, i));
	if (last)
		puts(last);
	return SL_EXIT_DONE;
}

const char *sl_client_cell(struct json_object *o, const char *key)
{
	const char *z = sl_json_get_z(o, key);
	return z && *z ? z : "-";
}
