/* cmd/serve.c: `sluice serve`: what is started in which order, and stopped in the opposite one.
 *
 * Up:    settings, log → secrets → database (embedded or given), migrations → store → profiles, models, simulator,
 * memory → api and sockets (made, not listening) → engine → the port is ours → runs are claimed → requests are
 * answered. Who cannot have its port has taken nobody's runs. Down: readiness says no, and after a while the doors are
 * closed → engine → our runs are given back → models → api and sockets → memory → store → loops → simulator → database.
 */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <sodium.h>

#include "api/api.h"
#include "api/limits_doc.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "cmd/cli.h"
#include "cmd/keep.h"
#include "cmd/secrets.h"
#include "cmd/settings.h"
#include "cmd/stop.h"
#include "cmd/trouble.h"
#include "cmd/wire.h"
#include "cmd/witness.h"
#include "engine/tool.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/agents.h"
#include "llm/chat.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "llm/sim.h"
#include "llm/egress.h"
#include "llm/budget.h"
#include "llm/cache.h"
#include "llm/governor.h"
#include "llm/ledger.h"
#include "llm/services.h"
#include "llm/sources.h"
#include "store/agents.h"
#include "memory/memory.h"
#include "memory/source.h"
#include "store/embedded.h"
#include "store/migrate.h"
#include "store/prices.h"
#include "store/profiles.h"
#include "store/settings.h"
#include "store/spend.h"
#include "store/store.h"
#include "ws/conn.h"

#define SERVE_DATABASE_MS 60000 /* how long a given database may take to answer at the start */
#define SERVE_TELL_MS     10000 /* how often the log says that it does not answer yet */
#define SERVE_RECOVER_MS  60000 /* how long the claiming of unfinished runs may hold up answers */
#define SERVE_STOP_S      28    /* all of stopping; then the process ends as it is, and the journal has what it has */
#define SERVE_LEDGER_MS   2000  /* for what the ledger of calls still has to write */
#define SERVE_SETTLE_MS   2000  /* for requests under way */
#define SERVE_GIVE_MS     3000  /* for the journal, before our runs are given back */
#define SERVE_FILES_MOST  131072

struct serve {
	const struct sl_config *config;
	const char *data;
	enum sl_start step; /* what is being started */
	uint8_t secret[SL_SECRET_KEY_BYTES];
	char admin_token[SL_ADMIN_TOKEN_BYTES];
	struct sl_cluster *cluster;
	struct sl_store *store;
	struct sl_profiles *profiles;
	struct sl_prices *prices;
	struct sl_agents *agents;
	struct sl_governor *governor;
	struct sl_bytes *limits; /* as stored, until they are in force */
	struct sl_cache *cache;
	struct sl_keep keep;
	struct sl_call_ledger *calls;
	struct sl_llm *llm;
	struct sl_egress *egress;
	struct sl_memory *memory;
	struct sl_sim *sim;
	struct sl_loop *front;
	bool front_turns, listening;
	bool paused; /* an operator said so, in an earlier life or to another server */
	struct sl_api *api;
	struct sl_ws *ws;
	struct sl_registry *registry;
	struct sl_services services;
	struct sl_sources sources;
	struct sl_wire wire;
	struct sl_witness witness;
	struct sl_engine *engine;
};

/* ---- one answer of another thread, waited for */

struct answer {
	sem_t came;
	enum sl_code rc;
	size_t n;
	struct serve *serve;
};

static bool wait_for(struct answer *a, unsigned ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	while (sem_timedwait(&a->came, &until) != 0)
		if (errno != EINTR)
			return false;
	return true;
}

/* ---- up */

static void limits_up(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		rlim_t want = files.rlim_max > SERVE_FILES_MOST ? SERVE_FILES_MOST : files.rlim_max;
		if (files.rlim_cur < want) {
			files.rlim_cur = want;
			if (setrlimit(RLIMIT_NOFILE, &files) != 0)
				sl_log(SL_LOG_WARN, "cmd", "the limit of open files could not be raised",
				       SL_KU("limit", files.rlim_cur));
		}
	}
#if !SL_DEBUG
	/* a core file would hold provider keys */
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#endif
}

static enum sl_code up_database(struct serve *s, struct sl_error *err)
{
	const char *url = sl_config_z(s->config, SL_SET_DATABASE_URL);
	struct sl_store_config store;
	uint32_t applied = 0;
	enum sl_code rc;

