/* nodes/vote.c: several voters decide. Each voter is a model call in the one body of the node (panel#1/sceptic), so it
 * is streamed, retried, limited and paid for like any other; a voter that fails abstains. */
#include <ctype.h>
#include <stdio.h>

#include "engine/node.h"

static const char *voter_kind(struct json_object *v)
{
	return sl_json_get(v, "profile") ? "profile" : "agent";
}

/* "text judge" → "text_judge": a name as an id. */
static void voter_base(struct json_object *v, char out[64])
{
	struct sl_str name = sl_json_get_str(v, "name");
	size_t n = 0;
	if (!name.len)
		name = json_object_is_type(v, json_type_string) ? sl_json_str(v) : sl_json_get_str(v, voter_kind(v));
	if (!name.len || isdigit((unsigned char)name.p[0]) || name.p[0] == '-')
		out[n++] = 'v';
	for (size_t k = 0; k < name.len && n < 48; k++)
		out[n++] = (char)(isalnum((unsigned char)name.p[k]) || name.p[k] == '-' ? name.p[k] : '_');
	out[n] = 0;
}

/* Those of the same name are told apart by a number. */
static void voter_id(struct json_object *voters, size_t i, char out[64])
{
	unsigned same = 0;
	voter_base(json_object_array_get_idx(voters, i), out);
	for (size_t k = 0; k < i; k++) {
		char other[64];
		voter_base(json_object_array_get_idx(voters, k), other);
		same += strcmp(other, out) == 0;
	}
	size_t n = strlen(out);
	if (same)
		(void)snprintf(out + n, 64 - n, "_%u", same + 1); /* 48 and a few fit */
}

static bool vote_scores(struct json_object *params)
{
	return sl_str_is(sl_json_get_str(params, "kind"), "score_1_10");
}

static struct json_object *vote_format(bool scores)
{
	static const char yes_no[] = "{ \"type\": \"json_schema\", \"schema\": { \"type\": \"object\", \"required\": "
				     "[\"vote\"], \"properties\": {"
				     " \"vote\": { \"type\": \"string\", \"enum\": [\"yes\", \"no\", \"abstain\"] }, "
				     "\"reason\": { \"type\": "
				     "\"string\" } } } }";
	static const char score[] = "{ \"type\": \"json_schema\", \"schema\": { \"type\": \"object\", \"required\": "
				    "[\"score\"], \"properties\": "
				    "{"
				    " \"score\": { \"type\": [\"integer\", \"null\"], \"minimum\": 1, \"maximum\": 10 "
				    "}, \"reason\": { \"type\": "
				    "\"string\" } } } }";
	struct json_object *o = NULL;
	struct sl_error err;
	return sl_json_parse(sl_str(scores ? score : yes_no), &o, &err) == SL_OK ? o : NULL;
}

/* { nodes: one llm for each voter } */
static enum sl_code vote_expand(struct json_object *params, struct json_object **graph, struct sl_error *err)
{
	struct json_object *voters = sl_json_get(params, "voters"), *nodes = json_object_new_array(),
			   *g = json_object_new_object();
	bool scores = vote_scores(params);
	SL_BUF(prompt, 1u << 20);
	struct sl_str question = sl_json_get_str(params, "question");
	sl_buf_add(&prompt, question.p, question.len);
	sl_buf_adds(&prompt,
		    scores ? "\n\nGive a score from 1 (worst) to 10 (best), or null to abstain. Answer with JSON and "
			     "nothing else: {\"score\": 7, \"reason\": \"one sentence\"}"
			   : "\n\nVote yes, no or abstain. Answer with JSON and nothing else: {\"vote\": \"yes\", "
			     "\"reason\": \"one sentence\"}");
	for (size_t i = 0; g && nodes && i < json_object_array_length(voters); i++) {
		struct json_object *v = json_object_array_get_idx(voters, i), *node = json_object_new_object(),
				   *p = json_object_new_object(), *format = vote_format(scores);
		char id[64];
		voter_id(voters, i, id);
		if (!node || !p || !format) {
			json_object_put(node);
			json_object_put(p);
			json_object_put(format);
			json_object_put(g);
			json_object_put(nodes);
			return sl_fail(err, SL_NO_MEMORY, "voters");
		}
		sl_json_set_str(p, voter_kind(v),
				json_object_is_type(v, json_type_string) ? sl_json_str(v)
									 : sl_json_get_str(v, voter_kind(v)));
		sl_json_set_str(p, "prompt", sl_buf_str(&prompt));
		sl_json_set(p, "response_format", format);
		sl_json_set_str(node, "id", sl_str(id));
		sl_json_set_str(node, "type", SL_STR("llm"));
		sl_json_set_str(node, "on_error", SL_STR("continue"));
		sl_json_set(node, "params", p);
		sl_json_append(nodes, node);
	}
	if (!g || !nodes || prompt.failed) {
		json_object_put(g);
		json_object_put(nodes);
		return sl_fail(err, SL_NO_MEMORY, "voters");
	}
	sl_json_set(g, "nodes", nodes); /* at last: what cannot be set is gone */
	*graph = g;
	return SL_OK;
}

