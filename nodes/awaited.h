/* nodes/awaited.h: an answer in JSON, from the memory or a source, on its way to the node that waits for it.
 *
 * Owns      a handle to the attempt, and the answer. What was asked frees it: after `then`, or when the attempt has
 * ended. Thread    new and `then` [run], sl_awaited_come() [any]
 */
#pragma once

#include "engine/node.h"

struct sl_awaited {
	struct sl_remote *remote;
	void (*then)(struct sl_node *n, struct sl_awaited *a);
	char *query; /* what was asked, if `then` needs it; freed with the rest */
	enum sl_code rc;
	struct sl_error err;
	struct sl_bytes *json; /* with SL_OK */
};

/* NULL: no memory. Who is not asked after all is freed by the caller. */
struct sl_awaited *sl_awaited_new(struct sl_node *n, void (*then)(struct sl_node *n, struct sl_awaited *a));
void sl_awaited_free(void *awaited); /* also of NULL */
/* What is asked calls this, once, with the sl_awaited. */
void sl_awaited_come(void *awaited, enum sl_code rc, const struct sl_error *err, struct sl_bytes *json);
