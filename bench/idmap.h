/* bench/idmap.h: run ids to small numbers, for the load clients: they see every event of every run.
 *
 * Cost      O(1) a call; a fixed table, so the clients never pause to grow one.
 * Not for   more than IDMAP_ROOM / 2 runs at a time.
 */
#pragma once

#include <string.h>

#include "bench/lib.h"

#define ID_BYTES   36
#define IDMAP_ROOM 65536u

struct idmap {
	struct {
		char id[ID_BYTES];
		int value;
		bool used;
	} entry[IDMAP_ROOM];
	unsigned n;
};

/* A UUIDv7 begins with the time; what is random comes later. */
static inline unsigned idmap_home(const char *id)
{
	unsigned h = 2166136261u;
	for (int i = 14; i < ID_BYTES; i++)
		h = (h ^ (unsigned char)id[i]) * 16777619u;
	return h % IDMAP_ROOM;
}

static inline unsigned idmap_at(const struct idmap *m, const char *id)
{
	unsigned at = idmap_home(id);
	while (m->entry[at].used && memcmp(m->entry[at].id, id, ID_BYTES) != 0)
		at = (at + 1) % IDMAP_ROOM;
	return at;
}

static inline bool idmap_get(const struct idmap *m, const char *id, int *value)
{
	unsigned at = idmap_at(m, id);
	if (m->entry[at].used)
		*value = m->entry[at].value;
	return m->entry[at].used;
}

static inline void idmap_put(struct idmap *m, const char *id, int value)
{
	unsigned at = idmap_at(m, id);
	if (!m->entry[at].used && ++m->n > IDMAP_ROOM / 2)
		bench_die("too many runs at a time");
	memcpy(m->entry[at].id, id, ID_BYTES);
	m->entry[at].value = value;
	m->entry[at].used = true;
}

static inline bool idmap_take(struct idmap *m, const char *id, int *value)
{
	unsigned hole = idmap_at(m, id), at = hole;
	if (!m->entry[hole].used)
		return false;
	*value = m->entry[hole].value;
	for (;;) {
		at = (at + 1) % IDMAP_ROOM;
		if (!m->entry[at].used)
			break;
		if ((at - idmap_home(m->entry[at].id)) % IDMAP_ROOM >=
		    (at - hole) % IDMAP_ROOM) { /* it may move up to the hole */
			m->entry[hole] = m->entry[at];
			hole = at;
		}
	}
	m->entry[hole].used = false;
	m->n--;
	return true;
}
