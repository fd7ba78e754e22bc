/* llm/agents.c: see agents.h. A small sorted array; params are kept as text, because a json_object belongs to one
 * thread.
 */
#include "llm/agents.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "llm/problem.h"
#include "llm/profile_priv.h"

struct sl_agents {
	pthread_mutex_t lock;
	struct sl_agent **items; /* [lock] by name */
	size_t n, cap;
};

struct sl_agent *sl_agent_ref(struct sl_agent *one)
{
	if (one)
		atomic_fetch_add_explicit(&one->refs, 1, memory_order_relaxed);
	return one;
}

void sl_agent_unref(struct sl_agent *one)
{
	if (!one || atomic_fetch_sub_explicit(&one->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(one->profile);
	free(one->system);
	free(one->description);
	sl_bytes_unref(one->params);
	sl_bytes_unref(one->tools);
	free(one);
}

enum sl_code sl_agents_new(struct sl_agents **out)
{
	struct sl_agents *a = calloc(1, sizeof(*a));
	if (!a)
		return SL_NO_MEMORY;
	pthread_mutex_init(&a->lock, NULL);
	*out = a;
	return SL_OK;
}

void sl_agents_free(struct sl_agents *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->n; i++)
		sl_agent_unref(a->items[i]);
	free(a->items);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/* z before, at or behind name: < 0, 0, > 0 */
static int order(const char *z, struct sl_str name)
{
	size_t len = strlen(z), least = len < name.len ? len : name.len;
	int by_bytes = memcmp(z, name.p, least);
	return by_bytes ? by_bytes : len < name.len ? -1 : len > name.len;
}

/* [lock] Where the name is, or would be. */
static size_t place(const struct sl_agents *a, struct sl_str name, bool *found)
{
	size_t at = 0;
	while (at < a->n && order(a->items[at]->name, name) < 0)
		at++;
	*found = at < a->n && order(a->items[at]->name, name) == 0;
	return at;
}

struct sl_agent *sl_agents_get(struct sl_agents *a, struct sl_str name)
{
	bool found;
	pthread_mutex_lock(&a->lock);
	size_t at = place(a, name, &found);
	struct sl_agent *one = found ? sl_agent_ref(a->items[at]) : NULL;
	pthread_mutex_unlock(&a->lock);
	return one;
}

static enum sl_code publish(struct sl_agents *a, struct sl_agent *one)
{
	struct sl_agent *old = one; /* what goes: the former one, or this one when there is no room */
	enum sl_code rc = SL_NO_MEMORY;
	bool found;
	pthread_mutex_lock(&a->lock);
	size_t at = place(a, sl_str(one->name), &found);
	if (!found && a->n == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 16;
		struct sl_agent **items = realloc(a->items, cap * sizeof(struct sl_agent *));
		if (items)
			a->items = items, a->cap = cap;
	}
	if (found) {
		old = a->items[at];
		a->items[at] = one;
		rc = SL_OK;
	} else if (a->n < a->cap) {
		memmove(a->items + at + 1, a->items + at, (a->n - at) * sizeof(struct sl_agent *));
		a->items[at] = one;
		a->n++;
		old = NULL;
		rc = SL_OK;
	}
	pthread_mutex_unlock(&a->lock);
	sl_agent_unref(old);
	return rc;
}

void sl_agents_drop(struct sl_agents *a, struct sl_str name)
{
	struct sl_agent *old = NULL;
	bool found;
	pthread_mutex_lock(&a->lock);
	size_t at = place(a, name, &found);
	if (found) {
		old = a->items[at];
		a->n--;
		memmove(a->items + at, a->items + at + 1, (a->n - at) * sizeof(struct sl_agent *));
	}
	pthread_mutex_unlock(&a->lock);
	sl_agent_unref(old);
}

void sl_agents_retain(struct sl_agents *a, const struct sl_str *names, size_t n)
{
	size_t kept = 0;
	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n; i++) {
		bool stays = false;
		for (size_t k = 0; k < n && !stays; k++)
			stays = sl_str_is(names[k], a->items[i]->name);
		if (stays)
			a->items[kept++] = a->items[i];
		else
			sl_agent_unref(a->items[i]);
	}
	a->n = kept;
	pthread_mutex_unlock(&a->lock);
}

/* ---- bodies ---- */

#define AGENT_MODEL_BYTES 200 /* of a model's name, as in the prices */

static bool is_text(struct json_object *v)
{
	struct sl_str s = sl_json_str(v);
	return s.len > 0 && s.len <= AGENT_MODEL_BYTES && !memchr(s.p, 0, s.len);
}
static bool is_temperature(struct json_object *v)
{
	double d = json_object_get_double(v);
	return (json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int)) && d >= 0 && d <= 2;
}
static bool is_top_p(struct json_object *v)
{
	double d = json_object_get_double(v);
	return (json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int)) && d > 0 && d <= 1;
}
static bool is_count(struct json_object *v)
{
	int64_t n = json_object_get_int64(v);
	return json_object_is_type(v, json_type_int) && n >= 1 && n <= 1000000;
}
static bool is_whole(struct json_object *v)
{
	return json_object_is_type(v, json_type_int);
}
static bool is_effort(struct json_object *v)
{
	struct sl_str s = sl_json_str(v);
	return sl_str_is(s, "minimal") || sl_str_is(s, "low") || sl_str_is(s, "medium") || sl_str_is(s, "high");
}

