/* tests/lib/world.c: see world.h. */
#include "tests/lib/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <uthash.h>

#include "llm/services.h"
#include "nodes/llm_rounds.h"
#include "tests/lib/test.h"

/* What follows in this block is the world's own: torture leaves it alone. */
static int spare(void)
{
	sl_test_spare(1);
	return 1;
}

static void unspare(int *spared)
{
	sl_test_spare(-*spared);
}
#define SPARED __attribute__((cleanup(unspare), unused)) int spared_ = spare()

struct stored {
	struct stored *next;
	UT_hash_handle hh; /* by the id in its head */
	struct sl_run_head *head;
	struct sl_record *records;
	bool *last; /* of its batch */
	size_t n, cap;
	struct sl_bytes **onces; /* of the records, by hash; half of it is empty */
	size_t n_onces, cap_onces;
	uint64_t epoch;
	uint32_t recoveries;
	bool done, claimed, failed; /* failed: or cancelled */
	bool damaged;
	struct life *owner;
};

/* A server: the one that is alive, or one that was thought dead and is not. */
struct life {
	struct world *world;
	struct sl_engine *engine;
	uint64_t wake; /* when its earliest timer is due */
	struct life *next;
};

/* A batch on its way to the journal. */
struct flight {
	struct sl_batch *batch;
	struct life *from;
	bool written; /* it is in the journal, and the answer has not come yet */
};

struct answer {
	struct answer *next;
	struct world_answer told;
};

struct held {
	struct held *next;
	struct world *world;
	struct sl_node *node; /* only to know it again */
	struct sl_engine *engine;
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

struct world {
	struct sl_engine *engine;
	struct life *life, *zombies;
	struct sl_engine *turning; /* whose nodes begin now */
	uint64_t mono, seed;
	int64_t wall;
	struct stored *runs, *by_id;
	struct flight *flight;
	struct answer *answers;
	size_t n_flight, cap_flight;
	bool auto_commit;
	struct held *held;
	struct count *counts;
	struct json_object *shown;
	struct sl_services *services;
	unsigned notices;
	struct sl_admit_limits limits;
	char told[SL_ERROR_TEXT_BYTES];
	enum sl_code submit_rc;
	struct sl_run_id submit_id;
};

/* ---- the fake node ---- */

struct world_services {
	struct sl_services services;
	struct world *world;
};

static struct world_services services; /* over all lives of one world */

static struct world *fake_world(struct sl_node *n)
{
	return SL_CONTAINER_OF(sl_node_services(n), struct world_services, services)->world;
}

static struct count *count_of(struct world *w, const char *path)
{
	for (struct count *c = w->counts; c; c = c->next)
		if (strcmp(c->path, path) == 0)
			return c;
	struct count *c = calloc(1, sizeof(*c));
	c->path = strdup(path);
	c->next = w->counts;
	w->counts = c;
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
	SPARED;
	struct held *h = calloc(1, sizeof(*h));
	h->world = fake_world(n);
	h->node = n;
	h->engine = h->world->turning;
	h->remote = sl_node_remote(n);
	h->path = strdup(sl_node_path(n));
	h->output = out;
	h->stream = sl_stream_ref(sl_node_stream(n));
	h->next = h->world->held;
	h->world->held = h;
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
	SPARED;
	struct world *w = fake_world(n);
	struct count *c = count_of(w, sl_node_path(n));
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
	SPARED;
	struct world *w = fake_world(n);
	count_of(w, sl_node_path(n))->cancels++;
	for (struct held **at = &w->held; *at; at = &(*at)->next)
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
	SPARED;
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
	struct count *c = count_of(fake_world(n), sl_node_path(n));
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
	SPARED;
	struct sl_str agent = sl_json_get_str(params, "agent"), rest;
	if (sl_node_is_container(n))
		return sl_rounds_start(n, params, err);
	if (sl_str_is(agent, "script") && sl_json_get(params, "messages")) {
		count_of(fake_world(n), sl_node_path(n))->calls++;
		return scripted_start(n, params, err);
	}
	struct json_object *out = json_object_new_object(), *json = json_object_new_object();
	bool held = sl_str_starts(agent, SL_STR("hold "));
	if (held)
		agent = sl_str_n(agent.p + 5, agent.len - 5);
	rest = agent.len > 5 ? sl_str_n(agent.p + 5, agent.len - 5) : SL_STR("");
	count_of(fake_world(n), sl_node_path(n))->calls++;
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
	count_of(fake_world(n), sl_node_path(n))->calls++;
	return real_tool->start(n, params, err);
}

static enum sl_step external_start(struct sl_node *n, struct json_object *params, struct sl_error *err)
{
	SPARED;
	count_of(fake_world(n), sl_node_path(n))->calls++;
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

/* ---- the journal ---- */

static struct stored *stored_of(struct world *w, struct sl_run_id id)
{
	struct stored *s = NULL;
	HASH_FIND(hh, w->by_id, id.u.b, sizeof(id.u.b), s);
	return s;
}

static struct sl_bytes *ref(struct sl_bytes *b)
{
	return sl_bytes_ref(b);
}

static struct sl_run_head *head_copy(const struct sl_run_head *h)
{
	struct sl_run_head *d = sl_run_head_new();
	*d = *h;
	d->workflow = h->workflow ? strdup(h->workflow) : NULL;
	d->project = h->project ? strdup(h->project) : NULL;
	d->idempotency_key = h->idempotency_key ? strdup(h->idempotency_key) : NULL;
	d->created_by = h->created_by ? strdup(h->created_by) : NULL;
	d->parent_node = h->parent_node ? strdup(h->parent_node) : NULL;
	d->definition = ref(h->definition);
	d->inputs = ref(h->inputs);
	d->tags = ref(h->tags);
	d->idempotency_digest = ref(h->idempotency_digest);
	return d;
}

static void put_once(struct stored *s, struct sl_bytes *once)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < once->len; i++)
		h = (h ^ (unsigned char)once->data[i]) * 1099511628211u;
	while (s->onces[h % s->cap_onces]) {
		assert_false(sl_str_eq(sl_bytes_str(s->onces[h % s->cap_onces]), sl_bytes_str(once)));
		h++;
	}
	s->onces[h % s->cap_onces] = once;
	s->n_onces++;
}

