/* nodes/loop.c: repeats a body until it is good enough. Each round is a body of its own (refine#2/judge).
 *
 * What the loop knows (scores, the best round, what is carried) is a fold over the rounds that have ended, in their
 * order. So a restarted server works it out again from their outputs, and nothing of it has to be stored.
 */
#include <math.h>

#include "base/limits.h"
#include "engine/node.h"

struct loop_state { /* [run] */
	struct json_object *params;
	struct json_object *carry;   /* what the last round carries over; NULL: nothing */
	struct json_object *history; /* [{ round, score, outputs }] */
	struct json_object *scores;  /* [{ round, score }], for the output */
	struct json_object *last;    /* outputs the next round sees */
	uint32_t rounds;             /* ended and looked at */
	uint32_t best_round;
	double best_score, score; /* NAN: none */
	uint32_t still;           /* rounds in a row that moved the score by no more than stagnation.delta */
	const char *exit_reason;  /* NULL: goes on */
	const char *note;
	bool set_up;
};

static void loop_let_go(struct loop_state *s)
{
	json_object_put(s->params);
	json_object_put(s->carry);
	json_object_put(s->history);
	json_object_put(s->scores);
	json_object_put(s->last);
	s->params = s->carry = s->history = s->scores = s->last = NULL;
}

static struct json_object *number_or_null(double v)
{
	if (isnan(v))
		return NULL;
	struct json_object *o = json_object_new_double(v);
	if (!o)
		sl_json_lost();
	return o;
}

/* What `loop` is in round `number`. */
static struct json_object *loop_binding(struct loop_state *s, uint32_t number)
{
	struct json_object *o = json_object_new_object(), *loop = json_object_new_object(),
			   *past = json_object_new_array();
	if (!o || !loop || !past) {
		json_object_put(o);
		json_object_put(loop);
		json_object_put(past);
		return NULL;
	}
	/* a list of its own, because a round keeps what it saw; the rounds in it are shared, so memory grows by one a
	 * round */
	for (size_t i = 0; i < json_object_array_length(s->history); i++)
		sl_json_append(past, json_object_get(json_object_array_get_idx(s->history, i)));
	sl_json_set_i64(loop, "index", number);
	sl_json_set(loop, "last", json_object_get(s->last));
	sl_json_set(loop, "score", number_or_null(s->score));
	sl_json_set(loop, "history", past);
	sl_json_set(loop, "carry", json_object_get(s->carry));
	sl_json_set(o, "loop", loop);
	return o;
}

static enum sl_code loop_begin(struct sl_node *n, struct loop_state *s, uint32_t number, struct sl_error *err)
{
	struct json_object *binding = loop_binding(s, number);
	return binding ? sl_node_body_begin(n, number, binding, err)
		       : sl_fail(err, SL_NO_MEMORY, "no memory for round %u", number);
}

/* What the rules say of a score: the regression first, because it decides which round counts. */
static void loop_judge(struct loop_state *s, double before)
{
	struct json_object *regression = sl_json_get(s->params, "on_regression"),
			   *stagnation = sl_json_get(s->params, "stagnation");
	if (isnan(s->score))
		return;
	if (regression && !isnan(s->best_score) && s->best_score - s->score > sl_json_get_f64(regression, "drop", 10)) {
		struct sl_str what = sl_json_get_str(regression, "do");
		s->note = sl_str_is(what, "rollback") ? "rollback" : "regression";
		if (sl_str_is(what, "stop"))
			s->exit_reason = "regression";
	}
	if (stagnation && !isnan(before)) {
		if (fabs(s->score - before) <= sl_json_get_f64(stagnation, "delta", 2))
			s->still++;
		else
			s->still = 0;
		if (s->still >= sl_json_get_i64(stagnation, "rounds", 2)) {
			if (!s->note)
				s->note = "stagnation";
			if (sl_str_is(sl_json_get_str(stagnation, "do"), "stop") && !s->exit_reason)
				s->exit_reason = "stagnation";
		}
	}
}

