/* tests/lib/memory.h: the memory over a real PostgreSQL and the model simulator, asked one question at a time.
 *
 * Thread    the test's main thread. Include tests/lib/test.h first.
 */
#pragma once

#include "base/json.h"
#include "memory/memory.h"
#include "tests/lib/pg.h"

struct sl_llm;
struct sl_profiles;
struct sl_sim;
struct sl_store;

struct sl_memory_rig {
	struct sl_pg pg;
	struct sl_store *store;
	struct sl_profiles *profiles;
	struct sl_llm *llm;
	struct sl_sim *sim;
	struct sl_memory *memory;
	bool as_it_is; /* open it with the timeouts a server has; else patient ones, for machines that are busy */
};
void sl_memory_rig_start(struct sl_memory_rig *r); /* PostgreSQL, store, simulator, models; no memory yet, no profile */
void sl_memory_rig_stop(struct sl_memory_rig *r);
void sl_memory_rig_open(struct sl_memory_rig *r, uint32_t ttl_s, uint32_t capacity); /* the memory; closes one before */
void sl_memory_rig_clean(struct sl_memory_rig *r);                                   /* empties all tables */
/* A profile for embeddings at the simulator, or at an address of yours. */
void sl_memory_rig_profile(struct sl_memory_rig *r, const char *model, const char *base_url);
void sl_memory_rig_no_profile(struct sl_memory_rig *r);

/* Calls; each waits for its answer. *out: the caller's, NULL unless SL_OK. */
enum sl_code sl_rig_store(struct sl_memory_rig *r, const struct sl_memory_item *item, struct json_object **out);
enum sl_code sl_rig_search(struct sl_memory_rig *r, const struct sl_memory_search *q, struct json_object **out);
enum sl_code sl_rig_promote(struct sl_memory_rig *r, const char *id, enum sl_memory_tier tier, const char *instead,
			    struct json_object **out);
enum sl_code sl_rig_invalidate(struct sl_memory_rig *r, const char *id);
enum sl_code sl_rig_digest(struct sl_memory_rig *r, const char *project, struct json_object **out);

/* Stores into the project "p", fails the test unless it was accepted; out: the id. */
void sl_rig_put(struct sl_memory_rig *r, enum sl_memory_tier tier, const char *content, char out[SL_UUID_TEXT_BYTES]);
/* Waits until so many pieces have got their vectors since the memory was opened. */
void sl_rig_wait_embedded(struct sl_memory_rig *r, uint64_t n);
