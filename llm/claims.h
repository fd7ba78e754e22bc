/* llm/claims.h: sentences of a text that state what somebody ought to check: figures, money, years, "according to a
 * report", citations. Found by rules, so the same text always gives the same claims, and nothing is asked of a model.
 *
 * What counts   a sentence of prose with at least one mark. Questions and fenced code are left out. A mark says that
 *               something can be checked, not that it is wrong.
 * Thread        [any], pure. Cost: one pass, no allocation, at most SL_CLAIMS claims of SL_CLAIM_BYTES each.
 */
#pragma once

#include "base/str.h"

struct json_object;

#define SL_CLAIMS            100          /* of one text; the rest is not looked at */
#define SL_CLAIM_BYTES       1000         /* of one claim; a longer sentence is cut at a character */
#define SL_CLAIMS_TEXT_BYTES (256u << 10) /* of a text; what comes after is not looked at */

/* The strongest mark gives the kind; this is their order. */
enum sl_claim_kind {
	SL_CLAIM_MONEY,       /* "$4.2 million", "300 euros", 500元 */
	SL_CLAIM_PERCENTAGE,  /* "37 %", "12 percent", 百分之八 */
	SL_CLAIM_CITATION,    /* "[12]", "(Smith et al., 2021)", a DOI, a link */
	SL_CLAIM_ATTRIBUTION, /* "according to a report", "studies show", 据报道 */
	SL_CLAIM_YEAR,        /* "in 1998", 2020年 */
	SL_CLAIM_STATEMENT,   /* what a model took for a claim; never found by rules */
	SL_CLAIM_KINDS,
};
const char *sl_claim_kind_name(enum sl_claim_kind kind);               /* "money", … */
bool sl_claim_kind_parse(struct sl_str name, enum sl_claim_kind *out); /* false: no such kind */

struct sl_claim {
	enum sl_claim_kind kind;
	struct sl_str text; /* the sentence; a part of what was given */
	struct sl_str mark; /* the words that made it one; a part of `text` unless that was cut */
};

/* In the order of the text. Returns how many, at most `most`. */
size_t sl_claims_find(struct sl_str text, struct sl_claim *out, size_t most);

/* [{ "text", "kind", "mark", "at" }], at: the byte of `text` where the sentence begins. The caller's; NULL: no memory.
 */
struct json_object *sl_claims_json(struct sl_str text);
