/* store/memory_priv.h: what memory.c and memory_read.c share. */
#pragma once

#include "store/memory.h"
#include "store/store_priv.h"

/* The columns sl_memory_rows_end() reads; the first four alone will do. */
#define SL_MEMORY_ROW                                                                                                  \
	"id, tier, content, simhash, verified, (confidence * 1000)::integer, created_at, expires_at, reuse_count, "    \
	"run_id, metadata"

/* A finish for sl_store_memory_rows_fn: reads the last statement's rows. */
void sl_memory_rows_end(struct sl_job *j, enum sl_code rc);
