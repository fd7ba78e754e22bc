/* memory/score.c: see score.h. */
#include "memory/score.h"

#include <stdlib.h>
#include <string.h>

#include "memory/words.h"

#define QUERY_TERMS 32
#define FULL_TERMS  8
#define FUZZY_LEAST 0.5 /* share of pieces in common: "nuclaer" is half a "nuclear" */

struct term {
	uint64_t hash;     /* of its stem */
	uint64_t trigrams; /* one bit for each of its three-letter pieces */
	unsigned n;        /* pieces */
	double weight;
};

struct sl_score_query {
	struct term terms[QUERY_TERMS];
	size_t n;
	double full;
};

static uint64_t hash_points(const uint32_t *p, size_t n)
{
	uint64_t h = 1469598103934665603u;
	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h ^ h >> 29;
}

static bool ends(const struct sl_word *w, const char *tail)
{
	size_t n = strlen(tail);
	if (w->n < n + 3)
		return false;
	for (size_t i = 0; i < n; i++)
		if (w->points[w->n - n + i] != (unsigned char)tail[i])
			return false;
	return true;
}

/* Light on purpose: what it takes too far is taken too far on both sides. */
static size_t stem(const struct sl_word *w)
{
	static const char *const tails[] = {"ations", "ation", "ingly", "ings", "ing", "edly", "ies",
					    "ied",    "ed",    "es",    "ly",   "s",   "e",    "y"};
	if (w->ideographs)
		return w->n;
	for (size_t i = 0; i < SL_COUNT_OF(tails); i++)
		if (ends(w, tails[i]) && !(tails[i][0] == 's' && w->points[w->n - 2] == 's'))
			return w->n - strlen(tails[i]);
	return w->n;
}

static bool stop_word(const struct sl_word *w)
{
	static const char words[] = " a about above after again all also am an and any are as at be because been "
				    "before being below between both but by "
				    "can could did do does doing down during each few for from further had has have "
				    "having he her here hers him his how i "
				    "if in into is it its just me more most my no nor not now of off on once only or "
				    "other our out over own s same she "
				    "should so some such t than that the their them then there these they this those "
				    "through to too under until up very "
				    "was we were what when where which while who whom why will with would you your "
				    "please tell give explain ";
	char text[20] = " ";
	if (w->n > 14)
		return false;
	for (size_t i = 0; i < w->n; i++) {
		if (w->points[i] >= 0x80)
			return false;
		text[i + 1] = (char)w->points[i];
	}
	text[w->n + 1] = ' ';
	return strstr(words, text) != NULL;
}

static void pieces(const uint32_t *p, size_t n, struct term *t)
{
	uint32_t a = ' ', b = ' ';
	t->trigrams = 0;
	t->n = 0;
	for (size_t i = 0; i <= n; i++) {
		uint32_t c = i < n ? p[i] : ' ';
		uint32_t three[3] = {a, b, c};
		t->trigrams |= (uint64_t)1 << (hash_points(three, 3) & 63);
		t->n++;
		a = b;
		b = c;
	}
}

static bool term_of(const uint32_t *p, size_t n, bool ideographs, struct term *out)
{
	if (n == 0)
		return false;
	out->hash = hash_points(p, n);
	out->weight = ideographs ? 4 : n < 8 ? (double)n : 8;
	pieces(p, n, out);
	return true;
}

/* The terms of a word: itself, or each pair of characters of a run without spaces. */
static size_t terms_of(const struct sl_word *w, struct term out[SL_WORD_POINTS])
{
	size_t n = 0;
	if (!w->ideographs)
		return !stop_word(w) && term_of(w->points, stem(w), false, &out[0]);
	if (w->n == 1)
		return term_of(w->points, 1, true, &out[0]);
	for (size_t i = 0; i + 1 < w->n; i++)
		n += term_of(w->points + i, 2, true, &out[n]);
	return n;
}

static int heavier(const void *a, const void *b)
{
	double x = ((const struct term *)a)->weight, y = ((const struct term *)b)->weight;
	return (x < y) - (x > y);
}

enum sl_code sl_score_query_new(struct sl_str query, struct sl_score_query **out)
{
	struct sl_word w;
	struct term terms[SL_WORD_POINTS];
	struct sl_score_query *q = calloc(1, sizeof(*q));
	if (!q)
		return SL_NO_MEMORY;
	while (q->n < QUERY_TERMS && sl_words_next(&query, &w)) {
		size_t n = terms_of(&w, terms);
		for (size_t i = 0; i < n && q->n < QUERY_TERMS; i++) {
			bool there = false;
			for (size_t k = 0; k < q->n; k++)
				there |= q->terms[k].hash == terms[i].hash;
			if (!there)
				q->terms[q->n++] = terms[i];
		}
	}
	qsort(q->terms, q->n, sizeof(q->terms[0]), heavier);
	for (size_t i = 0; i < q->n && i < FULL_TERMS; i++)
		q->full += q->terms[i].weight;
	*out = q;
	return SL_OK;
}

void sl_score_query_free(struct sl_score_query *q)
{
	free(q);
}

double sl_score(const struct sl_score_query *q, struct sl_str text)
{
	struct sl_word w;
	struct term terms[SL_WORD_POINTS];
	double best[QUERY_TERMS] = {0}, sum = 0;
	size_t missing = q->n;
	if (q->n == 0)
		return 0;
	while (missing && sl_words_next(&text, &w)) {
		size_t n = terms_of(&w, terms);
		for (size_t i = 0; i < n; i++)
			for (size_t k = 0; k < q->n; k++) {
				const struct term *mine = &q->terms[k], *its = &terms[i];
				if (best[k] == 1)
					continue;
				if (mine->hash == its->hash) {
					best[k] = 1;
					missing--;
					continue;
				}
				unsigned both = (unsigned)__builtin_popcountll(mine->trigrams & its->trigrams);
				unsigned all = (unsigned)__builtin_popcountll(mine->trigrams) +
					       (unsigned)__builtin_popcountll(its->trigrams);
				double like = 2.0 * (double)both / (double)all;
				if (mine->n >= 5 && like >= FUZZY_LEAST && like * 0.9 > best[k])
					best[k] = like * 0.9;
			}
	}
	for (size_t k = 0; k < q->n; k++)
		sum += best[k] * q->terms[k].weight;
	return sum >= q->full ? 1 : sum / q->full;
}
