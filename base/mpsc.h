/* base/mpsc.h: many producers, one consumer; intrusive, first in first out per producer.
 *
 * Owns      nothing: links are embedded in what is queued.
 * Thread    push [any], take [one consumer].
 * Cost      a push is one atomic exchange; take grabs everything at once (Treiber stack, reversed by the consumer).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct sl_link {
	struct sl_link *next;
};
struct sl_mpsc {
	_Atomic(struct sl_link *) head;
};

static inline void sl_mpsc_init(struct sl_mpsc *q)
{
	atomic_init(&q->head, NULL);
}
/* True when the queue was empty: the producer who sees it wakes the consumer. */
static inline bool sl_mpsc_push(struct sl_mpsc *q, struct sl_link *l)
{
	struct sl_link *old = atomic_load_explicit(&q->head, memory_order_relaxed);
	do {
		l->next = old;
	} while (!atomic_compare_exchange_weak_explicit(&q->head, &old, l, memory_order_acq_rel, memory_order_relaxed));
	return old == NULL;
}
/* Everything queued so far, oldest first; NULL: nothing. */
static inline struct sl_link *sl_mpsc_take(struct sl_mpsc *q)
{
	struct sl_link *l = atomic_exchange_explicit(&q->head, NULL, memory_order_acq_rel), *out = NULL;
	while (l) {
		struct sl_link *next = l->next;
		l->next = out;
		out = l;
		l = next;
	}
	return out;
}
static inline bool sl_mpsc_empty(struct sl_mpsc *q)
{
	return atomic_load_explicit(&q->head, memory_order_acquire) == NULL;
}