/* As the unique key of the real one: the same once twice fails the test. */
static void keep_once(struct stored *s, struct sl_bytes *once)
{
	if (s->n_onces * 2 >= s->cap_onces) {
		struct sl_bytes **old = s->onces;
		size_t n = s->cap_onces;
		s->cap_onces = n ? 2 * n : 64;
		s->onces = calloc(s->cap_onces, sizeof(struct sl_bytes *));
		s->n_onces = 0;
		for (size_t i = 0; i < n; i++)
			if (old[i])
				put_once(s, old[i]);
		free(old);
	}
	put_once(s, once);
}

static void write_records(struct stored *s, const struct sl_batch *b)
{
	for (size_t i = 0; i < b->n_records; i++) {
		struct sl_record *r = &b->records[i];
		assert_int_equal(r->seq, s->n + 1);
		if (r->once)
			keep_once(s, r->once);
		if (s->n == s->cap) {
			s->cap = s->cap ? 2 * s->cap : 32;
			s->records = realloc(s->records, s->cap * sizeof(*s->records));
			s->last = realloc(s->last, s->cap * sizeof(*s->last));
		}
		s->records[s->n] = *r;
		s->last[s->n] = i + 1 == b->n_records;
		ref(r->data);
		ref(r->detail);
		ref(r->once);
		s->n++;
	}
	if (b->has_projection) {
		s->done = b->projection.done;
		s->failed = s->done && strcmp(b->projection.status, "succeeded") != 0;
	}
}

