/* engine/library.c: what a stored workflow looks like, for a node that offers some as tools. It is asked for through
 * the library port, and comes back through the run's mailbox. */
#include <stdlib.h>
#include <string.h>

#include "engine/exec_priv.h"

struct look_up {
	struct sl_remote *remote;
	sl_definition_fn *fn;
	enum sl_code rc;
	struct sl_bytes *definition;
	char name[];
};

static void look_up_free(void *arg)
{
	struct look_up *l = arg;
	sl_remote_unref(l->remote);
	sl_bytes_unref(l->definition);
	free(l);
}

/* [run] */
static void looked_up(struct sl_node *n, void *arg)
{
	struct look_up *l = arg;
	if (--n->look_ups == 0)
		sl_node_busy(n, false);
	l->fn(n, l->name, l->rc, l->definition);
	look_up_free(l);
}

/* [any] */
static void on_looked_up(void *arg, enum sl_code rc, struct sl_bytes *definition, int32_t version)
{
	struct look_up *l = arg;
	struct sl_remote *remote = sl_remote_ref(l->remote);
	l->rc = rc;
	l->definition = rc == SL_OK ? sl_bytes_ref(definition) : NULL;
	if (sl_remote_call(remote, looked_up, look_up_free, l) != SL_OK)
		look_up_free(l); /* no memory to say that there is none: the node's timeout, or the run's, ends it */
	sl_remote_unref(remote);
}

enum sl_code sl_node_look_up(struct sl_node *n, struct sl_str workflow, sl_definition_fn *fn, struct sl_error *err)
{
	const struct sl_library *library = &n->x->run->engine->config.library;
	if (!library->find)
		return sl_fail(err, SL_UNAVAILABLE, "there are no stored workflows here");
	struct look_up *l = calloc(1, sizeof(*l) + workflow.len + 1);
	if (!l || !(l->remote = sl_node_remote(n))) {
		free(l);
		return sl_fail(err, SL_NO_MEMORY, "no memory to look a workflow up");
	}
	l->fn = fn;
	memcpy(l->name, workflow.p, workflow.len);
	enum sl_code rc = library->find(library->ctx, workflow, 0, on_looked_up, l);
	if (rc != SL_OK) {
		look_up_free(l);
		return sl_fail(err, rc, "the workflow could not be asked for");
	}
	n->look_ups++;
	sl_node_busy(n, true);
	return SL_OK;
}
