/* api/metrics.c: the numbers, in Prometheus' text format. Few and without labels that grow: runs and tokens have no
 * series. */
#include "api/api_priv.h"
#include "engine/engine.h"
#include "llm/chat.h"
#include "llm/egress.h"
#include "memory/memory.h"
#include "store/store.h"
#include "ws/conn.h"

static void about(struct sl_buf *b, const char *name, const char *type, const char *help)
{
	sl_buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct sl_buf *b, const char *name, const char *type, const char *help, double value)
{
	about(b, name, type, help);
	sl_buf_addf(b, "%s %.15g\n", name, value);
}

static void of(struct sl_buf *b, const char *name, const char *label, const char *value, double n)
{
	sl_buf_addf(b, "%s{%s=\"%s\"} %.15g\n", name, label, value, n);
}

static void engine_numbers(struct sl_buf *b, struct sl_engine *engine)
{
	struct sl_engine_stats e;
	sl_engine_stats(engine, &e);
	about(b, "sluice_runs_total", "counter", "Runs since the start of this process, by how they ended.");
	of(b, "sluice_runs_total", "status", "started", (double)e.runs_started);
	of(b, "sluice_runs_total", "status", "succeeded", (double)e.runs_succeeded);
	of(b, "sluice_runs_total", "status", "failed", (double)e.runs_failed);
	of(b, "sluice_runs_total", "status", "cancelled", (double)e.runs_cancelled);
	one(b, "sluice_runs_active", "gauge", "Unfinished runs in memory.", e.runs_active);
	one(b, "sluice_runs_at_work", "gauge", "Runs that have a place; those that runs started are not counted.",
	    e.admit.inside);
	one(b, "sluice_runs_queued", "gauge", "Created runs that wait for their turn.", e.admit.waiting);
	about(b, "sluice_run_queue_wait_seconds", "histogram", "From the creation of a run to its place.");
	for (size_t i = 0; i < SL_ADMIT_BOUNDS; i++)
		sl_buf_addf(b, "sluice_run_queue_wait_seconds_bucket{le=\"%.15g\"} %llu\n",
			    (double)sl_admit_bounds_ms[i] / 1000.0, (unsigned long long)e.admit.bounds[i]);
	of(b, "sluice_run_queue_wait_seconds_bucket", "le", "+Inf", (double)e.admit.admitted);
	sl_buf_addf(b, "sluice_run_queue_wait_seconds_sum %.15g\nsluice_run_queue_wait_seconds_count %llu\n",
		    (double)e.admit.waited_ms / 1000.0, (unsigned long long)e.admit.admitted);
	one(b, "sluice_runs_waiting", "gauge", "Runs that wait for persons, signals or timers.", e.runs_waiting);
	one(b, "sluice_nodes_pending", "gauge", "Nodes that wait for a model, a timer or a person.", e.nodes_pending);
	about(b, "sluice_node_attempts_total", "counter", "Ends of node attempts.");
	of(b, "sluice_node_attempts_total", "outcome", "completed", (double)e.nodes_completed);
	of(b, "sluice_node_attempts_total", "outcome", "failed", (double)e.nodes_failed);
	of(b, "sluice_node_attempts_total", "outcome", "retried", (double)e.node_retries);
	one(b, "sluice_node_results_deduplicated_total", "counter", "Results that were recorded already.",
	    (double)e.results_deduplicated);
	one(b, "sluice_recovery_runs_total", "counter", "Unfinished runs taken up again.", (double)e.recovered);
	one(b, "sluice_fencing_rejections_total", "counter", "Writes refused because another instance owns the run.",
	    (double)e.stale_epoch);
	one(b, "sluice_expr_aborts_total", "counter", "Expressions ended for their budget.", (double)e.expr_aborts);
	one(b, "sluice_workers", "gauge", "Threads that serve runs.", e.workers);
	one(b, "sluice_mailbox_depth", "gauge", "Runs that wait for a worker.", e.mailbox_depth);
}