/* The parameters of `llm` that a persona may bring along: none that would change what is asked. */
static const struct {
	const char *name;
	bool (*ok)(struct json_object *v);
	const char *must;
} known_params[] = {
	{"model", is_text, "must be the name of a model"},
	{"temperature", is_temperature, "must be a number from 0 to 2"},
	{"top_p", is_top_p, "must be a number above 0, at most 1"},
	{"max_tokens", is_count, "must be a whole number from 1 to 1000000"},
	{"seed", is_whole, "must be a whole number"},
	{"thinking", is_effort, "must be minimal, low, medium or high"},
};

static void check_params(struct sl_problem_list *l, struct json_object *params)
{
	char pointer[160];
	if (!json_object_is_type(params, json_type_object)) {
		sl_problem(l, "/params", "must be an object");
		return;
	}
	json_object_object_foreach (params, key, value) {
		size_t i = 0;
		while (i < SL_COUNT_OF(known_params) && strcmp(key, known_params[i].name) != 0)
			i++;
		(void)snprintf(pointer, sizeof(pointer), "/params/%.100s", key);
		if (i == SL_COUNT_OF(known_params))
			sl_problem(l, pointer,
				   "is not known here; there are model, temperature, top_p, max_tokens, seed and "
				   "thinking");
		else if (!known_params[i].ok(value))
			sl_problem(l, pointer, "%s", known_params[i].must);
	}
}

#define AGENT_TOOLS      128 /* switches of one agent; more is invalid */
#define AGENT_TOOL_BYTES 128 /* of a tool's name, with the NUL; longer is invalid */

static void check_tools(struct sl_problem_list *l, struct json_object *tools)
{
	char pointer[160];
	if (!json_object_is_type(tools, json_type_object)) {
		sl_problem(l, "/tools", "must be an object: { \"web_search\": false }");
		return;
	}
	if (json_object_object_length(tools) > AGENT_TOOLS)
		sl_problem(l, "/tools", "at most %d tools", AGENT_TOOLS);
	json_object_object_foreach (tools, key, value) {
		(void)snprintf(pointer, sizeof(pointer), "/tools/%.100s", key);
		if (strlen(key) >= AGENT_TOOL_BYTES)
			sl_problem(l, pointer, "a tool's name has less than %d bytes", AGENT_TOOL_BYTES);
		if (!json_object_is_type(value, json_type_boolean))
			sl_problem(l, pointer, "must be true (it may use the tool) or false");
	}
}

static struct sl_str text_of(struct sl_problem_list *l, struct json_object *body, const char *key, const char *pointer,
			     size_t most)
{
	struct json_object *v = sl_json_get(body, key);
	if (v && !json_object_is_type(v, json_type_string))
		sl_problem(l, pointer, "must be a string");
	struct sl_str s = sl_json_str(v);
	if (s.len > most)
		sl_problem(l, pointer, "at most %zu bytes", most);
	if (s.len && memchr(s.p, 0, s.len))
		sl_problem(l, pointer, "must not have a NUL in it");
	return s;
}

