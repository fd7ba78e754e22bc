/* llm/prices.c: see price.h. List prices in USD per million tokens, by provider and the longest model prefix that fits
 * ("gpt-4.1-mini-2025-04-14" is a "gpt-4.1-mini"). Providers change them: set "price" in the profile to be sure. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/price.h"
#include "llm/problem.h"
#include "llm/profile.h"

#define ROWS_MOST  1000
#define ROWS_BYTES (1u << 20)

struct price {
	const char *provider, *model;
	double input, cached, output; /* USD per 1M tokens */
};

static const struct price table[] = {
	{"openai", "gpt-5", 1.25, 0.125, 10.0},
	{"openai", "gpt-5-mini", 0.25, 0.025, 2.0},
	{"openai", "gpt-5-nano", 0.05, 0.005, 0.40},
	{"openai", "gpt-4.1", 2.0, 0.50, 8.0},
	{"openai", "gpt-4.1-mini", 0.40, 0.10, 1.60},
	{"openai", "gpt-4.1-nano", 0.10, 0.025, 0.40},
	{"openai", "gpt-4o", 2.50, 1.25, 10.0},
	{"openai", "gpt-4o-mini", 0.15, 0.075, 0.60},
	{"openai", "o3", 2.0, 0.50, 8.0},
	{"openai", "o4-mini", 1.10, 0.275, 4.40},
	{"anthropic", "claude-opus-4", 15.0, 1.50, 75.0},
	{"anthropic", "claude-opus-4-5", 5.0, 0.50, 25.0},
	{"anthropic", "claude-sonnet-4", 3.0, 0.30, 15.0},
	{"anthropic", "claude-3-7-sonnet", 3.0, 0.30, 15.0},
	{"anthropic", "claude-haiku-4-5", 1.0, 0.10, 5.0},
	{"anthropic", "claude-3-5-haiku", 0.80, 0.08, 4.0},
	{"gemini", "gemini-2.5-pro", 1.25, 0.125, 10.0},
	{"gemini", "gemini-2.5-flash", 0.30, 0.03, 2.50},
	{"gemini", "gemini-2.5-flash-lite", 0.10, 0.01, 0.40},
	{"deepseek", "deepseek-chat", 0.28, 0.028, 0.42},
	{"deepseek", "deepseek-reasoner", 0.28, 0.028, 0.42},
	{"groq", "llama-3.3-70b-versatile", 0.59, 0.59, 0.79},
	{"groq", "llama-3.1-8b-instant", 0.05, 0.05, 0.08},
	{"dashscope", "qwen-plus", 0.40, 0.16, 1.20},
	{"dashscope", "qwen-flash", 0.05, 0.02, 0.40},
	{"ollama", "", 0, 0, 0},
	{"lmstudio", "", 0, 0, 0},
};

/* An operator's row. */
struct row {
	char *provider; /* "": any */
	char *model;
	int64_t input, output, cached; /* nano-USD a token; cached -1: as input */
	char as_of[11];
};

struct sl_prices {
	pthread_mutex_t lock;
	struct row *rows; /* [lock] */
	size_t n;
};

static int64_t nano(double usd_per_1m)
{
	return llround(usd_per_1m * 1000.0); /* USD per 1M tokens is micro-USD per token; times 1000 nano */
}

static void rows_free(struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(rows[i].provider);
		free(rows[i].model);
	}
	free(rows);
}

enum sl_code sl_prices_new(struct sl_prices **out)
{
	struct sl_prices *p = calloc(1, sizeof(*p));
	if (!p)
		return SL_NO_MEMORY;
	pthread_mutex_init(&p->lock, NULL);
	*out = p;
	return SL_OK;
}

