/* base/own.c: cleanups. */
#include "base/own.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

void sl_auto_json_(struct json_object **p)
{
	if (*p)
		json_object_put(*p);
}

void sl_auto_mem_(void *p)
{
	void *mem;
	memcpy(&mem, p, sizeof(mem));
	free(mem);
}
