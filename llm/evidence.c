/* llm/evidence.c: see evidence.h. The claim becomes a short list of terms; the source is walked once, each term keeps
 * the number of the sentence in which it was seen last, so a window of two sentences costs nothing to move. */
#include "llm/evidence.h"

#include <math.h>

#include "base/own.h"
#include "base/utf8.h"

#define TERMS      96
#define WORD_LEAST 4
#define WORD_MOST  32
#define MOST_SURE  0.9
#define NO_FIGURE  0.3

enum term_kind { WORD, PAIR, FIGURE };

struct term {
	enum term_kind kind;
	char text[WORD_MOST]; /* small letters, or the bytes of two characters */
	size_t len;
	double value; /* of a figure */
	bool percent;
	uint32_t seen; /* number of the sentence, from 1; 0: not yet */
};

/* What reads terms one by one. */
struct reader {
	struct sl_str s;
	size_t at;
	size_t last_wide, last_wide_len; /* the East Asian character before, for a pair; len 0: none */
	bool sentence_ended;
	bool denies;
};

static bool letter(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xc3 && c < 0xe0);
}

static bool digit(struct sl_str s, size_t i)
{
	return i < s.len && s.p[i] >= '0' && s.p[i] <= '9';
}

static bool starts(struct sl_str s, size_t i, const char *z)
{
	size_t n = strlen(z);
	return i + n <= s.len && strncasecmp(s.p + i, z, n) == 0;
}

static bool common(const char *w, size_t n)
{
	static const char *const list[] = {
		"that",  "this",    "with",    "from",    "have",    "been",     "were",     "which",     "their",
		"there", "about",   "would",   "than",    "they",    "them",     "into",     "over",      "also",
		"more",  "most",    "some",    "such",    "only",    "other",    "when",     "will",      "what",
		"after", "before",  "between", "while",   "where",   "these",    "those",    "according", "report",
		"study", "studies", "percent", "million", "billion", "trillion", "thousand", "dollars",   "euros",
		"year",  "years",   "said",    "says"};
	for (size_t i = 0; i < SL_COUNT_OF(list); i++)
		if (strlen(list[i]) == n && memcmp(list[i], w, n) == 0)
			return true;
	return false;
}

static bool negation(const char *w, size_t n)
{
	static const char *const list[] = {"not",     "no",    "never",  "none",    "nor",    "without", "neither",
					   "cannot",  "isn't", "wasn't", "doesn't", "didn't", "don't",   "aren't",
					   "weren't", "won't", "nicht",  "kein",    "keine"};
	for (size_t i = 0; i < SL_COUNT_OF(list); i++)
		if (strlen(list[i]) == n && memcmp(list[i], w, n) == 0)
			return true;
	return false;
}

/* "1,234.5", "4.2 million", "12 %". at is on a digit. */
static void read_figure(struct reader *r, struct term *t)
{
	static const struct {
		const char *word;
		double factor;
	} scales[] = {{"thousand", 1e3}, {"million", 1e6}, {"billion", 1e9}, {"trillion", 1e12}, {"bn", 1e9},
		      {"mn", 1e6},       {"万", 1e4},      {"萬", 1e4},      {"亿", 1e8},        {"億", 1e8}};
	struct sl_str s = r->s;
	double value = 0, unit = 1;
	bool point = false;
	size_t i = r->at, group;
	for (; i < s.len; i++) {
		if (digit(s, i)) {
			value = value * 10 + (s.p[i] - '0');
			unit *= point ? 10 : 1;
			continue;
		}
		if (s.p[i] == ',' && !point) { /* only between groups of three */
			for (group = 1; digit(s, i + group); group++)
				;
			if (group == 4)
				continue;
		}
		if (s.p[i] != '.' || point || !digit(s, i + 1))
			break;
		point = true;
	}
	value /= unit;
	size_t k = i;
	while (k < s.len && k < i + 2 && s.p[k] == ' ')
		k++;
	for (size_t n = 0; n < SL_COUNT_OF(scales); n++)
		if (starts(s, k, scales[n].word)) {
			value *= scales[n].factor;
			i = k + strlen(scales[n].word);
			break;
		}
	t->percent = starts(s, k, "%") || starts(s, k, "percent") || starts(s, k, "per cent") || starts(s, k, "％");
	t->kind = FIGURE;
	t->value = value;
	t->len = 1;
	r->at = i;
}

