/* base/arena.c: see arena.h. */
#include "base/arena.h"

#include <stdlib.h>

struct sl_arena_block {
	struct sl_arena_block *next;
	size_t used, size;
	_Alignas(max_align_t) char data[];
};

void sl_arena_init(struct sl_arena *a, size_t max_bytes)
{
	*a = (struct sl_arena){.max_bytes = max_bytes};
}

void sl_arena_fini(struct sl_arena *a)
{
	while (a->blocks) {
		struct sl_arena_block *next = a->blocks->next;
		free(a->blocks);
		a->blocks = next;
	}
	a->used_bytes = 0;
}

void *sl_arena_alloc(struct sl_arena *a, size_t bytes)
{
	size_t total;
	if (bytes == 0)
		bytes = 1;
	if (!sl_add_size(bytes, _Alignof(max_align_t) - 1, &bytes))
		return NULL;
	bytes &= ~(_Alignof(max_align_t) - 1);
	if (!sl_add_size(a->used_bytes, bytes, &total) || total > a->max_bytes)
		return NULL;
	struct sl_arena_block *b = a->blocks;
	if (!b || b->size - b->used < bytes) {
		size_t size = bytes > 4000 ? bytes : 4000;
		b = calloc(1, sizeof(*b) + size);
		if (!b)
			return NULL;
		b->size = size;
		b->next = a->blocks;
		a->blocks = b;
	}
	void *p = b->data + b->used;
	b->used += bytes;
	a->used_bytes = total;
	return p;
}

void *sl_arena_array(struct sl_arena *a, size_t n, size_t each)
{
	size_t bytes;
	return sl_mul_size(n, each, &bytes) ? sl_arena_alloc(a, bytes) : NULL;
}

char *sl_arena_str(struct sl_arena *a, struct sl_str s)
{
	char *p = sl_arena_alloc(a, s.len + 1);
	if (p && s.len)
		memcpy(p, s.p, s.len);
	return p;
}
