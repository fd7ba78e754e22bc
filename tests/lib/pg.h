/* tests/lib/pg.h: a private, throw-away PostgreSQL for a test program, and what tests do to it.
 *
 * Thread    the test's main thread. Include tests/lib/test.h first.
 * The cluster lies in a new folder under the system's temporary folder and is gone after sl_pg_stop(). fsync is off
 * unless asked for: tests kill processes, not machines.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sl_cluster;

struct sl_pg {
	struct sl_cluster *cluster;
	const char *url; /* lends; a superuser of the cluster */
	char dir[256];
};

enum sl_pg_schema { SL_PG_EMPTY, SL_PG_MIGRATED };

/* Fails the test when PostgreSQL cannot be started. */
void sl_pg_start(struct sl_pg *pg, enum sl_pg_schema schema);
void sl_pg_stop(struct sl_pg *pg); /* stops it and removes the folder; fine when it was not started */

void sl_pg_kill(struct sl_pg *pg);   /* SIGKILL to the postmaster */
void sl_pg_revive(struct sl_pg *pg); /* starts it again */

/* Runs SQL on a connection of its own and fails the test when it fails. */
void sl_pg_exec(struct sl_pg *pg, const char *sql);
long sl_pg_count(struct sl_pg *pg, const char *sql);                              /* one number */
char *sl_pg_text(struct sl_pg *pg, const char *sql, char *out, size_t out_bytes); /* one text, "" when no row */
void sl_pg_empty(struct sl_pg *pg); /* truncates every table but schema_migrations */

void sl_pg_temp_dir(char *out, size_t out_bytes); /* a new folder that PostgreSQL's user may enter */
void sl_pg_remove_dir(const char *dir);