static enum sl_code write_batch(struct world *w, struct sl_batch *b, struct life *from)
{
	SPARED;
	struct stored *s = stored_of(w, b->run);
	if (b->create) {
		assert_null(s);
		for (struct stored *o = b->create->idempotency_key ? w->runs : NULL; o; o = o->next)
			if (o->head->idempotency_key &&
			    strcmp(b->create->idempotency_key, o->head->idempotency_key) == 0) {
				b->existing = o->head->id;
				b->same_request = true;
				return SL_CONFLICT;
			}
		s = calloc(1, sizeof(*s));
		s->head = head_copy(b->create);
		s->epoch = 1;
		s->claimed = true;
		s->owner = from;
		s->next = w->runs;
		w->runs = s;
		HASH_ADD_KEYPTR(hh, w->by_id, s->head->id.u.b, sizeof(s->head->id.u.b), s);
	}
	if (!s || b->epoch != s->epoch)
		return SL_STALE_EPOCH;
	write_records(s, b);
	return SL_OK;
}

static enum sl_code journal_append(void *ctx, struct sl_batch *b)
{
	SPARED;
	struct life *l = ctx;
	struct world *w = l->world;
	if (w->n_flight == w->cap_flight) {
		w->cap_flight = w->cap_flight ? 2 * w->cap_flight : 64;
		w->flight = realloc(w->flight, w->cap_flight * sizeof(*w->flight));
	}
	w->flight[w->n_flight++] = (struct flight){b, l, false};
	return SL_OK;
}

static struct sl_stored_run *give(const struct stored *s)
{
	SPARED;
	struct sl_stored_run *r = calloc(1, sizeof(*r));
	r->head = head_copy(s->head);
	r->epoch = s->epoch;
	r->recoveries = s->recoveries;
	r->damaged = s->damaged;
	r->n_records = s->n;
	r->records = calloc(s->n ? s->n : 1, sizeof(*r->records));
	for (size_t i = 0; i < s->n; i++) {
		r->records[i] = s->records[i];
		ref(s->records[i].data);
		ref(s->records[i].detail);
		ref(s->records[i].once);
	}
	return r;
}

static enum sl_code journal_claim(void *ctx, size_t max,
				  void (*fn)(void *, enum sl_code, struct sl_stored_run **, size_t), void *arg)
{
	struct life *l = ctx;
	struct world *w = l->world;
	sl_test_spare(1);
	struct sl_stored_run **runs = calloc(max, sizeof(struct sl_stored_run *));
	sl_test_spare(-1);
	size_t n = 0;
	for (struct stored *s = w->runs; s && n < max; s = s->next)
		if (!s->done && !s->claimed) {
			s->claimed = true;
			s->owner = l;
			s->epoch++;
			s->recoveries++;
			runs[n++] = give(s);
		}
	fn(arg, SL_OK, runs, n);
	return SL_OK;
}

static enum sl_code journal_load(void *ctx, struct sl_run_id id,
				 void (*fn)(void *, enum sl_code, struct sl_stored_run *), void *arg)
{
	struct stored *s = stored_of(((struct life *)ctx)->world, id);
	bool given = s && !s->damaged;
	fn(arg, given ? SL_OK : s ? SL_INTERNAL : SL_NOT_FOUND, given ? give(s) : NULL);
	return SL_OK;
}

void world_damage(struct world *w, struct sl_run_id id)
{
	stored_of(w, id)->damaged = true;
}

static enum sl_code journal_reopen(void *ctx, struct sl_run_id id,
				   void (*fn)(void *, enum sl_code, struct sl_stored_run *), void *arg)
{
	struct life *l = ctx;
	struct stored *s = stored_of(l->world, id);
	if (!s || !s->failed) {
		fn(arg, s ? SL_CONFLICT : SL_NOT_FOUND, NULL);
		return SL_OK;
	}
	s->epoch++;
	s->recoveries = 0;
	s->claimed = true;
	s->owner = l;
	fn(arg, SL_OK, give(s));
	return SL_OK;
}

