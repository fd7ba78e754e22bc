/* base/own.c: cleanups and test points. */
#include "base/own.h"

#include <json-c/json.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

#if SL_DEBUG
/* The variable is read once; the count is over all threads, so "3rd time" means the third in the process. */
static struct {
	char name[64];
	char action[16];
	unsigned nth;
	_Atomic unsigned hits;
	_Atomic int ready; /* 0 unread, 1 nothing set, 2 armed */
} point;

static int point_read(void)
{
	const char *spec = getenv("SLUICE_FAILPOINT");
	char nth[16] = "1";
	int state = 1;
	if (spec && sscanf(spec, "%63[^:]:%15[0-9]:%15s", point.name, nth, point.action) == 3) {
		point.nth = (unsigned)strtoul(nth, NULL, 10);
		state = 2;
	}
	atomic_store(&point.ready, state);
	return state;
}

bool sl_point_hit(const char *name)
{
	int state = atomic_load_explicit(&point.ready, memory_order_acquire);
	if (state == 0)
		state = point_read();
	if (state == 1 || strcmp(name, point.name) != 0)
		return false;
	if (atomic_fetch_add(&point.hits, 1) + 1 != point.nth)
		return false;
	if (strcmp(point.action, "abort") == 0)
		abort();
	if (strcmp(point.action, "exit") == 0)
		_exit(137);
	if (strcmp(point.action, "delay") == 0) {
		nanosleep(&(struct timespec){.tv_nsec = 200 * 1000 * 1000}, NULL);
		return false;
	}
	return true;
}
#endif
