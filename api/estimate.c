/* api/estimate.c: see estimate.h. Whatever has the effect MODEL and names a profile, an agent or nothing is taken for a
 * model call; the few other types that take time or hand on text are listed below. */
#include "api/estimate.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "engine/estimate.h"
#include "engine/graph.h"
#include "llm/price.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/stats.h"
#include "llm/tokens.h"

#define FIRST_TOKEN_MS 1000.0
#define MS_PER_TOKEN   20.0
#define OUTSIDE_MS     500.0 /* a request to another system */

struct model { /* whom a node asks */
	const struct sl_node_def *def;
	char profile[65], model[129];
	bool priced, known;
};

struct forecast {
	const struct sl_estimate_models *m;
	struct sl_stats_model *measured;
	size_t n_measured;
	struct model *models;
	size_t n, cap;
	unsigned unmeasured; /* nodes whose share nobody can tell */
};

static struct sl_spread exactly(double v)
{
	return (struct sl_spread){v, v, v};
}

/* Of a call: what it took so far, else a guess from the length of its answer. */
static struct sl_spread call_ms(const struct forecast *f, const struct model *m, const struct sl_spread *answer)
{
	for (size_t i = 0; i < f->n_measured; i++) {
		const struct sl_stats_model *s = &f->measured[i];
		if (strcmp(s->profile, m->profile) != 0 || strcmp(s->model, m->model) != 0 || s->duration.n < 3)
			continue;
		double mean = s->duration.sum / (double)s->duration.n * 1000;
		return (struct sl_spread){mean / 2, mean, mean * 3};
	}
	return (struct sl_spread){FIRST_TOKEN_MS / 2 + answer->min * MS_PER_TOKEN / 2,
				  FIRST_TOKEN_MS + answer->expected * MS_PER_TOKEN,
				  3 * FIRST_TOKEN_MS + answer->max * MS_PER_TOKEN};
}

static struct model *model_of(struct forecast *f, const struct sl_node_def *def)
{
	for (size_t i = 0; i < f->n; i++) /* a body is walked twice */
		if (f->models[i].def == def)
			return &f->models[i];
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 16;
		struct model *more = realloc(f->models, cap * sizeof(*more));
		if (!more)
			return NULL;
		f->models = more;
		f->cap = cap;
	}
	f->models[f->n] = (struct model){.def = def};
	return &f->models[f->n++];
}

static enum sl_code model_call(struct forecast *f, const struct sl_estimate_ask *ask, struct sl_estimate_one *out,
			       struct sl_error *err)
{
	struct json_object *params = ask->def->params_json;
	struct model *m = model_of(f, ask->def);
	struct sl_error why;
	double usd_in = 0, usd_out = 0;
	SL_ROUTE_AUTO route;
	if (!m)
		return sl_fail(err, SL_NO_MEMORY, "no memory for an estimate");
	enum sl_code rc = sl_route_resolve(f->m->profiles, f->m->agents, params, &route, &why);
	bool embeds = strcmp(ask->def->type->name, "embed") == 0;
	int64_t most = 0;
	if (rc == SL_NO_MEMORY)
		return sl_fail(err, rc, "no memory for an estimate");
	if (rc == SL_OK) {
		const char *name = sl_route_model(&route, 0);
		most = sl_route_max_tokens(&route, 0);
		m->known = true;
		(void)snprintf(m->profile, sizeof(m->profile), "%s", route.profiles[0]->name); /* as long as a name */
		(void)snprintf(m->model, sizeof(m->model), "%s", name);
		m->priced = route.profiles[0]->simulated ||
			    sl_price_per_1m(f->m->prices, route.profiles[0], name, &usd_in, &usd_out);
		if (route.profiles[0]->simulated)
			usd_in = usd_out = 0;
	} else {
		struct sl_str name = sl_json_get_str(params, "profile");
		(void)snprintf(m->profile, sizeof(m->profile), SL_STR_FMT, SL_STR_ARG(name));
		most = sl_json_get_i64(params, "max_tokens", 0);
	}
	double asked = (double)sl_tokens_of_request(params, SL_STR("")) + ask->context_tokens +
		       (rc == SL_OK ? (double)route.system_tokens : 0);
	double said = most > 0 ? (double)most : SL_ESTIMATE_OUTPUT;
	struct sl_spread answer = {said / 4, said, most > 0 ? said : SL_TOKENS_OUTPUT};
	if (embeds)
		answer = exactly(0);
	out->tokens = (struct sl_spread){asked + answer.min, asked + answer.expected, asked + answer.max};
	out->cost_microusd =
		(struct sl_spread){asked * usd_in + answer.min * usd_out, asked * usd_in + answer.expected * usd_out,
				   asked * usd_in + answer.max * usd_out};
	out->ms = call_ms(f, m, &answer);
	out->out_tokens = answer.expected;
	return SL_OK;
}

