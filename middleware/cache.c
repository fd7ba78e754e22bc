/* middleware/cache.c: gives the answer of before, when the very same was asked (see llm/cache.h).
 *
 * Used for   nodes that say `cache`, of any type; and model calls whose temperature is 0. Within one project.
 * The key    a hash of: project, type, provider, address, model, the profile's and the agent's parameters, all
 * parameters of the node as evaluated (messages, tools, response_format, …) and what people said into the run. With
 *            `cache.key`: workflow, node, its definition and that key instead of the parameters.
 * Kept       only what the node itself completed: no failure, no fallback value, no answer that was cut short.
 * A hit spends neither budget nor rate; its text is streamed, `cached` is true, and the event says whose answer it is.
 */
#include <math.h>
#include <sodium.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "engine/graph.h"
#include "engine/middleware.h"
#include "llm/agents.h"
#include "llm/cache.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/services.h"

#define LOOK_MS 5000 /* it is woken; this is for the case that there was no memory for that */

extern const struct sl_middleware sl_middleware_cache;

struct cache_state {
	bool ready, used, failed;
	uint32_t ttl_s;
	struct sl_cache_key key;
	struct sl_cache_ticket ticket;
	struct sl_waker *waker;
};

static void cache_wake(void *handle)
{
	sl_waker_wake(handle);
}
static void *cache_ref(void *handle)
{
	return sl_waker_ref(handle);
}
static void cache_unref(void *handle)
{
	sl_waker_unref(handle);
}
static const struct sl_wake cache_wakes = {cache_wake, cache_ref, cache_unref};

static bool cache_applies(const struct sl_node_def *def)
{
	return def->cache_ttl_s > 0 || def->cache_key || sl_node_def_is_call(def);
}

static bool cache_is_asked_for(const struct sl_node_def *def)
{
	return def->cache_ttl_s > 0 || def->cache_key;
}

/* Each part with its length in front, so that no two sequences of parts are the same bytes. */
static void hash_part(crypto_generichash_state *h, const void *p, size_t len)
{
	uint64_t n = len;
	(void)crypto_generichash_update(h, (const unsigned char *)&n, sizeof(n));
	if (len)
		(void)crypto_generichash_update(h, p, len);
}

static void hash_z(crypto_generichash_state *h, const char *z)
{
	hash_part(h, z ? z : "", z ? strlen(z) : 0);
}

static bool hash_json(crypto_generichash_state *h, struct json_object *o)
{
	SL_BUF(text, 4u * SL_LIMIT_PAYLOAD_BYTES);
	sl_json_write(&text, o);
	hash_part(h, text.data, text.len);
	return !text.failed;
}

static void hash_route(crypto_generichash_state *h, const struct sl_route *route)
{
	const struct sl_profile *p = route->profiles[0];
	char numbers[120];
	hash_z(h, p->provider);
	hash_z(h, p->base_url);
	hash_z(h, sl_route_model(route, 0));
	(void)snprintf(numbers, sizeof(numbers), "%.17g %.17g %lld", sl_route_temperature(route, 0), p->top_p,
		       (long long)sl_route_max_tokens(route, 0));
	hash_z(h, numbers);
	hash_z(h, p->thinking);
}

static bool hash_agent(crypto_generichash_state *h, const struct sl_services *s, struct json_object *params)
{
	struct sl_str name = sl_json_get_str(params, "agent");
	SL_AUTO(sl_agent) agent = name.len && s->agents ? sl_agents_get(s->agents, name) : NULL;
	if (!agent)
		return !name.len;
	hash_z(h, agent->system);
	hash_part(h, sl_bytes_str(agent->params).p, sl_bytes_str(agent->params).len);
	return true;
}

/* Of the path, without the numbers of rounds and items. */
static void hash_place(crypto_generichash_state *h, const char *path)
{
	SL_BUF(place, 4096);
	bool number = false;
	for (const char *c = path; *c; c++) {
		number = *c == '#' || (number && *c >= '0' && *c <= '9');
		if (!number)
			sl_buf_addc(&place, *c);
	}
	hash_part(h, place.data, place.len);
}

/* false: this is not to be cached. */
static bool cache_key_of(struct sl_exec *x, struct cache_state *state, const struct sl_route *route)
{
	const struct sl_services *s = sl_exec_services(x);
	const struct sl_node_def *def = sl_exec_def(x);
	struct json_object *params = sl_exec_params(x);
	crypto_generichash_state h;
	SL_AUTO_JSON key = NULL;
	struct sl_error err;
	bool ok = true;
	(void)crypto_generichash_init(&h, NULL, 0, SL_CACHE_KEY_BYTES);
	hash_z(&h, "sluice cache 1");
	hash_z(&h, sl_exec_project(x));
	hash_z(&h, def->type->name);
	if (route->n)
		hash_route(&h, route);
	ok = hash_agent(&h, s, params) && ok;
	if (def->cache_key) {
		if (sl_exec_eval(x, def->cache_key, &key, &err) != SL_OK)
			return false;
		hash_z(&h, sl_exec_workflow(x)->name);
		hash_place(&h, sl_exec_path(x));
		ok = hash_json(&h, def->params_json) && hash_json(&h, key) && ok;
	} else {
		ok = hash_json(&h, params) && hash_json(&h, sl_exec_said(x)) && ok;
	}
	(void)crypto_generichash_final(&h, state->key.b, sizeof(state->key.b));
	return ok;
}