	sl_settings_store(s->config, &store);
	store.on_orphans = sl_wire_orphans;
	store.on_lapse = sl_wire_lapse;
	store.on_news = sl_wire_news;
	store.on_order = sl_wire_order;
	store.ctx = &s->wire;
	store.sharing = SL_STORE_SHARED;
	if (!url) {
		const struct sl_cluster_config cluster = {.data_dir = s->data,
							  .bin_dir = sl_config_z(s->config, SL_SET_PG_BIN)};
		s->step = SL_START_CLUSTER;
		rc = sl_cluster_start(&cluster, &s->cluster, err);
		if (rc != SL_OK)
			return sl_wrap(err, rc, "embedded database");
		if (sl_cluster_watch(s->cluster) != SL_OK)
			return sl_fail(err, SL_NO_MEMORY, "embedded database");
		url = sl_cluster_url(s->cluster);
		store.sharing = SL_STORE_EXCLUSIVE;
	}
	s->step = SL_START_DATABASE;
	uint64_t until = sl_clock_mono_ms() + SERVE_DATABASE_MS, told_ms = 0;
	while ((rc = sl_migrate_up(url, &applied, err)) == SL_UNAVAILABLE && !s->cluster &&
	       sl_clock_mono_ms() < until) {
		if (!told_ms || sl_clock_mono_ms() - told_ms >= SERVE_TELL_MS) {
			told_ms = sl_clock_mono_ms();
			sl_log(SL_LOG_WARN, "cmd", "the database does not answer yet; it is asked again",
			       SL_KS("error", err->text), SL_KU("wait_ms", until - told_ms));
		}
		if (sl_stop_wait_ms(1000))
			return sl_fail(err, SL_CANCELLED, "stopped while waiting for the database");
	}
	if (rc != SL_OK)
		return sl_wrap(err, rc, "database");
	if (applied)
		sl_log(SL_LOG_INFO, "cmd", "migrations applied", SL_KU("count", applied));
	store.url = url;
	rc = sl_store_open(&store, &s->store, err);
	return rc == SL_OK ? sl_store_wait(s->store, SERVE_DATABASE_MS, err) : rc;
}

static const char *environment(const char *name)
{
	return getenv(name);
}

static void on_profiles(void *arg, enum sl_code rc, const struct sl_stored_profile *items, size_t n)
{
	struct answer *a = arg;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		struct sl_error err = {0};
		if (sl_profiles_load(a->serve->profiles, sl_str(items[i].name), sl_bytes_str(items[i].config),
				     sl_bytes_str(items[i].secrets), &err) != SL_OK)
			sl_log(SL_LOG_ERROR, "cmd", "a stored profile cannot be used as it is",
			       SL_KS("profile", items[i].name), SL_KS("error", err.text));
	}
	a->rc = rc;
	a->n = n;
	sem_post(&a->came);
}

static void on_agents(void *arg, enum sl_code rc, const struct sl_stored_agent *items, size_t n)
{
	struct answer *a = arg;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		struct sl_error err = {0};
		if (sl_agents_load(a->serve->agents, sl_str(items[i].name), items[i].body, &err) != SL_OK)
			sl_log(SL_LOG_ERROR, "cmd", "a stored agent cannot be used", SL_KS("agent", items[i].name),
			       SL_KS("error", err.text));
	}
	a->rc = rc;
	sem_post(&a->came);
}

static void on_prices(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	struct answer *a = arg;
	struct sl_error err = {0};
	if (rc == SL_OK && sl_prices_load(a->serve->prices, sl_bytes_str(json), &err) != SL_OK)
		sl_log(SL_LOG_ERROR, "cmd", "the stored prices cannot be used", SL_KS("error", err.text));
	a->rc = rc;
	sem_post(&a->came);
}

/* The store always calls back, within its query timeout; so there is no way to leave the answer behind. */
static enum sl_code came(struct answer *a, enum sl_code rc)
{
	if (rc != SL_OK)
		return rc;
	while (sem_wait(&a->came) != 0)
		;
	return a->rc;
}

static enum sl_code up_catalog(struct serve *s, struct sl_error *err)
{
	struct answer stored = {.serve = s};
	sem_init(&stored.came, 0, 0);
	enum sl_code rc = sl_agents_new(&s->agents);
	if (rc == SL_OK)
		rc = sl_prices_new(&s->prices);
	if (rc == SL_OK)
		rc = came(&stored, sl_store_agent_list(s->store, on_agents, &stored));
	if (rc == SL_OK)
		rc = came(&stored, sl_store_price_list(s->store, on_prices, &stored));
	sem_destroy(&stored.came);
	return rc == SL_OK ? rc : sl_fail(err, rc, "the stored agents and prices could not be read");
}

