/* memory/source.h: memory as a source of facts (llm/sources.h): working and long-term memories of the project, of any
 * age. What the run itself has stored is left out: it cannot be evidence for what the run says.
 *
 * Thread    [any]
 */
#pragma once

#include "llm/sources.h"

struct sl_memory;

void sl_memory_source(struct sl_memory *m, struct sl_source *out); /* m is lent and must outlive its use */
