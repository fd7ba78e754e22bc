/* llm/prices.c: see price.h. List prices in USD per million tokens, by provider and the longest model prefix that fits
 * ("gpt-4.1-mini-2025-04-14" is a "gpt-4.1-mini"). Providers change them: set "price" in the profile to be sure. */
#include "base/buf.h"
#include "llm/price.h"
#include "llm/profile.h"

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
	{"deepseek", "deepseek-chat", 0.28, 0.028, 0.42},
	{"deepseek", "deepseek-reasoner", 0.28, 0.028, 0.42},
	{"groq", "llama-3.3-70b-versatile", 0.59, 0.59, 0.79},
	{"groq", "llama-3.1-8b-instant", 0.05, 0.05, 0.08},
	{"dashscope", "qwen-plus", 0.40, 0.16, 1.20},
	{"dashscope", "qwen-flash", 0.05, 0.02, 0.40},
	{"ollama", "", 0, 0, 0},
	{"lmstudio", "", 0, 0, 0},
};

static int64_t nano(double usd_per_1m)
{
	return (int64_t)(usd_per_1m * 1000.0 + 0.5); /* USD per 1M tokens is micro-USD per token; times 1000 nano */
}

bool sl_price(const struct sl_profile *p, const char *model, const struct sl_chat_usage *u, int64_t *micro)
{
	int64_t in = 0, out = 0, cached = 0;
	bool known = p->simulated;
	*micro = 0;
	if (p->has_price) {
		in = p->input_nanousd, out = p->output_nanousd;
		cached = p->cached_nanousd < 0 ? in : p->cached_nanousd;
		known = true;
	} else if (!known) {
		size_t best = 0;
		for (size_t i = 0; i < SL_COUNT_OF(table); i++) {
			size_t n = strlen(table[i].model);
			if (strcmp(table[i].provider, p->provider) != 0 || strncmp(model, table[i].model, n) != 0 ||
			    (known && n < best))
				continue;
			best = n;
			known = true;
			in = nano(table[i].input), out = nano(table[i].output), cached = nano(table[i].cached);
		}
	}
	if (!known || !u->known)
		return known && p->simulated;
	uint64_t hit = u->cached_tokens < u->input_tokens ? u->cached_tokens : u->input_tokens;
	__int128 sum =
		(__int128)(u->input_tokens - hit) * in + (__int128)hit * cached + (__int128)u->output_tokens * out;
	*micro = (int64_t)((sum + 500) / 1000);
	return true;
}

void sl_prices_json(struct sl_buf *out)
{
	sl_buf_addc(out, '{');
	sl_buf_json_kz(out, "as_of", SL_PRICES_AS_OF);
	sl_buf_json_key(out, "models");
	sl_buf_addc(out, '[');
	for (size_t i = 0; i < SL_COUNT_OF(table); i++) {
		if (!table[i].model[0])
			continue;
		sl_buf_json_comma(out);
		sl_buf_addc(out, '{');
		sl_buf_json_kz(out, "provider", table[i].provider);
		sl_buf_json_kz(out, "model", table[i].model);
		sl_buf_json_kf64(out, "input_usd_per_1m", table[i].input);
		sl_buf_json_kf64(out, "cached_usd_per_1m", table[i].cached);
		sl_buf_json_kf64(out, "output_usd_per_1m", table[i].output);
		sl_buf_addc(out, '}');
	}
	sl_buf_adds(out, "]}");
}
