/* nodes/wait_signal.c: waits for a signal by its name. Each signal is for one node: one that came before the node began
 * is taken at once, one that comes while several wait for it goes to the one that has waited longest. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/node.h"

struct signal_state { /* [run] */
	char *name;
	double timeout_s;
};

static void signal_let_go(struct signal_state *s)
{
	free(s->name);
	s->name = NULL;
}

static void signal_take(struct sl_node *n, struct json_object *signal, uint64_t seq)
{
	struct json_object *o = json_object_new_object();
	if (o) {
		sl_json_set(o, "payload", json_object_get(sl_json_get(signal, "payload")));
		sl_json_set(o, "by", json_object_get(sl_json_get(signal, "by")));
		sl_json_set(o, "at", json_object_get(sl_json_get(signal, "at")));
		sl_node_took(n, seq);
	}
	sl_node_complete(n, o);
}

static void signal_expired(struct sl_node *n) /* [run] */
{
	struct signal_state *s = sl_node_state(n, sizeof(*s));
	struct sl_error err;
	(void)sl_fail(&err, SL_TIMEOUT, "no signal '%s' came within %.15g s", s->name, s->timeout_s);
	sl_node_fail(n, &err);
	signal_let_go(s);
}

static enum sl_step signal_start(struct sl_node *n, struct json_object *params, struct sl_error *err) /* [run] */
{
	struct signal_state *s = sl_node_state(n, sizeof(*s));
	uint64_t seq, ms = sl_json_ms(params, "timeout_s");
	struct json_object *came = sl_node_signal(n, sl_json_get_z(params, "signal"), &seq);
	if (came) {
		signal_take(n, came, seq);
		return SL_DONE;
	}
	if (!s || !(s->name = sl_str_dup(sl_json_get_str(params, "signal")))) {
		(void)sl_fail(err, SL_NO_MEMORY, "no memory to wait for a signal");
		return SL_FAILED;
	}
	s->timeout_s = sl_json_get_f64(params, "timeout_s", 0);
	enum sl_step step = ms ? sl_node_wait_ms(n, ms, signal_expired, err) : sl_node_wait(n);
	if (step != SL_PENDING)
		signal_let_go(s);
	return step;
}

static enum sl_code signal_deliver(struct sl_node *n, const struct sl_delivery *d, struct sl_error *err) /* [run] */
{
	struct signal_state *s = sl_node_state(n, sizeof(*s));
	if (d->kind != SL_DELIVER_SIGNAL || !sl_str_is(sl_json_get_str(d->payload, "signal"), s->name))
		return SL_NOT_FOUND;
	signal_take(n, d->payload, d->seq);
	sl_node_drop_timer(n);
	signal_let_go(s);
	return SL_OK;
}

static void signal_cancel(struct sl_node *n) /* [run] */
{
	sl_node_drop_timer(n);
	signal_let_go(sl_node_state(n, sizeof(struct signal_state)));
}

const struct sl_node_type sl_node_type_wait_signal = {
	.name = "wait_signal",
	.summary = "Waits for a named signal from outside.",
	.params_schema =
		"{ \"type\": \"object\", \"additionalProperties\": false, \"required\": [\"signal\"], \"properties\": {"
		"  \"signal\": { \"type\": \"string\", \"minLength\": 1, \"maxLength\": 128, \"title\": \"Signal\","
		"    \"description\": \"Its name, as in POST /runs/{id}/signal.\" },"
		"  \"timeout_s\": { \"type\": \"number\", \"minimum\": 0.001, \"maximum\": 31622400, \"title\": "
		"\"Deadline, s\","
		"    \"description\": \"How long to wait; then the node fails with timeout. Without it, for as long as "
		"it "
		"takes.\" } } }",
	.effects = SL_EFFECTS_NONE,
	.start = signal_start,
	.deliver = signal_deliver,
	.cancel = signal_cancel,
};