static struct flight land(struct world *w, size_t i)
{
	struct flight f = w->flight[i];
	memmove(w->flight + i, w->flight + i + 1, (--w->n_flight - i) * sizeof(*w->flight));
	return f;
}

bool world_commit_one(struct world *w)
{
	if (!w->n_flight)
		return false;
	struct flight f = land(w, 0);
	f.batch->done(f.batch, f.written ? SL_OK : write_batch(w, f.batch, f.from));
	return true;
}

bool world_commit_unanswered(struct world *w)
{
	size_t i = 0;
	while (i < w->n_flight && w->flight[i].written)
		i++;
	if (i == w->n_flight)
		return false;
	/* what is refused is answered at once */
	struct sl_batch *b = w->flight[i].batch;
	enum sl_code rc = write_batch(w, b, w->flight[i].from);
	w->flight[i].written = rc == SL_OK;
	if (rc != SL_OK) {
		(void)land(w, i);
		b->done(b, rc);
	}
	return true;
}

/* ---- the world ---- */

static void bus_publish(void *ctx, struct sl_notice *n)
{
	((struct world *)ctx)->notices++;
}

static uint64_t fake_mono(void *ctx)
{
	return ((struct world *)ctx)->mono;
}

static int64_t fake_wall(void *ctx)
{
	return ((struct world *)ctx)->wall;
}

static void wake_at(void *ctx, uint64_t due_ms)
{
	((struct life *)ctx)->wake = due_ms;
}

static const struct sl_middleware *further;
static uint32_t max_recoveries;
static const char *const *only_types;
static struct {
	const char *name, *definition;
} library[16];
static size_t n_library;

void world_workflow(const char *name, const char *definition)
{
	assert_true(n_library < SL_COUNT_OF(library));
	library[n_library].name = name;
	library[n_library++].definition = definition;
}

static enum sl_code library_find(void *ctx, struct sl_str name, int32_t version,
				 void (*fn)(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version),
				 void *arg)
{
	for (size_t i = n_library; i-- > 0;)
		if (sl_str_is(name, library[i].name) && version < 2) {
			sl_test_spare(1);
			SL_AUTO(sl_bytes) b = sl_bytes_new(library[i].definition, strlen(library[i].definition));
			sl_test_spare(-1);
			fn(arg, SL_OK, b, 1);
			return SL_OK;
		}
	fn(arg, SL_NOT_FOUND, NULL, 0);
	return SL_OK;
}

struct sl_run_id world_child(struct world *w, struct sl_run_id parent)
{
	const struct sl_record *r;
	struct sl_run_id id = {0};
	for (size_t i = 0, n = world_records(w, parent, &r); i < n; i++)
		if (strcmp(r[i].event, "subworkflow:started") == 0) {
			SL_AUTO_JSON o = NULL;
			assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
			assert_true(sl_uuid_parse(sl_json_get_str(o, "run_id"), &id.u));
		}
	return id;
}

void world_middleware(const struct sl_middleware *m)
{
	further = m;
}

void world_max_recoveries(uint32_t most)
{
	max_recoveries = most;
}

void world_only(const char *const *types)
{
	only_types = types;
}

static bool is_wanted(const char *type)
{
	for (const char *const *t = only_types; t && *t; t++)
		if (strcmp(*t, type) == 0)
			return true;
	return !only_types;
}

