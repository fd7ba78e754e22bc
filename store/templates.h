/* store/templates.h: workflows to begin from, people's own. Thread [any], callbacks [store]. */
#pragma once

#include "store/audit.h"

struct sl_template_row {
	struct sl_str name, title, about, category, created_by;
	struct sl_bytes *definition;
};

/* SL_CONFLICT: the name is taken. Written together with its line of the audit trail. */
SL_MUST_USE enum sl_code sl_store_template_add(struct sl_store *s, const struct sl_audit_by *by,
					       const struct sl_template_row *row, sl_store_fn *fn, void *arg);
SL_MUST_USE enum sl_code sl_store_template_delete(struct sl_store *s, const struct sl_audit_by *by, struct sl_str name,
						  sl_store_fn *fn, void *arg); /* SL_NOT_FOUND */
/* The members of an array, by name: {"name","title","description","category","system":false,"definition",…},… */
SL_MUST_USE enum sl_code sl_store_template_list(struct sl_store *s, sl_store_json_fn *fn, void *arg);
