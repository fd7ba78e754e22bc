/* llm/governor.c: see governor.h. */
#include "llm/named.h"

#include "llm/governor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/breaker.h"
#include "llm/budget.h"
#include "llm/gate.h"
#include "llm/http.h"
#include "llm/keys.h"
#include "llm/limiter.h"
#include "llm/problem.h"
#include "llm/profile.h"
#include "llm/retry_budget.h"

#define LANES    64 /* keys of one profile that are looked at */
#define MODELS   1000
#define PROJECTS 1000

struct length { /* of a model's answers */
	char *name;
	UT_hash_handle hh;
	uint64_t mean;
};

struct project {
	char *name;
	UT_hash_handle hh;
	struct sl_rate rate;
	struct sl_budget_limit budget;
};

struct sl_governor_private {
	pthread_mutex_t lock;
	struct length *lengths;   /* [lock] */
	struct project *projects; /* [lock] */
};

static void projects_free(struct project **projects)
{
	struct project *p, *tmp;
	HASH_ITER (hh, *projects, p, tmp) {
		HASH_DEL(*projects, p);
		free(p->name);
		free(p);
	}
}

enum sl_code sl_governor_new(const struct sl_ledger *ledger, struct sl_governor **out)
{
	SL_AUTO(sl_governor) g = calloc(1, sizeof(*g));
	if (!g || !(g->mine = calloc(1, sizeof(*g->mine))))
		return SL_NO_MEMORY;
	pthread_mutex_init(&g->mine->lock, NULL);
	if (sl_limiter_new(&g->limiter) != SL_OK || sl_breakers_new(&g->breakers) != SL_OK ||
	    sl_keys_new(&g->keys) != SL_OK || sl_gates_new(&g->gates) != SL_OK ||
	    sl_retry_budgets_new(&g->retries) != SL_OK || sl_budgets_new(ledger, &g->budgets) != SL_OK)
		return SL_NO_MEMORY;
	*out = SL_TAKE(g);
	return SL_OK;
}

void sl_governor_free(struct sl_governor *g)
{
	if (!g)
		return;
	sl_limiter_free(g->limiter);
	sl_breakers_free(g->breakers);
	sl_keys_free(g->keys);
	sl_gates_free(g->gates);
	sl_retry_budgets_free(g->retries);
	sl_budgets_free(g->budgets);
	if (g->mine) {
		struct length *l, *tmp;
		HASH_ITER (hh, g->mine->lengths, l, tmp) {
			HASH_DEL(g->mine->lengths, l);
			free(l->name);
			free(l);
		}
		projects_free(&g->mine->projects);
		pthread_mutex_destroy(&g->mine->lock);
		free(g->mine);
	}
	free(g);
}

void sl_governor_way(const struct sl_profile *p, uint32_t lane, char out[SL_GOVERNOR_NAME_BYTES])
{
	(void)snprintf(out, SL_GOVERNOR_NAME_BYTES, "%s-%u", p->name, lane + 1);
}

static void model_name(const struct sl_profile *p, const char *model, char out[SL_GOVERNOR_NAME_BYTES])
{
	(void)snprintf(out, SL_GOVERNOR_NAME_BYTES, "%s:%.128s", p->provider, model);
	for (char *c = out; *c; c++)
		if (*c == '/')
			*c = '_';
}

void sl_governor_breaker(const struct sl_profile *p, const char *model, uint32_t lane, char out[SL_GOVERNOR_NAME_BYTES])
{
	model_name(p, model, out);
	size_t n = strlen(out);
	(void)snprintf(out + n, SL_GOVERNOR_NAME_BYTES - n, ":%s-%u", p->name, lane + 1);
}

struct sl_rate sl_governor_rate(const struct sl_profile *p)
{
	return (struct sl_rate){.rpm = p->limit_rpm, .tpm = p->limit_tpm};
}

/* ---- which key ---- */

struct choice {
	uint32_t lane, in_flight;
	uint64_t wait, calls;
	bool any;
};

static bool better(const struct choice *a, const struct choice *b)
{
	if (!b->any || a->wait != b->wait)
		return !b->any || a->wait < b->wait;
	if (a->in_flight != b->in_flight)
		return a->in_flight < b->in_flight;
	return a->calls < b->calls;
}

