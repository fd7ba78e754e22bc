/* api/api_priv.h: the room's own view of struct sl_api, and what the route files share. All [front] but where said. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "api/api.h"
#include "api/auth.h"
#include "api/request.h"
#include "api/router.h"
#include "api/server.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/utf8.h"
#include "llm/stats.h"
#include "store/overview.h"

#define SL_ETAG_BYTES 40

struct sl_audit_by;
struct sl_embedded;
struct sl_problems;
struct sl_stored_workflow;
struct sl_view;

/* What is written to the audit trail, for its count in the metrics; a test compares it with what is done. */
#define SL_AUDIT_ACTIONS 30
extern const char *const sl_audit_actions[]; /* NULL-terminated */

#define SL_API_MINUTES 60
#define SL_API_BEATS   13 /* samples of 5 s: rates are over the last minute */

/* Of the engine and the door, in the minute that begins at at_ms. */
struct sl_api_minute {
	int64_t at_ms;
	uint64_t runs_started, runs_succeeded, runs_failed, requests;
};
struct sl_api_beat {
	uint64_t mono_ms, requests, output_tokens;
};
struct sl_api_counts {
	struct sl_api_minute minutes[SL_API_MINUTES];                 /* number of the minute modulo the ring */
	uint64_t runs_started, runs_succeeded, runs_failed, requests; /* as seen last */
	struct sl_api_beat beats[SL_API_BEATS];
	size_t n_beats;
	_Atomic uint64_t audits[SL_AUDIT_ACTIONS];
	struct sl_stats_spread http, openai, openai_first; /* seconds of answers */
	struct sl_store_today today;
	int64_t today_ms; /* wall, when it was asked for; 0: never */
	bool today_asked;
};

/* What is kept in memory of the database's tables: follow.c. */
enum sl_follow {
	SL_FOLLOW_LIMITS,
	SL_FOLLOW_PAUSED,
	SL_FOLLOW_PROFILES,
	SL_FOLLOW_AGENTS,
	SL_FOLLOW_PRICES,
	SL_FOLLOW_TOKENS,
	SL_FOLLOW_KINDS,
};
struct sl_following {
	bool reading;
	bool again;        /* somebody else has changed it meanwhile: what is read may be in force for a moment */
	bool doubted;      /* we have: what is read may be older, and is not believed */
	uint64_t again_ms; /* monotonic: it could not be read; 0: it could */
};

struct sl_api {
	struct sl_loop *loop;
	struct sl_api_parts parts;
	struct sl_auth *auth;
	struct sl_rates *rates;
	struct sl_server *server;
	struct sl_server_config server_config;
	char *listen, *tls_cert, *tls_key, *hosts, *origins;
	const struct sl_clock *clock;
	_Atomic bool leaving;  /* the process is going down: not ready */
	_Atomic bool draining; /* and takes nothing new */
	struct sl_post drain_post;
	_Atomic bool paused, drained; /* an operator said so: routes_admin.c */
	_Atomic uint32_t news;        /* of other servers: bits by enum sl_store_news */
	_Atomic bool news_posted;
	struct sl_post news_post;
	struct sl_following following[SL_FOLLOW_KINDS];
	int64_t started_ms;
	uint32_t request_ms;                     /* how long an answer may take; 0: the most */
	struct sl_api_counts counts;             /* stats.c */
	struct sl_bytes *node_types, *templates; /* made once */
	struct sl_list streams;                  /* of sse.c */
	struct sl_list talks;                    /* of routes_openai.c */
};

/* A request that waits for an answer from another thread. Whoever is asked fills in what it has and calls
 * sl_task_back() [any], once; then `then` runs [front] and ends with sl_task_free(). */
struct sl_task {
	struct sl_post post;
	struct sl_api *api;
	struct sl_request *r; /* held; NULL: nobody waits */
	void (*then)(struct sl_task *t);
	enum sl_code rc;
	struct sl_error err;
	struct sl_bytes *json;
	char status[16];
	struct sl_run_id run;
	bool same_request;
	enum sl_follow follow;
	int32_t version;
	int64_t created_ms;
	struct sl_stored_workflow *workflow;
	struct sl_view *view;
	void *more;
	void (*more_free)(void *more);
};
struct sl_task *sl_task_new(struct sl_api *a, struct sl_request *r,
			    void (*then)(struct sl_task *t)); /* NULL: r was answered */
void sl_task_back(struct sl_task *t);
void sl_task_free(struct sl_task *t);
/* The call that would have come back has failed at once: answers with rc and frees. */
void sl_task_refuse(struct sl_task *t, enum sl_code rc);
/* Callbacks for the store's two usual shapes; arg is the task. */
void sl_task_from_store(void *arg, enum sl_code rc);
void sl_task_json_from_store(void *arg, enum sl_code rc, struct sl_bytes *json);
void sl_task_workflow_from_store(void *arg, enum sl_code rc, struct sl_stored_workflow *workflow);
/* And for the engine's: a view, and a run that has been started. */
void sl_task_view(void *arg, enum sl_code rc, struct sl_view *view);
void sl_task_submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same_request);
bool sl_run_status_known(struct sl_str s);   /* is it the name of one, as clients see it? */
void sl_task_answer_json(struct sl_task *t); /* a `then`: 200 with t->json, or the problem */

/* auth at the door, in admit.c */
void sl_api_head(void *api, struct sl_request *r);
void sl_api_handle(void *api, struct sl_request *r);
enum sl_code sl_api_upgrade(void *api, struct sl_request *r, struct sl_ws_identity *who);
void sl_request_identity(const struct sl_request *r, struct sl_identity *out);

