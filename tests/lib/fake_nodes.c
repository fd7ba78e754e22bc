/* tests/lib/fake_nodes.c: see fake_nodes.h. */
#include "tests/lib/fake_nodes.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/graph.h"
#include "nodes/llm_rounds.h"
#include "tests/lib/test.h"

struct held {
	struct held *next;
	struct sl_node *node; /* only to know it again */
	const struct sl_engine *engine;
	struct sl_remote *remote;
	char *path;
	struct json_object *output;
	struct sl_stream *stream;
};

struct count {
	struct count *next;
	char *path;
	unsigned calls, cancels, failed;
};

struct fake_nodes {
	struct sl_services services;
	const struct sl_engine *serving;
	struct held *held;
	struct count *counts;
};

static struct fake_nodes *nodes_of(struct sl_node *n)
{
	return SL_CONTAINER_OF(sl_node_services(n), struct fake_nodes, services);
}

static struct count *count_of(struct fake_nodes *f, const char *path)
{
	SL_TEST_SPARED;
	for (struct count *c = f->counts; c; c = c->next)
		if (strcmp(c->path, path) == 0)
			return c;
	struct count *c = calloc(1, sizeof(*c));
	c->path = strdup(path);
	c->next = f->counts;
	f->counts = c;
	return c;
}

static void fake_done(struct sl_node *n, void *arg)
{
	struct json_object *output = arg;
	sl_node_complete(n, output);
}

static void fake_drop(void *arg)
{
	json_object_put(arg);
}

/* A member of the way that was chosen, else of the params. */
static struct json_object *fake_param(struct sl_node *n, struct json_object *params, const char *key)
{
	struct json_object *ways = sl_json_get(params, "ways");
	size_t at = sl_node_route(n)->candidate;
	struct json_object *own =
		ways && at < json_object_array_length(ways) ? json_object_array_get_idx(ways, at) : NULL;
	struct json_object *v = sl_json_get(own, key);
	return v ? v : sl_json_get(params, key);
}

static void hold(struct sl_node *n, struct json_object *out)
{
	SL_TEST_SPARED;
	struct fake_nodes *f = nodes_of(n);
	struct held *h = calloc(1, sizeof(*h));
	h->node = n;
	h->engine = f->serving;
	h->remote = sl_node_remote(n);
	h->path = strdup(sl_node_path(n));
	h->output = out;
	h->stream = sl_stream_ref(sl_node_stream(n));
	h->next = f->held;
	f->held = h;
}

static bool fake_files(struct sl_node *n, struct json_object *files, struct sl_error *err)
{
	uint32_t version;
	json_object_object_foreach (files, path, content) {
		if (sl_node_write_file(n, sl_str(path), sl_json_str(content), &version, err) != SL_OK)
			return false;
	}
	return true;
}

static enum sl_step fake_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	SL_TEST_SPARED;
	struct fake_nodes *f = nodes_of(n);
	struct count *c = count_of(f, sl_node_path(n));
	struct json_object *out = json_object_new_object(), *tokens = fake_param(n, params, "output_tokens");
	struct sl_str text = sl_json_str(fake_param(n, params, "text")),
		      fail = sl_json_str(fake_param(n, params, "fail"));
	const struct sl_node_route *way = sl_node_route(n);
	c->calls++;
	struct json_object *files = sl_json_get(params, "files");
	if (files && !fake_files(n, files, err)) {
		json_object_put(out);
		return SL_FAILED;
	}
	sl_json_set(out, "value", json_object_get(fake_param(n, params, "answer")));
	if (sl_json_get(params, "ways"))
		sl_json_set_i64(out, "way", way->candidate);
	if (text.len) {
		uint64_t output = tokens ? (uint64_t)json_object_get_int64(tokens) : text.len;
		if (way->max_output && output > way->max_output)
			output = way->max_output; /* as a model does */
		enum sl_code said = sl_stream_append(sl_node_stream(n), SL_STREAM_TEXT, text);
		if (said != SL_OK) { /* what watches it put a stop to it */
			json_object_put(out);
			(void)sl_fail(err, said, "the text could not be taken");
			return SL_FAILED;
		}
		sl_json_set_str(out, "text", text);
		struct sl_usage u = {.input_tokens = 10, .output_tokens = output, .cost_microusd = 7, .model = "fake"};
		sl_node_usage(n, &u);
	}
	if (fail.len && c->failed < (unsigned)sl_json_get_i64(params, "fail_times", 1000000)) {
		enum sl_code code = SL_INTERNAL;
		c->failed++;
		json_object_put(out);
		assert_true(sl_code_from_wire(fail.p, fail.len, &code));
		(void)sl_fail(err, code, "fake failure %u of %s", c->failed, sl_node_path(n));
		err->retry_after_ms = (uint32_t)sl_json_get_i64(params, "retry_after_ms", 0);
		return SL_FAILED;
	}
	struct sl_remote *remote = sl_node_remote(n);
	if (json_object_get_boolean(fake_param(n, params, "hold"))) {
		hold(n, out);
		sl_remote_unref(remote);
		return SL_PENDING;
	}
	assert_int_equal(sl_remote_call(remote, fake_done, fake_drop, out), SL_OK);
	sl_remote_unref(remote);
	return SL_PENDING;
}

