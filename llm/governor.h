/* llm/governor.h: everything that keeps model calls within limits, in one place: limiter, breakers, keys, gates, retry
 * budgets and project budgets, and the limits an operator sets.
 *
 * Owns      its parts. They are [any] each for itself; middleware uses them directly.
 * Thread    [any]
 * Names     a way is a profile with one of its keys: "work-1". Its breaker is "provider:model:work-1", its bucket
 *           "work-1", its gate "work"; a project's bucket is "project:NAME". A '/' in a model becomes '_', so that a
 *           name fits into an address.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct json_object;
struct sl_breakers;
struct sl_buf;
struct sl_bytes;
struct sl_budgets;
struct sl_clock;
struct sl_gates;
struct sl_http_head;
struct sl_keys;
struct sl_ledger;
struct sl_limiter;
struct sl_profile;
struct sl_rate;
struct sl_retry_budgets;

#define SL_GOVERNOR_NAME_BYTES  288
#define SL_GOVERNOR_FIRST_GUESS 1024 /* tokens of an answer, until a model has given some */

struct sl_governor {
	struct sl_limiter *limiter;
	struct sl_breakers *breakers;
	struct sl_keys *keys;
	struct sl_gates *gates;
	struct sl_retry_budgets *retries;
	struct sl_budgets *budgets;
	struct sl_governor_private *mine;
};

SL_MUST_USE enum sl_code sl_governor_new(const struct sl_ledger *ledger,
					 struct sl_governor **out); /* NULL: no ledger */
void sl_governor_free(struct sl_governor *g);                       /* NULL is fine; nobody may wait or hold anything */
SL_DEFINE_AUTO(sl_governor)

void sl_governor_way(const struct sl_profile *p, uint32_t lane, char out[SL_GOVERNOR_NAME_BYTES]); /* "work-1" */
void sl_governor_breaker(const struct sl_profile *p, const char *model, uint32_t lane,
			 char out[SL_GOVERNOR_NAME_BYTES]);
struct sl_rate sl_governor_rate(const struct sl_profile *p);

/* Which key of the profile to take: fit, its breaker closed, the shortest wait for `tokens`, the least to do, in turn.
 * SL_OK: *lane. Else why none will do, as an error a user can read, with retry_after_ms when time will help:
 * SL_RATE_LIMITED (they rest), SL_BREAKER_OPEN, SL_PROVIDER_AUTH (all refused), SL_QUOTA_EXHAUSTED (spent). */
SL_MUST_USE enum sl_code sl_governor_choose(struct sl_governor *g, const struct sl_profile *p, const char *model,
					    uint64_t tokens, uint64_t now_ms, uint32_t *lane, struct sl_error *err);

/* How long answers of a model are: a running mean, for calls that do not say how long theirs may be. */
uint64_t sl_governor_expected(struct sl_governor *g, const struct sl_profile *p, const char *model);
void sl_governor_answered(struct sl_governor *g, const struct sl_profile *p, const char *model, uint64_t output_tokens);

/* What a provider says of its limits, from the head of any answer. */
void sl_governor_learn(struct sl_governor *g, const struct sl_profile *p, uint32_t lane,
		       const struct sl_http_head *head, uint64_t now_ms);

/* Limits of projects: { "projects": { NAME | "*": { "rpm"?, "tpm"?, "max_tokens"?, "max_cost_usd"?, "period"?: "day" |
 * "month" | "total" } } }; "*" is each project that has no entry of its own (for rpm and tpm). Replaces what was set.
 * SL_INVALID: `problems` gets the members of an errors array, nothing changed. */
SL_MUST_USE enum sl_code sl_governor_check_limits(struct json_object *doc, struct sl_buf *problems,
						  struct sl_error *err);
SL_MUST_USE enum sl_code sl_governor_set_limits(struct sl_governor *g, struct json_object *doc, struct sl_buf *problems,
						struct sl_error *err);
void sl_governor_limits_json(struct sl_governor *g, struct sl_buf *out); /* the document that is in force */
struct sl_rate sl_governor_project_rate(struct sl_governor *g, struct sl_str project);

/* { "breakers": [], "limiters": [], "keys": [], "gates": [], "retry_budgets": [], "budgets": [] } */
void sl_governor_json(struct sl_governor *g, const struct sl_clock *clock, struct sl_buf *out);
/* A breaker, a bucket or a key by its name is as it was at first. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_governor_reset(struct sl_governor *g, struct sl_str name, uint64_t now_ms);
