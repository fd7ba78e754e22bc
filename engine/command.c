/* engine/command.c: what people and programs ask of a run, once its turn has come. */
#include <stdlib.h>

#include "engine/run_priv.h"

/* A lock is opened by a reason somebody stands by, or by the three checks. */
static enum sl_code unlock_payload(struct json_object *payload, struct json_object **data, struct sl_error *err)
{
	struct sl_str why = sl_str_trim(sl_json_get_str(payload, "justification"));
	struct json_object *checks = sl_json_get(payload, "confirmations");
	bool all = checks && json_object_is_type(checks, json_type_array) && json_object_array_length(checks) == 3;
	for (size_t i = 0; all && i < 3; i++)
		all = json_object_get_boolean(json_object_array_get_idx(checks, i));
	if (!why.len && !all)
		return sl_fail(err, SL_INVALID,
			       "an unlock needs a justification, or all three confirmations: [true, true, true]");
	*data = json_object_new_object();
	if (!*data)
		return sl_fail(err, SL_NO_MEMORY, "unlock");
	if (why.len)
		sl_json_set_str(*data, "justification", why);
	if (all)
		sl_json_set(*data, "confirmations", json_object_get(checks));
	return SL_OK;
}

/* Whoever comes second is told who was first. False: nobody has decided there. */
static bool who_decided(const struct sl_node_state *n, const char *path, struct sl_error *err)
{
	const char *action = n ? sl_json_get_z(n->output, "action") : NULL,
		   *who = n ? sl_json_get_z(n->output, "reviewer") : NULL;
	if (action && who)
		SL_IGNORE(sl_fail(err, SL_CONFLICT, "'%s' has been decided: %s, by %s", path, action, who)); /* text */
	return action && who;
}

void sl_command_refused(struct sl_run_state *s, const struct sl_order_copy *order, struct sl_error *err)
{
	struct sl_scope *sc;
	uint32_t i;
	if (order->kind == SL_CMD_REVIEW && order->node)
		(void)who_decided(sl_state_find(s, sl_str(order->node), &sc, &i), order->node, err);
}

static enum sl_code review(struct sl_run *r, const struct sl_order_copy *order, struct sl_error *err)
{
	struct sl_scope *sc;
	uint32_t i;
	const char *path = order->node ? order->node : "";
	struct sl_node_state *n = sl_state_find(&r->state, sl_str(path), &sc, &i);
	const struct sl_delivery d = {SL_DELIVER_REVIEW, order->by ? order->by : "", order->payload, 0};
	if (!n)
		return sl_fail(err, SL_NOT_FOUND, "the run has no node '%s'", path);
	enum sl_code rc = sc->rt[i].exec ? sl_exec_deliver(sc->rt[i].exec, &d, err) : SL_NOT_FOUND;
	if (rc == SL_OK)
		SL_CRASH_POINT_OF("order.review", path);
	if (rc != SL_NOT_FOUND)
		return rc;
	if (who_decided(n, path, err))
		return SL_CONFLICT;
	return sl_fail(err, SL_CONFLICT, "'%s' is %s and waits for no review", path, sl_node_states[n->status].wire);
}

/* To the node that has waited for it longest; the others go on waiting. Nobody: it is kept for who asks later. */
static void hand_out(struct sl_run *r, const struct sl_delivery *d, struct sl_error *err)
{
	for (uint64_t after = 0;;) {
		struct sl_exec *next = NULL;
		uint64_t since = UINT64_MAX;
		for (uint32_t k = 0; k < r->state.n_scopes; k++) {
			struct sl_scope *sc = r->state.scopes[k];
			for (uint32_t i = 0; sc->n_active && i < sc->graph->n_nodes; i++) {
				const struct sl_node_state *n = &sc->nodes[i];
				if (n->status != SL_NODE_WAITING || !sc->rt[i].exec || n->waiting_since <= after ||
				    n->waiting_since >= since)
					continue;
				next = sc->rt[i].exec;
				since = n->waiting_since;
			}
		}
		if (!next || sl_exec_deliver(next, d, err) == SL_OK)
			return;
		after = since;
	}
}

