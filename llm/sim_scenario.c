/* llm/sim_scenario.c: see sim_scenario.h. Settings are applied as text, from wherever they come, so there is one table.
 */
#include "llm/sim_scenario.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/problem.h"

#define SIDES 4

struct sim_rule {
	char *name;
	char *has[SIDES]; /* model, system, user, tool */
	regex_t re[SIDES];
	bool has_re[SIDES];
	uint32_t turn; /* 0: any */
	uint64_t call_from, call_to;
	uint64_t calls; /* how often the other conditions held */
	bool per_topic, stay, verbatim;
	enum { ANY_FORM, ONLY_JSON, NEVER_JSON } form;
	char **answers;
	size_t n_answers;
	char *thinking;
	struct json_object *tool_calls, *settings; /* owned */
};

void sl_sim_settings_fini(struct sim_settings *s)
{
	free(s->answer);
	free(s->thinking);
	s->answer = s->thinking = NULL;
}

bool sl_sim_settings_copy(struct sim_settings *to, const struct sim_settings *from)
{
	*to = *from;
	to->answer = from->answer ? strdup(from->answer) : NULL;
	to->thinking = from->thinking ? strdup(from->thinking) : NULL;
	if ((from->answer && !to->answer) || (from->thinking && !to->thinking)) {
		sl_sim_settings_fini(to);
		return false;
	}
	return true;
}

static bool as_number(struct sl_str v, double low, double high, double *out)
{
	return sl_str_f64(v, out) && *out >= low && *out <= high;
}

static bool as_bool(struct sl_str v, bool *out)
{
	bool yes = sl_str_is(v, "true") || sl_str_is(v, "1"), no = sl_str_is(v, "false") || sl_str_is(v, "0");
	*out = yes;
	return yes || no;
}

static bool as_text(struct sl_str v, char **out)
{
	char *z = sl_str_dup(v);
	if (!z)
		return false;
	free(*out);
	*out = z;
	return true;
}

