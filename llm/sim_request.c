/* llm/sim_request.c: what a request asks for: its settings, the text that will answer it; the log, and the routes. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "llm/sim_dialect.h"

/* ---- the log ---- */

struct sim_entry *sl_sim_entry(struct sl_sim *s, uint64_t n)
{
	struct sim_entry *e = &s->log[n % SIM_LOG];
	return n && e->n == n ? e : NULL;
}

static void copy_cut(char *to, size_t size, struct sl_str from)
{
	size_t n = 0;
	for (; n < from.len && n + 1 < size; n++)
		to[n] = from.p[n];
	to[n] = 0;
}

/* ---- a request ---- */

struct sl_str sl_sim_text_of(struct json_object *content)
{
	if (json_object_is_type(content, json_type_array))
		for (size_t i = 0; i < json_object_array_length(content); i++) {
			struct sl_str t = sl_json_get_str(json_object_array_get_idx(content, i), "text");
			if (t.len)
				return t;
		}
	return sl_json_str(content);
}

/* The beginning of a prompt, one line, cut at a word. */
static void gist_of(struct sl_str user, struct sl_buf *out)
{
	bool space = true;
	size_t word = 0;
	user = sl_str_trim(user);
	for (size_t i = 0; i < user.len && out->len < 160; i++) {
		unsigned char ch = (unsigned char)user.p[i];
		if (ch <= ' ') {
			if (!space)
				word = out->len;
			if (!space)
				sl_buf_addc(out, ' ');
			space = true;
		} else {
			sl_buf_addc(out, (char)ch);
			space = false;
		}
	}
	if (out->len >= 160 && word) {
		out->len = word;
		sl_buf_adds(out, "\xe2\x80\xa6");
	}
}

/* What the first line is about: "Argue for: cats" is about cats. */
static struct sl_str topic_of(struct sl_str user)
{
	struct sl_str line, rest;
	user = sl_str_trim(user);
	if (!sl_str_cut(user, '\n', &line, &rest))
		line = user;
	const char *colon = memmem(line.p, line.len, ": ", 2);
	if (colon && colon - line.p <= 24 && colon + 2 < line.p + line.len)
		line = sl_str_n(colon + 2, line.len - (size_t)(colon + 2 - line.p));
	line = sl_str_trim(line);
	while (line.len && strchr(".!", line.p[line.len - 1])) /* it will stand inside a sentence */
		line.len--;
	return sl_str_n(line.p, sl_utf8_cut(line.p, line.len, 200));
}

static void put_words(struct sl_buf *b, struct sl_str words, bool in_json)
{
	SL_BUF(quoted, 1u << 20);
	if (in_json) {
		sl_buf_json_str(&quoted, words);
		words = quoted.len >= 2 ? sl_str_n(quoted.data + 1, quoted.len - 2) : SL_STR("");
	}
	sl_buf_add(b, words.p, words.len);
}

/* {tool}, or {tool.KEY}: a member of what it said. Returns the bytes that were used; 0: it is neither. */
static size_t put_tool(struct sl_buf *b, struct sl_str text, struct sl_str tool, bool in_json)
{
	SL_AUTO_JSON said = NULL;
	SL_BUF(value, 1u << 20);
	char key[65];
	const char *end = memchr(text.p, '}', text.len);
	if (!end || end - text.p < 5)
		return 0;
	size_t n = (size_t)(end - text.p) + 1;
	if (n == 6) {
		put_words(b, tool, in_json);
		return n;
	}
	if (text.p[5] != '.' || n - 7 >= sizeof(key))
		return 0;
	memcpy(key, text.p + 6, n - 7);
	key[n - 7] = 0;
	struct json_object *v = sl_json_parse(tool, &said, NULL) == SL_OK ? sl_json_get(said, key) : NULL;
	if (v && !json_object_is_type(v, json_type_string))
		sl_json_write(&value, v);
	put_words(b, value.len ? sl_buf_str(&value) : sl_json_str(v), in_json);
	return n;
}

