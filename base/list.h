/* base/list.h: an intrusive doubly linked list. A node is embedded in what it links; a head is a node by itself.
 * Thread    whoever owns the list. Cost O(1).
 */
#pragma once

#include <stdbool.h>

#include "base/own.h"

struct sl_list {
	struct sl_list *next, *prev;
};

static inline void sl_list_init(struct sl_list *l)
{
	l->next = l->prev = l;
}
static inline bool sl_list_empty(const struct sl_list *l)
{
	return l->next == l;
}
static inline void sl_list_append(struct sl_list *head, struct sl_list *l)
{
	l->prev = head->prev;
	l->next = head;
	head->prev->next = l;
	head->prev = l;
}
/* Leaves l initialised, so that dropping twice is harmless. */
static inline void sl_list_drop(struct sl_list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	sl_list_init(l);
}
#define sl_list_entry(ptr, type, member) SL_CONTAINER_OF(ptr, type, member)
#define sl_list_each(it, head)           for (struct sl_list *it = (head)->next; it != (head); it = it->next)
/* `it` itself may be dropped in the body; no other member. */
#define sl_list_each_safe(it, tmp, head)                                                                               \
	for (struct sl_list *it = (head)->next, *tmp = it->next; it != (head); it = tmp, tmp = it->next)
