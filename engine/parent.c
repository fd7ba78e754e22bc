/* engine/parent.c: a run that another one started looks after that one, its parent.
 *
 * The node that started a child cancels it when it is called off. But the order may be lost with a crash, the node may
 * be at rest, or in another server. So each child waits for the end of its parent, and does not outlive it; and it does
 * not go on when its parent is found to stand still, or its node not to wait for it any more, as it is taken up again
 * or, while the parent is elsewhere, each time it is asked for. That it goes on again is for the parent's node to say,
 * which is at work then and looks, too (agree() in child.c): so of two that look at each other's journal, one leads.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/child_priv.h"

#define PARENT_DOUBLINGS 3 /* it asks ever less often for a parent elsewhere: at last every 16 s */

enum sl_command_kind sl_child_held_by(const struct sl_run *r)
{
	/* what it had under way was cut when it was taken up, and has only just begun again */
	return r->recoveries && !r->parent_asked ? SL_CMD_PAUSE_NOW : SL_CMD_PAUSE_DRAIN;
}

bool sl_child_is_wanted(struct sl_run_state *parent, const char *node, struct sl_run_id child)
{
	struct sl_scope *sc = NULL;
	uint32_t i;
	if (!parent->root.graph->n_nodes) /* of a definition that cannot be read nothing is known of nodes */
		return true;
	const struct sl_node_state *n = sl_state_find(parent, sl_str(node), &sc, &i);
	if (!n) /* that its body has begun may not be written yet */
		return !(sc && sc->folded);
	if (sl_node_status_final(n->status) || (n->status == SL_NODE_PENDING && sl_scope_closed(sc)))
		return false;
	return !n->child || sl_run_id_eq(n->child->now, (struct sl_run_id){0}) || sl_run_id_eq(n->child->now, child);
}

void sl_child_follows(struct sl_run *parent, struct sl_run_id child, const char *node, enum sl_command_kind hold)
{
	/* The order may have been lost with the server, and the node that gave it is at rest. */
	if (!sl_child_is_wanted(&parent->state, node, child))
		sl_child_leave(parent, child, parent->state.last_seq);
	else if (sl_run_is_held(parent))
		sl_child_order(parent->engine, child, hold, 0);
}

struct confirm {
	struct sl_msg msg;
	struct sl_run *parent;
	struct sl_run_id child;
};

static void confirm_drop(struct sl_msg *m)
{
	struct confirm *c = SL_CONTAINER_OF(m, struct confirm, msg);
	struct sl_run *parent = c->parent;
	free(c);
	sl_run_unref(parent);
}

/* [run of the parent] */
static void confirm_run(struct sl_run *r, struct sl_msg *m)
{
	const struct confirm *c = SL_CONTAINER_OF(m, struct confirm, msg);
	if (!r->lost && !sl_run_status_final(r->state.status))
		sl_child_order(r->engine, c->child, sl_run_is_held(r) ? SL_CMD_PAUSE_DRAIN : SL_CMD_RESUME, 0);
	confirm_drop(m);
}

bool sl_child_confirm(struct sl_run *r)
{
	struct sl_run_id id;
	if (!r->state.parent || !sl_uuid_parse(sl_str(r->state.parent), &id.u))
		return false;
	struct sl_run *parent = sl_engine_find(r->engine, id);
	struct confirm *c = parent ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		sl_run_unref(parent);
		return false;
	}
	*c = (struct confirm){.msg = {.run = confirm_run, .drop = confirm_drop}, .parent = parent, .child = r->id};
	sl_run_post(parent, &c->msg);
	return true;
}

struct orphan {
	struct sl_msg msg;
	struct sl_engine *engine;
	struct sl_run_id child, parent;
	bool over, held;    /* the parent; held: as its journal has it */
	struct sl_run *run; /* while the message is on its way */
};

static void watch_again(struct sl_run *r, void *arg)
{
	sl_run_watch_parent(r);
}

/* [run of the child] The parent goes on elsewhere, or did when it was looked at. */
static void parent_elsewhere(struct sl_run *r, const struct orphan *o)
{
	uint64_t wait = (uint64_t)CHILD_ASK_AGAIN_MS << r->parent_asked;
	enum sl_command_kind hold = sl_child_held_by(r);
	struct sl_run *here = sl_engine_find(r->engine, o->parent);
	r->parent_asked += r->parent_asked < PARENT_DOUBLINGS;
	if (here) { /* it has come meanwhile: what is said here counts, in the order in which it is said */
		sl_run_watch_parent(r);
	} else {
		if (o->held && sl_status_goes_on(sl_run_states[r->state.status].wire))
			sl_child_order(r->engine, r->id, hold, 0);
		/* without memory for it the child runs to its end */
		SL_IGNORE(sl_run_timer_start(&r->parent_timer, r, sl_clock_mono(r->engine->config.clock) + wait,
					     watch_again, NULL));
	}
	sl_run_unref(here);
}

/* [run of the child] It may have asked in an earlier life, and somebody else than its parent has retried it since. */
static void parent_seen(struct sl_run *r, struct sl_msg *m)
{
	struct orphan *o = SL_CONTAINER_OF(m, struct orphan, msg);
	bool matters = !r->lost && !r->state.by_itself && !sl_run_status_final(r->state.status);
	if (matters && o->over)
		sl_child_order(r->engine, r->id, SL_CMD_CANCEL, 0);
	else if (matters)
		parent_elsewhere(r, o);
	free(o);
	sl_run_unref(r);
}

static void parent_seen_drop(struct sl_msg *m)
{
	struct orphan *o = SL_CONTAINER_OF(m, struct orphan, msg);
	sl_run_unref(o->run);
	free(o);
}

/* [any] */
static void parent_ended(void *arg, enum sl_code rc, const char *status, struct sl_bytes *outputs,
			 const struct sl_figures *took, const struct sl_error *err)
{
	struct orphan *o = arg;
	struct sl_engine *e = o->engine;
	struct sl_run *r = atomic_load(&e->stopping) ? NULL : sl_engine_find(e, o->child);
	if (!r || (rc != SL_OK && rc != SL_UNAVAILABLE)) {
		sl_run_unref(r);
		free(o);
		return;
	}
	o->run = r;
	o->over = rc == SL_OK;
	o->held = sl_status_stands_still(status);
	o->msg.run = parent_seen;
	o->msg.drop = parent_seen_drop;
	sl_run_post(r, &o->msg);
}

void sl_run_watch_parent(struct sl_run *r)
{
	struct orphan *o;
	struct sl_run_id parent;
	if (!r->state.parent || r->state.by_itself || sl_run_status_final(r->state.status) ||
	    !sl_uuid_parse(sl_str(r->state.parent), &parent.u))
		return;
	o = calloc(1, sizeof(*o));
	if (!o)
		return; /* it runs to its end */
	*o = (struct orphan){.engine = r->engine, .child = r->id, .parent = parent};
	if (sl_run_await_as(r->engine, parent, r, parent_ended, o) != SL_OK)
		free(o);
}
