/* store/workflows.h: named workflows and their immutable versions. Thread [any], callbacks [store]. */
#pragma once

#include "store/store.h"

struct sl_stored_workflow {
	char *name;
	int32_t version, latest; /* versions count 1, 2, 3 … */
	struct sl_bytes *definition;
	char *description, *created_by; /* NULL: none */
	int64_t created_ms;             /* of this version */
	bool archived;
};
void sl_stored_workflow_free(struct sl_stored_workflow *w);
SL_DEFINE_AUTO(sl_stored_workflow)

enum sl_workflow_put {
	SL_WORKFLOW_CREATE, /* SL_CONFLICT: the name is taken (an archived one comes back with its next version) */
	SL_WORKFLOW_UPDATE, /* SL_NOT_FOUND: no such workflow, or archived */
	SL_WORKFLOW_UPSERT,
};
/* Makes the next version. A definition byte-equal to the latest version makes none: `version` is then that one. */
typedef void sl_store_workflow_put_fn(void *arg, enum sl_code rc, int32_t version, int64_t created_ms);
SL_MUST_USE enum sl_code sl_store_workflow_put(struct sl_store *s, enum sl_workflow_put how, struct sl_str name,
					       struct sl_str description, struct sl_bytes *definition, struct sl_str by,
					       sl_store_workflow_put_fn *fn, void *arg);

/* version 0: the latest. SL_NOT_FOUND. `w` is the callee's. Archived ones are found (runs pin them) and say so. */
typedef void sl_store_workflow_fn(void *arg, enum sl_code rc, struct sl_stored_workflow *w);
SL_MUST_USE enum sl_code sl_store_workflow_get(struct sl_store *s, struct sl_str name, int32_t version,
					       sl_store_workflow_fn *fn, void *arg);

SL_MUST_USE enum sl_code sl_store_workflow_archive(struct sl_store *s, struct sl_str name, sl_store_fn *fn, void *arg);

/* { "items": [{ "name", "description", "version", "created_at", "updated_at" }], "next_cursor" }, by name, without
 * archived ones. limit 1 … 200 (clamped). SL_BAD_REQUEST at once: the cursor is not one of ours. */
SL_MUST_USE enum sl_code sl_store_workflow_list(struct sl_store *s, struct sl_str cursor, uint32_t limit,
						sl_store_json_fn *fn, void *arg);
/* { "items": [{ "version", "created_at", "created_by" }], "next_cursor": null }, newest first. SL_NOT_FOUND. */
SL_MUST_USE enum sl_code sl_store_workflow_versions(struct sl_store *s, struct sl_str name, sl_store_json_fn *fn,
						    void *arg);
