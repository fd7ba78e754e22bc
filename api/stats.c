/* api/stats.c: what is going on, in figures: the dashboard's and Prometheus'.
 *
 * Nothing here is estimated. Counters of the engine, the door and the model calls are read twice a second; what they
 * grew by goes into the slot of the minute. Cost and tokens of today come from the database, at most every TODAY_MS.
 * What is not known is left out. */
#include "api/api_priv.h"
#include "engine/engine.h"
#include "llm/chat.h"
#include "store/store.h"
#include "ws/conn.h"

#define MINUTE_MS 60000
#define BEAT_MS   5000
#define TODAY_MS  10000
#define ERRORS_MS (5 * MINUTE_MS) /* the error rate is of so long */

const char *const sl_audit_actions[] = {
	"admin.drain",       "admin.pause",     "admin.resume", "agent.delete",
	"agent.put",         "breaker.reset",   "cache.clear",  "limits.put",
	"memory.invalidate", "memory.promote",  "prices.put",   "profile.delete",
	"profile.put",       "run.bulk",        "run.cancel",   "run.fork",
	"run.input",         "run.pause",       "run.resume",   "run.retry",
	"run.review",        "run.signal",      "run.unlock",   "template.create",
	"template.delete",   "token.create",    "token.revoke", "workflow.archive",
	"workflow.create",   "workflow.update", NULL,
};
_Static_assert(SL_COUNT_OF(sl_audit_actions) == SL_AUDIT_ACTIONS + 1, "as many counters as actions");

void sl_counts_audit(struct sl_api *a, const char *action)
{
	for (size_t i = 0; sl_audit_actions[i]; i++)
		if (strcmp(sl_audit_actions[i], action) == 0) {
			atomic_fetch_add_explicit(&a->counts.audits[i], 1, memory_order_relaxed);
			return;
		}
	SL_EXPECT(!"an action that is not in the list");
}

/* ---- samples ---- */

static struct sl_api_minute *minute_of(struct sl_api_counts *c, int64_t now_ms)
{
	int64_t number = now_ms / MINUTE_MS;
	struct sl_api_minute *m = &c->minutes[number % SL_API_MINUTES];
	if (m->at_ms != number * MINUTE_MS)
		*m = (struct sl_api_minute){.at_ms = number * MINUTE_MS};
	return m;
}

static uint64_t grown(uint64_t *seen, uint64_t now)
{
	uint64_t by = now - *seen;
	*seen = now;
	return by;
}

void sl_counts_tick(struct sl_api *a)
{
	struct sl_api_counts *c = &a->counts;
	struct sl_api_minute *m = minute_of(c, sl_clock_wall(a->clock));
	struct sl_engine_stats e = {0};
	struct sl_server_stats s = {0};
	struct sl_stats_totals t = {0};
	uint64_t now = sl_clock_mono(a->clock);
	if (a->parts.engine)
		sl_engine_stats(a->parts.engine, &e);
	if (a->parts.llm)
		sl_stats_totals(sl_llm_stats(a->parts.llm), &t);
	sl_server_stats(a->server, &s);
	m->runs_started += grown(&c->runs_started, e.runs_started);
	m->runs_succeeded += grown(&c->runs_succeeded, e.runs_succeeded);
	m->runs_failed += grown(&c->runs_failed, e.runs_failed);
	m->requests += grown(&c->requests, s.requests);
	if (c->n_beats && now - c->beats[c->n_beats - 1].mono_ms < BEAT_MS)
		return;
	if (c->n_beats == SL_API_BEATS)
		memmove(c->beats, c->beats + 1, --c->n_beats * sizeof(c->beats[0]));
	c->beats[c->n_beats++] = (struct sl_api_beat){now, s.requests, t.output_tokens};
}

/* ---- GET /stats ---- */

static void on_today(void *arg, enum sl_code rc, const struct sl_store_today *today)
{
	struct sl_task *t = arg;
	t->rc = rc;
	struct sl_store_today *copy = rc == SL_OK ? malloc(sizeof(*copy)) : NULL;
	if (copy)
		*copy = *today;
	t->more = copy;
	t->more_free = free;
	sl_task_back(t);
}

static void usd(struct sl_buf *b, const char *key, int64_t micro)
{
	sl_buf_json_key(b, key);
	sl_buf_addf(b, "%lld.%06lld", (long long)(micro / 1000000), (long long)(micro % 1000000));
}

