/* base/bytes.c: see bytes.h. */
#include "base/bytes.h"

#include <stdlib.h>

struct sl_bytes *sl_bytes_alloc(size_t len)
{
	size_t all;
	if (!sl_add_size(len, sizeof(struct sl_bytes) + 1, &all))
		return NULL;
	struct sl_bytes *b = malloc(all);
	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->len = len;
	b->data[len] = 0;
	return b;
}

struct sl_bytes *sl_bytes_new(const void *p, size_t len)
{
	struct sl_bytes *b = sl_bytes_alloc(len);
	if (b && len)
		memcpy(b->data, p, len);
	return b;
}

struct sl_bytes *sl_bytes_ref(struct sl_bytes *b)
{
	if (b)
		atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void sl_bytes_unref(struct sl_bytes *b)
{
	/* acq_rel rather than release and a fence: ThreadSanitizer does not understand the fence */
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		free(b);
}
