/* llm/sim.h: the model simulator: an HTTP server that speaks the protocols of OpenAI, Anthropic, Gemini and Ollama,
 * with settable speed, scripted answers and injected faults. The default model when no key is configured, the upstream
 * of the tests, and a product in itself.
 *
 * Owns      a loop with its thread, the listening socket, all connections.
 * Thread    start, stop, stats [any]; nothing calls back.
 * Routes    POST /v1/chat/completions · /v1/embeddings · /v1/messages · /v1beta/models/NAME:generateContent and
 *           :streamGenerateContent · /api/chat; GET /v1/models · /v1beta/models · /api/tags · /sim/stats ·
 *           /sim/requests (of conversations, newest last)
 * Settings  weakest first: the scenario's "defaults", the config, the matching rule, a "+fault=F12,tps=5" suffix of the
 * model's name, headers x-sim-<key>: <value>, the body's "sim" object. Keys: see llm/sim_scenario.h.
 */
#pragma once

#include "base/buf.h"

struct sl_sim;

/* Zero means the scenario's default of each, or else ours. */
struct sl_sim_config {
	const char *host;        /* numeric; NULL: 127.0.0.1 */
	uint16_t port;           /* 0 picks one */
	struct sl_str scenario;  /* JSON text; empty: the one built in (examples/sim-scenario.json) */
	double tokens_per_s;     /* ours: 50; negative: as fast as it goes */
	double jitter;           /* 0..1, share of the pause between tokens that varies; ours: 0.3; negative: none */
	uint32_t first_token_ms; /* ours: 150; 1 is at once */
	uint32_t tokens;         /* length of generated filler; 0: as the text is */
	uint64_t seed;           /* same seed and requests, same answers and pauses; ours: 1 */
	bool stamps;   /* every token is "t<16 digits, monotonic us> ", for measuring latency; needs `tokens` */
	bool no_rules; /* ignore every scenario, also the one built in */
};

struct sl_sim_stats {
	uint64_t connections_open, connections_total;
	uint64_t requests, embeddings; /* conversations; requests for vectors */
	uint64_t streams_open, streams_finished;
	uint64_t tokens_sent, faults;
	uint64_t closed_by_client; /* answers whose socket the client closed before their end */
	uint64_t last_closed_us;   /* when that last happened, sl_clock_mono_us() */
};

/* Listens before it returns. SL_INVALID: the scenario (err: the first problem). SL_UNAVAILABLE: cannot bind. */
SL_MUST_USE enum sl_code sl_sim_start(const struct sl_sim_config *config, struct sl_sim **out, struct sl_error *err);
uint16_t sl_sim_port(const struct sl_sim *s);
const char *sl_sim_url(const struct sl_sim *s); /* "http://127.0.0.1:PORT/v1": a profile's base_url */
void sl_sim_stop(struct sl_sim *s);             /* closes everything, joins; idempotent */
void sl_sim_free(struct sl_sim *s);             /* stops first; NULL is fine */
SL_DEFINE_AUTO(sl_sim)
void sl_sim_stats(struct sl_sim *s, struct sl_sim_stats *out);

/* Checks a scenario file. SL_INVALID: `problems` (NULL is fine) gets the members {"pointer","message"},… */
SL_MUST_USE enum sl_code sl_sim_check(struct sl_str scenario, struct sl_buf *problems, struct sl_error *err);
