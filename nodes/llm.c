/* nodes/llm.c: one model call, streamed; or, when it names tools of this server, the rounds of llm_rounds.h, each of
 * which has such a call in it. The node holds no thread: the call lives on an I/O loop, writes its text straight into
 * the node's stream, and its end comes back through the run's mailbox. Retries, fallbacks and limits are middleware. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "engine/node.h"
#include "engine/schema.h"
#include "llm/agents.h"
#include "llm/chat.h"
#include "llm/claims.h"
#include "llm/profile.h"
#include "llm/route.h"
#include "llm/services.h"
#include "llm/tokens.h"
#include "nodes/llm_rounds.h"

/* What the I/O thread knows of the node: no pointer to it, only the stream and the way back. */
struct call {
	struct sl_remote *remote;
	struct sl_stream *stream;
};

struct llm_state { /* [run] */
	struct sl_chat *chat;
	struct json_object *format;      /* response_format of a JSON answer; NULL: text */
	char agent[SL_AGENT_NAME_BYTES]; /* whose call it is; "": nobody's */
	bool claims;                     /* what can be checked is to be flagged */
};

/* The end of a call on its way from the I/O thread to the run. */
struct answer {
	enum sl_code rc;
	struct sl_error err;
	struct sl_bytes *tool_calls, *refusal;
	char *model, *profile, *finish_reason;
	struct sl_chat_usage usage;
	int64_t cost_microusd;
	bool simulated;
	uint64_t first_token_ms;
};

static void answer_free(void *arg)
{
	struct answer *a = arg;
	sl_bytes_unref(a->tool_calls);
	sl_bytes_unref(a->refusal);
	free(a->model);
	free(a->profile);
	free(a->finish_reason);
	free(a);
}

static void let_go(struct llm_state *s)
{
	sl_chat_unref(s->chat);
	s->chat = NULL;
	json_object_put(s->format);
	s->format = NULL;
}

/* [io] */
static enum sl_code on_delta(void *ctx, enum sl_chat_kind kind, struct sl_str piece)
{
	struct call *c = ctx;
	return sl_stream_append(c->stream, kind == SL_CHAT_TEXT ? SL_STREAM_TEXT : SL_STREAM_THINKING, piece);
}

static struct json_object *usage_json(const struct sl_chat_usage *u)
{
	struct json_object *o = json_object_new_object();
	if (!o)
		return NULL;
	sl_json_set_i64(o, "input_tokens", (int64_t)u->input_tokens);
	sl_json_set_i64(o, "output_tokens", (int64_t)u->output_tokens);
	if (u->cached_tokens)
		sl_json_set_i64(o, "cached_tokens", (int64_t)u->cached_tokens);
	if (u->reasoning_tokens)
		sl_json_set_i64(o, "reasoning_tokens", (int64_t)u->reasoning_tokens);
	return o;
}

