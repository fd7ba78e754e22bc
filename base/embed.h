/* base/embed.h: files that are part of the binary (tools/embed.py). Tables end with a NULL name. [const] */
#pragma once

#include <stddef.h>

struct sl_embedded {
	const char *name; /* "0001_first.sql", "assets/index.js" */
	const char *data; /* a NUL follows */
	size_t len;
	const char *sha256; /* hex */
};

extern const struct sl_embedded sl_embedded_migrations[]; /* by name */
extern const struct sl_embedded sl_embedded_ui[];