enum sl_code sl_governor_choose(struct sl_governor *g, const struct sl_profile *p, const char *model, uint64_t tokens,
				uint64_t now_ms, uint32_t *lane, struct sl_error *err)
{
	struct sl_lane lanes[LANES];
	struct choice best = {0};
	const struct sl_rate rate = sl_governor_rate(p);
	uint32_t n = sl_keys_lanes(g->keys, p, lanes, LANES, now_ms), open = 0, parked = 0;
	uint64_t soonest = UINT64_MAX, reopens = UINT64_MAX;
	char name[SL_GOVERNOR_NAME_BYTES];
	if (n > LANES)
		n = LANES;
	for (uint32_t i = 0; i < n; i++) {
		struct choice c = {.lane = i, .in_flight = lanes[i].in_flight, .calls = lanes[i].calls, .any = true};
		if (lanes[i].state != SL_KEY_FIT) {
			parked += lanes[i].state == SL_KEY_PARKED;
			if (lanes[i].state == SL_KEY_RESTS && lanes[i].until_ms < soonest)
				soonest = lanes[i].until_ms;
			continue;
		}
		sl_governor_breaker(p, model, i, name);
		uint64_t closed_in = sl_breaker_wait(g->breakers, sl_str(name), now_ms);
		if (closed_in) {
			open++;
			reopens = closed_in < reopens ? closed_in : reopens;
			continue;
		}
		sl_governor_way(p, i, name);
		c.wait = sl_limiter_peek(g->limiter, sl_str(name), &rate, tokens, now_ms);
		if (better(&c, &best))
			best = c;
	}
	*lane = best.lane;
	if (best.any)
		return SL_OK;
	enum sl_code rc;
	if (soonest != UINT64_MAX) {
		rc = sl_fail(err, SL_RATE_LIMITED,
			     "%s of profile '%s' %s for another %.1f s: the provider asked for it",
			     n > 1 ? "the keys" : "the key", p->name, n > 1 ? "rest" : "rests",
			     (double)(soonest - now_ms) / 1000);
		if (err)
			err->retry_after_ms = (uint32_t)(soonest - now_ms);
		return rc;
	}
	if (open) {
		rc = sl_fail(err, SL_BREAKER_OPEN,
			     "the breaker of '%s' (%s) is open: it failed too often; a trial in %.1f s", p->name, model,
			     (double)reopens / 1000);
		if (err)
			err->retry_after_ms = (uint32_t)reopens;
		return rc;
	}
	if (parked)
		return sl_fail(err, SL_QUOTA_EXHAUSTED, "no key of profile '%s' has credit left", p->name);
	return sl_fail(err, SL_PROVIDER_AUTH, "the provider refuses %s of profile '%s'; set %s anew",
		       n > 1 ? "all keys" : "the key", p->name, n > 1 ? "them" : "it");
}

/* ---- how long answers are ---- */

uint64_t sl_governor_expected(struct sl_governor *g, const struct sl_profile *p, const char *model)
{
	char name[SL_GOVERNOR_NAME_BYTES];
	struct length *l;
	model_name(p, model, name);
	pthread_mutex_lock(&g->mine->lock);
	HASH_FIND(hh, g->mine->lengths, name, strlen(name), l);
	/* half as much again, so that most stay below it */
	uint64_t n = l ? l->mean + l->mean / 2 : SL_GOVERNOR_FIRST_GUESS;
	pthread_mutex_unlock(&g->mine->lock);
	return n ? n : 1;
}

void sl_governor_answered(struct sl_governor *g, const struct sl_profile *p, const char *model, uint64_t output_tokens)
{
	char name[SL_GOVERNOR_NAME_BYTES];
	struct length *l;
	model_name(p, model, name);
	pthread_mutex_lock(&g->mine->lock);
	HASH_FIND(hh, g->mine->lengths, name, strlen(name), l);
	if (l) {
		l->mean = (7 * l->mean + output_tokens + 4) / 8;
	} else if (HASH_COUNT(g->mine->lengths) < MODELS && (l = calloc(1, sizeof(*l))) != NULL) {
		l->mean = output_tokens;
		if ((l->name = strdup(name)) != NULL) {
			HASH_ADD_KEYPTR(hh, g->mine->lengths, l->name, strlen(l->name), l);
		}
		if (!l->name || !l->hh.tbl) { /* the guess stays what it is */
			free(l->name);
			free(l);
		}
	}
	pthread_mutex_unlock(&g->mine->lock);
}

void sl_governor_learn(struct sl_governor *g, const struct sl_profile *p, uint32_t lane,
		       const struct sl_http_head *head, uint64_t now_ms)
{
	struct sl_rate_hint hint;
	char name[SL_GOVERNOR_NAME_BYTES];
	const struct sl_rate rate = sl_governor_rate(p);
	if (!sl_rate_hint_read(head, &hint))
		return;
	sl_governor_way(p, lane, name);
	sl_limiter_learn(g->limiter, sl_str(name), &rate, &hint, now_ms);
}