/* follow.c. read: as it is now, unless that is under way. own: a change of ours is stored and in force. doubt:
 * likewise, but it is nobody else's business. */
void sl_follow_read(struct sl_api *a, enum sl_follow what);
void sl_follow_own(struct sl_api *a, enum sl_follow what);
void sl_follow_doubt(struct sl_api *a, enum sl_follow what);
void sl_follow_tick(struct sl_api *a);
/* routes_admin.c: another server was told to pause, or to go on. */
void sl_admin_follow(struct sl_api *a, bool paused);

/* SL_OK; SL_DRAINING; SL_UNAVAILABLE: a start could not be acknowledged for want of a database, so it is not begun. */
enum sl_code sl_api_takes_runs(struct sl_api *a, struct sl_error *err);
/* The body as a JSON object. NULL: it has been answered (400, 415). The caller's. */
struct json_object *sl_request_json(struct sl_request *r);
bool sl_name_ok(struct sl_str name); /* [a-z0-9][a-z0-9_-]{0,63} */
/* Members of an array {"pointer","message"}, with `prefix` before the pointers. */
void sl_problems_json(struct sl_buf *b, const struct sl_problems *p, struct sl_str prefix, bool warnings);

/* handlers, by file */
sl_handler_fn sl_route_ui;
sl_handler_fn sl_route_openapi, sl_route_asyncapi, sl_route_docs;
sl_handler_fn sl_route_livez, sl_route_readyz, sl_route_metrics;
sl_handler_fn sl_route_workflow_create, sl_route_workflow_list, sl_route_workflow_get, sl_route_workflow_put,
	sl_route_workflow_archive, sl_route_workflow_versions, sl_route_workflow_validate, sl_route_workflow_estimate,
	sl_route_node_types, sl_route_tools;
sl_handler_fn sl_route_runs_bulk;
sl_handler_fn sl_route_run_start, sl_route_run_list, sl_route_run_get, sl_route_run_events, sl_route_run_files,
	sl_route_run_file_history, sl_route_run_ledger, sl_route_run_order, sl_route_reviews;
sl_handler_fn sl_route_run_fork, sl_route_run_diff;
sl_handler_fn sl_route_profile_list, sl_route_profile_get, sl_route_profile_put, sl_route_profile_delete,
	sl_route_profile_test, sl_route_providers;
sl_handler_fn sl_route_memory_list, sl_route_memory_get, sl_route_memory_store, sl_route_memory_search,
	sl_route_memory_promote, sl_route_memory_invalidate, sl_route_memory_digest;
sl_handler_fn sl_route_session_make, sl_route_session_get, sl_route_session_end, sl_route_ws_ticket;
sl_handler_fn sl_route_token_list, sl_route_token_make, sl_route_token_revoke;
sl_handler_fn sl_route_agent_list, sl_route_agent_get, sl_route_agent_put, sl_route_agent_delete;
sl_handler_fn sl_route_prices_get, sl_route_prices_put;
sl_handler_fn sl_route_template_list, sl_route_template_create, sl_route_template_delete;
sl_handler_fn sl_route_cache_stats, sl_route_cache_clear;
sl_handler_fn sl_route_breakers, sl_route_breaker_reset, sl_route_limits_get, sl_route_limits_put;
sl_handler_fn sl_route_audit, sl_route_audit_verify, sl_route_instances, sl_route_admin_pause, sl_route_admin_resume,
	sl_route_admin_drain;

sl_handler_fn sl_route_models, sl_route_chat_completions, sl_route_responses;

/* stats.c: what the dashboard shows, and what metrics.c takes from it. */
sl_handler_fn sl_route_stats;
void sl_counts_tick(struct sl_api *a);                      /* [front] twice a second */
void sl_counts_audit(struct sl_api *a, const char *action); /* [any] */
struct sl_call_ledger;
void sl_counts_calls(struct sl_buf *b, struct sl_call_ledger *ledger);
void sl_counts_models(struct sl_buf *b, struct sl_stats *stats); /* Prometheus: the GenAI names */
void sl_counts_governor(struct sl_buf *b, struct sl_governor *governor, const struct sl_clock *clock);
void sl_caches_json(struct sl_api *a, struct sl_buf *b); /* members, by name of the cache */
void sl_counts_cache(struct sl_buf *b, struct sl_cache *cache);
void sl_counts_door(struct sl_buf *b, const struct sl_api_counts *c);

/* sse.c: the live stream of a run. `resume`: exactly what came after after_seq, else a snapshot first. */
void sl_sse_start(struct sl_api *a, struct sl_request *r, struct sl_run_id run, bool resume, uint64_t after_seq,
		  bool tokens);
void sl_sse_tick(struct sl_api *a);
void sl_talk_tick(struct sl_api *a);

/* A file of this room that is in the binary: "openapi.json". NULL: there is none. */
const struct sl_embedded *sl_api_file(const char *name);

/* Who asks, for calls of the store that write the line of the audit trail themselves. Lends from r. */
struct sl_audit_by sl_request_audit(const struct sl_request *r, const char *action, struct sl_str target);
/* Writes the line first and then goes on with `then`, which looks at t->rc: what cannot be recorded is not done. */
void sl_api_audit_first(struct sl_api *a, struct sl_request *r, const char *action, struct sl_str target,
			void (*then)(struct sl_task *t));
/* Fire and forget: who did what, where there is no change in the database to write it with. */
void sl_api_audit(struct sl_api *a, const struct sl_request *r, const char *action, struct sl_str target);
/* [any] The same for who is no request; detail: a JSON object, or NULL. */
void sl_api_audit_by(struct sl_api *a, struct sl_str actor, const char *action, struct sl_str target,
		     struct sl_bytes *detail);