bool sl_sim_settings_set(struct sim_settings *s, struct sl_str key, struct sl_str v)
{
	double d = 0;
	uint64_t u;
	bool b;
#define WHOLE(name, most)                                                                                              \
	if (sl_str_is_nocase(key, #name)) {                                                                            \
		if (!sl_str_u64(v, &u) || u > (most))                                                                  \
			return false;                                                                                  \
		s->name = (__typeof__(s->name))u;                                                                      \
		return true;                                                                                           \
	}
	WHOLE(first_ms, 86400000)
	WHOLE(tokens, 10000000)
	WHOLE(seed, UINT64_MAX)
	WHOLE(after, 10000000)
	WHOLE(retry_ms, UINT32_MAX)
	WHOLE(times, UINT32_MAX)
#undef WHOLE
	if (sl_str_is_nocase(key, "tps"))
		return as_number(v, 0, 1e6, &d) && (s->tps = d, true);
	if (sl_str_is_nocase(key, "jitter"))
		return as_number(v, 0, 1, &d) && (s->jitter = d, true);
	if (sl_str_is_nocase(key, "status"))
		return as_number(v, 200, 599, &d) && (s->status = (int)d, true);
	if (sl_str_is_nocase(key, "stamps"))
		return as_bool(v, &b) && (s->stamps = b, true);
	if (sl_str_is_nocase(key, "usage"))
		return as_bool(v, &b) && (s->no_usage = !b, true);
	if (sl_str_is_nocase(key, "answer"))
		return as_text(v, &s->answer);
	if (sl_str_is_nocase(key, "thinking"))
		return as_text(v, &s->thinking);
	if (sl_str_is_nocase(key, "variant")) {
		if (v.len >= sizeof(s->variant))
			return false;
		memcpy(s->variant, v.p, v.len);
		s->variant[v.len] = 0;
		return true;
	}
	if (sl_str_is_nocase(key, "fault")) {
		if (sl_str_is_nocase(v, "none")) {
			s->fault = 0;
			return true;
		}
		if (v.len < 2 || (v.p[0] | 32) != 'f' || !sl_str_u64(sl_str_n(v.p + 1, v.len - 1), &u) || u < 1 ||
		    u > 16)
			return false;
		s->fault = (uint8_t)u;
		return true;
	}
	return false;
}

void sl_sim_settings_set_list(struct sim_settings *s, struct sl_str list)
{
	struct sl_str one, key, value, rest = list;
	while (list.len) {
		if (!sl_str_cut(list, ',', &one, &rest))
			one = list, rest = sl_str_n("", 0);
		list = rest;
		if (sl_str_cut(one, '=', &key, &value))
			(void)sl_sim_settings_set(s, sl_str_trim(key),
						  sl_str_trim(value)); /* a request's odd wishes are ignored */
	}
}

static bool set_value(struct sim_settings *s, const char *key, struct json_object *v)
{
	SL_BUF(text, 1u << 20);
	if (json_object_is_type(v, json_type_string))
		return sl_sim_settings_set(s, sl_str(key), sl_json_str(v));
	if (json_object_is_type(v, json_type_object) || json_object_is_type(v, json_type_array) || !v)
		return false;
	sl_json_write(&text, v);
	return sl_sim_settings_set(s, sl_str(key), sl_buf_str(&text));
}

void sl_sim_settings_set_object(struct sim_settings *s, struct json_object *o)
{
	if (!json_object_is_type(o, json_type_object))
		return;
	json_object_object_foreach (o, key, v)
		(void)set_value(s, key, v); /* checked when it came from a file; ignored when from a request */
}

/* ---- the file ---- */

static const char *const sides[SIDES] = {"model", "system", "user", "tool"};

static void pointer_of(char out[128], const char *at, const char *key)
{
	(void)snprintf(out, 128, "%.60s/%.60s", at, key); /* cut is fine */
}

static void read_match(struct sl_problem_list *l, const char *at, struct json_object *m, struct sim_rule *r)
{
	char pointer[128];
	if (!json_object_is_type(m, json_type_object)) {
		sl_problem(l, at, "must be an object");
		return;
	}
	json_object_object_foreach (m, key, v) {
		bool done = false;
		pointer_of(pointer, at, key);
		for (int i = 0; i < SIDES; i++) {
			size_t n = strlen(sides[i]);
			if (strncmp(key, sides[i], n) != 0 || (key[n] && strcmp(key + n, "_re") != 0))
				continue;
			done = true;
			struct sl_str s = sl_json_str(v);
			if (s.len == 0) {
				sl_problem(l, pointer, "must be a text");
			} else if (!key[n]) {
				as_text(s, &r->has[i]);
			} else {
				int rc = regcomp(&r->re[i], json_object_get_string(v),
						 REG_EXTENDED | REG_ICASE | REG_NOSUB);
				char why[128] = "";
				if (rc)
					regerror(rc, &r->re[i], why, sizeof(why));
				if (rc)
					sl_problem(l, pointer, "is no regular expression: %s", why);
				r->has_re[i] = rc == 0;
			}
		}
		if (done)
			continue;
		if (strcmp(key, "json") == 0) {
			if (!json_object_is_type(v, json_type_boolean))
				sl_problem(l, pointer, "must be true or false");
			r->form = json_object_get_boolean(v) ? ONLY_JSON : NEVER_JSON;
		} else if (strcmp(key, "turn") == 0) {
			int64_t turn = json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
			if (turn < 1 || turn > 1000)
				sl_problem(l, pointer, "must be a number from 1");
			r->turn = (uint32_t)turn;
		} else if (strcmp(key, "call") == 0 && json_object_is_type(v, json_type_int) &&
			   json_object_get_int64(v) > 0) {
			r->call_from = r->call_to = (uint64_t)json_object_get_int64(v);
		} else if (strcmp(key, "call") == 0 && json_object_is_type(v, json_type_object)) {
			int64_t from = sl_json_get_i64(v, "from", 1), to = sl_json_get_i64(v, "to", INT64_MAX);
			if (from < 1 || to < from)
				sl_problem(l, pointer, "\"from\" must be at least 1 and at most \"to\"");
			r->call_from = (uint64_t)from;
			r->call_to = (uint64_t)to;
		} else if (strcmp(key, "call") == 0) {
			sl_problem(l, pointer, "must be a number from 1, or {\"from\", \"to\"}");
		} else {
			sl_problem(l, pointer,
				   "there is no such key here: model, system, user, tool, the same with _re, json, "
				   "turn, call");
		}
	}
}

static bool add_answer(struct sim_rule *r, struct sl_str text)
{
	char **a = realloc(r->answers, (r->n_answers + 1) * sizeof(char *));
	if (!a)
		return false;
	r->answers = a;
	a[r->n_answers] = sl_str_dup(text);
	return a[r->n_answers] && ++r->n_answers;
}

static void read_answer(struct sl_problem_list *l, const char *pointer, struct json_object *v, struct sim_rule *r)
{
	size_t n = json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
	if (json_object_is_type(v, json_type_string)) {
		add_answer(r, sl_json_str(v));
	} else if (n == 0) {
		sl_problem(l, pointer, "must be a text or a list of answers");
	}
	for (size_t i = 0; i < n; i++) {
		struct json_object *one = json_object_array_get_idx(v, i);
		SL_BUF(text, 1u << 20);
		if (!json_object_is_type(one, json_type_string))
			sl_json_write(&text, one);
		add_answer(r, json_object_is_type(one, json_type_string) ? sl_json_str(one) : sl_buf_str(&text));
	}
}

/* One of two words, the second of which is true. */
static bool read_choice(struct sl_problem_list *l, const char *pointer, struct json_object *v, const char *no,
			const char *yes)
{
	struct sl_str s = sl_json_str(v);
	if (sl_str_is(s, yes))
		return true;
	if (!sl_str_is(s, no))
		sl_problem(l, pointer, "must be \"%s\" or \"%s\"", no, yes);
	return false;
}

static void read_settings(struct sl_problem_list *l, const char *at, struct json_object *o)
{
	struct sim_settings trial = {0};
	char pointer[128];
	json_object_object_foreach (o, key, v) {
		pointer_of(pointer, at, key);
		if (!set_value(&trial, key, v))
			sl_problem(l, pointer, "is no setting, or not a value of it");
	}
	sl_sim_settings_fini(&trial);
}

static void read_rule(struct sl_problem_list *l, const char *at, struct json_object *o, struct sim_rule *r)
{
	char pointer[128];
	r->call_from = 1;
	r->call_to = UINT64_MAX;
	if (!json_object_is_type(o, json_type_object)) {
		sl_problem(l, at, "must be an object");
		return;
	}
	r->settings = json_object_new_object();
	json_object_object_foreach (o, key, v) {
		pointer_of(pointer, at, key);
		if (strcmp(key, "match") == 0) {
			read_match(l, pointer, v, r);
		} else if (strcmp(key, "answer") == 0) {
			read_answer(l, pointer, v, r);
		} else if (strcmp(key, "json") == 0) {
			SL_BUF(text, 1u << 20);
			sl_json_write(&text, v);
			add_answer(r, sl_buf_str(&text));
		} else if (strcmp(key, "tool_calls") == 0) {
			if (json_object_is_type(v, json_type_array))
				r->tool_calls = json_object_get(v);
			else
				sl_problem(l, pointer, "must be an array");
		} else if (strcmp(key, "per") == 0) {
			r->per_topic = read_choice(l, pointer, v, "rule", "topic");
		} else if (strcmp(key, "then") == 0) {
			r->stay = read_choice(l, pointer, v, "again", "stay");
		} else if (strcmp(key, "verbatim") == 0) {
			if (json_object_is_type(v, json_type_boolean))
				r->verbatim = json_object_get_boolean(v);
			else
				sl_problem(l, pointer, "must be true or false");
		} else if (strcmp(key, "name") == 0 || strcmp(key, "thinking") == 0) {
			if (json_object_is_type(v, json_type_string))
				as_text(sl_json_str(v), key[0] == 'n' ? &r->name : &r->thinking);
			else
				sl_problem(l, pointer, "must be a text");
		} else if (r->settings) {
			sl_json_set(r->settings, key, json_object_get(v));
		}
	}
	if (r->settings)
		read_settings(l, at, r->settings);
}

enum sl_code sl_sim_scenario_read(struct sl_str text, struct sim_scenario *out, struct sl_buf *problems,
				  struct sl_error *err)
{
	struct sl_problem_list l = {problems, err, 0};
	SL_AUTO_JSON doc = NULL;
	*out = (struct sim_scenario){0};
	enum sl_code rc = sl_json_parse(text, &doc, err);
	if (rc != SL_OK) {
		char why[SL_ERROR_TEXT_BYTES];
		(void)snprintf(why, sizeof(why), "%s", err ? err->text : "is not JSON");
		sl_problem(&l, "", "%s", why);
		return rc;
	}
	struct json_object *rules = sl_json_get(doc, "rules"), *defaults = sl_json_get(doc, "defaults");
	if (!json_object_is_type(doc, json_type_object))
		sl_problem(&l, "", "must be an object");
	else if (sl_json_get_i64(doc, "sim", 0) != 1)
		sl_problem(&l, "/sim", "must be 1, the version of this format");
	else {
		json_object_object_foreach (doc, key, v) {
			(void)v;
			char pointer[128];
			pointer_of(pointer, "", key);
			if (strcmp(key, "sim") && strcmp(key, "description") && strcmp(key, "rules") &&
			    strcmp(key, "defaults"))
				sl_problem(&l, pointer, "there is no such key here: sim, description, defaults, rules");
		}
	}
	if (defaults && !json_object_is_type(defaults, json_type_object))
		sl_problem(&l, "/defaults", "must be an object");
	else if (defaults)
		read_settings(&l, "/defaults", defaults);
	if (rules && !json_object_is_type(rules, json_type_array))
		sl_problem(&l, "/rules", "must be an array");
	else if (rules)
		out->n = json_object_array_length(rules);
	out->rules = calloc(out->n ? out->n : 1, sizeof(*out->rules));
	if (!out->rules)
		out->n = 0, rc = sl_fail(err, SL_NO_MEMORY, "scenario");
	for (size_t i = 0; i < out->n; i++) {
		char at[64];
		(void)snprintf(at, sizeof(at), "/rules/%zu", i);
		read_rule(&l, at, json_object_array_get_idx(rules, i), &out->rules[i]);
	}
	if (rc == SL_OK && l.n)
		rc = SL_INVALID;
	if (rc == SL_OK)
		out->defaults = json_object_get(defaults);
	else
		sl_sim_scenario_fini(out);
	return rc;
}

void sl_sim_scenario_fini(struct sim_scenario *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct sim_rule *r = &s->rules[i];
		for (int k = 0; k < SIDES; k++) {
			free(r->has[k]);
			if (r->has_re[k])
				regfree(&r->re[k]);
		}
		for (size_t k = 0; k < r->n_answers; k++)
			free(r->answers[k]);
		free(r->answers);
		free(r->name);
		free(r->thinking);
		json_object_put(r->tool_calls);
		json_object_put(r->settings);
	}
	free(s->rules);
	json_object_put(s->defaults);
	*s = (struct sim_scenario){0};
}