static char *fill_in(struct sl_str text, struct sl_str gist, const struct sim_ask *ask, const char *model,
		     uint64_t call)
{
	SL_BUF(b, 8u << 20);
	SL_AUTO_JSON value = NULL;
	/* in a text that is JSON, words that are filled in stand in its strings */
	bool json = text.len && strchr("{[", text.p[0]) && sl_json_parse(text, &value, NULL) == SL_OK;
	while (text.len) {
		const char *brace = memchr(text.p, '{', text.len);
		size_t n = brace ? (size_t)(brace - text.p) : text.len;
		sl_buf_add(&b, text.p, n);
		text.p += n, text.len -= n;
		if (sl_str_starts(text, SL_STR("{gist}"))) {
			put_words(&b, gist, json);
			n = 6;
		} else if (sl_str_starts(text, SL_STR("{topic}"))) {
			put_words(&b, topic_of(ask->user), json);
			n = 7;
		} else if (sl_str_starts(text, SL_STR("{model}"))) {
			put_words(&b, sl_str(model), json);
			n = 7;
		} else if (sl_str_starts(text, SL_STR("{tool")) && (n = put_tool(&b, text, ask->tool, json))) {
			/* n says how far it went */
		} else if (sl_str_starts(text, SL_STR("{call}"))) {
			sl_buf_addu(&b, call);
			n = 6;
		} else if (text.len) {
			sl_buf_addc(&b, '{');
			n = 1;
		} else {
			n = 0;
		}
		text.p += n, text.len -= n;
	}
	return b.len ? sl_buf_take(&b) : strdup("");
}

static void settings_of_headers(struct sim_settings *set, struct sl_str headers)
{
	while (headers.len) {
		struct sl_str line, rest, name, value;
		if (!sl_str_cut(headers, '\n', &line, &rest))
			line = headers, rest = sl_str_n("", 0);
		headers = rest;
		if (line.len > 6 && strncasecmp(line.p, "x-sim-", 6) == 0 && sl_str_cut(line, ':', &name, &value)) {
			char key[32];
			copy_cut(key, sizeof(key), sl_str_n(name.p + 6, name.len - 6));
			for (char *p = key; *p; p++)
				*p = *p == '-' ? '_' : *p;
			(void)sl_sim_settings_set(set, sl_str(key), sl_str_trim(value)); /* odd wishes are ignored */
		}
	}
}

static void choose_text(struct sim_reply *r, const struct sim_wish *w, const struct sim_match *m, struct sl_str gist)
{
	bool json = w->json;
	SL_BUF(b, 8u << 20);
	uint64_t random = r->random;
	SL_AUTO_JSON trial = NULL;
	struct sl_str say = SL_STR("");
	if (r->set.tokens)
		sl_sim_filler(&random, r->set.tokens, &b);
	else if (r->set.answer)
		r->text = fill_in(sl_str(r->set.answer), gist, &w->ask, r->model, m->call);
	else if (m->answer.len || m->tool_calls)
		r->text = fill_in(m->answer, gist, &w->ask, r->model, m->call);
	else if (!json)
		sl_sim_own_words(gist, &b);
	if (json && !r->set.tokens && !r->set.answer && !m->verbatim && !m->tool_calls)
		say = sl_str(r->text); /* empty when nothing is scripted */
	else
		json = false;
	if (json && (say.len == 0 || sl_json_parse(say, &trial, NULL) != SL_OK)) {
		if (w->schema) {
			sl_sim_from_schema(w->schema, 0, &say, &b);
		} else {
			sl_buf_adds(&b, "{\"simulated\":true,\"answer\":");
			sl_buf_json_str(&b, say.len ? say : SL_STR("no model was asked"));
			sl_buf_addc(&b, '}');
		}
		free(r->text);
		r->text = NULL;
	} else if (json && w->schema && sl_sim_complete(w->schema, trial, &b)) {
		free(r->text);
		r->text = NULL;
	}
	if (!r->text)
		r->text = sl_buf_take(&b);
	if (r->set.thinking || m->thinking.len)
		r->thinking = fill_in(r->set.thinking ? sl_str(r->set.thinking) : m->thinking, gist, &w->ask, r->model,
				      m->call);
	if (m->tool_calls) {
		SL_BUF(t, 8u << 20);
		sl_json_write(&t, m->tool_calls);
		r->tools = fill_in(sl_buf_str(&t), gist, &w->ask, r->model, m->call);
	}
	r->text_len = r->text ? strlen(r->text) : 0;
	r->thinking_len = r->thinking ? strlen(r->thinking) : 0;
}