/* The answer as JSON, when JSON was asked for. Models like to wrap it in a code fence. */
static enum sl_code parse_json(struct json_object *format, struct sl_str text, struct json_object **out,
			       struct sl_error *err)
{
	text = sl_str_trim(text);
	if (sl_str_starts(text, SL_STR("```")) && text.len > 6 && memcmp(text.p + text.len - 3, "```", 3) == 0) {
		struct sl_str head, rest;
		if (sl_str_cut(text, '\n', &head, &rest))
			text = sl_str_trim(sl_str_n(rest.p, rest.len - 3));
	}
	enum sl_code rc = sl_json_parse(text, out, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc == SL_INVALID ? SL_OUTPUT_INVALID : rc, "the model was asked for JSON");
	struct json_object *schema = sl_json_get(format, "schema");
	if (!schema)
		return SL_OK;
	SL_AUTO(sl_schema) s = NULL;
	struct sl_problems problems = {0};
	rc = sl_schema_compile(schema, SL_STR("/response_format/schema"), &s, &problems);
	if (rc == SL_OK && s && !sl_schema_check(s, *out, SL_SCHEMA_STRICT, SL_STR(""), &problems))
		rc = sl_fail(err, SL_OUTPUT_INVALID, "the model's JSON does not fit the schema: " SL_PROBLEM_FMT,
			     SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	return rc;
}

/* What the next attempt needs to mend an answer that is not the JSON that was asked for. One that was a repair itself
 * leaves nothing: what follows it begins anew. */
static void ask_for_repair(struct sl_node *n, struct sl_str text, const struct sl_error *err)
{
	struct json_object *word = sl_node_passed_on(n) ? NULL : json_object_new_object();
	if (word) {
		sl_json_set_str(word, "answer", text);
		sl_json_set_str(word, "why", sl_str(err->text));
	}
	sl_node_pass_on(n, word);
}

/* The conversation goes on with the answer that would not do, and what was wrong with it. */
static void add_repair(struct sl_buf *out, struct sl_str messages, struct json_object *word)
{
	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	sl_buf_addf(&text,
		    "This answer cannot be used: " SL_STR_FMT
		    ". Answer again with the corrected JSON and nothing else.",
		    SL_STR_ARG(sl_json_get_str(word, "why")));
	sl_buf_add(out, messages.p, messages.len ? messages.len - 1 : 0); /* without the last bracket */
	sl_buf_adds(out, ",{\"role\":\"assistant\",\"content\":");
	sl_buf_json_str(out, sl_json_get_str(word, "answer"));
	sl_buf_adds(out, "},{\"role\":\"user\",\"content\":");
	sl_buf_json_str(out, sl_buf_str(&text));
	sl_buf_adds(out, "}]");
}

#define CLAIMS_TOLD 20 /* in the event; the output has all of them */

/* What somebody ought to check, before it is taken for a fact. */
static void flag_claims(struct sl_node *n, struct sl_str text, struct json_object *out)
{
	struct json_object *all = sl_claims_json(text), *e = json_object_new_object(), *told = json_object_new_array();
	size_t count = all ? json_object_array_length(all) : 0;
	if (all)
		sl_json_set(out, "claims", json_object_get(all));
	if (!count || !e || !told) { /* the event is a courtesy */
		json_object_put(e);
		json_object_put(told);
		json_object_put(all);
		return;
	}
	for (size_t i = 0; i < count && i < CLAIMS_TOLD; i++)
		sl_json_append(told, json_object_get(json_object_array_get_idx(all, i)));
	sl_json_set_bool(e, "needs_verify", true);
	sl_json_set_i64(e, "count", (int64_t)count);
	sl_json_set(e, "claims", told);
	json_object_put(all);
	sl_node_event(n, "claims:flagged", e);
}

/* [run] */
static void finished(struct sl_node *n, void *arg)
{
	struct answer *a = arg;
	struct llm_state *s = sl_node_state(n, sizeof(*s));
	struct sl_stream *stream = sl_node_stream(n);
	SL_AUTO(sl_bytes) text = stream ? sl_stream_collect(stream, SL_STREAM_TEXT) : NULL;
	SL_AUTO(sl_bytes) thinking = stream ? sl_stream_collect(stream, SL_STREAM_THINKING) : NULL;
	struct json_object *out = json_object_new_object(), *parsed = NULL;
	struct sl_error err = {0};
	struct sl_usage usage = {a->usage.input_tokens,
				 a->usage.output_tokens,
				 a->usage.cached_tokens,
				 a->usage.reasoning_tokens,
				 a->cost_microusd,
				 a->model,
				 s && s->agent[0] ? s->agent : NULL,
				 a->simulated,
				 a->usage.estimated};

	if (a->usage.known || a->usage.estimated || a->rc == SL_OK)
		sl_node_usage(n, &usage);
	enum sl_code rc = a->rc;
	if (rc != SL_OK)
		err = a->err;
	else if (!out || !text || !thinking)
		rc = sl_fail(&err, SL_NO_MEMORY, "no memory for the answer");
	else if (s && s->format && !a->refusal && !a->tool_calls) /* who asks for a tool has not answered yet */
		rc = parse_json(s->format, sl_bytes_str(text), &parsed, &err);
	if (rc == SL_OUTPUT_INVALID && a->finish_reason && strcmp(a->finish_reason, "length") == 0)
		rc = sl_wrap(&err, rc, "the answer was cut off at its most tokens, see max_tokens");
	if (rc == SL_OK) {
		sl_json_set_str(out, "text", sl_bytes_str(text));
		if (parsed)
			sl_json_set(out, "json", parsed);
		if (thinking->len)
			sl_json_set_str(out, "thinking", sl_bytes_str(thinking));
		if (s && s->claims)
			flag_claims(n, sl_bytes_str(text), out);
		struct json_object *calls = NULL;
		if (a->tool_calls && sl_json_parse(sl_bytes_str(a->tool_calls), &calls, NULL) == SL_OK && calls)
			sl_json_set(out, "tool_calls", calls);
		if (a->refusal)
			sl_json_set_str(out, "refusal", sl_bytes_str(a->refusal));
		sl_json_set(out, "usage", usage_json(&a->usage));
		sl_json_set_str(out, "model", sl_str(a->model));
		sl_json_set_str(out, "profile", sl_str(a->profile));
		sl_json_set_str(out, "finish_reason", sl_str(a->finish_reason));
		sl_json_set_i64(out, "first_token_ms", (int64_t)a->first_token_ms);
		sl_json_set_bool(out, "cached", false);
		if (a->simulated)
			sl_json_set_bool(out, "simulated", true);
		sl_node_complete(n, out);
	} else {
		if (rc == SL_OUTPUT_INVALID && text)
			ask_for_repair(n, sl_bytes_str(text), &err);
		json_object_put(parsed);
		json_object_put(out);
		err.code = rc;
		sl_node_fail(n, &err);
	}
	if (s)
		let_go(s);
	answer_free(a);
}

static struct sl_bytes *bytes_of(struct sl_str s)
{
	return s.len ? sl_bytes_new(s.p, s.len) : NULL;
}

/* [io] */
static void on_done(void *ctx, enum sl_code rc, const struct sl_error *err, const struct sl_chat_result *res)
{
	struct call *c = ctx;
	struct answer *a = calloc(1, sizeof(*a));
	if (a) {
		a->rc = rc;
		if (err)
			a->err = *err;
		a->usage = res->usage;
		a->cost_microusd = res->cost_microusd;
		a->simulated = res->simulated;
		a->first_token_ms = res->first_token_ms;
		a->model = sl_str_dup(sl_str(res->model));
		a->profile = sl_str_dup(sl_str(res->profile));
		a->finish_reason = sl_str_dup(sl_str(res->finish_reason));
		a->tool_calls = bytes_of(res->tool_calls);
		a->refusal = bytes_of(res->refusal);
		if (sl_remote_call(c->remote, finished, answer_free, a) != SL_OK)
			answer_free(
				a); /* no memory to say that there is none: the node's timeout, or the run's, ends it */
	}
	sl_stream_end(c->stream);
	sl_remote_unref(c->remote);
	sl_stream_unref(c->stream);
	free(c);
}

static void add_json(struct sl_buf *b, struct json_object *o, struct sl_str *out, size_t *at)
{
	*at = b->len;
	if (o)
		sl_json_write(b, o);
	*out = sl_str_n(NULL, b->len - *at);
}

static double f64_or_nan(struct json_object *o, const char *key)
{
	return sl_json_get(o, key) ? sl_json_get_f64(o, key, 0) : NAN;
}

/* What people said into the run comes after what the workflow asks, as messages of theirs. */
static void add_said(struct sl_buf *out, struct sl_str messages, struct json_object *said)
{
	sl_buf_add(out, messages.p, messages.len ? messages.len - 1 : 0); /* without the last bracket */
	for (size_t i = 0; i < json_object_array_length(said); i++) {
		struct json_object *one = json_object_array_get_idx(said, i);
		SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
		sl_buf_addf(&text, SL_STR_FMT " interjects: " SL_STR_FMT, SL_STR_ARG(sl_json_get_str(one, "by")),
			    SL_STR_ARG(sl_json_get_str(one, "text")));
		sl_buf_adds(out, ",{\"role\":\"user\",\"content\":");
		sl_buf_json_str(out, sl_buf_str(&text));
		sl_buf_addc(out, '}');
	}
	sl_buf_addc(out, ']');
}

static enum sl_step call_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct sl_llm *llm = sl_node_services(n)->llm;
	struct llm_state *s = sl_node_state(n, sizeof(*s));
	struct sl_stream *stream = sl_node_stream(n);
	struct call *c = calloc(1, sizeof(*c));
	struct sl_chat_request req = SL_CHAT_REQUEST;
	SL_AUTO_JSON persona = NULL;
	enum sl_code rc = sl_agents_apply(sl_node_services(n)->agents, params, &persona, err);
	if (rc != SL_OK) {
		free(c);
		return SL_FAILED;
	}
	if (persona) {
		if (s)
			snprintf(s->agent, sizeof(s->agent), "%s", sl_json_get_z(params, "agent"));
		params = persona;
	}
	struct json_object *format = sl_json_get(params, "response_format"),
			   *messages = sl_json_get(params, "messages"), *tools = sl_json_get(params, "tools");
	char key[65];
	size_t at[5];
	SL_BUF(b, 2u * SL_LIMIT_PAYLOAD_BYTES);

