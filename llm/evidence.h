/* llm/evidence.h: does a text say what a claim says? By words and figures alone, without a model.
 *
 * The rule      every figure of the claim (with its per cent sign, "4.2 million" being 4200000) must stand in one place
 *               of the source, two sentences long; of its key words (not too short, not too common; endings may
 *               differ, East Asian text by pairs of characters) as many as possible. The share of key words found is
 *               the confidence, at most 0.9; without all figures at most 0.3, and half when one of the two denies
 *               something and the other does not.
 * What it is    a way to find what was never said anywhere. It knows no synonyms and no logic: a model's judgement is
 *               better, and costs a call.
 * Thread        [any], pure. Cost: one pass over the source, at most SL_EVIDENCE_BYTES of it; no allocation.
 */
#pragma once

#include "base/str.h"

#define SL_EVIDENCE_BYTES (128u << 10)

/* 0 … 0.9. *where (may be NULL): the place that supports it best, a part of `source`; empty when there is none. */
double sl_evidence(struct sl_str claim, struct sl_str source, struct sl_str *where);