/* The bytes of so many tokens at most, which *left counts down. */
static size_t cut_at(struct sl_str text, uint64_t *left)
{
	size_t at = 0;
	for (; at < text.len && *left; (*left)--)
		at += sl_sim_token(sl_str_n(text.p + at, text.len - at));
	return at;
}

/* Thinking counts, as it does with all of them. What is cut does not get as far as its tool calls; those themselves are
 * not counted, here as in the usage. */
static void keep_within(struct sim_reply *r, uint64_t most)
{
	size_t thinking = cut_at(sl_str_n(r->thinking, r->thinking_len), &most);
	size_t text = cut_at(sl_str_n(r->text, r->text_len), &most);
	r->cut = thinking < r->thinking_len || text < r->text_len;
	r->thinking_len = thinking;
	r->text_len = text;
	if (!r->cut)
		return;
	free(r->tools);
	r->tools = NULL;
}

void sl_sim_refuse_request(struct sim_conn *c, const struct sim_dialect *d, const char *why)
{
	struct sim_failure f = d->failures[SIM_BAD];
	SL_BUF(b, 1024);
	f.message = why;
	d->failure(&f, &b);
	sl_sim_conn_answer(c, 400, "application/json", "", sl_buf_str(&b));
}

struct sim_reply *sl_sim_reply_new(struct sim_conn *c, const struct sim_request *req, struct json_object *doc,
				   struct sl_str suffix, const struct sim_ask *ask, struct sim_match *match)
{
	struct sl_sim *s = c->sim;
	struct sim_reply *r = calloc(1, sizeof(*r));
	if (!r || !sl_sim_settings_copy(&r->set, &s->base)) {
		free(r);
		sl_sim_conn_close(c, true);
		return NULL;
	}
	if (match)
		sl_sim_scenario_match(&s->scenario, ask, &r->set, match);
	else
		r->set.first_ms = 0; /* what is no conversation does not think */
	sl_sim_settings_set_list(&r->set, suffix);
	settings_of_headers(&r->set, req->headers);
	sl_sim_settings_set_object(&r->set, sl_json_get(doc, "sim"));
	copy_cut(r->model, sizeof(r->model), ask->model.len ? ask->model : SL_STR("sim"));
	uint64_t digest = sl_sim_digest(ask->model, ask->digest);
	if (r->set.fault && r->set.times && sl_sim_count(&s->conversations, digest) > r->set.times)
		r->set.fault = 0;
	if (r->set.fault == 16 && !r->set.variant[0])
		memcpy(r->set.variant, "json", 5);
	if (r->set.fault == 15 && !r->set.variant[0])
		memcpy(r->set.variant, "length", 7);
	r->dialect = &sl_sim_openai;
	r->created_s = sl_clock_wall_ms() / 1000;
	r->random = r->set.seed ^ digest;
	r->prompt_tokens = (uint32_t)(req->body.len / 4 + 1);
	return r;
}

