/* llm/profile_body.c: a profile's JSON: checked and read, and written back. One table says which keys there are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "llm/problem.h"
#include "llm/profile_priv.h"

#define PROFILE_KEYS      16
#define PROFILE_FALLBACKS 8

bool sl_profile_name_ok(struct sl_str name)
{
	if (name.len == 0 || name.len > 64)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
		if (!letter && (i == 0 || (c != '-' && c != '_' && c != '.')))
			return false;
	}
	return true;
}

static void known_keys(struct sl_problem_list *l, struct json_object *o, const char *at, const char *const *names)
{
	json_object_object_foreach (o, key, v) {
		const char *near = NULL;
		unsigned best = 4;
		bool found = false;
		for (const char *const *n = names; *n && !found; n++) {
			unsigned d = sl_str_distance(sl_str(key), sl_str(*n));
			found = d == 0;
			if (d < best)
				best = d, near = *n;
		}
		if (found)
			continue;
		(void)v;
		SL_BUF(pointer, 512);
		sl_buf_adds(&pointer, at);
		sl_pointer_add(&pointer, sl_str(key));
		sl_problem(l, pointer.data ? pointer.data : at, "there is no such key here%s%s%s",
			   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	}
}

static struct json_object *member(struct sl_problem_list *l, struct json_object *o, const char *at, const char *key,
				  enum json_type type)
{
	struct json_object *v = sl_json_get(o, key);
	struct sl_str text = sl_json_str(v);
	bool fits = !v || json_object_is_type(v, type), nul = text.len && memchr(text.p, 0, text.len);
	if (fits && !nul)
		return v;
	char pointer[128];
	(void)snprintf(pointer, sizeof(pointer), "%s/%s", at, key); /* both are constants of ours */
	if (fits) {
		sl_problem(l, pointer, "must not have a NUL in it");
		return NULL;
	}
	sl_problem(l, pointer, "must be %s %s, not %s",
		   type == json_type_array || type == json_type_object ? "an" : "a", json_type_to_name(type),
		   sl_json_type_name(v));
	return NULL;
}

static bool number(struct sl_problem_list *l, struct json_object *o, const char *at, const char *key, double low,
		   double high, bool whole, double *out)
{
	struct json_object *v = sl_json_get(o, key);
	char pointer[128];
	if (!v)
		return false;
	double d = json_object_get_double(v);
	bool is_int = json_object_is_type(v, json_type_int);
	if ((!is_int && (whole || !json_object_is_type(v, json_type_double))) || d < low || d > high || !isfinite(d)) {
		(void)snprintf(pointer, sizeof(pointer), "%s/%s", at, key);
		sl_problem(l, pointer, "must be %s from %.10g to %.10g", whole ? "an integer" : "a number", low, high);
		return false;
	}
	*out = d == 0 ? 0 : d; /* -0 is read back as 0 */
	return true;
}

static void set_text(char **to, struct json_object *v)
{
	struct sl_str s = sl_json_str(v);
	if (s.len) {
		free(*to);
		*to = sl_str_dup(s);
	}
}

static void read_url(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	struct sl_str u = sl_json_str(member(l, body, "", "base_url", json_type_string));
	if (u.len == 0)
		return;
	struct sl_str http = SL_STR("http://"), https = SL_STR("https://");
	size_t host = sl_str_starts(u, http) ? http.len : https.len;
	bool ok = (host == http.len || sl_str_starts(u, https)) && u.len > host && u.p[host] != '/';
	for (size_t i = 0; i < u.len; i++)
		ok = ok && (unsigned char)u.p[i] > ' ' && u.p[i] != '@' && u.p[i] != '#' && u.p[i] != '?' &&
		     u.p[i] != 127;
	if (!ok || u.len > 1024) {
		sl_problem(l, "/base_url", "must be an http or https address without a user, a query or a fragment");
		return;
	}
	while (u.len && u.p[u.len - 1] == '/')
		u.len--;
	free(one->base_url);
	one->base_url = sl_str_dup(u);
}