/* Into the journal first; then to who waits for it. */
static enum sl_code come_in(struct sl_run *r, const struct sl_order_copy *order, struct sl_event *e,
			    struct sl_error *err)
{
	struct sl_str name = sl_json_get_str(order->payload, "signal");
	struct sl_str text = sl_str_trim(sl_json_get_str(order->payload, "text"));
	bool is_signal = order->kind == SL_CMD_SIGNAL;
	if (is_signal && !(name.len && name.len <= 128))
		return sl_fail(err, SL_INVALID, "`signal` is a name of at most 128 bytes");
	if (!is_signal && !(text.len && text.len <= SL_LIMIT_WS_MESSAGE_BYTES))
		return sl_fail(err, SL_INVALID, "`text` is what you want to say, at most %u bytes",
			       SL_LIMIT_WS_MESSAGE_BYTES);
	e->data = json_object_new_object();
	if (!e->data)
		return sl_fail(err, SL_NO_MEMORY, "no memory");
	if (is_signal) {
		sl_json_set_str(e->data, "signal", name);
		sl_json_set(e->data, "payload", json_object_get(sl_json_get(order->payload, "payload")));
	} else {
		sl_json_set_str(e->data, "text", text);
	}
	e->by = sl_z(order->by);
	bool told = sl_run_emit(r, e);
	if (is_signal)
		SL_CRASH_POINT("order.signal");
	else
		SL_CRASH_POINT("order.input");
	if (!told || !is_signal)
		return SL_OK; /* a cap may have ended the run; the caller sees the state */
	uint64_t seq = r->state.last_seq;
	struct json_object *all = r->state.signals;
	SL_AUTO_JSON it = json_object_get(json_object_array_get_idx(all, json_object_array_length(all) - 1));
	const struct sl_delivery d = {SL_DELIVER_SIGNAL, order->by ? order->by : "", it, seq};
	hand_out(r, &d, err);
	return SL_OK;
}

/* Where a crash sweep ends the process between a decision and its commit. */
static void die_decided(enum sl_command_kind kind)
{
	if (kind == SL_CMD_CANCEL)
		SL_CRASH_POINT("order.cancel");
	else if (kind == SL_CMD_RESUME)
		SL_CRASH_POINT("order.resume");
	else if (kind == SL_CMD_UNLOCK)
		SL_CRASH_POINT("order.unlock");
	else
		SL_CRASH_POINT("order.pause");
}

enum sl_code sl_run_command(struct sl_run *r, const struct sl_order_copy *order, struct sl_error *err)
{
	struct sl_event e;
	bool nothing;
	if (order->kind == SL_CMD_RESUME && sl_from_parent(order->by, order->reason))
		sl_run_start_at_once(r); /* a child that a person has retried, and now its parent, too */
	enum sl_code rc = sl_decide(&r->state, order->kind, &e, &nothing, err);
	if (rc == SL_CONFLICT)
		sl_command_refused(&r->state, order, err);
	if (rc != SL_OK || nothing)
		return rc;
	/* Parents pass on that they go on, and after a restart say it in any case. Nothing of that undoes a pause of
	 * all. */
	if (order->kind == SL_CMD_RESUME && sl_from_parent(order->by, order->reason) &&
	    (!sl_state_is_parents_to_resume(&r->state) || (!r->state.with_parent && atomic_load(&r->engine->paused))))
		return SL_OK;
	if (order->kind == SL_CMD_REVIEW)
		return review(r, order, err);
	if (order->kind == SL_CMD_SIGNAL || order->kind == SL_CMD_INPUT)
		return come_in(r, order, &e, err);
	if (order->kind == SL_CMD_UNLOCK && (rc = unlock_payload(order->payload, &e.data, err)) != SL_OK)
		return rc;
	e.by = sl_z(order->by);
	e.reason = sl_z(order->reason && *order->reason ? order->reason : NULL);
	bool cancels = order->kind == SL_CMD_CANCEL, cuts = cancels || order->kind == SL_CMD_PAUSE_NOW;
	/* It is paused already, and stays so by whom and why it was: what its nodes become is all there is to write. */
	bool further = order->kind == SL_CMD_PAUSE_NOW && r->state.status == SL_RUN_PAUSED;
	bool off = cuts && sl_run_off_begin(r, cancels ? SL_OFF_CANCELLED : SL_OFF_PAUSED, order->at_us);
	if (order->kind == SL_CMD_CANCEL)
		sl_run_cancel_all(r, "the run was cancelled");
	if (order->kind == SL_CMD_PAUSE_NOW)
		sl_run_call_off(r, "called off by a pause, will be repeated");
	if (further)
		sl_event_fini(&e);
	else
		(void)sl_run_emit(r, &e); /* a cap may end the run instead; the caller sees the state */
	die_decided(order->kind);
	if (order->kind != SL_CMD_CANCEL)
		sl_run_order_children(r, order->kind == SL_CMD_UNLOCK ? SL_CMD_RESUME : order->kind);
	sl_run_off_end(r, off);
	if (order->kind == SL_CMD_RESUME || order->kind == SL_CMD_UNLOCK)
		sl_run_arm_deadline(r);
	if (!cancels && sl_from_parent(order->by, order->reason))
		SL_IGNORE(sl_child_confirm(r)); /* elsewhere: the order is believed */
	return SL_OK;
}