static void on_spend(void *arg, enum sl_code rc, const struct sl_stored_spend *items, size_t n)
{
	struct answer *a = arg;
	for (size_t i = 0; rc == SL_OK && i < n; i++)
		rc = sl_budget_load(a->serve->governor->budgets, sl_str(items[i].project), items[i].day,
				    items[i].tokens, items[i].cost_microusd);
	a->rc = rc;
	sem_post(&a->came);
}

static void on_limits(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	struct answer *a = arg;
	if (rc == SL_OK)
		a->serve->limits = sl_bytes_ref(json);
	a->rc = rc == SL_NOT_FOUND ? SL_OK : rc;
	sem_post(&a->came);
}

static void on_paused(void *arg, enum sl_code rc, struct sl_bytes *json)
{
	struct answer *a = arg;
	SL_AUTO_JSON doc = NULL;
	if (rc == SL_OK && sl_json_parse(sl_bytes_str(json), &doc, NULL) == SL_OK)
		a->serve->paused = sl_json_get_bool(doc, "paused", false);
	a->rc = rc == SL_NOT_FOUND ? SL_OK : rc;
	sem_post(&a->came);
}

/* Once there is who they are for, and before anything starts. */
static void limits_in_force(struct serve *s)
{
	SL_AUTO(sl_bytes) stored = s->limits;
	SL_AUTO_JSON doc = NULL;
	struct sl_error err = {0};
	s->limits = NULL;
	if (stored && (sl_json_parse(sl_bytes_str(stored), &doc, &err) != SL_OK ||
		       sl_limits_apply(s->governor, s->engine, doc, &err) != SL_OK))
		sl_log(SL_LOG_ERROR, "cmd", "the stored limits cannot be used", SL_KS("error", err.text));
}

static enum sl_code up_limits(struct serve *s, struct sl_error *err)
{
	struct sl_ledger ledger;
	struct sl_cache_back back;
	struct answer stored = {.serve = s};
	sem_init(&stored.came, 0, 0);
	s->keep.store = s->store;
	sl_keep_ledger(&s->keep, &ledger);
	sl_keep_cache(&s->keep, &back);
	enum sl_code rc = sl_governor_new(&ledger, &s->governor);
	if (rc == SL_OK)
		rc = sl_cache_new(&back, &s->cache);
	atomic_store(&s->wire.cache, s->cache); /* before anything comes into it */
	if (rc == SL_OK)
		rc = came(&stored, sl_store_spend_list(s->store, on_spend, &stored));
	if (rc == SL_OK)
		rc = came(&stored, sl_store_setting_get(s->store, SL_STR("limits"), on_limits, &stored));
	if (rc == SL_OK)
		rc = came(&stored, sl_store_setting_get(s->store, SL_STR(SL_SETTING_PAUSED), on_paused, &stored));
	sem_destroy(&stored.came);
	return rc == SL_OK ? rc : sl_fail(err, rc, "the stored limits could not be read");
}

static bool said(const struct serve *s, size_t setting)
{
	return sl_config_origin(s->config, setting) != SL_ORIGIN_DEFAULT;
}

static enum sl_code up_simulator(struct serve *s, struct sl_error *err)
{
	struct sl_str mode = sl_str(sl_config_z(s->config, SL_SET_SIM));
	const char *path = sl_config_z(s->config, SL_SET_SIM_SCENARIO);
	double speed = sl_config_f64(s->config, SL_SET_SIM_SPEED), jitter = sl_config_f64(s->config, SL_SET_SIM_JITTER);
	uint64_t first = sl_config_u64(s->config, SL_SET_SIM_FIRST_TOKEN_MS);
	SL_BUF(scenario, SL_LIMIT_BODY_BYTES);

