/* llm/problem.c: see problem.h. */
#include "llm/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/limits.h"

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
	if (l->out->len)
		sl_buf_addc(l->out, ',');
	sl_buf_adds(l->out, "{\"pointer\":");
	sl_buf_json_str(l->out, sl_str(pointer));
	sl_buf_adds(l->out, ",\"message\":");
	sl_buf_json_str(l->out, sl_str(text));
	sl_buf_addc(l->out, '}');
}