void sl_sim_reply_go(struct sim_conn *c, struct sim_reply *r)
{
	struct sl_sim *s = c->sim;
	atomic_fetch_add(&s->streams_open, 1);
	if (r->set.fault)
		atomic_fetch_add(&s->faults, 1);
	c->reply = r;
	if (r->set.fault && sl_sim_fault(c))
		return;
	if (r->stream) {
		sl_buf_reset(&s->out);
		sl_buf_addf(&s->out,
			    "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-cache\r\n"
			    "Transfer-Encoding: chunked\r\nx-sluice-simulator: 1\r\n",
			    r->dialect->stream_type);
		sl_buf_adds(&s->out, c->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
		sl_sim_conn_send(c, sl_buf_str(&s->out));
	}
	if (c->closing)
		return;
	uint64_t wait = r->set.first_ms;
	if (!r->stream && r->set.tps > 0)
		wait += (uint64_t)((double)r->text_len / 5 / r->set.tps * 1000);
	uv_update_time(sl_loop_uv(s->loop));
	uv_timer_start(&c->timer, sl_sim_on_tick, wait, 0);
}

/* Which header brought a key. The key itself is looked at by nobody. */
static const char *auth_of(struct sl_str headers)
{
	static const char *const names[] = {"authorization", "x-api-key", "x-goog-api-key", "api-key"};
	for (size_t i = 0; i < SL_COUNT_OF(names); i++)
		if (sl_sim_header(headers, names[i]).len)
			return names[i];
	return NULL;
}

static void chat(struct sim_conn *c, const struct sim_request *req, const struct sim_dialect *dialect)
{
	struct sl_sim *s = c->sim;
	SL_AUTO_JSON doc = NULL;
	struct sim_wish w = {.ask.digest = SIM_DIGEST};
	const char *wrong = "The body must be a JSON object.";
	if (sl_json_parse(req->body, &doc, NULL) == SL_OK && json_object_is_type(doc, json_type_object))
		wrong = dialect->read(doc, req->path, &w);
	if (dialect->needs_header && sl_sim_header(req->headers, dialect->needs_header).len == 0)
		wrong = "A header is required that says which version of the API is meant.";
	if (wrong) {
		sl_sim_refuse_request(c, dialect, wrong);
		return;
	}
	struct sl_str suffix = SL_STR(""), head;
	if (sl_str_cut(w.ask.model, '+', &head, &suffix))
		w.ask.model = head;
	w.ask.topic = topic_of(w.ask.user);
	w.ask.json = w.json;
	struct sim_match match;
	struct sim_reply *r = sl_sim_reply_new(c, req, doc, suffix, &w.ask, &match);
	if (!r)
		return;
	SL_BUF(gist, 512);
	gist_of(w.ask.user, &gist);
	r->dialect = dialect;
	r->stream = w.stream;
	r->tell_usage = w.tell_usage && !r->set.no_usage;
	r->n = ++s->n_requests;
	choose_text(r, &w, &match, sl_buf_str(&gist));
	if (w.most_tokens > 0)
		keep_within(r, (uint64_t)w.most_tokens);

	struct sim_entry *e = &s->log[r->n % SIM_LOG];
	*e = (struct sim_entry){
		.n = r->n, .wall_ms = sl_clock_wall_ms(), .began_us = sl_clock_mono_us(), .status = 200};
	e->fault = r->set.fault;
	e->stream = r->stream;
	copy_cut(e->model, sizeof(e->model), w.ask.model);
	e->dialect = dialect->name;
	e->auth = auth_of(req->headers);
	copy_cut(e->rule, sizeof(e->rule), sl_str(match.rule));
	copy_cut(e->gist, sizeof(e->gist), sl_buf_str(&gist));
	copy_cut(e->key, sizeof(e->key), sl_sim_header(req->headers, "idempotency-key"));
	atomic_fetch_add(&s->requests, 1);
	sl_sim_reply_go(c, r);
}

static void show_stats(struct sim_conn *c)
{
	struct sl_sim_stats st;
	SL_BUF(b, 4096);
	sl_sim_stats(c->sim, &st);
	sl_buf_addc(&b, '{');
	sl_buf_json_ku64(&b, "connections_open", st.connections_open);
	sl_buf_json_ku64(&b, "connections_total", st.connections_total);
	sl_buf_json_ku64(&b, "requests", st.requests);
	sl_buf_json_ku64(&b, "embeddings", st.embeddings);
	sl_buf_json_ku64(&b, "streams_open", st.streams_open);
	sl_buf_json_ku64(&b, "streams_finished", st.streams_finished);
	sl_buf_json_ku64(&b, "tokens_sent", st.tokens_sent);
	sl_buf_json_ku64(&b, "faults", st.faults);
	sl_buf_json_ku64(&b, "closed_by_client", st.closed_by_client);
	sl_buf_json_ku64(&b, "last_closed_us", st.last_closed_us);
	sl_buf_json_ku64(&b, "now_us", sl_clock_mono_us());
	sl_buf_addc(&b, '}');
	sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
}

static void show_requests(struct sim_conn *c)
{
	static const char *const outcomes[] = {"running", "finished", "closed_by_client", "dropped", "stopped"};
	struct sl_sim *s = c->sim;
	SL_BUF(b, 4u << 20);
	sl_buf_adds(&b, "{\"requests\":[");
	for (uint64_t n = s->n_requests > SIM_LOG ? s->n_requests - SIM_LOG + 1 : 1; n <= s->n_requests; n++) {
		struct sim_entry *e = sl_sim_entry(s, n);
		if (!e)
			continue;
		sl_buf_json_comma(&b);
		sl_buf_addc(&b, '{');
		sl_buf_json_ku64(&b, "n", e->n);
		sl_buf_json_ktime(&b, "at", e->wall_ms);
		sl_buf_json_kz(&b, "model", e->model);
		sl_buf_json_kz(&b, "protocol", e->dialect);
		sl_buf_json_kz(&b, "auth", e->auth);
		sl_buf_json_kz(&b, "rule", e->rule);
		sl_buf_json_kz(&b, "gist", e->gist);
		sl_buf_json_kz(&b, "idempotency_key", e->key);
		sl_buf_json_kbool(&b, "stream", e->stream);
		sl_buf_json_ku64(&b, "fault", e->fault);
		sl_buf_json_ki64(&b, "status", e->status);
		sl_buf_json_kz(&b, "outcome", outcomes[e->outcome]);
		sl_buf_json_ku64(&b, "tokens", e->tokens);
		sl_buf_json_ku64(&b, "began_us", e->began_us);
		sl_buf_json_ku64(&b, "ended_us", e->ended_us);
		sl_buf_addc(&b, '}');
	}
	sl_buf_adds(&b, "]}");
	sl_sim_conn_answer(c, 200, "application/json", "", sl_buf_str(&b));
}

static bool ends(struct sl_str path, const char *tail)
{
	size_t n = strlen(tail);
	return path.len >= n && memcmp(path.p + path.len - n, tail, n) == 0;
}

static const struct sim_dialect *dialect_of(struct sl_str path)
{
	if (ends(path, "/chat/completions"))
		return &sl_sim_openai;
	if (ends(path, "/messages"))
		return &sl_sim_anthropic;
	if (ends(path, ":streamGenerateContent") || ends(path, ":generateContent"))
		return &sl_sim_gemini;
	return ends(path, "/api/chat") ? &sl_sim_ollama : NULL;
}

/* What there is, as each provider lists it. */
static const struct {
	const char *path, *json;
} lists[] = {
	{"/v1/models", "{\"object\":\"list\",\"data\":[{\"id\":\"sim\",\"object\":\"model\",\"created\":1763596800,"
		       "\"owned_by\":\"sluice-simulator\"},{\"id\":\"sim-embedding\",\"object\":\"model\","
		       "\"created\":1763596800,\"owned_by\":\"sluice-simulator\"}]}"},
	{"/v1beta/models", "{\"models\":[{\"name\":\"models/sim\",\"displayName\":\"Sluice simulator\","
			   "\"supportedGenerationMethods\":[\"generateContent\"]}]}"},
	{"/api/tags", "{\"models\":[{\"name\":\"sim\",\"model\":\"sim\"}]}"},
};

void sl_sim_reply_begin(struct sim_conn *c, const struct sim_request *r)
{
	bool get = sl_str_is(r->method, "GET"), post = sl_str_is(r->method, "POST");
	const struct sim_dialect *dialect = post ? dialect_of(r->path) : NULL;
	if (dialect) {
		chat(c, r, dialect);
		return;
	}
	if (post && ends(r->path, "/embeddings")) {
		sl_sim_embeddings(c, r);
		return;
	}
	for (size_t i = 0; get && i < SL_COUNT_OF(lists); i++)
		if (sl_str_is(r->path, lists[i].path)) {
			sl_sim_conn_answer(c, 200, "application/json", "", sl_str(lists[i].json));
			return;
		}
	if (get && sl_str_is(r->path, "/sim/stats"))
		show_stats(c);
	else if (get && sl_str_is(r->path, "/sim/requests"))
		show_requests(c);
	else
		sl_sim_conn_answer(c, 404, "application/json", "",
				   SL_STR("{\"error\":{\"message\":\"The simulator has POST /v1/chat/completions, "
					  "/v1/embeddings, /v1/messages, /v1beta/models/NAME:streamGenerateContent and "
					  "/api/chat, GET /v1/models, /sim/stats and /sim/requests.\",\"type\":"
					  "\"invalid_request_error\",\"param\":null,\"code\":null}}"));
}
