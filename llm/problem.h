/* llm/problem.h: collects what is wrong with a document: {"pointer","message"},… for an errors array, the first also as
 * text. Thread    whoever owns it.
 */
#pragma once

#include "base/buf.h"

struct sl_problem_list {
	struct sl_buf *out; /* may be NULL */
	struct sl_error *err;
	unsigned n;
};
void sl_problem(struct sl_problem_list *l, const char *pointer, const char *fmt, ...) SL_PRINTF(3, 4);
