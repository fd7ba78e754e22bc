/* api/orders.h: what may be asked of a run, over REST and over WebSocket alike: one row for each, with the least role.
 *
 * Owns      the checks of a body's shape. What the state of the run allows is decided by the engine.
 * Thread    [any]; the table is [const].
 */
#pragma once

#include "api/router.h"
#include "base/json.h"
#include "engine/engine.h"

/* A body that was understood, as an order to the engine; lends from the body and from `payload`. */
struct sl_order_text {
	struct sl_order order;
	struct sl_buf payload;
	/* What the line of the audit trail says of it, as JSON; empty: nothing. Reason, mode, decision, names; never
	 * what a signal carries, a person wrote into a draft or said to the run: that is in the journal of the run. */
	struct sl_buf detail;
};

struct sl_order_row {
	const char *rest; /* the last part of the path: POST /runs/{id}/unlock */
	const char *ws;   /* the command of a WebSocket */
	enum sl_command_kind kind;
	enum sl_role role;
	const char *audit; /* the line of the audit trail when it was done */
	/* Fills the order, and the detail between the braces; problems as members of an errors array. NULL in `body`:
	 * never. */
	void (*read)(struct json_object *body, struct sl_order_text *out, struct sl_buf *errors);
	const char
		*fields[5]; /* what a body may have, NULL-terminated; any other member is a problem: it is misspelt */
};
extern const struct sl_order_row sl_order_rows[];
extern const size_t sl_n_order_rows;

const struct sl_order_row *sl_order_find_rest(struct sl_str name); /* NULL: there is none */
const struct sl_order_row *sl_order_find_ws(const char *name);     /* NULL: there is none */

/* `around`, NULL-terminated or NULL: further members that the body may have, and that are no affair of the order.
 * SL_INVALID: `errors` gets the members of an errors array, err the first message. The caller ends with
 * sl_order_text_fini() in any case. */
SL_MUST_USE enum sl_code sl_order_read(const struct sl_order_row *row, struct json_object *body,
				       const char *const *around, struct sl_str by, struct sl_order_text *out,
				       struct sl_buf *errors, struct sl_error *err);
void sl_order_text_fini(struct sl_order_text *t);