/* ---- matching ---- */

static bool occurs(struct sl_str text, const char *part)
{
	size_t n = strlen(part);
	for (size_t i = 0; i + n <= text.len; i++)
		if (strncasecmp(text.p + i, part, n) == 0)
			return true;
	return false;
}

static bool matches(const struct sim_rule *r, const struct sim_ask *ask)
{
	const struct sl_str texts[SIDES] = {ask->model, ask->system, ask->user, ask->tool};
	if (r->form != ANY_FORM && ask->json != (r->form == ONLY_JSON))
		return false;
	if (r->turn && r->turn != ask->turns + 1)
		return false;
	for (int i = 0; i < SIDES; i++) {
		if (r->has[i] && !occurs(texts[i], r->has[i]))
			return false;
		regmatch_t span = {0, (regoff_t)(texts[i].len > 65536 ? 65536 : texts[i].len)};
		if (r->has_re[i] && regexec(&r->re[i], texts[i].p ? texts[i].p : "", 1, &span, REG_STARTEND) != 0)
			return false;
	}
	return true;
}

uint64_t sl_sim_digest(struct sl_str s, uint64_t h)
{
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211ull;
	return h;
}

uint32_t sl_sim_count(struct sim_counts *c, uint64_t digest)
{
	size_t row = digest % (SIM_COUNTS / SIM_WAYS), i = 0;
	while (i < SIM_WAYS && (c->slots[row][i].digest != digest || !c->slots[row][i].calls))
		i++;
	if (i == SIM_WAYS) {
		i = 0;
		for (size_t k = 1; k < SIM_WAYS; k++)
			if (c->slots[row][k].seen < c->slots[row][i].seen)
				i = k;
		c->slots[row][i].digest = digest;
		c->slots[row][i].calls = 0;
	}
	c->slots[row][i].seen = ++c->turn;
	return ++c->slots[row][i].calls;
}

void sl_sim_scenario_match(struct sim_scenario *s, const struct sim_ask *ask, struct sim_settings *settings,
			   struct sim_match *m)
{
	*m = (struct sim_match){.rule = ""};
	for (size_t i = 0; i < s->n; i++) {
		struct sim_rule *r = &s->rules[i];
		if (!matches(r, ask))
			continue;
		uint64_t call = ++r->calls;
		if (r->per_topic)
			call = sl_sim_count(&s->topics, sl_sim_digest(ask->topic, SIM_DIGEST + i));
		if (call < r->call_from || call > r->call_to)
			continue;
		sl_sim_settings_set_object(settings, r->settings);
		m->rule = r->name ? r->name : "";
		m->call = call;
		m->verbatim = r->verbatim;
		if (r->thinking)
			m->thinking = sl_str(r->thinking);
		if (r->tool_calls)
			m->tool_calls = r->tool_calls;
		uint64_t at = call - r->call_from;
		if (r->n_answers)
			m->answer = sl_str(
				r->answers[r->stay && at >= r->n_answers ? r->n_answers - 1 : at % r->n_answers]);
		if (r->n_answers || r->tool_calls)
			return;
	}
}
