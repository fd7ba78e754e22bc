/* nodes/human_review.c: waits for a person. Exactly one decision counts: the run takes its messages one by one, the
 * first ends the node, and whoever comes later is told who was first. */
#include "base/clock.h"
#include "engine/node.h"
#include "engine/schema.h"

struct review_state { /* [run] */
	struct json_object *params;
};

static void review_let_go(struct review_state *s)
{
	json_object_put(s->params);
	s->params = NULL;
}

/* Ends the node with a decision. content: borrowed. */
static void review_decide(struct sl_node *n, struct sl_str action, struct json_object *content, struct sl_str reason,
			  struct sl_str reviewer)
{
	struct json_object *o = json_object_new_object(), *e = json_object_new_object();
	if (o && e) {
		struct json_object *const both[] = {o, e};
		for (size_t i = 0; i < 2; i++) {
			sl_json_set_str(both[i], "action", action);
			sl_json_set(both[i], "content", json_object_get(content));
			if (reason.len)
				sl_json_set_str(both[i], "reason", reason);
			sl_json_set_str(both[i], "reviewer", reviewer);
		}
		if (json_object_is_type(content, json_type_string))
			sl_json_set_str(o, "text", sl_json_str(content));
		sl_node_event(n, "human_review:resolved", e);
	} else {
		json_object_put(e);
	}
	sl_node_complete(n, o);
}

static void review_expired(struct sl_node *n) /* [run] */
{
	struct review_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err;
	if (sl_json_get_bool(s->params, "allow_skip", false)) {
		review_decide(n, SL_STR("skip"), sl_json_get(s->params, "draft"), SL_STR("nobody decided in time"),
			      SL_STR("deadline"));
	} else {
		(void)sl_fail(&err, SL_EXPIRED, "nobody decided within %.15g s",
			      sl_json_get_f64(s->params, "timeout_s", 0));
		sl_node_fail(n, &err);
	}
	review_let_go(s);
}

/* The time is up: that of the review, or the node's timeout_s, which ends the attempt. Another one asks anew. */
static void review_ended(struct sl_node *n, enum sl_code *code, struct sl_error *err, struct json_object **output)
{
	struct json_object *e = *code == SL_OK ? NULL : json_object_new_object();
	if (!e)
		return; /* decided; or an event less */
	sl_json_set_str(e, "action", SL_STR("expired"));
	sl_json_set_str(e, "reviewer", SL_STR("deadline"));
	sl_node_event(n, "human_review:resolved", e);
}

/* So long before the deadline there is a reminder; 0: none. Who gives less time than that is reminded when half of it
 * has gone. */
static uint64_t review_remind_ms(struct json_object *params)
{
	uint64_t all_ms = sl_json_ms(params, "timeout_s"), before_ms = sl_json_ms(params, "remind_before_s");
	return before_ms < all_ms ? before_ms : all_ms / 2;
}

static void review_remind(struct sl_node *n) /* [run] */
{
	struct json_object *e = json_object_new_object();
	char at[SL_TIME_TEXT_BYTES];
	int64_t left_ms = sl_node_due_ms(n) - sl_node_now_ms(n);
	if (!e)
		return; /* an event less */
	sl_time_format(sl_node_due_ms(n), at);
	sl_json_set_str(e, "deadline_at", sl_str(at));
	sl_json_set_i64(e, "in_s", left_ms > 0 ? (left_ms + 999) / 1000 : 0);
	sl_node_event(n, "human_review:reminder", e);
}

/* The request is the first event of its own that an attempt tells, the reminder the second: so a restarted server
 * knows what was told. One that comes back when all the time has gone has nothing to remind of. */
static bool review_arm(struct sl_node *n, struct json_object *params)
{
	uint64_t before_ms = review_remind_ms(params);
	return !before_ms || sl_node_attempt_events(n) > 1 || sl_node_due_ms(n) <= sl_node_now_ms(n) ||
	       sl_node_alarm(n, before_ms, review_remind);
}

static void review_request(struct sl_node *n, struct json_object *params)
{
	static const char *const shown[] = {"draft", "instructions", "fields"};
	char at[SL_TIME_TEXT_BYTES];
	struct json_object *e = sl_node_attempt_events(n) ? NULL : json_object_new_object();
	if (!e)
		return; /* requested by an earlier life of the server; or an event less, and the node still waits */
	for (size_t i = 0; i < SL_COUNT_OF(shown); i++)
		if (sl_json_get(params, shown[i]))
			sl_json_set(e, shown[i], json_object_get(sl_json_get(params, shown[i])));
	sl_json_set_bool(e, "allow_skip", sl_json_get_bool(params, "allow_skip", false));
	sl_time_format(sl_node_now_ms(n), at);
	sl_json_set_str(e, "requested_at", sl_str(at));
	if (sl_node_due_ms(n)) {
		sl_time_format(sl_node_due_ms(n), at);
		sl_json_set_str(e, "deadline_at", sl_str(at));
	} else {
		sl_json_set(e, "deadline_at", NULL);
	}
	sl_node_event(n, "human_review:requested", e);
}