static enum sl_code loop_score(struct sl_node *n, struct loop_state *s, uint32_t number, struct sl_error *err)
{
	SL_AUTO_JSON v = NULL;
	s->score = NAN;
	if (!sl_json_get(s->params, "exit_on_score"))
		return SL_OK;
	enum sl_code rc = sl_node_eval_body(n, "/exit_on_score/value", number, &v, err);
	if (rc != SL_OK)
		return sl_wrap(err, rc, "the score of round %u", number);
	if (v && !json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
		return sl_fail(err, SL_INVALID, "the score of round %u is a %s, not a number", number,
			       sl_json_type_name(v));
	if (v)
		s->score = json_object_get_double(v);
	return SL_OK;
}

/* Folds a round that has ended. */
static enum sl_code loop_fold(struct sl_node *n, struct loop_state *s, uint32_t number, struct sl_error *err)
{
	SL_AUTO_JSON outputs = sl_node_body_outputs(n, number);
	SL_AUTO_JSON until = NULL;
	double before = s->score;
	s->note = NULL;
	enum sl_code rc = outputs ? loop_score(n, s, number, err) : sl_fail(err, SL_NO_MEMORY, "round %u", number);
	if (rc == SL_OK && sl_json_get(s->params, "until"))
		rc = sl_node_eval_body(n, "/until", number, &until, err);
	if (rc == SL_OK && sl_json_get(s->params, "carry")) {
		struct json_object *carry = NULL;
		rc = sl_node_eval_body(n, "/carry", number, &carry, err);
		if (rc == SL_OK) {
			json_object_put(s->carry);
			s->carry = carry;
		}
	}
	if (rc != SL_OK)
		return rc;
	loop_judge(s, before);
	bool better = isnan(s->best_score) || (!isnan(s->score) && s->score > s->best_score);
	if (better) {
		s->best_round = number;
		s->best_score = s->score;
	}
	/* after a step back the next round builds on the best one; everything else builds on this one */
	bool back = s->note &&
		    (strcmp(s->note, "rollback") == 0 || (s->exit_reason && strcmp(s->exit_reason, "regression") == 0));
	struct json_object *counts = back ? sl_node_body_outputs(n, s->best_round) : json_object_get(outputs);
	struct json_object *past = json_object_new_object(), *point = json_object_new_object();
	json_object_put(s->last);
	s->last = counts;
	if (!past || !point || !counts) {
		json_object_put(past);
		json_object_put(point);
		return sl_fail(err, SL_NO_MEMORY, "round %u", number);
	}
	sl_json_set_i64(past, "round", number);
	sl_json_set(past, "score", number_or_null(s->score));
	sl_json_set(past, "outputs", json_object_get(outputs));
	sl_json_append(s->history, past);
	sl_json_set_i64(point, "round", number);
	sl_json_set(point, "score", number_or_null(s->score));
	sl_json_append(s->scores, point);
	SL_CRASH_POINT_OF("loop.round", sl_node_path(n));
	s->rounds = number;