	if (!s || !stream || !c || !(c->remote = sl_node_remote(n))) {
		free(c);
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a model call");
		return SL_FAILED;
	}
	c->stream = sl_stream_ref(stream);

	SL_BUF(text, SL_LIMIT_PAYLOAD_BYTES);
	if (!messages) {
		struct json_object *prompt = sl_json_get(params, "prompt");
		sl_buf_adds(&text, "[{\"role\":\"user\",\"content\":");
		if (json_object_is_type(prompt, json_type_string)) {
			sl_buf_json_str(&text, sl_json_str(prompt));
		} else { /* a template that yielded a number or an object */
			SL_BUF(value, SL_LIMIT_PAYLOAD_BYTES);
			sl_json_write(&value, prompt);
			sl_buf_json_str(&text, sl_buf_str(&value));
		}
		sl_buf_adds(&text, "}]");
		req.messages = sl_buf_str(&text);
	}
	/* one buffer for all JSON slices; it may move while it grows, so the pointers are set at the end */
	struct sl_str messages_text;
	add_json(&b, messages, &messages_text, &at[0]);
	add_json(&b, sl_json_get(params, "stop"), &req.stop, &at[1]);
	add_json(&b, format, &req.response_format, &at[2]);
	if (json_object_is_type(tools, json_type_array) && !json_object_array_length(tools))
		tools = NULL; /* an empty list is refused, and so is a choice from it */
	add_json(&b, tools, &req.tools, &at[3]);
	add_json(&b, tools ? sl_json_get(params, "tool_choice") : NULL, &req.tool_choice, &at[4]);
	if (b.failed || text.failed)
		rc = sl_fail(err, SL_TOO_LARGE, "the prompt is larger than %u bytes", SL_LIMIT_PAYLOAD_BYTES);
	const char *base = b.data ? b.data : "";
	if (messages)
		req.messages = sl_str_n(base + at[0], messages_text.len);
	SL_BUF(interjected, 4u * SL_LIMIT_PAYLOAD_BYTES);
	if (sl_node_said(n)) {
		add_said(&interjected, req.messages, sl_node_said(n));
		req.messages = sl_buf_str(&interjected);
		if (interjected.failed)
			rc = sl_fail(err, SL_TOO_LARGE, "the prompt and what was interjected are too large");
	}
	SL_BUF(repair, 4u * SL_LIMIT_PAYLOAD_BYTES);
	if (sl_node_passed_on(n)) {
		add_repair(&repair, req.messages, sl_node_passed_on(n));
		req.messages = sl_buf_str(&repair);
		if (repair.failed)
			rc = sl_fail(err, SL_TOO_LARGE, "the prompt and the answer to repair are too large");
	}
	req.stop.p = base + at[1];
	req.response_format.p = base + at[2];
	req.tools.p = base + at[3];
	req.tool_choice.p = base + at[4];
	req.profile = sl_json_get_str(params, "profile");
	req.provider = sl_json_get_str(params, "provider");
	req.model = sl_json_get_str(params, "model");
	req.system = sl_json_get_str(params, "system");
	req.thinking = sl_json_get_str(params, "thinking");
	req.temperature = f64_or_nan(params, "temperature");
	req.top_p = f64_or_nan(params, "top_p");
	req.frequency_penalty = f64_or_nan(params, "frequency_penalty");
	req.presence_penalty = f64_or_nan(params, "presence_penalty");
	req.max_tokens = sl_json_get_i64(params, "max_tokens", 0);
	req.has_seed = sl_json_get(params, "seed") != NULL;
	req.seed = sl_json_get_i64(params, "seed", 0);
	/* middleware has chosen among the profile, its fallbacks and their keys; without any it is the first of all */
	const struct sl_node_route *way = sl_node_route(n);
	SL_ROUTE_AUTO route = {0};
	if (sl_route_resolve(sl_llm_profiles(llm), sl_node_services(n)->agents, params, &route, NULL) == SL_OK &&
	    way->candidate < route.n) {
		req.via = route.profiles[way->candidate];
		req.lane = way->lane;
		if (way->candidate) /* another provider's: it does not know the first one's models */
			req.model = SL_STR("");
	}
	if (way->max_output) { /* a budget lets the answer be so long, and no longer */
		int64_t most = req.max_tokens ? req.max_tokens : req.via ? req.via->max_tokens : 0;
		if (!most || (uint64_t)most > way->max_output)
			req.max_tokens = (int64_t)way->max_output;
	}
	sl_node_idempotency_key(n, key);
	req.idempotency_key = sl_str(key);
	req.input_tokens = sl_tokens_of_request(params, SL_STR(""));
	req.of = (struct sl_call_of){sl_node_run(n), sl_str(sl_node_path(n)), sl_node_attempt(n)};