	if (sl_str_is(mode, "off") || (sl_str_is(mode, "auto") && sl_profiles_count(s->profiles) > 0))
		return SL_OK;
	if (path) {
		enum sl_code rc = sl_cli_read_file(path, &scenario, err);
		if (rc != SL_OK)
			return rc;
	}
	const struct sl_sim_config sim = {
		.scenario = sl_buf_str(&scenario),
		/* what nobody said is left to the scenario's own defaults: 0 there */
		.tokens_per_s = !said(s, SL_SET_SIM_SPEED) ? 0
				: speed > 0                ? speed
							   : -1,
		.jitter = !said(s, SL_SET_SIM_JITTER) ? 0
			  : jitter > 0                ? jitter
						      : -1,
		.first_token_ms = !said(s, SL_SET_SIM_FIRST_TOKEN_MS) ? 0
				  : first                             ? (uint32_t)first
								      : 1,
	};
	enum sl_code rc = sl_sim_start(&sim, &s->sim, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "simulator");
	rc = sl_profiles_add_sim(s->profiles, "sim", sl_sim_url(s->sim));
	if (rc == SL_OK)
		rc = sl_profiles_add_sim_embedding(s->profiles, sl_sim_url(s->sim));
	if (rc != SL_OK)
		return sl_fail(err, rc, "simulator");
	sl_log(SL_LOG_WARN, "cmd", "no model is configured: the simulator answers", SL_KS("url", sl_sim_url(s->sim)));
	return SL_OK;
}

static enum sl_code up_ledger(struct serve *s, struct sl_error *err)
{
	struct sl_call_ledger_port port;
	s->keep.store = s->store;
	enum sl_code rc = sl_keep_calls(&s->keep, s->front, &port);
	if (rc == SL_OK)
		rc = sl_call_ledger_new(&port, &s->calls);
	return rc == SL_OK ? rc : sl_fail(err, rc, "the ledger of called-off calls");
}

static enum sl_code up_models(struct serve *s, struct sl_error *err)
{
	struct answer stored = {.serve = s};
	s->step = SL_START_OTHER;
	enum sl_code rc = sl_profiles_new(s->secret, &s->profiles);
	if (rc != SL_OK)
		return sl_fail(err, rc, "profiles");
	sl_profiles_from_env(s->profiles, environment);
	sem_init(&stored.came, 0, 0);
	rc = came(&stored, sl_store_profile_list(s->store, on_profiles, &stored));
	sem_destroy(&stored.came);
	if (rc != SL_OK)
		return sl_fail(err, rc, "the stored profiles could not be read");
	s->step = SL_START_SIMULATOR;
	rc = up_simulator(s, err);
	if (rc != SL_OK)
		return rc;
	s->step = SL_START_OTHER;
	rc = up_ledger(s, err);
	if (rc == SL_OK)
		rc = up_catalog(s, err);
	if (rc == SL_OK)
		rc = up_limits(s, err);
	if (rc != SL_OK)
		return rc;
	const struct sl_llm_config llm = {
		.profiles = s->profiles,
		.prices = s->prices,
		.governor = s->governor,
		.ledger = s->calls,
		.total_ms = (uint32_t)sl_config_u64(s->config, SL_SET_LLM_TIMEOUT_S) * 1000,
		.http = {.loops = (uint32_t)sl_config_u64(s->config, SL_SET_IO_LOOPS),
			 .ca_file = sl_config_z(s->config, SL_SET_CA_FILE)},
	};
	return sl_llm_new(&llm, &s->llm, err);
}

static enum sl_code up_egress(struct serve *s, struct sl_error *err)
{
	const struct sl_egress_config egress = {
		.allow = sl_config_z(s->config, SL_SET_EGRESS_ALLOW),
		.ports = sl_config_z(s->config, SL_SET_EGRESS_PORTS),
		.plain_http = sl_config_bool(s->config, SL_SET_EGRESS_HTTP),
		.only_allowed = sl_config_bool(s->config, SL_SET_EGRESS_ONLY),
		.ca_file = sl_config_z(s->config, SL_SET_CA_FILE),
		.ledger = s->calls,
	};
	s->step = SL_START_EGRESS;
	enum sl_code rc = sl_egress_new(&egress, &s->egress, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "egress");
	s->step = SL_START_OTHER;
	return SL_OK;
}

/* The port at the end of our address, once there is one: requests of workflows must not come back in there. */
static void keep_egress_out(struct serve *s)
{
	const char *colon = strrchr(sl_api_address(s->api), ':');
	uint64_t port = 0;
	if (colon && sl_str_u64(sl_str(colon + 1), &port))
		sl_egress_own_port(s->egress, (uint16_t)port);
}

