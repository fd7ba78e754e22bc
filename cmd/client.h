/* cmd/client.h: the commands' way to the server: REST and server-sent events on libcurl, blocking.
 *
 * Owns      one curl handle and its connection.
 * Thread    the main thread.
 * Token     --token, else SLUICE_TOKEN, else the admin token in the data folder, but that one only for a server on this
 * machine.
 */
#pragma once

#include "base/json.h"
#include "base/own.h"

struct sl_cli;
struct sl_client;
struct sl_sse_event;

SL_MUST_USE enum sl_code sl_client_new(const struct sl_cli *cli, struct sl_client **out, struct sl_error *err);
void sl_client_free(struct sl_client *c); /* NULL is fine */
SL_DEFINE_AUTO(sl_client)
const char *sl_client_url(const struct sl_client *c);

/* One request. body: NULL, or borrowed. *out (may be NULL) is the answer's JSON, the caller's. Any 2xx is SL_OK. A
 * problem's own code and text are told, with the places of an `errors` array on lines of their own. SL_UNAVAILABLE: no
 * answer. */
SL_MUST_USE enum sl_code sl_client_call(struct sl_client *c, const char *method, const char *path,
					struct json_object *body, const char *idempotency_key, struct json_object **out,
					struct sl_error *err);
/* The same; *status is the HTTP status, 0 when no answer came. */
SL_MUST_USE enum sl_code sl_client_call_status(struct sl_client *c, const char *method, const char *path,
					       struct json_object *body, const char *idempotency_key,
					       struct json_object **out, long *status, struct sl_error *err);

/* Of the call before, when it was refused with an `errors` array: that; else NULL. Lent until the next call. */
struct json_object *sl_client_errors(const struct sl_client *c);

/* Follows a text/event-stream until the server ends it, fn returns anything but SL_OK (that is the result), *stop is
 * set (SL_CANCELLED), or no event has come for quiet_ms (SL_TIMEOUT). SL_UNAVAILABLE: the connection broke; SL_OK: the
 * server ended it. */
typedef enum sl_code sl_client_event_fn(void *ctx, const struct sl_sse_event *e);
SL_MUST_USE enum sl_code sl_client_follow(struct sl_client *c, const char *path, sl_client_event_fn *fn, void *ctx,
					  unsigned quiet_ms, const volatile int *stop, struct sl_error *err);

/* What most commands are: one call, and its answer as it is with --json, else in the words of show(). An answer without
 * content is show()'s in either case, as NULL. Returns the exit code. */
typedef void sl_client_show_fn(const struct sl_cli *cli, struct json_object *answer);
int sl_client_command(const struct sl_cli *cli, const char *method, const char *path, struct json_object *body,
		      sl_client_show_fn *show);

/* The same of a page: a row for each of its items. */
struct sl_client_table {
	void (*row)(struct json_object *item);
	const char *head, *none,
		*more; /* lines: above, when there is nothing, when there is another page; NULL: no line */
};
int sl_client_list(const struct sl_cli *cli, const char *path, const struct sl_client_table *table);
const char *sl_client_cell(struct json_object *o, const char *key); /* "-": it is not there, or empty; lends */

/* Percent-encodes one segment of a path or a query value. */
void sl_client_escape(struct sl_buf *out, struct sl_str s);