void sl_prices_free(struct sl_prices *p)
{
	if (!p)
		return;
	rows_free(p->rows, p->n);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* ---- bodies ---- */

static bool is_date(struct sl_str s)
{
	int64_t ms;
	char text[32];
	if (s.len != 10)
		return false;
	(void)snprintf(text, sizeof(text), "%.10sT00:00:00Z", s.p);
	return sl_time_parse(sl_str(text), &ms);
}

static bool read_usd(struct sl_problem_list *l, struct json_object *item, size_t i, const char *key, bool needed,
		     double *out)
{
	struct json_object *v = sl_json_get(item, key);
	char pointer[80];
	(void)snprintf(pointer, sizeof(pointer), "/items/%zu/%s", i, key);
	if (!v) {
		if (needed)
			sl_problem(l, pointer, "is missing");
		return false;
	}
	*out = json_object_get_double(v);
	if ((!json_object_is_type(v, json_type_double) && !json_object_is_type(v, json_type_int)) || !(*out >= 0) ||
	    *out > 1e6) {
		sl_problem(l, pointer, "must be a number from 0 to 1000000: USD for a million tokens");
		return false;
	}
	return true;
}

static void check_item(struct sl_problem_list *l, struct json_object *items, size_t i, const char *today,
		       struct sl_buf *out)
{
	static const char *const names[] = {
		"provider", "model", "input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m", "as_of", "source"};
	struct json_object *item = json_object_array_get_idx(items, i);
	char pointer[160];
	double input = 0, output = 0, cached = 0;
	(void)snprintf(pointer, sizeof(pointer), "/items/%zu", i);
	if (!json_object_is_type(item, json_type_object)) {
		sl_problem(l, pointer, "must be an object");
		return;
	}
	if (sl_str_is(sl_json_get_str(item, "source"), "built-in"))
		return;
	json_object_object_foreach (item, key, value) {
		size_t k = 0;
		(void)value;
		while (k < SL_COUNT_OF(names) && strcmp(key, names[k]) != 0)
			k++;
		(void)snprintf(pointer, sizeof(pointer), "/items/%zu/%.80s", i, key);
		if (k == SL_COUNT_OF(names))
			sl_problem(l, pointer, "is not known here");
	}
	struct sl_str model = sl_json_get_str(item, "model"), provider = sl_json_get_str(item, "provider"),
		      as_of = sl_json_get_str(item, "as_of");
	(void)snprintf(pointer, sizeof(pointer), "/items/%zu/model", i);
	if (model.len == 0 || model.len > 200 || memchr(model.p, 0, model.len))
		sl_problem(l, pointer, "must be the name of a model, or its beginning");
	(void)snprintf(pointer, sizeof(pointer), "/items/%zu/provider", i);
	if (provider.len > 64 || (provider.len && memchr(provider.p, 0, provider.len)))
		sl_problem(l, pointer, "must be the name of a provider; leave it out for all");
	(void)snprintf(pointer, sizeof(pointer), "/items/%zu/as_of", i);
	if (sl_json_get(item, "as_of") && !is_date(as_of))
		sl_problem(l, pointer, "must be a date like 2026-01-31");
	for (size_t k = 0; k < i; k++) {
		struct json_object *other = json_object_array_get_idx(items, k);
		if (model.len && sl_str_eq(sl_json_get_str(other, "model"), model) &&
		    sl_str_eq(sl_json_get_str(other, "provider"), provider) &&
		    !sl_str_is(sl_json_get_str(other, "source"), "built-in")) {
			(void)snprintf(pointer, sizeof(pointer), "/items/%zu", i);
			sl_problem(l, pointer, "has the model and provider of item %zu", k);
		}
	}
	bool ok = read_usd(l, item, i, "input_usd_per_1m", true, &input);
	ok = read_usd(l, item, i, "output_usd_per_1m", true, &output) && ok;
	bool has_cached = read_usd(l, item, i, "cached_usd_per_1m", false, &cached);
	if (!ok)
		return;
	sl_buf_json_comma(out);
	sl_buf_addc(out, '{');
	sl_buf_json_kstr(out, "provider", provider);
	sl_buf_json_kstr(out, "model", model);
	sl_buf_json_ki64(out, "input_nanousd", nano(input));
	sl_buf_json_ki64(out, "output_nanousd", nano(output));
	if (has_cached)
		sl_buf_json_ki64(out, "cached_nanousd", nano(cached));
	sl_buf_json_kstr(out, "as_of", as_of.len ? as_of : sl_str(today));
	sl_buf_addc(out, '}');
}

enum sl_code sl_prices_check(struct json_object *body, int64_t now_ms, struct sl_bytes **rows, struct sl_buf *problems,
			     struct sl_error *err)
{
	struct sl_problem_list l = {problems, err, 0};
	struct json_object *items = sl_json_get(body, "items");
	char today[SL_TIME_TEXT_BYTES];
	SL_BUF(out, ROWS_BYTES);
	sl_time_format(now_ms, today);
	today[10] = '\0';
	if (!json_object_is_type(items, json_type_array))
		sl_problem(&l, "/items", "must be an array of prices");
	size_t n = items && json_object_is_type(items, json_type_array) ? json_object_array_length(items) : 0;
	if (n > ROWS_MOST)
		sl_problem(&l, "/items", "at most %d", ROWS_MOST);
	sl_buf_addc(&out, '[');
	for (size_t i = 0; i < n && n <= ROWS_MOST; i++)
		check_item(&l, items, i, today, &out);
	sl_buf_addc(&out, ']');
	if (l.n)
		return SL_INVALID;
	*rows = sl_buf_bytes(&out);
	return *rows ? SL_OK : sl_fail(err, SL_NO_MEMORY, "prices");
}

enum sl_code sl_prices_load(struct sl_prices *p, struct sl_str text, struct sl_error *err)
{
	SL_AUTO_JSON doc = NULL;
	enum sl_code rc = sl_json_parse(text, &doc, err);
	if (rc != SL_OK)
		return rc;
	if (!json_object_is_type(doc, json_type_array))
		return sl_fail(err, SL_INVALID, "prices are an array");
	size_t n = json_object_array_length(doc);
	struct row *rows = calloc(n + 1, sizeof(*rows));
	if (!rows)
		return sl_fail(err, SL_NO_MEMORY, "prices");
	for (size_t i = 0; i < n; i++) {
		struct json_object *item = json_object_array_get_idx(doc, i);
		rows[i].provider = sl_str_dup(sl_json_get_str(item, "provider"));
		rows[i].model = sl_str_dup(sl_json_get_str(item, "model"));
		rows[i].input = sl_json_get_i64(item, "input_nanousd", 0);
		rows[i].output = sl_json_get_i64(item, "output_nanousd", 0);
		rows[i].cached = sl_json_get_i64(item, "cached_nanousd", -1);
		(void)snprintf(rows[i].as_of, sizeof(rows[i].as_of), SL_STR_FMT,
			       SL_STR_ARG(sl_json_get_str(item, "as_of")));
		if (!rows[i].provider || !rows[i].model) {
			rows_free(rows, n);
			return sl_fail(err, SL_NO_MEMORY, "prices");
		}
	}
	pthread_mutex_lock(&p->lock);
	struct row *old = p->rows;
	size_t old_n = p->n;
	p->rows = rows;
	p->n = n;
	pthread_mutex_unlock(&p->lock);
	rows_free(old, old_n);
	return SL_OK;
}

/* ---- use ---- */

/* The operator's row with the longest model that `model` begins with; of two, the one that names the provider. */
static bool of_operator(struct sl_prices *p, const char *provider, const char *model, int64_t *in, int64_t *out,
			int64_t *cached)
{
	size_t best = 0;
	bool known = false, named = false;
	if (!p)
		return false;
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++) {
		const struct row *r = &p->rows[i];
		size_t n = strlen(r->model);
		bool names = r->provider[0] != '\0';
		if ((names && strcmp(r->provider, provider) != 0) || strncmp(model, r->model, n) != 0 ||
		    (known && (n < best || (n == best && named && !names))))
			continue;
		known = true;
		best = n;
		named = names;
		*in = r->input, *out = r->output, *cached = r->cached < 0 ? r->input : r->cached;
	}
	pthread_mutex_unlock(&p->lock);
	return known;
}