static enum sl_code up_memory(struct serve *s, struct sl_error *err)
{
	const struct sl_memory_config memory = {
		.store = s->store,
		.llm = s->llm,
		.working_ttl_s = (uint32_t)sl_config_u64(s->config, SL_SET_MEMORY_TTL_S),
		.working_capacity = (uint32_t)sl_config_u64(s->config, SL_SET_MEMORY_CAPACITY),
		.vector_bytes = (size_t)sl_config_u64(s->config, SL_SET_MEMORY_VECTORS_MB) << 20,
		.search_timeout_ms = (uint32_t)sl_config_u64(s->config, SL_SET_MEMORY_TIMEOUT_S) * 1000,
	};
	return sl_memory_new(&memory, &s->memory, err);
}

static void doors_of(const struct serve *s, struct sl_api_config *out)
{
	*out = (struct sl_api_config){
		.loop = s->front,
		.listen = sl_config_z(s->config, SL_SET_LISTEN),
		.tls_cert = sl_config_z(s->config, SL_SET_TLS_CERT),
		.tls_key = sl_config_z(s->config, SL_SET_TLS_KEY),
		.insecure = sl_config_bool(s->config, SL_SET_INSECURE),
		.admin_token = s->admin_token,
		.hosts = sl_config_z(s->config, SL_SET_HOSTS),
		.origins = sl_config_z(s->config, SL_SET_ORIGINS),
		.request_ms = (uint32_t)sl_config_u64(s->config, SL_SET_REQUEST_TIMEOUT_S) * 1000,
		.per_minute = {[SL_RATE_REQUESTS] = (uint32_t)sl_config_u64(s->config, SL_SET_RATE_REQUESTS),
			       [SL_RATE_RUNS] = (uint32_t)sl_config_u64(s->config, SL_SET_RATE_RUNS),
			       [SL_RATE_SOCKETS] = (uint32_t)sl_config_u64(s->config, SL_SET_RATE_SOCKETS)},
	};
}

/* What can be seen of the address before there is anything: so that a slip of the pen makes no database first. */
static enum sl_code check_doors(struct serve *s, struct sl_error *err)
{
	struct sl_api_config api;
	doors_of(s, &api);
	s->step = SL_START_ADDRESS;
	return sl_api_check(&api, err);
}

static enum sl_code up_doors(struct serve *s, struct sl_error *err)
{
	struct sl_api_config api;
	doors_of(s, &api);
	memcpy(api.secret_key, s->secret, sizeof(api.secret_key));
	enum sl_code rc = sl_api_new(&api, &s->api, err);
	sodium_memzero(api.secret_key, sizeof(api.secret_key));
	if (rc != SL_OK)
		return rc;
	struct sl_ws_config ws = {
		.loop = s->front,
		.flush_ms = (uint32_t)sl_config_u64(s->config, SL_SET_FLUSH_MS),
		.path = "/ws",
		.authenticate = sl_api_ws_authenticate,
		.auth_ctx = s->api,
	};
	sl_wire_hub_source(&s->wire, &ws.source);
	sl_api_ws_commands(s->api, &ws.commands);
	rc = sl_ws_new(&ws, &s->ws);
	if (rc != SL_OK)
		return sl_fail(err, rc, "sockets");
	s->wire.ws = s->ws;
	return SL_OK;
}

static enum sl_code up_engine(struct serve *s, struct sl_error *err)
{
	uint64_t workers = sl_config_u64(s->config, SL_SET_WORKERS);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct sl_engine_config engine = {
		.clock = &sl_clock_real,
		.services = &s->services,
		.node_types = sl_node_types,
		.middleware = sl_middlewares,
		.workers = workers     ? (uint32_t)workers
			   : cores > 0 ? (uint32_t)cores * 2
				       : 2,
		.default_timeout_s = (uint32_t)sl_config_u64(s->config, SL_SET_RUN_TIMEOUT_S),
		.max_running = (uint32_t)sl_config_u64(s->config, SL_SET_MAX_RUNNING),
		.max_queued = (uint32_t)sl_config_u64(s->config, SL_SET_MAX_QUEUED),
		.max_recoveries = (uint32_t)sl_config_u64(s->config, SL_SET_MAX_RECOVERIES),
		.wake_at = sl_wire_wake_at,
		.wake_ctx = &s->wire,
	};
	sl_witness_open(&s->witness, s->data);
	engine.serving = s->witness.slots;
	engine.n_serving = SL_WITNESS_SLOTS;
	engine.suspects = s->witness.known ? s->witness.suspects : NULL;
	engine.n_suspects = s->witness.n_suspects;
	enum sl_code rc = sl_registry_new(sl_node_types, &s->registry, err);
	if (rc != SL_OK)
		return rc;
	s->wire.store = s->store;
	sl_wire_journal(&s->wire, &engine.journal);
	sl_wire_bus(&s->wire, &engine.bus);
	sl_wire_library(&s->wire, &engine.library);
	sl_wire_elsewhere(&s->wire, &engine.elsewhere);
	s->services.slow_step_ms = (uint32_t)sl_config_u64(s->config, SL_SET_SLOW_STEP_MS);
	s->services.slow_model_ms = (uint32_t)sl_config_u64(s->config, SL_SET_SLOW_MODEL_MS);
	s->services.llm = s->llm;
	s->services.agents = s->agents;
	s->services.governor = s->governor;
	s->services.cache = s->cache;
	s->services.egress = s->egress;
	s->services.memory = s->memory;
	if (s->memory)
		sl_memory_source(s->memory, &s->sources.memory);
	s->services.sources = &s->sources;
	rc = sl_engine_new(&engine, &s->engine, err);
	if (rc == SL_OK)
		limits_in_force(s);
	if (rc == SL_OK && s->paused)
		sl_api_paused(s->api, s->engine, true);
	return rc;
}

