/* llm/problem.c: see problem.h. */
#include "llm/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"

#define PROBLEM_BYTES 8192 /* above 512 of a pointer and 400 of a text, each as long as six */

void sl_problem(struct sl_problem_list *l, const char *pointer, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine */
	va_end(ap);
	if (l->n++ == 0)
		(void)sl_fail(l->err, SL_INVALID, "%s: %s", pointer[0] ? pointer : "the document", text);
	if (!l->out || l->n > SL_LIMIT_DEFINITION_ERRORS)
		return;
	SL_BUF(one, PROBLEM_BYTES);
	if (l->out->len)
		sl_buf_addc(&one, ',');
	sl_buf_adds(&one, "{\"pointer\":");
	sl_buf_json_str(&one, sl_str(pointer));
	sl_buf_adds(&one, ",\"message\":");
	sl_buf_json_str(&one, sl_str(text));
	sl_buf_addc(&one, '}');
	if (one.failed)
		l->out->failed = true;
	else
		sl_buf_add(l->out, one.data, one.len); /* whole, or not at all: what is there stays a list */
}
