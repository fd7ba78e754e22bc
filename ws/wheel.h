/* ws/wheel.h: a timer wheel of 1,024 milliseconds: what is due within a second, O(1) to put in and take out.
 *
 * Owns      nothing: dues are embedded. Thread [front].
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/list.h"

#define WHEEL_SLOTS 1024

struct due {
	struct sl_list link;
	uint64_t at_ms;
	bool set;
	bool is_conn; /* a connection's, else a topic's */
};
struct wheel {
	struct sl_list slots[WHEEL_SLOTS];
	uint64_t used[WHEEL_SLOTS / 64]; /* may claim more than there is: a slot emptied by wheel_drop() */
	uint64_t turned_ms;              /* everything due up to here was handed out */
	uint32_t n;
};

static inline void wheel_init(struct wheel *w, uint64_t now_ms)
{
	for (unsigned i = 0; i < WHEEL_SLOTS; i++)
		sl_list_init(&w->slots[i]);
	memset(w->used, 0, sizeof(w->used));
	w->turned_ms = now_ms;
	w->n = 0;
}
static inline void due_init(struct due *d, bool is_conn)
{
	*d = (struct due){.is_conn = is_conn};
	sl_list_init(&d->link);
}
static inline void wheel_drop(struct wheel *w, struct due *d)
{
	if (!d->set)
		return;
	d->set = false;
	sl_list_drop(&d->link);
	w->n--;
}
/* at_ms is at most 1,000 ms from now; what is past is due in the next turn of the wheel. */
static inline void wheel_put(struct wheel *w, struct due *d, uint64_t at_ms)
{
	wheel_drop(w, d);
	if (at_ms <= w->turned_ms)
		at_ms = w->turned_ms + 1;
	if (at_ms > w->turned_ms + WHEEL_SLOTS - 1)
		at_ms = w->turned_ms + WHEEL_SLOTS - 1;
	unsigned slot = at_ms % WHEEL_SLOTS;
	d->at_ms = at_ms;
	d->set = true;
	sl_list_append(&w->slots[slot], &d->link);
	w->used[slot / 64] |= 1ull << (slot % 64);
	w->n++;
}
/* Moves what is due at now_ms to the end of `out`. The dues stay `set`: drop them as they are served. */
static inline void wheel_turn(struct wheel *w, uint64_t now_ms, struct sl_list *out)
{
	uint64_t steps = now_ms > w->turned_ms ? now_ms - w->turned_ms : 0;
	if (steps > WHEEL_SLOTS)
		steps = WHEEL_SLOTS;
	if (w->n)
		for (uint64_t t = now_ms - steps + 1; steps; steps--, t++) {
			unsigned slot = t % WHEEL_SLOTS;
			uint64_t bit = 1ull << (slot % 64);
			if (!(w->used[slot / 64] & bit))
				continue;
			w->used[slot / 64] &= ~bit;
			sl_list_each_safe (it, next, &w->slots[slot]) {
				sl_list_drop(it);
				sl_list_append(out, it);
			}
		}
	if (now_ms > w->turned_ms)
		w->turned_ms = now_ms;
}
/* When to come again; UINT64_MAX: nothing is due. */
static inline uint64_t wheel_next(const struct wheel *w)
{
	if (!w->n)
		return UINT64_MAX;
	for (unsigned i = 1; i <= WHEEL_SLOTS; i++) {
		unsigned slot = (unsigned)((w->turned_ms + i) % WHEEL_SLOTS);
		if (slot % 64 == 0 && !w->used[slot / 64]) {
			i += 63;
			continue;
		}
		if ((w->used[slot / 64] & 1ull << (slot % 64)) && !sl_list_empty(&w->slots[slot]))
			return w->turned_ms + i;
	}
	return UINT64_MAX;
}