/* ---- the limits of projects ---- */

static const char *const periods[] = {"day", "month", "total"};

static bool count_in(struct json_object *v, double most)
{
	return (json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double)) &&
	       json_object_get_double(v) > 0 && json_object_get_double(v) <= most;
}

static bool period_of(struct json_object *v, enum sl_budget_period *out)
{
	for (size_t i = 0; i < SL_COUNT_OF(periods); i++)
		if (sl_str_is(sl_json_str(v), periods[i])) {
			*out = (enum sl_budget_period)i;
			return true;
		}
	return false;
}

static void check_one(struct sl_problem_list *l, const char *name, struct json_object *one)
{
	char at[256];
	if (!one || !json_object_is_type(one, json_type_object)) {
		(void)snprintf(at, sizeof(at), "/projects/%.100s", name);
		sl_problem(l, at, "must be an object");
		return;
	}
	json_object_object_foreach (one, key, v) {
		enum sl_budget_period period;
		(void)snprintf(at, sizeof(at), "/projects/%.100s/%.100s", name, key);
		bool whole = v && json_object_is_type(v, json_type_int);
		if (!strcmp(key, "rpm") || !strcmp(key, "tpm") || !strcmp(key, "max_tokens")) {
			if (!whole || !count_in(v, 1e12))
				sl_problem(l, at, "must be a whole number above 0; leave it out for no limit");
			else if (name[0] == '*' && !strcmp(key, "max_tokens"))
				sl_problem(l, at, "a budget belongs to one project; '*' may have rpm and tpm");
		} else if (!strcmp(key, "max_cost_usd")) {
			if (!v || !count_in(v, 1e9))
				sl_problem(l, at, "must be a number above 0; leave it out for no limit");
			else if (name[0] == '*')
				sl_problem(l, at, "a budget belongs to one project; '*' may have rpm and tpm");
		} else if (!strcmp(key, "period")) {
			if (!period_of(v, &period))
				sl_problem(l, at, "must be day, month or total");
		} else {
			sl_problem(l, at, "is not known; there are rpm, tpm, max_tokens, max_cost_usd and period");
		}
	}
}

enum sl_code sl_governor_check_limits(struct json_object *doc, struct sl_buf *problems, struct sl_error *err)
{
	struct sl_problem_list l = {problems, err, 0};
	struct json_object *projects = sl_json_get(doc, "projects");
	if (!doc || !json_object_is_type(doc, json_type_object)) {
		sl_problem(&l, "", "must be an object with `projects`, `runs` or `workers`");
		return SL_INVALID;
	}
	json_object_object_foreach (doc, key, value) {
		char at[128];
		(void)value;
		(void)snprintf(at, sizeof(at), "/%.100s", key);
		bool others = !strcmp(key, "runs") || !strcmp(key, "workers"); /* of who starts runs */
		if (strcmp(key, "projects") != 0 && !others)
			sl_problem(&l, at, "is not known; there are `projects`, `runs` and `workers`");
	}
	if (projects && !json_object_is_type(projects, json_type_object)) {
		sl_problem(&l, "/projects", "must be an object: limits by the name of the project");
	} else if (projects) {
		if (json_object_object_length(projects) > PROJECTS)
			sl_problem(&l, "/projects", "more than %d projects", PROJECTS);
		json_object_object_foreach (projects, name, one) {
			check_one(&l, name, one);
		}
	}
	return l.n ? SL_INVALID : SL_OK;
}

static struct project *project_of(const char *name, struct json_object *one)
{
	struct project *p = calloc(1, sizeof(*p));
	if (!p || !(p->name = strdup(name))) {
		free(p);
		return NULL;
	}
	p->rate.rpm = (uint64_t)sl_json_get_i64(one, "rpm", 0);
	p->rate.tpm = (uint64_t)sl_json_get_i64(one, "tpm", 0);
	p->budget.max_tokens = (uint64_t)sl_json_get_i64(one, "max_tokens", 0);
	p->budget.max_cost_microusd = (int64_t)(sl_json_get_f64(one, "max_cost_usd", 0) * 1e6 + 0.5);
	p->budget.period = SL_BUDGET_TOTAL;
	(void)period_of(sl_json_get(one, "period"), &p->budget.period); /* checked; absent: total */
	return p;
}