/* One vote as it is told and counted: { voter, vote, reason? }. */
static struct json_object *vote_of(struct json_object *outputs, const char *id, bool scores)
{
	struct json_object *json = sl_json_get(sl_json_get(outputs, id), "json"),
			   *error = sl_json_get(sl_json_get(outputs, id), "error"), *o = json_object_new_object();
	struct json_object *vote = sl_json_get(json, scores ? "score" : "vote");
	struct sl_str reason = sl_json_get_str(json, "reason");
	if (!o) {
		sl_json_lost();
		return NULL;
	}
	sl_json_set_str(o, "voter", sl_str(id));
	if (vote)
		sl_json_set(o, "vote", json_object_get(vote));
	else
		sl_json_set_str(o, "vote", SL_STR("abstain"));
	if (!reason.len)
		reason = sl_json_get_str(error, "message");
	if (reason.len)
		sl_json_set_str(o, "reason", reason);
	return o;
}

static void vote_count(struct sl_node *n, struct json_object *params)
{
	struct json_object *voters = sl_json_get(params, "voters"), *votes = json_object_new_array(),
			   *tally = json_object_new_object(), *out = json_object_new_object();
	SL_AUTO_JSON outputs = sl_node_body_outputs(n, 1);
	bool scores = vote_scores(params), passed, tie_passes = sl_str_is(sl_json_get_str(params, "tie"), "pass");
	double threshold = sl_json_get_f64(params, "threshold", 0.67), sum = 0;
	unsigned yes = 0, no = 0, abstain = 0, scored = 0;
	uint32_t told = sl_node_events(n);
	char summary[160];
	for (size_t i = 0; votes && i < json_object_array_length(voters); i++) {
		char id[64];
		voter_id(voters, i, id);
		struct json_object *v = vote_of(outputs, id, scores), *vote = sl_json_get(v, "vote");
		if (!v)
			continue;
		if (json_object_is_type(vote, json_type_int)) {
			sum += (double)json_object_get_int64(vote);
			scored++;
		} else if (sl_str_is(sl_json_str(vote), "yes")) {
			yes++;
		} else if (sl_str_is(sl_json_str(vote), "no")) {
			no++;
		} else {
			abstain++;
		}
		if (i >= told)
			sl_node_event(n, "vote:cast", sl_json_dup(v));
		sl_json_append(votes, v);
	}
	if (!votes || !tally || !out || !outputs) { /* no vote is no abstention */
		json_object_put(votes);
		json_object_put(tally);
		json_object_put(out);
		sl_node_complete(n, NULL);
		return;
	}
	unsigned cast = yes + no + scored;
	bool enough = cast >= (unsigned)sl_json_get_i64(params, "quorum", 0);
	if (scores) {
		double mean = scored ? sum / scored : 0;
		passed = scored ? mean / 10 >= threshold : tie_passes; /* nobody for it and nobody against it */
		sl_json_set_f64(tally, "mean", mean);
		sl_json_set_i64(tally, "scored", scored);
		(void)snprintf(summary, sizeof(summary), "mean %.2f of 10 from %u voters, %u abstained", mean, scored,
			       abstain); /* it fits */
	} else {
		bool tie = yes == no;
		passed = tie ? tie_passes : (double)yes / (double)(yes + no) >= threshold;
		sl_json_set_i64(tally, "yes", yes);
		sl_json_set_i64(tally, "no", no);
		(void)snprintf(summary, sizeof(summary), "%u yes, %u no, %u abstained%s", yes, no, abstain,
			       tie ? "; a tie" : ""); /* it fits */
	}
	sl_json_set_i64(tally, "abstain", abstain);
	if (!enough) {
		size_t at = strlen(summary);
		(void)snprintf(summary + at, sizeof(summary) - at, "; %u of %lld needed voted", cast,
			       (long long)sl_json_get_i64(params, "quorum", 0)); /* it fits */
	}
	sl_json_set_bool(out, "passed", passed && enough);
	sl_json_set(out, "tally", tally);
	sl_json_set(out, "votes", votes);
	sl_json_set_str(out, "summary", sl_str(summary));
	sl_node_complete(n, out);
}

