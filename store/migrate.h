/* store/migrate.h: brings the schema up to this binary's. Blocks: for start-up and the CLI, never on a loop.
 *
 * Each file of sl_embedded_migrations is one transaction together with its row in schema_migrations; an advisory lock
 * lets servers that start at the same time take turns. A file that was applied must never change: its SHA-256 is
 * compared.
 */
#pragma once

#include "base/own.h"

struct sl_embedded;

enum sl_migration_status {
	SL_MIGRATION_APPLIED,
	SL_MIGRATION_PENDING,
	SL_MIGRATION_CHANGED, /* applied, but the file is another one now */
	SL_MIGRATION_UNKNOWN, /* applied, and newer than this binary */
};
struct sl_migration {
	uint32_t version;
	char name[96];
	enum sl_migration_status status;
	int64_t applied_ms; /* wall, 0: not applied */
};
struct sl_migrations {
	struct sl_migration *items; /* by version */
	size_t n;
	uint32_t pending;
};
void sl_migrations_fini(struct sl_migrations *m);
const char *sl_migration_status_name(enum sl_migration_status status);

/* What is there. Changes nothing, also on an empty database. SL_UNAVAILABLE: no connection, err says why. */
SL_MUST_USE enum sl_code sl_migrate_state(const char *url, struct sl_migrations *out, struct sl_error *err);

/* Applies what is pending; *applied (may be NULL) counts. SL_CONFLICT: a checksum changed or the database is newer than
 * this binary; nothing was done. SL_UNAVAILABLE: no connection. SL_INTERNAL: a file failed, its transaction was undone.
 */
SL_MUST_USE enum sl_code sl_migrate_up(const char *url, uint32_t *applied, struct sl_error *err);
/* The same for another table of files (tests); ends with a NULL name. */
SL_MUST_USE enum sl_code sl_migrate_up_files(const char *url, const struct sl_embedded *files, uint32_t *applied,
					     struct sl_error *err);
uint32_t sl_migrate_wanted(void); /* the version of this binary */
