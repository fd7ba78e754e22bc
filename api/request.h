/* api/request.h: one request, from its head to its answer.
 *
 * Owns      copies of the head, the body, and what handlers allocate in its arena. Atomically counted: the connection
 * holds one reference while the request is its present one, and whoever answers later holds one of its own. Thread ref
 * and unref [any], everything else [front]. A handler that waits for another thread takes a reference, comes back with
 * sl_loop_post() on sl_request_loop(), answers and drops it. The client may be gone by then: all answers are then
 * no-ops, so nobody needs to ask. Answer    exactly one of the sl_answer_*() calls ends a request; a second one is
 * ignored (and counted as a bug).
 */
#pragma once

#include "api/http1.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/id.h"

struct sl_conn;
struct sl_loop;
struct sl_route;
struct sl_server;

enum sl_role { SL_ROLE_NONE, SL_ROLE_VIEWER, SL_ROLE_RUNNER, SL_ROLE_EDITOR, SL_ROLE_ADMIN };

#define SL_REQUEST_PARAMS   4
#define SL_REQUEST_ID_BYTES 65

struct sl_request {
	_Atomic uint32_t refs;
	struct sl_server *server;
	struct sl_conn *conn; /* NULL: the client is gone, or has been answered */
	struct sl_arena arena;

	/* [const] once the head is there; slices live as long as the request */
	struct sl_http1_head head;
	char *head_text;
	char id[SL_REQUEST_ID_BYTES]; /* X-Request-Id */
	char peer[64];                /* numeric address */
	bool peer_loopback, tls;
	uint64_t began_us;

	struct sl_buf body; /* complete in `handle` */

	/* filled in by the router and auth */
	const struct sl_route *route;
	uint32_t answer_ms;                      /* how long the answer may take; 0: the server's */
	struct sl_str params[SL_REQUEST_PARAMS]; /* decoded {placeholders} of the route, in order */
	size_t n_params;
	enum sl_role role;
	const char *by; /* name of the token; in the arena */
	struct sl_uuid token;
	bool by_cookie;

	/* of the answer */
	bool answered, streaming;
	struct sl_buf extra; /* further header lines of the answer */
	/* [front] The client went away before the answer, or during a stream. Once; forget the stream then. */
	void (*on_gone)(struct sl_request *r, void *ctx);
	void (*on_writable)(struct sl_request *r,
			    void *ctx); /* a stream that was SL_WRITE_FULL or _BUSY takes bytes again */
	void *on_ctx;
};

struct sl_request *sl_request_ref(struct sl_request *r);
void sl_request_unref(struct sl_request *r);                 /* NULL is fine */
struct sl_loop *sl_request_loop(const struct sl_request *r); /* [any] where to come back to */
static inline void sl_request_free(struct sl_request *r)
{
	sl_request_unref(r);
}
SL_DEFINE_AUTO(sl_request)

struct sl_str sl_request_header(const struct sl_request *r, const char *name); /* any case; empty: not there */
/* A decoded query parameter; false: not there, or broken. In the arena. */
bool sl_request_query(struct sl_request *r, const char *name, struct sl_str *out);
/* A parameter that must be a whole number in [least, most]; `otherwise` when it is not there. false: it is something
 * else. */
bool sl_request_query_u64(struct sl_request *r, const char *name, uint64_t least, uint64_t most, uint64_t otherwise,
			  uint64_t *out);
bool sl_request_cookie(const struct sl_request *r, const char *name, struct sl_str *out);

/* Adds a header line to the answer to come. Values with control characters are dropped. */
void sl_answer_header(struct sl_request *r, const char *name, struct sl_str value);

/* The body as JSON. `json` is taken (NULL answers 503 no_memory). */
void sl_answer_json(struct sl_request *r, int status, struct sl_bytes *json);
void sl_answer_buf(struct sl_request *r, int status, struct sl_buf *json); /* moves the content; failed: 503 */
void sl_answer_empty(struct sl_request *r, int status);
/* Any type. `stable`: the bytes live as long as the process. */
enum sl_answer_bytes { SL_BYTES_COPIED, SL_BYTES_STABLE };
void sl_answer_bytes(struct sl_request *r, int status, const char *type, struct sl_str body, enum sl_answer_bytes how);

/* application/problem+json (RFC 9457) with the code's status. `errors`: the members of an array,
 * {"pointer","message"},…; empty: none. */
void sl_answer_problem(struct sl_request *r, enum sl_code code, const char *fmt, ...) SL_PRINTF(3, 4);
void sl_answer_error(struct sl_request *r, enum sl_code code, const struct sl_error *err); /* with its retry_after_ms */
void sl_answer_problem_with(struct sl_request *r, int status, enum sl_code code, struct sl_str detail,
			    struct sl_str errors, uint32_t retry_after_ms,
			    struct sl_str members); /* members: further ones, `"status":"paused"` */

/* What a problem looks like under /v1, to clients of OpenAI: { "error": { "message", "type", "param", "code" } }.
 * `errors` as above: the first pointer becomes `param`. */
void sl_openai_error(struct sl_buf *b, int status, enum sl_code code, struct sl_str message, struct sl_str errors);

/* A body of unknown length. Set on_gone and on_writable before. */
enum sl_write { SL_WRITE_MORE, SL_WRITE_FULL, SL_WRITE_BUSY, SL_WRITE_GONE };
void sl_answer_stream(struct sl_request *r, int status, const char *type);
/* MORE: sent. FULL: taken, but wait for on_writable. BUSY: not taken, wait for on_writable. GONE: never. */
enum sl_write sl_answer_write(struct sl_request *r, const char *p, size_t len);
size_t sl_answer_unsent(const struct sl_request *r);
void sl_answer_end(struct sl_request *r);   /* the stream is complete */
void sl_answer_abort(struct sl_request *r); /* closes the connection in the middle */