static void held_free(struct held *h)
{
	sl_remote_unref(h->remote);
	sl_stream_unref(h->stream);
	json_object_put(h->output);
	free(h->path);
	free(h);
}

static void fake_cancel(struct sl_node *n)
{
	SL_TEST_SPARED;
	struct fake_nodes *f = nodes_of(n);
	count_of(f, sl_node_path(n))->cancels++;
	for (struct held **at = &f->held; *at; at = &(*at)->next)
		if ((*at)->node == n) {
			struct held *h = *at;
			*at = h->next;
			held_free(h);
			return;
		}
}

static const struct sl_node_type fake_type = {
	.name = "fake",
	.summary = "Does what the test says.",
	.params_schema = "{\"type\":\"object\",\"properties\":{\"answer\":{},\"text\":{\"type\":\"string\"},\"fail\":{"
			 "\"type\":\"string\"},"
			 "\"fail_times\":{\"type\":\"integer\"},\"hold\":{\"type\":\"boolean\"},\"ways\":{\"type\":"
			 "\"array\"}}}",
	.effects = SL_EFFECTS_MODEL,
	.start = fake_start,
	.cancel = fake_cancel,
};

/* The agent "script": the first message is a list of turns, { text?, fail?, calls?: [{ name, arguments }] }. What it
 * was told comes out with what it says. */
static enum sl_step scripted_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	SL_TEST_SPARED;
	struct json_object *messages = sl_json_get(params, "messages"), *turns = NULL, *out = json_object_new_object(),
			   *made = json_object_new_array(), *usage = json_object_new_object();
	size_t said = 0, all = json_object_array_length(messages);
	assert_int_equal(sl_json_parse(sl_json_get_str(json_object_array_get_idx(messages, 0), "content"), &turns, err),
			 SL_OK);
	for (size_t i = 0; i < all; i++)
		said += sl_str_is(sl_json_get_str(json_object_array_get_idx(messages, i), "role"), "assistant");
	if (said >= json_object_array_length(turns))
		said = json_object_array_length(turns) - 1; /* the last one again and again */
	struct json_object *turn = json_object_array_get_idx(turns, said), *calls = sl_json_get(turn, "calls");
	struct sl_str fail = sl_json_get_str(turn, "fail");
	struct count *c = count_of(nodes_of(n), sl_node_path(n));
	if (fail.len && c->failed < (unsigned)sl_json_get_i64(turn, "fail_times", 1000000)) {
		enum sl_code code = SL_INTERNAL;
		c->failed++;
		assert_true(sl_code_from_wire(fail.p, fail.len, &code));
		json_object_put(out);
		json_object_put(made);
		json_object_put(usage);
		json_object_put(turns);
		(void)sl_fail(err, code, "as it is written");
		return SL_FAILED;
	}
	for (size_t i = 0; calls && i < json_object_array_length(calls); i++) {
		struct json_object *from = json_object_array_get_idx(calls, i), *args = sl_json_get(from, "arguments"),
				   *to = json_object_new_object(), *f = json_object_new_object();
		char id[48];
		(void)snprintf(id, sizeof(id), "call_%zu_%zu", said + 1, i + 1);
		sl_json_set_str(f, "name", sl_json_get_str(from, "name"));
		sl_json_set_str(f, "arguments",
				json_object_is_type(args, json_type_string)
					? sl_json_str(args)
					: sl_str(json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN)));
		sl_json_set_str(to, "id", sl_str(id));
		sl_json_set(to, "function", f);
		json_object_array_add(made, to);
	}
	sl_json_set_str(out, "text", sl_json_get_str(turn, "text"));
	sl_json_set_str(out, "finish_reason", calls ? SL_STR("tool_calls") : SL_STR("stop"));
	sl_json_set_i64(usage, "input_tokens", 10);
	sl_json_set_i64(usage, "output_tokens", 5);
	sl_json_set(out, "usage", usage);
	sl_json_set(out, "offered", json_object_get(sl_json_get(params, "tools")));
	sl_json_set(out, "choice", json_object_get(sl_json_get(params, "tool_choice")));
	sl_json_set(out, "system", json_object_get(sl_json_get(params, "system")));
	sl_json_set(out, "heard", json_object_get(json_object_array_get_idx(messages, all - 1)));
	sl_json_set_i64(out, "messages", (int64_t)all);
	if (json_object_array_length(made))
		sl_json_set(out, "tool_calls", made);
	else
		json_object_put(made);
	json_object_put(turns);
	struct sl_usage u = {.input_tokens = 10, .output_tokens = 5, .cost_microusd = 7, .model = "fake"};
	sl_node_usage(n, &u);
	struct sl_remote *remote = sl_node_remote(n);
	assert_int_equal(sl_remote_call(remote, fake_done, fake_drop, out), SL_OK);
	sl_remote_unref(remote);
	return SL_PENDING;
}