static void add_now(struct sl_api *a, struct sl_buf *b, const struct sl_stats_minute minutes[SL_STATS_MINUTES],
		    int64_t now_ms)
{
	const struct sl_api_counts *c = &a->counts;
	uint64_t calls = 0, errors = 0;
	sl_buf_json_key(b, "now");
	sl_buf_addc(b, '{');
	if (a->parts.engine) {
		struct sl_engine_stats e;
		sl_engine_stats(a->parts.engine, &e);
		sl_buf_json_ku64(b, "runs_active", e.runs_active);
		sl_buf_json_ku64(b, "runs_at_work", e.admit.inside);
		sl_buf_json_ku64(b, "runs_queued", e.admit.waiting);
		sl_buf_json_ku64(b, "runs_waiting", e.runs_waiting);
		sl_buf_json_ku64(b, "nodes_pending", e.nodes_pending);
	}
	if (c->n_beats >= 2) {
		const struct sl_api_beat *from = &c->beats[0], *to = &c->beats[c->n_beats - 1];
		double s = (double)(to->mono_ms - from->mono_ms) / 1000;
		sl_buf_json_kf64(b, "tokens_per_s", (double)(to->output_tokens - from->output_tokens) / s);
		sl_buf_json_kf64(b, "requests_per_s", (double)(to->requests - from->requests) / s);
	}
	for (size_t i = 0; i < SL_STATS_MINUTES; i++)
		if (minutes[i].at_ms > now_ms - ERRORS_MS) {
			calls += minutes[i].calls;
			errors += minutes[i].errors;
		}
	if (calls)
		sl_buf_json_kf64(b, "error_rate", (double)errors / (double)calls);
	SL_BUF(caches, 1u << 20);
	SL_AUTO_JSON cache = NULL;
	sl_buf_addc(&caches, '{');
	sl_caches_json(a, &caches);
	sl_buf_addc(&caches, '}');
	if (sl_json_parse(sl_buf_str(&caches), &cache, NULL) == SL_OK) {
		struct json_object *response = sl_json_get(cache, "response");
		if (sl_json_get_i64(response, "hits", 0) + sl_json_get_i64(response, "misses", 0) > 0)
			sl_buf_json_kf64(b, "cache_hit_rate", sl_json_get_f64(response, "hit_rate", 0));
	}
	if (c->today_ms) {
		usd(b, "cost_usd_today", c->today.cost_microusd);
		sl_buf_json_ku64(b, "runs_today", c->today.runs);
		sl_buf_json_ki64(b, "input_tokens_today", c->today.input_tokens);
		sl_buf_json_ki64(b, "output_tokens_today", c->today.output_tokens);
	}
	if (a->parts.ws) {
		struct sl_hub_stats h;
		sl_hub_stats(sl_ws_hub(a->parts.ws), &h);
		sl_buf_json_ku64(b, "ws_clients", h.connections);
	}
	sl_buf_addc(b, '}');
}

static void latency(struct sl_buf *b, const struct sl_hist *all, const struct sl_hist *first)
{
	if (all->n) {
		sl_buf_json_ku64(b, "latency_p50_ms", sl_hist_quantile_ms(all, 0.50));
		sl_buf_json_ku64(b, "latency_p95_ms", sl_hist_quantile_ms(all, 0.95));
		sl_buf_json_ku64(b, "latency_p99_ms", sl_hist_quantile_ms(all, 0.99));
	}
	if (first->n)
		sl_buf_json_ku64(b, "ttft_p50_ms", sl_hist_quantile_ms(first, 0.50));
}

static void add_series(struct sl_api *a, struct sl_buf *b, const struct sl_stats_minute minutes[SL_STATS_MINUTES])
{
	sl_buf_json_key(b, "series");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < SL_STATS_MINUTES; i++) {
		const struct sl_stats_minute *m = &minutes[i];
		const struct sl_api_minute *r = &a->counts.minutes[(m->at_ms / MINUTE_MS) % SL_API_MINUTES];
		if (m->at_ms + MINUTE_MS <= a->started_ms) /* before there was anybody to count */
			continue;
		static const struct sl_api_minute none = {0};
		if (r->at_ms != m->at_ms)
			r = &none;
		sl_buf_json_comma(b);
		sl_buf_addc(b, '{');
		sl_buf_json_ktime(b, "at", m->at_ms);
		sl_buf_json_ku64(b, "runs_started", r->runs_started);
		sl_buf_json_ku64(b, "runs_succeeded", r->runs_succeeded);
		sl_buf_json_ku64(b, "runs_failed", r->runs_failed);
		sl_buf_json_ku64(b, "requests", r->requests);
		sl_buf_json_ku64(b, "calls", m->calls);
		sl_buf_json_ku64(b, "errors", m->errors);
		sl_buf_json_ku64(b, "input_tokens", m->input_tokens);
		sl_buf_json_ku64(b, "output_tokens", m->output_tokens);
		usd(b, "cost_usd", m->cost_microusd);
		latency(b, &m->latency, &m->first);
		sl_buf_addc(b, '}');
	}
	sl_buf_addc(b, ']');
}