static double text_tokens(struct json_object *params, const char *key)
{
	return (double)sl_tokens_of_text(sl_json_get_str(params, key));
}

/* [any] What one execution of a node takes. */
static enum sl_code one_node(void *ctx, const struct sl_estimate_ask *ask, struct sl_estimate_one *out,
			     struct sl_error *err)
{
	static const char *const outside[] = {"http", "search", "tool", "webhook"};
	struct forecast *f = ctx;
	struct json_object *params = ask->def->params_json;
	const char *type = ask->def->type->name;
	*out = (struct sl_estimate_one){.out_tokens = -1};
	if (sl_node_def_is_call(ask->def))
		return model_call(f, ask, out, err);
	if (ask->def->type->effects == SL_EFFECTS_MODEL) /* in rounds: what each of them is asked, to begin with */
		out->out_tokens = (double)sl_tokens_of_request(params, SL_STR("")) + ask->context_tokens;
	for (size_t i = 0; i < SL_COUNT_OF(outside); i++)
		if (strcmp(type, outside[i]) == 0) {
			out->ms = (struct sl_spread){OUTSIDE_MS / 5, OUTSIDE_MS, OUTSIDE_MS * 20};
			out->out_tokens = SL_ESTIMATE_OUTPUT;
		}
	if (strcmp(type, "delay") == 0) {
		out->ms = exactly(sl_json_get_f64(params, "seconds", 0) * 1000);
		out->out_tokens = 0;
	} else if (strcmp(type, "memory_retrieval") == 0) {
		double most = (double)sl_json_get_i64(params, "max_tokens", 0);
		out->out_tokens = most > 0 ? most : 150 * (double)sl_json_get_i64(params, "max_results", 5);
		out->ms = (struct sl_spread){5, 50, 500};
	} else if (strcmp(type, "template") == 0) {
		out->out_tokens = text_tokens(params, "text") + ask->context_tokens;
	} else if (strcmp(type, "transform") == 0) {
		out->out_tokens = ask->context_tokens;
	} else if (strcmp(type, "context") == 0) {
		double most = (double)sl_json_get_i64(params, "max_tokens", 0);
		out->out_tokens = most > 0 && most < ask->context_tokens ? most : ask->context_tokens;
	} else if (strcmp(type, "fact_check") == 0) {
		double queries = (double)sl_json_get_i64(params, "max_queries", 3);
		out->out_tokens = 150 * queries;
		out->ms = (struct sl_spread){0, 50 * queries, 5000 * queries};
	} else if (strcmp(type, "subworkflow") == 0) {
		f->unmeasured++;
		out->out_tokens = SL_ESTIMATE_OUTPUT;
	}
	return SL_OK;
}

/* ---- the answer ---- */

static void put_spread(struct sl_buf *out, const char *key, struct sl_spread s, double unit)
{
	sl_buf_json_key(out, key);
	sl_buf_addc(out, '{');
	if (unit == 1) {
		sl_buf_json_ku64(out, "min", (uint64_t)llround(s.min));
		sl_buf_json_ku64(out, "expected", (uint64_t)llround(s.expected));
		sl_buf_json_ku64(out, "max", (uint64_t)llround(s.max));
	} else {
		sl_buf_json_kf64(out, "min", round(s.min) * unit);
		sl_buf_json_kf64(out, "expected", round(s.expected) * unit);
		sl_buf_json_kf64(out, "max", round(s.max) * unit);
	}
	sl_buf_addc(out, '}');
}

static void SL_PRINTF(3, 4) warn(struct sl_buf *out, const char *code, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* cut when longer */
	va_end(args);
	sl_buf_json_comma(out);
	sl_buf_addc(out, '{');
	sl_buf_json_kz(out, "code", code);
	sl_buf_json_kz(out, "message", text);
	sl_buf_addc(out, '}');
}

static const struct model *find_model(const struct forecast *f, const struct sl_node_def *def)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->models[i].def == def)
			return &f->models[i];
	return NULL;
}