static void make_engine(struct world *w)
{
	SPARED;
	static struct sl_clock clock;
	static const struct sl_node_type *types[64];
	static const struct sl_middleware *middleware[64];
	struct life *l = calloc(1, sizeof(*l));
	size_t n = 0;
	*l = (struct life){.world = w, .wake = UINT64_MAX};
	w->life = l;
	for (size_t i = 0; sl_node_types[i] && n < 60; i++) {
		if (!is_wanted(sl_node_types[i]->name))
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
	size_t k = 0;
	for (; sl_middlewares[k] && k < 60; k++)
		middleware[k] = sl_middlewares[k];
	middleware[k++] = further;
	middleware[k] = NULL;
	types[n++] = &fake_type;
	types[n++] = &external_type;
	types[n] = NULL;
	clock = (struct sl_clock){fake_mono, fake_wall, w};
	services.world = w;
	w->services = &services.services;
	struct sl_engine_config c = {
		.clock = &clock,
		.journal = {journal_append, journal_claim, journal_load, journal_reopen, l},
		.library = {library_find, w},
		.bus = {bus_publish, w},
		.services = &services.services,
		.node_types = types,
		.middleware = middleware,
		.seed = w->seed,
		.wake_at = wake_at,
		.wake_ctx = l,
		.max_recoveries = max_recoveries,
	};
	struct sl_error err = {0};
	if (sl_engine_new(&c, &w->engine, &err) != SL_OK)
		fail_msg("engine: %s", err.text);
	l->engine = w->turning = w->engine;
	struct sl_admit_limits limits = w->limits;
	sl_engine_limit(w->engine, &limits);
}

void world_limits(struct world *w, const struct sl_admit_limits *l)
{
	struct sl_admit_limits limits = w->limits = *l;
	sl_engine_limit(w->engine, &limits);
}

struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));
	services = (struct world_services){0};
	w->seed = seed ? seed : 1;
	w->mono = 1000;
	w->wall = 1700000000000;
	w->auto_commit = true;
	make_engine(w);
	return w;
}

static void forget_flight(struct world *w, const struct life *of)
{
	for (size_t i = w->n_flight; i-- > 0;)
		if (w->flight[i].from == of) {
			struct flight f = land(w, i);
			f.batch->done(f.batch, SL_CANCELLED);
		}
}

/* Whatever it had is left behind, as it is in the journal. */
static void end_life(struct world *w, struct life *l)
{
	sl_engine_stop(l->engine);
	forget_flight(w, l);
	sl_engine_free(l->engine);
	for (struct held **at = &w->held; *at;) {
		struct held *h = *at;
		if (h->engine != l->engine) {
			at = &h->next;
			continue;
		}
		*at = h->next;
		held_free(h);
	}
	for (struct stored *s = w->runs; s; s = s->next)
		if (s->owner == l) {
			s->owner = NULL;
			s->claimed = false;
		}
	free(l);
}

static void end_zombies(struct world *w)
{
	while (w->zombies) {
		struct life *l = w->zombies;
		w->zombies = l->next;
		end_life(w, l);
	}
}

static void end_engine(struct world *w)
{
	end_zombies(w);
	end_life(w, w->life);
	w->life = NULL;
	w->engine = NULL;
}

void world_free(struct world *w)
{
	end_engine(w);
	while (w->runs) {
		struct stored *s = w->runs;
		w->runs = s->next;
		HASH_DEL(w->by_id, s);
		for (size_t i = 0; i < s->n; i++)
			sl_record_fini(&s->records[i]);
		free(s->records);
		free(s->onces);
		free(s->last);
		sl_run_head_free(s->head);
		free(s);
	}
	while (w->counts) {
		struct count *c = w->counts;
		w->counts = c->next;
		free(c->path);
		free(c);
	}
	while (w->answers) {
		struct answer *a = w->answers;
		w->answers = a->next;
		free(a);
	}
	json_object_put(w->shown);
	free(w->flight);
	free(w);
}

struct sl_engine *world_engine(struct world *w)
{
	return w->engine;
}

void world_set_clock(struct world *w, int64_t by_ms)
{
	w->wall += by_ms;
}

int64_t world_wall(struct world *w)
{
	return w->wall;
}

void world_auto_commit(struct world *w, bool on)
{
	w->auto_commit = on;
}

static void fake_fails(struct sl_node *n, void *arg)
{
	struct sl_error err;
	(void)sl_fail(&err, *(enum sl_code *)arg, "the stream failed");
	free(arg);
	sl_node_fail(n, &err);
}