static void add_models(struct sl_buf *b, struct sl_stats *stats)
{
	struct sl_stats_model *all = calloc(SL_STATS_MODELS + 1, sizeof(*all));
	size_t n = all ? sl_stats_models(stats, all, SL_STATS_MODELS + 1) : 0;
	sl_buf_json_key(b, "models");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < n; i++) {
		const struct sl_stats_model *m = &all[i];
		sl_buf_json_comma(b);
		sl_buf_addc(b, '{');
		sl_buf_json_kz(b, "profile", m->profile);
		sl_buf_json_kz(b, "provider", m->provider);
		sl_buf_json_kz(b, "model", m->model);
		sl_buf_json_ku64(b, "calls", m->calls);
		sl_buf_json_ku64(b, "errors", m->errors);
		latency(b, &m->latency, &m->first);
		sl_buf_json_ku64(b, "input_tokens", m->input_tokens);
		sl_buf_json_ku64(b, "output_tokens", m->output_tokens);
		sl_buf_json_ku64(b, "tokens", m->input_tokens + m->output_tokens);
		usd(b, "cost_usd", m->cost_microusd);
		sl_buf_addc(b, '}');
	}
	sl_buf_addc(b, ']');
	free(all);
}

static void add_error(void *arg, enum sl_code rc, uint64_t n)
{
	struct sl_buf *b = arg;
	sl_buf_json_comma(b);
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "code", sl_code_wire(rc));
	sl_buf_json_ku64(b, "count", n);
	sl_buf_addc(b, '}');
}

static void add_pools(struct sl_api *a, struct sl_buf *b)
{
	sl_buf_json_key(b, "pools");
	sl_buf_addc(b, '{');
	if (a->parts.engine) {
		struct sl_engine_stats e;
		sl_engine_stats(a->parts.engine, &e);
		sl_buf_json_ku64(b, "workers", e.workers);
		sl_buf_json_ku64(b, "queue", e.mailbox_depth);
	}
	if (a->parts.store) {
		struct sl_store_stats s;
		sl_store_stats(a->parts.store, &s);
		sl_buf_json_ku64(b, "db_connections", s.connections);
		sl_buf_json_ku64(b, "db_busy", s.connections_busy);
		sl_buf_json_ku64(b, "db_waiting", s.pool_waiting);
		sl_buf_json_ku64(b, "journal_queue_bytes", s.queued_bytes);
	}
	sl_buf_addc(b, '}');
}

static void answer(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 4u << 20);
	int64_t now_ms = sl_clock_wall(a->clock);
	struct sl_stats_minute *minutes = calloc(SL_STATS_MINUTES, sizeof(*minutes));
	if (!minutes) {
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
		return;
	}
	for (size_t i = 0; i < SL_STATS_MINUTES; i++)
		minutes[i].at_ms = (now_ms / MINUTE_MS - (SL_STATS_MINUTES - 1) + (int64_t)i) * MINUTE_MS;
	if (a->parts.llm)
		sl_stats_minutes(sl_llm_stats(a->parts.llm), now_ms, minutes);
	sl_counts_tick(a); /* up to this moment */
	sl_buf_addc(&out, '{');
	sl_buf_json_ktime(&out, "at", now_ms);
	sl_buf_json_ktime(&out, "started_at", a->started_ms);
	add_now(a, &out, minutes, now_ms);
	add_series(a, &out, minutes);
	if (a->parts.llm) {
		add_models(&out, sl_llm_stats(a->parts.llm));
		sl_buf_json_key(&out, "errors");
		sl_buf_addc(&out, '[');
		sl_stats_errors(sl_llm_stats(a->parts.llm), add_error, &out);
		sl_buf_addc(&out, ']');
	}
	add_pools(a, &out);
	sl_buf_json_key(&out, "caches");
	sl_buf_addc(&out, '{');
	sl_caches_json(a, &out);
	sl_buf_adds(&out, "}}");
	free(minutes);
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	sl_answer_buf(r, 200, &out);
}