/* The port is taken, and only that: who connects waits in the kernel's queue until the front loop turns. To bind it
 * would not do, because two that have bound the same one are told apart when they listen. */
static enum sl_code up_listen(struct serve *s, struct sl_error *err)
{
	const struct sl_api_parts parts = {.engine = s->engine,
					   .registry = s->registry,
					   .store = s->store,
					   .llm = s->llm,
					   .memory = s->memory,
					   .agents = s->agents,
					   .governor = s->governor,
					   .cache = s->cache,
					   .egress = s->egress,
					   .ws = s->ws,
					   .tools = sl_tools,
					   .services = &s->services};
	s->step = SL_START_LISTEN;
	enum sl_code rc = sl_api_start(s->api, &parts, err);
	if (rc != SL_OK)
		return rc;
	s->step = SL_START_OTHER;
	keep_egress_out(s);
	return SL_OK;
}

static void on_recovered(void *arg, enum sl_code rc, size_t runs)
{
	struct answer *a = arg;
	if (rc != SL_OK)
		sl_log(SL_LOG_ERROR, "cmd", "unfinished runs could not be claimed", SL_KS("error", sl_code_wire(rc)));
	else if (runs)
		sl_log(SL_LOG_INFO, "cmd", "unfinished runs go on", SL_KU("runs", runs));
	sem_post(&a->came);
}

/* Static, because an answer that comes after we stopped waiting still finds its place. */
static struct answer recovered;

static enum sl_code up_recovery(struct serve *s, struct sl_error *err)
{
	enum sl_code rc =
		sl_wire_start(&s->wire, s->engine); /* what other servers leave is claimed from here on, too */
	if (rc != SL_OK)
		return sl_fail(err, rc, "timer");
	sem_init(&recovered.came, 0, 0);
	rc = sl_engine_recover(s->engine, on_recovered, &recovered);
	if (rc != SL_OK)
		return sl_fail(err, rc, "unfinished runs could not be claimed");
	if (!wait_for(&recovered, SERVE_RECOVER_MS))
		sl_log(SL_LOG_WARN, "cmd", "unfinished runs are still being claimed; answering meanwhile");
	return SL_OK;
}

/* DATA/url: where a client on this machine finds us when nobody told it. */
static void announce(const struct serve *s, bool here)
{
	char path[4096], fresh[4200];
	snprintf(path, sizeof(path), "%s/url", s->data);
	if (!here) {
		unlink(path);
		return;
	}
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	FILE *f = fopen(fresh, "we");
	bool ok = f && fprintf(f, "%s\n", sl_api_url(s->api)) > 0;
	if (f)
		ok = fclose(f) == 0 && ok;
	if (!ok || rename(fresh, path) != 0)
		sl_log(SL_LOG_WARN, "cmd", "the file with our address could not be written", SL_KS("path", path));
}

static enum sl_code up_secrets(struct serve *s, struct sl_error *err)
{
	s->step = SL_START_SECRET_KEY;
	enum sl_code rc = sl_secret_key(s->data, sl_config_z(s->config, SL_SET_SECRET_KEY), s->secret, err);
	if (rc != SL_OK)
		return rc;
	s->step = SL_START_ADMIN_TOKEN;
	return sl_admin_token(s->data, sl_config_z(s->config, SL_SET_ADMIN_TOKEN), s->admin_token, err);
}