	if (back) /* the score of what `last` is */
		s->score = s->best_score;
	struct json_object *target = sl_json_get(s->params, "exit_on_score");
	/* nil and false are the two that are not true to Lua */
	if (!s->exit_reason && until &&
	    !(json_object_is_type(until, json_type_boolean) && !json_object_get_boolean(until)))
		s->exit_reason = "until";
	if (!s->exit_reason && target && !isnan(s->score) && s->score >= sl_json_get_f64(target, "at_least", INFINITY))
		s->exit_reason = "score";
	if (!s->exit_reason && number >= (uint32_t)sl_json_get_i64(s->params, "max_rounds", 1))
		s->exit_reason = "max_rounds";
	return SL_OK;
}

static void loop_tell(struct sl_node *n, struct loop_state *s)
{
	struct json_object *e = json_object_new_object(), *target = sl_json_get(s->params, "exit_on_score");
	struct json_object *point = json_object_array_get_idx(s->scores, s->rounds - 1);
	if (!e)
		return; /* an event less; what follows needs memory, too, and says so */
	sl_json_set_i64(e, "round", s->rounds);
	sl_json_set_i64(e, "of", sl_json_get_i64(s->params, "max_rounds", 1));
	sl_json_set(e, "score", json_object_get(sl_json_get(point, "score")));
	if (!isnan(s->best_score)) {
		sl_json_set_i64(e, "best_round", s->best_round);
		sl_json_set_f64(e, "best_score", s->best_score);
	}
	if (target)
		sl_json_set_f64(e, "target", sl_json_get_f64(target, "at_least", 0));
	sl_json_set_str(e, "decision", s->exit_reason ? SL_STR("exit") : SL_STR("continue"));
	if (s->exit_reason)
		sl_json_set_str(e, "exit_reason", sl_str(s->exit_reason));
	if (s->note)
		sl_json_set_str(e, "note", sl_str(s->note));
	sl_node_event(n, "loop:round", e);
}

static struct json_object *loop_output(struct loop_state *s)
{
	struct json_object *o = json_object_new_object();
	if (!o)
		return NULL;
	sl_json_set_i64(o, "rounds", s->rounds);
	sl_json_set_str(o, "exit_reason", sl_str(s->exit_reason));
	if (!isnan(s->best_score)) {
		sl_json_set(o, "score", number_or_null(s->score));
		sl_json_set_f64(o, "best_score", s->best_score);
		sl_json_set_i64(o, "best_round", s->best_round);
	}
	sl_json_set(o, "last", json_object_get(s->last));
	if (s->carry)
		sl_json_set(o, "carry", json_object_get(s->carry));
	sl_json_set(o, "history", json_object_get(s->scores));
	return o;
}

/* Looks at every round that has ended and was not looked at, in order, and begins the next one or ends the loop. */
static enum sl_step loop_go(struct sl_node *n, struct loop_state *s, struct sl_error *err)
{
	for (;;) {
		uint32_t next = s->rounds + 1;
		enum sl_body_status status = sl_node_body_status(n, next);
		if (status == SL_BODY_FAILED) {
			SL_IGNORE(sl_node_body_error(n, next, err)); /* its code is in err */
			return SL_FAILED;
		}
		if (!s->exit_reason && loop_begin(n, s, next, err) != SL_OK)
			return SL_FAILED;
		if (status != SL_BODY_ENDED)
			return SL_PENDING;
		if (loop_fold(n, s, next, err) != SL_OK)
			return SL_FAILED;
		if (sl_node_events(n) < s->rounds)
			loop_tell(n, s);
		if (s->exit_reason) {
			sl_node_complete(n, loop_output(s));
			return SL_DONE;
		}
	}
}

static enum sl_step loop_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct loop_state *s = sl_node_state(n, sizeof(*s));
	if (s) {
		s->history = json_object_new_array();
		s->scores = json_object_new_array();
	}
	if (!s || !s->history || !s->scores) {
		if (s)
			loop_let_go(s);
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a loop");
		return SL_FAILED;
	}
	s->params = json_object_get(params);
	s->best_score = s->score = NAN;
	enum sl_step step = loop_go(n, s, err);
	if (step != SL_PENDING)
		loop_let_go(s);
	return step;
}

static void loop_body(struct sl_node *n, uint32_t number) /* [run] */
{
	struct loop_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err = {0};
	if (number != s->rounds + 1)
		return; /* looked at already */
	enum sl_step step = loop_go(n, s, &err);
	if (step == SL_FAILED)
		sl_node_fail(n, &err);
	if (step != SL_PENDING)
		loop_let_go(s);
}

static void loop_cancel(struct sl_node *n) /* [run] */
{
	loop_let_go(sl_node_state(n, sizeof(struct loop_state)));
}