static void read_word(struct reader *r, struct term *t)
{
	size_t n = 0;
	for (; r->at < r->s.len; r->at++) {
		unsigned char c = (unsigned char)r->s.p[r->at];
		bool rest = c >= 0x80 && c < 0xc0, apostrophe = c == '\'' && n; /* the rest of a character before it */
		if (!letter(c) && !rest && !apostrophe)
			break;
		if (n < sizeof(t->text))
			t->text[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	t->kind = WORD;
	t->len = n;
	r->denies |= negation(t->text, n);
	if (n < WORD_LEAST || common(t->text, n))
		t->len = 0;
}

static void sentence_end(struct reader *r)
{
	r->sentence_ended = true;
	r->last_wide_len = 0;
}

/* A character of the scripts of East Asia: a term is two of them side by side. */
static void read_wide(struct reader *r, struct term *t)
{
	unsigned char c = (unsigned char)r->s.p[r->at];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 1;
	if (starts(r->s, r->at, "。") || starts(r->s, r->at, "！") || starts(r->s, r->at, "？")) {
		sentence_end(r);
	} else if (c >= 0xe3 && c <= 0xed && r->at + n <= r->s.len) { /* letters, no signs */
		r->denies |= starts(r->s, r->at, "不") || starts(r->s, r->at, "没") || starts(r->s, r->at, "未");
		if (r->last_wide_len && r->last_wide + r->last_wide_len == r->at) {
			memcpy(t->text, r->s.p + r->last_wide, r->last_wide_len);
			memcpy(t->text + r->last_wide_len, r->s.p + r->at, n);
			t->kind = PAIR;
			t->len = r->last_wide_len + n;
		}
		r->last_wide = r->at;
		r->last_wide_len = n;
	}
	r->at += r->at + n <= r->s.len ? n : r->s.len - r->at;
}

/* The next term. len 0: nothing to compare, go on. False: the end, or a sentence has ended (sentence_ended). */
static bool next(struct reader *r, struct term *t)
{
	*t = (struct term){0};
	if (r->at >= r->s.len || r->sentence_ended)
		return false;
	unsigned char c = (unsigned char)r->s.p[r->at];
	if (digit(r->s, r->at)) {
		read_figure(r, t);
	} else if (letter(c)) {
		read_word(r, t);
	} else if (c >= 0xe0) {
		read_wide(r, t);
	} else {
		bool blank_follows = r->at + 1 >= r->s.len || (unsigned char)r->s.p[r->at + 1] <= ' ';
		if (((c == '.' || c == '!' || c == '?') && blank_follows) ||
		    (c == '\n' && r->at + 1 < r->s.len && r->s.p[r->at + 1] == '\n'))
			sentence_end(r);
		r->at++;
	}
	return true;
}

/* "increase" and "increased", "company" and "companies" */
static bool alike(const struct term *a, const struct term *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == FIGURE)
		return a->percent == b->percent && fabs(a->value - b->value) <= 1e-9 * (1 + fabs(a->value));
	size_t same = 0, longer = a->len > b->len ? a->len : b->len;
	while (same < a->len && same < b->len && a->text[same] == b->text[same])
		same++;
	return same == longer || (a->kind == WORD && same >= WORD_LEAST && same + 3 >= longer);
}

static size_t terms_of(struct sl_str claim, struct term out[TERMS], bool *denies)
{
	struct reader r = {.s = claim};
	struct term t;
	size_t n = 0;
	while (n < TERMS && r.at < claim.len) {
		r.sentence_ended = false;
		while (n < TERMS && next(&r, &t)) {
			bool known = !t.len;
			for (size_t k = 0; k < n && !known; k++)
				known = alike(&out[k], &t);
			if (!known)
				out[n++] = t;
		}
	}
	*denies = r.denies;
	return n;
}

/* By the `width` sentences up to this one. */
static double weigh(const struct term *terms, size_t n, uint32_t sentence, uint32_t width, bool same_sense)
{
	size_t words = 0, found = 0, figures = 0, right = 0;
	for (size_t i = 0; i < n; i++) {
		bool near = terms[i].seen && terms[i].seen + width > sentence;
		if (terms[i].kind == FIGURE) {
			figures++;
			right += near;
		} else {
			words++;
			found += near;
		}
	}
	double share = words ? (double)found / (double)words : figures ? 0.5 : 0; /* figures alone prove little */
	double sure = (share > MOST_SURE ? MOST_SURE : share) * (same_sense ? 1 : 0.5);
	return right < figures ? (sure > NO_FIGURE ? NO_FIGURE : sure) : sure;
}

double sl_evidence(struct sl_str claim, struct sl_str source, struct sl_str *where)
{
	struct term terms[TERMS], t;
	bool denies, denied_before = false;
	size_t n = terms_of(claim, terms, &denies), before = 0;
	double best = 0;
	struct reader r = {.s = sl_str_n(source.p, sl_utf8_cut(source.p, source.len, SL_EVIDENCE_BYTES))};
	if (where)
		*where = SL_STR("");
	for (uint32_t sentence = 1; r.at < r.s.len; sentence++) {
		size_t from = r.at;
		bool here = false;
		r.sentence_ended = false;
		r.denies = false;
		while (next(&r, &t))
			for (size_t i = 0; t.len && i < n; i++)
				if (alike(&terms[i], &t)) {
					terms[i].seen = sentence;
					here = true;
				}
		double sure = here ? weigh(terms, n, sentence, 1, r.denies == denies) : 0;
		double both = here ? weigh(terms, n, sentence, 2, (r.denies || denied_before) == denies) : 0;
		sure = both > sure ? both : sure;
		if (sure > best) {
			best = sure;
			if (where)
				*where = sl_str_trim(sl_str_n(r.s.p + before, r.at - before));
		}
		before = from;
		denied_before = r.denies;
	}
	return best;
}
