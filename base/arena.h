/* base/arena.h: memory that dies together (one evaluation, one request, one parsed graph).
 * Thread    whoever owns the arena. Cost O(1) an allocation; nothing is freed before sl_arena_fini().
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct sl_arena_block;
struct sl_arena {
	struct sl_arena_block *blocks;
	size_t used_bytes, max_bytes; /* the cap counts what was asked for */
};

void sl_arena_init(struct sl_arena *a, size_t max_bytes);
void sl_arena_fini(struct sl_arena *a);
void *sl_arena_alloc(struct sl_arena *a, size_t bytes); /* zeroed, aligned for anything; NULL: cap or no memory */
void *sl_arena_array(struct sl_arena *a, size_t n, size_t each); /* the same for n things, checked for overflow */
char *sl_arena_str(struct sl_arena *a, struct sl_str s);         /* a NUL-terminated copy */