static void read_params(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	static const char *const names[] = {"temperature", "top_p", "max_tokens", "thinking", NULL};
	struct json_object *o = member(l, body, "", "params", json_type_object);
	double d;
	if (!o)
		return;
	known_keys(l, o, "/params", names);
	number(l, o, "/params", "temperature", 0, 2, false, &one->temperature);
	number(l, o, "/params", "top_p", 0, 1, false, &one->top_p);
	if (number(l, o, "/params", "max_tokens", 1, 10e6, true, &d))
		one->max_tokens = (int64_t)d;
	set_text(&one->thinking, member(l, o, "/params", "thinking", json_type_string));
}

static void read_limits(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	static const char *const names[] = {"rpm", "tpm", "max_concurrency", NULL};
	struct json_object *o = member(l, body, "", "limits", json_type_object);
	double d;
	if (!o)
		return;
	known_keys(l, o, "/limits", names);
	if (number(l, o, "/limits", "rpm", 1, 1e9, true, &d))
		one->limit_rpm = (uint32_t)d;
	if (number(l, o, "/limits", "tpm", 1, 1e12, true, &d))
		one->limit_tpm = (uint64_t)d;
	if (number(l, o, "/limits", "max_concurrency", 1, 1e6, true, &d))
		one->limit_concurrency = (uint32_t)d;
}

static void read_timeouts(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	static const char *const names[] = {"connect_ms", "first_byte_ms", "idle_ms", "total_ms", NULL};
	struct json_object *o = member(l, body, "", "timeouts", json_type_object);
	uint32_t *to[] = {&one->timeouts.connect_ms, &one->timeouts.first_byte_ms, &one->timeouts.idle_ms,
			  &one->timeouts.total_ms};
	double d;
	if (!o)
		return;
	known_keys(l, o, "/timeouts", names);
	for (size_t i = 0; i < SL_COUNT_OF(to); i++)
		if (number(l, o, "/timeouts", names[i], 1, 86400000, true, &d))
			*to[i] = (uint32_t)d;
}

static void read_price(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	static const char *const names[] = {"input_usd_per_1m", "output_usd_per_1m", "cached_usd_per_1m", NULL};
	struct json_object *o = member(l, body, "", "price", json_type_object);
	double in, out, cached;
	if (!o)
		return;
	known_keys(l, o, "/price", names);
	bool has_in = number(l, o, "/price", names[0], 0, 1e6, false, &in);
	bool has_out = number(l, o, "/price", names[1], 0, 1e6, false, &out);
	if (!has_in || !has_out) {
		if (!has_in && !sl_json_get(o, names[0]))
			sl_problem(l, "/price", "input_usd_per_1m is missing");
		if (!has_out && !sl_json_get(o, names[1]))
			sl_problem(l, "/price", "output_usd_per_1m is missing");
		return;
	}
	one->has_price = true;
	one->input_nanousd = llround(in * 1000);
	one->output_nanousd = llround(out * 1000);
	one->cached_nanousd = number(l, o, "/price", names[2], 0, 1e6, false, &cached) ? llround(cached * 1000) : -1;
}

static void read_fallbacks(struct sl_problem_list *l, struct sl_profile *one, struct json_object *body)
{
	struct json_object *a = member(l, body, "", "fallbacks", json_type_array);
	size_t n = a ? json_object_array_length(a) : 0;
	char pointer[64];
	if (n > PROFILE_FALLBACKS)
		sl_problem(l, "/fallbacks", "at most %d", PROFILE_FALLBACKS);
	if (n == 0 || n > PROFILE_FALLBACKS || !(one->fallbacks = calloc(n, sizeof(char *))))
		return;
	for (size_t i = 0; i < n; i++) {
		struct sl_str s = sl_json_str(json_object_array_get_idx(a, i));
		(void)snprintf(pointer, sizeof(pointer), "/fallbacks/%zu", i);
		if (!sl_profile_name_ok(s))
			sl_problem(l, pointer, "must be the name of a profile");
		else if (sl_str_is(s, one->name))
			sl_problem(l, pointer, "a profile cannot stand in for itself");
		else if (!(one->fallbacks[one->n_fallbacks++] = sl_str_dup(s)))
			one->n_fallbacks--;
	}
}