static enum sl_step fake_llm_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	SL_TEST_SPARED;
	struct sl_str agent = sl_json_get_str(params, "agent"), rest;
	if (sl_node_is_container(n))
		return sl_rounds_start(n, params, err);
	if (sl_str_is(agent, "script") && sl_json_get(params, "messages")) {
		count_of(nodes_of(n), sl_node_path(n))->calls++;
		return scripted_start(n, params, err);
	}
	struct json_object *out = json_object_new_object(), *json = json_object_new_object();
	bool held = sl_str_starts(agent, SL_STR("hold "));
	if (held)
		agent = sl_str_n(agent.p + 5, agent.len - 5);
	rest = agent.len > 5 ? sl_str_n(agent.p + 5, agent.len - 5) : SL_STR("");
	count_of(nodes_of(n), sl_node_path(n))->calls++;
	if (sl_str_starts(agent, SL_STR("bad"))) {
		json_object_put(out);
		json_object_put(json);
		(void)sl_fail(err, SL_PROVIDER_REJECTED, "this voter is out");
		return SL_FAILED;
	}
	if (sl_str_starts(agent, SL_STR("say "))) {
		sl_json_set_str(out, "text", sl_str_n(agent.p + 4, agent.len - 4));
	} else if (sl_str_starts(agent, SL_STR("json "))) {
		json_object_put(json);
		assert_int_equal(sl_json_parse(rest, &json, err), SL_OK);
		sl_json_set_str(out, "text", rest);
	} else if (agent.len > 1 && agent.p[0] == 's') {
		sl_json_set_i64(json, "score", agent.p[1] - '0');
	} else {
		sl_json_set_str(json, "vote",
				sl_str_starts(agent, SL_STR("yes"))  ? SL_STR("yes")
				: sl_str_starts(agent, SL_STR("no")) ? SL_STR("no")
								     : SL_STR("abstain"));
	}
	sl_json_set(out, "json", json);
	sl_json_set(out, "prompt", json_object_get(sl_json_get(params, "prompt")));
	sl_json_set(out, "said", json_object_get(sl_node_said(n)));
	if (held) {
		hold(n, out);
		return SL_PENDING;
	}
	sl_node_complete(n, out);
	return SL_DONE;
}

static void fake_llm_cancel(struct sl_node *n)
{
	if (sl_node_is_container(n))
		sl_rounds_cancel(n);
	else
		fake_cancel(n);
}

static const struct sl_node_type fake_llm_type = {
	.name = "llm",
	.summary = "Answers as its agent is called.",
	.params_schema = "{\"type\":\"object\",\"x-provides\":[\"loop\",\"item\"]}",
	.effects = SL_EFFECTS_MODEL,
	.start = fake_llm_start,
	.cancel = fake_llm_cancel,
	.expand = sl_rounds_expand,
	.body = sl_rounds_body,
	.check = sl_rounds_check,
};

/* The real one, counted. */
static const struct sl_node_type *real_tool;
static struct sl_node_type counted_tool;

static enum sl_step counted_tool_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	sl_test_spare(1);
	count_of(nodes_of(n), sl_node_path(n))->calls++;
	sl_test_spare(-1);
	return real_tool->start(n, params, err);
}