static void today_came(struct sl_task *t)
{
	struct sl_api_counts *c = &t->api->counts;
	c->today_asked = false;
	if (t->rc == SL_OK && t->more) { /* otherwise the dashboard shows the rest all the same */
		c->today = *(struct sl_store_today *)t->more;
		c->today_ms = sl_clock_wall(t->api->clock);
	}
	answer(t->api, t->r);
	sl_task_free(t);
}

void sl_route_stats(struct sl_api *a, struct sl_request *r)
{
	struct sl_api_counts *c = &a->counts;
	bool fresh = c->today_ms && sl_clock_wall(a->clock) - c->today_ms < TODAY_MS;
	if (fresh || c->today_asked || !a->parts.store) {
		answer(a, r);
		return;
	}
	struct sl_task *t = sl_task_new(a, r, today_came);
	if (!t)
		return;
	c->today_asked = true;
	if (sl_store_today(a->parts.store, on_today, t) != SL_OK) {
		c->today_asked = false;
		answer(a, r);
		sl_task_free(t);
	}
}

/* ---- Prometheus ---- */

static void about(struct sl_buf *b, const char *name, const char *type, const char *help)
{
	sl_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value: quotes, backslashes and line feeds have to be escaped. */
static void value(struct sl_buf *b, const char *z)
{
	for (; *z; z++) {
		if (*z == '"' || *z == '\\')
			sl_buf_addc(b, '\\');
		if (*z == '\n')
			sl_buf_adds(b, "\\n");
		else
			sl_buf_addc(b, *z);
	}
}

/* labels: the members without braces, "" for none */
static void spread(struct sl_buf *b, const char *name, struct sl_str labels, const struct sl_stats_spread *d,
		   const struct sl_bounds *bounds)
{
	uint64_t sum = 0;
	const char *comma = labels.len ? "," : "", *open = labels.len ? "{" : "", *close = labels.len ? "}" : "";
	for (unsigned i = 0; i < bounds->n; i++) {
		sum += d->counts[i];
		sl_buf_addf(b, "%s_bucket{" SL_STR_FMT "%sle=\"%.10g\"} %llu\n", name, SL_STR_ARG(labels), comma,
			    bounds->at[i], (unsigned long long)sum);
	}
	sl_buf_addf(b, "%s_bucket{" SL_STR_FMT "%sle=\"+Inf\"} %llu\n", name, SL_STR_ARG(labels), comma,
		    (unsigned long long)d->n);
	sl_buf_addf(b, "%s_sum%s" SL_STR_FMT "%s %.15g\n", name, open, SL_STR_ARG(labels), close, d->sum);
	sl_buf_addf(b, "%s_count%s" SL_STR_FMT "%s %llu\n", name, open, SL_STR_ARG(labels), close,
		    (unsigned long long)d->n);
}

/* Providers under the names of the conventions. */
static const char *well_known(const char *provider)
{
	static const char *const names[][2] = {{"gemini", "gcp.gemini"},
					       {"azure", "azure.ai.openai"},
					       {"bedrock", "aws.bedrock"},
					       {"mistral", "mistral_ai"},
					       {"xai", "x_ai"}};
	for (size_t i = 0; i < SL_COUNT_OF(names); i++)
		if (strcmp(provider, names[i][0]) == 0)
			return names[i][1];
	return provider;
}

static void labels_of(struct sl_buf *b, const struct sl_stats_model *m, const char *more)
{
	sl_buf_reset(b);
	sl_buf_adds(b, "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"");
	value(b, well_known(m->provider));
	sl_buf_adds(b, "\",gen_ai_request_model=\"");
	value(b, m->model);
	sl_buf_addf(b, "\",sluice_profile=\"");
	value(b, m->profile);
	sl_buf_addf(b, "\"%s", more);
}

static void error_line(void *arg, enum sl_code rc, uint64_t n)
{
	sl_buf_addf(arg, "sluice_llm_errors_total{code=\"%s\"} %llu\n", sl_code_wire(rc), (unsigned long long)n);
}

void sl_counts_calls(struct sl_buf *b, struct sl_call_ledger *ledger)
{
	struct sl_call_ledger_stats s;
	sl_call_ledger_stats(ledger, &s);
	about(b, "sluice_call_cancel_close_seconds", "histogram",
	      "From the order that calls a call off to its closed socket.");
	spread(b, "sluice_call_cancel_close_seconds", SL_STR(""), &s.close, &sl_bounds_close);
	about(b, "sluice_call_ledger_rows_total", "counter", "Calls that were called off before their end.");
	sl_buf_addf(b, "sluice_call_ledger_rows_total %llu\n", (unsigned long long)s.rows);
	about(b, "sluice_call_ledger_lost_total", "counter", "Those whose row could not be written.");
	sl_buf_addf(b, "sluice_call_ledger_lost_total %llu\n", (unsigned long long)s.lost);
}

void sl_counts_models(struct sl_buf *b, struct sl_stats *stats)
{
	struct sl_stats_model *all = calloc(SL_STATS_MODELS + 1, sizeof(*all));
	size_t n = all ? sl_stats_models(stats, all, SL_STATS_MODELS + 1) : 0;
	SL_BUF(labels, 8192);
	about(b, "gen_ai_client_operation_duration_seconds", "histogram",
	      "Time of model calls; failed ones have error_type.");
	for (size_t i = 0; i < n; i++) {
		labels_of(&labels, &all[i], "");
		spread(b, "gen_ai_client_operation_duration_seconds", sl_buf_str(&labels), &all[i].duration,
		       &sl_bounds_time);
		if (!all[i].failed.n)
			continue;
		labels_of(&labels, &all[i], ",error_type=\"_OTHER\"");
		spread(b, "gen_ai_client_operation_duration_seconds", sl_buf_str(&labels), &all[i].failed,
		       &sl_bounds_time);
	}
	about(b, "gen_ai_client_operation_time_to_first_chunk_seconds", "histogram",
	      "Until the first text of an answer.");
	for (size_t i = 0; i < n; i++) {
		labels_of(&labels, &all[i], "");
		spread(b, "gen_ai_client_operation_time_to_first_chunk_seconds", sl_buf_str(&labels), &all[i].first_s,
		       &sl_bounds_time);
	}
	about(b, "gen_ai_client_operation_time_per_output_chunk_seconds", "histogram",
	      "Between two pieces of an answer, on average.");
	for (size_t i = 0; i < n; i++) {
		labels_of(&labels, &all[i], "");
		spread(b, "gen_ai_client_operation_time_per_output_chunk_seconds", sl_buf_str(&labels), &all[i].piece_s,
		       &sl_bounds_time);
	}
	about(b, "gen_ai_client_token_usage", "histogram", "Tokens of a call.");
	for (size_t i = 0; i < n; i++) {
		labels_of(&labels, &all[i], ",gen_ai_token_type=\"input\"");
		spread(b, "gen_ai_client_token_usage", sl_buf_str(&labels), &all[i].input, &sl_bounds_tokens);
		labels_of(&labels, &all[i], ",gen_ai_token_type=\"output\"");
		spread(b, "gen_ai_client_token_usage", sl_buf_str(&labels), &all[i].output, &sl_bounds_tokens);
	}
	about(b, "sluice_llm_cost_usd_total", "counter", "What model calls cost, where a price is known.");
	for (size_t i = 0; i < n; i++) {
		labels_of(&labels, &all[i], "");
		sl_buf_addf(b, "sluice_llm_cost_usd_total{" SL_STR_FMT "} %.15g\n", SL_STR_ARG(sl_buf_str(&labels)),
			    (double)all[i].cost_microusd / 1e6);
	}
	about(b, "sluice_llm_errors_total", "counter", "Failed model calls, by code.");
	sl_stats_errors(stats, error_line, b);
	free(all);
}

void sl_counts_door(struct sl_buf *b, const struct sl_api_counts *c)
{
	about(b, "http_server_request_duration_seconds", "histogram",
	      "Until a whole answer was given; streams have none.");
	spread(b, "http_server_request_duration_seconds", SL_STR(""), &c->http, &sl_bounds_http);
	about(b, "gen_ai_server_request_duration_seconds", "histogram",
	      "Answers under /v1, streamed ones to their end.");
	spread(b, "gen_ai_server_request_duration_seconds", SL_STR(""), &c->openai, &sl_bounds_time);
	about(b, "gen_ai_server_time_to_first_token_seconds", "histogram",
	      "Answers under /v1, until their first text.");
	spread(b, "gen_ai_server_time_to_first_token_seconds", SL_STR(""), &c->openai_first, &sl_bounds_first_token);
	about(b, "sluice_audit_events_total", "counter", "Lines of the audit trail, by action.");
	for (size_t i = 0; sl_audit_actions[i]; i++)
		sl_buf_addf(b, "sluice_audit_events_total{event=\"%s\"} %llu\n", sl_audit_actions[i],
			    (unsigned long long)atomic_load_explicit(&c->audits[i], memory_order_relaxed));
}