static void check_keys(struct sl_problem_list *l, struct json_object *body)
{
	struct json_object *a = member(l, body, "", "api_keys", json_type_array);
	size_t n = a ? json_object_array_length(a) : 0;
	char pointer[64];
	if (n > PROFILE_KEYS)
		sl_problem(l, "/api_keys", "at most %d", PROFILE_KEYS);
	for (size_t i = 0; i < n && i < PROFILE_KEYS; i++) {
		struct sl_str s = sl_json_str(json_object_array_get_idx(a, i));
		bool ok = s.len > 0 && s.len <= 4096;
		for (size_t k = 0; k < s.len; k++)
			ok = ok && (unsigned char)s.p[k] > ' ' && (unsigned char)s.p[k] < 127;
		(void)snprintf(pointer, sizeof(pointer), "/api_keys/%zu", i);
		if (!ok) /* never quote it */
			sl_problem(l, pointer, "must be a key: 1 to 4096 printable ASCII characters without spaces");
	}
}

/* Not there, or as good as that: of what is no text, or a wrong one, member() has told. */
static bool is_blank(struct json_object *body, const char *key)
{
	struct json_object *v = sl_json_get(body, key);
	return !v || (json_object_is_type(v, json_type_string) && json_object_get_string_len(v) == 0);
}

enum sl_code sl_profile_read(struct sl_profile *one, struct json_object *body, struct sl_buf *problems,
			     struct sl_error *err)
{
	static const char *const names[] = {"provider", "model",     "base_url",         "api_keys",    "kind",
					    "params",   "limits",    "timeouts",         "fallbacks",   "price",
					    "default",  "simulated", "default_since_ms", "api_version", NULL};
	struct sl_problem_list l = {problems, err, 0};
	if (!json_object_is_type(body, json_type_object)) {
		sl_problem(&l, "", "must be an object");
		return SL_INVALID;
	}
	known_keys(&l, body, "", names);
	struct sl_str id = sl_json_str(member(&l, body, "", "provider", json_type_string));
	const struct sl_provider *provider = sl_provider_find(id);
	if (id.len == 0 && is_blank(body, "provider"))
		sl_problem(&l, "/provider", "is missing");
	else if (json_object_is_type(sl_json_get(body, "provider"), json_type_string) && !provider)
		sl_problem(&l, "/provider",
			   "is not known: \"" SL_STR_FMT "\"; use \"openai-compatible\" with a base_url for others",
			   SL_STR_ARG(id));
	else if (provider && !provider->protocol)
		sl_problem(&l, "/provider", "\"%s\" is not supported yet", provider->id);
	if (provider) {
		free(one->provider);
		one->provider = strdup(provider->id);
		if (provider->base_url)
			one->base_url = strdup(provider->base_url);
	}
	if (provider && provider->first_byte_ms)
		one->timeouts.first_byte_ms = provider->first_byte_ms;
	read_url(&l, one, body);
	set_text(&one->api_version, member(&l, body, "", "api_version", json_type_string));
	if (provider && !one->base_url && is_blank(body, "base_url"))
		sl_problem(&l, "/base_url", "is needed for this provider");
	set_text(&one->model, member(&l, body, "", "model", json_type_string));
	if (!one->model && provider && provider->model)
		one->model = strdup(provider->model);
	if (!one->model)
		sl_problem(&l, "/model", "is missing");
	struct sl_str kind = sl_json_str(member(&l, body, "", "kind", json_type_string));
	if (sl_str_is(kind, "embedding"))
		one->kind = SL_PROFILE_EMBEDDING;
	else if (kind.len && !sl_str_is(kind, "chat"))
		sl_problem(&l, "/kind", "must be \"chat\" or \"embedding\"");
	if (json_object_get_boolean(
		    member(&l, body, "", "default", json_type_boolean))) /* the time is in stored rows only */
		one->default_since_ms = sl_json_get_i64(body, "default_since_ms", sl_clock_wall_ms());
	one->simulated =
		json_object_get_boolean(member(&l, body, "", "simulated", json_type_boolean)) || sl_str_is(id, "sim");
	check_keys(&l, body);
	read_params(&l, one, body);
	read_limits(&l, one, body);
	read_timeouts(&l, one, body);
	read_price(&l, one, body);
	read_fallbacks(&l, one, body);
	if (l.n)
		return SL_INVALID;
	if (!one->provider || !one->model || !one->base_url)
		return sl_fail(err, SL_NO_MEMORY, "profile");
	return SL_OK;
}

