/* memory/digest.h: groups texts that say nearly the same: the raw outputs of many runs become a few insights.
 * Thread    [any], pure; costs about a millisecond for a hundred texts, so never on a loop.
 */
#pragma once

#include "base/own.h"
#include "base/str.h"

#define SL_DIGEST_KIN 0.5 /* similarity from which on two texts are one insight */

struct sl_digest_text {
	struct sl_str text;
	uint64_t print; /* sl_trigrams_print() */
	double confidence;
	/* filled in: */
	uint32_t group; /* number of its group, 0 is the first */
};

struct sl_digest_group {
	uint32_t best;     /* index of the text that stands for it: the most confident, of equal ones the earliest */
	uint32_t n;        /* texts */
	double confidence; /* mean */
};

/* Groups come out with the most frequent first, then the most confident. *groups is the caller's (free). */
SL_MUST_USE enum sl_code sl_digest(struct sl_digest_text *texts, size_t n, struct sl_digest_group **groups,
				   size_t *n_groups);
