/* cmd/trouble.h: a start that failed, in words for whoever can mend it: which settings it is about, and what to write
 * instead. At a terminal they are lines, in the log they are keys of the same line as the error.
 *
 * Owns      nothing. Thread: the main thread.
 */
#pragma once

#include "base/config.h"

enum sl_start { /* of starting; the one that failed */
		SL_START_ADDRESS,
		SL_START_SECRET_KEY,
		SL_START_ADMIN_TOKEN,
		SL_START_CLUSTER, /* the embedded PostgreSQL */
		SL_START_DATABASE,
		SL_START_SIMULATOR,
		SL_START_EGRESS,
		SL_START_LISTEN,
		SL_START_OTHER,
};

/* Lends what to write instead; *settings gets the names with their values and where they come from. */
const char *sl_trouble(const struct sl_config *c, enum sl_start step, enum sl_code code, const char *between,
		       struct sl_buf *settings);
