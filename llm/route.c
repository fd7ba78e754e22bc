/* llm/route.c: see route.h. */
#include "llm/route.h"

#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "llm/agents.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/services.h"
#include "llm/tokens.h"

static bool is_call(struct json_object *params)
{
	return sl_json_get(params, "prompt") || sl_json_get(params, "messages") || sl_json_get(params, "profile") ||
	       sl_json_get(params, "provider") || sl_json_get(params, "agent");
}

static void read_params(struct json_object *params, struct sl_route *r)
{
	struct sl_str model = sl_json_get_str(params, "model");
	if (model.len && !r->model[0])
		(void)snprintf(r->model, sizeof(r->model), SL_STR_FMT, SL_STR_ARG(model));
	if (!r->max_tokens)
		r->max_tokens = sl_json_get_i64(params, "max_tokens", 0);
	if (isnan(r->temperature) && sl_json_get(params, "temperature"))
		r->temperature = sl_json_get_f64(params, "temperature", 0);
	r->thinks = r->thinks || sl_json_get(params, "thinking");
}

static bool add(struct sl_route *r, struct sl_profile *p) /* takes it */
{
	bool fresh = p && r->n < SL_ROUTE_MOST;
	for (uint32_t i = 0; fresh && i < r->n; i++)
		fresh = strcmp(r->profiles[i]->name, p->name) != 0;
	if (!fresh) {
		sl_profile_unref(p);
		return false;
	}
	r->profiles[r->n++] = p;
	return true;
}

enum sl_code sl_route_resolve(struct sl_profiles *profiles, struct sl_agents *agents, struct json_object *params,
			      struct sl_route *out, struct sl_error *err)
{
	struct sl_str profile = sl_json_get_str(params, "profile"), provider = sl_json_get_str(params, "provider");
	struct sl_str name = sl_json_get_str(params, "agent");
	SL_AUTO(sl_agent) agent = NULL;
	SL_AUTO_JSON defaults = NULL;
	*out = (struct sl_route){.temperature = NAN};
	if (!is_call(params))
		return sl_fail(err, SL_NOT_FOUND, "no parameters of a model call");
	read_params(params, out);
	if (name.len) {
		if (!agents || !(agent = sl_agents_get(agents, name)))
			return sl_fail(err, SL_NOT_FOUND, "there is no agent '" SL_STR_FMT "'", SL_STR_ARG(name));
		if (agent->params && sl_json_parse(sl_bytes_str(agent->params), &defaults, err) == SL_OK)
			read_params(defaults, out);
		if (!profile.len && !provider.len)
			profile = sl_str(agent->profile);
		out->system_tokens = agent->system ? sl_tokens_of_text(sl_str(agent->system)) : 0;
	}
	struct sl_profile *first = sl_profiles_choose(profiles, profile, provider, sl_str(out->model));
	if (!first)
		return sl_fail(err, SL_NOT_FOUND, "there is no profile '" SL_STR_FMT "'",
			       SL_STR_ARG(profile.len ? profile : provider));
	(void)add(out, first); /* the first one always fits */
	for (size_t i = 0; i < first->n_fallbacks; i++) {
		struct sl_profile *p = sl_profiles_get(profiles, sl_str(first->fallbacks[i]));
		if (p && p->kind == first->kind)
			(void)add(out, p); /* false: named twice */
		else
			sl_profile_unref(p);
	}
	return SL_OK;
}

bool sl_route_of(const struct sl_services *s, struct json_object *params, struct sl_route *out)
{
	*out = (struct sl_route){0};
	return s && s->llm && s->governor &&
	       sl_route_resolve(sl_llm_profiles(s->llm), s->agents, params, out, NULL) == SL_OK;
}

void sl_route_fini(struct sl_route *r)
{
	for (uint32_t i = 0; i < r->n; i++)
		sl_profile_unref(r->profiles[i]);
	r->n = 0;
}

const char *sl_route_model(const struct sl_route *r, uint32_t candidate)
{
	/* a fallback is another provider's: it does not know the first one's models */
	return candidate == 0 && r->model[0] ? r->model : r->profiles[candidate]->model;
}

int64_t sl_route_max_tokens(const struct sl_route *r, uint32_t candidate)
{
	return r->max_tokens ? r->max_tokens : r->profiles[candidate]->max_tokens;
}

double sl_route_temperature(const struct sl_route *r, uint32_t candidate)
{
	return isnan(r->temperature) ? r->profiles[candidate]->temperature : r->temperature;
}