struct vote_state { /* [run] */
	struct json_object *params;
};

static void vote_let_go(struct vote_state *s)
{
	json_object_put(s->params);
	s->params = NULL;
}

static void vote_body(struct sl_node *n, uint32_t number) /* [run] */
{
	struct vote_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err;
	if (sl_node_body_status(n, number) == SL_BODY_FAILED) {
		SL_IGNORE(sl_node_body_error(n, number, &err)); /* its code is in err */
		sl_node_fail(n, &err);
	} else {
		vote_count(n, s->params);
	}
	vote_let_go(s);
}

static enum sl_step vote_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct vote_state *s = sl_node_state(n, sizeof(*s));
	if (!s) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a vote");
		return SL_FAILED;
	}
	enum sl_body_status before = sl_node_body_status(n, 1);
	if (sl_node_body_begin(n, 1, NULL, err) != SL_OK)
		return SL_FAILED;
	s->params = json_object_get(params);
	if (before == SL_BODY_ENDED || before == SL_BODY_FAILED)
		vote_body(n, 1); /* before a restart */
	return SL_PENDING;
}

static void vote_cancel(struct sl_node *n) /* [run] */
{
	vote_let_go(sl_node_state(n, sizeof(struct vote_state)));
}

static enum sl_code vote_check(struct json_object *params, struct sl_error *err)
{
	struct json_object *voters = sl_json_get(params, "voters");
	for (size_t i = 0; i < json_object_array_length(voters); i++) {
		struct json_object *v = json_object_array_get_idx(voters, i);
		if (json_object_is_type(v, json_type_object) && !sl_json_get(v, "agent") == !sl_json_get(v, "profile"))
			return sl_fail(err, SL_INVALID, "voter %zu needs exactly one of `agent` and `profile`", i + 1);
	}
	return SL_OK;
}

const struct sl_node_type sl_node_type_vote = {
	.name = "vote",
	.summary = "Lets several voters decide, and counts.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"voters\", \"question\"], "
		"\"properties\": {"
		"  \"voters\": { \"type\": \"array\", \"minItems\": 1, \"maxItems\": 32, \"x-constant\": true, "
		"\"title\": "
		"\"Voters\","
		"    \"description\": \"Who votes: names of agents, or { agent } or { profile }, with a name of their "
		"own if "
		"wanted.\","
		"    \"items\": { \"type\": [\"string\", \"object\"], \"properties\": {"
		"      \"agent\": { \"type\": \"string\", \"title\": \"Agent\" }, \"profile\": { \"type\": \"string\", "
		"\"title\": \"Profile\" },"
		"      \"name\": { \"type\": \"string\", \"title\": \"Name\" } } } },"
		"  \"question\": { \"type\": \"string\", \"minLength\": 1, \"title\": \"Question\","
		"    \"description\": \"What is voted on, with all a voter has to know.\" },"
		"  \"kind\": { \"type\": \"string\", \"enum\": [\"yes_no\", \"score_1_10\"], \"default\": \"yes_no\", "
		"\"x-constant\": true, \"title\": \"Kind\","
		"    \"description\": \"yes_no counts votes; score_1_10 takes the mean.\" },"
		"  \"threshold\": { \"type\": \"number\", \"minimum\": 0.5, \"maximum\": 1, \"default\": 0.67, "
		"\"title\": "
		"\"Threshold\","
		"    \"description\": \"The share of yes among yes and no that passes, or a tenth of the mean score.\" "
		"},"
		"  \"quorum\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 32, \"title\": \"Quorum\","
		"    \"description\": \"So many must not abstain, or it does not pass.\" },"
		"  \"tie\": { \"type\": \"string\", \"enum\": [\"fail\", \"pass\"], \"default\": \"fail\", \"title\": "
		"\"Tie\","
		"    \"description\": \"What as many yes as no means, also when all abstain.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = vote_start,
	.body = vote_body,
	.expand = vote_expand,
	.check = vote_check,
	.cancel = vote_cancel,
};