static enum sl_step external_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	SL_TEST_SPARED;
	count_of(nodes_of(n), sl_node_path(n))->calls++;
	sl_node_complete(n, json_object_new_object());
	return SL_DONE;
}

static const struct sl_node_type external_type = {
	.name = "external",
	.summary = "Leaves the system.",
	.params_schema = "{\"type\":\"object\"}",
	.effects = SL_EFFECTS_EXTERNAL,
	.start = external_start,
};

static bool is_among(const char *type, const char *const *only)
{
	for (const char *const *t = only; t && *t; t++)
		if (strcmp(*t, type) == 0)
			return true;
	return !only;
}

const struct sl_node_type *const *fake_nodes_types(const char *const *only)
{
	static const struct sl_node_type *types[64];
	size_t n = 0;
	for (size_t i = 0; sl_node_types[i] && n < 60; i++) {
		if (!is_among(sl_node_types[i]->name, only))
			continue;
		types[n] = strcmp(sl_node_types[i]->name, "llm") == 0 ? &fake_llm_type : sl_node_types[i];
		if (strcmp(sl_node_types[i]->name, "tool") == 0) {
			real_tool = sl_node_types[i];
			counted_tool = *real_tool;
			counted_tool.start = counted_tool_start;
			types[n] = &counted_tool;
		}
		n++;
	}
	types[n++] = &fake_type;
	types[n++] = &external_type;
	types[n] = NULL;
	return types;
}

struct fake_nodes *fake_nodes_new(void)
{
	SL_TEST_SPARED;
	return calloc(1, sizeof(struct fake_nodes));
}

void fake_nodes_free(struct fake_nodes *f)
{
	while (f->held) {
		struct held *h = f->held;
		f->held = h->next;
		held_free(h);
	}
	while (f->counts) {
		struct count *c = f->counts;
		f->counts = c->next;
		free(c->path);
		free(c);
	}
	free(f);
}

struct sl_services *fake_nodes_services(struct fake_nodes *f)
{
	return &f->services;
}

void fake_nodes_serve(struct fake_nodes *f, const struct sl_engine *e)
{
	f->serving = e;
}

void fake_nodes_forget(struct fake_nodes *f, const struct sl_engine *e)
{
	for (struct held **at = &f->held; *at;) {
		struct held *h = *at;
		if (h->engine != e) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		held_free(h);
	}
}

static void fake_fails(struct sl_node *n, void *arg)
{
	struct sl_error err;
	(void)sl_fail(&err, *(enum sl_code *)arg, "the stream failed");
	free(arg);
	sl_node_fail(n, &err);
}

enum sl_code fake_nodes_say(struct fake_nodes *f, const char *path, const char *text)
{
	for (struct held *h = f->held; h; h = h->next)
		if (strcmp(h->path, path) == 0) {
			enum sl_code rc = sl_stream_append(h->stream, SL_STREAM_TEXT, sl_str(text));
			if (rc != SL_OK) { /* what a transfer does when its text is not taken */
				enum sl_code *code = malloc(sizeof(*code));
				*code = rc;
				if (sl_remote_call(h->remote, fake_fails, free, code) != SL_OK)
					free(code);
			}
			return rc;
		}
	return SL_NOT_FOUND;
}

void fake_nodes_release(struct fake_nodes *f, const char *path)
{
	SL_TEST_SPARED;
	for (struct held **at = &f->held; *at; at = &(*at)->next)
		if (strcmp((*at)->path, path) == 0) {
			struct held *h = *at;
			*at = h->next;
			assert_int_equal(sl_remote_call(h->remote, fake_done, fake_drop, h->output), SL_OK);
			h->output = NULL;
			held_free(h);
			return;
		}
	fail_msg("no held node %s", path);
}

const char *fake_nodes_held(struct fake_nodes *f, size_t i)
{
	struct held *h = f->held;
	while (h && i--)
		h = h->next;
	return h ? h->path : NULL;
}

bool fake_nodes_is_held(struct fake_nodes *f, const char *path)
{
	for (struct held *h = f->held; h; h = h->next)
		if (strcmp(h->path, path) == 0)
			return true;
	return false;
}

unsigned fake_nodes_calls(struct fake_nodes *f, const char *path)
{
	return count_of(f, path)->calls;
}

unsigned fake_nodes_cancels(struct fake_nodes *f, const char *path)
{
	return count_of(f, path)->cancels;
}