static enum sl_step review_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct review_state *s = sl_node_state(n, sizeof(*s));
	uint64_t ms = sl_json_ms(params, "timeout_s");
	if (!s) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a review");
		return SL_FAILED;
	}
	s->params = json_object_get(params);
	enum sl_step step = ms ? sl_node_wait_ms(n, ms, review_expired, err) : sl_node_wait(n);
	if (step == SL_PENDING && ms && !review_arm(n, params)) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory for a timer");
		step = SL_FAILED;
	}
	if (step == SL_PENDING) {
		review_request(n, params);
		sl_node_on_end(n, review_ended);
	} else {
		review_let_go(s);
	}
	return step;
}

/* What is taken must fit the form, also a draft that is taken as it is. */
static enum sl_code review_fits(struct json_object *fields, struct json_object *taken, bool as_drafted,
				struct sl_error *err)
{
	SL_AUTO(sl_schema) schema = NULL;
	struct sl_problems problems = {0};
	enum sl_code rc = sl_schema_compile(fields, SL_STR("/fields"), &schema, &problems);
	if (rc == SL_OK && schema &&
	    !sl_schema_check(schema, taken, SL_SCHEMA_STRICT, as_drafted ? SL_STR("/draft") : SL_STR("/content"),
			     &problems))
		rc = sl_fail(err, SL_INVALID, "the %s: " SL_PROBLEM_FMT,
			     as_drafted ? "draft does not fit the form (send what does with \"modify\")"
					: "content does not fit the form",
			     SL_PROBLEM_ARG(problems));
	sl_problems_fini(&problems);
	return rc;
}

static enum sl_code review_deliver(struct sl_node *n, const struct sl_delivery *d, struct sl_error *err) /* [run] */
{
	struct review_state *s = sl_node_state(n, sizeof(*s));
	struct sl_str action = sl_json_get_str(d->payload, "action");
	struct sl_str reason = sl_str_trim(sl_json_get_str(d->payload, "reason"));
	struct json_object *content = sl_json_get(d->payload, "content"), *fields = sl_json_get(s->params, "fields");
	if (d->kind != SL_DELIVER_REVIEW)
		return SL_NOT_FOUND;
	bool modify = sl_str_is(action, "modify"), reject = sl_str_is(action, "reject"),
	     skip = sl_str_is(action, "skip");
	if (!sl_str_is(action, "approve") && !modify && !reject && !skip)
		return sl_fail(err, SL_INVALID, "`action` is \"approve\", \"modify\", \"reject\"%s",
			       sl_json_get_bool(s->params, "allow_skip", false) ? " or \"skip\"" : "");
	if (skip && !sl_json_get_bool(s->params, "allow_skip", false))
		return sl_fail(err, SL_INVALID, "this review may not be skipped: approve, modify or reject it");
	if (modify && !content)
		return sl_fail(err, SL_INVALID, "\"modify\" needs the new `content`");
	if (reject && !reason.len)
		return sl_fail(err, SL_INVALID, "\"reject\" needs a `reason`, so that it can be mended");
	if (!modify && !reject && !skip && content && !fields &&
	    !sl_json_equal(content, sl_json_get(s->params, "draft")))
		return sl_fail(err, SL_INVALID,
			       "to approve takes the draft as it is; send what it shall be with \"modify\"");
	/* approving a form may bring what was filled in; who rejects or skips says nothing of what is in it */
	bool as_drafted = !modify && (!content || !fields || reject || skip);
	if (as_drafted)
		content = sl_json_get(s->params, "draft");
	if (fields && !reject && !skip) {
		enum sl_code rc = review_fits(fields, content, as_drafted, err);
		if (rc != SL_OK)
			return rc;
	}
	review_decide(n, action, content, reason, sl_str(d->by));
	sl_node_drop_timer(n);
	review_let_go(s);
	return SL_OK;
}

static void review_cancel(struct sl_node *n) /* [run] */
{
	struct review_state *s = sl_node_state(n, sizeof(*s));
	sl_node_drop_timer(n);
	review_let_go(s);
}

const struct sl_node_type sl_node_type_human_review = {
	.name = "human_review",
	.summary = "Waits until a person approves, changes or rejects a draft.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"draft\"], \"properties\": {"
		"  \"draft\": { \"title\": \"Draft\", \"description\": \"What is to be looked at: a text, or any "
		"value.\" "
		"},"
		"  \"instructions\": { \"type\": \"string\", \"title\": \"Instructions\","
		"    \"description\": \"What the person should look for.\" },"
		"  \"timeout_s\": { \"type\": \"number\", \"minimum\": 1, \"maximum\": 31622400, \"title\": "
		"\"Deadline, "
		"s\","
		"    \"description\": \"How long there is to decide. Without it there is no deadline.\" },"
		"  \"remind_before_s\": { \"type\": \"number\", \"minimum\": 0, \"maximum\": 31622400, \"default\": "
		"300,"
		"    \"title\": \"Reminder, s before\","
		"    \"description\": \"So long before the deadline people are reminded; 0: never. With less time than "
		"that, when half of it has gone.\" },"
		"  \"allow_skip\": { \"type\": \"boolean\", \"default\": false, \"title\": \"May be skipped\","
		"    \"description\": \"A person may skip it, and a deadline that passes takes the draft as it is "
		"instead "
		"of failing.\" },"
		"  \"fields\": { \"type\": \"object\", \"x-constant\": true, \"x-schema\": true, \"title\": \"Form\","
		"    \"description\": \"A JSON Schema of the form the person fills in; what is approved or modified "
		"must fit it. Without it the draft is edited "
		"as "
		"text.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = review_start,
	.deliver = review_deliver,
	.cancel = review_cancel,
};
