/* nodes/awaited.c: see awaited.h. */
#include "nodes/awaited.h"

#include <stdlib.h>

struct sl_awaited *sl_awaited_new(struct sl_node *n, void (*then)(struct sl_node *n, struct sl_awaited *a))
{
	struct sl_awaited *a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->then = then;
	a->remote = sl_node_remote(n);
	if (!a->remote) {
		free(a);
		return NULL;
	}
	return a;
}

void sl_awaited_free(void *awaited)
{
	struct sl_awaited *a = awaited;
	if (!a)
		return;
	sl_remote_unref(a->remote);
	sl_bytes_unref(a->json);
	free(a->query);
	free(a);
}

static void arrived(struct sl_node *n, void *awaited)
{
	struct sl_awaited *a = awaited;
	a->then(n, a);
	sl_awaited_free(a);
}

void sl_awaited_come(void *awaited, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json)
{
	struct sl_awaited *a = awaited;
	struct sl_remote *remote = SL_TAKE(a->remote);
	a->rc = rc;
	a->err = *err;
	a->json = rc == SL_OK ? sl_bytes_ref(json) : NULL;
	if (sl_remote_call(remote, arrived, sl_awaited_free, a) != SL_OK)
		sl_awaited_free(a); /* no memory to say that there is none: the node's timeout, or the run's, ends it */
	sl_remote_unref(remote);
}