static enum sl_code loop_check(struct json_object *params, struct sl_error *err)
{
	if (!sl_json_get(params, "exit_on_score") &&
	    (sl_json_get(params, "on_regression") || sl_json_get(params, "stagnation")))
		return sl_fail(err, SL_INVALID,
			       "`on_regression` and `stagnation` look at a score: say in `exit_on_score` what it is");
	return SL_OK;
}

const struct sl_node_type sl_node_type_loop = {
	.name = "loop",
	.summary = "Repeats its body, round by round, until a condition or a score is met.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"body\", \"max_rounds\"], "
		"\"properties\": {"
		"  \"body\": { \"type\": \"object\", \"x-graph\": true, \"x-provides\": [\"loop\"], \"title\": "
		"\"Body\","
		"    \"description\": \"What a round does. In it, loop.index counts from 1, loop.last has the outputs "
		"of "
		"the round "
		"before by node, loop.history all rounds, loop.carry what was carried over.\" },"
		"  \"max_rounds\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"title\": \"Rounds at "
		"most\","
		"    \"description\": \"The loop ends after this many rounds, whatever they bring.\" },"
		"  \"until\": { \"type\": \"string\", \"x-expr\": \"value\", \"x-provides\": [\"body\", \"loop\"], "
		"\"title\": \"Until\","
		"    \"description\": \"Looked at after each round: true ends the loop. Sees the nodes of the body.\" "
		"},"
		"  \"exit_on_score\": { \"type\": \"object\", \"additionalProperties\": false, \"title\": \"Score\","
		"    \"description\": \"A number each round earns; the loop ends when it is high enough.\","
		"    \"required\": [\"value\", \"at_least\"], \"properties\": {"
		"      \"value\": { \"type\": \"string\", \"x-expr\": \"value\", \"x-provides\": [\"body\", \"loop\"], "
		"\"title\": \"Value\","
		"        \"description\": \"Such as nodes.judge.json.score. Sees the nodes of the body.\" },"
		"      \"at_least\": { \"type\": \"number\", \"title\": \"At least\","
		"        \"description\": \"The score that ends the loop.\" } } },"
		"  \"on_regression\": { \"type\": \"object\", \"additionalProperties\": false, \"title\": \"When it "
		"gets worse\","
		"    \"description\": \"What to do when a round scores far below the best one.\", \"properties\": {"
		"      \"drop\": { \"type\": \"number\", \"minimum\": 0, \"default\": 10, \"title\": \"Drop\","
		"        \"description\": \"How far below the best score counts as worse.\" },"
		"      \"do\": { \"type\": \"string\", \"enum\": [\"stop\", \"rollback\", \"warn\"], \"default\": "
		"\"warn\", \"title\": \"Do\","
		"        \"description\": \"stop ends with the best round; rollback goes on from the best round; warn "
		"only says so.\" } } },"
		"  \"stagnation\": { \"type\": \"object\", \"additionalProperties\": false, \"title\": \"When it "
		"stands "
		"still\","
		"    \"description\": \"What to do when the score hardly moves.\", \"properties\": {"
		"      \"delta\": { \"type\": \"number\", \"minimum\": 0, \"default\": 2, \"title\": \"Delta\","
		"        \"description\": \"A change of the score by no more than this is none.\" },"
		"      \"rounds\": { \"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"default\": 2, "
		"\"title\": \"Rounds\","
		"        \"description\": \"How many such changes in a row.\" },"
		"      \"do\": { \"type\": \"string\", \"enum\": [\"warn\", \"stop\"], \"default\": \"warn\", "
		"\"title\": "
		"\"Do\","
		"        \"description\": \"warn only says so; stop ends the loop.\" } } },"
		"  \"carry\": { \"type\": \"string\", \"x-expr\": \"value\", \"x-provides\": [\"body\", \"loop\"], "
		"\"title\": \"Carry over\","
		"    \"description\": \"Evaluated after each round; its value is loop.carry in the next one. Sees the "
		"nodes of the body.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = loop_start,
	.body = loop_body,
	.keep = SL_BODY_KEEP_OUTPUTS,
	.chained = true,
	.check = loop_check,
	.cancel = loop_cancel,
};