enum sl_code sl_governor_set_limits(struct sl_governor *g, struct json_object *doc, struct sl_buf *problems,
				    struct sl_error *err)
{
	struct project *fresh = NULL, *old, *p, *tmp;
	struct json_object *projects = sl_json_get(doc, "projects");
	enum sl_code rc = sl_governor_check_limits(doc, problems, err);
	if (rc != SL_OK)
		return rc;
	if (projects) {
		json_object_object_foreach (projects, name, one) {
			p = project_of(name, one);
			if (p) {
				HASH_ADD_KEYPTR(hh, fresh, p->name, strlen(p->name), p);
			}
			if (!p || !p->hh.tbl) {
				if (p)
					free(p->name);
				free(p);
				projects_free(&fresh);
				return sl_fail(err, SL_NO_MEMORY, "limits");
			}
		}
	}
	pthread_mutex_lock(&g->mine->lock);
	old = g->mine->projects;
	g->mine->projects = fresh;
	pthread_mutex_unlock(&g->mine->lock);
	/* [any] two at once could leave the one's budgets with the other's rates; settings are written one after the
	 * other */
	HASH_ITER (hh, old, p, tmp) {
		struct project *now;
		HASH_FIND(hh, fresh, p->name, strlen(p->name), now);
		if (!now && rc == SL_OK)
			rc = sl_budget_set(g->budgets, sl_str(p->name), NULL);
	}
	HASH_ITER (hh, fresh, p, tmp) {
		bool limited = p->budget.max_tokens || p->budget.max_cost_microusd;
		if (rc == SL_OK)
			rc = sl_budget_set(g->budgets, sl_str(p->name), limited ? &p->budget : NULL);
	}
	projects_free(&old);
	return rc == SL_OK ? rc : sl_fail(err, rc, "limits");
}

void sl_governor_limits_json(struct sl_governor *g, struct sl_buf *out)
{
	struct project *p, *tmp;
	sl_buf_adds(out, "{\"projects\":{");
	pthread_mutex_lock(&g->mine->lock);
	HASH_ITER (hh, g->mine->projects, p, tmp) {
		sl_buf_json_comma(out);
		sl_buf_json_str(out, sl_str(p->name));
		sl_buf_adds(out, ":{");
		if (p->rate.rpm)
			sl_buf_json_ku64(out, "rpm", p->rate.rpm);
		if (p->rate.tpm)
			sl_buf_json_ku64(out, "tpm", p->rate.tpm);
		if (p->budget.max_tokens)
			sl_buf_json_ku64(out, "max_tokens", p->budget.max_tokens);
		if (p->budget.max_cost_microusd)
			sl_buf_json_kf64(out, "max_cost_usd", (double)p->budget.max_cost_microusd / 1e6);
		if (p->budget.max_tokens || p->budget.max_cost_microusd)
			sl_buf_json_kz(out, "period", periods[p->budget.period]);
		sl_buf_addc(out, '}');
	}
	pthread_mutex_unlock(&g->mine->lock);
	sl_buf_adds(out, "}}");
}

struct sl_rate sl_governor_project_rate(struct sl_governor *g, struct sl_str project)
{
	struct project *p;
	struct sl_rate rate = {0};
	pthread_mutex_lock(&g->mine->lock);
	HASH_FIND(hh, g->mine->projects, project.p, project.len, p);
	if (!p)
		HASH_FIND(hh, g->mine->projects, "*", 1, p);
	if (p)
		rate = p->rate;
	pthread_mutex_unlock(&g->mine->lock);
	return rate;
}

/* ---- for people ---- */

void sl_governor_json(struct sl_governor *g, const struct sl_clock *clock, struct sl_buf *out)
{
	uint64_t now = sl_clock_mono(clock);
	sl_buf_adds(out, "{\"breakers\":[");
	sl_breakers_json(g->breakers, out, now);
	sl_buf_adds(out, "],\"limiters\":[");
	sl_limiter_json(g->limiter, out, now);
	sl_buf_adds(out, "],\"keys\":[");
	sl_keys_json(g->keys, out, now);
	sl_buf_adds(out, "],\"gates\":[");
	sl_gates_json(g->gates, out);
	sl_buf_adds(out, "],\"retry_budgets\":[");
	sl_retry_budgets_json(g->retries, out, now);
	sl_buf_adds(out, "],\"budgets\":[");
	sl_budgets_json(g->budgets, out, sl_clock_wall(clock));
	sl_buf_adds(out, "]}");
}

enum sl_code sl_governor_reset(struct sl_governor *g, struct sl_str name, uint64_t now_ms)
{
	bool breaker = sl_breaker_reset(g->breakers, name, now_ms) == SL_OK;
	bool bucket = sl_limiter_reset(g->limiter, name, now_ms) == SL_OK;
	bool key = sl_keys_reset(g->keys, name) == SL_OK;
	return breaker || bucket || key ? SL_OK : SL_NOT_FOUND;
}