	static const struct sl_chat_callbacks callbacks = {on_delta, on_done};
	if (rc == SL_OK)
		rc = sl_chat_start(llm, &req, &callbacks, c, &s->chat, err);
	if (rc != SL_OK) {
		sl_remote_unref(c->remote);
		sl_stream_unref(c->stream);
		free(c);
		if (err->code == SL_OK)
			(void)sl_fail(err, rc, "the model call could not be started");
		return SL_FAILED;
	}
	const char *kind = sl_json_get_z(format, "type");
	s->claims = sl_json_get_bool(params, "claims", false);
	if (kind && strcmp(kind, "text") != 0)
		s->format = sl_json_dup(format);
	return SL_PENDING;
}

static enum sl_step llm_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	if (sl_node_is_container(n))
		return sl_rounds_start(n, params, err);
	if (!sl_rounds_wanted(params))
		return call_start(n, params, err);
	(void)sl_fail(err, SL_INVALID, "`tools`: the names of tools are written in the workflow, not computed");
	return SL_FAILED;
}

static void llm_cancel(struct sl_node *n) /* [run] */
{
	if (sl_node_is_container(n)) {
		sl_rounds_cancel(n);
		return;
	}
	struct llm_state *s = sl_node_state(n, sizeof(*s));
	struct sl_chat_spent spent;
	uint64_t ordered_at_us;
	if (!s || !s->chat)
		return;
	const char *why = sl_node_off_reason(n, &ordered_at_us);
	sl_chat_call_off(s->chat, why, ordered_at_us);
	if (sl_chat_spent(s->chat, &spent)) { /* nobody will hear the call's own end */
		const struct sl_usage usage = {
			spent.usage.input_tokens,      spent.usage.output_tokens, spent.usage.cached_tokens,
			spent.usage.reasoning_tokens,  spent.cost_microusd,       spent.model,
			s->agent[0] ? s->agent : NULL, spent.simulated,           spent.usage.estimated};
		sl_node_usage(n, &usage);
	}
	let_go(s);
}