static enum sl_code up(struct serve *s, struct sl_error *err)
{
	enum sl_code rc = check_doors(s, err);
	if (rc == SL_OK)
		rc = up_secrets(s, err);
	if (rc != SL_OK)
		return rc;
	s->step = SL_START_OTHER;
	if ((rc = sl_wire_init(&s->wire)) != SL_OK)
		rc = sl_fail(err, rc, "timer");
	if (rc == SL_OK && (rc = sl_loop_new("front", &s->front)) != SL_OK)
		rc = sl_fail(err, rc, "front loop");
	if (rc == SL_OK)
		rc = up_database(s, err);
	if (rc == SL_OK)
		rc = up_models(s, err);
	if (rc == SL_OK)
		rc = up_egress(s, err);
	if (rc == SL_OK)
		rc = up_memory(s, err);
	if (rc == SL_OK)
		rc = up_doors(s, err);
	if (rc == SL_OK)
		rc = up_engine(s, err);
	if (rc == SL_OK)
		rc = up_listen(s, err);
	if (rc == SL_OK)
		rc = up_recovery(s, err);
	if (rc == SL_OK && (rc = sl_loop_start(s->front)) != SL_OK)
		rc = sl_fail(err, rc, "front loop");
	if (rc != SL_OK)
		return rc;
	atomic_store(&s->wire.api, s->api);
	for (int news = 0; news < SL_STORE_NEWS_KINDS && !s->cluster; news++)
		sl_api_news(s->api, (enum sl_store_news)news); /* what came between reading and listening for changes */
	s->front_turns = s->listening = true;
	announce(s, true);
	sl_log(SL_LOG_INFO, "cmd", "listening", SL_KS("address", sl_api_address(s->api)),
	       SL_KS("url", sl_api_url(s->api)));
	return SL_OK;
}

/* ---- down; also from half way up */