/* Most calls are not cached: they cost one look and no memory. */
static bool cache_wanted(struct sl_exec *x, struct sl_route *route)
{
	bool routed = sl_route_of(sl_exec_services(x), sl_exec_params(x), route);
	return cache_is_asked_for(sl_exec_def(x)) || (routed && sl_route_temperature(route, 0) == 0);
}

static enum sl_verdict cache_give(struct sl_exec *x, const struct sl_cache_hit *hit)
{
	char reason[240];
	struct json_object *output = NULL;
	struct sl_error err;
	enum sl_code rc = sl_json_parse(sl_bytes_str(hit->output), &output, &err);
	if (rc != SL_OK || !json_object_is_type(output, json_type_object)) {
		json_object_put(output);
		return SL_PASS;
	}
	sl_json_set_bool(output, "cached", true);
	int64_t age_s = (sl_clock_wall(sl_exec_clock(x)) - hit->created_ms) / 1000;
	(void)snprintf(reason, sizeof(reason), "cached: the answer of %s, %lld s ago", hit->source,
		       (long long)(age_s > 0 ? age_s : 0));
	sl_exec_reason(x, reason);
	sl_exec_answer(x, output);
	return SL_ANSWER;
}

static enum sl_verdict cache_enter(struct sl_exec *x, struct sl_error *err)
{
	const struct sl_services *s = sl_exec_services(x);
	struct sl_cache *cache = s ? s->cache : NULL;
	struct sl_cache_hit hit = {0};
	SL_ROUTE_AUTO route = {0};
	if (!cache || !cache_wanted(x, &route))
		return SL_PASS;
	struct cache_state *state = sl_exec_state(x, &sl_middleware_cache, sizeof(*state));
	if (!state)
		return SL_PASS;
	if (!state->ready) {
		const struct sl_node_def *def = sl_exec_def(x);
		state->ready = true;
		state->ttl_s = def->cache_ttl_s ? def->cache_ttl_s : SL_CACHE_TTL_S;
		state->used = cache_key_of(x, state, &route);
	}
	if (!state->used)
		return SL_PASS;
	if (!state->waker)
		state->waker = sl_exec_waker(x);
	switch (sl_cache_ask(cache, &state->key, cache_is_asked_for(sl_exec_def(x)) ? SL_STR("node") : SL_STR("llm"),
			     &state->ticket, state->waker ? &cache_wakes : NULL, state->waker,
			     sl_clock_wall(sl_exec_clock(x)), &hit)) {
	case SL_CACHE_HIT: {
		enum sl_verdict v = cache_give(x, &hit);
		sl_bytes_unref(hit.output);
		if (v == SL_ANSWER) {
			sl_waker_unref(state->waker);
			state->waker = NULL;
		}
		return v;
	}
	case SL_CACHE_WAIT:
		sl_exec_reason(x, "waits: the same is being asked right now");
		sl_exec_look_again_ms(x, LOOK_MS);
		return SL_DELAY;
	case SL_CACHE_MISS:
	case SL_CACHE_NONE:
		break;
	}
	return SL_PASS;
}

/* Asked when nobody wants another attempt: whatever comes out now is no answer of the node. */
static enum sl_again cache_failed(struct sl_exec *x, const struct sl_outcome *outcome, uint64_t *delay_ms)
{
	struct cache_state *state = sl_exec_state(x, &sl_middleware_cache, sizeof(*state));
	if (state)
		state->failed = true;
	return SL_AGAIN_NO;
}

static bool worth_keeping(struct sl_exec *x, const struct cache_state *state, const struct sl_outcome *outcome)
{
	const char *why = sl_json_get_z(outcome->output, "finish_reason");
	/* without an attempt the output is a fallback's */
	return outcome->code == SL_OK && !state->failed && sl_exec_node(x) && outcome->output &&
	       (!why || strcmp(why, "stop") == 0) && !sl_json_get(outcome->output, "refusal");
}

static void cache_leave(struct sl_exec *x, const struct sl_outcome *outcome)
{
	const struct sl_services *s = sl_exec_services(x);
	struct sl_cache *cache = s ? s->cache : NULL;
	if (!cache)
		return;
	struct cache_state *state = sl_exec_state(x, &sl_middleware_cache, sizeof(*state));
	if (!state || !state->used)
		return;
	if (state->ticket.state == SL_CACHE_MAKING) {
		SL_BUF(text, SL_CACHE_ENTRY_BYTES);
		char run[SL_UUID_TEXT_BYTES], source[160];
		if (worth_keeping(x, state, outcome))
			sl_json_write(&text, outcome->output);
		SL_AUTO(sl_bytes) output = text.len ? sl_buf_bytes(&text) : NULL; /* NULL, too, when it is too large */
		sl_uuid_format(sl_exec_run(x).u, run);
		(void)snprintf(source, sizeof(source), "%s/%s", run, sl_exec_path(x));
		sl_cache_done(cache, &state->ticket, output, sl_str(source), state->ttl_s,
			      sl_clock_wall(sl_exec_clock(x)));
	}
	sl_cache_leave(cache, &state->ticket);
	sl_waker_unref(state->waker);
	state->waker = NULL;
}

const struct sl_middleware sl_middleware_cache = {
	.name = "cache",
	.slot = SL_SLOT_CACHE,
	.applies = cache_applies,
	.enter = cache_enter,
	.leave = cache_leave,
	.failed = cache_failed,
};
