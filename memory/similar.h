/* memory/similar.h: how much two texts say the same: sets of three-letter pieces, and a 64-bit print of them.
 *
 * Thread    [any]
 * A trigram is three characters of a word with two blanks before it and one behind, as pg_trgm has them; each stands as
 * 32 bits of hash. The print (simhash) of texts that share most trigrams differs in few bits, so it finds candidates;
 * the sets decide.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

struct sl_trigrams {
	uint32_t *items; /* sorted, each once */
	size_t n;
};

SL_MUST_USE enum sl_code sl_trigrams_of(struct sl_str text, struct sl_trigrams *out); /* SL_NO_MEMORY only */
void sl_trigrams_fini(struct sl_trigrams *t);                                         /* also of a zeroed one */

/* 0 … 1: shared ones over all; two empty sets are equal. */
double sl_trigrams_similarity(const struct sl_trigrams *a, const struct sl_trigrams *b);
/* 0 … 1: the share of `part` that is in `whole`. */
double sl_trigrams_within(const struct sl_trigrams *part, const struct sl_trigrams *whole);

uint64_t sl_trigrams_print(const struct sl_trigrams *t);
static inline unsigned sl_print_distance(uint64_t a, uint64_t b)
{
	return (unsigned)__builtin_popcountll(a ^ b);
}

/* Texts of a similarity of 0.9 and more differ in about 7 bits; of 0.6, in about 15. Beyond these we do not look. */
#define SL_PRINT_TWIN 16
#define SL_PRINT_KIN  26
