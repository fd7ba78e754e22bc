/* engine/problems.c: the list of everything that is wrong with a definition. Without memory a problem is only counted.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "engine/engine.h"

/* A pointer through longer keys than this leads nowhere anyway, and a hundred problems must not repeat a megabyte of
 * one. */
#define POINTER_BYTES 2000

void sl_problems_fini(struct sl_problems *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->items[i].pointer);
		free(p->items[i].message);
	}
	free(p->items);
	*p = (struct sl_problems){0};
}

/* Errors are what refuses a definition, so they go before warnings when there is room for one of them only. */
static bool make_room(struct sl_problems *p)
{
	for (size_t i = p->n; i-- > 0;)
		if (p->items[i].warning) {
			free(p->items[i].pointer);
			free(p->items[i].message);
			memmove(&p->items[i], &p->items[i + 1], (p->n - i - 1) * sizeof(*p->items));
			p->n--;
			return true;
		}
	return false;
}

void sl_problems_add(struct sl_problems *p, bool warning, struct sl_str pointer, const char *fmt, ...)
{
	char text[SL_ERROR_TEXT_BYTES * 2];
	va_list args;
	if (!warning)
		p->errors++;
	if (p->n >= SL_LIMIT_DEFINITION_ERRORS) {
		p->dropped++;
		if (warning || !make_room(p))
			return;
	}
	if ((p->n & (p->n - 1)) == 0) { /* grows at every power of two */
		struct sl_problem *items = realloc(p->items, (p->n ? p->n * 2 : 1) * sizeof(*items));
		if (!items) {
			p->dropped++;
			return;
		}
		p->items = items;
	}
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args); /* cut when longer */
	va_end(args);
	size_t len = strlen(text);
	sl_utf8_make_valid(text, &len); /* a character may have been cut in half */
	struct sl_problem *item = &p->items[p->n];
	item->warning = warning;
	pointer.len = sl_utf8_cut(pointer.p, pointer.len, POINTER_BYTES);
	item->pointer = sl_str_dup(pointer);
	item->message = sl_str_dup(sl_str_n(text, len));
	if (!item->pointer || !item->message) {
		free(item->pointer);
		free(item->message);
		p->dropped++;
		return;
	}
	p->n++;
}