static void on_too_late(int sig)
{
	static const char text[] = "sluice: stopping took too long; ending as it is\n";
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

static void close_sockets(void *arg)
{
	sl_ws_close(arg); /* no-op when the api has done it */
}

static void end_calls(void *arg)
{
	sl_keep_calls_end(arg);
}

static void down(struct serve *s)
{
	signal(SIGALRM, on_too_late);
	alarm(SERVE_STOP_S);
	atomic_store(&s->wire.api, NULL);
	if (s->listening) {
		announce(s, false);
		sl_api_leave(s->api);
		sl_stop_wait_ms((unsigned)sl_config_u64(s->config, SL_SET_DRAIN_S) *
				1000); /* a second signal cuts it short */
		sl_api_drain(s->api);
		sl_api_settle(s->api, SERVE_SETTLE_MS);
	}
	if (s->engine) {
		sl_engine_stop(s->engine);
		sl_wire_stop(&s->wire);
		sl_store_give_back(s->store,
				   SERVE_GIVE_MS); /* before the sockets: who comes back elsewhere finds them */
	}
	if (s->llm)
		sl_llm_stop(s->llm);
	if (s->egress)
		sl_egress_stop(s->egress);
	if (s->front && !s->front_turns) /* the doors can be closed only on a loop that turns */
		s->front_turns = sl_loop_start(s->front) == SL_OK;
	if (s->front_turns && s->api)
		sl_api_stop(s->api);
	if (s->front_turns && s->ws)
		SL_IGNORE(sl_loop_call(s->front, close_sockets,
				       s->ws)); /* it fails without memory only, and then we end anyway */
	if (s->memory) /* while the store answers and the front loop turns: what it owes to both ends now */
		sl_memory_stop(s->memory);
	if (s->calls && s->front_turns && !sl_call_ledger_drain(s->calls, SERVE_LEDGER_MS))
		sl_log(SL_LOG_WARN, "cmd", "calls that were called off could not all be written to the ledger");
	sl_keep_close(&s->keep);
	sl_store_close(s->store, 10000); /* while the front loop turns: callbacks post to it */
	if (s->front_turns)
		SL_IGNORE(sl_loop_call(s->front, end_calls, &s->keep)); /* without memory: as above */
	if (s->front_turns)
		sl_loop_stop(s->front);
	sl_wire_stop(&s->wire);
	sl_engine_free(s->engine);
	sl_witness_close(&s->witness);
	sl_ws_free(s->ws);
	sl_api_free(s->api);
	sl_registry_free(s->registry);
	sl_loop_free(s->front);
	sl_memory_free(s->memory);
	sl_llm_free(s->llm);
	sl_bytes_unref(s->limits);
	sl_governor_free(s->governor);
	sl_cache_free(s->cache);
	sl_agents_free(s->agents);
	sl_prices_free(s->prices);
	sl_egress_free(s->egress);
	sl_call_ledger_free(s->calls);
	sl_profiles_free(s->profiles);
	sl_sim_free(s->sim);
	sl_cluster_stop(s->cluster, 8000);
	sodium_memzero(s->secret, sizeof(s->secret));
	sodium_memzero(s->admin_token, sizeof(s->admin_token));
	alarm(0);
}

static int print_config(const struct sl_cli *cli)
{
	SL_BUF(out, 1u << 20);
	if (cli->json)
		sl_config_print_json(cli->config, &out);
	else
		sl_config_print(cli->config, &out);
	sl_cli_put(&out);
	return SL_EXIT_DONE;
}

/* Machines read the log. Who sits before it reads lines, below everything else that was logged. */
static bool for_people(const struct sl_config *c)
{
	return isatty(STDERR_FILENO) && !sl_str_is(sl_str(sl_config_z(c, SL_SET_LOG_FORMAT)), "json");
}

static void log_trouble(const struct serve *s, enum sl_code rc, const struct sl_error *err)
{
	SL_BUF(settings, 16384);
	const char *instead = sl_trouble(s->config, s->step, rc, "; ", &settings);
	if (rc == SL_CANCELLED)
		sl_log(SL_LOG_INFO, "cmd", "stopped before it had started", SL_KS("why", err->text));
	else if (!for_people(s->config))
		sl_log(SL_LOG_ERROR, "cmd", "could not start", SL_KS("error", err->text),
		       SL_KS("code", sl_code_wire(rc)), SL_KSTR("now", sl_buf_str(&settings)),
		       SL_KS("instead", instead));
}

static void tell_trouble(const struct serve *s, enum sl_code rc, const struct sl_error *err)
{
	SL_BUF(settings, 16384);
	const char *instead = sl_trouble(s->config, s->step, rc, "\n  now:     ", &settings);
	fprintf(stderr, "\nsluice serve: it could not start: %s\n", err->text);
	if (settings.len)
		fprintf(stderr, "  now:     " SL_STR_FMT "\n", SL_STR_ARG(sl_buf_str(&settings)));
	fprintf(stderr, "  instead: %s\n", instead);
}

static int serve_main(struct sl_cli *cli)
{
	static struct serve s; /* large, and threads point into it until the very end */
	struct sl_error err = {0};

	if (sl_settings_load_file(cli->config, &err) != SL_OK)
		return sl_cli_usage(cli, "%s", err.text);
	if (sl_config_bool(cli->config, SL_SET_PRINT_CONFIG))
		return print_config(cli);
	s.config = cli->config;
	s.data = sl_config_z(cli->config, SL_SET_DATA);
	sl_settings_log(cli->config);
	sl_stop_block();
	limits_up();
	curl_global_init(CURL_GLOBAL_DEFAULT);
	sl_log(SL_LOG_INFO, "cmd", "starting", SL_KS("version", SL_VERSION), SL_KS("data", s.data));
	enum sl_code rc = up(&s, &err);
	if (rc == SL_OK) {
		int sig = sl_stop_wait();
		sl_log(SL_LOG_INFO, "cmd", "stopping",
		       SL_KS("signal", sig == SIGINT    ? "SIGINT"
				       : sig == SIGTERM ? "SIGTERM"
							: "SIGHUP"));
	} else
		log_trouble(&s, rc, &err);
	down(&s);
	sl_log(SL_LOG_INFO, "cmd", "stopped");
	if (rc != SL_OK && rc != SL_CANCELLED && for_people(cli->config))
		tell_trouble(&s, rc, &err);
	return rc == SL_OK || rc == SL_CANCELLED ? SL_EXIT_DONE : SL_EXIT_FAILED;
}

const struct sl_command sl_cmd_serve = {
	.name = "serve",
	.args = "",
	.summary = "The server.",
	.more = "Settings: flags over environment over file over defaults; --print-config shows the result and where "
		"each came from.\n"
		"Provider keys come from the environment (OPENAI_API_KEY and the like) or over REST; without any, the "
		"simulator answers.",
	.options = sl_settings,
	.n_options = SL_SETTINGS,
	.run = serve_main,
};