void sl_profile_write_body(const struct sl_profile *p, struct sl_buf *b)
{
	sl_buf_json_kz(b, "provider", p->provider);
	sl_buf_json_kz(b, "model", p->model);
	sl_buf_json_kz(b, "base_url", p->base_url);
	if (p->api_version)
		sl_buf_json_kz(b, "api_version", p->api_version);
	sl_buf_json_kz(b, "kind", p->kind == SL_PROFILE_EMBEDDING ? "embedding" : "chat");
	sl_buf_json_kbool(b, "simulated", p->simulated);
	sl_buf_json_key(b, "params");
	sl_buf_addc(b, '{');
	if (!isnan(p->temperature))
		sl_buf_json_kf64(b, "temperature", p->temperature);
	if (!isnan(p->top_p))
		sl_buf_json_kf64(b, "top_p", p->top_p);
	if (p->max_tokens)
		sl_buf_json_ki64(b, "max_tokens", p->max_tokens);
	if (p->thinking)
		sl_buf_json_kz(b, "thinking", p->thinking);
	sl_buf_addc(b, '}');
	sl_buf_json_key(b, "limits");
	sl_buf_addc(b, '{');
	if (p->limit_rpm)
		sl_buf_json_ku64(b, "rpm", p->limit_rpm);
	if (p->limit_tpm)
		sl_buf_json_ku64(b, "tpm", p->limit_tpm);
	if (p->limit_concurrency)
		sl_buf_json_ku64(b, "max_concurrency", p->limit_concurrency);
	sl_buf_addc(b, '}');
	sl_buf_json_key(b, "timeouts");
	sl_buf_addc(b, '{');
	sl_buf_json_ku64(b, "connect_ms", p->timeouts.connect_ms);
	sl_buf_json_ku64(b, "first_byte_ms", p->timeouts.first_byte_ms);
	sl_buf_json_ku64(b, "idle_ms", p->timeouts.idle_ms);
	sl_buf_json_ku64(b, "total_ms", p->timeouts.total_ms);
	sl_buf_addc(b, '}');
	sl_buf_json_key(b, "fallbacks");
	sl_buf_addc(b, '[');
	for (size_t i = 0; i < p->n_fallbacks; i++) {
		if (i)
			sl_buf_addc(b, ',');
		sl_buf_json_str(b, sl_str(p->fallbacks[i]));
	}
	sl_buf_addc(b, ']');
	if (p->has_price) {
		sl_buf_json_key(b, "price");
		sl_buf_addc(b, '{');
		sl_buf_json_kf64(b, "input_usd_per_1m", (double)p->input_nanousd / 1000);
		sl_buf_json_kf64(b, "output_usd_per_1m", (double)p->output_nanousd / 1000);
		if (p->cached_nanousd >= 0)
			sl_buf_json_kf64(b, "cached_usd_per_1m", (double)p->cached_nanousd / 1000);
		sl_buf_addc(b, '}');
	}
}
