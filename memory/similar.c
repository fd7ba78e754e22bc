/* memory/similar.c: see similar.h. */
#include "memory/similar.h"

#include <stdlib.h>

#include "memory/words.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static int order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

enum sl_code sl_trigrams_of(struct sl_str text, struct sl_trigrams *out)
{
	struct sl_word w;
	size_t cap = text.len * 2 + 4, n = 0; /* a word of k characters has k + 1, and at least one byte between */
	uint32_t *items = malloc(cap * sizeof(*items));
	*out = (struct sl_trigrams){0};
	if (!items)
		return SL_NO_MEMORY;
	while (sl_words_next(&text, &w)) {
		uint32_t a = ' ', b = ' ';
		for (size_t i = 0; i <= w.n; i++) {
			uint32_t c = i < w.n ? w.points[i] : ' ';
			SL_BUG_ON(n == cap);
			items[n++] = (uint32_t)mix((uint64_t)a << 42 ^ (uint64_t)b << 21 ^ c);
			a = b;
			b = c;
		}
	}
	qsort(items, n, sizeof(*items), order);
	for (size_t i = 0; i < n; i++)
		if (out->n == 0 || items[out->n - 1] != items[i])
			items[out->n++] = items[i];
	out->items = items;
	return SL_OK;
}

void sl_trigrams_fini(struct sl_trigrams *t)
{
	free(t->items);
	*t = (struct sl_trigrams){0};
}

static size_t shared(const struct sl_trigrams *a, const struct sl_trigrams *b)
{
	size_t i = 0, k = 0, n = 0;
	while (i < a->n && k < b->n) {
		uint32_t x = a->items[i], y = b->items[k];
		n += x == y;
		i += x <= y;
		k += y <= x;
	}
	return n;
}

double sl_trigrams_similarity(const struct sl_trigrams *a, const struct sl_trigrams *b)
{
	size_t both = shared(a, b), all = a->n + b->n - both;
	return all ? (double)both / (double)all : 1;
}

double sl_trigrams_within(const struct sl_trigrams *part, const struct sl_trigrams *whole)
{
	return part->n ? (double)shared(part, whole) / (double)part->n : 0;
}

uint64_t sl_trigrams_print(const struct sl_trigrams *t)
{
	int32_t sums[64] = {0};
	uint64_t out = 0;
	for (size_t i = 0; i < t->n; i++) {
		uint64_t h = mix(t->items[i] + 0x9e3779b97f4a7c15u);
		for (unsigned bit = 0; bit < 64; bit++)
			sums[bit] += (h >> bit & 1) ? 1 : -1;
	}
	for (unsigned bit = 0; bit < 64; bit++)
		out |= (uint64_t)(sums[bit] > 0) << bit;
	return out;
}
