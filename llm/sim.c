/* llm/sim.c: see sim.h: start, stop, statistics. The connections are in sim_conn.c, the answers in sim_reply.c. */
#include <stdio.h>
#include <stdlib.h>

#include "base/embed.h"
#include "base/json.h"
#include "base/log.h"
#include "llm/sim_priv.h"

extern const struct sl_embedded sl_embedded_sim[];

static void sim_on_connection(uv_stream_t *st, int status)
{
	if (status == 0)
		sl_sim_conn_accept(st->data);
}

enum sl_code sl_sim_check(struct sl_str scenario, struct sl_buf *problems, struct sl_error *err)
{
	struct sim_scenario s;
	enum sl_code rc = sl_sim_scenario_read(scenario, &s, problems, err);
	if (rc == SL_OK)
		sl_sim_scenario_fini(&s);
	return rc;
}

static enum sl_code sim_listen(struct sl_sim *s, struct sl_error *err)
{
	struct sockaddr_storage at;
	int n = sizeof(at);
	bool six = strchr(s->host, ':') != NULL;
	int rc = six ? uv_ip6_addr(s->host, s->port, (struct sockaddr_in6 *)&at)
		     : uv_ip4_addr(s->host, s->port, (struct sockaddr_in *)&at);
	if (rc == 0)
		rc = uv_tcp_bind(&s->listener, (struct sockaddr *)&at, 0);
	if (rc == 0)
		rc = uv_listen((uv_stream_t *)&s->listener, 4096, sim_on_connection);
	if (rc == 0)
		rc = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&at, &n);
	if (rc != 0)
		return sl_fail(err, SL_UNAVAILABLE, "the simulator cannot listen on %s port %u: %s", s->host, s->port,
			       uv_strerror(rc));
	s->port = ntohs(six ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
	(void)snprintf(s->url, sizeof(s->url), six ? "http://[%.40s]:%u/v1" : "http://%.40s:%u/v1", s->host, s->port);
	return SL_OK;
}

/* Our own defaults, under the scenario's, under what the caller asked for. */
static void sim_base(struct sim_settings *b, const struct sl_sim_config *config, struct json_object *defaults)
{
	*b = (struct sim_settings){.tps = 50, .jitter = 0.3, .first_ms = 150, .seed = 1, .after = 5, .retry_ms = 2000};
	sl_sim_settings_set_object(b, defaults);
	if (config->tokens_per_s != 0)
		b->tps = config->tokens_per_s < 0 ? 0 : config->tokens_per_s;
	if (config->jitter != 0)
		b->jitter = config->jitter < 0 ? 0 : config->jitter;
	if (config->first_token_ms)
		b->first_ms = config->first_token_ms;
	if (config->tokens)
		b->tokens = config->tokens;
	if (config->seed)
		b->seed = config->seed;
	if (config->stamps)
		b->stamps = true;
}

enum sl_code sl_sim_start(const struct sl_sim_config *config, struct sl_sim **out, struct sl_error *err)
{
	struct sl_sim *s = calloc(1, sizeof(*s));
	enum sl_code rc = SL_OK;
	if (!s)
		return sl_fail(err, SL_NO_MEMORY, "simulator");
	sl_list_init(&s->conns);
	sl_buf_init(&s->out, 32u << 20);
	(void)snprintf(s->host, sizeof(s->host), "%s", config->host ? config->host : "127.0.0.1");
	s->port = config->port;
	if (!config->no_rules) {
		struct sl_str text = config->scenario;
		if (text.len == 0 && sl_embedded_sim[0].name)
			text = sl_str_n(sl_embedded_sim[0].data, sl_embedded_sim[0].len);
		rc = sl_sim_scenario_read(text, &s->scenario, NULL, err);
		if (rc != SL_OK)
			goto failed;
	}
	sim_base(&s->base, config, s->scenario.defaults);
	rc = sl_loop_new("sl-sim", &s->loop);
	if (rc != SL_OK) {
		(void)sl_fail(err, rc, "simulator");
		goto failed;
	}
	uv_tcp_init(sl_loop_uv(s->loop), &s->listener);
	s->listener.data = s;
	rc = sim_listen(s, err);
	if (rc == SL_OK && (rc = sl_loop_start(s->loop)) != SL_OK)
		(void)sl_fail(err, rc, "simulator");
	if (rc != SL_OK)
		goto failed;
	*out = s;
	return SL_OK;
failed:
	sl_loop_free(s->loop); /* closes the listener */
	s->loop = NULL;
	sl_sim_free(s);
	return rc;
}

uint16_t sl_sim_port(const struct sl_sim *s)
{
	return s->port;
}

const char *sl_sim_url(const struct sl_sim *s)
{
	return s->url;
}

static void sim_shut(void *arg)
{
	struct sl_sim *s = arg;
	uv_close((uv_handle_t *)&s->listener, NULL);
	sl_list_each_safe (it, tmp, &s->conns)
		sl_sim_conn_close(sl_list_entry(it, struct sim_conn, link), false);
}

void sl_sim_stop(struct sl_sim *s)
{
	if (s->stopped || !s->loop)
		return;
	s->stopped = true;
	enum sl_code rc = sl_loop_call(s->loop, sim_shut, s);
	sl_loop_stop(s->loop);
	if (rc != SL_OK)
		sim_shut(s); /* no memory for the message: the thread is gone, so it is ours to do */
	sl_loop_free(s->loop);
	s->loop = NULL;
}

void sl_sim_free(struct sl_sim *s)
{
	if (!s)
		return;
	sl_sim_stop(s);
	sl_sim_scenario_fini(&s->scenario);
	sl_sim_settings_fini(&s->base);
	sl_buf_fini(&s->out);
	free(s);
}

void sl_sim_stats(struct sl_sim *s, struct sl_sim_stats *out)
{
	*out = (struct sl_sim_stats){
		.connections_open = atomic_load(&s->open),
		.connections_total = atomic_load(&s->total),
		.requests = atomic_load(&s->requests),
		.embeddings = atomic_load(&s->embeddings),
		.streams_open = atomic_load(&s->streams_open),
		.streams_finished = atomic_load(&s->streams_finished),
		.tokens_sent = atomic_load(&s->tokens),
		.faults = atomic_load(&s->faults),
		.closed_by_client = atomic_load(&s->closed_by_client),
		.last_closed_us = atomic_load(&s->last_closed_us),
	};
}