static void store_numbers(struct sl_buf *b, struct sl_store *store)
{
	struct sl_store_stats s;
	struct sl_store_health h;
	sl_store_stats(store, &s);
	sl_store_health(store, &h);
	one(b, "sluice_db_up", "gauge", "1 when PostgreSQL takes writes with the right schema.",
	    h.state == SL_STORE_OK);
	one(b, "sluice_db_unavailable_seconds_total", "counter", "Time the journal had no connection.",
	    (double)s.unavailable_ms / 1000.0);
	one(b, "sluice_db_connections", "gauge", "Connections to PostgreSQL.", s.connections);
	one(b, "sluice_db_reconnects_total", "counter", "Connections made again.", (double)s.reconnects);
	one(b, "sluice_db_queries_total", "counter", "Queries outside of the journal.", (double)s.queries);
	one(b, "sluice_db_query_failures_total", "counter", "Those that failed.", (double)s.query_failures);
	one(b, "sluice_journal_records_total", "counter", "Events written.", (double)s.records);
	one(b, "sluice_journal_commits_total", "counter", "Transactions they took.", (double)s.commits);
	one(b, "sluice_journal_resent_total", "counter", "Groups of batches sent again.", (double)s.retried);
	one(b, "sluice_journal_resolved_total", "counter",
	    "Batches that were settled already when they were sent once more: the reply was lost.", (double)s.resolved);
	one(b, "sluice_journal_queue_bytes", "gauge", "Waiting to be written.", (double)s.queued_bytes);
}

static void socket_numbers(struct sl_buf *b, struct sl_ws *ws)
{
	struct sl_hub_stats h;
	sl_hub_stats(sl_ws_hub(ws), &h);
	one(b, "sluice_ws_connections", "gauge", "Open live streams: WebSockets and server-sent events.",
	    h.connections);
	one(b, "sluice_ws_subscriptions", "gauge", "Runs watched, counted for each watcher.", h.subscriptions);
	about(b, "sluice_ws_disconnects_total", "counter", "Ended streams, by reason.");
	of(b, "sluice_ws_disconnects_total", "reason", "stalled", (double)h.closed_stalled);
	of(b, "sluice_ws_disconnects_total", "reason", "silent", (double)h.closed_silent);
	of(b, "sluice_ws_disconnects_total", "reason", "drain", (double)h.closed_drain);
	of(b, "sluice_ws_disconnects_total", "reason", "revoked", (double)h.closed_revoked);
	of(b, "sluice_ws_disconnects_total", "reason", "other", (double)h.closed_other);
	one(b, "sluice_ws_recoveries_total", "counter", "Subscriptions that went on where they were.",
	    (double)h.recoveries);
	one(b, "sluice_ws_frames_total", "counter", "Frames encoded; each may go to many.", (double)h.frames_encoded);
	one(b, "sluice_ws_bytes_total", "counter", "Bytes written.", (double)h.bytes);
}

static void transfer_numbers(struct sl_buf *b, struct sl_llm *llm)
{
	struct sl_http_stats t;
	sl_http_stats(sl_llm_http(llm), &t);
	one(b, "sluice_llm_calls_total", "counter", "Transfers to model providers.", (double)t.started);
	one(b, "sluice_llm_calls_active", "gauge", "Under way.", (double)t.active);
	one(b, "sluice_llm_received_bytes_total", "counter", "Bytes of their answers.", (double)t.bytes_received);
	about(b, "sluice_event_loop_lag_seconds", "gauge", "The longest turn of about the last second.");
	of(b, "sluice_event_loop_lag_seconds", "loop", "io", (double)t.loop_lag_us / 1e6);
}

static void egress_numbers(struct sl_buf *b, struct sl_egress *egress)
{
	struct sl_egress_stats e;
	sl_egress_stats(egress, &e);
	one(b, "sluice_egress_requests_total", "counter", "Requests of workflows to addresses they chose.",
	    (double)e.requests);
	one(b, "sluice_egress_active", "gauge", "Under way.", (double)e.http.active);
	about(b, "sluice_egress_denied_total", "counter", "Those the policy refused, by reason.");
	for (int i = 0; i < SL_EGRESS_REASON_COUNT; i++)
		of(b, "sluice_egress_denied_total", "reason", sl_egress_reason_text((enum sl_egress_reason)i),
		   (double)e.denied[i]);
}