static void put_nodes(struct sl_buf *out, const struct forecast *f, const struct sl_estimate *e)
{
	sl_buf_json_key(out, "nodes");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < e->n; i++) {
		const struct sl_estimate_node *n = &e->nodes[i];
		const struct model *m = find_model(f, n->def);
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "path", n->path);
		sl_buf_json_kz(out, "type", n->def->type->name);
		if (m) {
			sl_buf_json_kz(out, "profile", m->profile[0] ? m->profile : NULL);
			sl_buf_json_kz(out, "model", m->model[0] ? m->model : NULL);
		}
		put_spread(out, "runs",
			   (struct sl_spread){round(n->runs.min * 100), round(n->runs.expected * 100),
					      round(n->runs.max * 100)},
			   0.01);
		sl_buf_json_ku64(out, "tokens", (uint64_t)llround(n->tokens.expected));
		sl_buf_json_kf64(out, "cost_usd", round(n->cost_microusd.expected) / 1e6);
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
}

static void put_warnings(struct sl_buf *out, const struct forecast *f, const struct sl_estimate *e)
{
	SL_BUF(unpriced, 256);
	SL_BUF(unknown, 256);
	for (size_t i = 0; i < f->n; i++) {
		const struct model *m = &f->models[i];
		bool seen = false;
		for (size_t k = 0; k < i; k++)
			seen |= strcmp(f->models[k].profile, m->profile) == 0 &&
				strcmp(f->models[k].model, m->model) == 0;
		if (seen || m->priced)
			continue;
		struct sl_buf *list = m->known ? &unpriced : &unknown;
		const char *name = m->known ? m->model : m->profile[0] ? m->profile : m->def->id;
		if (list->len + strlen(name) + 8 < list->max_bytes)
			sl_buf_addf(list, "%s%s", list->len ? ", " : "", name);
	}
	sl_buf_json_key(out, "warnings");
	sl_buf_addc(out, '[');
	if (e->cost_microusd.expected > SL_ESTIMATE_HIGH_MICRO)
		warn(out, "high_cost", "about $%.2f a run, and up to $%.2f", e->cost_microusd.expected / 1e6,
		     e->cost_microusd.max / 1e6);
	if (e->ms.expected > SL_ESTIMATE_LONG_MS)
		warn(out, "long_duration", "about %.0f minutes a run", e->ms.expected / 60000);
	if (e->executions > SL_ESTIMATE_MANY)
		warn(out, "complex_workflow", "about %.0f executions of nodes a run", e->executions);
	else if (e->guessed)
		warn(out, "complex_workflow",
		     "how many items a map has is known only when it runs; counted as 1 to 20");
	if (f->unmeasured)
		warn(out, "complex_workflow", "what %u subworkflow%s is not counted", f->unmeasured,
		     f->unmeasured == 1 ? " takes" : "s take");
	if (unpriced.len)
		warn(out, "unpriced", "no price is known for %s; its calls count as free", unpriced.data);
	if (unpriced.no_memory || unknown.no_memory)
		sl_json_lost();
	if (unknown.len)
		warn(out, "unpriced", "there is no such profile or agent yet: %s; its calls count as free",
		     unknown.data);
	sl_buf_addc(out, ']');
}

enum sl_code sl_estimate_json(const struct sl_estimate_models *m, const struct sl_workflow *w,
			      struct json_object *inputs, struct sl_buf *out, struct sl_error *err)
{
	struct forecast f = {.m = m};
	struct sl_estimate e;
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	uint64_t losses = sl_json_losses();
	if (inputs)
		sl_json_write(&text, inputs);
	f.measured = m->stats ? calloc(SL_STATS_MODELS, sizeof(*f.measured)) : NULL;
	if (text.no_memory || (m->stats && !f.measured)) {
		free(f.measured);
		return sl_fail(err, SL_NO_MEMORY, "no memory for an estimate");
	}
	if (f.measured)
		f.n_measured = sl_stats_models(m->stats, f.measured, SL_STATS_MODELS);
	double input_tokens = inputs ? (double)sl_tokens_of_text(sl_buf_str(&text)) : 50;
	enum sl_code rc = sl_estimate_workflow(w, inputs, input_tokens, one_node, &f, &e, err);
	if (rc == SL_OK) {
		sl_buf_addc(out, '{');
		put_spread(out, "tokens", e.tokens, 1);
		put_spread(out, "cost_usd", e.cost_microusd, 1e-6);
		sl_buf_json_kf64(out, "duration_s", round(e.ms.expected) / 1000);
		put_nodes(out, &f, &e);
		put_warnings(out, &f, &e);
		sl_buf_addc(out, '}');
		if (out->no_memory || sl_json_losses() != losses)
			rc = sl_fail(err, SL_NO_MEMORY, "no memory for an estimate");
		else if (out->failed)
			rc = sl_fail(err, SL_TOO_LARGE, "the estimate is too long to be told");
	}
	sl_estimate_fini(&e);
	free(f.measured);
	free(f.models);
	return rc;
}