static enum sl_code llm_check(struct json_object *params, struct sl_error *err)
{
	bool prompt = sl_json_get(params, "prompt"), messages = sl_json_get(params, "messages");
	if (prompt == messages)
		return sl_fail(err, SL_INVALID,
			       "give exactly one of `prompt` (text) and `messages` (a list of { role, content })");
	if (sl_json_get(params, "profile") && sl_json_get(params, "provider"))
		return sl_fail(err, SL_INVALID, "give `profile`, or `provider` with `model`, not both");
	return sl_rounds_check(params, err);
}

const struct sl_node_type sl_node_type_llm = {
	.name = "llm",
	.summary = "Asks a language model, streamed token by token; with tools, until it answers.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"x-provides\": [\"loop\", \"item\"], "
		"\"properties\": {"
		"  \"agent\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Agent\", \"x-ui\": \"agent\","
		"    \"description\": \"A persona: its system prompt comes first, its profile and parameters count "
		"where the "
		"node says nothing.\" },"
		"  \"profile\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Profile\","
		"    \"description\": \"Name of a model profile; empty: the default one.\" },"
		"  \"provider\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Provider\","
		"    \"description\": \"Instead of a profile: any profile of this provider.\" },"
		"  \"model\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Model\","
		"    \"description\": \"Goes before the profile's model.\" },"
		"  \"system\": { \"type\": \"string\", \"title\": \"System prompt\", \"x-ui\": \"textarea\" },"
		"  \"prompt\": { \"title\": \"Prompt\", \"description\": \"What the model is asked.\", \"x-ui\": "
		"\"textarea\" },"
		"  \"messages\": { \"type\": \"array\", \"minItems\": 1, \"title\": \"Messages\","
		"    \"description\": \"Instead of a prompt: a whole conversation.\","
		"    \"items\": { \"type\": \"object\", \"required\": [\"role\", \"content\"], \"properties\": {"
		"      \"role\": { \"type\": \"string\", \"enum\": [\"system\", \"user\", \"assistant\", \"tool\"] },"
		"      \"content\": { \"description\": \"Text, or a list of content parts.\" } } } },"
		"  \"temperature\": { \"type\": \"number\", \"minimum\": 0, \"maximum\": 2, \"title\": \"Temperature\" "
		"},"
		"  \"top_p\": { \"type\": \"number\", \"exclusiveMinimum\": 0, \"maximum\": 1, \"title\": \"Top p\" },"
		"  \"frequency_penalty\": { \"type\": \"number\", \"minimum\": -2, \"maximum\": 2, "
		"\"title\": \"Frequency penalty\" },"
		"  \"presence_penalty\": { \"type\": \"number\", \"minimum\": -2, \"maximum\": 2, "
		"\"title\": \"Presence penalty\" },"
		"  \"max_tokens\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000, \"title\": \"Most "
		"tokens\","
		"    \"description\": \"Of the answer.\" },"
		"  \"stop\": { \"title\": \"Stop\", \"description\": \"A text, or up to four, at which the answer "
		"ends.\","
		"    \"anyOf\": [ { \"type\": \"string\" }, { \"type\": \"array\", \"maxItems\": 4, \"items\": { "
		"\"type\": \"string\" } } ] },"
		"  \"seed\": { \"type\": \"integer\", \"title\": \"Seed\" },"
		"  \"thinking\": { \"type\": \"string\", \"enum\": [\"minimal\", \"low\", \"medium\", \"high\"], "
		"\"title\": \"Thinking effort\" },"
		"  \"tools\": { \"type\": \"array\", \"maxItems\": 128, \"title\": \"Tools\", \"x-ui\": \"tools\","
		"    \"description\": \"Names of tools of this server, which it runs when the model asks for them; or "
		"functions of your own in OpenAI's form, whose calls come out in `tool_calls`.\","
		"    \"items\": { \"type\": [\"object\", \"string\"] } },"
		"  \"max_iterations\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 50, \"x-constant\": true, "
		"\"title\": \"Rounds of tools\","
		"    \"description\": \"How often the model may ask for tools of this server, 5 when left out; then it "
		"has to answer.\" },"
		"  \"tool_timeout_s\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600, \"x-constant\": "
		"true, "
		"\"title\": \"Time for a tool\","
		"    \"description\": \"In seconds, 30 when left out; a call that takes longer has failed, and the "
		"model is told.\" },"
		"  \"tool_choice\": { \"title\": \"Tool choice\", \"description\": \"auto, none, required, or one "
		"function.\" },"
		"  \"claims\": { \"type\": \"boolean\", \"title\": \"Flag claims\","
		"    \"description\": \"Figures, money, years and citations of the answer are put into `claims`, for "
		"somebody to check.\" },"
		"  \"response_format\": { \"type\": \"object\", \"required\": [\"type\"], \"title\": \"Answer format\","
		"    \"description\": \"JSON answers are parsed, checked against the schema and put into `json`.\","
		"    \"properties\": { \"type\": { \"type\": \"string\", \"enum\": [\"text\", \"json_object\", "
		"\"json_schema\"] },"
		"      \"schema\": { \"type\": \"object\" }, \"name\": { \"type\": \"string\" } } } } }",
	.effects = SL_EFFECTS_MODEL,
	.start = llm_start,
	.body = sl_rounds_body,
	.chained = true,
	.expand = sl_rounds_expand,
	.cancel = llm_cancel,
	.check = llm_check,
};