static bool of_table(const char *provider, const char *model, int64_t *in, int64_t *out, int64_t *cached)
{
	size_t best = 0;
	bool known = false;
	for (size_t i = 0; i < SL_COUNT_OF(table); i++) {
		size_t n = strlen(table[i].model);
		if (strcmp(table[i].provider, provider) != 0 || strncmp(model, table[i].model, n) != 0 ||
		    (known && n < best))
			continue;
		best = n;
		known = true;
		*in = nano(table[i].input), *out = nano(table[i].output), *cached = nano(table[i].cached);
	}
	return known;
}

static bool choose(struct sl_prices *prices, const struct sl_profile *p, const char *model, int64_t *in, int64_t *out,
		   int64_t *cached)
{
	*in = *out = *cached = 0;
	if (p->has_price) {
		*in = p->input_nanousd, *out = p->output_nanousd;
		*cached = p->cached_nanousd < 0 ? *in : p->cached_nanousd;
		return true;
	}
	return p->simulated || of_operator(prices, p->provider, model, in, out, cached) ||
	       of_table(p->provider, model, in, out, cached);
}

bool sl_price(struct sl_prices *prices, const struct sl_profile *p, const char *model, const struct sl_chat_usage *u,
	      int64_t *micro)
{
	int64_t in, out, cached;
	bool known = choose(prices, p, model, &in, &out, &cached);
	*micro = 0;
	if (!known || (!u->known && !u->estimated))
		return known && p->simulated;
	uint64_t hit = u->cached_tokens < u->input_tokens ? u->cached_tokens : u->input_tokens;
	__int128 sum =
		(__int128)(u->input_tokens - hit) * in + (__int128)hit * cached + (__int128)u->output_tokens * out;
	*micro = (int64_t)((sum + 500) / 1000);
	return true;
}

