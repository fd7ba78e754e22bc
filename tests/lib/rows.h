/* tests/lib/rows.h: the cases of one kind, which are rows of a file in tests/unit/data. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/lib/test.h"

/* data/<name>.json as *out, the caller's; 0, or -1 and a word why. For the setup of a group. */
static inline int rows_read(const char *name, struct json_object **out)
{
	static char text[1 << 20];
	char path[4096];
	struct sl_error err = {0};
	const char *root = getenv("SLUICE_ROOT");
	snprintf(path, sizeof(path), "%s/tests/unit/data/%s.json", root ? root : ".", name);
	FILE *f = fopen(path, "rb");
	if (!f) {
		print_error("%s cannot be read\n", path);
		return -1;
	}
	size_t n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (n < sizeof(text) && sl_json_parse(sl_str_n(text, n), out, &err) == SL_OK)
		return 0;
	print_error("%s: %s\n", path, n < sizeof(text) ? err.text : "too large");
	return -1;
}