enum sl_code sl_agents_check(struct sl_str name, struct json_object *body, struct sl_bytes **row,
			     struct sl_buf *problems, struct sl_error *err)
{
	struct sl_problem_list l = {problems, err, 0};
	SL_BUF(out, 8 * SL_AGENT_SYSTEM_BYTES); /* each byte of it may take six */
	if (!sl_profile_name_ok(name))
		sl_problem(&l, "", "an agent's name has small letters, digits, _ and -, at most 64");
	json_object_object_foreach (body, key, value) {
		char pointer[160];
		(void)value;
		(void)snprintf(pointer, sizeof(pointer), "/%.100s", key);
		if (strcmp(key, "profile") && strcmp(key, "system") && strcmp(key, "description") &&
		    strcmp(key, "params") && strcmp(key, "tools") && strcmp(key, "name"))
			sl_problem(&l, pointer,
				   "is not known; an agent has profile, system, description, params and tools");
	}
	struct sl_str profile = text_of(&l, body, "profile", "/profile", 64),
		      system = text_of(&l, body, "system", "/system", SL_AGENT_SYSTEM_BYTES),
		      description = text_of(&l, body, "description", "/description", 2000),
		      named = text_of(&l, body, "name", "/name", 64);
	struct json_object *params = sl_json_get(body, "params"), *tools = sl_json_get(body, "tools");
	struct json_object *said = sl_json_get(body, "system");
	if (system.len == 0 && (!said || json_object_is_type(said, json_type_string)))
		sl_problem(&l, "/system", "is missing: who is this?");
	if (profile.len && !sl_profile_name_ok(profile))
		sl_problem(&l, "/profile", "must be the name of a profile; leave it out for the default one");
	if (named.len && !sl_str_eq(named, name))
		sl_problem(&l, "/name", "is not the name in the address");
	if (params)
		check_params(&l, params);
	if (tools)
		check_tools(&l, tools);
	if (l.n)
		return SL_INVALID;
	sl_buf_addc(&out, '{');
	if (profile.len)
		sl_buf_json_kstr(&out, "profile", profile);
	sl_buf_json_kstr(&out, "system", system);
	if (description.len)
		sl_buf_json_kstr(&out, "description", description);
	if (params) {
		sl_buf_json_key(&out, "params");
		sl_json_write(&out, params);
	}
	if (tools && json_object_object_length(tools)) {
		sl_buf_json_key(&out, "tools");
		sl_json_write(&out, tools);
	}
	sl_buf_addc(&out, '}');
	*row = sl_buf_bytes(&out);
	return *row ? SL_OK : sl_fail(err, SL_NO_MEMORY, "agent");
}

static bool set_text(char **to, struct sl_str s)
{
	*to = s.len ? sl_str_dup(s) : NULL;
	return !s.len || *to;
}

static bool set_json(struct sl_bytes **to, struct json_object *o)
{
	SL_BUF(text, SL_AGENT_SYSTEM_BYTES);
	if (o)
		sl_json_write(&text, o);
	return !o || (*to = sl_buf_bytes(&text));
}

enum sl_code sl_agents_load(struct sl_agents *a, struct sl_str name, struct sl_str row, struct sl_error *err)
{
	SL_AUTO_JSON body = NULL;
	SL_AUTO(sl_agent) one = NULL;
	enum sl_code rc = sl_json_parse(row, &body, err);
	if (rc != SL_OK || !json_object_is_type(body, json_type_object) || name.len == 0 ||
	    name.len >= SL_AGENT_NAME_BYTES)
		return sl_fail(err, SL_INVALID, "agent '" SL_STR_FMT "': no agent", SL_STR_ARG(name));
	if (!(one = calloc(1, sizeof(*one))))
		return sl_fail(err, SL_NO_MEMORY, "agent");
	atomic_init(&one->refs, 1);
	memcpy(one->name, name.p, name.len);
	if (!set_text(&one->profile, sl_json_get_str(body, "profile")) ||
	    !set_text(&one->system, sl_json_get_str(body, "system")) ||
	    !set_text(&one->description, sl_json_get_str(body, "description")))
		return sl_fail(err, SL_NO_MEMORY, "agent");
	if (!set_json(&one->params, sl_json_get(body, "params")) || !set_json(&one->tools, sl_json_get(body, "tools")))
		return sl_fail(err, SL_NO_MEMORY, "agent");
	rc = publish(a, SL_TAKE(one));
	return rc == SL_OK ? rc : sl_fail(err, rc, "agent");
}

/* ---- use ---- */