bool sl_price_per_1m(struct sl_prices *prices, const struct sl_profile *p, const char *model, double *input,
		     double *output)
{
	int64_t in, out, cached;
	bool known = choose(prices, p, model, &in, &out, &cached);
	*input = (double)in / 1000;
	*output = (double)out / 1000;
	return known;
}

static void item_json(struct sl_buf *out, const char *provider, const char *model, double input, double output,
		      double cached, const char *as_of, const char *source)
{
	sl_buf_json_comma(out);
	sl_buf_addc(out, '{');
	sl_buf_json_kz(out, "provider", provider);
	sl_buf_json_kz(out, "model", model);
	sl_buf_json_kf64(out, "input_usd_per_1m", input);
	sl_buf_json_kf64(out, "output_usd_per_1m", output);
	if (cached >= 0)
		sl_buf_json_kf64(out, "cached_usd_per_1m", cached);
	sl_buf_json_kz(out, "as_of", as_of);
	sl_buf_json_kz(out, "source", source);
	sl_buf_addc(out, '}');
}

void sl_prices_json(struct sl_prices *p, struct sl_buf *out)
{
	if (p) {
		pthread_mutex_lock(&p->lock);
		for (size_t i = 0; i < p->n; i++) {
			const struct row *r = &p->rows[i];
			item_json(out, r->provider[0] ? r->provider : NULL, r->model, (double)r->input / 1000,
				  (double)r->output / 1000, r->cached < 0 ? -1 : (double)r->cached / 1000, r->as_of,
				  "operator");
		}
		pthread_mutex_unlock(&p->lock);
	}
	for (size_t i = 0; i < SL_COUNT_OF(table); i++)
		if (table[i].model[0])
			item_json(out, table[i].provider, table[i].model, table[i].input, table[i].output,
				  table[i].cached, SL_PRICES_AS_OF, "built-in");
}
