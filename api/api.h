/* api/api.h: the HTTP door: everything under /api/v1, health, metrics, the UI, and who may use it and the WebSockets.
 *
 * Owns      the server (api/server.h) with its libwebsockets context, tokens in memory, tickets, sessions.
 * Thread    new [before the loop starts]; start [before the loop starts, or front]; drain [any]; stop [not front].
 * Order     cmd makes the api, then the sockets (sl_ws_new with sl_api_ws_commands() and sl_api_ws_authenticate()),
 * then the engine whose bus they are, and then starts the api with all of them. At the end: drain, stop the engine,
 * stop the api (which ends the lws context and calls sl_ws_close()), close the store, free.
 */
#pragma once

#include "api/rate.h"
#include "base/clock.h"
#include "base/own.h"
#include "store/store.h" /* enum sl_store_news */

struct lws;
struct sl_agents;
struct sl_cache;
struct sl_api;
struct sl_engine;
struct sl_governor;
struct sl_egress;
struct sl_llm;
struct sl_loop;
struct sl_memory;
struct sl_registry;
struct sl_store;
struct sl_ws;
struct sl_ws_commands;
struct sl_ws_identity;

#define SL_API_SECRET_BYTES 32

/* Everything is copied but the loop. */
struct sl_api_config {
	struct sl_loop *loop;
	const char *listen;                      /* "127.0.0.1:7070"; port 0 picks one */
	const char *tls_cert, *tls_key;          /* PEM files; NULL: no TLS */
	bool insecure;                           /* listen off loopback without TLS */
	const char *admin_token;                 /* required */
	uint8_t secret_key[SL_API_SECRET_BYTES]; /* signs sessions */
	uint32_t request_ms;                     /* how long an answer may take; 0: SL_LIMIT_HTTP_ANSWER_MS */
	const char *hosts;   /* further names this server is reached by, "sluice.example.org other:8080"; NULL: none */
	const char *origins; /* further origins whose pages may use it, "https://sluice.example.org"; NULL: none */
	uint32_t per_minute[SL_RATE_KINDS]; /* of one token; 0: no limit */
	const struct sl_clock *clock;       /* NULL: the real one */
};

/* What it is the door of. Must outlive the api. */
struct sl_api_parts {
	struct sl_engine *engine;
	const struct sl_registry *registry;
	struct sl_store *store;
	struct sl_llm *llm;
	struct sl_agents *agents;
	struct sl_governor *governor; /* NULL: none */
	struct sl_cache *cache;       /* likewise */
	struct sl_egress *egress;
	struct sl_memory *memory;           /* NULL: none */
	const struct sl_tool *const *tools; /* the generated table; NULL: none */
	const struct sl_services *services; /* what they are asked about */
	struct sl_ws *ws;
};

/* [before anything is started] Whether it could listen as it is told to, as far as that can be seen before. */
SL_MUST_USE enum sl_code sl_api_check(const struct sl_api_config *config, struct sl_error *err);
SL_MUST_USE enum sl_code sl_api_new(const struct sl_api_config *config, struct sl_api **out, struct sl_error *err);
/* Loads the tokens and begins to listen. SL_INVALID, SL_UNAVAILABLE: the text says why. */
SL_MUST_USE enum sl_code sl_api_start(struct sl_api *a, const struct sl_api_parts *parts, struct sl_error *err);
const char *sl_api_address(const struct sl_api *a); /* "127.0.0.1:41234", after start */
const char *sl_api_url(const struct sl_api *a);     /* "http://127.0.0.1:41234" */

#define SL_SETTING_PAUSED "paused" /* { "paused": bool }: of all servers on the database */

/* [any] An operator's pause begins or ends here; `engine` NULL: there is none yet. */
void sl_api_paused(struct sl_api *a, struct sl_engine *engine, bool paused);
/* [any, once it is started] Another server has changed what this one keeps in memory, or may have: read again, and
 * followed. */
void sl_api_news(struct sl_api *a, enum sl_store_news news);

/* Going down, in three steps. [any] leave: /readyz says 503, everything else goes on: whoever sends traffic here looks
 * there first. drain: new runs get 503 `draining`. settle: no connection is taken any more, each ends with its next
 * answer; waits until what is under way has been answered, or nothing moves any more, or wait_ms are over; once. */
void sl_api_leave(struct sl_api *a);
void sl_api_drain(struct sl_api *a);
void sl_api_settle(struct sl_api *a, uint32_t wait_ms); /* [not front] */
void sl_api_stop(struct sl_api *a);
void sl_api_free(struct sl_api *a); /* when the loop has stopped: answers on their way still find it. NULL is fine */
SL_DEFINE_AUTO(sl_api)

/* For struct sl_ws_config: .commands, and .authenticate with the api as auth_ctx. */
void sl_api_ws_commands(struct sl_api *a, struct sl_ws_commands *out);
enum sl_code sl_api_ws_authenticate(void *api, struct lws *wsi, struct sl_ws_identity *who);