static enum sl_code put_system(const struct sl_agent *one, struct json_object *params, struct sl_error *err)
{
	struct sl_str own = sl_json_get_str(params, "system");
	SL_BUF(text, 4u << 20);
	sl_buf_adds(&text, one->system ? one->system : "");
	if (own.len && text.len)
		sl_buf_adds(&text, "\n\n");
	sl_buf_add(&text, own.p, own.len);
	if (text.failed)
		return sl_fail(err, SL_TOO_LARGE, "the system prompt is too large");
	if (text.len)
		sl_json_set_str(params, "system", sl_buf_str(&text));
	return SL_OK;
}

enum sl_code sl_agents_apply(struct sl_agents *a, struct json_object *params, struct json_object **out,
			     struct sl_error *err)
{
	struct sl_str name = sl_json_get_str(params, "agent");
	SL_AUTO(sl_agent) one = NULL;
	SL_AUTO_JSON all = NULL;
	SL_AUTO_JSON defaults = NULL;
	*out = NULL;
	if (!sl_json_get(params, "agent"))
		return SL_OK;
	if (!a || !(one = sl_agents_get(a, name)))
		return sl_fail(err, SL_NOT_FOUND, "there is no agent '" SL_STR_FMT "'", SL_STR_ARG(name));
	enum sl_code rc = one->params ? sl_json_parse(sl_bytes_str(one->params), &defaults, err) : SL_OK;
	if (rc != SL_OK)
		return rc;
	/* Shallow: the members are shared with `params`, which belongs to this thread, too. */
	if (!(all = json_object_new_object()))
		return sl_fail(err, SL_NO_MEMORY, "agent");
	json_object_object_foreach (params, key, value) {
		if (strcmp(key, "agent") != 0)
			sl_json_set(all, key, json_object_get(value));
	}
	bool own_way = sl_json_get(all, "profile") || sl_json_get(all, "provider");
	if (one->profile && !own_way)
		sl_json_set_str(all, "profile", sl_str(one->profile));
	if (defaults) {
		json_object_object_foreach (defaults, d_key, d_value) {
			/* its model is one of its profile's: of no use with another one */
			if (!sl_json_get(all, d_key) && !(own_way && strcmp(d_key, "model") == 0))
				sl_json_set(all, d_key, json_object_get(d_value));
		}
	}
	rc = put_system(one, all, err);
	if (rc == SL_OK)
		*out = SL_TAKE(all);
	return rc;
}

enum sl_agent_tool sl_agents_tool(struct sl_agents *a, struct sl_str agent, struct sl_str tool)
{
	SL_AUTO(sl_agent) one = a && agent.len ? sl_agents_get(a, agent) : NULL;
	SL_AUTO_JSON tools = NULL;
	char name[AGENT_TOOL_BYTES];
	if (!one || !one->tools || tool.len >= sizeof(name) ||
	    sl_json_parse(sl_bytes_str(one->tools), &tools, NULL) != SL_OK)
		return SL_AGENT_TOOL_UNSAID;
	memcpy(name, tool.p, tool.len);
	name[tool.len] = 0;
	struct json_object *said = sl_json_get(tools, name);
	if (!said && strncmp(name, "workflow:", 9) == 0)
		said = sl_json_get(tools, "workflow");
	return !said ? SL_AGENT_TOOL_UNSAID : json_object_get_boolean(said) ? SL_AGENT_TOOL_ON : SL_AGENT_TOOL_OFF;
}

/* ---- shown ---- */

void sl_agent_json(const struct sl_agent *one, struct sl_buf *b)
{
	sl_buf_addc(b, '{');
	sl_buf_json_kz(b, "name", one->name);
	sl_buf_json_kz(b, "profile", one->profile);
	sl_buf_json_kz(b, "system", one->system ? one->system : "");
	sl_buf_json_kz(b, "description", one->description ? one->description : "");
	sl_buf_json_kraw(b, "params", one->params ? sl_bytes_str(one->params) : SL_STR("{}"));
	sl_buf_json_kraw(b, "tools", one->tools ? sl_bytes_str(one->tools) : SL_STR("{}"));
	sl_buf_addc(b, '}');
}

void sl_agents_list_json(struct sl_agents *a, struct sl_buf *out)
{
	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n; i++) {
		if (i)
			sl_buf_addc(out, ',');
		sl_agent_json(a->items[i], out);
	}
	pthread_mutex_unlock(&a->lock);
}
