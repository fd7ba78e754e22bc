/* tests/lib/llm_world.h: a simulator, the profiles and the client of model calls, and calls that wait for their end.
 * Include it after test.h. Callbacks note, the test's body asserts. */
#pragma once

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "llm/chat.h"
#include "llm/profile.h"
#include "llm/sim.h"

struct llm_world {
	struct sl_sim *sim;
	struct sl_profiles *profiles;
	struct sl_llm *llm;
	char root[64]; /* the simulator's address without a path */
};

struct llm_said {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned dones;
	enum sl_code rc;
	struct sl_error err;
	struct sl_buf text, thinking, tools, refusal, body;
	char model[64], finish[64];
	struct sl_chat_usage usage;
	bool simulated;
	int status;
};

static inline int llm_world_setup(struct llm_world *w, const char *scenario)
{
	struct sl_error err = {0};
	const uint8_t secret[32] = {7};
	const struct sl_sim_config sim = {.scenario = sl_str(scenario)};
	struct sl_llm_config config = {.http = {.loops = 1}};
	memset(w, 0, sizeof(*w));
	if (sl_sim_start(&sim, &w->sim, &err) != SL_OK) {
		print_error("%s\n", err.text);
		return -1;
	}
	assert_int_equal(sl_profiles_new(secret, &w->profiles), SL_OK);
	assert_int_equal(sl_profiles_add_sim(w->profiles, "sim", sl_sim_url(w->sim)), SL_OK);
	snprintf(w->root, sizeof(w->root), "http://127.0.0.1:%u", sl_sim_port(w->sim));
	config.profiles = w->profiles;
	assert_int_equal(sl_llm_new(&config, &w->llm, &err), SL_OK);
	return 0;
}

/* A profile `name` of a provider that points at the simulator. */
static inline void llm_world_profile(struct llm_world *w, const char *name, const char *provider, const char *model)
{
	struct sl_profile_row row;
	struct sl_error err = {0};
	SL_AUTO_JSON doc = NULL;
	SL_BUF(text, 4096);
	bool openai = strcmp(provider, "openai") == 0 || strcmp(provider, "openai-compatible") == 0;
	sl_buf_addf(
		&text,
		"{\"provider\":\"%s\",\"model\":\"%s\",\"base_url\":\"%s%s\",\"api_keys\":[\"sk-for-nobody-1234\"]}",
		provider, model, w->root, openai ? "/v1" : "");
	assert_int_equal(sl_json_parse(sl_buf_str(&text), &doc, &err), SL_OK);
	if (sl_profiles_put(w->profiles, sl_str(name), doc, &row, NULL, &err) != SL_OK)
		fail_msg("%s", err.text);
	sl_profile_row_fini(&row);
}

static inline void llm_world_fini(struct llm_world *w)
{
	sl_llm_free(w->llm);
	sl_profiles_free(w->profiles);
	sl_sim_free(w->sim);
}

static inline void llm_said_init(struct llm_said *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	sl_buf_init(&s->text, 1 << 24);
	sl_buf_init(&s->thinking, 1 << 24);
	sl_buf_init(&s->tools, 1 << 24);
	sl_buf_init(&s->refusal, 1 << 24);
	sl_buf_init(&s->body, 1 << 26);
}

static inline void llm_said_fini(struct llm_said *s)
{
	sl_buf_fini(&s->text);
	sl_buf_fini(&s->thinking);
	sl_buf_fini(&s->tools);
	sl_buf_fini(&s->refusal);
	sl_buf_fini(&s->body);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
}

static inline enum sl_code llm_on_delta(void *ctx, enum sl_chat_kind kind, struct sl_str piece)
{
	struct llm_said *s = ctx;
	sl_buf_add(kind == SL_CHAT_TEXT ? &s->text : &s->thinking, piece.p, piece.len);
	return SL_OK;
}

static inline void llm_wake(struct llm_said *s, enum sl_code rc, const struct sl_error *err)
{
	pthread_mutex_lock(&s->lock);
	s->dones++;
	s->rc = rc;
	s->err = *err;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

static inline void llm_wait(struct llm_said *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->dones)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static inline void llm_on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *r)
{
	struct llm_said *s = ctx;
	snprintf(s->model, sizeof(s->model), "%.60s", r->model);
	snprintf(s->finish, sizeof(s->finish), "%.60s", r->finish_reason);
	sl_buf_add(&s->tools, r->tool_calls.p, r->tool_calls.len);
	sl_buf_add(&s->refusal, r->refusal.p, r->refusal.len);
	s->usage = r->usage;
	s->simulated = r->simulated;
	s->status = r->http_status;
	llm_wake(s, rc, err);
}

/* One call from start to end; `user` is the only message unless r has some. */
static inline void llm_ask(struct llm_world *w, struct sl_chat_request *r, const char *user, struct llm_said *s)
{
	static const struct sl_chat_callbacks callbacks = {llm_on_delta, llm_on_done};
	struct sl_chat *call = NULL;
	struct sl_error err = {0};
	SL_BUF(m, 1 << 20);
	llm_said_init(s);
	if (r->messages.len == 0) {
		sl_buf_adds(&m, "[{\"role\":\"user\",\"content\":");
		sl_buf_json_str(&m, sl_str(user));
		sl_buf_adds(&m, "}]");
		r->messages = sl_buf_str(&m);
	}
	enum sl_code rc = sl_chat_start(w->llm, r, &callbacks, s, &call, &err);
	if (m.len)
		r->messages = SL_STR("");
	if (rc != SL_OK) {
		s->rc = rc;
		s->err = err;
		return;
	}
	llm_wait(s);
	sl_chat_unref(call);
}

static inline enum sl_code llm_on_body(void *ctx, struct sl_str piece, struct sl_error *err)
{
	struct llm_said *s = ctx;
	sl_buf_add(&s->body, piece.p, piece.len);
	return SL_OK;
}

static inline void llm_on_http_done(void *ctx, enum sl_code rc, const struct sl_error *err,
				    const struct sl_http_result *r)
{
	struct llm_said *s = ctx;
	s->status = r->head->status;
	llm_wake(s, rc, err);
}

/* One HTTP exchange with the simulator (GET when there is no body); the answer is in s->body. */
static inline void llm_post(struct llm_world *w, const char *path, const char *body, struct llm_said *s)
{
	struct sl_http_header type = {SL_STR("Content-Type"), SL_STR("application/json")};
	struct sl_http_call *call = NULL;
	struct sl_error err = {0};
	char url[256];
	SL_BUF(b, 1 << 20);
	sl_buf_adds(&b, body ? body : "");
	snprintf(url, sizeof(url), "%s%s", w->root, path);
	struct sl_bytes *bytes = sl_buf_bytes(&b);
	struct sl_http_request req = {
		.method = body ? "POST" : "GET",
		.url = url,
		.headers = &type,
		.n_headers = 1,
		.body = bytes,
		.timeouts = {.connect_ms = 5000, .total_ms = 20000},
		.max_body_bytes = 64u << 20,
		.body_fn = llm_on_body,
		.done = llm_on_http_done,
		.ctx = s,
	};
	llm_said_init(s);
	enum sl_code rc = sl_http_start(sl_llm_http(w->llm), &req, &call, &err);
	sl_bytes_unref(bytes);
	assert_int_equal(rc, SL_OK);
	llm_wait(s);
	sl_http_call_unref(call);
}
