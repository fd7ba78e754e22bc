/* memory/digest.c: see digest.h. Each text joins the first group whose leader it is like; the leader is the first text
 * of it, so a group cannot drift. */
#include "memory/digest.h"

#include <stdlib.h>

#include "memory/similar.h"

struct leader {
	struct sl_trigrams trigrams;
	uint64_t print;
	struct sl_digest_group group;
	double sum, most;
	uint32_t was; /* its number while texts were still coming */
};

static int order(const void *a, const void *b)
{
	const struct leader *x = a, *y = b;
	if (x->group.n != y->group.n)
		return x->group.n < y->group.n ? 1 : -1;
	if (x->group.confidence != y->group.confidence)
		return x->group.confidence < y->group.confidence ? 1 : -1;
	return (x->was > y->was) - (x->was < y->was);
}

enum sl_code sl_digest(struct sl_digest_text *texts, size_t n, struct sl_digest_group **groups, size_t *n_groups)
{
	struct leader *leaders = calloc(n + 1, sizeof(*leaders));
	struct sl_digest_group *out = calloc(n + 1, sizeof(*out));
	uint32_t *now = calloc(n + 1, sizeof(*now));
	enum sl_code rc = leaders && out && now ? SL_OK : SL_NO_MEMORY;
	size_t count = 0;
	for (size_t i = 0; rc == SL_OK && i < n; i++) {
		struct sl_trigrams t;
		rc = sl_trigrams_of(texts[i].text, &t);
		if (rc != SL_OK)
			break;
		size_t g = 0;
		for (; g < count; g++)
			if (sl_print_distance(leaders[g].print, texts[i].print) <= SL_PRINT_KIN &&
			    sl_trigrams_similarity(&leaders[g].trigrams, &t) >= SL_DIGEST_KIN)
				break;
		struct leader *l = &leaders[g];
		texts[i].group = (uint32_t)g;
		if (g == count) {
			*l = (struct leader){t, texts[i].print,      {.best = (uint32_t)i},
					     0, texts[i].confidence, (uint32_t)g};
			count++;
		} else {
			sl_trigrams_fini(&t);
		}
		l->group.n++;
		l->sum += texts[i].confidence;
		l->group.confidence = l->sum / l->group.n;
		if (texts[i].confidence > l->most) {
			l->most = texts[i].confidence;
			l->group.best = (uint32_t)i;
		}
	}
	if (rc == SL_OK) {
		qsort(leaders, count, sizeof(*leaders), order);
		for (size_t g = 0; g < count; g++) {
			out[g] = leaders[g].group;
			now[leaders[g].was] = (uint32_t)g;
		}
		for (size_t i = 0; i < n; i++)
			texts[i].group = now[texts[i].group];
		*groups = SL_TAKE(out);
		*n_groups = count;
	}
	for (size_t g = 0; leaders && g < count; g++)
		sl_trigrams_fini(&leaders[g].trigrams);
	free(leaders);
	free(out);
	free(now);
	return rc;
}