static void memory_numbers(struct sl_buf *b, struct sl_memory *memory)
{
	struct sl_memory_stats m;
	sl_memory_stats(memory, &m);
	one(b, "sluice_memory_stored_total", "counter", "Memories stored, quarantine included.", (double)m.stored);
	one(b, "sluice_memory_declined_total", "counter", "Those the ingest filter declined.", (double)m.declined);
	one(b, "sluice_memory_promoted_total", "counter", "Moves to a higher tier.", (double)m.promoted);
	one(b, "sluice_memory_invalidated_total", "counter", "Memories taken out of use.", (double)m.invalidated);
	one(b, "sluice_memory_expired_total", "counter", "Memories swept after their time.", (double)m.expired);
	one(b, "sluice_memory_searches_total", "counter", "Searches.", (double)m.searches);
	one(b, "sluice_memory_searches_degraded_total", "counter", "Those that had to do without something.",
	    (double)m.degraded);
	one(b, "sluice_memory_embedded_total", "counter", "Pieces that got a vector.", (double)m.embedded);
	one(b, "sluice_memory_vectors", "gauge", "Vectors kept in the process.", (double)m.vectors);
	one(b, "sluice_memory_vector_bytes", "gauge", "What they take.", (double)m.vector_bytes);
}

static void http_numbers(struct sl_buf *b, const struct sl_server *server)
{
	static const char *const classes[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
	struct sl_server_stats s;
	sl_server_stats(server, &s);
	one(b, "sluice_http_connections", "gauge", "Open HTTP connections.", s.open);
	one(b, "sluice_http_requests_in_flight", "gauge", "Requests without an answer yet.", s.in_flight);
	about(b, "sluice_http_responses_total", "counter", "Answers by class of status.");
	for (size_t i = 2; i < SL_COUNT_OF(classes); i++)
		of(b, "sluice_http_responses_total", "class", classes[i], (double)s.answers[i]);
	one(b, "sluice_http_refused_heads_total", "counter", "Requests that were no HTTP.", (double)s.refused_heads);
	one(b, "sluice_http_timeouts_total", "counter", "Connections closed for slowness.", (double)s.timeouts);
	one(b, "sluice_http_clients_gone_total", "counter", "Clients that left before the answer was complete.",
	    (double)s.gone);
}

void sl_route_metrics(struct sl_api *a, struct sl_request *r)
{
	SL_BUF(out, 4u << 20);
	about(&out, "sluice_build_info", "gauge", "The version of this server.");
	of(&out, "sluice_build_info", "version", SL_VERSION, 1);
	one(&out, "sluice_start_time_seconds", "gauge", "When it started, Unix time.", (double)a->started_ms / 1000.0);
	one(&out, "sluice_draining", "gauge", "1 while it takes no new runs.", atomic_load(&a->leaving));
	if (a->parts.engine)
		engine_numbers(&out, a->parts.engine);
	if (a->parts.store)
		store_numbers(&out, a->parts.store);
	if (a->parts.memory)
		memory_numbers(&out, a->parts.memory);
	if (a->parts.ws)
		socket_numbers(&out, a->parts.ws);
	if (a->parts.llm)
		transfer_numbers(&out, a->parts.llm);
	else
		about(&out, "sluice_event_loop_lag_seconds", "gauge", "The longest turn of about the last second.");
	if (a->parts.egress) {
		struct sl_egress_stats e;
		sl_egress_stats(a->parts.egress, &e);
		of(&out, "sluice_event_loop_lag_seconds", "loop", "egress", (double)e.http.loop_lag_us / 1e6);
	}
	of(&out, "sluice_event_loop_lag_seconds", "loop", "front", (double)sl_loop_lag_us(a->loop) / 1e6);
	if (a->parts.store)
		of(&out, "sluice_event_loop_lag_seconds", "loop", "store",
		   (double)sl_loop_lag_us(sl_store_loop(a->parts.store)) / 1e6);
	if (a->parts.egress)
		egress_numbers(&out, a->parts.egress);
	http_numbers(&out, a->server);
	sl_counts_door(&out, &a->counts);
	if (a->parts.llm)
		sl_counts_models(&out, sl_llm_stats(a->parts.llm));
	if (a->parts.llm && sl_llm_ledger(a->parts.llm))
		sl_counts_calls(&out, sl_llm_ledger(a->parts.llm));
	if (a->parts.cache)
		sl_counts_cache(&out, a->parts.cache);
	if (a->parts.governor)
		sl_counts_governor(&out, a->parts.governor, a->clock);
	one(&out, "sluice_paused", "gauge", "1 while an operator has paused it.", atomic_load(&a->paused));
	sl_answer_header(r, "Cache-Control", SL_STR("no-store"));
	if (out.failed)
		sl_answer_problem(r, SL_NO_MEMORY, "out of memory");
	else
		sl_answer_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", sl_buf_str(&out), SL_BYTES_COPIED);
}
