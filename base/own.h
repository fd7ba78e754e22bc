/* base/own.h: scope-bound cleanup. SL_AUTO(sl_graph) g = sl_graph_new(); frees g at the end of the scope unless
 * SL_TAKE(g) moved it out. Always initialise such a local.
 * Thread    [any]
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/point.h"

struct json_object;

#define SL_AUTO(type) __attribute__((cleanup(type##_auto_))) struct type *
#define SL_DEFINE_AUTO(type)                                                                                           \
	static inline void type##_auto_(struct type **p_)                                                              \
	{                                                                                                              \
		type##_free(*p_);                                                                                      \
	}
#define SL_TAKE(var)                                                                                                   \
	(__extension__({                                                                                               \
		__typeof__(var) sl_taken_ = (var);                                                                     \
		(var) = NULL;                                                                                          \
		sl_taken_;                                                                                             \
	}))

void sl_auto_json_(struct json_object **p);
void sl_auto_mem_(void *p); /* p is the address of a malloc'd pointer */
#define SL_AUTO_JSON __attribute__((cleanup(sl_auto_json_))) struct json_object *
#define SL_AUTO_MEM  __attribute__((cleanup(sl_auto_mem_)))

#define SL_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define SL_COUNT_OF(a)                     (sizeof(a) / sizeof((a)[0]))

/* calloc(1, bytes) for what is made and freed with every step: glibc's calloc passes by the thread's own cache and
 * locks the heap. NULL: no memory. */
static inline void *sl_zalloc(size_t bytes)
{
	void *p = malloc(bytes);
	__asm__("" : "+r"(p)); /* else gcc sees the pair, and makes a calloc of it */
	return p ? memset(p, 0, bytes) : NULL;
}

/* Size sums that cannot wrap. false on overflow, *out is then untouched. */
static inline bool sl_add_size(size_t a, size_t b, size_t *out)
{
	size_t sum;
	if (__builtin_add_overflow(a, b, &sum))
		return false;
	*out = sum;
	return true;
}
static inline bool sl_mul_size(size_t a, size_t b, size_t *out)
{
	size_t product;
	if (__builtin_mul_overflow(a, b, &product))
		return false;
	*out = product;
	return true;
}