enum sl_code world_say(struct world *w, const char *path, const char *text)
{
	for (struct held *h = w->held; h; h = h->next)
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

struct sl_services *world_services(struct world *w)
{
	return w->services;
}

bool world_await(struct world *w, struct sl_run_id id, const char *path, const char *status)
{
	for (unsigned ms = 0; ms < 20000; ms++) {
		world_settle(w);
		if (strcmp(path ? world_node_status(w, id, path) : world_status(w, id), status) == 0)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* for threads that the world does not turn */
	}
	return false;
}

void world_settle(struct world *w)
{
	bool moved = true;
	for (unsigned i = 0; moved; i++) {
		assert_true(i < 1000000);
		moved = sl_engine_step(w->engine);
		if (!moved && w->auto_commit)
			moved = world_commit_one(w);
	}
}

void world_advance(struct world *w, uint64_t ms)
{
	world_settle(w);
	for (uint64_t end = w->mono + ms; w->mono < end;) {
		uint64_t to = w->life->wake <= w->mono ? w->mono + 1 : w->life->wake < end ? w->life->wake : end;
		w->wall += (int64_t)(to - w->mono);
		w->mono = to;
		sl_engine_tick(w->engine);
		world_settle(w);
	}
}

uint64_t world_now(struct world *w)
{
	return w->mono;
}

void world_hold(struct world *w, uint64_t ms)
{
	w->wall += (int64_t)ms;
	w->mono += ms;
	sl_engine_tick(w->engine);
}

static void recovered(void *arg, enum sl_code rc, size_t runs)
{
	assert_int_equal(rc, SL_OK);
}

static void recover(struct world *w)
{
	enum sl_code rc = sl_engine_recover(w->engine, recovered, w);
	if (rc == SL_NO_MEMORY && sl_test_has_failed())
		rc = sl_engine_recover(w->engine, recovered, w); /* as a server does, a little later */
	assert_int_equal(rc, SL_OK);
}

void world_crash(struct world *w)
{
	end_engine(w);
	make_engine(w);
	recover(w);
}

void world_take_over(struct world *w)
{
	w->life->next = w->zombies;
	w->zombies = w->life;
	for (struct stored *s = w->runs; s; s = s->next)
		s->claimed = false;
	make_engine(w);
	recover(w);
}

bool world_zombies_step(struct world *w)
{
	bool moved = false;
	for (struct life *l = w->zombies; l; l = l->next) {
		w->turning = l->engine;
		sl_engine_tick(l->engine);
		moved |= sl_engine_step(l->engine);
	}
	w->turning = w->engine;
	return moved;
}

void world_bury_zombies(struct world *w)
{
	end_zombies(w);
	recover(w);
}

static void submitted(void *arg, enum sl_code rc, struct sl_run_id id, bool same)
{
	struct world *w = arg;
	w->submit_rc = rc;
	w->submit_id = id;
}

static struct sl_run_id submit(struct world *w, struct sl_run_head *head, enum sl_code *out)
{
	struct sl_problems problems = {0};
	struct sl_error err = {0};
	w->submit_rc = SL_INTERNAL;
	enum sl_code rc = sl_engine_submit(w->engine, head, &problems, submitted, w, &err);
	for (size_t i = 0; i < problems.n; i++)
		if (rc != SL_OK)
			print_message("%s: %s\n", problems.items[i].pointer, problems.items[i].message);
	sl_problems_fini(&problems);
	if (rc != SL_OK)
		fail_msg("submit: %s", err.text);
	for (unsigned i = 0; w->submit_rc == SL_INTERNAL && i < 1000; i++)
		if (!sl_engine_step(w->engine))
			world_commit_one(w);
	if (out)
		*out = w->submit_rc;
	else
		assert_int_equal(w->submit_rc, SL_OK);
	return w->submit_id;
}

static struct sl_run_head *head_of(const char *definition, const char *inputs)
{
	struct sl_run_head *head = sl_run_head_new();
	head->definition = sl_bytes_new(definition, strlen(definition));
	head->inputs = sl_bytes_new(inputs, strlen(inputs));
	return head;
}

struct sl_run_id world_submit_keyed(struct world *w, const char *definition, const char *inputs, const char *key,
				    enum sl_code *out)
{
	struct sl_run_head *head = head_of(definition, inputs);
	head->idempotency_key = key ? strdup(key) : NULL;
	return submit(w, head, out);
}

struct sl_run_id world_submit_as(struct world *w, const char *definition, const char *project, int32_t priority)
{
	struct sl_run_head *head = head_of(definition, "{}");
	head->project = strdup(project);
	head->priority = priority;
	return submit(w, head, NULL);
}

struct sl_run_id world_submit(struct world *w, const char *definition, const char *inputs)
{
	return world_submit_keyed(w, definition, inputs, NULL, NULL);
}

void world_release(struct world *w, const char *path)
{
	SPARED;
	for (struct held **at = &w->held; *at; at = &(*at)->next)
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

const char *world_held(struct world *w, size_t i)
{
	struct held *h = w->held;
	while (h && i--)
		h = h->next;
	return h ? h->path : NULL;
}

void world_cut(struct world *w, struct sl_run_id id, size_t records)
{
	struct stored *s = stored_of(w, id);
	end_engine(w);
	assert_true(s && records >= 1 && records <= s->n);
	while (s->n > 1 && (s->n > records || !s->last[s->n - 1]))
		sl_record_fini(&s->records[--s->n]);
	free(s->onces);
	s->onces = NULL;
	s->n_onces = s->cap_onces = 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->records[i].once)
			keep_once(s, s->records[i].once);
	s->done = s->failed = false;
	s->recoveries = 0;
	make_engine(w);
	recover(w);
}

struct sl_run_head *world_head(struct world *w, struct sl_run_id id)
{
	struct stored *s = stored_of(w, id);
	return s ? s->head : NULL;
}

size_t world_runs(struct world *w, struct sl_run_id *ids, size_t max)
{
	size_t n = 0;
	for (struct stored *s = w->runs; s; s = s->next, n++)
		if (n < max)
			ids[n] = s->head->id;
	return n;
}

bool world_is_held(struct world *w, const char *path)
{
	for (struct held *h = w->held; h; h = h->next)
		if (strcmp(h->path, path) == 0)
			return true;
	return false;
}

unsigned world_calls(struct world *w, const char *path)
{
	return count_of(w, path)->calls;
}

unsigned world_cancels(struct world *w, const char *path)
{
	return count_of(w, path)->cancels;
}

struct told {
	struct world *world;
	enum sl_code rc;
};

static void commanded(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct told *t = arg;
	t->rc = rc;
	(void)snprintf(t->world->told, sizeof(t->world->told), "%s", err ? err->text : "");
}

enum sl_code world_order(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
			 const char *payload)
{
	static struct told t; /* the answer may come later, when the commits are the test's */
	t = (struct told){w, SL_INTERNAL};
	const struct sl_order order = {.kind = kind,
				       .by = SL_STR("tester"),
				       .node = sl_str(node ? node : ""),
				       .payload = sl_str(payload ? payload : "")};
	assert_int_equal(sl_engine_command(w->engine, id, &order, commanded, &t), SL_OK);
	world_settle(w);
	return t.rc;
}

static void answered(void *arg, enum sl_code rc, const char *status, const struct sl_error *err)
{
	struct answer *a = arg;
	assert_false(a->told.given); /* once */
	a->told.given = true;
	a->told.rc = rc;
	(void)snprintf(a->told.status, sizeof(a->told.status), "%s", status);
}

const struct world_answer *world_ask(struct world *w, struct sl_run_id id, enum sl_command_kind kind, const char *node,
				     const char *payload)
{
	sl_test_spare(1);
	struct answer *a = calloc(1, sizeof(*a));
	sl_test_spare(-1);
	const struct sl_order order = {.kind = kind,
				       .by = SL_STR("tester"),
				       .node = sl_str(node ? node : ""),
				       .payload = sl_str(payload ? payload : "")};
	a->next = w->answers;
	w->answers = a;
	a->told.asked = sl_engine_command(w->engine, id, &order, answered, a);
	assert_true(a->told.asked == SL_OK || sl_test_has_failed());
	return &a->told;
}

enum sl_code world_command(struct world *w, struct sl_run_id id, enum sl_command_kind kind)
{
	return world_order(w, id, kind, NULL, NULL);
}

static void forked(void *arg, enum sl_code rc, struct sl_run_id id, bool same, const struct sl_problems *problems,
		   const struct sl_error *err)
{
	struct world *w = arg;
	w->submit_rc = rc;
	w->submit_id = id;
	(void)snprintf(w->told, sizeof(w->told), "%s", rc == SL_OK ? "" : err->text);
	for (size_t i = 0; i < problems->n; i++)
		(void)snprintf(w->told, sizeof(w->told), "%.100s: %.300s", problems->items[i].pointer,
			       problems->items[i].message);
}

enum sl_code world_fork(struct world *w, struct sl_run_id of, const struct sl_fork *f, struct sl_run_id *out)
{
	w->submit_rc = SL_INTERNAL;
	enum sl_code rc = sl_engine_fork(w->engine, of, f, forked, w);
	if (rc != SL_OK)
		return rc;
	world_settle(w);
	*out = w->submit_id;
	return w->submit_rc;
}

const char *world_told(struct world *w)
{
	return w->told;
}

static void viewed(void *arg, enum sl_code rc, struct sl_view *v)
{
	SPARED;
	struct world *w = arg;
	struct sl_error err;
	json_object_put(w->shown);
	w->shown = NULL;
	if (rc == SL_OK)
		assert_int_equal(sl_json_parse(sl_bytes_str(v->json), &w->shown, &err), SL_OK);
	sl_view_free(v);
}

struct json_object *world_run(struct world *w, struct sl_run_id id)
{
	json_object_put(w->shown);
	w->shown = NULL;
	assert_int_equal(sl_engine_view(w->engine, id, SL_VIEW_ONCE, viewed, w), SL_OK);
	for (unsigned i = 0; !w->shown && i < 1000; i++)
		if (!sl_engine_step(w->engine))
			world_commit_one(w);
	return w->shown;
}

const char *world_status(struct world *w, struct sl_run_id id)
{
	const char *z = sl_json_get_z(world_run(w, id), "status");
	return z ? z : "";
}

const char *world_node_status(struct world *w, struct sl_run_id id, const char *path)
{
	struct json_object *nodes = sl_json_get(world_run(w, id), "nodes");
	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *n = json_object_array_get_idx(nodes, i);
		if (strcmp(sl_json_get_z(n, "path"), path) == 0)
			return sl_json_get_z(n, "status");
	}
	return "";
}

size_t world_records(struct world *w, struct sl_run_id id, const struct sl_record **out)
{
	struct stored *s = stored_of(w, id);
	*out = s ? s->records : NULL;
	return s ? s->n : 0;
}

unsigned world_count(struct world *w, struct sl_run_id id, const char *path, const char *status)
{
	const struct sl_record *r;
	unsigned n = 0;
	for (size_t i = 0, k = world_records(w, id, &r); i < k; i++) {
		struct json_object *o = NULL;
		if (strcmp(r[i].event, "node_state_change") != 0)
			continue;
		assert_int_equal(sl_json_parse(sl_bytes_str(r[i].data), &o, NULL), SL_OK);
		n += sl_str_is(sl_json_get_str(o, "node_id"), path) && sl_str_is(sl_json_get_str(o, "status"), status);
		json_object_put(o);
	}
	return n;
}

unsigned world_notices(struct world *w)
{
	return w->notices;
}
