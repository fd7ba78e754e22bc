/* api/api.c: see api.h. Only putting together and taking apart. */
#include "api/api_priv.h"
#include "ws/conn.h"

#include <time.h>

#define SETTLED_MS 300 /* nothing was answered for so long */

static bool copy(char **to, const char *from)
{
	*to = from && *from ? sl_str_dup(sl_str(from)) : NULL;
	return !from || !*from || *to;
}

static void on_answered(void *ctx, const struct sl_request *r, int status, uint64_t took_us)
{
	struct sl_api *a = ctx;
	sl_stats_spread_add(&a->counts.http, &sl_bounds_http, (double)took_us / 1e6);
}

static void on_tick(void *ctx)
{
	sl_sse_tick(ctx);
	sl_talk_tick(ctx);
	sl_counts_tick(ctx);
	sl_follow_tick(ctx);
}

enum sl_code sl_api_check(const struct sl_api_config *config, struct sl_error *err)
{
	const struct sl_server_config server = {.listen = config->listen,
						.tls_cert = config->tls_cert,
						.tls_key = config->tls_key,
						.insecure = config->insecure};
	return sl_server_check(&server, err);
}

enum sl_code sl_api_new(const struct sl_api_config *config, struct sl_api **out, struct sl_error *err)
{
	SL_AUTO(sl_api) a = calloc(1, sizeof(*a));
	if (!a)
		return sl_fail(err, SL_NO_MEMORY, "api");
	if (!config->admin_token || strlen(config->admin_token) < 8)
		return sl_fail(err, SL_INVALID, "the admin token must have at least 8 characters");
	a->loop = config->loop;
	a->request_ms = config->request_ms;
	a->clock = config->clock ? config->clock : &sl_clock_real;
	sl_list_init(&a->streams);
	sl_list_init(&a->talks);
	a->started_ms = sl_clock_wall(a->clock);
	if (!copy(&a->listen, config->listen) || !copy(&a->tls_cert, config->tls_cert) ||
	    !copy(&a->tls_key, config->tls_key) || !copy(&a->hosts, config->hosts) ||
	    !copy(&a->origins, config->origins))
		return sl_fail(err, SL_NO_MEMORY, "api");
	if (sl_rates_new(config->per_minute, a->clock, &a->rates) != SL_OK)
		return sl_fail(err, SL_NO_MEMORY, "api");
	if (sl_auth_new(config->admin_token, config->secret_key, a->clock, &a->auth) != SL_OK)
		return sl_fail(err, SL_NO_MEMORY, "api");
	a->server_config = (struct sl_server_config){
		.loop = a->loop,
		.listen = a->listen,
		.tls_cert = a->tls_cert,
		.tls_key = a->tls_key,
		.insecure = config->insecure,
		.ws_path = "/ws",
		.head = sl_api_head,
		.handle = sl_api_handle,
		.upgrade = sl_api_upgrade,
		.answered = on_answered,
		.tick = on_tick,
		.ctx = a,
	};
	*out = SL_TAKE(a);
	return SL_OK;
}

enum sl_code sl_api_start(struct sl_api *a, const struct sl_api_parts *parts, struct sl_error *err)
{
	a->parts = *parts;
	a->server_config.ws = parts->ws;
	enum sl_code rc = sl_server_new(&a->server_config, &a->server, err);
	if (rc != SL_OK)
		return rc;
	sl_follow_read(a, SL_FOLLOW_TOKENS);
	return sl_server_start(a->server, err);
}

const char *sl_api_address(const struct sl_api *a)
{
	return sl_server_address(a->server);
}

const char *sl_api_url(const struct sl_api *a)
{
	return sl_server_url(a->server);
}

void sl_api_leave(struct sl_api *a)
{
	atomic_store(&a->leaving, true);
}

static void close_door(struct sl_post *p)
{
	struct sl_api *a = SL_CONTAINER_OF(p, struct sl_api, drain_post);
	sl_server_drain(a->server);
}

void sl_api_drain(struct sl_api *a)
{
	atomic_store(&a->leaving, true);
	atomic_store(&a->draining, true);
}

void sl_api_settle(struct sl_api *a, uint32_t wait_ms)
{
	uint64_t until = sl_clock_mono_ms() + wait_ms, moved = sl_clock_mono_ms();
	uint32_t now;
	a->drain_post.run = close_door;
	sl_loop_post(a->loop, &a->drain_post);
	for (uint32_t before = UINT32_MAX; sl_clock_mono_ms() < until; before = now) {
		now = sl_server_in_flight(a->server);
		if (now == 0 && before == 0)
			return;
		if (now != before)
			moved = sl_clock_mono_ms();
		else if (sl_clock_mono_ms() - moved >
			 SETTLED_MS) /* what is left are streams, which have no end of their own */
			return;
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
}

void sl_api_stop(struct sl_api *a)
{
	atomic_store(&a->leaving, true);
	atomic_store(&a->draining, true);
	if (a->server)
		sl_server_stop(a->server);
}

void sl_api_free(struct sl_api *a)
{
	if (!a)
		return;
	sl_server_free(a->server);
	sl_auth_free(a->auth);
	sl_rates_free(a->rates);
	sl_bytes_unref(a->node_types);
	sl_bytes_unref(a->templates);
	free(a->listen);
	free(a->tls_cert);
	free(a->tls_key);
	free(a->hosts);
	free(a->origins);
	free(a);
}

enum sl_code sl_api_ws_authenticate(void *api, struct lws *wsi, struct sl_ws_identity *who)
{
	struct sl_api *a = api;
	return sl_server_ws_identity(a->server, wsi, who);
}
